//! What is refused, with its reason, and changes nothing.

use ordeal_client::wire::{
    ADDRESS_BYTES_MAX, AdminChange, Decision, GROUPS_MAX, GroupId, MEMBERS_MAX, Members, NodeId, Objection,
    ShardId,
};

use super::tests::{
    admin, ask, cancel, controller, counts, create, join, leave, members, move_to, refused, settle,
};
use super::*;

/// "Bad input … clear errors, nothing changed."
#[test]
fn what_makes_no_sense_is_refused() {
    let mut machine = controller(4, [1, 2]);
    ask(&mut machine, join([3]));
    ask(&mut machine, leave([2]));
    let one = |group, members: Members| AdminChange::Join([(GroupId(group), members)].into());
    let member = |node, address: &str| -> Members { [(NodeId(node), address.to_owned())].into() };
    let (long, n9) = ("x".repeat(ADDRESS_BYTES_MAX + 1), NodeId(9));
    let address = |bytes| {
        let limit = ADDRESS_BYTES_MAX as u64;
        Objection::Address { group: GroupId(9), node: NodeId(40), bytes, limit }
    };
    let odd = |members| Objection::Members { group: GroupId(9), members, limit: MEMBERS_MAX as u64 };
    let many = (1..).map(|node| (NodeId(node), "x:1".to_owned())).take(MEMBERS_MAX + 1).collect();
    let two = |group, other| Objection::TwoAddresses {
        node: n9,
        group: GroupId(group),
        address: "elsewhere:1".to_owned(),
        other: GroupId(other),
        elsewhere: "n9.test:4000".to_owned(),
    };
    let both = [(GroupId(8), member(40, "a:1")), (GroupId(9), member(40, "b:1"))].into();
    let there = |group| Objection::GroupThere { group: GroupId(group) };
    let unknown = |group| Objection::GroupUnknown { group: GroupId(group) };
    let leaving = Objection::GroupLeaving { group: GroupId(2) };
    let far = Objection::ShardUnknown { shard: ShardId(4), shards: 4 };
    let cases = [
        (join([]), Objection::NoGroup),
        (join([1]), there(1)),
        (join([9, 3]), there(3)),
        (one(0, members(9)), Objection::Controller),
        (one(9, Members::new()), odd(0)),
        (one(9, many), odd(MEMBERS_MAX as u64 + 1)),
        (one(9, member(0, "a:1")), odd(1)),
        (one(9, member(40, "")), address(0)),
        (one(9, member(40, &long)), address(ADDRESS_BYTES_MAX as u64 + 1)),
        (one(9, member(9, "elsewhere:1")), two(9, 3)),
        (leave([]), Objection::NoGroup),
        (leave([9]), unknown(9)),
        (leave([2]), leaving.clone()),
        (leave([1, 3]), Objection::LastGroup),
        (move_to(4, 1), far.clone()),
        (move_to(0, 9), unknown(9)),
        (move_to(0, 2), leaving),
        (move_to(0, 0), unknown(0)),
        (cancel(4), far),
    ];
    for (change, expected) in cases {
        assert_eq!(refused(&mut machine, change.clone()), expected, "{change:?}");
    }
    let refused = refused(&mut machine, AdminChange::Join(both));
    assert!(matches!(refused, Objection::TwoAddresses { node: NodeId(40), .. }), "{refused}");
    // A node may belong to several groups, if it is in one place; and a group that comes back may be elsewhere.
    ask(&mut machine, one(9, members(3)));
    ask(&mut machine, one(2, member(4, "elsewhere:1")));
}

/// Of each number there is one group, ever: also of one that has left, and of one that began with the cluster.
#[test]
fn a_group_is_made_once() {
    let mut machine = controller(8, [1, 2]);
    let there = |group| Objection::GroupThere { group: GroupId(group) };
    let was_there = |group| Objection::GroupWasThere { group: GroupId(group) };
    ask(&mut machine, create([3, 4]));
    assert_eq!(counts(machine.latest()), [(1, 4), (2, 4), (3, 0), (4, 0)]);
    settle(&mut machine);
    assert_eq!(counts(machine.latest()), [(1, 2), (2, 2), (3, 2), (4, 2)]);
    assert_eq!(machine.created()[&GroupId(4)].members, members(4));
    assert_eq!(machine.created()[&GroupId(4)].directories.len(), 3);
    let groups = [(GroupId(0), members(1))].into();
    let zero = AdminChange::Create { groups, directories: [].into() };
    for (change, expected) in [
        (create([]), Objection::NoGroup),
        (zero, Objection::Controller),
        (create([1]), there(1)),
        (create([3]), there(3)),
        (create([5, 4]), there(4)),
    ] {
        assert_eq!(refused(&mut machine, change.clone()), expected, "{change:?}");
    }
    ask(&mut machine, leave([2, 4]));
    assert_eq!(refused(&mut machine, create([4])), was_there(4), "while it leaves");
    settle(&mut machine);
    let restored = Machine::restore(&machine.snapshot()).expect("our own");
    assert_eq!(restored.created(), machine.created());
    for mut machine in [machine, restored] {
        assert_eq!(refused(&mut machine, create([4])), was_there(4));
        assert_eq!(refused(&mut machine, create([2])), was_there(2));
        assert_eq!(machine.created().len(), 2);
        ask(&mut machine, join([2, 4]));
    }
}

/// Who made it has a number for ever, and its members keep its log.
#[test]
fn groups_that_left_count_when_one_is_made() {
    let mut machine = controller(4, [1]);
    ask(&mut machine, create(2..=GROUPS_MAX));
    settle(&mut machine);
    ask(&mut machine, leave(2..=GROUPS_MAX));
    settle(&mut machine);
    let limit = Objection::TooManyGroups { limit: GROUPS_MAX };
    assert_eq!(refused(&mut machine, create([GROUPS_MAX + 1])), limit);
}

#[test]
fn there_are_so_many_groups_at_most() {
    let mut machine = controller(4, [1]);
    let limit = Objection::TooManyGroups { limit: GROUPS_MAX };
    assert_eq!(refused(&mut machine, join(2..=GROUPS_MAX + 1)), limit);
    ask(&mut machine, join(2..=GROUPS_MAX));
    assert_eq!(refused(&mut machine, join([GROUPS_MAX + 1])), limit);
}

#[test]
fn a_full_history_takes_no_more_changes_of_administrators_and_ends_moves() {
    let mut machine = controller(4, [1]);
    ask(&mut machine, join([2]));
    machine.history.fill(HISTORY_BYTES_MAX);
    let full = Objection::HistoryFull { limit: HISTORY_BYTES_MAX as u64 };
    assert_eq!(refused(&mut machine, join([3])), full);
    assert_eq!(
        admin(&mut machine, 1_001, 1, join([2])),
        Decision::Done { number: 2 },
        "what is done stays so"
    );
    settle(&mut machine);
    assert_eq!(counts(machine.latest()), [(1, 2), (2, 2)]);
}
