//! A cluster and its clients in virtual time: a queue of events, each handled when its time has come, in an order that
//! the seed decides.

use std::cell::OnceCell;
use std::collections::{BTreeSet, VecDeque};

use ordeal_client::wire::{GroupId, Mark, NodeId, Reply, Request, ShardId};
use ordeal_history::Event as Noted;
use ordeal_node::engine::{BatchTicket, ClientKey, Input};
use ordeal_node::raft::Snapshot;
use rand::RngExt;
use rand_pcg::Pcg32;

use crate::checks::Checks;
use crate::client::{Action, Client, Hands, Sessions};
use crate::node::Node;
use crate::parcel::{Link, NODES_MAX, Parcel};
use crate::plan::{Plan, SECOND_US};
use crate::queue::Queue;
use crate::script::{Act, CallKind, Fault, Line, Script};
use crate::shards::Owners;
use crate::trace::Trace;
use crate::watcher::{self, Watcher};

/// After the last fault a cluster must answer everything, and be level, within this time: several elections, the longest
/// pauses of clients, a snapshot for whoever fell behind.
const SETTLE_US: u64 = 15 * SECOND_US;
/// And it must answer something within this time: a few elections, and an attempt of a client at a node that is gone.
const SERVE_US: u64 = 5 * SECOND_US;
/// A key gets so many operations, and so many of them that have no answer, or none yet, then another takes its place: the
/// judge decides each quickly. (What has no answer may have happened at any later time, or never.)
const KEY_OPERATIONS: u64 = 60;
const KEY_UNANSWERED: u64 = 6;

/// What will happen at some time. `life` is the start of the node that it belongs to: a dead one's events are void.
#[derive(Debug)]
pub enum Event {
    Tick {
        node: NodeId,
        life: u64,
    },
    Turn {
        node: NodeId,
        life: u64,
    },
    Synced {
        node: NodeId,
        life: u64,
        ticket: BatchTicket,
    },
    Worked {
        node: NodeId,
        life: u64,
        work: Input,
        /// What it wrote aside.
        stored: Option<(GroupId, Snapshot)>,
    },
    Deliver {
        link: Link,
        parcel: Parcel,
    },
    Request {
        node: NodeId,
        client: usize,
        connection: ClientKey,
        request: Request,
    },
    Hangup {
        node: NodeId,
        connection: ClientKey,
    },
    Answer {
        client: usize,
        node: NodeId,
        connection: ClientKey,
        id: u64,
        reply: Reply,
    },
    Broken {
        client: usize,
        node: NodeId,
        connection: ClientKey,
    },
    Closed {
        node: NodeId,
        peer: NodeId,
    },
    Connected {
        node: NodeId,
        peer: NodeId,
    },
    Wake {
        client: usize,
        number: u64,
    },
    Revive {
        node: NodeId,
    },
    /// The next line of the script.
    Script,
    Undo {
        fault: Fault,
        who: Vec<NodeId>,
    },
}

/// A key in use.
#[derive(Debug, Default, Clone)]
struct Slot {
    /// How many keys stood here before.
    turn: u64,
    operations: u64,
    /// Under way, or ended without an answer.
    unanswered: u64,
}

/// The world.
#[derive(Debug)]
pub struct World {
    pub plan: Plan,
    pub now_us: u64,
    /// By the number of their ids; nobody has number 0.
    pub nodes: Vec<Node>,
    /// Chance of each link, how many faults cut it, and how often its connection broke.
    pub links: Vec<Pcg32>,
    pub cut: Vec<u32>,
    pub epochs: Vec<u32>,
    pub checks: Checks,
    pub trace: Trace,
    pub faults: u64,
    /// Wishes of administrators for shards.
    pub reshapes: u64,
    /// Parts of snapshots that arrived, and beats of whole nodes.
    pub parts: u64,
    pub beats: u64,
    /// Places where bits changed on a disk.
    pub rotted: u64,
    /// How often a node found its disk full.
    pub filled: u64,
    queue: Queue,
    /// What is left of the script.
    script: VecDeque<Line>,
    clients: Vec<Client>,
    /// One a shard; as clients they come behind the others.
    pub watchers: Vec<Watcher>,
    /// What they must have been told in the end, once that is known.
    newest: OnceCell<Vec<Mark>>,
    chances: Vec<Pcg32>,
    /// Of those who share them.
    sessions: Vec<Sessions>,
    /// Calls of the script that wait until their client is free.
    calls: Vec<VecDeque<(CallKind, usize)>>,
    pub history: Vec<Noted>,
    pub operations: u64,
    connections: u64,
    slots: Vec<Slot>,
    /// All keys, for the final reads.
    keys: BTreeSet<String>,
    /// Final reads still to be begun, once there are any.
    finals: Option<BTreeSet<String>>,
    /// When everything was healed, and when something was first answered after that.
    healed_us: u64,
    served: bool,
}

