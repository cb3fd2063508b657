//! Who wrote what lately, and what the answers were: what makes a retried write happen once (thesis §6.3).
//!
//! A client may have many writes under way in one session. It numbers them from 1, and says with each which of them it
//! will never ask for again: all up to `settled`. Their answers are forgotten; those above are remembered.
//!
//! ```text
//!   sequence   1 ………… settled │ settled + 1 ………… settled + SESSION_WINDOW_MAX │ …
//!              Past           │ applied: Again, its answer;   else: Fresh      │ Ahead
//! ```
//!
//! Invariants
//! * at most [`SESSIONS_MAX`] sessions; what they remember counts for at most [`REMEMBERED_BYTES_MAX`] bytes
//! * a session remembers answers above `settled` and within the window only, each once; `settled` never falls
//! * `order` holds each session exactly once, under the moment of its last use or of one before that; a moment is one
//!   entry, which names one session
//! * a session begins and ends only here, by moments, which log indexes make: on every replica the same ones at the same entry
//! * who was used later than a session that is there, is there: so a table is what was used since some moment

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use ordeal_client::wire::{Reply, SESSION_WINDOW_MAX, SessionId, encode};

use super::digest;

/// Sessions of one shard, at most: opening one more expires the one least recently used. A client that was expired is
/// told so and opens another. 10,000 clients that pipeline eight writes each remember 13 MB.
pub const SESSIONS_MAX: usize = 10_000;

/// Bytes that all remembered replies of one shard count for, at most: a failed compare-and-set remembers the value that
/// it found, up to a megabyte. Beyond it the least recently used sessions expire, too. 64 of the largest replies.
pub const REMEMBERED_BYTES_MAX: usize = 64 << 20;

/// What every remembered reply counts for beside its own bytes: its place in memory.
pub const REPLY_BYTES: usize = 160;

/// A write, as its client counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Who writes.
    pub session: SessionId,
    /// Which of the session's writes.
    pub sequence: u64,
    /// No write up to this one will be asked for again.
    pub settled: u64,
}

/// What is remembered of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Writes up to this one are settled.
    settled: u64,
    /// Moment of the last entry that named this session.
    used: u64,
    /// The answers to writes above `settled`, by sequence number.
    replies: BTreeMap<u64, Remembered>,
    /// What `replies` count for.
    bytes: usize,
    /// Sum over `replies`.
    digest: u64,
    /// What it counts for in the digest of its table.
    counted: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Remembered {
    reply: Reply,
    bytes: usize,
    digest: u64,
}

impl Session {
    /// A session that remembers nothing yet.
    #[must_use]
    pub fn new(settled: u64, used: u64) -> Self {
        Session { settled, used, replies: BTreeMap::new(), bytes: 0, digest: 0, counted: 0 }
    }

    /// Writes up to this one are settled.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.settled
    }

    /// Moment of the last entry that named this session.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used
    }

    /// The answers it remembers, by sequence number.
    pub fn replies(&self) -> impl Iterator<Item = (u64, &Reply)> + Clone {
        self.replies.iter().map(|(&sequence, remembered)| (sequence, &remembered.reply))
    }

    /// Checksum of all of it.
    #[must_use]
    pub fn digest(&self, id: SessionId) -> u64 {
        let (count, bytes) = (self.replies.len() as u64, self.bytes as u64);
        digest::mix(&[2, id.0, self.settled, self.used, count, bytes, self.digest])
    }

    /// Whether an answer to this write could be remembered: it is within the window, and not there yet.
    #[must_use]
    pub fn takes(&self, sequence: u64) -> bool {
        self.is_open(sequence) && !self.replies.contains_key(&sequence)
    }

    /// Remembers an answer.
    pub fn remember(&mut self, sequence: u64, reply: Reply) {
        assert!(self.takes(sequence), "a write within the window is remembered once");
        let (bytes, digest) = weigh(sequence, &reply);
        self.bytes += bytes;
        self.digest = self.digest.wrapping_add(digest);
        self.replies.insert(sequence, Remembered { reply, bytes, digest });
    }

    /// Makes of a session as it was what it became since, as far as other groups tell it: answers are added one by one.
    pub fn become_later(&mut self, settled: u64, used: u64) {
        self.used = self.used.max(used);
        self.settle(settled);
    }

    /// Forgets the answers up to `settled`, which are not asked for again.
    fn settle(&mut self, settled: u64) {
        self.settled = self.settled.max(settled);
        while let Some(oldest) = self.replies.first_entry().filter(|oldest| *oldest.key() <= self.settled) {
            let forgotten = oldest.remove();
            self.bytes -= forgotten.bytes;
            self.digest = self.digest.wrapping_sub(forgotten.digest);
        }
    }

    fn is_open(&self, sequence: u64) -> bool {
        sequence > self.settled && sequence - self.settled <= SESSION_WINDOW_MAX
    }

    fn turn(&self, sequence: u64) -> Turn {
        if sequence <= self.settled {
            return Turn::Past;
        }
        if let Some(remembered) = self.replies.get(&sequence) {
            return Turn::Again(remembered.reply.clone());
        }
        if self.is_open(sequence) { Turn::Fresh } else { Turn::Ahead }
    }
}

