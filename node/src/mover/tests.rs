//! Three groups and the controller in virtual time: messages are late, lost and doubled, leaders come and go, clients write and write
//! again, an administrator moves shards about. One group serves a shard, every write happens once, and every move ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use ordeal_client::wire::{AdminChange, CommandId, GroupId, Members, NodeId, ShardId, shard_of};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;

use super::*;
use crate::controller;
use crate::shard::Applied;
use crate::shard::moving::Stage;
use crate::shard::tests_clients::Clients;

const SHARDS: u32 = 4;
const GROUPS: u32 = 3;

/// Ticks in which all that is open comes to its end, once nothing is lost any more: several silences one after the other.
const CALM_TICKS: u64 = 2_000;

/// A group: what its log has made, and who drives its moves.
struct Group {
    machine: Machine,
    mover: Mover,
    /// Proposed and not applied: when it is.
    proposed: Vec<(u64, Arc<[u8]>)>,
}

struct World {
    chance: Pcg32,
    now: u64,
    /// One of so many messages is lost or doubled; none, if there is no such number.
    trouble: Option<u32>,
    groups: BTreeMap<GroupId, Group>,
    controller: controller::Machine,
    /// On their way: when, to whom, from whom.
    messages: Vec<(u64, GroupId, GroupId, Message)>,
    clients: Clients,
    /// Since when a shard has been frozen, and for how long any one was.
    frozen: BTreeMap<ShardId, u64>,
    longest_frozen: u64,
    commands: u64,
}

/// Six keys of each shard.
fn keys() -> Vec<Vec<u8>> {
    let of = |shard: ShardId| {
        let all = (0..).map(|number| format!("key-{number}").into_bytes());
        all.filter(move |key| shard_of(key, SHARDS) == shard).take(6)
    };
    (0..SHARDS).map(ShardId).flat_map(of).collect()
}

impl World {
    fn new(seed: u64, trouble: Option<u32>) -> World {
        let ids = (1..=GROUPS).map(GroupId);
        let members =
            |group: GroupId| Members::from([(NodeId(group.0), format!("127.0.0.1:{}", 7_000 + group.0))]);
        let all: BTreeMap<GroupId, Members> = ids.clone().map(|group| (group, members(group))).collect();
        let controller = controller::Machine::new(SHARDS, &all);
        let owned = |group: GroupId| {
            let owners = controller.latest().shards();
            owners.filter(|(_, owner)| owner.group == group).map(|(shard, _)| shard).collect::<Vec<_>>()
        };
        let of = |group: GroupId| Group {
            machine: Machine::new(SHARDS, owned(group)),
            mover: Mover::new(group),
            proposed: Vec::new(),
        };
        let groups = ids.map(|group| (group, of(group))).collect();
        World {
            chance: Pcg32::seed_from_u64(seed),
            now: 0,
            trouble,
            groups,
            controller,
            messages: Vec::new(),
            clients: Clients::new(5, 8, keys(), SHARDS),
            frozen: BTreeMap::new(),
            longest_frozen: 0,
            commands: 0,
        }
    }

    fn one_in(&mut self, many: u32) -> bool {
        self.chance.random_range(0..many) == 0
    }

    fn is_trouble(&mut self) -> bool {
        self.trouble.is_some_and(|many| self.chance.random_range(0..many) == 0)
    }

    fn later(&mut self) -> u64 {
        // Without trouble in order, as on a connection.
        let most = if self.is_trouble() { 40 } else { 1 + u64::from(self.trouble.is_some()) };
        self.now + self.chance.random_range(1..=most)
    }

    /// A tick: what is due happens, and everybody looks.
    fn tick(&mut self) {
        self.now += 1;
        let now = self.now;
        for group in self.groups.values_mut() {
            group.mover.tick();
        }
        let (due, left) = std::mem::take(&mut self.messages).into_iter().partition(|(at, ..)| *at <= now);
        self.messages = left;
        for (_, to, from, message) in due {
            let group = self.groups.get_mut(&to).expect("a group");
            group.mover.hear(&group.machine, from, message);
        }
        let ids: Vec<GroupId> = self.groups.keys().copied().collect();
        for id in ids {
            if self.trouble.is_some() && self.one_in(150) {
                self.new_leader(id);
            }
            self.log_of(id);
            let group = self.groups.get_mut(&id).expect("a group");
            group.mover.look(&group.machine, self.controller.latest());
            let wishes: Vec<Wish> = group.mover.wishes().collect();
            wishes.into_iter().for_each(|wish| self.fulfil(id, wish));
        }
        self.check();
    }

    /// What was proposed is lost, or comes to its end later all the same.
    fn new_leader(&mut self, id: GroupId) {
        let keep = self.one_in(2);
        let group = self.groups.get_mut(&id).expect("a group");
        group.mover = Mover::new(id);
        if !keep {
            group.proposed.clear();
        }
        let restored = Machine::restore(&group.machine.snapshot()).expect("our own");
        assert_eq!(restored, group.machine);
    }

    fn log_of(&mut self, id: GroupId) {
        let group = self.groups.get_mut(&id).expect("a group");
        let now = self.now;
        while group.proposed.first().is_some_and(|(at, _)| *at <= now) {
            let (_, command) = group.proposed.remove(0);
            let applied = group.machine.apply(group.machine.applied() + 1, &command);
            assert!(matches!(applied, Applied::Step(_)), "only steps are proposed here");
        }
    }

