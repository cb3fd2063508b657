//! Judging what a run recorded, and putting everything together that is known of it.

use std::path::Path;

use ordeal_history::formats::{Format, FormatError, load};
use ordeal_history::{Budget, History, Progress, Report, Verdict, check, read_file};

use super::availability::Asks;
use super::figures::{Figures, figures, window};
use super::judge as words;
use super::require::{Required, required};
use super::stop::{self, Kept};
use crate::exit::{Cause, code_of};
use crate::lab::LabKind;
use crate::plan::{FaultKind, Plan};
use crate::store::{
    Availability, Event, FaultAbsence, FaultCount, FaultSpan, Finding, Measure, Operations, RunDir,
    SUMMARY_VERSION, Summary, WireCounts, Word, spans,
};

/// A recorded history with its judgement.
pub struct Judged {
    /// The history.
    pub history: History,
    /// The judgement.
    pub report: Report,
    /// What a reader should know beside it.
    pub warnings: Vec<String>,
}

/// What a run knows beside what it recorded.
#[derive(Debug, Default)]
pub struct Course {
    /// How long the cluster took to serve again.
    pub recovery_ms: Option<u64>,
    /// How many keys could not be read at the end.
    pub keys_unread: usize,
}

/// What is known of a run beside what it recorded.
#[derive(Debug, Default)]
pub struct Known {
    /// Why it is no success, so far.
    pub causes: Vec<(Cause, String)>,
    /// What was tested.
    pub system: String,
    /// Network lab.
    pub lab: Option<LabKind>,
    /// Why this one.
    pub lab_reason: String,
    /// Operations that must be answered.
    pub require_ops: Option<usize>,
    /// From the cluster's end.
    pub course: Course,
    /// Numbers of a scenario, with its limits.
    pub measures: Vec<Measure>,
    /// What its lab counted.
    pub wire: Option<WireCounts>,
}

/// Everything that a report shows.
pub struct Concluded {
    /// What came of it.
    pub summary: Summary,
    /// What was to be done.
    pub plan: Plan,
    /// What clients saw.
    pub history: History,
    /// What happened beside it.
    pub events: Vec<Event>,
    /// Numbers.
    pub figures: Figures,
    /// The judgement.
    pub report: Report,
    /// What nodes left to be seen, where the run was stopped at a violation.
    pub kept: Vec<Kept>,
}

