//! What of one group's records still counts, and where in the log it lies. The records of a log are applied here one by
//! one when they are written, and the same way when they are read back after a start: there is one rule, not two.
//!
//! The log may begin anywhere, as its front is released in whole segments: what a record refers to may be gone. So an
//! entry with nothing before it is taken as the first, and [`Live::check`] says at the end whether all that counts is there.

use std::collections::VecDeque;

use ordeal_wal::Position;

use super::record::Body;
use crate::raft::{HardState, Index, LogId};

/// The live records of one group.
///
/// Invariants: `entries` have indices without a gap and terms that never fall; none is before `first`.
#[derive(Debug, Clone)]
pub(super) struct Live {
    hard_state: Option<(HardState, Position)>,
    snapshot: Option<(LogId, Position)>,
    first: (Index, Option<Position>),
    entries: Run,
    /// Copies that no `CopyEnds` has made valid yet.
    copies: Option<Run>,
}

/// Entries without a gap, by where they lie.
#[derive(Debug, Clone, Default)]
struct Run {
    entries: VecDeque<Place>,
    /// Index of the entry to come; `None` where the log begins in the middle.
    next: Option<Index>,
    bytes: u64,
}

/// An entry in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Which entry.
    pub id: LogId,
    /// Where its record, an `Entry` or a `Copy`, lies.
    pub position: Position,
    /// Length of the record.
    pub bytes: u64,
}

impl Default for Live {
    fn default() -> Self {
        Live { hard_state: None, snapshot: None, first: (1, None), entries: Run::default(), copies: None }
    }
}

impl Live {
    /// Takes in a record that lies at `position` and is `bytes` long; the error says what does not fit.
    pub(super) fn apply(&mut self, body: &Body, position: Position, bytes: u64) -> Result<(), String> {
        match body {
            Body::HardState(hard_state) => self.hard_state = Some((*hard_state, position)),
            Body::Snapshot { last, ends_log } => {
                self.snapshot = Some((*last, position));
                if *ends_log {
                    self.entries = Run { next: Some(last.index + 1), ..Run::default() };
                    self.first = (last.index + 1, Some(position));
                }
            }
            Body::Truncate(from) => self.entries.truncate(*from),
            Body::Entry(entry) => self.entries.push(Place { id: entry.id, position, bytes })?,
            Body::First(first) => {
                self.first = (*first, Some(position));
                self.entries.release_before(*first);
            }
            Body::CopyBegins => self.copies = Some(Run::default()),
            Body::Copy(entry) => {
                self.copies.get_or_insert_default().push(Place { id: entry.id, position, bytes })?;
            }
            Body::CopyEnds => {
                let copies = self.copies.take().unwrap_or_default();
                self.entries = Run { next: copies.next.or(self.entries.next), ..copies };
            }
        }
        Ok(())
    }

    /// Whether the log, or the snapshot before it, ends in or goes on behind this entry.
    pub(super) fn holds(&self, id: LogId) -> bool {
        self.snapshot() == Some(id) || self.place(id.index).is_some_and(|place| place.id == id)
    }

    /// Whether there is an entry with this index or a later one.
    pub(super) fn reaches(&self, index: Index) -> bool {
        self.entries.entries.back().is_some_and(|back| back.id.index >= index)
    }

    /// The live entries, by ascending index.
    pub(super) fn entries(&self) -> impl ExactSizeIterator<Item = Place> {
        self.entries.entries.iter().copied()
    }

    /// Term and vote.
    pub(super) fn hard_state(&self) -> HardState {
        self.hard_state.map_or_else(HardState::default, |(hard_state, _)| hard_state)
    }

    /// Last entry of the newest snapshot.
    pub(super) fn snapshot(&self) -> Option<LogId> {
        self.snapshot.map(|(last, _)| last)
    }

    /// The first index that is still needed.
    pub(super) fn first(&self) -> Index {
        self.first.0
    }

    /// Length of all live entries' records.
    pub(super) fn bytes(&self) -> u64 {
        self.entries.bytes
    }

    /// The oldest record that still counts: the log is needed from here on.
    pub(super) fn oldest(&self) -> Option<Position> {
        let hard_state = self.hard_state.map(|(_, position)| position);
        let snapshot = self.snapshot.map(|(_, position)| position);
        let entry = self.entries.entries.front().map(|place| place.position);
        [hard_state, snapshot, self.first.1, entry].into_iter().flatten().min()
    }

    /// Whether all that a member must not have forgotten is there; the error says what is missing.
    pub(super) fn check(&self) -> Result<(), String> {
        let snapshot = self.snapshot().unwrap_or(LogId::ZERO);
        let first = self.first.0;
        if first > snapshot.index + 1 {
            return Err(format!("entries before {first} are gone, but the snapshot ends at {snapshot}"));
        }
        let (Some(front), Some(back)) = (self.entries.entries.front(), self.entries.entries.back()) else {
            return match first == snapshot.index + 1 && self.entries.next.is_none_or(|next| next == first) {
                true => Ok(()),
                false => {
                    Err(format!("entries from {first} on are gone, and the snapshot ends at {snapshot}"))
                }
            };
        };
        if front.id.index != first {
            return Err(format!("entries begin at {}, but are needed from {first} on", front.id));
        }
        if back.id.index < snapshot.index {
            return Err(format!("entries end at {}, before the end of the snapshot at {snapshot}", back.id));
        }
        if self.place(snapshot.index).is_some_and(|place| place.id != snapshot) {
            return Err(format!("the entry at the end of the snapshot at {snapshot} has another term"));
        }
        let term = self.hard_state().term;
        if back.id.term > term {
            return Err(format!("entry {} is of a later term than the member's own, {term}", back.id));
        }
        Ok(())
    }

    fn place(&self, index: Index) -> Option<Place> {
        let front = self.entries.entries.front()?;
        let offset = usize::try_from(index.checked_sub(front.id.index)?).ok()?;
        self.entries.entries.get(offset).copied()
    }
}

impl Run {
    fn push(&mut self, place: Place) -> Result<(), String> {
        let id = place.id;
        if self.next.is_some_and(|next| next != id.index) {
            return Err(format!("entry {id} stands where {} belongs", self.next.unwrap_or_default()));
        }
        if let Some(back) = self.entries.back()
            && id.term < back.id.term
        {
            return Err(format!("entry {id} stands behind {}, which has a higher term", back.id));
        }
        self.next = Some(id.index + 1);
        self.bytes += place.bytes;
        self.entries.push_back(place);
        Ok(())
    }

    fn truncate(&mut self, from: Index) {
        while self.entries.back().is_some_and(|back| back.id.index >= from) {
            self.bytes -= self.entries.pop_back().map_or(0, |back| back.bytes);
        }
        // A truncation behind the end changes nothing; one before the front of a log that begins in the middle says
        // what comes next.
        self.next = Some(self.next.map_or(from, |next| next.min(from)));
    }

    fn release_before(&mut self, first: Index) {
        while self.entries.front().is_some_and(|front| front.id.index < first) {
            self.bytes -= self.entries.pop_front().map_or(0, |front| front.bytes);
        }
    }
}
