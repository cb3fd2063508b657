//! The client: reads and writes of keys, each with one of three outcomes.
//!
//! * `Ok`: done, and this is the answer.
//! * `Err` with [`may_have_happened`](ClientError::may_have_happened) false: surely not done, now or ever.
//! * `Err` with it true: unknown.
//!
//! Exactly once. A write carries a session of its key's shard and a sequence number, the same on every retry, so a
//! cluster that applied it before answers as it did then. Each write takes a fresh number, whatever became of the one
//! before. That is safe after an unknown outcome because one write is open at a time: until a later number of the session
//! is applied, a delayed duplicate of the old write may still take effect, which is just the *unknown* that was
//! reported; once it is applied, the cluster refuses the older number for good.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::caller::Caller;
use crate::config::{ClientConfig, check_address};
use crate::course::{Aim, Course, Stop};
use crate::error::{ClientError, LinkError};
use crate::link::{CallError, Expect, Link};
use crate::wire::txn::{Txn, TxnResult};
use crate::wire::{
    GroupId, KEY_BYTES_MAX, NodeId, NodeStatus, ReadLevel, Reply, Request, RequestBody, SessionId, ShardId,
    VALUE_BYTES_MAX, Version, Welcome, WriteOp,
};

/// A client of a cluster. It belongs to one thread and does one operation at a time; a program with many threads gives
/// each its own. It blocks, keeps at most one connection a node, and opens none before the first operation.
#[derive(Debug)]
pub struct Client {
    pub(crate) caller: Caller,
    pub(crate) deadline: Duration,
    /// Opened when first needed; at most one a shard.
    sessions: BTreeMap<ShardId, Session>,
}

/// A value as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    /// The value; `None`: the key is absent.
    pub value: Option<Vec<u8>>,
    /// Its version; `None`: the key is absent.
    pub version: Option<Version>,
    /// Who answered.
    pub node: NodeId,
}

/// A write that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The version that it made.
    pub made: Version,
    /// The version that it replaced; `None`: the key was absent.
    pub replaced: Option<Version>,
    /// Who answered.
    pub node: NodeId,
}

/// The answer to a compare-and-set. Both are definite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CasAnswer {
    /// The value was as expected, and is replaced.
    Done(Written),
    /// It was not, and nothing was changed.
    Failed {
        /// What was there instead; `None`: the key was absent.
        found: Option<(Vec<u8>, Version)>,
        /// Who answered.
        node: NodeId,
    },
}

/// What came of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxnAnswer {
    /// Whether all comparisons held, so that `then` was done, and not `otherwise`.
    pub succeeded: bool,
    /// The version that all its writes made.
    pub made: Version,
    /// What came of each operation of the list that was done.
    pub results: Vec<TxnResult>,
    /// Who answered.
    pub node: NodeId,
}

#[derive(Debug)]
struct Session {
    id: SessionId,
    /// Of the next write.
    sequence: u64,
}

impl Client {
    /// A client; no connection is made yet.
    ///
    /// # Errors
    /// [`ClientError::Config`] when the configuration makes no sense.
    pub fn new(config: ClientConfig) -> Result<Client, ClientError> {
        config.check()?;
        Ok(Client { deadline: config.deadline, caller: Caller::new(config), sessions: BTreeMap::new() })
    }

    /// Reads a key. [`ReadLevel::Follower`] and [`ReadLevel::Stale`] are answered by the preferred node from its own state,
    /// or, when that one cannot, by another ([`Got::node`] says who).
    ///
    /// # Errors
    /// Any [`ClientError`] but `Unknown`: a read has no effect.
    pub fn get(&mut self, key: &[u8], level: ReadLevel) -> Result<Got, ClientError> {
        check_length("key", key, KEY_BYTES_MAX)?;
        let mut course = Course::new(Instant::now(), self.deadline);
        let outcome = self.read(&mut course, key, level);
        course.may_be_received = false;
        let (node, reply) = outcome.map_err(|stop| course.error(stop, Instant::now()))?;
        let Reply::Value(found) = reply else { unreachable!("the caller hands out what fits the request") };
        let (value, version) = found.unzip();
        Ok(Got { value, version, node })
    }

