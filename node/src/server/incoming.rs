//! The connections that others dial: clients, and peers with what they have to say to us.
//!
//! ```text
//!   accept ──▶ Hello ──┬─ welcome ──▶ Client   requests in, answers out
//!                      ├─ welcome ──▶ Peer     Raft messages in, pongs out
//!                      └─ refusal ──▶ Leaving  until the other side has read why and closed
//! ```

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use mio::event::Event as Readiness;
use mio::net::TcpStream;
use mio::{Registry, Token};
use ordeal_client::wire::{
    Answer, GroupId, HandshakeRefusal, Hello, Kind, MAGIC, Message, NodeId, PROTOCOL_VERSION, Request, Role,
    Welcome, decode,
};
use serde::de::DeserializeOwned;
use serde_bytes::ByteBuf;
use tracing::{debug, info, warn};

use super::connection::{Connection, End};
use super::limits::{
    ACCEPTED_MAX, CLIENT_OUT_BYTES_MAX, CLIENT_OUT_BYTES_PAUSE, CLIENTS_MAX, HANDSHAKE_TIMEOUT,
    PEER_SILENCE_MAX, READ_BYTES, REQUESTS_PER_TURN, SWEEP_EVERY,
};
use crate::engine::ClientKey;
use crate::mover::Letter;
use crate::raft;
use crate::storage::Identity;

/// What came in.
#[derive(Debug)]
pub(super) enum Event {
    /// A node of the cluster said something.
    Peer { from: NodeId, group: GroupId, message: raft::Message },
    /// The leader of a group says something to that of another.
    Letter { from: NodeId, group: GroupId, letter: Letter },
    /// The leader of a group says something to the controller.
    Control(Arc<[u8]>),
    /// A node of the cluster is there.
    Beat(NodeId),
    /// A client asks for something.
    Request { from: ClientKey, request: Request },
    /// A client is gone.
    ClientGone(ClientKey),
    /// A node of the cluster has dialled us; it says where it is.
    PeerCame { from: NodeId, address: Option<String> },
    /// A peer closed its connection.
    PeerClosed(NodeId),
    /// A peer has no connection any more, whoever ended it.
    PeerGone(NodeId),
}

/// Who may come in.
#[derive(Debug)]
pub(super) struct House {
    /// Who we are.
    pub us: Identity,
    /// What welcome guests are told.
    pub welcome: Welcome,
}

/// All accepted connections.
///
/// Invariants: whoever has something to be read and is not paused is in `ready`, whoever has something to be written
/// that the kernel has not refused is in `unsent`; each at most once. So a turn costs what happens in it, however many
/// connections there are.
#[derive(Debug)]
pub(super) struct Incoming {
    house: House,
    /// By token. Tokens grow and are never used twice, and so they name clients for the engine as well.
    guests: BTreeMap<usize, Guest>,
    next_token: usize,
    ready: Vec<usize>,
    unsent: Vec<usize>,
    /// When to look next for those who were silent for too long.
    sweep_at: Instant,
    clients: usize,
    /// The newest connection of each peer.
    peers: BTreeMap<NodeId, usize>,
}

#[derive(Debug)]
struct Guest {
    connection: Connection,
    role: GuestRole,
    /// Whether it is in the lists of these names.
    ready: bool,
    unsent: bool,
    /// When it came or, of a peer, was last heard; of one that leaves, when it was told to.
    since: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GuestRole {
    Stranger,
    Client,
    Peer(NodeId),
    Leaving,
}

impl Incoming {
    /// No connections; their tokens are counted from `first_token` on.
    pub(super) fn new(house: House, first_token: usize, now: Instant) -> Self {
        Incoming {
            house,
            guests: BTreeMap::new(),
            next_token: first_token,
            ready: Vec::new(),
            unsent: Vec::new(),
            sweep_at: now + SWEEP_EVERY,
            clients: 0,
            peers: BTreeMap::new(),
        }
    }

