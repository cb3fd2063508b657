//! `ordeal show`.

use std::time::Duration;

use clap::Args;
use ordeal_history::formats::Format;
use ordeal_history::read_file;
use serde::Serialize;

use super::check::is_history;
use super::output::{print, print_json};
use super::{Done, Failure, StoreArgs, show_operations, time};
use crate::exit::Cause;
use crate::plan::Plan;
use crate::report::text;
use crate::store::{Event, LATEST, Operations, RunDir, RunState, Store, spans};
use crate::verdict::{figures, window};

/// Flags of `ordeal show`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ordeal show\n      \
        what came of the newest run\n  \
    ordeal show latest --json\n      \
        the same as one line of JSON\n  \
    ordeal show latest --failing\n      \
        the few operations that no order explains, the sentence about them, and why none of them can come next\n  \
    ordeal show history.edn --key 7 --limit 1000\n      \
        what was asked of a key and what came back, in a file of any format\n  \
    ordeal show latest --around 12.55s --window 200ms\n      \
        everything from 12.45 s to 12.65 s\n\n\
    In a table ▶ marks what the sentence is about, and * what counts as open for ever in the proof.\n\n\
    Exit codes: 0 shown, 3 the file or run is missing or damaged, 2 a flag is wrong or a key is not there, 11 it could not be\n\
    decided whether anything fails.")]
pub struct ShowArgs {
    /// Name of a run, or a path to it, or a history file of any format
    #[arg(value_name = "RUN|FILE", default_value = LATEST)]
    pub(super) what: String,
    /// The operations that cannot be explained
    #[arg(long, conflicts_with_all = ["key", "around"])]
    pub(super) failing: bool,
    /// The operations on this key; may be repeated
    #[arg(long, value_name = "KEY")]
    pub(super) key: Vec<String>,
    /// The operations under way around this moment, e.g. 12.55s
    #[arg(long, value_name = "TIME", value_parser = time::moment)]
    pub(super) around: Option<u64>,
    /// How much time around it
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time::parse, requires = "around")]
    pub(super) window: Duration,
    /// At most so many operations
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(super) limit: usize,
    /// Format of the file, where its content misleads
    #[arg(long, value_name = "FORMAT")]
    pub(super) format: Option<Format>,
    /// How long judging may take, with --failing
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = time::parse)]
    pub(super) timeout: Duration,
    /// JSON: one line, or a line for each operation
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) store: StoreArgs,
}

/// A run without a verdict, as JSON.
#[derive(Serialize)]
struct Prefix<'a> {
    version: u32,
    run: String,
    state: &'a str,
    operations: Operations,
    faults_verified: usize,
    warnings: Vec<String>,
}

pub(super) fn execute(args: &ShowArgs) -> Done {
    if args.failing || !args.key.is_empty() || args.around.is_some() || is_history(&args.what) {
        return show_operations::execute(args);
    }
    let bad_input = || Failure::of(Cause::BadInput);
    let run = Store::at(&args.store.store).find(&args.what).map_err(Failure::of(Cause::BadInput))?;
    let plan = run.read_plan().map_err(Failure::of(Cause::BadInput))?;
    let state = run.state().map_err(Failure::of(Cause::BadInput))?;
    // A harness that was killed very early has not begun the file.
    let events = if run.events().exists() { run.read_events().map_err(bad_input())? } else { Vec::new() };
    match state {
        RunState::Judged(summary) if args.json => print_json(&summary, 0),
        RunState::Judged(summary) => {
            let text = format!("{}\n{}", head(&run, &plan, &events), text::result(&summary));
            print(&text, 0)
        }
        RunState::Running => show_prefix(args, &run, &plan, &events, "running, no verdict yet"),
        RunState::Interrupted => show_prefix(args, &run, &plan, &events, "interrupted, no verdict"),
    }
}

fn head(run: &RunDir, plan: &Plan, events: &[Event]) -> String {
    let first = plan.to_string().lines().next().unwrap_or_default().to_owned();
    format!("{}\n{first}\n{}{}", run.name(), text::faults(&spans(events)), text::troubles(events))
}

/// What there is of a run that has no verdict.
fn show_prefix(args: &ShowArgs, run: &RunDir, plan: &Plan, events: &[Event], state: &str) -> Done {
    let (history, warnings) = match run.history().exists() {
        true => {
            let loaded = read_file(&run.history()).map_err(Failure::of(Cause::BadInput))?;
            (loaded.history, loaded.warnings)
        }
        false => Default::default(),
    };
    let operations = figures(&history, window(events, &history)).operations;
    if args.json {
        let faults_verified = spans(events).len();
        return print_json(
            &Prefix { version: 1, run: run.name(), state, operations, faults_verified, warnings },
            0,
        );
    }
    let warnings: String = warnings.iter().map(|warning| format!("  warning      {warning}\n")).collect();
    let text = format!(
        "{}\n  operations   {} completed, {} failed, {} unknown or open\n{warnings}{state}; `ordeal check {}` judges what there is\n",
        head(run, plan, events),
        operations.completed,
        operations.failed,
        operations.unknown,
        run.path().display(),
    );
    print(&text, 0)
}
