//! Logs cut, flipped, wiped and mixed up: what a sync vouched for is returned or missed with an error, never changed and
//! never silently shorter; except the very last frame, which nothing vouches for yet.

use std::fs;
use std::ops::Range;
use std::path::Path;

use crate::common::{bytes_of, options, segment};
use ordeal_wal::{Options, Recovered, SyncMode, Wal, WalError};

const BLOCK: usize = 4096;
/// The two copies of the header.
const HEADERS: Range<usize> = 0..2 * BLOCK;

/// A log of one segment: the file's bytes, and what it holds, frame by frame.
struct Sample {
    bytes: Vec<u8>,
    frames: Vec<Vec<Vec<u8>>>,
    /// What means something: the headers, and the frames without their padding.
    meaning: Vec<Range<usize>>,
    /// Where the last frame is: without, and with its padding.
    last: Range<usize>,
    last_padded: Range<usize>,
}

fn sample(frames: Vec<Vec<Vec<u8>>>) -> Sample {
    let dir = tempfile::tempdir().unwrap();
    let (mut wal, _) = Wal::open(dir.path(), options()).unwrap();
    let mut meaning = vec![0..128, BLOCK..BLOCK + 128];
    let mut last = 0..0;
    for frame in &frames {
        last = usize::try_from(wal.next_position().offset).unwrap() - 64..0;
        for content in frame {
            wal.append(1, content).unwrap();
        }
        last.end = usize::try_from(wal.next_position().offset).unwrap();
        meaning.push(last.clone());
        wal.sync().unwrap();
    }
    assert_eq!(wal.next_position().segment, 1, "a sample is one segment");
    let bytes = fs::read(segment(dir.path(), 1)).unwrap();
    let last_padded = last.start..last.end.next_multiple_of(BLOCK);
    Sample { bytes, frames, meaning, last, last_padded }
}

fn small_sample() -> Sample {
    let text = |text: &str| text.as_bytes().to_vec();
    sample(vec![
        vec![text("first"), text("")],
        vec![text("second"), vec![7; 100]],
        vec![vec![8; 4100]],
        vec![text("last"), vec![0; 40], text("of all")],
    ])
}

fn open_damaged(dir: &Path, bytes: &[u8]) -> Result<Recovered, WalError> {
    for entry in fs::read_dir(dir).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    fs::write(segment(dir, 1), bytes).unwrap();
    Wal::open(dir, Options { sync: SyncMode::Never, ..options() }).map(|(_, recovered)| recovered)
}

impl Sample {
    fn all(&self) -> Vec<Vec<u8>> {
        self.frames.concat()
    }

    fn without_last(&self) -> Vec<Vec<u8>> {
        self.frames[..self.frames.len() - 1].concat()
    }

    /// Damage anywhere: an error, or everything, or everything but the last frame if that is what was hit.
    fn check(&self, dir: &Path, damaged: &[u8], what: &str) {
        let hit: Vec<usize> = (0..self.bytes.len()).filter(|&at| damaged[at] != self.bytes[at]).collect();
        self.check_hit(dir, damaged, &hit, what);
    }

    fn check_hit(&self, dir: &Path, damaged: &[u8], hit: &[usize], what: &str) {
        let only_last = hit.iter().all(|at| self.last_padded.contains(at));
        match open_damaged(dir, damaged) {
            Err(WalError::Damaged { .. }) => assert!(!only_last, "{what}: a torn tail was refused"),
            Err(error) => panic!("{what}: {error}"),
            Ok(recovered) if bytes_of(&recovered) == self.all() => {
                let headers = hit.iter().any(|at| HEADERS.contains(at) && at % BLOCK < 128);
                assert_eq!(recovered.headers_repaired.len(), usize::from(headers), "{what}");
            }
            Ok(recovered) => {
                assert_eq!(
                    bytes_of(&recovered),
                    self.without_last(),
                    "{what}: neither all nor all but the last"
                );
                assert!(
                    hit.iter().any(|at| self.last.contains(at)),
                    "{what}: the last frame was not even hit"
                );
            }
        }
    }
}

