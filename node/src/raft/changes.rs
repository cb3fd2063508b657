//! How a group's membership changes (§6, thesis chapter 4): what a member knows of it, and the steps that its leader takes.
//!
//! "A server always uses the latest configuration in its log, regardless of whether the entry is committed" (§6): so it is
//! appended and truncated with the log, and kept by index here. The leader goes on by itself when a step is committed:
//! a learner that is caught up becomes a voter, a joint configuration is left, a leader that is out hands over and steps down.

use std::collections::VecDeque;
use std::sync::Arc;

use ordeal_client::wire::NodeId;

use super::membership::{Change, Membership, Unfit};
use super::progress::{Mode, Progress};
use super::{Entry, Index, Payload, Raft, State};

/// The configurations in a log, from the one that was in effect at its newest snapshot on.
///
/// Invariants: `later` is ordered by index, all of them behind `base`.
#[derive(Debug, Clone)]
pub(super) struct Memberships {
    base: (Index, Arc<Membership>),
    later: VecDeque<(Index, Arc<Membership>)>,
}

impl Memberships {
    /// `membership` is in effect at `index`, and what the entries behind it say.
    pub(super) fn new(index: Index, membership: Arc<Membership>) -> Self {
        Memberships { base: (index, membership), later: VecDeque::new() }
    }

    /// Takes an entry in, if it says something about members.
    pub(super) fn append(&mut self, entry: &Entry) {
        let Payload::Membership(membership) = &entry.payload else { return };
        let index = entry.id.index;
        if index > self.base.0 {
            assert!(index > self.latest_index(), "configuration {index} comes behind the last");
            self.later.push_back((index, Arc::clone(membership)));
        }
    }

    /// Takes an entry in that was lost, wherever it stands.
    pub(super) fn insert(&mut self, entry: &Entry) {
        let Payload::Membership(membership) = &entry.payload else { return };
        let index = entry.id.index;
        let place = self.later.partition_point(|(at, _)| *at < index);
        if index > self.base.0 {
            self.later.retain(|(at, _)| *at != index); // learned from the snapshot of another
            self.later.insert(place, (index, Arc::clone(membership)));
        }
    }

    /// What is in effect at `index`, which is committed, is known from somebody else's snapshot: what is lost before it says
    /// nothing more.
    pub(super) fn learn(&mut self, index: Index, membership: Arc<Membership>) {
        let place = self.later.partition_point(|(at, _)| *at < index);
        if index > self.base.0 && self.later.get(place).is_none_or(|(at, _)| *at > index) {
            self.later.insert(place, (index, membership));
        }
    }

    /// A snapshot says what is in effect at `index`, and takes the place of what the log said up to there.
    pub(super) fn begin_at(&mut self, index: Index, membership: Arc<Membership>) {
        self.later.retain(|(at, _)| *at > index);
        self.base = (index, membership);
    }

    /// The log lost everything from `index` on, and with it the configurations there (E10).
    pub(super) fn truncate_from(&mut self, index: Index) {
        assert!(index > self.base.0, "what a snapshot covers is never truncated");
        while self.later.pop_back_if(|(at, _)| *at >= index).is_some() {}
    }

    /// A snapshot of the state at `index` is durable: what was before is history.
    pub(super) fn forget_before(&mut self, index: Index) {
        while let Some(next) = self.later.pop_front_if(|(at, _)| *at <= index) {
            self.base = next;
        }
    }

    /// The configuration in effect.
    pub(super) fn latest(&self) -> &Arc<Membership> {
        self.later.back().map_or(&self.base.1, |(_, membership)| membership)
    }

    pub(super) fn latest_index(&self) -> Index {
        self.later.back().map_or(self.base.0, |(index, _)| *index)
    }

    /// The configuration in effect at `index`, which is not before the newest snapshot.
    pub(super) fn at(&self, index: Index) -> &Arc<Membership> {
        let place = self.later.partition_point(|(at, _)| *at <= index);
        place.checked_sub(1).and_then(|place| self.later.get(place)).map_or(&self.base.1, |(_, known)| known)
    }

    /// The configurations that are or may come to be in effect, given what is known to be committed.
    fn since(&self, commit: Index) -> impl Iterator<Item = &Membership> {
        let undecided = self.later.iter().filter(move |(at, _)| *at > commit).map(|(_, known)| &**known);
        std::iter::once(&**self.at(commit)).chain(undecided)
    }
}

/// What became of a wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changing {
    /// The group is as was wished, and that is committed.
    Done,
    /// It will be, if the leader stays and a majority lives; ask again.
    UnderWay,
}

/// Why a change was not begun. Nothing was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Not the leader.
    #[error("not the leader")]
    NotLeader {
        /// Who is, if known.
        leader: Option<NodeId>,
    },
    /// Another change is under way, or leadership is being handed over, or the leader has not committed an entry of its
    /// term yet: try again.
    #[error("another change is under way")]
    Busy,
    /// It cannot be made.
    #[error(transparent)]
    Unfit(#[from] Unfit),
}

