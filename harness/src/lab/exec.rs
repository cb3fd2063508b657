//! The hidden subcommand `lab-exec`: everything that must happen in a process of its own, single-threaded, before
//! another program runs in it. It takes the place of a fork with code in between, which would need unsafe.
//!
//! ```text
//!   lab-exec enter [--no-pids] --parent PID -- ARGS…   new namespaces, then `init`; see enter.rs
//!   lab-exec init --parent PID -- ARGS…                pid 1 of the new pid namespace
//!   lab-exec trial                                     builds a small kernel lab and says what worked, as JSON
//!   lab-exec [--netns PATH] [--die-with-parent PID] -- CMD ARGS…   becomes CMD
//! ```

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode};

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getegid, geteuid, getppid};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use super::trial::Trial;

/// This very program, even when its file was moved, replaced or removed since it started.
pub const SELF: &str = "/proc/self/exe";

/// Exit code of a failed set-up.
const SETUP_FAILED: u8 = 13;

/// The words behind `lab-exec`, as they came.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true, disable_version_flag = true)]
pub struct LabExecArgs {
    /// See the source: only the harness itself calls this.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

/// Runs `lab-exec`. Call it before any thread starts.
#[must_use]
pub fn run(args: LabExecArgs) -> ExitCode {
    ExitCode::from(execute(args.words))
}

/// Runs `lab-exec` with the words that stand behind it; returns the exit code. Call it before any thread starts.
#[must_use]
pub fn execute(words: impl IntoIterator<Item = OsString>) -> u8 {
    match Options::parse(words).and_then(Options::run) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ordeal lab-exec: {error:#}");
            SETUP_FAILED
        }
    }
}

/// A command that runs this program again.
pub(crate) fn this_program() -> Command {
    let mut command = Command::new(SELF);
    // `ps` shows the name under which we were called, not /proc/self/exe.
    if let Some(name) = std::env::args_os().next() {
        command.arg0(name);
    }
    command
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    mode: Mode,
    no_pids: bool,
    parent: Option<i32>,
    netns: Option<OsString>,
    rest: Vec<OsString>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Mode {
    Enter,
    Init,
    Trial,
    #[default]
    Become,
}

impl Options {
    fn parse(arguments: impl IntoIterator<Item = OsString>) -> anyhow::Result<Options> {
        let mut arguments: VecDeque<OsString> = arguments.into_iter().collect();
        let mode = match arguments.front().and_then(|word| word.to_str()) {
            Some("enter") => Mode::Enter,
            Some("init") => Mode::Init,
            Some("trial") => Mode::Trial,
            _ => Mode::Become,
        };
        let mut options = Options { mode, ..Options::default() };
        if options.mode != Mode::Become {
            arguments.pop_front();
        }
        while let Some(flag) = arguments.pop_front() {
            let mut value =
                || arguments.pop_front().with_context(|| format!("{} needs a value", flag.display()));
            match flag.to_str() {
                Some("--") => options.rest = arguments.drain(..).collect(),
                Some("--no-pids") => options.no_pids = true,
                Some("--netns") => options.netns = Some(value()?),
                Some("--parent" | "--die-with-parent") => {
                    let text = value()?;
                    let pid = text.to_str().and_then(|text| text.parse().ok());
                    options.parent = Some(pid.with_context(|| format!("`{}` is no pid", text.display()))?);
                }
                Some(word) if word.starts_with('-') => bail!("unknown argument `{word}`"),
                // A `--` that stands first is swallowed by clap.
                _ => options.rest = std::iter::once(flag).chain(arguments.drain(..)).collect(),
            }
        }
        if options.mode != Mode::Trial && options.rest.is_empty() {
            bail!("nothing to run: expected `-- COMMAND …`");
        }
        Ok(options)
    }

    fn run(self) -> anyhow::Result<u8> {
        match self.mode {
            Mode::Enter => self.enter(),
            Mode::Init => self.init(),
            Mode::Trial => Trial::print(),
            Mode::Become => self.become_it(),
        }
    }

    /// Unshares while single-threaded; the pid namespace begins with the next child.
    fn enter(self) -> anyhow::Result<u8> {
        let parent = self.parent.context("--parent is missing")?;
        die_with(parent, parent_here)?;
        new_namespaces(!self.no_pids)?;
        // Gaining capabilities cleared it.
        die_with(parent, parent_here)?;
        let mut command = this_program();
        command.arg("lab-exec");
        if self.no_pids {
            command.arg("--die-with-parent").arg(std::process::id().to_string());
            command.args(["--", SELF]);
        } else {
            command.args(["init", "--parent"]).arg(std::process::id().to_string()).arg("--");
        }
        command.args(self.rest);
        wait_forwarding(&command.spawn().with_context(|| format!("start {SELF} lab-exec init"))?, Reap::Child)
    }

    fn init(self) -> anyhow::Result<u8> {
        let parent = self.parent.context("--parent is missing")?;
        // Still the /proc of outside: the only place where pid 1 can see who its parent is.
        die_with(parent, outer_parent)?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>)
            .context("mount a fresh /proc for the pid namespace")?;
        let mut command = this_program();
        command.args(self.rest);
        wait_forwarding(&command.spawn().with_context(|| format!("start {SELF}"))?, Reap::All)
    }

    fn become_it(self) -> anyhow::Result<u8> {
        if let Some(path) = &self.netns {
            let namespace =
                File::open(path).with_context(|| format!("open network namespace {}", path.display()))?;
            setns(&namespace, CloneFlags::CLONE_NEWNET)
                .with_context(|| format!("enter network namespace {}", path.display()))?;
        }
        if let Some(parent) = self.parent {
            die_with(parent, parent_here)?;
        }
        let [program, arguments @ ..] = self.rest.as_slice() else { bail!("nothing to run") };
        let error = Command::new(program).args(arguments).exec();
        Err(error).with_context(|| format!("start {}", program.display()))
    }
}

