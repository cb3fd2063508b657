//! The house rules: who may import whom, how long a file may be, what the pure rooms must not touch. Each rule is a
//! function from sources to offences, and each is shown once to bite on a planted offence.

use std::fs;
use std::path::{Path, PathBuf};

/// A file of the workspace: its path from the root, with `/`, and its text.
struct Source {
    path: String,
    text: String,
}

/// Which of our crates each crate may depend on.
const CRATE_EDGES: [(&str, &[&str]); 6] = [
    (".", &["client", "harness", "node"]),
    ("harness", &["client", "history"]),
    ("node", &["client", "wal"]),
    ("client", &[]),
    ("wal", &[]),
    ("history", &[]),
];

/// node's simulator judges its clients' histories.
const DEV_EDGES: [(&str, &[&str]); 1] = [("node", &["history"])];

/// Which rooms of `node` each room may import.
const NODE_ROOMS: [(&str, &[&str]); 11] = [
    ("raft", &[]),
    ("kv", &[]),
    ("shard", &["kv"]),
    ("controller", &["kv"]),
    ("mover", &["shard", "controller", "kv"]),
    ("engine", &["raft", "shard", "kv", "controller", "mover"]),
    ("storage", &["raft", "engine"]),
    ("server", &["engine", "storage", "raft", "config", "mover", "shard"]),
    ("config", &["engine", "storage", "raft"]),
    ("inspect", &["storage", "raft", "shard", "kv", "controller", "engine"]),
    ("cli", &["config", "server", "storage", "engine", "inspect"]),
];

/// Which rooms of `harness` each room may import. `exit`, `chance` and `latch` are tools without a room below them.
const HARNESS_ROOMS: [(&str, &[&str]); 16] = [
    ("exit", &[]),
    ("chance", &[]),
    ("latch", &[]),
    ("lab", &["chance"]),
    ("system", &[]),
    ("cluster", &["lab", "system"]),
    ("plan", &["lab", "cluster", "chance"]),
    ("workload", &["system", "plan", "chance", "latch"]),
    ("store", &["plan", "cluster", "lab"]),
    ("verdict", &["plan", "store", "cluster", "lab", "exit"]),
    ("report", &["plan", "store", "cluster", "lab", "verdict", "exit"]),
    (
        "run",
        &[
            "plan", "workload", "cluster", "system", "lab", "store", "verdict", "report", "exit", "chance",
            "latch",
        ],
    ),
    (
        "scenario",
        &[
            "run", "plan", "workload", "cluster", "system", "lab", "store", "verdict", "report", "exit",
            "chance", "latch",
        ],
    ),
    ("doctor", &["lab", "exit"]),
    ("byhand", &["cluster", "system", "lab", "chance"]),
    (
        "cli",
        &[
            "plan", "system", "lab", "store", "verdict", "report", "run", "scenario", "doctor", "byhand",
            "exit", "chance", "latch",
        ],
    ),
];

/// Rooms of `node` without hands, and what they must not name.
const PURE_ROOMS: [&str; 6] = ["raft", "kv", "shard", "controller", "mover", "engine"];
const IMPURE_WORDS: [&str; 12] = [
    "std::fs",
    "std::net",
    "std::thread",
    "std::time",
    "std::io",
    "std::env",
    "std::process",
    "HashMap",
    "HashSet",
    "println!",
    "mio::",
    "rand::rng(",
];

#[test]
fn crates_depend_only_on_whom_they_may() {
    let offences = edges_of_manifests(&manifests());
    assert!(offences.is_empty(), "{offences:#?}");
    let planted = [("wal".to_owned(), "[dependencies]\nordeal-node.workspace = true\n".to_owned())];
    assert_eq!(edges_of_manifests(&planted).len(), 1, "a forbidden edge must be seen");
}

#[test]
fn node_takes_only_the_wire_of_client_and_rooms_keep_their_edges() {
    let sources = sources();
    let offences = [
        room_offences(&sources, "node/src/", &NODE_ROOMS),
        room_offences(&sources, "harness/src/", &HARNESS_ROOMS),
        wire_offences(&sources),
    ];
    assert!(offences.iter().all(Vec::is_empty), "{offences:#?}");
    let planted =
        [source("node/src/raft/x.rs", "use crate::storage::Storage;\nuse ordeal_client::Client;\n")];
    assert_eq!(room_offences(&planted, "node/src/", &NODE_ROOMS).len(), 1);
    assert_eq!(wire_offences(&planted).len(), 1);
}

#[test]
fn pure_rooms_touch_no_world() {
    let offences = impure_offences(&sources());
    assert!(offences.is_empty(), "{offences:#?}");
    let planted = [source("node/src/kv/x.rs", "use std::collections::HashMap;\n")];
    assert_eq!(impure_offences(&planted).len(), 1);
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    let offences = shape_offences(&sources());
    assert!(offences.is_empty(), "{offences:#?}");
    let long = "//! x\n".to_owned() + &"\n".repeat(500);
    assert_eq!(shape_offences(&[source("a.rs", &long), source("b.rs", "use x;\n")]).len(), 2);
}

#[test]
fn nothing_is_silenced_unfinished_or_unsafe() {
    let offences = word_offences(&sources());
    assert!(offences.is_empty(), "{offences:#?}");
    let planted = ["#[al\u{6c}ow(dead_code)]", "tod\u{6f}!()", "unsaf\u{65} { }", "use bincod\u{65}::x;"];
    for text in planted {
        assert_eq!(word_offences(&[source("node/src/x.rs", text)]).len(), 1, "{text}");
    }
    let waits = "std::thread::sl\u{65}ep(x)";
    assert_eq!(word_offences(&[source("node/tests/x.rs", waits)]).len(), 1, "{waits}");
}

