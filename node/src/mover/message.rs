//! What the leaders of two groups tell each other about a shard that moves between them. Any message may be lost, late or doubled.

use ordeal_client::wire::{GroupId, MoveId, NodeId, ShardId};
use serde::{Deserialize, Serialize};

use crate::shard::moving::{Cursor, Fate, Seal};

/// From where to where a part of a copy leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// Where it begins.
    pub from: Cursor,
    /// Where it ends.
    pub to: Cursor,
}

impl Message {
    /// The move that it is about.
    #[must_use]
    pub fn move_id(&self) -> MoveId {
        match *self {
            Message::Offer { id, .. }
            | Message::Part { id, .. }
            | Message::Last { id, .. }
            | Message::Ask { id, .. }
            | Message::Progress { id, .. } => id,
        }
    }
}

/// A message on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Of which group.
    pub from: GroupId,
    /// Who led that group when it was written; whoever gets it by mistake passes it on once.
    pub writer: NodeId,
    /// It.
    pub message: Message,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Donor: make room. How far is it?
    Offer {
        /// The shard.
        shard: ShardId,
        /// The move.
        id: MoveId,
        /// The epoch in which the recipient is to own it.
        epoch: u64,
    },
    /// Donor: a part of the copy.
    Part {
        /// The shard.
        shard: ShardId,
        /// The move.
        id: MoveId,
        /// Which part.
        way: Way,
        /// Its bytes.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// Donor: the last part of the copy of a frozen shard.
    Last {
        /// The shard.
        shard: ShardId,
        /// The move.
        id: MoveId,
        /// Which part.
        way: Way,
        /// Its bytes.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
        /// What the whole must be.
        seal: Seal,
    },
    /// Donor: decide. If the shard is not yours by now, it never is by this move.
    Ask {
        /// The shard.
        shard: ShardId,
        /// The move.
        id: MoveId,
        /// The epoch in which the recipient would own it.
        epoch: u64,
    },
    /// Recipient: what became of it, and how far the copy is.
    Progress {
        /// The shard.
        shard: ShardId,
        /// The move.
        id: MoveId,
        /// What its log has decided.
        fate: Fate,
        /// How far the copy is, when it is on its way.
        cursor: Option<Cursor>,
    },
}
