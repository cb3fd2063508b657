//! Histories that are larger than memory: divided by their keys into files that are not, each to be judged for itself.
//!
//! A history of many keys is linearizable exactly when that of each key is, and the judge judges each key for itself, so the
//! verdicts on the parts together are the verdict on the whole. One pass reads the file as [`crate::history::HistoryBuilder`] would,
//! with the same errors, and writes each event to the part that its key belongs to, in the compact form; it holds
//! the open calls and nothing of those that have returned. A part that came out too large is divided again. A single key cannot
//! be divided: the memory that is needed is that of the largest key, or of a part.

use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::file::Header;
use crate::formats::{BinaryWriter, Format, FormatError, Reader, Record, io_error};
use crate::history::{Client, History, HistoryError, Tags, tag_of};
use crate::linear::fast_hash::{FastHasher, FastMap};
use crate::operation::{Answer, Call, ClientId, Event, OpId, Operation, Outcome, Value};

/// Files that are open at once: each has a buffer of a frame, 16 KiB and its names.
const PARTS_MAX: usize = 128;

/// How often a part is divided again: 128³ parts of any size are beyond any disk.
const DEPTH_MAX: u32 = 2;

/// Bytes on the heap beside a text: two counts and what the allocator rounds up to.
const TEXT_BYTES: usize = 32;

/// What an operation takes in memory beside its texts: itself, and what the judge notes of it.
const OPERATION_BYTES: usize = size_of::<Operation>() + 128;

/// What a compare, an operation or an answer of a transaction takes in memory, with texts of a few bytes.
const TXN_PART_BYTES: usize = 64 + 2 * TEXT_BYTES;

/// A history in files, each with all operations of some keys. They vanish with this.
#[derive(Debug)]
pub struct Parts {
    dir: tempfile::TempDir,
    files: Vec<PathBuf>,
    /// Operations of all parts.
    pub operations: usize,
    /// What a reader of the verdict should know.
    pub warnings: Vec<String>,
}

/// What to divide, and how.
pub struct Division<'a> {
    /// The history.
    pub path: &'a Path,
    /// Its format, or the one that it begins like.
    pub format: Option<Format>,
    /// Bytes of memory that a part may take.
    pub part_bytes: usize,
    /// Is shown every call before it is written; an error ends it all. `false`: this one is left out.
    pub look: &'a mut dyn FnMut(OpId, &str, &Call) -> bool,
}

/// About what a history takes in memory: the compact form has some 20 bytes for an operation that then takes 330; the
/// lines of all others are about as long as what they become.
///
/// # Errors
/// [`FormatError`], when the file cannot be read.
pub fn bytes_in_memory(path: &Path, format: Option<Format>) -> Result<usize, FormatError> {
    if path.is_dir() {
        let history = crate::formats::history_in(path);
        return history.map_or(Ok(0), |history| bytes_in_memory(&history, format));
    }
    let bytes = std::fs::metadata(path).map_err(|error| io_error(path, error))?.len();
    let is_compact = match format {
        Some(format) => format == Format::Binary,
        None => Reader::open(path, None)?.format() == Format::Binary,
    };
    let factor = if is_compact { 18 } else { 3 };
    Ok(usize::try_from(bytes).unwrap_or(usize::MAX).saturating_mul(factor))
}

impl Parts {
    /// Divides a file. The parts lie in the folder for temporary files (`TMPDIR`).
    ///
    /// # Errors
    /// [`FormatError`] of the file, as reading it into memory would give it; or of the parts, when they cannot be written.
    pub fn of(division: Division<'_>) -> Result<Parts, FormatError> {
        let Division { path, format, part_bytes, look } = division;
        let temporary = std::env::temp_dir();
        let dir = tempfile::Builder::new().prefix("ordeal-parts-").tempdir_in(&temporary);
        let dir = dir.map_err(|error| io_error(&temporary, error))?;
        let mut parts = Parts { dir, files: Vec::new(), operations: 0, warnings: Vec::new() };
        let count = bytes_in_memory(path, format)?.div_ceil(part_bytes.max(1)).saturating_mul(2);
        let mut reader = Reader::open(path, format)?;
        let mut gate = Gate::default();
        let mut files = Files::new(&parts.dir, 0, count)?;
        while let Some(record) = reader.next_record()? {
            let Record::Event(event) = record else { continue };
            let passed = gate.pass(&event, look);
            let passed = passed.map_err(|error| reader.impossible(gate.in_full(error, path, format)))?;
            let Some(part) = passed.map(|key| files.part_of(&key)) else { continue };
            parts.operations += usize::from(matches!(event, Event::Invoke { .. }));
            files.push(part, event)?;
        }
        parts.warnings = reader.warnings();
        if parts.operations == 0 {
            parts.warnings.push(format!("{}: the history has no operations", path.display()));
        }
        parts.settle(files, part_bytes, 0)?;
        Ok(parts)
    }

