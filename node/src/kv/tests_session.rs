//! Sessions with a window of writes under way: each write once, in whatever order and however often its copies arrive.
//! Stories first, then any story at all against a model that is too simple to be wrong.

use ordeal_client::wire::{
    RefusalReason, Reply, SESSION_WINDOW_MAX, SessionId, VALUE_BYTES_MAX, Version, WriteOp, encode,
};
use proptest::prelude::*;

use super::session::{Limits, Session};
use super::tests::{rebuild_history, write_op};
use super::*;

const PAST: Reply = Reply::Refused(RefusalReason::SequencePast);
const UNKNOWN: Reply = Reply::Refused(RefusalReason::SessionUnknown);
const FULL: Reply = Reply::Refused(RefusalReason::WindowFull { limit: SESSION_WINDOW_MAX });

fn version(index: u64) -> Version {
    Version { epoch: 1, index }
}

fn done(made: u64, replaced: Option<u64>) -> Reply {
    Reply::Written { made: version(made), replaced: replaced.map(version) }
}

/// Appends to the one key `k`: sequence, settled, what is appended.
type Step = (u64, u64, &'static str);

fn append(kv: &mut Kv, index: u64, session: u64, (sequence, settled, tail): Step) -> Reply {
    let claim = Claim { session: SessionId(session), sequence, settled };
    write_op(kv, index, claim, b"k", &WriteOp::Append(tail.into()))
}

/// Opens session 1, then appends at indexes from 2 on; every reply must be as written beside it, and `k` hold `value`.
fn check(steps: &[(Step, Reply)], value: &str) -> Kv {
    let mut kv = Kv::new(1);
    kv.open_session(1);
    for (index, (step, expected)) in (2..).zip(steps) {
        assert_eq!(append(&mut kv, index, 1, *step), *expected, "entry {index}: {step:?}");
    }
    assert_eq!(kv.read(b"k").map(|(value, _)| value), Some(value.into()));
    kv
}

/// Lesson 30: a number below the last is no duplicate when many are under way, and one that equals another than the last
/// may well be one.
#[test]
fn a_window_of_writes_may_arrive_in_any_order_and_each_happens_once() {
    let kv = check(
        &[
            ((3, 0, "c"), done(2, None)),
            ((1, 0, "a"), done(3, Some(2))),
            ((3, 0, "c"), done(2, None)),
            ((2, 0, "b"), done(5, Some(3))),
            ((1, 0, "a"), done(3, Some(2))),
            ((2, 0, "b"), done(5, Some(3))),
            ((4, 2, "d"), done(8, Some(5))),
            ((3, 2, "c"), done(2, None)),
        ],
        "cabd",
    );
    let remembered: Vec<u64> = kv
        .sessions()
        .iter()
        .flat_map(|(_, session)| session.replies())
        .map(|(sequence, _)| sequence)
        .collect();
    assert_eq!(remembered, [3, 4], "what is settled is forgotten, and nothing else");
}

/// Also a write of which nobody knows whether it arrived: once its client has given it up and gone on, it never happens.
#[test]
fn what_is_settled_is_past_for_good() {
    check(
        &[
            ((1, 0, "a"), done(2, None)),
            ((4, 2, "d"), done(3, Some(2))), // 2 was given up
            ((2, 0, "b"), PAST),             // and comes after all
            ((1, 0, "a"), PAST),
            ((3, 0, "c"), done(6, Some(3))), // a smaller `settled` takes nothing back
            ((2, 1, "b"), PAST),
            ((5, 5, "e"), PAST), // a client that gives up what it asks for
            ((4, 0, "d"), PAST),
        ],
        "adc",
    );
}

/// Lesson 62: there is no write before the first, which nobody has made and everybody would match.
#[test]
fn sequence_zero_is_no_write() {
    let kv = check(&[((0, 0, "x"), PAST), ((1, 0, "a"), done(3, None)), ((0, 0, "x"), PAST)], "a");
    assert_eq!(kv.sessions().iter().map(|(_, session)| session.replies().count()).sum::<usize>(), 1);
}

#[test]
fn a_write_beyond_the_window_waits_until_others_are_settled() {
    let window = SESSION_WINDOW_MAX;
    check(
        &[
            ((window + 1, 0, "x"), FULL),
            ((window, 0, "a"), done(3, None)),
            ((u64::MAX, 0, "x"), FULL),
            ((window + 1, 1, "b"), done(5, Some(3))),
            ((window + 1, 0, "b"), done(5, Some(3))),
            ((u64::MAX, u64::MAX - window, "c"), done(7, Some(5))),
            ((u64::MAX, u64::MAX, "c"), PAST),
        ],
        "abc",
    );
}

#[test]
fn an_operation_never_creates_a_session() {
    let mut kv = Kv::new(1);
    kv.open_session(1);
    let digest = kv.digest();
    for (index, session) in [(2, 0), (3, 2), (4, u64::MAX)] {
        assert_eq!(append(&mut kv, index, session, (1, 0, "x")), UNKNOWN);
    }
    assert_eq!((kv.sessions().len(), kv.keys(), kv.digest()), (1, 0, digest));
}

/// An expired session stays expired: what was remembered is lost, so nothing of it may be tried again.
#[test]
fn an_expired_session_answers_nothing_more_and_no_other_takes_its_name() {
    let mut kv = Kv::with_limits(Limits { sessions: 2, remembered_bytes: REMEMBERED_BYTES_MAX });
    kv.open_session(1);
    assert_eq!(append(&mut kv, 2, 1, (1, 0, "a")), done(2, None));
    assert_eq!([kv.open_session(3), kv.open_session(4)], [SessionId(3), SessionId(4)]);
    assert_eq!(append(&mut kv, 5, 1, (1, 0, "a")), UNKNOWN, "applied, and forgotten: no second time");
    assert_eq!(append(&mut kv, 6, 1, (2, 1, "b")), UNKNOWN);
    assert_eq!(kv.read(b"k"), Some((b"a".to_vec(), version(2))));
}

/// One session alone can remember too much: then it expires itself, and its client is told at its next write.
#[test]
fn a_window_of_the_largest_replies_expires_its_own_session() {
    let mut kv = Kv::new(1);
    kv.open_session(1);
    let write = |kv: &mut Kv, sequence, op| {
        let claim = Claim { session: SessionId(1), sequence, settled: 0 };
        write_op(kv, sequence + 1, claim, b"k", &op)
    };
    write(&mut kv, 1, WriteOp::Put(vec![b'x'; VALUE_BYTES_MAX]));
    let fails = WriteOp::Cas { expected: None, new: Vec::new() };
    let most = (REMEMBERED_BYTES_MAX / VALUE_BYTES_MAX) as u64;
    for sequence in 2..=most {
        assert!(matches!(write(&mut kv, sequence, fails.clone()), Reply::CasFailed { .. }));
        assert_eq!(kv.sessions().len(), 1, "{sequence}");
    }
    // The replies hold a few bytes beside the value, so one less than the quotient fits.
    assert!(matches!(write(&mut kv, most + 1, fails.clone()), Reply::CasFailed { .. }));
    assert_eq!(write(&mut kv, most + 2, fails), UNKNOWN);
    assert_eq!(kv.sessions().len(), 0);
}

/// Sessions as one would write them down at first: lists, searched from the front, weighed anew each time.
#[derive(Debug, Default)]
struct Model {
    sessions: Vec<ModelSession>,
    value: Option<(String, u64)>,
}

#[derive(Debug)]
struct ModelSession {
    id: u64,
    settled: u64,
    used: u64,
    answers: Vec<(u64, Reply)>,
}

const LIMITS: Limits = Limits { sessions: 3, remembered_bytes: 8 * REPLY_BYTES };

impl Model {
    fn open(&mut self, index: u64) {
        self.sessions.push(ModelSession { id: index, settled: 0, used: index, answers: Vec::new() });
        self.expire();
    }

    fn write(&mut self, index: u64, session: u64, sequence: u64, settled: u64, op: &WriteOp) -> Reply {
        let Some(at) = self.sessions.iter().position(|known| known.id == session) else { return UNKNOWN };
        let known = &mut self.sessions[at];
        known.used = index;
        known.settled = known.settled.max(settled);
        known.answers.retain(|(answered, _)| *answered > known.settled);
        if sequence <= known.settled {
            return PAST;
        }
        if let Some((_, answer)) = known.answers.iter().find(|(answered, _)| *answered == sequence) {
            return answer.clone();
        }
        if sequence - known.settled > SESSION_WINDOW_MAX {
            return FULL;
        }
        let replaced = self.value.as_ref().map(|(_, index)| version(*index));
        let answer = match op {
            WriteOp::Append(tail) => {
                let before = self.value.take().map_or(String::new(), |(value, _)| value);
                let tail = std::str::from_utf8(tail).expect("text");
                self.value = Some((before + tail, index));
                Reply::Written { made: version(index), replaced }
            }
            WriteOp::Delete => {
                self.value = None;
                Reply::Written { made: version(index), replaced }
            }
            // Of these only those that fail are made.
            WriteOp::Put(_) | WriteOp::Cas { .. } | WriteOp::Txn(_) => {
                let found = self.value.as_ref().map(|(value, index)| (value.clone().into(), version(*index)));
                Reply::CasFailed { found }
            }
        };
        self.sessions[at].answers.push((sequence, answer.clone()));
        self.expire();
        answer
    }

    fn expire(&mut self) {
        while self.sessions.len() > LIMITS.sessions || self.bytes() > LIMITS.remembered_bytes {
            let oldest = self.sessions.iter().map(|session| session.used).min();
            self.sessions.retain(|session| Some(session.used) != oldest);
        }
    }

    fn bytes(&self) -> usize {
        let answers = self.sessions.iter().flat_map(|session| &session.answers);
        let weigh = |(_, answer): &(u64, Reply)| match answer {
            Reply::Written { .. } => REPLY_BYTES,
            other => REPLY_BYTES + encode(other).len(),
        };
        answers.map(weigh).sum()
    }
}

/// The same state, built from what a snapshot holds.
fn rebuilt(kv: &Kv) -> Kv {
    let mut copy = Kv::with_limits(LIMITS);
    kv.iter().for_each(|item| assert!(copy.push(item.clone()), "in order"));
    for (id, session) in kv.sessions().iter() {
        let mut same = Session::new(session.settled(), session.used());
        session.replies().for_each(|(sequence, reply)| same.remember(sequence, reply.clone()));
        assert!(copy.sessions().takes(id, &same), "{id:?}");
        copy.insert_session(id, same);
    }
    rebuild_history(&mut copy, kv);
    copy
}

#[derive(Debug, Clone)]
enum Act {
    Open,
    /// By one of the sessions opened last.
    Write {
        session: usize,
        sequence: u64,
        lag: u64,
        op: WriteOp,
    },
}

fn act() -> impl Strategy<Value = Act> {
    let sequence = prop_oneof![6 => 0..8_u64, 1 => SESSION_WINDOW_MAX - 1..SESSION_WINDOW_MAX + 4];
    let op = prop_oneof![
        6 => "[a-z]".prop_map(|tail| WriteOp::Append(tail.into())),
        1 => Just(WriteOp::Delete),
        2 => Just(WriteOp::Cas { expected: Some(b"never".to_vec()), new: Vec::new() }),
    ];
    let lag = prop_oneof![5 => 1..6_u64, 1 => Just(0), 1 => Just(u64::MAX)];
    let write = (0..5_usize, sequence, lag, op);
    prop_oneof![
        1 => Just(Act::Open),
        6 => write.prop_map(|(session, sequence, lag, op)| Act::Write { session, sequence, lag, op }),
    ]
}

proptest! {
    #[test]
    fn whatever_arrives_is_answered_as_the_simplest_model_would(acts in prop::collection::vec(act(), 1..120)) {
        let (mut kv, mut model) = (Kv::with_limits(LIMITS), Model::default());
        let mut opened = Vec::new();
        for (index, act) in (1..).zip(acts) {
            match act {
                Act::Open => {
                    prop_assert_eq!(kv.open_session(index), SessionId(index));
                    model.open(index);
                    opened.push(index);
                }
                Act::Write { session, sequence, lag, op } => {
                    // The last ones, and one that never was.
                    let session = opened.iter().rev().nth(session).copied().unwrap_or(1_000);
                    let settled = sequence.saturating_sub(lag);
                    let expected = model.write(index, session, sequence, settled, &op);
                    let claim = Claim { session: SessionId(session), sequence, settled };
                    prop_assert_eq!(write_op(&mut kv, index, claim, b"k", &op), expected, "entry {}", index);
                }
            }
            let value = model.value.as_ref().map(|(value, index)| (value.clone().into(), version(*index)));
            prop_assert_eq!(kv.read(b"k"), value);
            prop_assert_eq!(kv.sessions().len(), model.sessions.len());
            let copy = rebuilt(&kv);
            prop_assert_eq!(copy.digest(), kv.digest());
            prop_assert_eq!(&copy, &kv);
        }
    }
}
