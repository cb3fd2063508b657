//! The names of things. Each is a type of its own and prints short: `n3`, `g1`, `s7`, version `1.42`.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

macro_rules! short_id {
    ($(#[$doc:meta])* $name:ident($inner:ty), $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            /// Reads the short form that [`fmt::Display`] prints.
            fn from_str(text: &str) -> Result<Self, IdError> {
                let number = text.strip_prefix($prefix).and_then(|digits| digits.parse().ok());
                number.map($name).ok_or_else(|| IdError { text: text.to_owned(), example: concat!($prefix, "1") })
            }
        }
    };
}

short_id! {
    /// A node: one process with one data directory. Nodes of a cluster are numbered from 1.
    NodeId(u32), "n"
}
short_id! {
    /// A Raft group. Group 0 is the controller's; groups from 1 on hold data.
    GroupId(u32), "g"
}
short_id! {
    /// A shard: the part of the key space that moves as one.
    ShardId(u32), "s"
}

short_id! {
    /// A move of a shard: counted by the controller, from 1, so no two are ever the same.
    MoveId(u64), "m"
}

/// A text that is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no id, expected one like `{example}`")]
pub struct IdError {
    text: String,
    example: &'static str,
}

/// A cluster: a random number drawn once when it is created, printed as 16 hexadecimal digits. Nodes refuse
/// connections and data directories of another cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClusterId(pub u64);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ClusterId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let number = (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok()).flatten();
        number.map(ClusterId).ok_or_else(|| IdError { text: text.to_owned(), example: "00c0ffee00c0ffee" })
    }
}

/// A data directory of a node: drawn once when it is begun, printed as 16 hexadecimal digits. Who lost its data and begins with an
/// empty directory has another one, whatever it calls itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DirectoryId(pub u64);

impl DirectoryId {
    /// An id that no other directory has.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Self {
        DirectoryId(unlike_any_other())
    }
}

impl fmt::Display for DirectoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for DirectoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for DirectoryId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.parse().map(|ClusterId(number)| DirectoryId(number))
    }
}

/// The time, and for two within a nanosecond the process.
fn unlike_any_other() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let nanoseconds = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
    nanoseconds ^ u64::from(std::process::id()).rotate_left(40)
}

/// A client's session in one shard: the moment of the shard in which it was opened, so no two are ever the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId(pub u64);

/// An administrator's command to the controller: a random number drawn once for it, the same on every retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CommandId(pub u64);

impl CommandId {
    /// An id that no other command has.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Self {
        CommandId(unlike_any_other())
    }
}

/// The version of a key: the epoch of its shard, then the log index of the entry that wrote it. Versions of one key
/// grow strictly, so a write that names the version it made and the one it replaced makes a claim that can be checked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version {
    /// How often the shard has changed its owner, from 1.
    pub epoch: u64,
    /// Index in the owner's log.
    pub index: u64,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.index)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The shard of a key: CRC-32 of the key, or of what stands between the first `{` and the next `}` so that
/// `{user7}.name` and `{user7}.age` stay together, modulo the number of shards. The one hash for put, restore and move.
///
/// # Panics
/// When `shards` is 0: a cluster has at least one.
#[must_use]
pub fn shard_of(key: &[u8], shards: u32) -> ShardId {
    assert!(shards > 0, "a cluster has at least one shard");
    ShardId(crc32fast::hash(tag_of(key)) % shards)
}

/// The shard of all keys that begin like this; `None` where they may be in any. It is one where a whole tag stands in the prefix.
///
/// # Panics
/// As [`shard_of`].
#[must_use]
pub fn shard_of_prefix(prefix: &[u8], shards: u32) -> Option<ShardId> {
    (tag_of(prefix).len() < prefix.len()).then(|| shard_of(prefix, shards))
}

fn tag_of(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|&byte| byte == b'{') else { return key };
    let inside = &key[open + 1..];
    match inside.iter().position(|&byte| byte == b'}') {
        Some(0) | None => key,
        Some(close) => &inside[..close],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_short_and_read_back() {
        assert_eq!(NodeId(3).to_string(), "n3");
        assert_eq!("n3".parse(), Ok(NodeId(3)));
        assert_eq!("g0".parse(), Ok(GroupId(0)));
        assert!("3".parse::<NodeId>().is_err());
        assert!("n-1".parse::<NodeId>().is_err());
        assert_eq!("00c0ffee00c0ffee".parse(), Ok(ClusterId(0x00c0_ffee_00c0_ffee)));
        assert!("c0ffee".parse::<ClusterId>().is_err());
    }

    #[test]
    fn a_tag_keeps_keys_together() {
        assert_eq!(shard_of(b"{user7}.name", 64), shard_of(b"{user7}.age", 64));
        assert_eq!(shard_of(b"{user7}.name", 64), shard_of(b"user7", 64));
        assert_eq!(tag_of(b"{}x"), b"{}x");
        assert_eq!(tag_of(b"x{y"), b"x{y");
    }
}