    /// Takes an accepted stream, as far as there is room.
    pub(super) fn accept(
        &mut self,
        stream: TcpStream,
        remote: SocketAddr,
        registry: &Registry,
        now: Instant,
    ) {
        if self.guests.len() >= ACCEPTED_MAX {
            // Not even a refusal: who comes in such numbers does not read it.
            warn!(%remote, limit = ACCEPTED_MAX, "connection dropped, there are too many");
            return;
        }
        let token = self.next_token;
        self.next_token += 1;
        let connection = Connection::new(stream, remote, registry, Token(token))
            .and_then(|connection| connection.set_nodelay().map(|()| connection));
        match connection {
            Ok(connection) => {
                let role = GuestRole::Stranger;
                let guest = Guest { connection, role, ready: false, unsent: false, since: now };
                self.guests.insert(token, guest);
            }
            Err(error) => debug!(%remote, reason = %error, "connection gone as soon as it came"),
        }
    }

    /// What welcome guests are told from now on.
    pub(super) fn tell(&mut self, welcome: Welcome) {
        self.house.welcome = welcome;
    }

    /// An event came for a connection.
    pub(super) fn note(&mut self, event: &Readiness) {
        let token = event.token().0;
        let Some(guest) = self.guests.get_mut(&token) else { return };
        guest.connection.note(event);
        guest.list(token, &mut self.ready, &mut self.unsent);
    }

    /// Reads what a turn allows from whoever has something to read.
    pub(super) fn turn(
        &mut self,
        registry: &Registry,
        scratch: &mut [u8; READ_BYTES],
        now: Instant,
        events: &mut Vec<Event>,
    ) {
        for token in std::mem::take(&mut self.ready) {
            let Some(guest) = self.guests.get_mut(&token) else { continue };
            guest.ready = false;
            if let Err(end) = self.guest_turn(token, registry, scratch, now, events) {
                self.end(token, &end, registry, events);
            } else if let Some(guest) = self.guests.get_mut(&token) {
                guest.list(token, &mut self.ready, &mut self.unsent);
            }
        }
        if self.sweep_at <= now {
            self.sweep_at = now + SWEEP_EVERY;
            self.sweep(registry, now, events);
        }
    }

    /// Ends those who were silent for too long.
    fn sweep(&mut self, registry: &Registry, now: Instant, events: &mut Vec<Event>) {
        let silent = |guest: &Guest| {
            let limit = match guest.role {
                GuestRole::Stranger | GuestRole::Leaving => HANDSHAKE_TIMEOUT,
                GuestRole::Peer(_) => PEER_SILENCE_MAX,
                GuestRole::Client => return false,
            };
            now.saturating_duration_since(guest.since) > limit
        };
        let tokens: Vec<usize> =
            self.guests.iter().filter(|(_, guest)| silent(guest)).map(|(&token, _)| token).collect();
        for token in tokens {
            self.end(token, &End::Silent, registry, events);
        }
    }

    /// Queues an answer. A client that reads nothing is let go.
    pub(super) fn reply(
        &mut self,
        to: ClientKey,
        answer: &Answer,
        registry: &Registry,
        events: &mut Vec<Event>,
    ) {
        // A client that is gone waits for nothing.
        let Ok(token) = usize::try_from(to.0) else { return };
        let Some(guest) = self.guests.get_mut(&token) else { return };
        if guest.connection.send(Kind::Reply, GroupId(0), answer, CLIENT_OUT_BYTES_MAX) {
            guest.list(token, &mut self.ready, &mut self.unsent);
        } else {
            let bytes = guest.connection.waiting_bytes();
            self.end(token, &End::Unread { bytes }, registry, events);
        }
    }

    /// Gives the kernel what it takes. Of what it does not take it says when it will.
    pub(super) fn flush(&mut self, registry: &Registry, events: &mut Vec<Event>) {
        for token in std::mem::take(&mut self.unsent) {
            let Some(guest) = self.guests.get_mut(&token) else { continue };
            let flushed = guest.connection.flush();
            // Only now, so that one which the kernel refused is not listed again before its event.
            guest.unsent = false;
            guest.list_ready(token, &mut self.ready);
            if let Err(end) = flushed {
                self.end(token, &end, registry, events);
            }
        }
    }

    /// Whether there is more to read than a turn allows.
    pub(super) fn has_work(&self) -> bool {
        !self.ready.is_empty()
    }

