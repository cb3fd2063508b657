//! Scenarios: the Raft, KVRaft and ShardKV tests of the MIT suite (6.5840, labs 2 to 4 until 2023, 3 to 5 from 2024) with real processes, a network that loses, delays and reorders whole frames, and limits measured on the wire.
//!
//! ```text
//!   perform    one scenario: lab, cluster, watch, script, healing, last reads, verdict      a run directory like any other
//!     ├ stage      what a script can say and do          ├ controls   to the cluster and its network
//!     │                                                  └ asks       of the cluster: one_leader, agree(3), …
//!     ├ hands      clients that record what they do      └ watch      beside it: leaders, digests, logs, always
//!   election, agreement, backup, persistence, figure8, churn, snapshots, rsm     the scripts: Raft as seen through its clients
//!   matrix, special, single, lock                                        the scripts: the store on top
//!   controller, sharded, concurrent, reconfigure, administrators, handover     the scripts: shards that move between groups
//!     ├ groups     what is done with groups and shards       ├ desk      administrators, and what they were told
//!     └ writers    clients beside a script
//! ```
//!
//! Always checked, whatever a script asks for: no two leaders in one term; equal digests at equal applied indexes; the whole
//! history linearizable, every append once and in order; what was acknowledged is read at the end; all replicas end up
//! equal; no node ends uninvited; a fault that was asked for has happened.
//!
//! What the suite does wrong is not done here; where a script differs for that reason it says `suite:` and why. In
//! general: a judge that gives up fails the scenario instead of passing it; sizes of logs are watched under load, not
//! only after it; a crash is a `kill -9` and what the disk holds then, not what a tester had saved.

mod administrators;
mod agreement;
mod asks;
mod backup;
mod churn;
mod concurrent;
mod controller;
mod controls;
mod desk;
mod election;
mod figure8;
mod groups;
mod handover;
mod hands;
mod lock;
mod matrix;
mod perform;
mod persistence;
mod reconfigure;
mod rsm;
mod sharded;
mod single;
mod snapshots;
mod special;
mod stage;
mod watch;
mod writers;

use crate::exit::Cause;

pub use perform::{Commission, perform};
pub use stage::Stage;

/// A scenario.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name, in kebab-case.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub what: &'static str,
    /// The tests of the suite that it stands for.
    pub source: &'static str,
    /// About how long it takes, in seconds.
    pub seconds: u32,
    /// Nodes of its cluster.
    pub nodes: u32,
    /// Arguments for every node.
    pub node_args: &'static [&'static str],
    /// Its groups and shards.
    pub layout: Layout,
    /// What happens.
    pub script: fn(&mut Stage<'_>) -> Step,
}

/// How keys are spread over a scenario's cluster.
#[derive(Clone, Copy)]
pub struct Layout {
    /// Data groups.
    pub groups: u32,
    /// Nodes of each; `None`: all.
    pub replicas: Option<u32>,
    /// Shards.
    pub shards: u32,
}

impl Layout {
    /// One group on all nodes, and one session a client: what is counted on the wire is the operations.
    pub const ONE: Layout = Layout { groups: 1, replicas: None, shards: 1 };

    /// Whether there is anything to move from one group to another.
    pub(super) const fn is_sharded(self) -> bool {
        self.groups > 1
    }
}

/// What a step of a script comes to.
pub type Step<T = ()> = Result<T, Halt>;

/// Why a script ends early.
#[derive(Debug)]
pub enum Halt {
    /// The cluster did not do what it must.
    Fails(Cause, String),
    /// The harness could not do what it must.
    World(anyhow::Error),
    /// The user interrupted, or somebody else has noted why it ends.
    Stopped,
}

impl<E: Into<anyhow::Error>> From<E> for Halt {
    fn from(error: E) -> Self {
        Halt::World(error.into())
    }
}

impl Halt {
    /// A promise of safety is broken.
    fn is_unsafe<T>(what: impl Into<String>) -> Step<T> {
        Err(Halt::Fails(Cause::NotLinearizable, what.into()))
    }

    /// A limit is missed, and nothing that follows would make sense.
    fn is_late<T>(what: impl Into<String>) -> Step<T> {
        Err(Halt::Fails(Cause::Requirement, what.into()))
    }
}

/// All scenarios, in the order of the suite.
pub fn catalog() -> impl Iterator<Item = &'static Scenario> {
    let families: [&[Scenario]; 18] = [
        election::SCENARIOS,
        agreement::SCENARIOS,
        backup::SCENARIOS,
        persistence::SCENARIOS,
        figure8::SCENARIOS,
        churn::SCENARIOS,
        snapshots::SCENARIOS,
        rsm::SCENARIOS,
        single::SCENARIOS,
        lock::SCENARIOS,
        matrix::SCENARIOS,
        special::SCENARIOS,
        controller::SCENARIOS,
        sharded::SCENARIOS,
        concurrent::SCENARIOS,
        reconfigure::SCENARIOS,
        administrators::SCENARIOS,
        handover::SCENARIOS,
    ];
    families.into_iter().flatten()
}

