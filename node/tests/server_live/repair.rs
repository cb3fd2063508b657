//! Bits of the log of a node change while it is down. It starts all the same, and gets from the others what it lost; what nobody
//! has any more is not given up.

#![expect(clippy::disallowed_methods, reason = "the test lays hands on the files")]

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Instant;

use ordeal_client::wire::{GroupStatus, Reply, RequestBody};
use ordeal_node::config::NodeConfig;

use crate::support::{PATIENCE, Running, Wire, cluster, leader_for};

/// Three nodes with so many values in their logs, each found by its words, and stopped.
struct Stopped {
    dir: tempfile::TempDir,
    configs: Vec<NodeConfig>,
    addresses: Vec<SocketAddr>,
}

fn value(number: u64) -> String {
    format!("value {number:04} of many, long enough to be found")
}

fn after_writes(count: u64) -> Stopped {
    let dir = tempfile::tempdir().unwrap();
    let plan: Vec<_> = (cluster(dir.path(), 3).into_iter())
        .map(|(config, listener)| (NodeConfig { snapshot_entries: 100_000, ..config }, listener))
        .collect();
    let configs: Vec<_> = plan.iter().map(|(config, _)| config.clone()).collect();
    let mut nodes: Vec<Running> =
        plan.into_iter().map(|(config, listener)| Running::start(&config, listener)).collect();
    let addresses: Vec<SocketAddr> = nodes.iter().map(|node| node.address).collect();
    let (mut leader, session) = leader_for(&addresses, "k");
    for number in 1..=count {
        assert!(matches!(leader.put(session, number, "k", value(number).as_bytes()), Reply::Written { .. }));
    }
    // So that all of them have all of it.
    all_level(&addresses);
    nodes.iter_mut().for_each(Running::stop);
    Stopped { dir, configs, addresses }
}

impl Stopped {
    fn start(&self) -> Vec<Running> {
        let started = self.configs.iter().zip(&self.addresses).map(|(config, address)| {
            Running::start(config, TcpListener::bind(address).expect("the port is free again"))
        });
        started.collect()
    }

    /// Flips a bit in every copy that node `id` has of this value in its log.
    fn flip(&self, id: u32, number: u64) {
        let flipped = flip(&self.dir.path().join(id.to_string()).join("wal"), &value(number));
        assert!(flipped > 0, "n{id} has value {number}");
    }
}

fn flip(wal: &Path, words: &str) -> usize {
    let mut flipped = 0;
    for file in fs::read_dir(wal).unwrap().map(|file| file.unwrap().path()) {
        let mut bytes = fs::read(&file).unwrap();
        let places: Vec<usize> =
            (0..bytes.len()).filter(|&at| bytes[at..].starts_with(words.as_bytes())).collect();
        places.iter().for_each(|&at| bytes[at] ^= 1);
        if !places.is_empty() {
            fs::write(&file, bytes).unwrap();
        }
        flipped += places.len();
    }
    flipped
}

fn status(address: SocketAddr) -> GroupStatus {
    match Wire::client(address).request(RequestBody::Status) {
        Reply::Status(status) => status.groups[1].clone(),
        other => panic!("no status: {other:?}"),
    }
}

/// Waits until all have applied the same and lack nothing, and gives the digest.
fn all_level(addresses: &[SocketAddr]) -> u64 {
    let started = Instant::now();
    loop {
        let all: Vec<GroupStatus> = addresses.iter().map(|&address| status(address)).collect();
        let level = |other: &GroupStatus| other.applied == all[0].applied && other.applied == other.last;
        if all[0].applied > 0 && all.iter().all(|other| other.lost == 0 && level(other)) {
            assert!(all.iter().all(|other| other.digest == all[0].digest), "one state for all: {all:?}");
            return all[0].digest;
        }
        assert!(started.elapsed() < PATIENCE, "not level: {all:?}");
    }
}

fn serves(addresses: &[SocketAddr], last: u64) {
    let (mut leader, session) = leader_for(addresses, "k");
    assert_eq!(leader.read("k").map(|(value, _)| value), Some(value(last).into_bytes()));
    assert!(matches!(leader.put(session, 1, "k", b"more"), Reply::Written { .. }));
}

#[test]
fn a_node_gets_back_what_its_disk_lost() {
    let stopped = after_writes(40);
    for number in [7, 8, 30, 40] {
        stopped.flip(2, number);
    }
    let nodes = stopped.start();
    serves(&stopped.addresses, 40);
    all_level(&stopped.addresses);
    drop(nodes);
    // What came back is on the disk: nothing has to come again.
    let alone = &stopped.configs[1];
    let (_, recovered) = ordeal_node::storage::Storage::open(
        &alone.dir,
        &alone.identity(),
        ordeal_node::storage::Options { free_bytes_min: 0, ..Default::default() },
    )
    .expect("it opens");
    assert!(recovered.values().all(|group| group.lost.is_empty()));
    assert!(recovered[&ordeal_client::wire::GroupId(1)].entries.len() > 40);
}

#[test]
fn each_node_lost_something_else_and_nothing_is_lost() {
    let stopped = after_writes(40);
    for (id, numbers) in [(1, [3, 20, 40]), (2, [4, 21, 39]), (3, [5, 22, 38])] {
        numbers.into_iter().for_each(|number| stopped.flip(id, number));
    }
    let nodes = stopped.start();
    serves(&stopped.addresses, 40);
    all_level(&stopped.addresses);
    drop(nodes);
}

/// No copy is left. Nobody can say that nobody was told of it, so that the group waits for a disk that has it, and says so.
#[test]
fn what_nobody_has_any_more_is_not_given_up() {
    let stopped = after_writes(10);
    let before: Vec<u64> = {
        let nodes = stopped.start();
        all_level(&stopped.addresses);
        let before = stopped.addresses.iter().map(|&address| status(address).last).collect();
        drop(nodes);
        before
    };
    (1..=3).for_each(|id| stopped.flip(id, 6));
    let nodes = stopped.start();
    let started = Instant::now();
    let mut led = [false; 3];
    // Until all of them have tried to lead: each time in vain.
    while !led.iter().any(|&led| led) || started.elapsed().as_secs() < 4 {
        for (at, &address) in stopped.addresses.iter().enumerate() {
            let now = status(address);
            led[at] |= now.leader.is_some();
            assert_eq!((now.lost, now.last, now.applied < now.last), (1, before[at], true), "{now:?}");
        }
        assert!(started.elapsed() < PATIENCE, "nobody tried to lead");
    }
    drop(nodes);
}