/// Judges a history file of this format, or of the one that it begins like.
///
/// # Errors
/// When it is missing or damaged.
pub fn judge_file(
    path: &Path,
    format: Option<Format>,
    budget: &Budget,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Judged, FormatError> {
    let loaded = load(path, format)?.loaded;
    Ok(judge(loaded.history, loaded.warnings, budget, progress))
}

/// Judges a history; what a reader of it should know goes along.
#[must_use]
pub fn judge(
    history: History,
    warnings: Vec<String>,
    budget: &Budget,
    progress: &(dyn Fn(Progress) + Sync),
) -> Judged {
    let report = check(&history, budget, progress);
    Judged { history, report, warnings }
}

/// Judges what a run recorded, and puts everything together.
///
/// # Errors
/// When a file of the run is missing or damaged.
pub fn conclude(
    dir: &RunDir,
    known: Known,
    budget: &Budget,
    progress: &(dyn Fn(Progress) + Sync),
) -> anyhow::Result<Concluded> {
    let (plan, events) = (dir.read_plan()?, dir.read_events()?);
    let judged = judge_file(&dir.history(), Some(Format::Ordeal), budget, progress)?;
    let figures = figures(&judged.history, window(&events, &judged.history));
    let absences = absences(&plan, &events, &judged.history);
    let required = required(&dir.read_requirements()?, absences.as_deref().unwrap_or_default());
    let mut summary = summarize(dir, &plan, known, &judged, &events, &figures, &required);
    summary.availability = absences.map(Availability::of);
    let (history, report, kept) = (judged.history, judged.report, stop::kept(dir));
    Ok(Concluded { summary, plan, history, events, figures, report, kept })
}

/// Puts together what a run recorded with the verdict that it was given. What was recorded is judged again for the orders and
/// cores that a picture shows; the verdict stays the one that was given.
///
/// # Errors
/// When a file of the run is missing or damaged.
pub fn recall(dir: &RunDir, mut summary: Summary) -> anyhow::Result<Concluded> {
    let (plan, events) = (dir.read_plan()?, dir.read_events()?);
    let history = read_file(&dir.history())?.history;
    let figures = figures(&history, window(&events, &history));
    let report = check(&history, &Budget::default(), &|_| {});
    summary.availability = absences(&plan, &events, &history).map(Availability::of);
    Ok(Concluded { summary, plan, history, events, figures, report, kept: stop::kept(dir) })
}

/// How available the system was around each fault; of a scenario nothing, whose clients do not go on all the time.
fn absences(plan: &Plan, events: &[Event], history: &History) -> Option<Vec<FaultAbsence>> {
    let mut asks = Asks::default();
    asks.add(history, plan.settings.shards);
    plan.scenario.is_none().then(|| asks.of_run(events))
}

fn summarize(
    dir: &RunDir,
    plan: &Plan,
    known: Known,
    judged: &Judged,
    events: &[Event],
    numbers: &Figures,
    required: &Required,
) -> Summary {
    let spans = spans(events);
    let safety_broken = known.causes.iter().any(|(cause, _)| *cause == Cause::NotLinearizable);
    let word = match words::word(judged.report.verdict, judged.history.operations.len()) {
        // What nodes say of themselves is as good a proof as what clients saw.
        Word::Valid | Word::Unknown | Word::NotJudged if safety_broken => Word::Unsafe,
        word => word,
    };
    let anomalies = words::anomalies(&judged.report, &judged.history, &spans);
    let headline = anomalies.first().map_or_else(|| judged.report.sentence(), |first| first.sentence.clone());
    let mut causes = causes(&known, judged.report.verdict, &headline, numbers, required);
    let stopped = stop::stop_of(events);
    if let Some(what) = stopped.and_then(|stop| stop::contradiction(stop, &judged.report)) {
        causes.push((Cause::OwnBug, what));
        causes.sort_by_key(|(cause, _)| *cause);
    }
    let sentence = match (word, anomalies.first(), causes.first()) {
        (Word::NotLinearizable, Some(_), _) => headline,
        (Word::Unsafe, _, Some((_, what))) => words::full_stop(what),
        (Word::NotJudged, _, Some((_, what))) => words::full_stop(what),
        (Word::NotJudged, _, None) => "No operation was recorded.".to_owned(),
        _ => words::full_stop(&judged.report.sentence()),
    };
    let kinds: Vec<Cause> = causes.iter().map(|(cause, _)| *cause).collect();
    Summary {
        version: SUMMARY_VERSION,
        run: dir.name(),
        dir: dir.path().display().to_string(),
        verdict: word,
        sentence,
        exit: code_of(&kinds),
        findings: causes.into_iter().map(|(cause, what)| Finding { code: cause.code(), what }).collect(),
        scenario: plan.scenario.clone(),
        system: known.system,
        lab: known.lab,
        lab_reason: known.lab_reason,
        settings: plan.settings.clone(),
        clients_ms: (numbers.until_ns - numbers.from_ns) / 1_000_000,
        operations: numbers.operations,
        ok_per_s: numbers.ok_per_s,
        latency_ms: numbers.latency,
        gap_longest_ms: numbers.gap_longest_ms,
        keys: judged.report.keys.len(),
        keys_unread: known.course.keys_unread,
        faults: fault_counts(plan, events, &spans),
        availability: None,
        stopped: stopped.cloned(),
        recovery_ms: known.course.recovery_ms,
        check_ms: judged.report.elapsed_ms,
        anomalies_count: judged.report.anomalies.len(),
        anomalies,
        warnings: judged
            .warnings
            .iter()
            .chain(&required.untested)
            .chain(&stop::remarks(events))
            .cloned()
            .collect(),
        measures: known.measures,
        wire: known.wire,
    }
}

/// Why the run is no success, the most important reason first.
fn causes(
    known: &Known,
    verdict: Verdict,
    headline: &str,
    numbers: &Figures,
    required: &Required,
) -> Vec<(Cause, String)> {
    let mut causes = known.causes.clone();
    let Operations { completed, failed, unknown } = numbers.operations;
    let is_empty = completed + failed + unknown == 0;
    match verdict {
        // Nothing was shown to be right. Where something else explains why, that is enough.
        Verdict::Valid if is_empty && causes.is_empty() => {
            causes.push((Cause::Undecided, "no operation was recorded".to_owned()));
        }
        Verdict::Valid => {}
        Verdict::Invalid => causes.push((Cause::NotLinearizable, headline.to_owned())),
        Verdict::Unknown => causes.push((Cause::Undecided, headline.to_owned())),
    }
    if let Some(required) = known.require_ops
        && completed < required
    {
        let what = format!("{completed} operations were completed, {required} are required");
        causes.push((Cause::Requirement, what));
    }
    causes.extend(required.broken.iter().map(|what| (Cause::Availability, what.clone())));
    causes.sort_by_key(|(cause, _)| *cause);
    causes
}

/// How many faults of each kind were planned, and how many proven.
fn fault_counts(plan: &Plan, events: &[Event], spans: &[FaultSpan]) -> Vec<FaultCount> {
    let counts = FaultKind::ALL.into_iter().map(|kind| {
        let of_kind = || spans.iter().filter(move |span| span.kind == kind);
        let verified = of_kind().count();
        // A script decides as it goes: what it did is what it had planned.
        let planned = if plan.scenario.is_some() { verified } else { plan.count(kind) };
        let undone = of_kind().filter(|span| !span.undone.is_empty()).count();
        let missed = |event: &&Event| matches!(event, Event::FaultMissed { kind: of, .. } if *of == kind);
        FaultCount { kind, planned, verified, undone, missed: events.iter().filter(missed).count() }
    });
    counts.filter(|count| count.planned > 0).collect()
}
