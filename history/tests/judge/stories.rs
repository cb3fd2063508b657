//! Hand-written histories, good and bad, and the names that the bad ones get.

use ordeal_history::AnomalyKind::{
    DuplicateAppend, FailedWriteVisible, FutureRead, LostUpdate, NonMonotonicRead, NotLinearizable, Phantom,
    ReorderedAppend, StaleRead, WrongCas,
};
use ordeal_history::OpId;

use crate::story::{bad, good, history, judged};

#[test]
fn what_one_store_can_show_is_valid() {
    good("");
    good("c1 0-10 read -");
    good("c1 0-10 write a\nc2 20-30 read a\nc1 40-50 delete\nc2 60-70 read -");
    // While a write is open, some see it and some do not yet.
    good("c1 0-100 write a\nc2 10-20 read -\nc3 30-40 read a\nc2 50-60 read a");
    // Intervals that touch are concurrent.
    good("c1 0-10 write a\nc2 10-20 read -");
    good(
        "c1 0-10 cas - a\nc2 20-30 cas b c found a\nc2 40-50 cas a b\nc1 60-70 read b\nc1 80-90 cas x y failed",
    );
    good("c1 0-10 append x,\nc2 0-10 append y,\nc1 20-30 read y,x,");
}

#[test]
fn an_operation_without_an_answer_may_take_effect_at_any_time_or_never() {
    good("c1 0- write a\nc2 10-20 read -\nc2 30-40 read a");
    good("c1 0-5 write a unknown\nc2 10-20 read -\nc2 30-40 read -");
    good(
        "c1 0-5 append x, unknown\nc2 10-20 read -\nc2 30-40 append y,\nc2 50-60 read y,\nc2 70-80 read y,x,",
    );
    good("c1 0-5 delete unknown\nc2 10-20 write a\nc2 30-40 read a\nc2 50-60 read -");
    good("c1 0-5 cas a b unknown\nc2 10-20 write a\nc2 30-40 read b");
    good("c1 0-5 read\nc2 10-20 write a failed\nc2 30-40 read -");
    // Nobody saw the open write, but without it the compare-and-set would not have failed.
    good("c2 0-5 write a\nc1 10-20 write b unknown\nc2 30-40 cas a c failed");
}

#[test]
fn stale_read() {
    let anomaly = bad(
        "c1 0-10 write c1-3\nc2 12000-12338 write c2-9\nc3 12400-12410 read c2-9\nc4 12550-12560 read c1-3 n2",
        StaleRead,
        "stale read of k17: c4 read \"c1-3\" at 12.550 s from n2, 212 ms after \"c2-9\" had been acknowledged to c2",
    );
    assert_eq!(anomaly.operations, [OpId(3), OpId(1), OpId(0)]);
    assert_eq!(anomaly.at_ns, 12_560_000_000);
    bad(
        "c1 0-10 write a\nc2 20-30 read -",
        StaleRead,
        "stale read of k17: c2 read nothing at 0.020 s, 10 ms after \"a\" had been acknowledged to c1",
    );
    bad(
        "c1 0-10 write a\nc1 20-30 delete\nc2 40-50 read a",
        StaleRead,
        "stale read of k17: c2 read \"a\" at 0.040 s, 10 ms after a delete had been acknowledged to c1",
    );
    bad(
        "c1 0-10 append x,\nc1 20-30 append y,\nc2 40-50 read x,\nc2 60-70 read x,y,",
        StaleRead,
        "stale read of k17: c2 read a value that ends in \"x,\" at 0.040 s, without \"y,\", 10 ms after that had been \
         acknowledged to c1",
    );
}

#[test]
fn non_monotonic_read() {
    // The newer write was never acknowledged, but somebody had seen it.
    bad(
        "c1 0-10 write a\nc1 20- write b\nc2 30-40 read b\nc3 50-60 read a",
        NonMonotonicRead,
        "non-monotonic read of k17: c2 read \"b\" at 0.030 s, and later c3 read \"a\" at 0.050 s",
    );
    bad(
        "c1 0- write a\nc2 0- write b\nc3 10-20 read a\nc4 30-40 read b\nc3 50-60 read a",
        NonMonotonicRead,
        "non-monotonic read of k17: c4 read \"b\" at 0.030 s, and later c3 read \"a\" at 0.050 s",
    );
    bad(
        "c1 0- append x,\nc2 30-40 read x,\nc3 50-60 read - n2",
        NonMonotonicRead,
        "non-monotonic read of k17: c2 at 0.030 s read 1 words, and later c3 at 0.050 s from n2 only the first 0",
    );
}

#[test]
fn phantom() {
    bad(
        "c1 0-10 write a\nc2 20-30 read zz",
        Phantom,
        "phantom on k17: c2 read \"zz\" at 0.020 s, but nobody wrote that",
    );
    bad(
        "c1 0-10 append x,\nc2 20-30 read x,zz,",
        Phantom,
        "phantom on k17: c2 at 0.020 s read \"zz,\", but nobody appended that",
    );
}

