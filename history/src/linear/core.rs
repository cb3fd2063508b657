//! Few operations that nothing explains, out of many.
//!
//! A step towards them is only taken where it keeps every explanation that there might be: if the operations before it had
//! an order, those after it would have one. So that what is left has none proves that the whole has none. (Merely deleting a
//! write would not do: it would turn whoever read it into a fault.) The steps:
//! * leave out what was **called after** a moment and forget the returns after it: an order of all, cut before the first one
//!   called later, explains the rest;
//! * leave out a **pure** operation: it changes nothing;
//! * **forget a return**, so that the operation may take effect at any time from its call on, or never: it still may when it did;
//! * leave out an operation without a return that **nobody can have seen** ([`Model::is_out_of_sight`]).

use super::classes::{Classes, Member};
use super::search::search;
use super::states::States;
use super::{Decision, Entry, Limits, Model, Trace};

/// Few operations that nothing explains.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Core {
    /// Those whose answers contradict each other, as places in the trace, by ascending call.
    pub answered: Vec<usize>,
    /// Those that may have taken effect beside them, at any time from their calls on.
    pub open: Vec<usize>,
}

impl Core {
    /// The operations as the proof sees them.
    pub fn trace<M: Model>(&self, trace: &Trace<M>) -> Vec<Entry<M::Op, M::Ret>> {
        let answered = self.answered.iter().map(|&at| trace[at].clone());
        answered.chain(self.open.iter().map(|&at| Entry { returned: None, ..trace[at].clone() })).collect()
    }
}

/// Searches of parts of one trace, which share its classes and states.
struct Trials<'a, M: Model> {
    classes: Classes<'a, M>,
    /// The operations of the trace, and their classes without their returns.
    members: Vec<Member>,
    open: Vec<usize>,
    states: States<M>,
    limits: Limits<'a>,
}

impl<'a, M: Model> Trials<'a, M> {
    fn new(initial: &'a M, trace: &'a Trace<M>, limits: &Limits<'a>) -> Self {
        let (mut classes, members) = Classes::of(initial, trace);
        let open = trace.iter().map(|entry| classes.number(&entry.op, None)).collect();
        Trials { classes, members, open, states: States::new(initial, trace), limits: *limits }
    }

    fn decide(&mut self, members: &[Member]) -> Decision {
        let (decision, steps) = search(&self.classes.all, members, &mut self.states, &self.limits);
        self.limits.steps = self.limits.steps.saturating_sub(steps);
        decision
    }

    fn fails(&mut self, core: &Core) -> bool {
        let answered = core.answered.iter().map(|&at| self.members[at]);
        let is_open = |&at: &usize| Member { class: self.open[at], returned: None, ..self.members[at] };
        let members: Vec<Member> = answered.chain(core.open.iter().map(is_open)).collect();
        matches!(self.decide(&members), Decision::NoOrder(_))
    }
}

/// A core of a trace that no order explains: none of its operations can be spared. `None` when the whole has an order,
/// or when the limits end before that is known; when they end later, the core is larger than need be.
pub fn smallest_core<M: Model>(initial: &M, trace: &Trace<M>, limits: &Limits<'_>) -> Option<Core> {
    let mut trials = Trials::new(initial, trace, limits);
    let whole = trials.members.clone();
    let Decision::NoOrder(stuck) = trials.decide(&whole) else { return None };
    let (reached, _) = trace[stuck.culprit?].returned.as_ref()?;
    let mut fails = |core: &Core| trials.fails(core);
    // What was called before the culprit returned mostly fails already; where an answer is needed that was given only later,
    // halving finds the first return by which there is no order.
    let mut ends: Vec<u64> = trace.iter().filter_map(|entry| Some(entry.returned.as_ref()?.0)).collect();
    ends.retain(|end| end >= reached);
    ends.sort_unstable();
    let (mut low, mut high) = (0, ends.len() - 1);
    let mut middle = 0;
    while low < high {
        if fails(&until::<M>(trace, ends[middle])) {
            high = middle;
        } else {
            low = middle + 1;
        }
        middle = usize::midpoint(low, high);
    }
    let mut core = until::<M>(trace, ends[low]);
    if !fails(&core) {
        return None;
    }
    // In halves at first, so that a long history is short after few searches; then one by one, until nothing more goes.
    let mut size = core.answered.len().div_ceil(2).max(1);
    loop {
        let mut has_shrunk = false;
        let mut begin = 0;
        while begin < core.answered.len() {
            let mut smaller = core.clone();
            let end = (begin + size).min(smaller.answered.len());
            let gone: Vec<usize> = smaller.answered.drain(begin..end).collect();
            smaller.open.extend(gone.into_iter().filter(|&at| {
                let ret = trace[at].returned.as_ref().map(|(_, ret)| ret);
                !M::is_pure(&trace[at].op, ret)
            }));
            leave_out_unseen::<M>(&mut smaller, trace);
            if fails(&smaller) {
                core = smaller;
                has_shrunk = true;
            } else {
                begin = end;
            }
        }
        match size {
            1 if !has_shrunk => break,
            1 => {}
            _ => size = size.div_ceil(2),
        }
    }
    core.open.sort_by_key(|&at| trace[at].called);
    Some(core)
}

/// What was called until a moment, with the returns until then.
fn until<M: Model>(trace: &Trace<M>, end: u64) -> Core {
    let has_returned = |at: &usize| trace[*at].returned.as_ref().is_some_and(|(time, _)| *time <= end);
    let mut called: Vec<usize> = (0..trace.len()).filter(|&at| trace[at].called <= end).collect();
    called.sort_by_key(|&at| trace[at].called);
    let (answered, open) = called.into_iter().partition(has_returned);
    let mut core = Core { answered, open };
    leave_out_unseen::<M>(&mut core, trace);
    core
}

fn leave_out_unseen<M: Model>(core: &mut Core, trace: &Trace<M>) {
    let mut entries = core.trace::<M>(trace);
    loop {
        let place = core.open.iter().position(|&at| M::is_out_of_sight(&trace[at].op, &entries));
        let Some(place) = place else { return };
        core.open.remove(place);
        entries.remove(core.answered.len() + place);
    }
}
