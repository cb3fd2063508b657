//! The judge: looks for an order of the operations of each key that explains every answer, and for claims that cannot
//! all be true.
//!
//! Keys are judged on all cores, in rounds: first with few steps each, then with more, so that one hard key does not
//! keep the others from their verdict. Whatever is not decided within the budget is unknown, never valid; so is a key
//! whose judgement panicked.

use std::any::Any;
use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rayon::prelude::*;

use crate::certificate::{Certificate, core_of};
use crate::decide::{Decision, Evidence, decide, is_tied};
use crate::history::History;
use crate::linear::{Limit, Limits};
use crate::operation::{Claim, OpId, Operation};
use crate::problem::at_the_end;
use crate::replay::confirm;
use crate::report::{Anomaly, Counts, KeyReport, Report, Verdict};
use crate::{claims, explain, name_txns};

/// What a judgement may cost. Beyond it the verdict is [`Verdict::Unknown`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Wall time.
    pub time: Duration,
    /// Bytes of remembered configurations, over all keys that are judged at once.
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

/// Judges a history.
pub fn check(history: &History, budget: &Budget, progress: &(dyn Fn(Progress) + Sync)) -> Report {
    check_until(history, budget, progress, &AtomicBool::new(false))
}

/// As [`check`], and gives up as soon as `stop` is set: what is not decided then is unknown.
pub fn check_until(
    history: &History,
    budget: &Budget,
    progress: &(dyn Fn(Progress) + Sync),
    stop: &AtomicBool,
) -> Report {
    let mut keys: Vec<Key<'_>> =
        history.by_key().into_iter().map(|(name, operations)| Key::new(name, operations)).collect();
    let counts = counts(history);
    let mut judge = Judge::new(budget, progress, stop, keys.len());
    judge.has_claims = counts.claims > 0;
    judge.search(&mut keys);
    let judged: Vec<(KeyReport, Vec<Anomaly>)> =
        keys.par_iter().map(|key| guarded(key, || judge.conclude(key))).collect();
    let (keys, anomalies): (Vec<KeyReport>, Vec<Vec<Anomaly>>) = judged.into_iter().unzip();
    let mut anomalies: Vec<Anomaly> = anomalies.into_iter().flatten().collect();
    anomalies.sort_by_cached_key(Anomaly::rank);
    let verdict = Verdict::of_keys(keys.iter().map(|key| key.verdict));
    let elapsed_ms = u64::try_from(judge.start.elapsed().as_millis()).unwrap_or(u64::MAX);
    Report { verdict, counts, keys, anomalies, elapsed_ms }
}

/// The verdict alone, without the reasons of [`check`], and in a part of its time where it is [`Verdict::Invalid`].
pub fn verdict(history: &History, budget: &Budget) -> Verdict {
    let keys = history.by_key().into_iter();
    let mut keys: Vec<Key<'_>> = keys.map(|(name, operations)| Key::new(name, operations)).collect();
    let stop = AtomicBool::new(false);
    let judge = Judge::new(budget, &|_| {}, &stop, keys.len());
    judge.search(&mut keys);
    let of_key = |key: &Key<'_>| match &key.found {
        Found::NoOrder(_) => Verdict::Invalid,
        Found::Order(_) | Found::GaveUp(_) | Found::Nothing => guarded(key, || judge.conclude(key)).0.verdict,
    };
    let verdicts: Vec<Verdict> = keys.par_iter().map(of_key).collect();
    Verdict::of_keys(verdicts.iter().copied())
}

fn counts(history: &History) -> Counts {
    let mut counts = Counts { operations: history.operations.len(), ..Counts::default() };
    for operation in &history.operations {
        counts.failed += usize::from(operation.is_failed());
        counts.unknown += usize::from(operation.is_open());
        counts.ok += usize::from(operation.answer().is_some());
        counts.claims += usize::from(operation.claim().is_some_and(|claim| *claim != Claim::default()));
    }
    counts
}

