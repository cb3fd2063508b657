//! Operations: what a client asked for on one key, when, and what came of it.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::models::{Txn, TxnRet};

/// An operation: unique in a history, ascending by invocation. Prints `#17`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OpId(pub u64);

/// A logical client thread: it has one operation open at a time. Prints `c4`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClientId(pub u32);

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}", self.0)
    }
}

/// A value: text, cheap to clone. Serialised as a string.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(pub Arc<str>);

impl Value {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Value {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value(Arc::from(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value(Arc::from(text))
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Value::from)
    }
}

/// The version of a key as a server names it. Versions of one key grow strictly. Prints and serialises as `1.42`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// How often the key has changed its owner.
    pub epoch: u64,
    /// Position in the owner's order of writes.
    pub index: u64,
}

/// A text that is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no version, expected one like `1.42`")]
pub struct VersionError(String);

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let parsed = text.split_once('.').and_then(|(epoch, index)| {
            Some(Version { epoch: epoch.parse().ok()?, index: index.parse().ok()? })
        });
        parsed.ok_or_else(|| VersionError(text.to_owned()))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.index)
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

macro_rules! debug_as_display {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}
debug_as_display!(OpId, ClientId, Version);

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// What is asked for, on one key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Call {
    /// Read the value. Answered by [`Answer::Value`].
    Read,
    /// Set the value. Answered by [`Answer::Done`].
    Write(Value),
    /// Add text to the end of the value; an absent one counts as empty. Answered by [`Answer::Done`].
    Append(Value),
    /// Set the value if the present one is as expected. Answered by [`Answer::CasDone`] or a `CasFailed…`.
    Cas {
        /// The value that must be there; `None`: the key must be absent.
        expected: Option<Value>,
        /// The value to set.
        new: Value,
    },
    /// Remove the key; that it is absent is no failure. Answered by [`Answer::Done`].
    Delete,
    /// Compare, and then do one or the other, all at one moment, with several keys. They stand behind that of the operation,
    /// which is a tag in braces: where that is `{b3}`, `a0` is the key `{b3}a0`. Answered by [`Answer::Txn`].
    Txn(Box<KeyTxn>),
}

/// A transaction on keys that share a tag.
pub type KeyTxn = Txn<Value, Value>;

/// What it is answered.
pub type KeyTxnRet = TxnRet<Value>;

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To a read: the value, or `None` where the key is absent.
    Value(Option<Value>),
    /// To a write, an append or a delete.
    Done,
    /// To a compare-and-set that found what it expected.
    CasDone,
    /// To a compare-and-set that found something else: what it found, or `None` where that is not known. A key found
    /// absent is [`Answer::CasFailedAbsent`], which can be judged more sharply.
    CasFailed(Option<Value>),
    /// To a compare-and-set that expected a value and found the key absent.
    CasFailedAbsent,
    /// To a transaction.
    Txn(Box<KeyTxnRet>),
}

impl Answer {
    /// Whether an answer of this kind can be given to that call at all.
    #[must_use]
    pub fn fits(&self, call: &Call) -> bool {
        match call {
            Call::Read => matches!(self, Answer::Value(_)),
            Call::Write(_) | Call::Append(_) | Call::Delete => matches!(self, Answer::Done),
            Call::Cas { .. } => {
                matches!(self, Answer::CasDone | Answer::CasFailed(_) | Answer::CasFailedAbsent)
            }
            Call::Txn(txn) => matches!(self, Answer::Txn(ret) if txn.takes(ret)),
        }
    }
}

/// What a server claimed beside its answer: see [`Versions`]. Where it claims nothing it takes no room.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(from = "Versions", into = "Versions")]
pub struct Claim(Option<Box<Versions>>);

impl Claim {
    /// Of a write: the version that it made, and the one that it replaced.
    #[must_use]
    pub fn made(made: Option<Version>, replaced: Option<Version>) -> Self {
        Versions { made, replaced, seen: None }.into()
    }

