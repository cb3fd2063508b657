//! What a seed stands for: the size of a world, how bad its network, its disks and its clocks are. What befalls it and what
//! its clients ask stands in its [`crate::script::Script`].

use std::collections::BTreeMap;

use ordeal_client::wire::{ClusterId, GroupId, NodeId, ReadLevel};
use ordeal_node::engine::{CONTROLLER, EngineConfig};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;

/// A second of virtual time.
pub const SECOND_US: u64 = 1_000_000;

macro_rules! plan {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A world without its script. Every setting is a number with a name, so that a script file can hold it.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct Plan {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Plan {
            /// The settings by name, in the order of a script file.
            pub fn settings(&mut self) -> Vec<(&'static str, &mut u64)> {
                vec![$((stringify!($name), &mut self.$name),)*]
            }
        }
    };
}

plan! {
    /// All chance that the script leaves is drawn from this.
    seed,
    /// Nodes, each a voter of every group.
    nodes,
    /// Data groups.
    groups,
    /// So many of them, the last ones, are not there at first: administrators ask for them under way.
    late,
    /// Shards of the whole cluster.
    shards,
    /// Clients, with one operation open each.
    clients,
    /// So many clients share a session, and have writes under way in it side by side.
    sharing,
    /// Keys in use at a time.
    slots,
    /// Faults and operations end then; afterwards the cluster must serve again.
    seconds,
    /// A group takes a snapshot after so many entries, and keeps so many behind it.
    snapshot_entries,
    trailing_entries,
    /// Bytes of one part of a snapshot, and of the entries of one message.
    chunk_bytes,
    append_bytes,
    /// The least election timeout, in ticks of 10 ms.
    election_ticks,
    /// A message takes so long, at least and at most.
    delay_us_min,
    delay_us_max,
    /// Of a thousand messages, so many are lost, doubled, late (by up to half a second).
    lost_permille,
    doubled_permille,
    late_permille,
    /// Of a thousand syncs, so many take long.
    slow_sync_permille,
    /// Clocks run wrong by so much, at most.
    drift_permille,
    /// 1: leaders answer reads under a lease. Clocks keep its assumption then: they run wrong by 5 % at most, and never jump.
    leases,
    /// 1: every other client reads from any node, which asks the leader how far it must have come.
    follower_reads,
    /// A group in which nothing happened for so many ticks goes to rest; 0: never.
    rest_ticks,
    /// Of every ten seconds clients are silent in so many.
    lull_seconds,
    /// Time that a client gives one operation: with little, many end without an answer.
    deadline_us,
    /// So many of the nodes belong to each data group; 0: all.
    replicas,
    /// An administrator wishes about so often, in milliseconds, that a shard or group changes its place; 0: never.
    reshape_ms,
    /// 1: clients read whatever the nearest node has. The negative control.
    stale_reads,
}

/// Operations that all clients of a world together begin in a second, on average.
pub const OPERATIONS_A_SECOND: u64 = 100;

impl Plan {
    /// The world of a seed.
    pub fn new(seed: u64, seconds: u64) -> Self {
        let mut rng = Pcg32::seed_from_u64(seed);
        let nodes = [1, 3, 3, 3, 4, 5, 5, 5, 5, 5, 5, 5, 5, 5, 6, 7][rng.random_range(0..16)];
        // Swarm testing: each kind of trouble is there at all in some of the worlds only, as one may hide another.
        let mut sometimes = |of_four: u32, most: u64| {
            let (there, much) = (rng.random_range(0..4) < of_four, rng.random_range(1..=most));
            if there { much } else { 0 }
        };
        let mut plan = Plan {
            seed,
            nodes,
            seconds,
            lost_permille: sometimes(2, 40),
            doubled_permille: sometimes(2, 40),
            late_permille: sometimes(2, 50),
            slow_sync_permille: sometimes(2, 30),
            drift_permille: sometimes(3, 150),
            ..Plan::default()
        };
        plan.leases = u64::from(rng.random_range(0..3) == 0);
        if plan.leases > 0 {
            plan.drift_permille = plan.drift_permille.min(50);
        }
        plan.follower_reads = u64::from(rng.random_range(0..3) == 0);
        plan.groups = [1, 1, 1, 1, 2, 3][rng.random_range(0..6)];
        plan.shards = plan.groups + rng.random_range(0..=3);
        plan.clients = rng.random_range(6..=16);
        plan.sharing = [1, 2, 4][rng.random_range(0..3)];
        plan.slots = rng.random_range(3..=8);
        // Small ones make followers fall behind the log; large ones keep entries to disagree about.
        plan.snapshot_entries = [10, 40, 200, 1_000][rng.random_range(0..4)] + rng.random_range(0..=10);
        plan.trailing_entries = [0, 5, 50][rng.random_range(0..3)];
        plan.chunk_bytes = [300, 2_000, 256 << 10][rng.random_range(0..3)];
        plan.append_bytes = [1, 400, 1 << 20][rng.random_range(0..3)];
        plan.election_ticks = [15, 25, 25, 40][rng.random_range(0..4)];
        (plan.delay_us_min, plan.delay_us_max) =
            [(100, 500), (200, 2_000), (200, 2_000), (2_000, 15_000)][rng.random_range(0..4)];
        plan.deadline_us = rng.random_range(SECOND_US / 4..=3 * SECOND_US);
        // From a stream of its own, so that older seeds stay much as they were.
        let mut rng = Pcg32::new(seed, 14);
        plan.rest_ticks = [0, 5, 20, 100][rng.random_range(0..4)];
        plan.lull_seconds = if rng.random_range(0..3) == 0 { rng.random_range(3..=7) } else { 0 };
        plan.add_moves();
        plan
    }