/// What a sequence number means to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// Not seen before: let it take effect, then [`Sessions::remember`] the answer.
    Fresh,
    /// Seen before: this was its answer.
    Again(Reply),
    /// Settled: its client asks no more, so this is a copy that was long under way.
    Past,
    /// Beyond the window.
    Ahead,
    /// No such session.
    Unknown,
}

/// How much a table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Sessions.
    pub sessions: usize,
    /// Bytes that all they remember counts for.
    pub remembered_bytes: usize,
}

/// The sessions of a shard.
#[derive(Debug, Clone)]
pub struct Sessions {
    /// A copy of the table shares each session until one of the two changes it: what it remembers is not copied.
    sessions: BTreeMap<SessionId, Arc<Session>>,
    /// Whom to expire next is looked for from the front. A use leaves its session where it stands: it is moved to its
    /// true place when it comes to the front, as few ever do.
    order: BTreeMap<u64, SessionId>,
    remembered_bytes: usize,
    digest: u64,
    limits: Limits,
}

impl Default for Sessions {
    fn default() -> Self {
        Sessions::with_limits(Limits { sessions: SESSIONS_MAX, remembered_bytes: REMEMBERED_BYTES_MAX })
    }
}

impl Sessions {
    /// An empty table that holds so much; all replicas must agree on it.
    #[must_use]
    pub fn with_limits(limits: Limits) -> Self {
        Sessions { sessions: BTreeMap::new(), order: BTreeMap::new(), remembered_bytes: 0, digest: 0, limits }
    }

    /// Opens the session that is named after this moment.
    pub fn open(&mut self, moment: u64) -> SessionId {
        let id = SessionId(moment);
        assert!(
            !self.sessions.contains_key(&id),
            "session {moment} is opened once, by the entry it is named after"
        );
        self.insert(id, Session::new(0, moment));
        self.expire();
        id
    }

    /// What a write means to its session, which is used at this moment. An operation never creates one.
    pub fn turn(&mut self, claim: Claim, moment: u64) -> Turn {
        let mut turn = Turn::Unknown;
        self.change(claim.session, |session| {
            session.used = moment;
            session.settle(claim.settled);
            turn = session.turn(claim.sequence);
        });
        turn
    }

    /// Remembers the answer to a [`Turn::Fresh`].
    pub fn remember(&mut self, claim: Claim, reply: &Reply) {
        let there = self.change(claim.session, |session| session.remember(claim.sequence, reply.clone()));
        assert!(there, "a fresh turn is of a session that is there");
        self.expire();
    }

    /// Adds a session as it stands in a snapshot.
    pub fn insert(&mut self, id: SessionId, mut session: Session) {
        session.counted = session.digest(id);
        self.digest = self.digest.wrapping_add(session.counted);
        self.remembered_bytes += session.bytes;
        assert!(
            self.order.insert(session.used, id).is_none(),
            "a moment is one entry, and names one session"
        );
        assert!(self.sessions.insert(id, Arc::new(session)).is_none(), "a session is there once");
    }