/// Makes the kernel kill this process when its parent ends. A parent that ended before that is noticed by looking
/// afterwards who the parent is.
fn die_with(parent: i32, seen: impl FnOnce() -> anyhow::Result<i32>) -> anyhow::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL).context("set the parent death signal")?;
    let seen = seen()?;
    anyhow::ensure!(seen == parent, "the harness (pid {parent}) has ended, now the parent is {seen}");
    Ok(())
}

fn parent_here() -> anyhow::Result<i32> {
    Ok(getppid().as_raw())
}

/// The parent of this process as the mounted /proc sees it.
fn outer_parent() -> anyhow::Result<i32> {
    let status = std::fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let parent =
        status.lines().find_map(|line| line.strip_prefix("PPid:")).and_then(|pid| pid.trim().parse().ok());
    parent.context("/proc/self/status names no parent")
}

fn new_namespaces(pids: bool) -> anyhow::Result<()> {
    let (user, group) = (geteuid(), getegid());
    let mut flags = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
    if pids {
        flags |= CloneFlags::CLONE_NEWPID;
    }
    // Root needs no user namespace, but in a container even root may be refused without one.
    if !user.is_root() || unshare(flags).is_err() {
        unshare(flags | CloneFlags::CLONE_NEWUSER).map_err(|error| refused(error, pids))?;
        std::fs::write("/proc/self/setgroups", "deny").context("write /proc/self/setgroups")?;
        std::fs::write("/proc/self/uid_map", format!("0 {user} 1")).context("write /proc/self/uid_map")?;
        std::fs::write("/proc/self/gid_map", format!("0 {group} 1")).context("write /proc/self/gid_map")?;
    }
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .context("make mounts private")
}

fn refused(error: Errno, pids: bool) -> anyhow::Error {
    let which = if pids { "user, network, mount and pid" } else { "user, network and mount" };
    anyhow::anyhow!("the kernel refuses new {which} namespaces: {error}")
}

/// Waits for `child` and sends it the signals that this process gets. The exit code is the child's, or 128 + the
/// signal that ended it. All in this thread: a process that unshared its pid namespace cannot start another one.
pub(crate) fn wait_forwarding(child: &Child, reap: Reap) -> anyhow::Result<u8> {
    let pid = Pid::from_raw(i32::try_from(child.id()).context("pid of the child")?);
    // Before the first look at the child, so that an end between the look and the wait wakes the wait.
    let mut signals =
        Signals::new([SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGQUIT]).context("install signal handlers")?;
    loop {
        if let Some(code) = reap_ended(pid, reap)? {
            return Ok(code);
        }
        for number in signals.wait().filter(|&number| number != SIGCHLD) {
            if let Ok(signal) = Signal::try_from(number) {
                // It is not reaped yet, so this is no stranger's pid; it may have ended a moment ago.
                let _ = kill(pid, signal);
            }
        }
    }
}

/// Reaps whoever has ended; the exit code of `child` if it is among them.
fn reap_ended(child: Pid, reap: Reap) -> anyhow::Result<Option<u8>> {
    let whom = match reap {
        Reap::Child => child,
        Reap::All => Pid::from_raw(-1),
    };
    loop {
        match waitpid(whom, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => return Ok(None),
            Ok(status) if status.pid() == Some(child) => return Ok(Some(code_of(status))),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("wait for the child"),
        }
    }
}

/// Whose end is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reap {
    /// Only the child's.
    Child,
    /// Everybody's, as pid 1 must.
    All,
}

fn code_of(status: WaitStatus) -> u8 {
    match status {
        WaitStatus::Exited(_, code) => u8::try_from(code).unwrap_or(SETUP_FAILED),
        WaitStatus::Signaled(_, signal, _) => 128u8.saturating_add(u8::try_from(signal as i32).unwrap_or(0)),
        _ => SETUP_FAILED,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        args: LabExecArgs,
    }

    fn parsed(text: &str) -> anyhow::Result<Options> {
        // Through clap, as the program does: it must leave every word alone, `--` and flags of the command too.
        let words =
            Program::try_parse_from(std::iter::once("lab-exec").chain(text.split_whitespace()))?.args.words;
        Options::parse(words)
    }

    #[test]
    fn words_come_through_clap_unchanged() {
        let options =
            parsed("--netns /proc/7/fd/3 --die-with-parent 7 -- node start --help -- --netns x").unwrap();
        assert_eq!(options.mode, Mode::Become);
        assert_eq!(options.netns.as_deref(), Some("/proc/7/fd/3".as_ref()));
        assert_eq!(options.parent, Some(7));
        assert_eq!(options.rest, ["node", "start", "--help", "--", "--netns", "x"].map(OsString::from));
        let options = parsed("enter --no-pids --parent 12 -- run --seed 7").unwrap();
        assert_eq!((options.mode, options.no_pids, options.parent), (Mode::Enter, true, Some(12)));
        assert_eq!(parsed("-- true").unwrap().rest, ["true"].map(OsString::from));
    }

    #[test]
    fn bad_words_are_named() {
        let check = |text: &str, expected: &str| {
            let error = parsed(text).expect_err("bad words").to_string();
            assert!(error.contains(expected), "{text}: {error}");
        };
        check("", "nothing to run");
        check("--netns", "--netns needs a value");
        check("--parent seven -- true", "`seven` is no pid");
        check("--wings -- true", "unknown argument `--wings`");
        check("enter --parent 1", "nothing to run");
    }
}
