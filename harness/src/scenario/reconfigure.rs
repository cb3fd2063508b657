//! The tests of the suite's sharded store of 2025 and 2026: TestInitQuery to TestJoinLeave5B. Twelve shards, sixty keys.
//!
//! suite: a group is a thing that an administrator's program freezes, copies and deletes. Here groups do that between themselves, and
//! what the suite asks of that program is asked of the cluster: that a change is one step, that it ends when it can, that what does
//! not move is served meanwhile. Where its scripts need more groups than 12 nodes can hold apart, groups share nodes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ordeal_client::wire::{Cause as Why, GroupId};

use super::desk::{is_even, owned};
use super::groups::{A, B, Book, C, MOVES_TIME_MAX, NODES};
use super::stage::{ELECTION, Stage, ms};
use super::writers::{Habit, Kind, PATIENCE};
use super::{Halt, Layout, Scenario, Step};

pub(super) const SCENARIOS: &[Scenario] = &[
    scenario(
        "init-query",
        "The first configurations: all groups share, then one owns all.",
        "TestInitQuery 5A",
        (5, FEW, &[]),
        init_query,
    ),
    scenario(
        "static-one-group",
        "One group of three owns all shards; without its leader every key is read.",
        "TestStaticOneShardGroup 5A",
        (6, FEW, &[]),
        static_one_group,
    ),
    scenario(
        "join-basic",
        "A join is one configuration; with either group down exactly the other's keys are read.",
        "TestJoinBasic 5A",
        (15, FEW, &[]),
        join_basic,
    ),
    scenario(
        "delete-basic",
        "Sixty keys of a thousand bytes, half of them moved: both groups together hold hardly more than the one did.",
        "TestDeleteBasic 5A",
        (12, FEW, SHORTEST),
        delete_basic,
    ),
    scenario(
        "join-leave-basic",
        "A group leaves, is shut down, is started and joins again.",
        "TestJoinLeaveBasic 5A",
        (15, FEW, &[]),
        join_leave_basic,
    ),
    scenario(
        "many-join-leave-reliable",
        "Eight groups join one by one and leave one by one.",
        "TestManyJoinLeaveReliable 5A",
        (20, MANY, &[]),
        |stage| many_join_leave(stage, false),
    ),
    scenario(
        "many-join-leave-unreliable",
        "The same over an unreliable network.",
        "TestManyJoinLeaveUnreliable 5A",
        (40, MANY, &[]),
        |stage| many_join_leave(stage, true),
    ),
    scenario(
        "groups-shutdown",
        "Three groups that have just shared the shards out are killed and started.",
        "TestShutdown 5A",
        (8, FEW, &[]),
        shutdown,
    ),
    scenario(
        "progress-shutdown",
        "Two of four groups are shut down: the keys of the others are read in 2 s, all of them.",
        "TestProgressShutdown 5A",
        (8, FEW, &[]),
        progress_shutdown,
    ),
    scenario(
        "progress-join",
        "A group joins and leaves without end: a hundred gets in 4 s, of keys that do not move in groups that take part.",
        "TestProgressJoin 5A",
        (12, FEW, &[]),
        progress_join,
    ),
    scenario(
        "one-concurrent-clerk-reliable",
        "A client puts and gets while eight groups join and leave.",
        "TestOneConcurrentClerkReliable 5A",
        (20, MANY, &[]),
        |stage| concurrent_clerks(stage, 1, false),
    ),
    scenario(
        "many-concurrent-clerks-reliable",
        "Ten clients put and get while eight groups join and leave.",
        "TestManyConcurrentClerkReliable 5A",
        (20, MANY, &[]),
        |stage| concurrent_clerks(stage, 10, false),
    ),
    scenario(
        "one-concurrent-clerk-unreliable",
        "A client puts and gets over an unreliable network while eight groups join and leave.",
        "TestOneConcurrentClerkUnreliable 5A",
        (25, MANY, &[]),
        |stage| concurrent_clerks(stage, 1, true),
    ),
    scenario(
        "many-concurrent-clerks-unreliable",
        "Ten clients put and get over an unreliable network while eight groups join and leave.",
        "TestManyConcurrentClerkUnreliable 5A",
        (25, MANY, &[]),
        |stage| concurrent_clerks(stage, 10, true),
    ),
    scenario(
        "join-leave-blocked",
        "A join, and then a leave, does not end while the group that must give is down, and ends in 2 s when it is back.",
        "TestJoinLeave5B 5B",
        (15, FEW, &[]),
        join_leave_blocked,
    ),
];

