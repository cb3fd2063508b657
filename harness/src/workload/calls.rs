//! What is asked on a key.

use std::collections::VecDeque;

use ordeal_history::{Call, ClientId, Value};
use rand::RngExt;
use rand_pcg::Pcg64Mcg;

use super::bank;
use super::keys::Known;
use crate::plan::WorkloadKind;

/// Draws what to ask on a key of which this is known. `number` makes a value unique that is
/// written: no client numbers two operations alike.
pub fn draw(kind: WorkloadKind, rng: &mut Pcg64Mcg, known: &Known, client: ClientId, number: u64) -> Call {
    let percent = rng.random_range(0..100u32);
    let value = || Value::from(format!("{client}-{number}"));
    match kind {
        WorkloadKind::Register if percent < 50 => Call::Read,
        WorkloadKind::Register => Call::Write(value()),
        WorkloadKind::Append if percent < 40 => Call::Read,
        // The end mark keeps `c3-1` and `c3-17` apart within one value. It is the one by which the judge tells words apart:
        // with another it could still decide, but name nothing.
        WorkloadKind::Append => Call::Append(Value::from(format!("{client}-{number},"))),
        WorkloadKind::Cas if percent < 30 => Call::Read,
        WorkloadKind::Cas if percent < 45 => Call::Write(value()),
        WorkloadKind::Cas => Call::Cas { expected: expected(rng, &known.seen), new: value() },
        WorkloadKind::Bank => bank::draw(rng, known.accounts.as_ref()),
    }
}

/// Mostly the newest value, so that some succeed; now and then an older one, or absence, which must fail.
fn expected(rng: &mut Pcg64Mcg, seen: &VecDeque<Value>) -> Option<Value> {
    match rng.random_range(0..10u32) {
        0 => None,
        1 if !seen.is_empty() => {
            let at = rng.random_range(0..u32::try_from(seen.len()).expect("a handful"));
            seen.get(at as usize).cloned()
        }
        _ => seen.back().cloned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ordeal_history::{
        AnomalyKind, Answer, Budget, Claim, History, OpId, Operation, Outcome, Verdict, check,
    };

    use super::*;
    use crate::chance::{Stream, generator};

    fn calls(kind: WorkloadKind) -> Vec<Call> {
        let mut rng = generator(1, Stream::Lane(0));
        let seen = ["old", "new"].map(Value::from).into();
        let known = Known { seen, accounts: None };
        (0..1_000).map(|number| draw(kind, &mut rng, &known, ClientId(3), number)).collect()
    }

    #[test]
    fn each_workload_asks_what_it_is_named_after_and_values_are_unique() {
        for (kind, is_its_own) in [
            (WorkloadKind::Register, (|call| matches!(call, Call::Write(_))) as fn(&Call) -> bool),
            (WorkloadKind::Append, |call| matches!(call, Call::Append(_))),
            (WorkloadKind::Cas, |call| matches!(call, Call::Cas { .. })),
        ] {
            let calls = calls(kind);
            let reads = calls.iter().filter(|call| **call == Call::Read).count();
            assert!((200..600).contains(&reads), "{kind}: {reads} reads");
            assert!(calls.iter().filter(|call| is_its_own(call)).count() > 350, "{kind}");
            let written: Vec<&Value> = calls
                .iter()
                .filter_map(|call| match call {
                    Call::Write(value) | Call::Append(value) | Call::Cas { new: value, .. } => Some(value),
                    Call::Read | Call::Delete | Call::Txn(_) => None,
                })
                .collect();
            assert_eq!(written.iter().collect::<BTreeSet<_>>().len(), written.len(), "{kind}");
        }
    }

    #[test]
    fn the_judge_knows_the_words_that_are_appended() {
        let words: Vec<Call> =
            calls(WorkloadKind::Append).into_iter().filter(|call| *call != Call::Read).take(2).collect();
        let [Call::Append(first), Call::Append(second)] = &words[..] else { panic!("{words:?}") };
        let both = Value::from(format!("{first}{second}"));
        let asked = [
            (words[0].clone(), Answer::Done),
            (words[1].clone(), Answer::Done),
            (Call::Read, Answer::Value(Some(first.clone()))),
            (Call::Read, Answer::Value(Some(both))),
        ];
        let operations = (0u64..).zip(asked).map(|(at, (call, answer))| Operation {
            id: OpId(at),
            client: ClientId(3),
            key: "k".into(),
            call,
            invoked_ns: at * 10,
            returned: Some((at * 10 + 5, Outcome::Ok(answer, Claim::default()))),
            node: None,
        });
        let history = History { operations: operations.collect() };
        let report = check(&history, &Budget::default(), &|_| {});
        assert_eq!(report.verdict, Verdict::Invalid);
        assert_eq!(report.anomalies[0].kind, AnomalyKind::StaleRead, "{:?}", report.anomalies);
    }

    #[test]
    fn a_cas_mostly_expects_what_was_seen_last() {
        let new = Some(Value::from("new"));
        let expects_new = |call: &&Call| matches!(call, Call::Cas { expected, .. } if *expected == new);
        let calls = calls(WorkloadKind::Cas);
        let all = calls.iter().filter(|call| matches!(call, Call::Cas { .. })).count();
        let hopeful = calls.iter().filter(expects_new).count();
        assert!(hopeful * 10 > all * 7, "{hopeful} of {all}");
        assert!(hopeful < all, "some must fail");
    }
}
