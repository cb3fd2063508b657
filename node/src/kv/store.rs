//! Keys, values, versions, and what each write does to them, exactly once.

use std::sync::Arc;

use ordeal_client::wire::txn::Txn;
use ordeal_client::wire::{
    Mark, RefusalReason, Reply, SESSION_WINDOW_MAX, SessionId, VALUE_BYTES_MAX, Version, WriteOp,
};

use super::digest;
use super::history::{Event, History, Limits};
use super::item::Item;
use super::parts::Parts;
use super::session::{Claim, Session, Sessions, Turn};

/// What a write does, in bytes of its command. As [`WriteOp`], which a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op<'a> {
    /// Set the value.
    Put(&'a [u8]),
    /// Add bytes to the end of the value; an absent one counts as empty.
    Append(&'a [u8]),
    /// Remove the key.
    Delete,
    /// Set the value if the present one is as expected.
    Cas {
        /// The value that must be there; `None`: the key must be absent.
        expected: Option<&'a [u8]>,
        /// The value to set.
        new: &'a [u8],
    },
    /// Do a transaction, of which these are the bytes.
    Txn(&'a [u8]),
}

impl<'a> From<&'a WriteOp> for Op<'a> {
    fn from(op: &'a WriteOp) -> Op<'a> {
        match op {
            WriteOp::Put(value) => Op::Put(value),
            WriteOp::Append(tail) => Op::Append(tail),
            WriteOp::Delete => Op::Delete,
            WriteOp::Cas { expected, new } => Op::Cas { expected: expected.as_deref(), new },
            WriteOp::Txn(bytes) => Op::Txn(bytes),
        }
    }
}

/// The data of one shard with its sessions. A copy shares what neither of the two changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kv {
    data: Parts,
    sessions: Sessions,
    history: History,
    /// Sum over `data`; the sessions keep their own.
    digest: u64,
    /// What makes a moment of an index, see [`Kv::moment`].
    moments: u64,
}

impl Kv {
    /// An empty shard, which is a normal one, of so many in the cluster.
    #[must_use]
    pub fn new(shards: u32) -> Self {
        Kv {
            data: Parts::default(),
            sessions: Sessions::default(),
            history: History::new(Limits::of(shards)),
            digest: 0,
            moments: 0,
        }
    }

    /// The moment of the entry at `index` in the life of this shard. Moments grow with the index, and go on growing when the
    /// shard comes to another group, whose log counts otherwise: sessions are named and expire by them.
    #[must_use]
    pub fn moment(&self, index: u64) -> u64 {
        index.wrapping_add(self.moments)
    }

    /// From the entry at `index` on, in another log than before, moments follow `last`.
    pub fn go_on_from(&mut self, last: u64, index: u64) {
        self.moments = last.wrapping_add(1).wrapping_sub(index);
    }

    /// What is added to an index to make its moment.
    #[must_use]
    pub fn moments(&self) -> u64 {
        self.moments
    }

    /// As it stands in a snapshot.
    pub fn set_moments(&mut self, moments: u64) {
        self.moments = moments;
    }

    /// Opens the session that is named after the moment of the entry at `index`, and expires others that are one too many.
    pub fn open_session(&mut self, index: u64) -> SessionId {
        self.sessions.open(self.moment(index))
    }

    /// Applies a write, unless this session did it before: then its answer of that time is the answer, whatever the data
    /// is by now. `version` is the one that the write makes: the shard's epoch, and the index of the entry.
    /// `command` ends with the key and, right behind it, the value of a put: the item shares them.
    pub fn write(
        &mut self,
        version: Version,
        claim: Claim,
        key: &[u8],
        op: Op<'_>,
        command: &Arc<[u8]>,
    ) -> Reply {
        match self.sessions.turn(claim, self.moment(version.index)) {
            Turn::Unknown => Reply::Refused(RefusalReason::SessionUnknown),
            Turn::Past => Reply::Refused(RefusalReason::SequencePast),
            Turn::Ahead => Reply::Refused(RefusalReason::WindowFull { limit: SESSION_WINDOW_MAX }),
            Turn::Again(reply) => reply,
            Turn::Fresh => {
                let reply = self.effect(version, key, op, command);
                self.sessions.remember(claim, &reply);
                reply
            }
        }
    }

    /// The value of a key, and its version.
    #[must_use]
    pub fn read(&self, key: &[u8]) -> Option<(Vec<u8>, Version)> {
        self.data.find(key).map(|item| (item.value().to_vec(), item.version()))
    }

    /// Adds an item behind all that are there, as they stand in a snapshot: in the order of [`Kv::iter`]. False when it
    /// does not belong there, and then nothing is done.
    #[must_use]
    pub fn push(&mut self, item: Item) -> bool {
        let digest = item.digest();
        let pushed = self.data.push(item);
        if pushed {
            self.digest = self.digest.wrapping_add(digest);
        }
        pushed
    }

    /// Puts an item as it came from another group, whatever stood in its place.
    pub fn stage(&mut self, item: Item) {
        self.digest = self.digest.wrapping_add(item.digest());
        if let Some(before) = self.data.put(item) {
            self.digest = self.digest.wrapping_sub(before.digest());
        }
    }

    /// Removes an item as another group did.
    pub fn unstage(&mut self, key: &[u8]) {
        self.remove(key);
    }

    /// Takes changes as another group has them: it keeps none up to this mark, and these come next. False when they do not
    /// belong behind those that are here.
    pub fn stage_history(&mut self, floor: Mark, events: Vec<Event>) -> bool {
        self.history.cut(floor);
        events.into_iter().all(|event| self.history.push(event))
    }

    /// The last changes.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// An empty shard whose sessions have other limits than usual.
    #[cfg(test)]
    pub(crate) fn with_limits(limits: super::session::Limits) -> Self {
        Kv { sessions: Sessions::with_limits(limits), ..Kv::new(1) }
    }

    /// Adds a session as it stands in a snapshot.
    pub fn insert_session(&mut self, id: SessionId, session: Session) {
        self.sessions.insert(id, session);
    }

    /// All items, in an order that follows from their keys alone.
    pub fn iter(&self) -> impl Iterator<Item = &Item> {
        self.data.iter()
    }

    /// The items behind that of this key, whether there is one or not, in the order of [`Kv::iter`]; without a key all.
    pub fn after(&self, key: Option<&[u8]>) -> impl Iterator<Item = &Item> {
        self.data.after(key)
    }

    /// The item of a key.
    #[must_use]
    pub fn item(&self, key: &[u8]) -> Option<&Item> {
        self.data.find(key)
    }

    /// The items, for [`look_ahead`](super::parts::look_ahead).
    pub(crate) fn parts(&self) -> &Parts {
        &self.data
    }

    /// The sessions.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// How many keys there are.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.data.len()
    }

    /// Checksum of keys, values, versions, sessions and the last changes: equal for equal states, and free to ask for.
    #[must_use]
    pub fn digest(&self) -> u64 {
        digest::mix(&[self.digest, self.sessions.digest(), self.history.digest()])
    }

    fn effect(&mut self, version: Version, key: &[u8], op: Op<'_>, command: &Arc<[u8]>) -> Reply {
        match op {
            Op::Put(value) => self.put(Item::at_end_of(command, key, value, version)),
            Op::Append(tail) => self.append(version, key, tail),
            Op::Delete => Reply::Written { made: version, replaced: self.unset(version, key) },
            Op::Txn(bytes) => {
                let txn = Txn::from_bytes(bytes).unwrap_or_else(|error| {
                    panic!("transaction {version} was validated before it was proposed: {error}")
                });
                self.transact(version, &txn)
            }
            Op::Cas { expected, new } => {
                if self.data.find(key).map(Item::value) == expected {
                    return self.put(Item::new(key, new, version));
                }
                Reply::CasFailed { found: self.read(key) }
            }
        }
    }

    fn append(&mut self, version: Version, key: &[u8], tail: &[u8]) -> Reply {
        let before = self.data.find(key);
        let bytes = before.map_or(0, |item| item.value().len()) + tail.len();
        if bytes > VALUE_BYTES_MAX {
            return Reply::Refused(RefusalReason::TooLong {
                what: "value".to_owned(),
                bytes: bytes as u64,
                limit: VALUE_BYTES_MAX as u64,
            });
        }
        let after = before.map(|item| item.with_tail(tail, version));
        self.put(after.unwrap_or_else(|| Item::new(key, tail, version)))
    }

    fn put(&mut self, item: Item) -> Reply {
        Reply::Written { made: item.version(), replaced: self.set(item) }
    }

    /// Puts an item; says the version that it replaced.
    pub(super) fn set(&mut self, item: Item) -> Option<Version> {
        let made = item.version();
        let digest = item.digest();
        self.digest = self.digest.wrapping_add(digest);
        self.history.note(item.clone(), digest, false);
        let before = self.data.put(item);
        if let Some(before) = &before {
            self.digest = self.digest.wrapping_sub(before.digest());
        }
        let replaced = before.map(|item| item.version());
        assert!(replaced < Some(made), "versions of a key grow");
        replaced
    }

    /// Removes an item by a write; says the version that it had. What was not there does not change.
    pub(super) fn unset(&mut self, version: Version, key: &[u8]) -> Option<Version> {
        let before = self.remove(key)?;
        let removed = Item::new(key, &[], version);
        self.history.note(removed.clone(), removed.digest(), true);
        Some(before.version())
    }

    fn remove(&mut self, key: &[u8]) -> Option<Item> {
        let item = self.data.remove(key)?;
        self.digest = self.digest.wrapping_sub(item.digest());
        Some(item)
    }
}
