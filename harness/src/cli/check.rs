//! `ordeal check`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use ordeal_history::formats::{Format, is_report, load};
use ordeal_history::objects::{Object, judge_object};
use ordeal_history::{Budget, Counts, Promises, Verdict};
use serde::Serialize;

use super::check_parts::{is_large, judge_in_parts};
use super::choice::{Keys, Model, only};
use super::output::{print, print_json};
use super::run::are_measured;
use super::{Done, Failure, StoreArgs, time};
use crate::exit::{Cause, code_of};
use crate::plan::{FaultKind, Settings};
use crate::report::text::availability;
use crate::run::screen::{Screen, explain, say};
use crate::store::{
    AnomalyRecord, Availability, Event, FaultSpan, Requirement, RunDir, Store, StoreError, Word, spans,
};
use crate::verdict::{Failing, Gathered, Whole, full_stop, judge, promise_words, required, word};

/// Broken promises that are printed.
const PRINTED_MAX: usize = 10;

/// Flags of `ordeal check`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ordeal check latest\n      \
        judge the history of the newest run again\n  \
    ordeal check a.jsonl b.edn c.log\n      \
        judge several: a line for each, one total, and the worst exit code\n  \
    ordeal check history.jsonl --key k1 --key k7 --timeout 10m --json\n      \
        judge two keys of a file, with ten minutes to search\n  \
    ordeal check store/latest/history.edn --model queue\n      \
        judge what Jepsen recorded of a queue\n  \
    ordeal check latest --require \"recover<5s\" --require \"kill.lost<30%\"\n      \
        fail with exit code 15 where a fault of that run kept clients waiting for longer\n\n\
    Models: key-value (any operations on keys; what is judged without the flag), register (reads and writes), cas-register,\n\
    append: in every format. Of Jepsen's maps (history.edn, or JSON with the same fields) also set (:add, :remove, :read),\n\
    counter (:add, :read), queue (:enqueue, :dequeue), lock (:acquire, perhaps answered by a fencing token, :release),\n\
    bank=10,10,10 (:transfer {:from 0 :to 1 :amount 5}, :read; the numbers are the balances at first): one thing a file; and\n\
    txn (:txn [[:r 1 nil] [:w 2 5]], or with compares: docs/formats.md): reads and writes of several keys at one moment.\n\n\
    Exit codes: 0 valid, 10 not linearizable, 15 a run breaks what was required of its availability, 11 unknown or nothing to\n\
    judge, 3 a file is missing or damaged, 2 a flag is wrong or a key is not there. Of several files the first of 10, 15, 11, 3,\n\
    2, 0.")]
pub struct CheckArgs {
    /// History files of any format (docs/formats.md), or runs by their names or paths
    #[arg(value_name = "FILE|RUN", required = true)]
    what: Vec<String>,
    /// Judge only this key; may be repeated
    #[arg(long, value_name = "KEY")]
    pub(super) key: Vec<String>,
    /// What the history is of
    #[arg(long, value_name = "MODEL")]
    model: Option<Model>,
    /// Format of the files, where their content misleads
    #[arg(long, value_name = "FORMAT")]
    pub(super) format: Option<Format>,
    /// How long judging may take, for each file
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = time::parse)]
    timeout: Duration,
    /// How much memory judging may take, in MiB; a larger history is divided by its keys into files in TMPDIR
    #[arg(long, value_name = "MIB", default_value_t = 2_048)]
    memory: usize,
    /// Of runs: fail with exit code 15 unless every fault keeps this, too, beside what was required when it ran; written as
    /// for `ordeal run --require`; can be repeated. E.g. 'recover<5s', 'kill.lost<30%'
    #[arg(long, value_name = "ASSERTION", value_delimiter = ',', conflicts_with = "key")]
    require: Vec<Requirement>,
    /// A line of JSON for each file
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// What came of one file; with `--json` one line of it.
#[derive(Serialize)]
pub(super) struct Checked {
    version: u32,
    file: String,
    verdict: Word,
    exit: u8,
    sentence: String,
    counts: Counts,
    keys: usize,
    anomalies: Vec<AnomalyRecord>,
    anomalies_count: usize,
    /// The parts that cannot be explained, with why no order goes on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failing: Vec<Failing>,
    /// Promises beside linearizability, and how stale reads were: of keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    promises: Option<Promises>,
    /// Few operations that no order explains, in words: of things that are no keys.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    core: Vec<String>,
    /// How available the system was around faults: of runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    availability: Option<Availability>,
    /// What of it breaks a requirement of the run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    late: Vec<String>,
    warnings: Vec<String>,
    check_ms: u64,
}

