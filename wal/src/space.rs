//! How long segments are, and what is kept free in them.

use crate::Options;
use crate::batch::Batch;
use crate::bytes::length;
use crate::frame::{Mirror, frame_bytes};
use crate::layout::{BLOCK, FRAMES_START, SEGMENT_BYTES_RANGE};

/// Length of a segment with these frames in front, and room for one of `needed` bytes.
pub(crate) fn room(batches: &[Batch], needed: usize) -> u64 {
    let of = |batch: &Batch| frame_bytes(batch.directory.len(), batch.payload.len(), Mirror::Apart);
    let used = (FRAMES_START + needed + batches.iter().map(of).sum::<usize>()) as u64;
    // The reserve is at most a sixteenth, or two blocks.
    (used + used / 8 + 2 * BLOCK as u64).next_multiple_of(BLOCK as u64).max(SEGMENT_BYTES_RANGE.0)
}

/// Bytes at the end of a segment that entries leave free.
pub(crate) fn reserve(segment_bytes: u64) -> usize {
    let most = 16; // two blocks a vote: for some elections, until there is space again
    (length(segment_bytes) / 16 / BLOCK).clamp(2, most) * BLOCK
}

pub(crate) fn within_range(options: Options) -> Options {
    let (least, most) = SEGMENT_BYTES_RANGE;
    let fit = |bytes: u64| bytes.clamp(least, most).next_multiple_of(BLOCK as u64);
    let first = fit(options.segment_bytes_first);
    Options {
        segment_bytes_first: first,
        segment_bytes_max: fit(options.segment_bytes_max).max(first),
        ..options
    }
}

pub(crate) fn twice(length: u64, options: &Options) -> u64 {
    (2 * length).min(options.segment_bytes_max)
}
