//! What a node is told once, checked before anything is touched.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ordeal_client::wire::{ClusterId, GroupId, Layout, NodeId};
pub use ordeal_client::wire::{GROUPS_MAX, SHARDS_MAX};
use ordeal_wal::SyncMode;

use crate::engine::EngineConfig;
use crate::raft::{self, lease_ticks};
use crate::storage::{self, Identity};

/// One tick of the clock: a fifth of a heartbeat by default, so that timeouts are fine enough to differ by chance.
pub const TICK: Duration = Duration::from_millis(10);

/// Members of a cluster.
pub const MEMBERS_MAX: usize = raft::MEMBERS_MAX;

/// Settings of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfig {
    /// This node.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its data directory.
    pub dir: PathBuf,
    /// Where it listens; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Members with their advertised addresses, this one among them. All voters of a cluster that begins; afterwards the log
    /// says who belongs to it.
    pub members: BTreeMap<NodeId, SocketAddr>,
    /// Whether this node joins a cluster that there is: it waits to be added.
    pub join: bool,
    /// Where this node dials some of the others instead: a proxy, a forwarded port.
    pub dial: BTreeMap<NodeId, SocketAddr>,
    /// Number of data groups, g1 and so on.
    pub groups: u32,
    /// So many nodes belong to each of them at first; `None`: all.
    pub replicas: Option<u32>,
    /// Number of shards of the cluster.
    pub shards: u32,
    /// A leader's heartbeat goes out so often.
    pub heartbeat: Duration,
    /// A follower campaigns when it heard no leader for so long, and up to a quarter as long again by chance.
    pub election_timeout: Duration,
    /// A group takes a snapshot after so many entries.
    pub snapshot_entries: u64,
    /// A group takes a snapshot, too, after so many bytes of entries.
    pub snapshot_bytes: u64,
    /// Whether a sync reaches the disk.
    pub sync: SyncMode,
    /// Whether leaders answer reads under a lease, without asking a majority each time; the same on all nodes.
    pub leases: bool,
    /// Seed of the random timeouts; nodes draw differently from the same one.
    pub seed: u64,
}

/// Settings that make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The node is not among the members.
    #[error("{node} is not among the members")]
    NoMember {
        /// The node.
        node: NodeId,
    },
    /// An address for the node itself.
    #[error("--dial names {node} itself")]
    Dial {
        /// Who is named.
        node: NodeId,
    },
    /// A number is out of its range.
    #[error("{what} is {found}, expected {expected}")]
    Range {
        /// Which number.
        what: &'static str,
        /// What it is.
        found: String,
        /// What it may be.
        expected: String,
    },
}

impl NodeConfig {
    /// The defaults: one data group, 64 shards, a heartbeat of 50 ms, every sync to the disk.
    #[must_use]
    pub fn new(
        node: NodeId,
        cluster: ClusterId,
        dir: PathBuf,
        members: BTreeMap<NodeId, SocketAddr>,
    ) -> Self {
        NodeConfig {
            node,
            cluster,
            dir,
            listen: members.get(&node).copied().unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0))),
            members,
            join: false,
            dial: BTreeMap::new(),
            groups: 1,
            replicas: None,
            shards: 64,
            heartbeat: Duration::from_millis(50),
            election_timeout: Duration::from_millis(250),
            snapshot_entries: 100_000,
            snapshot_bytes: 32 << 20,
            sync: SyncMode::Always,
            leases: false,
            seed: 1,
        }
    }

    /// Whether the settings make sense together.
    ///
    /// # Errors
    /// [`ConfigError`] for the first that does not.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !self.members.contains_key(&self.node) {
            return Err(ConfigError::NoMember { node: self.node });
        }
        // Others may be named that are no members yet.
        if self.dial.contains_key(&self.node) {
            return Err(ConfigError::Dial { node: self.node });
        }
        range(
            "the lowest node id",
            u64::from(self.members.keys().next().map_or(0, |node| node.0)),
            1,
            u64::MAX,
        )?;
        range("the number of members", self.members.len() as u64, 1, MEMBERS_MAX as u64)?;
        range("--groups", u64::from(self.groups), 1, u64::from(GROUPS_MAX))?;
        range("--shards", u64::from(self.shards), 1, u64::from(SHARDS_MAX))?;
        if let Some(replicas) = self.replicas {
            // Who joins knows of itself alone.
            let most = if self.join { MEMBERS_MAX as u64 } else { self.members.len() as u64 };
            range("--replicas", u64::from(replicas), 1, most)?;
        }
        range("--snapshot-entries", self.snapshot_entries, 1, u64::MAX)?;
        range("--snapshot-bytes", self.snapshot_bytes, 1, u64::MAX)?;
        let (heartbeat, election) = (ticks(self.heartbeat), ticks(self.election_timeout));
        range("--heartbeat in ticks of 10 ms", u64::from(heartbeat), 1, 1_000)?;
        // 3 × heartbeat, so that one lost beat is no election.
        let least = 3 * u64::from(heartbeat);
        range("--election-timeout in ticks of 10 ms", u64::from(election), least, 10_000)?;
        if self.leases {
            // A beat must be answered before the lease from the one before is over.
            let lease = lease_ticks(election).unwrap_or(0);
            range("the lease in ticks of 10 ms", u64::from(lease), u64::from(heartbeat) + 1, u64::MAX)?;
        }
        Ok(())
    }

    /// Whose data directory it is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity { cluster: self.cluster, node: self.node, layout: self.layout() }
    }

    /// With whom a new data directory is begun: nobody, when the node joins.
    #[must_use]
    pub fn first_members(&self) -> BTreeMap<NodeId, String> {
        if self.join { BTreeMap::new() } else { self.advertised() }
    }

    fn advertised(&self) -> BTreeMap<NodeId, String> {
        self.members.iter().map(|(&node, address)| (node, address.to_string())).collect()
    }

    /// What the engine is told, given with whom the data directory was begun.
    #[must_use]
    pub fn engine(&self, first: BTreeMap<NodeId, String>) -> EngineConfig {
        let now = self.advertised();
        let moved = |(node, old): (&NodeId, &String)| {
            let new = now.get(node).filter(|new| *new != old)?;
            Some((*node, (old.clone(), new.clone())))
        };
        EngineConfig {
            moved: first.iter().filter_map(moved).collect(),
            groups: (1..=self.groups).map(GroupId).collect(),
            replicas: self.replicas,
            heartbeat_ticks: ticks(self.heartbeat),
            election_ticks: ticks(self.election_timeout),
            snapshot_entries: self.snapshot_entries,
            snapshot_bytes: self.snapshot_bytes,
            leases: self.leases,
            ..EngineConfig::new(self.node, self.cluster, first, self.shards, self.seed)
        }
    }

    /// How the cluster was created.
    #[must_use]
    pub fn layout(&self) -> Layout {
        Layout { groups: self.groups, replicas: self.replicas, shards: self.shards }
    }

    /// What the storage is told.
    #[must_use]
    pub fn storage(&self) -> storage::Options {
        storage::Options { sync: self.sync, ..storage::Options::default() }
    }
}

