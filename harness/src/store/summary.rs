//! What came of a run: `verdict.json`, and the one line of `ordeal run --json`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Availability, Measure, Stop, WireCounts};
use crate::lab::LabKind;
use crate::plan::{FaultKind, Settings};

/// The version of `verdict.json` and of `--json`.
pub const SUMMARY_VERSION: u32 = 1;

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// [`SUMMARY_VERSION`].
    pub version: u32,
    /// Name of the run.
    pub run: String,
    /// Its directory.
    pub dir: String,
    /// The judge's word.
    pub verdict: Word,
    /// The verdict in a sentence.
    pub sentence: String,
    /// The exit code.
    pub exit: u8,
    /// Everything that keeps the exit code from being 0, the most important first.
    pub findings: Vec<Finding>,
    /// The scenario that was played; `None`: a plan was carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenario: Option<String>,
    /// What was tested.
    pub system: String,
    /// Network lab; `None` when none could be had.
    pub lab: Option<LabKind>,
    /// Why this one.
    pub lab_reason: String,
    /// What was asked for.
    pub settings: Settings,
    /// How long clients were at work, in milliseconds.
    pub clients_ms: u64,
    /// Operations by what came of them.
    pub operations: Operations,
    /// Operations answered in a second, on average.
    pub ok_per_s: f64,
    /// Time from call to answer.
    pub latency_ms: Latency,
    /// The longest time without an answer to any client, in milliseconds.
    pub gap_longest_ms: u64,
    /// How many keys were used.
    pub keys: usize,
    /// How many keys could not be read at the end.
    pub keys_unread: usize,
    /// Faults by kind.
    pub faults: Vec<FaultCount>,
    /// How available the system was around them; `None` of scenarios, which have limits of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability: Option<Availability>,
    /// Where it was stopped at its first violation, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Stop>,
    /// How long after the last healing the cluster served again, in milliseconds; `None`: it did not, or was not asked.
    pub recovery_ms: Option<u64>,
    /// How long judging took, in milliseconds.
    pub check_ms: u64,
    /// What is broken, the most telling first; at most [`Summary::ANOMALIES_MAX`].
    pub anomalies: Vec<AnomalyRecord>,
    /// How many promises are broken in all.
    pub anomalies_count: usize,
    /// What a reader should know beside it.
    pub warnings: Vec<String>,
    /// Numbers of a scenario, with its limits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measures: Vec<Measure>,
    /// What a scenario's lab counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wire: Option<WireCounts>,
}

/// The judge's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// Linearizable.
    Valid,
    /// Not linearizable.
    NotLinearizable,
    /// Nodes broke a promise of safety that no client has seen broken.
    Unsafe,
    /// The judge gave up.
    Unknown,
    /// There was nothing to judge.
    NotJudged,
}

/// Something that keeps a run from being a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The exit code that stands for it.
    pub code: u8,
    /// In words.
    pub what: String,
}

/// Operations by what came of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operations {
    /// Answered.
    pub completed: usize,
    /// Surely without effect.
    pub failed: usize,
    /// Unknown.
    pub unknown: usize,
}

/// Time from call to answer, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half were faster.
    pub p50: f64,
    /// 99 of 100 were faster.
    pub p99: f64,
    /// The slowest.
    pub max: f64,
}

/// Faults of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultCount {
    /// The kind.
    pub kind: FaultKind,
    /// How many the plan has.
    pub planned: usize,
    /// How many were proven to be in force.
    pub verified: usize,
    /// How many were proven to be undone.
    pub undone: usize,
    /// How many changes the cluster could not make in their time because of other faults.
    #[serde(default)]
    pub missed: usize,
}

/// One broken promise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnomalyRecord {
    /// What kind, in words.
    pub kind: String,
    /// The key.
    pub key: String,
    /// What happened, and which faults were in force.
    pub sentence: String,
    /// The operations that show it.
    pub operations: Vec<u64>,
    /// When it showed, in nanoseconds of the run.
    pub at_ns: u64,
}

impl Summary {
    /// A system that is broken is broken a thousandfold; the first ones show how.
    pub const ANOMALIES_MAX: usize = 50;
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Word::Valid => "valid",
            Word::NotLinearizable => "not linearizable",
            Word::Unsafe => "unsafe",
            Word::Unknown => "unknown",
            Word::NotJudged => "not judged",
        })
    }
}
