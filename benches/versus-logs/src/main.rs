//! How long a durable commit takes: of our log, of other logs, and of a bare file as the limit; each round all of them once,
//! in turns, so that what else the machine does meets all alike. Only the ratios mean something on a noisy machine.
//!
//! `versus-logs DIR`: DIR lies on the disk in question.

mod logs;
#[path = "../../../wal/src/mmap.rs"]
mod mmap;

use std::path::Path;
use std::time::{Duration, Instant};

use logs::{Log, all};

/// Rounds of a cell.
const ROUNDS: usize = 300;
/// Fewer of those that write a megabyte each.
const ROUNDS_LONG: usize = 60;
/// Rounds before the first that counts.
const WARM_UP: usize = 5;

fn main() {
    let Some(parent) = std::env::args().nth(1) else {
        eprintln!("error: no directory was given\nhint: versus-logs DIR, on the disk to measure");
        std::process::exit(2);
    };
    println!(
        "p50 of a durable commit in µs, and in brackets how many times ours that is (above 1: ours is faster)"
    );
    for bytes in [64, 256, 4096] {
        for count in [1, 16, 256] {
            let dir = tempfile::tempdir_in(&parent).expect("a directory to write to");
            cell(dir.path(), bytes, count);
        }
    }
}

fn cell(dir: &Path, bytes: usize, count: usize) {
    let rounds = if bytes * count > 1 << 19 { ROUNDS_LONG } else { ROUNDS };
    let mut logs = all(dir, bytes, count, rounds + WARM_UP);
    if (bytes, count) == (64, 1) {
        println!("| entry × a commit | {} |", names(&logs));
        println!("| --- |{}", " ---: |".repeat(logs.len()));
    }
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); logs.len()];
    for round in 0..rounds + WARM_UP {
        // Who comes first changes, as the first finds the disk as the last left it.
        for turn in 0..logs.len() {
            let at = (round + turn) % logs.len();
            let started = Instant::now();
            logs[at].1.commit();
            if round >= WARM_UP {
                times[at].push(started.elapsed());
            }
        }
    }
    let medians: Vec<f64> = times.iter_mut().map(|times| median(times)).collect();
    let cells = medians.iter().enumerate().map(|(at, median)| match at {
        0 => format!("{median:.0}"),
        _ => format!("{median:.0} ({:.2})", median / medians[0]),
    });
    println!("| {bytes} B × {count} | {} |", cells.collect::<Vec<_>>().join(" | "));
}

fn names(logs: &[(&'static str, Box<dyn Log>)]) -> String {
    logs.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" | ")
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6
}
