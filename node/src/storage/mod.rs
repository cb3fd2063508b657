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
//!
//!  the log, oldest first; S: hard state, M: snapshot mark, F: first index needed, e: entry, T: truncation
//!
//!   | g1 S | g1 e1 | g0 S e1 | g1 e2 e3 | g1 T3 e3 | … | g1 S M F | g0 e2 | g1 e20052 …
//!   ^ release: nothing before the oldest record that still counts for some group is needed
//! ```
//!
//! One [`Storage::persist_all`] writes the records of all groups of some turns and syncs once. A snapshot's file is durable before
//! the log names it, and the log names the new one before the old one is removed; so at any moment the two fit.
//!
//! When a group raises its first index, its hard state and snapshot mark are written anew behind it (an anchor), so that
//! they do not hold on to the old end of the log. A quiet group holds on to it nevertheless, with its entries: when
//! the log has grown beyond [`Options::slack_bytes`] and twice what is live, the group that is farthest behind is copied to
//! the end. So the disk holds at most about twice the live records and that slack, however long the node runs.
//!
//! Any failed write or sync is an error that the caller must take as the end of the process: what the disk holds then is
//! only found out by the next start. Nothing is tried twice.

mod error;
mod first_members;
mod identity;
mod live;
mod record;
mod snapshots;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use ordeal_client::wire::{GroupId, NodeId};
use ordeal_wal::{Position, SyncMode, Wal};

pub use error::StorageError;
pub use identity::{FORMAT, Identity};
pub use snapshots::Snapshots;

use crate::engine::Batch;
use crate::raft::{Entry, Persist, Recovered};
use live::Live;
use record::{Body, Record};

/// How a data directory is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    options: Options,
    wal: Wal,
    snapshots: Snapshots,
    groups: BTreeMap<GroupId, Live>,
    /// The record that is being written.
    scratch: Vec<u8>,
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
            sync: options.sync,
        };
        let (wal, found) = Wal::open(&log_dir, wal_options)?;
        if let Some(cut) = &found.cut {
            tracing::warn!(position = %cut.position, bytes = cut.bytes, reason = cut.reason, "torn tail of the log cut");
        }
        let mut replay = Replay { dir: log_dir, groups: BTreeMap::new(), entries: BTreeMap::new() };
        for record in found.records {
            replay.apply(&record)?;
        }
        let recovered = replay.finish(&snapshots)?;
        let groups = replay.groups;
        let kept: Vec<_> =
            groups.iter().filter_map(|(&group, live)| Some((group, live.snapshot()?))).collect();
        snapshots.keep_only(&kept)?;
        Ok((
            Storage {
                dir: dir.to_owned(),
                options,
                wal,
                snapshots,
                groups,
                scratch: Vec::new(),
                failed: false,
                _lock: lock,
            },
            recovered,
        ))
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
        for (group, persist) in batches.iter().flat_map(|batch| &batch.groups) {
            if let Some(snapshot) = &persist.snapshot {
                self.snapshots.write(*group, snapshot)?;
                replaced.push((*group, snapshot.last));
            }
            for body in self.bodies(*group, persist) {
                self.append(*group, body)?;
            }
        }
        self.wal.sync()?;
        for (group, last) in replaced {
            self.snapshots.remove_before(group, last)?;
        }
        self.free_space()?;
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

    /// The records of one write of one group, in the order of the fields of [`Persist`].
    fn bodies(&mut self, group: GroupId, persist: &Persist) -> Vec<Body> {
        let live = self.groups.entry(group).or_default();
        let mut bodies = Vec::with_capacity(persist.entries.len() + 4);
        bodies.extend(persist.hard_state.map(Body::HardState));
        let mut first = live.first();
        let mut truncate_from = persist.truncate_from.filter(|&from| live.reaches(from));
        if let Some(snapshot) = &persist.snapshot {
            let last = snapshot.last;
            let ends_log = !live.holds(last);
            if ends_log {
                first = last.index + 1;
                truncate_from = None;
            }
            bodies.push(Body::Snapshot { last, ends_log });
        }
        // One that removes nothing is left out, as it would say something wrong about what comes next.
        bodies.extend(truncate_from.map(Body::Truncate));
        bodies.extend(persist.entries.iter().cloned().map(Body::Entry));
        if persist.first > first {
            bodies.extend(persist.hard_state.is_none().then(|| Body::HardState(live.hard_state())));
            if persist.snapshot.is_none() {
                bodies.extend(live.snapshot().map(|last| Body::Snapshot { last, ends_log: false }));
            }
            bodies.push(Body::First(persist.first));
        }
        bodies
    }

    fn append(&mut self, group: GroupId, body: Body) -> Result<(), StorageError> {
        let record = Record { group, body };
        record.encode_into(&mut self.scratch);
        let bytes = &self.scratch;
        let position = self.wal.append(record.kind(), bytes)?;
        let live = self.groups.entry(group).or_default();
        let applied = live.apply(&record.body, position, bytes.len() as u64);
        assert!(applied.is_ok(), "{group} persists what does not fit: {}", applied.unwrap_err());
        Ok(())
    }

    /// Lets go of what no group needs, and copies a group that holds on to too much.
    fn free_space(&mut self) -> Result<(), StorageError> {
        self.release()?;
        let live: u64 = self.groups.values().map(Live::bytes).sum();
        if self.wal.disk_bytes() <= 2 * live + self.options.slack_bytes {
            return Ok(());
        }
        let last_behind = self.groups.iter().filter_map(|(&group, live)| Some((live.oldest()?, group))).min();
        // In the newest segment there is nothing to gain: it stays in any case.
        if let Some((oldest, group)) = last_behind
            && oldest.segment < self.wal.next_position().segment
        {
            tracing::debug!(%group, %oldest, log_bytes = self.wal.disk_bytes(), "group copied to the end of the log");
            self.copy_to_end(group)?;
            self.release()?;
        }
        Ok(())
    }

    fn release(&mut self) -> Result<(), StorageError> {
        if let Some(oldest) = self.groups.values().filter_map(Live::oldest).min() {
            self.wal.release(oldest)?;
        }
        Ok(())
    }

    /// Writes all live records of a group anew. Until the last of them is durable, the old ones count.
    fn copy_to_end(&mut self, group: GroupId) -> Result<(), StorageError> {
        let live = self.groups.entry(group).or_default().clone();
        self.append(group, Body::HardState(live.hard_state()))?;
        self.append(group, Body::CopyBegins)?;
        for place in live.entries() {
            let entry = self.read_entry(group, place.position)?;
            self.append(group, Body::Copy(entry))?;
        }
        self.append(group, Body::CopyEnds)?;
        if let Some(last) = live.snapshot() {
            self.append(group, Body::Snapshot { last, ends_log: false })?;
        }
        self.append(group, Body::First(live.first()))?;
        self.wal.sync()?;
        Ok(())
    }

    fn read_entry(&self, group: GroupId, position: Position) -> Result<Entry, StorageError> {
        let record = self.wal.read(position)?;
        let body = Record::decode(record.kind, &record.bytes).map(|record| record.body);
        match body {
            Ok(Body::Entry(entry) | Body::Copy(entry)) => Ok(entry),
            other => panic!("{group} remembers an entry at {position}, where {other:?} lies"),
        }
    }
}

