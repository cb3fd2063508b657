//! A checksummed, memory-mapped write-ahead log that many Raft groups share: bytes in, bytes out. It knows groups,
//! indices, terms and votes as numbers, and nothing of what an entry means.
//!
//! # The promise
//!
//! When [`Wal::commit`] returns, everything in that batch and in all before it survives a `kill -9`, a crash of the system
//! and a loss of power, at any later instant, also in the middle of a turn to the next segment, of a reclaim or of a
//! recovery. A batch whose commit did not return may be there afterwards or not, but only as a whole; save that a term and
//! a vote of it may be there alone. [`Wal::open`] returns exactly that, and what it returns is durable by then.
//!
//! Damage is told from a torn tail. Bytes that no sync ever vouched for end the log, and are reported in [`Report::torn`].
//! Damage to what a sync did vouch for is never skipped and never shortens the log: what a second copy cannot make good is
//! returned as a finding that says which entries of which group are gone ([`GroupState::faulty`]), or that a group may have
//! forgotten something ([`GroupState::amnesia`]), and everything else is returned whole.
//!
//! Not promised, as nothing on this disk could tell:
//!
//! 1. Damage to the very last frame, as long as nothing is behind it, or to it and all that is, looks like a torn tail. [`Wal::mark`] ends that
//!    time: call it when the log has been idle for some milliseconds. Until then [`Torn::entries`] says what may have been
//!    in it, if anything of its directory can be read, and its terms and votes count in any case.
//! 2. A directory that is put back as it was some time ago, or a newest segment that is taken away, is a whole log of
//!    an earlier time. Other members see it.
//! 3. Two damages that take both copies of the same thing: of a segment's header, or of a frame's directory. The first is
//!    the loss of that segment (and an error, if it is the newest), the second a hole.
//! 4. A damage that keeps a checksum of 32 bits by chance.
//! 5. A disk that lies about its flushes makes all of this void; so does [`SyncMode::Never`], but only when the power
//!    fails.
//!
//! After a failed write or sync the log is poisoned: the kernel may have dropped the bytes and say "fine" the next time,
//! so nothing is retried and every later call answers [`WalError::Poisoned`]. No space for a new segment poisons nothing.
//!
//! # The rooms
//!
//! ```text
//!   batch   what one frame will hold              media      a directory, or memory that forgets
//!   log     commit, turn, reclaim                 prepare    the next segment, ahead of time
//!   groups, group, usage   where each entry lies  mmap       the one file with unsafe code
//!   layout, frame, runs    the bytes              recovery, replay, scan, window   reading them back
//!   space   how long segments are                 read       entries by their places
//!   inspect looking in without opening            stride     checksums of many short entries at once
//! ```
//!
//! # Example
//!
//! ```
//! use ordeal_wal::{Batch, Options, Wal, WalError};
//!
//! let dir = tempfile::tempdir()?;
//! let (mut wal, recovered) = Wal::open(dir.path(), Options::default())?;
//! assert!(recovered.groups.is_empty());
//!
//! // One frame, one sync, for any number of groups.
//! let mut batch = Batch::new();
//! batch.hard_state(1, 5, 3);
//! batch.entry(1, 1, 5, &[b"set x=", b"1"]);
//! batch.entry(2, 1, 7, &[b"of another group"]);
//! wal.commit(&mut batch)?;
//! drop(wal);
//!
//! let (wal, recovered) = Wal::open(dir.path(), Options::default())?;
//! assert_eq!((recovered.groups[&1].term, recovered.groups[&1].vote), (5, 3));
//! wal.read(1, 1, |index, term, content| {
//!     assert_eq!((index, term, content), (1, 5, &b"set x=1"[..]));
//!     Ok::<(), WalError>(())
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batch;
mod bytes;
mod error;
mod frame;
mod group;
mod groups;
mod inspect;
mod layout;
mod log;
pub mod media;
mod mmap;
mod prepare;
mod read;
mod recovered;
mod recovery;
mod replay;
mod runs;
mod scan;
mod space;
mod stride;
mod usage;
mod window;

pub use batch::Batch;
pub use error::WalError;
pub use inspect::{EntrySeen, Examined, FrameSeen, RunSeen, Seen, SegmentSeen, entries_of, examine, inspect};
pub use layout::VERSION;
pub use log::Wal;
pub use recovered::{Amnesia, Damage, Faulty, GroupState, Loss, Recovered, Report, Torn};

/// The longest frame, and so about the longest batch. Far more than a turn of any node; a snapshot belongs into a file of
/// its own.
pub const FRAME_BYTES_MAX: usize = 256 << 20;

/// How a log is kept. What it holds already is read the same way under any options but another `store_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Whose log this is. A directory with segments of another store is refused.
    pub store_id: u64,
    /// Bytes of the first segment of a life of the process; each later one is twice as long. Brought into 32 KiB to 1 GiB.
    pub segment_bytes_first: u64,
    /// Where the doubling ends. At least `segment_bytes_first`. Only a frame or a table that needs more gets a longer segment.
    pub segment_bytes_max: u64,
    /// No new segment is begun while all of them together would exceed this: [`WalError::NoSpace`]. [`Wal::open`] may exceed
    /// it by one, as a full log could otherwise never be made shorter.
    pub total_bytes_max: u64,
    /// How much longer than twice what is needed of it [`Wal::reclaim`] lets the log be.
    pub slack_bytes: u64,
    /// Whether a commit reaches the disk.
    pub sync: SyncMode,
}

impl Default for Options {
    /// Store 0, segments of 1 to 64 MiB, 4 GiB in all, 256 MiB of slack, always synced.
    fn default() -> Self {
        Options {
            store_id: 0,
            // Small, so that an empty log opens at once.
            segment_bytes_first: 1 << 20,
            // Large, so that turns (three flushes) are rare: one in 16,000 commits of a block.
            segment_bytes_max: 64 << 20,
            total_bytes_max: 4 << 30,
            slack_bytes: 256 << 20, // 4 segments: the open one, the next, and two that wait to be freed
            sync: SyncMode::Always,
        }
    }
}

/// Whether a commit reaches the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncMode {
    /// Every commit waits for the disk.
    Always,
    /// No commit waits for the disk: what was committed survives the process, not the power. After a loss of power the
    /// log may say that it is damaged. For tests, and for people who do not need durability.
    Never,
}
