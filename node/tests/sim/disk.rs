//! A disk in memory: what was written is durable once it is synced. A crash keeps any beginning of what was not, to the
//! record: the log of the real storage is cut at the first record that is torn.

use std::collections::{BTreeMap, VecDeque};

use ordeal_client::wire::GroupId;
use ordeal_node::engine::{Batch, BatchTicket};
use ordeal_node::raft::{Entry, HardState, Index, LogId, Recovered, Snapshot, Term};

/// A node's disk.
#[derive(Debug, Default)]
pub struct Disk {
    /// What a crash cannot take away.
    synced: BTreeMap<GroupId, Log>,
    /// What a reader would see now.
    written: BTreeMap<GroupId, Log>,
    /// Written and not yet synced, oldest first.
    pending: VecDeque<(BatchTicket, Vec<Record>)>,
}

/// What one group has on a disk.
///
/// Invariant: `entries` have indexes without a gap.
#[derive(Debug, Clone, Default)]
struct Log {
    hard_state: HardState,
    snapshot: Option<Snapshot>,
    entries: VecDeque<Entry>,
}

#[derive(Debug, Clone)]
struct Record {
    group: GroupId,
    change: Change,
}

#[derive(Debug, Clone)]
enum Change {
    HardState(HardState),
    Snapshot(Snapshot),
    TruncateFrom(Index),
    Append(Entry),
    First(Index),
}

impl Disk {
    /// Takes a batch; nothing of it is durable yet.
    pub fn write(&mut self, batch: Batch) {
        let mut records = Vec::new();
        for (group, persist) in batch.groups {
            let mut push = |change| records.push(Record { group, change });
            persist.hard_state.into_iter().for_each(|state| push(Change::HardState(state)));
            persist.snapshot.into_iter().for_each(|snapshot| push(Change::Snapshot(snapshot)));
            persist.truncate_from.into_iter().for_each(|from| push(Change::TruncateFrom(from)));
            persist.entries.into_iter().for_each(|entry| push(Change::Append(entry)));
            push(Change::First(persist.first));
        }
        for record in &records {
            self.written.entry(record.group).or_default().take(&record.change);
        }
        self.pending.push_back((batch.ticket, records));
    }

    /// This batch, and all before it, become durable.
    pub fn sync(&mut self, ticket: BatchTicket) {
        while self.pending.front().is_some_and(|&(oldest, _)| oldest <= ticket) {
            let (_, records) = self.pending.pop_front().expect("there is a front");
            for record in &records {
                self.synced.entry(record.group).or_default().take(&record.change);
            }
        }
    }

    /// The node dies: of the records that were not synced so many are lost, the newest first; `None`: all.
    pub fn crash(&mut self, lose: Option<usize>) {
        let records: Vec<Record> = self.pending.drain(..).flat_map(|(_, records)| records).collect();
        let kept = lose.map_or(0, |lose| records.len().saturating_sub(lose));
        for record in &records[..kept] {
            self.synced.entry(record.group).or_default().take(&record.change);
        }
        self.written = self.synced.clone();
    }

    /// What a node that starts here finds.
    pub fn recover(&self) -> BTreeMap<GroupId, Recovered> {
        let recovered = |log: &Log| {
            log.check();
            Recovered {
                hard_state: log.hard_state,
                snapshot: log.snapshot.clone(),
                entries: log.entries.iter().cloned().collect(),
                lost: Vec::new(),
            }
        };
        self.synced.iter().map(|(&group, log)| (group, recovered(log))).collect()
    }

    /// Whether this entry is durable here, as itself or in a snapshot.
    pub fn has_durably(&self, group: GroupId, id: LogId) -> bool {
        self.synced.get(&group).is_some_and(|log| log.holds(id))
    }

    /// Whether this entry is written here, durably or not, as itself or in a snapshot.
    pub fn has(&self, group: GroupId, id: LogId) -> bool {
        self.written.get(&group).is_some_and(|log| log.holds(id))
    }

    /// Term of what stands at this index, durable or not, also at the end of the snapshot.
    pub fn term_at(&self, group: GroupId, index: Index) -> Option<Term> {
        let log = self.written.get(&group)?;
        let covered = log.snapshot.as_ref().filter(|snapshot| snapshot.last.index == index);
        log.entry(index).map(|entry| entry.id.term).or(covered.map(|snapshot| snapshot.last.term))
    }
}

impl Log {
    fn entry(&self, index: Index) -> Option<&Entry> {
        let first = self.entries.front()?.id.index;
        self.entries.get(usize::try_from(index.checked_sub(first)?).ok()?)
    }

    fn covered(&self) -> Index {
        self.snapshot.as_ref().map_or(0, |snapshot| snapshot.last.index)
    }

    fn holds(&self, id: LogId) -> bool {
        self.covered() >= id.index || self.entry(id.index).is_some_and(|entry| entry.id == id)
    }

    fn take(&mut self, change: &Change) {
        match change {
            Change::HardState(state) => {
                assert!(state.term >= self.hard_state.term, "a term on a disk never goes back");
                self.hard_state = *state;
            }
            Change::Snapshot(snapshot) => {
                let last = snapshot.last;
                if self.entry(last.index).is_none_or(|entry| entry.id != last) {
                    self.entries.clear();
                }
                self.snapshot = Some(snapshot.clone());
            }
            Change::TruncateFrom(from) => {
                while self.entries.back().is_some_and(|entry| entry.id.index >= *from) {
                    self.entries.pop_back();
                }
            }
            Change::Append(entry) => {
                let last = self.entries.back().map_or(self.covered(), |last| last.id.index);
                assert!(entry.id.index == last + 1, "{} is appended behind {last}", entry.id);
                self.entries.push_back(entry.clone());
            }
            Change::First(first) => {
                while self.entries.front().is_some_and(|entry| entry.id.index < *first) {
                    self.entries.pop_front();
                }
            }
        }
    }

    /// What the real storage asks of a log before it lets a node start.
    fn check(&self) {
        let (covered, term) = (self.covered(), self.hard_state.term);
        if let (Some(front), Some(back)) = (self.entries.front(), self.entries.back()) {
            assert!(front.id.index <= covered + 1, "a log from {} on, a snapshot up to {covered}", front.id);
            assert!(back.id.index >= covered, "a log up to {}, a snapshot up to {covered}", back.id);
            assert!(back.id.term <= term, "entry {} on the disk of a member in term {term}", back.id);
        }
    }
}
