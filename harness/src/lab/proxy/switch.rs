//! The thread of the proxy: accepts, dials, moves bytes, and obeys. It never blocks but for readiness.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use ordeal_client::wire::NodeId;

use super::net::Net;
use super::pair::{Far, Fate, Pair};
use super::traffic::Traffic;
use super::weather::{Manner, Weather};
use crate::lab::Link;

/// Connections at one time. 9 nodes with 8 links and 100 clients each are 1,000; two descriptors and up to 64 KiB each.
const PAIRS_MAX: usize = 2048;
/// Diallers that wait at one cut link; beyond it the oldest is let go. A node redials about once a second, and gives
/// up its earlier attempts.
const WAITING_MAX: usize = 32;
const EVENTS_PER_TURN: usize = 256;
const WAKER: Token = Token(0);
const LISTENERS_FROM: usize = 1;

/// Who is served by a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Route {
    /// One node dials another.
    Link(Link),
    /// Clients dial a node.
    Client(NodeId),
}

impl Route {
    fn target(self) -> NodeId {
        match self {
            Route::Link(link) => link.to,
            Route::Client(node) => node,
        }
    }
}

/// What the thread is told.
#[derive(Debug)]
pub(super) enum Command {
    /// Cut exactly these; say when it is done.
    Cut(BTreeSet<Link>, Sender<()>),
    /// What cut links do from the next cut on. Of a network of frames only.
    Manner(Manner),
    /// How frames are treated from now on; say when it is so. Of a network of frames only.
    Weather(Weather, Sender<()>),
    /// The answers of these nodes do not reach their clients from now on; say when it is so. Of a network of frames only.
    Mute(BTreeSet<NodeId>, Sender<()>),
    /// Say what was counted; nothing where no frames are.
    Count(Sender<Traffic>),
    /// Where a node listens, if it does.
    Target(NodeId, Option<SocketAddr>),
    /// End.
    Stop,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    More,
    Last,
}

/// The way to the thread.
#[derive(Debug)]
pub(super) struct Remote {
    waker: Waker,
    commands: Mutex<VecDeque<Command>>,
    probes: Mutex<BTreeSet<u16>>,
}

impl Remote {
    pub(super) fn tell(&self, command: Command) -> io::Result<()> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).push_back(command);
        self.waker.wake()
    }

    /// The next connection from this port of loopback is a probe.
    pub(super) fn expect_probe(&self, port: u16) {
        self.probes.lock().unwrap_or_else(PoisonError::into_inner).insert(port);
    }

    pub(super) fn forget_probe(&self, port: u16) {
        self.probes.lock().unwrap_or_else(PoisonError::into_inner).remove(&port);
    }

    fn is_probe(&self, port: u16) -> bool {
        self.probes.lock().unwrap_or_else(PoisonError::into_inner).contains(&port)
    }
}

/// The state of the thread.
#[derive(Debug)]
pub(super) struct Switch {
    poll: Poll,
    remote: Arc<Remote>,
    listeners: Vec<(Route, TcpListener)>,
    pairs: BTreeMap<usize, Pair>,
    next_pair: usize,
    again: BTreeSet<usize>,
    cut: BTreeSet<Link>,
    targets: BTreeMap<NodeId, SocketAddr>,
    /// Where frames are told apart: what befalls them.
    net: Option<Net>,
    /// Pairs with a frame that waits, by the time at which it goes on; some are there in vain.
    timers: BTreeSet<(Instant, usize)>,
}

