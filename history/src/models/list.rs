//! A list that grows at its end.

use std::fmt::Debug;
use std::hash::Hash;

use stateright::semantics::SequentialSpec;

use crate::linear::{Model, Trace, step_of_spec};

/// The elements, in the order in which they were appended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct List<V>(pub Vec<V>);

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ListOp<V> {
    /// All elements. Answered by [`ListRet::All`].
    Read,
    /// One more. Answered by [`ListRet::Done`].
    Append(V),
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ListRet<V> {
    /// All elements.
    All(Vec<V>),
    /// It was done.
    Done,
}

impl<V: Clone + PartialEq + Debug> SequentialSpec for List<V> {
    type Op = ListOp<V>;
    type Ret = ListRet<V>;

    fn invoke(&mut self, op: &ListOp<V>) -> ListRet<V> {
        match op {
            ListOp::Read => ListRet::All(self.0.clone()),
            ListOp::Append(element) => {
                self.0.push(element.clone());
                ListRet::Done
            }
        }
    }
}

impl<V: Clone + Eq + Hash + Debug> Model for List<V> {
    type Op = ListOp<V>;
    type Ret = ListRet<V>;

    fn step(&self, op: &ListOp<V>, ret: Option<&ListRet<V>>) -> Option<Self> {
        step_of_spec(self, op, ret)
    }

    fn is_pure(op: &ListOp<V>, _ret: Option<&ListRet<V>>) -> bool {
        *op == ListOp::Read
    }

    /// An element that no answer shows stands in every later state, so no answered read comes behind it.
    fn is_out_of_sight(op: &ListOp<V>, others: &Trace<Self>) -> bool {
        let ListOp::Append(element) = op else { return true };
        !others
            .iter()
            .any(|other| matches!(&other.returned, Some((_, ListRet::All(seen))) if seen.contains(element)))
    }

    fn heap_bytes(&self) -> usize {
        self.0.len() * size_of::<V>()
    }
}