    fn fulfil(&mut self, id: GroupId, wish: Wish) {
        match wish {
            Wish::Propose(command) => {
                let at = self.now + 1;
                self.groups.get_mut(&id).expect("a group").proposed.push((at, command));
            }
            Wish::Tell(to, message) => {
                for _ in 0..if self.is_trouble() { 2 } else { 1 } {
                    if !self.is_trouble() {
                        let at = self.later();
                        self.messages.push((at, to, id, message.clone()));
                    }
                }
            }
            Wish::Ended { shard, id, end } => {
                if !self.is_trouble() {
                    self.decide(&controller::Command::MoveEnd { shard, id, end });
                }
            }
        }
    }

    fn decide(&mut self, command: &controller::Command) {
        self.controller.apply(self.controller.applied() + 1, &command.encode());
    }

    fn admin(&mut self, change: AdminChange) {
        self.commands += 1;
        let base = self.controller.latest().number;
        self.decide(&controller::Command::Admin { id: CommandId(self.commands), base, change });
    }

    /// One group at most serves a shard; where one does, nobody knows of a later epoch.
    fn check(&mut self) {
        for shard in (0..SHARDS).map(ShardId) {
            let stages = self.groups.values().map(|group| group.machine.stage(shard));
            let (mut serving, mut frozen, mut newest) = (Vec::new(), false, 0);
            for stage in stages {
                match stage {
                    Stage::Owned { epoch } | Stage::Leaving { epoch, .. } => serving.push(epoch),
                    Stage::Frozen { .. } => frozen = true,
                    Stage::Away { epoch, .. } => newest = newest.max(epoch),
                    Stage::Arriving { .. } | Stage::Absent => {}
                }
            }
            assert!(serving.len() <= 1, "{shard} is served twice, in epochs {serving:?}");
            assert!(
                serving.iter().all(|&epoch| epoch >= newest),
                "{shard} is served in an epoch of the past"
            );
            if frozen && serving.is_empty() {
                let since = *self.frozen.entry(shard).or_insert(self.now);
                self.longest_frozen = self.longest_frozen.max(self.now - since + 1);
            } else {
                self.frozen.remove(&shard);
            }
        }
    }

    fn work(&mut self) {
        for which in 0..self.clients.count() {
            if self.one_in(3) {
                // At random, as one whose map is old.
                let to = GroupId(self.chance.random_range(1..=GROUPS));
                let machine = &mut self.groups.get_mut(&to).expect("a group").machine;
                self.clients.ask(which, machine, &mut self.chance);
            }
        }
        let shard = ShardId(self.chance.random_range(0..SHARDS));
        let group = GroupId(self.chance.random_range(1..=GROUPS));
        match self.chance.random_range(0..400) {
            0..4 => self.admin(AdminChange::Move { shard, to: group }),
            4 => self.admin(AdminChange::CancelMove { shard }),
            5 => self.admin(AdminChange::Leave([group].into())),
            6 => {
                let members = self.controller.latest().groups.get(&group).map(|info| info.members.clone());
                let known =
                    members.unwrap_or_else(|| Members::from([(NodeId(group.0), "127.0.0.1:1".to_owned())]));
                self.admin(AdminChange::Join([(group, known)].into()));
            }
            _ => {}
        }
    }

    /// Nothing is lost any more: then every move ends, and the shards are where the controller says.
    fn settle(&mut self) {
        self.trouble = None;
        for _ in 0..CALM_TICKS {
            self.tick();
        }
        let latest = self.controller.latest();
        assert!(latest.moves.is_empty(), "moves do not end: {:?}", latest.moves);
        for (shard, owner) in latest.shards() {
            for (&id, group) in &self.groups {
                let stage = group.machine.stage(shard);
                if id == owner.group {
                    assert_eq!(stage, Stage::Owned { epoch: owner.epoch }, "{shard} at {id}");
                } else {
                    assert!(
                        matches!(stage, Stage::Away { .. } | Stage::Absent),
                        "{shard} at {id}: {stage:?}"
                    );
                }
            }
        }
        for group in self.groups.values_mut() {
            self.clients.ask_again(&mut group.machine);
        }
    }

    fn adopted(&self) -> u64 {
        self.controller.latest().shards().map(|(_, owner)| owner.epoch - 1).sum()
    }
}

#[test]
fn every_move_ends_and_every_write_happens_once_whatever_is_lost() {
    let mut adopted = 0;
    for (seed, trouble) in (0..40).zip([Some(4), Some(20), None].into_iter().cycle()) {
        let mut world = World::new(seed, trouble);
        for _ in 0..3_000 {
            world.work();
            world.tick();
        }
        world.settle();
        adopted += world.adopted();
    }
    assert!(adopted > 500, "{adopted} moves");
}

/// The pause that clients see: frozen here, not yet served there. A commit on each side, and a message each way.
#[test]
fn when_nothing_is_lost_a_shard_is_frozen_for_a_few_ticks_only() {
    let mut world = World::new(1, None);
    for round in 0..600 {
        world.work();
        world.tick();
        if round % 100 == 0 {
            world.admin(AdminChange::Move { shard: ShardId(0), to: GroupId(1 + (round / 100) % GROUPS) });
        }
    }
    world.settle();
    assert!(world.adopted() >= 5, "{} moves", world.adopted());
    assert!((1..=6).contains(&world.longest_frozen), "{} ticks", world.longest_frozen);
}
