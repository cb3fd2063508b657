//! A shard on its way from one group, the donor, to another, the recipient: copy first, freeze last, and the recipient's log
//! decides. What a group knows of a move is replicated; who drives it, sends and asks again is the business of leaders.
//!
//! ```text
//!   donor       Owned(e) ──ExportBegin──▶ Leaving ──Freeze──▶ Frozen ──ExportDone──▶ Away(e + 1)
//!                 ▲                          │                  │
//!                 └───────ExportCancel───────┘                  │   the copy is on its way as parcels, each from one
//!                 └──────────────────────Unfreeze───────────────┘   Cursor to the next
//!
//!   recipient   ──ImportBegin──▶ Arriving ──Parcel…──Adopt──▶ Owned(e + 1)
//!                                    └───────Refuse─────────▶ never again this move
//! ```
//!
//! Why nothing is lost, done twice, or owned twice:
//! * A parcel begins at a cursor. The recipient takes it only if it has come exactly so far, so copies, late ones and those of
//!   a deposed leader do nothing. Keys and sessions come in the order of their places first, which is fuzzy; then what was changed
//!   since the move began, in the order of the log, until nothing is left: every change is behind the place that it was
//!   copied to, or comes later. The history comes along beside them, in its own order. So any leader of the donor can go on from wherever the recipient is.
//! * Frozen, nothing changes at the donor, and it answers nothing: writes and reads of the shard have no effect from there on.
//! * [`Step::Adopt`] counts only if digest and count of what came are those of the frozen shard, else the move is refused.
//! * The recipient's log makes one of `Adopt` and `Refuse` effective, never both; the donor unfreezes only after `Refuse`, and
//!   gives up its data only after `Adopt`. No clock decides.
//! * A donor's data are an object of (shard, epoch): a shard that comes back is another one.

use ordeal_client::wire::{GroupId, Mark, MoveId, SessionId, ShardId};
use serde::{Deserialize, Serialize};

/// How far the copy of a shard has come: everything before it has been taken over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cursor {
    /// Items up to that of this key, in the order of their places; without a key none.
    Items {
        /// The key.
        #[serde(with = "serde_bytes")]
        after: Option<Vec<u8>>,
    },
    /// All items, and sessions up to this one's reply.
    Sessions {
        /// The session, and the last sequence number whose reply came; `None`: all of it came.
        after: Option<(SessionId, Option<u64>)>,
    },
    /// All sessions, and what was last changed by the donor's entries up to this one.
    Changes {
        /// Its index.
        upto: u64,
        /// What came of the entry that changed something next, when not all of it did.
        part: Option<Part>,
        /// And all that is kept of the shard's history, up to here.
        told: Mark,
    },
}

/// How far the changes of one entry have come: its session first, then its keys in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// Of the session, the replies up to a sequence number.
    Session {
        /// Index of the entry.
        index: u64,
        /// The number.
        sequence: u64,
    },
    /// The session, and the keys up to this one.
    Key {
        /// Index of the entry.
        index: u64,
        /// The key.
        #[serde(with = "serde_bytes")]
        key: Vec<u8>,
    },
}

impl Cursor {
    /// Nothing has been taken over.
    pub const START: Cursor = Cursor::Items { after: None };
}

/// What a log says about a move. Each step is harmless to repeat, and has no effect where it does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// Donor: note from here on what changes.
    ExportBegin {
        /// The epoch in which it owns the shard.
        epoch: u64,
        /// Who is to have it.
        to: GroupId,
    },
    /// Donor: change and answer nothing from here on.
    Freeze,
    /// Donor: the recipient has adopted the shard.
    ExportDone,
    /// Donor: the move is off, whether it has begun or not. Not any more when the shard is frozen.
    ExportCancel,
    /// Donor: the recipient has refused, and never takes it by this move.
    Unfreeze,
    /// Recipient: make room.
    ImportBegin {
        /// The epoch in which it is to own the shard.
        epoch: u64,
        /// From whom it comes.
        from: GroupId,
    },
    /// Recipient: take a part of the copy.
    Parcel {
        /// It, see `parcel`.
        bytes: &'a [u8],
    },
    /// Recipient: take the last part, and own the shard if it is whole.
    Adopt {
        /// What the whole must be.
        seal: Seal,
        /// The last part.
        bytes: &'a [u8],
    },
    /// Recipient: never take the shard by this move, unless that has happened.
    Refuse {
        /// The epoch in which it would own the shard.
        epoch: u64,
    },
}

/// What a frozen shard is: its copy must be the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// Of keys, values, versions, sessions and the last changes.
    pub digest: u64,
    /// How many keys there are.
    pub keys: u64,
    /// The moment of the shard in which it was frozen: moments go on behind it.
    pub moment: u64,
    /// Sessions that were not used since this moment have expired.
    pub oldest_use: u64,
}

/// How a shard stands in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// It is not here, and never was.
    Absent,
    /// It is served here.
    Owned {
        /// In this epoch.
        epoch: u64,
    },
    /// It is served here, and being copied.
    Leaving {
        /// In this epoch.
        epoch: u64,
        /// By this move.
        id: MoveId,
        /// To this group.
        to: GroupId,
    },
    /// It is here, complete, and not served.
    Frozen {
        /// In this epoch.
        epoch: u64,
        /// For this move.
        id: MoveId,
        /// To this group.
        to: GroupId,
    },
    /// It is coming.
    Arriving {
        /// In which epoch it will be owned here.
        epoch: u64,
        /// By this move.
        id: MoveId,
        /// From this group.
        from: GroupId,
        /// How far its copy has come.
        cursor: Cursor,
    },
    /// It was here, and was taken over by another group, or by others since.
    Away {
        /// The epoch in which the other owned it.
        epoch: u64,
        /// The other.
        to: GroupId,
    },
}

/// What became of a move at its recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// Nothing yet.
    Open,
    /// The recipient owns the shard, or did.
    Adopted,
    /// It never will by this move.
    Refused,
}

/// A part of a shard, on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parcel {
    /// The shard.
    pub shard: ShardId,
    /// Where it begins.
    pub from: Cursor,
    /// Where it ends; where it begins, when nothing is left.
    pub to: Cursor,
    /// It, for [`Step::Parcel`] or [`Step::Adopt`].
    pub bytes: Vec<u8>,
}
