//! Clients for tests of moves: they write in every way that there is, have many writes under way, write again what they may, and
//! know what each write must answer, whichever group it comes to.

use std::collections::BTreeMap;
use std::sync::Arc;

use ordeal_client::wire::txn::{Compare, Operand, Relation, Txn, TxnOp, TxnResult};
use ordeal_client::wire::{RefusalReason, Reply, SessionId, ShardId, Version, WriteOp, shard_of};
use rand::RngExt;
use rand_pcg::Pcg32;

use super::moving::Stage;
use super::*;
use crate::kv::Op;

/// Settled writes of which copies may still come.
const LATE_MAX: usize = 40;

/// Clients, and what their writes have made of the keys.
pub(crate) struct Clients {
    shards: u32,
    keys: Vec<Vec<u8>>,
    clients: Vec<BTreeMap<ShardId, Session>>,
    /// So many writes of a session are not settled, at most.
    unsettled_max: usize,
    truth: BTreeMap<Vec<u8>, (Vec<u8>, Version)>,
    /// Settled writes, and what they were answered.
    late: Vec<(Arc<[u8]>, Reply)>,
    /// Makes values unique.
    asked: u64,
}

/// A client's session in one shard.
struct Session {
    id: SessionId,
    settled: u64,
    unsettled: BTreeMap<u64, Write>,
}

/// A write that is not settled.
struct Write {
    key: Vec<u8>,
    op: WriteOp,
    /// What it was answered when it took effect, if it has.
    first: Option<Reply>,
}

impl Session {
    fn command(&self, shard: ShardId, sequence: u64) -> Arc<[u8]> {
        let Write { key, op, .. } = &self.unsettled[&sequence];
        let (session, settled, op) = (self.id, self.settled, Op::from(op));
        Command::Write { shard, session, sequence, settled, key, op }.encode()
    }
}

impl Clients {
    pub(crate) fn new(count: usize, unsettled_max: usize, keys: Vec<Vec<u8>>, shards: u32) -> Self {
        let clients = (0..count).map(|_| BTreeMap::new()).collect();
        Clients { shards, keys, clients, unsettled_max, truth: BTreeMap::new(), late: Vec::new(), asked: 0 }
    }

    pub(crate) fn count(&self) -> usize {
        self.clients.len()
    }

    /// A client asks this group for something.
    pub(crate) fn ask(&mut self, which: usize, machine: &mut Machine, chance: &mut Pcg32) {
        self.asked += 1;
        if !self.late.is_empty() && chance.random_range(0..8) == 0 {
            let which = chance.random_range(0..self.late.len());
            return self.ask_late(which, machine);
        }
        let key = self.keys[chance.random_range(0..self.keys.len())].clone();
        let shard = shard_of(&key, self.shards);
        if !self.clients[which].contains_key(&shard) {
            return self.open(which, shard, machine);
        }
        let sequence = self.sequence(which, &key, chance);
        self.write(which, shard, sequence, machine);
    }

    /// Every write that may be asked for again, is, and so is every key.
    pub(crate) fn ask_again(&mut self, machine: &mut Machine) {
        for which in 0..self.clients.len() {
            let all = self.clients[which].iter().flat_map(|(&shard, session)| {
                session.unsettled.keys().map(move |&sequence| (shard, sequence))
            });
            for (shard, sequence) in all.collect::<Vec<_>>() {
                self.write(which, shard, sequence, machine);
            }
        }
        (0..self.late.len()).for_each(|which| self.ask_late(which, machine));
        (0..self.keys.len()).for_each(|which| self.read(&self.keys[which], machine));
    }

    /// A key is, at a group that answers, what the writes have made of it.
    pub(crate) fn read(&self, key: &[u8], machine: &Machine) {
        let reply = machine.read(key);
        if !is_elsewhere(&reply) {
            assert_eq!(reply, Reply::Value(self.truth.get(key).cloned()), "{}", key.escape_ascii());
        }
    }

    pub(crate) fn keys(&self) -> &[Vec<u8>] {
        &self.keys
    }

