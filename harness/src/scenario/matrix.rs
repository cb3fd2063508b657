//! `GenericTest` of the suite: clients without pause, and any of an unreliable network, partitions, kills of all nodes, and
//! short logs. One function and a table.
//!
//! suite: clients rest while nodes are killed, and the log is measured when all is quiet. Here clients go on, several of
//! them on a key, and the log is watched all the time. Where the suite gives each client a key of its own, up to four
//! share one; its variants with random keys are those with compare-and-set here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::stage::{ELECTION, Stage};
use super::{Layout, Scenario, Step};
use crate::exit::Cause;
use crate::lab::Lab;
use crate::plan::{ReadLevel, Settings, WorkloadKind};
use crate::workload::{KeyPool, Lanes, LanesConfig, final_reads};

/// One row of the table.
#[derive(Clone, Copy)]
struct Row {
    clients: u32,
    unreliable: bool,
    crash: bool,
    partitions: bool,
    short_logs: bool,
    random_keys: bool,
}

const PLAIN: Row = Row {
    clients: 5,
    unreliable: false,
    crash: false,
    partitions: false,
    short_logs: false,
    random_keys: false,
};

/// A row of the suite's table as a scenario: name, source, seconds, nodes, and what is in it.
macro_rules! row {
    ($name:literal, $source:literal, $seconds:literal, $nodes:literal, $args:expr, $what:literal, $row:expr) => {
        Scenario {
            name: $name,
            what: $what,
            source: $source,
            seconds: $seconds,
            nodes: $nodes,
            node_args: $args,
            layout: Layout::ONE,
            script: |stage| generic(stage, $row),
        }
    };
}

/// Never a snapshot, as with a `maxraftstate` of -1.
const NEVER: &[&str] = &["--snapshot-entries", "1000000000", "--snapshot-bytes", "1000000000000"];
/// As with a `maxraftstate` of 1000 bytes.
const SHORT: &[&str] = &["--snapshot-entries", "50", "--snapshot-bytes", "1000"];

pub(super) const SCENARIOS: &[Scenario] = &[
    row!("kv-basic", "TestBasic 3A/4B", 9, 5, NEVER, "One client.", Row { clients: 1, ..PLAIN }),
    row!("kv-concurrent", "TestConcurrent 3A/4B", 9, 5, NEVER, "Five clients.", PLAIN),
    row!(
        "kv-unreliable",
        "TestUnreliable 3A/4B",
        9,
        5,
        NEVER,
        "Five clients, an unreliable network.",
        Row { unreliable: true, ..PLAIN }
    ),
    row!(
        "kv-partitions-one-client",
        "TestManyPartitionsOneClient 3A/4B",
        14,
        5,
        NEVER,
        "One client, random partitions.",
        Row { clients: 1, partitions: true, ..PLAIN }
    ),
    row!(
        "kv-partitions-many-clients",
        "TestManyPartitionsManyClients 3A/4B",
        14,
        5,
        NEVER,
        "Five clients, random partitions.",
        Row { partitions: true, ..PLAIN }
    ),
    row!(
        "kv-persist-one-client",
        "TestPersistOneClient 3A/4B",
        12,
        5,
        NEVER,
        "One client, all nodes killed and started.",
        Row { clients: 1, crash: true, ..PLAIN }
    ),
    row!(
        "kv-persist-concurrent",
        "TestPersistConcurrent 3A/4B",
        12,
        5,
        NEVER,
        "Five clients, all nodes killed and started.",
        Row { crash: true, ..PLAIN }
    ),
    row!(
        "kv-persist-concurrent-unreliable",
        "TestPersistConcurrentUnreliable 3A/4B",
        12,
        5,
        NEVER,
        "Five clients, all nodes killed and started, an unreliable network.",
        Row { crash: true, unreliable: true, ..PLAIN }
    ),
    row!(
        "kv-persist-partition",
        "TestPersistPartition 3A/4B",
        17,
        5,
        NEVER,
        "Five clients, random partitions, all nodes killed and started.",
        Row { crash: true, partitions: true, ..PLAIN }
    ),
    row!(
        "kv-persist-partition-unreliable",
        "TestPersistPartitionUnreliable 3A/4B",
        17,
        5,
        NEVER,
        "Five clients, random partitions, all nodes killed and started, an unreliable network.",
        Row { crash: true, partitions: true, unreliable: true, ..PLAIN }
    ),
    row!(
        "kv-persist-partition-unreliable-linearizable",
        "TestPersistPartitionUnreliableLinearizable 3A/4B",
        20,
        7,
        NEVER,
        "The same with fifteen clients, seven nodes and compare-and-sets.",
        Row { clients: 15, crash: true, partitions: true, unreliable: true, random_keys: true, ..PLAIN }
    ),
    row!(
        "kv-snapshot-recover",
        "TestSnapshotRecover 3B/4C",
        12,
        5,
        SHORT,
        "One client, short logs, all nodes killed and started.",
        Row { clients: 1, crash: true, short_logs: true, ..PLAIN }
    ),
    row!(
        "kv-snapshot-recover-many-clients",
        "TestSnapshotRecoverManyClients 3B/4C",
        12,
        5,
        SHORT,
        "Twenty clients, short logs, all nodes killed and started.",
        Row { clients: 20, crash: true, short_logs: true, ..PLAIN }
    ),
    row!(
        "kv-snapshot-unreliable",
        "TestSnapshotUnreliable 3B/4C",
        9,
        5,
        SHORT,
        "Five clients, short logs, an unreliable network.",
        Row { unreliable: true, short_logs: true, ..PLAIN }
    ),
    row!(
        "kv-snapshot-unreliable-recover",
        "TestSnapshotUnreliableRecover 3B/4C",
        12,
        5,
        SHORT,
        "Five clients, short logs, all nodes killed and started, an unreliable network.",
        Row { crash: true, unreliable: true, short_logs: true, ..PLAIN }
    ),
    row!(
        "kv-snapshot-unreliable-recover-partition",
        "TestSnapshotUnreliableRecoverConcurrentPartition 3B/4C",
        17,
        5,
        SHORT,
        "Five clients, short logs, random partitions, all nodes killed and started, an unreliable network.",
        Row { crash: true, partitions: true, unreliable: true, short_logs: true, ..PLAIN }
    ),
    row!(
        "kv-snapshot-unreliable-recover-partition-linearizable",
        "TestSnapshotUnreliableRecoverConcurrentPartitionLinearizable 3B/4C",
        20,
        7,
        SHORT,
        "The same with fifteen clients, seven nodes and compare-and-sets.",
        Row {
            clients: 15,
            crash: true,
            partitions: true,
            unreliable: true,
            short_logs: true,
            random_keys: true
        }
    ),
];

