//! A node of the world: the engine, its disk and its clock, and what a server would do between them and the network.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use ordeal_client::wire::{GroupId, Kind, NodeId, Request};
use ordeal_node::controller::Command;
use ordeal_node::engine::{BatchTicket, ClientKey, Engine, Input, Output};
use ordeal_node::raft::{Message, Snapshot};
use ordeal_node::storage::StorageError;
use rand::RngExt;
use rand_pcg::Pcg32;

use crate::deaths::Death;
use crate::disk::Disk;
use crate::parcel::{Link, Parcel, at, extent};
use crate::plan::Plan;
use crate::script::When;
use crate::world::{Event, World};

/// A tick of a perfect clock.
const TICK_US: u64 = 10_000;
/// Ticks that were missed in a pause and come at once when the node goes on, at most: as in the server.
const CATCH_UP_TICKS_MAX: u32 = 5;
/// When a connection that broke is there again, as in the server.
pub const REDIAL_US: RangeInclusive<u64> = 50_000..=200_000;
/// What finds no space is tried again after so long, as in the server.
const FULL_REST_US: u64 = 200_000;
/// What the buffers of a paused process hold: beyond it messages are lost, as when a peer gives up on a connection.
const BACKLOG_MAX: usize = 2_000;

/// A node.
#[derive(Debug)]
pub struct Node {
    /// None while it is down.
    pub engine: Option<Box<Engine>>,
    pub disk: Disk,
    /// Counts its starts.
    pub life: u64,
    /// How many faults stop it at this moment, and its disk.
    pub paused: u32,
    pub stalled: u32,
    /// It dies then, in this way.
    pub doomed: Option<(When, Death)>,
    /// Its disk lost what it had promised: it does not start again.
    pub dead: bool,
    /// What came while it was paused.
    backlog: Vec<Input>,
    missed_ticks: u32,
    /// Whether a turn is due already.
    turn_due: bool,
    /// When the last sync under way will be done: later ones are later.
    sync_until_us: u64,
    /// The newest write that is done as soon as the disk goes on.
    stalled_at: Option<BatchTicket>,
    /// Whose connections these are.
    connections: BTreeMap<ClientKey, usize>,
    /// Its clock's idea of a tick.
    tick_us: u64,
    /// Its own chance, so that what befalls one node changes little for the others.
    rng: Pcg32,
}

impl Node {
    /// A node that was never started.
    pub fn new(id: NodeId, plan: &Plan) -> Self {
        let mut rng = Pcg32::new(plan.seed, 100 + u64::from(id.0));
        let off = TICK_US * plan.drift_permille / 1_000;
        let tick_us = TICK_US - off + rng.random_range(0..=2 * off);
        Node {
            engine: None,
            disk: Disk::new(plan.seed, id.0),
            life: 0,
            paused: 0,
            stalled: 0,
            doomed: None,
            dead: false,
            backlog: Vec::new(),
            missed_ticks: 0,
            turn_due: false,
            sync_until_us: 0,
            stalled_at: None,
            connections: BTreeMap::new(),
            tick_us,
            rng,
        }
    }

    /// Whether it is up and not paused.
    pub fn is_awake(&self) -> bool {
        self.engine.is_some() && self.paused == 0
    }
}

impl World {
    /// A node starts from its disk.
    pub fn start(&mut self, id: NodeId) {
        let life = self.node(id).life + 1;
        let config = self.plan.engine(id, life);
        let node = self.node_mut(id);
        assert!(node.engine.is_none(), "{id} is started while it is down");
        let recovered = match node.disk.start() {
            Ok(recovered) => recovered,
            Err(error) if error.is_no_space() || node.disk.take_failure() => {
                return self.disk_failed(id, &error);
            }
            Err(error) => {
                assert!(node.disk.is_rotten(), "disk: {id} does not start: {error}");
                node.dead = true;
                self.trace
                    .note(self.now_us, &[15, u64::from(id.0)], || format!("{id} does not start: {error}"));
                return;
            }
        };
        let engine = Engine::new(config, recovered).expect("a disk fits its node");
        node.engine = Some(Box::new(engine));
        (node.life, node.turn_due, node.sync_until_us, node.stalled_at) = (life, false, 0, None);
        let delay_us = node.rng.random_range(0..=TICK_US);
        self.checks.started(id);
        self.trace.note(self.now_us, &[3, u64::from(id.0)], || format!("{id} starts"));
        self.later(delay_us, Event::Tick { node: id, life });
        self.turn_soon(id);
        for other in self.plan.node_ids().filter(|&other| other != id) {
            self.connect(id, other, 300..=2_000);
            self.connect(other, id, REDIAL_US);
        }
    }

