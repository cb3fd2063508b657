//! The judge: looks for an order of the operations of each key that explains every answer.

use std::time::Duration;

/// What a judgement may cost. Beyond it the verdict is [`crate::Verdict::Unknown`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Wall time.
    pub time: Duration,
    /// Bytes of remembered states, over all keys that are judged at once.
    pub memory_bytes: usize,
}

impl Default for Budget {
    /// A minute and 2 GiB: a run on a laptop.
    fn default() -> Self {
        Budget { time: Duration::from_secs(60), memory_bytes: 2 << 30 }
    }
}

/// How far the judge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Keys with a verdict.
    pub keys_done: usize,
    /// All keys.
    pub keys: usize,
    /// Since the start.
    pub elapsed: Duration,
}
