//! Moves of shards at their worst: what engineers who built such stores wrote down as their own mistakes (`lesson` and its
//! number), told as stories of real processes.

use std::time::{Duration, Instant};

use ordeal_client::wire::{AdminChange, GroupId, Owner, ShardId};
use ordeal_history::{Call, Value};

use super::groups::{A, B, Book, C, MOVES_TIME_MAX, scenario};
use super::hands::is_ok;
use super::stage::{ELECTION, Stage, ms};
use super::writers::{Habit, Kind, PATIENCE};
use super::{Halt, Scenario, Step};

pub(super) const SCENARIOS: &[Scenario] = &[
    scenario(
        "ping-pong",
        "A shard goes to and fro under a writer while letters between groups are seconds late: old ones must not delete what came back.",
        "lesson 60",
        30,
        SHORT,
        ping_pong,
    ),
    scenario(
        "retry-across-move",
        "Writes whose answers are lost are asked for again where their shards have moved to: each is done once.",
        "lessons 62, 63",
        12,
        &[],
        retry_across_move,
    ),
    scenario(
        "opposite-moves",
        "Two groups give each other shards at once, again and again, and the leaders of both are killed in the middle.",
        "lessons 52, 57, 59",
        25,
        &[],
        opposite_moves,
    ),
    scenario(
        "restart-without-controller",
        "All groups are killed with moves open, and started while the controller is down: what they own is served.",
        "lesson 51",
        12,
        SHORT,
        restart_without_controller,
    ),
    scenario(
        "stopped-over-two-configurations",
        "A group is stopped while two configurations pass it by; what is not its own is served, and it catches up.",
        "lesson 50",
        20,
        &[],
        stopped_over_two,
    ),
];

/// A snapshot every few dozen entries: a restart begins with one.
const SHORT: &[&str] = &["--snapshot-entries", "50", "--snapshot-bytes", "1000"];
/// The shard of a story about one.
const SHARD: ShardId = ShardId(0);

impl Stage<'_> {
    /// Keys of a shard of every kind: so many.
    fn keys_of(&self, shard: ShardId, count: usize) -> Vec<String> {
        let per_shard = self.keys_of_each_shard(count);
        per_shard.into_iter().filter(|key| self.shard_of(key) == shard).collect()
    }
}

/// A → B → A → B, each way as soon as the one before is over, with letters of moves that are long over still on their way.
fn ping_pong(stage: &mut Stage<'_>) -> Step {
    const WAYS: u32 = 6;
    stage.only(&[A, B])?;
    let mut book = Book::default();
    let keys = stage.keys_of(SHARD, 5);
    stage.append_to(&mut book, &keys, 20)?;
    let busy: Vec<String> = keys.iter().map(|key| format!("{{{key}}}busy")).collect();
    stage.give(SHARD, A)?;
    stage.is_of(SHARD, A)?;
    stage.late_letters(true)?;
    let pause = Duration::from_millis(5);
    let habit = Habit { clients: 5, pause, keys: busy, kind: Kind::Append, patience: PATIENCE };
    let done = stage.beside(&habit, |stage| {
        for way in 0..WAYS {
            let to = if way % 2 == 0 { B } else { A };
            let since = Instant::now();
            stage.give(SHARD, to)?;
            stage.is_of(SHARD, to)?;
            stage.note("longest move with late letters", ms(since.elapsed()), "ms");
            stage.check_keys(&book, &keys)?;
        }
        // The latest that a letter can be.
        stage.pause(2 * ELECTION + ELECTION / 4)
    })?;
    stage.late_letters(false)?;
    stage.settle(MOVES_TIME_MAX)?;
    stage.check_all(&done.book)?;
    stage.check_all(&book)
}

/// The answers of A's nodes are lost: what is written there is done and nobody is told; then the shards are elsewhere.
fn retry_across_move(stage: &mut Stage<'_>) -> Step {
    const ROUNDS: u32 = 4;
    stage.only(&[A])?;
    stage.controller_leads_alone()?;
    let keys = stage.key_of_each_shard();
    let mut hands = Vec::new();
    for key in &keys {
        let mut hand = stage.kit.hand(PATIENCE)?;
        // A session where the shard is.
        if !hand.append(key, "first,")? {
            return Halt::is_late(format!("an append to {key} was not acknowledged within 10 s"));
        }
        hands.push(hand);
    }
    let mut book = Book(keys.iter().map(|key| (key.clone(), "first,".to_owned())).collect());
    for round in 0..ROUNDS {
        let (from, to) = if round % 2 == 0 { (A, B) } else { (B, A) };
        let nodes = stage.nodes_of(from);
        let applied = stage.applied(from);
        stage.mute(&nodes)?;
        let acknowledged = std::thread::scope(|scope| -> Step<Vec<bool>> {
            let mut threads = Vec::new();
            for (key, hand) in keys.iter().zip(&mut hands) {
                let word = Value::from(format!("r{round},"));
                threads.push(scope.spawn(move || hand.ask(key, &Call::Append(word))));
            }
            stage.has_applied(from, applied + keys.len() as u64)?;
            stage.join(&[to])?;
            stage.leave(&[from])?;
            stage.settle(MOVES_TIME_MAX)?;
            stage.mute(&[])?;
            let ended = threads.into_iter().map(|thread| thread.join().unwrap_or(Err(Halt::Stopped)));
            ended.map(|outcome| Ok(is_ok(&outcome?))).collect()
        })?;
        if acknowledged.contains(&false) {
            return Halt::is_late("a write was not answered although its shard is where it can be");
        }
        book.0.values_mut().for_each(|value| value.push_str(&format!("r{round},")));
        stage.check_all(&book)?;
    }
    Ok(())
}

