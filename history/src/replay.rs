//! Replays an order of the operations on one key: no key is called valid on the word of whoever found the order. Knows nothing
//! of searches, of fast paths or of the model that they use.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::models::{Compare, Test, Told, TxnOp};
use crate::operation::{Answer, Call, KeyTxn, Operation, Value, Version};

/// Whether an order, in places of the operations, has every operation that was answered once, and none that failed,
/// contradicts no time, and gives every answer; the error says what is wrong with it.
pub(crate) fn confirm(operations: &[&Operation], order: &[usize]) -> Result<(), String> {
    let mut is_placed = vec![false; operations.len()];
    let mut value: Option<Cow<'_, str>> = None;
    let mut tied = Tied::default();
    // The latest call so far: what comes behind it must not have returned before it.
    let mut latest_ns = 0;
    for &at in order {
        let operation = operations.get(at).ok_or_else(|| format!("there is no operation {at}"))?;
        let id = operation.id;
        if std::mem::replace(&mut is_placed[at], true) {
            return Err(format!("{id} stands in the order twice"));
        }
        if operation.is_failed() {
            return Err(format!("{id} failed, but stands in the order"));
        }
        if operation.answered_ns().is_some_and(|ns| ns < latest_ns) {
            return Err(format!("{id} returned before one that stands before it was called"));
        }
        latest_ns = latest_ns.max(operation.invoked_ns);
        let is_right = match &operation.call {
            Call::Txn(txn) => tied.takes_effect(txn, operation.answer()),
            call => takes_effect(&mut value, call, operation.answer()),
        };
        if !is_right {
            return Err(format!("{id} is answered otherwise"));
        }
    }
    let missing =
        operations.iter().zip(is_placed).find(|(other, is_placed)| !is_placed && other.answer().is_some());
    missing.map_or(Ok(()), |(operation, _)| Err(format!("{} is missing", operation.id)))
}

/// Lets a call take effect; false: this is not its answer there.
fn takes_effect<'a>(value: &mut Option<Cow<'a, str>>, call: &'a Call, answer: Option<&Answer>) -> bool {
    match call {
        Call::Read => match answer {
            Some(Answer::Value(seen)) => seen.as_deref() == value.as_deref(),
            Some(_) => false,
            None => true,
        },
        Call::Write(new) => {
            *value = Some(Cow::Borrowed(new));
            matches!(answer, Some(Answer::Done) | None)
        }
        Call::Append(text) => {
            value.get_or_insert_default().to_mut().push_str(text);
            matches!(answer, Some(Answer::Done) | None)
        }
        Call::Delete => {
            *value = None;
            matches!(answer, Some(Answer::Done) | None)
        }
        Call::Cas { expected, new } => {
            let is_expected = expected.as_deref() == value.as_deref();
            let is_right = match answer {
                Some(Answer::CasDone) => is_expected,
                Some(Answer::CasFailed(None)) => !is_expected,
                Some(Answer::CasFailed(Some(found))) => !is_expected && Some(&**found) == value.as_deref(),
                Some(Answer::CasFailedAbsent) => !is_expected && value.is_none(),
                Some(Answer::Value(_) | Answer::Done | Answer::Txn(_)) => false,
                None => true,
            };
            if is_expected {
                *value = Some(Cow::Borrowed(new));
            }
            is_right
        }
        Call::Txn(_) => false,
    }
}

/// Keys under a tag: of each its value and, where an answer told it, its version.
#[derive(Default)]
struct Tied<'a>(BTreeMap<&'a str, (String, Option<Version>)>);

impl<'a> Tied<'a> {
    fn takes_effect(&mut self, txn: &'a KeyTxn, answer: Option<&Answer>) -> bool {
        let ret = match answer {
            Some(Answer::Txn(ret)) => Some(ret),
            Some(_) => return false,
            None => None,
        };
        let holds = txn.compares.iter().all(|Compare { key, test }| {
            let there = self.0.get(&**key);
            let value = there.map(|(value, _)| value.as_str());
            match test {
                Test::Is(wanted) => value == wanted.as_deref(),
                Test::IsNot(unwanted) => value != unwanted.as_deref(),
                Test::HasVersion(wanted) => there.is_some_and(|(_, version)| *version == Some(*wanted)),
            }
        });
        let ops = if holds { &txn.then } else { &txn.or_else };
        if ret.is_some_and(|ret| ret.succeeded != holds || ret.told.len() != ops.len()) {
            return false;
        }
        ops.iter().enumerate().all(|(at, op)| self.does(op, ret.map(|ret| &ret.told[at])))
    }

