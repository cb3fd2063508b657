//! TestBackup on a larger scale: ten thousand entries diverge, and the round trips are counted on the wire that bring each
//! log in line (lesson 20: "at most terms + 2").

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ordeal_client::wire::{Kind, NodeId};

use super::stage::{Stage, ms};
use super::{Halt, Layout, Scenario, Step};
use crate::lab::{Link, Way};
use crate::system::Flood;

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "backup-ten-thousand",
    what: "Two leaders in turn take up to ten thousand writes (at least five thousand) that nobody commits while others commit as many; few round trips bring each log in line.",
    source: "TestBackup 2B/3B",
    seconds: 25,
    nodes: 5,
    // A leader without a majority gives up after an election timeout: time enough to take them all.
    node_args: &["--election-timeout", "3s"],
    layout: Layout::ONE,
    script: backup,
}];

/// Clients and what each has under way, below the window of a session (256). A node takes no more than 10,000 in all.
const CLIENTS: usize = 40;
const WRITES: usize = 250;
/// Of 10,000: a machine that is busy with other things takes fewer in the time that there is, and half of them do as well.
const DIVERGENT_MIN: f64 = 5_000.0;
/// For asking all of it, and until leader and follower have it.
const POUR_TIME: Duration = Duration::from_secs(1);
const TAKEN_TIME_MAX: Duration = Duration::from_secs(1);
/// Until the logs are in line, an election included.
const IN_LINE_TIME_MAX: Duration = Duration::from_secs(15);
/// For committing as many elsewhere, a hundred times what that takes.
const COMMIT_TIME_MAX: Duration = Duration::from_secs(20);
/// A log that diverges does so in the entries of one term.
const TERMS: f64 = 1.0;
const LOOK: Duration = Duration::from_millis(10);

fn backup(stage: &mut Stage<'_>) -> Step {
    stage.agree(5)?;
    let first = stage.one_leader()?;
    let follower = stage.others(&[first])[0];
    let three = stage.others(&[first, follower]);
    diverge(stage, first, follower, &three)?;
    stage.connect_only(&three)?;
    commit(stage, 3)?;
    let second = stage.one_leader()?;
    let companion = stage.others(&[first, follower, second])[0];
    let other = stage.others(&[first, follower, second, companion])[0];
    // Both sides are without a majority now; the second leader has yet to find out.
    diverge(stage, second, companion, &[first, follower, other])?;
    // Only `other` has what was committed, so it will lead.
    in_line(stage, &[first, follower, other], &[first, follower])?;
    commit(stage, 3)?;
    in_line(stage, &stage.nodes(), &[second, companion])?;
    stage.agree(5)?;
    Ok(())
}

/// As many are committed, by so many nodes: both logs go on for long after the place where they part.
fn commit(stage: &mut Stage<'_>, nodes: usize) -> Step {
    stage.agree(nodes)?;
    let leader = stage.one_leader()?;
    let mut flood = opened(stage, leader)?;
    let acknowledged = flood.pour(WRITES, COMMIT_TIME_MAX)?;
    stage.at_least("writes committed meanwhile", acknowledged as f64, (CLIENTS * WRITES) as f64, "");
    stage.agree(nodes)?;
    Ok(())
}

/// Clients near a leader that have a session.
fn opened(stage: &mut Stage<'_>, leader: NodeId) -> Step<Box<dyn Flood>> {
    let mut flood = stage.kit.flood(leader, CLIENTS)?;
    if flood.pour(1, super::asks::AGREE_TIME_MAX)? < CLIENTS {
        return Halt::is_late("a client has no session within 10 s");
    }
    Ok(flood)
}

/// The leader and one follower are left alone with ten thousand writes.
fn diverge(stage: &mut Stage<'_>, leader: NodeId, follower: NodeId, away: &[NodeId]) -> Step {
    let mut flood = opened(stage, leader)?;
    let before = last(stage, leader)?;
    stage.disconnect(away)?;
    let acknowledged = flood.pour(WRITES, POUR_TIME)?;
    if acknowledged > 0 {
        return Halt::is_unsafe(format!("{acknowledged} writes were acknowledged without a majority"));
    }
    let since = Instant::now();
    let taken = loop {
        let taken = last(stage, leader)?.min(last(stage, follower)?).saturating_sub(before) as f64;
        if taken >= (CLIENTS * WRITES) as f64 || since.elapsed() >= TAKEN_TIME_MAX {
            break taken;
        }
        stage.pause(LOOK)?;
    };
    stage.at_least("entries that diverge", taken, DIVERGENT_MIN, "");
    Ok(())
}

/// These nodes have links again, and elect. Counts what their leader sends to those behind until their logs are as long as
/// its own.
fn in_line(stage: &mut Stage<'_>, connected: &[NodeId], behind: &[NodeId]) -> Step {
    let before: BTreeMap<(NodeId, NodeId), u64> = requests(stage)?;
    stage.connect_only(connected)?;
    let since = Instant::now();
    let leader = loop {
        if let Some(leader) = stage.leader_now().filter(|leader| !behind.contains(leader))
            && is_in_line(stage, leader, behind)
        {
            break leader;
        }
        if since.elapsed() >= IN_LINE_TIME_MAX {
            return Halt::is_late(format!(
                "the logs are not in line within {} s",
                IN_LINE_TIME_MAX.as_secs()
            ));
        }
        stage.pause(LOOK)?;
    };
    let after = requests(stage)?;
    for &node in behind {
        let way = (leader, node);
        let sent = after.get(&way).unwrap_or(&0) - before.get(&way).unwrap_or(&0);
        stage.at_most("round trips until a log is in line", sent as f64, TERMS + 2.0, "requests");
    }
    stage.note("logs in line after", ms(since.elapsed()), "ms");
    Ok(())
}

/// Whether these have applied all that the leader has in its log.
fn is_in_line(stage: &Stage<'_>, leader: NodeId, behind: &[NodeId]) -> bool {
    let views = stage.watch.look();
    let of = |node: NodeId| views.get(&node).and_then(|view| view.data().next());
    let Some(leading) = of(leader) else { return false };
    behind.iter().all(|&node| of(node).is_some_and(|group| group.applied == leading.last))
}

fn last(stage: &Stage<'_>, node: NodeId) -> Step<u64> {
    let views = stage.watch.look();
    let group = views.get(&node).and_then(|view| view.data().next());
    match group {
        Some(group) => Ok(group.last),
        None => Halt::is_late(format!("{node} does not say how long its log is")),
    }
}

/// AppendEntries sent so far, by sender and receiver.
fn requests(stage: &Stage<'_>) -> Step<BTreeMap<(NodeId, NodeId), u64>> {
    let traffic = stage.lab.traffic()?;
    let sent = traffic.ways.iter().filter_map(|(way, tally)| match way {
        Way::Peers(Link { from, to }) => {
            let count = tally.kinds.get(&Kind::AppendEntries)?;
            Some(((*from, *to), count.messages))
        }
        Way::ToNode(_) | Way::FromNode(_) => None,
    });
    Ok(sent.collect())
}
