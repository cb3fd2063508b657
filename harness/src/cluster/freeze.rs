//! All nodes at a standstill, for a look at them; they go on when the look is over. No action of a schedule meets a frozen node:
//! whoever wants to act on one waits until it goes on.

use std::sync::{MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use ordeal_client::wire::NodeId;

use super::running::Seat;
use super::{Cluster, NodeState, proof};

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
                Ok(pid) => (Some(pid), format!("pid {pid} is stopped")),
                Err(error) => (None, format!("not stopped: {error:#}")),
            },
            NodeState::Paused { pid } => (None, format!("pid {pid} was paused by a fault")),
            NodeState::Down => (None, "down".to_owned()),
            NodeState::Crashed { how, .. } => (None, format!("has crashed: {how}")),
        };
        self.told.push((node, told));
        self.still.push(Still { seat, pid, _turn: turn });
        true
    }

    /// Waits until all threads of all that were stopped are.
    fn prove(&self) {
        for pid in self.still.iter().filter_map(|still| still.pid) {
            proof::until(
                STOP_TIME_MAX,
                || proof::threads(pid),
                |seen| seen.is_none_or(|threads| threads.stopped == threads.all),
            );
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
