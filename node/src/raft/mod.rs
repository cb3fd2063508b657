//! One Raft group, without a world: no clock, no disk, no socket, no thread (sans-IO). Messages, ticks and finished
//! writes go in; a [`Ready`] comes out that says by its fields in which order the driver must do what.
//!
//! Never done here: deciding what a command means (that is `shard`'s), waiting for anything, retrying.
//!
//! "In Search of an Understandable Consensus Algorithm", Ongaro and Ousterhout, extended version (the paper), and
//! "Consensus: Bridging Theory and Practice", Ongaro (the thesis). One file a section:
//!
//! ```text
//!   election     §5.2, §5.4.1, thesis §9.6     reads        §8, thesis §6.4
//!   replication  §5.3, the leader's side       snapshot     §7
//!   acceptance   §5.3, the follower's side     log          entries in memory
//!   commit       §5.3, §5.4.2                  progress     what a leader knows of a follower
//!   durability   Figure 2, "persistent state"  invariants   Figure 3 and our own, asserted after every call
//!   membership   §6, who belongs to a group    changes      §6, thesis chapter 4: how that changes
//!   quorum       §6, majorities of both halves transfer     thesis §3.10
//!   hint         connections come and go       lease        thesis §6.4.1
//!   read_index   §6.4, reads on followers      rest         idle groups say nothing
//!   repair       what a disk lost comes back from others
//!   beginning    a group that is made while its nodes run
//! ```

pub mod config;
pub mod log_id;
pub mod membership;
pub mod message;
pub mod ready;

mod acceptance;
mod beginning;
mod changes;
mod commit;
mod durability;
mod election;
mod hint;
mod invariants;
mod lease;
mod log;
mod output;
mod progress;
mod quorum;
mod read_index;
mod reads;
mod repair;
mod replication;
mod rest;
mod shared_bytes;
mod snapshot;
mod transfer;

pub use changes::{ChangeError, Changing};
pub use config::{Config, Lost, Recovered};
pub use lease::{LATE_TICKS_MAX, lease_ticks};
pub use log_id::{Entry, Index, LogId, Payload, Snapshot, Term};
pub use membership::{ADDRESS_BYTES_MAX, Change, MEMBERS_MAX, Membership, Unfit};
pub use message::{AppendResult, Message};
pub use progress::{FollowerMode, FollowerStatus};
pub use ready::{Event, HardState, Persist, ProposeError, Ready, Role, Status, Ticket};
pub use transfer::TransferError;

use std::collections::BTreeMap;
use std::sync::Arc;

use ordeal_client::wire::NodeId;
use rand_pcg::Pcg32;

use changes::Memberships;
use durability::Durability;
use lease::Lease;
use log::Log;
use output::Output;
use progress::Progress;
use quorum::Votes;
use read_index::Asking;
use reads::{Confirmed, Reader, Reads};
use repair::{Repair, Repairing};
use rest::Rest;
use snapshot::Partial;
use transfer::Handover;

/// One member of one group.
#[derive(Debug, Clone)]
pub struct Raft {
    config: Config,
    /// currentTerm and votedFor.
    hard_state: HardState,
    log: Log,
    durability: Durability,
    /// Who belongs to the group, as the log and the snapshot before it say.
    memberships: Memberships,
    /// commitIndex.
    commit: Index,
    /// lastApplied: handed out.
    applied: Index,
    state: State,
    leader: Option<NodeId>,
    /// Newest durable snapshot.
    snapshot: Option<Snapshot>,
    /// A snapshot on its way here.
    partial: Option<Partial>,
    /// A durable snapshot that the machine above has still to take over.
    install: Option<Snapshot>,
    /// The one that it is taking over.
    installing: Option<LogId>,
    timer: Timer,
    rest: Rest,
    repair: Repair,
    /// Ticks since the start.
    now: u64,
    rng: Pcg32,
    /// Number of the last heartbeat broadcast. Never starts anew, so that no answer confirms what came after it.
    round: u64,
    confirmed_reads: Confirmed,
    asking: Asking,
    /// There is no space for more commands than this.
    room_bytes: Option<usize>,
    output: Output,
}

/// What a member is, with what only such a one knows.
#[derive(Debug, Clone)]
enum State {
    Follower,
    PreCandidate(Votes),
    Candidate(Votes),
    Leader(Leader),
}

/// What only a leader knows; gone with its term.
#[derive(Debug, Clone)]
struct Leader {
    followers: BTreeMap<NodeId, Progress>,
    /// Commit index that the followers were told by themselves, where they are ([`Config::tells_commits`]).
    told_commit: Index,
    reads: Reads,
    lease: Lease,
    handover: Option<Handover>,
    /// While it lacks entries: it leads only to get them.
    repairing: Option<Repairing>,
}

