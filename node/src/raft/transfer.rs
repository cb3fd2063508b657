//! Leadership handed over (thesis §3.10): the leader takes nothing more in, brings its heir up to date, and asks it to
//! campaign at once.
//!
//! ```text
//!   leader ── entries ──▶ heir ── matched ──▶ leader ── TimeoutNow ──▶ heir ── RequestVote (handed over) ──▶ everybody
//! ```
//!
//! Voters grant such a vote although they hear a leader, for it is that leader's own wish. The heir asks no pre-vote. When
//! nothing comes of it within an election timeout, the leader goes on as before.

use ordeal_client::wire::NodeId;

use super::{Message, ProposeError, Raft, State, Term};

/// Leadership under way to another.
#[derive(Debug, Clone)]
pub(super) struct Handover {
    to: NodeId,
    asked: bool,
    elapsed: u32,
}

impl Handover {
    pub(super) fn new(to: NodeId) -> Self {
        Handover { to, asked: false, elapsed: 0 }
    }
}

/// Why leadership was not handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// Not the leader.
    #[error("not the leader")]
    NotLeader {
        /// Who is, if known.
        leader: Option<NodeId>,
    },
    /// Only another voter can lead.
    #[error("no voter to hand over to")]
    NoHeir,
}

impl Raft {
    /// Begins to hand leadership over, to `to` or to whoever is best prepared. Gives the heir; the same wish again changes
    /// nothing, another heir starts anew. Who leads in the end is told by [`super::Event::Role`].
    ///
    /// # Errors
    /// [`TransferError`]; nothing was begun then.
    pub fn transfer(&mut self, to: Option<NodeId>) -> Result<NodeId, TransferError> {
        if !matches!(self.state, State::Leader(_)) {
            return Err(TransferError::NotLeader { leader: self.leader_heard() });
        }
        let own = self.config.id;
        if to == Some(own) {
            return Ok(own);
        }
        let voters = self.membership().voters();
        let heir = match to {
            Some(node) => Some(node).filter(|node| voters.contains(node)),
            None => self.best_heir(),
        };
        let to = heir.ok_or(TransferError::NoHeir)?;
        let State::Leader(leader) = &mut self.state else { return Err(TransferError::NoHeir) };
        if leader.handover.as_ref().is_none_or(|handover| handover.to != to) {
            leader.handover = Some(Handover::new(to));
            self.wake();
        }
        self.finish();
        Ok(to)
    }

    /// Whether leadership is on its way to another.
    #[must_use]
    pub fn is_handing_over(&self) -> bool {
        matches!(&self.state, State::Leader(leader) if leader.handover.is_some())
    }

    /// No proposals while leadership is on its way: the heir would never have all of the log; nor while entries are missing.
    pub(super) fn keeps_leading(&self) -> Result<(), ProposeError> {
        if self.is_handing_over() || self.is_repairing() { Err(ProposeError::Busy) } else { Ok(()) }
    }

    /// The other voter of what comes that is nearest to our log, of those who answer.
    pub(super) fn best_heir(&self) -> Option<NodeId> {
        let State::Leader(leader) = &self.state else { return None };
        let voters = self.membership().voters();
        let patience = self.config.election_ticks;
        let heirs = leader.followers.iter().filter(|(node, follower)| {
            voters.contains(node) && follower.match_index > 0 && follower.silent_ticks < patience
        });
        heirs.max_by_key(|(_, follower)| follower.match_index).map(|(&node, _)| node)
    }

    /// "The prior leader fully updates the target server's log … then sends a TimeoutNow request to the target server"
    /// (thesis §3.10).
    pub(super) fn hand_over_when_ready(&mut self) {
        let last = self.log.last().index;
        let State::Leader(leader) = &mut self.state else { return };
        let Some(handover) = leader.handover.as_mut().filter(|handover| !handover.asked) else { return };
        let heir = handover.to;
        if leader.followers.get(&heir).is_some_and(|follower| follower.match_index == last) {
            handover.asked = true;
            self.send_timeout_now(heir);
        }
    }

    pub(super) fn send_timeout_now(&mut self, heir: NodeId) {
        self.give_up_lease();
        self.output.send_now(heir, Message::TimeoutNow { term: self.hard_state.term });
    }

    /// "If leadership transfer does not complete after about an election timeout, the prior leader aborts the transfer and
    /// resumes accepting client requests" (thesis §3.10).
    pub(super) fn tick_handover(&mut self) {
        let patience = self.config.election_ticks;
        let State::Leader(leader) = &mut self.state else { return };
        leader.handover = leader.handover.take().and_then(|handover| {
            let elapsed = handover.elapsed + 1;
            (elapsed < patience).then_some(Handover { elapsed, ..handover })
        });
    }

    /// The leader wants us to campaign now. One that could not lead, or is of another mind by now, does not (E17).
    pub(super) fn on_timeout_now(&mut self, from: NodeId, term: Term) {
        let ours = term == self.hard_state.term && self.leader.is_none_or(|leader| leader == from);
        let able = self.may_campaign() && !self.disk_stalls() && !self.lacks_entries();
        if ours && !matches!(self.state, State::Leader(_)) && able {
            self.campaign_as_heir();
        }
    }
}
