//! The hands of a node: one event loop that moves bytes and events between sockets, clock, disk and engine, and a thread
//! that waits for the disk (`disk.rs`). It decides nothing.
//!
//! ```text
//!   one turn:   wait ──▶ what the disk has done ──▶ read links, peers, clients ──▶ ticks ──▶ drive the engine ──▶ write
//!                                                                                       │
//!               drive:  poll ─┬─ Send ────▶ the link's frame of this turn               │
//!                             ├─ Persist ─▶ the disk thread; Input::Persisted comes in a later turn
//!                             └─ Reply ───▶ the client's frame of this turn
//! ```
//!
//! A read from a socket comes before the ticks of the same turn, so that a process that was stopped for a while hears what
//! happened meanwhile before it feels the time. Every limit is named in `limits.rs`. What is wrong with a connection ends
//! that connection; what is wrong with the disk, or with a promise of ours, ends the process.

mod clock;
mod connection;
mod disk;
mod error;
mod incoming;
mod limits;
mod links;
mod losses;
mod snapshots;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token, Waker};
use ordeal_client::wire::{AdminChange, Answer, Kind, MemberChange, RefusalReason, Reply, RequestBody};
use rand::SeedableRng;
use rand_pcg::Pcg64;
use serde_bytes::Bytes;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;
use tracing::{info, warn};

pub use error::ServerError;

use crate::config::{NodeConfig, TICK};
use crate::engine::{Batch, CONTROLLER, Engine, EngineConfig, Input, Output};
use crate::storage::{Storage, StorageError};
use clock::Clock;
use disk::{Disk, Store};
use error::loop_error;
use incoming::{Event, House, Incoming};
use limits::{ACCEPT_REST, ACCEPTS_PER_TURN, HANDOVER_MAX, LINKS_MAX, READ_BYTES};
use links::Links;
use losses::Losses;
use snapshots::SnapshotThread;

const LISTENER: Token = Token(0);
const SIGNALS: Token = Token(1);
const WAKER: Token = Token(2);
const FIRST_LINK: usize = 3;

/// Events taken from the kernel at once; the rest come in the next turn.
const EVENTS_PER_TURN: usize = 1_024;

/// A node at work.
pub struct Server {
    poll: Poll,
    listener: TcpListener,
    signals: Option<Signals>,
    stop: StopHandle,
    links: Links,
    incoming: Incoming,
    engine: Engine,
    disk: Disk,
    snapshots: SnapshotThread,
    /// Whether the engine was told that the disk is full.
    lacks_space: bool,
    losses: Losses,
    clock: Clock,
    started: Instant,
    /// Whether somebody may be waiting to be accepted.
    accepting: bool,
    accept_from: Instant,
    scratch: Box<[u8; READ_BYTES]>,
    /// What came in during this turn.
    came: Vec<Event>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("links", &self.links).finish_non_exhaustive()
    }
}

/// Stops a server from another thread.
#[derive(Debug, Clone)]
pub struct StopHandle {
    stop: Arc<AtomicBool>,
    waker: Arc<Waker>,
}

impl StopHandle {
    /// Lets the server end its turn and return from [`Server::run`].
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        if let Err(error) = self.waker.wake() {
            // The next tick, 10 ms later, wakes it as well.
            warn!(reason = %error, "stop without a wake-up");
        }
    }
}

impl Server {
    /// Listens on the configured address, opens the data directory, and is ready to run.
    ///
    /// # Errors
    /// [`ServerError`], also for everything that is wrong with the data directory.
    pub fn bind(config: &NodeConfig) -> Result<Server, ServerError> {
        let listen = |source| ServerError::Listen { address: config.listen, source };
        // First the address: whoever started the same node twice is told so before anything is touched.
        Server::open(config, StdListener::bind(config.listen).map_err(listen)?)
    }

