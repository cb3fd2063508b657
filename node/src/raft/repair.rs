//! Entries that the disk lost, fetched from the other members (protocol-aware recovery, Alagappan et al., FAST'18: CTRL).
//!
//! A disk that damages an entry leaves its place: index and term are known, the content is gone. That is neither a short log
//! (to vote or acknowledge as if the entry had never been there may lose what a client was promised) nor a reason to stop.
//! By log matching (§5.3) the id names one content: any intact copy is right, from any member, whatever its role and term.
//!
//! ```text
//!   log here     … 7@2  8@2  ✗9@2  10@3  ✗11@3  12@3       ✗ lost: the id stands
//!                          ▲
//!   acknowledged, counted, applied up to here               compared, for elections and matching: all of it
//!
//!   every heartbeat    Fetch 9@2 11@3 ─▶ everybody
//!   ordinary leader    takes back what it thought we had, and sends again from 9 on, or its snapshot
//!   anybody else       ─▶ Fetched: 9@2 with its content │ 11@3 absent │ nothing about what is lost there, too, or is cut
//!   here               the content is written in its place (a repair), and counts when that is durable
//! ```
//!
//! # Rules
//!
//! 1. A lost entry counts in the comparison of logs (§5.4.1) and of `previous` (§5.3): we have promised it.
//! 2. It is not acknowledged, sent or applied, and nothing behind it is acknowledged or applied. The leader may know a higher match
//!    from before the damage, and keeps it until we ask it for the entry: what it committed with that is safe, as of rule 6.
//! 3. A request of the leader refills it as it would append it, one that conflicts truncates it, a snapshot covers it. What
//!    stands behind the end of a snapshot that covers it stays: it may be acknowledged, and committed with that.
//! 4. Who lacks an entry gives others time: it campaigns two election timeouts later than they, and never when told to.
//! 5. Whom the lost entries may have named as voters nobody knows: while one that may be a configuration stands behind
//!    the last known one, this member does not campaign at all. It could win by a majority of those who decide nothing any
//!    more. Who has cut the entry says what was in effect behind it.
//!
//! # A leader that lacks entries
//!
//! Entries that nobody else has may never have been committed, and then their ids would keep all shorter logs from winning
//! for ever. So who has them may lead, to find out. It writes nothing, not even a no-op, takes no proposals and no reads, and
//! asks as everybody does, in its term. It ends as one of these:
//!
//! * all came back: it writes its no-op and leads;
//! * a majority of the voters (of both halves, while joint), itself not among them, answered **in its term** that it has no such
//!   id, neither whole nor lost nor before the begin of its log (rule 6): it steps down and truncates;
//! * another voter acknowledged all of the log, so it lacks nothing: that one is to lead, and repairs us (by its snapshot, when
//!   it has cut the entry);
//! * nothing came back for two election timeouts: it steps down, and the group waits for whoever has the entry.
//!
//! Why in its term: an entry is committed when a majority acknowledged it **to one leader**. Those who answered absent have not
//! acknowledged it in any term before ours, for they would have it, and can no more, as they are in ours; any majority
//! holds one of them. Had one answered in an older term, it could acknowledge the entry afterwards to that term's leader, who
//! still counts our own word from before the damage. In terms to come our word is given anew. What a damaged member says is no
//! answer: it promised the entry. Members that a configuration behind the entry brought in need no count: it was committed by a
//! majority of ours, and with it all that it stands upon.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ordeal_client::wire::NodeId;

use super::log::weight;
use super::transfer::Handover;
use super::{Entry, Index, Leader, LogId, Lost, Membership, Message, Payload, Raft, State, Term};

/// Ids in one request: an answer takes a few messages of the usual length when entries are of some KiB, and the next
/// request follows at once.
pub(super) const FETCH_MAX: usize = 256;

/// What a member knows of its losses beside the log's own marks.
#[derive(Debug, Clone, Default)]
pub(super) struct Repair {
    /// Ticks since all were asked.
    asked_ticks: u32,
    /// Indexes of those that may have been configurations; some may be back, or truncated.
    doubtful: BTreeSet<Index>,
}

