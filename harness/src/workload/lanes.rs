//! The client threads. A lane is one thread with one client of the system. Each call is recorded by the thread that makes
//! it, right before and right after, so that nobody's waiting blurs the times.
//!
//! After an unknown outcome the lane goes on under a new client number (its own plus the number of lanes, as in
//! Jepsen): the old number has an operation open for ever. Folding numbers modulo lanes gives back the lane.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ordeal_client::wire::{NodeId, ReadLevel};
use ordeal_history::{Answer, Call, ClientId, Outcome, RecordError, Recorder, Value};
use rand::RngExt;
use rand_pcg::Pcg64Mcg;

use super::keys::{Drawn, KeyPool};
use super::{bank, calls};
use crate::chance::{Stream, derive, generator};
use crate::latch::Latch;
use crate::plan::{Settings, WorkloadKind};
use crate::system::{ClientSetup, System, SystemClient};

/// How far behind its pace a lane may catch up. Beyond, an outage would be followed by a burst that nobody asked for.
const CATCH_UP_MAX: Duration = Duration::from_secs(1);
/// How often the last read of a key is tried.
const FINAL_READ_TRIES: u32 = 3;

/// What lanes need to know.
#[derive(Clone)]
pub struct LanesConfig {
    /// Of the run.
    pub settings: Settings,
    /// Where the nodes are.
    pub members: BTreeMap<NodeId, String>,
    /// How fresh reads must be.
    pub read_level: ReadLevel,
    /// The system under test.
    pub system: Arc<dyn System>,
    /// The history.
    pub recorder: Arc<Recorder>,
    /// The keys.
    pub keys: Arc<KeyPool>,
}

/// Running client threads.
pub struct Lanes {
    threads: Vec<JoinHandle<Result<Lane, RecordError>>>,
    stop: Arc<Latch>,
    tally: Arc<Tally>,
}

/// What came of operations so far.
#[derive(Debug, Default)]
pub struct Tally {
    ok: AtomicU64,
    failed: AtomicU64,
    unknown: AtomicU64,
}

/// A lane that rests: its client number and connection go on in the final reads.
pub struct Lane {
    number: u32,
    client_id: ClientId,
    client: Box<dyn SystemClient>,
    config: LanesConfig,
    tally: Arc<Tally>,
    rng: Pcg64Mcg,
    operations: u64,
}

