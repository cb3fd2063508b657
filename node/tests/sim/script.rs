//! What befalls a world and what its clients ask, line by line: drawn from a seed, or read from a file, and then played.
//!
//! ```text
//! 0.500 c3 write 1                      client 3 writes the key that is in use in slot 1
//! 12.340 crash n2 after 3 for 0.800     n2 dies, 3 operations of its disk further on; more of its kind in `deaths.rs`
//! 12.900 crash leader writing after 0 for 0.200     dies at its next write: what it says is said, what it writes is lost
//! 12.950 crash n2 voting after all for 1.000        dies when it has voted, if it does within a second, and is back in a moment
//! 13.000 cut n1 n2 > rest for 1.000     nothing from n1 and n2 reaches the others; `<`: the other way; `<>`: both
//! 13.500 stall n3 for 2.000             its disk finishes nothing
//! 14.000 transfer n3                    leaders are asked to hand over to it
//! 14.500 remove n2                      leaders are asked for a member less, `add`: one more, `learn`: one that does not vote
//! ```
//!
//! A fault stands on one line with its end, so that taking a line out takes all of it out.

use std::fmt;

use ordeal_client::wire::NodeId;
use rand::RngExt;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_pcg::Pcg32;

use crate::deaths::{Death, add_disk_faults, fill_disks};
use crate::plan::{OPERATIONS_A_SECOND, Plan, SECOND_US};
use crate::shards::{Reshape, reshapes};

/// All lines, by ascending time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Script(pub Vec<Line>);

/// Something that happens at some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub at_us: u64,
    pub act: Act,
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// A client begins an operation when it is free, on the key in use in a slot.
    Call { client: usize, call: CallKind, slot: usize },
    /// A fault, which lasts so long.
    Fault { fault: Fault, lasts_us: u64 },
    /// An administrator wishes something of shards.
    Reshape(Reshape),
}

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallKind {
    Read,
    Write,
    Append,
    Cas,
    Delete,
}

/// Whom a fault befalls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    Nodes(Vec<NodeId>),
    /// Whoever leads the first group at that time, in the highest term; nobody when nobody does.
    Leader,
}

/// What befalls a world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nodes die, the process alone or the power of the whole machine.
    Crash { who: Who, when: When, death: Death },
    /// A write or sync of the disk, so many from now on, fails.
    FailDisk { who: Who, after: u64 },
    /// Somebody else takes all space that disks have left.
    Fill { who: Who },
    /// Bits of what was acknowledged change.
    Rot { who: Who },
    /// Nodes stand still, then find everything at once that came meanwhile.
    Pause { who: Who },
    /// Links carry nothing.
    Cut { who: Who, ways: Ways },
    /// Disks finish nothing.
    Stall { who: Who },
    /// All connections of nodes that live break, and what was under way on them is lost.
    Reset { who: Who },
    /// Clocks jump ahead by so many ticks.
    Jump { who: Who, ticks: u64 },
    /// All leaders are asked to do this with it.
    Ask { who: Who, what: Wish },
}

/// What an administrator wishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Hand leadership over to it.
    Transfer,
    /// It is to be a voter, a learner, no member.
    Add,
    Learn,
    Remove,
}

/// When a node dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    Now,
    /// Right after its next write: what it says is said, what it writes is not synced.
    Writing,
    /// Right after it told somebody that it votes for them, to start again at once.
    Voting,
}

/// Which ways are cut between some nodes and the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ways {
    Out,
    In,
    Both,
}

/// How much of each kind of fault befalls a world.
struct Weights {
    kinds: Vec<Kind>,
    every_us: u64,
    /// Of ten faults, so many are at the leader.
    leader_of_ten: u32,
}

#[derive(Clone, Copy)]
enum Kind {
    Crash,
    CrashWriting,
    CrashVoting,
    Pause,
    Cut,
    CutOneWay,
    Stall,
    Reset,
    Jump,
    Transfer,
    Members,
}

impl Script {
    /// The script of a seed.
    pub fn new(plan: &Plan) -> Self {
        let mut lines = faults(plan);
        add_disk_faults(plan, &mut lines);
        fill_disks(plan, &mut lines);
        lines.extend(calls(plan));
        lines.extend(reshapes(plan));
        lines.sort_by_key(|line| line.at_us);
        Script(lines)
    }
}

