//! A checksummed, memory-mapped write-ahead log: bytes in, bytes out. It knows nothing of what the bytes mean.
//!
//! # The promise
//!
//! When [`Wal::sync`] returns, everything appended before it survives a `kill -9`, a crash of the system and a loss of
//! power, at any later instruction, also in the middle of a rotation, a release or a recovery. What was appended and not
//! yet synced may be there afterwards or not, but only as a whole sync's worth and only as a prefix: never a gap, never a
//! changed byte. [`Wal::open`] returns exactly that prefix, in order, and what it returns is durable by then.
//!
//! A torn tail, that is bytes no sync ever vouched for, is cut and reported in [`Recovered::cut`]. Damage to anything that
//! a sync did vouch for is an error that names the segment and the offset; nothing is skipped and nothing is rewritten.
//!
//! Not promised: (1) With [`SyncMode::Never`] the log survives the death of the process, but after a loss of power it may
//! be shorter, or be refused as damaged. (2) A disk that damages the very last synced frame, with nothing behind it,
//! cannot be told from a torn tail: that frame is cut. (3) The newest segment's file taken away by somebody
//! goes unnoticed; any other one is missed. (4) A disk that lies about its flushes makes all of this void.
//!
//! After a failed write or sync the log is poisoned: the kernel may have dropped the bytes and say "fine" the next time,
//! so nothing is retried and every later call answers [`WalError::Poisoned`]. No space for a new segment poisons nothing.
//!
//! The back of the log is cut by its owner's own records ("from here on, this counts"); the front by [`Wal::release`].
//! The layout of the files is drawn in `format.rs`.

mod directory;
mod error;
mod format;
mod log;
mod mmap;
mod prepare;
mod recovery;
mod scan;

use std::fmt;

pub use error::WalError;
pub use format::{RECORD_BYTES_MAX, VERSION};
pub use log::Wal;

/// How a log is kept. What it holds already is read the same way under any options but another `store_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Whose log this is. A directory with segments of another store is refused.
    pub store_id: u64,
    /// Bytes of the first segment of a life of the process; each later one is twice as long. Brought into 16 KiB to 1 GiB.
    pub segment_bytes_first: u64,
    /// Where the doubling ends. At least `segment_bytes_first`. Only a record that is longer gets a longer segment.
    pub segment_bytes_max: u64,
    /// No new segment is begun while all of them together would exceed this: [`WalError::NoSpace`]. [`Wal::open`] and
    /// [`Wal::release`] may exceed it by one segment, as a full log could otherwise never be made shorter.
    pub total_bytes_max: u64,
    /// Whether [`Wal::sync`] reaches the disk.
    pub sync: SyncMode,
}

impl Default for Options {
    /// Store 0, segments of 1 to 64 MiB, 1 GiB in all, always synced.
    fn default() -> Self {
        Options {
            store_id: 0,
            // Small, so that an empty log opens at once.
            segment_bytes_first: 1 << 20,
            // Large, so that rotations (three flushes) are rare: one in 16,000 syncs of a block.
            segment_bytes_max: 64 << 20,
            total_bytes_max: 1 << 30,
            sync: SyncMode::Always,
        }
    }
}

/// Whether a sync reaches the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncMode {
    /// Every sync waits for the disk.
    Always,
    /// No sync waits for the disk: what was synced survives the process, not the power. For tests, and for people who do
    /// not need durability.
    Never,
}

/// Where a record is: the number of its segment, and the offset of its first byte in that file. Later records have
/// greater positions, and no position is ever used twice. Prints as `7:8192`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Number of the segment; its file is named after it, in 16 hexadecimal digits.
    pub segment: u64,
    /// Bytes from the start of the segment's file.
    pub offset: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.segment, self.offset)
    }
}

/// A record as it was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it is.
    pub position: Position,
    /// What the owner said it is.
    pub kind: u8,
    /// What the owner appended.
    pub bytes: Vec<u8>,
}

/// What [`Wal::open`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Every record of every segment that was not released, in the order of the appends. All of it is durable.
    pub records: Vec<Record>,
    /// Where and why the log was cut, if it did not end cleanly.
    pub cut: Option<CutTail>,
    /// Segments of which one of the two header copies was damaged and was written anew from the other.
    pub headers_repaired: Vec<u64>,
}

/// A torn tail: bytes behind the last whole frame, of which no sync ever returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutTail {
    /// Where the log ends now: the start of the torn frame.
    pub position: Position,
    /// Bytes from there to the last one that is not zero.
    pub bytes: u64,
    /// What was wrong first, such as `checksum of record at 8256`.
    pub reason: String,
}
