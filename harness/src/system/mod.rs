//! What is tested, behind one small trait: how to start a node, how to tell that it is ready, how to ask it something.
//! Our own cluster is [`ordeal::OrdealSystem`]; other systems can follow.

pub mod ordeal;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use ordeal_client::wire::{NodeId, ReadLevel};
use ordeal_history::{Call, Outcome};

pub use ordeal::{OrdealOptions, OrdealSystem};

/// A system under test.
pub trait System: Send + Sync {
    /// Its name and version, for reports.
    fn name(&self) -> String;

    /// The command that starts a node in the foreground. The lab adds where it runs; stdout and stderr are the cluster's.
    fn command(&self, place: &Place) -> Command;

    /// The address that a node listens on, if this line of its stdout says that it does.
    fn ready(&self, line: &str) -> Option<SocketAddr>;

    /// A client for one thread.
    fn client(&self, setup: ClientSetup) -> anyhow::Result<Box<dyn SystemClient>>;

    /// What a node says of itself, for choosing victims by role and for reports. `None` when it does not answer in time.
    fn view(&self, address: SocketAddr, timeout: Duration) -> Option<NodeView>;
}

/// Where a node runs.
#[derive(Debug, Clone)]
pub struct Place {
    /// The node.
    pub node: NodeId,
    /// Its data directory; exists.
    pub dir: PathBuf,
    /// What it must listen on, as `ip:port`; port 0 where it may choose.
    pub listen: String,
    /// Addresses under which clients and other nodes know the nodes, this one among them.
    pub members: BTreeMap<NodeId, String>,
    /// Addresses that this node must dial instead, to reach other nodes.
    pub dial: BTreeMap<NodeId, String>,
}

/// What a client is told.
#[derive(Debug, Clone)]
pub struct ClientSetup {
    /// Where it begins: addresses of some nodes, or of all.
    pub members: BTreeMap<NodeId, String>,
    /// Where it dials each node, in the place of any other address that it learns.
    pub dial: BTreeMap<NodeId, String>,
    /// How fresh its reads must be.
    pub read_level: ReadLevel,
    /// Whom it asks first, and for stale reads always.
    pub prefer: NodeId,
    /// Seed of its jitter.
    pub seed: u64,
    /// How long one operation may take before its outcome counts as unknown.
    pub deadline: Duration,
}

/// A client of one thread.
pub trait SystemClient: Send {
    /// Performs one operation: its outcome, and the node that answered.
    fn call(&mut self, key: &str, call: &Call) -> (Outcome, Option<NodeId>);
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// The node.
    pub node: NodeId,
    /// Its groups: (group, term, leads).
    pub groups: Vec<GroupView>,
}

/// What a node says of one of its groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupView {
    /// Number of the group.
    pub group: u32,
    /// Current term.
    pub term: u64,
    /// Whether this node leads.
    pub leads: bool,
    /// Highest index applied.
    pub applied: u64,
    /// Checksum of the state at `applied`.
    pub digest: u64,
    /// Bytes of the commands in its log.
    pub log_bytes: u64,
    /// Index of its newest snapshot; 0: none.
    pub snapshot: u64,
    /// Length of that snapshot.
    pub snapshot_bytes: u64,
}
