//! What three nodes on this machine promise a client, each figure beside what it is to be compared with:
//!
//! ```sh
//! cargo bench -p ordeal --bench cluster -- put       # a put of one client, beside a bare sync of the same disk
//! cargo bench -p ordeal --bench cluster -- kill      # kill -9 of the leader, until the next put is done, 20 times
//! cargo bench -p ordeal --bench cluster -- silent    # the leader stands still with its connections open, 20 times
//! cargo bench -p ordeal --bench cluster -- restart   # a million entries of 100 bytes, kill -9 of all, until they serve
//! ```
//!
//! `ORDEAL_BENCH_DIR` says where the data lies; without it, it is the directory of temporary files.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ordeal_client::wire::{NodeStatus, RoleName, WriteOp};
use ordeal_client::{Client, ClientConfig, Operation, Pipeline, status};

const NODES: usize = 3;
const ROUNDS: usize = 20;
const ENTRIES: u64 = 1_000_000;
const RESTARTS: usize = 5;
/// The default of `ordeal node start`.
const ELECTION_TIMEOUT: Duration = Duration::from_millis(250);
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    // cargo passes `--bench` along; words that are no flags say what to measure.
    let asked: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wants = |what: &str| asked.is_empty() || asked.iter().any(|word| word == what);
    if wants("put") {
        put();
    }
    if wants("kill") {
        let times = failover(Signal::SIGKILL);
        println!(
            "kill -9 of the leader, next put done: {}  (promised: 100 ms at the median)",
            summary(&times)
        );
    }
    if wants("silent") {
        let times = failover(Signal::SIGSTOP);
        let ratio = quantile(&times, 50).as_secs_f64() / ELECTION_TIMEOUT.as_secs_f64();
        println!(
            "silent leader, next put done: {}  ({ratio:.2} of the election timeout, promised: 1.5, and 400 ms)",
            summary(&times)
        );
    }
    if wants("restart") {
        restart();
    }
}

fn put() {
    let cluster = Cluster::start();
    let mut client = cluster.client();
    let value = [7; 256];
    let bare = File::create(cluster.dir.path().join("bare")).expect("a file");
    let rounds = 2_000;
    for block in 0..rounds as u64 {
        bare.write_all_at(&[1; 4096], block * 4096).expect("space");
    }
    bare.sync_all().expect("a disk");
    let mut put = || {
        client.put(b"key", &value).expect("a put");
    };
    (0..200).for_each(|_| put());
    let (mut puts, mut syncs) = (Vec::new(), Vec::new());
    for block in 0..rounds as u64 {
        puts.push(timed(&mut put));
        syncs.push(timed(|| {
            bare.write_all_at(&[2; 4096], block * 4096).expect("space");
            bare.sync_data().expect("a disk");
        }));
    }
    let promised = 2 * quantile(&syncs, 50) + Duration::from_micros(300);
    let ratio = quantile(&puts, 50).as_secs_f64() / promised.as_secs_f64();
    println!("a put of 256 bytes: {}", summary(&puts));
    println!("a bare sync of 4 KiB: {}", summary(&syncs));
    println!("the put takes {ratio:.2} of two syncs and 300 µs, at the median");
}

/// From the signal to the leader until the next put is done, each time.
fn failover(signal: Signal) -> Vec<Duration> {
    let mut cluster = Cluster::start();
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let leader = cluster.settled();
        let mut client = cluster.client();
        client.put(b"key", b"before").expect("a put");
        let pid = Pid::from_raw(cluster.nodes[leader].id().cast_signed());
        times.push(timed(|| {
            kill(pid, signal).expect("the leader lives");
            client.put(b"key", b"after").expect("a put");
        }));
        if signal == Signal::SIGSTOP {
            kill(pid, Signal::SIGCONT).expect("it only stands still");
        } else {
            let _reaped = cluster.nodes[leader].wait();
            cluster.nodes[leader] = cluster.node(leader);
        }
    }
    times.sort_unstable();
    times
}

fn restart() {
    let mut cluster = Cluster::start();
    // A busy machine may hold an election on the way: the figure is about what comes afterwards.
    let config = ClientConfig { deadline: PATIENCE, ..ClientConfig::new(cluster.endpoints()) };
    let mut pipeline = Pipeline::new(config, 4).expect("a client");
    let (mut begun, mut ended, started) = (0, 0, Instant::now());
    while ended < ENTRIES {
        while begun < ENTRIES && pipeline.under_way() < 1_000 {
            let (key, op) = (format!("key-{begun}").into_bytes(), WriteOp::Put(vec![7; 100]));
            pipeline.submit(begun, Operation::Write { key, op }).expect("room");
            begun += 1;
        }
        pipeline.turn(Duration::from_millis(10)).expect("sockets");
        while let Some(done) = pipeline.done() {
            done.outcome.expect("a put");
            ended += 1;
        }
    }
    println!("{ENTRIES} entries of 100 bytes: {:.1?}, {}", started.elapsed(), cluster.footprint());
    // First as it was killed at work, then after a rest, in which it takes a snapshot.
    for round in 0..2 * RESTARTS {
        if round == RESTARTS {
            cluster.rested();
        }
        cluster.end();
        let started = Instant::now();
        cluster.nodes = (0..NODES).map(|place| cluster.spawn(place)).collect();
        cluster.nodes.iter_mut().for_each(ready);
        let (up, cpu) = (started.elapsed(), cluster.cpu());
        let mut client = cluster.client();
        client.put(b"key", b"value").expect("a put");
        let serving = started.elapsed();
        println!(
            "restart of all{}: ready after {up:.1?} ({cpu}), serving after {serving:.1?} ({})",
            if round < RESTARTS { ", killed at work" } else { "" },
            cluster.cpu()
        );
    }
    println!("afterwards: {}", cluster.footprint());
    let alone = cluster.settled();
    for _ in 0..RESTARTS {
        let mut node = cluster.nodes.remove(alone);
        drop(node.kill().and_then(|()| node.wait()));
        let started = Instant::now();
        cluster.nodes.insert(alone, cluster.node(alone));
        let up = started.elapsed();
        println!("restart of one: ready after {up:.1?} ({})", cpu_of(&cluster.nodes[alone]));
        cluster.settled();
    }
}