    fn guest_turn(
        &mut self,
        token: usize,
        registry: &Registry,
        scratch: &mut [u8; READ_BYTES],
        now: Instant,
        events: &mut Vec<Event>,
    ) -> Result<(), End> {
        let Some(guest) = self.guests.get_mut(&token) else { return Ok(()) };
        if guest.is_paused() {
            return Ok(());
        }
        match guest.role {
            GuestRole::Leaving => guest.connection.discard(scratch),
            GuestRole::Stranger => {
                guest.connection.read_turn(scratch)?;
                match guest.connection.next_message() {
                    Some(message) => self.greet(token, &message, registry, now, events),
                    None => Ok(()),
                }
            }
            GuestRole::Client => {
                guest.connection.read_turn(scratch)?;
                guest.take_requests(ClientKey(token as u64), events)
            }
            GuestRole::Peer(from) => {
                guest.connection.read_turn(scratch)?;
                guest.take_peer_messages(from, now, events)
            }
        }
    }

    fn greet(
        &mut self,
        token: usize,
        message: &Message,
        registry: &Registry,
        now: Instant,
        events: &mut Vec<Event>,
    ) -> Result<(), End> {
        if message.kind != Kind::Hello {
            return Err(End::Kind(message.kind));
        }
        let hello: Hello = body(message)?;
        let answer = self.house.admit(&hello, self.clients);
        let Some(guest) = self.guests.get_mut(&token) else { return Ok(()) };
        let remote = guest.connection.remote();
        if let Err(refusal) = answer {
            warn!(%remote, role = ?hello.role, cluster = ?hello.cluster, reason = ?refusal, "handshake refused");
            // A stranger's outbox is empty: it takes a refusal.
            let _queued = guest.connection.send(Kind::Refused, GroupId(0), &refusal, CLIENT_OUT_BYTES_MAX);
            guest.connection.flush()?;
            guest.connection.close_our_side();
            guest.role = GuestRole::Leaving;
            guest.since = now;
            return Ok(());
        }
        let _queued =
            guest.connection.send(Kind::Welcome, GroupId(0), &self.house.welcome, CLIENT_OUT_BYTES_MAX);
        guest.since = now;
        match hello.role {
            Role::Client => {
                guest.connection.set_keepalive()?;
                guest.role = GuestRole::Client;
                self.clients += 1;
                debug!(%remote, "client welcome");
            }
            Role::Peer { from, .. } => {
                guest.role = GuestRole::Peer(from);
                info!(%remote, peer = %from, "peer welcome");
                events.push(Event::PeerCame { from, address: hello.address });
                if let Some(old) = self.peers.insert(from, token) {
                    self.end(old, &End::Replaced, registry, events);
                }
            }
        }
        Ok(())
    }

    fn end(&mut self, token: usize, end: &End, registry: &Registry, events: &mut Vec<Event>) {
        let Some(guest) = self.guests.remove(&token) else { return };
        let remote = guest.connection.remote();
        match guest.role {
            GuestRole::Leaving => debug!(%remote, reason = %end, "refused connection ended"),
            GuestRole::Stranger if matches!(end, End::Closed) => debug!(%remote, "connection ended unused"),
            GuestRole::Stranger => warn!(%remote, reason = %end, "connection of a stranger ended"),
            GuestRole::Client => {
                self.clients -= 1;
                events.push(Event::ClientGone(ClientKey(token as u64)));
                match end {
                    End::Closed | End::Io(_) => debug!(%remote, reason = %end, "client gone"),
                    _ => warn!(%remote, reason = %end, "client's connection ended"),
                }
            }
            GuestRole::Peer(from) => {
                if self.peers.get(&from) == Some(&token) {
                    self.peers.remove(&from);
                    events.push(Event::PeerGone(from));
                }
                if matches!(end, End::Closed | End::Io(_)) {
                    events.push(Event::PeerClosed(from));
                }
                match end {
                    End::Closed | End::Replaced | End::Io(_) => {
                        info!(%remote, peer = %from, reason = %end, "peer gone");
                    }
                    _ => warn!(%remote, peer = %from, reason = %end, "peer's connection ended"),
                }
            }
        }
        guest.connection.close(registry);
    }
}

impl House {
    fn admit(&self, hello: &Hello, clients: usize) -> Result<(), HandshakeRefusal> {
        if hello.magic != MAGIC || hello.version != PROTOCOL_VERSION {
            return Err(HandshakeRefusal::Version { ours: PROTOCOL_VERSION });
        }
        let foreign = hello.cluster.is_some_and(|cluster| cluster != self.us.cluster);
        match hello.role {
            _ if foreign => Err(HandshakeRefusal::Cluster { ours: self.us.cluster }),
            Role::Client if clients >= CLIENTS_MAX => Err(HandshakeRefusal::Full),
            Role::Client => Ok(()),
            // A peer knows its cluster.
            Role::Peer { .. } if hello.cluster.is_none() => {
                Err(HandshakeRefusal::Cluster { ours: self.us.cluster })
            }
            // Member or not: it may know of a membership that we do not know yet (thesis §4.1).
            Role::Peer { from, to } if to == self.us.node && from != to => Ok(()),
            Role::Peer { .. } => Err(HandshakeRefusal::Node { ours: self.us.node }),
        }
    }
}

impl Guest {
    /// A client that does not read its answers is not listened to either.
    fn is_paused(&self) -> bool {
        self.role == GuestRole::Client && self.connection.waiting_bytes() > CLIENT_OUT_BYTES_PAUSE
    }

