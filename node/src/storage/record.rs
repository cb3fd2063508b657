//! The records that groups lay into the log, byte for byte. All integers are little-endian; length, checksum and place
//! of a record are the log's own matter.
//!
//! ```text
//!  kind           bytes
//!  1 hard state   group u32 | term u64 | vote u32            vote 0: none (nodes are numbered from 1)
//!  2 snapshot     group u32 | index u64 | term u64 | log u8  log 0: stays, 1: nothing of it is left
//!  3 truncate     group u32 | from u64
//!  4 entry        group u32 | index u64 | term u64 | payload u8 | command …   payload 0: no-op, 1: command, 2: membership
//!  5 first        group u32 | first u64
//!  6 copy begins  group u32
//!  7 copy         as entry
//!  8 copy ends    group u32
//! ```

use ordeal_client::wire::{self, GroupId, NodeId};
use std::sync::Arc;

use crate::raft::{Entry, HardState, Index, LogId, Payload};

/// One record of one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// Whose it is.
    pub group: GroupId,
    /// What it says.
    pub body: Body,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body {
    /// Term and vote are these now.
    HardState(HardState),
    /// The newest snapshot is the one up to here; its file was durable before this record was written.
    Snapshot {
        /// Last entry in it.
        last: LogId,
        /// Whether it ends the whole log, because that did not hold `last`. Written down, and not found out again by
        /// whoever replays: by then `last` itself may be gone from a log that did hold it.
        ends_log: bool,
    },
    /// Everything from here on is removed.
    Truncate(Index),
    /// Appended behind what is there.
    Entry(Entry),
    /// Everything before this is needed no more.
    First(Index),
    /// Copies of all entries of the group follow, written anew to free the space behind them.
    CopyBegins,
    /// The copy of an entry.
    Copy(Entry),
    /// The copies are complete: they are the log of the group now. Without this record they count for nothing.
    CopyEnds,
}

impl Record {
    /// The kind of this record, for the log.
    pub(super) fn kind(&self) -> u8 {
        match self.body {
            Body::HardState(_) => 1,
            Body::Snapshot { .. } => 2,
            Body::Truncate(_) => 3,
            Body::Entry(_) => 4,
            Body::First(_) => 5,
            Body::CopyBegins => 6,
            Body::Copy(_) => 7,
            Body::CopyEnds => 8,
        }
    }

    /// Lays the bytes of this record, for the log, into `bytes`, which holds nothing else afterwards.
    pub(super) fn encode_into(&self, bytes: &mut Vec<u8>) {
        bytes.clear();
        bytes.extend_from_slice(&self.group.0.to_le_bytes());
        match &self.body {
            Body::HardState(hard_state) => {
                bytes.extend_from_slice(&hard_state.term.to_le_bytes());
                bytes.extend_from_slice(&hard_state.vote.map_or(0, |node| node.0).to_le_bytes());
            }
            Body::Snapshot { last, ends_log } => {
                bytes.extend_from_slice(&last.index.to_le_bytes());
                bytes.extend_from_slice(&last.term.to_le_bytes());
                bytes.push(u8::from(*ends_log));
            }
            Body::Truncate(index) | Body::First(index) => bytes.extend_from_slice(&index.to_le_bytes()),
            Body::Entry(entry) | Body::Copy(entry) => {
                bytes.reserve(ENTRY_HEAD_BYTES + entry.payload.len());
                bytes.extend_from_slice(&entry.id.index.to_le_bytes());
                bytes.extend_from_slice(&entry.id.term.to_le_bytes());
                match &entry.payload {
                    Payload::Noop => bytes.push(0),
                    Payload::Command(command) => {
                        bytes.push(1);
                        bytes.extend_from_slice(command);
                    }
                    Payload::Membership(membership) => {
                        bytes.push(2);
                        bytes.extend(wire::encode(membership));
                    }
                }
            }
            Body::CopyBegins | Body::CopyEnds => {}
        }
    }

