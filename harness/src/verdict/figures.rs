//! Numbers drawn from a history: how many, how fast, and how long without any answer.

use hdrhistogram::Histogram;
use ordeal_history::{History, Operation, Outcome};

use crate::store::{Event, Latency, Operations};

/// The shortest bar of a chart.
const BUCKET_NS_MIN: u64 = 250_000_000;
/// As many bars as a chart has pixels for.
const BUCKETS_MAX: u64 = 400;
/// Latencies beyond an hour count as an hour; no deadline is that long.
const LATENCY_US_MAX: u64 = 3_600_000_000;

/// Numbers of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// When clients began, in nanoseconds of the run.
    pub from_ns: u64,
    /// When they ended.
    pub until_ns: u64,
    /// Operations by what came of them.
    pub operations: Operations,
    /// Operations answered in a second, on average.
    pub ok_per_s: f64,
    /// Time from call to answer.
    pub latency: Latency,
    /// The longest time without an answer to any client, in milliseconds.
    pub gap_longest_ms: u64,
    /// Length of a bucket.
    pub bucket_ns: u64,
    /// What happened in each.
    pub buckets: Vec<Bucket>,
}

/// What happened in a short time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Bucket {
    /// Operations that were answered.
    pub ok: u64,
    /// Operations that failed.
    pub failed: u64,
    /// Operations that ended unknown.
    pub unknown: u64,
    /// The slowest answer, in milliseconds.
    pub slowest_ms: f64,
}

/// When clients were at work: from the phase `clients` to the phase `heal`, or to the last thing that was recorded.
#[must_use]
pub fn window(events: &[Event], history: &History) -> (u64, u64) {
    let first_ns = history.operations.first().map_or(0, |operation| operation.invoked_ns);
    let last_ns = history.operations.iter().map(end_ns).max().unwrap_or(first_ns);
    window_of(events, first_ns, last_ns)
}

/// As [`window`], where this is when the first operation was called, and when the last one ended.
pub(super) fn window_of(events: &[Event], first_ns: u64, last_ns: u64) -> (u64, u64) {
    let phase = |name: &str| {
        events.iter().find_map(|event| match event {
            Event::Phase { at_ns, phase } if phase == name => Some(*at_ns),
            _ => None,
        })
    };
    let from_ns = phase("clients").unwrap_or(first_ns);
    // Nodes that we hold still cannot answer: what clients see then says nothing.
    let held_ns = super::stop::stop_of(events).map_or(u64::MAX, |stop| stop.found_ns);
    (from_ns, phase("heal").unwrap_or(last_ns).min(held_ns).max(from_ns))
}

fn end_ns(operation: &Operation) -> u64 {
    operation.returned.as_ref().map_or(operation.invoked_ns, |(time_ns, _)| *time_ns)
}

