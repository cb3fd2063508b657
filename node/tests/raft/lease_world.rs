//! Leases under clocks that drift, in random schedules: no read is stale as long as the clock assumption holds, and one is
//! when it does not (the test's own control).
//!
//! Time is counted in hundredths of a tick. A member's tick takes 95 to 104 of them (so of two members one never counts
//! more than 10 ticks while another counts 9), turns of the loop come late, messages take up to 300, members are cut off, stop
//! and crash, connections of living leaders are reset, and everybody reads and writes all the time.

use std::collections::{BTreeMap, BTreeSet};

use ordeal_client::wire::NodeId;
use ordeal_node::raft::{Config, LATE_TICKS_MAX, Role, lease_ticks};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;

use crate::member::{command, voters};
use crate::net::{Net, Packet};
use crate::oracle::Oracle;

#[derive(Debug)]
struct World {
    net: Net,
    oracle: Oracle,
    rng: Pcg32,
    /// Whether members are told of lost ticks.
    honest: bool,
    time: u64,
    /// Messages by arrival.
    arrivals: BTreeMap<(u64, u64), Packet>,
    sent: u64,
    clocks: BTreeMap<NodeId, Clock>,
    cut: BTreeSet<NodeId>,
    tokens: u64,
    seen: Seen,
}

/// One member's time.
#[derive(Debug)]
struct Clock {
    /// Length of a tick.
    tick: u64,
    tick_due: u64,
    next_turn: u64,
}

/// What the schedules reached.
#[derive(Debug, Default)]
struct Seen {
    by_leaders: usize,
    terms: usize,
}

impl World {
    fn new(seed: u64, honest: bool) -> World {
        let mut rng = Pcg32::seed_from_u64(seed);
        let count = if seed.is_multiple_of(2) { 3 } else { 5 };
        let net = Net::with(count, |config| {
            *config = Config::new(config.id, voters(count), seed);
            config.lease_ticks = lease_ticks(config.election_ticks);
        });
        let clocks = net
            .members
            .keys()
            .map(|&id| (id, Clock { tick: rng.random_range(95..105), tick_due: 100, next_turn: 0 }));
        let clocks = clocks.collect();
        World {
            net,
            oracle: Oracle::default(),
            rng,
            honest,
            time: 0,
            arrivals: BTreeMap::new(),
            sent: 0,
            clocks,
            cut: BTreeSet::new(),
            tokens: 0,
            seen: Seen::default(),
        }
    }

    /// A tenth of a tick.
    fn step(&mut self) {
        self.time += 10;
        let everybody: Vec<NodeId> = self.net.members.keys().copied().collect();
        for who in everybody {
            if self.clocks[&who].next_turn <= self.time {
                self.turn(who);
                // Mostly at once again; or a slow disk holds the loop up; or somebody stops the process.
                let rest = match self.rng.random_range(0..1_000) {
                    0 => 6_000,
                    1..20 => 600,
                    _ => 10,
                };
                let next_turn = self.time + self.rng.random_range(10..=rest);
                self.clocks.get_mut(&who).expect("a member").next_turn = next_turn;
            }
            if self.chance(2) {
                self.net.members.get_mut(&who).expect("a member").crash(0, None);
                self.oracle.restarted(who);
            }
            if self.chance(20) && !self.cut.remove(&who) && self.cut.len() < 2 {
                self.cut.insert(who);
                // Its connections are reset, and it lives.
                for other in self.net.members.values_mut() {
                    other.raft.leader_unreachable(who);
                }
            }
        }
    }

    /// As the server's: first what came in, then the ticks that are due, then what comes of both.
    fn turn(&mut self, who: NodeId) {
        let arrived: Vec<(u64, u64)> =
            self.arrivals.range(..=(self.time, u64::MAX)).map(|(key, _)| *key).collect();
        for key in arrived.into_iter().filter(|key| self.arrivals[key].to == who).collect::<Vec<_>>() {
            let Packet { from, message, .. } = self.arrivals.remove(&key).expect("just seen");
            if !self.cut.contains(&from) && !self.cut.contains(&who) {
                self.net.members.get_mut(&who).expect("a member").raft.step(from, message);
            }
        }
        let (write, reset, transfer) = (self.chance(100), self.chance(20), self.chance(20));
        let member = self.net.members.get_mut(&who).expect("a member");
        self.tokens += 1;
        if member.raft.read_here(self.tokens).is_ok() {
            self.oracle.read_begins(self.tokens, who);
        }
        if write {
            let _not_leader = member.raft.propose(command("x"));
        }
        if transfer {
            let _no_leader = member.raft.transfer(None);
        }
        if reset && let Some(leader) = member.status().leader {
            member.raft.leader_unreachable(leader);
        }
        let clock = self.clocks.get_mut(&who).expect("a member");
        let lost = clock.tick_due + u64::from(LATE_TICKS_MAX) * clock.tick <= self.time;
        while clock.tick_due <= self.time {
            if !lost || clock.tick_due + u64::from(LATE_TICKS_MAX) * clock.tick > self.time {
                member.raft.tick();
            }
            clock.tick_due += clock.tick;
        }
        if lost && self.honest {
            member.raft.ticks_lost();
        }
        let before = member.answered.len();
        member.turn();
        if member.status().role == Role::Leader {
            self.seen.by_leaders += member.answered.len() - before;
        }
        member.persist_all();
        self.oracle.look(&mut self.net, who);
        self.net.collect_from(who);
        while let Some(packet) = self.net.wires.pop_front() {
            let slow = if self.chance(1_000) { 300 } else { 30 };
            let arrival = self.time + self.rng.random_range(1..slow);
            self.sent += 1;
            self.arrivals.insert((arrival, self.sent), packet);
        }
    }

    fn chance(&mut self, of_ten_thousand: u32) -> bool {
        self.rng.random_range(0..10_000) < of_ten_thousand
    }
}

/// Runs a world; what it reached.
fn run(seed: u64, honest: bool) -> Seen {
    let mut world = World::new(seed, honest);
    (0..8_000).for_each(|_| world.step());
    world.seen.terms = world.oracle.terms_with_a_leader();
    world.seen
}

#[test]
fn no_lease_lets_a_stale_read_through() {
    let mut total = Seen::default();
    for seed in 0..40 {
        let seen = std::panic::catch_unwind(|| run(seed, true));
        let Ok(seen) = seen else { panic!("seed {seed}") };
        total.by_leaders += seen.by_leaders;
        total.terms += seen.terms;
    }
    println!("{total:?}");
    assert!(total.by_leaders > 10_000 && total.terms > 100, "the schedules became dull: {total:?}");
}

/// The control: members that are not told of the time in which they were stopped take an old lease for a young one, and reads
/// do get stale. Were it not so, the test above would show nothing.
#[test]
fn time_that_nobody_tells_of_makes_reads_stale() {
    let stale = (0..40).filter(|&seed| std::panic::catch_unwind(|| run(seed, false)).is_err()).count();
    assert!(stale > 0);
}
