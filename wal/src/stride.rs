//! The checksums of many short entries of one length at once. A checksum of 64 bytes by itself takes 20 ns, as long as it
//! takes to read them; of kilobytes in one piece it takes 2 ns for the same 64.
//!
//! A CRC is linear. Its register after an entry is `M(r) ^ F(content)`, `M` being what so many zero bytes do to it, and each
//! entry's own checksum says `F(content)`. So the checksum that all contents of a run must have as one piece follows from
//! those of its entries, each with its own identity, by one `M` an entry: four look-ups in tables that depend on the length.
//! It differs from what is there if any one entry does, as `M` loses nothing; damages of several that make up for each
//! other are a damage that keeps a checksum of 32 bits by chance, as item 4 of the promise has it.

use crate::runs::{Items, identity};

/// Longer ones are as fast one by one.
const BYTES_MAX: usize = 1024;
/// The tables of another length take as long as so many checksums.
const NEW_FROM: usize = 64;
/// Fewer are not worth the setting up.
const FROM: usize = 8;

/// The tables of the length that was met last.
#[derive(Debug, Default)]
pub(crate) struct Stride {
    bytes: usize,
    /// `M` of each value of each byte of the register.
    tables: Vec<[u32; 256]>,
}

impl Stride {
    /// Whether all these entries, from this index on, are what their checksums say. `false` if one is not, or if they are to be
    /// looked at one by one.
    pub(crate) fn all_whole(
        &mut self,
        (group, first, term): (u64, u64, u64),
        items: Items<'_>,
        contents: &[u8],
    ) -> bool {
        let Some((bytes, _)) = items.iter().next() else { return false };
        let count = items.count();
        let few = if bytes == self.bytes { FROM } else { NEW_FROM };
        if count < few || !(1..=BYTES_MAX).contains(&bytes) || items.iter().any(|(other, _)| other != bytes) {
            return false;
        }
        let Some(contents) = contents.get(..count * bytes) else { return false };
        self.be_of(bytes);
        let [a, b, c, d] = self.tables.as_slice() else { return false };
        let mut register = u32::MAX;
        for (index, (_, checksum)) in (first..).zip(items.iter()) {
            let [one, two, three, four] = (register ^ !identity(group, index, term)).to_le_bytes();
            let moved =
                a[usize::from(one)] ^ b[usize::from(two)] ^ c[usize::from(three)] ^ d[usize::from(four)];
            register = moved ^ !checksum;
        }
        crc32fast::hash(contents) == !register
    }

    fn be_of(&mut self, bytes: usize) {
        if bytes == self.bytes {
            return;
        }
        self.bytes = bytes;
        let zeros = &[0; BYTES_MAX][..bytes];
        let moved = |register: u32| {
            let mut hasher = crc32fast::Hasher::new_with_initial(!register);
            hasher.update(zeros);
            !hasher.finalize()
        };
        self.tables = vec![[0; 256]; 4];
        for (shift, table) in (0..).step_by(8).zip(&mut self.tables) {
            let bits: [u32; 8] = std::array::from_fn(|bit| moved(1 << (shift + bit)));
            for value in 1..256_usize {
                // By the same value without its lowest bit.
                table[value] = table[value & (value - 1)] ^ bits[value.trailing_zeros() as usize % 8];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;
    use crate::runs::{Runs, What};

    /// Entries of one length, and whether a stride finds them whole after `change`.
    fn check(stride: &mut Stride, bytes: usize, count: u8, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut batch = Batch::new();
        for index in 0..count {
            batch.entry(7, 40 + u64::from(index), 3, &[&vec![index.wrapping_mul(37) ^ 5; bytes]]);
        }
        change(&mut batch.payload);
        let run = Runs::of(&batch.directory).next().unwrap().unwrap();
        let What::Entries { first, term, items, .. } = run.what else { panic!("entries") };
        stride.all_whole((run.group, first, term), items, &batch.payload)
    }

    #[test]
    fn whole_entries_are_whole_at_once_and_any_flipped_bit_is_seen() {
        let mut stride = Stride::default();
        // Under Miri a checksum takes 40 µs a byte.
        let lengths: &[usize] = if cfg!(miri) { &[3] } else { &[1, 3, 64, 100, 1024] };
        for &bytes in lengths {
            assert!(check(&mut stride, bytes, 64, |_| {}), "{bytes} bytes");
            assert!(check(&mut stride, bytes, 8, |_| {}), "{bytes} bytes, the tables are there");
            for bit in (0..8 * 64 * bytes).step_by(if cfg!(miri) { 661 } else { 61 }) {
                let flipped = |payload: &mut Vec<u8>| payload[bit / 8] ^= 1 << (bit % 8);
                assert!(!check(&mut stride, bytes, 64, flipped), "{bytes} bytes, bit {bit}");
            }
            let swapped = |payload: &mut Vec<u8>| payload.rotate_left(bytes);
            assert!(!check(&mut stride, bytes, 64, swapped), "{bytes} bytes, each in the slot of another");
        }
    }

    #[test]
    fn what_it_cannot_tell_is_left_to_be_looked_at_one_by_one() {
        let mut stride = Stride::default();
        assert!(!check(&mut stride, 64, 63, |_| {}), "too few for new tables");
        assert!(cfg!(miri) || !check(&mut stride, 1025, 64, |_| {}), "too long");
        assert!(!check(&mut stride, 0, 64, |_| {}), "without contents");
        assert!(!check(&mut stride, 64, 64, |payload| payload.truncate(100)), "cut short");
    }
}
