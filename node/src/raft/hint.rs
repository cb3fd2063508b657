//! A hint that the leader is gone: its connection closed, which a killed process's kernel says at once, long before an
//! election timeout is over. A closed connection proves nothing (a living leader's may be reset), so that a hint only
//! shortens the wait: what follows is a pre-vote, which whoever still hears the leader refuses.
//!
//! The other way round, [`Raft::leader_heard`] is the hint that members give to clients.
//!
//! Here as well, since hints make several members campaign at once: how pre-candidates give way to each other.

use ordeal_client::wire::NodeId;
use rand::RngExt;

use super::{LogId, Raft, State};

/// A member that was told waits at most so many ticks before it asks for pre-votes: apart, so that mostly one is done
/// before the next begins, and still a small part of an election timeout.
const HINT_TICKS_MAX: u32 = 3;

/// Who asks for the leader is told of one that was heard within so many heartbeats: one may be lost.
pub(super) const HEARD_BEATS: u32 = 2;

impl Raft {
    /// The leader, for who asks whom to turn to: one that is silent is not named, long before anybody campaigns, so that
    /// nobody is sent back to where he waited in vain.
    #[must_use]
    pub fn leader_heard(&self) -> Option<NodeId> {
        let fresh = self.timer.since_leader <= HEARD_BEATS * self.config.heartbeat_ticks;
        self.leader.filter(|_| fresh)
    }

    /// The connection from or to `node` was closed. When it leads us, we no longer count on hearing it: we give our vote
    /// to who asks for it, and ask ourselves after a few ticks. One message of the leader undoes it.
    pub fn leader_unreachable(&mut self, node: NodeId) {
        match self.state {
            State::Follower if self.leader == Some(node) => {
                let delay = self.rng.random_range(1..=HINT_TICKS_MAX);
                let elapsed = self.timer.timeout.saturating_sub(delay);
                self.timer.elapsed = self.timer.elapsed.max(elapsed);
                self.timer.since_leader = u32::MAX;
                self.wake();
            }
            State::Follower | State::PreCandidate(_) | State::Candidate(_) | State::Leader(_) => {}
        }
        self.finish();
    }

    /// We would vote for `candidate`: it gets the time of a heartbeat for its election before we begin one. Of two who ask
    /// at once the one with the newer log, or else the larger id, goes on, so that they do not split the votes.
    pub(super) fn give_way(&mut self, candidate: NodeId, last: LogId) {
        match self.state {
            State::PreCandidate(_) if (last, candidate) < (self.log.last(), self.config.id) => return,
            State::PreCandidate(_) => self.state = State::Follower,
            State::Follower => {}
            State::Candidate(_) | State::Leader(_) => return,
        }
        let latest = self.timer.timeout.saturating_sub(self.config.heartbeat_ticks);
        self.timer.elapsed = self.timer.elapsed.min(latest);
    }
}
