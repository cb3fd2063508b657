//! `ordeal cluster up`: the cluster's process. It stays in the foreground, answers the control socket, and stops with
//! Ctrl-C, SIGTERM or `ordeal cluster down`. Data is kept, so that the next `up` in the same directory goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use ordeal_client::wire::{ClusterId, NodeId};
use serde::{Deserialize, Serialize};

use super::control::{self, Ask, Control, Next, NodeLine, Told};
use super::{forward, split};
use crate::chance::fresh_cluster_id;
use crate::cluster::{Action, Cluster, ClusterConfig, NodeState};
use crate::lab::{Lab, LabKind, Link, NetChoice, choose, is_inside, reexec_inside};
use crate::system::{OrdealOptions, OrdealSystem, System};

/// More nodes than this are no cluster for one machine.
const NODES_MAX: u32 = 15;
/// A node replays its log before it says that it listens.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// Loopback addresses of the forwarded ports by node: the outer process writes them, the inner reads them.
const FORWARDED: &str = "forwarded.json";

/// What to start.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// How many nodes; kept when the directory holds a cluster already.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(NODES_MAX)))]
    nodes: Option<u32>,
    /// How many data groups, from the beginning; more can be made later: ordeal kv groups join g2=n4,n5,n6
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    groups: Option<u32>,
    /// How many nodes belong to each data group; the groups follow one another around the nodes [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(NODES_MAX)))]
    replicas: Option<u32>,
    /// How many shards the keys are spread over.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    shards: Option<u32>,
    /// Directory of the cluster: data, logs, control socket.
    #[arg(long, value_name = "DIR", default_value = "ordeal-cluster", env = "ORDEAL_CLUSTER")]
    dir: PathBuf,
    /// The network between the nodes.
    #[arg(long, value_enum, default_value_t)]
    net: NetChoice,
    /// Start nodes from another build.
    #[arg(long, value_name = "PATH")]
    node_bin: Option<PathBuf>,
    /// Hand an argument through to every node; may be repeated.
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    node_arg: Vec<String>,
}

/// What a cluster's directory remembers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Charter {
    cluster: String,
    nodes: u32,
    groups: u32,
    #[serde(default)]
    replicas: Option<u32>,
    shards: u32,
}

impl Charter {
    const FILE: &str = "cluster.json";

    /// The charter in `dir`, or a new one. Flags that contradict it are an error.
    fn open(args: &UpArgs) -> anyhow::Result<Charter> {
        let path = args.dir.join(Charter::FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let charter: Charter =
                    serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?;
                charter.agrees(args)?;
                Ok(charter)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let charter = Charter {
                    cluster: ClusterId(fresh_cluster_id()).to_string(),
                    nodes: args.nodes.unwrap_or(3),
                    groups: args.groups.unwrap_or(1),
                    replicas: args.replicas,
                    shards: args.shards.unwrap_or(64),
                };
                std::fs::write(&path, serde_json::to_string_pretty(&charter)? + "\n")
                    .with_context(|| format!("write {}", path.display()))?;
                Ok(charter)
            }
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    fn agrees(&self, args: &UpArgs) -> anyhow::Result<()> {
        let asked = [
            ("nodes", args.nodes, self.nodes),
            ("groups", args.groups, self.groups),
            ("replicas", args.replicas, self.replicas.unwrap_or(self.nodes)),
            ("shards", args.shards, self.shards),
        ];
        for (what, wanted, has) in asked {
            if let Some(wanted) = wanted.filter(|&wanted| wanted != has) {
                bail!(
                    "the cluster in {} has {has} {what}, not {wanted}\nhint: leave --{what} out, or name another --dir",
                    args.dir.display()
                );
            }
        }
        Ok(())
    }

    fn node_ids(&self) -> Vec<NodeId> {
        (1..=self.nodes).map(NodeId).collect()
    }
}

/// Runs the cluster until it is told to stop.
pub(super) fn up(args: UpArgs) -> anyhow::Result<u8> {
    std::fs::create_dir_all(&args.dir).with_context(|| format!("create {}", args.dir.display()))?;
    let choice = choose(args.net)?;
    let charter = Charter::open(&args)?;
    if choice.kind == LabKind::Kernel && !is_inside() {
        let forwarded = forward::listen(&args.dir, &charter.node_ids())?;
        let path = args.dir.join(FORWARDED);
        std::fs::write(&path, serde_json::to_string(&forwarded)?)
            .with_context(|| format!("write {}", path.display()))?;
        return reexec_inside(&choice);
    }
    let control = Control::listen(&args.dir)?;
    eprintln!("network lab: {}: {}", choice.kind, choice.why);
    let inner = crate::lab::open(choice.kind, &charter.node_ids())?;
    let lab: Arc<dyn Lab> = match choice.kind {
        LabKind::Kernel => Arc::new(Forwarded::new(inner, &args.dir)?),
        LabKind::Proxy => inner,
    };
    let system: Arc<dyn System> =
        Arc::new(OrdealSystem::new(options(args.node_bin, args.node_arg, &charter)?));
    let config = ClusterConfig {
        nodes: charter.node_ids(),
        spares: vec![],
        dir: args.dir.clone(),
        ready_timeout: READY_TIMEOUT,
    };
    let origin = Instant::now();
    let clock = Arc::new(move || u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX));
    let cluster = Arc::new(Cluster::start(config, Arc::clone(&lab), system, clock)?);
    greet(&args.dir, &lab.members());
    stop_on_signals(&args.dir)?;
    watch_crashes(&cluster);
    control.serve(|ask| answer(&cluster, lab.as_ref(), ask))?;
    cluster.stop();
    eprintln!("down; the data is kept in {}", args.dir.display());
    Ok(0)
}

