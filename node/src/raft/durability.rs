//! What of this member's state is on its disk, and what is on its way there.
//!
//! ```text
//!   log:   base ……… durable ……… handed ……… last
//!                 ▲            ▲          ▲
//!       persisted │   Persist  │  in the  │ next Persist
//! ```
//!
//! A write that was overtaken by a truncation counts only up to the cut, whatever its ticket says later: an append
//! acknowledged by the disk may have been replaced meanwhile (etcd raft, `async_storage_writes_append_aba_race`).
//!
//! `gaps` are slots whose content is not on the disk, whatever stands behind them: lost, or fetched and on its way there.

use std::collections::{BTreeSet, VecDeque};

use super::log::Log;
use super::{Config, HardState, Index, Persist, Snapshot, Term, Ticket};

/// A disk that writes a snapshot at this pace does not stall: 25 MB a second with ticks of 10 ms, the slowest of disks.
const SNAPSHOT_BYTES_PER_TICK: usize = 256 << 10;

/// Where a snapshot came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Our own machine took it: nothing changes but the length of the log.
    Taken,
    /// The leader sent it: it replaces the machine's state.
    Received,
}

/// The writes of one member.
#[derive(Debug, Clone)]
pub(super) struct Durability {
    ticket: Ticket,
    /// Writes that the driver has, by ascending ticket.
    under_way: VecDeque<Write>,
    /// Ticks since the disk last finished a write, while one is under way.
    waiting_ticks: u32,
    /// Term and vote as last handed to the driver.
    hard_state_handed: HardState,
    /// Term and vote on the disk.
    hard_state: HardState,
    /// Entries up to here are with the driver.
    handed: Index,
    /// Entries up to here are on the disk.
    durable: Index,
    gaps: BTreeSet<Index>,
    /// Those of them that are in memory again, and not with the driver yet.
    repairs: BTreeSet<Index>,
    truncate_from: Option<Index>,
    snapshot: Option<(Snapshot, Origin)>,
    first: Index,
}

#[derive(Debug, Clone)]
struct Write {
    ticket: Ticket,
    hard_state: HardState,
    /// The log is durable up to here when this write is; falls with truncations.
    upto: Index,
    repairs: BTreeSet<Index>,
    snapshot: Option<(Snapshot, Origin)>,
}

impl Durability {
    /// Everything is on the disk, but for what is lost.
    pub(super) fn new(hard_state: HardState, log: &Log) -> Self {
        let last = log.last().index;
        Durability {
            ticket: Ticket(0),
            under_way: VecDeque::new(),
            waiting_ticks: 0,
            hard_state_handed: hard_state,
            hard_state,
            handed: last,
            durable: last,
            gaps: log.lost().map(|id| id.index).collect(),
            repairs: BTreeSet::new(),
            truncate_from: None,
            snapshot: None,
            first: log.first(),
        }
    }

    /// Entries up to here are on the disk, all of them.
    pub(super) fn durable(&self) -> Index {
        self.gaps.first().map_or(self.durable, |gap| self.durable.min(gap - 1))
    }

    /// An entry that was lost is in memory again.
    pub(super) fn filled(&mut self, index: Index) {
        assert!(self.gaps.contains(&index), "entry {index} was not lost");
        self.repairs.insert(index);
    }

    /// Whether this term and vote are on the disk.
    pub(super) fn holds(&self, hard_state: HardState) -> bool {
        self.hard_state == hard_state
    }

    /// Whether this term is on the disk.
    pub(super) fn holds_term(&self, term: Term) -> bool {
        self.hard_state.term == term
    }

    /// The log lost everything from `index` on.
    pub(super) fn truncated_from(&mut self, index: Index) {
        if self.handed >= index {
            self.handed = index - 1;
            self.truncate_from = Some(self.truncate_from.map_or(index, |from| from.min(index)));
        }
        self.durable = self.durable.min(index - 1);
        self.gaps.split_off(&index);
        self.repairs.split_off(&index);
        for write in &mut self.under_way {
            write.upto = write.upto.min(index - 1);
        }
    }

    /// A snapshot of the leader takes the place of the log up to its last entry, which the log holds.
    pub(super) fn covered_by(&mut self, snapshot: Snapshot) {
        let last = snapshot.last.index;
        self.repairs = self.repairs.split_off(&(last + 1));
        // What was not handed out before it is not needed; without it the disk's log ends there.
        self.handed = self.handed.max(last);
        self.snapshot = Some((snapshot, Origin::Received));
    }

