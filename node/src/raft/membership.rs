//! Who belongs to a group (§6, thesis chapter 4): a value in the log like any other, in effect from the moment it is there.
//!
//! ```text
//!    stable C_old ──▶ joint C_old,new ──▶ stable C_new        a voter comes or goes
//!    stable       ──▶ stable                                  a learner comes or goes, an address changes
//! ```
//!
//! What moves a group from one to the next stands in `changes.rs`, what counts majorities in `quorum.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ordeal_client::wire::NodeId;
pub use ordeal_client::wire::{ADDRESS_BYTES_MAX, MEMBERS_MAX};
use serde::{Deserialize, Serialize};

/// Who belongs to a group. Empty for a node that is to join one and has not heard of it yet.
///
/// Invariants of one that is not empty, see [`Membership::is_sound`]
/// * there is a voter; voters of either half are no learners
/// * all are numbered from 1, and have an address, which may be empty
/// * there are at most [`MEMBERS_MAX`], with addresses of at most [`ADDRESS_BYTES_MAX`]
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Membership {
    /// Who votes; while joint, the new half.
    voters: BTreeSet<NodeId>,
    /// The old half of a joint configuration: nothing is decided without a majority of these, too. Empty when stable.
    outgoing: BTreeSet<NodeId>,
    /// Who gets everything and decides nothing (thesis §4.2.1). True: to become a voter as soon as it is caught up.
    learners: BTreeMap<NodeId, bool>,
    /// Where all of them are. Means nothing here.
    addresses: BTreeMap<NodeId, String>,
}

/// A wish of an administrator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A voter more: first as a learner, promoted when it is caught up.
    Add {
        /// Who.
        node: NodeId,
        /// Where.
        address: String,
    },
    /// A learner more, that stays one.
    AddLearner {
        /// Who.
        node: NodeId,
        /// Where.
        address: String,
    },
    /// A voter or learner less.
    Remove {
        /// Who.
        node: NodeId,
    },
}

/// Why a change can never be made as things are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// A group of nobody decides nothing.
    #[error("{0} is the last voter")]
    LastVoter(NodeId),
    /// A voter becomes a learner by being removed first.
    #[error("{0} is a voter")]
    IsVoter(NodeId),
    /// More than [`MEMBERS_MAX`].
    #[error("there are {MEMBERS_MAX} members, more are not allowed")]
    TooMany,
    /// Nodes are numbered from 1.
    #[error("nodes are numbered from 1")]
    Zero,
    /// Longer than [`ADDRESS_BYTES_MAX`].
    #[error("the address is longer than {ADDRESS_BYTES_MAX} bytes")]
    Address,
}

impl Membership {
    /// A stable configuration of voters, with their addresses.
    #[must_use]
    pub fn of_voters(addresses: BTreeMap<NodeId, String>) -> Self {
        Membership { voters: addresses.keys().copied().collect(), addresses, ..Membership::default() }
    }

    /// The same with these as learners that stay such.
    #[must_use]
    pub fn with_learners(mut self, learners: BTreeMap<NodeId, String>) -> Self {
        self.learners.extend(learners.keys().map(|&node| (node, false)));
        self.addresses.extend(learners);
        self
    }

