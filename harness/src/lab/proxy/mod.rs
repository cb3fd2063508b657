//! The proxy lab: nodes on loopback, and between them a TCP proxy that can hold its breath. Needs nothing but sockets.
//!
//! ```text
//!   n1 ──dials──▶ listener n1→n2 ──gate n1→n2──▶ where n2 really listens
//!   clients ────▶ listener of n2 ───────────────▶ where n2 really listens
//! ```
//!
//! A cut link is a black hole: bytes stay unread, connections stay open, new ones are accepted and hear nothing. A heal
//! lets them go on. As a connection between nodes carries the messages of the one who dialled, cutting n1→n2 stops both
//! directions of the connections that n1 opened, and none of those that n2 opened.
//!
//! A *framed* lab ([`ProxyLab::framed`]) reads along: it cuts every stream into frames, counts messages by kind and way,
//! and lets each frame have a fate of its own, drawn from a seed: [`Weather`] says how many are lost, late or overtaken,
//! [`Manner`] what a cut link does. There a node's own socket can be reached past the proxy, too ([`ProxyLab::direct`]).
//!
//! One thread moves all bytes, so that after [`Lab::cut`] returns no byte passes the gate any more.

mod net;
mod pair;
mod pipe;
mod pump;
mod switch;
mod traffic;
mod weather;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, getsockname, socket};
use ordeal_client::wire::NodeId;

use self::net::Net;
use self::switch::{Command, Remote, Route, Switch};
pub use self::traffic::{Count, Frames, Tally, Traffic, Way};
pub use self::weather::{Manner, Weather};
use super::{Lab, LabKind, Link, SILENCE, all_links, check_links};

/// How long the proxy's thread may take to obey: it never blocks, so this is only reached when it has ended.
const OBEY_TIME_MAX: Duration = Duration::from_secs(5);
/// Between two probes of a link that must answer.
const PROBE_AGAIN: Duration = Duration::from_millis(20);

/// A proxy for every directed link and for the clients of every node.
#[derive(Debug)]
pub struct ProxyLab {
    nodes: Vec<NodeId>,
    routes: BTreeMap<Route, SocketAddr>,
    remote: Arc<Remote>,
    nonce: AtomicU64,
    thread: Option<JoinHandle<()>>,
    /// Where nodes really listen.
    direct: Mutex<BTreeMap<NodeId, SocketAddr>>,
    /// A port that is taken, and where nobody listens.
    nowhere: (OwnedFd, SocketAddr),
}

impl ProxyLab {
    /// Opens a listener for every link and every node and starts the thread that serves them.
    ///
    /// # Errors
    /// When no more sockets or threads can be had.
    pub fn new(nodes: &[NodeId]) -> anyhow::Result<ProxyLab> {
        ProxyLab::open(nodes, None)
    }

    /// The same for nodes that speak our wire protocol: frames are counted, and can be lost, late or overtaken, all of it
    /// drawn from the seed. Cut links swallow.
    ///
    /// # Errors
    /// As [`ProxyLab::new`].
    pub fn framed(nodes: &[NodeId], seed: u64) -> anyhow::Result<ProxyLab> {
        ProxyLab::open(nodes, Some(Net::new(seed)))
    }

    fn open(nodes: &[NodeId], net: Option<Net>) -> anyhow::Result<ProxyLab> {
        let links = all_links(nodes).into_iter().map(Route::Link);
        let routes = links.chain(nodes.iter().map(|&node| Route::Client(node)));
        let switch = Switch::new(routes, net).context("open the proxy's listeners")?;
        let (routes, remote) = (switch.addresses(), switch.remote());
        let thread = std::thread::Builder::new().name("proxy".to_owned()).spawn(move || switch.run());
        Ok(ProxyLab {
            nodes: nodes.to_vec(),
            routes,
            remote,
            nonce: AtomicU64::new(1),
            thread: Some(thread.context("start the proxy's thread")?),
            direct: Mutex::default(),
            nowhere: nowhere()?,
        })
    }

    /// Where a node really listens, past the proxy and whatever it does to frames; `None` while it does not run.
    #[must_use]
    pub fn direct(&self, node: NodeId) -> Option<SocketAddr> {
        self.direct.lock().unwrap_or_else(PoisonError::into_inner).get(&node).copied()
    }

    /// An address where every dialler is refused, as long as this lab lives.
    #[must_use]
    pub fn nowhere(&self) -> SocketAddr {
        self.nowhere.1
    }

    /// Sets how frames are treated from now on.
    ///
    /// # Errors
    /// When the proxy's thread has ended.
    pub fn set_weather(&self, weather: Weather) -> anyhow::Result<()> {
        let (done, obeyed) = mpsc::channel();
        self.tell(Command::Weather(weather, done))?;
        obeyed.recv_timeout(OBEY_TIME_MAX).context("the proxy's thread has ended")
    }

    /// Sets what links do that are cut from now on.
    ///
    /// # Errors
    /// When the proxy's thread has ended.
    pub fn set_manner(&self, manner: Manner) -> anyhow::Result<()> {
        self.tell(Command::Manner(manner))
    }

    /// The answers of exactly these nodes do not reach their clients from now on.
    ///
    /// # Errors
    /// When the proxy's thread has ended.
    pub fn set_mute(&self, nodes: &BTreeSet<NodeId>) -> anyhow::Result<()> {
        let (done, obeyed) = mpsc::channel();
        self.tell(Command::Mute(nodes.clone(), done))?;
        obeyed.recv_timeout(OBEY_TIME_MAX).context("the proxy's thread has ended")
    }

