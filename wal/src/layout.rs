//! The bytes of a segment: where what lies, and the header in front. All numbers are little-endian.
//!
//! ```text
//!  <16 hex digits of the segment's number>.wal        <the same>.tmp while it is prepared
//!
//!  0          4096       8192                   16384      20480                      length
//!  | header   | header   | frame 41: the table  | frame 42 | 0 0 0 …                       |
//!  | copy one | copy two | 2 blocks, padded     | 1 block  | written zeros, ready to map   |
//!
//!  header     0 "ORDWAL\r\n" | 8 major u16 | 10 minor u16 | 12 incompatible u32 | 16 compatible u32 | 20 block u32
//!  (128 B)   24 store u64 | 32 segment u64 | 40 salt u64 | 48 length u64 | 56 first frame u64 | 64 durable u64
//!            72 previous segment u64 | 80 oldest segment u64 | 88 checksum of the frame before the first u32
//!            92 zeros | 124 crc32 of bytes 0..124
//! ```
//!
//! * The header of a segment seals the one before: that holds the frames up to `first frame` − 1, and all of them were
//!   durable. Whatever else lies behind them (a torn tail) counts for nothing, for ever.
//! * `durable`: the last frame that was on the disk when this segment got its name, some of its own included. They say the
//!   state of all groups, so that older segments may go, and repeat what nothing proved durable in the segment before.
//! * `oldest` is the first segment that counts. So one that is missing is told from one that was freed, and one that comes
//!   back after a loss of power is ignored.
//! * Magic, version and checksum of the header keep their places in all versions to come. An unknown major version or an
//!   unknown incompatible flag is refused; a minor version and compatible flags may be ignored.

use crate::bytes::{put_u32, put_u64, u32_at, u64_at, word};

/// The major version of the layout: what this build writes, and the only one that it reads.
pub const VERSION: u16 = 2;

/// Frames start at multiples of this and are padded to one, and the two copies of the header are this far apart.
pub(crate) const BLOCK: usize = 4096;
/// Where the first frame of a segment starts.
pub(crate) const FRAMES_START: usize = 2 * BLOCK;
pub(crate) const HEADER_BYTES: usize = 128;

const MAGIC: [u8; 8] = *b"ORDWAL\r\n";
const SUM_AT: usize = HEADER_BYTES - 4;

/// What stands in front of a segment, twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) store_id: u64,
    pub(crate) segment: u64,
    /// Random for each life of a file: seeds all its checksums.
    pub(crate) salt: u64,
    pub(crate) length: u64,
    pub(crate) first_frame: u64,
    pub(crate) durable: u64,
    /// Number of the previous segment; 0 when there is none.
    pub(crate) previous_segment: u64,
    pub(crate) oldest: u64,
    /// Checksum of the frame before the first; 0 when there is none, or none that could be read.
    pub(crate) previous_checksum: u32,
}

