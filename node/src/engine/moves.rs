//! Who owns which shard, as far as this node knows; and the movers of the groups that are led here, with what they say to the
//! leaders of other groups and to the controller.
//!
//! The configuration is that of this node's own member of the controller's group: it is behind at times, and never wrong about the
//! past. Who serves a shard is decided when a command is applied; here is only guessed whom to ask.
//!
//! ```text
//!   controller's group ──▶ configuration ──▶ movers ──▶ Letter   to the leader of another group
//!   entries applied, letters, ticks ───────▶        ──▶ Control  to the leader of the controller
//!                                                   ──▶ a step for the group's own log
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ordeal_client::wire::{Configuration, GROUPS_MAX, GroupId, NodeId, Owner, RefusalReason, Reply, ShardId};

use super::config::CONTROLLER;
use super::group::Group;
use super::io::{ClientKey, Output};
use super::node::Engine;
use super::waiters::{Awaited, Waiter};
use crate::controller::{self, Command};
use crate::mover::{EXPORTS_MAX, Letter, Message, PARCELS_MAX, Wish};
use crate::raft::Role;

/// Who waits for a newer configuration is told the newest one after so many ticks: a second, and then asks again, perhaps another
/// node.
const WATCH_TICKS: u64 = 100;

/// A group says so often who its members are, as long as the controller does not know.
const MEMBERS_TICKS: u64 = 10;

/// Who wrote for a group is taken for its leader for so many ticks: while a shard moves it writes far more often, and an election takes
/// half as long.
const LEADER_TICKS: u64 = 50;

/// Letters to groups of this node in one turn: of each of 64 groups 4 shards on their way, of each shard 4 parts. As each may hold
/// such a part they are 160 MiB at most.
const LETTERS_MAX: usize = GROUPS_MAX as usize * EXPORTS_MAX * PARCELS_MAX;

/// What is known of owners, and of leaders elsewhere.
#[derive(Debug)]
pub(super) struct Moves {
    configuration: Arc<Configuration>,
    /// Who wrote for a group last, and when: then it led it.
    leaders: BTreeMap<GroupId, (NodeId, u64)>,
    /// Letters to groups of this very node.
    letters: VecDeque<(GroupId, Letter)>,
    /// Who waits for a newer configuration, and until which tick.
    watchers: VecDeque<(u64, u64)>,
    ticks: u64,
}

impl Moves {
    pub(super) fn new(configuration: &Configuration) -> Self {
        Moves {
            configuration: Arc::new(configuration.clone()),
            leaders: BTreeMap::new(),
            letters: VecDeque::new(),
            watchers: VecDeque::new(),
            ticks: 0,
        }
    }

    /// The newest configuration that this node knows.
    pub(super) fn configuration(&self) -> &Arc<Configuration> {
        &self.configuration
    }

    /// Ticks since the node started.
    pub(super) fn ticks(&self) -> u64 {
        self.ticks
    }

    /// Refuses what is another node's, and says whom to ask.
    pub(super) fn elsewhere(&self, group: GroupId) -> Reply {
        let members = self.configuration.groups.get(&group).map(|info| &info.members);
        let leader = self
            .whom_to_write(group)
            .zip(members)
            .and_then(|(node, members)| Some((node, members.get(&node)?.clone())));
        Reply::Refused(RefusalReason::NotLeader { group, leader })
    }

    /// Somebody who leads that group, or may know who does: each member in turn, as long as nobody wrote a moment ago. Who led it
    /// then may be gone for ever, and the next leader need not know of anything to write about.
    fn whom_to_write(&self, group: GroupId) -> Option<NodeId> {
        let members = &self.configuration.groups.get(&group)?.members;
        let lately =
            |&&(node, at): &&(NodeId, u64)| members.contains_key(&node) && self.ticks - at < LEADER_TICKS;
        let known = self.leaders.get(&group).filter(lately).map(|&(node, _)| node);
        let turn = usize::try_from(self.ticks / MEMBERS_TICKS).unwrap_or(0) % members.len().max(1);
        known.or_else(|| members.keys().nth(turn).copied())
    }
}

impl Engine {
    /// The newest configuration that this node knows.
    #[must_use]
    pub fn configuration(&self) -> &Configuration {
        &self.moves.configuration
    }

    /// The epoch in which a group owns a shard, as far as this node has applied its log; `None` where it does not.
    #[must_use]
    pub fn epoch(&self, group: GroupId, shard: ShardId) -> Option<u64> {
        self.groups.get(&group)?.epoch(shard)
    }

    /// Who owns each shard, by ascending shard, as far as this node knows.
    #[must_use]
    pub fn owners(&self) -> Vec<Owner> {
        let owners = self.moves.configuration.shards();
        owners.map(|(shard, owner)| self.newest_owner(shard, owner)).collect()
    }

