//! The mapping of one segment's file, and the only unsafe code of the project.
//!
//! What makes it sound, and what every caller keeps to:
//! * The file was written with zeros over its whole length and synced before it is mapped (`media/directory.rs`), so no
//!   store can need space that the disk does not have. A store into a hole on a full disk would be a SIGBUS.
//! * The file belongs to this process alone: the directory is locked, and nobody shortens a segment.
//! * Bytes are never read through the mapping: recovery reads files with plain reads, which answer a bad sector with an
//!   error and not with a signal.
//! * Longer stores go by a plain write to the same file (`media/directory.rs`): mapping and file are the same pages of the
//!   page cache, and a sync of either range writes both.

use std::fs::File;
use std::io;

use memmap2::{Advice, MmapMut, MmapOptions};

/// A segment's file, mapped for writing.
#[derive(Debug)]
pub(crate) struct Mapping {
    map: MmapMut,
}

impl Mapping {
    /// Maps the first `length` bytes, which the file has. `ahead` spares faults later: `PopulateRead` those of the first
    /// reads, which each store would begin with; `PopulateWrite` those of the first stores as well, and makes all pages dirty.
    pub(crate) fn new(file: &File, length: usize, ahead: Advice) -> io::Result<Mapping> {
        let map = map_shared(file, length)?;
        // Without readahead no large folios come in: one store into one of those is a write of a whole megabyte
        // (measured on ext4 and XFS of kernel 6.18). Only advice: a kernel that does not know it still is right.
        let _ = map.advise(Advice::Random);
        // The pages are in the cache, as they were just written.
        let _ = map.advise(ahead);
        Ok(Mapping { map })
    }

    /// Stores bytes. Nothing is durable before [`Mapping::sync`].
    pub(crate) fn write(&mut self, offset: usize, bytes: &[u8]) {
        self.map[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    /// Waits until these bytes are on the disk: one msync.
    pub(crate) fn sync(&self, offset: usize, length: usize) -> io::Result<()> {
        self.map.flush_range(offset, length)
    }
}

#[expect(
    unsafe_code,
    reason = "a mapping of a file cannot be made safely: others could shorten or change the file"
)]
fn map_shared(file: &File, length: usize) -> io::Result<MmapMut> {
    // SAFETY: the file is a segment of a directory that this process holds locked; nobody else writes to it or shortens
    // it while it is mapped, and all its blocks are allocated (see the list on top).
    unsafe { MmapOptions::new().len(length).map_mut(file) }
}