impl Raft {
    /// The configuration in effect here: the latest in the log, committed or not.
    #[must_use]
    pub fn membership(&self) -> &Arc<Membership> {
        self.memberships.latest()
    }

    /// Wishes for a change of members, on the leader. The same wish again is harmless: who wants to know when it is done
    /// asks until it is.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing was appended then.
    pub fn change_members(&mut self, change: &Change) -> Result<Changing, ChangeError> {
        if !matches!(self.state, State::Leader(_)) {
            return Err(ChangeError::NotLeader { leader: self.leader_heard() });
        }
        let latest = Arc::clone(self.membership());
        let settled = self.memberships.latest_index() <= self.commit && !latest.is_joint();
        if latest.fulfils(change) {
            return Ok(if settled { Changing::Done } else { Changing::UnderWay });
        }
        if latest.prepares(change) {
            return Ok(Changing::UnderWay);
        }
        // No change before an entry of our own term is committed: an older leader may have begun another one that we do
        // not know, and with it a quorum that ours need not meet (E2, Ongaro on raft-dev, 2015-07-10).
        if !settled || !self.committed_own_term() || self.is_handing_over() {
            return Err(ChangeError::Busy);
        }
        let next = latest.begin(change)?;
        self.append_membership(next);
        self.finish();
        Ok(Changing::UnderWay)
    }

    /// The next step of a change, when the one before is committed.
    pub(super) fn advance_membership(&mut self) {
        let State::Leader(leader) = &self.state else { return };
        let latest = self.memberships.latest();
        if self.memberships.latest_index() > self.commit || !self.committed_own_term() {
            return;
        }
        if latest.is_joint() {
            // "Once C_old,new has been committed … it is now safe for the leader to create a log entry describing C_new" (§6).
            let next = latest.leaving_joint();
            return self.append_membership(next);
        }
        if !latest.is_voter(self.config.id) {
            return self.leave();
        }
        let last = self.log.last().index;
        let ready = |node: &NodeId| {
            leader.followers.get(node).is_some_and(|follower| self.is_caught_up(follower, last))
        };
        let caught_up: Vec<NodeId> = latest.to_promote().filter(ready).collect();
        if !caught_up.is_empty() {
            let next = latest.promoting(&caught_up);
            self.append_membership(next);
        }
    }

    /// Thesis §4.2.1: a server that is far behind would leave the group without a majority that can commit, so it is a
    /// learner until it is not.
    fn is_caught_up(&self, follower: &Progress, last: Index) -> bool {
        matches!(follower.mode, Mode::Replicate { .. })
            && follower.match_index + self.config.promotion_lag_entries >= last
            && follower.silent_ticks < self.config.heartbeat_ticks.saturating_mul(2)
    }

    fn append_membership(&mut self, next: Membership) {
        assert!(next.is_sound(), "an unsound configuration: {next}");
        self.append_as_leader(Payload::Membership(Arc::new(next)));
        self.follow_membership();
        // A majority may be smaller now.
        self.commit_by_counting();
        self.confirm_reads();
    }

    /// A follower for each member, none for anybody else.
    pub(super) fn follow_membership(&mut self) {
        // Whoever is new is asked about the entry that makes it a member, and answers how far back to go.
        let (id, next_index) = (self.config.id, self.log.last().index);
        let membership = Arc::clone(self.memberships.latest());
        let State::Leader(leader) = &mut self.state else { return };
        leader.followers.retain(|node, _| membership.addresses().contains_key(node));
        for node in membership.members().filter(|&node| node != id) {
            leader.followers.entry(node).or_insert_with(|| Progress::new(next_index));
        }
    }

    /// "The leader steps down (returns to follower state) once it has committed the C_new log entry" (§6). Who has all of
    /// the log is asked to campaign at once, so that nobody waits for an election timeout.
    fn leave(&mut self) {
        if let Some(heir) = self.best_heir() {
            self.send_timeout_now(heir);
        }
        self.become_follower(self.hard_state.term, None);
    }

    /// Whether this member may campaign: it is a voter, or it was in what is not known to be over yet. "A server that is not
    /// part of its own latest configuration should still start new elections, as it might still be needed until the C_new
    /// entry is committed" (thesis §4.2.2). And it knows who votes with it (`repair`, rule 5).
    pub(super) fn may_campaign(&self) -> bool {
        let voted = self.memberships.since(self.commit).any(|known| known.is_voter(self.config.id));
        voted && self.knows_members()
    }

    /// Everybody whose vote counts, but this one.
    pub(super) fn other_voters(&self) -> Vec<NodeId> {
        let latest = self.membership();
        let own = self.config.id;
        latest.members().filter(|&node| node != own && latest.is_voter(node)).collect()
    }
}
