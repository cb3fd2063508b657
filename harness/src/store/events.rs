//! What happened in a run beside the clients' operations, as JSON lines with one write(2) each.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ordeal_client::wire::NodeId;
use serde::{Deserialize, Serialize};

use super::{Stop, StoreError};
use crate::cluster::Evidence;
use crate::lab::Link;
use crate::plan::FaultKind;

/// One thing that happened. Times are nanoseconds of the run, the same as in its history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// Another part of the run begins: `start`, `clients`, `heal`, `final reads`, `stop`, `check`.
    Phase {
        /// When.
        at_ns: u64,
        /// Which.
        phase: String,
    },
    /// Somebody else leads now.
    Leader {
        /// When that was seen.
        at_ns: u64,
        /// The group.
        group: u32,
        /// Its term.
        term: u64,
        /// Who leads.
        node: NodeId,
    },
    /// A fault is in force.
    FaultBegan {
        /// Its number in the plan, from 0.
        fault: usize,
        /// What it is.
        kind: FaultKind,
        /// In words, with the nodes in place: `kill n3`, `isolate n2 (n2 | n1 n3 n4 n5)`.
        name: String,
        /// Links that it cuts; none for other faults.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        links: BTreeSet<Link>,
        /// Proof of each action.
        evidence: Vec<Evidence>,
    },
    /// A fault is over.
    FaultUndone {
        /// Its number in the plan, from 0.
        fault: usize,
        /// Proof of each action.
        evidence: Vec<Evidence>,
    },
    /// A change that the cluster has to agree to was not made in its time, as other faults were in force.
    FaultMissed {
        /// When that was clear.
        at_ns: u64,
        /// Its number in the plan, from 0.
        fault: usize,
        /// What it would have been.
        kind: FaultKind,
        /// In words.
        name: String,
        /// What was seen instead.
        reason: String,
    },
    /// A fault had no effect, or could not be undone.
    NotVerified {
        /// When.
        at_ns: u64,
        /// Its number in the plan, from 0; none while everything is healed at the end.
        fault: Option<usize>,
        /// What was asked for.
        action: String,
        /// What was seen instead.
        reason: String,
    },
    /// A node ended without our doing.
    Crashed {
        /// When that was seen.
        at_ns: u64,
        /// Which.
        node: NodeId,
        /// How.
        how: String,
        /// The last lines of its stderr.
        last_words: Vec<String>,
    },
    /// The cluster serves again.
    Recovered {
        /// When.
        at_ns: u64,
        /// How long after everything was healed.
        took_ms: u64,
    },
    /// The run was judged while it went.
    JudgedMeanwhile {
        /// When that ended.
        at_ns: u64,
        /// Calls and returns that were judged.
        events: u64,
        /// The longest time from one of them until it was.
        lag_ns_max: u64,
        /// Keys that were left to the judge at the end.
        keys_left_out: usize,
        /// Why it ended before the run did, if it could not follow.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lost: Option<String>,
    },
    /// All nodes stood still after the first violation, and the run ended.
    Stopped {
        /// Which, and when.
        #[serde(flatten)]
        stop: Stop,
    },
    /// The user wants it to end.
    Interrupted {
        /// When.
        at_ns: u64,
    },
}

/// Appends events to a file. Holds its lock, so that others can tell a live run from a dead one.
#[derive(Debug)]
pub struct EventLog {
    path: PathBuf,
    file: Mutex<File>,
}

impl EventLog {
    /// Creates the file, which must not exist yet.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn create(path: &Path) -> Result<Self, StoreError> {
        let file = OpenOptions::new().append(true).create_new(true).open(path);
        let file = file.map_err(|source| StoreError::io(path, source))?;
        file.lock().map_err(|source| StoreError::io(path, source))?;
        Ok(EventLog { path: path.to_owned(), file: Mutex::new(file) })
    }

    /// Adds an event.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn write(&self, event: &Event) -> Result<(), StoreError> {
        let mut line = serde_json::to_vec(event).expect("our types always have a JSON form");
        line.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&line).map_err(|source| StoreError::io(&self.path, source))
    }
}

