//! What three nodes on this machine promise a client, each figure beside what it is to be compared with:
//!
//! ```sh
//! cargo bench -p ordeal --bench cluster -- put       # a put of one client, beside a bare sync of the same disk
//! cargo bench -p ordeal --bench cluster -- kill      # kill -9 of the leader, until the next put is done, 20 times
//! cargo bench -p ordeal --bench cluster -- silent    # the leader stands still with its connections open, 20 times
//! cargo bench -p ordeal --bench cluster -- moves     # a shard of 1, 10 and 100 MB moves while it is written to: its pause
//! cargo bench -p ordeal --bench cluster -- groups    # writes a second with 1, 2 and 4 groups; of other shards while one moves
//! cargo bench -p ordeal --bench cluster -- restart   # a million entries of 100 bytes, kill -9 of all, until they serve
//! ```
//!
//! `ORDEAL_BENCH_DIR` says where the data lies; without it, it is the directory of temporary files.

mod groups;
mod moves;
mod nodes;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use nodes::{Cluster, NODES, cpu_of, ready};

const ROUNDS: usize = 20;
const ENTRIES: u64 = 1_000_000;
const RESTARTS: usize = 5;
/// The default of `ordeal node start`.
const ELECTION_TIMEOUT: Duration = Duration::from_millis(250);
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    // cargo passes `--bench` along; words that are no flags say what to measure.
    let asked: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wants = |what: &str| asked.is_empty() || asked.iter().any(|word| word == what);
    if wants("put") {
        put();
    }
    if wants("kill") {
        let times = failover(Signal::SIGKILL);
        println!(
            "kill -9 of the leader, next put done: {}  (promised: 100 ms at the median)",
            summary(&times)
        );
    }
    if wants("silent") {
        let times = failover(Signal::SIGSTOP);
        let ratio = quantile(&times, 50).as_secs_f64() / ELECTION_TIMEOUT.as_secs_f64();
        println!(
            "silent leader, next put done: {}  ({ratio:.2} of the election timeout, promised: 1.5, and 400 ms)",
            summary(&times)
        );
    }
    if wants("moves") {
        moves::moves();
    }
    if wants("groups") {
        groups::groups();
    }
    if wants("restart") {
        restart();
    }
}

fn put() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.client();
    let value = [7; 256];
    let bare = File::create(cluster.dir.path().join("bare")).expect("a file");
    let rounds = 2_000;
    for block in 0..rounds as u64 {
        bare.write_all_at(&[1; 4096], block * 4096).expect("space");
    }
    bare.sync_all().expect("a disk");
    let mut put = || {
        client.put(b"key", &value).expect("a put");
    };
    (0..200).for_each(|_| put());
    let (mut puts, mut syncs) = (Vec::new(), Vec::new());
    for block in 0..rounds as u64 {
        puts.push(timed(&mut put));
        syncs.push(timed(|| {
            bare.write_all_at(&[2; 4096], block * 4096).expect("space");
            bare.sync_data().expect("a disk");
        }));
    }
    let promised = 2 * quantile(&syncs, 50) + Duration::from_micros(300);
    let ratio = quantile(&puts, 50).as_secs_f64() / promised.as_secs_f64();
    println!("a put of 256 bytes: {}", summary(&puts));
    println!("a bare sync of 4 KiB: {}", summary(&syncs));
    println!("the put takes {ratio:.2} of two syncs and 300 µs, at the median");
}

/// From the signal to the leader until the next put is done, each time.
fn failover(signal: Signal) -> Vec<Duration> {
    let mut cluster = Cluster::start(&[]);
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let leader = cluster.settled();
        let mut client = cluster.client();
        client.put(b"key", b"before").expect("a put");
        let pid = Pid::from_raw(cluster.nodes[leader].id().cast_signed());
        times.push(timed(|| {
            kill(pid, signal).expect("the leader lives");
            client.put(b"key", b"after").expect("a put");
        }));
        if signal == Signal::SIGSTOP {
            kill(pid, Signal::SIGCONT).expect("it only stands still");
        } else {
            let _reaped = cluster.nodes[leader].wait();
            cluster.nodes[leader] = cluster.node(leader);
        }
    }
    times.sort_unstable();
    times
}

fn restart() {
    let mut cluster = Cluster::start(&[]);
    let started = Instant::now();
    cluster.put_many(4, 1_000, ENTRIES, |number| format!("key-{number}").into_bytes(), 100);
    println!("{ENTRIES} entries of 100 bytes: {:.1?}, {}", started.elapsed(), cluster.footprint());
    // First as it was killed at work, then after a rest, in which it takes a snapshot.
    for round in 0..2 * RESTARTS {
        if round == RESTARTS {
            cluster.rested();
        }
        cluster.end();
        let started = Instant::now();
        cluster.nodes = (0..NODES).map(|place| cluster.spawn(place)).collect();
        cluster.nodes.iter_mut().for_each(ready);
        let (up, cpu) = (started.elapsed(), cluster.cpu());
        let mut client = cluster.client();
        client.put(b"key", b"value").expect("a put");
        let serving = started.elapsed();
        println!(
            "restart of all{}: ready after {up:.1?} ({cpu}), serving after {serving:.1?} ({})",
            if round < RESTARTS { ", killed at work" } else { "" },
            cluster.cpu()
        );
    }
    println!("afterwards: {}", cluster.footprint());
    let alone = cluster.settled();
    for _ in 0..RESTARTS {
        let mut node = cluster.nodes.remove(alone);
        drop(node.kill().and_then(|()| node.wait()));
        let started = Instant::now();
        cluster.nodes.insert(alone, cluster.node(alone));
        let up = started.elapsed();
        println!("restart of one: ready after {up:.1?} ({})", cpu_of(&cluster.nodes[alone]));
        cluster.settled();
    }
}

fn timed(what: impl FnOnce()) -> Duration {
    let started = Instant::now();
    what();
    started.elapsed()
}

fn quantile(times: &[Duration], percent: usize) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[(times.len() * percent / 100).min(times.len() - 1)]
}

fn summary(times: &[Duration]) -> String {
    let [p50, p90, p99, max] = [50, 90, 99, 100].map(|percent| quantile(times, percent));
    format!("p50 {p50:.2?}, p90 {p90:.2?}, p99 {p99:.2?}, max {max:.2?}")
}
