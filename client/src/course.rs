//! The course of one operation: how long it may take, how often it was tried, and the one thing that matters afterwards:
//! may any attempt have been received? The rules that both clients share, the one that blocks and the one that pipelines.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand_pcg::Pcg32;

use crate::error::{ClientError, LinkError, Tries};
use crate::wire::{GroupId, NodeId, RefusalReason, Reply, RequestBody, ShardId, WriteOp};

/// The first pause: about one heartbeat of a quick cluster, or a few syncs.
const PAUSE_FIRST: Duration = Duration::from_millis(5);
/// The longest pause: a heartbeat, so that a new leader is found soon after it is one.
const PAUSE_MAX: Duration = Duration::from_millis(50);
/// The first attempt gets this share of an attempt's time, in tenths, and each that was not answered in time doubles the
/// next: whoever meets a leader that stands still asks elsewhere before the others have elected another.
const ATTEMPT_FIRST_TENTHS: u32 = 3;
/// Hints followed in a row without a pause: a chain of true ones is shorter, a circle of stale ones is not.
const HOPS_MAX: u32 = 3;
/// A retry gets at least this share (one fourth) of an attempt's time, or is not begun: with a millisecond left it would
/// hardly be answered, and only turn a write that is surely not done into an unknown one.
const ATTEMPT_SHARE_MIN: u32 = 4;

/// Whom a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aim {
    /// The leader of the shard's group.
    Leader(ShardId),
    /// The leader of this group.
    Group(GroupId),
    /// The preferred node, else any.
    Anyone,
}

/// Why an operation ended without an answer.
#[derive(Debug, Clone)]
pub(crate) enum Stop {
    /// Its time is over.
    OutOfTime,
    /// The session is of no use any more.
    SessionLost { node: NodeId, reason: RefusalReason },
    /// Refused, and a retry would be refused again.
    Refused { node: NodeId, reason: RefusalReason },
    /// No endpoint is of this cluster.
    Strangers(String),
}

/// What to do after an attempt that was no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Try elsewhere at once, for somebody said where; a few times in a row at most.
    Follow,
    /// Pause first.
    Pause,
}

/// The course of one operation.
#[derive(Debug)]
pub(crate) struct Course {
    started: Instant,
    pub(crate) deadline: Instant,
    attempts: u32,
    /// Attempts that were not answered in time.
    silences: u32,
    pauses: u32,
    hops: u32,
    last: Option<String>,
    /// Endpoints that turned out to be of another cluster or protocol.
    strangers: BTreeSet<String>,
    /// Whether an attempt may have been received of which no definite answer came.
    pub(crate) may_be_received: bool,
}

impl Course {
    pub(crate) fn new(now: Instant, time: Duration) -> Course {
        Course {
            started: now,
            deadline: now + time,
            attempts: 0,
            silences: 0,
            pauses: 0,
            hops: 0,
            last: None,
            strangers: BTreeSet::new(),
            may_be_received: false,
        }
    }

    /// What is left of its time; `None` when that is nothing.
    pub(crate) fn left(&self, now: Instant) -> Option<Duration> {
        let left = self.deadline.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// Whether nothing went wrong yet.
    pub(crate) fn is_untroubled(&self) -> bool {
        self.last.is_none()
    }

    /// Counts an attempt.
    pub(crate) fn attempt(&mut self) {
        self.attempts += 1;
    }

    /// The time of the next attempt, of what an attempt gets at most.
    pub(crate) fn attempt_time(&self, attempt_timeout: Duration) -> Duration {
        let doubled = ATTEMPT_FIRST_TENTHS.saturating_mul(1 << self.silences.min(10));
        (attempt_timeout.saturating_mul(doubled) / 10).min(attempt_timeout)
    }

    /// The time to wait for an answer to this; none when there is too little left for a retry.
    pub(crate) fn patience(
        &self,
        now: Instant,
        attempt_timeout: Duration,
        body: &RequestBody,
    ) -> Result<Duration, Stop> {
        let attempt = self.attempt_time(attempt_timeout) + transfer_time(body);
        let timeout = self.left(now).ok_or(Stop::OutOfTime)?.min(attempt);
        let short = timeout < attempt_timeout / ATTEMPT_SHARE_MIN;
        if self.last.is_some() && !self.may_be_received && short {
            return Err(Stop::OutOfTime);
        }
        Ok(timeout)
    }

    /// Whether one more hint may be followed at once.
    pub(crate) fn hop(&mut self) -> bool {
        let may = self.hops < HOPS_MAX;
        self.hops += u32::from(may);
        may
    }

    /// How long to wait now: longer each time, never in step with other clients, and never beyond the deadline.
    pub(crate) fn pause(&mut self, now: Instant, jitter: &mut Pcg32) -> Result<Duration, Stop> {
        let full = PAUSE_FIRST.saturating_mul(1 << self.pauses.min(10)).min(PAUSE_MAX);
        let pause = full.mul_f64(jitter.random_range(0.5..=1.0));
        self.pauses += 1;
        self.hops = 0;
        if self.left(now).is_none_or(|left| left <= pause) { Err(Stop::OutOfTime) } else { Ok(pause) }
    }

    /// Notes what a node said in place of an answer.
    pub(crate) fn note(&mut self, node: NodeId, what: &str) {
        tracing::debug!(%node, what, attempt = self.attempts, "no answer yet");
        self.last = Some(format!("{node}: {what}"));
    }

    /// Notes that a place failed.
    pub(crate) fn failed(&mut self, address: &str, error: &LinkError, attempt_timeout: Duration) {
        if error.is_of_a_stranger() {
            self.strangers.insert(address.to_owned());
        }
        tracing::debug!(address, %error, attempt = self.attempts, "attempt failed");
        self.silences += u32::from(matches!(error, LinkError::Timeout(_)));
        // An attempt that the deadline cut short says less than the one before it.
        let short = attempt_timeout / ATTEMPT_SHARE_MIN;
        if self.last.is_none() || !matches!(error, LinkError::Timeout(time) if *time < short) {
            self.last = Some(format!("{address}: {error}"));
        }
    }

    /// Whether nobody else is left to be asked than strangers.
    pub(crate) fn met_only_strangers<'a>(&self, mut endpoints: impl Iterator<Item = &'a String>) -> bool {
        endpoints.all(|address| self.strangers.contains(address))
    }

