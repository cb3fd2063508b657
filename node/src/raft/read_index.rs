//! Reads on a member that does not lead (thesis §6.4): it asks the leader for an index that is confirmed, waits until it has
//! applied that much, and answers from its own state. The leader is spared the values.
//!
//! One request is under way at a time, for any number of reads; those that come meanwhile go with the next. An answer
//! counts for the request of its number only: one to an earlier request knows nothing of writes that came after it. The
//! numbers of a life begin anywhere ([`super::Config::incarnation`]), so that no answer to an earlier life is taken either.

use ordeal_client::wire::NodeId;

use super::reads::Reader;
use super::snapshot::INDEX_MAX;
use super::{Event, Index, Message, ProposeError, Raft, State, Term};

/// Reads that wait for the leader's answer.
#[derive(Debug, Clone)]
pub(super) struct Asking {
    /// Of the last request.
    number: u64,
    /// Reads of that request, while it is under way.
    asked: Vec<u64>,
    /// Reads for the next one.
    next: Vec<u64>,
    /// Ticks since the request left.
    elapsed: u32,
    /// Ticks since the leader answered, or the first request was made.
    unanswered: u32,
    /// Whom all of them are waiting for.
    leader: Option<NodeId>,
}

impl Asking {
    /// Nothing was asked; numbers begin behind `incarnation`.
    pub(super) fn new(incarnation: u64) -> Self {
        Asking {
            number: incarnation,
            asked: Vec::new(),
            next: Vec::new(),
            elapsed: 0,
            unanswered: 0,
            leader: None,
        }
    }

    fn count(&self) -> usize {
        self.asked.len() + self.next.len()
    }
}

impl Raft {
    /// Asks for a linearizable read that this member answers itself, leader or not: by [`Event::ReadReady`] or
    /// [`Event::ReadFailed`].
    ///
    /// # Errors
    /// When no leader is known, or too many reads wait. No event comes then.
    pub fn read_here(&mut self, token: u64) -> Result<(), ProposeError> {
        let (State::Follower, Some(leader)) = (&self.state, self.leader) else { return self.read(token) };
        if self.asking.count() + self.confirmed_reads.count() >= self.config.reads_max {
            return Err(ProposeError::Busy);
        }
        self.asking.leader = Some(leader);
        self.asking.next.push(token);
        self.finish();
        Ok(())
    }

    /// Asks for what waits, unless a request is under way.
    pub(super) fn ask_leader_if_due(&mut self) {
        let Asking { asked, next, leader: Some(leader), .. } = &mut self.asking else { return };
        if !asked.is_empty() || next.is_empty() {
            return;
        }
        asked.append(next);
        let to = *leader;
        self.asking.unanswered = 0;
        self.send_read_index(to);
    }

    fn send_read_index(&mut self, to: NodeId) {
        self.asking.number = self.asking.number.wrapping_add(1);
        self.asking.elapsed = 0;
        let message = Message::ReadIndex { term: self.hard_state.term, number: self.asking.number };
        self.output.send_now(to, message);
    }

    /// A request that was lost is made anew, under a new number, with all that wait by now. A leader that has not answered
    /// for an election timeout will not: it knows us for no member, or has other worries.
    pub(super) fn tick_reads(&mut self) {
        let Asking { asked, next, leader: Some(leader), elapsed, unanswered, .. } = &mut self.asking else {
            return;
        };
        if asked.is_empty() {
            return;
        }
        (*elapsed, *unanswered) = (*elapsed + 1, *unanswered + 1);
        if *unanswered >= self.config.election_ticks {
            return self.fail_asked_reads();
        }
        // A beat, as an answer takes a round trip, two at most, and the loss of one is rare.
        if *elapsed >= self.config.heartbeat_ticks {
            asked.append(next);
            let to = *leader;
            self.send_read_index(to);
        }
    }

    /// Another leader, or none: whoever waits for the old one is told.
    pub(super) fn fail_reads_of_old_leader(&mut self) {
        if self.asking.leader.is_none() || self.asking.leader == self.leader {
            return;
        }
        self.fail_asked_reads();
    }

    fn fail_asked_reads(&mut self) {
        self.asking.leader = None;
        for token in self.asking.asked.drain(..).chain(self.asking.next.drain(..)) {
            self.output.tell(Event::ReadFailed { token });
        }
    }

    /// A member wants to know up to where it must have applied to answer a read. When we cannot say, it asks again.
    pub(super) fn on_read_index(&mut self, from: NodeId, term: Term, number: u64) {
        if self.hear_follower(from, term) {
            let _busy_or_deposed = self.queue_read(Reader::Member(from, number));
        }
    }

    /// The leader answers: these reads wait for that index now.
    pub(super) fn on_read_index_reply(
        &mut self,
        from: NodeId,
        term: Term,
        number: u64,
        index: Index,
        commit: Index,
    ) {
        if term != self.hard_state.term || self.leader != Some(from) || index > INDEX_MAX {
            return;
        }
        self.commit_upto(commit.min(self.log.last().index));
        if number == self.asking.number {
            for token in self.asking.asked.drain(..) {
                self.confirmed_reads.push(index, token);
            }
        }
    }
}
