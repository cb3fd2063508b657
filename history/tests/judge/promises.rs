//! Promises beside linearizability: each is kept where it is, and its breach is named.

use std::sync::Arc;

use ordeal_history::{
    Answer, Budget, Call, Claim, ClientId, History, Kept, OpId, Operation, Outcome, Promises, Value, check,
    promises,
};

/// Operations one after the other, each `client what value`: `w` writes, `r` reads, `a` appends.
fn judged(story: &[&str]) -> Promises {
    let operations = story.iter().enumerate().map(|(at, line)| {
        let words: Vec<&str> = line.split(' ').collect();
        let value = (words[2] != "-").then(|| Value::from(words[2]));
        let (call, answer) = match words[1] {
            "w" => (Call::Write(value.expect("a value")), Answer::Done),
            "a" => (Call::Append(value.expect("a word")), Answer::Done),
            "r" => (Call::Read, Answer::Value(value)),
            other => panic!("{other}"),
        };
        let invoked_ns = at as u64 * 1_000_000;
        Operation {
            id: OpId(at as u64),
            client: ClientId(words[0].parse().expect("a client")),
            key: Arc::from("k"),
            call,
            invoked_ns,
            returned: Some((invoked_ns + 500_000, Outcome::Ok(answer, Claim::default()))),
            node: None,
        }
    });
    let history = History { operations: operations.collect() };
    let report = check(&history, &Budget::default(), &|_| {});
    promises(&history, &report)
}

/// Sequential consistency, monotonic reads, monotonic writes, read your writes.
fn verdicts(story: &[&str], expected: [Kept; 4]) -> Promises {
    let promises = judged(story);
    let found: Vec<Kept> = promises.verdicts.iter().map(|report| report.verdict).collect();
    assert_eq!(found, expected, "{story:?}: {promises:#?}");
    promises
}

const K: Kept = Kept::Kept;
const B: Kept = Kept::Broken;

#[test]
fn what_is_linearizable_keeps_all_of_them() {
    let promises = verdicts(&["1 w a", "2 r a", "2 w b", "1 r b"], [K; 4]);
    assert_eq!((promises.staleness.reads, promises.staleness.stale), (2, 0));
}

#[test]
fn a_stale_read_of_another_client_breaks_none_but_linearizability() {
    let promises = verdicts(&["1 w a", "1 w b", "1 w c", "2 r a"], [K; 4]);
    let staleness = promises.staleness;
    assert_eq!((staleness.stale, staleness.worst_writes, staleness.worst_ns), (1, 2, 1_500_000));
    assert!(staleness.worst.is_some_and(|worst| worst.contains("2 newer writes")));
    let list = verdicts(&["1 a a,", "1 a b,", "2 r a,", "3 r a,b,"], [K; 4]).staleness;
    assert_eq!((list.reads, list.stale, list.worst_writes, list.worst_ns), (2, 1, 1, 500_000));
}

#[test]
fn who_reads_back_in_time_has_no_monotonic_reads() {
    // In an order that the times contradict, b and then a, each client's operations stand as it called them.
    let promises = verdicts(&["1 w a", "2 w b", "3 r b", "3 r a"], [K, B, K, K]);
    assert!(promises.verdicts[1].first.as_ref().is_some_and(|first| first.starts_with("c3 read \"a\"")));
    // Both by one client: then its writes were seen the wrong way round.
    verdicts(&["1 w a", "1 w b", "3 r b", "3 r a"], [B, B, B, K]);
    verdicts(&["1 w a", "3 r a", "3 r -"], [B, B, K, K]);
    verdicts(&["1 a a,", "2 a b,", "3 r a,b,", "3 r a,"], [B, B, K, K]);
}

#[test]
fn who_writes_and_reads_something_older_does_not_read_its_writes() {
    verdicts(&["1 w a", "2 w b", "2 r a"], [K, K, K, B]);
    verdicts(&["2 w b", "2 r -"], [B, K, K, B]);
    verdicts(&["2 a b,", "2 r -"], [B, K, K, B]);
}

#[test]
fn writes_of_one_client_the_wrong_way_round() {
    verdicts(&["1 a a,", "1 a b,", "2 r b,a,"], [B, K, B, K]);
}

#[test]
fn two_clients_that_see_two_writes_in_different_orders_have_no_sequential_consistency() {
    verdicts(&["1 w a", "2 w b", "3 r a", "3 r b", "4 r b", "4 r a"], [B, B, K, K]);
    verdicts(&["1 w a", "2 r b"], [B, K, K, K]);
}

#[test]
fn where_values_do_not_say_who_wrote_them_it_is_not_known() {
    let u = Kept::Unknown;
    verdicts(&["1 w a", "1 w b", "1 w a", "1 w c", "2 r b"], [u; 4]);
}