impl Stage<'_> {
    /// The highest index that any node has applied of a group.
    fn applied(&self, group: u32) -> u64 {
        let views = self.watch.look();
        let of_group = views.values().flat_map(|view| view.data().filter(|of| of.group == group));
        of_group.map(|of| of.applied).max().unwrap_or(0)
    }

    /// Somebody has applied so much of a group.
    fn has_applied(&mut self, group: u32, index: u64) -> Step {
        let since = Instant::now();
        while self.applied(group) < index {
            if since.elapsed() > MOVES_TIME_MAX {
                return Halt::is_late(format!("g{group} has not applied {index} within 10 s"));
            }
            self.pause(Duration::from_millis(10))?;
        }
        Ok(())
    }
}

fn opposite_moves(stage: &mut Stage<'_>) -> Step {
    const ROUNDS: u32 = 12;
    const KILLS: [u32; 4] = [2, 5, 8, 11];
    stage.only(&[A, B])?;
    let keys = stage.key_of_each_shard();
    let mut book = Book::default();
    stage.append_to(&mut book, &keys, 8)?;
    // An empty shard is one like any other: the last one has no key.
    let busy: Vec<String> = keys.iter().map(|key| format!("{{{key}}}busy")).take(9).collect();
    let habit = Habit { clients: 9, ..Habit::ten_append(busy, 5) };
    let done = stage.beside(&habit, |stage| {
        for round in 0..ROUNDS {
            let now = stage.settle(MOVES_TIME_MAX)?;
            // All shards of both change sides, each by a command of its own, none of them waited for.
            for (shard, owner) in now.shards() {
                stage.give(shard, if owner.group == GroupId(A) { B } else { A })?;
            }
            if KILLS.contains(&round) {
                let leaders = [stage.leader_of(A)?, stage.leader_of(B)?];
                stage.crash_all(&leaders)?;
                stage.pause_up_to(300)?;
                stage.restart_all(&leaders)?;
            }
            let sides = stage.settle(MOVES_TIME_MAX)?;
            let moved = |(shard, owner): (ShardId, Owner)| {
                now.owner(shard).is_some_and(|old| old.group != owner.group)
            };
            if !sides.shards().all(moved) {
                return Halt::is_unsafe(format!("not all shards have changed sides: {now:?}, {sides:?}"));
            }
        }
        Ok(())
    })?;
    stage.check_all(&done.book)?;
    stage.check_all(&book)
}

fn restart_without_controller(stage: &mut Stage<'_>) -> Step {
    stage.only(&[A, B])?;
    let mut book = Book::default();
    let keys = stage.keys_of_each_shard(3);
    stage.append_to(&mut book, &keys, 20)?;
    // A move that can begin and not end: who is to have the shards is down.
    stage.shut(&[C])?;
    stage.join(&[C])?;
    stage.stays_unsettled(ELECTION / 2)?;
    let controllers = stage.controllers();
    stage.crash_all(&controllers)?;
    stage.shut(&[A, B])?;
    stage.start(&[A, B])?;
    // suite: nothing of the kind. The controller's majority is down: nobody can be asked who owns what.
    let since = Instant::now();
    stage.check_all(&book)?;
    stage.append_to(&mut book, &keys, 2)?;
    stage.note("all keys read and written without a controller", ms(since.elapsed()), "ms");
    stage.restart_all(&controllers)?;
    stage.start(&[C])?;
    stage.settle(MOVES_TIME_MAX)?;
    stage.check_all(&book)
}

/// B is stopped, not killed: connections to it stay open and say nothing. It is to get shards, then others, and then none.
fn stopped_over_two(stage: &mut Stage<'_>) -> Step {
    stage.only(&[A, B])?;
    let mut book = Book::default();
    let keys = stage.key_of_each_shard();
    stage.append_to(&mut book, &keys, 8)?;
    let now = stage.desk()?.newest()?;
    let stopped = stage.nodes_of(B);
    // What never was B's: it is to be served all the time.
    let mut of_a = keys.clone();
    of_a.retain(|key| now.owner(stage.shard_of(key)).is_some_and(|owner| owner.group == GroupId(A)));
    stage.pause_all(&stopped)?;
    stage.join(&[C])?;
    stage.leave(&[B])?;
    let given = stage.shard_of(&of_a[0]);
    stage.desk()?.change(&AdminChange::Move { shard: given, to: GroupId(C) })?;
    stage.stays_unsettled(2 * ELECTION)?;
    stage.check_keys(&book, &of_a)?;
    stage.append_to(&mut book, &of_a, 2)?;
    stage.join(&[B])?;
    stage.stays_unsettled(ELECTION)?;
    stage.check_keys(&book, &of_a)?;
    stage.resume_all()?;
    stage.settle(MOVES_TIME_MAX)?;
    stage.check_all(&book)
}
