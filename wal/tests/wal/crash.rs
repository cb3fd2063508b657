//! The process dies and the power fails at any instant: before every single write, sync, creation, renaming and removal,
//! with any part of what was not durable there or not. All that was acknowledged is there, nothing else is, and nobody
//! cries wolf.

use ordeal_wal::media::{Crash, Fault, Memory, Tear};
use ordeal_wal::{Recovered, Wal};

#[cfg(not(miri))]
use crate::common::cases;
use crate::common::{Chance, open, shorter};
use crate::script::{Model, Script, batch, observe};

/// More unsynced sectors than this, and subsets are drawn instead of tried one by one: 2^6 a crash.
const EXHAUSTIVE_UNITS: usize = shorter(6, 1);

/// Plays a script until the disk refuses; says how many commits returned.
fn play(wal: &mut Wal, script: &Script, from: usize) -> usize {
    for (number, steps) in script.commits.iter().enumerate().skip(from) {
        if wal.commit(&mut batch(steps)).is_err() {
            return number;
        }
        // Some lives reclaim and mark, and some do not.
        if number % 3 == 0 && (wal.reclaim().is_err() || wal.mark().is_err()) {
            return number + 1;
        }
    }
    script.commits.len()
}

/// Plays a script on an empty disk that stops before this operation. None: it never came to that.
fn play_until(script: &Script, stop: u64) -> (Memory, usize) {
    let disk = Memory::new();
    disk.plan(Fault::Stop(stop));
    let acknowledged = open(&disk).map_or(0, |(mut wal, _)| play(&mut wal, script, 0));
    (disk, acknowledged)
}

/// Opens what a crash left, and compares it with what was acknowledged; the next commit may be there.
fn check(disk: &Memory, script: &Script, acknowledged: usize, what: &str) -> usize {
    let (wal, recovered) = open(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    judge(&wal, &recovered, script, acknowledged, what)
}

/// Compares what was found with what was acknowledged; says how many commits it holds.
fn judge(wal: &Wal, recovered: &Recovered, script: &Script, acknowledged: usize, what: &str) -> usize {
    assert!(recovered.report.is_clean(), "{what}: {:?}", recovered.report);
    let found = observe(wal, recovered);
    let expected = &script.models[acknowledged];
    if found == *expected {
        return acknowledged;
    }
    let next = script.models.get(acknowledged + 1).unwrap_or(expected);
    if found == *next {
        return acknowledged + 1;
    }
    assert_eq!(found, with_votes_of(expected, next), "{what}: neither before nor after the commit under way");
    acknowledged
}

/// The groups of `model`, with the terms and votes of `next`, which a torn frame may leave behind.
fn with_votes_of(model: &Model, next: &Model) -> Model {
    let mut mixed = model.clone();
    for (&group, state) in next {
        if state.term > mixed.get(&group).map_or(0, |state| state.term) {
            let ours = mixed.entry(group).or_default();
            (ours.term, ours.vote) = (state.term, state.vote);
        }
    }
    mixed
}

/// Every subset of what was not durable, or some if there are too many; returns how many.
fn each_crash(
    disk: &Memory,
    tear: Tear,
    chance: &mut Chance,
    samples: u64,
    mut check: impl FnMut(&Memory, &str),
) -> u64 {
    let mut units = 0;
    drop(disk.lose_power(tear, &mut |_: &Crash<'_>| {
        units += 1;
        true
    }));
    let all = units <= EXHAUSTIVE_UNITS;
    let count = if all { 1 << units } else { samples };
    for case in 0..count {
        // Nothing, everything, a prefix, or each by itself.
        let style = if all { 3 } else { case % 5 };
        let until = chance.below(units as u64 + 1);
        let mut seen = 0u64;
        let crashed = disk.lose_power(tear, &mut |_: &Crash<'_>| {
            seen += 1;
            match style {
                0 => false,
                1 => true,
                2 => seen <= until,
                _ if all => case >> (seen - 1) & 1 == 1,
                _ => chance.is_heads(),
            }
        });
        check(&crashed, &format!("{tear:?} case {case} of {count}"));
    }
    count
}