    fn open(&mut self, which: usize, shard: ShardId, machine: &mut Machine) {
        let Reply::SessionOpened(id) = answer(machine, &Command::OpenSession { shard }.encode()) else {
            return;
        };
        let taken = self.clients.iter().filter_map(|client| client.get(&shard)).any(|other| other.id == id);
        assert!(!taken, "a session of that name is another client's");
        self.clients[which].insert(shard, Session { id, settled: 0, unsettled: BTreeMap::new() });
    }

    /// The sequence number of a new write, or of one that may be asked for again.
    fn sequence(&mut self, which: usize, key: &[u8], chance: &mut Pcg32) -> u64 {
        let shard = shard_of(key, self.shards);
        let op = self.op(key, chance);
        let session = self.clients[which].get_mut(&shard).expect("it was opened");
        let is_full = session.unsettled.len() >= self.unsettled_max;
        if is_full || chance.random_range(0..16) == 0 {
            while let Some((&oldest, Write { first: Some(first), .. })) = session.unsettled.first_key_value()
            {
                self.late.push((session.command(shard, oldest), first.clone()));
                session.settled = oldest;
                session.unsettled.pop_first();
            }
            self.late.drain(..self.late.len().saturating_sub(LATE_MAX));
        }
        let again = session.unsettled.len();
        if again >= self.unsettled_max || (again > 0 && chance.random_range(0..2) == 0) {
            let place = chance.random_range(0..again);
            return *session.unsettled.keys().nth(place).expect("one of them");
        }
        let next = session.unsettled.last_key_value().map_or(session.settled, |(&last, _)| last) + 1;
        session.unsettled.insert(next, Write { key: key.to_vec(), op, first: None });
        next
    }

    fn op(&self, key: &[u8], chance: &mut Pcg32) -> WriteOp {
        let new = format!("<{}>", self.asked).into_bytes();
        match chance.random_range(0..10) {
            0..3 => WriteOp::Append(new),
            3 => WriteOp::Put(new),
            4..6 => WriteOp::Delete,
            6 => {
                let there = self.truth.get(key).map(|(value, _)| value.clone());
                WriteOp::Cas { expected: there.filter(|_| chance.random_range(0..3) > 0), new }
            }
            _ => WriteOp::Txn(self.txn(key, new, chance).to_bytes().expect("a good one")),
        }
    }

    /// Compares a key, and writes it and another one of its shard.
    fn txn(&self, key: &[u8], new: Vec<u8>, chance: &mut Pcg32) -> Txn {
        let shard = shard_of(key, self.shards);
        let others = self.keys.iter().filter(|other| shard_of(other, self.shards) == shard && *other != key);
        let others: Vec<_> = others.collect();
        let (key, other) = (key.to_vec(), others[chance.random_range(0..others.len())].clone());
        let there = self.truth.get(&key);
        let with = match chance.random_range(0..4) {
            0 => Operand::Value(there.map(|(value, _)| value.clone())),
            1 => Operand::Version(there.map(|(_, version)| *version)),
            2 => Operand::Value(Some(new.clone())),
            _ => Operand::Version(None),
        };
        let relation = [Relation::Equal, Relation::NotEqual, Relation::Less][chance.random_range(0..3)];
        Txn {
            compares: vec![Compare { key: key.clone(), relation, with }],
            then: vec![
                TxnOp::Append { key: key.clone(), tail: new.clone() },
                TxnOp::Get { key: key.clone() },
                TxnOp::Delete { key: other.clone() },
            ],
            otherwise: vec![TxnOp::Put { key: other.clone(), value: new }, TxnOp::Get { key: other }],
        }
    }