    /// As [`Server::bind`], on a listener that there is already.
    ///
    /// # Errors
    /// [`ServerError`], also for everything that is wrong with the data directory.
    pub fn open(config: &NodeConfig, listener: StdListener) -> Result<Server, ServerError> {
        let now = Instant::now();
        let us = config.identity();
        let (storage, recovered) = Storage::open(&config.dir, &us, config.storage())?;
        let flags = config.first_members();
        let first = storage.first_members(&flags)?;
        if !first.keys().eq(flags.keys()) {
            warn!(
                ?first,
                ?flags,
                "the directory was begun with other members than the flags name: the log decides"
            );
        }
        let directory = storage.directory();
        let engine = EngineConfig { incarnation: incarnation(), directory, ..config.engine(first) };
        let engine = Engine::new(engine, recovered)?;
        let losses = Losses::found(&engine.status(0, 0), now);

        let poll = Poll::new().map_err(loop_error("poll"))?;
        listener.set_nonblocking(true).map_err(loop_error("listener"))?;
        let mut listener = TcpListener::from_std(listener);
        let registry = poll.registry();
        registry.register(&mut listener, LISTENER, Interest::READABLE).map_err(loop_error("listener"))?;
        let waker = Waker::new(registry, WAKER).map_err(loop_error("waker"))?;

        // Two nodes of a cluster with one seed must not dial in step.
        let chance = Pcg64::seed_from_u64(config.seed ^ (u64::from(us.node.0) << 32));
        let address = config.members.get(&us.node).map_or_else(String::new, ToString::to_string);
        let mut links = Links::new(us, config.layout(), address, config.dial.clone(), FIRST_LINK, chance);
        links.follow(engine.members(), registry, now);
        let house = House { us, welcome: engine.welcome() };
        let incoming = Incoming::new(house, FIRST_LINK + LINKS_MAX, now);
        let waker = Arc::new(waker);
        let snapshots = SnapshotThread::start(storage.snapshots(), Arc::clone(&waker))?;
        let disk = Disk::start(storage, Arc::clone(&waker))?;
        Ok(Server {
            poll,
            listener,
            signals: None,
            stop: StopHandle { stop: Arc::new(AtomicBool::new(false)), waker },
            links,
            incoming,
            engine,
            disk,
            snapshots,
            lacks_space: false,
            losses,
            clock: Clock::new(TICK, now),
            started: now,
            accepting: true,
            accept_from: now,
            scratch: Box::new([0; READ_BYTES]),
            came: Vec::new(),
        })
    }

    /// Where this node listens: the actual port, where 0 was asked for.
    ///
    /// # Errors
    /// [`ServerError::Loop`] when the operating system does not say.
    pub fn address(&self) -> Result<SocketAddr, ServerError> {
        self.listener.local_addr().map_err(loop_error("listener"))
    }

    /// Something to stop this server with.
    #[must_use]
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// Takes SIGTERM and SIGINT of the process as a wish to stop.
    ///
    /// # Errors
    /// [`ServerError::Loop`] when the signals cannot be had.
    pub fn stop_on_signals(&mut self) -> Result<(), ServerError> {
        let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(loop_error("signals"))?;
        self.poll
            .registry()
            .register(&mut signals, SIGNALS, Interest::READABLE)
            .map_err(loop_error("signals"))?;
        self.signals = Some(signals);
        Ok(())
    }

