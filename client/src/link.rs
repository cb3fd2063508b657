//! One connection to one node: dialled, introduced, then asked one request at a time. It knows nothing of leaders,
//! retries or sessions. Everything that comes from the other side is checked, and what is wrong is a [`LinkError`].

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use crate::error::LinkError;
use crate::wire::{
    Answer, ClusterId, FrameBuilder, FrameReader, GroupId, HandshakeRefusal, Hello, Kind, Message, NodeId,
    Request, Role, Welcome, decode,
};

/// Bytes read from the socket at a time: most replies fit.
const READ_BYTES: usize = 16 << 10;

/// A connection to a node that has said who it is.
#[derive(Debug)]
pub(crate) struct Link {
    /// Where it leads.
    pub(crate) address: String,
    /// Who answers there.
    pub(crate) node: NodeId,
    stream: TcpStream,
    reader: FrameReader,
    /// Messages of frames that were read, in order, not looked at yet: those of what one read brought, at most.
    inbox: VecDeque<Message>,
}

/// Who is expected to answer.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Expect {
    pub(crate) cluster: Option<ClusterId>,
    pub(crate) node: Option<NodeId>,
}

/// Why a call has no answer, and whether the node may have received it all the same.
#[derive(Debug)]
pub(crate) enum CallError {
    /// Not one byte was handed to the socket: the node cannot have it.
    NotSent(LinkError),
    /// Bytes are under way, their fate is unknown. The link is not to be used again.
    Lost(LinkError),
}

impl Link {
    /// Connects and shakes hands within `timeout`.
    pub(crate) fn dial(
        address: &str,
        expect: Expect,
        timeout: Duration,
    ) -> Result<(Link, Welcome), LinkError> {
        let deadline = Instant::now() + timeout;
        let stream = connect(address, deadline, timeout)?;
        stream.set_nodelay(true).map_err(LinkError::Connect)?;
        let mut link = Link {
            address: address.to_owned(),
            node: NodeId(0),
            stream,
            reader: FrameReader::new(),
            inbox: VecDeque::new(),
        };
        let hello = Hello::new(expect.cluster, Role::Client);
        link.write(&FrameBuilder::single(Kind::Hello, GroupId(0), &hello), deadline, timeout)?;
        let message = link.next_message(deadline, timeout)?;
        let welcome = welcome_of(message.kind, &message.body)?;
        check(&welcome, expect)?;
        link.node = welcome.node;
        Ok((link, welcome))
    }

    /// Whether the node has not hung up since the last call. Asked before a call, it keeps a write from being thrown
    /// into a connection that is known to be dead, which would make its outcome unknown for no reason.
    pub(crate) fn is_open(&self) -> bool {
        let mut byte = [0];
        if self.stream.set_nonblocking(true).is_err() {
            return false;
        }
        let open = match self.stream.peek(&mut byte) {
            Ok(count) => count > 0,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        };
        open && self.stream.set_nonblocking(false).is_ok()
    }

    /// Sends a request and waits for the answer with its id; late answers to earlier requests are skipped.
    pub(crate) fn call(
        &mut self,
        request: &Request,
        group: GroupId,
        timeout: Duration,
    ) -> Result<Answer, CallError> {
        if timeout.is_zero() {
            return Err(CallError::NotSent(LinkError::Timeout(timeout)));
        }
        let deadline = Instant::now() + timeout;
        let frame = FrameBuilder::single(Kind::Request, group, request);
        // A frame that was cut short cannot be read by anybody; but nobody shall depend on such fine reasoning.
        self.write(&frame, deadline, timeout).map_err(CallError::Lost)?;
        self.answer_to(request.id, deadline, timeout).map_err(CallError::Lost)
    }