    /// In a half of the worlds shards move.
    fn add_moves(&mut self) {
        let mut rng = Pcg32::new(self.seed, 17);
        if rng.random_range(0..2) == 0 {
            return;
        }
        self.reshape_ms = [100, 400, 1_500, 4_000][rng.random_range(0..4)];
        self.groups = [2, 2, 3, 4][rng.random_range(0..4)];
        self.shards = self.groups + rng.random_range(0..=5);
        self.replicas = if self.nodes > 3 { [0, 0, 1, 3][rng.random_range(0..4)] } else { 0 };
        self.late = [0, 1, 1, self.groups - 1][rng.random_range(0..4)];
    }

    /// Data groups that are there at first.
    pub fn groups_first(&self) -> u64 {
        self.groups.saturating_sub(self.late).max(1)
    }

    /// Members of a group that is made under way: not all nodes, where there are more than three.
    pub fn late_members(&self) -> usize {
        let some = if self.replicas > 0 { self.replicas } else { 3 };
        usize::try_from(some.min(self.nodes)).expect("a world is small")
    }

    /// Voters of the smallest group, the controller's among them.
    pub fn voters_min(&self) -> usize {
        let config = self.engine(NodeId(1), 0);
        let replicas = if self.replicas > 0 { self.replicas } else { self.nodes };
        let controller = config.first_members(CONTROLLER).voters().len();
        let late = if self.late > 0 { self.late_members() } else { controller };
        controller.min(late).min(usize::try_from(replicas).expect("a world is small"))
    }

    /// Ids of the nodes.
    pub fn node_ids(&self) -> impl DoubleEndedIterator<Item = NodeId> + use<> {
        let nodes = u32::try_from(self.nodes).expect("a world is small");
        (1..=nodes).map(NodeId)
    }

    /// Ids of the groups, the controller's among them.
    pub fn group_ids(&self) -> impl Iterator<Item = GroupId> + use<> {
        let groups = u32::try_from(self.groups).expect("a world is small");
        (0..=groups).map(GroupId)
    }

    /// How a client reads.
    pub fn read_level(&self, client: u32) -> ReadLevel {
        match (self.stale_reads > 0, self.follower_reads > 0) {
            (true, _) => ReadLevel::Stale,
            (false, true) if client % 2 == 1 => ReadLevel::Follower,
            (false, _) => ReadLevel::Linearizable,
        }
    }

    /// Whether clients are silent then.
    pub fn is_lull(&self, at_us: u64) -> bool {
        at_us / SECOND_US % 10 < self.lull_seconds
    }

    /// When faults and operations end.
    pub fn end_us(&self) -> u64 {
        self.seconds * SECOND_US
    }

    /// The settings of one node; `life` counts its starts, so that it draws other timeouts in each.
    pub fn engine(&self, node: NodeId, life: u64) -> EngineConfig {
        let members: BTreeMap<NodeId, String> =
            self.node_ids().map(|node| (node, format!("{node}.test:4000"))).collect();
        let shards = u32::try_from(self.shards).expect("a world is small");
        let mut config = EngineConfig::new(node, ClusterId(self.seed), members, shards, self.seed ^ life);
        let first = usize::try_from(self.groups_first()).expect("a world is small");
        config.groups = self.group_ids().skip(1).take(first).collect();
        config.replicas = u32::try_from(self.replicas).ok().filter(|&replicas| replicas > 0);
        config.leases = self.leases > 0;
        config.incarnation = self.seed ^ u64::from(node.0) << 32 ^ life;
        config.election_ticks = u32::try_from(self.election_ticks).expect("ticks are few");
        config.rest_after_ticks = Some(self.rest_ticks)
            .filter(|&ticks| ticks > 0)
            .map(|ticks| u32::try_from(ticks).expect("ticks are few"));
        config.snapshot_entries = self.snapshot_entries;
        config.trailing_entries = self.trailing_entries;
        config.chunk_bytes = usize::try_from(self.chunk_bytes).expect("parts are small");
        config.full_append_bytes = 4096; // segments are small here
        config.append_bytes_max = usize::try_from(self.append_bytes).expect("messages are small");
        config
    }
}
