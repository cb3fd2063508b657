//! The frames of one segment: read one after the other while all is well, and where it is not, found again by their heads
//! and mirrors. Looks at bytes only; `replay.rs` draws the conclusions.

use std::collections::BTreeMap;

use crate::bytes::is_zero;
use crate::frame::{self, Copy, HEAD_BYTES, Head, MAGIC, MIRROR_STEP};
use crate::layout::{BLOCK, FRAMES_START, SegmentHeader};
use crate::runs::{Runs, What, entry_checksum};
use crate::stride::Stride;
use crate::window::Window;

/// What is wrong, and where in the segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) offset: usize,
    pub(crate) what: &'static str,
}

/// A frame that was found by its head or its mirror.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) head: Head,
    pub(crate) checksum: u32,
    pub(crate) directory: Vec<u8>,
    /// Where the copy was found that will be read from now on: the head's, if that is whole.
    pub(crate) at: usize,
}

impl Found {
    pub(crate) fn copy(&self) -> Copy<'_> {
        Copy { head: self.head, checksum: self.checksum, directory: &self.directory }
    }

    /// Whether the head itself is whole, or only the mirror.
    pub(crate) fn has_head(&self) -> bool {
        self.at == self.head.offset
    }
}

/// The head and directory at `at`, whole or not.
pub(crate) fn copy_at<'a>(
    window: &'a mut Window,
    at: usize,
    segment: &SegmentHeader,
) -> Result<Copy<'a>, &'static str> {
    let head = window.at(at, HEAD_BYTES);
    let count = frame::copy_bytes(head, segment).ok_or("magic of frame")?;
    frame::decode(window.at(at, count), segment)
}

/// The frame at `at`, if all of it is whole, it is the one that is expected there, and it follows the one before.
pub(crate) fn whole_frame<'a>(
    window: &'a mut Window,
    at: usize,
    segment: &SegmentHeader,
    sequence: u64,
    previous: u32,
    stride: &mut Stride,
) -> Result<Copy<'a>, Fault> {
    let fault = |what| Fault { offset: at, what };
    let Copy { head, checksum, .. } = copy_at(window, at, segment).map_err(fault)?;
    if head.offset != at {
        return Err(fault("place of frame"));
    }
    if head.sequence != sequence {
        return Err(fault("sequence of frame"));
    }
    if !follows(&head, previous) {
        return Err(fault("checksum of the frame before, repeated in the frame"));
    }
    let payload_at = HEAD_BYTES + head.directory_bytes;
    let all = window.at(at, payload_at + head.payload_bytes);
    let (directory, contents) = all.split_at_checked(payload_at).ok_or(fault("frame cut short"))?;
    let copy = Copy { head, checksum, directory: directory.get(HEAD_BYTES..).unwrap_or_default() };
    match damaged_entries(&copy, contents, stride).first() {
        Some(damaged) => Err(damaged.fault),
        None => Ok(copy),
    }
}

/// Whether a frame follows one with this checksum; 0 is one that could not be read.
pub(crate) fn follows(head: &Head, previous: u32) -> bool {
    previous == 0 || head.previous == 0 || head.previous == previous
}

/// An entry whose content is not what its checksum says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DamagedEntry {
    pub(crate) group: u64,
    pub(crate) index: u64,
    pub(crate) term: u64,
    pub(crate) fault: Fault,
}

/// Compares all entries of a frame with their checksums. Contents that are missing are damaged.
pub(crate) fn damaged_entries(copy: &Copy<'_>, contents: &[u8], stride: &mut Stride) -> Vec<DamagedEntry> {
    let mut damaged = Vec::new();
    for run in Runs::of(copy.directory).flatten() {
        let What::Entries { first, term, items, .. } = run.what else { continue };
        let mut at = run.payload_at;
        if stride.all_whole((run.group, first, term), items, contents.get(at..).unwrap_or_default()) {
            continue;
        }
        for (index, (length, checksum)) in (first..).zip(items.iter()) {
            let content = contents.get(at..at.saturating_add(length));
            if content.is_none_or(|content| entry_checksum(run.group, index, term, content) != checksum) {
                let fault = Fault { offset: copy.head.payload_offset() + at, what: "checksum of entry" };
                damaged.push(DamagedEntry { group: run.group, index, term, fault });
            }
            at = at.saturating_add(length);
        }
    }
    damaged
}

/// Looks for heads and mirrors from `at` to the end of the segment, past whatever is there; hands out each that is valid,
/// and where it is. Returns where the zeros begin that reach to the end.
pub(crate) fn look_for_copies(
    window: &mut Window,
    mut at: usize,
    segment: &SegmentHeader,
    mut visit: impl FnMut(&Copy<'_>, usize),
) -> usize {
    let mut end = at;
    while at < window.length() {
        let mut step = BLOCK;
        let is_blank_block = is_zero(window.at(at, BLOCK));
        if is_blank_block {
            // Prepared, and not written to yet.
        } else if let Ok(copy) = copy_at(window, at, segment)
            && copy.head.offset == at
        {
            visit(&copy, at);
            // Nothing else begins inside of a frame.
            step = copy.head.bytes.max(BLOCK);
        } else {
            for mirror in mirror_places(window.at(at, BLOCK), at) {
                if let Ok(copy) = copy_at(window, mirror, segment) {
                    visit(&copy, mirror);
                }
            }
        }
        at += step;
        if !is_blank_block {
            end = at;
        }
    }
    end
}

/// All frames from `at` on of which a head or a mirror is readable, by their sequence.
pub(crate) fn look_for_frames(
    window: &mut Window,
    at: usize,
    segment: &SegmentHeader,
) -> BTreeMap<u64, Found> {
    let mut found: BTreeMap<u64, Found> = BTreeMap::new();
    look_for_copies(window, at, segment, |copy, at| {
        let seen =
            || Found { head: copy.head, checksum: copy.checksum, directory: copy.directory.to_vec(), at };
        // The head's own words, wherever it is whole: its directory and its place belong together, also where somebody has
        // made two copies that differ.
        if at == copy.head.offset {
            found.insert(copy.head.sequence, seen());
        } else {
            found.entry(copy.head.sequence).or_insert_with(seen);
        }
    });
    found
}

/// Where in a block a mirror may begin.
fn mirror_places(block: &[u8], at: usize) -> Vec<usize> {
    let places = (at..).step_by(MIRROR_STEP).zip(block.as_chunks::<MIRROR_STEP>().0);
    places.filter(|(_, bytes)| bytes.starts_with(&MAGIC)).map(|(place, _)| place).collect()
}

/// What all heads and mirrors of a segment prove. They count even where their contents are damaged, and behind any damage.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Evidence {
    /// The highest frame that one proves durable.
    pub(crate) durable: u64,
    /// The highest segment that one says to be the oldest that counts.
    pub(crate) oldest: u64,
    /// Nothing was ever written from here on.
    pub(crate) end: usize,
}

pub(crate) fn evidence(window: &mut Window, segment: &SegmentHeader) -> Evidence {
    let (durable, oldest) = (segment.durable, segment.oldest);
    let mut found = Evidence { durable, oldest, end: FRAMES_START };
    let end = look_for_copies(window, FRAMES_START, segment, |copy, _| {
        found.durable = found.durable.max(copy.head.durable);
        found.oldest = found.oldest.max(copy.head.oldest);
    });
    Evidence { end, ..found }
}

/// Whether nothing was written from `at` on.
pub(crate) fn is_blank(window: &mut Window, at: usize) -> bool {
    (at..window.length()).step_by(BLOCK).all(|at| is_zero(window.at(at, BLOCK)))
}
