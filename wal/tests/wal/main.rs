//! The log from outside: its promise, every instant at which it may die, and every way to damage what it left. One binary,
//! linked once.
//!
//! The numbers of random cases are small enough for `cargo test`; `ORDEAL_WAL_CASES=1000000` plays a million crashes, and
//! `ORDEAL_WAL_WHOLE=1` flips every bit. See docs/testing.md.

mod basic;
mod common;
mod crash;
mod damage;
mod directory;
mod findings;
mod refusals;
mod script;
