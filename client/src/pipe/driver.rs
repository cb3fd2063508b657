//! Sockets and the clock under a [`Core`]: it moves bytes, and decides nothing.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::core::{Core, Effect};
use super::links::LinkId;
use super::ops::{Done, Operation};
use crate::config::ClientConfig;
use crate::error::{ClientError, LinkError};
use crate::link::{Expect, check, ended, welcome_of};
use crate::wire::{FrameReader, FrameWriter, GroupId, HandshakeRefusal, Hello, Kind, Role, Welcome, decode};

/// How exactly deadlines and pauses are kept: as long as the first pause.
const TICK: Duration = Duration::from_millis(5);
/// One read from a socket: some hundred answers.
const READ_BYTES: usize = 256 << 10;
/// Connections to one node, at most: a node takes 400 of all its clients.
const CONNECTIONS_MAX: usize = 64;

/// A client that carries many operations at a time over few connections, from the thread that calls it.
///
/// ```no_run
/// # use std::time::Duration;
/// # use ordeal_client::{ClientConfig, Operation, Pipeline, wire::WriteOp};
/// let mut pipeline = Pipeline::new(ClientConfig::new(["127.0.0.1:7101"]), 1)?;
/// for token in 0..100 {
///     let operation = Operation::Write { key: vec![b'k'], op: WriteOp::Append(vec![b'v']) };
///     pipeline.submit(token, operation).expect("far below the limit");
/// }
/// while pipeline.under_way() > 0 {
///     pipeline.turn(Duration::from_millis(100))?;
///     while let Some(done) = pipeline.done() {
///         println!("{}: {:?}", done.token, done.outcome);
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Pipeline {
    core: Core,
    poll: Poll,
    events: Events,
    sockets: BTreeMap<LinkId, Socket>,
    scratch: Box<[u8]>,
    ticked: Instant,
}

#[derive(Debug)]
struct Socket {
    stream: TcpStream,
    /// Other addresses of the same name.
    untried: VecDeque<SocketAddr>,
    expect: Expect,
    state: State,
    reader: FrameReader,
    hello: FrameWriter,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Connecting,
    Greeting,
    Open,
}

/// What came over a socket.
enum News {
    Welcome(Welcome),
    Answer(crate::wire::Answer),
}

impl Pipeline {
    /// A client with so many connections to each node that it talks to (1 to 64); none is made yet.
    ///
    /// # Errors
    /// [`ClientError::Config`] when the configuration makes no sense, or the system has no descriptor left.
    pub fn new(config: ClientConfig, connections: usize) -> Result<Pipeline, ClientError> {
        config.check()?;
        if !(1..=CONNECTIONS_MAX).contains(&connections) {
            return Err(ClientError::Config(format!(
                "{connections} connections a node, expected 1 to {CONNECTIONS_MAX}"
            )));
        }
        let poll = Poll::new().map_err(|error| ClientError::Config(format!("event queue: {error}")))?;
        let now = Instant::now();
        Ok(Pipeline {
            core: Core::new(config, connections, now),
            poll,
            events: Events::with_capacity(256),
            sockets: BTreeMap::new(),
            scratch: vec![0; READ_BYTES].into_boxed_slice(),
            ticked: now,
        })
    }

    /// Takes an operation; it is sent with the next [`Pipeline::turn`]. What comes of it carries the token.
    ///
    /// # Errors
    /// The operation, when [`OPERATIONS_MAX`](super::OPERATIONS_MAX) are under way already, half of them for sessions.
    ///
    /// # Panics
    /// When a key or value is longer than the protocol allows.
    pub fn submit(&mut self, token: u64, operation: Operation) -> Result<(), Operation> {
        operation.check();
        self.core.submit(Instant::now(), token, operation)
    }

