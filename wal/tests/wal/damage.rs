//! A log of 64 KiB, every bit of it flipped, every sector and block wiped, swapped and replaced by that of another life:
//! nothing that was acknowledged is lost without a finding that says so. `ORDEAL_WAL_WHOLE=1` for every bit; without it,
//! every 61st.

use std::collections::BTreeSet;
use std::sync::Arc;

use ordeal_wal::media::Memory;
use ordeal_wal::{GroupState, Loss, Options, Recovered, Wal, WalError};

use crate::common::{Chance, cases, is_whole, open, options, segment};
use crate::script::{Group, Model, Script, batch, observe, observe_examined};

const BLOCK: usize = 4096;

/// A log as it lies on the disk, and what it holds.
pub struct Sample {
    pub disk: Memory,
    pub model: Model,
    /// The model before the last commit: what may be left when nothing proves that one durable.
    before_last: Model,
}

/// A life of so many commits that ends with a mark, or without.
pub fn sample(seed: u64, commits: usize, marked: bool) -> Sample {
    sample_of_lives(seed, commits, marked, usize::MAX)
}

/// The same, in lives of so many commits each.
pub fn sample_of_lives(seed: u64, commits: usize, marked: bool, each: usize) -> Sample {
    let script = Script::draw(&mut Chance::new(seed), commits, 1_500);
    let disk = Memory::with_salts(seed);
    let (mut wal, _) = open(&disk).expect("an empty disk");
    for (number, steps) in script.commits.iter().enumerate() {
        wal.commit(&mut batch(steps)).expect("a healthy disk");
        if (number + 1) % each == 0 {
            drop(wal);
            wal = open(&disk).expect("a healthy disk").0;
        }
    }
    if marked {
        wal.mark().expect("a healthy disk");
    }
    let before_last = script.models[commits - 1].clone();
    Sample { disk, model: script.models[commits].clone(), before_last }
}

impl Sample {
    fn names(&self) -> Vec<String> {
        (1..200).map(segment).filter(|name| self.disk.read_all(name).is_some()).collect()
    }

    /// The log with one file changed.
    fn with(&self, name: &str, bytes: &[u8]) -> Memory {
        let disk = self.disk.copy();
        disk.put(name, bytes);
        disk
    }
}

/// Opens a damaged log: what is missing is told, what is told is missing. Returns whether anything was found.
pub fn check(disk: &Memory, expected: &Model, what: &str) -> bool {
    match open(disk) {
        Err(WalError::Damaged { .. }) => true,
        Err(error) => panic!("{what}: {error}"),
        Ok((wal, recovered)) => {
            let lost = losses(&observe(&wal, &recovered), &recovered, expected);
            assert!(lost.is_empty(), "{what}: lost silently: {lost:?}; {:?}", recovered.report);
            !recovered.report.is_clean()
        }
    }
}

/// Everything that is not as expected, and that no finding tells.
fn losses(found: &Model, recovered: &Recovered, expected: &Model) -> Vec<String> {
    let mut lost = Vec::new();
    let report = &recovered.report;
    let frames_lost =
        report.damage.iter().any(|damage| matches!(damage.loss, Loss::Frames(_) | Loss::Segment));
    for (id, group) in expected {
        match (found.get(id), recovered.groups.get(id)) {
            (Some(found), Some(state)) => {
                compare(*id, group, found, state, frames_lost, &mut lost);
            }
            _ if report.groups_may_be_missing => {}
            _ => lost.push(format!("group {id}")),
        }
    }
    for (id, state) in &recovered.groups {
        if !expected.contains_key(id) && state.amnesia.is_none() {
            lost.push(format!("destruction of group {id}"));
        }
    }
    lost
}

fn compare(
    id: u64,
    expected: &Group,
    found: &Group,
    state: &GroupState,
    frames_lost: bool,
    lost: &mut Vec<String>,
) {
    let amnesia = state.amnesia;
    let faulty: BTreeSet<u64> =
        state.faulty.iter().flat_map(|faulty| faulty.first..faulty.first + faulty.count).collect();
    if (found.term, found.vote) != (expected.term, expected.vote)
        && !amnesia.is_some_and(|amnesia| amnesia.vote)
    {
        lost.push(format!("vote of {id}"));
    }
    if (found.snapshot, found.first) != (expected.snapshot, expected.first) && !frames_lost {
        lost.push(format!("snapshot of {id}"));
    }
    let tail = amnesia.is_some_and(|amnesia| amnesia.tail);
    for (index, entry) in &expected.entries {
        let there = found.entries.get(index);
        if there != Some(entry) && !faulty.contains(index) && !tail {
            lost.push(format!("entry {index} of {id}: {there:?}"));
        }
    }
    for (index, entry) in &found.entries {
        let gone = *index >= expected.first && !expected.entries.contains_key(index);
        if gone && !tail {
            lost.push(format!("truncation of {index} of {id}: {entry:?}"));
        }
    }
}

