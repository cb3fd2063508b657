//! A running cluster: its start, what can be asked of it, its end. What is done to it stands in `act`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::Signal;
use ordeal_client::wire::NodeId;

use super::process::{Process, Start};
use super::spawner::Spawner;
use super::{ClusterConfig, NodeState};
use crate::lab::Lab;
use crate::system::{NodeView, Place, System, leaders};

/// Nanoseconds since the run began.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// How long a node may take to say how it is: far more than a live one needs, short beside the time between faults.
const VIEW_TIMEOUT: Duration = Duration::from_millis(300);
/// How long a node may take to end by itself.
const TERM_TIME_MAX: Duration = Duration::from_secs(5);
/// How long the kernel may take to end a process.
pub(super) const KILL_TIME_MAX: Duration = Duration::from_secs(5);

/// A cluster of processes. Ends them when it is dropped; and they end when the harness does, however it does.
pub struct Cluster {
    pub(super) config: ClusterConfig,
    pub(super) lab: Arc<dyn Lab>,
    pub(super) system: Arc<dyn System>,
    pub(super) clock: Clock,
    spawner: Spawner,
    pub(super) seats: BTreeMap<NodeId, Seat>,
    /// Cuts and their surveys take turns.
    pub(super) network: Mutex<()>,
}

/// A node's place in the cluster.
pub(super) struct Seat {
    pub(super) process: Arc<Process>,
    /// Actions on one node take turns.
    pub(super) turn: Mutex<()>,
}

impl Cluster {
    /// Starts all nodes at once; each must say that it listens. If one does not, all are ended again.
    ///
    /// # Errors
    /// Which node did not start, with its last words.
    pub fn start(
        config: ClusterConfig,
        lab: Arc<dyn Lab>,
        system: Arc<dyn System>,
        clock: Clock,
    ) -> anyhow::Result<Cluster> {
        let mut seats = BTreeMap::new();
        for &node in config.nodes.iter().chain(&config.spares) {
            let dir = config.dir.join(node.to_string());
            std::fs::create_dir_all(dir.join("data")).with_context(|| format!("create {}", dir.display()))?;
            seats.insert(node, Seat { process: Process::new(node, &dir.join("log"))?, turn: Mutex::new(()) });
        }
        let spawner = Spawner::new()?;
        let cluster = Cluster { config, lab, system, clock, spawner, seats, network: Mutex::new(()) };
        let started: Vec<_> = std::thread::scope(|scope| {
            let start = |&node: &NodeId| {
                scope.spawn({
                    let cluster = &cluster;
                    move || cluster.start_node(node).with_context(|| format!("start {node}"))
                })
            };
            let threads: Vec<_> = cluster.config.nodes.iter().map(start).collect();
            threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
        });
        for result in started {
            result.map_err(|_| anyhow::anyhow!("a thread that starts a node panicked"))??;
        }
        Ok(cluster)
    }

    /// Starts the process of a node that has none.
    pub(super) fn start_node(&self, node: NodeId) -> anyhow::Result<(i32, SocketAddr)> {
        let command = self.system.command(&self.place(node));
        let namespace = self.lab.namespace(node);
        let lab = Arc::clone(&self.lab);
        let (pid, address) = self.seat(node)?.process.start(Start {
            spawner: &self.spawner,
            command: &command,
            namespace: namespace.as_deref(),
            ready: &|line| self.system.ready(line),
            timeout: self.config.ready_timeout,
            on_end: Box::new(move || lab.ended(node)),
        })?;
        self.lab.listening(node, address);
        Ok((pid, address))
    }

    fn place(&self, node: NodeId) -> Place {
        Place {
            node,
            dir: self.data_dir(node),
            listen: self.lab.listen(node),
            joins: self.is_spare(node),
            // Whoever joins is told by the others who they are.
            members: if self.is_spare(node) {
                self.lab.members().into_iter().filter(|(other, _)| *other == node).collect()
            } else {
                self.members()
            },
            dial: self.lab.dial(node),
        }
    }

    fn is_spare(&self, node: NodeId) -> bool {
        self.config.spares.contains(&node)
    }

    pub(super) fn seat(&self, node: NodeId) -> anyhow::Result<&Seat> {
        self.seats.get(&node).with_context(|| format!("{node} is no node of this cluster"))
    }

