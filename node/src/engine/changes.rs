//! Who watches keys waits here until one of them changes, for a second at most: then it is told how far nothing did, and asks again.
//!
//! ```text
//!   Request ──▶ Watches, by group ──an entry was applied──▶ shard::Machine::changes ──▶ Reply
//!                   ▲     │ └──────the group is not led here any more──────────────▶ NotLeader
//!                   └─────┴────────nothing that concerns it: from its new mark on
//! ```
//!
//! The leader answers, from what it has applied: a watcher of a leader that is none any more is told less, and nothing wrong.

use std::collections::BTreeMap;

use ordeal_client::wire::{
    CHANGES_BYTES_MAX, GroupId, Interest, KEY_BYTES_MAX, Mark, RefusalReason, Reply, ShardId, shard_of,
};

use super::io::ClientKey;
use super::node::Engine;
use super::requests::check_length;
use super::waiters::{Awaited, Waiter};
use crate::raft::{Index, Role};
use crate::shard::Told;

/// Watchers of one shard each that may wait on one node: 64 clients that watch all of 64 shards. Each looks at every change of its
/// shard, and takes the place of one of 10,000 requests.
pub const WATCHES_MAX: usize = 4_096;

/// Who waits is told after so many ticks how far nothing has happened: a second.
const WATCH_TICKS: u64 = 100;

/// Bytes of changes that are told in one tick of 10 ms. Who comes too late for them is told in the next.
const TICK_BYTES_MAX: usize = 16 << 20;

/// Who watches.
#[derive(Debug)]
struct Watch {
    token: u64,
    until: u64,
    shard: ShardId,
    of: Interest,
    behind: Option<Mark>,
}

/// Those who watch shards of a group.
#[derive(Debug, Default)]
struct OfGroup {
    /// In the order in which they came.
    watches: Vec<Watch>,
    /// The last entry that was applied when they were looked at; `None`: somebody was not looked at yet.
    looked: Option<Index>,
}

/// All who watch keys on this node.
#[derive(Debug, Default)]
pub(super) struct Watches {
    groups: BTreeMap<GroupId, OfGroup>,
    count: usize,
    /// Bytes told since the last tick.
    told_bytes: usize,
}

/// What comes of a look.
enum Look {
    Answer(Reply),
    Wait(Watch),
}

impl Engine {
    /// Waits for changes of these keys of a shard, behind a mark.
    pub(super) fn watch_changes(
        &mut self,
        client: ClientKey,
        request: u64,
        shard: ShardId,
        of: Interest,
        behind: Option<Mark>,
    ) -> Result<(), Reply> {
        match &of {
            Interest::Key(key) => {
                check_length("key", key, KEY_BYTES_MAX)?;
                let own = shard_of(key, self.config.shards);
                if own != shard {
                    let words = format!("the key to be watched is of shard {own}, not of {shard}");
                    return Err(Reply::Refused(RefusalReason::Unfit(words)));
                }
            }
            Interest::Prefix(prefix) => check_length("prefix", prefix, KEY_BYTES_MAX)?,
        }
        if shard.0 >= self.config.shards {
            return Err(Reply::Refused(RefusalReason::WrongGroup { shard }));
        }
        if !self.waiters.has_room(client) || self.watches.count >= WATCHES_MAX {
            return Err(Reply::Refused(RefusalReason::Busy));
        }
        let group = self.serving(shard);
        if let Some(refusal) = self.not_led(group) {
            return Err(refusal);
        }
        let token = self.waiters.add(Waiter { client, request, awaited: Awaited::Changes });
        let until = self.moves.ticks() + WATCH_TICKS;
        let of_group = self.watches.groups.entry(group).or_default();
        of_group.watches.push(Watch { token, until, shard, of, behind });
        of_group.looked = None;
        self.watches.count += 1;
        Ok(())
    }

    /// Tells those who watch what was applied since they were looked at. True if anybody was told anything.
    pub(super) fn tell_watchers(&mut self) -> bool {
        let moved_on = |(group, of_group): (&GroupId, &OfGroup)| {
            let applied = self.groups[group].applied.index;
            (of_group.looked != Some(applied)).then_some(*group)
        };
        let groups: Vec<GroupId> = self.watches.groups.iter().filter_map(moved_on).collect();
        let mut any = false;
        for group in groups {
            any |= self.look_at_watches(group, false);
        }
        any
    }

    /// Time passes: who has waited for long enough, or whose group is led elsewhere, is told so.
    pub(super) fn tick_watches(&mut self) {
        self.watches.told_bytes = 0;
        for group in self.watches.groups.keys().copied().collect::<Vec<_>>() {
            self.look_at_watches(group, true);
        }
    }

    fn look_at_watches(&mut self, group: GroupId, is_tick: bool) -> bool {
        let Some(OfGroup { watches, .. }) = self.watches.groups.remove(&group) else { return false };
        let before = watches.len();
        self.watches.count -= before;
        let refusal = self.not_led(group);
        let mut waiting = Vec::with_capacity(before);
        for watch in watches {
            // Those who are gone.
            if !self.waiters.is_waiting(watch.token) {
                continue;
            }
            let token = watch.token;
            let look = match &refusal {
                Some(refusal) => Look::Answer(refusal.clone()),
                None => self.look_at_watch(group, watch, is_tick),
            };
            match look {
                Look::Wait(watch) => waiting.push(watch),
                Look::Answer(reply) => {
                    let waiter = self.waiters.take(token).expect("it is waiting");
                    self.answer(group, &waiter, reply);
                }
            }
        }
        let any = waiting.len() < before;
        self.watches.count += waiting.len();
        if !waiting.is_empty() {
            let looked = Some(self.groups[&group].applied.index);
            self.watches.groups.insert(group, OfGroup { watches: waiting, looked });
        }
        any
    }

    /// What there is to tell one who watches.
    fn look_at_watch(&mut self, group: GroupId, watch: Watch, is_tick: bool) -> Look {
        if self.watches.told_bytes >= TICK_BYTES_MAX {
            return Look::Wait(watch);
        }
        let Watch { until, shard, ref of, behind, .. } = watch;
        let machine = self.groups[&group].state.data().expect("of a data group");
        match machine.changes(shard, of, behind, CHANGES_BYTES_MAX) {
            Err(reason) => Look::Answer(Reply::Refused(reason)),
            Ok(Told { changes, upto, bytes }) => {
                let is_late = is_tick && until <= self.moves.ticks();
                if changes.is_empty() && behind.is_some() && !is_late {
                    return Look::Wait(Watch { behind: Some(upto), ..watch });
                }
                self.watches.told_bytes += bytes;
                Look::Answer(Reply::Changes { changes, upto })
            }
        }
    }

    /// What to say where this node does not lead the group.
    fn not_led(&self, group: GroupId) -> Option<Reply> {
        let Some(member) = self.groups.get(&group) else { return Some(self.moves.elsewhere(group)) };
        let status = member.raft.status();
        if status.role == Role::Leader {
            return None;
        }
        Some(if member.raft.membership().is_empty() {
            self.moves.elsewhere(group)
        } else {
            member.not_leader(&self.config, status.leader)
        })
    }
}
