//! Transactions over keys of one shard: compare, then do one list of operations or the other, as one entry of the log
//! (etcd's `txn`).
//!
//! Operations of a list see what those before them did. No list writes a key twice, so that the version which a transaction
//! makes names one value of each key.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::codec::{DecodeError, decode, encode};
use super::ids::{ShardId, Version, shard_of};
use super::protocol::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

/// Comparisons, and operations of each list, at most: etcd's default.
pub const TXN_OPS_MAX: usize = 128;

/// An encoded transaction, at most: as much as the longest compare-and-set, and half a frame.
pub const TXN_BYTES_MAX: usize = 2 * VALUE_BYTES_MAX;

/// The values that a transaction reads, together: the answer must fit a frame.
pub const TXN_ANSWER_BYTES_MAX: usize = 2 * VALUE_BYTES_MAX;

/// A transaction.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Txn {
    /// All of these must hold; none always do.
    pub compares: Vec<Compare>,
    /// Done in order if they do.
    pub then: Vec<TxnOp>,
    /// Done in order if not.
    pub otherwise: Vec<TxnOp>,
}

/// A comparison of what is there with what is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compare {
    /// The key.
    #[serde(with = "serde_bytes")]
    pub key: Vec<u8>,
    /// How the one there must stand to the one given.
    pub relation: Relation,
    /// The one given.
    pub with: Operand,
}

/// How two things stand to each other. An absent key, its value as well as its version, is less than any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as in arithmetic")]
pub enum Relation {
    Equal,
    NotEqual,
    Less,
    Greater,
}

/// What a key is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operand {
    /// A value; `None`: the key is absent.
    Value(#[serde(with = "serde_bytes")] Option<Vec<u8>>),
    /// The version of the last write; `None`: the key is absent.
    Version(Option<Version>),
}

/// An operation of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TxnOp {
    /// Read a key.
    Get {
        /// The key.
        #[serde(with = "serde_bytes")]
        key: Vec<u8>,
    },
    /// Set a key.
    Put {
        /// The key.
        #[serde(with = "serde_bytes")]
        key: Vec<u8>,
        /// The value.
        #[serde(with = "serde_bytes")]
        value: Vec<u8>,
    },
    /// Add to the end of a key's value; an absent one counts as empty.
    Append {
        /// The key.
        #[serde(with = "serde_bytes")]
        key: Vec<u8>,
        /// What to add.
        #[serde(with = "serde_bytes")]
        tail: Vec<u8>,
    },
    /// Remove a key.
    Delete {
        /// The key.
        #[serde(with = "serde_bytes")]
        key: Vec<u8>,
    },
}

/// What came of an operation of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TxnResult {
    /// Of a read: the value and its version, or `None` where the key is absent.
    Value(#[serde(with = "super::protocol::found")] Option<(Vec<u8>, Version)>),
    /// Of a write: the version that it replaced; `None`: the key was absent.
    Written {
        /// It.
        replaced: Option<Version>,
    },
}

/// Why a transaction is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TxnError {
    /// The bytes are no transaction.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It names no key.
    #[error("a transaction without a key")]
    Empty,
    /// It is too long.
    #[error("{what} of {count}, the limit is {limit}")]
    TooLong {
        /// What is.
        what: &'static str,
        /// How long it is.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// Its keys do not stand in one shard.
    #[error(
        "its keys are in {one} and {other}: a transaction has one shard, keys with the same {{tag}} share it"
    )]
    Shards {
        /// The shard of a key.
        one: ShardId,
        /// That of another.
        other: ShardId,
    },
    /// A list writes a key twice.
    #[error("it writes the key {key} twice")]
    Twice {
        /// The key, as text.
        key: String,
    },
}

impl TxnOp {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        match self {
            TxnOp::Get { key }
            | TxnOp::Put { key, .. }
            | TxnOp::Append { key, .. }
            | TxnOp::Delete { key } => key,
        }
    }

    /// Whether it only reads.
    #[must_use]
    pub fn is_read(&self) -> bool {
        match self {
            TxnOp::Get { .. } => true,
            TxnOp::Put { .. } | TxnOp::Append { .. } | TxnOp::Delete { .. } => false,
        }
    }

    fn value(&self) -> &[u8] {
        match self {
            TxnOp::Put { value, .. } => value,
            TxnOp::Append { tail, .. } => tail,
            TxnOp::Get { .. } | TxnOp::Delete { .. } => &[],
        }
    }
}

impl Relation {
    /// Whether it holds.
    #[must_use]
    pub fn holds<T: Ord>(self, there: &T, given: &T) -> bool {
        match self {
            Relation::Equal => there == given,
            Relation::NotEqual => there != given,
            Relation::Less => there < given,
            Relation::Greater => there > given,
        }
    }
}

