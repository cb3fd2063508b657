//! A counter.

use stateright::semantics::SequentialSpec;

use crate::linear::{Model, step_of_spec};

/// The sum so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Counter(pub i64);

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CounterOp {
    /// To add this. Answered by [`CounterRet::Done`].
    Add(i64),
    /// The sum. Answered by [`CounterRet::Sum`].
    Read,
}

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CounterRet {
    /// It was done.
    Done,
    /// The sum.
    Sum(i64),
}

impl SequentialSpec for Counter {
    type Op = CounterOp;
    type Ret = CounterRet;

    fn invoke(&mut self, op: &CounterOp) -> CounterRet {
        match op {
            CounterOp::Add(amount) => {
                self.0 = self.0.wrapping_add(*amount);
                CounterRet::Done
            }
            CounterOp::Read => CounterRet::Sum(self.0),
        }
    }
}

impl Model for Counter {
    type Op = CounterOp;
    type Ret = CounterRet;

    fn step(&self, op: &CounterOp, ret: Option<&CounterRet>) -> Option<Self> {
        step_of_spec(self, op, ret)
    }

    fn is_pure(op: &CounterOp, _ret: Option<&CounterRet>) -> bool {
        matches!(op, CounterOp::Read | CounterOp::Add(0))
    }
}
