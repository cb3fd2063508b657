//! Why a key cannot be explained: the first answer that no order gives, and what is wrong with it in words.

use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::decide::{Decision, Evidence, decide, is_tied};
use crate::linear::Limits;
use crate::operation::{Call, Operation};
use crate::problem::at_return;
use crate::report::{Anomaly, AnomalyKind, lateness};
use crate::words::{left_behind, observed, sight};
use crate::{name_appends, name_txns, name_values};

/// On keys of more operations those are blamed that are known to contradict each other, if any are: to look for the first return
/// that no order explains, and for names in all answers, takes too long.
const SEARCHED_MAX: usize = 10_000;

/// Explains a key for which there is no order.
pub(crate) fn explain(operations: &[&Operation], evidence: &Evidence, limits: &Limits<'_>) -> Anomaly {
    if operations.len() > SEARCHED_MAX && !evidence.few.is_empty() {
        let blamed = || evidence.few.iter().map(|&at| operations[at]);
        let named = blamed().find_map(|operation| name(operations, operation));
        return named.unwrap_or_else(|| nameless(operations, blamed().next()));
    }
    let culprit = first_unexplained(operations, evidence.stuck_at, limits);
    culprit
        .and_then(|culprit| name(operations, culprit))
        .or_else(|| scan(operations, limits))
        .unwrap_or_else(|| nameless(operations, culprit))
}

/// Looks for an answer that is wrong by its name alone, without a search; the one that returned first. Naming takes a
/// look at all operations, so that on a long key this too may end before all were asked about.
pub(crate) fn scan(operations: &[&Operation], limits: &Limits<'_>) -> Option<Anomaly> {
    let in_time = || Instant::now() < limits.deadline && !limits.stop.load(Ordering::Relaxed);
    let answered = in_order_of_return(operations).into_iter().take_while(|_| in_time());
    answered.into_iter().find_map(|operation| name(operations, operation))
}

fn in_order_of_return<'a>(operations: &[&'a Operation]) -> Vec<&'a Operation> {
    let mut answered: Vec<&Operation> =
        operations.iter().copied().filter(|operation| operation.answer().is_some()).collect();
    answered.sort_by_key(|operation| (operation.answered_ns(), operation.id));
    answered
}

/// The operation with whose return the history became inexplicable: no order explains what had returned until then, one
/// explains what had returned before. `None` when the search gave up on the way.
pub(crate) fn first_unexplained<'a>(
    operations: &[&'a Operation],
    stuck_at: Option<usize>,
    limits: &Limits<'_>,
) -> Option<&'a Operation> {
    let answered = in_order_of_return(operations);
    // A prefix of a history that can be explained can be explained, so halving finds the border: the first `good` returns
    // have an order, the first `bad` have none.
    let (mut good, mut bad) = (0, answered.len());
    // Mostly it is where the search was stuck.
    let guess = stuck_at.and_then(|at| answered.iter().position(|other| other.id == operations[at].id));
    let mut guesses = guess.into_iter().flat_map(|at| [at + 1, at]);
    while bad > good + 1 {
        let guess = guesses.find(|&guess| good < guess && guess < bad);
        let middle = guess.unwrap_or(usize::midpoint(good, bad));
        let last = answered[middle - 1];
        let views = at_return(operations, last.answered_ns()?, last.id);
        match decide(&views, limits).0 {
            Decision::Order(_) => good = middle,
            Decision::NoOrder(_) => bad = middle,
            Decision::GaveUp(..) => return None,
        }
    }
    answered.get(bad.checked_sub(1)?).copied()
}

fn name(operations: &[&Operation], culprit: &Operation) -> Option<Anomaly> {
    if is_tied(operations) {
        let (kind, sentence, others) = name_txns::name(operations, culprit)?;
        return Some(anomaly(kind, sentence, culprit, &others));
    }
    let has_appends = operations.iter().any(|operation| matches!(operation.call, Call::Append(_)));
    let (kind, sentence, others) = if has_appends {
        name_appends::name(operations, culprit)?
    } else {
        name_values::name(operations, culprit)?
    };
    Some(anomaly(kind, sentence, culprit, &others))
}

/// So many are told of one key. One lost write often breaks many: the first few tell the story.
const BROKEN_MAX: usize = 5;

/// Transactions whose answers are wrong by their names, whether or not an order was found: versions that cannot all be true are
/// no matter of orders.
pub(crate) fn broken_txns(operations: &[&Operation]) -> Vec<Anomaly> {
    let broken = name_txns::broken(operations).into_iter().take(BROKEN_MAX);
    broken.map(|(culprit, (kind, sentence, others))| anomaly(kind, sentence, culprit, &others)).collect()
}

fn anomaly(kind: AnomalyKind, sentence: String, culprit: &Operation, others: &[&Operation]) -> Anomaly {
    Anomaly {
        key: culprit.key.clone(),
        kind,
        sentence,
        operations: std::iter::once(culprit.id).chain(others.iter().map(|other| other.id)).collect(),
        at_ns: culprit.answered_ns().unwrap_or(culprit.invoked_ns),
        late_ns: lateness(kind, culprit, others.first().copied()),
    }
}

/// How many operations stand beside one whose fault has no name: enough for a picture, few enough to read.
const CONTEXT_MAX: usize = 5;

/// No name fits: the culprit, who made what it saw, and what was acknowledged just before it.
fn nameless(operations: &[&Operation], culprit: Option<&Operation>) -> Anomaly {
    let last = in_order_of_return(operations)
        .pop()
        .expect("a key without answers is explained by no effects at all");
    let count = operations.len();
    let Some(culprit) = culprit else {
        let sentence =
            format!("no order of the {count} operations on {} explains all their answers", last.key);
        return anomaly(AnomalyKind::NotLinearizable, sentence, last, &[]);
    };
    let seen = observed(culprit);
    let mut others: Vec<&Operation> = operations
        .iter()
        .copied()
        .filter(|operation| operation.id != culprit.id && seen.is_some() && left_behind(operation) == seen)
        .take(CONTEXT_MAX - 1)
        .collect();
    let is_write = |operation: &Operation| !matches!(operation.call, Call::Read) && !operation.is_failed();
    let acknowledged = operations
        .iter()
        .copied()
        .filter(|operation| is_write(operation) && operation.id != culprit.id)
        .filter(|operation| operation.answered_ns().is_some_and(|ns| ns < culprit.invoked_ns))
        .max_by_key(|operation| operation.answered_ns());
    let is_new = |operation: &&Operation| others.iter().all(|other| other.id != operation.id);
    others.extend(acknowledged.filter(is_new));
    let sentence =
        format!("no order of the {count} operations on {} explains that {}", culprit.key, sight(culprit));
    anomaly(AnomalyKind::NotLinearizable, sentence, culprit, &others)
}
