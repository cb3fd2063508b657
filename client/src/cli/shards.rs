//! `ordeal kv shards` and `ordeal kv groups`: who owns which shard, and how that changes. A change is based on the configuration
//! that was shown, so that two administrators cannot undo each other's unawares; then the moves are waited for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde_json::json;

use super::bar::bar;
use super::joining::{Joining, sort};
use super::outcome::{Printer, judged, line_without_key};
use super::status::table;
use super::{Exit, STATUS_TIMEOUT_DEFAULT, with_codes};
use crate::client::{Client, welcome};
use crate::config::{ClientConfig, DEADLINE_DEFAULT, Prefer};
use crate::error::ClientError;
use crate::shards::{creation, members_of};
use crate::wire::{
    AdminChange, CommandId, Configuration, Decision, GroupId, Members, NodeId, Objection, Owner, ShardId,
};

/// Time for all moves of a change, unless asked otherwise: at the default limits 600 MB move in a minute out of each group.
const MOVES_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

/// Between two looks of somebody who watches.
const BAR_PAUSE: Duration = Duration::from_millis(100);

/// `ordeal kv shards`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  ordeal kv shards show --endpoints 127.0.0.1:7101
  ordeal kv shards move s7 g2 --endpoints 127.0.0.1:7101")]
pub(super) struct ShardsArgs {
    #[command(subcommand)]
    command: ShardsCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum ShardsCommand {
    /// Show which group owns which shards, and the moves that are under way
    #[command(after_help = with_codes("\
Examples:
  ordeal kv shards show --endpoints 127.0.0.1:7101
  ordeal kv shards show --number 3 --json --endpoints 127.0.0.1:7101"))]
    Show {
        /// As it was at this number [default: by now]
        #[arg(long)]
        number: Option<u64>,
        /// Go on: show each configuration that follows, until interrupted
        #[arg(long, conflicts_with = "number")]
        watch: bool,
    },
    /// Move a shard to another group, and wait until it is there; while clients go on
    #[command(after_help = with_codes("\
Examples:
  ordeal kv shards move s7 g2 --endpoints 127.0.0.1:7101
  ordeal kv shards move s7 g2 --no-wait --endpoints 127.0.0.1:7101

It stays there until the next `groups join` or `groups leave` shares the shards out anew."))]
    Move {
        /// Which
        shard: ShardId,
        /// Where to
        to: GroupId,
        /// Only ask for it
        #[arg(long)]
        no_wait: bool,
    },
    /// Call the move of a shard off: it stays where it is, or goes back
    #[command(after_help = with_codes("\
Examples:
  ordeal kv shards cancel s7 --endpoints 127.0.0.1:7101
  ordeal kv shards cancel s7 --no-wait --endpoints 127.0.0.1:7101"))]
    Cancel {
        /// Which
        shard: ShardId,
        /// Only ask for it
        #[arg(long)]
        no_wait: bool,
    },
}

/// `ordeal kv groups`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  ordeal kv groups list --endpoints 127.0.0.1:7101
  ordeal kv groups leave g2 --endpoints 127.0.0.1:7101")]
pub(super) struct GroupsArgs {
    #[command(subcommand)]
    command: GroupsCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum GroupsCommand {
    /// Show the groups that own shards: their members, and how many shards
    #[command(after_help = with_codes("\
Examples:
  ordeal kv groups list --endpoints 127.0.0.1:7101
  ordeal kv groups list --json --endpoints 127.0.0.1:7101"))]
    List,
    /// Make groups on some of the cluster's nodes, or let groups that left come back; and wait until they have their share of the
    /// shards
    #[command(after_help = with_codes("\
Examples:
  ordeal kv groups join g2=n4,n5,n6 --endpoints 127.0.0.1:7101
  ordeal kv groups join g3=n4,n5,n6 g4=n1,n2,n3 --endpoints 127.0.0.1:7101
  ordeal kv groups join g2 --no-wait --endpoints 127.0.0.1:7101

All of them in one step, with as few moves as there can be. Their members must answer. `g2=n4,n5,n6` makes a group that was
never there, on nodes that are members of the cluster (`ordeal kv member list`, g0); `g2` brings one back that left, as it was.
Add nodes to the cluster first with `ordeal kv member add`."))]
    Join {
        /// Which: g3=n4,n5,n6 is a new one on these nodes, g3 one that left
        #[arg(required = true, value_name = "GROUP[=NODE,…]")]
        groups: Vec<Joining>,
        /// Only ask for it
        #[arg(long)]
        no_wait: bool,
    },
    /// Share the shards of groups out among the others, and wait until they own nothing
    #[command(after_help = with_codes("\
Examples:
  ordeal kv groups leave g2 --endpoints 127.0.0.1:7101
  ordeal kv groups leave g2 g3 --no-wait --endpoints 127.0.0.1:7101"))]
    Leave {
        /// Which
        #[arg(required = true)]
        groups: Vec<GroupId>,
        /// Only ask for it
        #[arg(long)]
        no_wait: bool,
    },
}

/// One command's client, time, and where it tells.
struct Desk<'a, 'p> {
    command: &'static str,
    client: Client,
    endpoints: Vec<String>,
    until: Instant,
    watched: bool,
    printer: &'a mut Printer<'p>,
}

pub(super) fn shards(
    endpoints: Vec<String>,
    timeout: Option<Duration>,
    args: &ShardsArgs,
    watched: bool,
    printer: &mut Printer<'_>,
) -> Exit {
    let (command, no_wait, change) = match args.command {
        ShardsCommand::Show { number, watch } => {
            return match Desk::new("shards show", endpoints, timeout, watched, printer) {
                Ok(mut desk) => desk.show(number, watch),
                Err(exit) => exit,
            };
        }
        ShardsCommand::Move { shard, to, no_wait } => {
            ("shards move", no_wait, AdminChange::Move { shard, to })
        }
        ShardsCommand::Cancel { shard, no_wait } => {
            ("shards cancel", no_wait, AdminChange::CancelMove { shard })
        }
    };
    match Desk::new(command, endpoints, timeout, watched, printer) {
        Ok(mut desk) => desk.change(&change, no_wait),
        Err(exit) => exit,
    }
}

pub(super) fn groups(
    endpoints: Vec<String>,
    timeout: Option<Duration>,
    args: &GroupsArgs,
    watched: bool,
    printer: &mut Printer<'_>,
) -> Exit {
    let command = match args.command {
        GroupsCommand::List => "groups list",
        GroupsCommand::Join { .. } => "groups join",
        GroupsCommand::Leave { .. } => "groups leave",
    };
    let mut desk = match Desk::new(command, endpoints, timeout, watched, printer) {
        Ok(desk) => desk,
        Err(exit) => return exit,
    };
    match &args.command {
        GroupsCommand::List => desk.list(),
        GroupsCommand::Join { groups, no_wait } => desk.join(groups, *no_wait),
        GroupsCommand::Leave { groups, no_wait } => {
            let leaving: BTreeSet<GroupId> = groups.iter().copied().collect();
            desk.change(&AdminChange::Leave(leaving), *no_wait)
        }
    }
}

impl<'a, 'p> Desk<'a, 'p> {
    fn new(
        command: &'static str,
        endpoints: Vec<String>,
        timeout: Option<Duration>,
        watched: bool,
        printer: &'a mut Printer<'p>,
    ) -> Result<Self, Exit> {
        let config = ClientConfig {
            deadline: timeout.unwrap_or(DEADLINE_DEFAULT).min(DEADLINE_DEFAULT),
            seed: u64::from(std::process::id()),
            prefer: Some(Prefer::Endpoint(0)),
            ..ClientConfig::new(endpoints.clone())
        };
        let until = Instant::now() + timeout.unwrap_or(MOVES_TIMEOUT_DEFAULT);
        match Client::new(config) {
            Ok(client) => Ok(Desk { command, client, endpoints, until, watched, printer }),
            Err(error) => {
                Err(printer.usage(&error.to_string(), "an endpoint is host:port, like 127.0.0.1:7101"))
            }
        }
    }

