//! Moves bytes one way between two sockets that never block, through a bounded buffer.

use std::io::{self, Read, Write};
use std::net::Shutdown;

use mio::net::TcpStream;

/// Bytes held between two sockets: a few frames; more would hide from a sender that its receiver is stuck.
const BUFFER_BYTES: usize = 32 * 1024;
/// Rounds before other connections get their turn: 16 × 32 KiB.
pub(super) const ROUNDS_MAX: u32 = 16;

/// One direction of a connection.
#[derive(Debug, Default)]
pub(super) struct Pump {
    buffer: Vec<u8>,
    start: usize,
    /// The source has said that it sends no more.
    ended: bool,
    /// The sink was told so.
    passed_on: bool,
}

/// How a direction came to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// Nothing to do until a socket is ready again.
    Waits,
    /// There is more to move at once.
    HasMore,
    /// Everything was moved and the end was passed on.
    Done,
}

impl Pump {
    /// Moves what can be moved now.
    ///
    /// # Errors
    /// When either socket is broken.
    pub(super) fn run(&mut self, from: &mut TcpStream, to: &mut TcpStream) -> io::Result<Flow> {
        for _ in 0..ROUNDS_MAX {
            let read = self.fill(from)?;
            let wrote = self.drain(to)?;
            if self.ended && self.start == self.buffer.len() && !self.passed_on {
                // A sink that is already gone needs not to be told.
                let _ = to.shutdown(Shutdown::Write);
                self.passed_on = true;
            }
            if self.passed_on {
                return Ok(Flow::Done);
            }
            if !read && !wrote {
                return Ok(Flow::Waits);
            }
        }
        Ok(Flow::HasMore)
    }

    fn fill(&mut self, from: &mut TcpStream) -> io::Result<bool> {
        if self.ended || self.start < self.buffer.len() {
            return Ok(false);
        }
        self.start = 0;
        self.buffer.resize(BUFFER_BYTES, 0);
        let result = patient(|| from.read(&mut self.buffer));
        self.buffer.truncate(result.as_ref().map_or(0, |count| count.unwrap_or(0)));
        match result? {
            Some(0) => {
                self.ended = true;
                Ok(true)
            }
            Some(_) => Ok(true),
            None => Ok(false),
        }
    }

    fn drain(&mut self, to: &mut TcpStream) -> io::Result<bool> {
        if self.start == self.buffer.len() {
            return Ok(false);
        }
        match patient(|| to.write(&self.buffer[self.start..]))? {
            Some(count) => {
                self.start += count;
                Ok(true)
            }
            None => Ok(false),
        }
    }
}

/// `None` where the socket is not ready.
pub(super) fn patient(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<Option<usize>> {
    loop {
        match call() {
            Ok(count) => return Ok(Some(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
