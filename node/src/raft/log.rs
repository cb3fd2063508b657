//! The log in memory (§5.3): entries without a gap behind a base, which is the place where a snapshot cut it (§7).
//!
//! Invariants, asserted where entries come in:
//! * indexes are absolute and grow by one from entry to entry, the first is `base.index + 1`;
//! * terms never fall from entry to entry, nor below the base's;
//! * `lost` are the slots without a payload: their ids stand, what they held is gone from the disk (`repair`).
//!
//! What of it is on the disk is not known here, see [`super::durability`].

use std::collections::{BTreeSet, VecDeque};

use super::{Config, Entry, Index, LogId, Payload, Term};

/// What an entry weighs in limits beside its command: about its encoded head (kind, index, term, length), so that a batch of
/// a million empty commands is no small batch.
pub(super) const ENTRY_OVERHEAD_BYTES: usize = 32;

/// Entries behind a base.
#[derive(Debug, Clone)]
pub(super) struct Log {
    base: LogId,
    slots: VecDeque<Slot>,
    lost: BTreeSet<Index>,
    /// Weight of everything ever cut at the base: `bytes_end` counts from the beginning, so that cuts touch no slot.
    base_bytes: u64,
}

#[derive(Debug, Clone)]
struct Slot {
    id: LogId,
    /// None: it is lost.
    payload: Option<Payload>,
    /// Weight of everything up to and including this entry.
    bytes_end: u64,
}

impl Log {
    /// A log that begins behind `base`.
    pub(super) fn new(base: LogId) -> Self {
        Log { base, slots: VecDeque::new(), lost: BTreeSet::new(), base_bytes: 0 }
    }

    /// The entry before the first.
    pub(super) fn base(&self) -> LogId {
        self.base
    }

    /// Index of the first entry that could be here.
    pub(super) fn first(&self) -> Index {
        self.base.index + 1
    }

    /// The last entry, or the base when there is none.
    pub(super) fn last(&self) -> LogId {
        self.slots.back().map_or(self.base, |slot| slot.id)
    }

    /// The entry at `index`; nothing when it is lost.
    pub(super) fn entry(&self, index: Index) -> Option<Entry> {
        let slot = self.slot(index)?;
        Some(Entry { id: slot.id, payload: slot.payload.clone()? })
    }

