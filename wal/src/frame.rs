//! A frame: what one commit makes durable, for all groups.
//!
//! ```text
//!  a block's start                                                                        a block's end
//!  | head 64 B | directory        | contents of the entries … | zeros | MIRROR: head and directory once more |
//!
//!  head   0 "ORF2" | 4 crc32 of bytes 8.. of head and directory, seeded with the salt | 8 sequence u64 | 16 durable u64
//!        24 length u32, a multiple of a block | 28 length of directory u32 | 32 checksum of the frame before u32
//!        36 length of contents u32 | 40 own offset u64 | 48 segment u64 | 56 oldest segment that counts u64
//! ```
//!
//! * A block with acknowledged bytes is never written again, so a torn write can only hit what nobody was promised.
//! * `durable` is the highest frame whose sync had returned when this one was built: it proves that frame acknowledged,
//!   and is what tells a torn tail from damage.
//! * The mirror lies where padding would be. With it the identity of the entries survives a bad sector, wherever it is.
//!   In a frame that changes a term or a vote the mirror starts behind the last block of head and directory: such a
//!   frame has two blocks or more, no single bad block can take both copies, and a hole of one block holds no vote.
//! * Every byte but the zeros is under a checksum: head and directory under the one in the head, each entry under its own
//!   in the directory. Own offset, segment, sequence and salt are under it too, so bytes of another place, another file
//!   or another life of this file are never valid.

use crate::bytes::{length, pad, put_u32, put_u64, u32_at, u64_at, word};
use crate::layout::{BLOCK, SEQUENCE_MAX, SegmentHeader, to_block};
use crate::runs;

pub(crate) const HEAD_BYTES: usize = 64;
/// Mirrors start at multiples of this.
pub(crate) const MIRROR_STEP: usize = 8;

pub(crate) const MAGIC: [u8; 4] = *b"ORF2";

/// What stands in front of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) sequence: u64,
    pub(crate) durable: u64,
    /// Length with contents, padding and mirror.
    pub(crate) bytes: usize,
    pub(crate) directory_bytes: usize,
    pub(crate) payload_bytes: usize,
    /// Checksum of the frame before; 0: there is none, or none that could be read.
    pub(crate) previous: u32,
    pub(crate) offset: usize,
    pub(crate) segment: u64,
    pub(crate) oldest: u64,
}

/// Where the mirror may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mirror {
    /// Anywhere: in the padding, if that is long enough.
    Near,
    /// In no block with a byte of head and directory.
    Apart,
}

/// A frame with its checksum and directory, as one of its two copies says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Copy<'a> {
    pub(crate) head: Head,
    pub(crate) checksum: u32,
    pub(crate) directory: &'a [u8],
}

/// Length of a frame.
pub(crate) fn frame_bytes(directory_bytes: usize, payload_bytes: usize, mirror: Mirror) -> usize {
    let copy = HEAD_BYTES + directory_bytes;
    let front = match mirror {
        Mirror::Near => copy + payload_bytes,
        Mirror::Apart => (copy + payload_bytes).max(to_block(copy)),
    };
    to_block(front.next_multiple_of(MIRROR_STEP) + copy.next_multiple_of(MIRROR_STEP))
}

impl Head {
    /// Head and directory as they stand in the file, twice; their checksum is at 4.
    pub(crate) fn encode(&self, salt: u64, directory: &[u8], copy: &mut Vec<u8>) -> u32 {
        assert_eq!(directory.len(), self.directory_bytes, "a head tells the length of its directory");
        copy.clear();
        pad(copy, HEAD_BYTES);
        copy[..4].copy_from_slice(&MAGIC);
        put_u64(copy, 8, self.sequence);
        put_u64(copy, 16, self.durable);
        put_u32(copy, 24, word(self.bytes));
        put_u32(copy, 28, word(self.directory_bytes));
        put_u32(copy, 32, self.previous);
        put_u32(copy, 36, word(self.payload_bytes));
        put_u64(copy, 40, self.offset as u64);
        put_u64(copy, 48, self.segment);
        put_u64(copy, 56, self.oldest);
        copy.extend_from_slice(directory);
        let checksum = checksum(salt, copy);
        put_u32(copy, 4, checksum);
        checksum
    }

