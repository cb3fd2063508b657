//! Operations that wait while their leader goes: the tests of `kvraft1/rsm` of 2025. Its counter is here a key to which
//! every operation adds a word; what Inc returns is how many words there are.

use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use ordeal_history::{Call, Outcome, Value};

use super::hands::{Hand, is_ok};
use super::stage::{ELECTION, Stage, ms};
use super::{Halt, Layout, Scenario, Step};

pub(super) const SCENARIOS: &[Scenario] = &[
    scenario(
        "rsm-leader-partition",
        "A hundred operations wait at a leader that was cut off: none is acknowledged, and all end within 1 s of the healing.",
        "TestLeaderPartition 4A, TestLeaderFailure 4A",
        8,
        &[],
        leader_partition,
    ),
    scenario(
        "rsm-restart-replay",
        "A hundred operations, all nodes killed, 1 s, all started: the next is the hundred and first.",
        "TestRestartReplay 4A, TestBasic 4A",
        4,
        &[],
        restart_replay,
    ),
    scenario(
        "rsm-shutdown",
        "A hundred operations are under way when all nodes are killed: each comes to an end within 11 s.",
        "TestShutdown 4A",
        6,
        &[],
        shutdown,
    ),
    scenario(
        "rsm-restart-submit",
        "Twice all nodes are killed, the second time with a hundred operations under way; none of these is taken for another.",
        "TestRestartSubmit 4A, TestConcurrent 4A",
        8,
        &[],
        restart_submit,
    ),
    scenario(
        "rsm-snapshot",
        "A hundred operations with a log of a thousand bytes, all nodes killed and started: the next is the hundred and first.",
        "TestSnapshot 4C",
        4,
        &["--snapshot-bytes", "1000"],
        snapshot,
    ),
];

const fn scenario(
    name: &'static str,
    what: &'static str,
    source: &'static str,
    seconds: u32,
    node_args: &'static [&'static str],
    script: fn(&mut Stage<'_>) -> Step,
) -> Scenario {
    Scenario { name, what, source, seconds, nodes: 3, node_args, layout: Layout::ONE, script }
}

const MANY: usize = 100;
/// A client that has lost its patience ends so soon.
const LATE_MAX: Duration = Duration::from_secs(1);
/// What the suite gives operations under way to end after a shutdown.
const END_TIME_MAX: Duration = Duration::from_secs(11);

/// One more word; the count of words afterwards.
fn increment(stage: &mut Stage<'_>, key: &str) -> Step<usize> {
    stage.words += 1;
    let word = format!("i{},", stage.words);
    if !stage.clerk.append(key, &word)? {
        return Halt::is_late(format!("an increment of {key} was not acknowledged within 10 s"));
    }
    match stage.clerk.get(key)? {
        Some(value) => Ok(value.unwrap_or_default().matches(',').count()),
        None => Halt::is_late(format!("{key} could not be read within 10 s")),
    }
}

fn increments(stage: &mut Stage<'_>, key: &str) -> Step {
    for number in 1..=MANY {
        let counted = increment(stage, key)?;
        if counted != number {
            return Halt::is_unsafe(format!("after {number} increments {key} counts {counted}"));
        }
    }
    Ok(())
}

/// Clients at a node, with a session each if it leads, and so patient.
fn crowd(stage: &mut Stage<'_>, patience: Duration) -> Step<Vec<Hand>> {
    let leader = stage.one_leader()?;
    (0..MANY)
        .map(|number| {
            let mut hand = stage.kit.hand_at(&[leader], patience)?;
            hand.append(&format!("crowd{number}"), "first,")?;
            Ok(hand)
        })
        .collect()
}

/// What came of an operation, and when.
type Ended = (Outcome, Instant);

