//! What the search has to solve for one key: which operations must be put into an order, which may be, and by when.
//!
//! Here the cheap, sound reductions are made that need to know of keys and values; those of the search itself are in `linear`. Each is argued where it stands; the agreement tests hold them against brute
//! force and against stateright's tester.

use std::collections::{HashMap, HashSet};

use crate::linear::Entry;
use crate::operation::{Answer, Call, OpId, Operation, Outcome};

/// An operation as it is seen at some moment of the history: at its end, or earlier.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    /// Its place among the operations of the key.
    pub(crate) at: usize,
    pub(crate) operation: &'a Operation,
    /// Whether it had been answered before the moment.
    is_answered: bool,
}

impl<'a> View<'a> {
    /// When it had been answered, and with what, if that is before the moment.
    pub(crate) fn answer(&self) -> Option<(u64, &'a Answer)> {
        match &self.operation.returned {
            Some((ns, Outcome::Ok(answer, _))) if self.is_answered => Some((*ns, answer)),
            Some((_, Outcome::Ok(..) | Outcome::Failed(_) | Outcome::Unknown(_))) | None => None,
        }
    }
}

/// The operations as they are seen at the end of the history. Those that surely had no effect are left out.
pub(crate) fn at_the_end<'a>(operations: &[&'a Operation]) -> Vec<View<'a>> {
    views(operations, |_| true, |_| true)
}

/// The operations as they were seen just after the return of `last` at `last_ns`: what was called later is left out, what
/// returned later is open.
pub(crate) fn at_return<'a>(operations: &[&'a Operation], last_ns: u64, last: OpId) -> Vec<View<'a>> {
    views(
        operations,
        |operation| operation.invoked_ns <= last_ns,
        |operation| operation.answered_ns().is_some_and(|ns| (ns, operation.id) <= (last_ns, last)),
    )
}

fn views<'a>(
    operations: &[&'a Operation],
    is_called: impl Fn(&Operation) -> bool,
    is_answered: impl Fn(&Operation) -> bool,
) -> Vec<View<'a>> {
    let counted =
        operations.iter().enumerate().filter(|(_, operation)| !operation.is_failed() && is_called(operation));
    let view = |(at, &operation): (usize, &&'a Operation)| View {
        at,
        operation,
        is_answered: is_answered(operation),
    };
    // All but those that failed, and those are few.
    let mut views = Vec::with_capacity(operations.len());
    views.extend(counted.map(view));
    views
}

/// The operations as the search takes them, each with its place among those of the key: without those that need not take
/// effect; with a return for those that surely did.
pub(crate) fn entries(views: &[View<'_>]) -> (Vec<Entry<Call, Answer>>, Vec<usize>) {
    let kind = KeyKind::of(views);
    let observations = Observations::of(views);
    let entries = views.iter().filter_map(|view| Some((entry_of(view, &kind, &observations)?, view.at)));
    entries.unzip()
}

fn entry_of(view: &View<'_>, kind: &KeyKind, observations: &Observations<'_>) -> Option<Entry<Call, Answer>> {
    let operation = view.operation;
    let returned = match view.answer() {
        Some((time_ns, answer)) => Some((time_ns, answer.clone())),
        None => match observations.fate(&operation.call, kind) {
            Fate::NeedNotHappen => return None,
            Fate::MayHappen => None,
            // Where an answer comes before the only call that explains it, the search finds that out.
            Fate::HappenedBy(time_ns) => {
                let answer = match operation.call {
                    Call::Cas { .. } => Answer::CasDone,
                    Call::Read | Call::Write(_) | Call::Append(_) | Call::Delete | Call::Txn(_) => {
                        Answer::Done
                    }
                };
                Some((time_ns, answer))
            }
        },
    };
    let returned = returned.map(|(time_ns, answer)| (time_ns.max(operation.invoked_ns), answer));
    Some(Entry { op: operation.call.clone(), called: operation.invoked_ns, returned })
}

/// Which calls there are on the key.
struct KeyKind {
    appends: bool,
    /// An answered compare-and-set failed without saying what it found, or one found the key absent.
    vague_failures: bool,
}

impl KeyKind {
    fn of(views: &[View<'_>]) -> Self {
        let calls = || views.iter().map(|view| &view.operation.call);
        let appends = calls().any(|call| matches!(call, Call::Append(_)));
        let vague_failures =
            views.iter().any(|view| matches!(view.answer(), Some((_, Answer::CasFailed(None)))));
        KeyKind { appends, vague_failures }
    }
}

/// What answers say about values, and how many calls could have made them.
struct Observations<'a> {
    /// For each value that an answer shows: the earliest return of such an answer.
    shown_by_ns: HashMap<&'a str, u64>,
    /// Values that an open compare-and-set expects: it can only take effect on them.
    hoped_for: HashSet<&'a str>,
    /// How many calls set each value.
    makers: HashMap<&'a str, usize>,
}

enum Fate {
    NeedNotHappen,
    MayHappen,
    HappenedBy(u64),
}

impl<'a> Observations<'a> {
    fn of(views: &[View<'a>]) -> Self {
        let mut observations =
            Observations { shown_by_ns: HashMap::new(), hoped_for: HashSet::new(), makers: HashMap::new() };
        for view in views {
            let call = &view.operation.call;
            if let Call::Write(value) | Call::Cas { new: value, .. } = call {
                *observations.makers.entry(value.as_str()).or_default() += 1;
            }
            match (view.answer(), call) {
                (Some((time_ns, Answer::Value(Some(value)) | Answer::CasFailed(Some(value)))), _)
                | (Some((time_ns, Answer::CasDone)), Call::Cas { expected: Some(value), .. }) => {
                    observations.show(value, time_ns);
                }
                (None, Call::Cas { expected: Some(value), .. }) => {
                    observations.hoped_for.insert(value);
                }
                (Some(_), _)
                | (None, Call::Read | Call::Write(_) | Call::Append(_) | Call::Delete | Call::Txn(_))
                | (None, Call::Cas { expected: None, .. }) => {}
            }
        }
        observations
    }

    fn show(&mut self, value: &'a str, time_ns: u64) {
        let earliest = self.shown_by_ns.entry(value).or_insert(time_ns);
        *earliest = time_ns.min(*earliest);
    }

    /// What is known of a call without an answer.
    fn fate(&self, call: &Call, kind: &KeyKind) -> Fate {
        match call {
            // Nobody saw its answer, and it has no effect.
            Call::Read => Fate::NeedNotHappen,
            // A value that only this call can make was seen: the call took effect, and before that answer returned.
            // Appends could make the value in other ways.
            //
            // A value that no answer shows and no compare-and-set hopes for: whatever stands right behind this call in an
            // order can be no answered read, no compare-and-set that succeeds, and none that fails and says what it found,
            // for they would have to show the value. So it is a call that does not look (a write, a delete), or nothing,
            // and the order without this call is as good. A failure that does not say what it found could need the
            // value, and an append would carry it along: then nothing is concluded.
            Call::Write(value) | Call::Cas { new: value, .. } if !kind.appends => {
                match self.shown_by_ns.get(value.as_str()) {
                    Some(&time_ns) if self.makers.get(value.as_str()) == Some(&1) => {
                        Fate::HappenedBy(time_ns)
                    }
                    None if !kind.vague_failures && !self.hoped_for.contains(value.as_str()) => {
                        Fate::NeedNotHappen
                    }
                    Some(_) | None => Fate::MayHappen,
                }
            }
            Call::Write(_) | Call::Append(_) | Call::Cas { .. } | Call::Delete | Call::Txn(_) => {
                Fate::MayHappen
            }
        }
    }
}