    fn answer_to(&mut self, id: u64, deadline: Instant, timeout: Duration) -> Result<Answer, LinkError> {
        loop {
            let message = self.next_message(deadline, timeout)?;
            match message.kind {
                Kind::Reply => {}
                Kind::Refused => return Err(LinkError::Refused(decode::<HandshakeRefusal>(&message.body)?)),
                Kind::Ping | Kind::Pong => continue,
                other => return Err(LinkError::Protocol(format!("{other:?} where a reply was expected"))),
            }
            let answer: Answer = decode(&message.body)?;
            if answer.node != self.node {
                return Err(LinkError::WrongNode { found: answer.node, expected: self.node });
            }
            if answer.id == id {
                return Ok(answer);
            }
        }
    }

    fn next_message(&mut self, deadline: Instant, timeout: Duration) -> Result<Message, LinkError> {
        let mut bytes = [0; READ_BYTES];
        loop {
            let left = left_until(deadline).ok_or(LinkError::Timeout(timeout))?;
            if let Some(message) = self.inbox.pop_front() {
                return Ok(message);
            }
            self.stream.set_read_timeout(Some(left)).map_err(LinkError::Io)?;
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(LinkError::Closed),
                Ok(count) => self.reader.feed(&bytes[..count]),
                Err(error) if is_passing(&error) => continue,
                Err(error) => return Err(ended(error)),
            }
            while let Some(messages) = self.reader.next_frame()? {
                self.inbox.extend(messages);
            }
        }
    }

    fn write(&mut self, mut bytes: &[u8], deadline: Instant, timeout: Duration) -> Result<(), LinkError> {
        while !bytes.is_empty() {
            let left = left_until(deadline).ok_or(LinkError::Timeout(timeout))?;
            self.stream.set_write_timeout(Some(left)).map_err(LinkError::Io)?;
            match self.stream.write(bytes) {
                Ok(0) => return Err(LinkError::Closed),
                Ok(count) => bytes = &bytes[count..],
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(ended(error)),
            }
        }
        Ok(())
    }
}

fn connect(address: &str, deadline: Instant, timeout: Duration) -> Result<TcpStream, LinkError> {
    let mut last = LinkError::Connect(io::Error::new(ErrorKind::NotFound, "the name has no address"));
    for resolved in address.to_socket_addrs().map_err(LinkError::Connect)? {
        let left = left_until(deadline).ok_or(LinkError::Timeout(timeout))?;
        match TcpStream::connect_timeout(&resolved, left) {
            Ok(stream) => return Ok(stream),
            Err(error) if error.kind() == ErrorKind::TimedOut => last = LinkError::Timeout(timeout),
            Err(error) => last = LinkError::Connect(error),
        }
    }
    Err(last)
}

pub(crate) fn welcome_of(kind: Kind, body: &[u8]) -> Result<Welcome, LinkError> {
    match kind {
        Kind::Welcome => Ok(decode(body)?),
        Kind::Refused => Err(LinkError::Refused(decode(body)?)),
        other => Err(LinkError::Protocol(format!("{other:?} where a welcome was expected"))),
    }
}

pub(crate) fn check(welcome: &Welcome, expect: Expect) -> Result<(), LinkError> {
    if let Some(expected) = expect.cluster.filter(|&expected| expected != welcome.cluster) {
        return Err(LinkError::WrongCluster { found: welcome.cluster, expected });
    }
    if let Some(expected) = expect.node.filter(|&expected| expected != welcome.node) {
        return Err(LinkError::WrongNode { found: welcome.node, expected });
    }
    if welcome.owners.is_empty() || u32::try_from(welcome.owners.len()).is_err() {
        return Err(LinkError::Protocol(format!("a cluster of {} shards", welcome.owners.len())));
    }
    Ok(())
}

/// What is left until then; `None` when it is over. Never 0, which the socket's timeouts would take for *for ever*.
fn left_until(deadline: Instant) -> Option<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    (left >= Duration::from_micros(1)).then_some(left)
}

/// The socket's own timeouts and signals: the caller looks at the clock and goes on.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

pub(crate) fn ended(error: io::Error) -> LinkError {
    match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
            LinkError::Closed
        }
        _ => LinkError::Io(error),
    }
}
