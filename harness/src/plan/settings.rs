//! What a run is asked to be, and which of it makes sense.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use ordeal_client::wire::{GROUPS_MAX, SHARDS_MAX};
use serde::{Deserialize, Serialize};

/// A laboratory on one machine: more processes than this measure the scheduler, not the cluster.
pub const NODES_MAX: u32 = 15;
/// So many voters stay whoever goes: with fewer a majority is all of them, and nothing more can fail.
pub const VOTERS_MIN: u32 = 3;
/// One thread each.
pub const CLIENTS_MAX: u32 = 256;
/// Operations a second in total: what a recorder with one write(2) an event keeps up with.
pub const RATE_MAX: u32 = 100_000;
/// Keys live at once.
pub const KEYS_MAX: u32 = 100_000;
/// A key has at most this many clients at a time, so that the checker's search decides.
pub const CLIENTS_PER_KEY_MAX: u32 = 4;
/// The shortest run: room for one short fault of each kind.
pub const TIME_MS_MIN: u64 = 1_000;
/// The longest run: a day.
pub const TIME_MS_MAX: u64 = 24 * 60 * 60 * 1_000;

/// What a run is asked to be. Together with the build under test it decides everything but time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Where all chance comes from.
    pub seed: u64,
    /// How many nodes.
    pub nodes: u32,
    /// How many clients, one thread each.
    pub clients: u32,
    /// How long clients and faults go on, in milliseconds.
    pub time_ms: u64,
    /// What clients ask.
    pub workload: WorkloadKind,
    /// Kinds of faults, ascending, none twice.
    pub faults: Vec<FaultKind>,
    /// Operations a second, all clients together.
    pub rate: u32,
    /// Keys live at once.
    pub keys: u32,
    /// How fresh reads must be.
    pub read_level: ReadLevel,
    /// Data groups.
    pub groups: u32,
    /// Nodes that belong to each; `None`: all.
    #[serde(default)]
    pub replicas: Option<u32>,
    /// Shards.
    pub shards: u32,
    /// How long one operation may take before its outcome counts as unknown, in milliseconds.
    pub op_timeout_ms: u64,
}

/// What clients ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum WorkloadKind {
    /// Puts and gets.
    Register,
    /// Appends and gets.
    Append,
    /// Puts, gets, and compare-and-sets that mostly expect a value seen lately.
    Cas,
    /// Transfers between accounts of banks, and looks at all accounts of one, by transactions: the total stays as it is.
    Bank,
}

/// How fresh reads must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum ReadLevel {
    /// Must see every write acknowledged before.
    Linearizable,
    /// As linearizable, answered by whichever node is asked.
    Follower,
    /// From the local state of whichever node is asked: a negative control, which a good judge refuses.
    Stale,
}

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// kill -9 and restart.
    Kill,
    /// SIGSTOP and SIGCONT.
    Pause,
    /// Links between nodes are cut.
    Partition,
    /// A node comes to the cluster or goes, and afterwards it is as before.
    Members,
    /// Leadership is handed over.
    Transfer,
    /// A shard moves to another group.
    MoveShards,
    /// A group gives all its shards away, and gets its share again.
    JoinLeave,
    /// A leader that has a part in the move of a shard is killed on the way, and restarted.
    KillMover,
}

/// Which kinds of faults were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultSet {
    /// Every kind that build, topology and machine support.
    All,
    /// The same, and these are required.
    AllAnd(Vec<FaultKind>),
    /// Exactly these; each is required. Ascending, none twice.
    Named(Vec<FaultKind>),
}

