//! One group on this node: its Raft member, its state machine, and the messages held back until the disk has what they
//! promise.

use std::collections::VecDeque;
use std::sync::Arc;

use ordeal_client::wire::{
    GroupId, GroupStatus, NodeId, PeerMode, PeerStatus, RefusalReason, Reply, RoleName, ShardId,
};

use super::config::{EngineConfig, EngineError};
use super::io::{RestoreJob, Restored, SnapshotJob, StoreJob};
use super::state::{Effect, State};
use super::waiters::{Awaited, Waiter, Waiters};
use super::watched::Watched;
use super::writes::Writes;
use crate::mover::Mover;
use crate::raft::{
    Entry, Event, FollowerMode, FollowerStatus, LogId, Message, Payload, Persist, Raft, Recovered, Role,
    Snapshot, Term, Ticket,
};
use crate::shard::moving::Stage;
use crate::shard::{Leftover, Machine};

/// What an entry counts for beside its command, so that empty ones count as well: its head in the log.
const ENTRY_BYTES: u64 = 64;

/// A group at rest takes a snapshot when the entries behind the last one hold more than this (a restart applies them in some
/// ten milliseconds), and more than this part of the state, so that writing it is worth it.
const REST_BYTES: u64 = 4 << 20;
const REST_SHARE: u64 = 16;

/// And one that is at work when they hold more than this part of the state. Of a large state a put is then written five
/// times, once into the log and four times into snapshots; half of the state were three times, and twice the log to apply at
/// a restart, which three nodes do not do in a second.
const BUSY_SHARE: u64 = 4;

/// While shards arrive, more than all of it: else what has come so far is written again and again, while the disk is busy with what
/// comes.
const ARRIVING_SHARE: u64 = 1;

/// So many entries are looked at together before they are applied: what they touch, some 3 KiB each, fits into a core's own
/// cache. With fewer than the second there is nothing to gain.
const AHEAD: usize = 64;
const AHEAD_MIN: usize = 8;

/// Values read in one turn hold at most so many bytes; reads beyond that are refused as busy, which is true of a read
/// whatever comes later. A client's whole queue of answers, so that one client is never refused for its own few.
const READ_BYTES_MAX: usize = 16 << 20;

/// A member of a group and all that belongs to it.
///
/// Invariants
/// * `state` is what it is after exactly the entries up to `applied`
/// * `held` is ordered by ticket; none of its tickets is durable
#[derive(Debug)]
pub(super) struct Group {
    id: GroupId,
    pub(super) raft: Watched,
    pub(super) state: State,
    /// The last entry whose effect is in `state`.
    pub(super) applied: LogId,
    /// The last entry covered by the newest snapshot, and its length.
    snapshot: LogId,
    snapshot_bytes: u64,
    /// Bytes of the entries applied since.
    bytes_since: u64,
    /// Whether a snapshot is being taken.
    taking: bool,
    /// A snapshot of the leader that is being turned into a state.
    restoring: Option<LogId>,
    /// Ticket of the newest write given out, and of the newest known to be durable.
    issued: Ticket,
    durable: Ticket,
    writes: Writes,
    held: VecDeque<(Ticket, Vec<(NodeId, Message)>)>,
    /// Drives the moves of its shards while it leads: in this term.
    pub(super) mover: Option<(Term, Mover)>,
    /// Whether the mover is to look how things stand.
    pub(super) look: bool,
}

/// What a group wants done this turn.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    /// Messages that may leave now.
    pub(super) sends: Vec<(NodeId, Message)>,
    /// What to make durable.
    pub(super) persist: Option<Persist>,
    /// A state to make a snapshot of.
    pub(super) snapshot: Option<SnapshotJob>,
    /// A snapshot of the leader to write aside.
    pub(super) store: Option<StoreJob>,
    /// A snapshot to make a state of.
    pub(super) restore: Option<RestoreJob>,
    /// What is to be dropped.
    pub(super) leftovers: Vec<Leftover>,
    /// Answers to those who waited.
    pub(super) replies: Vec<(Waiter, Reply)>,
    /// Bytes of the values read for them.
    pub(super) read_bytes: usize,
}

