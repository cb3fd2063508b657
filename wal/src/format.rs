//! The bytes of a segment: how they are laid out, and what their checksums cover. All numbers are little-endian.
//!
//! ```text
//!  <16 hex digits of the segment's number>.wal
//!
//!  0          4096       8192                 16384      20480                      length
//!  | header   | header   | frame 41           | frame 42 | 0 0 0 …                       |
//!  | copy one | copy two | 2 blocks, padded   | 1 block  | written zeros, ready to map   |
//!
//!  header     0 magic (8) | 8 version u32 | 12 block u32 | 16 store u64 | 24 segment u64 | 32 salt u64
//!  (128 B)   40 length u64 | 48 first frame u64 | 56 previous segment u64 | 64 oldest segment u64
//!            72 checksum of the frame before the first u32 | 76 zeros | 124 crc32 of bytes 0..124
//!
//!  frame      0 magic (4) | 4 crc32 of salt and bytes 8..64 | 8 sequence u64 | 16 durable u64 | 24 bytes u32
//!  (64 B,    28 records u32 | 32 checksum of the frame before u32 | 36 zeros | 40 own offset u64
//!  records)  48 segment u64 | 56 oldest segment u64 | 64 records, one behind the other
//!
//!  record     0 crc32 of salt, segment, offset, bytes 4..12 and the content | 4 length u32 | 8 kind u8 | 9 zeros (3)
//!  (12 B)    12 content
//! ```
//!
//! * A frame is what one sync makes durable. It starts at a block and is padded to one, so that a block with acknowledged
//!   bytes is never written again.
//! * `durable` is the highest frame whose sync had returned when this frame was built: it proves that frame acknowledged.
//!   The header of the next segment proves the same of every frame before its first.
//! * A frame's head has a checksum of its own: it can prove something although its records are damaged.
//! * `oldest` is the first segment that counts. It is durable before older ones are unlinked, so a missing file is
//!   told from a released one, and one that comes back after a loss of power is ignored.
//! * `previous segment` is the link along which recovery walks back; it steps over segments that recovery dropped
//!   as empty.
//! * Every checksum starts with the segment's random salt, and position is in all of them: bytes of another file, of
//!   another life of this file or of another place are never valid.
//! * Magic, version and checksum of the header keep their places in all versions to come.

use crate::Position;

/// The version of the layout that this build writes, and the highest that it reads.
pub const VERSION: u32 = 1;

/// The longest record. It is held in memory two or three times over while it is recovered; what is longer (a snapshot)
/// belongs into a file of its own.
pub const RECORD_BYTES_MAX: usize = 256 << 20;

/// Frames start at multiples of this, and the two copies of the header are this far apart.
pub(crate) const BLOCK: usize = 4096;
/// Where the first frame of a segment starts.
pub(crate) const FRAMES_START: usize = 2 * BLOCK;
pub(crate) const FRAME_HEAD_BYTES: usize = 64;
pub(crate) const RECORD_HEAD_BYTES: usize = 12;
pub(crate) const HEADER_BYTES: usize = 128;

const SEGMENT_MAGIC: [u8; 8] = *b"ORDWAL\r\n";
const FRAME_MAGIC: [u8; 4] = *b"FRM1";

/// The least multiple of a block that is not below `bytes`.
pub(crate) fn to_block(bytes: usize) -> usize {
    bytes.next_multiple_of(BLOCK)
}

/// What stands in front of a segment, twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) store_id: u64,
    pub(crate) segment: u64,
    pub(crate) salt: u64,
    pub(crate) length: u64,
    /// Sequence of the first frame: the previous segment ends with the one before.
    pub(crate) first_frame: u64,
    /// Number of the previous segment; 0 when there is none.
    pub(crate) previous_segment: u64,
    pub(crate) oldest: u64,
    /// Checksum of the frame before the first; 0 when there is none.
    pub(crate) previous_checksum: u32,
}

/// Why bytes are no header of ours.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    Damaged(&'static str),
    Version(u32),
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        put_u32(&mut bytes, 8, VERSION);
        put_u32(&mut bytes, 12, u32::try_from(BLOCK).expect("a block is small"));
        put_u64(&mut bytes, 16, self.store_id);
        put_u64(&mut bytes, 24, self.segment);
        put_u64(&mut bytes, 32, self.salt);
        put_u64(&mut bytes, 40, self.length);
        put_u64(&mut bytes, 48, self.first_frame);
        put_u64(&mut bytes, 56, self.previous_segment);
        put_u64(&mut bytes, 64, self.oldest);
        put_u32(&mut bytes, 72, self.previous_checksum);
        let checksum = crc32fast::hash(&bytes[..HEADER_BYTES - 4]);
        put_u32(&mut bytes, HEADER_BYTES - 4, checksum);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<SegmentHeader, HeaderFault> {
        let bytes = bytes.get(..HEADER_BYTES).ok_or(HeaderFault::Damaged("header cut short"))?;
        if bytes[..8] != SEGMENT_MAGIC {
            return Err(HeaderFault::Damaged("magic of header"));
        }
        if crc32fast::hash(&bytes[..HEADER_BYTES - 4]) != u32_at(bytes, HEADER_BYTES - 4) {
            return Err(HeaderFault::Damaged("checksum of header"));
        }
        // Only now: a flipped bit in the version is damage, and no newer build.
        let version = u32_at(bytes, 8);
        if version != VERSION {
            return Err(HeaderFault::Version(version));
        }
        if u32_at(bytes, 12) as usize != BLOCK {
            return Err(HeaderFault::Damaged("block size in header"));
        }
        Ok(SegmentHeader {
            store_id: u64_at(bytes, 16),
            segment: u64_at(bytes, 24),
            salt: u64_at(bytes, 32),
            length: u64_at(bytes, 40),
            first_frame: u64_at(bytes, 48),
            previous_segment: u64_at(bytes, 56),
            oldest: u64_at(bytes, 64),
            previous_checksum: u32_at(bytes, 72),
        })
    }
}

