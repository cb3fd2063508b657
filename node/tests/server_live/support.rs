//! Nodes in threads of the test, on free ports, and somebody who speaks the wire to them by hand.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ordeal_client::wire::{
    Answer, ClusterId, FrameBuilder, FrameReader, GroupId, Hello, Kind, Message, NodeId, ReadLevel,
    RefusalReason, Reply, Request, RequestBody, Role, SessionId, Version, WriteOp, decode, shard_of,
};
use ordeal_node::config::NodeConfig;
use ordeal_node::server::{Server, ServerError, StopHandle};
use ordeal_wal::SyncMode;

pub const CLUSTER: ClusterId = ClusterId(0x00c0_ffee);

/// Nothing here takes longer than this, however busy the machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A node in a thread.
pub struct Running {
    pub address: SocketAddr,
    stop: StopHandle,
    thread: Option<JoinHandle<Result<(), ServerError>>>,
}

impl Running {
    pub fn start(config: &NodeConfig, listener: TcpListener) -> Running {
        let mut server = Server::open(config, listener).expect("the node starts");
        let address = server.address().expect("a listener has an address");
        let stop = server.stop_handle();
        Running { address, stop, thread: Some(std::thread::spawn(move || server.run())) }
    }

    pub fn stop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.stop.stop();
            thread.join().expect("the node did not panic").expect("the node did not fail");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        }
    }
}

/// Configurations of `count` nodes under `dir`, and their listeners.
pub fn cluster(dir: &Path, count: u32) -> Vec<(NodeConfig, TcpListener)> {
    let listeners: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    let members: BTreeMap<NodeId, SocketAddr> = (1..=count)
        .zip(&listeners)
        .map(|(id, listener)| (NodeId(id), listener.local_addr().unwrap()))
        .collect();
    let config = |id: u32| NodeConfig {
        sync: SyncMode::Never,
        snapshot_entries: 50,
        ..NodeConfig::new(NodeId(id), CLUSTER, dir.join(id.to_string()), members.clone())
    };
    (1..=count).map(config).zip(listeners).collect()
}

/// A connection, spoken by hand.
pub struct Wire {
    pub stream: TcpStream,
    reader: FrameReader,
    inbox: Vec<Message>,
    ids: u64,
}

impl Wire {
    pub fn dial(address: SocketAddr) -> Wire {
        Wire::over(TcpStream::connect(address).expect("the node listens"))
    }

    pub fn over(stream: TcpStream) -> Wire {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Wire { stream, reader: FrameReader::new(), inbox: Vec::new(), ids: 0 }
    }

    /// A client that was welcomed.
    pub fn client(address: SocketAddr) -> Wire {
        let mut wire = Wire::dial(address);
        wire.hello(&Hello::new(None, Role::Client));
        assert_eq!(wire.receive().expect("an answer").kind, Kind::Welcome);
        wire
    }

    pub fn hello(&mut self, hello: &Hello) {
        self.send(&FrameBuilder::single(Kind::Hello, GroupId(0), hello));
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the node reads");
    }

    /// The next message, or `None` when the node has closed the connection.
    pub fn receive(&mut self) -> Option<Message> {
        let mut bytes = [0; 4096];
        while self.inbox.is_empty() {
            match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(count) => self.reader.feed(&bytes[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing came in {PATIENCE:?}: {error}"),
            }
            while let Some(messages) = self.reader.next_frame().expect("the node sends frames") {
                self.inbox.extend(messages);
            }
        }
        Some(self.inbox.remove(0))
    }

    pub fn request(&mut self, body: RequestBody) -> Reply {
        self.ids += 1;
        let request = Request { id: self.ids, epoch: 0, body };
        self.send(&FrameBuilder::single(Kind::Request, GroupId(0), &request));
        let message = self.receive().expect("an answer");
        assert_eq!(message.kind, Kind::Reply);
        let answer: Answer = decode(&message.body).expect("an answer decodes");
        assert_eq!(answer.id, self.ids);
        answer.reply
    }

    pub fn put(&mut self, session: SessionId, sequence: u64, key: &str, value: &[u8]) -> Reply {
        let (key, op) = (key.as_bytes().to_vec(), WriteOp::Put(value.to_vec()));
        self.request(RequestBody::Write { session, sequence, settled: sequence - 1, key, op })
    }

    pub fn read(&mut self, key: &str) -> Option<(Vec<u8>, Version)> {
        let body = RequestBody::Read { key: key.as_bytes().to_vec(), level: ReadLevel::Linearizable };
        match self.request(body) {
            Reply::Value(value) => value,
            other => panic!("read of {key}: {other:?}"),
        }
    }
}

/// Asks all in turn until one opens a session in the shard of `key`: that one leads.
pub fn leader_for(addresses: &[SocketAddr], key: &str) -> (Wire, SessionId) {
    let shard = shard_of(key.as_bytes(), 64);
    let started = Instant::now();
    for &address in addresses.iter().cycle() {
        let mut wire = Wire::client(address);
        match wire.request(RequestBody::OpenSession { shard }) {
            Reply::SessionOpened(session) => return (wire, session),
            Reply::Refused(RefusalReason::NotLeader { .. } | RefusalReason::Busy) | Reply::Unknown => {}
            other => panic!("a session in {shard}: {other:?}"),
        }
        assert!(started.elapsed() < PATIENCE, "no leader in {PATIENCE:?}");
    }
    panic!("no addresses")
}