    fn show(&mut self, number: Option<u64>, watch: bool) -> Exit {
        let mut shown = match self.client.configuration(number) {
            Ok(configuration) => configuration,
            Err(error) => return self.failed(&error),
        };
        loop {
            if self.printer.json {
                let line = as_json(self.command, &shown);
                self.printer.line(&line, Exit::Done);
            } else {
                self.printer.result(as_text(&shown).as_bytes(), Exit::Done);
            }
            if !watch || self.printer.is_closed() {
                return Exit::Done;
            }
            shown = loop {
                match self.client.watch(shown.number) {
                    Ok(next) if next.number > shown.number => break next,
                    Ok(_) => {}
                    Err(error) => return self.failed(&error),
                }
            };
        }
    }

    fn list(&mut self) -> Exit {
        let configuration = match self.client.configuration(None) {
            Ok(configuration) => configuration,
            Err(error) => return self.failed(&error),
        };
        let owned = |group| configuration.owners.iter().filter(|owner| owner.group == group).count();
        if self.printer.json {
            for (&group, info) in &configuration.groups {
                let mut line = line_without_key(self.command, "done");
                line.insert("group".into(), json!(group.to_string()));
                line.insert("shards".into(), json!(owned(group)));
                line.insert("leaving".into(), json!(info.leaving));
                line.insert("members".into(), members_as_json(&info.members));
                self.printer.line(&line, Exit::Done);
            }
            return Exit::Done;
        }
        let mut rows = vec![["group", "shards", "members"].map(str::to_owned)];
        for (&group, info) in &configuration.groups {
            let members: Vec<String> =
                info.members.iter().map(|(node, address)| format!("{node}={address}")).collect();
            let leaves = if info.leaving { ", leaving" } else { "" };
            rows.push([group.to_string(), format!("{}{leaves}", owned(group)), members.join(" ")]);
        }
        self.printer.result(table(&rows).as_bytes(), Exit::Done)
    }