    /// Sets a key.
    ///
    /// # Errors
    /// Any [`ClientError`]; ask it whether it [may have happened](ClientError::may_have_happened).
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<Written, ClientError> {
        check_length("value", value, VALUE_BYTES_MAX)?;
        self.write_plainly(key, &WriteOp::Put(value.to_vec()))
    }

    /// Adds bytes to the end of a key's value; an absent one counts as empty.
    ///
    /// # Errors
    /// As [`Client::put`]; [`ClientError::TooLong`] also when the whole would be too long.
    pub fn append(&mut self, key: &[u8], value: &[u8]) -> Result<Written, ClientError> {
        check_length("value", value, VALUE_BYTES_MAX)?;
        self.write_plainly(key, &WriteOp::Append(value.to_vec()))
    }

    /// Removes a key; it need not be there.
    ///
    /// # Errors
    /// As [`Client::put`].
    pub fn delete(&mut self, key: &[u8]) -> Result<Written, ClientError> {
        self.write_plainly(key, &WriteOp::Delete)
    }

    /// Sets a key to `new` if its value is `expected` (`None`: if it is absent).
    ///
    /// # Errors
    /// As [`Client::put`]. That the value was another is no error but [`CasAnswer::Failed`].
    pub fn cas(&mut self, key: &[u8], expected: Option<&[u8]>, new: &[u8]) -> Result<CasAnswer, ClientError> {
        check_length("value", new, VALUE_BYTES_MAX)?;
        check_length("expected value", expected.unwrap_or_default(), VALUE_BYTES_MAX)?;
        let op = WriteOp::Cas { expected: expected.map(<[u8]>::to_vec), new: new.to_vec() };
        match self.write(key, &op)? {
            (node, Reply::CasFailed { found }) => Ok(CasAnswer::Failed { found, node }),
            (node, reply) => Ok(CasAnswer::Done(written(node, &reply))),
        }
    }

    /// Does a transaction over keys of one shard, as one write.
    ///
    /// # Errors
    /// As [`Client::put`]; [`ClientError::Txn`] when it is none, [`ClientError::Refused`] when its keys are in several shards.
    pub fn txn(&mut self, txn: &Txn) -> Result<TxnAnswer, ClientError> {
        let op = WriteOp::Txn(txn.to_bytes()?);
        let key = txn.keys().next().expect("one that is made to bytes names a key");
        match self.write(key, &op)? {
            (node, Reply::Txn { succeeded, made, results }) => {
                Ok(TxnAnswer { succeeded, made, results, node })
            }
            _ => unreachable!("the caller hands out what fits the request"),
        }
    }

    /// Sets the time for each operation from now on.
    pub fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    fn read(&mut self, course: &mut Course, key: &[u8], level: ReadLevel) -> Result<(NodeId, Reply), Stop> {
        let shard = self.caller.shard(course, key)?;
        let router = &self.caller.router;
        let aim = match level {
            ReadLevel::Linearizable => Aim::Leader(shard),
            // Not everybody can answer then.
            ReadLevel::Follower | ReadLevel::Stale
                if router.group(shard).is_some_and(|group| router.is_on_some(group)) =>
            {
                Aim::Leader(shard)
            }
            ReadLevel::Follower | ReadLevel::Stale => Aim::Anyone,
        };
        self.caller.ask(course, aim, RequestBody::Read { key: key.to_vec(), level })
    }

    fn write_plainly(&mut self, key: &[u8], op: &WriteOp) -> Result<Written, ClientError> {
        self.write(key, op).map(|(node, reply)| written(node, &reply))
    }

