//! The controller's stories: who joins and leaves, what moves, what is refused, and that a number stays what it was.

use std::collections::{BTreeMap, BTreeSet};

use ordeal_client::wire::{
    AdminChange, Cause, CommandId, Configuration, Decision, DirectoryId, EPOCH_FIRST, GroupId, Members, Move,
    MoveEnd, MoveId, NodeId, Objection, Owner, ShardId,
};

use super::*;

/// The members of a group in these tests: three nodes of its own.
pub(super) fn members(group: u32) -> Members {
    (3 * group - 2..=3 * group).map(|node| (NodeId(node), format!("n{node}.test:4000"))).collect()
}

pub(super) fn groups(of: impl IntoIterator<Item = u32>) -> BTreeMap<GroupId, Members> {
    of.into_iter().map(|group| (GroupId(group), members(group))).collect()
}

pub(super) fn controller(shards: u32, of: impl IntoIterator<Item = u32>) -> Machine {
    Machine::new(shards, &groups(of))
}

pub(super) fn join(of: impl IntoIterator<Item = u32>) -> AdminChange {
    AdminChange::Join(groups(of))
}

pub(super) fn create(of: impl IntoIterator<Item = u32>) -> AdminChange {
    let groups = groups(of);
    let nodes = groups.values().flat_map(BTreeMap::keys);
    let directories = nodes.map(|&node| (node, DirectoryId(u64::from(node.0)))).collect();
    AdminChange::Create { groups, directories }
}

pub(super) fn leave(of: impl IntoIterator<Item = u32>) -> AdminChange {
    AdminChange::Leave(of.into_iter().map(GroupId).collect())
}

pub(super) fn move_to(shard: u32, to: u32) -> AdminChange {
    AdminChange::Move { shard: ShardId(shard), to: GroupId(to) }
}

pub(super) fn cancel(shard: u32) -> AdminChange {
    AdminChange::CancelMove { shard: ShardId(shard) }
}

/// Applies a command as the next entry.
pub(super) fn apply(machine: &mut Machine, command: &Command) -> Decision {
    machine.apply(machine.applied() + 1, &command.encode())
}

pub(super) fn admin(machine: &mut Machine, id: u64, base: u64, change: AdminChange) -> Decision {
    apply(machine, &Command::Admin { id: CommandId(id), base, change })
}

/// What an administrator asks who has seen the newest configuration; it must be done.
pub(super) fn ask(machine: &mut Machine, change: AdminChange) -> u64 {
    let number = machine.latest().number;
    let decision = admin(machine, 1_000 + number, number, change);
    assert_eq!(decision, Decision::Done { number: number + 1 });
    number + 1
}

pub(super) fn end(machine: &mut Machine, shard: ShardId, id: MoveId, end: MoveEnd) -> Decision {
    apply(machine, &Command::MoveEnd { shard, id, end })
}

/// Ends all moves well, until none is open.
pub(super) fn settle(machine: &mut Machine) {
    while let Some((&shard, &Move { id, .. })) = machine.latest().moves.first_key_value() {
        let number = machine.latest().number + 1;
        assert_eq!(end(machine, shard, id, MoveEnd::Adopted), Decision::Done { number });
    }
}

/// How many shards each group owns.
pub(super) fn counts(configuration: &Configuration) -> Vec<(u32, usize)> {
    let owns = |group| configuration.owners.iter().filter(|owner| owner.group == group).count();
    configuration.groups.keys().map(|&group| (group.0, owns(group))).collect()
}

pub(super) fn refused(machine: &mut Machine, change: AdminChange) -> Objection {
    let (number, before) = (machine.latest().number, machine.digest());
    let decision = admin(machine, 7, number, change);
    assert_eq!(machine.digest(), before, "what is refused changes nothing");
    match decision {
        Decision::Refused(objection) => objection,
        Decision::Done { .. } | Decision::Conflict { .. } => panic!("{decision:?}"),
    }
}

#[test]
fn a_cluster_begins_with_its_shards_dealt_out() {
    let machine = controller(10, [1, 2, 4]);
    let first = machine.latest();
    assert_eq!((first.number, &first.cause), (1, &Cause::Created));
    let owners: Vec<u32> = first.owners.iter().map(|owner| owner.group.0).collect();
    assert_eq!(owners, [1, 2, 4, 1, 2, 4, 1, 2, 4, 1]);
    assert!(first.owners.iter().all(|owner| owner.epoch == EPOCH_FIRST));
    assert_eq!(first.groups[&GroupId(4)].members, members(4));
    assert!(first.moves.is_empty());
}

