//! The search for an order: level by level, from every configuration to those that follow from it.
//!
//! It dives first, from the newest configuration on: a history that can be explained mostly shows its order soon. Where that led
//! astray it sweeps: from the lowest level to the highest, at each over a few configurations that spent the fewest optional
//! operations, over twice as many the next time. Those are what a dive runs out of, many levels after it spent them. Then
//! it goes wide: it finishes the lowest level that is not finished, so that a history that cannot be explained needs memory for one
//! level only, and few configurations survive it. The three take turns, each time for twice as long; the history alone decides
//! what is done when.
//!
//! Nothing here recurses; the clock is read every few steps.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::classes::{Class, Classes, Member};
use super::configs::{Configs, NOTHING, Shape};
use super::expand::{Choice, Draft, Node};
use super::plan::{Plan, Window};
use super::states::States;
use super::{Decision, Limit, Limits, Model, Stuck, Trace};

/// How often the clock is read: a step takes some 50 ns, so about every 50 µs.
const STEPS_PER_LOOK: u64 = 1024;

/// Configurations of the first dive beside one for each level.
const FIRST_DIVE: u64 = 4096;

/// Configurations of a level in the first sweep: of one alone most of the way is that of the first dive.
const FIRST_SWEEP: u64 = 4;

/// Larger levels are not kept to be used again: what they took would stay taken.
const SPARE_BYTES_MAX: usize = 4096;

/// Marks a step that puts a blind operation right before the last blind one.
pub(super) const ABSORBED: u32 = 1 << 31;

/// Decides whether any order explains a trace that starts from this state; also gives the number of steps.
pub fn decide<M: Model>(initial: &M, trace: &Trace<M>, limits: &Limits<'_>) -> (Decision, u64) {
    let (classes, members) = Classes::of(initial, trace);
    search(&classes.all, &members, &mut States::new(initial, trace), limits)
}

/// As [`decide`], for operations whose classes are known. The states may be those of an earlier search with these classes, for a
/// trace that held all of these operations: it could tell as many states from each other.
pub(super) fn search<M: Model>(
    classes: &[Class<M>],
    members: &[Member],
    states: &mut States<M>,
    limits: &Limits<'_>,
) -> (Decision, u64) {
    let plan = Plan::new(classes, members);
    let mut search = Search::new(&plan, states, limits);
    let first = FIRST_DIVE + plan.levels.len() as u64;
    let decision = search.decide(first);
    (decision, search.steps)
}

pub(super) struct Search<'a, M: Model> {
    pub(super) plan: &'a Plan<'a, M>,
    limits: &'a Limits<'a>,
    pub(super) shape: Shape,
    pub(super) states: &'a mut States<M>,
    pub(super) window: Window,
    levels: Vec<Option<Box<AtLevel>>>,
    /// Levels that were finished, empty, to be used again.
    spare: Vec<AtLevel>,
    /// Every configuration that may not have been looked at yet, the newest last: where a dive goes on.
    stack: Vec<(u32, u32)>,
    /// Nothing is left to do below the first, nor above the second.
    lowest: usize,
    highest: usize,
    sweep: Sweep,
    /// The steps of all orders: what was put in, and the step before it.
    pub(super) trails: Vec<(u32, u32)>,
    pub(super) draft: Draft,
    pub(super) choices: Vec<Choice>,
    /// The highest level that was reached, and by which order.
    best: (usize, u32),
    level_bytes: usize,
    steps: u64,
    next_look: u64,
}

/// The configurations of a level, and those of them that are not looked at yet.
#[derive(Default)]
struct AtLevel {
    known: Configs,
    /// With the number of optional operations that each has used.
    todo: BinaryHeap<(Reverse<u64>, u32)>,
}

/// How it is chosen what to look at next.
#[derive(Debug, Clone, Copy)]
enum Way {
    Dive,
    Sweep,
    Wide,
}

/// Where a sweep is: so many are left to look at on this level, of so many on each.
struct Sweep {
    level: usize,
    left: u64,
    width: u64,
}

