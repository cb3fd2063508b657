//! The whole state as bytes, and back.
//!
//! ```text
//! snapshot := version u32 | record+                the last record is the end, nothing follows it
//! record   := length u32 | bincode of Record
//! ```
//!
//! A snapshot holds what the first number was made of, and each step from there: all numbers come back, and so does what was
//! answered to every command. Its end holds the digest of the state that it was taken from, which the restored state must have as
//! well, and a checksum of all bytes before it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use ordeal_client::wire::{self, Cause, DecodeError, GroupId, Members, SHARDS_MAX};
use serde::{Deserialize, Serialize};

use super::Machine;
use super::config::{State, Step};
use crate::kv::digest;

/// Version of the format: the first four bytes.
pub const SNAPSHOT_VERSION: u32 = 1;

/// Bytes that are no snapshot of this build.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Of another build.
    #[error("snapshot of version {found}, this build reads {SNAPSHOT_VERSION}")]
    Version {
        /// Its version.
        found: u32,
    },
    /// It ends before its end.
    #[error("snapshot of {bytes} bytes is cut short")]
    CutShort {
        /// Its length.
        bytes: usize,
    },
    /// A record does not decode.
    #[error("snapshot holds a damaged record: {0}")]
    Record(#[from] DecodeError),
    /// The records do not make a state.
    #[error("snapshot makes no sense: {0}")]
    Nonsense(&'static str),
}

#[derive(Serialize, Deserialize)]
enum Record<'a> {
    /// What the first number was made of.
    Head { applied: u64, shards: u32, groups: BTreeMap<GroupId, Cow<'a, Members>> },
    /// What the next number changed.
    Step(Cow<'a, Step>),
    /// The checksum is that of all bytes before this record.
    End { digest: u64, checksum: u32 },
}

impl Machine {
    /// The whole state.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        let mut bytes = SNAPSHOT_VERSION.to_le_bytes().to_vec();
        let first = self.history.first();
        let shards = u32::try_from(first.owners.len()).expect("SHARDS_MAX at most");
        let groups =
            first.groups.iter().map(|(&group, info)| (group, Cow::Borrowed(&info.members))).collect();
        wire::encode_record_into(&Record::Head { applied: self.applied, shards, groups }, &mut bytes);
        for step in self.history.steps() {
            wire::encode_record_into(&Record::Step(Cow::Borrowed(step)), &mut bytes);
        }
        let checksum = digest::checksum(0, &bytes);
        wire::encode_record_into(&Record::End { digest: self.digest(), checksum }, &mut bytes);
        bytes
    }

    /// Whether a step leads on from here, and makes no group again.
    fn may_take(&self, step: &Step) -> bool {
        let makes_again = match &step.cause {
            Cause::Asked { change, .. } => self.are_new(change).is_err(),
            Cause::Created | Cause::Members { .. } | Cause::MoveEnded { .. } => false,
        };
        !makes_again && self.state.leads_on(step)
    }

    /// The state that a snapshot was taken from.
    ///
    /// # Errors
    /// [`SnapshotError`] when the bytes are not exactly one snapshot of this version. They come from a disk or a
    /// leader; nothing of them is taken on trust.
    pub fn restore(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let cut_short = SnapshotError::CutShort { bytes: bytes.len() };
        let (version, mut rest) = bytes.split_first_chunk::<4>().ok_or(cut_short)?;
        let found = u32::from_le_bytes(*version);
        if found != SNAPSHOT_VERSION {
            return Err(SnapshotError::Version { found });
        }
        let Record::Head { applied, shards, groups } = pull(&mut rest, bytes.len())? else {
            return Err(SnapshotError::Nonsense("it does not begin with its head"));
        };
        let mut machine = restore_first(shards, groups)?;
        machine.applied = applied;
        loop {
            let before = bytes.len() - rest.len();
            match pull(&mut rest, bytes.len())? {
                Record::Head { .. } => return Err(SnapshotError::Nonsense("it has two heads")),
                Record::Step(step) if machine.may_take(&step) => drop(machine.take(step.into_owned())),
                Record::Step(_) => return Err(SnapshotError::Nonsense("a step does not lead on")),
                Record::End { checksum, .. } if checksum != digest::checksum(0, &bytes[..before]) => {
                    return Err(SnapshotError::Nonsense("its checksum is that of other bytes"));
                }
                Record::End { .. } if !rest.is_empty() => {
                    return Err(SnapshotError::Nonsense("something follows its end"));
                }
                Record::End { digest, .. } if digest != machine.digest() => {
                    return Err(SnapshotError::Nonsense("its digest is another state's"));
                }
                Record::End { .. } => {
                    return machine
                        .state
                        .flaw()
                        .map_or(Ok(machine), |flaw| Err(SnapshotError::Nonsense(flaw)));
                }
            }
        }
    }
}

fn restore_first(shards: u32, groups: BTreeMap<GroupId, Cow<'_, Members>>) -> Result<Machine, SnapshotError> {
    if !(1..=SHARDS_MAX).contains(&shards) || groups.is_empty() {
        return Err(SnapshotError::Nonsense("it has no shards, too many, or no groups"));
    }
    let groups = groups.into_iter().map(|(group, members)| (group, members.into_owned())).collect();
    let first = State::first(shards, &groups);
    first.flaw().map_or_else(|| Ok(Machine::begin(first)), |flaw| Err(SnapshotError::Nonsense(flaw)))
}

fn pull(rest: &mut &[u8], bytes: usize) -> Result<Record<'static>, SnapshotError> {
    let (record, after) = wire::decode_record_front(rest)?.ok_or(SnapshotError::CutShort { bytes })?;
    *rest = after;
    Ok(record)
}
