//! What a bench measured, told as a table or, with `--json`, as one object of version 1.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::load::{Sheet, Side};
use super::{BenchArgs, Distribution};
use crate::cli::Exit;
use crate::cli::outcome::{JSON_VERSION, Printer};
use crate::error::ClientError;

const HEADINGS: [&str; 9] =
    ["", "answered", "a second", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "failed", "unknown"];
const QUANTILES: [f64; 4] = [0.5, 0.99, 0.999, 1.0];
const QUANTILE_NAMES: [&str; 4] = ["p50_us", "p99_us", "p99_9_us", "max_us"];

const HINT: &str = "`ordeal kv status` with the same endpoints shows who answers";

/// Tells what was measured. Done when anything was answered at all.
pub(super) fn report(args: &BenchArgs, sheet: &Sheet, printer: &mut Printer<'_>) -> Exit {
    let mut all = sheet.reads.clone();
    all.add(&sheet.writes);
    let exit = if all.done() > 0 { Exit::Done } else { Exit::NotDone };
    if printer.json {
        printer.line(&json_of(args, sheet, &all, exit), exit);
    } else {
        printer.result(table(args, sheet, &all).as_bytes(), exit);
    }
    let reason = sheet.error.iter().map(|error| format!("; one of them: {error}")).collect::<String>();
    let lost = all.failed + all.unknown;
    match exit {
        Exit::NotDone if lost == 0 => printer.say(
            "error: nothing was begun in the time to measure: what was begun before took longer\n\
             hint: give a longer --time",
            exit,
        ),
        Exit::NotDone => {
            printer.say(&format!("error: nothing was answered, {lost} were not{reason}\nhint: {HINT}"), exit)
        }
        _ if lost > 0 => printer.say(&format!("warning: {lost} were not answered{reason}"), exit),
        _ => exit,
    }
}

/// Tells that not even the first read was answered.
pub(super) fn nobody(error: &ClientError, printer: &mut Printer<'_>) -> Exit {
    if printer.json {
        let mut line = beginning(Exit::NotDone);
        line.insert("error".into(), json!(error.to_string()));
        printer.line(&line, Exit::NotDone);
    }
    let words = format!("error: bench: the first read was not answered: {error}\nhint: {HINT}");
    printer.say(&words, Exit::NotDone)
}

/// How many that is in a second.
pub(super) fn per_second(count: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { count as f64 / time.as_secs_f64() }
}

fn table(args: &BenchArgs, sheet: &Sheet, all: &Side) -> String {
    let sides = [("reads", &sheet.reads), ("writes", &sheet.writes), ("both", all)];
    let mut rows = vec![HEADINGS.map(str::to_owned)];
    rows.extend(sides.map(|(name, side)| row(name, side, sheet.time)));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; HEADINGS.len()] = std::array::from_fn(width);
    let mut text = format!(
        "clients {}, depth {}, connections {}, values of {} bytes, reads {}, keys {} ({}), seed {}, \
         measured {:.2} s\n",
        args.clients,
        args.depth,
        args.connections(),
        args.value_bytes,
        args.reads,
        args.keys,
        distribution(args.distribution),
        args.seed,
        sheet.time.as_secs_f64()
    );
    for row in &rows {
        text += &format!("{:<1$}", row[0], widths[0]);
        row.iter().zip(widths).skip(1).for_each(|(cell, width)| text += &format!("  {cell:>width$}"));
        text.push('\n');
    }
    text
}

fn row(name: &str, side: &Side, time: Duration) -> [String; HEADINGS.len()] {
    let [p50, p99, p99_9, max] = quantiles_us(side)
        .map(|us| us.map_or_else(|| "-".to_owned(), |us| format!("{}.{:03}", us / 1_000, us % 1_000)));
    let per_second = format!("{:.1}", per_second(side.done(), time));
    let [failed, unknown] = [side.failed, side.unknown].map(|count| count.to_string());
    [name.to_owned(), side.done().to_string(), per_second, p50, p99, p99_9, max, failed, unknown]
}

/// Of what was answered, so that without an answer there are none.
fn quantiles_us(side: &Side) -> [Option<u64>; 4] {
    QUANTILES.map(|quantile| (side.done() > 0).then(|| side.latency_us.value_at_quantile(quantile)))
}

fn json_of(args: &BenchArgs, sheet: &Sheet, all: &Side, exit: Exit) -> Map<String, Value> {
    let mut line = beginning(exit);
    line.insert("clients".into(), json!(args.clients));
    line.insert("connections".into(), json!(args.connections()));
    line.insert("depth".into(), json!(args.depth));
    line.insert("rate".into(), json!(args.rate));
    line.insert("value_bytes".into(), json!(args.value_bytes));
    line.insert("reads_share".into(), json!(args.reads));
    line.insert("keys".into(), json!(args.keys));
    line.insert("distribution".into(), json!(distribution(args.distribution)));
    line.insert("seed".into(), json!(args.seed));
    line.insert("time_us".into(), json!(us(sheet.time)));
    for (name, side) in [("reads", &sheet.reads), ("writes", &sheet.writes), ("both", all)] {
        line.insert(name.into(), json_of_side(side, sheet.time));
    }
    if let Some(error) = &sheet.error {
        line.insert("error".into(), json!(error));
    }
    line
}

fn beginning(exit: Exit) -> Map<String, Value> {
    let mut line = Map::new();
    line.insert("v".into(), json!(JSON_VERSION));
    line.insert("command".into(), json!("bench"));
    line.insert("outcome".into(), json!(if exit == Exit::Done { "done" } else { "not_done" }));
    line
}

fn json_of_side(side: &Side, time: Duration) -> Value {
    let mut map = Map::new();
    map.insert("answered".into(), json!(side.done()));
    map.insert("per_second".into(), json!(per_second(side.done(), time)));
    for (name, us) in QUANTILE_NAMES.into_iter().zip(quantiles_us(side)) {
        map.insert(name.into(), json!(us));
    }
    map.insert("failed".into(), json!(side.failed));
    map.insert("unknown".into(), json!(side.unknown));
    Value::Object(map)
}

fn distribution(distribution: Distribution) -> &'static str {
    match distribution {
        Distribution::Uniform => "uniform",
        Distribution::Zipf => "zipf",
    }
}

fn us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_counts_by_time() {
        assert_eq!(per_second(500, Duration::from_millis(250)).round(), 2_000.0);
        assert_eq!(per_second(0, Duration::ZERO), 0.0);
    }

    #[test]
    fn a_row_shows_milliseconds_or_that_there_are_none() {
        let mut side = Side::new();
        side.failed = 3;
        assert_eq!(
            row("reads", &side, Duration::from_secs(1))[1..],
            ["0", "0.0", "-", "-", "-", "-", "3", "0"]
        );
        for us in 1..=1_000 {
            side.record(Duration::from_micros(us));
        }
        let cells = row("reads", &side, Duration::from_secs(1));
        assert_eq!(cells[1..], ["1000", "1000.0", "0.500", "0.990", "0.999", "1.000", "3", "0"]);
    }
}
