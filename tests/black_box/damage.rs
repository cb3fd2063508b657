//! The disk of a node loses something while the node is dead: real processes, real files. What the others can send back they do;
//! a node that may have forgotten a promise does not start, and says in commands to paste how it is replaced.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::members::{Cluster, ports, start};
use super::{ORDEAL, ordeal, processes_of, soon};

/// Entries start at blocks, and so do heads of frames.
const BLOCK: usize = 4096;

fn value(number: usize) -> String {
    format!("value {number:04} of many, long enough to be found")
}

/// Three nodes with so many values.
struct World {
    cluster: Cluster,
    ports: [u16; 3],
    flags: Vec<String>,
}

impl World {
    fn with_values(count: usize) -> World {
        let dir = tempfile::tempdir().expect("a directory");
        let ports: [u16; 3] = ports();
        let flags: Vec<String> = (1..=3)
            .flat_map(|id| ["--member".to_owned(), format!("n{id}=127.0.0.1:{}", ports[id - 1])])
            .collect();
        let nodes = (1..=3).map(|id| (id, start(dir.path(), id, ports[id - 1], &flags))).collect();
        let endpoints: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let world = World { cluster: Cluster { nodes, endpoints: endpoints.join(","), dir }, ports, flags };
        world.put(0..count);
        world.is_level(&["n1", "n2", "n3"]);
        world
    }

    fn put(&self, numbers: std::ops::Range<usize>) {
        for number in numbers {
            let words = ["put", &format!("key {number}"), &value(number), "--timeout", "20s"];
            self.cluster.kv(&words).exits(0);
        }
    }

    /// Kills a node as `kill -9` does.
    fn kill(&mut self, id: usize) {
        drop(self.cluster.nodes.remove(&id));
    }

    fn start(&mut self, id: usize) {
        let node = start(self.cluster.dir.path(), id, self.ports[id - 1], &self.flags);
        self.cluster.nodes.insert(id, node);
    }

    fn dir_of(&self, id: usize) -> PathBuf {
        self.cluster.dir.path().join(id.to_string())
    }

    /// Waits until these nodes answer, lack nothing, and have applied the same, with equal digests, group by group.
    fn is_level(&self, nodes: &[&str]) {
        soon("all are level", || {
            let text = self.cluster.kv(&["status", "--json"]).stdout;
            let mut states: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for line in text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")) {
                for group in line["groups"].as_array().into_iter().flatten() {
                    let whole = group["lost"] == 0 && group["applied"] == group["last"];
                    let state = format!("{whole} {} {}", group["applied"], group["digest"]);
                    states.entry(group["group"].to_string()).or_default().push(state);
                }
            }
            let level = |all: &Vec<String>| {
                all.len() == nodes.len()
                    && all[0].starts_with("true")
                    && all.iter().all(|state| *state == all[0])
            };
            // Two groups, and the controller.
            states.len() == 3 && states.values().all(level)
        });
    }

    fn log_of(&self, id: usize) -> String {
        fs::read_to_string(self.cluster.dir.path().join(format!("{id}.log"))).expect("its log")
    }
}

/// The segments of a node's log, with what is in them.
fn segments(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all: Vec<_> = (fs::read_dir(dir.join("wal")).expect("the log").flatten())
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "wal"))
        .map(|path| (path.clone(), fs::read(&path).expect("a segment")))
        .collect();
    all.sort();
    all
}

fn places_of(bytes: &[u8], words: &str) -> Vec<usize> {
    let first = words.as_bytes()[0];
    let starts = bytes.iter().enumerate().filter(|&(_, &byte)| byte == first).map(|(at, _)| at);
    starts.filter(|&at| bytes[at..].starts_with(words.as_bytes())).collect()
}

/// Flips a bit in every copy of a value.
fn flip(dir: &Path, words: &str) {
    let mut flipped = 0;
    for (path, mut bytes) in segments(dir) {
        let places = places_of(&bytes, words);
        places.iter().for_each(|&at| bytes[at] ^= 1);
        flipped += places.len();
        fs::write(path, bytes).expect("a segment to write to");
    }
    assert!(flipped > 0, "`{words}` is in the log");
}

/// Wipes all blocks from the one that holds the first of two values to the one that holds the second.
fn wipe(dir: &Path, first: &str, last: &str) {
    for (path, mut bytes) in segments(dir) {
        if let (Some(&from), Some(&to)) = (places_of(&bytes, first).first(), places_of(&bytes, last).first())
        {
            bytes[from / BLOCK * BLOCK..(to / BLOCK + 1) * BLOCK].fill(0);
            fs::write(path, bytes).expect("a segment to write to");
            return;
        }
    }
    panic!("no segment holds `{first}` and `{last}`");
}