/// A kind of fault that cannot be had, and why.
pub type LeftOut = (FaultKind, &'static str);

/// A setting that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}\nhint: {hint}")]
pub struct SettingsError {
    what: String,
    hint: String,
}

impl FaultKind {
    /// All kinds.
    pub const ALL: [FaultKind; 8] = [
        FaultKind::Kill,
        FaultKind::Pause,
        FaultKind::Partition,
        FaultKind::Members,
        FaultKind::Transfer,
        FaultKind::MoveShards,
        FaultKind::JoinLeave,
        FaultKind::KillMover,
    ];

    /// Whether it is of any use only where there are several groups.
    #[must_use]
    pub fn is_of_groups(self) -> bool {
        matches!(self, FaultKind::MoveShards | FaultKind::JoinLeave | FaultKind::KillMover)
    }

    /// Whether the cluster itself has to carry out a part of it, by a majority's agreement. It can fail to where other faults are in force.
    #[must_use]
    pub fn is_change(self) -> bool {
        match self {
            FaultKind::Kill | FaultKind::Pause | FaultKind::Partition => false,
            FaultKind::Members
            | FaultKind::Transfer
            | FaultKind::MoveShards
            | FaultKind::JoinLeave
            | FaultKind::KillMover => true,
        }
    }

    /// So many of them, in words: `1 kill`, `6 changes of members`.
    #[must_use]
    pub fn counted(self, count: usize) -> String {
        let plural = if count == 1 { "" } else { "s" };
        match self {
            FaultKind::Members => format!("{count} change{plural} of members"),
            FaultKind::MoveShards => format!("{count} move{plural} of shards"),
            FaultKind::JoinLeave => format!("{count} group{plural} that left and joined"),
            FaultKind::KillMover => format!("{count} kill{plural} in the middle of a move"),
            FaultKind::Kill | FaultKind::Pause | FaultKind::Partition | FaultKind::Transfer => {
                format!("{count} {self}{plural}")
            }
        }
    }

    /// Why this kind cannot be had in a cluster of so many nodes and groups, if it cannot.
    #[must_use]
    pub fn unsupported(self, nodes: u32, groups: u32) -> Option<&'static str> {
        match self {
            FaultKind::Kill | FaultKind::Pause => None,
            FaultKind::Partition if nodes < 2 => Some("one node has no links"),
            FaultKind::Members if nodes < VOTERS_MIN => Some("three voters always stay"),
            FaultKind::Transfer if nodes < 2 => Some("one node has nobody to hand over to"),
            FaultKind::MoveShards | FaultKind::JoinLeave | FaultKind::KillMover if groups < 2 => {
                Some("one group has nowhere to move a shard to")
            }
            FaultKind::Partition
            | FaultKind::Members
            | FaultKind::Transfer
            | FaultKind::MoveShards
            | FaultKind::JoinLeave
            | FaultKind::KillMover => None,
        }
    }
}

impl FaultSet {
    /// The kinds, and those of `all` that are left out with the reason.
    ///
    /// # Errors
    /// When a kind that was asked for by name cannot be had.
    pub fn resolve(&self, nodes: u32, groups: u32) -> Result<(Vec<FaultKind>, Vec<LeftOut>), SettingsError> {
        let of_all = || FaultKind::ALL.into_iter().filter(|kind| groups > 1 || !kind.is_of_groups());
        let (asked, required): (Vec<FaultKind>, &[FaultKind]) = match self {
            FaultSet::All => (of_all().collect(), &[]),
            FaultSet::AllAnd(kinds) => {
                let mut asked: Vec<FaultKind> = of_all().chain(kinds.iter().copied()).collect();
                asked.sort_unstable();
                asked.dedup();
                (asked, kinds)
            }
            FaultSet::Named(kinds) => (kinds.clone(), kinds),
        };
        let left_out: Vec<LeftOut> =
            asked.iter().filter_map(|&kind| Some((kind, kind.unsupported(nodes, groups)?))).collect();
        if let Some((kind, reason)) = left_out.iter().find(|(kind, _)| required.contains(kind)) {
            let more = if kind.is_of_groups() { "--groups 2" } else { "--nodes 5" };
            return wrong(
                format!("fault `{kind}` cannot be had with {nodes} nodes and {groups} groups: {reason}"),
                format!("{more}, or leave `{kind}` out of --faults"),
            );
        }
        let kinds = asked.into_iter().filter(|kind| kind.unsupported(nodes, groups).is_none()).collect();
        Ok((kinds, left_out))
    }
}

