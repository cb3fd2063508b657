//! What watchers are told of a shard: all of it, once, in order, wherever the shard is by then.

use ordeal_client::wire::txn::{Txn, TxnOp};
use ordeal_client::wire::{Change, Interest, Mark, RefusalReason, SessionId, ShardId, Version};

use super::moving::{Stage, Step};
use super::tests_moves::{
    FROM, PARCEL_BYTES, SHARD, SHARDS, TO, answer, append, keys, recipient, step, steps,
};
use super::*;
use crate::kv::Op;

const ALL: Interest = Interest::Prefix(Vec::new());

fn whole(epoch: u64, index: u64) -> Mark {
    Mark::behind(Version { epoch, index })
}

fn told(machine: &Machine, behind: Mark) -> Told {
    machine.changes(SHARD, &ALL, Some(behind), usize::MAX).expect("it is told")
}

/// What a watcher is told that asks for little at a time.
fn told_in_pieces(machine: &Machine, mut behind: Mark) -> Vec<Change> {
    let mut all = Vec::new();
    loop {
        let Told { changes, upto, .. } = machine.changes(SHARD, &ALL, Some(behind), 1).expect("it is told");
        assert!(upto > behind || changes.is_empty(), "{upto} is behind {behind}");
        assert!(changes.len() <= 1, "one byte is enough");
        behind = upto;
        if changes.is_empty() {
            return all;
        }
        all.extend(changes);
    }
}

/// Session 1, entries 2 to 6: two keys, of which the second is removed, and a transaction over three.
fn example() -> Machine {
    let mut machine = Machine::new(SHARDS, [SHARD]);
    let keys = keys();
    let write = |sequence, key: &[u8], op: Op<'_>| {
        let (session, settled) = (SessionId(1), sequence - 1);
        Command::Write { shard: SHARD, session, sequence, settled, key, op }.encode()
    };
    let put = |key: &Vec<u8>| TxnOp::Put { key: key.clone(), value: b"t".to_vec() };
    let txn = Txn { then: keys[..3].iter().map(put).collect(), ..Txn::default() };
    let txn = txn.to_bytes().expect("a good one");
    for command in [
        Command::OpenSession { shard: SHARD }.encode(),
        write(1, &keys[0], Op::Put(b"a")),
        write(2, &keys[1], Op::Append(b"b")),
        write(3, &keys[1], Op::Delete),
        write(4, &keys[0], Op::Txn(&txn)),
        // None of these changes anything.
        write(4, &keys[0], Op::Txn(&txn)),
        write(5, &keys[4], Op::Delete),
        write(6, &keys[4], Op::Cas { expected: Some(b"x"), new: b"y" }),
    ] {
        answer(&mut machine, &command);
    }
    machine
}

fn expected() -> Vec<Change> {
    let keys = keys();
    let change = |key: usize, value: Option<&str>, mark| {
        let value = value.map(|value| value.as_bytes().to_vec());
        Change { key: keys[key].clone(), value, mark }
    };
    let within = |told| Mark { version: Version { epoch: 1, index: 5 }, told };
    vec![
        change(0, Some("a"), whole(1, 2)),
        change(1, Some("b"), whole(1, 3)),
        change(1, None, whole(1, 4)),
        change(0, Some("t"), within(1)),
        change(1, Some("t"), within(2)),
        change(2, Some("t"), whole(1, 5)),
    ]
}

#[test]
fn every_change_is_told_once_and_then_how_far_nothing_happened() {
    let (machine, expected) = (example(), expected());
    let Told { changes, upto, .. } = told(&machine, Mark::BEGINNING);
    assert_eq!((&changes, upto), (&expected, whole(1, 8)));
    assert_eq!(told_in_pieces(&machine, Mark::BEGINNING), expected);
    for (at, change) in expected.iter().enumerate() {
        assert_eq!(told(&machine, change.mark).changes, expected[at + 1..], "behind {}", change.mark);
    }
    let now = machine.changes(SHARD, &ALL, None, usize::MAX).expect("it is told");
    assert_eq!((now.changes, now.upto), (vec![], whole(1, 8)));
    // Who knows more than this replica is not told less than it knows.
    let ahead = told(&machine, whole(1, 99));
    assert_eq!((ahead.changes, ahead.upto), (vec![], whole(1, 99)));
    let one = machine.changes(SHARD, &Interest::Key(keys()[1].clone()), Some(whole(1, 3)), usize::MAX);
    assert_eq!(one.expect("it is told").changes, [expected[2].clone(), expected[4].clone()]);
    let other = machine.changes(ShardId(0), &ALL, None, usize::MAX);
    assert_eq!(other, Err(RefusalReason::WrongGroup { shard: ShardId(0) }));
}

#[test]
fn a_restart_from_a_snapshot_forgets_nothing() {
    let machine = example();
    let restored = Machine::restore(&machine.snapshot()).expect("it is one");
    assert_eq!(restored, machine);
    assert_eq!(told_in_pieces(&restored, Mark::BEGINNING), expected());
}

