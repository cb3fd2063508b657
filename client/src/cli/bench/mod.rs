//! `ordeal kv bench`: how fast a cluster answers, seen from outside. One thread carries all clients over few connections
//! ([`Pipeline`](crate::Pipeline)), so that the load takes little of the machine that it measures.
//!
//! A closed loop, unless `--rate` is given: each client keeps `--depth` operations under way, and sends the next when one
//! is answered. A stall is therefore one long latency for each of those, not one for each operation that it kept from being
//! sent: look at `max` too. With `--rate` operations are due at their times, and late ones are measured from then.

mod draw;
mod load;
mod report;

use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use super::{Exit, milliseconds, outcome::Printer};
use crate::client::Client;
use crate::config::ClientConfig;
use crate::error::ClientError;
use crate::pipe::OPERATIONS_MAX;
use crate::wire::{ReadLevel, SESSION_WINDOW_MAX, VALUE_BYTES_MAX};
use load::Load;

/// Clients at a time: a place in a table each.
const CLIENTS_MAX: usize = 10_000;
/// Connections to one node: it takes 400 of all its clients.
const CONNECTIONS_MAX: usize = 64;
/// Connections unless asked otherwise: each answers a thousand at a time, and fewer carry more a packet.
const CONNECTIONS_DEFAULT: usize = 4;
/// Operations under way of all clients together.
const UNDER_WAY_MAX: usize = OPERATIONS_MAX / 2;
/// Different keys: their names alone are 0.1 GB in every node.
const KEYS_MAX: u32 = 10_000_000;
/// Operations of a bench that counts them, and a second of one that paces them.
const OPERATIONS_COUNT_MAX: u64 = 1_000_000_000;
/// Shorter says nothing: a hundred commits of a slow disk take 1 s.
const TIME_MS_MIN: u64 = 100;
/// One hour, also for those who count operations: nobody waits longer.
const TIME_MS_MAX: u64 = 3_600_000;

pub(super) const EXAMPLES: &str = "\
Examples:
  ordeal kv bench --clients 4 --time 1s --endpoints 127.0.0.1:7101
  ordeal kv bench --operations 1000 --reads 0.9 --distribution zipf --json --endpoints 127.0.0.1:7101,127.0.0.1:7102

Each client waits for an answer before it asks again; with --depth, it has so many questions open. Latencies are those of
what was answered; what was not is counted as failed (surely not done) or unknown. The first write to each shard opens a
session there, which is one commit more: give it a warm-up. The keys `bench-0`, `bench-1`, … are overwritten, and stay.

Exit codes:
  0  measured: at least one operation was answered
  2  usage
  5  nothing was answered";

/// What `ordeal kv bench` is told.
#[derive(Debug, Clone, PartialEq, Args)]
pub(super) struct BenchArgs {
    /// Clients at a time (1 to 10000)
    #[arg(long, default_value = "16", value_parser = parse_clients, value_name = "N")]
    clients: usize,
    /// Connections to a node, shared by all clients (1 to 64) [default: as many as clients, at most 4]
    #[arg(long, value_parser = parse_connections, value_name = "N")]
    connections: Option<usize>,
    /// Operations that a client keeps under way (1 to 256)
    #[arg(long, default_value = "1", value_parser = parse_depth, value_name = "N")]
    depth: usize,
    /// Operations a second of all clients together, due at their times whatever is answered [default: as they come]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=OPERATIONS_COUNT_MAX), value_name = "N")]
    rate: Option<u64>,
    /// How long to measure, like 500ms, 5s or 1h (100ms to 1h) [default: 5s]
    #[arg(long, value_parser = parse_time, conflicts_with = "operations")]
    time: Option<Duration>,
    /// Measure so many operations of all clients together instead, for at most an hour
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=OPERATIONS_COUNT_MAX), value_name = "N")]
    operations: Option<u64>,
    /// Length of the values written (0 to 1048576)
    #[arg(long, visible_alias = "value-size", default_value = "256", value_parser = parse_value_bytes, value_name = "N")]
    value_bytes: usize,
    /// Share of reads among the operations, from 0.0 (writes only) to 1.0 (reads only)
    #[arg(long, default_value = "0.5", value_parser = parse_share, value_name = "SHARE")]
    reads: f64,
    /// How many different keys (1 to 10000000)
    #[arg(long, default_value = "10000", value_parser = clap::value_parser!(u32).range(1..=i64::from(KEYS_MAX)), value_name = "N")]
    keys: u32,
    /// How often which key is drawn
    #[arg(long, value_enum, default_value = "uniform")]
    distribution: Distribution,
    /// Seed of the operations: the same one draws the same again
    #[arg(long, default_value = "1")]
    seed: u64,
    /// How long to work before measuring (0ms to 1h)
    #[arg(long, default_value = "500ms", value_parser = parse_warm_up)]
    warm_up: Duration,
}