/// Three processes, killed with this.
struct Cluster {
    dir: tempfile::TempDir,
    addresses: Vec<SocketAddr>,
    nodes: Vec<Child>,
}

impl Cluster {
    fn start() -> Cluster {
        let parent = std::env::var_os("ORDEAL_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let dir = tempfile::tempdir_in(parent).expect("a directory");
        let free = || TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let addresses = (0..NODES).map(|_| free().expect("a free port")).collect();
        let mut cluster = Cluster { dir, addresses, nodes: Vec::new() };
        cluster.nodes = (0..NODES).map(|place| cluster.node(place)).collect();
        cluster.settled();
        cluster
    }

    fn node(&self, place: usize) -> Child {
        let mut node = self.spawn(place);
        ready(&mut node);
        node
    }

    fn spawn(&self, place: usize) -> Child {
        let name = |place: usize| format!("n{}", place + 1);
        let mut command = Command::new(env!("CARGO_BIN_EXE_ordeal"));
        command.args(["node", "start", "--cluster", "00000000000bec4e", "--id", &name(place)]);
        command.args(["--listen", &self.addresses[place].to_string()]);
        command.arg("--dir").arg(self.dir.path().join(name(place)));
        for (place, address) in self.addresses.iter().enumerate() {
            command.args(["--member", &format!("{}={address}", name(place))]);
        }
        command.env("ORDEAL_LOG", "error").stdout(Stdio::piped()).spawn().expect("the node starts")
    }

    fn endpoints(&self) -> Vec<String> {
        self.addresses.iter().map(SocketAddr::to_string).collect()
    }

    fn client(&self) -> Client {
        let config = ClientConfig { deadline: PATIENCE, ..ClientConfig::new(self.endpoints()) };
        Client::new(config).expect("a client")
    }

    /// Waits until all follow one leader and have applied what it has.
    fn settled(&self) -> usize {
        let started = Instant::now();
        loop {
            let ask = |address: &SocketAddr| status(&address.to_string(), PATIENCE).ok();
            let all: Vec<NodeStatus> = self.addresses.iter().filter_map(ask).collect();
            let groups: Vec<_> = all.iter().filter_map(|node| node.groups.first()).collect();
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
    fn rested(&self) {
        let started = Instant::now();
        let rests = |address: &SocketAddr| {
            let groups =
                status(&address.to_string(), PATIENCE).map_or_else(|_| Vec::new(), |node| node.groups);
            groups.first().is_some_and(|group| group.at_rest && group.applied < group.snapshot + ENTRIES / 10)
        };
        while !self.addresses.iter().all(rests) {
            assert!(started.elapsed() < PATIENCE, "the group never rests");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    fn end(&mut self) {
        self.nodes.iter_mut().for_each(|node| drop(node.kill().and_then(|()| node.wait())));
    }

    /// CPU time of each node since it started: of a busy machine it says more than the clock.
    fn cpu(&self) -> String {
        self.nodes.iter().map(cpu_of).collect::<Vec<_>>().join(", ")
    }

    /// Memory and disk of the first node.
    fn footprint(&self) -> String {
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
fn cpu_of(node: &Child) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", node.id())).unwrap_or_default();
    // Behind the name, which ends with the last bracket: state is the first word, user and system time the 12th and 13th.
    let words = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11);
    let hundredths: u64 = words.take(2).filter_map(|word| word.parse::<u64>().ok()).sum();
    format!("{:.2} s of CPU", Duration::from_millis(hundredths * 10).as_secs_f64())
}

fn ready(node: &mut Child) {
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

fn timed(what: impl FnOnce()) -> Duration {
    let started = Instant::now();
    what();
    started.elapsed()
}

fn quantile(times: &[Duration], percent: usize) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[(times.len() * percent / 100).min(times.len() - 1)]
}

fn summary(times: &[Duration]) -> String {
    let [p50, p90, p99, max] = [50, 90, 99, 100].map(|percent| quantile(times, percent));
    format!("p50 {p50:.2?}, p90 {p90:.2?}, p99 {p99:.2?}, max {max:.2?}")
}