#[test]
fn cut_at_every_byte_of_the_last_frame_the_prefix_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let sample = small_sample();
    for cut in sample.last_padded.clone() {
        // What was written after the cut never was: zeros, as they were prepared; or the file ends there.
        let mut zeroed = sample.bytes.clone();
        zeroed[cut..].fill(0);
        for damaged in [&zeroed[..], &sample.bytes[..cut]] {
            let recovered = open_damaged(dir.path(), damaged).unwrap();
            // The last byte is not zero, so the frame is whole exactly if all of it is there.
            let whole = cut >= sample.last.end;
            let expected = if whole { sample.all() } else { sample.without_last() };
            assert_eq!(bytes_of(&recovered), expected, "cut at {cut}");
            let torn = !whole && cut > sample.last.start;
            assert_eq!(recovered.cut.is_some(), torn, "cut at {cut}: {:?}", recovered.cut);
            if let Some(tail) = recovered.cut {
                assert_eq!(tail.position.offset, sample.last.start as u64);
                assert!(tail.bytes <= (cut - sample.last.start) as u64);
            }
        }
    }
}

#[test]
fn every_flipped_byte_is_harmless_or_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let sample = small_sample();
    let mut damaged = sample.bytes.clone();
    let means = |at: usize| sample.meaning.iter().any(|range| range.contains(&at));
    for at in (0..sample.last_padded.end).filter(|&at| means(at)) {
        for flip in [1u8 << (at % 8), 0xff] {
            damaged[at] ^= flip;
            sample.check_hit(dir.path(), &damaged, &[at], &format!("byte {at} flipped by {flip:02x}"));
            damaged[at] ^= flip;
        }
    }
    // The padding, in groups: where every byte of a group is harmless, each is.
    let padding: Vec<usize> = (0..sample.last_padded.end).filter(|&at| !means(at)).collect();
    for hit in padding.chunks(100) {
        hit.iter().for_each(|&at| damaged[at] ^= 1 << (at % 8));
        sample.check_hit(dir.path(), &damaged, hit, &format!("padding from {} on", hit[0]));
        assert_eq!(bytes_of(&open_damaged(dir.path(), &damaged).unwrap()), sample.all());
        hit.iter().for_each(|&at| damaged[at] ^= 1 << (at % 8));
    }
}

#[test]
fn every_wiped_sector_and_every_wiped_or_misplaced_block_is_harmless_or_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let sample = small_sample();
    for size in [512, BLOCK] {
        for start in (0..sample.last_padded.end).step_by(size) {
            for fill in [0, 0xff] {
                let mut damaged = sample.bytes.clone();
                damaged[start..start + size].fill(fill);
                sample.check(
                    dir.path(),
                    &damaged,
                    &format!("{size} bytes at {start} filled with {fill:02x}"),
                );
            }
        }
    }
    for from in (2 * BLOCK..sample.last_padded.end).step_by(BLOCK) {
        for to in (2 * BLOCK..sample.last_padded.end).step_by(BLOCK) {
            let mut damaged = sample.bytes.clone();
            damaged.copy_within(from..from + BLOCK, to);
            sample.check(dir.path(), &damaged, &format!("block {from} over {to}"));
        }
    }
}

#[test]
fn blocks_of_another_log_of_the_same_content_are_never_taken_for_ours() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (small_sample(), small_sample());
    for start in (2 * BLOCK..ours.last_padded.end).step_by(BLOCK) {
        let mut damaged = ours.bytes.clone();
        damaged[start..start + BLOCK].copy_from_slice(&theirs.bytes[start..start + BLOCK]);
        ours.check(dir.path(), &damaged, &format!("their block at {start}"));
    }
}

