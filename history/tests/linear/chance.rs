//! Random histories of any model: a simulated object with random moments of effect, and answers that are changed afterwards.

use std::fmt::Debug;

use ordeal_history::linear::{Entry, Model};
use ordeal_history::model::KeyModel;
use ordeal_history::models::*;
use ordeal_history::{Answer, Call, Value, Version};
use rand::RngExt;
use rand_pcg::Pcg64;
use stateright::semantics::SequentialSpec;

/// A model that random histories can be made of.
pub trait Drawn:
    Model + SequentialSpec<Op = <Self as Model>::Op, Ret = <Self as Model>::Ret> + Debug
{
    const NAME: &'static str;

    fn initial() -> Self;

    /// Something to ask; `number` is unique in the history.
    fn op(random: &mut Pcg64, number: usize) -> <Self as Model>::Op;

    /// An answer of the right kind, mostly a wrong one.
    fn lie(random: &mut Pcg64, op: &<Self as Model>::Op, count: usize) -> <Self as Model>::Ret;
}

pub type TraceOf<M> = Vec<Entry<<M as Model>::Op, <M as Model>::Ret>>;

/// So many operations, of which some crash, and some answers are changed.
pub fn trace<M: Drawn>(random: &mut Pcg64, count: usize) -> TraceOf<M> {
    let span = [4, 10, 30, 100][random.random_range(0..4)];
    let length = [2, 8, 20][random.random_range(0..3)];
    let crashed_of_ten = random.random_range(0..6);
    let mut drafts = Vec::new();
    let mut fates = Vec::new();
    for number in 0..count {
        let called = random.random_range(0..span);
        let effect = called + random.random_range(0..length);
        let returned = effect + random.random_range(0..length);
        let is_crashed = random.random_range(0..10) < crashed_of_ten;
        let effect = match random.random_range(0..3) {
            0 if is_crashed => None,
            1 if is_crashed => Some(effect + random.random_range(0..span)),
            _ => Some(effect),
        };
        let entry: Entry<<M as Model>::Op, <M as Model>::Ret> =
            Entry { op: M::op(random, number), called, returned: None };
        drafts.push((effect, entry));
        fates.push((!is_crashed).then_some(returned));
    }
    let mut order: Vec<(u64, u32, usize)> = drafts
        .iter()
        .enumerate()
        .filter_map(|(at, (effect, _))| Some(((*effect)?, random.random(), at)))
        .collect();
    order.sort_unstable();
    let mut state = M::initial();
    for (_, _, at) in order {
        let ret = state.invoke(&drafts[at].1.op);
        drafts[at].1.returned = fates[at].map(|time| (time, ret));
    }
    let mut trace: TraceOf<M> = drafts.into_iter().map(|(_, entry)| entry).collect();
    for _ in 0..random.random_range(0..4) {
        let at = random.random_range(0..count);
        let lie = M::lie(random, &trace[at].op, count);
        if let Some((_, ret)) = &mut trace[at].returned {
            *ret = lie;
        }
    }
    trace
}

impl Drawn for Register<u8> {
    const NAME: &'static str = "register";

    fn initial() -> Self {
        Register(0)
    }

    fn op(random: &mut Pcg64, _number: usize) -> RegisterOp<u8> {
        if random.random_bool(0.5) { RegisterOp::Read } else { RegisterOp::Write(random.random_range(0..4)) }
    }

    fn lie(random: &mut Pcg64, op: &RegisterOp<u8>, _count: usize) -> RegisterRet<u8> {
        match op {
            RegisterOp::Read => RegisterRet::Value(random.random_range(0..4)),
            RegisterOp::Write(_) | RegisterOp::Cas(..) => RegisterRet::Done,
        }
    }
}

/// The register with all that it can do: [`Register`] again, under another name for another mix.
impl Drawn for Register<u16> {
    const NAME: &'static str = "cas-register";

    fn initial() -> Self {
        Register(0)
    }

    fn op(random: &mut Pcg64, _number: usize) -> RegisterOp<u16> {
        match random.random_range(0..3) {
            0 => RegisterOp::Read,
            1 => RegisterOp::Write(random.random_range(0..4)),
            _ => RegisterOp::Cas(random.random_range(0..4), random.random_range(0..4)),
        }
    }

