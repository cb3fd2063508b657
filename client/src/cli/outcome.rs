//! What came of a command, told to a person or, with `--json`, to a program: one line of version 1,
//! `{"v":1,"command":…,"outcome":"done|absent|differs|unknown|not_done|usage",…}`.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::Exit;
use crate::client::{CasAnswer, Got, Written};
use crate::error::ClientError;
use crate::wire::{RefusalReason, Version};

/// Version of the JSON lines.
pub(super) const JSON_VERSION: u32 = 1;

/// Where results and words go.
pub(super) struct Printer<'a> {
    pub(super) json: bool,
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    /// Whoever read the results has seen enough.
    is_closed: bool,
}

impl<'a> Printer<'a> {
    pub(super) fn new(json: bool, out: &'a mut dyn Write, err: &'a mut dyn Write) -> Self {
        Printer { json, out, err, is_closed: false }
    }

    pub(super) fn got(&mut self, key: &[u8], outcome: Result<Got, ClientError>) -> Exit {
        let got = match outcome {
            Ok(got) => got,
            Err(error) => return self.failed("get", key, &error),
        };
        let exit = if got.value.is_some() { Exit::Done } else { Exit::Not };
        if self.json {
            let mut line = line("get", if exit == Exit::Done { "done" } else { "absent" }, key);
            found_into(&mut line, got.value.as_deref().zip(got.version));
            line.insert("node".into(), json!(got.node.to_string()));
            return self.line(&line, exit);
        }
        match got.value {
            Some(mut value) => {
                value.push(b'\n');
                self.result(&value, exit)
            }
            None => self.say(&format!("key {} is absent", quoted(key)), exit),
        }
    }

    pub(super) fn written(
        &mut self,
        command: &str,
        key: &[u8],
        outcome: Result<Written, ClientError>,
    ) -> Exit {
        let written = match outcome {
            Ok(written) => written,
            Err(error) => return self.failed(command, key, &error),
        };
        if self.json {
            let mut line = line(command, "done", key);
            line.insert("made".into(), json!(written.made.to_string()));
            line.insert("replaced".into(), json!(written.replaced.map(|version| version.to_string())));
            line.insert("node".into(), json!(written.node.to_string()));
            return self.line(&line, Exit::Done);
        }
        let replaced = match written.replaced {
            Some(version) => format!("replaced {version}"),
            None => "the key was absent".to_owned(),
        };
        self.result(format!("version {}, {replaced}\n", written.made).as_bytes(), Exit::Done)
    }

    pub(super) fn cas(&mut self, key: &[u8], outcome: Result<CasAnswer, ClientError>) -> Exit {
        let (found, node) = match outcome {
            Ok(CasAnswer::Done(written)) => return self.written("cas", key, Ok(written)),
            Ok(CasAnswer::Failed { found, node }) => (found, node),
            Err(error) => return self.failed("cas", key, &error),
        };
        if self.json {
            let mut line = line("cas", "differs", key);
            found_into(&mut line, found.as_ref().map(|(value, version)| (value.as_slice(), *version)));
            line.insert("node".into(), json!(node.to_string()));
            return self.line(&line, Exit::Not);
        }
        let words = match found {
            Some((value, version)) => {
                format!("not done: key {} is {} at version {version}", quoted(key), quoted(&value))
            }
            None => format!("not done: key {} is absent", quoted(key)),
        };
        self.say(&words, Exit::Not)
    }

    /// What was asked for makes no sense.
    pub(super) fn usage(&mut self, what: &str, hint: &str) -> Exit {
        self.say(&format!("error: {what}\nhint: {hint}"), Exit::Usage)
    }

    /// Standard input could not be read.
    pub(super) fn usage_of_input(&mut self, error: &io::Error) -> Exit {
        self.usage(&format!("standard input: {error}"), "give the value as an argument")
    }

    /// One line of JSON on stdout.
    pub(super) fn line(&mut self, line: &Map<String, Value>, exit: Exit) -> Exit {
        let mut text = Value::Object(line.clone()).to_string();
        text.push('\n');
        self.result(text.as_bytes(), exit)
    }

