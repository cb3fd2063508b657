//! The judge's report, with the faults that were in force.

use ordeal_client::wire::NodeId;
use ordeal_history::{Anomaly, AnomalyKind, Call, History, Operation, Report, Verdict};

use crate::plan::{FaultKind, seconds};
use crate::store::{AnomalyRecord, FaultSpan, Summary, Word};

/// The word for the verdict on a history of so many operations. Of one without operations nothing was shown, so it is not judged.
#[must_use]
pub fn word(verdict: Verdict, operations: usize) -> Word {
    match verdict {
        _ if operations == 0 => Word::NotJudged,
        Verdict::Valid => Word::Valid,
        Verdict::Invalid => Word::NotLinearizable,
        Verdict::Unknown => Word::Unknown,
    }
}

/// The broken promises, each with what was in force then; at most [`Summary::ANOMALIES_MAX`]. First the most telling one,
/// then the others in the judge's order.
#[must_use]
pub fn anomalies(report: &Report, history: &History, spans: &[FaultSpan]) -> Vec<AnomalyRecord> {
    let rank = |anomaly: &Anomaly| telling(anomaly, history, spans);
    // Of equals the judge's first.
    let best = report.anomalies.iter().rev().max_by_key(|anomaly| rank(anomaly));
    let others =
        report.anomalies.iter().filter(|anomaly| best.is_some_and(|best| !std::ptr::eq(best, *anomaly)));
    let records = best.into_iter().chain(others).take(Summary::ANOMALIES_MAX).map(|anomaly| AnomalyRecord {
        kind: anomaly.kind.words().to_owned(),
        key: anomaly.key.to_string(),
        sentence: format!("{} {}", full_stop(&anomaly.sentence), in_force(anomaly, history, spans)),
        operations: anomaly.operations.iter().map(|op| op.0).collect(),
        at_ns: anomaly.at_ns,
    });
    records.collect()
}

/// How much a broken promise tells: most what is worse than old data, then where a node answered that was cut off, then under
/// a partition, then under any fault. (Stale reads come by the thousand, and most show an everyday delay.)
fn telling(anomaly: &Anomaly, history: &History, spans: &[FaultSpan]) -> (bool, u8, bool) {
    let is_stale = anomaly.kind == AnomalyKind::StaleRead;
    let is_worse = !is_stale && anomaly.kind != AnomalyKind::NonMonotonicRead;
    let guilty = guilty(anomaly, history);
    let from_ns = guilty.map_or(anomaly.at_ns, |operation| operation.invoked_ns);
    let node: Option<NodeId> = guilty.and_then(|operation| operation.node.as_ref()?.parse().ok());
    let rank = |span: &FaultSpan| match span.kind {
        FaultKind::Partition if node.is_some_and(|node| span.cuts_off(node)) => 3,
        FaultKind::Partition => 2,
        FaultKind::Kill
        | FaultKind::Pause
        | FaultKind::Members
        | FaultKind::Transfer
        | FaultKind::MoveShards
        | FaultKind::JoinLeave
        | FaultKind::KillMover => 1,
    };
    let active = spans.iter().filter(|span| span.in_force(from_ns, anomaly.at_ns));
    (is_worse, active.map(rank).max().unwrap_or(0), is_stale)
}

fn guilty<'a>(anomaly: &Anomaly, history: &'a History) -> Option<&'a Operation> {
    anomaly.operations.first().and_then(|&op| history.operation(op))
}

/// Begins with a capital and ends with a full stop.
#[must_use]
pub fn full_stop(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_uppercase().collect::<String>()).unwrap_or_default();
    let end = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{first}{}{end}", chars.as_str())
}

/// Which faults were in force while the guilty operation ran, or which was the last one before it.
fn in_force(anomaly: &Anomaly, history: &History, spans: &[FaultSpan]) -> String {
    let guilty = guilty(anomaly, history);
    let from_ns = guilty.map_or(anomaly.at_ns, |operation| operation.invoked_ns);
    let what = guilty.map_or("time", noun);
    let mut active: Vec<&FaultSpan> =
        spans.iter().filter(|span| span.in_force(from_ns, anomaly.at_ns)).collect();
    // A partition explains most.
    active.sort_by_key(|span| span.kind != FaultKind::Partition);
    if active.is_empty() {
        return before(what, from_ns, spans);
    }
    let mut sentence = format!("During that {what} ");
    for (index, span) in active.iter().enumerate() {
        // `the partition isolate n2 (…) was in force since 12.100 s, and the kill n3 since 12.550 s`
        // What began only then was not there since: it came.
        let joint = if index == 0 { "" } else { ", and " };
        let verb = match (span.applied_ns() <= from_ns, index) {
            (true, 0) => " was in force since",
            (true, _) => " since",
            (false, _) => " came into force at",
        };
        sentence += &format!("{joint}{}{verb} {}", title(span), at(span.applied_ns()));
    }
    sentence + "."
}

fn before(what: &str, from_ns: u64, spans: &[FaultSpan]) -> String {
    let ended = spans.iter().filter_map(|span| Some((span.undone_ns()?, span)));
    match ended.filter(|(undone_ns, _)| *undone_ns <= from_ns).max_by_key(|(undone_ns, _)| *undone_ns) {
        None => format!("No fault had been in force before that {what}."),
        Some((undone_ns, span)) => format!(
            "No fault was in force during that {what}; the last one, {}, had ended at {}.",
            title(span),
            at(undone_ns)
        ),
    }
}

