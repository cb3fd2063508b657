//! Keys, values, versions, and what each write does to them, exactly once.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use ordeal_client::wire::{
    RefusalReason, Reply, SESSION_WINDOW_MAX, SessionId, VALUE_BYTES_MAX, Version, WriteOp,
};

use super::digest;
use super::session::{Claim, Session, Sessions, Turn};

/// The data of one shard with its sessions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kv {
    data: BTreeMap<Vec<u8>, Stored>,
    sessions: Sessions,
    /// Sum over `data`; the sessions keep their own.
    digest: u64,
}

/// A value, and the write that made it what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The value.
    pub value: Vec<u8>,
    /// Of the last write.
    pub version: Version,
    /// Checksum of the value.
    checksum: u32,
}

impl Stored {
    /// A value with its version.
    #[must_use]
    pub fn new(value: Vec<u8>, version: Version) -> Self {
        let checksum = digest::checksum(0, &value);
        Stored { value, version, checksum }
    }
}

impl Kv {
    /// An empty shard, which is a normal one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens the session that is named after the entry at `index`, and expires others that are one too many.
    pub fn open_session(&mut self, index: u64) -> SessionId {
        self.sessions.open(index)
    }

    /// Applies a write, unless this session did it before: then its answer of that time is the answer, whatever the data
    /// is by now. `version` is the one that the write makes: the shard's epoch, and the index of the entry.
    pub fn write(&mut self, version: Version, claim: Claim, key: Vec<u8>, op: WriteOp) -> Reply {
        match self.sessions.turn(claim, version.index) {
            Turn::Unknown => Reply::Refused(RefusalReason::SessionUnknown),
            Turn::Past => Reply::Refused(RefusalReason::SequencePast),
            Turn::Ahead => Reply::Refused(RefusalReason::WindowFull { limit: SESSION_WINDOW_MAX }),
            Turn::Again(reply) => reply,
            Turn::Fresh => {
                let reply = self.effect(version, key, op);
                self.sessions.remember(claim, &reply);
                reply
            }
        }
    }

    /// The value of a key, and its version.
    #[must_use]
    pub fn read(&self, key: &[u8]) -> Option<(Vec<u8>, Version)> {
        self.data.get(key).map(|stored| (stored.value.clone(), stored.version))
    }

    /// Fills an empty shard with all its keys, as they stand in a snapshot: strictly ascending. Built at once, which takes
    /// a third of the time of one by one.
    pub fn fill(&mut self, ascending: Vec<(Vec<u8>, Stored)>) {
        assert!(self.data.is_empty(), "a shard is filled once");
        assert!(ascending.is_sorted_by(|(one, _), (next, _)| one < next), "keys of a snapshot ascend");
        let digests = ascending.iter().map(|(key, stored)| digest_of(key, stored));
        self.digest = digests.fold(self.digest, u64::wrapping_add);
        self.data = ascending.into_iter().collect();
    }

    pub(super) fn insert(&mut self, key: Vec<u8>, stored: Stored) {
        self.digest = self.digest.wrapping_add(digest_of(&key, &stored));
        assert!(self.data.insert(key, stored).is_none(), "a key that is there is taken out first");
    }

    /// An empty shard whose sessions have other limits than usual.
    #[cfg(test)]
    pub(crate) fn with_limits(limits: super::session::Limits) -> Self {
        Kv { sessions: Sessions::with_limits(limits), ..Kv::default() }
    }

    /// Adds a session as it stands in a snapshot.
    pub fn insert_session(&mut self, id: SessionId, session: Session) {
        self.sessions.insert(id, session);
    }

    /// All keys in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], &Stored)> {
        self.data.iter().map(|(key, stored)| (key.as_slice(), stored))
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

    /// Checksum of keys, values, versions and sessions: equal for equal states, and free to ask for.
    #[must_use]
    pub fn digest(&self) -> u64 {
        digest::mix(&[self.digest, self.sessions.digest()])
    }

    fn effect(&mut self, version: Version, key: Vec<u8>, op: WriteOp) -> Reply {
        match op {
            WriteOp::Put(value) => self.replace(version, key, value),
            WriteOp::Append(tail) => self.append(version, key, &tail),
            WriteOp::Delete => {
                let replaced = self.remove(&key).map(|stored| stored.version);
                Reply::Written { made: version, replaced }
            }
            WriteOp::Cas { expected, new } => {
                let found = self.data.get(&key);
                if found.map(|stored| &stored.value) == expected.as_ref() {
                    return self.replace(version, key, new);
                }
                Reply::CasFailed { found: self.read(&key) }
            }
        }
    }

    fn replace(&mut self, version: Version, key: Vec<u8>, value: Vec<u8>) -> Reply {
        let stored = Stored::new(value, version);
        self.digest = self.digest.wrapping_add(digest_of(&key, &stored));
        let replaced = match self.data.entry(key) {
            Entry::Vacant(place) => {
                place.insert(stored);
                None
            }
            Entry::Occupied(mut place) => {
                let before = place.insert(stored);
                self.digest = self.digest.wrapping_sub(digest_of(place.key(), &before));
                Some(before.version)
            }
        };
        assert!(replaced < Some(version), "versions of a key grow");
        Reply::Written { made: version, replaced }
    }

    fn append(&mut self, version: Version, key: Vec<u8>, tail: &[u8]) -> Reply {
        let bytes = self.data.get(&key).map_or(0, |stored| stored.value.len()) + tail.len();
        if bytes > VALUE_BYTES_MAX {
            return Reply::Refused(RefusalReason::TooLong {
                what: "value".to_owned(),
                bytes: bytes as u64,
                limit: VALUE_BYTES_MAX as u64,
            });
        }
        let Some(mut stored) = self.remove(&key) else { return self.replace(version, key, tail.to_vec()) };
        let replaced = Some(stored.version);
        assert!(replaced < Some(version), "versions of a key grow");
        stored.value.extend_from_slice(tail);
        stored.checksum = digest::checksum(stored.checksum, tail);
        stored.version = version;
        self.insert(key, stored);
        Reply::Written { made: version, replaced }
    }

    fn remove(&mut self, key: &[u8]) -> Option<Stored> {
        let stored = self.data.remove(key)?;
        self.digest = self.digest.wrapping_sub(digest_of(key, &stored));
        Some(stored)
    }
}

fn digest_of(key: &[u8], stored: &Stored) -> u64 {
    digest::mix(&[
        1,
        key.len() as u64,
        u64::from(digest::checksum(0, key)),
        stored.value.len() as u64,
        u64::from(stored.checksum),
        stored.version.epoch,
        stored.version.index,
    ])
}
