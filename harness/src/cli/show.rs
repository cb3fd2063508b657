//! `ordeal show`.

use clap::Args;
use ordeal_history::read_file;
use serde::Serialize;

use super::output::{print, print_json};
use super::{Done, Failure, StoreArgs};
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
        the same as one line of JSON")]
pub struct ShowArgs {
    /// Name of a run, or a path to it
    #[arg(value_name = "RUN", default_value = LATEST)]
    run: String,
    /// One line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
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
    let bad_input = || Failure::of(Cause::BadInput);
    let run = Store::at(&args.store.store).find(&args.run).map_err(Failure::of(Cause::BadInput))?;
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
