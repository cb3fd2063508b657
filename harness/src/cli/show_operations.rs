//! The operations of a history as a table: of a key, around a moment, or the few that cannot be explained.

use std::collections::BTreeSet;
use std::path::Path;

use ordeal_history::formats::load;
use ordeal_history::{Budget, History, Operation, Verdict};
use serde::Serialize;

use super::check::input;
use super::choice::only;
use super::output::print;
use super::show::ShowArgs;
use super::{Done, Failure};
use crate::exit::Cause;
use crate::report::{asked, came};
use crate::run::screen::{Screen, say};
use crate::store::FaultSpan;
use crate::verdict::{Failing, anomalies, failing, figures, full_stop, judge, window};

/// Broken promises whose operations are shown: the others are told by `ordeal check`.
const FAILING_MAX: usize = 3;

/// Characters of a value in a table, and of it as JSON.
const VALUE_CHARS: usize = 32;
const JSON_CHARS: usize = 4_096;

/// Characters of the column of faults.
const FAULT_CHARS: usize = 40;

/// An operation as a line of the table, or of JSON.
#[derive(Serialize)]
struct Row {
    version: u32,
    operation: u64,
    at: String,
    invoked_ns: u64,
    returned_ns: Option<u64>,
    client: u32,
    key: String,
    asked: String,
    answered: String,
    node: Option<String>,
    faults: Vec<String>,
    /// Whether the sentence is about it, and whether the proof takes it as open for ever.
    named: bool,
    open: bool,
}

/// What is known of a history file.
struct Shown {
    history: History,
    spans: Vec<FaultSpan>,
}

pub(super) fn execute(args: &ShowArgs) -> Done {
    let (path, spans) = input(&args.what, &args.store)?;
    let imported = load(&path, args.format).map_err(Failure::of(Cause::BadInput))?;
    let warnings = imported.loaded.warnings;
    warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
    let history = only(imported.loaded.history, &args.key, &path.display().to_string())?;
    let shown = Shown { history, spans };
    if args.failing {
        return shown.failing(args);
    }
    if args.key.is_empty() && args.around.is_none() {
        return shown.overview(args, &path);
    }
    let (from_ns, until_ns) = args.around.map_or((0, u64::MAX), |at_ns| {
        let half_ns = u64::try_from(args.window.as_nanos() / 2).unwrap_or(u64::MAX);
        (at_ns.saturating_sub(half_ns), at_ns.saturating_add(half_ns))
    });
    let meets = |op: &&Operation| op.invoked_ns <= until_ns && end_ns(op).is_none_or(|end| end >= from_ns);
    let meant: Vec<&Operation> = shown.history.operations.iter().filter(meets).collect();
    if meant.is_empty() {
        say("no operation was under way then");
    }
    let rows: Vec<Row> = meant.iter().take(args.limit).map(|op| shown.row(op, None, args.json)).collect();
    if args.json {
        return print(&json(&rows)?, 0);
    }
    let more = match meant.len().saturating_sub(rows.len()) {
        0 => String::new(),
        more => format!("… and {more} more: --limit {} shows all, --around fewer\n", meant.len()),
    };
    print(&(table(&rows) + &more), 0)
}

/// When it was over: an open one never is, but what counts is that its client gave up.
fn end_ns(op: &Operation) -> Option<u64> {
    op.returned.as_ref().map(|(ns, _)| *ns)
}

impl Shown {
    /// What a file holds.
    fn overview(&self, args: &ShowArgs, path: &Path) -> Done {
        let operations = figures(&self.history, window(&[], &self.history)).operations;
        let (from_ns, until_ns) = window(&[], &self.history);
        let keys = self.history.by_key();
        let clients: BTreeSet<u32> = self.history.operations.iter().map(|op| op.client.0).collect();
        if args.json {
            let line = serde_json::json!({
                "version": 1, "file": path.display().to_string(), "operations": operations, "keys": keys.len(),
                "clients": clients.len(), "from_ns": from_ns, "until_ns": until_ns,
            });
            return print(&format!("{line}\n"), 0);
        }
        let mut busy: Vec<(usize, &str)> =
            keys.iter().map(|(key, operations)| (operations.len(), &**key)).collect();
        busy.sort_by(|one, other| other.cmp(one));
        let busy: Vec<String> = busy.iter().take(10).map(|(count, key)| format!("{key} ({count})")).collect();
        print(
            &format!(
                "{}\n  operations   {} completed, {} failed, {} unknown or open\n  time         {} to {}\n  \
                 clients      {}\n  keys         {}: {}{}\n\
                 --failing shows what cannot be explained, --key and --around the operations\n",
                path.display(),
                operations.completed,
                operations.failed,
                operations.unknown,
                at(from_ns),
                at(until_ns),
                clients.len(),
                keys.len(),
                busy.join(", "),
                if keys.len() > busy.len() { ", …" } else { "" },
            ),
            0,
        )
    }

