//! Groups at rest on real wires: sixteen cost no more messages than one.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::support::{PATIENCE, Running, Wire, cluster};
use ordeal_client::wire::{FrameReader, Kind, NodeId, Reply, RequestBody};
use ordeal_node::config::NodeConfig;

/// Messages by kind.
type Counts = BTreeMap<Kind, u64>;

/// What passed a relay since counting began.
struct Tally {
    counts: Mutex<(Instant, Counts)>,
    more: Condvar,
}

impl Tally {
    fn note(&self, kind: Kind) {
        *self.counts.lock().unwrap().1.entry(kind).or_default() += 1;
        self.more.notify_all();
    }

    fn begin(&self) {
        *self.counts.lock().unwrap() = (Instant::now(), Counts::new());
    }

    /// Waits for so many beats; gives all that was said meanwhile, and in which time.
    fn await_beats(&self, beats: u64) -> (Duration, Counts) {
        let counts = self.counts.lock().unwrap();
        let few = |(_, counts): &mut (Instant, Counts)| counts.get(&Kind::Beat).copied().unwrap_or(0) < beats;
        let (counts, waited) = self.more.wait_timeout_while(counts, PATIENCE, few).unwrap();
        assert!(!waited.timed_out(), "nobody beats");
        (counts.0.elapsed(), counts.1.clone())
    }
}

/// Passes on what is said to `to`, and counts it. Ends with the connections.
fn counting_relay(to: SocketAddr) -> (SocketAddr, Arc<Tally>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let tally = Arc::new(Tally { counts: Mutex::new((Instant::now(), Counts::new())), more: Condvar::new() });
    let told = Arc::clone(&tally);
    std::thread::spawn(move || {
        for here in listener.incoming().map_while(Result::ok) {
            let Ok(there) = TcpStream::connect(to) else { continue };
            let (back, forth) = (there.try_clone().unwrap(), here.try_clone().unwrap());
            let tally = Arc::clone(&told);
            std::thread::spawn(move || {
                pass_on(here, there, |kind| tally.note(kind));
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

fn all_rest(nodes: &mut [Wire]) -> bool {
    nodes.iter_mut().all(|node| match node.request(RequestBody::Status) {
        Reply::Status(status) => status.groups.iter().all(|group| group.at_rest),
        other => panic!("a status: {other:?}"),
    })
}

/// A second and a half of beats.
const BEATS: u64 = 30;
/// On a busy machine a node may stand still for longer than two beats, and then its groups wake, as they must: so often is
/// counting begun anew.
const TRIES: usize = 10;

/// Two nodes with so many groups; what each says to the other while all of them rest, and in which time.
fn said_at_rest(groups: u32) -> [(Duration, Counts); 2] {
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
    let mut wires: Vec<Wire> = addresses.iter().map(|&address| Wire::client(address)).collect();
    for _ in 0..TRIES {
        let started = Instant::now();
        while !all_rest(&mut wires) {
            assert!(started.elapsed() < PATIENCE, "the groups never rest");
        }
        tallies.iter().for_each(|tally| tally.begin());
        let said = [0, 1].map(|node| tallies[node].await_beats(BEATS));
        if all_rest(&mut wires) && said.iter().all(|(_, counts)| counts.keys().all(|&kind| is_quiet(kind))) {
            return said;
        }
    }
    panic!("{groups} groups: something was said at rest, {TRIES} times");
}

fn is_quiet(kind: Kind) -> bool {
    matches!(kind, Kind::Beat | Kind::Ping)
}

#[test]
fn sixteen_groups_at_rest_say_no_more_than_one() {
    for groups in [1, 16] {
        for (time, said) in said_at_rest(groups) {
            // One each 50 ms. What a busy machine held back comes on top: far from sixteen times as many.
            let (beats, due) = (said[&Kind::Beat], 2 * time.as_millis() / 50 + 3);
            assert!(u128::from(beats) <= due, "{groups} groups: {beats} beats in {time:?}");
        }
    }
}
