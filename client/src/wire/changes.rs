//! What is told of the changes of a shard: which of them, from where on, in which order.
//!
//! The versions that the writes of a shard make are ordered, over moves as well. A write may change several keys: those changes have
//! one version, and are counted. So a [`Mark`] names a place between two changes, and whoever was told all before it goes
//! on behind it, at whichever node, and is told each change once.
//!
//! ```text
//!   changes    1.41  │  1.42   1.42   1.42  │  1.57           a transaction made three
//!   marks          1.41   1.42+1 1.42+2   1.42     1.57
//! ```

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ids::{ShardId, Version, shard_of, shard_of_prefix};

/// An answer to [`RequestBody::Changes`](super::RequestBody::Changes) ends with the change that makes it this long: a quarter of what may
/// wait for a client to be read before nothing more is read from it.
pub const CHANGES_BYTES_MAX: usize = 256 << 10;

/// A place in the order of a shard's changes: behind all changes of earlier versions, and behind so many of this one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mark {
    /// The version.
    pub version: Version,
    /// How many of its changes; [`Mark::ALL`]: all that there are.
    pub told: u32,
}

impl Mark {
    /// All changes of a version.
    pub const ALL: u32 = u32::MAX;

    /// Before the first change of a shard.
    pub const BEGINNING: Mark = Mark::behind(Version { epoch: 0, index: 0 });

    /// Behind all changes of this version, and of those before it.
    #[must_use]
    pub const fn behind(version: Version) -> Mark {
        Mark { version, told: Mark::ALL }
    }
}

impl Default for Mark {
    fn default() -> Self {
        Mark::BEGINNING
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.told {
            Mark::ALL => write!(f, "{}", self.version),
            told => write!(f, "{}+{told}", self.version),
        }
    }
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no mark.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no version, expected one like 1.42 or, within a transaction, 1.42+1")]
pub struct MarkError(pub String);

impl FromStr for Mark {
    type Err = MarkError;

    /// Reads what [`fmt::Display`] prints.
    fn from_str(text: &str) -> Result<Self, MarkError> {
        let read = || {
            let (version, told) = match text.split_once('+') {
                Some((version, told)) => (version, told.parse().ok().filter(|&told| told != Mark::ALL)?),
                None => (text, Mark::ALL),
            };
            let (epoch, index) = version.split_once('.')?;
            Some(Mark { version: Version { epoch: epoch.parse().ok()?, index: index.parse().ok()? }, told })
        };
        read().ok_or_else(|| MarkError(text.to_owned()))
    }
}

/// Of which keys the changes are to be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Interest {
    /// Of this one.
    Key(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Of all that begin like this.
    Prefix(#[serde(with = "serde_bytes")] Vec<u8>),
}

impl Interest {
    /// The key or the prefix.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Interest::Key(bytes) | Interest::Prefix(bytes) => bytes,
        }
    }

    /// Whether it takes in this key.
    #[must_use]
    pub fn takes(&self, key: &[u8]) -> bool {
        match self {
            Interest::Key(wanted) => wanted == key,
            Interest::Prefix(prefix) => key.starts_with(prefix),
        }
    }

    /// The shard of all its keys, of so many; `None` where they may be in any.
    #[must_use]
    pub fn shard(&self, shards: u32) -> Option<ShardId> {
        match self {
            Interest::Key(key) => Some(shard_of(key, shards)),
            Interest::Prefix(prefix) => shard_of_prefix(prefix, shards),
        }
    }
}

/// A key was written, or removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The key.
    #[serde(with = "serde_bytes")]
    pub key: Vec<u8>,
    /// The whole value that it has by this change; `None`: it was removed.
    #[serde(with = "serde_bytes")]
    pub value: Option<Vec<u8>>,
    /// The place behind it: its version is that of the write.
    pub mark: Mark,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(epoch: u64, index: u64, told: u32) -> Mark {
        Mark { version: Version { epoch, index }, told }
    }

    #[test]
    fn marks_print_short_and_read_back() {
        for (text, of) in
            [("1.42", mark(1, 42, Mark::ALL)), ("2.7+3", mark(2, 7, 3)), ("0.0", Mark::BEGINNING)]
        {
            assert_eq!((of.to_string().as_str(), text.parse()), (text, Ok(of)));
        }
        for wrong in ["", "1", "1.", ".1", "1.2+", "1.2+x", "1.2+4294967295", "-1.2", "1.2.3", "1.2 "] {
            assert!(wrong.parse::<Mark>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn marks_are_ordered_as_the_changes_are() {
        let all = [Mark::BEGINNING, mark(1, 41, 1), mark(1, 41, Mark::ALL), mark(1, 42, 1), mark(1, 42, 2)];
        assert!(all.is_sorted() && all[4] < mark(1, 42, Mark::ALL) && mark(1, 99, 1) < mark(2, 3, 1));
    }

    #[test]
    fn a_prefix_with_a_whole_tag_is_of_one_shard() {
        let of = |text: &str| Interest::Prefix(text.into()).shard(64);
        assert_eq!(of("{user7}."), Some(shard_of(b"{user7}.name", 64)));
        assert_eq!(of("a{user7}"), Some(shard_of(b"a{user7}b{c}", 64)));
        for open in ["", "user7", "{user7", "{}", "{}{user7}", "user7}"] {
            assert_eq!(of(open), None, "{open}");
        }
        assert_eq!(Interest::Key(b"{".to_vec()).shard(64), Some(shard_of(b"{", 64)));
        assert!(
            Interest::Prefix(b"us".to_vec()).takes(b"user") && !Interest::Key(b"us".to_vec()).takes(b"user")
        );
    }
}
