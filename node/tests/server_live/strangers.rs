//! Bytes from strangers end their connection and nothing else; what is wrong with the machine is told before the start.

use std::net::TcpListener;

use crate::support::{CLUSTER, Running, Wire, cluster, leader_for};
use ordeal_client::wire::{
    ClusterId, FRAME_BYTES_MAX, FrameBuilder, GroupId, HandshakeRefusal, Hello, Kind, NodeId,
    PROTOCOL_VERSION, Reply, Request, RequestBody, Role, decode,
};
use ordeal_node::config::NodeConfig;
use ordeal_node::server::{Server, ServerError};
use ordeal_node::storage::StorageError;

/// A cluster of one, which must be alive and serving after `speak`.
fn check(speak: impl FnOnce(&Running)) {
    let dir = tempfile::tempdir().unwrap();
    let (config, listener) = cluster(dir.path(), 1).remove(0);
    let node = Running::start(&config, listener);
    speak(&node);
    let (mut leader, session) = leader_for(&[node.address], "k");
    assert!(matches!(leader.put(session, 1, "k", b"v"), Reply::Written { .. }));
    assert_eq!(leader.read("k").map(|(value, _)| value), Some(b"v".to_vec()));
}

fn refusal(hello: &Hello) -> HandshakeRefusal {
    let mut refusal = None;
    check(|node| {
        let mut wire = Wire::dial(node.address);
        wire.hello(hello);
        let message = wire.receive().expect("a refusal");
        assert_eq!(message.kind, Kind::Refused);
        refusal = Some(decode(&message.body).expect("a refusal decodes"));
        assert!(wire.receive().is_none(), "the connection ends after a refusal");
    });
    refusal.expect("the node was asked")
}

/// After a hello of a client, or without one, these bytes end the connection.
fn ends_with(greeted: bool, bytes: &[u8]) {
    check(|node| {
        let mut wire = if greeted { Wire::client(node.address) } else { Wire::dial(node.address) };
        wire.send(bytes);
        assert!(wire.receive().is_none(), "the connection ends without a word");
    });
}

