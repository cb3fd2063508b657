//! Snapshots (§7): sent in parts by the leader, collected by the follower, and the log cut behind those that are durable.
//!
//! One part is under way at a time, the next leaves on its answer. A snapshot that is complete replaces the log at once in
//! memory, goes to the disk with the next write, and only then to the machine above and, as installed, to the leader.

use std::sync::Arc;

use ordeal_client::wire::NodeId;

use super::changes::Memberships;
use super::durability::Origin;
use super::log::Log;
use super::progress::{Mode, Progress, Transfer};
use super::{Entry, Index, LogId, Lost, Membership, Message, Raft, Snapshot, State, Term};

/// A snapshot from the network is refused above this: it is held in memory as a whole.
pub(super) const SNAPSHOT_BYTES_MAX: u64 = 4 << 30;
/// No log gets this far (a billion entries a second for a century): indexes from the network above it are damage, and
/// below it one may count on.
pub(super) const INDEX_MAX: Index = 1 << 62;

/// A part as it came.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) last: LogId,
    pub(super) membership: Arc<Membership>,
    pub(super) total_bytes: u64,
    pub(super) offset: u64,
    pub(super) data: Arc<[u8]>,
}

/// What has come of a snapshot so far. Gone after a restart, with its term, and with its leader.
#[derive(Debug, Clone)]
pub(super) struct Partial {
    from: NodeId,
    last: LogId,
    membership: Arc<Membership>,
    total_bytes: u64,
    data: Vec<u8>,
}

/// The log as the disk remembered it, behind the snapshot, and whether nothing of it was good: then a crash came between
/// the snapshot and the rest of its write, which is to be done again. When the log begins in the middle, the first entry is
/// only good for being the base, as nothing else knows the term before it. What is lost stands behind the snapshot.
pub(super) fn recovered_log(snapshot: Option<&Snapshot>, entries: Vec<Entry>, lost: &[Lost]) -> (Log, bool) {
    let covered = snapshot.map_or(LogId::ZERO, |snapshot| snapshot.last);
    let held = entries.iter().any(|entry| entry.id == covered);
    assert!(
        lost.first().is_none_or(|lost| lost.id.index > covered.index),
        "a snapshot makes up for what it covers"
    );
    let mut entries: Vec<(LogId, Option<Entry>)> =
        entries.into_iter().map(|entry| (entry.id, Some(entry))).collect();
    entries.extend(lost.iter().map(|lost| (lost.id, None)));
    entries.sort_by_key(|(id, _)| id.index);
    let follows = entries.first().is_none_or(|(id, _)| id.index == covered.index + 1);
    if !held && !follows {
        let first = entries.first().map_or(0, |(id, _)| id.index);
        assert!(first <= covered.index, "the disk lacks entries between {covered} and {first}");
        assert!(lost.is_empty(), "entries behind {covered} are lost, but it is not there");
        return (Log::new(covered), true);
    }
    let mut entries = entries.into_iter().peekable();
    let base = match entries.peek() {
        Some((id, _)) if id.index == 1 => LogId::ZERO,
        Some((id, _)) if id.index <= covered.index => *id,
        Some(_) | None => covered,
    };
    let mut log = Log::new(base);
    for (id, entry) in entries.filter(|(id, _)| id.index > base.index) {
        match entry {
            Some(entry) => log.append(entry),
            None => log.append_lost(id),
        }
    }
    (log, false)
}

impl Transfer {
    /// The part under way.
    pub(super) fn part(&self, term: Term, chunk_bytes: usize) -> Message {
        let data = &self.snapshot.data;
        let from = usize::try_from(self.offset).map_or(data.len(), |offset| offset.min(data.len()));
        let upto = from.saturating_add(chunk_bytes).min(data.len());
        Message::InstallSnapshot {
            term,
            last: self.snapshot.last,
            membership: Arc::clone(&self.snapshot.membership),
            total_bytes: data.len() as u64,
            offset: from as u64,
            data: Arc::from(&data[from..upto]),
        }
    }
}

impl Progress {
    /// The follower needs entries that are only in `snapshot`: gives the first part.
    pub(super) fn begin_transfer(&mut self, snapshot: Snapshot, term: Term, chunk_bytes: usize) -> Message {
        let transfer = Transfer { snapshot, offset: 0 };
        let part = transfer.part(term, chunk_bytes);
        self.stalled_ticks = 0;
        self.mode = Mode::Snapshot(transfer);
        part
    }
}

