//! `ordeal kv watch` beside real processes: leaders that are killed, shards that move, and every change is told once, in order.

use std::io::{BufRead, BufReader, Lines};
use std::process::{ChildStdout, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::members::Cluster;
use super::shards::{Six, json};
use super::{Guarded, ordeal};

/// A watch under way, which has begun: whatever is written from now on is told.
struct Watch {
    child: Guarded,
    lines: Lines<BufReader<ChildStdout>>,
    /// As the first line says.
    from: String,
}

impl Watch {
    fn begin(cluster: &Cluster, words: &[&str]) -> Watch {
        let mut command = ordeal(["kv", "watch", "--json"]);
        command.args(words).env("ORDEAL_ENDPOINTS", &cluster.endpoints).stdout(Stdio::piped());
        let mut child = Guarded(command.stderr(Stdio::null()).spawn().expect("it starts"));
        let mut lines = BufReader::new(child.0.stdout.take().expect("its output")).lines();
        let first = json(&lines.next().expect("a first line").expect("a line"));
        assert_eq!(first["what"], "begun", "{first}");
        Watch { child, lines, from: first["from"].as_str().expect("a place").to_owned() }
    }

    /// The next changes.
    fn take(&mut self, count: usize) -> Vec<Value> {
        self.lines.by_ref().take(count).map(|line| json(&line.expect("a line"))).collect()
    }

    /// Interrupts it; says what it told since, and where to go on.
    fn end(mut self) -> (Vec<Value>, String) {
        let pid = Pid::from_raw(i32::try_from(self.child.0.id()).expect("a pid"));
        kill(pid, Signal::SIGINT).expect("it runs");
        let mut rest: Vec<Value> = self.lines.map(|line| json(&line.expect("a line"))).collect();
        assert_eq!(self.child.0.wait().expect("it ends").code(), Some(0));
        let last = rest.pop().expect("a last line");
        assert_eq!(last["what"], "ended", "{last}");
        (rest, last["from"].as_str().expect("a place").to_owned())
    }
}

/// Writes a number to a key, and gives what a watcher must be told of it: key, value, version.
fn put(cluster: &Cluster, key: &str, number: usize) -> [String; 3] {
    let value = number.to_string();
    let done = json(&cluster.kv(&["put", key, &value, "--json", "--timeout", "20s"]).exits(0).stdout);
    [key.to_owned(), value, done["made"].as_str().expect("a version").to_owned()]
}

fn told(changes: &[Value]) -> Vec<[String; 3]> {
    let text = |change: &Value, field: &str| change[field].as_str().unwrap_or_default().to_owned();
    changes.iter().map(|change| ["key", "value", "version"].map(|field| text(change, field))).collect()
}

/// The leader of the group that owns the key's shard, and the other group.
fn owner_of(cluster: &Cluster, shard: &str) -> (usize, &'static str) {
    let shown = json(&cluster.kv(&["shards", "show", "--json"]).exits(0).stdout);
    let number: usize = shard[1..].parse().expect("a shard");
    let group = shown["owners"][number]["group"].as_str().expect("a group").to_owned();
    let listed = cluster.kv(&["member", "list", "--json"]).exits(0).stdout;
    let line = listed.lines().map(json).find(|line| line["group"] == group.as_str()).expect("it is listed");
    let leader = line["leader"].as_str().expect("somebody leads")[1..].parse().expect("a node");
    (leader, if group == "g1" { "g2" } else { "g1" })
}

#[test]
fn every_change_is_told_once_and_in_order_whoever_dies_and_wherever_the_shard_goes() {
    let mut six = Six::with_groups(2);
    let mut tagged = Watch::begin(&six.cluster, &["--prefix", "{t}"]);
    let all = Watch::begin(&six.cluster, &["--prefix", ""]);
    assert!(!tagged.from.contains('=') && all.from.starts_with("s0="), "one shard, and all of them");
    let mut expected = vec![put(&six.cluster, "{t}a", 0)];
    let first = tagged.take(1);
    assert_eq!(told(&first), expected);
    let shard = first[0]["shard"].as_str().expect("a shard").to_owned();
    for round in 0..3 {
        let (leader, other) = owner_of(&six.cluster, &shard);
        if round == 1 {
            six.die_and_start(&[leader]);
        } else {
            drop(six.cluster.nodes.remove(&leader));
        }
        expected.extend((0..10).map(|number| put(&six.cluster, "{t}a", 100 * round + number)));
        six.cluster.kv(&["shards", "move", &shard, other, "--no-wait", "--timeout", "20s"]).exits(0);
        expected.extend(
            (10..30).map(|number| put(&six.cluster, ["{t}a", "{t}b"][number % 2], 100 * round + number)),
        );
        six.cluster.kv(&["put", "elsewhere", "1", "--timeout", "20s"]).exits(0);
        six.cluster.kv(&["shards", "move", &shard, other, "--timeout", "60s"]).exits(0);
        six.start_the_dead();
    }
    let changes = tagged.take(expected.len() - 1);
    assert_eq!(told(&changes), expected[1..]);
    let (more, place) = tagged.end();
    assert!(more.is_empty(), "told twice: {more:?}");
    let (everything, _) = all.end();
    let of_tag =
        everything.iter().filter(|change| change["shard"] == shard.as_str()).cloned().collect::<Vec<_>>();
    assert_eq!(told(&of_tag), expected, "within its shard each is in order");
    assert_eq!(everything.len(), expected.len() + 3);

    // Others go on where one was, at any change, and where it ended.
    let from = changes[40]["from"].as_str().expect("a place");
    let mut later = Watch::begin(&six.cluster, &["--prefix", "{t}", "--from", from]);
    assert_eq!(told(&later.take(expected.len() - 42)), expected[42..]);
    let mut last = Watch::begin(&six.cluster, &["{t}a", "--from", &place]);
    six.cluster.kv(&["delete", "{t}b", "--timeout", "20s"]).exits(0);
    six.cluster.kv(&["delete", "{t}a", "--timeout", "20s"]).exits(0);
    let removed = last.take(1);
    assert_eq!((&removed[0]["what"], &removed[0]["key"]), (&"delete".into(), &"{t}a".into()));
}

#[test]
fn what_cannot_be_watched_is_told_why() {
    let six = Six::with_groups(1);
    let kv = |words: &[&str]| six.cluster.kv(&[&["watch"], words].concat());
    kv(&["--prefix", "a", "--from", "1.42"]).exits(2).explains("1.42 is of one shard, and the keys are of 8");
    kv(&["--prefix", "a", "--from", "s0=1.42"]).exits(2).explains("nothing is said of s1");
    kv(&["a", "--from", "yesterday"]).exits(2);
    kv(&["a", "--prefix", "a"]).exits(2);
    kv(&[]).exits(2);
    kv(&[&"k".repeat(5_000)]).exits(5).says("key or prefix of 5000 bytes");
    // What is not kept any more.
    let value = "x".repeat(100_000);
    for _ in 0..50 {
        six.cluster.kv(&["put", "a", &value, "--timeout", "20s"]).exits(0);
    }
    kv(&["a", "--from", "0.0"]).exits(5).explains("are not kept any more");
}
