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

use super::{Decision, Entry, Limits, Model, Trace, decide};

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

/// A core of a trace that no order explains: none of its operations can be spared. `None` when the whole has an order,
/// or when the limits end before that is known; when they end later, the core is larger than need be.
pub fn smallest_core<M: Model>(initial: &M, trace: &Trace<M>, limits: &Limits<'_>) -> Option<Core> {
    let mut steps_left = limits.steps;
    let mut decide = |trace: &Trace<M>| {
        let (decision, steps) = decide(initial, trace, &Limits { steps: steps_left, ..*limits });
        steps_left = steps_left.saturating_sub(steps);
        decision
    };
    let Decision::NoOrder(stuck) = decide(trace) else { return None };
    let (reached, _) = trace[stuck.culprit?].returned.as_ref()?;
    let mut fails = |core: &Core| matches!(decide(&core.trace::<M>(trace)), Decision::NoOrder(_));
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
    loop {
        let entries = core.trace::<M>(trace);
        let place = core.open.iter().position(|&at| M::is_out_of_sight(&trace[at].op, &entries));
        let Some(place) = place else { return };
        core.open.remove(place);
    }
}
