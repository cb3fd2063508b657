//! Nothing outlives the harness.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ordeal_harness::lab::{self, KernelLab, LabKind, NetChoice};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::{cluster_in, nodes, soon};

/// A harness that starts a cluster, says so, and waits to be killed.
pub fn victim(kind: &str, dir: &str) -> u8 {
    let want = if kind == "kernel" { NetChoice::Kernel } else { NetChoice::Proxy };
    let choice = lab::choose(want).expect("the case has tried it");
    if choice.kind == LabKind::Kernel && !lab::is_inside() {
        return lab::reexec_inside(&choice).expect("the lab was tried a moment ago");
    }
    let lab = lab::open(choice.kind, &nodes(3)).expect("the lab opens");
    let _cluster = cluster_in(lab, nodes(3), Path::new(dir)).expect("the cluster starts");
    // Whoever starts the tests in the background of a script has them ignore SIGINT, and children inherit that.
    let mut signals = Signals::new([SIGINT, SIGTERM]).expect("signals can be caught");
    println!("up");
    loop {
        for signal in signals.wait() {
            emulate_default_handler(signal).expect("they end a process");
        }
    }
}

struct Victim {
    child: Child,
    dir: tempfile::TempDir,
}

impl Victim {
    fn start(kind: LabKind) -> Victim {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("/proc/self/exe");
        command.args(["victim", &kind.to_string()]).arg(dir.path()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "up\n");
        let victim = Victim { child, dir };
        assert_eq!(victim.nodes().len(), 3, "three nodes run");
        victim
    }

    /// All processes that have to do with it: they name its directory.
    fn processes(&self) -> Vec<(i32, Vec<String>)> {
        let marker = self.dir.path().display().to_string();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
            let words: Vec<String> = line
                .split(|&byte| byte == 0)
                .map(|word| String::from_utf8_lossy(word).into_owned())
                .collect();
            if words.iter().any(|word| word.starts_with(&marker)) {
                found.push((pid, words));
            }
        }
        found
    }

    fn nodes(&self) -> Vec<i32> {
        let all = self.processes();
        all.iter().filter(|(_, words)| words[1] == "node").map(|(pid, _)| *pid).collect()
    }

    /// The harness itself, inside: the one called like the outermost, but another.
    fn inner(&self) -> i32 {
        let outer = i32::try_from(self.child.id()).unwrap();
        let all = self.processes();
        let inner = all.iter().find(|(pid, words)| words[1] == "victim" && *pid != outer);
        inner.unwrap_or_else(|| panic!("no inner harness among {all:?}")).0
    }

    /// Kills that process and sees all others go.
    fn dies_of(mut self, pid: i32, signal: Signal) -> ExitStatus {
        kill(Pid::from_raw(pid), signal).unwrap();
        let status = self.child.wait().unwrap();
        soon("all of its processes are gone", || self.processes().is_empty());
        status
    }
}

/// When a case fails its processes must not outlive it either.
impl Drop for Victim {
    fn drop(&mut self) {
        for (pid, _) in self.processes() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

pub fn outer(kind: LabKind) {
    let victim = Victim::start(kind);
    let pid = i32::try_from(victim.child.id()).unwrap();
    victim.dies_of(pid, Signal::SIGKILL);
}

pub fn inner() {
    let victim = Victim::start(LabKind::Kernel);
    let pid = victim.inner();
    let status = victim.dies_of(pid, Signal::SIGKILL);
    assert_eq!(status.code(), Some(128 + 9), "{status}");
}

pub fn forwarded() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let victim = Victim::start(LabKind::Kernel);
        let pid = i32::try_from(victim.child.id()).unwrap();
        let status = victim.dies_of(pid, signal);
        assert_eq!(status.code(), Some(128 + signal as i32), "{status}");
    }
}

/// Unless the machine refuses one, and then for a reason that is not ours: /proc cannot be mounted in some containers.
pub fn pid_namespace() {
    let choice = lab::choose(NetChoice::Kernel).expect("inside it was decided");
    if !choice.pids {
        assert!(choice.why.contains("fresh /proc"), "{}", choice.why);
        println!("measured: {}", choice.why);
        return;
    }
    assert_eq!(nix::unistd::getppid().as_raw(), 1, "init is our parent");
    let init = std::fs::read_to_string("/proc/1/cmdline").unwrap();
    assert!(init.contains("lab-exec\0init"), "{init:?}");
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let pid = format!("Pid:\t{}\n", std::process::id());
    assert!(status.contains(&pid), "/proc shows our own pids: {status}");
    // Somebody's child whose parent has ended becomes init's, which must reap it.
    let orphan = std::process::Command::new("sh").args(["-c", "true & echo $!"]).output().unwrap();
    let orphan: i32 = String::from_utf8_lossy(&orphan.stdout).trim().parse().unwrap();
    soon("init reaps an orphan", || !Path::new(&format!("/proc/{orphan}")).exists());
}

/// Outside it would be the host's network.
pub fn refuses_the_host() {
    assert!(!lab::is_inside());
    let error = KernelLab::new(&nodes(2)).expect_err("not in the host's network");
    assert!(error.to_string().contains("never in the host's network"), "{error:#}");
}
