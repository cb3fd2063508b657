//! The step that a command leads to, or the objection to it. Nothing here changes anything: what is refused has no effect.

use std::collections::{BTreeMap, BTreeSet};

use ordeal_client::wire::{
    ADDRESS_BYTES_MAX, AdminChange, Cause, CommandId, GROUPS_MAX, GroupId, GroupInfo, MEMBERS_MAX, Members,
    MoveEnd, MoveId, NodeId, Objection, Owner, ShardId,
};

use super::balance::balance;
use super::config::{ShardState, State, Step};

impl State {
    /// What an administrator asks for.
    pub(super) fn admin(&self, id: CommandId, change: &AdminChange) -> Result<Step, Objection> {
        let mut step = Step::new(Cause::Asked { command: id, change: change.clone() });
        let mut targets = self.targets.clone();
        match change {
            AdminChange::Join(joining) => {
                step.groups = self.joined(joining)?;
                self.share_out(&step, &mut targets);
            }
            AdminChange::Create { groups, directories } => {
                let members: BTreeSet<&NodeId> = groups.values().flat_map(BTreeMap::keys).collect();
                step.groups = self.joined(groups)?;
                if !members.into_iter().eq(directories.keys()) {
                    return Err(Objection::Directories);
                }
                self.share_out(&step, &mut targets);
            }
            AdminChange::Leave(leaving) => {
                step.groups = self.left(leaving)?;
                self.share_out(&step, &mut targets);
            }
            &AdminChange::Move { shard, to } => {
                self.known(shard)?;
                targets[shard.0 as usize] = self.stays(to)?;
            }
            &AdminChange::CancelMove { shard } => {
                let before = self.known(shard)?;
                before.open.ok_or(Objection::NotMoving { shard })?;
                targets[shard.0 as usize] = self.stays(before.owner.group)?;
            }
        }
        let mut next_move = self.next_move;
        for (shard, target) in (0..).map(ShardId).zip(targets) {
            let before = self.known(shard)?;
            let after = ShardState { target, ..before }.settle(&mut next_move);
            if before != after {
                step.shards.insert(shard, after);
            }
        }
        self.dismiss(&mut step);
        Ok(step)
    }

    /// What a group says of its members.
    pub(super) fn members(&self, group: GroupId, at: u64, members: &Members) -> Result<Step, Objection> {
        let known = self.group(group)?;
        if at <= known.at {
            return Err(Objection::MembersOutdated { group, at: known.at });
        }
        fit(group, members)?;
        let mut step = Step::new(Cause::Members { group, at });
        step.groups.insert(group, Some(GroupInfo { members: members.clone(), at, leaving: known.leaving }));
        Ok(step)
    }

    /// A move has ended. `None`: it is not open.
    pub(super) fn move_end(&self, shard: ShardId, id: MoveId, end: MoveEnd) -> Option<Step> {
        let mut now = self.shard(shard)?;
        let ended = now.open.take().filter(|open| open.id == id)?;
        match end {
            MoveEnd::Adopted => now.owner = Owner { group: ended.to, epoch: ended.epoch + 1 },
            MoveEnd::Cancelled => {}
        }
        let mut step = Step::new(Cause::MoveEnded { shard, id, end });
        step.shards.insert(shard, now.settle(&mut self.next_move.clone()));
        self.dismiss(&mut step);
        Some(step)
    }

    fn group(&self, group: GroupId) -> Result<&GroupInfo, Objection> {
        self.configuration.groups.get(&group).ok_or(Objection::GroupUnknown { group })
    }

    fn known(&self, shard: ShardId) -> Result<ShardState, Objection> {
        let shards = u32::try_from(self.targets.len()).expect("SHARDS_MAX at most");
        self.shard(shard).ok_or(Objection::ShardUnknown { shard, shards })
    }

    fn stays(&self, group: GroupId) -> Result<GroupId, Objection> {
        if self.group(group)?.leaving { Err(Objection::GroupLeaving { group }) } else { Ok(group) }
    }

