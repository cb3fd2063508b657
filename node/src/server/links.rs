//! The connections that this node dials: one to each other member, for what it has to say to it; and one to each node of
//! the cluster that has dialled us, member or not, for it may know more than we do and wants an answer (thesis §4.1).
//!
//! ```text
//!                dial                connected             welcome
//!   Resting ───────────▶ Connecting ───────────▶ Greeting ───────────▶ Up ── ping, pong, messages
//!      ▲                     │                       │                 │
//!      └── 50 to 200 ms ◀────┴─── error or 500 ms ───┴── error, no pong ┘
//! ```
//!
//! A link that is not up drops what it is given: Raft sends again, and what is old by then is worth nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::event::Event as Readiness;
use mio::net::TcpStream;
use mio::{Registry, Token};
use ordeal_client::wire::{
    GroupId, HandshakeRefusal, Hello, Kind, Layout, Message, NodeId, Role, Welcome, decode,
};
use rand::RngExt;
use rand_pcg::Pcg64;
use serde::Serialize;
use tracing::{debug, info, warn};

use super::connection::{Connection, End};
use super::limits::{
    DIAL_TIMEOUT, LINKS_MAX, PEER_OUT_BYTES_MAX, PING_AFTER, PONG_TIMEOUT, READ_BYTES, REDIAL_MS,
};
use crate::raft;
use crate::storage::Identity;

/// All links of a node.
#[derive(Debug)]
pub(super) struct Links {
    us: Identity,
    /// How the cluster was created, the same on all nodes.
    layout: Layout,
    /// What we advertise ourselves as.
    address: String,
    /// Where some are dialled instead of where they are said to be.
    dial: BTreeMap<NodeId, SocketAddr>,
    /// Others that belong to our groups, and others that have dialled us, with where they say they are.
    members: BTreeMap<NodeId, String>,
    guests: BTreeMap<NodeId, String>,
    /// By place, from which their tokens follow. Places are used again.
    links: Vec<Link>,
    by_node: BTreeMap<NodeId, usize>,
    first_token: usize,
    chance: Pcg64,
    /// Members that closed a link that was up, and members whose link came up, not told to anybody yet.
    closed: Vec<NodeId>,
    up: Vec<NodeId>,
}

#[derive(Debug)]
struct Link {
    to: NodeId,
    address: SocketAddr,
    phase: Phase,
    /// Heartbeats of this turn, and answers to such: those of many groups leave as one message. At most a few a group.
    beats: Vec<(GroupId, raft::Message)>,
    /// Messages dropped since the link was last up or full, for the log.
    dropped: u64,
}

#[derive(Debug)]
enum Phase {
    /// Nobody's place.
    Vacant,
    Resting {
        until: Instant,
    },
    Connecting {
        connection: Connection,
        since: Instant,
    },
    Greeting {
        connection: Connection,
        since: Instant,
    },
    Up {
        connection: Connection,
        heard: Instant,
        pinged: Option<Instant>,
    },
}

impl Links {
    /// No links yet; their tokens are [`LINKS_MAX`] from `first_token` on.
    pub(super) fn new(
        us: Identity,
        layout: Layout,
        address: String,
        dial: BTreeMap<NodeId, SocketAddr>,
        first_token: usize,
        chance: Pcg64,
    ) -> Self {
        Links {
            us,
            layout,
            address,
            dial,
            members: BTreeMap::new(),
            guests: BTreeMap::new(),
            links: Vec::new(),
            by_node: BTreeMap::new(),
            first_token,
            chance,
            closed: Vec::new(),
            up: Vec::new(),
        }
    }

    /// These are the members now.
    pub(super) fn follow(&mut self, members: &BTreeMap<NodeId, String>, registry: &Registry, now: Instant) {
        self.members.clone_from(members);
        self.members.remove(&self.us.node);
        self.relink(registry, now);
    }

    /// A node of the cluster has dialled us, and says where it is.
    /// It is there, so a link to it that rests has rested long enough.
    pub(super) fn came(&mut self, guest: NodeId, address: Option<String>, registry: &Registry, now: Instant) {
        let link = self.by_node.get(&guest).and_then(|&place| self.links.get_mut(place));
        if let Some(Link { phase: Phase::Resting { until }, .. }) = link {
            *until = now;
        }
        if let Some(address) = address.filter(|_| guest != self.us.node && self.guests.len() < LINKS_MAX) {
            self.guests.insert(guest, address);
            self.relink(registry, now);
        }
    }

