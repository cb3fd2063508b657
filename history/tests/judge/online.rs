//! The judge of a run that is going says what the judge at the end says, at the first return with which it is true.

use ordeal_history::online::Online;
use ordeal_history::{Budget, Event, History, Verdict, check};

use crate::generator::{Mix, Recipe, make_stale, mutate, valid};

/// The events in the order of time, calls before returns of the same time.
fn events_of(history: &History) -> Vec<Event> {
    let mut events = Vec::new();
    for operation in &history.operations {
        let op = operation.id;
        let (client, key, call) = (operation.client, operation.key.clone(), operation.call.clone());
        let time_ns = operation.invoked_ns;
        events.push((time_ns, false, op, Event::Invoke { op, client, key, call, time_ns }));
        if let Some((time_ns, outcome)) = operation.returned.clone() {
            let event = Event::Return { op, time_ns, outcome, node: None };
            events.push((time_ns, true, op, event));
        }
    }
    events.sort_by_key(|&(time_ns, is_return, op, _)| (time_ns, is_return, op));
    events.into_iter().map(|(.., event)| event).collect()
}

/// The history as it was after so many events.
fn prefix(events: &[Event], history: &History) -> History {
    let mut operations = Vec::new();
    for event in events {
        match event {
            Event::Invoke { op, .. } => {
                let mut operation = history.operation(*op).expect("it is there").clone();
                operation.returned = None;
                operations.push(operation);
            }
            Event::Return { op, time_ns, outcome, .. } => {
                let open = operations.iter_mut().find(|operation| operation.id == *op).expect("a call");
                open.returned = Some((*time_ns, outcome.clone()));
            }
        }
    }
    History { operations }
}

fn is_valid(history: &History) -> bool {
    check(history, &Budget::default(), &|_| {}).verdict == Verdict::Valid
}

#[test]
fn a_fault_is_found_with_the_return_that_makes_it_one() {
    let (mut faults, mut clean) = (0, 0);
    for seed in 0..1500 {
        let crashed_of_ten = u32::try_from(seed % 4).expect("below 4");
        let operations = 4 + seed % 12;
        let recipe = Recipe {
            mix: Mix::UniqueWrites,
            clients: 3,
            operations,
            crashed_of_ten,
            pause_max: 1 + seed % 9,
        };
        let mut history = valid(&recipe, seed);
        if !seed.is_multiple_of(3) {
            (0..3).for_each(|more| mutate(&mut history, seed * 10 + more));
        }
        let events = events_of(&history);
        let mut online = Online::default();
        let found = events.iter().position(|event| online.push(event).is_some());
        assert!(online.left_out().is_empty(), "{seed}");
        match found {
            Some(at) => {
                faults += 1;
                assert!(
                    !is_valid(&prefix(&events[..=at], &history)),
                    "seed {seed}, event {at}: {history:#?}"
                );
                assert!(is_valid(&prefix(&events[..at], &history)), "seed {seed}, event {at}: {history:#?}");
            }
            None => {
                clean += 1;
                assert!(is_valid(&history), "seed {seed}: {history:#?}");
            }
        }
    }
    assert!(faults > 100 && clean > 200, "{faults} faults, {clean} clean");
}

#[test]
fn what_is_remembered_does_not_grow_with_the_run() {
    for (seed, is_stale) in [(1, false), (2, true), (3, true)] {
        let recipe = Recipe {
            mix: Mix::UniqueWrites,
            clients: 20,
            operations: 20_000,
            crashed_of_ten: 0,
            pause_max: 40,
        };
        let mut history = valid(&recipe, seed);
        if is_stale {
            make_stale(&mut history);
        }
        let mut online = Online::default();
        let mut most = 0;
        let mut found = false;
        for event in events_of(&history) {
            found |= online.push(&event).is_some();
            most = most.max(online.remembered());
        }
        assert_eq!(found, is_stale, "seed {seed}");
        assert!(most < 400, "{most} at once");
    }
}

#[test]
fn what_it_cannot_judge_is_left_to_the_judge_at_the_end() {
    for mix in [Mix::UniqueCas, Mix::Words, Mix::FewValues] {
        let recipe = Recipe { mix, clients: 3, operations: 60, crashed_of_ten: 1, pause_max: 9 };
        let mut online = Online::default();
        for event in events_of(&valid(&recipe, 5)) {
            assert_eq!(online.push(&event), None, "{mix:?}");
        }
        assert_eq!(online.left_out().len(), 1, "{mix:?}");
    }
}
