//! Short real runs: the main job in small, with either lab, as root and as an ordinary user, and the negative control.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::{Done, ORDEAL, done, ordeal};

fn valid(result: Done) {
    let result = result.exits(0);
    assert!(result.stdout.contains("valid: "), "{}", result.stdout);
    assert!(result.stderr.starts_with("network lab: "), "{}", result.stderr);
}

#[test]
fn a_short_run_is_valid_stored_shown_and_judged_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let here = |words: &[&str]| done(ordeal(words).current_dir(dir.path()));
    valid(here(&["run", "--time", "6s", "--nodes", "3", "--seed", "7"]));
    assert!(here(&["list"]).exits(0).stdout.contains("seed7"));
    assert!(here(&["show"]).exits(0).stdout.contains("valid"));
    assert!(here(&["check", "latest"]).exits(0).stdout.contains("valid"));
    let path = here(&["report"]).exits(0).stdout;
    let report = std::fs::read_to_string(dir.path().join(path.trim())).expect("the report");
    assert!(
        !report.contains("http://") || report.contains("http://www.w3.org"),
        "the report needs no network"
    );
    assert!(!report.contains("https://"), "the report needs no network");
}

#[test]
fn the_proxy_lab_needs_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let words =
        ["run", "--time", "6s", "--nodes", "3", "--seed", "8", "--workload", "append", "--net", "proxy"];
    valid(done(ordeal(words).current_dir(dir.path())));
}

/// Members and leaders change in either lab: all changes that were planned were made and undone, as nothing hindered them.
fn changes_are_made(net: &str, seed: &str, workload: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    let words = ["run", "--faults", "members,transfer", "--time", "12s", "--nodes", "4", "--json"];
    let more = ["--net", net, "--seed", seed, "--workload", workload];
    let result = done(ordeal(words.into_iter().chain(more)).current_dir(dir.path())).exits(0);
    let summary: serde_json::Value = serde_json::from_str(&result.stdout).expect("one line of JSON");
    assert_eq!(summary["verdict"], "valid", "{summary}");
    let counts = summary["faults"].as_array().expect("counts");
    let kinds: Vec<&str> = counts.iter().filter_map(|count| count["kind"].as_str()).collect();
    assert_eq!(kinds, ["members", "transfer"]);
    for count in counts {
        assert_eq!((&count["planned"], &count["missed"]), (&2.into(), &0.into()), "{count}");
        assert_eq!((&count["verified"], &count["undone"]), (&2.into(), &2.into()), "{count}");
    }
    let shown = done(ordeal(["show"]).current_dir(dir.path())).exits(0).stdout;
    for part in
        ["members plus n5", "members minus n", "transfer g1 from n", "n5 says so too", "leads g1 in term"]
    {
        assert!(shown.contains(part), "`{part}` is not in:\n{shown}");
    }
}

#[test]
fn members_come_and_go_and_leaders_hand_over() {
    changes_are_made("auto", "10", "register");
    changes_are_made("proxy", "11", "append");
}

#[test]
fn an_ordinary_user_needs_no_root() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: not root, so the other runs were an ordinary user's already");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let program = dir.path().join("ordeal");
    std::fs::copy(ORDEAL, &program).expect("a copy that others may read");
    for (path, mode) in [(dir.path(), 0o777), (program.as_path(), 0o755)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("permissions");
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(program);
    command.args(["run", "--time", "6s", "--nodes", "3", "--seed", "9", "--workload", "cas"]);
    valid(done(command.current_dir(dir.path()).env("HOME", dir.path())));
}

#[test]
fn stale_reads_are_found_out_and_explained() {
    let dir = tempfile::tempdir().expect("a directory");
    let words = ["run", "--read-level", "stale", "--faults", "partition", "--time", "12s", "--seed", "4"];
    let result = done(ordeal(words).current_dir(dir.path())).exits(10);
    let sentence = result.stdout.lines().last().unwrap_or_default().to_owned();
    for part in ["tale read of k", " had been acknowledged to c", "During that read the partition "] {
        assert!(sentence.contains(part), "`{part}` is not in: {sentence}");
    }
    let path = done(ordeal(["report"]).current_dir(dir.path())).exits(0).stdout;
    let report = std::fs::read_to_string(dir.path().join(path.trim())).expect("the report");
    assert!(report.contains(" had been acknowledged to c"), "the report says which write");
    assert!(report.contains("During that read the partition "), "the report says which partition");
}