/// A key on its way to its verdict.
struct Key<'a> {
    name: Arc<str>,
    operations: Vec<&'a Operation>,
    found: Found,
    steps: u64,
}

#[derive(Clone)]
enum Found {
    /// The search is to go on, with more steps.
    Nothing,
    Order(Vec<OpId>),
    NoOrder(Evidence),
    /// And will not be decided: why.
    GaveUp(String),
}

impl<'a> Key<'a> {
    fn new(name: Arc<str>, operations: Vec<&'a Operation>) -> Self {
        Key { name, operations, found: Found::Nothing, steps: 0 }
    }
}

/// Steps of the first round, some 50 ms: nearly all keys of a run are decided by then.
const FIRST_ROUND_STEPS: u64 = 1 << 18;

/// Each round has so many times the steps of the one before, so that all the rounds before one cost a fraction of it.
const ROUND_FACTOR: u64 = 16;

struct Judge<'a> {
    start: Instant,
    deadline: Instant,
    /// Explanations may take this much longer, since a verdict without its reason is half a verdict.
    explain_deadline: Instant,
    memory_bytes: usize,
    progress: &'a (dyn Fn(Progress) + Sync),
    stop: &'a AtomicBool,
    keys: usize,
    keys_done: AtomicUsize,
    /// Whether any answer claims a version.
    has_claims: bool,
}

impl<'a> Judge<'a> {
    fn new(
        budget: &Budget,
        progress: &'a (dyn Fn(Progress) + Sync),
        stop: &'a AtomicBool,
        keys: usize,
    ) -> Self {
        let start = Instant::now();
        // A time too long to add is no limit; a year is none either.
        let time = budget.time.min(Duration::from_secs(365 * 24 * 3600));
        Judge {
            start,
            deadline: start + time,
            explain_deadline: start + time + time / 2,
            memory_bytes: budget.memory_bytes / rayon::current_num_threads().max(1),
            progress,
            stop,
            keys,
            keys_done: AtomicUsize::new(0),
            has_claims: true,
        }
    }

    fn search(&self, keys: &mut [Key<'_>]) {
        let mut steps = FIRST_ROUND_STEPS;
        while keys.iter().any(|key| matches!(key.found, Found::Nothing)) {
            keys.par_iter_mut().filter(|key| matches!(key.found, Found::Nothing)).for_each(|key| {
                let found = catch_unwind(AssertUnwindSafe(|| self.decide(key, steps)));
                let (found, steps) = found.unwrap_or_else(|panic| (Found::GaveUp(panicked(&*panic)), 0));
                key.found = found;
                key.steps += steps;
            });
            steps = steps.saturating_mul(ROUND_FACTOR);
        }
    }

    fn limits(&self, steps: u64, deadline: Instant) -> Limits<'a> {
        Limits { steps, deadline, memory_bytes: self.memory_bytes, stop: self.stop }
    }

    fn decide(&self, key: &Key<'_>, steps: u64) -> (Found, u64) {
        if let Some(why) = name_txns::undecidable(&key.operations) {
            return (Found::GaveUp(why), 0);
        }
        let (decision, steps) = decide(&at_the_end(&key.operations), &self.limits(steps, self.deadline));
        let found = match decision {
            Decision::Order(order) => match key.confirmed(order) {
                Ok(order) => Found::Order(order),
                Err(detail) => {
                    Found::GaveUp(format!("the order that was found cannot be replayed: {detail}"))
                }
            },
            Decision::NoOrder(evidence) => Found::NoOrder(evidence),
            Decision::GaveUp(Limit::Steps, ..) => Found::Nothing,
            Decision::GaveUp(limit, placed, of) => {
                let why = match limit {
                    Limit::Time | Limit::Steps => "the time",
                    Limit::Memory => "the memory",
                    Limit::Stopped => "the patience of the caller",
                };
                Found::GaveUp(format!(
                    "{why} ended after {steps} steps, with {placed} of {of} operations in order"
                ))
            }
        };
        if !matches!(found, Found::Nothing) {
            let keys_done = self.keys_done.fetch_add(1, Ordering::Relaxed) + 1;
            (self.progress)(Progress { keys_done, keys: self.keys, elapsed: self.start.elapsed() });
        }
        (found, steps)
    }