    /// The whole log was replaced by a snapshot of the leader.
    pub(super) fn replaced_by(&mut self, snapshot: Snapshot) {
        let last = snapshot.last.index;
        self.gaps.clear();
        self.repairs.clear();
        for write in &mut self.under_way {
            write.upto = 0;
        }
        self.durable = 0;
        // The disk may hold the snapshot's last entry, and then keeps what stands behind it: we do not.
        self.truncate_from = (self.handed > last || self.truncate_from.is_some()).then_some(last + 1);
        self.handed = last;
        self.snapshot = Some((snapshot, Origin::Received));
    }

    /// Our own machine took a snapshot.
    pub(super) fn taken(&mut self, snapshot: Snapshot) {
        self.snapshot = Some((snapshot, Origin::Taken));
    }

    /// Index of the newest snapshot that is not durable yet, or 0.
    pub(super) fn newest_snapshot_index(&self) -> Index {
        let under_way = self.under_way.iter().filter_map(|write| write.snapshot.as_ref());
        under_way.chain(&self.snapshot).map(|(snapshot, _)| snapshot.last.index).max().unwrap_or(0)
    }

    /// The next write, if there is anything to write.
    pub(super) fn take(&mut self, hard_state: HardState, log: &Log, config: &Config) -> Option<Persist> {
        let changed = hard_state != self.hard_state_handed;
        let last = log.last().index;
        let quiet = self.snapshot.is_none() && self.truncate_from.is_none() && self.repairs.is_empty();
        if !changed && quiet && self.handed == last {
            return None;
        }
        self.ticket.0 += 1;
        let snapshot = self.snapshot.take();
        let repairs = std::mem::take(&mut self.repairs);
        let again = |&index: &Index| log.entry(index).expect("what is written again is in memory");
        let kept_from =
            snapshot.as_ref().map_or(0, |(snapshot, _)| log.trailing_from(snapshot.last.index, config));
        self.first = self.first.max(log.first()).max(kept_from);
        let persist = Persist {
            ticket: self.ticket,
            hard_state: changed.then_some(hard_state),
            snapshot: snapshot.as_ref().map(|(snapshot, _)| snapshot.clone()),
            truncate_from: self.truncate_from.take(),
            entries: log.slice(self.handed + 1, last, usize::MAX),
            repairs: repairs.iter().map(again).collect(),
            first: self.first,
        };
        assert!(self.handed + persist.entries.len() as u64 == last, "a write without a gap");
        self.hard_state_handed = hard_state;
        self.handed = last;
        if self.under_way.is_empty() {
            self.waiting_ticks = 0;
        }
        let (ticket, upto) = (self.ticket, last);
        self.under_way.push_back(Write { ticket, hard_state, upto, repairs, snapshot });
        Some(persist)
    }

    /// This write and all before it are on the disk: returns their newest snapshot.
    pub(super) fn persisted(&mut self, ticket: Ticket) -> Option<(Snapshot, Origin)> {
        assert!(ticket <= self.ticket, "write {ticket:?} is durable, but the last was {:?}", self.ticket);
        let mut newest = None;
        while self.under_way.front().is_some_and(|write| write.ticket <= ticket) {
            let Some(write) = self.under_way.pop_front() else { break };
            self.waiting_ticks = 0;
            self.hard_state = write.hard_state;
            self.durable = self.durable.max(write.upto);
            write.repairs.iter().for_each(|index| {
                self.gaps.remove(index);
            });
            if let Some((snapshot, _)) = &write.snapshot {
                self.gaps = self.gaps.split_off(&(snapshot.last.index + 1));
            }
            newest = write.snapshot.or(newest);
        }
        newest
    }

    /// A tick of time passed.
    pub(super) fn tick(&mut self) {
        if !self.under_way.is_empty() {
            self.waiting_ticks = self.waiting_ticks.saturating_add(1);
        }
    }

    /// Whether the disk has finished no write for `stall_ticks`, and longer when it is writing a snapshot.
    pub(super) fn stalled(&self, stall_ticks: u32) -> bool {
        self.under_way.front().is_some_and(|oldest| {
            let bytes = oldest.snapshot.as_ref().map_or(0, |(snapshot, _)| snapshot.data.len());
            let extra = u32::try_from(bytes / SNAPSHOT_BYTES_PER_TICK).unwrap_or(u32::MAX);
            self.waiting_ticks >= stall_ticks.saturating_add(extra)
        })
    }

    /// Panics when this contradicts itself or the log.
    pub(super) fn check(&self, last: Index) {
        assert!(self.durable <= self.handed, "durable {} is beyond handed {}", self.durable, self.handed);
        assert!(self.handed <= last, "handed {} is beyond the log's end {last}", self.handed);
    }
}
