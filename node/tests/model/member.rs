//! A member with its driver, as a value: the `Raft` itself, a disk whose writes finish when the search says so, and a
//! machine that only knows how far it is. The driver does what `Ready` documents, like the one in `tests/raft/member.rs`.

use std::collections::{BTreeSet, VecDeque};

use ordeal_client::wire::NodeId;
use ordeal_node::raft::{
    AppendResult, Config, Entry, Event, HardState, Index, LogId, Lost, Message, Payload, Persist, Raft,
    Recovered, Role, Status,
};

use crate::faces::{Faces, faces, field, sum, then};

/// Ticks of the minimum election timeout: 3 × heartbeat, the least that is allowed.
const ELECTION_TICKS: u32 = 24;
const HEARTBEAT_TICKS: u32 = 8;

/// What is drawn plays no part: a campaign may come at any time, and no timeout is as short as the minimum.
const SEED: u64 = 42;

/// Addressee and message.
pub type Sent = (NodeId, Message);

/// Term, vote and log, on the disk or on the way there. Nobody takes a snapshot here, so the log begins at 1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disk {
    pub hard_state: HardState,
    pub entries: Vec<Entry>,
    /// Those of which a restart finds the ids alone.
    pub lost: BTreeSet<Index>,
}

impl Disk {
    fn write(&mut self, persist: &Persist) {
        if let Some(hard_state) = persist.hard_state {
            let old = self.hard_state;
            assert!(hard_state.term >= old.term, "the term falls on the disk");
            let replaced = old.vote.is_some() && hard_state.vote != old.vote;
            assert!(hard_state.term > old.term || !replaced, "a second vote in one term");
            self.hard_state = hard_state;
        }
        if let Some(from) = persist.truncate_from {
            self.entries.retain(|entry| entry.id.index < from);
            self.lost.split_off(&from);
        }
        for entry in &persist.entries {
            assert!(entry.id.index == self.last().index + 1, "a gap on the disk");
            self.entries.push(entry.clone());
        }
        for entry in &persist.repairs {
            assert!(self.holds(entry), "{} is repaired with something else", entry.id);
            self.lost.remove(&entry.id.index);
        }
    }

    pub fn last(&self) -> LogId {
        self.entries.last().map_or(LogId::ZERO, |entry| entry.id)
    }

    pub fn entry(&self, index: Index) -> Option<&Entry> {
        self.entries.get(usize::try_from(index).ok()?.checked_sub(1)?)
    }

    pub fn holds(&self, entry: &Entry) -> bool {
        self.entry(entry.id.index) == Some(entry)
    }
}

/// A write on its way to the disk, and what leaves after it.
#[derive(Debug, Clone)]
struct Held {
    persist: Persist,
    after: Vec<Sent>,
}

/// One member of three.
#[derive(Debug, Clone)]
pub struct Member {
    raft: Raft,
    pub id: NodeId,
    pub disk: Disk,
    /// The disk as it will be when all held writes are durable: after a turn, the log in memory.
    pub view: Disk,
    held: VecDeque<Held>,
    /// Left in the last turn.
    pub sent: Vec<Sent>,
    /// Applied in the last turn.
    pub applied: Vec<Entry>,
    /// The machine: a register that holds the last command, or 0. Follows from what is applied.
    register: u8,
    /// Reads answered in the last turn, each with what it saw.
    pub read: Vec<(u64, u8)>,
}

impl Member {
    /// A member as its disk remembers it.
    pub fn new(id: NodeId, disk: Disk) -> Member {
        let mut config = Config::new(id, (1..=3).map(NodeId).collect(), SEED);
        config.heartbeat_ticks = HEARTBEAT_TICKS;
        config.election_ticks = ELECTION_TICKS;
        config.stall_ticks = u32::MAX; // the search lets a write wait for ever
        config.append_bytes_max = 1; // an entry a message, so that a majority may hold a part of what a leader has
        let is_lost = |entry: &&Entry| disk.lost.contains(&entry.id.index);
        let lost = disk.entries.iter().filter(is_lost);
        let recovered = Recovered {
            hard_state: disk.hard_state,
            snapshot: None,
            entries: disk.entries.iter().filter(|entry| !is_lost(entry)).cloned().collect(),
            lost: lost.map(|entry| Lost { id: entry.id, may_be_membership: false }).collect(),
        };
        Member {
            raft: Raft::new(config, recovered),
            id,
            view: disk.clone(),
            disk,
            held: VecDeque::new(),
            sent: Vec::new(),
            applied: Vec::new(),
            register: 0,
            read: Vec::new(),
        }
    }

    pub fn status(&self) -> Status {
        self.raft.status()
    }

    /// How many writes are under way.
    pub fn writes(&self) -> usize {
        self.held.len()
    }

    /// The election timer fires. What is asked for meanwhile is lost.
    pub fn campaign(&mut self) {
        for _ in 0..=5 * ELECTION_TICKS {
            self.raft.tick();
            self.turn();
            self.sent.retain(|(_, message)| !matches!(message, Message::Fetch { .. }));
            if !self.sent.is_empty() {
                return;
            }
        }
        panic!("{} does not campaign within five election timeouts", self.id);
    }

