//! Histories in a few words, for tests: one operation a line.
//!
//! ```text
//! c1 0-10 write a @1.5<1.4     called at 0 ms, answered at 10 ms, made version 1.5, replaced 1.4
//! c2 20-30 read a @1.5 n3      saw version 1.5, answered by n3; `read -` read nothing
//! c1 40-50 cas a b             succeeded; `cas a b found c`, `cas a b found -`, `cas a b failed`
//! c1 60-70 delete failed       surely not done
//! c1 80- append w1,            never answered; `80-90 … unknown`: answered that nobody knows
//! ```

use std::sync::Arc;

use ordeal_history::{
    Anomaly, AnomalyKind, Answer, Budget, Call, Claim, ClientId, History, OpId, Operation, Outcome, Report,
    Value, Verdict, Version, check,
};

/// The history of a story on the key `k17`.
pub fn history(story: &str) -> History {
    let lines = story.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut operations: Vec<Operation> = lines.map(operation).collect();
    operations.sort_by_key(|operation| operation.invoked_ns);
    (0..).zip(&mut operations).for_each(|(id, operation)| operation.id = OpId(id));
    History { operations }
}

fn operation(line: &str) -> Operation {
    let mut words: Vec<&str> = line.split_whitespace().collect();
    let client = words.remove(0)[1..].parse().expect("a client");
    let (invoked, returned) = words.remove(0).split_once('-').expect("two times");
    let ns = |ms: &str| ms.parse::<u64>().expect("milliseconds") * 1_000_000;
    let node = words.pop_if(|word| word.starts_with('n') && word.len() == 2).map(str::to_owned);
    let versions = words.pop_if(|word| word.starts_with('@'));
    let (call, answer) = call_and_answer(&words);
    let outcome = match *words.last().expect("a call") {
        "failed" if words[0] != "cas" => Outcome::Failed("busy".to_owned()),
        "unknown" => Outcome::Unknown("timeout".to_owned()),
        _ => Outcome::Ok(answer, claim(versions, words[0] == "read" || words.contains(&"found"))),
    };
    Operation {
        id: OpId(0),
        client: ClientId(client),
        key: Arc::from("k17"),
        call,
        invoked_ns: ns(invoked),
        returned: (!returned.is_empty()).then(|| (ns(returned), outcome)),
        node: node.map(Into::into),
    }
}

fn call_and_answer(words: &[&str]) -> (Call, Answer) {
    let value = |text: &str| (text != "-").then(|| Value::from(text));
    match words {
        ["read", rest @ ..] => (Call::Read, Answer::Value(rest.first().and_then(|text| value(text)))),
        ["write", text, ..] => (Call::Write(Value::from(*text)), Answer::Done),
        ["append", text, ..] => (Call::Append(Value::from(*text)), Answer::Done),
        ["delete", ..] => (Call::Delete, Answer::Done),
        ["cas", expected, new, rest @ ..] => {
            let answer = match rest {
                ["found", "-"] => Answer::CasFailedAbsent,
                ["found", found] => Answer::CasFailed(value(found)),
                ["failed"] => Answer::CasFailed(None),
                _ => Answer::CasDone,
            };
            (Call::Cas { expected: value(expected), new: Value::from(*new) }, answer)
        }
        other => panic!("no call: {other:?}"),
    }
}

fn claim(versions: Option<&str>, is_sight: bool) -> Claim {
    let version = |text: &str| text.parse::<Version>().expect("a version");
    let Some(text) = versions.map(|text| &text[1..]) else { return Claim::default() };
    let (first, second) = text.split_once('<').map_or((text, None), |(first, second)| (first, Some(second)));
    if is_sight {
        Claim::seen(Some(version(first)))
    } else {
        Claim::made(Some(version(first)), second.map(version))
    }
}

/// The judgement of a story.
pub fn judged(story: &str) -> Report {
    check(&history(story), &Budget::default(), &|_| {})
}

/// A story that can be explained.
pub fn good(story: &str) {
    let report = judged(story);
    assert_eq!(report.verdict, Verdict::Valid, "{story}\n{report:#?}");
    assert_eq!(report.anomalies, [], "{story}");
}

/// A story with one fault of this kind, in these words.
pub fn bad(story: &str, kind: AnomalyKind, sentence: &str) -> Anomaly {
    let report = judged(story);
    assert_eq!(report.verdict, Verdict::Invalid, "{story}\n{report:#?}");
    let first = report.anomalies.into_iter().next().expect("an invalid history has a reason");
    assert_eq!((first.kind, first.sentence.as_str()), (kind, sentence), "{story}");
    first
}
