//! Moves of a shard that clients write to in every way meanwhile, whose sessions are longer than a parcel; and what was said of a move,
//! said once more when it is over.

use ordeal_client::wire::txn::{Txn, TxnOp};
use ordeal_client::wire::{FRAME_BYTES_MAX, MoveId, RefusalReason, Reply, SessionId, VALUE_BYTES_MAX};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;

use super::moving::{Cursor, Fate, Part, Stage, Step};
use super::tests_clients::Clients;
use super::tests_moves::{
    Encoded, FROM, PARCEL_BYTES, SHARD, SHARDS, TO, answer, append, apply, keys, recipient, step, steps,
};
use super::*;
use crate::kv::Op;

/// A part came, and ends within a session.
fn is_cut(to: &Cursor) -> [bool; 2] {
    [
        matches!(to, Cursor::Sessions { after: Some((_, Some(_))) }),
        matches!(to, Cursor::Changes { part: Some(Part::Session { .. }), .. }),
    ]
}

/// Whenever the shard is frozen: amid its items, its sessions, or its changes.
#[test]
fn whatever_is_written_meanwhile_arrives_and_is_answered_again() {
    let (mut cut, mut changed) = ([0, 0], 0);
    for seed in 0..60 {
        let mut chance = Pcg32::seed_from_u64(seed);
        let (mut one, mut two) = (Machine::new(SHARDS, [SHARD]), recipient());
        let mut clients = Clients::new(3, 40, keys(), SHARDS);
        let ask = |clients: &mut Clients, machine: &mut Machine, chance: &mut Pcg32| {
            clients.ask(chance.random_range(0..clients.count()), machine, chance);
        };
        (0..200).for_each(|_| ask(&mut clients, &mut one, &mut chance));
        steps(&mut one, 1, &[Step::ExportBegin { epoch: 1, to: TO }]);
        steps(&mut two, 1, &[Step::ImportBegin { epoch: 2, from: FROM }]);
        let bytes_max = PARCEL_BYTES * chance.random_range(1..10);
        let freeze = chance.random_range(0..120);
        for round in 0.. {
            let Stage::Arriving { cursor, .. } = two.stage(SHARD) else { break };
            if round == freeze {
                steps(&mut one, 1, &[Step::Freeze]);
            }
            ask(&mut clients, &mut one, &mut chance);
            let parcel = one.parcel(SHARD, &cursor, bytes_max).expect("it is leaving");
            for (count, cut) in cut.iter_mut().zip(is_cut(&parcel.to)) {
                *count += u32::from(cut);
            }
            changed += u32::from(matches!(parcel.to, Cursor::Changes { .. }));
            let (bytes, seal) = (&parcel.bytes, one.seal(SHARD));
            let is_last = one.left_to_send(SHARD, &parcel.to, 1) == Some(0);
            let last = seal.filter(|_| is_last).map(|seal| Step::Adopt { seal, bytes });
            steps(&mut two, 1, &[last.unwrap_or(Step::Parcel { bytes })]);
        }
        assert_eq!(two.stage(SHARD), Stage::Owned { epoch: 2 }, "seed {seed}");
        clients.ask_again(&mut one);
        clients.ask_again(&mut two);
        steps(&mut one, 1, &[Step::ExportDone]);
        clients.ask_again(&mut one);
        (0..50).for_each(|_| ask(&mut clients, &mut two, &mut chance));
    }
    assert!(
        cut[0] > 300 && cut[1] > 1_000 && changed > 2_000,
        "{cut:?} sessions cut, {changed} parcels of changes"
    );
}

/// An entry may change more than a frame holds: appends to many long values.
#[test]
fn what_one_entry_changed_is_cut_where_a_part_is_full() {
    let (mut one, mut two) = (Machine::new(SHARDS, [SHARD]), recipient());
    answer(&mut one, &Command::OpenSession { shard: SHARD }.encode());
    let write = |sequence, key: &[u8], op| {
        let (session, settled) = (SessionId(1), 0);
        Command::Write { shard: SHARD, session, sequence, settled, key, op }.encode()
    };
    let long = vec![7; VALUE_BYTES_MAX - 1];
    for (sequence, key) in (1..).zip(&keys()) {
        answer(&mut one, &write(sequence, key, Op::Put(&long)));
    }
    steps(&mut one, 1, &[Step::ExportBegin { epoch: 1, to: TO }]);
    steps(&mut two, 1, &[Step::ImportBegin { epoch: 2, from: FROM }]);
    let append = |key: &Vec<u8>| TxnOp::Append { key: key.clone(), tail: b"x".to_vec() };
    let txn = Txn { then: keys().iter().map(append).collect(), ..Txn::default() };
    let bytes = txn.to_bytes().expect("a good one");
    let all = write(99, &keys()[0], Op::Txn(&bytes));
    let first = answer(&mut one, &all);
    steps(&mut one, 1, &[Step::Freeze]);
    let mut parts = 0;
    while let Stage::Arriving { cursor, .. } = two.stage(SHARD) {
        let parcel = one.parcel(SHARD, &cursor, 256 << 10).expect("it is frozen");
        assert!(parcel.bytes.len() < FRAME_BYTES_MAX - 1_000, "{} bytes", parcel.bytes.len());
        parts += u32::from(matches!(parcel.to, Cursor::Changes { .. }));
        let (bytes, seal) = (&parcel.bytes, one.seal(SHARD).expect("it is frozen"));
        let is_last = one.left_to_send(SHARD, &parcel.to, 1) == Some(0);
        steps(&mut two, 1, &[if is_last { Step::Adopt { seal, bytes } } else { Step::Parcel { bytes } }]);
    }
    // Of what the history has of it, 4 MiB are kept.
    assert_eq!((two.stage(SHARD), parts), (Stage::Owned { epoch: 2 }, 13 + 3));
    assert_eq!(answer(&mut two, &all), first);
}

