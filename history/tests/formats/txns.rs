//! Transactions in our own forms, and in Jepsen's maps.

use std::path::Path;

use ordeal_history::formats::{Format, Reader, Record, Writer, collect, convert};
use ordeal_history::models::{Compare, Test, Told, Txn, TxnOp};
use ordeal_history::objects::{Object, judge_object};
use ordeal_history::{
    Answer, Budget, Call, Claim, ClientId, Event, Header, KeyTxnRet, OpId, Outcome, Value, Verdict, Version,
};
use proptest::prelude::*;

fn text() -> impl Strategy<Value = Value> {
    "[a-z0-9 \"\\[{}:,ä]{0,5}".prop_map(Value::from)
}

fn version() -> impl Strategy<Value = Version> {
    (any::<u64>(), any::<u64>()).prop_map(|(epoch, index)| Version { epoch, index })
}

fn compare() -> impl Strategy<Value = Compare<Value, Value>> {
    let test = prop_oneof![
        proptest::option::of(text()).prop_map(Test::Is),
        proptest::option::of(text()).prop_map(Test::IsNot),
        version().prop_map(Test::HasVersion),
    ];
    (text(), test).prop_map(|(key, test)| Compare { key, test })
}

fn ops() -> impl Strategy<Value = Vec<TxnOp<Value, Value>>> {
    let op = prop_oneof![
        text().prop_map(TxnOp::Get),
        text().prop_map(TxnOp::Delete),
        (text(), text()).prop_map(|(key, value)| TxnOp::Put(key, value)),
        (text(), text()).prop_map(|(key, tail)| TxnOp::Append(key, tail)),
    ];
    proptest::collection::vec(op, 0..4)
}

prop_compose! {
    fn asked_and_told()(
        compares in proptest::collection::vec(compare(), 0..3),
        then in ops(),
        or_else in ops(),
        succeeded in any::<bool>(),
        values in proptest::collection::vec(proptest::option::of((text(), proptest::option::of(version()))), 4),
    ) -> (Call, Answer) {
        let txn = Txn { compares, then, or_else };
        let told = txn.branch(succeeded).iter().zip(values).map(|(op, value)| match op {
            TxnOp::Get(_) => Told::Value(value),
            _ => Told::Made(value.and_then(|(_, version)| version)),
        });
        let ret = KeyTxnRet { succeeded, told: told.collect() };
        (Call::Txn(Box::new(txn)), Answer::Txn(Box::new(ret)))
    }
}

fn records(all: Vec<(Call, Answer)>) -> Vec<Record> {
    let of = |(number, (call, answer)): (u64, (Call, Answer))| {
        let (op, client, key) = (OpId(number), ClientId(3), "{b3}".into());
        let outcome = Outcome::Ok(answer, Claim::default());
        [
            Record::Event(Event::Invoke { op, client, key, call, time_ns: number * 10 }),
            Record::Event(Event::Return { op, time_ns: number * 10 + 5, outcome, node: None }),
        ]
    };
    (0..).zip(all).flat_map(of).collect()
}

fn write(path: &Path, records: &[Record], format: Format) {
    let mut writer = Writer::create(path, format, &Header::default()).expect("a fresh file");
    records.iter().for_each(|record| writer.push(record.clone()).expect("room on the disk"));
    writer.finish().expect("room on the disk");
}

fn read(path: &Path) -> Vec<Record> {
    let mut reader = Reader::open(path, None).unwrap_or_else(|error| panic!("{error}"));
    let next = || reader.next_record().unwrap_or_else(|error| panic!("{error}"));
    std::iter::from_fn(next).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn transactions_survive_our_own_forms_and_their_conversions(
        all in proptest::collection::vec(asked_and_told(), 0..8),
    ) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = |name: &str| directory.path().join(name);
        let records = records(all);
        write(&path("a.jsonl"), &records, Format::Ordeal);
        prop_assert_eq!(&read(&path("a.jsonl")), &records);
        for (from, to, format) in [("a.jsonl", "b.ohb", Format::Binary), ("b.ohb", "c.jsonl", Format::Ordeal)] {
            let mut reader = Reader::open(&path(from), None).expect("a good file");
            let writer = Writer::create(&path(to), format, &reader.header()).expect("a fresh file");
            convert(&mut reader, writer).expect("room on the disk");
            prop_assert_eq!(&read(&path(to)), &records);
        }
    }
}

