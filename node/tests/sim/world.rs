//! A cluster and its clients in virtual time: a queue of events, each handled when its time has come, in an order that
//! the seed decides.

use std::collections::{BTreeMap, BTreeSet};

use ordeal_client::wire::{GroupId, NodeId, Reply, Request};
use ordeal_history::{Call, Event as Noted, Outcome};
use ordeal_node::engine::{BatchTicket, ClientKey};
use ordeal_node::raft::Message;
use rand::RngExt;
use rand_pcg::Pcg32;

use crate::checks::Checks;
use crate::client::{Action, Client, Hands};
use crate::faults::Fault;
use crate::node::Node;
use crate::plan::{CLIENTS, Plan, SECOND_US};
use crate::trace::Trace;

/// After the last fault a cluster must answer everything within this time: several elections, the longest pauses of
/// clients, a snapshot for whoever fell behind.
const SETTLE_US: u64 = 15 * SECOND_US;
/// A key gets so many operations, and so many of them without an answer, then another takes its place: the judge decides
/// each quickly. (What has no answer may have happened at any later time, or never.)
const KEY_OPERATIONS: u64 = 60;
const KEY_UNKNOWN: u64 = 6;
/// Keys in use at a time.
const SLOTS: usize = 3;

/// What will happen at some time. `life` is the start of the node that it belongs to: a dead one's events are void.
#[derive(Debug)]
pub enum Event {
    Tick { node: NodeId, life: u64 },
    Turn { node: NodeId, life: u64 },
    Synced { node: NodeId, life: u64, ticket: BatchTicket },
    Deliver { to: NodeId, from: NodeId, group: GroupId, message: Message },
    Request { node: NodeId, client: usize, connection: ClientKey, request: Request },
    Hangup { node: NodeId, connection: ClientKey },
    Answer { client: usize, node: NodeId, connection: ClientKey, id: u64, reply: Reply },
    Broken { client: usize, node: NodeId, connection: ClientKey },
    Wake { client: usize, number: u64 },
    NextFault,
    Undo(Fault),
}

/// A key in use.
#[derive(Debug, Default)]
struct Slot {
    /// How many keys stood here before.
    turn: u64,
    operations: u64,
    unknown: u64,
}

/// The world.
#[derive(Debug)]
pub struct World {
    pub plan: Plan,
    pub now_us: u64,
    pub rng: Pcg32,
    pub nodes: BTreeMap<NodeId, Node>,
    /// Directed links that carry nothing, with how many faults cut each.
    pub cut: BTreeMap<(NodeId, NodeId), u32>,
    pub checks: Checks,
    pub trace: Trace,
    pub faults: u64,
    /// Parts of snapshots that arrived.
    pub parts: u64,
    queue: BTreeMap<(u64, u64), Event>,
    queued: u64,
    clients: Vec<Client>,
    pub history: Vec<Noted>,
    operations: u64,
    connections: u64,
    /// The keys in use.
    slots: [Slot; SLOTS],
    /// All keys, for the final reads.
    keys: BTreeSet<String>,
    /// Final reads still to be begun.
    finals: Option<BTreeSet<String>>,
}

impl World {
    pub fn new(plan: Plan) -> Self {
        let rng = Pcg32::new(plan.seed, 7);
        let mut world = World {
            nodes: BTreeMap::new(),
            cut: BTreeMap::new(),
            checks: Checks::new(&plan),
            trace: Trace::new(),
            faults: 0,
            parts: 0,
            queue: BTreeMap::new(),
            queued: 0,
            clients: (0..CLIENTS).map(Client::new).collect(),
            history: Vec::new(),
            operations: 0,
            connections: 0,
            slots: Default::default(),
            keys: BTreeSet::new(),
            finals: None,
            now_us: 0,
            rng,
            plan,
        };
        for node in world.plan.nodes.clone() {
            world.nodes.insert(node, Node::new());
            world.start(node);
        }
        for client in 0..world.clients.len() {
            world.later(SECOND_US / 2, Event::Wake { client, number: 0 });
        }
        world.later(world.plan.fault_every_us, Event::NextFault);
        world
    }

    /// Lets the world run to its end: faults for a while, then healing, then a final read of every key.
    pub fn run(&mut self) {
        while self.finals.is_none() || !self.is_settled() {
            let ((at_us, _), event) = self.queue.pop_first().expect("ticks never end");
            self.now_us = at_us;
            if self.finals.is_none() && at_us >= self.plan.faults_until_us {
                self.heal_all();
                self.finals = Some(self.keys.clone());
            }
            assert!(
                at_us < self.plan.faults_until_us + SETTLE_US,
                "the cluster does not serve again: {self:#?}"
            );
            self.happen(event);
        }
        self.checks.agree_at_the_end(&self.nodes);
    }