    /// Term of the entry at `index`, lost or not, also at the base; nothing before it or behind the last.
    pub(super) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.base.index {
            Some(self.base.term)
        } else {
            self.slot(index).map(|slot| slot.id.term)
        }
    }

    /// Whether this very entry is here, lost or not (§5.3: then everything before it is, too).
    pub(super) fn holds(&self, id: LogId) -> bool {
        self.term_at(id.index) == Some(id.term)
    }

    /// Appends behind the last.
    pub(super) fn append(&mut self, entry: Entry) {
        self.push(entry.id, Some(entry.payload));
    }

    /// Appends behind the last what is lost.
    pub(super) fn append_lost(&mut self, id: LogId) {
        self.push(id, None);
        self.lost.insert(id.index);
    }

    fn push(&mut self, id: LogId, payload: Option<Payload>) {
        let last = self.last();
        assert!(id.index == last.index + 1, "append of {id} behind {last}: a gap");
        assert!(id.term >= last.term, "append of {id} behind {last}: the term falls");
        let bytes_end = self.bytes_upto(last.index) + weight_of(payload.as_ref());
        self.slots.push_back(Slot { id, payload, bytes_end });
    }

    /// The ids of what is lost, by ascending index.
    pub(super) fn lost(&self) -> impl DoubleEndedIterator<Item = LogId> {
        self.lost.iter().filter_map(|&index| self.slot(index).map(|slot| slot.id))
    }

    /// How many are lost.
    pub(super) fn lost_count(&self) -> usize {
        self.lost.len()
    }

    /// Index of the first that is lost.
    pub(super) fn first_lost(&self) -> Option<Index> {
        self.lost.first().copied()
    }

    /// Whether this very entry is here, and lost.
    pub(super) fn is_lost(&self, id: LogId) -> bool {
        self.is_lost_at(id.index) && self.holds(id)
    }

    /// Whether the entry at `index` is lost.
    pub(super) fn is_lost_at(&self, index: Index) -> bool {
        self.lost.contains(&index)
    }

    /// Puts an entry back that is lost here. To be followed by [`Log::weigh_from`], once for many.
    pub(super) fn fill(&mut self, entry: Entry) {
        assert!(self.is_lost(entry.id), "{} is not lost", entry.id);
        self.lost.remove(&entry.id.index);
        let at = to_usize(entry.id.index - self.first());
        self.slots[at].payload = Some(entry.payload);
    }

    /// Entries from `index` on weigh more than they did.
    pub(super) fn weigh_from(&mut self, index: Index) {
        let mut bytes_end = self.bytes_upto(index - 1);
        for slot in self.slots.range_mut(to_usize(index - self.base.index - 1)..) {
            bytes_end += weight_of(slot.payload.as_ref());
            slot.bytes_end = bytes_end;
        }
    }

    /// Removes everything from `index` on.
    pub(super) fn truncate_from(&mut self, index: Index) {
        assert!(index > self.base.index, "truncation from {index} reaches the base {}", self.base);
        self.slots.truncate(to_usize(index - self.first()));
        self.lost.split_off(&index);
    }

    /// Cuts everything up to and including `index`, which becomes the base.
    pub(super) fn cut_upto(&mut self, index: Index) {
        let id = self.slot(index).map(|slot| slot.id);
        let Some(base) = id else {
            panic!("cut up to {index} outside {}..={}", self.first(), self.last().index)
        };
        self.base_bytes = self.bytes_upto(index);
        self.slots.drain(..=to_usize(index - self.first()));
        self.lost = self.lost.split_off(&(index + 1));
        self.base = base;
    }

    /// Throws everything away: the log begins behind `base`.
    pub(super) fn reset(&mut self, base: LogId) {
        *self = Log::new(base);
    }

    /// Entries from `from` up to and including `upto`, until they weigh `bytes_max`; at least one, if there is one.
    /// The tail is cut, nothing is skipped: it ends before one that is lost.
    pub(super) fn slice(&self, from: Index, upto: Index, bytes_max: usize) -> Vec<Entry> {
        let mut bytes = 0;
        let mut entries = Vec::new();
        for index in from..=upto {
            let Some(entry) = self.entry(index) else { break };
            bytes += weight(&entry);
            if !entries.is_empty() && bytes > bytes_max {
                break;
            }
            entries.push(entry);
        }
        entries
    }

    /// The entry with the largest index up to `index` whose term is not above `term` (end of §5.3); nothing when it would
    /// stand before the base.
    pub(super) fn last_not_above(&self, index: Index, term: Term) -> Option<LogId> {
        let count = index.checked_sub(self.base.index)?;
        let with_term = self.slots.partition_point(|slot| slot.id.term <= term) as u64;
        match count.min(with_term) {
            0 => (self.base.term <= term).then_some(self.base),
            number => self.slot(self.base.index + number).map(|slot| slot.id),
        }
    }

    /// The first index that stays when a snapshot covers everything up to `last`: what trails is bounded in number and
    /// in bytes.
    pub(super) fn trailing_from(&self, last: Index, config: &Config) -> Index {
        let by_count = (last + 1).saturating_sub(config.trailing_entries);
        by_count.max(self.first_within(last.min(self.last().index), config.trailing_bytes))
    }

    /// The first index from which the entries up to and including `upto` weigh at most `bytes_max`; the one behind `upto`
    /// when not even that one does.
    fn first_within(&self, upto: Index, bytes_max: u64) -> Index {
        let least = self.bytes_upto(upto).saturating_sub(bytes_max);
        if self.base_bytes >= least {
            return self.first();
        }
        // Everything goes up to the first entry that ends at `least` or behind it.
        self.first() + 1 + self.slots.partition_point(|slot| slot.bytes_end < least) as u64
    }

    /// Weight of the entries behind `index`.
    pub(super) fn bytes_behind(&self, index: Index) -> u64 {
        self.bytes_upto(self.last().index) - self.bytes_upto(index.max(self.base.index))
    }

    /// Bytes of the commands.
    pub(super) fn command_bytes(&self) -> usize {
        to_usize(self.bytes_behind(self.base.index)) - self.slots.len() * ENTRY_OVERHEAD_BYTES
    }

    fn bytes_upto(&self, index: Index) -> u64 {
        self.slot(index).map_or(self.base_bytes, |slot| slot.bytes_end)
    }

    fn slot(&self, index: Index) -> Option<&Slot> {
        let offset = index.checked_sub(self.base.index)?.checked_sub(1)?;
        self.slots.get(usize::try_from(offset).ok()?)
    }
}

/// Bytes that an entry counts for in limits.
pub(super) fn weight(entry: &Entry) -> usize {
    entry.payload.len() + ENTRY_OVERHEAD_BYTES
}

