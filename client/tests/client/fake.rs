//! A node that speaks the protocol and does as its script says: answers, refuses, hangs up, stays silent, talks
//! nonsense. It notes every request that it received.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use ordeal_client::wire::txn::{Txn, TxnResult};
use ordeal_client::wire::{
    Answer, Cause, ClusterId, Configuration, Decision, DirectoryId, FrameBuilder, FrameReader, GroupId,
    GroupInfo, GroupStatus, Hello, Kind, Layout, NodeId, NodeStatus, Owner, PeerMode, PeerStatus,
    RefusalReason, Reply, Request, RequestBody, RoleName, SessionId, Version, Welcome, WriteOp, decode,
};
use ordeal_client::{Client, ClientConfig};

/// The cluster of all fake nodes.
pub const CLUSTER: ClusterId = ClusterId(0xc0ffee);

/// What a fake node does with a request.
pub enum Act {
    /// Answers.
    Say(Reply),
    /// Sends answers to these ids, in this order.
    SayAll(Vec<(u64, Reply)>),
    /// Sends these bytes as they are.
    Bytes(Vec<u8>),
    /// Hangs up without an answer.
    HangUp,
    /// Says nothing, and keeps the connection.
    Silence,
    /// Behaves: sessions, writes and reads succeed.
    Behave,
}

type Script = dyn FnMut(&Request) -> Act + Send;

/// An address that is listened to, and nobody there yet.
pub struct Seat {
    pub node: NodeId,
    pub address: String,
    listener: TcpListener,
}

/// A running fake node. It ends when dropped.
pub struct Fake {
    shared: Arc<Shared>,
}

struct Shared {
    address: String,
    welcome: Welcome,
    script: Mutex<Box<Script>>,
    seen: Mutex<Vec<RequestBody>>,
    /// Connections so far; `None` once the node is dead.
    streams: Mutex<Option<Vec<TcpStream>>>,
}

/// Seats for nodes 1 to `count`.
pub fn seats<const COUNT: usize>() -> [Seat; COUNT] {
    std::array::from_fn(|at| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        Seat { node: NodeId(u32::try_from(at).expect("few") + 1), address, listener }
    })
}

/// The addresses of seats, as advertised.
pub fn members(seats: &[Seat]) -> Vec<(NodeId, String)> {
    seats.iter().map(|seat| (seat.node, seat.address.clone())).collect()
}

/// Short enough to wait for, long enough for a busy machine.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(400);

/// A configuration for tests.
pub fn config(seats: &[&str]) -> ClientConfig {
    ClientConfig { attempt_timeout: ATTEMPT_TIMEOUT, ..ClientConfig::new(seats.iter().copied()) }
}

/// A client that knows these addresses and gives up after `deadline_ms`.
pub fn client(addresses: &[&str], deadline_ms: u64) -> Client {
    let deadline = Duration::from_millis(deadline_ms);
    Client::new(ClientConfig { deadline, ..config(addresses) }).expect("a good configuration")
}

/// One node that is the whole cluster.
pub fn alone(script: impl FnMut(&Request) -> Act + Send + 'static) -> Fake {
    let [seat] = seats();
    let members = members(std::slice::from_ref(&seat));
    seat.start(&members, script)
}

/// A script for writes by their number, from 1; all else behaves.
pub fn on_write(mut script: impl FnMut(u32, &Request) -> Act + Send) -> impl FnMut(&Request) -> Act + Send {
    let mut count = 0;
    move |request| match request.body {
        RequestBody::Write { .. } => {
            count += 1;
            script(count, request)
        }
        _ => Act::Behave,
    }
}

pub fn refuse(reason: RefusalReason) -> Act {
    Act::Say(Reply::Refused(reason))
}

/// Not the leader; `leader` is.
pub fn hint(leader: Option<(NodeId, &str)>) -> Act {
    let leader = leader.map(|(node, address)| (node, address.to_owned()));
    refuse(RefusalReason::NotLeader { group: GroupId(1), leader })
}

