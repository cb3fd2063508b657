//! A key with its value, and the write that made it what it is. Never changed once it is made, so that copies share it.
//!
//! In a snapshot items stand in runs, one behind the other, all integers little-endian:
//!
//! ```text
//!   run  := item+
//!   item := key bytes u32 | value bytes u32 | epoch u64 | index u64 | key … | value …
//! ```
//!
//! What is read from a run shares its bytes: a whole run costs one allocation. A run is short, so that the last of its
//! items to stay holds on to little.

use std::sync::Arc;

use ordeal_client::wire::Version;

use super::digest;

/// A run ends with the item that makes it this long.
pub const RUN_BYTES: usize = 16 << 10;

/// Lengths and version of an item in a run.
const HEAD_BYTES: usize = 4 + 4 + 8 + 8;

/// A key with its value.
#[derive(Debug, Clone)]
pub struct Item {
    /// Holds the key, and right behind it the value; perhaps other items as well.
    bytes: Arc<[u8]>,
    /// Where the key begins.
    at: u32,
    key_bytes: u32,
    value_bytes: u32,
    /// Of the value.
    checksum: u32,
    /// Of the last write.
    version: Version,
}

impl Item {
    /// A key with a value that a write has made.
    #[must_use]
    pub fn new(key: &[u8], value: &[u8], version: Version) -> Self {
        Item::with_checksum(key, value, version, digest::checksum(0, value))
    }

    /// The key and the value that these bytes end with, made by a write. It shares them: nothing is copied.
    #[must_use]
    pub fn at_end_of(bytes: &Arc<[u8]>, key: &[u8], value: &[u8], version: Version) -> Self {
        let at = bytes.len() - key.len() - value.len();
        assert!(bytes[at..].starts_with(key), "the bytes end with key and value");
        Item {
            bytes: Arc::clone(bytes),
            at: length(at),
            key_bytes: length(key.len()),
            value_bytes: length(value.len()),
            checksum: digest::checksum(0, value),
            version,
        }
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.bytes[self.at as usize..][..self.key_bytes as usize]
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.bytes[self.at as usize + self.key_bytes as usize..][..self.value_bytes as usize]
    }

    /// The write that made the value.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Checksum of all of it.
    #[must_use]
    pub fn digest(&self) -> u64 {
        digest::mix(&[
            1,
            u64::from(self.key_bytes),
            u64::from(digest::checksum(0, self.key())),
            u64::from(self.value_bytes),
            u64::from(self.checksum),
            self.version.epoch,
            self.version.index,
        ])
    }

    /// The same key with a tail behind its value.
    pub(super) fn with_tail(&self, tail: &[u8], version: Version) -> Item {
        let value = [self.value(), tail].concat();
        Item::with_checksum(self.key(), &value, version, digest::checksum(self.checksum, tail))
    }

    /// The same, holding on to no other item.
    #[must_use]
    pub fn alone(&self) -> Item {
        let own = self.key_bytes as usize + self.value_bytes as usize;
        if self.bytes.len() == own {
            return self.clone();
        }
        let bytes = Arc::from(&self.bytes[self.at as usize..][..own]);
        Item { bytes, at: 0, ..*self }
    }

    /// How long it is in a run.
    #[must_use]
    pub fn run_bytes(&self) -> usize {
        HEAD_BYTES + self.key_bytes as usize + self.value_bytes as usize
    }

    /// Adds it to a run.
    pub fn write_to(&self, run: &mut Vec<u8>) {
        run.extend_from_slice(&self.key_bytes.to_le_bytes());
        run.extend_from_slice(&self.value_bytes.to_le_bytes());
        run.extend_from_slice(&self.version.epoch.to_le_bytes());
        run.extend_from_slice(&self.version.index.to_le_bytes());
        let (at, length) = (self.at as usize, self.run_bytes() - HEAD_BYTES);
        run.extend_from_slice(&self.bytes[at..][..length]);
    }

    /// The item at a place of a run; nothing when no whole one stands there. The next one begins [`Item::run_bytes`] behind.
    #[must_use]
    pub fn read_from(run: &Arc<[u8]>, at: usize) -> Option<Item> {
        let mut rest = run.get(at..)?;
        let key_bytes = u32::from_le_bytes(take(&mut rest)?);
        let value_bytes = u32::from_le_bytes(take(&mut rest)?);
        let epoch = u64::from_le_bytes(take(&mut rest)?);
        let index = u64::from_le_bytes(take(&mut rest)?);
        let (_key, behind) = rest.split_at_checked(key_bytes as usize)?;
        let value = behind.get(..value_bytes as usize)?;
        Some(Item {
            bytes: Arc::clone(run),
            at: u32::try_from(at + HEAD_BYTES).ok()?,
            key_bytes,
            value_bytes,
            checksum: digest::checksum(0, value),
            version: Version { epoch, index },
        })
    }

    fn with_checksum(key: &[u8], value: &[u8], version: Version, checksum: u32) -> Item {
        let (key_bytes, value_bytes) = (length(key.len()), length(value.len()));
        Item { bytes: [key, value].concat().into(), at: 0, key_bytes, value_bytes, checksum, version }
    }
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("keys and values have limits far below")
}

impl PartialEq for Item {
    fn eq(&self, other: &Item) -> bool {
        self.key() == other.key() && self.value() == other.value() && self.version == other.version
    }
}

impl Eq for Item {}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(key: &str, value: &str, index: u64) -> Item {
        Item::new(key.as_bytes(), value.as_bytes(), Version { epoch: 1, index })
    }

    #[test]
    fn items_come_back_from_a_run_and_a_cut_one_does_not() {
        let items = [item("a", "", 1), item("", "value", 2), item("key", "x", 3)];
        let mut bytes = Vec::new();
        items.iter().for_each(|item| item.write_to(&mut bytes));
        let run: Arc<[u8]> = bytes.clone().into();
        let mut at = 0;
        for item in &items {
            let read = Item::read_from(&run, at).expect("one stands here");
            assert_eq!((&read, read.digest()), (item, item.digest()));
            assert_eq!((&read.alone(), read.alone().bytes.len()), (item, item.run_bytes() - HEAD_BYTES));
            let short: Arc<[u8]> = bytes[..at + item.run_bytes() - 1].into();
            assert_eq!(Item::read_from(&short, at), None);
            at += item.run_bytes();
        }
        assert_eq!((at, Item::read_from(&run, at)), (run.len(), None));
        assert_eq!(Item::read_from(&run, at + 1), None);
        let endless: Arc<[u8]> = [&[0xff; 8][..], &[0; 100]].concat().into();
        assert_eq!(Item::read_from(&endless, 0), None);
    }

    #[test]
    fn an_item_shares_the_end_of_its_command() {
        let command: Arc<[u8]> = b"head key value".as_slice().into();
        let shared = Item::at_end_of(&command, b"key ", b"value", Version { epoch: 1, index: 1 });
        let own = item("key ", "value", 1);
        assert_eq!((&shared, shared.digest(), shared.run_bytes()), (&own, own.digest(), own.run_bytes()));
        assert!(Arc::ptr_eq(&shared.bytes, &command));
        assert_eq!((shared.alone().bytes.len(), Arc::strong_count(&command)), (9, 2));
    }

    #[test]
    fn a_tail_goes_behind_the_value() {
        let whole = item("k", "onetwo", 2);
        let grown = item("k", "one", 1).with_tail(b"two", whole.version());
        assert_eq!((&grown, grown.digest()), (&whole, whole.digest()));
    }
}
