//! The frame of `report.html`. The verdict stands first; then the picture; then, for a failure, the operations that show it as a
//! table, for those who run no script; then the whole run. Everything is bounded, so that the file opens at once however long the
//! run was.

use std::fmt::Write;

use ordeal_history::formats::FaultNote;
use ordeal_history::{History, Kept, Report, Verdict, promises};

use super::availability;
use super::escape::Escaped;
use super::lanes::{self, Scene};
use super::overview;
use super::picture::{self, Band, Lead, Material};
use super::stopped;
use crate::lab::LabKind;
use crate::plan::seconds;
use crate::store::{AnomalyRecord, Event, FaultSpan, Summary, Word, spans};
use crate::verdict::{Concluded, Failing, anomalies as broken, failing, full_stop, promise_words, word};

const STYLE: &str = include_str!("style.css");
/// Operations in the drawing of the proof.
const PROOF_OPERATIONS_MAX: usize = 60;
/// Broken promises and faults that are listed.
const ANOMALIES_MAX: usize = 50;
const FAULTS_MAX: usize = 300;
/// Findings and warnings that are listed.
const REMARKS_MAX: usize = 20;
/// Characters of a sentence from elsewhere.
const SENTENCE_CHARS_MAX: usize = 1_000;
/// Characters in a cell of a table.
const CELL_CHARS_MAX: usize = 240;

/// The page of a run.
#[must_use]
pub fn html(of: &Concluded) -> String {
    let summary = &of.summary;
    let spans = spans(&of.events);
    let few = &summary.anomalies[..summary.anomalies.len().min(ANOMALIES_MAX)];
    let failing = failing(few, &of.report, &of.history);
    let mut page = begin(&format!("{}: {}", summary.run, summary.verdict));
    headline(&mut page, summary);
    page.push_str(&picture::draw(&Material {
        history: &of.history,
        report: &of.report,
        failing: &failing,
        bands: Band::of_spans(&spans),
        leaders: Lead::of_events(&of.events),
        clients: Some(summary.settings.clients),
    }));
    if let Some(first) = failing.first() {
        proof(&mut page, &of.history, first, &spans, Some(summary.settings.clients));
    }
    stopped::section(&mut page, summary.stopped.as_ref(), &of.kept);
    reliance(&mut page, &of.history, &of.report);
    remarks(&mut page, summary);
    numbers(&mut page, summary);
    page.push_str("<h2>The whole run</h2>\n");
    page.push_str("<p class=\"dim\">Above: operations in a second by their end; blue: answered, orange on top: unknown, \
                   pink on top of both: surely failed. Below: the slowest answer. Bands: faults, named above.</p>\n");
    page.push_str(&overview::draw(&of.figures, &spans));
    faults(&mut page, &spans);
    availability::table(&mut page, summary.availability.as_ref(), &spans);
    missed(&mut page, &of.events);
    anomalies(&mut page, &summary.anomalies, summary.anomalies_count);
    page + "</body></html>\n"
}

/// A history file with its judgement.
pub struct Paper<'a> {
    /// Its name.
    pub name: &'a str,
    /// What clients saw.
    pub history: &'a History,
    /// The judgement.
    pub report: &'a Report,
    /// What a reader should know beside it.
    pub warnings: &'a [String],
    /// What befell the system meanwhile, as far as the file says.
    pub notes: &'a [FaultNote],
}

/// The page of a history file.
#[must_use]
pub fn html_of_file(of: &Paper<'_>) -> String {
    let (verdict, broken) =
        (word(of.report.verdict, of.history.operations.len()), broken(of.report, of.history, &[]));
    let failing = failing(&broken, of.report, of.history);
    let mut page = begin(&format!("{}: {verdict}", of.name));
    let (class, sign) = face(verdict, true);
    let sentence = match (verdict, broken.first()) {
        (Word::NotLinearizable, Some(first)) => first.sentence.clone(),
        (Word::NotJudged, _) => "No operation was recorded.".to_owned(),
        _ => full_stop(&of.report.sentence()),
    };
    banner(&mut page, (class, sign), verdict, &sentence);
    let counts = of.report.counts;
    let _ = writeln!(
        page,
        "<p class=\"dim\">{} · {} operations on {} keys: {} answered, {} failed, {} unknown · judged in {}</p>",
        Escaped(&cell(of.name)),
        counts.operations,
        of.report.keys.len(),
        counts.ok,
        counts.failed,
        counts.unknown,
        seconds(of.report.elapsed_ms)
    );
    page.push_str(&picture::draw(&Material {
        history: of.history,
        report: of.report,
        failing: &failing,
        bands: Band::of_notes(of.notes),
        leaders: Vec::new(),
        clients: None,
    }));
    if let Some(first) = failing.first() {
        proof(&mut page, of.history, first, &[], None);
    }
    reliance(&mut page, of.history, of.report);
    list(&mut page, "Remarks", of.warnings);
    anomalies(&mut page, &broken, of.report.anomalies.len());
    page + "</body></html>\n"
}

fn begin(title: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><meta name=\"generator\" content=\"ordeal\">\
         <title>{}</title><style>{STYLE}</style></head><body>\n",
        Escaped(title),
    )
}

