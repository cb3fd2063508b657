//! What a leader knows of one follower (Figure 2, "Volatile state on leaders"), and how it sends to it.
//!
//! ```text
//!          Matched                       log does not reach back
//!   Probe ─────────▶ Replicate      Probe, Replicate ─────────▶ Snapshot
//!     ▲  ◀─────────                                                │
//!     │   Conflict, or nothing answered for long                   │
//!     └── (one append at a time)        Replicate ◀────────────────┘ installed
//! ```

use std::collections::VecDeque;

use super::{Index, Snapshot};

/// A follower, as its leader sees it.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    /// Highest entry known to be durable there. Only grows within a term.
    pub(super) match_index: Index,
    /// Next entry to send. Always above `match_index`.
    pub(super) next_index: Index,
    /// How to send.
    pub(super) mode: Mode,
    /// Ticks since anything came from it in this term (CheckQuorum).
    pub(super) silent_ticks: u32,
    /// Ticks since the last answer to what is under way.
    pub(super) stalled_ticks: u32,
    /// Highest heartbeat round that it answered.
    pub(super) acked_round: u64,
}

/// How to send to a follower.
#[derive(Debug, Clone)]
pub(super) enum Mode {
    /// Where it stands is unknown: one append at a time.
    Probe {
        /// Whether the one is under way.
        waiting: bool,
    },
    /// Its log follows ours: appends are pipelined.
    Replicate {
        /// Last index of each append under way, ascending.
        inflight: VecDeque<Index>,
    },
    /// It needs what our log no longer holds: a part at a time.
    Snapshot(Transfer),
}

/// A snapshot under way.
#[derive(Debug, Clone)]
pub(super) struct Transfer {
    /// The snapshot; kept until it is over, also when we take a newer one.
    pub(super) snapshot: Snapshot,
    /// Where the part under way begins.
    pub(super) offset: u64,
}

/// A follower, as its leader sees it, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowerStatus {
    /// Highest entry known to be durable there.
    pub match_index: Index,
    /// Next entry to send.
    pub next_index: Index,
    /// How it is sent to.
    pub mode: FollowerMode,
    /// Appends, or parts of a snapshot, under way.
    pub in_flight: usize,
    /// Ticks since anything came from it in this term.
    pub silent_ticks: u32,
}

/// How a leader sends to a follower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FollowerMode {
    /// Where it stands is unknown: one append at a time.
    Probe,
    /// Appends are pipelined.
    Replicate,
    /// A snapshot is under way.
    Snapshot,
}

impl Progress {
    /// For `status`.
    pub(super) fn status(&self) -> FollowerStatus {
        let (mode, in_flight) = match &self.mode {
            Mode::Probe { waiting } => (FollowerMode::Probe, usize::from(*waiting)),
            Mode::Replicate { inflight } => (FollowerMode::Replicate, inflight.len()),
            Mode::Snapshot(_) => (FollowerMode::Snapshot, 1),
        };
        let (match_index, next_index) = (self.match_index, self.next_index);
        FollowerStatus { match_index, next_index, mode, in_flight, silent_ticks: self.silent_ticks }
    }

    /// At the start of a term: "nextIndex initialized to leader last log index + 1, matchIndex to 0" (Figure 2).
    pub(super) fn new(next_index: Index) -> Self {
        Progress {
            match_index: 0,
            next_index,
            mode: Mode::Probe { waiting: false },
            silent_ticks: 0,
            stalled_ticks: 0,
            acked_round: 0,
        }
    }

    /// Whether another append may leave now.
    pub(super) fn may_send(&self, inflight_max: usize) -> bool {
        match &self.mode {
            Mode::Probe { waiting } => !waiting,
            Mode::Replicate { inflight } => inflight.len() < inflight_max,
            Mode::Snapshot(_) => false,
        }
    }

    /// An append with entries up to `upto` left.
    pub(super) fn sent(&mut self, upto: Index) {
        match &mut self.mode {
            Mode::Probe { waiting } => {
                *waiting = true;
                self.stalled_ticks = 0;
            }
            Mode::Replicate { inflight } => {
                if inflight.is_empty() {
                    self.stalled_ticks = 0;
                }
                inflight.push_back(upto);
                self.next_index = upto + 1;
            }
            Mode::Snapshot(_) => panic!("an append to a follower that needs a snapshot"),
        }
    }

    /// The follower's log matches ours up to `upto`, durably. `first` is the first index of our log. True when that is news.
    pub(super) fn matched(&mut self, upto: Index, first: Index) -> bool {
        let news = upto > self.match_index;
        self.match_index = self.match_index.max(upto);
        self.next_index = self.next_index.max(self.match_index + 1);
        match &mut self.mode {
            Mode::Probe { .. } if upto >= self.match_index => self.replicate(),
            Mode::Snapshot(_) if self.match_index + 1 >= first => self.replicate(),
            Mode::Probe { .. } | Mode::Snapshot(_) => {}
            Mode::Replicate { inflight } => {
                let before = inflight.len();
                while inflight.front().is_some_and(|&last| last <= upto) {
                    inflight.pop_front();
                }
                if inflight.len() < before {
                    self.stalled_ticks = 0;
                }
            }
        }
        news
    }

    /// The log follows ours up to `match_index`: pipeline from there.
    pub(super) fn replicate(&mut self) {
        self.next_index = self.match_index + 1;
        self.mode = Mode::Replicate { inflight: VecDeque::new() };
    }

    /// Try from `next_index` on, one append at a time.
    pub(super) fn probe(&mut self, next_index: Index) {
        self.next_index = next_index.max(self.match_index + 1);
        self.mode = Mode::Probe { waiting: false };
    }

    /// Whether a conflict at `previous` is about what we would send now, and not about something overtaken.
    pub(super) fn concerns(&self, previous: Index) -> bool {
        match &self.mode {
            Mode::Probe { .. } => previous == self.next_index - 1,
            Mode::Replicate { .. } => previous > self.match_index && previous < self.next_index,
            Mode::Snapshot(_) => false,
        }
    }

    /// Whether an answer is awaited.
    pub(super) fn waits(&self) -> bool {
        match &self.mode {
            Mode::Probe { waiting } => *waiting,
            Mode::Replicate { inflight } => !inflight.is_empty(),
            Mode::Snapshot(_) => true,
        }
    }

    /// A tick of the leader's.
    pub(super) fn tick(&mut self) {
        self.silent_ticks = self.silent_ticks.saturating_add(1);
        if self.waits() {
            self.stalled_ticks = self.stalled_ticks.saturating_add(1);
        }
    }
}
