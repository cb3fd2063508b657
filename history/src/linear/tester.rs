//! The search behind stateright's interface: put it in place of `LinearizabilityTester`.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use stateright::semantics::{ConsistencyTester, SequentialSpec};

use super::{Decision, Entry, Limits, Spec, decide};

/// What was asked, and what was answered if it was, in the order of effect.
pub type Serialized<S> = Vec<(<S as SequentialSpec>::Op, Option<<S as SequentialSpec>::Ret>)>;

/// Collects what threads ask and are answered, and decides whether it is linearizable.
///
/// As with stateright's own tester a thread has one operation open at a time, and one that never returns may take effect or
/// not. A thread that asks while it waits, or is answered unasked, makes the history ill-formed: an error, and never consistent
/// from then on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tester<T, S: SequentialSpec>
where
    S::Op: Hash + Eq,
    S::Ret: Hash + Eq,
{
    initial: S,
    entries: Vec<Entry<S::Op, S::Ret>>,
    /// Who waits for what.
    open: Vec<(T, usize)>,
    clock: u64,
    is_well_formed: bool,
}

impl<T, S: SequentialSpec> Tester<T, S>
where
    S: Clone + Eq + Hash,
    S::Op: Clone + Eq + Hash + Debug,
    S::Ret: Clone + Eq + Hash + Debug,
{
    /// Of an object in this state.
    pub fn new(initial: S) -> Self {
        Tester { initial, entries: Vec::new(), open: Vec::new(), clock: 0, is_well_formed: true }
    }

    /// How many operations were asked for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing was asked for yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// An order that explains all answers, if there is one: what was asked, and what was answered if it was.
    #[must_use]
    pub fn serialized_history(&self) -> Option<Serialized<S>> {
        let stop = AtomicBool::new(false);
        let deadline = Instant::now() + Duration::from_secs(365 * 24 * 3600);
        let limits = Limits { steps: u64::MAX, deadline, memory_bytes: usize::MAX, stop: &stop };
        let decision =
            self.is_well_formed.then(|| decide(&Spec(self.initial.clone()), &self.entries, &limits).0);
        let Some(Decision::Order(order)) = decision else { return None };
        let entries = order.into_iter().map(|at| &self.entries[at]);
        Some(entries.map(|entry| (entry.op.clone(), entry.returned.clone().map(|(_, ret)| ret))).collect())
    }
}

impl<T, S> ConsistencyTester<T, S> for Tester<T, S>
where
    T: Copy + PartialEq + Debug,
    S: SequentialSpec + Clone + Eq + Hash,
    S::Op: Clone + Eq + Hash + Debug,
    S::Ret: Clone + Eq + Hash + Debug,
{
    fn on_invoke(&mut self, thread: T, op: S::Op) -> Result<&mut Self, String> {
        if let Some((_, at)) = self.open.iter().find(|(other, _)| *other == thread) {
            self.is_well_formed = false;
            return Err(format!("{thread:?} asks {op:?} while it waits for {:?}", self.entries[*at].op));
        }
        self.open.push((thread, self.entries.len()));
        self.clock += 1;
        self.entries.push(Entry { op, called: self.clock, returned: None });
        Ok(self)
    }

    fn on_return(&mut self, thread: T, ret: S::Ret) -> Result<&mut Self, String> {
        let Some(place) = self.open.iter().position(|(other, _)| *other == thread) else {
            self.is_well_formed = false;
            return Err(format!("{thread:?} is answered {ret:?}, but asked nothing"));
        };
        let (_, at) = self.open.remove(place);
        self.clock += 1;
        self.entries[at].returned = Some((self.clock, ret));
        Ok(self)
    }

    fn is_consistent(&self) -> bool {
        self.serialized_history().is_some()
    }
}
