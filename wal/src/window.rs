//! Reading a segment piece by piece: memory stays bounded, and a sector that cannot be read counts as zeros, that is, as
//! damaged. A read answers a bad sector with an error, where a mapping would answer with a signal.

use crate::layout::{BLOCK, to_block};
use crate::media::Source;

/// What is read at once, by those who read everything: enough for a call to cost nothing beside it, and little enough for
/// the bytes to be in the nearest caches still when their checksums are taken (a megabyte was 8 % slower).
const LONG: usize = 256 << 10;
/// The same, by those who read here and there: four frames of a block.
const SHORT: usize = 16 << 10;

/// A part of a segment in memory.
#[derive(Debug)]
pub(crate) struct Window {
    source: Box<dyn Source>,
    /// Bytes of the segment, as its header says; a file that is shorter is read as if zeros followed.
    length: usize,
    chunk: usize,
    start: usize,
    bytes: Vec<u8>,
    filled: usize,
}

impl Window {
    /// For reading all of it.
    pub(crate) fn new(source: Box<dyn Source>, length: usize) -> Window {
        Window { source, length, chunk: LONG, start: 0, bytes: Vec::new(), filled: 0 }
    }

    /// For reading parts of it.
    pub(crate) fn of_parts(source: Box<dyn Source>, length: usize) -> Window {
        Window { chunk: SHORT, ..Window::new(source, length) }
    }

    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// So many bytes from `offset` on; fewer only at the end of the segment.
    pub(crate) fn at(&mut self, offset: usize, count: usize) -> &[u8] {
        let end = offset.saturating_add(count).min(self.length);
        let offset = offset.min(end);
        if offset < self.start || end > self.start + self.filled {
            self.fill(offset, end);
        }
        &self.bytes[offset - self.start..end - self.start]
    }

    /// Makes the window reach from `offset` to `end`, and farther. What it holds of that already is not read again.
    fn fill(&mut self, offset: usize, end: usize) {
        let start = offset / BLOCK * BLOCK;
        let filled = to_block(end - start).max(self.chunk).min(self.length - start);
        let here = self.start..self.start + self.filled;
        // Whole blocks, as both start at one, and `filled` ends at one but for the end of the segment.
        let known = if here.contains(&start) { (here.end - start).min(filled) } else { 0 };
        if self.bytes.len() < filled {
            let old = std::mem::replace(&mut self.bytes, vec![0; filled]);
            if known > 0 {
                self.bytes[..known].copy_from_slice(&old[start - here.start..][..known]);
            }
        } else if known > 0 {
            self.bytes.copy_within(start - here.start..start - here.start + known, 0);
        }
        (self.start, self.filled) = (start, filled);
        let bytes = &mut self.bytes[known..filled];
        match self.source.read(start + known, bytes) {
            Ok(count) => bytes[count..].fill(0),
            Err(_) => {
                for (number, block) in bytes.chunks_mut(BLOCK).enumerate() {
                    let read = self.source.read(start + known + number * BLOCK, block);
                    let count = read.unwrap_or(0);
                    block[count..].fill(0);
                }
            }
        }
    }
}

/// Bytes in memory, to be read as a segment.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct Fixed(pub(crate) Vec<u8>);

#[cfg(test)]
impl Source for Fixed {
    fn length(&self) -> std::io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read(&self, offset: usize, bytes: &mut [u8]) -> std::io::Result<usize> {
        let rest = self.0.get(offset..).unwrap_or_default();
        let count = rest.len().min(bytes.len());
        bytes[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn settle(&self) -> std::io::Result<()> {
        Ok(())
    }
}
