//! The judge against hand-written stories, against stateright's tester and brute force, and against its own budget; files
//! against every kind of damage.

mod agreement;
mod budgets;
mod claims;
mod cores;
mod files;
mod generator;
mod online;
mod promises;
mod second_opinions;
mod stories;
mod story;
mod txn_story;
mod txns;
mod txns_agreement;
