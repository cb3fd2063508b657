//! Hints of the connections between members. That of the leader closed: it is gone, which a killed process's kernel says at
//! once, long before an election timeout is over. One came up where no leader is known: there is somebody to elect one with.
//! A hint proves nothing (a living leader's connection may be reset), so that it only shortens the wait: what follows is a
//! pre-vote, which whoever still hears the leader refuses.
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
                self.campaign_soon();
                self.timer.since_leader = u32::MAX;
                self.wake();
            }
            State::Follower | State::PreCandidate(_) | State::Candidate(_) | State::Leader(_) => {}
        }
        self.finish();
    }

    /// What we say reaches `node` from now on, by a new connection, and what was under way on an old one is lost: a leader sends
    /// it again. When we know of no leader, and of no candidate for half an election timeout
    /// (so that links that come and go are no storm of requests), we ask after a few ticks: as all do after a start.
    pub fn peer_reachable(&mut self, node: NodeId) {
        self.ask_for_lost(node);
        match self.state {
            State::Follower
                if self.leader.is_none()
                    && self.membership().is_voter(node)
                    && self.timer.since_candidate >= self.way_ticks() =>
            {
                self.campaign_soon();
            }
            State::Leader(_) => self.send_again(node),
            State::Follower | State::PreCandidate(_) | State::Candidate(_) => {}
        }
        self.finish();
    }

    fn campaign_soon(&mut self) {
        let delay = self.rng.random_range(1..=HINT_TICKS_MAX);
        let elapsed = self.timer.timeout.saturating_sub(delay);
        self.timer.elapsed = self.timer.elapsed.max(elapsed);
    }

    /// How long we give way: long enough for two syncs of a slow disk, and for who gave way to one that died no second wait
    /// as long as the first.
    fn way_ticks(&self) -> u32 {
        self.config.election_ticks / 2
    }

    /// We would vote for `candidate`: it gets half an election timeout for its election before we begin one. Of two who
    /// ask at once the one with the newer log, or else the larger id, goes on, so that they do not split the votes.
    /// Who asks and asks and cannot win holds nobody up for longer than two election timeouts.
    pub(super) fn give_way(&mut self, candidate: NodeId, last: LogId) {
        match self.state {
            State::PreCandidate(_)
                if (last, candidate) < (self.log.last(), self.config.id) && !self.lacks_entries() =>
            {
                return;
            }
            State::PreCandidate(_) => {
                self.state = State::Follower;
                self.timer.elapsed = self.timer.timeout;
            }
            State::Follower => {}
            State::Candidate(_) | State::Leader(_) => return,
        }
        self.timer.since_candidate = 0;
        let later = self.timer.elapsed.saturating_add(self.way_ticks());
        self.timer.not_before = later.min(2 * self.config.election_ticks);
    }
}
