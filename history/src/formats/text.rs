//! Histories as lines of text: Jepsen's `history.txt`, and the old logs that Porcupine keeps of its etcd tests.
//!
//! ```text
//! 0 → :invoke → :write → [0 3]                                (→ is a tab)
//! :nemesis → :info → :start-partition → :majority
//! 1 → :info → :read → [0 nil] → :net-timeout
//! INFO  jepsen.util - 17 → :info → :cas → :timed-out
//! ```
//!
//! In the old logs a failed compare-and-set found another value than it expected; anywhere else `:fail` did not happen.
//! Neither has times: lines are a millisecond apart.

use std::io::{BufReader, Read};

use super::form::Form;
use super::forms::{Flavour, Forms};
use super::jepsen::LINE_HINT;
use super::line::{Kind, Line};
use super::pairing::{Dialect, Pairing};
use super::record::Record;
use super::source::Source;
use super::trouble::{Place, Trouble};
use crate::file::{LINE_BYTES_MAX, next_line};

/// What stands before the operation in a line of an old log.
pub(crate) const LOG_PREFIX: &str = "jepsen.util - ";

/// Reads lines.
pub(crate) struct Lines<R> {
    inner: BufReader<R>,
    dialect: Dialect,
    pairing: Pairing,
    line: Vec<u8>,
    number: usize,
}

impl<R: Read> Lines<R> {
    pub(crate) fn new(inner: R, dialect: Dialect) -> Self {
        let (inner, pairing) = (BufReader::new(inner), Pairing::new(dialect));
        Lines { inner, dialect, pairing, line: Vec::new(), number: 0 }
    }

    /// Whether there was another line.
    fn advance(&mut self) -> Result<bool, Trouble> {
        next_line(&mut self.inner, &mut self.line).map_err(Trouble::Io)?;
        self.number += 1;
        if self.line.len() > LINE_BYTES_MAX {
            let detail = format!("the line is longer than {LINE_BYTES_MAX} bytes");
            return Err(Trouble::at(self.at(LINE_BYTES_MAX), detail, LINE_HINT));
        }
        Ok(!self.line.is_empty())
    }

    fn at(&self, column_from_0: usize) -> Place {
        Place::Text { line: self.number, column: column_from_0 + 1 }
    }

    /// Where in the line the operation begins; `None` for a line that is about something else.
    fn start(&self) -> Result<Option<usize>, Trouble> {
        let text = self.line.trim_ascii_end();
        if text.is_empty() {
            return Ok(None);
        }
        if self.dialect != Dialect::OldLog {
            return Ok(Some(0));
        }
        let prefix = LOG_PREFIX.as_bytes();
        if let Some(at) = text.windows(prefix.len()).position(|window| window == prefix) {
            return Ok(Some(at + prefix.len()));
        }
        // Other things are logged too.
        if [&b"INFO "[..], b"WARN ", b"ERROR "].iter().any(|level| text.starts_with(level)) {
            return Ok(None);
        }
        let detail = format!("a line of a log begins with its level, one of an operation has `{LOG_PREFIX}`");
        Err(Trouble::at(self.at(0), detail, LINE_HINT))
    }

    fn parse(&self, start: usize) -> Result<Line, Trouble> {
        let text = self.line.get(start..).unwrap_or_default().trim_ascii_end();
        let mut forms = Forms::of_one_text(text, Flavour::Edn);
        let mut next = |what: &str| match forms.next_form() {
            Ok(Some((form, _))) => Ok(form),
            Ok(None) => Err(Trouble::at(
                self.at(start + text.len()),
                format!("the line ends before its {what}"),
                LINE_HINT,
            )),
            Err(trouble) => Err(self.moved(trouble, start)),
        };
        let (process, kind, f, value) = (next("process")?, next("type")?, next("f")?, next("value")?);
        let taken = usize::try_from(forms.taken()).unwrap_or(usize::MAX);
        let rest = String::from_utf8_lossy(text.get(taken..).unwrap_or_default().trim_ascii()).into_owned();
        let mut line = Line::of_parts(process, &kind, f, value)
            .map_err(|detail| Trouble::at(self.at(start), detail, LINE_HINT))?;
        if line.kind == Kind::Invoke && !rest.is_empty() {
            let detail = format!("`{rest}` behind the value of a call");
            return Err(Trouble::at(self.at(start + taken), detail, LINE_HINT));
        }
        line.error = (!rest.is_empty()).then_some(Form::Text(rest));
        if line.error.is_none() && matches!(line.kind, Kind::Fail | Kind::Info) {
            // The old logs say the reason in place of the value.
            line.error = Some(line.value.clone()).filter(|value| matches!(value, Form::Keyword(_)));
        }
        Ok(line)
    }

    /// The trouble of a part of the line, with its place in the file.
    fn moved(&self, trouble: Trouble, start: usize) -> Trouble {
        match trouble {
            Trouble::Damaged { place: Place::Text { column, .. }, detail, hint } => {
                Trouble::Damaged { place: self.at(start + column - 1), detail, hint }
            }
            trouble => trouble,
        }
    }
}

impl<R: Read> Source for Lines<R> {
    fn next(&mut self) -> Result<Option<Record>, Trouble> {
        while self.advance()? {
            let Some(start) = self.start()? else { continue };
            let line = self.parse(start)?;
            let record = self.pairing.push(line);
            if let Some(record) = record.map_err(|detail| Trouble::at(self.at(start), detail, LINE_HINT))? {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    fn place(&self) -> Place {
        self.at(0)
    }
}
