//! Reports: the sentence first, nothing from outside, escaped, bounded.

use std::collections::BTreeSet;

use ordeal_history::{
    Answer, Budget, Call, Claim, ClientId, History, OpId, Operation, Outcome, Value, check,
};

use super::*;
use crate::cluster::Evidence;
use crate::plan::{FaultKind, Plan, ReadLevel, Settings, WorkloadKind, draw};
use crate::store::{
    Absence, AnomalyRecord, Availability, Event, FaultAbsence, FaultCount, Finding, SUMMARY_VERSION, Stop,
    Summary, Wait, Word,
};
use crate::verdict::{Concluded, Kept};
use crate::verdict::{figures, window};

const EVIL: &str = "<script>alert('\"&')</script>";

fn plan() -> Plan {
    draw(&Settings {
        seed: 42,
        nodes: 5,
        clients: 4,
        time_ms: 30_000,
        workload: WorkloadKind::Register,
        faults: FaultKind::ALL.to_vec(),
        rate: 10,
        keys: 2,
        read_level: ReadLevel::Stale,
        groups: 1,
        replicas: None,
        shards: 1,
        op_timeout_ms: 100,
    })
}

fn summary(verdict: Word, sentence: &str, anomalies: Vec<AnomalyRecord>) -> Summary {
    let bad = verdict != Word::Valid;
    Summary {
        scenario: None,
        availability: None,
        stopped: None,
        measures: vec![],
        wire: None,
        version: SUMMARY_VERSION,
        run: "2026-11-22T07-00-12-seed42".to_owned(),
        dir: "/runs/2026-11-22T07-00-12-seed42".to_owned(),
        verdict,
        sentence: sentence.to_owned(),
        exit: if bad { 10 } else { 0 },
        findings: if bad { vec![Finding { code: 10, what: EVIL.to_owned() }] } else { vec![] },
        system: EVIL.to_owned(),
        lab: None,
        lab_reason: String::new(),
        settings: plan().settings,
        clients_ms: 30_000,
        operations: crate::store::Operations { completed: 10_500, failed: 3, unknown: 2 },
        ok_per_s: 350.0,
        latency_ms: crate::store::Latency { p50: 1.5, p99: 20.0, max: 1_900.0 },
        gap_longest_ms: 1_234,
        keys: 7,
        keys_unread: 0,
        faults: vec![FaultCount { kind: FaultKind::Kill, planned: 6, verified: 6, undone: 6, missed: 0 }],
        recovery_ms: Some(321),
        check_ms: 45,
        anomalies_count: anomalies.len(),
        anomalies,
        warnings: vec![],
    }
}

fn began(fault: usize, kind: FaultKind, name: &str, at_ms: u64) -> [Event; 2] {
    let evidence = |ms: u64| {
        let ns = ms * 1_000_000;
        vec![Evidence { asked_ns: ns, applied_ns: ns, verified_ns: ns, proof: EVIL.to_owned() }]
    };
    let name = name.to_owned();
    [
        Event::FaultBegan { fault, kind, name, links: BTreeSet::new(), evidence: evidence(at_ms) },
        Event::FaultUndone { fault, evidence: evidence(at_ms + 900) },
    ]
}

fn operation(id: u64, key: &str, call: Call, returned: Option<Outcome>) -> Operation {
    let invoked_ns = id * 1_000_000;
    Operation {
        id: OpId(id),
        client: ClientId(u32::try_from(id % 9).unwrap()),
        key: key.into(),
        call,
        invoked_ns,
        returned: returned.map(|outcome| (invoked_ns + 500_000, outcome)),
        node: Some(EVIL.into()),
    }
}

fn ok(answer: Answer) -> Option<Outcome> {
    Some(Outcome::Ok(answer, Claim::default()))
}

fn concluded(summary: Summary, operations: Vec<Operation>, events: Vec<Event>) -> Concluded {
    let history = History { operations };
    let figures = figures(&history, window(&events, &history));
    let report = check(&history, &Budget::default(), &|_| {});
    Concluded { summary, plan: plan(), history, events, figures, report, kept: vec![] }
}

fn stale_read() -> Concluded {
    let value = |text: &str| Value::from(text);
    let operations = vec![
        operation(1, EVIL, Call::Write(value("old")), ok(Answer::Done)),
        operation(2, EVIL, Call::Write(value(EVIL)), ok(Answer::Done)),
        operation(3, EVIL, Call::Append(value("x")), Some(Outcome::Unknown(EVIL.to_owned()))),
        operation(4, "other", Call::Write(value("elsewhere")), ok(Answer::Done)),
        operation(5, EVIL, Call::Read, ok(Answer::Value(Some(value("old"))))),
        operation(6, EVIL, Call::Cas { expected: None, new: value("y") }, None),
        operation(7, EVIL, Call::Delete, Some(Outcome::Failed(EVIL.to_owned()))),
    ];
    let sentence =
        format!("The read by c5 is stale: {EVIL}. During that read the partition isolate n2 was in force.");
    let anomaly = AnomalyRecord {
        kind: "stale read".to_owned(),
        key: EVIL.to_owned(),
        sentence: sentence.clone(),
        operations: vec![5, 2],
        at_ns: 5_500_000,
    };
    let events = began(0, FaultKind::Partition, "isolate n2 (n2 | n1 n3)", 0).to_vec();
    concluded(summary(Word::NotLinearizable, &sentence, vec![anomaly]), operations, events)
}

