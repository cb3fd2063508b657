//! Items by key, in parts of a few dozen. A copy shares every part until one of the two writes to it: then only that part
//! is copied, so that a write never costs more than a part, and a list of all parts once.
//!
//! Nobody asks for the keys of a shard in the order of an alphabet. So they stand in the order of their hashes, which are
//! kept beside them: most of a search looks at numbers in one place, and at the bytes of one key only.
//!
//! ```text
//!   parts    ≥ 0x00… ──▶ 03 07 1c 2a      ≥ 0x31… ──▶ 31 55 5f      ≥ 0x70… ──▶ 78 91 a0 f3      hashes
//!                        k  x7 a  zz                  b  m  q                   …                items
//! ```
//!
//! Invariants
//! * items ascend strictly by (hash, key), within a part and from part to part; no part is empty
//! * items of one hash stand in one part
//! * a part's hashes are at or above its `low`, which is above all hashes before it; of the first part `low` says nothing
//! * `count` is the number of all items

use std::cmp::Ordering;
use std::sync::Arc;

use super::digest;
use super::item::Item;

/// Items of a part, at most, unless their hashes are all one. To copy so many references takes a few microseconds: no
/// more than a write costs besides.
pub const PART_ITEMS_MAX: usize = 64;

/// A part with fewer is joined with its neighbour, if the two are no full part then.
const PART_ITEMS_MIN: usize = PART_ITEMS_MAX / 4;

/// Room that a part has when it is made from a sorted run: three quarters, so that the next writes split nothing.
const PART_ITEMS_FILLED: usize = PART_ITEMS_MAX / 4 * 3;

/// Items by key.
#[derive(Debug, Clone, Default)]
pub struct Parts {
    parts: Vec<Part>,
    count: usize,
}

#[derive(Debug, Clone)]
struct Part {
    low: u64,
    body: Arc<Body>,
}

#[derive(Debug)]
struct Body {
    /// Of the keys of `items`, place for place.
    hashes: Vec<u64>,
    items: Vec<Item>,
}

impl Clone for Body {
    /// With room for all that a part may hold: a copy is made to be written to.
    fn clone(&self) -> Self {
        let mut body = Body::with_room();
        body.hashes.extend_from_slice(&self.hashes);
        body.items.extend_from_slice(&self.items);
        body
    }
}

impl Part {
    fn of(hash: u64, item: Item) -> Part {
        let mut body = Body::with_room();
        body.hashes.push(hash);
        body.items.push(item);
        Part { low: hash, body: Arc::new(body) }
    }
}

impl Body {
    /// An empty one that takes as many items as a part may hold, and the one more that splits it, without moving those it has.
    fn with_room() -> Body {
        Body { hashes: Vec::with_capacity(PART_ITEMS_MAX + 1), items: Vec::with_capacity(PART_ITEMS_MAX + 1) }
    }

    fn find(&self, hash: u64, key: &[u8]) -> Result<usize, usize> {
        // All of them, and not every second half: so no look waits for the one before, which from memory takes long.
        let mut at = self.hashes.iter().filter(|&&other| other < hash).count();
        // Nearly always one step or none.
        while self.hashes.get(at) == Some(&hash) {
            match self.items[at].key().cmp(key) {
                Ordering::Less => at += 1,
                Ordering::Equal => return Ok(at),
                Ordering::Greater => break,
            }
        }
        Err(at)
    }
}

impl Parts {
    /// How many items there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The item of a key.
    #[must_use]
    pub fn find(&self, key: &[u8]) -> Option<&Item> {
        let hash = digest::hash(key);
        let body = &self.parts.get(self.place(hash))?.body;
        body.find(hash, key).ok().map(|at| &body.items[at])
    }

    /// All items, in an order that follows from their keys alone.
    pub fn iter(&self) -> impl Iterator<Item = &Item> {
        self.parts.iter().flat_map(|part| part.body.items.iter())
    }

    /// The items behind that of this key, whether there is one or not, in the order of [`Parts::iter`]; without a key all.
    pub fn after(&self, key: Option<&[u8]>) -> impl Iterator<Item = &Item> {
        let (part, at) = key.map_or((0, 0), |key| {
            let hash = digest::hash(key);
            let part = self.place(hash);
            let found = self.parts.get(part).map(|part| part.body.find(hash, key));
            (part, found.map_or(0, |found| found.map_or_else(|at| at, |at| at + 1)))
        });
        let first = self.parts.get(part).map_or(&[][..], |part| &part.body.items[at..]);
        let others = self.parts.iter().skip(part + 1).flat_map(|part| part.body.items.iter());
        first.iter().chain(others)
    }

