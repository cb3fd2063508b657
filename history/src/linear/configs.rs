//! Configurations: what is in the order so far, as far as that still matters; and sets of them without those that can do
//! nothing that another one cannot.
//!
//! ```text
//! state │ done slots … │ absorbable slots … │ (optional class, how many of it are used) …
//! ```
//! A pending operation is *done* when it is in the order. A pending quiet one that is not done is *absorbable* when some blind
//! operation was put into the order since its call: it may be put right before that one, where nobody sees it, whenever it
//! pleases. So one that is absorbable can do all that one that is done can, and more.

use std::collections::hash_map::Entry as Place;

use super::fast_hash::{FastMap, hash_of};

/// No configuration, no step.
pub(super) const NOTHING: u32 = u32::MAX;

/// Up to so many configurations are compared one by one; beyond, through tables.
const LINEAR_MAX: usize = 8;

/// With so many others of the same state one is compared, the newest first. Not to find the one that can do more costs
/// time, never truth.
const COMPARED_MAX: usize = 64;

/// Bytes of a configuration beside its words: its item, its places in two tables, and that among those to be looked at.
const ITEM_BYTES: usize = size_of::<Item>() + 64;

/// Reads the words of a configuration.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Words of a set of slots.
    pub(super) words: usize,
}

impl Shape {
    pub(super) fn state(config: &[u64]) -> u32 {
        u32::try_from(config[0]).expect("the first word holds a state")
    }

    pub(super) fn done(self, config: &[u64]) -> &[u64] {
        &config[1..=self.words]
    }

    pub(super) fn absorbable(self, config: &[u64]) -> &[u64] {
        &config[1 + self.words..=2 * self.words]
    }

    pub(super) fn used(self, config: &[u64]) -> &[u64] {
        &config[1 + 2 * self.words..]
    }

    pub(super) fn is_done(self, config: &[u64], slot: usize) -> bool {
        self.done(config)[slot / 64] & 1 << (slot % 64) != 0
    }

    pub(super) fn is_absorbable(self, config: &[u64], slot: usize) -> bool {
        self.absorbable(config)[slot / 64] & 1 << (slot % 64) != 0
    }

    /// Puts an operation into the order.
    pub(super) fn set_done(self, config: &mut [u64], slot: usize) {
        let (word, bit) = (1 + slot / 64, 1 << (slot % 64));
        config[word] |= bit;
        config[word + self.words] &= !bit;
    }

    /// Frees a slot.
    pub(super) fn clear(self, config: &mut [u64], slot: usize) {
        let (word, bit) = (1 + slot / 64, 1 << (slot % 64));
        config[word] &= !bit;
        config[word + self.words] &= !bit;
    }

    /// A blind operation was put into the order: those that are pending can hide behind it.
    pub(super) fn absorb(self, config: &mut [u64], quiet_slots: &[u64]) {
        for (word, &slots) in quiet_slots.iter().enumerate() {
            config[1 + self.words + word] |= slots & !config[1 + word];
        }
    }

    /// How many of an optional class are used.
    pub(super) fn count_used(self, config: &[u64], optional: usize) -> usize {
        let used = self.used(config);
        let place = used.binary_search_by_key(&(optional as u64), |pair| pair >> 32);
        place.map_or(0, |at| usize::try_from(used[at] & u64::from(u32::MAX)).expect("a count of operations"))
    }

    /// How many optional operations are used.
    pub(super) fn count_all_used(self, config: &[u64]) -> u64 {
        self.used(config).iter().map(|pair| pair & u64::from(u32::MAX)).sum()
    }

    /// Uses one more of an optional class.
    pub(super) fn use_one(self, config: &mut Vec<u64>, optional: usize) {
        let class = optional as u64;
        match self.used(config).binary_search_by_key(&class, |pair| pair >> 32) {
            Ok(at) => config[1 + 2 * self.words + at] += 1,
            Err(at) => config.insert(1 + 2 * self.words + at, class << 32 | 1),
        }
    }

    /// Whether whatever can come after the second can come after the first as well. Both have the same state.
    fn covers(self, more: &[u64], less: &[u64]) -> bool {
        for word in 1..=self.words {
            let (done, absorbable) = (more[word], more[word + self.words]);
            let (less_done, less_absorbable) = (less[word], less[word + self.words]);
            // Absorbable covers everything, done and pending cover themselves.
            let is_covered = less_absorbable & !absorbable == 0
                && less_done & !(done | absorbable) == 0
                && done & !less_done == 0;
            if !is_covered {
                return false;
            }
        }
        let mut others = self.used(less).iter();
        self.used(more).iter().all(|pair| {
            others.any(|other| {
                other >> 32 == pair >> 32 && other & u64::from(u32::MAX) >= pair & u64::from(u32::MAX)
            })
        })
    }
}

