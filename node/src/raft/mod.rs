//! One Raft group, without a world: no clock, no disk, no socket, no thread (sans-IO). Messages, ticks and finished
//! writes go in; a [`Ready`] comes out that says by its fields in which order the driver must do what.
//!
//! Never done here: deciding what a command means (that is `shard`'s), waiting for anything, retrying.
//!
//! "In Search of an Understandable Consensus Algorithm", Ongaro and Ousterhout, extended version (the paper), and
//! "Consensus: Bridging Theory and Practice", Ongaro (the thesis).

pub mod config;
pub mod log_id;
pub mod message;
pub mod ready;

pub use config::{Config, Recovered};
pub use log_id::{Entry, Index, LogId, Payload, Snapshot, Term};
pub use message::Message;
pub use ready::{Event, HardState, Persist, ProposeError, Ready, Role, Status, Ticket};
