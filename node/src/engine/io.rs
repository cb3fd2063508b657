//! What goes into an engine and what comes out of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use ordeal_client::wire::{Answer, GroupId, NodeId, Request};

use super::state::State;
use crate::mover::Letter;
use crate::raft::{LogId, Membership, Message, Persist, Snapshot};
use crate::shard::Leftover;

/// A client's connection, numbered by the server; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientKey(pub u64);

/// Number of a batch of writes: grows by one with each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BatchTicket(pub u64);

/// What happened in the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A tick of time passed.
    Tick,
    /// More time has passed than the ticks say: those that are missing never come.
    TicksLost,
    /// A member of a group said something.
    Peer {
        /// Who.
        from: NodeId,
        /// In which group.
        group: GroupId,
        /// What.
        message: Message,
    },
    /// The leader of another group says something to that of a group here.
    Letter {
        /// From this node.
        from: NodeId,
        /// For this group.
        group: GroupId,
        /// It.
        letter: Letter,
    },
    /// The leader of a group tells the controller something: a command, which is looked at before it is believed.
    Control(Arc<[u8]>),
    /// A node is there: it says so for all groups at rest together.
    Beat(NodeId),
    /// The connection from or to a member was closed: a hint that it may be dead, and no proof.
    PeerClosed(NodeId),
    /// What this node says reaches this member from now on: a connection to it was made.
    PeerUp(NodeId),
    /// A client asks for something.
    Request {
        /// On which connection.
        from: ClientKey,
        /// What.
        request: Request,
    },
    /// A client's connection ended: nobody waits for its answers any more.
    ClientGone(ClientKey),
    /// A batch is durable, and with it all batches before it.
    Persisted(BatchTicket),
    /// This node is about to stop: it hands over what it leads, as far as there is somebody.
    HandOver,
    /// The disk has no space for more entries, but still some for votes.
    DiskFull,
    /// It has again.
    DiskHasRoom,
    /// A snapshot that was asked for is done.
    SnapshotTaken(TakenSnapshot),
    /// A snapshot of this group that was asked for found no space: the log stays as long as it is.
    SnapshotGivenUp(GroupId),
    /// The file of a snapshot of a leader is durable.
    SnapshotStored(StoredSnapshot),
    /// A snapshot of a leader is a state now.
    SnapshotRestored(Restored),
}

/// What the world should do. Outputs of one turn are given in order: a `Send` that stands before a `Persist` may leave
/// before it; what promises something about the disk comes out only after `Input::Persisted`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Tell a member.
    Send {
        /// Whom.
        to: NodeId,
        /// In which group.
        group: GroupId,
        /// What.
        message: Message,
    },
    /// Tell the leader of another group.
    Letter {
        /// This node: it leads that group, or knows who does.
        to: NodeId,
        /// That group.
        group: GroupId,
        /// What.
        letter: Letter,
    },
    /// Tell the controller.
    Control {
        /// This node leads it.
        to: NodeId,
        /// What.
        command: Arc<[u8]>,
    },
    /// [`Engine::welcome`](super::Engine::welcome) says something else from now on.
    Welcome,
    /// Drop this, on any thread: it may be large.
    Discard(Leftover),
    /// Tell a node that this one is there.
    Beat {
        /// Whom.
        to: NodeId,
    },
    /// These belong to the groups of this node from now on, and are there: links to them, and to nobody else.
    Members(BTreeMap<NodeId, String>),
    /// Make durable, in order, with one sync for all groups.
    Persist(Batch),
    /// Turn a state into a snapshot, on any thread, and give it back as `Input::SnapshotTaken`.
    TakeSnapshot(SnapshotJob),
    /// Write a snapshot of a leader aside, on any thread, and say when it is durable by `Input::SnapshotStored`. A batch names
    /// it afterwards.
    StoreSnapshot(StoreJob),
    /// Turn a snapshot of a leader into a state, on any thread, and give it back as `Input::SnapshotRestored`.
    RestoreSnapshot(RestoreJob),
    /// Answer a client.
    Reply {
        /// On which connection.
        to: ClientKey,
        /// What.
        answer: Answer,
    },
}

/// A group's state as it was at an entry, to be turned into a snapshot while the group goes on. A group has one such job
/// at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotJob {
    pub(super) group: GroupId,
    pub(super) last: LogId,
    pub(super) membership: Arc<Membership>,
    pub(super) state: State,
}

/// What came of a [`SnapshotJob`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenSnapshot {
    /// Whose.
    pub group: GroupId,
    /// It.
    pub snapshot: Snapshot,
}

impl SnapshotJob {
    /// Does it. Takes a time that grows with the state. Whoever has a disk may write it aside before it is given back, so
    /// that its turn in the log costs no more than a mark.
    #[must_use]
    pub fn run(self) -> TakenSnapshot {
        let data = self.state.snapshot().into();
        let snapshot = Snapshot { last: self.last, membership: self.membership, data };
        TakenSnapshot { group: self.group, snapshot }
    }
}

/// A snapshot that came from a group's leader, to be made durable while other groups go on. A group has one such job at a
/// time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreJob {
    /// Whose.
    pub group: GroupId,
    /// It.
    pub snapshot: Snapshot,
}

/// What came of a [`StoreJob`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredSnapshot {
    pub(super) group: GroupId,
    pub(super) last: LogId,
}

impl StoreJob {
    /// It is durable.
    #[must_use]
    pub fn done(&self) -> StoredSnapshot {
        StoredSnapshot { group: self.group, last: self.snapshot.last }
    }
}

/// A snapshot that came from a group's leader and is durable, to be turned into a state while the group goes on. A group
/// has one such job at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreJob {
    pub(super) group: GroupId,
    pub(super) snapshot: Snapshot,
}

/// What came of a [`RestoreJob`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    pub(super) group: GroupId,
    pub(super) last: LogId,
    /// Length of the snapshot.
    pub(super) bytes: u64,
    pub(super) state: State,
}

impl RestoreJob {
    /// Does it. Takes a time that grows with the state.
    ///
    /// # Panics
    /// When the bytes are no snapshot. They are durable, and this node can go on neither with them nor without.
    #[must_use]
    pub fn run(self) -> Restored {
        let RestoreJob { group, snapshot: Snapshot { last, data, .. } } = self;
        let state = State::restore(group, &data)
            .unwrap_or_else(|error| panic!("snapshot {last} of {group} came from its leader: {error}"));
        assert!(state.applied() == last.index, "a snapshot is of the entry that it names");
        Restored { group, last, bytes: data.len() as u64, state }
    }
}

/// One turn's writes of all groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Names this batch in `Input::Persisted`.
    pub ticket: BatchTicket,
    /// The writes, by ascending group.
    pub groups: Vec<(GroupId, Persist)>,
}
