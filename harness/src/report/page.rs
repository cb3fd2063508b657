//! The frame of `report.html`. The verdict stands first; then, for a failure, the operations that show it; then the whole
//! run. Everything is bounded, so that the file opens at once however long the run was.

use std::fmt::Write;

use super::escape::Escaped;
use super::lanes::{self, Scene};
use super::overview;
use crate::lab::LabKind;
use crate::plan::seconds;
use crate::store::{AnomalyRecord, Event, FaultSpan, Summary, Word, spans};
use crate::verdict::Concluded;
use crate::verdict::full_stop;

const STYLE: &str = include_str!("style.css");
/// Operations in the drawing of the proof, and in that of the whole key.
const PROOF_OPERATIONS_MAX: usize = 60;
const KEY_OPERATIONS_MAX: usize = 400;
/// Broken promises and faults that are listed.
const ANOMALIES_MAX: usize = 50;
const FAULTS_MAX: usize = 300;
/// Findings and warnings that are listed.
const REMARKS_MAX: usize = 20;
/// Characters of a sentence from elsewhere.
const SENTENCE_CHARS_MAX: usize = 1_000;
/// Characters in a cell of a table.
const CELL_CHARS_MAX: usize = 240;

/// The whole page.
#[must_use]
pub fn html(of: &Concluded) -> String {
    let summary = &of.summary;
    let spans = spans(&of.events);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{}: {}</title><style>{STYLE}</style></head><body>\n",
        Escaped(&summary.run),
        summary.verdict
    );
    headline(&mut page, summary);
    if let Some(first) = summary.anomalies.first() {
        proof(&mut page, of, first, &spans);
    }
    remarks(&mut page, summary);
    numbers(&mut page, summary);
    page.push_str("<h2>The whole run</h2>\n");
    page.push_str("<p class=\"dim\">Above: operations in a second by their end; blue: answered, orange on top: unknown, \
                   pink on top of both: surely failed. Below: the slowest answer. Bands: faults, named above.</p>\n");
    page.push_str(&overview::draw(&of.figures, &spans));
    faults(&mut page, &spans);
    missed(&mut page, &of.events);
    anomalies(&mut page, summary);
    page + "</body></html>\n"
}

fn headline(page: &mut String, summary: &Summary) {
    let (class, sign) = match summary.verdict {
        _ if summary.verdict == Word::Valid && summary.exit == 0 => ("valid", "✓"),
        Word::NotLinearizable | Word::Unsafe => ("bad", "✗"),
        Word::Valid | Word::Unknown | Word::NotJudged => ("open-verdict", "?"),
    };
    let lab = match summary.lab {
        Some(LabKind::Kernel) => "kernel network lab",
        Some(LabKind::Proxy) => "proxy network lab",
        None => "no network lab known",
    };
    let word = full_stop(&summary.verdict.to_string());
    let _ = write!(
        page,
        "<header class=\"{class}\"><h1>{sign} {}</h1><p class=\"lead\">{}</p></header>\n\
         <p class=\"dim\">{} · {} · {lab} · {} · exit code {}<br>\
         <code>{}</code> repeats the plan.</p>\n",
        word.trim_end_matches('.'),
        Escaped(&bounded(&summary.sentence)),
        Escaped(&summary.run),
        Escaped(&summary.system),
        Escaped(&what_it_was(summary)),
        summary.exit,
        Escaped(&command(summary)),
    );
}

fn what_it_was(summary: &Summary) -> String {
    let settings = &summary.settings;
    match &summary.scenario {
        Some(name) => format!("scenario {name}, {} nodes", settings.nodes),
        None => format!(
            "{} nodes, {} clients, {}, workload {}, {} reads",
            settings.nodes,
            settings.clients,
            seconds(settings.time_ms),
            settings.workload,
            settings.read_level
        ),
    }
}

/// What repeats it, as far as chance goes.
fn command(summary: &Summary) -> String {
    let settings = &summary.settings;
    match &summary.scenario {
        Some(name) => format!("ordeal run --scenario {name} --seed {}", settings.seed),
        None => format!(
            "ordeal run --seed {} --nodes {} --clients {} --time {}ms --workload {} --rate {} --keys {} \
             --read-level {} --faults {}",
            settings.seed,
            settings.nodes,
            settings.clients,
            settings.time_ms,
            settings.workload,
            settings.rate,
            settings.keys,
            settings.read_level,
            fault_flag(summary),
        ),
    }
}

fn fault_flag(summary: &Summary) -> String {
    let names: Vec<String> = summary.settings.faults.iter().map(ToString::to_string).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(",") }
}

/// The first broken promise: its operations, near and far.
fn proof(page: &mut String, of: &Concluded, first: &AnomalyRecord, spans: &[FaultSpan]) {
    let scene = |operations_max| Scene {
        history: &of.history,
        spans,
        clients: of.summary.settings.clients,
        key: &first.key,
        guilty: &first.operations,
        operations_max,
    };
    let _ = write!(
        page,
        "<h2>The proof: {} on key {}</h2>\n<p class=\"dim\">One lane a client, time to the right. Marked ▶ with a thick \
         frame: the operations that contradict each other. Solid: answered (✓, or = with the value); dashed: unknown (?), \
         may take effect at any later time; dotted: surely failed (✗).</p>\n{}\n{}\n<h2>All operations on key {}</h2>\n{}\n",
        Escaped(&first.kind),
        Escaped(&first.key),
        lanes::draw(&scene(PROOF_OPERATIONS_MAX)),
        lanes::table(&of.history, &first.operations),
        Escaped(&first.key),
        lanes::draw(&scene(KEY_OPERATIONS_MAX)),
    );
}

