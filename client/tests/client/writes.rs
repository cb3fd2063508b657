//! Writes: exactly once where an answer came, and three outcomes that are never confused.

use std::time::Duration;

use ordeal_client::wire::{KEY_BYTES_MAX, RefusalReason, Reply, RequestBody, VALUE_BYTES_MAX, WriteOp};
use ordeal_client::{CasAnswer, Client, ClientConfig, ClientError};

use crate::fake::{Act, Fake, alone, client, config, hint, on_write, refuse, version, written};

/// Long enough that it never ends a test that ends otherwise.
const LONG_MS: u64 = 20_000;
/// Long enough for a few attempts.
const SHORT_MS: u64 = 1_200;

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    NotDone,
    Unknown,
}

fn put(node: &Fake, deadline_ms: u64) -> (Outcome, String) {
    match client(&[node.address()], deadline_ms).put(b"k", b"v") {
        Ok(_) => (Outcome::Done, String::new()),
        Err(error) if error.may_have_happened() => (Outcome::Unknown, error.to_string()),
        Err(error) => (Outcome::NotDone, error.to_string()),
    }
}

fn check(
    deadline_ms: u64,
    script: impl FnMut(u32) -> Act + Send + 'static,
    expected: &Outcome,
    words: &str,
) -> Fake {
    let mut script = script;
    let node = alone(on_write(move |count, _| script(count)));
    let (outcome, text) = put(&node, deadline_ms);
    assert_eq!(outcome, *expected, "{text}");
    assert!(text.contains(words), "`{text}` does not say `{words}`");
    node
}

#[test]
fn every_retry_carries_the_same_session_and_sequence() {
    let script = |count| match count {
        1 => refuse(RefusalReason::Busy),
        2 => Act::HangUp,
        3 => Act::Silence,
        4 => Act::Say(Reply::Unknown),
        5 => hint(None),
        6 => refuse(RefusalReason::Stopping),
        _ => Act::Behave,
    };
    let node = check(LONG_MS, script, &Outcome::Done, "");
    assert_eq!(node.writes(), vec![(101, 1); 7]);
    let bodies: Vec<RequestBody> = node.seen().into_iter().skip(1).collect();
    assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
}

#[test]
fn a_write_that_was_sent_and_never_answered_is_unknown() {
    check(SHORT_MS, |_| Act::HangUp, &Outcome::Unknown, "attempts in");
    check(SHORT_MS, |_| Act::Silence, &Outcome::Unknown, "no answer within");
    check(SHORT_MS, |_| Act::Say(Reply::Unknown), &Outcome::Unknown, "");
    check(SHORT_MS, |_| Act::Bytes(vec![0; 64]), &Outcome::Unknown, "");
}

#[test]
fn a_write_that_was_refused_every_time_is_surely_not_done() {
    check(SHORT_MS, |_| refuse(RefusalReason::Busy), &Outcome::NotDone, "busy");
    check(SHORT_MS, |_| refuse(RefusalReason::DiskFull), &Outcome::NotDone, "disk full");
    check(SHORT_MS, |_| hint(None), &Outcome::NotDone, "not the leader of g1");
    let too_long = || RefusalReason::TooLong { what: "value".to_owned(), bytes: 9, limit: 8 };
    check(LONG_MS, move |_| refuse(too_long()), &Outcome::NotDone, "value of 9 bytes, the limit is 8");
}

#[test]
fn a_refusal_after_a_lost_attempt_leaves_the_write_unknown() {
    let after_lost =
        |reason: RefusalReason| move |count| if count == 1 { Act::HangUp } else { refuse(reason.clone()) };
    check(SHORT_MS, after_lost(RefusalReason::Busy), &Outcome::Unknown, "busy");
    check(SHORT_MS, after_lost(RefusalReason::DiskFull), &Outcome::Unknown, "disk full");
    check(LONG_MS, after_lost(RefusalReason::SequencePast), &Outcome::Unknown, "in the past");
    check(LONG_MS, after_lost(RefusalReason::SessionUnknown), &Outcome::Unknown, "session unknown");
    let too_long = RefusalReason::TooLong { what: "value".to_owned(), bytes: 9, limit: 8 };
    check(LONG_MS, after_lost(too_long), &Outcome::Unknown, "value of 9 bytes");
}

