//! A register: read, write, compare-and-set.

use std::fmt::Debug;
use std::hash::Hash;

use stateright::semantics::SequentialSpec;

use crate::linear::{Model, Trace, step_of_spec};

/// Holds one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Register<V>(pub V);

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RegisterOp<V> {
    /// The value. Answered by [`RegisterRet::Value`].
    Read,
    /// To hold this value. Answered by [`RegisterRet::Done`].
    Write(V),
    /// To hold the second value if it holds the first. Answered by [`RegisterRet::Done`], or else by
    /// [`RegisterRet::Refused`].
    Cas(V, V),
}

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RegisterRet<V> {
    /// The value that it holds.
    Value(V),
    /// It was done.
    Done,
    /// It held something else.
    Refused,
}

impl<V: Clone + PartialEq + Debug> SequentialSpec for Register<V> {
    type Op = RegisterOp<V>;
    type Ret = RegisterRet<V>;

    fn invoke(&mut self, op: &RegisterOp<V>) -> RegisterRet<V> {
        match op {
            RegisterOp::Read => RegisterRet::Value(self.0.clone()),
            RegisterOp::Cas(expected, _) if *expected != self.0 => RegisterRet::Refused,
            RegisterOp::Write(new) | RegisterOp::Cas(_, new) => {
                self.0 = new.clone();
                RegisterRet::Done
            }
        }
    }
}

impl<V: Clone + Eq + Hash + Debug> Model for Register<V> {
    type Op = RegisterOp<V>;
    type Ret = RegisterRet<V>;

    fn step(&self, op: &RegisterOp<V>, ret: Option<&RegisterRet<V>>) -> Option<Self> {
        step_of_spec(self, op, ret)
    }

    fn is_pure(op: &RegisterOp<V>, ret: Option<&RegisterRet<V>>) -> bool {
        match op {
            RegisterOp::Read => true,
            RegisterOp::Write(_) => false,
            RegisterOp::Cas(expected, new) => expected == new || ret == Some(&RegisterRet::Refused),
        }
    }

    fn is_blind(op: &RegisterOp<V>) -> bool {
        matches!(op, RegisterOp::Write(_))
    }

    /// Whatever stands behind such a write, or compare-and-set, cannot look: it would have to show the value.
    fn is_out_of_sight(op: &RegisterOp<V>, others: &Trace<Self>) -> bool {
        let (RegisterOp::Write(new) | RegisterOp::Cas(_, new)) = op else { return true };
        !others.iter().any(|other| match (&other.op, &other.returned) {
            (RegisterOp::Read, Some((_, RegisterRet::Value(seen)))) => seen == new,
            (RegisterOp::Cas(..), Some((_, RegisterRet::Refused))) => true,
            (RegisterOp::Cas(expected, _), _) => expected == new,
            (RegisterOp::Read | RegisterOp::Write(_), _) => false,
        })
    }
}