#[test]
fn frames_of_another_log_behind_our_end_prove_nothing_about_ours() {
    let dir = tempfile::tempdir().unwrap();
    let frame = |number: u8| vec![vec![number; 10]];
    let (ours, theirs) = (sample((0..2).map(frame).collect()), sample((0..5).map(frame).collect()));
    let mut damaged = ours.bytes.clone();
    let end = ours.last_padded.end;
    damaged[end..end + 3 * BLOCK].copy_from_slice(&theirs.bytes[end..end + 3 * BLOCK]);
    let recovered = open_damaged(dir.path(), &damaged).unwrap();
    assert_eq!(bytes_of(&recovered), ours.all());
    assert_eq!(recovered.cut.expect("foreign bytes").reason, format!("checksum of frame at {end}"));
}

#[test]
fn two_records_that_changed_places_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let sample = sample(vec![vec![vec![1; 52], vec![2; 52]], vec![vec![3; 52]]]);
    let (one, two) = (2 * BLOCK + 64, 2 * BLOCK + 128);
    let mut damaged = sample.bytes.clone();
    damaged[one..one + 64].copy_from_slice(&sample.bytes[two..two + 64]);
    damaged[two..two + 64].copy_from_slice(&sample.bytes[one..one + 64]);
    let error = open_damaged(dir.path(), &damaged).unwrap_err();
    assert!(error.to_string().ends_with("checksum of record at 8256"), "{error}");
}

#[test]
fn whatever_sectors_of_the_last_frame_reached_the_disk_the_prefix_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let sample = sample(vec![vec![vec![1; 50]], vec![vec![2; 700], vec![3; 900], vec![4; 400]]]);
    let sectors: Vec<usize> = sample.last.clone().step_by(512).collect();
    assert_eq!(sectors.len(), 5);
    for kept in 0u32..1 << sectors.len() {
        let mut damaged = sample.bytes.clone();
        for (index, &sector) in sectors.iter().enumerate() {
            if kept & (1 << index) == 0 {
                damaged[sector..sector + 512].fill(0);
            }
        }
        let recovered = open_damaged(dir.path(), &damaged).unwrap();
        let whole = kept == (1 << sectors.len()) - 1;
        assert_eq!(
            bytes_of(&recovered),
            if whole { sample.all() } else { sample.without_last() },
            "{kept:b}"
        );
        assert_eq!(recovered.cut.is_some(), !whole && kept != 0, "{kept:b}");
    }
}

#[test]
fn damage_in_the_middle_is_refused_by_name_and_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let sample = small_sample();
    let mut damaged = sample.bytes.clone();
    // The first content byte of the first record.
    damaged[2 * BLOCK + 64 + 12] ^= 1;
    let error = open_damaged(dir.path(), &damaged).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("segment 1 of {}: checksum of record at 8256", dir.path().display())
    );
    assert_eq!(fs::read(segment(dir.path(), 1)).unwrap(), damaged);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing but the segment and the lock");
    // The head alone, the records of the same frame being whole.
    let mut damaged = sample.bytes.clone();
    damaged[3 * BLOCK + 8] ^= 1;
    let error = open_damaged(dir.path(), &damaged).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("segment 1 of {}: checksum of frame at 12288", dir.path().display())
    );
}

#[test]
fn a_damaged_copy_of_the_header_is_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let sample = small_sample();
    for copy in [0, BLOCK] {
        let mut damaged = sample.bytes.clone();
        damaged[copy..copy + 128].fill(0x55);
        assert_eq!(open_damaged(dir.path(), &damaged).unwrap().headers_repaired, [1]);
        assert_eq!(fs::read(segment(dir.path(), 1)).unwrap(), sample.bytes);
    }
    let mut damaged = sample.bytes.clone();
    damaged[HEADERS].fill(0x55);
    assert!(matches!(open_damaged(dir.path(), &damaged), Err(WalError::Damaged { segment: 1, .. })));
}
