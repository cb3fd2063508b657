//! Stories of transactions: what is wrong has a name, and few operations that show it.

use ordeal_history::linear::all_orders;
use ordeal_history::txn_model::TxnModel;
use ordeal_history::{AnomalyKind, Certificate, Impasse, Report, Verdict, impasse};

use crate::txn_story::{bad, good, history, judged};

/// A bank of two accounts with ten each.
const OPEN: &str = "c1 0-10 if a=- b=- then a:=10 b:=10 else a b → yes @1.1 @1.1\n";

fn bank(rest: &str) -> String {
    format!("{OPEN}{rest}")
}

#[test]
fn a_bank_that_keeps_its_total_is_valid() {
    good(&bank(
        "c1 20-30 if a=10 b=10 then a:=7 b:=13 else a b → yes @1.2 @1.2
         c2 25-40 if a=10 a@1.1 then a:=9 b:=11 else a b → no 7@1.2 13@1.2
         c3 26-27 then a b → yes 10@1.1 10@1.1
         c4 50-60 if a=7 b=13 then a:=8 b:=12 else a b
         c5 70-80 then a b → yes 8@1.4 12@1.4",
    ));
}

#[test]
fn a_transaction_that_is_done_in_half_shows_in_the_total() {
    let report = bad(
        &bank(
            "c1 20-30 if a=10 b=10 then a:=7 b:=13 else a b → yes @1.2 @1.2
             c2 40-50 then a b → yes 7@1.2 10@1.1",
        ),
        AnomalyKind::WrongTotal,
        "wrong total: the bank {b3} holds 17 instead of 20, c2 read a = \"7\", b = \"10\" at 0.040 s from n2; \
         of the transaction #1 by c1 a is there and b is not",
    );
    assert_eq!(report.anomalies[0].operations.iter().map(|op| op.0).collect::<Vec<_>>(), [2, 1]);
}

#[test]
fn half_of_a_transaction_shows_without_a_total_too() {
    bad(
        "c1 0-10 then a:=x b:=x → yes @1.1 @1.1
         c1 20-30 then a:=y b:=z → yes @1.2 @1.2
         c2 40-50 then a b → yes y@1.2 x@1.1",
        AnomalyKind::TornTransaction,
        "torn transaction on {b3}: of the transaction #1 by c1 a is there and b is not, \
         c2 read a = \"y\", b = \"x\" at 0.040 s from n2",
    );
}

#[test]
fn a_compare_that_is_ignored_is_a_wrong_transaction() {
    bad(
        &bank(
            "c1 20-30 if a=10 a@1.1 then a:=7 b → yes @1.2 10@1.1
             c2 40-50 if a=10 a@1.1 then a:=9 b → yes @1.3 10@1.1",
        ),
        AnomalyKind::WrongTransaction,
        "wrong transaction on {b3}: the transaction #2 by c2 at 0.040 s from n2 was done, b = \"10\" \
         (if a = \"10\", a has version 1.1: put a \"9\", get b), but the transaction #1 by c1 had overwritten version 1.1 of a as well",
    );
    bad(
        &bank("c2 40-50 if a=10 then a:=9 else a → no 10@1.1"),
        AnomalyKind::WrongTransaction,
        "wrong transaction on {b3}: that by c2 at 0.040 s from n2 was not done, although it found otherwise: \
         the transaction #1 by c2 at 0.040 s from n2 was not done, a = \"10\" (if a = \"10\": put a \"9\"; else get a)",
    );
}

#[test]
fn an_answer_of_before_is_stale_or_a_claim_that_another_made() {
    bad(
        &bank(
            "c1 20-30 if a=10 b=10 then a:=7 b:=13 else a b → yes @1.2 @1.2
             c2 40-50 then a b → yes 10@1.1 10@1.1",
        ),
        AnomalyKind::StaleRead,
        "stale read on {b3}: c2 read a = \"10\", b = \"10\" at 0.040 s from n2, 10 ms after the transaction #1 by c1 \
         was acknowledged, which had made version 1.2 of a (1.1 was seen)",
    );
    bad(
        &bank(
            "c1 20-30 if a=10 b=10 then a:=7 b:=13 else a b → yes @1.2 @1.2
             c2 40-50 then a:=1 b:=2 → yes @1.2 @1.2",
        ),
        AnomalyKind::BrokenClaim,
        "broken claim on {b3}: the transaction #2 by c2 at 0.040 s from n2 was done (put a \"1\", put b \"2\"), \
         and made version 1.2 of a, as the transaction #1 by c1 had",
    );
}

