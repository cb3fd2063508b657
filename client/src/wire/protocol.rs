//! Requests and replies of clients.
//!
//! The three outcomes are kept apart on the wire: a reply that answers, a [`RefusalReason`] that promises that the
//! request had no effect and never will, and [`Reply::Unknown`] (or no reply at all): it may have happened.

use serde::{Deserialize, Serialize};

use super::changes::{Change, Interest, Mark};
use super::ids::{ClusterId, CommandId, DirectoryId, GroupId, MoveId, NodeId, SessionId, ShardId, Version};
use super::shards::{AdminChange, Configuration, Decision};
use super::txn::TxnResult;

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 4 << 10;
/// The longest value, in bytes, also of one that grew by appends.
pub const VALUE_BYTES_MAX: usize = 1 << 20;
/// Writes that a session may have under way at a time: `sequence - settled` is at most this. 256 cover 25,000 writes a
/// second of one client at a commit in 10 ms; what is remembered for one client stays below a frame.
pub const SESSION_WINDOW_MAX: u64 = 256;

/// A request. Replies carry its `id` and may come in another order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the client, echoed in the reply; unique among its open requests on this connection.
    pub id: u64,
    /// Epoch of the owner of the shard that it concerns, as the client knows it; 0, where it knows none or it concerns no shard.
    pub epoch: u64,
    /// What is asked for.
    pub body: RequestBody,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RequestBody {
    /// How is this node? Answered by any node from its own state, always.
    Status,
    /// Open a session in a shard, so that writes there are exactly-once. Goes through the log.
    OpenSession {
        /// The shard.
        shard: ShardId,
    },
    /// Read a key.
    Read {
        /// The key.
        #[serde(with = "serde_bytes")]
        key: Vec<u8>,
        /// How fresh the answer must be.
        level: ReadLevel,
    },
    /// Write a key, exactly once: a write that was applied before under the same session and sequence is answered
    /// with the reply of that time.
    Write {
        /// A session of the key's shard.
        session: SessionId,
        /// From 1, growing by 1 a write of this session; the same on every retry.
        sequence: u64,
        /// Every sequence number up to this one is over for its client, answered or given up: it is never asked for again,
        /// and its answer may be forgotten. May differ on a retry. At least `sequence - SESSION_WINDOW_MAX`.
        settled: u64,
        /// The key.
        #[serde(with = "serde_bytes")]
        key: Vec<u8>,
        /// What to do with it.
        op: WriteOp,
    },
    /// Change who belongs to a group. Harmless to repeat: ask again until it is done.
    ChangeMembers {
        /// The group.
        group: GroupId,
        /// How.
        change: MemberChange,
    },
    /// Hand the leadership of a group over. Harmless to repeat: done when `to` itself answers.
    Transfer {
        /// The group.
        group: GroupId,
        /// To whom; `None`: to whoever is best prepared.
        to: Option<NodeId>,
    },
    /// Who owns which shard? Linearizable, and answered by whichever node is asked.
    Configuration {
        /// At this number; `None`: by now.
        number: Option<u64>,
    },
    /// Tell me as soon as you know a configuration after this one. Answered by any node, from what it knows; after a second with
    /// the newest one that it knows, whatever that is: then ask again.
    Watch {
        /// The number.
        after: u64,
    },
    /// Change who is to own which shard. Exactly once: the leader of the controller does it.
    Admin {
        /// The same on every retry.
        id: CommandId,
        /// Number of the configuration that the change is based on.
        base: u64,
        /// The change.
        change: AdminChange,
    },
    /// Tell me the changes of these keys of a shard behind this mark. Answered by the leader of its owner as soon as there are some;
    /// after a second with none, and how far that is true.
    Changes {
        /// The shard: of a key that is watched, its own.
        shard: ShardId,
        /// Of which keys.
        of: Interest,
        /// Up to which change all is known; `None`: up to now, and then the answer comes at once and says what now is.
        behind: Option<Mark>,
    },
}

/// A change of a group's members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberChange {
    /// One that votes as soon as it has caught up; also another address for one that is there.
    Add {
        /// Who.
        node: NodeId,
        /// Where it is, as `IP:PORT`.
        address: String,
    },
    /// One that receives everything and does not vote.
    AddLearner {
        /// Who.
        node: NodeId,
        /// Where it is, as `IP:PORT`.
        address: String,
    },
    /// One less.
    Remove {
        /// Who.
        node: NodeId,
    },
}

/// How fresh a read must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ReadLevel {
    /// Linearizable: sees every write that was acknowledged before the read began (ReadIndex, thesis §6.4).
    Linearizable,
    /// From the local state of whichever node is asked, however old that is.
    Stale,
    /// As linearizable, but answered by whichever node is asked, which asks the leader only how far it must have come.
    Follower,
}

