//! `ordeal kv bench` against nodes that do as they are told: every operation is counted once, in the right place; the
//! outcome is in the exit code; flags out of bounds are refused.

use std::collections::BTreeSet;

use clap::Parser;
use ordeal_client::cli::{Exit, KvArgs, execute};
use ordeal_client::wire::{RefusalReason, RequestBody, WriteOp};
use serde_json::Value;

use crate::fake::{Act, Fake, alone, on_write, refuse, seats};

#[derive(Parser)]
#[command(name = "ordeal")]
enum Ordeal {
    Kv(KvArgs),
}

fn parsed(flags: &[&str]) -> Result<KvArgs, clap::Error> {
    Ordeal::try_parse_from([&["ordeal", "kv", "bench", "--warm-up", "0ms"], flags].concat())
        .map(|Ordeal::Kv(args)| args)
}

/// Exit code, stdout and stderr.
fn run(address: &str, flags: &[&str]) -> (Exit, String, String) {
    let args = parsed(&[flags, &["--endpoints", address]].concat()).unwrap_or_else(|e| panic!("{e}"));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = execute(args, &mut std::io::empty(), &mut out, &mut err);
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (exit, text(out), text(err))
}

fn json(node: &Fake, flags: &[&str]) -> (Exit, Value, String) {
    let (exit, out, err) = run(node.address(), &[flags, &["--json"]].concat());
    assert_eq!(out.lines().count(), 1, "{out}{err}");
    (exit, serde_json::from_str(&out).expect("json"), err)
}

fn count(report: &Value, side: &str, what: &str) -> u64 {
    report[side][what].as_u64().unwrap_or_else(|| panic!("{side} {what}: {report}"))
}

/// Keys read, and keys and lengths written; without the one read before the bench.
type Seen = (Vec<String>, Vec<(String, usize)>);

