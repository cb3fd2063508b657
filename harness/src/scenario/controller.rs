//! The tests of the suite's shard controller: TestBasic and TestMulti of `shardctrler`. Five nodes vote, ten shards, and groups
//! enough: they lie around the nodes, and hold next to nothing.
//!
//! suite: its groups are names. Here a configuration has new owners only when the shards are there, so every change is settled before
//! it is looked at; its "minimal transfers" compare nothing (its loop is over numbers that no group has), here every move is counted.

use std::collections::BTreeSet;

use ordeal_client::wire::{Cause as Why, Configuration, GroupId, Owner, ShardId};

use super::desk::{Desk, is_even, owned};
use super::groups::MOVES_TIME_MAX;
use super::stage::Stage;
use super::{Halt, Layout, Scenario, Step};

pub(super) const SCENARIOS: &[Scenario] = &[
    scenario(
        "controller-basic",
        "Groups join and leave one by one, shards are moved by hand; old configurations stay what they were, whoever is down.",
        "TestBasic shardctrler",
        25,
        basic,
    ),
    scenario(
        "controller-multi",
        "Several groups join and leave at once, each time in one configuration; the next leader says the same.",
        "TestMulti shardctrler",
        15,
        multi,
    ),
];

const fn scenario(
    name: &'static str,
    what: &'static str,
    source: &'static str,
    seconds: u32,
    script: fn(&mut Stage<'_>) -> Step,
) -> Scenario {
    let layout = Layout { groups: 12, replicas: Some(3), shards: 10 };
    Scenario { name, what, source, seconds, nodes: 5, node_args: &[], layout, script }
}

/// The group that stays all the time, so that there is one.
const STAYS: u32 = 12;
/// As many as there are shards, one of them staying.
const OTHERS: [u32; 9] = [1, 2, 3, 4, 5, 6, 7, 8, 9];

/// Exactly these groups own shards, evenly, and the nodes that each was created with are its members.
fn shared_by(stage: &mut Stage<'_>, groups: &[u32]) -> Step<Configuration> {
    let now = stage.settle(MOVES_TIME_MAX)?;
    let expected: BTreeSet<GroupId> = groups.iter().copied().map(GroupId).collect();
    let found: BTreeSet<GroupId> = now.groups.keys().copied().collect();
    if found != expected || !is_even(&now) || now.owners.iter().any(|owner| !expected.contains(&owner.group))
    {
        return Halt::is_unsafe(format!("expected {expected:?} with even shares: {now:?}"));
    }
    for (group, info) in &now.groups {
        let mut nodes = stage.nodes_of(group.0);
        nodes.sort_unstable();
        let as_given = |node| stage.kit.members.get(node) == info.members.get(node);
        if !info.members.keys().eq(nodes.iter()) || !nodes.iter().all(as_given) {
            return Halt::is_unsafe(format!("{group} is of {nodes:?}, and {:?} is told", info.members));
        }
    }
    Ok(now)
}

/// No more moves than it needs: who joins gets the small share, or what the others have too many of; who leaves gives what it has; and
/// nobody else gives or takes but what follows from that.
fn minimal(before: &Configuration, after: &Configuration) -> Step {
    let (shards, groups) = (before.owners.len(), after.groups.len());
    let (small, large) = (shards / groups, shards.div_ceil(groups));
    let moved = before.owners.iter().zip(&after.owners).filter(|(old, new)| old.group != new.group).count();
    let joins = after.groups.keys().filter(|group| !before.groups.contains_key(group)).count();
    let (mut too_many, mut of_leaving) = (0, 0);
    for group in before.groups.keys() {
        let (had, has) = (owned(before, group.0), owned(after, group.0));
        let stays = after.groups.contains_key(group);
        too_many += had.saturating_sub(large);
        of_leaving += if stays { 0 } else { had };
        if stays && ((joins > 0 && has > had) || (joins == 0 && has < had)) {
            return Halt::is_unsafe(format!(
                "{group} had {had} shards and has {has} after others came or went"
            ));
        }
    }
    let needed = if joins > 0 { too_many.max(joins * small) } else { of_leaving };
    if moved != needed {
        return Halt::is_unsafe(format!(
            "from configuration {} to {} {moved} shards moved, {needed} had to",
            before.number, after.number
        ));
    }
    Ok(())
}

fn basic(stage: &mut Stage<'_>) -> Step {
    stage.only(&[STAYS])?;
    let mut known = vec![shared_by(stage, &[STAYS])?];
    stage.join(&[1])?;
    known.push(shared_by(stage, &[1, STAYS])?);
    stage.join(&[2])?;
    known.push(shared_by(stage, &[1, 2, STAYS])?);
    stage.leave(&[1])?;
    known.push(shared_by(stage, &[2, STAYS])?);
    stage.leave(&[2])?;
    known.push(shared_by(stage, &[STAYS])?);
    historical(stage, &known)?;
    moved_by_hand(stage)?;
    concurrent(stage)?;
    let mut there = vec![STAYS, 1, 2, 3, 4];
    for group in [5, 6, 7, 8, 9] {
        let before = stage.settle(MOVES_TIME_MAX)?;
        stage.join(&[group])?;
        there.push(group);
        minimal(&before, &shared_by(stage, &there)?)?;
    }
    for group in [5, 6, 7, 8, 9] {
        let before = stage.settle(MOVES_TIME_MAX)?;
        stage.leave(&[group])?;
        there.retain(|other| *other != group);
        minimal(&before, &shared_by(stage, &there)?)?;
    }
    Ok(())
}

/// Whoever is down, the others know all of it.
fn historical(stage: &mut Stage<'_>, known: &[Configuration]) -> Step {
    for node in stage.nodes() {
        stage.crash(node)?;
        for configuration in known {
            // That it is the same is looked at wherever a configuration is told.
            let told = stage.desk()?.at(configuration.number)?;
            if told != *configuration {
                return Halt::is_unsafe(format!("was {configuration:?}, is {told:?}"));
            }
        }
        stage.restart(node)?;
    }
    stage.all_lead()
}

/// Each move changes one owner, and no later one undoes it.
fn moved_by_hand(stage: &mut Stage<'_>) -> Step {
    stage.join(&[3])?;
    stage.join(&[4])?;
    shared_by(stage, &[3, 4, STAYS])?;
    let wanted = |shard: u32| if shard < 5 { 3 } else { 4 };
    for shard in (0..10).map(ShardId) {
        let before = stage.desk()?.newest()?;
        let number = stage.give(shard, wanted(shard.0))?;
        if number <= before.number {
            return Halt::is_unsafe(format!("a move made configuration {number} after {}", before.number));
        }
        stage.is_of(shard, wanted(shard.0))?;
    }
    let now = stage.settle(MOVES_TIME_MAX)?;
    let right = |(shard, owner): (ShardId, Owner)| owner.group == GroupId(wanted(shard.0));
    if !now.shards().all(right) {
        return Halt::is_unsafe(format!("shards are not where they were moved to: {now:?}"));
    }
    stage.leave(&[3])?;
    stage.leave(&[4])?;
    shared_by(stage, &[STAYS]).map(|_| ())
}

/// suite: ten clients at once let a group join, another one, and the second leave. Here four, as each needs groups of its own.
fn concurrent(stage: &mut Stage<'_>) -> Step {
    let mut desks = Vec::new();
    for number in 1..=4 {
        desks.push((number, stage.kit.desk()?));
    }
    let made: Vec<u64> = std::thread::scope(|scope| -> Step<Vec<u64>> {
        let one = |(number, mut desk): (u32, Desk)| -> Step<Vec<u64>> {
            let passing = number + 4;
            let numbers = [desk.join(&[passing])?, desk.join(&[number])?, desk.leave(&[passing])?];
            for changed in &numbers {
                let told = desk.at(changed.number)?;
                if !matches!(told.cause, Why::Asked { command, .. } if command == changed.id) {
                    return Halt::is_unsafe(format!("{:?} is to have made {told:?}", changed.id));
                }
            }
            Ok(numbers.iter().map(|changed| changed.number).collect())
        };
        let threads: Vec<_> = desks.into_iter().map(|desk| scope.spawn(move || one(desk))).collect();
        let numbers: Step<Vec<Vec<u64>>> =
            threads.into_iter().map(|thread| thread.join().unwrap_or(Err(Halt::Stopped))).collect();
        Ok(numbers?.into_iter().flatten().collect())
    })?;
    if made.iter().collect::<BTreeSet<_>>().len() != made.len() {
        return Halt::is_unsafe(format!("two changes have made one configuration: {made:?}"));
    }
    shared_by(stage, &[1, 2, 3, 4, STAYS]).map(|_| ())
}

fn multi(stage: &mut Stage<'_>) -> Step {
    stage.only(&[STAYS])?;
    let steps: [(&[u32], &[u32]); 4] = [(&[1, 2], &[]), (&[3], &[]), (&[], &[1, 3]), (&[], &[2])];
    let mut there = vec![STAYS];
    for (joining, leaving) in steps {
        one_step(stage, &mut there, joining, leaving)?;
    }
    one_step(stage, &mut there, &OTHERS, &[])?;
    one_step(stage, &mut there, &[], &OTHERS[..6])?;
    one_step(stage, &mut there, &OTHERS[..3], &[])?;
    the_next_leader_agrees(stage)
}

/// A change of several groups is one configuration, with as few moves as can be.
fn one_step(stage: &mut Stage<'_>, there: &mut Vec<u32>, joining: &[u32], leaving: &[u32]) -> Step {
    let before = stage.settle(MOVES_TIME_MAX)?;
    let number = if leaving.is_empty() { stage.join(joining)? } else { stage.leave(leaving)? };
    let made = stage.desk()?.at(number)?;
    if number != before.number + 1 || !matches!(made.cause, Why::Asked { .. }) {
        return Halt::is_unsafe(format!("one change after configuration {} made {made:?}", before.number));
    }
    there.extend(joining);
    there.retain(|group| !leaving.contains(group));
    minimal(&before, &shared_by(stage, there)?)
}

/// suite: waits for another leader in a loop that never looks whether there is one. Here it is waited for.
fn the_next_leader_agrees(stage: &mut Stage<'_>) -> Step {
    let before = stage.desk()?.history()?;
    let leader = stage.leader_of(0)?;
    stage.crash(leader)?;
    let next = stage.leader_of(0)?;
    let after = stage.desk()?.history()?;
    stage.restart(leader)?;
    if next == leader || after.get(..before.len()) != Some(&before[..]) {
        return Halt::is_unsafe(format!("{next} tells another history than {leader} did"));
    }
    Ok(())
}