/// A lost transfer, as a story of three.
fn lost() -> Vec<Record> {
    let text = |text: &str| Value::from(text);
    let version = |index: u64| Some(Version { epoch: 1, index });
    let put = |new: &str, made: u64| {
        let compares = vec![Compare { key: text("a"), test: Test::IsNot(Some(text("x"))) }];
        let then = vec![TxnOp::Put(text("a"), text(new)), TxnOp::Append(text("log"), text("w"))];
        let told = vec![Told::Made(version(made)), Told::Made(version(made))];
        (Txn { compares, then, or_else: vec![TxnOp::Delete(text("b"))] }, told)
    };
    let get = (
        Txn { compares: vec![], then: vec![TxnOp::Get(text("a"))], or_else: vec![] },
        vec![Told::Value(Some((text("1"), version(1))))],
    );
    let all = [put("1", 1), put("2", 2), get].into_iter().map(|(txn, told)| {
        (Call::Txn(Box::new(txn)), Answer::Txn(Box::new(KeyTxnRet { succeeded: true, told })))
    });
    records(all.collect())
}

#[test]
fn what_is_written_for_jepsen_is_judged_as_a_store_of_transactions() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("history.edn");
    for (records, verdict) in [(lost(), Verdict::Invalid), (lost()[..4].to_vec(), Verdict::Valid)] {
        write(&path, &records, Format::Jepsen);
        let report = judge_object(&path, None, &Object::Txn, &Budget::default());
        let report = report.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((report.verdict, report.counts.operations), (verdict, records.len() / 2), "{report:?}");
        std::fs::remove_file(&path).expect("it is there");
    }
}

#[test]
fn a_line_by_hand_says_what_the_format_says_it_does() {
    let lines = r#"{"ordeal-history":2,"model":"key-value"}
{"invoke":{"op":0,"client":1,"key":"{b3}","time_ns":0,"call":{"txn":{"compares":[{"key":"a0","test":{"is":"50"}},{"key":"a1","test":{"has_version":"1.42"}}],"then":[{"put":["a0","45"]},{"append":["log","x"]},{"get":"a1"}],"else":[{"delete":"a2"}]}}}}
{"return":{"op":0,"time_ns":1,"ok":{"txn":{"succeeded":true,"told":[{"made":"1.43"},{"made":"1.43"},{"value":["50","1.42"]}]}}}}
"#;
    let found = collect(
        Reader::on(Path::new("x"), std::io::Cursor::new(lines.to_owned().into_bytes()), None)
            .expect("a good file"),
    );
    assert_eq!(found.unwrap_or_else(|error| panic!("{error}")).loaded.history.operations.len(), 1);
    let refused = |from: &str, to: &str, words: &str| {
        let lines = lines.replacen(from, to, 1);
        let found = collect(
            Reader::on(Path::new("x"), std::io::Cursor::new(lines.into_bytes()), None).expect("a good head"),
        );
        let error = found.expect_err("it is refused").to_string();
        assert!(error.contains(words), "{error}");
    };
    refused("{b3}", "b3", "is a transaction on \"b3\", which is no tag in braces");
    refused("{b3}", "{b3}a", "which is no tag in braces");
    refused(",{\"value\":[\"50\",\"1.42\"]}", "", "the answer to #0 is not of the kind");
    let write = r#"{"invoke":{"op":1,"client":2,"key":"{b3}a","time_ns":2,"call":"read"}}"#;
    refused("\"1.42\"]}]}}}}", &format!("\"1.42\"]}}]}}}}}}}}\n{write}"), "by transactions alone");
}

#[test]
fn files_of_the_first_version_are_read_and_others_are_not() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("a.ohb");
    write(&path, &records(vec![]), Format::Binary);
    let bytes = std::fs::read(&path).expect("it is there");
    assert_eq!(bytes[8..12], 2u32.to_le_bytes());
    for (version, is_read) in [(1u8, true), (2, true), (0, false), (3, false)] {
        let mut bytes = bytes.clone();
        bytes[8] = version;
        let binary = Reader::on(Path::new("x"), std::io::Cursor::new(bytes), Some(Format::Binary)).is_ok();
        let head = format!("{{\"ordeal-history\":{version},\"model\":\"key-value\"}}\n");
        let lines =
            Reader::on(Path::new("x"), std::io::Cursor::new(head.into_bytes()), Some(Format::Ordeal)).is_ok();
        assert_eq!((binary, lines), (is_read, is_read), "version {version}");
    }
}
