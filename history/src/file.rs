//! Histories as files: JSON lines, one event a line, so that a person can write one by hand and a killed recorder
//! leaves a readable prefix.
//!
//! ```text
//! {"ordeal-history":2,"model":"key-value","notes":{"seed":"7"}}
//! {"invoke":{"op":0,"client":1,"key":"k1","time_ns":1000,"call":{"write":"a"}},"crc":"0a1b2c3d"}
//! {"return":{"op":0,"time_ns":2500,"ok":"done","made":"1.42","node":"n3"},"crc":"4d3c2b1a"}
//! {"invoke":{"op":1,"client":1,"key":"k1","time_ns":3000,"call":"read"}}
//! {"return":{"op":1,"time_ns":3100,"ok":{"value":"a"}}}
//! ```
//!
//! Calls are `"read"`, `{"write":"a"}`, `{"append":"a"}`, `{"cas":{"expected":"a","new":"b"}}`, `"delete"` and `{"txn":…}`. A return has
//! one of `"ok"` (`{"value":"a"}`, `{"value":null}`, `"done"`, `"cas_done"`, `{"cas_failed":"a"}`, `"cas_failed_absent"`, `{"txn":…}`),
//! `"failed"` and `"unknown"` (each with a reason). A transaction has the tag of its keys as its key (`{b3}`, so that `a0` is
//! the key `{b3}a0`), and all compares must hold for `then`:
//!
//! ```text
//! {"txn":{"compares":[{"key":"a0","test":{"is":"50"}},{"key":"a1","test":{"has_version":"1.42"}}],
//!         "then":[{"put":["a0","45"]},{"append":["log","x"]},{"get":"a1"}],"else":[{"delete":"a2"}]}}
//! {"txn":{"succeeded":true,"told":[{"made":"1.43"},{"made":"1.43"},{"value":["50","1.42"]}]}}
//! ```
//!
//! A test is `is`, `is_not` (`null`: absent) or `has_version`; versions in answers may be `null`.
//! A recorder ends each event with the CRC-32 of the line before
//! `,"crc"`; lines written by hand need none.
//!
//! A last line without its line end that stops in the middle is what a killed recorder leaves: a warning, and the rest
//! is judged. Any other damage is an error that names file, line and column.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::history::{History, HistoryBuilder, HistoryError};
use crate::operation::{Answer, Call, ClientId, Event, OpId, Outcome, Version, Versions};
pub use crate::recorder::{RecordError, Recorder};

/// The version of the format that is written. Version 1, which has no transactions, is read as well.
pub const FORMAT_VERSION: u64 = 2;

/// The one model that there is: a store of keys with text values, all absent at first.
pub const MODEL: &str = "key-value";

/// The longest line: a value of 1 MiB whose every byte is escaped takes 6 MiB; the rest is room for key and reasons.
pub const LINE_BYTES_MAX: usize = 8 << 20;

/// The first line of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Version of the format, see [`FORMAT_VERSION`].
    #[serde(rename = "ordeal-history")]
    pub version: u64,
    /// What was tested, see [`MODEL`].
    pub model: String,
    /// Whatever the recorder wants to remember: the run, the seed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub notes: BTreeMap<String, String>,
}

impl Default for Header {
    fn default() -> Self {
        Header { version: FORMAT_VERSION, model: MODEL.to_owned(), notes: BTreeMap::new() }
    }
}

/// A file that was read.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Its first line.
    pub header: Header,
    /// Its operations.
    pub history: History,
    /// What a reader of the verdict should know, e.g. that the last record was torn.
    pub warnings: Vec<String>,
}

/// A file that is no history, or a damaged one.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
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
    /// Nothing in it.
    #[error("{path}: the file is empty, it has not even a first line\nhint: record the history again")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Not our format.
    #[error(
        "{path}: line 1, column {column}: not an ordeal history: {detail}\n\
         hint: the first line must be {{\"ordeal-history\":{FORMAT_VERSION},\"model\":\"{MODEL}\"}}"
    )]
    NotAHistory {
        /// The file.
        path: PathBuf,
        /// Where in the first line, from 1.
        column: usize,
        /// What is wrong.
        detail: String,
    },
    /// Our format, in a version that this build does not know.
    #[error(
        "{path}: line 1: history format {found}, this build reads 1 to {FORMAT_VERSION}\nhint: use the ordeal that wrote it"
    )]
    UnknownVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// A line that cannot be understood.
    #[error("{path}: line {line}, column {column}: {detail}\nhint: {hint}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The byte in the line, from 1.
        column: usize,
        /// What is wrong.
        detail: String,
        /// What to do.
        hint: &'static str,
    },
    /// A line that is well-formed, but cannot follow those before it.
    #[error("{path}: line {line}, column 1: {source}\nhint: {}", history_hint(.source))]
    Impossible {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Why.
        source: HistoryError,
    },
}

