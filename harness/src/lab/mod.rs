//! Networks in which nodes can be cut from each other.
//!
//! * [`kernel`]: each node in a network namespace of its own, veth and bridge, cut by iptables. No root: the harness
//!   re-executes itself in a user, network, mount and pid namespace ([`enter`]).
//! * [`proxy`]: where the kernel lab cannot be had: a TCP proxy for every directed link, on loopback.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ordeal_client::wire::NodeId;
use serde::{Deserialize, Serialize};

/// A network of nodes.
pub trait Lab: Send + Sync {
    /// Which one it is.
    fn kind(&self) -> LabKind;

    /// What the node must listen on, as `ip:port`; port 0 where it may choose.
    fn listen(&self, node: NodeId) -> String;

    /// Where the harness's clients reach the nodes; never changes.
    fn members(&self) -> BTreeMap<NodeId, String>;

    /// Addresses that `node` must dial instead of the advertised ones.
    fn dial(&self, node: NodeId) -> BTreeMap<NodeId, String>;

    /// The network namespace that the node's process must enter.
    fn namespace(&self, node: NodeId) -> Option<PathBuf>;

    /// A node said that it listens here.
    fn listening(&self, node: NodeId, address: SocketAddr);

    /// Cuts exactly these directed links, and heals all others.
    ///
    /// # Errors
    /// When the rules could not be set.
    fn cut(&self, links: &BTreeSet<Link>) -> anyhow::Result<()>;

    /// Whether a probe sent over the link arrives within `timeout`. Does not need the nodes to be alive.
    ///
    /// # Errors
    /// When no probe could be sent.
    fn probe(&self, link: Link, timeout: Duration) -> anyhow::Result<bool>;
}

/// A directed link between two nodes, prints as `n1→n2`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Link {
    /// Who sends.
    pub from: NodeId,
    /// Who receives.
    pub to: NodeId,
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}→{}", self.from, self.to)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LabKind {
    /// Namespaces and iptables.
    Kernel,
    /// A proxy for every link.
    Proxy,
}
