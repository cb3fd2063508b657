//! The machine: ownership, encodings, and snapshots that hold all of it.

use std::sync::Arc;

use ordeal_client::wire::{self, RefusalReason, Reply, SessionId, ShardId, Version, WriteOp, shard_of};

use super::*;
use crate::kv::Op;

const SHARDS: u32 = 4;

/// A command as it stands in the log.
type Encoded = Arc<[u8]>;

fn open(shard: u32) -> Encoded {
    Command::OpenSession { shard: ShardId(shard) }.encode()
}

fn write(session: u64, sequence: u64, key: &str, op: Op<'_>) -> Encoded {
    let (key, session, settled) = (key.as_bytes(), SessionId(session), sequence - 1);
    Command::Write { shard: shard_of(key, SHARDS), session, sequence, settled, key, op }.encode()
}

fn append(session: u64, sequence: u64, key: &str, value: &str) -> Encoded {
    write(session, sequence, key, Op::Append(value.as_bytes()))
}

/// A key of each shard.
fn key_of(shard: u32) -> String {
    let keys = (0..).map(|number| format!("key-{number}"));
    keys.into_iter().find(|key| shard_of(key.as_bytes(), SHARDS) == ShardId(shard)).expect("one hashes there")
}

fn run(machine: &mut Machine, commands: impl IntoIterator<Item = Encoded>) -> Vec<Reply> {
    let mut apply = |command| match machine.apply(machine.applied() + 1, &command) {
        Applied::Reply(reply) => reply,
        Applied::Step(_) => panic!("no step of a move is among them"),
    };
    commands.into_iter().map(&mut apply).collect()
}

fn version(index: u64) -> Version {
    Version { epoch: EPOCH_FIRST, index }
}

/// Shards 0 and 2 with keys, sessions, one remembered failure; shard 1 is owned and empty, shard 3 is not owned.
fn example() -> Machine {
    let mut machine = Machine::new(SHARDS, [0, 1, 2].map(ShardId));
    let (here, there) = (key_of(0), key_of(2));
    run(&mut machine, [open(0), open(2), append(1, 1, &here, "x"), append(2, 1, &there, "y")]);
    machine.skip(5);
    let fails = Op::Cas { expected: None, new: b"z" };
    run(&mut machine, [write(2, 2, &there, fails), append(1, 2, &here, "y")]);
    machine
}

#[test]
fn commands_reach_their_shard_or_are_refused_when_it_is_not_owned() {
    let mut machine = example();
    let foreign = key_of(3);
    let refused = Reply::Refused(RefusalReason::WrongGroup { shard: ShardId(3) });
    let replies = run(
        &mut machine,
        [
            open(3),
            append(1, 3, &foreign, "x"),
            append(1, 3, &key_of(2), "x"), // session 1 is shard 0's
            append(1, 3, &key_of(0), "z"),
            open(1),
        ],
    );
    let expected = [
        refused.clone(),
        refused.clone(),
        Reply::Refused(RefusalReason::SessionUnknown),
        Reply::Written { made: version(11), replaced: Some(version(7)) },
        Reply::SessionOpened(SessionId(12)),
    ];
    assert_eq!(replies, expected);
    assert_eq!(machine.read(foreign.as_bytes()), refused);
    assert_eq!(machine.read(key_of(0).as_bytes()), Reply::Value(Some((b"xyz".to_vec(), version(11)))));
    assert_eq!(machine.read(key_of(1).as_bytes()), Reply::Value(None));
    assert_eq!((machine.applied(), machine.keys(), machine.sessions()), (12, 2, 3));
}