#[test]
fn a_value_that_nobody_put_is_a_phantom() {
    bad(
        "c1 0-10 then a:=x → yes @1.1
         c2 40-50 then a → yes z",
        AnomalyKind::Phantom,
        "phantom on {b3}: c2 read a = \"z\" at 0.040 s from n2, but nobody put \"z\" on a",
    );
}

#[test]
fn a_version_that_no_answer_told_leaves_it_unknown() {
    let report = judged(&bank("c2 40-50 if a@1.7 then a:=9 else a → no 10@1.1"));
    assert_eq!(report.verdict, Verdict::Unknown);
    assert!(
        report.sentence().contains("no answer had told the version that the transaction #1"),
        "{report:#?}"
    );
}

/// The core of the only key, which has no order, and why nothing goes on in it.
fn core(story: &str, report: &Report) -> (Vec<u64>, Vec<u64>, Impasse) {
    let (history, certificate) = (history(story), &report.keys[0].certificate);
    let (answered, open) = certificate.few().unwrap_or_else(|| panic!("no core: {report:#?}"));
    let entries = certificate.core(&history).expect("operations that are there");
    let entries: Vec<_> = entries.into_iter().map(|(_, entry)| entry).collect();
    assert!(!all_orders(&TxnModel::default(), &entries), "{certificate:?}");
    let numbers = |ids: &[ordeal_history::OpId]| ids.iter().map(|id| id.0).collect();
    (numbers(answered), numbers(open), impasse(&history, certificate).expect("of a short core"))
}

#[test]
fn the_core_begins_where_an_answer_told_of_all_keys() {
    let mut story = OPEN.to_owned();
    for turn in 1..40u64 {
        let (from, at) = (11 - turn % 2, 100 * turn);
        let (to, version) = (21 - from, turn + 1);
        let now = format!("if a={} b={}", if turn == 1 { 10 } else { to }, if turn == 1 { 10 } else { from });
        story +=
            &format!("c1 {at}-{} {now} then a:={from} b:={to} → yes @1.{version} @1.{version}\n", at + 10);
    }
    // The last one left 10 and 11; a crashed one that nobody saw is no part of it.
    story += "c2 3950-3951 if a=10 b=11 then a:=1 b:=20 else a b\n";
    story += "c3 5000-5010 then a b → yes 11 11\n";
    let report = judged(&story);
    assert_eq!(report.verdict, Verdict::Invalid);
    let (answered, open, impasse) = core(&story, &report);
    assert!(matches!(report.keys[0].certificate, Certificate::CoreBehind(..)), "{report:#?}");
    assert_eq!((answered, open), (vec![39, 41], vec![]));
    assert_eq!(impasse.base.map(|op| op.0), Some(39));
    assert_eq!(impasse.value, "a = \"10\", b = \"11\"");
    assert_eq!(impasse.blocked[0].why, "read a = \"11\", but \"10\" is there");
}

#[test]
fn versions_are_told_in_sentences_but_are_no_part_of_the_core() {
    let story = bank(
        "c1 20-30 if a=10 a@1.1 then a:=7 b:=13 else a b → yes @1.2 @1.2
         c2 40-50 if a=10 b=10 then a:=9 b:=11 else a b → yes @1.3 @1.3",
    );
    let report = judged(&story);
    assert_eq!(report.verdict, Verdict::Invalid);
    let (answered, open, impasse) = core(&story, &report);
    assert_eq!((answered, open), (vec![1, 2], vec![]));
    assert_eq!(impasse.blocked[0].why, "was done if a = \"10\", but \"7\" is there");
}
