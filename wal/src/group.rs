//! What the log knows of one group: term, vote, snapshot mark, and where each entry lies. Frames are applied here in the
//! same way when they are written and when they are read back: there is one rule, not two.
//!
//! Nothing here fails on what a damaged log may say: what does not fit leaves slots of which only the index is known, or
//! index and term. A slot is never given up silently, as the entry in it may have been acknowledged.

use std::collections::VecDeque;

use crate::runs::{State, UNKNOWN};
use crate::usage::Usage;

/// Entries of one term, without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) first: u64,
    pub(crate) count: u64,
    /// Or [`UNKNOWN`].
    pub(crate) term: u64,
    /// None: nobody knows where, or it is damaged there.
    pub(crate) spot: Option<Spot>,
}

/// Where the entries of a piece lie: in a run, behind its first `skip` entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) segment: u64,
    /// Offset of the run's first item in the segment.
    pub(crate) items: u32,
    /// Offset of its first content.
    pub(crate) contents: u32,
    pub(crate) skip: u32,
    /// Bytes of the piece in the log; a share of the run's, once it was split.
    pub(crate) bytes: u32,
}

/// What a hole in the log may have taken, and nothing since has told. It stays until the group is destroyed, or until the
/// log itself says what was in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Doubt {
    /// Entries behind the last known, or a truncation.
    pub(crate) tail: bool,
    /// A term or a vote.
    pub(crate) vote: bool,
}

/// One group. Invariants: the pieces stand one behind the other, without a gap, from `first` up to `next`; none is empty.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) term: u64,
    pub(crate) vote: u64,
    /// Index and term; 0 when there is none.
    pub(crate) snapshot: (u64, u64),
    pub(crate) doubt: Doubt,
    first: u64,
    /// Term of the entry before `first`.
    before: u64,
    next: u64,
    pieces: VecDeque<Piece>,
}

impl Default for Group {
    fn default() -> Self {
        let (doubt, pieces) = (Doubt::default(), VecDeque::new());
        Group { term: 0, vote: 0, snapshot: (0, 0), doubt, first: 1, before: 0, next: 1, pieces }
    }
}

