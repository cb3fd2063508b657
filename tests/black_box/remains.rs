//! Nothing outlives the harness, however it ends; and what it had recorded is still there.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Guarded, done, ordeal, processes_of, soon};

/// Network namespaces of this machine's processes, as far as they can be seen.
fn namespaces_of(processes: &[(i32, String)]) -> Vec<std::path::PathBuf> {
    let of = |pid: &i32| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    processes.iter().filter_map(|(pid, _)| of(pid)).collect()
}

fn all_namespaces() -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    entries.filter_map(|entry| std::fs::read_link(entry.path().join("ns/net")).ok()).collect()
}

fn killed_in_mid_run(net: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = dir.path().join("runs");
    let mut command =
        ordeal(["run", "--time", "60s", "--nodes", "3", "--seed", "5", "--net", net, "--store"]);
    let child = command.arg(&store).stderr(Stdio::piped()).stdout(Stdio::null()).spawn();
    let mut child = Guarded(child.expect("a run"));
    let stderr = BufReader::new(child.0.stderr.take().expect("its stderr"));
    // The first line with a count of operations: clients write, and faults come.
    let working = stderr.lines().map_while(Result::ok).any(|line| line.contains("operations completed"));
    assert!(working, "the run gets to work");
    let processes = processes_of(&store);
    assert!(processes.len() >= 4, "a harness and three nodes: {processes:#?}");
    let outside = std::fs::read_link("/proc/self/ns/net").expect("our namespace");
    let inside: Vec<_> = namespaces_of(&processes).into_iter().filter(|space| *space != outside).collect();

    kill(Pid::from_raw(i32::try_from(child.0.id()).expect("a pid")), Signal::SIGKILL).expect("kill -9");
    child.0.wait().expect("reap");

    soon("all of its processes are gone", || processes_of(&store).is_empty());
    soon("all of its namespaces are gone", || !all_namespaces().iter().any(|space| inside.contains(space)));
    shows_the_prefix(&store);
}

fn shows_the_prefix(store: &Path) {
    // A process that ends has no words in /proc any more a moment before its locks are free.
    soon("the run counts as interrupted", || {
        done(ordeal(["show", "latest", "--store"]).arg(store)).exits(0).stdout.contains("interrupted")
    });
    let judged = done(ordeal(["check", "latest", "--store"]).arg(store)).exits(0).stdout;
    assert!(judged.contains("valid"), "{judged}");
}

#[test]
fn a_killed_harness_leaves_nothing_but_its_prefix() {
    killed_in_mid_run("auto");
}

#[test]
fn a_killed_harness_with_proxies_leaves_nothing_but_its_prefix() {
    killed_in_mid_run("proxy");
}
