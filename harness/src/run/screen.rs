//! What a run says while it goes on, on stderr: lines, and a spinner where stderr is a terminal; elsewhere a plain line now
//! and then. That nobody reads is no failure.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Between two plain lines of progress.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// The screen.
#[derive(Debug)]
pub struct Screen {
    spinner: Option<ProgressBar>,
    last_plain: Mutex<Instant>,
}

impl Screen {
    /// A spinner where stderr is a terminal that takes one.
    #[must_use]
    pub fn new() -> Self {
        let spinner = std::io::stderr().is_terminal().then(|| {
            let style =
                ProgressStyle::with_template("{spinner} {elapsed} {msg}").expect("a constant template");
            let spinner = ProgressBar::new_spinner().with_style(style);
            spinner.enable_steady_tick(Duration::from_millis(100));
            spinner
        });
        Screen { spinner, last_plain: Mutex::new(Instant::now()) }
    }

    /// A line that stays.
    pub fn say(&self, line: &str) {
        match &self.spinner {
            Some(spinner) => spinner.suspend(|| say(line)),
            None => say(line),
        }
    }

    /// How things stand.
    pub fn progress(&self, line: impl FnOnce() -> String) {
        if let Some(spinner) = &self.spinner {
            return spinner.set_message(line());
        }
        let mut last = self.last_plain.lock().expect("nobody panics while looking at the clock");
        if last.elapsed() >= PLAIN_EVERY {
            *last = Instant::now();
            say(&line());
        }
    }

    /// Takes the spinner away.
    pub fn clear(&self) {
        self.spinner.iter().for_each(ProgressBar::finish_and_clear);
    }
}

impl Default for Screen {
    fn default() -> Self {
        Screen::new()
    }
}

/// A line on stderr.
pub fn say(line: &str) {
    // That nobody reads is no failure.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// An error with its causes, each said once, and the hints at the end.
#[must_use]
pub fn explain(error: &anyhow::Error) -> String {
    let (mut said, mut hints) = (String::new(), String::new());
    for cause in error.chain() {
        let text = cause.to_string();
        let (what, hint) = text.split_once("\nhint: ").unwrap_or((&text, ""));
        // Some errors print their cause themselves.
        if !said.contains(what) {
            said = if said.is_empty() { what.to_owned() } else { format!("{said}: {what}") };
        }
        if !hint.is_empty() && !hints.contains(hint) {
            hints += &format!("\nhint: {hint}");
        }
    }
    said + &hints
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn causes_are_said_once_and_hints_stand_last() {
        let error = Err::<(), _>(anyhow::anyhow!("no such file")).context("a.json: no such file\nhint: look");
        assert_eq!(explain(&error.unwrap_err()), "a.json: no such file\nhint: look");
        let error = Err::<(), _>(anyhow::anyhow!("busy\nhint: wait")).context("open the lab").unwrap_err();
        assert_eq!(explain(&error), "open the lab: busy\nhint: wait");
    }
}
