//! The kernel lab: real TCP between network namespaces, cut by real packet filters.
//!
//! ```text
//!        n1  10.77.0.1        n2  10.77.0.2    …      each node in a network namespace of its own
//!        ══eth0══             ══eth0══                iptables INPUT: drops what comes from cut senders
//!           │                    │
//!   ──────ordeal1──────────────ordeal2────────        bridge `ordeal`, in the harness's own network namespace
//!                10.77.0.254                          the harness and its clients, never cut
//! ```
//!
//! A link is cut where it ends, so a sender learns nothing of it. Cutting does not close TCP connections: after a heal
//! they go on when the kernel retransmits, which may take as long again as the cut did.

pub(crate) mod firewall;
pub(crate) mod namespace;
pub(crate) mod prober;
pub(crate) mod tool;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::memfd::{MFdFlags, memfd_create};
use ordeal_client::wire::NodeId;

use self::firewall::{Firewall, PROGRAMS};
use self::namespace::Namespace;
use self::prober::Prober;
use super::{Lab, LabKind, Link, PATIENCE, all_links, check_links, enter};

/// The port of every node: each has a network of its own, so none can clash.
const PORT: u16 = 7000;
/// The harness's address on the bridge.
const HARNESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 254);
/// Highest number of a node: the last byte of its address, below the harness's.
pub const NODE_MAX: u32 = 253;

/// A bridge with a network namespace for each node.
#[derive(Debug)]
pub struct KernelLab {
    seats: BTreeMap<NodeId, Seat>,
    /// Absent with less than two nodes: no link to cut.
    firewall: Option<Firewall>,
    prober: Prober,
    /// Whom each node was last told to drop; absent when setting it failed, so that it is set again.
    rules: Mutex<BTreeMap<NodeId, BTreeSet<NodeId>>>,
}

#[derive(Debug)]
struct Seat {
    namespace: Namespace,
    address: Ipv4Addr,
    /// A file without a name for iptables to lock: no traces on disk, and nobody else holds it.
    lock: File,
}

impl KernelLab {
    /// Builds it, and finds the firewall program whose rules have an effect.
    ///
    /// # Errors
    /// When not inside namespaces of our own, a node's number is beyond [`NODE_MAX`], or a device or rule is refused.
    pub fn new(nodes: &[NodeId]) -> anyhow::Result<KernelLab> {
        if !enter::is_inside() {
            bail!(
                "a kernel lab is only built in namespaces of the harness's own, never in the host's network"
            );
        }
        let mut seats = BTreeMap::new();
        for &node in nodes {
            seats.insert(node, Seat::new(node)?);
        }
        build_bridge(&seats)?;
        let mut sockets = BTreeMap::new();
        for (&node, seat) in &seats {
            let socket = seat.namespace.within(|| {
                build_device(seat)?;
                UdpSocket::bind((seat.address, 0)).context("bind a probe socket")
            });
            sockets.insert(node, socket.with_context(|| format!("network of {node}"))?);
        }
        let prober = Prober::new(HARNESS, sockets)?;
        let mut lab = KernelLab { seats, firewall: None, prober, rules: Mutex::default() };
        lab.find_firewall()?;
        Ok(lab)
    }

    /// The program that sets the rules.
    #[must_use]
    pub fn firewall(&self) -> &str {
        self.firewall.as_ref().map_or("no firewall", |firewall| firewall.name)
    }

    /// Takes the first program that cuts a link and heals it again, seen by probes.
    fn find_firewall(&mut self) -> anyhow::Result<()> {
        let nodes: Vec<NodeId> = self.seats.keys().copied().collect();
        let [from, to, ..] = nodes[..] else { return Ok(()) };
        let link = Link { from, to };
        let mut reasons = Vec::new();
        for name in PROGRAMS {
            let tried = Firewall::named(name).and_then(|firewall| {
                self.firewall = Some(firewall);
                self.try_firewall(link)
            });
            match tried {
                Ok(()) => return Ok(()),
                Err(error) => reasons.push(format!("{error:#}")),
            }
            // Whatever it left behind must not make the next one look as if it worked.
            self.rules = Mutex::default();
        }
        bail!("no iptables program has an effect: {}", reasons.join("; "))
    }

    fn try_firewall(&self, link: Link) -> anyhow::Result<()> {
        let name = self.firewall();
        let none = BTreeSet::new();
        let others = all_links(&[link.from, link.to]);
        let arrived = self.prober.survey(&others, &none, PATIENCE)?;
        anyhow::ensure!(arrived == others, "{name}: before any rule only {arrived:?} answered");
        let cut = BTreeSet::from([link]);
        self.cut(&cut)?;
        let arrived = self.prober.survey(&others, &cut, PATIENCE)?;
        anyhow::ensure!(!arrived.contains(&link), "{name} accepts a rule that has no effect");
        self.cut(&none)?;
        let arrived = self.prober.survey(&others, &none, PATIENCE)?;
        anyhow::ensure!(arrived == others, "{name} takes a rule away, but {link} stays cut");
        Ok(())
    }

