//! `ordeal kv status`: every endpoint is asked at once, each answers for itself, and who does not is listed as such.

use std::thread;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Exit;
use super::outcome::{Printer, line_without_key};
use crate::client;
use crate::error::ClientError;
use crate::wire::{GroupStatus, NodeId, NodeStatus, RoleName};

const HEADINGS: [&str; 12] = [
    "endpoint", "node", "group", "role", "term", "leader", "commit", "applied", "log", "digest", "keys",
    "sessions",
];

pub(super) type Asked<'a> = (&'a str, Result<NodeStatus, ClientError>);

/// Asks all endpoints. Done when at least one answered.
pub(super) fn status(endpoints: &[String], timeout: Duration, printer: &mut Printer<'_>) -> Exit {
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
        printer.result(table(&asked).as_bytes(), exit);
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

fn table(asked: &[Asked<'_>]) -> String {
    let mut rows = vec![HEADINGS.map(str::to_owned)];
    for (endpoint, answer) in asked {
        if let Ok(status) = answer {
            rows.extend(status.groups.iter().map(|group| row(endpoint, status, group)));
        }
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; HEADINGS.len()] = std::array::from_fn(width);
    let mut text = String::new();
    if rows.len() > 1 {
        for row in &rows {
            let cells: Vec<String> =
                row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            text += cells.join("  ").trim_end();
            text.push('\n');
        }
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

fn row(endpoint: &str, status: &NodeStatus, group: &GroupStatus) -> [String; HEADINGS.len()] {
    [
        endpoint.to_owned(),
        status.node.to_string(),
        group.group.to_string(),
        role(group.role).to_owned(),
        group.term.to_string(),
        group.leader.map_or_else(|| "-".to_owned(), |leader| leader.to_string()),
        group.commit.to_string(),
        group.applied.to_string(),
        format!("{}..{}", group.first, group.last),
        format!("{:016x}", group.digest),
        group.keys.to_string(),
        group.sessions.to_string(),
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
        "term": group.term,
        "leader": group.leader.map(|leader| leader.to_string()),
        "commit": group.commit,
        "applied": group.applied,
        "first": group.first,
        "last": group.last,
        "snapshot": group.snapshot,
        "digest": format!("{:016x}", group.digest),
        "keys": group.keys,
        "sessions": group.sessions,
        "members": group.members.iter().map(|(node, _)| node.to_string()).collect::<Vec<_>>(),
        "voters": names(&group.voters),
        "outgoing": names(&group.outgoing),
        "learners": names(&group.learners),
        "addresses": addresses(group),
    })
}

pub(super) fn names(nodes: &[NodeId]) -> Vec<String> {
    nodes.iter().map(ToString::to_string).collect()
}

pub(super) fn addresses(group: &GroupStatus) -> Map<String, Value> {
    group.members.iter().map(|(node, address)| (node.to_string(), json!(address))).collect()
}

fn role(role: RoleName) -> &'static str {
    match role {
        RoleName::Follower => "follower",
        RoleName::PreCandidate => "pre-candidate",
        RoleName::Candidate => "candidate",
        RoleName::Leader => "leader",
    }
}
