//! What the search has to solve for one key: which operations must be put into an order, which may be, and by when.
//!
//! Here the cheap, sound reductions are made. Each is argued where it stands; the agreement tests hold them against brute
//! force and against stateright's tester.

use std::collections::{HashMap, HashSet};

use crate::operation::{Answer, Call, OpId, Operation, Value};

/// An operation as it is seen at some moment of the history: at its end, or earlier.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) operation: &'a Operation,
    /// When it had been answered, and with what, if that is before the moment.
    answer: Option<(u64, &'a Answer)>,
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
    let counted = operations.iter().filter(|operation| !operation.is_failed() && is_called(operation));
    let view = |&operation: &&'a Operation| View {
        operation,
        answer: operation.answered_ns().zip(operation.answer()).filter(|_| is_answered(operation)),
    };
    counted.map(view).collect()
}

/// An operation to be put into the order.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) id: OpId,
    pub(crate) call: Call,
    pub(crate) invoked_ns: u64,
    /// By when it must have taken effect, and with what answer; `None`: it may take effect at any time after its call, or
    /// never.
    pub(crate) due: Option<(u64, Answer)>,
    /// Whether it leaves every state as it is in which its answer is right.
    pub(crate) is_pure: bool,
    /// The one with the same call, optional too, that was called just before this one. It is used first: in any order
    /// that uses this one and not that one, the two can be swapped, since both are open for ever.
    pub(crate) twin: Option<usize>,
}

/// The tasks of one key: first those that are due, by ascending call, then the optional ones, by ascending call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Problem {
    pub(crate) tasks: Vec<Task>,
    pub(crate) due_count: usize,
    /// Where nothing but reads and appends happens: the read with the longest value. Until it was put into the order every
    /// state must be a prefix of that value, since appends only ever make a value longer.
    pub(crate) longest_read: Option<(usize, Value)>,
}