    fn lie(random: &mut Pcg64, op: &RegisterOp<u16>, _count: usize) -> RegisterRet<u16> {
        match op {
            RegisterOp::Read => RegisterRet::Value(random.random_range(0..4)),
            RegisterOp::Cas(..) if random.random_bool(0.5) => RegisterRet::Refused,
            RegisterOp::Write(_) | RegisterOp::Cas(..) => RegisterRet::Done,
        }
    }
}

impl Drawn for KeyModel {
    const NAME: &'static str = "key-value";

    fn initial() -> Self {
        KeyModel::default()
    }

    fn op(random: &mut Pcg64, _number: usize) -> Call {
        let value = |random: &mut Pcg64| Value::from(["a", "b", "ab"][random.random_range(0..3)]);
        match random.random_range(0..10) {
            0..4 => Call::Read,
            4..6 => Call::Write(value(random)),
            6..8 => Call::Append(value(random)),
            8 => Call::Delete,
            _ => Call::Cas { expected: random.random_bool(0.8).then(|| value(random)), new: value(random) },
        }
    }

    fn lie(random: &mut Pcg64, op: &Call, _count: usize) -> Answer {
        let value = ["a", "b", "ab", "ba", "aab"][random.random_range(0..5)];
        let value = random.random_bool(0.8).then(|| Value::from(value));
        match op {
            Call::Read => Answer::Value(value),
            Call::Write(_) | Call::Append(_) | Call::Delete => Answer::Done,
            Call::Cas { .. } => match random.random_range(0..3) {
                0 => Answer::CasDone,
                1 => Answer::CasFailedAbsent,
                _ => Answer::CasFailed(value),
            },
            Call::Txn(_) => panic!("a key has none"),
        }
    }
}

impl Drawn for List<u8> {
    const NAME: &'static str = "list";

    fn initial() -> Self {
        List::default()
    }

    fn op(random: &mut Pcg64, _number: usize) -> ListOp<u8> {
        if random.random_bool(0.5) { ListOp::Read } else { ListOp::Append(random.random_range(0..4)) }
    }

    fn lie(random: &mut Pcg64, op: &ListOp<u8>, _count: usize) -> ListRet<u8> {
        match op {
            ListOp::Read => {
                let count = random.random_range(0..4);
                ListRet::All((0..count).map(|_| random.random_range(0..4)).collect())
            }
            ListOp::Append(_) => ListRet::Done,
        }
    }
}

impl Drawn for Set<u8> {
    const NAME: &'static str = "set";

    fn initial() -> Self {
        Set::default()
    }

    fn op(random: &mut Pcg64, _number: usize) -> SetOp<u8> {
        let element = random.random_range(0..3);
        match random.random_range(0..5) {
            0 | 1 => SetOp::Add(element),
            2 => SetOp::Remove(element),
            3 => SetOp::Contains(element),
            _ => SetOp::Read,
        }
    }

    fn lie(random: &mut Pcg64, op: &SetOp<u8>, _count: usize) -> SetRet<u8> {
        match op {
            SetOp::Add(_) | SetOp::Remove(_) => SetRet::Done,
            SetOp::Contains(_) => SetRet::Has(random.random_bool(0.5)),
            SetOp::Read => SetRet::All((0..3).filter(|_| random.random_bool(0.5)).collect()),
        }
    }
}

impl Drawn for Counter {
    const NAME: &'static str = "counter";

    fn initial() -> Self {
        Counter(0)
    }

    fn op(random: &mut Pcg64, _number: usize) -> CounterOp {
        if random.random_bool(0.5) { CounterOp::Read } else { CounterOp::Add(random.random_range(-1..3)) }
    }

    fn lie(random: &mut Pcg64, op: &CounterOp, _count: usize) -> CounterRet {
        match op {
            CounterOp::Read => CounterRet::Sum(random.random_range(-1..6)),
            CounterOp::Add(_) => CounterRet::Done,
        }
    }
}

impl Drawn for Queue<u8> {
    const NAME: &'static str = "queue";

    fn initial() -> Self {
        Queue::default()
    }

    fn op(random: &mut Pcg64, _number: usize) -> QueueOp<u8> {
        if random.random_bool(0.5) { QueueOp::Dequeue } else { QueueOp::Enqueue(random.random_range(0..4)) }
    }

