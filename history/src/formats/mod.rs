//! Histories in the files of other tools, and in a compact form of our own.
//!
//! [`Reader::open`] knows a format by how a file begins and gives its records one by one; [`load`] makes a history of them;
//! [`Writer`] writes them in another format; [`convert`] does both. Any bytes give records or an error that says where it
//! is, never a panic; nothing but the open operations is held in memory (etcd's reports apart, which are sorted).
//!
//! What each format may hold, and how it is understood, stands in docs/formats.md and on top of each module here.

mod binary;
mod binary_write;
mod cursor;
pub(crate) mod deeds;
mod detect;
mod etcd;
mod export;
mod export_txn;
mod form;
mod forms;
mod jepsen;
mod line;
mod order;
mod own;
mod pack;
mod pairing;
mod record;
mod source;
mod store;
mod text;
mod trouble;
mod write;

use std::fmt;
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use binary_write::BinaryWriter;
pub(crate) use form::Form;
pub use pairing::SOLE_KEY;
pub use record::{FaultNote, Record};
pub use trouble::{FormatError, Place};
pub use write::Writer;

use crate::file::{Header, Loaded};
use crate::history::{HistoryBuilder, HistoryError};
use crate::operation::Event;
use forms::Flavour;
use pairing::Dialect;
use source::{Halt, Source};
pub(crate) use store::history_in;
use trouble::Trouble;
pub(crate) use trouble::io_error;

/// A format of histories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// Our JSON lines, see [`crate::file`].
    Ordeal,
    /// Our compact form: frames of records.
    Binary,
    /// `history.edn` of Jepsen, Knossos and Maelstrom.
    Jepsen,
    /// `history.txt` of Jepsen.
    JepsenText,
    /// The old logs of Jepsen that Porcupine keeps of its etcd tests.
    JepsenLog,
    /// Porcupine's key-value logs.
    PorcupineKv,
    /// `operations.json` of etcd's robustness tests.
    Etcd,
    /// The JSON of elle-cli.
    Elle,
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 8] = [
        Format::Ordeal,
        Format::Binary,
        Format::Jepsen,
        Format::JepsenText,
        Format::JepsenLog,
        Format::PorcupineKv,
        Format::Etcd,
        Format::Elle,
    ];

    /// Their names, as a hint lists them.
    pub const NAMES: &str =
        "ordeal, binary, jepsen, maelstrom, jepsen-text, jepsen-log, porcupine-kv, etcd, elle";

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Format::Ordeal => "ordeal",
            Format::Binary => "binary",
            Format::Jepsen => "jepsen",
            Format::JepsenText => "jepsen-text",
            Format::JepsenLog => "jepsen-log",
            Format::PorcupineKv => "porcupine-kv",
            Format::Etcd => "etcd",
            Format::Elle => "elle",
        }
    }

    /// The format to write for a file of this name.
    #[must_use]
    pub fn of_name(path: &Path) -> Option<Format> {
        match path.extension()?.to_str()? {
            "jsonl" => Some(Format::Ordeal),
            "ohb" => Some(Format::Binary),
            "edn" => Some(Format::Jepsen),
            "txt" => Some(Format::JepsenText),
            "json" => Some(Format::Elle),
            _ => None,
        }
    }

    /// Whether it can be written.
    #[must_use]
    pub fn can_be_written(self) -> bool {
        matches!(self, Format::Ordeal | Format::Binary) || export::Shape::of(self).is_some()
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is that of no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no format, expected one of {names}", names = Format::NAMES)]
pub struct UnknownFormat(String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        if name == "maelstrom" {
            return Ok(Format::Jepsen);
        }
        let found = Format::ALL.into_iter().find(|format| format.name() == name);
        found.ok_or_else(|| UnknownFormat(name.to_owned()))
    }
}

/// An operation has hardly fewer bytes in the compact form: two records of a tag, two differences, and what was asked and answered.
const OPERATION_BYTES_MIN: usize = 16;

/// Reads the records of a file.
pub struct Reader {
    path: PathBuf,
    format: Format,
    source: Box<dyn Source>,
    /// Operations that the file may hold, from its length.
    operations_hint: usize,
    /// What lies beside the file.
    notes: Vec<String>,
}

