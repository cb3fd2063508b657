//! What stands in the log of a data group: a closed set of commands.
//!
//! ```text
//!   command  :=  version u8 | head | payload
//!   head     :=  which command, its numbers, and the lengths of what the payload holds; by the codec of the wire
//!   payload  :=  key … | value …                   of a put or an append
//!             |  key …                             of a delete
//!             |  key … | expected … | new …        of a compare-and-set
//!             |  key … | transaction …             of a transaction, see `wire::txn`
//!             |  parcel …                          of a part of a shard that moves
//! ```
//!
//! Keys and values stand at the end and as they are, so that the state shares a put's bytes with the log.

use std::sync::Arc;

use ordeal_client::wire::{self, DecodeError, GroupId, MoveId, SessionId, ShardId};
use serde::{Deserialize, Serialize};

use super::moving::{Seal, Step};
use crate::kv::Op;

/// Version of the encoding: the first byte of every command.
pub const COMMAND_VERSION: u8 = 3;

/// What a command takes beside its keys and values, at most: numbers of up to 9 bytes each.
const COMMAND_BYTES: usize = 64;

/// A change of a data group's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
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
        key: &'a [u8],
        /// What to do with it.
        op: Op<'a>,
    },
    /// A step of a move.
    Move {
        /// The shard.
        shard: ShardId,
        /// The move.
        id: MoveId,
        /// The step.
        step: Step<'a>,
    },
}

/// A command without its payload. New variants go to the end, as the encoding numbers them.
#[derive(Serialize, Deserialize)]
enum Head {
    OpenSession { shard: ShardId },
    Write { shard: ShardId, session: SessionId, sequence: u64, settled: u64, key: usize, op: OpHead },
    Move { shard: ShardId, id: MoveId, step: StepHead },
}

/// A step without its parcel, of which it holds the length.
#[derive(Serialize, Deserialize)]
enum StepHead {
    ExportBegin { epoch: u64, to: GroupId },
    Freeze,
    ExportDone,
    ExportCancel,
    Unfreeze,
    ImportBegin { epoch: u64, from: GroupId },
    Parcel { bytes: usize },
    Adopt { seal: Seal, bytes: usize },
    Refuse { epoch: u64 },
}

/// The lengths of an operation's values.
#[derive(Serialize, Deserialize)]
enum OpHead {
    Put(usize),
    Append(usize),
    Delete,
    Cas { expected: Option<usize>, new: usize },
    Txn(usize),
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
    /// The head does not decode.
    #[error(transparent)]
    Head(#[from] DecodeError),
    /// The payload is not what the head says.
    #[error("payload of {found} bytes, of which its head says something else")]
    Payload {
        /// Its length.
        found: usize,
    },
}

impl<'a> Command<'a> {
    /// The bytes for the log.
    #[must_use]
    pub fn encode(&self) -> Arc<[u8]> {
        let (head, payload) = self.parts();
        let mut bytes =
            Vec::with_capacity(COMMAND_BYTES + payload.iter().map(|part| part.len()).sum::<usize>());
        bytes.push(COMMAND_VERSION);
        wire::encode_into(&head, &mut bytes);
        payload.iter().for_each(|part| bytes.extend_from_slice(part));
        bytes.into()
    }

    /// Reads what [`Command::encode`] wrote.
    ///
    /// # Errors
    /// [`CommandError`] when it did not.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, CommandError> {
        let (&version, body) = bytes.split_first().ok_or(CommandError::Empty)?;
        if version != COMMAND_VERSION {
            return Err(CommandError::Version { found: version });
        }
        let (head, payload) = wire::decode_front(body)?;
        let mut payload = Payload { rest: payload, found: payload.len() };
        let command = match head {
            Head::OpenSession { shard } => Command::OpenSession { shard },
            Head::Write { shard, session, sequence, settled, key, op } => {
                let key = payload.take(key)?;
                let op = match op {
                    OpHead::Put(value) => Op::Put(payload.take(value)?),
                    OpHead::Append(tail) => Op::Append(payload.take(tail)?),
                    OpHead::Delete => Op::Delete,
                    OpHead::Cas { expected, new } => Op::Cas {
                        expected: expected.map(|expected| payload.take(expected)).transpose()?,
                        new: payload.take(new)?,
                    },
                    OpHead::Txn(bytes) => Op::Txn(payload.take(bytes)?),
                };
                Command::Write { shard, session, sequence, settled, key, op }
            }
            Head::Move { shard, id, step } => Command::Move { shard, id, step: payload.step(&step)? },
        };
        payload.end()?;
        Ok(command)
    }

