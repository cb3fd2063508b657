//! Versions that servers claim, and the ways in which they cannot be true.

use ordeal_history::AnomalyKind::{BrokenClaim, StaleRead};
use ordeal_history::{AnomalyKind, OpId};

use crate::story::{bad, good, judged};

fn broken(story: &str, sentence: &str) {
    bad(story, BrokenClaim, &format!("broken claim on k17: {sentence}"));
}

#[test]
fn a_chain_that_grows_with_time_is_valid() {
    good("c1 0-10 write a @1.5\nc2 20-30 write b @1.6<1.5\nc2 40-50 read b @1.6\nc1 60-70 cas b c @2.1<1.6");
    // Concurrent writes come in any order.
    good("c1 0-50 write a @1.7<1.6\nc2 20-30 write b @1.6\nc3 60-70 read a @1.7");
    // A write with unknown outcome may be the one that was replaced.
    good("c1 0-10 write a @1.5\nc3 5-15 write x unknown\nc2 20-30 write b @1.7<1.6\nc2 40-50 read b @1.7");
    // A delete, acknowledged or of unknown outcome, explains an absent key.
    good("c1 0-10 write a @1.5\nc1 12-14 delete @1.6<1.5\nc2 20-30 write b @1.7");
    good("c1 0-10 write a @1.5\nc1 12-14 delete unknown\nc2 20-30 write b @1.7");
    good("c1 0-10 append x, @1.5\nc2 20-30 append y, @1.6<1.5\nc2 40-50 read x,y, @1.6");
}

#[test]
fn a_write_that_fell_out_of_the_chain_is_lost() {
    broken(
        "c1 0-10 write w @1.38\nc3 20-30 write x @1.40<1.38\nc2 40-50 write y @1.42<1.38",
        "the write of \"x\" by c3, acknowledged as version 1.40, is not in the chain: version 1.42 says it replaced 1.38",
    );
    broken(
        "c1 0-10 write w @1.38\nc2 20-30 write x @1.40<1.38\nc3 40-50 write y @1.41<1.40\nc4 60-70 write z @1.42<1.38",
        "the write of \"y\" by c3, acknowledged as version 1.41, is not in the chain: version 1.42 says it replaced 1.38, \
         which the write of \"x\" by c2 had replaced",
    );
}

#[test]
fn a_write_may_not_be_replaced_by_way_of_an_absent_key() {
    broken(
        "c3 20-30 write x @1.40\nc2 40-50 write y @1.42",
        "the write of \"x\" by c3, acknowledged as version 1.40, is not in the chain: version 1.42 says the key was absent",
    );
}

#[test]
fn a_version_is_made_once_and_grows() {
    broken(
        "c1 0-50 write a @1.5\nc2 20-60 write b @1.5",
        "version 1.5 was made twice, by the write of \"a\" by c1 and by the write of \"b\" by c2",
    );
    broken(
        "c1 0-10 write a @1.5<1.6",
        "the write of \"a\" by c1, acknowledged as version 1.5, says it replaced version 1.6",
    );
    broken(
        "c1 0-10 write a @1.5<1.4\nc2 20-30 write b @1.4 n3",
        "the write of \"b\" by c2 at 0.020 s from n3 made version 1.4, although version 1.5 (\"a\") had been given to c1 \
         at 0.010 s",
    );
}

#[test]
fn a_version_comes_from_some_write() {
    broken("c1 0-10 write a @1.5<1.3", "version 1.5 says it replaced 1.3, which no write can have made");
    broken(
        "c1 0-10 write a @1.5\nc1 20-30 read a @1.6",
        "c1 read \"a\" at 0.020 s, as version 1.6, which no write can have made",
    );
}

#[test]
fn a_read_sees_the_newest_acknowledged_version_and_its_value() {
    bad(
        "c1 0-10 write a @1.5\nc1 20-30 write a @1.6<1.5\nc2 40-50 read a @1.5 n2",
        StaleRead,
        "stale read of k17: c2 read \"a\" at 0.040 s from n2, as version 1.5, 10 ms after \"a\", version 1.6, had been \
         acknowledged to c1",
    );
    broken(
        "c1 0-100 write a @1.5\nc2 0-100 write b @1.6<1.5\nc3 10-20 read b @1.5",
        "c3 read \"b\" at 0.010 s, as version 1.5, but that is the write of \"a\" by c1",
    );
}

#[test]
fn an_operation_whose_answer_is_wrong_is_not_blamed_twice() {
    let report = judged("c1 0-10 write a @1.5\nc1 20-30 write b @1.6<1.5\nc2 40-50 read a @1.5");
    let kinds: Vec<(AnomalyKind, OpId)> =
        report.anomalies.iter().map(|anomaly| (anomaly.kind, anomaly.operations[0])).collect();
    assert_eq!(kinds, [(StaleRead, OpId(2))]);
}

#[test]
fn a_version_that_a_failed_compare_and_set_saw_is_told_with_the_value_that_it_saw() {
    bad(
        "c1 0-10 write a @1.5\nc3 12- write b\nc2 20-30 cas a x found b @1.7\nc2 40-50 read b @1.6 n3",
        AnomalyKind::NonMonotonicRead,
        "non-monotonic read of k17: c2 read \"b\" at 0.040 s from n3, as version 1.6, although version 1.7 (\"b\") had been given \
         to c2 at 0.030 s",
    );
}