    /// What cannot be explained.
    fn failing(self, args: &ShowArgs) -> Done {
        let screen = Screen::new();
        let budget = Budget { time: args.timeout, ..Budget::default() };
        let judged = judge(self.history, Vec::new(), &budget, &|progress| {
            screen.progress(|| format!("judging: {} of {} keys", progress.keys_done, progress.keys));
        });
        screen.clear();
        let shown = Shown { history: judged.history, spans: self.spans };
        let broken = anomalies(&judged.report, &shown.history, &shown.spans);
        let all = failing(&broken, &judged.report, &shown.history);
        let sentence = full_stop(&judged.report.sentence());
        if all.is_empty() {
            let code = match judged.report.verdict {
                Verdict::Valid | Verdict::Invalid => 0,
                Verdict::Unknown => Cause::Undecided.code(),
            };
            let text = format!("{sentence}\n");
            return if args.json { print("", code) } else { print(&text, code) };
        }
        let mut text = String::new();
        for one in all.iter().take(FAILING_MAX) {
            let operations = one.all();
            let meant: Vec<&Operation> = operations
                .iter()
                .filter_map(|&id| shown.history.operation(ordeal_history::OpId(id)))
                .collect();
            let rows: Vec<Row> = meant.iter().map(|op| shown.row(op, Some(one), args.json)).collect();
            if args.json {
                text += &json(&rows)?;
                continue;
            }
            text += &format!("{}: {}\n\n{}", one.kind, one.sentence, table(&rows));
            text.extend(one.reasons(&shown.history).iter().map(|line| format!("  {line}\n")));
            text.push('\n');
        }
        if all.len() > FAILING_MAX && !args.json {
            text += &format!("… and {} more: `ordeal check` tells them\n", all.len() - FAILING_MAX);
        }
        print(&text, 0)
    }

    fn row(&self, op: &Operation, failing: Option<&Failing>, is_json: bool) -> Row {
        let chars = if is_json { JSON_CHARS } else { VALUE_CHARS };
        let until_ns = end_ns(op).unwrap_or(u64::MAX);
        let faults = self.spans.iter().filter(|span| span.in_force(op.invoked_ns, until_ns));
        Row {
            version: 1,
            operation: op.id.0,
            at: at(op.invoked_ns),
            invoked_ns: op.invoked_ns,
            returned_ns: end_ns(op),
            client: op.client.0,
            key: op.key.to_string(),
            asked: asked(op, chars),
            answered: came(op, chars),
            node: op.node.as_deref().map(str::to_owned),
            faults: faults.map(|span| span.name.clone()).collect(),
            named: failing.is_some_and(|failing| failing.operations.contains(&op.id.0)),
            open: failing.is_some_and(|failing| failing.open.contains(&op.id.0)),
        }
    }
}

fn at(ns: u64) -> String {
    format!("{}.{:03} s", ns / 1_000_000_000, ns / 1_000_000 % 1_000)
}

fn json(rows: &[Row]) -> Result<String, Failure> {
    let lines: Result<Vec<String>, _> = rows.iter().map(serde_json::to_string).collect();
    let lines = lines.map_err(Failure::of(Cause::SetUp))?;
    Ok(lines.into_iter().map(|line| line + "\n").collect())
}

/// Columns as wide as what stands in them.
fn table(rows: &[Row]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let head =
        ["", "called", "took", "client", "operation", "key", "asked", "came back", "node", "faults in force"];
    let lines: Vec<[String; 10]> = rows.iter().map(Row::cells).collect();
    let mut widths = head.map(|name| name.chars().count());
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &[String; 10]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = padded.collect::<Vec<_>>().join("  ");
        format!("{}\n", line.trim_end())
    };
    line(&head.map(str::to_owned)) + &lines.iter().map(line).collect::<String>()
}

impl Row {
    fn cells(&self) -> [String; 10] {
        let mark = match (self.named, self.open) {
            (true, false) => "▶",
            (true, true) => "▶*",
            (false, true) => "*",
            (false, false) => "",
        };
        let took = match self.returned_ns {
            Some(ns) => format!("{:.3} ms", (ns - self.invoked_ns) as f64 / 1e6),
            None => "never".to_owned(),
        };
        let faults: String = self.faults.join(", ").chars().take(FAULT_CHARS).collect();
        [
            mark.to_owned(),
            self.at.clone(),
            took,
            format!("c{}", self.client),
            format!("#{}", self.operation),
            self.key.clone(),
            one_line(&self.asked),
            one_line(&self.answered),
            self.node.clone().unwrap_or_else(|| "-".to_owned()),
            faults,
        ]
    }
}

/// Values may hold anything: a line of a table stays one.
fn one_line(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '□' } else { char }).collect()
}
