//! Why nothing goes on: of a key that cannot be explained, how far an order goes, and why none of the operations that are left
//! can come next. It is told of the few operations of the core, where a person can follow it.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use serde::Serialize;
use stateright::semantics::SequentialSpec;

use crate::certificate::{Certificate, KeyEntry};
use crate::decide::is_tied;
use crate::explain::first_unexplained;
use crate::history::History;
use crate::linear::{Limits, Model};
use crate::model::KeyModel;
use crate::operation::{Answer, Call, OpId, Operation, Value};
use crate::txn_model::{Seen, TxnModel, before};
use crate::txn_words;
use crate::words::{moment, quoted, shown};

/// Operations of a core whose orders are all tried: 10! steps at the very most, far fewer with their times.
const CORE_MAX: usize = 10;

/// How long to look for the longest prefix of the whole key.
const PREFIX_TIME: Duration = Duration::from_secs(2);

/// Steps of one search for it.
const PREFIX_STEPS_MAX: u64 = 500_000;

/// The longest order, and what stands against each that could come next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Impasse {
    /// The longest order of operations of the core that explains their answers.
    pub order: Vec<OpId>,
    /// What is there after it: a value in quotes, or `nothing`.
    pub value: String,
    /// The others of the core, each with why it cannot come next.
    pub blocked: Vec<Blocked>,
    /// As if nothing but these words had ever been appended, where there are any: see [`Certificate::CoreOfWords`].
    pub words: Vec<Value>,
    /// As if this transaction had given all keys what it left there, and nothing had been before: see [`Certificate::CoreBehind`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<OpId>,
    /// Of the whole key: so many of its operations had returned before the first one with whose return no order explains all
    /// answers, and which one that is. `None`: that took too long to find.
    pub prefix: Option<(usize, OpId)>,
}

/// An operation that cannot come next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Blocked {
    /// Which.
    pub operation: OpId,
    /// Why, as the rest of a sentence: `was answered "a", but "b" is there`.
    pub why: String,
}

/// Finds it; `None` where there is no core, or one of too many operations.
#[must_use]
pub fn impasse(history: &History, certificate: &Certificate) -> Option<Impasse> {
    let (ids, trace): (Vec<OpId>, Vec<KeyEntry>) = certificate.core(history)?.into_iter().unzip();
    if trace.len() > CORE_MAX {
        return None;
    }
    let key = history.operation(ids[0])?.key.clone();
    let operations: Vec<&Operation> =
        history.operations.iter().filter(|operation| operation.key == key).collect();
    let (order, value, blocked) = match is_tied(&operations) {
        true => longest::<TxnModel>(&ids, &trace),
        false => longest::<KeyModel>(&ids, &trace),
    };
    Some(Impasse {
        order,
        value,
        blocked,
        words: certificate.words().to_vec(),
        base: certificate.base(),
        prefix: prefix(&operations),
    })
}

/// The longest order, what is there after it, and why the others cannot come next.
fn longest<M: There>(ids: &[OpId], trace: &[KeyEntry]) -> (Vec<OpId>, String, Vec<Blocked>) {
    let best = Best { answers: 0, order: Vec::new(), state: M::default() };
    let mut search = Search { trace, order: Vec::new(), best };
    search.extend(&M::default());
    let Best { order, state, .. } = search.best;
    let left: Vec<usize> = (0..trace.len()).filter(|at| !order.contains(at)).collect();
    let blocked =
        left.iter().map(|&at| Blocked { operation: ids[at], why: why(trace, ids, &left, at, &state) });
    (order.iter().map(|&at| ids[at]).collect(), state.there(), blocked.collect())
}

/// A state that can be told of.
trait There: Model<Op = Call, Ret = Answer> + Default {
    /// What is there.
    fn there(&self) -> String;

    /// Why an answer cannot be given here.
    fn against(&self, call: &Call, answer: &Answer) -> String;
}

impl There for KeyModel {
    fn there(&self) -> String {
        shown(self.value.as_ref())
    }

