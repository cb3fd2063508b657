//! The state of a data group, and what a command does to it.
//!
//! Invariants
//! * `applied` and the effect change together: the state is that of exactly the entries up to `applied`
//! * entries are applied by index without a gap, each once
//! * a key stands in the shard that [`shard_of`] gives it, and nowhere else
//!
//! A copy of a machine costs nothing to speak of: it shares each shard until one of the two writes to it. So a snapshot
//! is made of a copy, on another thread, while the machine goes on.

use std::collections::BTreeMap;
use std::sync::Arc;

use ordeal_client::wire::{RefusalReason, Reply, ShardId, Version, shard_of};

use super::Command;
use crate::kv::digest;
use crate::kv::{Claim, Kv};

pub use ordeal_client::wire::EPOCH_FIRST;

/// The replicated state machine of a data group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    pub(super) applied: u64,
    /// Shards of the whole cluster.
    pub(super) shards: u32,
    pub(super) owned: BTreeMap<ShardId, Arc<Owned>>,
}

/// A shard that the group owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owned {
    /// How often it has changed its owner.
    pub(super) epoch: u64,
    pub(super) kv: Kv,
}

impl Machine {
    /// The state before the first entry: these shards, of `shards` in the whole cluster, all empty.
    #[must_use]
    pub fn new(shards: u32, owned: impl IntoIterator<Item = ShardId>) -> Self {
        assert!(shards > 0, "a cluster has at least one shard");
        let empty = |shard: ShardId| {
            assert!(shard.0 < shards, "{shard} is one of {shards}");
            (shard, Arc::new(Owned { epoch: EPOCH_FIRST, kv: Kv::new() }))
        };
        Machine { applied: 0, shards, owned: owned.into_iter().map(empty).collect() }
    }

    /// Applies the command at `index`; the reply is for whoever waits for it, and the same on every replica.
    ///
    /// # Panics
    /// When the index is not the next one, or the bytes are no command: both were checked when it was proposed, so
    /// a replica that finds this must not go on.
    pub fn apply(&mut self, index: u64, bytes: &Arc<[u8]>) -> Reply {
        let command = Command::decode(bytes)
            .unwrap_or_else(|error| panic!("entry {index} was validated before it was proposed: {error}"));
        self.advance(index);
        let shard = command.shard();
        let Some(owned) = self.owned.get_mut(&shard) else {
            return Reply::Refused(RefusalReason::WrongGroup { shard });
        };
        let owned = Arc::make_mut(owned);
        match command {
            Command::OpenSession { .. } => Reply::SessionOpened(owned.kv.open_session(index)),
            Command::Write { shard: _, session, sequence, settled, key, op } => {
                assert!(shard_of(key, self.shards) == shard, "the key of entry {index} belongs to {shard}");
                let claim = Claim { session, sequence, settled };
                owned.kv.write(Version { epoch: owned.epoch, index }, claim, key, op, bytes)
            }
        }
    }

    /// Passes over the entry at `index`, which holds no command.
    pub fn skip(&mut self, index: u64) {
        self.advance(index);
    }

    /// Reads a key from the state as it is.
    #[must_use]
    pub fn read(&self, key: &[u8]) -> Reply {
        let shard = shard_of(key, self.shards);
        match self.owned.get(&shard) {
            Some(owned) => Reply::Value(owned.kv.read(key)),
            None => Reply::Refused(RefusalReason::WrongGroup { shard }),
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
        let of = |(&shard, owned): (&ShardId, &Arc<Owned>)| {
            digest::mix(&[u64::from(shard.0), owned.epoch, owned.kv.digest()])
        };
        self.owned.iter().map(of).fold(0, u64::wrapping_add)
    }

    /// How many keys there are.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.owned.values().map(|owned| owned.kv.keys()).sum()
    }

    /// How many sessions are open.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.owned.values().map(|owned| owned.kv.sessions().len()).sum()
    }

    fn advance(&mut self, index: u64) {
        assert!(index == self.applied + 1, "entry {index} follows {}", self.applied);
        self.applied = index;
    }
}
