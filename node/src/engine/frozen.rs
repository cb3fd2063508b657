//! Who asks for a shard while it is handed over waits here, for the few moments until its new owner is known: asking again and again
//! takes longer, and answers nothing sooner. What is held here had no effect: it was refused when it was applied or read.

use std::collections::BTreeMap;

use ordeal_client::wire::{GroupId, RefusalReason, Reply, ShardId};

use super::node::Engine;
use super::waiters::{Awaited, Waiter};
use crate::shard::moving::Stage;

/// For so many ticks: a tenth of a second, in which a shard is handed over ten times, and less than a client's first patience.
const HELD_TICKS: u64 = 10;

/// Those who wait, by shard, each with the tick until which it does.
#[derive(Debug, Default)]
pub(super) struct Frozen(BTreeMap<(GroupId, ShardId), Vec<(u64, u64)>>);

impl Engine {
    /// Answers, unless it is better to wait.
    pub(super) fn answer(&mut self, group: GroupId, waiter: &Waiter, reply: Reply) {
        let &Waiter { client, request, awaited: _ } = waiter;
        match reply {
            Reply::Refused(RefusalReason::Frozen { shard }) if self.waiters.has_room(client) => {
                let token = self.waiters.add(Waiter { client, request, awaited: Awaited::Owner });
                let until = self.moves.ticks() + HELD_TICKS;
                self.frozen.0.entry((group, shard)).or_default().push((until, token));
            }
            reply => self.reply(client, request, reply),
        }
    }

    /// Answers those who have waited long enough: as soon as the new owner is known, or it is clear that there is none.
    pub(super) fn thaw(&mut self) {
        let now = self.moves.ticks();
        for ((group, shard), waiting) in std::mem::take(&mut self.frozen.0) {
            let verdict = self.handed_over(group, shard);
            for (until, token) in waiting {
                let reason = match &verdict {
                    Some(reason) => reason.clone(),
                    None if until <= now => RefusalReason::Frozen { shard },
                    None => {
                        self.frozen.0.entry((group, shard)).or_default().push((until, token));
                        continue;
                    }
                };
                if let Some(waiter) = self.waiters.take(token) {
                    self.reply(waiter.client, waiter.request, Reply::Refused(reason));
                }
            }
        }
    }

    /// What to say of a shard that was frozen; `None` as long as nobody knows.
    fn handed_over(&self, group: GroupId, shard: ShardId) -> Option<RefusalReason> {
        let member = &self.groups[&group];
        match member.state.data()?.stage(shard) {
            Stage::Frozen { epoch, id, to } => {
                // Its recipient serves it before this log has the end of the move.
                let taken = member.mover.as_ref().is_some_and(|(_, mover)| mover.is_taken(shard, id));
                taken.then_some(RefusalReason::Moved { shard, epoch: epoch + 1, group: to })
            }
            Stage::Away { epoch, to } => Some(RefusalReason::Moved { shard, epoch, group: to }),
            Stage::Owned { .. } | Stage::Leaving { .. } | Stage::Arriving { .. } | Stage::Absent => {
                Some(RefusalReason::Frozen { shard })
            }
        }
    }
}