    /// Works until it is told to stop.
    ///
    /// # Errors
    /// [`ServerError`] when the disk or the event loop fails: the node must not go on then, and nothing was tried twice.
    pub fn run(&mut self) -> Result<(), ServerError> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        while !self.stop.stop.load(Ordering::Acquire) {
            self.turn(&mut events)?;
        }
        self.hand_over(&mut events)?;
        info!("stopped as asked");
        Ok(())
    }

    /// Lets others lead what is led here, so that nobody waits for an election timeout (thesis §3.10).
    fn hand_over(&mut self, events: &mut Events) -> Result<(), ServerError> {
        let until = Instant::now() + HANDOVER_MAX;
        self.engine.handle(Input::HandOver);
        while self.engine.hands_over() && Instant::now() < until {
            self.turn(events)?;
        }
        Ok(())
    }

    fn turn(&mut self, events: &mut Events) -> Result<(), ServerError> {
        self.wait(events)?;
        let now = Instant::now();
        if let Some(ticket) = self.disk.news()? {
            self.engine.handle(Input::Persisted(ticket));
        }
        self.look_at_space();
        if self.losses.is_due(now) {
            self.losses.tell(&self.engine.status(0, 0), now);
        }
        while let Some(done) = self.snapshots.news()? {
            self.engine.handle(done);
        }
        self.accept(now);
        // What is not read waits with the sockets' buffers, and then with those who write to us.
        if !self.disk.is_full() {
            self.links.turn(self.poll.registry(), &mut self.scratch, now);
            self.incoming.turn(self.poll.registry(), &mut self.scratch, now, &mut self.came);
        }
        self.take_in(now);
        // A clock that was read after the requests were: no read is confirmed by a lease that ended before it came.
        let due = self.clock.due(Instant::now());
        for _ in 0..due.ticks {
            self.engine.handle(Input::Tick);
        }
        if due.lost {
            self.engine.handle(Input::TicksLost);
        }
        self.drive(now);
        self.links.flush(self.poll.registry(), now);
        self.incoming.flush(self.poll.registry(), &mut self.came);
        Ok(())
    }

    /// Tells when the disk is full, and when there is space again.
    fn look_at_space(&mut self) {
        let lacks = self.disk.lacks_space();
        if lacks == self.lacks_space {
            return;
        }
        self.lacks_space = lacks;
        if lacks {
            warn!("disk full: no entries are taken; hint: df -h");
            self.engine.handle(Input::DiskFull);
        } else {
            info!("the disk has space again");
            self.engine.handle(Input::DiskHasRoom);
        }
    }

    fn wait(&mut self, events: &mut Events) -> Result<(), ServerError> {
        let now = Instant::now();
        let readable = self.links.has_work() || self.incoming.has_work();
        let left_over = (readable && !self.disk.is_full())
            || !self.came.is_empty()
            || (self.accepting && self.accept_from <= now);
        let timeout = if left_over { Duration::ZERO } else { self.clock.wait(now) };
        match self.poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                return Err(loop_error("poll")(error));
            }
            Ok(()) | Err(_) => {}
        }
        for event in events.iter() {
            match event.token() {
                LISTENER => self.accepting = true,
                SIGNALS => self.note_signals(),
                WAKER => {}
                _ => {
                    self.links.note(event);
                    self.incoming.note(event);
                }
            }
        }
        Ok(())
    }

    fn note_signals(&mut self) {
        for signal in self.signals.iter_mut().flat_map(Signals::pending) {
            info!(signal, "asked to stop");
            self.stop.stop.store(true, Ordering::Release);
        }
    }

    fn accept(&mut self, now: Instant) {
        if !self.accepting || now < self.accept_from {
            return;
        }
        for _ in 0..ACCEPTS_PER_TURN {
            match self.listener.accept() {
                Ok((stream, remote)) => self.incoming.accept(stream, remote, self.poll.registry(), now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.accepting = false;
                    return;
                }
                // Gone before it was accepted: the next one may be fine.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    warn!(reason = %error, "no connection can be accepted for now");
                    self.accept_from = now + ACCEPT_REST;
                    return;
                }
            }
        }
    }

    /// Hands the engine what came in during this turn.
    fn take_in(&mut self, now: Instant) {
        for event in std::mem::take(&mut self.came) {
            match event {
                Event::Peer { from, group, message } => {
                    self.engine.handle(Input::Peer { from, group, message });
                }
                Event::Letter { from, group, letter } => {
                    self.engine.handle(Input::Letter { from, group, letter });
                }
                Event::Control(command) => self.engine.handle(Input::Control(command)),
                Event::Beat(node) => self.engine.handle(Input::Beat(node)),
                Event::Request { from, request } if request.body == RequestBody::Status => {
                    let uptime_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
                    let status = self.engine.status(uptime_ms, self.disk.log_disk_bytes());
                    let reply = Reply::Status(Box::new(status));
                    let answer = Answer { id: request.id, node: self.engine.welcome().node, reply };
                    self.incoming.reply(from, &answer, self.poll.registry(), &mut self.came);
                }
                Event::Request { from, request } => match unfit(&request.body) {
                    Some(reason) => {
                        let reply = Reply::Refused(reason);
                        let answer = Answer { id: request.id, node: self.engine.welcome().node, reply };
                        self.incoming.reply(from, &answer, self.poll.registry(), &mut self.came);
                    }
                    None => self.engine.handle(Input::Request { from, request }),
                },
                Event::ClientGone(client) => self.engine.handle(Input::ClientGone(client)),
                Event::PeerCame { from, address } => {
                    self.links.came(from, address, self.poll.registry(), now);
                }
                Event::PeerGone(peer) => self.links.gone(peer, self.poll.registry(), now),
                Event::PeerClosed(peer) => self.engine.handle(Input::PeerClosed(peer)),
            }
        }
        // Behind what the member said before it went.
        for peer in self.links.take_closed() {
            self.engine.handle(Input::PeerClosed(peer));
        }
        for peer in self.links.take_up() {
            self.engine.handle(Input::PeerUp(peer));
        }
    }

    /// Does what the engine wants, until it wants nothing more.
    fn drive(&mut self, now: Instant) {
        while let Some(output) = self.engine.poll() {
            match output {
                Output::Send { to, group, message } => self.links.send(to, group, message),
                Output::Letter { to, group, letter } => self.links.post(to, Kind::Move, group, &letter),
                Output::Control { to, command } => {
                    self.links.post(to, Kind::Control, CONTROLLER, &Bytes::new(&command));
                }
                Output::Beat { to } => self.links.beat(to),
                Output::Reply { to, answer } => {
                    self.incoming.reply(to, &answer, self.poll.registry(), &mut self.came);
                }
                Output::Members(members) => {
                    self.links.follow(&members, self.poll.registry(), now);
                    self.incoming.tell(self.engine.welcome());
                }
                Output::Welcome => self.incoming.tell(self.engine.welcome()),
                // The followers' disks work while ours does (thesis §10.2.1).
                Output::Persist(batch) => self.disk.write(batch),
                Output::TakeSnapshot(job) => self.snapshots.take(job),
                Output::StoreSnapshot(job) => self.snapshots.store(job),
                Output::RestoreSnapshot(job) => self.snapshots.restore(job),
                Output::Discard(leftover) => self.snapshots.discard(leftover),
            }
        }
    }
}

