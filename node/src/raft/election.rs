//! Who leads (§5.2, §5.4.1), without disturbing who leads already (thesis §4.2.3, §6.2 and §9.6).
//!
//! ```text
//!               timeout             majority would vote          majority voted
//!   Follower ───────────▶ PreCandidate ───────────▶ Candidate ───────────▶ Leader
//!      ▲                       │                        │                    │
//!      └───────────────────────┴── a leader, or a higher term ───────────────┘ or no majority heard (CheckQuorum)
//! ```
//!
//! A vote, also one's own, counts when it is durable. The term is raised and the vote replaced in one function.

use ordeal_client::wire::NodeId;
use rand::RngExt;

use super::progress::Progress;
use super::quorum::Votes;
use super::reads::Reads;
use super::repair::Repairing;
use super::{Event, HardState, Leader, Lease, LogId, Message, Payload, Raft, State, Term};

/// Who wants an election.
#[derive(Debug, Clone, Copy)]
enum Wish {
    Own,
    OfTheLeader,
}

impl Raft {
    /// A tick of one who does not lead: "If a follower receives no communication over a period of time called the
    /// election timeout, then it begins an election" (§5.2), and so does a candidate again.
    pub(super) fn tick_election(&mut self) {
        self.timer.since_leader = self.timer.since_leader.saturating_add(1);
        self.timer.since_candidate = self.timer.since_candidate.saturating_add(1);
        self.timer.elapsed = self.timer.elapsed.saturating_add(1);
        let voting = matches!(self.state, State::Candidate(_)) && !self.durability.holds(self.hard_state);
        let may = self.may_campaign() && !self.disk_stalls() && !self.is_promised() && !voting;
        // Who lacks entries gives those time who lack nothing (`repair`, rule 4).
        let patience = if self.lacks_entries() { 2 * self.config.election_ticks } else { 0 };
        if may && self.timer.elapsed >= self.timer.timeout.max(self.timer.not_before) + patience {
            self.become_pre_candidate();
        } else if may && self.timer.elapsed.is_multiple_of(self.config.heartbeat_ticks) {
            self.ask_again();
        }
    }

    /// Whether the disk has finished nothing for so long that this member is no good as a leader.
    pub(super) fn disk_stalls(&self) -> bool {
        self.durability.stalled(self.config.stall_ticks)
    }

    /// Starts the election timer anew, with a new random timeout: up to a quarter as long again, as pre-candidates that
    /// time out together give way to each other. At least a tick more than the minimum, so that most voters have waited for
    /// the minimum, too.
    pub(super) fn reset_timer(&mut self) {
        (self.timer.elapsed, self.timer.not_before) = (0, 0);
        let least = self.config.election_ticks;
        self.timer.timeout = self.rng.random_range(least + 1..=least + (least / 4).max(2));
    }

    /// A member asks for a vote, or whether it would get one.
    /// Whether it is a member as far as we know plays no part: it may know more than we do (thesis §4.1), and so may a
    /// candidate that counts on the vote of one that is still a learner here.
    pub(super) fn on_request_vote(
        &mut self,
        from: NodeId,
        term: Term,
        last: LogId,
        pre: bool,
        handed_over: bool,
    ) {
        if term < self.hard_state.term {
            return self.answer_vote(from, term, pre, false);
        }
        if (self.hears_a_leader() || self.is_promised()) && !handed_over {
            return; // "within the minimum election timeout of hearing from a current leader" (thesis §4.2.3)
        }
        if last.term > term {
            return; // nobody holds entries of a term that is still to come
        }
        if pre {
            let free = term > self.hard_state.term || self.may_vote_for(from);
            // Whose disk stalls would vote, and the vote would never leave.
            let granted = free && last >= self.log.last() && !self.disk_stalls();
            if granted {
                self.give_way(from, last);
            }
            return self.answer_vote(from, term, pre, granted);
        }
        if term > self.hard_state.term {
            self.become_follower(term, None);
        }
        let granted = self.may_vote_for(from) && last >= self.log.last();
        if granted && self.hard_state.vote.is_none() {
            self.hard_state.vote = Some(from);
            self.reset_timer();
            self.timer.since_candidate = 0;
        }
        self.answer_vote(from, term, pre, granted);
    }

