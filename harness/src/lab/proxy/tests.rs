//! A framed lab between real sockets: what is counted, lost, late and overtaken, and what cut links do.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use ordeal_client::wire::{FrameBuilder, FrameReader, GroupId, Kind, decode};

use super::*;

const N1: NodeId = NodeId(1);
const N2: NodeId = NodeId(2);
const LINK: Link = Link { from: N1, to: N2 };
/// Far longer than any frame may wait.
const PATIENCE: Duration = Duration::from_secs(20);

/// A lab of two nodes, and the sockets at both ends of the link from the one to the other.
struct Between {
    lab: ProxyLab,
    listener: TcpListener,
    near: TcpStream,
    far: TcpStream,
    reader: FrameReader,
}

impl Between {
    fn new(seed: u64) -> Between {
        let lab = ProxyLab::framed(&[N1, N2], seed).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        lab.listening(N2, listener.local_addr().unwrap());
        let near = TcpStream::connect(&lab.dial(N1)[&N2]).unwrap();
        let (far, _) = listener.accept().unwrap();
        far.set_read_timeout(Some(PATIENCE)).unwrap();
        Between { lab, listener, near, far, reader: FrameReader::new() }
    }

    fn send(&mut self, kind: Kind, number: u32) {
        self.near.write_all(&FrameBuilder::single(kind, GroupId(1), &number)).unwrap();
    }

    /// Numbers in the order in which they arrive, until the last one has.
    fn receive_until(&mut self, last: u32) -> Vec<u32> {
        let (mut numbers, mut bytes) = (Vec::new(), [0; 4096]);
        while !numbers.contains(&last) {
            let count = self.far.read(&mut bytes).expect("the last one arrives");
            assert!(count > 0, "the link ends before the last one");
            self.reader.feed(&bytes[..count]);
            while let Some(messages) = self.reader.next_frame().unwrap() {
                numbers.extend(messages.iter().map(|message| decode::<u32>(&message.body).unwrap()));
            }
        }
        numbers
    }

    /// Sends so many, and then one that surely arrives, after all that wait.
    fn storm(&mut self, kind: Kind, count: u32) -> Vec<u32> {
        (0..count).for_each(|number| self.send(kind, number));
        let deadline = Instant::now() + PATIENCE;
        while self.frames().sent < u64::from(count) && Instant::now() < deadline {
            std::thread::yield_now();
        }
        // What waits is let go by its own time; what is sent in fair weather passes it, so it is sent again and again.
        self.lab.set_weather(Weather::default()).unwrap();
        let mut numbers = Vec::new();
        for number in count.. {
            self.send(kind, number);
            numbers.extend(self.receive_until(number));
            let arrived = numbers.iter().filter(|&&number| number < count).count();
            if arrived as u64 + self.frames().lost == u64::from(count) {
                numbers.retain(|&number| number < count);
                return numbers;
            }
            assert!(Instant::now() < deadline, "{arrived} of {count} arrived");
        }
        numbers
    }

    fn frames(&self) -> Frames {
        self.lab.traffic().unwrap().frames()
    }
}

fn ascending(numbers: &[u32]) -> bool {
    numbers.windows(2).all(|pair| pair[0] < pair[1])
}

#[test]
fn fair_weather_passes_everything_in_order_and_counts_it() {
    let mut between = Between::new(1);
    assert_eq!(between.storm(Kind::AppendEntries, 500), (0..500).collect::<Vec<_>>());
    let traffic = between.lab.traffic().unwrap();
    let counted = traffic.between_nodes(|kind| kind == Kind::AppendEntries);
    // A number below 251 takes one byte of the body, the others three; each has a header of nine.
    assert_eq!(counted.messages, 501);
    assert_eq!(counted.bytes, 501 * 9 + 251 + 250 * 3);
    assert_eq!(traffic.frames(), Frames { sent: 501, ..Frames::default() });
    assert_eq!(traffic.ways.keys().collect::<Vec<_>>(), [&Way::Peers(LINK)]);
}

