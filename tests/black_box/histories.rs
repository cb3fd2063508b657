//! What people do with histories: several files judged at once, some keys of them, things that are no keys, tables.

use std::path::Path;

use super::{Done, done, ordeal};

pub(super) const HEADER: &str = "{\"ordeal-history\":1,\"model\":\"key-value\"}\n";

/// Two keys; a read of `k2` answers this.
pub(super) fn history(answer: &str) -> String {
    let mut text = HEADER.to_owned();
    let mut op = |op: u64, client: u32, key: &str, call: &str, ok: &str| {
        let (called, returned) = (op * 1_000_000_000, op * 1_000_000_000 + 500_000_000);
        text += &format!(
            "{{\"invoke\":{{\"op\":{op},\"client\":{client},\"key\":\"{key}\",\"time_ns\":{called},\"call\":{call}}}}}\n\
             {{\"return\":{{\"op\":{op},\"time_ns\":{returned},\"ok\":{ok},\"node\":\"n1\"}}}}\n"
        );
    };
    op(1, 1, "k1", "{\"write\":\"a\"}", "\"done\"");
    op(2, 2, "k2", "{\"write\":\"b\"}", "\"done\"");
    op(3, 1, "k1", "\"read\"", "{\"value\":\"a\"}");
    op(4, 3, "k2", "{\"write\":\"c\"}", "\"done\"");
    op(5, 4, "k2", "\"read\"", answer);
    text
}

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Files {
        let files = Files(tempfile::tempdir().expect("a directory"));
        files.put("good.jsonl", &history("{\"value\":\"c\"}"));
        files.put("bad.jsonl", &history("{\"value\":\"b\"}"));
        files.put("damaged.jsonl", &history("{\"value\"b\"}"));
        files.put("empty.jsonl", HEADER);
        files
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).expect("write a file");
    }

    fn ordeal(&self, line: &str) -> Done {
        done(ordeal(line.split_whitespace()).current_dir(self.path()))
    }
}

#[test]
fn several_files_have_a_line_each_and_the_worst_exit_code() {
    let files = Files::new();
    let check = |names: &str, code: i32, total: &str| {
        let lines = files.ordeal(&format!("check {names}")).exits(code).stdout;
        assert_eq!(lines.lines().count(), names.split_whitespace().count() + 1, "{lines}");
        for (name, line) in names.split_whitespace().zip(lines.lines()) {
            assert!(line.starts_with(&format!("{name}: ")), "{line}");
        }
        assert_eq!(lines.lines().last(), Some(total));
    };
    check("good.jsonl good.jsonl", 0, "2 files: 2 valid");
    check(
        "good.jsonl bad.jsonl empty.jsonl",
        10,
        "3 files: 1 valid, 1 not linearizable, 1 without an operation",
    );
    check("empty.jsonl good.jsonl", 11, "2 files: 1 valid, 1 without an operation");
    check("damaged.jsonl good.jsonl missing.jsonl", 3, "3 files: 1 valid, 2 missing or damaged");
    check("damaged.jsonl bad.jsonl", 10, "2 files: 1 not linearizable, 1 missing or damaged");
    let damaged = files.ordeal("check good.jsonl damaged.jsonl").exits(3).explains("damaged.jsonl");
    assert!(damaged.stderr.contains("line "), "{}", damaged.stderr);
    let json = files.ordeal("check --json good.jsonl bad.jsonl damaged.jsonl").exits(10).stdout;
    let lines: Vec<serde_json::Value> =
        json.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let verdicts: Vec<&str> = lines.iter().filter_map(|line| line["verdict"].as_str()).collect();
    assert_eq!(verdicts, ["valid", "not_linearizable", "damaged"]);
    assert_eq!((&lines[3]["files"], &lines[3]["exit"]), (&3.into(), &10.into()));
}

#[test]
fn some_keys_are_judged_and_a_missing_one_has_neighbours() {
    let files = Files::new();
    files.ordeal("check bad.jsonl").exits(10);
    assert!(files.ordeal("check bad.jsonl --key k1").exits(0).stdout.contains("2 operations on 1 keys"));
    files.ordeal("check bad.jsonl --key k1 --key k2").exits(10);
    let missing = files.ordeal("check bad.jsonl --key k3").exits(2).explains("k3");
    assert!(missing.stderr.contains("hint: it has k1, k2"), "{}", missing.stderr);
    files.ordeal("show bad.jsonl --key k3").exits(2).explains("k3");
}

