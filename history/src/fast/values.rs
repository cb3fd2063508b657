//! Texts, each once, and their numbers: a table that stays small beside millions of texts, since it holds none of them.

use std::hash::Hasher;

use crate::linear::fast_hash::FastHasher;

/// Texts in the order in which they came.
pub(super) struct Values<'a> {
    texts: Vec<&'a str>,
    /// At least a third empty, a power of two long: the upper half of the hash and the number of the text plus one; 0: free.
    slots: Vec<u64>,
}

impl<'a> Values<'a> {
    /// With room for so many texts.
    pub(super) fn with_room_for(count: usize) -> Self {
        let slots = (count + count / 2 + 1).next_power_of_two().max(2);
        Values { texts: Vec::with_capacity(count), slots: vec![0; slots] }
    }

    /// Takes a text in, as the next number; false: it is there already.
    pub(super) fn insert(&mut self, text: &'a str) -> bool {
        assert!(self.texts.len() + 1 < self.slots.len(), "the table has the room that was asked for");
        let (tag, at) = self.place(text);
        let is_new = self.slots[at] == 0;
        if is_new {
            self.texts.push(text);
            self.slots[at] = tag | self.texts.len() as u64;
        }
        is_new
    }

    /// The number of a text, from 0.
    pub(super) fn number(&self, text: &str) -> Option<u32> {
        let (_, at) = self.place(text);
        number_in(self.slots[at])
    }

    /// Has the place of a text brought near, which will be asked for soon.
    pub(super) fn warm(&self, text: &str) {
        let (_, at) = self.home(text);
        std::hint::black_box(self.slots[at]);
    }

    /// Where a text would be if the table held no other, and its part of the hash.
    fn home(&self, text: &str) -> (u64, usize) {
        let mut hasher = FastHasher::default();
        hasher.write(text.as_bytes());
        hasher.write_usize(text.len());
        let hash = hasher.finish();
        let (tag, mask) = (hash >> 32 << 32, self.slots.len() - 1);
        (tag, usize::try_from(hash & u64::from(u32::MAX)).expect("32 bits") & mask)
    }

    /// Where a text is or would be, and its part of the hash.
    fn place(&self, text: &str) -> (u64, usize) {
        let (tag, mut at) = self.home(text);
        let mask = self.slots.len() - 1;
        while let Some(number) = number_in(self.slots[at]) {
            if self.slots[at] >> 32 << 32 == tag && self.texts[number as usize] == text {
                break;
            }
            at = (at + 1) & mask;
        }
        (tag, at)
    }
}

fn number_in(slot: u64) -> Option<u32> {
    u32::try_from(slot & u64::from(u32::MAX)).expect("32 bits").checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_has_its_number_and_comes_once() {
        let texts: Vec<String> = (0..1000).map(|number| format!("v{number}")).collect();
        let mut values = Values::with_room_for(texts.len());
        assert!(texts.iter().all(|text| values.insert(text)));
        for (number, text) in (0..).zip(&texts) {
            assert_eq!(values.number(text), Some(number));
        }
        assert_eq!(values.number("v1000"), None);
        assert_eq!(values.number(""), None);
        let mut once = Values::with_room_for(2);
        assert!(once.insert("v7") && !once.insert("v7"));
    }
}