pub fn written(index: u64) -> Reply {
    Reply::Written { made: version(index), replaced: None }
}

pub fn version(index: u64) -> Version {
    Version { epoch: 1, index }
}

impl Seat {
    /// Lets a node sit down here.
    pub fn start(
        self,
        members: &[(NodeId, String)],
        script: impl FnMut(&Request) -> Act + Send + 'static,
    ) -> Fake {
        let welcome = Welcome {
            cluster: CLUSTER,
            node: self.node,
            members: members.to_vec(),
            layout: Layout { groups: 1, replicas: None, shards: 4 },
            owners: vec![Owner { group: GroupId(1), epoch: 1 }; 4],
            groups: vec![(GroupId(1), members.iter().map(|(node, _)| *node).collect())],
        };
        let shared = Arc::new(Shared {
            address: self.address,
            welcome,
            script: Mutex::new(Box::new(script)),
            seen: Mutex::new(Vec::new()),
            streams: Mutex::new(Some(Vec::new())),
        });
        let listening = Arc::clone(&shared);
        thread::spawn(move || {
            while let Ok((stream, _)) = self.listener.accept() {
                if !listening.keep(&stream) {
                    return;
                }
                let serving = Arc::clone(&listening);
                thread::spawn(move || serving.serve(stream));
            }
        });
        Fake { shared }
    }

    /// Whether anybody came to this empty seat.
    pub fn was_visited(&self) -> bool {
        self.listener.set_nonblocking(true).expect("a listener's flag");
        self.listener.accept().is_ok()
    }
}

impl Fake {
    pub fn address(&self) -> &str {
        &self.shared.address
    }

    pub fn node(&self) -> NodeId {
        self.shared.welcome.node
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<RequestBody> {
        self.shared.seen.lock().expect("not poisoned").clone()
    }

    /// Session and sequence of all writes so far.
    pub fn writes(&self) -> Vec<(u64, u64)> {
        let numbers = |body: &RequestBody| match body {
            RequestBody::Write { session, sequence, .. } => Some((session.0, *sequence)),
            _ => None,
        };
        self.seen().iter().filter_map(numbers).collect()
    }

    /// How many connections there were so far, since the last time it hung up.
    pub fn connections(&self) -> usize {
        self.shared.streams.lock().expect("not poisoned").as_ref().map_or(0, Vec::len)
    }

    /// Hangs up on everybody. Who is connected notices at once.
    pub fn hang_up(&self) {
        let mut streams = self.shared.streams.lock().expect("not poisoned");
        for stream in streams.iter_mut().flat_map(|streams| streams.drain(..)) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.hang_up();
        *self.shared.streams.lock().expect("not poisoned") = None;
        // Wakes the listening thread, which sees that it is over.
        drop(TcpStream::connect(&self.shared.address));
    }
}

impl Shared {
    /// Notes a connection; false when the node is dead.
    fn keep(&self, stream: &TcpStream) -> bool {
        let mut streams = self.streams.lock().expect("not poisoned");
        streams.as_mut().map(|streams| streams.push(stream.try_clone().expect("a handle"))).is_some()
    }

    fn serve(&self, mut stream: TcpStream) {
        let mut reader = FrameReader::new();
        let mut bytes = [0; 4096];
        loop {
            match stream.read(&mut bytes) {
                Ok(0) | Err(_) => return,
                Ok(count) => reader.feed(&bytes[..count]),
            }
            while let Ok(Some(messages)) = reader.next_frame() {
                for message in messages {
                    let go_on = match message.kind {
                        Kind::Hello => self.greet(&mut stream, &message.body),
                        Kind::Request => self.act(&mut stream, &message.body),
                        _ => false,
                    };
                    if !go_on {
                        drop(stream.shutdown(Shutdown::Both));
                        return;
                    }
                }
            }
        }
    }

    fn greet(&self, stream: &mut TcpStream, body: &[u8]) -> bool {
        decode::<Hello>(body).expect("a hello");
        stream.write_all(&FrameBuilder::single(Kind::Welcome, GroupId(0), &self.welcome)).is_ok()
    }

