//! The judge agrees with two others on thousands of random histories, and its names are proofs.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use ordeal_history::linear::{self, Entry, Limits, all_orders, replay};
use ordeal_history::model::KeyModel;
use ordeal_history::{
    AnomalyKind, Answer, Budget, Call, Certificate, History, OpId, Report, Verdict, check, verdict,
};

use crate::generator::{MIXES, Mix, Recipe, make_stale, mutate, valid};
use crate::second_opinions::{brute_force_accepts, stateright_accepts};

fn judge(history: &History) -> Report {
    check(history, &Budget { time: Duration::from_secs(20), memory_bytes: 1 << 28 }, &|_| {})
}

/// Without memory for the search, only names and claims are left to judge by.
fn judge_by_name(history: &History) -> Report {
    check(history, &Budget { time: Duration::from_secs(20), memory_bytes: 0 }, &|_| {})
}

/// What was recorded, for the search and the replayer, with the ids.
fn trace_of(history: &History) -> (Vec<Entry<Call, Answer>>, Vec<OpId>) {
    let counted = history.operations.iter().filter(|operation| !operation.is_failed());
    let entries = counted.map(|operation| {
        let returned = operation.answered_ns().zip(operation.answer().cloned());
        (Entry { op: operation.call.clone(), called: operation.invoked_ns, returned }, operation.id)
    });
    entries.unzip()
}

/// An order replays; a core has no order. Says whether there was one.
fn confirm(history: &History, certificate: &Certificate) -> bool {
    let (trace, ids) = trace_of(history);
    let at = |id: &OpId| ids.iter().position(|other| other == id).expect("an operation that did not fail");
    match certificate {
        Certificate::Order(order) => {
            let order: Vec<usize> = order.iter().map(at).collect();
            replay(&KeyModel::default(), &trace, &order).expect("an order that explains all answers");
        }
        Certificate::Core(..) | Certificate::CoreOfWords(..) | Certificate::CoreBehind(..) => {
            let core = certificate.core(history).expect("operations that are there");
            let core: Vec<_> = core.into_iter().map(|(_, entry)| entry).collect();
            assert!(!all_orders(&KeyModel::default(), &core), "{certificate:?} of {history:#?}");
        }
        Certificate::None => return false,
    }
    true
}

/// How the histories of a round were judged.
#[derive(Debug, Default)]
struct Tally {
    valid: usize,
    invalid: usize,
    nameless: usize,
    by_name: usize,
}

fn round(mix: Mix, operations: u64, seeds: std::ops::Range<u64>, opinion: fn(&History) -> bool) -> Tally {
    let mut tally = Tally::default();
    for seed in seeds {
        let recipe = Recipe {
            mix,
            clients: 2 + u32::try_from(seed % 3).expect("below 3"),
            operations,
            crashed_of_ten: u32::try_from(seed % 5).expect("below 5"),
            pause_max: 1 + seed % 7,
        };
        let mut history = valid(&recipe, seed);
        let is_mutated = !seed.is_multiple_of(4);
        if is_mutated {
            (0..1 + seed % 3).for_each(|more| mutate(&mut history, seed * 10 + more));
        }
        let expected = if opinion(&history) { Verdict::Valid } else { Verdict::Invalid };
        assert!(
            is_mutated || expected == Verdict::Valid,
            "seed {seed}: the generator is wrong: {history:#?}"
        );
        let report = judge(&history);
        assert_eq!(report.verdict, expected, "{mix:?}, seed {seed}: {report:#?}\n{history:#?}");
        assert_eq!(
            verdict(&history, &Budget::default()),
            expected,
            "{mix:?}, seed {seed}: the verdict alone"
        );
        if let Some(key) = report.keys.first() {
            let is_backed = confirm(&history, &key.certificate);
            assert!(is_backed, "{mix:?}, seed {seed}: {history:#?}");
        }
        let named = judge_by_name(&history);
        assert!(
            named.verdict != Verdict::Invalid || expected == Verdict::Invalid,
            "{mix:?}, seed {seed}: the name is no proof: {:#?}\n{history:#?}",
            named.anomalies
        );
        tally.valid += usize::from(expected == Verdict::Valid);
        tally.invalid += usize::from(expected == Verdict::Invalid);
        tally.by_name += usize::from(named.verdict == Verdict::Invalid);
        assert_eq!(
            report.anomalies.len(),
            usize::from(expected == Verdict::Invalid),
            "{:#?}",
            report.anomalies
        );
        tally.nameless += report.anomalies.iter().filter(|a| a.kind == AnomalyKind::NotLinearizable).count();
    }
    tally
}

