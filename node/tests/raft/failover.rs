//! How long a group is without a leader, in virtual time: ticks that are not in step, messages that take their time, and
//! above all disks that do, as an election waits for two syncs, one after the other: the candidate's own vote, then a voter's.
//!
//! The figures, over all seeds: `cargo test -p ordeal-node --test raft failover -- --nocapture`.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use ordeal_client::wire::NodeId;
use ordeal_node::raft::{Config, LATE_TICKS_MAX};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;

use crate::member::voters;
use crate::net::{Net, Packet};

const TICK_US: u64 = 10_000;
const MS: u64 = 1_000;
/// Elections of a figure.
const SEEDS: u64 = 400;

/// A machine: how long things take.
#[derive(Debug, Clone)]
struct Kind {
    members: u32,
    sync_us: RangeInclusive<u64>,
    message_us: RangeInclusive<u64>,
    /// Of a thousand ticks, before so many a member stands still, as it has no processor.
    stalls_permille: u64,
    /// How soon the others hear that the leader's connection was closed; never, where it only falls silent.
    closes_us: Option<RangeInclusive<u64>>,
}

#[derive(Debug)]
enum Event {
    Tick(NodeId),
    Deliver(Packet),
    /// So many writes are durable.
    Synced(NodeId, usize),
    /// A member that stood still goes on; behind what came for it meanwhile come its ticks.
    Goes(NodeId),
    /// A member hears that the connection of another was closed.
    Closed(NodeId, NodeId),
    CatchesUp(NodeId, u32),
}

impl Event {
    /// Whom it befalls.
    fn at(&self) -> NodeId {
        match self {
            Event::Tick(id)
            | Event::Synced(id, _)
            | Event::Goes(id)
            | Event::Closed(id, _)
            | Event::CatchesUp(id, _) => *id,
            Event::Deliver(packet) => packet.to,
        }
    }
}

#[derive(Debug)]
struct World {
    net: Net,
    rng: Pcg32,
    now_us: u64,
    events: BTreeMap<(u64, u64), Event>,
    numbered: u64,
    kind: Kind,
    /// When the last message of a link arrives: one overtakes none.
    arrivals: BTreeMap<(NodeId, NodeId), u64>,
    /// Writes of the sync under way.
    syncing: BTreeMap<NodeId, usize>,
    /// Who stands still until when, and has missed so many ticks.
    stands: BTreeMap<NodeId, (u64, u32)>,
}

impl World {
    fn new(seed: u64, kind: Kind) -> World {
        let count = kind.members;
        let net = Net::with(count, |config| *config = Config::new(config.id, voters(count), seed));
        let mut world = World {
            net,
            rng: Pcg32::seed_from_u64(seed),
            now_us: 0,
            events: BTreeMap::new(),
            numbered: 0,
            kind,
            arrivals: BTreeMap::new(),
            syncing: BTreeMap::new(),
            stands: BTreeMap::new(),
        };
        for id in world.net.members.keys().copied().collect::<Vec<_>>() {
            let phase_us = world.rng.random_range(0..TICK_US);
            world.later(phase_us, Event::Tick(id));
        }
        world
    }

    fn later(&mut self, delay_us: u64, event: Event) {
        self.numbered += 1;
        self.events.insert((self.now_us + delay_us, self.numbered), event);
    }

    /// The next event happens, and what follows from it is on its way.
    fn step(&mut self) {
        let ((at_us, _), event) = self.events.pop_first().expect("ticks never end");
        self.now_us = at_us;
        let id = event.at();
        match (self.stands.get_mut(&id), event) {
            (Some((_, missed)), Event::Tick(_)) => {
                *missed += 1;
                self.later(TICK_US, Event::Tick(id));
            }
            (None, Event::Tick(_)) => {
                self.later(TICK_US, Event::Tick(id));
                self.net.member(id.0).tick();
                if self.rng.random_range(0..1_000) < self.kind.stalls_permille {
                    let still_us = self.rng.random_range(10 * MS..=200 * MS);
                    self.stands.insert(id, (at_us + still_us, 0));
                    self.later(still_us, Event::Goes(id));
                }
            }
            (stands, Event::Goes(_)) => {
                let (_, missed) = *stands.expect("it stood still");
                self.stands.remove(&id);
                self.later(0, Event::CatchesUp(id, missed.min(LATE_TICKS_MAX)));
            }
            (
                Some((until_us, _)),
                event @ (Event::Deliver(_) | Event::Synced(..) | Event::Closed(..) | Event::CatchesUp(..)),
            ) => {
                let wait_us = *until_us - at_us;
                self.later(wait_us, event);
            }
            (None, Event::CatchesUp(_, ticks)) => (0..ticks).for_each(|_| self.net.member(id.0).tick()),
            (None, Event::Closed(_, old)) => self.net.member(id.0).raft.leader_unreachable(old),
            (None, Event::Deliver(packet)) => self.net.deliver(packet),
            (None, Event::Synced(_, writes)) => {
                (0..writes).for_each(|_| self.net.member(id.0).persist());
                self.syncing.remove(&id);
            }
        }
        self.net.collect_from(id);
        while let Some(packet) = self.net.wires.pop_front() {
            let arrival = self.arrivals.entry((packet.from, packet.to)).or_default();
            *arrival = (self.now_us + self.rng.random_range(self.kind.message_us.clone())).max(*arrival);
            let delay_us = *arrival - self.now_us;
            self.later(delay_us, Event::Deliver(packet));
        }
        let writes = self.net.member(id.0).held.len();
        if writes > 0 && !self.syncing.contains_key(&id) {
            self.syncing.insert(id, writes);
            let takes_us = self.rng.random_range(self.kind.sync_us.clone());
            self.later(takes_us, Event::Synced(id, writes));
        }
    }