impl Group {
    /// A member as the disk remembered it, so many ticks after its node started.
    pub(super) fn new(
        config: &EngineConfig,
        id: GroupId,
        recovered: Recovered,
        ticks: u64,
    ) -> Result<Self, EngineError> {
        let mut state = State::first(config, id);
        let (mut applied, mut snapshot_bytes) = (LogId::ZERO, 0);
        if let Some(snapshot) = &recovered.snapshot {
            let last = snapshot.last;
            state = State::restore(id, &snapshot.data).map_err(|error| EngineError::Snapshot {
                group: id,
                last,
                error,
            })?;
            (applied, snapshot_bytes) = (last, snapshot.data.len() as u64);
        }
        assert!(state.applied() == applied.index, "a snapshot is of the entry that it names");
        Ok(Group {
            id,
            raft: Watched::new(Raft::new(config.raft(id, ticks), recovered)),
            state,
            applied,
            snapshot: applied,
            snapshot_bytes,
            bytes_since: 0,
            taking: false,
            restoring: None,
            issued: Ticket::default(),
            writes: Writes::default(),
            durable: Ticket::default(),
            held: VecDeque::new(),
            mover: None,
            look: true,
        })
    }

    /// This write and all before it are durable.
    pub(super) fn persisted(&mut self, ticket: Ticket) {
        assert!(self.durable < ticket, "{}: a write becomes durable once", self.id);
        assert!(ticket <= self.issued, "{}: only a write that was given out becomes durable", self.id);
        self.durable = ticket;
        self.raft.persisted(ticket);
    }

    /// What to do now, if anything.
    pub(super) fn wishes(&mut self, config: &EngineConfig, waiters: &mut Waiters) -> Option<Wishes> {
        let (snapshot, mut sends) = (self.snapshot_when_due(config), Vec::new());
        self.release(&mut sends);
        let Some(ready) = self.raft.ready() else {
            let (persist, store) = self.writes.next(self.id, self.applied);
            let any = snapshot.is_some() || !sends.is_empty() || persist.is_some() || store.is_some();
            return any.then(|| Wishes { sends, persist, snapshot, store, ..Wishes::default() });
        };
        let mut wishes = Wishes { snapshot, sends, ..Wishes::default() };
        wishes.sends.extend(ready.send_now);
        if let Some(persist) = ready.persist {
            assert!(persist.ticket > self.issued, "{}: tickets grow", self.id);
            self.issued = persist.ticket;
            self.writes.push(persist);
        }
        (wishes.persist, wishes.store) = self.writes.next(self.id, self.applied);
        if !ready.send_after_persist.is_empty() {
            self.held.push_back((self.issued, ready.send_after_persist));
            self.release(&mut wishes.sends);
        }
        let mut ahead = 0;
        let mut events = VecDeque::from(ready.events);
        while let Some(event) = events.pop_front() {
            ahead = if ahead == 0 { self.look_ahead(&events) } else { ahead - 1 };
            self.happened(config, event, waiters, &mut wishes);
        }
        Some(wishes)
    }

    /// Refuses what only a leader may do, and says who leads.
    pub(super) fn not_leader(&self, config: &EngineConfig, leader: Option<NodeId>) -> Reply {
        let known = self.raft.membership().addresses();
        let address = |node| known.get(&node).map(|logged| (node, config.address(node, logged)));
        Reply::Refused(RefusalReason::NotLeader { group: self.id, leader: leader.and_then(address) })
    }

    /// For `status`.
    pub(super) fn status(&self, config: &EngineConfig) -> GroupStatus {
        let (status, membership) = (self.raft.status(), self.raft.membership());
        GroupStatus {
            group: self.id,
            role: match status.role {
                Role::Follower => RoleName::Follower,
                Role::PreCandidate => RoleName::PreCandidate,
                Role::Candidate => RoleName::Candidate,
                Role::Leader => RoleName::Leader,
            },
            term: status.term,
            leader: status.leader,
            at_rest: status.at_rest,
            lost: status.lost as u64,
            commit: status.commit,
            applied: self.applied.index,
            first: status.first,
            last: status.last.index,
            log_bytes: status.log_bytes as u64,
            snapshot: status.snapshot.index,
            snapshot_bytes: self.snapshot_bytes,
            digest: self.state.digest(),
            shards: self.owned() as u64,
            keys: self.state.data().map_or(0, Machine::keys) as u64,
            sessions: self.state.data().map_or(0, Machine::sessions) as u64,
            members: (membership.addresses().iter())
                .map(|(&node, logged)| (node, config.address(node, logged)))
                .collect(),
            voters: membership.voters().iter().copied().collect(),
            outgoing: membership.outgoing().iter().copied().collect(),
            learners: membership.learners().collect(),
            peers: self
                .raft
                .followers()
                .into_iter()
                .map(|(node, status)| peer(config, node, status))
                .collect(),
            moves: self.state.data().map_or_else(Vec::new, Machine::moves),
        }
    }

