//! What a disk must remember, kept beside the real log of `disk.rs`: what the checks ask about, and what every start is
//! compared with.

use std::collections::{BTreeMap, VecDeque};

use ordeal_client::wire::GroupId;
use ordeal_node::engine::Batch;
use ordeal_node::raft::{Entry, HardState, Index, LogId, Persist, Recovered, Term};

/// What all groups of a node have on its disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shadow(BTreeMap<GroupId, Log>);

/// What one group has on a disk.
///
/// Invariant: `entries` have indexes without a gap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Log {
    hard_state: HardState,
    /// The last entry that the snapshot covers.
    covered: LogId,
    entries: VecDeque<Entry>,
}

impl Shadow {
    /// What a start found. What it found damaged is here as it was, by what `known` says: it has its place, and comes back.
    pub fn of(recovered: &BTreeMap<GroupId, Recovered>, known: [&Shadow; 2]) -> Self {
        let log = |group: &GroupId, found: &Recovered| {
            let lost = found.lost.iter().map(|lost| {
                let mut logs = known.iter().filter_map(|shadow| shadow.0.get(group));
                let entry = logs.find_map(|log| log.entry(lost.id.index).filter(|entry| entry.id == lost.id));
                entry.cloned().unwrap_or_else(|| panic!("disk: {} was never handed over", lost.id))
            });
            let mut entries: Vec<Entry> = found.entries.iter().cloned().chain(lost).collect();
            entries.sort_by_key(|entry| entry.id.index);
            Log {
                hard_state: found.hard_state,
                covered: found.snapshot.as_ref().map_or(LogId::ZERO, |snapshot| snapshot.last),
                entries: entries.into(),
            }
        };
        Shadow(recovered.iter().map(|(group, found)| (*group, log(group, found))).collect())
    }

    /// A batch is written.
    pub fn take(&mut self, batch: &Batch) {
        for (group, persist) in &batch.groups {
            self.0.entry(*group).or_default().take(persist);
        }
    }

    /// Whether a start that finds this found what was kept, the next batches being lost. Of a torn one terms and votes
    /// count all the same: to have voted without anybody knowing harms nobody.
    pub fn is(&self, kept: &Shadow, lost: &[Batch]) -> bool {
        let voted = |group: GroupId, state: HardState| {
            let states = lost.iter().flat_map(|batch| &batch.groups);
            states.into_iter().any(|(of, persist)| *of == group && persist.hard_state == Some(state))
        };
        let empty = Log::default();
        kept.0.keys().all(|group| self.0.contains_key(group))
            && self.0.iter().all(|(group, log)| {
                let kept = kept.0.get(group).unwrap_or(&empty);
                // Where a snapshot covers what is damaged, nothing before its end is of use.
                let first = log.entries.front().map_or(log.covered.index + 1, |entry| entry.id.index);
                let behind = kept
                    .entries
                    .iter()
                    .filter(|entry| entry.id.index >= first || entry.id.index > log.covered.index);
                log.covered == kept.covered
                    && log.entries.iter().eq(behind)
                    && (log.hard_state == kept.hard_state || voted(*group, log.hard_state))
            })
    }

    /// Whether this entry is here, as itself or in a snapshot.
    pub fn has(&self, group: GroupId, id: LogId) -> bool {
        self.0.get(&group).is_some_and(|log| {
            log.covered.index >= id.index || log.entry(id.index).is_some_and(|entry| entry.id == id)
        })
    }

    /// Term of what stands at this index, also at the end of the snapshot.
    pub fn term_at(&self, group: GroupId, index: Index) -> Option<Term> {
        let log = self.0.get(&group)?;
        let covered = Some(log.covered).filter(|covered| covered.index > 0 && covered.index == index);
        log.entry(index).map(|entry| entry.id.term).or(covered.map(|covered| covered.term))
    }

    /// What tells this from another, in a line for a person.
    pub fn words(&self) -> String {
        let log = |(group, log): (&GroupId, &Log)| {
            let ends = [log.entries.front(), log.entries.back()].map(|end| end.map(|entry| entry.id));
            format!("{group}: {:?}, snapshot {}, entries {ends:?}", log.hard_state, log.covered)
        };
        self.0.iter().map(log).collect::<Vec<_>>().join("; ")
    }
}

impl Log {
    fn entry(&self, index: Index) -> Option<&Entry> {
        let first = self.entries.front()?.id.index;
        self.entries.get(usize::try_from(index.checked_sub(first)?).ok()?)
    }

    fn take(&mut self, persist: &Persist) {
        if let Some(state) = persist.hard_state {
            assert!(state.term >= self.hard_state.term, "a term on a disk never goes back");
            self.hard_state = state;
        }
        if let Some(snapshot) = &persist.snapshot {
            let last = snapshot.last;
            if self.entry(last.index).is_none_or(|entry| entry.id != last) {
                self.entries.clear();
            }
            self.covered = last;
        }
        if let Some(from) = persist.truncate_from {
            while self.entries.back().is_some_and(|entry| entry.id.index >= from) {
                self.entries.pop_back();
            }
        }
        for entry in &persist.entries {
            let last = self.entries.back().map_or(self.covered.index, |last| last.id.index);
            assert!(entry.id.index == last + 1, "{} is appended behind {last}", entry.id);
            self.entries.push_back(entry.clone());
        }
        while self.entries.front().is_some_and(|entry| entry.id.index < persist.first) {
            self.entries.pop_front();
        }
    }
}