const fn scenario(
    name: &'static str,
    what: &'static str,
    source: &'static str,
    (seconds, layout, node_args): (u32, Layout, &'static [&'static str]),
    script: fn(&mut Stage<'_>) -> Step,
) -> Scenario {
    Scenario { name, what, source, seconds, nodes: NODES, node_args, layout, script }
}

/// The suite's twelve shards.
pub(super) const FEW: Layout = Layout { groups: 4, replicas: Some(3), shards: 12 };
/// Eight groups that join and leave, the one that stays, and the one that leaves first. They lie around the nodes twice and more.
const MANY: Layout = Layout { groups: 10, replicas: Some(3), shards: 12 };
/// A group that shares nodes with the one that stays, so that both are down at once.
const SAME_NODES_AS_A: u32 = A + 4;
const AGAIN_SAME_NODES_AS_A: u32 = A + 8;
/// What a group holds is its snapshot: of eight entries the last four are kept.
const SHORTEST: &[&str] = &["--snapshot-entries", "8", "--snapshot-bytes", "1"];
/// 60 keys, as in the suite.
const KEYS_PER_SHARD: usize = 5;

/// The suite's sixty keys, each with a word.
pub(super) fn sixty_keys(stage: &mut Stage<'_>, filling: usize) -> Step<Book> {
    let mut book = Book::default();
    let keys = stage.keys_of_each_shard(KEYS_PER_SHARD);
    stage.append_to(&mut book, &keys, filling)?;
    Ok(book)
}

/// suite: the first configuration has one group. Here it has all that the cluster was created with.
fn init_query(stage: &mut Stage<'_>) -> Step {
    stage.all_lead()?;
    let first = stage.desk()?.at(1)?;
    let all: BTreeSet<GroupId> = (1..=stage.layout.groups).map(GroupId).collect();
    let groups: BTreeSet<GroupId> = first.groups.keys().copied().collect();
    if first.cause != Why::Created || groups != all || !is_even(&first) || !first.moves.is_empty() {
        return Halt::is_unsafe(format!("the first configuration is {first:?}"));
    }
    stage.only(&[A])?;
    let now = stage.desk()?.newest()?;
    match (owned(&now, A), now.groups.len()) {
        (12, 1) => Ok(()),
        found => Halt::is_unsafe(format!("one group is to own 12 shards: {found:?}: {now:?}")),
    }
}

fn static_one_group(stage: &mut Stage<'_>) -> Step {
    stage.only(&[A])?;
    let book = sixty_keys(stage, 8)?;
    stage.check_all(&book)?;
    let leader = stage.leader_of(A)?;
    stage.crash(leader)?;
    stage.check_all(&book)?;
    stage.restart(leader)
}

/// One join: a number of its own, a member, and after it everything there.
fn joined(stage: &mut Stage<'_>, group: u32, book: &Book) -> Step {
    let before = stage.desk()?.newest()?;
    let number = stage.join(&[group])?;
    let made = stage.desk()?.at(number)?;
    if number != before.number + 1 || !made.groups.contains_key(&GroupId(group)) {
        return Halt::is_unsafe(format!("g{group} joined after configuration {}: {made:?}", before.number));
    }
    let now = stage.settle(MOVES_TIME_MAX)?;
    if !is_even(&now) {
        return Halt::is_unsafe(format!("shares are not even after a join: {now:?}"));
    }
    stage.check_all(book)
}

/// With one group down exactly the keys of the others are read; then it is back.
fn only_the_others_serve(stage: &mut Stage<'_>, book: &Book, down: u32, others: &[u32]) -> Step {
    stage.shut(&[down])?;
    stage.answered_only_by(book, others)?;
    stage.start(&[down])?;
    stage.check_all(book)
}

fn join_basic(stage: &mut Stage<'_>) -> Step {
    stage.only(&[A])?;
    let book = sixty_keys(stage, 8)?;
    joined(stage, B, &book)?;
    only_the_others_serve(stage, &book, A, &[B])?;
    only_the_others_serve(stage, &book, B, &[A])
}

/// suite: two snapshots may hold so many bytes more than one.
const MORE_BYTES_MAX: f64 = 10_000.0;