/// What a leader knows that lacks entries.
#[derive(Debug, Clone, Default)]
pub(super) struct Repairing {
    /// Ticks since something came back.
    idle_ticks: u32,
    /// Who said in our term that it holds no such entry.
    absent: BTreeMap<Index, BTreeSet<NodeId>>,
}

impl Repair {
    pub(super) fn of(lost: &[Lost]) -> Repair {
        let doubtful = lost.iter().filter(|lost| lost.may_be_membership).map(|lost| lost.id.index);
        Repair { asked_ticks: 0, doubtful: doubtful.collect() }
    }
}

impl Raft {
    /// Whether there are entries here without their content.
    pub(super) fn lacks_entries(&self) -> bool {
        self.log.first_lost().is_some()
    }

    /// Whether this leader may not lead yet.
    pub(super) fn is_repairing(&self) -> bool {
        matches!(&self.state, State::Leader(leader) if leader.repairing.is_some())
    }

    /// Whether the latest configuration of the log is known (rule 5).
    pub(super) fn knows_members(&self) -> bool {
        let behind = self.repair.doubtful.range(self.memberships.latest_index() + 1..);
        !behind.into_iter().any(|&index| self.log.is_lost_at(index))
    }

    /// Asks everybody, as often as a leader beats.
    pub(super) fn tick_repair(&mut self) {
        if !self.lacks_entries() {
            return;
        }
        self.repair.asked_ticks += 1;
        if self.repair.asked_ticks >= self.config.heartbeat_ticks {
            self.repair.asked_ticks = 0;
            // The leader may be one that became a member by what is lost.
            let known: BTreeSet<NodeId> = self.membership().members().chain(self.leader).collect();
            known.into_iter().for_each(|node| self.ask_for_lost(node));
        }
    }

    /// Asks one for the first entries that are lost, if any are.
    pub(super) fn ask_for_lost(&mut self, to: NodeId) {
        if self.lacks_entries() && to != self.config.id {
            let ids = self.log.lost().take(FETCH_MAX).collect();
            self.output.send_now(to, Message::Fetch { term: self.hard_state.term, ids });
        }
    }

    /// A member lacks entries. An ordinary leader takes back what it thought that one had, and so sends it again. Anybody else
    /// says what it has, and when all that it says stands on its disk, the term in which it says so above all (rule 6).
    pub(super) fn on_fetch(&mut self, from: NodeId, term: Term, ids: &[LogId]) {
        let lowest = ids.iter().map(|id| id.index).min().unwrap_or(0);
        if lowest == 0 || ids.len() > FETCH_MAX {
            return;
        }
        match &mut self.state {
            State::Leader(leader) if leader.repairing.is_none() => {
                if let Some(follower) =
                    leader.followers.get_mut(&from).filter(|_| term == self.hard_state.term)
                {
                    follower.lost_from(lowest);
                }
            }
            State::Leader(_) | State::Follower | State::PreCandidate(_) | State::Candidate(_) => {
                self.answer_fetch(from, ids);
            }
        }
    }

    fn answer_fetch(&mut self, to: NodeId, ids: &[LogId]) {
        let (mut entries, mut absent, mut bytes) = (Vec::new(), Vec::new(), 0);
        // What is cut was committed; what is lost here as well was promised: of neither there is anything to say.
        for &id in ids.iter().filter(|id| id.index > self.log.base().index) {
            if !self.log.holds(id) {
                absent.push(id);
            } else if let Some(entry) = self.log.entry(id.index) {
                bytes += weight(&entry);
                if entries.is_empty() || bytes <= self.config.append_bytes_max {
                    entries.push(entry);
                }
            }
        }
        let is_cut = ids.iter().any(|id| id.index <= self.log.base().index);
        let snapshot = self.snapshot.as_ref().filter(|_| is_cut);
        let covered = snapshot.map(|snapshot| (snapshot.last, Arc::clone(&snapshot.membership)));
        if !entries.is_empty() || !absent.is_empty() || covered.is_some() {
            let term = self.hard_state.term;
            self.output.send_after_persist(to, Message::Fetched { term, entries, absent, covered });
        }
    }