    fn lie(random: &mut Pcg64, op: &QueueOp<u8>, _count: usize) -> QueueRet<u8> {
        match op {
            QueueOp::Dequeue => QueueRet::Taken(random.random_bool(0.8).then(|| random.random_range(0..4))),
            QueueOp::Enqueue(_) => QueueRet::Done,
        }
    }
}

impl Drawn for Lock {
    const NAME: &'static str = "lock";

    fn initial() -> Self {
        Lock::default()
    }

    fn op(random: &mut Pcg64, _number: usize) -> LockOp {
        let client = random.random_range(0..2);
        if random.random_bool(0.5) { LockOp::Acquire(client) } else { LockOp::Release(client) }
    }

    fn lie(random: &mut Pcg64, op: &LockOp, _count: usize) -> LockRet {
        match op {
            LockOp::Acquire(_) => match random.random_range(0..4) {
                0 => LockRet::Refused,
                1 => LockRet::Done,
                _ => LockRet::Granted(random.random_range(0..6)),
            },
            LockOp::Release(_) if random.random_bool(0.5) => LockRet::Refused,
            LockOp::Release(_) => LockRet::Done,
        }
    }
}

impl Drawn for Bank {
    const NAME: &'static str = "bank";

    fn initial() -> Self {
        Bank(vec![2, 1])
    }

    fn op(random: &mut Pcg64, _number: usize) -> BankOp {
        if random.random_bool(0.5) {
            return BankOp::Read;
        }
        let from = random.random_range(0..2);
        BankOp::Transfer { from, to: 1 - from, amount: random.random_range(0..3) }
    }

    fn lie(random: &mut Pcg64, op: &BankOp, _count: usize) -> BankRet {
        match op {
            BankOp::Read => {
                let first = random.random_range(0..4);
                BankRet::Balances(vec![first, 3 - first])
            }
            BankOp::Transfer { .. } if random.random_bool(0.5) => BankRet::Refused,
            BankOp::Transfer { .. } => BankRet::Done,
        }
    }
}

impl Drawn for Store<u8, u8> {
    const NAME: &'static str = "store";

    fn initial() -> Self {
        Store::default()
    }

    fn op(random: &mut Pcg64, _number: usize) -> Txn<u8, u8> {
        let op = |random: &mut Pcg64| {
            let key = random.random_range(0..2);
            match random.random_range(0..7) {
                0 | 1 => TxnOp::Get(key),
                2 => TxnOp::Delete(key),
                3 => TxnOp::Append(key, random.random_range(0..2)),
                _ => TxnOp::Put(key, random.random_range(0..2)),
            }
        };
        let compare = |random: &mut Pcg64| {
            let value = random.random_bool(0.7).then(|| random.random_range(0..2));
            let test = match random.random_range(0..3) {
                0 => Test::Is(value),
                1 => Test::IsNot(value),
                _ => Test::HasVersion(Version { epoch: 0, index: random.random_range(1..5) }),
            };
            Compare { key: random.random_range(0..2), test }
        };
        let some = |random: &mut Pcg64, most: usize| random.random_range(0..=most);
        Txn {
            compares: (0..some(random, 2)).map(|_| compare(random)).collect(),
            then: (0..some(random, 2)).map(|_| op(random)).collect(),
            or_else: (0..some(random, 1)).map(|_| op(random)).collect(),
        }
    }

    /// Half of them tell no versions, as some stores do.
    fn lie(random: &mut Pcg64, txn: &Txn<u8, u8>, _count: usize) -> TxnRet<u8> {
        let succeeded = random.random_bool(0.5);
        let tells_versions = random.random_bool(0.5);
        let version = |random: &mut Pcg64| {
            tells_versions.then(|| Version { epoch: 0, index: random.random_range(1..5) })
        };
        let ops = if succeeded { &txn.then } else { &txn.or_else };
        let told = ops.iter().map(|op| match op {
            TxnOp::Get(_) => {
                Told::Value(random.random_bool(0.7).then(|| (random.random_range(0..2), version(random))))
            }
            TxnOp::Put(..) | TxnOp::Append(..) => Told::Made(version(random)),
            TxnOp::Delete(_) => Told::Made(None),
        });
        let told = told.collect();
        TxnRet { succeeded, told }
    }
}
