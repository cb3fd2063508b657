//! What an engine is told once.

use std::collections::{BTreeMap, BTreeSet};

use ordeal_client::wire::{ClusterId, DirectoryId, GroupId, Layout, NodeId, ShardId};

use super::state::StateError;
use crate::kv::digest;
use crate::raft::{self, Membership};

/// The controller's group.
pub const CONTROLLER: GroupId = GroupId(0);

/// Of the first members so many vote in the controller: two may be lost, and each change waits for three. The others learn.
const CONTROLLER_VOTERS: usize = 5;

/// Settings of a node. [`EngineConfig::new`] fills in the defaults for ticks of 10 ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineConfig {
    /// This node.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its data directory: another one whenever it was begun anew.
    pub directory: DirectoryId,
    /// The first members of every group with their addresses, as the data directory was begun with them: all voters, this
    /// node among them. None of them for a node that joins: it waits until a leader tells it who belongs to its groups.
    pub members: BTreeMap<NodeId, String>,
    /// First members that are elsewhere by now: where they were said to be at first, and where they are. Holds as long as
    /// the log says nothing newer.
    pub moved: BTreeMap<NodeId, (String, String)>,
    /// The data groups that the cluster began with, from g1 on; group 0 is the controller's. At first shard s belongs to
    /// `groups[s % len]`.
    pub groups: Vec<GroupId>,
    /// So many of the first members belong to each data group; `None`: all of them.
    pub replicas: Option<u32>,
    /// Shards of the whole cluster.
    pub shards: u32,
    /// Seed of the generators behind random timeouts; nodes and groups draw differently from the same seed.
    pub seed: u64,
    /// Length of a tick, for `status` alone: nothing else here knows of milliseconds.
    pub tick_ms: u64,
    /// A leader's heartbeat goes out every so many ticks.
    pub heartbeat_ticks: u32,
    /// A follower waits longer than this without a leader, and up to a quarter as long again by chance, before it campaigns.
    pub election_ticks: u32,
    /// A group in which nothing happened for so many ticks goes to rest; never, when there is no such number.
    pub rest_after_ticks: Option<u32>,
    /// A group takes a snapshot when it has applied more entries than this since the last one.
    pub snapshot_entries: u64,
    /// A group takes a snapshot, too, when the entries applied since the last one hold more bytes than this.
    pub snapshot_bytes: u64,
    /// Entries kept in the log behind a snapshot.
    pub trailing_entries: u64,
    /// Whether leaders answer reads under a lease: see [`raft::lease_ticks`] for what clocks must promise then.
    pub leases: bool,
    /// Another number each time this node starts, as good as surely.
    pub incarnation: u64,
    /// Parts of a snapshot hold so many bytes.
    pub chunk_bytes: usize,
    /// Entries of one message hold at most so many bytes (but always at least one entry).
    pub append_bytes_max: usize,
    /// On a full disk so many bytes of commands are still taken from leaders, of all groups together.
    pub full_append_bytes: usize,
    /// Version of the build, for `status`.
    pub version: String,
}

