//! Majorities.

use std::collections::BTreeMap;

use ordeal_client::wire::NodeId;

/// How many of `voters` are a majority.
pub(super) fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// The largest number that a majority has reached (§5.3, "replicated on a majority"): one number a voter.
pub(super) fn reached_by_majority(numbers: impl Iterator<Item = u64>) -> u64 {
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

    /// Voters that said so.
    pub(super) fn count(&self, granted: bool) -> usize {
        self.0.values().filter(|&&vote| vote == granted).count()
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
    fn a_voter_counts_once() {
        let mut votes = Votes::of(NodeId(2));
        votes.record(NodeId(2), true);
        votes.record(NodeId(2), false);
        assert_eq!((votes.count(true), votes.count(false)), (1, 0));
    }
}