fn delete_basic(stage: &mut Stage<'_>) -> Step {
    stage.only(&[A])?;
    let book = sixty_keys(stage, 990)?;
    stage.write_until_snapshots()?;
    let before = held_by(stage, &[A], 60.0 * 1_000.0)?;
    stage.join(&[B])?;
    stage.settle(MOVES_TIME_MAX)?;
    for _ in 0..5 {
        stage.check_all(&book)?;
    }
    stage.write_until_snapshots()?;
    let after = held_by(stage, &[A, B], before + MORE_BYTES_MAX)?;
    stage.at_most("more bytes in two groups than in one", after - before, MORE_BYTES_MAX, "bytes");
    Ok(())
}

/// Snapshots of these groups, the largest of each, as soon as they are no more than this.
fn held_by(stage: &mut Stage<'_>, groups: &[u32], expected: f64) -> Step<f64> {
    let since = Instant::now();
    loop {
        let views = stage.watch.look();
        let of_group = |group: &u32| {
            let members = views.values().flat_map(|view| view.data().filter(|of| of.group == *group));
            members.map(|of| of.snapshot_bytes).max().unwrap_or(0)
        };
        let held = groups.iter().map(of_group).sum::<u64>() as f64;
        let enough = held <= expected + MORE_BYTES_MAX && held >= 60.0 * 990.0;
        if (enough && since.elapsed() > 2 * ELECTION) || since.elapsed() > 4 * ELECTION {
            return Ok(held);
        }
        stage.pause(Duration::from_millis(100))?;
    }
}

fn join_leave_basic(stage: &mut Stage<'_>) -> Step {
    stage.only(&[A])?;
    let book = sixty_keys(stage, 8)?;
    joined(stage, B, &book)?;
    only_the_others_serve(stage, &book, A, &[B])?;
    stage.leave(&[A])?;
    stage.settle(MOVES_TIME_MAX)?;
    stage.shut(&[A])?;
    stage.check_all(&book)?;
    stage.start(&[A])?;
    stage.all_lead()?;
    joined(stage, A, &book)?;
    only_the_others_serve(stage, &book, B, &[A])
}

fn the_many() -> std::ops::RangeInclusive<u32> {
    B..=MANY.groups
}

fn many_join_leave(stage: &mut Stage<'_>, unreliable: bool) -> Step {
    const BETWEEN: Duration = Duration::from_millis(200);
    stage.only(&[A])?;
    stage.unreliable_for_all(unreliable)?;
    let book = sixty_keys(stage, 8)?;
    for group in the_many() {
        stage.join(&[group])?;
        stage.pause(BETWEEN)?;
    }
    let now = stage.settle(2 * MOVES_TIME_MAX)?;
    if !is_even(&now) {
        return Halt::is_unsafe(format!("shares are not even: {now:?}"));
    }
    stage.check_all(&book)?;
    stage.unreliable_for_all(false)?;
    let shut = [A, SAME_NODES_AS_A, AGAIN_SAME_NODES_AS_A];
    let others: Vec<u32> = (A..=MANY.groups).filter(|group| !shut.contains(group)).collect();
    only_the_others_serve(stage, &book, A, &others)?;
    stage.unreliable_for_all(unreliable)?;
    for group in the_many() {
        stage.leave(&[group])?;
        stage.pause(BETWEEN)?;
    }
    stage.settle(2 * MOVES_TIME_MAX)?;
    stage.check_all(&book)
}

fn shutdown(stage: &mut Stage<'_>) -> Step {
    stage.only(&[A])?;
    let book = sixty_keys(stage, 8)?;
    stage.join(&[B])?;
    stage.join(&[C])?;
    stage.settle(MOVES_TIME_MAX)?;
    stage.shut(&[A, B, C])?;
    stage.start(&[A, B, C])?;
    stage.check_all(&book)
}

/// suite: five groups, of which two are shut down; here four, the controller's nodes among the living.
fn progress_shutdown(stage: &mut Stage<'_>) -> Step {
    stage.only(&[A])?;
    let book = sixty_keys(stage, 8)?;
    stage.join(&[1, B, C])?;
    stage.settle(MOVES_TIME_MAX)?;
    let now = stage.desk()?.newest()?;
    let lives =
        |key: &&String| now.owner(stage.shard_of(key)).is_some_and(|owner| [1, A].contains(&owner.group.0));
    let living: Vec<String> = book.0.keys().filter(lives).cloned().collect();
    stage.shut(&[B, C])?;
    let since = Instant::now();
    stage.check_keys(&book, &living)?;
    stage.at_least("keys of living groups", living.len() as f64, 1.0, "");
    stage.at_most("all of them read", ms(since.elapsed()), 2_000.0, "ms");
    stage.start(&[B, C])?;
    stage.check_all(&book)
}

