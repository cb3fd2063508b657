//! The decision table of a recovery, a test a row: what was found, and what it comes to. See the tops of `recovery.rs` and
//! `replay.rs`.

use ordeal_wal::media::{Crash, Fault, Memory, Tear};
use ordeal_wal::{Amnesia, EntrySeen, Faulty, Loss, Options, Recovered, Seen, Wal, WalError};

use crate::basic::{commit, entries};
use crate::common::{content, number_at, options, seal_frame, segment, shorter};

const BLOCK: usize = 4096;
/// Frames of a fresh log: two blocks of headers, and two of the first table.
const FIRST_FRAME: usize = 4 * BLOCK;

/// Opens a log with room for some dozen frames in each segment.
fn open(disk: &Memory) -> Result<(Wal, Recovered), WalError> {
    let length = 128 << 10;
    let roomy = Options { segment_bytes_first: length, segment_bytes_max: length, ..options() };
    Wal::open_on(std::sync::Arc::new(disk.clone()), roomy)
}

/// A log whose `n`-th commit, from 1 on, is entry `n` of group 1 in term 1, each in a block of its own; ended by a mark.
fn plain(count: u64) -> Memory {
    let disk = Memory::new();
    let (mut wal, _) = open(&disk).unwrap();
    for index in 1..=count {
        commit(&mut wal, |batch| batch.entry(1, index, 1, &[&content(1, index, 1, 100)]));
    }
    wal.mark().unwrap();
    disk
}

/// Changes a file of a disk.
fn change(disk: &Memory, name: &str, by: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = disk.read_all(name).expect("the file is there");
    by(&mut bytes);
    disk.put(name, &bytes);
}

/// Wipes blocks of the first segment, numbered from the first frame.
fn wipe(disk: &Memory, blocks: std::ops::Range<usize>) {
    let (from, to) = (FIRST_FRAME + blocks.start * BLOCK, FIRST_FRAME + blocks.end * BLOCK);
    change(disk, &segment(1), |bytes| bytes[from..to].fill(0));
}

fn found(disk: &Memory) -> (Wal, Recovered) {
    open(disk).expect("findings are no errors")
}

fn indices(wal: &Wal, group: u64) -> Vec<u64> {
    entries(wal, group).iter().map(|entry| entry.0).collect()
}

fn faulty(first: u64, count: u64, term: Option<u64>) -> Vec<Faulty> {
    vec![Faulty { first, count, term }]
}

#[test]
fn a_torn_frame_without_a_readable_head_ends_the_log() {
    let disk = Memory::new();
    let (mut wal, _) = open(&disk).unwrap();
    commit(&mut wal, |batch| batch.entry(1, 1, 1, &[b"kept"]));
    let before = disk.operations();
    // The frame is written, and then the process dies.
    disk.plan(Fault::Stop(before + 1));
    let mut batch = ordeal_wal::Batch::new();
    batch.entry(1, 2, 1, &[&[7; 9_000]]);
    wal.commit(&mut batch).unwrap_err();
    // Of its three blocks only the second reached the disk.
    let middle = FIRST_FRAME + 2 * BLOCK;
    let crashed = disk.lose_power(
        Tear::Block,
        &mut |crash| matches!(crash, Crash::Bytes { offset, .. } if *offset == middle),
    );
    let (wal, recovered) = found(&crashed);
    let torn = recovered.report.torn.clone().unwrap();
    assert_eq!((torn.segment, torn.offset, torn.what), (1, (FIRST_FRAME + BLOCK) as u64, "magic of frame"));
    assert!(torn.entries.is_empty());
    assert!(recovered.report.is_clean());
    assert_eq!(indices(&wal, 1), [1]);
    // It is left where it is, and counts for nothing in any later life.
    drop(wal);
    let (_, recovered) = found(&crashed);
    assert_eq!(recovered.report.torn, None);
}

#[test]
fn of_a_torn_frame_with_a_readable_head_the_votes_count_and_the_entries_are_told() {
    let disk = Memory::new();
    let (mut wal, _) = open(&disk).unwrap();
    commit(&mut wal, |batch| batch.hard_state(1, 1, 1));
    let start = FIRST_FRAME + 2 * BLOCK;
    disk.plan(Fault::Stop(disk.operations() + 1));
    let mut batch = ordeal_wal::Batch::new();
    batch.hard_state(1, 2, 3);
    batch.entry(1, 1, 2, &[&[7; 9_000]]);
    wal.commit(&mut batch).unwrap_err();
    let crashed = disk.lose_power(
        Tear::Block,
        &mut |crash| matches!(crash, Crash::Bytes { offset, .. } if *offset == start),
    );
    let (wal, recovered) = found(&crashed);
    let torn = recovered.report.torn.clone().unwrap();
    assert_eq!(torn.entries, [(1, Faulty { first: 1, count: 1, term: Some(2) })]);
    let group = &recovered.groups[&1];
    assert_eq!((group.term, group.vote, group.next), (2, 3, 1));
    assert!(indices(&wal, 1).is_empty());
}