/// Puts the groups together again from the records of the log.
struct Replay {
    dir: PathBuf,
    groups: BTreeMap<GroupId, Live>,
    /// Every entry of the log in the order of their places, of which the live ones are picked at the end.
    entries: BTreeMap<GroupId, Vec<(Position, Option<Entry>)>>,
}

impl Replay {
    fn apply(&mut self, record: &ordeal_wal::Record) -> Result<(), StorageError> {
        let position = record.position;
        let Record { group, body } = Record::decode(record.kind, &record.bytes)
            .map_err(|what| self.inconsistent(GroupId(0), format!("record at {position}: {what}")))?;
        let live = self.groups.entry(group).or_default();
        live.apply(&body, position, record.bytes.len() as u64)
            .map_err(|what| self.inconsistent(group, format!("record at {position}: {what}")))?;
        if let Body::Entry(entry) | Body::Copy(entry) = body {
            self.entries.entry(group).or_default().push((position, Some(entry)));
        }
        Ok(())
    }

    fn finish(&mut self, snapshots: &Snapshots) -> Result<BTreeMap<GroupId, Recovered>, StorageError> {
        let mut recovered = BTreeMap::new();
        for (&group, live) in &self.groups {
            live.check().map_err(|what| self.inconsistent(group, what))?;
            let snapshot = live.snapshot().map(|last| snapshots.read(group, last)).transpose()?;
            let found = self.entries.entry(group).or_default();
            let mut take = |place: live::Place| {
                let at = found.binary_search_by_key(&place.position, |&(position, _)| position).ok()?;
                found[at].1.take()
            };
            let entries: Vec<Entry> = live.entries().filter_map(&mut take).collect();
            assert_eq!(entries.len(), live.entries().len(), "every place of {group} was seen with its entry");
            recovered.insert(group, Recovered { hard_state: live.hard_state(), snapshot, entries });
        }
        Ok(recovered)
    }

    fn inconsistent(&self, group: GroupId, what: String) -> StorageError {
        StorageError::Inconsistent { dir: self.dir.clone(), group, what }
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
