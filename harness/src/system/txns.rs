//! Transactions as our clients ask them, and their answers as the judge takes them.

use ordeal_client::TxnAnswer;
use ordeal_client::wire::txn::{Compare, Operand, Relation, Txn, TxnOp, TxnResult};
use ordeal_history::models::{Compare as Compared, Test, Told, TxnOp as Asked, TxnRet};
use ordeal_history::{Answer, KeyTxn, Value, Version};

use super::ordeal::{text, version};

/// A transaction on the keys behind a tag.
pub(super) fn asked(tag: &[u8], txn: &KeyTxn) -> Txn {
    let ops = |ops: &[Asked<Value, Value>]| ops.iter().map(|op| operation(tag, op)).collect();
    Txn {
        compares: txn.compares.iter().map(|compare| compared(tag, compare)).collect(),
        then: ops(&txn.then),
        otherwise: ops(&txn.or_else),
    }
}

fn compared(tag: &[u8], compare: &Compared<Value, Value>) -> Compare {
    let bytes = |value: &Option<Value>| value.as_ref().map(|value| value.as_bytes().to_vec());
    let (relation, with) = match &compare.test {
        Test::Is(wanted) => (Relation::Equal, Operand::Value(bytes(wanted))),
        Test::IsNot(unwanted) => (Relation::NotEqual, Operand::Value(bytes(unwanted))),
        Test::HasVersion(Version { epoch, index }) => {
            let wanted = ordeal_client::wire::Version { epoch: *epoch, index: *index };
            (Relation::Equal, Operand::Version(Some(wanted)))
        }
    };
    Compare { key: key(tag, &compare.key), relation, with }
}

fn operation(tag: &[u8], op: &Asked<Value, Value>) -> TxnOp {
    let key = key(tag, op.key());
    match op {
        Asked::Get(_) => TxnOp::Get { key },
        Asked::Put(_, value) => TxnOp::Put { key, value: value.as_bytes().to_vec() },
        Asked::Append(_, tail) => TxnOp::Append { key, tail: tail.as_bytes().to_vec() },
        Asked::Delete(_) => TxnOp::Delete { key },
    }
}

fn key(tag: &[u8], name: &str) -> Vec<u8> {
    [tag, name.as_bytes()].concat()
}

/// What it was answered. Where an answer says nothing of a read, or not what a read is told, that is taken for an absent key, as it
/// was said; the judge will know better.
pub(super) fn answered(txn: &KeyTxn, answer: &TxnAnswer) -> Answer {
    let made = Some(version(answer.made));
    let results = answer.results.iter().map(Some).chain(std::iter::repeat(None));
    let told = txn.branch(answer.succeeded).iter().zip(results).map(|(op, result)| match (op, result) {
        (Asked::Get(_), Some(TxnResult::Value(Some((value, seen))))) => {
            Told::Value(Some((text(value), Some(version(*seen)))))
        }
        (Asked::Get(_), Some(TxnResult::Value(None) | TxnResult::Written { .. }) | None) => Told::Value(None),
        (Asked::Put(..) | Asked::Append(..), _) => Told::Made(made),
        (Asked::Delete(_), _) => Told::Made(None),
    });
    Answer::Txn(Box::new(TxnRet { succeeded: answer.succeeded, told: told.collect() }))
}

#[cfg(test)]
mod tests {
    use ordeal_client::wire::{NodeId, Version as WireVersion};
    use ordeal_history::Call;

    use super::*;

    #[test]
    fn a_transfer_is_asked_of_the_accounts_of_its_bank_and_an_answer_fits_it() {
        let (account, other) = (Value::from("a0"), Value::from("a1"));
        let open = KeyTxn {
            compares: vec![Compared { key: account.clone(), test: Test::Is(None) }],
            then: vec![Asked::Put(account.clone(), Value::from("20")), Asked::Get(other.clone())],
            or_else: vec![Asked::Get(account), Asked::Get(other)],
        };
        let sent = asked(b"{b3}", &open);
        assert!(sent.keys().all(|key| key.starts_with(b"{b3}a")), "{sent:?}");
        assert!(sent.shard(64).is_ok() && sent.to_bytes().is_ok());
        let made = WireVersion { epoch: 1, index: 7 };
        let results = vec![TxnResult::Value(Some((b"20".to_vec(), made)))];
        for (succeeded, results) in [(true, vec![]), (false, results)] {
            let answer = TxnAnswer { succeeded, made, results, node: NodeId(1) };
            assert!(answered(&open, &answer).fits(&Call::Txn(Box::new(open.clone()))), "{answer:?}");
        }
    }
}
