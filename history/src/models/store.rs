//! A store of several keys with transactions as etcd has them: if all compares hold, then these operations, else those, at one
//! moment.
//!
//! Every write of a key makes a version of it, which is the store's to choose: greater than all versions that the key had before. It is told by
//! answers, or not. So a state knows the version of a value where an answer told it, and a compare with a version holds where
//! that is the one known. A version that nobody was told of before the transaction was called cannot be asked
//! for; whoever asks was told by an answer, and in every order that answer stands before, so that the state knows.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::Hash;

use serde::{Deserialize, Serialize};
use stateright::semantics::SequentialSpec;

use crate::linear::Model;
use crate::operation::{Value, Version};

/// The keys that are there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Store<K: Ord, V> {
    keys: BTreeMap<K, Cell<V>>,
    /// Versions that it has made of itself, as a specification: the judge takes them from answers.
    made: u64,
}

/// A value and its version, where an answer told it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Cell<V> {
    value: V,
    version: Option<Version>,
}

/// A transaction. One operation is one without compares.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Txn<K, V> {
    /// What must hold, all of it.
    pub compares: Vec<Compare<K, V>>,
    /// What is done then, in this order.
    pub then: Vec<TxnOp<K, V>>,
    /// What is done else.
    #[serde(rename = "else")]
    pub or_else: Vec<TxnOp<K, V>>,
}

/// What must hold of a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compare<K, V> {
    /// Which.
    pub key: K,
    /// What it must be.
    pub test: Test<V>,
}

/// What a key must be.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Test<V> {
    /// It has this value; `None`: it is absent.
    Is(Option<V>),
    /// It has not this value; `None`: it is there.
    IsNot(Option<V>),
    /// It has the value of this version. See the top of this module.
    HasVersion(Version),
}

/// What is done with a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TxnOp<K, V> {
    /// Read it. Answered by [`Told::Value`].
    Get(K),
    /// Give it a value. Answered by [`Told::Made`].
    Put(K, V),
    /// Add to its end; an absent one counts as empty. Answered by [`Told::Made`].
    Append(K, V),
    /// Remove it; that it is absent is no failure. Answered by [`Told::Made`], without a version.
    Delete(K),
}

/// What is answered: whether all compares held, and what came of each operation of that branch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TxnRet<V> {
    /// Whether it was `then`, and not `or_else`.
    pub succeeded: bool,
    /// In the order of the operations.
    pub told: Vec<Told<V>>,
}

/// What came of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told<V> {
    /// The value, and its version if the store tells versions; `None`: the key is absent.
    Value(Option<(V, Option<Version>)>),
    /// It was done, and made this version, if the store tells versions.
    Made(Option<Version>),
}

/// A value that can be added to.
pub trait Grows {
    /// With this at its end.
    #[must_use]
    fn grown(&self, tail: &Self) -> Self;
}

impl Grows for Value {
    fn grown(&self, tail: &Self) -> Self {
        Value::from(format!("{self}{tail}"))
    }
}

impl Grows for String {
    fn grown(&self, tail: &Self) -> Self {
        format!("{self}{tail}")
    }
}

/// A number grows by another.
impl Grows for u8 {
    fn grown(&self, tail: &Self) -> Self {
        self.wrapping_add(*tail)
    }
}

/// A number grows by another.
impl Grows for u32 {
    fn grown(&self, tail: &Self) -> Self {
        self.wrapping_add(*tail)
    }
}

impl<K, V> Txn<K, V> {
    /// One operation, whatever is there.
    pub fn of(op: TxnOp<K, V>) -> Self {
        Txn { compares: Vec::new(), then: vec![op], or_else: Vec::new() }
    }

    /// What is done if all compares hold, or if not.
    #[must_use]
    pub fn branch(&self, succeeded: bool) -> &[TxnOp<K, V>] {
        if succeeded { &self.then } else { &self.or_else }
    }

