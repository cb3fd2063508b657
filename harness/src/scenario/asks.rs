//! What a script asks of the cluster, with the suite's limits: a leader in 5 s, an agreement in 10 s, none without a majority.

use std::collections::BTreeMap;
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use ordeal_client::wire::NodeId;
use ordeal_history::{Answer, Call, Outcome, Value};

use super::hands::Hand;
use super::stage::{Stage, ms};
use super::{Halt, Step};
use crate::cluster::NodeState;
use crate::system::NodeView;

/// A leader must be there after so long.
const LEADER_TIME_MAX: Duration = Duration::from_secs(5);
/// An agreement must be reached after so long.
pub(super) const AGREE_TIME_MAX: Duration = Duration::from_secs(10);
/// How long it is watched that something does not happen.
pub(super) const SILENCE: Duration = Duration::from_secs(2);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);
/// Words to a key: far below what the judge decides in milliseconds.
const WORDS_PER_KEY: u64 = 50;
/// A leader without a majority gives up within two election timeouts (CheckQuorum); doubled for a busy machine.
const STEP_DOWN_TIME_MAX: Duration = Duration::from_secs(1);

impl Stage<'_> {
    /// What the nodes with links say of themselves.
    fn connected_views(&self) -> BTreeMap<NodeId, NodeView> {
        let mut views = self.watch.look();
        views.retain(|node, _| !self.away.contains(node));
        views
    }

    /// Who leads among the nodes with links, now: of several the one of the newest term.
    pub(super) fn leader_now(&self) -> Option<NodeId> {
        let views = self.connected_views();
        let groups = views.values().flat_map(|view| view.data().map(|of| (view.node, of)));
        groups.filter(|(_, of)| of.leads).max_by_key(|(_, of)| of.term).map(|(node, _)| node)
    }

    /// How many nodes with links lead any group, the controller's too.
    pub(super) fn leading_now(&self) -> usize {
        let views = self.connected_views();
        views.values().filter(|view| view.groups.iter().any(|of| of.leads)).count()
    }

    /// The one leader of the nodes with links, within 5 s.
    pub(super) fn one_leader(&mut self) -> Step<NodeId> {
        let since = Instant::now();
        loop {
            let leader = self.leader_now();
            self.check()?;
            if let Some(leader) = leader {
                self.at_most("leader elected", ms(since.elapsed()), ms(LEADER_TIME_MAX), "ms");
                return Ok(leader);
            }
            if since.elapsed() >= LEADER_TIME_MAX {
                return Halt::is_late(format!("no leader within {} s", LEADER_TIME_MAX.as_secs()));
            }
            self.pause(LOOK)?;
        }
    }

    /// The leader that these nodes have chosen among themselves, within 5 s.
    pub(super) fn one_leader_of(&mut self, nodes: &[NodeId]) -> Step<NodeId> {
        let since = Instant::now();
        while since.elapsed() < LEADER_TIME_MAX {
            let views = self.watch.look();
            let leads = |node: &&NodeId| views.get(node).is_some_and(|view| view.data().any(|of| of.leads));
            if let Some(&leader) = nodes.iter().find(leads) {
                self.at_most("leader elected", ms(since.elapsed()), ms(LEADER_TIME_MAX), "ms");
                return Ok(leader);
            }
            self.pause(LOOK)?;
        }
        Halt::is_late(format!("no leader within {} s", LEADER_TIME_MAX.as_secs()))
    }

    /// No node with links leads.
    pub(super) fn no_leader(&mut self) -> Step {
        match self.leader_now() {
            Some(leader) => Halt::is_late(format!("{leader} leads without a majority")),
            None => Ok(()),
        }
    }

    /// The node that was cut off gives up to lead. The suite cannot ask this of a disconnected server.
    pub(super) fn steps_down(&mut self, node: NodeId) -> Step {
        let since = Instant::now();
        loop {
            let views = self.watch.look();
            let leads = views.get(&node).is_some_and(|view| view.data().any(|of| of.leads));
            if !leads {
                break;
            }
            if since.elapsed() > LEADER_TIME_MAX {
                return Halt::is_late(format!("{node} still leads {} s after it was cut off", 5));
            }
            self.pause(LOOK)?;
        }
        self.at_most("cut-off leader steps down", ms(since.elapsed()), ms(STEP_DOWN_TIME_MAX), "ms");
        Ok(())
    }

    /// The term of all nodes with links, when it is the same.
    pub(super) fn one_term(&mut self) -> Step<u64> {
        let since = Instant::now();
        loop {
            let views = self.connected_views();
            let mut terms: Vec<u64> = views.values().flat_map(|view| view.data().map(|of| of.term)).collect();
            terms.dedup();
            if let ([term], true) = (&terms[..], views.len() + self.away.len() == self.nodes().len()) {
                return Ok(*term);
            }
            if since.elapsed() >= ELECTED_MAX {
                return Halt::is_late(format!("the nodes do not agree on a term: {terms:?}"));
            }
            self.pause(LOOK)?;
        }
    }

    /// One operation that so many nodes apply: 10 s for all of it. Its index in the log.
    pub(super) fn agree(&mut self, nodes: usize) -> Step<u64> {
        self.agree_on_bytes(nodes, 0)
    }

    /// The same with a word of so many bytes.
    pub(super) fn agree_on_bytes(&mut self, nodes: usize, bytes: usize) -> Step<u64> {
        let (key, word) = self.next_word(bytes);
        let since = Instant::now();
        let outcome = self.clerk.ask(&key, &Call::Append(Value::from(word.clone())))?;
        let index = match &outcome {
            Outcome::Ok(_, claim) => claim.made.map_or(0, |made| made.index),
            Outcome::Failed(why) | Outcome::Unknown(why) => {
                self.check()?;
                return Halt::is_late(format!("no agreement within {} s: {why}", AGREE_TIME_MAX.as_secs()));
            }
        };
        self.applied_by(nodes, &key, &word, since)?;
        self.at_most("agreement", ms(since.elapsed()), ms(AGREE_TIME_MAX), "ms");
        self.check()?;
        Ok(index)
    }

    /// A key and a word that nobody has said before.
    pub(super) fn next_word(&mut self, bytes: usize) -> (String, String) {
        self.words += 1;
        let word = format!("w{}", self.words);
        let filling = "x".repeat(bytes.saturating_sub(word.len() + 1));
        (format!("log{}", self.words / WORDS_PER_KEY), format!("{word}{filling},"))
    }

    /// So many nodes have this word in their own state.
    pub(super) fn applied_by(&mut self, nodes: usize, key: &str, word: &str, since: Instant) -> Step {
        loop {
            let have = self.having(key, word)?;
            if have >= nodes {
                return Ok(());
            }
            self.pause(LOOK)?;
            if since.elapsed() >= AGREE_TIME_MAX {
                let limit = AGREE_TIME_MAX.as_secs();
                return Halt::is_late(format!("{have} of {nodes} nodes have `{word}` after {limit} s"));
            }
        }
    }

    /// How many nodes have this word.
    pub(super) fn having(&mut self, key: &str, word: &str) -> Step<usize> {
        let mut have = 0;
        for node in self.nodes() {
            let is_up = matches!(self.cluster.state(node), NodeState::Up { .. });
            if is_up && self.peek(node, key)?.is_some_and(|value| value.contains(word)) {
                have += 1;
            }
        }
        Ok(have)
    }

    /// What a node's own state holds; `None` also when it does not answer.
    fn peek(&mut self, node: NodeId, key: &str) -> Step<Option<String>> {
        let Some(address) = self.lab.direct(node) else { return Ok(None) };
        if self.peeks.get(&node).is_none_or(|(known, _)| *known != address) {
            let client = self.kit.peek(node, address.to_string())?;
            self.peeks.insert(node, (address, client));
        }
        let Some((_, client)) = self.peeks.get_mut(&node) else { return Ok(None) };
        Ok(match client.call(key, &Call::Read) {
            (Outcome::Ok(Answer::Value(value), _), Some(from)) if from == node => {
                value.map(|value| value.as_str().to_owned())
            }
            _ => None,
        })
    }

    /// Nobody may acknowledge these operations. They are asked for now, and none may be done within 2 s; and each must
    /// come to an end: the patience of its client and a little more.
    pub(super) fn must_not_complete(&mut self, asks: Vec<Ask>) -> Step {
        let count = asks.len();
        let since = Instant::now();
        let ended: Vec<Step<(String, Outcome)>> = std::thread::scope(|scope| {
            let ask = |mut ask: Ask| scope.spawn(move || Ok((ask.key.clone(), ask.perform()?)));
            let threads: Vec<ScopedJoinHandle<'_, Step<(String, Outcome)>>> =
                asks.into_iter().map(ask).collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or(Err(Halt::Stopped))).collect()
        });
        for ended in ended {
            if let (key, Outcome::Ok(..)) = ended? {
                return Halt::is_unsafe(format!("an operation on {key} was acknowledged without a majority"));
            }
        }
        self.note("refused or unanswered without a majority", count as f64, "operations");
        self.at_most("they end", ms(since.elapsed()), ms(SILENCE + ELECTED_MAX), "ms");
        self.check()
    }

    /// A client that is let near these nodes only, and gives up after 2 s.
    pub(super) fn near(&self, nodes: &[NodeId]) -> Step<Hand> {
        self.kit.hand_at(nodes, SILENCE)
    }

    /// Such a client with something new to say. Where the node leads it has a session already, so that the node, cut off,
    /// takes the word itself and not only the wish for a session.
    pub(super) fn ask_at(&mut self, node: NodeId) -> Step<Ask> {
        let (_, word) = self.next_word(0);
        // A key of its own: nothing may be known of such a word afterwards, and its neighbours should not pay for that.
        let key = format!("at-{node}-{}", self.words);
        let mut hand = self.near(&[node])?;
        if self.leader_now() == Some(node) {
            hand.append(&key, "first,")?;
        }
        Ok(Ask { hand, key, call: Call::Append(Value::from(word)) })
    }

    /// All nodes are up, have applied as much as each other, and hold the same; within 10 s.
    pub(super) fn converge(&mut self) -> Step {
        let since = Instant::now();
        loop {
            let views = self.watch.look();
            self.check()?;
            // Where a node is no member of a group, its member of it waits, empty.
            let members = views.values().flat_map(|view| view.data().filter(|of| of.is_of(view.node)));
            let mut states: Vec<(u32, u64, u64)> =
                members.map(|of| (of.group, of.applied, of.digest)).collect();
            states.sort_unstable();
            states.dedup();
            let groups = u32::try_from(states.len()).expect("a handful of groups");
            if views.len() == self.nodes().len() && groups == self.layout.groups {
                self.at_most("replicas equal", ms(since.elapsed()), ms(AGREE_TIME_MAX), "ms");
                return Ok(());
            }
            if since.elapsed() >= AGREE_TIME_MAX {
                let limit = AGREE_TIME_MAX.as_secs();
                return Halt::is_late(format!("the replicas are not equal after {limit} s: {states:?}"));
            }
            self.pause(LOOK)?;
        }
    }
}

/// How long nodes may take to agree on a term, and a client to notice that its time is over.
const ELECTED_MAX: Duration = Duration::from_secs(1);

/// Something that a client is to ask.
pub(super) struct Ask {
    pub(super) hand: Hand,
    pub(super) key: String,
    pub(super) call: Call,
}

impl Ask {
    /// Asks it.
    pub(super) fn perform(&mut self) -> Step<Outcome> {
        self.hand.ask(&self.key, &self.call)
    }
}
