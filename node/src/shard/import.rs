//! The recipient's side of a move: the copy as far as it has come.

use std::collections::BTreeMap;

use ordeal_client::wire::{GroupId, Mark, MoveId, SessionId, ShardId, encode, shard_of};

use super::moving::{Cursor, Seal};
use super::records::{Record, Records, event_of};
use super::snapshot::SnapshotError;
use crate::kv::{Event, Item, Kv, Session, digest};

/// A shard that is on its way here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Import {
    pub(super) id: MoveId,
    /// In which it will be owned here.
    pub(super) epoch: u64,
    pub(super) from: GroupId,
    /// How far the copy has come.
    pub(super) cursor: Cursor,
    /// Its items. Sessions are put in when the shard is whole: until then there may be more of them than a table holds.
    pub(super) kv: Kv,
    pub(super) sessions: BTreeMap<SessionId, Session>,
}

/// What a parcel holds.
pub(super) struct Contents {
    from: Cursor,
    to: Cursor,
    items: Vec<Item>,
    removed: Vec<Vec<u8>>,
    sessions: Vec<(SessionId, Session)>,
    /// Up to where the donor keeps no changes any more.
    floor: Mark,
    events: Vec<Event>,
}

impl Contents {
    /// Whether it leads from there to there.
    pub(super) fn leads(&self, from: &Cursor, to: &Cursor) -> bool {
        (&self.from, &self.to) == (from, to)
    }

    /// Reads a parcel of a shard.
    pub(super) fn read(bytes: &[u8], shard: ShardId, shards: u32) -> Result<Self, SnapshotError> {
        let mut records = Records::new(bytes);
        let Record::Way { from, to, bytes: length } = records.pull()? else {
            return Err(SnapshotError::Nonsense("a parcel does not begin with its way"));
        };
        if records.left() != length as usize {
            return Err(SnapshotError::CutShort { bytes: bytes.len() });
        }
        let (from, to) = (from.into_owned(), to.into_owned());
        let mut contents = Contents {
            from,
            to,
            items: Vec::new(),
            removed: Vec::new(),
            sessions: Vec::new(),
            floor: Mark::BEGINNING,
            events: Vec::new(),
        };
        while !records.is_at_end() {
            match records.pull()? {
                Record::Run { bytes } => contents.items.extend(records.run(bytes)?),
                Record::Removed { key } => contents.removed.push(key),
                Record::Session { id, settled, used, replies } => {
                    let mut session = Session::new(settled, used);
                    records.replies(replies, &mut session)?;
                    contents.sessions.push((id, session));
                }
                Record::History { floor } => contents.floor = floor,
                Record::Event { key, made, version, part } => {
                    let event = event_of(&key, &made, version, part, None);
                    contents.events.push(event.ok_or(SnapshotError::Nonsense("a change without its value"))?);
                }
                Record::Head { .. }
                | Record::Shard { .. }
                | Record::Remembered { .. }
                | Record::Leaving { .. }
                | Record::Changed { .. }
                | Record::Arriving { .. }
                | Record::Away { .. }
                | Record::Spent { .. }
                | Record::Way { .. }
                | Record::End { .. } => return Err(SnapshotError::Nonsense("it is no part of a parcel")),
            }
        }
        let changed = contents.events.iter().map(|event| event.item().key());
        let removed = contents.removed.iter().map(Vec::as_slice);
        let mut keys = contents.items.iter().map(Item::key).chain(removed).chain(changed);
        if keys.any(|key| shard_of(key, shards) != shard) {
            return Err(SnapshotError::Nonsense("a key stands in a foreign shard"));
        }
        Ok(contents)
    }
}

impl Import {
    pub(super) fn new(id: MoveId, epoch: u64, from: GroupId, shards: u32) -> Self {
        Import { id, epoch, from, cursor: Cursor::START, kv: Kv::new(shards), sessions: BTreeMap::new() }
    }

    /// Takes a part over, if it is the next one.
    pub(super) fn take(&mut self, parcel: Contents) -> bool {
        if parcel.from != self.cursor {
            return false;
        }
        self.cursor = parcel.to;
        parcel.items.into_iter().for_each(|item| self.kv.stage(item));
        parcel.removed.iter().for_each(|key| self.kv.unstage(key));
        // What does not fit makes another shard of it than the one that was frozen, which is seen in the end.
        let _fits = self.kv.stage_history(parcel.floor, parcel.events);
        for (id, session) in parcel.sessions {
            self.stage_session(id, session);
        }
        true
    }

    /// The shard, if it is what its donor froze. The entry at `index` makes it ours: moments go on from there.
    pub(super) fn adopt(mut self, seal: Seal, index: u64) -> Option<Kv> {
        for (id, session) in self.sessions {
            if session.used() >= seal.oldest_use {
                if !self.kv.sessions().takes(id, &session) {
                    return None;
                }
                self.kv.insert_session(id, session);
            }
        }
        if (self.kv.digest(), self.kv.keys() as u64) != (seal.digest, seal.keys) {
            return None;
        }
        self.kv.go_on_from(seal.moment, index);
        Some(self.kv)
    }

    /// Checksum of what has come.
    pub(super) fn digest(&self) -> u64 {
        let of = |(&id, session): (&SessionId, &Session)| session.digest(id);
        let sessions = self.sessions.iter().map(of).fold(0, u64::wrapping_add);
        let cursor = u64::from(digest::checksum(0, &encode(&self.cursor)));
        digest::mix(&[self.id.0, self.epoch, u64::from(self.from.0), cursor, self.kv.digest(), sessions])
    }

    /// A session as it is now, or a part of its replies.
    fn stage_session(&mut self, id: SessionId, now: Session) {
        let Some(staged) = self.sessions.get_mut(&id) else {
            self.sessions.insert(id, now);
            return;
        };
        staged.become_later(now.settled(), now.used());
        for (sequence, reply) in now.replies() {
            if staged.takes(sequence) {
                staged.remember(sequence, reply.clone());
            }
        }
    }
}
