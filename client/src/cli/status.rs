//! `ordeal kv status`: every endpoint is asked at once, each answers for itself, and who does not is listed as such.
//! With `--watch` again and again, until Ctrl-C or until nobody reads any more.

use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Map, Value, json};

use super::outcome::{Printer, line_without_key};
use super::{Exit, milliseconds};
use crate::client;
use crate::error::ClientError;
use crate::wire::{GroupStatus, MoveStage, MoveStatus, NodeId, NodeStatus, PeerMode, PeerStatus, RoleName};

const HEADINGS: [&str; 14] = [
    "endpoint",
    "node",
    "group",
    "role",
    "term",
    "leader",
    "commit",
    "applied",
    "log",
    "log bytes",
    "snapshot",
    "digest",
    "keys",
    "sessions",
];
const PEER_HEADINGS: [&str; 8] = ["leader", "group", "peer", "match", "next", "mode", "in flight", "heard"];

/// More often is no watching but a load.
const INTERVAL_MS_MIN: u64 = 100;
/// Beyond it, ask again by hand.
const INTERVAL_MS_MAX: u64 = 3_600_000;

pub(super) type Asked<'a> = (&'a str, Result<NodeStatus, ClientError>);

/// What `ordeal kv status` is told.
#[derive(Debug, Clone, PartialEq, Args)]
pub(super) struct StatusArgs {
    /// Ask again every second until Ctrl-C; on a terminal in place, else line after line
    #[arg(long)]
    watch: bool,
    /// Time between two rounds of --watch, like 500ms or 2s (100ms to 1h)
    #[arg(long, default_value = "1s", value_parser = parse_interval, requires = "watch")]
    interval: Duration,
}

/// Asks all endpoints, once or again and again. Done when at least one answered (the last time).
pub(super) fn status(
    endpoints: &[String],
    timeout: Duration,
    args: &StatusArgs,
    on_terminal: bool,
    printer: &mut Printer<'_>,
) -> Exit {
    loop {
        let started = Instant::now();
        if args.watch && on_terminal && !printer.json {
            printer.clear();
        }
        let exit = ask_and_tell(endpoints, timeout, printer);
        if !args.watch || exit == Exit::Usage || printer.is_closed() {
            return exit;
        }
        thread::sleep(args.interval.saturating_sub(started.elapsed()));
    }
}

fn ask_and_tell(endpoints: &[String], timeout: Duration, printer: &mut Printer<'_>) -> Exit {
    let asked = ask_all(endpoints, timeout);
    if let Some((_, Err(error))) =
        asked.iter().find(|(_, answer)| matches!(answer, Err(ClientError::Config(_))))
    {
        return printer.usage(&error.to_string(), "an endpoint is host:port, like 127.0.0.1:7101");
    }
    let answered = asked.iter().any(|(_, answer)| answer.is_ok());
    let exit = if answered { Exit::Done } else { Exit::NotDone };
    if printer.json {
        asked.iter().for_each(|asked| {
            printer.line(&json_of(asked), exit);
        });
    } else {
        printer.result(text(&asked).as_bytes(), exit);
    }
    if answered {
        return exit;
    }
    printer.say("error: no node answers\nhint: is the cluster up? `ordeal cluster up` starts one", exit)
}

pub(super) fn ask_all(endpoints: &[String], timeout: Duration) -> Vec<Asked<'_>> {
    thread::scope(|scope| {
        let ask = |endpoint| scope.spawn(move || client::status(endpoint, timeout));
        let threads: Vec<_> = endpoints.iter().map(|endpoint| (endpoint.as_str(), ask(endpoint))).collect();
        let join = |(endpoint, thread): (_, thread::ScopedJoinHandle<'_, _>)| {
            (endpoint, thread.join().expect("asking for a status does not panic"))
        };
        threads.into_iter().map(join).collect()
    })
}

fn text(asked: &[Asked<'_>]) -> String {
    let mut groups = vec![HEADINGS.map(str::to_owned)];
    let mut peers = vec![PEER_HEADINGS.map(str::to_owned)];
    for (endpoint, answer) in asked {
        let Ok(status) = answer else { continue };
        // A node that belongs to a group has a word to say of it; of the others it waits to be told.
        let told = status.groups.iter().filter(|group| !group.members.is_empty());
        let told: Vec<&GroupStatus> = told.collect();
        let shown = if told.is_empty() { status.groups.iter().collect() } else { told };
        for group in shown {
            groups.push(row(endpoint, status, group));
            peers.extend(group.peers.iter().map(|peer| peer_row(status, group, peer)));
        }
    }
    let mut text = table(&groups);
    if peers.len() > 1 {
        text.push('\n');
        text += &table(&peers);
    }
    for (endpoint, answer) in asked {
        match answer {
            Ok(status) if status.groups.is_empty() => {
                text += &format!("{endpoint}  {} hosts no group\n", status.node);
            }
            Ok(_) => {}
            Err(ClientError::Node { reason, .. }) => {
                text += &format!("{endpoint}  does not answer: {reason}\n");
            }
            Err(error) => text += &format!("{endpoint}  does not answer: {error}\n"),
        }
    }
    text
}

/// Columns side by side; nothing when there is no row below the headings.
pub(super) fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let mut text = String::new();
    if rows.len() < 2 {
        return text;
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text += cells.join("  ").trim_end();
        text.push('\n');
    }
    text
}

