//! A group's writes, in the order of its log. One that names a snapshot of the leader waits until the snapshot's file is
//! durable, and those behind it wait with it: other groups' writes do not.

use std::collections::VecDeque;

use super::io::StoreJob;
use crate::raft::{LogId, Persist};
use ordeal_client::wire::GroupId;

/// Writes that were not given out yet. Bounded by what a member writes before it is told that anything is durable.
#[derive(Debug, Default)]
pub(super) struct Writes {
    waiting: VecDeque<Persist>,
    /// The snapshot that is being stored, and which the first of them names.
    storing: Option<LogId>,
    /// The last one that was stored.
    stored: Option<LogId>,
}

impl Writes {
    /// Takes a write in, behind all others.
    pub(super) fn push(&mut self, persist: Persist) {
        self.waiting.push_back(persist);
    }

    /// What to do next: a write, or a snapshot to be stored before it. What covers no more than `applied` was taken here, and
    /// stored by who took it.
    pub(super) fn next(&mut self, group: GroupId, applied: LogId) -> (Option<Persist>, Option<StoreJob>) {
        if self.storing.is_some() {
            return (None, None);
        }
        let snapshot = self.waiting.front().and_then(|first| first.snapshot.as_ref());
        match snapshot
            .filter(|snapshot| snapshot.last.index > applied.index && self.stored != Some(snapshot.last))
        {
            Some(snapshot) => {
                self.storing = Some(snapshot.last);
                (None, Some(StoreJob { group, snapshot: snapshot.clone() }))
            }
            None => (self.waiting.pop_front(), None),
        }
    }

    /// A snapshot's file is durable.
    pub(super) fn stored(&mut self, last: LogId) {
        assert!(self.storing.take() == Some(last), "{last} is stored without being asked for");
        self.stored = Some(last);
    }
}
