//! Faults that the cluster itself carries out: who belongs to it, and who leads. Each kind has a thread of its own beside the
//! schedule, as a change waits for a majority, and may wait for the schedule to give one back.
//!
//! ```text
//!   begins ──▶ asked again and again ──▶ proven ───────────▶ undone, asked again and again until it is
//!                     │                                              ▲
//!                     ├── its time is over, beside other faults: missed, told so, and undone all the same
//!                     └── nothing hinders the cluster, and still not: not verified, an error of the run
//! ```

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ordeal_client::wire::NodeId;

use super::hunt::Hunt;
use super::schedule::{ScheduleError, note_not_verified};
use super::stage::Stage;
use super::trouble::Trouble;
use crate::cluster::{Action, Evidence, NodeState, NotVerified};
use crate::latch::Latch;
use crate::plan::{Fault, FaultKind, MembersChange, Plan, Victims};
use crate::store::{Event, EventLog};
use crate::system::leaders;

/// For a change that nothing hinders: 100 × what it takes, so that a busy machine is no reason.
pub const CALM_TIME_MAX: Duration = Duration::from_secs(10);
/// For undoing, from the end of the last planned fault on: then it is left to the end of the run, where all is healed.
const UNDO_TIME_MAX: Duration = Duration::from_secs(10);
/// The same when the run is to end.
const STOPPED_TIME_MAX: Duration = Duration::from_secs(2);
/// Between two attempts: an election takes longer than one that is refused.
const PAUSE: Duration = Duration::from_millis(50);
/// With so many planned, one at least must happen, whatever else is in force.
const SURE: usize = 3;

/// The changes of one kind.
#[derive(Clone, Copy)]
pub struct Changes<'a> {
    /// All faults of the run.
    pub plan: &'a Plan,
    /// The cluster.
    pub stage: &'a dyn Stage,
    /// Where it is noted.
    pub events: &'a EventLog,
    /// Nanoseconds of the run.
    pub now_ns: &'a (dyn Fn() -> u64 + Sync),
    /// What excuses.
    pub trouble: &'a Trouble,
    /// When the clients began.
    pub start: Instant,
    /// How long a change may take that nothing hinders.
    pub calm: Duration,
    /// Set when the run is to end.
    pub stop: &'a Latch,
}

/// A change that could not be undone yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// Its number in the plan.
    pub fault: usize,
    /// Whether it was proven to be in force.
    pub began: bool,
}

/// A change in progress.
pub(super) struct Change {
    fault: usize,
    kind: FaultKind,
    pub(super) name: String,
    pub(super) undo: Vec<Action>,
    evidence: Vec<Evidence>,
    /// Who was killed for it: that hinders others until it is started again.
    pub(super) killed: Option<NodeId>,
}

/// How the attempts ended.
enum Ended {
    Proven,
    Missed(NotVerified),
}

