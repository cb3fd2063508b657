//! Changes against a played cluster: made and undone, missed beside other faults, and red where nothing excuses them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use super::*;
use crate::plan::PlannedFault;
use crate::run::schedule::tests::plan_of;
use crate::store::{read_events, spans};
use crate::system::{GroupView, Moving, NodeView};

/// A cluster in memory that does as it is told, but for so many attempts first.
struct Played {
    refuses: Mutex<usize>,
    inner: Mutex<Inner>,
}

#[derive(Clone, PartialEq, Debug)]
struct Inner {
    voters: BTreeSet<NodeId>,
    up: BTreeSet<NodeId>,
    leader: (u64, NodeId),
}

impl Played {
    fn new(nodes: u32, refuses: usize) -> Self {
        let nodes: BTreeSet<NodeId> = (1..=nodes).map(NodeId).collect();
        let inner = Inner { voters: nodes.clone(), up: nodes, leader: (1, NodeId(1)) };
        Played { refuses: Mutex::new(refuses), inner: Mutex::new(inner) }
    }

    fn is_as_at_first(&self, nodes: u32) -> bool {
        let (now, first) = (self.inner.lock().unwrap(), Played::new(nodes, 0));
        let first = first.inner.lock().unwrap();
        now.voters == first.voters && now.up == first.up
    }
}

impl Stage for Played {
    fn act(&self, action: &Action) -> Result<Evidence, NotVerified> {
        let refuse =
            |reason: &str| Err(NotVerified { action: action.to_string(), reason: reason.to_owned() });
        let mut refuses = self.refuses.lock().unwrap();
        let asks = matches!(action, Action::Add { .. } | Action::Remove { .. } | Action::Transfer { .. });
        if asks && *refuses > 0 {
            *refuses -= 1;
            return refuse("no majority");
        }
        let mut inner = self.inner.lock().unwrap();
        let done = match action {
            Action::Start { node } => inner.up.insert(*node),
            Action::Kill { node } => inner.up.remove(node) && !inner.voters.contains(node),
            Action::Add { node } => {
                inner.voters.insert(*node);
                inner.up.contains(node)
            }
            Action::Remove { node } => {
                inner.voters.remove(node);
                if inner.leader.1 == *node {
                    inner.leader = (inner.leader.0 + 1, *inner.voters.first().unwrap());
                }
                inner.voters.len() >= 3
            }
            Action::Transfer { to, .. } => {
                let fits = inner.voters.contains(to) && inner.leader.1 != *to;
                inner.leader = (inner.leader.0 + 1, *to);
                fits
            }
            Action::Pause { .. }
            | Action::Resume { .. }
            | Action::Cut { .. }
            | Action::Heal
            | Action::MoveShard { .. }
            | Action::Settle { .. }
            | Action::Leave { .. }
            | Action::Join { .. } => false,
        };
        if !done {
            return refuse("it does not fit");
        }
        Ok(Evidence { asked_ns: 1, applied_ns: 2, verified_ns: 3, proof: "seen".to_owned() })
    }

    fn states(&self) -> BTreeMap<NodeId, NodeState> {
        self.inner.lock().unwrap().up.iter().map(|&node| (node, NodeState::Up { pid: 1 })).collect()
    }

    fn views(&self) -> BTreeMap<NodeId, NodeView> {
        let inner = self.inner.lock().unwrap().clone();
        let (term, leader) = inner.leader;
        let view = |&node: &NodeId| {
            let (leads, voters) = (node == leader, inner.voters.clone());
            let group = GroupView { group: 1, term, leads, voters, ..GroupView::default() };
            (node, NodeView { node, groups: vec![group] })
        };
        inner.up.iter().map(view).collect()
    }

    fn open_move(&self, shard: u32, _steps: u32) -> Result<Moving, NotVerified> {
        panic!("nobody moves s{shard} here")
    }
}

fn plan(seed: u64, nodes: u32) -> Plan {
    plan_of(seed, nodes, vec![FaultKind::Members, FaultKind::Transfer])
}

/// Plays the changes of a kind, whose time has long come, so that nothing waits.
fn play(
    plan: &Plan,
    stage: &Played,
    kind: FaultKind,
    trouble: &Trouble,
) -> (Result<Option<Pending>, ScheduleError>, Vec<Event>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.jsonl");
    let log = EventLog::create(&path).unwrap();
    let start = Instant::now().checked_sub(Duration::from_secs(60)).expect("the machine runs for a minute");
    let (stop, calm) = (Latch::new(), Duration::from_millis(100));
    let changes = Changes { plan, stage, events: &log, now_ns: &|| 7, trouble, start, calm, stop: &stop };
    (changes.run(kind), read_events(&path).unwrap())
}

