//! Our own JSON lines, record by record. See [`crate::file`].

use std::io::{BufReader, Read};

use super::record::Record;
use super::source::Source;
use super::trouble::{Place, Trouble};
use crate::file::{Header, LINE_BYTES_MAX, Parsed, header_of, next_line, parse_line};

/// Reads JSON lines.
pub(crate) struct OwnLines<R> {
    inner: BufReader<R>,
    header: Header,
    line: Vec<u8>,
    number: usize,
    warnings: Vec<String>,
}

impl<R: Read> OwnLines<R> {
    /// Reads the first line. The path is for the texts of errors alone.
    pub(crate) fn new(inner: R, path: &std::path::Path) -> Result<Self, Trouble> {
        let mut lines = OwnLines {
            inner: BufReader::new(inner),
            header: Header::default(),
            line: Vec::new(),
            number: 0,
            warnings: Vec::new(),
        };
        lines.advance()?;
        lines.header = header_of(path, &lines.line).map_err(Trouble::Own)?;
        Ok(lines)
    }

    fn advance(&mut self) -> Result<bool, Trouble> {
        next_line(&mut self.inner, &mut self.line).map_err(Trouble::Io)?;
        self.number += 1;
        if self.line.len() > LINE_BYTES_MAX {
            let detail = format!("the line is longer than {LINE_BYTES_MAX} bytes");
            let place = Place::Text { line: self.number, column: LINE_BYTES_MAX };
            return Err(Trouble::at(place, detail, "one event a line, values of at most 1 MiB"));
        }
        Ok(!self.line.is_empty())
    }
}

impl<R: Read> Source for OwnLines<R> {
    fn next(&mut self) -> Result<Option<Record>, Trouble> {
        while self.advance()? {
            match parse_line(&self.line) {
                Parsed::Blank => {}
                Parsed::Torn => self.warnings.push(format!(
                    "line {}: the last record is torn ({} bytes without their line end), the history before it is read",
                    self.number,
                    self.line.len()
                )),
                Parsed::Event(event) => return Ok(Some(Record::Event(event))),
                Parsed::Damaged { column, detail, hint } => {
                    return Err(Trouble::at(Place::Text { line: self.number, column }, detail, hint));
                }
            }
        }
        Ok(None)
    }

    fn place(&self) -> Place {
        Place::Text { line: self.number, column: 1 }
    }

    fn header(&self) -> Header {
        self.header.clone()
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }
}