#[test]
fn bytes_that_are_no_frame_end_the_connection() {
    ends_with(false, b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n");
    ends_with(true, b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n");
}

#[test]
fn a_frame_too_long_ends_the_connection() {
    let head = [u32::try_from(FRAME_BYTES_MAX + 1).unwrap().to_le_bytes(), [0; 4]].concat();
    ends_with(false, &head);
    ends_with(true, &head);
}

#[test]
fn a_damaged_frame_ends_the_connection() {
    let request = Request { id: 1, epoch: 0, body: RequestBody::Status };
    let mut frame = FrameBuilder::single(Kind::Request, GroupId(0), &request);
    *frame.last_mut().unwrap() ^= 1;
    ends_with(true, &frame);
}

#[test]
fn a_body_that_does_not_decode_or_a_kind_out_of_place_ends_the_connection() {
    ends_with(true, &FrameBuilder::single(Kind::Request, GroupId(0), &[0xff_u8; 3]));
    ends_with(true, &FrameBuilder::single(Kind::RequestVote, GroupId(1), &()));
    ends_with(true, &FrameBuilder::single(Kind::Hello, GroupId(0), &Hello::new(None, Role::Client)));
    ends_with(false, &FrameBuilder::single(Kind::Ping, GroupId(0), &()));
}

#[test]
fn a_long_frame_of_somebody_unknown_is_not_waited_for() {
    let long = FrameBuilder::single(Kind::Hello, GroupId(0), &vec![1_u8; 64 << 10]);
    ends_with(false, &long[..8 << 10]);
}

#[test]
fn a_stranger_is_told_what_is_wrong() {
    let other = Some(ClusterId(0xdead_beef));
    let us = HandshakeRefusal::Cluster { ours: CLUSTER };
    assert_eq!(refusal(&Hello::new(other, Role::Client)), us);
    let peer = Role::Peer { from: NodeId(2), to: NodeId(1) };
    assert_eq!(refusal(&Hello::new(other, peer)), us);
    assert_eq!(refusal(&Hello::new(None, peer)), us);
    let echo = Role::Peer { from: NodeId(1), to: NodeId(1) };
    assert_eq!(refusal(&Hello::new(Some(CLUSTER), echo)), HandshakeRefusal::Node { ours: NodeId(1) });
    let meant_another = Role::Peer { from: NodeId(1), to: NodeId(2) };
    assert_eq!(
        refusal(&Hello::new(Some(CLUSTER), meant_another)),
        HandshakeRefusal::Node { ours: NodeId(1) }
    );

    let magic = Hello { magic: *b"ORACLE\r\n", ..Hello::new(None, Role::Client) };
    assert_eq!(refusal(&magic), HandshakeRefusal::Version { ours: PROTOCOL_VERSION });
    let version = Hello { version: PROTOCOL_VERSION + 1, ..Hello::new(None, Role::Client) };
    assert_eq!(refusal(&version), HandshakeRefusal::Version { ours: PROTOCOL_VERSION });
}

#[test]
fn a_pong_answers_every_ping() {
    check(|node| {
        let mut wire = Wire::client(node.address);
        for _ in 0..3 {
            wire.send(&FrameBuilder::single(Kind::Ping, GroupId(0), &()));
            assert_eq!(wire.receive().expect("a pong").kind, Kind::Pong);
        }
    });
}

#[test]
fn clients_beyond_the_limit_are_refused_and_find_room_again() {
    check(|node| {
        let mut clients = Vec::new();
        let refused = loop {
            let mut wire = Wire::dial(node.address);
            wire.hello(&Hello::new(None, Role::Client));
            let message = wire.receive().expect("an answer");
            match message.kind {
                Kind::Welcome => clients.push(wire),
                _ => break message,
            }
        };
        assert_eq!(clients.len(), 400);
        assert_eq!(decode(&refused.body), Ok(HandshakeRefusal::Full));
    });
}

#[test]
fn a_client_that_asks_and_never_reads_is_not_waited_for() {
    check(|node| {
        let (mut leader, session) = leader_for(&[node.address], "k");
        assert!(matches!(leader.put(session, 1, "k", &[7; 1 << 20]), Reply::Written { .. }));
        let mut deaf = Wire::client(node.address);
        let body =
            RequestBody::Read { key: b"k".to_vec(), level: ordeal_client::wire::ReadLevel::Linearizable };
        let frames: Vec<u8> = (1..=500)
            .flat_map(|id| {
                FrameBuilder::single(Kind::Request, GroupId(0), &Request { id, epoch: 0, body: body.clone() })
            })
            .collect();
        deaf.send(&frames);
        // Half a gigabyte of answers is asked for; others are served meanwhile.
        assert!(matches!(leader.put(session, 2, "k", b"small"), Reply::Written { .. }));
    });
}

#[test]
fn a_port_in_use_and_a_foreign_directory_are_told_before_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let (config, listener) = cluster(dir.path(), 1).remove(0);
    let taken = NodeConfig { listen: listener.local_addr().unwrap(), ..config.clone() };
    let error = Server::bind(&taken).unwrap_err();
    assert!(matches!(error, ServerError::Listen { .. }), "{error}");
    assert!(error.hint().contains("ss -ltnp"), "{}", error.hint());

    let mut node = Running::start(&config, listener);
    let free = || TcpListener::bind("127.0.0.1:0").unwrap();
    let error = Server::open(&config, free()).unwrap_err();
    assert!(matches!(error, ServerError::Storage(StorageError::Locked { .. })), "{error}");
    node.stop();

    let foreign = NodeConfig { cluster: ClusterId(0xdead_beef), ..config };
    let error = Server::open(&foreign, free()).unwrap_err();
    assert!(matches!(error, ServerError::Storage(StorageError::Foreign { .. })), "{error}");
}
