//! What the bytes of one segment hold, and where they stop making sense. Looks at bytes only; `recovery.rs` draws the
//! conclusions.

use crate::format::{
    BLOCK, FRAME_HEAD_BYTES, FRAMES_START, FrameHead, SegmentHeader, decode_record, to_block,
};
use crate::format::{RECORD_BYTES_MAX, RECORD_HEAD_BYTES};
use crate::{Position, Record};

/// The whole frames at the start of a segment.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) records: Vec<Record>,
    /// Where the next frame would be: a block's start.
    pub(crate) end: usize,
    pub(crate) next_frame: u64,
    /// Checksum of the last frame, or what the header says of the one before the first.
    pub(crate) last_checksum: u32,
    /// The highest mark of the oldest segment that counts.
    pub(crate) oldest: u64,
    /// Why the bytes at `end` are no frame; None when the scan ended where it was told to.
    pub(crate) fault: Option<Fault>,
}

/// What is wrong, and where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) offset: usize,
    pub(crate) what: &'static str,
}

/// Reads frames until one is not whole, or until the one before `until` was read.
pub(crate) fn scan(bytes: &[u8], header: &SegmentHeader, until: Option<u64>) -> Scan {
    let mut scan = Scan {
        records: Vec::new(),
        end: FRAMES_START,
        next_frame: header.first_frame,
        last_checksum: header.previous_checksum,
        oldest: header.oldest,
        fault: None,
    };
    while until != Some(scan.next_frame) {
        let whole = scan.records.len();
        if let Err(fault) = scan.read_frame(bytes, header) {
            scan.records.truncate(whole);
            scan.fault = Some(fault);
            break;
        }
    }
    scan
}

/// The highest frame that any frame's head from `end` on proves durable: 0 if there is none. Heads count even where
/// their records are damaged, and behind any damage: this is what tells damage in the middle from a torn tail.
pub(crate) fn durable_by_tail(bytes: &[u8], header: &SegmentHeader, end: usize) -> u64 {
    (end..bytes.len())
        .step_by(BLOCK)
        .filter_map(|at| FrameHead::decode(&bytes[at..], header.salt, place(header, at)).ok())
        .map(|(head, _)| head.durable)
        .max()
        .unwrap_or(0)
}

/// Bytes from `end` to the last one that is not zero.
pub(crate) fn tail_bytes(bytes: &[u8], end: usize) -> usize {
    let tail = bytes.get(end..).unwrap_or(&[]);
    tail.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1)
}

impl Scan {
    fn read_frame(&mut self, bytes: &[u8], header: &SegmentHeader) -> Result<(), Fault> {
        let start = self.end;
        let fault = |offset, what| Fault { offset, what };
        let rest = bytes.get(start..).unwrap_or(&[]);
        let (head, checksum) =
            FrameHead::decode(rest, header.salt, place(header, start)).map_err(|what| fault(start, what))?;
        if head.sequence != self.next_frame {
            return Err(fault(start, "sequence of frame"));
        }
        if head.previous_checksum != self.last_checksum {
            return Err(fault(start, "checksum of the frame before, repeated in the frame"));
        }
        let length = head.bytes as usize;
        let frame = rest.get(..length).ok_or(fault(start, "length of frame"))?;
        let mut at = FRAME_HEAD_BYTES;
        for _ in 0..head.records {
            let position = place(header, start + at);
            let (kind, content) = decode_record(frame.get(at..).unwrap_or(&[]), header.salt, position)
                .map_err(|what| fault(start + at, what))?;
            if content.len() > RECORD_BYTES_MAX {
                return Err(fault(start + at, "length of record"));
            }
            self.records.push(Record { position, kind, bytes: content.to_vec() });
            at += RECORD_HEAD_BYTES + content.len();
        }
        if at != length {
            return Err(fault(start, "length of frame"));
        }
        self.end = start + to_block(length);
        self.next_frame += 1;
        self.last_checksum = checksum;
        self.oldest = self.oldest.max(head.oldest);
        Ok(())
    }
}

fn place(header: &SegmentHeader, offset: usize) -> Position {
    Position { segment: header.segment, offset: offset as u64 }
}
