//! Several groups: how many writes three nodes take with one, two and four of them; and how many of the other shards are answered
//! while one of 100 MB moves, beside as long a time in which nothing does: of a steady stream, and of as many as the nodes take.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ordeal_client::wire::{ShardId, WriteOp};
use ordeal_client::{ClientConfig, Operation, Pipeline};

use super::PATIENCE;
use super::moves::{one_move, tag};
use super::nodes::Cluster;

const CONNECTIONS: usize = 4;
const AT_A_TIME: usize = 1_000;
const WRITES: u64 = 200_000;
const BYTES: usize = 100;
const FLAGS: [&[&str]; 3] = [
    &["--groups", "1", "--shards", "8"],
    &["--groups", "2", "--shards", "8"],
    &["--groups", "4", "--shards", "8"],
];

/// Moves of the large shard, each beside as long a time without one.
const ROUNDS: usize = 4;
const SHARDS: u32 = 4;
const FILL: (u64, usize) = (10_000, 10_000);
const CALM: Duration = Duration::from_secs(5);

/// What is asked for.
#[derive(Clone, Copy)]
enum Load {
    /// So many writes a second, whether they are answered or not, up to a bound.
    Offered(u32),
    /// So many at a time.
    Full(usize),
}

const LOADS: [Load; 2] = [Load::Offered(5_000), Load::Full(64)];
/// Writes under way, at most, where they are offered: what a second's stall leaves.
const OFFERED_MAX: usize = 5_000;

pub fn groups() {
    let mut of_one = None;
    for flags in FLAGS {
        let cluster = Cluster::start(flags);
        let key = |number: u64| format!("key-{number}").into_bytes();
        cluster.put_many(CONNECTIONS, AT_A_TIME, WRITES / 10, key, BYTES);
        let started = Instant::now();
        cluster.put_many(CONNECTIONS, AT_A_TIME, WRITES, key, BYTES);
        let rate = WRITES as f64 / started.elapsed().as_secs_f64();
        let ratio = rate / *of_one.get_or_insert(rate);
        println!(
            "{} groups: {rate:.0} writes a second, {ratio:.2} of those of one ({})",
            flags[1],
            cluster.cpu()
        );
    }
    LOADS.into_iter().for_each(others);
}

/// Rates of the other shards, while one moves and while none does, in turns.
fn others(load: Load) {
    let cluster = Cluster::start(&["--groups", "2", "--shards", "4"]);
    let mut administrator = cluster.client();
    let tags: Vec<String> = (0..SHARDS).map(|shard| tag(ShardId(shard), SHARDS)).collect();
    let (entries, bytes) = FILL;
    cluster.put_many(1, 64, entries, |number| format!("{{{}}}{number}", tags[0]).into_bytes(), bytes);
    let stop = AtomicBool::new(false);
    let config = ClientConfig { deadline: PATIENCE, ..ClientConfig::new(cluster.endpoints()) };
    let (answers, windows) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(config, &tags[1..], load, &stop));
        let windows: Vec<[(Instant, Instant); 2]> = (0..ROUNDS)
            .map(|_| {
                let calm = Instant::now();
                std::thread::park_timeout(CALM);
                [(calm, Instant::now()), one_move(&mut administrator)]
            })
            .collect();
        stop.store(true, Ordering::Relaxed);
        (writer.join().expect("the writer"), windows)
    });
    let rate = |(from, to): (Instant, Instant)| {
        let within = answers.partition_point(|at| *at < to) - answers.partition_point(|at| *at < from);
        within as f64 / (to - from).as_secs_f64()
    };
    for [calm, moving] in windows {
        let (before, meanwhile) = (rate(calm), rate(moving));
        println!(
            "other shards, {}: {before:.0} writes a second, {meanwhile:.0} while one of 100 MB moves: {:.2}  (promised: 0.95)",
            load.name(),
            meanwhile / before
        );
    }
}

impl Load {
    fn name(self) -> String {
        match self {
            Load::Offered(rate) => format!("offered {rate} a second"),
            Load::Full(at_a_time) => format!("{at_a_time} at a time"),
        }
    }

    /// Whether one more is to be asked for, after so many since then.
    fn wants(self, begun: u64, since: Instant, under_way: usize) -> bool {
        match self {
            Load::Offered(rate) => {
                under_way < OFFERED_MAX && (begun as f64) < since.elapsed().as_secs_f64() * f64::from(rate)
            }
            Load::Full(at_a_time) => under_way < at_a_time,
        }
    }
}

/// Writes to keys of these tags until it is told to stop; gives when each was answered, in order.
fn write(config: ClientConfig, tags: &[String], load: Load, stop: &AtomicBool) -> Vec<Instant> {
    let mut pipeline = Pipeline::new(config, 1).expect("a client");
    let (mut answers, mut begun, mut turns) = (Vec::new(), 0, tags.iter().cycle());
    let since = Instant::now();
    while !stop.load(Ordering::Relaxed) || pipeline.under_way() > 0 {
        while !stop.load(Ordering::Relaxed) && load.wants(begun, since, pipeline.under_way()) {
            let key = format!("{{{}}}{}", turns.next().expect("they go round"), begun % 1_000).into_bytes();
            pipeline.submit(begun, Operation::Write { key, op: WriteOp::Put(vec![7; BYTES]) }).expect("room");
            begun += 1;
        }
        pipeline.turn(Duration::from_millis(1)).expect("sockets");
        while let Some(done) = pipeline.done() {
            done.outcome.expect("a write");
            answers.push(Instant::now());
        }
    }
    answers
}
