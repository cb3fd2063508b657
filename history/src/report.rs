//! What the judge says: a verdict, and for each broken promise a sentence and the few operations that show it.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::certificate::Certificate;
use crate::history::History;
use crate::operation::{OpId, Operation};

/// Whether the history can be explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// For every key an order of its operations was found, and replayed, that explains all answers; no claim is broken.
    Valid,
    /// No order explains the answers of some key, or a claim is broken.
    Invalid,
    /// Nothing wrong was found, but the budget ended, or the checker failed, before all was judged.
    Unknown,
}

impl Verdict {
    /// The verdict on a history of keys with these.
    pub(crate) fn of_keys(keys: impl Iterator<Item = Verdict>) -> Verdict {
        let badness = |verdict: &Verdict| match verdict {
            Verdict::Valid => 0,
            Verdict::Unknown => 1,
            Verdict::Invalid => 2,
        };
        keys.max_by_key(badness).unwrap_or(Verdict::Valid)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Valid => "valid",
            Verdict::Invalid => "invalid",
            Verdict::Unknown => "unknown",
        })
    }
}

/// What kind of promise is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AnomalyKind {
    /// A read misses a write that was acknowledged before it began.
    StaleRead,
    /// Two reads one after the other, and the later one sees the older value.
    NonMonotonicRead,
    /// A read sees what nobody wrote.
    Phantom,
    /// An acknowledged write is gone.
    LostUpdate,
    /// A read sees a write that surely failed.
    FailedWriteVisible,
    /// A read sees a write that was called only after the read had returned.
    FutureRead,
    /// An append took effect twice.
    DuplicateAppend,
    /// Appends stand in an order that contradicts time, or that another read contradicts.
    ReorderedAppend,
    /// A compare-and-set succeeded on a value that was not current, or failed on the value that it expected.
    WrongCas,
    /// A transaction was done although what it compares was not so, or was not done although it was.
    WrongTransaction,
    /// One write of a transaction was seen and another of it was not.
    TornTransaction,
    /// The accounts of a bank hold another sum than all its transactions keep.
    WrongTotal,
    /// The server claimed versions that cannot all be true.
    BrokenClaim,
    /// No order explains the operations, and none of the names above fits.
    NotLinearizable,
}

impl AnomalyKind {
    /// The name in words, e.g. `stale read`.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            AnomalyKind::StaleRead => "stale read",
            AnomalyKind::NonMonotonicRead => "non-monotonic read",
            AnomalyKind::Phantom => "phantom",
            AnomalyKind::LostUpdate => "lost update",
            AnomalyKind::FailedWriteVisible => "failed write visible",
            AnomalyKind::FutureRead => "read from the future",
            AnomalyKind::DuplicateAppend => "duplicate append",
            AnomalyKind::ReorderedAppend => "reordered append",
            AnomalyKind::WrongCas => "wrong compare-and-set",
            AnomalyKind::WrongTransaction => "wrong transaction",
            AnomalyKind::TornTransaction => "torn transaction",
            AnomalyKind::WrongTotal => "wrong total",
            AnomalyKind::BrokenClaim => "broken claim",
            AnomalyKind::NotLinearizable => "not linearizable",
        }
    }
}

impl fmt::Display for AnomalyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// One broken promise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Anomaly {
    /// The key.
    #[serde(serialize_with = "as_str")]
    pub key: Arc<str>,
    /// What kind of promise.
    pub kind: AnomalyKind,
    /// What happened, for a person, in one line.
    pub sentence: String,
    /// The few operations that matter: first the one that shows it, then those that it contradicts.
    pub operations: Vec<OpId>,
    /// When it showed: the return of the first of `operations`.
    pub at_ns: u64,
    /// Of a stale read: how long before its call the first write that it misses had been acknowledged. Else 0.
    pub late_ns: u64,
}

impl Anomaly {
    /// The order in which they are told: first what is no mere staleness, by time; then the stalest read.
    pub(crate) fn rank(&self) -> impl Ord + use<> {
        let is_stale = self.kind == AnomalyKind::StaleRead;
        (is_stale, Reverse(self.late_ns), self.at_ns, self.operations.clone())
    }
}

/// How stale a read is that misses a write: from the write's acknowledgement to the read's call.
pub(crate) fn lateness(kind: AnomalyKind, read: &Operation, missed: Option<&Operation>) -> u64 {
    let acknowledged = missed.filter(|_| kind == AnomalyKind::StaleRead).and_then(Operation::answered_ns);
    acknowledged.map_or(0, |ns| read.invoked_ns.saturating_sub(ns))
}