pub(crate) fn history_hint(error: &HistoryError) -> &'static str {
    match error {
        HistoryError::IdNotAscending { .. } => "number the calls 0, 1, 2, … in the order of the file",
        HistoryError::ClientBusy { .. } => {
            "a client waits for one call at a time: add the return, with \"unknown\" if nobody knows, or use another client"
        }
        HistoryError::ReturnWithoutCall(_) => "add the line with its \"invoke\" before it",
        HistoryError::SecondReturn(_) => "a call returns once: remove one of the two returns",
        HistoryError::TimeBackwards { .. } => "all times must come from one monotonic clock, in nanoseconds",
        HistoryError::NoTag { .. } => {
            "the key of a transaction is a tag like {b3}; where it is, a0 within it is the key {b3}a0"
        }
        HistoryError::Mixed { .. } => {
            "write the other calls on this tag as transactions of one operation, or rename the tag of one of them"
        }
        HistoryError::AnswerDoesNotFit(_) => {
            "a read is answered by {\"value\":…}, a write, append or delete by \"done\", a cas by \"cas_done\" or {\"cas_failed\":…}, a txn by {\"txn\":…}"
        }
    }
}

/// Reads a history.
///
/// # Errors
/// [`ReadError`]; its text names the file and, where there is one, the line and column, and ends with a hint.
pub fn read_file(path: &Path) -> Result<Loaded, ReadError> {
    let io_error = |source: io::Error| ReadError::Io {
        path: path.to_owned(),
        hint: match source.kind() {
            io::ErrorKind::NotFound => "check the path; a run keeps its history in its own directory",
            io::ErrorKind::PermissionDenied => "make the file readable for this user",
            _ => "check that it is a plain file on a healthy disk",
        },
        source,
    };
    let mut reader = BufReader::new(File::open(path).map_err(io_error)?);
    let mut line = Vec::new();
    next_line(&mut reader, &mut line).map_err(io_error)?;
    if line.is_empty() {
        return Err(ReadError::Empty { path: path.to_owned() });
    }
    let header = header_of(path, &line)?;
    let mut builder = HistoryBuilder::default();
    let mut warnings = Vec::new();
    let mut number = 1;
    loop {
        next_line(&mut reader, &mut line).map_err(io_error)?;
        if line.is_empty() {
            break;
        }
        number += 1;
        if line.len() > LINE_BYTES_MAX {
            return Err(too_long(path, number));
        }
        match parse_line(&line) {
            Parsed::Blank => {}
            Parsed::Torn => warnings.push(format!(
                "{}: line {number}: the last record is torn ({} bytes without their line end), \
                 the history before it is judged",
                path.display(),
                line.len()
            )),
            Parsed::Event(event) => builder.push(event).map_err(|source| ReadError::Impossible {
                path: path.to_owned(),
                line: number,
                source,
            })?,
            Parsed::Damaged { column, detail, hint } => {
                return Err(ReadError::Damaged { path: path.to_owned(), line: number, column, detail, hint });
            }
        }
    }
    let history = builder.finish();
    if history.operations.is_empty() {
        warnings.push(format!("{}: the history has no operations", path.display()));
    }
    Ok(Loaded { header, history, warnings })
}

/// Reads a line with its line end; empty at the end of the file. Stops a byte beyond [`LINE_BYTES_MAX`].
pub(crate) fn next_line(reader: &mut BufReader<impl io::Read>, line: &mut Vec<u8>) -> io::Result<()> {
    line.clear();
    reader.take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', line).map(drop)
}

fn too_long(path: &Path, line: usize) -> ReadError {
    ReadError::Damaged {
        path: path.to_owned(),
        line,
        column: LINE_BYTES_MAX,
        detail: format!("the line is longer than {LINE_BYTES_MAX} bytes"),
        hint: "one event a line, values of at most 1 MiB",
    }
}

/// Just enough of a first line to tell another version from another format.
#[derive(Deserialize)]
struct AnyHeader {
    #[serde(rename = "ordeal-history")]
    version: u64,
}

pub(crate) fn header_of(path: &Path, line: &[u8]) -> Result<Header, ReadError> {
    let not_ours =
        |column: usize, detail: String| ReadError::NotAHistory { path: path.to_owned(), column, detail };
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    let any: AnyHeader =
        serde_json::from_slice(text).map_err(|error| not_ours(error.column().max(1), words(&error)))?;
    if !(1..=FORMAT_VERSION).contains(&any.version) {
        return Err(ReadError::UnknownVersion { path: path.to_owned(), found: any.version });
    }
    let header: Header =
        serde_json::from_slice(text).map_err(|error| not_ours(error.column().max(1), words(&error)))?;
    if header.model != MODEL {
        return Err(not_ours(1, format!("the model is `{}`, this build judges `{MODEL}`", header.model)));
    }
    Ok(header)
}

