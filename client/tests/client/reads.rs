//! Reads: fresh ones at the leader, stale ones at the preferred node, none with an effect.

use std::time::{Duration, Instant};

use ordeal_client::wire::{ReadLevel, RefusalReason, Reply, RequestBody};
use ordeal_client::{Client, ClientConfig, ClientError, LinkError, Prefer, status, welcome};

use crate::fake::{Act, CLUSTER, alone, client, config, hint, members, refuse, seats, version};

#[test]
fn a_read_brings_value_version_and_who_answered() {
    let mut count = 0;
    let node = alone(move |_| {
        count += 1;
        if count == 1 { Act::Behave } else { Act::Say(Reply::Value(None)) }
    });
    let mut client = client(&[node.address()], 20_000);
    let got = client.get(b"k", ReadLevel::Linearizable).expect("answered");
    assert_eq!((got.value, got.version, got.node), (Some(b"value".to_vec()), Some(version(7)), node.node()));
    let got = client.get(b"k", ReadLevel::Linearizable).expect("answered");
    assert_eq!((got.value, got.version), (None, None));
}

#[test]
fn a_read_that_fails_never_happened() {
    for script in
        [|| Act::HangUp, || Act::Silence, || Act::Say(Reply::Unknown), || refuse(RefusalReason::Busy)]
    {
        let node = alone(move |_| script());
        for level in [ReadLevel::Linearizable, ReadLevel::Stale] {
            let error = client(&[node.address()], 300).get(b"k", level).expect_err("never answered");
            assert!(!error.may_have_happened(), "{error}");
        }
    }
}

#[test]
fn the_deadline_is_kept_while_nobody_answers() {
    let node = alone(|_| Act::Silence);
    let deadline = Duration::from_millis(900);
    let start = Instant::now();
    let error =
        client(&[node.address()], 900).get(b"k", ReadLevel::Linearizable).expect_err("never answered");
    let took = start.elapsed();
    assert!(took > deadline / 2, "gave up after {took:?}");
    assert!(took < deadline * 3, "still at it after {took:?}");
    assert!(matches!(&error, ClientError::Unavailable(tries) if tries.attempts >= 2), "{error}");
}

#[test]
fn a_stale_read_is_answered_by_the_preferred_node_without_a_leader() {
    let all: [_; 3] = seats();
    let members = members(&all);
    let nodes = all.map(|seat| seat.start(&members, |_| Act::Behave));
    let addresses: Vec<&str> = nodes.iter().map(|node| node.address()).collect();
    for (at, node) in nodes.iter().enumerate() {
        for prefer in [Prefer::Endpoint(at), Prefer::Node(node.node())] {
            let mut client =
                Client::new(ClientConfig { prefer: Some(prefer), ..config(&addresses) }).expect("good");
            for _ in 0..3 {
                let got = client.get(b"k", ReadLevel::Stale).expect("answered");
                assert_eq!(got.node, node.node(), "{prefer:?}");
            }
        }
    }
}

#[test]
fn a_preferred_node_behind_a_forwarded_port_is_found_before_anybody_is_asked() {
    let inside: [_; 3] = seats();
    let advertised = members(&inside);
    let nodes = seats::<3>().map(|seat| seat.start(&advertised, |_| Act::Behave));
    let addresses: Vec<&str> = nodes.iter().map(|node| node.address()).collect();
    let prefer = Some(Prefer::Node(nodes[2].node()));
    let mut client = Client::new(ClientConfig { prefer, ..config(&addresses) }).expect("good");
    assert_eq!(client.get(b"k", ReadLevel::Stale).expect("answered").node, nodes[2].node());
    assert!(nodes[0].seen().is_empty() && nodes[1].seen().is_empty(), "only the preferred node is asked");
    assert!(inside.iter().all(|seat| !seat.was_visited()), "nobody is looked for where he cannot be");
}

#[test]
fn a_stale_read_goes_elsewhere_when_the_preferred_node_is_gone() {
    let [gone, there] = seats();
    let addresses = [gone.address.clone(), there.address.clone()];
    let members = members(&[gone]);
    let there = there.start(&members, |_| Act::Behave);
    for prefer in [Prefer::Endpoint(0), Prefer::Node(members[0].0)] {
        let addresses = [addresses[0].as_str(), addresses[1].as_str()];
        let mut client =
            Client::new(ClientConfig { prefer: Some(prefer), ..config(&addresses) }).expect("good");
        assert_eq!(client.get(b"k", ReadLevel::Stale).expect("answered").node, there.node(), "{prefer:?}");
    }
}

#[test]
fn a_fresh_read_goes_to_the_leader() {
    let all: [_; 2] = seats();
    let members = members(&all);
    let leader = members[1].clone();
    let [first, second] = all;
    let first = first.start(&members, move |_| hint(Some((leader.0, &leader.1))));
    let second = second.start(&members, |_| Act::Behave);
    let level = ReadLevel::Linearizable;
    let prefer = Some(Prefer::Endpoint(0));
    let mut client = Client::new(ClientConfig { prefer, ..config(&[first.address()]) }).expect("good");
    assert_eq!(client.get(b"k", level).expect("answered").node, second.node());
    assert_eq!(second.seen(), [RequestBody::Read { key: b"k".to_vec(), level }]);
}

#[test]
fn a_damaged_frame_is_an_error_and_no_panic() {
    for bytes in [vec![0xff; 64], vec![0; 64], b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()] {
        let node = alone(move |_| Act::Bytes(bytes.clone()));
        let error = client(&[node.address()], 1_000).get(b"k", ReadLevel::Stale).expect_err("nonsense");
        assert!(matches!(&error, ClientError::Unavailable(_)), "{error}");
        assert!(error.to_string().contains("frame"), "{error}");
        let error = status(node.address(), Duration::from_secs(20)).expect_err("nonsense");
        assert!(matches!(&error, ClientError::Node { reason: LinkError::Frame(_), .. }), "{error}");
    }
}

#[test]
fn status_and_welcome_ask_one_node_once() {
    let node = alone(|_| Act::Behave);
    let time = Duration::from_secs(20);
    assert_eq!(status(node.address(), time).expect("answered").groups[0].commit, 42);
    let greeting = welcome(node.address(), time).expect("answered");
    assert_eq!((greeting.cluster, greeting.node), (CLUSTER, node.node()));
    assert_eq!(node.seen(), [RequestBody::Status]);

    let [empty] = seats();
    let gone = empty.address.clone();
    drop(empty);
    assert!(matches!(status(&gone, time), Err(ClientError::Node { reason: LinkError::Connect(_), .. })));
    assert!(matches!(welcome(&gone, time), Err(ClientError::Node { reason: LinkError::Connect(_), .. })));
    assert!(matches!(status("nowhere", time), Err(ClientError::Config(_))));
}