    /// Puts contents, padding and mirror behind head and directory. The contents may be left out, to be stored on their own:
    /// what stands behind head and directory then belongs behind them.
    pub(crate) fn complete(&self, payload: &[u8], frame: &mut Vec<u8>) {
        let copy = frame.len();
        assert_eq!(copy, HEAD_BYTES + self.directory_bytes, "head and directory are there");
        let mirror = self.mirror_offset() - self.offset;
        assert!(mirror >= copy + self.payload_bytes, "the mirror lies behind the contents");
        assert_eq!(mirror % MIRROR_STEP, 0, "mirrors are aligned");
        frame.extend_from_slice(payload);
        pad(frame, mirror - copy - self.payload_bytes);
        frame.extend_from_within(..copy);
        pad(frame, self.bytes - mirror - copy);
    }

    /// Where the contents start in the segment.
    pub(crate) fn payload_offset(&self) -> usize {
        self.offset + HEAD_BYTES + self.directory_bytes
    }

    /// Where the mirror starts in the segment.
    pub(crate) fn mirror_offset(&self) -> usize {
        let copy = (HEAD_BYTES + self.directory_bytes).next_multiple_of(MIRROR_STEP);
        (self.offset + self.bytes).saturating_sub(copy)
    }

    fn decode(bytes: &[u8]) -> Option<Head> {
        let small = |at| u32_at(bytes, at).map(|number| length(number.into()));
        Some(Head {
            sequence: u64_at(bytes, 8)?,
            durable: u64_at(bytes, 16)?,
            bytes: small(24)?,
            directory_bytes: small(28)?,
            previous: u32_at(bytes, 32)?,
            payload_bytes: small(36)?,
            offset: length(u64_at(bytes, 40)?),
            segment: u64_at(bytes, 48)?,
            oldest: u64_at(bytes, 56)?,
        })
    }
}

/// How many bytes the copy of head and directory takes that seems to start with these 64 bytes, if one does. Not to be
/// believed yet, but never more than a segment.
pub(crate) fn copy_bytes(head: &[u8], segment: &SegmentHeader) -> Option<usize> {
    if head.get(..4)? != MAGIC {
        return None;
    }
    let bytes = HEAD_BYTES + length(u32_at(head, 28)?.into());
    (bytes <= length(segment.length)).then_some(bytes)
}

/// The copy of head and directory that starts with `bytes`. Where they lie is not asked: wherever they turn up, this life
/// of this segment has written them, and what they prove is proved.
pub(crate) fn decode<'a>(bytes: &'a [u8], segment: &SegmentHeader) -> Result<Copy<'a>, &'static str> {
    let end = copy_bytes(bytes, segment).ok_or("magic of frame")?;
    let bytes = bytes.get(..end).ok_or("frame cut short")?;
    let found = u32_at(bytes, 4).ok_or("frame cut short")?;
    if checksum(segment.salt, bytes) != found {
        return Err("checksum of frame");
    }
    let head = Head::decode(bytes).ok_or("frame cut short")?;
    if head.segment != segment.segment || !head.offset.is_multiple_of(BLOCK) {
        return Err("place of frame");
    }
    // Offsets in a segment are below 2^30 and the words are below 2^32, so these sums are right on 64 bits.
    let copy = end.next_multiple_of(MIRROR_STEP);
    let contents = head.directory_bytes + head.payload_bytes + HEAD_BYTES;
    let inside = head.offset < length(segment.length) && head.offset + head.bytes <= length(segment.length);
    if !inside || !head.bytes.is_multiple_of(BLOCK) || contents + copy > head.bytes {
        return Err("length of frame");
    }
    if !(1..=SEQUENCE_MAX).contains(&head.sequence)
        || head.durable >= head.sequence
        || head.oldest > head.segment
    {
        return Err("sequence of frame");
    }
    let directory = bytes.get(HEAD_BYTES..).unwrap_or_default();
    runs::check(directory, head.payload_bytes)?;
    Ok(Copy { head, checksum: found, directory })
}

