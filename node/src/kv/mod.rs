//! The data of one shard, and its table of client sessions: they move together, since a key without the memory of who
//! wrote it last would let a retried write happen twice.
//!
//! Everything here is a function of the commands applied: no clock, no chance, nothing that differs between replicas.
//!
//! * [`store`]: what each write does; `txn`: transactions.
//! * [`item`], [`parts`]: keys, values, versions, in parts that copies share until one of them changes them.
//! * [`history`]: the last changes, for those who watch keys.
//! * [`session`]: who wrote what lately, and what the answers were (thesis §6.3).
//! * [`digest`]: a checksum of the whole that is kept up to date at every change.

pub mod digest;
pub mod history;
pub mod item;
pub mod parts;
pub mod session;
pub mod store;
mod txn;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_history;
#[cfg(test)]
mod tests_session;
#[cfg(test)]
mod tests_txn;

pub use history::{Event, History};
pub use item::{Item, RUN_BYTES};
pub use session::{Claim, REMEMBERED_BYTES_MAX, REPLY_BYTES, SESSIONS_MAX, Session};
pub use store::{Kv, Op};
