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
//! One [`Storage::persist_all`] is one frame of the log, for all groups of some turns, and one sync. A snapshot's file is
//! durable before the log names it, and the log names the new one before the old one is removed; so at any moment the two
//! fit.
//!
//! What a group no longer needs is freed by whole segments. A quiet group may hold on to an old one: when the log has
//! grown beyond [`Options::slack_bytes`] and twice what is live, what is live in the oldest segment moves to the end.
//!
//! Any failed write or sync is an error that the caller must take as the end of the process: what the disk holds then is
//! only found out by the next start. Nothing is tried twice.

mod entry;
mod error;
mod first_members;
mod identity;
mod recovery;
mod snapshots;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use ordeal_client::wire::{GroupId, NodeId};
use ordeal_wal::{SyncMode, Wal};

pub(crate) use entry::decode as decode_entry;
pub use error::StorageError;
pub use identity::{FORMAT, Identity};
pub use snapshots::Snapshots;

use crate::engine::Batch;
use crate::raft::{LogId, Persist, Recovered};

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

/// A turn with more than this is written in several frames, so that they fit into segments of the usual length.
const FRAME_BYTES: usize = 4 << 20;

/// An open data directory.
#[derive(Debug)]
pub struct Storage {
    dir: PathBuf,
    wal: Wal,
    snapshots: Snapshots,
    /// The frame that is being filled.
    frame: ordeal_wal::Batch,
    failed: bool,
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
        identity::claim(dir, identity)?;
        let snapshots = Snapshots::open(dir.join("snapshots"))?;
        let log_dir = dir.join("wal");
        let wal_options = ordeal_wal::Options {
            store_id: identity.store_id(),
            segment_bytes_first: options.segment_bytes_first,
            segment_bytes_max: options.segment_bytes_max,
            total_bytes_max: LOG_BYTES_MAX,
            slack_bytes: options.slack_bytes,
            sync: options.sync,
        };
        let (wal, found) = Wal::open(&log_dir, wal_options)?;
        recovery::log_report(&found.report);
        let recovered = recovery::groups(&log_dir, &wal, &found, &snapshots)?;
        let kept: Vec<_> = recovered
            .iter()
            .filter_map(|(&group, memory)| Some((group, memory.snapshot.as_ref()?.last)))
            .collect();
        snapshots.keep_only(&kept)?;
        let frame = ordeal_wal::Batch::new();
        let storage = Storage { dir: dir.to_owned(), wal, snapshots, frame, failed: false, _lock: lock };
        Ok((storage, recovered))
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

    /// Makes a batch durable, see [`Storage::persist_all`].
    ///
    /// # Errors
    /// As there.
    pub fn persist(&mut self, batch: &Batch) -> Result<(), StorageError> {
        self.persist_all(std::slice::from_ref(batch))
    }

    /// Makes batches durable, in order, all of them and all their groups with one sync. When this returns, they and all
    /// before them are.
    ///
    /// # Errors
    /// Any error is the end: stop the process, and let the next start find out what the disk holds.
    ///
    /// # Panics
    /// When called again after an error, or when a batch does not fit what was persisted before: both are mistakes of ours.
    pub fn persist_all(&mut self, batches: &[Batch]) -> Result<(), StorageError> {
        assert!(!self.failed, "nothing is persisted after a failure");
        self.failed = true;
        let mut replaced = Vec::new();
        self.frame.clear();
        for (group, persist) in batches.iter().flat_map(|batch| &batch.groups) {
            if let Some(snapshot) = &persist.snapshot {
                self.snapshots.write(*group, snapshot)?;
                replaced.push((*group, snapshot.last));
            }
            self.put(*group, persist);
            if self.frame.bytes() > FRAME_BYTES {
                self.wal.commit(&mut self.frame)?;
                self.frame.clear();
            }
        }
        self.wal.commit(&mut self.frame)?;
        for (group, last) in replaced {
            self.snapshots.remove_before(group, last)?;
        }
        self.wal.reclaim()?;
        self.failed = false;
        Ok(())
    }

    /// Makes sure that damage to the newest frame would be known for damage. To be called when nothing was persisted for
    /// some time; without anything new it does nothing.
    ///
    /// # Errors
    /// As [`Storage::persist_all`].
    ///
    /// # Panics
    /// When called after an error.
    pub fn mark(&mut self) -> Result<(), StorageError> {
        assert!(!self.failed, "nothing is persisted after a failure");
        self.failed = true;
        self.wal.mark()?;
        self.failed = false;
        Ok(())
    }

    /// Bytes of the log on disk, the segment that is prepared for later included.
    #[must_use]
    pub fn log_disk_bytes(&self) -> u64 {
        self.wal.disk_bytes()
    }

    /// Where snapshots may be written aside, on another thread, before a batch names them.
    #[must_use]
    pub fn snapshots(&self) -> Snapshots {
        self.snapshots.clone()
    }

    /// One write of one group, in the order of the fields of [`Persist`].
    fn put(&mut self, group: GroupId, persist: &Persist) {
        let (id, frame) = (u64::from(group.0), &mut self.frame);
        if let Some(hard_state) = persist.hard_state {
            frame.hard_state(id, hard_state.term, hard_state.vote.map_or(0, |node| u64::from(node.0)));
        }
        if let Some(snapshot) = &persist.snapshot {
            let LogId { index, term } = snapshot.last;
            frame.install(id, index, term);
        }
        if let Some(from) = persist.truncate_from {
            frame.truncate(id, from);
        }
        for entry in &persist.entries {
            entry::put(frame, id, entry);
        }
        if persist.first > self.wal.first(id) {
            frame.compact(id, persist.first);
        }
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
