//! The binary from outside, as a stranger meets it: real runs, bad input, a cluster by hand, and nothing left behind.
//!
//! What needs namespaces, root or an ordinary user is skipped where that is not to be had, and says so.

mod bad_input;
mod by_hand;
mod damage;
mod help;
mod histories;
mod inspect;
mod members;
mod picture;
mod remains;
mod runs;
mod scenarios;
mod shards;
mod watch;

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

/// The program under test.
const ORDEAL: &str = env!("CARGO_BIN_EXE_ordeal");

/// A command without what the caller's shell may have set.
fn ordeal<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(ORDEAL);
    command.args(words);
    for name in ["ORDEAL_ENDPOINTS", "ORDEAL_STORE", "ORDEAL_CLUSTER", "ORDEAL_LOG"] {
        command.env_remove(name);
    }
    command
}

/// What a command did, for checks that show all of it when they fail.
struct Done {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn done(command: &mut Command) -> Done {
    let Output { status, stdout, stderr } = command.output().expect("the binary starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Done { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

impl Done {
    #[track_caller]
    fn exits(self, code: i32) -> Done {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Among other things.
    #[track_caller]
    fn says(self, words: &str) -> Done {
        assert!(self.stderr.contains(words), "`{}` does not say `{words}`", self.stderr);
        self
    }

    /// One line that names the thing, and one with a hint.
    #[track_caller]
    fn explains(self, names: &str) -> Done {
        let errors: Vec<&str> = self.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(errors.len(), 1, "one clear line:\n{}", self.stderr);
        assert!(errors[0].contains(names), "`{}` does not name `{names}`", errors[0]);
        assert!(self.stderr.contains("hint: "), "no hint:\n{}", self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }
}

/// A child that does not outlive its test, however that ends.
struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        // It may have ended, and been waited for, already.
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Waits for something that happens soon, by looking.
fn soon(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !so() {
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Processes whose command line names `marker`, a path that only they know.
fn processes_of(marker: &Path) -> Vec<(i32, String)> {
    let marker = marker.display().to_string();
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let line = |entry: std::fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let line =
            String::from_utf8_lossy(&std::fs::read(entry.path().join("cmdline")).ok()?).replace('\0', " ");
        line.contains(&marker).then_some((pid, line))
    };
    entries.filter_map(line).collect()
}
