//! The state of a data group, and what a command does to it.
//!
//! Invariants
//! * `applied` and the effect change together: the state is that of exactly the entries up to `applied`
//! * entries are applied by index without a gap, each once
//! * a key stands in the shard that [`shard_of`] gives it, and nowhere else
//! * a shard that is held is neither arriving nor away
//!
//! A copy of a machine costs nothing to speak of: it shares each shard until one of the two writes to it. So a snapshot
//! is made of a copy, on another thread, while the machine goes on.

use std::collections::BTreeMap;
use std::sync::Arc;

use ordeal_client::wire::txn::Txn;
use ordeal_client::wire::{GroupId, MoveId, RefusalReason, Reply, SessionId, ShardId, Version, shard_of};

use super::Command;
use super::export::{Changed, Export};
use super::import::Import;
use crate::kv::digest;
use crate::kv::parts::look_ahead;
use crate::kv::{Claim, Kv, Op};

pub use ordeal_client::wire::EPOCH_FIRST;

/// The replicated state machine of a data group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    pub(super) applied: u64,
    /// Shards of the whole cluster.
    pub(super) shards: u32,
    pub(super) held: BTreeMap<ShardId, Arc<Held>>,
    /// Shards on their way here.
    pub(super) arriving: BTreeMap<ShardId, Arc<Import>>,
    /// Shards that were here once, and are not now.
    pub(super) away: BTreeMap<ShardId, Away>,
    /// Moves of a shard up to this one are over here: they begin nothing any more.
    pub(super) spent: BTreeMap<ShardId, MoveId>,
}

/// A shard that the group owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    /// How often it has changed its owner.
    pub(super) epoch: u64,
    pub(super) kv: Kv,
    /// On its way to another group, perhaps frozen.
    pub(super) leaving: Option<Export>,
}

/// Where a shard went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Away {
    /// The epoch in which the other group owned it.
    pub(super) epoch: u64,
    pub(super) to: GroupId,
}

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// An answer for whoever waits for it, the same on every replica.
    Reply(Reply),
    /// A step of a move: see how the shard stands. What it left behind is given away: to drop it may take long.
    Step(Option<Leftover>),
}

/// The data of a shard that is not here any more, or never came whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover(pub(super) LeftoverOf);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LeftoverOf {
    Held(Arc<Held>),
    Arriving(Arc<Import>),
}

impl Machine {
    /// The state before the first entry: these shards, of `shards` in the whole cluster, all empty.
    #[must_use]
    pub fn new(shards: u32, owned: impl IntoIterator<Item = ShardId>) -> Self {
        assert!(shards > 0, "a cluster has at least one shard");
        let empty = |shard: ShardId| {
            assert!(shard.0 < shards, "{shard} is one of {shards}");
            (shard, Arc::new(Held { epoch: EPOCH_FIRST, kv: Kv::new(shards), leaving: None }))
        };
        Machine {
            applied: 0,
            shards,
            held: owned.into_iter().map(empty).collect(),
            arriving: BTreeMap::new(),
            away: BTreeMap::new(),
            spent: BTreeMap::new(),
        }
    }

    /// Applies the command at `index`.
    ///
    /// # Panics
    /// When the index is not the next one, or the bytes are no command: both were checked when it was proposed, so
    /// a replica that finds this must not go on.
    pub fn apply(&mut self, index: u64, bytes: &Arc<[u8]>) -> Applied {
        let command = Command::decode(bytes)
            .unwrap_or_else(|error| panic!("entry {index} was validated before it was proposed: {error}"));
        self.advance(index);
        match command {
            Command::OpenSession { shard } => Applied::Reply(match self.served(shard) {
                Err(refusal) => Reply::Refused(refusal),
                Ok(held) => {
                    let session = held.kv.open_session(index);
                    if let Some(export) = &mut held.leaving {
                        export.note(index, Changed::Session(session));
                    }
                    Reply::SessionOpened(session)
                }
            }),
            Command::Write { shard, session, sequence, settled, key, op } => {
                assert!(shard_of(key, self.shards) == shard, "the key of entry {index} belongs to {shard}");
                Applied::Reply(match self.served(shard) {
                    Err(refusal) => Reply::Refused(refusal),
                    Ok(held) => {
                        let claim = Claim { session, sequence, settled };
                        let version = Version { epoch: held.epoch, index };
                        let reply = held.kv.write(version, claim, key, op, bytes);
                        held.note_write(version, session, (key, op), &reply);
                        reply
                    }
                })
            }
            Command::Move { shard, id, step } => Applied::Step(self.step(index, shard, id, step)),
        }
    }