    fn release(&mut self, sends: &mut Vec<(NodeId, Message)>) {
        while self.held.front().is_some_and(|&(ticket, _)| ticket <= self.durable) {
            let (_, messages) = self.held.pop_front().expect("there is a front");
            sends.extend(messages);
        }
    }

    fn happened(&mut self, config: &EngineConfig, event: Event, waiters: &mut Waiters, wishes: &mut Wishes) {
        match event {
            Event::Apply(entry) => self.apply(&entry, waiters, wishes),
            // The one that this node started from.
            Event::Install(snapshot) if snapshot.last == self.applied => self.raft.installed(snapshot.last),
            Event::Install(snapshot) => {
                self.restoring = Some(snapshot.last);
                wishes.restore = Some(RestoreJob { group: self.id, snapshot });
            }
            Event::ReadReady { token } => {
                let Some(waiter) = waiters.take(token) else { return };
                let reply = if wishes.read_bytes > READ_BYTES_MAX {
                    Reply::Refused(RefusalReason::Busy)
                } else {
                    self.read(&waiter.awaited)
                };
                if let Reply::Value(Some((value, _))) = &reply {
                    wishes.read_bytes += value.len();
                }
                wishes.replies.push((waiter, reply));
            }
            Event::ReadFailed { token } => {
                let Some(waiter) = waiters.take(token) else { return };
                wishes.replies.push((waiter, self.not_leader(config, self.raft.leader_heard())));
            }
            Event::Role { role, term, leader: _ } => {
                let outdated = waiters.take_outdated(self.id, term, role == Role::Leader);
                wishes.replies.extend(outdated.into_iter().map(|waiter| (waiter, Reply::Unknown)));
            }
        }
    }