fn ticks(time: Duration) -> u32 {
    u32::try_from(time.as_millis() / TICK.as_millis()).unwrap_or(u32::MAX)
}

fn range(what: &'static str, found: u64, least: u64, most: u64) -> Result<(), ConfigError> {
    if (least..=most).contains(&found) {
        return Ok(());
    }
    let expected = if most == u64::MAX { format!("at least {least}") } else { format!("{least} to {most}") };
    Err(ConfigError::Range { what, found: found.to_string(), expected })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(change: impl FnOnce(&mut NodeConfig)) -> Result<(), String> {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let members = (1..=3).map(|id| (NodeId(id), address(7_000))).collect();
        let mut config = NodeConfig::new(NodeId(1), ClusterId(1), PathBuf::from("data/1"), members);
        change(&mut config);
        config.check().map_err(|error| error.to_string())
    }

    #[test]
    fn settings_that_make_no_sense_are_named() {
        let elsewhere = SocketAddr::from(([127, 0, 0, 1], 9));
        assert_eq!(config(|_| {}), Ok(()));
        assert_eq!(config(|c| c.node = NodeId(4)), Err("n4 is not among the members".to_owned()));
        let err = config(|c| c.dial.extend([(NodeId(1), elsewhere)]));
        assert_eq!(err, Err("--dial names n1 itself".to_owned()));
        assert_eq!(config(|c| c.shards = 0), Err("--shards is 0, expected 1 to 4096".to_owned()));
        let err = config(|c| c.snapshot_bytes = 0);
        assert_eq!(err, Err("--snapshot-bytes is 0, expected at least 1".to_owned()));
        let err = config(|c| c.election_timeout = Duration::from_millis(140));
        assert_eq!(err, Err("--election-timeout in ticks of 10 ms is 14, expected 15 to 10000".to_owned()));
        assert_eq!(config(|c| c.leases = true), Ok(()));
        let short = |c: &mut NodeConfig| (c.leases, c.election_timeout) = (true, Duration::from_millis(130));
        let err = config(|c| {
            short(c);
            c.heartbeat = Duration::from_millis(40);
        });
        assert!(err.is_ok(), "5 ticks");
        let err = config(|c| {
            short(c);
            c.election_timeout = Duration::from_millis(120);
            c.heartbeat = Duration::from_millis(40);
        });
        assert_eq!(err, Err("the lease in ticks of 10 ms is 4, expected at least 5".to_owned()));
        assert!(config(|c| c.members.extend([(NodeId(0), elsewhere)])).is_err());
    }

    #[test]
    fn a_first_member_may_have_moved() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let members = (1..=2).map(|id| (NodeId(id), address(7_000))).collect();
        let mut config = NodeConfig::new(NodeId(1), ClusterId(1), PathBuf::from("data/1"), members);
        let first = config.first_members();
        assert_eq!((first.len(), config.engine(first.clone()).moved.len()), (2, 0));
        config.members.insert(NodeId(2), address(9));
        let engine = config.engine(first);
        assert_eq!(engine.members[&NodeId(2)], "127.0.0.1:7000");
        assert_eq!(engine.moved[&NodeId(2)], ("127.0.0.1:7000".to_owned(), "127.0.0.1:9".to_owned()));
        config.join = true;
        assert!(config.first_members().is_empty());
    }
}
