//! The schedule against a played stage: every fault carried out, proven, undone.

use std::collections::BTreeSet;
use std::sync::Mutex;

use super::*;
use crate::lab::Link;
use crate::plan::{FaultKind, ReadLevel, Settings, WorkloadKind, draw};
use crate::store::{read_events, spans};
use crate::system::{Moving, NodeView};

/// A cluster in memory, strict about what may follow what.
struct FakeStage {
    states: Mutex<BTreeMap<NodeId, NodeState>>,
    cut: Mutex<BTreeSet<Link>>,
    leader: Option<NodeId>,
    /// The number of the action, from 1, that has no effect.
    fails_at: Option<usize>,
    acted: Mutex<Vec<String>>,
}

impl FakeStage {
    fn new(nodes: u32, leader: Option<u32>, fails_at: Option<usize>) -> Self {
        let up = |node| (NodeId(node), NodeState::Up { pid: 1 });
        FakeStage {
            states: Mutex::new((1..=nodes).map(up).collect()),
            cut: Mutex::new(BTreeSet::new()),
            leader: leader.map(NodeId),
            fails_at,
            acted: Mutex::new(Vec::new()),
        }
    }

    fn is_whole(&self) -> bool {
        let states = self.states.lock().unwrap();
        states.values().all(|state| matches!(state, NodeState::Up { .. }))
            && self.cut.lock().unwrap().is_empty()
    }
}

impl Stage for FakeStage {
    fn act(&self, action: &Action) -> Result<Evidence, NotVerified> {
        let mut acted = self.acted.lock().unwrap();
        acted.push(action.to_string());
        let refuse = |reason: &str| NotVerified { action: action.to_string(), reason: reason.to_owned() };
        if self.fails_at == Some(acted.len()) {
            return Err(refuse("nothing happened"));
        }
        let mut states = self.states.lock().unwrap();
        let (node, from, to) = match action {
            Action::Cut { links } => {
                *self.cut.lock().unwrap() = links.clone();
                return Ok(evidence());
            }
            Action::Heal => {
                self.cut.lock().unwrap().clear();
                return Ok(evidence());
            }
            Action::Kill { node } => (node, "up", NodeState::Down),
            Action::Start { node } => (node, "down", NodeState::Up { pid: 1 }),
            Action::Pause { node } => (node, "up", NodeState::Paused { pid: 1 }),
            Action::Resume { node } => (node, "paused", NodeState::Up { pid: 1 }),
            Action::Add { .. }
            | Action::Remove { .. }
            | Action::Transfer { .. }
            | Action::MoveShard { .. }
            | Action::Settle { .. }
            | Action::Leave { .. }
            | Action::Join { .. } => {
                return Err(refuse("no step of a schedule"));
            }
        };
        let is = match states[node] {
            NodeState::Up { .. } => "up",
            NodeState::Down | NodeState::Crashed { .. } => "down",
            NodeState::Paused { .. } => "paused",
        };
        if is != from {
            return Err(refuse(&format!("{node} is {is}, not {from}")));
        }
        states.insert(*node, to);
        Ok(evidence())
    }

    fn states(&self) -> BTreeMap<NodeId, NodeState> {
        self.states.lock().unwrap().clone()
    }

    fn views(&self) -> BTreeMap<NodeId, NodeView> {
        BTreeMap::new()
    }

    fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    fn open_move(&self, shard: u32, _steps: u32) -> Result<Moving, NotVerified> {
        panic!("nobody moves s{shard} here")
    }
}

fn evidence() -> Evidence {
    Evidence { asked_ns: 1, applied_ns: 2, verified_ns: 3, proof: "seen".to_owned() }
}

fn plan(seed: u64, nodes: u32) -> Plan {
    let supported = |kind: &FaultKind| kind.unsupported(nodes, 2).is_none();
    plan_of(seed, nodes, FaultKind::ALL.into_iter().filter(supported).collect())
}

/// A plan of these faults for half a minute.
pub(in crate::run) fn plan_of(seed: u64, nodes: u32, faults: Vec<FaultKind>) -> Plan {
    draw(&Settings {
        seed,
        nodes,
        clients: 4,
        time_ms: 30_000,
        workload: WorkloadKind::Register,
        faults,
        rate: 10,
        keys: 2,
        read_level: ReadLevel::Linearizable,
        groups: 1,
        replicas: None,
        shards: 1,
        op_timeout_ms: 100,
    })
}

