//! A queue: first in, first out.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::hash::Hash;

use stateright::semantics::SequentialSpec;

use crate::linear::{Model, step_of_spec};

/// What is in it, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Queue<V>(pub VecDeque<V>);

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum QueueOp<V> {
    /// To put this in. Answered by [`QueueRet::Done`].
    Enqueue(V),
    /// To take the oldest out. Answered by [`QueueRet::Taken`].
    Dequeue,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum QueueRet<V> {
    /// It was done.
    Done,
    /// The oldest; `None`: it was empty.
    Taken(Option<V>),
}

impl<V: Clone + PartialEq + Debug> SequentialSpec for Queue<V> {
    type Op = QueueOp<V>;
    type Ret = QueueRet<V>;

    fn invoke(&mut self, op: &QueueOp<V>) -> QueueRet<V> {
        match op {
            QueueOp::Enqueue(element) => {
                self.0.push_back(element.clone());
                QueueRet::Done
            }
            QueueOp::Dequeue => QueueRet::Taken(self.0.pop_front()),
        }
    }
}

impl<V: Clone + Eq + Hash + Debug> Model for Queue<V> {
    type Op = QueueOp<V>;
    type Ret = QueueRet<V>;

    fn step(&self, op: &QueueOp<V>, ret: Option<&QueueRet<V>>) -> Option<Self> {
        step_of_spec(self, op, ret)
    }

    fn is_pure(op: &QueueOp<V>, ret: Option<&QueueRet<V>>) -> bool {
        *op == QueueOp::Dequeue && ret == Some(&QueueRet::Taken(None))
    }

    fn heap_bytes(&self) -> usize {
        self.0.len() * size_of::<V>()
    }
}