    /// Its connection has ended.
    pub(super) fn gone(&mut self, guest: NodeId, registry: &Registry, now: Instant) {
        self.guests.remove(&guest);
        self.relink(registry, now);
    }

    /// A link to each member and guest, where it is now, and to nobody else.
    fn relink(&mut self, registry: &Registry, now: Instant) {
        let mut wanted: BTreeMap<NodeId, SocketAddr> = BTreeMap::new();
        // What the log says of a member counts more than what a guest says of itself.
        for (&node, text) in self.guests.iter().chain(&self.members) {
            match self.dial.get(&node).copied().map_or_else(|| text.parse(), Ok) {
                Ok(address) => drop(wanted.insert(node, address)),
                Err(_) => warn!(peer = %node, address = text, "no address to dial"),
            }
        }
        for (node, place) in self.by_node.clone() {
            let link = &mut self.links[place];
            if wanted.get(&node) == Some(&link.address) {
                wanted.remove(&node);
                continue;
            }
            info!(peer = %node, address = %link.address, "link given up");
            if let Phase::Connecting { connection, .. }
            | Phase::Greeting { connection, .. }
            | Phase::Up { connection, .. } = std::mem::replace(&mut link.phase, Phase::Vacant)
            {
                connection.close(registry);
            }
            self.by_node.remove(&node);
        }
        for (to, address) in wanted {
            let link =
                Link { to, address, phase: Phase::Resting { until: now }, beats: Vec::new(), dropped: 0 };
            let vacant = self.links.iter().position(|link| matches!(link.phase, Phase::Vacant));
            let place = match vacant {
                Some(place) => {
                    self.links[place] = link;
                    place
                }
                None if self.links.len() < LINKS_MAX => {
                    self.links.push(link);
                    self.links.len() - 1
                }
                None => {
                    warn!(peer = %to, limit = LINKS_MAX, "no link, there are too many");
                    continue;
                }
            };
            self.by_node.insert(to, place);
        }
    }

    /// An event came for a link.
    pub(super) fn note(&mut self, event: &Readiness) {
        let place = event.token().0.checked_sub(self.first_token);
        if let Some(link) = place.and_then(|place| self.links.get_mut(place))
            && let Some(connection) = link.connection()
        {
            connection.note(event);
        }
    }

    /// Queues a message, or drops it where the link is down or full.
    pub(super) fn send(&mut self, to: NodeId, group: GroupId, message: raft::Message) {
        if matches!(message.kind(), Kind::Heartbeat | Kind::HeartbeatReply) {
            if let Some(link) = self.link_up(to) {
                link.beats.push((group, message));
            }
            return;
        }
        self.post(to, message.kind(), group, &message);
    }

    /// Queues what is no message of Raft, or drops it where the link is down or full: who wrote it writes again.
    pub(super) fn post(&mut self, to: NodeId, kind: Kind, group: GroupId, body: &impl Serialize) {
        let Some(link) = self.link_up(to) else { return };
        let Phase::Up { connection, .. } = &mut link.phase else { return };
        let sent = connection.send(kind, group, body, PEER_OUT_BYTES_MAX);
        link.count(sent);
    }

    /// The link to a node, if something can be sent over it.
    fn link_up(&mut self, to: NodeId) -> Option<&mut Link> {
        let Some(link) = self.by_node.get(&to).and_then(|&place| self.links.get_mut(place)) else {
            // No member any more, or one that has dialled us and is gone.
            debug!(%to, "message to somebody without a link");
            return None;
        };
        if !link.is_up() {
            link.dropped += 1;
            return None;
        }
        Some(link)
    }

    /// Says that we are here, for all groups at rest. Raft does not miss a beat that finds no link, or a full one.
    pub(super) fn beat(&mut self, to: NodeId) {
        let link = self.by_node.get(&to).and_then(|&place| self.links.get_mut(place));
        if let Some(Link { phase: Phase::Up { connection, .. }, .. }) = link {
            let _full = connection.send(Kind::Beat, GroupId(0), &(), PEER_OUT_BYTES_MAX);
        }
    }