impl AtLevel {
    /// That which used the fewest optional operations, and of these the newest, of those that are not looked at yet; it stays
    /// where it is.
    fn next(&mut self) -> Option<u32> {
        while let Some(&(_, id)) = self.todo.peek() {
            if self.known.is_due(id) {
                return Some(id);
            }
            self.todo.pop();
        }
        None
    }
}

impl<'a, M: Model> Search<'a, M> {
    fn new(plan: &'a Plan<'a, M>, states: &'a mut States<M>, limits: &'a Limits<'a>) -> Self {
        Search {
            plan,
            limits,
            shape: Shape { words: plan.words },
            states,
            window: Window::new(plan),
            levels: std::iter::repeat_with(|| None).take(plan.levels.len()).collect(),
            spare: Vec::new(),
            stack: Vec::new(),
            lowest: 0,
            highest: 0,
            sweep: Sweep { level: 0, left: FIRST_SWEEP, width: FIRST_SWEEP },
            trails: Vec::new(),
            draft: Draft::default(),
            choices: Vec::new(),
            best: (0, NOTHING),
            level_bytes: 0,
            steps: 0,
            next_look: 0,
        }
    }

    /// With so many configurations of each way in the first turn.
    fn decide(&mut self, first: u64) -> Decision {
        match self.run(first) {
            Ok(Some(trail)) => Decision::Order(self.order_of(trail)),
            Ok(None) => Decision::NoOrder(self.stuck()),
            Err(limit) => Decision::GaveUp(limit, self.stuck()),
        }
    }

    /// The last step of an order, or `None` when there is no order.
    fn run(&mut self, first: u64) -> Result<Option<u32>, Limit> {
        if self.plan.levels.is_empty() {
            return Ok(Some(NOTHING));
        }
        self.draft.config = vec![0; 1 + 2 * self.shape.words];
        if let Some(trail) = self.arrive(0, NOTHING)? {
            return Ok(Some(trail));
        }
        let mut turn = first;
        loop {
            for way in [Way::Dive, Way::Sweep, Way::Wide] {
                for _ in 0..turn {
                    let Some((level, id)) = self.next(way) else { return Ok(None) };
                    if let Some(trail) = self.look_at(level, id)? {
                        return Ok(Some(trail));
                    }
                }
            }
            turn *= 2;
        }
    }

    /// The next configuration to look at; `None` when all were.
    fn next(&mut self, way: Way) -> Option<(usize, u32)> {
        // Nothing can come any more to where nothing is left to do, and nothing below.
        while self.lowest < self.highest && self.is_finished(self.lowest) {
            self.forget(self.lowest);
            self.lowest += 1;
        }
        match way {
            Way::Dive => self.next_of_dive(),
            Way::Sweep => self.next_of_sweep(),
            Way::Wide => self.next_at(self.lowest),
        }
    }

    fn next_at(&mut self, level: usize) -> Option<(usize, u32)> {
        let id = self.levels[level].as_mut()?.next()?;
        Some((level, id))
    }

    fn next_of_dive(&mut self) -> Option<(usize, u32)> {
        while let Some((level, id)) = self.stack.pop() {
            let level = level as usize;
            let is_due = |at: &AtLevel| at.known.is_due(id);
            if self.levels[level].as_deref().is_some_and(is_due) {
                return Some((level, id));
            }
        }
        None
    }

    fn next_of_sweep(&mut self) -> Option<(usize, u32)> {
        // Nothing is left anywhere if nothing is left at the lowest.
        self.next_at(self.lowest)?;
        loop {
            if self.sweep.level > self.highest {
                self.sweep.width = self.sweep.width.saturating_mul(2);
            }
            if !(self.lowest..=self.highest).contains(&self.sweep.level) {
                self.sweep.level = self.lowest;
                self.sweep.left = self.sweep.width;
            }
            if let Some(left) = self.sweep.left.checked_sub(1)
                && let Some(next) = self.next_at(self.sweep.level)
            {
                self.sweep.left = left;
                return Some(next);
            }
            self.sweep.level += 1;
            self.sweep.left = self.sweep.width;
        }
    }

    fn is_finished(&mut self, level: usize) -> bool {
        self.levels[level].as_mut().is_none_or(|at| at.next().is_none())
    }

