//! What a shard answers, as tables of writes and replies.

use ordeal_client::wire::{RefusalReason, Reply, SessionId, VALUE_BYTES_MAX, Version, WriteOp};

use super::session::Turn;
use super::*;

/// A write of a table: session, sequence, key, operation.
type Step = (u64, u64, &'static str, WriteOp);

fn put(value: &str) -> WriteOp {
    WriteOp::Put(value.into())
}

fn append(value: &str) -> WriteOp {
    WriteOp::Append(value.into())
}

fn cas(expected: Option<&str>, new: &str) -> WriteOp {
    WriteOp::Cas { expected: expected.map(Into::into), new: new.into() }
}

fn version(index: u64) -> Version {
    Version { epoch: 1, index }
}

fn done(made: u64, replaced: Option<u64>) -> Reply {
    Reply::Written { made: version(made), replaced: replaced.map(version) }
}

fn failed(found: Option<(&str, u64)>) -> Reply {
    Reply::CasFailed { found: found.map(|(value, index)| (value.into(), version(index))) }
}

/// As a machine does it, whose commands end with the key and the value of a put.
pub(super) fn write_op(kv: &mut Kv, index: u64, claim: Claim, key: &[u8], op: &WriteOp) -> Reply {
    let value: &[u8] = if let WriteOp::Put(value) = op { value } else { b"" };
    kv.write(version(index), claim, key, op.into(), &[key, value].concat().into())
}

fn write(kv: &mut Kv, index: u64, (session, sequence, key, op): Step) -> Reply {
    let claim = Claim { session: SessionId(session), sequence, settled: sequence.saturating_sub(1) };
    write_op(kv, index, claim, key.as_bytes(), &op)
}

/// Takes over what another one keeps of its changes.
pub(super) fn rebuild_history(kv: &mut Kv, of: &Kv) {
    let (floor, history) = (of.history().floor(), of.history());
    assert!(kv.stage_history(floor, history.behind(floor).cloned().collect()), "they ascend");
}

/// Opens sessions 1 and 2, then applies the steps at indexes from 3 on; every reply must be as written beside it.
fn check(steps: impl IntoIterator<Item = (Step, Reply)>) -> Kv {
    let mut kv = Kv::new(1);
    assert_eq!([kv.open_session(1), kv.open_session(2)], [SessionId(1), SessionId(2)]);
    for (index, (step, expected)) in (3..).zip(steps) {
        let words = format!("entry {index}: {step:?}");
        assert_eq!(write(&mut kv, index, step), expected, "{words}");
    }
    kv
}

#[test]
fn writes_answer_with_the_version_they_made_and_the_one_they_replaced() {
    let kv = check([
        ((1, 1, "a", put("x")), done(3, None)),
        ((1, 2, "a", append("y")), done(4, Some(3))),
        ((2, 1, "a", cas(Some("xy"), "z")), done(5, Some(4))),
        ((2, 2, "a", cas(Some("xy"), "w")), failed(Some(("z", 5)))),
        ((2, 3, "b", cas(Some("xy"), "w")), failed(None)),
        ((2, 4, "b", cas(None, "w")), done(8, None)),
        ((2, 5, "b", cas(None, "v")), failed(Some(("w", 8)))),
        ((1, 3, "c", append("new")), done(10, None)),
        ((1, 4, "b", WriteOp::Delete), done(11, Some(8))),
        ((1, 5, "b", WriteOp::Delete), done(12, None)),
        ((1, 6, "b", put("")), done(13, None)),
    ]);
    assert_eq!(kv.read(b"a"), Some((b"z".to_vec(), version(5))));
    assert_eq!(kv.read(b"b"), Some((Vec::new(), version(13))));
    assert_eq!(kv.read(b"d"), None);
    assert_eq!(kv.keys(), 3);
}

#[test]
fn a_write_happens_once_however_often_it_is_tried() {
    let kv = check([
        ((1, 1, "a", append("x")), done(3, None)),
        ((1, 1, "a", append("x")), done(3, None)),
        ((2, 1, "a", append("y")), done(5, Some(3))),
        ((1, 1, "a", append("x")), done(3, None)),
        ((1, 2, "a", append("z")), done(7, Some(5))),
        ((1, 1, "a", append("x")), Reply::Refused(RefusalReason::SequencePast)),
        ((1, 0, "a", append("x")), Reply::Refused(RefusalReason::SequencePast)),
        ((9, 1, "a", append("x")), Reply::Refused(RefusalReason::SessionUnknown)),
    ]);
    assert_eq!(kv.read(b"a").map(|(value, _)| value), Some(b"xyz".to_vec()));
}

#[test]
fn a_retried_cas_gets_its_first_answer_whatever_the_value_is_by_now() {
    check([
        ((1, 1, "a", cas(None, "x")), done(3, None)),
        ((1, 1, "a", cas(None, "x")), done(3, None)),
        ((2, 1, "a", cas(Some("y"), "z")), failed(Some(("x", 3)))),
        ((1, 2, "a", put("y")), done(6, Some(3))),
        ((2, 1, "a", cas(Some("y"), "z")), failed(Some(("x", 3)))),
        ((1, 1, "a", cas(None, "x")), Reply::Refused(RefusalReason::SequencePast)),
    ]);
}

#[test]
fn an_append_beyond_the_longest_value_is_refused_and_remembered() {
    let almost = WriteOp::Put(vec![b'x'; VALUE_BYTES_MAX - 1]);
    let too_long = Reply::Refused(RefusalReason::TooLong {
        what: "value".to_owned(),
        bytes: VALUE_BYTES_MAX as u64 + 1,
        limit: VALUE_BYTES_MAX as u64,
    });
    check([
        ((1, 1, "a", almost), done(3, None)),
        ((2, 1, "a", append("yz")), too_long.clone()),
        ((1, 2, "a", WriteOp::Delete), done(5, Some(3))),
        ((2, 1, "a", append("yz")), too_long),
        ((2, 2, "a", append("yz")), done(7, None)),
    ]);
}

#[test]
fn one_session_too_many_expires_the_one_least_recently_used() {
    let mut kv = Kv::new(1);
    let count = SESSIONS_MAX as u64;
    for index in 1..=count {
        kv.open_session(index);
    }
    // Session 1 is used again, so session 2 is the oldest.
    assert_eq!(write(&mut kv, count + 1, (1, 1, "a", put("x"))), done(count + 1, None));
    kv.open_session(count + 2);
    assert_eq!(kv.sessions().len(), SESSIONS_MAX);
    assert_eq!(
        write(&mut kv, count + 3, (2, 1, "a", put("y"))),
        Reply::Refused(RefusalReason::SessionUnknown)
    );
    assert_eq!(write(&mut kv, count + 4, (1, 1, "a", put("x"))), done(count + 1, None));
    assert_eq!(write(&mut kv, count + 5, (3, 1, "a", put("z"))), done(count + 5, Some(count + 1)));
}

#[test]
fn remembered_replies_are_bounded_by_expiring_the_oldest() {
    let mut kv = Kv::new(1);
    kv.open_session(1);
    write(&mut kv, 2, (1, 1, "a", WriteOp::Put(vec![b'x'; VALUE_BYTES_MAX])));
    let most = (REMEMBERED_BYTES_MAX / VALUE_BYTES_MAX) as u64;
    let mut index = 2;
    for _ in 0..most + 3 {
        let session = kv.open_session(index + 1);
        index += 2;
        write(&mut kv, index, (session.0, 1, "a", cas(None, "y")));
    }
    // The replies hold a few bytes beside the value, so one less than the quotient fits.
    assert_eq!(kv.sessions().len() as u64, most - 1);
    assert_eq!(
        write(&mut kv, index + 1, (1, 2, "a", put("z"))),
        Reply::Refused(RefusalReason::SessionUnknown)
    );
}

#[test]
fn a_turn_counts_as_use() {
    let mut sessions = session::Sessions::default();
    let claim = Claim { session: sessions.open(1), sequence: 1, settled: 0 };
    assert_eq!(sessions.turn(claim, 5), Turn::Fresh);
    sessions.remember(claim, &Reply::Unknown);
    assert_eq!(sessions.turn(claim, 7), Turn::Again(Reply::Unknown));
    assert_eq!(sessions.iter().next().map(|(_, session)| session.used()), Some(7));
}

#[test]
fn equal_states_have_equal_digests_and_every_difference_shows() {
    let base = || check([((1, 1, "a", put("x")), done(3, None)), ((2, 1, "b", put("y")), done(4, None))]);
    // Another way to the same data and sessions: "xy" in two steps and in one.
    let one =
        check([((1, 1, "a", append("x")), done(3, None)), ((1, 2, "a", append("y")), done(4, Some(3)))]);
    let mut other = Kv::new(1);
    other.open_session(1);
    other.open_session(2);
    assert!(other.push(Item::new(b"a", b"xy", version(4))));
    let mut sessions = one.sessions().iter();
    let (_, used) = sessions.next().expect("session 1");
    let mut rebuilt = Kv::new(1);
    assert!(rebuilt.push(Item::new(b"a", b"xy", version(4))));
    rebuilt.insert_session(SessionId(1), used.clone());
    rebuilt.insert_session(SessionId(2), Session::new(0, 2));
    assert_ne!(rebuilt.digest(), one.digest(), "the last changes count");
    rebuild_history(&mut rebuilt, &one);
    assert_eq!(rebuilt, one);
    assert_eq!(rebuilt.digest(), one.digest());
    assert_ne!(other.digest(), one.digest(), "sessions count");

    let mut digests = vec![Kv::new(1).digest(), base().digest(), one.digest()];
    for step in [
        (1, 2, "a", put("x")), // only the version differs
        (1, 2, "b", put("x")),
        (1, 2, "b", WriteOp::Delete),
        (1, 1, "a", put("x")), // a retry: only the last use differs
        (1, 2, "a", cas(None, "z")),
        (1, 2, "a", cas(Some("y"), "z")),
    ] {
        let mut kv = base();
        write(&mut kv, 5, step);
        digests.push(kv.digest());
    }
    // The last two differ in nothing: both remember the same failure.
    assert_eq!(digests.pop(), digests.last().copied());
    let count = digests.len();
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), count, "a difference is missed");
}
