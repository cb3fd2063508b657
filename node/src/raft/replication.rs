//! The leader's side of the log (§5.3): what to send to whom, and what the answers mean.
//!
//! Sending is level-triggered: every [`Raft::ready`] fills each follower's window with what is waiting, so that one turn's
//! proposals travel together and nothing waits for a batch to fill.

use ordeal_client::wire::NodeId;

use super::progress::{Mode, Progress};
use super::{AppendResult, Entry, LogId, Message, Payload, Raft, State, Term};

impl Raft {
    /// A tick of a leader: heartbeats, and CheckQuorum: "a leader steps down if an election timeout elapses without a
    /// successful round of heartbeats to a majority of its cluster" (thesis §6.2). So does one whose disk stalls: its
    /// heartbeats would hold off everybody who could go on.
    pub(super) fn tick_leader(&mut self) {
        self.tick_handover();
        self.tick_repairing();
        let (own, patience) = (self.config.id, self.config.election_ticks);
        let State::Leader(leader) = &mut self.state else { return };
        // By the driver's ticks, and not by its own since it leads: the beats of all groups of a node go out together.
        let beat =
            (self.config.ticks_before + self.now).is_multiple_of(u64::from(self.config.heartbeat_ticks));
        leader.followers.values_mut().for_each(Progress::tick);
        let followers = &leader.followers;
        let heard = self.memberships.latest().has_majority(|node| {
            node == own || followers.get(&node).is_some_and(|follower| follower.silent_ticks < patience)
        });
        if !heard || self.disk_stalls() {
            return self.become_follower(self.hard_state.term, None);
        }
        self.tick_rest();
        if beat && !self.is_at_rest() {
            self.broadcast_heartbeat();
            self.confirm_reads(); // alone in its group a leader answers its own round, and nobody else will
        }
    }

    /// "If command received from client: append entry to local log" (Figure 2, Leaders).
    pub(super) fn append_as_leader(&mut self, payload: Payload) -> LogId {
        self.wake();
        let id = LogId::new(self.log.last().index + 1, self.hard_state.term);
        let entry = Entry { id, payload };
        self.memberships.append(&entry);
        self.log.append(entry);
        id
    }

    /// "If last log index ≥ nextIndex for a follower: send AppendEntries RPC with log entries starting at nextIndex"
    /// (Figure 2, Leaders), as many as its window holds.
    pub(super) fn replicate(&mut self) {
        let State::Leader(leader) = &mut self.state else { return };
        let last = self.log.last().index;
        for (&to, follower) in &mut leader.followers {
            while follower.next_index <= last {
                let Some(room) = follower.room(&self.config) else { break };
                let previous = follower.next_index - 1;
                let Some(term) = self.log.term_at(previous) else {
                    let snapshot =
                        self.snapshot.clone().expect("what the log lacks is in a durable snapshot");
                    let part =
                        follower.begin_transfer(snapshot, self.hard_state.term, self.config.chunk_bytes);
                    self.output.send_now(to, part);
                    break;
                };
                let entries = self.log.slice(follower.next_index, last, room);
                if entries.is_empty() {
                    break; // it is lost here as well
                }
                let upto = previous + entries.len() as u64;
                follower.sent(upto, self.log.bytes_behind(previous) - self.log.bytes_behind(upto));
                let message = Message::AppendEntries {
                    term: self.hard_state.term,
                    previous: LogId::new(previous, term),
                    entries,
                    commit: self.commit,
                };
                self.output.send_now(to, message);
            }
        }
    }

    /// A follower answers an append.
    pub(super) fn on_append_entries_reply(&mut self, from: NodeId, term: Term, result: AppendResult) {
        if !self.hear_follower(from, term) {
            return;
        }
        let State::Leader(leader) = &mut self.state else { return };
        let Some(follower) = leader.followers.get_mut(&from) else { return };
        match result {
            AppendResult::Matched { upto } => {
                // One of our own entries: nobody can match what was never sent.
                if upto <= self.log.last().index && follower.matched(upto, self.log.first()) {
                    self.commit_by_counting();
                }
            }
            AppendResult::Conflict { previous, hint } => {
                if hint.index < previous.saturating_add(1) && follower.concerns(previous) {
                    // Skip all of our entries of terms that the follower cannot have there (end of §5.3, both ways).
                    let upto = self.log.last_not_above(hint.index, hint.term);
                    follower.probe(upto.map_or(self.log.base().index, |id| id.index + 1));
                }
            }
        }
    }

    /// A message of a follower in `term` came. False when there is nothing more to do with it: it is of an old term, or
    /// of a higher one, and then this is no leader any more, or of one that is no member, and then its term is not ours.
    pub(super) fn hear_follower(&mut self, from: NodeId, term: Term) -> bool {
        if !self.membership().addresses().contains_key(&from) {
            return false;
        }
        if term > self.hard_state.term {
            self.become_follower(term, None);
            return false;
        }
        if term < self.hard_state.term {
            return false;
        }
        let State::Leader(leader) = &mut self.state else { return false };
        let Some(follower) = leader.followers.get_mut(&from) else { return false };
        follower.silent_ticks = 0;
        true
    }

    /// "send initial empty AppendEntries RPCs (heartbeat) to each server; repeat during idle periods" (Figure 2), each
    /// broadcast with a number of its own. Never a commit index beyond what the follower is known to hold.
    pub(super) fn broadcast_heartbeat(&mut self) {
        let rest = self.proposes_rest(self.round + 1);
        let State::Leader(leader) = &mut self.state else { return };
        self.round += 1;
        leader.lease.sent(self.round, self.now, self.config.lease_ticks.unwrap_or(0));
        for (&to, follower) in &leader.followers {
            let commit = self.commit.min(follower.match_index);
            let message = Message::Heartbeat { term: self.hard_state.term, commit, round: self.round, rest };
            self.output.send_now(to, message);
        }
    }

    /// What is committed is told in a beat of its own, where followers act on it.
    pub(super) fn tell_commit(&mut self) {
        let State::Leader(leader) = &mut self.state else { return };
        if self.config.tells_commits && leader.told_commit < self.commit {
            leader.told_commit = self.commit;
            self.broadcast_heartbeat();
        }
    }

    /// What is under way to a follower was lost.
    pub(super) fn send_again(&mut self, to: NodeId) {
        let State::Leader(leader) = &mut self.state else { return };
        let Some(follower) = leader.followers.get_mut(&to).filter(|follower| follower.waits()) else {
            return;
        };
        follower.stalled_ticks = 0;
        match &follower.mode {
            Mode::Probe { .. } => follower.probe(follower.next_index),
            Mode::Replicate { .. } => follower.probe(follower.match_index + 1),
            Mode::Snapshot(transfer) => {
                let part = transfer.part(self.hard_state.term, self.config.chunk_bytes);
                self.output.send_now(to, part);
            }
        }
    }

    /// A follower answers a heartbeat: it is alive, so what it has not answered for long was lost, and is sent again.
    pub(super) fn on_heartbeat_reply(&mut self, from: NodeId, term: Term, round: u64, rest: bool) {
        if !self.hear_follower(from, term) || round > self.round {
            return;
        }
        let State::Leader(leader) = &mut self.state else { return };
        let Some(follower) = leader.followers.get_mut(&from) else { return };
        follower.acked_round = follower.acked_round.max(round);
        if follower.stalled_ticks >= self.config.election_ticks {
            self.send_again(from);
        }
        self.confirm_reads();
        self.on_rest_reply(from, round, rest);
    }
}