    fn forget(&mut self, level: usize) {
        if let Some(mut at) = self.levels[level].take() {
            self.level_bytes -= at.known.bytes();
            if at.known.bytes() <= SPARE_BYTES_MAX {
                at.known.clear();
                at.todo.clear();
                self.spare.push(*at);
            }
        }
    }

    fn look_at(&mut self, level: usize, id: u32) -> Result<Option<u32>, Limit> {
        let known = &mut self.levels[level].as_mut().expect("what is to be looked at is there").known;
        known.set_looked_at(id);
        let (config, trail, is_idle) = (known.config(id).to_vec(), known.trail(id), known.is_idle(id));
        self.expand(&Node { level, config, trail, is_idle })
    }

    /// Remembers the draft, unless another is known to cover it.
    pub(super) fn keep(&mut self, level: usize, trail: u32, is_idle: bool) {
        let at = self.levels[level].get_or_insert_with(|| Box::new(self.spare.pop().unwrap_or_default()));
        let before = at.known.bytes();
        let Some(id) = at.known.insert(self.shape, &self.draft.config, is_idle) else { return };
        at.todo.push((Reverse(self.shape.count_all_used(&self.draft.config)), id));
        self.stack.push((u32::try_from(level).expect("fewer levels than operations"), id));
        self.level_bytes += at.known.bytes() - before;
        self.highest = self.highest.max(level);
        let trail = self.steps_taken(trail);
        if let Some(at) = &mut self.levels[level] {
            at.known.set_trail(id, trail);
        }
        if level > self.best.0 || self.best.1 == NOTHING {
            self.best = (level, trail);
        }
    }

    /// Takes the steps of the draft over into the orders; returns the last one.
    pub(super) fn steps_taken(&mut self, trail: u32) -> u32 {
        let mut trail = trail;
        for &operation in &self.draft.steps {
            self.trails.push((operation, trail));
            trail = u32::try_from(self.trails.len() - 1).expect("4 G steps are beyond any memory limit");
        }
        trail
    }

    /// Counts a step, and sees whether it is one too many.
    pub(super) fn tick(&mut self) -> Result<(), Limit> {
        self.steps += 1;
        if self.steps < self.next_look {
            return Ok(());
        }
        self.next_look = self.steps + STEPS_PER_LOOK;
        if self.steps >= self.limits.steps {
            return Err(Limit::Steps);
        }
        let bytes = self.level_bytes + self.states.bytes + 8 * (self.trails.len() + self.stack.len());
        if bytes >= self.limits.memory_bytes {
            return Err(Limit::Memory);
        }
        if self.limits.stop.load(Ordering::Relaxed) {
            return Err(Limit::Stopped);
        }
        if Instant::now() >= self.limits.deadline { Err(Limit::Time) } else { Ok(()) }
    }

    fn stuck(&self) -> Stuck {
        let (returns, trail) = self.best;
        let culprit = self.plan.levels.get(returns).map(|level| level.target as usize);
        Stuck { returns, order: self.order_of(trail), culprit }
    }

    /// The order that a step ends.
    fn order_of(&self, last: u32) -> Vec<usize> {
        let mut steps = Vec::new();
        let mut at = last;
        while at != NOTHING {
            let (operation, before) = self.trails[at as usize];
            steps.push(operation);
            at = before;
        }
        steps.reverse();
        let is_blind = |operation: u32| self.plan.classes[self.plan.class_of[operation as usize]].is_blind;
        // Each step with the place that it is put to: absorbed ones before the last blind one.
        let mut placed: Vec<(usize, bool, usize)> = Vec::with_capacity(steps.len());
        let mut last_blind = 0;
        for (place, &step) in steps.iter().enumerate() {
            let operation = step & !ABSORBED;
            if step & ABSORBED != 0 {
                placed.push((last_blind, false, operation as usize));
            } else {
                placed.push((place, true, operation as usize));
                if is_blind(operation) {
                    last_blind = place;
                }
            }
        }
        placed.sort_by_key(|&(place, is_own, _)| (place, is_own));
        placed.into_iter().map(|(.., operation)| operation).collect()
    }
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