    /// Whether a leader was heard within the minimum election timeout, so that others do not get the vote.
    pub fn hears_a_leader(&self) -> bool {
        let status = self.status();
        status.role != Role::Leader
            && status.leader.is_some()
            && self.since_leader() < u64::from(ELECTION_TICKS)
    }

    /// The minimum election timeout passes, but not the drawn one.
    pub fn wait(&mut self) {
        for _ in self.since_leader()..u64::from(ELECTION_TICKS) {
            self.raft.tick();
            self.turn();
            assert!(self.sent.is_empty(), "the seed was to draw longer timeouts: take another");
        }
    }

    /// Whether a read waits here.
    pub fn has_asked(&self) -> bool {
        let raft = format!("{:?}", self.raft);
        !raft.contains("early: [], waiting: []")
    }

    fn since_leader(&self) -> u64 {
        field(&format!("{:?}", self.raft), "since_leader: ").expect("a field of the timer")
    }

    /// Asks another for what is lost here.
    pub fn ask_for_lost(&mut self, other: NodeId) {
        self.raft.peer_reachable(other);
        self.turn();
        self.sent.retain(|(_, message)| matches!(message, Message::Fetch { .. }));
    }

    /// Its disk loses an entry's content, and it starts again from there.
    pub fn rot(&mut self, index: Index) {
        self.disk.lost.insert(index);
        self.crash();
    }

    /// Whether it acknowledged in the last turn what its disk has lost.
    pub fn promises_too_much(&self) -> bool {
        let lost = self.disk.lost.first().copied();
        self.sent.iter().any(|(_, message)| match message {
            Message::AppendEntriesReply { result: AppendResult::Matched { upto }, .. } => {
                lost.is_some_and(|lost| lost <= *upto)
            }
            _ => false,
        })
    }

    /// A tick of time.
    pub fn tick(&mut self) {
        self.raft.tick();
        self.turn();
    }

    /// The leader's heartbeat is due.
    pub fn beat(&mut self) {
        (0..HEARTBEAT_TICKS).for_each(|_| self.raft.tick());
        self.turn();
    }

    pub fn propose(&mut self, command: u8) -> LogId {
        let id = self.raft.propose([command].into()).expect("a leader with room");
        self.turn();
        id
    }

    /// A client reads.
    pub fn ask(&mut self, token: u64) {
        self.raft.read(token).expect("a leader with room");
        self.turn();
    }

    pub fn step(&mut self, from: NodeId, message: Message) {
        self.raft.step(from, message);
        self.turn();
    }

    /// The oldest write becomes durable.
    pub fn persist(&mut self) {
        let Some(held) = self.held.pop_front() else { return };
        self.disk.write(&held.persist);
        self.raft.persisted(held.persist.ticket);
        self.turn();
        self.sent.extend(held.after);
    }

    /// Loses everything but what is durable, and starts again.
    pub fn crash(&mut self) {
        *self = Member::new(self.id, std::mem::take(&mut self.disk));
        self.turn();
    }

    /// Does what the driver does with a `Ready`, but for the writes, which wait.
    pub fn turn(&mut self) {
        self.sent.clear();
        self.applied.clear();
        self.read.clear();
        while let Some(ready) = self.raft.ready() {
            self.sent.extend(ready.send_now);
            match (ready.persist, self.held.back_mut()) {
                (Some(persist), _) => {
                    self.view.write(&persist);
                    self.held.push_back(Held { persist, after: ready.send_after_persist });
                }
                (None, Some(last)) => last.after.extend(ready.send_after_persist),
                (None, None) => self.sent.extend(ready.send_after_persist),
            }
            for event in ready.events {
                match event {
                    Event::Apply(entry) => {
                        if let Payload::Command(command) = &entry.payload {
                            self.register = command[0];
                        }
                        self.applied.push(entry);
                    }
                    Event::ReadReady { token } => self.read.push((token, self.register)),
                    // Who is refused has seen nothing.
                    Event::Role { .. } | Event::ReadFailed { .. } => {}
                    Event::Install(_) => panic!("nobody takes snapshots here: {event:?}"),
                }
            }
        }
        assert!(self.status().last == self.view.last(), "everything in the log is on its way to the disk");
    }

    /// This member for the fingerprint. `view` follows from the rest, `sent`, `applied` and `read` are taken already.
    pub fn faces(&self) -> Faces {
        let patience = u64::from(ELECTION_TICKS);
        let held = self.held.iter().map(|held| {
            // In what order the others are written to says nothing: the network keeps none.
            let after = sum(held.after.iter().map(|sent| faces(sent, patience)));
            then(faces(&held.persist, patience), after)
        });
        let disk = then(faces(&self.raft, patience), faces(&self.disk, patience));
        held.fold(disk, then)
    }
}
