//! How far shards on their way are, as the members of their groups say: a bar in one line.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::status;
use crate::wire::{Configuration, GroupId, MoveStage, ShardId};

/// For one node's word: who does not answer in time says nothing.
const WORD_TIMEOUT: Duration = Duration::from_millis(200);
/// Characters between its ends.
const WIDTH: usize = 24;

/// Such as `[######------------------]  25 %  1 of 4 shards are there, s7: 12 of 4000 keys`.
pub(super) fn bar(now: &Configuration, concerned: &BTreeSet<ShardId>, all: usize) -> String {
    let moving: Vec<ShardId> = concerned.iter().copied().filter(|of| now.moves.contains_key(of)).collect();
    let there = all.saturating_sub(moving.len());
    let words = words(now, &moving);
    let parts = moving.iter().map(|&shard| copied(&words, shard));
    let shares = parts.clone().map(|(keys, of)| if of == 0 { 0.0 } else { keys as f64 / of as f64 });
    let share = (there as f64 + shares.sum::<f64>()) / all.max(1) as f64;
    let keys = moving.iter().zip(parts).find(|(_, (_, of))| *of > 0);
    let keys = keys.map(|(shard, (keys, of))| format!(", {shard}: {keys} of {of} keys")).unwrap_or_default();
    format!("{}  {there} of {all} shards are there{keys}", drawn(share))
}

/// What a member says of a shard: how far it is, and how many keys of it are there.
type Word = (ShardId, MoveStage, u64);

/// What the members of the groups say that have a part in these moves.
fn words(now: &Configuration, moving: &[ShardId]) -> Vec<Word> {
    let open = moving.iter().filter_map(|shard| now.moves.get(shard));
    let groups: BTreeSet<GroupId> = open.flat_map(|open| [open.from, open.to]).collect();
    let members =
        groups.iter().filter_map(|group| now.groups.get(group)).flat_map(|info| info.members.values());
    let addresses: BTreeSet<&String> = members.collect();
    let nodes = addresses.into_iter().filter_map(|address| status(address, WORD_TIMEOUT).ok());
    let moves = nodes.flat_map(|node| node.groups).flat_map(|group| group.moves);
    moves.map(|of| (of.shard, of.stage, of.keys)).collect()
}

/// Keys that have arrived, and those that there are; the latter is 0 where nobody said so.
fn copied(words: &[Word], shard: ShardId) -> (u64, u64) {
    let most = |of: fn(MoveStage) -> bool| {
        let keys = words.iter().filter(|(about, stage, _)| *about == shard && of(*stage));
        keys.map(|(.., keys)| *keys).max().unwrap_or(0)
    };
    let there = most(|stage| matches!(stage, MoveStage::Leaving | MoveStage::Frozen));
    (most(|stage| stage == MoveStage::Arriving).min(there), there)
}

/// A share from 0 to 1 as a bar.
fn drawn(share: f64) -> String {
    let share = share.clamp(0.0, 1.0);
    let full = (0..WIDTH).filter(|&at| (at as f64) < share * WIDTH as f64).count();
    format!("[{}{}] {:3.0} %", "#".repeat(full), "-".repeat(WIDTH - full), share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_full_as_its_share() {
        assert_eq!(drawn(0.0), "[------------------------]   0 %");
        assert_eq!(drawn(0.25), "[######------------------]  25 %");
        assert_eq!(drawn(1.5), "[########################] 100 %");
    }

    #[test]
    fn what_has_arrived_is_the_most_that_a_member_says_and_never_more_than_there_is() {
        let (s1, s2) = (ShardId(1), ShardId(2));
        let words = [
            (s1, MoveStage::Leaving, 40),
            (s1, MoveStage::Leaving, 41),
            (s1, MoveStage::Arriving, 7),
            (s1, MoveStage::Arriving, 9),
            (s2, MoveStage::Frozen, 5),
            (s2, MoveStage::Arriving, 6),
        ];
        assert_eq!((copied(&words, s1), copied(&words, s2)), ((9, 41), (5, 5)));
        assert_eq!(copied(&words, ShardId(3)), (0, 0));
    }
}
