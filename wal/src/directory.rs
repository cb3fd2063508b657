//! The directory of a log: its lock, the names in it, and making names durable.
//!
//! A file's own sync does not make its name durable; only a sync of the directory does. Logs that forgot this lost
//! everything on file systems that take it at its word.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use crate::error::{WalError, io_error};

/// Held as long as it lives, and let go by the kernel when the process dies, however it dies.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough: a child that another thread is just starting holds it too until its exec. If
        // this fails, closing still does what it can.
        let _ = self.file.unlock();
    }
}

/// What lies in the directory. Files with other names are not ours and are left alone.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Numbers of the segments, ascending.
    pub(crate) segments: Vec<u64>,
    /// Segments whose preparation never ended: they hold nothing.
    pub(crate) unfinished: Vec<PathBuf>,
}

/// The file of a segment.
pub(crate) fn segment_path(dir: &Path, segment: u64) -> PathBuf {
    dir.join(format!("{segment:016x}.wal"))
}

/// The file of a segment while it is prepared.
pub(crate) fn unfinished_path(dir: &Path, segment: u64) -> PathBuf {
    dir.join(format!("{segment:016x}.tmp"))
}

/// Creates the directory, and those above it, as far as they are missing; durably.
pub(crate) fn create(dir: &Path) -> Result<(), WalError> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = match dir.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    };
    create(parent)?;
    match fs::create_dir(dir) {
        Ok(()) => sync(parent),
        // Somebody else was faster, and syncs its parent as well.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && dir.is_dir() => sync(parent),
        Err(error) => Err(io_error("create directory", dir)(error)),
    }
}

/// Takes the lock, or says that another holds it.
pub(crate) fn lock(dir: &Path) -> Result<Lock, WalError> {
    let path = dir.join("LOCK");
    let mut options = OpenOptions::new();
    let file =
        options.create(true).write(true).truncate(false).open(&path).map_err(io_error("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock { file }),
        Err(TryLockError::WouldBlock) => Err(WalError::Locked { path }),
        Err(TryLockError::Error(error)) => Err(io_error("lock", &path)(error)),
    }
}

/// The segments in the directory.
pub(crate) fn list(dir: &Path) -> Result<Listing, WalError> {
    let mut listing = Listing::default();
    for entry in fs::read_dir(dir).map_err(io_error("list", dir))? {
        let path = entry.map_err(io_error("list", dir))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if let Some(number) = name.strip_suffix(".wal").and_then(number_of) {
            listing.segments.push(number);
        } else if name.strip_suffix(".tmp").and_then(number_of).is_some() {
            listing.unfinished.push(path);
        }
    }
    listing.segments.sort_unstable();
    Ok(listing)
}

/// Makes the names in a directory durable.
pub(crate) fn sync(dir: &Path) -> Result<(), WalError> {
    File::open(dir).and_then(|file| file.sync_all()).map_err(io_error("sync directory", dir))
}

/// Unlinks a file; one that is gone already is as good.
pub(crate) fn unlink(path: &Path) -> Result<(), WalError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io_error("unlink", path)(error)),
        _ => Ok(()),
    }
}

/// The number that a file's name says, if it is written exactly as we write it.
fn number_of(digits: &str) -> Option<u64> {
    let ours = digits.len() == 16 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if ours { u64::from_str_radix(digits, 16).ok() } else { None }
}
