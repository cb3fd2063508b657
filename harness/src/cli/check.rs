//! `ordeal check`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use ordeal_history::formats::{Format, is_report};
use ordeal_history::{Budget, Counts};
use serde::Serialize;

use super::output::{print, print_json};
use super::{Done, Failure, StoreArgs, time};
use crate::exit::{Cause, code_of};
use crate::run::screen::{Screen, say};
use crate::store::{AnomalyRecord, FaultSpan, RunDir, Store, Word, spans};
use crate::verdict::{Judged, judge_file};
use crate::verdict::{anomalies, full_stop, word};

/// Broken promises that are printed.
const PRINTED_MAX: usize = 10;

/// Flags of `ordeal check`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ordeal check latest\n      \
        judge the history of the newest run again\n  \
    ordeal check history.jsonl --timeout 10m --json\n      \
        judge a file, perhaps written by hand, with ten minutes to search\n  \
    ordeal check store/latest/history.edn --format jepsen\n      \
        judge what another tool recorded; its format is known by its content, the flag is for doubt\n\n\
    Exit codes: 0 valid, 10 not linearizable, 11 unknown or nothing to judge, 3 the file is missing or damaged.")]
pub struct CheckArgs {
    /// A history file of any format (docs/formats.md), or a run by its name or path
    #[arg(value_name = "FILE|RUN")]
    what: String,
    /// Format of the file, where its content misleads
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// How long judging may take
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = time::parse)]
    timeout: Duration,
    /// How much memory judging may take, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 2_048)]
    memory: usize,
    /// One line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Serialize)]
struct Checked<'a> {
    version: u32,
    file: String,
    verdict: Word,
    exit: u8,
    sentence: &'a str,
    counts: Counts,
    keys: usize,
    anomalies: &'a [AnomalyRecord],
    anomalies_count: usize,
    warnings: &'a [String],
    check_ms: u64,
}

pub(super) fn execute(args: &CheckArgs) -> Done {
    let (file, spans) = input(&args.what, &args.store)?;
    let budget = Budget { time: args.timeout, memory_bytes: args.memory.saturating_mul(1 << 20) };
    let screen = Screen::new();
    let judged = judge_file(&file, args.format, &budget, &|progress| {
        screen.progress(|| format!("judging: {} of {} keys", progress.keys_done, progress.keys));
    });
    screen.clear();
    let judged = judged.map_err(Failure::of(Cause::BadInput))?;
    answer(args, &file, &judged, &spans)
}

fn answer(args: &CheckArgs, file: &Path, judged: &Judged, spans: &[FaultSpan]) -> Done {
    let (report, verdict) = (&judged.report, word(judged.report.verdict, &judged.history));
    let exit = match verdict {
        Word::Valid => code_of(&[]),
        Word::NotLinearizable | Word::Unsafe => code_of(&[Cause::NotLinearizable]),
        Word::Unknown | Word::NotJudged => code_of(&[Cause::Undecided]),
    };
    let anomalies = anomalies(report, &judged.history, spans);
    let sentence = match verdict {
        Word::NotJudged => "not judged: no operation was recorded".to_owned(),
        Word::Valid | Word::NotLinearizable | Word::Unsafe | Word::Unknown => report.sentence(),
    };
    if args.json {
        let checked = Checked {
            version: 1,
            file: file.display().to_string(),
            verdict,
            exit,
            sentence: &sentence,
            counts: report.counts,
            keys: report.keys.len(),
            anomalies: &anomalies,
            anomalies_count: report.anomalies.len(),
            warnings: &judged.warnings,
            check_ms: report.elapsed_ms,
        };
        return print_json(&checked, exit);
    }
    judged.warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
    let mut text: String = anomalies
        .iter()
        .take(PRINTED_MAX)
        .map(|anomaly| format!("  {}: {}\n", anomaly.kind, anomaly.sentence))
        .collect();
    if report.anomalies.len() > PRINTED_MAX {
        text += &format!("  … and {} more\n", report.anomalies.len() - PRINTED_MAX);
    }
    let rest = sentence.split_once(": ").map_or(sentence.as_str(), |(_, rest)| rest);
    print(&format!("{text}{verdict}: {}\n", full_stop(rest)), exit)
}

/// The file that is meant, and the faults of its run where it has one.
pub(super) fn input(what: &str, store: &StoreArgs) -> Result<(PathBuf, Vec<FaultSpan>), Failure> {
    let path = PathBuf::from(what);
    if path.is_file() || is_report(&path) {
        return Ok((path, Vec::new()));
    }
    let run: RunDir = Store::at(&store.store).find(what).map_err(|_| Failure {
        cause: Cause::BadInput,
        error: anyhow::anyhow!(
            "no history file and no run `{what}`\nhint: check the path; `ordeal list` shows the runs in {}",
            store.store.display()
        ),
    })?;
    let spans = run.read_events().map(|events| spans(&events)).unwrap_or_default();
    Ok((run.history(), spans))
}
