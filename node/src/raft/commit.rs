//! What is decided (§5.3, §5.4.2), and what of it the machine above gets.

use super::log::weight;
use super::{Event, Index, LogId, Raft, State};

impl Raft {
    /// "If there exists an N such that N > commitIndex, a majority of matchIndex[i] ≥ N, and log[N].term == currentTerm:
    /// set commitIndex = N" (Figure 2, Leaders). Our own match is what our disk holds, and only that.
    pub(super) fn commit_by_counting(&mut self) {
        let State::Leader(leader) = &self.state else { return };
        let (own, durable) = (self.config.id, self.durability.durable());
        let reached = self.membership().reached(|node| match leader.followers.get(&node) {
            Some(follower) => follower.match_index,
            None => {
                if node == own {
                    durable
                } else {
                    0
                }
            }
        });
        // Never an entry of an older term by counting (§5.4.2, Figure 8).
        if reached > self.commit && self.log.term_at(reached) == Some(self.hard_state.term) {
            self.commit_upto(reached);
            self.admit_reads();
        }
    }

    /// Everything up to `index` is committed. What was known before stays.
    pub(super) fn commit_upto(&mut self, index: Index) {
        assert!(index <= self.log.last().index, "commit {index} is behind the log's end {}", self.log.last());
        self.commit = self.commit.max(index);
    }

    /// What the machine above gets now, in order: a snapshot to take over, entries that are committed and durable here,
    /// and reads that both have reached.
    pub(super) fn take_events(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        if self.installing.is_none()
            && let Some(snapshot) = self.install.take()
        {
            assert!(snapshot.last.index > self.applied, "{snapshot:?} goes back behind {}", self.applied);
            self.installing = Some(snapshot.last);
            events.push(Event::Install(snapshot));
        }
        if self.installing.is_none() {
            self.apply(&mut events);
        }
        while let Some(token) = self.confirmed_reads.pop_reached(self.applied) {
            events.push(Event::ReadReady { token });
        }
        events
    }

    /// The machine above has taken over the snapshot of the last [`Event::Install`]. It may take its time: until then it is
    /// given no entries, and its state counts as what it was.
    ///
    /// # Panics
    /// When this is not the snapshot that it was given.
    pub fn installed(&mut self, last: LogId) {
        assert!(self.installing == Some(last), "{last} is installed, but {:?} was given", self.installing);
        self.installing = None;
        self.applied = last.index;
        self.finish();
    }

    /// "If commitIndex > lastApplied: increment lastApplied, apply log[lastApplied]" (Figure 2), a portion at a time.
    fn apply(&mut self, events: &mut Vec<Event>) {
        let upto = self.commit.min(self.durability.durable());
        if self.applied < self.log.base().index {
            return; // a snapshot that covers the next entry is on its way to the disk
        }
        let mut bytes = 0;
        while self.applied < upto {
            let entry = self.log.entry(self.applied + 1).expect("the log holds what is not applied yet");
            bytes += weight(&entry);
            if bytes > self.config.apply_bytes_max && bytes > weight(&entry) {
                return;
            }
            self.applied += 1;
            events.push(Event::Apply(entry));
        }
    }
}