    /// A node dies at once.
    pub fn crash(&mut self, id: NodeId, death: Death) {
        let node = self.node_mut(id);
        node.doomed = None;
        if node.engine.take().is_none() {
            return;
        }
        node.disk.die(death);
        node.backlog.clear();
        let broken = std::mem::take(&mut node.connections);
        self.trace.note(self.now_us, &[4, u64::from(id.0)], || format!("{id} crashes"));
        for (connection, client) in broken {
            let delay_us = self.node_mut(id).rng.random_range(100..=2_000);
            self.later(delay_us, Event::Broken { client, node: id, connection });
        }
        for other in self.plan.node_ids().filter(|&other| other != id) {
            self.close(id, other);
        }
    }

    /// A connection of `id` to another node breaks, as the other one will see it, unless the way there is cut.
    pub fn close(&mut self, id: NodeId, other: NodeId) {
        let delay_us = self.links[at(id, other)].random_range(100..=2_000);
        self.later(delay_us, Event::Closed { node: other, peer: id });
    }

    pub fn closed(&mut self, node: NodeId, peer: NodeId) {
        if self.cut[at(peer, node)] == 0 {
            self.trace.note(self.now_us, &[11, u64::from(node.0)], || format!("{node}: {peer} closed"));
            self.input(node, Input::PeerClosed(peer));
        }
    }

    /// A node dials another, and is connected after about this time.
    pub fn connect(&mut self, node: NodeId, peer: NodeId, after_us: RangeInclusive<u64>) {
        let delay_us = self.links[at(node, peer)].random_range(after_us);
        self.later(delay_us, Event::Connected { node, peer });
    }

    pub fn connected(&mut self, node: NodeId, peer: NodeId) {
        let cut = self.cut[at(node, peer)] + self.cut[at(peer, node)] > 0;
        if !cut && self.node(node).engine.is_some() && self.node(peer).is_awake() {
            self.trace.note(self.now_us, &[14, u64::from(node.0)], || format!("{node}: connected to {peer}"));
            self.input(node, Input::PeerUp(peer));
        }
    }

    /// A paused node goes on: what came meanwhile comes at once.
    pub fn resume(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        let missed_ticks = std::mem::take(&mut node.missed_ticks);
        let missed = std::mem::take(&mut node.backlog);
        (0..missed_ticks.min(CATCH_UP_TICKS_MAX)).for_each(|_| self.input(id, Input::Tick));
        if missed_ticks > CATCH_UP_TICKS_MAX {
            self.input(id, Input::TicksLost);
        }
        missed.into_iter().for_each(|input| self.input(id, input));
        self.turn_soon(id);
    }

    /// A stalled disk goes on.
    pub fn flow(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        if let Some(ticket) = node.stalled_at.take() {
            let life = node.life;
            self.later(0, Event::Synced { node: id, life, ticket });
        }
    }

    /// A clock jumps ahead.
    pub fn jump(&mut self, id: NodeId, ticks: u64) {
        if self.node(id).is_awake() {
            (0..ticks).for_each(|_| self.input(id, Input::Tick));
        }
    }

    pub fn tick(&mut self, id: NodeId, life: u64) {
        let node = self.node_mut(id);
        if node.life != life || node.engine.is_none() {
            return;
        }
        let tick_us = node.tick_us;
        if node.paused > 0 {
            node.missed_ticks += 1;
        } else {
            let space = match node.disk.idle().and_then(|()| node.disk.space_news()) {
                Ok(space) => space,
                Err(error) => return self.disk_failed(id, &error),
            };
            let engine = node.engine.as_mut().expect("it is up");
            let filled = space == Some(Input::DiskFull);
            space.into_iter().for_each(|news| engine.handle(news));
            engine.handle(Input::Tick);
            self.filled += u64::from(filled);
            self.take_turn(id);
        }
        self.later(tick_us, Event::Tick { node: id, life });
    }

    pub fn synced(&mut self, id: NodeId, life: u64, ticket: BatchTicket) {
        let node = self.node_mut(id);
        if node.life != life || node.engine.is_none() {
            return;
        }
        if node.stalled > 0 {
            node.stalled_at = node.stalled_at.max(Some(ticket));
            return;
        }
        match node.disk.sync(ticket) {
            Ok(()) => {}
            Err(error) if error.is_no_space() => {
                self.later(FULL_REST_US, Event::Synced { node: id, life, ticket });
                return;
            }
            Err(error) => return self.disk_failed(id, &error),
        }
        self.trace.note(self.now_us, &[5, u64::from(id.0), ticket.0], || format!("{id} synced {}", ticket.0));
        self.input(id, Input::Persisted(ticket));
    }

