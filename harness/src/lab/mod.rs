//! Networks in which nodes can be cut from each other.
//!
//! * [`kernel`]: each node in a network namespace of its own, veth and bridge, cut by iptables. No root: the harness
//!   re-executes itself in a user, network, mount and pid namespace ([`enter`]).
//! * [`proxy`]: where the kernel lab cannot be had: a TCP proxy for every directed link, on loopback.

pub mod enter;
pub mod exec;
pub mod kernel;
pub mod proxy;
pub mod shape;
pub mod trial;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ordeal_client::wire::NodeId;
use serde::{Deserialize, Serialize};

pub use enter::{Choice, NetChoice, choose, is_inside, reexec_inside};
pub use kernel::KernelLab;
pub use proxy::{Count, Frames, Manner, ProxyLab, Tally, Traffic, Way, Weather};
pub use shape::Shape;

/// How long a link must stay silent until it counts as cut: 100 × a probe's usual way of less than 1 ms, and short
/// enough that a partition is proven within 200 ms.
pub const SILENCE: Duration = Duration::from_millis(100);

/// How long a link that must answer is asked again: a lost packet or a busy machine is no cut link.
pub const PATIENCE: Duration = Duration::from_secs(2);

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

    /// Probes every link between two nodes at once and returns those over which a probe arrived. Links in `silent` are
    /// listened to for [`SILENCE`]; the others are asked again until they answer, or until `patience` ends.
    ///
    /// # Errors
    /// When no probe could be sent, or the probing itself is broken so that silence would prove nothing.
    fn survey(&self, silent: &BTreeSet<Link>, patience: Duration) -> anyhow::Result<BTreeSet<Link>>;

    /// A node's process has ended: until the next `listening` nobody listens for it.
    fn ended(&self, _node: NodeId) {}
}

/// Builds the lab that was chosen. The kernel lab is only built inside the harness's own namespaces.
///
/// # Errors
/// When it cannot be built: namespaces refused, tools missing, no free ports.
pub fn open(kind: LabKind, nodes: &[NodeId]) -> anyhow::Result<Arc<dyn Lab>> {
    Ok(match kind {
        LabKind::Kernel => Arc::new(KernelLab::new(nodes)?),
        LabKind::Proxy => Arc::new(ProxyLab::new(nodes)?),
    })
}

/// All directed links between different nodes.
#[must_use]
pub fn all_links(nodes: &[NodeId]) -> BTreeSet<Link> {
    let pairs = nodes.iter().flat_map(|&from| nodes.iter().map(move |&to| Link { from, to }));
    pairs.filter(|link| link.from != link.to).collect()
}

/// Refuses links that do not connect two different nodes of the lab.
fn check_links(links: &BTreeSet<Link>, known: impl Fn(NodeId) -> bool) -> anyhow::Result<()> {
    for link in links {
        anyhow::ensure!(link.from != link.to, "link {link}: a node cannot be cut from itself");
        for node in [link.from, link.to] {
            anyhow::ensure!(known(node), "link {link}: no node {node} in this lab");
        }
    }
    Ok(())
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

impl fmt::Display for LabKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LabKind::Kernel => "kernel",
            LabKind::Proxy => "proxy",
        })
    }
}