impl Group {
    /// Lowest index that is still needed.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// Index behind the last entry.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    pub(crate) fn before(&self) -> u64 {
        self.before
    }

    pub(crate) fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.pieces.iter()
    }

    pub(crate) fn flags(&self) -> u8 {
        u8::from(self.doubt.tail) | u8::from(self.doubt.vote) << 1
    }

    /// The term of an entry of the log, or of the one before its first; [`UNKNOWN`] for all others.
    pub(crate) fn term_at(&self, index: u64) -> u64 {
        if index.checked_add(1) == Some(self.first) {
            return self.before;
        }
        // Nearly always it is the last that is asked for.
        let last = self.pieces.back().filter(|piece| piece.first <= index);
        let found =
            last.or_else(|| self.pieces.get(self.pieces.partition_point(|piece| piece.end() <= index)));
        found.filter(|piece| (piece.first..piece.end()).contains(&index)).map_or(UNKNOWN, |piece| piece.term)
    }

    /// Whether the log, or the snapshot in front of it, has this very entry.
    pub(crate) fn holds(&self, index: u64, term: u64) -> bool {
        self.snapshot == (index, term) || (index >= self.first && self.term_at(index) == term)
    }

    /// (index, term) wherever the term changes.
    pub(crate) fn stretches(&self) -> Vec<(u64, u64)> {
        let mut stretches: Vec<(u64, u64)> = Vec::new();
        for piece in &self.pieces {
            if stretches.last().is_none_or(|&(_, term)| term != piece.term) {
                stretches.push((piece.first, piece.term));
            }
        }
        stretches
    }

    /// Appends a piece, of which the entry before has this term. Entries from its first index on go. What stands before
    /// it must be what stood there when it was written; if not, something was lost in between.
    pub(crate) fn append(&mut self, mut piece: Piece, before: u64, usage: &mut Usage) {
        if piece.first < self.first {
            let Some(rest) = piece.from(self.first) else { return };
            piece = rest;
        }
        let clipped = piece.spot.is_some_and(|spot| spot.skip > 0);
        self.cut(piece.first, usage);
        if self.next < piece.first {
            self.push(
                Piece { first: self.next, count: piece.first - self.next, term: UNKNOWN, spot: None },
                usage,
            );
        }
        if !clipped {
            self.confirm(piece.first - 1, before, usage);
        }
        self.push(piece, usage);
    }

    /// The entries from here on go.
    pub(crate) fn truncate(&mut self, from: u64, before: u64, usage: &mut Usage) {
        let from = from.max(self.first);
        self.cut(from, usage);
        if from == self.next {
            self.confirm(from - 1, before, usage);
        }
    }

    /// The entries before this index go; if there are none behind it, the log begins there.
    pub(crate) fn compact(&mut self, first: u64, usage: &mut Usage) {
        if first <= self.first {
            return;
        }
        self.before = self.term_at(first - 1);
        while let Some(piece) = self.pieces.pop_front_if(|piece| piece.end() <= first) {
            usage.remove(&piece);
        }
        if let Some(front) = self.pieces.front_mut()
            && front.first < first
        {
            usage.remove(front);
            *front = front.from(first).expect("it ends behind the new first");
            usage.add(front);
        }
        self.first = first;
        self.next = self.next.max(first);
    }

    /// Notes a snapshot, which may take the place of the whole log.
    pub(crate) fn note_snapshot(&mut self, index: u64, term: u64, ends_log: bool, usage: &mut Usage) {
        if index >= self.snapshot.0 {
            self.snapshot = (index, term);
        }
        if ends_log {
            self.forget_entries(usage);
            (self.first, self.next, self.before) = (index + 1, index + 1, term);
            self.doubt.tail = false;
        }
    }

    /// Puts a piece in the place of what the log has for its indices, as far as it reaches.
    pub(crate) fn repair(&mut self, piece: Piece, usage: &mut Usage) {
        let (first, end) = (piece.first.max(self.first), piece.end().min(self.next));
        let Some(piece) = piece.from(first).and_then(|piece| piece.up_to(end)) else { return };
        let at = self.split_at(first, usage);
        let behind = self.split_at(end, usage);
        for old in self.pieces.drain(at..behind) {
            usage.remove(&old);
        }
        usage.add(&piece);
        self.pieces.insert(at, piece);
    }

    /// Puts slots that are known to be damaged in the place of an entry.
    pub(crate) fn damage(&mut self, index: u64, term: u64, usage: &mut Usage) {
        self.repair(Piece { first: index, count: 1, term, spot: None }, usage);
    }

    /// Takes over what the beginning of a segment says. After a healthy log this changes nothing. What it says is right:
    /// an entry that we have with another term was replaced by one that was lost.
    pub(crate) fn reconcile(&mut self, state: State<'_>, usage: &mut Usage) {
        (self.term, self.vote, self.snapshot) = (state.term, state.vote, state.snapshot);
        self.doubt = Doubt { tail: state.flags & 1 != 0, vote: state.flags & 2 != 0 };
        let ours = self.stretches().into_iter();
        let theirs = state.stretches().map(|(first, _, term)| (first, term));
        if self.first == state.first && self.next == state.last + 1 && ours.eq(theirs) {
            self.before = state.before;
            return;
        }
        let old = std::mem::take(&mut self.pieces);
        let mut spots = old.iter().peekable();
        let mut pieces = VecDeque::with_capacity(old.len());
        for (mut first, end, term) in state.stretches() {
            while first < end {
                while spots.next_if(|piece| piece.end() <= first).is_some() {}
                let piece = match spots.peek() {
                    Some(piece) if piece.first <= first => {
                        let found =
                            piece.from(first).and_then(|piece| piece.up_to(end)).expect("they overlap");
                        Piece { term, spot: found.spot.filter(|_| found.term == term), ..found }
                    }
                    next => {
                        let until = next.map_or(end, |next| next.first.min(end));
                        Piece { first, count: until - first, term, spot: None }
                    }
                };
                first = piece.end();
                pieces.push_back(piece);
            }
        }
        old.iter().for_each(|piece| usage.remove(piece));
        pieces.iter().for_each(|piece| usage.add(piece));
        self.pieces = pieces;
        (self.first, self.next, self.before) = (state.first, state.last + 1, state.before);
    }

    /// Notes that frames are missing here. `may_vote`: they may have held a term or a vote.
    pub(crate) fn note_hole(&mut self, may_vote: bool) {
        self.doubt.tail = true;
        self.doubt.vote |= may_vote;
    }

    /// Gives up what its entries take.
    pub(crate) fn forget_entries(&mut self, usage: &mut Usage) {
        for piece in self.pieces.drain(..) {
            usage.remove(&piece);
        }
        self.next = self.first;
    }

    /// Compares what stands at `index` with the term that was written down for it.
    fn confirm(&mut self, index: u64, term: u64, usage: &mut Usage) {
        if term == UNKNOWN {
            return;
        }
        let found = self.term_at(index);
        self.doubt.tail = false;
        if found == term || index < self.first {
            return;
        }
        if found == UNKNOWN {
            // A slot that was lost: now its term is known.
            return self.damage(index, term, usage);
        }
        // Somewhere between the last entry of the snapshot, which stays for ever, and this one another log begins.
        let sure = self.snapshot.0.clamp(self.first - 1, index - 1);
        let at = self.split_at(sure + 1, usage);
        for old in self.pieces.drain(at..) {
            usage.remove(&old);
        }
        self.next = sure + 1;
        if sure + 1 < index {
            self.push(Piece { first: sure + 1, count: index - sure - 1, term: UNKNOWN, spot: None }, usage);
        }
        self.push(Piece { first: index, count: 1, term, spot: None }, usage);
    }

    fn cut(&mut self, from: u64, usage: &mut Usage) {
        while let Some(piece) = self.pieces.pop_back_if(|piece| piece.first >= from) {
            usage.remove(&piece);
        }
        if let Some(back) = self.pieces.back_mut()
            && back.end() > from
        {
            usage.remove(back);
            *back = back.up_to(from).expect("it begins before the cut");
            usage.add(back);
        }
        self.next = self.next.min(from.max(self.first));
    }

    fn push(&mut self, piece: Piece, usage: &mut Usage) {
        assert_eq!(piece.first, self.next, "pieces have no gap");
        usage.add(&piece);
        self.next = piece.end();
        self.pieces.push_back(piece);
    }

    /// Makes a piece begin at an index of the log, and says which one it is; behind the last if it is the end.
    fn split_at(&mut self, index: u64, usage: &mut Usage) -> usize {
        let at = self.pieces.partition_point(|piece| piece.end() <= index);
        let Some(piece) = self.pieces.get(at).copied().filter(|piece| piece.first < index) else { return at };
        let (left, right) = (piece.up_to(index), piece.from(index));
        let (Some(left), Some(right)) = (left, right) else { return at };
        usage.remove(&piece);
        usage.add(&left);
        usage.add(&right);
        self.pieces[at] = left;
        self.pieces.insert(at + 1, right);
        at + 1
    }
}

impl Piece {
    /// Index behind its last entry.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.count
    }

    /// What of it begins at `first`, if anything.
    pub(crate) fn from(&self, first: u64) -> Option<Piece> {
        let skipped = first.saturating_sub(self.first);
        let count = self.count.checked_sub(skipped).filter(|&count| count > 0)?;
        let spot = self.spot.map(|spot| Spot {
            skip: spot.skip + u32::try_from(skipped).unwrap_or(u32::MAX),
            bytes: spot.bytes - self.share(spot, skipped),
            ..spot
        });
        Some(Piece { first: self.first + skipped, count, spot, ..*self })
    }

    /// What of it ends before `end`, if anything.
    pub(crate) fn up_to(&self, end: u64) -> Option<Piece> {
        let count = end.saturating_sub(self.first).min(self.count);
        if count == 0 {
            return None;
        }
        let spot = self.spot.map(|spot| Spot { bytes: self.share(spot, count), ..spot });
        Some(Piece { count, spot, ..*self })
    }

    /// Bytes of the first `count` entries, as if all were of one length.
    fn share(&self, spot: Spot, count: u64) -> u32 {
        u32::try_from(u64::from(spot.bytes) * count / self.count).unwrap_or(spot.bytes)
    }
}
