//! A cluster by hand, from three shells at once.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use super::{Done, Guarded, done, ordeal, processes_of, soon};

pub(super) struct ByHand {
    child: Guarded,
    dir: tempfile::TempDir,
    endpoints: String,
}

impl ByHand {
    pub(super) fn up(net: &str) -> ByHand {
        let dir = tempfile::tempdir().expect("a directory");
        ByHand::up_in(dir, net)
    }

    fn up_in(dir: tempfile::TempDir, net: &str) -> ByHand {
        let mut command = ordeal(["cluster", "up", "--net", net, "--dir"]);
        let child = command.arg(dir.path()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = Guarded(child.expect("up"));
        let mut lines =
            BufReader::new(child.0.stdout.take().expect("its output")).lines().map_while(Result::ok);
        let export = lines.find_map(|line| Some(line.strip_prefix("export ORDEAL_ENDPOINTS=")?.to_owned()));
        ByHand { child, dir, endpoints: export.expect("the endpoints") }
    }

    pub(super) fn kv(&self, words: &[&str]) -> Done {
        done(ordeal(["kv"]).args(words).env("ORDEAL_ENDPOINTS", &self.endpoints))
    }

    /// With more patience than a person has: the machine may stand still for seconds.
    fn asked(&self, words: &[&str]) -> Done {
        self.kv(&[words, &["--timeout", "20s"]].concat())
    }

    fn cluster(&self, words: &[&str]) -> Done {
        done(ordeal(["cluster"]).args(words).env("ORDEAL_CLUSTER", self.dir.path()))
    }

    /// Where its nodes' data lies.
    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn endpoints(&self) -> &str {
        &self.endpoints
    }

    pub(super) fn down(mut self) -> tempfile::TempDir {
        self.cluster(&["down"]).exits(0);
        let status = self.child.0.wait().expect("it ends");
        assert!(status.success(), "{status}");
        soon("all of its processes are gone", || processes_of(self.dir.path()).is_empty());
        self.dir
    }
}

fn lives_and_remembers(net: &str) {
    let cluster = ByHand::up(net);
    cluster.asked(&["put", "greeting", "hello"]).exits(0);
    assert_eq!(cluster.asked(&["get", "greeting"]).exits(0).stdout, "hello\n");
    assert!(cluster.cluster(&["kill", "n1"]).exits(0).stdout.contains("signal 9"));
    cluster.asked(&["append", "greeting", " world"]).exits(0);
    assert!(cluster.cluster(&["status"]).exits(0).stdout.contains("down"));
    cluster.cluster(&["start", "n1"]).exits(0);
    assert!(cluster.cluster(&["pause", "n2"]).exits(0).stdout.contains("state T"));
    cluster.asked(&["put", "other", "1"]).exits(0);
    cluster.cluster(&["resume", "n2"]).exits(0);
    assert!(cluster.cluster(&["partition", "n3 | n1 n2"]).exits(0).stdout.contains("silent"));
    cluster.asked(&["cas", "other", "2", "--expect", "1"]).exits(0);
    cluster.asked(&["txn", "--if", "other = 1", "--then", "put other 3", "--else", "get other"]).exits(1);
    let keys =
        ["--then", "get a", "--then", "get b", "--then", "get c", "--then", "get d", "--then", "get e"];
    cluster.kv(&[&["txn"], &keys[..]].concat()).exits(5).explains("{tag}");
    cluster.cluster(&["heal"]).exits(0);
    cluster.cluster(&["kill", "n7"]).exits(13).explains("n7");
    cluster.cluster(&["partition", "n1"]).exits(13).explains("cuts nothing");
    let again = ByHand::up_in(cluster.down(), net);
    assert_eq!(again.asked(&["get", "greeting"]).exits(0).stdout, "hello world\n");
    assert_eq!(again.asked(&["get", "other"]).exits(0).stdout, "2\n");
    again.asked(&["get", "nothing"]).exits(1);
    again.kv(&["status"]).exits(0);
    refuses_a_second(again.dir.path());
    again.down();
}

fn refuses_a_second(dir: &Path) {
    done(ordeal(["cluster", "up", "--dir"]).arg(dir)).exits(13).explains("runs in");
}

#[test]
fn in_the_best_lab_there_is() {
    lives_and_remembers("auto");
}

#[test]
fn behind_proxies() {
    lives_and_remembers("proxy");
}