fn remarks(page: &mut String, summary: &Summary) {
    let findings =
        summary.findings.iter().map(|finding| format!("{} (exit code {})", finding.what, finding.code));
    let all: Vec<String> = findings.chain(summary.warnings.iter().cloned()).collect();
    if all.is_empty() {
        return;
    }
    page.push_str("<h2>Remarks</h2>\n<ul>");
    for remark in all.iter().take(REMARKS_MAX) {
        let _ = write!(page, "<li>{}</li>", Escaped(&bounded(remark)));
    }
    page.push_str("</ul>\n");
    more(page, all.len(), REMARKS_MAX);
}

fn numbers(page: &mut String, summary: &Summary) {
    let operations = &summary.operations;
    let recovery = summary.recovery_ms.map_or("not measured".to_owned(), seconds);
    let cells = [
        ("operations completed", operations.completed.to_string()),
        ("failed", operations.failed.to_string()),
        ("unknown", operations.unknown.to_string()),
        ("completed a second", format!("{:.0}", summary.ok_per_s)),
        ("latency p50", format!("{:.1} ms", summary.latency_ms.p50)),
        ("latency p99", format!("{:.1} ms", summary.latency_ms.p99)),
        ("longest gap without an answer", seconds(summary.gap_longest_ms)),
        ("served again after healing", recovery),
        ("keys", summary.keys.to_string()),
        ("judged in", seconds(summary.check_ms)),
    ];
    page.push_str("<h2>Numbers</h2>\n<div class=\"numbers\">");
    for (name, value) in cells {
        let _ = write!(page, "<div><b>{value}</b>{name}</div>");
    }
    page.push_str("</div>\n");
    if !summary.measures.is_empty() {
        measures(page, summary);
    }
}

fn measures(page: &mut String, summary: &Summary) {
    page.push_str("<h2>Limits of the scenario</h2>\n<ul>");
    for measure in &summary.measures {
        let sign = if measure.holds() { "✓" } else { "✗" };
        let _ = write!(page, "<li>{sign} {}</li>", Escaped(&bounded(&measure.to_string())));
    }
    if let Some(wire) = &summary.wire {
        let _ = write!(page, "<li>frames on the wire: {}</li>", wire.frames);
    }
    page.push_str("</ul>\n");
}

fn faults(page: &mut String, spans: &[FaultSpan]) {
    let _ = writeln!(page, "<h2>Faults ({})</h2>", spans.len());
    if spans.is_empty() {
        return page.push_str("<p>None was in force.</p>\n");
    }
    page.push_str(
        "<table><thead><tr><th>fault</th><th>asked</th><th>applied</th><th>verified</th><th>undone</th><th>proof</th>\
         </tr></thead><tbody>\n",
    );
    let at = |ns: u64| seconds(ns / 1_000_000);
    for span in spans.iter().take(FAULTS_MAX) {
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            Escaped(&cell(&span.name)),
            at(span.asked_ns()),
            at(span.applied_ns()),
            at(span.verified_ns()),
            span.undone_ns().map_or("never".to_owned(), at),
            Escaped(&cell(&span.proof()))
        );
    }
    page.push_str("</tbody></table>\n");
    more(page, spans.len(), FAULTS_MAX);
}

/// Changes that the cluster could not make in their time, for whatever else was in force.
fn missed(page: &mut String, events: &[Event]) {
    let missed = events.iter().filter_map(|event| match event {
        Event::FaultMissed { at_ns, name, reason, .. } => Some((at_ns, name, reason)),
        _ => None,
    });
    let missed: Vec<_> = missed.collect();
    if missed.is_empty() {
        return;
    }
    page.push_str("<p>Not made in time, beside other faults:</p>\n<ul>");
    for (at_ns, name, reason) in missed.iter().take(FAULTS_MAX) {
        let at = seconds(*at_ns / 1_000_000);
        let _ =
            writeln!(page, "<li>{}, given up {at}: {}</li>", Escaped(&cell(name)), Escaped(&cell(reason)));
    }
    page.push_str("</ul>\n");
    more(page, missed.len(), FAULTS_MAX);
}

fn anomalies(page: &mut String, summary: &Summary) {
    if summary.anomalies.is_empty() {
        return;
    }
    let _ = write!(page, "<h2>Everything that is broken ({})</h2>\n<ol>", summary.anomalies_count);
    for anomaly in summary.anomalies.iter().take(ANOMALIES_MAX) {
        let _ = writeln!(
            page,
            "<li><b>{}</b>: {}</li>",
            Escaped(&anomaly.kind),
            Escaped(&bounded(&anomaly.sentence))
        );
    }
    page.push_str("</ol>\n");
    more(page, summary.anomalies_count, ANOMALIES_MAX);
}

fn more(page: &mut String, all: usize, shown: usize) {
    if all > shown {
        let _ = writeln!(page, "<p class=\"dim\">… and {} more.</p>", all - shown);
    }
}

fn bounded(text: &str) -> String {
    text.chars().take(SENTENCE_CHARS_MAX).collect()
}

fn cell(text: &str) -> String {
    text.chars().take(CELL_CHARS_MAX).collect()
}
