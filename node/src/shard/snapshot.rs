//! The whole state as bytes, and back.
//!
//! ```text
//! snapshot := version u32 | record+                the last record is the end, nothing follows it
//! record   := length u32 | bincode of Record       keys and values stand in runs, behind a record that announces them:
//!           | … of Record::Run | run of `bytes`    see `kv/item.rs`
//! ```
//!
//! A snapshot is all of the machine: applied index, shards with their epochs, keys, sessions with their remembered
//! replies. Its end holds the digest of the state that it was taken from, which the restored state must have as well.

use std::borrow::Cow;
use std::sync::Arc;

use ordeal_client::wire::{self, DecodeError, Reply, SessionId, ShardId, shard_of};
use serde::{Deserialize, Serialize};

use super::Machine;
use super::machine::Owned;
use crate::kv::{Item, Kv, RUN_BYTES, Session};

/// Version of the format: the first four bytes.
pub const SNAPSHOT_VERSION: u32 = 3;

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

#[derive(Serialize, Deserialize)]
enum Record<'a> {
    Head {
        applied: u64,
        shards: u32,
    },
    /// What follows, up to the next of these, belongs to this shard.
    Shard {
        shard: ShardId,
        epoch: u64,
    },
    /// A run of items of so many bytes follows. The items of a shard ascend, from run to run as well.
    Run {
        bytes: u32,
    },
    /// So many replies that it remembers follow, in the order of their sequence numbers.
    Session {
        id: SessionId,
        settled: u64,
        used: u64,
        replies: u32,
    },
    Remembered {
        sequence: u64,
        reply: Cow<'a, Reply>,
    },
    End {
        digest: u64,
    },
}

impl Machine {
    /// The whole state.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        let mut bytes = SNAPSHOT_VERSION.to_le_bytes().to_vec();
        push(&mut bytes, &Record::Head { applied: self.applied, shards: self.shards });
        for (&shard, owned) in &self.owned {
            let Owned { epoch, kv } = &**owned;
            push(&mut bytes, &Record::Shard { shard, epoch: *epoch });
            push_items(&mut bytes, kv.iter());
            for (id, session) in kv.sessions().iter() {
                push_session(&mut bytes, id, session);
            }
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
        let (version, mut rest) = bytes.split_first_chunk::<4>().ok_or(cut_short)?;
        let found = u32::from_le_bytes(*version);
        if found != SNAPSHOT_VERSION {
            return Err(SnapshotError::Version { found });
        }
        let Record::Head { applied, shards } = pull(&mut rest, bytes.len())? else {
            return Err(SnapshotError::Nonsense("it does not begin with its head"));
        };
        if shards == 0 {
            return Err(SnapshotError::Nonsense("it has no shards"));
        }
        let mut machine = Machine::new(shards, []);
        machine.applied = applied;
        let mut at = None;
        loop {
            match pull(&mut rest, bytes.len())? {
                Record::Head { .. } => return Err(SnapshotError::Nonsense("it has two heads")),
                Record::Shard { shard, epoch } => at = Some(machine.restore_shard(shard, epoch)?),
                Record::Run { bytes: length } => {
                    let run = rest.split_at_checked(length as usize);
                    let (run, behind) = run.ok_or(SnapshotError::CutShort { bytes: bytes.len() })?;
                    machine.restore_run(at, &run.into())?;
                    rest = behind;
                }
                Record::Session { id, settled, used, replies } => {
                    let mut session = Session::new(settled, used);
                    for _ in 0..replies {
                        restore_reply(&mut session, pull(&mut rest, bytes.len())?)?;
                    }
                    machine.restore_session(at, id, session)?;
                }
                Record::Remembered { .. } => {
                    return Err(SnapshotError::Nonsense("a reply stands outside of its session"));
                }
                Record::End { digest } if digest != machine.digest() => {
                    return Err(SnapshotError::Nonsense("its digest is another state's"));
                }
                Record::End { .. } if rest.is_empty() => return Ok(machine),
                Record::End { .. } => return Err(SnapshotError::Nonsense("something follows its end")),
            }
        }
    }

