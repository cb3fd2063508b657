//! Groups at rest on real wires: sixteen cost no more messages than one.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::{PATIENCE, Running, Wire, cluster};
use ordeal_client::wire::{FrameReader, Kind, NodeId, Reply, RequestBody};
use ordeal_node::config::NodeConfig;

/// Messages by kind, and when counting began.
type Tally = Arc<Mutex<(Instant, BTreeMap<Kind, u64>)>>;

/// Passes on what is said to `to`, and counts it. Ends with the connections.
fn counting_relay(to: SocketAddr) -> (SocketAddr, Tally) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let tally: Tally = Arc::new(Mutex::new((Instant::now(), BTreeMap::new())));
    let told = Arc::clone(&tally);
    std::thread::spawn(move || {
        for here in listener.incoming().map_while(Result::ok) {
            let Ok(there) = TcpStream::connect(to) else { continue };
            let (back, forth) = (there.try_clone().unwrap(), here.try_clone().unwrap());
            let tally = Arc::clone(&told);
            std::thread::spawn(move || {
                pass_on(here, there, |kind| *tally.lock().unwrap().1.entry(kind).or_default() += 1);
            });
            std::thread::spawn(move || pass_on(back, forth, |_| {}));
        }
    });
    (address, tally)
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, mut note: impl FnMut(Kind)) {
    let (mut reader, mut bytes) = (FrameReader::new(), [0; 4096]);
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        reader.feed(&bytes[..count]);
        while let Ok(Some(messages)) = reader.next_frame() {
            messages.iter().for_each(|message| note(message.kind));
        }
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _gone = to.shutdown(std::net::Shutdown::Both);
}

fn all_rest(address: SocketAddr) -> bool {
    match Wire::client(address).request(RequestBody::Status) {
        Reply::Status(status) => status.groups.iter().all(|group| group.at_rest),
        other => panic!("a status: {other:?}"),
    }
}

/// Two nodes with so many groups; what each says to the other while all of them rest, and in which time.
fn said_at_rest(groups: u32) -> Vec<(Duration, BTreeMap<Kind, u64>)> {
    let dir = tempfile::tempdir().unwrap();
    let plan = cluster(dir.path(), 2);
    let addresses: Vec<SocketAddr> =
        plan.iter().map(|(_, listener)| listener.local_addr().unwrap()).collect();
    let mut nodes = Vec::new();
    let mut tallies = Vec::new();
    for ((config, listener), other) in plan.into_iter().zip([1, 0]) {
        let (relay, tally) = counting_relay(addresses[other]);
        let dial = [(NodeId(u32::try_from(other).unwrap() + 1), relay)].into();
        nodes.push(Running::start(&NodeConfig { groups, dial, ..config }, listener));
        tallies.push(tally);
    }
    let started = Instant::now();
    while !addresses.iter().all(|&address| all_rest(address)) {
        assert!(started.elapsed() < PATIENCE, "the groups never rest");
    }
    for tally in &tallies {
        *tally.lock().unwrap() = (Instant::now(), BTreeMap::new());
    }
    // A second and a half of beats, both ways.
    while tallies.iter().any(|tally| tally.lock().unwrap().1.get(&Kind::Beat) < Some(&30)) {
        assert!(started.elapsed() < 2 * PATIENCE, "nobody beats");
        std::thread::yield_now();
    }
    let said = tallies.iter().map(|tally| {
        let tally = tally.lock().unwrap();
        (tally.0.elapsed(), tally.1.clone())
    });
    let said = said.collect();
    assert!(addresses.iter().all(|&address| all_rest(address)), "looking wakes nobody");
    said
}

#[test]
fn sixteen_groups_at_rest_say_no_more_than_one() {
    for groups in [1, 16] {
        for (time, said) in said_at_rest(groups) {
            let others: Vec<_> =
                said.keys().filter(|kind| !matches!(kind, Kind::Beat | Kind::Ping)).collect();
            assert!(others.is_empty(), "{groups} groups: {said:?}");
            // One each 50 ms; ticks that were late come together.
            let beats = said[&Kind::Beat];
            let due = time.as_millis() / 50 + 3;
            assert!(u128::from(beats) <= due, "{groups} groups: {beats} beats in {time:?}");
        }
    }
}
