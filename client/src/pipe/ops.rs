//! The operations under way, in slots. Each has a number that changes whenever it is sent or parked, so that whatever
//! names an older one is out of date: a late answer, a place in a queue that it has left.

use std::time::{Duration, Instant};

use super::links::LinkId;
use crate::course::Course;
use crate::error::ClientError;
use crate::wire::{
    Interest, KEY_BYTES_MAX, Mark, NodeId, ReadLevel, Reply, RequestBody, SessionId, ShardId,
    VALUE_BYTES_MAX, WriteOp,
};

/// Operations under way at a time, at most: far more than a cluster takes from one client (1,000 a connection).
pub const OPERATIONS_MAX: usize = 1 << SLOT_BITS;

const SLOT_BITS: u32 = 16;
const SLOT_MASK: u64 = (1 << SLOT_BITS) - 1;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Read a key.
    Read {
        /// The key.
        key: Vec<u8>,
        /// How fresh.
        level: ReadLevel,
    },
    /// Write a key.
    Write {
        /// The key.
        key: Vec<u8>,
        /// What to do with it.
        op: WriteOp,
    },
    /// Wait for changes of keys of a shard.
    Watch {
        /// The shard.
        shard: ShardId,
        /// Of which keys.
        of: Interest,
        /// Behind there; none: tell what now is.
        behind: Option<Mark>,
    },
}

/// What came of an operation.
#[derive(Debug)]
pub struct Done {
    /// As it was submitted with.
    pub token: u64,
    /// The operation itself, so that its buffers can be used again.
    pub operation: Operation,
    /// Who answered what, `Value`, `Written`, `CasFailed`, `Txn` or `Changes` as fits the operation; or why nobody did.
    pub outcome: Result<(NodeId, Reply), ClientError>,
}

/// Number of an operation as of now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OpId(pub(super) u64);

impl OpId {
    /// Grows with every number given out.
    pub(super) fn serial(self) -> u64 {
        self.0 >> SLOT_BITS
    }

    /// Its place.
    pub(super) fn slot(self) -> usize {
        usize::try_from(self.0 & SLOT_MASK).expect("16 bits")
    }
}

/// On whose behalf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The caller's, who gave it this token.
    Submitted(u64),
    /// Our own: a session of this shard.
    Session(ShardId),
}

/// Where an operation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// In a queue: ready to go on, or waiting for a connection or a session.
    Queued,
    /// An attempt is under way.
    Sent { link: LinkId, at: Instant, patience: Duration },
    /// It rests before the next attempt.
    Paused { until: Instant },
}

/// An operation under way.
#[derive(Debug)]
pub(super) struct Op {
    pub(super) id: OpId,
    pub(super) purpose: Purpose,
    pub(super) body: RequestBody,
    /// Of its key, once it is known how many there are.
    pub(super) shard: Option<ShardId>,
    /// Session and sequence number of a write, once it has them: the same on every retry.
    pub(super) number: Option<(SessionId, u64)>,
    pub(super) course: Course,
    pub(super) stage: Stage,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Ops {
    slots: Vec<Option<Op>>,
    free: Vec<usize>,
    serial: u64,
}

impl Ops {
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// How many slots there are, empty ones as well.
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The number given out last.
    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

    pub(super) fn add(&mut self, purpose: Purpose, body: RequestBody, course: Course) -> OpId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let id = self.fresh(slot);
        let op = Op { id, purpose, body, shard: None, number: None, course, stage: Stage::Queued };
        self.slots[slot] = Some(op);
        id
    }

    /// The operation that has this number now.
    pub(super) fn find(&mut self, id: OpId) -> Option<&mut Op> {
        self.slots.get_mut(id.slot())?.as_mut().filter(|op| op.id == id)
    }

    /// The operation with this number, which must be there.
    pub(super) fn expect(&mut self, id: OpId) -> &mut Op {
        self.find(id).expect("an operation stays until it is finished")
    }

    pub(super) fn at(&self, slot: usize) -> Option<&Op> {
        self.slots.get(slot)?.as_ref()
    }

    /// Gives it another number and stage.
    pub(super) fn renew(&mut self, id: OpId, stage: Stage) -> OpId {
        let fresh = self.fresh(id.slot());
        let op = self.expect(id);
        (op.id, op.stage) = (fresh, stage);
        fresh
    }

    pub(super) fn remove(&mut self, id: OpId) -> Op {
        let slot = &mut self.slots[id.slot()];
        assert!(slot.as_ref().is_some_and(|op| op.id == id), "an operation is finished once");
        self.free.push(id.slot());
        slot.take().expect("looked at just now")
    }

    fn fresh(&mut self, slot: usize) -> OpId {
        self.serial += 1;
        OpId((self.serial << SLOT_BITS) | u64::try_from(slot).expect("16 bits"))
    }
}

impl From<Operation> for RequestBody {
    /// A write has no number yet.
    fn from(operation: Operation) -> RequestBody {
        match operation {
            Operation::Read { key, level } => RequestBody::Read { key, level },
            Operation::Watch { shard, of, behind } => RequestBody::Changes { shard, of, behind },
            Operation::Write { key, op } => {
                RequestBody::Write { session: SessionId(0), sequence: 0, settled: 0, key, op }
            }
        }
    }
}

impl Operation {
    /// What is too long is a mistake of whoever submits it.
    pub(super) fn check(&self) {
        let value_bytes = match self {
            Operation::Read { .. } | Operation::Watch { .. } => 0,
            Operation::Write { op, .. } => match op {
                WriteOp::Put(value) | WriteOp::Append(value) => value.len(),
                WriteOp::Delete => 0,
                WriteOp::Cas { expected, new } => expected.as_ref().map_or(0, Vec::len).max(new.len()),
                // Whoever made the bytes has looked.
                WriteOp::Txn(_) => 0,
            },
        };
        let key = match self {
            Operation::Read { key, .. } | Operation::Write { key, .. } => key,
            Operation::Watch { of, .. } => of.bytes(),
        };
        assert!(key.len() <= KEY_BYTES_MAX, "a key of {} bytes, the limit is {KEY_BYTES_MAX}", key.len());
        assert!(
            value_bytes <= VALUE_BYTES_MAX,
            "a value of {value_bytes} bytes, the limit is {VALUE_BYTES_MAX}"
        );
    }

    /// What was submitted, back from its request.
    pub(super) fn of(body: RequestBody) -> Operation {
        match body {
            RequestBody::Read { key, level } => Operation::Read { key, level },
            RequestBody::Write { key, op, .. } => Operation::Write { key, op },
            RequestBody::Changes { shard, of, behind } => Operation::Watch { shard, of, behind },
            other => unreachable!("{other:?} is not submitted by anybody"),
        }
    }
}
