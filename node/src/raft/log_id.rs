//! Places in the log, entries, snapshots.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Membership, shared_bytes};

/// Index of an entry, from 1; 0 is the place before the first.
pub type Index = u64;
/// A term, from 1; 0 is before the first election.
pub type Term = u64;

/// The identity of an entry: two logs that hold the same id hold the same entries up to it (Log Matching, §5.3).
/// Ordered by term, then index: the order of "more up-to-date" logs (§5.4.1). Prints as `42@5`, index@term.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct LogId {
    /// Term of the leader that made the entry. First, because it decides the order.
    pub term: Term,
    /// Index in the log.
    pub index: Index,
}

impl LogId {
    /// Before the first entry.
    pub const ZERO: LogId = LogId { term: 0, index: 0 };

    /// The id `index@term`.
    #[must_use]
    pub const fn new(index: Index, term: Term) -> Self {
        LogId { term, index }
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.term)
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place.
    pub id: LogId,
    /// What it holds.
    pub payload: Payload,
}

/// What an entry holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    /// Nothing: the first entry of a term, whose commit commits everything before it (§8).
    Noop,
    /// A command of the state machine above, encoded. Shared, never changed: a message and the log hold the same bytes.
    Command(#[serde(with = "shared_bytes")] Arc<[u8]>),
    /// Who belongs to the group from this entry on (§6).
    Membership(Arc<Membership>),
}

impl Payload {
    /// Bytes of the command or the membership, 0 for a no-op. For limits.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Payload::Noop => 0,
            Payload::Command(bytes) => bytes.len(),
            Payload::Membership(membership) => membership.weight(),
        }
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The whole state of the machine above after applying everything up to and including `last` (§7).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The last entry whose effect is in `data`.
    pub last: LogId,
    /// Who belongs to the group at that entry.
    pub membership: Arc<Membership>,
    /// The state, encoded by the machine above.
    #[serde(with = "shared_bytes")]
    pub data: Arc<[u8]>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Snapshot({}, {} bytes)", self.last, self.data.len())
    }
}
