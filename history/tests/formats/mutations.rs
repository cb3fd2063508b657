//! Random changes of small files of each format: readers give records or an error, never a panic, and in bounded memory.
//!
//! For longer: `ORDEAL_MUTATIONS=10000000 cargo test -p ordeal-history --release --test formats mutations`; another
//! course with `ORDEAL_SEED=7`.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use ordeal_history::Header;
use ordeal_history::formats::{Format, Reader, Writer};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::binary::sample;
use crate::samples::SAMPLES;

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

/// Bits that parsers stumble over.
const BITS: [&[u8]; 40] = [
    b"[",
    b"]",
    b"{",
    b"}",
    b"(",
    b")",
    b"\"",
    b"\\",
    b":",
    b"#",
    b"#_",
    b"#{",
    b";",
    b"\n",
    b"\t",
    b"\0",
    b"\xff",
    b"nil",
    b"null",
    b"-1",
    b"99999999999999999999",
    b"1/0",
    b"1e999",
    b"\\u",
    b"\\ud800",
    b"\\ud800\\udc00",
    b":type",
    b":invoke",
    b":ok",
    b":info",
    b":fail",
    b"[[",
    b"##Inf",
    b"#x ",
    b",",
    b" ",
    b"\"type\":",
    b"\xef\xbb\xbf",
    b":process 4294967296",
    b"9223372036854775807",
];

fn mutate(bytes: &mut Vec<u8>, rng: &mut Pcg64) {
    for _ in 0..rng.random_range(1..5) {
        let at = rng.random_range(0..=bytes.len());
        let end = rng.random_range(at..=bytes.len().min(at + 40));
        match rng.random_range(0..8) {
            0 if at < bytes.len() => bytes[at] = rng.random(),
            1 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let copy = bytes[at..end].to_vec();
                let to = rng.random_range(0..=bytes.len());
                bytes.splice(to..to, copy);
            }
            4 => bytes.truncate(at),
            5 => {
                let to = rng.random_range(0..=bytes.len());
                bytes.splice(to..to, std::iter::repeat_n(b'[', rng.random_range(1..200)));
            }
            _ => {
                let bit = BITS[rng.random_range(0..BITS.len())];
                bytes.splice(at..if rng.random() { at } else { end }, bit.iter().copied());
            }
        }
    }
}

/// Changes what is inside of the frames, whose checksums then fit again: else no change would get past them.
fn mutate_frames(bytes: &[u8], rng: &mut Pcg64) -> Vec<u8> {
    let (head, mut rest) = bytes.split_at(12);
    let mut changed = head.to_vec();
    let mut is_header = true;
    while !rest.is_empty() {
        let length = u32::from_le_bytes(rest[..4].try_into().expect("four bytes")) as usize;
        let mut payload = rest[12..12 + length].to_vec();
        rest = &rest[12 + length..];
        if !is_header || rng.random_range(0..10) == 0 {
            mutate(&mut payload, rng);
        }
        is_header = false;
        let length = u32::try_from(payload.len()).expect("small").to_le_bytes();
        changed.extend_from_slice(&length);
        changed.extend_from_slice(&crc32fast::hash(&length).to_le_bytes());
        changed.extend_from_slice(&crc32fast::hash(&payload).to_le_bytes());
        changed.extend_from_slice(&payload);
    }
    changed
}

/// Reads to the end or to the error, and writes what it reads as everything that can be written.
fn read_and_write(bytes: &[u8], format: Option<Format>, directory: Option<&Path>) -> bool {
    let Ok(mut reader) = Reader::on(Path::new("history"), Cursor::new(bytes.to_vec()), format) else {
        return false;
    };
    let formats = Format::ALL.into_iter().filter(|format| format.can_be_written());
    let mut writers: Vec<Writer> = directory
        .into_iter()
        .flat_map(|directory| {
            formats.clone().map(|format| {
                let path = directory.join(format.name());
                let _ = std::fs::remove_file(&path);
                Writer::create(&path, format, &Header::default()).expect("a fresh file")
            })
        })
        .collect();
    loop {
        match reader.next_record() {
            Ok(Some(record)) => writers.retain_mut(|writer| writer.push(record.clone()).is_ok()),
            Ok(None) => break,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                return false;
            }
        }
    }
    writers.into_iter().for_each(|writer| drop(writer.finish()));
    true
}

#[test]
fn no_bytes_make_a_reader_panic() {
    let (seed, rounds) = (from_env("ORDEAL_SEED", 1), from_env("ORDEAL_MUTATIONS", 60_000));
    let mut rng = Pcg64::seed_from_u64(seed);
    let mut samples: Vec<(Format, Vec<u8>)> =
        SAMPLES.iter().map(|(format, text)| (*format, text.as_bytes().to_vec())).collect();
    samples.push((Format::Binary, sample()));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut survivors = 0;
    for round in 0..rounds {
        let (format, bytes) = &samples[rng.random_range(0..samples.len())];
        let mut bytes = bytes.clone();
        if *format == Format::Binary && rng.random_range(0..4) > 0 {
            bytes = mutate_frames(&bytes, &mut rng);
        } else {
            mutate(&mut bytes, &mut rng);
        }
        // Mostly as what it was; sometimes as what it seems to be, or as anything.
        let format = match rng.random_range(0..8) {
            0 => None,
            1 => Some(Format::ALL[rng.random_range(0..Format::ALL.len())]),
            _ => Some(*format),
        };
        let directory = (round % 64 == 0).then_some(directory.path());
        let read = catch_unwind(AssertUnwindSafe(|| read_and_write(&bytes, format, directory)));
        match read {
            Ok(whole) => survivors += u64::from(whole),
            Err(_) => panic!("seed {seed}, round {round}, {format:?}: {:?}", String::from_utf8_lossy(&bytes)),
        }
    }
    // Changes that no reader minds would test nothing, and so would changes that none gets past.
    assert!(survivors > rounds / 50, "{survivors} of {rounds} were read to the end");
    assert!(survivors < rounds / 2, "{survivors} of {rounds} were read to the end");
}
