//! The parts of a history that cannot be explained: a sentence, the few operations that show it, and why no order goes on.

use ordeal_history::{History, Impasse, Report, impasse};
use serde::Serialize;

use crate::store::AnomalyRecord;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failing {
    /// What kind of promise is broken, in words.
    pub kind: String,
    /// The key.
    pub key: String,
    /// What happened, and which faults were in force.
    pub sentence: String,
    /// The operations that the sentence is about, first the one that shows it.
    pub operations: Vec<u64>,
    /// A few operations of the key that no order explains; empty where none are known.
    pub core: Vec<u64>,
    /// Those of them that count as open for ever.
    pub open: Vec<u64>,
    /// Why no order of them goes on.
    pub impasse: Option<Impasse>,
}

/// Keys whose core is told: the first ones tell the story.
const CORES_MAX: usize = 20;

/// One for each broken promise, in their order. The core of a key goes with the first of them that is about one of it.
#[must_use]
pub fn failing(broken: &[AnomalyRecord], report: &Report, history: &History) -> Vec<Failing> {
    failing_as(broken, |key| {
        let certificate = &report.keys.iter().find(|report| *report.key == *key)?.certificate;
        let (answered, open) = certificate.few()?;
        let mut core: Vec<u64> = answered.iter().chain(open).map(|op| op.0).collect();
        core.sort_unstable();
        let open = open.iter().map(|op| op.0).collect();
        Some(Why { core, open, impasse: impasse(history, certificate) })
    })
}

/// Why a key cannot be explained.
pub(super) struct Why {
    pub(super) core: Vec<u64>,
    pub(super) open: Vec<u64>,
    pub(super) impasse: Option<Impasse>,
}

/// As [`failing`], where this says why a key cannot be explained.
pub(super) fn failing_as(broken: &[AnomalyRecord], why: impl Fn(&str) -> Option<Why>) -> Vec<Failing> {
    let mut all: Vec<Failing> = broken.iter().map(Failing::of).collect();
    let mut told: Vec<&str> = Vec::new();
    for (first, record) in broken.iter().enumerate() {
        let is_new = !told.contains(&record.key.as_str()) && told.len() < CORES_MAX;
        let Some(Why { core, open, impasse }) = is_new.then(|| why(&record.key)).flatten() else { continue };
        told.push(&record.key);
        // The sentence and the core are of the same answer, where there is a sentence about one of the core.
        let is_of_core = |other: &AnomalyRecord| {
            other.key == record.key && other.operations.first().is_some_and(|op| core.contains(op))
        };
        let at = broken.iter().position(is_of_core).unwrap_or(first);
        (all[at].core, all[at].open, all[at].impasse) = (core, open, impasse);
    }
    all
}

impl Failing {
    fn of(record: &AnomalyRecord) -> Failing {
        Failing {
            kind: record.kind.clone(),
            key: record.key.clone(),
            sentence: record.sentence.clone(),
            operations: record.operations.clone(),
            core: Vec::new(),
            open: Vec::new(),
            impasse: None,
        }
    }

    /// Every operation that belongs to it, by ascending number.
    #[must_use]
    pub fn all(&self) -> Vec<u64> {
        let mut all: Vec<u64> = self.operations.iter().chain(&self.core).copied().collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Why no order goes on, a line each.
    #[must_use]
    pub fn reasons(&self, history: &History) -> Vec<String> {
        let Some(impasse) = &self.impasse else { return Vec::new() };
        let mut lines = Vec::new();
        if let Some((returned, culprit)) = impasse.prefix {
            let of_key = history.operations.iter().filter(|operation| *operation.key == *self.key);
            let answered = of_key.filter(|operation| operation.answer().is_some()).count();
            lines.push(format!(
                "of {answered} answers on {} the first {returned} have an order, with {culprit} there is none",
                self.key
            ));
        }
        if !impasse.words.is_empty() {
            let words: Vec<String> = impasse.words.iter().map(|word| format!("{word:?}")).collect();
            lines.push(format!(
                "the few fail already as if nothing but {} had ever been appended: answers are told without the rest",
                words.join(", ")
            ));
        }
        if let Some(base) = impasse.base {
            lines.push(format!(
                "the few fail already as if {base} had put what it left there and nothing had been before it: compares of versions are left out"
            ));
        }
        let order: Vec<String> = impasse.order.iter().map(ToString::to_string).collect();
        lines.push(match order.is_empty() {
            true => format!("of the few none can come first: {} is there", impasse.value),
            false => format!(
                "of the few {} can come in this order, then {} is there",
                order.join(", "),
                impasse.value
            ),
        });
        let blocked = impasse.blocked.iter();
        lines.extend(
            blocked.map(|blocked| format!("{} cannot come next: it {}", blocked.operation, blocked.why)),
        );
        lines
    }
}
