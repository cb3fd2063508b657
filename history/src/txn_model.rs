//! The store that the operations on a tag with transactions are compared with, and what can be said of one without its answer.

use std::collections::BTreeMap;

use crate::linear::{Model, Trace};
use crate::models::{Compare, Store, Test, Told, Txn, TxnOp};
use crate::operation::{Answer, Call, KeyTxn, KeyTxnRet, Value, Version};

/// The keys of a tag: all absent, as they are at first, or some there.
///
/// On such a tag nothing but transactions is asked: see [`HistoryError::Mixed`](crate::HistoryError::Mixed).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct TxnModel(Store<Value, Value>);

impl TxnModel {
    /// The keys that are there, each with its value.
    pub fn entries(&self) -> impl Iterator<Item = (&Value, &Value)> {
        self.0.entries()
    }
}

impl Model for TxnModel {
    type Op = Call;
    type Ret = Answer;

    fn step(&self, call: &Call, answer: Option<&Answer>) -> Option<Self> {
        let Call::Txn(txn) = call else { return None };
        let ret = match answer {
            Some(Answer::Txn(ret)) => Some(&**ret),
            Some(_) => return None,
            None => None,
        };
        self.0.step(txn, ret).map(TxnModel)
    }

    fn is_pure(call: &Call, answer: Option<&Answer>) -> bool {
        let Call::Txn(txn) = call else { return false };
        let ret = match answer {
            Some(Answer::Txn(ret)) => Some(&**ret),
            Some(_) | None => None,
        };
        Store::is_pure(txn, ret)
    }

    /// A transaction that only reads; and one that nobody can have seen. Take an order with it. On each key that it writes
    /// every other that looks at that key has told, or needs, another value than this one leaves: so none of them stands between
    /// this one and the next that writes the key without a look. What is open and needs another value does nothing there, if it does
    /// nothing else either: then it can be left out as well.
    fn is_out_of_sight(call: &Call, others: &Trace<Self>) -> bool {
        let Call::Txn(txn) = call else { return false };
        if !txn.or_else.iter().all(is_read) {
            return false;
        }
        txn.then.iter().all(|op| match op {
            TxnOp::Get(_) => true,
            TxnOp::Put(key, left) => others.iter().all(|other| {
                let ret = other.returned.as_ref().map(|(_, answer)| answer);
                cannot_have_seen(&other.op, ret, key, left)
            }),
            TxnOp::Append(..) | TxnOp::Delete(_) => false,
        })
    }

    fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }
}

fn is_read(op: &TxnOp<Value, Value>) -> bool {
    matches!(op, TxnOp::Get(_))
}

/// Whether an operation surely does nothing while a key has this value, or does not look at that key.
fn cannot_have_seen(call: &Call, answer: Option<&Answer>, key: &Value, left: &Value) -> bool {
    let Call::Txn(txn) = call else { return false };
    if !txn.keys().any(|other| other == key) {
        return true;
    }
    let needs_another = txn.compares.iter().any(|compare| {
        compare.key == *key && matches!(&compare.test, Test::Is(wanted) if wanted.as_ref() != Some(left))
    });
    match answer {
        Some(Answer::Txn(ret)) => {
            if ret.succeeded && needs_another {
                return true;
            }
            let told = before(txn, ret);
            match told.get(key) {
                Some(seen) => seen.as_ref().map(|(value, _)| value) != Some(left),
                None => is_blind_on(txn, key),
            }
        }
        Some(_) => false,
        None => {
            let is_idle_else = txn.or_else.iter().all(is_read);
            (needs_another && is_idle_else) || is_blind_on(txn, key)
        }
    }
}

/// Whether it gives a key a value without a look at the one before.
fn is_blind_on(txn: &KeyTxn, key: &Value) -> bool {
    let first = txn.then.iter().find(|op| op.key() == key);
    txn.compares.is_empty() && matches!(first, None | Some(TxnOp::Put(..) | TxnOp::Delete(_)))
}

/// A value with its version, where it was told; `None`: absent.
pub type Seen = Option<(Value, Option<Version>)>;