impl Txn {
    /// All keys, in the order in which they are named.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        let compared = self.compares.iter().map(|compare| compare.key.as_slice());
        compared.chain(self.then.iter().chain(&self.otherwise).map(TxnOp::key))
    }

    /// The list that is done.
    #[must_use]
    pub fn branch(&self, succeeded: bool) -> &[TxnOp] {
        if succeeded { &self.then } else { &self.otherwise }
    }

    /// Its bytes, as requests and logs hold them.
    ///
    /// # Errors
    /// [`TxnError`] when it is none for a cluster of any number of shards.
    pub fn to_bytes(&self) -> Result<Vec<u8>, TxnError> {
        self.check()?;
        let bytes = encode(self);
        within("a transaction", bytes.len(), TXN_BYTES_MAX)?;
        Ok(bytes)
    }

    /// Reads what [`Txn::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`TxnError`] when it did not.
    pub fn from_bytes(bytes: &[u8]) -> Result<Txn, TxnError> {
        within("a transaction", bytes.len(), TXN_BYTES_MAX)?;
        let txn: Txn = decode(bytes)?;
        txn.check()?;
        Ok(txn)
    }

    /// The shard of all its keys.
    ///
    /// # Errors
    /// [`TxnError`] when there is no such shard.
    pub fn shard(&self, shards: u32) -> Result<ShardId, TxnError> {
        let mut all = self.keys().map(|key| shard_of(key, shards));
        let one = all.next().ok_or(TxnError::Empty)?;
        match all.find(|&other| other != one) {
            Some(other) => Err(TxnError::Shards { one, other }),
            None => Ok(one),
        }
    }

    fn check(&self) -> Result<(), TxnError> {
        within("comparisons", self.compares.len(), TXN_OPS_MAX)?;
        for list in [&self.then, &self.otherwise] {
            within("operations", list.len(), TXN_OPS_MAX)?;
            let mut written = BTreeSet::new();
            for op in list {
                within("a value", op.value().len(), VALUE_BYTES_MAX)?;
                if !op.is_read() && !written.insert(op.key()) {
                    return Err(TxnError::Twice { key: op.key().escape_ascii().to_string() });
                }
            }
        }
        for key in self.keys() {
            within("a key", key.len(), KEY_BYTES_MAX)?;
        }
        if self.keys().next().is_none() { Err(TxnError::Empty) } else { Ok(()) }
    }
}

fn within(what: &'static str, count: usize, limit: usize) -> Result<(), TxnError> {
    if count <= limit { Ok(()) } else { Err(TxnError::TooLong { what, count, limit }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str) -> TxnOp {
        TxnOp::Put { key: key.into(), value: b"v".to_vec() }
    }

    fn of(then: Vec<TxnOp>) -> Txn {
        Txn { then, ..Txn::default() }
    }

    #[test]
    fn a_transaction_comes_back_equal_and_a_damaged_one_does_not() {
        let with = Operand::Version(Some(Version { epoch: 1, index: 7 }));
        let compare = Compare { key: b"a".to_vec(), relation: Relation::Less, with };
        let txn = Txn {
            compares: vec![compare],
            then: vec![put("a"), TxnOp::Get { key: b"a".to_vec() }],
            otherwise: vec![TxnOp::Append { key: b"b".to_vec(), tail: b"t".to_vec() }],
        };
        let bytes = txn.to_bytes().expect("a good one");
        assert_eq!(Txn::from_bytes(&bytes), Ok(txn));
        for cut in 0..bytes.len() {
            assert!(Txn::from_bytes(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn what_is_none_is_told_why() {
        assert_eq!(of(vec![]).to_bytes(), Err(TxnError::Empty));
        assert_eq!(of(vec![put("a"), put("a")]).to_bytes(), Err(TxnError::Twice { key: "a".to_owned() }));
        let both = Txn { otherwise: vec![put("a")], ..of(vec![put("a")]) };
        assert!(both.to_bytes().is_ok(), "only one of the lists is done");
        let many = of((0..=TXN_OPS_MAX).map(|number| put(&number.to_string())).collect());
        assert!(matches!(many.to_bytes(), Err(TxnError::TooLong { what: "operations", .. })));
        let long = of(vec![TxnOp::Delete { key: vec![7; KEY_BYTES_MAX + 1] }]);
        assert!(matches!(long.to_bytes(), Err(TxnError::TooLong { what: "a key", .. })));
        let value = vec![7; VALUE_BYTES_MAX];
        let large = ["a", "b", "c"].map(|key| TxnOp::Put { key: key.into(), value: value.clone() });
        assert!(matches!(
            of(large.to_vec()).to_bytes(),
            Err(TxnError::TooLong { what: "a transaction", .. })
        ));
    }

    #[test]
    fn keys_of_one_tag_are_in_one_shard() {
        let tagged = of(vec![put("{t}a"), put("{t}b")]);
        assert_eq!(tagged.shard(64), Ok(shard_of(b"t", 64)));
        let apart = of((0..10).map(|number| put(&number.to_string())).collect());
        assert!(matches!(apart.shard(64), Err(TxnError::Shards { .. })));
        assert!(apart.shard(1).is_ok());
    }

    #[test]
    fn absence_is_less_than_anything() {
        let (absent, empty) = (None, Some(Vec::<u8>::new()));
        assert!(Relation::Less.holds(&absent, &empty) && Relation::Greater.holds(&empty, &absent));
        assert!(Relation::Equal.holds(&absent, &absent) && Relation::NotEqual.holds(&absent, &empty));
    }
}
