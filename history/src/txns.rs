//! Transactions over several keys in Jepsen's maps, for [`crate::objects`].
//!
//! ```text
//! {:f :txn, :value [[:r 1 nil] [:w 2 5]]}                    answered by the same with what was read: [[:r 1 3] [:w 2 5]]
//! {:f :txn, :value {:compare [[1 := 3] [2 :version "1.42"]], :then [[:w 1 4]], :else [[:r 1 nil]]}}
//!                                                            answered by {:succeeded false, :told [[:r 1 7 "1.50"]]}
//! ```
//!
//! Compares are `:=` and `:!=` with a value (`nil`: absent) and `:version`; operations are `:r`, `:w`, `:append` and `:d` (delete). A fourth
//! part of what is answered is the version that was read or made, where the store tells it.

use std::collections::HashMap;
use std::hash::Hash;

use crate::formats::Form;
use crate::formats::deeds::Deed;
use crate::models::{Compare, Test, Told, Txn, TxnOp, TxnRet};
use crate::operation::Version;

/// A transaction on keys and values as texts.
pub(crate) type TextTxn = Txn<String, String>;

/// Its answer.
pub(crate) type TextRet = TxnRet<String>;

/// What a deed asks, and the answer that it got, if it got one.
pub(crate) fn txn(deed: &Deed) -> Result<(TextTxn, Option<TextRet>), String> {
    if deed.f != "txn" {
        return Err(format!(":{} {} is no operation of it", deed.f, deed.asked));
    }
    let asked = match &deed.asked {
        Form::Map(_) => Txn {
            compares: many(&deed.asked, "compare", compare)?,
            then: many(&deed.asked, "then", operation)?,
            or_else: many(&deed.asked, "else", operation)?,
        },
        list => Txn { compares: Vec::new(), then: all(list, operation)?, or_else: Vec::new() },
    };
    let answer = deed.returned.as_ref().map(|(_, form)| answer(&asked, form));
    let answer = answer.transpose()?;
    Ok((asked, answer))
}

/// A part of a map; `nil` where it has none.
fn part<'a>(map: &'a Form, name: &str) -> &'a Form {
    let Form::Map(entries) = map else { return &Form::Nil };
    entries.iter().find(|(key, _)| key.name() == Some(name)).map_or(&Form::Nil, |(_, form)| form)
}

fn many<T>(map: &Form, name: &str, each: fn(&Form) -> Result<T, String>) -> Result<Vec<T>, String> {
    match part(map, name) {
        Form::Nil => Ok(Vec::new()),
        list => all(list, each),
    }
}

fn all<T>(list: &Form, each: fn(&Form) -> Result<T, String>) -> Result<Vec<T>, String> {
    let parts = list.parts().ok_or_else(|| format!("{list}, expected a vector"))?;
    parts.iter().map(each).collect()
}

fn value(form: &Form) -> Option<String> {
    (*form != Form::Nil).then(|| form.to_value())
}

fn version(form: &Form) -> Result<Option<Version>, String> {
    match form {
        Form::Nil => Ok(None),
        Form::Text(text) => text.parse().map(Some).map_err(|error| format!("{error}")),
        form => Err(format!("{form} is no version, expected one like \"1.42\"")),
    }
}

fn compare(form: &Form) -> Result<Compare<String, String>, String> {
    let wrong = || format!("{form} is no compare, expected [key := value], :!= or :version");
    let Some([key, test, wanted]) = form.parts() else { return Err(wrong()) };
    let test = match test.name() {
        Some("=") => Test::Is(value(wanted)),
        Some("!=") => Test::IsNot(value(wanted)),
        Some("version") => Test::HasVersion(version(wanted)?.ok_or_else(wrong)?),
        _ => return Err(wrong()),
    };
    Ok(Compare { key: key.to_value(), test })
}

fn operation(form: &Form) -> Result<TxnOp<String, String>, String> {
    let wrong = || {
        format!(
            "{form} is no operation of a transaction, expected [:r key nil], [:w key value], [:append key value] or [:d key]"
        )
    };
    let (f, key, rest) = match form.parts() {
        Some([f, key, rest @ ..]) if rest.len() <= 1 => (f, key.to_value(), rest.first()),
        _ => return Err(wrong()),
    };
    match (f.name(), rest.and_then(value)) {
        (Some("r"), None) => Ok(TxnOp::Get(key)),
        (Some("w"), Some(new)) => Ok(TxnOp::Put(key, new)),
        (Some("append"), Some(tail)) => Ok(TxnOp::Append(key, tail)),
        (Some("d"), None) => Ok(TxnOp::Delete(key)),
        _ => Err(wrong()),
    }
}

fn answer(asked: &TextTxn, form: &Form) -> Result<TextRet, String> {
    let (succeeded, told) = match form {
        Form::Map(_) => match part(form, "succeeded") {
            Form::Bool(succeeded) => (*succeeded, part(form, "told")),
            other => return Err(format!(":succeeded is {other}, expected true or false")),
        },
        list => (true, list),
    };
    let ops = if succeeded { &asked.then } else { &asked.or_else };
    let parts = match told {
        Form::Nil => &[][..],
        told => told.parts().ok_or_else(|| format!("{told}, expected a vector"))?,
    };
    if parts.len() != ops.len() {
        return Err(format!("{told} answers {} operations, there are {}", parts.len(), ops.len()));
    }
    let told = ops.iter().zip(parts).map(|(op, form)| told_of(op, form)).collect::<Result<_, _>>()?;
    Ok(TxnRet { succeeded, told })
}

