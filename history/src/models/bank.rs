//! A bank: money moves between accounts, and none is made or lost.

use stateright::semantics::SequentialSpec;

use crate::linear::{Model, step_of_spec};

/// What is on each account.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Bank(pub Vec<u64>);

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BankOp {
    /// To move money. Answered by [`BankRet::Done`], or by [`BankRet::Refused`] when there is too little or no such
    /// account.
    Transfer {
        /// The account that it is taken from.
        from: usize,
        /// The account that it is given to.
        to: usize,
        /// How much.
        amount: u64,
    },
    /// What is on each account. Answered by [`BankRet::Balances`].
    Read,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BankRet {
    /// It was done.
    Done,
    /// It was not to be.
    Refused,
    /// What is on each account.
    Balances(Vec<u64>),
}

impl SequentialSpec for Bank {
    type Op = BankOp;
    type Ret = BankRet;

    fn invoke(&mut self, op: &BankOp) -> BankRet {
        match *op {
            BankOp::Read => BankRet::Balances(self.0.clone()),
            BankOp::Transfer { from, to, amount } => {
                let rest = self.0.get(from).and_then(|balance| balance.checked_sub(amount));
                match rest {
                    Some(rest) if to < self.0.len() => {
                        self.0[from] = rest;
                        self.0[to] += amount;
                        BankRet::Done
                    }
                    Some(_) | None => BankRet::Refused,
                }
            }
        }
    }
}

impl Model for Bank {
    type Op = BankOp;
    type Ret = BankRet;

    fn step(&self, op: &BankOp, ret: Option<&BankRet>) -> Option<Self> {
        step_of_spec(self, op, ret)
    }

    fn is_pure(op: &BankOp, ret: Option<&BankRet>) -> bool {
        match op {
            BankOp::Read => true,
            BankOp::Transfer { from, to, amount } => {
                *amount == 0 || from == to || ret == Some(&BankRet::Refused)
            }
        }
    }

    fn heap_bytes(&self) -> usize {
        self.0.len() * size_of::<u64>()
    }
}
