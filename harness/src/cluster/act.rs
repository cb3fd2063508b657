//! Carries out one action and proves it. What cannot be proven is an error, never a footnote.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use nix::sys::signal::Signal;
use ordeal_client::wire::NodeId;

use super::process::describe;
use super::running::KILL_TIME_MAX;
use super::{Action, Cluster, Evidence, NodeState, NotVerified, proof};
use crate::lab::{Link, PATIENCE, all_links};

/// How long a process may take to stop or to go on: a thread in the middle of a disk write stops after it.
const STOP_TIME_MAX: Duration = Duration::from_secs(2);

/// When it had been carried out, and the proof.
pub(super) type Proven = anyhow::Result<(u64, String)>;

impl Cluster {
    /// Carries out an action and proves that it took effect. Actions on different nodes may overlap.
    ///
    /// # Errors
    /// When it was refused, or had no effect that could be seen.
    pub fn act(&self, action: &Action) -> Result<Evidence, NotVerified> {
        let asked_ns = (self.clock)();
        let proven = match action {
            Action::Kill { node } => self.in_turn(*node, Self::kill),
            Action::Start { node } => self.in_turn(*node, Self::start_again),
            Action::Pause { node } => self.in_turn(*node, Self::pause),
            Action::Resume { node } => self.in_turn(*node, Self::resume),
            Action::Cut { links } => self.cut(links),
            Action::Heal => self.cut(&BTreeSet::new()),
            Action::Add { node } => self.add(*node),
            Action::Remove { node } => self.remove(*node),
            Action::Transfer { group, to } => self.transfer(*group, *to),
            Action::MoveShard { shard, steps } => self.move_shard(*shard, *steps),
            Action::Settle { shard } => self.settle(*shard),
            Action::Leave { group } => self.leave(*group),
            Action::Join { group } => self.join(*group),
        };
        match proven {
            Ok((applied_ns, proof)) => {
                Ok(Evidence { asked_ns, applied_ns, verified_ns: (self.clock)(), proof })
            }
            Err(error) => Err(NotVerified { action: action.to_string(), reason: format!("{error:#}") }),
        }
    }

    fn in_turn(&self, node: NodeId, work: impl FnOnce(&Self, NodeId) -> Proven) -> Proven {
        let seat = self.seat(node)?;
        let _turn = seat.turn.lock().unwrap_or_else(PoisonError::into_inner);
        work(self, node)
    }

    fn kill(&self, node: NodeId) -> Proven {
        let process = &self.seat(node)?.process;
        let pid = match process.state() {
            NodeState::Up { pid } | NodeState::Paused { pid } => pid,
            NodeState::Down => bail!("it is down"),
            NodeState::Crashed { how, .. } => bail!("it has crashed before: {how}"),
        };
        let status = process.end(Signal::SIGKILL, KILL_TIME_MAX);
        let applied = (self.clock)();
        let status = status.with_context(|| format!("pid {pid} did not end within {KILL_TIME_MAX:?}"))?;
        ensure!(
            status.signal() == Some(Signal::SIGKILL as i32),
            "pid {pid} ended by itself before: {}",
            describe(status)
        );
        ensure!(proof::is_gone(pid), "pid {pid} is still in /proc");
        Ok((applied, format!("pid {pid} is gone (signal 9)")))
    }

    fn start_again(&self, node: NodeId) -> Proven {
        let (pid, address) = self.start_node(node)?;
        Ok(((self.clock)(), format!("pid {pid} listens on {address}")))
    }

    fn pause(&self, node: NodeId) -> Proven {
        let process = &self.seat(node)?.process;
        let state = process.state();
        ensure!(matches!(state, NodeState::Up { .. }), "it does not run: {}", in_words(&state));
        let pid = process.signal(Signal::SIGSTOP)?;
        let applied = (self.clock)();
        let (threads, all) = proof::until(
            STOP_TIME_MAX,
            || proof::threads(pid),
            |seen| seen.is_some_and(|threads| threads.stopped == threads.all),
        );
        if !all {
            // Half stopped is neither: let it go on.
            let _ = process.signal(Signal::SIGCONT);
        }
        let threads = threads.with_context(|| format!("pid {pid} has ended"))?;
        ensure!(all, "pid {pid}: {} of {} threads are in state T", threads.stopped, threads.all);
        process.set_paused(true);
        Ok((applied, format!("pid {pid}: {} of {} threads are in state T", threads.stopped, threads.all)))
    }

    fn resume(&self, node: NodeId) -> Proven {
        let process = &self.seat(node)?.process;
        let state = process.state();
        ensure!(matches!(state, NodeState::Paused { .. }), "it is not paused: {}", in_words(&state));
        let pid = process.signal(Signal::SIGCONT)?;
        let applied = (self.clock)();
        let (threads, none) = proof::until(
            STOP_TIME_MAX,
            || proof::threads(pid),
            |seen| seen.is_none_or(|threads| threads.stopped == 0),
        );
        let threads = threads.with_context(|| format!("pid {pid} has ended"))?;
        ensure!(none, "pid {pid}: {} of {} threads are still in state T", threads.stopped, threads.all);
        process.set_paused(false);
        Ok((applied, format!("pid {pid}: none of {} threads is in state T", threads.all)))
    }

    fn cut(&self, links: &BTreeSet<Link>) -> Proven {
        let _turn = self.network.lock().unwrap_or_else(PoisonError::into_inner);
        self.lab.cut(links)?;
        let applied = (self.clock)();
        let arrived = self.lab.survey(links, PATIENCE)?;
        let seats: Vec<NodeId> = self.seats.keys().copied().collect();
        let all = all_links(&seats);
        let leaking: Vec<String> = links.intersection(&arrived).map(ToString::to_string).collect();
        ensure!(leaking.is_empty(), "cut, but probes still arrive: {}", leaking.join(" "));
        let others: BTreeSet<Link> = all.difference(links).copied().collect();
        let silent: Vec<String> = others.difference(&arrived).map(ToString::to_string).collect();
        ensure!(silent.is_empty(), "not cut, but no probe arrives: {}", silent.join(" "));
        let (cut, open) = (links.len(), others.len());
        let proof = match (cut, open) {
            (0, _) => format!("all {open} links answer"),
            (_, 0) => format!("all {cut} links are cut and silent"),
            _ => format!("{cut} of {cut} cut links are silent, {open} of {open} others answer"),
        };
        Ok((applied, proof))
    }
}

fn in_words(state: &NodeState) -> String {
    match state {
        NodeState::Down => "it is down".to_owned(),
        NodeState::Up { pid } => format!("it runs as pid {pid}"),
        NodeState::Paused { pid } => format!("pid {pid} is paused"),
        NodeState::Crashed { how, .. } => format!("it has crashed: {how}"),
    }
}
