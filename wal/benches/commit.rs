//! How long a commit takes, beside the same bytes by `pwrite` and `fdatasync`, and by a bare mapping and `msync`, in turns:
//! on a noisy machine only the ratio means something. Then entries a second over 8 groups, appending without syncs,
//! recovery, and opening an empty log. `cargo bench -p ordeal-wal`, or with a directory on the disk in question:
//! `cargo bench -p ordeal-wal -- DIR`.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use ordeal_wal::{Batch, Options, SyncMode, Wal, WalError};

/// The very mapping that the log uses, and the only file that may hold unsafe code.
#[path = "../src/mmap.rs"]
mod mmap;

/// Rounds of each, in turns, so that a slow second hits all alike.
const ROUNDS: usize = 400;
const BLOCK: usize = 4096;
const GROUPS: u64 = 8;

fn main() {
    // cargo passes `--bench` along; the first word that is no flag is the directory.
    let given = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let parent = given.map_or_else(std::env::temp_dir, Into::into);
    let dir = tempfile::tempdir_in(&parent).expect("a directory to write to");
    for round in 0..3 {
        let started = Instant::now();
        drop(Wal::open(&dir.path().join(format!("empty{round}")), Options::default()).expect("a log"));
        println!("opening an empty log: {:.1?}", started.elapsed());
    }
    println!("\none group, p10 and p50 in µs; the ratio is that of the p50s, and in brackets of the p10s");
    println!("   entry a commit    log p10  log p50   against pwrite+fdatasync   against mmap+msync");
    for (bytes, batch) in
        [(64, 1), (64, 16), (64, 256), (256, 16), (256, 256), (4096, 1), (4096, 16), (4096, 256)]
    {
        latency(dir.path(), bytes, batch);
    }
    println!("\n8 groups, durable entries a second; the median of the rounds, and over all of them");
    for (bytes, batch) in [(64, 256), (64, 1024), (256, 256), (256, 1024)] {
        throughput(dir.path(), bytes, batch);
    }
    println!();
    without_syncs(dir.path());
    recovery(dir.path());
}

fn fill(batch: &mut Batch, index: &mut [u64; 8], content: &[u8], count: usize, groups: u64) {
    batch.clear();
    for group in 0..groups {
        let next = &mut index[usize::try_from(group).expect("few groups")];
        for _ in 0..count / usize::try_from(groups).expect("few groups") {
            *next += 1;
            batch.entry(group, *next, 1, &[content]);
        }
    }
}

/// One segment for all rounds: a turn is another story.
fn roomy(bytes: usize) -> Options {
    let length = (bytes as u64).next_power_of_two().max(1 << 20);
    // And no room for another, so that none is prepared meanwhile.
    let total_bytes_max = length + 1;
    Options { segment_bytes_first: length, segment_bytes_max: length, total_bytes_max, ..Options::default() }
}

fn latency(dir: &Path, bytes: usize, count: usize) {
    let rounds = if bytes * count > 1 << 19 { ROUNDS / 4 } else { ROUNDS };
    let content = vec![7; bytes];
    let frame = (256 + count * (8 + bytes) + 8 * count).next_multiple_of(BLOCK);
    let length = (rounds + 8) * frame;
    let (mut wal, _) =
        Wal::open(&dir.join(format!("{bytes}x{count}")), roomy(length * 9 / 8)).expect("a log");
    let (path, mapped) = (dir.join("written"), dir.join("mapped"));
    let written = prepared(&path, length);
    let mut bare = mmap::Mapping::new(&prepared(&mapped, length), length, memmap2::Advice::PopulateRead)
        .expect("a mapping");
    let (mut batch, mut index) = (Batch::new(), [0; 8]);
    let (mut log, mut pwrite, mut msync) = (Vec::new(), Vec::new(), Vec::new());
    let all = content.repeat(count);
    for round in 0..rounds {
        let at = round * frame;
        log.push(timed(|| {
            fill(&mut batch, &mut index, &content, count, 1);
            wal.commit(&mut batch).expect("a disk");
        }));
        pwrite.push(timed(|| {
            written.write_all_at(&all, at as u64).expect("a disk");
            written.sync_data().expect("a disk");
        }));
        msync.push(timed(|| {
            bare.write(at, &all);
            bare.sync(at, all.len()).expect("a disk");
        }));
    }
    let ratio = |other: &mut Vec<Duration>, log: &mut Vec<Duration>| {
        let of = |percent, log: &mut Vec<Duration>, other: &mut Vec<Duration>| {
            quantile(log, percent).as_secs_f64() / quantile(other, percent).as_secs_f64()
        };
        format!("{:.2} ({:.2})", of(50, log, other), of(10, log, other))
    };
    let (fast, usual) = (quantile(&mut log, 10), quantile(&mut log, 50));
    let (one, two) = (ratio(&mut pwrite, &mut log), ratio(&mut msync, &mut log));
    println!("{bytes:>8} {count:>8} {:>10} {:>8} {one:>26} {two:>20}", fast.as_micros(), usual.as_micros());
    for path in [path, mapped] {
        std::fs::remove_file(path).expect("it was made");
    }
}

