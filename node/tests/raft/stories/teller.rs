//! Plays a script and tells what follows from each line.
//!
//! ```text
//! group 3 [append_bytes=B] [chunk_bytes=B] [trailing=N]     n1 to n3, of whom nobody knows anything yet
//! n2 remembers 1@1 x2@2 term=3 [vote=n1]    as it starts: its log, 2@2 without its content, term and vote
//! join n4                                   a node that knows no group yet
//!
//! n1 propose x y                            two commands in one turn
//! n1 read 7, n1 add n4, n1 learn n4, n1 remove n3, n1 transfer n2, n1 compact
//! n1 campaign                               ticks until it asks whether it would be elected
//! n1 tick 3                                 three ticks;  tick 3: of everybody
//! n1 slow                                   from here on its writes are durable when the script says
//! n1 persist [2]                            ... so: the oldest (two), or `persist all`
//! n1 fast                                   back again
//! n1 crash, n1 restart                      loses what is not durable; hears nothing in between
//!
//! deliver [n1 [n2]] [kind=append] [first=K | last=K]    what is under way [from n1 [to n2]], not what it leads to
//! copy ...                                  the same, and it stays under way, too
//! lose ...                                  never arrives
//! cut n3, cut n1 n2, heal                   n3 is cut off; nothing from n1 reaches n2; all links are whole
//! settle [hold=append]                      delivers, and what follows, until all is quiet; tells no messages
//! run 20 [hold=append]                      so many ticks of everybody, with settle after each
//! elect n1 [hold=append]                    the others hear no leader for long enough to vote, n1 campaigns, settle
//!
//! state                                     of everybody, and what is under way. (3@2): on its way to the disk, x3@2: lost
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;

use goldenscript::{Command, Context, Runner};
use ordeal_client::wire::NodeId;
use ordeal_node::raft::{Change, HardState, Role};

use super::request::{Outcome, Request, parse_node};
use super::words;
use crate::disk::Disk;
use crate::member::{Member, command, entry};
use crate::net::{Net, Packet};

/// More messages than this until all is quiet: the members never stop talking.
const SETTLE_MAX: usize = 10_000;
/// Campaigns of an election until it is given up.
const CAMPAIGNS_MAX: usize = 3;

#[derive(Debug)]
pub struct Teller {
    net: Net,
    slow: BTreeSet<NodeId>,
    down: BTreeSet<NodeId>,
    told: BTreeMap<NodeId, Told>,
    /// The members that the story begins with.
    first: String,
    lines: Vec<String>,
}

/// What of a member the transcript has.
#[derive(Debug, Default)]
struct Told {
    events: usize,
    ticket: u64,
}

/// Whether messages and writes are told, or only what comes of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Detail {
    All,
    Outcome,
}

/// What becomes of a message that a script names.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Delivered,
    Copied,
    Lost,
}

impl Default for Teller {
    fn default() -> Self {
        Teller {
            net: Net::new(1),
            slow: BTreeSet::new(),
            down: BTreeSet::new(),
            told: BTreeMap::new(),
            first: String::new(),
            lines: Vec::new(),
        }
    }
}

impl Runner for Teller {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        self.play(Request::new(command))?;
        Ok(std::mem::take(&mut self.lines).join("\n"))
    }
}

impl Teller {
    fn play(&mut self, mut request: Request) -> Outcome<()> {
        let word = request.word("a command")?;
        if let Some(who) = parse_node(&word) {
            return self.play_member(who, request);
        }
        match word.as_str() {
            "group" => self.group(&mut request)?,
            "join" => self.net.join(request.node("who")?.0),
            "tick" => {
                for _ in 0..request.number("how often")? {
                    for who in self.awake() {
                        self.member(who)?.tick();
                        self.tell(who, Detail::All, "");
                    }
                }
            }
            "deliver" => self.fates(&mut request, Fate::Delivered)?,
            "copy" => self.fates(&mut request, Fate::Copied)?,
            "lose" => self.fates(&mut request, Fate::Lost)?,
            "cut" => match (request.node("who")?, request.node_if_any()?) {
                (from, Some(to)) => self.net.cut_one_way(from.0, to.0),
                (who, None) => self.net.isolate(who.0),
            },
            "heal" => self.net.heal(),
            "settle" => {
                let hold = request.setting("hold");
                self.settle(hold.as_deref())?;
            }
            "run" => {
                let hold = request.setting("hold");
                for _ in 0..request.number("how many ticks")? {
                    self.tick_all();
                    self.settle(hold.as_deref())?;
                }
            }
            "elect" => {
                let (who, hold) = (request.node("who")?, request.setting("hold"));
                self.elect(who, hold.as_deref())?;
            }
            "state" => self.state(),
            _ => return Err(format!("nobody knows how to {word}").into()),
        }
        request.end()
    }

