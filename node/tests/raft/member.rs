//! A member with its driver: a disk whose writes finish when the test says so, and a machine that remembers what it was given.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ordeal_client::wire::NodeId;
use ordeal_node::raft::{
    Config, Entry, Event, HardState, Index, LogId, Membership, Message, Payload, Persist, Raft, Role,
    Snapshot, Status, Term,
};

use crate::disk::Disk;

/// Addressee and message.
pub type Sent = (NodeId, Message);

pub fn n(number: u32) -> NodeId {
    NodeId(number)
}

pub fn id(index: Index, term: Term) -> LogId {
    LogId::new(index, term)
}

pub fn command(text: &str) -> Arc<[u8]> {
    Arc::from(text.as_bytes())
}

pub fn entry(index: Index, term: Term) -> Entry {
    Entry { id: id(index, term), payload: Payload::Command(command(&format!("{index}@{term}"))) }
}

/// A log with these terms, from index 1.
pub fn entries(terms: &[Term]) -> Vec<Entry> {
    terms.iter().zip(1..).map(|(&term, index)| entry(index, term)).collect()
}

/// `n1` and so on.
pub fn voters(count: u32) -> Membership {
    (1..=count).map(n).collect()
}

pub fn config(own: u32, count: u32) -> Config {
    let mut config = Config::new(n(own), voters(count), 42);
    config.heartbeat_ticks = 1;
    config.election_ticks = 5;
    config
}

/// The machine: where it is, and a digest of everything that led there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Machine {
    pub last: LogId,
    pub digest: u64,
}

impl Machine {
    pub fn apply(&mut self, entry: &Entry) {
        assert_eq!(entry.id.index, self.last.index + 1, "applied in order, none twice, none left out");
        let mut digest = self.digest ^ entry.id.term;
        if let Payload::Command(bytes) = &entry.payload {
            digest = bytes.iter().fold(digest, |digest, &byte| digest.rotate_left(5) ^ u64::from(byte));
        }
        if let Payload::Membership(membership) = &entry.payload {
            digest = membership
                .to_string()
                .bytes()
                .fold(digest, |digest, byte| digest.rotate_left(5) ^ u64::from(byte));
        }
        self.digest = digest.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17);
        self.last = entry.id;
    }

    /// Some 40 bytes, so that small chunks make several parts.
    pub fn snapshot(self) -> Snapshot {
        let membership = Arc::new(voters(3));
        Snapshot { last: self.last, membership, data: command(&format!("{:040}", self.digest)) }
    }

    pub fn restore(snapshot: &Snapshot) -> Machine {
        let text = std::str::from_utf8(&snapshot.data).expect("a snapshot arrives as it was sent");
        Machine { last: snapshot.last, digest: text.parse().expect("a snapshot arrives as it was sent") }
    }
}

/// A write on its way to the disk, and what leaves after it.
#[derive(Debug)]
pub struct Held {
    pub persist: Persist,
    pub after: Vec<Sent>,
}

#[derive(Debug)]
pub struct Member {
    pub raft: Raft,
    pub config: Config,
    pub disk: Disk,
    /// The disk as it will be when all held writes are durable: after a turn, the log in memory.
    pub view: Disk,
    pub held: VecDeque<Held>,
    /// While set, `persist_all` finishes nothing.
    pub disk_hangs: bool,
    /// Left, not yet fetched by the test.
    pub sent: Vec<Sent>,
    pub machine: Machine,
    /// Every event, in order.
    pub events: Vec<Event>,
    /// Entries given to the disk, each with the one before it, not yet fetched by the test.
    pub written: Vec<(LogId, Entry)>,
    /// Reads answered: the token, and what was applied when it was.
    pub answered: Vec<(u64, Index)>,
}

impl Member {
    pub fn new(config: Config, disk: Disk) -> Member {
        Member {
            raft: Raft::new(config.clone(), disk.recovered()),
            config,
            view: disk.clone(),
            disk,
            held: VecDeque::new(),
            disk_hangs: false,
            sent: Vec::new(),
            machine: Machine::default(),
            events: Vec::new(),
            written: Vec::new(),
            answered: Vec::new(),
        }
    }

    /// Member `own` of three, remembering `term` and a log with `terms`, alone in the test.
    pub fn lone(own: u32, term: Term, terms: &[Term]) -> Member {
        Member::lone_of(config(own, 3), term, terms)
    }

    pub fn lone_of(config: Config, term: Term, terms: &[Term]) -> Member {
        let hard_state = HardState { term, vote: None };
        Member::new(config, Disk { hard_state, entries: entries(terms), ..Disk::default() })
    }

    /// A lone member that got itself elected, by all others.
    pub fn lone_leader(own: u32, term: Term, terms: &[Term]) -> Member {
        let mut member = Member::lone(own, term - 1, terms);
        member.campaign();
        member.grant_votes();
        assert_eq!(member.status().role, Role::Leader);
        assert_eq!(member.status().term, term);
        member.fetch();
        member
    }

    /// Ticks until this member asks for pre-votes.
    pub fn campaign(&mut self) {
        for _ in 0..=2 * self.config.election_ticks {
            self.tick();
            if self.status().role != Role::Follower {
                return;
            }
        }
        panic!("no campaign within twice the election timeout");
    }

