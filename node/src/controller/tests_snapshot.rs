//! Bytes: commands and snapshots come back equal, and damage is an error wherever it is.

use ordeal_client::wire::{
    ADDRESS_BYTES_MAX, AdminChange, CommandId, DirectoryId, GROUPS_MAX, GroupId, MEMBERS_MAX, Members,
    MoveEnd, MoveId, NodeId, SHARDS_MAX, ShardId,
};

use super::tests::{admin, apply, ask, controller, create, end, join, leave, members, move_to, settle};
use super::*;

/// Groups that came, are leaving and went; moves that ended either way, are open, and are unwanted; members that changed.
fn example() -> Machine {
    let mut machine = controller(5, [1, 2]);
    ask(&mut machine, join([3]));
    end(&mut machine, ShardId(0), MoveId(1), MoveEnd::Cancelled);
    settle(&mut machine);
    ask(&mut machine, leave([2]));
    apply(&mut machine, &Command::GroupMembers { group: GroupId(1), at: 4, members: members(6) });
    let (&shard, open) = machine.latest().moves.first_key_value().expect("one");
    let other = if open.to == GroupId(1) { 3 } else { 1 };
    ask(&mut machine, move_to(shard.0, other));
    ask(&mut machine, create([7]));
    machine.skip(machine.applied() + 1);
    machine
}

fn commands() -> [Command; 7] {
    let (id, base, shard) = (CommandId(u64::MAX), 300, ShardId(4));
    let asked = |change| Command::Admin { id, base, change };
    [
        asked(join([1, 2])),
        asked(create([5])),
        asked(leave([3, 4])),
        asked(move_to(3, 2)),
        asked(AdminChange::CancelMove { shard }),
        Command::GroupMembers { group: GroupId(2), at: 7, members: members(2) },
        Command::MoveEnd { shard, id: MoveId(9), end: MoveEnd::Adopted },
    ]
}

