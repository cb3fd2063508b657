//! The load: clients at work over one pipeline, and notes of what came of it.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::BenchArgs;
use super::draw::{Draw, Kind, key_into};
use super::report;
use crate::cli::outcome::Printer;
use crate::config::ClientConfig;
use crate::error::ClientError;
use crate::pipe::{Done, Operation, Pipeline};
use crate::wire::{ReadLevel, WriteOp};

/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// Latencies are exact to three digits, which takes 4 KiB for each doubling: some 50 KiB up to 1 s.
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

/// One operation of a client, begun.
#[derive(Debug, Clone, Copy)]
struct Seat {
    begun: Instant,
    kind: Kind,
    is_measured: bool,
}

/// Clients at work.
#[derive(Debug)]
pub(super) struct Load<'a> {
    args: &'a BenchArgs,
    pipeline: Pipeline,
    /// One a client.
    draws: Vec<Draw>,
    /// What each client has under way, `depth` for each: the token of an operation is its place here.
    seats: Vec<Seat>,
    /// Places that are free, in the order in which they became so.
    idle: VecDeque<usize>,
    /// Operations that are over, whose buffers are used again.
    spare_reads: Vec<Operation>,
    spare_writes: Vec<Operation>,
    value: Vec<u8>,
    /// Operations that are still to be measured, for those who count.
    tickets: Option<u64>,
    /// When the next operation is due, for those who pace; and whether it was due before a place was free.
    due: Instant,
    is_late: bool,
    sheet: Sheet,
    /// For the progress line.
    answered: u64,
    unanswered: u64,
}

/// When a bench begins to measure, and when nothing new is begun.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    from: Instant,
    end: Instant,
}

impl Load<'_> {
    pub(super) fn new(config: ClientConfig, args: &BenchArgs) -> Result<Load<'_>, ClientError> {
        let mut draws = Draw::all(args);
        let now = Instant::now();
        let places = args.clients * args.depth;
        Ok(Load {
            args,
            pipeline: Pipeline::new(ClientConfig { seed: args.seed, ..config }, args.connections())?,
            value: draws[0].value(args.value_bytes),
            draws,
            seats: vec![Seat { begun: now, kind: Kind::Read, is_measured: false }; places],
            idle: (0..places).collect(),
            spare_reads: Vec::new(),
            spare_writes: Vec::new(),
            tickets: args.operations,
            due: now,
            is_late: false,
            sheet: Sheet::new(),
            answered: 0,
            unanswered: 0,
        })
    }

    /// Lets all clients loose, and waits for their last answers.
    ///
    /// # Errors
    /// When the event queue fails.
    pub(super) fn run(mut self, mut progress: Option<&mut Printer<'_>>) -> Result<Sheet, ClientError> {
        let failed = |error: io::Error| ClientError::Config(format!("event queue: {error}"));
        let started = Instant::now();
        let from = started + self.args.warm_up;
        let schedule = Schedule { from, end: self.args.end(from) };
        (self.due, self.is_late) = (started, false);
        let (mut told, mut told_answered) = (started, 0);
        loop {
            let wait = self.begin_all(schedule);
            if self.pipeline.under_way() == 0 && wait.is_none() {
                break;
            }
            self.pipeline.turn(wait.unwrap_or(PROGRESS_EVERY)).map_err(failed)?;
            let now = Instant::now();
            while let Some(done) = self.pipeline.done() {
                self.note(done, now, schedule);
            }
            if let Some(printer) = progress.as_deref_mut().filter(|_| now >= told + PROGRESS_EVERY) {
                let per_second = report::per_second(self.answered - told_answered, now - told);
                printer.progress(&format!(
                    "{:>4} s: {} answered, {per_second:.0} a second, {} not answered",
                    (now - started).as_secs(),
                    self.answered,
                    self.unanswered
                ));
                (told, told_answered) = (now, self.answered);
            }
        }
        if let Some(printer) = progress {
            printer.progress("");
        }
        Ok(self.sheet)
    }

    /// Begins what may be begun now. Says how long until more may be, at most; `None` when nothing more ever will.
    fn begin_all(&mut self, schedule: Schedule) -> Option<Duration> {
        loop {
            let now = Instant::now();
            if now >= schedule.end || (now >= schedule.from && self.tickets == Some(0)) {
                return None;
            }
            if self.args.rate.is_some() && self.due > now {
                return Some(self.due - now);
            }
            let Some(&place) = self.idle.front() else {
                self.is_late = true;
                return Some(PROGRESS_EVERY);
            };
            self.idle.pop_front();
            let begun = if self.args.rate.is_some() && self.is_late { self.due } else { now };
            self.begin(place, begun, schedule);
            if let Some(rate) = self.args.rate {
                self.due += Duration::from_secs(1).div_f64(rate as f64);
                self.is_late &= self.due <= now;
            }
        }
    }

    fn begin(&mut self, place: usize, begun: Instant, schedule: Schedule) {
        let (kind, number) = self.draws[place / self.args.depth].operation();
        let is_measured = begun >= schedule.from;
        if is_measured && let Some(tickets) = &mut self.tickets {
            *tickets -= 1;
        }
        self.seats[place] = Seat { begun, kind, is_measured };
        let mut operation = match kind {
            Kind::Read => self
                .spare_reads
                .pop()
                .unwrap_or_else(|| Operation::Read { key: Vec::new(), level: ReadLevel::Linearizable }),
            Kind::Write => self.spare_writes.pop().unwrap_or_else(|| Operation::Write {
                key: Vec::new(),
                op: WriteOp::Put(self.value.clone()),
            }),
        };
        match &mut operation {
            Operation::Read { key, .. } | Operation::Write { key, .. } => key_into(number, key),
            Operation::Watch { .. } => unreachable!("it reads and writes"),
        }
        let token = u64::try_from(place).expect("a place in a table");
        let submitted = self.pipeline.submit(token, operation);
        assert!(submitted.is_ok(), "there are fewer places than a pipeline takes operations");
    }

    fn note(&mut self, done: Done, now: Instant, schedule: Schedule) {
        let place = usize::try_from(done.token).expect("a place in a table");
        let Seat { begun, kind, is_measured } = self.seats[place];
        self.idle.push_back(place);
        match kind {
            Kind::Read => self.spare_reads.push(done.operation),
            Kind::Write => self.spare_writes.push(done.operation),
        }
        let count = if done.outcome.is_ok() { &mut self.answered } else { &mut self.unanswered };
        *count += 1;
        if is_measured {
            self.sheet.note(kind, done.outcome.map(|_| ()), now.saturating_duration_since(begun));
            self.sheet.time = now - schedule.from;
        }
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
