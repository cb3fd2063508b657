//! What a verdict is backed by, so that nobody need trust the judge: an order, or a few operations that have none.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Instant;

use crate::decide::{Decision, decide, is_tied, trace_of};
use crate::history::History;
use crate::linear::{self, Core, Entry, Limits, Model, smallest_core};
use crate::model::KeyModel;
use crate::operation::{Answer, Call, OpId, Operation, Value};
use crate::problem::at_the_end;
use crate::reduce::{Groups, Words, behind, fewest, only_words};
use crate::txn_core::{base_entry, core_of_txns, entry_of};

/// What a verdict on a key is backed by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Certificate {
    /// An order that explains all answers: it has every operation that was answered, and of those that were not the ones
    /// that took effect. [`crate::linear::replay`] confirms it.
    Order(Vec<OpId>),
    /// Few operations that no order explains, so that none explains all. They prove it as they stand there, except that those in
    /// the second list count as open for ever, whatever was recorded of their returns. [`crate::linear::all_orders`] confirms it.
    Core(Vec<OpId>, Vec<OpId>),
    /// The same of a key of reads and appends, as if nothing but these words had ever been appended: of appends of other words
    /// nothing is left, and answers are without them.
    CoreOfWords(Vec<OpId>, Vec<OpId>, Vec<Value>),
    /// The same of transactions on a tag, as if the first one had given all its keys the values that it left there, and nothing had been before.
    /// Compares of versions are left out: see `txn_core`.
    CoreBehind(OpId, Vec<OpId>, Vec<OpId>),
    /// Nothing, or nothing short.
    #[default]
    None,
}

impl Certificate {
    /// The operations of a core: those that were answered, and those that count as open for ever.
    #[must_use]
    pub fn few(&self) -> Option<(&[OpId], &[OpId])> {
        match self {
            Certificate::Core(answered, open)
            | Certificate::CoreOfWords(answered, open, _)
            | Certificate::CoreBehind(_, answered, open) => Some((answered, open)),
            Certificate::Order(_) | Certificate::None => None,
        }
    }

    /// Of a core of words these; else none.
    #[must_use]
    pub fn words(&self) -> &[Value] {
        match self {
            Certificate::CoreOfWords(_, _, words) => words,
            Certificate::Order(_)
            | Certificate::Core(..)
            | Certificate::CoreBehind(..)
            | Certificate::None => &[],
        }
    }

    /// Of a core behind a transaction that one: as if it had given all keys what it left there.
    #[must_use]
    pub fn base(&self) -> Option<OpId> {
        match self {
            Certificate::CoreBehind(base, ..) => Some(*base),
            Certificate::Order(_)
            | Certificate::Core(..)
            | Certificate::CoreOfWords(..)
            | Certificate::None => None,
        }
    }

