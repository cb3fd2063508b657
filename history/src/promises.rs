//! Promises that are weaker than linearizability, each judged for itself: so that of a history that breaks the strong one it
//! is known what its clients could still rely on; and how stale reads were.
//!
//! Judged are keys where every value is written once (no deletes), and keys of appends of single words: there each answer says
//! where in the order of writes its client stood. On other keys all of them are kept where the key is linearizable, as that
//! implies them, and else it is not known. "Broken" is always a proof. Of two values the older one is that whose
//! write was answered before that of the other was called: so where an order that contradicts these times explains a history, it is
//! sequentially consistent, and the other promises may be broken all the same.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Serialize;

use crate::history::History;
use crate::operation::{Call, ClientId, Operation};
use crate::promise_lines::{Line, Stale, line_of};
use crate::report::{AnomalyKind, Report, Verdict};

/// What clients may rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Promise {
    /// One order of all operations explains all answers in which each client's stand as it called them, whatever the times.
    SequentialConsistency,
    /// Who has read a value never reads an older one.
    MonotonicReads,
    /// Nobody sees two writes of one client the wrong way round.
    MonotonicWrites,
    /// Who has written never reads an older value.
    ReadYourWrites,
}

impl Promise {
    /// All of them.
    pub const ALL: [Promise; 4] = [
        Promise::SequentialConsistency,
        Promise::MonotonicReads,
        Promise::MonotonicWrites,
        Promise::ReadYourWrites,
    ];

    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Promise::SequentialConsistency => "sequential consistency",
            Promise::MonotonicReads => "monotonic reads",
            Promise::MonotonicWrites => "monotonic writes",
            Promise::ReadYourWrites => "read your writes",
        }
    }
}

/// Whether a promise was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// It was.
    Kept,
    /// It cannot be told.
    Unknown,
    /// It was not.
    Broken,
}

/// The verdict on a promise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PromiseReport {
    /// Which.
    pub promise: Promise,
    /// Whether it was kept on all keys.
    pub verdict: Kept,
    /// How often it was broken; of sequential consistency the keys on which it was.
    pub broken: usize,
    /// The first time, in a sentence.
    pub first: Option<String>,
}

/// How stale reads were.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Staleness {
    /// Reads on keys where it can be told.
    pub reads: usize,
    /// Those that missed a write that had been answered before they were called.
    pub stale: usize,
    /// At most so long after the first such answer.
    pub worst_ns: u64,
    /// At most so many such writes.
    pub worst_writes: usize,
    /// The stalest by time, in a sentence.
    pub worst: Option<String>,
}

/// All of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Promises {
    /// A verdict each.
    pub verdicts: Vec<PromiseReport>,
    /// How stale reads were.
    pub staleness: Staleness,
    /// Of the broken promises that the judge names: writes that were lost, took effect twice, or were never made.
    pub lost: usize,
    /// See `lost`.
    pub duplicated: usize,
    /// See `lost`; with values whose write had failed.
    pub phantom: usize,
}

/// Judges them.
#[must_use]
pub fn promises(history: &History, report: &Report) -> Promises {
    let mut tally = Tally::default();
    tally.add(history, report);
    tally.finish(history, report)
}

/// Judges them key by key, in any order of the keys.
#[derive(Debug, Default)]
pub struct Tally {
    /// How often, and the key and sentence of the first key.
    broken: BTreeMap<Promise, (usize, Arc<str>, String)>,
    is_unknown: BTreeMap<Promise, bool>,
    staleness: Staleness,
    /// The key of the worst of them.
    worst_key: Option<Arc<str>>,
}

impl Tally {
    /// Takes a history with its report in: one of some keys, or of all.
    pub fn add(&mut self, history: &History, report: &Report) {
        let verdicts: BTreeMap<&str, Verdict> =
            report.keys.iter().map(|key| (&*key.key, key.verdict)).collect();
        for (key, operations) in &history.by_key() {
            let is_linearizable = verdicts.get(&**key) == Some(&Verdict::Valid);
            self.add_key(key, operations, is_linearizable);
        }
    }

    /// Takes over what was told of other keys.
    pub fn join(&mut self, other: Tally) {
        for (promise, (count, key, what)) in other.broken {
            let told = self.broken.entry(promise).or_insert_with(|| (0, Arc::clone(&key), what.clone()));
            told.0 += count;
            if key < told.1 {
                (told.1, told.2) = (key, what);
            }
        }
        self.is_unknown.extend(other.is_unknown);
        let (own, new) = (&mut self.staleness, other.staleness);
        own.reads += new.reads;
        own.stale += new.stale;
        own.worst_writes = own.worst_writes.max(new.worst_writes);
        if new.worst.is_some() && (new.worst_ns, &other.worst_key) >= (own.worst_ns, &self.worst_key) {
            (own.worst_ns, own.worst) = (new.worst_ns, new.worst);
            self.worst_key = other.worst_key;
        }
    }