    /// Of a read, or a compare-and-set that failed: the version that it saw.
    #[must_use]
    pub fn seen(seen: Option<Version>) -> Self {
        Versions { made: None, replaced: None, seen }.into()
    }
}

impl From<Versions> for Claim {
    fn from(versions: Versions) -> Self {
        Claim((versions != Versions::NONE).then(|| Box::new(versions)))
    }
}

impl From<Claim> for Versions {
    fn from(claim: Claim) -> Self {
        *claim
    }
}

impl Deref for Claim {
    type Target = Versions;

    fn deref(&self) -> &Versions {
        self.0.as_deref().unwrap_or(&Versions::NONE)
    }
}

/// The versions that a server claimed; all `None` where it claims none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Versions {
    /// The version that this write made.
    pub made: Option<Version>,
    /// The version that this write replaced; `None` beside a `made`: the key was absent.
    pub replaced: Option<Version>,
    /// The version that this read, or failed compare-and-set, saw; `None`: the key was absent.
    pub seen: Option<Version>,
}

impl Versions {
    const NONE: Versions = Versions { made: None, replaced: None, seen: None };
}

/// What came of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was answered.
    Ok(Answer, Claim),
    /// It surely had no effect and never will, for this reason.
    Failed(String),
    /// It may have had an effect, or may yet have one at any later time, for this reason.
    Unknown(String),
}

/// One operation of one client on one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Its id.
    pub id: OpId,
    /// Who called.
    pub client: ClientId,
    /// The key.
    pub key: Arc<str>,
    /// What was asked for.
    pub call: Call,
    /// When it was called, in nanoseconds since the start of the recording.
    pub invoked_ns: u64,
    /// When it returned and with what; `None`: never, which is judged like [`Outcome::Unknown`].
    pub returned: Option<(u64, Outcome)>,
    /// The node that answered, where known, e.g. `n3`.
    pub node: Option<Arc<str>>,
}

impl Operation {
    /// The answer, if there was one.
    #[must_use]
    pub fn answer(&self) -> Option<&Answer> {
        match &self.returned {
            Some((_, Outcome::Ok(answer, _))) => Some(answer),
            Some((_, Outcome::Failed(_) | Outcome::Unknown(_))) | None => None,
        }
    }

    /// When the answer came, if one came.
    #[must_use]
    pub fn answered_ns(&self) -> Option<u64> {
        match &self.returned {
            Some((time_ns, Outcome::Ok(..))) => Some(*time_ns),
            Some((_, Outcome::Failed(_) | Outcome::Unknown(_))) | None => None,
        }
    }

    /// The versions claimed with the answer.
    #[must_use]
    pub fn claim(&self) -> Option<&Claim> {
        match &self.returned {
            Some((_, Outcome::Ok(_, claim))) => Some(claim),
            Some((_, Outcome::Failed(_) | Outcome::Unknown(_))) | None => None,
        }
    }

    /// Whether it surely had no effect.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        matches!(&self.returned, Some((_, Outcome::Failed(_))))
    }

    /// Whether it may have had, or may yet have, an effect that nobody told its client of.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(&self.returned, None | Some((_, Outcome::Unknown(_))))
    }
}

/// One end of an operation, as a recorder notes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A client calls.
    Invoke {
        /// The operation that begins.
        op: OpId,
        /// Who calls.
        client: ClientId,
        /// The key.
        key: Arc<str>,
        /// What is asked for.
        call: Call,
        /// When, in nanoseconds since the start of the recording.
        time_ns: u64,
    },
    /// An operation returns.
    Return {
        /// The operation that ends.
        op: OpId,
        /// When, in nanoseconds since the start of the recording.
        time_ns: u64,
        /// What came of it.
        outcome: Outcome,
        /// The node that answered, where known.
        node: Option<Arc<str>>,
    },
}