    fn seat(&self, node: NodeId) -> &Seat {
        self.seats.get(&node).unwrap_or_else(|| panic!("{node} is no node of this lab"))
    }
}

impl Seat {
    fn new(node: NodeId) -> anyhow::Result<Seat> {
        let number = u8::try_from(node.0).ok().filter(|&byte| byte > 0 && u32::from(byte) <= NODE_MAX);
        let number = number.with_context(|| format!("{node}: a lab's nodes are n1 to n{NODE_MAX}"))?;
        let lock =
            memfd_create("xtables.lock", MFdFlags::MFD_CLOEXEC).context("create a lock file in memory")?;
        Ok(Seat {
            namespace: Namespace::new()?,
            address: Ipv4Addr::new(10, 77, 0, number),
            lock: File::from(lock),
        })
    }

    fn lock_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.lock.as_raw_fd()))
    }
}

/// The bridge and, for each node, a pair of devices with one end in its namespace.
fn build_bridge(seats: &BTreeMap<NodeId, Seat>) -> anyhow::Result<()> {
    let mut text = format!(
        "link set lo up\nlink add ordeal type bridge\naddr add {HARNESS}/24 dev ordeal\nlink set ordeal up\n"
    );
    for (node, seat) in seats {
        let (device, place) = (format!("ordeal{}", node.0), seat.namespace.path());
        writeln!(text, "link add {device} type veth peer name eth0 netns {}", place.display())?;
        writeln!(text, "link set {device} master ordeal up")?;
    }
    ip_batch(&text).context("build the bridge")
}

/// The node's end of its pair; run inside its namespace.
fn build_device(seat: &Seat) -> anyhow::Result<()> {
    ip_batch(&format!("link set lo up\naddr add {}/24 dev eth0\nlink set eth0 up\n", seat.address))
}

fn ip_batch(text: &str) -> anyhow::Result<()> {
    let mut command = Command::new(tool::find("ip")?);
    command.args(["-batch", "-"]);
    tool::run(command, text)
}

impl Lab for KernelLab {
    fn kind(&self) -> LabKind {
        LabKind::Kernel
    }

    fn listen(&self, node: NodeId) -> String {
        format!("{}:{PORT}", self.seat(node).address)
    }

    fn members(&self) -> BTreeMap<NodeId, String> {
        self.seats.keys().map(|&node| (node, self.listen(node))).collect()
    }

    fn dial(&self, _node: NodeId) -> BTreeMap<NodeId, String> {
        BTreeMap::new()
    }

    fn namespace(&self, node: NodeId) -> Option<PathBuf> {
        Some(self.seat(node).namespace.path())
    }

    fn listening(&self, _node: NodeId, _address: SocketAddr) {}

    fn cut(&self, links: &BTreeSet<Link>) -> anyhow::Result<()> {
        check_links(links, |node| self.seats.contains_key(&node))?;
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changes: Vec<(NodeId, BTreeSet<NodeId>)> = Vec::new();
        for &node in self.seats.keys() {
            let silenced = links.iter().filter(|link| link.to == node).map(|link| link.from).collect();
            if rules.get(&node) != Some(&silenced) {
                rules.remove(&node);
                changes.push((node, silenced));
            }
        }
        let Some(firewall) = &self.firewall else { return Ok(()) };
        let results: Vec<_> = std::thread::scope(|scope| {
            let start = |(node, silenced): (NodeId, BTreeSet<NodeId>)| {
                scope.spawn(move || {
                    let seat = self.seat(node);
                    let addresses: Vec<Ipv4Addr> =
                        silenced.iter().map(|&from| self.seat(from).address).collect();
                    let done = firewall.replace(&seat.namespace, &seat.lock_path(), &addresses);
                    done.map(|()| (node, silenced)).with_context(|| format!("rules of {node}"))
                })
            };
            let threads: Vec<_> = changes.into_iter().map(start).collect();
            threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
        });
        for result in results {
            let (node, silenced) =
                result.map_err(|_| anyhow::anyhow!("a thread that sets rules panicked"))??;
            rules.insert(node, silenced);
        }
        Ok(())
    }

    fn probe(&self, link: Link, timeout: Duration) -> anyhow::Result<bool> {
        let links = BTreeSet::from([link]);
        check_links(&links, |node| self.seats.contains_key(&node))?;
        Ok(!self.prober.survey(&links, &BTreeSet::new(), timeout)?.is_empty())
    }

    fn survey(&self, silent: &BTreeSet<Link>, patience: Duration) -> anyhow::Result<BTreeSet<Link>> {
        let nodes: Vec<NodeId> = self.seats.keys().copied().collect();
        self.prober.survey(&all_links(&nodes), silent, patience)
    }
}
