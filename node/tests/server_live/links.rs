//! A link that leads to somebody silent is given up and dialled anew, in the handshake and after it; one that a leader
//! closes is a hint that it is gone.

use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::support::{CLUSTER, PATIENCE, Running, Wire, cluster};
use ordeal_client::wire::{
    FrameBuilder, GroupId, Hello, Kind, Layout, MAGIC, Message, NodeId, Owner, Role, Welcome, decode,
};
use ordeal_node::config::NodeConfig;
use ordeal_node::raft;

/// The next dial of the node, and its hello.
fn dialled(listener: &TcpListener, us: u32) -> Wire {
    listener.set_nonblocking(true).unwrap();
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
    assert_eq!(hello.role, Role::Peer { from: NodeId(1), to: NodeId(us) });
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

fn welcome_with(node: u32, shards: u32) -> Vec<u8> {
    let layout = Layout { groups: 1, replicas: None, shards };
    welcome_of(node, layout)
}

fn welcome_of(node: u32, layout: Layout) -> Vec<u8> {
    let owner = |shard| Owner { group: GroupId(1 + shard % layout.groups), epoch: 1 };
    let welcome = Welcome {
        cluster: CLUSTER,
        node: NodeId(node),
        members: Vec::new(),
        layout,
        owners: (0..layout.shards).map(owner).collect(),
        groups: Vec::new(),
    };
    FrameBuilder::single(Kind::Welcome, GroupId(0), &welcome)
}

#[test]
fn a_silent_peer_is_dialled_anew() {
    let dir = tempfile::tempdir().unwrap();
    let mut plan = cluster(dir.path(), 2);
    let (_, peer) = plan.pop().unwrap();
    let (config, listener) = plan.pop().unwrap();
    let _node = Running::start(&config, listener);

    let mut silent = dialled(&peer, 2);
    assert!(silent.receive().is_none(), "who never welcomes is left");

    let mut wrong = dialled(&peer, 2);
    wrong.send(&welcome(3));
    assert!(wrong.receive().is_none(), "somebody else than was meant is left");

    let mut other = dialled(&peer, 2);
    other.send(&welcome_with(2, 128));
    assert!(other.receive().is_none(), "who has other shards is left");

    // On a busy machine the welcome may come too late, and then there is no ping either.
    let pings = (0..20).map(|_| {
        let mut deaf = dialled(&peer, 2);
        deaf.send(&welcome(2));
        let mut pings = 0;
        until_left(&mut deaf, |message| pings += usize::from(message.kind == Kind::Ping));
        pings
    });
    assert_eq!(pings.into_iter().find(|&pings| pings > 0), Some(1), "who answers no ping is left");

    let mut alive = dialled(&peer, 2);
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

#[test]
fn a_leader_that_closes_a_connection_is_taken_for_gone_long_before_an_election_timeout() {
    for closes_its_own in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let mut plan = cluster(dir.path(), 3);
        let (_, bystander) = plan.pop().unwrap();
        let (_, leader) = plan.pop().unwrap();
        let (config, listener) = plan.pop().unwrap();
        // Nobody campaigns by itself as long as anybody waits here.
        let config = NodeConfig { election_timeout: Duration::from_secs(100), ..config };
        let node = Running::start(&config, listener);
        let mut to_leader = dialled(&leader, 2);
        to_leader.send(&welcome(2));
        let mut to_bystander = dialled(&bystander, 3);
        to_bystander.send(&welcome(3));
        let mut from_leader = Wire::dial(node.address);
        from_leader.hello(&Hello::new(Some(CLUSTER), Role::Peer { from: NodeId(2), to: NodeId(1) }));
        let beat = raft::Message::Heartbeat { term: 1, commit: 0, round: 1, rest: false };
        from_leader.send(&FrameBuilder::single(beat.kind(), GroupId(1), &beat));
        while to_leader.receive().expect("an answer").kind != Kind::HeartbeatReply {}
        drop(if closes_its_own { from_leader } else { to_leader });
        // Not those for term 1, from before there was a leader.
        await_pre_vote(&mut to_bystander, 2);
    }
}

/// Waits until a pre-vote in this term is asked for, and answers pings meanwhile. Gives up before the timers of 100 s run out.
fn await_pre_vote(wire: &mut Wire, awaited: u64) {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        let message = wire.receive().expect("a pre-vote");
        if message.kind == Kind::RequestVote {
            let request: raft::Message = decode(&message.body).expect("a request decodes");
            if request.term() == awaited {
                return;
            }
        }
        wire.send(&FrameBuilder::single(Kind::Pong, GroupId(0), &()));
    }
    panic!("no pre-vote in term {awaited}");
}

