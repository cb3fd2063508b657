//! The engine: inputs to the groups they concern, the groups' wishes to one ordered stream of outputs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ordeal_client::wire::{Answer, GroupId, NodeId, NodeStatus, Reply, Welcome};

use super::changes::Watches;
use super::config::{CONTROLLER, EngineConfig, EngineError};
use super::frozen::Frozen;
use super::group::{Group, Wishes};
use super::io::{Batch, BatchTicket, ClientKey, Input, Output, StoredSnapshot, TakenSnapshot};
use super::members::Members;
use super::moves::Moves;
use super::space::Space;
use super::waiters::{Waiter, Waiters};
use crate::raft::{self, Index, Membership, Message, Persist, Recovered, Term, Ticket};

/// A node without a world.
#[derive(Debug)]
pub struct Engine {
    pub(super) config: EngineConfig,
    pub(super) groups: BTreeMap<GroupId, Group>,
    pub(super) members: Members,
    pub(super) moves: Moves,
    pub(super) frozen: Frozen,
    pub(super) watches: Watches,
    pub(super) waiters: Waiters,
    pub(super) outputs: VecDeque<Output>,
    pub(super) space: Space,
    /// Ticks since this node started.
    pub(super) ticks: u64,
    /// Number of the newest batch.
    batches: u64,
    /// Batches given out and not yet durable, with the writes in them, oldest first.
    outstanding: VecDeque<(BatchTicket, Vec<(GroupId, Ticket)>)>,
}

impl Engine {
    /// A node as its disk remembered it; groups that the cluster began with and the disk does not know start empty. Those that it
    /// knows beyond were made later, and say themselves who belongs to them.
    ///
    /// # Errors
    /// [`EngineError`] when what the disk remembered does not fit the configuration or this build.
    ///
    /// # Panics
    /// When the configuration makes no sense: a node that is no member, no shards, no groups.
    pub fn new(
        config: EngineConfig,
        mut recovered: BTreeMap<GroupId, Recovered>,
    ) -> Result<Self, EngineError> {
        config.check();
        let mut groups = BTreeMap::new();
        for &id in [CONTROLLER].iter().chain(&config.groups) {
            groups.insert(id, Group::new(&config, id, recovered.remove(&id).unwrap_or_default(), 0)?);
        }
        for (id, recovered) in recovered {
            groups.insert(id, Group::new(&config, id, recovered, 0)?);
        }
        let mut engine = Engine {
            members: Members::of(&config, &groups),
            moves: Moves::new(groups[&CONTROLLER].state.latest().expect("the controller's")),
            frozen: Frozen::default(),
            watches: Watches::default(),
            config,
            groups,
            waiters: Waiters::default(),
            outputs: VecDeque::new(),
            space: Space::default(),
            ticks: 0,
            batches: 0,
            outstanding: VecDeque::new(),
        };
        engine.make_groups();
        Ok(engine)
    }

    /// Takes what happened. Nothing comes of it before [`Engine::poll`].
    ///
    /// # Panics
    /// When a batch is reported durable that was never given out, or a status is asked for (see [`Engine::status`]).
    pub fn handle(&mut self, input: Input) {
        match input {
            Input::Tick => self.tick(),
            Input::Beat(node) => {
                for group in self.groups.values_mut() {
                    group.raft.node_alive(node);
                }
            }
            Input::Peer { from, group, message } => self.peer(from, group, message),
            Input::Letter { from, group, letter } => self.letter(from, group, letter),
            Input::Control(command) => self.control(&command),
            Input::TicksLost => {
                for group in self.groups.values_mut() {
                    group.raft.ticks_lost();
                }
            }
            Input::PeerClosed(peer) => {
                for group in self.groups.values_mut() {
                    group.raft.leader_unreachable(peer);
                }
            }
            Input::PeerUp(peer) => {
                for group in self.groups.values_mut() {
                    group.raft.peer_reachable(peer);
                }
            }
            Input::Request { from, request } => self.request(from, request),
            Input::ClientGone(client) => self.waiters.client_gone(client),
            Input::Persisted(ticket) => self.persisted(ticket),
            Input::HandOver => self.hand_over(),
            Input::DiskFull => self.disk_full(),
            Input::DiskHasRoom => self.disk_has_room(),
            Input::SnapshotGivenUp(group) => {
                self.groups.get_mut(&group).expect("groups stay").snapshot_given_up();
            }
            Input::SnapshotTaken(TakenSnapshot { group, snapshot }) => {
                self.groups.get_mut(&group).expect("groups stay").snapshot_taken(snapshot);
            }
            Input::SnapshotStored(StoredSnapshot { group, last }) => {
                self.groups.get_mut(&group).expect("groups stay").stored(last);
            }
            Input::SnapshotRestored(restored) => {
                let group = self.groups.get_mut(&restored.group).expect("groups stay");
                for waiter in group.restored(restored, &mut self.waiters) {
                    self.reply(waiter.client, waiter.request, Reply::Unknown);
                }
            }
        }
    }

    /// The next thing to do, in order, or `None` when there is nothing before the next input.
    pub fn poll(&mut self) -> Option<Output> {
        while self.outputs.is_empty() && self.gather() {}
        self.outputs.pop_front()
    }

