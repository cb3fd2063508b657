//! Names for what is wrong with an answer, on keys without appends. Each name is given only where it is a proof: where
//! it fits, no order explains the history.

use crate::operation::{Answer, Call, Operation, Value};
use crate::report::AnomalyKind;
use crate::words::{deed, from_node, left_behind, moment, observed, quoted, shown, sight, span};

/// A kind, a sentence, and the operations that contradict the one that was asked about.
pub(crate) type Name<'a> = (AnomalyKind, String, Vec<&'a Operation>);

/// What is wrong with the answer of `culprit`, if it has a name.
pub(crate) fn name<'a>(operations: &[&'a Operation], culprit: &'a Operation) -> Option<Name<'a>> {
    if let Some(name) = contradicts_itself(culprit) {
        return Some(name);
    }
    let value = observed(culprit)?;
    let sources = Sources::of(operations, culprit, value);
    sources
        .missing(operations, value)
        .or_else(|| used_twice(operations, culprit, value))
        .or_else(|| stale(operations, culprit, value, &sources))
        .or_else(|| went_back(operations, culprit, value, &sources))
}

fn contradicts_itself(culprit: &Operation) -> Option<Name<'_>> {
    let Call::Cas { expected, .. } = &culprit.call else { return None };
    let found = match culprit.answer()? {
        Answer::CasFailed(Some(found)) => Some(found),
        Answer::CasFailedAbsent => None,
        Answer::CasFailed(None) | Answer::CasDone | Answer::Done | Answer::Value(_) | Answer::Txn(_) => {
            return None;
        }
    };
    (found == expected.as_ref()).then(|| {
        let sentence = format!(
            "wrong compare-and-set of {}: the one by {} at {}{} failed although it found {}, as expected",
            culprit.key,
            culprit.client,
            moment(culprit.invoked_ns),
            from_node(culprit),
            shown(found),
        );
        (AnomalyKind::WrongCas, sentence, Vec::new())
    })
}

/// Where the value that an answer shows can have come from.
struct Sources<'a> {
    culprit: &'a Operation,
    /// Called before the answer returned. Not the culprit itself.
    before: Vec<&'a Operation>,
    /// Called only after the answer had returned.
    after: Vec<&'a Operation>,
    /// The key was absent, as it is at first.
    is_initial: bool,
}

