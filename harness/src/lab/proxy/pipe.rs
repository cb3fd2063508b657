//! Moves whole frames one way between two sockets, each with a fate of its own: it passes, waits, is overtaken or lost.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::Instant;

use mio::net::TcpStream;
use ordeal_client::wire::{FrameBuilder, FrameReader, Message};

use super::net::Net;
use super::pump::{Flow, ROUNDS_MAX, patient};
use super::traffic::Way;
use super::weather::Fate;

/// Bytes read at a time.
const READ_BYTES: usize = 32 * 1024;
/// Bytes that wait in one direction of one connection. Beyond it nothing is read, so that the sender meets its own limit:
/// four frames of the largest size.
const WAITING_BYTES_MAX: usize = 16 << 20;

/// One direction of a connection, frame by frame.
#[derive(Debug)]
pub(super) struct Pipe {
    way: Way,
    reader: FrameReader,
    /// Frames that wait, by the time at which they leave and then in the order in which they came.
    waiting: BTreeMap<(Instant, u64), Vec<u8>>,
    /// Number of the next frame, and the highest that has left.
    next: u64,
    last_out: Option<u64>,
    /// Bytes that leave as soon as the sink takes them.
    out: VecDeque<u8>,
    waiting_bytes: usize,
    ended: bool,
    passed_on: bool,
}

impl Pipe {
    pub(super) fn new(way: Way) -> Pipe {
        Pipe {
            way,
            reader: FrameReader::new(),
            waiting: BTreeMap::new(),
            next: 0,
            last_out: None,
            out: VecDeque::new(),
            waiting_bytes: 0,
            ended: false,
            passed_on: false,
        }
    }

    /// When the next frame leaves that waits.
    pub(super) fn due(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|(&(due, _), _)| due)
    }

    /// Moves what can be moved now. On a cut link everything is read, and lost.
    ///
    /// # Errors
    /// When either socket is broken, or what came is no frame.
    pub(super) fn run(
        &mut self,
        from: &mut TcpStream,
        to: &mut TcpStream,
        net: &mut Net,
        is_cut: bool,
    ) -> io::Result<Flow> {
        for _ in 0..ROUNDS_MAX {
            let read = self.fill(from, net, is_cut)?;
            self.release(net, is_cut, Instant::now());
            let wrote = self.drain(to)?;
            if self.ended && self.waiting.is_empty() && self.out.is_empty() && !self.passed_on {
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

    fn fill(&mut self, from: &mut TcpStream, net: &mut Net, is_cut: bool) -> io::Result<bool> {
        if self.ended || self.waiting_bytes + self.out.len() >= WAITING_BYTES_MAX {
            return Ok(false);
        }
        let mut bytes = [0; READ_BYTES];
        match patient(|| from.read(&mut bytes))? {
            None => Ok(false),
            Some(0) => {
                self.ended = true;
                Ok(true)
            }
            Some(count) => {
                self.reader.feed(&bytes[..count]);
                let broken = |error| io::Error::new(io::ErrorKind::InvalidData, error);
                while let Some(messages) = self.reader.next_frame().map_err(broken)? {
                    self.admit(&messages, net, is_cut);
                }
                Ok(true)
            }
        }
    }

    fn admit(&mut self, messages: &[Message], net: &mut Net, is_cut: bool) {
        let frame = again(messages);
        let number = self.next;
        self.next += 1;
        let due = match net.fate(self.way, messages, is_cut) {
            Fate::Lost => return,
            Fate::Passes => Instant::now(),
            Fate::Waits(time) => Instant::now() + time,
        };
        self.waiting_bytes += frame.len();
        self.waiting.insert((due, number), frame);
    }

    fn release(&mut self, net: &mut Net, is_cut: bool, now: Instant) {
        while let Some(entry) = self.waiting.first_entry() {
            let (due, number) = *entry.key();
            if due > now {
                return;
            }
            let frame = entry.remove();
            self.waiting_bytes -= frame.len();
            if is_cut {
                net.swallowed(self.way);
                continue;
            }
            if self.last_out.is_some_and(|last| last > number) {
                net.overtaken(self.way);
            }
            self.last_out = self.last_out.max(Some(number));
            self.out.extend(frame);
        }
    }

    fn drain(&mut self, to: &mut TcpStream) -> io::Result<bool> {
        let mut wrote = false;
        while !self.out.is_empty() {
            let (head, _) = self.out.as_slices();
            match patient(|| to.write(head))? {
                Some(count) => {
                    self.out.drain(..count);
                    wrote = true;
                }
                None => return Ok(wrote),
            }
        }
        Ok(wrote)
    }
}

/// The frame that these messages came in: its bytes follow from them.
fn again(messages: &[Message]) -> Vec<u8> {
    let mut frame = FrameBuilder::new();
    for message in messages {
        let pushed = frame.push_encoded(message.kind, message.group, &message.body);
        assert!(pushed, "what came in one frame fits one frame");
    }
    frame.finish()
}