    fn does(&mut self, op: &'a TxnOp<Value, Value>, told: Option<&Told<Value>>) -> bool {
        let made = match told {
            Some(Told::Made(version)) => *version,
            Some(Told::Value(_)) | None => None,
        };
        let is_read = matches!(op, TxnOp::Get(_));
        if told.is_some_and(|told| matches!(told, Told::Value(_)) != is_read) {
            return false;
        }
        match op {
            TxnOp::Get(key) => match (told, self.0.get_mut(&**key)) {
                (Some(Told::Value(Some((seen, version)))), Some((value, known))) => {
                    let is_known = version.is_none() || known.is_none() || version == known;
                    *known = known.or(*version);
                    **seen == **value && is_known
                }
                (Some(Told::Value(seen)), there) => seen.is_none() && there.is_none(),
                (Some(Told::Made(_)) | None, _) => told.is_none(),
            },
            TxnOp::Put(key, new) => {
                self.0.insert(key, (new.to_string(), made));
                true
            }
            TxnOp::Append(key, tail) => {
                let (value, version) = self.0.entry(key).or_default();
                value.push_str(tail);
                *version = made;
                true
            }
            TxnOp::Delete(key) => {
                self.0.remove(&**key);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use stateright::semantics::SequentialSpec;

    use super::*;
    use crate::model::KeyModel;
    use crate::operation::{Claim, ClientId, OpId, Outcome, Value};

    /// Every answer to every call on every value of a small world: the replayer and the model say the same.
    #[test]
    fn it_believes_in_the_same_store_as_the_model() {
        let values: Vec<Option<Value>> = vec![None, Some("a".into()), Some("b".into()), Some("ab".into())];
        let texts: Vec<Value> = values.iter().flatten().cloned().collect();
        let mut calls = vec![Call::Read, Call::Delete];
        calls.extend(texts.iter().flat_map(|text| [Call::Write(text.clone()), Call::Append(text.clone())]));
        for expected in &values {
            calls.extend(texts.iter().map(|new| Call::Cas { expected: expected.clone(), new: new.clone() }));
        }
        let mut answers = vec![Answer::Done, Answer::CasDone, Answer::CasFailedAbsent];
        answers.extend(
            values.iter().flat_map(|value| [Answer::Value(value.clone()), Answer::CasFailed(value.clone())]),
        );
        for before in &values {
            for call in &calls {
                for answer in answers.iter().map(Some).chain([None]) {
                    let mut model = KeyModel { value: before.clone() };
                    let is_right = match answer {
                        Some(answer) => model.is_valid_step(call, answer),
                        None => {
                            model.invoke(call);
                            true
                        }
                    };
                    let mut value = before.as_deref().map(Cow::Borrowed);
                    assert_eq!(
                        takes_effect(&mut value, call, answer),
                        is_right,
                        "{before:?} {call:?} {answer:?}"
                    );
                    if is_right {
                        assert_eq!(value.as_deref(), model.value.as_deref(), "{before:?} {call:?}");
                    }
                }
            }
        }
    }

    fn operation(id: u64, call: Call, from_ns: u64, returned: Option<(u64, Outcome)>) -> Operation {
        let (id, client, key) = (OpId(id), ClientId(0), Arc::from("k"));
        Operation { id, client, key, call, invoked_ns: from_ns, returned, node: None }
    }

    #[test]
    fn an_order_has_every_answered_operation_once_in_time() {
        let ok = |ns: u64, answer: Answer| Some((ns, Outcome::Ok(answer, Claim::default())));
        let all = [
            operation(0, Call::Write("a".into()), 0, ok(10, Answer::Done)),
            operation(1, Call::Write("b".into()), 5, ok(15, Answer::Done)),
            operation(2, Call::Read, 20, ok(30, Answer::Value(Some("b".into())))),
            operation(3, Call::Delete, 20, None),
            operation(4, Call::Delete, 20, Some((25, Outcome::Failed("refused".to_owned())))),
        ];
        let all: Vec<&Operation> = all.iter().collect();
        let check = |order: &[usize], expected: Result<(), &str>| {
            assert_eq!(confirm(&all, order), expected.map_err(str::to_owned), "{order:?}");
        };
        check(&[0, 1, 2], Ok(()));
        check(&[0, 1, 2, 3], Ok(()));
        check(&[1, 0, 2], Err("#2 is answered otherwise"));
        check(&[0, 1, 3, 2], Err("#2 is answered otherwise"));
        check(&[0, 2, 1], Err("#2 is answered otherwise"));
        check(&[0, 3, 1, 2], Err("#1 returned before one that stands before it was called"));
        check(&[0, 1, 2, 1], Err("#1 stands in the order twice"));
        check(&[0, 1, 4, 2], Err("#4 failed, but stands in the order"));
        check(&[0, 1], Err("#2 is missing"));
        check(&[0, 1, 2, 5], Err("there is no operation 5"));
    }
}
