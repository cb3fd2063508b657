//! Shards of our own cluster on their way: asked for, waited for, proven by the configuration that says so.

use ordeal_client::wire::{
    AdminChange, CommandId, Configuration, Decision, GroupId, Objection, Owner, ShardId,
};
use ordeal_client::{Client, members_of};

use super::{Administrator, Moving};

/// Looks at the configuration, at most: each look waits for news, up to a second.
const LOOKS_MAX: u32 = 20;

impl Administrator for Client {
    fn configuration(&mut self, number: Option<u64>) -> Result<Configuration, String> {
        Client::configuration(self, number).map_err(|error| error.to_string())
    }

    fn watch(&mut self, after: u64) -> Result<Configuration, String> {
        Client::watch(self, after).map_err(|error| error.to_string())
    }

    fn reshape(&mut self, id: CommandId, base: u64, change: &AdminChange) -> Result<Decision, String> {
        Client::reshape(self, id, base, change).map_err(|error| error.to_string())
    }
}

/// A group so many groups on from where the shard is, of those that stay.
pub(super) fn move_shard(client: &mut Client, shard: ShardId, steps: u32) -> Result<String, String> {
    let before = newest(client)?;
    let (from, to) = destination(&before, shard, steps)?;
    reshape(client, &before, &AdminChange::Move { shard, to })?;
    let so = |now: &Configuration| now.owner(shard).is_some_and(|owner| owner.epoch > from.epoch);
    let now = wait(client, before, so).map_err(|_| format!("{shard} is still of {}", from.group))?;
    let owner = now.owner(shard).ok_or_else(|| format!("there is no {shard} any more"))?;
    Ok(format!(
        "configuration {}: {shard} is of {} in epoch {}, as it was of {} in epoch {}",
        now.number, owner.group, owner.epoch, from.group, from.epoch
    ))
}

/// Opens a move, or finds one open.
pub(super) fn open_move(client: &mut Client, shard: ShardId, steps: u32) -> Result<Moving, String> {
    let before = newest(client)?;
    let moving = |from: GroupId, to: GroupId| Moving { shard: shard.0, from: from.0, to: to.0 };
    if let Some(open) = before.moves.get(&shard) {
        return Ok(moving(open.from, open.to));
    }
    let (from, to) = destination(&before, shard, steps)?;
    reshape(client, &before, &AdminChange::Move { shard, to })?;
    Ok(moving(from.group, to))
}

/// A shard is on its way no more.
pub(super) fn settle(client: &mut Client, shard: ShardId) -> Result<String, String> {
    let before = newest(client)?;
    let now = wait(client, before, |now| !now.moves.contains_key(&shard))
        .map_err(|_| format!("{shard} is still on its way"))?;
    let owner = now.owner(shard).ok_or_else(|| format!("there is no {shard}"))?;
    Ok(format!("configuration {}: {shard} is of {} in epoch {}", now.number, owner.group, owner.epoch))
}

/// Whose a shard is, and the group so many on from there.
fn destination(now: &Configuration, shard: ShardId, steps: u32) -> Result<(Owner, GroupId), String> {
    let from = now.owner(shard).ok_or_else(|| format!("there is no {shard}"))?;
    let staying: Vec<GroupId> =
        now.groups.iter().filter(|(_, info)| !info.leaving).map(|(&group, _)| group).collect();
    let at = staying.iter().position(|group| *group == from.group);
    let at = at.ok_or_else(|| format!("{shard} is of {}, which is leaving", from.group))?;
    let to = staying[(at + steps as usize) % staying.len()];
    if to == from.group {
        return Err(format!("{shard} has nowhere to go: no group but {to} stays"));
    }
    Ok((from, to))
}

/// A group owns nothing. One that has left is no mistake.
pub(super) fn leave(client: &mut Client, group: GroupId) -> Result<String, String> {
    let before = newest(client)?;
    if before.groups.get(&group).is_some_and(|info| !info.leaving) {
        reshape(client, &before, &AdminChange::Leave([group].into()))?;
    }
    let now = wait(client, before, |now| owned(now, group) == 0)
        .map_err(|now| format!("{group} still owns {} shards", owned(&now, group)))?;
    Ok(format!("configuration {}: {group} owns no shard", now.number))
}

/// A group owns its share. One that has not left is no mistake.
pub(super) fn join(client: &mut Client, group: GroupId, nodes: &[String]) -> Result<String, String> {
    let before = newest(client)?;
    if before.groups.get(&group).is_none_or(|info| info.leaving) {
        let members = members_of(nodes, group)?;
        reshape(client, &before, &AdminChange::Join([(group, members)].into()))?;
    }
    let least = before.owners.len() / (before.groups.len() + 1);
    let now = wait(client, before, |now| owned(now, group) >= least.max(1))
        .map_err(|now| format!("{group} owns {} shards only", owned(&now, group)))?;
    Ok(format!("configuration {}: {group} owns {} shards", now.number, owned(&now, group)))
}

fn owned(configuration: &Configuration, group: GroupId) -> usize {
    configuration.owners.iter().filter(|owner| owner.group == group).count()
}

fn newest(client: &mut Client) -> Result<Configuration, String> {
    client.configuration(None).map_err(|error| error.to_string())
}

/// One command, as often as it is needed. That somebody else has just changed something is told as what it is.
fn reshape(client: &mut Client, before: &Configuration, change: &AdminChange) -> Result<(), String> {
    let id = CommandId::new();
    match client.reshape(id, before.number, change).map_err(|error| error.to_string())? {
        // Asked for before, by a try of which no answer came.
        Decision::Done { .. }
        | Decision::Refused(Objection::GroupThere { .. } | Objection::GroupLeaving { .. }) => Ok(()),
        Decision::Conflict { current } => Err(format!("configuration {current} came in between")),
        Decision::Refused(objection) => Err(objection.to_string()),
    }
}

/// Waits until it is so; else gives the newest configuration.
fn wait(
    client: &mut Client,
    mut now: Configuration,
    so: impl Fn(&Configuration) -> bool,
) -> Result<Configuration, Box<Configuration>> {
    for _ in 0..LOOKS_MAX {
        if so(&now) {
            return Ok(now);
        }
        match client.watch(now.number) {
            Ok(next) if next.number > now.number => now = next,
            // A second without news, or without an answer: whoever insists asks again.
            Ok(_) | Err(_) => return Err(Box::new(now)),
        }
    }
    if so(&now) { Ok(now) } else { Err(Box::new(now)) }
}