    /// The groups that a join changes.
    fn joined(
        &self,
        joining: &BTreeMap<GroupId, Members>,
    ) -> Result<BTreeMap<GroupId, Option<GroupInfo>>, Objection> {
        if joining.is_empty() {
            return Err(Objection::NoGroup);
        }
        let groups = &self.configuration.groups;
        for (&group, members) in joining {
            if group == GroupId(0) {
                return Err(Objection::Controller);
            }
            if groups.get(&group).is_some_and(|info| !info.leaving) {
                return Err(Objection::GroupThere { group });
            }
            fit(group, members)?;
            if let Some((&node, _)) = members.iter().find(|(_, address)| address.is_empty()) {
                return Err(bad_address(group, node, 0));
            }
        }
        // Those that come back are told by their new members alone.
        let there = groups.iter().filter(|(group, _)| !joining.contains_key(group));
        let there = there.map(|(&group, info)| (group, &info.members));
        let all: Vec<(GroupId, &Members)> =
            there.chain(joining.iter().map(|(&group, m)| (group, m))).collect();
        if all.len() > GROUPS_MAX as usize {
            return Err(Objection::TooManyGroups { limit: GROUPS_MAX });
        }
        for (&group, members) in joining {
            all.iter().try_for_each(|&(other, others)| one_address(group, members, other, others))?;
        }
        // What a group that comes back said of itself before counts no more: it may have been set up anew.
        let info = |members: &Members| GroupInfo { members: members.clone(), at: 0, leaving: false };
        Ok(joining.iter().map(|(&group, members)| (group, Some(info(members)))).collect())
    }

    /// The groups that a leave changes.
    fn left(&self, leaving: &BTreeSet<GroupId>) -> Result<BTreeMap<GroupId, Option<GroupInfo>>, Objection> {
        if leaving.is_empty() {
            return Err(Objection::NoGroup);
        }
        let mut groups = BTreeMap::new();
        for &group in leaving {
            self.stays(group)?;
            groups.insert(group, Some(GroupInfo { leaving: true, ..self.group(group)?.clone() }));
        }
        if self.staying() == *leaving {
            return Err(Objection::LastGroup);
        }
        Ok(groups)
    }

    fn share_out(&self, step: &Step, targets: &mut [GroupId]) {
        let mut staying = self.staying();
        for (&group, info) in &step.groups {
            match info {
                Some(info) if !info.leaving => staying.insert(group),
                Some(_) | None => staying.remove(&group),
            };
        }
        balance(targets, &self.configuration.owners, &staying);
    }

    /// Groups that are leaving, and have nothing left after this step, go with it.
    fn dismiss(&self, step: &mut Step) {
        let now = &self.configuration;
        let leaving = |(&group, info): (&GroupId, &GroupInfo)| {
            let info = step.groups.get(&group).unwrap_or(&None).as_ref().unwrap_or(info);
            info.leaving.then_some(group)
        };
        let leaving: Vec<GroupId> = now.groups.iter().filter_map(leaving).collect();
        for group in leaving {
            let stays_so = |shard: ShardId| !step.shards.contains_key(&shard);
            let owns = now.shards().any(|(shard, owner)| owner.group == group && stays_so(shard));
            let gets = now.moves.iter().any(|(&shard, open)| open.to == group && stays_so(shard));
            if !owns && !gets && !step.shards.values().any(|shard| shard.concerns(group)) {
                step.groups.insert(group, None);
            }
        }
    }
}

/// Whether these can be a group's members. An address may be empty as far as a group itself says so: its log may be that old.
fn fit(group: GroupId, members: &Members) -> Result<(), Objection> {
    if !(1..=MEMBERS_MAX).contains(&members.len()) || members.contains_key(&NodeId(0)) {
        let members = members.len() as u64;
        return Err(Objection::Members { group, members, limit: MEMBERS_MAX as u64 });
    }
    let long = members.iter().find(|(_, address)| address.len() > ADDRESS_BYTES_MAX);
    long.map_or(Ok(()), |(&node, address)| Err(bad_address(group, node, address.len())))
}

fn bad_address(group: GroupId, node: NodeId, bytes: usize) -> Objection {
    Objection::Address { group, node, bytes: bytes as u64, limit: ADDRESS_BYTES_MAX as u64 }
}

/// A node that belongs to two groups is one process, in one place.
fn one_address(group: GroupId, members: &Members, other: GroupId, others: &Members) -> Result<(), Objection> {
    for (&node, address) in members {
        if let Some(elsewhere) = others.get(&node).filter(|elsewhere| *elsewhere != address) {
            let (address, elsewhere) = (address.clone(), elsewhere.clone());
            return Err(Objection::TwoAddresses { node, group, address, other, elsewhere });
        }
    }
    Ok(())
}