/// What an answered transaction told of its keys as they were before it.
pub(crate) fn before(txn: &KeyTxn, ret: &KeyTxnRet) -> BTreeMap<Value, Seen> {
    let mut written = Vec::new();
    let mut seen = BTreeMap::new();
    for (op, told) in txn.branch(ret.succeeded).iter().zip(&ret.told) {
        match told {
            Told::Value(value) if !written.contains(&op.key()) => {
                seen.entry(op.key().clone()).or_insert_with(|| value.clone());
            }
            Told::Value(_) => {}
            Told::Made(_) => written.push(op.key()),
        }
    }
    seen
}

/// What an answered transaction told of its keys as it left them.
#[must_use]
pub fn after(txn: &KeyTxn, ret: &KeyTxnRet) -> BTreeMap<Value, Seen> {
    let mut left: BTreeMap<Value, Seen> = BTreeMap::new();
    for (op, told) in txn.branch(ret.succeeded).iter().zip(&ret.told) {
        let key = op.key().clone();
        match (op, told) {
            (TxnOp::Get(_), Told::Value(value)) => {
                left.insert(key, value.clone());
            }
            (TxnOp::Put(_, value), Told::Made(version)) => {
                left.insert(key, Some((value.clone(), *version)));
            }
            (TxnOp::Delete(_), Told::Made(_)) => {
                left.insert(key, None);
            }
            // To what nobody says.
            (TxnOp::Append(..), _) | (TxnOp::Get(_) | TxnOp::Put(..) | TxnOp::Delete(_), _) => {
                left.remove(&key);
            }
        }
    }
    left
}

/// As if a transaction had given all keys the values that another left behind, whatever was there.
pub(crate) fn as_left(left: &BTreeMap<Value, Seen>) -> (Call, Answer) {
    let (mut then, mut told) = (Vec::new(), Vec::new());
    for (key, seen) in left {
        match seen {
            Some((value, version)) => {
                then.push(TxnOp::Put(key.clone(), value.clone()));
                told.push(Told::Made(*version));
            }
            None => {
                then.push(TxnOp::Delete(key.clone()));
                told.push(Told::Made(None));
            }
        }
    }
    let txn = Txn { compares: Vec::new(), then, or_else: Vec::new() };
    (Call::Txn(Box::new(txn)), Answer::Txn(Box::new(KeyTxnRet { succeeded: true, told })))
}

/// The same without compares of versions, which mean nothing where the answer that told one is forgotten. In an order of
/// the whole every compare of one that succeeded held, so the others did; one that failed did what it does else; and one that is open did
/// nothing if it failed. `None`: it may have done something.
pub(crate) fn without_versions(call: &Call, answer: Option<&Answer>) -> Option<(Call, Option<Answer>)> {
    let same = || Some((call.clone(), answer.cloned()));
    let Call::Txn(txn) = call else { return same() };
    if txn.versions().next().is_none() {
        return same();
    }
    let succeeded = match answer {
        Some(Answer::Txn(ret)) => Some(ret.succeeded),
        _ => None,
    };
    let compares = || -> Vec<Compare<Value, Value>> {
        let is_of_value = |compare: &&Compare<Value, Value>| !matches!(compare.test, Test::HasVersion(_));
        txn.compares.iter().filter(is_of_value).cloned().collect()
    };
    let done = match succeeded {
        Some(false) => {
            let ret = match answer {
                Some(Answer::Txn(ret)) => KeyTxnRet { succeeded: true, told: ret.told.clone() },
                _ => return None,
            };
            let txn = Txn { compares: Vec::new(), then: txn.or_else.clone(), or_else: Vec::new() };
            return Some((Call::Txn(Box::new(txn)), Some(Answer::Txn(Box::new(ret)))));
        }
        Some(true) => Txn { compares: compares(), then: txn.then.clone(), or_else: Vec::new() },
        None if txn.or_else.iter().all(is_read) => {
            Txn { compares: compares(), then: txn.then.clone(), or_else: Vec::new() }
        }
        None => return None,
    };
    Some((Call::Txn(Box::new(done)), answer.cloned()))
}
