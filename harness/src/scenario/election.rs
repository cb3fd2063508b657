//! Elections: TestInitialElection, TestReElection, TestManyElections.

use std::time::Duration;

use super::stage::{ELECTION, Stage};
use super::{Halt, Layout, Scenario, Step};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "initial-election",
        what: "Three nodes elect one leader, agree on its term, and keep both while nothing happens.",
        source: "TestInitialElection 2A/3A",
        seconds: 12,
        nodes: 3,
        node_args: &[],
        layout: Layout::ONE,
        script: initial_election,
    },
    Scenario {
        name: "re-election",
        what: "The leader is cut off, comes back, is cut off with another node: there is a leader exactly when there is a \
               majority, and a cut-off leader gives up.",
        source: "TestReElection 2A/3A",
        seconds: 5,
        nodes: 3,
        node_args: &[],
        layout: Layout::ONE,
        script: re_election,
    },
    Scenario {
        name: "re-election-resets",
        what: "The same with links that reset their connections instead of swallowing what they carry.",
        source: "TestReElection 2A/3A",
        seconds: 5,
        nodes: 3,
        node_args: &[],
        layout: Layout::ONE,
        script: |stage| {
            stage.cut_by_resets()?;
            re_election(stage)
        },
    },
    Scenario {
        name: "many-elections",
        what: "Nine times three nodes of seven, drawn by chance, are cut off, and the others elect.",
        source: "TestManyElections 2A/3A",
        seconds: 10,
        nodes: 7,
        node_args: &[],
        layout: Layout::ONE,
        script: many_elections,
    },
];

/// How long an idle cluster keeps its leader. suite: 2 s, and a change is only a warning; here it fails.
const IDLE: Duration = Duration::from_secs(10);
/// A machine that stands still for so long may have kept a leader from its heartbeats, too: then it is tried again.
const STALL: Duration = Duration::from_millis(100);
const TRIES: u32 = 3;

fn initial_election(stage: &mut Stage<'_>) -> Step {
    for _ in 0..TRIES {
        let leader = stage.one_leader()?;
        stage.pause(Duration::from_millis(50))?;
        let term = stage.one_term()?;
        stage.at_least("term", term as f64, 1.0, "");
        stage.watch.ledger().stall_max = Duration::ZERO;
        stage.pause(IDLE)?;
        let (later, same) = (stage.one_term()?, stage.one_leader()? == leader);
        let stall = stage.watch.ledger().stall_max;
        if later == term && same {
            return Ok(());
        }
        if stall < STALL {
            return Halt::is_late(format!("idle, and term {term} of {leader} ended: now {later}"));
        }
    }
    stage.note("this machine stood still too often to tell", f64::from(TRIES), "times");
    Ok(())
}

fn re_election(stage: &mut Stage<'_>) -> Step {
    let first = stage.one_leader()?;
    stage.disconnect(&[first])?;
    stage.one_leader()?;
    stage.steps_down(first)?;
    stage.connect(&[first])?;
    let second = stage.one_leader()?;
    let other = stage.others(&[second])[0];
    stage.disconnect(&[second, other])?;
    stage.pause(2 * ELECTION)?;
    stage.no_leader()?;
    stage.steps_down(second)?;
    stage.connect(&[other])?;
    stage.one_leader()?;
    stage.connect(&[second])?;
    stage.one_leader()?;
    Ok(())
}

fn many_elections(stage: &mut Stage<'_>) -> Step {
    let nodes = stage.nodes();
    stage.one_leader()?;
    for _ in 0..9 {
        // Maybe twice the same, as in the suite.
        let away: Vec<_> = (0..3).map(|_| stage.any_of(&nodes)).collect();
        stage.disconnect(&away)?;
        stage.one_leader()?;
        stage.connect_all()?;
    }
    stage.one_leader()?;
    Ok(())
}