/// The nodes stand still, are looked at, and go on: the run ends as it would have at its time.
#[test]
fn a_run_that_stops_at_its_first_violation_keeps_what_its_nodes_say() {
    let dir = tempfile::tempdir().expect("a directory");
    let words =
        ["run", "--read-level", "stale", "--faults", "none", "--nodes", "3", "--time", "20s", "--json"];
    let more = ["--stop-at-violation", "--seed", "4"];
    let result = done(ordeal(words.into_iter().chain(more)).current_dir(dir.path())).exits(10);
    let summary: serde_json::Value = serde_json::from_str(&result.stdout).expect("one line of JSON");
    assert!(summary["stopped"]["frozen_ns"].is_u64() && summary["recovery_ms"].is_u64(), "{summary}");
    assert_eq!(summary["findings"].as_array().map(Vec::len), Some(1), "nothing else went wrong: {summary}");
    let stopped = dir.path().join("ordeal-runs/latest/stopped");
    let read = |name: &str| std::fs::read_to_string(stopped.join(name)).expect("it is kept");
    let status = read("status");
    assert!(status.contains(" is stopped, all ") && status.contains(", leads, last "), "{status}");
    assert!(
        read("n1.log").contains("frame ") && read("n1.said").contains("INFO"),
        "its log, and what it said"
    );
    let other = done(&mut ordeal(["run", "--stop-at-violation", "--workload", "cas"])).exits(2);
    assert!(other.stderr.contains("cannot be judged while it goes"), "{}", other.stderr);
}

#[test]
fn the_same_seed_is_the_same_plan() {
    let plan = |seed: &str| done(&mut ordeal(["run", "--dry-run", "--json", "--seed", seed])).exits(0).stdout;
    assert_eq!(plan("11"), plan("11"));
    assert_ne!(plan("11"), plan("12"));
}

#[test]
fn doctor_is_true() {
    let result = done(&mut ordeal(["doctor"])).exits(0);
    assert!(result.stdout.contains("iptables"), "{}", result.stdout);
}

/// The same run keeps what one can keep, and breaks what nobody can: no shard gives a success each millisecond.
#[test]
fn what_is_required_of_availability_is_kept_or_broken() {
    let dir = tempfile::tempdir().expect("a directory");
    let here = |words: &[&str]| done(ordeal(words).current_dir(dir.path()));
    let words = ["run", "--faults", "kill", "--time", "8s", "--nodes", "3", "--seed", "12"];
    valid(here(&[&words[..], &["--require", "recover<1m,kill.gap<1m"]].concat()));
    let kept = here(&["check", "latest", "--require", "first<1m"]).exits(0);
    assert!(kept.stdout.contains("availability: worst of "), "{}", kept.stdout);
    let broken = here(&["check", "latest", "--require", "recover<1m", "--require", "kill.gap<1ms"]).exits(15);
    let told = broken.stdout.lines().last().unwrap_or_default();
    for part in
        ["availability: kill.gap<1ms is broken: shard s", " gave no success for ", " in the effect of kill n"]
    {
        assert!(told.contains(part), "`{part}` is not in: {told}");
    }
    let unclear = here(&["check", "latest", "--require", "recover<fast"]).exits(2);
    assert!(unclear.stderr.contains("kill.recover<2s"), "an example: {}", unclear.stderr);
    let vain = here(&["check", "latest", "--require", "partition.gap<1s"]).exits(2);
    assert!(vain.stderr.contains("the run has no such fault"), "{}", vain.stderr);
    let file = dir.path().join("ordeal-runs/latest/history.jsonl");
    let file = file.to_str().expect("a path of ours");
    let bare = here(&["check", file, "--require", "gap<1s"]).exits(2);
    assert!(bare.stderr.contains("no faults are known"), "{}", bare.stderr);
}

/// Shards move and groups come and go while clients write: all of it proven, no request refused at the client's surface.
#[test]
fn shards_move_and_no_client_notices() {
    let dir = tempfile::tempdir().expect("a directory");
    let words = ["run", "--groups", "2", "--faults", "move-shards,join-leave", "--time", "12s", "--json"];
    let result = done(ordeal(words.into_iter().chain(["--seed", "5"])).current_dir(dir.path())).exits(0);
    let summary: serde_json::Value = serde_json::from_str(&result.stdout).expect("one line of JSON");
    assert_eq!(summary["verdict"], "valid", "{summary}");
    let counts = summary["faults"].as_array().expect("counts");
    let kinds: Vec<&str> = counts.iter().filter_map(|count| count["kind"].as_str()).collect();
    assert_eq!(kinds, ["move_shards", "join_leave"]);
    for count in counts {
        assert_eq!((&count["planned"], &count["verified"]), (&2.into(), &2.into()), "{count}");
    }
    let shown = done(ordeal(["show"]).current_dir(dir.path())).exits(0).stdout;
    for part in ["owns no shard", "as it was of g"] {
        assert!(shown.contains(part), "`{part}` is not in:\n{shown}");
    }
}
