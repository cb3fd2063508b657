//! The commands of the harness: `ordeal run`, `catalog`, `list`, `show`, `check`,
//! `convert`, `report`; and the doors to `doctor` and `cluster`.
//!
//! Results go to stdout, everything else to stderr. An error is one line with a hint, and its exit code says what kind it
//! is (see [`crate::exit`]).

mod catalog;
mod check;
mod check_parts;
mod choice;
mod convert;
mod list;
mod output;
mod report;
mod run;
mod scenarios;
mod show;
mod show_operations;
mod time;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::byhand::{self, ClusterArgs};
use crate::doctor::{self, DoctorArgs};
use crate::exit::Cause;
use crate::run::screen::{explain, say};

/// The commands of the harness.
#[derive(Debug, Subcommand)]
pub enum HarnessCommand {
    /// Start a cluster, torment it, judge what its clients saw
    Run(Box<run::RunArgs>),
    /// List the scenarios that `ordeal run --scenario` plays
    Catalog(catalog::CatalogArgs),
    /// List the stored runs
    List(list::ListArgs),
    /// Show what came of a run, or the operations of a history
    Show(show::ShowArgs),
    /// Judge recorded histories
    Check(check::CheckArgs),
    /// Write a history in another format
    Convert(convert::ConvertArgs),
    /// Print the path of a run's report, or open it; make one of a history file
    Report(report::ReportArgs),
    /// Run a cluster by hand: up, kill, pause, partition, heal, down
    Cluster(ClusterArgs),
    /// What this machine can do, what is missing, and how to install it
    Doctor(DoctorArgs),
}

impl HarnessCommand {
    /// Carries it out.
    #[must_use]
    pub fn execute(self) -> ExitCode {
        let done = match self {
            HarnessCommand::Run(args) => run::execute(&args),
            HarnessCommand::Catalog(args) => catalog::execute(&args),
            HarnessCommand::List(args) => list::execute(&args),
            HarnessCommand::Show(args) => show::execute(&args),
            HarnessCommand::Check(args) => check::execute(&args),
            HarnessCommand::Convert(args) => convert::execute(&args),
            HarnessCommand::Report(args) => report::execute(&args),
            HarnessCommand::Cluster(args) => {
                byhand::run(args).map(ExitCode::from).map_err(Failure::of(Cause::SetUp))
            }
            HarnessCommand::Doctor(args) => Ok(doctor::run(&args)),
        };
        done.unwrap_or_else(|failure| {
            say(&format!("error: {}", explain(&failure.error)));
            ExitCode::from(failure.cause.code())
        })
    }
}

/// A command that could not do what it was asked for.
#[derive(Debug)]
pub(crate) struct Failure {
    cause: Cause,
    error: anyhow::Error,
}

impl Failure {
    /// Of this kind.
    fn of<E: Into<anyhow::Error>>(cause: Cause) -> impl Fn(E) -> Failure {
        move |error| Failure { cause, error: error.into() }
    }
}

type Done = Result<ExitCode, Failure>;

/// Where runs are kept.
#[derive(Debug, Clone, Args)]
pub(crate) struct StoreArgs {
    /// Directory where runs are kept
    #[arg(long, value_name = "DIR", env = "ORDEAL_STORE", default_value = "ordeal-runs")]
    store: PathBuf,
}

#[cfg(test)]
mod check_parts_tests;
#[cfg(test)]
mod tests;
