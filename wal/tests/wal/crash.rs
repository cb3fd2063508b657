//! The process dies at any moment, and names in the directory come and go with the power. Copies of the directory, taken
//! from under the feet of the log, stand for what a crash leaves.

use std::fs;
use std::path::Path;

use crate::common::{bytes_of, copy, options, reopen, segment};
use ordeal_wal::{Options, Position, Recovered, SyncMode, Wal, WalError};

/// Opens a copy, which need not be durable.
fn open_copy(dir: &Path) -> Result<(Wal, Recovered), WalError> {
    Wal::open(dir, Options { sync: SyncMode::Never, ..options() })
}

#[test]
fn after_a_crash_at_any_append_or_sync_all_that_was_synced_is_there_and_nothing_else_but_a_whole_sync() {
    let (dir, crashed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut wal = crate::common::open(dir.path());
    let (mut appended, mut synced): (Vec<Vec<u8>>, usize) = (Vec::new(), 0);
    for turn in 0..60u8 {
        for part in 0..3 {
            let content = vec![turn; usize::from(turn) * 13 * part];
            let segment_before = wal.next_position().segment;
            wal.append(1, &content).unwrap();
            if wal.next_position().segment != segment_before {
                synced = appended.len();
            }
            appended.push(content);
            copy(dir.path(), crashed.path());
            let (_, recovered) = open_copy(crashed.path()).unwrap();
            assert_eq!(bytes_of(&recovered), appended[..synced], "turn {turn}");
        }
        wal.sync().unwrap();
        synced = appended.len();
        copy(dir.path(), crashed.path());
        let (second, recovered) = open_copy(crashed.path()).unwrap();
        assert_eq!(bytes_of(&recovered), appended, "turn {turn}");
        assert_eq!(recovered.cut, None);
        // Recovering twice is recovering once.
        drop(second);
        assert_eq!(bytes_of(&open_copy(crashed.path()).unwrap().1), appended, "turn {turn}");
    }
    assert!(wal.next_position().segment > 2);
}

#[test]
fn a_cut_tail_stays_cut_in_all_later_lives() {
    let dir = tempfile::tempdir().unwrap();
    let mut wal = crate::common::open(dir.path());
    for round in 0..10u8 {
        wal.append(1, &[round]).unwrap();
        wal.sync().unwrap();
        wal.append(2, b"never synced").unwrap();
        let (next, recovered) = reopen(wal, dir.path());
        let expected: Vec<Vec<u8>> = (0..=round).map(|round| vec![round]).collect();
        assert_eq!(bytes_of(&recovered), expected);
        assert_eq!(recovered.cut.expect("torn").position.segment, u64::from(round) + 1);
        wal = next;
    }
}

/// Several segments with a sync behind each record.
fn several_segments(dir: &Path) -> (Wal, Vec<Position>) {
    let mut wal = crate::common::open(dir);
    let mut positions = Vec::new();
    while wal.next_position().segment < 6 {
        positions.push(wal.append(1, &[5; 3000]).unwrap());
        wal.sync().unwrap();
    }
    (wal, positions)
}

#[test]
fn released_segments_that_come_back_are_ignored_and_removed() {
    let (dir, before) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut wal, positions) = several_segments(dir.path());
    copy(dir.path(), before.path());
    wal.release(Position { segment: 4, offset: 0 }).unwrap();
    drop(wal);
    let kept = positions.iter().filter(|position| position.segment >= 4).count();
    let crashed = tempfile::tempdir().unwrap();
    // Any of the three that were unlinked may be back, one of them damaged meanwhile.
    for subset in 0u64..8 {
        copy(dir.path(), crashed.path());
        for number in (1..=3).filter(|number| subset & (1 << (number - 1)) != 0) {
            let mut bytes = fs::read(segment(before.path(), number)).unwrap();
            bytes[8192] ^= u8::from(number == 2);
            fs::write(segment(crashed.path(), number), bytes).unwrap();
        }
        let (wal, recovered) = open_copy(crashed.path()).unwrap();
        assert_eq!(recovered.records.len(), kept, "subset {subset:b}");
        assert_eq!(wal.oldest().segment, 4);
        assert!(!segment(crashed.path(), 1).exists());
    }
}

#[test]
fn a_segment_that_is_missing_or_in_the_place_of_another_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (mut wal, _) = several_segments(dir.path());
    wal.release(Position { segment: 2, offset: 0 }).unwrap();
    drop(wal);
    let crashed = tempfile::tempdir().unwrap();
    for number in 2..=5 {
        copy(dir.path(), crashed.path());
        fs::remove_file(segment(crashed.path(), number)).unwrap();
        let error = open_copy(crashed.path()).unwrap_err();
        let expected = format!(
            "segment {number} of {}: missing file, looked for the header at 0",
            crashed.path().display()
        );
        assert_eq!(error.to_string(), expected);
        if number != 5 {
            fs::copy(segment(dir.path(), number + 1), segment(crashed.path(), number)).unwrap();
            let error = open_copy(crashed.path()).unwrap_err();
            assert!(matches!(error, WalError::Damaged { segment, .. } if segment == number), "{error}");
        }
    }
    // An older copy of a sealed segment: its last frames are gone, and its successor knows.
    copy(dir.path(), crashed.path());
    let mut older = fs::read(segment(dir.path(), 3)).unwrap();
    let frames_end = older.iter().rposition(|&byte| byte != 0).unwrap() / 4096 * 4096;
    older[frames_end..].fill(0);
    fs::write(segment(crashed.path(), 3), older).unwrap();
    let error = open_copy(crashed.path()).unwrap_err();
    let expected = format!("segment 3 of {}: magic of frame at {frames_end}", crashed.path().display());
    assert_eq!(error.to_string(), expected);
}

#[test]
fn unfinished_segments_are_removed_and_strange_files_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(crate::common::open(dir.path()));
    let unfinished = dir.path().join("0000000000000009.tmp");
    let strange =
        [dir.path().join("notes.tmp"), dir.path().join("9.wal"), dir.path().join("000000000000000G.wal")];
    fs::write(&unfinished, [0; 5000]).unwrap();
    for path in &strange {
        fs::write(path, b"not ours").unwrap();
    }
    drop(crate::common::open(dir.path()));
    assert!(!unfinished.exists());
    assert!(strange.iter().all(|path| path.exists()));
}