/// What a write does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum WriteOp {
    /// Set the value.
    Put(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Add bytes to the end of the value; an absent one counts as empty.
    Append(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Remove the key.
    Delete,
    /// Set the value if the present one is as expected.
    Cas {
        /// The value that must be there; `None`: the key must be absent.
        #[serde(with = "serde_bytes")]
        expected: Option<Vec<u8>>,
        /// The value to set.
        #[serde(with = "serde_bytes")]
        new: Vec<u8>,
    },
    /// Do a transaction: the bytes of a [`Txn`](super::txn::Txn), whose first key is the key of the write.
    Txn(#[serde(with = "serde_bytes")] Vec<u8>),
}

/// The answer to the request with this id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Id of the request.
    pub id: u64,
    /// The node that answers.
    pub node: NodeId,
    /// The answer.
    pub reply: Reply,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To [`RequestBody::Status`].
    Status(Box<NodeStatus>),
    /// To [`RequestBody::OpenSession`].
    SessionOpened(SessionId),
    /// To [`RequestBody::Read`]: the value and its version, or `None` where the key is absent.
    Value(#[serde(with = "found")] Option<(Vec<u8>, Version)>),
    /// To [`RequestBody::Write`]: done.
    Written {
        /// The version that this write made.
        made: Version,
        /// The version that it replaced; `None`: the key was absent.
        replaced: Option<Version>,
    },
    /// To a compare-and-set: the value was not as expected, nothing was changed. Final, also for retries.
    CasFailed {
        /// The value that was there, and its version; `None`: the key was absent.
        #[serde(with = "found")]
        found: Option<(Vec<u8>, Version)>,
    },
    /// Nothing happened and nothing will.
    Refused(RefusalReason),
    /// The request was taken, and its fate cannot be told any more: it may have happened or may yet happen.
    Unknown,
    /// To [`RequestBody::ChangeMembers`]: it is under way or, when `done`, the group is as was wished, for good.
    Members {
        /// Whether it is.
        done: bool,
    },
    /// To [`RequestBody::Transfer`]: leadership is on its way, or there already.
    Transferring {
        /// To whom.
        to: NodeId,
    },
    /// To [`RequestBody::Configuration`] and [`RequestBody::Watch`].
    Configuration(Box<Configuration>),
    /// To [`RequestBody::Admin`].
    Decided(Decision),
    /// To a transaction: done.
    Txn {
        /// Whether all comparisons held.
        succeeded: bool,
        /// The version that all its writes made.
        made: Version,
        /// What came of each operation of the list that was done.
        results: Vec<TxnResult>,
    },
    /// To [`RequestBody::Changes`].
    Changes {
        /// All that there are between the mark that was named and `upto`, in order.
        changes: Vec<Change>,
        /// Where to go on.
        upto: Mark,
    },
}

/// Why a request surely has no effect. (A retry is refused only for itself: an earlier try may have had one.)
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum RefusalReason {
    /// Another node leads the group.
    #[error("not the leader of {group}")]
    NotLeader {
        /// The group that owns the shard.
        group: GroupId,
        /// Who leads it, as far as this node knows, and where to find it.
        leader: Option<(NodeId, String)>,
    },
    /// A queue is full: try again a little later.
    #[error("busy")]
    Busy,
    /// The shard is not owned by any group on this node.
    #[error("shard {shard} is not here")]
    WrongGroup {
        /// The shard of the key.
        shard: ShardId,
    },
    /// No such session: never opened, or expired. Open another.
    #[error("session unknown or expired")]
    SessionUnknown,
    /// The sequence number is settled: the client itself said so, with this request or another.
    #[error("sequence number is in the past")]
    SequencePast,
    /// A key, a value, or the value that an append would make is too long.
    #[error("{what} of {bytes} bytes, the limit is {limit}")]
    TooLong {
        /// `key` or `value`.
        what: String,
        /// How long it is or would be.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The node takes no writes for now because its disk is full.
    #[error("disk full")]
    DiskFull,
    /// The node is about to stop.
    #[error("stopping")]
    Stopping,
    /// The sequence number is too far beyond the settled ones: wait for answers first.
    #[error("more than {limit} writes of one session under way")]
    WindowFull {
        /// [`SESSION_WINDOW_MAX`].
        limit: u64,
    },
    /// Another change of the group's members is under way, or its leader is new: try again.
    #[error("another change of members is under way")]
    MembersBusy,
    /// The group's members cannot be changed like this, or its leadership not be handed over: the reason.
    #[error("{0}")]
    Unfit(String),
    /// The shard is being handed over to another group: ask again soon.
    #[error("shard {shard} is being handed over")]
    Frozen {
        /// The shard of the key.
        shard: ShardId,
    },
    /// The shard was owned here, and is another group's now.
    #[error("shard {shard} has moved to {group}")]
    Moved {
        /// The shard of the key.
        shard: ShardId,
        /// Its epoch there: who knows of a later one knows better.
        epoch: u64,
        /// The group.
        group: GroupId,
    },
    /// Changes behind the mark that was named are not kept any more.
    #[error("changes of shard {shard} before {oldest} are not kept any more")]
    Compacted {
        /// The shard.
        shard: ShardId,
        /// From here on all are.
        oldest: Mark,
    },
}

/// A value and its version, the value as one run of bytes.
pub(super) mod found {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_bytes::{ByteBuf, Bytes};

    use super::Version;

    pub(in crate::wire) fn serialize<S: Serializer>(
        found: &Option<(Vec<u8>, Version)>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        found.as_ref().map(|(value, version)| (Bytes::new(value), version)).serialize(serializer)
    }

    pub(in crate::wire) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<(Vec<u8>, Version)>, D::Error> {
        let found: Option<(ByteBuf, Version)> = Deserialize::deserialize(deserializer)?;
        Ok(found.map(|(value, version)| (value.into_vec(), version)))
    }
}

/// How a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// Its data directory.
    pub directory: DirectoryId,
    /// Version of the build.
    pub version: String,
    /// Milliseconds since it started.
    pub uptime_ms: u64,
    /// Bytes of the log on disk.
    pub log_disk_bytes: u64,
    /// Number of the newest configuration that it knows.
    pub configuration: u64,
    /// Its groups, by ascending id.
    pub groups: Vec<GroupStatus>,
}

/// How one group on a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// The group.
    pub group: GroupId,
    /// What this node is in it.
    pub role: RoleName,
    /// Current term.
    pub term: u64,
    /// Who leads, as far as this node knows.
    pub leader: Option<NodeId>,
    /// Whether the group says nothing, because nothing happens in it: nodes beat for all such groups together.
    pub at_rest: bool,
    /// Entries whose content this node's disk lost, and that were not fetched from another member yet.
    pub lost: u64,
    /// Highest index known to be committed.
    pub commit: u64,
    /// Highest index applied.
    pub applied: u64,
    /// First index still in the log, after the snapshot.
    pub first: u64,
    /// Last index in the log.
    pub last: u64,
    /// Bytes of the commands in the log.
    pub log_bytes: u64,
    /// Index of the newest snapshot, 0 if none.
    pub snapshot: u64,
    /// Its length in bytes.
    pub snapshot_bytes: u64,
    /// Checksum of the whole replicated state at `applied`: equal on all replicas at the same `applied`.
    pub digest: u64,
    /// Shards that it owns; of the controller: 0.
    pub shards: u64,
    /// Keys in the state.
    pub keys: u64,
    /// Open client sessions.
    pub sessions: u64,
    /// The group's members, by ascending id, with their addresses.
    pub members: Vec<(NodeId, String)>,
    /// Those who vote.
    pub voters: Vec<NodeId>,
    /// While members change: those who voted before, whose majority counts as well. Else empty.
    pub outgoing: Vec<NodeId>,
    /// Those who receive everything and do not vote.
    pub learners: Vec<NodeId>,
    /// On a leader, how the others are, by ascending id; else empty.
    pub peers: Vec<PeerStatus>,
    /// Its shards that are on their way, as its log says, by ascending shard.
    pub moves: Vec<MoveStatus>,
}

/// How one of its two groups sees a move of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveStatus {
    /// The shard.
    pub shard: ShardId,
    /// Which move.
    pub id: MoveId,
    /// How far it is.
    pub stage: MoveStage,
    /// The other group.
    pub other: GroupId,
    /// Keys of the shard that are here.
    pub keys: u64,
}

/// How far a move is, in one of its two groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MoveStage {
    /// The shard is copied from here, where it is served.
    Leaving,
    /// It is complete here, and not served any more.
    Frozen,
    /// Its copy is coming here.
    Arriving,
}

/// How a leader sees another member of its group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// The other member.
    pub node: NodeId,
    /// Highest index known to be durable there.
    pub matched: u64,
    /// Next index to send.
    pub next: u64,
    /// How it is sent to.
    pub mode: PeerMode,
    /// Messages with entries, or parts of a snapshot, under way.
    pub in_flight: u64,
    /// Milliseconds since anything was heard of it in this term.
    pub heard_ms: u64,
}

/// How a leader sends to another member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PeerMode {
    /// Where it stands is unknown: one message at a time.
    Probe,
    /// Messages are pipelined.
    Replicate,
    /// It needs what the log no longer holds.
    Snapshot,
}

/// What a node is in a group (Figure 4 of the paper).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the paper's own names")]
pub enum RoleName {
    Follower,
    PreCandidate,
    Candidate,
    Leader,
}