/// A file that could not be judged, as JSON.
#[derive(Serialize)]
struct Refused<'a> {
    version: u32,
    file: &'a str,
    verdict: &'a str,
    exit: u8,
    error: String,
}

/// The last line of several.
#[derive(Serialize)]
struct Total {
    version: u32,
    files: usize,
    valid: usize,
    not_linearizable: usize,
    unknown: usize,
    not_judged: usize,
    damaged: usize,
    exit: u8,
}

pub(super) fn execute(args: &CheckArgs) -> Done {
    if let Some(Model::Object(object)) = &args.model
        && !args.key.is_empty()
    {
        let error = anyhow::anyhow!("a {object} has no keys\nhint: leave --key out");
        return Err(Failure { cause: Cause::Usage, error });
    }
    match args.what.as_slice() {
        [one] => {
            let checked = check(args, one)?;
            checked.warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
            if args.json { print_json(&checked, checked.exit) } else { print(&checked.text(), checked.exit) }
        }
        several => check_all(args, several),
    }
}

/// A line for each, then the total.
fn check_all(args: &CheckArgs, files: &[String]) -> Done {
    let mut causes: Vec<Cause> = Vec::new();
    let mut words: Vec<Option<Word>> = Vec::new();
    for file in files {
        match check(args, file) {
            Ok(checked) => {
                checked.warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
                causes.extend(checked.causes());
                words.push(Some(checked.verdict));
                if args.json {
                    print_json(&checked, 0)?;
                } else {
                    print(&format!("{file}: {}\n", checked.line()), 0)?;
                }
            }
            Err(failure) => {
                let error = explain(&failure.error);
                say(&format!("error: {error}"));
                causes.push(failure.cause);
                words.push(None);
                let (verdict, exit) = ("damaged", failure.cause.code());
                if args.json {
                    print_json(&Refused { version: 1, file, verdict, exit, error }, 0)?;
                } else {
                    print(&format!("{file}: not judged: see the error\n"), 0)?;
                }
            }
        }
    }
    let count = |word: Option<Word>| words.iter().filter(|other| **other == word).count();
    let total = Total {
        version: 1,
        files: files.len(),
        valid: count(Some(Word::Valid)),
        not_linearizable: count(Some(Word::NotLinearizable)),
        unknown: count(Some(Word::Unknown)),
        not_judged: count(Some(Word::NotJudged)),
        damaged: count(None),
        exit: code_of(&causes),
    };
    if args.json { print_json(&total, total.exit) } else { print(&total.text(), total.exit) }
}

impl Total {
    fn text(&self) -> String {
        let parts = [
            (self.valid, "valid"),
            (self.not_linearizable, "not linearizable"),
            (self.unknown, "unknown"),
            (self.not_judged, "without an operation"),
            (self.damaged, "missing or damaged"),
        ];
        let parts = parts.iter().filter(|(count, _)| *count > 0);
        let parts: Vec<String> = parts.map(|(count, what)| format!("{count} {what}")).collect();
        format!("{} files: {}\n", self.files, parts.join(", "))
    }
}

fn cause_of(verdict: Word) -> Option<Cause> {
    match verdict {
        Word::Valid => None,
        Word::NotLinearizable | Word::Unsafe => Some(Cause::NotLinearizable),
        Word::Unknown | Word::NotJudged => Some(Cause::Undecided),
    }
}

