//! One run on disk.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Event, Requirement, StoreError, Summary, read_events};
use crate::plan::Plan;

pub(super) const PLAN: &str = "plan.json";
const REQUIRE: &str = "require.json";
const HISTORY: &str = "history.jsonl";
pub(super) const EVENTS: &str = "events.jsonl";
const VERDICT: &str = "verdict.json";
const REPORT: &str = "report.html";
const NODES: &str = "nodes";
const STOPPED: &str = "stopped";

/// The directory of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir {
    path: PathBuf,
}

/// How far a run got.
#[derive(Debug, Clone, PartialEq)]
pub enum RunState {
    /// It is alive.
    Running,
    /// Its harness ended before it could judge.
    Interrupted,
    /// It was judged.
    Judged(Box<Summary>),
}

impl RunDir {
    pub(super) fn new(path: PathBuf) -> Self {
        RunDir { path }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// What clients saw.
    #[must_use]
    pub fn history(&self) -> PathBuf {
        self.path.join(HISTORY)
    }

    /// Phases and faults.
    #[must_use]
    pub fn events(&self) -> PathBuf {
        self.path.join(EVENTS)
    }

    /// The verdict for people.
    #[must_use]
    pub fn report(&self) -> PathBuf {
        self.path.join(REPORT)
    }

    /// A directory for each node.
    #[must_use]
    pub fn nodes(&self) -> PathBuf {
        self.path.join(NODES)
    }

    /// What nodes left to be seen when the run was stopped at a violation.
    #[must_use]
    pub fn stopped(&self) -> PathBuf {
        self.path.join(STOPPED)
    }

    /// Reads what was to be done.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub fn read_plan(&self) -> Result<Plan, StoreError> {
        read_json(&self.path.join(PLAN))
    }

    /// Writes what is to be done.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn write_plan(&self, plan: &Plan) -> Result<(), StoreError> {
        write_json(&self.path.join(PLAN), plan)
    }

    /// Reads what is required of its availability: nothing where nothing was written.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn read_requirements(&self) -> Result<Vec<Requirement>, StoreError> {
        let path = self.path.join(REQUIRE);
        if path.exists() { read_json(&path) } else { Ok(Vec::new()) }
    }

    /// Writes what is required of its availability, if anything is.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn write_requirements(&self, requirements: &[Requirement]) -> Result<(), StoreError> {
        if requirements.is_empty() {
            return Ok(());
        }
        write_json(&self.path.join(REQUIRE), &requirements)
    }

    /// Reads phases and faults; of a torn last line nothing.
    ///
    /// # Errors
    /// When the file is missing or damaged in the middle.
    pub fn read_events(&self) -> Result<Vec<Event>, StoreError> {
        read_events(&self.events())
    }

    /// How far the run got.
    ///
    /// # Errors
    /// When its verdict cannot be understood.
    pub fn state(&self) -> Result<RunState, StoreError> {
        let verdict = self.path.join(VERDICT);
        if verdict.exists() {
            return Ok(RunState::Judged(Box::new(read_json(&verdict)?)));
        }
        // A live run holds the lock of its events.
        let alive = File::open(self.events())
            .is_ok_and(|file| matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock)));
        Ok(if alive { RunState::Running } else { RunState::Interrupted })
    }

    /// Writes what came of it.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn write_summary(&self, summary: &Summary) -> Result<(), StoreError> {
        write_json(&self.path.join(VERDICT), summary)
    }

    /// Writes the report.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn write_report(&self, html: &str) -> Result<(), StoreError> {
        write_aside(&self.report(), html.as_bytes())
    }

    /// Removes the data directories of all nodes; their logs stay.
    pub fn drop_data(&self) {
        for entry in fs::read_dir(self.nodes()).into_iter().flatten().flatten() {
            // What cannot be removed only takes room.
            let _ = fs::remove_dir_all(entry.path().join("data"));
        }
    }
}

/// The last bytes of a file, at most so many.
///
/// # Errors
/// When it cannot be read.
pub fn tail(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes_max)))?;
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, StoreError> {
    let bytes = fs::read(path).map_err(|source| StoreError::io(path, source))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| StoreError::Damaged { path: path.to_owned(), reason: error.to_string() })
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), StoreError> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("our types always have a JSON form");
    bytes.push(b'\n');
    write_aside(path, &bytes)
}

/// Writes aside and renames, so that a reader finds the whole file or none.
fn write_aside(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let aside = path.with_extension("tmp");
    let written =
        File::create(&aside).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    let renamed: io::Result<()> = written.and_then(|()| fs::rename(&aside, path));
    renamed.map_err(|source| StoreError::io(path, source))
}
