//! Histories of things that are no key of a store: a set, a counter, a queue, a lock, a bank, a store of keys that transactions
//! tie together. One thing a file, in the maps
//! of Jepsen (`history.edn`, or the same as JSON), judged by the search with the models of [`crate::models`].
//!
//! | thing | operations and their values |
//! | --- | --- |
//! | set | `:add x`, `:remove x`, `:read` answered by a vector or a set of all elements |
//! | counter | `:add n`, `:read` answered by the sum |
//! | queue | `:enqueue x`, `:dequeue` answered by the element, or by nil: it was empty |
//! | lock | `:acquire`, answered by a fencing token if it is an integer; `:release`; the process is who holds it |
//! | bank | `:transfer {:from 0, :to 1, :amount 5}`, `:read` answered by `{0 15, 1 5}`; accounts count from 0 |
//! | txn | `:txn` with reads and writes of several keys at one moment, with compares or without: see `txns`; each group of keys that transactions tie is judged for itself |
//!
//! What failed (`:fail`) did not happen, whatever its reason, as in Jepsen's own checkers: so a dequeue that failed because the
//! queue was empty says nothing here.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crate::check::Budget;
use crate::formats::deeds::{Deed, deeds};
use crate::formats::{Form, Format, FormatError};
use crate::linear::{Core, Decision, Entry, Limit, Limits, Model, decide, replay, smallest_core};
use crate::models::{
    Bank, BankOp, BankRet, Counter, CounterOp, CounterRet, Lock, LockOp, LockRet, Queue, QueueOp, QueueRet,
    Set, SetOp, SetRet, Store, tied,
};
use crate::report::{Counts, Verdict};
use crate::txns;
use crate::words::moment;

/// What a history is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// A set, empty at first.
    Set,
    /// A counter, 0 at first.
    Counter,
    /// A queue, empty at first.
    Queue,
    /// A lock, free at first.
    Lock,
    /// A bank with so much on its accounts at first.
    Bank(Vec<u64>),
    /// A store of keys with transactions, empty at first.
    Txn,
}

/// A name that is that of no such thing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is none of set, counter, queue, lock, txn, bank=10,10,10 (what is on each account at first)")]
pub struct UnknownObject(String);

impl FromStr for Object {
    type Err = UnknownObject;

    fn from_str(text: &str) -> Result<Self, UnknownObject> {
        let unknown = || UnknownObject(text.to_owned());
        match text.split_once('=') {
            Some(("bank", balances)) => {
                let balances: Result<Vec<u64>, _> = balances.split(',').map(str::parse).collect();
                balances.map(Object::Bank).map_err(|_| unknown())
            }
            Some(_) => Err(unknown()),
            None => match text {
                "set" => Ok(Object::Set),
                "counter" => Ok(Object::Counter),
                "queue" => Ok(Object::Queue),
                "lock" => Ok(Object::Lock),
                "txn" => Ok(Object::Txn),
                _ => Err(unknown()),
            },
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Object::Set => "set",
            Object::Counter => "counter",
            Object::Queue => "queue",
            Object::Lock => "lock",
            Object::Bank(_) => "bank",
            Object::Txn => "store",
        })
    }
}

/// What came of judging one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectReport {
    /// The verdict.
    pub verdict: Verdict,
    /// How many operations it is about; those that failed are not among them.
    pub counts: Counts,
    /// The verdict in one sentence, its word first.
    pub sentence: String,
    /// Few operations that no order explains, in words, by the time of their calls.
    pub core: Vec<String>,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
}

/// Judges a file.
///
/// # Errors
/// [`FormatError`], when it is missing, damaged, or has operations that such a thing has not.
pub fn judge_object(
    path: &Path,
    format: Option<Format>,
    object: &Object,
    budget: &Budget,
) -> Result<ObjectReport, FormatError> {
    let deeds = deeds(path, format)?;
    let judge = Judge { path, deeds: &deeds, object, budget };
    match object {
        Object::Set => judge.report(&Set::default(), set),
        Object::Counter => judge.report(&Counter::default(), counter),
        Object::Queue => judge.report(&Queue::default(), queue),
        Object::Lock => judge.report(&Lock::default(), lock),
        Object::Txn => judge.report_groups(&Store::default(), txns::txn, |trace| match unfounded(trace) {
            Some(at) => Err(format!(
                "unknown: no answer had told the version that it compares with: {}",
                tell(&deeds[at])
            )),
            None => Ok(tied(trace.iter().map(|entry| &entry.op))),
        }),
        Object::Bank(balances) => judge.report(&Bank(balances.clone()), |deed| bank(deed, balances.len())),
    }
}

