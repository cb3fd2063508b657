//! What nodes send to each other, and the ways between them.

use std::sync::Arc;

use ordeal_client::wire::{GroupId, NodeId};
use ordeal_node::mover::Letter;
use ordeal_node::raft::Message;

/// What nodes send to each other.
#[derive(Debug, Clone)]
pub enum Parcel {
    Message(GroupId, Message),
    Letter(GroupId, Letter),
    Control(Arc<[u8]>),
    /// Of a whole node.
    Beat,
}

/// The way from a node to another. A connection that breaks ends an epoch, and all that was under way on it.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    pub from: NodeId,
    pub to: NodeId,
    pub epoch: u32,
}

/// Nodes of a world are fewer than this.
pub const NODES_MAX: usize = 17;

/// The place of a link in a table of all links.
pub fn at(from: NodeId, to: NodeId) -> usize {
    from.0 as usize * NODES_MAX + to.0 as usize
}

/// What tells messages of the same kind and term apart, nearly always.
pub fn extent(message: &Message) -> u64 {
    match message {
        Message::AppendEntries { previous, entries, commit, .. } => {
            (previous.index << 32 | entries.len() as u64) ^ commit.rotate_left(48)
        }
        Message::Heartbeat { round, .. } | Message::HeartbeatReply { round, .. } => *round,
        Message::InstallSnapshot { offset, .. } => *offset,
        Message::InstallSnapshotReply { received, .. } => *received,
        _ => 0,
    }
}
