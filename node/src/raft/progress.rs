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

use super::{Config, Index, Snapshot};

/// A follower, as its leader sees it.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    /// Highest entry known to be durable there. Only grows within a term, unless it was damaged there (`repair`).
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
    /// Highest round in which it agreed to rest.
    pub(super) rested_round: u64,
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
        /// The appends under way.
        inflight: Window,
    },
    /// It needs what our log no longer holds: a part at a time.
    Snapshot(Transfer),
}

/// Appends under way to a follower, each with its last index and its weight. Bounded in both by [`Config`]: a follower
/// whose disk or link is slow holds so much of our log in queues and sockets, and no more.
#[derive(Debug, Clone, Default)]
pub(super) struct Window {
    /// By ascending last index.
    appends: VecDeque<(Index, u64)>,
    /// Their weights' sum.
    bytes: u64,
}

impl Window {
    /// How many bytes another append may hold; nothing when none may leave.
    fn room(&self, config: &Config) -> Option<u64> {
        let room = (config.inflight_bytes_max as u64).checked_sub(self.bytes)?;
        (self.appends.len() < config.inflight_max && (room > 0 || self.appends.is_empty())).then_some(room)
    }

    fn push(&mut self, upto: Index, bytes: u64) {
        self.appends.push_back((upto, bytes));
        self.bytes += bytes;
    }

    /// Everything up to `upto` has arrived. True when that was something.
    fn pop_upto(&mut self, upto: Index) -> bool {
        let before = self.appends.len();
        while let Some((_, bytes)) = self.appends.pop_front_if(|(last, _)| *last <= upto) {
            self.bytes -= bytes;
        }
        self.appends.len() < before
    }
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
            Mode::Replicate { inflight } => (FollowerMode::Replicate, inflight.appends.len()),
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
            rested_round: 0,
        }
    }

    /// How many bytes of entries an append may hold that leaves now; nothing when none may.
    pub(super) fn room(&self, config: &Config) -> Option<usize> {
        let room = match &self.mode {
            Mode::Probe { waiting } => (!waiting).then_some(u64::MAX),
            Mode::Replicate { inflight } => inflight.room(config),
            Mode::Snapshot(_) => None,
        };
        room.map(|room| usize::try_from(room).unwrap_or(usize::MAX).min(config.append_bytes_max))
    }

    /// An append left with entries up to `upto`, of this weight.
    pub(super) fn sent(&mut self, upto: Index, bytes: u64) {
        match &mut self.mode {
            Mode::Probe { waiting } => {
                *waiting = true;
                self.stalled_ticks = 0;
            }
            Mode::Replicate { inflight } => {
                if inflight.appends.is_empty() {
                    self.stalled_ticks = 0;
                }
                inflight.push(upto, bytes);
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
                if inflight.pop_upto(upto) {
                    self.stalled_ticks = 0;
                }
            }
        }
        news
    }

    /// The log follows ours up to `match_index`: pipeline from there.
    pub(super) fn replicate(&mut self) {
        self.next_index = self.match_index + 1;
        self.mode = Mode::Replicate { inflight: Window::default() };
    }

    /// Try from `next_index` on, one append at a time.
    pub(super) fn probe(&mut self, next_index: Index) {
        self.next_index = next_index.max(self.match_index + 1);
        self.mode = Mode::Probe { waiting: false };
    }

    /// It lost an entry that it may have acknowledged: from there on it is as if it had not. What is committed with that stays.
    pub(super) fn lost_from(&mut self, index: Index) {
        if self.match_index >= index {
            self.match_index = index - 1;
            self.next_index = index;
            self.mode = Mode::Probe { waiting: false };
        }
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
            Mode::Replicate { inflight } => !inflight.appends.is_empty(),
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
