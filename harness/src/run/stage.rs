//! What a run needs of a cluster. Behind a trait so that the schedule can be tested without processes.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use ordeal_client::wire::NodeId;

use crate::cluster::{Action, Cluster, Evidence, NodeState, NotVerified};
use crate::system::{Moving, NodeView, leaders};

/// A cluster, as the schedule of faults sees it.
pub trait Stage: Send + Sync {
    /// Does it, and proves that it took effect.
    ///
    /// # Errors
    /// [`NotVerified`] when it could not be done or proven.
    fn act(&self, action: &Action) -> Result<Evidence, NotVerified>;

    /// How every node's process is.
    fn states(&self) -> BTreeMap<NodeId, NodeState>;

    /// What the nodes that run say of themselves.
    fn views(&self) -> BTreeMap<NodeId, NodeView>;

    /// Has a shard go to a group so many groups on, and does not wait.
    ///
    /// # Errors
    /// [`NotVerified`] when nobody agreed to it.
    fn open_move(&self, shard: u32, steps: u32) -> Result<Moving, NotVerified>;

    /// Who leads most groups, if anybody says that it leads.
    fn leader(&self) -> Option<NodeId> {
        leader_of_most(&leaders(&self.views()))
    }
}

impl Stage for Cluster {
    fn act(&self, action: &Action) -> Result<Evidence, NotVerified> {
        Cluster::act(self, action)
    }

    fn states(&self) -> BTreeMap<NodeId, NodeState> {
        Cluster::states(self)
    }

    fn views(&self) -> BTreeMap<NodeId, NodeView> {
        Cluster::views(self)
    }

    fn open_move(&self, shard: u32, steps: u32) -> Result<Moving, NotVerified> {
        let refuse = |error: anyhow::Error| {
            let action = Action::MoveShard { shard, steps }.to_string();
            NotVerified { action, reason: format!("{error:#}") }
        };
        Cluster::open_move(self, shard, steps).map_err(refuse)
    }
}

/// The node that leads most groups with data; of several the one with the lowest number.
fn leader_of_most(leaders: &BTreeMap<u32, (u64, NodeId)>) -> Option<NodeId> {
    let mut counts: BTreeMap<NodeId, usize> = BTreeMap::new();
    for (_, (_, node)) in leaders.iter().filter(|(group, _)| **group > 0) {
        *counts.entry(*node).or_default() += 1;
    }
    counts.into_iter().max_by_key(|&(node, count)| (count, Reverse(node))).map(|(node, _)| node)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::GroupView;

    #[test]
    fn the_newest_term_leads_and_the_leader_of_most_groups_is_the_leader() {
        let view = |node: u32, groups: &[(u32, u64, bool)]| {
            let group = |&(group, term, leads)| GroupView { group, term, leads, ..GroupView::default() };
            (NodeId(node), NodeView { node: NodeId(node), groups: groups.iter().map(group).collect() })
        };
        let views = BTreeMap::from([
            view(1, &[(0, 2, true), (1, 3, true), (2, 7, false), (3, 1, true)]),
            view(2, &[(1, 4, true), (2, 7, true), (3, 1, false)]),
            // The controller holds no data, and counts for nothing.
            view(3, &[(0, 5, true)]),
        ]);
        let leaders = leaders(&views);
        assert_eq!(
            leaders,
            BTreeMap::from([
                (0, (5, NodeId(3))),
                (1, (4, NodeId(2))),
                (2, (7, NodeId(2))),
                (3, (1, NodeId(1))),
            ])
        );
        assert_eq!(leader_of_most(&leaders), Some(NodeId(2)));
        assert_eq!(leader_of_most(&BTreeMap::new()), None);
    }
}
