//! Whether the kernel lab works on this machine, found out by building a small one in a child and cutting a link in it.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, bail};
use ordeal_client::wire::NodeId;
use serde::{Deserialize, Serialize};

use super::enter::{self, Choice};
use super::kernel::{KernelLab, tool};
use super::{Lab, LabKind, Link, PATIENCE};

/// How long a trial may take: 20 × its usual time, for a machine under load.
const TRIAL_TIME_MAX: Duration = Duration::from_secs(10);

/// What a trial found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Each step, in order; those behind a failed one were not tried.
    pub steps: Vec<Step>,
    /// The program that cuts links, by name.
    pub firewall: String,
}

/// One thing that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What.
    pub what: String,
    /// Why it failed, if it did.
    pub failed: Option<String>,
}

impl Trial {
    /// Tries it in a child that enters namespaces of its own.
    ///
    /// # Errors
    /// When the child could not enter them, with the reason that it gave.
    pub fn in_child(pids: bool) -> anyhow::Result<Trial> {
        let choice = Choice { kind: LabKind::Kernel, why: "a trial".to_owned(), pids };
        let mut command = enter::entering(&choice, &["lab-exec".into(), "trial".into()])?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().context("start a child for the trial")?;
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id())?);
        let (done, ended) = mpsc::channel::<()>();
        let watchdog = std::thread::spawn(move || {
            if ended.recv_timeout(TRIAL_TIME_MAX) == Err(mpsc::RecvTimeoutError::Timeout) {
                // Not reaped yet: `done` is dropped only after that.
                let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
            }
        });
        let output = child.wait_with_output();
        drop(done);
        let _ = watchdog.join();
        let output = output.context("wait for the trial")?;
        match serde_json::from_slice(&output.stdout) {
            Ok(trial) => Ok(trial),
            Err(_) if output.status.success() => bail!("the trial printed no result"),
            Err(_) => {
                let words = String::from_utf8_lossy(&output.stderr);
                let last = words.lines().rev().find(|line| !line.trim().is_empty()).map(str::to_owned);
                let last = last.unwrap_or_else(|| format!("the trial ended with {}", output.status));
                bail!("{}", last.trim_start_matches("ordeal lab-exec: "))
            }
        }
    }

    /// The trial itself, or the reason of the first step that failed.
    ///
    /// # Errors
    /// When a step failed.
    pub fn passed(self) -> anyhow::Result<Trial> {
        match self.steps.iter().find_map(|step| step.failed.as_ref().map(|why| (&step.what, why))) {
            None => Ok(self),
            Some((what, why)) => bail!("{what}: {why}"),
        }
    }

    /// Does it here, inside, and prints the result as one line of JSON.
    ///
    /// # Errors
    /// When not inside namespaces of our own, or stdout is closed.
    pub(crate) fn print() -> anyhow::Result<u8> {
        anyhow::ensure!(
            enter::is_inside(),
            "a trial runs in namespaces of its own only: use `lab-exec enter`"
        );
        let mut out = std::io::stdout();
        serde_json::to_writer(&mut out, &Trial::here())?;
        writeln!(out)?;
        Ok(0)
    }

    fn here() -> Trial {
        let mut trial = Trial { steps: Vec::new(), firewall: String::new() };
        let ip = |arguments: &str| {
            let mut command = Command::new(tool::find("ip")?);
            command.args(arguments.split(' '));
            tool::run(command, "")
        };
        let _ = trial.step("program ip", || tool::find("ip").map(drop))
            && trial.step("veth", || ip("link add trial0 type veth peer name trial1"))
            && trial.step("bridge", || ip("link add trial2 type bridge"));
        if trial.steps.iter().all(|step| step.failed.is_none()) {
            let mut firewall = String::new();
            trial.step("cut and heal a link", || {
                firewall = cut_and_heal()?;
                Ok(())
            });
            trial.firewall = firewall;
        }
        trial
    }

    fn step(&mut self, what: &str, work: impl FnOnce() -> anyhow::Result<()>) -> bool {
        let failed = work().err().map(|error| format!("{error:#}"));
        let ok = failed.is_none();
        self.steps.push(Step { what: what.to_owned(), failed });
        ok
    }
}

/// A lab of two nodes, as a run builds it.
fn cut_and_heal() -> anyhow::Result<String> {
    let (one, two) = (NodeId(1), NodeId(2));
    let lab = KernelLab::new(&[one, two])?;
    let cut = [Link { from: one, to: two }].into();
    lab.cut(&cut)?;
    let arrived = lab.survey(&cut, PATIENCE)?;
    anyhow::ensure!(arrived == [Link { from: two, to: one }].into(), "of both links, {arrived:?} answered");
    lab.cut(&[].into())?;
    anyhow::ensure!(lab.survey(&[].into(), PATIENCE)?.len() == 2, "the healed link stays silent");
    Ok(lab.firewall().to_owned())
}
