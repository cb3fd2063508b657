//! The replicated state machine of a data group: the shards that the group owns, changed by commands from its log alone.
//!
//! Never done here: waiting, asking anybody, failing on one replica only. Ownership is checked when a command is applied,
//! since what was true when it was proposed may have changed before its turn.
//!
//! * [`command`]: what stands in the log, and its encoding.
//! * [`machine`]: the state, and what a command does to it; [`changes`]: what watchers are told of it.
//! * [`moving`]: a shard on its way to another group: the story, the steps; `steps` does them, `export` has the donor's side,
//!   `import` the recipient's.
//! * [`snapshot`]: the whole state as bytes, and back; `records` are what it and the parcels of a move are made of.

pub mod changes;
pub mod command;
mod export;
mod import;
pub mod machine;
pub mod moving;
mod records;
pub mod snapshot;
mod steps;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_changes;
#[cfg(test)]
pub(crate) mod tests_clients;
#[cfg(test)]
mod tests_moves;
#[cfg(test)]
mod tests_moves_random;
#[cfg(test)]
mod tests_moves_writes;

pub use changes::Told;
pub use command::{COMMAND_VERSION, Command, CommandError};
pub use machine::{Applied, EPOCH_FIRST, Leftover, Machine};
pub use snapshot::{SNAPSHOT_VERSION, SnapshotError};