#[test]
fn a_mirror_makes_a_damaged_head_good() {
    let disk = plain(5);
    change(&disk, &segment(1), |bytes| bytes[FIRST_FRAME + 2 * BLOCK..][..112].fill(0xff));
    for life in 0..3 {
        let (wal, recovered) = found(&disk);
        assert_eq!(indices(&wal, 1), [1, 2, 3, 4, 5], "life {life}");
        let damage = &recovered.report.damage;
        assert_eq!((damage.len(), damage[0].loss), (1, Loss::Nothing));
        assert_eq!((damage[0].segment, damage[0].offset), (1, (FIRST_FRAME + 2 * BLOCK) as u64));
        assert!(recovered.groups[&1].faulty.is_empty());
    }
}

#[test]
fn a_mirror_that_claims_the_place_of_an_earlier_frame_is_not_believed() {
    let disk = Memory::new();
    let (mut wal, _) = open(&disk).unwrap();
    for index in 1..=2 {
        commit(&mut wal, |batch| batch.entry(1, index, 1, &[b"the same in both"]));
    }
    drop(wal);
    // The second frame, which nothing proves durable, by its mirror only; and that says, under a right checksum, that it
    // lies where the first does. Its entry is found there: the contents are the same.
    change(&disk, &segment(1), |bytes| {
        let (start, copy, salt) = (FIRST_FRAME + BLOCK, 64 + 40 + 8, number_at(bytes, 40));
        bytes[start..start + copy].fill(0);
        let mirror = &mut bytes[start + BLOCK - copy..start + BLOCK];
        assert_eq!(number_at(mirror, 40), start as u64, "the mirror's word for its frame's place");
        mirror[40..48].copy_from_slice(&(FIRST_FRAME as u64).to_le_bytes());
        seal_frame(mirror, salt);
    });
    let (wal, first) = found(&disk);
    assert_eq!(indices(&wal, 1), [1]);
    assert!(first.report.torn.is_some());
    drop(wal);
    let (wal, second) = found(&disk);
    assert_eq!((indices(&wal, 1), &second.groups), (vec![1], &first.groups), "the next start finds the same");
}

#[test]
fn a_damaged_entry_keeps_its_slot_and_can_be_repaired() {
    let disk = plain(5);
    // Head, directory of one run and one item; then the content.
    disk.flip(&segment(1), 8 * (FIRST_FRAME + 2 * BLOCK + 64 + 48 + 50));
    let (wal, recovered) = found(&disk);
    assert_eq!(recovered.groups[&1].faulty, faulty(3, 1, Some(1)));
    assert_eq!(recovered.groups[&1].amnesia, None);
    assert_eq!(recovered.report.damage[0].loss, Loss::Entry { group: 1, index: 3 });
    assert_eq!(recovered.report.damage[0].what, "checksum of entry");
    assert_eq!(indices(&wal, 1), [1, 2, 4, 5]);
    drop(wal);
    let (mut wal, again) = found(&disk);
    assert_eq!(again.groups, recovered.groups, "it is found again");
    commit(&mut wal, |batch| batch.repair(1, 3, 1, &[&content(1, 3, 1, 100)]));
    drop(wal);
    let (wal, recovered) = found(&disk);
    assert!(recovered.groups[&1].faulty.is_empty());
    assert_eq!(indices(&wal, 1), [1, 2, 3, 4, 5]);
}

#[test]
fn of_many_short_entries_that_are_compared_at_once_the_damaged_one_is_named() {
    let disk = Memory::new();
    let (mut wal, _) = open(&disk).unwrap();
    // One length, and enough of them for `stride.rs`; 13 bytes each, so that they stand at all offsets.
    commit(&mut wal, |batch| (1..=100).for_each(|index| batch.entry(1, index, 1, &[&[7; 13]])));
    commit(&mut wal, |batch| (101..=110).for_each(|index| batch.entry(1, index, 1, &[&[8; 13]])));
    wal.mark().unwrap();
    drop(wal);
    // Head, one run, and an item for each; then the contents.
    let contents = |frame: usize, count: usize| frame + 64 + 40 + 8 * count;
    disk.flip(&segment(1), 8 * (contents(FIRST_FRAME, 100) + 13 * 76) + 5);
    disk.flip(&segment(1), 8 * (contents(FIRST_FRAME + BLOCK, 10) + 13 * 9 + 12));
    let (wal, recovered) = found(&disk);
    let both =
        [Faulty { first: 77, count: 1, term: Some(1) }, Faulty { first: 110, count: 1, term: Some(1) }];
    assert_eq!(recovered.groups[&1].faulty, both);
    assert_eq!(indices(&wal, 1).len(), 108);
}

