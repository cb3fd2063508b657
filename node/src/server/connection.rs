//! One TCP connection: bytes in to messages, messages to bytes out, each within its limit. It knows nothing of what the
//! messages mean.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};

use mio::event::Event as Readiness;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use ordeal_client::wire::{DecodeError, FrameError, FrameReader, FrameWriter, GroupId, Kind, Message};
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
    outbox: FrameWriter,
    /// The socket may have bytes for us: set by an event, cleared by a read that would block.
    readable: bool,
    /// An event said that the other side has closed: behind what is read there is an end to be read.
    closing: bool,
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
            outbox: FrameWriter::new(),
            readable: false,
            closing: false,
            ended: false,
            strange_bytes: 0,
            greeted: false,
        })
    }

    /// The other end.
    pub(super) fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// An event came.
    pub(super) fn note(&mut self, event: &Readiness) {
        self.closing |= event.is_read_closed() || event.is_error();
        self.readable |= event.is_readable() || self.closing;
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
                    // Less than there was room for: that was all, and what comes later comes with an event of its own.
                    self.readable = bytes == room || self.closing;
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
        self.outbox.push(kind, group, body, limit)
    }

    /// Bytes queued and not yet taken by the kernel.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.outbox.waiting_bytes()
    }

    /// Gives the kernel as much as it takes.
    pub(super) fn flush(&mut self) -> Result<(), End> {
        while self.outbox.waiting_bytes() > 0 {
            match self.stream.write(self.outbox.sealed()) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Ok(bytes) => self.outbox.sent(bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
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
