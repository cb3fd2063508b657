//! The part of a run in which there is a cluster.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use ordeal_client::wire::NodeId;
use ordeal_history::{Call, Outcome, Value};

use super::Run;
use super::schedule::heal_all;
use super::screen::explain;
use crate::chance::{Stream, derive};
use crate::cluster::{Cluster, ClusterConfig, NodeState};
use crate::exit::Cause;
use crate::lab;
use crate::latch::Latch;
use crate::plan::{Settings, seconds};
use crate::store::Event;
use crate::system::{ClientSetup, SystemClient, leaders};
use crate::verdict::Course;
use crate::workload::{KeyPool, Lanes, LanesConfig, final_reads};

/// From the start of a process to its ready line, recovery of its log included.
const READY_TIME_MAX: Duration = Duration::from_secs(20);
/// From the last healing until the cluster serves again.
const RECOVERY_TIME_MAX: Duration = Duration::from_secs(30);
/// For reading all keys at the end.
const FINAL_READS_TIME_MAX: Duration = Duration::from_secs(60);
/// Between two looks at the nodes.
const TICK: Duration = Duration::from_millis(100);
/// Ticks between two questions who leads.
const TICKS_PER_VIEW: u32 = 5;
/// One probe whether the cluster serves; short, so that the time until it does is measured finely.
const PROBE_TIME_MAX: Duration = Duration::from_millis(500);
/// Between two probes.
const PROBE_PAUSE: Duration = Duration::from_millis(20);
/// Keys per group that are probed when there is more than one group, so that most likely every shard's group is asked.
const PROBES_PER_GROUP: u32 = 8;

