//! Where a run was stopped at its first violation, and how soon after it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::plan::seconds;

/// The violation, and the standstill of all nodes. Times are nanoseconds of the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// The operation with whose return it showed.
    pub op: u64,
    /// One that it contradicts, if one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<u64>,
    /// The key.
    pub key: String,
    /// What is wrong, in a few words.
    pub what: String,
    /// When the operation had returned.
    pub returned_ns: u64,
    /// When it had been judged.
    pub found_ns: u64,
    /// When all nodes stood still.
    pub frozen_ns: u64,
}

impl Stop {
    /// From the return that shows the violation until all nodes stood still, in milliseconds.
    #[must_use]
    pub fn late_ms(&self) -> f64 {
        self.frozen_ns.saturating_sub(self.returned_ns) as f64 / 1e6
    }
}

/// `#17 on k3, returned 12.345 s (a value was …): found 2.1 ms and all nodes stopped 4.9 ms after its return`
impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stop { op, key, what, .. } = self;
        let found_ms = self.found_ns.saturating_sub(self.returned_ns) as f64 / 1e6;
        let at = seconds(self.returned_ns / 1_000_000);
        write!(f, "#{op} on {key}, returned {at} ({what}): found {found_ms:.1} ms ")?;
        write!(f, "and all nodes stopped {:.1} ms after its return", self.late_ms())
    }
}