    /// Reads what came back, moves handshakes on, dials, pings and gives up, as the time is.
    pub(super) fn turn(&mut self, registry: &Registry, scratch: &mut [u8; READ_BYTES], now: Instant) {
        for place in 0..self.links.len() {
            let link = &mut self.links[place];
            let was_up = link.is_up();
            if let Err(end) = link.turn(&self.us, self.layout, &self.address, scratch, now) {
                self.end(place, &end, registry, now);
            } else if link.is_up() && !was_up {
                self.up.push(link.to);
            } else if let Phase::Resting { until } = link.phase
                && until <= now
                && let Err(end) = link.dial(registry, Token(self.first_token + place), now)
            {
                self.end(place, &end, registry, now);
            }
        }
    }

    /// Gives the kernel what it takes.
    pub(super) fn flush(&mut self, registry: &Registry, now: Instant) {
        for place in 0..self.links.len() {
            let link = &mut self.links[place];
            link.send_beats();
            let flushed = match &mut link.phase {
                Phase::Up { connection, .. } | Phase::Greeting { connection, .. } => connection.flush(),
                Phase::Vacant | Phase::Resting { .. } | Phase::Connecting { .. } => Ok(()),
            };
            if let Err(end) = flushed {
                self.end(place, &end, registry, now);
            }
        }
    }

    /// Members that closed their end since this was asked last: perhaps they are gone.
    pub(super) fn take_closed(&mut self) -> Vec<NodeId> {
        std::mem::take(&mut self.closed)
    }

    /// Members that can be told something since this was asked last.
    pub(super) fn take_up(&mut self) -> Vec<NodeId> {
        std::mem::take(&mut self.up)
    }

    /// Whether there is more to read than a turn allows, or something to be told.
    pub(super) fn has_work(&self) -> bool {
        let untold = !self.closed.is_empty() || !self.up.is_empty();
        untold
            || self.links.iter().any(|link| match &link.phase {
                Phase::Up { connection, .. } | Phase::Greeting { connection, .. } => connection.has_work(),
                Phase::Vacant | Phase::Resting { .. } | Phase::Connecting { .. } => false,
            })
    }

    fn end(&mut self, place: usize, end: &End, registry: &Registry, now: Instant) {
        let rest = Duration::from_millis(self.chance.random_range(REDIAL_MS));
        let link = &mut self.links[place];
        let phase = std::mem::replace(&mut link.phase, Phase::Resting { until: now + rest });
        match phase {
            Phase::Up { connection, .. } => {
                warn!(peer = %link.to, address = %link.address, reason = %end, "link down");
                if matches!(end, End::Closed | End::Io(_)) {
                    self.closed.push(link.to);
                }
                connection.close(registry);
            }
            Phase::Connecting { connection, .. } => {
                debug!(peer = %link.to, address = %link.address, reason = %end, "dial failed");
                connection.close(registry);
            }
            Phase::Greeting { connection, .. } => {
                if matches!(end, End::Closed | End::Silent | End::Io(_)) {
                    debug!(peer = %link.to, address = %link.address, reason = %end, "dial failed");
                } else {
                    warn!(peer = %link.to, address = %link.address, reason = %end, "dial refused");
                }
                connection.close(registry);
            }
            Phase::Vacant | Phase::Resting { .. } => {
                debug!(peer = %link.to, address = %link.address, reason = %end, "dial failed");
            }
        }
    }
}

impl Link {
    /// Queues the heartbeats of this turn, and the answers to such.
    fn send_beats(&mut self) {
        if self.beats.is_empty() {
            return;
        }
        let all = std::mem::take(&mut self.beats).into_iter();
        let (beats, replies): (Vec<_>, Vec<_>) = all.partition(|(_, beat)| beat.kind() == Kind::Heartbeat);
        self.send_together(Kind::Heartbeats, &beats);
        self.send_together(Kind::HeartbeatReplies, &replies);
    }

    fn send_together(&mut self, kind: Kind, beats: &[(GroupId, raft::Message)]) {
        let Phase::Up { connection, .. } = &mut self.phase else { return };
        let sent = match beats {
            [] => return,
            [(group, beat)] => connection.send(beat.kind(), *group, beat, PEER_OUT_BYTES_MAX),
            several => connection.send(kind, GroupId(0), several, PEER_OUT_BYTES_MAX),
        };
        self.count(sent);
    }

    fn count(&mut self, sent: bool) {
        if sent {
            return;
        }
        if self.dropped == 0 {
            warn!(peer = %self.to, "link is full, messages are dropped");
        }
        self.dropped += 1;
    }

    fn connection(&mut self) -> Option<&mut Connection> {
        match &mut self.phase {
            Phase::Vacant | Phase::Resting { .. } => None,
            Phase::Connecting { connection, .. }
            | Phase::Greeting { connection, .. }
            | Phase::Up { connection, .. } => Some(connection),
        }
    }

