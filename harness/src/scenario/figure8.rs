//! Storms in which the leader falls as soon as it has taken something: TestFigure8, TestUnreliableAgree,
//! TestFigure8Unreliable.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use ordeal_client::wire::NodeId;

use super::hands::Hand;
use super::stage::Stage;
use super::{Halt, Layout, Scenario, Step};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "figure8",
        what: "A thousand times every node is asked to write something, and whoever leads is killed soon after; below three \
               nodes one is started.",
        source: "TestFigure8 2C/3C",
        seconds: 35,
        nodes: 5,
        node_args: &[],
        layout: Layout::ONE,
        script: figure8,
    },
    Scenario {
        name: "unreliable-agree",
        what: "49 rounds of five operations at once between nodes that lose and delay what they say.",
        source: "TestUnreliableAgree 2C/3C",
        seconds: 15,
        nodes: 5,
        node_args: &[],
        layout: Layout::ONE,
        script: unreliable_agree,
    },
    Scenario {
        name: "figure8-unreliable",
        what: "As figure8 with cuts in place of kills on an unreliable network, and replies that come seconds late.",
        source: "TestFigure8Unreliable 2C/3C",
        seconds: 60,
        nodes: 5,
        node_args: &[],
        layout: Layout::ONE,
        script: figure8_unreliable,
    },
];

const TURNS: u32 = 1_000;
/// A storm ends early after this time: on a busy machine a start takes long, and the pressure is not in its number.
const STORM_TIME_MAX: Duration = Duration::from_secs(60);
/// As many leaders should fall.
const LEADERS_WANTED: u32 = 20;
/// How long a writer waits for an acknowledgement: longer than a commit, shorter than an election.
const PATIENCE: Duration = Duration::from_millis(150);

/// A thread that writes at one node, and is asked to do so without being waited for.
struct Writer {
    node: NodeId,
    keys: SyncSender<String>,
}

/// Lets `storm` loose with a writer at every node.
fn with_writers(stage: &mut Stage<'_>, storm: impl FnOnce(&mut Stage<'_>, &[Writer]) -> Step) -> Step {
    let mut hands = Vec::new();
    for node in stage.nodes() {
        hands.push((node, stage.kit.hand_at(&[node], PATIENCE)?));
    }
    std::thread::scope(|scope| {
        let (mut writers, mut threads) = (Vec::new(), Vec::new());
        for (node, hand) in hands {
            // One may wait while another is under way.
            let (keys, asked) = sync_channel(1);
            writers.push(Writer { node, keys });
            threads.push(scope.spawn(move || write(hand, &asked)));
        }
        let stormed = storm(stage, &writers);
        drop(writers);
        let ended = threads.into_iter().map(|thread| thread.join().unwrap_or(Err(Halt::Stopped)));
        let ended: Vec<Step> = ended.collect();
        stormed.and_then(|()| ended.into_iter().collect())
    })
}

fn write(mut hand: Hand, asked: &Receiver<String>) -> Step {
    asked.iter().try_for_each(|key| hand.put(&key, &key).map(|_| ()))
}

/// Each of these nodes is asked to write under a key of its own.
fn submit(writers: &[Writer], at: &[NodeId], turn: u32) {
    for writer in writers.iter().filter(|writer| at.contains(&writer.node)) {
        // A writer that is busy has something under way, which is all that is wanted.
        let _ = writer.keys.try_send(format!("f{turn}-{}", writer.node));
    }
}

/// Now and then long enough for an election, mostly too short for a commit.
fn breathe(stage: &mut Stage<'_>) -> Step {
    if stage.chance(10) { stage.pause_up_to(500) } else { stage.pause_up_to(13) }
}

fn figure8(stage: &mut Stage<'_>) -> Step {
    stage.agree(1)?;
    with_writers(stage, |stage, writers| {
        let (since, mut killed, mut turns) = (Instant::now(), 0u32, 0u32);
        while turns < TURNS && since.elapsed() < STORM_TIME_MAX {
            let up = stage.up();
            submit(writers, &up, turns);
            breathe(stage)?;
            if let Some(leader) = stage.leader_now().filter(|leader| stage.up().contains(leader)) {
                stage.crash(leader)?;
                killed += 1;
            }
            let down = stage.down();
            if stage.up().len() < stage.majority() {
                let node = stage.any_of(&down);
                stage.restart(node)?;
            }
            turns += 1;
            stage.progress(|| format!("{turns} turns, {killed} leaders killed"));
        }
        stage.note("turns", f64::from(turns), "");
        stage.at_least("leaders killed", f64::from(killed), f64::from(LEADERS_WANTED), "");
        Ok(())
    })?;
    let down = stage.down();
    stage.restart_all(&down)?;
    let all = stage.nodes().len();
    stage.agree(all)?;
    Ok(())
}

fn figure8_unreliable(stage: &mut Stage<'_>) -> Step {
    stage.unreliable(true)?;
    stage.agree(1)?;
    with_writers(stage, |stage, writers| {
        let (since, mut cut, mut turns) = (Instant::now(), 0u32, 0u32);
        let mut away = BTreeSet::new();
        // An election among three with two of three replies late takes its time: a few more turns where leaders were few.
        while (turns < TURNS || cut < LEADERS_WANTED) && since.elapsed() < STORM_TIME_MAX {
            if turns == 200 {
                stage.long_reordering(true)?;
            }
            let all = stage.nodes();
            submit(writers, &all, turns);
            breathe(stage)?;
            if let Some(leader) = stage.leader_now()
                && stage.chance(50)
            {
                away.insert(leader);
                stage.set_away_quickly(away.clone())?;
                cut += 1;
            }
            if all.len() - away.len() < stage.majority() {
                let gone: Vec<NodeId> = away.iter().copied().collect();
                away.remove(&stage.any_of(&gone));
                stage.set_away_quickly(away.clone())?;
            }
            turns += 1;
            stage.progress(|| format!("{turns} turns, {cut} leaders cut off"));
        }
        stage.note("turns", f64::from(turns), "");
        stage.at_least("leaders cut off", f64::from(cut), 5.0, "");
        Ok(())
    })?;
    // The network stays as it is, and replies from long ago keep coming.
    stage.connect_all_quickly()?;
    let all = stage.nodes().len();
    stage.agree(all)?;
    Ok(())
}

fn unreliable_agree(stage: &mut Stage<'_>) -> Step {
    const ROUNDS: u32 = 49;
    stage.unreliable(true)?;
    let patience = super::asks::AGREE_TIME_MAX;
    let mut hands = (0..4).map(|_| stage.kit.hand(patience)).collect::<Step<Vec<Hand>>>()?;
    for round in 0..ROUNDS {
        let acknowledged = std::thread::scope(|scope| {
            let ask = |(number, hand): (usize, &mut Hand)| {
                let word = format!("h{number}-{round},");
                hand.append(&format!("u{number}"), &word)
            };
            let threads: Vec<_> =
                hands.iter_mut().enumerate().map(|one| scope.spawn(move || ask(one))).collect();
            let own = stage.agree(1);
            let ended = threads.into_iter().map(|thread| thread.join().unwrap_or(Err(Halt::Stopped)));
            let ended = ended.collect::<Step<Vec<bool>>>()?;
            own?;
            Ok::<_, Halt>(ended.into_iter().all(|acknowledged| acknowledged))
        })?;
        if !acknowledged {
            return Halt::is_late(format!("round {round}: not all of five operations were done in 10 s"));
        }
        stage.progress(|| format!("round {round} of {ROUNDS}"));
    }
    stage.unreliable(false)?;
    stage.agree(5)?;
    Ok(())
}