impl Tally {
    /// Operations answered, surely failed, and unknown.
    #[must_use]
    pub fn counts(&self) -> (u64, u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.ok), read(&self.failed), read(&self.unknown))
    }

    fn note(&self, outcome: &Outcome) {
        let counter = match outcome {
            Outcome::Ok(..) => &self.ok,
            Outcome::Failed(_) => &self.failed,
            Outcome::Unknown(_) => &self.unknown,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Lanes {
    /// Starts a thread for every client of the settings.
    ///
    /// # Errors
    /// When a client cannot be made.
    pub fn start(config: &LanesConfig) -> anyhow::Result<Lanes> {
        let (stop, tally) = (Arc::new(Latch::new()), Arc::new(Tally::default()));
        let lanes: Vec<Lane> = (0..config.settings.clients)
            .map(|number| Lane::new(number, config, &tally))
            .collect::<anyhow::Result<_>>()?;
        let threads = lanes.into_iter().map(|lane| {
            let stop = Arc::clone(&stop);
            std::thread::Builder::new().name(format!("client-{}", lane.number)).spawn(move || lane.run(&stop))
        });
        Ok(Lanes { threads: threads.collect::<Result<_, _>>()?, stop, tally })
    }

    /// What came of operations so far.
    #[must_use]
    pub fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// Whether a lane ended by itself, which it does only when it cannot record any more.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Begins no new operations, and waits for the open ones: a deadline at most.
    ///
    /// # Errors
    /// When something could not be recorded.
    pub fn stop(self) -> anyhow::Result<Vec<Lane>> {
        self.stop.set();
        let ended = self.threads.into_iter().map(|thread| match thread.join() {
            Ok(lane) => Ok(lane?),
            Err(_) => Err(anyhow::anyhow!("a client thread panicked, its message stands above")),
        });
        // All of them are waited for before the first error is given.
        ended.collect::<Vec<_>>().into_iter().collect()
    }
}

/// Reads every key, all lanes sharing the work; how many could not be read.
///
/// # Errors
/// When something could not be recorded.
pub fn final_reads(lanes: Vec<Lane>, give_up: Instant) -> anyhow::Result<usize> {
    let Some(first) = lanes.first() else { return Ok(0) };
    let keys = first.config.keys.all();
    let (next, read) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let threads: Vec<_> = lanes
            .into_iter()
            .map(|mut lane| {
                let (keys, next, read) = (&keys, &next, &read);
                scope.spawn(move || -> Result<(), RecordError> {
                    while let Some(key) = keys.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if Instant::now() >= give_up {
                            break;
                        }
                        if lane.read_at_last(key)? {
                            read.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(ended) => Ok(ended?),
            Err(_) => Err(anyhow::anyhow!("a client thread panicked, its message stands above")),
        })
    })?;
    Ok(keys.len() - read.into_inner())
}

impl Lane {
    fn new(number: u32, config: &LanesConfig, tally: &Arc<Tally>) -> anyhow::Result<Lane> {
        let seed = config.settings.seed;
        // Lanes are spread over the nodes, so that stale reads ask all of them.
        let nodes: Vec<NodeId> = config.members.keys().copied().collect();
        let setup = ClientSetup {
            members: config.members.clone(),
            dial: config.members.clone(),
            read_level: config.read_level,
            prefer: nodes[number as usize % nodes.len()],
            seed: derive(seed, Stream::Retries(number)),
            deadline: Duration::from_millis(config.settings.op_timeout_ms),
        };
        Ok(Lane {
            number,
            client_id: ClientId(number),
            client: config.system.client(setup)?,
            config: config.clone(),
            tally: Arc::clone(tally),
            rng: generator(seed, Stream::Lane(number)),
            operations: 0,
        })
    }

    fn run(mut self, stop: &Latch) -> Result<Lane, RecordError> {
        let Settings { clients, rate, .. } = self.config.settings;
        let interval = Duration::from_secs(1) * clients / rate;
        // Not all at once.
        let mut due = Instant::now() + interval.mul_f64(self.rng.random_range(0.0..1.0));
        while !stop.wait_until(due) {
            self.step()?;
            due += interval.mul_f64(self.rng.random_range(0.0..2.0));
            due = due.max(Instant::now().checked_sub(CATCH_UP_MAX).unwrap_or(due));
        }
        Ok(self)
    }

    fn step(&mut self) -> Result<(), RecordError> {
        let drawn = self.config.keys.draw(self.number, &mut self.rng);
        let kind = self.config.settings.workload;
        let call = calls::draw(kind, &mut self.rng, &drawn.known, self.client_id, self.operations);
        let outcome = self.ask(&drawn.key, &call)?;
        self.learn(&drawn, &call, &outcome);
        Ok(())
    }

    /// One operation, recorded; the outcome.
    fn ask(&mut self, key: &str, call: &Call) -> Result<Outcome, RecordError> {
        self.operations += 1;
        let op = self.config.recorder.invoke(self.client_id, key, call.clone())?;
        let (outcome, node) = self.client.call(key, call);
        let node = node.map(|node| node.to_string());
        self.config.recorder.returned(op, outcome.clone(), node.as_deref())?;
        self.tally.note(&outcome);
        if let Outcome::Unknown(_) = outcome {
            self.client_id.0 = self.client_id.0.wrapping_add(self.config.settings.clients);
        }
        Ok(outcome)
    }

    fn learn(&self, drawn: &Drawn, call: &Call, outcome: &Outcome) {
        let keys = &self.config.keys;
        match (outcome, call) {
            (Outcome::Unknown(_), _) => keys.unknown(drawn),
            (Outcome::Failed(_), _) => {}
            (Outcome::Ok(answer, _), call) => {
                if let Some(value) = value_after(call, answer) {
                    keys.saw(drawn, value);
                }
                if let Some(accounts) = bank::accounts_after(call, answer) {
                    keys.saw_accounts(drawn, accounts);
                }
            }
        }
    }

    fn read_at_last(&mut self, key: &str) -> Result<bool, RecordError> {
        let look = match self.config.settings.workload {
            WorkloadKind::Register | WorkloadKind::Append | WorkloadKind::Cas => Call::Read,
            WorkloadKind::Bank => bank::look(),
        };
        for _ in 0..FINAL_READ_TRIES {
            if let Outcome::Ok(..) = self.ask(key, &look)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The value of the key after this, as far as the client can tell.
fn value_after(call: &Call, answer: &Answer) -> Option<Value> {
    match (call, answer) {
        (Call::Write(value), Answer::Done) | (Call::Cas { new: value, .. }, Answer::CasDone) => {
            Some(value.clone())
        }
        (_, Answer::Value(value) | Answer::CasFailed(value)) => value.clone(),
        (_, Answer::Done | Answer::CasDone | Answer::CasFailedAbsent | Answer::Txn(_)) => None,
    }
}
