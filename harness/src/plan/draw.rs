//! Draws the faults of a plan.
//!
//! ```text
//!  kill       |  ███      |     ████  |   ██      |      each kind has a track of its own, cut into equal slots;
//!  pause      | ██        |  ███      |      ███  |      a fault begins and ends within its slot
//!  partition  |     ████  | ██        |  ████     |
//!  members    |   ████    |    ███    |█████      |
//!  transfer   | █         |       █   |    █      |      and likewise move-shards, join-leave and kill-mover
//! ```
//!
//! So every kind comes as often as every other however the dice fall, two of a kind never meet, and different kinds do.

use ordeal_client::wire::NodeId;
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64Mcg;

use super::{
    Fault, FaultKind, MembersChange, Moment, PLAN_VERSION, Part, Plan, PlannedFault, Settings, VOTERS_MIN,
    Victims,
};
use crate::chance::{Stream, generator};
use crate::lab::Shape;

/// One fault of each kind in this time: six in the default 30 s, one more than is asked for.
const SLOT_MS: u64 = 5_000;
/// A fault lasts at least so long where there is time: beyond an election timeout.
const FAULT_MS_MIN: u64 = 1_000;
/// And at most so long, so that the cluster is whole now and then.
const FAULT_MS_MAX: u64 = 3_000;
/// Between two faults of a kind, so that undoing and proving the one is done before the other begins.
const GAP_MS: u64 = 600;
/// Before the first fault and after the last one.
const QUIET_MS: u64 = 1_000;

/// Shapes of partitions, and whether the leader stands in their first place: alone, or on the smaller side.
const SHAPES: [(Shape, bool); 9] = [
    (Shape::Isolate, true),
    (Shape::Isolate, false),
    (Shape::Halves, true),
    (Shape::Halves, false),
    (Shape::Minority, false),
    (Shape::Mute, true),
    (Shape::Deaf, true),
    (Shape::Bridge, false),
    (Shape::Ring, false),
];

/// Each leader that has a part in a move, at each moment of it.
const HUNTS: [(Part, Moment); 12] = [
    (Part::Source, Moment::Opened),
    (Part::Source, Moment::Copied),
    (Part::Source, Moment::Frozen),
    (Part::Source, Moment::Over),
    (Part::Recipient, Moment::Opened),
    (Part::Recipient, Moment::Copied),
    (Part::Recipient, Moment::Frozen),
    (Part::Recipient, Moment::Over),
    (Part::Controller, Moment::Opened),
    (Part::Controller, Moment::Copied),
    (Part::Controller, Moment::Frozen),
    (Part::Controller, Moment::Over),
];

/// Draws a plan. The same settings give the same plan, always and everywhere.
#[must_use]
pub fn draw(settings: &Settings) -> Plan {
    let mut rng = generator(settings.seed, Stream::Faults);
    let nodes = settings.node_ids();
    let count = usize::try_from((settings.time_ms / SLOT_MS).max(1)).expect("a day has few slots");
    let mut faults = Vec::new();
    for track in tracks(settings, count) {
        let mut victims = deck(count);
        let mut shapes = SHAPES.to_vec();
        shapes.retain(|(shape, _)| shape.fits(nodes.len()));
        let mut hunts = HUNTS.to_vec();
        victims.shuffle(&mut rng);
        shapes.shuffle(&mut rng);
        if track.contains(&FaultKind::KillMover) {
            hunts.shuffle(&mut rng);
        }
        let times = times(settings.time_ms, track.len(), &mut rng);
        for (at, (kind, (at_ms, for_ms))) in track.into_iter().zip(times).enumerate() {
            let mut order = nodes.clone();
            order.shuffle(&mut rng);
            let fault = match kind {
                FaultKind::Kill => Fault::Kill { victims: choose(victims[at % count], &order) },
                FaultKind::Pause => Fault::Pause { victims: choose(victims[at % count], &order) },
                FaultKind::Partition => {
                    let (shape, leader_first) = shapes[at % shapes.len()];
                    Fault::Partition { shape, leader_first, order }
                }
                FaultKind::Members => {
                    Fault::Members { change: change(settings, at, victims[at % count], &order) }
                }
                FaultKind::Transfer => Fault::Transfer { order },
                FaultKind::MoveShards => Fault::MoveShards {
                    shard: rng.random_range(0..settings.shards),
                    steps: rng.random_range(1..settings.groups.max(2)),
                },
                FaultKind::JoinLeave => Fault::JoinLeave { group: rng.random_range(1..=settings.groups) },
                FaultKind::KillMover => {
                    let (part, moment) = hunts[at % hunts.len()];
                    Fault::KillMover {
                        shard: rng.random_range(0..settings.shards),
                        steps: rng.random_range(1..settings.groups.max(2)),
                        part,
                        moment,
                    }
                }
            };
            faults.push(PlannedFault { at_ms, for_ms, fault });
        }
    }
    faults.sort_by_key(|planned| (planned.at_ms, planned.fault.kind()));
    spare(&mut faults, nodes.len());
    Plan { version: PLAN_VERSION, scenario: None, settings: settings.clone(), faults }
}