/// The election timer, in ticks.
#[derive(Debug, Clone)]
struct Timer {
    /// Since the timer was last reset.
    elapsed: u32,
    /// When it fires.
    timeout: u32,
    /// But not before this, as somebody else is given time.
    not_before: u32,
    /// Since a leader was heard (thesis §4.2.3).
    since_leader: u32,
    /// Since anybody was a candidate as far as we know: we asked, or would have voted, or voted.
    since_candidate: u32,
    /// Since a leader was promised no vote (`lease`), whatever the term was.
    since_promise: u32,
}

impl Raft {
    /// A member as the disk remembered it.
    ///
    /// # Panics
    /// When the configuration or what the disk remembered contradicts itself.
    #[must_use]
    pub fn new(config: Config, recovered: Recovered) -> Raft {
        invariants::check_config(&config);
        let Recovered { hard_state, snapshot, entries, lost } = recovered;
        let mut memberships = match &snapshot {
            Some(snapshot) => Memberships::new(snapshot.last.index, Arc::clone(&snapshot.membership)),
            None => Memberships::new(0, Arc::clone(&config.bootstrap)),
        };
        let (log, write_again) = snapshot::recovered_log(snapshot.as_ref(), entries, &lost);
        (log.first()..=log.last().index)
            .filter_map(|index| log.entry(index))
            .for_each(|e| memberships.append(&e));
        let commit = snapshot.as_ref().map_or(0, |snapshot| snapshot.last.index);
        let mut durability = Durability::new(hard_state, &log);
        if let Some(snapshot) = snapshot.clone().filter(|_| write_again) {
            durability.taken(snapshot);
        }
        let mut raft = Raft {
            durability,
            hard_state,
            log,
            memberships,
            commit,
            applied: 0,
            state: State::Follower,
            leader: None,
            install: snapshot.clone(),
            installing: None,
            snapshot,
            partial: None,
            timer: Timer {
                elapsed: 0,
                timeout: 0,
                not_before: 0,
                since_leader: u32::MAX,
                since_candidate: u32::MAX,
                since_promise: 0,
            },
            rest: Rest::default(),
            repair: Repair::of(&lost),
            now: 0,
            // Members share the seed of their group: each draws from a stream of its own.
            rng: Pcg32::new(config.seed, u64::from(config.id.0)),
            round: 0,
            confirmed_reads: Confirmed::default(),
            asking: Asking::new(config.incarnation),
            room_bytes: None,
            output: Output::new(hard_state.term),
            config,
        };
        raft.reset_timer();
        raft.check();
        raft
    }

    /// A message of another node of the cluster came. What makes no sense is ignored. "Servers process incoming RPC requests
    /// without consulting their current configurations" (thesis §4.1), for the sender may know a newer one: only answers
    /// of those who are no members count for nothing.
    pub fn step(&mut self, from: NodeId, message: Message) {
        if from == self.config.id {
            return;
        }
        self.wake_for(&message);
        match message {
            Message::RequestVote { term, last, pre, handed_over } => {
                self.on_request_vote(from, term, last, pre, handed_over);
            }
            Message::RequestVoteReply { term, asked, pre, granted } => {
                self.on_request_vote_reply(from, term, asked, pre, granted);
            }
            Message::AppendEntries { term, previous, entries, commit } => {
                self.on_append_entries(from, term, previous, entries, commit);
            }
            Message::AppendEntriesReply { term, result } => self.on_append_entries_reply(from, term, result),
            Message::Heartbeat { term, commit, round, rest } => {
                self.on_heartbeat(from, term, commit, round, rest);
            }
            Message::HeartbeatReply { term, round, rest } => self.on_heartbeat_reply(from, term, round, rest),
            Message::InstallSnapshot { term, last, membership, total_bytes, offset, data } => {
                let part = snapshot::Part { last, membership, total_bytes, offset, data };
                self.on_install_snapshot(from, term, part);
            }
            Message::InstallSnapshotReply { term, last, received, installed } => {
                self.on_install_snapshot_reply(from, term, last, received, installed);
            }
            Message::ReadIndex { term, number } => self.on_read_index(from, term, number),
            Message::ReadIndexReply { term, number, index, commit } => {
                self.on_read_index_reply(from, term, number, index, commit);
            }
            Message::TimeoutNow { term } => self.on_timeout_now(from, term),
            Message::Fetch { term, ids } => self.on_fetch(from, term, &ids),
            Message::Fetched { term, entries, absent, covered } => {
                self.on_fetched(from, term, entries, &absent, covered);
            }
        }
        self.finish();
    }

    /// A tick of time passed.
    pub fn tick(&mut self) {
        self.now += 1;
        self.durability.tick();
        self.timer.since_promise = self.timer.since_promise.saturating_add(1);
        self.tick_reads();
        self.tick_repair();
        match self.state {
            State::Leader(_) => self.tick_leader(),
            State::Follower | State::PreCandidate(_) | State::Candidate(_) => self.tick_election(),
        }
        self.finish();
    }

