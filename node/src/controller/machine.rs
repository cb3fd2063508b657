//! The controller's state, and what a command does to it.
//!
//! Invariants
//! * `applied` and the effect change together: the state is that of exactly the entries up to `applied`
//! * entries are applied by index without a gap, each once
//! * what a number means never changes; a command that is not [`Decision::Done`] changes nothing but `applied`
//! * an administrator's command is done once: whenever it comes again, it is told the number that it made

use std::collections::BTreeMap;
use std::sync::Arc;

use ordeal_client::wire::{
    self, AdminChange, Cause, CommandId, Configuration, Decision, DirectoryId, GROUPS_MAX, GroupId, Members,
    MoveEnd, MoveId, NodeId, Objection, ShardId,
};

use super::Command;
use super::config::{State, Step};
use super::history::{HISTORY_BYTES_MAX, History};
use crate::kv::digest;

/// The replicated state machine of group 0.
///
/// A copy costs as much as the newest configuration; it shares all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    pub(super) applied: u64,
    pub(super) state: State,
    pub(super) history: History,
    /// Checksum of the first number and all steps, each over those before.
    chain: u64,
    /// The groups that were made since the first number, as the steps say.
    created: Arc<BTreeMap<GroupId, Created>>,
}

/// How a group was made that did not begin with the cluster. Of each number there is one such group, for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Its first members.
    pub members: Members,
    /// The data directory of each of them.
    pub directories: BTreeMap<NodeId, DirectoryId>,
}

impl Machine {
    /// The state before the first entry: number 1, in which shard `s` belongs to the group at place `s mod groups`.
    ///
    /// # Panics
    /// When these are no groups and shards of a cluster: see [`wire::SHARDS_MAX`], [`wire::GROUPS_MAX`], [`wire::MEMBERS_MAX`].
    #[must_use]
    pub fn new(shards: u32, groups: &BTreeMap<GroupId, Members>) -> Self {
        let machine = Self::begin(State::first(shards, groups));
        let flaw = machine.state.flaw();
        assert!(flaw.is_none(), "the first configuration makes no sense: {}", flaw.unwrap_or_default());
        machine
    }

    /// As [`Machine::new`], from a state that may make no sense.
    pub(super) fn begin(first: State) -> Self {
        let chain = digest::hash(&wire::encode(&first));
        let created = Arc::default();
        Machine { applied: 0, history: History::new(first.clone()), state: first, chain, created }
    }

    /// Applies the command at `index`; the decision is for whoever waits for it, and the same on every replica.
    ///
    /// # Panics
    /// When the index is not the next one, or the bytes are no command: both were checked when it was proposed, so
    /// a replica that finds this must not go on.
    pub fn apply(&mut self, index: u64, bytes: &[u8]) -> Decision {
        let command = Command::decode(bytes)
            .unwrap_or_else(|error| panic!("entry {index} was validated before it was proposed: {error}"));
        self.advance(index);
        let decided = match command {
            Command::Admin { id, base, change } => self.admin(id, base, &change),
            Command::GroupMembers { group, at, members } => self.members(group, at, &members),
            Command::MoveEnd { shard, id, end } => self.move_end(shard, id, end),
        };
        match decided {
            Ok(step) => Decision::Done { number: self.take(step) },
            Err(decision) => decision,
        }
    }

    /// Passes over the entry at `index`, which holds no command.
    pub fn skip(&mut self, index: u64) {
        self.advance(index);
    }

    /// Index of the last entry whose effect is in the state.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// The newest configuration.
    #[must_use]
    pub fn latest(&self) -> &Configuration {
        &self.state.configuration
    }

    /// The configuration of a number, the same for ever; `None` where there is none yet.
    #[must_use]
    pub fn query(&self, number: u64) -> Option<Configuration> {
        self.history.query(number)
    }

    /// The groups that were made since the first number, whether they are there by now or have left.
    #[must_use]
    pub fn created(&self) -> &BTreeMap<GroupId, Created> {
        &self.created
    }

    /// Which group is to own each shard, by its number. Where that is not the owner, a move is open.
    #[must_use]
    pub fn targets(&self) -> &[GroupId] {
        &self.state.targets
    }

    /// Checksum of the state, without `applied`: equal on all replicas that applied the same entries.
    #[must_use]
    pub fn digest(&self) -> u64 {
        digest::mix(&[self.chain, digest::hash(&wire::encode(&self.state))])
    }

