//! A checksum of a set of things, kept up to date at every change: the sum of one number for each thing in it. So it
//! costs nothing to ask for, and equal states have equal digests in whichever order they were reached.

/// One number for a few: each is stirred by the finaliser of splitmix64, so that small differences reach every bit.
#[must_use]
pub fn mix(words: &[u64]) -> u64 {
    words.iter().fold(0x9e37_79b9_7f4a_7c15, |state, &word| stir(state ^ stir(word)))
}

/// The checksum of some bytes. Continues from `before`, so that an append costs only what it adds.
#[must_use]
pub fn checksum(before: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(before);
    hasher.update(bytes);
    hasher.finalize()
}

/// A hash of some bytes that spreads them evenly, and otherwise than [`checksum`] does, after which shards are told apart.
#[must_use]
pub fn hash(bytes: &[u8]) -> u64 {
    let (words, tail) = bytes.as_chunks::<8>();
    let length = stir(bytes.len() as u64);
    let state = words.iter().fold(length, |state, word| stir(state ^ u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..tail.len()].copy_from_slice(tail);
    stir(state ^ u64::from_le_bytes(last))
}

fn stir(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_number_of_words_matter() {
        let digests = [mix(&[]), mix(&[0]), mix(&[0, 0]), mix(&[1, 2]), mix(&[2, 1])];
        for (place, digest) in digests.iter().enumerate() {
            assert!(!digests[..place].contains(digest), "digest {place} is there twice");
        }
    }

    #[test]
    fn every_byte_counts_in_a_hash() {
        let mut hashes = Vec::new();
        for length in 0..40 {
            let mut bytes = vec![0; length];
            hashes.push(hash(&bytes));
            for at in 0..length {
                bytes[at] = 1;
                hashes.push(hash(&bytes));
                bytes[at] = 0;
            }
        }
        let count = hashes.len();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), count);
    }

    #[test]
    fn a_checksum_continues() {
        assert_eq!(checksum(checksum(0, b"one"), b"two"), checksum(0, b"onetwo"));
    }
}
