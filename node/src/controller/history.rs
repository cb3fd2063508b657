//! All numbers, for ever: the state at some of them, and the steps between. So a number costs what it changes, and is
//! found again by taking as many steps as an era has.
//!
//! A copy shares all eras; the last one is copied when the next step is added to it.

use std::sync::Arc;

use ordeal_client::wire::{Cause, Configuration, GroupInfo, NUMBER_FIRST};

use super::config::{State, Step};

/// What all steps may take, encoded: more than a million ends of moves. Administrators are refused afterwards; moves end all the
/// same.
pub const HISTORY_BYTES_MAX: usize = 64 << 20;

/// All numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct History {
    /// By ascending number; there is one at least.
    eras: Vec<Arc<Era>>,
    /// Length of all steps, encoded.
    bytes: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Era {
    first: State,
    /// Each leads to the next number.
    steps: Vec<Step>,
    /// Shards, groups and members that may change yet before the era ends: as many as its first state has. So that state takes no
    /// more room than the steps, and a number is found with no more changes than that.
    left: usize,
}

impl History {
    pub(super) fn new(first: State) -> Self {
        History { eras: vec![Era::new(first)], bytes: 0 }
    }

    /// Adds the step that led to the state `after`; `bytes` is its length.
    pub(super) fn push(&mut self, step: Step, bytes: usize, after: &State) {
        let era = Arc::make_mut(self.eras.last_mut().expect("there is one at least"));
        let groups: usize = step.groups.values().map(|info| info.as_ref().map_or(1, things)).sum();
        era.left = era.left.saturating_sub(1 + step.shards.len() + groups);
        era.steps.push(step);
        self.bytes += bytes;
        if era.left == 0 {
            self.eras.push(Era::new(after.clone()));
        }
    }

    /// Whether no administrator's change finds room any more.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= HISTORY_BYTES_MAX
    }

    /// The configuration of a number; `None` where there is none yet.
    pub(super) fn query(&self, number: u64) -> Option<Configuration> {
        let after = self.eras.partition_point(|era| era.first() <= number);
        let era = self.eras[..after].last()?;
        let steps = usize::try_from(number - era.first()).ok()?;
        let mut state = era.first.clone();
        era.steps.get(..steps)?.iter().for_each(|step| state.take(step));
        Some(state.configuration)
    }

    /// What `of` finds in a cause, the newest first, and the number that the cause made.
    pub(super) fn find_map<'a, T>(&'a self, of: impl Fn(&'a Cause) -> Option<T>) -> Option<(u64, T)> {
        let mut causes = self.eras.iter().rev().flat_map(|era| {
            let steps = era.steps.iter().enumerate().rev();
            steps.map(|(at, step)| (era.first() + 1 + at as u64, &step.cause))
        });
        causes.find_map(|(number, cause)| Some((number, of(cause)?)))
    }

    /// All steps, from the first number on.
    pub(super) fn steps(&self) -> impl Iterator<Item = &Step> {
        self.eras.iter().flat_map(|era| &era.steps)
    }

    /// What the first number was made of.
    pub(super) fn first(&self) -> &Configuration {
        let first = &self.eras[0].first.configuration;
        assert!(first.number == NUMBER_FIRST, "the first era begins at the beginning");
        first
    }
}

impl Era {
    fn new(first: State) -> Arc<Self> {
        let groups: usize = first.configuration.groups.values().map(things).sum();
        let left = first.targets.len() + groups;
        Arc::new(Era { first, steps: Vec::new(), left })
    }

    fn first(&self) -> u64 {
        self.first.configuration.number
    }
}

fn things(info: &GroupInfo) -> usize {
    1 + info.members.len()
}

#[cfg(test)]
impl History {
    /// As if its steps were that long.
    pub(super) fn fill(&mut self, bytes: usize) {
        self.bytes = bytes;
    }

    pub(super) fn eras(&self) -> usize {
        self.eras.len()
    }
}
