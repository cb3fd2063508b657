//! Long histories are read and written in bounded memory. Alone in its process, whose memory is measured.
//!
//! For longer: `ORDEAL_EVENTS=10000000 cargo test -p ordeal-history --release --test stream -- --nocapture`.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::Instant;

use ordeal_history::Header;
use ordeal_history::formats::{Format, Reader, Writer, convert};

/// A Jepsen history that is made while it is read: clients that read and write by turns, on a hundred keys.
struct Endless {
    events: u64,
    next: u64,
    line: Vec<u8>,
    at: usize,
}

impl Endless {
    fn advance(&mut self) {
        let number = self.next;
        self.next += 1;
        let (kind, call) = if number.is_multiple_of(2) { ("invoke", number) } else { ("ok", number - 1) };
        let (process, key) = (call / 2 % 50, call / 2 % 100);
        let (f, value) = match (call / 2 % 3, kind) {
            (0, "invoke") => ("read", "nil".to_owned()),
            (0, _) => ("read", number.to_string()),
            _ => ("write", call.to_string()),
        };
        self.at = 0;
        self.line = format!(
            "{{:index {number}, :time {}, :type :{kind}, :process {process}, :f :{f}, :value [{key} {value}]}}\n",
            number * 1000
        )
        .into_bytes();
    }
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.line.len() {
            if self.next == self.events {
                return Ok(0);
            }
            self.advance();
        }
        let length = buffer.len().min(self.line.len() - self.at);
        buffer[..length].copy_from_slice(&self.line[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}

/// The most memory that this process has ever had, where the system says.
fn peak_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
}

/// Beside what is there before: buffers, open operations, and the records that are put in order, of some 200 bytes each.
const ROOM_BYTES: u64 = 32 << 20;

#[test]
fn a_long_history_needs_no_more_memory_than_a_short_one() {
    let events = std::env::var("ORDEAL_EVENTS").map_or(100_000, |text| text.parse().expect("a number"));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| directory.path().join(name);
    let before = peak_bytes();
    let mut source: Option<std::path::PathBuf> = None;
    for (number, format) in [Format::Binary, Format::Ordeal, Format::Jepsen].into_iter().enumerate() {
        let start = Instant::now();
        let mut reader = match &source {
            None => {
                let endless = Endless { events, next: 0, line: Vec::new(), at: 0 };
                Reader::on(Path::new("endless"), endless, None).expect("it begins well")
            }
            Some(path) => Reader::open(path, None).expect("it begins well"),
        };
        let target = path(&number.to_string());
        let writer = Writer::create(&target, format, &Header::default()).expect("a fresh file");
        let converted = convert(&mut reader, writer).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((converted.operations + converted.returns) as u64, events);
        let bytes = fs::metadata(&target).expect("it is there").len();
        eprintln!("{} to {format}: {events} events, {bytes} bytes, {:.1?}", reader.format(), start.elapsed());
        if let Some(old) = source.replace(target) {
            fs::remove_file(old).expect("it was there");
        }
    }
    let (Some(before), Some(after)) = (before, peak_bytes()) else {
        eprintln!("skipped: this system does not say how much memory a process has had");
        return;
    };
    eprintln!("memory: {} MB before, {} MB at most", before >> 20, after >> 20);
    assert!(after - before < ROOM_BYTES, "{} bytes for {events} events", after - before);
}
