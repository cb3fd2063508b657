//! Administrators of a scenario, and what any of them was ever told: a configuration of a number stays what it was, and of a
//! shard the epoch never falls.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use ordeal_client::wire::{
    AdminChange, Cause as Why, CommandId, Configuration, Decision, GroupId, Members, MoveEnd, NodeId,
    ReadLevel, ShardId,
};

use super::hands::Kit;
use super::{Halt, Step};
use crate::system::Administrator;

/// How long an administrator waits for an answer, and insists on a change.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// One administrator.
pub(super) struct Desk {
    client: Box<dyn Administrator>,
    kit: Kit,
}

/// What a change came to.
pub(super) struct Changed {
    /// The configuration that it made.
    pub(super) number: u64,
    /// The command that it was.
    pub(super) id: CommandId,
}

impl Kit {
    /// An administrator who dials the nodes at these places, the first of them first.
    pub(super) fn desk_at(&self, members: &BTreeMap<NodeId, String>, patience: Duration) -> Step<Desk> {
        let nodes: Vec<NodeId> = members.keys().copied().collect();
        let setup = self.setup(&nodes, members, ReadLevel::Linearizable, u32::MAX - 1, patience);
        Ok(Desk { client: self.system.administrator(&setup)?, kit: self.clone() })
    }

    /// An administrator who reaches all nodes.
    pub(super) fn desk(&self) -> Step<Desk> {
        self.desk_at(&self.members, PATIENCE)
    }

    /// Notes what a number means, which it must mean for ever.
    fn note(&self, configuration: &Configuration) -> Step {
        let mut known = self.shared.configurations.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.entry(configuration.number).or_insert_with(|| configuration.clone());
        if before != configuration {
            return Halt::is_unsafe(format!(
                "configuration {} was {before:?}, and now is {configuration:?}",
                configuration.number
            ));
        }
        let mut members = self.shared.members.lock().unwrap_or_else(PoisonError::into_inner);
        let told = configuration.groups.iter().filter(|(_, info)| !info.members.is_empty());
        members.extend(told.map(|(group, info)| (*group, info.members.clone())));
        Ok(())
    }
}

impl Desk {
    /// Asks, and notes how long the longest answer took.
    fn timed<T>(&mut self, what: &'static str, ask: impl FnOnce(&mut dyn Administrator) -> T) -> T {
        let since = Instant::now();
        let answer = ask(&mut *self.client);
        let mut longest = self.kit.shared.longest_answer.lock().unwrap_or_else(PoisonError::into_inner);
        *longest = (*longest).max((since.elapsed(), what));
        answer
    }

    /// The newest configuration.
    pub(super) fn newest(&mut self) -> Step<Configuration> {
        match self.timed("newest", |client| client.configuration(None)) {
            Ok(configuration) => {
                self.kit.note(&configuration)?;
                Ok(configuration)
            }
            Err(why) => Halt::is_late(format!("nobody says who owns what: {why}")),
        }
    }

    /// The configuration of this number.
    pub(super) fn at(&mut self, number: u64) -> Step<Configuration> {
        match self.timed("number", |client| client.configuration(Some(number))) {
            Ok(found) if found.number == number => {
                self.kit.note(&found)?;
                Ok(found)
            }
            Ok(found) => Halt::is_unsafe(format!("asked for configuration {number}, told {}", found.number)),
            Err(why) => Halt::is_late(format!("nobody says what configuration {number} was: {why}")),
        }
    }

    /// A newer configuration, if there is one within a second.
    pub(super) fn after(&mut self, known: &Configuration) -> Step<Configuration> {
        match self.client.watch(known.number) {
            // From whichever node, which may know less.
            Ok(next) => {
                self.kit.note(&next)?;
                Ok(if next.number > known.number { next } else { known.clone() })
            }
            Err(why) => Halt::is_late(format!("nobody has news of who owns what: {why}")),
        }
    }

    /// One attempt at a change; `None`: no answer.
    pub(super) fn try_change(&mut self, id: CommandId, base: u64, change: &AdminChange) -> Option<Decision> {
        self.timed("change", |client| client.reshape(id, base, change)).ok()
    }

    /// A change that nobody can mind, made on whatever is newest, and insisted on.
    pub(super) fn change(&mut self, change: &AdminChange) -> Step<Changed> {
        let since = Instant::now();
        while since.elapsed() < PATIENCE {
            let (id, base) = (CommandId::new(), self.newest()?.number);
            match self.try_change(id, base, change) {
                Some(Decision::Done { number }) => return Ok(Changed { number, id }),
                Some(Decision::Conflict { .. }) => {}
                Some(Decision::Refused(objection)) => {
                    return Halt::is_late(format!("{change:?} is refused: {objection}"));
                }
                // Asked again with the id that it had, it is told what came of it.
                None => match self.try_change(id, base, change) {
                    Some(Decision::Done { number }) => return Ok(Changed { number, id }),
                    Some(Decision::Conflict { .. } | Decision::Refused(_)) | None => {}
                },
            }
        }
        Halt::is_late(format!("{change:?} was not decided within {} s", PATIENCE.as_secs()))
    }