/// An address that nobody could dial is refused before it gets into a log.
fn unfit(body: &RequestBody) -> Option<RefusalReason> {
    let addresses: Vec<&String> = match body {
        RequestBody::ChangeMembers {
            change: MemberChange::Add { address, .. } | MemberChange::AddLearner { address, .. },
            ..
        } => vec![address],
        RequestBody::Admin {
            change: AdminChange::Join(groups) | AdminChange::Create { groups, .. }, ..
        } => groups.values().flat_map(|members| members.values()).collect(),
        _ => return None,
    };
    let wrong = addresses.into_iter().find(|address| address.parse::<SocketAddr>().is_err())?;
    Some(RefusalReason::Unfit(format!("`{wrong}` is no address like 127.0.0.1:7101")))
}

impl Store for Storage {
    fn persist_all(&mut self, batches: &[Batch]) -> Result<(), StorageError> {
        Storage::persist_all(self, batches)
    }

    fn mark(&mut self) -> Result<(), StorageError> {
        Storage::mark(self)
    }

    fn has_room(&mut self) -> Result<bool, StorageError> {
        Storage::has_room(self)
    }

    fn log_disk_bytes(&self) -> u64 {
        Storage::log_disk_bytes(self)
    }
}

/// Another number for each start: the time, and for two within a nanosecond, or with a clock set back, the process.
fn incarnation() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX) ^ (u64::from(std::process::id()) << 40)
}