fn unfounded(trace: &[EntryOf<Store<String, String>>]) -> Option<usize> {
    txns::unfounded(
        trace.iter().map(|Entry { op, called, returned }| {
            (op, *called, returned.as_ref().map(|(ns, ret)| (*ns, ret)))
        }),
    )
}

/// Steps of all searches for one core: some seconds.
const CORE_STEPS_MAX: u64 = 5_000_000;

struct Judge<'a> {
    path: &'a Path,
    deeds: &'a [Deed],
    object: &'a Object,
    budget: &'a Budget,
}

type EntryOf<M> = Entry<<M as Model>::Op, <M as Model>::Ret>;

impl Judge<'_> {
    fn report<M: Model>(
        &self,
        initial: &M,
        mean: impl Fn(&Deed) -> Result<Meant<M>, String>,
    ) -> Result<ObjectReport, FormatError> {
        self.report_groups(initial, mean, |trace| Ok(vec![(0..trace.len()).collect()]))
    }

    /// Of operations in groups that have nothing to do with each other, or with why nothing can be said.
    fn report_groups<M: Model>(
        &self,
        initial: &M,
        mean: impl Fn(&Deed) -> Result<Meant<M>, String>,
        groups: impl Fn(&[EntryOf<M>]) -> Result<Vec<Vec<usize>>, String>,
    ) -> Result<ObjectReport, FormatError> {
        let start = Instant::now();
        let entries = self.deeds.iter().map(|deed| {
            let entry = mean(deed).map(|(op, ret)| Entry {
                op,
                called: deed.called_ns,
                returned: deed.returned.as_ref().map(|(ns, _)| *ns).zip(ret),
            });
            entry.map_err(|detail| FormatError::Damaged {
                path: self.path.to_owned(),
                place: deed.place,
                detail: format!("{}: {detail}", self.object),
                hint: "`ordeal check --help` says which operations each model has",
            })
        });
        let trace: Vec<EntryOf<M>> = entries.collect::<Result<_, _>>()?;
        let stop = AtomicBool::new(false);
        // A time too long to add is no limit; a year is none either.
        let time = self.budget.time.min(Duration::from_secs(365 * 24 * 3600));
        let limits = Limits {
            steps: u64::MAX,
            deadline: start + time,
            memory_bytes: self.budget.memory_bytes,
            stop: &stop,
        };
        let (verdict, sentence, core) = match groups(&trace) {
            Err(sentence) => (Verdict::Unknown, sentence, Vec::new()),
            Ok(groups) if groups.len() == 1 => self.verdict(initial, &trace, &limits),
            Ok(groups) => self.of_groups(initial, &trace, &groups, &limits),
        };
        let ok = self.deeds.iter().filter(|deed| deed.returned.is_some()).count();
        let counts = Counts { operations: trace.len(), ok, unknown: trace.len() - ok, ..Counts::default() };
        let elapsed_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(ObjectReport { verdict, counts, sentence, core, elapsed_ms })
    }

    /// The worst of the verdicts on the groups.
    fn of_groups<M: Model>(
        &self,
        initial: &M,
        trace: &[EntryOf<M>],
        groups: &[Vec<usize>],
        limits: &Limits<'_>,
    ) -> (Verdict, String, Vec<String>) {
        let mut unknown = None;
        for group in groups {
            let few: Vec<EntryOf<M>> = group.iter().map(|&at| trace[at].clone()).collect();
            let deeds: Vec<Deed> = group.iter().map(|&at| self.deeds[at].clone()).collect();
            let told = Judge { deeds: &deeds, ..*self }.verdict(initial, &few, limits);
            match told.0 {
                Verdict::Valid => {}
                Verdict::Invalid => return told,
                Verdict::Unknown => unknown = unknown.or(Some(told)),
            }
        }
        unknown.unwrap_or_else(|| {
            let (count, object) = (trace.len(), self.object);
            let sentence = format!("valid: {count} operations on a {object} are linearizable");
            (Verdict::Valid, sentence, Vec::new())
        })
    }

    fn verdict<M: Model>(
        &self,
        initial: &M,
        trace: &[EntryOf<M>],
        limits: &Limits<'_>,
    ) -> (Verdict, String, Vec<String>) {
        let (object, count) = (self.object, trace.len());
        match decide(initial, trace, limits).0 {
            Decision::Order(order) => match replay(initial, trace, &order) {
                Ok(()) => {
                    let sentence = format!("valid: {count} operations on a {object} are linearizable");
                    (Verdict::Valid, sentence, Vec::new())
                }
                Err(detail) => {
                    let what = format!("unknown: the order that was found cannot be replayed: {detail}");
                    (Verdict::Unknown, what, Vec::new())
                }
            },
            Decision::NoOrder(stuck) => {
                let culprit = stuck.culprit.map_or_else(String::new, |at| tell(&self.deeds[at]));
                let sentence = format!(
                    "invalid: no order of the {count} operations on a {object} explains that {culprit}"
                );
                let limits = Limits { steps: CORE_STEPS_MAX, ..*limits };
                // A compare with a version means nothing where the answer that told it is forgotten.
                let is_told = *self.object != Object::Txn;
                let core =
                    is_told.then(|| smallest_core(initial, trace, &limits)).flatten().unwrap_or_default();
                (Verdict::Invalid, sentence, self.told(&core))
            }
            Decision::GaveUp(limit, stuck) => {
                let why = match limit {
                    Limit::Time | Limit::Steps => "time",
                    Limit::Memory => "memory",
                    Limit::Stopped => "patience of the caller",
                };
                let (placed, due) = (stuck.returns, trace.iter().filter(|entry| entry.returned.is_some()));
                let sentence =
                    format!("unknown: the {why} ended with {placed} of {} operations in order", due.count());
                (Verdict::Unknown, sentence, Vec::new())
            }
        }
    }

    fn told(&self, core: &Core) -> Vec<String> {
        let mut all: Vec<(u64, String)> =
            core.answered.iter().map(|&at| (self.deeds[at].called_ns, tell(&self.deeds[at]))).collect();
        all.extend(core.open.iter().map(|&at| {
            let deed = Deed { returned: None, ..self.deeds[at].clone() };
            (deed.called_ns, tell(&deed))
        }));
        all.sort();
        all.into_iter().map(|(_, text)| text).collect()
    }
}

