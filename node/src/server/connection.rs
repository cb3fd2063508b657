//! One TCP connection: bytes in to messages, messages to bytes out, each within its limit. It knows nothing of what the
//! messages mean.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use ordeal_client::wire::{
    DecodeError, FrameBuilder, FrameError, FrameReader, GroupId, Kind, Message, encode,
};
use serde::Serialize;

use super::limits::{HELLO_BYTES_MAX, READ_BYTES, READ_BYTES_PER_TURN};

/// Why a connection ends. None of these ends more than the connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// The other side closed it.
    #[error("closed by the other side")]
    Closed,
    /// The other side cannot be understood.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A body is not what its kind says.
    #[error("{kind:?}: {error}")]
    Body {
        /// Kind in the header.
        kind: Kind,
        /// What is wrong with it.
        error: DecodeError,
    },
    /// A message that has no place here.
    #[error("{0:?} has no place on this connection")]
    Kind(Kind),
    /// A message whose header and body are of different kinds.
    #[error("header says {header:?}, body is {body:?}")]
    Header {
        /// Kind in the header.
        header: Kind,
        /// Kind of the body.
        body: Kind,
    },
    /// No hello, however long.
    #[error("{HELLO_BYTES_MAX} bytes and no hello among them")]
    NoHello,
    /// Answers are not read.
    #[error("{bytes} bytes of answers unread")]
    Unread {
        /// How many wait.
        bytes: usize,
    },
    /// Nothing came in time.
    #[error("nothing came in time")]
    Silent,
    /// Taken over by a newer connection of the same peer.
    #[error("the peer has dialled anew")]
    Replaced,
    /// The handshake went wrong.
    #[error("handshake: {0}")]
    Handshake(String),
    /// The operating system.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    remote: SocketAddr,
    reader: FrameReader,
    /// Messages that were read and not yet taken. Nothing more is read while there are any.
    inbox: VecDeque<Message>,
    outbox: Outbox,
    /// The socket may have bytes for us: set by an event, cleared by a read that would block.
    readable: bool,
    ended: bool,
    /// Bytes read before the first message.
    strange_bytes: usize,
    greeted: bool,
}