impl Changes<'_> {
    /// Carries out the changes of a kind one after the other, until the last is undone. When the run is to end it begins no
    /// more, and undoes what it can. Gives what is left to be undone.
    ///
    /// # Errors
    /// At the first change that was not made although nothing hindered the cluster; or when none was made of many.
    pub fn run(self, kind: FaultKind) -> Result<Option<Pending>, ScheduleError> {
        let (mut made, mut missed) = (0, Vec::new());
        let of_kind = self.plan.faults.iter().enumerate().filter(|(_, planned)| planned.fault.kind() == kind);
        for (fault, planned) in of_kind {
            let moment = |ms| self.start + Duration::from_millis(ms);
            if self.stop.wait_until(moment(planned.at_ms)) {
                return Ok(None);
            }
            let until = moment(planned.until_ms());
            let mut change = Change {
                fault,
                kind,
                name: planned.fault.to_string(),
                undo: Vec::new(),
                evidence: Vec::new(),
                killed: None,
            };
            let began = match self.begin(&planned.fault, &mut change, until)? {
                Ended::Proven => {
                    made += 1;
                    self.stop.wait_until(until);
                    true
                }
                Ended::Missed(reason) => {
                    missed.push(reason);
                    false
                }
            };
            if !self.undo(&change, began)? {
                return Ok(Some(Pending { fault, began }));
            }
        }
        match missed.pop() {
            Some(reason) if made == 0 && missed.len() + 1 >= SURE && !self.stop.is_set() => {
                let name = format!("none of {}", kind.counted(missed.len() + 1));
                Err(self.refuse(None, name, reason)?)
            }
            _ => Ok(None),
        }
    }

    /// Tries until it is so, or has to be given up.
    fn begin(&self, fault: &Fault, change: &mut Change, until: Instant) -> Result<Ended, ScheduleError> {
        let ended = match fault {
            Fault::Members { change: MembersChange::Joins(node) } => self.join(*node, change, until)?,
            Fault::Members { change: MembersChange::Leaves(victims) } => {
                let node = match victims {
                    Victims::Leader { otherwise } => self.first_leader().unwrap_or(*otherwise),
                    Victims::Nodes(nodes) => nodes[0],
                };
                change.name = format!("members minus {node}");
                change.undo = vec![Action::Add { node }];
                self.insist(change, until, |_| self.stage.act(&Action::Remove { node }))?
            }
            Fault::Transfer { order } => self.insist(change, until, |change| self.transfer(order, change))?,
            Fault::MoveShards { shard, steps } => {
                let action = Action::MoveShard { shard: *shard, steps: *steps };
                self.insist(change, until, |_| self.stage.act(&action))?
            }
            Fault::JoinLeave { group } => {
                change.undo = vec![Action::Join { group: *group }];
                self.insist(change, until, |_| self.stage.act(&Action::Leave { group: *group }))?
            }
            &Fault::KillMover { shard, steps, part, moment } => {
                let hunt = Hunt { shard, steps, part, moment };
                self.insist(change, until, |change| self.hunt(hunt, change))?
            }
            Fault::Kill { .. } | Fault::Pause { .. } | Fault::Partition { .. } => {
                unreachable!("the schedule carries out {fault}")
            }
        };
        match &ended {
            Ended::Proven => self.events.write(&Event::FaultBegan {
                fault: change.fault,
                kind: change.kind,
                name: change.name.clone(),
                links: BTreeSet::new(),
                evidence: change.evidence.clone(),
            })?,
            Ended::Missed(NotVerified { action, reason }) => self.events.write(&Event::FaultMissed {
                at_ns: (self.now_ns)(),
                fault: change.fault,
                kind: change.kind,
                name: change.name.clone(),
                reason: format!("{action}: {reason}"),
            })?,
        }
        Ok(ended)
    }

    fn join(&self, node: NodeId, change: &mut Change, until: Instant) -> Result<Ended, ScheduleError> {
        change.name = format!("members plus {node}");
        change.undo = vec![Action::Remove { node }, Action::Kill { node }];
        match self.stage.act(&Action::Start { node }) {
            Ok(started) => change.evidence.push(started),
            // Nothing else that is in force concerns it.
            Err(reason) => return Err(self.refuse(Some(change.fault), change.name.clone(), reason)?),
        }
        self.insist(change, until, |_| self.stage.act(&Action::Add { node }))
    }

    /// Leadership of a group goes to the first who may have it.
    fn transfer(&self, order: &[NodeId], change: &mut Change) -> Result<Evidence, NotVerified> {
        let refuse =
            |reason: &str| Err(NotVerified { action: "transfer".to_owned(), reason: reason.to_owned() });
        let views = self.stage.views();
        let leaders = leaders(&views);
        // Another group every time, the last one first: the controller's, which has number 0, is not the first to come.
        let before = self.plan.faults[..change.fault].iter();
        let turn = before.filter(|planned| planned.fault.kind() == change.kind).count();
        let Some((&group, &(_, leader))) = leaders.iter().rev().nth(turn % leaders.len().max(1)) else {
            return refuse("nobody says that it leads");
        };
        let known = views.get(&leader).and_then(|view| view.groups.iter().find(|of| of.group == group));
        let Some(known) = known else { return refuse("its leader does not know the group") };
        let states = self.stage.states();
        let may = |node: &&NodeId| {
            let is_up = matches!(states.get(node), Some(NodeState::Up { .. }));
            is_up && **node != leader && known.voters.contains(node)
        };
        let Some(&to) = order.iter().find(may) else {
            return refuse("nobody runs and votes who does not lead already");
        };
        change.name = format!("transfer g{group} from {leader} to {to}");
        self.stage.act(&Action::Transfer { group, to })
    }

    /// The leader, if it is one of the first members: a node that came goes by itself.
    fn first_leader(&self) -> Option<NodeId> {
        self.stage.leader().filter(|leader| self.plan.settings.node_ids().contains(leader))
    }

    fn insist(
        &self,
        change: &mut Change,
        until: Instant,
        attempt: impl Fn(&mut Change) -> Result<Evidence, NotVerified>,
    ) -> Result<Ended, ScheduleError> {
        let since = Instant::now();
        loop {
            let reason = match attempt(change) {
                Ok(proof) => {
                    change.evidence.push(proof);
                    return Ok(Ended::Proven);
                }
                Err(reason) => reason,
            };
            if self.stop.wait(PAUSE) || (self.trouble.since(since) && Instant::now() >= until) {
                return Ok(Ended::Missed(reason));
            }
            if !self.trouble.since(since) && since.elapsed() >= self.calm {
                return Err(self.refuse(Some(change.fault), change.name.clone(), reason)?);
            }
        }
    }

    /// Makes it as it was, in force or not: what was asked for may have happened late. Whether that is done.
    fn undo(&self, change: &Change, began: bool) -> Result<bool, ScheduleError> {
        let mut evidence = Vec::new();
        if change.undo.is_empty() {
            // It was over as soon as it had happened.
            evidence.extend(change.evidence.iter().cloned());
        }
        for action in &change.undo {
            match self.undo_one(change, action)? {
                Some(proof) => evidence.push(proof),
                None => return Ok(false),
            }
            if matches!(action, Action::Start { node } if change.killed == Some(*node)) {
                self.trouble.ends();
            }
        }
        if began {
            self.events.write(&Event::FaultUndone { fault: change.fault, evidence })?;
        }
        Ok(true)
    }

    fn undo_one(&self, change: &Change, action: &Action) -> Result<Option<Evidence>, ScheduleError> {
        let last_ms = self.plan.faults.iter().map(|planned| planned.until_ms()).max().unwrap_or(0);
        let planned_end = self.start + Duration::from_millis(last_ms);
        let since = Instant::now();
        let mut stopped_at = None;
        loop {
            let reason = match self.stage.act(action) {
                Ok(proof) => return Ok(Some(proof)),
                Err(reason) => reason,
            };
            let now = Instant::now();
            if self.stop.is_set() {
                let stopped_at = *stopped_at.get_or_insert(now);
                if now >= stopped_at + STOPPED_TIME_MAX {
                    return Ok(None);
                }
            } else if now >= planned_end + UNDO_TIME_MAX {
                return Ok(None);
            }
            if !self.trouble.since(since) && since.elapsed() >= self.calm {
                return Err(self.refuse(Some(change.fault), format!("undo {}", change.name), reason)?);
            }
            // A set latch does not wait.
            std::thread::sleep(PAUSE);
        }
    }

    fn refuse(
        &self,
        fault: Option<usize>,
        name: String,
        reason: NotVerified,
    ) -> Result<ScheduleError, ScheduleError> {
        note_not_verified(self.events, (self.now_ns)(), fault, &reason)?;
        Ok(ScheduleError::NotVerified { name, reason })
    }
}

