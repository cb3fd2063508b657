//! Some groups and the controller in virtual time: messages are late, lost and doubled, leaders come and go, groups and the controller
//! start again from their snapshots, what is known of the controller is old, clients write and write again, an administrator moves
//! shards about. `tests_invariants` has what must hold after each step.

use std::collections::BTreeMap;
use std::sync::Arc;

use ordeal_client::wire::{AdminChange, CommandId, GroupId, Members, NodeId, SessionId, ShardId, shard_of};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;

use super::tests_invariants::{Seen, is_settled};
use super::*;
use crate::controller;
use crate::kv::Op;
use crate::shard::Applied;
use crate::shard::moving::Stage;
use crate::shard::tests_clients::Clients;

/// What a world is made of.
#[derive(Clone, Copy)]
struct Layout {
    shards: u32,
    groups: u32,
    /// One of so many messages is lost or doubled; none, if there is no such number.
    trouble: Option<u32>,
    /// Bytes of each shard that nobody writes to: they take their time.
    ballast: usize,
    /// In one of so many ticks the administrator joins, leaves, or calls a move off; in four of them he moves a shard.
    calm: u32,
}

/// Small enough for every shard to meet every trouble.
const SMALL: Layout = Layout { shards: 4, groups: 3, trouble: None, ballast: 0, calm: 400 };

/// Ticks in which all that is open comes to its end, once nothing is lost any more: several silences one after the other.
const CALM_TICKS: u64 = 2_000;

/// Keys of a shard that clients write to.
const KEYS: usize = 6;

/// A group: what its log has made, and who drives its moves.
pub(super) struct Group {
    pub(super) machine: Machine,
    mover: Mover,
    /// Proposed and not applied: when it is.
    proposed: Vec<(u64, Arc<[u8]>)>,
    /// The number of the configuration that its leader knows.
    knows: u64,
}

struct World {
    chance: Pcg32,
    now: u64,
    layout: Layout,
    groups: BTreeMap<GroupId, Group>,
    controller: controller::Machine,
    /// On their way: when, to whom, from whom.
    messages: Vec<(u64, GroupId, GroupId, Message)>,
    clients: Clients,
    seen: Seen,
    commands: u64,
}

/// So many keys of a shard.
fn keys(shards: u32, shard: ShardId, count: usize) -> impl Iterator<Item = Vec<u8>> {
    let all = (0..).map(|number| format!("key-{number}").into_bytes());
    all.filter(move |key| shard_of(key, shards) == shard).take(count)
}

/// A group that owns these shards, and holds their ballast under a key that no client writes to.
fn group(layout: Layout, id: GroupId, owned: &[ShardId]) -> Group {
    let Layout { shards, ballast, .. } = layout;
    let mut machine = Machine::new(shards, owned.iter().copied());
    for &shard in owned.iter().filter(|_| ballast > 0) {
        let session = SessionId(machine.applied() + 1);
        machine.apply(session.0, &Command::OpenSession { shard }.encode());
        let value = vec![7; ballast / 2];
        for (sequence, key) in (1..).zip(keys(shards, shard, KEYS + 2).skip(KEYS)) {
            let (settled, op) = (sequence - 1, Op::Put(&value));
            let write = Command::Write { shard, session, sequence, settled, key: &key, op };
            machine.apply(machine.applied() + 1, &write.encode());
        }
    }
    Group { machine, mover: Mover::new(id), proposed: Vec::new(), knows: 1 }
}

impl World {
    fn new(seed: u64, layout: Layout) -> World {
        let Layout { shards, groups, .. } = layout;
        let ids = (1..=groups).map(GroupId);
        let members =
            |group: GroupId| Members::from([(NodeId(group.0), format!("127.0.0.1:{}", 7_000 + group.0))]);
        let all: BTreeMap<GroupId, Members> = ids.clone().map(|group| (group, members(group))).collect();
        let controller = controller::Machine::new(shards, &all);
        let owned = |group: GroupId| {
            let owners = controller.latest().shards();
            owners.filter(|(_, owner)| owner.group == group).map(|(shard, _)| shard).collect::<Vec<_>>()
        };
        let groups = ids.map(|id| (id, group(layout, id, &owned(id)))).collect();
        let written = (0..shards).flat_map(|shard| keys(shards, ShardId(shard), KEYS)).collect();
        World {
            chance: Pcg32::seed_from_u64(seed),
            now: 0,
            layout,
            groups,
            controller,
            messages: Vec::new(),
            clients: Clients::new(5, 8, written, shards),
            seen: Seen::default(),
            commands: 0,
        }
    }

    fn one_in(&mut self, many: u32) -> bool {
        self.chance.random_range(0..many) == 0
    }

    fn is_trouble(&mut self) -> bool {
        self.layout.trouble.is_some_and(|many| self.chance.random_range(0..many) == 0)
    }