/// suite: which keys move is computed before. Here it is looked up afterwards: those of which the epoch has not changed.
fn progress_join(stage: &mut Stage<'_>) -> Step {
    const TIME: Duration = Duration::from_secs(4);
    stage.only(&[A, B, 1])?;
    let book = sixty_keys(stage, 8)?;
    let before = stage.desk()?.newest()?;
    let mut desk = stage.kit.desk()?;
    let over = crate::latch::Latch::new();
    let mut answered: Vec<(String, Duration)> = Vec::new();
    let changes = std::thread::scope(|scope| -> Step<u32> {
        let thread = scope.spawn(|| -> Step<u32> {
            let mut changes = 0;
            while !over.is_set() {
                desk.join(&[C])?;
                desk.wait(MOVES_TIME_MAX, super::desk::is_settled)?.ok();
                desk.leave(&[C])?;
                desk.wait(MOVES_TIME_MAX, super::desk::is_settled)?.ok();
                changes += 2;
            }
            Ok(changes)
        });
        let until = Instant::now() + TIME;
        let read = book.0.keys().cycle().take_while(|_| Instant::now() < until).try_for_each(|key| {
            let since = Instant::now();
            stage.check_keys(&book, std::slice::from_ref(key))?;
            answered.push((key.clone(), since.elapsed()));
            Ok(())
        });
        over.set();
        let changes = thread.join().unwrap_or(Err(Halt::Stopped))?;
        read.map(|()| changes)
    })?;
    stage.at_least("joins and leaves meanwhile", f64::from(changes), 2.0, "");
    let after = stage.desk()?.newest()?;
    let stayed = |(key, _): &&(String, Duration)| {
        let shard = stage.shard_of(key);
        before.owner(shard) == after.owner(shard)
    };
    let stayed: Vec<Duration> = answered.iter().filter(stayed).map(|(_, took)| *took).collect();
    stage.at_least("gets of keys that did not move, in 4 s", stayed.len() as f64, 100.0, "");
    let longest = stayed.iter().max().copied().unwrap_or_default();
    stage.note("longest of them", ms(longest), "ms");
    Ok(())
}

/// suite: 20 s with a pause in between; here eight groups join and leave once, each while the moves of the one before may be open.
fn concurrent_clerks(stage: &mut Stage<'_>, clients: usize, unreliable: bool) -> Step {
    stage.only(&[A])?;
    stage.unreliable_for_all(unreliable)?;
    let keys = stage.keys_of_each_shard(KEYS_PER_SHARD);
    let pause = Duration::from_millis(2);
    let habit = Habit { clients, pause, keys, kind: Kind::PutAndGet, patience: PATIENCE };
    stage.beside(&habit, |stage| {
        for group in the_many() {
            stage.join(&[group])?;
            stage.pause_up_to(900)?;
        }
        for group in the_many() {
            stage.leave(&[group])?;
            stage.pause_up_to(900)?;
        }
        stage.settle(2 * MOVES_TIME_MAX).map(|_| ())
    })?;
    Ok(())
}

/// suite: its join is looked at after 2 ns instead of 2 s. Here both are watched for as long as it says.
fn join_leave_blocked(stage: &mut Stage<'_>) -> Step {
    const BLOCKED: Duration = Duration::from_secs(2);
    const ENDS_IN: Duration = Duration::from_secs(2);
    stage.only(&[A])?;
    let book = sixty_keys(stage, 8)?;
    stage.shut(&[A])?;
    let number = stage.join(&[B])?;
    stage.stays_unsettled(BLOCKED)?;
    stage.start(&[A])?;
    let now = stage.settles("a join ends when the group that gives is back", ENDS_IN)?;
    if now.number <= number {
        return Halt::is_unsafe("a join without any move has moved shards");
    }
    stage.check_all(&book)?;
    stage.shut(&[B])?;
    stage.leave(&[A])?;
    stage.stays_unsettled(BLOCKED)?;
    stage.start(&[B])?;
    stage.settles("a leave ends when the group that takes is back", ENDS_IN)?;
    stage.check_all(&book)
}
