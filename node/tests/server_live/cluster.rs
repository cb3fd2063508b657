//! Nodes with real sockets and real files, three in one process: they elect, serve, and remember.

use std::net::{SocketAddr, TcpListener};
use std::time::Instant;

use crate::support::{PATIENCE, Running, Wire, cluster, leader_for};
use ordeal_client::wire::{ReadLevel, RefusalReason, Reply, RequestBody, Version};
use ordeal_node::config::NodeConfig;

#[test]
fn three_nodes_elect_a_leader_serve_and_remember() {
    let dir = tempfile::tempdir().unwrap();
    let plan = cluster(dir.path(), 3);
    let configs: Vec<_> = plan.iter().map(|(config, _)| config.clone()).collect();
    let mut nodes: Vec<Running> =
        plan.into_iter().map(|(config, listener)| Running::start(&config, listener)).collect();
    let addresses: Vec<SocketAddr> = nodes.iter().map(|node| node.address).collect();

    let (mut leader, session) = leader_for(&addresses, "{a}x");
    let mut versions = Vec::new();
    for sequence in 1..=200 {
        let Reply::Written { made, replaced } =
            leader.put(session, sequence, "{a}x", &sequence.to_le_bytes())
        else {
            panic!("write {sequence} was not taken")
        };
        assert_eq!(replaced, versions.last().copied(), "write {sequence}");
        versions.push(made);
    }
    assert_eq!(leader.read("{a}x"), Some((200_u64.to_le_bytes().to_vec(), versions[199])));
    // A snapshot is taken beside all this.
    let started = Instant::now();
    let status = loop {
        let Reply::Status(status) = leader.request(RequestBody::Status) else { panic!("no status") };
        if status.groups[1].snapshot > 0 {
            break status;
        }
        assert!(started.elapsed() < PATIENCE, "a snapshot is taken: {status:?}");
    };
    assert!(status.log_disk_bytes > 0, "the log has a size: {status:?}");

    for node in &mut nodes {
        node.stop();
    }
    drop(nodes);
    let nodes: Vec<Running> = configs
        .iter()
        .zip(&addresses)
        .map(|(config, address)| {
            Running::start(config, TcpListener::bind(address).expect("the port is free again"))
        })
        .collect();
    let (mut leader, _) = leader_for(&addresses, "{a}x");
    assert_eq!(leader.read("{a}x"), Some((200_u64.to_le_bytes().to_vec(), versions[199])));
    drop(nodes);
}

/// With leases and without: whoever is asked answers, and has seen every write that was acknowledged before.
#[test]
fn every_node_answers_reads_of_its_own() {
    for leases in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let plan = cluster(dir.path(), 3).into_iter();
        let nodes: Vec<Running> = plan
            .map(|(config, listener)| Running::start(&NodeConfig { leases, ..config }, listener))
            .collect();
        let addresses: Vec<SocketAddr> = nodes.iter().map(|node| node.address).collect();
        let (mut leader, session) = leader_for(&addresses, "k");
        let mut readers: Vec<Wire> = addresses.iter().map(|address| Wire::client(*address)).collect();
        for sequence in 1..=50_u64 {
            let value = sequence.to_le_bytes();
            let Reply::Written { made, .. } = leader.put(session, sequence, "k", &value) else {
                panic!("write {sequence} was not taken")
            };
            assert_eq!(leader.read("k"), Some((value.to_vec(), made)));
            for reader in &mut readers {
                assert_eq!(read_here(reader, "k"), Some((value.to_vec(), made)), "leases {leases}");
            }
        }
    }
}

/// Asks this very node until it answers: it may not have heard yet who leads.
fn read_here(wire: &mut Wire, key: &str) -> Option<(Vec<u8>, Version)> {
    let started = Instant::now();
    loop {
        let body = RequestBody::Read { key: key.as_bytes().to_vec(), level: ReadLevel::Follower };
        match wire.request(body) {
            Reply::Value(value) => return value,
            Reply::Refused(RefusalReason::NotLeader { .. }) if started.elapsed() < PATIENCE => {}
            other => panic!("read of {key}: {other:?}"),
        }
    }
}

#[test]
fn two_of_three_go_on_and_the_third_catches_up_with_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let mut plan = cluster(dir.path(), 3);
    let (late, late_listener) = plan.pop().unwrap();
    let nodes: Vec<Running> =
        plan.into_iter().map(|(config, listener)| Running::start(&config, listener)).collect();
    let addresses: Vec<SocketAddr> = nodes.iter().map(|node| node.address).collect();
    let (mut leader, session) = leader_for(&addresses, "k");
    // More than the 1,000 entries that are kept behind a snapshot, so that only a snapshot helps.
    for sequence in 1..=1_200 {
        assert!(matches!(leader.put(session, sequence, "k", &[7; 100]), Reply::Written { .. }));
    }
    let third = Running::start(&late, late_listener);
    let started = std::time::Instant::now();
    let (applied, digest) = loop {
        let Reply::Status(status) = leader.request(RequestBody::Status) else { panic!("no status") };
        let mut wire = crate::support::Wire::client(third.address);
        let Reply::Status(own) = wire.request(RequestBody::Status) else { panic!("no status") };
        if own.groups[1].applied == status.groups[1].applied {
            assert_eq!(own.groups[1].digest, status.groups[1].digest, "the same state at the same index");
            break (own.groups[1].applied, own.groups[1].digest);
        }
        assert!(started.elapsed() < crate::support::PATIENCE, "n3 never caught up: {own:?}");
    };
    assert!(applied > 1_200 && digest != 0);
    drop(nodes);
}