    /// Makes a change, and waits for the moves that come of it.
    fn change(&mut self, change: &AdminChange, no_wait: bool) -> Exit {
        let before = match self.client.configuration(None) {
            Ok(configuration) => configuration,
            Err(error) => return self.failed(&error),
        };
        let id = CommandId::new();
        let number = match self.client.reshape(id, before.number, change) {
            Ok(Decision::Done { number }) => number,
            Ok(Decision::Conflict { current }) => {
                let what = format!(
                    "somebody else changed the owners meanwhile: configuration {current} is newer than {}",
                    before.number
                );
                return self.not_done(&what, "look with `ordeal kv shards show`, and give the command again");
            }
            Ok(Decision::Refused(objection)) => {
                return self.not_done(&objection.to_string(), hint(&objection));
            }
            Err(error) => return self.failed(&error),
        };
        if no_wait {
            return self.done(number, "asked for, not waited for");
        }
        self.wait(number, change)
    }

    fn wait(&mut self, number: u64, change: &AdminChange) -> Exit {
        let mut now = match self.client.configuration(Some(number)) {
            Ok(configuration) => configuration,
            Err(error) => return self.failed(&error),
        };
        let concerned: BTreeSet<ShardId> = match change {
            AdminChange::Move { shard, .. } | AdminChange::CancelMove { shard } => BTreeSet::from([*shard]),
            AdminChange::Join(_) | AdminChange::Leave(_) | AdminChange::Create { .. } => {
                now.moves.keys().copied().collect()
            }
        };
        let moving = |now: &Configuration| concerned.iter().filter(|s| now.moves.contains_key(s)).count();
        let all = moving(&now);
        while moving(&now) > 0 {
            if self.watched {
                self.printer.progress(&bar(&now, &concerned, all));
            }
            if Instant::now() >= self.until {
                let left = moving(&now);
                let what = format!("the time is over, and {left} of {all} shards are still on their way");
                let hint = "they go on by themselves: ordeal kv shards show";
                return self.tell("unknown", &what, hint, Exit::Unknown);
            }
            let next = if self.watched {
                std::thread::sleep(BAR_PAUSE);
                self.client.configuration(None)
            } else {
                self.client.watch(now.number)
            };
            match next {
                Ok(next) if next.number > now.number => now = next,
                Ok(_) => {}
                Err(error) => return self.failed(&error),
            }
        }
        if self.watched {
            self.printer.progress("");
        }
        match change {
            AdminChange::Move { shard, to } if now.owner(*shard).is_none_or(|owner| owner.group != *to) => {
                let what = format!("{shard} was moved elsewhere by a later change");
                self.not_done(&what, "see: ordeal kv shards show")
            }
            _ if all == 0 => self.done(number, "no shard had to move"),
            _ => self.done(number, &format!("{all} shards moved")),
        }
    }

    /// Lets groups come back, with the members that they themselves know, or makes new ones; all members must answer.
    fn join(&mut self, groups: &[Joining], no_wait: bool) -> Exit {
        let (made, back) = match sort(groups) {
            Ok(sorted) => sorted,
            Err((what, hint)) => return self.printer.usage(&what, hint),
        };
        let welcomes =
            self.endpoints.iter().filter_map(|endpoint| welcome(endpoint, STATUS_TIMEOUT_DEFAULT).ok());
        let addresses: BTreeMap<NodeId, String> = welcomes.flat_map(|welcome| welcome.members).collect();
        let all: Vec<String> = addresses.into_values().collect();
        let change = if back.is_empty() {
            creation(&all, &made)
        } else {
            let members = back.iter().map(|&group| Ok((group, members_of(&all, group)?)));
            members.collect::<Result<_, String>>().map(AdminChange::Join)
        };
        match change {
            Ok(change) => self.change(&change, no_wait),
            Err(what) => self.not_done(&what, "see: ordeal kv member list"),
        }
    }

