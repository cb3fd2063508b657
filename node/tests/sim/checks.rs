//! What must hold after every turn of every node, whatever befell it. The properties are those of Figure 3 of the paper,
//! seen from outside the engines.

use std::collections::BTreeMap;

use ordeal_client::wire::{GroupId, NodeId, RoleName, encode};
use ordeal_node::kv::digest;
use ordeal_node::raft::{Index, LogId, Term};

use crate::node::Node;
use crate::plan::Plan;

/// What was seen so far.
#[derive(Debug)]
pub struct Checks {
    quorum: usize,
    leaders: BTreeMap<(GroupId, Term), NodeId>,
    /// The entry at each index that any node called committed, and the checksum of its payload.
    committed: BTreeMap<GroupId, BTreeMap<Index, (LogId, u32)>>,
    /// The digest of the state after each index.
    digests: BTreeMap<(GroupId, Index), (u64, NodeId)>,
    /// Term and commit index that a node was seen with since it started.
    seen: BTreeMap<(NodeId, GroupId), (Term, Index)>,
    /// Number of comparisons of digests between different nodes, so that a check which never checks is seen.
    pub compared: u64,
}

impl Checks {
    pub fn new(plan: &Plan) -> Self {
        Checks {
            quorum: plan.nodes.len() / 2 + 1,
            leaders: BTreeMap::new(),
            committed: plan.groups.iter().map(|&group| (group, BTreeMap::new())).collect(),
            digests: BTreeMap::new(),
            seen: BTreeMap::new(),
            compared: 0,
        }
    }

    /// A node starts: its commit index begins anew, and so does a term that it had not made durable, for then it had
    /// promised nothing in it.
    pub fn started(&mut self, id: NodeId) {
        self.seen.retain(|&(node, _), _| node != id);
    }

    /// All that can be said about a node that just took a turn.
    pub fn after_turn(&mut self, id: NodeId, nodes: &BTreeMap<NodeId, Node>) {
        let engine = nodes[&id].engine.as_ref().expect("it took a turn");
        for status in engine.status(0, 0).groups {
            let (group, term) = (status.group, status.term);
            if status.role == RoleName::Leader {
                let leader = *self.leaders.entry((group, term)).or_insert(id);
                assert!(leader == id, "election safety: {leader} and {id} both lead {group} in term {term}");
            }
            let (term_before, commit_before) =
                self.seen.insert((id, group), (term, status.commit)).unwrap_or_default();
            assert!(term >= term_before, "{id}: the term of {group} went back from {term_before} to {term}");
            assert!(status.commit >= commit_before, "{id}: the commit index of {group} went back");
            assert!(status.applied <= status.commit, "{id}: {group} applied what is not committed");
            for index in commit_before + 1..=status.commit {
                self.committed(id, group, index, nodes);
            }
            let (digest, first) = *self.digests.entry((group, status.applied)).or_insert((status.digest, id));
            self.compared += u64::from(first != id);
            let applied = status.applied;
            assert!(
                digest == status.digest,
                "state machine safety: {first} and {id} differ in {group} at {applied}"
            );
        }
    }

    /// A node calls this entry committed: whoever did so before meant the same one, and a majority has it durably.
    fn committed(&mut self, id: NodeId, group: GroupId, index: Index, nodes: &BTreeMap<NodeId, Node>) {
        // What is covered by a snapshot already cannot be looked at; the digests speak for it.
        let Some(entry) = nodes[&id].disk.entry(group, index) else { return };
        let found = (entry.id, digest::checksum(0, &encode(&entry.payload)));
        let known = self.committed.get_mut(&group).expect("a group of the plan");
        if let Some(&before) = known.get(&index) {
            assert!(before == found, "{id}: committed {} of {group}, others committed {}", found.0, before.0);
            return;
        }
        known.insert(index, found);
        let holders = nodes.values().filter(|node| node.disk.has_durably(group, entry.id)).count();
        assert!(holders >= self.quorum, "{id}: {} of {group} is durable on {holders} nodes only", entry.id);
    }

    /// Whether all nodes are up and have applied the same entries of every group.
    pub fn is_level(nodes: &BTreeMap<NodeId, Node>) -> bool {
        let applied = |node: &Node| {
            let groups = node.engine.as_ref()?.status(0, 0).groups;
            Some(
                groups
                    .iter()
                    .map(|status| (status.applied, status.commit == status.last))
                    .collect::<Vec<_>>(),
            )
        };
        let mut all = nodes.values().map(applied);
        let first = all.next().expect("a world has nodes");
        let done =
            first.as_ref().is_some_and(|groups| groups.iter().all(|&(_, all_committed)| all_committed));
        done && all.all(|other| other == first)
    }

    /// At the end all nodes are level: their states must be equal in full.
    pub fn agree_at_the_end(&self, nodes: &BTreeMap<NodeId, Node>) {
        let digests = |node: &Node| {
            let groups = node.engine.as_ref().expect("all are up").status(0, 0).groups;
            groups.into_iter().map(|group| (group.digest, group.keys, group.sessions)).collect::<Vec<_>>()
        };
        let mut all = nodes.values().map(digests);
        let first = all.next().expect("a world has nodes");
        assert!(all.all(|other| other == first), "level nodes have different states");
    }
}
