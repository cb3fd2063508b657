//! Carries out the faults of a plan, one step after the other on one thread: a step that takes long delays the next, and
//! never meets it. What the cluster itself has to agree to is not among them, but stands in `changes`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ordeal_client::wire::NodeId;

use super::stage::Stage;
use super::trouble::Trouble;
use crate::cluster::{Action, Evidence, NodeState, NotVerified};
use crate::latch::Latch;
use crate::plan::{Fault, Plan, Victims};
use crate::store::{Event, EventLog, StoreError};

/// A schedule that could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// A fault had no effect, or could not be undone.
    #[error("{name}: {reason}")]
    NotVerified {
        /// The fault, in words.
        name: String,
        /// What was seen.
        reason: NotVerified,
    },
    /// It could not be noted.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A schedule in progress.
pub struct Schedule<'a> {
    plan: &'a Plan,
    stage: &'a dyn Stage,
    events: &'a EventLog,
    /// Nanoseconds of the run.
    now_ns: &'a (dyn Fn() -> u64 + Sync),
    /// Who else must know of faults in force.
    trouble: &'a Trouble,
    /// Faults in force: the actions that undo them, and their names.
    active: BTreeMap<usize, Active>,
}

struct Active {
    name: String,
    undo: Vec<Action>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    // Undoing comes first where two steps have the same time.
    Undo,
    Begin,
}

impl<'a> Schedule<'a> {
    /// A schedule that has not begun.
    pub fn new(
        plan: &'a Plan,
        stage: &'a dyn Stage,
        events: &'a EventLog,
        now_ns: &'a (dyn Fn() -> u64 + Sync),
        trouble: &'a Trouble,
    ) -> Self {
        Schedule { plan, stage, events, now_ns, trouble, active: BTreeMap::new() }
    }

