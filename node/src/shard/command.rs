//! What stands in the log of a data group: a closed set of commands behind one byte for the version of their encoding.

use ordeal_client::wire::{self, DecodeError, SessionId, ShardId, WriteOp};
use serde::{Deserialize, Serialize};

/// Version of the encoding: the first byte of every command.
pub const COMMAND_VERSION: u8 = 2;

/// What a command takes beside its keys and values, at most: numbers of up to 9 bytes each.
const COMMAND_BYTES: usize = 64;

/// A change of a data group's state. New variants go to the end, as the encoding numbers them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Open a session in a shard; it is named after the index of this entry.
    OpenSession {
        /// The shard.
        shard: ShardId,
    },
    /// Write a key, exactly once.
    Write {
        /// The shard of the key.
        shard: ShardId,
        /// Who writes.
        session: SessionId,
        /// Which of the session's writes.
        sequence: u64,
        /// No write of the session up to this one will be asked for again.
        settled: u64,
        /// The key.
        #[serde(with = "serde_bytes")]
        key: Vec<u8>,
        /// What to do with it.
        op: WriteOp,
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
    /// The rest does not decode.
    #[error(transparent)]
    Body(#[from] DecodeError),
}

impl Command {
    /// The bytes for the log.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(COMMAND_BYTES + self.payload_bytes());
        bytes.push(COMMAND_VERSION);
        wire::encode_into(self, &mut bytes);
        bytes
    }

    /// Bytes of keys and values in it: most of what it takes.
    fn payload_bytes(&self) -> usize {
        match self {
            Command::OpenSession { .. } => 0,
            Command::Write { key, op, .. } => {
                key.len()
                    + match op {
                        WriteOp::Put(value) | WriteOp::Append(value) => value.len(),
                        WriteOp::Delete => 0,
                        WriteOp::Cas { expected, new } => expected.as_ref().map_or(0, Vec::len) + new.len(),
                    }
            }
        }
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
        Ok(wire::decode(body)?)
    }

    /// The shard that it is about.
    #[must_use]
    pub fn shard(&self) -> ShardId {
        match *self {
            Command::OpenSession { shard } | Command::Write { shard, .. } => shard,
        }
    }
}