impl<'a> Sources<'a> {
    fn of(operations: &[&'a Operation], culprit: &'a Operation, value: Option<&Value>) -> Self {
        let returned_ns = culprit.answered_ns().unwrap_or(u64::MAX);
        let (before, after) = operations
            .iter()
            .filter(|operation| {
                !operation.is_failed() && operation.id != culprit.id && left_behind(operation) == Some(value)
            })
            .partition(|operation| operation.invoked_ns <= returned_ns);
        Sources { culprit, before, after, is_initial: value.is_none() }
    }

    /// After this moment none of them can take effect any more; `None`: one of them always can.
    fn last_ns(&self) -> Option<u64> {
        self.before.iter().map(|source| source.answered_ns()).try_fold(0, |last, ns| Some(ns?.max(last)))
    }

    /// Whether the value was there during one stretch of time only.
    fn is_single(&self) -> bool {
        self.before.len() + self.after.len() + usize::from(self.is_initial) == 1
    }

    /// The value has no source at all.
    fn missing(&self, operations: &[&'a Operation], value: Option<&Value>) -> Option<Name<'a>> {
        if self.is_initial || !self.before.is_empty() {
            return None;
        }
        let (key, sight) = (&self.culprit.key, sight(self.culprit));
        if let Some(&write) = self.after.first() {
            let returned_ns = self.culprit.answered_ns().unwrap_or_default();
            let sentence = format!(
                "read from the future of {key}: {sight}, but {} was called only at {}, {} after that had returned",
                deed(write),
                moment(write.invoked_ns),
                span(write.invoked_ns - returned_ns),
            );
            return Some((AnomalyKind::FutureRead, sentence, vec![write]));
        }
        let failed = operations
            .iter()
            .find(|operation| operation.is_failed() && left_behind(operation) == Some(value));
        if let Some(&write) = failed {
            let sentence = format!(
                "failed write visible on {key}: {sight}, but {} at {} surely failed",
                deed(write),
                moment(write.invoked_ns),
            );
            return Some((AnomalyKind::FailedWriteVisible, sentence, vec![write]));
        }
        let sentence = format!("phantom on {key}: {sight}, but nobody wrote that");
        Some((AnomalyKind::Phantom, sentence, Vec::new()))
    }
}

/// Two compare-and-sets replaced the same value, which was there once.
fn used_twice<'a>(
    operations: &[&'a Operation],
    culprit: &'a Operation,
    value: Option<&Value>,
) -> Option<Name<'a>> {
    let Some(Answer::CasDone) = culprit.answer() else { return None };
    let leaves_it = |operation: &Operation| left_behind(operation) == Some(value);
    let sources =
        operations.iter().filter(|operation| !operation.is_failed() && leaves_it(operation)).count();
    if leaves_it(culprit) || sources + usize::from(value.is_none()) != 1 {
        return None;
    }
    let &other = operations.iter().find(|other| {
        other.id != culprit.id
            && other.answer() == Some(&Answer::CasDone)
            && observed(other) == Some(value)
            && !leaves_it(other)
    })?;
    let sentence = format!(
        "lost update of {}: {} and {} both succeeded, at {} and {}, but {} was there only once",
        culprit.key,
        deed(other),
        deed(culprit),
        moment(other.invoked_ns),
        moment(culprit.invoked_ns),
        shown(value),
    );
    Some((AnomalyKind::LostUpdate, sentence, vec![other]))
}

/// Something else was acknowledged, after every source of the value and before the answer's call.
fn stale<'a>(
    operations: &[&'a Operation],
    culprit: &'a Operation,
    value: Option<&Value>,
    sources: &Sources<'a>,
) -> Option<Name<'a>> {
    let sources_last_ns = sources.last_ns()?;
    let is_behind_sources =
        |write: &Operation| write.invoked_ns > sources_last_ns || sources.before.is_empty();
    let overwrites = operations.iter().filter_map(|&write| {
        let acknowledged_ns = write.answered_ns().filter(|&ns| ns < culprit.invoked_ns)?;
        let is_other = left_behind(write).is_some_and(|left| left != value);
        (is_other && is_behind_sources(write)).then_some((acknowledged_ns, write))
    });
    let (acknowledged_ns, write) = overwrites.min_by_key(|&(ns, write)| (ns, write.id))?;
    let kind = match culprit.answer() {
        Some(Answer::CasDone) => AnomalyKind::WrongCas,
        Some(
            Answer::Value(_) | Answer::CasFailed(_) | Answer::CasFailedAbsent | Answer::Done | Answer::Txn(_),
        )
        | None => AnomalyKind::StaleRead,
    };
    let what = match left_behind(write).flatten() {
        Some(written) => format!("{} had been acknowledged to {}", quoted(written), write.client),
        None => format!("a delete had been acknowledged to {}", write.client),
    };
    let sentence = format!(
        "{} of {}: {}, {} after {what}",
        kind.words(),
        culprit.key,
        sight(culprit),
        span(culprit.invoked_ns - acknowledged_ns),
    );
    let writer = sources.before.iter().max_by_key(|source| source.answered_ns());
    Some((kind, sentence, [write].into_iter().chain(writer.copied()).collect()))
}

/// Somebody saw another value in between.
fn went_back<'a>(
    operations: &[&'a Operation],
    culprit: &'a Operation,
    value: Option<&Value>,
    sources: &Sources<'a>,
) -> Option<Name<'a>> {
    let sees = |other: &Operation, same: bool| {
        observed(other).is_some_and(|seen| (seen == value) == same) && other.id != culprit.id
    };
    // From this moment on the value had been there already, so that whoever sees another one later sees a later one.
    let been_there_ns = match sources.last_ns() {
        Some(last_ns) if sources.before.is_empty() => Some((last_ns, None)),
        Some(last_ns) => Some((last_ns, sources.before.first().copied())),
        None if sources.is_single() => operations
            .iter()
            .filter(|earlier| sees(earlier, true))
            .filter_map(|&earlier| Some((earlier.answered_ns()?, Some(earlier))))
            .min_by_key(|&(ns, earlier)| (ns, earlier.map(|operation| operation.id))),
        None => None,
    };
    let (been_there_ns, first) = been_there_ns?;
    let &newer = operations.iter().find(|other| {
        sees(other, false)
            && (other.invoked_ns > been_there_ns || first.is_none())
            && other.answered_ns().is_some_and(|ns| ns < culprit.invoked_ns)
    })?;
    let sentence =
        format!("non-monotonic read of {}: {}, and later {}", culprit.key, sight(newer), sight(culprit));
    Some((AnomalyKind::NonMonotonicRead, sentence, [newer].into_iter().chain(first).collect()))
}
