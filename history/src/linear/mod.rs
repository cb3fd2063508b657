//! Whether any order of some operations explains their answers: the search, for any model.
//!
//! * [`Model`]: the sequential thing that a history is compared with; [`Spec`] makes one of any stateright specification,
//!   [`Possible`] one of a nondeterministic thing.
//! * [`Entry`]: an operation with its times. One that never returned may take effect at any time after its call, or never.
//! * [`decide`]: the search. Just-in-time linearisation (Lowe, "Testing for linearizability", 2017): operations are put
//!   into the order only when one of them returns and must be in it. See `search`.
//! * [`replay`]: confirms an order; [`all_orders`]: decides by trying all of them, slow and simple; [`smallest_core`]: few operations
//!   that nothing explains.

mod brute;
mod classes;
mod configs;
mod core;
mod expand;
pub(crate) mod fast_hash;
mod parts;
mod plan;
mod search;
mod states;
mod tester;

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use stateright::semantics::SequentialSpec;

pub use self::brute::{all_orders, replay};
pub use self::core::{Core, smallest_core};
pub use self::parts::{Keyed, decide_in_parts};
pub use self::search::decide;
pub use self::tester::Tester;

/// What a history is compared with. A value is one state of it; the state that a history starts from is handed in.
pub trait Model: Clone + Eq + Hash {
    /// What is asked.
    type Op: Clone + Eq + Hash + Debug;
    /// What is answered.
    type Ret: Clone + Eq + Hash + Debug;

    /// The state after an operation, if this can be its answer; without an answer: if it can take effect at all.
    fn step(&self, op: &Self::Op, ret: Option<&Self::Ret>) -> Option<Self>;

    /// Whether an operation with this answer leaves every state as it is in which the answer is right. An operation that
    /// never returned and is pure with any answer is of no consequence.
    #[must_use]
    fn is_pure(_op: &Self::Op, _ret: Option<&Self::Ret>) -> bool {
        false
    }

    /// Whether an operation leaves the same state behind whatever was there, and gives the same answer.
    #[must_use]
    fn is_blind(_op: &Self::Op) -> bool {
        false
    }

    /// Whether an operation gives the same answer whatever was there, whatever it leaves behind.
    #[must_use]
    fn is_quiet(op: &Self::Op) -> bool {
        Self::is_blind(op)
    }

    /// Whether an operation that never returned can be left out, as nobody among these can have seen it: if they have an
    /// order with it, they have one without it.
    #[must_use]
    fn is_out_of_sight(_op: &Self::Op, _others: &Trace<Self>) -> bool {
        false
    }

    /// What the answers of a trace say of states; `None`: there is no telling.
    #[must_use]
    fn sights(_trace: &Trace<Self>) -> Option<Sights<Self>> {
        None
    }

    /// Whether one of these states, which ascend, is this one or can follow from it without a blind operation between.
    #[must_use]
    fn leads_to_any(&self, _states: &[Self]) -> bool {
        true
    }

    /// Bytes that a state has on the heap, for the memory budget.
    #[must_use]
    fn heap_bytes(&self) -> usize {
        0
    }
}

/// What answers say of states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sights<M> {
    /// States that some operation tells from others, ascending: which do not lead to any of these, are alike, and only quiet
    /// operations and those that deny other states can be put in there.
    pub told: Vec<M>,
    /// Those of them that some answer merely denies, ascending: it can be given in every other state.
    pub denied: Vec<M>,
}

/// Any stateright specification as a model, without the short cuts that a model of its own can offer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Spec<S>(pub S);

impl<S> Model for Spec<S>
where
    S: SequentialSpec + Clone + Eq + Hash,
    S::Op: Clone + Eq + Hash + Debug,
    S::Ret: Clone + Eq + Hash + Debug,
{
    type Op = S::Op;
    type Ret = S::Ret;

    fn step(&self, op: &S::Op, ret: Option<&S::Ret>) -> Option<Self> {
        step_of_spec(&self.0, op, ret).map(Spec)
    }
}

/// [`Model::step`] by way of a stateright specification.
pub fn step_of_spec<S: SequentialSpec + Clone>(state: &S, op: &S::Op, ret: Option<&S::Ret>) -> Option<S> {
    let mut next = state.clone();
    match ret {
        Some(ret) if !next.is_valid_step(op, ret) => None,
        Some(_) => Some(next),
        None => {
            next.invoke(op);
            Some(next)
        }
    }
}

/// A thing that may go on in several ways from one state.
pub trait Nondeterministic: Clone + Ord + Hash {
    /// What is asked.
    type Op: Clone + Eq + Hash + Debug;
    /// What is answered.
    type Ret: Clone + Eq + Hash + Debug;

    /// Every state that may follow an operation with this answer; without an answer: with any.
    fn steps(&self, op: &Self::Op, ret: Option<&Self::Ret>) -> Vec<Self>;
}

/// A nondeterministic thing as a model: the set of states that it may be in, ascending, each once, never empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Possible<N>(Vec<N>);

impl<N: Nondeterministic> Possible<N> {
    /// Surely in this state.
    pub fn surely(state: N) -> Self {
        Possible(vec![state])
    }
}

impl<N: Nondeterministic> Model for Possible<N> {
    type Op = N::Op;
    type Ret = N::Ret;

    fn step(&self, op: &N::Op, ret: Option<&N::Ret>) -> Option<Self> {
        let mut next: Vec<N> = self.0.iter().flat_map(|state| state.steps(op, ret)).collect();
        next.sort_unstable();
        next.dedup();
        (!next.is_empty()).then_some(Possible(next))
    }

    fn heap_bytes(&self) -> usize {
        self.0.len() * size_of::<N>()
    }
}

/// An operation with its times, in any unit. One that returns when another is called overlaps it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Entry<Op, Ret> {
    /// What was asked.
    pub op: Op,
    /// When.
    pub called: u64,
    /// When it returned and with what answer; `None`: it may take effect at any time after its call, or never.
    pub returned: Option<(u64, Ret)>,
}

/// The operations of a history, in any order.
pub type Trace<M> = [Entry<<M as Model>::Op, <M as Model>::Ret>];

/// Bounds of one search.
#[derive(Debug, Clone, Copy)]
pub struct Limits<'a> {
    /// Steps of the model.
    pub steps: u64,
    /// Wall time.
    pub deadline: Instant,
    /// Bytes of remembered configurations, states and orders.
    pub memory_bytes: usize,
    /// Set from outside: gives up at once.
    pub stop: &'a AtomicBool,
}

/// What came of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// An order that explains all answers, as places in the trace.
    Order(Vec<usize>),
    /// There is none.
    NoOrder(Stuck),
    /// A limit was reached.
    GaveUp(Limit, Stuck),
}

/// How far a search got.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stuck {
    /// Operations, of those that returned, up to whose returns an order was found.
    pub returns: usize,
    /// The longest such order, as places in the trace: it explains all answers given until then.
    pub order: Vec<usize>,
    /// The operation whose return no order was found for.
    pub culprit: Option<usize>,
}

/// Which limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Of steps.
    Steps,
    /// Of time.
    Time,
    /// Of memory.
    Memory,
    /// The caller's patience.
    Stopped,
}
