//! Bad input: one clear line, a hint, a distinct exit code; never a panic.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use super::{Guarded, ORDEAL, done, ordeal};

const HEADER: &str = "{\"ordeal-history\":1,\"model\":\"key-value\"}\n";
const WRITE: &str = "{\"invoke\":{\"op\":0,\"client\":1,\"key\":\"k\",\"time_ns\":1000,\"call\":{\"write\":\"a\"}}}\n\
    {\"return\":{\"op\":0,\"time_ns\":2000,\"ok\":\"done\"}}\n";
const READ: &str = "{\"invoke\":{\"op\":1,\"client\":2,\"key\":\"k\",\"time_ns\":3000,\"call\":\"read\"}}\n";

#[test]
fn wrong_flags_are_usage_errors() {
    for words in [
        &["run", "--fsats", "kill"][..],
        &["run", "--seed", "lucky"],
        &["run", "--nodes", "0"],
        &["check"],
        &["kv", "get"],
        &["cluster", "kill", "one"],
        &["node", "start", "--id", "1"],
        &["frobnicate"],
    ] {
        let result = done(&mut ordeal(words)).exits(2);
        assert!(result.stdout.is_empty(), "{words:?} prints no result");
        assert!(result.stderr.starts_with("error: "), "{words:?}: {}", result.stderr);
    }
}

#[test]
fn history_files() {
    let dir = tempfile::tempdir().expect("a directory");
    let check = |name: &str, content: String| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).expect("write a history");
        done(ordeal(["check"]).arg(path))
    };
    let good = format!(
        "{HEADER}{WRITE}{READ}{{\"return\":{{\"op\":1,\"time_ns\":4000,\"ok\":{{\"value\":\"a\"}}}}}}\n"
    );
    let bad = good.replace("{\"value\":\"a\"}", "{\"value\":null}");
    check("good", good.clone()).exits(0);
    let found = check("bad", bad).exits(10);
    assert!(found.stdout.contains("not linearizable"), "{}", found.stdout);
    let torn = check("torn", good[..good.len() - 9].to_owned()).exits(0);
    assert!(torn.stderr.contains("warning"), "a torn end is a warning: {}", torn.stderr);
    check("damaged", good.replacen("\"client\":1", "\"client\"1", 1)).exits(3).explains("line 2");
    let uncalled = format!("{HEADER}{{\"return\":{{\"op\":7,\"time_ns\":2000,\"ok\":\"done\"}}}}\n");
    check("uncalled", uncalled).exits(3).explains("uncalled");
    check("empty", String::new()).exits(3).explains("empty");
    check("picture", "\u{89}PNG\r\n".to_owned()).exits(3).explains("picture");
    done(ordeal(["check", "missing.jsonl"]).current_dir(dir.path())).exits(3).explains("missing.jsonl");
}

fn node(dir: &Path, cluster: &str, listen: &str) -> Command {
    let mut command = ordeal(["node", "start", "--id", "n1", "--cluster", cluster, "--listen", listen]);
    command.args(["--member", "n1=127.0.0.1:7101"]).arg("--dir").arg(dir);
    command
}

#[test]
fn a_data_directory_of_another_cluster_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let listen = taken.local_addr().expect("its address").to_string();
    let mut first = node(dir.path(), "00000000000000aa", "127.0.0.1:0");
    let mut child = Guarded(first.stdout(std::process::Stdio::piped()).spawn().expect("a node"));
    let mut ready = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(child.0.stdout.take().expect("its output")),
        &mut ready,
    )
    .expect("its first line");
    assert!(ready.starts_with("ready n1 127.0.0.1:"), "{ready}");
    done(&mut node(dir.path(), "00000000000000aa", "127.0.0.1:0")).exits(13).explains("data");
    drop(child);
    done(&mut node(dir.path(), "00000000000000bb", "127.0.0.1:0")).exits(13).explains("00000000000000aa");
    done(&mut node(&dir.path().join("new"), "00000000000000aa", &listen)).exits(13).explains(&listen);
}

#[test]
fn no_free_disk_is_said_before_anything_starts() {
    let dir = tempfile::tempdir().expect("a directory");
    let script = format!(
        "mount -t tmpfs -o size=1m tmpfs {dir} && exec {ORDEAL} run --time 1s --net proxy --store {dir}/runs",
        dir = dir.path().display()
    );
    let mut inside = Command::new("unshare");
    inside.args(["-r", "-m", "sh", "-c", &script]);
    let probe = Command::new("unshare").args(["-r", "-m", "true"]).status();
    if !probe.is_ok_and(|status| status.success()) {
        println!("skipped: no user namespaces here, so no small disk either");
        return;
    }
    done(&mut inside).exits(13).explains("runs");
    let full = format!(
        "mount -t tmpfs -o size=128k tmpfs {dir} && exec {ORDEAL} node start --id n1 --cluster 00000000000000aa \
         --listen 127.0.0.1:0 --member n1=127.0.0.1:7101 --dir {dir}/n1",
        dir = dir.path().display()
    );
    done(Command::new("unshare").args(["-r", "-m", "sh", "-c", &full])).exits(13).explains("n1");
}

#[test]
fn kv_without_a_cluster() {
    done(&mut ordeal(["kv", "get", "k"])).exits(2).explains("endpoint");
    let nobody =
        TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address").to_string();
    let result = done(&mut ordeal(["kv", "get", "k", "--timeout", "300ms", "--endpoints", &nobody])).exits(5);
    assert!(result.stderr.contains(&nobody), "{}", result.stderr);
}

#[test]
fn cluster_commands_without_a_cluster() {
    let dir = tempfile::tempdir().expect("a directory");
    done(ordeal(["cluster", "status"]).current_dir(dir.path())).exits(13).explains("ordeal-cluster");
}