#[test]
fn a_command_comes_back_equal_and_nothing_else_decodes() {
    let ops = [
        Op::Put(b"v"),
        Op::Append(b"v"),
        Op::Delete,
        Op::Cas { expected: None, new: b"new" },
        Op::Cas { expected: Some(b""), new: b"" },
    ];
    let (shard, session, key) = (ShardId(3), SessionId(7), b"k".as_slice());
    let writes = ops.map(|op| Command::Write { shard, session, sequence: 300, settled: 2, key, op });
    for command in [Command::OpenSession { shard }].iter().chain(&writes) {
        let bytes = command.encode();
        assert_eq!(Command::decode(&bytes).as_ref(), Ok(command));
        for cut in 0..bytes.len() {
            assert!(Command::decode(&bytes[..cut]).is_err(), "{command:?} cut at {cut}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(matches!(Command::decode(&longer), Err(CommandError::Payload { .. })), "{command:?}");
    }
    assert_eq!(Command::decode(&[4, 0, 3]), Err(CommandError::Version { found: 4 }));
}

/// What stands in logs on disks stays readable: a change of these bytes is a new version.
#[test]
fn the_encoding_of_version_3_is_this() {
    assert_eq!(*open(3), [3, 0, 3]);
    let (shard, session, key) = (ShardId(2), SessionId(9), b"k".as_slice());
    let encoded = |op| Command::Write { shard, session, sequence: 5, settled: 4, key, op }.encode();
    assert_eq!(*encoded(Op::Put(b"vv")), *b"\x03\x01\x02\x09\x05\x04\x01\x00\x02kvv");
    let cas = Op::Cas { expected: Some(b"old"), new: b"new" };
    assert_eq!(*encoded(cas), *b"\x03\x01\x02\x09\x05\x04\x01\x03\x01\x03\x03koldnew");
}

#[test]
#[should_panic(expected = "entry 9 follows 7")]
fn an_entry_is_never_left_out() {
    example().skip(9);
}

#[test]
#[should_panic(expected = "entry 8 was validated before it was proposed")]
fn bytes_that_are_no_command_stop_the_replica() {
    example().apply(8, &b"\x03\xff".as_slice().into());
}

#[test]
fn a_snapshot_is_all_of_the_state() {
    let machine = example();
    let mut restored = Machine::restore(&machine.snapshot()).expect("our own");
    assert_eq!(restored, machine);
    assert_eq!(restored.digest(), machine.digest());
    // What was remembered comes with it: a retry after the restore is answered, and has no effect (lesson 29).
    let mut machine = machine;
    let retry = append(1, 2, &key_of(0), "y");
    let replies = [&mut machine, &mut restored].map(|machine| run(machine, [retry.clone()]));
    assert_eq!(replies[0], [Reply::Written { made: version(7), replaced: Some(version(3)) }]);
    assert_eq!(replies[0], replies[1]);
    assert_eq!(restored, machine);
    assert_eq!(restored.read(key_of(0).as_bytes()), Reply::Value(Some((b"xy".to_vec(), version(7)))));
}

/// Lessons 15 and 29: not only that there are sessions, but all that they remember, however much is under way.
#[test]
fn a_snapshot_holds_every_reply_of_a_window() {
    let mut machine = example();
    let key = key_of(0);
    let pipelined = |sequence, tail: &str| {
        let (shard, session, op) = (ShardId(0), SessionId(1), Op::Append(tail.as_bytes()));
        Command::Write { shard, session, sequence, settled: 2, key: key.as_bytes(), op }.encode()
    };
    let writes = [pipelined(6, "6"), pipelined(3, "3"), pipelined(5, "5")];
    let replies = run(&mut machine, writes.clone());
    let mut restored = Machine::restore(&machine.snapshot()).expect("our own");
    assert_eq!(restored, machine);
    assert_eq!(run(&mut restored, writes), replies, "each has its own answer again");
    assert!(matches!(run(&mut restored, [pipelined(4, "4")])[..], [Reply::Written { .. }]));
    assert!(
        matches!(restored.read(key.as_bytes()), Reply::Value(Some((value, _))) if value == b"xy6354"),
        "and only the one that had not happened, happened"
    );
}

#[test]
fn an_empty_machine_has_a_snapshot_too() {
    let machine = Machine::new(SHARDS, [ShardId(1)]);
    assert_eq!(Machine::restore(&machine.snapshot()), Ok(machine));
}

#[test]
fn a_damaged_snapshot_is_an_error_wherever_it_is_damaged() {
    let bytes = example().snapshot();
    for cut in 0..bytes.len() {
        assert!(Machine::restore(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        // The applied index stands outside the digest; whoever installs a snapshot compares it with the entry's.
        if let Ok(machine) = Machine::restore(&damaged) {
            assert_ne!(machine.applied(), example().applied(), "byte {at} went unnoticed");
        }
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert_eq!(Machine::restore(&longer), Err(SnapshotError::Nonsense("something follows its end")));
    let newer = [&(SNAPSHOT_VERSION + 1).to_le_bytes(), &bytes[4..]].concat();
    assert_eq!(Machine::restore(&newer), Err(SnapshotError::Version { found: SNAPSHOT_VERSION + 1 }));
    assert!(bytes.len() < wire::FRAME_BYTES_MAX);
}

/// Decoding has a limit of its own, and a command that does not decode stops every replica.
#[test]
fn the_largest_write_there_is_decodes() {
    let (key, value) = (vec![7; wire::KEY_BYTES_MAX], vec![255; wire::VALUE_BYTES_MAX]);
    let op = WriteOp::Cas { expected: Some(value.clone()), new: value };
    let borrowed = Op::from(&op);
    let (session, sequence, settled) = (SessionId(u64::MAX), u64::MAX, u64::MAX);
    let body = wire::RequestBody::Write { session, sequence, settled, key: key.clone(), op: op.clone() };
    let request = wire::Request { id: u64::MAX, epoch: u64::MAX, body };
    assert_eq!(wire::decode(&wire::encode(&request)), Ok(request));
    let (shard, key, op) = (ShardId(u32::MAX), key.as_slice(), borrowed);
    let command = Command::Write { shard, session, sequence, settled, key, op };
    assert_eq!(Command::decode(&command.encode()), Ok(command));
}

#[test]
fn a_copy_stays_what_it_was_whatever_the_machine_does_next() {
    let mut machine = example();
    let (copy, before) = (machine.clone(), machine.snapshot());
    run(&mut machine, [append(1, 3, &key_of(0), "later"), open(1), open(2)]);
    assert!(machine.snapshot() != before, "the machine went on");
    assert_eq!(copy.snapshot(), before);
}
