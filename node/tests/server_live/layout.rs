//! Shards and groups are those with which the cluster began. Whoever is told others is kept out: it would look for keys
//! where they are not, and apply what is in the log to shards that it does not own.

use std::net::TcpListener;

use crate::support::{Running, Wire, cluster, leader_for};
use ordeal_client::wire::{Reply, RequestBody};
use ordeal_node::config::NodeConfig;
use ordeal_node::server::Server;

#[test]
fn a_restart_with_other_groups_or_shards_is_refused_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (config, listener) = cluster(dir.path(), 1).pop().unwrap();
    let keys: Vec<String> = (0..8).map(|n| format!("key {n}")).collect();
    let mut node = Running::start(&config, listener);
    for key in &keys {
        let (mut wire, session) = leader_for(&[node.address], key);
        assert!(matches!(wire.put(session, 1, key, b"kept"), Reply::Written { .. }));
    }
    node.stop();
    let free = || TcpListener::bind("127.0.0.1:0").unwrap();
    for other in [NodeConfig { groups: 2, ..config.clone() }, NodeConfig { shards: 128, ..config.clone() }] {
        let error = Server::open(&other, free()).expect_err("keys would be looked for elsewhere");
        assert!(error.hint().contains("--groups 1 --shards 64"), "{error}");
    }
    let node = Running::start(&config, free());
    for key in &keys {
        let (mut wire, _) = leader_for(&[node.address], key);
        assert!(wire.read(key).is_some(), "{key} was acknowledged, and is lost");
    }
}

#[test]
fn a_member_with_other_shards_is_not_let_in() {
    let dir = tempfile::tempdir().unwrap();
    let mut plan = cluster(dir.path(), 3);
    plan[2].0.shards = 128;
    let mut nodes: Vec<Running> =
        plan.into_iter().map(|(config, listener)| Running::start(&config, listener)).collect();
    let addresses: Vec<_> = nodes.iter().map(|node| node.address).collect();
    let keys: Vec<String> = (0..8).map(|n| format!("key {n}")).collect();
    for key in &keys {
        let (mut wire, session) = leader_for(&addresses[..2], key);
        assert!(matches!(wire.put(session, 1, key, b"kept"), Reply::Written { .. }));
    }
    // What the two agree on reaches a third that is let in at once: without the check this was red.
    let Reply::Status(status) = Wire::client(addresses[2]).request(RequestBody::Status) else {
        panic!("no status")
    };
    assert_eq!(status.groups[1].last, 0, "nothing of the others' log reaches it");
    for node in &mut nodes {
        node.stop();
    }
}
