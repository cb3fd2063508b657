//! The replicated state machine of group 0, the controller: who owns which shard, in numbered configurations.
//!
//! ```text
//!   join, leave, move ──▶ targets: the owner that each shard is to have
//!                              │  a target that is not the owner opens a move at once
//!                              ▼
//!                         open moves ──▶ the two groups move the shard ──▶ MoveEnd: owner and epoch
//! ```
//!
//! Every change makes the next number, and all numbers can be asked for, for ever. Never done here: waiting for a move,
//! asking a group, deciding by time who owns a shard, failing on one replica only. Commands that make no sense are answers,
//! which change nothing.
//!
//! * [`command`]: what stands in the log, and its encoding.
//! * `config`: the state at one number, and the step to the next: the only thing that changes it.
//! * `balance`: how shards are shared out among groups.
//! * `decide`: the step that a command leads to, or the objection to it.
//! * `history`: all numbers.
//! * [`machine`]: all of it, driven by the log.
//! * [`snapshot`]: the whole state as bytes, and back.

mod balance;
pub mod command;
mod config;
mod decide;
mod history;
pub mod machine;
pub mod snapshot;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_balance;
#[cfg(test)]
mod tests_random;
#[cfg(test)]
mod tests_refused;
#[cfg(test)]
mod tests_snapshot;

pub use command::{COMMAND_BYTES_MAX, COMMAND_VERSION, Command, CommandError};
pub use history::HISTORY_BYTES_MAX;
pub use machine::{Created, Machine};
pub use snapshot::{SNAPSHOT_VERSION, SnapshotError};
