//! What each call means, on a healthy disk, a full one and one that fails.

use ordeal_wal::media::{Fault, Memory};
use ordeal_wal::{Batch, GroupState, Options, Recovered, Wal, WalError};

use crate::common::{content, open, options, shorter};
use crate::script::{Script, batch, observe};

/// Commits what `fill` puts into a batch.
pub fn commit(wal: &mut Wal, fill: impl FnOnce(&mut Batch)) {
    let mut batch = Batch::new();
    fill(&mut batch);
    wal.commit(&mut batch).expect("a healthy disk");
}

/// Index, term and content of the entries of a group.
pub fn entries(wal: &Wal, group: u64) -> Vec<(u64, u64, String)> {
    let mut entries = Vec::new();
    let read = wal.read(group, 0, |index, term, content| {
        entries.push((index, term, String::from_utf8_lossy(content).into_owned()));
        Ok::<(), WalError>(())
    });
    read.expect("they can be read");
    entries
}

/// Bytes of an entry whose frame is one block.
const LONG: usize = shorter(3_000, 30);

fn entry(index: u64, term: u64, content: &str) -> (u64, u64, String) {
    (index, term, content.to_owned())
}

fn reopen(disk: &Memory, wal: Wal) -> (Wal, Recovered) {
    drop(wal);
    open(disk).expect("a healthy disk")
}

fn state(term: u64, vote: u64, first: u64, next: u64) -> GroupState {
    GroupState { term, vote, snapshot: None, first, next, faulty: Vec::new(), amnesia: None }
}

#[test]
fn what_was_committed_comes_back_in_the_next_life() {
    let disk = Memory::new();
    let (mut wal, recovered) = open(&disk).unwrap();
    assert_eq!(recovered, Recovered::default());
    commit(&mut wal, |batch| {
        batch.hard_state(7, 1, 3);
        batch.entry(7, 1, 1, &[b"one ", b"in parts"]);
        batch.entry(7, 2, 1, &[]);
        batch.entry(8, 1, 5, &[b"of another group"]);
        batch.entry(7, 3, 1, &[b"three"]);
    });
    let expected = [entry(1, 1, "one in parts"), entry(2, 1, ""), entry(3, 1, "three")];
    assert_eq!(entries(&wal, 7), expected);
    let (wal, recovered) = reopen(&disk, wal);
    assert_eq!(recovered.groups[&7], state(1, 3, 1, 4));
    assert_eq!(recovered.groups[&8], state(0, 0, 1, 2));
    assert!(recovered.report.is_clean());
    assert_eq!(recovered.report.torn, None);
    assert_eq!(entries(&wal, 7), expected);
    assert_eq!(entries(&wal, 8), [entry(1, 5, "of another group")]);
    assert_eq!(entries(&wal, 9), []);
}

#[test]
fn an_entry_takes_the_place_of_those_from_its_index_on() {
    let disk = Memory::new();
    let (mut wal, _) = open(&disk).unwrap();
    commit(&mut wal, |batch| (1..6).for_each(|index| batch.entry(1, index, 1, &[b"old"])));
    commit(&mut wal, |batch| batch.entry(1, 3, 2, &[b"new"]));
    commit(&mut wal, |batch| batch.truncate(1, 9));
    let expected = [entry(1, 1, "old"), entry(2, 1, "old"), entry(3, 2, "new")];
    assert_eq!(entries(&wal, 1), expected);
    let (mut wal, _) = reopen(&disk, wal);
    assert_eq!(entries(&wal, 1), expected);
    commit(&mut wal, |batch| {
        batch.truncate(1, 2);
        batch.entry(1, 2, 3, &[b"newer"]);
    });
    let (wal, recovered) = reopen(&disk, wal);
    assert_eq!(entries(&wal, 1), [entry(1, 1, "old"), entry(2, 3, "newer")]);
    assert_eq!(recovered.groups[&1].next, 3);
}

#[test]
fn an_installed_snapshot_ends_a_log_that_does_not_hold_its_last_entry_and_leaves_one_that_does() {
    for (index, term, left) in [(2, 1, vec![1, 2, 3]), (2, 2, vec![]), (9, 1, vec![]), (3, 1, vec![1, 2, 3])]
    {
        let disk = Memory::new();
        let (mut wal, _) = open(&disk).unwrap();
        commit(&mut wal, |batch| (1..4).for_each(|index| batch.entry(1, index, 1, &[b"x"])));
        commit(&mut wal, |batch| batch.install(1, index, term));
        for _ in 0..2 {
            let indices: Vec<u64> = entries(&wal, 1).iter().map(|entry| entry.0).collect();
            assert_eq!(indices, left, "installed {index}@{term}");
            let group = wal.group(1).unwrap();
            assert_eq!(group.snapshot, Some((index, term)));
            assert_eq!(group.first, if left.is_empty() { index + 1 } else { 1 });
            wal = reopen(&disk, wal).0;
        }
        // The log goes on behind it.
        let next = wal.group(1).unwrap().next;
        commit(&mut wal, |batch| batch.entry(1, next, 3, &[b"behind"]));
        assert_eq!(entries(&reopen(&disk, wal).0, 1).last(), Some(&entry(next, 3, "behind")));
    }
}