    /// Asks for a write, for the first time or again.
    fn write(&mut self, which: usize, shard: ShardId, sequence: u64, machine: &mut Machine) {
        let command = self.clients[which][&shard].command(shard, sequence);
        let reply = answer(machine, &command);
        if is_elsewhere(&reply) {
            return;
        }
        let session = self.clients[which].get_mut(&shard).expect("it was opened");
        let write = session.unsettled.get_mut(&sequence).expect("it is not settled");
        if let Some(first) = &write.first {
            assert_eq!(*first, reply, "a retry is answered as the first time");
            return;
        }
        let (Stage::Owned { epoch } | Stage::Leaving { epoch, .. }) = machine.stage(shard) else {
            panic!("who does not serve {shard} has answered {reply:?}")
        };
        let made = Version { epoch, index: machine.applied() };
        write.first = Some(reply.clone());
        let expected = effect(&mut self.truth, &write.key, &write.op, made);
        assert_eq!(reply, expected, "it took effect just now, on what was there");
    }

    /// A copy of a settled write does nothing any more.
    fn ask_late(&mut self, which: usize, machine: &mut Machine) {
        let (command, first) = &self.late[which];
        let reply = answer(machine, command);
        let past = Reply::Refused(RefusalReason::SequencePast);
        assert!(is_elsewhere(&reply) || reply == past || reply == *first, "{reply:?} after {first:?}");
    }
}

fn answer(machine: &mut Machine, command: &Arc<[u8]>) -> Reply {
    match machine.apply(machine.applied() + 1, command) {
        Applied::Reply(reply) => reply,
        Applied::Step(_) => panic!("a client is answered"),
    }
}

fn is_elsewhere(reply: &Reply) -> bool {
    use RefusalReason::{Frozen, Moved, WrongGroup};
    matches!(reply, Reply::Refused(Frozen { .. } | Moved { .. } | WrongGroup { .. }))
}

/// What a write does and answers, put as simply as can be.
fn effect(
    truth: &mut BTreeMap<Vec<u8>, (Vec<u8>, Version)>,
    key: &[u8],
    op: &WriteOp,
    made: Version,
) -> Reply {
    let found = truth.get(key).cloned();
    let replaced = found.as_ref().map(|(_, version)| *version);
    let after = match op {
        WriteOp::Put(value) => value.clone(),
        WriteOp::Append(tail) => [found.map_or(Vec::new(), |(value, _)| value), tail.clone()].concat(),
        WriteOp::Delete => {
            truth.remove(key);
            return Reply::Written { made, replaced };
        }
        WriteOp::Cas { expected, new } => {
            if found.as_ref().map(|(value, _)| value) != expected.as_ref() {
                return Reply::CasFailed { found };
            }
            new.clone()
        }
        WriteOp::Txn(bytes) => return transact(truth, &Txn::from_bytes(bytes).expect("a good one"), made),
    };
    truth.insert(key.to_vec(), (after, made));
    Reply::Written { made, replaced }
}

fn transact(truth: &mut BTreeMap<Vec<u8>, (Vec<u8>, Version)>, txn: &Txn, made: Version) -> Reply {
    let holds = |compare: &Compare| {
        let there = truth.get(&compare.key);
        let order = match &compare.with {
            Operand::Value(given) => there.map(|(value, _)| value).cmp(&given.as_ref()),
            Operand::Version(given) => there.map(|(_, version)| *version).cmp(given),
        };
        match compare.relation {
            Relation::Equal => order.is_eq(),
            Relation::NotEqual => order.is_ne(),
            Relation::Less => order.is_lt(),
            Relation::Greater => order.is_gt(),
        }
    };
    let succeeded = txn.compares.iter().all(holds);
    let mut one = |op: &TxnOp| {
        let write = match op {
            TxnOp::Get { key } => return TxnResult::Value(truth.get(key).cloned()),
            TxnOp::Put { value, .. } => WriteOp::Put(value.clone()),
            TxnOp::Append { tail, .. } => WriteOp::Append(tail.clone()),
            TxnOp::Delete { .. } => WriteOp::Delete,
        };
        match effect(truth, op.key(), &write, made) {
            Reply::Written { replaced, .. } => TxnResult::Written { replaced },
            other => panic!("{other:?} to a plain write"),
        }
    };
    let results = if succeeded { &txn.then } else { &txn.otherwise }.iter().map(&mut one).collect();
    Reply::Txn { succeeded, made, results }
}
