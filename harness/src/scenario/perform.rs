//! A scenario from its start to its verdict, in a proxy lab that reads frames along.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use ordeal_history::{Budget, Header, Recorder};

use super::hands::{Kit, Shared};
use super::stage::{Asked, Faults, Stage};
use super::watch::Watch;
use super::{Halt, Scenario, Step};
use crate::chance::{Stream, generator};
use crate::cluster::{Cluster, ClusterConfig, NodeState};
use crate::exit::Cause;
use crate::lab::{Lab, LabKind, ProxyLab, Traffic, Weather};
use crate::latch::Latch;
use crate::plan::{PLAN_VERSION, Plan, ReadLevel, Settings, WorkloadKind};
use crate::run::finish::settle;
use crate::run::interrupt::Interrupt;
use crate::run::screen::{Screen, explain};
use crate::store::{Event, EventLog, Measure, RunDir, Store, Summary, WireCounts};
use crate::system::System;
use crate::verdict::{Course, Known};

/// From the start of a process to its ready line.
const READY_TIME_MAX: Duration = Duration::from_secs(20);
/// Clients that read all keys at the end, each with the patience of an agreement.
const READERS: usize = 4;
/// How often the last read of a key is tried.
const READ_TRIES: u32 = 3;

/// What a scenario needs from outside.
pub struct Commission<'a> {
    /// Where all chance comes from.
    pub seed: u64,
    /// Where runs are kept.
    pub store: &'a Path,
    /// What is tested.
    pub system: Arc<dyn System>,
    /// What judging may cost.
    pub budget: Budget,
    /// The user's wish to end, and the latch that it sets.
    pub interrupt: &'a Interrupt,
    /// Set when the user wants it to end.
    pub stop: &'a Latch,
    /// What is said meanwhile.
    pub screen: &'a Screen,
}

/// What a script left behind.
#[derive(Default)]
struct Left {
    causes: Vec<(Cause, String)>,
    measures: Vec<Measure>,
    wire: Option<WireCounts>,
    keys_unread: usize,
}

struct Performance<'a> {
    scenario: &'a Scenario,
    of: &'a Commission<'a>,
    origin: Instant,
    recorder: Arc<Recorder>,
    events: EventLog,
    dir: RunDir,
}

/// Carries out a scenario.
///
/// # Errors
/// When it could not even begin: no store, no sockets. Everything later is part of the summary.
pub fn perform(scenario: &Scenario, of: &Commission<'_>) -> anyhow::Result<Summary> {
    let store = Store::prepare(of.store)?;
    let dir = store.create_run(jiff::Zoned::now().datetime(), of.seed)?;
    let settings = settings(scenario, of.seed);
    let name = Some(scenario.name.to_owned());
    dir.write_plan(&Plan { version: PLAN_VERSION, scenario: name, settings, faults: Vec::new() })?;
    let origin = Instant::now();
    let mut header = Header::default();
    header.notes.insert("run".to_owned(), dir.name());
    header.notes.insert("scenario".to_owned(), scenario.name.to_owned());
    header.notes.insert("seed".to_owned(), of.seed.to_string());
    let performance = Performance {
        recorder: Arc::new(Recorder::create_at(&dir.history(), &header, origin)?),
        events: EventLog::create(&dir.events())?,
        scenario,
        of,
        origin,
        dir,
    };
    let left = performance.with_cluster();
    performance.conclude(left)
}

/// What stands in `plan.json`. A script says for itself what clients do, and for how long.
fn settings(scenario: &Scenario, seed: u64) -> Settings {
    Settings {
        seed,
        nodes: scenario.nodes,
        clients: 32,
        time_ms: u64::from(scenario.seconds) * 1_000,
        workload: WorkloadKind::Append,
        faults: Vec::new(),
        rate: 1_000,
        keys: 32,
        read_level: ReadLevel::Linearizable,
        groups: scenario.layout.groups,
        replicas: scenario.layout.replicas,
        shards: scenario.layout.shards,
        op_timeout_ms: 10_000,
    }
}

