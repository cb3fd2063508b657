//! Engines wired to each other: messages arrive at once, disks are quick, unless a test says otherwise.

use std::collections::{BTreeMap, BTreeSet};

use ordeal_client::wire::{
    ClusterId, GroupId, NodeId, ReadLevel, Reply, Request, RequestBody, RoleName, SessionId, ShardId, WriteOp,
};

use crate::engine::{
    Batch, CONTROLLER, ClientKey, Engine, EngineConfig, Input, Output, RestoreJob, SnapshotJob, StoreJob,
};
use crate::mover::Message;
use crate::raft::{Index, Recovered};

pub(super) const SHARDS: u32 = 4;
pub(super) const CLIENT: ClientKey = ClientKey(1);

/// Some engines.
pub(super) struct Rig {
    pub(super) engines: BTreeMap<NodeId, Engine>,
    /// Cut off from all others.
    pub(super) isolated: BTreeSet<NodeId>,
    /// When set, the last part of a shard is lost on its way.
    pub(super) loses_seals: bool,
    /// When set, batches are not made durable by themselves.
    pub(super) slow_disks: bool,
    /// When set, snapshots are not taken by themselves, and wait here.
    pub(super) slow_snapshots: bool,
    pub(super) jobs: Vec<SnapshotJob>,
    pub(super) stores: Vec<(NodeId, StoreJob)>,
    pub(super) restores: Vec<RestoreJob>,
    /// Every batch, in order.
    pub(super) batches: Vec<(NodeId, Batch)>,
    replies: Vec<(ClientKey, u64, Reply)>,
    requests: u64,
    /// What clients know of the owners of shards.
    pub(super) epoch: u64,
}

/// Settings of a node among `nodes`, with so many groups.
pub(super) fn config(node: u32, nodes: u32, groups: u32) -> EngineConfig {
    let members = (1..=nodes).map(|node| (NodeId(node), format!("n{node}.test:4000"))).collect();
    let mut config = EngineConfig::new(NodeId(node), ClusterId(7), members, SHARDS, 42);
    config.groups = (1..=groups).map(GroupId).collect();
    config.full_append_bytes = 0;
    config
}

impl Rig {
    /// Fresh nodes.
    pub(super) fn new(nodes: u32, groups: u32) -> Self {
        let engine = |node| (NodeId(node), started(config(node, nodes, groups), BTreeMap::new()));
        Rig {
            engines: (1..=nodes).map(engine).collect(),
            isolated: BTreeSet::new(),
            loses_seals: false,
            slow_disks: false,
            slow_snapshots: false,
            jobs: Vec::new(),
            stores: Vec::new(),
            restores: Vec::new(),
            batches: Vec::new(),
            replies: Vec::new(),
            requests: 0,
            epoch: 0,
        }
    }

    /// One node, which leads all its groups already.
    pub(super) fn single(groups: u32) -> Self {
        let mut rig = Rig::new(1, groups);
        rig.elect();
        rig
    }

    /// Ticks everybody until one that is not isolated leads all data groups and has committed their first entries.
    pub(super) fn elect(&mut self) -> NodeId {
        for _ in 0..1_000 {
            self.tick();
            let leads = |engine: &Engine| {
                let groups = engine.status(0, 0).groups;
                let mut data = groups.iter().filter(|g| g.group != CONTROLLER);
                data.all(|g| g.role == RoleName::Leader && g.commit == g.last)
            };
            let mut free = self.engines.iter().filter(|(id, _)| !self.isolated.contains(id));
            if let Some((&id, _)) = free.find(|(_, engine)| leads(engine)) {
                return id;
            }
        }
        panic!("nobody leads");
    }

    pub(super) fn tick(&mut self) {
        self.engines.values_mut().for_each(|engine| engine.handle(Input::Tick));
        self.settle();
    }

    /// The same, and what all of them did by it.
    pub(super) fn tick_and_listen(&mut self) -> Vec<(NodeId, Output)> {
        self.engines.values_mut().for_each(|engine| engine.handle(Input::Tick));
        let mut heard = Vec::new();
        for id in self.engines.keys().copied().collect::<Vec<_>>() {
            heard.extend(self.turn(id).into_iter().map(|output| (id, output)));
        }
        for (id, output) in heard.clone() {
            self.do_output(id, output);
        }
        self.settle();
        heard
    }

    /// Whether every group rests on every node.
    pub(super) fn rests(&self) -> bool {
        let groups = self.engines.values().flat_map(|engine| engine.status(0, 0).groups);
        groups.into_iter().all(|group| group.at_rest)
    }

    /// Sends a request, without a turn; returns its id.
    pub(super) fn ask(&mut self, to: NodeId, from: ClientKey, body: RequestBody) -> u64 {
        self.requests += 1;
        let request = Request { id: self.requests, epoch: self.epoch, body };
        self.engines.get_mut(&to).expect("a node").handle(Input::Request { from, request });
        self.requests
    }

    /// Sends a request and lets everything come of it that can.
    pub(super) fn call(&mut self, to: NodeId, body: RequestBody) -> Vec<Reply> {
        let id = self.ask(to, CLIENT, body);
        self.settle();
        self.replies_to(id)
    }

    /// Opens a session in the shard of a key.
    pub(super) fn session(&mut self, to: NodeId, key: &str) -> SessionId {
        let shard = shard(key);
        match self.call(to, RequestBody::OpenSession { shard })[..] {
            [Reply::SessionOpened(session)] => session,
            ref other => panic!("no session: {other:?}"),
        }
    }

