//! A node of the world: the engine, its disk, and what a server would do between them and the network.

use std::collections::BTreeMap;

use ordeal_client::wire::{GroupId, Kind, NodeId, Request, encode};
use ordeal_node::engine::{BatchTicket, ClientKey, Engine, Input, Output};
use ordeal_node::kv::digest;
use ordeal_node::raft::Message;
use rand::RngExt;

use crate::disk::Disk;
use crate::world::{Event, World};

/// A tick of a perfect clock; each node's own is off by up to a twentieth.
const TICK_US: u64 = 10_000;
/// What the buffers of a paused process hold: beyond it messages are lost, as when a peer gives up on a connection.
const BACKLOG_MAX: usize = 2_000;

/// A node.
#[derive(Debug, Default)]
pub struct Node {
    /// None while it is down.
    pub engine: Option<Engine>,
    pub disk: Disk,
    /// Counts its starts.
    pub life: u64,
    /// How many faults stop it at this moment.
    pub paused: u32,
    /// What came while it was paused.
    backlog: Vec<Input>,
    /// Whether a turn is due already.
    turn_due: bool,
    /// When the last sync under way will be done: later ones are later.
    sync_until_us: u64,
    /// Whose connections these are.
    connections: BTreeMap<ClientKey, usize>,
}

impl Node {
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether it is up and not paused.
    pub fn is_awake(&self) -> bool {
        self.engine.is_some() && self.paused == 0
    }
}

