//! How shards are shared out: by hand, and against all ways that there are.

use std::collections::{BTreeMap, BTreeSet};

use ordeal_client::wire::{GroupId, Owner};
use proptest::prelude::*;

use super::balance::balance;

fn owners(of: &[u32]) -> Vec<Owner> {
    of.iter().map(|&group| Owner { group: GroupId(group), epoch: 1 }).collect()
}

fn shared(targets: &[u32], owned: &[u32], staying: &[u32]) -> Vec<u32> {
    let mut next: Vec<GroupId> = targets.iter().copied().map(GroupId).collect();
    balance(&mut next, &owners(owned), &staying.iter().copied().map(GroupId).collect());
    next.into_iter().map(|group| group.0).collect()
}

/// Targets, owners, groups that stay, and what comes of it.
#[test]
fn shares_by_hand() {
    type Case<'a> = (&'a [u32], &'a [u32], &'a [u32], &'a [u32]);
    let cases: [Case<'_>; 8] = [
        (&[1, 1, 1, 1], &[1, 1, 1, 1], &[1], &[1, 1, 1, 1]),
        (&[1, 1, 1, 1], &[1, 1, 1, 1], &[1, 2], &[2, 2, 1, 1]),
        // Who has more already keeps the one more.
        (&[1, 2, 2], &[1, 2, 2], &[1, 2], &[1, 2, 2]),
        (&[1, 2, 2, 2, 1], &[1, 2, 2, 2, 1], &[1, 2, 3], &[1, 3, 2, 2, 1]),
        // Those of a group that goes are dealt out, the others stay.
        (&[1, 2, 3, 1, 2, 3], &[1, 2, 3, 1, 2, 3], &[1, 2], &[1, 2, 1, 1, 2, 2]),
        // A shard that has not moved yet stays with its owner.
        (&[3, 1, 3, 2], &[2, 1, 1, 2], &[1, 2], &[2, 1, 1, 2]),
        // One that is on its way is given away before one that is there.
        (&[1, 1, 1, 1], &[1, 1, 9, 9], &[1, 2], &[1, 1, 2, 2]),
        // Also to its owner, if that one needs a shard.
        (&[1, 1, 1, 1, 2], &[1, 1, 1, 3, 2], &[1, 2, 3], &[2, 1, 1, 3, 2]),
    ];
    for (targets, owned, staying, expected) in cases {
        let found = shared(targets, owned, staying);
        assert_eq!(found, expected, "{targets:?} of {owned:?} among {staying:?}");
    }
}

/// The fewest targets that must change: over all choices of the groups that have one shard more.
pub(super) fn fewest(targets: &[u32], staying: &BTreeSet<u32>) -> usize {
    let groups: Vec<u32> = staying.iter().copied().collect();
    let (share, more) = (targets.len() / groups.len(), targets.len() % groups.len());
    let has = |group: u32| targets.iter().filter(|&&target| target == group).count();
    let choices = (0_u32..1 << groups.len()).filter(|choice| choice.count_ones() as usize == more);
    let kept = |choice: u32| -> usize {
        let quota = |at: usize| share + usize::from(choice >> at & 1 == 1);
        groups.iter().enumerate().map(|(at, &group)| has(group).min(quota(at))).sum()
    };
    choices.map(|choice| targets.len() - kept(choice)).min().expect("one choice at least")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn shares_are_even_and_the_fewest_targets_change(
        shards in prop::collection::vec((1..8_u32, 1..8_u32), 1..30),
        staying in prop::collection::btree_set(1..8_u32, 1..7),
    ) {
        let (targets, owned): (Vec<u32>, Vec<u32>) = shards.into_iter().unzip();
        let groups: Vec<u32> = staying.iter().copied().collect();
        let next = shared(&targets, &owned, &groups);
        let mut counts: BTreeMap<u32, usize> = groups.iter().map(|&group| (group, 0)).collect();
        for group in &next {
            *counts.get_mut(group).expect("a group that stays") += 1;
        }
        let (least, most) = (counts.values().min(), counts.values().max());
        prop_assert!(most.expect("one") - least.expect("one") <= 1, "{counts:?}");
        let changed = targets.iter().zip(&next).filter(|(before, after)| before != after).count();
        prop_assert_eq!(changed, fewest(&targets, &staying));
        prop_assert_eq!(&shared(&next, &owned, &groups), &next, "what is shared out stays so");
    }
}