#[test]
fn a_hole_of_one_block_leaves_slots_and_no_doubt_of_a_vote() {
    let disk = plain(5);
    wipe(&disk, 2..3);
    let (wal, recovered) = found(&disk);
    // The entry behind it says of which term it was.
    assert_eq!(recovered.groups[&1].faulty, faulty(3, 1, Some(1)));
    assert_eq!(recovered.groups[&1].amnesia, None);
    assert_eq!(recovered.report.damage[0].loss, Loss::Frames(1));
    assert!(recovered.report.groups_may_be_missing);
    assert_eq!(indices(&wal, 1), [1, 2, 4, 5]);
    drop(wal);
    let (_, again) = found(&disk);
    assert_eq!(again.groups, recovered.groups);
}

#[test]
fn behind_a_hole_of_several_frames_all_but_the_last_are_of_an_unknown_term() {
    let disk = plain(6);
    wipe(&disk, 1..4);
    let (_, recovered) = found(&disk);
    let group = &recovered.groups[&1];
    let both = [Faulty { first: 2, count: 2, term: None }, Faulty { first: 4, count: 1, term: Some(1) }];
    assert_eq!(group.faulty, both);
    assert_eq!(group.amnesia, Some(Amnesia { tail: false, vote: true }), "it may have held a vote");
}

#[test]
fn a_hole_with_nothing_of_a_group_behind_it_is_amnesia_and_stays_it() {
    let disk = plain(5);
    wipe(&disk, 4..5);
    let (_, recovered) = found(&disk);
    assert_eq!(recovered.groups[&1].amnesia, Some(Amnesia { tail: true, vote: false }));
    assert_eq!(recovered.groups[&1].next, 5);
    for life in 2..5 {
        let (_, again) = found(&disk);
        assert_eq!(again.groups, recovered.groups, "life {life}");
    }
}

#[test]
fn an_entry_that_was_replaced_in_a_hole_does_not_come_back() {
    let disk = Memory::new();
    let (mut wal, _) = open(&disk).unwrap();
    commit(&mut wal, |batch| (1..=6).for_each(|index| batch.entry(1, index, 1, &[b"old"])));
    commit(&mut wal, |batch| batch.entry(1, 4, 2, &[b"new"]));
    commit(&mut wal, |batch| batch.entry(1, 5, 2, &[b"new"]));
    wal.mark().unwrap();
    drop(wal);
    wipe(&disk, 1..2);
    let (wal, recovered) = found(&disk);
    // Of entry 4 the one behind it tells the term; of those before nobody can say whether they are the ones of that log.
    let both = [Faulty { first: 1, count: 3, term: None }, Faulty { first: 4, count: 1, term: Some(2) }];
    assert_eq!(recovered.groups[&1].faulty, both);
    assert_eq!(indices(&wal, 1), [5]);
}

#[test]
fn a_snapshot_says_which_of_them_are_sure() {
    let disk = Memory::new();
    let (mut wal, _) = open(&disk).unwrap();
    commit(&mut wal, |batch| {
        (1..=6).for_each(|index| batch.entry(1, index, 1, &[b"old"]));
        batch.snapshot(1, 2, 1);
    });
    commit(&mut wal, |batch| batch.entry(1, 4, 2, &[b"new"]));
    commit(&mut wal, |batch| batch.entry(1, 5, 2, &[b"new"]));
    wal.mark().unwrap();
    drop(wal);
    wipe(&disk, 1..2);
    let (wal, recovered) = found(&disk);
    let both = [Faulty { first: 3, count: 1, term: None }, Faulty { first: 4, count: 1, term: Some(2) }];
    assert_eq!(recovered.groups[&1].faulty, both);
    assert_eq!(indices(&wal, 1), [1, 2, 5]);
}

/// A log of several segments with entries 1 to n of group 1, the last three of term 2.
fn several() -> (Memory, u64) {
    let disk = Memory::new();
    let (mut wal, _) = open(&disk).unwrap();
    let mut index = 0;
    while wal.segment() < 5 {
        index += 1;
        commit(&mut wal, |batch| batch.entry(1, index, 1, &[&content(1, index, 1, shorter(3_000, 30))]));
    }
    wal.mark().unwrap();
    (disk, index)
}

