//! A trace made ready for the search: levels and slots.
//!
//! A *level* is the return of an operation: the moment at which it must be in the order. Between its call and its return an
//! operation has a *slot*, the lowest that is free, so that a set of pending operations is a few words however long the
//! history is.

use std::collections::HashMap;

use super::Model;
use super::classes::{Class, Member};

/// No operation.
pub(super) const NONE: u32 = u32::MAX;

/// The return of an operation.
pub(super) struct Level {
    /// The operation.
    pub(super) target: u32,
    /// Where in [`Plan::calls`] those end that were called before this return.
    pub(super) calls_end: usize,
}

/// Operations of one class that never returned, by ascending call, each with the first level that it can be used at.
/// They are interchangeable, so the one called first is used first: in any order that uses a later one and not that one,
/// the two can be swapped, since both are open for ever.
pub(super) struct Optional {
    pub(super) members: Vec<(usize, u32)>,
}

pub(super) struct Plan<'a, M: Model> {
    pub(super) classes: &'a [Class<M>],
    /// The class of each operation.
    pub(super) class_of: Vec<usize>,
    /// The slot of each operation that returned.
    pub(super) slot_of: Vec<usize>,
    /// The place of each operation in the order of the calls.
    pub(super) rank_of: Vec<u32>,
    pub(super) levels: Vec<Level>,
    /// Operations that returned, in the order of their calls.
    pub(super) calls: Vec<u32>,
    /// By ascending first level.
    pub(super) optional: Vec<Optional>,
    /// Words that a set of slots needs.
    pub(super) words: usize,
}

impl<'a, M: Model> Plan<'a, M> {
    pub(super) fn new(classes: &'a [Class<M>], members: &[Member]) -> Self {
        let mut plan = Plan {
            classes,
            class_of: members.iter().map(|member| member.class).collect(),
            slot_of: vec![usize::MAX; members.len()],
            rank_of: vec![0; members.len()],
            levels: Vec::new(),
            calls: Vec::new(),
            optional: Vec::new(),
            words: 0,
        };
        plan.walk(members);
        plan.optional.sort_by_key(|optional| optional.members[0].0);
        plan
    }

    /// Goes through calls and returns in the order of time, calls before returns of the same time: those overlap.
    fn walk(&mut self, members: &[Member]) {
        let mut events: Vec<(u64, bool, usize)> = Vec::with_capacity(members.len() * 2);
        for (at, member) in members.iter().enumerate() {
            events.push((member.called, false, at));
            events.extend(member.returned.map(|time| (member.called.max(time), true, at)));
        }
        events.sort_unstable();
        let mut free: Vec<usize> = Vec::new();
        let mut slots = 0;
        let mut optional_of: HashMap<usize, usize> = HashMap::new();
        let mut calls = 0;
        for (_, is_return, at) in events {
            let number = u32::try_from(at).expect("4 G operations are beyond any memory limit");
            let class = self.class_of[at];
            if !is_return {
                self.rank_of[at] = calls;
                calls += 1;
            }
            if is_return {
                free.push(self.slot_of[at]);
                self.levels.push(Level { target: number, calls_end: self.calls.len() });
            } else if members[at].returned.is_some() {
                self.slot_of[at] = free.pop().unwrap_or_else(|| {
                    slots += 1;
                    slots - 1
                });
                self.calls.push(number);
            } else if !self.classes[class].is_pure {
                let member = (self.levels.len(), number);
                let place = *optional_of.entry(class).or_insert(self.optional.len());
                match self.optional.get_mut(place) {
                    Some(optional) => optional.members.push(member),
                    None => self.optional.push(Optional { members: vec![member] }),
                }
            }
        }
        self.words = slots.div_ceil(64).max(1);
    }

    /// Where in [`Plan::calls`] those of a level begin.
    pub(super) fn calls_begin(&self, level: usize) -> usize {
        level.checked_sub(1).map_or(0, |before| self.levels[before].calls_end)
    }

    /// How many of the optional classes have a member at a level.
    pub(super) fn optional_at(&self, level: usize) -> usize {
        self.optional.partition_point(|optional| optional.members[0].0 <= level)
    }
}

/// The pending operations of a level: those that were called before its return and did not return before it.
pub(super) struct Window {
    level: usize,
    /// The operation in each slot.
    pub(super) operation: Vec<u32>,
    /// Slots of pure operations.
    pub(super) pure_slots: Vec<u64>,
    /// Slots of quiet operations.
    pub(super) quiet_slots: Vec<u64>,
    /// Slots of operations that are not pure.
    pub(super) other_slots: Vec<u64>,
}

impl Window {
    /// At the first level.
    pub(super) fn new<M: Model>(plan: &Plan<'_, M>) -> Self {
        let empty = vec![0; plan.words];
        let mut window = Window {
            level: 0,
            operation: vec![NONE; plan.words * 64],
            pure_slots: empty.clone(),
            quiet_slots: empty.clone(),
            other_slots: empty,
        };
        if !plan.levels.is_empty() {
            window.calls(plan, 0, true);
        }
        window
    }

    /// Goes to a level, from wherever it is.
    pub(super) fn move_to<M: Model>(&mut self, plan: &Plan<'_, M>, level: usize) {
        while self.level < level {
            self.set(plan, plan.levels[self.level].target, false);
            self.level += 1;
            self.calls(plan, self.level, true);
        }
        while self.level > level {
            self.calls(plan, self.level, false);
            self.level -= 1;
            self.set(plan, plan.levels[self.level].target, true);
        }
    }

    fn calls<M: Model>(&mut self, plan: &Plan<'_, M>, level: usize, is_there: bool) {
        for &operation in &plan.calls[plan.calls_begin(level)..plan.levels[level].calls_end] {
            self.set(plan, operation, is_there);
        }
    }

    fn set<M: Model>(&mut self, plan: &Plan<'_, M>, operation: u32, is_there: bool) {
        let slot = plan.slot_of[operation as usize];
        let class = &plan.classes[plan.class_of[operation as usize]];
        self.operation[slot] = if is_there { operation } else { NONE };
        let (word, bit) = (slot / 64, 1 << (slot % 64));
        let kinds = [
            (&mut self.pure_slots, class.is_pure),
            (&mut self.quiet_slots, class.is_quiet && !class.is_pure),
            (&mut self.other_slots, !class.is_pure),
        ];
        for (slots, is_of_kind) in kinds {
            if is_there && is_of_kind {
                slots[word] |= bit;
            } else {
                slots[word] &= !bit;
            }
        }
    }
}

/// The members of a set of slots, ascending.
pub(super) fn slots_of(words: impl IntoIterator<Item = u64>) -> impl Iterator<Item = usize> {
    words.into_iter().enumerate().flat_map(|(at, word)| {
        let mut left = word;
        std::iter::from_fn(move || {
            let bit = (left != 0).then(|| left.trailing_zeros() as usize)?;
            left &= left - 1;
            Some(at * 64 + bit)
        })
    })
}
