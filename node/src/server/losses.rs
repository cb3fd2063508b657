//! What the disk lost and the others have not sent back yet, told again and again: one line at the start scrolls away, and
//! a group that waits for a disk which is switched off looks like one that is only slow.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ordeal_client::wire::{GroupId, NodeStatus};
use tracing::{info, warn};

/// So often it is told: often enough to stand in the last page of any log, seldom enough to drown nothing.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// How many entries each group lacks: only those that lack any.
#[derive(Debug)]
pub(super) struct Losses {
    lost: BTreeMap<GroupId, u64>,
    next: Instant,
}

impl Losses {
    /// Those that a start has found, and told.
    pub(super) fn found(status: &NodeStatus, now: Instant) -> Losses {
        Losses { lost: lacking(status), next: now + TELL_EVERY }
    }

    /// Whether it is time to look. Nothing is lost but at a start, so that a healthy node never does.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        !self.lost.is_empty() && self.next <= now
    }

    /// Tells what is still missing, and what came back since.
    pub(super) fn tell(&mut self, status: &NodeStatus, now: Instant) {
        for (group, lost) in self.look(lacking(status), now) {
            if lost == 0 {
                info!(%group, "all that the disk lost came back from the others");
            } else {
                warn!(
                    %group,
                    lost,
                    "entries that the disk lost have not come back from the others; hint: see who is up: ordeal kv status"
                );
            }
        }
    }

    /// What each that lacked something lacks now.
    fn look(&mut self, lost: BTreeMap<GroupId, u64>, now: Instant) -> Vec<(GroupId, u64)> {
        let known = std::mem::replace(&mut self.lost, lost);
        self.next = now + TELL_EVERY;
        known.into_keys().map(|group| (group, self.lost.get(&group).copied().unwrap_or(0))).collect()
    }
}

fn lacking(status: &NodeStatus) -> BTreeMap<GroupId, u64> {
    let groups = status.groups.iter().filter(|group| group.lost > 0);
    groups.map(|group| (group.group, group.lost)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost<const N: usize>(groups: [(u32, u64); N]) -> BTreeMap<GroupId, u64> {
        groups.into_iter().map(|(group, lost)| (GroupId(group), lost)).collect()
    }

    #[test]
    fn what_is_missing_is_told_every_ten_seconds_until_it_is_back_and_then_once_more() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut losses = Losses { lost: lost([(1, 3), (3, 1)]), next: at(10) };
        assert!(!losses.is_due(at(9)));
        assert!(losses.is_due(at(10)));
        assert_eq!(losses.look(lost([(1, 2)]), at(10)), [(GroupId(1), 2), (GroupId(3), 0)]);
        assert!(!losses.is_due(at(19)));
        assert!(losses.is_due(at(25)));
        assert_eq!(losses.look(lost([]), at(25)), [(GroupId(1), 0)]);
        assert!(!losses.is_due(at(100)), "nothing is left to tell, and a node that lost nothing never looks");
    }
}
