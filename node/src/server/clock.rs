//! Ticks from the monotonic clock.

use std::time::{Duration, Instant};

use super::limits::CATCH_UP_TICKS_MAX;

/// The time in ticks of one length.
#[derive(Debug)]
pub(super) struct Clock {
    tick: Duration,
    next: Instant,
}

/// The time that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    /// Ticks to deliver.
    pub ticks: u32,
    /// Whether there were more.
    pub lost: bool,
}

impl Clock {
    pub(super) fn new(tick: Duration, now: Instant) -> Self {
        Clock { tick, next: now + tick }
    }

    /// What to deliver. After a long time without a call the rest of the missed ticks is forgotten.
    pub(super) fn due(&mut self, now: Instant) -> Due {
        let mut ticks = 0;
        while self.next <= now && ticks < CATCH_UP_TICKS_MAX {
            self.next += self.tick;
            ticks += 1;
        }
        let lost = self.next <= now;
        if lost {
            self.next = now + self.tick;
        }
        Due { ticks, lost }
    }

    /// How long until the next tick.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        self.next.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_of_seconds_is_no_burst_of_ticks() {
        let start = Instant::now();
        let ms = |ms| start + Duration::from_millis(ms);
        let mut clock = Clock::new(Duration::from_millis(10), start);
        for (at, ticks, lost) in [
            (9, 0, false),
            (10, 1, false),
            (39, 2, false),
            (40, 1, false), // no time is lost to being a little late
            (3_040, CATCH_UP_TICKS_MAX, true),
            (3_040, 0, false),
        ] {
            assert_eq!(clock.due(ms(at)), Due { ticks, lost }, "at {at} ms");
        }
        assert_eq!(clock.wait(ms(3_045)), Duration::from_millis(5));
    }
}