#[test]
fn who_knows_no_leader_asks_for_votes_as_soon_as_it_can_say_so_to_somebody() {
    let dir = tempfile::tempdir().unwrap();
    let mut plan = cluster(dir.path(), 3);
    let (_, _out_of_reach) = plan.pop().unwrap();
    let (_, peer) = plan.pop().unwrap();
    let (config, listener) = plan.pop().unwrap();
    // Nobody campaigns by itself as long as anybody waits here.
    let config = NodeConfig { election_timeout: Duration::from_secs(100), ..config };
    let _node = Running::start(&config, listener);
    let mut to_peer = dialled(&peer, 2);
    to_peer.send(&welcome(2));
    await_pre_vote(&mut to_peer, 1);
}

#[test]
fn heartbeats_of_many_groups_travel_as_one_message() {
    let dir = tempfile::tempdir().unwrap();
    let mut plan = cluster(dir.path(), 2);
    let (_, leader) = plan.pop().unwrap();
    let (config, listener) = plan.pop().unwrap();
    let config = NodeConfig { groups: 3, election_timeout: Duration::from_secs(100), ..config };
    let node = Running::start(&config, listener);
    let mut to_leader = dialled(&leader, 2);
    to_leader.send(&welcome_of(2, Layout { groups: 3, replicas: None, shards: 64 }));
    let mut from_leader = Wire::dial(node.address);
    from_leader.hello(&Hello::new(Some(CLUSTER), Role::Peer { from: NodeId(2), to: NodeId(1) }));
    let groups = [1, 2, 3].map(GroupId);
    let beats =
        groups.map(|group| (group, raft::Message::Heartbeat { term: 1, commit: 0, round: 7, rest: false }));
    from_leader.send(&FrameBuilder::single(Kind::Heartbeats, GroupId(0), &beats.to_vec()));
    let answer = loop {
        let message = to_leader.receive().expect("an answer");
        assert_ne!(message.kind, Kind::HeartbeatReply, "not one by one");
        if message.kind == Kind::HeartbeatReplies {
            break message;
        }
    };
    let answers: Vec<(GroupId, raft::Message)> = decode(&answer.body).expect("it decodes");
    assert_eq!(
        answers,
        groups.map(|group| (group, raft::Message::HeartbeatReply { term: 1, round: 7, rest: false }))
    );

    let smuggled = vec![(
        GroupId(1),
        raft::Message::RequestVote { term: 9, last: raft::LogId::ZERO, pre: false, handed_over: false },
    )];
    from_leader.send(&FrameBuilder::single(Kind::Heartbeats, GroupId(0), &smuggled));
    until_left(&mut from_leader, |_| {});
}

/// A node that was started again is spoken to as soon as it has dialled: who votes for it, answers it.
#[test]
fn who_dials_us_is_dialled_at_once() {
    // A link that was closed rests for so long, at least.
    const REST_MIN: Duration = Duration::from_millis(50);
    let dir = tempfile::tempdir().unwrap();
    let mut plan = cluster(dir.path(), 2);
    let (_, peer) = plan.pop().unwrap();
    let (config, listener) = plan.pop().unwrap();
    let node = Running::start(&config, listener);
    let mut to_peer = dialled(&peer, 2);
    // On a busy machine most take longer; without a hint none is quicker.
    let soon = (0..20).any(|_| {
        let closed = Instant::now();
        to_peer.stream.shutdown(std::net::Shutdown::Both).unwrap();
        let mut from_peer = Wire::dial(node.address);
        from_peer.hello(&Hello::new(Some(CLUSTER), Role::Peer { from: NodeId(2), to: NodeId(1) }));
        to_peer = dialled(&peer, 2);
        closed.elapsed() < REST_MIN
    });
    assert!(soon, "twenty times it rested first");
}