/// What stands in front of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FrameHead {
    pub(crate) sequence: u64,
    pub(crate) durable: u64,
    /// Bytes of head and records, without the padding.
    pub(crate) bytes: u32,
    pub(crate) records: u32,
    pub(crate) previous_checksum: u32,
    pub(crate) position: Position,
    pub(crate) oldest: u64,
}

impl FrameHead {
    /// The bytes, and the checksum that the next frame repeats.
    pub(crate) fn encode(&self, salt: u64) -> ([u8; FRAME_HEAD_BYTES], u32) {
        let mut bytes = [0; FRAME_HEAD_BYTES];
        bytes[..4].copy_from_slice(&FRAME_MAGIC);
        put_u64(&mut bytes, 8, self.sequence);
        put_u64(&mut bytes, 16, self.durable);
        put_u32(&mut bytes, 24, self.bytes);
        put_u32(&mut bytes, 28, self.records);
        put_u32(&mut bytes, 32, self.previous_checksum);
        put_u64(&mut bytes, 40, self.position.offset);
        put_u64(&mut bytes, 48, self.position.segment);
        put_u64(&mut bytes, 56, self.oldest);
        let checksum = frame_checksum(salt, &bytes);
        put_u32(&mut bytes, 4, checksum);
        (bytes, checksum)
    }

    /// The head and its checksum, if these bytes are a frame's head of this place in this segment.
    pub(crate) fn decode(
        bytes: &[u8],
        salt: u64,
        position: Position,
    ) -> Result<(FrameHead, u32), &'static str> {
        let bytes = bytes.get(..FRAME_HEAD_BYTES).ok_or("frame cut short")?;
        if bytes[..4] != FRAME_MAGIC {
            return Err("magic of frame");
        }
        let checksum = u32_at(bytes, 4);
        if frame_checksum(salt, bytes) != checksum {
            return Err("checksum of frame");
        }
        let found = Position { segment: u64_at(bytes, 48), offset: u64_at(bytes, 40) };
        if found != position {
            return Err("position in frame");
        }
        let head = FrameHead {
            sequence: u64_at(bytes, 8),
            durable: u64_at(bytes, 16),
            bytes: u32_at(bytes, 24),
            records: u32_at(bytes, 28),
            previous_checksum: u32_at(bytes, 32),
            position,
            oldest: u64_at(bytes, 56),
        };
        Ok((head, checksum))
    }
}

/// The head of a record with this content at this position.
pub(crate) fn record_head(
    salt: u64,
    position: Position,
    kind: u8,
    content: &[u8],
) -> [u8; RECORD_HEAD_BYTES] {
    let mut head = [0; RECORD_HEAD_BYTES];
    put_u32(&mut head, 4, u32::try_from(content.len()).expect("bounded by RECORD_BYTES_MAX"));
    head[8] = kind;
    let checksum = record_checksum(salt, position, &head, content);
    put_u32(&mut head, 0, checksum);
    head
}

/// Bytes of the content that a record's head announces, not yet to be believed.
pub(crate) fn record_length(head: &[u8; RECORD_HEAD_BYTES]) -> usize {
    u32_at(head, 4) as usize
}

/// Kind and content of the record at the start of `bytes`; what follows it is not looked at.
pub(crate) fn decode_record(
    bytes: &[u8],
    salt: u64,
    position: Position,
) -> Result<(u8, &[u8]), &'static str> {
    let (head, rest) = bytes.split_first_chunk::<RECORD_HEAD_BYTES>().ok_or("record cut short")?;
    let content = rest.get(..record_length(head)).ok_or("length of record")?;
    if record_checksum(salt, position, head, content) != u32_at(head, 0) {
        return Err("checksum of record");
    }
    Ok((head[8], content))
}

fn frame_checksum(salt: u64, head: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt.to_le_bytes());
    hasher.update(&head[8..]);
    hasher.finalize()
}

fn record_checksum(salt: u64, position: Position, head: &[u8; RECORD_HEAD_BYTES], content: &[u8]) -> u32 {
    let mut place = [0; 32];
    put_u64(&mut place, 0, salt);
    put_u64(&mut place, 8, position.segment);
    put_u64(&mut place, 16, position.offset);
    place[24..].copy_from_slice(&head[4..]);
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&place);
    hasher.update(content);
    hasher.finalize()
}

fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let word = bytes[at..].first_chunk::<4>().expect("callers checked the length");
    u32::from_le_bytes(*word)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let word = bytes[at..].first_chunk::<8>().expect("callers checked the length");
    u64::from_le_bytes(*word)
}
