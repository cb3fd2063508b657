//! From one configuration of a level to all that follow: the operation that returns there is put into the order, and before it
//! whichever others it takes.
//!
//! What need not be tried, and why nothing is lost (the agreement tests hold all of it against every order):
//! * A **pure** operation is put in at once when its answer is right: in any order that has it later it can be moved
//!   here, since it changes nothing there and nothing here.
//! * Of optional operations that ask the same, the first called is used first (see `plan`). One that **changes nothing** here is
//!   not used: without it the order is as good. (Unless it is blind, and others could hide behind it that cannot yet:
//!   without this exception one history of 56,000 was judged wrongly.)
//! * A blind operation **right behind a blind one that nobody made use of** is not tried: if that one is optional, the order
//!   without it is as good; if not, the order without it leaves it absorbable, and that covers having it done.
//! * Configurations that others **cover** (see `configs`).

use super::configs::{Configs, NOTHING, Shape};
use super::plan::{NONE, slots_of};
use super::search::{ABSORBED, Search};
use super::{Limit, Model};

/// What one expansion works with; kept to spare allocations.
#[derive(Default)]
pub(super) struct Scratch {
    /// What was reached on the way.
    known: Configs,
    todo: Vec<u32>,
    /// Steps of this expansion: what was put in, and the step before it.
    steps: Vec<(u32, u32)>,
    /// The configuration at hand.
    config: Vec<u64>,
    /// Those that leave the level, one behind the other, each with its end and its last step.
    left: Vec<u64>,
    ends: Vec<(usize, u32)>,
    /// The order before this expansion.
    trail: u32,
}

impl Scratch {
    pub(super) fn begin(&mut self, config: &[u64], trail: u32) {
        self.known.clear();
        self.todo.clear();
        self.steps.clear();
        self.left.clear();
        self.ends.clear();
        self.config.clear();
        self.config.extend_from_slice(config);
        self.trail = trail;
    }

    fn bytes(&self) -> usize {
        self.known.bytes() + 8 * (self.steps.len() + self.left.len())
    }

    fn step(&mut self, operation: u32, before: u32) -> u32 {
        self.steps.push((operation, before));
        u32::try_from(self.steps.len() - 1).expect("4 G steps are beyond any memory limit")
    }

    /// The configurations that leave the level, those that use most first, each with its last step.
    pub(super) fn leaving(&self, shape: Shape) -> Vec<(&[u64], u32)> {
        let begins = std::iter::once(0).chain(self.ends.iter().map(|&(end, _)| end));
        let mut leaving: Vec<(&[u64], u32)> =
            begins.zip(&self.ends).map(|(begin, &(end, step))| (&self.left[begin..end], step)).collect();
        // The one that was found first comes last among equals.
        leaving.reverse();
        leaving.sort_by_key(|(config, _)| std::cmp::Reverse(shape.used_total(config)));
        leaving
    }

    /// Takes the steps up to this one over into the orders of the search.
    pub(super) fn keep(&self, last: u32, trails: &mut Vec<(u32, u32)>) -> u32 {
        let mut path = Vec::new();
        let mut at = last;
        while at != NOTHING {
            let (operation, before) = self.steps[at as usize];
            path.push(operation);
            at = before;
        }
        let mut trail = self.trail;
        for operation in path.into_iter().rev() {
            trails.push((operation, trail));
            trail = u32::try_from(trails.len() - 1).expect("4 G steps are beyond any memory limit");
        }
        trail
    }

    fn leave(&mut self, shape: Shape, slot: usize, last: u32) {
        let begin = self.left.len();
        self.left.extend_from_slice(&self.config);
        shape.clear(&mut self.left[begin..], slot);
        self.ends.push((self.left.len(), last));
    }
}

