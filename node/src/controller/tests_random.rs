//! Any commands at all, on two replicas of which one is restored from snapshots now and then. After each of them the promises
//! hold that no command may break.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ordeal_client::wire::{
    AdminChange, Cause, CommandId, Configuration, Decision, DirectoryId, GroupId, Members, MoveEnd, MoveId,
    NodeId, ShardId,
};
use proptest::prelude::*;

use super::tests::{controller, groups, members, settle};
use super::tests_balance::fewest;
use super::*;

#[derive(Debug, Clone)]
enum Act {
    /// By one who saw the number that many numbers ago.
    Ask {
        late: u64,
        change: AdminChange,
    },
    Members {
        group: u32,
        at: u64,
        members: Members,
    },
    /// Of the open move at this place.
    End {
        place: usize,
        end: MoveEnd,
    },
    /// Of any move at all.
    EndAny {
        shard: u32,
        id: u64,
        end: MoveEnd,
    },
    /// The command at this place, once more.
    Again {
        place: usize,
    },
    Skip,
    /// The second replica is restored from a snapshot.
    Restore,
}

fn act() -> impl Strategy<Value = Act> {
    let some = || prop::collection::btree_set(0..8_u32, 0..4);
    let change = prop_oneof![
        4 => some().prop_map(|of| AdminChange::Join(groups_of(of))),
        1 => some().prop_map(creation_of),
        3 => some().prop_map(|of| AdminChange::Leave(of.into_iter().map(GroupId).collect())),
        3 => (0..9_u32, 0..8_u32).prop_map(|(shard, to)| AdminChange::Move { shard: ShardId(shard), to: GroupId(to) }),
        2 => (0..9_u32).prop_map(|shard| AdminChange::CancelMove { shard: ShardId(shard) }),
    ];
    let how = || prop_oneof![2 => Just(MoveEnd::Adopted), 1 => Just(MoveEnd::Cancelled)];
    let said = (0..8_u32, 0..20_u64, 0..4_u32);
    prop_oneof![
        6 => (prop_oneof![4 => Just(0), 1 => 0..6_u64, 1 => Just(u64::MAX)], change)
            .prop_map(|(late, change)| Act::Ask { late, change }),
        1 => said.prop_map(|(group, at, of)| Act::Members { group, at, members: one_of(of) }),
        8 => (0..8_usize, how()).prop_map(|(place, end)| Act::End { place, end }),
        1 => (0..9_u32, 0..30_u64, how()).prop_map(|(shard, id, end)| Act::EndAny { shard, id, end }),
        2 => (0..1_000_usize).prop_map(|place| Act::Again { place }),
        1 => Just(Act::Skip),
        1 => Just(Act::Restore),
    ]
}

fn creation_of(of: BTreeSet<u32>) -> AdminChange {
    let groups = groups_of(of);
    let nodes = groups.values().flat_map(BTreeMap::keys);
    let directories = nodes.map(|&node| (node, DirectoryId(u64::from(node.0)))).collect();
    AdminChange::Create { groups, directories }
}

fn groups_of(of: BTreeSet<u32>) -> BTreeMap<GroupId, Members> {
    // Group 0 is never allowed, so that its members do not matter.
    let zero = of.contains(&0).then(|| (GroupId(0), members(1)));
    groups(of.into_iter().filter(|&group| group > 0)).into_iter().chain(zero).collect()
}

fn one_of(of: u32) -> Members {
    if of == 0 { Members::new() } else { [(NodeId(of), "elsewhere:1".to_owned())].into() }
}

/// Two replicas, and what was seen of the first.
struct World {
    machine: Machine,
    other: Machine,
    /// Each number as it was when it was new.
    seen: Vec<Configuration>,
    /// Commands that were done, with the decision.
    done: Vec<(Arc<[u8]>, Decision)>,
    /// All ids of moves that there ever were.
    moves: BTreeSet<MoveId>,
}

impl World {
    fn new(shards: u32, groups: u32) -> Self {
        let machine = controller(shards, 1..=groups);
        let seen = vec![machine.latest().clone()];
        World { other: machine.clone(), machine, seen, done: Vec::new(), moves: BTreeSet::new() }
    }

    fn act(&mut self, act: Act) {
        let number = self.machine.latest().number;
        let id = CommandId(self.machine.applied());
        match act {
            Act::Ask { late, change } => {
                let base = number.saturating_sub(late);
                let asked =
                    (1..).zip(&self.seen).filter(|(_, seen)| matches!(seen.cause, Cause::Asked { .. }));
                let newest = asked.map(|(number, _)| number).last().unwrap_or(1);
                let decision = self.apply(&Command::Admin { id, base, change }.encode());
                let conflict = matches!(decision, Decision::Conflict { .. });
                assert_eq!(conflict, base < newest, "an administrator's change is newer, or is not");
            }
            Act::Members { group, at, members } => {
                let group = GroupId(group);
                self.apply(&Command::GroupMembers { group, at, members }.encode());
            }
            Act::End { place, end } => {
                let open =
                    self.machine.latest().moves.iter().nth(place).map(|(&shard, open)| (shard, open.id));
                if let Some((shard, id)) = open {
                    let decision = self.apply(&Command::MoveEnd { shard, id, end }.encode());
                    assert_eq!(decision, Decision::Done { number: number + 1 }, "an open move ends");
                }
            }
            Act::EndAny { shard, id, end } => {
                self.apply(&Command::MoveEnd { shard: ShardId(shard), id: MoveId(id), end }.encode());
            }
            Act::Again { place } => self.again(place),
            Act::Skip => {
                let (index, digest) = (self.machine.applied() + 1, self.machine.digest());
                self.machine.skip(index);
                self.other.skip(index);
                assert_eq!(self.machine.digest(), digest);
            }
            Act::Restore => {
                self.other = Machine::restore(&self.machine.snapshot()).expect("our own");
                assert_eq!(self.other, self.machine);
            }
        }
    }

