//! Groups on some nodes only, and shards that move between them: real processes, real sockets, and the commands of a person.

use super::members::{Cluster, ports, start};
use super::{done, ordeal, soon};

/// Six nodes, two groups of three that share none.
fn cluster() -> Cluster {
    let dir = tempfile::tempdir().expect("a directory");
    let ports: [u16; 6] = ports();
    let mut flags: Vec<String> = (1..=6)
        .flat_map(|id| ["--member".to_owned(), format!("n{id}=127.0.0.1:{}", ports[id - 1])])
        .collect();
    flags.extend(["--replicas", "3", "--shards", "8"].map(str::to_owned));
    let nodes = (1..=6).map(|id| (id, start(dir.path(), id, ports[id - 1], &flags))).collect();
    let endpoints: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let cluster = Cluster { nodes, endpoints: endpoints.join(","), dir };
    soon("both groups said who they are", || {
        let listed = cluster.kv(&["groups", "list"]).stdout;
        listed.contains("n1=") && listed.contains("n6=")
    });
    cluster
}

fn json(text: &str) -> serde_json::Value {
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
