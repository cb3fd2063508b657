//! A history: the operations that some clients had on some keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::linear::fast_hash::FastMap;
use crate::operation::{Call, ClientId, Event, OpId, Operation};

/// Operations in the order of their ids. Every key starts out absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// The operations.
    pub operations: Vec<Operation>,
}

/// An event that cannot follow those before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// Ids of calls must grow.
    #[error("call {op} comes after call {last}: ids of calls must ascend")]
    IdNotAscending {
        /// The call.
        op: OpId,
        /// The call before it.
        last: OpId,
    },
    /// A client has one operation open at a time.
    #[error("{client} calls {op} while its call {open} has not returned")]
    ClientBusy {
        /// Who calls.
        client: ClientId,
        /// The call.
        op: OpId,
        /// What it waits for already.
        open: OpId,
    },
    /// Nothing to return from.
    #[error("return of {0}, which was never called")]
    ReturnWithoutCall(OpId),
    /// One call, one return.
    #[error("second return of {0}")]
    SecondReturn(OpId),
    /// The clock of a client went backwards.
    #[error("time goes backwards within {client}: {time_ns} ns at {op}, after {last_ns} ns")]
    TimeBackwards {
        /// Whose clock.
        client: ClientId,
        /// The call or return.
        op: OpId,
        /// Its time.
        time_ns: u64,
        /// The time before it.
        last_ns: u64,
    },
    /// The keys of transactions stand behind their tag.
    #[error("{op} is a transaction on {key:?}, which is no tag in braces")]
    NoTag {
        /// The call.
        op: OpId,
        /// Its key.
        key: Arc<str>,
    },
    /// What stands under a tag is judged as a whole where transactions tie it, else key by key.
    #[error("{op} on {key:?}: a key whose tag has transactions is asked for by transactions alone")]
    Mixed {
        /// The call that is not of the kind of those before it.
        op: OpId,
        /// Its key.
        key: Arc<str>,
    },
    /// For example a value as the answer to a write.
    #[error("the answer to {0} is not of the kind that its call asks for")]
    AnswerDoesNotFit(OpId),
}

impl History {
    /// The operations of each key, in the order of their ids; keys ascend.
    #[must_use]
    pub fn by_key(&self) -> BTreeMap<Arc<str>, Vec<&Operation>> {
        let mut keys: BTreeMap<Arc<str>, Vec<&Operation>> = BTreeMap::new();
        // Runs of operations on one key cost one look.
        for run in self.operations.chunk_by(|one, other| one.key == other.key) {
            keys.entry(Arc::clone(&run[0].key)).or_default().extend(run);
        }
        keys
    }

    /// The operation of this id.
    #[must_use]
    pub fn operation(&self, id: OpId) -> Option<&Operation> {
        match self.operations.binary_search_by_key(&id, |operation| operation.id) {
            Ok(at) => Some(&self.operations[at]),
            // Histories made by hand need not be sorted.
            Err(_) => self.operations.iter().find(|operation| operation.id == id),
        }
    }

    /// Builds a history of events in the order in which they were recorded.
    ///
    /// # Errors
    /// [`HistoryError`] of the first event that cannot follow those before it.
    pub fn from_events(events: impl IntoIterator<Item = Event>) -> Result<Self, HistoryError> {
        let mut builder = HistoryBuilder::default();
        for event in events {
            builder.push(event)?;
        }
        Ok(builder.finish())
    }
}

/// Builds a history event by event.
#[derive(Debug, Default)]
pub struct HistoryBuilder {
    operations: Vec<Operation>,
    clients: FastMap<ClientId, Client>,
    tags: Tags,
}

/// What a client was last seen at.
#[derive(Debug, Default)]
pub(crate) struct Client {
    last_ns: u64,
    pub(crate) open: Option<OpId>,
}

/// Which tags have transactions, and which have keys of their own: none has both.
#[derive(Debug, Default)]
pub(crate) struct Tags {
    has_txns: FastMap<Arc<str>, bool>,
}