struct Played {
    result: Result<(), ScheduleError>,
    events: Vec<Event>,
}

/// Plays a plan whose time has long come, so that nothing waits.
fn play(plan: &Plan, stage: &FakeStage, stop: &Latch) -> Played {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.jsonl");
    let log = EventLog::create(&path).unwrap();
    let long_ago =
        Instant::now().checked_sub(Duration::from_secs(60)).expect("the machine runs for a minute");
    let result = Schedule::new(plan, stage, &log, &|| 7, &Trouble::default()).run(long_ago, stop);
    Played { result, events: read_events(&path).unwrap() }
}

#[test]
fn every_fault_is_carried_out_and_undone_whoever_leads() {
    for seed in 0..50 {
        for nodes in [1, 2, 3, 5] {
            for leader in [None, Some(1), Some(nodes)] {
                let (plan, stage) = (plan(seed, nodes), FakeStage::new(nodes, leader, None));
                let played = play(&plan, &stage, &Latch::new());
                played.result.unwrap_or_else(|error| panic!("seed {seed}, {nodes} nodes: {error}"));
                assert!(stage.is_whole(), "seed {seed}");
                let spans = spans(&played.events);
                let steps = plan.faults.iter().filter(|planned| !planned.fault.kind().is_change()).count();
                assert_eq!(spans.len(), steps, "seed {seed}");
                assert!(spans.iter().all(|span| !span.began.is_empty() && !span.undone.is_empty()));
            }
        }
    }
}

#[test]
fn a_fault_without_effect_ends_the_schedule_and_is_noted() {
    let plan = plan(1, 5);
    for fails_at in 1..20 {
        let stage = FakeStage::new(5, Some(1), Some(fails_at));
        let played = play(&plan, &stage, &Latch::new());
        assert!(matches!(played.result, Err(ScheduleError::NotVerified { .. })), "action {fails_at}");
        assert!(matches!(played.events.last(), Some(Event::NotVerified { fault: Some(_), .. })));
        assert_eq!(stage.acted.lock().unwrap().len(), fails_at, "nothing is done after it");
    }
}

#[test]
fn a_stopped_schedule_begins_nothing_more() {
    let (stop, stage) = (Latch::new(), FakeStage::new(5, None, None));
    stop.set();
    let played = play(&plan(1, 5), &stage, &stop);
    assert!(played.result.is_ok() && played.events.is_empty());
    assert!(stage.is_whole());
}

#[test]
fn a_victim_that_is_down_gives_way_and_too_few_are_an_error() {
    let mut one = plan(1, 3);
    one.faults.truncate(1);
    one.faults[0].fault = Fault::Kill { victims: Victims::Nodes(vec![NodeId(3)]) };
    let stage = FakeStage::new(3, None, None);
    stage.states.lock().unwrap().insert(NodeId(3), NodeState::Paused { pid: 1 });
    assert!(play(&one, &stage, &Latch::new()).result.is_ok());
    assert_eq!(*stage.acted.lock().unwrap(), ["kill n1", "start n1"]);
    one.faults[0].fault = Fault::Kill { victims: Victims::Nodes(vec![NodeId(1), NodeId(2), NodeId(3)]) };
    let error = play(&one, &stage, &Latch::new()).result.expect_err("one is paused").to_string();
    assert!(error.contains("only 2 of 3 victims are up"), "{error}");
}

#[test]
fn healing_makes_whole_whatever_is_left() {
    let stage = FakeStage::new(5, None, None);
    stage.states.lock().unwrap().insert(NodeId(1), NodeState::Paused { pid: 1 });
    stage.states.lock().unwrap().insert(NodeId(2), NodeState::Down);
    let crashed = NodeState::Crashed { how: "exit code 101".to_owned(), last_words: vec![] };
    stage.states.lock().unwrap().insert(NodeId(3), crashed);
    stage.cut.lock().unwrap().insert(Link { from: NodeId(1), to: NodeId(2) });
    let dir = tempfile::tempdir().unwrap();
    let log = EventLog::create(&dir.path().join("events.jsonl")).unwrap();
    assert_eq!(heal_all(&stage, &log, &|| 1).unwrap(), []);
    assert!(stage.is_whole());
}