impl World {
    /// A node starts from its disk.
    pub fn start(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).expect("a node of the plan");
        assert!(node.engine.is_none(), "{id} is started while it is down");
        node.life += 1;
        let config = self.plan.engine(id, node.life);
        let engine = Engine::new(config, node.disk.recover()).expect("a disk fits its node");
        node.engine = Some(engine);
        (node.turn_due, node.sync_until_us) = (false, 0);
        self.checks.started(id);
        self.trace.note(self.now_us, &[3, u64::from(id.0)], || format!("{id} starts"));
        let life = self.nodes[&id].life;
        let delay_us = self.rng.random_range(0..=TICK_US);
        self.later(delay_us, Event::Tick { node: id, life });
        self.turn_soon(id);
    }

    /// A node dies at once.
    pub fn crash(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).expect("a node of the plan");
        if node.engine.take().is_none() {
            return;
        }
        node.disk.crash(&mut self.rng);
        node.backlog.clear();
        let broken = std::mem::take(&mut node.connections);
        self.trace.note(self.now_us, &[4, u64::from(id.0)], || format!("{id} crashes"));
        for (connection, client) in broken {
            let delay_us = self.rng.random_range(100..=2_000);
            self.later(delay_us, Event::Broken { client, node: id, connection });
        }
    }

    /// A paused node goes on: what came meanwhile comes at once.
    pub fn resume(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).expect("a node of the plan");
        for input in std::mem::take(&mut node.backlog) {
            self.input(id, input);
        }
        self.turn_soon(id);
    }

    pub fn tick(&mut self, id: NodeId, life: u64) {
        if self.nodes[&id].life != life || self.nodes[&id].engine.is_none() {
            return;
        }
        if self.nodes[&id].is_awake() {
            self.input(id, Input::Tick);
        }
        let off = TICK_US / 20;
        let delay_us = TICK_US - off + u64::from(id.0) * 37 % (2 * off);
        self.later(delay_us, Event::Tick { node: id, life });
    }

    pub fn synced(&mut self, id: NodeId, life: u64, ticket: BatchTicket) {
        let node = self.nodes.get_mut(&id).expect("a node of the plan");
        if node.life != life || node.engine.is_none() {
            return;
        }
        node.disk.sync(ticket);
        self.trace.note(self.now_us, &[5, u64::from(id.0), ticket.0], || format!("{id} synced {}", ticket.0));
        self.input(id, Input::Persisted(ticket));
    }

    pub fn deliver(&mut self, to: NodeId, from: NodeId, group: GroupId, message: Message) {
        if self.cut.contains_key(&(from, to)) || self.nodes[&to].engine.is_none() {
            return;
        }
        let body = digest::checksum(0, &encode(&message));
        let numbers = [6, u64::from(to.0), u64::from(from.0), u64::from(group.0), u64::from(body)];
        self.trace.note(self.now_us, &numbers, || format!("{to} <- {from} {group}: {message:?}"));
        self.parts += u64::from(message.kind() == Kind::InstallSnapshot);
        self.input(to, Input::Peer { from, group, message });
    }

    pub fn take_request(&mut self, id: NodeId, client: usize, connection: ClientKey, request: Request) {
        let node = self.nodes.get_mut(&id).expect("a node of the plan");
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
        let node = self.nodes.get_mut(&id).expect("a node of the plan");
        if node.connections.remove(&connection).is_some() {
            self.input(id, Input::ClientGone(connection));
        }
    }

    /// The end of a node's turn: what its engine wants done is done, in order.
    pub fn turn(&mut self, id: NodeId, life: u64) {
        let node = self.nodes.get_mut(&id).expect("a node of the plan");
        if node.life != life {
            return;
        }
        node.turn_due = false;
        if !node.is_awake() {
            return;
        }
        let engine = node.engine.as_mut().expect("it is awake");
        let outputs: Vec<Output> = std::iter::from_fn(|| engine.poll()).collect();
        for output in outputs {
            self.do_output(id, output);
        }
        self.checks.after_turn(id, &self.nodes);
    }

    fn do_output(&mut self, id: NodeId, output: Output) {
        match output {
            Output::Send { to, group, message } => self.send(id, to, group, &message),
            Output::Persist(batch) => {
                let slow = self.rng.random_range(0..1_000) < self.plan.slow_sync_permille;
                let takes_us = self.rng.random_range(if slow { 50_000..=400_000 } else { 200..=3_000 });
                let (ticket, now_us) = (batch.ticket, self.now_us);
                let node = self.nodes.get_mut(&id).expect("a node of the plan");
                node.disk.write(batch);
                node.sync_until_us = node.sync_until_us.max(now_us + takes_us);
                let (life, delay_us) = (node.life, node.sync_until_us - now_us);
                self.later(delay_us, Event::Synced { node: id, life, ticket });
            }
            Output::Reply { to, answer } => {
                assert!(answer.node == id, "a node answers in its own name");
                let Some(&client) = self.nodes[&id].connections.get(&to) else { return };
                let delay_us = self.rng.random_range(100..=2_000);
                let (id, reply) = (answer.id, answer.reply);
                self.later(delay_us, Event::Answer { client, node: answer.node, connection: to, id, reply });
            }
        }
    }

    /// The network: most messages take a moment, some are late, some are doubled, some are lost.
    fn send(&mut self, from: NodeId, to: NodeId, group: GroupId, message: &Message) {
        let mut copies = 1;
        copies += u32::from(self.rng.random_range(0..1_000) < self.plan.doubled_permille);
        copies -= u32::from(self.rng.random_range(0..1_000) < self.plan.lost_permille);
        for _ in 0..copies {
            let late = self.rng.random_range(0..1_000) < self.plan.late_permille;
            let delay_us = self.rng.random_range(if late { 5_000..=500_000 } else { 200..=2_000 });
            self.later(delay_us, Event::Deliver { to, from, group, message: message.clone() });
        }
    }

    fn input(&mut self, id: NodeId, input: Input) {
        let node = self.nodes.get_mut(&id).expect("a node of the plan");
        if node.paused > 0 {
            // A finished sync is not lost: it is a fact, which the process finds when it goes on.
            if node.backlog.len() < BACKLOG_MAX || matches!(input, Input::Persisted(_)) {
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
        let delay_us = self.rng.random_range(0..=300);
        let node = self.nodes.get_mut(&id).expect("a node of the plan");
        if !node.turn_due && node.is_awake() {
            node.turn_due = true;
            let life = node.life;
            self.later(delay_us, Event::Turn { node: id, life });
        }
    }
}