    /// Takes files over that are small enough, and divides the others again.
    fn settle(&mut self, files: Files, part_bytes: usize, depth: u32) -> Result<(), FormatError> {
        for Finished { path, bytes, .. } in files.finish()? {
            if bytes <= part_bytes || depth == DEPTH_MAX {
                self.files.push(path);
                continue;
            }
            let mut reader = Reader::open(&path, Some(Format::Binary))?;
            let mut smaller = Files::new(&self.dir, depth + 1, bytes.div_ceil(part_bytes.max(1)) * 2)?;
            let mut part_of: FastMap<OpId, usize> = FastMap::default();
            while let Some(record) = reader.next_record()? {
                let Record::Event(event) = record else { continue };
                let part = match &event {
                    Event::Invoke { op, key, .. } => {
                        let part = smaller.part_of(key);
                        part_of.insert(*op, part);
                        part
                    }
                    Event::Return { op, .. } => {
                        part_of.remove(op).expect("the gate let a call through first")
                    }
                };
                smaller.push(part, event)?;
            }
            std::fs::remove_file(&path).map_err(|error| io_error(&path, error))?;
            self.settle(smaller, part_bytes, depth + 1)?;
        }
        Ok(())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there are none: the history has no operations.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The operations of one.
    ///
    /// # Errors
    /// [`FormatError`], when it cannot be read.
    pub fn load(&self, part: usize) -> Result<History, FormatError> {
        let loaded = crate::formats::load(&self.files[part], Some(Format::Binary))?;
        Ok(loaded.loaded.history)
    }
}

/// A part on disk.
struct Finished {
    path: PathBuf,
    /// About what it takes in memory.
    bytes: usize,
}

/// Parts that are being written. Those without an event have no file.
struct Files {
    dir: PathBuf,
    depth: u32,
    open: Vec<Option<(BinaryWriter, Finished)>>,
}

impl Files {
    fn new(dir: &tempfile::TempDir, depth: u32, count: usize) -> Result<Files, FormatError> {
        let dir = tempfile::Builder::new()
            .prefix("part-")
            .tempdir_in(dir.path())
            .map_err(|error| io_error(dir.path(), error))?;
        // It goes with the folder around it.
        let open = std::iter::repeat_with(|| None).take(count.clamp(1, PARTS_MAX)).collect();
        Ok(Files { dir: dir.keep(), depth, open })
    }

    fn part_of(&self, key: &str) -> usize {
        let mut hasher = FastHasher::default();
        // Another division is another hash. What transactions may tie stays together.
        hasher.write_u32(self.depth);
        hasher.write(tag_of(key).unwrap_or(key).as_bytes());
        usize::try_from(hasher.finish() % self.open.len() as u64).expect("fewer than there are parts")
    }

    fn push(&mut self, part: usize, event: Event) -> Result<(), FormatError> {
        let place = &mut self.open[part];
        let (writer, finished) = match place {
            Some(open) => open,
            None => {
                let path = self.dir.join(part.to_string());
                let writer = BinaryWriter::create(&path, &Header::default())?;
                place.insert((writer, Finished { path, bytes: 0 }))
            }
        };
        finished.bytes += bytes_of(&event);
        writer.push(&Record::Event(event))
    }

