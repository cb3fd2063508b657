//! New segments: written with zeros first, in a file that does not count yet, and then given a header and their name.
//!
//! Everything that can fail for lack of space fails here, as a plain error of a plain write; never later, in a store
//! through the mapping, where it would be a signal. While one segment fills, a thread prepares the next.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::SyncMode;
use crate::directory::{self, segment_path};
use crate::error::{WalError, io_error, space_error};
use crate::format::{BLOCK, SegmentHeader};
use crate::mmap::Mapping;

/// Zeros go to the disk in portions: a commit that comes meanwhile waits behind one of these, and not behind a whole
/// segment (seen: 150 ms at the disk of a busy machine, of three nodes at once).
const SYNC_EVERY: usize = 64 * BLOCK;

/// A file of zeros, every block of it on the disk, waiting to become a segment.
#[derive(Debug)]
pub(crate) struct Prepared {
    path: PathBuf,
    file: File,
    pub(crate) length: usize,
}

/// The next segment, being prepared by a thread.
#[derive(Debug)]
pub(crate) struct Spare {
    path: PathBuf,
    pub(crate) length: usize,
    cancelled: Arc<AtomicBool>,
    thread: JoinHandle<Result<Prepared, WalError>>,
}

/// Writes the zeros. On an error nothing is left behind.
pub(crate) fn prepare(path: &Path, length: usize, sync: SyncMode) -> Result<Prepared, WalError> {
    prepare_unless(&AtomicBool::new(false), path, length, sync)
}

fn prepare_unless(
    cancelled: &AtomicBool,
    path: &Path,
    length: usize,
    sync: SyncMode,
) -> Result<Prepared, WalError> {
    let result = zeros(cancelled, path, length, sync);
    if result.is_err() {
        // Half a file of zeros takes the very space that is missing. Should even this fail, the next open removes it.
        let _ = directory::unlink(path);
    }
    result
}

fn zeros(cancelled: &AtomicBool, path: &Path, length: usize, sync: SyncMode) -> Result<Prepared, WalError> {
    let failed = |what| space_error(what, path, length as u64);
    // Readable as well, as a file that is only writable cannot be mapped.
    let mut options = File::options();
    let file =
        options.create(true).truncate(true).read(true).write(true).open(path).map_err(failed("create"))?;
    // One block a write, although fewer and longer ones were faster: longer ones make large folios of the page cache, and
    // then each later store through the mapping writes a whole megabyte to the disk (measured, kernel 6.18).
    for offset in (0..length).step_by(BLOCK) {
        if cancelled.load(Ordering::Relaxed) {
            let interrupted = std::io::Error::from(std::io::ErrorKind::Interrupted);
            return Err(io_error("prepare", path)(interrupted));
        }
        file.write_all_at(&[0; BLOCK], offset as u64).map_err(failed("write"))?;
        if sync == SyncMode::Always && (offset + BLOCK).is_multiple_of(SYNC_EVERY) {
            file.sync_data().map_err(failed("sync"))?;
        }
    }
    if sync == SyncMode::Always {
        file.sync_all().map_err(failed("sync"))?;
    }
    Ok(Prepared { path: path.to_owned(), file, length })
}

impl Prepared {
    /// Gives it its header and its name, durably, and maps it.
    pub(crate) fn activate(
        self,
        dir: &Path,
        header: &SegmentHeader,
        sync: SyncMode,
    ) -> Result<Mapping, WalError> {
        assert!(header.length == self.length as u64, "a header tells the length of its file");
        for copy in [0, BLOCK as u64] {
            self.file.write_all_at(&header.encode(), copy).map_err(io_error("write header", &self.path))?;
        }
        // Before the rename: a file that has a segment's name has a header, whenever the power fails.
        if sync == SyncMode::Always {
            self.file.sync_data().map_err(io_error("sync header", &self.path))?;
        }
        let path = segment_path(dir, header.segment);
        std::fs::rename(&self.path, &path).map_err(io_error("rename", &self.path))?;
        if sync == SyncMode::Always {
            directory::sync(dir)?;
        }
        Mapping::new(&self.file, self.length).map_err(io_error("map", &path))
    }
}

impl Spare {
    /// Starts a thread that prepares the file. None if there is no thread to be had: then it is prepared when needed.
    pub(crate) fn start(path: PathBuf, length: usize, sync: SyncMode) -> Option<Spare> {
        let cancelled = Arc::new(AtomicBool::new(false));
        let (theirs, file) = (Arc::clone(&cancelled), path.clone());
        let work = move || prepare_unless(&theirs, &file, length, sync);
        let thread = std::thread::Builder::new().name("wal-prepare".to_owned()).spawn(work).ok()?;
        Some(Spare { path, length, cancelled, thread })
    }

    /// Waits for the thread: a rotation does, if it comes too early.
    pub(crate) fn finish(self) -> Result<Prepared, WalError> {
        self.thread.join().expect("preparing a segment does not panic")
    }

    /// Ends the thread, and its file with it.
    pub(crate) fn discard(self) -> Result<(), WalError> {
        self.cancelled.store(true, Ordering::Relaxed);
        let path = self.path.clone();
        // Whether it was finished, failed or interrupted: it is not wanted any more.
        drop(self.finish());
        directory::unlink(&path)
    }
}