    fn restore_shard(&mut self, shard: ShardId, epoch: u64) -> Result<ShardId, SnapshotError> {
        let after_all = self.owned.last_key_value().is_none_or(|(&last, _)| last < shard);
        if !after_all || shard.0 >= self.shards {
            return Err(SnapshotError::Nonsense("its shards are out of order or out of range"));
        }
        self.owned.insert(shard, Arc::new(Owned { epoch, kv: Kv::new() }));
        Ok(shard)
    }

    fn restore_run(&mut self, shard: Option<ShardId>, run: &Arc<[u8]>) -> Result<(), SnapshotError> {
        let shards = self.shards;
        let kv = self.kv_at(shard)?;
        let mut at = 0;
        while at < run.len() {
            let item =
                Item::read_from(run, at).ok_or(SnapshotError::Nonsense("a run ends within an item"))?;
            at += item.run_bytes();
            if shard != Some(shard_of(item.key(), shards)) {
                return Err(SnapshotError::Nonsense("a key stands in a foreign shard"));
            }
            if !kv.push(item) {
                return Err(SnapshotError::Nonsense("its keys are out of order"));
            }
        }
        Ok(())
    }

    fn restore_session(
        &mut self,
        at: Option<ShardId>,
        id: SessionId,
        session: Session,
    ) -> Result<(), SnapshotError> {
        let sessions = self.kv_at(at)?.sessions();
        if !sessions.takes(id, &session) {
            return Err(SnapshotError::Nonsense(
                "a session is there twice, or they are too many or too large",
            ));
        }
        self.kv_at(at)?.insert_session(id, session);
        Ok(())
    }

    fn kv_at(&mut self, at: Option<ShardId>) -> Result<&mut Kv, SnapshotError> {
        let owned = at.and_then(|shard| self.owned.get_mut(&shard));
        owned
            .map(|owned| &mut Arc::make_mut(owned).kv)
            .ok_or(SnapshotError::Nonsense("data stands before its shard"))
    }
}

fn restore_reply(session: &mut Session, record: Record<'static>) -> Result<(), SnapshotError> {
    let Record::Remembered { sequence, reply } = record else {
        return Err(SnapshotError::Nonsense("a session ends before its replies"));
    };
    if !session.takes(sequence) {
        return Err(SnapshotError::Nonsense("a reply is there twice, or outside of its session's window"));
    }
    session.remember(sequence, reply.into_owned());
    Ok(())
}

fn push_session(bytes: &mut Vec<u8>, id: SessionId, session: &Session) {
    let replies = u32::try_from(session.replies().count()).expect("a window of them");
    push(bytes, &Record::Session { id, settled: session.settled(), used: session.used(), replies });
    for (sequence, reply) in session.replies() {
        push(bytes, &Record::Remembered { sequence, reply: Cow::Borrowed(reply) });
    }
}

fn push_items<'a>(bytes: &mut Vec<u8>, items: impl Iterator<Item = &'a Item>) {
    let mut run = Vec::with_capacity(RUN_BYTES);
    let mut items = items.peekable();
    while let Some(item) = items.next() {
        item.write_to(&mut run);
        if run.len() >= RUN_BYTES || items.peek().is_none() {
            let length = u32::try_from(run.len()).expect("a run ends with the key that makes it long");
            push(bytes, &Record::Run { bytes: length });
            bytes.append(&mut run);
        }
    }
}

fn push(bytes: &mut Vec<u8>, record: &Record<'_>) {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    wire::encode_into(record, bytes);
    let length = bytes.len() - start - 4;
    let length = u32::try_from(length).expect("a record is a reply and its number, at most");
    bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

fn pull(rest: &mut &[u8], bytes: usize) -> Result<Record<'static>, SnapshotError> {
    let (length, after) = rest.split_first_chunk::<4>().ok_or(SnapshotError::CutShort { bytes })?;
    let length = u32::from_le_bytes(*length) as usize;
    let body = after.get(..length).ok_or(SnapshotError::CutShort { bytes })?;
    *rest = &after[length..];
    Ok(wire::decode(body)?)
}
