//! What the log of the last life comes to: each group's memory, or why the node must not start with it.
//!
//! The log tells damage from a torn tail, and names each entry that is gone. A member starts without those, and gets them from
//! the others (`raft/repair.rs`); what a snapshot covers it needs no more. It does not start when it may have forgotten a vote, or
//! entries of which not even the ids are left: nobody could tell it what it promised.

use std::collections::BTreeMap;
use std::path::Path;

use ordeal_client::wire::{GroupId, NodeId};
use ordeal_wal::{GroupState, Loss, Report, Wal};

use super::journal::CONFIGURED;
use super::{SnapshotFiles, StorageError, entry};
use crate::raft::{Entry, HardState, Index, LogId, Lost, Recovered};

/// Says on stderr what the log had to say about itself.
pub(super) fn log_report(report: &Report) {
    if let Some(torn) = &report.torn {
        tracing::warn!(
            segment = torn.segment,
            offset = torn.offset,
            reason = torn.what,
            "torn tail of the log cut"
        );
    }
    for damage in &report.damage {
        let (segment, offset, what) = (damage.segment, damage.offset, damage.what);
        if damage.loss == Loss::Nothing {
            tracing::warn!(segment, offset, what, "damage in the log, made good by its copy");
        } else {
            tracing::error!(segment, offset, what, loss = ?damage.loss, "damage in the log");
        }
    }
}

/// What the log comes to.
#[derive(Debug)]
pub(super) struct Memory {
    /// What each group remembers.
    pub(super) groups: BTreeMap<GroupId, Recovered>,
    /// The highest index at which the log of each ever held a configuration, see [`CONFIGURED`].
    pub(super) configured: BTreeMap<GroupId, Index>,
}

/// What each group remembers.
pub(super) fn groups(
    dir: &Path,
    wal: &Wal,
    found: &ordeal_wal::Recovered,
    snapshots: &impl SnapshotFiles,
) -> Result<Memory, StorageError> {
    let mut memory = Memory { groups: BTreeMap::new(), configured: BTreeMap::new() };
    let mut doubtful = Vec::new();
    for (&id, state) in found.groups.range(CONFIGURED..) {
        let group = group_of(dir, id & !CONFIGURED)?;
        memory.configured.insert(group, state.term);
        doubtful.extend(state.amnesia.map(|_| group));
    }
    for (&id, state) in found.groups.range(..CONFIGURED) {
        let group = group_of(dir, id)?;
        if let Some(amnesia) = state.amnesia {
            return Err(StorageError::Forgot { dir: dir.to_owned(), group, vote: amnesia.vote });
        }
        let configured = memory.configured.get(&group).copied().unwrap_or(0);
        let configured = if doubtful.contains(&group) { Index::MAX } else { configured };
        let lost = lost(dir, group, state, configured)?;
        memory.groups.insert(group, remember(dir, wal, group, state, lost, snapshots)?);
    }
    if found.report.groups_may_be_missing {
        return Err(StorageError::Holes { dir: dir.to_owned() });
    }
    Ok(memory)
}

fn group_of(dir: &Path, id: u64) -> Result<GroupId, StorageError> {
    u32::try_from(id).map(GroupId).map_err(|_| {
        let what = format!("group {id} is none of ours");
        StorageError::Inconsistent { dir: dir.to_owned(), group: GroupId(0), what }
    })
}

/// What is damaged behind the snapshot. One whose term is unknown has no name to ask for it by.
fn lost(
    dir: &Path,
    group: GroupId,
    state: &GroupState,
    configured: Index,
) -> Result<Vec<Lost>, StorageError> {
    let covered = state.snapshot.map_or(0, |(index, _)| index);
    let mut all = Vec::new();
    for faulty in &state.faulty {
        let last = faulty.first + faulty.count - 1;
        let behind = faulty.first.max(covered + 1)..=last;
        let Some(term) = faulty.term else {
            if behind.is_empty() {
                continue;
            }
            let (dir, first) = (dir.to_owned(), faulty.first);
            return Err(StorageError::LostEntries { dir, group, first, last, term: None });
        };
        if !behind.is_empty() {
            let (first, last) = (behind.start(), behind.end());
            tracing::warn!(%group, first, last, term, "entries of the log are damaged, to be fetched from other members");
        }
        all.extend(behind.map(|index| {
            let id = LogId::new(index, term);
            Lost { id, may_be_membership: index <= configured }
        }));
    }
    Ok(all)
}

fn remember(
    dir: &Path,
    wal: &Wal,
    group: GroupId,
    state: &GroupState,
    lost: Vec<Lost>,
    snapshots: &impl SnapshotFiles,
) -> Result<Recovered, StorageError> {
    let inconsistent = |what: String| StorageError::Inconsistent { dir: dir.to_owned(), group, what };
    let mut entries: Vec<Entry> = Vec::with_capacity(usize::try_from(state.next - state.first).unwrap_or(0));
    let last = state.snapshot.map_or(LogId::ZERO, |(index, term)| LogId::new(index, term));
    // Where the snapshot covers something that is damaged, nothing before its end is of use.
    let is_torn = state.faulty.iter().any(|faulty| faulty.first <= last.index);
    let from = if is_torn { last.index + 1 } else { state.first };
    wal.read(u64::from(group.0), from, |index, term, content| {
        let id = LogId::new(index, term);
        entries.push(entry::decode(id, content).map_err(|what| inconsistent(format!("entry {id}: {what}")))?);
        Ok::<(), StorageError>(())
    })?;
    let vote = u32::try_from(state.vote).map_err(|_| inconsistent(format!("vote for {}", state.vote)))?;
    let vote = Some(vote).filter(|&node| node > 0).map(NodeId);
    let hard_state = HardState { term: state.term, vote };
    let mut ids: Vec<LogId> = entries.iter().map(|entry| entry.id).collect();
    ids.extend(lost.iter().map(|lost| lost.id));
    ids.sort_unstable_by_key(|id| id.index);
    check(state, last, &ids).map_err(inconsistent)?;
    let snapshot = (last.index > 0).then(|| snapshots.read(group, last)).transpose()?;
    Ok(Recovered { hard_state, snapshot, entries, lost })
}

/// Whether it makes sense together; the error says what does not.
fn check(state: &GroupState, snapshot: LogId, ids: &[LogId]) -> Result<(), String> {
    let first = state.first;
    if first > snapshot.index + 1 {
        return Err(format!("entries before {first} are gone, but the snapshot ends at {snapshot}"));
    }
    if state.next <= snapshot.index {
        return Err(format!("the log ends before {}, but the snapshot at {snapshot}", state.next));
    }
    if let Some(wrong) = ids.windows(2).find(|pair| pair[1].term < pair[0].term) {
        return Err(format!("entry {} stands behind {}, which has a higher term", wrong[1], wrong[0]));
    }
    if let Some(wrong) = ids.windows(2).find(|pair| pair[1].index != pair[0].index + 1) {
        return Err(format!("entry {} stands behind {}", wrong[1], wrong[0]));
    }
    let at_snapshot = ids.iter().find(|id| id.index == snapshot.index);
    if at_snapshot.is_some_and(|id| *id != snapshot) {
        return Err(format!("the entry at the end of the snapshot at {snapshot} has another term"));
    }
    match ids.last() {
        Some(last) if last.term > state.term => {
            Err(format!("entry {last} is of a later term than the member's own, {}", state.term))
        }
        Some(_) | None => Ok(()),
    }
}
