//! Names for what is wrong with transactions on a tag. Each name is given only where it is a proof: where it fits, no order
//! explains the history, or the versions that the server told cannot all be true (versions of a key grow with each write).
//!
//! A tag is a **bank** where its transactions say so: some put a whole number on each of several accounts if one is absent, always
//! with one sum; all others that write put on accounts, whose values they compare, values of the same sum. Then every
//! look at all accounts finds that sum.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::models::{Compare, Test, Told, Txn, TxnOp};
use crate::name_values::Name;
use crate::operation::{Answer, Call, KeyTxn, KeyTxnRet, Operation, Value, Version};
use crate::report::AnomalyKind;
use crate::txn_model::{Seen, after, before};
use crate::txn_words::sight;
use crate::txns;
use crate::words::{from_node, moment, span};

/// Why nothing can be said of a key, if so.
pub(crate) fn undecidable(operations: &[&Operation]) -> Option<String> {
    let txns: Vec<(&Operation, &KeyTxn)> =
        operations.iter().filter_map(|op| Some((*op, txn_of(op)?))).collect();
    let first = txns.first()?;
    if txns.len() < operations.len() {
        return Some(format!("{} has transactions, and other operations beside them", first.0.key));
    }
    let trace = txns.iter().filter(|(operation, _)| !operation.is_failed());
    let at = txns::unfounded(trace.clone().map(|&(operation, txn)| {
        let ret = operation.answered_ns().zip(ret_of(operation));
        (txn, operation.invoked_ns, ret)
    }))?;
    let (operation, _) = trace.clone().nth(at)?;
    Some(format!("no answer had told the version that the transaction {} compares with", operation.id))
}

fn txn_of(operation: &Operation) -> Option<&KeyTxn> {
    match &operation.call {
        Call::Txn(txn) => Some(txn),
        Call::Read | Call::Write(_) | Call::Append(_) | Call::Cas { .. } | Call::Delete => None,
    }
}

fn ret_of(operation: &Operation) -> Option<&KeyTxnRet> {
    match operation.answer()? {
        Answer::Txn(ret) => Some(ret),
        Answer::Value(_)
        | Answer::Done
        | Answer::CasDone
        | Answer::CasFailed(_)
        | Answer::CasFailedAbsent => None,
    }
}

/// What is wrong with the answer of `culprit`, if it has a name.
pub(crate) fn name<'a>(operations: &[&'a Operation], culprit: &'a Operation) -> Option<Name<'a>> {
    Facts::of(operations).name(culprit)
}

/// Answers that are wrong by their names, in the order of their returns: each with the operation that has it.
pub(crate) fn broken<'a>(operations: &[&'a Operation]) -> Vec<(&'a Operation, Name<'a>)> {
    let facts = Facts::of(operations);
    let mut answered: Vec<&Operation> =
        operations.iter().copied().filter(|operation| ret_of(operation).is_some()).collect();
    answered.sort_by_key(|operation| (operation.answered_ns(), operation.id));
    answered.into_iter().filter_map(|operation| Some((operation, facts.name(operation)?))).collect()
}

/// What the answers on a tag say together.
struct Facts<'a> {
    /// Who made each version of each key; the first to say so.
    makers: HashMap<(&'a Value, Version), &'a Operation>,
    /// Of each key: the returns of those that made a version, ascending, and the highest version until then with its maker.
    made_by: HashMap<&'a Value, Vec<(u64, Version, &'a Operation)>>,
    /// Values that somebody may have put; `None`: appends may have made others.
    put: Option<HashSet<(&'a Value, &'a Value)>>,
    /// Who was the first to be done because of a version, and overwrote it.
    used: HashMap<(&'a Value, Version), &'a Operation>,
    /// Whether nobody deletes.
    is_kept: bool,
    bank: Option<Bank<'a>>,
}

/// Below every version: that of an absent key.
const ABSENT: Version = Version { epoch: 0, index: 0 };

