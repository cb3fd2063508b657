//! What is appended and synced comes back, through rotations, releases and many lives.

use crate::common::{bytes_of, open, options, reopen};
use ordeal_wal::{Options, Position, SyncMode, Wal, WalError};

#[test]
fn an_empty_log_opens_at_once_and_holds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made/with/its/parents");
    let (wal, recovered) = Wal::open(&path, Options::default()).unwrap();
    assert!(recovered.records.is_empty());
    assert_eq!(recovered.cut, None);
    assert_eq!(wal.disk_bytes(), 1 << 20);
    assert_eq!(wal.oldest(), Position { segment: 1, offset: 8192 });
    assert!(wal.oldest() < wal.next_position());
}

#[test]
fn records_come_back_with_kind_position_and_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut wal = open(dir.path());
    let contents: [&[u8]; 4] = [b"one", b"", &[0; 5000], &[255; 4096]];
    let mut positions = Vec::new();
    for (kind, content) in (0u8..).zip(contents) {
        positions.push(wal.append(kind, content).unwrap());
        // Readable before it is synced, and after.
        assert_eq!(wal.read(positions[usize::from(kind)]).unwrap().bytes, content);
        wal.sync().unwrap();
    }
    assert!(positions.is_sorted());
    let (wal, recovered) = reopen(wal, dir.path());
    assert_eq!(recovered.cut, None);
    for (index, record) in recovered.records.iter().enumerate() {
        assert_eq!(usize::from(record.kind), index);
        assert_eq!(record.position, positions[index]);
        assert_eq!(record.bytes, contents[index]);
        assert_eq!(&wal.read(record.position).unwrap(), record);
    }
    assert_eq!(recovered.records.len(), 4);
    assert_eq!(positions[0].to_string(), "1:8256");
}

#[test]
fn a_sync_of_nothing_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut wal = open(dir.path());
    let before = wal.next_position();
    wal.sync().unwrap();
    assert_eq!(wal.next_position(), before);
}

#[test]
fn what_was_not_synced_is_cut_and_never_shown_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut wal = open(dir.path());
    wal.append(1, b"synced").unwrap();
    wal.sync().unwrap();
    let lost = wal.append(1, b"not synced").unwrap();
    let (wal, recovered) = reopen(wal, dir.path());
    assert_eq!(bytes_of(&recovered), [b"synced".to_vec()]);
    let cut = recovered.cut.expect("the bytes are there, their frame's head is not");
    assert_eq!(cut.position, Position { segment: 1, offset: 12288 });
    assert_eq!(cut.reason, "magic of frame at 12288");
    assert!(matches!(wal.read(lost), Err(WalError::NoRecord { .. })), "what was cut is never shown again");
}

#[test]
fn segments_double_and_positions_stay_final_over_rotations() {
    let dir = tempfile::tempdir().unwrap();
    let mut wal = open(dir.path());
    let mut positions = Vec::new();
    for number in 0..600u32 {
        let position = wal.append(7, &[number.to_le_bytes().as_slice(), &[1; 700]].concat()).unwrap();
        positions.push(position);
        if number % 7 == 0 {
            wal.sync().unwrap();
        }
    }
    wal.sync().unwrap();
    assert!(wal.next_position().segment > 3, "several rotations: {}", wal.next_position());
    let check = |wal: &Wal| {
        for (number, &position) in (0u32..).zip(&positions) {
            assert_eq!(wal.read(position).unwrap().bytes[..4], number.to_le_bytes());
        }
    };
    check(&wal);
    let (wal, recovered) = reopen(wal, dir.path());
    check(&wal);
    assert!(recovered.records.iter().map(|record| record.position).eq(positions.iter().copied()));
}

#[test]
fn a_record_longer_than_any_segment_gets_one_that_fits() {
    let dir = tempfile::tempdir().unwrap();
    let mut wal = open(dir.path());
    let long: Vec<u8> = (0..300_000u32).map(|index| index.to_le_bytes()[0]).collect();
    // First of a life, so that the segment before it is empty; then behind another; twice, over several lives.
    for life in 0..4 {
        let first = wal.append(1, &long).unwrap();
        wal.append(2, b"short").unwrap();
        let second = wal.append(1, &long).unwrap();
        wal.sync().unwrap();
        assert_eq!(wal.read(first).unwrap().bytes, long);
        assert_eq!(wal.read(second).unwrap().bytes, long);
        let (next, recovered) = reopen(wal, dir.path());
        assert_eq!(recovered.records.len(), 3 * (life + 1));
        assert_eq!(recovered.records.last().unwrap().bytes, long);
        wal = next;
    }
    let huge = vec![0; ordeal_wal::RECORD_BYTES_MAX + 1];
    assert!(matches!(wal.append(1, &huge), Err(WalError::TooLarge { .. })));
    wal.append(1, b"the log is as it was").unwrap();
    wal.sync().unwrap();
}

#[test]
fn release_unlinks_what_is_wholly_before_and_keeps_the_rest_readable() {
    let dir = tempfile::tempdir().unwrap();
    let mut wal = open(dir.path());
    let positions: Vec<Position> = (0..300).map(|_| wal.append(1, &[9; 900]).unwrap()).collect();
    wal.sync().unwrap();
    let before = wal.disk_bytes();
    let keep = positions[150];
    assert!(keep.segment > 1);
    wal.release(keep).unwrap();
    assert!(wal.disk_bytes() < before);
    assert_eq!(wal.oldest().segment, keep.segment);
    for &position in &positions {
        assert_eq!(wal.read(position).is_ok(), position.segment >= keep.segment, "{position}");
    }
    wal.release(positions[0]).unwrap();
    assert_eq!(wal.oldest().segment, keep.segment, "a release never brings anything back");
    let (mut wal, recovered) = reopen(wal, dir.path());
    let kept = positions.iter().filter(|position| position.segment >= keep.segment);
    assert_eq!(recovered.records.len(), kept.count());
    // Everything, and beyond: the current segment stays.
    wal.release(Position { segment: u64::MAX, offset: 0 }).unwrap();
    assert_eq!(wal.oldest().segment, wal.next_position().segment);
    let (_, recovered) = reopen(wal, dir.path());
    assert!(recovered.records.is_empty());
}

#[test]
fn many_lives_without_a_record_do_not_pile_up_segments() {
    let dir = tempfile::tempdir().unwrap();
    let mut wal = open(dir.path());
    wal.append(1, b"kept through all of it").unwrap();
    wal.sync().unwrap();
    for _ in 0..30 {
        let (next, recovered) = reopen(wal, dir.path());
        assert_eq!(recovered.records.len(), 1);
        assert_eq!(recovered.cut, None);
        wal = next;
    }
    assert_eq!(wal.disk_bytes(), 2 * options().segment_bytes_first);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3, "two segments and the lock");
}

#[test]
fn without_syncs_the_log_survives_the_process_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let never = Options { sync: SyncMode::Never, ..options() };
    for life in 0..5 {
        let (mut wal, recovered) = Wal::open(dir.path(), never).unwrap();
        assert_eq!(recovered.records.len(), 100 * life);
        for _ in 0..100 {
            wal.append(1, &[3; 300]).unwrap();
            wal.sync().unwrap();
        }
    }
    // And it can be continued by a log that does sync.
    let (_, recovered) = Wal::open(dir.path(), options()).unwrap();
    assert_eq!(recovered.records.len(), 500);
}