/// Moves the shard there, in small parts.
fn hand_over(from: &mut Machine, to: &mut Machine, id: u64) {
    while let Stage::Arriving { cursor, .. } = to.stage(SHARD) {
        let parcel = from.parcel(SHARD, &cursor, PARCEL_BYTES).expect("it is leaving");
        let (bytes, is_last) = (&parcel.bytes, from.left_to_send(SHARD, &parcel.to, 1) == Some(0));
        match from.seal(SHARD).filter(|_| is_last) {
            Some(seal) => steps(to, id, &[Step::Adopt { seal, bytes }]),
            None if parcel.to == cursor => steps(from, id, &[Step::Freeze]),
            None => steps(to, id, &[Step::Parcel { bytes }]),
        }
        // A snapshot may be all that is left of either at any time.
        *to = Machine::restore(&to.snapshot()).expect("it is one");
    }
}

#[test]
fn a_watcher_goes_on_at_the_next_owner() {
    let (mut one, mut two) = (example(), recipient());
    steps(&mut one, 1, &[Step::ExportBegin { epoch: 1, to: TO }]);
    steps(&mut two, 1, &[Step::ImportBegin { epoch: 2, from: FROM }]);
    let arriving = two.changes(SHARD, &ALL, Some(Mark::BEGINNING), usize::MAX);
    assert_eq!(arriving, Err(RefusalReason::WrongGroup { shard: SHARD }), "what comes is not told yet");
    for sequence in 7..10 {
        answer(&mut one, &append(1, sequence, sequence - 1, &keys()[3], "w"));
    }
    let before = told(&one, Mark::BEGINNING).changes;
    assert_eq!(before.len(), expected().len() + 3);
    hand_over(&mut one, &mut two, 1);
    assert_eq!(two.stage(SHARD), Stage::Owned { epoch: 2 });
    let frozen = one.changes(SHARD, &ALL, Some(Mark::BEGINNING), usize::MAX);
    assert_eq!(frozen, Err(RefusalReason::Frozen { shard: SHARD }));
    answer(&mut two, &append(1, 10, 9, &keys()[3], "n"));
    let after = told_in_pieces(&two, Mark::BEGINNING);
    assert_eq!(after[..before.len()], before);
    assert_eq!(after.len(), before.len() + 1);
    assert_eq!(
        (after.last().expect("one").mark, told(&two, whole(1, 8)).upto),
        (whole(2, two.applied()), whole(2, two.applied()))
    );
    for (at, change) in after.iter().enumerate() {
        assert_eq!(told(&two, change.mark).changes, after[at + 1..], "behind {}", change.mark);
    }
    super::tests_moves::apply(&mut one, &step(1, Step::ExportDone));
    let moved = Err(RefusalReason::Moved { shard: SHARD, epoch: 2, group: TO });
    assert_eq!(one.changes(SHARD, &ALL, None, usize::MAX), moved);
}

/// While the copy is on its way the donor forgets what was sent already, and what was not: both end with the same.
#[test]
fn what_is_forgotten_on_the_way_is_told_so_at_the_next_owner() {
    let (mut one, mut two) = (example(), recipient());
    steps(&mut one, 1, &[Step::ExportBegin { epoch: 1, to: TO }]);
    steps(&mut two, 1, &[Step::ImportBegin { epoch: 2, from: FROM }]);
    let mut sequence = 6;
    let mut write = |machine: &mut Machine, times: u64| {
        for _ in 0..times {
            sequence += 1;
            let op = Op::Put(b"x");
            let (session, settled, key) = (SessionId(1), sequence - 1, &keys()[3][..]);
            answer(machine, &Command::Write { shard: SHARD, session, sequence, settled, key, op }.encode());
        }
    };
    for round in 0..100 {
        let Stage::Arriving { cursor, .. } = two.stage(SHARD) else { panic!("it is arriving") };
        let parcel = one.parcel(SHARD, &cursor, 10 * PARCEL_BYTES).expect("it is leaving");
        steps(&mut two, 1, &[Step::Parcel { bytes: &parcel.bytes }]);
        write(&mut one, if round == 50 { 9_000 } else { 1 });
    }
    hand_over(&mut one, &mut two, 1);
    assert_eq!(two.stage(SHARD), Stage::Owned { epoch: 2 });
    let compacted = two.changes(SHARD, &ALL, Some(Mark::BEGINNING), usize::MAX);
    let Err(RefusalReason::Compacted { shard: SHARD, oldest }) = compacted else { panic!("{compacted:?}") };
    let left = told(&two, oldest).changes;
    assert_eq!(left.len(), 8_192, "as many as one of two shards keeps");
    assert!(left.iter().all(|change| change.mark > oldest));
    let marks: Vec<u64> = left.iter().map(|change| change.mark.version.index).collect();
    assert!(marks.windows(2).all(|pair| pair[0] + 1 == pair[1]), "none is missing");
    assert_eq!(marks[0], oldest.version.index + 1);
    let before = Mark { version: Version { index: oldest.version.index - 1, ..oldest.version }, ..oldest };
    assert_eq!(
        two.changes(SHARD, &ALL, Some(before), 1),
        Err(RefusalReason::Compacted { shard: SHARD, oldest })
    );
}
