//! Keys on which every answer says where in the order of writes its client stood: registers whose values are written once, and
//! lists of words.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::operation::{Answer, Call, ClientId, Operation};
use crate::promises::{Kept, Promise};
use crate::words::{deed, moment, observed, sight, span};

/// Newer writes that are looked at for one stale read: how far it is behind is told up to here.
const NEWER_MAX: usize = 10_000;

/// A stale read.
pub(crate) struct Stale {
    pub(crate) late_ns: u64,
    pub(crate) writes: usize,
    pub(crate) sentence: String,
}

/// A write: when it can have taken effect.
#[derive(Debug, Clone, Copy)]
struct Write {
    called_ns: u64,
    /// `None`: it may take effect at any later time.
    answered_ns: Option<u64>,
    /// The place of its operation; `None`: what was there at first.
    at: Option<usize>,
}

/// A key with its writes.
pub(crate) struct Line<'a> {
    operations: &'a [&'a Operation],
    /// Values by number; 0 is the absent one. Of a list a value is that up to a word.
    writes: Vec<Write>,
    /// Of each operation the values that its client met there, in their order.
    met: Vec<Vec<usize>>,
    /// Of lists the numbers are the order. Of registers only times say which value is older.
    is_ordered: bool,
    /// There is a value that nobody can have written, or an order that contradicts itself.
    is_broken: bool,
    /// Compare-and-sets, or writes whose fate nobody knows: an order of the values need not be one of the operations.
    is_loose: bool,
}