    /// Where each group is, as far as this node knows.
    pub(super) fn places(&self) -> Vec<(GroupId, Vec<NodeId>)> {
        let mut places: BTreeMap<GroupId, Vec<NodeId>> = BTreeMap::new();
        for (&group, info) in &self.moves.configuration.groups {
            places.insert(group, info.members.keys().copied().collect());
        }
        for (&group, member) in &self.groups {
            let members: Vec<NodeId> = member.raft.membership().members().collect();
            if !members.is_empty() {
                places.insert(group, members);
            }
        }
        places.into_iter().collect()
    }

    /// The group to ask for a shard: of those here that own it, the one of the latest epoch, unless the controller knows better.
    pub(super) fn serving(&self, shard: ShardId) -> GroupId {
        self.owner(shard).group
    }

    /// The owner of a shard, as far as this node knows.
    pub(super) fn owner(&self, shard: ShardId) -> Owner {
        let told = self.moves.configuration.owner(shard).expect("shards are checked before");
        self.newest_owner(shard, told)
    }

    fn newest_owner(&self, shard: ShardId, told: Owner) -> Owner {
        let here = |(&group, member): (&GroupId, &Group)| Some(Owner { group, epoch: member.epoch(shard)? });
        self.groups.iter().filter_map(here).fold(told, Owner::max_epoch)
    }

    /// Waits for a configuration after this one.
    pub(super) fn watch(&mut self, client: ClientKey, request: u64, after: u64) -> Result<(), Reply> {
        let newest = self.configuration();
        if newest.number > after {
            return Err(Reply::Configuration(Box::new(newest.clone())));
        }
        if !self.waiters.has_room(client) {
            return Err(Reply::Refused(RefusalReason::Busy));
        }
        let token = self.waiters.add(Waiter { client, request, awaited: Awaited::News });
        self.moves.watchers.push_back((self.moves.ticks + WATCH_TICKS, token));
        Ok(())
    }

    /// Time passes for the movers.
    pub(super) fn tick_moves(&mut self) {
        self.moves.ticks += 1;
        for member in self.groups.values_mut() {
            if let Some((_, mover)) = &mut member.mover {
                mover.tick();
            }
            member.look = true;
        }
        let now = self.moves.ticks;
        while self.moves.watchers.front().is_some_and(|&(until, _)| until <= now) {
            let (_, token) = self.moves.watchers.pop_front().expect("there is a front");
            self.tell_watcher(token);
        }
    }

    fn tell_watcher(&mut self, token: u64) {
        if let Some(waiter) = self.waiters.take(token) {
            let newest = Box::new(self.configuration().clone());
            self.reply(waiter.client, waiter.request, Reply::Configuration(newest));
        }
    }

    /// Looks where something has changed. True if there was something to do.
    pub(super) fn drive_moves(&mut self) -> bool {
        let mut any = self.follow_controller();
        let due =
            |(&group, member): (&GroupId, &mut Group)| std::mem::take(&mut member.look).then_some(group);
        for group in self.groups.iter_mut().filter_map(due).collect::<Vec<_>>() {
            any |= group != CONTROLLER && self.look(group);
        }
        while let Some((group, letter)) = self.moves.letters.pop_front() {
            any = true;
            self.hear(group, letter);
        }
        any
    }

    /// Takes the newest configuration from this node's member of the controller.
    fn follow_controller(&mut self) -> bool {
        let newest = self.groups[&CONTROLLER].state.latest().expect("the controller's");
        if newest.number == self.moves.configuration.number {
            return false;
        }
        assert!(newest.number > self.moves.configuration.number, "numbers grow");
        self.moves.configuration = Arc::new(newest.clone());
        self.make_groups();
        self.groups.values_mut().for_each(|member| member.look = true);
        for (_, token) in std::mem::take(&mut self.moves.watchers) {
            self.tell_watcher(token);
        }
        self.outputs.push_back(Output::Welcome);
        true
    }

    /// Lets the mover of a group look how things stand, while this node leads it.
    fn look(&mut self, group: GroupId) -> bool {
        let configuration = Arc::clone(&self.moves.configuration);
        let member = self.groups.get_mut(&group).expect("groups stay");
        if !member.leads() {
            member.mover = None;
            return false;
        }
        member.mover();
        let told = self.tell_of_members(group);
        let member = self.groups.get_mut(&group).expect("groups stay");
        let machine = member.state.data().expect("of a data group");
        let concerned = configuration.moves.values().any(|open| open.from == group || open.to == group);
        if !concerned && machine.on_their_way().next().is_none() {
            return told;
        }
        let (_, mover) = member.mover.as_mut().expect("made just now");
        mover.look(machine, &configuration);
        self.do_wishes(group) || told
    }