    fn finish(self) -> Result<Vec<Finished>, FormatError> {
        let finish = |(mut writer, finished): (BinaryWriter, Finished)| writer.flush().map(|()| finished);
        self.open.into_iter().flatten().map(finish).collect()
    }
}

/// About what an event takes in memory.
fn bytes_of(event: &Event) -> usize {
    let text = |text: Option<&Value>| text.map_or(0, |text| text.len() + TEXT_BYTES);
    match event {
        Event::Invoke { call, .. } => {
            let texts = match call {
                Call::Read | Call::Delete => 0,
                Call::Write(value) | Call::Append(value) => text(Some(value)),
                Call::Cas { expected, new } => text(expected.as_ref()) + text(Some(new)),
                Call::Txn(txn) => (txn.compares.len() + txn.then.len() + txn.or_else.len()) * TXN_PART_BYTES,
            };
            OPERATION_BYTES + texts
        }
        Event::Return { outcome, .. } => match outcome {
            Outcome::Ok(Answer::Value(value) | Answer::CasFailed(value), _) => text(value.as_ref()),
            Outcome::Ok(Answer::Done | Answer::CasDone | Answer::CasFailedAbsent, _) => 0,
            Outcome::Ok(Answer::Txn(ret), _) => ret.told.len() * TXN_PART_BYTES,
            Outcome::Failed(reason) | Outcome::Unknown(reason) => reason.len() + TEXT_BYTES,
        },
    }
}

/// Lets events through that can follow those before them, as a history in memory takes them in.
#[derive(Default)]
struct Gate {
    last: Option<OpId>,
    open: FastMap<OpId, Open>,
    clients: FastMap<ClientId, Client>,
    tags: Tags,
}

/// A call that has not returned.
struct Open {
    client: ClientId,
    /// `None`: it is left out.
    key: Option<Arc<str>>,
    call: Call,
}

impl Gate {
    /// The key of an event that is wanted.
    fn pass(
        &mut self,
        event: &Event,
        look: &mut dyn FnMut(OpId, &str, &Call) -> bool,
    ) -> Result<Option<Arc<str>>, HistoryError> {
        match event {
            Event::Invoke { op, client, key, call, time_ns } => {
                if let Some(last) = self.last.filter(|last| last >= op) {
                    return Err(HistoryError::IdNotAscending { op: *op, last });
                }
                self.tags.admit(*op, key, call)?;
                let state = self.clients.entry(*client).or_default();
                if let Some(open) = state.open {
                    return Err(HistoryError::ClientBusy { client: *client, op: *op, open });
                }
                state.advance(*client, *op, *time_ns)?;
                (state.open, self.last) = (Some(*op), Some(*op));
                let key = look(*op, key, call).then(|| key.clone());
                self.open.insert(*op, Open { client: *client, key: key.clone(), call: call.clone() });
                Ok(key)
            }
            Event::Return { op, time_ns, outcome, .. } => {
                let open = self.open.remove(op).ok_or(HistoryError::ReturnWithoutCall(*op))?;
                if let Outcome::Ok(answer, _) = outcome
                    && !answer.fits(&open.call)
                {
                    return Err(HistoryError::AnswerDoesNotFit(*op));
                }
                let state = self.clients.entry(open.client).or_default();
                state.advance(open.client, *op, *time_ns)?;
                state.open = None;
                Ok(open.key)
            }
        }
    }

    /// What has returned is not remembered: whether a return without a call is a second one is looked up in the file.
    fn in_full(&self, error: HistoryError, path: &Path, format: Option<Format>) -> HistoryError {
        let HistoryError::ReturnWithoutCall(op) = error else { return error };
        if self.last.is_none_or(|last| last < op) {
            return error;
        }
        let Ok(mut reader) = Reader::open(path, format) else { return error };
        while let Ok(Some(record)) = reader.next_record() {
            match record {
                Record::Event(Event::Invoke { op: called, .. }) if called == op => {
                    return HistoryError::SecondReturn(op);
                }
                Record::Event(Event::Invoke { op: called, .. }) if called > op => break,
                Record::Event(Event::Invoke { .. } | Event::Return { .. }) | Record::Fault(_) => {}
            }
        }
        error
    }
}
