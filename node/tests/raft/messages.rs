//! Messages in few words.

use std::sync::Arc;

use ordeal_node::raft::{AppendResult, Entry, Index, LogId, Message, Term};

use crate::member::{Sent, command, voters};

pub fn vote(term: Term, last: LogId) -> Message {
    Message::RequestVote { term, last, pre: false, handed_over: false }
}

pub fn pre_vote(term: Term, last: LogId) -> Message {
    Message::RequestVote { term, last, pre: true, handed_over: false }
}

pub fn vote_reply(term: Term, granted: bool) -> Message {
    Message::RequestVoteReply { term, asked: term, pre: false, granted }
}

pub fn pre_vote_reply(asked: Term, granted: bool) -> Message {
    Message::RequestVoteReply { term: asked - u64::from(!granted), asked, pre: true, granted }
}

pub fn append(term: Term, previous: LogId, entries: Vec<Entry>, commit: Index) -> Message {
    Message::AppendEntries { term, previous, entries, commit }
}

pub fn matched(term: Term, upto: Index) -> Message {
    Message::AppendEntriesReply { term, result: AppendResult::Matched { upto } }
}

pub fn conflict(term: Term, previous: Index, hint: LogId) -> Message {
    Message::AppendEntriesReply { term, result: AppendResult::Conflict { previous, hint } }
}

pub fn heartbeat(term: Term, commit: Index, round: u64) -> Message {
    Message::Heartbeat { term, commit, round, rest: false }
}

pub fn heartbeat_reply(term: Term, round: u64) -> Message {
    Message::HeartbeatReply { term, round, rest: false }
}

pub fn part(term: Term, last: LogId, total: usize, offset: usize, data: &str) -> Message {
    let (total_bytes, offset) = (total as u64, offset as u64);
    let membership = Arc::new(voters(3));
    Message::InstallSnapshot { term, last, membership, total_bytes, offset, data: command(data) }
}

pub fn part_reply(term: Term, last: LogId, received: u64, installed: bool) -> Message {
    Message::InstallSnapshotReply { term, last, received, installed }
}

/// What an append says: to whom, `previous`, the indexes of its entries.
pub fn appends(sent: &[Sent]) -> Vec<(u32, LogId, Vec<Index>)> {
    let appends = sent.iter().filter_map(|(to, message)| match message {
        Message::AppendEntries { previous, entries, .. } => {
            Some((to.0, *previous, entries.iter().map(|entry| entry.id.index).collect()))
        }
        Message::RequestVote { .. }
        | Message::RequestVoteReply { .. }
        | Message::AppendEntriesReply { .. }
        | Message::Heartbeat { .. }
        | Message::HeartbeatReply { .. }
        | Message::InstallSnapshot { .. }
        | Message::InstallSnapshotReply { .. }
        | Message::TimeoutNow { .. }
        | Message::ReadIndex { .. }
        | Message::ReadIndexReply { .. }
        | Message::Fetch { .. }
        | Message::Fetched { .. } => None,
    });
    appends.collect()
}

/// Rounds of the heartbeats that were sent to `to`.
pub fn rounds(sent: &[Sent], to: u32) -> Vec<u64> {
    let rounds = sent.iter().filter_map(|(addressee, message)| match message {
        Message::Heartbeat { round, .. } if addressee.0 == to => Some(*round),
        Message::Heartbeat { .. }
        | Message::AppendEntries { .. }
        | Message::RequestVote { .. }
        | Message::RequestVoteReply { .. }
        | Message::AppendEntriesReply { .. }
        | Message::HeartbeatReply { .. }
        | Message::InstallSnapshot { .. }
        | Message::InstallSnapshotReply { .. }
        | Message::TimeoutNow { .. }
        | Message::ReadIndex { .. }
        | Message::ReadIndexReply { .. }
        | Message::Fetch { .. }
        | Message::Fetched { .. } => None,
    });
    rounds.collect()
}
