//! What a script does with groups and shards: keys that are spread over them, a group that is shut down as a whole, changes of who
//! owns what with a limit of time.
//!
//! The suite's controller has servers of its own. Here every node has a member of group 0, and the first five vote in it. So
//! g1, of n1 to n3, leaves at the beginning: these nodes are then the controller's majority and nothing else, and any of the
//! other groups may be shut down as a whole while the controller lives.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use ordeal_client::wire::{AdminChange, Configuration, GroupId, NodeId, ShardId, shard_of};

use super::desk::{Desk, is_settled, owned};
use super::hands::Hand;
use super::stage::{Stage, ms};
use super::{Halt, Layout, Scenario, Step};

/// The suite's groups 100, 101 and 102.
pub(super) const A: u32 = 2;
pub(super) const B: u32 = 3;
pub(super) const C: u32 = 4;

/// Nodes, groups of three of them, and the suite's ten shards.
pub(super) const NODES: u32 = 12;
pub(super) const LAYOUT: Layout = Layout { groups: 4, replicas: Some(3), shards: 10 };

/// A scenario of these groups.
pub(super) const fn scenario(
    name: &'static str,
    what: &'static str,
    source: &'static str,
    seconds: u32,
    node_args: &'static [&'static str],
    script: fn(&mut Stage<'_>) -> Step,
) -> Scenario {
    Scenario { name, what, source, seconds, nodes: NODES, node_args, layout: LAYOUT, script }
}

/// All moves must be over after so long when nothing hinders them.
pub(super) const MOVES_TIME_MAX: Duration = Duration::from_secs(10);
/// A leader of every group must be there after so long.
const LEADERS_TIME_MAX: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// How long a get may take before it counts as not answered, where a group is down.
pub(super) const SHORT: Duration = Duration::from_secs(2);

/// A key, and what was read there; the outer absence: no answer.
type Read<'a> = (&'a String, Option<Option<String>>);

/// What must be in the store: the whole value of each key.
#[derive(Debug, Clone, Default)]
pub(super) struct Book(pub(super) BTreeMap<String, String>);

