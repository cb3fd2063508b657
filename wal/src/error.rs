//! What can go wrong, told apart by what the caller can do about it.

use std::io;
use std::path::{Path, PathBuf};

/// A log that could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// Another process, or another [`crate::Wal`] of this one, has the log open. End it first.
    #[error("{} is held by another process\nhint: fuser -v {}", path.display(), path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The directory holds the log of another store. Nothing was touched; give the right directory.
    #[error("{} belongs to store {found:016x}, not to {expected:016x}", path.display())]
    Foreign {
        /// The segment that says so.
        path: PathBuf,
        /// The store it belongs to.
        found: u64,
        /// The store of the caller's [`crate::Options`].
        expected: u64,
    },
    /// The log was written by another build. Nothing was touched; use that build.
    #[error("{} has format version {found}, this build reads {}", path.display(), crate::VERSION)]
    Version {
        /// The segment that says so.
        path: PathBuf,
        /// Its version.
        found: u16,
    },
    /// The log was written by a build that can do what this one cannot. Nothing was touched; use that build.
    #[error("{} uses features that this build does not know: {flags:#x}", path.display())]
    Flags {
        /// The segment that says so.
        path: PathBuf,
        /// Its incompatible flags.
        flags: u32,
    },
    /// Bytes that a sync had vouched for are damaged, and nothing can be said of what they held.
    #[error("{}: {what} at {offset}", path.display())]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there, such as `magic of header`.
        what: &'static str,
    },
    /// There is no space for another segment. The log is as it was, and the batch was not written: free something, or
    /// make space, and try again. What has no entries still goes, for a while.
    #[error("no space for {wanted} bytes in {}{}", path.display(), space_hint(path, *limit))]
    NoSpace {
        /// The file that did not fit, or the directory of the log.
        path: PathBuf,
        /// Bytes of the segment that was to be made.
        wanted: u64,
        /// [`crate::Options::total_bytes_max`], if that was what stood in the way, and not the disk.
        limit: Option<u64>,
    },
    /// An earlier call failed half-way, and nobody knows what the disk holds. Only opening the log anew tells.
    #[error("log is out of use after an earlier failure: {cause}")]
    Poisoned {
        /// What the earlier call answered.
        cause: String,
    },
    /// The batch is longer than any segment may be; it was not written.
    #[error("batch of {bytes} bytes, the limit is {}", crate::FRAME_BYTES_MAX)]
    TooLarge {
        /// Bytes of its frame.
        bytes: usize,
    },
    /// The operating system refused.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was tried, such as `write`.
        what: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What it answered.
        source: io::Error,
    },
}

/// Turns the operating system's answer into ours, for use with `map_err`.
pub(crate) fn io_error(what: &'static str, path: PathBuf) -> impl FnOnce(io::Error) -> WalError {
    move |source| WalError::Io { what, path, source }
}

/// As [`io_error`], for the call that takes space on the disk.
pub(crate) fn space_error(path: PathBuf, wanted: u64) -> impl FnOnce(io::Error) -> WalError {
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            WalError::NoSpace { path, wanted, limit: None }
        }
        _ => WalError::Io { what: "prepare", path, source },
    }
}

fn space_hint(path: &Path, limit: Option<u64>) -> String {
    match limit {
        Some(limit) => {
            format!(": the log may hold {limit}\nhint: compact its groups, or allow more")
        }
        None => format!("\nhint: df -h {}", path.parent().unwrap_or(path).display()),
    }
}
