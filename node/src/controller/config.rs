//! The state at one number, and the step to the next number, which is the only thing that changes it.
//!
//! Invariants, see [`State::flaw`]
//! * every shard has an owner and a target; owners are groups that are there, targets are groups that stay
//! * a shard without an open move is where it is to be
//! * an open move leads from the owner of its epoch to another group that is there; it is unwanted when that is not the target
//! * one group at least stays; one that is leaving owns something or has an open move, else it is gone
//! * epochs never fall, and rise by one at a time; ids of moves are counted, and never used twice

use std::collections::{BTreeMap, BTreeSet};

use ordeal_client::wire::{
    Cause, Configuration, EPOCH_FIRST, GROUPS_MAX, GroupId, GroupInfo, MEMBERS_MAX, Members, Move, MoveId,
    NUMBER_FIRST, Owner, SHARDS_MAX, ShardId,
};
use serde::{Deserialize, Serialize};

/// All that is decided at one number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct State {
    pub(super) configuration: Configuration,
    /// Who is to own each shard, by its number.
    pub(super) targets: Vec<GroupId>,
    /// The last number that an administrator made.
    pub(super) asked: u64,
    /// The next move's.
    pub(super) next_move: MoveId,
}

/// One shard at one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ShardState {
    pub(super) owner: Owner,
    pub(super) target: GroupId,
    pub(super) open: Option<Move>,
}

/// What one number changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Step {
    pub(super) cause: Cause,
    /// Groups that come or change; `None`: that go.
    pub(super) groups: BTreeMap<GroupId, Option<GroupInfo>>,
    /// Shards that change.
    pub(super) shards: BTreeMap<ShardId, ShardState>,
}

impl Step {
    pub(super) fn new(cause: Cause) -> Self {
        Step { cause, groups: BTreeMap::new(), shards: BTreeMap::new() }
    }
}

impl ShardState {
    /// Opens a move if the shard is to be elsewhere; if one is open, notes whether it still leads there.
    pub(super) fn settle(mut self, next_move: &mut MoveId) -> Self {
        match &mut self.open {
            Some(open) => open.unwanted = open.to != self.target,
            None if self.owner.group == self.target => {}
            None => {
                let Owner { group, epoch } = self.owner;
                let (id, to) = (*next_move, self.target);
                self.open = Some(Move { id, from: group, to, epoch, unwanted: false });
                next_move.0 += 1;
            }
        }
        self
    }

    /// Whether the shard is of any concern to a group: owned by it, or moving to it. (A move *from* it is of its shard.)
    pub(super) fn concerns(&self, group: GroupId) -> bool {
        self.owner.group == group || self.open.is_some_and(|open| open.to == group)
    }
}

impl State {
    /// The first number: shard `s` belongs to the group at place `s mod groups`. Groups may have no members yet.
    pub(super) fn first(shards: u32, groups: &BTreeMap<GroupId, Members>) -> Self {
        assert!((1..=SHARDS_MAX).contains(&shards), "a cluster has 1 to {SHARDS_MAX} shards, not {shards}");
        let ids: Vec<GroupId> = groups.keys().copied().collect();
        let group_of = |shard: u32| ids[shard as usize % ids.len()];
        let info = |members: &Members| GroupInfo { members: members.clone(), at: 0, leaving: false };
        let configuration = Configuration {
            number: NUMBER_FIRST,
            cause: Cause::Created,
            groups: groups.iter().map(|(&group, members)| (group, info(members))).collect(),
            owners: (0..shards).map(|shard| Owner { group: group_of(shard), epoch: EPOCH_FIRST }).collect(),
            moves: BTreeMap::new(),
        };
        let targets = (0..shards).map(group_of).collect();
        State { configuration, targets, asked: NUMBER_FIRST, next_move: MoveId(1) }
    }

    /// A shard as it is; `None` where there is no such shard.
    pub(super) fn shard(&self, shard: ShardId) -> Option<ShardState> {
        let owner = self.configuration.owner(shard)?;
        let open = self.configuration.moves.get(&shard).copied();
        Some(ShardState { owner, target: self.targets[shard.0 as usize], open })
    }

    /// The groups that own shards, and go on doing so.
    pub(super) fn staying(&self) -> BTreeSet<GroupId> {
        let groups = self.configuration.groups.iter();
        groups.filter(|(_, info)| !info.leaving).map(|(&group, _)| group).collect()
    }