    fn admin(&self, id: CommandId, base: u64, change: &AdminChange) -> Result<Step, Decision> {
        let done = self.history.find_map(|cause| match cause {
            Cause::Asked { command, change } if *command == id => Some(change),
            Cause::Asked { .. } | Cause::Created | Cause::Members { .. } | Cause::MoveEnded { .. } => None,
        });
        if let Some((number, done)) = done {
            let taken = Decision::Refused(Objection::IdTaken { number });
            return Err(if done == change { Decision::Done { number } } else { taken });
        }
        let current = self.state.configuration.number;
        if !(self.state.asked..=current).contains(&base) {
            return Err(Decision::Conflict { current });
        }
        if self.history.is_full() {
            return Err(Decision::Refused(Objection::HistoryFull { limit: HISTORY_BYTES_MAX as u64 }));
        }
        self.are_new(change).map_err(Decision::Refused)?;
        self.state.admin(id, change).map_err(Decision::Refused)
    }

    /// Whether the groups that this makes, if it makes any, were never there. A number is given once: two beginnings of a group
    /// could have majorities that know nothing of each other.
    pub(super) fn are_new(&self, change: &AdminChange) -> Result<(), Objection> {
        let AdminChange::Create { groups, .. } = change else { return Ok(()) };
        let first = &self.history.first().groups;
        let was_there = |group: &&GroupId| first.contains_key(group) || self.created.contains_key(group);
        let there = |group: &GroupId| self.latest().groups.get(group).is_some_and(|info| !info.leaving);
        match groups.keys().find(was_there) {
            Some(&group) if there(&group) => Err(Objection::GroupThere { group }),
            Some(&group) => Err(Objection::GroupWasThere { group }),
            None if first.len() + self.created.len() + groups.len() > GROUPS_MAX as usize => {
                Err(Objection::TooManyGroups { limit: GROUPS_MAX })
            }
            None => Ok(()),
        }
    }

    fn members(&self, group: GroupId, at: u64, members: &Members) -> Result<Step, Decision> {
        let objection = match self.state.members(group, at, members) {
            Ok(step) => return Ok(step),
            Err(objection) => objection,
        };
        let newest = objection == Objection::MembersOutdated { group, at };
        let done = newest.then(|| {
            self.history.find_map(|cause| match cause {
                Cause::Members { group: of, at: known } => ((of, known) == (&group, &at)).then_some(()),
                Cause::Created | Cause::Asked { .. } | Cause::MoveEnded { .. } => None,
            })
        });
        Err(match done.flatten() {
            Some((number, ())) => Decision::Done { number },
            None => Decision::Refused(objection),
        })
    }

    fn move_end(&self, shard: ShardId, id: MoveId, end: MoveEnd) -> Result<Step, Decision> {
        if let Some(step) = self.state.move_end(shard, id, end) {
            return Ok(step);
        }
        let ended = self.history.find_map(|cause| match cause {
            Cause::MoveEnded { shard: of, id: ended, end } if (of, ended) == (&shard, &id) => Some(*end),
            Cause::MoveEnded { .. } | Cause::Created | Cause::Members { .. } | Cause::Asked { .. } => None,
        });
        Err(match ended {
            Some((number, how)) if how == end => Decision::Done { number },
            Some((number, _)) => Decision::Refused(Objection::MoveEndedOtherwise { id, number }),
            None => Decision::Refused(Objection::MoveUnknown { shard, id }),
        })
    }

    /// Takes a step, and gives the number that it leads to.
    pub(super) fn take(&mut self, step: Step) -> u64 {
        let bytes = wire::encode(&step);
        self.chain = digest::mix(&[self.chain, digest::hash(&bytes)]);
        self.state.take(&step);
        self.note_created(&step.cause);
        self.history.push(step, bytes.len(), &self.state);
        self.state.configuration.number
    }

    fn note_created(&mut self, cause: &Cause) {
        let Cause::Asked { change: AdminChange::Create { groups, directories }, .. } = cause else { return };
        let created = Arc::make_mut(&mut self.created);
        for (&group, members) in groups {
            let of = |node: &NodeId| Some((*node, *directories.get(node)?));
            let directories = members.keys().filter_map(of).collect();
            created.insert(group, Created { members: members.clone(), directories });
        }
    }

    fn advance(&mut self, index: u64) {
        assert!(index == self.applied + 1, "entry {index} follows {}", self.applied);
        self.applied = index;
    }
}