#[test]
fn what_the_disk_of_a_dead_node_lost_comes_back_from_the_others() {
    let mut world = World::with_values(40);
    world.kill(2);
    world.put(40..45);
    for number in [3, 17, 18, 31] {
        flip(&world.dir_of(2), &value(number));
    }
    world.start(2);
    world.is_level(&["n1", "n2", "n3"]);
    let told = world.log_of(2);
    assert!(told.contains("entries of the log are damaged, to be fetched from other members"), "{told}");
    let alone = format!("127.0.0.1:{}", world.ports[1]);
    for number in [3, 17, 18, 31, 44] {
        let key = format!("key {number}");
        let words = ["kv", "get", &key, "--read-level", "stale", "--endpoints", &alone];
        assert_eq!(super::done(&mut ordeal(words)).exits(0).stdout, format!("{}\n", value(number)));
    }
    // And they are on its disk again: the next start finds nothing missing, by itself.
    world.kill(1);
    world.kill(3);
    world.kill(2);
    world.start(2);
    let again = world.log_of(2);
    assert!(!again.contains("are damaged"), "{again}");
}

/// A cluster's processes, also those that a shell has left in the background; none outlives its test.
struct AllOf<'a>(&'a Path);

impl Drop for AllOf<'_> {
    fn drop(&mut self) {
        for (pid, _) in processes_of(self.0) {
            // It may be gone already.
            let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        soon("all of its processes are gone", || processes_of(self.0).is_empty());
    }
}

/// Starts a node that must refuse for this reason, and gives the commands of its hint.
fn refused(world: &World, id: usize, reason: &str) -> String {
    let mut command = ordeal(["node", "start", "--cluster", "00c0ffee00c0ffee", "--sync", "never"]);
    command.args(["--id", &format!("n{id}"), "--listen", &format!("127.0.0.1:{}", world.ports[id - 1])]);
    command.args(["--groups", "2", "--dir"]).arg(world.dir_of(id)).args(&world.flags);
    let done = super::done(&mut command).exits(13).explains(reason);
    let (_, hint) = done.stderr.split_once("hint: ").expect("a hint");
    let (words, commands) = hint.split_once('\n').expect("commands");
    assert!(words.contains("it must not vote again under its id"), "{words}");
    commands.to_owned()
}

/// Runs lines as a person pastes them, in a shell that knows `ordeal`.
fn paste(world: &World, commands: &str) {
    let path = std::env::var("PATH").unwrap_or_default();
    let bin = Path::new(ORDEAL).parent().expect("a directory");
    let log = fs::File::create(world.cluster.dir.path().join("shell.log")).expect("a log");
    let status = std::process::Command::new("sh")
        .args(["-e", "-c", commands])
        .env("PATH", format!("{}:{path}", bin.display()))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("the log"))
        .stderr(log)
        .status();
    let told = fs::read_to_string(world.cluster.dir.path().join("shell.log")).expect("the log");
    assert!(status.expect("a shell").success(), "{commands}\n{told}");
}

/// n2, which is dead, refuses to start; the commands that it tells are pasted; and then everything is there and goes on.
fn is_replaced(world: &mut World, reason: &str, values: usize) {
    let dir = world.cluster.dir.path().to_owned();
    let _all = AllOf(&dir);
    let commands = refused(world, 2, reason);
    paste(world, &commands);
    assert_eq!(world.cluster.listed("voters"), [r#"["n1","n3","n4"]"#; 3], "{commands}");
    world.put(values..values + 5);
    world.is_level(&["n1", "n3", "n4"]);
    // The new one counts: with it and one of the others everything goes on.
    world.kill(1);
    world.put(values + 5..values + 10);
    for number in [0, 5, values - 1, values + 9] {
        let read = world.cluster.kv(&["get", &format!("key {number}"), "--timeout", "20s"]).exits(0);
        assert_eq!(read.stdout, format!("{}\n", value(number)));
    }
}

#[test]
fn a_node_that_may_have_forgotten_a_vote_is_replaced_by_the_commands_that_it_tells() {
    let mut world = World::with_values(30);
    world.kill(2);
    // Several frames at once, up to the last: a vote may have been among them, and nothing behind them tells.
    wipe(&world.dir_of(2), &value(5), &value(29));
    is_replaced(&mut world, "may have forgotten a vote", 30);
}

#[test]
fn a_node_that_lost_entries_of_an_unknown_term_is_replaced_by_the_commands_that_it_tells() {
    let mut world = World::with_values(20);
    // Behind the hole each group's term and vote are told again.
    for leader in ["n1", "n3"] {
        world.cluster.kv(&["transfer", "--to", leader]).exits(0);
    }
    world.put(20..30);
    world.is_level(&["n1", "n2", "n3"]);
    world.kill(2);
    wipe(&world.dir_of(2), &value(5), &value(15));
    is_replaced(&mut world, "of an unknown term", 30);
}