impl Settings {
    /// Checks that the numbers make sense.
    ///
    /// # Errors
    /// [`SettingsError`] that names the first that does not, and its limits.
    pub fn check(&self) -> Result<(), SettingsError> {
        within("--nodes", u64::from(self.nodes), 1, u64::from(NODES_MAX))?;
        within("--clients", u64::from(self.clients), 1, u64::from(CLIENTS_MAX))?;
        within("--rate", u64::from(self.rate), 1, u64::from(RATE_MAX))?;
        within("--groups", u64::from(self.groups), 1, u64::from(GROUPS_MAX))?;
        if let Some(replicas) = self.replicas {
            within("--replicas", u64::from(replicas), 1, u64::from(self.nodes))?;
        }
        within("--shards", u64::from(self.shards), u64::from(self.groups), u64::from(SHARDS_MAX))?;
        if !(TIME_MS_MIN..=TIME_MS_MAX).contains(&self.time_ms) {
            return wrong(
                format!("--time {} ms is out of range", self.time_ms),
                "from 1s to 24h, e.g. --time 30s",
            );
        }
        if !(1..=60_000).contains(&self.op_timeout_ms) {
            return wrong(
                format!("--op-timeout {} ms is out of range", self.op_timeout_ms),
                "from 1ms to 60s, e.g. --op-timeout 2s",
            );
        }
        if self.workload == WorkloadKind::Bank && self.read_level != ReadLevel::Linearizable {
            return wrong(
                "--workload bank has no reads but those of transactions, which go through the log",
                "leave --read-level out, or ask for --workload register",
            );
        }
        let keys_min = self.clients.div_ceil(CLIENTS_PER_KEY_MAX);
        within("--keys", u64::from(self.keys), u64::from(keys_min), u64::from(KEYS_MAX))
    }

    /// Ids of all nodes.
    #[must_use]
    pub fn node_ids(&self) -> Vec<ordeal_client::wire::NodeId> {
        (1..=self.nodes).map(ordeal_client::wire::NodeId).collect()
    }

    /// The node that is no member at first and comes and goes, if there is to be one and room for it.
    #[must_use]
    pub fn spare(&self) -> Option<ordeal_client::wire::NodeId> {
        let wanted = self.faults.contains(&FaultKind::Members) && self.nodes < NODES_MAX;
        wanted.then_some(ordeal_client::wire::NodeId(self.nodes + 1))
    }
}

fn within(flag: &str, value: u64, low: u64, high: u64) -> Result<(), SettingsError> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    wrong(format!("{flag} {value} is out of range"), format!("from {low} to {high}"))
}

fn wrong<T>(what: impl Into<String>, hint: impl Into<String>) -> Result<T, SettingsError> {
    Err(SettingsError { what: what.into(), hint: hint.into() })
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FaultKind::Kill => "kill",
            FaultKind::Pause => "pause",
            FaultKind::Partition => "partition",
            FaultKind::Members => "members",
            FaultKind::Transfer => "transfer",
            FaultKind::MoveShards => "move-shards",
            FaultKind::JoinLeave => "join-leave",
            FaultKind::KillMover => "kill-mover",
        })
    }
}

impl fmt::Display for WorkloadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WorkloadKind::Register => "register",
            WorkloadKind::Append => "append",
            WorkloadKind::Cas => "cas",
            WorkloadKind::Bank => "bank",
        })
    }
}

impl From<ReadLevel> for ordeal_client::wire::ReadLevel {
    fn from(level: ReadLevel) -> Self {
        match level {
            ReadLevel::Linearizable => ordeal_client::wire::ReadLevel::Linearizable,
            ReadLevel::Follower => ordeal_client::wire::ReadLevel::Follower,
            ReadLevel::Stale => ordeal_client::wire::ReadLevel::Stale,
        }
    }
}

impl fmt::Display for ReadLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ReadLevel::Linearizable => "linearizable",
            ReadLevel::Follower => "follower",
            ReadLevel::Stale => "stale",
        })
    }
}

impl FromStr for FaultSet {
    type Err = SettingsError;

    /// Reads `none`, or `all` and kinds with commas between them.
    fn from_str(text: &str) -> Result<Self, SettingsError> {
        if text == "none" {
            return Ok(FaultSet::Named(Vec::new()));
        }
        let (mut all, mut kinds) = (false, Vec::new());
        for name in text.split(',') {
            if name.trim() == "all" {
                all = true;
                continue;
            }
            let Some(kind) = FaultKind::ALL.into_iter().find(|kind| kind.to_string() == name.trim()) else {
                return wrong(
                    format!("no fault is named `{}`", name.trim()),
                    "none, or all or some of kill,pause,partition,members,transfer,move-shards,join-leave",
                );
            };
            kinds.push(kind);
        }
        kinds.sort_unstable();
        kinds.dedup();
        Ok(match (all, kinds.is_empty()) {
            (true, true) => FaultSet::All,
            (true, false) => FaultSet::AllAnd(kinds),
            (false, _) => FaultSet::Named(kinds),
        })
    }
}