fn seen(node: &Fake) -> Seen {
    let text = |key: Vec<u8>| String::from_utf8(key).expect("text");
    let (mut reads, mut writes) = (Vec::new(), Vec::new());
    for body in node.seen().into_iter().skip(1) {
        match body {
            RequestBody::Read { key, .. } => reads.push(text(key)),
            RequestBody::Write { key, op: WriteOp::Put(value), .. } => writes.push((text(key), value.len())),
            RequestBody::OpenSession { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    (reads, writes)
}

#[test]
fn what_was_asked_is_what_is_counted() {
    let node = alone(|_| Act::Behave);
    let flags =
        ["--clients", "3", "--operations", "300", "--keys", "7", "--value-bytes", "11", "--reads", "0.25"];
    let (exit, report, err) = json(&node, &flags);
    assert_eq!((exit, err.as_str()), (Exit::Done, ""));
    let (reads, writes) = seen(&node);
    assert_eq!(count(&report, "reads", "answered"), u64::try_from(reads.len()).expect("few"));
    assert_eq!(count(&report, "writes", "answered"), u64::try_from(writes.len()).expect("few"));
    assert_eq!(reads.len() + writes.len(), 300);
    // 75 expected, 7.5 the standard deviation.
    assert!((38..=112).contains(&reads.len()), "{} of 300 are reads", reads.len());
    assert!(writes.iter().all(|(_, bytes)| *bytes == 11), "{writes:?}");
    let keys: BTreeSet<_> = reads.into_iter().chain(writes.into_iter().map(|(key, _)| key)).collect();
    assert_eq!(keys, (0..7).map(|number| format!("bench-{number}")).collect());
}

#[test]
fn the_same_seed_asks_for_the_same() {
    for distribution in ["uniform", "zipf"] {
        let asked = |seed: &str| {
            let node = alone(|_| Act::Behave);
            let flags =
                ["--clients", "1", "--operations", "50", "--distribution", distribution, "--seed", seed];
            assert_eq!(run(node.address(), &flags).0, Exit::Done);
            seen(&node)
        };
        assert_eq!(asked("5"), asked("5"), "{distribution}");
        assert_ne!(asked("5"), asked("6"), "{distribution}");
    }
}

#[test]
fn answered_failed_and_unknown_are_kept_apart() {
    // A write that was hung up on is tried again; a refusal is then too late to make its fate known.
    let script = |number: u32, _: &_| match number % 4 {
        1 => Act::Behave,
        3 => Act::HangUp,
        _ => refuse(RefusalReason::TooLong { what: "value".to_owned(), bytes: 2, limit: 1 }),
    };
    let node = alone(on_write(script));
    let flags = ["--clients", "1", "--operations", "11", "--reads", "0", "--timeout", "1s"];
    let (exit, report, err) = json(&node, &flags);
    assert_eq!(exit, Exit::Done);
    let [answered, failed, unknown] =
        ["answered", "failed", "unknown"].map(|what| count(&report, "writes", what));
    assert_eq!((answered, failed, unknown), (4, 4, 3), "{report}");
    assert!(err.contains("warning: 7 were not answered") && report["error"].is_string(), "{err}{report}");
    for what in ["answered", "failed", "unknown"] {
        assert_eq!(count(&report, "both", what), count(&report, "writes", what), "{what}");
        assert_eq!(count(&report, "reads", what), 0, "{what}");
    }
    assert_eq!(report["reads"]["p50_us"], Value::Null);
}

#[test]
fn json_is_one_object_with_a_version() {
    let node = alone(|_| Act::Behave);
    let (exit, report, _) = json(&node, &["--clients", "2", "--time", "200ms", "--keys", "3"]);
    assert_eq!(exit, Exit::Done);
    let expected = [("v", "1"), ("command", "\"bench\""), ("outcome", "\"done\""), ("clients", "2")];
    for (name, value) in expected {
        assert_eq!(report[name].to_string(), value, "{name}");
    }
    assert!(report["time_us"].as_u64().is_some_and(|us| us >= 100_000), "{report}");
    for side in ["reads", "writes", "both"] {
        let quantiles = ["p50_us", "p99_us", "p99_9_us", "max_us"].map(|name| count(&report, side, name));
        assert!(quantiles.is_sorted(), "{side}: {quantiles:?}");
        let rate = report[side]["per_second"].as_f64().expect("a rate");
        let answered = report[side]["answered"].as_f64().expect("a count");
        let time_s = report["time_us"].as_f64().expect("a time") / 1e6;
        assert!((rate * time_s / answered - 1.0).abs() < 0.01, "{side}: {rate} {answered} {time_s}");
    }
}

#[test]
fn what_the_warm_up_does_is_not_counted() {
    let node = alone(|_| Act::Behave);
    // The later --warm-up would be a contradiction: `parsed` gives one already.
    let words =
        ["ordeal", "kv", "bench", "--warm-up", "100ms", "--operations", "5", "--clients", "1", "--json"];
    let words = [&words[..], &["--endpoints", node.address()]].concat();
    let Ordeal::Kv(args) = Ordeal::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
    let mut out = Vec::new();
    assert_eq!(execute(args, &mut std::io::empty(), &mut out, &mut Vec::new()), Exit::Done);
    let report: Value = serde_json::from_slice(&out).expect("json");
    assert_eq!(count(&report, "both", "answered"), 5);
    let (reads, writes) = seen(&node);
    assert!(reads.len() + writes.len() > 5, "nothing was asked in the warm-up");
}

#[test]
fn the_table_has_a_row_for_reads_for_writes_and_for_both() {
    let node = alone(|_| Act::Behave);
    let (exit, out, err) = run(node.address(), &["--clients", "2", "--operations", "20"]);
    assert_eq!((exit, err.as_str()), (Exit::Done, ""));
    let starts: Vec<_> = out.lines().map(|line| line.split_whitespace().next().unwrap_or_default()).collect();
    assert_eq!(starts, ["clients", "answered", "reads", "writes", "both"], "{out}");
    let widths: BTreeSet<usize> = out.lines().skip(1).map(|line| line.chars().count()).collect();
    assert_eq!(widths.len(), 1, "{out}");
}

#[test]
fn where_nothing_is_answered_the_exit_code_says_so() {
    let [empty] = seats();
    let gone = empty.address.clone();
    drop(empty);
    let (exit, out, err) = run(&gone, &["--timeout", "200ms"]);
    assert_eq!((exit, out.as_str()), (Exit::NotDone, ""));
    assert!(err.contains("first read") && err.contains("hint: "), "{err}");

    let node = alone(on_write(|_, _| refuse(RefusalReason::Busy)));
    let flags = ["--clients", "2", "--operations", "4", "--reads", "0", "--timeout", "200ms"];
    let (exit, report, err) = json(&node, &flags);
    assert_eq!((exit, &report["outcome"]), (Exit::NotDone, &Value::from("not_done")));
    assert_eq!((count(&report, "writes", "failed"), count(&report, "both", "answered")), (4, 0));
    assert!(err.contains("error: nothing was answered, 4 were not") && err.contains("busy"), "{err}");
}

#[test]
fn all_clients_share_their_connections_and_sessions() {
    let node = alone(|_| Act::Behave);
    let flags = ["--clients", "20", "--depth", "5", "--operations", "2000", "--connections", "2"];
    let (exit, report, err) = json(&node, &flags);
    assert_eq!((exit, err.as_str(), count(&report, "both", "answered")), (Exit::Done, "", 2_000));
    assert_eq!(node.connections(), 3, "two, and that of the read before all");
    let opened = node.seen().iter().filter(|body| matches!(body, RequestBody::OpenSession { .. })).count();
    assert_eq!(opened, 4, "one a shard");
    let writes = node.writes();
    let distinct: BTreeSet<_> = writes.iter().collect();
    assert_eq!(distinct.len(), writes.len(), "no number is used twice");
}

#[test]
fn a_rate_is_kept_where_there_is_room_for_it() {
    let node = alone(|_| Act::Behave);
    let flags = ["--rate", "2000", "--time", "300ms", "--clients", "8"];
    let (exit, report, _) = json(&node, &flags);
    assert_eq!(exit, Exit::Done);
    // 600 are due in this time; a busy machine may be behind.
    let answered = count(&report, "both", "answered");
    assert!((1..=610).contains(&answered), "{report}");
}

#[test]
fn more_under_way_than_a_client_carries_is_usage() {
    let node = alone(|_| Act::Behave);
    let (exit, _, err) = run(node.address(), &["--clients", "10000", "--depth", "256"]);
    assert_eq!(exit, Exit::Usage);
    assert!(err.contains("2560000 operations under way, the limit is 32768"), "{err}");
}

#[test]
fn a_wrong_endpoint_is_usage() {
    let (exit, out, err) = run("nowhere", &[]);
    assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
    assert!(err.contains("hint: "), "{err}");
}

#[test]
fn flags_out_of_bounds_are_refused_and_the_bounds_are_named() {
    let wrong: [(&[&str], &str); 18] = [
        (&["--clients", "0"], "1 to 10000"),
        (&["--clients", "10001"], "1 to 10000"),
        (&["--connections", "65"], "1 to 64"),
        (&["--depth", "0"], "1 to 256"),
        (&["--depth", "257"], "1 to 256"),
        (&["--rate", "0"], "1..="),
        (&["--clients", "-1"], ""),
        (&["--value-bytes", "1048577"], "0 to 1048576"),
        (&["--keys", "0"], "1..=10000000"),
        (&["--keys", "10000001"], "1..=10000000"),
        (&["--reads", "1.1"], "0.0 to 1.0"),
        (&["--reads", "NaN"], "0.0 to 1.0"),
        (&["--time", "99ms"], "100ms to 1h"),
        (&["--time", "61m"], "100ms to 1h"),
        (&["--time", "5"], "like 500ms"),
        (&["--operations", "0"], "1..="),
        (&["--time", "1s", "--operations", "5"], "cannot be used with"),
        (&["--distribution", "normal"], "uniform"),
    ];
    for (flags, words) in wrong {
        let error = parsed(flags).err().unwrap_or_else(|| panic!("{flags:?} was taken"));
        assert_eq!(error.exit_code(), 2, "{flags:?}");
        assert!(error.to_string().contains(words), "{flags:?}: {error}");
    }
    for flags in [
        ["--clients", "10000"],
        ["--depth", "256"],
        ["--value-size", "1"],
        ["--keys", "10000000"],
        ["--time", "1h"],
        ["--time", "100ms"],
    ] {
        assert!(parsed(&flags).is_ok(), "{flags:?}");
    }
}
