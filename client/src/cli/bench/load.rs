//! The load: clients at work, each on a thread of its own with notes of its own, which are summed up when all are back.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::BenchArgs;
use super::draw::{Draw, Kind, key};
use super::report;
use crate::cli::outcome::Printer;
use crate::client::Client;
use crate::config::ClientConfig;
use crate::error::ClientError;
use crate::wire::ReadLevel;

/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// Latencies are exact to three digits, which takes 4 KiB for each doubling: some 50 KiB a client and kind up to 1 s.
const DIGITS: u8 = 3;

/// Latencies beyond an hour count as an hour; no deadline is that long.
const LATENCY_US_MAX: u64 = 3_600_000_000;

/// What was measured of reads, or of writes.
#[derive(Debug, Clone)]
pub(super) struct Side {
    /// Of what was answered, in microseconds.
    pub(super) latency_us: Histogram<u32>,
    /// Surely not done.
    pub(super) failed: u64,
    /// They may have happened.
    pub(super) unknown: u64,
}

/// What was measured.
#[derive(Debug, Clone)]
pub(super) struct Sheet {
    pub(super) reads: Side,
    pub(super) writes: Side,
    /// From the end of the warm-up until the last answer.
    pub(super) time: Duration,
    /// Why one of the others was not answered.
    pub(super) error: Option<String>,
}

/// When a bench begins to measure, and when nothing new is begun.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    from: Instant,
    end: Instant,
}

/// What the clients share.
#[derive(Debug)]
pub(super) struct Load {
    config: ClientConfig,
    pub(super) args: BenchArgs,
    /// Operations that are still to be measured, for those who count.
    tickets: Option<AtomicU64>,
    /// For the progress line: answered, and not answered.
    answered: AtomicU64,
    unanswered: AtomicU64,
}

impl Load {
    pub(super) fn new(config: ClientConfig, args: BenchArgs) -> Load {
        let tickets = args.operations.map(AtomicU64::new);
        Load { config, args, tickets, answered: AtomicU64::new(0), unanswered: AtomicU64::new(0) }
    }

    /// Lets all clients loose at once, and waits for them.
    ///
    /// # Errors
    /// When the system has no thread for one of them; then nothing was asked.
    pub(super) fn run(&self, progress: Option<&mut Printer<'_>>) -> io::Result<Sheet> {
        // Shut until all threads are there: they wait for this lock. Without a schedule they go home.
        let gate = Mutex::new(None);
        thread::scope(|scope| {
            let mut schedule = gate.lock().unwrap_or_else(PoisonError::into_inner);
            let (done, all_done) = mpsc::channel::<()>();
            let mut clients = Vec::new();
            for draw in Draw::all(&self.args) {
                let (gate, done) = (&gate, done.clone());
                let work = move || {
                    let schedule = *gate.lock().unwrap_or_else(PoisonError::into_inner);
                    let sheet = schedule.map(|schedule| self.client(draw, schedule));
                    drop(done);
                    sheet
                };
                clients.push(thread::Builder::new().name("bench".to_owned()).spawn_scoped(scope, work)?);
            }
            drop(done);
            let started = Instant::now();
            let from = started + self.args.warm_up;
            *schedule = Some(Schedule { from, end: self.args.end(from) });
            drop(schedule);
            if let Some(printer) = progress {
                self.watch(&all_done, started, printer);
            }
            let mut sum = Sheet::new();
            for client in clients {
                sum.add(client.join().expect("a client does not panic").expect("the gate was opened"));
            }
            Ok(sum)
        })
    }

