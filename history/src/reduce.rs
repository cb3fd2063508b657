//! Steps towards a few operations that nothing explains, for a whole key at once: where the operations before a step have an
//! order, those after it have one. (The steps of the search's own cores stand in `linear::core`.)
//!
//! * **Leave out all that is about some values**: every operation that sees or leaves one of them. Take an order of all. An
//!   operation that stays and sees a value sees what the last change before it left, or what was there at first; that change is
//!   about the same value, so it stays, and none came between the two. A compare-and-set joins the values that it expects and
//!   leaves. One that failed without saying what it found sees something else than it expected, which says nothing of what
//!   stays: it is left out with every value. Where there are appends this is of no use.
//! * **Forget what came before** a write or delete that was answered: whatever was there, it leaves the same. Left out is what had
//!   returned before it was called, and what ran beside it and changes nothing; what ran beside it and changes something may
//!   take effect at any later time, or never. In an order of all, take it and what stands behind it: those that are left and
//!   stand before it are free to do nothing.
//! * **Erase words**, where nothing but reads and appends of single words happens: as if those words had never been appended.
//!   An order of all, without their appends, explains the reads without them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::certificate::KeyEntry;
use crate::linear::Model;
use crate::operation::{Answer, Call, Operation, Outcome, Value};

/// Reductions that are tried for one key: each costs a judgement of what is left.
const TRIALS_MAX: usize = 200;

/// Words in all answers together that are taken apart.
const WORDS_MAX: usize = 2_000_000;

/// What an operation is about: places of groups of values. `None` among the operations of a key with appends.
pub(crate) struct Groups {
    /// Of each operation its group; `None`: it is left out with any of them.
    of: Vec<Option<usize>>,
    /// How many there are.
    pub(crate) count: usize,
}

impl Groups {
    /// Groups the operations by the values that they see or leave.
    pub(crate) fn of<'a>(all: impl Iterator<Item = (&'a Call, Option<&'a Answer>)>) -> Option<Groups> {
        let mut joined = Joined::default();
        let mut about: Vec<Option<usize>> = Vec::new();
        for (call, answer) in all {
            about.push(match (call, answer) {
                (Call::Append(_) | Call::Txn(_), _) => return None,
                (Call::Read, Some(Answer::Value(value))) => Some(joined.place(value.as_ref())),
                (Call::Cas { .. }, Some(Answer::CasFailed(Some(found)))) => Some(joined.place(Some(found))),
                (Call::Cas { .. }, Some(Answer::CasFailedAbsent)) => Some(joined.place(None)),
                (Call::Write(value), _) => Some(joined.place(Some(value))),
                (Call::Delete, _) => Some(joined.place(None)),
                (Call::Cas { .. }, Some(Answer::CasFailed(None))) | (Call::Read, _) => None,
                (Call::Cas { expected, new }, _) => Some(joined.join(expected.as_ref(), new)),
            });
        }
        let mut names: BTreeMap<usize, usize> = BTreeMap::new();
        let mut group = |place: usize| {
            let root = joined.root(place);
            let next = names.len();
            *names.entry(root).or_insert(next)
        };
        let of: Vec<Option<usize>> = about.into_iter().map(|place| place.map(&mut group)).collect();
        Some(Groups { count: names.len(), of })
    }

    /// The places of operations that are about none but these groups.
    pub(crate) fn kept(&self, groups: &BTreeSet<usize>) -> Vec<usize> {
        let is_kept = |at: &usize| match self.of[*at] {
            Some(group) => groups.contains(&group),
            None => groups.len() == self.count,
        };
        (0..self.of.len()).filter(is_kept).collect()
    }
}

/// What is left when all before this answered write or delete is forgotten: places, each with whether it counts as open.
pub(crate) fn behind<M: Model<Op = Call, Ret = Answer>>(
    trace: &[KeyEntry],
    write: usize,
) -> Vec<(usize, bool)> {
    let called = trace[write].called;
    let returned = trace[write].returned.as_ref().map_or(u64::MAX, |(ns, _)| *ns);
    let left = trace.iter().enumerate().filter_map(|(at, entry)| match &entry.returned {
        _ if at == write => Some((at, false)),
        None => Some((at, true)),
        Some((ns, _)) if *ns < called => None,
        Some((_, answer)) if entry.called <= returned => {
            (!M::is_pure(&entry.op, Some(answer))).then_some((at, true))
        }
        Some(_) => Some((at, false)),
    });
    left.collect()
}

/// Values that belong together (union and find).
#[derive(Default)]
struct Joined<'a> {
    places: HashMap<Option<&'a Value>, usize>,
    parents: Vec<usize>,
}

impl<'a> Joined<'a> {
    fn place(&mut self, value: Option<&'a Value>) -> usize {
        let parents = &mut self.parents;
        *self.places.entry(value).or_insert_with(|| {
            parents.push(parents.len());
            parents.len() - 1
        })
    }

