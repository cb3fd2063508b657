//! Ticks from the monotonic clock.

use std::time::{Duration, Instant};

use super::limits::CATCH_UP_TICKS_MAX;

/// The time in ticks of one length.
#[derive(Debug)]
pub(super) struct Clock {
    tick: Duration,
    next: Instant,
}

impl Clock {
    pub(super) fn new(tick: Duration, now: Instant) -> Self {
        Clock { tick, next: now + tick }
    }

    /// How many ticks to deliver. After a long time without a call the rest of the missed ones is forgotten.
    pub(super) fn due(&mut self, now: Instant) -> u32 {
        let mut ticks = 0;
        while self.next <= now && ticks < CATCH_UP_TICKS_MAX {
            self.next += self.tick;
            ticks += 1;
        }
        if self.next <= now {
            self.next = now + self.tick;
        }
        ticks
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
        assert_eq!(clock.due(ms(9)), 0);
        assert_eq!(clock.due(ms(10)), 1);
        assert_eq!(clock.due(ms(39)), 2);
        assert_eq!(clock.due(ms(40)), 1, "no time is lost to being a little late");
        assert_eq!(clock.due(ms(3_040)), CATCH_UP_TICKS_MAX);
        assert_eq!(clock.due(ms(3_040)), 0);
        assert_eq!(clock.wait(ms(3_045)), Duration::from_millis(5));
    }
}