    /// Ticks until this member campaigns, if it can: in the last term of all nobody can.
    pub fn campaign_if_follower(&mut self) {
        (0..=2 * self.config.election_ticks).for_each(|_| {
            if self.status().role == Role::Follower {
                self.tick();
            }
        });
    }

    /// Everybody says yes to all requests for votes.
    pub fn grant_votes(&mut self) {
        for _ in 0..2 {
            self.persist_all();
            for (to, message) in self.fetch() {
                if let Message::RequestVote { term, pre, .. } = message {
                    self.step(to, Message::RequestVoteReply { term, asked: term, pre, granted: true });
                }
            }
        }
        self.persist_all();
    }

    pub fn step(&mut self, from: NodeId, message: Message) {
        self.raft.step(from, message);
        self.turn();
    }

    pub fn tick(&mut self) {
        self.raft.tick();
        self.turn();
    }

    pub fn propose(&mut self, text: &str) -> LogId {
        let id = self.raft.propose(command(text)).expect("a leader with room");
        self.turn();
        id
    }

    /// Does what the driver does with a `Ready`, but for the writes, which wait.
    pub fn turn(&mut self) {
        while let Some(ready) = self.raft.ready() {
            self.sent.extend(ready.send_now);
            match (ready.persist, self.held.back_mut()) {
                (Some(persist), _) => {
                    self.view.write(&persist);
                    let mut before = persist.entries.first().map(|entry| self.view.before(entry.id.index));
                    for entry in &persist.entries {
                        self.written.extend(before.map(|before| (before, entry.clone())));
                        before = Some(entry.id);
                    }
                    let repairs = persist.repairs.iter();
                    let view = &self.view;
                    self.written.extend(repairs.map(|entry| (view.before(entry.id.index), entry.clone())));
                    self.held.push_back(Held { persist, after: ready.send_after_persist });
                }
                (None, Some(last)) => last.after.extend(ready.send_after_persist),
                (None, None) => self.sent.extend(ready.send_after_persist),
            }
            for event in ready.events {
                match &event {
                    Event::Apply(entry) => {
                        assert!(self.disk.holds(entry.id), "{} is applied, but not durable", entry.id);
                        self.machine.apply(entry);
                    }
                    Event::Install(snapshot) => {
                        let durable = self.disk.covered().index >= snapshot.last.index;
                        assert!(durable, "{snapshot:?} is not durable");
                        self.machine = Machine::restore(snapshot);
                        self.raft.installed(snapshot.last);
                    }
                    Event::ReadReady { token } => self.answered.push((*token, self.machine.last.index)),
                    Event::ReadFailed { .. } | Event::Role { .. } => {}
                }
                self.events.push(event);
            }
        }
        let status = self.raft.status();
        assert_eq!(status.last, self.view.last(), "everything in the log is on its way to the disk");
        assert_eq!(status.applied, self.machine.last.index, "applied is what was handed out");
    }

    /// The oldest held write becomes durable.
    pub fn persist(&mut self) {
        let Some(held) = self.held.pop_front() else { return };
        self.disk.write(&held.persist);
        self.sent.extend(held.after);
        self.raft.persisted(held.persist.ticket);
        self.turn();
    }

    pub fn persist_all(&mut self) {
        while !self.held.is_empty() && !self.disk_hangs {
            self.persist();
        }
    }

    /// Loses everything but what is durable and the first `survive` of the writes under way, and starts again. Of the
    /// write after those the disk got the beginning, with `torn` entries.
    pub fn crash(&mut self, survive: usize, torn: Option<usize>) {
        for held in self.held.iter().take(survive) {
            self.disk.write(&held.persist);
        }
        if let (Some(kept), Some(held)) = (torn, self.held.get(survive)) {
            let mut part = held.persist.clone();
            part.entries.truncate(kept);
            self.disk.write(&part);
        }
        let incarnation = self.config.incarnation + 1_000_000;
        let config = Config { incarnation, ..self.config.clone() };
        *self = Member::new(config, self.disk.clone());
    }

    /// What left since the last call.
    pub fn fetch(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.sent)
    }

    /// Makes everything durable and gives what left since the last fetch.
    pub fn flush(&mut self) -> Vec<Sent> {
        self.turn();
        self.persist_all();
        self.fetch()
    }

    pub fn status(&self) -> Status {
        self.raft.status()
    }

    pub fn vote(&self) -> Option<NodeId> {
        self.view.hard_state.vote
    }

    /// Terms of the log, from its first entry.
    pub fn terms(&self) -> Vec<Term> {
        self.view.entries.iter().map(|entry| entry.id.term).collect()
    }

    /// Commands and no-ops that were applied, by index.
    pub fn applied(&self) -> BTreeMap<Index, Term> {
        let entries = self.events.iter().filter_map(|event| match event {
            Event::Apply(entry) => Some((entry.id.index, entry.id.term)),
            Event::Install(_) | Event::ReadReady { .. } | Event::ReadFailed { .. } | Event::Role { .. } => {
                None
            }
        });
        entries.collect()
    }

    /// The machine takes a snapshot.
    pub fn compact(&mut self) {
        let Snapshot { last, data, .. } = self.machine.snapshot();
        self.raft.compact(last, data);
        self.turn();
    }
}