    fn conclude(&self, key: &Key<'_>) -> (KeyReport, Vec<Anomaly>) {
        let limits = self.limits(u64::MAX, self.explain_deadline);
        let mut anomalies: Vec<Anomaly> = match &key.found {
            Found::Order(_) => Vec::new(),
            Found::NoOrder(evidence) => vec![explain::explain(&key.operations, evidence, &limits)],
            Found::GaveUp(_) | Found::Nothing => {
                explain::scan(&key.operations, &limits).into_iter().collect()
            }
        };
        let named = anomalies.first().map(|anomaly| anomaly.operations[0]);
        let broken = if is_tied(&key.operations) {
            explain::broken_txns(&key.operations)
        } else if self.has_claims {
            claims::broken(&key.operations)
        } else {
            Vec::new()
        };
        anomalies.extend(broken.into_iter().filter(|anomaly| Some(anomaly.operations[0]) != named));
        let verdict = match &key.found {
            _ if !anomalies.is_empty() => Verdict::Invalid,
            Found::Order(_) => Verdict::Valid,
            Found::NoOrder(_) => Verdict::Invalid,
            Found::GaveUp(_) | Found::Nothing => Verdict::Unknown,
        };
        let certificate = match &key.found {
            Found::Order(order) => Certificate::Order(order.clone()),
            Found::NoOrder(evidence) => core_of(&key.operations, &evidence.few, &limits),
            Found::GaveUp(_) | Found::Nothing => Certificate::None,
        };
        let note = match &key.found {
            Found::GaveUp(why) => Some(why.clone()),
            Found::Order(_) | Found::NoOrder(_) | Found::Nothing => None,
        };
        (KeyReport { certificate, ..key.report(verdict, note) }, anomalies)
    }
}

impl Key<'_> {
    fn report(&self, verdict: Verdict, note: Option<String>) -> KeyReport {
        KeyReport {
            key: Arc::clone(&self.name),
            verdict,
            operations: self.operations.len(),
            steps: self.steps,
            note,
            certificate: Certificate::None,
        }
    }

    /// The ids of an order that the replayer confirms: no history is called valid on the word of a search alone.
    fn confirmed(&self, order: Vec<usize>) -> Result<Vec<OpId>, String> {
        let ids: Vec<OpId> = self.operations.iter().map(|operation| operation.id).collect();
        let mut ascending = Cow::Borrowed(&ids);
        if !ids.is_sorted() {
            ascending.to_mut().sort_unstable();
        }
        if !ascending.is_sorted_by(|one, other| one < other) {
            return Err("two operations have the same id".to_owned());
        }
        confirm(&self.operations, &order)?;
        Ok(order.into_iter().map(|at| ids[at]).collect())
    }
}

/// Concludes; a panic on the way leaves the verdict of a search that found no order, and unknown otherwise.
fn guarded(key: &Key<'_>, conclude: impl FnOnce() -> (KeyReport, Vec<Anomaly>)) -> (KeyReport, Vec<Anomaly>) {
    catch_unwind(AssertUnwindSafe(conclude)).unwrap_or_else(|panic| {
        let verdict = match &key.found {
            Found::NoOrder(_) => Verdict::Invalid,
            Found::Order(_) | Found::GaveUp(_) | Found::Nothing => Verdict::Unknown,
        };
        (key.report(verdict, Some(panicked(&*panic))), Vec::new())
    })
}

fn panicked(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text =
        text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no reason given");
    format!("the checker itself failed: {text}")
}