    /// An administrator's command and the end of a move are answered as the first time.
    fn again(&mut self, place: usize) {
        let Some((bytes, first)) = self.done.get(place % self.done.len().max(1)).cloned() else { return };
        match Command::decode(&bytes).expect("it was one before") {
            Command::GroupMembers { .. } => {}
            Command::Admin { .. } | Command::MoveEnd { .. } => assert_eq!(self.apply(&bytes), first),
        }
    }

    fn apply(&mut self, bytes: &Arc<[u8]>) -> Decision {
        let before = self.machine.clone();
        let index = before.applied() + 1;
        let decision = self.machine.apply(index, bytes);
        assert_eq!(self.other.apply(index, bytes), decision, "on every replica");
        assert_eq!(self.other.digest(), self.machine.digest(), "on every replica");
        assert_eq!(self.machine.state.flaw(), None);
        assert_eq!(self.machine.applied(), index);
        let next = before.latest().number + 1;
        if decision == (Decision::Done { number: next }) {
            self.check_change(&before);
            self.seen.push(self.machine.latest().clone());
            self.done.push((Arc::clone(bytes), decision.clone()));
        } else {
            assert_eq!(self.machine.digest(), before.digest(), "{decision:?} changes nothing");
            assert_eq!(self.machine.latest(), before.latest(), "{decision:?} changes nothing");
            assert_eq!(self.machine.history, before.history, "{decision:?} changes nothing");
        }
        decision
    }

    fn check_change(&mut self, before: &Machine) {
        let (old, new) = (before.latest(), self.machine.latest());
        assert_eq!(new.number, old.number + 1);
        for (shard, owner) in new.shards() {
            let was = old.owner(shard).expect("shards neither come nor go");
            let adopted = match new.cause {
                Cause::MoveEnded { shard: of, id, end: MoveEnd::Adopted } => {
                    of == shard && old.moves[&shard].id == id && old.moves[&shard].to == owner.group
                }
                Cause::MoveEnded { .. } | Cause::Created | Cause::Asked { .. } | Cause::Members { .. } => {
                    false
                }
            };
            assert_eq!(owner.epoch, was.epoch + u64::from(adopted), "epochs rise by one, with an adoption");
            assert_eq!(owner.group != was.group, adopted, "owners change by adoption");
            match (old.moves.get(&shard), new.moves.get(&shard)) {
                (Some(was), Some(is)) if was.id == is.id => {
                    assert_eq!(
                        (was.from, was.to, was.epoch),
                        (is.from, is.to, is.epoch),
                        "a move is what it is"
                    );
                }
                (was, Some(is)) => {
                    assert!(self.moves.insert(is.id), "{} is used twice", is.id);
                    assert!(
                        was.is_none() || matches!(new.cause, Cause::MoveEnded { .. }),
                        "one open move a shard"
                    );
                }
                (Some(_), None) => {
                    assert!(matches!(new.cause, Cause::MoveEnded { .. }), "moves end by their end");
                }
                (None, None) => {}
            }
        }
        let changed =
            before.targets().iter().zip(self.machine.targets()).filter(|(was, is)| was != is).count();
        match &new.cause {
            Cause::Asked {
                change: AdminChange::Join(_) | AdminChange::Leave(_) | AdminChange::Create { .. },
                ..
            } => {
                let staying = new.groups.iter().filter(|(_, info)| !info.leaving).map(|(group, _)| group.0);
                let targets: Vec<u32> = before.targets().iter().map(|target| target.0).collect();
                assert_eq!(changed, fewest(&targets, &staying.collect()), "the fewest targets change");
                self.check_shares();
            }
            Cause::Asked { .. } => assert!(changed <= 1, "only the shard that was asked for"),
            Cause::Created | Cause::Members { .. } | Cause::MoveEnded { .. } => assert_eq!(changed, 0),
        }
    }

    fn check_shares(&self) {
        let groups = self.machine.latest().groups.iter().filter(|(_, info)| !info.leaving);
        let count = |group| self.machine.targets().iter().filter(|&target| target == group).count();
        let counts: Vec<usize> = groups.map(|(group, _)| count(group)).collect();
        let (least, most) = (counts.iter().min(), counts.iter().max());
        assert!(most.expect("one stays") - least.expect("one stays") <= 1, "{counts:?}");
    }

    /// When all moves end well, every shard is where it is to be, and who is leaving is gone; all numbers are what they were.
    fn check_end(mut self) {
        for (number, seen) in (1..).zip(&self.seen) {
            assert_eq!(self.machine.query(number).as_ref(), Some(seen), "number {number}");
            assert_eq!(self.other.query(number).as_ref(), Some(seen), "number {number}");
        }
        settle(&mut self.machine);
        let owners = self.machine.latest().owners.iter().map(|owner| &owner.group);
        assert!(owners.eq(self.machine.targets()));
        assert!(self.machine.latest().groups.values().all(|info| !info.leaving));
    }
}

proptest! {
    #[test]
    fn no_command_breaks_a_promise(
        shards in 1..9_u32,
        groups in 1..4_u32,
        acts in prop::collection::vec(act(), 1..100),
    ) {
        let mut world = World::new(shards, groups);
        acts.into_iter().for_each(|act| world.act(act));
        world.check_end();
    }
}