impl Run<'_> {
    /// Starts the cluster, lets clients and faults loose, heals, reads, stops. What goes wrong is noted as a cause.
    pub(super) fn perform(&self) -> Course {
        let mut course = Course::default();
        if let Err(error) = self.phases(&mut course) {
            self.blame(Cause::SetUp, format!("set-up failed: {}", explain(&error)));
        }
        if self.interrupt.asked() {
            self.blame(Cause::Interrupted, "interrupted");
        }
        course
    }

    fn phases(&self, course: &mut Course) -> anyhow::Result<()> {
        self.phase("start")?;
        let nodes = self.order.settings.node_ids();
        let spares = Vec::from_iter(self.order.settings.spare());
        let seats = [&nodes[..], &spares].concat();
        let lab = lab::open(self.choice.kind, &seats).context("open the network lab")?;
        let config = ClusterConfig { nodes, spares, dir: self.dir.nodes(), ready_timeout: READY_TIME_MAX };
        let origin = self.origin;
        let clock = Arc::new(move || u64::try_from(origin.elapsed().as_nanos()).expect("584 years fit"));
        let cluster = Cluster::start(config, lab, Arc::clone(&self.system), clock)?;
        if self.wait_until_served(&cluster, || self.interrupt.asked())?.is_none() {
            if self.interrupt.asked() {
                return Ok(());
            }
            let crashes = self.crashes(&cluster);
            bail!("the cluster does not serve within {} s{crashes}", RECOVERY_TIME_MAX.as_secs());
        }
        self.clients_and_faults(&cluster, course)?;
        self.phase("stop")?;
        self.note_crashes(&cluster, &mut 0)?;
        cluster.stop();
        // A node that was asked to end and panicked instead has crashed, too.
        self.note_crashes(&cluster, &mut 0)?;
        Ok(())
    }

    fn clients_and_faults(&self, cluster: &Cluster, course: &mut Course) -> anyhow::Result<()> {
        let Settings { clients, keys, workload, .. } = self.order.settings;
        // Before the first call: it has to know of every write.
        let judge = self.meanwhile();
        let lanes = Lanes::start(&LanesConfig {
            settings: self.order.settings.clone(),
            members: cluster.members(),
            read_level: self.order.settings.read_level.into(),
            system: Arc::clone(&self.system),
            recorder: Arc::clone(&self.recorder),
            keys: Arc::new(KeyPool::new(clients, keys, workload)),
        })?;
        self.phase("clients")?;
        let watched = self.judged(cluster, judge, || self.faults_until_over(cluster, &lanes));
        // Whatever was met: clients end, and the cluster is made whole.
        let lanes = lanes.stop();
        self.phase("heal")?;
        for failed in heal_all(cluster, &self.events, &|| self.now_ns())? {
            self.blame(cause_of(&failed.action), format!("could not be undone: {failed}"));
        }
        let (lanes, pending) = (lanes?, watched??);
        match self.wait_until_served(cluster, || false)? {
            Some(took) => {
                let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                course.recovery_ms = Some(took_ms);
                self.events.write(&Event::Recovered { at_ns: self.now_ns(), took_ms })?;
            }
            None => {
                let limit = RECOVERY_TIME_MAX.as_secs();
                self.blame(Cause::Cluster, format!("the cluster did not serve again within {limit} s"));
                return Ok(());
            }
        }
        self.restore_members(cluster, pending)?;
        self.phase("final reads")?;
        course.keys_unread = final_reads(lanes, Instant::now() + FINAL_READS_TIME_MAX)?;
        if course.keys_unread > 0 {
            let unread = course.keys_unread;
            self.blame(Cause::Cluster, format!("{unread} keys could not be read at the end"));
        }
        Ok(())
    }

    /// Watches nodes, clients and user while faults go on, until time and faults are over or one of them ends it early.
    pub(super) fn watch(
        &self,
        cluster: &Cluster,
        lanes: &Lanes,
        start: Instant,
        faults_over: &Latch,
    ) -> anyhow::Result<()> {
        let mut known_leaders = std::collections::BTreeMap::new();
        let mut known_crashes = 0;
        for tick in 0u32.. {
            let stopped = self.stop.wait(TICK);
            if stopped && self.interrupt.asked() {
                self.events.write(&Event::Interrupted { at_ns: self.now_ns() })?;
            }
            // A schedule that is late is carried out to its end, with clients at work.
            let over = start.elapsed() >= self.time() && faults_over.is_set();
            if stopped || over {
                return Ok(());
            }
            if self.note_crashes(cluster, &mut known_crashes)? || lanes.failed() {
                return Ok(());
            }
            if tick % TICKS_PER_VIEW == 0 {
                let now_leading = leaders(&cluster.views());
                for (&group, &(term, node)) in &now_leading {
                    if known_leaders.get(&group) != Some(&(term, node)) {
                        self.events.write(&Event::Leader { at_ns: self.now_ns(), group, term, node })?;
                    }
                }
                known_leaders.extend(now_leading);
            }
            self.screen.progress(|| progress_line(start.elapsed(), self.time(), lanes));
        }
        Ok(())
    }

    /// Notes crashes beyond those known; whether there were any that count. After an interruption none do: a terminal
    /// sends Ctrl-C to nodes, too.
    fn note_crashes(&self, cluster: &Cluster, known: &mut usize) -> anyhow::Result<bool> {
        let crashes = cluster.crashed();
        if self.interrupt.asked() || crashes.len() <= *known {
            return Ok(false);
        }
        *known = crashes.len();
        let blamed = self.causes();
        let mut counted = false;
        for (node, how) in crashes {
            let what = format!("{node} ended uninvited: {how}");
            if blamed.iter().any(|(_, known)| known.starts_with(&what)) {
                continue;
            }
            let last_words = match cluster.state(node) {
                NodeState::Crashed { last_words, .. } => last_words,
                NodeState::Down | NodeState::Up { .. } | NodeState::Paused { .. } => Vec::new(),
            };
            let said = last_words.last().map(|line| format!(" (last words: {line})")).unwrap_or_default();
            self.blame(Cause::Cluster, format!("{what}{said}"));
            self.events.write(&Event::Crashed { at_ns: self.now_ns(), node, how, last_words })?;
            counted = true;
        }
        Ok(counted)
    }

    fn crashes(&self, cluster: &Cluster) -> String {
        cluster.crashed().into_iter().map(|(node, how)| format!("; {node} ended: {how}")).collect()
    }

    /// How long until every node is up and every probe is answered; `None`: not in time, or given up.
    fn wait_until_served(
        &self,
        cluster: &Cluster,
        give_up: impl Fn() -> bool,
    ) -> anyhow::Result<Option<Duration>> {
        let Settings { seed, groups, .. } = self.order.settings;
        let mut client = self.system.client(ClientSetup {
            members: cluster.members(),
            dial: cluster.lab().members(),
            read_level: ordeal_client::wire::ReadLevel::Linearizable,
            prefer: NodeId(1),
            seed: derive(seed, Stream::Retries(u32::MAX)),
            deadline: PROBE_TIME_MAX,
        })?;
        let probes = if groups == 1 { 1 } else { groups * PROBES_PER_GROUP };
        let since = Instant::now();
        while since.elapsed() < RECOVERY_TIME_MAX && !give_up() {
            let all_up = cluster.states().values().all(|state| matches!(state, NodeState::Up { .. }));
            if all_up && (0..probes).all(|number| is_served(&mut *client, number)) {
                return Ok(Some(since.elapsed()));
            }
            std::thread::sleep(PROBE_PAUSE);
        }
        Ok(None)
    }
}

/// Probes write keys of their own, which no history knows.
fn is_served(client: &mut dyn SystemClient, number: u32) -> bool {
    let call = Call::Write(Value::from("probe"));
    matches!(client.call(&format!("probe-{number}"), &call), (Outcome::Ok(..), _))
}

/// A node that does not come back is the cluster's fault; everything else that cannot be proven is the harness's.
pub(super) fn cause_of(action: &str) -> Cause {
    if action.starts_with("start ") { Cause::Cluster } else { Cause::SetUp }
}

fn progress_line(elapsed: Duration, time: Duration, lanes: &Lanes) -> String {
    let (ok, failed, unknown) = lanes.tally().counts();
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let (elapsed, time) = (seconds(ms(elapsed) / 100 * 100), seconds(ms(time)));
    format!("{elapsed} of {time}: {ok} operations completed, {failed} failed, {unknown} unknown")
}
