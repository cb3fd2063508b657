//! The engine's promises, to its clients and to its driver.
//!
//! * [`rig`]: engines wired to each other without a network.
//! * `changes`: who watches keys.
//! * `clients`: who is answered what, and when.
//! * `created`: groups that are made while the cluster runs.
//! * `driver`: batches, tickets, restarts.
//! * `frozen`: who asks for a shard while it is handed over.
//! * `moves`: the controller and the movers.
//! * `rest`: what a node says and does for groups in which nothing happens.

mod changes;
mod clients;
mod created;
mod driver;
mod frozen;
mod members;
mod moves;
mod rest;
mod rig;
mod space;