    /// These groups get their share, in one step.
    pub(super) fn join(&mut self, groups: &[u32]) -> Step<Changed> {
        let change = self.joining(groups);
        self.change(&change)
    }

    /// The change that lets these groups have their share: with the members that they had when they left.
    pub(super) fn joining(&self, groups: &[u32]) -> AdminChange {
        let known = self.kit.shared.members.lock().unwrap_or_else(PoisonError::into_inner);
        let members = |group: &u32| -> (GroupId, Members) {
            (GroupId(*group), known.get(&GroupId(*group)).cloned().unwrap_or_default())
        };
        AdminChange::Join(groups.iter().map(members).collect())
    }

    /// These groups are to own nothing, in one step.
    pub(super) fn leave(&mut self, groups: &[u32]) -> Step<Changed> {
        self.change(&leaving(groups))
    }

    /// Waits until it is so, at most so long; the configuration in which it was, or the newest when it never was.
    pub(super) fn wait(
        &mut self,
        limit: Duration,
        so: impl Fn(&Configuration) -> bool,
    ) -> Step<Result<Configuration, Configuration>> {
        let since = Instant::now();
        let mut now = self.newest()?;
        while !so(&now) {
            if since.elapsed() > limit {
                return Ok(Err(now));
            }
            now = self.after(&now)?;
        }
        Ok(Ok(now))
    }

    /// Every configuration there ever was, looked at once more: numbers without a gap, epochs that never fall and rise with the end
    /// of a move only, and what was told under load is told again.
    pub(super) fn history(&mut self) -> Step<Vec<Configuration>> {
        let newest = self.newest()?.number;
        let mut all = vec![self.at(ordeal_client::wire::NUMBER_FIRST)?];
        for number in all[0].number + 1..=newest {
            let (before, now) = (all.last().expect("the first one"), self.at(number)?);
            follows(before, &now)?;
            all.push(now);
        }
        Ok(all)
    }
}

/// The change after which these groups own nothing.
pub(super) fn leaving(groups: &[u32]) -> AdminChange {
    AdminChange::Leave(groups.iter().copied().map(GroupId).collect())
}

/// How many shards a group owns.
pub(super) fn owned(configuration: &Configuration, group: u32) -> usize {
    configuration.owners.iter().filter(|owner| owner.group == GroupId(group)).count()
}

/// No move is open, and nobody is about to leave.
pub(super) fn is_settled(configuration: &Configuration) -> bool {
    configuration.moves.is_empty() && configuration.groups.values().all(|info| !info.leaving)
}

/// Shares are even: none has two shards more than another.
pub(super) fn is_even(configuration: &Configuration) -> bool {
    let shares: BTreeSet<usize> = configuration.groups.keys().map(|g| owned(configuration, g.0)).collect();
    shares.last().is_none_or(|most| most - shares.first().unwrap_or(most) <= 1)
}

/// Whether one configuration can follow another: an owner changes by the end of a move, one at a time, and with it its epoch by one.
fn follows(before: &Configuration, now: &Configuration) -> Step {
    let changed: Vec<ShardId> =
        before.shards().zip(now.shards()).filter(|(a, b)| a != b).map(|(a, _)| a.0).collect();
    let expected = match now.cause {
        Why::MoveEnded { shard, end: MoveEnd::Adopted, .. } => vec![shard],
        Why::MoveEnded { end: MoveEnd::Cancelled, .. }
        | Why::Created
        | Why::Asked { .. }
        | Why::Members { .. } => vec![],
    };
    if changed != expected {
        return Halt::is_unsafe(format!(
            "configuration {} changes the owners of {changed:?}, expected {expected:?}: {:?}",
            now.number, now.cause
        ));
    }
    for shard in changed {
        let (old, new) = (before.owner(shard), now.owner(shard));
        let open = before.moves.get(&shard);
        let as_moved =
            open.zip(new).is_some_and(|(open, new)| new.group == open.to && new.epoch == open.epoch + 1);
        if !as_moved || old.map(|old| old.epoch) != open.map(|open| open.epoch) {
            return Halt::is_unsafe(format!(
                "configuration {}: {shard} was of {old:?} with move {open:?}, and is of {new:?}",
                now.number
            ));
        }
    }
    Ok(())
}
