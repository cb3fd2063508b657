//! Transactions and their answers in words.

use std::collections::BTreeMap;

use crate::models::{Compare, Test, Told, TxnOp};
use crate::operation::{Answer, Call, KeyTxn, KeyTxnRet, Operation, Value};
use crate::words::{from_node, moment, quoted, shown};

/// Parts of a transaction that a text shows; a longer one is cut.
const SHOWN_MAX: usize = 8;

/// `if a0 = "50", a1 has version 1.42: put a0 "45", get a1; else get a0`.
#[must_use]
pub fn asked(txn: &KeyTxn) -> String {
    let compares = listed(txn.compares.iter().map(compared));
    let then = listed(txn.then.iter().map(done));
    let or_else = listed(txn.or_else.iter().map(done));
    match (compares.is_empty(), or_else.is_empty()) {
        (true, _) => then,
        (false, true) => format!("if {compares}: {then}"),
        (false, false) => format!("if {compares}: {then}; else {or_else}"),
    }
}

/// What an answer told: `done, a1 = "55"`, or `not done, a0 = "45"`.
#[must_use]
pub fn answered(txn: &KeyTxn, ret: &KeyTxnRet) -> String {
    let told = told(txn, ret);
    match (ret.succeeded, told.is_empty(), txn.compares.is_empty()) {
        (true, false, true) => told,
        (true, true, _) => "done".to_owned(),
        (true, false, false) => format!("done, {told}"),
        (false, true, _) => "not done".to_owned(),
        (false, false, _) => format!("not done, {told}"),
    }
}

/// The keys that it read, each with its value.
fn told(txn: &KeyTxn, ret: &KeyTxnRet) -> String {
    let told = txn.branch(ret.succeeded).iter().zip(&ret.told).filter_map(|(op, told)| match told {
        Told::Value(seen) => Some(format!("{} = {}", op.key(), shown(seen.as_ref().map(|(value, _)| value)))),
        Told::Made(_) => None,
    });
    listed(told)
}

fn compared(compare: &Compare<Value, Value>) -> String {
    let key = &compare.key;
    match &compare.test {
        Test::Is(None) => format!("no {key}"),
        Test::Is(Some(value)) => format!("{key} = {}", quoted(value)),
        Test::IsNot(None) => format!("some {key}"),
        Test::IsNot(Some(value)) => format!("{key} ≠ {}", quoted(value)),
        Test::HasVersion(version) => format!("{key} has version {version}"),
    }
}

fn done(op: &TxnOp<Value, Value>) -> String {
    match op {
        TxnOp::Get(key) => format!("get {key}"),
        TxnOp::Put(key, value) => format!("put {key} {}", quoted(value)),
        TxnOp::Append(key, tail) => format!("append {key} {}", quoted(tail)),
        TxnOp::Delete(key) => format!("delete {key}"),
    }
}

fn listed(parts: impl Iterator<Item = String>) -> String {
    let mut parts: Vec<String> = parts.collect();
    if parts.len() > SHOWN_MAX {
        parts.truncate(SHOWN_MAX - 1);
        parts.push("…".to_owned());
    }
    parts.join(", ")
}

/// How a client saw something: `c4 read a0 = "40", a1 = "57" at 12.550 s from n2`.
pub(crate) fn sight(operation: &Operation) -> String {
    let (client, at, node) = (operation.client, moment(operation.invoked_ns), from_node(operation));
    match (&operation.call, operation.answer()) {
        (Call::Txn(txn), Some(Answer::Txn(ret))) if txn.compares.is_empty() && writes_nothing(txn) => {
            format!("{client} read {} at {at}{node}", told(txn, ret))
        }
        (Call::Txn(txn), Some(Answer::Txn(ret))) => {
            let what = answered(txn, ret);
            format!("the transaction {} by {client} at {at}{node} was {what} ({})", operation.id, asked(txn))
        }
        (Call::Txn(txn), _) => {
            format!("the transaction {} by {client} at {at} happened ({})", operation.id, asked(txn))
        }
        (_, _) => format!("{client} saw something at {at}{node}"),
    }
}

fn writes_nothing(txn: &KeyTxn) -> bool {
    txn.then.iter().chain(&txn.or_else).all(|op| matches!(op, TxnOp::Get(_)))
}

/// What of its compares stands against its answer where these keys have these values, if that can be told.
pub(crate) fn unmet(txn: &KeyTxn, ret: &KeyTxnRet, there: &BTreeMap<&Value, &Value>) -> Option<String> {
    let holds = |compare: &&Compare<Value, Value>| {
        let value = there.get(&compare.key).copied();
        match &compare.test {
            Test::Is(wanted) => value == wanted.as_ref(),
            Test::IsNot(unwanted) => value != unwanted.as_ref(),
            // Cores have no compares of versions.
            Test::HasVersion(_) => true,
        }
    };
    if ret.succeeded {
        let wrong = txn.compares.iter().find(|compare| !holds(compare))?;
        let value = shown(there.get(&wrong.key).copied());
        return Some(format!("was done if {}, but {value} is there", compared(wrong)));
    }
    txn.compares.iter().all(|compare| holds(&compare)).then(|| {
        format!(
            "was not done, although what it compares holds: {}",
            listed(txn.compares.iter().map(compared))
        )
    })
}