    /// What to tell those who connect.
    #[must_use]
    pub fn welcome(&self) -> Welcome {
        Welcome {
            cluster: self.config.cluster,
            node: self.config.node,
            members: self.members().iter().map(|(&node, address)| (node, address.clone())).collect(),
            layout: self.config.layout(),
            owners: self.owners(),
            groups: self.places(),
        }
    }

    /// How this node is, for [`RequestBody::Status`](ordeal_client::wire::RequestBody::Status): the caller knows the clock and the disk.
    #[must_use]
    pub fn status(&self, uptime_ms: u64, log_disk_bytes: u64) -> NodeStatus {
        NodeStatus {
            cluster: self.config.cluster,
            node: self.config.node,
            directory: self.config.directory,
            version: self.config.version.clone(),
            uptime_ms,
            log_disk_bytes,
            configuration: self.moves.configuration().number,
            groups: self.groups.values().map(|group| group.status(&self.config)).collect(),
        }
    }

    /// How this node's member of a group is: cheap, for whoever looks after every turn.
    #[must_use]
    pub fn member(&self, group: GroupId) -> Option<raft::Status> {
        self.groups.get(&group).map(|group| group.raft.status())
    }

    /// Who belongs to a group, as far as this node's log says.
    #[must_use]
    pub fn membership(&self, group: GroupId) -> Option<&Membership> {
        self.groups.get(&group).map(|group| &**group.raft.membership())
    }

    /// Term of an entry of a group's log, as this node holds it in memory: its disk may be behind.
    #[must_use]
    pub fn term_at(&self, group: GroupId, index: Index) -> Option<Term> {
        self.groups.get(&group)?.raft.term_at(index)
    }

    /// Checksum of the state of a group after all that was applied of it.
    #[must_use]
    pub fn digest(&self, group: GroupId) -> Option<u64> {
        self.groups.get(&group).map(|group| group.state.digest())
    }

    /// Time passes for all groups, and for those at rest a beat goes to each node that counts on us.
    fn tick(&mut self) {
        self.ticks += 1;
        for group in self.groups.values_mut() {
            group.raft.tick();
        }
        self.tick_moves();
        self.tick_watches();
        self.tick_space();
        if self.ticks.is_multiple_of(u64::from(self.config.heartbeat_ticks)) {
            let counting: BTreeSet<NodeId> =
                self.groups.values().flat_map(|group| group.raft.counting_on_us()).collect();
            self.outputs.extend(counting.into_iter().map(|to| Output::Beat { to }));
        }
    }

    /// Of any node of this cluster, which the server's handshake has made sure of: it may be a member and we not know it
    /// yet. Groups that we have not are dropped.
    fn peer(&mut self, from: NodeId, group: GroupId, message: Message) {
        if let Some(group) = self.groups.get_mut(&group) {
            group.raft.step(from, message);
        }
    }

    fn persisted(&mut self, ticket: BatchTicket) {
        assert!(ticket.0 <= self.batches, "batch {} was never given out", ticket.0);
        while self.outstanding.front().is_some_and(|&(oldest, _)| oldest <= ticket) {
            let (_, writes) = self.outstanding.pop_front().expect("there is a front");
            for (group, write) in writes {
                self.groups.get_mut(&group).expect("groups stay").persisted(write);
            }
        }
    }

    /// Asks every group once, and queues what they wish: sends, one batch, replies. False when they wish nothing.
    fn gather(&mut self) -> bool {
        let mut writes: Vec<(GroupId, Persist)> = Vec::new();
        let mut replies: Vec<(GroupId, Waiter, Reply)> = Vec::new();
        let mut any = self.tell_members();
        for (&group, member) in &mut self.groups {
            let Some(wishes) = member.wishes(&self.config, &mut self.waiters) else { continue };
            any = true;
            let Wishes {
                sends,
                persist,
                snapshot,
                store,
                restore,
                leftovers,
                replies: answers,
                read_bytes: _,
            } = wishes;
            self.outputs.extend(sends.into_iter().map(|(to, message)| Output::Send { to, group, message }));
            self.outputs.extend(snapshot.map(Output::TakeSnapshot));
            self.outputs.extend(store.map(Output::StoreSnapshot));
            self.outputs.extend(restore.map(Output::RestoreSnapshot));
            self.outputs.extend(leftovers.into_iter().map(Output::Discard));
            writes.extend(persist.map(|persist| (group, persist)));
            replies.extend(answers.into_iter().map(|(waiter, reply)| (group, waiter, reply)));
        }
        if !writes.is_empty() {
            self.batches += 1;
            let ticket = BatchTicket(self.batches);
            let tickets = writes.iter().map(|(group, persist)| (*group, persist.ticket)).collect();
            self.outstanding.push_back((ticket, tickets));
            self.outputs.push_back(Output::Persist(Batch { ticket, groups: writes }));
        }
        for (group, waiter, reply) in replies {
            self.answer(group, &waiter, reply);
        }
        any |= self.tell_watchers();
        any |= self.drive_moves();
        self.thaw();
        any
    }

    pub(super) fn reply(&mut self, to: ClientKey, id: u64, reply: Reply) {
        self.outputs.push_back(Output::Reply { to, answer: Answer { id, node: self.config.node, reply } });
    }
}
