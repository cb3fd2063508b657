//! Histories of transactions in a few words, for tests: one operation a line, on the keys of `{b3}`.
//!
//! ```text
//! c1 0-10 if a=- b=- then a:=5 b:=5 else a b → yes @1.3 @1.3    `-`: absent; of each operation of the branch what was told
//! c1 20-30 if a=5 a@1.3 then a:=4 b+=1 → no                     compares of a version; appends
//! c2 20-30 then a b → yes 5@1.3 -                               reads: values, with versions or without
//! c1 40- then !a                                                a delete; never answered
//! ```

use std::sync::Arc;

use ordeal_history::models::{Compare, Test, Told, Txn, TxnOp};
use ordeal_history::{
    AnomalyKind, Answer, Budget, Call, Claim, ClientId, History, KeyTxn, KeyTxnRet, OpId, Operation, Outcome,
    Report, Value, Verdict, Version, check,
};

/// The history of a story.
pub fn history(story: &str) -> History {
    let lines = story.lines().map(str::trim).filter(|line| !line.is_empty());
    let operations = (0..).zip(lines).map(|(id, line)| operation(OpId(id), line)).collect();
    History { operations }
}

fn operation(id: OpId, line: &str) -> Operation {
    let (asked, told) = line.split_once('→').map_or((line, None), |(asked, told)| (asked, Some(told)));
    let mut words = asked.split_whitespace();
    let client = words.next().expect("a client")[1..].parse().expect("a number");
    let (invoked, returned) = words.next().expect("times").split_once('-').expect("two times");
    let ns = |ms: &str| ms.parse::<u64>().expect("milliseconds") * 1_000_000;
    let call = Call::Txn(Box::new(txn(words)));
    let returned = told.map(|told| {
        let answer = Answer::Txn(Box::new(ret(told)));
        assert!(answer.fits(&call), "{line}");
        (ns(returned), Outcome::Ok(answer, Claim::default()))
    });
    let (key, node) = (Arc::from("{b3}"), Some(Arc::from("n2")));
    Operation { id, client: ClientId(client), key, call, invoked_ns: ns(invoked), returned, node }
}

fn txn<'a>(words: impl Iterator<Item = &'a str>) -> KeyTxn {
    let (mut txn, mut part) = (Txn { compares: vec![], then: vec![], or_else: vec![] }, "then");
    for word in words {
        match (word, part) {
            ("if" | "then" | "else", _) => part = word,
            (_, "if") => txn.compares.push(compare(word)),
            (_, "then") => txn.then.push(op(word)),
            (_, _) => txn.or_else.push(op(word)),
        }
    }
    txn
}

fn value(text: &str) -> Option<Value> {
    (text != "-").then(|| Value::from(text))
}

fn compare(word: &str) -> Compare<Value, Value> {
    let (key, test) = if let Some((key, version)) = word.split_once('@') {
        (key, Test::HasVersion(version.parse().expect("a version")))
    } else if let Some((key, unwanted)) = word.split_once("!=") {
        (key, Test::IsNot(value(unwanted)))
    } else {
        let (key, wanted) = word.split_once('=').expect("a compare");
        (key, Test::Is(value(wanted)))
    };
    Compare { key: key.into(), test }
}

fn op(word: &str) -> TxnOp<Value, Value> {
    if let Some((key, value)) = word.split_once(":=") {
        TxnOp::Put(key.into(), value.into())
    } else if let Some((key, tail)) = word.split_once("+=") {
        TxnOp::Append(key.into(), tail.into())
    } else if let Some(key) = word.strip_prefix('!') {
        TxnOp::Delete(key.into())
    } else {
        TxnOp::Get(word.into())
    }
}

fn ret(told: &str) -> KeyTxnRet {
    let mut words = told.split_whitespace();
    let succeeded = words.next().expect("yes or no") == "yes";
    let version = |text: &str| (text != "-").then(|| text.parse::<Version>().expect("a version"));
    let told = words.map(|word| match word.split_once('@') {
        Some(("", made)) => Told::Made(version(made)),
        Some((seen, version_of)) => Told::Value(Some((seen.into(), version(version_of)))),
        None => Told::Value(value(word).map(|value| (value, None))),
    });
    KeyTxnRet { succeeded, told: told.collect() }
}

/// The judgement of a story.
pub fn judged(story: &str) -> Report {
    check(&history(story), &Budget::default(), &|_| {})
}

/// A story that can be explained.
pub fn good(story: &str) {
    let report = judged(story);
    assert_eq!((report.verdict, report.anomalies.len()), (Verdict::Valid, 0), "{story}\n{report:#?}");
}

/// A story whose first fault is of this kind, in these words.
pub fn bad(story: &str, kind: AnomalyKind, sentence: &str) -> Report {
    let report = judged(story);
    assert_eq!(report.verdict, Verdict::Invalid, "{story}\n{report:#?}");
    let first = report.anomalies.first().expect("an invalid history has a reason");
    assert_eq!((first.kind, first.sentence.as_str()), (kind, sentence), "{story}");
    report
}