impl<'a> Facts<'a> {
    fn of(operations: &[&'a Operation]) -> Facts<'a> {
        let mut facts = Facts {
            makers: HashMap::new(),
            made_by: HashMap::new(),
            put: Some(HashSet::new()),
            used: HashMap::new(),
            is_kept: true,
            bank: Bank::of(operations),
        };
        let mut counted: Vec<(&'a Operation, &'a KeyTxn)> = operations
            .iter()
            .filter(|op| !op.is_failed())
            .filter_map(|op| Some((*op, txn_of(op)?)))
            .collect();
        counted.sort_by_key(|(operation, _)| (operation.answered_ns().unwrap_or(u64::MAX), operation.id));
        for (operation, txn) in counted {
            facts.note_put(txn);
            if let Some(ret) = ret_of(operation) {
                facts.note_made(operation, txn, ret);
            }
        }
        facts
    }

    fn note_put(&mut self, txn: &'a KeyTxn) {
        for op in txn.then.iter().chain(&txn.or_else) {
            match op {
                TxnOp::Get(_) => {}
                TxnOp::Delete(_) => self.is_kept = false,
                TxnOp::Put(key, value) => {
                    self.put.as_mut().map(|put| put.insert((key, value)));
                }
                TxnOp::Append(..) => self.put = None,
            }
        }
    }

    fn note_made(&mut self, operation: &'a Operation, txn: &'a KeyTxn, ret: &'a KeyTxnRet) {
        let Some(ns) = operation.answered_ns() else { return };
        for (key, version) in made(txn, ret) {
            self.makers.entry((key, version)).or_insert(operation);
            let until = self.made_by.entry(key).or_default();
            let highest = until.last().copied().filter(|(_, highest, _)| *highest > version);
            let (version, operation) =
                highest.map_or((version, operation), |(_, version, operation)| (version, operation));
            until.push((ns, version, operation));
        }
        for (key, version) in used(txn, ret) {
            self.used.entry((key, version)).or_insert(operation);
        }
    }

    fn name(&self, culprit: &'a Operation) -> Option<Name<'a>> {
        let (txn, ret) = (txn_of(culprit)?, ret_of(culprit)?);
        let seen = before(txn, ret);
        contradicts_itself(culprit, txn, ret, &seen)
            .or_else(|| self.wrong_total(culprit, txn, ret, &seen))
            .or_else(|| self.torn(culprit, &seen))
            .or_else(|| self.phantom(culprit, &seen))
            .or_else(|| self.made_twice(culprit, txn, ret))
            .or_else(|| self.used_twice(culprit, txn, ret))
            .or_else(|| self.stale(culprit, txn, ret, &seen))
    }

    /// All accounts were seen, and hold another sum.
    fn wrong_total(
        &self,
        culprit: &'a Operation,
        txn: &KeyTxn,
        ret: &KeyTxnRet,
        seen: &BTreeMap<Value, Seen>,
    ) -> Option<Name<'a>> {
        let bank = self.bank.as_ref()?;
        let sum = bank.sum(seen).or_else(|| bank.sum(&after(txn, ret))).filter(|sum| *sum != bank.total)?;
        let torn = self.half_seen(seen);
        let half = torn.as_ref().map_or_else(String::new, |half| format!("; {}", half.words()));
        let sentence = format!(
            "wrong total: the bank {} holds {sum} instead of {}, {}{half}",
            culprit.key,
            bank.total,
            sight(culprit),
        );
        Some((AnomalyKind::WrongTotal, sentence, torn.map(|half| half.maker).into_iter().collect()))
    }

    /// One write of a transaction was seen and another of it was not.
    fn torn(&self, culprit: &'a Operation, seen: &BTreeMap<Value, Seen>) -> Option<Name<'a>> {
        let half = self.half_seen(seen)?;
        let sentence = format!("torn transaction on {}: {}, {}", culprit.key, half.words(), sight(culprit));
        Some((AnomalyKind::TornTransaction, sentence, vec![half.maker]))
    }

    fn half_seen(&self, seen: &BTreeMap<Value, Seen>) -> Option<Half<'a>> {
        let version_of = |key: &Value| match seen.get(key) {
            Some(Some((_, version))) => *version,
            Some(None) | None => None,
        };
        seen.keys().find_map(|key| {
            let maker = *self.makers.get(&(key, version_of(key)?))?;
            let all = made(txn_of(maker)?, ret_of(maker)?);
            let missed = all.into_iter().find(|(other, version)| {
                // An absent key may have been deleted since.
                version_of(other).is_some_and(|there| there < *version)
            });
            missed.map(|(missed, _)| Half { maker, seen: key.clone(), missed: missed.clone() })
        })
    }

    fn phantom(&self, culprit: &'a Operation, seen: &BTreeMap<Value, Seen>) -> Option<Name<'a>> {
        let put = self.put.as_ref()?;
        let (key, value) = seen.iter().find_map(|(key, seen)| {
            let (value, _) = seen.as_ref()?;
            (!put.contains(&(key, value))).then_some((key, value))
        })?;
        let sentence =
            format!("phantom on {}: {}, but nobody put {value:?} on {key}", culprit.key, sight(culprit));
        Some((AnomalyKind::Phantom, sentence, Vec::new()))
    }

    fn made_twice(&self, culprit: &'a Operation, txn: &KeyTxn, ret: &KeyTxnRet) -> Option<Name<'a>> {
        made(txn, ret).into_iter().find_map(|(key, version)| {
            let other = *self.makers.get(&(key, version)).filter(|other| other.id != culprit.id)?;
            let sentence = format!(
                "broken claim on {}: {}, and made version {version} of {key}, as the transaction {} by {} had",
                culprit.key,
                sight(culprit),
                other.id,
                other.client,
            );
            Some((AnomalyKind::BrokenClaim, sentence, vec![other]))
        })
    }

    /// Two were done because of one version, which both overwrote.
    fn used_twice(&self, culprit: &'a Operation, txn: &KeyTxn, ret: &KeyTxnRet) -> Option<Name<'a>> {
        used(txn, ret).into_iter().find_map(|(key, version)| {
            let other = *self.used.get(&(key, version)).filter(|other| other.id != culprit.id)?;
            let sentence = format!(
                "wrong transaction on {}: {}, but the transaction {} by {} had overwritten version {version} of {key} as well",
                culprit.key,
                sight(culprit),
                other.id,
                other.client,
            );
            Some((AnomalyKind::WrongTransaction, sentence, vec![other]))
        })
    }

    /// A version was seen, or was compared with, that had been overwritten when the culprit was called.
    fn stale(
        &self,
        culprit: &'a Operation,
        txn: &KeyTxn,
        ret: &KeyTxnRet,
        seen: &BTreeMap<Value, Seen>,
    ) -> Option<Name<'a>> {
        let mut looked: Vec<(&Value, Version)> = Vec::new();
        let version_of = |seen: &Seen| match seen {
            Some((_, version)) => *version,
            // Where nobody deletes a key is absent only before its first write.
            None => self.is_kept.then_some(ABSENT),
        };
        looked.extend(seen.iter().filter_map(|(key, seen)| Some((key, version_of(seen)?))));
        looked.extend(txn.versions().filter(|_| ret.succeeded));
        looked.into_iter().find_map(|(key, version)| {
            let until = self.made_by.get(key)?;
            let count = until.partition_point(|(ns, ..)| *ns < culprit.invoked_ns);
            let (_, newer, other) = *until.get(count.checked_sub(1)?)?;
            if newer <= version {
                return None;
            }
            let ns = other.answered_ns()?;
            let kind = match txn_writes(txn) {
                true => AnomalyKind::WrongTransaction,
                false => AnomalyKind::StaleRead,
            };
            let sentence = format!(
                "{} on {}: {}, {} after the transaction {} by {} was acknowledged, which had made version {newer} of {key} ({} was seen)",
                kind.words(),
                culprit.key,
                sight(culprit),
                span(culprit.invoked_ns - ns),
                other.id,
                other.client,
                if version == ABSENT { "nothing".to_owned() } else { version.to_string() },
            );
            Some((kind, sentence, vec![other]))
        })
    }
}

fn txn_writes(txn: &KeyTxn) -> bool {
    txn.then.iter().chain(&txn.or_else).any(|op| !matches!(op, TxnOp::Get(_)))
}

/// The versions that an answered transaction made.
fn made<'a>(txn: &'a KeyTxn, ret: &KeyTxnRet) -> Vec<(&'a Value, Version)> {
    let each = txn.branch(ret.succeeded).iter().zip(&ret.told);
    each.filter_map(|(op, told)| match (op, told) {
        (TxnOp::Put(key, _) | TxnOp::Append(key, _), Told::Made(Some(version))) => Some((key, *version)),
        (_, _) => None,
    })
    .collect()
}

/// The versions that an answered transaction was done because of, and overwrote.
fn used<'a>(txn: &'a KeyTxn, ret: &KeyTxnRet) -> Vec<(&'a Value, Version)> {
    let overwrites = |key: &Value| txn.then.iter().any(|op| op.key() == key && !matches!(op, TxnOp::Get(_)));
    txn.versions().filter(|(key, _)| ret.succeeded && overwrites(key)).collect()
}

/// A transaction of which one write was seen and another was not.
struct Half<'a> {
    maker: &'a Operation,
    seen: Value,
    missed: Value,
}

impl Half<'_> {
    fn words(&self) -> String {
        let Half { maker, seen, missed } = self;
        format!("of the transaction {} by {} {seen} is there and {missed} is not", maker.id, maker.client)
    }
}