/// `process 3 called :dequeue at 1.200 s and was answered 5 at 1.210 s`.
fn tell(deed: &Deed) -> String {
    let asked = if deed.asked == Form::Nil { String::new() } else { format!(" {}", deed.asked) };
    let came = match &deed.returned {
        None => "may have done it at any later time".to_owned(),
        Some((ns, Form::Nil)) => format!("was answered at {}", moment(*ns)),
        Some((ns, form)) => format!("was answered {form} at {}", moment(*ns)),
    };
    format!("process {} called :{}{asked} at {} and {came}", deed.process, deed.f, moment(deed.called_ns))
}

/// What a deed asks, and the answer that it got, if it got one.
type Meant<M> = (<M as Model>::Op, Option<<M as Model>::Ret>);

fn no_such(deed: &Deed) -> String {
    format!(":{} {} is no operation of it", deed.f, deed.asked)
}

fn whole(form: &Form) -> Option<i64> {
    match form {
        Form::Int(number) => Some(*number),
        _ => None,
    }
}

fn set(deed: &Deed) -> Result<Meant<Set<String>>, String> {
    let done = deed.returned.as_ref().map(|_| SetRet::Done);
    Ok(match deed.f.as_str() {
        "add" => (SetOp::Add(deed.asked.to_value()), done),
        "remove" => (SetOp::Remove(deed.asked.to_value()), done),
        "read" => {
            let seen = deed.returned.as_ref().map(|(_, form)| match form {
                Form::Vector(parts) | Form::List(parts) | Form::Set(parts) => {
                    let mut all: Vec<String> = parts.iter().map(Form::to_value).collect();
                    all.sort();
                    Ok(SetRet::All(all))
                }
                Form::Nil => Ok(SetRet::All(Vec::new())),
                _ => Err(format!("a read of {form}, expected all elements")),
            });
            (SetOp::Read, seen.transpose()?)
        }
        _ => return Err(no_such(deed)),
    })
}

