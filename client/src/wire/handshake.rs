//! The first frame each way: who is there, and is it of our cluster?
//!
//! The side that dialled sends [`Hello`]; the node answers [`Welcome`], or [`Refusal`] and ends the connection.
//! Nothing else is read from a connection before that. A peer's connection carries its messages one way only, from the
//! node that dialled; so a directed link of the network is one connection, which a harness can cut by itself.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ids::{ClusterId, GroupId, NodeId};
use super::shards::Owner;

/// The first bytes of a [`Hello`]: whoever sends something else speaks another protocol.
pub const MAGIC: [u8; 8] = *b"ORDEAL\r\n";

/// The version of everything in [`super`]. Both sides must name the same.
pub const PROTOCOL_VERSION: u32 = 10;

/// What the dialling side says first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`PROTOCOL_VERSION`].
    pub version: u32,
    /// The cluster that is meant; a client that does not know it yet leaves it out.
    pub cluster: Option<ClusterId>,
    /// Who dials.
    pub role: Role,
    /// Where a peer is found in turn, as `IP:PORT`: whoever is dialled may not know it yet, and has to answer.
    pub address: Option<String>,
}

impl Hello {
    /// A hello of this build.
    #[must_use]
    pub fn new(cluster: Option<ClusterId>, role: Role) -> Self {
        Hello { magic: MAGIC, version: PROTOCOL_VERSION, cluster, role, address: None }
    }
}

/// Who dials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// A client: sends requests, gets replies.
    Client,
    /// A node of the same cluster: sends Raft messages, gets only pongs.
    Peer {
        /// Who dials.
        from: NodeId,
        /// Who is meant: a forwarded port may lead to somebody else.
        to: NodeId,
    },
}

/// The node takes the connection, and says what a client needs in order to find its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node that answers.
    pub node: NodeId,
    /// Advertised addresses (`host:port`) of all nodes, by ascending id.
    pub members: Vec<(NodeId, String)>,
    /// How the cluster was created.
    pub layout: Layout,
    /// Who owns each shard, by ascending shard from 0, as far as this node knows: never empty. Who knows of a later epoch knows
    /// better.
    pub owners: Vec<Owner>,
    /// The members of each group, the controller's among them, as far as this node knows.
    pub groups: Vec<(GroupId, Vec<NodeId>)>,
}

/// How a cluster was created: the same for all its nodes, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Data groups at first.
    pub groups: u32,
    /// Members of each of them at first; `None`: all nodes.
    pub replicas: Option<u32>,
    /// Shards.
    pub shards: u32,
}

impl fmt::Display for Layout {
    /// The flags of `node start` that say so.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--groups {}", self.groups)?;
        if let Some(replicas) = self.replicas {
            write!(f, " --replicas {replicas}")?;
        }
        write!(f, " --shards {}", self.shards)
    }
}

/// The node does not take the connection. It is closed after this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// Another protocol, or another version of ours.
    #[error("speaks protocol version {ours}")]
    Version {
        /// The node's version.
        ours: u32,
    },
    /// Another cluster was meant.
    #[error("belongs to cluster {ours}")]
    Cluster {
        /// The node's cluster.
        ours: ClusterId,
    },
    /// Another node was meant.
    #[error("is {ours}, and knows no such peer link")]
    Node {
        /// The node's id.
        ours: NodeId,
    },
    /// As many connections as the node takes.
    #[error("has no connection to spare")]
    Full,
}
