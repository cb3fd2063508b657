//! The figures on made histories: two shards, times in milliseconds.

use std::collections::BTreeSet;

use ordeal_history::{Answer, Call, Claim, ClientId, OpId, Operation};

use super::*;
use crate::cluster::Evidence;
use crate::plan::FaultKind;

const SHARDS: u32 = 2;
const MS: u64 = 1_000_000;

/// A history in the making.
#[derive(Default)]
struct Made {
    operations: Vec<Operation>,
}

/// What came of an operation.
#[derive(Clone, Copy, PartialEq)]
enum Came {
    Ok,
    Failed,
    Unknown,
}

/// A key of a shard.
fn key(shard: u32) -> String {
    let names = (0..100).map(|number| format!("k{number}"));
    let mut of_shard = names.filter(|name| shard_of(name.as_bytes(), SHARDS) == ShardId(shard));
    of_shard.next().expect("one of a hundred keys is there")
}

impl Made {
    fn add(&mut self, shard: u32, called_ms: u64, returned_ms: u64, came: Came) {
        let outcome = match came {
            Came::Ok => Outcome::Ok(Answer::Value(None), Claim::default()),
            Came::Failed => Outcome::Failed("no".into()),
            Came::Unknown => Outcome::Unknown("late".into()),
        };
        self.operations.push(Operation {
            id: OpId(self.operations.len() as u64),
            client: ClientId(1),
            key: key(shard).into(),
            call: Call::Read,
            invoked_ns: called_ms * MS,
            returned: Some((returned_ms * MS, outcome)),
            node: None,
        });
    }

    /// A success every 10 ms of a shard, each of 2 ms.
    fn steady(&mut self, shard: u32, from_ms: u64, until_ms: u64) {
        (from_ms / 10..until_ms / 10).for_each(|at| self.add(shard, at * 10, at * 10 + 2, Came::Ok));
    }

    /// Of faults from the one to the other, in a run of 20 s.
    fn figures(self, faults: &[(u64, Option<u64>)]) -> Vec<FaultAbsence> {
        let evidence = |ms: u64| {
            let ns = ms * MS;
            vec![Evidence { asked_ns: ns, applied_ns: ns, verified_ns: ns, proof: "seen".to_owned() }]
        };
        let span = |(fault, &(from_ms, until_ms)): (usize, &(u64, Option<u64>))| FaultSpan {
            fault,
            kind: FaultKind::Kill,
            name: "kill n1".to_owned(),
            links: BTreeSet::new(),
            began: evidence(from_ms),
            undone: until_ms.map(evidence).unwrap_or_default(),
        };
        let spans: Vec<FaultSpan> = faults.iter().enumerate().map(span).collect();
        let mut asks = Asks::default();
        asks.add(&History { operations: self.operations }, SHARDS);
        asks.around(&spans, (0, 20_000 * MS))
    }

    fn figure(self, from_ms: u64, until_ms: u64) -> Absence {
        self.figures(&[(from_ms, Some(until_ms))])[0].absence
    }
}

fn over(ms: u64, shard: Option<u32>) -> Option<Wait> {
    Some(Wait { ns: ms * MS, at_least: false, shard })
}

fn at_least(ms: u64, shard: Option<u32>) -> Option<Wait> {
    Some(Wait { ns: ms * MS, at_least: true, shard })
}

/// Both shards serve, but for shard 1 from 5 s on for so long: its operations are unknown after a second.
fn away(until_ms: u64) -> Made {
    let mut made = Made::default();
    made.steady(0, 0, 20_000);
    made.steady(1, 0, 5_000);
    let mut at_ms = 5_000;
    while at_ms < until_ms {
        made.add(1, at_ms, at_ms + 1_000, Came::Unknown);
        at_ms += 1_010;
    }
    made.add(1, at_ms, at_ms + 2, Came::Ok);
    made.steady(1, at_ms + 10, 20_000);
    made
}

#[test]
fn nothing_is_lost_where_nothing_happened() {
    let mut made = Made::default();
    made.steady(0, 0, 20_000);
    made.steady(1, 0, 20_000);
    let figure = made.figure(5_000, 7_000);
    // Each of an operation that was called with the fault; the pauses of the clients are nobody's.
    assert_eq!(figure.first, over(2, None));
    assert_eq!(figure.gap.map(|gap| (gap.ns, gap.at_least)), Some((2 * MS, false)));
    assert_eq!(figure.lost_permille, Some(0));
    assert_eq!(figure.recover.map(|recover| (recover.ns, recover.at_least)), Some((2 * MS, false)));
    assert_eq!(figure.normal, over(0, None));
}

#[test]
fn the_gap_and_the_recovery_are_those_of_the_shard_that_was_away() {
    // The last that is in vain ends at 8,020, and the first success comes 12 ms later.
    let figure = away(8_000).figure(5_000, 7_000);
    assert_eq!(figure.first, over(2, None), "the other shard serves");
    assert_eq!(figure.gap, over(3_032, Some(1)));
    assert_eq!(figure.recover, over(1_032, Some(1)));
    assert_eq!(figure.lost_permille, Some(500), "half of the successes were those of the other shard");
    // 100 in half a second before: 90 are normal. Those of one shard are 50; 40 of the other come until 8,432.
    let normal = figure.normal.expect("it is measured");
    assert!((900 * MS..1_000 * MS).contains(&normal.ns) && !normal.at_least, "{normal:?}");
}

