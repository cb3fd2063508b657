//! The store that histories are compared with: one key, sequential, without faults.

use stateright::semantics::SequentialSpec;

use crate::linear::{Entry, Model, Sights, Trace, step_of_spec};
use crate::operation::{Answer, Call, Value};

/// One key: its value, or absent, as it is at first.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct KeyModel {
    /// The value.
    pub value: Option<Value>,
}

impl SequentialSpec for KeyModel {
    type Op = Call;
    type Ret = Answer;

    fn invoke(&mut self, call: &Call) -> Answer {
        match call {
            Call::Read => Answer::Value(self.value.clone()),
            Call::Write(value) => {
                self.value = Some(value.clone());
                Answer::Done
            }
            Call::Append(text) => {
                self.value = Some(match &self.value {
                    Some(value) => Value::from(format!("{value}{text}")),
                    None => text.clone(),
                });
                Answer::Done
            }
            Call::Cas { expected, new } if *expected == self.value => {
                self.value = Some(new.clone());
                Answer::CasDone
            }
            Call::Cas { .. } => match &self.value {
                Some(value) => Answer::CasFailed(Some(value.clone())),
                None => Answer::CasFailedAbsent,
            },
            Call::Delete => {
                self.value = None;
                Answer::Done
            }
            Call::Txn(_) => unreachable!("keys that transactions tie are no key alone: see `txn_model`"),
        }
    }

    fn is_valid_step(&mut self, call: &Call, answer: &Answer) -> bool {
        let truth = self.invoke(call);
        // A failure that does not say what was found fits every failure.
        let is_failure = matches!(truth, Answer::CasFailed(_) | Answer::CasFailedAbsent);
        truth == *answer || (is_failure && *answer == Answer::CasFailed(None))
    }
}

impl Model for KeyModel {
    type Op = Call;
    type Ret = Answer;

    fn step(&self, call: &Call, answer: Option<&Answer>) -> Option<Self> {
        step_of_spec(self, call, answer)
    }

    fn is_pure(call: &Call, answer: Option<&Answer>) -> bool {
        match call {
            Call::Read => true,
            Call::Cas { expected, new } => {
                let is_failure = matches!(answer, Some(Answer::CasFailed(_) | Answer::CasFailedAbsent));
                is_failure || expected.as_ref() == Some(new)
            }
            Call::Write(_) | Call::Append(_) | Call::Delete | Call::Txn(_) => false,
        }
    }

    fn is_blind(call: &Call) -> bool {
        matches!(call, Call::Write(_) | Call::Delete)
    }

    fn is_quiet(call: &Call) -> bool {
        matches!(call, Call::Write(_) | Call::Append(_) | Call::Delete)
    }

    /// A value that no answer shows and no compare-and-set hopes for: whatever stands right behind the call that makes it can
    /// be no answered read, no compare-and-set that succeeds, and none that fails and says what it found, for they would have
    /// to show the value. So it is a call that does not look (a write, a delete), or nothing, and the order without this
    /// call is as good. A failure that does not say what it found could need the value, and an append would carry it
    /// along: then nothing is concluded.
    fn is_out_of_sight(call: &Call, others: &Trace<Self>) -> bool {
        let value = match call {
            Call::Read => return true,
            Call::Write(value) | Call::Cas { new: value, .. } => value,
            Call::Append(_) | Call::Delete | Call::Txn(_) => return false,
        };
        !others.iter().any(|other| match (&other.op, other.returned.as_ref().map(|(_, answer)| answer)) {
            (Call::Append(_), _) | (_, Some(Answer::CasFailed(None))) => true,
            (Call::Cas { expected: Some(hoped), .. }, None | Some(Answer::CasDone)) => hoped == value,
            (_, Some(Answer::Value(Some(seen)) | Answer::CasFailed(Some(seen)))) => seen == value,
            (_, _) => false,
        })
    }

    /// The values that answers show and that compare-and-sets expect. A failure that does not say what it found denies what it
    /// expected.
    fn sights(trace: &Trace<Self>) -> Option<Sights<Self>> {
        let (mut told, mut denied) = (Vec::new(), Vec::new());
        for Entry { op, returned, .. } in trace {
            let answer = returned.as_ref().map(|(_, answer)| answer);
            match answer {
                Some(Answer::Value(value) | Answer::CasFailed(value)) => told.push(value),
                Some(Answer::Done | Answer::CasDone | Answer::CasFailedAbsent | Answer::Txn(_)) | None => {}
            }
            if let Call::Cas { expected, .. } = op {
                told.push(expected);
                denied.extend((answer == Some(&Answer::CasFailed(None))).then_some(expected));
            }
        }
        let ascending = |mut values: Vec<&Option<Value>>| {
            values.sort_unstable();
            values.dedup();
            values.into_iter().map(|value| KeyModel { value: value.clone() }).collect()
        };
        Some(Sights { told: ascending(told), denied: ascending(denied) })
    }

    /// Until the next call that does not look (a write, a delete) the value only gets longer; an absent key may become
    /// anything.
    fn leads_to_any(&self, states: &[Self]) -> bool {
        let Some(value) = &self.value else { return !states.is_empty() };
        let behind = states.partition_point(|other| other.value < self.value);
        let next = states.get(behind).and_then(|other| other.value.as_ref());
        next.is_some_and(|other| other.starts_with(value.as_str()))
    }

    fn heap_bytes(&self) -> usize {
        self.value.as_ref().map_or(0, |value| value.len() + 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(calls: &[(Call, Answer)], expected: bool) {
        let valid = KeyModel::default().is_valid_history(calls.iter().cloned());
        assert_eq!(valid, expected, "{calls:?}");
    }

    fn value(text: &str) -> Option<Value> {
        Some(Value::from(text))
    }

    fn cas(expected: Option<&str>, new: &str) -> Call {
        Call::Cas { expected: expected.map(Value::from), new: new.into() }
    }

    #[test]
    fn a_key_is_absent_written_appended_to_and_deleted() {
        check(&[(Call::Read, Answer::Value(None)), (Call::Delete, Answer::Done)], true);
        check(&[(Call::Append("a".into()), Answer::Done), (Call::Read, Answer::Value(value("a")))], true);
        check(
            &[
                (Call::Write("a".into()), Answer::Done),
                (Call::Append("b".into()), Answer::Done),
                (Call::Read, Answer::Value(value("ab"))),
                (Call::Delete, Answer::Done),
                (Call::Read, Answer::Value(None)),
            ],
            true,
        );
        check(&[(Call::Write("a".into()), Answer::Done), (Call::Read, Answer::Value(None))], false);
    }

    #[test]
    fn cas_compares_and_says_what_it_found() {
        check(&[(cas(None, "a"), Answer::CasDone), (cas(Some("a"), "b"), Answer::CasDone)], true);
        check(&[(cas(Some("a"), "b"), Answer::CasFailedAbsent)], true);
        check(&[(cas(Some("a"), "b"), Answer::CasFailed(None))], true);
        check(&[(cas(None, "b"), Answer::CasFailedAbsent)], false);
        check(
            &[(Call::Write("x".into()), Answer::Done), (cas(Some("a"), "b"), Answer::CasFailedAbsent)],
            false,
        );
        check(
            &[(Call::Write("x".into()), Answer::Done), (cas(Some("a"), "b"), Answer::CasFailed(value("x")))],
            true,
        );
        check(
            &[(Call::Write("x".into()), Answer::Done), (cas(Some("x"), "b"), Answer::CasFailed(None))],
            false,
        );
    }
}