/// §1.4 "Basic leave/join": exactly these groups, every shard on one of them, as many on each as on any other, or one more.
#[test]
fn groups_join_and_leave_and_the_shards_are_shared_out() {
    let mut machine = controller(10, [1]);
    ask(&mut machine, join([2]));
    assert_eq!(counts(machine.latest()), [(1, 10), (2, 0)], "nothing moves before a move ends");
    assert_eq!(machine.latest().moves.len(), 5, "the moves are open at once");
    settle(&mut machine);
    assert_eq!(counts(machine.latest()), [(1, 5), (2, 5)]);
    ask(&mut machine, join([3]));
    settle(&mut machine);
    assert_eq!(counts(machine.latest()), [(1, 4), (2, 3), (3, 3)]);
    ask(&mut machine, leave([1]));
    assert!(machine.latest().groups[&GroupId(1)].leaving, "it stays while it owns something");
    settle(&mut machine);
    assert_eq!(counts(machine.latest()), [(2, 5), (3, 5)]);
    ask(&mut machine, leave([2]));
    settle(&mut machine);
    assert_eq!(counts(machine.latest()), [(3, 10)]);
}

/// §1.4 "Minimal transfers", without the defect of §1.8: every shard that needs not move stays (lesson 42).
#[test]
fn several_groups_join_or_leave_in_one_step_with_the_fewest_moves() {
    let mut machine = controller(64, [1, 2, 3]);
    let before = machine.latest().owners.clone();
    let number = ask(&mut machine, join([4, 5, 6, 7, 8]));
    assert_eq!(machine.latest().number, number, "one step");
    settle(&mut machine);
    let after = machine.latest().owners.clone();
    assert!(counts(machine.latest()).iter().all(|&(_, count)| count == 8));
    let kept = before.iter().zip(&after).filter(|(before, after)| before == after).count();
    assert_eq!(kept, 24, "8 of each group that there was");
    ask(&mut machine, leave([4, 5, 6, 7, 8]));
    assert_eq!(machine.latest().moves.len(), 40, "only the shards of those that go");
    settle(&mut machine);
    assert_eq!(counts(machine.latest()), [(1, 22), (2, 21), (3, 21)]);
}

/// §1.4 "Move": it is not undone by the shares, and the next join or leave shares out anew.
#[test]
fn a_shard_moves_where_an_administrator_wants_it() {
    let mut machine = controller(10, [1, 2]);
    for shard in 0..10 {
        ask(&mut machine, move_to(shard, if shard < 5 { 1 } else { 2 }));
    }
    settle(&mut machine);
    let owners: Vec<u32> = machine.latest().owners.iter().map(|owner| owner.group.0).collect();
    assert_eq!(owners, [1, 1, 1, 1, 1, 2, 2, 2, 2, 2]);
    ask(&mut machine, move_to(0, 2));
    settle(&mut machine);
    assert_eq!(counts(machine.latest()), [(1, 4), (2, 6)]);
    // A move to where it is makes a number, and moves nothing.
    ask(&mut machine, move_to(0, 2));
    assert!(machine.latest().moves.is_empty());
    ask(&mut machine, join([3]));
    settle(&mut machine);
    assert_eq!(counts(machine.latest()), [(1, 3), (2, 4), (3, 3)]);
}

/// §1.4 "Historical queries", lessons 39 and 41: a number once shown stays what it was.
#[test]
fn a_number_is_the_same_for_ever() {
    let mut machine = controller(4, [1, 2]);
    let mut seen = vec![machine.latest().clone()];
    for round in 0..60 {
        let changes = [join([3, 4]), move_to(round % 4, 1 + round % 4), leave([3, 4])];
        for change in changes {
            ask(&mut machine, change);
            seen.push(machine.latest().clone());
            while let Some((&shard, &Move { id, .. })) = machine.latest().moves.first_key_value() {
                end(&mut machine, shard, id, MoveEnd::Adopted);
                seen.push(machine.latest().clone());
            }
        }
    }
    assert!(machine.history.eras() > 20, "over many eras");
    let restored = Machine::restore(&machine.snapshot()).expect("our own");
    for machine in [&machine, &restored, &machine.clone()] {
        for (number, configuration) in (1..).zip(&seen) {
            assert_eq!(machine.query(number).as_ref(), Some(configuration), "number {number}");
        }
        assert_eq!(machine.query(0), None);
        assert_eq!(machine.query(seen.len() as u64 + 1), None);
        assert_eq!(machine.query(u64::MAX), None);
    }
}

