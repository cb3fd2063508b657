//! Three members, the wires between them, and everything that may happen next.
//!
//! The wires are a set: messages overtake each other, wait for ever, and when there are too many at once any of them is lost.
//! So a run is in the world when it needs no more than `in_flight_max` messages under way at once, whatever else it loses.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ordeal_client::wire::NodeId;
use ordeal_node::raft::{Index, LogId, Message, Role, Term};
use stateright::{Model, Property};

use crate::faces::{Faces, faces, of_member, sum, then};
use crate::member::{Disk, Member};
use crate::past::{Broken, Past};
use crate::properties::properties;

/// Twenty election timeouts: two who lack entries take turns, and each waits for three.
const HEALING_TICKS: u32 = 480;

/// How large a world is. Everything that is not bounded here is tried in every order.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Nobody campaigns for a higher term. Bounds the log as well: a no-op a term, and the commands.
    pub term_max: Term,
    /// Election timers that fire, of all members together.
    pub campaigns_max: u8,
    pub commands_max: u8,
    pub reads_max: u8,
    pub crashes_max: u8,
    /// Heartbeats, of all leaders together.
    pub beats_max: u8,
    /// Messages that arrive and stay under way.
    pub repeats_max: u8,
    /// Minimum election timeouts that pass for somebody who hears a leader.
    pub waits_max: u8,
    /// Crashes that cost the disk the content of an entry, one a member at most, and requests for what is lost.
    pub rots_max: u8,
    pub asks_max: u8,
    pub in_flight_max: usize,
    /// Writes under way of one member: with more, only its disk goes on.
    pub writes_max: usize,
}

/// What the world begins with, and how large it is.
#[derive(Debug, Clone)]
pub struct World {
    pub bounds: Bounds,
    pub disks: [Disk; 3],
    pub past: Past,
    /// Whether n1 leads term 1 before the search begins, and all have its first entry: what comes before is searched elsewhere.
    pub led: bool,
    /// Whether disks lose entries: where nothing is under way, it is looked whether all comes back.
    pub lossy: bool,
    /// What must be reached somewhere in it, so that the search says something.
    pub wanted: Vec<&'static str>,
}

/// The whole world at one moment.
#[derive(Clone)]
pub struct State {
    pub members: [Known; 3],
    pub wires: Vec<Arc<Packet>>,
    pub past: Past,
    face: u64,
}

/// A member with its faces, shared by all states in which it is the same.
#[derive(Clone)]
pub struct Known {
    pub member: Arc<Member>,
    faces: Faces,
}

/// A message under way.
#[derive(Clone)]
pub struct Packet {
    from: NodeId,
    to: NodeId,
    message: Message,
    faces: Faces,
}