    fn may_vote_for(&self, candidate: NodeId) -> bool {
        self.hard_state.vote.is_none_or(|vote| vote == candidate)
    }

    fn hears_a_leader(&self) -> bool {
        match self.state {
            State::Leader(_) => true, // else CheckQuorum would have ended it
            State::Follower | State::PreCandidate(_) | State::Candidate(_) => {
                self.leader.is_some() && self.timer.since_leader < self.config.election_ticks
            }
        }
    }

    fn answer_vote(&mut self, to: NodeId, asked: Term, pre: bool, granted: bool) {
        let term = if pre && granted { asked } else { self.hard_state.term };
        let reply = Message::RequestVoteReply { term, asked, pre, granted };
        if granted && !pre {
            self.output.send_after_persist(to, reply);
        } else {
            self.output.send_now(to, reply);
        }
    }

    /// A voter answers. Counted only by the candidate of the very term that was asked for.
    pub(super) fn on_request_vote_reply(
        &mut self,
        from: NodeId,
        term: Term,
        asked: Term,
        pre: bool,
        granted: bool,
    ) {
        if !self.membership().is_voter(from) {
            return;
        }
        let would_be = pre && granted;
        if !would_be && term > self.hard_state.term {
            return self.become_follower(term, None);
        }
        let own = self.hard_state.term;
        match &mut self.state {
            State::PreCandidate(votes) if pre && Some(asked) == own.checked_add(1) => {
                votes.record(from, granted);
            }
            State::Candidate(votes) if !pre && asked == own && term == own => votes.record(from, granted),
            State::Follower | State::PreCandidate(_) | State::Candidate(_) | State::Leader(_) => return,
        }
        self.count_votes();
    }

    /// Counts anew. A candidate leads when its own vote, and so its term, is durable, whoever else voted for it.
    pub(super) fn count_votes(&mut self) {
        let latest = self.memberships.latest();
        let won = |votes: &Votes| latest.has_majority(|voter| votes.of_voter(voter) == Some(true));
        let lost = |votes: &Votes| !latest.has_majority(|voter| votes.of_voter(voter) != Some(false));
        match &self.state {
            State::PreCandidate(votes) if won(votes) => self.become_candidate(Wish::Own),
            State::Candidate(votes) if won(votes) => {
                if self.durability.holds(self.hard_state) {
                    self.become_leader();
                }
            }
            State::PreCandidate(votes) | State::Candidate(votes) if lost(votes) => {
                self.state = State::Follower; // lost; the timer runs on
            }
            State::PreCandidate(_) | State::Candidate(_) | State::Follower | State::Leader(_) => {}
        }
    }

    fn become_pre_candidate(&mut self) {
        self.reset_timer();
        self.timer.since_candidate = 0;
        let Some(term) = self.hard_state.term.checked_add(1) else { return };
        self.leader = None;
        self.wake();
        self.state = State::PreCandidate(Votes::of(self.config.id));
        self.ask_pre_votes(term);
        self.count_votes();
    }

    /// Asks again, as often as a leader beats: a message may have been lost ("Raft … retr[ies] indefinitely", §5.5), or a
    /// voter have heard the leader a moment later than we did, and not have answered.
    fn ask_again(&mut self) {
        match (&self.state, self.hard_state.term.checked_add(1)) {
            (State::PreCandidate(_), Some(next)) => self.ask_pre_votes(next),
            (State::Candidate(_), _) => self.ask_votes(Wish::Own),
            (State::PreCandidate(_) | State::Follower | State::Leader(_), _) => {}
        }
    }

    fn ask_pre_votes(&mut self, term: Term) {
        let last = self.log.last();
        for to in self.other_voters() {
            let request = Message::RequestVote { term, last, pre: true, handed_over: false };
            self.output.send_now(to, request);
        }
    }