    /// Puts an item behind all that are there, in the order of [`Parts::iter`]. False when it does not belong there, and
    /// then nothing is done.
    #[must_use]
    pub fn push(&mut self, item: Item) -> bool {
        let hash = digest::hash(item.key());
        self.count += 1;
        let Some(part) = self.parts.last_mut() else {
            self.parts.push(Part::of(hash, item));
            return true;
        };
        let body = Arc::make_mut(&mut part.body);
        let (Some(&last), Some(before)) = (body.hashes.last(), body.items.last()) else {
            unreachable!("no part is empty")
        };
        if (last, before.key()) >= (hash, item.key()) {
            self.count -= 1;
            return false;
        }
        if body.items.len() >= PART_ITEMS_FILLED && last != hash {
            self.parts.push(Part::of(hash, item));
        } else {
            body.hashes.push(hash);
            body.items.push(item);
        }
        true
    }

    /// Puts an item where it belongs, and gives back the one of the same key that it takes the place of.
    pub fn put(&mut self, item: Item) -> Option<Item> {
        let hash = digest::hash(item.key());
        let place = self.place(hash);
        let Some(part) = self.parts.get_mut(place) else {
            self.parts.push(Part::of(hash, item));
            self.count += 1;
            return None;
        };
        let body = Arc::make_mut(&mut part.body);
        match body.find(hash, item.key()) {
            Ok(at) => Some(std::mem::replace(&mut body.items[at], item)),
            Err(at) => {
                body.hashes.insert(at, hash);
                body.items.insert(at, item);
                self.count += 1;
                self.split_if_too_long(place);
                None
            }
        }
    }

    /// Takes an item out.
    pub fn remove(&mut self, key: &[u8]) -> Option<Item> {
        let hash = digest::hash(key);
        let place = self.place(hash);
        let part = self.parts.get_mut(place)?;
        let at = part.body.find(hash, key).ok()?;
        let body = Arc::make_mut(&mut part.body);
        body.hashes.remove(at);
        let removed = body.items.remove(at);
        self.count -= 1;
        if body.items.is_empty() {
            self.parts.remove(place);
        } else if body.items.len() < PART_ITEMS_MIN {
            self.join(place);
        }
        Some(removed)
    }

    /// The part that a hash belongs to, if there is any part.
    fn place(&self, hash: u64) -> usize {
        let count = self.parts.len();
        // Hashes are spread evenly, so that a part stands about where its share of all hashes is: a step or two away.
        let about = (u128::from(hash) * count as u128) >> 64;
        let mut at = usize::try_from(about).expect("a share of a length");
        while at > 0 && self.parts[at].low > hash {
            at -= 1;
        }
        while at + 1 < count && self.parts[at + 1].low <= hash {
            at += 1;
        }
        at
    }

    fn split_if_too_long(&mut self, place: usize) {
        let body = &self.parts[place].body;
        let count = body.items.len();
        if count <= PART_ITEMS_MAX {
            return;
        }
        // At a place where the hash changes, as near to the middle as there is one.
        let changes = (1..count).filter(|&at| body.hashes[at - 1] < body.hashes[at]);
        let Some(at) = changes.min_by_key(|at| at.abs_diff(count / 2)) else { return };
        let body = Arc::make_mut(&mut self.parts[place].body);
        let mut upper = Body::with_room();
        upper.hashes.extend(body.hashes.drain(at..));
        upper.items.extend(body.items.drain(at..));
        self.parts.insert(place + 1, Part { low: upper.hashes[0], body: Arc::new(upper) });
    }

    /// Joins a short part with a neighbour, if the two are not too long. Of items that share their bytes with others many
    /// are gone by then: so these are copied, lest a few hold on to the bytes of all.
    fn join(&mut self, place: usize) {
        let left = place.saturating_sub(1);
        let pair = left..(left + 2).min(self.parts.len());
        let count: usize = self.parts[pair.clone()].iter().map(|part| part.body.items.len()).sum();
        if pair.len() < 2 || count > PART_ITEMS_FILLED {
            return;
        }
        let bodies = || self.parts[pair.clone()].iter().map(|part| &part.body);
        let hashes = bodies().flat_map(|body| body.hashes.iter().copied()).collect();
        let items = bodies().flat_map(|body| body.items.iter().map(Item::alone)).collect();
        let joined = Part { low: self.parts[left].low, body: Arc::new(Body { hashes, items }) };
        self.parts.splice(pair, [joined]);
    }
}

