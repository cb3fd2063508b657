//! A cluster of real processes in a lab: starts, kills, pauses, cuts, heals, and proves each.
//!
//! * [`running`]: the cluster, and what can be asked of it.
//! * `act`: carries out an [`Action`] and proves it. `change`: those that the cluster itself carries out.
//! * `freeze`: all nodes at a standstill for a look at them.
//! * `process`: one node's process: its state, its end, who invited it.
//! * `spawner`: the one thread that starts processes, because they die with the thread that started them.
//! * `log`: what a node says, kept in a file of bounded size. `proof`: what /proc says of a process.

mod act;
mod change;
mod freeze;
mod log;
mod process;
mod proof;
pub mod running;
mod spawner;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use ordeal_client::wire::NodeId;
use serde::{Deserialize, Serialize};

use crate::lab::Link;

pub use freeze::Frozen;
pub use running::{Clock, Cluster};

/// What can be done to a cluster. Each is verified before it counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum Action {
    /// SIGKILL; verified: the process is gone and reaped.
    Kill {
        /// Whom.
        node: NodeId,
    },
    /// Start a node that is down; verified: it says that it listens.
    Start {
        /// Whom.
        node: NodeId,
    },
    /// SIGSTOP; verified: every thread is in state T.
    Pause {
        /// Whom.
        node: NodeId,
    },
    /// SIGCONT; verified: no thread is in state T.
    Resume {
        /// Whom.
        node: NodeId,
    },
    /// Cut exactly these links; verified: probes over them fail, and over all others arrive.
    Cut {
        /// The links.
        links: BTreeSet<Link>,
    },
    /// Cut none; verified: probes over all links arrive.
    Heal,
    /// Make a node a voter of all groups; verified: their leaders and the node itself say that it votes.
    Add {
        /// Whom.
        node: NodeId,
    },
    /// Remove a node from all groups; verified: their leaders say that it is no member.
    Remove {
        /// Whom.
        node: NodeId,
    },
    /// Have a group led by another node; verified: that one says that it leads, in a higher term.
    Transfer {
        /// Which group.
        group: u32,
        /// By whom.
        to: NodeId,
    },
    /// Have a shard owned by another group; verified: a later configuration says so, in a later epoch.
    MoveShard {
        /// Which shard.
        shard: u32,
        /// So many groups on from where it is, in the order of their numbers.
        steps: u32,
    },
    /// Wait until a shard is on its way no more; verified: a configuration says so.
    Settle {
        /// Which shard.
        shard: u32,
    },
    /// Have a group own nothing; verified: a later configuration says so.
    Leave {
        /// Which group.
        group: u32,
    },
    /// Have a group own its share again; verified: a later configuration says so.
    Join {
        /// Which group.
        group: u32,
    },
}

/// Proof that an action took effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// When it was asked for, in nanoseconds of the run.
    pub asked_ns: u64,
    /// When the injection had been carried out.
    pub applied_ns: u64,
    /// When it was proven.
    pub verified_ns: u64,
    /// How, in words: `pid 4711 is gone (signal 9)`, `10 of 10 cut links are silent, 10 of 10 others answer`.
    pub proof: String,
}

/// An action that could not be carried out, or whose effect could not be proven.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{action}: {reason}")]
pub struct NotVerified {
    /// What was asked for, in words.
    pub action: String,
    /// What was seen instead.
    pub reason: String,
}

/// How a node's process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeState {
    /// Not started, or killed by us.
    Down,
    /// Running.
    Up {
        /// Process id.
        pid: i32,
    },
    /// Stopped by us.
    Paused {
        /// Process id.
        pid: i32,
    },
    /// Ended without our doing.
    Crashed {
        /// How: exit code or signal, in words.
        how: String,
        /// The last lines of its stderr.
        last_words: Vec<String>,
    },
}

/// Settings of a cluster of processes.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// Its nodes.
    pub nodes: Vec<NodeId>,
    /// Nodes that have a place in the lab, and are not started with the others: they join when they are started.
    pub spares: Vec<NodeId>,
    /// Holds a directory for each node: `n1/data`, `n1/log`.
    pub dir: PathBuf,
    /// How long a node may take from its start until it says that it listens.
    pub ready_timeout: Duration,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Kill { node } => write!(f, "kill {node}"),
            Action::Start { node } => write!(f, "start {node}"),
            Action::Pause { node } => write!(f, "pause {node}"),
            Action::Resume { node } => write!(f, "resume {node}"),
            Action::Cut { links } => {
                write!(f, "cut ")?;
                for (at, link) in links.iter().enumerate() {
                    write!(f, "{}{link}", if at == 0 { "" } else { " " })?;
                }
                Ok(())
            }
            Action::Heal => write!(f, "heal"),
            Action::Add { node } => write!(f, "add {node}"),
            Action::Remove { node } => write!(f, "remove {node}"),
            Action::Transfer { group, to } => write!(f, "transfer g{group} to {to}"),
            Action::MoveShard { shard, steps } => write!(f, "move s{shard} {steps} groups on"),
            Action::Settle { shard } => write!(f, "settle s{shard}"),
            Action::Leave { group } => write!(f, "g{group} leaves"),
            Action::Join { group } => write!(f, "g{group} joins"),
        }
    }
}
