//! The engine's promises, to its clients and to its driver.
//!
//! * [`rig`]: engines wired to each other without a network.
//! * `clients`: who is answered what, and when.
//! * `driver`: batches, tickets, restarts.
//! * `rest`: what a node says and does for groups in which nothing happens.

mod clients;
mod driver;
mod members;
mod rest;
mod rig;
mod space;
