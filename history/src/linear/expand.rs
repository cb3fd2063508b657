//! From one configuration of a level to those that follow by one more operation.
//!
//! What need not be tried, and why nothing is lost (the agreement tests hold all of it against every order):
//! * A **pure** operation is put in at once when its answer is right: in any order that has it later it can be moved
//!   here, since it changes nothing there and nothing here.
//! * Of optional operations that ask the same, the first called is used first (see `plan`). One that **changes nothing** here is
//!   not used: without it the order is as good. (Unless it is blind, and others could hide behind it that cannot yet:
//!   without this exception one history of 56,000 was judged wrongly.)
//! * An optional operation is not used when it leaves behind a state of **no use** ([`Sights`](super::Sights)): up to the next
//!   blind one nothing but quiet operations and answers that merely deny other states come behind it, and all of those could
//!   be put in without it. A quiet one that is not optional is then put in only when it is the one that returns: it can as well
//!   come behind those, and right before the blind one it is absorbed.
//! * A blind operation **right behind a quiet one that nobody made use of** is not tried: if that one is optional, the order
//!   without it is as good; if not, the order without it leaves it absorbable, and that covers having it done.
//! * Nothing is put in before its time: an operation that is neither the one that returns here nor needed before it comes later.
//! * Configurations that others **cover** (see `configs`).

use super::configs::Shape;
use super::plan::{NONE, slots_of};
use super::search::{ABSORBED, Search};
use super::{Limit, Model};

/// A configuration that is looked at.
pub(super) struct Node {
    pub(super) level: usize,
    pub(super) config: Vec<u64>,
    /// The last step of its order.
    pub(super) trail: u32,
    /// Whether its last step was a quiet operation that nobody made use of.
    pub(super) is_idle: bool,
}

/// The configuration that is being made, and its steps since the node that it is made from.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) config: Vec<u64>,
    pub(super) steps: Vec<u32>,
}

/// What may come next: its place in the order of the calls, the operation, and its optional class if it is of one.
pub(super) type Choice = (u32, u32, Option<usize>);

