//! The tests of the suite's sharded store in which one client looks after each step: TestStaticShards, TestJoinLeave,
//! TestSnapshot, TestMissChange, and its challenges.
//!
//! suite: a change of who owns what is over when the controller has it, and scripts sleep until the moves may be over. Here a
//! change is waited for, and what the suite sleeps is the limit.

use std::time::{Duration, Instant};

use super::groups::{A, B, Book, C, MOVES_TIME_MAX, scenario};
use super::stage::{ELECTION, Stage};
use super::{Halt, Scenario, Step};
use crate::system::{GroupView, NodeView};

pub(super) const SCENARIOS: &[Scenario] = &[
    scenario(
        "static-shards",
        "Two groups share ten shards; with one of them down exactly the other's keys are read.",
        "TestStaticShards shardkv",
        8,
        &[],
        static_shards,
    ),
    scenario(
        "join-leave",
        "A group joins, the first one leaves and is shut down: everything is there, and takes writes.",
        "TestJoinLeave shardkv",
        8,
        &[],
        join_leave,
    ),
    scenario(
        "shards-snapshot",
        "Short logs while shards move, and then all groups are killed: who owns what is part of a snapshot.",
        "TestSnapshot shardkv",
        12,
        SHORT,
        snapshot,
    ),
    scenario(
        "miss-change",
        "A node of each group is down over several configurations, and is needed afterwards, as another one goes.",
        "TestMissChange shardkv",
        20,
        SHORT,
        miss_change,
    ),
    scenario(
        "challenge1-delete",
        "Thirty keys of a thousand bytes move in circles; what was moved is deleted where it was.",
        "TestChallenge1Delete shardkv",
        25,
        SHORTEST,
        challenge1_delete,
    ),
    scenario(
        "challenge2-unaffected",
        "A group that is to leave is down: what others own already is served meanwhile.",
        "TestChallenge2Unaffected shardkv",
        12,
        SHORT,
        challenge2_unaffected,
    ),
    scenario(
        "challenge2-partial",
        "Two groups are to leave and one of them is down: what came of the other is served at once.",
        "TestChallenge2Partial shardkv",
        12,
        SHORT,
        challenge2_partial,
    ),
];

/// As with a `maxraftstate` of 1000 bytes.
const SHORT: &[&str] = &["--snapshot-entries", "50", "--snapshot-bytes", "1000"];
/// As with one of 1: what a group holds is its snapshot. Of eight entries the last four are kept.
const SHORTEST: &[&str] = &["--snapshot-entries", "8", "--snapshot-bytes", "1"];
/// 8 × 1000 bytes, as in the suite.
const LOG_BYTES_MAX: f64 = 8_000.0;
/// What a move of ten short keys may take: the suite sleeps so long, and shuts the old group down.
const MOVED_IN: Duration = Duration::from_secs(1);

fn static_shards(stage: &mut Stage<'_>) -> Step {
    stage.only(&[A, B])?;
    let mut book = Book::default();
    let keys = stage.key_of_each_shard();
    stage.append_to(&mut book, &keys, 8)?;
    stage.check_all(&book)?;
    stage.shut(&[B])?;
    stage.answered_only_by(&book, &[A])?;
    stage.start(&[B])?;
    stage.check_all(&book)
}

fn join_leave(stage: &mut Stage<'_>) -> Step {
    stage.only(&[A])?;
    let mut book = Book::default();
    let keys = stage.key_of_each_shard();
    stage.append_to(&mut book, &keys, 8)?;
    stage.check_all(&book)?;
    stage.join(&[B])?;
    stage.check_and_append(&mut book)?;
    stage.settle(MOVES_TIME_MAX)?;
    stage.leave(&[A])?;
    stage.settles("the old group is not needed", MOVED_IN)?;
    stage.check_and_append(&mut book)?;
    stage.shut(&[A])?;
    stage.check_all(&book)
}