/// `None` where values do not say where in the order they stand.
pub(crate) fn line_of<'a>(operations: &'a [&'a Operation]) -> Option<Line<'a>> {
    let has = |wanted: fn(&Call) -> bool| operations.iter().any(|operation| wanted(&operation.call));
    if has(|call| matches!(call, Call::Append(_))) { list_of(operations) } else { register_of(operations) }
}

fn write_of(at: usize, operation: &Operation) -> Write {
    Write { called_ns: operation.invoked_ns, answered_ns: operation.answered_ns(), at: Some(at) }
}

const AT_FIRST: Write = Write { called_ns: 0, answered_ns: Some(0), at: None };

fn register_of<'a>(operations: &'a [&'a Operation]) -> Option<Line<'a>> {
    let mut writes = vec![AT_FIRST];
    let mut numbers: HashMap<&str, usize> = HashMap::new();
    for (at, operation) in operations.iter().enumerate() {
        let is_refused = matches!(operation.answer(), Some(Answer::CasFailed(_) | Answer::CasFailedAbsent));
        match &operation.call {
            _ if operation.is_failed() || is_refused => {}
            Call::Write(value) | Call::Cas { new: value, .. } => {
                if numbers.insert(value, writes.len()).is_some() {
                    return None;
                }
                writes.push(write_of(at, operation));
            }
            Call::Read => {}
            Call::Delete | Call::Append(_) | Call::Txn(_) => return None,
        }
    }
    let mut is_broken = false;
    let mut is_loose = false;
    let met = operations.iter().map(|operation| {
        let mut met = Vec::new();
        if let Some(seen) = observed(operation) {
            match seen.map(|value| numbers.get(value.as_str())) {
                None => met.push(0),
                Some(Some(&number)) => met.push(number),
                Some(None) => is_broken = true,
            }
        }
        if let (Call::Write(value) | Call::Cas { new: value, .. }, Some(Answer::Done | Answer::CasDone)) =
            (&operation.call, operation.answer())
        {
            met.push(numbers[value.as_str()]);
        }
        is_loose |= matches!(operation.call, Call::Cas { .. });
        met
    });
    let met = met.collect();
    Some(Line { operations, writes, met, is_ordered: false, is_broken, is_loose })
}

fn list_of<'a>(operations: &'a [&'a Operation]) -> Option<Line<'a>> {
    let mut appends: HashMap<&str, usize> = HashMap::new();
    for (at, operation) in operations.iter().enumerate() {
        match &operation.call {
            Call::Read => {}
            Call::Append(word) if word.find(',') == Some(word.len() - 1) => {
                if appends.insert(word, at).is_some() {
                    return None;
                }
            }
            Call::Append(_) | Call::Write(_) | Call::Cas { .. } | Call::Delete | Call::Txn(_) => return None,
        }
    }
    let values =
        || operations.iter().filter_map(|operation| observed(operation)?.map(|value| value.as_str()));
    let longest = values().max_by_key(|value| value.len()).unwrap_or_default();
    let mut writes = vec![AT_FIRST];
    let mut numbers: HashMap<usize, usize> = HashMap::new();
    // The value up to each word ends there.
    let mut ends = vec![0];
    let mut is_broken = false;
    for word in longest.split_inclusive(',') {
        let append = appends.get(word).filter(|&&at| !operations[at].is_failed());
        let Some(&at) = append.filter(|&&at| !numbers.contains_key(&at)) else {
            is_broken = true;
            break;
        };
        numbers.insert(at, writes.len());
        ends.push(ends[ends.len() - 1] + word.len());
        writes.push(write_of(at, operations[at]));
    }
    // What nobody has read stands behind all that was.
    for (at, operation) in operations.iter().enumerate() {
        if matches!(operation.call, Call::Append(_))
            && operation.answer().is_some()
            && !numbers.contains_key(&at)
        {
            numbers.insert(at, writes.len());
            writes.push(write_of(at, operation));
        }
    }
    let met = operations.iter().enumerate().map(|(at, operation)| {
        if let Some(seen) = observed(operation) {
            let value = seen.map_or("", |value| value.as_str());
            let number = ends.binary_search(&value.len()).ok().filter(|_| longest.starts_with(value));
            is_broken |= number.is_none();
            return number.into_iter().collect();
        }
        operation.answer().and(numbers.get(&at)).copied().into_iter().collect()
    });
    let met = met.collect();
    Some(Line { operations, writes, met, is_ordered: true, is_broken, is_loose: false })
}

impl Line<'_> {
    /// Reads that say where their client stood.
    pub(crate) fn reads(&self) -> usize {
        let read =
            |(operation, met): &(&&Operation, &Vec<usize>)| operation.call == Call::Read && !met.is_empty();
        self.operations.iter().zip(&self.met).filter(read).count()
    }

    /// Whether the one value was surely there before the other, and not after it.
    fn is_older(&self, one: usize, other: usize) -> bool {
        if self.is_ordered || one == 0 {
            return one < other;
        }
        self.writes[one].answered_ns.is_some_and(|ns| ns < self.writes[other].called_ns)
    }

    /// Whether one order of the operations of this key explains its answers, times apart.
    pub(crate) fn sequential(&self) -> Kept {
        if self.is_broken {
            return Kept::Broken;
        }
        let mut last: HashMap<ClientId, usize> = HashMap::new();
        // A value is there for one stretch of the order, so whoever meets two of them meets them in their order.
        let mut before: BTreeSet<(usize, usize)> = BTreeSet::new();
        for (operation, met) in self.operations.iter().zip(&self.met) {
            for &value in met {
                let earlier = last.insert(operation.client, value).unwrap_or(0);
                if earlier != value {
                    before.insert((earlier, value));
                }
                // Who reads what it writes only later.
                let is_early = self.writes[value].at.is_some_and(|at| {
                    let write = self.operations[at];
                    write.client == operation.client && write.id > operation.id
                });
                if is_early {
                    return Kept::Broken;
                }
            }
        }
        let is_fine = match self.is_ordered {
            true => before.iter().all(|(one, other)| one < other),
            false => has_no_circle(self.writes.len(), &before),
        };
        match is_fine {
            false => Kept::Broken,
            true if self.is_loose => Kept::Unknown,
            true => Kept::Kept,
        }
    }

    /// What each client could not rely on: which promise, and a sentence.
    pub(crate) fn sessions(&self, clients: &[(ClientId, Vec<usize>)]) -> Vec<(Promise, String)> {
        let mut broken = Vec::new();
        let own: Vec<Option<ClientId>> =
            self.writes.iter().map(|write| write.at.map(|at| self.operations[at].client)).collect();
        for (client, places) in clients {
            // The newest value of each, and the place of the operation.
            let mut read: Option<(usize, usize)> = None;
            let mut written: Option<(usize, usize)> = None;
            for &at in places {
                let Some(&value) = self.met[at].first() else { continue };
                let operation = self.operations[at];
                if matches!(operation.call, Call::Read) {
                    for (newer, promise) in
                        [(read, Promise::MonotonicReads), (written, Promise::ReadYourWrites)]
                    {
                        let Some((newer, earlier)) = newer.filter(|&(newer, _)| self.is_older(value, newer))
                        else {
                            continue;
                        };
                        broken.push((promise, self.after(operation, self.operations[earlier])));
                        let writer = own[newer].filter(|_| promise == Promise::MonotonicReads);
                        // The older one is of the same client, who had written it first.
                        if writer.is_some() && writer == own[value] {
                            broken.push((
                                Promise::MonotonicWrites,
                                self.after(operation, self.operations[earlier]),
                            ));
                        }
                    }
                    if read.is_none_or(|(newest, _)| self.is_older(newest, value)) {
                        read = Some((value, at));
                    }
                } else if let Some(&value) = self.met[at].last() {
                    let is_newer = written.is_none_or(|(newest, _)| self.is_older(newest, value));
                    if self.is_ordered && !is_newer {
                        let what =
                            format!("{} took effect before an earlier write of {client}", deed(operation));
                        broken.push((Promise::MonotonicWrites, what));
                    } else {
                        written = Some((value, at));
                    }
                }
            }
        }
        broken
    }

    /// `c4 read "a" at 12.550 s, after the write of "b" by c4 at 12.500 s`.
    fn after(&self, read: &Operation, earlier: &Operation) -> String {
        let what = match earlier.call {
            Call::Read => sight(earlier),
            Call::Write(_) | Call::Append(_) | Call::Cas { .. } | Call::Delete | Call::Txn(_) => {
                format!("{} at {}", deed(earlier), moment(earlier.invoked_ns))
            }
        };
        format!("{} on {}, after {what}", sight(read), read.key)
    }

    /// Reads that miss a write which had been answered before they were called.
    pub(crate) fn stale(&self) -> Vec<Stale> {
        // By calls, and for each the first answer from there on.
        let mut by_call: Vec<usize> = (1..self.writes.len()).collect();
        if !self.is_ordered {
            by_call.sort_by_key(|&write| self.writes[write].called_ns);
        }
        let mut first_from = vec![u64::MAX; by_call.len() + 1];
        for (place, &write) in by_call.iter().enumerate().rev() {
            first_from[place] = first_from[place + 1].min(self.writes[write].answered_ns.unwrap_or(u64::MAX));
        }
        let mut stale = Vec::new();
        for (read, met) in self.operations.iter().zip(&self.met) {
            let (Call::Read, Some(&value)) = (&read.call, met.first()) else { continue };
            let behind = match (self.is_ordered, self.writes[value].answered_ns) {
                (true, _) => value,
                (false, _) if value == 0 => 0,
                (false, Some(ns)) => by_call.partition_point(|&write| self.writes[write].called_ns <= ns),
                (false, None) => continue,
            };
            if first_from[behind.min(by_call.len())] >= read.invoked_ns {
                continue;
            }
            let missed =
                by_call[behind..].iter().take(NEWER_MAX).filter_map(|&write| self.writes[write].answered_ns);
            let writes = missed.filter(|&ns| ns < read.invoked_ns).count();
            let late_ns = read.invoked_ns - first_from[behind];
            let sentence = format!(
                "{} on {}, {} after the first of {writes} newer writes had been answered",
                sight(read),
                read.key,
                span(late_ns)
            );
            stale.push(Stale { late_ns, writes, sentence });
        }
        stale
    }
}

/// Whether numbers can be put in an order that has each first one before its second.
fn has_no_circle(count: usize, before: &BTreeSet<(usize, usize)>) -> bool {
    let mut waits = vec![0_usize; count];
    let mut next: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for &(one, other) in before {
        // What was there at first comes before all.
        if other == 0 {
            return false;
        }
        waits[other] += 1;
        next.entry(one).or_default().push(other);
    }
    let mut free: Vec<usize> = (0..count).filter(|&number| waits[number] == 0).collect();
    let mut placed = 0;
    while let Some(number) = free.pop() {
        placed += 1;
        for &other in next.get(&number).map_or(&[][..], Vec::as_slice) {
            waits[other] -= 1;
            if waits[other] == 0 {
                free.push(other);
            }
        }
    }
    placed == count
}