/// Of a copy of head and directory, without magic and checksum. Seeded, not mixed in: a checksum that starts elsewhere
/// ends elsewhere, whatever the bytes.
fn checksum(salt: u64, copy: &[u8]) -> u32 {
    let seed = salt ^ (salt >> 32);
    let mut hasher = crc32fast::Hasher::new_with_initial(u32::try_from(seed & 0xffff_ffff).expect("masked"));
    hasher.update(&copy[8..]);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::batch::Batch;
    use crate::layout::FRAMES_START;
    use crate::scan::{copy_at, look_for_frames, whole_frame};
    use crate::stride::Stride;
    use crate::window::Window;

    const SEGMENT: SegmentHeader = SegmentHeader {
        store_id: 1,
        segment: 7,
        salt: 0x1122_3344_5566_7788,
        length: 64 << 10,
        first_frame: 41,
        durable: 40,
        previous_segment: 6,
        oldest: 3,
        previous_checksum: 5,
    };

    fn batch() -> Batch {
        let mut batch = Batch::new();
        batch.hard_state(1, 2, 3);
        (5..8).for_each(|index| batch.entry(1, index, 2, &[&[7; 20]]));
        batch.truncate(2, 9);
        batch.entry(2, 9, 4, &[b"nine"]);
        batch
    }

    /// A segment with one frame in it.
    fn segment(batch: &Batch, mirror: Mirror) -> Vec<u8> {
        let bytes = frame_bytes(batch.directory.len(), batch.payload.len(), mirror);
        let head = Head {
            sequence: 41,
            durable: 40,
            bytes,
            directory_bytes: batch.directory.len(),
            payload_bytes: batch.payload.len(),
            previous: 5,
            offset: FRAMES_START,
            segment: 7,
            oldest: 3,
        };
        let mut segment = vec![0; length(SEGMENT.length)];
        let mut copy = Vec::new();
        head.encode(SEGMENT.salt, &batch.directory, &mut copy);
        let mut put = |at: usize, bytes: &[u8]| segment[at..at + bytes.len()].copy_from_slice(bytes);
        put(head.offset, &copy);
        put(head.payload_offset(), &batch.payload);
        put(head.mirror_offset(), &copy);
        segment
    }

    fn window(segment: Vec<u8>) -> Window {
        Window::new(Box::new(crate::window::Fixed(segment)), length(SEGMENT.length))
    }

    #[test]
    fn a_frame_is_padded_and_its_mirror_keeps_its_distance() {
        for (directory, payload, near, apart) in [
            (0, 0, 1, 2),
            (40, 100, 1, 2),
            (40, 4096, 2, 2),
            (4000, 40, 2, 2),
            (5000, 0, 3, 4),
            (40, 9000, 3, 3),
        ] {
            let blocks = |mirror| frame_bytes(directory, payload, mirror) / BLOCK;
            assert_eq!((blocks(Mirror::Near), blocks(Mirror::Apart)), (near, apart), "{directory} {payload}");
        }
    }

    #[test]
    fn a_whole_frame_comes_back_and_says_where_it_is() {
        for mirror in [Mirror::Near, Mirror::Apart] {
            let mut window = window(segment(&batch(), mirror));
            let copy =
                whole_frame(&mut window, FRAMES_START, &SEGMENT, 41, 5, &mut Stride::default()).unwrap();
            assert_eq!(copy.directory, batch().directory);
            let mirror = copy.head.mirror_offset();
            assert_eq!(copy_at(&mut window, mirror, &SEGMENT).unwrap().head.offset, FRAMES_START);
            let at =
                whole_frame(&mut window, FRAMES_START, &SEGMENT, 42, 5, &mut Stride::default()).unwrap_err();
            assert_eq!(at.what, "sequence of frame");
            let other = SegmentHeader { salt: SEGMENT.salt ^ 1, ..SEGMENT };
            let found =
                whole_frame(&mut window, FRAMES_START, &other, 41, 5, &mut Stride::default()).unwrap_err();
            assert_eq!(found.what, "checksum of frame");
        }
    }

    #[test]
    fn every_flipped_bit_of_a_frame_is_found_but_in_its_padding() {
        let whole = segment(&batch(), Mirror::Near);
        let used = HEAD_BYTES + batch().directory.len() + batch().payload.len();
        for bit in (0..8 * BLOCK).step_by(if cfg!(miri) { 3_001 } else { 1 }) {
            let mut flipped = whole.clone();
            flipped[FRAMES_START + bit / 8] ^= 1 << (bit % 8);
            let mut window = window(flipped);
            let read = whole_frame(&mut window, FRAMES_START, &SEGMENT, 41, 5, &mut Stride::default());
            assert_eq!(read.is_err(), bit / 8 < used, "bit {bit}");
            // And its identity is never lost.
            assert_eq!(
                look_for_frames(&mut window, FRAMES_START, &SEGMENT)[&41].directory,
                batch().directory
            );
        }
    }

    #[test]
    fn of_two_whole_copies_that_differ_the_directory_is_that_of_the_place() {
        let mut other = batch();
        other.entry(9, 1, 1, &[b"of another hand"]);
        let (ours, theirs) = (segment(&batch(), Mirror::Near), segment(&other, Mirror::Near));
        // The frame, moved one block up, with a copy of another in front of it that claims the same number and place.
        let moved = |segment: &[u8], payload: usize, directory: &[u8]| {
            let head =
                Head { offset: FRAMES_START + BLOCK, ..Head::decode(&segment[FRAMES_START..]).unwrap() };
            assert_eq!((head.payload_bytes, head.directory_bytes), (payload, directory.len()));
            let mut copy = Vec::new();
            head.encode(SEGMENT.salt, directory, &mut copy);
            copy
        };
        let head = moved(&ours, batch().payload.len(), &batch().directory);
        let stranger = moved(&theirs, other.payload.len(), &other.directory);
        let mut both = vec![0; length(SEGMENT.length)];
        both[FRAMES_START..][..stranger.len()].copy_from_slice(&stranger);
        both[FRAMES_START + BLOCK..][..head.len()].copy_from_slice(&head);
        let found = look_for_frames(&mut window(both), FRAMES_START, &SEGMENT);
        assert_eq!(found[&41].at, FRAMES_START + BLOCK);
        assert_eq!(found[&41].directory, batch().directory);
    }

    proptest! {
        // Under Miri each case takes seconds.
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 256 }))]

        #[test]
        fn no_bytes_make_the_parser_panic(
            noise in prop::collection::vec(any::<u8>(), 0..600),
            at in 0usize..300,
            seal in any::<bool>(),
        ) {
            // Bytes over a healthy head and directory, and its checksum made right: what a damaged writer might say.
            let mut copy = segment(&batch(), Mirror::Near)[FRAMES_START..FRAMES_START + BLOCK].to_vec();
            let end = (at + noise.len()).min(copy.len());
            copy[at..end].copy_from_slice(&noise[..end - at]);
            if seal {
                copy[..4].copy_from_slice(&MAGIC);
                if let Some(whole) = copy_bytes(&copy, &SEGMENT).and_then(|end| copy.get(..end)) {
                    let sum = checksum(SEGMENT.salt, whole);
                    put_u32(&mut copy, 4, sum);
                }
            }
            let decoded = decode(&copy, &SEGMENT);
            if let Ok(copy) = decoded {
                prop_assert!(copy.head.offset + copy.head.bytes <= length(SEGMENT.length));
            }
            let mut bytes = vec![0; length(SEGMENT.length)];
            bytes[FRAMES_START..FRAMES_START + BLOCK].copy_from_slice(&copy[..BLOCK]);
            let mut replay = crate::replay::Replay::default();
            replay.segment(&mut window(bytes), &SEGMENT, crate::replay::Until::Proven(43));
            replay.finish();
        }
    }
}
