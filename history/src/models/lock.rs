//! A lock that one client holds at a time, with fencing tokens that grow.

use stateright::semantics::SequentialSpec;

use crate::linear::{Model, step_of_spec};

/// Who holds it, and the newest token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Lock {
    /// Who holds it.
    pub holder: Option<u32>,
    /// At least so large is the newest token.
    pub token: u64,
}

/// What a client asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LockOp {
    /// To hold it from now on. Answered by [`LockRet::Granted`], [`LockRet::Done`] where there are no tokens, or
    /// [`LockRet::Refused`] when somebody holds it, be it the same client.
    Acquire(u32),
    /// To hold it no more. Answered by [`LockRet::Done`], or by [`LockRet::Refused`] when the client does not hold it.
    Release(u32),
}

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LockRet {
    /// It is held now, with a token larger than all before.
    Granted(u64),
    /// It was done.
    Done,
    /// It was not to be.
    Refused,
}

impl SequentialSpec for Lock {
    type Op = LockOp;
    type Ret = LockRet;

    fn invoke(&mut self, op: &LockOp) -> LockRet {
        match op {
            LockOp::Acquire(client) if self.holder.is_none() => {
                self.holder = Some(*client);
                self.token += 1;
                LockRet::Granted(self.token)
            }
            LockOp::Release(client) if self.holder == Some(*client) => {
                self.holder = None;
                LockRet::Done
            }
            LockOp::Acquire(_) | LockOp::Release(_) => LockRet::Refused,
        }
    }

    fn is_valid_step(&mut self, op: &LockOp, ret: &LockRet) -> bool {
        match (op, self.invoke(op), ret) {
            // Tokens need not be the next ones. Where an answer shows none, the smallest leaves all ways open.
            (LockOp::Acquire(_), LockRet::Granted(smallest), LockRet::Granted(token)) => {
                self.token = *token;
                *token >= smallest
            }
            (LockOp::Acquire(_), LockRet::Granted(_), LockRet::Done) => true,
            (_, truth, ret) => truth == *ret,
        }
    }
}

impl Model for Lock {
    type Op = LockOp;
    type Ret = LockRet;

    fn step(&self, op: &LockOp, ret: Option<&LockRet>) -> Option<Self> {
        step_of_spec(self, op, ret)
    }

    fn is_pure(_op: &LockOp, ret: Option<&LockRet>) -> bool {
        ret == Some(&LockRet::Refused)
    }
}
