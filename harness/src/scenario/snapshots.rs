//! Logs that are cut and followers that need a snapshot: TestSnapshotBasic to TestSnapshotInit.
//!
//! suite: the state that Raft persists is at most 2000 bytes at the end of a round. Here the commands in the log are, all
//! the time and not only when all is quiet.

use std::time::Duration;

use ordeal_client::wire::Kind;
use rand::RngExt;

use super::stage::Stage;
use super::{Halt, Layout, Scenario, Step};
use crate::exit::Cause;

pub(super) const SCENARIOS: &[Scenario] = &[
    scenario(
        "snapshot-basic",
        "A snapshot every ten entries; the log stays short, and nobody is sent a snapshot.",
        "TestSnapshotBasic 2D/3D",
        6,
        basic,
    ),
    scenario(
        "snapshot-install",
        "Thirty rounds: a node, every third time the leader, is cut off, misses more than the log keeps, and comes back.",
        "TestSnapshotInstall 2D/3D",
        25,
        |stage| install(stage, Away::CutOff, false),
    ),
    scenario(
        "snapshot-install-unreliable",
        "The same between nodes that lose and delay what they say.",
        "TestSnapshotInstallUnreliable 2D/3D",
        65,
        |stage| install(stage, Away::CutOff, true),
    ),
    scenario(
        "snapshot-install-crash",
        "Thirty rounds: a node, every third time the leader, is killed, misses more than the log keeps, and is started.",
        "TestSnapshotInstallCrash 2D/3D",
        25,
        |stage| install(stage, Away::Killed, false),
    ),
    scenario(
        "snapshot-install-crash-unreliable",
        "The same between nodes that lose and delay what they say.",
        "TestSnapshotInstallUnCrash 2D/3D",
        65,
        |stage| install(stage, Away::Killed, true),
    ),
    scenario(
        "snapshot-all-crash",
        "Five rounds in which all nodes are killed behind a snapshot; no index ever comes twice.",
        "TestSnapshotAllCrash 2D/3D",
        6,
        all_crash,
    ),
    scenario(
        "snapshot-init",
        "All nodes are killed twice behind one snapshot, with a single operation between.",
        "TestSnapshotInit 2D/3D",
        4,
        init,
    ),
];

const fn scenario(
    name: &'static str,
    what: &'static str,
    source: &'static str,
    seconds: u32,
    script: fn(&mut Stage<'_>) -> Step,
) -> Scenario {
    Scenario { name, what, source, seconds, nodes: 3, node_args: SHORT_LOGS, layout: Layout::ONE, script }
}

/// A snapshot every ten entries, or some five short ones; behind it about five are kept.
const SHORT_LOGS: &[&str] = &["--snapshot-entries", "10", "--snapshot-bytes", "250"];
/// As in the suite.
const LOG_BYTES_MAX: f64 = 2_000.0;
const ROUNDS: u32 = 30;

/// How a victim is gone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Away {
    CutOff,
    Killed,
}

/// Five to fourteen operations, as the suite draws them.
fn some(stage: &mut Stage<'_>) -> Step {
    for _ in 0..stage.rng.random_range(5..15) {
        let (key, word) = stage.next_word(0);
        if !stage.clerk.append(&key, &word)? {
            return Halt::is_late(format!("`{word}` was not acknowledged within 10 s"));
        }
    }
    Ok(())
}

fn short_logs(stage: &mut Stage<'_>) {
    let longest = stage.watch.ledger().log_bytes_max;
    stage.at_most("longest log", longest as f64, LOG_BYTES_MAX, "bytes");
}

fn basic(stage: &mut Stage<'_>) -> Step {
    stage.agree(3)?;
    for _ in 0..ROUNDS {
        some(stage)?;
        stage.agree(3)?;
        short_logs(stage);
    }
    let sent = stage.lab.traffic()?.between_nodes(|kind| kind == Kind::InstallSnapshot).messages;
    stage.at_most("snapshots sent", sent as f64, 0.0, "messages");
    Ok(())
}

fn install(stage: &mut Stage<'_>, away: Away, unreliable: bool) -> Step {
    stage.unreliable(unreliable)?;
    stage.agree(3)?;
    for round in 0..ROUNDS {
        let leader = stage.one_leader()?;
        let victim = if round % 3 == 1 { leader } else { stage.others(&[leader])[0] };
        match away {
            Away::CutOff => stage.disconnect(&[victim])?,
            Away::Killed => stage.crash(victim)?,
        }
        stage.agree(2)?;
        some(stage)?;
        stage.agree(2)?;
        match away {
            Away::CutOff => stage.connect(&[victim])?,
            Away::Killed => stage.restart(victim)?,
        }
        stage.agree(3)?;
        short_logs(stage);
        stage.progress(|| format!("round {round} of {ROUNDS}"));
    }
    // Compaction did not wait for who was away, so a snapshot was the only way back.
    let sent = stage.lab.traffic()?.between_nodes(|kind| kind == Kind::InstallSnapshot).messages;
    stage.at_least("snapshots sent", sent as f64, 1.0, "messages");
    Ok(())
}

fn crash_and_restart_all(stage: &mut Stage<'_>) -> Step {
    let all = stage.nodes();
    stage.crash_all(&all)?;
    stage.restart_all(&all)
}

fn all_crash(stage: &mut Stage<'_>) -> Step {
    stage.agree(3)?;
    for _ in 0..5 {
        some(stage)?;
        let before = stage.agree(3)?;
        crash_and_restart_all(stage)?;
        let after = stage.agree(3)?;
        if after <= before {
            stage.find(Cause::NotLinearizable, format!("index {after} came after {before} was taken"));
        }
    }
    has_snapshot(stage)
}

fn init(stage: &mut Stage<'_>) -> Step {
    for _ in 0..11 {
        stage.agree(3)?;
    }
    has_snapshot(stage)?;
    // What is lost in the first life after the snapshot is seen in the second.
    for _ in 0..2 {
        crash_and_restart_all(stage)?;
        stage.agree(3)?;
        stage.pause(Duration::from_millis(100))?;
    }
    Ok(())
}

/// Without one nothing of this would have been tried.
fn has_snapshot(stage: &mut Stage<'_>) -> Step {
    stage.watch.look();
    let newest = stage.watch.ledger().snapshot_max;
    stage.at_least("newest snapshot", newest as f64, 1.0, "");
    Ok(())
}
