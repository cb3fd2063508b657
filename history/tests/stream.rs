//! Long histories are read, written and judged in bounded memory. Alone in its process, whose memory is measured.
//!
//! For longer: `ORDEAL_EVENTS=10000000 cargo test -p ordeal-history --release --test stream -- --nocapture`.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::Instant;

use ordeal_history::formats::{Format, Reader, Writer, convert};
use ordeal_history::parts::{Division, Parts};
use ordeal_history::{Budget, Certificate, Header, Report, Verdict, check};

/// A Jepsen history that is made while it is read: clients that read and write by turns, on a hundred keys.
struct Endless {
    events: u64,
    next: u64,
    /// What was last written to each key.
    written: [Option<u64>; 100],
    line: Vec<u8>,
    at: usize,
}

impl Endless {
    fn advance(&mut self) {
        let number = self.next;
        self.next += 1;
        let (kind, call) = if number.is_multiple_of(2) { ("invoke", number) } else { ("ok", number - 1) };
        let (process, key) = (call / 2 % 50, call / 2 % 100);
        let place = usize::try_from(key).expect("one of a hundred");
        let (f, value) = match (call / 2 % 3, kind) {
            (0, "invoke") => ("read", "nil".to_owned()),
            (0, _) => ("read", self.written[place].map_or("nil".to_owned(), |value| value.to_string())),
            _ => {
                self.written[place] = Some(call);
                ("write", call.to_string())
            }
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
const ROOM_BYTES: u64 = 16 << 20;

#[test]
fn a_long_history_needs_no_more_memory_than_a_short_one() {
    // One worker: the parts of a history are judged one after the other, and so are its keys.
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().expect("one core");
    let events = std::env::var("ORDEAL_EVENTS").map_or(600_000, |text| text.parse().expect("a number"));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| directory.path().join(name);
    let before = peak_bytes();
    let mut source: Option<std::path::PathBuf> = None;
    for (number, format) in [Format::Binary, Format::Ordeal, Format::Jepsen].into_iter().enumerate() {
        let start = Instant::now();
        let mut reader = match &source {
            None => {
                let endless = Endless { events, next: 0, written: [None; 100], line: Vec::new(), at: 0 };
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
        if format == Format::Ordeal {
            judge_in_parts(&target, events);
        }
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

/// A part may take so much.
const PART_BYTES: usize = 2 << 20;

/// Judges a file of a hundred keys, none of which is held beside many others.
fn judge_in_parts(path: &Path, events: u64) {
    let start = Instant::now();
    let division = Division { path, format: None, part_bytes: PART_BYTES, look: &mut |_, _, _| true };
    let parts = Parts::of(division).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(parts.operations as u64, events / 2);
    let divided = start.elapsed();
    let reports: Vec<Report> = (0..parts.len())
        .map(|part| {
            let history = parts.load(part).unwrap_or_else(|error| panic!("{error}"));
            let mut report = check(&history, &Budget::default(), &|_| {});
            // Orders of keys that are done are as long as their histories.
            report.keys.iter_mut().for_each(|key| key.certificate = Certificate::None);
            report
        })
        .collect();
    let report = Report::of_parts(reports);
    let keys = usize::try_from(events / 2).expect("some millions").min(100);
    assert_eq!((report.verdict, report.keys.len()), (Verdict::Valid, keys));
    eprintln!("{} parts: {divided:.1?}, judged after {:.1?}", parts.len(), start.elapsed());
}