    fn play_member(&mut self, who: NodeId, mut request: Request) -> Outcome<()> {
        let word = request.word("what it does")?;
        if self.down.contains(&who) && word != "restart" {
            return Err(format!("{who} is down").into());
        }
        let member = self.member(who)?;
        match word.as_str() {
            "remembers" => *member = remembering(member, &mut request)?,
            "propose" => {
                let mut outcome = member.raft.propose(command(&request.word("what")?)).map(drop);
                while let Some(word) = request.next() {
                    outcome = outcome.and_then(|()| member.raft.propose(command(&word)).map(drop));
                }
                member.turn();
                self.refused(who, outcome.err());
            }
            "read" => {
                let outcome = member.raft.read(u64::from(request.number("a token")?));
                member.turn();
                self.refused(who, outcome.err());
            }
            "add" | "learn" | "remove" => {
                let change = change(&word, request.node("whom")?);
                let outcome = member.raft.change_members(&change);
                member.turn();
                self.refused(who, outcome.err());
            }
            "transfer" => {
                let outcome = member.raft.transfer(Some(request.node("to whom")?));
                member.turn();
                self.refused(who, outcome.err());
            }
            "compact" => member.compact(),
            "campaign" => member.campaign(),
            "tick" => (0..request.number("how often")?).for_each(|_| member.tick()),
            "slow" => drop(self.slow.insert(who)),
            "fast" => drop(self.slow.remove(&who)),
            "persist" => {
                let count = request.next();
                self.persist(who, count.as_deref())?;
            }
            "crash" => {
                member.crash(0, None);
                self.told.remove(&who);
                self.down.insert(who);
            }
            "restart" => drop(self.down.remove(&who)),
            _ => return Err(format!("{who} does not know how to {word}").into()),
        }
        self.tell(who, Detail::All, "");
        request.end()
    }

    fn member(&mut self, who: NodeId) -> Outcome<&mut Member> {
        self.net.members.get_mut(&who).ok_or_else(|| format!("there is no {who}").into())
    }

    fn awake(&self) -> Vec<NodeId> {
        self.net.members.keys().copied().filter(|who| !self.down.contains(who)).collect()
    }

    fn group(&mut self, request: &mut Request) -> Outcome<()> {
        let count = request.number("of how many")?;
        let append_bytes = request.number_if_set("append_bytes")?;
        let chunk_bytes = request.number_if_set("chunk_bytes")?;
        let trailing = request.number_if_set("trailing")?;
        self.net = Net::with(count, |config| {
            config.append_bytes_max = append_bytes.unwrap_or(config.append_bytes_max);
            config.chunk_bytes = chunk_bytes.unwrap_or(config.chunk_bytes);
            config.trailing_entries = trailing.unwrap_or(config.trailing_entries);
        });
        self.first = crate::member::voters(count).to_string();
        Ok(())
    }

    fn refused(&mut self, who: NodeId, error: Option<impl std::fmt::Display>) {
        self.lines.extend(error.map(|error| format!("{who} refuses: {error}")));
    }

    fn persist(&mut self, who: NodeId, count: Option<&str>) -> Outcome<()> {
        let under_way = self.member(who)?.held.len();
        let count = match count {
            None => 1,
            Some("all") => under_way,
            Some(number) => number.parse()?,
        };
        if count > under_way {
            return Err(format!("{who} has only {under_way} writes under way").into());
        }
        for _ in 0..count {
            let member = self.member(who)?;
            let write = member.held.front().map(|held| words::persist(&held.persist)).unwrap_or_default();
            member.persist();
            self.lines.push(format!("{who} has written {write}"));
            self.tell(who, Detail::All, "  ");
        }
        Ok(())
    }

    /// Finishes the member's writes, if its disk is fast, and tells what is new with it.
    fn tell(&mut self, who: NodeId, detail: Detail, indent: &str) {
        let told = self.told.entry(who).or_default();
        let Some(member) = self.net.members.get_mut(&who) else { return };
        let slow = self.slow.contains(&who);
        let verb = if slow { "begins to write" } else { "writes" };
        loop {
            for line in words::events(&member.events[told.events..]) {
                self.lines.push(format!("{indent}{who} {line}"));
            }
            told.events = member.events.len();
            for held in &member.held {
                if held.persist.ticket.0 > told.ticket {
                    told.ticket = held.persist.ticket.0;
                    if detail == Detail::All {
                        self.lines.push(format!("{indent}{who} {verb} {}", words::persist(&held.persist)));
                    }
                }
            }
            if slow || member.held.is_empty() {
                break;
            }
            member.persist();
        }
        let before = self.net.wires.len();
        self.net.collect_from(who);
        if detail == Detail::All {
            let sent = self.net.wires.iter().skip(before);
            self.lines.extend(sent.map(|packet| format!("{indent}{}", words::packet(packet))));
        }
    }

