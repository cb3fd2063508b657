//! The follower's side of the log (§5.3): what to take from the leader, what to refuse, what to answer.
//!
//! Entries up to the commit index are the leader's already (Leader Completeness, Figure 3): they are never compared
//! away, and a request whose `previous` was cut long ago matches there.

use ordeal_client::wire::NodeId;

use super::snapshot::INDEX_MAX;
use super::{AppendResult, Entry, Index, LogId, Message, Payload, Raft, Term};

/// What the log writes at least.
const BLOCK_BYTES: usize = 4096;

impl Raft {
    /// AppendEntries RPC, receiver (Figure 2).
    pub(super) fn on_append_entries(
        &mut self,
        from: NodeId,
        term: Term,
        previous: LogId,
        entries: Vec<Entry>,
        leader_commit: Index,
    ) {
        let Some(upto) = last_of_request(term, previous, &entries) else { return };
        // "1. Reply false if term < currentTerm". The reply's term brings an old leader up to ours, also when we are
        // the one whom nobody follows, for nobody else would hear of our term (thesis §9.6 with CheckQuorum).
        if term < self.hard_state.term {
            return self.refuse_append(from, previous);
        }
        if !self.hear_leader(from, term) || !self.agrees_with_committed(previous, &entries) {
            return;
        }
        // "2. Reply false if log doesn't contain an entry at prevLogIndex whose term matches prevLogTerm"
        if previous.index > self.commit && !self.log.holds(previous) {
            return self.refuse_append(from, previous);
        }
        if !self.finds_room(&entries) {
            return; // as if it had been lost: the leader sends it again for as long as we live
        }
        self.take_entries(entries);
        // "5. If leaderCommit > commitIndex, set commitIndex = min(leaderCommit, index of last new entry)": the last of
        // this request, for what stands behind it may be another leader's.
        self.commit_upto(leader_commit.min(upto));
        // Nothing behind what the disk has lost is acknowledged (`repair`, rule 2).
        let upto = self.log.first_lost().map_or(upto, |lost| upto.min(lost - 1));
        let result = AppendResult::Matched { upto };
        // Also when all of it was here before: then it may still be on its way to the disk.
        let reply = Message::AppendEntriesReply { term: self.hard_state.term, result };
        self.output.send_after_persist(from, reply);
    }

    /// Steps 3 and 4: "If an existing entry conflicts with a new one (same index but different terms), delete the
    /// existing entry and all that follow it. Append any new entries not already in the log". From the first conflict
    /// on only: an old request that comes late must not shorten the log.
    fn take_entries(&mut self, entries: Vec<Entry>) {
        let mut lost = Vec::new();
        for entry in entries {
            if self.log.is_lost(entry.id) {
                lost.push(entry);
                continue;
            }
            if !self.lacks(&entry) {
                continue;
            }
            if entry.id.index <= self.log.last().index {
                self.truncate_from(entry.id.index);
            }
            self.memberships.append(&entry);
            self.log.append(entry);
        }
        self.refill(lost);
    }

    fn lacks(&self, entry: &Entry) -> bool {
        entry.id.index > self.commit && !self.log.holds(entry.id)
    }

    /// The disk has no space but for so many bytes of commands, each append counting for a block at least: what comes beyond,
    /// and snapshots of a leader, is neither taken nor answered. What a new leader begins with is, for reads wait for it.
    pub fn refuse_entries_beyond(&mut self, bytes: usize) {
        self.room_bytes = Some(bytes);
    }

    /// It has space again.
    pub fn accept_entries(&mut self) {
        self.room_bytes = None;
    }

    fn finds_room(&mut self, entries: &[Entry]) -> bool {
        let Some(room_bytes) = self.room_bytes else { return true };
        let commands = entries.iter().filter(|entry| matches!(entry.payload, Payload::Command(_)));
        let lacking = commands.filter(|entry| self.lacks(entry));
        let needed: usize = lacking.map(|entry| entry.payload.len().max(1)).sum();
        let left = room_bytes.checked_sub(needed.next_multiple_of(BLOCK_BYTES));
        self.room_bytes = Some(left.unwrap_or(room_bytes));
        left.is_some()
    }

    pub(super) fn truncate_from(&mut self, index: Index) {
        assert!(index > self.commit, "entry {index} is committed, up to {}", self.commit);
        self.log.truncate_from(index);
        self.memberships.truncate_from(index);
        self.durability.truncated_from(index);
    }

    /// Whether the request says nothing else about committed entries than we know. No member of a healthy group does.
    fn agrees_with_committed(&self, previous: LogId, entries: &[Entry]) -> bool {
        let ids = std::iter::once(previous).chain(entries.iter().map(|entry| entry.id));
        ids.take_while(|id| id.index <= self.commit)
            .all(|id| id.index < self.log.base().index || self.log.holds(id))
    }

    fn refuse_append(&mut self, to: NodeId, previous: LogId) {
        // What is committed is the leader's as well, so the hint never has to go back behind the base.
        let upto = previous.index.min(self.log.last().index);
        let hint = self.log.last_not_above(upto, previous.term).unwrap_or(self.log.base());
        let result = AppendResult::Conflict { previous: previous.index, hint };
        self.output.send_now(to, Message::AppendEntriesReply { term: self.hard_state.term, result });
    }

    /// A heartbeat: its leader is heard, and its commit index holds here as far as it is known to match.
    pub(super) fn on_heartbeat(&mut self, from: NodeId, term: Term, commit: Index, round: u64, rest: bool) {
        if term < self.hard_state.term {
            // Round 0: the answer says our term, and confirms nothing of a round that it may meet there.
            let reply = Message::HeartbeatReply { term: self.hard_state.term, round: 0, rest: false };
            return self.output.send_now(from, reply);
        }
        if !self.hear_leader(from, term) {
            return;
        }
        self.commit_upto(commit.min(self.log.last().index));
        let rest = rest && self.agrees_to_rest();
        self.send_in_term(from, Message::HeartbeatReply { term, round, rest });
    }

    /// Sends what promises no more than that this member is in its term: at once, if the disk knows the term.
    pub(super) fn send_in_term(&mut self, to: NodeId, message: Message) {
        if self.durability.holds_term(self.hard_state.term) {
            self.output.send_now(to, message);
        } else {
            self.output.send_after_persist(to, message);
        }
    }
}

/// Index of the last entry that the request is about; nothing when it makes no sense: a gap, an entry 0, a term that falls
/// or is above the sender's, a first entry that is not the one before it, a
/// membership that cannot be.
fn last_of_request(term: Term, previous: LogId, entries: &[Entry]) -> Option<Index> {
    let mut last = previous;
    if last.index > INDEX_MAX || last.term > term || (last.index == 0) != (last.term == 0) {
        return None;
    }
    for entry in entries {
        let follows = entry.id.index == last.index + 1 && entry.id.term >= last.term.max(1);
        let unsound = matches!(&entry.payload, Payload::Membership(membership) if !membership.is_sound());
        if !follows || unsound || entry.id.term > term || entry.id.index > INDEX_MAX {
            return None;
        }
        last = entry.id;
    }
    Some(last.index)
}