fn counter(deed: &Deed) -> Result<Meant<Counter>, String> {
    Ok(match deed.f.as_str() {
        "add" => {
            let amount = whole(&deed.asked).ok_or_else(|| no_such(deed))?;
            (CounterOp::Add(amount), deed.returned.as_ref().map(|_| CounterRet::Done))
        }
        "read" => {
            let sum = deed.returned.as_ref().map(|(_, form)| {
                whole(form).map(CounterRet::Sum).ok_or_else(|| format!("a read of {form}, expected a number"))
            });
            (CounterOp::Read, sum.transpose()?)
        }
        _ => return Err(no_such(deed)),
    })
}

fn queue(deed: &Deed) -> Result<Meant<Queue<String>>, String> {
    Ok(match deed.f.as_str() {
        "enqueue" => {
            let done = deed.returned.as_ref().map(|_| QueueRet::Done);
            (QueueOp::Enqueue(deed.asked.to_value()), done)
        }
        "dequeue" => {
            let taken = deed.returned.as_ref().map(|(_, form)| match form {
                Form::Nil => QueueRet::Taken(None),
                form => QueueRet::Taken(Some(form.to_value())),
            });
            (QueueOp::Dequeue, taken)
        }
        _ => return Err(no_such(deed)),
    })
}

fn lock(deed: &Deed) -> Result<Meant<Lock>, String> {
    let client = u32::try_from(deed.process).map_err(|_| format!("process {}", deed.process))?;
    Ok(match deed.f.as_str() {
        "acquire" => {
            let granted = deed.returned.as_ref().map(|(_, form)| match whole(form) {
                Some(token) => u64::try_from(token)
                    .map(LockRet::Granted)
                    .map_err(|_| format!("a token of {token}, expected none or a whole number")),
                None => Ok(LockRet::Done),
            });
            (LockOp::Acquire(client), granted.transpose()?)
        }
        "release" => (LockOp::Release(client), deed.returned.as_ref().map(|_| LockRet::Done)),
        _ => return Err(no_such(deed)),
    })
}

fn bank(deed: &Deed, accounts: usize) -> Result<Meant<Bank>, String> {
    let entries = |form: &Form| match form {
        Form::Map(entries) => Some(entries.clone()),
        _ => None,
    };
    Ok(match deed.f.as_str() {
        "transfer" => {
            let parts = entries(&deed.asked).ok_or_else(|| no_such(deed))?;
            let part = |name: &str| {
                let form = parts.iter().find(|(key, _)| key.name() == Some(name)).map(|(_, form)| form);
                form.and_then(whole).and_then(|number| u64::try_from(number).ok())
            };
            let all = part("from").zip(part("to")).zip(part("amount"));
            let ((from, to), amount) = all.ok_or_else(|| no_such(deed))?;
            let account = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
            let op = BankOp::Transfer { from: account(from), to: account(to), amount };
            (op, deed.returned.as_ref().map(|_| BankRet::Done))
        }
        "read" => {
            let seen = deed.returned.as_ref().map(|(_, form)| {
                let wrong = || format!("a read of {form}, expected a map of {accounts} accounts from 0");
                let mut balances = vec![0; accounts];
                for (account, balance) in entries(form).ok_or_else(wrong)? {
                    let number = whole(&account)
                        .or_else(|| account.name().and_then(|name| name.parse().ok()))
                        .and_then(|number| usize::try_from(number).ok());
                    let place = number.and_then(|number| balances.get_mut(number)).ok_or_else(wrong)?;
                    // A balance below zero is one that such a bank never shows.
                    *place = whole(&balance)
                        .map(|balance| u64::try_from(balance).unwrap_or(u64::MAX))
                        .ok_or_else(wrong)?;
                }
                Ok::<_, String>(BankRet::Balances(balances))
            });
            (BankOp::Read, seen.transpose()?)
        }
        _ => return Err(no_such(deed)),
    })
}