    /// With the report on all keys, and a history that has at least the operations that its anomalies name.
    #[must_use]
    pub fn finish(mut self, history: &History, report: &Report) -> Promises {
        let count = |kinds: &[AnomalyKind]| {
            report.anomalies.iter().filter(|anomaly| kinds.contains(&anomaly.kind)).count()
        };
        // What servers claimed, or other reads show, tells more of the order than times do.
        for anomaly in &report.anomalies {
            let client = |at: usize| {
                anomaly.operations.get(at).and_then(|&id| history.operation(id)).map(|op| op.client)
            };
            if anomaly.kind == AnomalyKind::NonMonotonicRead && client(0).is_some() && client(0) == client(1)
            {
                let of = |what: String| (0, Arc::clone(&anomaly.key), what);
                let first = self.broken.entry(Promise::MonotonicReads);
                first.or_insert_with(|| of(anomaly.sentence.clone())).0 += 1;
            }
        }
        // Sequential consistency of each key is not that of all together; linearizability is.
        let is_whole = report.verdict == Verdict::Valid || report.keys.len() == 1;
        Promises {
            verdicts: Promise::ALL.iter().map(|&promise| self.verdict(promise, is_whole)).collect(),
            staleness: self.staleness,
            lost: count(&[AnomalyKind::LostUpdate]),
            duplicated: count(&[AnomalyKind::DuplicateAppend]),
            phantom: count(&[AnomalyKind::Phantom, AnomalyKind::FailedWriteVisible, AnomalyKind::FutureRead]),
        }
    }

    fn add_key(&mut self, key: &Arc<str>, operations: &[&Operation], is_linearizable: bool) {
        if is_linearizable {
            // Then no read was stale, and all is kept.
            let is_read =
                |operation: &&&Operation| operation.call == Call::Read && operation.answer().is_some();
            self.staleness.reads += operations.iter().filter(is_read).count();
            return;
        }
        let Some(line) = line_of(operations) else {
            return Promise::ALL.iter().for_each(|&promise| self.not_known(promise));
        };
        self.staleness(key, &line);
        match line.sequential() {
            Kept::Kept => {}
            Kept::Unknown => self.not_known(Promise::SequentialConsistency),
            Kept::Broken => {
                let what = format!(
                    "no order of the operations on {key} in which each client's stand as it called them explains all answers"
                );
                self.break_it(Promise::SequentialConsistency, key, what);
            }
        }
        let mut by_client: HashMap<ClientId, Vec<usize>> = HashMap::new();
        for (at, operation) in operations.iter().enumerate() {
            by_client.entry(operation.client).or_default().push(at);
        }
        let mut clients: Vec<(ClientId, Vec<usize>)> = by_client.into_iter().collect();
        clients.sort();
        for (promise, what) in line.sessions(&clients) {
            self.break_it(promise, key, what);
        }
    }

    fn not_known(&mut self, promise: Promise) {
        self.is_unknown.insert(promise, true);
    }

    fn break_it(&mut self, promise: Promise, key: &Arc<str>, what: String) {
        let (count, first_key, first) =
            self.broken.entry(promise).or_insert_with(|| (0, Arc::clone(key), what.clone()));
        *count += 1;
        if key < first_key {
            (*first_key, *first) = (Arc::clone(key), what);
        }
    }

    fn staleness(&mut self, key: &Arc<str>, line: &Line<'_>) {
        self.staleness.reads += line.reads();
        for Stale { late_ns, writes, sentence } in line.stale() {
            self.staleness.stale += 1;
            self.staleness.worst_writes = self.staleness.worst_writes.max(writes);
            if (late_ns, Some(key)) >= (self.staleness.worst_ns, self.worst_key.as_ref()) {
                self.staleness.worst_ns = late_ns;
                self.staleness.worst = Some(sentence);
                self.worst_key = Some(Arc::clone(key));
            }
        }
    }

    fn verdict(&self, promise: Promise, is_whole: bool) -> PromiseReport {
        let is_joint = promise == Promise::SequentialConsistency && !is_whole;
        let verdict = match self.broken.get(&promise) {
            Some(_) => Kept::Broken,
            None if is_joint || self.is_unknown.contains_key(&promise) => Kept::Unknown,
            None => Kept::Kept,
        };
        let broken = self.broken.get(&promise);
        PromiseReport {
            promise,
            verdict,
            broken: broken.map_or(0, |(count, ..)| *count),
            first: broken.map(|(.., what)| what.clone()),
        }
    }
}
