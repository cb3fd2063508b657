//! Whether anything hinders the cluster: what excuses a change that it did not make in time, and nothing else does.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// So long after a fault is undone the cluster may still be busy with it: connections that were cut go on when the kernel
/// sends again, after as long again as the cut, which is 3 s at most.
const AFTERWARDS: Duration = Duration::from_secs(3);

/// The kills, pauses and partitions of a run, as far as others have to know.
#[derive(Debug, Default)]
pub struct Trouble {
    state: Mutex<State>,
    /// Held by whoever chooses a process and stops it: so nobody stops one that somebody else has just chosen.
    turn: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    in_force: usize,
    last_end: Option<Instant>,
}

impl Trouble {
    /// A fault begins.
    pub fn begins(&self) {
        self.state().in_force += 1;
    }

    /// A fault that began is over.
    pub fn ends(&self) {
        let mut state = self.state();
        state.in_force = state.in_force.checked_sub(1).expect("what ends has begun");
        state.last_end = Some(Instant::now());
    }

    /// Whether there was any since then, or so shortly before that it may still be felt.
    #[must_use]
    pub fn since(&self, moment: Instant) -> bool {
        let state = self.state();
        state.in_force > 0 || state.last_end.is_some_and(|end| end + AFTERWARDS >= moment)
    }

    /// Waits for the turn to choose a process and stop it.
    pub fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_what_is_in_force_and_what_ended_lately() {
        let (trouble, start) = (Trouble::default(), Instant::now());
        assert!(!trouble.since(start));
        trouble.begins();
        trouble.begins();
        trouble.ends();
        assert!(trouble.since(Instant::now() + 2 * AFTERWARDS), "one is in force");
        trouble.ends();
        assert!(trouble.since(start) && trouble.since(Instant::now()));
        assert!(!trouble.since(Instant::now() + 2 * AFTERWARDS), "long after the last");
    }
}