    /// Carries out all faults, counting from `start`, until the last is undone. When `stop` is set it begins no more
    /// and undoes at once what is in force.
    ///
    /// # Errors
    /// At the first fault that could not be proven; what is in force then is left to [`heal_all`].
    pub fn run(mut self, start: Instant, stop: &Latch) -> Result<(), ScheduleError> {
        for (at_ms, step, fault) in steps(self.plan) {
            let stopped = stop.wait_until(start + Duration::from_millis(at_ms));
            match step {
                Step::Begin if stopped => {}
                Step::Begin => {
                    self.trouble.begins();
                    self.begin(fault)?;
                }
                Step::Undo => {
                    if self.undo(fault)? {
                        self.trouble.ends();
                    }
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, number: usize) -> Result<(), ScheduleError> {
        let fault = &self.plan.faults[number].fault;
        let _turn = self.trouble.turn();
        let (name, actions) = match self.resolve(fault) {
            Ok(resolved) => resolved,
            Err(reason) => return self.refuse(Some(number), fault.to_string(), reason),
        };
        let mut evidence = Vec::new();
        let mut links = BTreeSet::new();
        for (action, undo) in actions {
            match self.stage.act(&action) {
                Ok(proof) => evidence.push(proof),
                Err(reason) => return self.refuse(Some(number), name, reason),
            }
            if let Action::Cut { links: cut } = action {
                links = cut;
            }
            let active = self.active.entry(number);
            active.or_insert_with(|| Active { name: name.clone(), undo: Vec::new() }).undo.push(undo);
        }
        Ok(self.events.write(&Event::FaultBegan {
            fault: number,
            kind: fault.kind(),
            name,
            links,
            evidence,
        })?)
    }

    /// Undoes what has begun; whether it had.
    fn undo(&mut self, number: usize) -> Result<bool, ScheduleError> {
        let Some(active) = self.active.remove(&number) else { return Ok(false) };
        let mut evidence: Vec<Evidence> = Vec::new();
        for action in active.undo {
            match self.stage.act(&action) {
                Ok(proof) => evidence.push(proof),
                Err(reason) => {
                    let refused = self.refuse(Some(number), format!("undo {}", active.name), reason);
                    return refused.map(|()| false);
                }
            }
        }
        self.events.write(&Event::FaultUndone { fault: number, evidence })?;
        Ok(true)
    }

    fn refuse(&self, fault: Option<usize>, name: String, reason: NotVerified) -> Result<(), ScheduleError> {
        note_not_verified(self.events, (self.now_ns)(), fault, &reason)?;
        Err(ScheduleError::NotVerified { name, reason })
    }

    /// The fault with its nodes in place: its name, and each action with the one that undoes it.
    fn resolve(&self, fault: &Fault) -> Result<(String, Vec<(Action, Action)>), NotVerified> {
        match fault {
            Fault::Kill { victims } => {
                let nodes = self.victims(victims, fault)?;
                let actions = nodes.iter().map(|&node| (Action::Kill { node }, Action::Start { node }));
                Ok((name("kill", &nodes), actions.collect()))
            }
            Fault::Pause { victims } => {
                let nodes = self.victims(victims, fault)?;
                let actions = nodes.iter().map(|&node| (Action::Pause { node }, Action::Resume { node }));
                Ok((name("pause", &nodes), actions.collect()))
            }
            Fault::Partition { leader_first, .. } => {
                let leader = if *leader_first { self.stage.leader() } else { None };
                let cut = fault.cut(leader).expect("a partition is one");
                Ok((cut.name, vec![(Action::Cut { links: cut.links }, Action::Heal)]))
            }
            Fault::Members { .. }
            | Fault::Transfer { .. }
            | Fault::MoveShards { .. }
            | Fault::JoinLeave { .. }
            | Fault::KillMover { .. } => {
                unreachable!("{fault} is no step of a schedule")
            }
        }
    }

    /// Nodes that are up, as many as asked for: the victims, and in the place of one that is down already the next one.
    fn victims(&self, victims: &Victims, fault: &Fault) -> Result<Vec<NodeId>, NotVerified> {
        let states = self.stage.states();
        let wanted = match victims {
            Victims::Leader { otherwise } => vec![self.stage.leader().unwrap_or(*otherwise)],
            Victims::Nodes(nodes) => nodes.clone(),
        };
        let is_up = |node: &NodeId| matches!(states.get(node), Some(NodeState::Up { .. }));
        let mut chosen: Vec<NodeId> = wanted.iter().copied().filter(is_up).collect();
        for &missing in wanted.iter().filter(|node| !is_up(node)) {
            let after = states.keys().filter(|&&node| node > missing);
            let round = after.chain(states.keys().filter(|&&node| node <= missing));
            chosen.extend(round.copied().find(|node| is_up(node) && !chosen.contains(node)));
        }
        if chosen.len() < wanted.len() {
            let reason = format!("only {} of {} victims are up", chosen.len(), wanted.len());
            return Err(NotVerified { action: fault.to_string(), reason });
        }
        Ok(chosen)
    }
}

fn name(what: &str, nodes: &[NodeId]) -> String {
    nodes.iter().fold(what.to_owned(), |name, node| format!("{name} {node}"))
}

/// All steps in the order of their time, but for changes.
fn steps(plan: &Plan) -> Vec<(u64, Step, usize)> {
    let mut steps: Vec<(u64, Step, usize)> = plan
        .faults
        .iter()
        .enumerate()
        .filter(|(_, planned)| !planned.fault.kind().is_change())
        .flat_map(|(number, planned)| {
            [(planned.at_ms, Step::Begin, number), (planned.until_ms(), Step::Undo, number)]
        })
        .collect();
    steps.sort_unstable();
    steps
}

/// Makes the cluster whole, whatever the schedule left behind: heals, resumes, starts. It goes on after a failure, so that
/// as much as possible is whole, and gives all failures.
///
/// # Errors
/// When something could not be noted.
pub fn heal_all(
    stage: &dyn Stage,
    events: &EventLog,
    now_ns: &dyn Fn() -> u64,
) -> Result<Vec<NotVerified>, StoreError> {
    let mut actions = vec![Action::Heal];
    for (node, state) in stage.states() {
        match state {
            NodeState::Paused { .. } => actions.push(Action::Resume { node }),
            NodeState::Down | NodeState::Crashed { .. } => actions.push(Action::Start { node }),
            NodeState::Up { .. } => {}
        }
    }
    let mut failed = Vec::new();
    for action in actions {
        if let Err(reason) = stage.act(&action) {
            note_not_verified(events, now_ns(), None, &reason)?;
            failed.push(reason);
        }
    }
    Ok(failed)
}

pub(super) fn note_not_verified(
    events: &EventLog,
    at_ns: u64,
    fault: Option<usize>,
    failed: &NotVerified,
) -> Result<(), StoreError> {
    let NotVerified { action, reason } = failed.clone();
    events.write(&Event::NotVerified { at_ns, fault, action, reason })
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
pub(super) mod tests;