impl Raft {
    /// InstallSnapshot RPC, receiver (Figure 13).
    pub(super) fn on_install_snapshot(&mut self, from: NodeId, term: Term, part: Part) {
        let Part { last, total_bytes, offset, ref data, ref membership } = part;
        let end = offset.checked_add(data.len() as u64);
        let possible = (1..=INDEX_MAX).contains(&last.index)
            && (1..=term).contains(&last.term)
            && membership.is_sound()
            && total_bytes <= SNAPSHOT_BYTES_MAX
            && end.is_some_and(|end| end <= total_bytes);
        if !possible {
            return;
        }
        if term < self.hard_state.term {
            return self.answer_part(from, last, 0);
        }
        if !self.hear_leader(from, term) {
            return;
        }
        if self.log.holds(last) && last.index > self.commit {
            self.commit_upto(last.index); // nothing is missing here, the snapshot only says what is committed
        }
        let covers_lost =
            self.log.first_lost().is_some_and(|lost| lost <= last.index) && self.log.holds(last);
        if last.index <= self.commit && !covers_lost {
            let term = self.hard_state.term;
            let reply = Message::InstallSnapshotReply { term, last, received: total_bytes, installed: true };
            return self.output.send_after_persist(from, reply);
        }
        if self.room_bytes.is_none() {
            self.collect(from, part);
        }
    }

    fn collect(&mut self, from: NodeId, part: Part) {
        let Part { last, membership, total_bytes, offset, data } = part;
        let current = self.partial.as_ref().filter(|partial| partial.from == from);
        if current.is_some_and(|partial| partial.last.index > last.index) {
            return; // overtaken by a newer snapshot of this leader
        }
        if current.is_none_or(|partial| partial.last != last || partial.total_bytes != total_bytes) {
            self.partial = None;
            if offset > 0 {
                return self.answer_part(from, last, 0);
            }
        }
        let new = || Partial { from, last, membership, total_bytes, data: Vec::new() };
        let partial = self.partial.get_or_insert_with(new);
        if partial.data.len() as u64 == offset {
            partial.data.extend_from_slice(&data);
        }
        let received = partial.data.len() as u64;
        if received < total_bytes {
            return self.answer_part(from, last, received);
        }
        let Some(Partial { data, membership, .. }) = self.partial.take() else { return };
        let snapshot = Snapshot { last, membership, data: data.into() };
        if self.log.holds(last) {
            self.cover_log(snapshot);
        } else {
            self.replace_log(snapshot);
        }
        let term = self.hard_state.term;
        let reply = Message::InstallSnapshotReply { term, last, received, installed: true };
        self.output.send_after_persist(from, reply);
    }

    fn answer_part(&mut self, to: NodeId, last: LogId, received: u64) {
        let term = self.hard_state.term;
        let reply = Message::InstallSnapshotReply { term, last, received, installed: false };
        self.output.send_now(to, reply);
    }

    /// "If existing log entry has same index and term as snapshot's last included entry, retain log entries following it"
    /// (Figure 13, step 6): something before it is lost, and what is behind it may be acknowledged.
    fn cover_log(&mut self, snapshot: Snapshot) {
        let last = snapshot.last.index;
        self.commit_upto(last);
        self.log.cut_upto(last);
        self.memberships.begin_at(last, Arc::clone(&snapshot.membership));
        self.durability.covered_by(snapshot);
    }

    /// "Discard the entire log" (Figure 13, step 7). That the log does not hold the snapshot's last entry is known.
    fn replace_log(&mut self, snapshot: Snapshot) {
        assert!(snapshot.last.index > self.commit, "{snapshot:?} is not ahead of commit {}", self.commit);
        self.log.reset(snapshot.last);
        self.commit = snapshot.last.index;
        self.memberships = Memberships::new(snapshot.last.index, Arc::clone(&snapshot.membership));
        self.durability.replaced_by(snapshot);
    }

    /// A snapshot is on the disk: now, not before, the log may be cut, and the machine above restored.
    pub(super) fn on_snapshot_durable(&mut self, snapshot: Snapshot, origin: Origin) {
        match origin {
            Origin::Taken => {
                let kept_from = self.log.trailing_from(snapshot.last.index, &self.config);
                if kept_from > self.log.first() {
                    self.log.cut_upto(kept_from - 1);
                }
                self.memberships.forget_before(snapshot.last.index);
            }
            Origin::Received => self.install = Some(snapshot.clone()),
        }
        self.snapshot = Some(snapshot);
    }

    /// Index of the newest durable snapshot, or 0.
    pub(super) fn snapshot_index(&self) -> Index {
        self.snapshot.as_ref().map_or(0, |snapshot| snapshot.last.index)
    }

    /// A follower answers a part: the next leaves, or it goes on with the log.
    pub(super) fn on_install_snapshot_reply(
        &mut self,
        from: NodeId,
        term: Term,
        last: LogId,
        received: u64,
        installed: bool,
    ) {
        if !self.hear_follower(from, term) {
            return;
        }
        let State::Leader(leader) = &mut self.state else { return };
        let Some(follower) = leader.followers.get_mut(&from) else { return };
        let Mode::Snapshot(transfer) = &mut follower.mode else { return };
        if transfer.snapshot.last != last || received > transfer.snapshot.data.len() as u64 {
            return;
        }
        if installed {
            follower.match_index = follower.match_index.max(last.index);
            follower.replicate();
            return self.commit_by_counting();
        }
        // The answer to a part sent twice says nothing new, and must not send another one twice.
        if received != transfer.offset {
            transfer.offset = received;
            follower.stalled_ticks = 0;
            let part = transfer.part(self.hard_state.term, self.config.chunk_bytes);
            self.output.send_now(from, part);
        }
    }
}
