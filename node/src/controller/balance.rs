//! How shards are shared out: as many for each group as for any other, or one more; and of all the ways to do so, one that
//! changes the fewest targets.
//!
//! Targets say where a shard is to be, which is where it is but for the moves that are open. Where the number of changed targets
//! leaves a choice, it is for what spares a move: a shard whose data has not come yet is given away first, and to its owner
//! if that group needs one. What is left to choose falls to the smaller number.
//!
//! Another way to choose is another [`super::COMMAND_VERSION`].

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use ordeal_client::wire::{GroupId, Owner};

/// Shares all shards out among the groups that stay. `targets` and `owners` are by shard.
///
/// # Panics
/// When no group stays.
pub(super) fn balance(targets: &mut [GroupId], owners: &[Owner], staying: &BTreeSet<GroupId>) {
    assert!(targets.len() == owners.len(), "each shard has a target and an owner");
    let quotas = quotas(targets, owners, staying);
    let counts = count(targets.iter().copied());
    let has = |group: GroupId| counts.get(&group).copied().unwrap_or_default();
    let mut lacks: BTreeMap<GroupId, usize> =
        quotas.iter().map(|(&group, &quota)| (group, quota.saturating_sub(has(group)))).collect();

    let mut free: Vec<usize> = (0..targets.len()).filter(|&at| !staying.contains(&targets[at])).collect();
    for (&group, &quota) in &quotas {
        let mut own: Vec<usize> = (0..targets.len()).filter(|&at| targets[at] == group).collect();
        own.sort_by_key(|&at| {
            let owner = owners[at].group;
            let needed = lacks.get(&owner).is_some_and(|&lack| lack > 0);
            (!needed, owner == group, at)
        });
        free.extend(own.into_iter().take(has(group).saturating_sub(quota)));
    }
    free.sort_unstable();

    free.retain(|&at| {
        let owner = owners[at].group;
        let needed = lacks.get_mut(&owner).filter(|lack| **lack > 0);
        let away = needed.is_none();
        if let Some(lack) = needed {
            *lack -= 1;
            targets[at] = owner;
        }
        away
    });
    let takers = lacks.into_iter().flat_map(|(group, lack)| std::iter::repeat_n(group, lack));
    let mut taken = 0;
    for (&at, group) in free.iter().zip(takers) {
        targets[at] = group;
        taken += 1;
    }
    assert!(taken == free.len(), "the quotas are all shards, so that each finds a group");
}

/// How many shards each group is to have. The groups with more than an equal share keep one more than it, as far as that goes:
/// each of those that keeps it saves a move.
fn quotas(targets: &[GroupId], owners: &[Owner], staying: &BTreeSet<GroupId>) -> BTreeMap<GroupId, usize> {
    assert!(!staying.is_empty(), "somebody owns the shards");
    let wanted = count(targets.iter().copied());
    let owned = count(owners.iter().map(|owner| owner.group));
    let rank = |group: &GroupId| (Reverse(wanted.get(group)), Reverse(owned.get(group)), *group);
    let mut groups: Vec<GroupId> = staying.iter().copied().collect();
    groups.sort_by_key(rank);
    let (share, more) = (targets.len() / groups.len(), targets.len() % groups.len());
    let quota = |(rank, group): (usize, GroupId)| (group, share + usize::from(rank < more));
    groups.into_iter().enumerate().map(quota).collect()
}

fn count(groups: impl Iterator<Item = GroupId>) -> BTreeMap<GroupId, usize> {
    let mut counts = BTreeMap::new();
    for group in groups {
        *counts.entry(group).or_default() += 1;
    }
    counts
}