    fn join(&mut self, one: Option<&'a Value>, other: &'a Value) -> usize {
        let (one, other) = (self.place(one), self.place(Some(other)));
        let (one, other) = (self.root(one), self.root(other));
        self.parents[one] = other;
        other
    }

    fn root(&mut self, mut place: usize) -> usize {
        while self.parents[place] != place {
            // Half the way up at each step, so that the next walk is short.
            self.parents[place] = self.parents[self.parents[place]];
            place = self.parents[place];
        }
        place
    }
}

/// Takes as many of `count` parts away as the rest fails without; larger portions first. The parts that are left.
pub(crate) fn fewest(count: usize, mut fails: impl FnMut(&BTreeSet<usize>) -> bool) -> BTreeSet<usize> {
    let mut kept: BTreeSet<usize> = (0..count).collect();
    let mut size = count.div_ceil(2);
    let mut trials = 0;
    while size > 0 {
        let parts: Vec<usize> = kept.iter().copied().collect();
        for portion in parts.chunks(size) {
            if trials == TRIALS_MAX {
                return kept;
            }
            trials += 1;
            let fewer: BTreeSet<usize> =
                kept.iter().copied().filter(|part| !portion.contains(part)).collect();
            if !fewer.is_empty() && fails(&fewer) {
                kept = fewer;
            }
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
    kept
}

/// A key of nothing but reads and appends of single words: texts that end in their only comma, or in their only blank.
pub(crate) struct Words<'a> {
    operations: Vec<&'a Operation>,
    /// The words, each once.
    words: Vec<&'a str>,
    /// Of each operation the words of its append or of its answer.
    of: Vec<Vec<usize>>,
}

impl<'a> Words<'a> {
    /// `None` where it is no such key, or too long a one.
    pub(crate) fn of(operations: &[&'a Operation]) -> Option<Words<'a>> {
        let first = operations.iter().find_map(|operation| match &operation.call {
            Call::Append(word) => word.chars().last(),
            Call::Read | Call::Write(_) | Call::Cas { .. } | Call::Delete | Call::Txn(_) => None,
        });
        let mark = first.filter(|mark| [',', ' '].contains(mark))?;
        let mut all = Words { operations: operations.to_vec(), words: Vec::new(), of: Vec::new() };
        let mut places: HashMap<&str, usize> = HashMap::new();
        let mut total = 0;
        for operation in operations {
            let text: &'a str = match (&operation.call, operation.answer()) {
                (Call::Append(word), _) if word.len() > 1 && word.find(mark) == Some(word.len() - 1) => word,
                (Call::Read, Some(Answer::Value(Some(value)))) => value,
                (Call::Read, _) => "",
                _ => return None,
            };
            let words = text.split_inclusive(mark).map(|word| {
                *places.entry(word).or_insert_with(|| {
                    all.words.push(word);
                    all.words.len() - 1
                })
            });
            let words: Vec<usize> = words.collect();
            total += words.len();
            if total > WORDS_MAX {
                return None;
            }
            all.of.push(words);
        }
        Some(all)
    }

    /// How many words there are.
    pub(crate) fn count(&self) -> usize {
        self.words.len()
    }

    /// Their texts.
    pub(crate) fn texts(&self, kept: &BTreeSet<usize>) -> Vec<Value> {
        kept.iter().map(|&word| Value::from(self.words[word])).collect()
    }

    /// The operations as if only these words had ever been appended.
    pub(crate) fn only(&self, kept: &BTreeSet<usize>) -> Vec<Operation> {
        let mut left = Vec::new();
        for (operation, words) in self.operations.iter().zip(&self.of) {
            let value: String =
                words.iter().filter(|word| kept.contains(word)).map(|&word| self.words[word]).collect();
            left.extend(erased(operation, value));
        }
        left
    }
}

/// An operation of which this is left: of an append of which nothing is left, nothing.
fn erased(operation: &Operation, value: String) -> Option<Operation> {
    let mut operation = operation.clone();
    if let Call::Append(_) = operation.call {
        return (!value.is_empty()).then_some(operation);
    }
    if let Some((_, Outcome::Ok(Answer::Value(seen), _))) = &mut operation.returned {
        *seen = (!value.is_empty()).then(|| Value::from(value));
    }
    Some(operation)
}

/// As [`Words::only`], for one operation and words by their texts: what a certificate means by them.
pub(crate) fn only_words(operation: &Operation, kept: &[Value]) -> Option<Operation> {
    let mark = kept.first().and_then(|word| word.chars().last()).unwrap_or(',');
    let text: &str = match (&operation.call, operation.answer()) {
        (Call::Append(word), _) => word,
        (_, Some(Answer::Value(Some(value)))) => value,
        _ => "",
    };
    let pieces = text.split_inclusive(mark);
    let value = pieces.filter(|piece| kept.iter().any(|word| word.as_str() == *piece)).collect();
    erased(operation, value)
}

#[cfg(test)]
#[path = "reduce_tests.rs"]
mod tests;