#[test]
fn the_readme_names_the_two_commands() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    for command in ["cargo run --release -- run", "cargo test"] {
        assert!(readme.contains(command), "README.md does not name `{command}`");
    }
}

fn edges_of_manifests(manifests: &[(String, String)]) -> Vec<String> {
    let mut offences = Vec::new();
    for (package, manifest) in manifests {
        let allowed = |table: &[(&str, &[&str])], name: &str| {
            table.iter().any(|(from, to)| from == package && to.contains(&name))
        };
        let mut section = "";
        for line in manifest.lines() {
            if line.starts_with('[') {
                section = line;
            }
            let Some(name) = line.strip_prefix("ordeal-").and_then(|rest| rest.split(['.', ' ']).next())
            else {
                continue;
            };
            let fine = match section {
                "[dependencies]" => allowed(&CRATE_EDGES, name),
                "[dev-dependencies]" => allowed(&CRATE_EDGES, name) || allowed(&DEV_EDGES, name),
                _ => true,
            };
            if !fine {
                offences.push(format!("{package} must not depend on {name} ({section})"));
            }
        }
    }
    offences
}

fn room_offences(sources: &[Source], base: &str, rooms: &[(&str, &[&str])]) -> Vec<String> {
    let mut offences = Vec::new();
    for source in sources {
        let Some(inside) = source.path.strip_prefix(base) else { continue };
        let room = inside.split(['/', '.']).next().unwrap_or_default();
        if room == "lib" || room == "main" {
            continue;
        }
        let Some((_, allowed)) = rooms.iter().find(|(name, _)| *name == room) else {
            offences.push(format!("{}: room {room} is not in the plan of tests/tidy.rs", source.path));
            continue;
        };
        for (number, line) in code_lines(source) {
            for (_, rest) in line.match_indices("crate::").map(|(at, word)| (at, &line[at + word.len()..])) {
                let target: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let known = rooms.iter().any(|(name, _)| *name == target);
                if known && target != room && !allowed.contains(&target.as_str()) {
                    offences.push(format!("{}:{number}: {room} must not import {target}", source.path));
                }
            }
        }
    }
    offences
}

fn wire_offences(sources: &[Source]) -> Vec<String> {
    let in_node = sources.iter().filter(|source| source.path.starts_with("node/src/"));
    in_node
        .flat_map(|source| {
            code_lines(source)
                .filter(|(_, line)| line.replace("ordeal_client::wire", "").contains("ordeal_client"))
                .map(|(number, _)| format!("{}:{number}: node takes only ordeal_client::wire", source.path))
                .collect::<Vec<_>>()
        })
        .collect()
}

fn impure_offences(sources: &[Source]) -> Vec<String> {
    let mut offences = Vec::new();
    for source in sources {
        if !PURE_ROOMS.iter().any(|room| source.path.starts_with(&format!("node/src/{room}/"))) {
            continue;
        }
        for (number, line) in code_lines(source) {
            for word in IMPURE_WORDS.iter().filter(|word| line.contains(**word)) {
                offences.push(format!("{}:{number}: a pure room names {word}", source.path));
            }
        }
    }
    offences
}

fn shape_offences(sources: &[Source]) -> Vec<String> {
    let mut offences = Vec::new();
    for source in sources {
        let lines = source.text.lines().count();
        if lines > 500 {
            offences
                .push(format!("{}: {lines} lines, the limit is 500: give each idea its room", source.path));
        }
        if !source.text.starts_with("//!") {
            offences.push(format!("{}: does not say with //! what it is for", source.path));
        }
    }
    offences
}

fn word_offences(sources: &[Source]) -> Vec<String> {
    // Spelled in parts, so that this file is no offence itself.
    let silenced = [concat!("#[al", "low("), concat!("#![al", "low("), concat!("#[ig", "nore")];
    let unfinished = [concat!("tod", "o!("), concat!("unimple", "mented!("), concat!("FIX", "ME")];
    let dangerous = concat!("unsa", "fe ");
    let codec = concat!("binc", "ode::");
    let wait = concat!("thread::sl", "eep");
    let mut offences = Vec::new();
    for source in sources {
        for (number, line) in code_lines(source) {
            let mut offend = |what: &str| offences.push(format!("{}:{number}: {what}", source.path));
            for word in silenced.iter().chain(&unfinished) {
                if line.contains(word) {
                    offend(word);
                }
            }
            if line.contains(dangerous) && source.path != "wal/src/mmap.rs" {
                offend("only wal/src/mmap.rs may");
            }
            if line.contains(codec) && source.path != "client/src/wire/codec.rs" {
                offend("only client/src/wire/codec.rs names the codec");
            }
            if line.contains(wait) && source.path.contains("tests/") {
                offend("a test waits for a condition, not for time");
            }
        }
    }
    offences
}

/// Lines that are no comment, numbered from 1.
fn code_lines(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    let lines = source.text.lines().enumerate().map(|(at, line)| (at + 1, line));
    lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn source(path: &str, text: &str) -> Source {
    Source { path: path.to_owned(), text: text.to_owned() }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn manifests() -> Vec<(String, String)> {
    let read =
        |package: &str| fs::read_to_string(root().join(package).join("Cargo.toml")).expect("a manifest");
    CRATE_EDGES.iter().map(|(package, _)| ((*package).to_owned(), read(package))).collect()
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    for top in ["src", "tests", "node", "client", "harness", "wal", "history"] {
        collect(&root().join(top), &mut found);
    }
    assert!(found.len() > 20, "the walk finds the workspace");
    found
}

fn collect(dir: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(dir).expect("a directory of the workspace") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source file");
            let relative =
                path.strip_prefix(root()).expect("below the root").to_string_lossy().replace('\\', "/");
            found.push(Source { path: relative, text });
        }
    }
}
