//! What a seed stands for: the size of a world, how bad its network and its disks are, what will befall it.

use std::collections::BTreeMap;

use ordeal_client::wire::{ClusterId, GroupId, NodeId, ReadLevel};
use ordeal_node::engine::EngineConfig;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;

/// A second of virtual time.
pub const SECOND_US: u64 = 1_000_000;

/// Clients of a world: as many as the judge decides quickly on one key.
pub const CLIENTS: u32 = 4;

/// A world, drawn from its seed.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub nodes: Vec<NodeId>,
    pub groups: Vec<GroupId>,
    pub shards: u32,
    pub snapshot_entries: u64,
    pub trailing_entries: u64,
    /// Faults befall the world until then; afterwards it must serve again.
    pub faults_until_us: u64,
    /// Mean time between two faults.
    pub fault_every_us: u64,
    /// Of a thousand messages, so many are lost, doubled, late.
    pub lost_permille: u32,
    pub doubled_permille: u32,
    pub late_permille: u32,
    /// Of a thousand syncs, so many take long.
    pub slow_sync_permille: u32,
    /// Time that a client gives one operation: with little, many end without an answer.
    pub deadline_us: u64,
    pub read_level: ReadLevel,
}

impl Plan {
    /// The world of a seed.
    pub fn new(seed: u64) -> Self {
        let mut rng = Pcg32::seed_from_u64(seed);
        let nodes = [3, 3, 5, 5, 1][rng.random_range(0..5)];
        Plan {
            seed,
            nodes: (1..=nodes).map(NodeId).collect(),
            groups: (1..=rng.random_range(1..=3)).map(GroupId).collect(),
            shards: rng.random_range(3..=6),
            snapshot_entries: rng.random_range(10..=200),
            trailing_entries: rng.random_range(0..=40),
            faults_until_us: 20 * SECOND_US,
            fault_every_us: rng.random_range(200_000..=1_500_000),
            lost_permille: rng.random_range(0..=30),
            doubled_permille: rng.random_range(0..=30),
            late_permille: rng.random_range(0..=50),
            slow_sync_permille: rng.random_range(0..=20),
            deadline_us: rng.random_range(SECOND_US / 4..=3 * SECOND_US),
            read_level: ReadLevel::Linearizable,
        }
    }

    /// The same world, but its clients read whatever the nearest node has: the negative control.
    pub fn with_stale_reads(seed: u64) -> Self {
        Plan { read_level: ReadLevel::Stale, ..Plan::new(seed) }
    }

    /// The settings of one node; `life` counts its starts, so that it draws other timeouts in each.
    pub fn engine(&self, node: NodeId, life: u64) -> EngineConfig {
        let members: BTreeMap<NodeId, String> =
            self.nodes.iter().map(|&node| (node, format!("{node}.test:4000"))).collect();
        let mut config =
            EngineConfig::new(node, ClusterId(self.seed), members, self.shards, self.seed ^ life);
        config.groups.clone_from(&self.groups);
        config.snapshot_entries = self.snapshot_entries;
        config.trailing_entries = self.trailing_entries;
        config
    }
}