    /// Takes the step to the next number.
    pub(super) fn take(&mut self, step: &Step) {
        assert!(self.leads_on(step), "a step leads on from where it was decided");
        let configuration = &mut self.configuration;
        configuration.number += 1;
        configuration.cause = step.cause.clone();
        if let Cause::Asked { .. } = step.cause {
            self.asked = configuration.number;
        }
        for (&group, info) in &step.groups {
            match info {
                Some(info) => drop(configuration.groups.insert(group, info.clone())),
                None => drop(configuration.groups.remove(&group)),
            }
        }
        for (&shard, &ShardState { owner, target, open }) in &step.shards {
            configuration.owners[shard.0 as usize] = owner;
            self.targets[shard.0 as usize] = target;
            match open {
                Some(open) => {
                    configuration.moves.insert(shard, open);
                    self.next_move = self.next_move.max(MoveId(open.id.0 + 1));
                }
                None => drop(configuration.moves.remove(&shard)),
            }
        }
    }

    /// Whether a step leads on from here: its shards exist; another owner is the one that the open move leads to, with the
    /// next epoch, and else the epoch stays; moves that it opens have the next ids.
    pub(super) fn leads_on(&self, step: &Step) -> bool {
        let mut next_move = self.next_move;
        step.shards.iter().all(|(&shard, after)| {
            let Some(before) = self.shard(shard) else { return false };
            let adopted = before.open.is_some_and(|open| {
                let owner = Owner { group: open.to, epoch: open.epoch.saturating_add(1) };
                after.owner == owner && after.open.is_none_or(|after| after.id != open.id)
            });
            let same = |open: Move| before.open.is_some_and(|before| before.id == open.id);
            let opens = after.open.is_some_and(|open| !same(open) && open.id == next_move);
            next_move.0 += u64::from(opens);
            (before.owner == after.owner || adopted) && after.open.is_none_or(|open| same(open) || opens)
        })
    }

    /// What is wrong with this state; `None`: nothing. Looks at all of it.
    pub(super) fn flaw(&self) -> Option<&'static str> {
        let Configuration { groups, owners, moves, .. } = &self.configuration;
        let staying = self.staying();
        let all: Vec<ShardState> = (0..).map(ShardId).map_while(|shard| self.shard(shard)).collect();
        // Who began with the cluster says who its members are as soon as it has a leader.
        let sound = |info: &GroupInfo| match info.members.len() {
            0 => info.at == 0,
            members => members <= MEMBERS_MAX,
        };
        let ids: BTreeSet<MoveId> = moves.values().map(|open| open.id).collect();
        let settled = |&shard: &ShardState| shard.settle(&mut MoveId(0)) == shard;
        let follows = |shard: &ShardState| {
            shard.open.is_none_or(|open| {
                open.from == shard.owner.group
                    && open.epoch == shard.owner.epoch
                    && open.to != open.from
                    && groups.contains_key(&open.to)
                    && open.id < self.next_move
            })
        };
        let kept = |group: GroupId| staying.contains(&group) || all.iter().any(|shard| shard.concerns(group));
        let promises = [
            (all.len() == self.targets.len(), "not every shard has a target"),
            (moves.keys().all(|shard| (shard.0 as usize) < owners.len()), "a shard moves that is not there"),
            (all.iter().all(|shard| groups.contains_key(&shard.owner.group)), "a shard is owned by nobody"),
            (all.iter().all(|shard| shard.owner.epoch >= EPOCH_FIRST), "an epoch is too small"),
            (self.targets.iter().all(|target| staying.contains(target)), "a target is no group that stays"),
            (all.iter().all(settled), "a shard is not where it is to be, and does not move there"),
            (all.iter().all(follows), "an open move does not lead from the owner to another group"),
            (ids.len() == moves.len(), "two moves have the same id"),
            (!staying.is_empty(), "no group stays"),
            (groups.len() <= GROUPS_MAX as usize, "there are too many groups"),
            (!groups.contains_key(&GroupId(0)), "the controller is no data group"),
            (groups.values().all(sound), "a group has no members, or too many"),
            (
                groups.keys().all(|&group| kept(group)),
                "a group is leaving, and has nothing left to give away",
            ),
            (self.asked <= self.configuration.number, "an administrator's change is in the future"),
        ];
        promises.into_iter().find(|(kept, _)| !kept).map(|(_, flaw)| flaw)
    }
}