impl<M: Model> Search<'_, M> {
    /// Everything that may come next. Those that were called first are put in last, as the newest configurations are looked at
    /// first: operations mostly take effect in the order of their calls, also those that never returned. Returns the last step of
    /// an order of all operations, if one was found.
    pub(super) fn expand(&mut self, node: &Node) -> Result<Option<u32>, Limit> {
        self.window.move_to(self.plan, node.level);
        let mut choices = std::mem::take(&mut self.choices);
        for optional in 0..self.plan.optional_at(node.level) {
            let used = self.shape.count_used(&node.config, optional);
            let member = self.plan.optional[optional].members.get(used);
            if let Some(&(_, operation)) = member.filter(|(first, _)| *first <= node.level) {
                choices.push((self.plan.rank_of[operation as usize], operation, Some(optional)));
            }
        }
        let done = self.shape.done(&node.config);
        let pending = self.window.other_slots.iter().zip(done).map(|(others, done)| others & !done);
        for slot in slots_of(pending) {
            let operation = self.window.operation[slot];
            choices.push((self.plan.rank_of[operation as usize], operation, None));
        }
        choices.sort_unstable_by(|one, other| other.cmp(one));
        for (_, operation, optional) in choices.drain(..) {
            if let Some(found) = self.put_in(node, operation, optional)? {
                return Ok(Some(found));
            }
        }
        self.choices = choices;
        Ok(None)
    }

    /// Puts one more operation in.
    fn put_in(&mut self, node: &Node, operation: u32, optional: Option<usize>) -> Result<Option<u32>, Limit> {
        let class = self.plan.class_of[operation as usize];
        let (is_blind, is_quiet) = (self.plan.classes[class].is_blind, self.plan.classes[class].is_quiet);
        if is_blind && node.is_idle {
            return Ok(None);
        }
        self.tick()?;
        let state = Shape::state(&node.config);
        let Some(next) = self.states.step(state, class, self.plan.classes) else { return Ok(None) };
        if optional.is_some() && next == state && !(is_blind && self.hides_more(&node.config)) {
            return Ok(None);
        }
        let is_due = operation == self.plan.levels[node.level].target;
        if (optional.is_some() || is_quiet && !is_due) && self.states.is_of_no_use(state, next) {
            return Ok(None);
        }
        self.draft.config.clear();
        self.draft.config.extend_from_slice(&node.config);
        self.draft.config[0] = u64::from(next);
        self.draft.steps.clear();
        self.draft.steps.push(operation);
        match optional {
            Some(optional) => self.shape.use_one(&mut self.draft.config, optional),
            None => self.shape.set_done(&mut self.draft.config, self.plan.slot_of[operation as usize]),
        }
        if is_blind {
            self.shape.absorb(&mut self.draft.config, &self.window.quiet_slots);
        }
        if next != state {
            self.settle_all()?;
        }
        let slot = self.plan.slot_of[self.plan.levels[node.level].target as usize];
        if self.shape.is_done(&self.draft.config, slot) {
            self.shape.clear(&mut self.draft.config, slot);
            return self.arrive(node.level + 1, node.trail);
        }
        let is_idle = is_quiet && self.draft.steps.len() == 1;
        self.keep(node.level, node.trail, is_idle);
        Ok(None)
    }

    /// The draft comes to a level: what was called since the level before may be put in, and the operation that returns may be
    /// in the order already. Returns the last step of an order of all operations, if the draft has them all.
    pub(super) fn arrive(&mut self, level: usize, trail: u32) -> Result<Option<u32>, Limit> {
        let plan = self.plan;
        for level in level..plan.levels.len() {
            for &operation in &plan.calls[plan.calls_begin(level)..plan.levels[level].calls_end] {
                if plan.classes[plan.class_of[operation as usize]].is_pure {
                    self.settle(operation)?;
                }
            }
            let target = plan.levels[level].target;
            let slot = plan.slot_of[target as usize];
            let is_done = self.shape.is_done(&self.draft.config, slot);
            if !is_done {
                self.keep(level, trail, false);
                if !self.shape.is_absorbable(&self.draft.config, slot) {
                    return Ok(None);
                }
                // It may also have been right before the last blind one, where nobody saw it.
                self.draft.steps.push(target | ABSORBED);
            }
            self.shape.clear(&mut self.draft.config, slot);
        }
        Ok(Some(self.steps_taken(trail)))
    }

    /// Puts a pure operation into the draft, if its answer is right there.
    fn settle(&mut self, operation: u32) -> Result<(), Limit> {
        self.tick()?;
        let state = Shape::state(&self.draft.config);
        let class = self.plan.class_of[operation as usize];
        if self.states.step(state, class, self.plan.classes).is_some() {
            self.shape.set_done(&mut self.draft.config, self.plan.slot_of[operation as usize]);
            self.draft.steps.push(operation);
        }
        Ok(())
    }

    /// Whether a blind operation would make one absorbable that is not.
    fn hides_more(&self, config: &[u64]) -> bool {
        let (done, absorbable) = (self.shape.done(config), self.shape.absorbable(config));
        let slots = self.window.quiet_slots.iter().zip(done).zip(absorbable);
        slots.into_iter().any(|((slots, done), absorbable)| slots & !done & !absorbable != 0)
    }

    /// Puts every pending pure operation into the draft whose answer is right there.
    fn settle_all(&mut self) -> Result<(), Limit> {
        for word in 0..self.shape.words {
            let pending = self.window.pure_slots[word] & !self.shape.done(&self.draft.config)[word];
            for bit in slots_of([pending]) {
                let operation = self.window.operation[word * 64 + bit];
                assert!(operation != NONE, "a slot that is taken has an operation");
                self.settle(operation)?;
            }
        }
        Ok(())
    }
}
