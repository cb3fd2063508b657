//! A set.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::Hash;

use stateright::semantics::SequentialSpec;

use crate::linear::{Model, step_of_spec};

/// The elements.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Set<V: Ord>(pub BTreeSet<V>);

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SetOp<V> {
    /// To have this element. Answered by [`SetRet::Done`].
    Add(V),
    /// To have this element no more. Answered by [`SetRet::Done`].
    Remove(V),
    /// Whether it has this element. Answered by [`SetRet::Has`].
    Contains(V),
    /// All elements, ascending. Answered by [`SetRet::All`].
    Read,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SetRet<V> {
    /// It was done.
    Done,
    /// Whether the element was there.
    Has(bool),
    /// All elements, ascending.
    All(Vec<V>),
}

impl<V: Clone + Ord + Debug> SequentialSpec for Set<V> {
    type Op = SetOp<V>;
    type Ret = SetRet<V>;

    fn invoke(&mut self, op: &SetOp<V>) -> SetRet<V> {
        match op {
            SetOp::Add(element) => {
                self.0.insert(element.clone());
                SetRet::Done
            }
            SetOp::Remove(element) => {
                self.0.remove(element);
                SetRet::Done
            }
            SetOp::Contains(element) => SetRet::Has(self.0.contains(element)),
            SetOp::Read => SetRet::All(self.0.iter().cloned().collect()),
        }
    }
}

impl<V: Clone + Ord + Hash + Debug> Model for Set<V> {
    type Op = SetOp<V>;
    type Ret = SetRet<V>;

    fn step(&self, op: &SetOp<V>, ret: Option<&SetRet<V>>) -> Option<Self> {
        step_of_spec(self, op, ret)
    }

    fn is_pure(op: &SetOp<V>, _ret: Option<&SetRet<V>>) -> bool {
        matches!(op, SetOp::Contains(_) | SetOp::Read)
    }

    fn heap_bytes(&self) -> usize {
        self.0.len() * 2 * size_of::<V>()
    }
}