/// §1.4 "Concurrent leave/join", lesson Q5: of two who saw the same, one is told so, and loses nothing of the other's.
#[test]
fn administrators_cannot_lose_each_others_changes() {
    let mut machine = controller(10, [1]);
    let base = machine.latest().number;
    let mut waiting: Vec<u32> = (2..=11).collect();
    let mut conflicts = 0;
    let mut seen: BTreeMap<u32, u64> = waiting.iter().map(|&group| (group, base)).collect();
    while !waiting.is_empty() {
        waiting.retain(|&group| match admin(&mut machine, u64::from(group), seen[&group], join([group])) {
            Decision::Done { .. } => false,
            Decision::Conflict { current } => {
                conflicts += 1;
                seen.insert(group, current);
                true
            }
            Decision::Refused(objection) => panic!("{objection}"),
        });
    }
    assert_eq!(conflicts, 9 * 10 / 2, "of those who still wait, one is done a round");
    assert_eq!(machine.staying(), (1..=11).map(GroupId).collect());
    settle(&mut machine);
    assert!(counts(machine.latest()).iter().all(|&(_, count)| count <= 1));
}

#[test]
fn only_administrators_conflict_and_only_with_what_they_have_not_seen() {
    let mut machine = controller(4, [1]);
    let base = ask(&mut machine, join([2]));
    settle(&mut machine);
    assert!(machine.latest().number > base, "moves have ended");
    let said = Command::GroupMembers { group: GroupId(1), at: 9, members: members(5) };
    assert!(matches!(apply(&mut machine, &said), Decision::Done { .. }));
    let current = machine.latest().number;
    for stranger in [0, 1, base - 1, current + 1, u64::MAX] {
        assert_eq!(admin(&mut machine, 5, stranger, join([3])), Decision::Conflict { current }, "{stranger}");
    }
    assert_eq!(admin(&mut machine, 5, base, join([3])), Decision::Done { number: current + 1 });
}

/// Lesson 36: a retry gets the first answer, whatever has happened since.
#[test]
fn a_retry_is_answered_as_the_first_time() {
    let mut machine = controller(4, [1]);
    let (change, done) = (join([2]), Decision::Done { number: 2 });
    assert_eq!(admin(&mut machine, 42, 1, change.clone()), done);
    settle(&mut machine);
    ask(&mut machine, leave([2]));
    settle(&mut machine);
    let mut restored = Machine::restore(&machine.snapshot()).expect("our own");
    for machine in [&mut machine, &mut restored] {
        let before = machine.digest();
        assert_eq!(admin(machine, 42, 1, change.clone()), done);
        assert_eq!(admin(machine, 42, 3, change.clone()), done, "on whatever it is based now");
        let taken = Decision::Refused(Objection::IdTaken { number: 2 });
        assert_eq!(admin(machine, 42, 1, join([3])), taken, "another command is not done by the same id");
        assert_eq!(machine.digest(), before);
    }
}

/// Lessons 58 and R2: a move ends once, and only the one that is open.
#[test]
fn a_move_ends_once() {
    let mut machine = controller(2, [1, 2]);
    let shard = ShardId(0);
    ask(&mut machine, move_to(0, 2));
    let (from, to) = (GroupId(1), GroupId(2));
    let open = Move { id: MoveId(1), from, to, epoch: 1, unwanted: false };
    assert_eq!(machine.latest().moves, [(shard, open)].into());
    let number = machine.latest().number + 1;
    let done = Decision::Done { number };
    for _ in 0..3 {
        assert_eq!(end(&mut machine, shard, MoveId(1), MoveEnd::Adopted), done);
        assert_eq!(machine.latest().owner(shard), Some(Owner { group: to, epoch: 2 }));
        assert_eq!(machine.latest().number, number);
    }
    let otherwise = Decision::Refused(Objection::MoveEndedOtherwise { id: MoveId(1), number });
    assert_eq!(end(&mut machine, shard, MoveId(1), MoveEnd::Cancelled), otherwise);
    for (shard, id) in [(0, 2), (1, 1), (2, 1), (0, 0)] {
        let (shard, id) = (ShardId(shard), MoveId(id));
        let unknown = Decision::Refused(Objection::MoveUnknown { shard, id });
        assert_eq!(end(&mut machine, shard, id, MoveEnd::Adopted), unknown);
    }
    // The end of an old move, told late, ends no later one of the same shard.
    ask(&mut machine, move_to(0, 1));
    assert_eq!(end(&mut machine, shard, MoveId(1), MoveEnd::Adopted), done);
    assert_eq!(machine.latest().moves[&shard].id, MoveId(2));
}

