//! A link that leads to somebody silent is given up and dialled anew, in the handshake and after it.

use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use crate::support::{CLUSTER, PATIENCE, Running, Wire, cluster};
use ordeal_client::wire::{
    FrameBuilder, GroupId, Hello, Kind, MAGIC, Message, NodeId, Role, Welcome, decode,
};

/// The next dial of the node, and its hello.
fn dialled(listener: &TcpListener) -> Wire {
    let started = Instant::now();
    let stream: TcpStream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}"),
        }
        assert!(started.elapsed() < PATIENCE, "nobody dials");
        std::thread::yield_now();
    };
    stream.set_nonblocking(false).unwrap();
    let mut wire = Wire::over(stream);
    let message = wire.receive().expect("a hello");
    let hello: Hello = decode(&message.body).expect("a hello decodes");
    assert_eq!((message.kind, hello.magic, hello.cluster), (Kind::Hello, MAGIC, Some(CLUSTER)));
    assert_eq!(hello.role, Role::Peer { from: NodeId(1), to: NodeId(2) });
    wire
}

/// Reads until the node closes the connection. It may say much before: it is also looking for a majority.
fn until_left(wire: &mut Wire, mut note: impl FnMut(&Message)) {
    let started = Instant::now();
    while let Some(message) = wire.receive() {
        note(&message);
        assert!(started.elapsed() < PATIENCE, "the node never leaves");
    }
}

fn welcome(node: u32) -> Vec<u8> {
    welcome_with(node, 64)
}

fn welcome_with(node: u32, shards: usize) -> Vec<u8> {
    let owners = vec![GroupId(1); shards];
    let welcome = Welcome { cluster: CLUSTER, node: NodeId(node), members: Vec::new(), owners };
    FrameBuilder::single(Kind::Welcome, GroupId(0), &welcome)
}

#[test]
fn a_silent_peer_is_dialled_anew() {
    let dir = tempfile::tempdir().unwrap();
    let mut plan = cluster(dir.path(), 2);
    let (_, peer) = plan.pop().unwrap();
    let (config, listener) = plan.pop().unwrap();
    peer.set_nonblocking(true).unwrap();
    let _node = Running::start(&config, listener);

    let mut silent = dialled(&peer);
    assert!(silent.receive().is_none(), "who never welcomes is left");

    let mut wrong = dialled(&peer);
    wrong.send(&welcome(3));
    assert!(wrong.receive().is_none(), "somebody else than was meant is left");

    let mut other = dialled(&peer);
    other.send(&welcome_with(2, 128));
    assert!(other.receive().is_none(), "who has other shards is left");

    let mut deaf = dialled(&peer);
    deaf.send(&welcome(2));
    let mut pings = 0;
    until_left(&mut deaf, |message| pings += usize::from(message.kind == Kind::Ping));
    assert_eq!(pings, 1, "who answers no ping is left");

    let mut alive = dialled(&peer);
    alive.send(&welcome(2));
    // Eight pings span 2 s, which is more than an unanswered one is given.
    let mut pongs = 0;
    while pongs < 8 {
        if alive.receive().expect("who answers is not left").kind == Kind::Ping {
            alive.send(&FrameBuilder::single(Kind::Pong, GroupId(0), &()));
            pongs += 1;
        }
    }
    let chatter = FrameBuilder::single(Kind::Welcome, GroupId(0), &());
    alive.send(&chatter);
    until_left(&mut alive, |_| {});
}
