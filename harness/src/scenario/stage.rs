//! What a script has in its hands: a cluster, its network, clients, limits. What can be done to the cluster stands in
//! `controls`, what can be asked of it in `asks`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ordeal_client::wire::NodeId;
use rand::RngExt;
use rand_pcg::Pcg64Mcg;

use super::desk::Desk;
use super::hands::{Hand, Kit};
use super::watch::Watch;
use super::{Halt, Layout, Step};
use crate::cluster::Cluster;
use crate::exit::Cause;
use crate::lab::{Link, ProxyLab, Weather};
use crate::latch::Latch;
use crate::run::screen::Screen;
use crate::store::{EventLog, Measure};
use crate::system::SystemClient;

/// The unit in which the suite's scripts wait, and far beyond our election timeout.
pub(super) const ELECTION: Duration = Duration::from_secs(1);
/// No scenario takes longer: more than twice what the suite gives a test, for machines that have other things to do.
const TIME_MAX: Duration = Duration::from_secs(300);

/// The stage of a scenario.
pub struct Stage<'a> {
    pub(super) name: &'static str,
    pub(super) layout: Layout,
    pub(super) cluster: &'a Cluster,
    pub(super) lab: Arc<ProxyLab>,
    pub(super) kit: Kit,
    pub(super) watch: &'a Watch<'a>,
    pub(super) events: &'a EventLog,
    pub(super) screen: &'a Screen,
    /// Set when the user wants it to end.
    pub(super) stop: &'a Latch,
    pub(super) now_ns: &'a (dyn Fn() -> u64 + Sync),
    pub(super) began: Instant,
    pub(super) rng: Pcg64Mcg,
    /// Reaches all nodes, and is as patient as an agreement may take.
    pub(super) clerk: Hand,
    /// The administrator that reaches all nodes, once there is one.
    pub(super) desk: Option<Desk>,
    /// Words that the clerk has added.
    pub(super) words: u64,
    /// Clients that see one node's own state.
    pub(super) peeks: BTreeMap<NodeId, (SocketAddr, Box<dyn SystemClient>)>,
    /// Nodes without links.
    pub(super) away: BTreeSet<NodeId>,
    /// Links that are cut, and the fault that it is.
    pub(super) cut: BTreeSet<Link>,
    pub(super) weather: Weather,
    pub(super) asked: Asked,
    pub(super) faults: Faults,
    pub(super) measures: Vec<Measure>,
    pub(super) findings: Vec<(Cause, String)>,
}

/// Faults that were asked for, and must have happened.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Asked {
    pub(super) unreliable: bool,
    pub(super) long_reordering: bool,
    /// Links were cut without a proof of its own.
    pub(super) quick_cuts: bool,
    pub(super) resets: bool,
    /// Letters between groups were held back.
    pub(super) late_letters: bool,
    /// Nodes answered their clients, and no answer came.
    pub(super) mute: bool,
}

/// Numbers of faults for the events.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) next: usize,
    pub(super) cut: Option<usize>,
    pub(super) down: BTreeMap<NodeId, usize>,
    pub(super) paused: BTreeMap<NodeId, usize>,
}

impl Stage<'_> {
    /// All nodes.
    pub(super) fn nodes(&self) -> Vec<NodeId> {
        self.cluster.nodes().to_vec()
    }

    /// How many make a majority.
    pub(super) fn majority(&self) -> usize {
        self.cluster.nodes().len() / 2 + 1
    }

    /// All nodes but these.
    pub(super) fn others(&self, but: &[NodeId]) -> Vec<NodeId> {
        self.nodes().into_iter().filter(|node| !but.contains(node)).collect()
    }

    /// One of these, by chance.
    pub(super) fn any_of(&mut self, nodes: &[NodeId]) -> NodeId {
        nodes[self.rng.random_range(0..nodes.len())]
    }

    /// Whether chance has it: so many times of a hundred.
    pub(super) fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    /// Waits, and ends the script when something has ended the scenario meanwhile.
    pub(super) fn pause(&mut self, time: Duration) -> Step {
        if self.stop.wait(time) {
            return Err(Halt::Stopped);
        }
        self.check()
    }

    /// Waits for less than so many milliseconds.
    pub(super) fn pause_up_to(&mut self, ms: u64) -> Step {
        let ms = self.rng.random_range(0..ms.max(1));
        self.pause(Duration::from_millis(ms))
    }

    /// Whether the scenario may go on: nothing broken, nobody crashed, time left.
    pub(super) fn check(&self) -> Step {
        if self.stop.is_set() {
            return Err(Halt::Stopped);
        }
        if let Some(broken) = self.watch.ledger().broken.first() {
            return Halt::is_unsafe(broken.clone());
        }
        // Who crashed, and how, is said when the cluster is stopped.
        if !self.cluster.crashed().is_empty() {
            return Err(Halt::Stopped);
        }
        if self.began.elapsed() > TIME_MAX {
            return Halt::is_late(format!("it takes longer than {} s", TIME_MAX.as_secs()));
        }
        Ok(())
    }

    /// Says how far it is.
    pub(super) fn progress(&self, what: impl FnOnce() -> String) {
        self.screen.progress(|| format!("{}: {}", self.name, what()));
    }

    /// Notes a number without a limit.
    pub(super) fn note(&mut self, name: &str, value: f64, unit: &str) {
        self.measure(Measure::new(name, value, unit));
    }

    /// Notes a number, which must not be above the limit.
    pub(super) fn at_most(&mut self, name: &str, value: f64, limit: f64, unit: &str) {
        self.measure(Measure { at_most: Some(limit), ..Measure::new(name, value, unit) });
    }

    /// Notes a number, which must not be below the limit.
    pub(super) fn at_least(&mut self, name: &str, value: f64, limit: f64, unit: &str) {
        self.measure(Measure { at_least: Some(limit), ..Measure::new(name, value, unit) });
    }

    /// Of measures of one name the worst stays.
    fn measure(&mut self, new: Measure) {
        let same = |known: &&mut Measure| known.name == new.name;
        match self.measures.iter_mut().find(same) {
            Some(known) => known.worsen(&new),
            None => self.measures.push(new),
        }
    }

    /// Something is wrong that does not keep the script from going on.
    pub(super) fn find(&mut self, cause: Cause, what: impl Into<String>) {
        self.findings.push((cause, what.into()));
    }
}

/// Milliseconds, for measures.
pub(super) fn ms(time: Duration) -> f64 {
    // To a tenth: nobody can use more.
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}
