//! What clients ask, and the threads that ask.
//!
//! * [`keys`]: which key: few at a time, each shared by few clients and retired early, so that the judge decides.
//! * [`calls`]: what on it: values are unique, so that no wrong read is right by accident.
//! * [`bank`]: transactions on the accounts of a bank, which keep its total.
//! * [`lanes`]: the threads, one client each, paced, every call and return recorded by the thread that makes it.

pub mod bank;
pub mod calls;
pub mod keys;
pub mod lanes;

pub use keys::KeyPool;
pub use lanes::{Lanes, LanesConfig, Tally, final_reads};