/// How often which key is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Distribution {
    /// Each as often as the others
    Uniform,
    /// The n-th in proportion to n^-0.99: few are hot, most are rare
    Zipf,
}

/// Measures, and tells. `deadline` is that of one operation; `progress` wants a line a second on stderr.
pub(super) fn bench(
    endpoints: Vec<String>,
    deadline: Duration,
    args: &BenchArgs,
    progress: bool,
    printer: &mut Printer<'_>,
) -> Exit {
    let config = ClientConfig { deadline, ..ClientConfig::new(endpoints) };
    if let Err(error) = knock(&config) {
        return match error {
            ClientError::Config(_) => {
                printer.usage(&error.to_string(), "an endpoint is host:port, like 127.0.0.1:7101")
            }
            error => report::nobody(&error, printer),
        };
    }
    let under_way = args.clients * args.depth;
    if under_way > UNDER_WAY_MAX {
        return printer.usage(
            &format!("{under_way} operations under way, the limit is {UNDER_WAY_MAX}"),
            "give fewer --clients or less --depth",
        );
    }
    match Load::new(config, args).and_then(|load| load.run(progress.then_some(printer as &mut Printer<'_>))) {
        Ok(sheet) => report::report(args, &sheet, printer),
        Err(error) => printer.say(
            &format!("error: {error}\nhint: is there a file descriptor left? see `ulimit -n`"),
            Exit::NotDone,
        ),
    }
}

/// One read before all else, so that a cluster that is not there costs one deadline and not the whole time.
fn knock(config: &ClientConfig) -> Result<(), ClientError> {
    let mut key = Vec::new();
    draw::key_into(0, &mut key);
    Client::new(config.clone())?.get(&key, ReadLevel::Linearizable).map(|_| ())
}

impl BenchArgs {
    /// Connections to a node.
    fn connections(&self) -> usize {
        self.connections.unwrap_or(CONNECTIONS_DEFAULT).min(self.clients * self.depth)
    }

    /// When a bench ends whose measuring begins at `from`.
    fn end(&self, from: Instant) -> Instant {
        const TIME_DEFAULT: Duration = Duration::from_secs(5);
        let counted = self.operations.map(|_| Duration::from_millis(TIME_MS_MAX));
        from + self.time.or(counted).unwrap_or(TIME_DEFAULT)
    }
}

fn parse_clients(text: &str) -> Result<usize, String> {
    count(text, 1, CLIENTS_MAX)
}

fn parse_connections(text: &str) -> Result<usize, String> {
    count(text, 1, CONNECTIONS_MAX)
}

fn parse_depth(text: &str) -> Result<usize, String> {
    count(text, 1, usize::try_from(SESSION_WINDOW_MAX).expect("a window is small"))
}

fn parse_value_bytes(text: &str) -> Result<usize, String> {
    count(text, 0, VALUE_BYTES_MAX)
}

fn count(text: &str, min: usize, max: usize) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (min..=max).contains(number));
    number.ok_or_else(|| format!("expected a number from {min} to {max}"))
}

fn parse_share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected a share from 0.0 to 1.0, like 0.5".to_owned())
}

fn parse_time(text: &str) -> Result<Duration, String> {
    time_from(text, TIME_MS_MIN, "100ms")
}

fn parse_warm_up(text: &str) -> Result<Duration, String> {
    time_from(text, 0, "0ms")
}

fn time_from(text: &str, min_ms: u64, min: &str) -> Result<Duration, String> {
    match milliseconds(text)? {
        Some(ms) if (min_ms..=TIME_MS_MAX).contains(&ms) => Ok(Duration::from_millis(ms)),
        _ => Err(format!("expected {min} to 1h")),
    }
}
