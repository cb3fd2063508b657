//! What stands in the log of group 0: a closed set of commands.
//!
//! ```text
//!   command  :=  version u8 | which command, and what it holds, by the codec of the wire
//! ```
//!
//! The version is that of what commands *do*, too: replicas of two builds must share the shards out alike, so another way
//! of doing it is another version.

use std::sync::Arc;

use ordeal_client::wire::{
    self, ADDRESS_BYTES_MAX, AdminChange, CommandId, DecodeError, GROUPS_MAX, GroupId, MEMBERS_MAX, Members,
    MoveEnd, MoveId, ShardId,
};
use serde::{Deserialize, Serialize};

/// Version of the encoding, and of the effect: the first byte of every command.
pub const COMMAND_VERSION: u8 = 1;

/// The longest command: all groups that there may be are made, each member with a number and a length of up to 9 bytes beside its
/// address, and a number and a directory beside that. Some 280 KB.
pub const COMMAND_BYTES_MAX: usize = 64 + GROUPS_MAX as usize * (16 + MEMBERS_MAX * (ADDRESS_BYTES_MAX + 36));

/// A change of the controller's state. New variants go to the end, as the encoding numbers them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// An administrator's, exactly once: done only if no administrator's change is newer than `base`.
    Admin {
        /// The same on every retry.
        id: CommandId,
        /// Number of the configuration that the administrator had seen.
        base: u64,
        /// What to do.
        change: AdminChange,
    },
    /// What the leader of a group says of its members. Harmless to repeat.
    GroupMembers {
        /// The group.
        group: GroupId,
        /// Index in the group's log of the entry that says so.
        at: u64,
        /// Who they are.
        members: Members,
    },
    /// A move has ended: the group that was to have the shard has decided so. Harmless to repeat.
    MoveEnd {
        /// Of this shard.
        shard: ShardId,
        /// Which.
        id: MoveId,
        /// How.
        end: MoveEnd,
    },
}

/// Bytes that are no command of this build.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Of another build.
    #[error("command of version {found}, this build reads {COMMAND_VERSION}")]
    Version {
        /// Its first byte.
        found: u8,
    },
    /// Not even a version.
    #[error("command without a byte")]
    Empty,
    /// Longer than any.
    #[error("command of {bytes} bytes, the limit is {COMMAND_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// What follows the version does not decode.
    #[error(transparent)]
    Body(#[from] DecodeError),
}

impl Command {
    /// The bytes for the log. Longer than [`COMMAND_BYTES_MAX`] only if the command breaks a limit of [`wire`]; then they do
    /// not decode.
    #[must_use]
    pub fn encode(&self) -> Arc<[u8]> {
        let mut bytes = vec![COMMAND_VERSION];
        wire::encode_into(self, &mut bytes);
        bytes.into()
    }

    /// Reads what [`Command::encode`] wrote.
    ///
    /// # Errors
    /// [`CommandError`] when it did not.
    pub fn decode(bytes: &[u8]) -> Result<Self, CommandError> {
        let (&version, body) = bytes.split_first().ok_or(CommandError::Empty)?;
        if version != COMMAND_VERSION {
            return Err(CommandError::Version { found: version });
        }
        if bytes.len() > COMMAND_BYTES_MAX {
            return Err(CommandError::TooLong { bytes: bytes.len() });
        }
        Ok(wire::decode(body)?)
    }
}
