//! What a node remembers, over any media: the log of all its groups, and the snapshots that it names.
//!
//! [`super::Storage`] puts one into a directory; the simulator puts one on a disk of its own that forgets and fails. So what
//! is tried there with every loss of power is what runs here: entries byte for byte, the order of writes, recovery.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use ordeal_client::wire::GroupId;
use ordeal_wal::media::Media;
use ordeal_wal::{Wal, WalError};

use super::recovery::{self, Memory};
use super::{Pace, SnapshotFiles, StorageError, entry};
use crate::engine::Batch;
use crate::raft::{Entry, LogId, Payload, Persist, Recovered};

/// A turn with more than this is written in several frames, so that they fit into segments of the usual length.
const FRAME_BYTES: usize = 4 << 20;

/// Beside the log of each group is another one under its number and this, without entries: its term is the highest index at
/// which the group's log ever held a configuration. So of an entry that was lost it is known that it was none, and its
/// member may look for votes (`raft/repair.rs`, rule 5). It changes as rarely as members do, in the same frame as they.
pub(super) const CONFIGURED: u64 = 1 << 32;

/// An open log with its snapshots. The order in which the two are written is the promise of this type:
///
/// * a snapshot's file is durable before the log names it;
/// * the log names it durably before the one before it is removed;
/// * entries go only in the same frame that names the snapshot which covers them, or later.
#[derive(Debug)]
pub struct Journal<S> {
    wal: Wal,
    snapshots: S,
    /// The frame that is being filled.
    frame: ordeal_wal::Batch,
    /// So many writes of the batches that did not all find space are durable.
    written: usize,
    /// What the logs under [`CONFIGURED`] say.
    configured: BTreeMap<GroupId, u64>,
    /// Groups with entries that are damaged.
    damaged: BTreeSet<GroupId>,
    failed: bool,
}

impl<S: SnapshotFiles> Journal<S> {
    /// Opens the log on these media, and returns what each group in it remembers. All of it is durable.
    ///
    /// # Errors
    /// [`StorageError`]: log or snapshots are somebody else's, in use, damaged, or on a full disk.
    pub fn open(
        media: Arc<dyn Media>,
        options: ordeal_wal::Options,
        snapshots: S,
    ) -> Result<(Journal<S>, BTreeMap<GroupId, Recovered>), StorageError> {
        let dir: PathBuf = media.path("").components().collect();
        let (wal, found) = Wal::open_on(media, options)?;
        recovery::log_report(&found.report);
        let Memory { groups: recovered, configured } = recovery::groups(&dir, &wal, &found, &snapshots)?;
        let kept: Vec<_> = recovered
            .iter()
            .filter_map(|(&group, memory)| Some((group, memory.snapshot.as_ref()?.last)))
            .collect();
        snapshots.keep_only(&kept)?;
        let damaged = recovered.iter().filter(|(_, memory)| !memory.lost.is_empty());
        let damaged = damaged.map(|(&group, _)| group).collect();
        let frame = ordeal_wal::Batch::new();
        Ok((Journal { wal, snapshots, frame, written: 0, configured, damaged, failed: false }, recovered))
    }

    /// Makes batches durable, in order, all of them and all their groups with one sync. When this returns, they and all
    /// before them are.
    ///
    /// # Errors
    /// Of no space ([`StorageError::is_no_space`]): to be called again with the same batches, when there may be some; a part of
    /// them may be durable, and is not written again. Any other error is the end: stop the process, and let the next start
    /// find out what the disk holds.
    ///
    /// # Panics
    /// When called again after such an end, or when a batch does not fit what was persisted before: both are mistakes of ours.
    pub fn persist_all(&mut self, batches: &[Batch]) -> Result<(), StorageError> {
        assert!(!self.failed, "nothing is persisted after a failure");
        let persisted = self.try_persist(batches);
        if let Err(error) = &persisted {
            self.failed = !error.is_no_space();
            // What was to be written and was not is not known yet.
            for (group, index) in &mut self.configured {
                *index = self.wal.group(CONFIGURED | u64::from(group.0)).map_or(0, |log| log.term);
            }
        }
        persisted
    }

    fn try_persist(&mut self, batches: &[Batch]) -> Result<(), StorageError> {
        let writes = || batches.iter().flat_map(|batch| &batch.groups);
        self.frame.clear();
        for (count, (group, persist)) in (1..).zip(writes()).skip(self.written) {
            if let Some(snapshot) = &persist.snapshot {
                self.snapshots.write(*group, snapshot, Pace::AtOnce)?;
            }
            self.put(*group, persist);
            if self.frame.bytes() > FRAME_BYTES {
                self.wal.commit(&mut self.frame)?;
                self.frame.clear();
                self.written = count;
            }
        }
        self.wal.commit(&mut self.frame)?;
        self.written = 0;
        for (group, persist) in writes() {
            if let Some(snapshot) = &persist.snapshot {
                self.snapshots.remove_before(*group, snapshot.last)?;
            }
        }
        unless_full(self.wal.reclaim())?;
        self.tell_repaired();
        Ok(())
    }

    /// Whether there is space for what comes; while there is not, entries are to be refused, so that what is left is for what
    /// is under way and for votes. To be asked now and then.
    ///
    /// # Errors
    /// Any is the end, as of [`Journal::persist_all`].
    pub fn has_room(&mut self) -> Result<bool, StorageError> {
        let has_room = self.wal.has_room();
        self.failed |= has_room.is_err();
        Ok(has_room?)
    }

    /// Says when nothing of what was damaged is missing any more.
    fn tell_repaired(&mut self) {
        let wal = &self.wal;
        self.damaged.retain(|&group| {
            let is_whole = wal.group(u64::from(group.0)).is_none_or(|state| state.faulty.is_empty());
            if is_whole {
                tracing::info!(%group, "what was damaged in the log is whole again");
            }
            !is_whole
        });
    }

    /// Makes sure that damage to the newest frame would be known for damage. To be called when nothing was persisted for
    /// some time; without anything new it does nothing.
    ///
    /// # Errors
    /// As [`Journal::persist_all`].
    ///
    /// # Panics
    /// When called after an error.
    pub fn mark(&mut self) -> Result<(), StorageError> {
        assert!(!self.failed, "nothing is persisted after a failure");
        let marked = unless_full(self.wal.mark());
        self.failed = marked.is_err();
        marked
    }

    /// Bytes of the log on disk, the segment that is prepared for later included.
    #[must_use]
    pub fn log_disk_bytes(&self) -> u64 {
        self.wal.disk_bytes()
    }

    /// Where snapshots may be written aside, on another thread, before a batch names them.
    pub fn snapshots(&self) -> &S {
        &self.snapshots
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
        let is_configuration = |entry: &&Entry| matches!(entry.payload, Payload::Membership(_));
        let newest = persist.entries.iter().filter(is_configuration).map(|entry| entry.id.index).max();
        let known = self.configured.entry(group).or_default();
        if let Some(index) = newest.filter(|index| index > known) {
            *known = index;
            frame.hard_state(CONFIGURED | id, index, 0);
        }
        for entry in &persist.entries {
            entry::put(frame, id, entry);
        }
        for entry in &persist.repairs {
            entry::put_again(frame, id, entry);
        }
        if persist.first > self.wal.first(id) {
            frame.compact(id, persist.first);
        }
    }
}

/// What is only done to tidy up waits until there is space for it.
fn unless_full(done: Result<(), WalError>) -> Result<(), StorageError> {
    match done {
        Ok(()) | Err(WalError::NoSpace { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