/// The scenario of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Scenario> {
    catalog().find(|scenario| scenario.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_kebab_case_and_nobody_shares_one() {
        let names: BTreeSet<&str> = catalog().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), catalog().count());
        for scenario in catalog() {
            let fits = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
            assert!(scenario.name.chars().all(fits), "{}", scenario.name);
            let says = scenario.source.starts_with("Test") || scenario.source.starts_with("lesson");
            assert!(says, "{} says where it comes from", scenario.name);
            assert!(scenario.nodes >= 1 && scenario.seconds >= 1, "{}", scenario.name);
        }
    }

    /// The tests of the suite's Raft lab, of its store on Raft, of its shard controller and of its sharded store.
    const SUITE: [&str; 94] = [
        "TestInitialElection",
        "TestReElection",
        "TestManyElections",
        "TestBasicAgree",
        "TestRPCBytes",
        "TestFollowerFailure",
        "TestLeaderFailure",
        "TestFailAgree",
        "TestFailNoAgree",
        "TestConcurrentStarts",
        "TestRejoin",
        "TestBackup",
        "TestCount",
        "TestPersist1",
        "TestPersist2",
        "TestPersist3",
        "TestFigure8",
        "TestUnreliableAgree",
        "TestFigure8Unreliable",
        "TestReliableChurn",
        "TestUnreliableChurn",
        "TestSnapshotBasic",
        "TestSnapshotInstall",
        "TestSnapshotInstallUnreliable",
        "TestSnapshotInstallCrash",
        "TestSnapshotInstallUnCrash",
        "TestSnapshotAllCrash",
        "TestSnapshotInit",
        "TestBasic",
        "TestSpeed",
        "TestConcurrent",
        "TestUnreliable",
        "TestUnreliableOneKey",
        "TestOnePartition",
        "TestManyPartitionsOneClient",
        "TestManyPartitionsManyClients",
        "TestPersistOneClient",
        "TestPersistConcurrent",
        "TestPersistConcurrentUnreliable",
        "TestPersistPartition",
        "TestPersistPartitionUnreliable",
        "TestPersistPartitionUnreliableLinearizable",
        "TestSnapshotRPC",
        "TestSnapshotSize",
        "TestSnapshotRecover",
        "TestSnapshotRecoverManyClients",
        "TestSnapshotUnreliable",
        "TestSnapshotUnreliableRecover",
        "TestSnapshotUnreliableRecoverConcurrentPartition",
        "TestSnapshotUnreliableRecoverConcurrentPartitionLinearizable",
        "TestLeaderPartition",
        "TestShutdown",
        "TestRestartSubmit",
        "TestSnapshot",
        "TestStaticShards",
        "TestJoinLeave",
        "TestMissChange",
        "TestConcurrent1",
        "TestConcurrent2",
        "TestConcurrent3",
        "TestUnreliable1",
        "TestUnreliable2",
        "TestUnreliable3",
        "TestChallenge1Delete",
        "TestChallenge2Unaffected",
        "TestChallenge2Partial",
        "TestMulti",
        "TestInitQuery",
        "TestStaticOneShardGroup",
        "TestJoinBasic",
        "TestDeleteBasic",
        "TestJoinLeaveBasic",
        "TestManyJoinLeaveReliable",
        "TestManyJoinLeaveUnreliable",
        "TestProgressShutdown",
        "TestProgressJoin",
        "TestOneConcurrentClerkReliable",
        "TestManyConcurrentClerkReliable",
        "TestOneConcurrentClerkUnreliable",
        "TestManyConcurrentClerkUnreliable",
        "TestJoinLeave5B",
        "TestRecoverCtrler",
        "TestConcurrentReliable",
        "TestAcquireLockConcurrentUnreliable",
        "TestPartitionControllerJoin",
        "TestPartitionRecoveryReliableNoClerk",
        "TestPartitionRecoveryUnreliableNoClerk",
        "TestPartitionRecoveryReliableClerks",
        "TestPartitionRecoveryUnreliableClerks",
        "TestLeaseBasicRelease",
        "TestLeaseBasicExpire",
        "TestLeaseBasicRefresh",
        "TestAcquireLockConcurrentReliable",
        "TestPartitionRecovery",
    ];

    #[test]
    fn every_test_of_the_suite_has_its_scenario() {
        let sources: BTreeSet<&str> =
            catalog().flat_map(|scenario| scenario.source.split([',', ' '])).collect();
        let missing: Vec<&str> = SUITE.into_iter().filter(|test| !sources.contains(test)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
