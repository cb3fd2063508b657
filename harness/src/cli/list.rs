//! `ordeal list`.

use clap::Args;
use serde::Serialize;

use super::output::print;
use super::{Done, Failure, StoreArgs};
use crate::exit::Cause;
use crate::plan::seconds;
use crate::run::screen::say;
use crate::store::{RunDir, RunState, Store, Word};

/// Flags of `ordeal list`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ordeal list\n      \
        the runs in ./ordeal-runs, the oldest first\n  \
    ordeal list --store /tmp/runs --json\n      \
        the runs elsewhere, one JSON object a line")]
pub struct ListArgs {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Serialize)]
struct Row {
    version: u32,
    run: String,
    workload: String,
    time: String,
    completed: Option<usize>,
    exit: Option<u8>,
    verdict: String,
}

pub(super) fn execute(args: &ListArgs) -> Done {
    let runs = Store::at(&args.store.store).runs().map_err(Failure::of(Cause::BadInput))?;
    if runs.is_empty() {
        say(&format!("no runs in {}\nhint: `ordeal run` makes one", args.store.store.display()));
    }
    let rows: Vec<Row> = runs.iter().map(row).collect();
    if args.json {
        let lines: Result<Vec<String>, _> = rows.iter().map(serde_json::to_string).collect();
        let lines = lines.map_err(Failure::of(Cause::SetUp))?;
        return print(&lines.iter().map(|line| format!("{line}\n")).collect::<String>(), 0);
    }
    let width = rows.iter().map(|row| row.run.len()).max().unwrap_or(0);
    let wide = rows.iter().map(|row| row.workload.len()).max().unwrap_or(0).max("workload".len());
    let lines = rows.iter().map(|row| {
        let completed = row.completed.map_or("-".to_owned(), |completed| completed.to_string());
        let exit = row.exit.map_or("-".to_owned(), |exit| exit.to_string());
        let Row { run, workload, time, verdict, .. } = row;
        format!("{run:<width$}  {workload:<wide$}  {time:>10}  {completed:>10}  {exit:>4}  {verdict}\n")
    });
    let head = format!(
        "{:<width$}  {:<wide$}  {:>10}  {:>10}  exit  verdict\n",
        "run", "workload", "time", "completed"
    );
    print(&if rows.is_empty() { String::new() } else { head + &lines.collect::<String>() }, 0)
}

/// A damaged run is listed as such: one of many must not hide the others.
fn row(run: &RunDir) -> Row {
    let plan = run.read_plan().ok();
    let settings = plan.as_ref().map(|plan| &plan.settings);
    let scenario = plan.as_ref().and_then(|plan| plan.scenario.clone());
    let workload = scenario.or_else(|| settings.map(|settings| settings.workload.to_string()));
    let (verdict, completed, exit) = match run.state() {
        Ok(RunState::Running) => ("running".to_owned(), None, None),
        Ok(RunState::Interrupted) => ("interrupted, no verdict".to_owned(), None, None),
        Ok(RunState::Judged(summary)) => {
            let because = match summary.findings.first() {
                Some(first) if !matches!(summary.verdict, Word::NotLinearizable | Word::Unsafe) => {
                    format!(", but {}", first.what)
                }
                _ => String::new(),
            };
            let verdict = format!("{}{because}", summary.verdict);
            (verdict, Some(summary.operations.completed), Some(summary.exit))
        }
        Err(_) => ("damaged".to_owned(), None, None),
    };
    Row {
        version: 1,
        run: run.name(),
        workload: workload.unwrap_or("-".to_owned()),
        time: settings.map_or("-".to_owned(), |settings| seconds(settings.time_ms)),
        completed,
        exit,
        verdict,
    }
}
