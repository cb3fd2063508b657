//! Bytes of a stream one by one, with the line and column of each: so that an error can say where it is, and a file need
//! not fit into memory.

use std::io::{self, Read};

use super::trouble::{Place, Trouble};

/// Bytes that are read ahead: a few disk pages, so that a system call is rare beside the work on its bytes.
const AHEAD_BYTES: usize = 64 << 10;

/// A stream with a position.
pub(crate) struct Cursor<R> {
    inner: R,
    ahead: Vec<u8>,
    at: usize,
    end: usize,
    line: usize,
    column: usize,
    offset: u64,
}

impl<R: Read> Cursor<R> {
    /// Of a stream of so many bytes, where that is known: the room for a short text is short.
    pub(crate) fn new(inner: R, bytes: usize) -> Self {
        Cursor {
            inner,
            ahead: vec![0; bytes.clamp(1, AHEAD_BYTES)],
            at: 0,
            end: 0,
            line: 1,
            column: 1,
            offset: 0,
        }
    }

    /// The next byte, which stays there; `None` at the end.
    #[inline]
    pub(crate) fn peek(&mut self) -> Result<Option<u8>, Trouble> {
        if self.at < self.end || self.fill()? { Ok(Some(self.ahead[self.at])) } else { Ok(None) }
    }

    /// Takes the next byte, if there is one.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<u8>, Trouble> {
        let Some(byte) = self.peek()? else { return Ok(None) };
        self.at += 1;
        self.offset += 1;
        if byte == b'\n' {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
        Ok(Some(byte))
    }

    /// Takes bytes of this sort that have been read ahead: none where the next is another, perhaps not all of them where
    /// there are many.
    pub(crate) fn take_run(&mut self, mut out: Option<&mut Vec<u8>>, is_wanted: impl Fn(u8) -> bool) {
        let ahead = &self.ahead[self.at..self.end];
        let length = ahead.iter().position(|&byte| !is_wanted(byte)).unwrap_or(ahead.len());
        let run = &ahead[..length];
        if let Some(out) = &mut out {
            out.extend_from_slice(run);
        }
        match run.iter().rposition(|&byte| byte == b'\n') {
            None => self.column += length,
            Some(last) => {
                self.line += run[..=last].iter().filter(|&&byte| byte == b'\n').count();
                self.column = length - last;
            }
        }
        self.at += length;
        self.offset += length as u64;
    }

    /// Where the next byte stands.
    pub(crate) fn place(&self) -> Place {
        Place::Text { line: self.line, column: self.column }
    }

    /// Bytes before the next one.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    #[cold]
    fn fill(&mut self) -> Result<bool, Trouble> {
        loop {
            match self.inner.read(&mut self.ahead) {
                Ok(length) => {
                    (self.at, self.end) = (0, length);
                    return Ok(length > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Trouble::Io(error)),
            }
        }
    }
}
