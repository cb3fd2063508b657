//! What a verdict is backed by, so that nobody need trust the judge: an order, or a few operations that have none.

use crate::decide::trace_of;
use crate::history::History;
use crate::linear::{Entry, Limits, smallest_core};
use crate::model::KeyModel;
use crate::operation::{Answer, Call, OpId, Operation};

/// What a verdict on a key is backed by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Certificate {
    /// An order that explains all answers: it has every operation that was answered, and of those that were not the ones
    /// that took effect. [`crate::linear::replay`] confirms it.
    Order(Vec<OpId>),
    /// Few operations that no order explains, so that none explains all. They prove it as they stand there, except that those in
    /// the second list count as open for ever, whatever was recorded of their returns. [`crate::linear::all_orders`] confirms it.
    Core(Vec<OpId>, Vec<OpId>),
    /// Nothing, or nothing short.
    #[default]
    None,
}

impl Certificate {
    /// The operations of the core as the proof sees them, each with its id; `None` where there is none.
    #[must_use]
    pub fn core(&self, history: &History) -> Option<Vec<(OpId, KeyEntry)>> {
        let Certificate::Core(answered, open) = self else { return None };
        let entry = |id: OpId, is_open: bool| {
            let operation = history.operation(id)?;
            let returned = operation.answered_ns().zip(operation.answer().cloned()).filter(|_| !is_open);
            Some((id, Entry { op: operation.call.clone(), called: operation.invoked_ns, returned }))
        };
        let answered = answered.iter().map(|&id| entry(id, false));
        answered.chain(open.iter().map(|&id| entry(id, true))).collect()
    }
}

/// An operation on a key with its times, for the search.
pub type KeyEntry = Entry<Call, Answer>;

/// Keys of more operations are not searched for a core, unless a few are known already that show it.
const OPERATIONS_MAX: usize = 3_000;

/// The same where there are appends: nearly every order of them leaves another value behind.
const APPENDS_MAX: usize = 32;

/// Steps that all searches for one core may take together, some 50 ms. (Steps, not time: the same history gets the same core.)
const STEPS_MAX: u64 = 500_000;

/// Few operations that no order explains, out of those that no order explains; `evidence` are those of them that show it, if
/// any are known.
pub(crate) fn core_of(operations: &[&Operation], evidence: &[usize], limits: &Limits<'_>) -> Certificate {
    let is_append = |operation: &&Operation| matches!(operation.call, Call::Append(_));
    // Where each value stands for itself all the operations on one can be left out of an order of all, and what is left is an
    // order of the rest. (Not so where compare-and-sets link values: one without what it expected proves nothing.)
    let is_cas = |operation: &&Operation| matches!(operation.call, Call::Cas { .. });
    if !evidence.is_empty() && !operations.iter().any(is_append) && !operations.iter().any(is_cas) {
        let mut few: Vec<usize> = evidence.to_vec();
        few.sort_unstable();
        few.dedup();
        let few: Vec<&Operation> = few.into_iter().map(|at| operations[at]).collect();
        let core = shrink(&few, limits);
        if core != Certificate::None {
            return core;
        }
    }
    let most = if operations.iter().any(is_append) { APPENDS_MAX } else { OPERATIONS_MAX };
    if operations.len() > most { Certificate::None } else { shrink(operations, limits) }
}

fn shrink(few: &[&Operation], limits: &Limits<'_>) -> Certificate {
    let (trace, places) = trace_of(few);
    let limits = Limits { steps: limits.steps.min(STEPS_MAX), ..*limits };
    let Some(core) = smallest_core(&KeyModel::default(), &trace, &limits) else { return Certificate::None };
    let ids = |entries: Vec<usize>| entries.into_iter().map(|entry| few[places[entry]].id).collect();
    Certificate::Core(ids(core.answered), ids(core.open))
}
