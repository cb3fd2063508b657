//! The directory of a frame: what it says about which group, as a list of runs.
//!
//! ```text
//!  run        0 kind u8 | 1 flags u8 | 2 zeros | 4 count u32 | 8 group u64 | 16 a u64 | 24 b u64 | 32 c u64
//!  (40 B)    40 words of the run
//!
//!  kind                 a                b              c                       words
//!  1 entries            first index      their term     term of the one before  count × (length u32, checksum u32)
//!  2 hard state         term             vote           0
//!  3 truncation         first to go      0              term of the one before
//!  4 snapshot mark      index            term           0                       flag 1: the log before and behind it is gone
//!  5 compaction         first to stay    0              0
//!  6 creation           reserved: replica ids come with the repair of members that forgot
//!  7 destruction        0                0              0
//!  8 repair             as entries, inside of the log: nothing behind them is removed
//!  9 state              term             vote           first to stay           see `State`; flags 1, 2: see `Doubt`
//!  128 and above        may be ignored   -              bytes of payload        count × 8 bytes
//! ```
//!
//! The contents of entries stand behind the directory, in its order, without a gap. The checksum of an entry begins with
//! its identity (group, index, term), so contents in the wrong slot are damage. It needs no salt: contents that match both
//! identity and checksum are the right ones, whatever life of the file they are from; and the directory, which says the
//! checksum, has the salt.
//!
//! The term of the entry before is what makes holes visible: two logs that agree in one entry's index and term agree in
//! all before it (log matching, §5.3 of the paper), and two that do not, do not.

use crate::bytes::{length, u32_at, u64_at};

pub(crate) const RUN_BYTES: usize = 40;
pub(crate) const ITEM_BYTES: usize = 8;
/// `last`, `snapshot index`, `snapshot term`, `term before the first`.
pub(crate) const STATE_WORDS: usize = 4;

/// In place of a term that nobody knows.
pub(crate) const UNKNOWN: u64 = u64::MAX;
/// No index is higher, so that adding a count to one is always right.
pub(crate) const INDEX_MAX: u64 = 1 << 62;

pub(crate) mod kind {
    pub(crate) const ENTRIES: u8 = 1;
    pub(crate) const HARD_STATE: u8 = 2;
    pub(crate) const TRUNCATE: u8 = 3;
    pub(crate) const SNAPSHOT: u8 = 4;
    pub(crate) const COMPACT: u8 = 5;
    pub(crate) const DESTROY: u8 = 7;
    pub(crate) const REPAIR: u8 = 8;
    pub(crate) const STATE: u8 = 9;
    pub(crate) const IGNORABLE: u8 = 0x80;
}

/// Flag of a snapshot mark: nothing of the log is left.
pub(crate) const ENDS_LOG: u8 = 1;

/// What one run says, about one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What<'a> {
    Entries {
        first: u64,
        term: u64,
        before: u64,
        items: Items<'a>,
        repair: bool,
    },
    HardState {
        term: u64,
        vote: u64,
    },
    Truncate {
        from: u64,
        before: u64,
    },
    Snapshot {
        index: u64,
        term: u64,
        ends_log: bool,
    },
    Compact {
        first: u64,
    },
    Destroy,
    State(State<'a>),
    /// Of a later minor version.
    Ignored,
}

/// One run, and where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run<'a> {
    pub(crate) group: u64,
    pub(crate) what: What<'a>,
    /// Where the descriptor starts in the directory.
    pub(crate) at: usize,
    /// Where its first entry's content starts in the payload.
    pub(crate) payload_at: usize,
}

/// Lengths and checksums of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Items<'a>(&'a [u8]);

impl<'a> Items<'a> {
    /// The items whose words these are, as many as are whole.
    pub(crate) fn of(words: &'a [u8]) -> Items<'a> {
        Items(words)
    }

    pub(crate) fn count(self) -> usize {
        self.0.len() / ITEM_BYTES
    }

    /// Length and checksum of each.
    pub(crate) fn iter(self) -> impl Iterator<Item = (usize, u32)> + use<'a> {
        let (items, _) = self.0.as_chunks::<ITEM_BYTES>();
        items.iter().map(|item| {
            let [a, b, c, d, checksum @ ..] = *item;
            (length(u32::from_le_bytes([a, b, c, d]).into()), u32::from_le_bytes(checksum))
        })
    }

