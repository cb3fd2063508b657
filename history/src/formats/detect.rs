//! Which format a file has, by its first bytes. Names of files say nothing: every tool calls its file `history`.

use std::io::{self, Read};
use std::path::Path;

use super::Format;
use super::binary::MAGIC;
use super::text::LOG_PREFIX;
use super::trouble::{FormatError, io_error};
use crate::file::ReadError;

/// Bytes that are looked at: some ten operations, past any comment that a person puts on top.
const START_BYTES: u64 = 16 << 10;

/// The first bytes of a file, and its format: the one that is given, or the one that it begins like.
pub(super) fn begin(
    path: &Path,
    inner: &mut impl Read,
    format: Option<Format>,
) -> Result<(Vec<u8>, Format), FormatError> {
    let start = start_of(inner).map_err(|error| io_error(path, error))?;
    if start.is_empty() {
        return Err(FormatError::Own(ReadError::Empty { path: path.to_owned() }));
    }
    let format = match format {
        Some(format) => format,
        None => {
            format_of(&start).map_err(|detail| FormatError::Unrecognised { path: path.to_owned(), detail })?
        }
    };
    Ok((start, format))
}

/// The first bytes of a file.
pub(super) fn start_of(inner: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    inner.by_ref().take(START_BYTES).read_to_end(&mut start)?;
    Ok(start)
}

/// The format of a file that begins like this; an error says how it begins.
pub(super) fn format_of(start: &[u8]) -> Result<Format, String> {
    if start.starts_with(&MAGIC[..start.len().min(MAGIC.len())]) && start[0] == MAGIC[0] {
        return Ok(Format::Binary);
    }
    let text = String::from_utf8_lossy(start);
    let text = text.trim_start_matches('\u{feff}');
    let first_line = text.lines().next().unwrap_or_default();
    if first_line.contains("\"ordeal-history\"") {
        return Ok(Format::Ordeal);
    }
    let body = past_comments(text);
    let body = past_comments(body.strip_prefix(['[', '(']).unwrap_or(body));
    if body.starts_with('{') || body.starts_with('#') {
        return Ok(of_map(body));
    }
    // An empty vector around no operations.
    if body.starts_with([']', ')']) {
        return Ok(Format::Jepsen);
    }
    let line = body.lines().next().unwrap_or_default();
    if body.lines().take(20).any(|line| line.contains(LOG_PREFIX)) {
        return Ok(Format::JepsenLog);
    }
    let mut words = line.split_whitespace().skip(1);
    if words.next().is_some_and(|word| [":invoke", ":info", ":ok", ":fail"].contains(&word)) {
        return Ok(Format::JepsenText);
    }
    Err(format!("no history that is known begins with `{}`", shown(line)))
}

/// The format of a file whose first form is this map.
fn of_map(body: &str) -> Format {
    let inside = body.trim_start_matches(|char: char| char != '{').trim_start_matches('{').trim_start();
    if inside.starts_with('"') {
        let is_etcd = body.contains("\"ClientId\"") || body.contains("\"Input\"");
        return if is_etcd { Format::Etcd } else { Format::Elle };
    }
    let first = inside.split('}').next().unwrap_or_default();
    if first.contains(":key ") { Format::PorcupineKv } else { Format::Jepsen }
}

fn past_comments(mut text: &str) -> &str {
    loop {
        text = text.trim_start_matches(|char: char| char.is_whitespace() || char == ',');
        let Some(comment) = text.strip_prefix(';') else { return text };
        text = comment.split_once('\n').map_or("", |(_, rest)| rest);
    }
}

fn shown(line: &str) -> String {
    let shown: String =
        line.chars().take(40).map(|char| if char.is_control() { '?' } else { char }).collect();
    if shown.len() < line.len() { format!("{shown}…") } else { shown }
}
