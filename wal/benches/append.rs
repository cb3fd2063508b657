//! How long an append and its sync take, beside the same bytes put through a bare mapping in the same run: on a noisy
//! machine only the ratio means something. `cargo bench -p ordeal-wal`, or with a directory on the disk in question:
//! `cargo bench -p ordeal-wal -- DIR`.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use ordeal_wal::{Options, Wal};

/// The very mapping that the log uses, and the only file that may hold unsafe code.
#[path = "../src/mmap.rs"]
mod mmap;

/// Rounds of each, in turns, so that a slow second hits both alike.
const ROUNDS: usize = 400;
const BLOCK: usize = 4096;

fn main() {
    // cargo passes `--bench` along; the first word that is no flag is the directory.
    let given = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let parent = given.map_or_else(std::env::temp_dir, Into::into);
    let dir = tempfile::tempdir_in(&parent).expect("a directory to write to");
    let started = Instant::now();
    drop(Wal::open(&dir.path().join("empty"), Options::default()).expect("a log"));
    println!("opening an empty log: {:?}", started.elapsed());
    println!(
        "{:>8} {:>7} {:>11} {:>11} {:>11} {:>7}",
        "record", "a sync", "log p10", "log p50", "bare p50", "ratio"
    );
    for (bytes, batch) in [(64, 1), (64, 16), (256, 16), (256, 256), (4096, 1), (4096, 16)] {
        measure(dir.path(), bytes, batch);
    }
}

fn measure(dir: &Path, bytes: usize, batch: usize) {
    let content = vec![7; bytes];
    let frame = (64 + batch * (12 + bytes)).next_multiple_of(BLOCK);
    let length = (ROUNDS + 8) * frame;
    // One segment for all rounds: a rotation is another story.
    let options = Options { segment_bytes_first: length as u64, ..Options::default() };
    let (mut wal, _) = Wal::open(&dir.join(format!("{bytes}x{batch}")), options).expect("a log");
    let mut bare = bare_mapping(&dir.join("bare"), length);
    let (mut log_times, mut bare_times) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let started = Instant::now();
        for _ in 0..batch {
            wal.append(1, &content).expect("room");
        }
        wal.sync().expect("a disk");
        log_times.push(started.elapsed());
        let started = Instant::now();
        let at = round * frame;
        for index in 0..batch {
            bare.write(at + index * bytes, &content);
        }
        bare.sync(at, batch * bytes).expect("a disk");
        bare_times.push(started.elapsed());
    }
    assert!(bare.bytes()[..bytes] == content, "the bare mapping holds what was put through it");
    let (log, raw) = (quantile(&mut log_times, 50), quantile(&mut bare_times, 50));
    let ratio = log.as_secs_f64() / raw.as_secs_f64();
    let fast = quantile(&mut log_times, 10);
    println!("{bytes:>8} {batch:>7} {fast:>11.1?} {log:>11.1?} {raw:>11.1?} {ratio:>7.2}");
}

/// A file prepared as a segment is, and mapped.
fn bare_mapping(path: &Path, length: usize) -> mmap::Mapping {
    let file = File::options().create(true).truncate(true).read(true).write(true).open(path).expect("a file");
    for offset in (0..length).step_by(BLOCK) {
        file.write_all_at(&[0; BLOCK], offset as u64).expect("space");
    }
    file.sync_all().expect("a disk");
    mmap::Mapping::new(&file, length).expect("a mapping")
}

fn quantile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[times.len() * percent / 100]
}
