//! Recovery of bytes that nobody ever wrote: logs with anything changed in them, also with the checksums made right again,
//! as a strange writer, a misled repair tool or an attacker might leave them. What cannot be asked of such a log is that
//! nothing is lost; what can: no panic, no endless loop, no error but those that opening may give, and that what one start
//! finds the next finds again. It may find more: a forged frame that nothing proves durable may cut an entry off and claim its
//! slot again, by index and term; the next start has only that claim to go by, and may find the entry where it always was.
//!
//! It runs on the stable toolchain, with no coverage to guide it; the mutations know the layout instead.
//! `ORDEAL_WAL_FUZZ_SECONDS=600` goes on for ten minutes, `ORDEAL_WAL_FUZZ_SEED=7` begins elsewhere.

use std::time::{Duration, Instant};

use ordeal_wal::media::Memory;
use ordeal_wal::{Batch, Faulty, WalError};

use crate::common::{Chance, number_at, open, seal_frame, segment};
use crate::damage::sample_of_lives;

const BLOCK: usize = 4096;
/// Cases without a time to go on for: a second in the build of the tests.
const CASES: u64 = 1_500;

#[test]
fn no_bytes_make_a_recovery_panic_or_differ_from_the_next() {
    let number = |name: &str| {
        let given = std::env::var(name).ok();
        given.map(|text| text.parse::<u64>().unwrap_or_else(|_| panic!("{name} is a number")))
    };
    let seed = number("ORDEAL_WAL_FUZZ_SEED").unwrap_or(1);
    let until =
        number("ORDEAL_WAL_FUZZ_SECONDS").map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let goes_on = |case| until.map_or(case < CASES, |until| Instant::now() < until);
    let (mut case, mut opened, mut disk) = (0, 0, Memory::new());
    while goes_on(case) {
        let mut chance = Chance::new(seed.wrapping_mul(1 << 32) ^ case);
        if case % 50 == 0 {
            disk = sample_of_lives(seed ^ case, 4 + small(&mut chance, 20), true, 1 + small(&mut chance, 9))
                .disk;
        }
        let changed = disk.copy();
        for _ in 0..=chance.below(4) {
            mutate(&changed, &mut chance);
        }
        opened += u64::from(survives(&changed, seed, case));
        case += 1;
    }
    println!("{case} logs, {opened} of them opened");
    assert!(
        opened > case / 4,
        "most are refused: {opened} of {case} opened, so little behind the headers is seen"
    );
}