    pub(crate) fn bytes(self) -> usize {
        // Words below 2^32, and fewer of them than bytes in a segment: the sum is far below 2^64. Each is the lower half of
        // an item, so that this is a loop over whole words.
        let (items, _) = self.0.as_chunks::<ITEM_BYTES>();
        length(items.iter().map(|item| u64::from_le_bytes(*item) & 0xffff_ffff).sum())
    }
}

/// All that is to be known of a group at the beginning of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State<'a> {
    pub(crate) term: u64,
    pub(crate) vote: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) snapshot: (u64, u64),
    /// Term of the entry before `first`.
    pub(crate) before: u64,
    pub(crate) flags: u8,
    /// (index, term) wherever the term changes, from `first` on.
    terms: &'a [u8],
}

impl<'a> State<'a> {
    /// (first index, index behind the last, term) of each stretch of one term; ascending, without gaps.
    pub(crate) fn stretches(self) -> impl Iterator<Item = (u64, u64, u64)> + use<'a> {
        let count = self.terms.len() / 16;
        (0..count).map(move |step| {
            let number = |at| u64_at(self.terms, at).unwrap_or_default();
            let next = if step + 1 < count { number(16 * (step + 1)) } else { self.last + 1 };
            (number(16 * step), next, number(16 * step + 8))
        })
    }

    fn is_sane(self) -> bool {
        let mut next = self.first;
        let joined = self.stretches().all(|(first, end, _)| {
            let fits = first == next && end > first;
            next = end;
            fits
        });
        joined && next == self.last + 1 && self.first >= 1
    }
}

/// The runs of a directory, one after the other. After an error there is no more.
#[derive(Debug, Clone)]
pub(crate) struct Runs<'a> {
    directory: &'a [u8],
    at: usize,
    payload_at: usize,
}

impl<'a> Runs<'a> {
    pub(crate) fn of(directory: &'a [u8]) -> Runs<'a> {
        Runs { directory, at: 0, payload_at: 0 }
    }

    fn step(&mut self) -> Result<Run<'a>, &'static str> {
        let at = self.at;
        let rest = self.directory.get(at..).unwrap_or_default();
        let head = rest.first_chunk::<RUN_BYTES>().ok_or("run cut short")?;
        let number = |at| u64_at(head, at).unwrap_or_default();
        let (kind, flags) = (head[0], head[1]);
        let (group, a, b, c) = (number(8), number(16), number(24), number(32));
        let count = length(u32_at(head, 4).unwrap_or_default().into());
        let words = match kind {
            kind::ENTRIES | kind::REPAIR => count.saturating_mul(ITEM_BYTES),
            kind::STATE => count.saturating_mul(16).saturating_add(8 * STATE_WORDS),
            kind::IGNORABLE.. => count.saturating_mul(8),
            _ => 0,
        };
        let words = rest.get(RUN_BYTES..RUN_BYTES.saturating_add(words)).ok_or("words of run cut short")?;
        let (mut payload, mut last) = (0, a);
        let what = match kind {
            kind::ENTRIES | kind::REPAIR => {
                let items = Items::of(words);
                payload = items.bytes();
                if a == 0 || count == 0 {
                    return Err("entries of run");
                }
                last = a.saturating_add(count as u64 - 1);
                What::Entries { first: a, term: b, before: c, items, repair: kind == kind::REPAIR }
            }
            kind::HARD_STATE => What::HardState { term: a, vote: b },
            kind::TRUNCATE => What::Truncate { from: a, before: c },
            kind::SNAPSHOT => What::Snapshot { index: a, term: b, ends_log: flags & ENDS_LOG != 0 },
            kind::COMPACT => What::Compact { first: a },
            kind::DESTROY => What::Destroy,
            kind::STATE => What::State(state(words, flags, (a, b, c))?),
            kind::IGNORABLE.. => {
                payload = length(c);
                What::Ignored
            }
            _ => return Err("kind of run"),
        };
        let indexed =
            matches!(kind, kind::ENTRIES | kind::TRUNCATE | kind::SNAPSHOT | kind::COMPACT | kind::REPAIR);
        if indexed && last > INDEX_MAX {
            return Err("index of run");
        }
        let run = Run { group, what, at, payload_at: self.payload_at };
        self.at += RUN_BYTES + words.len();
        self.payload_at = self.payload_at.saturating_add(payload);
        Ok(run)
    }
}

impl<'a> Iterator for Runs<'a> {
    type Item = Result<Run<'a>, &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.directory.len() {
            return None;
        }
        let step = self.step();
        if step.is_err() {
            self.at = self.directory.len();
        }
        Some(step)
    }
}