fn options(
    node_bin: Option<PathBuf>,
    node_args: Vec<String>,
    charter: &Charter,
) -> anyhow::Result<OrdealOptions> {
    let exe = match node_bin {
        Some(path) => path,
        None => std::env::current_exe().context("find this program's own file")?,
    };
    let cluster = charter.cluster.parse().context("the cluster id in cluster.json")?;
    let Charter { groups, replicas, shards, .. } = *charter;
    Ok(OrdealOptions { exe, cluster, node_args, groups, replicas, shards })
}

fn greet(dir: &Path, members: &BTreeMap<NodeId, String>) {
    let endpoints = members.values().cloned().collect::<Vec<_>>().join(",");
    println!("up: {} nodes in {}", members.len(), dir.display());
    println!("export ORDEAL_ENDPOINTS={endpoints}");
    let elsewhere =
        if dir == Path::new("ordeal-cluster") { String::new() } else { format!(" --dir {}", dir.display()) };
    eprintln!("hint: in another shell, after that line: ordeal kv put greeting hello");
    eprintln!("hint: ordeal cluster status{elsewhere}; Ctrl-C stops the cluster and keeps its data");
}

/// A signal asks the control socket for what a person would: to stop.
fn stop_on_signals(dir: &Path) -> anyhow::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let dir = dir.to_owned();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        if signals.forever().next().is_some() {
            // When even that fails the loop is gone already.
            let _gone = control::ask(&dir, &Ask::Down);
        }
    })?;
    Ok(())
}

/// Says at once when a node ends without being asked.
fn watch_crashes(cluster: &Arc<Cluster>) {
    let cluster = Arc::downgrade(cluster);
    let watch = move || {
        let mut told = BTreeSet::new();
        while let Some(cluster) = cluster.upgrade() {
            let crashed: BTreeMap<NodeId, String> = cluster.crashed().into_iter().collect();
            told.retain(|node| crashed.contains_key(node));
            for (node, how) in crashed {
                if told.insert(node) {
                    eprintln!("{node} stopped by itself: {how}");
                    eprintln!("hint: ordeal cluster start {node}");
                }
            }
            drop(cluster);
            thread::sleep(Duration::from_millis(200));
        }
    };
    // Without it the cluster works as well; `status` tells the same.
    let _unwatched = thread::Builder::new().name("watch".to_owned()).spawn(watch);
}