#[test]
fn an_unreliable_link_loses_one_of_ten_and_lets_others_overtake_by_its_seed() {
    let weather = Weather { unreliable: true, ..Weather::default() };
    let storm = |seed| {
        let mut between = Between::new(seed);
        between.lab.set_weather(weather).unwrap();
        let mut arrived = between.storm(Kind::AppendEntries, 1_000);
        let frames = between.frames();
        assert!((60..140).contains(&frames.lost), "{frames:?}");
        assert!(frames.delayed > 700 && frames.overtaken > 0 && !ascending(&arrived), "{frames:?}");
        assert_eq!(arrived.len() as u64, 1_000 - frames.lost);
        arrived.sort_unstable();
        arrived
    };
    let first = storm(7);
    assert_eq!(first, storm(7), "the same seed loses the same frames");
    assert_ne!(first, storm(8), "another seed loses others");
}

#[test]
fn long_reordering_holds_replies_back_and_no_requests() {
    let weather = Weather { long_reordering: true, ..Weather::default() };
    let mut between = Between::new(3);
    between.lab.set_weather(weather).unwrap();
    let requests = between.storm(Kind::Heartbeat, 100);
    assert!(ascending(&requests) && requests.len() == 100, "{requests:?}");
    let mut between = Between::new(3);
    between.lab.set_weather(weather).unwrap();
    let replies = between.storm(Kind::HeartbeatReply, 100);
    assert!(!ascending(&replies) && replies.len() == 100, "{replies:?}");
    let frames = between.frames();
    assert!((50..85).contains(&frames.delayed) && frames.overtaken > 10, "{frames:?}");
}

#[test]
fn handshakes_and_clients_are_spared() {
    let weather = Weather { unreliable: true, long_reordering: true, ..Weather::default() };
    let mut between = Between::new(4);
    between.lab.set_weather(weather).unwrap();
    assert_eq!(between.storm(Kind::Ping, 200), (0..200).collect::<Vec<_>>());
    between.lab.set_weather(weather).unwrap();
    between.near = TcpStream::connect(&between.lab.members()[&N2]).unwrap();
    (between.far, _) = between.listener.accept().unwrap();
    between.far.set_read_timeout(Some(PATIENCE)).unwrap();
    (0..200).for_each(|number| between.send(Kind::Request, number));
    assert_eq!(between.receive_until(199), (0..200).collect::<Vec<_>>());
}

#[test]
fn a_cut_link_swallows_and_the_connection_lives() {
    let mut between = Between::new(5);
    between.send(Kind::Heartbeat, 0);
    between.receive_until(0);
    between.lab.cut(&BTreeSet::from([LINK])).unwrap();
    assert!(!between.lab.probe(LINK, Duration::from_millis(50)).unwrap());
    (1..100).for_each(|number| between.send(Kind::Heartbeat, number));
    let deadline = Instant::now() + PATIENCE;
    while between.frames().swallowed < 99 {
        assert!(Instant::now() < deadline, "{:?}", between.frames());
        std::thread::yield_now();
    }
    between.lab.cut(&BTreeSet::new()).unwrap();
    assert!(between.lab.probe(LINK, PATIENCE).unwrap());
    between.send(Kind::Heartbeat, 100);
    assert_eq!(between.receive_until(100), [100], "what was sent meanwhile is gone for good");
}

#[test]
fn a_link_that_is_cut_by_resets_ends_its_connections_and_refuses_new_ones() {
    let mut between = Between::new(6);
    between.send(Kind::Heartbeat, 0);
    between.receive_until(0);
    between.lab.set_manner(Manner::Reset).unwrap();
    between.lab.cut(&BTreeSet::from([LINK])).unwrap();
    between.near.set_read_timeout(Some(PATIENCE)).unwrap();
    let ended = between.near.read(&mut [0; 8]);
    assert!(
        ended.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset),
        "{ended:?}"
    );
    let mut again = TcpStream::connect(&between.lab.dial(N1)[&N2]).unwrap();
    again.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(!matches!(again.read(&mut [0; 8]), Ok(1..)), "nothing comes over a cut link");
    assert!(between.lab.traffic().unwrap().resets >= 2);
}

#[test]
fn bytes_that_are_no_frame_end_the_connection() {
    let mut between = Between::new(7);
    between.near.write_all(&[0xff; 64]).unwrap();
    assert_eq!(between.far.read(&mut [0; 8]).unwrap_or(0), 0);
}

#[test]
fn nobody_is_nowhere_and_direct_goes_past_the_proxy() {
    let between = Between::new(8);
    assert!(TcpStream::connect(between.lab.nowhere()).is_err());
    assert_eq!(between.lab.direct(N2), between.listener.local_addr().ok());
    between.lab.ended(N2);
    assert_eq!(between.lab.direct(N2), None);
}
