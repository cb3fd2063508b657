//! Many operations at a time over few connections, from one thread: the client for those who load a cluster.
//!
//! The rules are those of [`Client`](crate::Client): the same sequence number on every retry, three outcomes kept apart,
//! hints followed, pauses, a deadline each, late answers dropped. Its writes to one shard share one session, whose window
//! lets [`SESSION_WINDOW_MAX`](crate::wire::SESSION_WINDOW_MAX) of them be under way; what is more waits its turn here.
//!
//! ```text
//!   Pipeline     sockets and the clock (mio): moves bytes, decides nothing
//!     └ Core       all rules, no socket, no clock: time and answers go in, requests and outcomes come out
//!         ├ Ops       what is under way, found by the id of its last attempt: another id is a late answer's
//!         ├ Links     connections as the core knows them, and the frame that each collects for the next write
//!         ├ Session   numbers of one shard's writes: which are given out, which are settled
//!         └ Router    as of the client that blocks
//! ```
//!
//! Order. Operations are sent in the order in which they were submitted, as long as nothing goes wrong. Nothing holds back
//! those that come after one that must be tried again: who needs an order waits for the answer.

mod core;
mod driver;
mod judgement;
mod links;
mod ops;
mod session;
#[cfg(test)]
mod tests;

pub use driver::Pipeline;
pub use ops::{Done, OPERATIONS_MAX, Operation};