    /// Puts an event into the queue.
    pub fn later(&mut self, delay_us: u64, event: Event) {
        self.queued += 1;
        self.queue.insert((self.now_us + delay_us, self.queued), event);
    }

    /// How many operations clients began.
    pub fn operations(&self) -> u64 {
        self.operations
    }

    /// Whether every final read is answered and every node has applied the same.
    fn is_settled(&self) -> bool {
        let idle = self.clients.iter().all(Client::is_idle);
        idle && self.finals.as_ref().is_some_and(BTreeSet::is_empty) && Checks::is_level(&self.nodes)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Tick { node, life } => self.tick(node, life),
            Event::Turn { node, life } => self.turn(node, life),
            Event::Synced { node, life, ticket } => self.synced(node, life, ticket),
            Event::Deliver { to, from, group, message } => self.deliver(to, from, group, message),
            Event::Request { node, client, connection, request } => {
                self.take_request(node, client, connection, request);
            }
            Event::Hangup { node, connection } => self.hang_up(node, connection),
            Event::Answer { client, node, connection, id, reply } => {
                let numbers = [1, client as u64, u64::from(node.0), id];
                self.trace.note(self.now_us, &numbers, || format!("c{client} <- {node}: #{id} {reply:?}"));
                self.with_client(client, |client, hands| client.answered(hands, node, connection, id, reply));
            }
            Event::Broken { client, node, connection } => {
                self.with_client(client, |client, hands| client.broken(hands, node, connection));
            }
            Event::Wake { client, number } => self.wake(client, number),
            Event::NextFault => self.next_fault(),
            Event::Undo(fault) => self.undo(fault),
        }
    }

    fn wake(&mut self, client: usize, number: u64) {
        if !self.clients[client].expects(number) {
            return;
        }
        if !self.clients[client].is_idle() {
            self.with_client(client, |client, hands| client.wake(hands));
            return;
        }
        let Some((key, call)) = self.next_call(client) else { return };
        self.trace.note(self.now_us, &[2, client as u64], || format!("c{client} calls {call:?} on {key}"));
        // A final read must be answered: that the cluster serves again is a promise.
        let time_us = if self.finals.is_some() { SETTLE_US } else { self.plan.deadline_us };
        self.with_client(client, |client, hands| client.begin(hands, &key, call, time_us));
    }

    /// What this client does next: something by chance on one of the keys in use; at the end one of the final reads.
    fn next_call(&mut self, client: usize) -> Option<(String, Call)> {
        if let Some(finals) = &mut self.finals {
            return finals.pop_first().map(|key| (key, Call::Read));
        }
        let at = self.rng.random_range(0..SLOTS);
        let slot = &mut self.slots[at];
        if slot.operations == KEY_OPERATIONS || slot.unknown >= KEY_UNKNOWN {
            *slot = Slot { turn: slot.turn + 1, ..Slot::default() };
        }
        slot.operations += 1;
        let key = format!("k{at}.{}", slot.turn);
        self.keys.insert(key.clone());
        let call = self.clients[client].draw(&mut self.rng, &key, self.operations);
        Some((key, call))
    }

    /// Counts operations that ended without an answer.
    fn count_unknown(&mut self, from: usize) {
        for at in from..self.history.len() {
            let Noted::Return { op, outcome: Outcome::Unknown(_), .. } = &self.history[at] else { continue };
            let invoke = self.history[..at].iter().rev().find_map(|event| match event {
                Noted::Invoke { op: invoked, key, .. } => (invoked == op).then(|| key.clone()),
                Noted::Return { .. } => None,
            });
            let key = invoke.expect("what returns was invoked");
            for (at, slot) in self.slots.iter_mut().enumerate() {
                slot.unknown += u64::from(format!("k{at}.{}", slot.turn) == *key);
            }
        }
    }

    fn with_client(&mut self, client: usize, act: impl FnOnce(&mut Client, &mut Hands<'_>)) {
        let mut hands = Hands {
            now_us: self.now_us,
            plan: &self.plan,
            rng: &mut self.rng,
            actions: Vec::new(),
            history: &mut self.history,
            operations: &mut self.operations,
            connections: &mut self.connections,
        };
        let noted = hands.history.len();
        act(&mut self.clients[client], &mut hands);
        let actions = hands.actions;
        self.count_unknown(noted);
        for action in actions {
            match action {
                Action::Send { node, connection, request } => {
                    let delay_us = self.rng.random_range(100..=2_000);
                    self.later(delay_us, Event::Request { node, client, connection, request });
                }
                Action::Hangup { node, connection } => self.later(2_001, Event::Hangup { node, connection }),
                Action::Wake { at_us, number } => {
                    self.later(at_us - self.now_us, Event::Wake { client, number });
                }
            }
        }
    }
}