    /// A disk that failed is the end of the process. Somebody starts it again.
    fn disk_failed(&mut self, id: NodeId, error: &StorageError) {
        self.trace.note(self.now_us, &[16, u64::from(id.0)], || format!("{id}: {error}"));
        self.crash(id, Death::AT_ONCE);
        let delay_us = self.node_mut(id).rng.random_range(1_000..=500_000);
        self.later(delay_us, Event::Revive { node: id });
    }

    /// The work of another thread is done: a snapshot of a state, or a state of a snapshot.
    pub fn worked(&mut self, id: NodeId, life: u64, work: Input, stored: Option<&(GroupId, Snapshot)>) {
        if self.node(id).life == life && self.node(id).engine.is_some() {
            if let Some((group, snapshot)) = stored {
                self.node_mut(id).disk.store(*group, snapshot).expect("nothing stops it before its node");
            }
            let (number, what) = match &work {
                Input::SnapshotRestored(_) => (13, "restored"),
                Input::SnapshotStored(_) => (14, "stored"),
                _ => (12, "took"),
            };
            self.trace.note(self.now_us, &[number, u64::from(id.0)], || format!("{id} {what} a snapshot"));
            self.input(id, work);
        }
    }

    pub fn deliver(&mut self, link: Link, parcel: Parcel) {
        let Link { from, to, epoch } = link;
        let dropped = self.cut[at(from, to)] > 0 || self.epochs[at(from, to)] != epoch;
        if dropped || self.node(to).engine.is_none() {
            return;
        }
        let ids = u64::from(to.0) << 40 | u64::from(from.0) << 32;
        match parcel {
            Parcel::Message(group, message) => {
                let kind = message.kind();
                let ids = ids | u64::from(group.0) << 8 | kind as u64;
                self.trace.note(self.now_us, &[ids, message.term(), extent(&message)], || {
                    format!("{to} <- {from} {group}: {message:?}")
                });
                self.parts += u64::from(kind == Kind::InstallSnapshot);
                self.input(to, Input::Peer { from, group, message });
            }
            Parcel::Letter(group, letter) => {
                let ids = ids | u64::from(group.0) << 8 | Kind::Move as u64;
                let about = letter.message.move_id().0;
                self.trace.note(self.now_us, &[ids, about], || format!("{to} <- {from} {group}: {letter:?}"));
                self.input(to, Input::Letter { from, group, letter });
            }
            Parcel::Control(command) => {
                self.trace.note(self.now_us, &[ids | Kind::Control as u64], || {
                    format!("{to} <- {from}: for the controller: {:?}", Command::decode(&command))
                });
                self.input(to, Input::Control(command));
            }
            Parcel::Beat => {
                self.trace.note(self.now_us, &[ids | Kind::Beat as u64], || format!("{to} <- {from}: beat"));
                self.beats += 1;
                self.input(to, Input::Beat(from));
            }
        }
    }

    pub fn take_request(&mut self, id: NodeId, client: usize, connection: ClientKey, request: Request) {
        let node = self.node_mut(id);
        if node.engine.is_none() {
            self.later(500, Event::Broken { client, node: id, connection });
            return;
        }
        node.connections.insert(connection, client);
        let numbers = [7, u64::from(id.0), client as u64, request.id];
        self.trace.note(self.now_us, &numbers, || format!("{id} <- c{client}: {request:?}"));
        self.input(id, Input::Request { from: connection, request });
    }

    pub fn hang_up(&mut self, id: NodeId, connection: ClientKey) {
        if self.node_mut(id).connections.remove(&connection).is_some() {
            self.input(id, Input::ClientGone(connection));
        }
    }

    pub fn turn(&mut self, id: NodeId, life: u64) {
        let node = self.node_mut(id);
        if node.life != life {
            return;
        }
        node.turn_due = false;
        if node.is_awake() {
            self.take_turn(id);
        }
    }

    /// The end of a node's turn: what its engine wants done is done, in order.
    fn take_turn(&mut self, id: NodeId) {
        let (mut wrote, mut voted) = (false, false);
        let mut engine = self.node_mut(id).engine.take().expect("it is awake");
        while let Some(output) = engine.poll() {
            wrote |= matches!(output, Output::Persist(_));
            voted |= matches!(
                output,
                Output::Send { message: Message::RequestVoteReply { granted: true, pre: false, .. }, .. }
            );
            self.do_output(id, &engine, output);
        }
        self.node_mut(id).engine = Some(engine);
        self.checks.after_turn(id, &self.nodes);
        match self.node(id).doomed {
            Some((When::Writing, death)) if wrote => self.crash(id, death),
            Some((When::Voting, death)) if voted => {
                self.crash(id, death);
                let delay_us = self.node_mut(id).rng.random_range(100..=10_000);
                self.later(delay_us, Event::Revive { node: id });
            }
            Some(_) | None => {}
        }
    }

