//! What a node says: one file over all its restarts, of bounded size, and its last lines in memory.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// At this size a log becomes `log.old` and a new one begins: per node twice this at most, enough for some 100,000 lines.
const LOG_BYTES_MAX: u64 = 8 << 20;
/// Lines kept for the moment when a node crashes: a panic message with its backtrace.
const LAST_LINES: usize = 40;
/// Longer lines are cut in memory, not in the file.
const LAST_LINE_CHARS: usize = 400;

/// A node's log.
#[derive(Debug)]
pub(super) struct NodeLog {
    path: PathBuf,
    file: File,
    bytes: u64,
    last: VecDeque<String>,
}

impl NodeLog {
    /// Opens it, behind what is already there.
    pub(super) fn open(path: &Path) -> io::Result<NodeLog> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(NodeLog { path: path.to_owned(), file, bytes, last: VecDeque::new() })
    }

    /// A new life of the node begins: a line in between, and its last words start afresh.
    pub(super) fn begin(&mut self, line: &str) -> io::Result<()> {
        self.last.clear();
        self.note(line)
    }

    /// A line of ours in between.
    pub(super) fn note(&mut self, line: &str) -> io::Result<()> {
        self.write(format!("--- {line} ---\n").as_bytes())
    }

    /// Adds a line as it came, with its end.
    pub(super) fn add(&mut self, line: &[u8]) -> io::Result<()> {
        let text = String::from_utf8_lossy(line);
        self.last.push_back(text.trim_end().chars().take(LAST_LINE_CHARS).collect());
        if self.last.len() > LAST_LINES {
            self.last.pop_front();
        }
        self.write(line)
    }

    /// The last lines of this life.
    pub(super) fn last_words(&self) -> Vec<String> {
        self.last.iter().cloned().collect()
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.bytes >= LOG_BYTES_MAX {
            let mut old = self.path.clone().into_os_string();
            old.push(".old");
            std::fs::rename(&self.path, old)?;
            *self = NodeLog { last: std::mem::take(&mut self.last), ..NodeLog::open(&self.path)? };
        }
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_stays_bounded_and_remembers_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = NodeLog::open(&path).unwrap();
        log.begin("started").unwrap();
        let line = [b'x'; 64 * 1024];
        for _ in 0..300 {
            log.add(&line).unwrap();
        }
        log.add(b"the end\n").unwrap();
        let size = |name: &str| dir.path().join(name).metadata().unwrap().len();
        assert!(size("log") <= LOG_BYTES_MAX + 64 * 1024, "{}", size("log"));
        assert!(size("log.old") <= LOG_BYTES_MAX + 64 * 1024, "{}", size("log.old"));
        assert_eq!(log.last_words().last().map(String::as_str), Some("the end"));
        assert!(log.last_words().len() <= LAST_LINES);
        assert!(log.last_words()[0].len() <= LAST_LINE_CHARS);
    }

    #[test]
    fn a_reopened_log_goes_on_behind_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        for life in ["first", "second"] {
            let mut log = NodeLog::open(&path).unwrap();
            log.begin(life).unwrap();
            log.add(b"hello\n").unwrap();
        }
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(text, "--- first ---\nhello\n--- second ---\nhello\n");
    }
}