    fn against(&self, call: &Call, answer: &Answer) -> String {
        let there = self.there();
        match answer {
            Answer::Value(value) => format!("was answered {}, but {there} is there", shown(value.as_ref())),
            Answer::CasDone => format!("replaced what is not there: {there} is"),
            Answer::CasFailed(Some(found)) => format!("found {}, but {there} is there", quoted(found)),
            Answer::CasFailedAbsent => format!("found nothing, but {there} is there"),
            Answer::CasFailed(None) => format!("failed, although it finds {there}, as expected"),
            Answer::Done => {
                let truth = self.clone().invoke(call);
                format!("was answered {answer:?}, not {truth:?}")
            }
            Answer::Txn(_) => "was answered like a transaction".to_owned(),
        }
    }
}

impl There for TxnModel {
    fn there(&self) -> String {
        let all: Vec<String> =
            self.entries().map(|(key, value)| format!("{key} = {}", quoted(value))).collect();
        if all.is_empty() { "nothing".to_owned() } else { all.join(", ") }
    }

    fn against(&self, call: &Call, answer: &Answer) -> String {
        let (Call::Txn(txn), Answer::Txn(ret)) = (call, answer) else {
            return "is no transaction".to_owned();
        };
        let there = self.entries().collect();
        if let Some(wrong) = txn_words::unmet(txn, ret, &there) {
            return wrong;
        }
        let seen = before(txn, ret);
        let is_other =
            |(key, seen): &(&Value, &Seen)| seen.as_ref().map(|(value, _)| value) != there.get(key).copied();
        match seen.iter().find(is_other) {
            Some((key, seen)) => format!(
                "read {key} = {}, but {} is there",
                shown(seen.as_ref().map(|(value, _)| value)),
                shown(there.get(key).copied())
            ),
            None => "was answered otherwise than what is there demands".to_owned(),
        }
    }
}

/// How many had returned before the first inexplicable one, and which that is.
fn prefix(operations: &[&Operation]) -> Option<(usize, OpId)> {
    let stop = AtomicBool::new(false);
    let limits = Limits {
        steps: PREFIX_STEPS_MAX,
        deadline: Instant::now() + PREFIX_TIME,
        memory_bytes: 256 << 20,
        stop: &stop,
    };
    let culprit = first_unexplained(operations, None, &limits)?;
    let reached = (culprit.answered_ns()?, culprit.id);
    let before =
        operations.iter().filter(|other| other.answered_ns().is_some_and(|ns| (ns, other.id) < reached));
    Some((before.count(), culprit.id))
}

struct Best<M> {
    /// Answers that it explains.
    answers: usize,
    order: Vec<usize>,
    state: M,
}

struct Search<'a, M> {
    trace: &'a [KeyEntry],
    order: Vec<usize>,
    best: Best<M>,
}

impl<M: There> Search<'_, M> {
    /// Tries everything that can come next; keeps the first of the longest orders.
    fn extend(&mut self, state: &M) {
        let answers = self.order.iter().filter(|&&at| self.trace[at].returned.is_some()).count();
        if answers > self.best.answers {
            self.best = Best { answers, order: self.order.clone(), state: state.clone() };
        }
        let left: Vec<usize> = (0..self.trace.len()).filter(|at| !self.order.contains(at)).collect();
        for &at in &left {
            if first_due(self.trace, &left, at).is_some() {
                continue;
            }
            let entry = &self.trace[at];
            if let Some(next) = state.step(&entry.op, entry.returned.as_ref().map(|(_, answer)| answer)) {
                self.order.push(at);
                self.extend(&next);
                self.order.pop();
            }
        }
    }
}

/// Of those that are left the one that returned first, if that was before this one was called.
fn first_due(trace: &[KeyEntry], left: &[usize], at: usize) -> Option<usize> {
    let returned = left.iter().filter_map(|&other| Some((trace[other].returned.as_ref()?.0, other)));
    returned.min().filter(|&(ns, _)| ns < trace[at].called).map(|(_, other)| other)
}

fn why<M: There>(trace: &[KeyEntry], ids: &[OpId], left: &[usize], at: usize, state: &M) -> String {
    if let Some(due) = first_due(trace, left, at) {
        let returned = trace[due].returned.as_ref().map_or(0, |(ns, _)| *ns);
        return format!("was called only after {} had returned at {}", ids[due], moment(returned));
    }
    let entry = &trace[at];
    match &entry.returned {
        Some((_, answer)) => state.against(&entry.op, answer),
        None => "may take effect here, or not: the others cannot come next either way".to_owned(),
    }
}