fn hindered() -> Trouble {
    let trouble = Trouble::default();
    trouble.begins();
    trouble
}

#[test]
fn every_change_is_made_and_undone() {
    for seed in 0..50 {
        for nodes in [3, 4, 5, 15] {
            let (plan, stage) = (plan(seed, nodes), Played::new(nodes, 0));
            for kind in [FaultKind::Members, FaultKind::Transfer] {
                let (ended, events) = play(&plan, &stage, kind, &Trouble::default());
                assert_eq!(ended.unwrap_or_else(|error| panic!("seed {seed}, {nodes} nodes: {error}")), None);
                let spans = spans(&events);
                assert_eq!(spans.len(), plan.count(kind), "seed {seed}, {nodes} nodes");
                assert!(spans.iter().all(|span| !span.began.is_empty() && !span.undone.is_empty()));
            }
            assert!(stage.is_as_at_first(nodes), "seed {seed}");
        }
    }
}

#[test]
fn a_change_is_asked_for_until_it_is_made() {
    for kind in [FaultKind::Members, FaultKind::Transfer] {
        let (mut plan, stage) = (plan(1, 5), Played::new(5, 1));
        plan.faults.retain(|planned| planned.fault.kind() == kind);
        plan.faults.truncate(1);
        let (ended, events) = play(&plan, &stage, kind, &Trouble::default());
        assert_eq!((ended.unwrap(), spans(&events).len()), (None, 1), "{kind}");
        assert!(stage.is_as_at_first(5), "{kind}");
    }
}

#[test]
fn beside_other_faults_a_change_may_be_missed_and_is_undone_all_the_same() {
    let (mut plan, stage) = (plan(1, 5), Played::new(5, 1));
    plan.faults.retain(|planned| planned.fault.kind() == FaultKind::Members);
    plan.faults.truncate(2);
    let (ended, events) = play(&plan, &stage, FaultKind::Members, &hindered());
    assert_eq!(ended.unwrap(), None);
    assert!(
        matches!(&events[0], Event::FaultMissed { fault: 0, reason, .. } if reason.contains("no majority"))
    );
    assert_eq!(spans(&events).len(), 1, "the other one was made");
    assert!(stage.is_as_at_first(5));
}

#[test]
fn what_cannot_be_undone_is_left_to_the_end() {
    let (mut plan, stage) = (plan(1, 5), Played::new(5, 100));
    plan.faults.retain(|planned| planned.fault.kind() == FaultKind::Members);
    plan.faults.truncate(2);
    let (ended, _) = play(&plan, &stage, FaultKind::Members, &hindered());
    assert_eq!(ended.unwrap(), Some(Pending { fault: 0, began: false }));
    assert!(!stage.is_as_at_first(5), "the node that was to join runs");
    *stage.refuses.lock().unwrap() = 0;
    assert_eq!(restore(&stage, &plan, Duration::from_secs(5)), None);
    assert!(stage.is_as_at_first(5));
    stage.act(&Action::Remove { node: NodeId(2) }).unwrap();
    *stage.refuses.lock().unwrap() = 1;
    assert_eq!(restore(&stage, &plan, Duration::from_secs(5)), None);
    assert!(stage.is_as_at_first(5));
    stage.act(&Action::Remove { node: NodeId(2) }).unwrap();
    *stage.refuses.lock().unwrap() = 100;
    assert!(restore(&stage, &plan, Duration::ZERO).is_some_and(|failed| failed.action == "add n2"));
}

#[test]
fn nothing_excuses_a_change_that_nothing_hindered() {
    for kind in [FaultKind::Members, FaultKind::Transfer] {
        let (ended, events) = play(&plan(1, 5), &Played::new(5, 100), kind, &Trouble::default());
        assert!(matches!(ended, Err(ScheduleError::NotVerified { .. })), "{kind}");
        assert!(matches!(events.last(), Some(Event::NotVerified { fault: Some(_), .. })), "{kind}");
    }
}

#[test]
fn other_faults_do_not_excuse_all_of_many() {
    let (ended, events) = play(&plan(1, 5), &Played::new(5, 100), FaultKind::Transfer, &hindered());
    let error = ended.expect_err("six were planned").to_string();
    assert!(error.starts_with("none of 6 transfers: "), "{error}");
    assert!(matches!(events.last(), Some(Event::NotVerified { fault: None, .. })));
    let two: Vec<PlannedFault> = plan(1, 5)
        .faults
        .into_iter()
        .filter(|planned| planned.fault.kind() == FaultKind::Transfer)
        .take(2)
        .collect();
    let few = Plan { faults: two, ..plan(1, 5) };
    assert_eq!(play(&few, &Played::new(5, 100), FaultKind::Transfer, &hindered()).0.unwrap(), None);
}