    /// Whether this session, as it stands in a snapshot, could be added to what stood there before it: it is not there, nor
    /// is another one of the same last use, and there is room.
    #[must_use]
    pub fn takes(&self, id: SessionId, session: &Session) -> bool {
        let same_use = self.order.contains_key(&session.used);
        let room = self.sessions.len() < self.limits.sessions
            && self.remembered_bytes + session.bytes <= self.limits.remembered_bytes;
        room && !same_use && !self.sessions.contains_key(&id)
    }

    /// A session.
    #[must_use]
    pub fn get(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(&id).map(|session| &**session)
    }

    /// The sessions behind this one, by id; without one all.
    pub fn after(&self, id: Option<SessionId>) -> impl Iterator<Item = (SessionId, &Session)> {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.sessions.range((from, Bound::Unbounded)).map(|(&id, session)| (id, &**session))
    }

    /// The moment in which the session was used that was not used for longest.
    #[must_use]
    pub fn oldest_use(&self) -> Option<u64> {
        self.sessions.values().map(|session| session.used).min()
    }

    /// All sessions, by id.
    pub fn iter(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.sessions.iter().map(|(&id, session)| (id, &**session))
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

    /// Changes a session, and all that is counted of it; false when it is not there.
    fn change(&mut self, id: SessionId, how: impl FnOnce(&mut Session)) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else { return false };
        let session = Arc::make_mut(session);
        self.digest = self.digest.wrapping_sub(session.counted);
        self.remembered_bytes -= session.bytes;
        how(session);
        session.counted = session.digest(id);
        self.digest = self.digest.wrapping_add(session.counted);
        self.remembered_bytes += session.bytes;
        true
    }

    fn expire(&mut self) {
        while self.sessions.len() > self.limits.sessions
            || self.remembered_bytes > self.limits.remembered_bytes
        {
            let (placed, id) = self.order.pop_first().expect("a table beyond its limit is not empty");
            let last_use = self.sessions.get(&id).expect("who stands in the order is there").used;
            if last_use > placed {
                let other = self.order.insert(last_use, id);
                assert!(other.is_none(), "a moment is one entry, and names one session");
                continue;
            }
            let session = self.sessions.remove(&id).expect("looked at just now");
            self.digest = self.digest.wrapping_sub(session.counted);
            self.remembered_bytes -= session.bytes;
        }
    }
}

/// Where sessions stand in `order` says when they were looked at, and nothing about the state.
impl PartialEq for Sessions {
    fn eq(&self, other: &Sessions) -> bool {
        (self.digest, self.remembered_bytes, self.limits)
            == (other.digest, other.remembered_bytes, other.limits)
            && self.sessions == other.sessions
    }
}

impl Eq for Sessions {}

/// What a remembered reply counts for, and its digest. The plain answer to a write, which nearly all are, is not encoded
/// for that.
fn weigh(sequence: u64, reply: &Reply) -> (usize, u64) {
    match reply {
        Reply::Written { made, replaced } => {
            let (epoch, index) = replaced.map_or((0, 0), |version| (version.epoch, version.index));
            (REPLY_BYTES, digest::mix(&[3, sequence, made.epoch, made.index, epoch, index]))
        }
        Reply::Status(_)
        | Reply::SessionOpened(_)
        | Reply::Value(_)
        | Reply::CasFailed { .. }
        | Reply::Refused(_)
        | Reply::Unknown
        | Reply::Members { .. }
        | Reply::Txn { .. }
        | Reply::Configuration(_)
        | Reply::Decided(_)
        | Reply::Changes { .. }
        | Reply::Transferring { .. } => {
            let encoded = encode(reply);
            let checksum = u64::from(digest::checksum(0, &encoded));
            (REPLY_BYTES + encoded.len(), digest::mix(&[4, sequence, encoded.len() as u64, checksum]))
        }
    }
}