    fn later(&mut self) -> u64 {
        // Without trouble in order, as on a connection.
        let most = if self.is_trouble() { 40 } else { 1 + u64::from(self.layout.trouble.is_some()) };
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
            if self.layout.trouble.is_some() && self.one_in(150) {
                self.new_leader(id);
            }
            self.log_of(id);
            let latest = self.controller.latest().number;
            let hears = self.layout.trouble.is_none() || self.one_in(5);
            let group = self.groups.get_mut(&id).expect("a group");
            group.knows = if hears { latest } else { group.knows };
            let known = self.controller.query(group.knows).expect("it was the newest once");
            group.mover.look(&group.machine, &known);
            let wishes: Vec<Wish> = group.mover.wishes().collect();
            self.is_bounded(id, &wishes);
            wishes.into_iter().for_each(|wish| self.fulfil(id, wish));
        }
        self.seen.tick(now, &self.groups, self.controller.latest());
    }

    /// What was proposed is lost, or comes to its end later all the same. The new leader has started from a snapshot, and knows
    /// less of the controller than the one before.
    fn new_leader(&mut self, id: GroupId) {
        let keep = self.one_in(2);
        let behind = self.chance.random_range(0..3);
        let group = self.groups.get_mut(&id).expect("a group");
        group.mover = Mover::new(id);
        group.knows = group.knows.saturating_sub(behind).max(1);
        if !keep {
            group.proposed.clear();
        }
        let restored = Machine::restore(&group.machine.snapshot()).expect("our own");
        assert_eq!(restored, group.machine);
        group.machine = restored;
        let restored = controller::Machine::restore(&self.controller.snapshot()).expect("our own");
        assert_eq!(restored.digest(), self.controller.digest());
        self.controller = restored;
    }

    fn log_of(&mut self, id: GroupId) {
        let now = self.now;
        loop {
            let group = self.groups.get_mut(&id).expect("a group");
            if group.proposed.first().is_none_or(|(at, _)| *at > now) {
                return;
            }
            let (_, bytes) = group.proposed.remove(0);
            let command = Command::decode(&bytes).expect("our own");
            let before = group.machine.stage(command.shard());
            let applied = group.machine.apply(group.machine.applied() + 1, &bytes);
            assert!(matches!(applied, Applied::Step(_)), "only steps are proposed here");
            self.seen.step(&self.groups, (id, &command, before), &self.clients);
        }
    }

    /// In a tick a group sends so many bytes of shards that it still serves, and so many parts of each shard; without new leaders
    /// few shards leave it at a time.
    fn is_bounded(&self, id: GroupId, wishes: &[Wish]) {
        let machine = &self.groups[&id].machine;
        let (mut sent, mut last, mut parts) = (0, 0, BTreeMap::new());
        for wish in wishes {
            if let Wish::Tell(_, Message::Part { shard, bytes, .. } | Message::Last { shard, bytes, .. }) =
                wish
            {
                *parts.entry(*shard).or_insert(0) += 1;
                if matches!(machine.stage(*shard), Stage::Leaving { .. }) {
                    (sent, last) = (sent + last, bytes.len());
                }
            }
        }
        assert!(sent < TICK_BYTES, "{sent} bytes, and {last} more");
        assert!(parts.values().all(|&parts| parts <= PARCELS_MAX), "{parts:?}");
        let leaves =
            |shard: &ShardId| matches!(machine.stage(*shard), Stage::Leaving { .. } | Stage::Frozen { .. });
        let leaving = machine.on_their_way().filter(leaves).count();
        assert!(leaving <= EXPORTS_MAX || self.layout.trouble.is_some(), "{leaving} shards leave {id}");
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

    fn work(&mut self) {
        let Layout { shards, groups, calm, .. } = self.layout;
        for which in 0..self.clients.count() {
            if self.one_in(3) {
                // At random, as one whose map is old.
                let to = GroupId(self.chance.random_range(1..=groups));
                let machine = &mut self.groups.get_mut(&to).expect("a group").machine;
                self.clients.ask(which, machine, &mut self.chance);
            }
        }
        let shard = ShardId(self.chance.random_range(0..shards));
        let group = GroupId(self.chance.random_range(1..=groups));
        match self.chance.random_range(0..calm) {
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
        self.layout.trouble = None;
        for _ in 0..CALM_TICKS {
            self.tick();
        }
        is_settled(&self.groups, self.controller.latest());
        for group in self.groups.values_mut() {
            self.clients.ask_again(&mut group.machine);
        }
    }

    fn adopted(&self) -> u64 {
        self.controller.latest().shards().map(|(_, owner)| owner.epoch - 1).sum()
    }
}

fn play(seed: u64, layout: Layout, ticks: u64) -> World {
    let mut world = World::new(seed, layout);
    for _ in 0..ticks {
        world.work();
        world.tick();
    }
    world.settle();
    world
}

#[test]
fn every_move_ends_and_every_write_happens_once_whatever_is_lost() {
    let troubles = [Some(4), Some(20), None].into_iter().cycle();
    let worlds = (0..40).zip(troubles).map(|(seed, trouble)| play(seed, Layout { trouble, ..SMALL }, 3_000));
    let adopted: u64 = worlds.map(|world| world.adopted()).sum();
    assert!(adopted > 500, "{adopted} moves");
}

/// Whole groups come and go, more shards are to leave than may at a time, and each of them takes more than one part.
#[test]
fn many_shards_move_between_groups_that_join_and_leave() {
    let ballast = PARCEL_BYTES + PARCEL_BYTES / 2;
    let large = Layout { shards: 16, groups: 4, trouble: None, ballast, calm: 120 };
    let troubles = [Some(10), Some(50), None].into_iter().cycle();
    let worlds = (0..6).zip(troubles).map(|(seed, trouble)| play(seed, Layout { trouble, ..large }, 1_500));
    let adopted: u64 = worlds.map(|world| world.adopted()).sum();
    assert!(adopted > 300, "{adopted} moves");
}

/// The pause that clients see: frozen here, not yet served there. A commit on each side, and a message each way.
#[test]
fn when_nothing_is_lost_a_shard_is_frozen_for_a_few_ticks_only() {
    let mut world = World::new(1, SMALL);
    for round in 0..600 {
        world.work();
        world.tick();
        if round % 100 == 0 {
            world.admin(AdminChange::Move {
                shard: ShardId(0),
                to: GroupId(1 + (round / 100) % SMALL.groups),
            });
        }
    }
    world.settle();
    assert!(world.adopted() >= 5, "{} moves", world.adopted());
    let longest = world.seen.longest_frozen;
    assert!((1..=6).contains(&longest), "{longest} ticks");
}