/// Looks at all that putting items of these keys will touch, so that it is near when they are put. Memory answers many questions
/// in the time of one, if none waits for another's answer: so each step is taken for all keys before the next one is.
/// The number says nothing: it depends on everything that was looked at, so that nobody leaves the looking out.
pub fn look_ahead<'a>(keys: impl Iterator<Item = (&'a Parts, &'a [u8])>) -> u64 {
    let hashed: Vec<(&Parts, u64)> = keys.map(|(parts, key)| (parts, digest::hash(key))).collect();
    let body = |&(parts, hash): &(&'a Parts, u64)| Some((&*parts.parts.get(parts.place(hash))?.body, hash));
    let bodies: Vec<(&Body, u64)> = hashed.iter().filter_map(body).collect();
    let rows: Vec<(&[u64], &[Item], u64)> =
        bodies.iter().map(|&(body, hash)| (&body.hashes[..], &body.items[..], hash)).collect();
    // Those behind the place of the key move up for it.
    let behind = |&(hashes, items, hash): &(&[u64], &'a [Item], u64)| {
        &items[hashes.iter().filter(|&&other| other < hash).count()..]
    };
    let moving: Vec<&[Item]> = rows.iter().map(behind).collect();
    moving.iter().flat_map(|items| items.iter()).map(|item| item.version().index).fold(0, u64::wrapping_add)
}

impl PartialEq for Parts {
    fn eq(&self, other: &Parts) -> bool {
        self.count == other.count && self.iter().eq(other.iter())
    }
}

impl Eq for Parts {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ordeal_client::wire::Version;
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg32;

    use super::*;

    fn item(key: u32, index: u64) -> Item {
        Item::new(&key.to_be_bytes(), &index.to_be_bytes(), Version { epoch: 1, index })
    }

    fn filled(keys: impl Iterator<Item = u32>) -> Parts {
        let mut items: Vec<Item> = keys.map(|key| item(key, 1)).collect();
        items.sort_by_cached_key(|item| (digest::hash(item.key()), item.key().to_vec()));
        let mut parts = Parts::default();
        items.into_iter().for_each(|item| assert!(parts.push(item), "they ascend"));
        parts
    }

    fn check(parts: &Parts, model: &BTreeMap<u32, Item>) {
        assert_eq!((parts.len(), parts.iter().count()), (model.len(), model.len()));
        for (key, item) in model {
            assert_eq!(parts.find(&key.to_be_bytes()), Some(item));
        }
        let places = || parts.parts.iter().flat_map(|part| part.body.hashes.iter().zip(&part.body.items));
        assert!(places().all(|(&hash, item)| hash == digest::hash(item.key())), "hashes are the keys'");
        assert!(places().is_sorted_by(|one, next| (one.0, one.1.key()) < (next.0, next.1.key())), "in order");
        assert!(parts.after(None).eq(parts.iter()), "behind nothing are all");
        for (at, part) in parts.parts.iter().enumerate() {
            assert!((1..=PART_ITEMS_MAX).contains(&part.body.items.len()), "a part holds what it may");
            assert!(at == 0 || part.low <= part.body.hashes[0], "and nothing below it");
            let before = at.checked_sub(1).and_then(|before| parts.parts[before].body.hashes.last());
            assert!(before.is_none_or(|&before| before < part.low), "nor above the next");
        }
    }

    /// Writes at random, more keys and then fewer of them, so that parts split and join.
    fn play(seed: u64, rounds: u32, parts: &mut Parts, model: &mut BTreeMap<u32, Item>) {
        let mut chance = Pcg32::seed_from_u64(seed);
        for round in 0..rounds {
            let key: u32 = chance.random_range(0..1_000);
            let grows = (round / 3_000).is_multiple_of(2);
            if chance.random_range(0..10) < if grows { 8 } else { 1 } {
                let item = item(key, u64::from(round) + 1);
                assert_eq!(parts.put(item.clone()), model.insert(key, item));
            } else {
                assert_eq!(parts.remove(&key.to_be_bytes()), model.remove(&key));
            }
            let asked: u32 = chance.random_range(0..1_000);
            assert_eq!(parts.find(&asked.to_be_bytes()), model.get(&asked));
            if round % 500 == 0 {
                check(parts, model);
            }
        }
    }

    #[test]
    fn parts_are_a_map() {
        let (mut parts, mut model) = (Parts::default(), BTreeMap::new());
        play(1, 12_000, &mut parts, &mut model);
        assert!(parts.parts.len() < 40, "short parts were joined");
        check(&parts, &model);
    }