impl Stage<'_> {
    /// The nodes of a group, as it was created.
    pub(super) fn nodes_of(&self, group: u32) -> Vec<NodeId> {
        let nodes = self.nodes();
        let replicas = self.layout.replicas.map_or(nodes.len(), |replicas| replicas as usize);
        let first = (group as usize - 1) * replicas;
        nodes.iter().copied().cycle().skip(first % nodes.len()).take(replicas).collect()
    }

    /// The nodes of several groups.
    pub(super) fn nodes_of_all(&self, groups: &[u32]) -> Vec<NodeId> {
        groups.iter().flat_map(|&group| self.nodes_of(group)).collect()
    }

    /// The nodes that are the controller's majority: of g1, which has left.
    pub(super) fn controllers(&self) -> Vec<NodeId> {
        self.nodes_of(1)
    }

    /// The shard of a key.
    pub(super) fn shard_of(&self, key: &str) -> ShardId {
        shard_of(key.as_bytes(), self.layout.shards)
    }

    /// A key of every shard, by the shard's number.
    pub(super) fn key_of_each_shard(&self) -> Vec<String> {
        self.keys_of_each_shard(1)
    }

    /// So many keys of every shard.
    pub(super) fn keys_of_each_shard(&self, count: usize) -> Vec<String> {
        let of = |shard: u32| {
            let keys = (0u32..).map(|number| format!("k{number}"));
            keys.filter(move |key| self.shard_of(key) == ShardId(shard)).take(count)
        };
        (0..self.layout.shards).flat_map(of).collect()
    }

    /// The administrator that reaches all nodes.
    pub(super) fn desk(&mut self) -> Step<&mut Desk> {
        if self.desk.is_none() {
            self.desk = Some(self.kit.desk()?);
        }
        Ok(self.desk.as_mut().expect("made just now"))
    }

    /// The beginning: all groups lead, and only these own shards; the others have left.
    pub(super) fn only(&mut self, groups: &[u32]) -> Step {
        self.all_lead()?;
        // Who leaves before it has said who its members are could not be asked back.
        let all_known = |now: &Configuration| now.groups.values().all(|info| !info.members.is_empty());
        if let Err(now) = self.desk()?.wait(MOVES_TIME_MAX, all_known)? {
            return Halt::is_late(format!("groups do not say who their members are: {:?}", now.groups));
        }
        let rest: Vec<u32> = (1..=self.layout.groups).filter(|group| !groups.contains(group)).collect();
        self.leave(&rest)?;
        self.settle(MOVES_TIME_MAX).map(|_| ())
    }

    /// These groups get their share, in one step; the moves are not waited for.
    pub(super) fn join(&mut self, groups: &[u32]) -> Step<u64> {
        let changed = self.desk()?.join(groups)?;
        self.progress(|| format!("{groups:?} join in configuration {}", changed.number));
        Ok(changed.number)
    }

    /// These groups are to own nothing, in one step; the moves are not waited for.
    pub(super) fn leave(&mut self, groups: &[u32]) -> Step<u64> {
        let changed = self.desk()?.leave(groups)?;
        self.progress(|| format!("{groups:?} leave in configuration {}", changed.number));
        Ok(changed.number)
    }

    /// A shard is to be of this group; the move is not waited for.
    pub(super) fn give(&mut self, shard: ShardId, to: u32) -> Step<u64> {
        Ok(self.desk()?.change(&AdminChange::Move { shard, to: GroupId(to) })?.number)
    }

    /// No move is open any more, within this time.
    pub(super) fn settle(&mut self, limit: Duration) -> Step<Configuration> {
        self.settles("moves over", limit)
    }

    /// The same under a name of its own.
    pub(super) fn settles(&mut self, name: &str, limit: Duration) -> Step<Configuration> {
        let since = Instant::now();
        let waited = self.desk()?.wait(MOVES_TIME_MAX.max(limit), is_settled)?;
        self.check()?;
        match waited {
            Ok(now) => {
                self.at_most(name, ms(since.elapsed()), ms(limit), "ms");
                Ok(now)
            }
            Err(now) => Halt::is_late(format!(
                "configuration {}: after {} s these moves are open: {:?}",
                now.number,
                since.elapsed().as_secs(),
                now.moves
            )),
        }
    }

    /// For so long moves must not come to an end: something of what they need is down.
    pub(super) fn stays_unsettled(&mut self, time: Duration) -> Step {
        let until = Instant::now() + time;
        while Instant::now() < until {
            let now = self.desk()?.newest()?;
            if is_settled(&now) {
                return Halt::is_unsafe(format!(
                    "configuration {}: all moves are over although a group that they need is down",
                    now.number
                ));
            }
            self.pause(LOOK)?;
        }
        Ok(())
    }

    /// A shard is of this group, within the time.
    pub(super) fn is_of(&mut self, shard: ShardId, group: u32) -> Step {
        let so = |now: &Configuration| now.owner(shard).is_some_and(|owner| owner.group == GroupId(group));
        match self.desk()?.wait(MOVES_TIME_MAX, so)? {
            Ok(_) => self.check(),
            Err(now) => Halt::is_late(format!(
                "configuration {}: {shard} is still not of g{group}: {:?}, {:?}",
                now.number,
                now.owner(shard),
                now.moves.get(&shard)
            )),
        }
    }

    /// kill -9 of a whole group.
    pub(super) fn shut(&mut self, groups: &[u32]) -> Step {
        let nodes = self.nodes_of_all(groups);
        self.crash_all(&nodes)
    }

    /// Starts a whole group again.
    pub(super) fn start(&mut self, groups: &[u32]) -> Step {
        let nodes = self.nodes_of_all(groups);
        self.restart_all(&nodes)
    }

    /// Every group whose nodes run has a leader, within 5 s.
    pub(super) fn all_lead(&mut self) -> Step {
        let since = Instant::now();
        loop {
            let views = self.watch.look();
            let leads = |group: u32| {
                views.values().any(|view| view.groups.iter().any(|of| of.group == group && of.leads))
            };
            let lacking: Vec<u32> = (0..=self.layout.groups).filter(|&group| !leads(group)).collect();
            if lacking.is_empty() {
                self.at_most("leaders elected", ms(since.elapsed()), ms(LEADERS_TIME_MAX), "ms");
                return self.check();
            }
            if since.elapsed() > LEADERS_TIME_MAX {
                return Halt::is_late(format!("no leader of {lacking:?} within 5 s"));
            }
            self.pause(LOOK)?;
        }
    }

    /// Who leads a group now.
    pub(super) fn leader_of(&mut self, group: u32) -> Step<NodeId> {
        let since = Instant::now();
        loop {
            let views = self.watch.look();
            let leading = views.values().flat_map(|view| view.groups.iter().map(|of| (view.node, of)));
            let leading = leading.filter(|(_, of)| of.group == group && of.leads);
            if let Some((node, _)) = leading.max_by_key(|(_, of)| of.term) {
                return Ok(node);
            }
            if since.elapsed() > LEADERS_TIME_MAX {
                return Halt::is_late(format!("no leader of g{group} within 5 s"));
            }
            self.pause(LOOK)?;
        }
    }

    /// The controller is led by one of the nodes that hold nothing else.
    pub(super) fn controller_leads_alone(&mut self) -> Step {
        let (own, since) = (self.controllers(), Instant::now());
        while !own.contains(&self.leader_of(0)?) {
            let steward = self.kit.system.steward().ok_or_else(|| anyhow::anyhow!("nobody hands over"))?;
            let contact = crate::system::Contact { members: self.kit.members.clone(), deadline: SHORT };
            // Whether it was done is looked at.
            let _ = steward.transfer(&contact, 0, own[0]);
            if since.elapsed() > LEADERS_TIME_MAX {
                return Halt::is_late("the controller is not handed over within 5 s");
            }
        }
        Ok(())
    }

    /// At the end: all moves over, all groups lead and take writes of every shard; each owns just what the controller says; and
    /// every configuration that there was is what it was.
    pub(super) fn shards_are_whole(&mut self) -> Step {
        self.all_lead()?;
        let settled = self.settles("moves over at the end", MOVES_TIME_MAX)?;
        for key in self.key_of_each_shard() {
            if !self.clerk.append(&format!("{{{key}}}end"), "end,")? {
                return Halt::is_late(format!("{} takes no write at the end", self.shard_of(&key)));
            }
        }
        self.owners_agree(&settled)?;
        let history = self.desk()?.history()?;
        self.note("configurations", history.len() as f64, "");
        let (longest, what) = *self.kit.shared.longest_answer.lock().unwrap_or_else(PoisonError::into_inner);
        self.note(&format!("longest answer to an administrator ({what})"), ms(longest), "ms");
        Ok(())
    }

    /// Leaders own what the controller says, and no shard is owned twice.
    fn owners_agree(&mut self, configuration: &Configuration) -> Step {
        let since = Instant::now();
        loop {
            let views = self.watch.look();
            let leading = views.values().flat_map(|view| view.data().filter(|of| of.leads));
            let told: BTreeMap<u32, u64> = leading.map(|of| (of.group, of.shards)).collect();
            let expected = (1..=self.layout.groups).map(|group| (group, owned(configuration, group) as u64));
            let expected: BTreeMap<u32, u64> = expected.collect();
            if told == expected {
                return Ok(());
            }
            if since.elapsed() > MOVES_TIME_MAX {
                return Halt::is_unsafe(format!(
                    "groups own {told:?} shards, the controller says {expected:?}"
                ));
            }
            self.pause(LOOK)?;
        }
    }

    /// Adds a word to each of these keys.
    pub(super) fn append_to(&mut self, book: &mut Book, keys: &[String], filling: usize) -> Step {
        for key in keys {
            self.words += 1;
            let word = format!("w{}{},", self.words, "x".repeat(filling));
            if !self.clerk.append(key, &word)? {
                self.check()?;
                return Halt::is_late(format!("an append to {key} was not acknowledged within 10 s"));
            }
            book.0.entry(key.clone()).or_default().push_str(&word);
        }
        Ok(())
    }

    /// Writes to every shard until each group has taken a snapshot: it does when its log has grown by a quarter of the one before. What
    /// is written is one short value a shard.
    pub(super) fn write_until_snapshots(&mut self) -> Step {
        const VALUE: usize = 300;
        // A group has three shards or more: 36 kB of log, a quarter of a snapshot of 144 kB.
        const WRITES: u32 = 40;
        for key in self.key_of_each_shard() {
            for turn in 0..WRITES {
                if !self.clerk.put(&format!("{{{key}}}often"), &format!("{turn:0VALUE$}"))? {
                    return Halt::is_late(format!("{} takes no write", self.shard_of(&key)));
                }
            }
        }
        Ok(())
    }

    /// Reads these keys and finds what must be there.
    pub(super) fn check_keys(&mut self, book: &Book, keys: &[String]) -> Step {
        keys.iter().try_for_each(|key| expect(&mut self.clerk, book, key))
    }

    /// Reads everything.
    pub(super) fn check_all(&mut self, book: &Book) -> Step {
        let keys: Vec<String> = book.0.keys().cloned().collect();
        self.check_keys(book, &keys)
    }

    /// Reads every key, and adds to it: the suite's `check`, `append`.
    pub(super) fn check_and_append(&mut self, book: &mut Book) -> Step {
        let keys: Vec<String> = book.0.keys().cloned().collect();
        for key in keys {
            expect(&mut self.clerk, book, &key)?;
            self.append_to(book, &[key], 8)?;
        }
        Ok(())
    }

    /// Reads all keys at once, by a client each. Exactly those must be answered that these groups own; the others end without an
    /// answer, in 2 s.
    pub(super) fn answered_only_by(&mut self, book: &Book, groups: &[u32]) -> Step {
        let now = self.desk()?.newest()?;
        let mut hands = Vec::new();
        for key in book.0.keys() {
            hands.push((key, self.kit.hand(SHORT)?));
        }
        let since = Instant::now();
        let answered: Vec<Step<Read<'_>>> = std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for (key, mut hand) in hands {
                threads.push(scope.spawn(move || Ok((key, hand.get(key)?))));
            }
            threads.into_iter().map(|thread| thread.join().unwrap_or(Err(Halt::Stopped))).collect()
        });
        self.at_most("gets end", ms(since.elapsed()), ms(SHORT * 2), "ms");
        let mut served = 0;
        for answer in answered {
            let (key, value) = answer?;
            let owner = now.owner(self.shard_of(key));
            let lives = owner.is_some_and(|owner| groups.contains(&owner.group.0));
            match (lives, value) {
                (true, Some(value)) if value.as_ref() == book.0.get(key) => served += 1,
                (true, Some(value)) => {
                    return Halt::is_unsafe(format!("{key} is {value:?}, expected {:?}", book.0.get(key)));
                }
                (true, None) => {
                    self.check()?;
                    return Halt::is_late(format!("{key} of {owner:?}, which runs, was not read in 2 s"));
                }
                (false, Some(_)) => {
                    return Halt::is_unsafe(format!("{key} was read, and its owner {owner:?} is down"));
                }
                (false, None) => {}
            }
        }
        self.note("gets answered while a group is down", f64::from(served), "");
        self.check()
    }
}

fn expect(hand: &mut Hand, book: &Book, key: &String) -> Step {
    match hand.get(key)? {
        Some(found) if found.as_ref() == book.0.get(key) => Ok(()),
        Some(found) => Halt::is_unsafe(format!("{key} is {found:?}, expected {:?}", book.0.get(key))),
        None => Halt::is_late(format!("{key} was not read within 10 s")),
    }
}
