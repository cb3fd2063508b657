//! The tests of the store that have a script of their own: TestSpeed, TestUnreliableOneKey, TestOnePartition,
//! TestSnapshotRPC, TestSnapshotSize.

use std::path::Path;
use std::time::{Duration, Instant};

use super::stage::{ELECTION, Stage, ms};
use super::{Halt, Layout, Scenario, Step};
use crate::lab::Lab;

pub(super) const SCENARIOS: &[Scenario] = &[
    scenario(
        "kv-speed",
        "A thousand appends one after the other: at most 33.3 ms each, three in a heartbeat of 100 ms.",
        "TestSpeed 3A/4B",
        (10, 3),
        &[],
        speed,
    ),
    scenario(
        "kv-speed-snapshots",
        "The same with a log of a thousand bytes.",
        "TestSpeed 3B/4C",
        (10, 3),
        SHORT,
        speed,
    ),
    scenario(
        "kv-unreliable-one-key",
        "Five clients append ten words each to one key over an unreliable network; each word once, each client's in order.",
        "TestUnreliableOneKey 3A",
        (10, 3),
        &[],
        one_key,
    ),
    scenario(
        "one-partition",
        "The leader is in the minority: its clients wait, the majority's go on; after the healing the waiting ones are done.",
        "TestOnePartition 3A/4B",
        (8, 5),
        &[],
        one_partition,
    ),
    scenario(
        "snapshot-rpc",
        "A node that missed fifty puts of a short log catches up by a snapshot, and is needed at once.",
        "TestSnapshotRPC 3B/4C",
        (8, 3),
        SHORT,
        snapshot_rpc,
    ),
    scenario(
        "snapshot-size",
        "Four hundred puts to one key leave a snapshot of 500 bytes: old values and old replies do not pile up.",
        "TestSnapshotSize 3B/4C",
        (8, 3),
        SHORT,
        snapshot_size,
    ),
];

const fn scenario(
    name: &'static str,
    what: &'static str,
    source: &'static str,
    (seconds, nodes): (u32, u32),
    node_args: &'static [&'static str],
    script: fn(&mut Stage<'_>) -> Step,
) -> Scenario {
    Scenario { name, what, source, seconds, nodes, node_args, layout: Layout::ONE, script }
}

/// As with a `maxraftstate` of 1000 bytes.
const SHORT: &[&str] = &["--snapshot-entries", "50", "--snapshot-bytes", "1000"];
/// 8 × 1000 bytes, as in the suite.
const LOG_BYTES_MAX: f64 = 8_000.0;
/// The suite's limit of a snapshot, of one key and one client.
const SNAPSHOT_BYTES_MAX: f64 = 500.0;
/// 100 ms / 3.
const OP_MS_MAX: f64 = 33.3;

fn speed(stage: &mut Stage<'_>) -> Step {
    const APPENDS: u32 = 1_000;
    stage.agree(3)?;
    let since = Instant::now();
    for number in 0..APPENDS {
        if !stage.clerk.append("speed", &format!("{number},"))? {
            return Halt::is_late(format!("append {number} was not done in 10 s"));
        }
    }
    stage.at_most("time of an append", ms(since.elapsed() / APPENDS), OP_MS_MAX, "ms");
    let expected: String = (0..APPENDS).map(|number| format!("{number},")).collect();
    match stage.clerk.get("speed")?.flatten() {
        Some(found) if found == expected => Ok(()),
        found => Halt::is_unsafe(format!(
            "after {APPENDS} appends in order the value is another, of {} bytes",
            found.map_or(0, |found| found.len())
        )),
    }
}

fn one_key(stage: &mut Stage<'_>) -> Step {
    const WORDS: u32 = 10;
    stage.one_leader()?;
    stage.unreliable_for_all(true)?;
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for client in 0..5u32 {
            let mut hand = stage.kit.hand(super::asks::AGREE_TIME_MAX)?;
            threads.push(scope.spawn(move || -> Step {
                for word in 0..WORDS {
                    if !hand.append("shared", &format!("c{client}-{word},"))? {
                        return Halt::is_late(format!("client {client}: append {word} was not done in 10 s"));
                    }
                }
                Ok(())
            }));
        }
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Err(Halt::Stopped)))
    })?;
    let found = stage.clerk.get("shared")?.flatten().unwrap_or_default();
    for client in 0..5u32 {
        let own = format!("c{client}-");
        let words: Vec<&str> = found.split(',').filter(|word| word.starts_with(&own)).collect();
        let expected: Vec<String> = (0..WORDS).map(|word| format!("c{client}-{word}")).collect();
        if words != expected {
            return Halt::is_unsafe(format!("client {client} appended {expected:?}, and {words:?} is there"));
        }
    }
    Ok(())
}

