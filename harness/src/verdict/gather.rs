//! Judgements of parts of one history, put together to that of the whole: the same words, whether it was judged at once or in
//! parts, each of which has all operations of its keys. Held is little: what the sentences are about.

use ordeal_history::{Certificate, History, Operation, Promises, Report, Tally};

use super::availability::Asks;
use super::failing::{Failing, Why, failing, failing_as};
use super::judge::anomalies;
use crate::store::{AnomalyRecord, FaultSpan};

/// What is known of the parts so far.
#[derive(Default)]
pub struct Gathered {
    reports: Vec<Report>,
    /// The operations that broken promises name.
    named: Vec<Operation>,
    /// The parts' own stories of their first keys that cannot be explained.
    failing: Vec<Failing>,
    tally: Tally,
    /// What availability is measured by, where it is: of a run with so many shards.
    asks: Asks,
    shards: Option<u32>,
}

/// The judgement of the whole.
pub struct Whole {
    /// The judge's report, without the orders of valid keys.
    pub report: Report,
    /// The broken promises, most telling first.
    pub anomalies: Vec<AnomalyRecord>,
    /// The same with their cores.
    pub failing: Vec<Failing>,
    /// What clients could rely on.
    pub promises: Promises,
    /// What availability is measured by; empty where it is not.
    pub asks: Asks,
}

impl Gathered {
    /// Of a run with so many shards: what its availability is measured by is gathered, too.
    #[must_use]
    pub fn of_run(shards: Option<u32>) -> Gathered {
        Gathered { shards, ..Gathered::default() }
    }

    /// With a part, which has not been taken in yet.
    pub fn add(&mut self, history: &History, mut report: Report, spans: &[FaultSpan]) {
        self.tally.add(history, &report);
        if let Some(shards) = self.shards {
            self.asks.add(history, shards);
        }
        let named = report.anomalies.iter().flat_map(|anomaly| &anomaly.operations);
        self.named.extend(named.filter_map(|&op| history.operation(op)).cloned());
        // The keys whose story is told of the whole are among those that it is told of here.
        let told = failing(&anomalies(&report, history, spans), &report, history);
        self.failing.extend(told.into_iter().filter(|failing| !failing.core.is_empty()));
        for key in &mut report.keys {
            if let Certificate::Order(_) = key.certificate {
                key.certificate = Certificate::None;
            }
        }
        self.reports.push(report);
    }

    /// Takes other parts over.
    pub fn join(&mut self, other: Gathered) {
        self.reports.extend(other.reports);
        self.named.extend(other.named);
        self.failing.extend(other.failing);
        self.tally.join(other.tally);
        self.asks.join(other.asks);
    }

    /// How many keys are undecided.
    #[must_use]
    pub fn undecided(&self) -> usize {
        let keys = self.reports.iter().flat_map(|report| &report.keys);
        keys.filter(|key| key.verdict == ordeal_history::Verdict::Unknown).count()
    }

    /// The judgement of all parts together.
    #[must_use]
    pub fn finish(mut self, spans: &[FaultSpan]) -> Whole {
        let report = Report::of_parts(self.reports);
        self.named.sort_by_key(|operation| operation.id);
        self.named.dedup_by_key(|operation| operation.id);
        let named = History { operations: self.named };
        let anomalies = anomalies(&report, &named, spans);
        let why = |key: &str| {
            let told = self.failing.iter().find(|failing| failing.key == key)?;
            Some(Why { core: told.core.clone(), open: told.open.clone(), impasse: told.impasse.clone() })
        };
        let failing = failing_as(&anomalies, why);
        let promises = self.tally.finish(&named, &report);
        Whole { report, anomalies, failing, promises, asks: self.asks }
    }
}