    /// Appends a command, on the leader. It is committed when it comes back as [`Event::Apply`] under this id.
    ///
    /// # Errors
    /// When this is not the leader, or too much is uncommitted, or leadership is on its way to another. Nothing was
    /// appended then.
    pub fn propose(&mut self, command: Arc<[u8]>) -> Result<LogId, ProposeError> {
        self.as_leader()?;
        self.keeps_leading()?;
        if self.log.bytes_behind(self.commit) > self.config.uncommitted_bytes_max as u64 {
            return Err(ProposeError::Busy);
        }
        let id = self.append_as_leader(Payload::Command(command));
        self.finish();
        Ok(id)
    }

    /// Asks for a linearizable read, on the leader: answered by [`Event::ReadReady`] or [`Event::ReadFailed`].
    ///
    /// # Errors
    /// When this is not the leader, or too many reads wait. No event comes then.
    pub fn read(&mut self, token: u64) -> Result<(), ProposeError> {
        self.as_leader()?;
        self.queue_read(Reader::Here(token))?;
        self.wake();
        self.finish();
        Ok(())
    }

    /// This write and all before it are durable.
    ///
    /// # Panics
    /// When no such write was handed out.
    pub fn persisted(&mut self, ticket: Ticket) {
        let voted = self.durability.holds(self.hard_state);
        if let Some((snapshot, origin)) = self.durability.persisted(ticket) {
            self.on_snapshot_durable(snapshot, origin);
        }
        match self.state {
            State::Candidate(_) if !voted && self.durability.holds(self.hard_state) => {
                self.on_own_vote_durable();
            }
            State::Leader(_) => self.commit_by_counting(),
            State::Follower | State::PreCandidate(_) | State::Candidate(_) => {}
        }
        self.finish();
    }

    /// The machine above took a snapshot of its state after `last`, which it has applied. One that is not newer than what
    /// there is, is ignored, and so is one from before this member knew who belongs to its group.
    ///
    /// # Panics
    /// When the snapshot is of something that was not applied.
    pub fn compact(&mut self, last: LogId, data: Arc<[u8]>) {
        assert!(last.index <= self.applied, "a snapshot at {last} is ahead of applied {}", self.applied);
        let newest = self.snapshot_index().max(self.durability.newest_snapshot_index());
        if last.index > newest {
            assert!(self.log.holds(last), "a snapshot at {last} is of another log");
            let membership = Arc::clone(self.memberships.at(last.index));
            if !membership.is_empty() {
                self.durability.taken(Snapshot { last, membership, data });
            }
        }
        self.finish();
    }

    /// Term of the entry at `index`, if the log holds it.
    #[must_use]
    pub fn term_at(&self, index: Index) -> Option<Term> {
        self.log.term_at(index)
    }

    /// Who belongs to the group as of the entry at `index`, which is applied and not before the newest snapshot.
    #[must_use]
    pub fn membership_at(&self, index: Index) -> &Arc<Membership> {
        self.memberships.at(index)
    }

    /// What to do next, or nothing. To be called until it says nothing, after every turn.
    pub fn ready(&mut self) -> Option<Ready> {
        if matches!(self.state, State::Leader(_)) {
            self.advance_membership();
            self.hand_over_when_ready();
            self.start_round_if_due();
            self.replicate();
            self.tell_commit();
        }
        self.ask_leader_if_due();
        let events = self.take_events();
        let persist = self.durability.take(self.hard_state, &self.log, &self.config);
        let ready = self.output.take(persist, events);
        self.finish();
        ready
    }

    /// How this member is.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            role: self.role(),
            term: self.hard_state.term,
            leader: self.leader,
            commit: self.commit,
            applied: self.applied,
            first: self.log.first(),
            last: self.log.last(),
            snapshot: self.snapshot.as_ref().map_or(LogId::ZERO, |snapshot| snapshot.last),
            lost: self.log.lost_count(),
            log_bytes: self.log.command_bytes(),
            at_rest: self.is_at_rest(),
        }
    }

    /// How its followers are, as this leader sees them; none when it does not lead.
    #[must_use]
    pub fn followers(&self) -> Vec<(NodeId, FollowerStatus)> {
        match &self.state {
            State::Leader(leader) => {
                leader.followers.iter().map(|(&node, progress)| (node, progress.status())).collect()
            }
            State::Follower | State::PreCandidate(_) | State::Candidate(_) => Vec::new(),
        }
    }

    fn role(&self) -> Role {
        match self.state {
            State::Follower => Role::Follower,
            State::PreCandidate(_) => Role::PreCandidate,
            State::Candidate(_) => Role::Candidate,
            State::Leader(_) => Role::Leader,
        }
    }

    fn as_leader(&mut self) -> Result<&mut Leader, ProposeError> {
        let heard = self.leader_heard();
        match &mut self.state {
            State::Leader(leader) => Ok(leader),
            State::Follower | State::PreCandidate(_) | State::Candidate(_) => {
                Err(ProposeError::NotLeader { leader: heard })
            }
        }
    }

    /// At the end of every call: what changed is told, what must hold is checked.
    fn finish(&mut self) {
        self.fail_reads_of_old_leader();
        let (role, term, leader) = (self.role(), self.hard_state.term, self.leader);
        self.output.tell_role(role, term, leader);
        self.check();
    }
}
