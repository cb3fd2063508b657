//! Probes: datagrams between sockets that live in the nodes' namespaces but belong to the harness, so that a link is
//! probed whether the nodes at its ends run, are paused or are dead.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use ordeal_client::wire::NodeId;

use crate::lab::{Link, SILENCE};

/// A lost probe is sent again after this: often enough for several within [`SILENCE`].
const AGAIN: Duration = Duration::from_millis(20);
/// How often the sockets are looked at.
const LOOK: Duration = Duration::from_millis(1);
/// Stands for the harness in a probe, whose links are never cut.
const HARNESS: NodeId = NodeId(0);
/// A probe: round, from, to.
const PROBE_BYTES: usize = 16;

/// The sockets of a lab.
#[derive(Debug)]
pub(crate) struct Prober {
    sockets: BTreeMap<NodeId, UdpSocket>,
    addresses: BTreeMap<NodeId, SocketAddr>,
    /// Number of the round: late probes of an earlier one count for nothing.
    round: Mutex<u64>,
}

impl Prober {
    /// From a socket in each node's namespace; opens the harness's own.
    pub(crate) fn new(harness: Ipv4Addr, mut sockets: BTreeMap<NodeId, UdpSocket>) -> anyhow::Result<Prober> {
        let own =
            UdpSocket::bind((harness, 0)).with_context(|| format!("bind a probe socket to {harness}"))?;
        sockets.insert(HARNESS, own);
        let mut addresses = BTreeMap::new();
        for (&node, socket) in &sockets {
            socket.set_nonblocking(true)?;
            addresses.insert(node, socket.local_addr()?);
        }
        Ok(Prober { sockets, addresses, round: Mutex::new(0) })
    }

    /// Probes these links at once; returns those over which a probe came. Ends when all but the `silent` ones have
    /// answered and the silent ones had [`SILENCE`] to do so, or when `patience` is over.
    ///
    /// Each receiver is also sent one by the harness, over a link that is never cut: without it silence proves nothing.
    pub(crate) fn survey(
        &self,
        links: &BTreeSet<Link>,
        silent: &BTreeSet<Link>,
        patience: Duration,
    ) -> anyhow::Result<BTreeSet<Link>> {
        let mut round = self.round.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *round += 1;
        let controls: BTreeSet<Link> = links.iter().map(|link| Link { from: HARNESS, to: link.to }).collect();
        let asked: BTreeSet<Link> = links.union(&controls).copied().collect();
        let awaited: BTreeSet<Link> = asked.difference(silent).copied().collect();
        let listens = if links.is_disjoint(silent) { Duration::ZERO } else { SILENCE.min(patience) };
        let mut arrived = BTreeSet::new();
        let (start, mut sends) = (Instant::now(), 0u32);
        loop {
            if start.elapsed() >= AGAIN * sends {
                for link in asked.difference(&arrived) {
                    self.send(*link, *round)?;
                }
                sends += 1;
            }
            // Look only after the clock: what came in time is read, however late this thread gets its turn.
            let elapsed = start.elapsed();
            self.receive(*round, &mut arrived)?;
            let complete = awaited.is_subset(&arrived) && elapsed >= listens;
            if complete || elapsed >= patience {
                break;
            }
            std::thread::sleep(LOOK);
        }
        if let Some(deaf) = controls.iter().find(|control| !arrived.contains(control)) {
            bail!("the harness's own probe did not reach {} within {patience:?}", deaf.to);
        }
        Ok(arrived.intersection(links).copied().collect())
    }

    fn send(&self, link: Link, round: u64) -> anyhow::Result<()> {
        let (Some(socket), Some(to)) = (self.sockets.get(&link.from), self.addresses.get(&link.to)) else {
            bail!("no probe socket for {link}");
        };
        let mut probe = [0; PROBE_BYTES];
        probe[..8].copy_from_slice(&round.to_le_bytes());
        probe[8..12].copy_from_slice(&link.from.0.to_le_bytes());
        probe[12..].copy_from_slice(&link.to.0.to_le_bytes());
        match socket.send_to(&probe, to) {
            Ok(_) => Ok(()),
            // Full buffers under load: it is sent again.
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory) => {
                Ok(())
            }
            Err(error) => Err(error).with_context(|| format!("send a probe over {link}")),
        }
    }

    fn receive(&self, round: u64, arrived: &mut BTreeSet<Link>) -> anyhow::Result<()> {
        for (&node, socket) in &self.sockets {
            let mut probe = [0; PROBE_BYTES];
            loop {
                match socket.recv_from(&mut probe) {
                    Ok((PROBE_BYTES, source)) => {
                        let link = Link { from: number(&probe[8..12]), to: number(&probe[12..]) };
                        let fresh = probe[..8] == round.to_le_bytes();
                        if fresh && link.to == node && self.addresses.get(&link.from) == Some(&source) {
                            arrived.insert(link);
                        }
                    }
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error).with_context(|| format!("receive probes at {node}")),
                }
            }
        }
        Ok(())
    }
}

fn number(bytes: &[u8]) -> NodeId {
    NodeId(bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | u32::from(byte)))
}
