//! What can go wrong, told apart by what the caller may conclude: surely not done, or unknown.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::wire::txn::TxnError;
use crate::wire::{ClusterId, DecodeError, FrameError, HandshakeRefusal, NodeId, RefusalReason};

/// Why an operation has no answer. [`ClientError::may_have_happened`] is the question to ask first.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The configuration makes no sense; nothing was tried.
    #[error("{0}")]
    Config(String),
    /// A key or value is too long, or the value that an append would make. Surely not done.
    #[error("{what} of {bytes} bytes, the limit is {limit}")]
    TooLong {
        /// `key` or `value`.
        what: String,
        /// How long it is or would be.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A node refused, and no retry would change that. Surely not done.
    #[error("{node} refuses: {reason}")]
    Refused {
        /// Who refused.
        node: NodeId,
        /// Why.
        reason: RefusalReason,
    },
    /// The transaction is none. Nothing was tried.
    #[error(transparent)]
    Txn(#[from] TxnError),
    /// Every endpoint belongs to another cluster or speaks another protocol. Surely not done.
    #[error("no endpoint is of this cluster; the last one, {0}")]
    Strangers(String),
    /// No node could be brought to do it in time. Surely not done.
    #[error("not done: {0}")]
    Unavailable(Tries),
    /// At least one node may have received it, and none told what came of it. It may have happened, may yet happen, or
    /// not at all.
    #[error("outcome unknown, it may have happened: {0}")]
    Unknown(Tries),
    /// The one node that was asked gave no sensible answer (only [`status`](crate::status) and
    /// [`welcome`](crate::welcome), which change nothing).
    #[error("{address}: {reason}")]
    Node {
        /// Where it was looked for.
        address: String,
        /// What happened.
        reason: LinkError,
    },
}

impl ClientError {
    /// Whether the operation may have had its effect, or may yet have it. False is a promise: it had none, and never will.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        match self {
            ClientError::Unknown(_) => true,
            ClientError::Config(_)
            | ClientError::TooLong { .. }
            | ClientError::Refused { .. }
            | ClientError::Txn(_)
            | ClientError::Strangers(_)
            | ClientError::Unavailable(_)
            | ClientError::Node { .. } => false,
        }
    }
}

/// How hard was tried, and what the last attempt met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tries {
    /// How many attempts were begun.
    pub attempts: u32,
    /// How long it took.
    pub after: Duration,
    /// What the last attempt met, the node named; `None` when there was no time for one.
    pub last: Option<String>,
}

impl fmt::Display for Tries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.attempts == 1 { "attempt" } else { "attempts" };
        write!(f, "{} {plural} in {} ms", self.attempts, self.after.as_millis())?;
        self.last.iter().try_for_each(|last| write!(f, "; last: {last}"))
    }
}

/// Why a connection to a node could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The name does not resolve, nobody listens, or no way leads there.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// An open connection failed.
    #[error("connection failed: {0}")]
    Io(io::Error),
    /// The node ended the connection.
    #[error("connection closed by the node")]
    Closed,
    /// No answer in time.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// What came is no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// What came is a frame, its body no message.
    #[error(transparent)]
    Body(#[from] DecodeError),
    /// The node does not take the connection.
    #[error("the node {0}")]
    Refused(HandshakeRefusal),
    /// Somebody of another cluster.
    #[error("belongs to cluster {found}, expected {expected}")]
    WrongCluster {
        /// Whose it is.
        found: ClusterId,
        /// Which was meant.
        expected: ClusterId,
    },
    /// Another node than the one that was meant.
    #[error("is {found}, expected {expected}")]
    WrongNode {
        /// Who answers.
        found: NodeId,
        /// Who was meant.
        expected: NodeId,
    },
    /// A message that makes no sense here.
    #[error("the node breaks the protocol: {0}")]
    Protocol(String),
}

impl LinkError {
    /// Whether the same place will say the same again, however often it is asked.
    pub(crate) fn is_of_a_stranger(&self) -> bool {
        match self {
            LinkError::WrongCluster { .. } => true,
            LinkError::Refused(refusal) => match refusal {
                HandshakeRefusal::Version { .. } | HandshakeRefusal::Cluster { .. } => true,
                HandshakeRefusal::Node { .. } | HandshakeRefusal::Full => false,
            },
            LinkError::Connect(_)
            | LinkError::Io(_)
            | LinkError::Closed
            | LinkError::Timeout(_)
            | LinkError::Frame(_)
            | LinkError::Body(_)
            | LinkError::WrongNode { .. }
            | LinkError::Protocol(_) => false,
        }
    }
}
