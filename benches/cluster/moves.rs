//! A shard moves back and forth between two groups while it is written to a thousand times a second: for how long no write of it is
//! answered, and that none fails. Beside it the longest silence when nothing moves, of the same writer on the same machine.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ordeal_client::wire::{AdminChange, CommandId, Decision, GroupId, ShardId, WriteOp, shard_of};
use ordeal_client::{Client, ClientConfig, Operation, Pipeline};

use super::nodes::Cluster;
use super::{PATIENCE, summary};

const SHARDS: u32 = 2;
/// Sizes of the shard, and how often it moves in each.
const WORLDS: [(u64, usize); 3] = [(1, 200), (10, 60), (100, 12)];
const FILL_BYTES: usize = 10_000;
const WRITES_A_SECOND: u32 = 1_000;
/// Keys that are written to again and again.
const KEYS: u64 = 500;
/// Between two moves, so that the one is over before the next.
const REST: Duration = Duration::from_millis(50);

pub fn moves() {
    for (megabytes, rounds) in WORLDS {
        let cluster = Cluster::start(&["--groups", "2", "--shards", "2"]);
        let mut administrator = cluster.client();
        let entries = megabytes * 1_000_000 / FILL_BYTES as u64;
        cluster.put_many(1, 64, entries, |number| key(KEYS + number), FILL_BYTES);
        let stop = AtomicBool::new(false);
        let config = ClientConfig { deadline: PATIENCE, ..ClientConfig::new(cluster.endpoints()) };
        let (answers, windows) = std::thread::scope(|scope| {
            let writer = scope.spawn(|| write(config, &stop));
            let windows = (0..rounds).map(|_| one_move(&mut administrator)).collect::<Vec<_>>();
            stop.store(true, Ordering::Relaxed);
            (writer.join().expect("the writer"), windows)
        });
        let silence = |from: Instant, to: Instant| {
            let within = answers.iter().copied().filter(|at| (from..=to).contains(at));
            let times: Vec<Instant> = [from].into_iter().chain(within).chain([to]).collect();
            times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
        };
        let pauses: Vec<Duration> = windows.iter().map(|&(from, to)| silence(from, to + REST)).collect();
        let took: Vec<Duration> = windows.iter().map(|&(from, to)| to - from).collect();
        let calm: Vec<Duration> =
            windows.windows(2).map(|pair| silence(pair[0].1 + REST, pair[1].0)).collect();
        println!("{megabytes} MB, {rounds} moves, {} writes, none failed", answers.len());
        println!("  the move takes   {}", summary(&took));
        println!("  longest silence  {}  (promised: p50 10 ms, p99 50 ms)", summary(&pauses));
        let ends: Vec<Duration> =
            windows.iter().map(|&(_, to)| silence(to.checked_sub(REST).unwrap_or(to), to + REST)).collect();
        println!("  at the end       {}  (the shard is handed over)", summary(&ends));
        println!("  without a move   {}", summary(&calm));
    }
}

/// A key of the first shard.
fn key(number: u64) -> Vec<u8> {
    format!("{{{}}}{number}", tag(ShardId(0), SHARDS)).into_bytes()
}

/// What keeps keys in a shard, of so many.
pub fn tag(shard: ShardId, shards: u32) -> String {
    let mut tags = (0..).map(|number: u32| number.to_string());
    tags.find(|tag| shard_of(format!("{{{tag}}}").as_bytes(), shards) == shard).expect("one hashes there")
}

/// Writes on time until it is told to stop; gives when each was answered.
fn write(config: ClientConfig, stop: &AtomicBool) -> Vec<Instant> {
    let mut pipeline = Pipeline::new(config, 1).expect("a client");
    let (mut answers, started, mut begun) = (Vec::new(), Instant::now(), 0_u64);
    while !stop.load(Ordering::Relaxed) || pipeline.under_way() > 0 {
        let due = started.elapsed().as_secs_f64() * f64::from(WRITES_A_SECOND);
        while !stop.load(Ordering::Relaxed) && (begun as f64) < due {
            let operation = Operation::Write { key: key(begun % KEYS), op: WriteOp::Put(vec![7; 100]) };
            pipeline.submit(begun, operation).expect("room");
            begun += 1;
        }
        pipeline.turn(Duration::from_micros(500)).expect("sockets");
        while let Some(done) = pipeline.done() {
            done.outcome.expect("a write that no client sees fail");
            answers.push(Instant::now());
        }
    }
    answers
}

/// Moves the first shard to the other group: from the command until the controller says that it is there.
pub fn one_move(administrator: &mut Client) -> (Instant, Instant) {
    std::thread::park_timeout(4 * REST);
    let mut now = administrator.configuration(None).expect("a configuration");
    let owner = now.owner(ShardId(0)).expect("the shard");
    let to = if owner.group == GroupId(1) { GroupId(2) } else { GroupId(1) };
    let change = AdminChange::Move { shard: ShardId(0), to };
    let begun = Instant::now();
    let decided = administrator.reshape(CommandId::new(), now.number, &change).expect("a decision");
    assert!(matches!(decided, Decision::Done { .. }), "{decided:?}");
    while now.owner(ShardId(0)).is_none_or(|owner| owner.group != to) {
        now = administrator.watch(now.number).expect("news");
    }
    (begun, Instant::now())
}
