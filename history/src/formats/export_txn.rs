//! Transactions and their answers in Jepsen's maps, as [`crate::objects`] reads them: with `ordeal check --model txn`.

use super::form::Form;
use crate::models::{Compare, Test, Told, TxnOp};
use crate::operation::{KeyTxn, KeyTxnRet, Value, Version};

/// What is asked; the keys stand behind their tag.
pub(super) fn asked(tag: &str, txn: &KeyTxn) -> Form {
    let compares = txn.compares.iter().map(|compare| compared(tag, compare)).collect();
    let ops = |ops: &[TxnOp<Value, Value>]| Form::Vector(ops.iter().map(|op| operation(tag, op)).collect());
    map(vec![("compare", Form::Vector(compares)), ("then", ops(&txn.then)), ("else", ops(&txn.or_else))])
}

/// What is answered.
pub(super) fn answered(tag: &str, txn: &KeyTxn, ret: &KeyTxnRet) -> Form {
    let each = txn.branch(ret.succeeded).iter().zip(&ret.told);
    let told = each.map(|(op, told)| {
        let (value, version) = match told {
            Told::Value(seen) => {
                (seen.as_ref().map(|(value, _)| value), seen.as_ref().and_then(|seen| seen.1))
            }
            Told::Made(version) => (value_of(op), *version),
        };
        let value = value.map_or(Form::Nil, |value| Form::of_value(value));
        let version = version.map_or(Form::Nil, text);
        Form::Vector(vec![keyword(name(op)), key(tag, op.key()), value, version])
    });
    map(vec![("succeeded", Form::Bool(ret.succeeded)), ("told", Form::Vector(told.collect()))])
}

fn compared(tag: &str, compare: &Compare<Value, Value>) -> Form {
    let value = |value: &Option<Value>| value.as_ref().map_or(Form::Nil, |value| Form::of_value(value));
    let (test, wanted) = match &compare.test {
        Test::Is(wanted) => ("=", value(wanted)),
        Test::IsNot(unwanted) => ("!=", value(unwanted)),
        Test::HasVersion(version) => ("version", text(*version)),
    };
    Form::Vector(vec![key(tag, &compare.key), keyword(test), wanted])
}

fn operation(tag: &str, op: &TxnOp<Value, Value>) -> Form {
    let mut parts = vec![keyword(name(op)), key(tag, op.key())];
    match op {
        TxnOp::Get(_) => parts.push(Form::Nil),
        TxnOp::Put(_, value) | TxnOp::Append(_, value) => parts.push(Form::of_value(value)),
        TxnOp::Delete(_) => {}
    }
    Form::Vector(parts)
}

fn name(op: &TxnOp<Value, Value>) -> &'static str {
    match op {
        TxnOp::Get(_) => "r",
        TxnOp::Put(..) => "w",
        TxnOp::Append(..) => "append",
        TxnOp::Delete(_) => "d",
    }
}

fn value_of(op: &TxnOp<Value, Value>) -> Option<&Value> {
    match op {
        TxnOp::Put(_, value) | TxnOp::Append(_, value) => Some(value),
        TxnOp::Get(_) | TxnOp::Delete(_) => None,
    }
}

fn key(tag: &str, key: &Value) -> Form {
    Form::of_value(&format!("{tag}{key}"))
}

fn keyword(name: &str) -> Form {
    Form::Keyword(name.to_owned())
}

fn text(version: Version) -> Form {
    Form::Text(version.to_string())
}

fn map(entries: Vec<(&str, Form)>) -> Form {
    Form::Map(entries.into_iter().map(|(name, form)| (keyword(name), form)).collect())
}
