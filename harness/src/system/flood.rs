//! Many writes under way at once, for those who care what a log does with them and not what comes of each.

use std::time::{Duration, Instant};

use anyhow::ensure;
use ordeal_client::wire::WriteOp;
use ordeal_client::{ClientConfig, Operation, Pipeline, Prefer};

use super::ordeal::OrdealSystem;
use super::{ClientSetup, Flood};

/// Between two looks at what came.
const TURN: Duration = Duration::from_millis(20);
/// Nobody floods for so long.
const PATIENCE: Duration = Duration::from_secs(60);
/// Of which the first attempt gets 6 s: a write is not sent again while it is poured, and the opening of a session that was
/// lost is, in time for those who wait for it.
const ATTEMPT: Duration = Duration::from_secs(20);

/// Clients with a session each, whose window bounds what one of them may have under way.
struct Clients(Vec<Pipeline>);

impl OrdealSystem {
    pub(super) fn clients(&self, setup: &ClientSetup, count: usize) -> anyhow::Result<Box<dyn Flood>> {
        let client = |number: usize| {
            let config = ClientConfig {
                cluster: Some(self.cluster()),
                prefer: Some(Prefer::Node(setup.prefer)),
                seed: setup.seed.wrapping_add(number as u64),
                dial: setup.dial.clone(),
                deadline: PATIENCE,
                attempt_timeout: ATTEMPT,
                ..ClientConfig::new(setup.members.values().cloned())
            };
            Pipeline::new(config, 1)
        };
        Ok(Box::new(Clients((0..count).map(client).collect::<Result<_, _>>()?)))
    }
}

impl Flood for Clients {
    fn pour(&mut self, writes: usize, time: Duration) -> anyhow::Result<usize> {
        let until = Instant::now() + time;
        let poured: Vec<anyhow::Result<usize>> = std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for (number, client) in self.0.iter_mut().enumerate() {
                threads.push(scope.spawn(move || one_pours(client, number, writes, until)));
            }
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread of the flood panicked")))
            };
            threads.into_iter().map(join).collect()
        });
        poured.into_iter().sum()
    }
}

fn one_pours(client: &mut Pipeline, number: usize, writes: usize, until: Instant) -> anyhow::Result<usize> {
    let key = format!("flood-{number}").into_bytes();
    for token in 0..writes {
        let operation = Operation::Write { key: key.clone(), op: WriteOp::Put(b"x".to_vec()) };
        ensure!(client.submit(token as u64, operation).is_ok(), "more writes than one client takes");
    }
    let mut acknowledged = 0;
    while client.under_way() > 0 && Instant::now() < until {
        client.turn(TURN)?;
        while let Some(done) = client.done() {
            acknowledged += usize::from(done.outcome.is_ok());
        }
    }
    Ok(acknowledged)
}