    /// Whether nobody belongs to it: the group is not known yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.voters.is_empty()
    }

    /// Who votes; while joint, in the new half.
    #[must_use]
    pub fn voters(&self) -> &BTreeSet<NodeId> {
        &self.voters
    }

    /// The old half while joint; empty otherwise.
    #[must_use]
    pub fn outgoing(&self) -> &BTreeSet<NodeId> {
        &self.outgoing
    }

    /// Who gets everything and decides nothing.
    pub fn learners(&self) -> impl Iterator<Item = NodeId> {
        self.learners.keys().copied()
    }

    /// Learners that become voters when they are caught up.
    pub fn to_promote(&self) -> impl Iterator<Item = NodeId> {
        self.learners.iter().filter(|(_, promote)| **promote).map(|(&node, _)| node)
    }

    /// All members, by ascending id, with their addresses.
    #[must_use]
    pub fn addresses(&self) -> &BTreeMap<NodeId, String> {
        &self.addresses
    }

    /// All members, by ascending id.
    pub fn members(&self) -> impl Iterator<Item = NodeId> {
        self.addresses.keys().copied()
    }

    /// Whether two halves decide together.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether this node votes, in either half.
    #[must_use]
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.outgoing.contains(&node)
    }

    /// Whether it keeps the promises of its type. One from the network may not.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let ids: BTreeSet<NodeId> = self.all_ids().collect();
        !self.voters.is_empty()
            && ids.iter().eq(self.addresses.keys())
            && !ids.contains(&NodeId(0))
            && !self.learners.keys().any(|&node| self.is_voter(node))
            && ids.len() <= MEMBERS_MAX
            && self.addresses.values().all(|address| address.len() <= ADDRESS_BYTES_MAX)
    }

    /// Bytes that it counts for in limits.
    #[must_use]
    pub fn weight(&self) -> usize {
        let addresses: usize = self.addresses.values().map(String::len).sum();
        addresses + 16 * self.addresses.len() // ids in up to three sets, lengths
    }

    /// Whether nothing is left to do for this change when a joint configuration has ended.
    #[must_use]
    pub fn fulfils(&self, change: &Change) -> bool {
        match change {
            Change::Add { node, address } => self.voters.contains(node) && self.is_at(*node, address),
            Change::AddLearner { node, address } => {
                self.learners.get(node) == Some(&false) && self.is_at(*node, address)
            }
            Change::Remove { node } => !self.voters.contains(node) && !self.learners.contains_key(node),
        }
    }

    /// Whether this change has begun, and goes on by itself.
    pub(super) fn prepares(&self, change: &Change) -> bool {
        match change {
            Change::Add { node, address } => {
                self.learners.get(node) == Some(&true) && self.is_at(*node, address)
            }
            Change::AddLearner { .. } | Change::Remove { .. } => false,
        }
    }

    /// The configuration that begins a change, from a stable one.
    pub(super) fn begin(&self, change: &Change) -> Result<Membership, Unfit> {
        assert!(!self.is_joint(), "one change at a time");
        let mut next = self.clone();
        match change {
            Change::Add { node, address } | Change::AddLearner { node, address } => {
                let promote = matches!(change, Change::Add { .. });
                if !self.voters.contains(node) {
                    next.learners.insert(*node, promote);
                } else if !promote {
                    return Err(Unfit::IsVoter(*node));
                }
                next.addresses.insert(*node, address.clone());
                if *node == NodeId(0) {
                    return Err(Unfit::Zero);
                } else if address.len() > ADDRESS_BYTES_MAX {
                    return Err(Unfit::Address);
                } else if next.addresses.len() > MEMBERS_MAX {
                    return Err(Unfit::TooMany);
                }
            }
            Change::Remove { node } if self.voters.contains(node) => {
                next.outgoing = std::mem::take(&mut next.voters);
                next.voters = next.outgoing.iter().copied().filter(|voter| voter != node).collect();
                if next.voters.is_empty() {
                    return Err(Unfit::LastVoter(*node));
                }
            }
            Change::Remove { node } => {
                next.learners.remove(node);
                next.addresses.remove(node);
            }
        }
        Ok(next)
    }

    /// The joint configuration in which these learners become voters.
    pub(super) fn promoting(&self, learners: &[NodeId]) -> Membership {
        assert!(!self.is_joint(), "one change at a time");
        let mut next = Membership { outgoing: self.voters.clone(), ..self.clone() };
        for node in learners {
            let waited = next.learners.remove(node);
            assert!(waited == Some(true), "{node} is no learner that is to become a voter");
            next.voters.insert(*node);
        }
        next
    }

    /// The new half alone: the end of a joint configuration.
    pub(super) fn leaving_joint(&self) -> Membership {
        assert!(self.is_joint(), "only a joint configuration is left");
        let mut next = Membership { outgoing: BTreeSet::new(), ..self.clone() };
        let stay: BTreeSet<NodeId> = next.all_ids().collect();
        next.addresses.retain(|node, _| stay.contains(node));
        next
    }

    fn all_ids(&self) -> impl Iterator<Item = NodeId> {
        self.voters.iter().chain(&self.outgoing).chain(self.learners.keys()).copied()
    }

    fn is_at(&self, node: NodeId, address: &str) -> bool {
        self.addresses.get(&node).is_some_and(|known| known == address)
    }
}

/// A stable configuration of voters without addresses.
impl FromIterator<NodeId> for Membership {
    fn from_iter<I: IntoIterator<Item = NodeId>>(voters: I) -> Self {
        Membership::of_voters(voters.into_iter().map(|voter| (voter, String::new())).collect())
    }
}