    /// Whether an answer is of its kind: something told of each operation, of a read its value.
    #[must_use]
    pub fn takes(&self, ret: &TxnRet<V>) -> bool {
        let ops = self.branch(ret.succeeded);
        let fits = |(op, told): (&TxnOp<K, V>, &Told<V>)| {
            matches!(op, TxnOp::Get(_)) == matches!(told, Told::Value(_))
        };
        ops.len() == ret.told.len() && ops.iter().zip(&ret.told).all(fits)
    }

    /// The keys that it ties together.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        let compared = self.compares.iter().map(|compare| &compare.key);
        compared.chain(self.then.iter().chain(&self.or_else).map(TxnOp::key))
    }

    /// The versions that it compares with.
    pub fn versions(&self) -> impl Iterator<Item = (&K, Version)> {
        self.compares.iter().filter_map(|compare| match compare.test {
            Test::HasVersion(version) => Some((&compare.key, version)),
            Test::Is(_) | Test::IsNot(_) => None,
        })
    }
}

impl<K, V> TxnOp<K, V> {
    /// The key that it is about.
    pub fn key(&self) -> &K {
        match self {
            TxnOp::Get(key) | TxnOp::Put(key, _) | TxnOp::Append(key, _) | TxnOp::Delete(key) => key,
        }
    }
}

impl<K: Ord, V> Default for Store<K, V> {
    fn default() -> Self {
        Store { keys: BTreeMap::new(), made: 0 }
    }
}

impl<K: Ord + Clone, V: Clone + Eq + Grows> Store<K, V> {
    /// The keys that are there, each with its value.
    pub fn entries(&self) -> impl Iterator<Item = (&K, &V)> {
        self.keys.iter().map(|(key, cell)| (key, &cell.value))
    }

    fn holds(&self, compare: &Compare<K, V>) -> bool {
        let cell = self.keys.get(&compare.key);
        let value = cell.map(|cell| &cell.value);
        match &compare.test {
            Test::Is(wanted) => value == wanted.as_ref(),
            Test::IsNot(unwanted) => value != unwanted.as_ref(),
            Test::HasVersion(version) => cell.is_some_and(|cell| cell.version == Some(*version)),
        }
    }

    fn succeeds(&self, txn: &Txn<K, V>) -> bool {
        txn.compares.iter().all(|compare| self.holds(compare))
    }

    fn next_version(&mut self) -> Option<Version> {
        self.made += 1;
        Some(Version { epoch: 0, index: self.made })
    }

    fn put(&mut self, key: &K, value: &V, version: Option<Version>) {
        self.keys.insert(key.clone(), Cell { value: value.clone(), version });
    }

    fn append(&mut self, key: &K, tail: &V, version: Option<Version>) {
        let grown = self.keys.get(key).map_or_else(|| tail.clone(), |cell| cell.value.grown(tail));
        self.put(key, &grown, version);
    }

    /// Does an operation if this can be its answer.
    fn follow(&mut self, op: &TxnOp<K, V>, told: &Told<V>) -> bool {
        match (op, told) {
            (TxnOp::Get(key), Told::Value(seen)) => match (self.keys.get_mut(key), seen) {
                (None, None) => true,
                (Some(cell), Some((value, version))) => {
                    let is_other = version.is_some() && cell.version.is_some() && *version != cell.version;
                    cell.version = cell.version.or(*version);
                    cell.value == *value && !is_other
                }
                (None, Some(_)) | (Some(_), None) => false,
            },
            (TxnOp::Put(key, value), Told::Made(version)) => {
                self.put(key, value, *version);
                true
            }
            (TxnOp::Append(key, tail), Told::Made(version)) => {
                self.append(key, tail, *version);
                true
            }
            (TxnOp::Delete(key), Told::Made(_)) => {
                self.keys.remove(key);
                true
            }
            (TxnOp::Get(_), Told::Made(_))
            | (TxnOp::Put(..) | TxnOp::Append(..) | TxnOp::Delete(_), Told::Value(_)) => false,
        }
    }
}

impl<K: Ord + Clone + Debug, V: Clone + Eq + Grows + Debug> SequentialSpec for Store<K, V> {
    type Op = Txn<K, V>;
    type Ret = TxnRet<V>;

