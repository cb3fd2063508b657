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

use std::sync::Arc;

use ordeal_client::wire::NodeId;

/// One member of one group.
#[derive(Debug)]
pub struct Raft {
    hard_state: HardState,
}

impl Raft {
    /// A member as the disk remembered it.
    #[must_use]
    pub fn new(_config: Config, recovered: Recovered) -> Raft {
        Raft { hard_state: recovered.hard_state }
    }

    /// A message of another member came.
    pub fn step(&mut self, _from: NodeId, _message: Message) {}

    /// A tick of time passed.
    pub fn tick(&mut self) {}

    /// Appends a command, on the leader. It is committed when it comes back as [`Event::Apply`] under this id.
    ///
    /// # Errors
    /// When this is not the leader, or a limit is reached.
    pub fn propose(&mut self, _command: Arc<[u8]>) -> Result<LogId, ProposeError> {
        Err(ProposeError::NotLeader { leader: None })
    }

    /// Asks for a linearizable read, on the leader: answered by [`Event::ReadReady`] or [`Event::ReadFailed`].
    ///
    /// # Errors
    /// When this is not the leader, or a limit is reached.
    pub fn read(&mut self, _token: u64) -> Result<(), ProposeError> {
        Err(ProposeError::NotLeader { leader: None })
    }

    /// This write and all before it are durable.
    pub fn persisted(&mut self, _ticket: Ticket) {}

    /// The machine above took a snapshot at an index that it has applied.
    pub fn compact(&mut self, _snapshot: Snapshot) {}

    /// What to do next, or nothing.
    pub fn ready(&mut self) -> Option<Ready> {
        None
    }

    /// How this member is.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            role: Role::Follower,
            term: self.hard_state.term,
            leader: None,
            commit: 0,
            applied: 0,
            first: 1,
            last: LogId::ZERO,
            snapshot: LogId::ZERO,
            log_bytes: 0,
        }
    }
}
