//! `ordeal check` of a history that is larger than the memory it may take: divided by its keys, part by part, with the same words.

use std::collections::BTreeSet;
use std::path::Path;

use ordeal_history::parts::{Division, Parts, bytes_in_memory};
use ordeal_history::{Budget, check};

use super::Failure;
use super::check::CheckArgs;
use super::choice::{Keys, are_known};
use crate::exit::Cause;
use crate::run::screen::Screen;
use crate::store::FaultSpan;
use crate::verdict::Gathered;

/// Of the memory that judging may take a part may take so much; the other half is the search's.
const PART_OF_MEMORY: usize = 2;

/// Whether a file is so large that it is better judged in parts.
pub(super) fn is_large(args: &CheckArgs, file: &Path, budget: &Budget) -> Result<bool, Failure> {
    let bytes = bytes_in_memory(file, args.format).map_err(Failure::of(Cause::BadInput))?;
    Ok(bytes > budget.memory_bytes / PART_OF_MEMORY)
}

/// Judges it; also gives what a reader should know.
pub(super) fn judge_in_parts(
    args: &CheckArgs,
    file: &Path,
    model: Keys,
    (spans, shards): (&[FaultSpan], Option<u32>),
    budget: &Budget,
) -> Result<(Gathered, Vec<String>), Failure> {
    let parts = divide(args, file, model, budget)?;
    let screen = Screen::new();
    let mut judge = InParts { parts: &parts, spans, shards, screen: &screen, budget: *budget };
    judge.budget.memory_bytes /= PART_OF_MEMORY;
    let mut gathered: Vec<Gathered> = Vec::new();
    let mut undecided = Vec::new();
    for part in 0..parts.len() {
        let of_part = judge.judge(part, parts.len() - part)?;
        if of_part.undecided() > 0 {
            undecided.push(part);
        }
        gathered.push(of_part);
    }
    // Most parts need a moment: what they left of their time is for those that had too little.
    for (at, &part) in undecided.iter().enumerate().filter(|_| parts.len() > 1) {
        let again = judge.judge(part, undecided.len() - at)?;
        if again.undecided() < gathered[part].undecided() {
            gathered[part] = again;
        }
    }
    screen.clear();
    let mut whole = Gathered::default();
    gathered.into_iter().for_each(|part| whole.join(part));
    Ok((whole, parts.warnings))
}

/// Writes the operations of the keys that are meant to parts.
fn divide(args: &CheckArgs, file: &Path, model: Keys, budget: &Budget) -> Result<Parts, Failure> {
    let name = file.display().to_string();
    let mut stranger = None;
    let mut known: BTreeSet<String> = BTreeSet::new();
    let parts = Parts::of(Division {
        path: file,
        format: args.format,
        part_bytes: budget.memory_bytes / PART_OF_MEMORY,
        look: &mut |op, key, call| {
            if !args.key.is_empty() && !known.contains(key) {
                known.insert(key.to_owned());
            }
            let is_meant = args.key.is_empty() || args.key.iter().any(|meant| meant == key);
            if is_meant && stranger.is_none() && !model.has(call) {
                stranger = Some((op, call.clone()));
            }
            is_meant
        },
    });
    let parts = parts.map_err(Failure::of(Cause::BadInput))?;
    are_known(&args.key, &known.iter().map(String::as_str).collect(), &name)?;
    stranger.map_or(Ok(parts), |(op, call)| Err(model.refuse(&name, op, &call)))
}

struct InParts<'a> {
    parts: &'a Parts,
    spans: &'a [FaultSpan],
    /// Of a run.
    shards: Option<u32>,
    screen: &'a Screen,
    /// What is left.
    budget: Budget,
}

impl InParts<'_> {
    /// Judges one, while so many are left, in its share of the time.
    fn judge(&mut self, part: usize, left: usize) -> Result<Gathered, Failure> {
        let history = self.parts.load(part).map_err(Failure::of(Cause::BadInput))?;
        let share = u32::try_from(left).map_or(self.budget.time, |left| self.budget.time / left);
        let started = std::time::Instant::now();
        let report = check(&history, &Budget { time: share, ..self.budget }, &|progress| {
            let (done, keys) = (progress.keys_done, progress.keys);
            self.screen.progress(|| {
                format!("judging: part {} of {}, {done} of {keys} keys", part + 1, self.parts.len())
            });
        });
        self.budget.time = self.budget.time.saturating_sub(started.elapsed());
        let mut gathered = Gathered::of_run(self.shards);
        gathered.add(&history, report, self.spans);
        Ok(gathered)
    }
}