#[test]
fn a_definite_answer_after_a_lost_attempt_makes_the_write_known_again() {
    check(LONG_MS, |count| if count < 3 { Act::HangUp } else { Act::Behave }, &Outcome::Done, "");
    check(
        LONG_MS,
        |count| if count < 3 { Act::Say(Reply::Unknown) } else { Act::Behave },
        &Outcome::Done,
        "",
    );
}

#[test]
fn an_answer_that_does_not_fit_settles_nothing() {
    check(SHORT_MS, |_| Act::Say(Reply::Value(None)), &Outcome::Unknown, "does not fit");
    check(SHORT_MS, |_| Act::Say(Reply::CasFailed { found: None }), &Outcome::Unknown, "does not fit");
}

#[test]
fn after_an_unknown_outcome_the_sequence_number_is_never_used_again() {
    let node = alone(|request| match request.body {
        RequestBody::Write { op: WriteOp::Put(ref value), .. } if value == b"first" => Act::Silence,
        _ => Act::Behave,
    });
    let mut client = client(&[node.address()], 1_000);
    let error = client.put(b"k", b"first").expect_err("no attempt is answered");
    assert!(error.may_have_happened(), "{error}");
    client.set_deadline(Duration::from_secs(20));
    client.put(b"k", b"second").expect("answered");
    client.put(b"k", b"third").expect("answered");
    let mut writes = node.writes();
    writes.dedup();
    assert_eq!(writes, [(101, 1), (101, 2), (101, 3)]);
}

#[test]
fn a_session_that_expired_before_the_write_was_received_is_replaced() {
    let expire = |count, _: &_| match count {
        2 => refuse(RefusalReason::SessionUnknown),
        _ => Act::Behave,
    };
    let node = alone(on_write(expire));
    let mut client = client(&[node.address()], LONG_MS);
    client.put(b"k", b"first").expect("in the first session");
    client.put(b"k", b"second").expect("in a new session");
    let writes = node.writes();
    assert_eq!(writes[..2], [(101, 1), (101, 2)]);
    assert_eq!(writes.len(), 3);
    assert!(writes[2].0 != 101, "the lost session is not used again");
    assert_eq!(writes[2].1, 1, "a new session counts from 1");
}

#[test]
fn a_session_that_expired_under_an_unknown_write_is_not_used_again() {
    let expire = |count, _: &_| match count {
        1 => Act::HangUp,
        2 => refuse(RefusalReason::SessionUnknown),
        _ => Act::Behave,
    };
    let node = alone(on_write(expire));
    let mut client = client(&[node.address()], LONG_MS);
    let error = client.append(b"k", b"x").expect_err("may have been appended in the old session");
    assert!(error.may_have_happened(), "{error}");
    client.append(b"k", b"y").expect("in a new session");
    let sessions: Vec<u64> = node.writes().iter().map(|&(session, _)| session).collect();
    assert_eq!(sessions[..2], [101, 101], "and no retry of the unknown write in another session");
    assert_eq!(sessions.len(), 3);
    assert!(sessions[2] != 101);
}

#[test]
fn an_unopened_session_leaves_the_write_surely_not_done() {
    let node = alone(|request| match request.body {
        RequestBody::OpenSession { .. } => Act::HangUp,
        _ => Act::Behave,
    });
    assert_eq!(put(&node, SHORT_MS).0, Outcome::NotDone);
    assert_eq!(node.writes(), []);
}

