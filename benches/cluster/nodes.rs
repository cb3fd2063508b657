//! The processes under measurement.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ordeal_client::wire::{GroupStatus, NodeStatus, RoleName, WriteOp};
use ordeal_client::{CONTROLLER, Client, ClientConfig, Operation, Pipeline, status};

use super::PATIENCE;

pub const NODES: usize = 3;
/// A group that rests has at most so many entries behind its snapshot.
const REST_ENTRIES: u64 = 100_000;

/// Three processes, killed with this.
pub struct Cluster {
    pub dir: tempfile::TempDir,
    addresses: Vec<SocketAddr>,
    pub nodes: Vec<Child>,
    /// More of each node.
    flags: &'static [&'static str],
}

impl Cluster {
    pub fn start(flags: &'static [&'static str]) -> Cluster {
        let parent = std::env::var_os("ORDEAL_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let dir = tempfile::tempdir_in(parent).expect("a directory");
        let free = || TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let addresses = (0..NODES).map(|_| free().expect("a free port")).collect();
        let mut cluster = Cluster { dir, addresses, nodes: Vec::new(), flags };
        cluster.nodes = (0..NODES).map(|place| cluster.node(place)).collect();
        cluster.settled();
        cluster
    }

    pub fn node(&self, place: usize) -> Child {
        let mut node = self.spawn(place);
        ready(&mut node);
        node
    }

    pub fn spawn(&self, place: usize) -> Child {
        let name = |place: usize| format!("n{}", place + 1);
        let mut command = Command::new(env!("CARGO_BIN_EXE_ordeal"));
        command.args(["node", "start", "--cluster", "00000000000bec4e", "--id", &name(place)]);
        command.args(self.flags);
        command.args(["--listen", &self.addresses[place].to_string()]);
        command.arg("--dir").arg(self.dir.path().join(name(place)));
        for (place, address) in self.addresses.iter().enumerate() {
            command.args(["--member", &format!("{}={address}", name(place))]);
        }
        command.env("ORDEAL_LOG", "error").stdout(Stdio::piped()).spawn().expect("the node starts")
    }

    pub fn endpoints(&self) -> Vec<String> {
        self.addresses.iter().map(SocketAddr::to_string).collect()
    }

    pub fn client(&self) -> Client {
        let config = ClientConfig { deadline: PATIENCE, ..ClientConfig::new(self.endpoints()) };
        Client::new(config).expect("a client")
    }

    /// Puts so many keys with values of so many bytes, over so many connections to each node and so many at a time.
    pub fn put_many(
        &self,
        connections: usize,
        at_a_time: usize,
        entries: u64,
        key: impl Fn(u64) -> Vec<u8>,
        bytes: usize,
    ) {
        // A busy machine may hold an election on the way: the figure is about what comes afterwards.
        let config = ClientConfig { deadline: PATIENCE, ..ClientConfig::new(self.endpoints()) };
        let mut pipeline = Pipeline::new(config, connections).expect("a client");
        let (mut begun, mut ended) = (0, 0);
        while ended < entries {
            while begun < entries && pipeline.under_way() < at_a_time {
                let (key, op) = (key(begun), WriteOp::Put(vec![7; bytes]));
                pipeline.submit(begun, Operation::Write { key, op }).expect("room");
                begun += 1;
            }
            pipeline.turn(Duration::from_millis(10)).expect("sockets");
            while let Some(done) = pipeline.done() {
                done.outcome.expect("a put");
                ended += 1;
            }
        }
    }

    /// Waits until all follow one leader and have applied what it has.
    pub fn settled(&self) -> usize {
        let started = Instant::now();
        loop {
            let ask = |address: &SocketAddr| status(&address.to_string(), PATIENCE).ok();
            let all: Vec<NodeStatus> = self.addresses.iter().filter_map(ask).collect();
            let groups: Vec<_> = all.iter().filter_map(data).collect();
            let leader = groups.iter().position(|group| group.role == RoleName::Leader);
            let level = |leader: usize| {
                groups
                    .iter()
                    .all(|group| group.term == groups[leader].term && group.applied == groups[leader].last)
            };
            if let Some(leader) = leader.filter(|&leader| groups.len() == NODES && level(leader)) {
                return leader;
            }
            assert!(started.elapsed() < PATIENCE, "no leader whom all follow");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Waits until nothing happens any more, and what is behind the snapshots is little.
    pub fn rested(&self) {
        let started = Instant::now();
        let rests = |address: &SocketAddr| {
            let node = status(&address.to_string(), PATIENCE).ok();
            let group = node.as_ref().and_then(data);
            group.is_some_and(|group| group.at_rest && group.applied < group.snapshot + REST_ENTRIES)
        };
        while !self.addresses.iter().all(rests) {
            assert!(started.elapsed() < PATIENCE, "the group never rests");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    pub fn end(&mut self) {
        self.nodes.iter_mut().for_each(|node| drop(node.kill().and_then(|()| node.wait())));
    }

    /// CPU time of each node since it started: of a busy machine it says more than the clock.
    pub fn cpu(&self) -> String {
        self.nodes.iter().map(cpu_of).collect::<Vec<_>>().join(", ")
    }

    /// Memory and disk of the first node.
    pub fn footprint(&self) -> String {
        let of = std::fs::read_to_string(format!("/proc/{}/status", self.nodes[0].id())).unwrap_or_default();
        let memory = of.lines().find(|line| line.starts_with("VmRSS")).unwrap_or("VmRSS unknown").to_owned();
        let disk = bytes_below(&self.dir.path().join("n1")) >> 20;
        format!("{}, {disk} MiB on disk", memory.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.end();
    }
}

/// User and system time of a process, from /proc, where they are counted in hundredths of a second.
pub fn cpu_of(node: &Child) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", node.id())).unwrap_or_default();
    // Behind the name, which ends with the last bracket: state is the first word, user and system time the 12th and 13th.
    let words = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11);
    let hundredths: u64 = words.take(2).filter_map(|word| word.parse::<u64>().ok()).sum();
    format!("{:.2} s of CPU", Duration::from_millis(hundredths * 10).as_secs_f64())
}

pub fn ready(node: &mut Child) {
    let mut line = String::new();
    let stdout = node.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    assert!(line.starts_with("ready "), "the node says `{line}`");
}

fn bytes_below(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else {
        return path.metadata().map_or(0, |metadata| metadata.len());
    };
    entries.flatten().map(|entry| bytes_below(&entry.path())).sum()
}

/// The first data group of a node.
fn data(node: &NodeStatus) -> Option<&GroupStatus> {
    node.groups.iter().find(|group| group.group != CONTROLLER)
}
