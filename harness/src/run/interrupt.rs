//! SIGINT and SIGTERM: the first asks the run to end early, the second ends it at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::screen::say;
use crate::exit::Cause;
use crate::latch::Latch;

/// Two signals closer than this are one: a terminal and a parent may both pass on the same Ctrl-C.
const SAME_SIGNAL: Duration = Duration::from_millis(300);

/// Whether the user wants the run to end.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    asked: Arc<AtomicBool>,
}

impl Interrupt {
    /// Watches for signals from now on, and sets `stop` at the first.
    ///
    /// # Errors
    /// When the system does not let us.
    pub fn watch(stop: Arc<Latch>) -> std::io::Result<Interrupt> {
        let interrupt = Interrupt::default();
        let asked = Arc::clone(&interrupt.asked);
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let mut first: Option<Instant> = None;
            for _ in signals.forever() {
                match first {
                    None => {
                        first = Some(Instant::now());
                        asked.store(true, Ordering::SeqCst);
                        stop.set();
                        say("interrupted: healing and judging what is there; once more ends at once");
                    }
                    Some(first) if first.elapsed() < SAME_SIGNAL => {}
                    // Nodes end with this process.
                    Some(_) => std::process::exit(i32::from(Cause::Interrupted.code())),
                }
            }
        })?;
        Ok(interrupt)
    }

    /// Whether the user wants the run to end.
    #[must_use]
    pub fn asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }
}