impl Performance<'_> {
    fn now_ns(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).expect("584 years fit")
    }

    fn phase(&self, phase: &str) -> Step {
        Ok(self.events.write(&Event::Phase { at_ns: self.now_ns(), phase: phase.to_owned() })?)
    }

    fn with_cluster(&self) -> Left {
        let mut left = Left::default();
        if let Err(halt) = self.start_and_play(&mut left) {
            left.causes.extend(cause_of(halt));
        }
        if self.of.interrupt.asked() {
            left.causes.push((Cause::Interrupted, "interrupted".to_owned()));
        }
        left
    }

    fn start_and_play(&self, left: &mut Left) -> Step {
        self.phase("start")?;
        let nodes = settings(self.scenario, self.of.seed).node_ids();
        let lab = Arc::new(ProxyLab::framed(&nodes, self.of.seed).context("open the network lab")?);
        let config =
            ClusterConfig { nodes, spares: vec![], dir: self.dir.nodes(), ready_timeout: READY_TIME_MAX };
        let origin = self.origin;
        let clock = Arc::new(move || u64::try_from(origin.elapsed().as_nanos()).expect("584 years fit"));
        let cluster =
            Cluster::start(config, Arc::clone(&lab) as Arc<dyn Lab>, Arc::clone(&self.of.system), clock)?;
        let watch = Watch::new(&cluster, Arc::clone(&lab));
        let over = Latch::new();
        let played = std::thread::scope(|scope| {
            scope.spawn(|| watch.run(&over));
            let played = self.play(&cluster, &lab, &watch, left);
            over.set();
            played
        });
        self.phase("stop")?;
        self.note_crashes(&cluster, left)?;
        cluster.stop();
        // A node that was asked to end and panicked instead has crashed, too.
        self.note_crashes(&cluster, left)?;
        played
    }

    fn play(&self, cluster: &Cluster, lab: &Arc<ProxyLab>, watch: &Watch<'_>, left: &mut Left) -> Step {
        let kit = Kit {
            system: Arc::clone(&self.of.system),
            recorder: Arc::clone(&self.recorder),
            members: lab.members(),
            nowhere: lab.nowhere().to_string(),
            seed: self.of.seed,
            shared: Arc::new(Shared::default()),
        };
        let now_ns = || self.now_ns();
        let mut stage = Stage {
            name: self.scenario.name,
            layout: self.scenario.layout,
            desk: None,
            cluster,
            lab: Arc::clone(lab),
            clerk: kit.hand(super::asks::AGREE_TIME_MAX)?,
            kit,
            watch,
            events: &self.events,
            screen: self.of.screen,
            stop: self.of.stop,
            now_ns: &now_ns,
            began: Instant::now(),
            rng: generator(self.of.seed, Stream::Script),
            words: 0,
            peeks: BTreeMap::new(),
            away: BTreeSet::new(),
            cut: BTreeSet::new(),
            weather: Weather::default(),
            asked: Asked::default(),
            faults: Faults::default(),
            measures: Vec::new(),
            findings: Vec::new(),
        };
        let played = self.phase("clients").and_then(|()| (self.scenario.script)(&mut stage));
        let ended = match played {
            Ok(()) => self.last_act(&mut stage, left),
            Err(halt) => {
                if let Halt::Fails(..) = halt {
                    // What was acknowledged is read all the same, so that the judge can say what became of it.
                    let _ = stage.heal().and_then(|()| read_all(&stage.kit));
                }
                Err(halt)
            }
        };
        left.measures = std::mem::take(&mut stage.measures);
        left.causes.append(&mut stage.findings);
        left.causes.extend(watch.ledger().broken.iter().map(|what| (Cause::NotLinearizable, what.clone())));
        let traffic = lab.traffic()?;
        left.wire = Some(WireCounts::of(&traffic));
        if ended.is_ok() {
            left.causes.extend(without_effect(stage.asked, &traffic));
        }
        ended
    }

    /// After every script: the cluster is whole, serves, holds the same everywhere, and every key is read.
    fn last_act(&self, stage: &mut Stage<'_>, left: &mut Left) -> Step {
        self.phase("heal")?;
        stage.heal()?;
        let all = stage.nodes().len();
        if self.scenario.layout.is_sharded() {
            stage.shards_are_whole()?;
        } else {
            stage.one_leader()?;
            stage.agree(all)?;
        }
        stage.converge()?;
        let stall = stage.watch.ledger().stall_max;
        // Not the cluster's doing: a limit of time that is missed beside it means little.
        stage.note("longest that a look was late", super::stage::ms(stall), "ms");
        self.phase("final reads")?;
        left.keys_unread = read_all(&stage.kit)?;
        if left.keys_unread > 0 {
            stage.find(Cause::Cluster, format!("{} keys could not be read at the end", left.keys_unread));
        }
        if all > 1 {
            let compared = stage.watch.ledger().compared as f64;
            stage.at_least("replicas compared and equal", compared, 1.0, "times");
        }
        stage.check()
    }

    fn note_crashes(&self, cluster: &Cluster, left: &mut Left) -> Step {
        if self.of.interrupt.asked() {
            return Ok(());
        }
        for (node, how) in cluster.crashed() {
            let what = format!("{node} ended uninvited: {how}");
            if left.causes.iter().any(|(_, known)| known.starts_with(&what)) {
                continue;
            }
            let last_words = match cluster.state(node) {
                NodeState::Crashed { last_words, .. } => last_words,
                NodeState::Down | NodeState::Up { .. } | NodeState::Paused { .. } => Vec::new(),
            };
            let said = last_words.last().map(|line| format!(" (last words: {line})")).unwrap_or_default();
            left.causes.push((Cause::Cluster, format!("{what}{said}")));
            self.events.write(&Event::Crashed { at_ns: self.now_ns(), node, how, last_words })?;
        }
        Ok(())
    }

    fn conclude(&self, mut left: Left) -> anyhow::Result<Summary> {
        self.events.write(&Event::Phase { at_ns: self.now_ns(), phase: "check".to_owned() })?;
        self.recorder.sync()?;
        let missed = left.measures.iter().filter(|measure| !measure.holds());
        left.causes.extend(missed.map(|measure| (Cause::Requirement, measure.to_string())));
        let known = Known {
            causes: left.causes,
            system: self.of.system.name(),
            lab: Some(LabKind::Proxy),
            lab_reason: "scenarios count frames".to_owned(),
            require_ops: None,
            course: Course { recovery_ms: None, keys_unread: left.keys_unread },
            measures: left.measures,
            wire: left.wire,
        };
        settle(&self.dir, known, &self.of.budget, self.of.screen)
    }
}