/// What may happen.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// The election timer fires.
    Campaign(NodeId),
    /// The minimum election timeout since the last leader's word passes.
    Wait(NodeId),
    /// The leader's heartbeat is due.
    Beat(NodeId),
    /// A client proposes.
    Propose(NodeId),
    /// A client reads.
    Read(NodeId),
    /// The oldest write is durable.
    Persist(NodeId),
    /// The process dies, and starts again from its disk.
    Crash(NodeId),
    /// The same, and the content of an entry is gone.
    Rot(NodeId, Index),
    /// The first asks the second for what its disk lost.
    Ask(NodeId, NodeId),
    /// A message arrives.
    Deliver(Arc<Packet>),
    /// A message arrives, and will once more.
    Repeat(Arc<Packet>),
    /// A message is lost, as too many are under way.
    Lose(Arc<Packet>),
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let members = [1, 2, 3].map(|number: u32| {
            let disk = self.disks[number as usize - 1].clone();
            let mut member = Member::new(NodeId(number), disk);
            member.turn();
            Known::new(member)
        });
        let mut state = State { members, wires: Vec::new(), past: self.past.clone(), face: 0 };
        if self.led {
            state.elect(NodeId(1));
        }
        state.look();
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let (bounds, past) = (&self.bounds, &state.past);
        if past.broken.is_some() {
            return;
        }
        if state.wires.len() > bounds.in_flight_max {
            return actions.extend(state.wires.iter().cloned().map(Action::Lose));
        }
        let full = |who: NodeId| state.member(who).writes() >= bounds.writes_max;
        for Known { member, .. } in &state.members {
            let (id, status) = (member.id, member.status());
            if member.writes() > 0 {
                actions.push(Action::Persist(id));
            }
            if past.crashes < bounds.crashes_max {
                actions.push(Action::Crash(id));
            }
            if past.rots < bounds.rots_max && member.disk.lost.is_empty() {
                actions.extend(member.disk.entries.iter().map(|entry| Action::Rot(id, entry.id.index)));
            }
            if full(id) {
                continue;
            }
            if status.lost > 0 && past.asks < bounds.asks_max {
                let others = (1..=3).map(NodeId).filter(|&other| other != id);
                actions.extend(others.map(|other| Action::Ask(id, other)));
            }
            if status.role == Role::Leader {
                if past.beats < bounds.beats_max {
                    actions.push(Action::Beat(id));
                }
                if past.commands < bounds.commands_max && status.lost == 0 {
                    actions.push(Action::Propose(id));
                }
                if past.register.as_ref().is_some_and(|register| register.reads < bounds.reads_max) {
                    actions.push(Action::Read(id));
                }
            } else {
                if status.term < bounds.term_max && past.campaigns < bounds.campaigns_max {
                    actions.push(Action::Campaign(id));
                }
                if past.waits < bounds.waits_max && member.hears_a_leader() {
                    actions.push(Action::Wait(id));
                }
            }
        }
        let may_arrive = |packet: &&Arc<Packet>| !full(packet.to);
        actions.extend(state.wires.iter().filter(may_arrive).cloned().map(Action::Deliver));
        if past.repeats < bounds.repeats_max {
            actions.extend(state.wires.iter().filter(may_arrive).cloned().map(Action::Repeat));
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        let act = AssertUnwindSafe(|| next.act(action));
        if let Err(panic) = catch_unwind(act) {
            let words = panic.downcast_ref::<String>().cloned();
            let words = words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
            next = state.clone();
            next.past.broken = Some(Broken::Assertion(words.unwrap_or_default()));
        }
        next.look();
        Some(next)
    }

    fn properties(&self) -> Vec<Property<World>> {
        properties(&self.wanted)
    }
}

impl State {
    pub fn member(&self, who: NodeId) -> &Member {
        &self.members[index(who)].member
    }

    /// One campaigns, and is elected as nothing is lost.
    fn elect(&mut self, who: NodeId) {
        self.act(Action::Campaign(who));
        self.calm();
        assert!(self.member(who).status().role == Role::Leader, "{who} leads when nothing is lost");
        self.past.campaigns = 0;
    }

    /// Everything arrives and is written until nothing is left to do.
    fn calm(&mut self) {
        loop {
            let writes = self.members.iter().find(|known| known.member.writes() > 0);
            let next = match (self.wires.first(), writes) {
                (Some(packet), _) => Action::Deliver(packet.clone()),
                (None, Some(known)) => Action::Persist(known.member.id),
                (None, None) => break,
            };
            self.act(next);
        }
    }

    fn act(&mut self, action: Action) {
        let past = &mut self.past;
        match action {
            Action::Campaign(who) => {
                past.campaigns += 1;
                self.with(who, Member::campaign);
            }
            Action::Wait(who) => {
                past.waits += 1;
                self.with(who, Member::wait);
            }
            Action::Beat(who) => {
                past.beats += 1;
                self.with(who, Member::beat);
            }
            Action::Propose(who) => {
                past.commands += 1;
                let command = past.commands;
                let mut id = LogId::ZERO;
                self.with(who, |member| id = member.propose(command));
                if let Some(register) = &mut self.past.register {
                    register.writes(who, id, command);
                }
            }
            Action::Read(who) => {
                let token = past.register.as_mut().expect("a world with clients").asks();
                self.with(who, |member| member.ask(token));
            }
            Action::Persist(who) => self.with(who, Member::persist),
            Action::Crash(who) => {
                past.crashes += 1;
                past.lost_writes |= self.members[index(who)].member.writes() > 0;
                if let Some(register) = &mut past.register {
                    register.crashed(who);
                }
                self.with(who, Member::crash);
            }
            Action::Rot(who, index) => {
                past.rots += 1;
                self.with(who, |member| member.rot(index));
            }
            Action::Ask(who, other) => {
                past.asks += 1;
                self.with(who, |member| member.ask_for_lost(other));
            }
            Action::Deliver(packet) => {
                self.lose(&packet);
                self.deliver(&packet);
            }
            Action::Repeat(packet) => {
                past.repeats += 1;
                self.deliver(&packet);
            }
            Action::Lose(packet) => self.lose(&packet),
        }
    }

