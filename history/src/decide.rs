//! How one key is decided: without a search where its operations are of a kind that needs none, by the search otherwise.

use std::sync::atomic::Ordering;

use crate::fast::{self, Fast};
use crate::linear::{self, Limit, Limits};
use crate::model::KeyModel;
use crate::operation::{Answer, Call, Operation};
use crate::problem::{View, entries};
use crate::txn_model::TxnModel;

/// What came of it, in places of the operations of the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// An order that explains all answers.
    Order(Vec<usize>),
    /// There is none.
    NoOrder(Evidence),
    /// A limit was reached; so many of so many operations that must take effect had done so at best.
    GaveUp(Limit, usize, usize),
}

/// What is known of why there is no order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Evidence {
    /// Operations that show it, if any are named: the first is the one to blame.
    pub(crate) few: Vec<usize>,
    /// The one whose return the search found no order for.
    pub(crate) stuck_at: Option<usize>,
}

/// Decides; also gives the number of steps.
pub(crate) fn decide(views: &[View<'_>], limits: &Limits<'_>) -> (Decision, u64) {
    if limits.stop.load(Ordering::Relaxed) {
        return (Decision::GaveUp(Limit::Stopped, 0, views.len()), 0);
    }
    let places = |places: Vec<u32>| places.into_iter().map(|view| views[view as usize].at).collect();
    match fast::decide(views, limits.memory_bytes) {
        Some(Fast::Order(order)) => (Decision::Order(places(order)), views.len() as u64),
        Some(Fast::NoOrder(evidence)) => {
            (Decision::NoOrder(Evidence { few: places(evidence), stuck_at: None }), views.len() as u64)
        }
        None => search(views, limits),
    }
}

/// Whether a key is a tag whose keys transactions tie.
pub(crate) fn is_tied(operations: &[&Operation]) -> bool {
    operations.iter().any(|operation| matches!(operation.call, Call::Txn(_)))
}

fn search(views: &[View<'_>], limits: &Limits<'_>) -> (Decision, u64) {
    let (entries, places) = entries(views);
    let is_tied = views.iter().any(|view| matches!(view.operation.call, Call::Txn(_)));
    let (decision, steps) = match is_tied {
        true => linear::decide(&TxnModel::default(), &entries, limits),
        false => linear::decide(&KeyModel::default(), &entries, limits),
    };
    let decision = match decision {
        linear::Decision::Order(order) => {
            Decision::Order(order.into_iter().map(|entry| places[entry]).collect())
        }
        linear::Decision::NoOrder(stuck) => {
            let stuck_at = stuck.culprit.map(|entry| places[entry]);
            Decision::NoOrder(Evidence { few: Vec::new(), stuck_at })
        }
        linear::Decision::GaveUp(limit, stuck) => {
            let due = entries.iter().filter(|entry| entry.returned.is_some()).count();
            Decision::GaveUp(limit, stuck.returns, due)
        }
    };
    (decision, steps)
}

/// Operations as a trace for the search: as they were recorded, without those that failed, each with its
/// place.
pub(crate) fn trace_of(operations: &[&Operation]) -> (Vec<linear::Entry<Call, Answer>>, Vec<usize>) {
    let counted = operations.iter().enumerate().filter(|(_, operation)| !operation.is_failed());
    let entries = counted.map(|(at, operation)| {
        let returned = operation.answered_ns().zip(operation.answer().cloned());
        (linear::Entry { op: operation.call.clone(), called: operation.invoked_ns, returned }, at)
    });
    entries.unzip()
}