    /// Reads a record back; the error says what is wrong with it.
    pub(super) fn decode(kind: u8, bytes: &[u8]) -> Result<Record, String> {
        let mut rest = Bytes(bytes);
        let group = GroupId(rest.u32()?);
        let body = match kind {
            1 => {
                let term = rest.u64()?;
                let vote = Some(rest.u32()?).filter(|&node| node > 0).map(NodeId);
                Body::HardState(HardState { term, vote })
            }
            2 => {
                let last = LogId::new(rest.u64()?, rest.u64()?);
                Body::Snapshot { last, ends_log: rest.flag()? }
            }
            3 => Body::Truncate(rest.u64()?),
            4 => Body::Entry(rest.entry()?),
            5 => Body::First(rest.u64()?),
            6 => Body::CopyBegins,
            7 => Body::Copy(rest.entry()?),
            8 => Body::CopyEnds,
            unknown => return Err(format!("unknown kind {unknown}")),
        };
        if !rest.0.is_empty() {
            return Err(format!("{} bytes left over behind a record of kind {kind}", rest.0.len()));
        }
        Ok(Record { group, body })
    }
}

/// index, term, payload.
const ENTRY_HEAD_BYTES: usize = 8 + 8 + 1;

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or("cut short")?;
        self.0 = rest;
        Ok(*head)
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.take().map(u64::from_le_bytes)
    }

    fn flag(&mut self) -> Result<bool, String> {
        match self.take()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(format!("{other} where 0 or 1 belongs")),
        }
    }

    fn entry(&mut self) -> Result<Entry, String> {
        let id = LogId::new(self.u64()?, self.u64()?);
        let payload = match self.take()? {
            [0] => Payload::Noop,
            [1] => Payload::Command(Arc::from(std::mem::take(&mut self.0))),
            [2] => {
                let membership =
                    wire::decode(std::mem::take(&mut self.0)).map_err(|error| error.to_string())?;
                Payload::Membership(Arc::new(membership))
            }
            [other] => return Err(format!("{other} where 0, 1 or 2 belongs")),
        };
        Ok(Entry { id, payload })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_bodies() -> Vec<Body> {
        let entry = |payload| Entry { id: LogId::new(42, 5), payload };
        vec![
            Body::HardState(HardState { term: 7, vote: None }),
            Body::HardState(HardState { term: u64::MAX, vote: Some(NodeId(3)) }),
            Body::Snapshot { last: LogId::new(40, 4), ends_log: false },
            Body::Snapshot { last: LogId::new(40, 4), ends_log: true },
            Body::Truncate(41),
            Body::Entry(entry(Payload::Noop)),
            Body::Entry(entry(Payload::Command(Arc::from(&b""[..])))),
            Body::Copy(entry(Payload::Command(Arc::from(&b"set x"[..])))),
            Body::Entry(entry(Payload::Membership(Arc::new([1, 2, 3].map(NodeId).into_iter().collect())))),
            Body::First(30),
            Body::CopyBegins,
            Body::CopyEnds,
        ]
    }

    fn encode(record: &Record) -> Vec<u8> {
        let mut bytes = b"of the one before".to_vec();
        record.encode_into(&mut bytes);
        bytes
    }

    #[test]
    fn records_come_back_equal() {
        for body in all_bodies() {
            let record = Record { group: GroupId(2), body };
            assert_eq!(Record::decode(record.kind(), &encode(&record)), Ok(record));
        }
    }

    #[test]
    fn bytes_that_are_no_record_are_an_error() {
        for body in all_bodies() {
            let record = Record { group: GroupId(2), body };
            let bytes = encode(&record);
            let head = match &record.body {
                Body::Entry(Entry { payload: Payload::Command(command), .. })
                | Body::Copy(Entry { payload: Payload::Command(command), .. }) => bytes.len() - command.len(),
                Body::Entry(Entry { payload: Payload::Noop, .. }) => bytes.len(),
                _ => {
                    let longer = [&bytes[..], b"x"].concat();
                    assert!(Record::decode(record.kind(), &longer).is_err(), "{record:?} and a byte more");
                    bytes.len()
                }
            };
            for cut in 0..head {
                assert!(Record::decode(record.kind(), &bytes[..cut]).is_err(), "{record:?} cut at {cut}");
            }
        }
        assert!(Record::decode(9, &[0; 4]).is_err());
        assert!(Record::decode(0, &[0; 4]).is_err());
    }
}
