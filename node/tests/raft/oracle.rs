//! Knows everything that ever happened in a net, and what of it must never happen (Figure 3).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ordeal_client::wire::NodeId;
use ordeal_node::raft::{AppendResult, Index, LogId, Membership, Message, Payload, Role, Term};

use crate::member::{Member, Sent};
use crate::net::Net;

#[derive(Debug, Default)]
pub struct Oracle {
    leaders: BTreeMap<Term, NodeId>,
    votes: BTreeMap<(Term, NodeId), NodeId>,
    /// Every entry ever made: the one before it, and what it holds.
    entries: BTreeMap<LogId, (LogId, Payload)>,
    /// By index: the entry, and the term of the member that first knew it to be committed.
    committed: BTreeMap<Index, (LogId, Term)>,
    /// State of the machine after each index.
    digests: BTreeMap<Index, u64>,
    /// Configuration of each member, as last seen.
    memberships: BTreeMap<NodeId, Arc<Membership>>,
    /// Commit index of each member, as last seen.
    known: BTreeMap<NodeId, Index>,
    /// Reads under way: where, and what they must see at least.
    reads: BTreeMap<u64, (NodeId, Index)>,
}

impl Oracle {
    /// Looks at one member after anything that it did, and at what it sent.
    pub fn look(&mut self, net: &mut Net, who: NodeId) {
        let member = net.members.get_mut(&who).expect("a member");
        let sent = std::mem::take(&mut member.sent);
        self.log_matching(member);
        self.election_safety(member);
        for message in &sent {
            self.promises(member, message);
        }
        self.state_machine_safety(member);
        self.reads_are_fresh(member);
        self.commits(net, who);
        net.members.get_mut(&who).expect("a member").sent = sent;
    }

    /// A member starts again.
    pub fn restarted(&mut self, who: NodeId) {
        self.known.remove(&who);
        self.reads.retain(|_, (asked, _)| *asked != who);
    }

    /// A read begins: it must see all that anybody knows to be committed.
    pub fn read_begins(&mut self, token: u64, who: NodeId) {
        let floor = self.committed.last_key_value().map_or(0, |(index, _)| *index);
        self.reads.insert(token, (who, floor));
    }

    /// Reads that members have not answered. Who was removed may never hear enough to answer.
    pub fn reads_under_way(&self, members: &Membership) -> usize {
        let asked = self.reads.values().filter(|(asked, _)| members.members().any(|node| node == *asked));
        asked.count()
    }

    pub fn committed(&self) -> usize {
        self.committed.len()
    }

    /// Whether anybody ever knew this entry to be committed.
    pub fn is_committed(&self, id: LogId) -> bool {
        self.committed.get(&id.index).is_some_and(|(known, _)| *known == id)
    }

    pub fn terms_with_a_leader(&self) -> usize {
        self.leaders.len()
    }

    /// "If two logs contain an entry with the same index and term, then the logs are identical in all entries up through
    /// the given index": enough that every copy of an entry is the same and has the same one before it.
    fn log_matching(&mut self, member: &mut Member) {
        for (before, entry) in std::mem::take(&mut member.written) {
            let here = (before, entry.payload);
            let made = self.entries.entry(entry.id).or_insert_with(|| here.clone());
            assert_eq!(*made, here, "Log Matching: two entries {}", entry.id);
        }
    }

    /// "At most one leader can be elected in a given term", and Leader Completeness: "if a log entry is committed in a given
    /// term, then that entry will be present in the logs of the leaders for all higher-numbered terms".
    fn election_safety(&mut self, member: &Member) {
        let status = member.status();
        if status.role != Role::Leader {
            return;
        }
        let (id, term) = (member.config.id, status.term);
        if let Some(&other) = self.leaders.get(&term) {
            assert_eq!(other, id, "Election Safety: two leaders in term {term}");
            return;
        }
        self.leaders.insert(term, id);
        for (entry, known_in) in self.committed.values() {
            assert!(
                *known_in >= term || member.view.claims(*entry),
                "Leader Completeness: {id} leads term {term} without {entry}"
            );
        }
    }

