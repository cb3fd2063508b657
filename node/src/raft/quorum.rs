//! Majorities: of the voters and, while a configuration is joint, of both of its halves (§6: "Agreement … requires separate
//! majorities from both the old and new configurations").

use std::collections::{BTreeMap, BTreeSet};

use ordeal_client::wire::NodeId;

use super::Membership;

impl Membership {
    /// Whether these are a majority, of either half. Of nobody there is none.
    pub(super) fn has_majority(&self, are: impl Fn(NodeId) -> bool) -> bool {
        let enough = |half: &BTreeSet<NodeId>| {
            half.is_empty() || half.iter().filter(|&&voter| are(voter)).count() >= majority(half.len())
        };
        !self.is_empty() && enough(self.voters()) && enough(self.outgoing())
    }

    /// The largest number that a majority of either half has reached (§5.3, "replicated on a majority").
    pub(super) fn reached(&self, number: impl Fn(NodeId) -> u64) -> u64 {
        let halves = [self.voters(), self.outgoing()];
        let numbers = halves.into_iter().filter(|half| !half.is_empty());
        numbers.map(|half| reached_by_majority(half.iter().map(|&voter| number(voter)))).min().unwrap_or(0)
    }
}

/// How many of `voters` are a majority.
fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// The largest number that a majority has reached (§5.3, "replicated on a majority"): one number a voter.
fn reached_by_majority(numbers: impl Iterator<Item = u64>) -> u64 {
    let mut numbers: Vec<u64> = numbers.collect();
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    numbers[majority(numbers.len()) - 1]
}

/// Answers to a (pre-)candidate, the last one of each voter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Votes(BTreeMap<NodeId, bool>);

impl Votes {
    /// One's own.
    pub(super) fn of(own: NodeId) -> Self {
        Votes(BTreeMap::from([(own, true)]))
    }

    /// Counts an answer; a voter counts once.
    pub(super) fn record(&mut self, voter: NodeId, granted: bool) {
        self.0.entry(voter).or_insert(granted);
    }

    /// What a voter said, if anything.
    pub(super) fn of_voter(&self, voter: NodeId) -> Option<bool> {
        self.0.get(&voter).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_is_more_than_half() {
        assert_eq!([1, 2, 3, 4, 5].map(majority), [1, 2, 2, 3, 3]);
    }

    #[test]
    fn a_majority_has_reached() {
        for (numbers, reached) in [
            (&[7][..], 7),
            (&[7, 3], 3),
            (&[9, 3, 5], 5),
            (&[9, 9, 5, 4], 5),
            (&[1, 9, 2, 8, 3], 3),
            (&[0, 0, 9], 0),
        ] {
            assert_eq!(reached_by_majority(numbers.iter().copied()), reached, "{numbers:?}");
        }
    }

    #[test]
    fn a_joint_majority_is_one_of_either_half() {
        let stable: Membership = [1, 2, 3].map(NodeId).into_iter().collect();
        let joint = [1, 2, 3].into_iter().fold(stable, |membership, id| {
            let change = crate::raft::Change::Add { node: NodeId(id + 3), address: String::new() };
            membership.begin(&change).unwrap()
        });
        let joint = joint.promoting(&[4, 5, 6].map(NodeId)); // 4 of 1 to 6, and 2 of 1 to 3
        for (who, enough) in [
            (&[1, 2][..], false),
            (&[1, 2, 4], false),
            (&[1, 4, 5, 6], false),
            (&[1, 2, 4, 5], true),
            (&[1, 2, 3, 4], true),
            (&[4, 5, 6, 7], false),
        ] {
            assert_eq!(joint.has_majority(|node| who.contains(&node.0)), enough, "{who:?}");
            assert_eq!(joint.reached(|node| 3 * u64::from(who.contains(&node.0))), 3 * u64::from(enough));
        }
        assert!(!Membership::default().has_majority(|_| true), "nobody decides nothing");
        assert_eq!(Membership::default().reached(|_| 7), 0);
    }

    #[test]
    fn a_voter_counts_once() {
        let mut votes = Votes::of(NodeId(2));
        votes.record(NodeId(2), true);
        votes.record(NodeId(2), false);
        assert_eq!((votes.of_voter(NodeId(2)), votes.of_voter(NodeId(3))), (Some(true), None));
    }
}