#[test]
fn a_lost_opening_of_a_session_does_not_taint_the_write() {
    let mut openings = 0;
    let node = alone(move |request| match request.body {
        RequestBody::OpenSession { .. } => {
            openings += 1;
            if openings == 1 { Act::HangUp } else { Act::Behave }
        }
        RequestBody::Write { .. } => refuse(RefusalReason::Busy),
        _ => Act::Behave,
    });
    assert_eq!(put(&node, SHORT_MS).0, Outcome::NotDone);
}

#[test]
fn no_retry_is_begun_that_has_no_time_to_be_answered() {
    let node =
        alone(on_write(|count, _| if count == 1 { refuse(RefusalReason::Busy) } else { Act::Silence }));
    let (deadline, attempt_timeout) = (Duration::from_millis(2_000), Duration::from_secs(60));
    let config = ClientConfig { deadline, attempt_timeout, ..config(&[node.address()]) };
    let error = Client::new(config).expect("good").put(b"k", b"v").expect_err("refused");
    assert!(!error.may_have_happened(), "{error}");
    assert_eq!(node.writes().len(), 1);
}

#[test]
fn a_connection_that_is_known_to_be_dead_does_not_taint_the_write() {
    let node = alone(on_write(|count, _| if count == 1 { Act::Behave } else { refuse(RefusalReason::Busy) }));
    let mut client = client(&[node.address()], SHORT_MS);
    client.put(b"k", b"v").expect("answered");
    node.hang_up();
    let error = client.put(b"k", b"v").expect_err("refused every time");
    assert!(!error.may_have_happened(), "{error}");
}

#[test]
fn a_retried_cas_gets_the_answer_of_the_first_time() {
    // As a cluster does: the first receipt decides, retries are told the same.
    let mut answers = std::collections::BTreeMap::new();
    let node = alone(on_write(move |count, request| {
        let RequestBody::Write { session, sequence, .. } = request.body else { return Act::Behave };
        let first = if count == 1 { written(5) } else { Reply::CasFailed { found: None } };
        let answer = answers.entry((session, sequence)).or_insert(first);
        if count == 1 { Act::HangUp } else { Act::Say(answer.clone()) }
    }));
    let mut client = client(&[node.address()], LONG_MS);
    let answer = client.cas(b"k", Some(b"a"), b"b").expect("answered");
    assert!(matches!(answer, CasAnswer::Done(done) if done.made == version(5)), "{answer:?}");
    let answer = client.cas(b"k", Some(b"a"), b"b").expect("answered");
    assert!(matches!(answer, CasAnswer::Failed { found: None, .. }), "{answer:?}");
}

#[test]
fn answers_to_other_requests_are_skipped() {
    let node = alone(on_write(|_, request| {
        Act::SayAll(vec![
            (request.id - 1, written(1)),
            (request.id + 1, Reply::Refused(RefusalReason::Busy)),
            (request.id, written(9)),
        ])
    }));
    let done = client(&[node.address()], LONG_MS).put(b"k", b"v").expect("answered");
    assert_eq!(done.made, version(9));
}

#[test]
fn what_is_too_long_is_not_sent() {
    let node = alone(|_| Act::Behave);
    let mut client = client(&[node.address()], LONG_MS);
    let (key, value) = (vec![b'k'; KEY_BYTES_MAX + 1], vec![b'v'; VALUE_BYTES_MAX + 1]);
    let errors = [
        client.put(&key, b"v").map(|_| ()),
        client.put(b"k", &value).map(|_| ()),
        client.append(b"k", &value).map(|_| ()),
        client.delete(&key).map(|_| ()),
        client.cas(b"k", Some(&value), b"v").map(|_| ()),
        client.cas(b"k", None, &value).map(|_| ()),
    ];
    for error in errors {
        let error = error.expect_err("too long");
        assert!(matches!(error, ClientError::TooLong { .. }), "{error}");
    }
    assert_eq!(node.seen(), []);
    let longest = (&key[1..], &value[1..]);
    client.cas(longest.0, Some(longest.1), longest.1).expect("the longest of all fit into a frame");
}
