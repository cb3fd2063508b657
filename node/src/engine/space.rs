//! A full disk. The node takes no more entries, of clients or of leaders, and says so to clients; it goes on voting, beating and
//! answering reads, which takes little space or none, and for which some was kept. What it leads it hands over, for somebody
//! else may have a disk with space.
//!
//! ```text
//!   DiskFull ──▶ writes refused, leaders' entries dropped, leadership handed over ──▶ DiskHasRoom ──▶ as before
//! ```

use ordeal_client::wire::{RefusalReason, Reply};

use super::node::Engine;
use crate::raft::{Raft, Role};

/// What is led in spite of a full disk is handed over again after so many ticks: 30 s, and twice as long each time, up to an
/// hour. Rare, as each time costs a term and what is left of the space, and where all disks are full nobody is better.
const HAND_OVER_TICKS: u32 = 3_000;
const HAND_OVER_TICKS_MAX: u32 = 360_000;

/// How the disk is.
#[derive(Debug, Default)]
pub(super) struct Space {
    is_full: bool,
    /// Until leadership may be handed over again, and how long the time before was.
    rest_ticks: u32,
    last_rest_ticks: u32,
}

impl Engine {
    /// There is no space for more entries.
    pub(super) fn disk_full(&mut self) {
        self.space.is_full = true;
        self.share_space();
        self.hand_over_when_full();
    }

    /// All groups are told what little they may write, if the disk is full.
    pub(super) fn share_space(&mut self) {
        if self.space.is_full {
            // A little more is taken of leaders than of clients: so whoever leads is full before those are who follow, and
            // refuses, instead of waiting for them.
            let bytes = self.config.full_append_bytes / self.groups.len().max(1);
            self.groups.values_mut().for_each(|group| group.raft.refuse_entries_beyond(bytes));
        }
    }

    /// There is space again.
    pub(super) fn disk_has_room(&mut self) {
        (self.space.is_full, self.space.last_rest_ticks) = (false, 0);
        self.groups.values_mut().for_each(|group| group.raft.accept_entries());
    }

    /// A tick of time passed.
    pub(super) fn tick_space(&mut self) {
        self.space.rest_ticks = self.space.rest_ticks.saturating_sub(1);
        if self.space.is_full {
            self.hand_over_when_full();
        }
    }

    /// What to answer to whoever would have this member write an entry; nothing when it is not its own to refuse.
    pub(super) fn refusal_when_full(&self, raft: &Raft) -> Option<Reply> {
        let refuses = self.space.is_full && raft.status().role == Role::Leader;
        refuses.then_some(Reply::Refused(RefusalReason::DiskFull))
    }

    fn hand_over_when_full(&mut self) {
        let leads = self.groups.values().any(|group| group.raft.status().role == Role::Leader);
        if leads && self.space.rest_ticks == 0 {
            let twice = self.space.last_rest_ticks.saturating_mul(2);
            self.space.rest_ticks = twice.clamp(HAND_OVER_TICKS, HAND_OVER_TICKS_MAX);
            self.space.last_rest_ticks = self.space.rest_ticks;
            self.hand_over();
        }
    }
}