impl<M: Model> Search<'_, M> {
    /// Fills `scratch` with all that follows from the configuration in it.
    pub(super) fn expand(&mut self, level: usize, scratch: &mut Scratch) -> Result<(), Limit> {
        self.window.move_to(self.plan, level);
        let target = self.plan.levels[level].target;
        let slot = self.plan.slot_of[target as usize];
        // What was called since the level before.
        let new = &self.plan.calls[self.plan.calls_begin(level)..self.plan.levels[level].calls_end];
        let mut last = NOTHING;
        for &operation in new {
            if self.plan.classes[self.plan.class_of[operation as usize]].is_pure {
                last = self.settle(scratch, operation, last)?;
            }
        }
        if self.shape.is_done(&scratch.config, slot) {
            scratch.leave(self.shape, slot, last);
            return Ok(());
        }
        if self.shape.is_absorbable(&scratch.config, slot) {
            let step = scratch.step(target | ABSORBED, last);
            scratch.leave(self.shape, slot, step);
        }
        self.reach(scratch, false, last);
        while let Some(id) = scratch.todo.pop() {
            if !scratch.known.is_covered(id) {
                self.go_on(scratch, level, slot, id)?;
            }
        }
        Ok(())
    }

    /// Puts a pure operation in, if its answer is right here.
    fn settle(&mut self, scratch: &mut Scratch, operation: u32, last: u32) -> Result<u32, Limit> {
        self.tick(scratch.bytes())?;
        let state = Shape::state(&scratch.config);
        let class = self.plan.class_of[operation as usize];
        if self.states.step(state, class, &self.plan.classes).is_none() {
            return Ok(last);
        }
        self.shape.set_done(&mut scratch.config, self.plan.slot_of[operation as usize]);
        Ok(scratch.step(operation, last))
    }

    fn reach(&self, scratch: &mut Scratch, is_idle: bool, last: u32) {
        if let Some(id) = scratch.known.insert(self.shape, &scratch.config, is_idle) {
            scratch.known.set_trail(id, last);
            scratch.todo.push(id);
        }
    }

    /// Everything that may come next.
    fn go_on(&mut self, scratch: &mut Scratch, level: usize, slot: usize, id: u32) -> Result<(), Limit> {
        let pending: Vec<usize> = {
            let done = self.shape.done(scratch.known.config(id));
            slots_of(self.window.other_slots.iter().zip(done).map(|(others, done)| others & !done)).collect()
        };
        for optional in 0..self.plan.optional_at(level) {
            let used = self.shape.count_used(scratch.known.config(id), optional);
            let members = &self.plan.optional[optional].members;
            if let Some(&(_, operation)) = members.get(used).filter(|(first, _)| *first <= level) {
                self.put_in(scratch, id, operation, Some(optional), slot)?;
            }
        }
        for other in pending {
            self.put_in(scratch, id, self.window.operation[other], None, slot)?;
        }
        Ok(())
    }

    /// Puts one more operation in behind what led to `id`.
    fn put_in(
        &mut self,
        scratch: &mut Scratch,
        id: u32,
        operation: u32,
        optional: Option<usize>,
        slot: usize,
    ) -> Result<(), Limit> {
        let class = self.plan.class_of[operation as usize];
        let is_blind = self.plan.classes[class].is_blind;
        if is_blind && scratch.known.is_idle(id) {
            return Ok(());
        }
        self.tick(scratch.bytes())?;
        let state = Shape::state(scratch.known.config(id));
        let Some(next) = self.states.step(state, class, &self.plan.classes) else { return Ok(()) };
        if optional.is_some() && next == state && !(is_blind && self.hides_more(scratch.known.config(id))) {
            return Ok(());
        }
        scratch.config.clear();
        scratch.config.extend_from_slice(scratch.known.config(id));
        scratch.config[0] = u64::from(next);
        match optional {
            Some(optional) => self.shape.use_one(&mut scratch.config, optional),
            None => self.shape.set_done(&mut scratch.config, self.plan.slot_of[operation as usize]),
        }
        if is_blind {
            self.shape.absorb(&mut scratch.config, &self.window.blind_slots);
        }
        let own = scratch.step(operation, scratch.known.trail(id));
        let last = if next == state { own } else { self.settle_all(scratch, own)? };
        if self.shape.is_done(&scratch.config, slot) {
            scratch.leave(self.shape, slot, last);
        } else {
            self.reach(scratch, is_blind && last == own, last);
        }
        Ok(())
    }

    /// Whether a blind operation would make one absorbable that is not.
    fn hides_more(&self, config: &[u64]) -> bool {
        let (done, absorbable) = (self.shape.done(config), self.shape.absorbable(config));
        let slots = self.window.blind_slots.iter().zip(done).zip(absorbable);
        slots.into_iter().any(|((slots, done), absorbable)| slots & !done & !absorbable != 0)
    }

    /// Puts every pending pure operation in whose answer is right here.
    fn settle_all(&mut self, scratch: &mut Scratch, last: u32) -> Result<u32, Limit> {
        let mut last = last;
        for word in 0..self.shape.words {
            let pending = self.window.pure_slots[word] & !self.shape.done(&scratch.config)[word];
            for bit in slots_of([pending]) {
                let operation = self.window.operation[word * 64 + bit];
                assert!(operation != NONE, "a slot that is taken has an operation");
                last = self.settle(scratch, operation, last)?;
            }
        }
        Ok(last)
    }
}
