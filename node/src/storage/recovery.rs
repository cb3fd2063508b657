//! What the log of the last life comes to: each group's memory, or why the node must not start with it.
//!
//! The log tells damage from a torn tail, and names each entry that is gone. To fetch those from the other members is work
//! of another day; until then a member that lost what it had promised does not start, and its directory stays as it is.

use std::collections::BTreeMap;
use std::path::Path;

use ordeal_client::wire::{GroupId, NodeId};
use ordeal_wal::{GroupState, Loss, Report, Wal};

use super::{SnapshotFiles, StorageError, entry};
use crate::raft::{Entry, HardState, LogId, Recovered};

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

/// What each group remembers.
pub(super) fn groups(
    dir: &Path,
    wal: &Wal,
    found: &ordeal_wal::Recovered,
    snapshots: &impl SnapshotFiles,
) -> Result<BTreeMap<GroupId, Recovered>, StorageError> {
    let mut recovered = BTreeMap::new();
    for (&id, state) in &found.groups {
        let Ok(number) = u32::try_from(id) else {
            let what = format!("group {id} is none of ours");
            return Err(StorageError::Inconsistent { dir: dir.to_owned(), group: GroupId(0), what });
        };
        let group = GroupId(number);
        refuse_losses(dir, group, state)?;
        recovered.insert(group, remember(dir, wal, group, state, snapshots)?);
    }
    if found.report.groups_may_be_missing {
        return Err(StorageError::Holes { dir: dir.to_owned() });
    }
    Ok(recovered)
}

/// A member that forgot what it said must not go on as if it had never said it.
fn refuse_losses(dir: &Path, group: GroupId, state: &GroupState) -> Result<(), StorageError> {
    if let Some(faulty) = state.faulty.first() {
        return Err(StorageError::LostEntries {
            dir: dir.to_owned(),
            group,
            first: faulty.first,
            last: faulty.first + faulty.count - 1,
            term: faulty.term,
        });
    }
    if let Some(amnesia) = state.amnesia {
        return Err(StorageError::Forgot { dir: dir.to_owned(), group, vote: amnesia.vote });
    }
    Ok(())
}

fn remember(
    dir: &Path,
    wal: &Wal,
    group: GroupId,
    state: &GroupState,
    snapshots: &impl SnapshotFiles,
) -> Result<Recovered, StorageError> {
    let inconsistent = |what: String| StorageError::Inconsistent { dir: dir.to_owned(), group, what };
    let mut entries: Vec<Entry> = Vec::with_capacity(usize::try_from(state.next - state.first).unwrap_or(0));
    wal.read(u64::from(group.0), state.first, |index, term, content| {
        let id = LogId::new(index, term);
        entries.push(entry::decode(id, content).map_err(|what| inconsistent(format!("entry {id}: {what}")))?);
        Ok::<(), StorageError>(())
    })?;
    let vote = u32::try_from(state.vote).map_err(|_| inconsistent(format!("vote for {}", state.vote)))?;
    let vote = Some(vote).filter(|&node| node > 0).map(NodeId);
    let hard_state = HardState { term: state.term, vote };
    check(state, &entries).map_err(inconsistent)?;
    let last = state.snapshot.map(|(index, term)| LogId::new(index, term));
    let snapshot = last.map(|last| snapshots.read(group, last)).transpose()?;
    Ok(Recovered { hard_state, snapshot, entries, lost: Vec::new() })
}

/// Whether it makes sense together; the error says what does not.
fn check(state: &GroupState, entries: &[Entry]) -> Result<(), String> {
    let snapshot = state.snapshot.map_or(LogId::ZERO, |(index, term)| LogId::new(index, term));
    let first = state.first;
    if first > snapshot.index + 1 {
        return Err(format!("entries before {first} are gone, but the snapshot ends at {snapshot}"));
    }
    if state.next <= snapshot.index {
        return Err(format!("the log ends before {}, but the snapshot at {snapshot}", state.next));
    }
    if let Some(wrong) = entries.windows(2).find(|pair| pair[1].id.term < pair[0].id.term) {
        return Err(format!("entry {} stands behind {}, which has a higher term", wrong[1].id, wrong[0].id));
    }
    let at_snapshot = entries.iter().find(|entry| entry.id.index == snapshot.index);
    if at_snapshot.is_some_and(|entry| entry.id != snapshot) {
        return Err(format!("the entry at the end of the snapshot at {snapshot} has another term"));
    }
    match entries.last() {
        Some(last) if last.id.term > state.term => {
            Err(format!("entry {} is of a later term than the member's own, {}", last.id, state.term))
        }
        Some(_) | None => Ok(()),
    }
}
