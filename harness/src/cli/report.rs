//! `ordeal report`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use ordeal_history::Budget;
use ordeal_history::formats::{Format, load};

use super::check::is_history;
use super::output::print;
use super::{Done, Failure, StoreArgs, time};
use crate::exit::Cause;
use crate::report::{Paper, html, html_of_file};
use crate::run::screen::Screen;
use crate::store::{LATEST, RunDir, RunState, Store};
use crate::verdict::{Concluded, Known, conclude, judge, recall};

/// Flags of `ordeal report`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ordeal report\n      \
        the path of the newest run's report.html\n  \
    ordeal report latest --open\n      \
        open it in a browser\n  \
    ordeal report history.edn -o picture.html\n      \
        judge a history file of any format and draw it; without -o as report.html beside it\n\n\
    Exit codes: 0 the report is there (whatever its verdict), 3 the run or file is missing or damaged, 2 a report is in the way.")]
pub struct ReportArgs {
    /// Name of a run, or a path to it, or a history file of any format
    #[arg(value_name = "RUN|FILE", default_value = LATEST)]
    run: String,
    /// Where to write it, for a history file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Format of the file, where its content misleads
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// How long judging the file may take
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = time::parse)]
    timeout: Duration,
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
    if is_history(&args.run) {
        return execute_file(args, Path::new(&args.run));
    }
    if let Some(output) = &args.output {
        let error = anyhow::anyhow!(
            "-o {}: {} is no history file, and a run has its report in its own directory\nhint: leave -o out",
            output.display(),
            args.run
        );
        return Err(Failure { cause: Cause::Usage, error });
    }
    let run = Store::at(&args.store.store).find(&args.run).map_err(Failure::of(Cause::BadInput))?;
    if args.again || !run.report().exists() {
        make(&run).map_err(Failure::of(Cause::BadInput))?;
    }
    if args.open {
        open(&run.report()).map_err(Failure::of(Cause::SetUp))?;
    }
    print(&format!("{}\n", run.report().display()), 0)
}

/// Judges a file and draws it.
fn execute_file(args: &ReportArgs, file: &Path) -> Done {
    let output = args.output.clone().unwrap_or_else(|| file.with_file_name("report.html"));
    if output.exists() && !args.again && args.output.is_none() {
        let error = anyhow::anyhow!(
            "{} is there already\nhint: --again replaces it, -o writes another",
            output.display()
        );
        return Err(Failure { cause: Cause::Usage, error });
    }
    let imported = load(file, args.format).map_err(Failure::of(Cause::BadInput))?;
    let budget = Budget { time: args.timeout, ..Budget::default() };
    let screen = Screen::new();
    let judged = judge(imported.loaded.history, imported.loaded.warnings, &budget, &|progress| {
        screen.progress(|| format!("judging: {} of {} keys", progress.keys_done, progress.keys));
    });
    screen.clear();
    let page = html_of_file(&Paper {
        name: &file.display().to_string(),
        history: &judged.history,
        report: &judged.report,
        warnings: &judged.warnings,
        notes: &imported.faults,
    });
    std::fs::write(&output, page).map_err(|error| Failure {
        cause: Cause::SetUp,
        error: anyhow::anyhow!(
            "{}: {error}\nhint: -o names a file in a directory that is there",
            output.display()
        ),
    })?;
    if args.open {
        open(&output).map_err(Failure::of(Cause::SetUp))?;
    }
    print(&format!("{}\n", output.display()), 0)
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