    /// A member says what it has of what we lack.
    pub(super) fn on_fetched(
        &mut self,
        from: NodeId,
        term: Term,
        entries: Vec<Entry>,
        absent: &[LogId],
        covered: Option<(LogId, Arc<Membership>)>,
    ) {
        if self.refill(entries) && absent.is_empty() {
            self.ask_for_lost(from);
        }
        if let Some((last, membership)) = covered
            && membership.is_sound()
            && self.log.holds(last)
            && !self.is_repairing()
            && self.lacks_entries()
        {
            self.commit_upto(last.index);
            self.memberships.learn(last.index, membership);
        }
        self.count_absent(from, term, absent);
    }

    /// Takes those back that are lost here; true if there were any.
    pub(super) fn refill(&mut self, entries: Vec<Entry>) -> bool {
        let mut first = None;
        for entry in entries.into_iter().filter(|entry| is_sound(&entry.payload)) {
            if self.log.is_lost(entry.id) {
                first = Some(first.map_or(entry.id.index, |first: Index| first.min(entry.id.index)));
                self.memberships.insert(&entry);
                self.durability.filled(entry.id.index);
                self.log.fill(entry);
            }
        }
        let Some(first) = first else { return false };
        self.log.weigh_from(first);
        let all = !self.lacks_entries();
        if let State::Leader(Leader { repairing: repairing @ Some(_), .. }) = &mut self.state {
            *repairing = (!all).then(|| Repairing { idle_ticks: 0, ..repairing.take().unwrap_or_default() });
            self.follow_membership();
            if all {
                self.append_as_leader(Payload::Noop);
            }
        }
        true
    }

    /// Rule 6.
    fn count_absent(&mut self, from: NodeId, term: Term, absent: &[LogId]) {
        let State::Leader(Leader { repairing: Some(repairing), .. }) = &mut self.state else { return };
        if term != self.hard_state.term || absent.len() > FETCH_MAX {
            return;
        }
        for id in absent.iter().filter(|id| id.index > self.commit && self.log.is_lost(**id)) {
            repairing.absent.entry(id.index).or_default().insert(from);
        }
        let (own, latest) = (self.config.id, self.memberships.latest());
        let nowhere = repairing.absent.iter().find(|(index, who)| {
            self.log.is_lost_at(**index) && latest.has_majority(|node| node != own && who.contains(&node))
        });
        if let Some((&index, _)) = nowhere {
            self.become_follower(self.hard_state.term, None);
            self.truncate_from(index);
        }
    }

    /// A tick of a leader: one that lacks entries lets another lead that lacks nothing, and does not stay in its way for ever.
    pub(super) fn tick_repairing(&mut self) {
        let (last, own) = (self.log.last().index, self.config.id);
        let State::Leader(leader) = &mut self.state else { return };
        let Some(repairing) = &mut leader.repairing else { return };
        repairing.idle_ticks += 1;
        if repairing.idle_ticks >= 2 * self.config.election_ticks {
            return self.become_follower(self.hard_state.term, None);
        }
        // Two beats: what others have would be here by now.
        if leader.handover.is_none() && repairing.idle_ticks >= 2 * self.config.heartbeat_ticks {
            let mut voters = self.memberships.latest().voters().iter().filter(|&&voter| voter != own);
            let whole = |voter: &&NodeId| leader.followers.get(voter).is_some_and(|f| f.match_index == last);
            leader.handover = voters.find(whole).map(|&to| Handover::new(to));
        }
    }
}

/// A configuration from the network may be none.
fn is_sound(payload: &Payload) -> bool {
    match payload {
        Payload::Membership(membership) => membership.is_sound(),
        Payload::Noop | Payload::Command(_) => true,
    }
}
