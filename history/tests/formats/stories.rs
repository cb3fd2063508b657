//! What the lines of each format mean.

use ordeal_history::formats::{Format, SOLE_KEY, is_report, load};
use ordeal_history::{Answer, Call, ClientId, History, Outcome, Value};

use crate::samples::{self, SAMPLES, read};

fn history(text: &str) -> History {
    read(text).unwrap_or_else(|error| panic!("{error}")).loaded.history
}

/// A line an operation: client, key, call, what came of it.
fn check(text: &str, expected: &[&str]) {
    let operations = history(text).operations;
    let lines: Vec<String> = operations
        .iter()
        .map(|op| {
            let outcome = op.returned.as_ref().map_or_else(
                || "open".to_owned(),
                |(_, outcome)| match outcome {
                    Outcome::Ok(answer, _) => format!("{answer:?}"),
                    Outcome::Failed(reason) => format!("failed: {reason}"),
                    Outcome::Unknown(reason) => format!("unknown: {reason}"),
                },
            );
            format!("{} {} {:?} -> {outcome}", op.client, op.key, op.call)
        })
        .collect();
    assert_eq!(lines, expected);
}

#[test]
fn a_format_is_known_by_how_a_file_begins() {
    for (format, text) in SAMPLES {
        let imported = read(text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(imported.format, format, "{text}");
        let marked = format!("\u{feff}{text}");
        if matches!(format, Format::Jepsen | Format::PorcupineKv | Format::Etcd | Format::Elle) {
            assert_eq!(read(&marked).expect("a mark of UTF-8 is no damage").format, format);
        }
    }
    assert_eq!(read("[]").expect("empty").loaded.history.operations.len(), 0);
    let error = read("no history\n").expect_err("nothing that is known").to_string();
    assert!(error.contains("begins with `no history`"), "{error}");
    assert!(error.contains("--format"), "{error}");
    let error = read("").expect_err("nothing at all").to_string();
    assert!(error.contains("empty"), "{error}");
}

#[test]
fn jepsen_has_keys_faults_and_three_outcomes() {
    check(
        samples::JEPSEN,
        &[
            r#"c0 0 Write("3") -> Done"#,
            "c1 0 Read -> unknown: :net-timeout",
            r#"c6 0 Cas { expected: Some("3"), new: "4" } -> failed: [:precondition-failed "current value 1 is not 3"]"#,
        ],
    );
    let imported = read(samples::JEPSEN).expect("a good file");
    assert_eq!(imported.faults.len(), 2);
    assert_eq!(imported.faults[0].process, ":nemesis");
    assert_eq!(imported.faults[0].what, ":start-partition");
    assert_eq!(imported.faults[1].value, r#"[:isolated {"n1" #{"n3" "n2"}, "n2" #{"n1"}}]"#);
    assert_eq!(imported.faults[1].time_ns, 40_000_321);
    assert_eq!(imported.loaded.history.operations[0].invoked_ns, 30_217_865);
}

#[test]
fn knossos_has_one_register_and_the_order_of_its_lines() {
    check(
        samples::KNOSSOS,
        &[
            r#"c4 register Write("2") -> Done"#,
            r#"c6 register Read -> Value(Some("2"))"#,
            r#"c1 register Cas { expected: Some("2"), new: "4" } -> failed: no reason given"#,
        ],
    );
    let operations = history(samples::KNOSSOS).operations;
    assert!(operations.iter().all(|op| &*op.key == SOLE_KEY));
    assert!(operations[0].answered_ns() < Some(operations[1].invoked_ns));
    // Times that stand still or go back must not make concurrent what was not.
    let stuck = "{:process 0 :type :invoke :f :write :value 1 :time 9}{:process 0 :type :ok :f :write :value 1 :time 9}\
        {:process 1 :type :invoke :f :read :value nil :time 5}{:process 1 :type :ok :f :read :value nil :time -1}";
    let operations = history(stuck).operations;
    assert_eq!((operations[0].invoked_ns, operations[0].answered_ns()), (9, Some(10)));
    assert_eq!((operations[1].invoked_ns, operations[1].answered_ns()), (11, Some(1_000_011)));
}

#[test]
fn nil_is_absent() {
    check(
        "{:process 0 :type :invoke :f :write :value nil}{:process 0 :type :ok :f :write :value nil}\
         {:process 0 :type :invoke :f :cas :value [nil 1]}{:process 0 :type :ok :f :cas :value [nil 1]}\
         {:process 0 :type :invoke :f :read :value nil}{:process 0 :type :ok :f :read :value nil}",
        &[
            "c0 register Delete -> Done",
            r#"c0 register Cas { expected: None, new: "1" } -> CasDone"#,
            "c0 register Read -> Value(None)",
        ],
    );
}

#[test]
fn numbers_and_texts_that_look_like_them_stay_apart() {
    let write = |value: &str| format!("{{:process 0 :type :invoke :f :write :value [\"a b\" {value}]}}");
    for (value, expected) in [
        ("3", "3"),
        ("\"3\"", "\"3\""),
        ("+3", "3"),
        ("3N", "3"),
        ("\"abc\"", "abc"),
        (":abc", ":abc"),
        ("\":abc\"", "\":abc\""),
        ("true", "true"),
        ("\"true\"", "\"true\""),
        ("\"nil\"", "nil"),
        ("[1 \"x\"]", "[1 \"x\"]"),
        ("\"[1\"", "[1"),
        ("\"\\u00e4\\n\"", "ä\n"),
        ("1.5", "1.5"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
    ] {
        let operations = history(&write(value)).operations;
        assert_eq!(operations[0].call, Call::Write(Value::from(expected)), "{value}");
        assert_eq!(&*operations[0].key, "a b");
    }
}

#[test]
fn texts_say_a_reason_or_not() {
    check(samples::TEXT, &[r#"c0 0 Write("3") -> Done"#, "c1 0 Read -> unknown: indeterminate: gone {"]);
    assert_eq!(read(samples::TEXT).expect("a good file").faults.len(), 1);
}

#[test]
fn in_old_logs_a_failed_cas_has_found_something_else_and_a_failed_read_nothing() {
    check(
        samples::LOG,
        &[
            r#"c0 register Write("3") -> unknown: :timed-out"#,
            r#"c2 register Cas { expected: Some("1"), new: "2" } -> CasFailed(None)"#,
            r#"c1 register Read -> Value(Some("3"))"#,
        ],
    );
    let failed_read =
        "INFO  jepsen.util - 0\t:invoke\t:read\tnil\nINFO  jepsen.util - 0\t:fail\t:read\t:timed-out\n";
    check(failed_read, &["c0 register Read -> failed: :timed-out"]);
}

#[test]
fn porcupine_begins_with_nothing_which_is_the_empty_text() {
    check(
        samples::KV,
        &[
            r#"c9 "0" Append("x 9 0 y") -> Done"#,
            r#"c1 "9" Read -> Value(None)"#,
            r#"c1 "0" Read -> Value(Some("x 9 0 y"))"#,
        ],
    );
    let empties = r#"{:process 1, :type :invoke, :f :put, :key "a", :value ""}
        {:process 1, :type :ok, :f :put, :key "a", :value ""}
        {:process 1, :type :invoke, :f :append, :key "a", :value ""}
        {:process 1, :type :ok, :f :append, :key "a", :value ""}"#;
    check(empties, &["c1 a Delete -> Done"]);
}

#[test]
fn etcd_has_ranges_and_transactions() {
    check(samples::ETCD, &[r#"c0 key1 Write("7") -> Done"#, r#"c0 key1 Read -> Value(Some("7"))"#]);
    let failed = samples::ETCD.replacen("\"Error\":\"\"", "\"Error\":\"timeout\"", 1);
    check(&failed, &[r#"c0 key1 Write("7") -> unknown: timeout"#, r#"c0 key1 Read -> Value(Some("7"))"#]);
    let absent = samples::ETCD.replacen(
        "[{\"Key\":\"key1\",\"Value\":{\"Value\":\"7\"},\"ModRevision\":168,\"Version\":1}]",
        "null",
        1,
    );
    check(&absent, &[r#"c0 key1 Write("7") -> Done"#, "c0 key1 Read -> Value(None)"]);
    let hashed = samples::ETCD.replace("{\"Value\":\"7\"}", "{\"Hash\":77}");
    check(&hashed, &[r#"c0 key1 Write("hash:77") -> Done"#, r#"c0 key1 Read -> Value(Some("hash:77"))"#]);
    let past = samples::ETCD.replace("\"Revision\":0", "\"Revision\":5");
    check(&past, &[r#"c0 key1 Write("7") -> Done"#]);
    let warnings = read(&past).expect("a good file").loaded.warnings;
    assert_eq!(warnings, ["history: 1 operations are left out: they read the past"]);
}

#[test]
fn etcd_transactions_of_several_writes_are_one_operation_a_key() {
    let put = |key: &str| {
        format!("{{\"Type\":\"put-operation\",\"Put\":{{\"Key\":\"{key}\",\"Value\":{{\"Value\":\"1\"}}}}}}")
    };
    let txn = |id: u32, call: u32, parts: &[String]| {
        format!(
            "{{\"ClientId\":{id},\"Input\":{{\"Type\":\"txn\",\"Txn\":{{\"OperationsOnSuccess\":[{}]}}}},\"Call\":{call},\
             \"Output\":{{\"Txn\":{{\"Failure\":false}},\"Error\":\"\"}},\"Return\":{}}}",
            parts.join(","),
            call + 10
        )
    };
    // Out of order, as the reports of several clients are when put together.
    let both = txn(7, 100, &[put("a")]) + &txn(7, 50, &[put("a"), put("b")]);
    check(&both, &[r#"c0 a Write("1") -> Done"#, r#"c1 b Write("1") -> Done"#, r#"c0 a Write("1") -> Done"#]);
    let twice = txn(7, 50, &[put("a"), put("a")]);
    assert!(read(&twice).expect_err("which of them is last?").to_string().contains("two writes of a"));
}

#[test]
fn the_clients_of_an_etcd_report_are_judged_together() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let write = |client: &str, text: &str| {
        let folder = directory.path().join(client);
        std::fs::create_dir(&folder).expect("room on the disk");
        std::fs::write(folder.join("operations.json"), text).expect("room on the disk");
    };
    std::fs::create_dir(directory.path().join("server-etcd0")).expect("room on the disk");
    let error = load(directory.path(), None).expect_err("no clients").to_string();
    assert!(error.contains("no client-<id>/operations.json"), "{error}");
    write("client-1", samples::ETCD);
    write("client-2", &samples::ETCD.replace("\"ClientId\": 3", "\"ClientId\": 4").replace("key1", "key2"));
    assert!(is_report(directory.path()));
    let operations = load(directory.path(), None).expect("a report").loaded.history.operations;
    let keys: Vec<&str> = operations.iter().map(|operation| &*operation.key).collect();
    assert_eq!(keys, ["key1", "key2", "key1", "key2"]);
    write("client-3", "{\n\"Call\": nil}");
    let error = load(directory.path(), None).expect_err("a damaged file").to_string();
    assert!(error.contains("client-3/operations.json: line 2, column 9"), "{error}");
}

#[test]
fn elle_transactions_of_one_operation_are_operations_on_a_key() {
    check(samples::ELLE, &[r#"c0 x Append("2 ") -> Done"#, r#"c1 x Read -> Value(Some("2 "))"#]);
    let longer =
        samples::ELLE.replacen("[[\"append\",\"x\",2]]", "[[\"append\",\"x\",2],[\"r\",\"y\",null]]", 1);
    let error = read(&longer).expect_err("not of one key").to_string();
    assert!(error.contains("line 1, column 2: a transaction of 2 operations"), "{error}");
    let register = r#"{"type":"invoke","f":"txn","value":[["w","x",2]],"process":0}
        {"type":"ok","f":"txn","value":[["w","x",2]],"process":0}
        {"type":"invoke","f":"txn","value":[["r","x",null]],"process":0}
        {"type":"ok","f":"txn","value":[["r","x",2]],"process":0}"#;
    check(register, &[r#"c0 x Write("2") -> Done"#, r#"c0 x Read -> Value(Some("2"))"#]);
}

#[test]
fn a_client_is_its_process() {
    let operations = history(samples::JEPSEN).operations;
    assert_eq!(operations[2].client, ClientId(6));
    assert_eq!(operations[0].answer(), Some(&Answer::Done));
}

/// Jepsen's folder of a test is read as its history; what its own checkers said is told, and nothing depends on it.
#[test]
fn what_jepsen_keeps_of_a_test_is_read_from_its_folder() {
    let directory = tempfile::tempdir().expect("a folder for this test");
    let write =
        |name: &str, text: &str| std::fs::write(directory.path().join(name), text).expect("it is written");
    write("jepsen.log", "INFO nothing");
    assert!(!is_report(directory.path()));
    write("history.edn", samples::JEPSEN);
    assert!(is_report(directory.path()));
    let read = || load(directory.path(), None).expect("a folder of Jepsen").loaded;
    assert_eq!(read().history, history(samples::JEPSEN));
    assert_eq!(read().warnings, Vec::<String>::new());
    write("results.edn", "{:perf {:valid? true}, :linear {:valid? false}, :valid? false}\n");
    assert!(read().warnings[0].ends_with(":valid? false"), "{:?}", read().warnings);
    write("results.edn", "{:perf {:valid?");
    assert_eq!((read().history, read().warnings), (history(samples::JEPSEN), Vec::new()));
}