/// Opens it twice, reads it, and goes on with it. Whether it could be opened.
fn survives(disk: &Memory, seed: u64, case: u64) -> bool {
    let name = format!("seed {seed} case {case}");
    let examined = ordeal_wal::examine(disk);
    let (mut wal, first) = match open(disk) {
        Ok(opened) => opened,
        Err(
            WalError::Damaged { .. }
            | WalError::Foreign { .. }
            | WalError::Version { .. }
            | WalError::Flags { .. }
            // A table of more groups than the log may have bytes for.
            | WalError::NoSpace { .. }
            | WalError::TooLarge { .. },
        ) => return false,
        Err(error) => panic!("{name}: {error}"),
    };
    assert_eq!(examined.expect("what opens can be looked at").recovered.groups, first.groups, "{name}");
    for (&id, state) in &first.groups {
        let mut next = state.first;
        let read = wal.read(id, 0, |index, _, _| {
            assert!((next..state.next).contains(&index), "{name}: entry {index} of {id} out of its place");
            next = index + 1;
            Ok::<(), WalError>(())
        });
        read.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let mut batch = Batch::new();
    if let Some((&id, state)) = first.groups.iter().find(|(_, state)| state.next < 1 << 60) {
        batch.entry(id, state.next, u64::MAX - 1, &[b"one more"]);
        wal.commit(&mut batch).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    drop(wal);
    let (_, second) = open(disk).unwrap_or_else(|error| panic!("{name}: opened once, and then: {error}"));
    for (id, state) in &first.groups {
        let found = second.groups.get(id).unwrap_or_else(|| panic!("{name}: group {id} is gone"));
        assert_eq!(
            (found.term, found.vote, found.first),
            (state.term, state.vote, state.first),
            "{name}: group {id}"
        );
        let was_faulty = |slots: &Faulty| state.faulty.iter().any(|whole| holds(whole, slots));
        let lost: Vec<_> = found.faulty.iter().filter(|slots| !was_faulty(slots)).collect();
        assert!(lost.is_empty(), "{name}: of group {id} the second start has lost {lost:?}, {state:?}");
        assert!(
            found.next >= state.next,
            "{name}: group {id} ended at {}, then at {}",
            state.next,
            found.next
        );
    }
    true
}

fn holds(whole: &Faulty, part: &Faulty) -> bool {
    whole.term == part.term
        && whole.first <= part.first
        && part.first + part.count <= whole.first + whole.count
}

fn small(chance: &mut Chance, end: usize) -> usize {
    usize::try_from(chance.below(end as u64)).expect("small")
}

/// Changes one thing.
fn mutate(disk: &Memory, chance: &mut Chance) {
    let names: Vec<String> = (1..200).map(segment).filter(|name| disk.read_all(name).is_some()).collect();
    let name = &names[small(chance, names.len())];
    let mut bytes = disk.read_all(name).expect("it is there");
    let block = small(chance, bytes.len() / BLOCK) * BLOCK;
    match chance.below(10) {
        0 => {
            let length = small(chance, bytes.len());
            bytes.truncate(length);
        }
        1 | 2 => {
            // Of this segment or of another, which may be cut short by now.
            let other = if chance.is_heads() { name } else { &names[small(chance, names.len())] };
            let other = disk.read_all(other).expect("it is there");
            let from = small(chance, other.len() / BLOCK) * BLOCK;
            for (byte, with) in bytes[block..].iter_mut().zip(other[from..].iter().take(BLOCK)) {
                *byte = *with;
            }
        }
        3 => {
            let to = segment(1 + chance.below(names.len() as u64 + 2));
            disk.put(&to, &bytes);
        }
        4 if names.len() > 1 => return disk.lose(name),
        5 => change_header(&mut bytes, chance),
        6 => {
            for _ in 0..1 + chance.below(30) {
                let at = small(chance, bytes.len());
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << chance.below(8);
                }
            }
        }
        _ => change_frame(&mut bytes, block, chance),
    }
    disk.put(name, &bytes);
}

/// A number that somebody may write where another belongs: small, large, or near to what was there.
fn strange(chance: &mut Chance, old: u64) -> u64 {
    match chance.below(6) {
        0 => chance.below(5),
        1 => old.wrapping_add(1),
        2 => old.wrapping_sub(1),
        3 => u64::MAX - chance.below(3),
        4 => 1 << chance.below(64),
        _ => chance.next(),
    }
}

/// Another number in both copies of the header, which are whole again then. Magic, version and store stay: the refusals are
/// known.
fn change_header(bytes: &mut [u8], chance: &mut Chance) {
    if bytes.len() < 2 * BLOCK {
        return;
    }
    let at = 32 + 8 * small(chance, 7);
    let value = strange(chance, number_at(bytes, at)).to_le_bytes();
    for copy in [0, BLOCK] {
        bytes[copy + at..copy + at + 8].copy_from_slice(&value);
        let checksum = crc32fast::hash(&bytes[copy..copy + 124]);
        bytes[copy + 124..copy + 128].copy_from_slice(&checksum.to_le_bytes());
    }
}

/// Another number in the head or the directory of the frame at `at`, if there is one, with a right checksum.
fn change_frame(bytes: &mut [u8], at: usize, chance: &mut Chance) {
    if bytes.len() < BLOCK {
        return;
    }
    let salt = number_at(bytes, 40);
    let is_frame = |frame: &&mut [u8]| frame.len() >= 64 && frame.starts_with(b"ORF2");
    let Some(frame) = bytes.get_mut(at..).filter(is_frame) else { return };
    let directory = usize::try_from(number_at(frame, 28) & 0xffff_ffff).expect("small");
    let Some(copy) = frame.get_mut(..64 + directory) else { return };
    for _ in 0..=chance.below(2) {
        // Half of the time a whole word, as numbers are laid out; else a byte, which kinds and flags are.
        if chance.is_heads() {
            let word = 8 + 8 * small(chance, (copy.len() - 8) / 8);
            let value = strange(chance, number_at(copy, word));
            copy[word..word + 8].copy_from_slice(&value.to_le_bytes());
        } else {
            let byte = 8 + small(chance, copy.len() - 8);
            copy[byte] = u8::try_from(chance.below(256)).expect("a byte");
        }
    }
    seal_frame(copy, salt);
}