#[derive(Debug, Clone, Copy)]
struct Item {
    begin: u32,
    end: u32,
    /// The last step of the order that led here.
    trail: u32,
    /// The item of the same state, and of the same hash, before this one.
    same_state: u32,
    same_hash: u32,
    /// See [`Configs::insert`].
    is_idle: bool,
    is_covered: bool,
    is_looked_at: bool,
}

/// Configurations at one moment, none of which is known to be covered by another that was there before it.
#[derive(Debug, Default)]
pub(super) struct Configs {
    cells: Vec<u64>,
    items: Vec<Item>,
    /// The newest item of each state, and of each hash; filled when there are more than a few.
    by_state: FastMap<u32, u32>,
    by_hash: FastMap<u64, u32>,
}

impl Configs {
    pub(super) fn config(&self, id: u32) -> &[u64] {
        let item = &self.items[id as usize];
        &self.cells[item.begin as usize..item.end as usize]
    }

    pub(super) fn trail(&self, id: u32) -> u32 {
        self.items[id as usize].trail
    }

    pub(super) fn set_trail(&mut self, id: u32, trail: u32) {
        self.items[id as usize].trail = trail;
    }

    /// Whether it is to be looked at: it was not yet, and none that came later can do all that it can.
    pub(super) fn is_due(&self, id: u32) -> bool {
        let item = &self.items[id as usize];
        !item.is_looked_at && !item.is_covered
    }

    pub(super) fn set_looked_at(&mut self, id: u32) {
        self.items[id as usize].is_looked_at = true;
    }

    /// Whether this one may go on only in some ways, as it was said when it was put in.
    pub(super) fn is_idle(&self, id: u32) -> bool {
        self.items[id as usize].is_idle
    }

    pub(super) fn clear(&mut self) {
        self.cells.clear();
        self.items.clear();
        self.by_state.clear();
        self.by_hash.clear();
    }

    pub(super) fn bytes(&self) -> usize {
        self.cells.len() * 8 + self.items.len() * ITEM_BYTES
    }

    /// Puts one in, unless another is known to cover it; those that it covers are marked. An idle one may go on only in
    /// some ways, so it covers none but idle ones.
    pub(super) fn insert(&mut self, shape: Shape, config: &[u64], is_idle: bool) -> Option<u32> {
        let state = Shape::state(config);
        let has_tables = self.items.len() > LINEAR_MAX;
        let hash = if has_tables { hash_of(config) } else { 0 };
        if has_tables && self.has_equal(config, hash, is_idle) {
            return None;
        }
        let newest = self.items.len().checked_sub(1).map_or(NOTHING, index);
        let mut at = if has_tables { self.by_state.get(&state).copied().unwrap_or(NOTHING) } else { newest };
        for _ in 0..COMPARED_MAX {
            let Some(&item) = self.items.get(at as usize) else { break };
            let other = &self.cells[item.begin as usize..item.end as usize];
            if other[0] == config[0] {
                if (!item.is_idle || is_idle) && shape.covers(other, config) {
                    return None;
                }
                if (!is_idle || item.is_idle) && shape.covers(config, other) {
                    self.items[at as usize].is_covered = true;
                }
            }
            at = if has_tables { item.same_state } else { at.checked_sub(1).unwrap_or(NOTHING) };
        }
        Some(self.push(config, is_idle))
    }

    fn has_equal(&self, config: &[u64], hash: u64, is_idle: bool) -> bool {
        let mut at = self.by_hash.get(&hash).copied().unwrap_or(NOTHING);
        while let Some(item) = self.items.get(at as usize) {
            if (!item.is_idle || is_idle) && self.config(at) == config {
                return true;
            }
            at = item.same_hash;
        }
        false
    }

    fn push(&mut self, config: &[u64], is_idle: bool) -> u32 {
        let id = index(self.items.len());
        let begin = index(self.cells.len());
        self.cells.extend_from_slice(config);
        let end = index(self.cells.len());
        let (same_state, same_hash) = (NOTHING, NOTHING);
        let item = Item {
            begin,
            end,
            trail: NOTHING,
            same_state,
            same_hash,
            is_idle,
            is_covered: false,
            is_looked_at: false,
        };
        self.items.push(item);
        match self.items.len() {
            0..=LINEAR_MAX => {}
            count if count == LINEAR_MAX + 1 => (0..=id).for_each(|id| self.note(id)),
            _ => self.note(id),
        }
        id
    }

    /// Enters an item into the tables.
    fn note(&mut self, id: u32) {
        let hash = hash_of(self.config(id));
        let state = Shape::state(self.config(id));
        let item = &mut self.items[id as usize];
        item.same_state = replace(self.by_state.entry(state), id);
        item.same_hash = replace(self.by_hash.entry(hash), id);
    }
}

fn replace<K>(place: Place<'_, K, u32>, id: u32) -> u32 {
    match place {
        Place::Occupied(mut place) => place.insert(id),
        Place::Vacant(place) => {
            place.insert(id);
            NOTHING
        }
    }
}

fn index(count: usize) -> u32 {
    u32::try_from(count).expect("4 G of anything is beyond any memory limit")
}