fn throughput(dir: &Path, bytes: usize, count: usize) {
    let content = vec![7; bytes];
    let (mut wal, _) =
        Wal::open(&dir.join(format!("many{bytes}x{count}")), Options::default()).expect("a log");
    let (mut batch, mut index) = (Batch::new(), [0; 8]);
    let mut times = Vec::new();
    let started = Instant::now();
    for _ in 0..ROUNDS {
        times.push(timed(|| {
            fill(&mut batch, &mut index, &content, count, GROUPS);
            wal.commit(&mut batch).expect("a disk");
        }));
    }
    let all = (ROUNDS * count) as f64 / started.elapsed().as_secs_f64();
    let (usual, fast) = (quantile(&mut times, 50), quantile(&mut times, 10));
    let median = count as f64 / usual.as_secs_f64();
    println!(
        "{bytes:>5} B x {count:>4}: {median:>10.0} at the median, {:>10.0} at p10, {all:>10.0} with turns",
        count as f64 / fast.as_secs_f64()
    );
}

fn without_syncs(dir: &Path) {
    let content = vec![7; 256];
    let never = Options { sync: SyncMode::Never, ..roomy(256 << 20) };
    let (mut wal, _) = Wal::open(&dir.join("never"), never).expect("a log");
    let (mut batch, mut index) = (Batch::new(), [0; 8]);
    for count in [16, 256] {
        let started = Instant::now();
        let rounds = 200_000 / count;
        for _ in 0..rounds {
            fill(&mut batch, &mut index, &content, count, GROUPS);
            wal.commit(&mut batch).expect("a disk");
        }
        let rate = (rounds * count) as f64 / started.elapsed().as_secs_f64();
        println!("not durable, 256 B in frames of {count} over 8 groups: {:.1} million a second", rate / 1e6);
    }
}

fn recovery(dir: &Path) {
    for bytes in [64, 256, 4096] {
        let content = vec![7; bytes];
        let never = Options { sync: SyncMode::Never, ..Options::default() };
        let place = dir.join(format!("recovery{bytes}"));
        let (mut wal, _) = Wal::open(&place, never).expect("a log");
        let (mut batch, mut index) = (Batch::new(), [0; 8]);
        let count = 64 << 10 >> bytes.ilog2();
        for _ in 0..(256 << 20) / (count * bytes) {
            fill(&mut batch, &mut index, &content, count.max(8), GROUPS);
            wal.commit(&mut batch).expect("a disk");
        }
        drop(wal);
        // In turns with a bare reading of the same files, a checksum over each piece. CPU time, as others may be at work.
        // What nothing proves durable moves: without a mark that is a frame.
        let (mut rate, mut bare) = (0.0_f64, 0.0_f64);
        let mut read = 0;
        for _ in 0..5 {
            bare = bare.max(bare_reading(&place));
            let started = cpu_seconds();
            let (wal, found) = Wal::open(&place, never).expect("a log");
            let took = cpu_seconds() - started;
            read = found.report.bytes;
            rate = rate.max(read as f64 / took / 1e9);
            assert!(found.report.is_clean(), "{:?}", found.report);
            drop(wal);
        }
        let (wal, _) = Wal::open(&place, never).expect("a log");
        let started = Instant::now();
        let mut sum = 0;
        for group in 0..GROUPS {
            let done: Result<(), WalError> = wal.read(group, 1, |_, _, content| {
                sum += content.len();
                Ok(())
            });
            done.expect("healthy");
        }
        let again = sum as f64 / started.elapsed().as_secs_f64() / 1e9;
        println!(
            "recovery, {bytes:>4} B, {} MiB in the cache: {rate:.2} GB a CPU second, verified and indexed; \
             a bare pread and crc32 of the same {bare:.2}: {:.2} of it; entries read: {again:.1} GB/s",
            read >> 20,
            rate / bare
        );
    }
}

/// GB a CPU second of the least that a verified reading of these files can do: reads of the log's length, and one checksum.
fn bare_reading(place: &Path) -> f64 {
    let (mut piece, mut all) = (vec![0; 256 << 10], 0);
    let mut sum = 0;
    let started = cpu_seconds();
    for file in std::fs::read_dir(place).expect("a log").map(|file| file.expect("a file").path()) {
        let file = File::open(file).expect("a file");
        let mut at = 0;
        loop {
            let count = file.read_at(&mut piece, at).expect("a disk");
            if count == 0 {
                break;
            }
            sum ^= crc32fast::hash(&piece[..count]);
            at += count as u64;
        }
        all += at;
    }
    std::hint::black_box(sum);
    all as f64 / (cpu_seconds() - started) / 1e9
}

/// User and system time of this process.
fn cpu_seconds() -> f64 {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).expect("our usage");
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

/// A file prepared as a segment is.
fn prepared(path: &Path, length: usize) -> File {
    let file = File::options().create(true).truncate(true).read(true).write(true).open(path).expect("a file");
    for offset in (0..length).step_by(BLOCK) {
        file.write_all_at(&[0; BLOCK], offset as u64).expect("space");
    }
    file.sync_all().expect("a disk");
    file
}

fn timed(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

fn quantile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[times.len() * percent / 100]
}
