//! The budget holds, and what is not judged within it, or not judged at all, is unknown.

use std::fmt::Write;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use ordeal_history::{Budget, History, Report, Verdict, check, check_until};

use crate::generator::{MIXES, Mix, Recipe, forget, make_stale, valid};
use crate::story::history;

/// Compare-and-sets that all overlap and all succeed, one from each of six values to each other: they lead back to where they
/// began, in very many ways, but another value is read. Every set of them must be tried.
fn hard() -> History {
    let mut story = String::from("c90 0-1 write v0\n");
    for (client, (from, to)) in (0..6).flat_map(|from| (0..6).map(move |to| (from, to))).enumerate() {
        if from != to {
            writeln!(story, "c{client} 10-20 cas v{from} v{to}").expect("strings grow");
        }
    }
    story += "c90 30-40 read v1";
    history(&story)
}

fn judge(history: &History, time: Duration, memory_bytes: usize) -> (Report, Duration) {
    let start = Instant::now();
    let report = check(history, &Budget { time, memory_bytes }, &|_| {});
    (report, start.elapsed())
}

#[test]
fn time_ends_a_hard_search_as_unknown() {
    let time = Duration::from_millis(500);
    let (report, elapsed) = judge(&hard(), time, 4 << 30);
    assert_eq!(report.verdict, Verdict::Unknown);
    assert!(elapsed < time * 2, "{elapsed:?}");
    let note = report.keys[0].note.as_deref().unwrap_or_default();
    assert!(note.starts_with("the time ended after"), "{note}");
    assert!(note.contains("of 32 operations in order"), "{note}");
    assert!(report.sentence().starts_with("unknown: 1 of 1 keys are undecided"), "{}", report.sentence());
}

#[test]
fn memory_ends_a_hard_search_as_unknown() {
    let (report, elapsed) = judge(&hard(), Duration::from_secs(60), 16 << 20);
    assert_eq!(report.verdict, Verdict::Unknown);
    assert!(elapsed < Duration::from_secs(30), "{elapsed:?}");
    let note = report.keys[0].note.as_deref().unwrap_or_default();
    assert!(note.starts_with("the memory ended after"), "{note}");
}

#[test]
fn a_caller_may_stop_it() {
    let stop = AtomicBool::new(true);
    let report = check_until(&hard(), &Budget::default(), &|_| {}, &stop);
    assert_eq!(report.verdict, Verdict::Unknown);
}

#[test]
fn a_checker_that_fails_calls_nothing_valid() {
    let report = check(&history("c1 0-10 write a"), &Budget::default(), &|_| panic!("no screen"));
    assert_eq!(report.verdict, Verdict::Unknown);
    assert_eq!(report.keys[0].note.as_deref(), Some("the checker itself failed: no screen"));
    // Also where an id stands twice, so that no order can be replayed.
    let mut twice = history("c1 0-10 write a\nc2 20-30 write b");
    twice.operations[1].id = twice.operations[0].id;
    let report = check(&twice, &Budget::default(), &|_| {});
    assert_eq!(report.verdict, Verdict::Unknown);
}

#[test]
fn a_hard_key_does_not_keep_the_others_from_their_verdict() {
    let mut all = hard();
    for (key, story) in [("a", "c1 0-10 write a"), ("z", "c1 0-10 write a\nc1 20-30 read -")] {
        for mut operation in history(story).operations {
            operation.key = key.into();
            operation.id.0 += all.operations.len() as u64;
            all.operations.push(operation);
        }
    }
    let (report, _) = judge(&all, Duration::from_millis(500), 4 << 30);
    let verdicts: Vec<(&str, Verdict)> = report.keys.iter().map(|key| (&*key.key, key.verdict)).collect();
    assert_eq!(verdicts, [("a", Verdict::Valid), ("k17", Verdict::Unknown), ("z", Verdict::Invalid)]);
    assert_eq!(report.verdict, Verdict::Invalid, "a fault that was found counts, whatever else is unknown");
}

#[test]
fn an_invalid_key_counts_even_when_the_search_gave_up() {
    let stale = history("c1 0-10 write a\nc1 20-30 write b\nc2 40-50 read a");
    let (report, _) = judge(&stale, Duration::from_secs(10), 0);
    assert_eq!(report.verdict, Verdict::Invalid, "{report:#?}");
}

/// The bounds under which a run is planned until there is a polynomial judge: 4 clients and 128 operations a key.
#[test]
fn a_key_as_runs_have_them_is_decided_quickly() {
    for mix in MIXES {
        for seed in 0..20 {
            let recipe = Recipe { mix, clients: 4, operations: 128, crashed_of_ten: 0, pause_max: 30 };
            let mut history = valid(&recipe, seed);
            forget(&mut history, 20, seed);
            let (report, elapsed) = judge(&history, Duration::from_secs(10), 1 << 30);
            assert_eq!(report.verdict, Verdict::Valid, "{mix:?} {seed}");
            assert!(elapsed < Duration::from_secs(2), "{mix:?} {seed}: {elapsed:?}");
            // Where the search looked first at what it had put most into, it needed millions.
            let steps = report.keys[0].steps;
            assert!(steps < 100_000, "{mix:?} {seed}: {steps} steps");
            if matches!(mix, Mix::UniqueWrites | Mix::Words | Mix::UniqueCas) {
                make_stale(&mut history);
                let (report, elapsed) = judge(&history, Duration::from_secs(10), 1 << 30);
                assert_eq!(report.verdict, Verdict::Invalid, "{mix:?} {seed}");
                assert!(elapsed < Duration::from_secs(2), "{mix:?} {seed}: {elapsed:?}");
            }
        }
    }
}

#[test]
fn the_same_history_gets_the_same_report() {
    let recipe = Recipe { mix: Mix::UniqueCas, clients: 4, operations: 100, crashed_of_ten: 2, pause_max: 9 };
    let mut history = valid(&recipe, 7);
    make_stale(&mut history);
    let judge = || Report { elapsed_ms: 0, ..judge(&history, Duration::from_secs(10), 1 << 30).0 };
    let first = judge();
    assert!((0..5).all(|_| judge() == first));
}