    /// One client, from its first operation to its last.
    fn client(&self, mut draw: Draw, schedule: Schedule) -> Sheet {
        let config = ClientConfig { seed: draw.seed(), ..self.config.clone() };
        let mut client = Client::new(config).expect("the same configuration was good before");
        let value = draw.value(self.args.value_bytes);
        let mut sheet = Sheet::new();
        loop {
            let (kind, number) = draw.operation();
            let key = key(number);
            let begun = Instant::now();
            let is_measured = begun >= schedule.from;
            if begun >= schedule.end || (is_measured && !self.take_ticket()) {
                return sheet;
            }
            let outcome = match kind {
                Kind::Read => client.get(&key, ReadLevel::Linearizable).map(|_| ()),
                Kind::Write => client.put(&key, &value).map(|_| ()),
            };
            let ended = Instant::now();
            let count = if outcome.is_ok() { &self.answered } else { &self.unanswered };
            count.fetch_add(1, Ordering::Relaxed);
            if is_measured {
                sheet.note(kind, outcome, ended - begun);
                sheet.time = ended - schedule.from;
            }
        }
    }

    /// Whether one more operation is to be measured.
    fn take_ticket(&self) -> bool {
        let Some(tickets) = &self.tickets else { return true };
        let less = |left: u64| left.checked_sub(1);
        tickets.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    /// Tells progress until all clients have hung up.
    fn watch(&self, all_done: &mpsc::Receiver<()>, started: Instant, printer: &mut Printer<'_>) {
        let (mut last, mut at) = (0, started);
        while all_done.recv_timeout(PROGRESS_EVERY) == Err(RecvTimeoutError::Timeout) {
            let (answered, now) = (self.answered.load(Ordering::Relaxed), Instant::now());
            let per_second = report::per_second(answered - last, now - at);
            let unanswered = self.unanswered.load(Ordering::Relaxed);
            printer.progress(&format!(
                "{:>4} s: {answered} answered, {per_second:.0} a second, {unanswered} not answered",
                (now - started).as_secs()
            ));
            (last, at) = (answered, now);
        }
        printer.progress("");
    }
}

impl Sheet {
    fn new() -> Sheet {
        Sheet { reads: Side::new(), writes: Side::new(), time: Duration::ZERO, error: None }
    }

    fn note(&mut self, kind: Kind, outcome: Result<(), ClientError>, took: Duration) {
        let side = match kind {
            Kind::Read => &mut self.reads,
            Kind::Write => &mut self.writes,
        };
        match outcome {
            Ok(()) => side.record(took),
            Err(error) => {
                let count = if error.may_have_happened() { &mut side.unknown } else { &mut side.failed };
                *count += 1;
                self.error = Some(error.to_string());
            }
        }
    }

    fn add(&mut self, other: Sheet) {
        self.reads.add(&other.reads);
        self.writes.add(&other.writes);
        self.time = self.time.max(other.time);
        self.error = self.error.take().or(other.error);
    }
}

impl Side {
    pub(super) fn new() -> Side {
        let latency_us = Histogram::new(DIGITS).expect("three digits are within what a histogram can");
        Side { latency_us, failed: 0, unknown: 0 }
    }

    /// Notes an answer.
    pub(super) fn record(&mut self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).min(LATENCY_US_MAX);
        // `saturating_record` would not grow, and so take all that is long for 2 ms.
        self.latency_us.record(us).expect("a histogram without bounds grows");
    }

    /// How many were answered.
    pub(super) fn done(&self) -> u64 {
        self.latency_us.len()
    }

    pub(super) fn add(&mut self, other: &Side) {
        self.latency_us.add(&other.latency_us).expect("a histogram without bounds grows");
        self.failed += other.failed;
        self.unknown += other.unknown;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_of_all_lengths_are_noted_and_summed_as_they_are() {
        let lengths_us = [1, 2_047, 2_048, 90_000, 3_000_000, LATENCY_US_MAX];
        let mut sum = Side::new();
        for us in lengths_us {
            let mut side = Side::new();
            side.record(Duration::from_micros(us));
            sum.add(&side);
        }
        let noted: Vec<u64> = sum.latency_us.iter_recorded().map(|value| value.value_iterated_to()).collect();
        assert_eq!(noted.len(), lengths_us.len(), "{noted:?}");
        for (noted, us) in noted.iter().zip(lengths_us) {
            assert!((us..=us + us / 1_000).contains(noted), "{us} was noted as {noted}");
        }
        let mut longest = Side::new();
        longest.record(Duration::MAX);
        assert!(longest.latency_us.max() >= LATENCY_US_MAX);
    }
}
