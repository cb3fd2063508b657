//! A disk in memory that takes writes as `Persist` documents them, and remembers them as `Recovered`.

use std::collections::BTreeSet;

use ordeal_node::raft::{Entry, HardState, Index, LogId, Lost, Payload, Persist, Recovered, Snapshot};

/// What is durable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disk {
    pub hard_state: HardState,
    pub snapshot: Option<Snapshot>,
    pub entries: Vec<Entry>,
    /// Those of the entries whose content nobody can read: a restart gives no more than their ids.
    pub lost: BTreeSet<Index>,
    /// Whether those may have been configurations, as far as it can tell.
    pub doubtful: bool,
}

impl Disk {
    /// Writes in the order that `Persist` promises, and refuses what leaves a gap.
    pub fn write(&mut self, persist: &Persist) {
        if let Some(hard_state) = persist.hard_state {
            assert!(hard_state.term >= self.hard_state.term, "the term falls on the disk");
            let vote_replaced = self.hard_state.vote.is_some() && hard_state.vote != self.hard_state.vote;
            assert!(hard_state.term > self.hard_state.term || !vote_replaced, "a second vote in one term");
            self.hard_state = hard_state;
        }
        if let Some(snapshot) = &persist.snapshot {
            assert!(snapshot.last.index >= self.covered().index, "the snapshot on the disk goes back");
            if !self.entries.iter().any(|entry| entry.id == snapshot.last) {
                self.entries.clear();
            }
            self.lost.retain(|&index| index > snapshot.last.index);
            self.snapshot = Some(snapshot.clone());
        }
        if let Some(from) = persist.truncate_from {
            self.entries.retain(|entry| entry.id.index < from);
            self.lost.split_off(&from);
        }
        for entry in &persist.entries {
            assert_eq!(entry.id.index, self.last().index + 1, "a gap on the disk");
            assert!(entry.id.term <= self.hard_state.term, "{} is durable before its term", entry.id);
            self.entries.push(entry.clone());
        }
        for entry in &persist.repairs {
            let place = self.entries.iter_mut().find(|here| here.id == entry.id);
            *place.expect("a repair has its place") = entry.clone();
            self.lost.remove(&entry.id.index);
        }
        self.entries.retain(|entry| entry.id.index >= persist.first);
        self.lost = self.lost.split_off(&persist.first);
    }

    /// Last entry.
    pub fn last(&self) -> LogId {
        self.entries.last().map_or(self.covered(), |entry| entry.id)
    }

    /// Last entry of the snapshot.
    pub fn covered(&self) -> LogId {
        self.snapshot.as_ref().map_or(LogId::ZERO, |snapshot| snapshot.last)
    }

    /// The entry at `index`, if it is here itself.
    pub fn id_at(&self, index: Index) -> Option<LogId> {
        let first = self.entries.first()?.id.index;
        let offset = usize::try_from(index.checked_sub(first)?).ok()?;
        self.entries.get(offset).map(|entry| entry.id)
    }

    /// The entry before `index`.
    pub fn before(&self, index: Index) -> LogId {
        self.id_at(index - 1).unwrap_or_else(|| {
            assert!(index == 1 || self.covered().index == index - 1, "nothing stands before {index}");
            if index == 1 { LogId::ZERO } else { self.covered() }
        })
    }

    /// Whether `id` is here whole, in the log or in the snapshot.
    pub fn holds(&self, id: LogId) -> bool {
        !self.lost.contains(&id.index) && self.claims(id)
    }

    /// Whether `id` has its place here.
    pub fn claims(&self, id: LogId) -> bool {
        self.id_at(id.index).map_or(id.index <= self.covered().index, |here| here == id)
    }

    pub fn recovered(&self) -> Recovered {
        let covered = self.covered().index;
        // What a snapshot covers is not needed; without all of it nothing before its end is.
        let from = if self.lost.range(..=covered).next().is_some() { covered + 1 } else { 0 };
        let (lost, entries): (Vec<&Entry>, Vec<&Entry>) = (self.entries.iter())
            .filter(|entry| entry.id.index >= from)
            .partition(|entry| self.lost.contains(&entry.id.index));
        let may_be_membership =
            |entry: &Entry| self.doubtful || matches!(entry.payload, Payload::Membership(_));
        Recovered {
            hard_state: self.hard_state,
            snapshot: self.snapshot.clone(),
            entries: entries.into_iter().cloned().collect(),
            lost: lost
                .into_iter()
                .map(|entry| Lost { id: entry.id, may_be_membership: may_be_membership(entry) })
                .collect(),
        }
    }
}