/// The crowd asks all at once, while this happens; what came of each.
fn while_under_way(
    stage: &mut Stage<'_>,
    crowd: Vec<Hand>,
    what: impl FnOnce(&mut Stage<'_>) -> Step<Instant>,
) -> Step<(Vec<Ended>, Instant)> {
    std::thread::scope(|scope| {
        let ask = |(number, mut hand): (usize, Hand)| {
            let call = Call::Append(Value::from(format!("under-way-{number},")));
            scope.spawn(move || {
                let outcome = hand.ask(&format!("crowd{number}"), &call)?;
                Ok((outcome, Instant::now()))
            })
        };
        let threads: Vec<ScopedJoinHandle<'_, Step<Ended>>> =
            crowd.into_iter().enumerate().map(ask).collect();
        let moment = what(stage);
        let ended = threads.into_iter().map(|thread| thread.join().unwrap_or(Err(Halt::Stopped)));
        let ended: Vec<Ended> = ended.collect::<Step<_>>()?;
        Ok((ended, moment?))
    })
}

/// How long after this moment the last had ended.
fn last_after(ended: &[Ended], moment: Instant) -> Duration {
    ended.iter().map(|(_, at)| at.saturating_duration_since(moment)).max().unwrap_or_default()
}

fn leader_partition(stage: &mut Stage<'_>) -> Step {
    let patience = Duration::from_secs(3);
    let crowd = crowd(stage, patience)?;
    let first = stage.one_leader()?;
    stage.disconnect(&[first])?;
    let begun = Instant::now();
    let (ended, healing) = while_under_way(stage, crowd, |stage| {
        // The others go on, and what the first leader took must not be acknowledged meanwhile.
        increment(stage, "rsm")?;
        stage.pause(ELECTION)?;
        let healing = Instant::now();
        stage.connect(&[first])?;
        Ok(healing)
    })?;
    // After the healing a client that still tries may be answered.
    if ended.iter().any(|(outcome, at)| is_ok(outcome) && *at < healing) {
        return Halt::is_unsafe("a leader that was cut off acknowledged an operation");
    }
    let took = last_after(&ended, begun);
    stage.at_most("operations of a cut-off leader end", ms(took), ms(patience + LATE_MAX), "ms");
    increment(stage, "rsm")?;
    stage.converge()
}

fn restart_replay(stage: &mut Stage<'_>) -> Step {
    increments(stage, "rsm")?;
    restart_all_after_a_second(stage)?;
    next_is(stage, "rsm", MANY + 1)
}

fn restart_all_after_a_second(stage: &mut Stage<'_>) -> Step {
    let all = stage.nodes();
    stage.crash_all(&all)?;
    stage.pause(ELECTION)?;
    stage.restart_all(&all)
}

fn next_is(stage: &mut Stage<'_>, key: &str, expected: usize) -> Step {
    match increment(stage, key)? {
        counted if counted == expected => Ok(()),
        counted => Halt::is_unsafe(format!("{key} counts {counted} after {expected} increments")),
    }
}

fn shutdown(stage: &mut Stage<'_>) -> Step {
    let crowd = crowd(stage, Duration::from_secs(2))?;
    let (ended, since) = while_under_way(stage, crowd, |stage| {
        let all = stage.nodes();
        let since = Instant::now();
        stage.crash_all(&all)?;
        Ok(since)
    })?;
    let before = ended.iter().filter(|(outcome, _)| is_ok(outcome)).count();
    stage.note("acknowledged before the end", before as f64, "");
    stage.at_most("operations under way end", ms(last_after(&ended, since)), ms(END_TIME_MAX), "ms");
    let all = stage.nodes();
    stage.restart_all(&all)
}

fn restart_submit(stage: &mut Stage<'_>) -> Step {
    increments(stage, "rsm")?;
    restart_all_after_a_second(stage)?;
    next_is(stage, "rsm", MANY + 1)?;
    let crowd = crowd(stage, Duration::from_secs(2))?;
    while_under_way(stage, crowd, |stage| {
        restart_all_after_a_second(stage)?;
        Ok(Instant::now())
    })?;
    // Waiters of an earlier life would be matched with entries of this one.
    next_is(stage, "rsm", MANY + 2)
}

fn snapshot(stage: &mut Stage<'_>) -> Step {
    increments(stage, "rsm")?;
    let longest = stage.watch.ledger().log_bytes_max;
    // suite: at the end; here all the time.
    stage.at_most("longest log", longest as f64, 2_000.0, "bytes");
    restart_all_after_a_second(stage)?;
    next_is(stage, "rsm", MANY + 1)?;
    let newest = stage.watch.ledger().snapshot_max;
    stage.at_least("newest snapshot", newest as f64, 1.0, "");
    Ok(())
}