fn one_partition(stage: &mut Stage<'_>) -> Step {
    stage.agree(5)?;
    expect_put(stage, "13")?;
    let leader = stage.one_leader()?;
    let others = stage.others(&[leader]);
    let (minority, majority) = ([leader, others[0]], others[1..].to_vec());
    let patience = super::asks::AGREE_TIME_MAX;
    let mut above = stage.kit.hand_at(&majority, patience)?;
    // The minority's clients reach the others over the leader's own links: not while those are cut, and again afterwards.
    let mut putter = stage.kit.hand_behind(&minority, stage.lab.dial(leader), patience)?;
    let mut getter = stage.kit.hand_behind(&minority, stage.lab.dial(leader), patience)?;
    // A session with the leader as long as there is one, so that the put itself waits and not its session.
    putter.put("other", "1")?;
    stage.partition(&minority, &majority)?;
    stage.one_leader_of(&majority)?;
    let mut both = |put: &str| -> Step {
        match (above.put("1", put)?, above.get("1")?.flatten().as_deref() == Some(put)) {
            (true, true) => Ok(()),
            (false, _) => Halt::is_late("the majority did not do a put within 10 s"),
            (true, false) => Halt::is_unsafe(format!("the majority put {put} and reads another value")),
        }
    };
    both("14")?;
    let begun = Instant::now();
    let (put_done, get_done, healed) = std::thread::scope(|scope| -> Step<_> {
        let put = scope.spawn(move || Ok::<_, Halt>((putter.put("1", "15")?, Instant::now())));
        let get = scope.spawn(move || Ok::<_, Halt>((getter.get("1")?, Instant::now())));
        stage.pause(ELECTION)?;
        let early = put.is_finished() || get.is_finished();
        both("16")?;
        stage.connect_all()?;
        let healed = Instant::now();
        // suite: its last `select` has a `default:`, so that it waits for the get not at all. Here both are waited for.
        let put = put.join().unwrap_or(Err(Halt::Stopped))?;
        let get = get.join().unwrap_or(Err(Halt::Stopped))?;
        if early {
            return Halt::is_unsafe("an operation of the minority came to an end before the healing");
        }
        Ok((put, get, healed))
    })?;
    let after = |at: Instant| at.saturating_duration_since(healed);
    stage.at_most("waiting put done after the healing", ms(after(put_done.1)), 3_000.0, "ms");
    stage.at_most("waiting get done after the healing", ms(after(get_done.1)), 3_000.0, "ms");
    if !put_done.0 || get_done.0.is_none() {
        return Halt::is_late(format!("a waiting operation was given up after {} ms", ms(begun.elapsed())));
    }
    // 16 was acknowledged before the healing, and 15 after it.
    match stage.clerk.get("1")?.flatten().as_deref() {
        Some("15") => Ok(()),
        found => Halt::is_unsafe(format!("the key is {found:?}, expected 15, which was put last")),
    }
}

fn expect_put(stage: &mut Stage<'_>, value: &str) -> Step {
    match stage.clerk.put("1", value)? {
        true => Ok(()),
        false => Halt::is_late("a put was not done in 10 s"),
    }
}

fn snapshot_rpc(stage: &mut Stage<'_>) -> Step {
    stage.agree(3)?;
    let leader = stage.one_leader()?;
    let [second, away] = stage.others(&[leader])[..] else { unreachable!("three nodes") };
    let put = |stage: &mut Stage<'_>, key: &str, value: &str| match stage.clerk.put(key, value)? {
        true => Ok(()),
        false => Halt::is_late(format!("put {key} was not done in 10 s")),
    };
    put(stage, "a", "A")?;
    stage.partition(&[leader, second], &[away])?;
    for number in 0..50 {
        put(stage, &number.to_string(), &number.to_string())?;
    }
    stage.pause(ELECTION)?;
    put(stage, "b", "B")?;
    // Compaction does not wait for the one that is away.
    stage.watch.look();
    let longest = stage.watch.ledger().log_bytes_max;
    stage.at_most("longest log", longest as f64, LOG_BYTES_MAX, "bytes");
    let newest = stage.watch.ledger().snapshot_max;
    stage.at_least("newest snapshot", newest as f64, 1.0, "");
    // The one that was away is needed for a majority now.
    stage.partition(&[leader, away], &[second])?;
    put(stage, "c", "C")?;
    put(stage, "d", "D")?;
    for (key, value) in [("a", "A"), ("b", "B"), ("1", "1"), ("49", "49")] {
        expect(stage, key, value)?;
    }
    stage.connect_all()?;
    put(stage, "e", "E")?;
    for (key, value) in [("c", "C"), ("e", "E"), ("1", "1")] {
        expect(stage, key, value)?;
    }
    Ok(())
}

fn expect(stage: &mut Stage<'_>, key: &str, value: &str) -> Step {
    match stage.clerk.get(key)? {
        Some(found) if found.as_deref() == Some(value) => Ok(()),
        Some(found) => Halt::is_unsafe(format!("{key} is {found:?}, expected {value}")),
        None => Halt::is_late(format!("{key} was not read in 10 s")),
    }
}

fn snapshot_size(stage: &mut Stage<'_>) -> Step {
    stage.one_leader()?;
    for _ in 0..200 {
        for value in ["0", "1"] {
            expect_put_and_get(stage, value)?;
        }
    }
    stage.converge()?;
    stage.pause(Duration::from_millis(200))?;
    let longest = stage.watch.ledger().log_bytes_max;
    stage.at_most("longest log", longest as f64, LOG_BYTES_MAX, "bytes");
    let largest = stage.nodes().iter().map(|&node| snapshot_bytes(&stage.cluster.data_dir(node))).max();
    let largest = largest.unwrap_or(0);
    stage.at_least("largest snapshot file", largest as f64, 1.0, "bytes");
    stage.at_most("largest snapshot", largest as f64, SNAPSHOT_BYTES_MAX, "bytes");
    Ok(())
}

fn expect_put_and_get(stage: &mut Stage<'_>, value: &str) -> Step {
    expect_put(stage, value)?;
    expect(stage, "1", value)
}

/// The largest file of a node's snapshots. A directory that is being written to may lose a file meanwhile.
fn snapshot_bytes(data: &Path) -> u64 {
    let files = std::fs::read_dir(data.join("snapshots")).into_iter().flatten().flatten();
    files.filter_map(|file| Some(file.metadata().ok()?.len())).max().unwrap_or(0)
}
