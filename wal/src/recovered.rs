//! What a recovery has to say: each group's state, and a report on the whole log.

use std::collections::BTreeMap;

use crate::group::Group;
use crate::runs::UNKNOWN;

/// What [`crate::Wal::open`] found. All of it is durable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Each group that the log knows.
    pub groups: BTreeMap<u64, GroupState>,
    /// How the log was found.
    pub report: Report,
}

/// What the log remembers of a group. The entries themselves are read with [`crate::Wal::read`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupState {
    /// Latest term; 0 when none was ever written.
    pub term: u64,
    /// The vote in it, as the caller numbers them.
    pub vote: u64,
    /// Index and term of the newest snapshot.
    pub snapshot: Option<(u64, u64)>,
    /// Lowest index that is still needed.
    pub first: u64,
    /// Index behind the last entry; `first` when there is none.
    pub next: u64,
    /// Slots whose entry was durable, and is damaged or lost. They stand: to give one up, or to vote as if it had never
    /// been there, may lose what a client was promised. Another member has the entry; [`crate::Batch::repair`] puts it back.
    pub faulty: Vec<Faulty>,
    /// What may have been forgotten, and nothing tells whether it was. A member that forgot must neither vote nor
    /// acknowledge under its old id.
    pub amnesia: Option<Amnesia>,
}

/// Slots without their entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Faulty {
    /// Index of the first.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// Their term, if it is known.
    pub term: Option<u64>,
}

/// What a hole in the log may have taken from a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amnesia {
    /// Entries behind the last known one, or their truncation.
    pub tail: bool,
    /// A term or a vote.
    pub vote: bool,
}

/// How a log was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Segments that count.
    pub segments: u64,
    /// Whole frames in them.
    pub frames: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// The end of the log that no sync ever vouched for, if it was not a whole frame. It is gone.
    pub torn: Option<Torn>,
    /// Everything that was durable and is damaged, in the order of the log, also what a second copy made good.
    pub damage: Vec<Damage>,
    /// Frames are lost, and nothing behind them lists all groups: there may have been groups that are not in
    /// [`Recovered::groups`].
    pub groups_may_be_missing: bool,
}

/// A torn tail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// Number of the segment.
    pub segment: u64,
    /// Where the log ends in it.
    pub offset: u64,
    /// What is wrong there, such as `checksum of frame`.
    pub what: &'static str,
    /// The entries that it held, as far as its directory could be read: group, and slots. See the last case that the top
    /// of this crate lists: a cautious caller takes them for faulty ones.
    pub entries: Vec<(u64, Faulty)>,
}

/// Something that was durable and is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Number of the segment.
    pub segment: u64,
    /// Where in it.
    pub offset: u64,
    /// What was found there, such as `checksum of entry`.
    pub what: &'static str,
    /// What it means.
    pub loss: Loss,
}

/// What a damage has taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Nothing: a second copy was whole.
    Nothing,
    /// This entry of this group.
    Entry {
        /// Whose.
        group: u64,
        /// Which.
        index: u64,
    },
    /// So many frames, and nobody knows what they held.
    Frames(u64),
    /// A segment is missing, or cannot be read at all.
    Segment,
}

impl GroupState {
    pub(crate) fn of(group: &Group) -> GroupState {
        let mut faulty: Vec<Faulty> = Vec::new();
        for piece in group.pieces().filter(|piece| piece.spot.is_none()) {
            let term = Some(piece.term).filter(|&term| term != UNKNOWN);
            match faulty.last_mut() {
                Some(last) if last.first + last.count == piece.first && last.term == term => {
                    last.count += piece.count;
                }
                _ => faulty.push(Faulty { first: piece.first, count: piece.count, term }),
            }
        }
        let doubt = group.doubt;
        let amnesia = Amnesia { tail: doubt.tail, vote: doubt.vote };
        GroupState {
            term: group.term,
            vote: group.vote,
            snapshot: Some(group.snapshot).filter(|&(index, _)| index > 0),
            first: group.first(),
            next: group.next(),
            faulty,
            amnesia: Some(amnesia).filter(|amnesia| amnesia.tail || amnesia.vote),
        }
    }
}

impl Report {
    /// Whether everything that was ever acknowledged is there, and was from the start.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.damage.is_empty() && !self.groups_may_be_missing
    }
}
