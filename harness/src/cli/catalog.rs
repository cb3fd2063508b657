//! `ordeal catalog`.

use clap::Args;
use serde::Serialize;

use super::output::print;
use super::{Done, Failure};
use crate::exit::Cause;
use crate::scenario::{Scenario, catalog};

/// Flags of `ordeal catalog`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ordeal catalog\n      \
        all scenarios: name, time, nodes, what happens, and the tests of the MIT suite that it stands for\n  \
    ordeal catalog --json\n      \
        the same, one JSON object a line\n\n\
    `ordeal run --scenario NAME` plays one.")]
pub struct CatalogArgs {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    version: u32,
    name: &'static str,
    what: &'static str,
    source: &'static str,
    seconds: u32,
    nodes: u32,
    node_args: &'static [&'static str],
    groups: u32,
    shards: u32,
}

impl From<&'static Scenario> for Row {
    fn from(of: &'static Scenario) -> Row {
        let Scenario { name, what, source, seconds, nodes, node_args, layout, script: _ } = *of;
        Row {
            version: 1,
            name,
            what,
            source,
            seconds,
            nodes,
            node_args,
            groups: layout.groups,
            shards: layout.shards,
        }
    }
}

pub(super) fn execute(args: &CatalogArgs) -> Done {
    if args.json {
        let lines: Result<Vec<String>, _> =
            catalog().map(|scenario| serde_json::to_string(&Row::from(scenario))).collect();
        let lines = lines.map_err(Failure::of(Cause::SetUp))?;
        return print(&lines.iter().map(|line| format!("{line}\n")).collect::<String>(), 0);
    }
    print(&catalog().map(line).collect::<String>(), 0)
}

/// One line of the catalog, also of a dry run.
pub(super) fn line(scenario: &Scenario) -> String {
    let Scenario { name, what, source, seconds, nodes, .. } = scenario;
    let width = catalog().map(|scenario| scenario.name.len()).max().unwrap_or(0);
    format!("{name:<width$}  {seconds:>3} s  {nodes} nodes  {what} ({source})\n")
}