/// Reads events; of a torn last line nothing.
///
/// # Errors
/// When the file is missing or damaged in the middle.
pub fn read_events(path: &Path) -> Result<Vec<Event>, StoreError> {
    let bytes = fs::read(path).map_err(|source| StoreError::io(path, source))?;
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    let lines = bytes[..whole].split(|&byte| byte == b'\n').enumerate();
    let read = lines.filter(|(_, line)| !line.is_empty()).map(|(number, line)| {
        serde_json::from_slice(line).map_err(|error| StoreError::Damaged {
            path: path.to_owned(),
            reason: format!("line {}: {error}", number + 1),
        })
    });
    read.collect()
}

/// A fault from its beginning to its end, as it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultSpan {
    /// Its number in the plan, from 0.
    pub fault: usize,
    /// What it is.
    pub kind: FaultKind,
    /// In words, with the nodes in place.
    pub name: String,
    /// Links that it cuts; none for other faults.
    pub links: BTreeSet<Link>,
    /// Proof that it was in force.
    pub began: Vec<Evidence>,
    /// Proof that it was undone; empty when it was not.
    pub undone: Vec<Evidence>,
}

/// The faults of a run, in the order in which they began.
#[must_use]
pub fn spans(events: &[Event]) -> Vec<FaultSpan> {
    let mut spans: Vec<FaultSpan> = Vec::new();
    for event in events {
        match event {
            Event::FaultBegan { fault, kind, name, links, evidence } => spans.push(FaultSpan {
                fault: *fault,
                kind: *kind,
                name: name.clone(),
                links: links.clone(),
                began: evidence.clone(),
                undone: Vec::new(),
            }),
            Event::FaultUndone { fault, evidence } => {
                if let Some(span) = spans.iter_mut().find(|span| span.fault == *fault) {
                    span.undone.clone_from(evidence);
                }
            }
            Event::Phase { .. }
            | Event::Leader { .. }
            | Event::FaultMissed { .. }
            | Event::NotVerified { .. }
            | Event::Crashed { .. }
            | Event::Recovered { .. }
            | Event::JudgedMeanwhile { .. }
            | Event::Stopped { .. }
            | Event::Interrupted { .. } => {}
        }
    }
    spans
}

impl FaultSpan {
    /// When the first of its actions was asked for.
    #[must_use]
    pub fn asked_ns(&self) -> u64 {
        self.began.iter().map(|evidence| evidence.asked_ns).min().unwrap_or(0)
    }

    /// When the first of its actions had been carried out.
    #[must_use]
    pub fn applied_ns(&self) -> u64 {
        self.began.iter().map(|evidence| evidence.applied_ns).min().unwrap_or(0)
    }

    /// When the last of its actions was proven.
    #[must_use]
    pub fn verified_ns(&self) -> u64 {
        self.began.iter().map(|evidence| evidence.verified_ns).max().unwrap_or(0)
    }

    /// When the last of it had been undone; `None`: never.
    #[must_use]
    pub fn undone_ns(&self) -> Option<u64> {
        self.undone.iter().map(|evidence| evidence.applied_ns).max()
    }

    /// Whether it was in force at some moment of this stretch of time.
    #[must_use]
    pub fn in_force(&self, from_ns: u64, until_ns: u64) -> bool {
        self.applied_ns() <= until_ns && self.undone_ns().is_none_or(|undone_ns| undone_ns >= from_ns)
    }

    /// Whether it keeps a node from hearing a majority of the nodes that it concerns.
    #[must_use]
    pub fn cuts_off(&self, node: NodeId) -> bool {
        let nodes: BTreeSet<NodeId> = self.links.iter().flat_map(|link| [link.from, link.to]).collect();
        let silent = self.links.iter().filter(|link| link.to == node).count();
        silent > 0 && nodes.len() - silent < nodes.len() / 2 + 1
    }

    /// What was seen, in words.
    #[must_use]
    pub fn proof(&self) -> String {
        self.began.iter().map(|evidence| evidence.proof.as_str()).collect::<Vec<_>>().join("; ")
    }
}