#[test]
fn of_a_missing_segment_the_table_of_the_next_tells_what_it_held() {
    let (disk, last) = several();
    for missing in 2..=4 {
        let disk = disk.copy();
        disk.lose(&segment(missing));
        let (wal, recovered) = found(&disk);
        let group = &recovered.groups[&1];
        let [gone] = group.faulty[..] else { panic!("one stretch: {:?}", group.faulty) };
        assert_eq!(gone.term, Some(1));
        assert_eq!(indices(&wal, 1).len() as u64 + gone.count, last);
        assert_eq!((group.next, group.amnesia), (last + 1, None));
        assert_eq!(recovered.report.damage[0].loss, Loss::Segment);
        assert!(!recovered.report.groups_may_be_missing);
    }
}

#[test]
fn what_was_understood_with_the_help_of_a_segment_that_is_freed_since_is_still_there() {
    let disk = plain(2);
    let (mut wal, _) = found(&disk);
    // Written once more in the second segment, durably; and then the first is not needed, and would go with the next frame.
    commit(&mut wal, |batch| batch.repair(1, 2, 1, &[&content(1, 2, 1, 100)]));
    commit(&mut wal, |batch| batch.compact(1, 2));
    drop(wal);
    // The table of the second, which says that there is an entry 2.
    change(&disk, &segment(2), |bytes| bytes[2 * BLOCK..FIRST_FRAME].fill(0));
    for life in 0..3 {
        let (wal, recovered) = found(&disk);
        assert_eq!((indices(&wal, 1), &recovered.groups[&1].faulty), (vec![2], &vec![]), "life {life}");
    }
    assert!(disk.read_all(&segment(1)).is_none(), "it was freed");
}

#[test]
fn a_segment_in_the_place_of_another_or_without_headers_is_a_missing_one() {
    let (disk, last) = several();
    let third = disk.read_all(&segment(3)).unwrap();
    let mut headless = disk.read_all(&segment(2)).unwrap();
    headless[..2 * BLOCK].fill(0);
    for bytes in [third, headless] {
        let disk = disk.copy();
        disk.put(&segment(2), &bytes);
        let (_, recovered) = found(&disk);
        let group = &recovered.groups[&1];
        assert_eq!((group.faulty.len(), group.next, group.amnesia), (1, last + 1, None));
    }
}

#[test]
fn the_newest_segment_without_headers_is_refused_and_nothing_is_touched() {
    let (disk, _) = several();
    change(&disk, &segment(5), |bytes| {
        bytes[0] ^= 1;
        bytes[BLOCK] ^= 1;
    });
    let error = open(&disk).unwrap_err();
    assert_eq!(error.to_string(), format!("memory/{}: magic of header at 0", segment(5)));
    assert!(disk.read_all(&segment(6)).is_none());
}

#[test]
fn one_copy_of_a_header_is_enough() {
    let (disk, last) = several();
    for (number, copy) in [(1, 0), (5, 0), (5, BLOCK), (3, BLOCK)] {
        let disk = disk.copy();
        change(&disk, &segment(number), |bytes| bytes[copy..copy + 512].fill(0));
        let (wal, recovered) = found(&disk);
        assert_eq!(indices(&wal, 1).len() as u64, last);
        assert_eq!(recovered.report.damage[0].loss, Loss::Nothing);
        assert_eq!(recovered.report.damage[0].segment, number);
    }
}

#[test]
fn segments_that_were_freed_and_come_back_are_ignored_and_removed() {
    let (disk, last) = several();
    let before = disk.copy();
    let (mut wal, _) = open(&disk).unwrap();
    commit(&mut wal, |batch| batch.compact(1, last));
    commit(&mut wal, |batch| batch.hard_state(1, 1, 1));
    drop(wal);
    assert!(disk.read_all(&segment(1)).is_none());
    for number in 1..=3 {
        let mut bytes = before.read_all(&segment(number)).unwrap();
        bytes[3 * BLOCK] ^= u8::from(number == 2);
        disk.put(&segment(number), &bytes);
    }
    let (wal, recovered) = found(&disk);
    assert!(recovered.report.is_clean(), "{:?}", recovered.report);
    assert_eq!(indices(&wal, 1), [last]);
    assert!(disk.read_all(&segment(1)).is_none());
}

