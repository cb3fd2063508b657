//! Clients that write while nodes come and go: TestReliableChurn, TestUnreliableChurn.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::stage::Stage;
use super::{Halt, Layout, Scenario, Step};
use crate::latch::Latch;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "churn-reliable",
        what: "Three clients write without pause while nodes are cut off, killed, started and connected by chance; what was \
               acknowledged is there at the end.",
        source: "TestReliableChurn 2C/3C",
        seconds: 20,
        nodes: 5,
        node_args: &[],
        layout: Layout::ONE,
        script: |stage| churn(stage, false),
    },
    Scenario {
        name: "churn-unreliable",
        what: "The same between nodes that lose and delay what they say.",
        source: "TestUnreliableChurn 2C/3C",
        seconds: 20,
        nodes: 5,
        node_args: &[],
        layout: Layout::ONE,
        script: |stage| churn(stage, true),
    },
];

const ROUNDS: u32 = 20;
const ROUND: Duration = Duration::from_millis(700);
const CLIENTS: usize = 3;
/// The suite gives a value 380 ms to be committed, and goes on to the next.
const PATIENCE: Duration = Duration::from_millis(400);
/// Between two writes of a client.
const PAUSE: Duration = Duration::from_millis(5);

fn churn(stage: &mut Stage<'_>, unreliable: bool) -> Step {
    stage.unreliable(unreliable)?;
    stage.one_leader()?;
    let mut hands = Vec::new();
    for _ in 0..CLIENTS {
        hands.push(stage.kit.hand(PATIENCE)?);
    }
    let (over, acknowledged) = (Latch::new(), AtomicU64::new(0));
    std::thread::scope(|scope| -> Step {
        let mut threads = Vec::new();
        for (number, mut hand) in hands.into_iter().enumerate() {
            let (over, acknowledged) = (&over, &acknowledged);
            threads.push(scope.spawn(move || -> Step {
                for turn in 0u64.. {
                    if over.wait(PAUSE) {
                        break;
                    }
                    let key = format!("churn{number}-{turn}");
                    if hand.put(&key, &key)? {
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Ok(())
            }));
        }
        let played = rounds(stage);
        over.set();
        let ended: Vec<Step> =
            threads.into_iter().map(|thread| thread.join().unwrap_or(Err(Halt::Stopped))).collect();
        played.and_then(|()| ended.into_iter().collect())
    })?;
    stage.connect_all_quickly()?;
    let down = stage.down();
    stage.restart_all(&down)?;
    let all = stage.nodes().len();
    stage.agree(all)?;
    // suite: all of them must be found; that is so vacuously when none was acknowledged.
    stage.at_least("writes acknowledged", acknowledged.into_inner() as f64, 50.0, "");
    Ok(())
}

fn rounds(stage: &mut Stage<'_>) -> Step {
    let mut away = BTreeSet::new();
    for round in 0..ROUNDS {
        let nodes = stage.nodes();
        if stage.chance(20) {
            away.insert(stage.any_of(&nodes));
        }
        if stage.chance(50) {
            let node = stage.any_of(&nodes);
            if stage.down().contains(&node) {
                stage.restart(node)?;
            }
            away.remove(&node);
        }
        stage.set_away_quickly(away.clone())?;
        if stage.chance(20) {
            let node = stage.any_of(&nodes);
            if stage.up().contains(&node) {
                stage.crash(node)?;
            }
        }
        stage.progress(|| format!("round {round} of {ROUNDS}"));
        stage.pause(ROUND)?;
    }
    Ok(())
}
