//! Members come and go: real nodes, real processes, and every acknowledged key is still there.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

use super::{Done, Guarded, done, ordeal, soon};

/// Free ports, which nobody else on this machine is likely to take before they are used.
pub(super) fn ports<const N: usize>() -> [u16; N] {
    let listeners: [TcpListener; N] =
        std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("its address").port())
}

pub(super) fn start(dir: &Path, id: usize, port: u16, flags: &[String]) -> Guarded {
    let mut command = ordeal(["node", "start", "--cluster", "00c0ffee00c0ffee", "--sync", "never"]);
    command.args(["--id", &format!("n{id}"), "--listen", &format!("127.0.0.1:{port}")]);
    if !flags.iter().any(|flag| flag == "--groups") {
        command.args(["--groups", "2"]);
    }
    command.arg("--dir").arg(dir.join(id.to_string())).args(flags);
    let log = std::fs::File::create(dir.join(format!("{id}.log"))).expect("a log");
    let mut node = Guarded(command.stdout(Stdio::piped()).stderr(log).spawn().expect("a node"));
    let ready = BufReader::new(node.0.stdout.take().expect("its output")).lines().next();
    assert!(ready.is_some_and(|line| line.expect("a line").starts_with("ready")), "n{id} is ready");
    node
}

pub(super) struct Cluster {
    pub(super) nodes: BTreeMap<usize, Guarded>,
    pub(super) endpoints: String,
    pub(super) dir: tempfile::TempDir,
}

impl Cluster {
    pub(super) fn kv(&self, words: &[&str]) -> Done {
        done(ordeal(["kv"]).args(words).env("ORDEAL_ENDPOINTS", &self.endpoints))
    }

    /// The value of a field of each group, by `member list --json`.
    pub(super) fn listed(&self, field: &str) -> Vec<String> {
        let text = self.kv(&["member", "list", "--json"]).exits(0).stdout;
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
        lines.map(|line| line[field].to_string()).collect()
    }

    fn put_many(&self, from: usize, upto: usize) {
        for number in from..upto {
            self.kv(&["put", &format!("key {number}"), &number.to_string(), "--timeout", "20s"]).exits(0);
        }
    }
}

/// Three nodes with two groups; n4 joins, whoever leads g1 is removed and stopped, and again; what was written stays.
#[test]
fn a_node_joins_the_leader_is_removed_and_nothing_is_lost() {
    let dir = tempfile::tempdir().expect("a directory");
    let ports: [u16; 4] = ports();
    let address = |id: usize| format!("n{id}=127.0.0.1:{}", ports[id - 1]);
    let members: Vec<String> = (1..=3).flat_map(|id| ["--member".to_owned(), address(id)]).collect();
    let nodes = (1..=3).map(|id| (id, start(dir.path(), id, ports[id - 1], &members))).collect();
    let endpoints = ports[..3].iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",");
    let mut cluster = Cluster { nodes, endpoints, dir };
    cluster.put_many(0, 20);

    let flags = ["--join".to_owned(), "--member".to_owned(), address(4)];
    let newcomer = start(cluster.dir.path(), 4, ports[3], &flags);
    cluster.nodes.insert(4, newcomer);
    let added = cluster.kv(&["member", "add", &address(4)]).exits(0).stdout;
    assert_eq!(added, "g0: n4 is a voter\ng1: n4 is a voter\ng2: n4 is a voter\n");
    cluster.kv(&["member", "add", &address(4)]).exits(0);
    assert_eq!(cluster.listed("voters"), [r#"["n1","n2","n3","n4"]"#; 3]);
    let newcomer = format!("127.0.0.1:{}", ports[3]);
    soon("n4 has everything", || {
        let words = ["kv", "get", "key 19", "--read-level", "stale", "--endpoints", &newcomer];
        done(&mut ordeal(words)).stdout == "19\n"
    });
    // Whoever follows the cluster from the newcomer alone finds all of it.
    let through = done(&mut ordeal(["kv", "get", "key 0", "--endpoints", &newcomer]));
    assert_eq!(through.exits(0).stdout, "0\n");

    let led = cluster.kv(&["transfer", "--to", "n2", "--group", "g1"]).exits(0).stdout;
    assert_eq!(led, "g1: n2 leads\n");
    assert_eq!(cluster.listed("leader")[1], r#""n2""#);
    cluster.endpoints = format!("{},{newcomer}", cluster.endpoints);
    for gone in [2, 1] {
        let removed = cluster.kv(&["member", "remove", &format!("n{gone}")]).exits(0).stdout;
        assert_eq!(
            removed,
            format!("g1: n{gone} is no member\ng2: n{gone} is no member\ng0: n{gone} is no member\n")
        );
        cluster.put_many(20 * gone, 20 * gone + 20);
        drop(cluster.nodes.remove(&gone));
        cluster.kv(&["put", "after", &gone.to_string(), "--timeout", "20s"]).exits(0);
    }
    assert_eq!(cluster.listed("voters"), [r#"["n3","n4"]"#; 3]);

    // A restart keeps what the log says, whatever the flags say.
    for id in [3, 4] {
        drop(cluster.nodes.remove(&id));
    }
    for (id, flags) in [(3, &members[..]), (4, &flags[..])] {
        let node = start(cluster.dir.path(), id, ports[id - 1], flags);
        cluster.nodes.insert(id, node);
    }
    for number in 0..60 {
        let read = cluster.kv(&["get", &format!("key {number}"), "--timeout", "20s"]).exits(0);
        assert_eq!(read.stdout, format!("{number}\n"));
    }
    assert_eq!(cluster.listed("voters"), [r#"["n3","n4"]"#; 3]);
    let refused = cluster.kv(&["member", "add", "n5=127.0.0.1:9", "--learner"]).exits(0).stdout;
    assert_eq!(refused, "g0: n5 is a learner\ng1: n5 is a learner\ng2: n5 is a learner\n");
    cluster.kv(&["member", "add", "n3=127.0.0.1:9", "--learner"]).exits(5).explains("n3 is a voter");
    cluster.kv(&["transfer", "--to", "n5"]).exits(5).explains("no voter");
}