#[test]
fn a_model_is_what_the_operations_must_fit() {
    let files = Files::new();
    files.ordeal("check good.jsonl --model register").exits(0);
    files.ordeal("check good.jsonl --model append").exits(3).explains("operation #1");
    files.ordeal("check good.jsonl --model queue").exits(3).explains("good.jsonl");
    files.ordeal("check good.jsonl --model queue --key k1").exits(2).explains("queue");
    let unknown = files.ordeal("check good.jsonl --model stack").exits(2);
    assert!(unknown.stderr.contains("cas-register"), "{}", unknown.stderr);
}

/// Lines of Jepsen's EDN: process, type, f, value.
fn edn(lines: &[(u32, &str, &str, &str)]) -> String {
    let lines = lines.iter().map(|(process, kind, f, value)| {
        format!("{{:process {process}, :type :{kind}, :f :{f}, :value {value}}}\n")
    });
    lines.collect()
}

#[test]
fn sets_counters_queues_locks_and_banks_come_from_jepsen() {
    let files = Files::new();
    let check = |model: &str, lines: &[(u32, &str, &str, &str)], code: i32| {
        files.put("thing.edn", &edn(lines));
        files.ordeal(&format!("check thing.edn --model {model}")).exits(code)
    };
    let op = |f: &'static str, asked: &'static str, answered: &'static str| {
        [(0, "invoke", f, asked), (0, "ok", f, answered)]
    };
    let two = |one: [(u32, &'static str, &'static str, &'static str); 2], other| [one, other].concat();
    check("set", &two(op("add", "3", "3"), op("read", "nil", "#{3}")), 0);
    check("set", &two(op("add", "3", "3"), op("read", "nil", "[]")), 10);
    check("counter", &two(op("add", "3", "3"), op("read", "nil", "3")), 0);
    check("counter", &two(op("add", "3", "3"), op("read", "nil", "4")), 10);
    check("queue", &two(op("enqueue", "3", "3"), op("dequeue", "nil", "3")), 0);
    let told = check("queue", &two(op("enqueue", "3", "3"), op("dequeue", "nil", "nil")), 10).stdout;
    assert!(told.contains("process 0 called :enqueue 3 at 0.000 s"), "{told}");
    check("lock", &two(op("acquire", "nil", "nil"), op("release", "nil", "nil")), 0);
    check("lock", &two(op("acquire", "nil", "7"), op("acquire", "nil", "8")), 10);
    let transfer = op("transfer", "{:from 0, :to 1, :amount 4}", "nil");
    check("bank=10,0", &two(transfer, op("read", "nil", "{0 6, 1 4}")), 0);
    check("bank=10,0", &two(transfer, op("read", "nil", "{0 6, 1 5}")), 10);
    // A crash may have happened, a failure has not.
    let crash = [(1, "invoke", "enqueue", "3"), (1, "info", "enqueue", "3")];
    check("queue", &[crash.as_slice(), &op("dequeue", "nil", "3")].concat(), 0);
    let failure = [(1, "invoke", "enqueue", "3"), (1, "fail", "enqueue", "3")];
    check("queue", &[failure.as_slice(), &op("dequeue", "nil", "3")].concat(), 10);
    check("queue", &op("push", "3", "3"), 3).explains("line 2");
    check("queue", &[(0, "ok", "enqueue", "3")], 3).explains("line 1");
    check("queue", &[], 3).explains("thing.edn");
}

#[test]
fn operations_are_shown_as_a_table() {
    let files = Files::new();
    let failing = files.ordeal("show bad.jsonl --failing").exits(0).stdout;
    for part in [
        "stale read",
        "▶",
        "write c",
        "= b",
        "#5 cannot come next: it was answered \"b\", but \"c\" is there",
    ] {
        assert!(failing.contains(part), "`{part}` is not in:\n{failing}");
    }
    assert!(files.ordeal("show good.jsonl --failing").exits(0).stdout.starts_with("Valid: "));
    let key = files.ordeal("show good.jsonl --key k1").exits(0).stdout;
    assert_eq!(key.lines().count(), 3, "{key}");
    let around = files.ordeal("show good.jsonl --around 3.2s --window 100ms").exits(0).stdout;
    assert!(around.lines().count() == 2 && around.contains("3.000 s"), "{around}");
    let json = files.ordeal("show good.jsonl --key k2 --json").exits(0).stdout;
    assert_eq!(json.lines().count(), 3);
    assert!(files.ordeal("show good.jsonl").exits(0).stdout.contains("k2 (3), k1 (2)"));
    assert!(files.ordeal("show good.jsonl --key k2 --limit 1").exits(0).stdout.contains("… and 2 more"));
    files.ordeal("show damaged.jsonl --failing").exits(3).explains("line ");
    files.ordeal("show missing.jsonl --failing").exits(3).explains("missing.jsonl");
    assert!(files.ordeal("show good.jsonl --around soon").exits(2).stderr.contains("12.55s"));
    files.ordeal("show good.jsonl --failing --key k1").exits(2);
}
