//! How the harness gets into namespaces of its own, without root and without unsafe.
//!
//! ```text
//!   ordeal run …                     decides the lab, forwards signals, passes on the exit code
//!     └─ ordeal lab-exec enter       unshares user, network, mount, pid; maps itself to root; mounts private
//!          └─ ordeal lab-exec init   pid 1: fresh /proc, reaps orphans, forwards signals
//!               └─ ordeal run …      the same command line, inside
//!                    └─ nodes        each through `ordeal lab-exec --netns … --die-with-parent …`
//! ```
//!
//! Each dies with its parent (PDEATHSIG), and with pid 1 everything inside dies. See [`super::exec`] for the children.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::LabKind;
use super::exec::{self, Reap, SELF};
use super::trial::Trial;

/// What the user asked for with `--net`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum NetChoice {
    /// The kernel lab where it works, else the proxy lab.
    #[default]
    Auto,
    /// Network namespaces and iptables, or an error.
    Kernel,
    /// A userspace proxy for every link.
    Proxy,
}

/// Which lab, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The lab.
    pub kind: LabKind,
    /// The reason, a sentence without its full stop, for the first line of the run.
    pub why: String,
    /// Whether a pid namespace goes with it. Without one only PDEATHSIG takes the nodes down with the harness.
    pub pids: bool,
}

/// The network namespace that the outermost harness was in: who is in another one is inside.
const OUTSIDE: &str = "ORDEAL_LAB_OUTSIDE";
/// The [`Choice`], as JSON, so that the inner harness knows the reason.
const CHOICE: &str = "ORDEAL_LAB_CHOICE";

/// Variables that the harness gives to itself, and that nodes must not inherit.
pub(crate) const VARIABLES: [&str; 2] = [OUTSIDE, CHOICE];

/// Decides the lab by trying: a throwaway child builds a small kernel lab, cuts a link and looks whether it is cut.
/// Inside, it is what the outer harness decided.
///
/// # Errors
/// When the kernel lab is asked for by name and does not work here.
pub fn choose(want: NetChoice) -> anyhow::Result<Choice> {
    if is_inside() {
        let choice = std::env::var(CHOICE).context("inside a lab, but the reason was not handed in")?;
        return serde_json::from_str(&choice).context("inside a lab, but the reason is unreadable");
    }
    if want == NetChoice::Proxy {
        return Ok(Choice { kind: LabKind::Proxy, why: "asked for by name".to_owned(), pids: false });
    }
    let since = Instant::now();
    match try_kernel() {
        Ok((trial, refused)) => {
            let why = kernel_works(&trial, refused.as_ref(), since.elapsed());
            Ok(Choice { kind: LabKind::Kernel, why, pids: refused.is_none() })
        }
        Err(why) if want == NetChoice::Auto => Ok(Choice {
            kind: LabKind::Proxy,
            why: format!("the kernel lab does not work here: {why:#}"),
            pids: false,
        }),
        Err(why) => {
            bail!(
                "network lab kernel does not work here: {why:#}\nhint: `ordeal doctor` says what is missing, `--net proxy` needs nothing"
            )
        }
    }
}

fn kernel_works(trial: &Trial, refused: Option<&anyhow::Error>, took: Duration) -> String {
    let user = if nix::unistd::geteuid().is_root() { "as root" } else { "without root" };
    let rest = refused.map_or_else(String::new, |why| format!("; no pid namespace: {why:#}"));
    format!(
        "namespaces and {} work here {user}, proven on a cut link in {} ms{rest}",
        trial.firewall,
        took.as_millis()
    )
}

/// Tries the kernel lab with a pid namespace; where that one is refused, without, and says why it was refused.
fn try_kernel() -> anyhow::Result<(Trial, Option<anyhow::Error>)> {
    match Trial::in_child(true) {
        Ok(trial) => Ok((trial.passed()?, None)),
        Err(refused) => match Trial::in_child(false) {
            Ok(trial) => Ok((trial.passed()?, Some(refused))),
            Err(_) => Err(refused),
        },
    }
}

/// Whether this process is the harness inside namespaces of its own, where it may set rules as it likes.
#[must_use]
pub fn is_inside() -> bool {
    let here = std::fs::read_link("/proc/self/ns/net").ok();
    let outside = std::env::var_os(OUTSIDE);
    match (here, outside) {
        (Some(here), Some(outside)) => here.as_os_str() != outside,
        _ => false,
    }
}

/// Runs this program again with the same command line inside namespaces of its own, waits, and returns its exit code.
/// SIGINT, SIGTERM, SIGHUP and SIGQUIT go on to it. Call it from a thread that stays: the child dies with the thread.
///
/// # Errors
/// When no child could be started.
pub fn reexec_inside(choice: &Choice) -> anyhow::Result<u8> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let mut command = entering(choice, &arguments)?;
    // A group of its own, so that Ctrl-C reaches the inner harness once: from us.
    command.process_group(0);
    let child = command.spawn().with_context(|| format!("start {SELF} lab-exec enter"))?;
    exec::wait_forwarding(&child, Reap::Child)
}

/// The command that runs this program with these arguments inside.
pub(crate) fn entering(choice: &Choice, arguments: &[OsString]) -> anyhow::Result<Command> {
    let outside = std::fs::read_link("/proc/self/ns/net").context("read /proc/self/ns/net")?;
    let mut command = exec::this_program();
    command.args(["lab-exec", "enter"]);
    if !choice.pids {
        command.arg("--no-pids");
    }
    command.arg("--parent").arg(std::process::id().to_string());
    command.arg("--").args(arguments);
    command.env(OUTSIDE, outside).env(CHOICE, serde_json::to_string(choice)?);
    Ok(command)
}
