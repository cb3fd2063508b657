//! Kills who has a part in the move of a shard: opens one, watches how it stands until its moment has come, and kills that leader.
//!
//! ```text
//!   open a move ──▶ Opened ──▶ Copied ──▶ Frozen ──▶ Over        as the leaders of the two groups say of themselves
//!                      └──────────┴── kill -9 ──┴───────┘ ──▶ undone: start it, and wait until the shard is on its way no more
//! ```
//!
//! A moment may be over before anybody could see it: a shard is frozen for some milliseconds. Then the next one is taken, and the
//! name of the fault says which it was.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ordeal_client::wire::{MoveStage, NodeId};

use super::changes::{Change, Changes};
use crate::cluster::{Action, Evidence, NodeState, NotVerified};
use crate::plan::{Moment, Part};
use crate::system::{Moving, NodeView, leaders};

/// A small shard has moved long before.
const STALK_TIME_MAX: Duration = Duration::from_secs(2);
/// Between two looks, which take as long themselves.
const LOOK: Duration = Duration::from_millis(1);

/// Whom to kill, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hunt {
    pub(super) shard: u32,
    pub(super) steps: u32,
    pub(super) part: Part,
    pub(super) moment: Moment,
}

type Views = BTreeMap<NodeId, NodeView>;

impl Changes<'_> {
    /// One attempt. A move that is open already will do.
    pub(super) fn hunt(&self, hunt: Hunt, change: &mut Change) -> Result<Evidence, NotVerified> {
        let moving = self.stage.open_move(hunt.shard, hunt.steps)?;
        let (moment, views) = self.stalk(&moving, hunt.moment);
        let group = match hunt.part {
            Part::Source => moving.from,
            Part::Recipient => moving.to,
            Part::Controller => 0,
        };
        let refuse = |reason: String| Err(NotVerified { action: "kill-mover".to_owned(), reason });
        let Some(&(_, node)) = leaders(&views).get(&group) else {
            return refuse(format!("nobody says that it leads g{group}"));
        };
        let _turn = self.trouble.turn();
        let states = self.stage.states();
        let is_up = |state: &NodeState| matches!(state, NodeState::Up { .. });
        if !states.get(&node).is_some_and(is_up) {
            return refuse(format!("{node}, who led g{group}, does not run any more"));
        }
        if states.values().filter(|state| is_up(state)).count() < 2 {
            return refuse(format!("without {node}, who led g{group}, nobody would be left"));
        }
        let proof = self.stage.act(&Action::Kill { node })?;
        // It hinders others until it is started again.
        self.trouble.begins();
        let Moving { shard, from, to } = moving;
        change.name = format!("kill {node}, the {} of s{shard} from g{from} to g{to}, {moment}", hunt.part);
        change.killed = Some(node);
        change.undo = vec![Action::Start { node }, Action::Settle { shard }];
        Ok(proof)
    }

    /// Watches a move until that moment or a later one has come; what was seen of all nodes then.
    fn stalk(&self, moving: &Moving, until: Moment) -> (Moment, Views) {
        let since = Instant::now();
        let mut begun = false;
        loop {
            let views = self.stage.views();
            let now = moment(&views, moving, &mut begun);
            if now >= until || since.elapsed() >= STALK_TIME_MAX {
                return (now, views);
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// How a move stands, as the leaders of its groups say.
fn moment(views: &Views, moving: &Moving, begun: &mut bool) -> Moment {
    let leaders = leaders(views);
    let says = |group: u32| -> Option<Option<MoveStage>> {
        let (_, leader) = leaders.get(&group)?;
        let of = views.get(leader)?.groups.iter().find(|of| of.group == group)?;
        Some(of.moves.get(&moving.shard).copied())
    };
    match (says(moving.from), says(moving.to)) {
        (Some(Some(MoveStage::Frozen)), _) => {
            *begun = true;
            Moment::Frozen
        }
        (Some(Some(_)), _) | (_, Some(Some(_))) => {
            *begun = true;
            Moment::Copied
        }
        (Some(None), Some(None)) if *begun => Moment::Over,
        _ => Moment::Opened,
    }
}

#[cfg(test)]
#[path = "hunt_tests.rs"]
mod tests;
