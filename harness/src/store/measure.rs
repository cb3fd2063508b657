//! Numbers with limits, and what was counted on the wire: what a scenario leaves beside its verdict.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::lab::{Frames, Traffic, Way};

/// A number, and the limits that it must keep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// What was measured.
    pub name: String,
    /// The worst that was seen.
    pub value: f64,
    /// In what; empty: a mere number.
    pub unit: String,
    /// It must not be above this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
    /// It must not be below this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
}

impl Measure {
    /// A number without limits.
    #[must_use]
    pub fn new(name: &str, value: f64, unit: &str) -> Measure {
        Measure { name: name.to_owned(), value, unit: unit.to_owned(), at_most: None, at_least: None }
    }

    /// Whether it keeps its limits.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.at_most.is_none_or(|limit| self.value <= limit)
            && self.at_least.is_none_or(|limit| self.value >= limit)
    }

    /// Takes the value of another of the same name where that is worse: the smaller one where only a lower limit is set,
    /// else the greater one.
    pub fn worsen(&mut self, other: &Measure) {
        let low_is_bad = self.at_least.is_some() && self.at_most.is_none();
        self.value = if low_is_bad { self.value.min(other.value) } else { self.value.max(other.value) };
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = if self.unit.is_empty() { String::new() } else { format!(" {}", self.unit) };
        write!(f, "{}: {}{unit}", self.name, self.value)?;
        match (self.at_least, self.at_most) {
            (None, None) => Ok(()),
            (Some(limit), None) => write!(f, ", at least {limit}"),
            (None, Some(limit)) => write!(f, ", at most {limit}"),
            (Some(low), Some(high)) => write!(f, ", from {low} to {high}"),
        }
    }
}

/// What was counted on the wire.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireCounts {
    /// What befell frames, all ways together.
    pub frames: FrameCounts,
    /// Connections that were reset, or refused, at cut links.
    pub resets: u64,
    /// Messages between nodes, by kind.
    pub between_nodes: BTreeMap<String, KindCount>,
    /// What befell frames, by directed way: `n1→n2`, `clients→n1`, `n1→clients`.
    pub ways: BTreeMap<String, FrameCounts>,
}

/// Messages of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindCount {
    /// How many.
    pub messages: u64,
    /// Their bytes, headers included.
    pub bytes: u64,
}

/// What befell whole frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameCounts {
    /// Sent.
    pub sent: u64,
    /// Lost by an unreliable network.
    pub lost: u64,
    /// Made to wait.
    pub delayed: u64,
    /// Overtaken by a later one.
    pub overtaken: u64,
    /// Lost at a cut link.
    pub swallowed: u64,
}

impl From<Frames> for FrameCounts {
    fn from(of: Frames) -> Self {
        let Frames { sent, lost, delayed, overtaken, swallowed } = of;
        FrameCounts { sent, lost, delayed, overtaken, swallowed }
    }
}

impl WireCounts {
    /// What a lab has counted.
    #[must_use]
    pub fn of(traffic: &Traffic) -> WireCounts {
        let mut counts = WireCounts {
            frames: traffic.frames().into(),
            resets: traffic.resets,
            ways: traffic.ways.iter().map(|(way, tally)| (way.to_string(), tally.frames.into())).collect(),
            ..WireCounts::default()
        };
        let peers = traffic.ways.iter().filter(|(way, _)| matches!(way, Way::Peers(_)));
        for (kind, of) in peers.flat_map(|(_, tally)| &tally.kinds) {
            let count = counts.between_nodes.entry(format!("{kind:?}")).or_default();
            count.messages += of.messages;
            count.bytes += of.bytes;
        }
        counts
    }
}

impl fmt::Display for FrameCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FrameCounts { sent, lost, delayed, overtaken, swallowed } = self;
        write!(f, "{sent} sent")?;
        let befallen =
            [(lost, "lost"), (delayed, "delayed"), (overtaken, "overtaken"), (swallowed, "swallowed")];
        befallen
            .into_iter()
            .filter(|(count, _)| **count > 0)
            .try_for_each(|(count, what)| write!(f, ", {count} {what}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_a_name_stays_and_says_whether_it_holds() {
        let mut slow = Measure { at_most: Some(5.0), ..Measure::new("a", 3.0, "ms") };
        slow.worsen(&Measure::new("a", 2.0, "ms"));
        assert!((slow.value - 3.0).abs() < 1e-9 && slow.holds());
        slow.worsen(&Measure::new("a", 6.0, "ms"));
        assert!(!slow.holds());
        assert_eq!(slow.to_string(), "a: 6 ms, at most 5");
        let mut few = Measure { at_least: Some(5.0), ..Measure::new("b", 9.0, "") };
        assert!(few.holds());
        few.worsen(&Measure::new("b", 4.0, ""));
        assert!(!few.holds());
        assert_eq!(few.to_string(), "b: 4, at least 5");
    }
}