/// Makes who belongs to the cluster as it was at first, whatever changes left behind. Gives what could not be made so in time.
#[must_use]
pub fn restore(stage: &dyn Stage, plan: &Plan, limit: Duration) -> Option<NotVerified> {
    let since = Instant::now();
    loop {
        let wrong = next_step(stage, plan)?;
        let failed = match wrong {
            Ok(action) => stage.act(&action).err(),
            Err(reason) => Some(reason),
        };
        if let Some(failed) = failed {
            if since.elapsed() >= limit {
                return Some(failed);
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// What is next on the way to the first members; `None`: it is as it was.
fn next_step(stage: &dyn Stage, plan: &Plan) -> Option<Result<Action, NotVerified>> {
    let refuse = |reason: String| Some(Err(NotVerified { action: "restore members".to_owned(), reason }));
    let (first, spare) = (plan.settings.node_ids(), plan.settings.spare());
    let views = stage.views();
    let leaders = leaders(&views);
    let told = views.values().flat_map(|view| &view.groups).map(|of| of.group);
    let groups: BTreeSet<u32> = told.chain(1..=plan.settings.groups).collect();
    for group in groups {
        let leader = leaders.get(&group).and_then(|(_, leader)| views.get(leader));
        let Some(known) = leader.and_then(|view| view.groups.iter().find(|of| of.group == group)) else {
            return refuse(format!("nobody says that it leads g{group}"));
        };
        if let Some(&node) = first.iter().find(|node| !known.voters.contains(node)) {
            return Some(Ok(Action::Add { node }));
        }
        let belongs = |node: &NodeId| known.voters.contains(node) || known.learners.contains(node);
        if let Some(node) = spare.filter(belongs) {
            return Some(Ok(Action::Remove { node }));
        }
        if known.changing {
            return refuse(format!("who votes in g{group} is still being changed"));
        }
    }
    let node = spare.filter(|spare| views.contains_key(spare))?;
    Some(Ok(Action::Kill { node }))
}

#[cfg(test)]
#[path = "changes_tests.rs"]
mod tests;