fn weight_of(payload: Option<&Payload>) -> u64 {
    (payload.map_or(0, Payload::len) + ENTRY_OVERHEAD_BYTES) as u64
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).expect("what is in memory is counted by usize")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ordeal_client::wire::NodeId;

    use super::*;
    use crate::raft::Payload;

    fn log(base: LogId, terms: &[Term]) -> Log {
        let mut log = Log::new(base);
        for &term in terms {
            let id = LogId::new(log.last().index + 1, term);
            log.append(Entry { id, payload: Payload::Command(Arc::from(&b"four"[..])) });
        }
        log
    }

    #[test]
    fn indexes_are_absolute_after_a_cut() {
        let mut log = log(LogId::ZERO, &[1, 1, 2, 3]);
        log.cut_upto(2);
        assert_eq!((log.first(), log.base(), log.last()), (3, LogId::new(2, 1), LogId::new(4, 3)));
        assert_eq!([0, 1, 2, 3, 4, 5].map(|i| log.term_at(i)), [None, None, Some(1), Some(2), Some(3), None]);
        assert_eq!(log.command_bytes(), 8);
        log.truncate_from(4);
        assert_eq!(log.last(), LogId::new(3, 2));
        assert_eq!(log.bytes_behind(2), 36);
    }

    #[test]
    fn what_trails_is_bounded_in_bytes() {
        let mut log = log(LogId::new(10, 1), &[1, 1, 1, 1]); // 11..=14, 36 bytes each
        let from = |log: &Log, last, trailing_entries, trailing_bytes| {
            let config = Config::new(NodeId(1), [NodeId(1)].into_iter().collect(), 0);
            log.trailing_from(last, &Config { trailing_entries, trailing_bytes, ..config })
        };
        let by_bytes =
            |log: &Log, last| [0, 35, 36, 71, 72, 108, 1000].map(|bytes| from(log, last, 99, bytes));
        assert_eq!(by_bytes(&log, 13), [14, 14, 13, 13, 12, 11, 11]);
        assert_eq!([0, 1, 2, 3, 99].map(|entries| from(&log, 13, entries, 1000)), [14, 13, 12, 11, 11]);
        assert_eq!(from(&log, 14, 99, 72), 13);
        log.cut_upto(12);
        assert_eq!([0, 36, 72, 1000].map(|bytes| from(&log, 14, 99, bytes)), [15, 14, 13, 13]);
    }

    #[test]
    fn a_slice_is_cut_at_its_tail_and_never_empty() {
        let log = log(LogId::new(10, 1), &[1, 2, 2]);
        let indexes = |from, upto, bytes| -> Vec<Index> {
            log.slice(from, upto, bytes).iter().map(|entry| entry.id.index).collect()
        };
        assert_eq!(indexes(11, 13, 0), [11]);
        assert_eq!(indexes(11, 13, 72), [11, 12]);
        assert_eq!(indexes(12, 13, 1000), [12, 13]);
        assert_eq!(indexes(14, 13, 1000), [0; 0]);
    }

    #[test]
    fn what_is_lost_keeps_its_place_and_comes_back() {
        let mut log = log(LogId::new(10, 1), &[1, 2]); // 11, 12
        log.append_lost(LogId::new(13, 2));
        log.append(Entry { id: LogId::new(14, 2), payload: Payload::Noop });
        log.append_lost(LogId::new(15, 3));
        assert_eq!((log.last(), log.entry(13), log.term_at(13)), (LogId::new(15, 3), None, Some(2)));
        assert_eq!(log.slice(12, 15, 1000).len(), 1, "a slice ends before what is lost");
        assert_eq!(log.slice(13, 15, 1000).len(), 0);
        assert!(log.is_lost(LogId::new(13, 2)) && !log.is_lost(LogId::new(13, 1)));
        let payload = Payload::Command(Arc::from(&b"four"[..]));
        log.fill(Entry { id: LogId::new(13, 2), payload });
        log.weigh_from(13);
        assert_eq!((log.bytes_behind(12), log.first_lost()), (36 + 32 + 32, Some(15)));
        log.truncate_from(15);
        assert_eq!((log.lost_count(), log.slice(12, 15, 1000).len()), (0, 3));
        log.append_lost(LogId::new(15, 4));
        log.cut_upto(15);
        assert_eq!((log.lost_count(), log.base()), (0, LogId::new(15, 4)));
    }

    #[test]
    fn the_last_entry_not_above_a_term() {
        let log = log(LogId::new(2, 2), &[2, 4, 4, 7]);
        assert_eq!(log.last_not_above(6, 7), Some(LogId::new(6, 7)));
        assert_eq!(log.last_not_above(6, 6), Some(LogId::new(5, 4)));
        assert_eq!(log.last_not_above(4, 6), Some(LogId::new(4, 4)));
        assert_eq!(log.last_not_above(6, 3), Some(LogId::new(3, 2)));
        assert_eq!(log.last_not_above(2, 2), Some(LogId::new(2, 2)));
        assert_eq!(log.last_not_above(6, 1), None);
        assert_eq!(log.last_not_above(1, 9), None);
    }
}