    /// Somebody else tried on this one's behalf, and met this.
    pub(crate) fn inherit(&mut self, other: &Course) {
        self.attempts += other.attempts;
        if self.last.is_none() {
            self.last.clone_from(&other.last);
        }
    }

    /// The error that tells what `stop` means for this operation: once an attempt may have been received, nothing but
    /// a definite answer makes it known again.
    pub(crate) fn error(self, stop: Stop, now: Instant) -> ClientError {
        let refusal = match &stop {
            Stop::SessionLost { node, reason } | Stop::Refused { node, reason } => {
                Some(format!("{node}: {reason}"))
            }
            Stop::OutOfTime | Stop::Strangers(_) => None,
        };
        let after = now.saturating_duration_since(self.started);
        let tries = Tries { attempts: self.attempts, after, last: refusal.or(self.last) };
        if self.may_be_received {
            return ClientError::Unknown(tries);
        }
        match stop {
            Stop::OutOfTime => ClientError::Unavailable(tries),
            Stop::Strangers(last) => ClientError::Strangers(last),
            Stop::SessionLost { node, reason } => ClientError::Refused { node, reason },
            Stop::Refused { node, reason } => match reason {
                RefusalReason::TooLong { what, bytes, limit } => ClientError::TooLong { what, bytes, limit },
                reason => ClientError::Refused { node, reason },
            },
        }
    }
}

/// Who waits for news is told after a second that there is none.
pub(crate) const WATCH_TIME: Duration = Duration::from_secs(1);

/// What is granted on top of an attempt's time. To long values 1 µs a byte, as of a network of 1 MB/s.
fn transfer_time(body: &RequestBody) -> Duration {
    let bytes = match body {
        RequestBody::Watch { .. } | RequestBody::Changes { .. } => return WATCH_TIME,
        RequestBody::Status
        | RequestBody::OpenSession { .. }
        | RequestBody::Read { .. }
        | RequestBody::ChangeMembers { .. }
        | RequestBody::Transfer { .. }
        | RequestBody::Configuration { .. }
        | RequestBody::Admin { .. } => 0,
        RequestBody::Write { op, .. } => match op {
            WriteOp::Put(value) | WriteOp::Append(value) => value.len(),
            WriteOp::Delete => 0,
            WriteOp::Cas { expected, new } => expected.as_ref().map_or(0, Vec::len) + new.len(),
            WriteOp::Txn(bytes) => bytes.len(),
        },
    };
    Duration::from_micros(u64::try_from(bytes).unwrap_or(u64::MAX))
}

/// Whether this reply is an answer to that request.
pub(crate) fn answers(reply: &Reply, asked: &RequestBody) -> bool {
    match reply {
        Reply::Status(_) => matches!(asked, RequestBody::Status),
        Reply::SessionOpened(_) => matches!(asked, RequestBody::OpenSession { .. }),
        Reply::Value(_) => matches!(asked, RequestBody::Read { .. }),
        Reply::Written { .. } => {
            matches!(asked, RequestBody::Write { op, .. } if !matches!(op, WriteOp::Txn(_)))
        }
        Reply::CasFailed { .. } => matches!(asked, RequestBody::Write { op: WriteOp::Cas { .. }, .. }),
        Reply::Txn { .. } => matches!(asked, RequestBody::Write { op: WriteOp::Txn(_), .. }),
        Reply::Members { .. } => matches!(asked, RequestBody::ChangeMembers { .. }),
        Reply::Transferring { .. } => matches!(asked, RequestBody::Transfer { .. }),
        Reply::Configuration(_) => {
            matches!(asked, RequestBody::Configuration { .. } | RequestBody::Watch { .. })
        }
        Reply::Changes { .. } => matches!(asked, RequestBody::Changes { .. }),
        Reply::Decided(_) => matches!(asked, RequestBody::Admin { .. }),
        Reply::Refused(_) | Reply::Unknown => false,
    }
}
