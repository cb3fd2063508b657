//! `ordeal doctor`: what this machine can do, what is missing, and the command that installs it. Everything is found out
//! by doing it: a setting is only read to explain what failed.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, ensure};
use clap::Args;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;
use serde::{Deserialize, Serialize};

use crate::exit::Cause;
use crate::lab::exec::this_program;
use crate::lab::trial::Trial;
use crate::lab::{LabKind, NetChoice, choose};

/// A run of 30 seconds with five nodes leaves about a tenth of it.
const DISK_BYTES_MIN: u64 = 256 << 20;
/// Five nodes in the proxy lab and some hundred clients need about a half.
const OPEN_FILES_MIN: u64 = 1024;

/// Flags of `ordeal doctor`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ordeal doctor\n      \
        what this machine can do, and how to get what is missing\n  \
    ordeal doctor --json\n      \
        the same as one line of JSON")]
pub struct DoctorArgs {
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

/// What this machine can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Version of this format.
    pub version: u32,
    /// What was tried.
    pub checks: Vec<Check>,
    /// The network lab that `ordeal run` takes by itself.
    pub net: LabKind,
    /// Why that one.
    pub why: String,
    /// Whether `ordeal run` works at all.
    pub can_run: bool,
}

/// One thing that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What.
    pub what: String,
    /// What came of it.
    pub state: State,
    /// In words.
    pub found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
}

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It works.
    Ok,
    /// It does not; `ordeal run` does without.
    Missing,
    /// It does not, and nothing runs without.
    Broken,
}

/// Examines the machine and prints the result; the exit code is 0 if `ordeal run` can run.
#[must_use]
pub fn run(args: &DoctorArgs) -> ExitCode {
    let report = doctor();
    let text = if args.json {
        serde_json::to_string(&report).map(|line| line + "\n").unwrap_or_else(|error| format!("{error}\n"))
    } else {
        report.text()
    };
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("error: write the result: {error}");
            return ExitCode::from(Cause::SetUp.code());
        }
        Ok(()) | Err(_) => {}
    }
    ExitCode::from(if report.can_run { 0 } else { Cause::SetUp.code() })
}

/// Examines the machine.
#[must_use]
pub fn doctor() -> Report {
    let mut checks = vec![
        check("loopback", State::Broken, loopback()),
        check("child", State::Broken, child()),
        check("disk", State::Broken, disk(Path::new("."))),
        check("open files", State::Missing, open_files()),
    ];
    checks.extend(namespaces());
    checks.push(check("trace a child", State::Missing, trace()));
    checks.push(check("fuse", State::Missing, fuse()));
    let can_run = checks.iter().all(|check| check.state != State::Broken);
    let (net, why) = match choose(NetChoice::Auto) {
        Ok(choice) => (choice.kind, choice.why),
        Err(error) => (LabKind::Proxy, format!("{error:#}")),
    };
    Report { version: 1, checks, net, why, can_run }
}

impl Report {
    /// A line for each check, and a sentence.
    #[must_use]
    pub fn text(&self) -> String {
        let width = self.checks.iter().map(|check| check.what.len()).max().unwrap_or(0);
        let mut text = String::new();
        for Check { what, state, found, hint } in &self.checks {
            let state = match state {
                State::Ok => "ok",
                State::Missing => "missing",
                State::Broken => "broken",
            };
            let _ = writeln!(text, "{state:<8} {what:<width$}  {found}");
            if let Some(hint) = hint {
                let _ = writeln!(text, "{:<8} {:<width$}  hint: {hint}", "", "");
            }
        }
        let _ = if self.can_run {
            writeln!(text, "`ordeal run` works here, in the {} lab: {}.", self.net, one_line(&self.why))
        } else {
            writeln!(text, "`ordeal run` does not work here: see what is broken above.")
        };
        text
    }
}

fn one_line(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join("; ")
}

/// A failure's words end with a hint where somebody knew one.
fn check(what: &str, otherwise: State, result: anyhow::Result<String>) -> Check {
    let what = what.to_owned();
    match result {
        Ok(found) => Check { what, state: State::Ok, found, hint: None },
        Err(error) => {
            let text = format!("{error:#}");
            let (found, hint) = match text.split_once("\nhint: ") {
                Some((found, hint)) => (found, Some(one_line(hint))),
                None => (text.as_str(), None),
            };
            Check { what, state: otherwise, found: one_line(found), hint }
        }
    }
}

fn loopback() -> anyhow::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen on 127.0.0.1")?;
    let mut near = TcpStream::connect(listener.local_addr()?).context("connect to 127.0.0.1")?;
    let (mut far, _) = listener.accept().context("accept on 127.0.0.1")?;
    near.write_all(b"?").context("write to 127.0.0.1")?;
    far.read_exact(&mut [0]).context("read from 127.0.0.1")?;
    Ok("a connection to 127.0.0.1 carries bytes".to_owned())
}

/// How every node is started.
fn child() -> anyhow::Result<String> {
    let mut command = this_program();
    command.args(["lab-exec", "--die-with-parent"]).arg(std::process::id().to_string());
    let output =
        command.args(["--", "true"]).stdin(Stdio::null()).output().context("start /proc/self/exe")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok("a child that dies with its parent starts".to_owned())
}

