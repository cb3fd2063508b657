//! `ordeal report`.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use clap::Args;
use ordeal_history::Budget;

use super::output::print;
use super::{Done, Failure, StoreArgs};
use crate::exit::Cause;
use crate::report::html;
use crate::store::{LATEST, RunDir, RunState, Store};
use crate::verdict::{Concluded, Known, conclude, recall};

/// Flags of `ordeal report`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ordeal report\n      \
        the path of the newest run's report.html\n  \
    ordeal report latest --open\n      \
        open it in a browser")]
pub struct ReportArgs {
    /// Name of a run, or a path to it
    #[arg(value_name = "RUN", default_value = LATEST)]
    run: String,
    /// Open it
    #[arg(long)]
    open: bool,
    /// Make it again from what was recorded, although it is there
    #[arg(long)]
    again: bool,
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) fn execute(args: &ReportArgs) -> Done {
    let run = Store::at(&args.store.store).find(&args.run).map_err(Failure::of(Cause::BadInput))?;
    if args.again || !run.report().exists() {
        make(&run).map_err(Failure::of(Cause::BadInput))?;
    }
    if args.open {
        open(&run.report()).map_err(Failure::of(Cause::SetUp))?;
    }
    print(&format!("{}\n", run.report().display()), 0)
}

fn make(run: &RunDir) -> anyhow::Result<()> {
    let concluded: Concluded = match run.state()? {
        RunState::Judged(summary) => recall(run, *summary)?,
        RunState::Interrupted => {
            let what = "the harness ended before it could judge; this is the verdict on what it had recorded";
            let causes = vec![(Cause::Interrupted, what.to_owned())];
            let known = Known { causes, system: "not recorded".to_owned(), ..Known::default() };
            conclude(run, known, &Budget::default(), &|_| {})?
        }
        RunState::Running => {
            bail!("run {} is not over\nhint: wait for it, or look at `ordeal show`", run.name())
        }
    };
    Ok(run.write_report(&html(&concluded))?)
}

fn open(report: &Path) -> anyhow::Result<()> {
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let hint = || format!("{opener} does not work here\nhint: open {} in a browser", report.display());
    let quiet = |command: &mut Command| command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    let status = quiet(Command::new(opener).arg(report)).with_context(hint)?;
    if status.success() { Ok(()) } else { Err(anyhow::anyhow!(hint())) }
}
