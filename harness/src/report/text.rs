//! The result on a terminal: a short table and one sentence.

use std::fmt::Write;

use crate::exit::Cause;
use crate::plan::seconds;
use crate::store::{Availability, Event, FaultSpan, Figure, Finding, KindAbsence, Summary};

/// The table and the sentence.
#[must_use]
pub fn result(summary: &Summary) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<12} {value}");
    };
    let operations = &summary.operations;
    row(
        "operations",
        format!(
            "{} completed, {} failed, {} unknown; {:.0} completed/s",
            operations.completed, operations.failed, operations.unknown, summary.ok_per_s
        ),
    );
    let latency = &summary.latency_ms;
    row(
        "latency",
        format!("p50 {:.1} ms, p99 {:.1} ms, max {:.0} ms", latency.p50, latency.p99, latency.max),
    );
    row("faults", fault_words(summary));
    if let Some(wire) = &summary.wire {
        row("frames", wire.frames.to_string());
    }
    for measure in &summary.measures {
        row(if measure.holds() { "measured" } else { "missed" }, measure.to_string());
    }
    row("longest gap", format!("{} without an answer to anybody", seconds(summary.gap_longest_ms)));
    for line in summary.availability.iter().flat_map(availability) {
        row("availability", line);
    }
    if let Some(stop) = &summary.stopped {
        row("stopped", format!("at the first violation: {stop}"));
        row("", format!("what the nodes left to be seen: {}/stopped", summary.dir));
    }
    let recovery = match summary.recovery_ms {
        Some(ms) => format!("served again {} after the last healing", seconds(ms)),
        None => "not measured".to_owned(),
    };
    if summary.scenario.is_none() {
        row("recovery", recovery);
    }
    row("judged", format!("{} keys in {}", summary.keys, seconds(summary.check_ms)));
    row("run", summary.dir.clone());
    let is_late = |finding: &&Finding| finding.code == Cause::Availability.code();
    for finding in summary.findings.iter().skip(1).filter(|finding| !is_late(finding)) {
        let _ = writeln!(text, "  {:<12} {} (exit code {})", "also", finding.what, finding.code);
    }
    for warning in &summary.warnings {
        let _ = writeln!(text, "  {:<12} {warning}", "warning");
    }
    let first = summary.findings.first().filter(|first| !summary.sentence.contains(&first.what));
    if let (Some(first), true) = (first.filter(|first| !is_late(first)), summary.exit != 10) {
        let _ = writeln!(text, "  {:<12} {} (exit code {})", "but", first.what, first.code);
    }
    let _ = writeln!(text, "{}", verdict_line(summary));
    // Whether it was right comes first; then whether it was there.
    for finding in summary.findings.iter().filter(is_late) {
        let _ = writeln!(text, "availability: {} (exit code {})", finding.what, finding.code);
    }
    text
}

/// The worst figures of each kind of fault, a line each.
#[must_use]
pub fn availability(availability: &Availability) -> Vec<String> {
    let line = |worst: &KindAbsence| {
        let figures = Figure::ALL.map(|figure| format!("{figure} {}", worst.absence.words(figure)));
        format!("worst of {}: {}", worst.kind.counted(worst.faults), figures.join(", "))
    };
    availability.worst.iter().map(line).collect()
}

/// The verdict's word and its sentence, the word once.
#[must_use]
pub fn verdict_line(summary: &Summary) -> String {
    let word = summary.verdict.to_string();
    let sentence = &summary.sentence;
    if sentence.to_lowercase().starts_with(&format!("{word}:")) {
        let rest = sentence[word.len() + 1..].trim_start();
        return format!("{word}: {rest}");
    }
    format!("{word}: {sentence}")
}

fn fault_words(summary: &Summary) -> String {
    if summary.faults.is_empty() {
        return "none".to_owned();
    }
    let words = summary.faults.iter().map(|count| {
        let missing = match count.planned - count.verified.min(count.planned) {
            0 => String::new(),
            missing if missing == count.missed => format!(" ({missing} more could not be made in time)"),
            missing => format!(" ({missing} more were planned)"),
        };
        format!("{} verified{missing}", count.kind.counted(count.verified))
    });
    words.collect::<Vec<_>>().join(", ")
}

/// The faults of a run, one a line.
#[must_use]
pub fn faults(spans: &[FaultSpan]) -> String {
    spans.iter().fold(String::new(), |mut text, span| {
        let at = seconds(span.applied_ns() / 1_000_000);
        let until = match span.undone_ns() {
            Some(ns) => format!("undone {}", seconds(ns / 1_000_000)),
            None => "not undone".to_owned(),
        };
        let _ = writeln!(text, "  {at:>10}  {} (verified: {}; {until})", span.name, span.proof());
        text
    })
}

/// Crashes, changes that were not made and faults without effect, one a line.
#[must_use]
pub fn troubles(events: &[Event]) -> String {
    let at = |ns: &u64| seconds(ns / 1_000_000);
    events.iter().fold(String::new(), |mut text, event| {
        let _ = match event {
            Event::Crashed { at_ns, node, how, .. } => {
                writeln!(text, "  {:>10}  {node} ended uninvited: {how}", at(at_ns))
            }
            Event::NotVerified { at_ns, action, reason, .. } => {
                writeln!(text, "  {:>10}  not verified: {action}: {reason}", at(at_ns))
            }
            Event::FaultMissed { at_ns, name, reason, .. } => {
                writeln!(text, "  {:>10}  not made in time: {name}: {reason}", at(at_ns))
            }
            Event::Stopped { stop } => {
                writeln!(text, "  {:>10}  stopped at a violation: {stop}", at(&stop.frozen_ns))
            }
            Event::Interrupted { at_ns } => writeln!(text, "  {:>10}  interrupted", at(at_ns)),
            Event::Phase { .. }
            | Event::Leader { .. }
            | Event::FaultBegan { .. }
            | Event::FaultUndone { .. }
            | Event::JudgedMeanwhile { .. }
            | Event::Recovered { .. } => Ok(()),
        };
        text
    })
}
