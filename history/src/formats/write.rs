//! Where records go: one writer for all formats that can be written.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::Format;
use super::binary_write::BinaryWriter;
use super::export::{Export, Shape};
use super::order::InOrder;
use super::record::Record;
use super::trouble::{FormatError, io_error};
use crate::file::{Header, line_of};

/// Writes a file in a format.
pub struct Writer {
    path: PathBuf,
    target: Target,
    left_out: usize,
}

enum Target {
    Own(BufWriter<File>),
    Binary(BinaryWriter),
    Foreign { file: BufWriter<File>, order: InOrder, export: Export },
}

impl Writer {
    /// Creates the file, which must not exist yet.
    ///
    /// # Errors
    /// [`FormatError`], also where the format can only be read.
    pub fn create(path: &Path, format: Format, header: &Header) -> Result<Self, FormatError> {
        let target = match Shape::of(format) {
            _ if format == Format::Binary => Target::Binary(BinaryWriter::create(path, header)?),
            _ if format == Format::Ordeal => {
                let mut file = create(path)?;
                let mut line = serde_json::to_vec(header)
                    .map_err(|error| io_error(path, std::io::Error::from(error)))?;
                line.push(b'\n');
                file.write_all(&line).map_err(|error| io_error(path, error))?;
                Target::Own(file)
            }
            Some(shape) => {
                Target::Foreign { file: create(path)?, order: InOrder::default(), export: Export::new(shape) }
            }
            None => {
                let detail = format!("{format} can be read, but not written");
                return Err(FormatError::Unwritable { path: path.to_owned(), detail });
            }
        };
        Ok(Writer { path: path.to_owned(), target, left_out: 0 })
    }

    /// Adds a record.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn push(&mut self, record: Record) -> Result<(), FormatError> {
        let io = |error| io_error(&self.path, error);
        match &mut self.target {
            Target::Own(file) => match record {
                Record::Event(event) => file.write_all(&line_of(&event)).map_err(io),
                Record::Fault(_) => {
                    self.left_out += 1;
                    Ok(())
                }
            },
            Target::Binary(writer) => writer.push(&record),
            Target::Foreign { file, order, export } => {
                let ready = order.push(record).map_err(|detail| unwritable(&self.path, detail))?;
                write_all(&self.path, file, export, ready)
            }
        }
    }

    /// Writes the rest and brings it to the disk. Returns what could not be said in this format.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn finish(mut self) -> Result<Vec<String>, FormatError> {
        let io = |error| io_error(&self.path, error);
        match &mut self.target {
            Target::Own(file) => {
                file.flush().map_err(io)?;
                file.get_ref().sync_all().map_err(io)?;
            }
            Target::Binary(writer) => writer.sync()?,
            Target::Foreign { file, order, export } => {
                write_all(&self.path, file, export, order.rest())?;
                file.flush().map_err(io)?;
                file.get_ref().sync_all().map_err(io)?;
            }
        }
        let left_out = (self.left_out > 0)
            .then(|| format!("{} faults are left out: this format has no place for them", self.left_out));
        Ok(left_out.into_iter().collect())
    }
}

fn unwritable(path: &Path, detail: String) -> FormatError {
    FormatError::Unwritable { path: path.to_owned(), detail }
}

fn create(path: &Path) -> Result<BufWriter<File>, FormatError> {
    let open = OpenOptions::new().write(true).create_new(true).open(path);
    open.map(BufWriter::new).map_err(|error| io_error(path, error))
}

fn write_all(
    path: &Path,
    file: &mut BufWriter<File>,
    export: &mut Export,
    records: Vec<Record>,
) -> Result<(), FormatError> {
    for record in records {
        let line = export.line(&record).map_err(|detail| unwritable(path, detail))?;
        file.write_all(line.as_bytes()).map_err(|error| io_error(path, error))?;
    }
    Ok(())
}