impl Switch {
    pub(super) fn new(routes: impl Iterator<Item = Route>, net: Option<Net>) -> io::Result<Switch> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let mut listeners = Vec::new();
        for (at, route) in routes.enumerate() {
            let mut listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
            poll.registry().register(&mut listener, Token(LISTENERS_FROM + at), Interest::READABLE)?;
            listeners.push((route, listener));
        }
        let remote = Arc::new(Remote { waker, commands: Mutex::default(), probes: Mutex::default() });
        Ok(Switch {
            poll,
            remote,
            listeners,
            pairs: BTreeMap::new(),
            next_pair: 0,
            again: BTreeSet::new(),
            cut: BTreeSet::new(),
            targets: BTreeMap::new(),
            net,
            timers: BTreeSet::new(),
        })
    }

    pub(super) fn addresses(&self) -> BTreeMap<Route, SocketAddr> {
        let address = |(route, listener): &(Route, TcpListener)| Some((*route, listener.local_addr().ok()?));
        self.listeners.iter().filter_map(address).collect()
    }

    pub(super) fn remote(&self) -> Arc<Remote> {
        Arc::clone(&self.remote)
    }

    /// Serves until told to stop.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        loop {
            match self.poll.poll(&mut events, self.wait()) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::error!(%error, "the proxy cannot wait for its sockets");
                    return;
                }
            }
            // First, so that whoever connects after a command was given meets its effect.
            if self.obey() == Turn::Last {
                return;
            }
            for event in &events {
                match event.token() {
                    WAKER => {}
                    Token(token) if token < LISTENERS_FROM + self.listeners.len() => {
                        self.accept(token - LISTENERS_FROM);
                    }
                    token => self.ready(self.pair_of(token), event),
                }
            }
            self.note_due(Instant::now());
            for id in std::mem::take(&mut self.again) {
                self.advance(id);
            }
        }
    }

    /// How long to wait for readiness at most.
    fn wait(&self) -> Option<Duration> {
        if !self.again.is_empty() {
            return Some(Duration::ZERO);
        }
        self.timers.first().map(|(due, _)| due.saturating_duration_since(Instant::now()))
    }

    /// Pairs whose frames have waited long enough go on.
    fn note_due(&mut self, now: Instant) {
        while let Some(&(due, id)) = self.timers.first()
            && due <= now
        {
            self.timers.pop_first();
            self.again.insert(id);
        }
    }

    fn obey(&mut self) -> Turn {
        let commands =
            std::mem::take(&mut *self.remote.commands.lock().unwrap_or_else(PoisonError::into_inner));
        for command in commands {
            match command {
                Command::Cut(links, done) => {
                    self.set_cut(links);
                    // Whoever asked may have given up.
                    let _ = done.send(());
                }
                Command::Manner(manner) => {
                    if let Some(net) = &mut self.net {
                        net.manner = manner;
                    }
                }
                Command::Weather(weather, done) => {
                    if let Some(net) = &mut self.net {
                        net.weather = weather;
                    }
                    let _ = done.send(());
                }
                Command::Mute(nodes, done) => {
                    if let Some(net) = &mut self.net {
                        net.mute = nodes;
                    }
                    let _ = done.send(());
                }
                Command::Count(answer) => {
                    let _ = answer.send(self.net.as_ref().map(Net::traffic).unwrap_or_default());
                }
                Command::Target(node, Some(address)) => {
                    self.targets.insert(node, address);
                }
                Command::Target(node, None) => {
                    self.targets.remove(&node);
                }
                Command::Stop => return Turn::Last,
            }
        }
        Turn::More
    }

    /// Two tokens a pair: its near socket, then its far one.
    fn tokens_of(&self, id: usize) -> [Token; 2] {
        let first = LISTENERS_FROM + self.listeners.len() + 2 * id;
        [Token(first), Token(first + 1)]
    }

    fn pair_of(&self, token: Token) -> usize {
        (token.0 - LISTENERS_FROM - self.listeners.len()) / 2
    }

    fn is_cut(&self, route: Route) -> bool {
        match route {
            Route::Link(link) => self.cut.contains(&link),
            Route::Client(_) => false,
        }
    }

    fn set_cut(&mut self, links: BTreeSet<Link>) {
        let before = std::mem::replace(&mut self.cut, links);
        // Their readiness was noted and left aside; now they go on.
        let healed = |pair: &Pair| match pair.route {
            Route::Link(link) => before.contains(&link) && !self.cut.contains(&link),
            Route::Client(_) => false,
        };
        let ids: Vec<usize> = self.pairs.iter().filter(|(_, pair)| healed(pair)).map(|(&id, _)| id).collect();
        self.again.extend(ids);
        if self.manner() == Manner::Reset {
            let ids = self.pairs.iter().filter(|(_, pair)| self.is_cut(pair.route));
            for id in ids.map(|(&id, _)| id).collect::<Vec<_>>() {
                self.reset(id);
            }
        }
    }

    fn manner(&self) -> Manner {
        self.net.as_ref().map(|net| net.manner).unwrap_or_default()
    }

    /// Ends a connection at a cut gate the hard way.
    fn reset(&mut self, id: usize) {
        self.pairs.get(&id).iter().for_each(|pair| pair.refuse());
        self.net.iter_mut().for_each(Net::reset);
        self.end(id);
    }

    fn accept(&mut self, at: usize) {
        loop {
            let (route, listener) = &self.listeners[at];
            let route = *route;
            match listener.accept() {
                Ok((stream, peer)) => self.admit(route, stream, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The dialler is gone again, or descriptors are short: those who wait dial again.
                Err(error) => {
                    tracing::warn!(%error, ?route, "the proxy cannot accept a connection");
                    return;
                }
            }
        }
    }

    fn admit(&mut self, route: Route, stream: TcpStream, peer: SocketAddr) {
        let far = if self.remote.is_probe(peer.port()) { Far::Echo(peer.port()) } else { Far::Waiting };
        if self.is_cut(route) {
            self.let_oldest_go(route);
        }
        let id = self.next_pair;
        let mut pair = Pair::new(route, stream, far, self.net.is_some());
        let watched = Interest::READABLE | Interest::WRITABLE;
        let registered = self.poll.registry().register(pair.near(), self.tokens_of(id)[0], watched);
        if self.pairs.len() >= PAIRS_MAX || registered.is_err() {
            tracing::warn!(?route, "the proxy is full: a connection is refused");
            pair.refuse();
            return;
        }
        self.next_pair += 1;
        self.pairs.insert(id, pair);
        self.again.insert(id);
    }

    fn let_oldest_go(&mut self, route: Route) {
        let waits = |pair: &Pair| pair.route == route && matches!(pair.far, Far::Waiting);
        let mut waiting = self.pairs.iter().filter(|(_, pair)| waits(pair)).map(|(&id, _)| id);
        let oldest = waiting.next();
        if let Some(oldest) = oldest
            && waiting.count() + 1 >= WAITING_MAX
        {
            self.end(oldest);
        }
    }

    /// A socket of the pair is ready. At a cut gate only this counts: one who waited there has given up.
    fn ready(&mut self, id: usize, event: &Event) {
        let Some(pair) = self.pairs.get(&id) else { return };
        let gone = event.is_read_closed() || event.is_error();
        match pair.far {
            Far::Waiting | Far::Echo(_) if gone => self.end(id),
            Far::Waiting | Far::Echo(_) | Far::Node { .. } => self.advance(id),
        }
    }

    fn advance(&mut self, id: usize) {
        let Some(pair) = self.pairs.get(&id) else { return };
        let route = pair.route;
        let (is_cut, is_up) = (self.is_cut(route), matches!(pair.far, Far::Node { .. }));
        match (is_cut, self.manner()) {
            (true, Manner::Hold) => return,
            (true, Manner::Reset) => return self.reset(id),
            // Who dials now hears nothing, as a prober does.
            (true, Manner::Swallow) if !is_up => return,
            (true, Manner::Swallow) | (false, _) => {}
        }
        let far_token = self.tokens_of(id)[1];
        let Some(pair) = self.pairs.get_mut(&id) else { return };
        if matches!(pair.far, Far::Waiting) {
            let target = self.targets.get(&route.target());
            let dialled = target.ok_or_else(|| io::ErrorKind::ConnectionRefused.into()).and_then(|&target| {
                let watched = Interest::READABLE | Interest::WRITABLE;
                self.poll.registry().register(pair.dial(target)?, far_token, watched)
            });
            if dialled.is_err() {
                pair.refuse();
                self.end(id);
                return;
            }
        }
        let fate = pair.advance(&mut self.net, is_cut);
        self.timers.extend(pair.due().map(|due| (due, id)));
        match fate {
            Fate::Stays => {}
            Fate::Again => {
                self.again.insert(id);
            }
            Fate::Ends => self.end(id),
        }
    }

    /// Closes both sides; the sockets leave the poll with their descriptors.
    fn end(&mut self, id: usize) {
        self.again.remove(&id);
        if let Some(Pair { far: Far::Echo(port), .. }) = self.pairs.remove(&id) {
            self.remote.forget_probe(port);
        }
    }
}
