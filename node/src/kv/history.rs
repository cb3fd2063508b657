//! The last changes of a shard, in the order of its log, for those who watch keys. They are a part of the state: every replica has
//! the same, a snapshot holds them, and they move with their shard. So whoever was told all up to some mark goes on from there at
//! whichever node, whatever befell the one that told it.
//!
//! ```text
//!   forgotten ………… floor │ change  change  change  change │ change  change        parts, which copies share until they are
//!                  1.17   │ 1.19    1.20    1.24+1  1.24+2 │ 1.30    2.5           added to
//! ```
//!
//! Invariants
//! * marks ascend strictly, and all are above the floor; no change above the floor was forgotten
//! * the newest change is kept, however long it is; beyond it there are at most as many and as long ones as the limits say
//! * what is kept follows from the changes and the limits alone, and so does the digest

use std::collections::VecDeque;
use std::sync::Arc;

use ordeal_client::wire::{Mark, Version};

use super::digest;
use super::item::Item;

/// Changes that all shards of a cluster keep, at most: at 25,000 writes a second those of 10 seconds, in which a watcher finds the
/// next leader many times.
const CHANGES_OF_ALL: usize = 1 << 18;

/// Bytes that they count for: what a node has beside its data, where all of it was overwritten.
const BYTES_OF_ALL: usize = 128 << 20;

/// What a change counts for beside its key and value: its place in memory.
const CHANGE_BYTES: usize = 80;

/// Changes of a part, and bytes of the values in one that is not added to any more.
const PART_CHANGES: usize = 64;
const PART_BYTES: usize = 64 << 10;

/// How much is kept of one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Changes.
    pub changes: usize,
    /// Bytes that they count for.
    pub bytes: usize,
}

impl Limits {
    /// Of a cluster of so many shards: an even share for each, which is not too small to be of use.
    #[must_use]
    pub fn of(shards: u32) -> Limits {
        let share = |all: usize| all / shards.max(1) as usize;
        Limits {
            changes: share(CHANGES_OF_ALL).clamp(64, 8_192),
            bytes: share(BYTES_OF_ALL).clamp(32 << 10, 4 << 20),
        }
    }
}

/// A change of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The key, its value, and the version: shared with the state as long as it stands there. Of one that was removed, no value.
    item: Item,
    removed: bool,
    /// Which of the changes of its version, from 1.
    part: u32,
    digest: u64,
}

impl Event {
    /// A key was written, or removed, by one of the changes of a version, counted from 1.
    #[must_use]
    pub fn new(item: Item, removed: bool, part: u32) -> Event {
        Event::with_digest(item.digest(), item, removed, part)
    }

    fn with_digest(of_item: u64, item: Item, removed: bool, part: u32) -> Event {
        let digest = digest::mix(&[13, of_item, u64::from(part), u64::from(removed)]);
        Event { item, removed, part, digest }
    }

    /// The key, what it is by this change, and the version.
    #[must_use]
    pub fn item(&self) -> &Item {
        &self.item
    }

    /// Whether the key was removed.
    #[must_use]
    pub fn is_removal(&self) -> bool {
        self.removed
    }

    /// The place behind it, as if the next change were of its version, too.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark { version: self.item.version(), told: self.part }
    }

    /// The place behind it, where this change follows; without one it is the last of its version, for an entry is applied as a whole.
    #[must_use]
    pub fn behind(&self, next: Option<&Event>) -> Mark {
        let of_next = next.map(|next| next.item.version());
        if of_next == Some(self.item.version()) { self.mark() } else { Mark::behind(self.item.version()) }
    }

    fn bytes(&self) -> usize {
        CHANGE_BYTES + self.item.key().len() + self.item.value().len()
    }
}

#[derive(Debug, Clone, Default)]
struct Part {
    events: Vec<Event>,
    bytes: usize,
}

/// The last changes of a shard.
#[derive(Debug, Clone)]
pub struct History {
    parts: VecDeque<Arc<Part>>,
    /// Changes of the first part that are forgotten: they go with it.
    forgotten: usize,
    count: usize,
    bytes: usize,
    floor: Mark,
    /// Sum over the changes.
    digest: u64,
    limits: Limits,
}

