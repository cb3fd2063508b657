//! The log from outside: its promise, every instant at which it may die, and every way to damage what it left. One binary,
//! linked once.
//!
//! The numbers of random cases are small enough for `cargo test`; `ORDEAL_WAL_CASES=1000000` plays a million crashes, and
//! `ORDEAL_WAL_WHOLE=1` flips every bit. See docs/testing.md.
//!
//! Under Miri, which knows no mappings and takes a thousand times as long, only those run that need a disk in memory and
//! little of it (`common::shorter`).

mod basic;
mod common;
#[cfg(not(miri))]
mod counts;
mod crash;
#[cfg(not(miri))]
mod damage;
#[cfg(not(miri))]
mod directory;
mod findings;
#[cfg(not(miri))]
mod fuzz;
mod golden;
#[cfg(not(miri))]
mod refusals;
mod script;