#[test]
fn a_command_comes_back_equal_and_nothing_else_decodes() {
    for command in commands() {
        let bytes = command.encode();
        assert_eq!(Command::decode(&bytes).as_ref(), Ok(&command));
        for cut in 0..bytes.len() {
            assert!(Command::decode(&bytes[..cut]).is_err(), "{command:?} cut at {cut}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(matches!(Command::decode(&longer), Err(CommandError::Body(_))), "{command:?}");
    }
    assert_eq!(Command::decode(&[2, 0, 3]), Err(CommandError::Version { found: 2 }));
    assert_eq!(Command::decode(&[]), Err(CommandError::Empty));
}

/// What stands in logs on disks stays readable: a change of these bytes is a new version.
#[test]
fn the_encoding_of_version_1_is_this() {
    let asked = |change| Command::Admin { id: CommandId(7), base: 5, change }.encode();
    let member: Members = [(NodeId(4), "a:1".to_owned())].into();
    assert_eq!(
        *asked(AdminChange::Join([(GroupId(2), member.clone())].into())),
        *b"\x01\0\x07\x05\0\x01\x02\x01\x04\x03a:1"
    );
    assert_eq!(*asked(leave([2, 3])), *b"\x01\0\x07\x05\x01\x02\x02\x03");
    assert_eq!(*asked(move_to(3, 2)), *b"\x01\0\x07\x05\x02\x03\x02");
    assert_eq!(*asked(AdminChange::CancelMove { shard: ShardId(3) }), *b"\x01\0\x07\x05\x03\x03");
    let groups = [(GroupId(2), member.clone())].into();
    let directories = [(NodeId(4), DirectoryId(6))].into();
    assert_eq!(
        *asked(AdminChange::Create { groups, directories }),
        *b"\x01\0\x07\x05\x04\x01\x02\x01\x04\x03a:1\x01\x04\x06"
    );
    let said = Command::GroupMembers { group: GroupId(2), at: 9, members: member };
    assert_eq!(*said.encode(), *b"\x01\x01\x02\x09\x01\x04\x03a:1");
    let ended = Command::MoveEnd { shard: ShardId(3), id: MoveId(8), end: MoveEnd::Cancelled };
    assert_eq!(*ended.encode(), *b"\x01\x02\x03\x08\x01");
}

/// Decoding has a limit of its own, and a command that does not decode stops every replica.
#[test]
fn the_largest_command_there_is_decodes_and_a_longer_one_does_not() {
    let largest = |address: usize| {
        let member = |node| (NodeId(u32::MAX - node), "x".repeat(address));
        let all = |_| (0..).map(member).take(MEMBERS_MAX).collect::<Members>();
        let groups = (0..GROUPS_MAX).map(|group| (GroupId(u32::MAX - group), all(group)));
        let directories = (0..GROUPS_MAX * u32::try_from(MEMBERS_MAX).expect("a few"))
            .map(|node| (NodeId(u32::MAX - node), DirectoryId(u64::MAX)))
            .collect();
        let change = AdminChange::Create { groups: groups.collect(), directories };
        Command::Admin { id: CommandId(u64::MAX), base: u64::MAX, change }
    };
    let command = largest(ADDRESS_BYTES_MAX);
    assert_eq!(Command::decode(&command.encode()), Ok(command));
    let bytes = largest(2 * ADDRESS_BYTES_MAX).encode();
    assert_eq!(Command::decode(&bytes), Err(CommandError::TooLong { bytes: bytes.len() }));
}

/// Lessons 47 and 55: the whole of it, with what was answered to whom.
#[test]
fn a_snapshot_is_all_of_the_state() {
    for machine in [example(), controller(1, [1])] {
        let restored = Machine::restore(&machine.snapshot()).expect("our own");
        assert_eq!(restored, machine);
        assert_eq!(restored.digest(), machine.digest());
        assert_eq!(restored.snapshot(), machine.snapshot());
    }
}

#[test]
fn a_damaged_snapshot_is_an_error_wherever_it_is_damaged() {
    let bytes = example().snapshot();
    for cut in 0..bytes.len() {
        assert!(Machine::restore(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    for bit in 0..8 * bytes.len() {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(Machine::restore(&damaged).is_err(), "bit {bit} went unnoticed");
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert_eq!(Machine::restore(&longer), Err(SnapshotError::Nonsense("something follows its end")));
    let newer = [&(SNAPSHOT_VERSION + 1).to_le_bytes(), &bytes[4..]].concat();
    assert_eq!(Machine::restore(&newer), Err(SnapshotError::Version { found: SNAPSHOT_VERSION + 1 }));
}

/// Each replica must reach the same bytes from the same log, whatever its machine, its build and its life before: lesson 40.
/// Another number here is another effect of commands, so another version of them.
#[test]
fn what_commands_do_in_version_1_is_this() {
    let mut machine = controller(64, [1, 2, 3]);
    for round in 0..20_u32 {
        let number = machine.latest().number;
        let changes =
            [join([4 + round % 5, 9 + round % 3]), leave([4 + round % 5]), move_to(round, 1 + round % 3)];
        for (at, change) in (0..).zip(changes) {
            admin(&mut machine, u64::from(10 * round + at), number, change.clone());
            let newest = machine.latest().number;
            admin(&mut machine, u64::from(10 * round + 5 + at), newest, change);
        }
        let open: Vec<_> = machine.latest().moves.iter().map(|(&shard, open)| (shard, open.id)).collect();
        for (shard, id) in open {
            let how = if id.0 % 3 == 0 { MoveEnd::Cancelled } else { MoveEnd::Adopted };
            end(&mut machine, shard, id, how);
        }
    }
    assert_eq!((machine.latest().number, machine.digest()), (157, 10_543_800_358_894_645_366));
}

/// A cluster of the largest size keeps what it does small: a step is what it changes.
#[test]
fn a_number_costs_what_it_changes() {
    let mut machine = controller(SHARDS_MAX, 1..=8);
    let before = machine.snapshot().len();
    for round in 0..100 {
        ask(&mut machine, move_to(round, 1 + (round + 1) % 8));
        let (&shard, open) = machine.latest().moves.first_key_value().expect("one");
        let id = open.id;
        end(&mut machine, shard, id, MoveEnd::Adopted);
    }
    let step = (machine.snapshot().len() - before) / 200;
    assert!(step < 64, "{step} bytes a number");
}
