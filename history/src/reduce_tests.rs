//! That no reduction takes an explanation away: whatever has an order has one after every step, tried on random histories
//! with all orders.

use crate::model::KeyModel;
use std::collections::BTreeSet;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use super::*;
use crate::linear::{Entry, all_orders};
use crate::operation::{Claim, ClientId, OpId};

type KeyTrace = Vec<Entry<Call, Answer>>;

fn has_order(trace: &KeyTrace) -> bool {
    all_orders(&KeyModel::default(), trace)
}

fn value(random: &mut Pcg64) -> Value {
    Value::from(["a", "b", "c", "d"][random.random_range(0..4)])
}

/// A call on few values with an answer that may be right.
fn operation(random: &mut Pcg64) -> (Call, Option<Answer>) {
    let optional = |random: &mut Pcg64| random.random_bool(0.8).then(|| value(random));
    let (call, answer) = match random.random_range(0..10) {
        0..4 => (Call::Read, Answer::Value(optional(random))),
        4..6 => (Call::Write(value(random)), Answer::Done),
        6 => (Call::Delete, Answer::Done),
        _ => {
            let answer = match random.random_range(0..5) {
                0..3 => Answer::CasDone,
                3 => Answer::CasFailed(random.random_bool(0.5).then(|| value(random))),
                _ => Answer::CasFailedAbsent,
            };
            (Call::Cas { expected: optional(random), new: value(random) }, answer)
        }
    };
    (call, random.random_bool(0.8).then_some(answer))
}

fn history(random: &mut Pcg64, operation: impl Fn(&mut Pcg64) -> (Call, Option<Answer>)) -> KeyTrace {
    let count = random.random_range(2..7);
    let entries = (0..count).map(|_| {
        let (op, answer) = operation(random);
        let called = random.random_range(0..12);
        let returned = answer.map(|answer| (called + random.random_range(0..6), answer));
        Entry { op, called, returned }
    });
    entries.collect()
}

#[test]
fn leaving_out_all_that_is_about_some_values_keeps_every_explanation() {
    let mut random = Pcg64::seed_from_u64(7);
    let (mut explained, mut steps, mut smaller) = (0, 0, 0);
    for _ in 0..60_000 {
        let whole = history(&mut random, operation);
        let seen = whole.iter().map(|entry| (&entry.op, entry.returned.as_ref().map(|(_, answer)| answer)));
        let groups = Groups::of(seen).expect("no appends");
        let is_explained = has_order(&whole);
        explained += u32::from(is_explained);
        for bits in 0..1_u32 << groups.count {
            let kept: BTreeSet<usize> = (0..groups.count).filter(|group| bits & 1 << group != 0).collect();
            let left: KeyTrace = groups.kept(&kept).into_iter().map(|at| whole[at].clone()).collect();
            let is_left = has_order(&left);
            assert!(is_left || !is_explained, "{whole:#?} has an order, {left:#?} has none");
            steps += u32::from(is_explained && left.len() < whole.len());
            smaller += u32::from(!is_left && left.len() < whole.len());
        }
    }
    assert!(explained > 5_000 && steps > 5_000 && smaller > 5_000, "{explained} {steps} {smaller}");
}

#[test]
fn forgetting_what_came_before_keeps_every_explanation() {
    let mut random = Pcg64::seed_from_u64(9);
    let (mut steps, mut smaller) = (0, 0);
    for _ in 0..60_000 {
        let whole = history(&mut random, operation);
        let is_explained = has_order(&whole);
        for write in 0..whole.len() {
            if whole[write].returned.is_none() || !KeyModel::is_blind(&whole[write].op) {
                continue;
            }
            let left = behind::<KeyModel>(&whole, write).into_iter().map(|(at, is_open)| {
                let entry = whole[at].clone();
                if is_open { Entry { returned: None, ..entry } } else { entry }
            });
            let left: KeyTrace = left.collect();
            let is_left = has_order(&left);
            assert!(is_left || !is_explained, "{whole:#?} has an order, {left:#?} has none");
            steps += u32::from(is_explained && left.len() < whole.len());
            smaller += u32::from(!is_left && left.len() < whole.len());
        }
    }
    assert!(steps > 5_000 && smaller > 3_000, "{steps} {smaller}");
}

/// Reads and appends of words, each perhaps twice.
fn of_words(random: &mut Pcg64) -> (Call, Option<Answer>) {
    let word = |random: &mut Pcg64| ["a,", "b,", "c,"][random.random_range(0..3)];
    let (call, answer) = match random.random_bool(0.5) {
        true => (Call::Append(Value::from(word(random))), Answer::Done),
        false => {
            let seen: String = (0..random.random_range(0..3)).map(|_| word(random)).collect();
            (Call::Read, Answer::Value((!seen.is_empty()).then(|| Value::from(seen))))
        }
    };
    (call, random.random_bool(0.85).then_some(answer))
}

fn operations_of(trace: &KeyTrace) -> Vec<Operation> {
    let of = |(at, entry): (usize, &Entry<Call, Answer>)| Operation {
        id: OpId(at as u64),
        client: ClientId(u32::try_from(at).expect("few")),
        key: "k".into(),
        call: entry.op.clone(),
        invoked_ns: entry.called,
        returned: entry.returned.clone().map(|(ns, answer)| (ns, Outcome::Ok(answer, Claim::default()))),
        node: None,
    };
    trace.iter().enumerate().map(of).collect()
}

#[test]
fn erasing_words_keeps_every_explanation() {
    let mut random = Pcg64::seed_from_u64(8);
    let (mut explained, mut smaller) = (0, 0);
    for _ in 0..60_000 {
        let whole = history(&mut random, of_words);
        let operations = operations_of(&whole);
        let Some(words) = Words::of(&operations.iter().collect::<Vec<_>>()) else { continue };
        let is_explained = has_order(&whole);
        explained += u32::from(is_explained);
        for bits in 0..1_u32 << words.count() {
            let kept: BTreeSet<usize> = (0..words.count()).filter(|word| bits & 1 << word != 0).collect();
            let texts = words.texts(&kept);
            let left = words.only(&kept);
            let same: Vec<Operation> =
                operations.iter().filter_map(|operation| only_words(operation, &texts)).collect();
            assert_eq!(left, same, "what a certificate means is what was judged");
            let entries = left.iter().map(|operation| Entry {
                op: operation.call.clone(),
                called: operation.invoked_ns,
                returned: operation.answered_ns().zip(operation.answer().cloned()),
            });
            let left: KeyTrace = entries.collect();
            let is_left = has_order(&left);
            assert!(is_left || !is_explained, "{whole:#?} has an order, {left:#?} has none");
            smaller += u32::from(!is_left && left.len() < whole.len());
        }
    }
    assert!(explained > 5_000 && smaller > 5_000, "{explained} {smaller}");
}

#[test]
fn the_fewest_parts_are_found() {
    let check = |count: usize, needed: &[usize]| {
        let needed: BTreeSet<usize> = needed.iter().copied().collect();
        assert_eq!(fewest(count, |kept| needed.is_subset(kept)), needed);
    };
    check(1, &[0]);
    check(9, &[8]);
    check(1_000, &[3, 500, 999]);
}
