//! Groups on some nodes only, and shards that move between them: real processes, real sockets, and the commands of a person.

use super::members::{Cluster, ports, start};
use super::{done, ordeal, soon};

/// Six nodes, two groups of three that share none.
fn cluster() -> Cluster {
    Six::with_groups(2).cluster
}

/// Six nodes that can be killed and started again.
pub(super) struct Six {
    pub(super) cluster: Cluster,
    ports: [u16; 6],
    flags: Vec<String>,
}

impl Six {
    /// With so many groups of three.
    pub(super) fn with_groups(groups: usize) -> Six {
        let dir = tempfile::tempdir().expect("a directory");
        let ports: [u16; 6] = ports();
        let flags = flags(ports, groups);
        let nodes = (1..=6).map(|id| (id, start(dir.path(), id, ports[id - 1], &flags))).collect();
        let endpoints: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let cluster = Cluster { nodes, endpoints: endpoints.join(","), dir };
        soon("the groups said who they are", || {
            let listed = cluster.kv(&["groups", "list"]).stdout;
            listed.contains("n1=") && (groups == 1 || listed.contains("n6="))
        });
        Six { cluster, ports, flags }
    }

    /// SIGKILL, to all of them at once, and a start of each.
    pub(super) fn die_and_start(&mut self, nodes: &[usize]) {
        for node in nodes {
            drop(self.cluster.nodes.remove(node));
        }
        for &id in nodes {
            let node = start(self.cluster.dir.path(), id, self.ports[id - 1], &self.flags);
            self.cluster.nodes.insert(id, node);
        }
    }

    /// Starts those that are dead.
    pub(super) fn start_the_dead(&mut self) {
        let dead: Vec<usize> = (1..=6).filter(|id| !self.cluster.nodes.contains_key(id)).collect();
        self.die_and_start(&dead);
    }

    /// How many shards each group owns.
    fn shares(&self) -> Vec<(String, u64)> {
        let listed = self.cluster.kv(&["groups", "list", "--json", "--timeout", "20s"]).exits(0).stdout;
        let share =
            |line: serde_json::Value| Some((line["group"].as_str()?.to_owned(), line["shards"].as_u64()?));
        listed.lines().map(json).filter_map(share).collect()
    }

    fn number(&self) -> String {
        json(&self.cluster.kv(&["shards", "show", "--json"]).exits(0).stdout)["number"].to_string()
    }
}

fn flags(ports: [u16; 6], groups: usize) -> Vec<String> {
    let mut flags: Vec<String> = (1..=6)
        .flat_map(|id| ["--member".to_owned(), format!("n{id}=127.0.0.1:{}", ports[id - 1])])
        .collect();
    let groups = groups.to_string();
    flags.extend(["--replicas", "3", "--shards", "8", "--groups", &groups].map(str::to_owned));
    flags
}

pub(super) fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text.trim()).expect("one line of JSON")
}

/// Everything moves out of a group and back; all keys are there at every step, from whichever node they are asked.
#[test]
fn a_group_leaves_and_joins_again_and_every_key_is_still_there() {
    let cluster = cluster();
    for number in 0..24 {
        cluster.kv(&["put", &format!("key {number}"), &number.to_string(), "--timeout", "20s"]).exits(0);
    }
    let all_there = |cluster: &Cluster| {
        for number in 0..24 {
            let read = cluster.kv(&["get", &format!("key {number}"), "--timeout", "20s"]).exits(0);
            assert_eq!(read.stdout, format!("{number}\n"));
        }
    };
    let left = cluster.kv(&["groups", "leave", "g1", "--json"]).exits(0).stdout;
    assert_eq!(json(&left)["what"], "4 shards moved", "{left}");
    let shown = json(&cluster.kv(&["shards", "show", "--json"]).exits(0).stdout);
    let owners = shown["owners"].as_array().expect("owners");
    assert!(owners.iter().all(|owner| owner["group"] == "g2"), "{shown}");
    all_there(&cluster);
    cluster.kv(&["groups", "join", "g1"]).exits(0);
    let listed = cluster.kv(&["groups", "list", "--json"]).exits(0).stdout;
    assert!(listed.lines().map(json).all(|group| group["shards"] == 4), "{listed}");
    all_there(&cluster);
    // All numbers can be asked for, for ever.
    let first = json(&cluster.kv(&["shards", "show", "--number", "1", "--json"]).exits(0).stdout);
    assert_eq!((&first["number"], &first["owners"][1]["group"]), (&1.into(), &"g2".into()));
    let moved = cluster.kv(&["shards", "move", "s0", "g2"]).exits(0).stdout;
    assert!(moved.ends_with("1 shards moved\n") || moved.ends_with("no shard had to move\n"), "{moved}");
    let one = cluster.endpoints.split(',').next().expect("one");
    let through = done(&mut ordeal(["kv", "get", "key 7", "--endpoints", one]));
    assert_eq!(through.exits(0).stdout, "7\n");
}