    /// What is under way and named by a line: from whom, to whom, of what kind, the first or the last so many.
    fn fates(&mut self, request: &mut Request, fate: Fate) -> Outcome<()> {
        let (from, to) = (request.node_if_any()?, request.node_if_any()?);
        let kind = request.setting("kind");
        let is_meant = |packet: &Packet| {
            from.is_none_or(|from| from == packet.from)
                && to.is_none_or(|to| to == packet.to)
                && kind.as_deref().is_none_or(|kind| kind == words::kind(&packet.message))
        };
        let meant = self.net.wires.iter().enumerate().filter(|(_, packet)| is_meant(packet));
        let mut places: Vec<usize> = meant.map(|(place, _)| place).collect();
        if let Some(first) = request.number_if_set("first")? {
            places.truncate(first);
        }
        if let Some(last) = request.number_if_set("last")? {
            places.drain(..places.len().saturating_sub(last));
        }
        if places.is_empty() {
            return Err("nothing of that kind is under way".into());
        }
        let packets: Vec<Packet> = match fate {
            Fate::Copied => places.iter().map(|&place| self.net.wires[place].clone()).collect(),
            Fate::Delivered | Fate::Lost => {
                let taken = places.iter().rev().filter_map(|&place| self.net.wires.remove(place));
                let mut packets: Vec<Packet> = taken.collect();
                packets.reverse();
                packets
            }
        };
        for packet in packets {
            match fate {
                Fate::Lost => self.lines.push(format!("lost: {}", words::packet(&packet))),
                Fate::Delivered | Fate::Copied => self.deliver(packet, Detail::All),
            }
        }
        Ok(())
    }

    fn deliver(&mut self, packet: Packet, detail: Detail) {
        let (to, down) = (packet.to, self.down.contains(&packet.to));
        if detail == Detail::All {
            let fate = if down { " (nobody hears it)" } else { "" };
            self.lines.push(format!("{}{fate}", words::packet(&packet)));
        }
        if !down {
            self.net.deliver(packet);
            self.tell(to, detail, if detail == Detail::All { "  " } else { "" });
        }
    }

    fn tick_all(&mut self) {
        for who in self.awake() {
            if let Some(member) = self.net.members.get_mut(&who) {
                member.tick();
            }
            self.tell(who, Detail::Outcome, "");
        }
    }

    fn settle(&mut self, hold: Option<&str>) -> Outcome<()> {
        for _ in 0..SETTLE_MAX {
            let is_held = |packet: &Packet| hold.is_some_and(|kind| kind == words::kind(&packet.message));
            let Some(next) = self.net.wires.iter().position(|packet| !is_held(packet)) else {
                return Ok(());
            };
            if let Some(packet) = self.net.wires.remove(next) {
                self.deliver(packet, Detail::Outcome);
            }
        }
        Err("the members never stop talking".into())
    }

    fn elect(&mut self, who: NodeId, hold: Option<&str>) -> Outcome<()> {
        let patience = self.member(who)?.config.election_ticks;
        for other in self.awake().into_iter().filter(|&other| other != who) {
            let member = self.member(other)?;
            if member.status().role == Role::Follower {
                (0..patience).for_each(|_| member.tick());
                member.fetch(); // should it have campaigned, nobody hears it, and nobody reads of it
                self.told.entry(other).or_default().events = self.member(other)?.events.len();
            }
        }
        for _ in 0..CAMPAIGNS_MAX {
            self.member(who)?.campaign();
            self.tell(who, Detail::Outcome, "");
            self.settle(hold)?;
            if self.member(who)?.status().role == Role::Leader {
                return Ok(());
            }
        }
        self.lines.push(format!("{who} is not elected"));
        Ok(())
    }

    fn state(&mut self) {
        let changed = self.net.members.values().any(|m| m.raft.membership().to_string() != self.first);
        let rows: Vec<Vec<String>> = self
            .net
            .members
            .values()
            .map(|member| {
                let mut row = words::state(member, self.down.contains(&member.config.id)).to_vec();
                row.truncate(if changed { row.len() } else { row.len() - 1 });
                row
            })
            .collect();
        self.lines.extend(words::table(&rows));
        if !self.net.wires.is_empty() {
            self.lines.push("under way:".to_owned());
            self.lines.extend(self.net.wires.iter().map(|packet| format!("  {}", words::packet(packet))));
        }
    }
}

fn remembering(member: &Member, request: &mut Request) -> Outcome<Member> {
    let term = request.number_if_set("term")?.ok_or("term= is missing")?;
    let vote = request.setting("vote").and_then(|word| parse_node(&word));
    let mut disk = Disk { hard_state: HardState { term, vote }, ..Disk::default() };
    while let Some(word) = request.next() {
        let (word, is_lost) = word.strip_prefix('x').map_or((&*word, false), |word| (word, true));
        let (index, term) = words::parse_id(word).ok_or_else(|| format!("{word} is no entry"))?;
        if is_lost {
            disk.lost.insert(index);
        }
        disk.entries.push(entry(index, term));
    }
    Ok(Member::new(member.config.clone(), disk))
}

fn change(word: &str, node: NodeId) -> Change {
    let address = format!("{node}:1");
    match word {
        "add" => Change::Add { node, address },
        "learn" => Change::AddLearner { node, address },
        _ => Change::Remove { node },
    }
}