/// Why bytes are no header of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    Damaged(&'static str),
    /// Major version.
    Version(u16),
    /// Incompatible flags.
    Flags(u32),
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        put_u32(&mut bytes, 20, word(BLOCK));
        put_u64(&mut bytes, 24, self.store_id);
        put_u64(&mut bytes, 32, self.segment);
        put_u64(&mut bytes, 40, self.salt);
        put_u64(&mut bytes, 48, self.length);
        put_u64(&mut bytes, 56, self.first_frame);
        put_u64(&mut bytes, 64, self.durable);
        put_u64(&mut bytes, 72, self.previous_segment);
        put_u64(&mut bytes, 80, self.oldest);
        put_u32(&mut bytes, 88, self.previous_checksum);
        let checksum = crc32fast::hash(&bytes[..SUM_AT]);
        put_u32(&mut bytes, SUM_AT, checksum);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<SegmentHeader, HeaderFault> {
        let damaged = HeaderFault::Damaged;
        let bytes = bytes.first_chunk::<HEADER_BYTES>().ok_or(damaged("header cut short"))?;
        if bytes[..8] != MAGIC {
            return Err(damaged("magic of header"));
        }
        if u32_at(bytes, SUM_AT) != Some(crc32fast::hash(&bytes[..SUM_AT])) {
            return Err(damaged("checksum of header"));
        }
        // Only now: a flipped bit in the version is damage, and no newer build.
        let major = u16::from_le_bytes([bytes[8], bytes[9]]);
        if major != VERSION {
            return Err(HeaderFault::Version(major));
        }
        let number = |at| u64_at(bytes, at).unwrap_or_default();
        let small = |at| u32_at(bytes, at).unwrap_or_default();
        if small(12) != 0 {
            return Err(HeaderFault::Flags(small(12)));
        }
        if small(20) != word(BLOCK) {
            return Err(damaged("block size in header"));
        }
        let header = SegmentHeader {
            store_id: number(24),
            segment: number(32),
            salt: number(40),
            length: number(48),
            first_frame: number(56),
            durable: number(64),
            previous_segment: number(72),
            oldest: number(80),
            previous_checksum: small(88),
        };
        let (least, most) = SEGMENT_BYTES_RANGE;
        // What follows calculates with these.
        let sane = (least..=most).contains(&header.length)
            && header.previous_segment < header.segment
            && header.oldest <= header.segment
            && (1..=SEQUENCE_MAX).contains(&header.first_frame)
            && header.segment <= SEQUENCE_MAX
            && header.durable <= SEQUENCE_MAX;
        if sane { Ok(header) } else { Err(damaged("numbers in header")) }
    }
}

/// Below it, a segment would be all header; above it, offsets would not fit into their words.
pub(crate) const SEGMENT_BYTES_RANGE: (u64, u64) = (8 * BLOCK as u64, 1 << 30);

/// No frame and no segment has a higher number: 146,000 years of a million a second. So adding one is always right.
pub(crate) const SEQUENCE_MAX: u64 = 1 << 62;

/// The least multiple of a block that is not below `bytes`.
pub(crate) fn to_block(bytes: usize) -> usize {
    bytes.next_multiple_of(BLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> SegmentHeader {
        SegmentHeader {
            store_id: 0x0102_0304_0506_0708,
            segment: 7,
            salt: 0x1122_3344_5566_7788,
            length: 1 << 20,
            first_frame: 41,
            durable: 42,
            previous_segment: 6,
            oldest: 3,
            previous_checksum: 0xdead_beef,
        }
    }

    #[test]
    fn a_header_is_laid_out_as_drawn_and_comes_back() {
        let bytes = example().encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(example()));
        assert_eq!(&bytes[..12], b"ORDWAL\r\n\x02\0\0\0");
        assert_eq!(bytes[24..32], [8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(bytes[88..92], [0xef, 0xbe, 0xad, 0xde]);
        assert_eq!(bytes[SUM_AT..], [228, 14, 96, 6], "golden: the layout of version 2 never changes");
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_damage() {
        let bytes = example().encode();
        for bit in (0..8 * HEADER_BYTES).step_by(if cfg!(miri) { 61 } else { 1 }) {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(SegmentHeader::decode(&flipped), Err(HeaderFault::Damaged(_))), "bit {bit}");
        }
        for cut in 0..HEADER_BYTES {
            assert!(SegmentHeader::decode(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn newer_versions_and_unknown_flags_are_told_from_damage() {
        let sealed = |at: usize, value: u8| {
            let mut bytes = example().encode();
            bytes[at] = value;
            let checksum = crc32fast::hash(&bytes[..SUM_AT]);
            put_u32(&mut bytes, SUM_AT, checksum);
            SegmentHeader::decode(&bytes)
        };
        assert_eq!(sealed(8, 3), Err(HeaderFault::Version(3)));
        assert_eq!(sealed(12, 4), Err(HeaderFault::Flags(4)));
        assert_eq!(sealed(10, 1), Ok(example()), "a minor version");
        assert_eq!(sealed(16, 1), Ok(example()), "a compatible flag");
        assert!(matches!(sealed(55, 0xff), Err(HeaderFault::Damaged(_))), "a length that cannot be");
    }
}