/// Judges one.
pub(super) fn check(args: &CheckArgs, what: &str) -> Result<Checked, Failure> {
    let (file, spans) = input(what, &args.store)?;
    // Of some keys nobody can tell how available the whole was.
    let mut stored = if args.key.is_empty() { Stored::of(what, &args.store)? } else { None };
    require(&mut stored, &args.require, what)?;
    let budget = Budget { time: args.timeout, memory_bytes: args.memory.saturating_mul(1 << 20) };
    match &args.model {
        Some(Model::Object(object)) => check_object(args, &file, object, &budget),
        Some(Model::Keys(keys)) => check_keys(args, &file, *keys, (&spans, stored), &budget),
        None => check_keys(args, &file, Keys::KeyValue, (&spans, stored), &budget),
    }
}

fn check_keys(
    args: &CheckArgs,
    file: &Path,
    model: Keys,
    (spans, stored): (&[FaultSpan], Option<Stored>),
    budget: &Budget,
) -> Result<Checked, Failure> {
    let name = file.display().to_string();
    let shards = stored.as_ref().map(|stored| stored.shards);
    if is_large(args, file, budget)? {
        let (gathered, warnings) = judge_in_parts(args, file, model, (spans, shards), budget)?;
        return Ok(Checked::of_keys(name, gathered.finish(spans), warnings, stored));
    }
    let imported = load(file, args.format).map_err(Failure::of(Cause::BadInput))?;
    let history = only(imported.loaded.history, &args.key, &name)?;
    model.fits(&name, &history)?;
    let screen = Screen::new();
    let judged = judge(history, imported.loaded.warnings, budget, &|progress| {
        screen.progress(|| format!("judging: {} of {} keys", progress.keys_done, progress.keys));
    });
    screen.clear();
    let mut gathered = Gathered::of_run(shards);
    gathered.add(&judged.history, judged.report, spans);
    Ok(Checked::of_keys(name, gathered.finish(spans), judged.warnings, stored))
}

fn check_object(args: &CheckArgs, file: &Path, object: &Object, budget: &Budget) -> Result<Checked, Failure> {
    let report = judge_object(file, args.format, object, budget).map_err(Failure::of(Cause::BadInput))?;
    let verdict = match report.verdict {
        _ if report.counts.operations == 0 => Word::NotJudged,
        Verdict::Valid => Word::Valid,
        Verdict::Invalid => Word::NotLinearizable,
        Verdict::Unknown => Word::Unknown,
    };
    Ok(Checked {
        version: 1,
        file: file.display().to_string(),
        verdict,
        exit: code_of(&Vec::from_iter(cause_of(verdict))),
        sentence: report.sentence,
        counts: report.counts,
        keys: 1,
        anomalies: Vec::new(),
        failing: Vec::new(),
        promises: None,
        anomalies_count: usize::from(verdict == Word::NotLinearizable),
        core: report.core,
        availability: None,
        late: Vec::new(),
        warnings: Vec::new(),
        check_ms: report.elapsed_ms,
    })
}

impl Checked {
    fn of_keys(file: String, judged: Whole, mut warnings: Vec<String>, stored: Option<Stored>) -> Checked {
        let Whole { report, anomalies, failing, promises, asks } = judged;
        let verdict = word(report.verdict, report.counts.operations);
        let mut late = Vec::new();
        let availability = stored.map(|stored| {
            let faults = asks.of_run(&stored.events);
            let required = required(&stored.requirements, &faults);
            late = required.broken;
            warnings.extend(required.untested);
            Availability::of(faults)
        });
        let mut checked = Checked {
            version: 1,
            file,
            verdict,
            exit: 0,
            sentence: match verdict {
                Word::NotJudged => "not judged: no operation was recorded".to_owned(),
                Word::Valid | Word::NotLinearizable | Word::Unsafe | Word::Unknown => report.sentence(),
            },
            counts: report.counts,
            keys: report.keys.len(),
            failing,
            promises: Some(promises),
            anomalies,
            anomalies_count: report.anomalies.len(),
            core: Vec::new(),
            availability,
            late,
            warnings,
            check_ms: report.elapsed_ms,
        };
        checked.exit = code_of(&checked.causes());
        checked
    }

