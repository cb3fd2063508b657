//! What members of a group say to each other (Figures 2 and 13 of the paper). A message owns or immutably shares all it
//! carries, and everything in it was read in one moment.

use std::sync::Arc;

use ordeal_client::wire::Kind;
use serde::{Deserialize, Serialize};

use super::{Entry, Index, LogId, Membership, Term, shared_bytes};

/// A message between two members. The term is the sender's, except in a pre-vote (thesis §9.6): there it is the term
/// that the sender would campaign in, and the receiver does not adopt it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// May I lead? (§5.2; `pre`: would you vote for me, if I asked? thesis §9.6)
    RequestVote {
        /// Term of the (would-be) candidacy.
        term: Term,
        /// Last entry of the candidate's log.
        last: LogId,
        /// Whether this only asks.
        pre: bool,
        /// Whether the leader itself wants it so (thesis §3.10): then one who hears a leader votes all the same.
        handed_over: bool,
    },
    /// Answer to a `RequestVote`.
    RequestVoteReply {
        /// The voter's term; for a granted pre-vote, the term that was asked for.
        term: Term,
        /// Term of the request that this answers.
        asked: Term,
        /// Whether it was a pre-vote.
        pre: bool,
        /// Yes or no.
        granted: bool,
    },
    /// Replicate (§5.3). Entries are contiguous from `previous.index + 1` on.
    AppendEntries {
        /// Leader's term.
        term: Term,
        /// The entry before `entries`.
        previous: LogId,
        /// What to append.
        entries: Vec<Entry>,
        /// Leader's commit index.
        commit: Index,
    },
    /// Answer to `AppendEntries`, sent when what it promises is durable.
    AppendEntriesReply {
        /// Follower's term.
        term: Term,
        /// What came of it.
        result: AppendResult,
    },
    /// I lead (§5.2). Separate from `AppendEntries` so that it is small, may be coalesced, and carries the read round.
    Heartbeat {
        /// Leader's term.
        term: Term,
        /// Commit index, never beyond what this follower is known to match.
        commit: Index,
        /// Number of this broadcast; confirms all reads of this and earlier rounds (thesis §6.4; etcd-io/raft PR 397).
        round: u64,
        /// Whether the leader would rest (`rest`): the beats of whole nodes stand for those of this group then.
        rest: bool,
    },
    /// Answer to `Heartbeat`.
    HeartbeatReply {
        /// Follower's term.
        term: Term,
        /// Round of the heartbeat answered.
        round: u64,
        /// Whether this follower rests from now on.
        rest: bool,
    },
    /// A part of a snapshot (Figure 13).
    InstallSnapshot {
        /// Leader's term.
        term: Term,
        /// Last entry covered by the whole snapshot.
        last: LogId,
        /// Who belongs to the group at that entry.
        membership: Arc<Membership>,
        /// Bytes of the whole snapshot.
        total_bytes: u64,
        /// Where `data` begins.
        offset: u64,
        /// The part.
        #[serde(with = "shared_bytes")]
        data: Arc<[u8]>,
    },
    /// Answer to `InstallSnapshot`: how far the follower has got.
    InstallSnapshotReply {
        /// Follower's term.
        term: Term,
        /// Last entry covered by the snapshot in question.
        last: LogId,
        /// Bytes received in order from the start: the next part begins here. `total_bytes` once installed and durable.
        received: u64,
        /// Whether the whole is installed and durable.
        installed: bool,
    },
    /// Campaign at once, I want you to lead (thesis §3.10).
    TimeoutNow {
        /// Leader's term.
        term: Term,
    },
    /// My disk lost these entries: who has them? (`repair`)
    Fetch {
        /// Sender's term.
        term: Term,
        /// The first of them, by ascending index.
        ids: Vec<LogId>,
    },
    /// Answer to `Fetch`, of all but an ordinary leader, which sends `AppendEntries` or a snapshot instead.
    Fetched {
        /// Sender's term, durable there.
        term: Term,
        /// Those that it has, as many as a message holds.
        entries: Vec<Entry>,
        /// Those of which its log holds nothing, not even that they are lost.
        absent: Vec<LogId>,
        /// When it has cut some of them: the last entry of its snapshot, and who belongs to the group there.
        covered: Option<(LogId, Arc<Membership>)>,
    },
    /// Up to where must I have applied to answer a read now? (thesis §6.4)
    ReadIndex {
        /// Follower's term.
        term: Term,
        /// Names this request among all of this follower's.
        number: u64,
    },
    /// Answer to `ReadIndex`, when the leader knows that it led after the request came.
    ReadIndexReply {
        /// Leader's term.
        term: Term,
        /// Of the request.
        number: u64,
        /// The read index.
        index: Index,
        /// Leader's commit index, never beyond what this follower is known to match.
        commit: Index,
    },
}

/// What came of an `AppendEntries`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AppendResult {
    /// The follower's log matches the leader's up to here, durably. Computed from the request, never from the log's end.
    Matched {
        /// previous.index + number of entries of the request.
        upto: Index,
    },
    /// The follower has another entry, or none, at `previous` (fast backtracking, end of §5.3).
    Conflict {
        /// `previous.index` of the request.
        previous: Index,
        /// The follower's entry with the largest index whose term is not above `previous.term`: everything behind it cannot match.
        hint: LogId,
    },
}

impl Message {
    /// The kind in the public header.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Message::RequestVote { .. } => Kind::RequestVote,
            Message::RequestVoteReply { .. } => Kind::RequestVoteReply,
            Message::AppendEntries { .. } => Kind::AppendEntries,
            Message::AppendEntriesReply { .. } => Kind::AppendEntriesReply,
            Message::Heartbeat { .. } => Kind::Heartbeat,
            Message::HeartbeatReply { .. } => Kind::HeartbeatReply,
            Message::InstallSnapshot { .. } => Kind::InstallSnapshot,
            Message::InstallSnapshotReply { .. } => Kind::InstallSnapshotReply,
            Message::TimeoutNow { .. } => Kind::TimeoutNow,
            Message::ReadIndex { .. } => Kind::ReadIndex,
            Message::ReadIndexReply { .. } => Kind::ReadIndexReply,
            Message::Fetch { .. } => Kind::Fetch,
            Message::Fetched { .. } => Kind::Fetched,
        }
    }

    /// The term in it.
    #[must_use]
    pub fn term(&self) -> Term {
        match *self {
            Message::RequestVote { term, .. }
            | Message::RequestVoteReply { term, .. }
            | Message::AppendEntries { term, .. }
            | Message::AppendEntriesReply { term, .. }
            | Message::Heartbeat { term, .. }
            | Message::HeartbeatReply { term, .. }
            | Message::InstallSnapshot { term, .. }
            | Message::InstallSnapshotReply { term, .. }
            | Message::TimeoutNow { term }
            | Message::ReadIndex { term, .. }
            | Message::ReadIndexReply { term, .. }
            | Message::Fetch { term, .. }
            | Message::Fetched { term, .. } => term,
        }
    }
}
