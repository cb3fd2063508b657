//! The judge agrees with two others on thousands of random histories, and its names are proofs.

use std::time::Duration;

use ordeal_history::{AnomalyKind, Budget, History, Report, Verdict, check};

use crate::generator::{MIXES, Mix, Recipe, mutate, valid};
use crate::second_opinions::{brute_force_accepts, stateright_accepts};

fn judge(history: &History) -> Report {
    check(history, &Budget { time: Duration::from_secs(20), memory_bytes: 1 << 28 }, &|_| {})
}

/// Without memory for the search, only names and claims are left to judge by.
fn judge_by_name(history: &History) -> Report {
    check(history, &Budget { time: Duration::from_secs(20), memory_bytes: 0 }, &|_| {})
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
            let tally = round(mix, operations, 0..2000, brute_force_accepts);
            assert!(tally.valid > 500, "{mix:?}, {operations}: {tally:?}");
            assert!(operations < 4 || tally.invalid > 100, "{mix:?}, {operations}: {tally:?}");
        }
    }
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
