//! The node's disk: makes what the engine asks for durable, and after a start says what was.
//!
//! ```text
//!  data/1/                      --dir of node n1
//!  ├── lock                     held while a process works here; holds its id
//!  ├── identity                 cluster and node, written once: a directory of somebody else is refused
//!  ├── snapshots/
//!  │   ├── g0-812-4.snap        the newest snapshot of group 0, up to entry 812@4: one a group
//!  │   ├── g1-10042-7.snap
//!  │   └── g1-20051-7.snap.tmp  being written; removed at the next start
//!  └── wal/                     one log for all groups, see the crate ordeal-wal
//!      ├── 0000000000000007.wal
//!      └── 0000000000000008.wal
//! ```
//!
//! `journal.rs` is what of this works over any media; this file adds the directory: its lock, identity and free space.
//!
//! One [`Storage::persist_all`] is one frame of the log, for all groups of some turns, and one sync. A snapshot's file is
//! durable before the log names it, and the log names the new one before the old one is removed; so at any moment the two
//! fit.
//!
//! What a group no longer needs is freed by whole segments. A quiet group may hold on to an old one: when the log has
//! grown beyond [`Options::slack_bytes`] and twice what is live, what is live in the oldest segment moves to the end.
//!
//! Any failed write or sync is an error that the caller must take as the end of the process: what the disk holds then is
//! only found out by the next start. Nothing is tried twice.

mod durable;
mod entry;
mod error;
mod first_members;
mod identity;
mod journal;
mod recovery;
mod snapshots;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ordeal_client::wire::{DirectoryId, GroupId, NodeId};
use ordeal_wal::SyncMode;
use ordeal_wal::media::Directory;

pub use durable::Pace;
pub(crate) use entry::decode as decode_entry;
pub use error::StorageError;
pub use identity::{FORMAT, Identity};
pub use journal::Journal;
pub use snapshots::{SnapshotFiles, Snapshots};

use crate::engine::Batch;
use crate::raft::Recovered;

/// How a data directory is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Whether a sync reaches the disk.
    pub sync: SyncMode,
    /// Length of the log's first segment after a start; each later one is twice as long.
    pub segment_bytes_first: u64,
    /// Where that ends.
    pub segment_bytes_max: u64,
    /// The log may be longer by this than twice what is live in it.
    pub slack_bytes: u64,
    /// A start with less free space than this is refused.
    pub free_bytes_min: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            sync: SyncMode::Always,
            // Small, so that an empty node is ready at once.
            segment_bytes_first: 1 << 20,
            segment_bytes_max: 16 << 20,
            slack_bytes: 64 << 20, // 4 segments: the open one, the next, and two that wait to be released
            free_bytes_min: 32 << 20, // 2 segments: the open one and the next
        }
    }
}

/// The log may never hold more. Far above anything that the slack and the live entries come to; it keeps a mistake of
/// ours from filling a disk that others use too.
const LOG_BYTES_MAX: u64 = 16 << 30;

/// An open data directory.
#[derive(Debug)]
pub struct Storage {
    dir: PathBuf,
    directory: DirectoryId,
    journal: Journal<Snapshots>,
    /// Last, so that it is let go after everything else.
    _lock: File,
}

impl Storage {
    /// Opens the data directory, made if it is missing, and returns what each group in it remembers. All of it is durable.
    ///
    /// # Errors
    /// [`StorageError`]: the directory is somebody else's, in use, damaged, or on a full disk.
    pub fn open(
        dir: &Path,
        identity: &Identity,
        options: Options,
    ) -> Result<(Storage, BTreeMap<GroupId, Recovered>), StorageError> {
        let lock = identity::lock(dir)?;
        check_space(dir, options.free_bytes_min)?;
        let directory = identity::claim(dir, identity)?;
        let snapshots = Snapshots::open(dir.join("snapshots"))?;
        let wal_options = ordeal_wal::Options {
            store_id: identity.store_id(),
            segment_bytes_first: options.segment_bytes_first,
            segment_bytes_max: options.segment_bytes_max,
            total_bytes_max: LOG_BYTES_MAX,
            slack_bytes: options.slack_bytes,
            sync: options.sync,
        };
        let media = Arc::new(Directory::new(&dir.join("wal"), options.sync));
        let (journal, recovered) = Journal::open(media, wal_options, snapshots)?;
        let storage = Storage { dir: dir.to_owned(), directory, journal, _lock: lock };
        Ok((storage, recovered))
    }

    /// The directory's own id, drawn when it was begun.
    #[must_use]
    pub fn directory(&self) -> DirectoryId {
        self.directory
    }

    /// With whom the directory was begun: with these, if that is now.
    ///
    /// # Errors
    /// [`StorageError`] when the file that says so is damaged, or cannot be read or written.
    pub fn first_members(
        &self,
        ours: &BTreeMap<NodeId, String>,
    ) -> Result<BTreeMap<NodeId, String>, StorageError> {
        first_members::remember(&self.dir, ours)
    }

    /// Makes a batch durable, see [`Journal::persist_all`].
    ///
    /// # Errors
    /// As there.
    pub fn persist(&mut self, batch: &Batch) -> Result<(), StorageError> {
        self.persist_all(std::slice::from_ref(batch))
    }

    /// Makes batches durable, see [`Journal::persist_all`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there.
    pub fn persist_all(&mut self, batches: &[Batch]) -> Result<(), StorageError> {
        self.journal.persist_all(batches)
    }

    /// Makes sure that damage to the newest frame would be known for damage, see [`Journal::mark`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there.
    pub fn mark(&mut self) -> Result<(), StorageError> {
        self.journal.mark()
    }

    /// Whether there is space for what comes, see [`Journal::has_room`].
    ///
    /// # Errors
    /// As there.
    pub fn has_room(&mut self) -> Result<bool, StorageError> {
        self.journal.has_room()
    }

    /// Bytes of the log on disk, the segment that is prepared for later included.
    #[must_use]
    pub fn log_disk_bytes(&self) -> u64 {
        self.journal.log_disk_bytes()
    }

    /// Where snapshots may be written aside, on another thread, before a batch names them.
    #[must_use]
    pub fn snapshots(&self) -> Snapshots {
        self.journal.snapshots().clone()
    }
}

fn check_space(dir: &Path, needed_bytes: u64) -> Result<(), StorageError> {
    let stat =
        nix::sys::statvfs::statvfs(dir).map_err(|errno| error::io_error("measure", dir)(errno.into()))?;
    let free_bytes = stat.blocks_available().saturating_mul(stat.fragment_size());
    if free_bytes < needed_bytes {
        return Err(StorageError::NoSpace { dir: dir.to_owned(), free_bytes, needed_bytes });
    }
    Ok(())
}