    /// What was counted so far.
    ///
    /// # Errors
    /// When the proxy's thread has ended.
    pub fn traffic(&self) -> anyhow::Result<Traffic> {
        let (answer, counted) = mpsc::channel();
        self.tell(Command::Count(answer))?;
        counted.recv_timeout(OBEY_TIME_MAX).context("the proxy's thread has ended")
    }

    fn address(&self, route: Route) -> SocketAddr {
        *self.routes.get(&route).unwrap_or_else(|| panic!("{route:?} is no route of this lab"))
    }

    fn knows(&self, node: NodeId) -> bool {
        self.nodes.contains(&node)
    }

    /// One probe: a connection to the link's listener, over which the gate itself sends back what it is sent.
    fn ask(&self, link: Link, timeout: Duration) -> anyhow::Result<bool> {
        let Some(mut stream) = self.dial_as_probe(self.address(Route::Link(link)))? else { return Ok(false) };
        let probe = self.nonce.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        let mut answer = [0; 8];
        // No error of a probe's connection is worth more than this: no answer came over it.
        let asked = stream.set_read_timeout(Some(timeout)).and_then(|()| stream.write_all(&probe));
        Ok(asked.and_then(|()| stream.read_exact(&mut answer)).is_ok() && answer == probe)
    }

    /// A connection whose own port the proxy knows as a prober's before it is opened: no byte in the stream has to
    /// say so, whatever protocol the nodes speak.
    fn dial_as_probe(&self, to: SocketAddr) -> anyhow::Result<Option<TcpStream>> {
        let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
            .context("open a probe socket")?;
        let raw = std::os::fd::AsRawFd::as_raw_fd(&fd);
        bind(raw, &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)))
            .context("bind a probe socket")?;
        let port = getsockname::<SockaddrIn>(raw).context("port of a probe socket")?.port();
        self.remote.expect_probe(port);
        let SocketAddr::V4(to) = to else { bail!("the proxy listens on IPv4 only") };
        if connect(raw, &SockaddrIn::from(to)).is_err() {
            self.remote.forget_probe(port);
            return Ok(None);
        }
        Ok(Some(TcpStream::from(fd)))
    }

    fn tell(&self, command: Command) -> anyhow::Result<()> {
        self.remote.tell(command).context("wake the proxy's thread")
    }
}

impl Lab for ProxyLab {
    fn kind(&self) -> LabKind {
        LabKind::Proxy
    }

    fn listen(&self, _node: NodeId) -> String {
        "127.0.0.1:0".to_owned()
    }

    fn members(&self) -> BTreeMap<NodeId, String> {
        self.nodes.iter().map(|&node| (node, self.address(Route::Client(node)).to_string())).collect()
    }

    fn dial(&self, node: NodeId) -> BTreeMap<NodeId, String> {
        let others = self.nodes.iter().filter(|&&other| other != node);
        let route = |to| Route::Link(Link { from: node, to });
        others.map(|&to| (to, self.address(route(to)).to_string())).collect()
    }

    fn namespace(&self, _node: NodeId) -> Option<PathBuf> {
        None
    }

    fn listening(&self, node: NodeId, address: SocketAddr) {
        self.direct.lock().unwrap_or_else(PoisonError::into_inner).insert(node, address);
        // Without its thread the proxy serves nobody, and the next cut or probe says so.
        let _ = self.tell(Command::Target(node, Some(address)));
    }

    fn ended(&self, node: NodeId) {
        self.direct.lock().unwrap_or_else(PoisonError::into_inner).remove(&node);
        let _ = self.tell(Command::Target(node, None));
    }

    fn cut(&self, links: &BTreeSet<Link>) -> anyhow::Result<()> {
        check_links(links, |node| self.knows(node))?;
        let (done, obeyed) = mpsc::channel();
        self.tell(Command::Cut(links.clone(), done))?;
        obeyed.recv_timeout(OBEY_TIME_MAX).context("the proxy's thread has ended")
    }

    fn probe(&self, link: Link, timeout: Duration) -> anyhow::Result<bool> {
        check_links(&BTreeSet::from([link]), |node| self.knows(node))?;
        self.ask(link, timeout)
    }

    fn survey(&self, silent: &BTreeSet<Link>, patience: Duration) -> anyhow::Result<BTreeSet<Link>> {
        let links = all_links(&self.nodes);
        let start = Instant::now();
        std::thread::scope(|scope| {
            let probe = |link: Link| {
                let answers = move || {
                    if silent.contains(&link) {
                        return self.ask(link, SILENCE.min(patience));
                    }
                    loop {
                        let left = patience.saturating_sub(start.elapsed()).max(Duration::from_millis(1));
                        if self.ask(link, left)? {
                            return Ok(true);
                        }
                        if start.elapsed() >= patience {
                            return Ok(false);
                        }
                        std::thread::sleep(PROBE_AGAIN);
                    }
                };
                (link, scope.spawn(answers))
            };
            let threads: Vec<_> = links.into_iter().map(probe).collect();
            let mut arrived = BTreeSet::new();
            for (link, thread) in threads {
                let answered = thread.join().map_err(|_| anyhow::anyhow!("the probe of {link} panicked"))?;
                if answered.with_context(|| format!("probe {link}"))? {
                    arrived.insert(link);
                }
            }
            Ok(arrived)
        })
    }
}

/// Binds a port without listening there: nobody else gets it, and who dials it is refused.
fn nowhere() -> anyhow::Result<(OwnedFd, SocketAddr)> {
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
        .context("open a socket for nobody")?;
    let raw = std::os::fd::AsRawFd::as_raw_fd(&fd);
    bind(raw, &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))).context("bind it")?;
    let port = getsockname::<SockaddrIn>(raw).context("its port")?.port();
    Ok((fd, SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
}

impl Drop for ProxyLab {
    fn drop(&mut self) {
        if self.tell(Command::Stop).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
