//! Hunts in a played cluster: who is killed, when, and that it is whole afterwards.

use std::collections::BTreeSet;
use std::sync::Mutex;

use super::*;
use crate::latch::Latch;
use crate::plan::{Fault, FaultKind, Plan, PlannedFault};
use crate::run::schedule::tests::plan_of;
use crate::run::stage::Stage;
use crate::run::trouble::Trouble;
use crate::store::{Event, EventLog, read_events, spans};
use crate::system::GroupView;

/// n1 leads the controller, n2 the group that gives, n3 the one that takes. A move goes on by a step at each look.
struct Played {
    steps: Mutex<Option<usize>>,
    down: Mutex<BTreeSet<NodeId>>,
}

/// What the two groups say, look by look.
const COURSE: [(Option<MoveStage>, Option<MoveStage>); 5] = [
    (None, None),
    (Some(MoveStage::Leaving), None),
    (Some(MoveStage::Leaving), Some(MoveStage::Arriving)),
    (Some(MoveStage::Frozen), Some(MoveStage::Arriving)),
    (None, None),
];

impl Stage for Played {
    fn act(&self, action: &Action) -> Result<Evidence, NotVerified> {
        let done = match action {
            Action::Kill { node } => self.down.lock().unwrap().insert(*node),
            Action::Start { node } => self.down.lock().unwrap().remove(node),
            Action::Settle { shard: 4 } => self.down.lock().unwrap().is_empty(),
            other => panic!("{other} is no part of a hunt"),
        };
        if !done {
            return Err(NotVerified { action: action.to_string(), reason: "it does not fit".to_owned() });
        }
        Ok(Evidence { asked_ns: 1, applied_ns: 2, verified_ns: 3, proof: "seen".to_owned() })
    }

    fn states(&self) -> BTreeMap<NodeId, NodeState> {
        let down = self.down.lock().unwrap();
        let state = |node| if down.contains(&node) { NodeState::Down } else { NodeState::Up { pid: 1 } };
        (1..=3).map(|node| (NodeId(node), state(NodeId(node)))).collect()
    }

    fn views(&self) -> BTreeMap<NodeId, NodeView> {
        let mut steps = self.steps.lock().unwrap();
        let (from, to) = steps.map_or(COURSE[0], |step| COURSE[step.min(COURSE.len() - 1)]);
        *steps = steps.map(|step| step + 1);
        let view = |node: u32, stage: Option<MoveStage>| {
            let moves = stage.map(|stage| (4, stage)).into_iter().collect();
            let group = GroupView { group: node - 1, term: 1, leads: true, moves, ..GroupView::default() };
            (NodeId(node), NodeView { node: NodeId(node), groups: vec![group] })
        };
        [view(1, None), view(2, from), view(3, to)].into()
    }

    fn open_move(&self, shard: u32, _steps: u32) -> Result<Moving, NotVerified> {
        *self.steps.lock().unwrap() = Some(0);
        Ok(Moving { shard, from: 1, to: 2 })
    }
}

fn hunt_once(part: Part, moment: Moment) -> Vec<Event> {
    let fault = Fault::KillMover { shard: 4, steps: 1, part, moment };
    let plan = Plan {
        faults: vec![PlannedFault { at_ms: 0, for_ms: 1, fault }],
        ..plan_of(1, 3, vec![FaultKind::Kill])
    };
    let stage = Played { steps: Mutex::new(None), down: Mutex::default() };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.jsonl");
    let events = EventLog::create(&path).unwrap();
    let (trouble, stop) = (Trouble::default(), Latch::new());
    let (start, calm) = (Instant::now(), Duration::from_millis(100));
    let changes = Changes {
        plan: &plan,
        stage: &stage,
        events: &events,
        now_ns: &|| 7,
        trouble: &trouble,
        start,
        calm,
        stop: &stop,
    };
    assert_eq!(changes.run(FaultKind::KillMover).unwrap_or_else(|error| panic!("{error}")), None);
    assert!(stage.down.lock().unwrap().is_empty(), "it runs again");
    assert!(!trouble.since(Instant::now() + Duration::from_secs(60)), "nothing is in force any more");
    read_events(&path).unwrap()
}

#[test]
fn who_has_that_part_is_killed_at_that_moment_and_started_again() {
    for (part, node) in [(Part::Controller, 1), (Part::Source, 2), (Part::Recipient, 3)] {
        for moment in [Moment::Opened, Moment::Copied, Moment::Frozen, Moment::Over] {
            let spans = spans(&hunt_once(part, moment));
            assert_eq!(spans.len(), 1);
            let expected = format!("kill n{node}, the {part} of s4 from g1 to g2, {moment}");
            assert_eq!(spans[0].name, expected);
            assert_eq!((spans[0].began.len(), spans[0].undone.len()), (1, 2));
        }
    }
}

#[test]
fn a_group_without_a_leader_says_nothing_of_a_move() {
    let moving = Moving { shard: 4, from: 1, to: 2 };
    let stage = Played { steps: Mutex::new(Some(4)), down: Mutex::default() };
    let mut views = stage.views();
    let mut begun = true;
    assert_eq!(moment(&views, &moving, &mut begun), Moment::Over);
    views.remove(&NodeId(3));
    assert_eq!(moment(&views, &moving, &mut begun), Moment::Opened, "who knows what it would say");
}
