//! Random lives of a log: what is committed, and what a log that keeps its promise must then hold.

use std::collections::BTreeMap;

use ordeal_wal::{Batch, GroupState, Recovered, Wal, WalError};

use crate::common::{Chance, content};

/// What one group should hold, by the words of the documentation of `Batch`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub term: u64,
    pub vote: u64,
    pub snapshot: Option<(u64, u64)>,
    pub first: u64,
    /// Term and length by index; what the content is follows from these.
    pub entries: BTreeMap<u64, (u64, usize)>,
}

/// What a log should hold.
pub type Model = BTreeMap<u64, Group>;

/// One call of `Batch`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Entry { group: u64, index: u64, term: u64, bytes: usize },
    HardState { group: u64, term: u64, vote: u64 },
    Truncate { group: u64, from: u64 },
    Snapshot { group: u64, index: u64, term: u64 },
    Install { group: u64, index: u64, term: u64 },
    Compact { group: u64, first: u64 },
    Destroy { group: u64 },
}

/// A life: what each commit holds, and the model before the first and after each.
#[derive(Debug, Clone)]
pub struct Script {
    pub commits: Vec<Vec<Step>>,
    pub models: Vec<Model>,
}

impl Default for Group {
    fn default() -> Self {
        Group { term: 0, vote: 0, snapshot: None, first: 1, entries: BTreeMap::new() }
    }
}

impl Group {
    fn next(&self) -> u64 {
        self.entries.last_key_value().map_or(self.first, |(last, _)| last + 1)
    }

    fn term_at(&self, index: u64) -> u64 {
        self.entries.get(&index).map_or(0, |(term, _)| *term)
    }
}

/// Applies a step to a model.
pub fn apply(model: &mut Model, step: &Step) {
    let group = match *step {
        Step::Entry { group, .. }
        | Step::HardState { group, .. }
        | Step::Truncate { group, .. }
        | Step::Snapshot { group, .. }
        | Step::Install { group, .. }
        | Step::Compact { group, .. }
        | Step::Destroy { group } => group,
    };
    let state = model.entry(group).or_default();
    match *step {
        Step::Entry { index, term, bytes, .. } => {
            state.entries.split_off(&index);
            state.entries.insert(index, (term, bytes));
        }
        Step::HardState { term, vote, .. } => (state.term, state.vote) = (term, vote),
        Step::Truncate { from, .. } => drop(state.entries.split_off(&from)),
        Step::Snapshot { index, term, .. } => state.snapshot = Some((index, term)),
        Step::Install { index, term, .. } => {
            if state.term_at(index) != term {
                state.entries.clear();
                state.first = index + 1;
            }
            state.snapshot = Some((index, term));
        }
        Step::Compact { first, .. } => {
            if first > state.first {
                state.first = first;
                state.entries = state.entries.split_off(&first);
            }
        }
        Step::Destroy { .. } => drop(model.remove(&group)),
    }
}

/// The batch of some steps.
pub fn batch(steps: &[Step]) -> Batch {
    let mut batch = Batch::new();
    for step in steps {
        match *step {
            Step::Entry { group, index, term, bytes } => {
                let content = content(group, index, term, bytes);
                let (one, two) = content.split_at(bytes / 2);
                batch.entry(group, index, term, &[one, two]);
            }
            Step::HardState { group, term, vote } => batch.hard_state(group, term, vote),
            Step::Truncate { group, from } => batch.truncate(group, from),
            Step::Snapshot { group, index, term } => batch.snapshot(group, index, term),
            Step::Install { group, index, term } => batch.install(group, index, term),
            Step::Compact { group, first } => batch.compact(group, first),
            Step::Destroy { group } => batch.destroy(group),
        }
    }
    batch
}

impl Script {
    /// A random life of so many commits.
    pub fn draw(chance: &mut Chance, commits: usize, bytes_max: u64) -> Script {
        let mut script = Script { commits: Vec::new(), models: vec![Model::new()] };
        for _ in 0..commits {
            let mut model = script.models.last().expect("one is there").clone();
            let mut steps = Vec::new();
            for _ in 0..=chance.below(3) {
                draw_steps(&mut model, chance, bytes_max, &mut steps);
            }
            script.commits.push(steps);
            script.models.push(model);
        }
        script
    }
}