/// `n1 n2 n4 (from n1 n2 n3), learners n5`: short, for logs and failed tests.
impl fmt::Display for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |nodes: &mut dyn Iterator<Item = NodeId>| {
            nodes.map(|node| node.to_string()).collect::<Vec<_>>().join(" ")
        };
        write!(f, "{}", list(&mut self.voters.iter().copied()))?;
        if self.is_joint() {
            write!(f, " (from {})", list(&mut self.outgoing.iter().copied()))?;
        }
        if !self.learners.is_empty() {
            write!(f, ", learners {}", list(&mut self.learners()))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{self}]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(voters: &[u32]) -> Membership {
        Membership::of_voters(voters.iter().map(|&id| (NodeId(id), format!("n{id}:1"))).collect())
    }

    fn add(node: u32) -> Change {
        Change::Add { node: NodeId(node), address: format!("n{node}:1") }
    }

    fn remove(node: u32) -> Change {
        Change::Remove { node: NodeId(node) }
    }

    #[test]
    fn a_voter_comes_by_way_of_a_learner_and_two_halves() {
        let learning = of(&[1, 2]).begin(&add(3)).unwrap();
        assert_eq!(learning.to_string(), "n1 n2, learners n3");
        assert!(learning.prepares(&add(3)) && !learning.fulfils(&add(3)) && learning.is_sound());
        let joint = learning.promoting(&[NodeId(3)]);
        assert_eq!(joint.to_string(), "n1 n2 n3 (from n1 n2)");
        assert!(joint.fulfils(&add(3)) && joint.is_sound());
        assert_eq!(joint.leaving_joint(), of(&[1, 2, 3]));
    }

    #[test]
    fn a_voter_goes_by_way_of_two_halves() {
        let joint = of(&[1, 2, 3]).begin(&remove(1)).unwrap();
        assert_eq!(joint.to_string(), "n2 n3 (from n1 n2 n3)");
        assert!(joint.is_voter(NodeId(1)) && joint.addresses().len() == 3 && joint.is_sound());
        assert_eq!(joint.leaving_joint(), of(&[2, 3]));
    }

    #[test]
    fn a_learner_comes_and_goes_at_once() {
        let learner = Change::AddLearner { node: NodeId(9), address: "x:1".to_owned() };
        let with = of(&[1]).begin(&learner).unwrap();
        assert!(with.fulfils(&learner) && with.to_promote().next().is_none());
        assert_eq!(with.begin(&remove(9)).unwrap(), of(&[1]));
        let promoted = with.begin(&add(9)).unwrap();
        assert_eq!((promoted.to_promote().count(), promoted.addresses()[&NodeId(9)].as_str()), (1, "n9:1"));
    }

    #[test]
    fn a_change_that_makes_no_sense_is_refused() {
        let learner = Change::AddLearner { node: NodeId(1), address: String::new() };
        assert_eq!(of(&[1]).begin(&learner), Err(Unfit::IsVoter(NodeId(1))));
        assert_eq!(of(&[1]).begin(&remove(1)), Err(Unfit::LastVoter(NodeId(1))));
        assert_eq!(of(&[1]).begin(&add(0)), Err(Unfit::Zero));
        let far = Change::Add { node: NodeId(2), address: "x".repeat(ADDRESS_BYTES_MAX + 1) };
        assert_eq!(of(&[1]).begin(&far), Err(Unfit::Address));
        let many: Vec<u32> = (1..=15).collect();
        assert_eq!(of(&many).begin(&add(16)), Err(Unfit::TooMany));
        assert!(of(&many).begin(&add(15)).is_ok(), "who is there already is not one more");
    }

    #[test]
    fn what_is_unsound_is_noticed() {
        let sound = of(&[1, 2]);
        let mut both = sound.clone();
        both.learners.insert(NodeId(1), false);
        let mut nowhere = sound.clone();
        nowhere.addresses.remove(&NodeId(1));
        let mut stranger = sound;
        stranger.addresses.insert(NodeId(7), String::new());
        let many = (1..=16).collect::<Vec<u32>>();
        for wrong in [both, nowhere, stranger, of(&[]), of(&[0]), of(&many)] {
            assert!(!wrong.is_sound(), "{wrong}");
        }
    }
}
