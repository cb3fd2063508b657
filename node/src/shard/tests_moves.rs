//! Moves of shards, told as stories of single steps. `tests_moves_writes` writes meanwhile, `tests_moves_random` plays them
//! at random.

use std::sync::Arc;

use ordeal_client::wire::{GroupId, MoveId, RefusalReason, Reply, SessionId, ShardId, Version, shard_of};

use super::moving::{Cursor, Fate, Stage, Step};
use super::*;
use crate::kv::{Op, SESSIONS_MAX};

pub(super) const SHARDS: u32 = 2;
pub(super) const SHARD: ShardId = ShardId(1);

/// Parcels so small that a shard of a few keys takes many.
pub(super) const PARCEL_BYTES: usize = 100;

/// A command as it stands in the log.
pub(super) type Encoded = Arc<[u8]>;

pub(super) fn step(id: u64, step: Step<'_>) -> Encoded {
    Command::Move { shard: SHARD, id: MoveId(id), step }.encode()
}

pub(super) fn apply(machine: &mut Machine, command: &Encoded) -> Applied {
    machine.apply(machine.applied() + 1, command)
}

pub(super) fn steps(machine: &mut Machine, id: u64, steps: &[Step<'_>]) {
    for &one in steps {
        apply(machine, &step(id, one));
    }
}

pub(super) fn answer(machine: &mut Machine, command: &Encoded) -> Reply {
    match apply(machine, command) {
        Applied::Reply(reply) => reply,
        Applied::Step(_) => panic!("a client is answered"),
    }
}

/// Keys of the shard that moves.
pub(super) fn keys() -> Vec<Vec<u8>> {
    let all = (0..).map(|number| format!("key-{number}").into_bytes());
    all.filter(|key| shard_of(key, SHARDS) == SHARD).take(12).collect()
}

pub(super) fn append(session: u64, sequence: u64, settled: u64, key: &[u8], tail: &str) -> Encoded {
    let (session, op) = (SessionId(session), Op::Append(tail.as_bytes()));
    Command::Write { shard: SHARD, session, sequence, settled, key, op }.encode()
}

fn donor() -> Machine {
    let mut machine = Machine::new(SHARDS, [SHARD]);
    answer(&mut machine, &Command::OpenSession { shard: SHARD }.encode());
    for (number, key) in (1..).zip(&keys()) {
        answer(&mut machine, &append(1, number, number - 1, key, "x"));
    }
    machine
}

pub(super) fn recipient() -> Machine {
    let mut machine = Machine::new(SHARDS, [ShardId(0)]);
    (1..=100).for_each(|index| machine.skip(index));
    machine
}

pub(super) const TO: GroupId = GroupId(2);
pub(super) const FROM: GroupId = GroupId(1);

/// Sends what there is to send until nothing is left.
fn copy(from: &Machine, to: &mut Machine, id: u64) {
    while let Stage::Arriving { cursor, .. } = to.stage(SHARD) {
        let parcel = from.parcel(SHARD, &cursor, PARCEL_BYTES).expect("it is leaving");
        if parcel.to == cursor {
            return;
        }
        steps(to, id, &[Step::Parcel { bytes: &parcel.bytes }]);
    }
}

fn adopt(from: &Machine, to: &mut Machine, id: u64) {
    copy(from, to, id);
    let Stage::Arriving { cursor, .. } = to.stage(SHARD) else { panic!("it is arriving") };
    let parcel = from.parcel(SHARD, &cursor, PARCEL_BYTES).expect("it is frozen");
    let seal = from.seal(SHARD).expect("it is frozen");
    steps(to, id, &[Step::Adopt { seal, bytes: &parcel.bytes }]);
}

#[test]
fn a_shard_moves_with_its_sessions_and_versions_go_on_growing() {
    let (mut one, mut two) = (donor(), recipient());
    let key = &keys()[0];
    steps(&mut one, 1, &[Step::ExportBegin { epoch: 1, to: TO }]);
    steps(&mut two, 1, &[Step::ImportBegin { epoch: 2, from: FROM }]);
    copy(&one, &mut two, 1);
    // Written while it is copied: its answer comes along, however late.
    let late = append(1, 13, 12, key, "y");
    let written = answer(&mut one, &late);
    let Reply::Written { made, replaced } = written else { panic!("it is served") };
    assert!(replaced < Some(made));
    steps(&mut one, 1, &[Step::Freeze]);
    let frozen = Reply::Refused(RefusalReason::Frozen { shard: SHARD });
    assert_eq!([answer(&mut one, &late), one.read(key)], [frozen.clone(), frozen]);
    adopt(&one, &mut two, 1);
    assert_eq!(two.stage(SHARD), Stage::Owned { epoch: 2 });
    assert_eq!(answer(&mut two, &late), written, "a retry at the new owner is answered as before");
    let next = answer(&mut two, &append(1, 14, 13, key, "z"));
    let version = Version { epoch: 2, index: two.applied() };
    assert_eq!(next, Reply::Written { made: version, replaced: Some(made) });
    assert_eq!(two.read(key), Reply::Value(Some((b"xyz".to_vec(), version))));
    let Reply::SessionOpened(other) = answer(&mut two, &Command::OpenSession { shard: SHARD }.encode())
    else {
        panic!("sessions are opened here now")
    };
    assert_ne!(other, SessionId(1), "a log that counts otherwise names no session twice");
    steps(&mut one, 1, &[Step::ExportDone]);
    assert_eq!(one.stage(SHARD), Stage::Away { epoch: 2, to: TO });
    let moved = Reply::Refused(RefusalReason::Moved { shard: SHARD, epoch: 2, group: TO });
    assert_eq!([answer(&mut one, &late), one.read(key)], [moved.clone(), moved]);
    assert_eq!((one.keys(), two.keys()), (0, 12));
}

#[test]
fn a_move_that_was_called_off_begins_never_again() {
    let (mut one, mut two) = (donor(), recipient());
    let begin = Step::ExportBegin { epoch: 1, to: TO };
    steps(&mut one, 1, &[begin, Step::ExportCancel, begin]);
    assert_eq!(one.stage(SHARD), Stage::Owned { epoch: 1 });
    steps(&mut two, 1, &[Step::Refuse { epoch: 2 }, Step::ImportBegin { epoch: 2, from: FROM }]);
    assert_eq!((two.stage(SHARD), two.fate(SHARD, MoveId(1), 2)), (Stage::Absent, Fate::Refused));
    // The next one does, and is not called off any more once it is frozen.
    steps(&mut one, 2, &[begin, Step::Freeze, Step::ExportCancel, Step::Unfreeze]);
    assert_eq!(one.stage(SHARD), Stage::Owned { epoch: 1 });
    steps(&mut two, 2, &[Step::ImportBegin { epoch: 2, from: FROM }]);
    assert!(matches!(two.stage(SHARD), Stage::Arriving { id: MoveId(2), .. }));
    steps(&mut one, 3, &[Step::ExportBegin { epoch: 2, to: TO }]);
    assert_eq!(one.stage(SHARD), Stage::Owned { epoch: 1 }, "of another epoch");
    // Neither end of a frozen shard is one of a shard that is still served.
    steps(&mut one, 3, &[begin, Step::ExportDone, Step::Unfreeze]);
    assert_eq!(one.stage(SHARD), Stage::Leaving { epoch: 1, id: MoveId(3), to: TO });
}

/// A table of sessions is what was used since some moment: those that expired while they were copied stay behind.
#[test]
fn sessions_that_expire_on_the_way_do_not_arrive() {
    let (mut one, mut two) = (donor(), recipient());
    let open = Command::OpenSession { shard: SHARD }.encode();
    while one.sessions() < SESSIONS_MAX {
        answer(&mut one, &open);
    }
    steps(&mut one, 1, &[Step::ExportBegin { epoch: 1, to: TO }]);
    steps(&mut two, 1, &[Step::ImportBegin { epoch: 2, from: FROM }]);
    copy(&one, &mut two, 1);
    (0..5).for_each(|_| drop(answer(&mut one, &open)));
    let late = append(1, 13, 12, &keys()[0], "y");
    assert_eq!(answer(&mut one, &late), Reply::Refused(RefusalReason::SessionUnknown), "it has expired");
    steps(&mut one, 1, &[Step::Freeze]);
    adopt(&one, &mut two, 1);
    assert_eq!((two.stage(SHARD), two.sessions()), (Stage::Owned { epoch: 2 }, SESSIONS_MAX));
    assert_eq!(answer(&mut two, &late), Reply::Refused(RefusalReason::SessionUnknown));
}

#[test]
fn the_recipient_decides_once() {
    let (mut one, mut two) = (donor(), recipient());
    steps(&mut one, 1, &[Step::ExportBegin { epoch: 1, to: TO }]);
    steps(&mut two, 1, &[Step::ImportBegin { epoch: 2, from: FROM }]);
    steps(&mut one, 1, &[Step::Freeze]);
    let mut refused = two.clone();
    adopt(&one, &mut two, 1);
    steps(&mut two, 1, &[Step::Refuse { epoch: 2 }]);
    assert_eq!((two.stage(SHARD), two.fate(SHARD, MoveId(1), 2)), (Stage::Owned { epoch: 2 }, Fate::Adopted));
    copy(&one, &mut refused, 1);
    let Stage::Arriving { cursor, .. } = refused.stage(SHARD) else { panic!("it is arriving") };
    let last = one.parcel(SHARD, &cursor, PARCEL_BYTES).expect("it is frozen");
    let seal = one.seal(SHARD).expect("it is frozen");
    steps(&mut refused, 1, &[Step::Refuse { epoch: 2 }, Step::Adopt { seal, bytes: &last.bytes }]);
    assert_eq!((refused.stage(SHARD), refused.fate(SHARD, MoveId(1), 2)), (Stage::Absent, Fate::Refused));
}

#[test]
fn what_is_not_what_was_frozen_is_refused() {
    for wrong in 0..4 {
        let (mut one, mut two) = (donor(), recipient());
        steps(&mut one, 1, &[Step::ExportBegin { epoch: 1, to: TO }, Step::Freeze]);
        steps(&mut two, 1, &[Step::ImportBegin { epoch: 2, from: FROM }]);
        copy(&one, &mut two, 1);
        let Stage::Arriving { cursor, .. } = two.stage(SHARD) else { panic!("it is arriving") };
        let last = one.parcel(SHARD, &cursor, PARCEL_BYTES).expect("it is frozen");
        let mut seal = one.seal(SHARD).expect("it is frozen");
        match wrong {
            0 => seal.digest ^= 1,
            1 => seal.keys -= 1,
            2 => seal.oldest_use = u64::MAX,
            _ => {}
        }
        steps(&mut two, 1, &[Step::Adopt { seal, bytes: &last.bytes }]);
        let fate = if wrong < 3 { Fate::Refused } else { Fate::Adopted };
        assert_eq!(two.fate(SHARD, MoveId(1), 2), fate, "{wrong}");
    }
}

/// As one that stands still, a machine amid moves comes back from its snapshot, and from nothing else.
#[test]
fn a_damaged_snapshot_of_a_move_is_an_error() {
    let (mut one, mut two) = (donor(), recipient());
    steps(&mut one, 1, &[Step::ExportBegin { epoch: 1, to: TO }, Step::ExportCancel]);
    steps(&mut one, 2, &[Step::ExportBegin { epoch: 1, to: TO }]);
    answer(&mut one, &append(1, 13, 12, &keys()[0], "y"));
    steps(&mut one, 2, &[Step::Freeze]);
    steps(&mut two, 2, &[Step::ImportBegin { epoch: 2, from: FROM }]);
    copy(&one, &mut two, 2);
    let mut three = one.clone();
    steps(&mut three, 2, &[Step::ExportDone]);
    for machine in [one, two, three] {
        let bytes = machine.snapshot();
        assert_eq!(Machine::restore(&bytes), Ok(machine.clone()));
        for cut in 0..bytes.len() {
            assert!(Machine::restore(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            if let Ok(restored) = Machine::restore(&damaged) {
                assert_ne!(restored.applied(), machine.applied(), "byte {at} went unnoticed");
            }
        }
    }
}

#[test]
fn a_parcel_that_is_none_is_told_from_one() {
    let mut one = donor();
    steps(&mut one, 1, &[Step::ExportBegin { epoch: 1, to: TO }]);
    let parcel = one.parcel(SHARD, &Cursor::START, PARCEL_BYTES).expect("it is leaving").bytes;
    assert!(super::import::Contents::read(&parcel, SHARD, SHARDS).is_ok());
    for cut in 0..parcel.len() {
        assert!(super::import::Contents::read(&parcel[..cut], SHARD, SHARDS).is_err(), "cut at {cut}");
    }
    assert!(super::import::Contents::read(&parcel, ShardId(0), SHARDS).is_err(), "keys of another shard");
}