fn snapshot(stage: &mut Stage<'_>) -> Step {
    stage.only(&[A])?;
    let mut book = Book::default();
    let keys = stage.keys_of_each_shard(3);
    stage.append_to(&mut book, &keys, 20)?;
    stage.check_all(&book)?;
    stage.join(&[B])?;
    stage.join(&[C])?;
    stage.leave(&[A])?;
    stage.check_and_append(&mut book)?;
    stage.leave(&[B])?;
    stage.join(&[A])?;
    stage.check_and_append(&mut book)?;
    stage.settle(MOVES_TIME_MAX)?;
    stage.check_all(&book)?;
    has_short_logs(stage)?;
    stage.shut(&[A, B, C])?;
    stage.start(&[A, B, C])?;
    stage.check_all(&book)
}

/// suite: looked at after everything is quiet. The logs of the data groups, and that there were snapshots at all; a part of a shard that
/// arrives is one entry, so that under load a log is longer by as much as moved.
fn has_short_logs(stage: &mut Stage<'_>) -> Step {
    let since = Instant::now();
    let (longest, newest) = loop {
        let views = stage.watch.look();
        let longest = views.values().flat_map(|view| view.data().map(|of| of.log_bytes)).max().unwrap_or(0);
        let newest = views.values().flat_map(|view| view.data().map(|of| of.snapshot)).max().unwrap_or(0);
        if longest as f64 <= LOG_BYTES_MAX || since.elapsed() > 2 * ELECTION {
            break (longest, newest);
        }
        stage.pause(Duration::from_millis(50))?;
    };
    stage.at_most("longest log", longest as f64, LOG_BYTES_MAX, "bytes");
    stage.at_least("newest snapshot", newest as f64, 1.0, "");
    let under_load = stage.watch.ledger().log_bytes_max;
    stage.note("longest log under load", under_load as f64, "bytes");
    Ok(())
}

fn miss_change(stage: &mut Stage<'_>) -> Step {
    let groups = [A, B, C];
    stage.only(&[A])?;
    let mut book = Book::default();
    let keys = stage.key_of_each_shard();
    stage.append_to(&mut book, &keys, 20)?;
    stage.check_all(&book)?;
    stage.join(&[B])?;
    let away: Vec<_> = groups.iter().map(|&group| stage.nodes_of(group)[0]).collect();
    stage.crash_all(&away)?;
    stage.join(&[C])?;
    stage.leave(&[B])?;
    stage.leave(&[A])?;
    stage.check_and_append(&mut book)?;
    stage.join(&[B])?;
    stage.check_and_append(&mut book)?;
    stage.restart_all(&away)?;
    stage.check_and_append(&mut book)?;
    stage.settle(MOVES_TIME_MAX)?;
    // Who was away is one of the two that are left.
    let away: Vec<_> = groups.iter().map(|&group| stage.nodes_of(group)[1]).collect();
    stage.crash_all(&away)?;
    stage.join(&[A])?;
    stage.leave(&[C])?;
    stage.check_and_append(&mut book)?;
    stage.restart_all(&away)?;
    stage.settle(MOVES_TIME_MAX)?;
    stage.check_all(&book)
}

/// suite: 27 keys of 1000 bytes at three servers each; for each server 3 more, which clients may have been told last; and 6000 of
/// anything else.
const HELD_BYTES_MAX: f64 = 3.0 * (27.0 * 1000.0 + 2.0 * 3.0 * 1000.0 + 6000.0);

fn challenge1_delete(stage: &mut Stage<'_>) -> Step {
    stage.only(&[A])?;
    let mut book = Book::default();
    let keys = stage.keys_of_each_shard(3);
    stage.append_to(&mut book, &keys, 990)?;
    for _ in 0..2 {
        stage.join(&[B])?;
        stage.leave(&[A])?;
        stage.join(&[C])?;
        stage.settle(MOVES_TIME_MAX)?;
        stage.check_all(&book)?;
        stage.leave(&[B])?;
        stage.join(&[A])?;
        stage.leave(&[C])?;
        stage.settle(MOVES_TIME_MAX)?;
        stage.check_all(&book)?;
    }
    stage.join(&[B])?;
    stage.join(&[C])?;
    stage.settle(MOVES_TIME_MAX)?;
    stage.check_all(&book)?;
    held_bytes(stage)
}