    /// Looks at what some commands will touch, before they are applied one by one: most of the time that this takes in a large
    /// state is waiting for memory. It changes nothing, and the number says nothing.
    pub fn look_ahead<'a>(&'a self, commands: impl Iterator<Item = &'a [u8]>) -> u64 {
        let place = |bytes| match Command::decode(bytes) {
            Ok(Command::Write { shard, key, .. }) => self.held.get(&shard).map(|held| (held.kv.parts(), key)),
            Ok(Command::OpenSession { .. } | Command::Move { .. }) | Err(_) => None,
        };
        look_ahead(commands.filter_map(place))
    }

    /// Passes over the entry at `index`, which holds no command.
    pub fn skip(&mut self, index: u64) {
        self.advance(index);
    }

    /// Reads a key from the state as it is.
    #[must_use]
    pub fn read(&self, key: &[u8]) -> Reply {
        let shard = shard_of(key, self.shards);
        match self.held.get(&shard) {
            Some(held) if held.is_frozen() => Reply::Refused(RefusalReason::Frozen { shard }),
            Some(held) => Reply::Value(held.kv.read(key)),
            None => Reply::Refused(refusal(&self.away, shard)),
        }
    }

    /// Index of the last entry whose effect is in the state.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// Checksum of the state, without `applied`: equal on all replicas that applied the same entries.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let held = self.held.iter().map(|(shard, held)| held.digest(*shard));
        let arriving =
            self.arriving.iter().map(|(shard, import)| digest::mix(&[7, shard.0.into(), import.digest()]));
        let away = self
            .away
            .iter()
            .map(|(shard, away)| digest::mix(&[8, shard.0.into(), away.epoch, away.to.0.into()]));
        let spent = self.spent.iter().map(|(shard, id)| digest::mix(&[9, shard.0.into(), id.0]));
        let all = held.chain(arriving).chain(away).chain(spent);
        all.fold(digest::mix(&[12, self.shards.into()]), u64::wrapping_add)
    }

    /// All shards of the cluster, here or not.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.shards).map(ShardId)
    }

    /// How many keys there are.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.held.values().map(|held| held.kv.keys()).sum()
    }

    /// How many sessions are open.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.held.values().map(|held| held.kv.sessions().len()).sum()
    }

    /// The shard, if it is served here.
    fn served(&mut self, shard: ShardId) -> Result<&mut Held, RefusalReason> {
        match self.held.get_mut(&shard) {
            Some(held) if held.is_frozen() => Err(RefusalReason::Frozen { shard }),
            Some(held) => Ok(Arc::make_mut(held)),
            None => Err(refusal(&self.away, shard)),
        }
    }

    fn advance(&mut self, index: u64) {
        assert!(index == self.applied + 1, "entry {index} follows {}", self.applied);
        self.applied = index;
    }
}

/// Why a shard that is not held is not served.
pub(super) fn refusal(away: &BTreeMap<ShardId, Away>, shard: ShardId) -> RefusalReason {
    match away.get(&shard) {
        Some(&Away { epoch, to }) => RefusalReason::Moved { shard, epoch, group: to },
        None => RefusalReason::WrongGroup { shard },
    }
}

impl Held {
    pub(super) fn is_frozen(&self) -> bool {
        self.leaving.as_ref().is_some_and(|export| export.frozen.is_some())
    }

    /// Notes what a write has changed, while the shard is being copied: its session, if there is such a one, whatever came of
    /// it; and its keys, if it took effect now.
    fn note_write(
        &mut self,
        version: Version,
        session: SessionId,
        (key, op): (&[u8], Op<'_>),
        reply: &Reply,
    ) {
        let Some(export) = &mut self.leaving else { return };
        if self.kv.sessions().get(session).is_some() {
            export.note(version.index, Changed::Session(session));
        }
        match (reply, op) {
            (Reply::Written { made, .. }, _) if *made == version => {
                export.note(version.index, Changed::Key(key.into()));
            }
            (Reply::Txn { made, succeeded, .. }, Op::Txn(bytes)) if *made == version => {
                let txn = Txn::from_bytes(bytes).expect("it was done just now");
                for op in txn.branch(*succeeded).iter().filter(|op| !op.is_read()) {
                    export.note(version.index, Changed::Key(op.key().into()));
                }
            }
            _ => {}
        }
    }

    fn digest(&self, shard: ShardId) -> u64 {
        let leaving = self.leaving.as_ref().map_or(0, Export::digest);
        digest::mix(&[u64::from(shard.0), self.epoch, self.kv.digest(), self.kv.moments(), leaving])
    }
}
