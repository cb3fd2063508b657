//! Sequential things that histories are compared with, each a stateright `SequentialSpec` and a [`Model`](crate::linear::Model)
//! for the search. The key of a key-value store is [`crate::model::KeyModel`]; several keys are [`crate::linear::Keyed`].

mod bank;
mod counter;
mod list;
mod lock;
mod queue;
mod register;
mod set;
mod store;

/// What the models are, for whoever plays one.
pub use stateright::semantics::SequentialSpec;

pub use bank::{Bank, BankOp, BankRet};
pub use counter::{Counter, CounterOp, CounterRet};
pub use list::{List, ListOp, ListRet};
pub use lock::{Lock, LockOp, LockRet};
pub use queue::{Queue, QueueOp, QueueRet};
pub use register::{Register, RegisterOp, RegisterRet};
pub use set::{Set, SetOp, SetRet};
pub use store::{Compare, Grows, Store, Test, Told, Txn, TxnOp, TxnRet, tied};