    /// How many operations are under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.core.under_way()
    }

    /// The next outcome.
    pub fn done(&mut self) -> Option<Done> {
        self.core.done()
    }

    /// Sends what is to be sent, waits until something happens, `timeout` at most, and takes in what came.
    ///
    /// # Errors
    /// When the event queue itself fails. What goes wrong with a connection is an outcome.
    pub fn turn(&mut self, timeout: Duration) -> io::Result<()> {
        self.perform(Instant::now());
        let until = self.ticked + TICK;
        let wait = timeout.min(until.saturating_duration_since(Instant::now()));
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let now = Instant::now();
        let tokens: Vec<LinkId> = self.events.iter().map(|event| LinkId(event.token().0 as u64)).collect();
        for link in tokens {
            self.attend(now, link);
        }
        if now >= until {
            self.ticked = now;
            self.core.tick(now);
        }
        self.perform(now);
        Ok(())
    }

    /// Does what the core wants done.
    fn perform(&mut self, now: Instant) {
        loop {
            while let Some(effect) = self.core.effect() {
                match effect {
                    Effect::Dial { link, address, cluster, node } => {
                        if let Err(error) = self.dial(link, &address, Expect { cluster, node }) {
                            self.core.broken(now, link, &error);
                        }
                    }
                    Effect::Hangup { link } => {
                        if let Some(mut socket) = self.sockets.remove(&link) {
                            // It may be gone already, and then there is nobody to tell.
                            drop(self.poll.registry().deregister(&mut socket.stream));
                            drop(socket.stream.shutdown(Shutdown::Both));
                        }
                    }
                }
            }
            let Some(link) = self.core.dirty() else { return };
            self.flush(now, link);
        }
    }

    /// Gives the kernel as much as it takes of what a link has to send.
    fn flush(&mut self, now: Instant, link: LinkId) {
        let Some(writer) = self.core.writer(link) else { return };
        let Some(socket) = self.sockets.get_mut(&link) else { return };
        if let Err(error) = socket.write(writer) {
            self.core.broken(now, link, &error);
        }
    }

    fn dial(&mut self, link: LinkId, address: &str, expect: Expect) -> Result<(), LinkError> {
        let mut untried: VecDeque<SocketAddr> =
            address.to_socket_addrs().map_err(LinkError::Connect)?.collect();
        let stream = connect(&mut untried)?;
        let mut socket = Socket {
            stream,
            untried,
            expect,
            state: State::Connecting,
            reader: FrameReader::new(),
            hello: FrameWriter::new(),
        };
        self.register(link, &mut socket.stream)?;
        self.sockets.insert(link, socket);
        Ok(())
    }

    fn register(&self, link: LinkId, stream: &mut TcpStream) -> Result<(), LinkError> {
        let token = Token(usize::try_from(link.0).expect("64 bits"));
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(stream, token, interest).map_err(LinkError::Io)
    }

    /// Something happened at a socket.
    fn attend(&mut self, now: Instant, link: LinkId) {
        let Some(socket) = self.sockets.get_mut(&link) else { return };
        if socket.state == State::Connecting {
            match socket.connected() {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => match connect(&mut socket.untried) {
                    Ok(mut stream) => {
                        let registered = self.register(link, &mut stream);
                        let socket = self.sockets.get_mut(&link).expect("looked at just now");
                        socket.stream = stream;
                        if let Err(error) = registered {
                            self.core.broken(now, link, &error);
                        }
                        return;
                    }
                    Err(_) => return self.core.broken(now, link, &error),
                },
            }
        }
        let Some(socket) = self.sockets.get_mut(&link) else { return };
        let core = &mut self.core;
        let mut take = |news: News| match news {
            News::Welcome(welcome) => core.welcomed(now, link, &welcome),
            News::Answer(answer) => core.answered(now, link, answer),
        };
        if let Err(error) = socket.read(&mut self.scratch, &mut take) {
            return self.core.broken(now, link, &error);
        }
        self.flush(now, link);
    }
}

impl Socket {
    /// Whether the connection stands; then the hello is queued.
    fn connected(&mut self) -> Result<bool, LinkError> {
        if let Some(error) = self.stream.take_error().map_err(LinkError::Connect)? {
            return Err(LinkError::Connect(error));
        }
        match self.stream.peer_addr() {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(false),
            Err(error) => return Err(LinkError::Connect(error)),
        }
        self.stream.set_nodelay(true).map_err(LinkError::Connect)?;
        let hello = Hello::new(self.expect.cluster, Role::Client);
        let queued = self.hello.push(Kind::Hello, GroupId(0), &hello, usize::MAX);
        assert!(queued, "there is no limit");
        write(&mut self.stream, &mut self.hello)?;
        self.state = State::Greeting;
        Ok(true)
    }

    /// Reads what there is.
    fn read(&mut self, scratch: &mut [u8], take: &mut impl FnMut(News)) -> Result<(), LinkError> {
        loop {
            match self.stream.read(scratch) {
                Ok(0) => return Err(LinkError::Closed),
                Ok(count) => {
                    self.reader.feed(&scratch[..count]);
                    self.take_in(take)?;
                    if count < scratch.len() {
                        // No more is there; when more comes, or the end, there is another event (epoll(7)).
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(ended(error)),
            }
        }
    }

    fn take_in(&mut self, take: &mut impl FnMut(News)) -> Result<(), LinkError> {
        while let Some(messages) = self.reader.next_messages()? {
            for message in messages {
                match (self.state, message.kind) {
                    (State::Connecting | State::Greeting, kind) => {
                        let welcome = welcome_of(kind, message.body)?;
                        check(&welcome, self.expect)?;
                        self.state = State::Open;
                        take(News::Welcome(welcome));
                    }
                    (State::Open, Kind::Reply) => take(News::Answer(decode(message.body)?)),
                    (State::Open, Kind::Ping | Kind::Pong) => {}
                    (State::Open, Kind::Refused) => {
                        return Err(LinkError::Refused(decode::<HandshakeRefusal>(message.body)?));
                    }
                    (State::Open, other) => {
                        return Err(LinkError::Protocol(format!("{other:?} where a reply was expected")));
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes what is left of the hello, then what the link has to send.
    fn write(&mut self, writer: &mut FrameWriter) -> Result<(), LinkError> {
        match self.state {
            State::Connecting => Ok(()),
            State::Greeting => write(&mut self.stream, &mut self.hello),
            State::Open => write(&mut self.stream, writer),
        }
    }
}

fn write(stream: &mut TcpStream, writer: &mut FrameWriter) -> Result<(), LinkError> {
    while writer.waiting_bytes() > 0 {
        match stream.write(writer.sealed()) {
            Ok(0) => return Err(LinkError::Closed),
            Ok(count) => writer.sent(count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(ended(error)),
        }
    }
    Ok(())
}

/// Begins to connect to the first of these that lets us.
fn connect(untried: &mut VecDeque<SocketAddr>) -> Result<TcpStream, LinkError> {
    let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
    while let Some(address) = untried.pop_front() {
        match TcpStream::connect(address) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(LinkError::Connect(last))
}