/// Lesson 60: each time that a shard comes back, its epoch is one that was never there.
#[test]
fn epochs_tell_the_visits_of_a_shard_apart() {
    let mut machine = controller(1, [1, 2]);
    for epoch in 2..10 {
        let to = 1 + u32::from(machine.latest().owners[0].group == GroupId(1));
        ask(&mut machine, move_to(0, to));
        settle(&mut machine);
        assert_eq!(machine.latest().owners, [Owner { group: GroupId(to), epoch }]);
    }
}

#[test]
fn a_move_that_is_cancelled_is_opened_again_while_it_is_wanted() {
    let mut machine = controller(2, [1, 2]);
    ask(&mut machine, move_to(0, 2));
    assert!(matches!(end(&mut machine, ShardId(0), MoveId(1), MoveEnd::Cancelled), Decision::Done { .. }));
    let again = machine.latest().moves[&ShardId(0)];
    assert_eq!((again.id, again.to, again.epoch), (MoveId(2), GroupId(2), 1));
}

#[test]
fn a_cancelled_move_leaves_the_shard_where_it_is_or_brings_it_back() {
    for (how, left) in [(MoveEnd::Cancelled, 0), (MoveEnd::Adopted, 1)] {
        let mut machine = controller(2, [1, 2]);
        ask(&mut machine, move_to(0, 2));
        ask(&mut machine, cancel(0));
        let open = machine.latest().moves[&ShardId(0)];
        assert!(open.unwanted && open.id == MoveId(1), "the donor cancels it if it still can");
        end(&mut machine, ShardId(0), MoveId(1), how);
        assert_eq!(machine.latest().moves.len(), left);
        settle(&mut machine);
        assert_eq!(machine.latest().owners[0].group, GroupId(1));
        assert_eq!(refused(&mut machine, cancel(0)), Objection::NotMoving { shard: ShardId(0) });
    }
    let mut machine = controller(2, [1, 2]);
    ask(&mut machine, leave([1]));
    let leaving = Objection::GroupLeaving { group: GroupId(1) };
    assert_eq!(refused(&mut machine, cancel(0)), leaving, "nobody stays with a group that goes");
}

#[test]
fn a_move_that_is_wanted_again_goes_on() {
    let mut machine = controller(2, [1, 2, 3]);
    ask(&mut machine, move_to(0, 2));
    ask(&mut machine, move_to(0, 3));
    let open = machine.latest().moves[&ShardId(0)];
    assert!(open.unwanted && open.to == GroupId(2), "one open move a shard");
    ask(&mut machine, move_to(0, 2));
    assert_eq!(machine.latest().moves[&ShardId(0)], Move { unwanted: false, ..open });
}

/// Lesson 42: a group may leave before it has come, and come back before it has left.
#[test]
fn a_group_leaves_before_its_shards_have_come_and_comes_back() {
    let mut machine = controller(4, [1, 2]);
    ask(&mut machine, join([3]));
    let coming = machine.latest().moves.clone();
    ask(&mut machine, leave([3]));
    let unwanted = |machine: &Machine| machine.latest().moves.values().filter(|open| open.unwanted).count();
    assert_eq!((unwanted(&machine), coming.len()), (1, 1));
    assert!(machine.latest().groups.contains_key(&GroupId(3)), "while a move to it is open");
    ask(&mut machine, join([3]));
    assert_eq!(machine.latest().moves, coming, "the same move, wanted again");
    ask(&mut machine, leave([3]));
    let (&shard, open) = coming.first_key_value().expect("one");
    end(&mut machine, shard, open.id, MoveEnd::Cancelled);
    assert!(machine.latest().moves.is_empty());
    assert_eq!(machine.staying(), [1, 2].map(GroupId).into());
    assert!(!machine.latest().groups.contains_key(&GroupId(3)), "with the end of its last move it goes");
    ask(&mut machine, join([3]));
    assert_eq!(machine.latest().moves.len(), 1);
}

