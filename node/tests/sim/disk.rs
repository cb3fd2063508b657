//! A disk in memory: what was written is durable once it is synced; a crash keeps any beginning of what was not.

use std::collections::{BTreeMap, VecDeque};

use ordeal_client::wire::GroupId;
use ordeal_node::engine::{Batch, BatchTicket};
use ordeal_node::raft::{Entry, HardState, Index, LogId, Recovered, Snapshot};
use rand::RngExt;
use rand_pcg::Pcg32;

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
#[derive(Debug, Clone, Default)]
pub struct Log {
    pub hard_state: HardState,
    pub snapshot: Option<Snapshot>,
    pub entries: BTreeMap<Index, Entry>,
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
            apply(&mut self.written, record);
        }
        self.pending.push_back((batch.ticket, records));
    }

    /// This batch, and all before it, become durable.
    pub fn sync(&mut self, ticket: BatchTicket) {
        while self.pending.front().is_some_and(|&(oldest, _)| oldest <= ticket) {
            let (_, records) = self.pending.pop_front().expect("there is a front");
            for record in &records {
                apply(&mut self.synced, record);
            }
        }
    }

    /// The node dies: of what was not synced any number of records survives, from the first on.
    pub fn crash(&mut self, rng: &mut Pcg32) {
        let records: Vec<Record> = self.pending.drain(..).flat_map(|(_, records)| records).collect();
        let kept = rng.random_range(0..=records.len());
        for record in &records[..kept] {
            apply(&mut self.synced, record);
        }
        self.written = self.synced.clone();
    }

    /// What a node that starts here finds.
    pub fn recover(&self) -> BTreeMap<GroupId, Recovered> {
        let recovered = |log: &Log| Recovered {
            hard_state: log.hard_state,
            snapshot: log.snapshot.clone(),
            entries: log.entries.values().cloned().collect(),
        };
        self.synced.iter().map(|(&group, log)| (group, recovered(log))).collect()
    }

    /// Whether this entry is durable here, as itself or in a snapshot.
    pub fn has_durably(&self, group: GroupId, id: LogId) -> bool {
        self.synced.get(&group).is_some_and(|log| {
            let covered = log.snapshot.as_ref().is_some_and(|snapshot| snapshot.last.index >= id.index);
            covered || log.entries.get(&id.index).is_some_and(|entry| entry.id == id)
        })
    }

    /// The entry at this index, durable or not.
    pub fn entry(&self, group: GroupId, index: Index) -> Option<&Entry> {
        self.written.get(&group)?.entries.get(&index)
    }
}

fn apply(logs: &mut BTreeMap<GroupId, Log>, record: &Record) {
    let log = logs.entry(record.group).or_default();
    match &record.change {
        Change::HardState(state) => {
            assert!(state.term >= log.hard_state.term, "a term on a disk never goes back");
            log.hard_state = *state;
        }
        Change::Snapshot(snapshot) => {
            let last = snapshot.last;
            if log.entries.get(&last.index).is_none_or(|entry| entry.id != last) {
                log.entries.clear();
            }
            log.snapshot = Some(snapshot.clone());
        }
        Change::TruncateFrom(from) => drop(log.entries.split_off(from)),
        Change::Append(entry) => {
            let covered = log.snapshot.as_ref().map_or(0, |snapshot| snapshot.last.index);
            let last = log.entries.last_key_value().map_or(covered, |(&index, _)| index);
            assert!(entry.id.index == last + 1, "{} is appended behind {last}", entry.id);
            log.entries.insert(entry.id.index, entry.clone());
        }
        Change::First(first) => log.entries = log.entries.split_off(first),
    }
}
