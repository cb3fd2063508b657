//! What holds after every step of every move, whatever is lost: the invariants of the protocol, looked at from above. What each write
//! and read must answer (M4 once, M6 nothing late, M9 versions) is known to the clients of `shard::tests_clients`, which ask as well.

use std::collections::BTreeMap;

use ordeal_client::wire::{Configuration, GroupId, MoveId, ShardId};

use super::tests::Group;
use crate::shard::Command;
use crate::shard::moving::{Fate, Stage, Step};
use crate::shard::tests_clients::Clients;

/// What was seen so far.
#[derive(Default)]
pub(super) struct Seen {
    /// M2: the newest epoch that a group knows of, and in which the controller says that a shard is owned.
    epochs: BTreeMap<(Option<GroupId>, ShardId), u64>,
    /// M5: what a recipient has decided of a move that is open.
    decided: BTreeMap<(ShardId, MoveId), Fate>,
    /// Since when a shard has been frozen, and for how long any one was.
    frozen: BTreeMap<ShardId, u64>,
    pub(super) longest_frozen: u64,
}

impl Seen {
    /// A command was applied by a group, in which its shard stood so before.
    pub(super) fn step(
        &mut self,
        groups: &BTreeMap<GroupId, Group>,
        (group, command, before): (GroupId, &Command<'_>, Stage),
        clients: &Clients,
    ) {
        let (machine, shard) = (&groups[&group].machine, command.shard());
        let after = machine.stage(shard);
        match (&before, &after) {
            // M1, M3: what is owned now was frozen there, and is the same.
            (Stage::Arriving { id, from, .. }, Stage::Owned { epoch }) => {
                let frozen = Stage::Frozen { epoch: epoch - 1, id: *id, to: group };
                assert_eq!(groups[from].machine.stage(shard), frozen, "{group} has adopted {shard}");
                clients.read_all(machine);
            }
            // M7: it is given up when the other has it, and only then.
            (Stage::Frozen { id, to, .. }, Stage::Away { epoch, to: by }) => {
                assert_eq!((groups[to].machine.fate(shard, *id, *epoch), by), (Fate::Adopted, to));
            }
            // M5: it is served again when the other never will.
            (Stage::Frozen { epoch, id, to }, Stage::Owned { epoch: now }) => {
                let fate = groups[to].machine.fate(shard, *id, epoch + 1);
                assert_eq!((fate, now), (Fate::Refused, epoch), "{shard} is served by {group} again");
            }
            (Stage::Owned { epoch } | Stage::Leaving { epoch, .. }, now) => {
                assert!(
                    serves(now) == Some(*epoch) || matches!(now, Stage::Frozen { .. }),
                    "{before:?}, {now:?}"
                );
            }
            (Stage::Absent | Stage::Away { .. }, now) => assert_eq!(serves(now), None, "{before:?}"),
            (Stage::Arriving { .. }, Stage::Absent | Stage::Away { .. }) => {
                let adopts = matches!(command, Command::Move { step: Step::Adopt { .. }, .. });
                assert!(
                    !adopts,
                    "what came is not what was frozen: the seal is for what nobody has thought of"
                );
            }
            (Stage::Frozen { .. } | Stage::Arriving { .. }, _) => {}
        }
        self.one_serves(groups, shard);
        if let Some(epoch) = known(&after) {
            self.never_falls(Some(group), shard, epoch);
        }
    }

    /// M1: one group at most serves a shard; where one does, nobody knows of a later epoch.
    fn one_serves(&self, groups: &BTreeMap<GroupId, Group>, shard: ShardId) {
        let stages: Vec<Stage> = groups.values().map(|group| group.machine.stage(shard)).collect();
        let serving: Vec<u64> = stages.iter().filter_map(serves).collect();
        let newest = stages.iter().filter_map(known).max();
        assert!(
            serving.is_empty() || serving == newest.as_slice(),
            "{shard} is served in {serving:?} of {newest:?}"
        );
    }

    fn never_falls(&mut self, who: Option<GroupId>, shard: ShardId, epoch: u64) {
        let newest = self.epochs.entry((who, shard)).or_insert(epoch);
        assert!(epoch >= *newest, "{shard} fell from epoch {newest} to {epoch}, as {who:?} knows it");
        *newest = epoch;
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now: u64, groups: &BTreeMap<GroupId, Group>, latest: &Configuration) {
        for (shard, owner) in latest.shards() {
            self.never_falls(None, shard, owner.epoch);
            let stages: Vec<Stage> = groups.values().map(|group| group.machine.stage(shard)).collect();
            let newest = stages.iter().filter_map(known).max();
            assert!(
                newest >= Some(owner.epoch),
                "the controller knows {shard} in {owner:?}, groups in {newest:?}"
            );
            let frozen = stages.iter().any(|stage| matches!(stage, Stage::Frozen { .. }));
            if frozen && stages.iter().all(|stage| serves(stage).is_none()) {
                let since = *self.frozen.entry(shard).or_insert(now);
                self.longest_frozen = self.longest_frozen.max(now - since + 1);
            } else {
                self.frozen.remove(&shard);
            }
        }
        self.decided.retain(|(shard, id), _| latest.moves.get(shard).is_some_and(|open| open.id == *id));
        for (&shard, open) in &latest.moves {
            let fate = groups[&open.to].machine.fate(shard, open.id, open.epoch + 1);
            let first = *self.decided.entry((shard, open.id)).or_insert(fate);
            assert!(first == fate || first == Fate::Open, "{} was {first:?}, and is {fate:?}", open.id);
            self.decided.insert((shard, open.id), fate);
        }
    }
}

/// M10, M11: every move has ended, nothing of any is left over, and the shards are where the controller says.
pub(super) fn is_settled(groups: &BTreeMap<GroupId, Group>, latest: &Configuration) {
    assert!(latest.moves.is_empty(), "moves do not end: {:?}", latest.moves);
    for (shard, owner) in latest.shards() {
        for (&id, group) in groups {
            let stage = group.machine.stage(shard);
            let fits = if id == owner.group {
                stage == Stage::Owned { epoch: owner.epoch }
            } else {
                matches!(stage, Stage::Away { .. } | Stage::Absent)
            };
            assert!(fits, "{shard} of {owner:?} at {id}: {stage:?}");
        }
    }
}

/// In which epoch it is served.
fn serves(stage: &Stage) -> Option<u64> {
    match *stage {
        Stage::Owned { epoch } | Stage::Leaving { epoch, .. } => Some(epoch),
        Stage::Frozen { .. } | Stage::Arriving { .. } | Stage::Away { .. } | Stage::Absent => None,
    }
}

/// The newest epoch in which somebody owned it.
fn known(stage: &Stage) -> Option<u64> {
    match *stage {
        Stage::Owned { epoch }
        | Stage::Leaving { epoch, .. }
        | Stage::Frozen { epoch, .. }
        | Stage::Away { epoch, .. } => Some(epoch),
        Stage::Arriving { .. } | Stage::Absent => None,
    }
}