impl Reader {
    /// Opens a file; its format is this one, or the one that it begins like. The report of an etcd test is a folder, and so is
    /// what Jepsen keeps of a test.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn open(path: &Path, format: Option<Format>) -> Result<Self, FormatError> {
        if path.is_dir() {
            let Some(history) = store::history_in(path) else { return Reader::of_report(path) };
            let mut reader = Reader::open(&history, format)?;
            reader.notes.extend(store::said_in(path));
            return Ok(reader);
        }
        let file = File::open(path).map_err(|error| io_error(path, error))?;
        let bytes = file.metadata().map_or(0, |meta| meta.len());
        let mut reader = Reader::on(path, file, format)?;
        if reader.format == Format::Binary {
            reader.operations_hint = usize::try_from(bytes).unwrap_or(0) / OPERATION_BYTES_MIN;
        }
        Ok(reader)
    }

    fn of_report(path: &Path) -> Result<Self, FormatError> {
        let mut report = etcd::Report::default();
        for file in report_files(path).map_err(|error| io_error(path, error))? {
            let inner = File::open(&file).map_err(|error| io_error(&file, error))?;
            report.add(inner).map_err(|trouble| trouble.in_file(&file))?;
        }
        let source = report.finish().map_err(|trouble| trouble.in_file(path))?;
        Ok(Reader {
            path: path.to_owned(),
            format: Format::Etcd,
            source: Box::new(source),
            operations_hint: 0,
            notes: Vec::new(),
        })
    }

    /// As [`Reader::open`] for any stream; the name is for errors.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn on<R: Read + 'static>(
        path: &Path,
        mut inner: R,
        format: Option<Format>,
    ) -> Result<Self, FormatError> {
        let (start, format) = detect::begin(path, &mut inner, format)?;
        let source = source_of(path, format, Cursor::new(start).chain(inner));
        let source = source.map_err(|trouble| trouble.in_file(path))?;
        Ok(Reader { path: path.to_owned(), format, source, operations_hint: 0, notes: Vec::new() })
    }

    /// Its format.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// What the file says about itself.
    #[must_use]
    pub fn header(&self) -> Header {
        self.source.header()
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// [`FormatError`], which says where; nothing more is to be read then.
    pub fn next_record(&mut self) -> Result<Option<Record>, FormatError> {
        self.source.next().map_err(|trouble| trouble.in_file(&self.path))
    }

    /// That the record which was handed out last cannot follow those before it.
    pub(crate) fn impossible(&self, source: HistoryError) -> FormatError {
        FormatError::Impossible { path: self.path.clone(), place: self.source.place(), source }
    }

    /// What a reader of the history should know, e.g. that its end is torn; complete at the end.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let warnings = self.source.warnings();
        warnings
            .iter()
            .chain(&self.notes)
            .map(|warning| format!("{}: {warning}", self.path.display()))
            .collect()
    }
}

/// Whether this is a folder with a history: a report of etcd's robustness tests, or what Jepsen keeps of a test.
#[must_use]
pub fn is_report(path: &Path) -> bool {
    store::history_in(path).is_some() || report_files(path).is_ok()
}

/// The files of the clients of a report, in the order of their names.
fn report_files(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let file = entry.path().join("operations.json");
        if entry.file_name().to_string_lossy().starts_with("client-") && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(std::io::Error::other(
            "a folder, but no test of Jepsen (no history.edn), and no report of an etcd test (no client-<id>/operations.json)",
        ));
    }
    Ok(files)
}

fn source_of<R: Read + 'static>(path: &Path, format: Format, inner: R) -> Result<Box<dyn Source>, Trouble> {
    use jepsen::Maps;
    Ok(match format {
        Format::Ordeal => Box::new(own::OwnLines::new(inner, path)?),
        Format::Binary => Box::new(binary::Binary::new(inner)?),
        Format::Jepsen => Box::new(Maps::new(inner, Flavour::Edn, Dialect::Jepsen)),
        Format::JepsenText => Box::new(text::Lines::new(inner, Dialect::Jepsen)),
        Format::JepsenLog => Box::new(text::Lines::new(inner, Dialect::OldLog)),
        Format::PorcupineKv => Box::new(Maps::new(inner, Flavour::Edn, Dialect::PorcupineKv)),
        Format::Etcd => Box::new(etcd::Operations::read(inner)?),
        Format::Elle => Box::new(Maps::new(inner, Flavour::Json, Dialect::Jepsen)),
    })
}

/// A history of any format in memory.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The format that it was read as.
    pub format: Format,
    /// Its operations, header and warnings.
    pub loaded: Loaded,
    /// What befell the system meanwhile, as far as the file says.
    pub faults: Vec<FaultNote>,
}

/// Reads a whole history.
///
/// # Errors
/// [`FormatError`]; its text names the file and where in it, and ends with a hint.
pub fn load(path: &Path, format: Option<Format>) -> Result<Imported, FormatError> {
    collect(Reader::open(path, format)?)
}

/// As [`load`] for a reader that is open.
///
/// # Errors
/// [`FormatError`].
pub fn collect(mut reader: Reader) -> Result<Imported, FormatError> {
    let mut builder = HistoryBuilder::default();
    builder.reserve(reader.operations_hint);
    let mut faults = Vec::new();
    reader.source.collect(&mut builder, &mut faults).map_err(|halt| match halt {
        Halt::Trouble(trouble) => trouble.in_file(&reader.path),
        Halt::Impossible(error) => reader.impossible(error),
    })?;
    let history = builder.finish();
    let mut warnings = reader.warnings();
    if history.operations.is_empty() {
        warnings.push(format!("{}: the history has no operations", reader.path.display()));
    }
    Ok(Imported {
        format: reader.format,
        loaded: Loaded { header: reader.header(), history, warnings },
        faults,
    })
}

/// A text as EDN writes it, in quotes: for the values of [`FaultNote`].
#[must_use]
pub fn edn_text(text: &str) -> String {
    form::Form::Text(text.to_owned()).to_string()
}

/// What a conversion moved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Converted {
    /// Calls.
    pub operations: usize,
    /// Calls that returned, with whatever outcome.
    pub returns: usize,
    /// Lines of a nemesis.
    pub faults: usize,
    /// What the reader of the new file should know.
    pub warnings: Vec<String>,
}

/// Writes what a reader gives, record by record.
///
/// # Errors
/// [`FormatError`]; the file is then not complete.
pub fn convert(reader: &mut Reader, mut writer: Writer) -> Result<Converted, FormatError> {
    let mut converted = Converted::default();
    while let Some(record) = reader.next_record()? {
        match &record {
            Record::Event(Event::Invoke { .. }) => converted.operations += 1,
            Record::Event(Event::Return { .. }) => converted.returns += 1,
            Record::Fault(_) => converted.faults += 1,
        }
        writer.push(record)?;
    }
    converted.warnings = reader.warnings();
    converted.warnings.extend(writer.finish()?);
    Ok(converted)
}