fn state(words: &[u8], flags: u8, (term, vote, first): (u64, u64, u64)) -> Result<State<'_>, &'static str> {
    let number = |at| u64_at(words, at).unwrap_or_default();
    let last = number(0);
    // An empty log begins behind its last.
    if last > INDEX_MAX || first > INDEX_MAX + 1 {
        return Err("index of state");
    }
    let terms = words.get(8 * STATE_WORDS..).unwrap_or_default();
    let snapshot = (number(8), number(16));
    let state = State { term, vote, first, last, snapshot, before: number(24), flags, terms };
    if state.is_sane() { Ok(state) } else { Err("terms of state") }
}

/// Whether a directory is made of whole runs, and speaks of exactly these bytes of payload.
pub(crate) fn check(directory: &[u8], payload_bytes: usize) -> Result<(), &'static str> {
    let mut runs = Runs::of(directory);
    for run in runs.by_ref() {
        run?;
    }
    if runs.payload_at == payload_bytes { Ok(()) } else { Err("length of payload") }
}

/// The checksum of an entry's content.
pub(crate) fn entry_checksum(group: u64, index: u64, term: u64, content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(identity(group, index, term));
    hasher.update(content);
    hasher.finalize()
}

/// An identity in 32 bits: neighbours in any one of the three always differ, as all the factors are odd.
pub(crate) fn identity(group: u64, index: u64, term: u64) -> u32 {
    let low = |number: u64| {
        u32::try_from(number & 0xffff_ffff).expect("masked") ^ u32::try_from(number >> 32).expect("shifted")
    };
    low(group)
        .wrapping_mul(0x9e37_79b1)
        .wrapping_add(low(index).wrapping_mul(0x85eb_ca6b))
        .wrapping_add(low(term).wrapping_mul(0xc2b2_ae35))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;
    use crate::bytes::put_u64;
    use crate::group::{Group, Piece};
    use crate::usage::Usage;

    /// What is wrong with a directory, if anything.
    fn fault(batch: &Batch) -> Option<&'static str> {
        Runs::of(&batch.directory).find_map(Result::err)
    }

    #[test]
    fn what_a_run_may_say_the_next_table_can_say_too() {
        let mut batch = Batch::new();
        batch.entry(1, 1, 1, &[b"one"]);
        batch.entry(1, 2, 1, &[b"two"]);
        for (first, expected) in [(INDEX_MAX - 1, None), (INDEX_MAX, Some("index of run"))] {
            put_u64(&mut batch.directory, 16, first);
            assert_eq!(fault(&batch), expected, "two entries from {first} on");
        }
        let (mut usage, mut entries, mut empty) = (Usage::default(), Group::default(), Group::default());
        let piece = Piece { first: INDEX_MAX - 1, count: 2, term: 1, spot: None };
        entries.append(piece, UNKNOWN, &mut usage);
        empty.note_snapshot(INDEX_MAX, 1, true, &mut usage);
        for group in [entries, empty] {
            let mut table = Batch::new();
            table.state(1, &group);
            assert_eq!(fault(&table), None, "{group:?}");
        }
    }
}
