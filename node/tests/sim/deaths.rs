//! How a node dies, and what else befalls its disk: drawn from a stream of its own, so that what else a seed stands for stays
//! as it was.
//!
//! ```text
//! 12.340 crash n2 after 3 for 0.800      the process dies; 3 more operations of its disk come to pass
//! 12.900 crash leader writing after 0 for 0.200     at its next write: what it says is said, what it writes is lost
//! 13.000 crash n1 voting after all for 1.000        when it has voted: what was to be written is written
//! 13.100 power n1 n2 n3 after 2 torn 512 keep 40 again 5 for 0.500    the power fails at all of them, and of what was not
//!                                        synced each 512 bytes stay with 40 %; and once more 5 operations into the next start
//! 14.000 fail n2 after 7                 the 8th operation from now on fails: the node dies at once, and starts again
//! 14.500 fill n1 n2 for 3.000           there is no space left on their disks
//! 15.000 rot n3                          bits of what its log acknowledged change, to be found at its next start
//! ```

use std::fmt;

use ordeal_client::wire::NodeId;
use rand::RngExt;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_pcg::Pcg32;

use crate::plan::{Plan, SECOND_US};
use crate::script::{Act, Fault, Line, When, Who};

/// How a node dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Death {
    /// So many operations of its disk still come to pass; `None`: all that it was about to do.
    pub after: Option<u64>,
    /// The power fails, too: what was written and not synced is lost, in part.
    pub power: Option<Power>,
}

/// A loss of power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Power {
    /// What stays or goes as one: 512 or 4096 bytes.
    pub torn_bytes: u64,
    /// Of a hundred of these, so many stay.
    pub keep_percent: u64,
    /// So many operations into the next start it fails again; 0: it does not.
    pub again: u64,
}

impl Death {
    /// The process is gone, and did nothing more.
    pub const AT_ONCE: Death = Death { after: Some(0), power: None };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Power,
    PowerWriting,
    PowerOfAll,
    Fail,
    Rot,
}

/// What befalls the disks of a world. Where bits rot, groups stay as they are: a minority of the voters may be lost.
pub fn add_disk_faults(plan: &Plan, lines: &mut Vec<Line>) {
    let mut rng = Pcg32::new(plan.seed, 15);
    let all = [Kind::Power, Kind::PowerWriting, Kind::PowerOfAll, Kind::Fail, Kind::Rot];
    let kinds: Vec<Kind> = all.into_iter().filter(|_| rng.random_range(0..2) > 0).collect();
    let every_us = [700_000, 2_000_000, 5_000_000][rng.random_range(0..3)];
    let mut nodes: Vec<NodeId> = plan.node_ids().collect();
    nodes.shuffle(&mut rng);
    let rotting = nodes[..(plan.voters_min() - 1) / 2].to_vec();
    let kinds: Vec<Kind> =
        kinds.into_iter().filter(|kind| *kind != Kind::Rot || !rotting.is_empty()).collect();
    if kinds.contains(&Kind::Rot) {
        lines.retain(|line| !matches!(&line.act, Act::Fault { fault: Fault::Ask { what, .. }, .. } if what.is_of_members()));
    }
    let mut at_us = SECOND_US;
    while !kinds.is_empty() {
        at_us += rng.random_range(every_us / 10..=every_us * 19 / 10);
        if at_us >= plan.end_us() {
            return;
        }
        let kind = *kinds.choose(&mut rng).expect("there is a kind");
        let fault = draw(kind, &nodes, &rotting, &mut rng);
        let lasts_us = match fault {
            Fault::FailDisk { .. } | Fault::Rot { .. } => 0,
            _ => rng.random_range(SECOND_US / 50..=SECOND_US),
        };
        lines.push(Line { at_us, act: Act::Fault { fault, lasts_us } });
    }
}

/// Disks get full: those of some nodes at a time, or of all.
pub fn fill_disks(plan: &Plan, lines: &mut Vec<Line>) {
    let mut rng = Pcg32::new(plan.seed, 16);
    if rng.random_range(0..3) > 0 {
        return;
    }
    let every_us = [2_000_000, 6_000_000][rng.random_range(0..2)];
    let mut at_us = SECOND_US;
    loop {
        at_us += rng.random_range(every_us / 10..=every_us * 19 / 10);
        if at_us >= plan.end_us() {
            return;
        }
        let mut nodes: Vec<NodeId> = plan.node_ids().collect();
        nodes.shuffle(&mut rng);
        nodes.truncate(rng.random_range(1..=nodes.len()));
        nodes.sort();
        let lasts_us = rng.random_range(SECOND_US / 10..=5 * SECOND_US);
        let act = Act::Fault { fault: Fault::Fill { who: Who::Nodes(nodes) }, lasts_us };
        lines.push(Line { at_us, act });
    }
}

fn draw(kind: Kind, nodes: &[NodeId], rotting: &[NodeId], rng: &mut Pcg32) -> Fault {
    let mut some = nodes.to_vec();
    some.shuffle(rng);
    some.truncate(rng.random_range(1..=nodes.len()));
    some.sort();
    let one = |of: &[NodeId], rng: &mut Pcg32| Who::Nodes(of.choose(rng).copied().into_iter().collect());
    let power = Power {
        torn_bytes: [512, 4096][rng.random_range(0..2)],
        keep_percent: [0, 30, 50, 80, 100][rng.random_range(0..5)],
        again: if rng.random_range(0..3) == 0 { rng.random_range(1..=30) } else { 0 },
    };
    let after = if rng.random_range(0..4) == 0 { None } else { Some(rng.random_range(0..=8)) };
    let death = Death { after, power: Some(power) };
    match kind {
        Kind::Power => Fault::Crash { who: Who::Nodes(some), when: When::Now, death },
        Kind::PowerWriting => Fault::Crash { who: Who::Nodes(some), when: When::Writing, death },
        Kind::PowerOfAll => {
            let mut all = nodes.to_vec();
            all.sort();
            Fault::Crash { who: Who::Nodes(all), when: When::Now, death }
        }
        Kind::Fail => Fault::FailDisk { who: one(nodes, rng), after: rng.random_range(0..=40) },
        Kind::Rot => Fault::Rot { who: one(rotting, rng) },
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.after {
            None => write!(f, "after all")?,
            Some(operations) => write!(f, "after {operations}")?,
        }
        let Some(Power { torn_bytes, keep_percent, again }) = self.power else { return Ok(()) };
        write!(f, " torn {torn_bytes} keep {keep_percent} again {again}")
    }
}

impl Death {
    /// Reads what was written.
    pub fn parse(words: &[&str]) -> Option<Death> {
        let number = |word: &&str| word.parse().ok();
        let after = |word: &&str| if *word == "all" { Some(None) } else { number(word).map(Some) };
        Some(match words {
            ["after", operations] => Death { after: after(operations)?, power: None },
            ["after", operations, "torn", torn, "keep", keep, "again", again] => {
                let power =
                    Power { torn_bytes: number(torn)?, keep_percent: number(keep)?, again: number(again)? };
                Death { after: after(operations)?, power: Some(power) }
            }
            _ => return None,
        })
    }
}