/// Snapshots of all nine servers. Its own arithmetic has 27 keys of a thousand bytes at three servers each as 81 of at most 117 kB: a second
/// copy of half of them would be too much.
///
/// suite: a server takes a snapshot with every entry, and its log counts too. Ours takes one when the log has grown by a quarter of the
/// last, so some is written to each group first, and logs are not counted; and there are 30 keys, three of every shard.
fn held_bytes(stage: &mut Stage<'_>) -> Step {
    stage.write_until_snapshots()?;
    let since = Instant::now();
    let (snapshots, logs, keys) = loop {
        let views = stage.watch.look();
        let sum = |of: fn(&GroupView) -> u64| views.values().flat_map(NodeView::data).map(of).sum::<u64>();
        let snapshots = sum(|of| of.snapshot_bytes);
        if snapshots as f64 <= HELD_BYTES_MAX || since.elapsed() > 4 * ELECTION {
            break (snapshots, sum(|of| of.log_bytes), sum(|of| of.keys));
        }
        stage.pause(Duration::from_millis(100))?;
    };
    stage.at_most("snapshots", snapshots as f64, HELD_BYTES_MAX, "bytes");
    stage.note("logs beside them", logs as f64, "bytes");
    // With the one of each shard that is written often.
    stage.at_most("keys held by all nodes", keys as f64, (30.0 + 10.0) * 3.0, "");
    Ok(())
}

/// A put, a get, a put and a get of each of these.
fn are_served(stage: &mut Stage<'_>, book: &mut Book, keys: &[String]) -> Step {
    if keys.is_empty() {
        return Halt::is_late("there is nothing to serve: no shard has moved");
    }
    let since = Instant::now();
    stage.check_keys(book, keys)?;
    for _ in 0..2 {
        stage.append_to(book, keys, 2)?;
        stage.check_keys(book, keys)?;
    }
    let each = since.elapsed() / u32::try_from(5 * keys.len()).expect("a handful");
    stage.at_most("time of an operation meanwhile", super::stage::ms(each), SERVED_MS_MAX, "ms");
    Ok(())
}

/// Far below any time-out of a client, and far above a commit on a busy machine.
const SERVED_MS_MAX: f64 = 100.0;

/// Those of these keys whose shard a group owns now.
fn owned_by(stage: &mut Stage<'_>, keys: &[String], group: u32) -> Step<Vec<String>> {
    let now = stage.desk()?.newest()?;
    let is = |key: &&String| now.owner(stage.shard_of(key)).is_some_and(|owner| owner.group.0 == group);
    Ok(keys.iter().filter(is).cloned().collect())
}

fn challenge2_unaffected(stage: &mut Stage<'_>) -> Step {
    stage.only(&[A])?;
    stage.unreliable_for_all(true)?;
    let mut book = Book::default();
    let keys = stage.key_of_each_shard();
    stage.append_to(&mut book, &keys, 2)?;
    stage.join(&[B])?;
    stage.settle(MOVES_TIME_MAX)?;
    let own = owned_by(stage, &keys, B)?;
    stage.append_to(&mut book, &own, 2)?;
    stage.unreliable_for_all(false)?;
    stage.shut(&[A])?;
    stage.leave(&[A])?;
    stage.stays_unsettled(ELECTION)?;
    are_served(stage, &mut book, &own)?;
    // suite: ends here. What the group had is there when it comes back.
    stage.start(&[A])?;
    stage.settle(MOVES_TIME_MAX)?;
    stage.check_all(&book)
}

fn challenge2_partial(stage: &mut Stage<'_>) -> Step {
    stage.only(&[A, B, C])?;
    stage.unreliable_for_all(true)?;
    let mut book = Book::default();
    let keys = stage.key_of_each_shard();
    stage.append_to(&mut book, &keys, 2)?;
    let of_c = owned_by(stage, &keys, C)?;
    stage.unreliable_for_all(false)?;
    stage.shut(&[A])?;
    stage.leave(&[A, C])?;
    for key in &of_c {
        stage.is_of(stage.shard_of(key), B)?;
    }
    stage.stays_unsettled(ELECTION)?;
    are_served(stage, &mut book, &of_c)?;
    stage.start(&[A])?;
    stage.settle(MOVES_TIME_MAX)?;
    stage.check_all(&book)
}
