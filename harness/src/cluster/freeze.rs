//! All nodes at a standstill, for a look at them; they go on when the look is over. No action of a schedule meets a frozen node:
//! whoever wants to act on one waits until it goes on.

use std::sync::{MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use ordeal_client::wire::NodeId;

use super::proof::{self, Threads};
use super::running::Seat;
use super::{Cluster, NodeState};

/// So long the action may take that is being carried out on a node; then the node is left out. Half of the 100 ms in which all
/// others have to stand still.
const TURN_TIME_MAX: Duration = Duration::from_millis(50);
/// Between two looks whether it is over.
const LOOK: Duration = Duration::from_millis(1);
/// A thread in the middle of a disk write stops after it.
const STOP_TIME_MAX: Duration = Duration::from_secs(1);

/// Nodes at a standstill. They go on when it is dropped.
#[derive(Default)]
pub struct Frozen<'a> {
    still: Vec<Still<'a>>,
    /// How each node of the cluster is, in words, by their numbers.
    pub told: Vec<(NodeId, String)>,
}

/// A node on which nobody else acts meanwhile.
struct Still<'a> {
    node: NodeId,
    seat: &'a Seat,
    /// That of the process that was stopped for it.
    pid: Option<i32>,
    _turn: MutexGuard<'a, ()>,
}

impl Cluster {
    /// Stops all nodes that run, and proves it. One on which an action takes too long is left out, and that is told.
    #[must_use]
    pub fn freeze(&self) -> Frozen<'_> {
        let deadline = Instant::now() + TURN_TIME_MAX;
        let mut frozen = Frozen::default();
        let mut moving: Vec<(NodeId, &Seat)> = self.seats.iter().map(|(&node, seat)| (node, seat)).collect();
        loop {
            moving.retain(|&(node, seat)| !frozen.stop(node, seat));
            if moving.is_empty() || Instant::now() >= deadline {
                break;
            }
            std::thread::sleep(LOOK);
        }
        let left_out = |(node, _)| (node, "left out: it was being started, stopped or killed".to_owned());
        frozen.told.extend(moving.into_iter().map(left_out));
        frozen.prove();
        frozen.told.sort();
        frozen
    }
}

impl<'a> Frozen<'a> {
    /// Stops a node, if nobody acts on it; whether that is settled.
    fn stop(&mut self, node: NodeId, seat: &'a Seat) -> bool {
        let turn = match seat.turn.try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        let (pid, told) = match seat.process.state() {
            NodeState::Up { .. } => match seat.process.signal(Signal::SIGSTOP) {
                Ok(pid) => (Some(pid), None),
                Err(error) => (None, Some(format!("not stopped: {error:#}"))),
            },
            NodeState::Paused { pid } => (None, Some(format!("pid {pid} was paused by a fault"))),
            NodeState::Down => (None, Some("down".to_owned())),
            NodeState::Crashed { how, .. } => (None, Some(format!("has crashed: {how}"))),
        };
        // Of one that was stopped the proof tells.
        self.told.extend(told.map(|told| (node, told)));
        self.still.push(Still { node, seat, pid, _turn: turn });
        true
    }

    /// Waits until all threads of all that were stopped are, and tells what was seen.
    fn prove(&mut self) {
        for (node, pid) in self.still.iter().filter_map(|still| Some((still.node, still.pid?))) {
            let is_still = |seen: &Option<Threads>| seen.is_none_or(|threads| threads.stopped == threads.all);
            let told = match proof::until(STOP_TIME_MAX, || proof::threads(pid), is_still) {
                (Some(threads), true) => format!("pid {pid} is stopped, all {} threads of it", threads.all),
                (Some(threads), false) => {
                    format!("pid {pid} is NOT stopped: {} of {} threads are", threads.stopped, threads.all)
                }
                (None, _) => format!("pid {pid} has just ended"),
            };
            self.told.push((node, told));
        }
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        for still in self.still.iter().filter(|still| still.pid.is_some()) {
            // One that has ended meanwhile says no, as it should.
            let _ = still.seat.process.signal(Signal::SIGCONT);
        }
    }
}