fn answer(cluster: &Cluster, lab: &dyn Lab, ask: Ask) -> (Told, Next) {
    match ask {
        Ask::Status => (Told::Status(status(cluster, lab)), Next::GoOn),
        Ask::Down => (Told::Done("stopping; the data is kept".to_owned()), Next::Stop),
        ask => {
            let done = action_of(ask, cluster.nodes()).and_then(|action| {
                let evidence = cluster.act(&action)?;
                Ok(format!("{action}: {}", evidence.proof))
            });
            (done.map_or_else(|error| Told::Refused(format!("{error:#}")), Told::Done), Next::GoOn)
        }
    }
}

fn action_of(ask: Ask, nodes: &[NodeId]) -> anyhow::Result<Action> {
    let member = |node| split::member(node, nodes);
    Ok(match ask {
        Ask::Kill(node) => Action::Kill { node: member(node)? },
        Ask::Start(node) => Action::Start { node: member(node)? },
        Ask::Pause(node) => Action::Pause { node: member(node)? },
        Ask::Resume(node) => Action::Resume { node: member(node)? },
        Ask::Heal => Action::Heal,
        Ask::Partition(text) => Action::Cut { links: split::links_of(&text, nodes)? },
        Ask::Status | Ask::Down => bail!("{ask:?} does nothing to a node"),
    })
}

fn status(cluster: &Cluster, lab: &dyn Lab) -> Vec<NodeLine> {
    let views = cluster.views();
    let line = |(node, address): (NodeId, String)| {
        let leads = |view: &crate::system::NodeView| {
            view.groups.iter().filter(|group| group.leads).map(|group| group.group).collect()
        };
        let (state, pid) = match cluster.state(node) {
            NodeState::Down => ("down".to_owned(), None),
            NodeState::Up { pid } => ("up".to_owned(), Some(pid)),
            NodeState::Paused { pid } => ("paused".to_owned(), Some(pid)),
            NodeState::Crashed { how, .. } => (format!("crashed: {how}"), None),
        };
        NodeLine { node, state, pid, address, leads: views.get(&node).map(leads).unwrap_or_default() }
    };
    lab.members().into_iter().map(line).collect()
}

/// The kernel lab seen from a shell outside: nodes advertise the forwarded loopback ports, and dial each other inside.
struct Forwarded {
    inner: Arc<dyn Lab>,
    members: BTreeMap<NodeId, String>,
}

impl Forwarded {
    fn new(inner: Arc<dyn Lab>, dir: &Path) -> anyhow::Result<Forwarded> {
        let path = dir.join(FORWARDED);
        let list = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let members =
            serde_json::from_str(&list).with_context(|| format!("{} is damaged", path.display()))?;
        forward::accept(dir, inner.members())?;
        Ok(Forwarded { inner, members })
    }
}

impl Lab for Forwarded {
    fn kind(&self) -> LabKind {
        self.inner.kind()
    }

    fn listen(&self, node: NodeId) -> String {
        self.inner.listen(node)
    }

    fn members(&self) -> BTreeMap<NodeId, String> {
        self.members.clone()
    }

    fn dial(&self, node: NodeId) -> BTreeMap<NodeId, String> {
        self.inner.members().into_iter().filter(|(other, _)| *other != node).collect()
    }

    fn namespace(&self, node: NodeId) -> Option<PathBuf> {
        self.inner.namespace(node)
    }

    fn listening(&self, node: NodeId, address: SocketAddr) {
        self.inner.listening(node, address);
    }

    fn cut(&self, links: &BTreeSet<Link>) -> anyhow::Result<()> {
        self.inner.cut(links)
    }

    fn probe(&self, link: Link, timeout: Duration) -> anyhow::Result<bool> {
        self.inner.probe(link, timeout)
    }

    fn survey(&self, silent: &BTreeSet<Link>, patience: Duration) -> anyhow::Result<BTreeSet<Link>> {
        self.inner.survey(silent, patience)
    }

    fn ended(&self, node: NodeId) {
        self.inner.ended(node);
    }
}