/// Draws the numbers. Operations before and after the window count as operations, and in no rate.
#[must_use]
pub fn figures(history: &History, (from_ns, until_ns): (u64, u64)) -> Figures {
    let window_ns = until_ns.saturating_sub(from_ns);
    let bucket_ns = BUCKET_NS_MIN.max(window_ns.div_ceil(BUCKETS_MAX));
    let count = usize::try_from(window_ns.div_ceil(bucket_ns)).expect("bounded by BUCKETS_MAX");
    let mut buckets = vec![Bucket::default(); count];
    let mut operations = Operations::default();
    let mut latencies = Histogram::<u64>::new_with_bounds(1, LATENCY_US_MAX, 3).expect("constant bounds");
    let mut answers_ns = Vec::new();
    for operation in &history.operations {
        let ended_ns = end_ns(operation);
        let inside = (from_ns..until_ns).contains(&ended_ns);
        let at = usize::try_from(ended_ns.saturating_sub(from_ns) / bucket_ns).unwrap_or(usize::MAX);
        let mut ignored = Bucket::default();
        let bucket = if inside { buckets.get_mut(at).unwrap_or(&mut ignored) } else { &mut ignored };
        match &operation.returned {
            Some((_, Outcome::Ok(..))) => {
                operations.completed += 1;
                let latency_us = ended_ns.saturating_sub(operation.invoked_ns) / 1_000;
                latencies.saturating_record(latency_us.max(1));
                bucket.ok += 1;
                bucket.slowest_ms = bucket.slowest_ms.max(ms(latency_us));
                if inside {
                    answers_ns.push(ended_ns);
                }
            }
            Some((_, Outcome::Failed(_))) => {
                operations.failed += 1;
                bucket.failed += 1;
            }
            Some((_, Outcome::Unknown(_))) | None => {
                operations.unknown += 1;
                bucket.unknown += 1;
            }
        }
    }
    let seconds = window_ns as f64 / 1e9;
    Figures {
        from_ns,
        until_ns,
        operations,
        // To a tenth: nobody can use more, and short numbers survive being written and read.
        ok_per_s: if window_ns > 0 { (answers_ns.len() as f64 / seconds * 10.0).round() / 10.0 } else { 0.0 },
        latency: Latency {
            p50: ms(latencies.value_at_quantile(0.50)),
            p99: ms(latencies.value_at_quantile(0.99)),
            max: ms(latencies.max()),
        },
        gap_longest_ms: gap_longest_ns(answers_ns, from_ns, until_ns) / 1_000_000,
        bucket_ns,
        buckets,
    }
}

fn gap_longest_ns(mut answers_ns: Vec<u64>, from_ns: u64, until_ns: u64) -> u64 {
    answers_ns.extend([from_ns, until_ns]);
    answers_ns.sort_unstable();
    answers_ns.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
}

fn ms(us: u64) -> f64 {
    us as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use ordeal_history::{Answer, Call, Claim, ClientId, OpId};

    use super::*;

    fn operation(id: u64, from_ms: u64, outcome: Option<(u64, Outcome)>) -> Operation {
        Operation {
            id: OpId(id),
            client: ClientId(1),
            key: "k".into(),
            call: Call::Read,
            invoked_ns: from_ms * 1_000_000,
            returned: outcome.map(|(ms, outcome)| (ms * 1_000_000, outcome)),
            node: None,
        }
    }

    #[test]
    fn counts_latencies_and_the_longest_gap() {
        let ok = |ms| Some((ms, Outcome::Ok(Answer::Value(None), Claim::default())));
        let history = History {
            operations: vec![
                operation(0, 1_000, ok(1_010)),
                operation(1, 1_100, ok(1_200)),
                operation(2, 1_200, Some((1_300, Outcome::Failed("no".into())))),
                operation(3, 1_300, Some((1_900, Outcome::Unknown("?".into())))),
                operation(4, 1_900, None),
                operation(5, 1_900, ok(1_950)),
                operation(6, 9_000, ok(9_001)),
            ],
        };
        let events = [
            Event::Phase { at_ns: 1_000_000_000, phase: "clients".into() },
            Event::Phase { at_ns: 2_000_000_000, phase: "heal".into() },
        ];
        let figures = figures(&history, window(&events, &history));
        assert_eq!(figures.operations, Operations { completed: 4, failed: 1, unknown: 2 });
        assert!((figures.ok_per_s - 3.0).abs() < 1e-9, "{}", figures.ok_per_s);
        assert_eq!(figures.gap_longest_ms, 750);
        let ok: Vec<u64> = figures.buckets.iter().map(|bucket| bucket.ok).collect();
        assert_eq!(ok, [2, 0, 0, 1]);
        assert!((figures.latency.max - 100.0).abs() < 1.0, "{:?}", figures.latency);
    }

    #[test]
    fn an_empty_history_has_no_numbers_and_a_long_one_few_bars() {
        let empty = figures(&History::default(), window(&[], &History::default()));
        assert_eq!((empty.operations, empty.gap_longest_ms), (Operations::default(), 0));
        let day_ns = 24 * 3_600 * 1_000_000_000;
        assert_eq!(figures(&History::default(), (0, day_ns)).buckets.len() as u64, BUCKETS_MAX);
    }
}