/// Every tag that is opened is closed, and nothing from outside is one.
fn check_markup(html: &str) {
    assert!(!html.contains("<script>alert"), "a script came through");
    assert!(!html.contains("http"), "the file must need no network");
    let html = &unscripted(html);
    let mut open: Vec<&str> = Vec::new();
    for part in html.split('<').skip(1) {
        let tag = part.split('>').next().expect("split gives one part at least");
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "</{name}> closes nothing");
        } else if !tag.ends_with('/') && !["!doctype", "meta", "br", "input"].contains(&name) {
            open.push(name);
        }
    }
    assert_eq!(open, Vec::<&str>::new());
}

/// The page without our two scripts: what is seen where none runs.
fn unscripted(html: &str) -> String {
    let mut parts = html.split("<script");
    let mut rest = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (_, behind) = part.split_once("</script>").expect("a script ends");
        rest += behind;
    }
    rest
}

#[test]
fn a_failure_shows_the_sentence_the_guilty_operations_and_the_fault() {
    let html = html(&stale_read());
    check_markup(&html);
    assert_eq!(html.matches("<script").count(), 2, "the data and the script");
    let html = unscripted(&html);
    let sentence = "The read by c5 is stale: &lt;script&gt;";
    let verdict = html.find("<h1>✗ Not linearizable</h1>").expect("the verdict");
    let told = html.find(sentence).expect("the sentence");
    let numbers = html.find("<h2>Numbers</h2>").expect("the numbers");
    assert!(verdict < told && told < numbers, "the verdict sentence stands first");
    assert!(html.contains("During that read the partition isolate n2 was in force."));
    assert!(html.matches("<rect class=\"ok guilty\"").count() >= 2, "both operations are marked");
    assert!(html.contains("<tr class=\"shows\"><td>▶ #5</td>"), "the table says which one shows it");
    assert!(html.contains("▶ read = old") && html.contains("isolate n2 (n2 | n1 n3)"));
    assert!(
        html.contains("<td class=\"what\">read = old"),
        "a long value may wrap, or it pushes the node off the page"
    );
    assert!(html.contains("class=\"unknown\"") && html.contains("class=\"failed\""));
    assert!(html.contains(">c5</text>") || html.contains(">c1</text>"), "lanes have names");
    assert!(!html.contains("elsewhere"), "operations on other keys are not drawn");
}

#[test]
fn a_valid_run_shows_the_whole_run_and_every_fault() {
    let sentence = "Valid: 10505 operations on 7 keys are linearizable.";
    let operations = (0..3_000).map(|id| operation(id, "k1", Call::Read, ok(Answer::Value(None)))).collect();
    let events =
        [began(0, FaultKind::Kill, "kill n3", 500), began(1, FaultKind::Pause, "pause n1", 900)].concat();
    let html = html(&concluded(summary(Word::Valid, sentence, vec![]), operations, events));
    check_markup(&html);
    assert!(html.contains("<h1>✓ Valid</h1>") && html.contains(sentence));
    assert!(html.contains("<td>kill n3</td><td>0.500 s</td>") && html.contains("<td>1.400 s</td>"));
    assert!(!html.contains("The proof"));
    assert!(html.contains("ordeal run --seed 42"));
}

#[test]
fn however_much_happened_the_file_stays_small() {
    let evil = EVIL.repeat(500);
    let value = || Value::from(evil.clone());
    let operations: Vec<Operation> = (0..20_000)
        .map(|id| operation(id, "k1", Call::Write(value()), Some(Outcome::Unknown(evil.clone()))))
        .collect();
    let events: Vec<Event> =
        (0..5_000).flat_map(|fault| began(fault, FaultKind::Partition, &evil, fault as u64 * 4)).collect();
    let anomalies = (0..1_000)
        .map(|number| AnomalyRecord {
            kind: "stale read".to_owned(),
            key: "k1".to_owned(),
            sentence: evil.clone(),
            operations: vec![number, number + 1],
            at_ns: number,
        })
        .collect();
    let html = html(&concluded(summary(Word::NotLinearizable, &evil, anomalies), operations, events));
    assert!(html.len() < 2_500_000, "{} bytes", html.len());
    check_markup(&html);
}

