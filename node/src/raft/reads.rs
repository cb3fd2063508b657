//! Linearizable reads without a log entry (ReadIndex, §8 and thesis §6.4).
//!
//! A read notes the commit index when it arrives, waits for a round of heartbeats **begun after it arrived** to be
//! answered by a majority, and then for that index to be applied. Before an entry of the own term is committed the commit
//! index may be old, and reads wait for that first.
//!
//! Rounds are numbered, and an answer names its round: with anything less, an answer to an old heartbeat confirms a new
//! read (etcd-io/raft PR 397). Reads share rounds: those that arrive while one is under way go with the next. A leader
//! that holds a lease (`lease`) needs no round. Members that do not lead ask as well (`read_index`).

use std::collections::VecDeque;

use ordeal_client::wire::NodeId;

use super::{Index, Message, ProposeError, Raft, State};

/// Who wants to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    /// The machine above, under this token.
    Here(u64),
    /// A member that answers its readers itself, in its request of this number.
    Member(NodeId, u64),
}

/// Reads of a leader that are not confirmed yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Reads {
    /// Before an entry of this term is committed.
    early: Vec<Reader>,
    /// By ascending round and index.
    waiting: VecDeque<Read>,
}

#[derive(Debug, Clone)]
struct Read {
    reader: Reader,
    index: Index,
    /// Confirmed by this round, or a later one.
    round: u64,
}

impl Reads {
    pub(super) fn count(&self) -> usize {
        self.early.len() + self.waiting.len()
    }

    /// All of our own, on the way out of leadership. Other members find out by themselves.
    pub(super) fn drain_tokens(&mut self) -> Vec<u64> {
        let waiting = self.waiting.drain(..).map(|read| read.reader);
        let all = self.early.drain(..).chain(waiting);
        all.filter_map(|reader| match reader {
            Reader::Here(token) => Some(token),
            Reader::Member(..) => None,
        })
        .collect()
    }
}

/// Reads that are confirmed and wait for their index to be applied, by ascending index. They hold whatever becomes of the
/// leader.
#[derive(Debug, Clone, Default)]
pub(super) struct Confirmed(VecDeque<(Index, u64)>);

impl Confirmed {
    /// Takes a read in. Indexes of a leader, and of leaders one after the other, only grow.
    pub(super) fn push(&mut self, index: Index, token: u64) {
        let newest = self.0.back().map_or(0, |(index, _)| *index);
        self.0.push_back((index.max(newest), token));
    }

    /// How many wait.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// The next read whose index is applied.
    pub(super) fn pop_reached(&mut self, applied: Index) -> Option<u64> {
        self.0.pop_front_if(|(index, _)| *index <= applied).map(|(_, token)| token)
    }
}

impl Raft {
    /// Takes a read in, on the leader. Its round begins with the next [`Raft::ready`], if none is under way.
    pub(super) fn queue_read(&mut self, reader: Reader) -> Result<(), ProposeError> {
        let committed_own_term = self.committed_own_term();
        let (index, round, confirmed) = (self.commit, self.round + 1, self.confirmed_reads.count());
        let reads_max = self.config.reads_max;
        let repairing = self.is_repairing();
        let reads = &mut self.as_leader()?.reads;
        if reads.count() + confirmed >= reads_max || repairing {
            return Err(ProposeError::Busy);
        }
        if committed_own_term {
            reads.waiting.push_back(Read { reader, index, round });
        } else {
            reads.early.push(reader);
        }
        Ok(())
    }

    /// Whether what is committed is known to be all that ever was (§6.4 of the thesis, and E2).
    pub(super) fn committed_own_term(&self) -> bool {
        self.log.term_at(self.commit) == Some(self.hard_state.term)
    }

    /// An entry of our term is committed: the commit index is up to date from here on.
    pub(super) fn admit_reads(&mut self) {
        let (index, round) = (self.commit, self.round + 1);
        let State::Leader(leader) = &mut self.state else { return };
        let admitted = leader.reads.early.drain(..).map(|reader| Read { reader, index, round });
        leader.reads.waiting.extend(admitted);
    }

    /// Begins a round when a read waits for one that has not begun, and no lease makes it superfluous.
    pub(super) fn start_round_if_due(&mut self) {
        let State::Leader(leader) = &self.state else { return };
        let Some(oldest) = leader.reads.waiting.front().map(|read| read.round) else { return };
        if self.holds_lease() {
            self.confirm_reads_upto(u64::MAX);
        } else if oldest > self.round {
            self.broadcast_heartbeat();
            self.confirm_reads();
        }
    }

    /// "The leader issues a new round of heartbeats and waits for their acknowledgments from a majority of the cluster"
    /// (thesis §6.4). We answer our own at once.
    pub(super) fn confirm_reads(&mut self) {
        let State::Leader(leader) = &mut self.state else { return };
        let (own, newest) = (self.config.id, self.round);
        let round = self.memberships.latest().reached(|node| match leader.followers.get(&node) {
            Some(follower) => follower.acked_round,
            None => {
                if node == own {
                    newest
                } else {
                    0
                }
            }
        });
        leader.lease.confirmed(round);
        self.confirm_reads_upto(round);
    }

    fn confirm_reads_upto(&mut self, round: u64) {
        let (term, commit) = (self.hard_state.term, self.commit);
        let State::Leader(leader) = &mut self.state else { return };
        while let Some(read) = leader.reads.waiting.pop_front_if(|read| read.round <= round) {
            match read.reader {
                Reader::Here(token) => self.confirmed_reads.push(read.index, token),
                Reader::Member(to, number) => {
                    // As in a heartbeat: what it may take for committed, so that it need not wait for the next one.
                    let commit = leader.followers.get(&to).map_or(0, |f| f.match_index.min(commit));
                    let reply = Message::ReadIndexReply { term, number, index: read.index, commit };
                    self.output.send_now(to, reply);
                }
            }
        }
    }
}