    /// Looks at what the first of these events will touch, if they are entries to apply; says of how many.
    fn look_ahead(&self, events: &VecDeque<Event>) -> usize {
        let command = |event: &'_ Event| match event {
            Event::Apply(Entry { payload: Payload::Command(command), .. }) => Some(Arc::clone(command)),
            Event::Apply(Entry { payload: Payload::Noop | Payload::Membership(_), .. })
            | Event::Install(_)
            | Event::ReadReady { .. }
            | Event::ReadFailed { .. }
            | Event::Role { .. } => None,
        };
        let commands: Vec<Arc<[u8]>> = events.iter().take(AHEAD).map_while(command).collect();
        if let Some(machine) = self.state.data().filter(|_| commands.len() >= AHEAD_MIN) {
            std::hint::black_box(machine.look_ahead(commands.iter().map(|command| &**command)));
        }
        commands.len()
    }

    /// What a read sees that may be answered now.
    fn read(&self, awaited: &Awaited) -> Reply {
        match (awaited, &self.state) {
            (Awaited::Read { key }, State::Data(machine)) => machine.read(key),
            (Awaited::Configuration { number }, State::Controller(machine)) => {
                let newest = machine.latest().number;
                match machine.query(number.unwrap_or(newest)) {
                    Some(configuration) => Reply::Configuration(Box::new(configuration)),
                    None => {
                        let words = format!("there is no such configuration, the newest is {newest}");
                        Reply::Refused(RefusalReason::Unfit(words))
                    }
                }
            }
            (awaited, _) => panic!("{} reads no {awaited:?}", self.id),
        }
    }

    fn apply(&mut self, entry: &Entry, waiters: &mut Waiters, wishes: &mut Wishes) {
        let index = entry.id.index;
        let Effect { reply, moves, leftover } = match &entry.payload {
            Payload::Noop | Payload::Membership(_) => {
                self.state.skip(index);
                Effect::none()
            }
            Payload::Command(command) => self.state.apply(index, command),
        };
        self.look |= moves;
        wishes.leftovers.extend(leftover);
        self.applied = entry.id;
        self.bytes_since += ENTRY_BYTES + entry.payload.len() as u64;
        for waiter in waiters.take_upto(self.id, index) {
            let awaits_this = matches!(waiter.awaited, Awaited::Entry { id, .. } if id == entry.id);
            wishes.replies.push((waiter, if awaits_this { reply.clone() } else { Reply::Unknown }));
        }
    }

    /// Whether this node leads it, and has applied all that was committed before.
    pub(super) fn leads(&self) -> bool {
        let status = self.raft.status();
        status.role == Role::Leader && self.applied.term == status.term
    }

    /// Sees to it that there is a mover of this term: one that knows nothing of what others did in terms before.
    pub(super) fn mover(&mut self) {
        let term = self.raft.status().term;
        if self.mover.as_ref().is_none_or(|&(of, _)| of != term) {
            self.mover = Some((term, Mover::new(self.id)));
        }
    }

    /// How many shards it owns.
    fn owned(&self) -> usize {
        let shards =
            |machine: &Machine| machine.shards().filter(|&shard| self.epoch(shard).is_some()).count();
        self.state.data().map_or(0, shards)
    }

    /// The epoch in which it owns this shard, if it does.
    pub(super) fn epoch(&self, shard: ShardId) -> Option<u64> {
        match self.state.data()?.stage(shard) {
            Stage::Owned { epoch } | Stage::Leaving { epoch, .. } | Stage::Frozen { epoch, .. } => {
                Some(epoch)
            }
            Stage::Arriving { .. } | Stage::Away { .. } | Stage::Absent => None,
        }
    }

    /// The file of a snapshot of the leader is durable.
    pub(super) fn stored(&mut self, last: LogId) {
        self.writes.stored(last);
    }

    /// A snapshot of the leader is a state now: it takes the place of ours. Those who still wait for what it holds hear
    /// that nothing is known.
    pub(super) fn restored(&mut self, restored: Restored, waiters: &mut Waiters) -> Vec<Waiter> {
        let Restored { group: _, last, bytes, state } = restored;
        assert!(
            self.restoring.take() == Some(last),
            "{}: {last} is restored without being asked for",
            self.id
        );
        assert!(last.index >= self.applied.index, "{}: a snapshot never takes the state back", self.id);
        (self.state, self.applied) = (state, last);
        self.look = true;
        self.covered_by_snapshot(bytes);
        self.raft.installed(last);
        waiters.take_upto(self.id, last.index)
    }

    fn snapshot_when_due(&mut self, config: &EngineConfig) -> Option<SnapshotJob> {
        let entries = self.applied.index - self.snapshot.index;
        let long = entries > config.snapshot_entries || self.bytes_since > config.snapshot_bytes;
        // A snapshot costs its length; it waits until the log has grown by a part of that, so that a large state is not
        // written over and over for a few entries. The log stays bounded: by the limits, or that part of the state, and by
        // what comes while a snapshot is taken.
        let arriving = self.state.data().is_some_and(Machine::has_arrivals);
        let share = if arriving { ARRIVING_SHARE } else { BUSY_SHARE };
        let due = long && self.bytes_since >= self.snapshot_bytes / share;
        // Who has nothing else to do takes one sooner, for a restart applies what is behind the snapshot.
        let idle =
            self.raft.is_at_rest() && self.bytes_since > REST_BYTES.max(self.snapshot_bytes / REST_SHARE);
        if self.taking || self.restoring.is_some() || !(due || idle) {
            return None;
        }
        let membership = Arc::clone(self.raft.membership_at(self.applied.index));
        if membership.is_empty() {
            return None; // one that was told of nobody yet has nothing that others could not tell it
        }
        self.taking = true;
        self.covered_by_snapshot(self.snapshot_bytes);
        Some(SnapshotJob { group: self.id, last: self.applied, membership, state: self.state.clone() })
    }

    /// A snapshot is done. If one of the leader has overtaken it, it counts for nothing.
    pub(super) fn snapshot_taken(&mut self, snapshot: Snapshot) {
        assert!(self.taking, "{}: a snapshot was asked for before it is taken", self.id);
        self.taking = false;
        if snapshot.last == self.snapshot {
            self.snapshot_bytes = snapshot.data.len() as u64;
        }
        self.raft.compact(snapshot.last, snapshot.data);
    }

    /// There was no space for a snapshot: another one is tried when as many entries have come again.
    pub(super) fn snapshot_given_up(&mut self) {
        assert!(self.taking, "{}: a snapshot was asked for before it is given up", self.id);
        self.taking = false;
    }

    fn covered_by_snapshot(&mut self, bytes: u64) {
        (self.snapshot, self.snapshot_bytes, self.bytes_since) = (self.applied, bytes, 0);
    }
}

fn peer(config: &EngineConfig, node: NodeId, status: FollowerStatus) -> PeerStatus {
    PeerStatus {
        node,
        matched: status.match_index,
        next: status.next_index,
        mode: match status.mode {
            FollowerMode::Probe => PeerMode::Probe,
            FollowerMode::Replicate => PeerMode::Replicate,
            FollowerMode::Snapshot => PeerMode::Snapshot,
        },
        in_flight: status.in_flight as u64,
        heard_ms: u64::from(status.silent_ticks) * config.tick_ms,
    }
}