    /// The leader of another group says something, to the leader of one of ours. Who does not lead passes it on, once.
    pub(super) fn letter(&mut self, from: NodeId, group: GroupId, letter: Letter) {
        if self.moves.configuration.groups.contains_key(&letter.from) {
            self.moves.leaders.insert(letter.from, (letter.writer, self.moves.ticks));
        }
        let Some(member) = self.groups.get(&group) else { return };
        if member.leads() {
            self.take_letter(group, letter);
        } else if letter.writer == from
            && let Some(to) = member.raft.status().leader.filter(|&to| to != self.config.node)
        {
            self.outputs.push_back(Output::Letter { to, group, letter });
        }
    }

    fn take_letter(&mut self, group: GroupId, letter: Letter) {
        // What is too much is said again.
        if self.moves.letters.len() < LETTERS_MAX {
            self.moves.letters.push_back((group, letter));
        }
    }

    fn hear(&mut self, group: GroupId, letter: Letter) {
        let member = self.groups.get_mut(&group).expect("looked up before");
        if !member.leads() || group == CONTROLLER {
            return;
        }
        member.mover();
        let (_, mover) = member.mover.as_mut().expect("made just now");
        let machine = member.state.data().expect("of a data group");
        mover.hear(machine, letter.from, letter.message);
        // What was heard may be what the next look was waiting for.
        mover.look(machine, &self.moves.configuration);
        self.do_wishes(group);
    }

    fn do_wishes(&mut self, group: GroupId) -> bool {
        let member = self.groups.get_mut(&group).expect("groups stay");
        let Some((_, mover)) = &mut member.mover else { return false };
        let wishes: Vec<Wish> = mover.wishes().collect();
        let any = !wishes.is_empty();
        for wish in wishes {
            match wish {
                Wish::Propose(command) => {
                    let member = self.groups.get_mut(&group).expect("groups stay");
                    // What finds no room now is proposed again.
                    let _busy = member.raft.propose(command);
                }
                Wish::Tell(to, message) => self.write_to(group, to, message),
                Wish::Ended { shard, id, end } => self.tell_controller(&Command::MoveEnd { shard, id, end }),
            }
        }
        any
    }

    fn write_to(&mut self, from: GroupId, to: GroupId, message: Message) {
        let letter = Letter { from, writer: self.config.node, message };
        let here = self.groups.get(&to).filter(|member| !member.raft.membership().is_empty());
        if here.is_some_and(Group::leads) {
            return self.take_letter(to, letter);
        }
        let leader = here.and_then(|member| member.raft.status().leader);
        if let Some(node) =
            leader.or_else(|| self.moves.whom_to_write(to)).filter(|&to| to != self.config.node)
        {
            self.outputs.push_back(Output::Letter { to: node, group: to, letter });
        }
    }

    /// Says who the members of a group are, every so often, as long as the controller knows something else.
    fn tell_of_members(&mut self, group: GroupId) -> bool {
        if self.moves.ticks % MEMBERS_TICKS != u64::from(group.0) % MEMBERS_TICKS {
            return false;
        }
        let member = &self.groups[&group];
        let at = member.applied.index;
        let membership = member.raft.membership_at(at);
        let known = self.moves.configuration.groups.get(&group);
        let news = known.is_some_and(|info| info.members != *membership.addresses() && info.at < at);
        if news && !membership.is_joint() {
            let members = membership.addresses().clone();
            self.tell_controller(&Command::GroupMembers { group, at, members });
        }
        news
    }

    fn tell_controller(&mut self, command: &Command) {
        let command = command.encode();
        let status = self.groups[&CONTROLLER].raft.status();
        match status.leader {
            Some(node) if node == self.config.node && status.role == Role::Leader => self.control(&command),
            Some(to) if to != self.config.node => self.outputs.push_back(Output::Control { to, command }),
            Some(_) | None => {}
        }
    }

    /// The leader of a group tells the controller something. What is no news, or makes no sense, comes to nothing.
    pub(super) fn control(&mut self, command: &Arc<[u8]>) {
        let now = &self.moves.configuration;
        let news = match controller::Command::decode(command) {
            Ok(Command::MoveEnd { shard, id, end: _ }) => {
                now.moves.get(&shard).is_some_and(|open| open.id == id)
            }
            Ok(Command::GroupMembers { group, at, members }) => {
                now.groups.get(&group).is_some_and(|info| info.at < at && info.members != members)
            }
            Ok(Command::Admin { .. }) | Err(_) => false,
        };
        let controller = self.groups.get_mut(&CONTROLLER).expect("every node has a member of it");
        if news && controller.leads() {
            // What finds no room now is said again.
            let _busy = controller.raft.propose(Arc::clone(command));
        }
    }
}