/// Why a script ended early, if that is for the summary to say.
fn cause_of(halt: Halt) -> Option<(Cause, String)> {
    match halt {
        Halt::Fails(cause, what) => Some((cause, what)),
        Halt::World(error) => Some((Cause::SetUp, format!("set-up failed: {}", explain(&error)))),
        // The user's wish, or a crash: both are noted elsewhere.
        Halt::Stopped => None,
    }
}

/// Faults that were asked for and did not happen: an error of the scenario, however well everything went.
fn without_effect(asked: Asked, traffic: &Traffic) -> Vec<(Cause, String)> {
    let frames = traffic.frames();
    let checks = [
        (asked.unreliable, frames.lost, "an unreliable network lost no frame"),
        (asked.unreliable, frames.delayed, "an unreliable network delayed no frame"),
        (asked.long_reordering, frames.overtaken, "under long reordering no frame was overtaken"),
        (asked.quick_cuts && !asked.resets, frames.swallowed, "cut links lost no frame"),
        (asked.resets, traffic.resets, "cut links reset no connection"),
        (asked.late_letters, frames.delayed, "no letter between groups was late"),
        (asked.mute, frames.lost, "nodes that are mute lost no answer"),
    ];
    let vain = checks.into_iter().filter(|(was_asked, count, _)| *was_asked && *count == 0);
    vain.map(|(_, _, what)| (Cause::SetUp, what.to_owned())).collect()
}

/// Reads every key that was written; how many could not be read.
fn read_all(kit: &Kit) -> Step<usize> {
    let keys = kit.touched();
    let (next, read) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..READERS)
            .map(|_| {
                scope.spawn(|| -> Step {
                    let mut hand = kit.hand(super::asks::AGREE_TIME_MAX)?;
                    while let Some(key) = keys.get(next.fetch_add(1, Ordering::Relaxed)) {
                        for _ in 0..READ_TRIES {
                            if hand.get(key)?.is_some() {
                                read.fetch_add(1, Ordering::Relaxed);
                                break;
                            }
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Err(Halt::Stopped)))
    })?;
    Ok(keys.len() - read.into_inner())
}