    /// As a store that tells all versions.
    fn invoke(&mut self, txn: &Txn<K, V>) -> TxnRet<V> {
        let succeeded = self.succeeds(txn);
        let told = txn.branch(succeeded).iter().map(|op| match op {
            TxnOp::Get(key) => Told::Value(self.keys.get(key).map(|cell| (cell.value.clone(), cell.version))),
            TxnOp::Put(key, value) => {
                let version = self.next_version();
                self.put(key, value, version);
                Told::Made(version)
            }
            TxnOp::Append(key, tail) => {
                let version = self.next_version();
                self.append(key, tail, version);
                Told::Made(version)
            }
            TxnOp::Delete(key) => {
                self.keys.remove(key);
                Told::Made(None)
            }
        });
        let told = told.collect();
        TxnRet { succeeded, told }
    }

    /// Whether this can be the answer of a store that chose the versions that it tells.
    fn is_valid_step(&mut self, txn: &Txn<K, V>, ret: &TxnRet<V>) -> bool {
        let ops = txn.branch(ret.succeeded);
        self.succeeds(txn) == ret.succeeded
            && ops.len() == ret.told.len()
            && ops.iter().zip(&ret.told).all(|(op, told)| self.follow(op, told))
    }
}

impl<K, V> Model for Store<K, V>
where
    K: Ord + Clone + Hash + Debug,
    V: Clone + Eq + Hash + Debug + Grows,
{
    type Op = Txn<K, V>;
    type Ret = TxnRet<V>;

    fn step(&self, txn: &Txn<K, V>, ret: Option<&TxnRet<V>>) -> Option<Self> {
        let mut next = self.clone();
        let Some(ret) = ret else {
            // What it made nobody was told by it.
            for op in txn.branch(self.succeeds(txn)) {
                match op {
                    TxnOp::Get(_) => {}
                    TxnOp::Put(key, value) => next.put(key, value, None),
                    TxnOp::Append(key, tail) => next.append(key, tail, None),
                    TxnOp::Delete(key) => {
                        next.keys.remove(key);
                    }
                }
            }
            return Some(next);
        };
        next.is_valid_step(txn, ret).then_some(next)
    }

    /// One that only reads, and tells no version that the state may not know yet.
    fn is_pure(txn: &Txn<K, V>, ret: Option<&TxnRet<V>>) -> bool {
        let reads = |ops: &[TxnOp<K, V>]| ops.iter().all(|op| matches!(op, TxnOp::Get(_)));
        match ret {
            Some(ret) => {
                let tells = |told: &Told<V>| matches!(told, Told::Value(Some((_, Some(_)))));
                reads(txn.branch(ret.succeeded)) && !ret.told.iter().any(tells)
            }
            None => reads(&txn.then) && reads(&txn.or_else),
        }
    }

    fn heap_bytes(&self) -> usize {
        self.keys.len() * 2 * size_of::<(K, Cell<V>)>()
    }
}

/// Transactions in groups that share no key, by the place of each in the trace: those of a group must be judged together, and the
/// groups can be judged each for itself (as keys can, see [`crate::linear::Keyed`]).
#[must_use]
pub fn tied<'a, K: Ord + 'a, V: 'a>(txns: impl IntoIterator<Item = &'a Txn<K, V>>) -> Vec<Vec<usize>> {
    let mut number_of: BTreeMap<&K, usize> = BTreeMap::new();
    // Of each key another one of its group, or itself: the group's name.
    let mut parents: Vec<usize> = Vec::new();
    let mut first_key = Vec::new();
    for txn in txns {
        let mut first: Option<usize> = None;
        for key in txn.keys() {
            let number = *number_of.entry(key).or_insert_with(|| {
                parents.push(parents.len());
                parents.len() - 1
            });
            let (own, other) = (root(&mut parents, number), root(&mut parents, first.unwrap_or(number)));
            parents[own] = other;
            first = Some(number);
        }
        first_key.push(first);
    }
    let mut groups: BTreeMap<Option<usize>, Vec<usize>> = BTreeMap::new();
    for (at, first) in first_key.into_iter().enumerate() {
        // One without keys is alone: it is answered by itself.
        let group = first.map(|number| root(&mut parents, number));
        groups.entry(group).or_default().push(at);
    }
    let mut groups: Vec<Vec<usize>> = groups.into_values().collect();
    groups.sort_unstable();
    groups
}