    fn dial(&mut self, registry: &Registry, token: Token, now: Instant) -> Result<(), End> {
        let stream = TcpStream::connect(self.address)?;
        let connection = Connection::new(stream, self.address, registry, token)?;
        self.phase = Phase::Connecting { connection, since: now };
        Ok(())
    }

    fn turn(
        &mut self,
        us: &Identity,
        layout: Layout,
        address: &str,
        scratch: &mut [u8; READ_BYTES],
        now: Instant,
    ) -> Result<(), End> {
        match &mut self.phase {
            Phase::Vacant | Phase::Resting { .. } => Ok(()),
            Phase::Connecting { connection, since } => {
                if connection.connected()? {
                    self.greet(us, address, now);
                    return Ok(());
                }
                in_time(*since, DIAL_TIMEOUT, now)
            }
            Phase::Greeting { connection, since } => {
                connection.read_turn(scratch)?;
                let Some(message) = connection.next_message() else {
                    return in_time(*since, DIAL_TIMEOUT, now);
                };
                check_welcome(us, layout, self.to, &message)?;
                self.up(now);
                Ok(())
            }
            Phase::Up { connection, heard, pinged } => {
                connection.read_turn(scratch)?;
                while let Some(message) = connection.next_message() {
                    if message.kind != Kind::Pong {
                        return Err(End::Kind(message.kind));
                    }
                    *heard = now;
                    *pinged = None;
                }
                match *pinged {
                    Some(pinged) => in_time(pinged, PONG_TIMEOUT, now),
                    None if now.saturating_duration_since(*heard) >= PING_AFTER => {
                        *pinged = Some(now);
                        // A full outbox has no room for it, and is a sign of life in question all the same.
                        let _full = connection.send(Kind::Ping, GroupId(0), &(), PEER_OUT_BYTES_MAX);
                        Ok(())
                    }
                    None => Ok(()),
                }
            }
        }
    }

    fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up { .. })
    }

    fn greet(&mut self, us: &Identity, address: &str, now: Instant) {
        let phase = std::mem::replace(&mut self.phase, Phase::Resting { until: now });
        let Phase::Connecting { mut connection, since } = phase else {
            unreachable!("only a connecting link greets")
        };
        let role = Role::Peer { from: us.node, to: self.to };
        let hello = Hello { address: Some(address.to_owned()), ..Hello::new(Some(us.cluster), role) };
        let queued = connection.send(Kind::Hello, GroupId(0), &hello, PEER_OUT_BYTES_MAX);
        assert!(queued, "an empty outbox takes a hello");
        self.phase = Phase::Greeting { connection, since };
    }

    fn up(&mut self, now: Instant) {
        let phase = std::mem::replace(&mut self.phase, Phase::Resting { until: now });
        let Phase::Greeting { connection, .. } = phase else { unreachable!("only a greeting link goes up") };
        info!(peer = %self.to, address = %self.address, dropped = self.dropped, "link up");
        self.dropped = 0;
        self.phase = Phase::Up { connection, heard: now, pinged: None };
    }
}

fn in_time(since: Instant, limit: Duration, now: Instant) -> Result<(), End> {
    if now.saturating_duration_since(since) > limit { Err(End::Silent) } else { Ok(()) }
}

/// Whoever answers must be the node that was meant, as a forwarded port may lead anywhere; and must have been started with the
/// same layout, as the entries of one who was not make no sense here. Both sides of a pair dial, and so both find out.
fn check_welcome(us: &Identity, layout: Layout, to: NodeId, message: &Message) -> Result<(), End> {
    match message.kind {
        Kind::Welcome => {
            let welcome: Welcome =
                decode(&message.body).map_err(|error| End::Body { kind: message.kind, error })?;
            if welcome.cluster != us.cluster || welcome.node != to {
                return Err(End::Handshake(format!(
                    "{} of cluster {} answers",
                    welcome.node, welcome.cluster
                )));
            }
            if welcome.layout != layout {
                let words = format!("{to} was started with other --groups, --replicas or --shards");
                return Err(End::Handshake(words));
            }
            Ok(())
        }
        Kind::Refused => {
            let refusal: HandshakeRefusal =
                decode(&message.body).map_err(|error| End::Body { kind: message.kind, error })?;
            Err(End::Handshake(refusal.to_string()))
        }
        kind => Err(End::Kind(kind)),
    }
}