/// All crashes of a script, stopped before each of its operations. Returns how many cases there were.
fn all_crashes(script: &Script, chance: &mut Chance, samples: u64) -> u64 {
    let mut cases = 0;
    let whole = play_until(script, u64::MAX).0.operations();
    for stop in 0..=whole {
        let (disk, acknowledged) = play_until(script, stop);
        // The process dies and nothing else: what it wrote is seen.
        check(&disk.copy(), script, acknowledged, &format!("killed before {stop}"));
        for tear in [Tear::Sector, Tear::Block] {
            cases += each_crash(&disk, tear, chance, samples, |crashed, what| {
                check(crashed, script, acknowledged, &format!("stop {stop}, {what}"));
            });
        }
    }
    cases
}

#[test]
fn short_scripts_survive_every_crash_at_every_operation() {
    let mut chance = Chance::new(1);
    let mut played = 0;
    for commits in 1..=shorter(6, 1) {
        let script = Script::draw(&mut chance, commits, shorter(300, 30) as u64);
        played += all_crashes(&script, &mut chance, shorter(64, 2) as u64);
    }
    println!("{played} crashes of short scripts");
    assert!(played > shorter(1_000, 10) as u64, "{played}");
}

#[cfg(not(miri))]
#[test]
fn long_scripts_survive_crashes_at_every_operation() {
    let cases = cases(20_000);
    let mut played = 0;
    for seed in 0.. {
        let mut chance = Chance::new(1_000 + seed);
        let script = Script::draw(&mut chance, 40, 3_000);
        played += all_crashes(&script, &mut chance, 8);
        if played >= cases {
            break;
        }
    }
    println!("{played} crashes of long scripts");
}

/// Random subsets, now and then all or nothing.
#[cfg(not(miri))]
fn lose_some(disk: &Memory, chance: &mut Chance) -> Memory {
    let tear = if chance.is_heads() { Tear::Sector } else { Tear::Block };
    let style = chance.below(5);
    disk.lose_power(tear, &mut |_: &Crash<'_>| match style {
        0 => false,
        1 => true,
        _ => chance.is_heads(),
    })
}

#[cfg(not(miri))]
#[test]
fn a_crash_at_any_operation_of_a_recovery_leaves_what_it_found() {
    let mut chance = Chance::new(7);
    let mut played = 0;
    for seed in 0..6 {
        let script = Script::draw(&mut Chance::new(seed), 12, 2_000);
        let whole = play_until(&script, u64::MAX).0.operations();
        for stop in (0..=whole).step_by(5) {
            let (disk, acknowledged) = play_until(&script, stop);
            let crashed = if chance.is_heads() { lose_some(&disk, &mut chance) } else { disk.copy() };
            for at in 0.. {
                let again = crashed.copy();
                let first = again.operations();
                again.plan(Fault::Stop(first + at));
                let is_done = open(&again).is_ok();
                let left = lose_some(&again, &mut chance);
                check(
                    &left,
                    &script,
                    acknowledged,
                    &format!("seed {seed} stop {stop}, recovery stopped at {at}"),
                );
                played += 1;
                if is_done {
                    break;
                }
            }
        }
    }
    assert!(played > 500, "{played}");
}

#[cfg(not(miri))]
#[test]
fn lives_that_all_end_in_a_crash_follow_one_another() {
    let mut lives = 0;
    for seed in 0..cases(2_000) / 50 {
        let mut chance = Chance::new(50_000 + seed);
        let script = Script::draw(&mut chance, 60, 2_500);
        let mut disk = Memory::with_salts(seed);
        let mut acknowledged = 0;
        while acknowledged < script.commits.len() {
            lives += 1;
            disk.plan(Fault::Stop(disk.operations() + chance.below(90)));
            // What a life found is there for ever, once it was served; the next may find one commit more.
            if let Ok((mut wal, recovered)) = open(&disk) {
                let found =
                    judge(&wal, &recovered, &script, acknowledged, &format!("seed {seed}, life {lives}"));
                acknowledged = play(&mut wal, &script, found);
            }
            disk.repair();
            disk = if chance.below(3) == 0 { disk.copy() } else { lose_some(&disk, &mut chance) };
        }
        check(&disk, &script, acknowledged, &format!("seed {seed}, at the end"));
    }
    println!("{lives} lives");
    assert!(lives > 100, "{lives}");
}