/// On nodes that hold no data so far, which all die while it is made, and again afterwards.
#[test]
fn a_group_that_was_never_there_is_made_and_every_key_is_still_there() {
    let mut six = Six::with_groups(1);
    for number in 0..24 {
        six.cluster.kv(&["put", &format!("key {number}"), &number.to_string(), "--timeout", "20s"]).exits(0);
    }
    let all_there = |six: &Six| {
        for number in 0..24 {
            let read = six.cluster.kv(&["get", &format!("key {number}"), "--timeout", "20s"]).exits(0);
            assert_eq!(read.stdout, format!("{number}\n"));
        }
    };
    six.cluster.kv(&["groups", "join", "g3=n4,n5,n6", "--no-wait"]).exits(0);
    six.die_and_start(&[4, 5, 6]);
    let shared = |six: &Six, of: &[(&str, u64)]| {
        soon("each group has its share", || {
            six.shares().iter().map(|(group, shards)| (group.as_str(), *shards)).eq(of.iter().copied())
        });
    };
    shared(&six, &[("g1", 4), ("g3", 4)]);
    all_there(&six);
    six.die_and_start(&[1, 2, 3, 4, 5, 6]);
    all_there(&six);
    let listed = six.cluster.kv(&["member", "list", "--json"]).exits(0).stdout;
    let of_g3 = listed.lines().map(json).find(|line| line["group"] == "g3").expect("it is listed");
    assert_eq!(of_g3["voters"], serde_json::json!(["n4", "n5", "n6"]), "{listed}");
    assert!(six.cluster.kv(&["status"]).exits(0).stdout.contains("g3"));
    let wal = done(ordeal(["node", "inspect", "wal", "--group", "g3"]).arg(six.cluster.dir.path().join("5")));
    assert!(wal.exits(0).stdout.contains("g3"));
    // It leaves and comes back as any other does; two more are made in one step, one of them where others are.
    six.cluster.kv(&["groups", "leave", "g3"]).exits(0);
    six.cluster.kv(&["groups", "join", "g3=n1,n2,n3"]).exits(5).explains("g3 was there before");
    six.cluster.kv(&["groups", "join", "g3"]).exits(0);
    let made = six.cluster.kv(&["groups", "join", "g2=n1,n3,n5", "g4=n6", "--json"]).exits(0).stdout;
    assert_eq!(json(&made)["what"], "4 shards moved", "{made}");
    shared(&six, &[("g1", 2), ("g2", 2), ("g3", 2), ("g4", 2)]);
    all_there(&six);
}

#[test]
fn a_group_that_makes_no_sense_is_not_made() {
    let mut six = Six::with_groups(1);
    let before = six.number();
    let many: Vec<String> = (2..=65).map(|group| format!("g{group}=n4")).collect();
    let too_many: Vec<&str> = ["groups", "join"].into_iter().chain(many.iter().map(String::as_str)).collect();
    for (words, names) in [
        (&["groups", "join", "g1=n4,n5,n6"][..], "g1 has joined already"),
        (&["groups", "join", "g3=n4,n5,n9"], "n9 is no member of the cluster"),
        (&["groups", "join", "g0=n4"], "g0 is the controller's own group"),
        (&too_many, "more than 64 groups"),
    ] {
        six.cluster.kv(words).exits(5).explains(names);
    }
    let nodes: Vec<String> = (1..=16).map(|node| format!("n{node}")).collect();
    let large = format!("g3={}", nodes.join(","));
    for (words, names) in [
        (&["g3=n4,n5,n4"][..], "n4 is named twice for g3"),
        (&["g3="], "no nodes are named for g3"),
        (&["g3=n4", "g3=n5"], "g3 is named twice"),
        (&["g3=n4", "g1"], "g3 is to be made, and g1 is to come back"),
        (&[&large], "16 nodes are named for g3, 15 are the most"),
    ] {
        let refused = six.cluster.kv(&[&["groups", "join"], words].concat()).exits(2);
        assert!(refused.stderr.contains(names), "{}", refused.stderr);
    }
    drop(six.cluster.nodes.remove(&6));
    let words = "which is to be a member of g3, does not answer";
    six.cluster.kv(&["groups", "join", "g3=n4,n5,n6"]).exits(5).explains(words);
    assert_eq!(six.number(), before);
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let mut cluster = cluster();
    let number = |cluster: &Cluster| {
        json(&cluster.kv(&["shards", "show", "--json"]).exits(0).stdout)["number"].to_string()
    };
    let before = number(&cluster);
    for (words, names) in [
        (&["shards", "move", "s0", "g9"][..], "there is no g9"),
        (&["shards", "move", "s8", "g1"], "there is no s8, the last one is s7"),
        (&["shards", "cancel", "s0"], "no move of s0 is under way"),
        (&["shards", "show", "--number", "99"], "there is no such configuration"),
        (&["groups", "leave", "g1", "g2"], "no group would be left to own the shards"),
        (&["groups", "leave", "g7"], "there is no g7"),
        (&["groups", "join", "g1"], "g1 has joined already"),
        (&["groups", "join", "g9"], "no node that answers has a member of g9"),
    ] {
        cluster.kv(words).exits(5).explains(names);
    }
    let txn = cluster.kv(&["txn", "--then", "put a 1", "--then", "put b 2"]).exits(5);
    txn.explains("a transaction has one shard");
    assert_eq!(number(&cluster), before);
    // A group comes back only when all its members answer.
    cluster.kv(&["groups", "leave", "g2", "--timeout", "30s"]).exits(0);
    drop(cluster.nodes.remove(&6));
    cluster.kv(&["groups", "join", "g2"]).exits(5).explains("n6 at 127.0.0.1:");
}
