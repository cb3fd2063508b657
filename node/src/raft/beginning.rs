//! A group that is made while its nodes run. Nothing in the paper: there a cluster is as it is from the beginning.
//!
//! Each first member puts the same entry into its empty log, `1@1`, which names the first members. It is as if a leader of term 1 had
//! been elected by all of them, had written that to all, and was gone. Why there are never two such groups of one name:
//!
//! * Before it has this entry a member knows of no members. It does not campaign, and counts nobody's vote.
//! * Who has it stands for term 2 at least, so nobody ever leads in term 1, and no other entry has the id `1@1`. By log matching
//!   (§5.3) all logs of the group begin with it. So the first change of members is made by a majority of these.
//! * It is the first thing in the member's log, and the log is made durable in order: a vote, a term or an entry that others were
//!   told of stands behind it. After a crash either it is there, and nothing is begun anew, or the member never promised anything,
//!   and begins with the same entry.
//! * The driver sees to it that all are told of the same members, once in the life of a data directory, and that a directory which
//!   was begun anew is not told (`engine/created.rs`).

use std::sync::Arc;

use super::{Entry, LogId, Membership, Payload, Raft};

/// The id of the entry that a group begins with.
const FIRST: LogId = LogId { index: 1, term: 1 };

impl Raft {
    /// Whether anything stands in its log, or a snapshot in the place of what stood there.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.log.last() != LogId::ZERO
    }

    /// The group begins with these voters, this member among them: the same on all of them.
    ///
    /// # Panics
    /// When it has begun, or when this is no stable membership with this member among its voters.
    pub fn begin(&mut self, first: Membership) {
        assert!(!self.has_begun(), "a group begins once: its log ends at {}", self.log.last());
        assert!(first.is_sound() && !first.is_joint(), "unsound: {first}");
        assert!(first.is_voter(self.config.id), "{} is not among the first members {first}", self.config.id);
        if self.hard_state.term < FIRST.term {
            self.become_follower(FIRST.term, None);
        }
        let entry = Entry { id: FIRST, payload: Payload::Membership(Arc::new(first)) };
        self.memberships.append(&entry);
        self.log.append(entry);
        self.finish();
    }
}