fn title(span: &FaultSpan) -> String {
    let kind = span.kind.to_string();
    // `kill n3` says what it is; `isolate n2 (…)` does not.
    if span.name.starts_with(&kind) {
        format!("the {}", span.name)
    } else {
        format!("the {kind} {}", span.name)
    }
}

fn noun(operation: &Operation) -> &'static str {
    match operation.call {
        Call::Read => "read",
        Call::Write(_) => "write",
        Call::Append(_) => "append",
        Call::Cas { .. } => "compare-and-set",
        Call::Delete => "delete",
        Call::Txn(_) => "transaction",
    }
}

fn at(ns: u64) -> String {
    seconds(ns / 1_000_000)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ordeal_history::{ClientId, Counts, OpId};

    use super::*;
    use crate::cluster::Evidence;
    use crate::lab::Shape;

    fn span(kind: FaultKind, name: &str, from_ms: u64, until_ms: u64) -> FaultSpan {
        let evidence = |ms: u64| {
            let ns = ms * 1_000_000;
            vec![Evidence { asked_ns: ns, applied_ns: ns, verified_ns: ns, proof: "seen".to_owned() }]
        };
        FaultSpan {
            fault: 0,
            kind,
            name: name.to_owned(),
            links: BTreeSet::new(),
            began: evidence(from_ms),
            undone: evidence(until_ms),
        }
    }

    fn check(spans: &[FaultSpan], expected: &str) {
        let read = Operation {
            id: OpId(1),
            client: ClientId(1),
            key: "k".into(),
            call: Call::Read,
            invoked_ns: 12_500_000_000,
            returned: None,
            node: None,
        };
        let anomaly = Anomaly {
            key: "k".into(),
            kind: AnomalyKind::StaleRead,
            sentence: "the read is stale".to_owned(),
            operations: vec![OpId(1)],
            at_ns: 12_600_000_000,
            late_ns: 0,
        };
        assert_eq!(in_force(&anomaly, &History { operations: vec![read] }, spans), expected);
    }

    #[test]
    fn the_sentence_names_what_was_in_force() {
        let cut = span(FaultKind::Partition, "isolate n2 (n2 | n1 n3)", 12_100, 13_000);
        let kill = span(FaultKind::Kill, "kill n3", 12_550, 14_000);
        let early = span(FaultKind::Pause, "pause n1", 3_000, 4_000);
        let late = span(FaultKind::Pause, "pause n1", 20_000, 21_000);
        check(
            std::slice::from_ref(&cut),
            "During that read the partition isolate n2 (n2 | n1 n3) was in force since 12.100 s.",
        );
        check(
            &[early.clone(), cut, kill, late.clone()],
            "During that read the partition isolate n2 (n2 | n1 n3) was in force since 12.100 s, \
             and the kill n3 came into force at 12.550 s.",
        );
        check(
            &[early, late.clone()],
            "No fault was in force during that read; the last one, the pause n1, had ended at 4.000 s.",
        );
        check(&[late], "No fault had been in force before that read.");
    }

    #[test]
    fn the_most_telling_promise_stands_first() {
        let read = |id: u64, at_ms: u64| Operation {
            id: OpId(id),
            client: ClientId(1),
            key: "k".into(),
            call: Call::Read,
            invoked_ns: at_ms * 1_000_000,
            returned: None,
            node: Some(format!("n{id}").into()),
        };
        let operations = vec![read(1, 1_000), read(2, 5_000), read(3, 5_100), read(4, 5_200), read(5, 9_000)];
        let broken = |kind, op: usize| Anomaly {
            key: "k".into(),
            kind,
            sentence: format!("#{op}"),
            operations: vec![OpId(op as u64)],
            at_ns: operations[op - 1].invoked_ns,
            late_ns: 0,
        };
        let mut cut = span(FaultKind::Partition, "isolate n3", 4_000, 6_000);
        cut.links = Shape::Isolate.links(&[3, 1, 2, 4, 5].map(NodeId));
        let spans = [cut, span(FaultKind::Kill, "kill n9", 8_000, 9_500)];
        let mut report = Report {
            verdict: Verdict::Invalid,
            counts: Counts::default(),
            keys: vec![],
            anomalies: (1..=5).map(|op| broken(AnomalyKind::StaleRead, op)).collect(),
            elapsed_ms: 0,
        };
        let history = History { operations: operations.clone() };
        let order = |report: &Report| -> Vec<u64> {
            anomalies(report, &history, &spans).iter().map(|record| record.operations[0]).collect()
        };
        assert_eq!(order(&report), [3, 1, 2, 4, 5], "n3 was cut off when it answered");
        report.anomalies.push(broken(AnomalyKind::LostUpdate, 1));
        assert_eq!(order(&report), [1, 1, 2, 3, 4, 5], "lost data is worse than old data");
        assert_eq!(anomalies(&report, &history, &spans)[0].kind, "lost update");
    }

    #[test]
    fn sentences_are_sentences() {
        assert_eq!(full_stop("a b"), "A b.");
        assert_eq!(full_stop("A b."), "A b.");
        assert_eq!(full_stop(""), ".");
    }
}