impl EngineConfig {
    /// One data group g1 and the default tunables. The directory has the number of the node: who keeps one names it.
    #[must_use]
    pub fn new(
        node: NodeId,
        cluster: ClusterId,
        members: BTreeMap<NodeId, String>,
        shards: u32,
        seed: u64,
    ) -> Self {
        EngineConfig {
            node,
            cluster,
            directory: DirectoryId(u64::from(node.0)),
            members,
            moved: BTreeMap::new(),
            groups: vec![GroupId(1)],
            replicas: None,
            shards,
            seed,
            tick_ms: 10,
            heartbeat_ticks: 5,          // 50 ms
            election_ticks: 25,          // 250 ms: 5 × heartbeat
            rest_after_ticks: Some(100), // a second: who is busy never gets there
            snapshot_entries: 100_000,   // a restart applies so many in a tenth of a second
            snapshot_bytes: 32 << 20,
            trailing_entries: 1_000,
            leases: false,
            incarnation: 0,
            chunk_bytes: 256 << 10, // 1/16 of a frame, so that heartbeats pass between parts
            append_bytes_max: 1 << 20, // a quarter of a frame
            full_append_bytes: 128 << 10, // of the 512 KiB that are left at least: the rest is for votes
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Which group owns this shard at first.
    #[must_use]
    pub fn first_owner(&self, shard: ShardId) -> GroupId {
        self.groups[shard.0 as usize % self.groups.len()]
    }

    /// The first members of a group. Data groups follow one another around the nodes; to the controller belong all nodes, so that
    /// each is told who owns what, and the first few vote. Nobody, for a node that was not among the first members of the group:
    /// its member waits until a leader tells it. Nobody, for a group that was made later: its own log says who they are.
    #[must_use]
    pub fn first_members(&self, group: GroupId) -> Membership {
        let nodes: Vec<NodeId> = self.members.keys().copied().collect();
        let (at, voters) = match self.groups.binary_search(&group) {
            Err(_) if group == CONTROLLER => (0, CONTROLLER_VOTERS),
            Err(_) => return Membership::default(),
            Ok(at) => {
                let replicas = self.replicas.map_or(nodes.len(), |replicas| replicas as usize);
                (at * replicas, replicas)
            }
        };
        let turn = nodes.iter().cycle().skip(at % nodes.len().max(1)).take(voters.min(nodes.len()));
        let voters: BTreeSet<NodeId> = turn.copied().collect();
        let learns = group == CONTROLLER;
        let address = |&node: &NodeId| (node, self.members[&node].clone());
        let of =
            |which: &dyn Fn(&NodeId) -> bool| nodes.iter().filter(|node| which(node)).map(address).collect();
        let first = Membership::of_voters(of(&|node| voters.contains(node)));
        let first = if learns { first.with_learners(of(&|node| !voters.contains(node))) } else { first };
        if first.addresses().contains_key(&self.node) { first } else { Membership::default() }
    }

    /// How the cluster was created.
    #[must_use]
    pub fn layout(&self) -> Layout {
        let groups = u32::try_from(self.groups.len()).expect("GROUPS_MAX at most");
        Layout { groups, replicas: self.replicas, shards: self.shards }
    }

    /// Where a member is, given what the log says.
    pub(super) fn address(&self, node: NodeId, logged: &str) -> String {
        match self.moved.get(&node) {
            Some((first, now)) if first == logged => now.clone(),
            Some(_) | None => logged.to_owned(),
        }
    }

    pub(super) fn check(&self) {
        let joins = self.members.is_empty();
        assert!(joins || self.members.contains_key(&self.node), "{} is a member of its cluster", self.node);
        assert!(self.shards > 0, "a cluster has at least one shard");
        assert!(!self.groups.is_empty(), "a cluster has at least one data group");
        let ascending = self.groups.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(ascending, "data groups are listed once each, in order");
        assert!(self.groups[0] > CONTROLLER, "group 0 is the controller's");
        assert!(self.replicas != Some(0), "a group has at least one member");
    }

    /// Of a member that begins so many ticks after its node.
    pub(super) fn raft(&self, group: GroupId, ticks_before: u64) -> raft::Config {
        let seed = digest::mix(&[self.seed, u64::from(self.node.0), u64::from(group.0)]);
        let defaults = raft::Config::new(self.node, self.first_members(group), seed);
        raft::Config {
            heartbeat_ticks: self.heartbeat_ticks,
            ticks_before,
            // Its followers freeze, adopt and give up shards by the configurations that they apply.
            tells_commits: group == CONTROLLER,
            election_ticks: self.election_ticks,
            stall_ticks: self.election_ticks,
            rest_after_ticks: self.rest_after_ticks,
            lease_ticks: raft::lease_ticks(self.election_ticks).filter(|_| self.leases),
            incarnation: digest::mix(&[self.incarnation, u64::from(group.0)]),
            trailing_entries: self.trailing_entries,
            chunk_bytes: self.chunk_bytes,
            append_bytes_max: self.append_bytes_max,
            // What stays behind a snapshot is no longer than what made it due.
            trailing_bytes: self.snapshot_bytes.min(defaults.trailing_bytes),
            ..defaults
        }
    }
}

/// What the disk remembered does not fit this node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// A snapshot cannot be read.
    #[error("snapshot {last} of {group}: {error}")]
    Snapshot {
        /// The group.
        group: GroupId,
        /// The last entry that it covers.
        last: raft::LogId,
        /// Why.
        error: StateError,
    },
}