fn faults(plan: &Plan) -> Vec<Line> {
    let mut rng = Pcg32::new(plan.seed, 11);
    let all = [
        Kind::Crash,
        Kind::CrashWriting,
        Kind::CrashVoting,
        Kind::Pause,
        Kind::Cut,
        Kind::CutOneWay,
        Kind::Stall,
        Kind::Reset,
        Kind::Jump,
        Kind::Transfer,
        Kind::Members,
    ];
    let mut kinds: Vec<Kind> = all.into_iter().filter(|_| rng.random_range(0..3) > 0).collect();
    kinds.retain(|kind| plan.leases == 0 || !matches!(kind, Kind::Jump));
    if kinds.is_empty() {
        return Vec::new();
    }
    let every_us = [150_000, 400_000, 1_000_000, 3_000_000][rng.random_range(0..4)];
    let weights = Weights { kinds, every_us, leader_of_ten: rng.random_range(0..=6) };
    let mut lines = Vec::new();
    let mut at_us = SECOND_US;
    loop {
        at_us += rng.random_range(weights.every_us / 10..=weights.every_us * 19 / 10);
        if at_us >= plan.end_us() {
            return lines;
        }
        let fault = draw(plan, &weights, &mut rng);
        let lasts_us = match fault {
            Fault::Reset { .. } | Fault::Jump { .. } | Fault::Ask { .. } => 0,
            _ => [SECOND_US / 4, SECOND_US, 3 * SECOND_US][rng.random_range(0..3)],
        };
        let lasts_us = rng.random_range(lasts_us / 10..=lasts_us);
        lines.push(Line { at_us, act: Act::Fault { fault, lasts_us } });
    }
}

fn draw(plan: &Plan, weights: &Weights, rng: &mut Pcg32) -> Fault {
    let mut nodes: Vec<NodeId> = plan.node_ids().collect();
    nodes.shuffle(rng);
    // Mostly one node; now and then any number, up to all.
    let few = if rng.random_range(0..4) > 0 { 1 } else { rng.random_range(1..=nodes.len()) };
    nodes.truncate(few);
    nodes.sort();
    let at_leader = rng.random_range(0..10) < weights.leader_of_ten;
    let who = if at_leader { Who::Leader } else { Who::Nodes(nodes) };
    let after = match rng.random_range(0..4) {
        0 => None,
        1 => Some(rng.random_range(1..=6)),
        _ => Some(0),
    };
    let death = Death { after, power: None };
    match weights.kinds.choose(rng).expect("there is a kind") {
        Kind::Crash => Fault::Crash { who, when: When::Now, death },
        Kind::CrashWriting => Fault::Crash { who, when: When::Writing, death },
        // Whoever may vote next: all but the leader.
        Kind::CrashVoting => {
            Fault::Crash { who: Who::Nodes(plan.node_ids().collect()), when: When::Voting, death }
        }
        Kind::Pause => Fault::Pause { who },
        Kind::Cut => Fault::Cut { who, ways: Ways::Both },
        Kind::CutOneWay => {
            Fault::Cut { who, ways: if rng.random_range(0..2) == 0 { Ways::Out } else { Ways::In } }
        }
        Kind::Stall => Fault::Stall { who },
        Kind::Reset => Fault::Reset { who },
        Kind::Jump => Fault::Jump { who, ticks: rng.random_range(1..=30) },
        Kind::Transfer => Fault::Ask { who: one(plan, rng), what: Wish::Transfer },
        Kind::Members => {
            // Who is removed comes back sooner or later: groups stay about as large as they were.
            let what = [Wish::Remove, Wish::Remove, Wish::Add, Wish::Add, Wish::Add, Wish::Learn];
            Fault::Ask { who: one(plan, rng), what: what[rng.random_range(0..what.len())] }
        }
    }
}

fn one(plan: &Plan, rng: &mut Pcg32) -> Who {
    let nodes: Vec<NodeId> = plan.node_ids().collect();
    Who::Nodes(nodes.choose(rng).copied().into_iter().collect())
}

fn calls(plan: &Plan) -> Vec<Line> {
    let mut rng = Pcg32::new(plan.seed, 13);
    let clients = usize::try_from(plan.clients).expect("clients are few");
    let slots = usize::try_from(plan.slots).expect("slots are few");
    let mut lines = Vec::new();
    for client in 0..clients {
        // As many in all, whether or not there are lulls.
        let mean_us = SECOND_US * plan.clients / OPERATIONS_A_SECOND * (10 - plan.lull_seconds) / 10;
        let mut at_us = SECOND_US / 2 + rng.random_range(0..=mean_us);
        while at_us < plan.end_us() {
            let call = match rng.random_range(0..100) {
                0..40 => CallKind::Read,
                40..60 => CallKind::Write,
                60..80 => CallKind::Append,
                80..95 => CallKind::Cas,
                _ => CallKind::Delete,
            };
            let act = Act::Call { client, call, slot: rng.random_range(0..slots) };
            if !plan.is_lull(at_us) {
                lines.push(Line { at_us, act });
            }
            at_us += rng.random_range(0..=2 * mean_us);
        }
    }
    lines
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", Seconds(self.at_us))?;
        match &self.act {
            Act::Call { client, call, slot } => write!(f, "c{client} {} {slot}", call.name()),
            Act::Reshape(wish) => write!(f, "{wish}"),
            Act::Fault { fault, lasts_us: 0 } => write!(f, "{fault}"),
            Act::Fault { fault, lasts_us } => write!(f, "{fault} for {}", Seconds(*lasts_us)),
        }
    }
}