    fn act(&self, stream: &mut TcpStream, body: &[u8]) -> bool {
        let request: Request = decode(body).expect("a request");
        let number = {
            let mut seen = self.seen.lock().expect("not poisoned");
            seen.push(request.body.clone());
            u64::try_from(seen.len()).expect("few")
        };
        let act = (self.script.lock().expect("not poisoned"))(&request);
        let node = self.welcome.node;
        let mut say = |id, reply| {
            let frame = FrameBuilder::single(Kind::Reply, GroupId(1), &Answer { id, node, reply });
            stream.write_all(&frame).is_ok()
        };
        match act {
            Act::Say(reply) => say(request.id, reply),
            Act::SayAll(replies) => replies.into_iter().all(|(id, reply)| say(id, reply)),
            Act::Behave => say(request.id, self.behave(&request.body, number)),
            Act::Bytes(bytes) => stream.write_all(&bytes).is_ok(),
            Act::HangUp => false,
            Act::Silence => true,
        }
    }

    fn behave(&self, body: &RequestBody, number: u64) -> Reply {
        match body {
            RequestBody::Status => Reply::Status(Box::new(self.status())),
            RequestBody::OpenSession { .. } => Reply::SessionOpened(SessionId(100 + number)),
            RequestBody::Read { .. } => Reply::Value(Some((b"value".to_vec(), version(7)))),
            RequestBody::Write { op: WriteOp::Txn(bytes), .. } => {
                let txn = Txn::from_bytes(bytes).expect("a good one");
                let results = vec![TxnResult::Written { replaced: None }; txn.then.len()];
                Reply::Txn { succeeded: true, made: version(number), results }
            }
            RequestBody::Write { .. } => written(number),
            RequestBody::ChangeMembers { .. } => Reply::Members { done: true },
            RequestBody::Transfer { .. } => Reply::Transferring { to: self.welcome.node },
            RequestBody::Configuration { .. } | RequestBody::Watch { .. } => {
                Reply::Configuration(Box::new(self.configuration()))
            }
            RequestBody::Changes { behind, .. } => {
                Reply::Changes { changes: Vec::new(), upto: behind.unwrap_or_default() }
            }
            RequestBody::Admin { .. } => Reply::Decided(Decision::Done { number: 2 }),
        }
    }

    /// Everything is g2's, and nothing moves.
    fn configuration(&self) -> Configuration {
        let members = self.welcome.members.iter().cloned().collect();
        let info = GroupInfo { members, at: 1, leaving: false };
        Configuration {
            number: 2,
            cause: Cause::Created,
            groups: [1, 2].map(|group| (GroupId(group), info.clone())).into(),
            owners: vec![Owner { group: GroupId(2), epoch: 1 }; 8],
            moves: BTreeMap::new(),
        }
    }

    fn status(&self) -> NodeStatus {
        let group = GroupStatus {
            group: GroupId(1),
            role: RoleName::Leader,
            term: 3,
            leader: Some(self.welcome.node),
            at_rest: false,
            lost: 0,
            commit: 42,
            applied: 41,
            first: 10,
            last: 43,
            log_bytes: 2_048,
            snapshot: 9,
            snapshot_bytes: 1_234,
            digest: 0xd16e57,
            shards: 4,
            keys: 5,
            sessions: 2,
            members: self.welcome.members.clone(),
            voters: self.welcome.members.iter().map(|&(node, _)| node).collect(),
            outgoing: Vec::new(),
            learners: Vec::new(),
            moves: Vec::new(),
            peers: vec![PeerStatus {
                node: NodeId(2),
                matched: 41,
                next: 44,
                mode: PeerMode::Replicate,
                in_flight: 2,
                heard_ms: 30,
            }],
        };
        NodeStatus {
            cluster: CLUSTER,
            node: self.welcome.node,
            directory: DirectoryId(7),
            version: "0.1.0".to_owned(),
            uptime_ms: 1_000,
            log_disk_bytes: 4_096,
            configuration: 1,
            groups: vec![group],
        }
    }
}
