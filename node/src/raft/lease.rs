//! Leader leases (thesis §6.4.1), an option: a leader that a majority has just heard answers reads without asking again, for
//! as long as nobody else can have been elected.
//!
//! ```text
//!   leader     beat sent ────────── lease_ticks ──────▶│   reads need no round
//!   voter           beat heard ──────────── election_ticks ─────────▶│   gives no vote, not even to itself
//!                                                      │◀─ margin ──▶│
//! ```
//!
//! Every voter that hears a leader promises it an election timeout without a vote, whatever becomes of its term meanwhile.
//! The lease is counted from when a beat was **sent** that a majority answered, in the leader's ticks; the promise from when
//! it was heard, in the voter's. So all rests on ticks, and here is what the driver promises (the clock assumption):
//!
//! * of two members, one counts at most 10 of its ticks while the other counts 9 (bounded drift of the clocks' rates);
//! * ticks are handed in at most [`LATE_TICKS_MAX`] late, messages apart;
//! * all ticks that are due are handed in between a request and the `Ready` that follows it, or [`Raft::ticks_lost`] is
//!   called: a process that was stopped must not take its lease for a young one.
//!
//! A voter that starts again does not remember whom it promised what, and gives no vote for an election timeout. Votes that the
//! leader itself asks for (thesis §3.10) break the promise: it has no lease from then on.

use std::collections::VecDeque;

use super::{Raft, State};

/// The driver may hand in so many ticks after a message that came later than they were due.
pub const LATE_TICKS_MAX: u32 = 5;

/// How long a lease may be, if voters keep an election timeout of so many ticks: less what may be late, a tick on each side
/// for the granularity, and a tenth for the drift. Nothing when nothing is left.
#[must_use]
pub fn lease_ticks(election_ticks: u32) -> Option<u32> {
    let kept = election_ticks.checked_sub(LATE_TICKS_MAX + 2)?;
    let lease = kept - kept.div_ceil(10);
    (lease > 0).then_some(lease)
}

/// What a leader knows of its lease.
#[derive(Debug, Clone, Default)]
pub(super) struct Lease {
    /// The first round of each tick that had one, and the tick; those that could still matter.
    beats: VecDeque<(u64, u64)>,
    /// A majority heard a beat that was sent at this tick.
    from: Option<u64>,
    /// Never again in this term.
    given_up: bool,
}

impl Lease {
    /// A round is sent.
    pub(super) fn sent(&mut self, round: u64, now: u64, lease_ticks: u32) {
        while self.beats.front().is_some_and(|(_, tick)| now - tick >= u64::from(lease_ticks)) {
            self.beats.pop_front();
        }
        if self.beats.back().is_none_or(|(_, tick)| *tick < now) {
            self.beats.push_back((round, now));
        }
    }

    /// A majority, we among them, answered `round`.
    pub(super) fn confirmed(&mut self, round: u64) {
        while let Some((_, tick)) = self.beats.pop_front_if(|(first, _)| *first <= round) {
            self.from = Some(tick);
        }
    }

    /// What was sent up to now counts no longer.
    fn forget(&mut self) {
        self.beats.clear();
        self.from = None;
    }
}

impl Raft {
    /// Whether nobody else can have been elected yet.
    pub(super) fn holds_lease(&self) -> bool {
        let (State::Leader(leader), Some(ticks)) = (&self.state, self.config.lease_ticks) else {
            return false;
        };
        let young = |from| self.now - from < u64::from(ticks);
        leader.lease.from.is_some_and(young) && !leader.lease.given_up
    }

    /// More time has passed than the ticks say: the process was stopped, or held up for long.
    pub fn ticks_lost(&mut self) {
        if let State::Leader(leader) = &mut self.state {
            leader.lease.forget();
        }
    }

    /// Somebody is told to campaign at once, and may get votes that others were promised: as that may happen at any time from
    /// now on, there is no lease any more in this term.
    pub(super) fn give_up_lease(&mut self) {
        if let State::Leader(leader) = &mut self.state {
            leader.lease.given_up = true;
        }
    }

    /// Whether a leader has our word that we give no vote yet, also not to ourselves.
    pub(super) fn is_promised(&self) -> bool {
        self.config.lease_ticks.is_some() && self.timer.since_promise < self.config.election_ticks
    }
}