impl Tags {
    /// Takes a call in.
    pub(crate) fn admit(&mut self, op: OpId, key: &Arc<str>, call: &Call) -> Result<(), HistoryError> {
        let is_txn = matches!(call, Call::Txn(_));
        let Some(tag) = tag_of(key) else {
            return if is_txn { Err(HistoryError::NoTag { op, key: Arc::clone(key) }) } else { Ok(()) };
        };
        if is_txn && tag.len() < key.len() {
            return Err(HistoryError::NoTag { op, key: Arc::clone(key) });
        }
        match self.has_txns.get(tag) {
            Some(&has_txns) if has_txns != is_txn => Err(HistoryError::Mixed { op, key: Arc::clone(key) }),
            Some(_) => Ok(()),
            None => {
                self.has_txns.insert(Arc::from(tag), is_txn);
                Ok(())
            }
        }
    }
}

/// The tag that a key begins with, in its braces: what stands under it may be tied by transactions.
pub(crate) fn tag_of(key: &str) -> Option<&str> {
    let end = key.strip_prefix('{')?.find('}')?;
    Some(&key[..end + 2])
}

impl HistoryBuilder {
    /// Makes room for so many operations, if there is any: to grow is to move them all.
    pub(crate) fn reserve(&mut self, operations: usize) {
        let _ = self.operations.try_reserve_exact(operations);
    }

    /// Adds the next event.
    ///
    /// # Errors
    /// [`HistoryError`] when it cannot follow those before it; it is not added then.
    pub fn push(&mut self, event: Event) -> Result<(), HistoryError> {
        match event {
            Event::Invoke { op, client, key, call, time_ns } => {
                let last = self.operations.last().map(|operation| operation.id);
                if let Some(last) = last.filter(|&last| last >= op) {
                    return Err(HistoryError::IdNotAscending { op, last });
                }
                self.tags.admit(op, &key, &call)?;
                let state = self.clients.entry(client).or_default();
                if let Some(open) = state.open {
                    return Err(HistoryError::ClientBusy { client, op, open });
                }
                state.advance(client, op, time_ns)?;
                state.open = Some(op);
                let operation =
                    Operation { id: op, client, key, call, invoked_ns: time_ns, returned: None, node: None };
                self.operations.push(operation);
            }
            Event::Return { op, time_ns, outcome, node } => {
                let at = self.place(op).ok_or(HistoryError::ReturnWithoutCall(op))?;
                let operation = &mut self.operations[at];
                if operation.returned.is_some() {
                    return Err(HistoryError::SecondReturn(op));
                }
                if let crate::operation::Outcome::Ok(answer, _) = &outcome
                    && !answer.fits(&operation.call)
                {
                    return Err(HistoryError::AnswerDoesNotFit(op));
                }
                let state = self.clients.entry(operation.client).or_default();
                state.advance(operation.client, op, time_ns)?;
                state.open = None;
                operation.returned = Some((time_ns, outcome));
                operation.node = node;
            }
        }
        Ok(())
    }

    /// Where an operation stands: mostly no id was left out, and so where its id says.
    fn place(&self, op: OpId) -> Option<usize> {
        let first = self.operations.first()?.id;
        let guess = usize::try_from(op.0.checked_sub(first.0)?).ok()?;
        match self.operations.get(guess) {
            Some(operation) if operation.id == op => Some(guess),
            Some(_) | None => self.operations.binary_search_by_key(&op, |operation| operation.id).ok(),
        }
    }

    /// The history so far.
    #[must_use]
    pub fn finish(self) -> History {
        History { operations: self.operations }
    }
}

impl Client {
    pub(crate) fn advance(&mut self, client: ClientId, op: OpId, time_ns: u64) -> Result<(), HistoryError> {
        if time_ns < self.last_ns {
            return Err(HistoryError::TimeBackwards { client, op, time_ns, last_ns: self.last_ns });
        }
        self.last_ns = time_ns;
        Ok(())
    }
}
