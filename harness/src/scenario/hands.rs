//! Clients of a scenario. A hand is one client of the system that records whatever it does; it can be let near some nodes
//! only, as the suite's clerks are by its network.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ordeal_client::wire::{Configuration, GroupId, Members, NodeId, ReadLevel};
use ordeal_history::{Answer, Call, ClientId, Outcome, Recorder, Value};

use super::Step;
use crate::chance::{Stream, derive};
use crate::system::{ClientSetup, Flood, System, SystemClient};

/// What hands are made of.
#[derive(Clone)]
pub struct Kit {
    pub(super) system: Arc<dyn System>,
    pub(super) recorder: Arc<Recorder>,
    /// Where clients reach the nodes, through the lab.
    pub(super) members: BTreeMap<NodeId, String>,
    /// Where nobody is.
    pub(super) nowhere: String,
    pub(super) seed: u64,
    pub(super) shared: Arc<Shared>,
}

/// What all hands of a scenario share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    next_client: AtomicU32,
    next_hand: AtomicU32,
    /// Keys that were written, or may have been.
    touched: Mutex<BTreeSet<Arc<str>>>,
    /// What administrators were told, by number.
    pub(super) configurations: Mutex<BTreeMap<u64, Configuration>>,
    /// Who belongs to the groups, as configurations told last.
    pub(super) members: Mutex<BTreeMap<GroupId, Members>>,
    /// The longest that an administrator waited for an answer, and to what.
    pub(super) longest_answer: Mutex<(Duration, &'static str)>,
}

/// A client that records what it does.
pub struct Hand {
    client: Box<dyn SystemClient>,
    id: ClientId,
    kit: Kit,
}

impl Kit {
    /// A client that reaches all nodes, and is so patient.
    pub(super) fn hand(&self, patience: Duration) -> Step<Hand> {
        let all: Vec<NodeId> = self.members.keys().copied().collect();
        self.hand_at(&all, patience)
    }

    /// A client that reaches these nodes only, and begins with the first.
    pub(super) fn hand_at(&self, nodes: &[NodeId], patience: Duration) -> Step<Hand> {
        let number = self.shared.next_hand.fetch_add(1, Ordering::Relaxed);
        let client = self.system.client(self.setup(
            nodes,
            &self.members,
            ReadLevel::Linearizable,
            number,
            patience,
        ))?;
        Ok(Hand { client, id: self.next_client(), kit: self.clone() })
    }

    /// A client that reaches these nodes as others do, begins with the first, and reaches the rest by ways of its own.
    pub(super) fn hand_behind(
        &self,
        nodes: &[NodeId],
        ways: BTreeMap<NodeId, String>,
        patience: Duration,
    ) -> Step<Hand> {
        let rest: Vec<NodeId> = self.members.keys().copied().filter(|node| !nodes.contains(node)).collect();
        let mut members = self.members.clone();
        members.extend(ways.into_iter().filter(|(node, _)| rest.contains(node)));
        Kit { members, ..self.clone() }.hand_at(&[nodes, &rest].concat(), patience)
    }

    /// A client for reads of one node's own state, past the lab; nothing that it does belongs into the history.
    pub(super) fn peek(&self, node: NodeId, address: String) -> Step<Box<dyn SystemClient>> {
        const PATIENCE: Duration = Duration::from_millis(300);
        let places = BTreeMap::from([(node, address)]);
        Ok(self.system.client(self.setup(&[node], &places, ReadLevel::Stale, u32::MAX, PATIENCE))?)
    }

    /// Clients near one node that can have many writes under way; nothing that they do belongs into the history.
    pub(super) fn flood(&self, node: NodeId, clients: usize) -> Step<Box<dyn Flood>> {
        let setup = self.setup(&[node], &self.members, ReadLevel::Linearizable, u32::MAX, Duration::ZERO);
        let flood = self.system.flood(&setup, clients)?;
        Ok(flood.ok_or_else(|| anyhow::anyhow!("{} has no clients for many writes", self.system.name()))?)
    }

    pub(super) fn setup(
        &self,
        nodes: &[NodeId],
        places: &BTreeMap<NodeId, String>,
        read_level: ReadLevel,
        number: u32,
        deadline: Duration,
    ) -> ClientSetup {
        let near = |node: &NodeId| nodes.contains(node).then(|| places.get(node).cloned()).flatten();
        let dial = |node: &NodeId| (*node, near(node).unwrap_or_else(|| self.nowhere.clone()));
        ClientSetup {
            members: nodes.iter().filter_map(|node| Some((*node, near(node)?))).collect(),
            dial: self.members.keys().map(dial).collect(),
            read_level,
            prefer: nodes[0],
            seed: derive(self.seed, Stream::Retries(number)),
            deadline,
        }
    }

    fn next_client(&self) -> ClientId {
        ClientId(self.shared.next_client.fetch_add(1, Ordering::Relaxed))
    }

    /// Keys that were written, or may have been.
    pub(super) fn touched(&self) -> Vec<Arc<str>> {
        self.shared.touched.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Others have written there, too.
    pub(super) fn touch(&self, key: &str) {
        self.shared.touched.lock().unwrap_or_else(PoisonError::into_inner).insert(Arc::from(key));
    }
}

impl Hand {
    /// One operation, recorded.
    pub(super) fn ask(&mut self, key: &str, call: &Call) -> Step<Outcome> {
        let op = self.kit.recorder.invoke(self.id, key, call.clone())?;
        let (outcome, node) = self.client.call(key, call);
        let node = node.map(|node| node.to_string());
        self.kit.recorder.returned(op, outcome.clone(), node.as_deref())?;
        if *call != Call::Read && !matches!(outcome, Outcome::Failed(_)) {
            self.kit.touch(key);
        }
        if let Outcome::Unknown(_) = outcome {
            // The old number has an operation open for ever.
            self.id = self.kit.next_client();
        }
        Ok(outcome)
    }

    /// Sets a key; whether that was acknowledged.
    pub(super) fn put(&mut self, key: &str, value: &str) -> Step<bool> {
        Ok(is_ok(&self.ask(key, &Call::Write(Value::from(value.to_owned())))?))
    }

    /// Adds to a key; whether that was acknowledged.
    pub(super) fn append(&mut self, key: &str, value: &str) -> Step<bool> {
        Ok(is_ok(&self.ask(key, &Call::Append(Value::from(value.to_owned())))?))
    }

    /// Reads a key. The outer absence: no answer.
    pub(super) fn get(&mut self, key: &str) -> Step<Option<Option<String>>> {
        Ok(match self.ask(key, &Call::Read)? {
            Outcome::Ok(Answer::Value(value), _) => Some(value.map(|value| value.as_str().to_owned())),
            Outcome::Ok(..) | Outcome::Failed(_) | Outcome::Unknown(_) => None,
        })
    }

    /// Sets a key that holds `expected`. `None`: nobody knows.
    pub(super) fn cas(&mut self, key: &str, expected: Option<&str>, new: &str) -> Step<Option<bool>> {
        let value = |text: &str| Value::from(text.to_owned());
        let call = Call::Cas { expected: expected.map(value), new: value(new) };
        Ok(match self.ask(key, &call)? {
            Outcome::Ok(Answer::CasDone, _) => Some(true),
            Outcome::Ok(..) | Outcome::Failed(_) => Some(false),
            Outcome::Unknown(_) => None,
        })
    }
}

pub(super) fn is_ok(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Ok(..))
}
