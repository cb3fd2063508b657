//! Groups at rest. A group in which nothing happens says nothing: the beats of whole nodes stand for those of its leader and
//! for the answers of its followers, so that a thousand idle groups cost a node no more messages than one does
//! (CockroachDB's quiescence, TiKV's hibernation).
//!
//! ```text
//!   leader: idle for so long, everybody level ── Heartbeat, rest ──▶ follower: level, too ── HeartbeatReply, rest ──▶
//!           all said so: at rest
//!
//!   at rest   beat of the leader's node    resets the follower's election timer
//!             beat of a follower's node    is a sign of life for CheckQuorum
//!   awake     by any other message, a proposal, a read, a closed connection, a timer that runs out, a node that is silent
//! ```
//!
//! Why nobody sleeps for ever: who is at rest and hears no beat behaves as if it were awake. So there must be beats, and the
//! leader be no leader any more. Then it is awake itself: it follows another, or its timer runs, and its pre-vote wakes
//! whoever it reaches. Nothing here decides what is safe: votes, commits and leases are as they were, and a lease is over
//! long before its group is at rest.

use ordeal_client::wire::NodeId;

use super::hint::HEARD_BEATS;
use super::{Message, Raft, State};

/// How far a member is on its way to rest.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rest {
    /// Ticks that a leader has seen nothing to do for.
    idle_ticks: u32,
    /// The round in which this leader first proposed to rest.
    proposed: Option<u64>,
    at_rest: bool,
}

impl Raft {
    /// Whether this member sends nothing, and counts on [`Raft::node_alive`].
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.rest.at_rest
    }

    /// Whom the beats of our node must reach, as long as this group is at rest: those whose timers count on them.
    #[must_use]
    pub fn counting_on_us(&self) -> Vec<NodeId> {
        if !self.rest.at_rest {
            return Vec::new();
        }
        match &self.state {
            State::Leader(leader) => leader.followers.keys().copied().collect(),
            State::Follower => self.leader.into_iter().collect(),
            State::PreCandidate(_) | State::Candidate(_) => Vec::new(),
        }
    }

    /// A beat of a whole node came: whatever rests with it is as it was.
    pub fn node_alive(&mut self, node: NodeId) {
        if !self.rest.at_rest {
            return;
        }
        match &mut self.state {
            State::Leader(leader) => {
                if let Some(follower) = leader.followers.get_mut(&node) {
                    follower.silent_ticks = 0;
                }
            }
            State::Follower if self.leader == Some(node) => {
                self.leader_is_there();
            }
            State::Follower | State::PreCandidate(_) | State::Candidate(_) => {}
        }
        self.finish();
    }

    /// Something happens: beats and timers of its own from here on.
    pub(super) fn wake(&mut self) {
        self.rest = Rest::default();
    }

    /// A message wakes whoever gets it, but what leads to rest.
    pub(super) fn wake_for(&mut self, message: &Message) {
        let restful =
            matches!(message, Message::Heartbeat { rest: true, .. } | Message::HeartbeatReply { .. });
        if !restful {
            self.wake();
        }
    }

    /// A tick of a leader.
    pub(super) fn tick_rest(&mut self) {
        if self.config.rest_after_ticks.is_none() {
            return;
        }
        if self.has_nothing_to_do() {
            self.rest.idle_ticks = self.rest.idle_ticks.saturating_add(1);
            self.rest_when_agreed();
        } else {
            self.wake();
        }
    }

    /// Whether the broadcast that is about to leave, a round of this number, proposes to rest.
    pub(super) fn proposes_rest(&mut self, round: u64) -> bool {
        let due = self.config.rest_after_ticks.is_some_and(|ticks| self.rest.idle_ticks >= ticks);
        if due {
            self.rest.proposed.get_or_insert(round);
        }
        due
    }

    /// The leader proposes to rest. A follower that has all that is decided does.
    pub(super) fn agrees_to_rest(&mut self) -> bool {
        let last = self.log.last().index;
        self.rest.at_rest = self.commit == last && self.durability.durable() == last;
        self.rest.at_rest
    }

    /// What a follower says to it. One that is awake while we rest would wait for our beats in vain.
    pub(super) fn on_rest_reply(&mut self, from: NodeId, round: u64, rest: bool) {
        if !rest && self.rest.at_rest {
            self.wake();
        }
        let State::Leader(leader) = &mut self.state else { return };
        if let Some(follower) = leader.followers.get_mut(&from).filter(|_| rest) {
            follower.rested_round = follower.rested_round.max(round);
        }
        self.rest_when_agreed();
    }

    fn rest_when_agreed(&mut self) {
        let (State::Leader(leader), Some(proposed)) = (&self.state, self.rest.proposed) else { return };
        self.rest.at_rest = leader.followers.values().all(|follower| follower.rested_round >= proposed);
    }

    /// Whether everybody has everything, answers, and nobody waits for anything.
    fn has_nothing_to_do(&self) -> bool {
        let State::Leader(leader) = &self.state else { return false };
        let last = self.log.last().index;
        let patience = HEARD_BEATS * self.config.heartbeat_ticks;
        let decided = self.commit == last && self.applied == last && self.durability.durable() == last;
        let asked = leader.reads.count() + self.confirmed_reads.count() > 0 || leader.handover.is_some();
        decided
            && !asked
            && !self.membership().is_joint()
            && leader.followers.values().all(|follower| {
                follower.match_index == last && !follower.waits() && follower.silent_ticks <= patience
            })
    }
}