    fn ask_votes(&mut self, wish: Wish) {
        let (term, last, handed_over) =
            (self.hard_state.term, self.log.last(), matches!(wish, Wish::OfTheLeader));
        for to in self.other_voters() {
            let request = Message::RequestVote { term, last, pre: false, handed_over };
            self.output.send_after_persist(to, request);
        }
    }

    /// "To begin an election, a follower increments its current term and transitions to candidate state. It then votes
    /// for itself and issues RequestVote RPCs in parallel to each of the other servers" (§5.2).
    fn become_candidate(&mut self, wish: Wish) {
        let Some(term) = self.hard_state.term.checked_add(1) else { return };
        self.enter_term(term, Some(self.config.id));
        self.reset_timer();
        self.leader = None;
        self.state = State::Candidate(Votes::of(self.config.id));
        self.ask_votes(wish);
    }

    /// Its own vote is durable, and so its requests leave: only now its time begins.
    pub(super) fn on_own_vote_durable(&mut self) {
        self.reset_timer();
        self.count_votes();
    }

    /// Campaigns without asking first: the leader wants it so (thesis §3.10).
    pub(super) fn campaign_as_heir(&mut self) {
        self.become_candidate(Wish::OfTheLeader);
    }

    fn become_leader(&mut self) {
        assert!(self.durability.holds(self.hard_state), "led before its own vote was durable");
        let repairing = self.lacks_entries().then(Repairing::default);
        // Without an entry of its own it asks about the last one.
        let next_index = self.log.last().index + u64::from(repairing.is_none());
        let others = self.membership().members().filter(|&node| node != self.config.id);
        let followers = others.map(|node| (node, Progress::new(next_index))).collect();
        let (reads, lease) = (Reads::default(), Lease::default());
        let whole = repairing.is_none();
        let told_commit = self.commit;
        self.state =
            State::Leader(Leader { followers, told_commit, reads, lease, handover: None, repairing });
        self.leader = Some(self.config.id);
        self.partial = None;
        // "each leader commits a blank no-op entry into the log at the start of its term" (§8)
        if whole {
            self.append_as_leader(Payload::Noop);
        }
    }

    /// Follows `leader`, if known, in `term`, which is this one or a higher one.
    pub(super) fn become_follower(&mut self, term: Term, leader: Option<NodeId>) {
        if term > self.hard_state.term {
            self.enter_term(term, None);
        }
        if let State::Leader(old) = &mut self.state {
            for token in old.reads.drain_tokens() {
                self.output.tell(Event::ReadFailed { token });
            }
            self.reset_timer();
        }
        self.state = State::Follower;
        self.leader = leader;
        self.wake();
    }

    /// The one place where the term grows, and the vote of the old one goes with it.
    fn enter_term(&mut self, term: Term, vote: Option<NodeId>) {
        assert!(term > self.hard_state.term, "term {} never falls to {term}", self.hard_state.term);
        self.hard_state = HardState { term, vote };
        self.partial = None;
        self.timer.since_leader = u32::MAX;
    }

    /// A message of the leader of `term` came, which is not below ours. False when it cannot be the leader.
    pub(super) fn hear_leader(&mut self, from: NodeId, term: Term) -> bool {
        assert!(term >= self.hard_state.term, "an old leader is refused before");
        if term == self.hard_state.term {
            let known = self.leader.is_some_and(|leader| leader != from);
            if known || matches!(self.state, State::Leader(_)) {
                return false; // a term has one leader (Election Safety, Figure 3)
            }
        }
        self.become_follower(term, Some(from));
        self.leader_is_there();
        self.timer.since_promise = 0;
        true
    }

    /// The leader that we follow gave a sign of life.
    pub(super) fn leader_is_there(&mut self) {
        (self.timer.elapsed, self.timer.not_before) = (0, 0);
        self.timer.since_leader = 0;
    }
}