/// How one key was judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyReport {
    /// The key.
    #[serde(serialize_with = "as_str")]
    pub key: Arc<str>,
    /// The verdict on it.
    pub verdict: Verdict,
    /// Its operations.
    pub operations: usize,
    /// Steps of the search.
    pub steps: u64,
    /// Why the verdict is unknown, and how far the search got.
    pub note: Option<String>,
    /// What backs the verdict.
    #[serde(skip)]
    pub certificate: Certificate,
}

/// How many operations there are, by what came of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// All of them.
    pub operations: usize,
    /// Answered.
    pub ok: usize,
    /// Surely without effect.
    pub failed: usize,
    /// Unknown, or never returned.
    pub unknown: usize,
    /// Answered, with a version claimed.
    pub claims: usize,
}

impl Counts {
    fn add(&mut self, other: Counts) {
        self.operations += other.operations;
        self.ok += other.ok;
        self.failed += other.failed;
        self.unknown += other.unknown;
        self.claims += other.claims;
    }
}

/// The judgement of a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The verdict on the whole.
    pub verdict: Verdict,
    /// How many operations it is about.
    pub counts: Counts,
    /// Every key, ascending.
    pub keys: Vec<KeyReport>,
    /// What is broken, in the order of time.
    pub anomalies: Vec<Anomaly>,
    /// How long the judging took, in milliseconds.
    pub elapsed_ms: u64,
}

impl Report {
    /// The report on a history of reports on its parts, each of which has all operations of its keys.
    #[must_use]
    pub fn of_parts(parts: Vec<Report>) -> Report {
        let (mut keys, mut anomalies): (Vec<KeyReport>, Vec<Anomaly>) = (Vec::new(), Vec::new());
        let (mut counts, mut elapsed_ms) = (Counts::default(), 0);
        for part in parts {
            keys.extend(part.keys);
            anomalies.extend(part.anomalies);
            counts.add(part.counts);
            elapsed_ms += part.elapsed_ms;
        }
        keys.sort_by(|one, other| one.key.cmp(&other.key));
        anomalies.sort_by(|one, other| one.key.cmp(&other.key));
        anomalies.sort_by_cached_key(Anomaly::rank);
        let verdict = Verdict::of_keys(keys.iter().map(|key| key.verdict));
        Report { verdict, counts, keys, anomalies, elapsed_ms }
    }

    /// One sentence for the end of a run.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Counts { operations, .. } = self.counts;
        let keys = self.keys.len();
        match self.verdict {
            Verdict::Valid => format!("valid: {operations} operations on {keys} keys are linearizable"),
            Verdict::Invalid => {
                let first = self.anomalies.first().map_or("no reason given", |anomaly| &anomaly.sentence);
                match self.anomalies.len() {
                    0 | 1 => format!("invalid: {first}"),
                    several => format!("invalid: {first} (and {} more)", several - 1),
                }
            }
            Verdict::Unknown => {
                let undecided: Vec<&KeyReport> =
                    self.keys.iter().filter(|key| key.verdict == Verdict::Unknown).collect();
                let note = undecided.first().and_then(|key| key.note.as_deref()).unwrap_or("no reason given");
                format!("unknown: {} of {keys} keys are undecided, the first because {note}", undecided.len())
            }
        }
    }

    /// Up to `n` operations around an anomaly, by ascending id: those that matter, then those of the same key that are
    /// nearest to them in time.
    #[must_use]
    pub fn around(&self, history: &History, anomaly: &Anomaly, n: usize) -> Vec<OpId> {
        let mut chosen: BTreeSet<OpId> = anomaly.operations.iter().copied().take(n).collect();
        let matter: Vec<&Operation> =
            anomaly.operations.iter().filter_map(|&id| history.operation(id)).collect();
        let start_ns = matter.iter().map(|operation| operation.invoked_ns).min().unwrap_or(anomaly.at_ns);
        let mut others: Vec<&Operation> = history
            .operations
            .iter()
            .filter(|operation| operation.key == anomaly.key && !anomaly.operations.contains(&operation.id))
            .collect();
        others.sort_by_key(|operation| (gap_ns(operation, start_ns, anomaly.at_ns), operation.id));
        chosen.extend(others.iter().take(n.saturating_sub(chosen.len())).map(|operation| operation.id));
        chosen.into_iter().collect()
    }
}

/// How far an operation lies from a stretch of time; 0 inside. Open operations last for ever, but only their call counts.
fn gap_ns(operation: &Operation, start_ns: u64, end_ns: u64) -> u64 {
    let until_ns = operation.answered_ns().unwrap_or(operation.invoked_ns);
    start_ns.saturating_sub(until_ns).max(operation.invoked_ns.saturating_sub(end_ns))
}

fn as_str<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}
