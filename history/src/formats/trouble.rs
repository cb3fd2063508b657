//! What can be wrong with a file, and where.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::file::ReadError;
use crate::history::HistoryError;

/// A position in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a text: the line, and the byte in it, both from 1.
    Text {
        /// The line.
        line: usize,
        /// The byte in the line.
        column: usize,
    },
    /// In a binary file: the byte, from 0.
    Byte(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Text { line, column } => write!(f, "line {line}, column {column}"),
            Place::Byte(at) => write!(f, "byte {at}"),
        }
    }
}

/// A file that cannot be read, or not as a history.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The file cannot be opened or read.
    #[error("{path}: {source}\nhint: {hint}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
        /// What to do.
        hint: &'static str,
    },
    /// No format that is known begins like this.
    #[error("{path}: {detail}\nhint: name its format with --format: {}", super::Format::NAMES)]
    Unrecognised {
        /// The file.
        path: PathBuf,
        /// How it begins.
        detail: String,
    },
    /// Something in it cannot be understood.
    #[error("{path}: {place}: {detail}\nhint: {hint}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        place: Place,
        /// What is wrong.
        detail: String,
        /// What to do.
        hint: &'static str,
    },
    /// An event that cannot follow those before it.
    #[error("{path}: {place}: {source}\nhint: {}", crate::file::history_hint(.source))]
    Impossible {
        /// The file.
        path: PathBuf,
        /// Where.
        place: Place,
        /// Why.
        source: HistoryError,
    },
    /// Something that the format to be written cannot say.
    #[error("{path}: {detail}\nhint: choose another format with --to")]
    Unwritable {
        /// The file to be written.
        path: PathBuf,
        /// What.
        detail: String,
    },
    /// Our own format has errors of its own.
    #[error(transparent)]
    Own(#[from] ReadError),
}

impl FormatError {
    /// The file that it is about.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            FormatError::Io { path, .. }
            | FormatError::Unrecognised { path, .. }
            | FormatError::Damaged { path, .. }
            | FormatError::Impossible { path, .. }
            | FormatError::Unwritable { path, .. }
            | FormatError::Own(
                ReadError::Io { path, .. }
                | ReadError::Empty { path }
                | ReadError::NotAHistory { path, .. }
                | ReadError::UnknownVersion { path, .. }
                | ReadError::Damaged { path, .. }
                | ReadError::Impossible { path, .. },
            ) => path,
        }
    }
}

/// What goes wrong inside a reader, which does not know the name of its file.
#[derive(Debug)]
pub(crate) enum Trouble {
    Io(io::Error),
    Damaged { place: Place, detail: String, hint: &'static str },
    Own(ReadError),
}

impl Trouble {
    pub(crate) fn at(place: Place, detail: impl Into<String>, hint: &'static str) -> Self {
        Trouble::Damaged { place, detail: detail.into(), hint }
    }

    pub(crate) fn in_file(self, path: &Path) -> FormatError {
        match self {
            Trouble::Io(source) => io_error(path, source),
            Trouble::Damaged { place, detail, hint } => {
                FormatError::Damaged { path: path.to_owned(), place, detail, hint }
            }
            Trouble::Own(error) => FormatError::Own(error),
        }
    }
}

pub(crate) fn io_error(path: &Path, source: io::Error) -> FormatError {
    let hint = match source.kind() {
        io::ErrorKind::NotFound => "check the path",
        io::ErrorKind::PermissionDenied => "make the file readable for this user",
        io::ErrorKind::AlreadyExists => "remove it first, or choose another name",
        _ => "check that it is a plain file on a healthy disk with room",
    };
    FormatError::Io { path: path.to_owned(), source, hint }
}