fn row(endpoint: &str, status: &NodeStatus, group: &GroupStatus) -> [String; HEADINGS.len()] {
    [
        endpoint.to_owned(),
        status.node.to_string(),
        group.group.to_string(),
        what_it_does(group),
        group.term.to_string(),
        group.leader.map_or_else(|| "-".to_owned(), |leader| leader.to_string()),
        group.commit.to_string(),
        group.applied.to_string(),
        format!("{}..{}", group.first, group.last),
        group.log_bytes.to_string(),
        if group.snapshot == 0 {
            "-".to_owned()
        } else {
            format!("{}/{}", group.snapshot, group.snapshot_bytes)
        },
        format!("{:016x}", group.digest),
        group.keys.to_string(),
        group.sessions.to_string(),
    ]
}

/// Such as `follower, at rest`, or `follower, 3 to be repaired`: entries that its disk lost.
fn what_it_does(group: &GroupStatus) -> String {
    let rest = if group.at_rest { ", at rest" } else { "" };
    let repair = if group.lost > 0 { format!(", {} to be repaired", group.lost) } else { String::new() };
    let moves: Vec<String> = group.moves.iter().map(in_words).collect();
    let moves = if moves.is_empty() { String::new() } else { format!(", {}", moves.join(" ")) };
    format!("{}{rest}{repair}{moves}", role(group.role))
}

/// Such as `s7→g2` or `s7←g1`, and `s7⇥g2` of one that is served nowhere just now.
fn in_words(of: &MoveStatus) -> String {
    let arrow = match of.stage {
        MoveStage::Leaving => '→',
        MoveStage::Frozen => '⇥',
        MoveStage::Arriving => '←',
    };
    format!("{}{arrow}{}", of.shard, of.other)
}

fn peer_row(status: &NodeStatus, group: &GroupStatus, peer: &PeerStatus) -> [String; PEER_HEADINGS.len()] {
    [
        status.node.to_string(),
        group.group.to_string(),
        peer.node.to_string(),
        peer.matched.to_string(),
        peer.next.to_string(),
        mode(peer.mode).to_owned(),
        peer.in_flight.to_string(),
        format!("{} ms ago", peer.heard_ms),
    ]
}

fn json_of((endpoint, answer): &Asked<'_>) -> serde_json::Map<String, Value> {
    let mut line = line_without_key("status", if answer.is_ok() { "done" } else { "not_done" });
    line.insert("endpoint".into(), json!(endpoint));
    match answer {
        Ok(status) => {
            line.insert("cluster".into(), json!(status.cluster.to_string()));
            line.insert("node".into(), json!(status.node.to_string()));
            line.insert("version".into(), json!(status.version));
            line.insert("uptime_ms".into(), json!(status.uptime_ms));
            line.insert("log_disk_bytes".into(), json!(status.log_disk_bytes));
            line.insert("groups".into(), status.groups.iter().map(json_of_group).collect());
        }
        Err(error) => {
            line.insert("error".into(), json!(error.to_string()));
        }
    }
    line
}

fn json_of_group(group: &GroupStatus) -> Value {
    json!({
        "group": group.group.to_string(),
        "role": role(group.role),
        "at_rest": group.at_rest,
        "lost": group.lost,
        "term": group.term,
        "leader": group.leader.map(|leader| leader.to_string()),
        "commit": group.commit,
        "applied": group.applied,
        "first": group.first,
        "last": group.last,
        "log_bytes": group.log_bytes,
        "snapshot": group.snapshot,
        "snapshot_bytes": group.snapshot_bytes,
        "digest": format!("{:016x}", group.digest),
        "keys": group.keys,
        "sessions": group.sessions,
        "members": group.members.iter().map(|(node, _)| node.to_string()).collect::<Vec<_>>(),
        "voters": names(&group.voters),
        "outgoing": names(&group.outgoing),
        "learners": names(&group.learners),
        "addresses": addresses(group),
        "peers": group.peers.iter().map(json_of_peer).collect::<Vec<_>>(),
        "moves": group.moves.iter().map(json_of_move).collect::<Vec<_>>(),
    })
}

pub(super) fn names(nodes: &[NodeId]) -> Vec<String> {
    nodes.iter().map(ToString::to_string).collect()
}

pub(super) fn addresses(group: &GroupStatus) -> Map<String, Value> {
    group.members.iter().map(|(node, address)| (node.to_string(), json!(address))).collect()
}

fn json_of_move(of: &MoveStatus) -> Value {
    json!({
        "shard": of.shard.to_string(),
        "move": of.id.to_string(),
        "stage": of.stage,
        "other": of.other.to_string(),
        "keys": of.keys,
    })
}

fn json_of_peer(peer: &PeerStatus) -> Value {
    json!({
        "node": peer.node.to_string(),
        "match": peer.matched,
        "next": peer.next,
        "mode": mode(peer.mode),
        "in_flight": peer.in_flight,
        "heard_ms": peer.heard_ms,
    })
}

fn mode(mode: PeerMode) -> &'static str {
    match mode {
        PeerMode::Probe => "probe",
        PeerMode::Replicate => "replicate",
        PeerMode::Snapshot => "snapshot",
    }
}

fn role(role: RoleName) -> &'static str {
    match role {
        RoleName::Follower => "follower",
        RoleName::PreCandidate => "pre-candidate",
        RoleName::Candidate => "candidate",
        RoleName::Leader => "leader",
    }
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    match milliseconds(text)? {
        Some(ms) if (INTERVAL_MS_MIN..=INTERVAL_MS_MAX).contains(&ms) => Ok(Duration::from_millis(ms)),
        _ => Err("expected 100ms to 1h".to_owned()),
    }
}
