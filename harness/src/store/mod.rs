//! Runs on disk. A run is written while it happens, in the order in which things happen, so that a killed harness leaves
//! a readable prefix.
//!
//! ```text
//!   ordeal-runs/
//!     2026-11-22T07-00-12-seed42/
//!       plan.json       what was to be done                      written first
//!       require.json    what is required of its availability     where anything is
//!       history.jsonl   what clients saw                         grows
//!       events.jsonl    phases, faults and their proofs          grows, locked while the run is alive
//!       stopped/        what nodes left to be seen at a violation where a run is stopped at it
//!       verdict.json    what came of it                          written last, aside and renamed
//!       report.html     the same for people
//!       nodes/n1/log    what the node said; nodes/n1/data stays only when the run failed
//!     latest -> 2026-11-22T07-00-12-seed42
//! ```

mod availability;
mod events;
mod measure;
mod require;
mod rundir;
mod stop;
mod summary;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use availability::{Absence, Availability, FaultAbsence, Figure, KindAbsence, Wait, percent};
pub use events::{Event, EventLog, FaultSpan, read_events, spans};
pub use measure::{FrameCounts, KindCount, Measure, WireCounts};
pub use require::{REQUIREMENTS_TELL, Requirement, RequirementError};
pub use rundir::{RunDir, RunState, tail};
pub use stop::Stop;
pub use summary::{AnomalyRecord, FaultCount, Finding, Latency, Operations, SUMMARY_VERSION, Summary, Word};

/// A run needs at least so much room: a history of 30 s, a report, and the logs of a few nodes.
pub const FREE_BYTES_MIN: u64 = 64 << 20;

/// Names of runs that begin in the same second with the same seed are numbered up to here.
const SAME_NAME_MAX: u32 = 1_000;

/// The name that always leads to the newest run.
pub const LATEST: &str = "latest";

/// A directory of runs.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
}

/// A store or a run that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk says no.
    #[error("{path}: {source}\nhint: {hint}")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
        /// What to do.
        hint: String,
    },
    /// Not enough room.
    #[error(
        "{path}: {free_bytes} bytes are free, a run needs {FREE_BYTES_MIN}\nhint: free some, or use --store DIR on another disk"
    )]
    Full {
        /// Where.
        path: PathBuf,
        /// How much is left.
        free_bytes: u64,
    },
    /// No such run.
    #[error("no run `{name}` in {store}\nhint: `ordeal list` shows what there is, `ordeal run` makes one")]
    NoRun {
        /// What was asked for.
        name: String,
        /// Where it was looked for.
        store: PathBuf,
    },
    /// A file of a run cannot be understood.
    #[error("{path}: {reason}\nhint: the run was damaged or is of another version of ordeal")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl StoreError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        let hint = match source.kind() {
            io::ErrorKind::PermissionDenied => "use --store DIR with a directory that you may write",
            io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
                "use --store DIR with a directory, or with a name that is free"
            }
            io::ErrorKind::StorageFull => "free some room, or use --store DIR on another disk",
            io::ErrorKind::NotFound => "check the path; `ordeal list` shows what there is",
            _ => "check that the disk is healthy, or use --store DIR on another one",
        };
        StoreError::Io { path: path.to_owned(), source, hint: hint.to_owned() }
    }
}

impl Store {
    /// A store to read from; it need not exist.
    #[must_use]
    pub fn at(dir: &Path) -> Self {
        Store { dir: dir.to_owned() }
    }

    /// A store to write to: made if need be, and with room for a run.
    ///
    /// # Errors
    /// When it cannot be made, or has no room.
    pub fn prepare(dir: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(dir).map_err(|source| StoreError::io(dir, source))?;
        let dir = dir.canonicalize().map_err(|source| StoreError::io(dir, source))?;
        let stat = nix::sys::statvfs::statvfs(&dir).map_err(|errno| StoreError::io(&dir, errno.into()))?;
        enough_room(&dir, stat.blocks_available().saturating_mul(stat.fragment_size()))?;
        Ok(Store { dir })
    }

    /// Makes the directory of a new run, whose name is taken by nobody, and leads `latest` to it.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn create_run(&self, when: jiff::civil::DateTime, seed: u64) -> Result<RunDir, StoreError> {
        let base = format!("{}-seed{seed}", when.strftime("%Y-%m-%dT%H-%M-%S"));
        for number in 1..=SAME_NAME_MAX {
            let name = if number == 1 { base.clone() } else { format!("{base}-{number}") };
            let path = self.dir.join(&name);
            match fs::create_dir(&path) {
                Ok(()) => {
                    self.point_latest(&name)?;
                    return Ok(RunDir::new(path));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(StoreError::io(&path, error)),
            }
        }
        Err(StoreError::io(&self.dir.join(base), io::ErrorKind::AlreadyExists.into()))
    }

    /// All runs, the oldest first.
    ///
    /// # Errors
    /// When the directory cannot be read; that it does not exist is no error, there are no runs then.
    pub fn runs(&self) -> Result<Vec<RunDir>, StoreError> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|source| StoreError::io(&self.dir, source))?,
        };
        let mut paths = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|source| StoreError::io(&self.dir, source))?;
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_dir && entry.path().join(rundir::PLAN).exists() {
                paths.push(entry.path());
            }
        }
        paths.sort();
        Ok(paths.into_iter().map(RunDir::new).collect())
    }

    /// A run by its name, by a path to it, or the newest (`latest`).
    ///
    /// # Errors
    /// [`StoreError::NoRun`].
    pub fn find(&self, name: &str) -> Result<RunDir, StoreError> {
        let candidates = [self.dir.join(name), PathBuf::from(name)];
        for path in candidates {
            if path.join(rundir::PLAN).is_file() {
                return Ok(RunDir::new(path.canonicalize().unwrap_or(path)));
            }
        }
        Err(StoreError::NoRun { name: name.to_owned(), store: self.dir.clone() })
    }

    /// Leads `latest` to a run, in one step: whoever follows it finds the old one or the new one.
    fn point_latest(&self, name: &str) -> Result<(), StoreError> {
        let aside = self.dir.join(format!(".latest-{}-{name}", std::process::id()));
        let latest = self.dir.join(LATEST);
        let pointed = std::os::unix::fs::symlink(name, &aside).and_then(|()| fs::rename(&aside, &latest));
        pointed.map_err(|source| {
            // Whether the half-made link can be removed changes nothing for the reader of this error.
            let _ = fs::remove_file(&aside);
            StoreError::io(&latest, source)
        })
    }
}

fn enough_room(path: &Path, free_bytes: u64) -> Result<(), StoreError> {
    if free_bytes < FREE_BYTES_MIN {
        return Err(StoreError::Full { path: path.to_owned(), free_bytes });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