    fn do_output(&mut self, id: NodeId, engine: &Engine, output: Output) {
        match output {
            Output::Send { to, group, message } => self.send(id, to, Parcel::Message(group, message)),
            Output::Letter { to, group, letter } => self.send(id, to, Parcel::Letter(group, letter)),
            Output::Control { to, command } => self.send(id, to, Parcel::Control(command)),
            Output::Beat { to } => self.send(id, to, Parcel::Beat),
            Output::Persist(batch) => {
                let (slow_permille, now_us, ticket) =
                    (self.plan.slow_sync_permille, self.now_us, batch.ticket);
                self.checks.before_write(id, engine, &self.nodes[id.0 as usize].disk, &batch);
                let node = self.node_mut(id);
                let slow = node.rng.random_range(0..1_000) < slow_permille;
                let takes_us = node.rng.random_range(if slow { 50_000..=400_000 } else { 200..=3_000 });
                node.disk.write(batch);
                node.sync_until_us = node.sync_until_us.max(now_us + takes_us);
                let (life, delay_us) = (node.life, node.sync_until_us - now_us);
                self.later(delay_us, Event::Synced { node: id, life, ticket });
            }
            // The network carries everything to everybody.
            Output::Members(_) | Output::Welcome | Output::Discard(_) => {}
            Output::TakeSnapshot(job) => {
                let taken = job.run();
                let stored = (taken.group, taken.snapshot.clone());
                self.work_aside(id, Input::SnapshotTaken(taken), Some(stored));
            }
            Output::StoreSnapshot(job) => {
                let done = Input::SnapshotStored(job.done());
                self.work_aside(id, done, Some((job.group, job.snapshot)));
            }
            Output::RestoreSnapshot(job) => self.work_aside(id, Input::SnapshotRestored(job.run()), None),
            Output::Reply { to, answer } => {
                assert!(answer.node == id, "a node answers in its own name");
                let node = self.node_mut(id);
                let Some(&client) = node.connections.get(&to) else { return };
                let delay_us = node.rng.random_range(100..=2_000);
                let (id, reply) = (answer.id, answer.reply);
                self.later(delay_us, Event::Answer { client, node: answer.node, connection: to, id, reply });
            }
        }
    }

    /// Another thread's work: it takes its time, and the group goes on meanwhile.
    fn work_aside(&mut self, id: NodeId, work: Input, stored: Option<(GroupId, Snapshot)>) {
        let node = self.node_mut(id);
        let (life, delay_us) = (node.life, node.rng.random_range(100..=100_000));
        self.later(delay_us, Event::Worked { node: id, life, work, stored });
    }

    /// The network: most messages take a moment, some are late, some are doubled, some are lost.
    fn send(&mut self, from: NodeId, to: NodeId, parcel: Parcel) {
        let place = at(from, to);
        let (plan, rng) = (&self.plan, &mut self.links[place]);
        let link = Link { from, to, epoch: self.epochs[place] };
        let usual = plan.delay_us_min..=plan.delay_us_max;
        let delay = |rng: &mut Pcg32| {
            let late = rng.random_range(0..1_000) < plan.late_permille;
            rng.random_range(if late { 5_000..=500_000 } else { usual.clone() })
        };
        let doubled = rng.random_range(0..1_000) < plan.doubled_permille;
        let lost = rng.random_range(0..1_000) < plan.lost_permille;
        let (one, other) = (delay(rng), if doubled { delay(rng) } else { 0 });
        if doubled {
            self.later(other, Event::Deliver { link, parcel: parcel.clone() });
        }
        if !lost {
            self.later(one, Event::Deliver { link, parcel });
        }
    }

    pub fn input(&mut self, id: NodeId, input: Input) {
        let node = self.node_mut(id);
        if node.paused > 0 {
            // A finished sync is not lost: it is a fact, which the process finds when it goes on.
            if node.backlog.len() < BACKLOG_MAX
                || matches!(
                    input,
                    Input::Persisted(_)
                        | Input::DiskFull
                        | Input::DiskHasRoom
                        | Input::SnapshotTaken(_)
                        | Input::SnapshotStored(_)
                        | Input::SnapshotRestored(_)
                )
            {
                node.backlog.push(input);
            }
            return;
        }
        let Some(engine) = &mut node.engine else { return };
        engine.handle(input);
        self.turn_soon(id);
    }

    /// A turn takes all inputs that come within a moment.
    fn turn_soon(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        if !node.turn_due && node.is_awake() {
            node.turn_due = true;
            let (life, delay_us) = (node.life, node.rng.random_range(0..=300));
            self.later(delay_us, Event::Turn { node: id, life });
        }
    }
}
