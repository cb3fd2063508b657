//! The replicated state machine of a data group: the shards that the group owns, changed by commands from its log alone.
//!
//! Never done here: waiting, asking anybody, failing on one replica only. Ownership is checked when a command is applied,
//! since what was true when it was proposed may have changed before its turn.
//!
//! * [`command`]: what stands in the log, and its encoding.
//! * [`machine`]: the state, and what a command does to it.
//! * [`snapshot`]: the whole state as bytes, and back.

pub mod command;
pub mod machine;
pub mod snapshot;

#[cfg(test)]
mod tests;

pub use command::{COMMAND_VERSION, Command, CommandError};
pub use machine::{EPOCH_FIRST, Machine};
pub use snapshot::{SNAPSHOT_VERSION, SnapshotError};