#[test]
fn it_agrees_with_all_orders_of_up_to_6_operations() {
    for mix in MIXES {
        for operations in 2..=6 {
            let tally = round(mix, operations, 0..histories() / 30, brute_force_accepts);
            assert!(tally.valid > 500, "{mix:?}, {operations}: {tally:?}");
            assert!(operations < 4 || tally.invalid > 100, "{mix:?}, {operations}: {tally:?}");
        }
    }
}

/// So many histories against all orders: `ORDEAL_HISTORIES=10000000` for the long version.
fn histories() -> u64 {
    std::env::var("ORDEAL_HISTORIES").ok().and_then(|count| count.parse().ok()).unwrap_or(60_000)
}

/// What the search says that knows of no fast path; `None` when it gives up.
fn search_accepts(history: &History) -> Option<bool> {
    let stop = AtomicBool::new(false);
    let deadline = Instant::now() + Duration::from_secs(60);
    let limits = Limits { steps: 10_000, deadline, memory_bytes: 1 << 30, stop: &stop };
    match linear::decide(&KeyModel::default(), &trace_of(history).0, &limits).0 {
        linear::Decision::Order(_) => Some(true),
        linear::Decision::NoOrder(_) => Some(false),
        linear::Decision::GaveUp(..) => None,
    }
}

#[test]
fn fast_paths_and_the_search_agree_on_histories_that_are_too_long_for_all_orders() {
    for mix in [Mix::UniqueWrites, Mix::UniqueCas, Mix::Words] {
        let (mut valid, mut invalid) = (0, 0);
        for seed in 0..120 {
            let crashed_of_ten = u32::try_from(seed % 4).expect("below 4");
            let recipe = Recipe {
                mix,
                clients: 4,
                operations: 12 + seed % 16,
                crashed_of_ten,
                pause_max: 1 + seed % 9,
            };
            let mut history = valid_or_not(&recipe, seed);
            if seed.is_multiple_of(5) {
                make_stale(&mut history);
            }
            let Some(expected) = search_accepts(&history) else { continue };
            let report = judge(&history);
            assert_eq!(
                report.verdict == Verdict::Valid,
                expected,
                "{mix:?} {seed}: {report:#?}\n{history:#?}"
            );
            let certificate = &report.keys[0].certificate;
            let is_long = certificate.few().is_some_and(|(answered, open)| answered.len() + open.len() > 10);
            assert!(!is_long, "{mix:?} {seed}: {certificate:?}");
            assert!(confirm(&history, certificate), "{mix:?} {seed}: nothing backs it");
            valid += u32::from(expected);
            invalid += u32::from(!expected);
        }
        assert!(valid > 15 && invalid > 15, "{mix:?}: {valid} valid, {invalid} invalid");
    }
}

fn valid_or_not(recipe: &Recipe, seed: u64) -> History {
    let mut history = valid(recipe, seed);
    if !seed.is_multiple_of(3) {
        mutate(&mut history, seed);
    }
    history
}

#[test]
fn it_agrees_with_stateright_on_histories_of_up_to_10_operations() {
    for mix in MIXES {
        // Its time grows threefold with every operation.
        for (operations, seeds) in [(7, 1000..1800), (8, 2000..2400), (10, 3000..3100)] {
            let tally = round(mix, operations, seeds, stateright_accepts);
            assert!(tally.valid > 30, "{mix:?}, {operations}: {tally:?}");
            assert!(tally.invalid > 10, "{mix:?}, {operations}: {tally:?}");
        }
    }
}

#[test]
fn most_faults_of_unique_values_have_a_name() {
    for mix in [Mix::UniqueWrites, Mix::Words] {
        let tally = round(mix, 9, 5000..5400, stateright_accepts);
        assert!(tally.nameless * 10 < tally.invalid, "{mix:?}: {tally:?}");
        assert!(tally.by_name * 10 > tally.invalid * 8, "{mix:?}: {tally:?}");
    }
}
