//! Puts that expect a version, on one node and an unreliable way to it: the tests of `kvsrv1` of 2025. Their versioned put
//! is here a compare-and-set. Left out is TestMemPutManyClients, whose question is asked of sessions elsewhere.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::hands::Hand;
use super::stage::Stage;
use super::{Halt, Layout, Scenario, Step};
use crate::exit::Cause;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "single-put",
        what: "A compare-and-set that expects what is there succeeds once; one that expects something else fails.",
        source: "TestReliablePut kvsrv1",
        seconds: 1,
        nodes: 1,
        node_args: &[],
        layout: Layout::ONE,
        script: reliable,
    },
    Scenario {
        name: "single-concurrent-puts",
        what: "Ten clients race on a key for 1 s; the count that they made is the number of their successes.",
        source: "TestPutConcurrentReliable kvsrv1",
        seconds: 2,
        nodes: 1,
        node_args: &[],
        layout: Layout::ONE,
        script: concurrent,
    },
    Scenario {
        name: "single-unreliable-puts",
        what: "A hundred compare-and-sets over a network that loses requests and replies: each takes effect once.",
        source: "TestUnreliableNet kvsrv1",
        seconds: 15,
        nodes: 1,
        node_args: &[],
        layout: Layout::ONE,
        script: unreliable,
    },
];

fn reliable(stage: &mut Stage<'_>) -> Step {
    stage.one_leader()?;
    let mut expect = |expected: Option<&str>, new: &str, outcome: bool| -> Step {
        match stage.clerk.cas("k", expected, new)? {
            Some(done) if done == outcome => Ok(()),
            Some(_) => Halt::is_unsafe(format!("{expected:?} → {new}: expected {outcome}, was not")),
            None => Halt::is_late("no answer on a healthy network"),
        }
    };
    expect(Some("0"), "1", false)?;
    expect(None, "0", true)?;
    expect(None, "0", false)?;
    expect(Some("0"), "1", true)?;
    expect(Some("0"), "2", false)?;
    match stage.clerk.get("k")? {
        Some(Some(value)) if value == "1" => Ok(()),
        other => Halt::is_unsafe(format!("k is {other:?}, expected 1")),
    }
}

fn concurrent(stage: &mut Stage<'_>) -> Step {
    stage.one_leader()?;
    let successes = AtomicU64::new(0);
    let until = Instant::now() + Duration::from_secs(1);
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for _ in 0..10 {
            let (mut hand, successes) = (stage.kit.hand(super::asks::AGREE_TIME_MAX)?, &successes);
            threads.push(scope.spawn(move || -> Step {
                while Instant::now() < until {
                    let Some(known) = hand.get("count")? else { continue };
                    let count: u64 = known.as_deref().unwrap_or("0").parse().unwrap_or(0);
                    match hand.cas("count", known.as_deref(), &(count + 1).to_string())? {
                        Some(true) => successes.fetch_add(1, Ordering::Relaxed),
                        Some(false) => 0,
                        None => return Halt::is_late("no answer on a healthy network"),
                    };
                }
                Ok(())
            }));
        }
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Err(Halt::Stopped)))
    })?;
    let (made, told) = (stage.clerk.get("count")?.flatten().unwrap_or_default(), successes.into_inner());
    if made != told.to_string() {
        stage.find(Cause::NotLinearizable, format!("the count is {made}, and {told} increments succeeded"));
    }
    stage.at_least("increments", told as f64, 10.0, "");
    Ok(())
}

/// How long one try takes: of two attempts both are lost once in thirty times.
const PATIENCE: Duration = Duration::from_millis(200);

fn unreliable(stage: &mut Stage<'_>) -> Step {
    stage.one_leader()?;
    let mut hand = stage.kit.hand(PATIENCE)?;
    stage.unreliable_for_all(true)?;
    let mut maybes = 0u32;
    for number in 0..100u32 {
        maybes += put_once(stage, &mut hand, number)?;
    }
    stage.note("puts whose first try nobody answered", f64::from(maybes), "");
    Ok(())
}

/// Puts the number after the one before; how many tries ended as unknown. suite: a put that may have happened is tried
/// again and must be told that its version is past; here: that it fails, and the number is there.
fn put_once(stage: &mut Stage<'_>, hand: &mut Hand, number: u32) -> Step<u32> {
    let (before, new) = ((number > 0).then(|| (number - 1).to_string()), number.to_string());
    let mut maybes = 0;
    loop {
        stage.check()?;
        match hand.cas("k", before.as_deref(), &new)? {
            Some(true) => return Ok(maybes),
            Some(false) => {}
            None => maybes += 1,
        }
        match hand.get("k")? {
            Some(found) if found.as_deref() == Some(new.as_str()) && maybes > 0 => return Ok(maybes),
            // Surely not done, or not yet.
            Some(found) if found == before => {}
            Some(found) => {
                return Halt::is_unsafe(format!("put {number} after {before:?}, and k is {found:?}"));
            }
            None => {}
        }
    }
}
