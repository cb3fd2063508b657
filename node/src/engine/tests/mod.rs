//! The engine's promises, to its clients and to its driver.
//!
//! * [`rig`]: engines wired to each other without a network.
//! * `clients`: who is answered what, and when.
//! * `driver`: batches, tickets, restarts.

mod clients;
mod driver;
mod members;
mod rig;