    /// Where clients reach its nodes, but for spare ones.
    #[must_use]
    pub fn members(&self) -> BTreeMap<NodeId, String> {
        self.lab.members().into_iter().filter(|(node, _)| !self.is_spare(*node)).collect()
    }

    /// Its nodes, but for spare ones.
    #[must_use]
    pub fn nodes(&self) -> &[NodeId] {
        &self.config.nodes
    }

    /// Its nodes, spare ones too.
    #[must_use]
    pub fn all_nodes(&self) -> Vec<NodeId> {
        self.seats.keys().copied().collect()
    }

    /// The network that it runs in.
    #[must_use]
    pub fn lab(&self) -> &Arc<dyn Lab> {
        &self.lab
    }

    /// What runs in it.
    #[must_use]
    pub fn system(&self) -> &Arc<dyn System> {
        &self.system
    }

    /// A node's data directory.
    #[must_use]
    pub fn data_dir(&self, node: NodeId) -> PathBuf {
        self.config.dir.join(node.to_string()).join("data")
    }

    /// A node's log; what came before its last 8 MiB is in `log.old` beside it.
    #[must_use]
    pub fn log_file(&self, node: NodeId) -> PathBuf {
        self.config.dir.join(node.to_string()).join("log")
    }

    /// How a node's process is; a node that is none of this cluster's is down.
    #[must_use]
    pub fn state(&self, node: NodeId) -> NodeState {
        self.seats.get(&node).map_or(NodeState::Down, |seat| seat.process.state())
    }

    /// How all nodes' processes are, but for spare ones.
    #[must_use]
    pub fn states(&self) -> BTreeMap<NodeId, NodeState> {
        self.config.nodes.iter().map(|&node| (node, self.state(node))).collect()
    }

    /// Ends that were not of our doing, and how: also those of nodes that were started again since.
    #[must_use]
    pub fn crashed(&self) -> Vec<(NodeId, String)> {
        let crashes = |(&node, seat): (&NodeId, &Seat)| {
            seat.process.crashes().into_iter().map(move |how| (node, how)).collect::<Vec<_>>()
        };
        self.seats.iter().flat_map(crashes).collect()
    }

    /// Where the harness's clients reach a node.
    #[must_use]
    pub fn address(&self, node: NodeId) -> Option<SocketAddr> {
        self.lab.members().get(&node)?.parse().ok()
    }

    /// What the nodes that run, spare ones too, say of themselves; those that do not answer soon are left out.
    #[must_use]
    pub fn views(&self) -> BTreeMap<NodeId, NodeView> {
        let is_up = |node: &NodeId| matches!(self.state(*node), NodeState::Up { .. });
        let running = self.seats.keys().copied().filter(is_up);
        let places: Vec<_> = running.filter_map(|node| Some((node, self.address(node)?))).collect();
        std::thread::scope(|scope| {
            let ask = |(node, address)| (node, scope.spawn(move || self.system.view(address, VIEW_TIMEOUT)));
            let threads: Vec<_> = places.into_iter().map(ask).collect();
            let answer = |(node, thread): (NodeId, std::thread::ScopedJoinHandle<'_, Option<NodeView>>)| {
                Some((node, thread.join().ok()??))
            };
            threads.into_iter().filter_map(answer).collect()
        })
    }

    /// Who leads a group, as the nodes see it: of several the one with the highest term.
    #[must_use]
    pub fn leader(&self, group: u32) -> Option<NodeId> {
        leaders(&self.views()).get(&group).map(|&(_, node)| node)
    }

    /// Ends all nodes: those that do not follow SIGTERM are killed.
    pub fn shutdown(self) {
        self.stop();
    }

    /// The same without giving the cluster up: states, logs and crashes can still be read. Nothing can be started after.
    pub fn stop(&self) {
        std::thread::scope(|scope| {
            for seat in self.seats.values() {
                scope.spawn(|| {
                    let process = &seat.process;
                    // A paused one hears nothing else. Those that are down already refuse, as they should.
                    let _ = process.signal(Signal::SIGCONT);
                    if process.end(Signal::SIGTERM, TERM_TIME_MAX).is_none() {
                        let _ = process.end(Signal::SIGKILL, KILL_TIME_MAX);
                    }
                });
            }
        });
        self.spawner.end();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
    }
}