#[test]
fn other_stores_versions_and_flags_are_refused_and_nothing_is_touched() {
    let disk = plain(3);
    let seal = |at: usize, value: u8| {
        let disk = disk.copy();
        change(&disk, &segment(1), |bytes| {
            for copy in [0, BLOCK] {
                bytes[copy + at] = value;
                let checksum = crc32fast::hash(&bytes[copy..copy + 124]);
                bytes[copy + 124..copy + 128].copy_from_slice(&checksum.to_le_bytes());
            }
        });
        let before = disk.operations();
        let error = open(&disk).unwrap_err();
        assert_eq!(disk.operations(), before, "{error}");
        error
    };
    assert!(matches!(seal(8, 3), WalError::Version { found: 3, .. }));
    assert!(matches!(seal(12, 1), WalError::Flags { flags: 1, .. }));
    assert!(matches!(seal(24, 9), WalError::Foreign { found: 9, expected: 0, .. }));
}

#[test]
fn a_log_that_is_open_is_locked() {
    let disk = Memory::new();
    let held = open(&disk).unwrap();
    assert!(matches!(open(&disk), Err(WalError::Locked { .. })));
    drop(held);
    open(&disk).unwrap();
}

#[test]
fn what_a_killed_process_did_not_sync_and_the_next_served_survives_the_power() {
    for is_killed in [true, false] {
        let disk = Memory::new();
        let (mut wal, _) = open(&disk).unwrap();
        commit(&mut wal, |batch| batch.entry(1, 1, 1, &[b"one"]));
        // Killed in its sync; or the sync fails, and its pages count as clean from then on.
        let sync = disk.operations() + 1;
        disk.plan(if is_killed { Fault::Stop(sync) } else { Fault::Fail(sync) });
        let mut batch = ordeal_wal::Batch::new();
        batch.entry(1, 2, 1, &[b"two"]);
        wal.commit(&mut batch).unwrap_err();
        drop(wal);
        disk.repair();
        let (wal, _) = found(&disk);
        let served = entries(&wal, 1);
        drop(wal);
        let after = disk.lose_power(Tear::Sector, &mut |_| false);
        let (wal, recovered) = found(&after);
        assert_eq!(entries(&wal, 1), served, "served once is served for ever");
        assert!(recovered.report.is_clean());
    }
}

#[test]
fn a_log_can_be_looked_into_while_it_is_open_and_when_it_is_damaged() {
    let disk = plain(3);
    let (mut wal, _) = open(&disk).unwrap();
    commit(&mut wal, |batch| batch.hard_state(9, 4, 2));
    disk.flip(&segment(1), 8 * (FIRST_FRAME + BLOCK + 64 + 48 + 50));
    change(&disk, &segment(1), |bytes| bytes[FIRST_FRAME + 2 * BLOCK..][..100].fill(0));
    let before = disk.operations();
    let (mut words, mut frames, mut entries) = (Vec::new(), Vec::new(), Vec::new());
    let seen = ordeal_wal::inspect(&disk, |seen| {
        match seen {
            Seen::Segment(segment) => words.push(format!("segment {}", segment.segment)),
            Seen::Frame(frame) => {
                words.extend(frame.runs.iter().map(ToString::to_string));
                frames.push((frame.head_is_damaged, frame.mirror_is_damaged, frame.damaged.clone()));
                ordeal_wal::entries_of(&disk, &frame, |entry| {
                    let EntrySeen { group, index, term, bytes, content } = entry;
                    let whole = content.map(|found| found == self::content(group, index, term, 100));
                    entries.push((index, bytes, whole));
                })
                .unwrap();
            }
        }
        true
    });
    seen.unwrap();
    assert_eq!(disk.operations(), before, "nothing is written");
    let expected = [
        "segment 1",
        "g1 entries 1..2 @1, 100 bytes",
        "g1 entries 2..3 @1, 100 bytes",
        "g1 entries 3..4 @1, 100 bytes",
        "segment 2",
        "g1 state: entries 1..4, term 0 vote 0, snapshot 0@0",
        "g9 term 4 vote 2",
    ];
    assert_eq!(words, expected);
    // The table, then the three entries: the second is damaged, the third has lost its head.
    assert_eq!(
        frames[1..4],
        [(false, false, vec![]), (false, false, vec![(1, 2)]), (true, false, vec![])],
        "{frames:?}"
    );
    assert_eq!(entries, [(1, 100, Some(true)), (2, 100, None), (3, 100, Some(true))]);
    // The same that the next start finds, and the disk is not even asked to sync.
    let told = ordeal_wal::examine(&disk).unwrap();
    assert_eq!(told.store_id, Some(0));
    assert_eq!(disk.operations(), before, "nothing is written");
    drop(wal);
    let (_, found) = found(&disk);
    assert_eq!(told.recovered.groups, found.groups);
    assert_eq!(told.recovered.report.damage, found.report.damage);
}