    fn write(&mut self, key: &[u8], op: &WriteOp) -> Result<(NodeId, Reply), ClientError> {
        check_length("key", key, KEY_BYTES_MAX)?;
        let mut course = Course::new(Instant::now(), self.deadline);
        loop {
            match self.write_in_session(&mut course, key, op) {
                Ok(answer) => return Ok(answer),
                // Refused before anybody may have received it: another session makes a fresh start.
                Err(Stop::SessionLost { .. }) if !course.may_be_received => {}
                Err(stop) => return Err(course.error(stop, Instant::now())),
            }
            if let Err(stop) = self.caller.pause(&mut course) {
                return Err(course.error(stop, Instant::now()));
            }
        }
    }

    /// Does the write in the session of its shard. A session that is lost is forgotten.
    fn write_in_session(
        &mut self,
        course: &mut Course,
        key: &[u8],
        op: &WriteOp,
    ) -> Result<(NodeId, Reply), Stop> {
        let shard = self.caller.shard(course, key)?;
        let (session, sequence) = self.next_sequence(course, shard)?;
        // One write at a time: those before are answered, or given up for good.
        let settled = sequence - 1;
        let body = RequestBody::Write { session, sequence, settled, key: key.to_vec(), op: op.clone() };
        let outcome = self.caller.ask(course, Aim::Leader(shard), body);
        if let Err(Stop::SessionLost { .. }) = outcome {
            self.sessions.remove(&shard);
        }
        outcome
    }

    /// A session of the shard, and a sequence number that was never used in it.
    fn next_sequence(&mut self, course: &mut Course, shard: ShardId) -> Result<(SessionId, u64), Stop> {
        if !self.sessions.contains_key(&shard) {
            let opened = self.caller.ask(course, Aim::Leader(shard), RequestBody::OpenSession { shard });
            // An opening that was lost has no effect on any key; a session too many expires by itself.
            course.may_be_received = false;
            let (_, Reply::SessionOpened(id)) = opened? else {
                unreachable!("the caller hands out what fits the request")
            };
            self.sessions.insert(shard, Session { id, sequence: 1 });
        }
        let session = self.sessions.get_mut(&shard).expect("there, or opened just now");
        let sequence = session.sequence;
        session.sequence += 1;
        Ok((session.id, sequence))
    }
}

/// How one node is, by its own account: one attempt, no retry.
///
/// # Errors
/// [`ClientError::Node`] when it gives no sensible answer in time, [`ClientError::Config`] when that is no address.
pub fn status(address: &str, timeout: Duration) -> Result<NodeStatus, ClientError> {
    check_address(address)?;
    let failed = |reason| ClientError::Node { address: address.to_owned(), reason };
    let started = Instant::now();
    let (mut link, _) = Link::dial(address, Expect::default(), timeout).map_err(failed)?;
    let request = Request { id: 1, epoch: 0, body: RequestBody::Status };
    match link.call(&request, GroupId(0), timeout.saturating_sub(started.elapsed())) {
        Ok(answer) => match answer.reply {
            Reply::Status(status) => Ok(*status),
            reply => Err(failed(LinkError::Protocol(format!("{reply:?} where a status was expected")))),
        },
        Err(CallError::NotSent(reason) | CallError::Lost(reason)) => Err(failed(reason)),
    }
}

/// Shakes hands with one node, and says what it said.
///
/// # Errors
/// As [`status`].
pub fn welcome(address: &str, timeout: Duration) -> Result<Welcome, ClientError> {
    check_address(address)?;
    match Link::dial(address, Expect::default(), timeout) {
        Ok((_, welcome)) => Ok(welcome),
        Err(reason) => Err(ClientError::Node { address: address.to_owned(), reason }),
    }
}

fn written(node: NodeId, reply: &Reply) -> Written {
    match *reply {
        Reply::Written { made, replaced } => Written { made, replaced, node },
        _ => unreachable!("the caller hands out what fits the request"),
    }
}

pub(crate) fn check_length(what: &str, bytes: &[u8], limit: usize) -> Result<(), ClientError> {
    if bytes.len() <= limit {
        return Ok(());
    }
    let wide = |count: usize| u64::try_from(count).expect("a length fits 64 bits");
    Err(ClientError::TooLong { what: what.to_owned(), bytes: wide(bytes.len()), limit: wide(limit) })
}
