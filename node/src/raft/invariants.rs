//! What must hold after every call, asserted in every build (Figure 3, and the types' own promises). A member that finds
//! itself wrong stops: going on could only spread it.

use super::{Config, Raft, Role, State};

/// Panics when a configuration contradicts itself.
pub(super) fn check_config(config: &Config) {
    let (id, first) = (config.id, &config.bootstrap);
    let known = first.addresses().contains_key(&id);
    assert!(first.is_empty() || known, "{id} is not among the first members {first}");
    assert!(first.is_empty() || (first.is_sound() && !first.is_joint()), "unsound: {first}");
    assert!(config.heartbeat_ticks >= 1, "a heartbeat takes at least a tick");
    assert!(config.election_ticks >= 3 * config.heartbeat_ticks, "one lost heartbeat must be no election");
    let rest = config.rest_after_ticks.unwrap_or(u32::MAX);
    assert!(rest >= config.heartbeat_ticks, "a group that answered no beat yet does not rest");
    let longest = super::lease_ticks(config.election_ticks);
    assert!(config.lease_ticks <= longest, "a lease of {:?} ticks, at most {longest:?}", config.lease_ticks);
    assert!(config.inflight_max >= 1, "a window of nothing sends nothing");
    assert!(config.inflight_bytes_max >= 1, "a window of no bytes sends nothing");
    assert!(config.chunk_bytes >= 1, "parts of nothing never make a snapshot");
}

impl Raft {
    /// Panics when this member contradicts itself. Cheap: no look into the log.
    pub(super) fn check(&self) {
        let (term, last, base) = (self.hard_state.term, self.log.last(), self.log.base());
        assert!(self.applied <= self.commit, "applied {} but committed {}", self.applied, self.commit);
        assert!(self.commit <= last.index, "committed {} but the log ends at {last}", self.commit);
        assert!(base.index <= self.commit, "the log begins behind {base}, but committed is {}", self.commit);
        assert!(last.term <= term, "{last} is in the log in term {term}");
        let lost = self.log.first_lost();
        assert!(lost.is_none_or(|lost| lost > self.applied), "{lost:?} is lost, applied {}", self.applied);
        self.durability.check(last.index);
        if let State::Leader(leader) = &self.state {
            let id = self.config.id;
            assert!(self.leader == Some(id), "{id} leads, but takes {:?} for the leader", self.leader);
            assert!(self.hard_state.vote == Some(id), "{id} leads, but voted for {:?}", self.hard_state.vote);
            let began = last.term == term;
            assert!(
                began || self.is_repairing(),
                "a leader of term {term} without a no-op, its log ends at {last}"
            );
            assert!(
                self.is_repairing() == self.lacks_entries(),
                "a leader repairs what it lacks, and only that"
            );
            let others = self.membership().members().filter(|&node| node != id);
            assert!(leader.followers.keys().copied().eq(others), "followers are the other members");
            for (to, follower) in &leader.followers {
                let (matched, next) = (follower.match_index, follower.next_index);
                assert!(matched < next, "{to} matches {matched}, and is sent {next}");
                assert!(next <= last.index + 1, "{to} is sent {next}, but the log ends at {last}");
            }
        }
        let rests_with =
            self.role() == Role::Leader || (self.role() == Role::Follower && self.leader.is_some());
        assert!(!self.is_at_rest() || (rests_with && self.commit == last.index), "at rest with work to do");
        assert!(
            self.role() == Role::Leader || self.leader != Some(self.config.id),
            "{} follows itself",
            self.config.id
        );
    }
}