    /// What leaves is true on the sender's disk.
    fn promises(&mut self, member: &Member, (to, message): &Sent) {
        let (id, disk) = (member.config.id, &member.disk);
        let (term, durable) = (message.term(), disk.hard_state);
        let later = durable.term > term;
        match message {
            Message::RequestVote { pre: false, .. } => {
                assert!(later || (durable.term == term && durable.vote == Some(id)), "own vote not durable");
            }
            Message::RequestVoteReply { pre: false, granted: true, .. } => {
                assert!(later || (durable.term == term && durable.vote == Some(*to)), "vote not durable");
                let voted = *self.votes.entry((term, id)).or_insert(*to);
                assert_eq!(voted, *to, "{id} votes twice in term {term}");
            }
            Message::AppendEntries { entries, previous, .. } => {
                assert_eq!(self.leaders.get(&term), Some(&id), "{id} sends entries, but does not lead");
                let indexes = entries.iter().map(|entry| entry.id.index);
                assert!(indexes.eq((previous.index + 1..).take(entries.len())), "a gap in the request");
            }
            Message::Heartbeat { .. } | Message::InstallSnapshot { .. } => {
                assert_eq!(self.leaders.get(&term), Some(&id), "{id} beats, but does not lead");
            }
            Message::AppendEntriesReply { result: AppendResult::Matched { upto: index }, .. }
            | Message::InstallSnapshotReply { last: LogId { index, .. }, installed: true, .. } => {
                assert!(later || durable.term == term, "term {term} not durable");
                assert!(later || disk.last().index >= *index, "entries up to {index} not durable");
                let covered = disk.covered().index;
                let lost = disk.lost.iter().find(|&&lost| lost > covered && lost <= *index);
                assert!(later || lost.is_none(), "{id} acknowledges {index}, but lost {lost:?}");
            }
            Message::HeartbeatReply { round, .. } => {
                assert!(later || durable.term == term || *round == 0, "term {term} not durable");
            }
            Message::RequestVote { pre: true, .. }
            | Message::RequestVoteReply { .. }
            | Message::AppendEntriesReply { .. }
            | Message::InstallSnapshotReply { .. }
            | Message::ReadIndex { .. }
            | Message::ReadIndexReply { .. }
            | Message::Fetch { .. } => {}
            Message::Fetched { entries, .. } => {
                assert!(later || durable.term == term, "term {term} not durable");
                for entry in entries {
                    let made = self.entries.get(&entry.id).map(|(_, payload)| payload);
                    assert_eq!(made, Some(&entry.payload), "{id} gives another {}", entry.id);
                }
            }
            Message::TimeoutNow { .. } => {
                assert_eq!(self.leaders.get(&term), Some(&id), "{id} hands over, but does not lead");
            }
        }
    }

    /// "If a server has applied a log entry at a given index to its state machine, no other server will ever apply a
    /// different log entry for the same index."
    fn state_machine_safety(&mut self, member: &Member) {
        let machine = member.machine;
        let digest = *self.digests.entry(machine.last.index).or_insert(machine.digest);
        assert_eq!(digest, machine.digest, "State Machine Safety at {}", machine.last);
    }

    fn reads_are_fresh(&mut self, member: &mut Member) {
        for (token, applied) in std::mem::take(&mut member.answered) {
            let (_, floor) = self.reads.remove(&token).expect("a read is answered once");
            assert!(applied >= floor, "read {token} sees {applied}, but {floor} was committed when it began");
        }
        for event in member.events.drain(..) {
            if let ordeal_node::raft::Event::ReadFailed { token } = event {
                assert!(self.reads.remove(&token).is_some(), "read {token} is answered once");
            }
        }
    }

    /// What is committed is the same for all, and has its place on a majority of disks (of both halves of a joint configuration) when the
    /// first one knows it. That one may have gone on to the next configuration in the same step.
    fn commits(&mut self, net: &Net, who: NodeId) {
        let member = &net.members[&who];
        let status = member.status();
        let now = member.raft.membership();
        let before = self.memberships.insert(who, Arc::clone(now)).unwrap_or_else(|| Arc::clone(now));
        let known = self.known.insert(who, status.commit).unwrap_or(0);
        assert!(known <= status.commit, "the commit index of {who} falls from {known}");
        for index in known + 1..=status.commit {
            let Some(id) = member.view.id_at(index) else { continue };
            if let Some((other, _)) = self.committed.get(&index) {
                assert_eq!(*other, id, "two entries committed at {index}");
                continue;
            }
            self.committed.insert(index, (id, status.term));
            let holders = net.members.values().filter(|member| member.disk.claims(id));
            let holders: BTreeSet<NodeId> = holders.map(|member| member.config.id).collect();
            let enough = [&before, now].into_iter().any(|membership| are_majority(membership, &holders));
            assert!(enough, "{id} is committed, but durable on {holders:?} only, of {before} or {now}");
        }
    }

    /// Configurations that were committed.
    pub fn changes(&self) -> usize {
        let committed = self.committed.values().filter_map(|(id, _)| self.entries.get(id));
        committed.filter(|(_, payload)| matches!(payload, Payload::Membership(_))).count()
    }
}

/// Written once more, so that a mistake in the counting is seen here.
fn are_majority(membership: &Membership, holders: &BTreeSet<NodeId>) -> bool {
    let halves = [membership.voters(), membership.outgoing()];
    halves.iter().all(|half| half.is_empty() || 2 * half.intersection(holders).count() > half.len())
}