    /// The operations of the core as the proof sees them, each with its id; `None` where there is none.
    #[must_use]
    pub fn core(&self, history: &History) -> Option<Vec<(OpId, KeyEntry)>> {
        let (answered, open) = self.few()?;
        let entry = |id: OpId, is_open: bool| {
            let mut operation = Cow::Borrowed(history.operation(id)?);
            if matches!(operation.call, Call::Txn(_)) {
                let is_base = self.base() == Some(id);
                let entry = if is_base { base_entry(&operation) } else { entry_of(&operation) }?;
                return Some((id, if is_open { Entry { returned: None, ..entry } } else { entry }));
            }
            if let Certificate::CoreOfWords(_, _, words) = self {
                operation = Cow::Owned(only_words(&operation, words)?);
            }
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

/// The same where there are appends, as nearly every order of them leaves another value behind; where they are of single words
/// those that matter are found first.
const APPENDS_MAX: usize = 32;

/// Up to so many operations all orders can be tried, and a person can read them.
const FEW: usize = 10;

/// From so many operations on it is worth leaving out whole values before the search for a core begins.
const GROUPED_MIN: usize = 64;

/// Keys of more operations are not judged again and again without some of their values or words: it would take seconds.
const REDUCED_MAX: usize = 10_000;

/// Steps that all searches for one core may take together, some 50 ms. (Steps, not time: the same history gets the same core.)
const STEPS_MAX: u64 = 500_000;

/// Few operations that no order explains, out of those that no order explains; `evidence` are those of them that show it, if
/// any are known.
pub(crate) fn core_of(operations: &[&Operation], evidence: &[usize], limits: &Limits<'_>) -> Certificate {
    let limits = Limits { steps: limits.steps.min(STEPS_MAX), ..*limits };
    if is_tied(operations) {
        return core_of_txns(operations, &limits);
    }
    if operations.iter().any(|operation| matches!(operation.call, Call::Append(_))) {
        return core_of_appends(operations, &limits);
    }
    // Where each value stands for itself all the operations on one can be left out of an order of all, and what is left is an
    // order of the rest. (Not so where compare-and-sets link values: one without what it expected proves nothing.)
    let is_cas = |operation: &&Operation| matches!(operation.call, Call::Cas { .. });
    if !evidence.is_empty() && !operations.iter().any(is_cas) {
        let mut few: Vec<usize> = evidence.to_vec();
        few.sort_unstable();
        few.dedup();
        let few: Vec<&Operation> = few.into_iter().map(|at| operations[at]).collect();
        let core = shrink(&few, &limits);
        if core != Certificate::None {
            return core;
        }
    }
    let few = few_values(operations, &limits);
    if few.len() > OPERATIONS_MAX { Certificate::None } else { shrink(&few, &limits) }
}

/// Without the values that it fails without.
fn few_values<'a>(operations: &[&'a Operation], limits: &Limits<'_>) -> Vec<&'a Operation> {
    let counted = || operations.iter().copied().filter(|operation| !operation.is_failed());
    let groups = (GROUPED_MIN..=REDUCED_MAX)
        .contains(&operations.len())
        .then(|| Groups::of(counted().map(|operation| (&operation.call, operation.answer()))))
        .flatten();
    let Some(groups) = groups else { return operations.to_vec() };
    let all: Vec<&Operation> = counted().collect();
    let of = |kept: &BTreeSet<usize>| -> Vec<&'a Operation> {
        groups.kept(kept).into_iter().map(|at| all[at]).collect()
    };
    of(&fewest(groups.count, |kept| fails(&of(kept), limits)))
}

/// Of appends of single words: as if only those words had been appended that it takes.
fn core_of_appends(operations: &[&Operation], limits: &Limits<'_>) -> Certificate {
    let whole = if operations.len() > APPENDS_MAX { Certificate::None } else { shrink(operations, limits) };
    if whole.few().is_some_and(|(answered, open)| answered.len() + open.len() <= FEW) {
        return whole;
    }
    let words = if operations.len() > REDUCED_MAX { None } else { Words::of(operations) };
    let Some(words) = words else { return whole };
    let kept = fewest(words.count(), |kept| {
        let left = words.only(kept);
        fails(&left.iter().collect::<Vec<_>>(), limits)
    });
    let left = words.only(&kept);
    let left: Vec<&Operation> = left.iter().collect();
    if kept.len() > FEW || left.len() > OPERATIONS_MAX {
        return whole;
    }
    match shrink(&left, limits) {
        Certificate::Core(answered, open) => Certificate::CoreOfWords(answered, open, words.texts(&kept)),
        Certificate::Order(_)
        | Certificate::CoreOfWords(..)
        | Certificate::CoreBehind(..)
        | Certificate::None => whole,
    }
}

fn fails(operations: &[&Operation], limits: &Limits<'_>) -> bool {
    Instant::now() < limits.deadline
        && matches!(decide(&at_the_end(operations), limits).0, Decision::NoOrder(_))
}

fn shrink(few: &[&Operation], limits: &Limits<'_>) -> Certificate {
    let (trace, places) = trace_of(few);
    let behind = if trace.len() < GROUPED_MIN { None } else { behind_the_last(&trace, limits) };
    let core = behind.or_else(|| smallest_core(&KeyModel::default(), &trace, limits));
    let Some(mut core) = core else { return Certificate::None };
    while let Some(smaller) = without_values(&core, &trace, limits) {
        core = smaller;
    }
    let ids = |entries: Vec<usize>| entries.into_iter().map(|entry| few[places[entry]].id).collect();
    Certificate::Core(ids(core.answered), ids(core.open))
}

/// The core of what is left behind the last write or delete that it fails behind; `None`: it fails behind none.
fn behind_the_last(trace: &[KeyEntry], limits: &Limits<'_>) -> Option<Core> {
    let is_blind = |at: &usize| KeyModel::is_blind(&trace[*at].op) && trace[*at].returned.is_some();
    let mut writes: Vec<usize> = (0..trace.len()).filter(is_blind).collect();
    writes.sort_by_key(|&at| trace[at].called);
    let initial = KeyModel::default();
    let entry = |&(at, is_open): &(usize, bool)| {
        let entry = trace[at].clone();
        if is_open { Entry { returned: None, ..entry } } else { entry }
    };
    let entries = |left: &[(usize, bool)]| -> Vec<KeyEntry> { left.iter().map(entry).collect() };
    // Behind a later one there is less to contradict each other: halving finds about the last.
    let (mut low, mut high) = (0, writes.len());
    let mut best = None;
    while low < high {
        let middle = usize::midpoint(low, high);
        let left = behind::<KeyModel>(trace, writes[middle]);
        if matches!(linear::decide(&initial, &entries(&left), limits).0, linear::Decision::NoOrder(_)) {
            best = Some(left);
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    let left = best?;
    let core = smallest_core(&initial, &entries(&left), limits)?;
    let places = |few: Vec<usize>| few.into_iter().map(|at| left[at].0).collect();
    Some(Core { answered: places(core.answered), open: places(core.open) })
}

/// The core without whole values, and then as small as it can be; `None`: none can be spared.
fn without_values(core: &Core, trace: &[KeyEntry], limits: &Limits<'_>) -> Option<Core> {
    let entries = core.trace::<KeyModel>(trace);
    let seen = entries.iter().map(|entry| (&entry.op, entry.returned.as_ref().map(|(_, answer)| answer)));
    let groups = Groups::of(seen).filter(|groups| groups.count > 1)?;
    let of = |kept: &BTreeSet<usize>| -> Vec<KeyEntry> {
        groups.kept(kept).into_iter().map(|at| entries[at].clone()).collect()
    };
    let initial = KeyModel::default();
    let has_none = |trace: &[KeyEntry]| {
        matches!(linear::decide(&initial, trace, limits).0, linear::Decision::NoOrder(_))
    };
    let kept = fewest(groups.count, |kept| has_none(&of(kept)));
    if kept.len() == groups.count {
        return None;
    }
    let smaller = smallest_core(&initial, &of(&kept), limits)?;
    let back = groups.kept(&kept);
    let whole: Vec<usize> = core.answered.iter().chain(&core.open).copied().collect();
    let places = |entries: Vec<usize>| entries.into_iter().map(|entry| whole[back[entry]]).collect();
    Some(Core { answered: places(smaller.answered), open: places(smaller.open) })
}