    /// Why it is no success.
    fn causes(&self) -> Vec<Cause> {
        let is_late = !self.late.is_empty();
        cause_of(self.verdict).into_iter().chain(is_late.then_some(Cause::Availability)).collect()
    }

    /// The verdict and its sentence.
    fn line(&self) -> String {
        let rest = self.sentence.split_once(": ").map_or(self.sentence.as_str(), |(_, rest)| rest);
        format!("{}: {}", self.verdict, full_stop(rest))
    }

    /// What is broken, then the verdict.
    fn text(&self) -> String {
        let mut text: String = self
            .anomalies
            .iter()
            .take(PRINTED_MAX)
            .map(|anomaly| format!("  {}: {}\n", anomaly.kind, anomaly.sentence))
            .collect();
        if self.anomalies_count > self.anomalies.len().min(PRINTED_MAX) && !self.anomalies.is_empty() {
            text +=
                &format!("  … and {} more\n", self.anomalies_count - self.anomalies.len().min(PRINTED_MAX));
        }
        if !self.core.is_empty() {
            text += "  these few no order explains:\n";
            text.extend(self.core.iter().map(|line| format!("    {line}\n")));
        }
        if let Some(promises) = self.promises.as_ref().filter(|_| self.verdict == Word::NotLinearizable) {
            text.extend(promise_words(promises).iter().map(|line| format!("  {line}\n")));
        }
        for line in self.availability.iter().flat_map(availability) {
            text += &format!("  availability: {line}\n");
        }
        text += &format!("{}\n", self.line());
        self.late.iter().fold(text, |text, late| text + &format!("availability: {late}\n"))
    }
}

/// Adds what is required of a run to what was when it ran.
fn require(stored: &mut Option<Stored>, requirements: &[Requirement], what: &str) -> Result<(), Failure> {
    let Some(first) = requirements.first() else { return Ok(()) };
    let Some(stored) = stored else {
        let error = anyhow::anyhow!(
            "--require {first}: of `{what}` no faults are known\nhint: name a run (`ordeal list`) that is no scenario"
        );
        return Err(Failure { cause: Cause::Usage, error });
    };
    are_measured(requirements, &stored.kinds)?;
    stored.requirements.extend(requirements);
    Ok(())
}

/// What is known of a run beside its history and its faults.
struct Stored {
    shards: u32,
    /// The faults that it was to have.
    kinds: Vec<FaultKind>,
    events: Vec<Event>,
    requirements: Vec<Requirement>,
}

impl Stored {
    /// Of a run; `None` of a file, and of a scenario, which is not measured by availability.
    fn of(what: &str, store: &StoreArgs) -> Result<Option<Stored>, Failure> {
        let run = if is_history(what) { None } else { Store::at(&store.store).find(what).ok() };
        let Some(run) = run else { return Ok(None) };
        let read = || -> Result<Option<Stored>, StoreError> {
            let plan = run.read_plan()?;
            let requirements = run.read_requirements()?;
            // A harness that was killed very early has not begun the file.
            let events = if run.events().exists() { run.read_events()? } else { Vec::new() };
            let Settings { shards, faults: kinds, .. } = plan.settings;
            Ok(plan.scenario.is_none().then_some(Stored { shards, kinds, events, requirements }))
        };
        read().map_err(Failure::of(Cause::BadInput))
    }
}

/// Whether this names a file, and not a run.
pub(super) fn is_history(what: &str) -> bool {
    let path = PathBuf::from(what);
    path.is_file() || is_report(&path)
}

/// The file that is meant, and the faults of its run where it has one.
pub(super) fn input(what: &str, store: &StoreArgs) -> Result<(PathBuf, Vec<FaultSpan>), Failure> {
    if is_history(what) {
        return Ok((PathBuf::from(what), Vec::new()));
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