fn root(parents: &mut [usize], number: usize) -> usize {
    let mut at = number;
    while parents[at] != at {
        parents[at] = parents[parents[at]];
        at = parents[at];
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    type Op = TxnOp<&'static str, u32>;

    fn version(index: u64) -> Version {
        Version { epoch: 1, index }
    }

    fn txn(
        compares: Vec<(&'static str, Test<u32>)>,
        then: Vec<Op>,
        or_else: Vec<Op>,
    ) -> Txn<&'static str, u32> {
        let compares = compares.into_iter().map(|(key, test)| Compare { key, test }).collect();
        Txn { compares, then, or_else }
    }

    fn done(succeeded: bool, told: Vec<Told<u32>>) -> TxnRet<u32> {
        TxnRet { succeeded, told }
    }

    #[test]
    fn one_branch_is_taken_as_a_whole() {
        let mut store = Store::default();
        let swap = txn(
            vec![("a", Test::Is(None)), ("b", Test::IsNot(Some(7)))],
            vec![Op::Put("a", 1), Op::Append("b", 2), Op::Get("a")],
            vec![Op::Append("b", 3), Op::Get("b"), Op::Delete("a")],
        );
        let first = store.invoke(&swap);
        let one = Version { epoch: 0, index: 1 };
        assert_eq!((first.succeeded, &first.told[2]), (true, &Told::Value(Some((1, Some(one))))));
        let second = store.invoke(&swap);
        let grown = Told::Value(Some((5, Some(Version { epoch: 0, index: 3 }))));
        assert_eq!((second.succeeded, &second.told[1], second.told.len()), (false, &grown, 3));
        let third = store.invoke(&txn(vec![("a", Test::Is(None))], vec![], vec![Op::Get("a")]));
        assert_eq!(third, done(true, vec![]));
    }

    /// Each case: answered so, after a put of 1 to `a` that was told to be version 1.5 (or not), it is right or not.
    #[test]
    fn versions_are_the_stores_to_choose_and_the_answers_to_tell() {
        let check = |told: Option<u64>, next: &[(Txn<&'static str, u32>, TxnRet<u32>)], expected: bool| {
            let put = Txn::of(Op::Put("a", 1));
            let ret = done(true, vec![Told::Made(told.map(version))]);
            let mut state = Store::default().step(&put, told.map(|_| &ret));
            for (txn, ret) in next {
                state = state.and_then(|state| state.step(txn, Some(ret)));
            }
            assert_eq!(state.is_some(), expected, "{told:?} {next:?}");
        };
        let has = |index: u64| txn(vec![("a", Test::HasVersion(version(index)))], vec![], vec![]);
        let get = |index: u64| {
            let seen = Told::Value(Some((1, Some(version(index)))));
            (Txn::of(Op::Get("a")), done(true, vec![seen]))
        };
        check(Some(5), &[(has(5), done(true, vec![]))], true);
        check(Some(5), &[(has(5), done(false, vec![]))], false);
        check(Some(5), &[(has(4), done(false, vec![]))], true);
        check(Some(5), &[get(5)], true);
        check(Some(5), &[get(6)], false);
        // A crashed one told nobody: the first read does.
        check(None, &[get(6), (has(6), done(true, vec![]))], true);
        check(None, &[get(6), (has(6), done(false, vec![]))], false);
        check(None, &[get(6), get(7)], false);
        check(None, &[(has(6), done(true, vec![]))], false);
    }

    #[test]
    fn keys_that_a_transaction_ties_are_judged_together() {
        let of = |keys: &[&'static str]| txn(vec![], keys.iter().map(|key| Op::Get(key)).collect(), vec![]);
        let txns =
            [of(&["a"]), of(&["b"]), of(&["c", "d"]), of(&["a", "c"]), of(&["e"]), of(&["d"]), of(&[])];
        assert_eq!(tied(&txns), [vec![0, 2, 3, 5], vec![1], vec![4], vec![6]]);
    }
}