impl Connection {
    /// Takes a stream into the loop. Events are edge-triggered: what is not read now must be remembered.
    pub(super) fn new(
        mut stream: TcpStream,
        remote: SocketAddr,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Connection {
            stream,
            remote,
            reader: FrameReader::new(),
            inbox: VecDeque::new(),
            outbox: Outbox::default(),
            readable: false,
            ended: false,
            strange_bytes: 0,
            greeted: false,
        })
    }

    /// The other end.
    pub(super) fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// An event says that there may be something to read.
    pub(super) fn note_readable(&mut self) {
        self.readable = true;
    }

    /// Whether a read or a message is left for the next turn.
    pub(super) fn has_work(&self) -> bool {
        self.readable || !self.inbox.is_empty() || self.ended
    }

    /// Whether the dialled connection stands; an error when it never will.
    pub(super) fn connected(&self) -> io::Result<bool> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        match self.stream.peer_addr() {
            Ok(_) => {
                // Only now, as some systems refuse it before.
                self.stream.set_nodelay(true)?;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Small messages must not wait for an acknowledgement of the one before.
    pub(super) fn set_nodelay(&self) -> io::Result<()> {
        self.stream.set_nodelay(true)
    }

    /// Notices, after some minutes, a client whose machine has vanished, which would hold its place for ever.
    pub(super) fn set_keepalive(&self) -> io::Result<()> {
        use nix::sys::socket::{setsockopt, sockopt};
        setsockopt(&self.stream, sockopt::KeepAlive, &true)?;
        setsockopt(&self.stream, sockopt::TcpKeepIdle, &60)?;
        Ok(setsockopt(&self.stream, sockopt::TcpKeepInterval, &20)?)
    }

    /// Reads for one turn, unless messages wait already.
    pub(super) fn read_turn(&mut self, scratch: &mut [u8; READ_BYTES]) -> Result<(), End> {
        let mut budget = READ_BYTES_PER_TURN;
        while self.readable && self.inbox.is_empty() && budget > 0 {
            let room = if self.greeted { READ_BYTES } else { HELLO_BYTES_MAX };
            match self.stream.read(&mut scratch[..room]) {
                Ok(0) => {
                    self.readable = false;
                    self.ended = true;
                }
                Ok(bytes) => {
                    budget = budget.saturating_sub(bytes);
                    self.take_in(&scratch[..bytes])?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        if self.ended && self.inbox.is_empty() { Err(End::Closed) } else { Ok(()) }
    }

    /// Reads and forgets, until the other side has closed. For one that was refused: closing at once would make the
    /// kernel throw away the refusal if anything that was sent is still unread.
    pub(super) fn discard(&mut self, scratch: &mut [u8; READ_BYTES]) -> Result<(), End> {
        self.inbox.clear();
        let mut budget = READ_BYTES_PER_TURN;
        while self.readable && budget > 0 {
            match self.stream.read(scratch) {
                Ok(0) => return Err(End::Closed),
                Ok(bytes) => budget = budget.saturating_sub(bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The next message, in the order in which they were sent.
    pub(super) fn next_message(&mut self) -> Option<Message> {
        self.inbox.pop_front()
    }

    /// Queues a message; false, and nothing queued, when more than `limit` bytes would wait.
    #[must_use]
    pub(super) fn send<T: Serialize + ?Sized>(
        &mut self,
        kind: Kind,
        group: GroupId,
        body: &T,
        limit: usize,
    ) -> bool {
        self.outbox.push(kind, group, &encode(body), limit)
    }

    /// Bytes queued and not yet taken by the kernel.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.outbox.waiting_bytes()
    }

    /// Gives the kernel as much as it takes.
    pub(super) fn flush(&mut self) -> Result<(), End> {
        Ok(self.outbox.write_to(&mut self.stream)?)
    }

    /// Says that nothing more will come from here.
    pub(super) fn close_our_side(&self) {
        // It may be gone already, and then there is nobody to tell.
        let _gone = self.stream.shutdown(Shutdown::Write);
    }

    /// Takes the stream out of the loop and closes it.
    pub(super) fn close(mut self, registry: &Registry) {
        // The descriptor is closed in the next line, which takes it out of the poll in any case.
        let _gone = registry.deregister(&mut self.stream);
        drop(self.stream);
    }

    fn take_in(&mut self, bytes: &[u8]) -> Result<(), End> {
        self.reader.feed(bytes);
        while let Some(messages) = self.reader.next_frame()? {
            self.greeted = true;
            self.inbox.extend(messages);
        }
        if !self.greeted {
            self.strange_bytes += bytes.len();
            if self.strange_bytes >= HELLO_BYTES_MAX {
                return Err(End::NoHello);
            }
        }
        Ok(())
    }
}

/// What waits to be sent: whole frames, and the one that collects this turn's messages.
#[derive(Debug, Default)]
struct Outbox {
    frame: FrameBuilder,
    frame_bytes: usize,
    bytes: Vec<u8>,
    /// Everything before this was taken by the kernel.
    start: usize,
}

impl Outbox {
    fn push(&mut self, kind: Kind, group: GroupId, body: &[u8], limit: usize) -> bool {
        if self.waiting_bytes() + body.len() > limit {
            return false;
        }
        if !self.frame.push_encoded(kind, group, body) {
            self.seal();
            let fits = self.frame.push_encoded(kind, group, body);
            assert!(fits, "a {kind:?} of {} bytes fits an empty frame: its parts are bounded", body.len());
        }
        self.frame_bytes += body.len();
        true
    }

    fn waiting_bytes(&self) -> usize {
        self.bytes.len() - self.start + self.frame_bytes
    }

    /// Ends the frame of this turn.
    fn seal(&mut self) {
        if !self.frame.is_empty() {
            self.bytes.extend_from_slice(&std::mem::take(&mut self.frame).finish());
            self.frame_bytes = 0;
        }
    }

    fn write_to(&mut self, stream: &mut impl Write) -> io::Result<()> {
        self.seal();
        while self.start < self.bytes.len() {
            match stream.write(&self.bytes[self.start..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => self.start += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // Moves what is left to the front only when that is the smaller part.
                    if self.start > self.bytes.len() / 2 {
                        self.bytes.drain(..self.start);
                        self.start = 0;
                    }
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.bytes.clear();
        self.start = 0;
        // A burst is not remembered for ever in the length of the buffer.
        self.bytes.shrink_to(READ_BYTES);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_outbox_takes_no_more_and_forgets_nothing() {
        let mut outbox = Outbox::default();
        assert!(outbox.push(Kind::Request, GroupId(1), &[1; 600], 1_000));
        assert!(!outbox.push(Kind::Request, GroupId(1), &[2; 600], 1_000));
        assert!(outbox.push(Kind::Request, GroupId(1), &[3; 400], 1_000));
        let mut sent = Vec::new();
        outbox.write_to(&mut sent).unwrap();
        assert_eq!(outbox.waiting_bytes(), 0);

        let mut reader = FrameReader::new();
        reader.feed(&sent);
        let bodies: Vec<usize> = reader.next_frame().unwrap().unwrap().iter().map(|m| m.body.len()).collect();
        assert_eq!(bodies, [600, 400], "one frame a turn");
    }

    #[test]
    fn messages_beyond_one_frame_begin_another() {
        let mut outbox = Outbox::default();
        for _ in 0..5 {
            assert!(outbox.push(Kind::Request, GroupId(1), &vec![0; 1 << 20], usize::MAX));
        }
        let mut sent = Vec::new();
        outbox.write_to(&mut sent).unwrap();
        let mut reader = FrameReader::new();
        reader.feed(&sent);
        let mut frames = Vec::new();
        while let Some(messages) = reader.next_frame().unwrap() {
            frames.push(messages.len());
        }
        assert_eq!(frames, [3, 2]);
    }
}