    /// Takes the replies to a request.
    pub(super) fn replies_to(&mut self, id: u64) -> Vec<Reply> {
        let (of, rest) = std::mem::take(&mut self.replies).into_iter().partition(|&(_, to, _)| to == id);
        self.replies = rest;
        let of: Vec<(ClientKey, u64, Reply)> = of;
        of.into_iter().map(|(_, _, reply)| reply).collect()
    }

    /// Turns of all nodes until nothing happens any more.
    pub(super) fn settle(&mut self) {
        loop {
            let mut quiet = true;
            for id in self.engines.keys().copied().collect::<Vec<_>>() {
                for output in self.turn(id) {
                    quiet = false;
                    self.do_output(id, output);
                }
            }
            if quiet {
                return;
            }
        }
    }

    /// One turn of one node: all its outputs, none of them done.
    pub(super) fn turn(&mut self, id: NodeId) -> Vec<Output> {
        let engine = self.engines.get_mut(&id).expect("a node");
        std::iter::from_fn(|| engine.poll()).collect()
    }

    fn do_output(&mut self, id: NodeId, output: Output) {
        match output {
            Output::Send { to, group, message } => {
                if !self.isolated.contains(&id) && !self.isolated.contains(&to) {
                    let receiver = self.engines.get_mut(&to).expect("a node");
                    receiver.handle(Input::Peer { from: id, group, message });
                }
            }
            Output::Letter { letter, .. }
                if self.loses_seals && matches!(letter.message, Message::Last { .. }) => {}
            Output::Letter { to, group, letter } => {
                if !self.isolated.contains(&id) && !self.isolated.contains(&to) {
                    let receiver = self.engines.get_mut(&to).expect("a node");
                    receiver.handle(Input::Letter { from: id, group, letter });
                }
            }
            Output::Control { to, command } => {
                if !self.isolated.contains(&id) && !self.isolated.contains(&to) {
                    self.engines.get_mut(&to).expect("a node").handle(Input::Control(command));
                }
            }
            Output::Beat { to } => {
                if !self.isolated.contains(&id) && !self.isolated.contains(&to) {
                    self.engines.get_mut(&to).expect("a node").handle(Input::Beat(id));
                }
            }
            Output::Persist(batch) => {
                let ticket = batch.ticket;
                self.batches.push((id, batch));
                if !self.slow_disks {
                    self.engines.get_mut(&id).expect("a node").handle(Input::Persisted(ticket));
                }
            }
            Output::Members(_) | Output::Welcome | Output::Discard(_) => {}
            Output::TakeSnapshot(job) if self.slow_snapshots => self.jobs.push(job),
            Output::TakeSnapshot(job) => {
                let taken = Input::SnapshotTaken(job.run());
                self.engines.get_mut(&id).expect("a node").handle(taken);
            }
            Output::StoreSnapshot(job) if self.slow_snapshots => self.stores.push((id, job)),
            Output::StoreSnapshot(job) => {
                let stored = Input::SnapshotStored(job.done());
                self.engines.get_mut(&id).expect("a node").handle(stored);
            }
            Output::RestoreSnapshot(job) if self.slow_snapshots => self.restores.push(job),
            Output::RestoreSnapshot(job) => {
                let restored = Input::SnapshotRestored(job.run());
                self.engines.get_mut(&id).expect("a node").handle(restored);
            }
            Output::Reply { to, answer } => {
                assert_eq!(answer.node, id);
                self.replies.push((to, answer.id, answer.reply));
            }
        }
    }

    /// The newest durable state of a node, as its batches wrote it.
    pub(super) fn recovered(&self, id: NodeId) -> BTreeMap<GroupId, Recovered> {
        let mut groups: BTreeMap<GroupId, Recovered> = BTreeMap::new();
        for (_, batch) in self.batches.iter().filter(|&&(node, _)| node == id) {
            for (group, persist) in batch.groups.clone() {
                let disk = groups.entry(group).or_default();
                disk.hard_state = persist.hard_state.unwrap_or(disk.hard_state);
                disk.snapshot = persist.snapshot.or(disk.snapshot.take());
                let from: Index = persist.truncate_from.unwrap_or(Index::MAX);
                disk.entries.retain(|entry| entry.id.index < from && entry.id.index >= persist.first);
                disk.entries.extend(persist.entries);
            }
        }
        groups
    }
}

/// An engine that starts.
pub(super) fn started(config: EngineConfig, recovered: BTreeMap<GroupId, Recovered>) -> Engine {
    Engine::new(config, recovered).expect("the disk fits")
}

/// The shard of a key.
pub(super) fn shard(key: &str) -> ShardId {
    ordeal_client::wire::shard_of(key.as_bytes(), SHARDS)
}

/// A key of each group, when there are two.
pub(super) fn keys_of_two_groups() -> [String; 2] {
    [0, 1].map(|rest| {
        let mut keys = (0..).map(|number| format!("key-{number}"));
        keys.find(|key| shard(key).0 % 2 == rest).expect("one hashes there")
    })
}

pub(super) fn append(session: SessionId, sequence: u64, key: &str, value: &str) -> RequestBody {
    let op = WriteOp::Append(value.into());
    RequestBody::Write { session, sequence, settled: sequence.saturating_sub(1), key: key.into(), op }
}

pub(super) fn read(key: &str, level: ReadLevel) -> RequestBody {
    RequestBody::Read { key: key.into(), level }
}
