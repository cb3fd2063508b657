//! What can go wrong with a data directory, told apart by what a person can do about it.

use std::io;
use std::path::{Path, PathBuf};

use ordeal_client::wire::GroupId;
use ordeal_wal::WalError;

use super::Identity;

/// A data directory that cannot be used, or not any more.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The directory is that of another node or cluster. Nothing was touched.
    #[error("data directory {} belongs to {found}, not to {expected}", dir.display())]
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// Whose it is.
        found: Identity,
        /// Who wants it.
        expected: Identity,
    },
    /// The directory is ours, of a cluster with other groups or shards: keys would not be where they are looked for.
    /// Nothing was touched.
    #[error(
        "data directory {} was begun with {}, not with {}",
        dir.display(), found.layout, expected.layout
    )]
    Layout {
        /// The directory.
        dir: PathBuf,
        /// What it was begun with.
        found: Identity,
        /// What is asked for.
        expected: Identity,
    },
    /// The directory holds something, but nothing of ours. Nothing was touched.
    #[error("directory {} holds {found} and is no data directory of a node", dir.display())]
    NotOurs {
        /// The directory.
        dir: PathBuf,
        /// Name of something in it.
        found: String,
    },
    /// Another process works in the directory.
    #[error("data directory {} is in use by process {holder}", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// What the holder wrote about itself: its process id.
        holder: String,
    },
    /// Too little space to start with.
    #[error("data directory {}: {free_bytes} bytes free on its disk, a node needs {needed_bytes}", dir.display())]
    NoSpace {
        /// The directory.
        dir: PathBuf,
        /// What is left.
        free_bytes: u64,
        /// What is needed.
        needed_bytes: u64,
    },
    /// The directory was written by a newer build. Nothing was touched.
    #[error("data directory {} has format {found}, this build reads format {expected}", dir.display())]
    Format {
        /// The directory.
        dir: PathBuf,
        /// Its format.
        found: u32,
        /// Ours.
        expected: u32,
    },
    /// A file that was durable is damaged or gone. Nothing was touched.
    #[error("{}: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Entries that were durable are gone, and so are their terms: nobody can be asked for them. Nothing was removed.
    #[error(
        "log in {}: {group}: {} damaged or gone, though durable", dir.display(), slots(*first, *last, *term)
    )]
    LostEntries {
        /// The directory of the log.
        dir: PathBuf,
        /// Whose entries.
        group: GroupId,
        /// The first that is gone.
        first: u64,
        /// The last behind it that is gone without one between them that is not.
        last: u64,
        /// Their term, if it is known.
        term: Option<u64>,
    },
    /// A part of the log that was durable cannot be read, and nothing tells whether it held something of this group.
    #[error(
        "log in {}: {group} may have forgotten {}", dir.display(), if *vote { "a vote" } else { "its last entries" }
    )]
    Forgot {
        /// The directory of the log.
        dir: PathBuf,
        /// Who may have forgotten something.
        group: GroupId,
        /// Whether it may have been a vote.
        vote: bool,
    },
    /// A part of the log that was durable cannot be read, and there may have been groups of which nothing else is left.
    #[error("log in {}: a part that was durable cannot be read", dir.display())]
    Holes {
        /// The directory of the log.
        dir: PathBuf,
    },
    /// The log can be read, but what it says makes no sense.
    #[error("log in {}: {group}: {what}", dir.display())]
    Inconsistent {
        /// The directory of the log.
        dir: PathBuf,
        /// Whose records.
        group: GroupId,
        /// What is wrong with them.
        what: String,
    },
    /// The log failed.
    #[error("{}", before_hint(source))]
    Log {
        /// Why.
        #[from]
        source: WalError,
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

impl StorageError {
    /// Whether it is only that there is no space: what was there is as it was, and the same may be tried again.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        match self {
            StorageError::Log { source } => matches!(source, WalError::NoSpace { .. }),
            StorageError::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            _ => false,
        }
    }

    /// Whether the node may have forgotten what it promised: it must never vote again under its id.
    #[must_use]
    pub fn forgot(&self) -> bool {
        matches!(
            self,
            StorageError::LostEntries { .. } | StorageError::Forgot { .. } | StorageError::Holes { .. }
        )
    }

    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            StorageError::Foreign { .. } => {
                "give the directory of this node with --dir, or a new one".to_owned()
            }
            StorageError::Layout { found, .. } => {
                format!("a cluster keeps what it began with: {}", found.layout)
            }
            StorageError::NotOurs { .. } => "give an empty or a new directory with --dir".to_owned(),
            StorageError::Locked { dir, .. } => {
                format!("end it first: fuser -v {}", dir.join("lock").display())
            }
            StorageError::NoSpace { dir, .. } => format!("make space on the disk: df -h {}", dir.display()),
            StorageError::Format { .. } => "start it with the build that wrote it, or a newer one".to_owned(),
            StorageError::LostEntries { .. }
            | StorageError::Forgot { .. }
            | StorageError::Holes { .. }
            | StorageError::Damaged { .. }
            | StorageError::Inconsistent { .. } => DAMAGED_HINT.to_owned(),
            StorageError::Log { source } => log_hint(source),
            StorageError::Io { path, source, .. } => match source.kind() {
                io::ErrorKind::StorageFull => format!("make space on the disk: df -h {}", path.display()),
                io::ErrorKind::PermissionDenied => {
                    format!("look at its owner and mode: ls -ld {}", path.display())
                }
                _ => format!("look at the file and its disk: ls -l {}; dmesg | tail", path.display()),
            },
        }
    }
}

/// Turns the operating system's answer into ours, for use with `map_err`.
pub(super) fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StorageError {
    move |source| StorageError::Io { what, path: path.to_owned(), source }
}

/// Such as `entries 5 to 7 of term 3 are`.
fn slots(first: u64, last: u64, term: Option<u64>) -> String {
    let term = term.map_or_else(|| "of an unknown term".to_owned(), |term| format!("of term {term}"));
    if first == last {
        format!("entry {first} {term} is")
    } else {
        format!("entries {first} to {last} {term} are")
    }
}

const DAMAGED_HINT: &str = "keep the directory for a look at it; its disk has lost or changed what was durable, \
                            and a member that forgot must not vote again under the same id";

/// The log's errors carry their hints behind a line break.
const HINT: &str = "\nhint: ";

fn before_hint(error: &WalError) -> String {
    let text = error.to_string();
    text.split_once(HINT).map_or(text.clone(), |(before, _)| before.to_owned())
}

fn log_hint(error: &WalError) -> String {
    let text = error.to_string();
    text.split_once(HINT).map_or_else(|| DAMAGED_HINT.to_owned(), |(_, hint)| hint.to_owned())
}
