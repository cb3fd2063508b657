//! What the tests of the log share: small segments, chance from a seed, entries that say who they are.

use std::sync::Arc;

use ordeal_wal::media::Memory;
use ordeal_wal::{Options, Recovered, Wal, WalError};

/// Segments of 32 to 64 KiB, so that a few dozen commits turn.
pub fn options() -> Options {
    Options {
        segment_bytes_first: 32 << 10,
        segment_bytes_max: 64 << 10,
        slack_bytes: 96 << 10,
        ..Options::default()
    }
}

/// Opens a log on a disk in memory.
pub fn open(disk: &Memory) -> Result<(Wal, Recovered), WalError> {
    Wal::open_on(Arc::new(disk.clone()), options())
}

/// The file of a segment.
pub fn segment(number: u64) -> String {
    format!("{number:016x}.wal")
}

/// The content of an entry: no two entries have the same, and nothing else looks like one.
pub fn content(group: u64, index: u64, term: u64, bytes: usize) -> Vec<u8> {
    let mut chance =
        Chance::new(group.wrapping_mul(31) ^ index.wrapping_mul(1009) ^ term.wrapping_mul(100_003));
    let mut content: Vec<u8> = (0..bytes.div_ceil(8)).flat_map(|_| chance.next().to_le_bytes()).collect();
    content.truncate(bytes);
    content
}

/// How many random cases are to be played: as many as given, or as `ORDEAL_WAL_CASES` says.
#[cfg(not(miri))]
pub fn cases(usual: u64) -> u64 {
    let given = std::env::var("ORDEAL_WAL_CASES").ok();
    given.map_or(usual, |cases| cases.parse().expect("ORDEAL_WAL_CASES is a number"))
}

/// A number of rounds, groups or bytes: under Miri, which takes a thousand times as long, a smaller one has to do.
pub const fn shorter(usual: usize, under_miri: usize) -> usize {
    if cfg!(miri) { under_miri } else { usual }
}

/// Whether a pass over every bit is asked for.
#[cfg(not(miri))]
pub fn is_whole() -> bool {
    std::env::var_os("ORDEAL_WAL_WHOLE").is_some()
}

/// Numbers from a seed (splitmix64).
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub fn is_heads(&mut self) -> bool {
        self.next() & 1 == 0
    }
}

/// A number of a file.
pub fn number_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("eight bytes"))
}

/// Makes the checksum of a changed copy of a frame's head and directory right again; the salt is its segment's.
pub fn seal_frame(copy: &mut [u8], salt: u64) {
    let seed = u32::try_from((salt ^ (salt >> 32)) & 0xffff_ffff).expect("masked");
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(&copy[8..]);
    copy[4..8].copy_from_slice(&hasher.finalize().to_le_bytes());
}