#[test]
fn a_destroyed_group_is_forgotten_and_may_begin_anew() {
    let disk = Memory::new();
    let (mut wal, _) = open(&disk).unwrap();
    commit(&mut wal, |batch| {
        batch.hard_state(1, 5, 2);
        batch.entry(1, 1, 5, &[b"x"]);
    });
    commit(&mut wal, |batch| batch.destroy(1));
    let (mut wal, recovered) = reopen(&disk, wal);
    assert!(recovered.groups.is_empty());
    commit(&mut wal, |batch| batch.hard_state(1, 1, 1));
    assert_eq!(reopen(&disk, wal).1.groups[&1], state(1, 1, 1, 1));
}

#[test]
fn random_lives_are_what_the_model_says_after_each_commit_and_each_restart() {
    for seed in 0..shorter(12, 1) as u64 {
        let script =
            Script::draw(&mut crate::common::Chance::new(seed), shorter(60, 5), shorter(1_000, 60) as u64);
        let disk = Memory::new();
        let (mut wal, mut recovered) = open(&disk).unwrap();
        for (number, steps) in script.commits.iter().enumerate() {
            assert_eq!(observe(&wal, &recovered), script.models[number], "seed {seed} before {number}");
            wal.commit(&mut batch(steps)).unwrap();
            wal.reclaim().unwrap();
            if number % 3 == 0 {
                wal.mark().unwrap();
            }
            (wal, recovered) = reopen(&disk, wal);
            assert!(recovered.report.is_clean(), "seed {seed} after {number}: {:?}", recovered.report);
        }
        // And the same in one life.
        let disk = Memory::new();
        let (mut wal, _) = open(&disk).unwrap();
        for steps in &script.commits {
            wal.commit(&mut batch(steps)).unwrap();
        }
        let (wal, recovered) = reopen(&disk, wal);
        assert_eq!(&observe(&wal, &recovered), script.models.last().unwrap(), "seed {seed}");
    }
}

#[test]
fn a_thousand_groups_share_a_frame_and_a_table() {
    let groups = shorter(1_000, 8);
    let disk = Memory::new();
    let (mut wal, _) = open(&disk).unwrap();
    for turn in 1..=4 {
        commit(&mut wal, |batch| {
            for group in 0..groups as u64 {
                batch.hard_state(group, turn, group % 5);
                batch.entry(group, turn, turn, &[&content(group, turn, turn, 10)]);
            }
        });
    }
    let (wal, recovered) = reopen(&disk, wal);
    assert!(recovered.report.segments > 1 || cfg!(miri));
    assert_eq!(recovered.groups.len(), groups);
    assert!(recovered.groups.values().all(|group| (group.term, group.next) == (4, 5)));
    assert_eq!(entries(&wal, groups as u64 - 1).len(), 4);
}

#[test]
fn the_log_stays_short_while_one_group_is_quiet_and_another_compacts_for_ever() {
    let disk = Memory::new();
    let (mut wal, _) = open(&disk).unwrap();
    commit(&mut wal, |batch| (1..=20).for_each(|index| batch.entry(1, index, 1, &[b"quiet"])));
    let (mut longest, last) = (0, shorter(2_000, 40) as u64);
    for index in 1..last {
        commit(&mut wal, |batch| {
            batch.entry(2, index, 1, &[&content(2, index, 1, shorter(400, 40))]);
            batch.compact(2, index.saturating_sub(5).max(1));
        });
        wal.reclaim().unwrap();
        longest = longest.max(wal.disk_bytes());
    }
    // Twice the 3 KiB that are needed, the slack, and two segments: the one that was begun, and one that is freed whole.
    let bound = (8 << 10) + options().slack_bytes + 2 * options().segment_bytes_max;
    assert!(longest <= bound, "{longest} bytes, the bound is {bound}");
    let (wal, recovered) = reopen(&disk, wal);
    assert_eq!(entries(&wal, 1).len(), 20);
    assert_eq!(recovered.groups[&2].first, last - 6);
}

/// Appends entries of group 1 until one is refused: its index, and why.
fn fill(wal: &mut Wal) -> (u64, WalError) {
    let mut index = 1;
    loop {
        let mut batch = Batch::new();
        batch.entry(1, index, 1, &[&[7; LONG]]);
        match wal.commit(&mut batch) {
            Ok(()) => index += 1,
            Err(error) => return (index, error),
        }
    }
}