#[test]
fn an_empty_run_has_a_report_too() {
    let html = html(&concluded(summary(Word::NotJudged, "Set-up failed: no lab.", vec![]), vec![], vec![]));
    check_markup(&html);
    assert!(html.contains("<h1>? Not judged</h1>") && html.contains("Set-up failed: no lab."));
}

#[test]
fn the_terminal_gets_a_table_and_one_sentence_with_the_word_first() {
    let valid =
        text::result(&summary(Word::Valid, "Valid: 12 operations on 3 keys are linearizable.", vec![]));
    assert!(
        valid.contains("10500 completed, 3 failed, 2 unknown") && valid.contains("6 kills verified"),
        "{valid}"
    );
    assert_eq!(valid.lines().last(), Some("valid: 12 operations on 3 keys are linearizable."));
    let bad = text::result(&stale_read().summary);
    assert!(bad.lines().last().unwrap().starts_with("not linearizable: The read by c5"), "{bad}");
    let mut crashed = summary(Word::Valid, "Valid: 1 operation.", vec![]);
    crashed.exit = 12;
    crashed.findings = vec![Finding { code: 12, what: "n3 ended uninvited".to_owned() }];
    assert!(text::result(&crashed).contains("n3 ended uninvited (exit code 12)"));
}

fn absence(fault: usize, kind: FaultKind, name: &str, recover_ms: u64) -> FaultAbsence {
    let recover = Some(Wait { ns: recover_ms * 1_000_000, at_least: fault == 1, shard: Some(3) });
    FaultAbsence {
        fault,
        kind,
        name: name.to_owned(),
        began_ns: 500_000_000,
        ended_ns: Some(1_400_000_000),
        absence: Absence { recover, lost_permille: Some(213), ..Absence::default() },
        beside: vec![1 - fault],
    }
}

#[test]
fn availability_is_told_after_the_verdict_and_leads_to_the_picture() {
    let mut late = summary(Word::Valid, "Valid: 1 operation on 1 key is linearizable.", vec![]);
    late.exit = 15;
    let what = "recover<1s is broken: it took 1.234 s from the end of kill n3".to_owned();
    late.findings = vec![Finding { code: 15, what }];
    let faults =
        vec![absence(0, FaultKind::Kill, "kill n3", 1_234), absence(1, FaultKind::Partition, EVIL, 20)];
    late.availability = Some(Availability::of(faults));
    let text = text::result(&late);
    let lines: Vec<&str> = text.lines().rev().take(2).collect();
    assert!(
        lines[0].starts_with("availability: recover<1s is broken") && lines[1].starts_with("valid: "),
        "{text}"
    );
    assert!(!text.contains("  but "), "it is said once: {text}");
    assert!(
        text.contains("worst of 1 kill: first -, gap -, lost 21.3 %, recover 1.234 s (s3), normal -"),
        "{text}"
    );
    assert!(text.contains("worst of 1 partition: ") && text.contains("recover over 0.020 s (s3)"), "{text}");
    let events =
        [began(0, FaultKind::Kill, "kill n3", 500), began(1, FaultKind::Partition, EVIL, 900)].concat();
    let operations = vec![operation(1, "k1", Call::Read, ok(Answer::Value(None)))];
    let html = html(&concluded(late, operations, events));
    check_markup(&html);
    assert!(
        html.contains("<td><a href=\"#picture\" data-band=\"0\">kill n3</a></td><td>0.500 s</td>"),
        "a link"
    );
    assert!(html.contains("<td>1.234 s (s3)</td>") && html.contains("querySelectorAll(\"[data-band]\")"));
}

#[test]
fn a_stop_is_told_with_its_figures_and_what_was_kept() {
    let mut stopped = summary(Word::NotLinearizable, "Phantom: c1 read x.", vec![]);
    let stop = Stop {
        op: 17,
        other: Some(3),
        key: EVIL.to_owned(),
        what: "a value was seen that nobody wrote".to_owned(),
        returned_ns: 12_345_000_000,
        found_ns: 12_347_100_000,
        frozen_ns: 12_352_400_000,
    };
    stopped.stopped = Some(stop);
    let text = text::result(&stopped);
    for part in
        ["at the first violation: #17 on ", "found 2.1 ms and all nodes stopped 7.4 ms after", "/stopped"]
    {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
    let mut of = concluded(stopped, vec![operation(1, "k1", Call::Read, ok(Answer::Value(None)))], vec![]);
    let kept = |name: &str, text: &str| Kept { name: name.to_owned(), text: text.to_owned() };
    of.kept = vec![kept("status", "n1: pid 7 is stopped\n"), kept("n1.said", EVIL)];
    let html = html(&of);
    check_markup(&html);
    for part in ["all nodes stopped 7.4 ms after", "<details open><summary>status<", "n1: pid 7 is stopped"] {
        assert!(html.contains(part), "`{part}` is not in the page");
    }
}