/// It was done although it read otherwise than it compares, or was not although all that it compares was so.
fn contradicts_itself<'a>(
    culprit: &'a Operation,
    txn: &KeyTxn,
    ret: &KeyTxnRet,
    seen: &BTreeMap<Value, Seen>,
) -> Option<Name<'a>> {
    let met = |Compare { key, test }: &Compare<Value, Value>| {
        let seen = seen.get(key)?;
        let value = seen.as_ref().map(|(value, _)| value);
        match test {
            Test::Is(wanted) => Some(value == wanted.as_ref()),
            Test::IsNot(unwanted) => Some(value != unwanted.as_ref()),
            Test::HasVersion(wanted) => match seen {
                Some((_, version)) => version.map(|version| version == *wanted),
                None => Some(false),
            },
        }
    };
    let is_wrong = match ret.succeeded {
        true => txn.compares.iter().any(|compare| met(compare) == Some(false)),
        false => txn.compares.iter().all(|compare| met(compare) == Some(true)),
    };
    is_wrong.then(|| {
        let (which, node) = (if ret.succeeded { "done" } else { "not done" }, from_node(culprit));
        let sentence = format!(
            "wrong transaction on {}: that by {} at {}{node} was {which}, although it found otherwise: {}",
            culprit.key,
            culprit.client,
            moment(culprit.invoked_ns),
            sight(culprit),
        );
        (AnomalyKind::WrongTransaction, sentence, Vec::new())
    })
}