const ROUNDS: u32 = 3;
/// A round without partitions; with them it is twice as long, so that there are a few.
const ROUND: Duration = Duration::from_secs(2);
/// Operations a second of all clients: a pace that a journal of every call keeps up with.
const RATE: u32 = 1_000;
/// Every client gets so many answers in a round, or hardly anything was tried: 4 s of an outage leave no less.
const ANSWERS_MIN: u32 = 2;
/// 8 × 1000 bytes, as in the suite.
const LOG_BYTES_MAX: f64 = 8_000.0;
const FINAL_READS_TIME_MAX: Duration = Duration::from_secs(60);

fn generic(stage: &mut Stage<'_>, row: Row) -> Step {
    stage.one_leader()?;
    if row.unreliable {
        stage.unreliable_for_all(true)?;
    }
    let settings = settings(stage, row);
    let config = LanesConfig {
        keys: Arc::new(KeyPool::new(row.clients, settings.keys, settings.workload)),
        settings,
        members: stage.lab.members(),
        read_level: ordeal_client::wire::ReadLevel::Linearizable,
        system: Arc::clone(&stage.kit.system),
        recorder: Arc::clone(&stage.kit.recorder),
    };
    let lanes = Lanes::start(&config)?;
    let played = (0..ROUNDS).try_for_each(|round| {
        stage.progress(|| format!("round {} of {ROUNDS}", round + 1));
        one_round(stage, row)
    });
    let answered = lanes.tally().counts().0;
    let lanes = lanes.stop();
    played?;
    let least = f64::from(row.clients * ROUNDS * ANSWERS_MIN);
    stage.at_least("operations answered", answered as f64, least, "");
    logs(stage, row);
    stage.heal()?;
    stage.one_leader()?;
    let unread = final_reads(lanes?, Instant::now() + FINAL_READS_TIME_MAX)?;
    if unread > 0 {
        stage.find(Cause::Cluster, format!("{unread} keys could not be read at the end"));
    }
    Ok(())
}

fn settings(stage: &Stage<'_>, row: Row) -> Settings {
    Settings {
        seed: stage.kit.seed,
        nodes: u32::try_from(stage.nodes().len()).expect("a handful"),
        clients: row.clients,
        time_ms: 0,
        workload: if row.random_keys { WorkloadKind::Cas } else { WorkloadKind::Append },
        faults: Vec::new(),
        rate: RATE,
        keys: row.clients,
        read_level: ReadLevel::Linearizable,
        groups: 1,
        replicas: None,
        shards: 1,
        // Where frames are lost an attempt, a quarter of this, is soon given up, so that clients keep asking.
        op_timeout_ms: if row.unreliable { 1_000 } else { 5_000 },
    }
}

fn one_round(stage: &mut Stage<'_>, row: Row) -> Step {
    let until = Instant::now() + ROUND;
    if row.partitions {
        let until = until + ROUND;
        while Instant::now() < until {
            let (left, right): (Vec<_>, Vec<_>) = stage.nodes().into_iter().partition(|_| stage.chance(50));
            stage.partition_quickly(&left, &right)?;
            stage.pause(ELECTION)?;
            stage.pause_up_to(200)?;
        }
        stage.connect_all_quickly()?;
        stage.pause(ELECTION)?;
    } else {
        stage.pause(until.saturating_duration_since(Instant::now()))?;
    }
    if row.crash {
        let all = stage.nodes();
        stage.crash_all(&all)?;
        stage.pause(ELECTION / 2)?;
        stage.restart_all(&all)?;
        stage.one_leader()?;
    }
    Ok(())
}

fn logs(stage: &mut Stage<'_>, row: Row) {
    let (longest, newest) = {
        let ledger = stage.watch.ledger();
        (ledger.log_bytes_max, ledger.snapshot_max)
    };
    if row.short_logs {
        stage.at_most("longest log under load", longest as f64, LOG_BYTES_MAX, "bytes");
        stage.at_least("newest snapshot", newest as f64, 1.0, "");
    } else {
        stage.at_most("snapshots without need", newest as f64, 0.0, "");
    }
}