#[test]
fn failed_write_visible() {
    bad(
        "c1 0-10 write a failed\nc2 20-30 read a",
        FailedWriteVisible,
        "failed write visible on k17: c2 read \"a\" at 0.020 s, but the write of \"a\" by c1 at 0.000 s surely failed",
    );
    bad(
        "c1 0-10 append x, failed\nc2 20-30 read x,",
        FailedWriteVisible,
        "failed write visible on k17: c2 at 0.020 s read \"x,\", but the append of \"x,\" by c1 at 0.000 s surely failed",
    );
}

#[test]
fn read_from_the_future() {
    bad(
        "c2 0-10 read a\nc1 30-40 write a",
        FutureRead,
        "read from the future of k17: c2 read \"a\" at 0.000 s, but the write of \"a\" by c1 was called only at \
         0.030 s, 20 ms after that had returned",
    );
    bad(
        "c2 0-10 read x,\nc1 30-40 append x,",
        FutureRead,
        "read from the future of k17: c2 at 0.000 s read \"x,\", but the append of \"x,\" by c1 was called only at \
         0.030 s, 20 ms after that had returned",
    );
}

#[test]
fn appends_that_are_lost_doubled_or_reordered() {
    bad(
        "c1 0-10 append x,\nc1 20-30 append y,\nc2 40-50 read x, n1",
        LostUpdate,
        "lost update of k17: c2 read a value that ends in \"x,\" at 0.040 s from n1, without \"y,\", 10 ms after that \
         had been acknowledged to c1",
    );
    bad(
        "c1 0-10 append x,\nc1 20-30 append y,\nc2 40-50 read x,y,x,",
        DuplicateAppend,
        "duplicate append on k17: c2 at 0.040 s read \"x,\" 2 times, but it was appended once, by c1 at 0.000 s",
    );
    bad(
        "c1 0-10 append x,\nc1 20-30 append y,\nc2 40-50 read y,x,",
        ReorderedAppend,
        "reordered append on k17: c2 at 0.040 s read \"x,\" behind \"y,\", but the append of \"x,\" by c1 had returned \
         before the append of \"y,\" by c1 was called at 0.020 s",
    );
    bad(
        "c1 0-100 append x,\nc2 0-100 append y,\nc3 40-50 read x,\nc4 60-70 read y,",
        ReorderedAppend,
        "reordered append on k17: as word 1 of the value, c3 at 0.040 s read \"x,\" and c4 at 0.060 s read \"y,\"",
    );
}

#[test]
fn wrong_compare_and_set() {
    bad(
        "c1 0-10 write a\nc1 20-30 write b\nc2 40-50 cas a c n3",
        WrongCas,
        "wrong compare-and-set of k17: c2 replaced \"a\" by \"c\" at 0.040 s from n3, 10 ms after \"b\" had been \
         acknowledged to c1",
    );
    bad(
        "c1 0-10 write a\nc2 40-50 cas a c found a",
        WrongCas,
        "wrong compare-and-set of k17: the one by c2 at 0.040 s failed although it found \"a\", as expected",
    );
    bad(
        "c1 0-10 write a\nc1 20-60 cas a b\nc2 30-50 cas a c",
        LostUpdate,
        "lost update of k17: the compare-and-set from \"a\" to \"c\" by c2 and the compare-and-set from \"a\" to \"b\" \
         by c1 both succeeded, at 0.030 s and 0.020 s, but \"a\" was there only once",
    );
    bad(
        "c1 0-10 write a\nc1 20-30 write b\nc2 40-50 cas x y found a",
        StaleRead,
        "stale read of k17: a compare-and-set by c2 found \"a\" at 0.040 s, 10 ms after \"b\" had been acknowledged to c1",
    );
}

#[test]
fn what_has_no_name_is_not_linearizable() {
    bad(
        "c1 0-10 write a\nc2 20-30 cas a b failed",
        NotLinearizable,
        "no order of the 2 operations on k17 explains that a compare-and-set by c2 found something at 0.020 s",
    );
    bad(
        "c1 0-10 write a\nc2 20-30 append b\nc3 40-50 read ba",
        NotLinearizable,
        "no order of the 3 operations on k17 explains that c3 read \"ba\" at 0.040 s",
    );
}

#[test]
fn the_operations_around_an_anomaly_are_those_nearest_in_time() {
    let mut story = String::new();
    for at in 0..50 {
        story += &format!("c1 {}-{} write v{at}\n", at * 100, at * 100 + 10);
    }
    story += "c2 2550-2560 read v24\n";
    let report = judged(&story);
    let anomaly = &report.anomalies[0];
    let around = report.around(&history(&story), anomaly, 6);
    assert_eq!(around.len(), 6);
    assert!(anomaly.operations.iter().all(|id| around.contains(id)), "{around:?} {anomaly:?}");
    assert!(around.iter().all(|id| (20..32).contains(&id.0)), "{around:?}");
    assert!(report.around(&history(&story), anomaly, 1000).len() == 51, "all there are");
}
