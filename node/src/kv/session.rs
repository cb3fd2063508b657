//! Who wrote last, and what the answer was: what makes a retried write happen once (thesis §6.3).
//!
//! Invariants
//! * at most [`SESSIONS_MAX`] sessions, whose remembered replies hold at most [`REMEMBERED_BYTES_MAX`] bytes
//! * `order` holds each session exactly once, under the log index of its last use; no two share an index
//! * sessions expire only here, by log index: on every replica the same ones at the same entry

use std::collections::{BTreeMap, BTreeSet};

use ordeal_client::wire::{Reply, SessionId, encode};

use super::digest;

/// Sessions of one shard, at most: opening one more expires the one least recently used. A client that was expired is
/// told so and opens another. 10,000 clients at about 100 bytes each are a megabyte.
pub const SESSIONS_MAX: usize = 10_000;

/// Bytes of all remembered replies of one shard, at most: a failed compare-and-set remembers the value that it found, up
/// to a megabyte. Beyond it the least recently used sessions expire, too. 64 of the largest replies.
pub const REMEMBERED_BYTES_MAX: usize = 64 << 20;

/// What is remembered of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Sequence number of its last write; 0 before the first.
    pub sequence: u64,
    /// The answer to that write; `None` before the first.
    pub reply: Option<Reply>,
    /// Log index of the last entry that named this session.
    pub used: u64,
    /// Encoded length and checksum of `reply`.
    bytes: usize,
    checksum: u32,
}

impl Session {
    /// A session as it stands in a snapshot.
    #[must_use]
    pub fn new(sequence: u64, reply: Option<Reply>, used: u64) -> Self {
        let encoded = encode(&reply);
        Session { sequence, reply, used, bytes: encoded.len(), checksum: digest::checksum(0, &encoded) }
    }
}

/// What a sequence number means to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// Not seen before: let it take effect, then [`Sessions::remember`] the answer.
    Fresh,
    /// The last one again: this was its answer.
    Again(Reply),
    /// A later one was applied already.
    Past,
    /// No such session.
    Unknown,
}

/// The sessions of a shard.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sessions {
    sessions: BTreeMap<SessionId, Session>,
    /// By last use, oldest first.
    order: BTreeSet<(u64, SessionId)>,
    remembered_bytes: usize,
    digest: u64,
}

impl Sessions {
    /// Opens the session that is named after the entry at `index`.
    pub fn open(&mut self, index: u64) -> SessionId {
        let id = SessionId(index);
        assert!(
            !self.sessions.contains_key(&id),
            "session {index} is opened once, by the entry it is named after"
        );
        self.insert(id, Session::new(0, None, index));
        self.expire();
        id
    }

    /// What `sequence` means to this session; the entry at `index` counts as a use of it.
    pub fn turn(&mut self, id: SessionId, sequence: u64, index: u64) -> Turn {
        let Some(mut session) = self.remove(id) else { return Turn::Unknown };
        session.used = index;
        let turn = match &session.reply {
            Some(reply) if sequence == session.sequence => Turn::Again(reply.clone()),
            Some(_) | None if sequence <= session.sequence => Turn::Past,
            Some(_) | None => Turn::Fresh,
        };
        self.insert(id, session);
        turn
    }

    /// Remembers the answer to a [`Turn::Fresh`], at the same index.
    pub fn remember(&mut self, id: SessionId, sequence: u64, index: u64, reply: &Reply) {
        let before = self.remove(id).expect("a fresh turn is of a session that is there");
        assert!(sequence > before.sequence, "a session's sequence numbers grow");
        self.insert(id, Session::new(sequence, Some(reply.clone()), index));
        self.expire();
    }

    /// Adds a session as it stands in a snapshot.
    pub fn insert(&mut self, id: SessionId, session: Session) {
        self.digest = self.digest.wrapping_add(digest_of(id, &session));
        self.remembered_bytes += session.bytes;
        assert!(self.order.insert((session.used, id)), "an index is one entry, and names one session");
        assert!(self.sessions.insert(id, session).is_none(), "a session is there once");
    }

    /// Whether a session of this id and last use could be added: neither is there yet.
    #[must_use]
    pub fn takes(&self, id: SessionId, used: u64) -> bool {
        let same_use = self.order.range((used, SessionId(0))..=(used, SessionId(u64::MAX))).next();
        same_use.is_none() && !self.sessions.contains_key(&id)
    }

    /// All sessions, by id.
    pub fn iter(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.sessions.iter().map(|(&id, session)| (id, session))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Checksum of all of them, see [`digest`].
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest
    }

    fn remove(&mut self, id: SessionId) -> Option<Session> {
        let session = self.sessions.remove(&id)?;
        assert!(self.order.remove(&(session.used, id)), "a session stands in the order of use");
        self.digest = self.digest.wrapping_sub(digest_of(id, &session));
        self.remembered_bytes -= session.bytes;
        Some(session)
    }

    fn expire(&mut self) {
        while self.sessions.len() > SESSIONS_MAX || self.remembered_bytes > REMEMBERED_BYTES_MAX {
            let &(_, oldest) = self.order.first().expect("a table beyond its limit is not empty");
            self.remove(oldest);
        }
    }
}

fn digest_of(id: SessionId, session: &Session) -> u64 {
    digest::mix(&[2, id.0, session.sequence, session.used, session.bytes as u64, u64::from(session.checksum)])
}