    /// The shard that it is about.
    #[must_use]
    pub fn shard(&self) -> ShardId {
        match *self {
            Command::OpenSession { shard } | Command::Write { shard, .. } | Command::Move { shard, .. } => {
                shard
            }
        }
    }

    fn parts(&self) -> (Head, [&'a [u8]; 3]) {
        match *self {
            Command::OpenSession { shard } => (Head::OpenSession { shard }, [&[]; 3]),
            Command::Write { shard, session, sequence, settled, key, op } => {
                let (op, first, second): (OpHead, &[u8], &[u8]) = match op {
                    Op::Put(value) => (OpHead::Put(value.len()), value, &[]),
                    Op::Append(tail) => (OpHead::Append(tail.len()), tail, &[]),
                    Op::Delete => (OpHead::Delete, &[], &[]),
                    Op::Txn(bytes) => (OpHead::Txn(bytes.len()), bytes, &[]),
                    Op::Cas { expected, new } => {
                        let head = OpHead::Cas { expected: expected.map(<[u8]>::len), new: new.len() };
                        (head, expected.unwrap_or_default(), new)
                    }
                };
                let head = Head::Write { shard, session, sequence, settled, key: key.len(), op };
                (head, [key, first, second])
            }
            Command::Move { shard, id, step } => {
                let (step, parcel) = step_parts(step);
                (Head::Move { shard, id, step }, [parcel, &[], &[]])
            }
        }
    }
}

fn step_parts(step: Step<'_>) -> (StepHead, &[u8]) {
    match step {
        Step::ExportBegin { epoch, to } => (StepHead::ExportBegin { epoch, to }, &[]),
        Step::Freeze => (StepHead::Freeze, &[]),
        Step::ExportDone => (StepHead::ExportDone, &[]),
        Step::ExportCancel => (StepHead::ExportCancel, &[]),
        Step::Unfreeze => (StepHead::Unfreeze, &[]),
        Step::ImportBegin { epoch, from } => (StepHead::ImportBegin { epoch, from }, &[]),
        Step::Parcel { bytes } => (StepHead::Parcel { bytes: bytes.len() }, bytes),
        Step::Adopt { seal, bytes } => (StepHead::Adopt { seal, bytes: bytes.len() }, bytes),
        Step::Refuse { epoch } => (StepHead::Refuse { epoch }, &[]),
    }
}

/// What is left of a payload.
struct Payload<'a> {
    rest: &'a [u8],
    found: usize,
}

impl<'a> Payload<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], CommandError> {
        let (taken, rest) =
            self.rest.split_at_checked(bytes).ok_or(CommandError::Payload { found: self.found })?;
        self.rest = rest;
        Ok(taken)
    }

    fn step(&mut self, head: &StepHead) -> Result<Step<'a>, CommandError> {
        Ok(match *head {
            StepHead::ExportBegin { epoch, to } => Step::ExportBegin { epoch, to },
            StepHead::Freeze => Step::Freeze,
            StepHead::ExportDone => Step::ExportDone,
            StepHead::ExportCancel => Step::ExportCancel,
            StepHead::Unfreeze => Step::Unfreeze,
            StepHead::ImportBegin { epoch, from } => Step::ImportBegin { epoch, from },
            StepHead::Parcel { bytes } => Step::Parcel { bytes: self.take(bytes)? },
            StepHead::Adopt { seal, bytes } => Step::Adopt { seal, bytes: self.take(bytes)? },
            StepHead::Refuse { epoch } => Step::Refuse { epoch },
        })
    }

    fn end(&self) -> Result<(), CommandError> {
        if self.rest.is_empty() { Ok(()) } else { Err(CommandError::Payload { found: self.found }) }
    }
}