    fn done(&mut self, number: u64, what: &str) -> Exit {
        if self.printer.json {
            let mut line = line_without_key(self.command, "done");
            line.insert("number".into(), json!(number));
            line.insert("what".into(), json!(what));
            return self.printer.line(&line, Exit::Done);
        }
        self.printer.result(format!("configuration {number}: {what}\n").as_bytes(), Exit::Done)
    }

    fn not_done(&mut self, what: &str, hint: &str) -> Exit {
        self.tell("not_done", what, hint, Exit::NotDone)
    }

    fn failed(&mut self, error: &ClientError) -> Exit {
        let (name, exit) = judged(error);
        let hint = match error {
            ClientError::Unknown(_) => "look with `ordeal kv shards show` before you give the command again",
            ClientError::Refused { .. } => "see: ordeal kv shards show",
            _ => "`ordeal kv status` with the same endpoints shows who answers",
        };
        self.tell(name, &error.to_string(), hint, exit)
    }

    fn tell(&mut self, outcome: &str, what: &str, hint: &str, exit: Exit) -> Exit {
        if self.watched {
            self.printer.progress("");
        }
        if self.printer.json {
            let mut line = line_without_key(self.command, outcome);
            line.insert("error".into(), json!(what));
            self.printer.line(&line, exit);
        }
        self.printer.say(&format!("error: {}: {what}\nhint: {hint}", self.command), exit)
    }
}

fn hint(objection: &Objection) -> &'static str {
    match objection {
        Objection::GroupThere { .. } | Objection::GroupUnknown { .. } | Objection::GroupLeaving { .. } => {
            "see: ordeal kv groups list"
        }
        Objection::GroupWasThere { .. } => "name it without nodes: ordeal kv groups join g2",
        Objection::LastGroup => "let another group join first: ordeal kv groups join g2=n1,n2,n3",
        _ => "see: ordeal kv shards show",
    }
}

fn as_text(configuration: &Configuration) -> String {
    let mut text = format!("configuration {}\n", configuration.number);
    for &group in configuration.groups.keys() {
        let owned: Vec<u32> = (configuration.shards())
            .filter(|(_, Owner { group: owner, .. })| *owner == group)
            .map(|(shard, _)| shard.0)
            .collect();
        text += &format!("{group}  {} shards  {}\n", owned.len(), ranges(&owned));
    }
    for (shard, open) in &configuration.moves {
        let unwanted = if open.unwanted { ", called off" } else { "" };
        text += &format!("{shard} moves from {} to {}{unwanted}\n", open.from, open.to);
    }
    text
}

/// Shards in few words: `s0-s3 s7`.
fn ranges(shards: &[u32]) -> String {
    let runs = shards.chunk_by(|one, next| one + 1 == *next);
    let words = runs.map(|run| match run {
        [one] => format!("s{one}"),
        [first, .., last] => format!("s{first}-s{last}"),
        [] => String::new(),
    });
    words.collect::<Vec<_>>().join(" ")
}

fn as_json(command: &str, configuration: &Configuration) -> serde_json::Map<String, serde_json::Value> {
    let mut line = line_without_key(command, "done");
    line.insert("number".into(), json!(configuration.number));
    let owners = configuration.owners.iter();
    let owners = owners.map(|owner| json!({"group": owner.group.to_string(), "epoch": owner.epoch}));
    line.insert("owners".into(), owners.collect());
    let moves = configuration.moves.iter().map(|(shard, open)| {
        json!({"shard": shard.to_string(), "from": open.from.to_string(), "to": open.to.to_string(), "unwanted": open.unwanted})
    });
    line.insert("moves".into(), moves.collect());
    let groups = configuration.groups.iter().map(|(group, info)| {
        (group.to_string(), json!({"members": members_as_json(&info.members), "leaving": info.leaving}))
    });
    line.insert("groups".into(), groups.collect::<serde_json::Map<_, _>>().into());
    line
}

fn members_as_json(members: &Members) -> serde_json::Value {
    let members = members.iter().map(|(node, address)| (node.to_string(), json!(address)));
    members.collect::<serde_json::Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_told_in_few_words() {
        assert_eq!(ranges(&[0, 1, 2, 3, 7, 9, 10]), "s0-s3 s7 s9-s10");
        assert_eq!(ranges(&[]), "");
    }
}