fn disk(dir: &Path) -> anyhow::Result<String> {
    let place = dir.canonicalize().context("the current directory")?;
    let file = place.join(format!(".ordeal-doctor-{}", std::process::id()));
    let written = std::fs::write(&file, [0; 4096]).and_then(|()| std::fs::File::open(&file)?.sync_all());
    let _ = std::fs::remove_file(&file);
    written.with_context(|| {
        format!("write in {}\nhint: choose another place with `ordeal run --store DIR`", place.display())
    })?;
    let room = statvfs(&place).with_context(|| format!("free space of {}", place.display()))?;
    let free = room.blocks_available() * room.fragment_size();
    ensure!(
        free >= DISK_BYTES_MIN,
        "{} MiB are free in {}, a run wants {}\nhint: choose another place with `ordeal run --store DIR`",
        free >> 20,
        place.display(),
        DISK_BYTES_MIN >> 20
    );
    Ok(format!("{} can be written, {} MiB are free", place.display(), free >> 20))
}

fn open_files() -> anyhow::Result<String> {
    let (now, _) = getrlimit(Resource::RLIMIT_NOFILE).context("limit of open files")?;
    ensure!(
        now >= OPEN_FILES_MIN,
        "a process may open {now} files, a run wants {OPEN_FILES_MIN}\nhint: ulimit -n 4096"
    );
    Ok(format!("a process may open {now}"))
}

/// The kernel lab, step by step; what it lacks sends `ordeal run` to the proxy lab.
fn namespaces() -> Vec<Check> {
    let what = "namespaces";
    let with_pids = Trial::in_child(true);
    let (trial, found) = match with_pids {
        Ok(trial) => (trial, Ok("user, network, mount and pid namespaces with a fresh /proc")),
        Err(refused) => match Trial::in_child(false) {
            Ok(trial) => (trial, Err(refused)),
            Err(_) => return vec![check(what, State::Missing, Err(explained(refused)))],
        },
    };
    let root = if nix::unistd::geteuid().is_root() { "as root" } else { "without root" };
    let mut checks = vec![match found {
        Ok(found) => check(what, State::Missing, Ok(format!("{found}, {root}"))),
        Err(refused) => {
            check(what, State::Missing, Ok(format!("all but a pid namespace, {root}: {refused:#}")))
        }
    }];
    for step in trial.steps {
        let found = match step.failed {
            None if step.what.starts_with("cut") => Ok(format!("{} has an effect", trial.firewall)),
            None => Ok("works in a namespace".to_owned()),
            Some(failed) => Err(anyhow::anyhow!("{failed}")),
        };
        checks.push(check(&step.what, State::Missing, found));
    }
    checks
}

/// The settings that may have refused it.
fn explained(refused: anyhow::Error) -> anyhow::Error {
    let setting = |name: &str| std::fs::read_to_string(format!("/proc/sys/{name}")).unwrap_or_default();
    let culprits = [
        ("user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=10000"),
        ("kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ];
    let culprit = culprits.into_iter().find(|(name, bad, _)| setting(name).trim() == *bad);
    match culprit {
        Some((name, bad, hint)) => anyhow::anyhow!("{refused:#} ({name} is {bad})\nhint: as root: {hint}"),
        None => refused,
    }
}

/// Whether the kernel lets us at a child's memory, as faults of its clock need: the permission of ptrace.
fn trace() -> anyhow::Result<String> {
    let mut child = Command::new("sleep").arg("10").stdin(Stdio::null()).spawn().context("start sleep")?;
    let opened = std::fs::OpenOptions::new().write(true).open(format!("/proc/{}/mem", child.id()));
    let _ = child.kill().and_then(|()| child.wait());
    opened.context("open a child's memory\nhint: as root: sysctl -w kernel.yama.ptrace_scope=1")?;
    Ok("a child's memory can be opened; no fault of this build needs it".to_owned())
}

fn fuse() -> anyhow::Result<String> {
    let opened = std::fs::OpenOptions::new().read(true).write(true).open("/dev/fuse");
    opened.context("open /dev/fuse; no fault of this build needs it")?;
    Ok("/dev/fuse can be opened; no fault of this build needs it".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_stands_on_a_line_of_its_own() {
        let failed = check(
            "program ip",
            State::Missing,
            Err(anyhow::anyhow!("not there\nhint: apt-get install iproute2")),
        );
        let fine = check("loopback", State::Broken, Ok("works".to_owned()));
        let mut report = Report {
            version: 1,
            checks: vec![fine, failed],
            net: LabKind::Proxy,
            why: "no ip".to_owned(),
            can_run: true,
        };
        let expected = "ok       loopback    works\nmissing  program ip  not there\n                     \
                        hint: apt-get install iproute2\n`ordeal run` works here, in the proxy lab: no ip.\n";
        assert_eq!(report.text(), expected);
        report.can_run = false;
        assert!(report.text().ends_with("does not work here: see what is broken above.\n"));
        let line = serde_json::to_string(&report).unwrap();
        assert!(line.starts_with("{\"version\":1,"), "{line}");
        assert_eq!(serde_json::from_str::<Report>(&line).unwrap(), report);
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let error = disk(Path::new("/proc/self/fdinfo")).expect_err("not even root writes there");
        assert!(format!("{error:#}").contains("/fdinfo"), "{error:#}");
        assert!(disk(tempfile::tempdir().unwrap().path()).is_ok());
        assert!(loopback().is_ok());
    }
}