    /// Results, on stdout. A reader that went away has seen enough.
    pub(super) fn result(&mut self, bytes: &[u8], exit: Exit) -> Exit {
        match self.out.write_all(bytes).and_then(|()| self.out.flush()) {
            Ok(()) => exit,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.is_closed = true;
                exit
            }
            Err(error) => self.say(&format!("error: standard output: {error}"), Exit::Usage),
        }
    }

    /// Whether nobody reads the results any more.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Begins a terminal's screen anew.
    pub(super) fn clear(&mut self) {
        self.result(b"\x1b[H\x1b[J", Exit::Done);
    }

    /// How far it is, on a terminal's current line in place of what was said there before.
    pub(super) fn progress(&mut self, words: &str) {
        drop(write!(self.err, "\r\x1b[K{words}").and_then(|()| self.err.flush()));
    }

    /// Words, on stderr. Where even they cannot be written, nobody is left to tell.
    pub(super) fn say(&mut self, words: &str, exit: Exit) -> Exit {
        drop(writeln!(self.err, "{words}"));
        exit
    }

    pub(super) fn failed(&mut self, command: &str, key: &[u8], error: &ClientError) -> Exit {
        let (name, exit) = judged(error);
        if self.json {
            let mut line = line(command, name, key);
            line.insert("error".into(), json!(error.to_string()));
            self.line(&line, exit);
        }
        let hint = match error {
            ClientError::Unknown(_) => "\nhint: read the key before writing it again; it may yet change",
            ClientError::Unavailable(_) | ClientError::Strangers(_) => {
                "\nhint: `ordeal kv status` with the same endpoints shows who answers"
            }
            ClientError::Refused { reason: RefusalReason::Unfit(_), .. } if command == "txn" => {
                "\nhint: keys of which the same part stands in braces, like {7}stock and {7}order, share a shard"
            }
            ClientError::Config(_)
            | ClientError::TooLong { .. }
            | ClientError::Refused { .. }
            | ClientError::Txn(_)
            | ClientError::Node { .. } => "",
        };
        self.say(&format!("error: {command} {}: {error}{hint}", quoted(key)), exit)
    }
}

/// What an error means for the outcome.
pub(super) fn judged(error: &ClientError) -> (&'static str, Exit) {
    match error {
        ClientError::Config(_) | ClientError::Txn(_) => ("usage", Exit::Usage),
        error if error.may_have_happened() => ("unknown", Exit::Unknown),
        _ => ("not_done", Exit::NotDone),
    }
}

/// The beginning of a line of JSON about a key.
pub(super) fn line(command: &str, outcome: &str, key: &[u8]) -> Map<String, Value> {
    let mut line = line_without_key(command, outcome);
    bytes_into(&mut line, "key", key);
    line
}

/// The beginning of any line of JSON.
pub(super) fn line_without_key(command: &str, outcome: &str) -> Map<String, Value> {
    let mut line = Map::new();
    line.insert("v".into(), json!(JSON_VERSION));
    line.insert("command".into(), json!(command));
    line.insert("outcome".into(), json!(outcome));
    line
}

pub(super) fn found_into(line: &mut Map<String, Value>, found: Option<(&[u8], Version)>) {
    if let Some((value, version)) = found {
        bytes_into(line, "value", value);
        line.insert("version".into(), json!(version.to_string()));
    }
}

/// Bytes under `name` when they are text, else under `name_hex` in hexadecimal.
pub(super) fn bytes_into(line: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => line.insert(name.to_owned(), json!(text)),
        Err(_) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            line.insert(format!("{name}_hex"), json!(hex))
        }
    };
}

/// Bytes for a person: in quotes, whatever is no plain text escaped, and no more than a line of them.
pub(super) fn quoted(bytes: &[u8]) -> String {
    const BYTES_SHOWN: usize = 200;
    let shown = &bytes[..bytes.len().min(BYTES_SHOWN)];
    let more = if shown.len() < bytes.len() { format!("… ({} bytes)", bytes.len()) } else { String::new() };
    match std::str::from_utf8(shown) {
        Ok(text) => format!("{text:?}{more}"),
        Err(_) => format!("\"{}\"{more}", shown.escape_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_as_text_where_they_are() {
        assert_eq!(quoted(b"x"), "\"x\"");
        assert_eq!(quoted("é\n".as_bytes()), "\"é\\n\"");
        assert_eq!(quoted(b"\xff\"x"), "\"\\xff\\\"x\"");
        assert!(quoted(&[b'x'; 1_000]).ends_with("… (1000 bytes)"));
    }
}
