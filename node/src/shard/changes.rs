//! What a watcher is told of a shard: its changes behind a mark, and up to where that is all.
//!
//! A replica tells only what it has applied while its group owned the shard, and that never becomes untrue: its state is what every
//! other one is or was after the same entries. One that is behind, or does not own the shard any more without knowing it yet,
//! tells less, and nothing wrong: `upto` is the last entry that it has applied, in the epoch in which it owns the shard, and later
//! changes have later versions, here and at later owners.

use ordeal_client::wire::{Change, Interest, Mark, RefusalReason, ShardId, Version};

use super::machine::{Machine, refusal};

/// What there is to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The changes, in order.
    pub changes: Vec<Change>,
    /// Up to here they are all.
    pub upto: Mark,
    /// Bytes of their keys and values.
    pub bytes: usize,
}

impl Machine {
    /// The changes of a shard behind a mark, until so many bytes are reached; without a mark none, and how far the shard is.
    ///
    /// # Errors
    /// Why it is not told here.
    pub fn changes(
        &self,
        shard: ShardId,
        of: &Interest,
        behind: Option<Mark>,
        bytes_max: usize,
    ) -> Result<Told, RefusalReason> {
        let held = match self.held.get(&shard) {
            Some(held) if held.is_frozen() => return Err(RefusalReason::Frozen { shard }),
            Some(held) => held,
            None => return Err(refusal(&self.away, shard)),
        };
        let now = Mark::behind(Version { epoch: held.epoch, index: self.applied });
        let mut told = Told { changes: Vec::new(), upto: now, bytes: 0 };
        let Some(behind) = behind else { return Ok(told) };
        let history = held.kv.history();
        if behind < history.floor() {
            return Err(RefusalReason::Compacted { shard, oldest: history.floor() });
        }
        let mut events = history.behind(behind).peekable();
        while let Some(event) = events.next() {
            let item = event.item();
            if !of.takes(item.key()) {
                continue;
            }
            let mark = event.behind(events.peek().copied());
            let value = (!event.is_removal()).then(|| item.value().to_vec());
            told.bytes += item.key().len() + item.value().len();
            told.changes.push(Change { key: item.key().to_vec(), value, mark });
            if told.bytes >= bytes_max {
                told.upto = mark;
                return Ok(told);
            }
        }
        told.upto = now.max(behind);
        Ok(told)
    }
}
