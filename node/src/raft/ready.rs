//! What a member wants done, in an order that the types say.
//!
//! ```text
//!   send_now ──▶ (at any time)
//!   persist ───▶ one durable write ──▶ persisted(ticket) ──▶ the next Ready
//!   send_after_persist ──────────────▶ only after persist is durable
//!   events ────▶ at once, in order: they are committed, and durable here already
//! ```

use ordeal_client::wire::NodeId;
use serde::{Deserialize, Serialize};

use super::{Entry, Index, LogId, Message, Snapshot, Term};

/// A batch of work. The driver does the fields in the order above and reports `persist` by its ticket.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ready {
    /// Promise nothing about this disk: may leave before anything is written (thesis §10.2.1).
    pub send_now: Vec<(NodeId, Message)>,
    /// To be made durable, all of it in order, before `send_after_persist` leaves.
    pub persist: Option<Persist>,
    /// Promise what `persist`, or one before it, writes: leaves when this Ready's `persist` is durable (when there is
    /// none, when all earlier ones are).
    pub send_after_persist: Vec<(NodeId, Message)>,
    /// What happened to the state machine and its waiting clients, in order.
    pub events: Vec<Event>,
}

/// Number of a write: grows by one with each `Persist` of this member since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ticket(pub u64);

/// One durable write, in this order: hard state, snapshot, truncation, entries, repairs. A snapshot replaces the whole log up to
/// its last entry; when the log does not hold that entry with that term, also everything behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Persist {
    /// Names this write in `persisted`.
    pub ticket: Ticket,
    /// Term and vote, when one changed.
    pub hard_state: Option<HardState>,
    /// A snapshot, taken here or received.
    pub snapshot: Option<Snapshot>,
    /// Everything from this index on is removed, before `entries` are appended.
    pub truncate_from: Option<Index>,
    /// Appended behind what is there, without a gap.
    pub entries: Vec<Entry>,
    /// Written once more, in the places that they have in the log: what stood there is damaged. Nothing behind them goes.
    pub repairs: Vec<Entry>,
    /// The first index that the log still needs after this write: everything before it may go from the disk.
    pub first: Index,
}

/// Term and vote: durable before anything is promised in that term (Figure 2, "Persistent state on all servers").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HardState {
    /// Latest term seen.
    pub term: Term,
    /// Whom this member voted for in it.
    pub vote: Option<NodeId>,
}

/// One stream for everything that concerns the state machine and those who wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A committed entry: apply it.
    Apply(Entry),
    /// A snapshot replaces the whole state: to be answered with `installed`, before which no entry comes.
    Install(Snapshot),
    /// This read may be answered from the state as it is now (ReadIndex, thesis §6.4).
    ReadReady {
        /// As given to `read`.
        token: u64,
    },
    /// This read was not confirmed before leadership or the term changed: ask somebody else.
    ReadFailed {
        /// As given to `read`.
        token: u64,
    },
    /// Role, term or known leader changed. Proposals of earlier terms that were not applied before this event have an
    /// unknown fate.
    Role {
        /// What this member is now.
        role: Role,
        /// In this term.
        term: Term,
        /// The leader, if known.
        leader: Option<NodeId>,
    },
}

/// What a member is (Figure 4; the pre-candidate is from thesis §9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the paper's own names")]
pub enum Role {
    Follower,
    PreCandidate,
    Candidate,
    Leader,
}

/// Why a proposal or a read was not taken. Nothing was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Not the leader.
    #[error("not the leader")]
    NotLeader {
        /// Who is, if known and heard lately.
        leader: Option<NodeId>,
    },
    /// A limit of [`super::Config`] is reached.
    #[error("busy")]
    Busy,
}

/// How a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Role.
    pub role: Role,
    /// Current term.
    pub term: Term,
    /// The leader, if known.
    pub leader: Option<NodeId>,
    /// Highest index known to be committed.
    pub commit: Index,
    /// Highest index handed out in [`Event::Apply`], or said to be installed.
    pub applied: Index,
    /// First index in the log.
    pub first: Index,
    /// Last entry of the log.
    pub last: LogId,
    /// Last entry of the newest snapshot.
    pub snapshot: LogId,
    /// Entries whose content is damaged here and was not fetched from another member yet.
    pub lost: usize,
    /// Bytes of the commands in the log.
    pub log_bytes: usize,
    /// Whether the group says nothing, because nothing happens in it.
    pub at_rest: bool,
}