impl History {
    /// An empty one, which forgot nothing.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let parts = VecDeque::new();
        History { parts, forgotten: 0, count: 0, bytes: 0, floor: Mark::BEGINNING, digest: 0, limits }
    }

    /// A key was written, or removed, by the entry that made this version. The digest is that of the item.
    pub(super) fn note(&mut self, item: Item, of_item: u64, removed: bool) {
        let part = match self.newest() {
            Some(newest) if newest.item.version() == item.version() => newest.part + 1,
            Some(_) | None => 1,
        };
        let noted = self.push(Event::with_digest(of_item, item, removed, part));
        assert!(noted, "versions of a shard grow");
    }

    /// Adds a change behind all that are there. False when it does not belong there, and then nothing is done.
    #[must_use]
    pub fn push(&mut self, event: Event) -> bool {
        if self.newest().map_or(self.floor, Event::mark) >= event.mark() {
            return false;
        }
        self.count += 1;
        self.bytes += event.bytes();
        self.digest = self.digest.wrapping_add(event.digest);
        let full = |part: &Arc<Part>| part.events.len() >= PART_CHANGES || part.bytes >= PART_BYTES;
        if self.parts.back().is_none_or(full) {
            self.parts.push_back(Arc::new(Part { events: Vec::with_capacity(PART_CHANGES), bytes: 0 }));
        }
        let last = Arc::make_mut(self.parts.back_mut().expect("added just now"));
        last.bytes += event.bytes();
        last.events.push(event);
        while self.count > 1 && (self.count > self.limits.changes || self.bytes > self.limits.bytes) {
            let (oldest, next) = (self.oldest().expect("one of several"), self.oldest_but(1));
            self.floor = oldest.behind(next);
            self.forget();
        }
        true
    }

    /// Nothing up to this mark is kept any more.
    pub fn cut(&mut self, floor: Mark) {
        while self.oldest().is_some_and(|oldest| oldest.mark() <= floor) {
            self.forget();
        }
        self.floor = self.floor.max(floor);
    }

    /// From here on all changes are kept.
    #[must_use]
    pub fn floor(&self) -> Mark {
        self.floor
    }

    /// Where the newest change is.
    #[must_use]
    pub fn end(&self) -> Mark {
        self.newest().map_or(self.floor, |newest| newest.behind(None))
    }

    /// The changes behind a mark, in order.
    pub fn behind(&self, mark: Mark) -> impl Iterator<Item = &Event> {
        let told = |part: &Arc<Part>| part.events.last().is_some_and(|last| last.mark() <= mark);
        let from = self.parts.partition_point(told);
        let parts = self.parts.range(from..).enumerate();
        parts
            .flat_map(move |(at, part)| {
                let forgotten = if from + at == 0 { self.forgotten } else { 0 };
                &part.events[forgotten..]
            })
            .skip_while(move |event| event.mark() <= mark)
    }

    /// Checksum of all of it, and of where it begins.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let Mark { version: Version { epoch, index }, told } = self.floor;
        digest::mix(&[14, epoch, index, u64::from(told), self.digest])
    }

    fn newest(&self) -> Option<&Event> {
        self.parts.back().and_then(|part| part.events.last())
    }

    fn oldest(&self) -> Option<&Event> {
        self.oldest_but(0)
    }

    /// The oldest change but so many: one or none.
    fn oldest_but(&self, others: usize) -> Option<&Event> {
        let here = self.parts.front()?.events.get(self.forgotten + others);
        here.or_else(|| self.parts.get(1)?.events.first())
    }

    /// Forgets the oldest change.
    fn forget(&mut self) {
        let oldest = self.oldest().expect("there is one to forget");
        let (bytes, digest) = (oldest.bytes(), oldest.digest);
        self.count -= 1;
        self.bytes -= bytes;
        self.digest = self.digest.wrapping_sub(digest);
        self.forgotten += 1;
        if self.forgotten == self.parts[0].events.len() {
            self.parts.pop_front();
            self.forgotten = 0;
        }
    }
}

impl PartialEq for History {
    fn eq(&self, other: &History) -> bool {
        self.floor == other.floor && self.behind(self.floor).eq(other.behind(other.floor))
    }
}

impl Eq for History {}
