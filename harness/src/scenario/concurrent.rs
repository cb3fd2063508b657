//! The tests of the suite's sharded store with clients that write while groups join, leave, are killed and started:
//! TestConcurrent1 to 3, TestUnreliable1 to 3.
//!
//! suite: a client's value is compared with what the client said, once at the end. Here the judge sees every operation, too, and
//! each must be answered in 10 s, whatever is down meanwhile.

use std::time::{Duration, Instant};

use super::groups::{A, B, Book, C, MOVES_TIME_MAX, scenario};
use super::stage::{ELECTION, Stage};
use super::writers::{Habit, Kind};
use super::{Scenario, Step};

pub(super) const SCENARIOS: &[Scenario] = &[
    scenario(
        "concurrent-1",
        "Ten clients append while groups join and leave; all of them are killed with moves open, and the next change comes meanwhile.",
        "TestConcurrent1 shardkv",
        15,
        SHORT,
        concurrent_1,
    ),
    scenario(
        "concurrent-2",
        "Ten clients append while shards go to one group, to two others and back; two groups are killed and started.",
        "TestConcurrent2 shardkv",
        20,
        &[],
        concurrent_2,
    ),
    scenario(
        "concurrent-3",
        "For 12 s groups join and leave, and all are killed and started in between, under ten clients without pause.",
        "TestConcurrent3 shardkv",
        25,
        SHORT,
        concurrent_3,
    ),
    scenario(
        "unreliable-1",
        "Checks and appends over an unreliable network while groups join and leave.",
        "TestUnreliable1 shardkv",
        20,
        SHORT,
        unreliable_1,
    ),
    scenario(
        "unreliable-2",
        "Ten clients append over an unreliable network while groups join and leave.",
        "TestUnreliable2 shardkv",
        15,
        SHORT,
        |stage| unreliable_2(stage, Kind::Append),
    ),
    scenario(
        "unreliable-3",
        "Ten clients put, append and get ten shared keys over an unreliable network while groups join and leave.",
        "TestUnreliable3 shardkv",
        15,
        SHORT,
        |stage| unreliable_2(stage, Kind::Anything),
    ),
];

/// As with a `maxraftstate` of 100 to 300 bytes: a snapshot every few dozen entries.
const SHORT: &[&str] = &["--snapshot-entries", "50", "--snapshot-bytes", "1000"];
/// suite: what it sleeps after changes, so that moves are over.
const MOVED_IN: Duration = Duration::from_secs(3);
const HALF: Duration = Duration::from_millis(500);

fn concurrent_1(stage: &mut Stage<'_>) -> Step {
    stage.only(&[A])?;
    let keys = stage.key_of_each_shard();
    let done = stage.beside(&Habit::ten_append(keys, 10), |stage| {
        stage.pause(Duration::from_millis(150))?;
        stage.join(&[B])?;
        stage.pause(HALF)?;
        stage.join(&[C])?;
        stage.pause(HALF)?;
        stage.leave(&[A])?;
        for group in [A, B, C] {
            stage.shut(&[group])?;
            stage.pause(Duration::from_millis(100))?;
        }
        // Nobody is there to move anything, and the controller takes it.
        stage.leave(&[C])?;
        stage.start(&[A, B, C])?;
        stage.pause(Duration::from_millis(100))?;
        stage.join(&[A])?;
        stage.leave(&[B])?;
        stage.pause(HALF)?;
        stage.join(&[B])?;
        stage.pause(ELECTION)?;
        stage.settle(MOVES_TIME_MAX).map(|_| ())
    })?;
    stage.check_all(&done.book)
}

fn concurrent_2(stage: &mut Stage<'_>) -> Step {
    stage.only(&[A, B, C])?;
    let keys = stage.key_of_each_shard();
    let done = stage.beside(&Habit::ten_append(keys, 50), |stage| {
        let steps: [(&[u32], &[u32]); 3] = [(&[], &[A, C]), (&[A, C], &[B]), (&[B], &[A, C])];
        for (joining, leaving) in steps {
            if !joining.is_empty() {
                stage.join(joining)?;
            }
            stage.leave(leaving)?;
            stage.settle(MOVED_IN)?;
            stage.pause(ELECTION)?;
        }
        stage.shut(&[B, C])?;
        stage.pause(ELECTION)?;
        stage.start(&[B, C])?;
        stage.pause(2 * ELECTION)
    })?;
    stage.check_all(&done.book)
}

fn concurrent_3(stage: &mut Stage<'_>) -> Step {
    stage.only(&[A])?;
    let keys = stage.key_of_each_shard();
    let habit = Habit::ten_append(keys, 1);
    let done = stage.beside(&habit, |stage| {
        let until = Instant::now() + Duration::from_secs(12);
        while Instant::now() < until {
            stage.join(&[C, B])?;
            stage.pause_up_to(900)?;
            stage.shut(&[A, B, C])?;
            stage.start(&[A, B, C])?;
            stage.pause_up_to(900)?;
            stage.leave(&[B, C])?;
            stage.pause_up_to(900)?;
        }
        stage.pause(2 * ELECTION)?;
        stage.settle(MOVES_TIME_MAX).map(|_| ())
    })?;
    stage.check_all(&done.book)
}

fn unreliable_1(stage: &mut Stage<'_>) -> Step {
    stage.only(&[A])?;
    stage.unreliable_for_all(true)?;
    let mut book = Book::default();
    let keys = stage.key_of_each_shard();
    stage.append_to(&mut book, &keys, 8)?;
    stage.join(&[B])?;
    stage.join(&[C])?;
    stage.leave(&[A])?;
    // suite: one key a round, twice all of them.
    for _ in 0..2 {
        stage.check_and_append(&mut book)?;
    }
    stage.join(&[A])?;
    stage.leave(&[B])?;
    for _ in 0..2 {
        stage.check_all(&book)?;
    }
    stage.settle(MOVES_TIME_MAX)?;
    stage.check_all(&book)
}

fn unreliable_2(stage: &mut Stage<'_>, kind: Kind) -> Step {
    stage.only(&[A])?;
    stage.unreliable_for_all(true)?;
    let keys = stage.key_of_each_shard();
    let habit = Habit { kind, ..Habit::ten_append(keys, 10) };
    let done = stage.beside(&habit, |stage| {
        stage.pause(Duration::from_millis(150))?;
        stage.join(&[B])?;
        stage.pause(HALF)?;
        stage.join(&[C])?;
        stage.pause(HALF)?;
        stage.leave(&[A])?;
        stage.pause(HALF)?;
        stage.leave(&[B])?;
        stage.pause(HALF)?;
        stage.join(&[B, A])?;
        stage.pause(2 * ELECTION)
    })?;
    stage.unreliable_for_all(false)?;
    stage.settle(MOVES_TIME_MAX)?;
    stage.check_all(&done.book)
}