#[test]
fn an_answer_on_its_way_is_no_first_success() {
    let mut made = Made::default();
    made.add(0, 4_999, 5_001, Came::Ok);
    made.add(0, 5_010, 5_500, Came::Failed);
    made.add(0, 5_510, 6_510, Came::Unknown);
    made.add(0, 6_600, 6_700, Came::Ok);
    let figure = made.figure(5_000, 6_000);
    assert_eq!(figure.first, over(1_700, None));
    // From the first call behind the success at 5,001.
    assert_eq!(figure.gap, over(1_690, Some(0)));
    assert_eq!(figure.recover, over(700, Some(0)));
    assert_eq!((figure.lost_permille, figure.normal), (None, None), "one success before it is no measure");
}

#[test]
fn what_is_refused_at_once_is_away_all_the_same() {
    let mut made = Made::default();
    made.steady(0, 0, 5_000);
    (500..800).for_each(|at| made.add(0, at * 10, at * 10, Came::Failed));
    made.steady(0, 8_000, 20_000);
    let figure = made.figure(5_000, 7_000);
    assert_eq!(figure.gap, over(3_002, Some(0)));
    assert_eq!(figure.recover, over(1_002, Some(0)));
    assert_eq!(figure.lost_permille, Some(1_000));
    assert_eq!(figure.first, over(3_002, None));
}

#[test]
fn a_shard_that_nobody_asks_is_not_away() {
    let mut made = Made::default();
    made.steady(0, 0, 20_000);
    made.steady(1, 0, 2_000);
    // Asked again long after, and once more a little after the end of the fault.
    made.add(1, 7_300, 7_305, Came::Ok);
    made.add(1, 18_000, 18_009, Came::Ok);
    let figure = made.figure(5_000, 7_000);
    assert_eq!(figure.recover, over(5, Some(1)), "from its first call on");
    assert_eq!(figure.gap.map(|gap| gap.ns), Some(5 * MS));
    // Nobody asked it when the fault ended, nor within the next second: that its first answer is slow says nothing of the fault.
    let mut made = Made::default();
    made.steady(0, 0, 20_000);
    made.add(1, 8_010, 8_900, Came::Ok);
    assert_eq!(made.figure(5_000, 7_000).recover, over(2, Some(0)));
}

#[test]
fn who_never_comes_back_was_away_for_at_least_as_long_as_it_was_asked() {
    let mut made = Made::default();
    made.steady(0, 0, 5_000);
    (500..1_999).for_each(|at| made.add(0, at * 10, at * 10 + 5, Came::Failed));
    let figure = made.figure(5_000, 7_000);
    assert_eq!(figure.first, at_least(15_000, None));
    assert_eq!(figure.gap, at_least(14_985, Some(0)));
    assert_eq!(figure.recover, at_least(12_985, Some(0)));
    assert_eq!(figure.normal, at_least(12_500, None));
    // Asked for three seconds, then by nobody: nobody knows when it came back.
    let mut made = Made::default();
    made.steady(0, 0, 5_000);
    (500..800).for_each(|at| made.add(0, at * 10, at * 10 + 5, Came::Failed));
    made.add(0, 15_000, 15_002, Came::Ok);
    let figure = made.figure(5_000, 7_000);
    assert_eq!((figure.gap, figure.recover), (at_least(2_995, Some(0)), at_least(995, Some(0))));
    // One that never returned asks to the end.
    let mut made = Made::default();
    made.steady(0, 0, 5_000);
    made.add(0, 5_500, 5_500, Came::Unknown);
    made.operations.last_mut().expect("just added").returned = None;
    assert_eq!(made.figure(5_000, 7_000).recover, at_least(13_000, Some(0)));
}

#[test]
fn a_moment_loses_what_the_second_after_it_lost() {
    let mut made = Made::default();
    made.steady(0, 0, 5_000);
    made.add(0, 5_000, 5_302, Came::Ok);
    made.steady(0, 5_310, 20_000);
    let figure = made.figure(5_000, 5_000);
    assert_eq!((figure.first, figure.gap), (over(302, None), over(302, Some(0))));
    assert_eq!((figure.recover, figure.lost_permille), (over(302, Some(0)), Some(300)));
}

#[test]
fn what_was_in_force_beside_it_is_told() {
    let faults = [(5_000, Some(7_000)), (7_500, None), (1_000, Some(2_000)), (12_000, Some(13_000))];
    let all = away(8_000).figures(&faults);
    assert_eq!(all[0].beside, [1], "the one began before the other's effect was over");
    assert_eq!((all[1].ended_ns, all[1].absence.recover, all[1].absence.normal), (None, None, None));
    assert_eq!(all[1].beside, [3], "its effect lasts to the end, as nobody undid it");
    assert_eq!(all[2].beside, Vec::<usize>::new());
    let late = Made::default().figures(&[(20_000, Some(21_000))]);
    assert_eq!(late, [], "no client was at work");
}

#[test]
fn operations_that_come_in_parts_give_the_same() {
    let (whole, parts) = (away(8_000), away(8_000));
    let mut asks = [Asks::default(), Asks::default()];
    for operation in parts.operations {
        let of_part = usize::try_from(operation.id.0 % 2).expect("0 or 1");
        asks[of_part].add(&History { operations: vec![operation] }, SHARDS);
    }
    let [mut first, second] = asks;
    first.join(second);
    let spans: Vec<FaultSpan> = Vec::new();
    assert_eq!(first.around(&spans, (0, 1)), []);
    assert_eq!(whole.figure(5_000, 7_000).gap, over(3_032, Some(1)));
}