/// A sample of one segment of 64 KiB, about full, one of several segments, and one of several lives.
fn samples() -> Vec<Sample> {
    let one = (1..).map(|seed| sample(seed, 12, true)).find(|sample| sample.names().len() == 2);
    let several = (1..).map(|seed| sample(seed, 24, true)).find(|sample| sample.names().len() > 2);
    vec![one.expect("some seed"), several.expect("some seed"), sample_of_lives(3, 20, true, 4)]
}

#[test]
fn no_flipped_bit_loses_anything_silently() {
    let (mut flips, mut found) = (0, 0);
    for sample in samples() {
        for name in sample.names() {
            let bits = 8 * sample.disk.read_all(&name).map_or(0, |bytes| bytes.len());
            for bit in (0..bits).step_by(401) {
                let disk = sample.disk.copy();
                disk.flip(&name, bit);
                found += u64::from(check(&disk, &sample.model, &format!("{name} bit {bit}")));
                flips += 1;
            }
        }
    }
    println!("{flips} flips, {found} of them found, the others in padding and mirrors");
    assert!(found > flips / 20);
}

/// A log that is one segment of 64 KiB, nearly full.
fn one_segment() -> Sample {
    let length = 64 << 10;
    let sized = Options { segment_bytes_first: length, segment_bytes_max: length, ..options() };
    let nearly_full = |sample: &Sample| {
        let bytes = sample.disk.read_all(&segment(1)).filter(|_| sample.names().len() == 1);
        // Two blocks are kept for votes.
        bytes.is_some_and(|bytes| bytes[bytes.len() - 4 * BLOCK..].iter().any(|&byte| byte != 0))
    };
    let drawn = |seed: u64| {
        let commits = 5 + usize::try_from(seed % 12).expect("small");
        let script = Script::draw(&mut Chance::new(seed), commits, 1_500);
        let disk = Memory::with_salts(seed);
        let (mut wal, _) = Wal::open_on(Arc::new(disk.clone()), sized).expect("an empty disk");
        for steps in &script.commits {
            wal.commit(&mut batch(steps)).expect("a healthy disk");
        }
        wal.mark().expect("a healthy disk");
        let (model, before_last) = (script.models[commits].clone(), script.models[commits - 1].clone());
        Sample { disk, model, before_last }
    };
    (1..1_000).map(drawn).find(nearly_full).expect("some seed")
}

/// What a recovery comes to is asked of the examination, which is what opening does before it writes anything; so the disk
/// need not be copied for each bit. That opening then keeps it is the other tests' to show.
#[test]
fn no_bit_of_a_log_of_64_kib_is_lost_silently_when_it_is_flipped() {
    let sample = one_segment();
    let name = segment(1);
    let bits = 8 * sample.disk.read_all(&name).map_or(0, |bytes| bytes.len());
    assert_eq!(bits, 8 * 65_536);
    let whole = ordeal_wal::examine(&sample.disk).expect("healthy");
    assert_eq!(observe_examined(&sample.disk, &whole), sample.model);
    let (mut flips, mut found) = (0, 0);
    for bit in (0..bits).step_by(if is_whole() { 1 } else { 61 }) {
        sample.disk.flip(&name, bit);
        match ordeal_wal::examine(&sample.disk) {
            Err(WalError::Damaged { .. }) => found += 1,
            Err(error) => panic!("bit {bit}: {error}"),
            Ok(examined) => {
                let recovered = &examined.recovered;
                let seen = observe_examined(&sample.disk, &examined);
                let lost = losses(&seen, recovered, &sample.model);
                assert!(lost.is_empty(), "bit {bit}: lost silently: {lost:?}; {:?}", recovered.report);
                found += u64::from(!recovered.report.is_clean());
            }
        }
        sample.disk.flip(&name, bit);
        flips += 1;
    }
    println!(
        "{flips} flips, {found} of them found, the others in padding and mirrors: {:.1} s of CPU",
        cpu()
    );
    assert!(found > flips / 20);
}

/// CPU seconds of this thread so far.
fn cpu() -> f64 {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_THREAD);
    let usage = usage.expect("our own usage");
    [usage.user_time(), usage.system_time()]
        .iter()
        .map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6)
        .sum()
}

#[test]
fn no_wiped_sector_or_block_loses_anything_silently() {
    let mut wipes = 0;
    for sample in samples() {
        for name in sample.names() {
            let whole = sample.disk.read_all(&name).unwrap();
            for size in [512, BLOCK] {
                for at in (0..whole.len()).step_by(size) {
                    for with in [0, 0xff] {
                        let mut bytes = whole.clone();
                        bytes[at..at + size].fill(with);
                        check(&sample.with(&name, &bytes), &sample.model, &format!("{name} {size} at {at}"));
                        wipes += 1;
                    }
                }
            }
        }
    }
    println!("{wipes} wipes");
}