    #[test]
    fn a_copy_never_notices_what_is_written_to_the_other() {
        let (mut parts, mut model) = (Parts::default(), BTreeMap::new());
        play(2, 2_000, &mut parts, &mut model);
        let (copy, before) = (parts.clone(), model.clone());
        play(3, 6_000, &mut parts, &mut model);
        check(&copy, &before);
        check(&parts, &model);
    }

    /// The reason for all of this: a write after a copy copies one part, and not all that there is.
    #[test]
    fn a_write_after_a_copy_copies_a_single_part() {
        let mut parts = filled(0..10_000);
        let copy = parts.clone();
        parts.put(item(5_000, 2));
        let shared = |(one, other): (&Part, &Part)| Arc::ptr_eq(&one.body, &other.body);
        let shared = parts.parts.iter().zip(&copy.parts).filter(|&pair| shared(pair)).count();
        assert_eq!(shared, copy.parts.len() - 1);
        assert!(parts != copy, "and the copy is what it was");
    }

    #[test]
    fn behind_a_key_is_what_comes_after_it_in_order() {
        let parts = filled((0..1_000).filter(|key| key % 3 == 0));
        for key in 0..1_000u32 {
            let key = key.to_be_bytes();
            let place = |key: &[u8]| (digest::hash(key), key.to_vec());
            let expected = parts.iter().filter(|item| place(item.key()) > place(&key));
            assert!(parts.after(Some(&key)).eq(expected), "behind {key:?}");
        }
        assert_eq!(Parts::default().after(Some(b"k")).count(), 0);
    }

    #[test]
    fn what_was_pushed_in_order_is_what_was_put_in_any() {
        for count in [0, 1, 47, 48, 49, 1_000] {
            let mut put = Parts::default();
            (0..count).rev().for_each(|key| assert_eq!(put.put(item(key, 1)), None));
            assert_eq!(filled(0..count), put);
        }
    }

    #[test]
    fn what_is_out_of_order_is_not_pushed() {
        let mut parts = filled(0..100);
        let before = parts.clone();
        assert!((0..100).all(|key| !parts.push(item(key, 2))), "they are there");
        assert_eq!(parts, before);
    }

    #[test]
    fn few_that_are_left_of_many_hold_on_to_their_own_bytes_only() {
        let mut run = Vec::new();
        let all = filled(0..1_000);
        all.iter().for_each(|item| item.write_to(&mut run));
        let run: Arc<[u8]> = run.into();
        let mut parts = Parts::default();
        let each = item(0, 1).run_bytes();
        for at in 0..1_000 {
            assert!(parts.push(Item::read_from(&run, at * each).expect("one stands here")), "they ascend");
        }
        assert_eq!(Arc::strong_count(&run), 1_001);
        (0..1_000u32).filter(|key| key % 20 != 0).for_each(|key| drop(parts.remove(&key.to_be_bytes())));
        assert_eq!(parts.len(), 50);
        assert!(Arc::strong_count(&run) < 10, "{} still hold on", Arc::strong_count(&run));
    }

    #[test]
    fn looking_ahead_takes_any_keys() {
        let (empty, parts) = (Parts::default(), filled(0..1_000));
        let keys: Vec<[u8; 4]> = (0..2_000u32).map(u32::to_be_bytes).collect();
        assert_eq!(look_ahead(keys.iter().map(|key| (&empty, &key[..]))), 0);
        assert!(look_ahead(keys.iter().map(|key| (&parts, &key[..]))) > 0, "something was looked at");
        assert_eq!(parts, filled(0..1_000));
    }

    #[test]
    fn keys_of_one_hash_stand_side_by_side() {
        let twin = |key: &str| Item::new(key.as_bytes(), b"", Version { epoch: 1, index: 1 });
        let items = ["a", "b", "d"].map(twin).to_vec();
        let body = Body { hashes: vec![7; 3], items };
        let found = ["a", "b", "c", "d", "e"].map(|key| body.find(7, key.as_bytes()));
        assert_eq!(found, [Ok(0), Ok(1), Err(2), Ok(2), Err(3)]);
        assert_eq!([6, 8].map(|hash| body.find(hash, b"b")), [Err(0), Err(3)]);
        let mut parts = Parts { parts: vec![Part { low: 7, body: Arc::new(body) }], count: 3 };
        parts.split_if_too_long(0);
        let many = Body { hashes: vec![7; 100], items: vec![twin("a"); 100] };
        parts.parts[0].body = Arc::new(many);
        parts.split_if_too_long(0);
        assert_eq!(parts.parts.len(), 1, "they stay together, however many they are");
    }
}
