//! The state machine of a group: the controller's, of group 0, or that of a data group.

use std::collections::BTreeMap;
use std::sync::Arc;

use ordeal_client::wire::{Configuration, GroupId, Reply, ShardId};

use super::config::{CONTROLLER, EngineConfig};
use crate::{controller, shard};

/// A replicated state machine. A copy costs little: it shares what is large.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Who owns which shard.
    Controller(controller::Machine),
    /// Shards.
    Data(shard::Machine),
}

/// What came of an entry.
#[derive(Debug)]
pub(super) struct Effect {
    /// For whoever waits for it.
    pub(super) reply: Reply,
    /// Whether it changed who owns what: then the movers look.
    pub(super) moves: bool,
    /// What it left behind: to drop it may take long.
    pub(super) leftover: Option<shard::Leftover>,
}

impl Effect {
    fn reply(reply: Reply) -> Self {
        Effect { reply, moves: false, leftover: None }
    }

    /// Of an entry that nobody is told about.
    pub(super) fn none() -> Self {
        Effect::reply(Reply::Unknown)
    }
}

/// Bytes that are no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Of a controller.
    #[error(transparent)]
    Controller(#[from] controller::SnapshotError),
    /// Of a data group.
    #[error(transparent)]
    Data(#[from] shard::SnapshotError),
}

impl State {
    /// Of a group before its first entry: the same on all nodes.
    pub(super) fn first(config: &EngineConfig, group: GroupId) -> Self {
        if group == CONTROLLER {
            let groups = config.groups.iter().map(|&group| (group, BTreeMap::new())).collect();
            return State::Controller(controller::Machine::new(config.shards, &groups));
        }
        let owned = (0..config.shards).map(ShardId).filter(|&shard| config.first_owner(shard) == group);
        State::Data(shard::Machine::new(config.shards, owned))
    }

    /// What [`State::snapshot`] wrote.
    ///
    /// # Errors
    /// [`StateError`] when it did not.
    pub(super) fn restore(group: GroupId, bytes: &[u8]) -> Result<Self, StateError> {
        Ok(if group == CONTROLLER {
            State::Controller(controller::Machine::restore(bytes)?)
        } else {
            State::Data(shard::Machine::restore(bytes)?)
        })
    }

    pub(super) fn snapshot(&self) -> Vec<u8> {
        match self {
            State::Controller(machine) => machine.snapshot(),
            State::Data(machine) => machine.snapshot(),
        }
    }

    pub(super) fn apply(&mut self, index: u64, command: &Arc<[u8]>) -> Effect {
        match self {
            State::Controller(machine) => {
                let before = machine.latest().number;
                let reply = Reply::Decided(machine.apply(index, command));
                Effect { moves: machine.latest().number != before, ..Effect::reply(reply) }
            }
            State::Data(machine) => match machine.apply(index, command) {
                shard::Applied::Reply(reply) => Effect::reply(reply),
                // Nobody waits for a step: who drives the move looks at what became of it.
                shard::Applied::Step(leftover) => Effect { moves: true, leftover, ..Effect::none() },
            },
        }
    }

    pub(super) fn skip(&mut self, index: u64) {
        match self {
            State::Controller(machine) => machine.skip(index),
            State::Data(machine) => machine.skip(index),
        }
    }

    pub(super) fn applied(&self) -> u64 {
        match self {
            State::Controller(machine) => machine.applied(),
            State::Data(machine) => machine.applied(),
        }
    }

    /// Checksum of it: equal on all replicas that applied the same entries.
    pub(super) fn digest(&self) -> u64 {
        match self {
            State::Controller(machine) => machine.digest(),
            State::Data(machine) => machine.digest(),
        }
    }

    /// That of a data group.
    pub(super) fn data(&self) -> Option<&shard::Machine> {
        match self {
            State::Data(machine) => Some(machine),
            State::Controller(_) => None,
        }
    }

    /// That of the controller.
    pub(super) fn controller(&self) -> Option<&controller::Machine> {
        match self {
            State::Controller(machine) => Some(machine),
            State::Data(_) => None,
        }
    }

    /// The newest configuration, as far as this is the controller's.
    pub(super) fn latest(&self) -> Option<&Configuration> {
        self.controller().map(controller::Machine::latest)
    }
}