impl World {
    /// The world before anything happened.
    pub fn new(plan: &Plan, script: &Script, print: bool) -> Self {
        let streams =
            |from: u64, count: u64| (from..from + count).map(|stream| Pcg32::new(plan.seed, stream));
        let clients = u32::try_from(plan.clients).expect("clients are few");
        let links = NODES_MAX * NODES_MAX;
        let mut world = World {
            now_us: 0,
            nodes: [NodeId(0)].into_iter().chain(plan.node_ids()).map(|id| Node::new(id, plan)).collect(),
            links: streams(1_000, links as u64).collect(),
            cut: vec![0; links],
            epochs: vec![0; links],
            checks: Checks::new(plan),
            trace: Trace::new(print),
            faults: 0,
            reshapes: 0,
            parts: 0,
            beats: 0,
            rotted: 0,
            filled: 0,
            queue: Queue::default(),
            script: script.0.iter().cloned().collect(),
            clients: (0..clients).map(Client::new).collect(),
            watchers: (0..u32::try_from(plan.shards).expect("a world is small"))
                .map(|shard| Watcher::new(ShardId(shard)))
                .collect(),
            newest: OnceCell::new(),
            chances: streams(200, plan.clients).chain(streams(400, plan.shards)).collect(),
            sessions: vec![Sessions::default(); clients as usize],
            calls: vec![VecDeque::new(); clients as usize],
            history: Vec::new(),
            operations: 0,
            connections: 0,
            slots: vec![Slot::default(); usize::try_from(plan.slots).expect("slots are few")],
            keys: BTreeSet::new(),
            finals: None,
            healed_us: 0,
            served: false,
            plan: plan.clone(),
        };
        world.plan.node_ids().for_each(|node| world.start(node));
        for watcher in 0..world.watchers.len() {
            world.later(1, Event::Wake { client: world.clients.len() + watcher, number: 0 });
        }
        world.await_script();
        world
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// A node, to change it.
    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0 as usize]
    }

    /// Lets the world run to its end: the script, then healing, then a final read of every key.
    pub fn run(&mut self) {
        while !self.is_settled() {
            let (at_us, event) = self.queue.pop().expect("ticks never end");
            self.now_us = at_us;
            if self.finals.is_none() && at_us >= self.plan.end_us() {
                self.heal_all();
                self.healed_us = at_us;
                self.calls.iter_mut().for_each(VecDeque::clear);
                self.finals = Some(self.keys.clone());
                (0..self.clients.len()).for_each(|client| self.next_call(client));
            }
            if self.finals.is_some() {
                let since_us = at_us - self.healed_us;
                assert!(self.served || since_us < SERVE_US, "recovery: nothing is served again");
                assert!(since_us < SETTLE_US, "recovery: the cluster does not settle");
            }
            self.happen(event);
        }
        self.checks.agree_at_the_end(&self.nodes);
        Owners::agree_at_the_end(&self.plan, &self.nodes);
        watcher::agree(&self.watchers, &self.history);
    }

    /// Puts an event into the queue.
    pub fn later(&mut self, delay_us: u64, event: Event) {
        self.queue.push(self.now_us + delay_us, event);
    }

    /// Whether every final read is answered and every node has applied the same.
    fn is_settled(&self) -> bool {
        let read = self.finals.as_ref().is_some_and(BTreeSet::is_empty);
        read && self.clients.iter().all(Client::is_idle)
            && self.moves_are_over()
            && self.checks.is_level(&self.nodes)
            && self.watchers_are_level()
    }

    /// Asked when no client does anything any more: then what was answered stays what it is.
    fn watchers_are_level(&self) -> bool {
        let newest = self.newest.get_or_init(|| watcher::newest(&self.watchers, &self.history));
        watcher::are_level(&self.watchers, newest)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Tick { node, life } => self.tick(node, life),
            Event::Turn { node, life } => self.turn(node, life),
            Event::Synced { node, life, ticket } => self.synced(node, life, ticket),
            Event::Worked { node, life, work, stored } => self.worked(node, life, work, stored.as_ref()),
            Event::Deliver { link, parcel } => self.deliver(link, parcel),
            Event::Request { node, client, connection, request } => {
                self.take_request(node, client, connection, request);
            }
            Event::Hangup { node, connection } => self.hang_up(node, connection),
            Event::Answer { client, node, connection, id, reply } => {
                let numbers = [1, client as u64, u64::from(node.0), id];
                self.trace.note(self.now_us, &numbers, || format!("c{client} <- {node}: #{id} {reply:?}"));
                match client.checked_sub(self.clients.len()) {
                    None => self.with_client(client, |client, hands| {
                        client.answered(hands, node, connection, id, reply);
                    }),
                    Some(watcher) => self.with_watcher(watcher, |watcher, hands| {
                        watcher.answered(hands, node, connection, id, reply);
                    }),
                }
            }
            Event::Broken { client, node, connection } => match client.checked_sub(self.clients.len()) {
                None => self.with_client(client, |client, hands| client.broken(hands, node, connection)),
                Some(watcher) => {
                    self.with_watcher(watcher, |watcher, hands| watcher.broken(hands, connection));
                }
            },
            Event::Closed { node, peer } => self.closed(node, peer),
            Event::Connected { node, peer } => self.connected(node, peer),
            Event::Wake { client, number } => match client.checked_sub(self.clients.len()) {
                None if self.clients[client].expects(number) => self.with_client(client, Client::wake),
                Some(watcher) if self.watchers[watcher].expects(number) => {
                    self.with_watcher(watcher, Watcher::wake);
                }
                None | Some(_) => {}
            },
            Event::Revive { node } => self.revive(node),
            Event::Script => self.next_line(),
            Event::Undo { fault, who } => self.undo(&fault, &who),
        }
    }

    fn await_script(&mut self) {
        if let Some(line) = self.script.front().filter(|line| line.at_us < self.plan.end_us()) {
            self.queue.push(line.at_us.max(self.now_us), Event::Script);
        }
    }

    fn next_line(&mut self) {
        let line = self.script.pop_front().expect("a line was awaited");
        self.await_script();
        if self.finals.is_some() {
            return;
        }
        match line.act {
            Act::Fault { fault, lasts_us } => self.befall(fault, lasts_us),
            Act::Reshape(wish) => self.reshape(&wish),
            Act::Call { client, call, slot } => {
                self.calls[client].push_back((call, slot));
                self.next_call(client);
            }
        }
    }

    /// What a client does next, when it is free: what the script says; at the end one of the final reads.
    fn next_call(&mut self, client: usize) {
        if !self.clients[client].is_idle() {
            return;
        }
        let (key, slot, call) = match &mut self.finals {
            Some(finals) => match finals.pop_first() {
                Some(key) => (key, None, CallKind::Read),
                None => return,
            },
            None => match self.calls[client].pop_front() {
                Some((call, slot)) => {
                    let (key, place) = self.take_slot(slot);
                    (key, Some(place), call)
                }
                None => return,
            },
        };
        let call = self.clients[client].call(call, &key, self.operations);
        self.trace.note(self.now_us, &[2, client as u64], || format!("c{client} calls {call:?} on {key}"));
        // A final read must be answered: that the cluster serves again is a promise.
        let time_us = if self.finals.is_some() { SETTLE_US } else { self.plan.deadline_us };
        self.with_client(client, |client, hands| client.begin(hands, &key, slot, call, time_us));
    }

    /// The key in use in a slot, for one more operation.
    fn take_slot(&mut self, at: usize) -> (String, (usize, u64)) {
        let slot = &mut self.slots[at];
        if slot.operations == KEY_OPERATIONS || slot.unanswered >= KEY_UNANSWERED {
            *slot = Slot { turn: slot.turn + 1, ..Slot::default() };
        }
        slot.operations += 1;
        slot.unanswered += 1;
        let key = format!("k{at}.{}", slot.turn);
        if slot.operations == 1 {
            self.keys.insert(key.clone());
        }
        (key, (at, slot.turn))
    }

    fn with_client(&mut self, client: usize, act: impl FnOnce(&mut Client, &mut Hands<'_>)) {
        let sharing = usize::try_from(self.plan.sharing).expect("clients are few");
        let mut hands = Hands {
            sessions: &mut self.sessions[client / sharing],
            now_us: self.now_us,
            plan: &self.plan,
            rng: &mut self.chances[client],
            actions: Vec::new(),
            history: &mut self.history,
            operations: &mut self.operations,
            connections: &mut self.connections,
        };
        act(&mut self.clients[client], &mut hands);
        let actions = hands.actions;
        self.perform(client, actions);
    }

    fn with_watcher(&mut self, watcher: usize, act: impl FnOnce(&mut Watcher, &mut Hands<'_>)) {
        let client = self.clients.len() + watcher;
        let mut hands = Hands {
            // It writes nothing.
            sessions: &mut Sessions::default(),
            now_us: self.now_us,
            plan: &self.plan,
            rng: &mut self.chances[client],
            actions: Vec::new(),
            history: &mut self.history,
            operations: &mut self.operations,
            connections: &mut self.connections,
        };
        act(&mut self.watchers[watcher], &mut hands);
        let actions = hands.actions;
        self.perform(client, actions);
    }

    /// Does what a client wants done.
    fn perform(&mut self, client: usize, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send { node, connection, request } => {
                    let delay_us = self.chances[client].random_range(100..=2_000);
                    self.later(delay_us, Event::Request { node, client, connection, request });
                }
                Action::Hangup { node, connection } => self.later(2_001, Event::Hangup { node, connection }),
                Action::Wake { at_us, number } => {
                    self.later(at_us - self.now_us, Event::Wake { client, number });
                }
                Action::Finished { slot, answered, unknown } => {
                    self.served |= self.finals.is_some() && answered;
                    if let Some(slot) = slot.map(|(at, turn)| (&mut self.slots[at], turn))
                        && slot.0.turn == slot.1
                        && !unknown
                    {
                        slot.0.unanswered -= 1;
                    }
                    self.next_call(client);
                }
            }
        }
    }
}