fn told_of(op: &TxnOp<String, String>, form: &Form) -> Result<Told<String>, String> {
    let wrong = || format!("{form} does not answer its operation");
    let (f, key, rest) = match form.parts() {
        Some([f, key, rest @ ..]) if rest.len() <= 2 && key.to_value() == *op.key() => (f, key, rest),
        _ => return Err(wrong()),
    };
    let told = rest.get(1).map_or(Ok(None), version)?;
    match (op, f.name()) {
        (TxnOp::Get(_), Some("r")) => {
            Ok(Told::Value(rest.first().and_then(value).map(|value| (value, told))))
        }
        (TxnOp::Put(..), Some("w")) | (TxnOp::Append(..), Some("append")) | (TxnOp::Delete(_), Some("d")) => {
            Ok(Told::Made(told))
        }
        _ => Err(format!("{} (key {key})", wrong())),
    }
}

/// A transaction that compares with a version which no answer had told before it was called: how the store chose it nobody
/// knows, so that nothing can be said.
pub(crate) fn unfounded<'a, K: Hash + Eq + 'a, V: 'a>(
    trace: impl Iterator<Item = (&'a Txn<K, V>, u64, Option<(u64, &'a TxnRet<V>)>)> + Clone,
) -> Option<usize> {
    let mut told_by: HashMap<(&K, Version), u64> = HashMap::new();
    for (txn, _, returned) in trace.clone() {
        let Some((ns, ret)) = returned else { continue };
        for (op, told) in txn.branch(ret.succeeded).iter().zip(&ret.told) {
            let version = match told {
                Told::Value(seen) => seen.as_ref().and_then(|(_, version)| *version),
                Told::Made(version) => *version,
            };
            if let Some(version) = version {
                let first = told_by.entry((op.key(), version)).or_insert(ns);
                *first = (*first).min(ns);
            }
        }
    }
    let is_told = |key, version, called| told_by.get(&(key, version)).is_some_and(|ns| *ns < called);
    let mut trace = trace;
    trace.position(|(txn, called, _)| !txn.versions().all(|(key, version)| is_told(key, version, called)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::check::Budget;
    use crate::objects::{Object, judge_object};
    use crate::report::Verdict;

    /// Lines of (process, type, value), in the order of time.
    fn check(lines: &[(u32, &str, &str)], expected: Verdict, words: &str) {
        let text: String = lines
            .iter()
            .map(|(process, kind, value)| {
                format!("{{:process {process}, :type :{kind}, :f :txn, :value {value}}}\n")
            })
            .collect();
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("history.edn");
        std::fs::write(&path, &text).expect("it is written");
        let budget = Budget { time: Duration::from_secs(10), ..Budget::default() };
        let report =
            judge_object(&path, None, &Object::Txn, &budget).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(report.verdict, expected, "{text}{}", report.sentence);
        assert!(report.sentence.contains(words), "{}", report.sentence);
    }

    #[test]
    fn all_of_a_transaction_happens_at_one_moment() {
        let write = [(0, "invoke", "[[:w 1 5] [:w 2 6]]"), (1, "invoke", "[[:r 1 nil] [:r 2 nil]]")];
        let seen = |seen: &'static str| [&write[..], &[(1, "ok", seen)]].concat();
        check(&seen("[[:r 1 5] [:r 2 6]]"), Verdict::Valid, "2 operations");
        check(&seen("[[:r 1 nil] [:r 2 nil]]"), Verdict::Valid, "");
        check(&seen("[[:r 1 5] [:r 2 nil]]"), Verdict::Invalid, "store");
    }

    #[test]
    fn compares_decide_which_branch_is_taken() {
        let asked = "{:compare [[1 := 5] [2 :!= nil]], :then [[:w 1 7]], :else [[:r 2 nil]]}";
        let story = |answer: &'static str| {
            [(0, "invoke", "[[:w 1 5]]"), (0, "ok", "[[:w 1 5]]"), (1, "invoke", asked), (1, "ok", answer)]
        };
        check(&story("{:succeeded false, :told [[:r 2 nil]]}"), Verdict::Valid, "");
        check(&story("{:succeeded true, :told [[:w 1 7]]}"), Verdict::Invalid, "process 1");
    }

    #[test]
    fn versions_are_compared_with_what_answers_told() {
        let asked = "{:compare [[1 :version \"1.4\"]], :then [[:d 1]]}";
        let story = |told: &'static str, answer: &'static str| {
            [(0, "invoke", "[[:w 1 5]]"), (0, "ok", told), (1, "invoke", asked), (1, "ok", answer)]
        };
        check(&story("[[:w 1 5 \"1.4\"]]", "{:succeeded true, :told [[:d 1]]}"), Verdict::Valid, "");
        check(&story("[[:w 1 5 \"1.4\"]]", "{:succeeded false}"), Verdict::Invalid, "");
        // Who told the client of it? Nothing is known of that store's versions then.
        check(&story("[[:w 1 5]]", "{:succeeded false}"), Verdict::Unknown, "no answer had told");
    }

    #[test]
    fn keys_that_nothing_ties_are_judged_apart() {
        // A hundred keys at once, all pending: their orders together are beyond any search.
        let writes = (0..100).map(|key| (key, "invoke", format!("[[:w {key} 1]]")));
        let reads = (0..100).flat_map(|key| {
            let asked = (100 + key, "invoke", format!("[[:r {key} nil]]"));
            [asked, (100 + key, "ok", format!("[[:r {key} 1]]"))]
        });
        let lines: Vec<(u32, &str, String)> = writes.chain(reads).collect();
        let lines: Vec<(u32, &str, &str)> =
            lines.iter().map(|(who, kind, value)| (*who, *kind, value.as_str())).collect();
        check(&lines, Verdict::Valid, "200 operations");
    }
}