impl Problem {
    pub(crate) fn new(views: &[View<'_>]) -> Self {
        let kind = KeyKind::of(views);
        let observations = Observations::of(views, &kind);
        let mut tasks: Vec<Task> =
            views.iter().filter_map(|view| task_of(view, &kind, &observations)).collect();
        tasks.sort_by_key(|task| (task.due.is_none(), task.invoked_ns, task.id));
        link_twins(&mut tasks);
        let due_count = tasks.iter().filter(|task| task.due.is_some()).count();
        let longest_read = (kind.appends && !kind.others).then(|| longest_read(&tasks)).flatten();
        Problem { tasks, due_count, longest_read }
    }
}

fn task_of(view: &View<'_>, kind: &KeyKind, observations: &Observations<'_>) -> Option<Task> {
    let operation = view.operation;
    let due = match view.answer {
        Some((time_ns, answer)) => Some((time_ns, answer.clone())),
        None => match observations.fate(&operation.call, kind) {
            Fate::NeedNotHappen => return None,
            Fate::MayHappen => None,
            // Where an answer comes before the only call that explains it, the search finds that out.
            Fate::HappenedBy(time_ns) => {
                let answer = match operation.call {
                    Call::Cas { .. } => Answer::CasDone,
                    Call::Read | Call::Write(_) | Call::Append(_) | Call::Delete => Answer::Done,
                };
                Some((time_ns, answer))
            }
        },
    };
    let due = due.map(|(time_ns, answer)| (time_ns.max(operation.invoked_ns), answer));
    let is_pure = match (&operation.call, &due) {
        (Call::Read, _) => true,
        (Call::Cas { .. }, Some((_, Answer::CasFailed(_) | Answer::CasFailedAbsent))) => true,
        (Call::Cas { expected, new }, Some((_, Answer::CasDone))) => expected.as_ref() == Some(new),
        (Call::Cas { .. } | Call::Write(_) | Call::Append(_) | Call::Delete, _) => false,
    };
    let (id, invoked_ns) = (operation.id, operation.invoked_ns);
    Some(Task { id, call: operation.call.clone(), invoked_ns, due, is_pure, twin: None })
}

fn link_twins(tasks: &mut [Task]) {
    let mut last: HashMap<Call, usize> = HashMap::new();
    for (at, task) in tasks.iter_mut().enumerate().filter(|(_, task)| task.due.is_none()) {
        task.twin = last.insert(task.call.clone(), at);
    }
}

fn longest_read(tasks: &[Task]) -> Option<(usize, Value)> {
    let reads = tasks.iter().enumerate().filter_map(|(at, task)| match &task.due {
        Some((_, Answer::Value(Some(value)))) => Some((at, value)),
        Some(_) | None => None,
    });
    reads.max_by_key(|(at, value)| (value.len(), usize::MAX - at)).map(|(at, value)| (at, value.clone()))
}

/// Which calls there are on the key.
struct KeyKind {
    appends: bool,
    /// Writes, compare-and-sets, deletes.
    others: bool,
    /// An answered compare-and-set failed without saying what it found, or one found the key absent.
    vague_failures: bool,
    /// Only reads and appends, and every append adds one word that ends in its only comma, each word once: then the words
    /// of a value say exactly which appends made it.
    words: bool,
}

impl KeyKind {
    fn of(views: &[View<'_>]) -> Self {
        let calls = || views.iter().map(|view| &view.operation.call);
        let appends = calls().any(|call| matches!(call, Call::Append(_)));
        let others = calls().any(|call| matches!(call, Call::Write(_) | Call::Cas { .. } | Call::Delete));
        let vague_failures =
            views.iter().any(|view| matches!(view.answer, Some((_, Answer::CasFailed(None)))));
        let mut seen = HashSet::new();
        let is_word = |call: &Call| match call {
            Call::Append(text) => is_word(text) && seen.insert(text.clone()),
            Call::Read | Call::Write(_) | Call::Cas { .. } | Call::Delete => true,
        };
        let words = appends && !others && calls().all(is_word);
        KeyKind { appends, others, vague_failures, words }
    }
}

/// Whether a text is one word: it ends in its only comma and has something before it.
pub(crate) fn is_word(text: &str) -> bool {
    text.len() > 1 && text.find(',') == Some(text.len() - 1)
}

/// What answers say about values, and how many calls could have made them.
struct Observations<'a> {
    /// For each value, or word, that an answer shows: the earliest return of such an answer.
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
    fn of(views: &[View<'a>], kind: &KeyKind) -> Self {
        let mut observations =
            Observations { shown_by_ns: HashMap::new(), hoped_for: HashSet::new(), makers: HashMap::new() };
        for view in views {
            let call = &view.operation.call;
            if let Call::Write(value) | Call::Cas { new: value, .. } = call {
                *observations.makers.entry(value.as_str()).or_default() += 1;
            }
            match (view.answer, call) {
                (Some((time_ns, Answer::Value(Some(value)) | Answer::CasFailed(Some(value)))), _)
                | (Some((time_ns, Answer::CasDone)), Call::Cas { expected: Some(value), .. }) => {
                    observations.show(value, time_ns, kind);
                }
                (None, Call::Cas { expected: Some(value), .. }) => {
                    observations.hoped_for.insert(value);
                }
                (Some(_), _)
                | (None, Call::Read | Call::Write(_) | Call::Append(_) | Call::Delete)
                | (None, Call::Cas { expected: None, .. }) => {}
            }
        }
        observations
    }

    fn show(&mut self, value: &'a str, time_ns: u64, kind: &KeyKind) {
        let mut note = |text: &'a str| {
            let earliest = self.shown_by_ns.entry(text).or_insert(time_ns);
            *earliest = time_ns.min(*earliest);
        };
        if kind.words { value.split_inclusive(',').for_each(&mut note) } else { note(value) }
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
            // Where each word is appended once and nothing else changes the value, a word that was seen took effect. One
            // that no answer shows stands in every later state, so no answered read comes behind it, and other appends do
            // not look.
            Call::Append(text) if kind.words => match self.shown_by_ns.get(text.as_str()) {
                Some(&time_ns) => Fate::HappenedBy(time_ns),
                None => Fate::NeedNotHappen,
            },
            Call::Write(_) | Call::Append(_) | Call::Cas { .. } | Call::Delete => Fate::MayHappen,
        }
    }
}