/// A tag with accounts, of which every transaction keeps the sum.
struct Bank<'a> {
    total: i128,
    accounts: BTreeSet<&'a Value>,
}

impl<'a> Bank<'a> {
    fn of(operations: &[&'a Operation]) -> Option<Bank<'a>> {
        let mut bank: Option<Bank<'a>> = None;
        let mut moved: BTreeSet<&Value> = BTreeSet::new();
        for operation in operations.iter().filter(|operation| !operation.is_failed()) {
            let txn = txn_of(operation)?;
            if !txn_writes(txn) {
                continue;
            }
            let put = puts(txn)?;
            let (sum, accounts) = (put.values().sum::<i128>(), put.keys().copied().collect());
            let is_opening = txn.compares.iter().all(|compare| compare.test == Test::Is(None));
            if is_opening {
                let opened = Bank { total: sum, accounts };
                let of_these = |compare: &Compare<Value, Value>| opened.accounts.contains(&compare.key);
                if txn.compares.is_empty() || !txn.compares.iter().all(of_these) || opened.accounts.len() < 2
                {
                    return None;
                }
                match &bank {
                    Some(bank) if bank.total != opened.total || bank.accounts != opened.accounts => {
                        return None;
                    }
                    Some(_) => {}
                    None => bank = Some(opened),
                }
            } else {
                let expected: Option<i128> = put.keys().map(|key| expected(txn, key)).sum();
                if expected? != sum {
                    return None;
                }
                moved.extend(put.keys());
            }
        }
        bank.filter(|bank| moved.is_subset(&bank.accounts))
    }

    /// What all accounts hold together; `None` where not all were seen, or none is there.
    fn sum(&self, seen: &BTreeMap<Value, Seen>) -> Option<i128> {
        let mut is_open = false;
        let mut sum = 0;
        for &account in &self.accounts {
            if let Some((value, _)) = seen.get(account)? {
                is_open = true;
                sum += value.parse::<i64>().map(i128::from).ok()?;
            }
        }
        is_open.then_some(sum)
    }
}

/// What a transaction writes, where it is whole numbers, each on another key, and only where it succeeds.
fn puts(txn: &KeyTxn) -> Option<BTreeMap<&Value, i128>> {
    if txn.or_else.iter().any(|op| !matches!(op, TxnOp::Get(_))) {
        return None;
    }
    let mut put = BTreeMap::new();
    for op in &txn.then {
        match op {
            TxnOp::Get(_) => {}
            TxnOp::Put(key, value) => {
                let number = value.parse::<i64>().ok()?;
                if put.insert(key, i128::from(number)).is_some() {
                    return None;
                }
            }
            TxnOp::Append(..) | TxnOp::Delete(_) => return None,
        }
    }
    Some(put)
}

/// The number that a transaction demands of a key.
fn expected(txn: &Txn<Value, Value>, key: &Value) -> Option<i128> {
    txn.compares.iter().find_map(|compare| match &compare.test {
        Test::Is(Some(value)) if compare.key == *key => value.parse::<i64>().map(i128::from).ok(),
        Test::Is(_) | Test::IsNot(_) | Test::HasVersion(_) => None,
    })
}