/// Two groups, and all steps that each of them has heard.
struct Two {
    groups: [Machine; 2],
    heard: [Vec<Encoded>; 2],
}

impl Two {
    fn say(&mut self, to: usize, id: u64, one: Step<'_>) {
        let command = step(id, one);
        apply(&mut self.groups[to], &command);
        self.heard[to].push(command);
    }

    /// Moves the shard to the other group, which will own it in this epoch.
    fn move_to(&mut self, to: usize, id: u64, epoch: u64) {
        let (from, group) = (1 - to, |place: usize| [FROM, TO][place]);
        self.say(from, id, Step::ExportBegin { epoch: epoch - 1, to: group(to) });
        self.say(to, id, Step::ImportBegin { epoch, from: group(from) });
        self.say(from, id, Step::Freeze);
        while let Stage::Arriving { cursor, .. } = self.groups[to].stage(SHARD) {
            let parcel = self.groups[from].parcel(SHARD, &cursor, PARCEL_BYTES).expect("it is frozen");
            let left = self.groups[from].left_to_send(SHARD, &parcel.to, 1).expect("it is frozen");
            let (bytes, seal) = (&parcel.bytes, self.groups[from].seal(SHARD).expect("it is frozen"));
            self.say(to, id, if left == 0 { Step::Adopt { seal, bytes } } else { Step::Parcel { bytes } });
        }
        self.say(from, id, Step::ExportDone);
        assert_eq!(self.groups[to].stage(SHARD), Stage::Owned { epoch });
    }

    /// Nothing that was ever said does anything any more: not in its order, and not step by step.
    fn hear_all_again(&mut self) {
        for (machine, heard) in self.groups.iter_mut().zip(&self.heard) {
            let before = (machine.digest(), machine.stage(SHARD));
            for command in heard.iter().chain(heard.iter().rev()) {
                apply(machine, command);
                assert_eq!(
                    (machine.digest(), machine.stage(SHARD)),
                    before,
                    "{:?}",
                    Command::decode(command)
                );
            }
        }
    }
}

/// A shard comes back, and copies of all that moved it away come late.
#[test]
fn what_was_said_of_a_move_does_nothing_when_it_is_over() {
    let mut chance = Pcg32::seed_from_u64(1);
    let mut clients = Clients::new(2, 10, keys(), SHARDS);
    let mut two =
        Two { groups: [Machine::new(SHARDS, [SHARD]), recipient()], heard: [Vec::new(), Vec::new()] };
    for id in 1..=4 {
        let to = usize::try_from(id % 2).expect("0 or 1");
        (0..60).for_each(|_| clients.ask(0, &mut two.groups[1 - to], &mut chance));
        two.move_to(to, id, id + 1);
        two.hear_all_again();
        (0..60).for_each(|_| clients.ask(1, &mut two.groups[to], &mut chance));
        two.hear_all_again();
        two.groups.iter_mut().for_each(|group| clients.ask_again(group));
    }
}

/// Until all of it is there the recipient serves nothing; a part that comes out of its turn is not taken.
#[test]
fn parts_are_taken_in_their_turn_and_nothing_is_served_before_the_last() {
    let (mut one, mut two) = (Machine::new(SHARDS, [SHARD]), recipient());
    let mut clients = Clients::new(1, 40, keys(), SHARDS);
    let mut chance = Pcg32::seed_from_u64(1);
    (0..100).for_each(|_| clients.ask(0, &mut one, &mut chance));
    steps(&mut one, 1, &[Step::ExportBegin { epoch: 1, to: TO }, Step::Freeze]);
    steps(&mut two, 1, &[Step::ImportBegin { epoch: 2, from: FROM }]);
    let (seal, mut at, mut parts) = (one.seal(SHARD).expect("it is frozen"), Cursor::START, Vec::new());
    loop {
        let parcel = one.parcel(SHARD, &at, PARCEL_BYTES).expect("it is frozen");
        at = parcel.to.clone();
        parts.push(parcel);
        if one.left_to_send(SHARD, &at, 1) == Some(0) {
            break;
        }
    }
    let wrong = Reply::Refused(RefusalReason::WrongGroup { shard: SHARD });
    for (number, part) in parts.iter().enumerate() {
        let before = two.digest();
        for other in parts.iter().filter(|other| *other != part) {
            let bytes = &other.bytes;
            steps(&mut two, 1, &[Step::Parcel { bytes }, Step::Adopt { seal, bytes }]);
        }
        steps(&mut two, 1, &[Step::ImportBegin { epoch: 2, from: FROM }]);
        assert_eq!(two.digest(), before, "only part {number} has its turn");
        let write = append(1, 100, 0, &keys()[0], "x");
        assert_eq!([answer(&mut two, &write), two.read(&keys()[0])], [wrong.clone(), wrong.clone()]);
        assert_eq!(two.fate(SHARD, MoveId(1), 2), Fate::Open);
        let bytes = &part.bytes;
        let is_last = number + 1 == parts.len();
        steps(&mut two, 1, &[if is_last { Step::Adopt { seal, bytes } } else { Step::Parcel { bytes } }]);
    }
    assert_eq!(two.stage(SHARD), Stage::Owned { epoch: 2 });
    clients.ask_again(&mut two);
}