/// Kinds by track. With fewer than three nodes a kill beside a pause would leave nobody: they take turns.
fn tracks(settings: &Settings, count: usize) -> Vec<Vec<FaultKind>> {
    let (process, others): (Vec<FaultKind>, Vec<FaultKind>) =
        settings.faults.iter().partition(|&&kind| matches!(kind, FaultKind::Kill | FaultKind::Pause));
    let mut tracks: Vec<Vec<FaultKind>> = if settings.nodes < 3 && process.len() > 1 {
        vec![process.repeat(count)]
    } else {
        process.into_iter().map(|kind| vec![kind; count]).collect()
    };
    tracks.extend(others.into_iter().map(|kind| vec![kind; count]));
    tracks
}

/// Begin and length of the faults of a track.
fn times(time_ms: u64, count: usize, rng: &mut Pcg64Mcg) -> Vec<(u64, u64)> {
    let quiet_ms = QUIET_MS.min(time_ms / 10);
    let slot_ms = (time_ms - 2 * quiet_ms) / count as u64;
    let gap_ms = GAP_MS.min(slot_ms / 4);
    let longest_ms = FAULT_MS_MAX.min(slot_ms - gap_ms);
    let shortest_ms = FAULT_MS_MIN.min(longest_ms / 2);
    (0..count as u64)
        .map(|slot| {
            let for_ms = rng.random_range(shortest_ms..=longest_ms);
            let at_ms = rng.random_range(0..=slot_ms - gap_ms - for_ms);
            (quiet_ms + slot * slot_ms + at_ms, for_ms)
        })
        .collect()
}

#[derive(Clone, Copy, PartialEq)]
enum Choice {
    Leader,
    One,
    Majority,
}

/// Cards for as many faults: a third on the leader, a sixth on a majority, the rest on anybody.
fn deck(count: usize) -> Vec<Choice> {
    let suit = [Choice::Leader, Choice::One, Choice::Majority, Choice::One, Choice::Leader, Choice::One];
    suit.into_iter().cycle().take(count).collect()
}

fn choose(choice: Choice, order: &[NodeId]) -> Victims {
    match choice {
        Choice::Leader => Victims::Leader { otherwise: order[0] },
        Choice::One => Victims::Nodes(vec![order[0]]),
        Choice::Majority if order.len() < 3 => Victims::Nodes(vec![order[0]]),
        Choice::Majority => {
            let mut nodes = order[..order.len() / 2 + 1].to_vec();
            nodes.sort_unstable();
            Victims::Nodes(nodes)
        }
    }
}

/// By turns somebody comes and somebody goes, where there is room for the one and a voter to spare for the other.
fn change(settings: &Settings, at: usize, choice: Choice, order: &[NodeId]) -> MembersChange {
    let may_leave = settings.nodes > VOTERS_MIN;
    match settings.spare() {
        Some(spare) if at.is_multiple_of(2) || !may_leave => MembersChange::Joins(spare),
        Some(_) | None => MembersChange::Leaves(match choice {
            Choice::Leader => Victims::Leader { otherwise: order[0] },
            Choice::One | Choice::Majority => Victims::Nodes(vec![order[0]]),
        }),
    }
}

/// Where a majority is hit while the other fault holds as many that nobody would be left, one node is hit instead.
fn spare(faults: &mut [PlannedFault], nodes: usize) {
    for at in 0..faults.len() {
        let others: usize = faults
            .iter()
            .enumerate()
            .filter(|&(other, _)| other != at)
            .filter(|(_, other)| other.overlaps(&faults[at]))
            .map(|(_, other)| other.victims().map_or(0, Victims::count))
            .sum();
        if let Some(Victims::Nodes(victims)) = faults[at].victims_mut()
            && victims.len() > 1
            && victims.len() + others >= nodes
        {
            victims.truncate(1);
        }
    }
}

impl PlannedFault {
    /// Whether both are in force at one time, or so nearly that the one might be late.
    fn overlaps(&self, other: &PlannedFault) -> bool {
        self.at_ms < other.until_ms() + GAP_MS && other.at_ms < self.until_ms() + GAP_MS
    }

    /// Whom it takes from the cluster while it lasts, as far as that is drawn.
    pub(super) fn victims(&self) -> Option<&Victims> {
        match &self.fault {
            Fault::Kill { victims } | Fault::Pause { victims } => Some(victims),
            Fault::Partition { .. }
            | Fault::Members { .. }
            | Fault::Transfer { .. }
            | Fault::MoveShards { .. }
            | Fault::JoinLeave { .. }
            | Fault::KillMover { .. } => None,
        }
    }

    fn victims_mut(&mut self) -> Option<&mut Victims> {
        match &mut self.fault {
            Fault::Kill { victims } | Fault::Pause { victims } => Some(victims),
            Fault::Partition { .. }
            | Fault::Members { .. }
            | Fault::Transfer { .. }
            | Fault::MoveShards { .. }
            | Fault::JoinLeave { .. }
            | Fault::KillMover { .. } => None,
        }
    }
}
