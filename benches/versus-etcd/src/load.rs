//! Clients in a closed loop, each a task; one thread for all.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::grpc::{Connection, Error};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Settings {
    endpoints: Vec<String>,
    clients: usize,
    connections: usize,
    reads: bool,
    value_bytes: usize,
    keys: u64,
    warm_up: Duration,
    time: Duration,
}

impl Settings {
    pub fn from(flags: &BTreeMap<String, String>) -> Result<Settings, Error> {
        let number = |name: &str, default: u64| -> Result<u64, Error> {
            let text = flags.get(name);
            text.map_or(Ok(default), |text| text.parse().map_err(|error| format!("--{name}: {error}").into()))
        };
        let size =
            |name, default| number(name, default).map(|number| usize::try_from(number).expect("64 bits"));
        let endpoints = flags.get("endpoints").ok_or("--endpoints is missing")?;
        Ok(Settings {
            endpoints: endpoints.split(',').map(str::to_owned).collect(),
            clients: size("clients", 16)?,
            connections: size("connections", 4)?,
            reads: number("reads", 0)? == 1,
            value_bytes: size("value-bytes", 256)?,
            keys: number("keys", 10_000)?,
            warm_up: Duration::from_millis(number("warm-up-ms", 500)?),
            time: Duration::from_millis(number("time-ms", 5_000)?),
        })
    }
}

/// What was measured.
pub struct Sheet {
    pub latency_us: Histogram<u32>,
    pub failed: u64,
    pub time: Duration,
}

impl Sheet {
    pub fn new() -> Sheet {
        Sheet { latency_us: Histogram::new(3).expect("three digits"), failed: 0, time: Duration::ZERO }
    }

    pub fn record(&mut self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).min(3_600_000_000);
        self.latency_us.record(us).expect("a histogram without bounds grows");
    }

    pub fn json(&self) -> Value {
        let at = |quantile| self.latency_us.value_at_quantile(quantile);
        json!({
            "answered": self.latency_us.len(),
            "per_second": self.latency_us.len() as f64 / self.time.as_secs_f64(),
            "p50_us": at(0.5), "p99_us": at(0.99), "p99_9_us": at(0.999), "max_us": at(1.0),
            "failed": self.failed,
        })
    }
}

/// Clients at work, spread over the connections, all to the leader: the best case, as followers pass everything on.
pub async fn run(settings: Settings) -> Result<Sheet, Error> {
    let leader = leader(&settings.endpoints).await?;
    let mut connections = Vec::new();
    for _ in 0..settings.connections.min(settings.clients) {
        connections.push(Connection::open(leader).await?);
    }
    if settings.reads {
        fill(&settings, &connections).await?;
    }
    let sheet = Rc::new(RefCell::new(Sheet::new()));
    let from = Instant::now() + settings.warm_up;
    let end = from + settings.time;
    let tasks: Vec<_> = (0..settings.clients)
        .map(|number| {
            let connection = connections[number % connections.len()].clone();
            let seed = u64::try_from(number).expect("64 bits");
            tokio::task::spawn_local(client(
                settings.clone(),
                connection,
                seed,
                (from, end),
                Rc::clone(&sheet),
            ))
        })
        .collect();
    for task in tasks {
        task.await?;
    }
    drop(connections);
    Ok(sheet.replace(Sheet::new()))
}

async fn leader(endpoints: &[String]) -> Result<&String, Error> {
    for endpoint in endpoints {
        if Connection::open(endpoint).await?.leads().await? {
            return Ok(endpoint);
        }
    }
    Err("no endpoint leads".into())
}

async fn client(
    settings: Settings,
    connection: Connection,
    seed: u64,
    (from, end): (Instant, Instant),
    sheet: Rc<RefCell<Sheet>>,
) {
    let value = vec![b'v'; settings.value_bytes];
    let mut chance = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    loop {
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        let key = format!("bench-{}", chance % settings.keys);
        let begun = Instant::now();
        if begun >= end {
            return;
        }
        let outcome = if settings.reads {
            connection.get(key.as_bytes()).await.and_then(|found| found.then_some(()).ok_or("absent".into()))
        } else {
            connection.put(key.as_bytes(), &value).await
        };
        if begun >= from {
            let now = Instant::now();
            let mut sheet = sheet.borrow_mut();
            sheet.time = now - from;
            match outcome {
                Ok(()) => sheet.record(now - begun),
                Err(error) => {
                    if sheet.failed == 0 {
                        eprintln!("not answered: {error}");
                    }
                    sheet.failed += 1;
                }
            }
        }
    }
}

/// Writes every key once, 64 at a time, so that no read is of nothing.
async fn fill(settings: &Settings, connections: &[Connection]) -> Result<(), Error> {
    let value = vec![b'v'; settings.value_bytes];
    for first in (0..settings.keys).step_by(64) {
        let tasks: Vec<_> = (first..settings.keys.min(first + 64))
            .map(|number| {
                let connection =
                    connections[usize::try_from(number).expect("64 bits") % connections.len()].clone();
                let value = value.clone();
                tokio::task::spawn_local(async move {
                    connection
                        .put(format!("bench-{number}").as_bytes(), &value)
                        .await
                        .map_err(|e| e.to_string())
                })
            })
            .collect();
        for task in tasks {
            task.await??;
        }
    }
    Ok(())
}
