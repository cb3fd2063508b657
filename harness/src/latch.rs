//! A thing that happens once, and that threads can wait for with a limit.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Unset until somebody sets it; then set for good.
#[derive(Debug, Default)]
pub struct Latch {
    set: Mutex<bool>,
    changed: Condvar,
}

impl Latch {
    /// Not set yet.
    #[must_use]
    pub fn new() -> Self {
        Latch::default()
    }

    /// Sets it and wakes all who wait.
    pub fn set(&self) {
        *self.lock() = true;
        self.changed.notify_all();
    }

    /// Whether it is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        *self.lock()
    }

    /// Waits until it is set, at most so long; whether it is set.
    pub fn wait(&self, limit: Duration) -> bool {
        let set = self.lock();
        let (set, _) = self
            .changed
            .wait_timeout_while(set, limit, |set| !*set)
            .expect("nobody panics while holding a latch");
        *set
    }

    /// Waits until it is set or the moment has come; whether it is set.
    pub fn wait_until(&self, moment: Instant) -> bool {
        self.wait(moment.saturating_duration_since(Instant::now()))
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.set.lock().expect("nobody panics while holding a latch")
    }
}
