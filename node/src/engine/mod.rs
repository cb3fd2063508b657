//! A whole node without a world: all its groups, routing, waiting clients. Inputs go in, outputs come out, in order;
//! time is an input, a finished disk write is an input.
//!
//! ```text
//!            handle(Input)                                     poll() -> Option<Output>
//!   Tick ────────────┐                                   ┌──▶ Send …    what promises nothing, and what is durable by now
//!   Peer, PeerClosed ┤    ┌─────────┐   ┌────────────┐   ├──▶ Persist   one batch a turn, for all groups
//!   Request ─────────┼───▶│ Engine  │──▶│ raft, shard│───┼──▶ TakeSnapshot   a copy of a state, to be encoded anywhere
//!   ClientGone ──────┤    └─────────┘   │ of a group │   └──▶ Reply …, Members …
//!   Persisted ───────┤         │        └────────────┘        RestoreSnapshot   the other way round
//!   SnapshotTaken ───┤         │                             StoreSnapshot     one of the leader, before a batch names it
//!   SnapshotStored, … Restored ┤
//!                           waiters: who waits for which entry (index and term) or read
//! ```
//!
//! A turn is any number of inputs, then [`Engine::poll`] until it has nothing more.
//!
//! Never done here: waiting, retrying, deciding what a command means.
//!
//! * [`io`]: inputs and outputs.
//! * [`config`]: what an engine is told once.
//! * [`node`]: the engine itself: inputs, routing, the order of outputs.
//! * `members`: who belongs to the groups, how that changes, and leadership handed over.
//! * `changes`: who watches keys.
//! * `created`: groups that are made while the cluster runs.
//! * `frozen`: who asks for a shard while it is handed over.
//! * `group`: one group's member and its state machine.
//! * `moves`: what the controller and the leaders of other groups are told, and the movers of the groups that are led here.
//! * `requests`: what clients ask for.
//! * `space`: a full disk.
//! * `state`: the state machine of a group.
//! * `waiters`: clients that wait for an answer.
//! * `watched`: a group's member, which is not asked while nothing was done to it.
//! * `writes`: a group's writes, which wait for the file of a snapshot that they name.

mod changes;
pub mod config;
mod created;
mod frozen;
mod group;
pub mod io;
mod members;
mod moves;
pub mod node;
mod requests;
mod space;
mod state;
mod waiters;
mod watched;
mod writes;

#[cfg(test)]
mod tests;

pub use changes::WATCHES_MAX;
pub use config::{CONTROLLER, EngineConfig, EngineError};
pub use io::{
    Batch, BatchTicket, ClientKey, Input, Output, RestoreJob, Restored, SnapshotJob, StoreJob,
    StoredSnapshot, TakenSnapshot,
};
pub use node::Engine;
pub use state::{State, StateError};
pub use waiters::{CLIENT_WAITING_MAX, WAITING_MAX};