    fn run(&mut self, time_us: u64) {
        let until_us = self.now_us + time_us;
        while self.events.first_key_value().is_some_and(|((at_us, _), _)| *at_us <= until_us) {
            self.step();
        }
        self.now_us = until_us;
    }

    /// Milliseconds until somebody leads in a term above this one.
    fn await_leader_above(&mut self, term: u64) -> u64 {
        let begun_us = self.now_us;
        while self.net.leaders().iter().all(|(_, of)| *of <= term) {
            self.step();
            assert!(self.now_us - begun_us < 100_000 * MS, "no leader in 100 s");
        }
        (self.now_us - begun_us) / MS
    }
}

/// Milliseconds of silence after the leader fell silent, and how many terms it took.
fn silence(seed: u64, kind: Kind) -> (u64, u64) {
    let mut world = World::new(seed, kind.clone());
    world.await_leader_above(0);
    let some_us = world.rng.random_range(1_000 * MS..1_100 * MS);
    world.run(some_us);
    world.await_leader_above(0);
    let newest = world.net.leaders().into_iter().max_by_key(|(_, term)| *term);
    let (old, term) = newest.expect("it leads on");
    world.net.isolate(old.0);
    if let Some(closes_us) = kind.closes_us {
        for id in world.net.members.keys().copied().filter(|&id| id != old).collect::<Vec<_>>() {
            let closed_us = world.now_us + world.rng.random_range(closes_us.clone());
            // What a connection carried comes out of it before its end.
            let at_us = closed_us.max(world.arrivals.get(&(old, id)).copied().unwrap_or_default());
            world.later(at_us - world.now_us, Event::Closed(id, old));
        }
    }
    (
        world.await_leader_above(term),
        world.net.leaders().iter().map(|(_, term)| *term).max().expect("one") - term,
    )
}

/// Of all seeds: milliseconds at the median, of 99 in 100, at most; elections that took more than one term.
fn figures(what: &str, kind: &Kind) -> [u64; 4] {
    let all: Vec<(u64, u64)> = (0..SEEDS).map(|seed| silence(seed, kind.clone())).collect();
    let mut times: Vec<u64> = all.iter().map(|(ms, _)| *ms).collect();
    times.sort_unstable();
    let of = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    let split = all.iter().filter(|(_, terms)| *terms > 1).count() as u64;
    let figures @ [p50, p99, max, _] = [of(50), of(99), of(100), split];
    println!("{} members, {what}: p50 {p50} p99 {p99} max {max} ms, {split} of {SEEDS} split", kind.members);
    figures
}

/// Each figure with what it may be at most. The shortest timeout is 250 ms.
fn check(what: &str, kind: &Kind, most: [u64; 4]) {
    for members in [3, 5, 7] {
        let seen = figures(what, &Kind { members, ..kind.clone() });
        let good = seen.iter().zip(most).all(|(seen, most)| *seen <= most);
        assert!(good, "{members} members, {what}: {seen:?}, at most {most:?}");
    }
}

const QUICK: Kind =
    Kind { members: 3, sync_us: 200..=2_000, message_us: 100..=500, stalls_permille: 0, closes_us: None };

/// With what a client needs to find the new leader (50 ms), this is below 400 ms.
#[test]
fn a_silent_leader_is_replaced_within_a_timeout_and_a_quarter() {
    check("quick", &QUICK, [260, 310, 320, 0]);
}

#[test]
fn two_slow_syncs_are_waited_for() {
    check("syncs of 20 to 60 ms", &Kind { sync_us: 20 * MS..=60 * MS, ..QUICK }, [340, 400, 430, 0]);
    // Both together take longer than the time that others give way for, and than the shortest timeout.
    check("syncs of 50 to 150 ms", &Kind { sync_us: 50 * MS..=150 * MS, ..QUICK }, [480, 700, 1_000, 4]);
}

#[test]
fn members_that_stand_still_now_and_then_elect_all_the_same() {
    check("standing still", &Kind { stalls_permille: 10, ..QUICK }, [280, 530, 700, 4]);
}

#[test]
fn slow_messages_split_few_votes() {
    check("messages of 2 to 15 ms", &Kind { message_us: 2 * MS..=15 * MS, ..QUICK }, [310, 400, 650, 4]);
}

/// Its process was killed: its kernel says so to all others, to each when it gets to it.
#[test]
fn a_leader_whose_connections_closed_is_replaced_within_a_few_ticks() {
    let kind = |closes_us| Kind { closes_us: Some(closes_us), ..QUICK };
    check("closed at once", &kind(100..=500), [25, 40, 60, 0]);
    check("closed within 20 ms", &kind(100..=20 * MS), [30, 60, 80, 0]);
}
