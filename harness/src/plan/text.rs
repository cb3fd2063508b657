//! Plans in words, for `--dry-run` and reports.

use std::fmt;

use super::{Fault, FaultKind, MembersChange, Moment, Part, Plan, PlannedFault, Victims};

/// Milliseconds as seconds with three digits: `12.401 s`.
#[must_use]
pub fn seconds(ms: u64) -> String {
    format!("{}.{:03} s", ms / 1_000, ms % 1_000)
}

impl fmt::Display for Victims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Victims::Leader { otherwise } => write!(f, "the leader (or {otherwise})"),
            Victims::Nodes(nodes) => {
                for (at, node) in nodes.iter().enumerate() {
                    write!(f, "{}{node}", if at == 0 { "" } else { " " })?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Kill { victims } => write!(f, "kill {victims}"),
            Fault::Pause { victims } => write!(f, "pause {victims}"),
            Fault::Partition { shape, leader_first, order } => {
                write!(f, "partition: {shape} of{}", if *leader_first { " the leader," } else { "" })?;
                order.iter().try_for_each(|node| write!(f, " {node}"))
            }
            Fault::Members { change: MembersChange::Joins(node) } => write!(f, "members: {node} joins"),
            Fault::Members { change: MembersChange::Leaves(who) } => write!(f, "members: {who} leaves"),
            Fault::Transfer { order } => {
                write!(f, "transfer: to the first that may lead of")?;
                order.iter().try_for_each(|node| write!(f, " {node}"))
            }
            Fault::MoveShards { shard, steps: 1 } => write!(f, "move-shards: s{shard} to the next group"),
            Fault::MoveShards { shard, steps } => write!(f, "move-shards: s{shard} {steps} groups on"),
            Fault::JoinLeave { group } => write!(f, "join-leave: g{group} leaves, and joins again"),
            Fault::KillMover { shard, steps, part, moment } => {
                let further = if *steps == 1 { String::new() } else { format!(" {steps} groups on") };
                write!(f, "kill-mover: the {part} of s{shard} on its way{further}, {moment}")
            }
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Source => "source's leader",
            Part::Recipient => "recipient's leader",
            Part::Controller => "controller's leader",
        })
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Moment::Opened => "as soon as the move is open",
            Moment::Copied => "while it is copied",
            Moment::Frozen => "while it is frozen",
            Moment::Over => "as soon as it is served again",
        })
    }
}

impl fmt::Display for PlannedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>10}  {:>9}  {}", seconds(self.at_ms), seconds(self.for_ms), self.fault)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = &self.settings;
        if let Some(scenario) = &self.scenario {
            return write!(f, "seed {}: scenario {scenario}, {} nodes", settings.seed, settings.nodes);
        }
        writeln!(
            f,
            "seed {}: {} nodes, {} clients, {}, workload {} at {} operations/s on {} keys at a time, {} reads",
            settings.seed,
            settings.nodes,
            settings.clients,
            seconds(settings.time_ms),
            settings.workload,
            settings.rate,
            settings.keys,
            settings.read_level,
        )?;
        if !self.faults.is_empty() {
            writeln!(f, "{:>10}  {:>9}  fault", "at", "for")?;
        }
        for planned in &self.faults {
            writeln!(f, "{planned}")?;
        }
        // Of one group nobody expects that shards move.
        let kinds = FaultKind::ALL.into_iter().filter(|&kind| !kind.is_of_groups() || self.count(kind) > 0);
        let counts: Vec<String> = kinds.map(|kind| kind.counted(self.count(kind))).collect();
        let last_ms = self.faults.iter().map(PlannedFault::until_ms).max().unwrap_or(0);
        write!(f, "{} faults: {}", self.faults.len(), counts.join(", "))?;
        match self.faults.len() {
            0 => Ok(()),
            _ => write!(f, "; all undone by {}", seconds(last_ms)),
        }
    }
}
