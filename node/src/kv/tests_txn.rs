//! Transactions: what is compared, what is done, and that it is all or nothing, once.

use ordeal_client::wire::txn::{Compare, Operand, Relation, TXN_ANSWER_BYTES_MAX, Txn, TxnOp, TxnResult};
use ordeal_client::wire::{RefusalReason, Reply, SessionId, VALUE_BYTES_MAX, Version, WriteOp};

use super::tests::write_op;
use super::*;

fn version(index: u64) -> Version {
    Version { epoch: 1, index }
}

fn get(key: &str) -> TxnOp {
    TxnOp::Get { key: key.into() }
}

fn put(key: &str, value: &str) -> TxnOp {
    TxnOp::Put { key: key.into(), value: value.into() }
}

fn append(key: &str, tail: &str) -> TxnOp {
    TxnOp::Append { key: key.into(), tail: tail.into() }
}

fn delete(key: &str) -> TxnOp {
    TxnOp::Delete { key: key.into() }
}

fn compare(key: &str, relation: Relation, with: Operand) -> Compare {
    Compare { key: key.into(), relation, with }
}

fn value(value: &str) -> Operand {
    Operand::Value(Some(value.into()))
}

fn does(then: Vec<TxnOp>) -> Txn {
    Txn { then, ..Txn::default() }
}

/// Session 1, and key `a` with value `x` at version 2.
fn example() -> Kv {
    let mut kv = Kv::new(1);
    kv.open_session(1);
    let claim = Claim { session: SessionId(1), sequence: 1, settled: 0 };
    write_op(&mut kv, 2, claim, b"a", &WriteOp::Put(b"x".to_vec()));
    kv
}

fn transact(kv: &mut Kv, index: u64, sequence: u64, txn: &Txn) -> Reply {
    let claim = Claim { session: SessionId(1), sequence, settled: sequence - 1 };
    let key = txn.keys().next().expect("it names one").to_vec();
    write_op(kv, index, claim, &key, &WriteOp::Txn(txn.to_bytes().expect("a good one")))
}

fn found(value: &str, index: u64) -> TxnResult {
    TxnResult::Value(Some((value.into(), version(index))))
}

fn written(replaced: Option<u64>) -> TxnResult {
    TxnResult::Written { replaced: replaced.map(version) }
}

#[test]
fn a_list_is_done_in_order_and_each_operation_answers() {
    let mut kv = example();
    let list = vec![get("a"), append("a", "y"), get("a"), put("b", "z"), delete("c"), get("c"), get("b")];
    let reply = transact(&mut kv, 3, 2, &does(list));
    let results = vec![
        found("x", 2),
        written(Some(2)),
        found("xy", 3),
        written(None),
        written(None),
        TxnResult::Value(None),
        found("z", 3),
    ];
    assert_eq!(reply, Reply::Txn { succeeded: true, made: version(3), results });
    assert_eq!((kv.read(b"a"), kv.keys()), (Some((b"xy".to_vec(), version(3))), 2));
}

#[test]
fn comparisons_choose_the_list() {
    let absent = || Operand::Value(None);
    let at = |index| Operand::Version(Some(version(index)));
    let rows = [
        (compare("a", Relation::Equal, value("x")), true),
        (compare("a", Relation::Equal, value("y")), false),
        (compare("a", Relation::NotEqual, value("y")), true),
        (compare("a", Relation::Less, value("y")), true),
        (compare("a", Relation::Greater, value("y")), false),
        (compare("a", Relation::Greater, absent()), true),
        (compare("a", Relation::Equal, at(2)), true),
        (compare("a", Relation::Less, at(2)), false),
        (compare("a", Relation::Less, at(3)), true),
        (compare("b", Relation::Equal, absent()), true),
        (compare("b", Relation::Equal, Operand::Version(None)), true),
        (compare("b", Relation::Less, at(0)), true),
        (compare("b", Relation::Equal, value("")), false),
    ];
    for (compare, expected) in rows {
        let words = format!("{compare:?}");
        let txn = Txn { compares: vec![compare], then: vec![put("t", "")], otherwise: vec![put("o", "")] };
        let mut kv = example();
        let Reply::Txn { succeeded, .. } = transact(&mut kv, 3, 2, &txn) else { panic!("{words}") };
        assert_eq!(
            (succeeded, kv.read(b"t").is_some(), kv.read(b"o").is_some()),
            (expected, expected, !expected)
        );
    }
    let both = vec![compare("a", Relation::Equal, value("x")), compare("a", Relation::Equal, value("y"))];
    let txn = Txn { compares: both, ..Txn::default() };
    assert!(
        matches!(transact(&mut example(), 3, 2, &txn), Reply::Txn { succeeded: false, .. }),
        "all must hold"
    );
}

#[test]
fn a_transaction_happens_once() {
    let mut kv = example();
    let txn = does(vec![append("a", "y"), get("a")]);
    let first = transact(&mut kv, 3, 2, &txn);
    let digest = kv.digest();
    assert_eq!(transact(&mut kv, 4, 2, &txn), first);
    assert_eq!(kv.read(b"a"), Some((b"xy".to_vec(), version(3))));
    assert_ne!(kv.digest(), digest, "its session was used");
}

#[test]
fn what_would_be_too_long_is_refused_whole() {
    let mut kv = example();
    let long = "v".repeat(VALUE_BYTES_MAX);
    let refused = |reply: Reply, of: &str, limit: usize| {
        let Reply::Refused(RefusalReason::TooLong { what, limit: told, .. }) = reply else {
            panic!("{of} is too long")
        };
        assert_eq!((what.as_str(), told), (of, limit as u64));
    };
    let reply = transact(&mut kv, 3, 2, &does(vec![put("b", "z"), append("a", &long)]));
    refused(reply, "value", VALUE_BYTES_MAX);
    assert_eq!((kv.read(b"b"), kv.keys()), (None, 1), "not even what came before");
    transact(&mut kv, 4, 3, &does(vec![put("b", &long)]));
    let answer = does(vec![get("b"), get("b"), get("b")]);
    refused(transact(&mut kv, 5, 4, &answer), "answer", TXN_ANSWER_BYTES_MAX);
    let emptied = does(vec![delete("b"), get("b"), get("b"), get("b")]);
    assert!(matches!(transact(&mut kv, 6, 5, &emptied), Reply::Txn { .. }), "what is gone is short");
}
