//! Locks made of compare-and-set: the tests of `kvsrv1/lock` of 2025 and 2026.
//!
//! The holder is known from inside this process, too: a counter of holders that is ever above one is the proof, whatever
//! the store says.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::hands::Hand;
use super::stage::Stage;
use super::{Halt, Layout, Scenario, Step};

pub(super) const SCENARIOS: &[Scenario] = &[
    scenario(
        "lock-one-client",
        "One client takes and leaves a lock for 2 s.",
        "TestOneClientReliable lock",
        |stage| lock(stage, 1, false),
    ),
    scenario(
        "lock-many-clients",
        "Ten clients take a lock in turn for 2 s; never two hold it.",
        "TestManyClientsReliable lock",
        |stage| lock(stage, 10, false),
    ),
    scenario(
        "lock-one-client-unreliable",
        "One client, over a network that loses requests and replies.",
        "TestOneClientUnreliable lock",
        |stage| lock(stage, 1, true),
    ),
    scenario(
        "lock-many-clients-unreliable",
        "Ten clients, over a network that loses requests and replies; never two hold the lock.",
        "TestManyClientsUnreliable lock",
        |stage| lock(stage, 10, true),
    ),
];

const fn scenario(
    name: &'static str,
    what: &'static str,
    source: &'static str,
    script: fn(&mut Stage<'_>) -> Step,
) -> Scenario {
    Scenario { name, what, source, seconds: 6, nodes: 3, node_args: &[], layout: Layout::ONE, script }
}

const TIME: Duration = Duration::from_secs(2);
/// Where one of five operations needs another attempt, and that begins when the first has waited in vain.
const TIME_UNRELIABLE: Duration = Duration::from_secs(5);
/// How long a client tries: four attempts, of which all fail once in seven hundred.
const PATIENCE: Duration = Duration::from_millis(1_200);
/// How long the lock is held.
const HOLD: Duration = Duration::from_millis(10);
/// Between two tries of one who waits.
const TRY_AGAIN: Duration = Duration::from_millis(5);
/// How often the holder tries to write or read.
const TRIES: u32 = 10;

/// What all clients of a lock know of each other in this process.
#[derive(Default)]
struct Truth {
    holders: AtomicU64,
    turns: AtomicU64,
}

fn lock(stage: &mut Stage<'_>, clients: u32, unreliable: bool) -> Step {
    stage.one_leader()?;
    if unreliable {
        stage.unreliable_for_all(true)?;
    }
    let time = if unreliable { TIME_UNRELIABLE } else { TIME };
    let (truth, until) = (Truth::default(), Instant::now() + time);
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for number in 0..clients {
            let (mut hand, truth) = (stage.kit.hand(PATIENCE)?, &truth);
            threads.push(scope.spawn(move || -> Step {
                for turn in 0u32.. {
                    // A name for each turn: what is unknown of an old one can never be taken for a new one.
                    let name = format!("c{number}-{turn}");
                    if Instant::now() >= until || !acquire(&mut hand, &name, until)? {
                        break;
                    }
                    hold(&mut hand, &name, truth)?;
                    release(&mut hand, &name)?;
                }
                Ok(())
            }));
        }
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Err(Halt::Stopped)))
    })?;
    stage.at_least("turns with the lock", truth.turns.into_inner() as f64, 3.0, "");
    Ok(())
}

/// Takes the lock; false when time is over before.
fn acquire(hand: &mut Hand, name: &str, until: Instant) -> Step<bool> {
    loop {
        let holder = hand.get("lock")?;
        match holder {
            Some(Some(holder)) if holder == name => return Ok(true),
            // Absent, or left by the one before.
            Some(free @ (None | Some(_))) if free.as_deref().is_none_or(str::is_empty) => {
                // Unknown: who holds it is asked in the next round.
                if hand.cas("lock", free.as_deref(), name)? == Some(true) {
                    return Ok(true);
                }
            }
            _ => std::thread::sleep(TRY_AGAIN),
        }
        if Instant::now() >= until {
            // What is unknown may still take effect, and then nobody gets the lock any more; nobody wants it either.
            return Ok(false);
        }
    }
}

fn hold(hand: &mut Hand, name: &str, truth: &Truth) -> Step {
    if truth.holders.fetch_add(1, Ordering::SeqCst) > 0 {
        return Halt::is_unsafe(format!("{name} holds the lock, and somebody else does, too"));
    }
    expect(hand, name, "")?;
    put(hand, name)?;
    std::thread::sleep(HOLD);
    expect(hand, name, name)?;
    put(hand, "")?;
    truth.holders.fetch_sub(1, Ordering::SeqCst);
    truth.turns.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// Until it is known to be done: an earlier try cannot take effect after a later one of the same session.
fn put(hand: &mut Hand, value: &str) -> Step {
    for _ in 0..TRIES {
        if hand.put("l0", value)? {
            return Ok(());
        }
    }
    Halt::is_late(format!("a put was not acknowledged in {TRIES} tries"))
}

fn expect(hand: &mut Hand, name: &str, expected: &str) -> Step {
    for _ in 0..TRIES {
        match hand.get("l0")? {
            Some(found) if found.as_deref().unwrap_or("") == expected => return Ok(()),
            Some(found) => {
                return Halt::is_unsafe(format!(
                    "{name} holds the lock and finds {found:?}, not `{expected}`"
                ));
            }
            None => {}
        }
    }
    Halt::is_late(format!("a read was not answered in {TRIES} tries"))
}

/// Leaves the lock, and makes sure of it.
fn release(hand: &mut Hand, name: &str) -> Step {
    loop {
        // A failure says that an earlier try has done it; that nobody answered says nothing.
        let done = hand.cas("lock", Some(name), "")?.is_some();
        if done && hand.get("lock")?.is_some_and(|holder| holder.as_deref() != Some(name)) {
            return Ok(());
        }
    }
}
