//! Members and messages in words, as transcripts show them.

use ordeal_client::wire::NodeId;
use ordeal_node::raft::{AppendResult, Entry, Event, Index, Message, Payload, Persist, Role, Term};

use crate::member::Member;
use crate::net::Packet;

/// The first word of a message, by which scripts name it.
pub fn kind(message: &Message) -> &'static str {
    match message {
        Message::RequestVote { pre: true, .. } => "prevote",
        Message::RequestVote { pre: false, .. } => "vote",
        Message::RequestVoteReply { pre: true, .. } => "prevoted",
        Message::RequestVoteReply { pre: false, .. } => "voted",
        Message::AppendEntries { .. } => "append",
        Message::AppendEntriesReply { result: AppendResult::Matched { .. }, .. } => "matched",
        Message::AppendEntriesReply { result: AppendResult::Conflict { .. }, .. } => "conflict",
        Message::Heartbeat { .. } => "beat",
        Message::HeartbeatReply { .. } => "echo",
        Message::InstallSnapshot { .. } => "snapshot",
        Message::InstallSnapshotReply { installed: false, .. } => "received",
        Message::InstallSnapshotReply { installed: true, .. } => "installed",
        Message::TimeoutNow { .. } => "timeout-now",
        Message::ReadIndex { .. } => "read-index",
        Message::ReadIndexReply { .. } => "read-at",
        Message::Fetch { .. } => "fetch",
        Message::Fetched { .. } => "fetched",
    }
}

/// `n1 > n2: append 3@2 after 2@1, commit 1, term 2`.
pub fn packet(Packet { from, to, message }: &Packet) -> String {
    let what = match message {
        Message::RequestVote { last, handed_over, .. } => {
            format!(" for a log up to {last}{}", if *handed_over { ", handed over" } else { "" })
        }
        Message::RequestVoteReply { asked, granted, .. } => {
            format!(" {} to term {asked}", if *granted { "yes" } else { "no" })
        }
        Message::AppendEntries { previous, entries, commit, .. } => {
            format!(" {} after {previous}, commit {commit}", list(entries))
        }
        Message::AppendEntriesReply { result: AppendResult::Matched { upto }, .. } => {
            format!(" up to {upto}")
        }
        Message::AppendEntriesReply { result: AppendResult::Conflict { previous, hint }, .. } => {
            format!(" at {previous}, have {hint}")
        }
        Message::Heartbeat { commit, round, rest, .. } => {
            format!(" {round}, commit {commit}{}", if *rest { ", rest" } else { "" })
        }
        Message::HeartbeatReply { round, rest, .. } => {
            format!(" {round}{}", if *rest { ", rests" } else { "" })
        }
        Message::InstallSnapshot { last, offset, data, total_bytes, .. } => {
            format!(" of {last}, bytes {offset} to {} of {total_bytes}", offset + data.len() as u64)
        }
        Message::InstallSnapshotReply { last, received, .. } => format!(" of {last}, {received} bytes"),
        Message::TimeoutNow { .. } => String::new(),
        Message::ReadIndex { number, .. } => format!(" number {number}"),
        Message::ReadIndexReply { number, index, commit, .. } => {
            format!(" number {number} at {index}, commit {commit}")
        }
        Message::Fetch { ids, .. } => ids.iter().map(|id| format!(" {id}")).collect(),
        Message::Fetched { entries, absent, .. } => {
            let absent: String = absent.iter().map(|id| format!(", not {id}")).collect();
            format!(" {}{absent}", list(entries))
        }
    };
    format!("{from} > {to}: {}{what}, term {}", kind(message), message.term())
}

/// Entries by their ids; of configurations also what they say.
pub fn list<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> String {
    let words: Vec<String> = entries
        .into_iter()
        .map(|entry| match &entry.payload {
            Payload::Membership(membership) => format!("{}={{{membership}}}", entry.id),
            Payload::Noop | Payload::Command(_) => entry.id.to_string(),
        })
        .collect();
    if words.is_empty() { "nothing".to_owned() } else { words.join(" ") }
}

/// What a write holds.
pub fn persist(persist: &Persist) -> String {
    let mut parts = Vec::new();
    if let Some(hard_state) = persist.hard_state {
        parts.push(format!("term {} {}", hard_state.term, voted(hard_state.vote)));
    }
    if let Some(snapshot) = &persist.snapshot {
        parts.push(format!("snapshot {}", snapshot.last));
    }
    let entries = list(&persist.entries);
    match persist.truncate_from {
        Some(from) => parts.push(format!("{entries} in place of all from {from} on")),
        None if persist.entries.is_empty() => {}
        None => parts.push(entries),
    }
    if !persist.repairs.is_empty() {
        parts.push(format!("{} again", list(&persist.repairs)));
    }
    parts.join(", ")
}

fn voted(vote: Option<NodeId>) -> String {
    vote.map_or("no vote".to_owned(), |vote| format!("vote {vote}"))
}

pub fn role(role: Role, term: Term, leader: Option<NodeId>) -> String {
    match role {
        Role::Leader => format!("leads term {term}"),
        Role::Candidate => format!("is a candidate in term {term}"),
        Role::PreCandidate => format!("asks whether it would be elected, term {term}"),
        Role::Follower => match leader {
            Some(leader) => format!("follows {leader} in term {term}"),
            None => format!("follows nobody in term {term}"),
        },
    }
}

/// What happened above, one line each; entries applied in a row are one line.
pub fn events(events: &[Event]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut applied: Vec<&Entry> = Vec::new();
    for event in events {
        let line = match event {
            Event::Apply(entry) => {
                applied.push(entry);
                continue;
            }
            Event::Install(snapshot) => format!("takes over the snapshot of {}", snapshot.last),
            Event::ReadReady { token } => format!("answers read {token}"),
            Event::ReadFailed { token } => format!("fails read {token}"),
            Event::Role { role, term, leader } => self::role(*role, *term, *leader),
        };
        if !applied.is_empty() {
            lines.push(format!("applies {}", list(std::mem::take(&mut applied))));
        }
        lines.push(line);
    }
    if !applied.is_empty() {
        lines.push(format!("applies {}", list(applied)));
    }
    lines
}

/// A member in columns: who, role, vote, log, progress, members. Entries in brackets are not durable yet, those with an x are
/// lost.
pub fn state(member: &Member, down: bool) -> [String; 6] {
    let status = member.status();
    let now = role(status.role, status.term, status.leader);
    let snapshot = member.view.snapshot.as_ref().map(|snapshot| format!("[..{}]", snapshot.last));
    let entries = member.view.entries.iter().map(|entry| {
        if member.disk.lost.contains(&entry.id.index) {
            format!("x{}", entry.id)
        } else if member.disk.id_at(entry.id.index) == Some(entry.id) {
            entry.id.to_string()
        } else {
            format!("({})", entry.id)
        }
    });
    let log: Vec<String> = snapshot.into_iter().chain(entries).collect();
    [
        format!("{}:", member.config.id),
        if down { "down".to_owned() } else { now },
        voted(member.vote()),
        if log.is_empty() { "empty".to_owned() } else { log.join(" ") },
        format!("commit {}, applied {}", status.commit, status.applied),
        format!("members {}", member.raft.membership()),
    ]
}

/// Rows as a table; trailing spaces are cut.
pub fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max();
    let widths: Vec<usize> = (0..columns).filter_map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Where a log entry stands in words of a script: `3@2`.
pub fn parse_id(text: &str) -> Option<(Index, Term)> {
    let (index, term) = text.split_once('@')?;
    Some((index.parse().ok()?, term.parse().ok()?))
}
