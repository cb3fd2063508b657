//! `ordeal run --scenario …`: several scenarios one after the other, and one exit code for all.

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use ordeal_client::wire::ClusterId;
use ordeal_history::Budget;

use super::catalog::line;
use super::output::{print, print_json};
use super::{Done, Failure};
use crate::chance::{Stream, derive};
use crate::exit::Cause;
use crate::latch::Latch;
use crate::plan::seconds;
use crate::report::text;
use crate::run::interrupt::Interrupt;
use crate::run::screen::Screen;
use crate::scenario::{Commission, Scenario, catalog, find, perform};
use crate::store::Summary;
use crate::system::{OrdealOptions, OrdealSystem};

/// The name that stands for all of them.
const ALL: &str = "all";

/// What scenarios are played with.
pub(super) struct Bill {
    pub(super) scenarios: Vec<&'static Scenario>,
    pub(super) seed: u64,
    pub(super) store: PathBuf,
    pub(super) node_bin: PathBuf,
    pub(super) node_args: Vec<String>,
    pub(super) budget: Budget,
    pub(super) json: bool,
}

/// The scenarios of these names.
pub(super) fn named(names: &[String]) -> Result<Vec<&'static Scenario>, Failure> {
    let mut found = Vec::new();
    for name in names {
        match find(name) {
            Some(scenario) => found.push(scenario),
            None if name == ALL => found.extend(catalog()),
            None => {
                let error =
                    anyhow::anyhow!("no scenario is named `{name}`\nhint: `ordeal catalog` lists them");
                return Err(Failure { cause: Cause::Usage, error });
            }
        }
    }
    Ok(found)
}

/// What would be played.
pub(super) fn rehearse(bill: &Bill) -> Done {
    print(&bill.scenarios.iter().map(|scenario| line(scenario)).collect::<String>(), 0)
}

/// Plays them. Each is a run of its own; the exit code is that of the worst.
pub(super) fn play(bill: &Bill) -> Done {
    let stop = Arc::new(Latch::new());
    let interrupt = Interrupt::watch(Arc::clone(&stop)).map_err(Failure::of(Cause::SetUp))?;
    let screen = Screen::new();
    let mut summaries = Vec::new();
    for scenario in &bill.scenarios {
        if stop.is_set() {
            break;
        }
        screen.say(&format!("scenario {}: {}", scenario.name, scenario.what));
        let commission = Commission {
            seed: bill.seed,
            store: &bill.store,
            system: Arc::new(system(bill, scenario)),
            budget: bill.budget,
            interrupt: &interrupt,
            stop: &stop,
            screen: &screen,
        };
        let summary = perform(scenario, &commission).map_err(Failure::of(Cause::SetUp))?;
        screen.say(&outcome(&summary));
        summaries.push(summary);
    }
    screen.clear();
    let exit = worst(&summaries);
    if bill.json {
        for summary in &summaries {
            print_json(summary, exit)?;
        }
        return print("", exit);
    }
    match &summaries[..] {
        [one] => print(&text::result(one), exit),
        several => print(&table(several), exit),
    }
}

fn system(bill: &Bill, scenario: &Scenario) -> OrdealSystem {
    let seed = derive(bill.seed, Stream::Script);
    let own = scenario.node_args.iter().map(|&arg| arg.to_owned());
    OrdealSystem::new(OrdealOptions {
        exe: bill.node_bin.clone(),
        cluster: ClusterId(derive(bill.seed, Stream::Cluster)),
        node_args: ["--seed".to_owned(), seed.to_string()]
            .into_iter()
            .chain(own)
            .chain(bill.node_args.iter().cloned())
            .collect(),
        groups: scenario.layout.groups,
        replicas: scenario.layout.replicas,
        shards: scenario.layout.shards,
    })
}

/// Exit codes by rank, as of several causes of one run.
fn worst(summaries: &[Summary]) -> u8 {
    let ranked = Cause::BY_RANK.into_iter().map(Cause::code);
    ranked.into_iter().find(|&code| summaries.iter().any(|of| of.exit == code)).unwrap_or(0)
}

fn outcome(summary: &Summary) -> String {
    let name = summary.scenario.as_deref().unwrap_or_default();
    match summary.findings.first() {
        None => format!("  {name}: {}, {}", summary.verdict, seconds(summary.clients_ms)),
        Some(first) => format!("  {name}: exit code {}: {}", summary.exit, first.what),
    }
}

fn table(summaries: &[Summary]) -> String {
    let width =
        summaries.iter().map(|of| of.scenario.as_deref().unwrap_or_default().len()).max().unwrap_or(0);
    let mut text = String::new();
    for of in summaries {
        let name = of.scenario.as_deref().unwrap_or_default();
        let finding = of.findings.first().map(|first| format!("  {}", first.what)).unwrap_or_default();
        let _ = writeln!(
            text,
            "{name:<width$}  {:>10}  {:>7} operations  {:>3}  {}{finding}",
            seconds(of.clients_ms),
            of.operations.completed,
            of.exit,
            of.verdict,
        );
    }
    let failed = summaries.iter().filter(|of| of.exit != 0).count();
    let _ = writeln!(text, "{} scenarios, {failed} failed", summaries.len());
    text
}
