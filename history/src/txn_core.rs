//! Few transactions on a tag that no order explains, out of those that no order explains.
//!
//! Beside the steps of the search's own cores (`linear::core`) there is one for the whole: **as if nothing had been before** an answered
//! transaction that told of all keys how it left them. It counts as one that gave them these values, whatever was there; what had returned
//! before it was called is left out, and what ran beside it is open. In an order of all, take it and what stands behind it:
//! the keys are as it left them, and those that ran beside it and stand before it are free to do nothing. Compares of versions are left
//! out at first: see [`without_versions`].

use std::collections::BTreeSet;

use crate::certificate::{Certificate, KeyEntry};
use crate::linear::{self, Core, Entry, Limits, smallest_core};
use crate::operation::{Answer, Call, OpId, Operation, Value};
use crate::reduce::behind;
use crate::txn_model::{TxnModel, after, as_left, without_versions};

/// Of more operations no core is searched for, unless it is behind one of them.
const OPERATIONS_MAX: usize = 300;

/// Finds them.
pub(crate) fn core_of_txns(operations: &[&Operation], limits: &Limits<'_>) -> Certificate {
    let counted: Vec<&Operation> =
        operations.iter().copied().filter(|operation| !operation.is_failed()).collect();
    let entries: Option<Vec<KeyEntry>> = counted.iter().map(|operation| entry_of(operation)).collect();
    let Some(trace) = entries else { return Certificate::None };
    if let Some(certificate) = behind_the_last(&counted, &trace, limits) {
        return certificate;
    }
    if trace.len() > OPERATIONS_MAX {
        return Certificate::None;
    }
    let ids = |places: Vec<usize>| places.into_iter().map(|at| counted[at].id).collect();
    smallest_core(&TxnModel::default(), &trace, limits)
        .map_or(Certificate::None, |core| Certificate::Core(ids(core.answered), ids(core.open)))
}

/// An operation as the proof sees it; `None`: what it did without an answer nobody can tell.
pub(crate) fn entry_of(operation: &Operation) -> Option<KeyEntry> {
    let (op, answer) = without_versions(&operation.call, operation.answer())?;
    Some(Entry { op, called: operation.invoked_ns, returned: operation.answered_ns().zip(answer) })
}

/// The one before which nothing had been: as if it had given all keys what it left there.
pub(crate) fn base_entry(operation: &Operation) -> Option<KeyEntry> {
    let (Call::Txn(txn), Some(Answer::Txn(ret))) = (&operation.call, operation.answer()) else { return None };
    let (op, answer) = as_left(&after(txn, ret));
    Some(Entry { op, called: operation.invoked_ns, returned: Some((operation.answered_ns()?, answer)) })
}

/// The core of what is left behind the last transaction that it fails behind; `None`: it fails behind none.
fn behind_the_last(
    operations: &[&Operation],
    trace: &[KeyEntry],
    limits: &Limits<'_>,
) -> Option<Certificate> {
    let keys: BTreeSet<&Value> = trace.iter().flat_map(|entry| keys_of(&entry.op)).collect();
    let tells_all = |at: &usize| match (&operations[*at].call, operations[*at].answer()) {
        (Call::Txn(txn), Some(Answer::Txn(ret))) => {
            let left = after(txn, ret);
            keys.iter().all(|&key| left.contains_key(key))
        }
        (_, _) => false,
    };
    let mut bases: Vec<usize> = (0..trace.len()).filter(tells_all).collect();
    bases.sort_by_key(|&at| trace[at].called);
    let left_behind = |base: usize| -> Option<(Vec<usize>, Vec<KeyEntry>)> {
        let entry = |(at, is_open): (usize, bool)| {
            let entry = if at == base { base_entry(operations[at])? } else { trace[at].clone() };
            Some((at, if is_open { Entry { returned: None, ..entry } } else { entry }))
        };
        behind::<TxnModel>(trace, base).into_iter().map(entry).collect::<Option<Vec<_>>>().map(unzip)
    };
    let has_none = |entries: &[KeyEntry]| {
        matches!(linear::decide(&TxnModel::default(), entries, limits).0, linear::Decision::NoOrder(_))
    };
    // Behind a later one there is less to contradict each other: halving finds about the last.
    let (mut low, mut high) = (0, bases.len());
    let mut best = None;
    while low < high {
        let middle = usize::midpoint(low, high);
        let left = left_behind(bases[middle])?;
        if has_none(&left.1) {
            best = Some((bases[middle], left));
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    let (base, (places, entries)) = best?;
    let Core { mut answered, mut open } = smallest_core(&TxnModel::default(), &entries, limits)?;
    // Whoever reads it wants to know what was there. It may stand there with its return: forgetting that was such a step.
    let at = places.iter().position(|&place| place == base)?;
    answered.retain(|&place| place != at);
    open.retain(|&place| place != at);
    answered.insert(0, at);
    let ids =
        |few: Vec<usize>| -> Vec<OpId> { few.into_iter().map(|at| operations[places[at]].id).collect() };
    Some(Certificate::CoreBehind(operations[base].id, ids(answered), ids(open)))
}

fn unzip(entries: Vec<(usize, KeyEntry)>) -> (Vec<usize>, Vec<KeyEntry>) {
    entries.into_iter().unzip()
}

fn keys_of(call: &Call) -> Vec<&Value> {
    match call {
        Call::Txn(txn) => txn.keys().collect(),
        Call::Read | Call::Write(_) | Call::Append(_) | Call::Cas { .. } | Call::Delete => Vec::new(),
    }
}
