//! `ordeal kv member` and `ordeal kv transfer`: who belongs to the groups, and who leads them. All groups are changed one after
//! another, each until it is done; whoever is interrupted gives the same command again.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use super::outcome::{Printer, judged, line_without_key};
use super::status::{addresses, ask_all, names};
use super::{Exit, with_codes};
use crate::client::Client;
use crate::config::{ClientConfig, Prefer};
use crate::error::ClientError;
use crate::shards::CONTROLLER;
use crate::wire::{GroupId, GroupStatus, MemberChange, NodeId, RoleName};

/// Time for a change of one group, unless asked otherwise: a new voter has to receive all of the state first.
pub(super) const CHANGE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

/// `ordeal kv member`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  ordeal kv member list --endpoints 127.0.0.1:7101
  ordeal kv member add n4=127.0.0.1:7104 --endpoints 127.0.0.1:7101")]
pub(super) struct MemberArgs {
    #[command(subcommand)]
    command: MemberCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum MemberCommand {
    /// Show who belongs to the groups, as their leaders see it
    #[command(after_help = with_codes("\
Examples:
  ordeal kv member list --endpoints 127.0.0.1:7101
  ordeal kv member list --json --endpoints 127.0.0.1:7101,127.0.0.1:7102"))]
    List,
    /// Add a node to all groups; one that is there already is no mistake
    #[command(after_help = with_codes("\
Examples:
  ordeal kv member add n4=127.0.0.1:7104 --endpoints 127.0.0.1:7101
  ordeal kv member add n5=127.0.0.1:7105 --learner --endpoints 127.0.0.1:7101

Start it with `ordeal node start --join` first. It receives all of the state, and votes as soon as it has caught up. A node
that has moved is added again with its new address."))]
    Add {
        /// Who, and where it listens
        #[arg(value_name = "NODE=IP:PORT", value_parser = parse_member)]
        member: (NodeId, SocketAddr),
        /// It receives everything and does not vote
        #[arg(long)]
        learner: bool,
    },
    /// Remove a node from all groups; one that is in none is no mistake
    #[command(after_help = with_codes("\
Examples:
  ordeal kv member remove n4 --endpoints 127.0.0.1:7101
  ordeal kv member remove n1 --timeout 10s --endpoints 127.0.0.1:7101,127.0.0.1:7102

What it led is led by another at once. Stop its process afterwards; its data is of no use any more."))]
    Remove {
        /// Who
        node: NodeId,
    },
}

/// `ordeal kv transfer`.
#[derive(Debug, Clone, Args)]
#[command(after_help = with_codes("\
Examples:
  ordeal kv transfer --endpoints 127.0.0.1:7101
  ordeal kv transfer --group g1 --to n2 --endpoints 127.0.0.1:7101"))]
pub(super) struct TransferArgs {
    /// Only this group [default: all of them]
    #[arg(long)]
    group: Option<GroupId>,
    /// Who shall lead [default: whoever is best prepared]
    #[arg(long, value_name = "NODE")]
    to: Option<NodeId>,
}

fn parse_member(text: &str) -> Result<(NodeId, SocketAddr), String> {
    let wrong = || format!("`{text}` is not like n4=127.0.0.1:7104");
    let (node, address) = text.split_once('=').ok_or_else(wrong)?;
    Ok((node.parse().map_err(|_| wrong())?, address.parse().map_err(|_| wrong())?))
}

pub(super) fn member(
    endpoints: Vec<String>,
    timeout: Option<Duration>,
    args: &MemberArgs,
    printer: &mut Printer<'_>,
) -> Exit {
    let (command, change) = match &args.command {
        MemberCommand::List => {
            return list(&endpoints, timeout.unwrap_or(super::STATUS_TIMEOUT_DEFAULT), printer);
        }
        MemberCommand::Add { member: (node, address), learner } => {
            let (node, address) = (*node, address.to_string());
            let add = MemberChange::Add { node, address: address.clone() };
            ("member add", if *learner { MemberChange::AddLearner { node, address } } else { add })
        }
        MemberCommand::Remove { node } => ("member remove", MemberChange::Remove { node: *node }),
    };
    let became = match &change {
        MemberChange::Add { node, .. } => format!("{node} is a voter"),
        MemberChange::AddLearner { node, .. } => format!("{node} is a learner"),
        MemberChange::Remove { node } => format!("{node} is no member"),
    };
    for_groups(endpoints, timeout, None, command, printer, |client, group| {
        client.change_members(group, &change).map(|_| became.clone())
    })
}

pub(super) fn transfer(
    endpoints: Vec<String>,
    timeout: Option<Duration>,
    args: &TransferArgs,
    printer: &mut Printer<'_>,
) -> Exit {
    for_groups(endpoints, timeout, args.group, "transfer", printer, |client, group| {
        client.transfer(group, args.to).map(|leader| format!("{leader} leads"))
    })
}

/// Does it in every group, or the one that is named, and stops at the first where it fails.
fn for_groups(
    endpoints: Vec<String>,
    timeout: Option<Duration>,
    only: Option<GroupId>,
    command: &str,
    printer: &mut Printer<'_>,
    act: impl Fn(&mut Client, GroupId) -> Result<String, ClientError>,
) -> Exit {
    let config = ClientConfig {
        deadline: timeout.unwrap_or(CHANGE_TIMEOUT_DEFAULT),
        seed: u64::from(std::process::id()),
        prefer: Some(Prefer::Endpoint(0)),
        ..ClientConfig::new(endpoints)
    };
    let mut client = match Client::new(config) {
        Ok(client) => client,
        Err(error) => return failed(command, None, &error, printer),
    };
    let groups = match only {
        Some(group) => Ok(vec![group]),
        None => client.groups(),
    };
    let mut groups = match groups {
        Ok(groups) => groups,
        Err(error) => return failed(command, None, &error, printer),
    };
    // Who belongs to any group belongs to the controller's: it comes there first, and leaves it last.
    if command == "member remove" && groups.first() == Some(&CONTROLLER) {
        groups.rotate_left(1);
    }
    for group in groups {
        match act(&mut client, group) {
            Err(error) => return failed(command, Some(group), &error, printer),
            Ok(what) if printer.json => {
                let mut line = line_without_key(command, "done");
                line.insert("group".into(), json!(group.to_string()));
                line.insert("what".into(), json!(what));
                printer.line(&line, Exit::Done);
            }
            Ok(what) => {
                printer.result(format!("{group}: {what}\n").as_bytes(), Exit::Done);
            }
        }
    }
    Exit::Done
}

fn failed(command: &str, group: Option<GroupId>, error: &ClientError, printer: &mut Printer<'_>) -> Exit {
    let (name, exit) = judged(error);
    if printer.json {
        let mut line = line_without_key(command, name);
        line.extend(group.map(|group| ("group".to_owned(), json!(group.to_string()))));
        line.insert("error".into(), json!(error.to_string()));
        printer.line(&line, exit);
    }
    let place = group.map_or_else(String::new, |group| format!(" {group}"));
    let hint = match error {
        ClientError::Unknown(_) => "the same command again is harmless, and says when it is done",
        ClientError::Config(_) => "an endpoint is host:port, like 127.0.0.1:7101",
        ClientError::Refused { .. } => "see: ordeal kv member list",
        ClientError::TooLong { .. }
        | ClientError::Txn(_)
        | ClientError::Strangers(_)
        | ClientError::Unavailable(_)
        | ClientError::Node { .. } => "`ordeal kv status` with the same endpoints shows who answers",
    };
    printer.say(&format!("error: {command}{place}: {error}\nhint: {hint}"), exit)
}

/// The groups as their leaders see them or, of one without a leader that answers, as whoever knows most of it.
fn list(endpoints: &[String], timeout: Duration, printer: &mut Printer<'_>) -> Exit {
    let asked = ask_all(endpoints, timeout);
    let mut nodes: Vec<_> = asked.iter().filter_map(|(_, answer)| answer.as_ref().ok()).cloned().collect();
    // Whoever is not among the endpoints may be the leader.
    let told = nodes.iter().flat_map(|node| &node.groups).flat_map(|group| &group.members);
    let mut others: Vec<String> = told.map(|(_, address)| address.clone()).collect();
    others.sort_unstable();
    others.dedup();
    others.retain(|address| !endpoints.contains(address));
    nodes.extend(ask_all(&others, timeout).into_iter().filter_map(|(_, answer)| answer.ok()));
    let mut groups: Vec<GroupStatus> = Vec::new();
    for group in nodes.into_iter().flat_map(|node| node.groups) {
        let knows = |group: &GroupStatus| (group.term, group.role == RoleName::Leader, group.commit);
        match groups.iter_mut().find(|known| known.group == group.group) {
            Some(known) if knows(known) < knows(&group) => *known = group,
            Some(_) => {}
            None => groups.push(group),
        }
    }
    groups.sort_by_key(|group| group.group);
    if groups.is_empty() {
        let hint = "is the cluster up? `ordeal cluster up` starts one";
        return printer.say(&format!("error: member list: no node answers\nhint: {hint}"), Exit::NotDone);
    }
    if printer.json {
        for group in &groups {
            let mut line = line_without_key("member list", "done");
            line.insert("group".into(), json!(group.group.to_string()));
            line.insert("leader".into(), json!(group.leader.map(|leader| leader.to_string())));
            line.insert("voters".into(), json!(names(&group.voters)));
            line.insert("outgoing".into(), json!(names(&group.outgoing)));
            line.insert("learners".into(), json!(names(&group.learners)));
            line.insert("addresses".into(), json!(addresses(group)));
            printer.line(&line, Exit::Done);
        }
        return Exit::Done;
    }
    let text: String = groups.iter().flat_map(rows).collect();
    printer.result(text.as_bytes(), Exit::Done)
}

fn rows(group: &GroupStatus) -> impl Iterator<Item = String> {
    group.members.iter().map(|(node, address)| {
        let (voter, old) = (group.voters.contains(node), group.outgoing.contains(node));
        let what = match (voter, old) {
            (true, true) => "voter",
            (true, false) if !group.outgoing.is_empty() => "voter, coming",
            (true, false) => "voter",
            (false, true) => "voter, going",
            (false, false) => "learner",
        };
        let leads = if group.leader == Some(*node) { "  leader" } else { "" };
        format!("{}  {node}  {address}  {what}{leads}\n", group.group)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_nodes_with_addresses() {
        assert_eq!(parse_member("n4=127.0.0.1:7104").unwrap().0, NodeId(4));
        for wrong in ["n4", "4=127.0.0.1:1", "n4=localhost:1", "n4=127.0.0.1", "n4=:1"] {
            assert!(parse_member(wrong).is_err_and(|error| error.contains("n4=127.0.0.1:7104")), "{wrong}");
        }
    }
}