/// How a verdict looks: its class and its sign.
fn face(verdict: Word, is_success: bool) -> (&'static str, &'static str) {
    match verdict {
        Word::Valid if is_success => ("valid", "✓"),
        Word::NotLinearizable | Word::Unsafe => ("bad", "✗"),
        Word::Valid | Word::Unknown | Word::NotJudged => ("open-verdict", "?"),
    }
}

fn banner(page: &mut String, (class, sign): (&str, &str), verdict: Word, sentence: &str) {
    let word = full_stop(&verdict.to_string());
    let _ = writeln!(
        page,
        "<header class=\"{class}\"><h1>{sign} {}</h1><p class=\"lead\">{}</p></header>",
        word.trim_end_matches('.'),
        Escaped(&bounded(sentence)),
    );
}

fn headline(page: &mut String, summary: &Summary) {
    let lab = match summary.lab {
        Some(LabKind::Kernel) => "kernel network lab",
        Some(LabKind::Proxy) => "proxy network lab",
        None => "no network lab known",
    };
    banner(page, face(summary.verdict, summary.exit == 0), summary.verdict, &summary.sentence);
    let _ = writeln!(
        page,
        "<p class=\"dim\">{} · {} · {lab} · {} · exit code {}<br>\
         <code>{}</code> repeats the plan.</p>",
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

/// The first part that fails as a table, with why no order goes on; and as a drawing where no script runs.
fn proof(page: &mut String, history: &History, first: &Failing, spans: &[FaultSpan], clients: Option<u32>) {
    let all = first.all();
    let scene = Scene {
        history,
        spans,
        clients: clients.unwrap_or(u32::MAX),
        key: &first.key,
        guilty: &all,
        operations_max: PROOF_OPERATIONS_MAX,
    };
    let _ = write!(
        page,
        "<h2>The proof: {} on key {}</h2>\n<noscript><p class=\"dim\">One lane a client, time to the right. Marked ▶ with a thick \
         frame: the operations that contradict each other. Solid: answered (✓, or = with the value); dashed: unknown (?), \
         may take effect at any later time; dotted: surely failed (✗).</p>\n{}\n</noscript>{}\n",
        Escaped(&first.kind),
        Escaped(&first.key),
        lanes::draw(&scene),
        lanes::table(history, first),
    );
    list(page, "Why no order goes on", &first.reasons(history));
}

/// What clients could rely on all the same.
fn reliance(page: &mut String, history: &History, report: &Report) {
    if history.operations.is_empty() {
        return;
    }
    let promises = promises(history, report);
    let _ = write!(
        page,
        "<h2>What clients could rely on</h2>\n<table><thead><tr><th>promise</th><th>verdict</th><th>first broken</th></tr>\
         </thead><tbody><tr><td>linearizability</td><td>{}</td><td>{}</td></tr>\n",
        match report.verdict {
            Verdict::Valid => "✓ kept",
            Verdict::Invalid => "✗ broken",
            Verdict::Unknown => "? not known",
        },
        Escaped(&cell(report.anomalies.first().map_or("", |anomaly| &anomaly.sentence))),
    );
    for verdict in &promises.verdicts {
        let (sign, first) = match verdict.verdict {
            Kept::Kept => ("✓ kept".to_owned(), ""),
            Kept::Unknown => ("? not known".to_owned(), ""),
            Kept::Broken => {
                (format!("✗ broken ({})", verdict.broken), verdict.first.as_deref().unwrap_or(""))
            }
        };
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{sign}</td><td>{}</td></tr>",
            verdict.promise.words(),
            Escaped(&cell(first))
        );
    }
    page.push_str("</tbody></table>\n");
    for line in promise_words(&promises).iter().skip(1) {
        let _ = writeln!(page, "<p class=\"dim\">{}.</p>", Escaped(full_stop(line).trim_end_matches('.')));
    }
    if let Some(worst) = &promises.staleness.worst {
        let _ = writeln!(page, "<p class=\"dim\">The stalest: {}.</p>", Escaped(&cell(worst)));
    }
}

fn remarks(page: &mut String, summary: &Summary) {
    let findings =
        summary.findings.iter().map(|finding| format!("{} (exit code {})", finding.what, finding.code));
    let all: Vec<String> = findings.chain(summary.warnings.iter().cloned()).collect();
    list(page, "Remarks", &all);
}

fn list(page: &mut String, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let _ = write!(page, "<h2>{title}</h2>\n<ul>");
    for line in lines.iter().take(REMARKS_MAX) {
        let _ = write!(page, "<li>{}</li>", Escaped(&bounded(line)));
    }
    page.push_str("</ul>\n");
    more(page, lines.len(), REMARKS_MAX);
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

fn anomalies(page: &mut String, broken: &[AnomalyRecord], count: usize) {
    if broken.is_empty() {
        return;
    }
    let _ = write!(page, "<h2>Everything that is broken ({count})</h2>\n<ol>");
    for anomaly in broken.iter().take(ANOMALIES_MAX) {
        let _ = writeln!(
            page,
            "<li><b>{}</b>: {}</li>",
            Escaped(&anomaly.kind),
            Escaped(&bounded(&anomaly.sentence))
        );
    }
    page.push_str("</ol>\n");
    more(page, count, ANOMALIES_MAX);
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
