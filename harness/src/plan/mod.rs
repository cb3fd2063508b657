//! What a run will do, drawn from its seed before anything is started: printable, storable, the same on every machine.
//!
//! The plan fixes every decision: which faults, when, for how long, on whom. What it cannot fix is time, so a victim
//! "the leader" is looked up when its moment has come, and a victim that is down already gives way to the next node
//! (see `run::schedule`).

mod cut;
mod draw;
mod settings;
mod text;

use ordeal_client::wire::NodeId;
use serde::{Deserialize, Serialize};

use crate::lab::Shape;

pub use cut::Cut;
pub use draw::draw;
pub use settings::{
    CLIENTS_MAX, CLIENTS_PER_KEY_MAX, FaultKind, FaultSet, KEYS_MAX, LeftOut, NODES_MAX, RATE_MAX, ReadLevel,
    Settings, SettingsError, TIME_MS_MAX, TIME_MS_MIN, VOTERS_MIN, WorkloadKind,
};
pub use text::seconds;

/// The version of `plan.json`.
pub const PLAN_VERSION: u32 = 1;

/// A plan.
///
/// * Faults ascend by the time at which they begin, and each is undone before the time of the run is over.
/// * Two faults of one kind never overlap; faults of different kinds may, by intention.
/// * At least three voters stay whoever goes; a node that comes is none of the cluster's first ones.
/// * With three nodes or more, the killed and the paused nodes together are fewer than all nodes at every moment; with
///   one or two, kills and pauses take turns. Whoever kills a mover looks first whether anybody is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// [`PLAN_VERSION`].
    pub version: u32,
    /// The scenario whose script takes the place of faults, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenario: Option<String>,
    /// What it was drawn for.
    pub settings: Settings,
    /// The faults.
    pub faults: Vec<PlannedFault>,
}

/// A fault with its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedFault {
    /// When it begins, in milliseconds since the clients began.
    pub at_ms: u64,
    /// How long it lasts.
    pub for_ms: u64,
    /// What it is.
    pub fault: Fault,
}

/// What is done to the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Fault {
    /// SIGKILL; undone by a start.
    Kill {
        /// Whom.
        victims: Victims,
    },
    /// SIGSTOP; undone by SIGCONT.
    Pause {
        /// Whom.
        victims: Victims,
    },
    /// Links are cut; undone by healing all.
    Partition {
        /// Which links, as soon as it is known who is who.
        shape: Shape,
        /// Whether the leader takes the first place.
        leader_first: bool,
        /// The nodes in a drawn order, which says who stands where in the shape.
        order: Vec<NodeId>,
    },
    /// Who belongs to the cluster changes; undone by the change the other way.
    Members {
        /// How.
        change: MembersChange,
    },
    /// A leader hands over. Nothing is left to be undone.
    Transfer {
        /// To whom: the first of these that votes, runs, and does not lead already.
        order: Vec<NodeId>,
    },
    /// A shard moves to another group. Nothing is left to be undone.
    MoveShards {
        /// Which.
        shard: u32,
        /// So many groups on from where it is.
        steps: u32,
    },
    /// A group leaves; undone by joining again.
    JoinLeave {
        /// Which.
        group: u32,
    },
    /// A shard moves to another group, and a leader that has a part in it is killed on the way; undone by a start.
    KillMover {
        /// Which shard.
        shard: u32,
        /// So many groups on from where it is.
        steps: u32,
        /// Which leader.
        part: Part,
        /// When.
        moment: Moment,
    },
}

/// Which leader has a part in a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// That of the group that gives the shard away.
    Source,
    /// That of the group that is to have it.
    Recipient,
    /// That of the controller.
    Controller,
}

/// A moment of a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// The controller has opened it.
    Opened,
    /// The copy is on its way.
    Copied,
    /// The shard is frozen.
    Frozen,
    /// The shard is served again.
    Over,
}

/// How who belongs to the cluster changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MembersChange {
    /// A node beyond the cluster is started, and becomes a voter by way of a learner.
    Joins(NodeId),
    /// A voter is removed. Its process goes on, as one that belongs to nobody.
    Leaves(Victims),
}

/// Whom a fault concerns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Victims {
    /// Whoever leads most groups when the moment has come; the node named here when nobody leads.
    Leader {
        /// Stands in.
        otherwise: NodeId,
    },
    /// These nodes.
    Nodes(Vec<NodeId>),
}

impl PlannedFault {
    /// When it is undone.
    #[must_use]
    pub fn until_ms(&self) -> u64 {
        self.at_ms + self.for_ms
    }
}

impl Fault {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        match self {
            Fault::Kill { .. } => FaultKind::Kill,
            Fault::Pause { .. } => FaultKind::Pause,
            Fault::Partition { .. } => FaultKind::Partition,
            Fault::Members { .. } => FaultKind::Members,
            Fault::Transfer { .. } => FaultKind::Transfer,
            Fault::MoveShards { .. } => FaultKind::MoveShards,
            Fault::JoinLeave { .. } => FaultKind::JoinLeave,
            Fault::KillMover { .. } => FaultKind::KillMover,
        }
    }
}

impl Victims {
    /// How many nodes they are.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Victims::Leader { .. } => 1,
            Victims::Nodes(nodes) => nodes.len(),
        }
    }
}

impl Plan {
    /// How many faults of a kind there are.
    #[must_use]
    pub fn count(&self, kind: FaultKind) -> usize {
        self.faults.iter().filter(|planned| planned.fault.kind() == kind).count()
    }
}

#[cfg(test)]
mod tests;