/// A shard on its way to a group that leaves goes home if that makes no more moves; else it would move twice.
#[test]
fn shards_that_have_not_left_yet_stay() {
    let mut machine = controller(64, [1, 2]);
    ask(&mut machine, join([3, 4]));
    ask(&mut machine, leave([3, 4]));
    assert!(machine.latest().moves.values().all(|open| open.unwanted));
    for (shard, open) in machine.latest().moves.clone() {
        end(&mut machine, shard, open.id, MoveEnd::Cancelled);
    }
    assert_eq!(counts(machine.latest()), [(1, 32), (2, 32)]);
    assert!(machine.latest().owners.iter().all(|owner| owner.epoch == 1), "nothing ever moved");
}

/// Lesson 43: addresses come from the configuration, and change in it.
#[test]
fn a_group_says_who_its_members_are() {
    let mut machine = controller(4, [1, 2]);
    let group = GroupId(1);
    let mut say = |at, of| apply(&mut machine, &Command::GroupMembers { group, at, members: members(of) });
    let outdated = |at| Decision::Refused(Objection::MembersOutdated { group, at });
    assert_eq!(say(0, 5), outdated(0), "as it joined is known");
    assert_eq!(say(7, 5), Decision::Done { number: 2 });
    assert_eq!(say(9, 6), Decision::Done { number: 3 });
    assert_eq!(say(9, 6), Decision::Done { number: 3 }, "once");
    assert_eq!(say(7, 5), outdated(9), "what was said before counts no more");
    assert_eq!(machine.latest().groups[&group].members, members(6));
    let unknown = Command::GroupMembers { group: GroupId(9), at: 1, members: members(9) };
    let decision = apply(&mut machine, &unknown);
    assert_eq!(decision, Decision::Refused(Objection::GroupUnknown { group: GroupId(9) }));
    // It goes, and comes back elsewhere, set up anew: its log begins anew, too.
    ask(&mut machine, leave([1]));
    ask(&mut machine, AdminChange::Join([(group, members(8))].into()));
    let info = &machine.latest().groups[&group];
    assert_eq!((&info.members, info.at, info.leaving), (&members(8), 0, false));
    let said = Command::GroupMembers { group, at: 7, members: members(5) };
    assert!(matches!(apply(&mut machine, &said), Decision::Done { .. }));
    assert_eq!(machine.latest().groups[&group].members, members(5));
}

/// Lesson 53: a group without a shard is a group like any other.
#[test]
fn there_may_be_more_groups_than_shards() {
    let mut machine = controller(2, [1, 2, 3]);
    ask(&mut machine, join([4]));
    assert!(machine.latest().moves.is_empty());
    ask(&mut machine, leave([1]));
    settle(&mut machine);
    assert_eq!(counts(machine.latest()), [(2, 1), (3, 1), (4, 0)]);
    ask(&mut machine, leave([4]));
    assert!(!machine.latest().groups.contains_key(&GroupId(4)), "what owns nothing goes at once");
}

#[test]
#[should_panic(expected = "entry 3 follows 1")]
fn an_entry_is_never_left_out() {
    let mut machine = controller(1, [1]);
    machine.skip(1);
    machine.skip(3);
}

#[test]
#[should_panic(expected = "entry 1 was validated before it was proposed")]
fn bytes_that_are_no_command_stop_the_replica() {
    controller(1, [1]).apply(1, b"\x01\xff");
}

#[test]
#[should_panic(expected = "the first configuration makes no sense: the controller is no data group")]
fn a_cluster_begins_with_sound_groups() {
    let groups = [(GroupId(0), members(1))].into();
    drop(Machine::new(4, &groups));
}

impl Machine {
    fn staying(&self) -> BTreeSet<GroupId> {
        let groups = self.latest().groups.iter();
        groups.filter(|(_, info)| !info.leaving).map(|(&group, _)| group).collect()
    }
}
