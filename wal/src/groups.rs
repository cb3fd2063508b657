//! All groups of a log, and what a run does to them.

use std::collections::BTreeMap;

use crate::batch::Batch;
use crate::bytes::word;
use crate::group::{Group, Piece, Spot};
use crate::runs::{ITEM_BYTES, RUN_BYTES, Run, Runs, What};
use crate::usage::Usage;

/// Groups by id, and what of the segments they need.
#[derive(Debug, Clone, Default)]
pub(crate) struct Groups {
    pub(crate) by_id: BTreeMap<u64, Group>,
    pub(crate) usage: Usage,
}

/// Where a frame lies, whose runs are applied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site {
    pub(crate) segment: u64,
    /// Offset of the directory, and of the contents, in the segment.
    pub(crate) directory: usize,
    pub(crate) payload: usize,
}

impl Groups {
    /// Applies a run of a frame.
    pub(crate) fn apply(&mut self, run: &Run<'_>, site: Site) {
        let usage = &mut self.usage;
        match run.what {
            What::Destroy => {
                if let Some(mut group) = self.by_id.remove(&run.group) {
                    group.forget_entries(usage);
                }
                return;
            }
            What::Ignored => return,
            _ => {}
        }
        let group = self.by_id.entry(run.group).or_default();
        match run.what {
            What::Entries { first, term, before, items, repair } => {
                let spot = Spot {
                    segment: site.segment,
                    items: word(site.directory + run.at + RUN_BYTES),
                    contents: word(site.payload + run.payload_at),
                    skip: 0,
                    bytes: word(items.count() * ITEM_BYTES + items.bytes()),
                };
                let piece = Piece { first, count: items.count() as u64, term, spot: Some(spot) };
                if repair { group.repair(piece, usage) } else { group.append(piece, before, usage) }
            }
            What::HardState { term, vote } => {
                (group.term, group.vote, group.doubt.vote) = (term, vote, false);
            }
            What::Truncate { from, before } => group.truncate(from, before, usage),
            What::Snapshot { index, term, ends_log } => group.note_snapshot(index, term, ends_log, usage),
            What::Compact { first } => group.compact(first, usage),
            What::State(state) => group.reconcile(state, usage),
            What::Destroy | What::Ignored => {}
        }
    }

    /// Applies a batch that will lie there, and writes into it what only the log knows.
    ///
    /// # Panics
    /// When entries leave a gap behind the log's last: a mistake of the caller's.
    pub(crate) fn apply_batch(&mut self, batch: &mut Batch, site: Site) {
        let mut patches = Vec::new();
        for run in Runs::of(&batch.directory) {
            let mut run = run.expect("a batch is made of whole runs");
            let group = self.by_id.get(&run.group);
            let term_before =
                |index: u64| group.map_or(u64::from(index != 1) * u64::MAX, |group| group.term_at(index - 1));
            match &mut run.what {
                What::Entries { first, before, repair: false, .. } => {
                    let (lowest, next) = group.map_or((1, 1), |group| (group.first(), group.next()));
                    assert!(
                        (lowest..=next).contains(first),
                        "entry {first} of group {} stands in no place of its log, {lowest}..{next}",
                        run.group
                    );
                    *before = term_before(*first);
                    patches.push((run.at, Patch::Before(*before)));
                }
                What::Truncate { from, before } if *from > 0 => {
                    *before = term_before(*from);
                    patches.push((run.at, Patch::Before(*before)));
                }
                What::Snapshot { index, term, ends_log } if Batch::is_undecided(&batch.directory, run.at) => {
                    *ends_log = !group.is_some_and(|group| group.holds(*index, *term));
                    patches.push((run.at, Patch::EndsLog(*ends_log)));
                }
                _ => {}
            }
            self.apply(&run, site);
        }
        for (at, patch) in patches {
            match patch {
                Patch::Before(before) => batch.set_before(at, before),
                Patch::EndsLog(ends_log) => batch.set_ends_log(at, ends_log),
            }
        }
    }

    /// Whether a batch changes the term or the vote of any group.
    pub(crate) fn changes_hard_state(&self, batch: &Batch) -> bool {
        batch.hard_states.iter().any(|&(id, term, vote)| {
            self.by_id.get(&id).is_none_or(|group| (group.term, group.vote) != (term, vote))
        })
    }

    /// All pieces that lie at such a spot, with their groups.
    pub(crate) fn pieces_where(&self, chosen: impl Fn(&Spot) -> bool) -> Vec<(u64, Piece)> {
        let all = self.by_id.iter().flat_map(|(&id, group)| group.pieces().map(move |piece| (id, *piece)));
        all.filter(|(_, piece)| piece.spot.as_ref().is_some_and(&chosen)).collect()
    }

    /// The state of all groups, for the first frame of a segment.
    pub(crate) fn table(&self) -> Batch {
        let mut batch = Batch::new();
        for (&id, group) in &self.by_id {
            batch.state(id, group);
        }
        batch
    }
}

enum Patch {
    Before(u64),
    EndsLog(bool),
}