/// Some steps of one group, such as a member may ask for.
fn draw_steps(model: &mut Model, chance: &mut Chance, bytes_max: u64, steps: &mut Vec<Step>) {
    let group = 1 + chance.below(3);
    let state = model.entry(group).or_default().clone();
    let (first, next, term) = (state.first, state.next(), state.term);
    let fresh = term + 1;
    let mut push = |step: Step| {
        apply(model, &step);
        steps.push(step);
    };
    let mut append = |push: &mut dyn FnMut(Step), from: u64, term: u64| {
        for index in from..=from + chance.below(3) {
            // An entry is the same wherever it turns up, also in a group that was destroyed and began anew.
            let mut chance = Chance::new(group << 40 ^ index << 20 ^ term);
            let bytes = usize::try_from(chance.below(bytes_max)).unwrap_or(0);
            push(Step::Entry { group, index, term, bytes });
        }
    };
    match (next + term * 7 + model_noise(&state)) % 11 {
        0 | 1 => push(Step::HardState { group, term: fresh, vote: next % 4 }),
        2 if next > first => {
            let from = first + (next - first) / 2;
            push(Step::HardState { group, term: fresh, vote: 0 });
            push(Step::Truncate { group, from });
            append(&mut push, from, fresh);
        }
        3 if next > first => {
            // Overwritten without a word about a truncation.
            push(Step::HardState { group, term: fresh, vote: 1 });
            append(&mut push, next - 1, fresh);
        }
        4 | 5 if next > first + 2 => {
            let index = next - 2;
            let term = state.entries[&index].0;
            push(Step::Snapshot { group, index, term });
            push(Step::Compact { group, first: index });
        }
        6 if term > 0 && next % 3 == 0 => {
            push(Step::HardState { group, term: fresh, vote: 0 });
            push(Step::Install { group, index: next + 3, term: fresh });
            append(&mut push, next + 4, fresh);
        }
        7 if term > 3 && group == 3 => push(Step::Destroy { group }),
        _ => {
            if term == 0 {
                push(Step::HardState { group, term: 1, vote: 0 });
            }
            append(&mut push, next, term.max(1));
        }
    }
}

/// Something of the state, so that the same index and term do not always lead to the same step.
fn model_noise(state: &Group) -> u64 {
    state.entries.values().map(|(_, bytes)| *bytes as u64).sum::<u64>() + state.vote
}

/// What a log holds.
pub fn observe(wal: &Wal, recovered: &Recovered) -> Model {
    observe_by(recovered, |id, visit| {
        wal.read(id, 0, |index, term, content| {
            visit(index, term, content);
            Ok::<(), WalError>(())
        })
    })
}

/// What a log holds that was not opened.
#[cfg(not(miri))]
pub fn observe_examined(disk: &ordeal_wal::media::Memory, examined: &ordeal_wal::Examined) -> Model {
    observe_by(&examined.recovered, |id, visit| {
        examined.read(disk, id, 0, |index, term, content| {
            visit(index, term, content);
            Ok::<(), WalError>(())
        })
    })
}

/// Takes index, term and content of an entry.
type Visit<'a> = &'a mut dyn FnMut(u64, u64, &[u8]);

fn observe_by(recovered: &Recovered, read: impl Fn(u64, Visit<'_>) -> Result<(), WalError>) -> Model {
    let mut model = Model::new();
    for (&id, state) in &recovered.groups {
        let mut entries = BTreeMap::new();
        let all = read(id, &mut |index, term, found| {
            assert!(
                found == content(id, index, term, found.len()),
                "entry {index}@{term} of {id} is another"
            );
            assert!(entries.insert(index, (term, found.len())).is_none(), "entry {index} twice");
        });
        all.expect("what a recovery found can be read");
        let faulty: u64 = state.faulty.iter().map(|faulty| faulty.count).sum();
        assert_eq!(
            entries.len() as u64 + faulty,
            state.next - state.first,
            "every slot has an entry or a finding"
        );
        let GroupState { term, vote, snapshot, first, .. } = *state;
        model.insert(id, Group { term, vote, snapshot, first, entries });
    }
    model
}
