//! The whole state as bytes, and back.
//!
//! ```text
//! snapshot := version u32 | record+                see `records`; the last one is the end, nothing follows it
//! ```
//!
//! A snapshot is all of the machine: applied index, shards with their epochs, keys, sessions with their remembered
//! replies, the last changes, and how the moves of shards stand. Its end holds the digest of the state that it was taken from, which the restored
//! state must have as well.

use std::borrow::Cow;
use std::sync::Arc;

use ordeal_client::wire::{DecodeError, SessionId, ShardId, shard_of};

use super::Machine;
use super::export::Export;
use super::import::Import;
use super::machine::{Away, Held};
use super::records::{Record, Records, event_of, push, push_history, push_items, push_session};
use crate::kv::{Item, Kv, Session};

/// Version of the format: the first four bytes.
pub const SNAPSHOT_VERSION: u32 = 5;

/// Bytes that are no snapshot of this build.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Of another build.
    #[error("snapshot of version {found}, this build reads {SNAPSHOT_VERSION}")]
    Version {
        /// Its version.
        found: u32,
    },
    /// It ends before its end.
    #[error("snapshot of {bytes} bytes is cut short")]
    CutShort {
        /// Its length.
        bytes: usize,
    },
    /// A record does not decode.
    #[error("snapshot holds a damaged record: {0}")]
    Record(#[from] DecodeError),
    /// The records do not make a state.
    #[error("snapshot makes no sense: {0}")]
    Nonsense(&'static str),
}

impl Machine {
    /// The whole state.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        let mut bytes = SNAPSHOT_VERSION.to_le_bytes().to_vec();
        push(&mut bytes, &Record::Head { applied: self.applied, shards: self.shards });
        for (&shard, held) in &self.held {
            push_held(&mut bytes, shard, held);
        }
        for (&shard, import) in &self.arriving {
            let Import { id, epoch, from, cursor, kv, sessions } = &**import;
            let cursor = Cow::Borrowed(cursor);
            push(&mut bytes, &Record::Arriving { shard, id: *id, epoch: *epoch, from: *from, cursor });
            push_items(&mut bytes, kv.iter());
            for (&id, session) in sessions {
                push_session(&mut bytes, id, session, session.replies());
            }
            push_history(&mut bytes, kv);
        }
        for (&shard, &Away { epoch, to }) in &self.away {
            push(&mut bytes, &Record::Away { shard, epoch, to });
        }
        for (&shard, &id) in &self.spent {
            push(&mut bytes, &Record::Spent { shard, id });
        }
        push(&mut bytes, &Record::End { digest: self.digest() });
        bytes
    }

    /// The state that a snapshot was taken from.
    ///
    /// # Errors
    /// [`SnapshotError`] when the bytes are not exactly one snapshot of this version. They come from a disk or a
    /// leader; nothing of them is taken on trust.
    pub fn restore(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let cut_short = SnapshotError::CutShort { bytes: bytes.len() };
        let (version, rest) = bytes.split_first_chunk::<4>().ok_or(cut_short)?;
        let found = u32::from_le_bytes(*version);
        if found != SNAPSHOT_VERSION {
            return Err(SnapshotError::Version { found });
        }
        let mut records = Records::new(rest);
        let Record::Head { applied, shards } = records.pull()? else {
            return Err(SnapshotError::Nonsense("it does not begin with its head"));
        };
        if shards == 0 {
            return Err(SnapshotError::Nonsense("it has no shards"));
        }
        let mut machine = Machine::new(shards, []);
        machine.applied = applied;
        let mut at = At::Nothing;
        loop {
            match records.pull()? {
                Record::End { digest } if digest != machine.digest() => {
                    return Err(SnapshotError::Nonsense("its digest is another state's"));
                }
                Record::End { .. } if records.is_at_end() => return Ok(machine),
                Record::End { .. } => return Err(SnapshotError::Nonsense("something follows its end")),
                Record::Run { bytes } => machine.restore_run(at, records.run(bytes)?)?,
                Record::Session { id, settled, used, replies } => {
                    let mut session = Session::new(settled, used);
                    records.replies(replies, &mut session)?;
                    machine.restore_session(at, id, session)?;
                }
                other => at = machine.restore_other(at, other)?,
            }
        }
    }

    /// What begins something, or says something about what it began.
    fn restore_other(&mut self, at: At, record: Record<'static>) -> Result<At, SnapshotError> {
        match record {
            Record::Shard { shard, epoch, moments } => {
                self.check_order(&self.held, shard)?;
                let mut kv = Kv::new(self.shards);
                kv.set_moments(moments);
                self.held.insert(shard, Arc::new(Held { epoch, kv, leaving: None }));
                Ok(At::Held(shard))
            }
            Record::Arriving { shard, id, epoch, from, cursor } => {
                self.check_order(&self.arriving, shard)?;
                let import =
                    Import { cursor: cursor.into_owned(), ..Import::new(id, epoch, from, self.shards) };
                self.arriving.insert(shard, Arc::new(import));
                Ok(At::Arriving(shard))
            }
            Record::Leaving { id, to, begun, frozen } => {
                let leaving = &mut self.held_at(at)?.leaving;
                if leaving.is_some() {
                    return Err(SnapshotError::Nonsense("a shard leaves twice"));
                }
                leaving.insert(Export::new(id, to, begun)).frozen = frozen;
                Ok(at)
            }
            Record::Changed { index, what } => {
                let Some(export) = &mut self.held_at(at)?.leaving else {
                    return Err(SnapshotError::Nonsense("changes of a shard that is not on its way"));
                };
                if export.changes().last().is_some_and(|(last, _)| *last > index) {
                    return Err(SnapshotError::Nonsense("changes are out of order"));
                }
                export.note(index, what.into_owned());
                Ok(at)
            }
            Record::Away { shard, epoch, to } => {
                self.check_order(&self.away, shard)?;
                self.away.insert(shard, Away { epoch, to });
                Ok(At::Nothing)
            }
            Record::Spent { shard, id } => {
                self.check_order(&self.spent, shard)?;
                self.spent.insert(shard, id);
                Ok(At::Nothing)
            }
            Record::History { floor } => {
                let (_, kv) = self.kv_at(at)?;
                let fits = kv.stage_history(floor, Vec::new()) && kv.history().floor() == floor;
                if fits { Ok(at) } else { Err(SnapshotError::Nonsense("its history begins before it began")) }
            }
            Record::Event { key, made, version, part } => {
                let shards = self.shards;
                let (shard, kv) = self.kv_at(at)?;
                let event = event_of(&key, &made, version, part, Some(kv))
                    .filter(|event| shard_of(event.item().key(), shards) == shard)
                    .ok_or(SnapshotError::Nonsense("a change is none of its shard"))?;
                let fits = kv.stage_history(kv.history().floor(), vec![event]);
                if fits { Ok(at) } else { Err(SnapshotError::Nonsense("its changes are out of order")) }
            }
            Record::Head { .. } => Err(SnapshotError::Nonsense("it has two heads")),
            Record::Remembered { .. } => {
                Err(SnapshotError::Nonsense("a reply stands outside of its session"))
            }
            Record::Way { .. } | Record::Removed { .. } => {
                Err(SnapshotError::Nonsense("a part of a parcel stands in it"))
            }
            Record::Run { .. } | Record::Session { .. } | Record::End { .. } => {
                unreachable!("whoever restores takes these")
            }
        }
    }

    fn check_order<T>(
        &self,
        map: &std::collections::BTreeMap<ShardId, T>,
        shard: ShardId,
    ) -> Result<(), SnapshotError> {
        let after_all = map.last_key_value().is_none_or(|(&last, _)| last < shard);
        if after_all && shard.0 < self.shards {
            return Ok(());
        }
        Err(SnapshotError::Nonsense("its shards are out of order or out of range"))
    }

    fn restore_run(&mut self, at: At, items: Vec<Item>) -> Result<(), SnapshotError> {
        let shards = self.shards;
        let (shard, kv) = self.kv_at(at)?;
        for item in items {
            if shard != shard_of(item.key(), shards) {
                return Err(SnapshotError::Nonsense("a key stands in a foreign shard"));
            }
            if !kv.push(item) {
                return Err(SnapshotError::Nonsense("its keys are out of order"));
            }
        }
        Ok(())
    }

    fn restore_session(&mut self, at: At, id: SessionId, session: Session) -> Result<(), SnapshotError> {
        let many = "a session is there twice, or they are too many or too large";
        if let At::Arriving(shard) = at {
            let import = Arc::make_mut(self.arriving.get_mut(&shard).expect("it was begun"));
            let twice = import.sessions.insert(id, session).is_some();
            return if twice { Err(SnapshotError::Nonsense(many)) } else { Ok(()) };
        }
        let kv = &mut self.held_at(at)?.kv;
        if !kv.sessions().takes(id, &session) {
            return Err(SnapshotError::Nonsense(many));
        }
        kv.insert_session(id, session);
        Ok(())
    }

    fn kv_at(&mut self, at: At) -> Result<(ShardId, &mut Kv), SnapshotError> {
        match at {
            At::Held(shard) => Ok((shard, &mut self.held_at(at)?.kv)),
            At::Arriving(shard) => {
                let import = self.arriving.get_mut(&shard).expect("it was begun");
                Ok((shard, &mut Arc::make_mut(import).kv))
            }
            At::Nothing => Err(SnapshotError::Nonsense("data stands before its shard")),
        }
    }

    fn held_at(&mut self, at: At) -> Result<&mut Held, SnapshotError> {
        let At::Held(shard) = at else {
            return Err(SnapshotError::Nonsense("data stands before its shard"));
        };
        Ok(Arc::make_mut(self.held.get_mut(&shard).expect("it was begun")))
    }
}

/// What the records that come next belong to.
#[derive(Clone, Copy)]
enum At {
    Nothing,
    Held(ShardId),
    Arriving(ShardId),
}

fn push_held(bytes: &mut Vec<u8>, shard: ShardId, held: &Held) {
    let Held { epoch, kv, leaving } = held;
    push(bytes, &Record::Shard { shard, epoch: *epoch, moments: kv.moments() });
    push_items(bytes, kv.iter());
    for (id, session) in kv.sessions().iter() {
        push_session(bytes, id, session, session.replies());
    }
    push_history(bytes, kv);
    if let Some(export) = leaving {
        let Export { id, to, begun, frozen, .. } = *export;
        push(bytes, &Record::Leaving { id, to, begun, frozen });
        for (index, what) in export.changes() {
            push(bytes, &Record::Changed { index: *index, what: Cow::Borrowed(what) });
        }
    }
}