    fn deliver(&mut self, packet: &Packet) {
        self.with(packet.to, |member| member.step(packet.from, packet.message.clone()));
    }

    fn lose(&mut self, packet: &Packet) {
        self.wires.retain(|other| other.faces != packet.faces);
    }

    /// One member does something: what it sends is under way, what it knows is noted.
    fn with(&mut self, who: NodeId, does: impl FnOnce(&mut Member)) {
        let mut member = Member::clone(&self.members[index(who)].member);
        let before = member.status().commit;
        does(&mut member);
        if member.promises_too_much() {
            self.past.broken = Some(Broken::Promise);
        }
        for (to, message) in std::mem::take(&mut member.sent) {
            let packet = Packet::new(who, to, message);
            if self.wires.iter().all(|other| other.faces != packet.faces) {
                self.wires.push(Arc::new(packet));
            }
        }
        self.past.note(&member, before);
        member.applied.clear();
        self.members[index(who)] = Known::new(member);
    }

    /// Whether nothing is under way, to nobody and to no disk.
    pub fn is_quiet(&self) -> bool {
        self.past.broken.is_none()
            && self.wires.is_empty()
            && self.members.iter().all(|known| known.member.writes() == 0)
    }

    /// Whether time alone, with whole links and disks, brings back what was lost.
    pub fn heals(&self) -> bool {
        let mut healing = self.clone();
        for _ in 0..HEALING_TICKS {
            for who in [1, 2, 3].map(NodeId) {
                healing.with(who, Member::tick);
            }
            healing.calm();
            let members = || healing.members.iter().map(|known| known.member.status());
            let first = healing.members[0].member.status();
            let level = members().all(|status| status.lost == 0 && status.commit == first.last.index);
            if level && healing.past.broken.is_none() && members().any(|status| status.role == Role::Leader) {
                return true;
            }
        }
        false
    }

    /// Computes the fingerprint.
    fn look(&mut self) {
        let members = self.members.iter().enumerate().map(|(index, known)| of_member(index, known.faces));
        let wires = sum(self.wires.iter().map(|packet| packet.faces));
        let faces = then(then(sum(members), wires), faces(&self.past, 0));
        self.face = faces.into_iter().min().unwrap_or(0);
    }
}

impl Known {
    fn new(member: Member) -> Known {
        Known { faces: member.faces(), member: Arc::new(member) }
    }
}

impl Packet {
    fn new(from: NodeId, to: NodeId, message: Message) -> Packet {
        let faces = faces(&(from, to, &message), 0);
        Packet { from, to, message, faces }
    }
}

fn index(who: NodeId) -> usize {
    who.0 as usize - 1
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.face.hash(hasher);
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.face == other.face
    }
}

impl PartialEq for Packet {
    fn eq(&self, other: &Self) -> bool {
        self.faces == other.faces
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}: {:?}", self.from, self.to, self.message)
    }
}

/// Short: what a person needs who follows a path.
impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Known { member, .. } in &self.members {
            let (status, disk) = (member.status(), &member.disk);
            let log: Vec<_> = member.view.entries.iter().map(|entry| entry.id).collect();
            let durable: Vec<_> = disk.entries.iter().map(|entry| entry.id).collect();
            let (id, role, term, commit) = (member.id, status.role, status.term, status.commit);
            let vote = disk.hard_state;
            writeln!(
                f,
                "{id} {role:?} term {term} commit {commit} log {log:?}, on disk {vote:?} {durable:?}"
            )?;
        }
        writeln!(f, "{:?}\n{:?}", self.wires, self.past)
    }
}