    /// Puts it into the lists that it belongs into.
    fn list(&mut self, token: usize, ready: &mut Vec<usize>, unsent: &mut Vec<usize>) {
        self.list_ready(token, ready);
        if !self.unsent && self.connection.waiting_bytes() > 0 {
            self.unsent = true;
            unsent.push(token);
        }
    }

    fn list_ready(&mut self, token: usize, ready: &mut Vec<usize>) {
        if !self.ready && !self.is_paused() && self.connection.has_work() {
            self.ready = true;
            ready.push(token);
        }
    }

    fn take_requests(&mut self, from: ClientKey, events: &mut Vec<Event>) -> Result<(), End> {
        for _ in 0..REQUESTS_PER_TURN {
            let Some(message) = self.connection.next_message() else { return Ok(()) };
            match message.kind {
                Kind::Request => events.push(Event::Request { from, request: body(&message)? }),
                Kind::Ping => self.pong(),
                kind => return Err(End::Kind(kind)),
            }
        }
        Ok(())
    }

    fn take_peer_messages(&mut self, from: NodeId, now: Instant, events: &mut Vec<Event>) -> Result<(), End> {
        while let Some(header) = self.connection.next_message() {
            self.since = now;
            if header.kind == Kind::Ping {
                self.pong();
                continue;
            }
            if header.kind == Kind::Beat {
                body::<()>(&header)?;
                events.push(Event::Beat(from));
                continue;
            }
            if header.kind == Kind::Move {
                events.push(Event::Letter { from, group: header.group, letter: body(&header)? });
                continue;
            }
            if header.kind == Kind::Control {
                let command: ByteBuf = body(&header)?;
                events.push(Event::Control(command.into_vec().into()));
                continue;
            }
            if (header.kind as u8) < Kind::RequestVote as u8 {
                return Err(End::Kind(header.kind));
            }
            let of_many = match header.kind {
                Kind::Heartbeats => Some(Kind::Heartbeat),
                Kind::HeartbeatReplies => Some(Kind::HeartbeatReply),
                _ => None,
            };
            if let Some(kind) = of_many {
                take_beats(from, &header, kind, events)?;
                continue;
            }
            let message: raft::Message = body(&header)?;
            if message.kind() != header.kind {
                return Err(End::Header { header: header.kind, body: message.kind() });
            }
            events.push(Event::Peer { from, group: header.group, message });
        }
        Ok(())
    }

    fn pong(&mut self) {
        // Without room for it there are answers unread, and those say as well that we are here.
        let _queued = self.connection.send(Kind::Pong, GroupId(0), &(), CLIENT_OUT_BYTES_MAX);
    }
}

fn body<T: DeserializeOwned>(message: &Message) -> Result<T, End> {
    decode(&message.body).map_err(|error| End::Body { kind: message.kind, error })
}

/// Heartbeats of several groups in one message, and nothing else among them.
fn take_beats(from: NodeId, header: &Message, kind: Kind, events: &mut Vec<Event>) -> Result<(), End> {
    let beats: Vec<(GroupId, raft::Message)> = body(header)?;
    for (group, message) in beats {
        if message.kind() != kind {
            return Err(End::Header { header: header.kind, body: message.kind() });
        }
        events.push(Event::Peer { from, group, message });
    }
    Ok(())
}