/// Microseconds as seconds, exactly.
struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / SECOND_US, self.0 % SECOND_US)
    }
}

impl CallKind {
    pub const ALL: [CallKind; 5] =
        [CallKind::Read, CallKind::Write, CallKind::Append, CallKind::Cas, CallKind::Delete];

    /// Its word in a script.
    pub fn name(self) -> &'static str {
        match self {
            CallKind::Read => "read",
            CallKind::Write => "write",
            CallKind::Append => "append",
            CallKind::Cas => "cas",
            CallKind::Delete => "delete",
        }
    }
}

impl Wish {
    pub const ALL: [Wish; 4] = [Wish::Transfer, Wish::Add, Wish::Learn, Wish::Remove];

    /// Whether it changes who belongs to a group.
    pub fn is_of_members(self) -> bool {
        match self {
            Wish::Transfer => false,
            Wish::Add | Wish::Learn | Wish::Remove => true,
        }
    }

    /// Its word in a script.
    pub fn name(self) -> &'static str {
        match self {
            Wish::Transfer => "transfer",
            Wish::Add => "add",
            Wish::Learn => "learn",
            Wish::Remove => "remove",
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Leader => write!(f, "leader"),
            Who::Nodes(nodes) => {
                write!(f, "{}", nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(" "))
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Crash { who, when, death } => {
                let what = if death.power.is_some() { "power" } else { "crash" };
                let when = match when {
                    When::Now => "",
                    When::Writing => " writing",
                    When::Voting => " voting",
                };
                write!(f, "{what} {who}{when} {death}")
            }
            Fault::FailDisk { who, after } => write!(f, "fail {who} after {after}"),
            Fault::Fill { who } => write!(f, "fill {who}"),
            Fault::Rot { who } => write!(f, "rot {who}"),
            Fault::Pause { who } => write!(f, "pause {who}"),
            Fault::Cut { who, ways: Ways::Out } => write!(f, "cut {who} > rest"),
            Fault::Cut { who, ways: Ways::In } => write!(f, "cut {who} < rest"),
            Fault::Cut { who, ways: Ways::Both } => write!(f, "cut {who} <> rest"),
            Fault::Stall { who } => write!(f, "stall {who}"),
            Fault::Reset { who } => write!(f, "reset {who}"),
            Fault::Jump { who, ticks } => write!(f, "jump {who} ticks {ticks}"),
            Fault::Ask { who, what } => write!(f, "{} {who}", what.name()),
        }
    }
}

impl Fault {
    /// Whom it befalls.
    pub fn who(&self) -> &Who {
        match self {
            Fault::Crash { who, .. }
            | Fault::FailDisk { who, .. }
            | Fault::Fill { who }
            | Fault::Rot { who }
            | Fault::Pause { who }
            | Fault::Cut { who, .. }
            | Fault::Stall { who }
            | Fault::Reset { who }
            | Fault::Jump { who, .. }
            | Fault::Ask { who, .. } => who,
        }
    }

    /// Whom it befalls, to change it.
    pub fn who_mut(&mut self) -> &mut Who {
        match self {
            Fault::Crash { who, .. }
            | Fault::FailDisk { who, .. }
            | Fault::Fill { who }
            | Fault::Rot { who }
            | Fault::Pause { who }
            | Fault::Cut { who, .. }
            | Fault::Stall { who }
            | Fault::Reset { who }
            | Fault::Jump { who, .. }
            | Fault::Ask { who, .. } => who,
        }
    }
}

impl Script {
    /// What of it a smaller world can play: calls of clients that it has, on slots that it has, faults of its nodes.
    pub fn fit(&self, plan: &Plan) -> Script {
        let mut lines = self.0.clone();
        lines.retain_mut(|line| match &mut line.act {
            Act::Call { client, slot, .. } => {
                *slot %= usize::try_from(plan.slots).expect("slots are few");
                (*client as u64) < plan.clients
            }
            Act::Reshape(wish) => wish.fits(plan),
            Act::Fault { fault, .. } => match fault.who_mut() {
                Who::Leader => true,
                Who::Nodes(nodes) => {
                    nodes.retain(|node| u64::from(node.0) <= plan.nodes);
                    !nodes.is_empty()
                }
            },
        });
        Script(lines)
    }
}