#[test]
fn without_space_entries_are_refused_and_votes_are_not_and_with_space_it_goes_on() {
    let disk = Memory::new();
    let length = 256 << 10;
    let small = Options {
        segment_bytes_first: length,
        segment_bytes_max: length,
        total_bytes_max: 2 * length + 1,
        ..options()
    };
    let (mut wal, _) = Wal::open_on(std::sync::Arc::new(disk.clone()), small).unwrap();
    let (index, error) = fill(&mut wal);
    assert!(matches!(error, WalError::NoSpace { limit: Some(_), .. }), "{error}");
    assert!(error.to_string().contains("hint: "), "{error}");
    commit(&mut wal, |batch| batch.hard_state(1, 2, 3));
    commit(&mut wal, |batch| batch.compact(1, index));
    assert_eq!((entries(&wal, 1).len(), wal.first(1)), (0, index));
    // The next frame tells it, and the space is there again.
    commit(&mut wal, |batch| batch.entry(1, index, 2, &[&[7; LONG]]));
    let (_, recovered) = reopen(&disk, wal);
    assert_eq!(recovered.groups[&1], state(2, 3, index, index + 1));
}

#[test]
fn a_full_disk_is_no_space_and_not_the_end() {
    let disk = Memory::new();
    let (mut wal, _) = open(&disk).unwrap();
    disk.limit(32 << 10);
    let (index, error) = fill(&mut wal);
    assert!(matches!(error, WalError::NoSpace { limit: None, .. }), "{error}");
    disk.limit(1 << 30);
    commit(&mut wal, |batch| batch.entry(1, index, 1, &[&[7; LONG]]));
    assert_eq!(reopen(&disk, wal).1.groups[&1].next, index + 1);
}

#[test]
fn after_any_failed_operation_nothing_is_retried_and_what_was_acknowledged_is_there() {
    let script = Script::draw(&mut crate::common::Chance::new(5), shorter(24, 5), shorter(2_000, 60) as u64);
    let mut failed = 0;
    for at in (0..1_000).step_by(shorter(1, 4)) {
        let disk = Memory::new();
        let Ok((mut wal, _)) = open(&disk) else { panic!("an empty disk") };
        disk.plan(Fault::Fail(disk.operations() + at));
        let outcome = script.commits.iter().position(|steps| wal.commit(&mut batch(steps)).is_err());
        let Some(acknowledged) = outcome else { break };
        failed += 1;
        let operations = disk.operations();
        for steps in &script.commits[acknowledged..] {
            let error = wal.commit(&mut batch(steps)).unwrap_err();
            assert!(matches!(error, WalError::Poisoned { .. }), "operation {at}: {error}");
        }
        assert!(matches!(wal.mark(), Err(WalError::Poisoned { .. })));
        assert!(matches!(wal.reclaim(), Err(WalError::Poisoned { .. })));
        assert_eq!(disk.operations(), operations, "operation {at}: nothing is retried");
        drop(wal);
        // The power fails: nothing that was not synced stays.
        let after = disk.lose_power(ordeal_wal::media::Tear::Sector, &mut |_| false);
        let (wal, recovered) = open(&after).unwrap();
        assert!(recovered.report.is_clean(), "operation {at}: {:?}", recovered.report);
        let found = observe(&wal, &recovered);
        // Durable it may be: what failed may have come after its sync.
        let either = &script.models[acknowledged..=acknowledged + 1];
        assert!(either.contains(&found), "operation {at}");
    }
    assert!(failed > shorter(70, 1), "{failed}");
}

// Under Miri 256 MiB would take days.
#[cfg(not(miri))]
#[test]
fn a_batch_that_no_segment_can_hold_is_refused_and_changes_nothing() {
    let disk = Memory::new();
    let (mut wal, _) = open(&disk).unwrap();
    commit(&mut wal, |batch| batch.entry(1, 1, 1, &[b"one"]));
    let mut huge = Batch::new();
    huge.entry(1, 2, 1, &[&vec![0; ordeal_wal::FRAME_BYTES_MAX]]);
    assert!(matches!(wal.commit(&mut huge), Err(WalError::TooLarge { .. })));
    // One that is longer than a usual segment gets a longer one.
    commit(&mut wal, |batch| batch.entry(1, 2, 1, &[&content(1, 2, 1, 1 << 20)]));
    let (wal, _) = reopen(&disk, wal);
    assert_eq!(wal.group(1).unwrap().next, 3);
}

#[test]
#[should_panic(expected = "entry 3 of group 1 stands in no place of its log, 1..1")]
fn entries_that_leave_a_gap_are_a_mistake_of_the_callers() {
    let (mut wal, _) = open(&Memory::new()).unwrap();
    commit(&mut wal, |batch| batch.entry(1, 3, 1, &[b"x"]));
}