/// The words of an error of serde_json without its own line and column: the line is always 1 there.
fn words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(before, _)| before.to_owned())
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    invoke: Option<InvokeLine>,
    #[serde(rename = "return", skip_serializing_if = "Option::is_none")]
    return_: Option<ReturnLine>,
    #[serde(skip_serializing)]
    crc: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct InvokeLine {
    op: u64,
    client: u32,
    key: String,
    time_ns: u64,
    call: Call,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReturnLine {
    op: u64,
    time_ns: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ok: Option<Answer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    made: Option<Version>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced: Option<Version>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seen: Option<Version>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
}

/// The line of an event with its checksum and line end.
pub(crate) fn line_of(event: &Event) -> Vec<u8> {
    let line = match event {
        Event::Invoke { op, client, key, call, time_ns } => Line {
            invoke: Some(InvokeLine {
                op: op.0,
                client: client.0,
                key: key.to_string(),
                time_ns: *time_ns,
                call: call.clone(),
            }),
            return_: None,
            crc: None,
        },
        Event::Return { op, time_ns, outcome, node } => {
            let (mut ok, mut failed, mut unknown) = (None, None, None);
            let mut claim = Versions::default();
            match outcome {
                Outcome::Ok(answer, claimed) => (ok, claim) = (Some(answer.clone()), **claimed),
                Outcome::Failed(reason) => failed = Some(reason.clone()),
                Outcome::Unknown(reason) => unknown = Some(reason.clone()),
            }
            let Versions { made, replaced, seen } = claim;
            let return_ = ReturnLine {
                op: op.0,
                time_ns: *time_ns,
                ok,
                failed,
                unknown,
                made,
                replaced,
                seen,
                node: node.as_deref().map(str::to_owned),
            };
            Line { invoke: None, return_: Some(return_), crc: None }
        }
    };
    let mut bytes = serde_json::to_vec(&line).expect("strings, numbers and options always have a JSON form");
    bytes.pop();
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(format!(",\"crc\":\"{checksum:08x}\"}}\n").as_bytes());
    bytes
}

/// What a line holds.
#[derive(Debug)]
pub(crate) enum Parsed {
    Blank,
    Torn,
    Event(Event),
    Damaged { column: usize, detail: String, hint: &'static str },
}

/// Length of `,"crc":"0a1b2c3d"}`.
const CRC_TAIL_BYTES: usize = 18;

pub(crate) fn parse_line(line: &[u8]) -> Parsed {
    let (text, is_whole) = match line.strip_suffix(b"\n") {
        Some(text) => (text, true),
        // A power failure can leave a tail of zeros where the rest of the record was to be.
        None => (line.strip_suffix(b"\0").map_or(line, trim_zeros), false),
    };
    if text.trim_ascii().is_empty() {
        return if text.len() == line.len() || is_whole { Parsed::Blank } else { Parsed::Torn };
    }
    let parsed: Line = match serde_json::from_slice(text) {
        Ok(parsed) => parsed,
        Err(error) if error.is_eof() && !is_whole => return Parsed::Torn,
        Err(error) => {
            return damaged(error.column().max(1), words(&error), "restore the file, or remove the line");
        }
    };
    if let Some(crc) = &parsed.crc {
        let Some(start) =
            text.len().checked_sub(CRC_TAIL_BYTES).filter(|&at| text[at..].starts_with(b",\"crc\":\""))
        else {
            return damaged(
                1,
                "`crc` is not the last field".to_owned(),
                "lines written by hand need no `crc`: remove it",
            );
        };
        let expected = format!("{:08x}", crc32fast::hash(&text[..start]));
        if *crc != expected {
            let detail = format!("the line is damaged: its checksum is {crc}, expected {expected}");
            return damaged(
                start + 9,
                detail,
                "restore the file; if you changed the line on purpose, remove its `crc`",
            );
        }
    }
    match event_of(parsed) {
        Ok(event) => Parsed::Event(event),
        Err(detail) => damaged(1, detail.to_owned(), "see the head of history/src/file.rs for the format"),
    }
}

fn trim_zeros(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1);
    &text[..end]
}

fn damaged(column: usize, detail: String, hint: &'static str) -> Parsed {
    Parsed::Damaged { column, detail, hint }
}

fn event_of(line: Line) -> Result<Event, &'static str> {
    match (line.invoke, line.return_) {
        (Some(invoke), None) => Ok(Event::Invoke {
            op: OpId(invoke.op),
            client: ClientId(invoke.client),
            key: invoke.key.into(),
            call: invoke.call,
            time_ns: invoke.time_ns,
        }),
        (None, Some(line)) => {
            let claim = Versions { made: line.made, replaced: line.replaced, seen: line.seen };
            let outcome = match (line.ok, line.failed, line.unknown) {
                (Some(answer), None, None) => Outcome::Ok(answer, claim.into()),
                (None, Some(reason), None) => Outcome::Failed(reason),
                (None, None, Some(reason)) => Outcome::Unknown(reason),
                _ => return Err("a return has exactly one of `ok`, `failed` and `unknown`"),
            };
            if !matches!(outcome, Outcome::Ok(..)) && claim != Versions::default() {
                return Err("only a return that is `ok` names versions");
            }
            Ok(Event::Return {
                op: OpId(line.op),
                time_ns: line.time_ns,
                outcome,
                node: line.node.map(Arc::from),
            })
        }
        _ => Err("a line has exactly one of `invoke` and `return`"),
    }
}
