//! What clients could rely on beside linearizability, in words.

use ordeal_history::{Kept, Promises};

/// A line for all promises, one for how stale reads were, and one for what was lost.
#[must_use]
pub fn promise_words(promises: &Promises) -> Vec<String> {
    let verdicts = promises.verdicts.iter().map(|report| {
        let words = report.promise.words();
        match report.verdict {
            Kept::Kept => format!("{words} kept"),
            Kept::Unknown => format!("{words} not known"),
            Kept::Broken => format!("{words} broken ({})", report.broken),
        }
    });
    let mut lines = vec![verdicts.collect::<Vec<_>>().join(", ")];
    let staleness = &promises.staleness;
    lines.push(match staleness.stale {
        0 => format!("none of {} reads that can be told was stale", staleness.reads),
        stale => format!(
            "{stale} of {} reads were stale, by {:.1} ms and by {} writes at most",
            staleness.reads,
            staleness.worst_ns as f64 / 1e6,
            staleness.worst_writes
        ),
    });
    let (lost, duplicated, phantom) = (promises.lost, promises.duplicated, promises.phantom);
    lines.push(format!(
        "of the broken promises named: {lost} lost, {duplicated} duplicated, {phantom} phantom"
    ));
    lines
}