#[test]
fn no_swapped_or_stale_block_loses_anything_silently() {
    for sample in samples() {
        let other = crate::damage::sample(99, 24, true);
        for name in sample.names() {
            let whole = sample.disk.read_all(&name).unwrap();
            let stale = other.disk.read_all(&name).unwrap_or_default();
            for at in (0..whole.len()).step_by(BLOCK) {
                for with in (at + BLOCK..whole.len()).step_by(BLOCK) {
                    let mut bytes = whole.clone();
                    bytes[at..at + BLOCK].copy_from_slice(&whole[with..with + BLOCK]);
                    bytes[with..with + BLOCK].copy_from_slice(&whole[at..at + BLOCK]);
                    check(
                        &sample.with(&name, &bytes),
                        &sample.model,
                        &format!("{name} {at} and {with} swapped"),
                    );
                }
                if let Some(block) = stale.get(at..at + BLOCK) {
                    let mut bytes = whole.clone();
                    bytes[at..at + BLOCK].copy_from_slice(block);
                    check(
                        &sample.with(&name, &bytes),
                        &sample.model,
                        &format!("{name} {at} of another life"),
                    );
                }
            }
        }
    }
}

#[test]
fn a_file_cut_short_anywhere_loses_nothing_silently() {
    for sample in samples() {
        for name in sample.names() {
            let whole = sample.disk.read_all(&name).unwrap();
            for length in (0..whole.len()).step_by(1000) {
                let disk = sample.with(&name, &whole[..length]);
                // All of the newest segment's end may be gone: then the file says that it was longer, and nothing more.
                let newest = sample.names().last() == Some(&name);
                if newest && length > 2 * BLOCK {
                    let (wal, recovered) = open(&disk).expect("the headers are there");
                    drop(observe(&wal, &recovered));
                } else {
                    check(&disk, &sample.model, &format!("{name} cut at {length}"));
                }
            }
        }
    }
}

#[test]
fn without_a_mark_only_the_last_frame_can_be_lost_and_its_votes_are_not() {
    for seed in 1..30 {
        let sample = sample(seed, 6, false);
        let name = sample.names().pop().unwrap();
        let whole = sample.disk.read_all(&name).unwrap();
        for at in (2 * BLOCK..whole.len()).step_by(512) {
            let mut bytes = whole.clone();
            bytes[at..at + 512].fill(0);
            let disk = sample.with(&name, &bytes);
            let (wal, recovered) = open(&disk).unwrap();
            let seen = observe(&wal, &recovered);
            if !losses(&seen, &recovered, &sample.model).is_empty() {
                let left = losses(&seen, &recovered, &sample.before_last);
                let votes = left.iter().all(|loss| loss.starts_with("vote of") || loss.starts_with("group"));
                assert!(votes, "seed {seed} at {at}: more than the last frame: {left:?}");
                assert!(recovered.report.torn.is_some(), "seed {seed} at {at}: at least it looks torn");
                for (id, group) in &sample.model {
                    let found = &recovered.groups[id];
                    assert_eq!(
                        (found.term, found.vote),
                        (group.term, group.vote),
                        "seed {seed} at {at}: a vote is lost"
                    );
                }
            }
        }
    }
}

#[test]
fn what_was_found_is_found_again_in_every_later_life() {
    for seed in 1..20 {
        let sample = sample_of_lives(seed, 10, true, 4);
        let name = sample.names().pop().unwrap();
        let whole = sample.disk.read_all(&name).unwrap();
        for at in (3 * BLOCK..whole.len()).step_by(BLOCK) {
            let mut bytes = whole.clone();
            bytes[at..at + BLOCK].fill(0);
            let disk = sample.with(&name, &bytes);
            let Ok((wal, first)) = open(&disk) else { continue };
            let seen = observe(&wal, &first);
            drop(wal);
            let (wal, second) = open(&disk).unwrap();
            assert_eq!(second.groups, first.groups, "seed {seed} at {at}");
            assert_eq!(observe(&wal, &second), seen, "seed {seed} at {at}");
        }
    }
}

#[test]
fn no_damage_to_any_log_of_any_number_of_lives_loses_anything_silently() {
    let mut chance = Chance::new(11);
    let mut log = None;
    for case in 0..cases(2_000) {
        if case % 40 == 0 {
            let (commits, each) = (4 + chance.below(30), 1 + chance.below(12));
            let number = |number| usize::try_from(number).expect("small");
            log = Some(sample_of_lives(case, number(commits), true, number(each)));
        }
        let sample = log.as_ref().expect("it was drawn");
        let names = sample.names();
        let name = &names[usize::try_from(chance.below(names.len() as u64)).expect("few")];
        let mut bytes = sample.disk.read_all(name).unwrap();
        let size = [1, 8, 64, 512, BLOCK][usize::try_from(chance.below(5)).expect("five")];
        let at = usize::try_from(chance.below((bytes.len() / size) as u64)).expect("in the file") * size;
        let noise = chance.next();
        for (byte, noise) in bytes[at..at + size].iter_mut().zip(noise.to_le_bytes().into_iter().cycle()) {
            *byte = if noise & 7 == 0 { 0 } else { *byte ^ noise };
        }
        let disk = sample.with(name, &bytes);
        check(&disk, &sample.model, &format!("case {case}: {name} {size} at {at}"));
    }
}
