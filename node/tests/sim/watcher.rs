//! Clients that watch, one a shard, from its beginning to its end, whatever befalls the cluster; and what they were told compared with
//! what the others saw: exactly the writes, each once, in order.

use std::collections::{BTreeMap, BTreeSet};

use ordeal_client::wire::{
    Change, Interest, Mark, NodeId, RefusalReason, Reply, Request, RequestBody, ShardId, Version, shard_of,
};
use ordeal_history::{Call, Event, OpId, Outcome};
use ordeal_node::engine::ClientKey;
use rand::RngExt;

use crate::client::{Action, Hands};
use crate::plan::SECOND_US;

/// Time for an answer: a second in which nothing happens, and half of one.
const ATTEMPT_US: u64 = SECOND_US * 3 / 2;
/// Between a refusal and the next attempt.
const PAUSE_US: u64 = 20_000;
/// And where it has other things to do: nodes die and shards move meanwhile.
const LAG_US: u64 = 5 * SECOND_US;
/// Hints followed in a row without a pause.
const HOPS_MAX: u32 = 3;

/// A client that watches a shard.
#[derive(Debug)]
pub struct Watcher {
    shard: ShardId,
    behind: Mark,
    told: Vec<Change>,
    leader: Option<NodeId>,
    epoch: u64,
    turn: u32,
    hops: u32,
    asked: Option<(NodeId, ClientKey)>,
    /// Of the attempt or pause under way.
    number: u64,
}

impl Watcher {
    pub fn new(shard: ShardId) -> Self {
        Watcher {
            shard,
            behind: Mark::BEGINNING,
            told: Vec::new(),
            leader: None,
            epoch: 1,
            turn: shard.0,
            hops: 0,
            asked: None,
            number: 0,
        }
    }

    /// How many changes it was told.
    pub fn told(&self) -> u64 {
        self.told.len() as u64
    }

    pub fn expects(&self, number: u64) -> bool {
        self.number == number
    }

    /// The time that was set is over, of an attempt or of a pause; or the beginning.
    pub fn wake(&mut self, hands: &mut Hands<'_>) {
        if let Some((node, connection)) = self.asked.take() {
            hands.actions.push(Action::Hangup { node, connection });
            self.leader = None;
        }
        self.attempt(hands);
    }

    /// The connection to a node broke.
    pub fn broken(&mut self, hands: &mut Hands<'_>, connection: ClientKey) {
        if self.asked.is_some_and(|(_, asked)| asked == connection) {
            self.asked = None;
            self.leader = None;
            self.pause(hands, PAUSE_US);
        }
    }

    /// A node answered.
    pub fn answered(
        &mut self,
        hands: &mut Hands<'_>,
        node: NodeId,
        connection: ClientKey,
        id: u64,
        reply: Reply,
    ) {
        if id != self.number || self.asked != Some((node, connection)) {
            return;
        }
        self.asked = None;
        hands.actions.push(Action::Hangup { node, connection });
        match reply {
            Reply::Changes { changes, upto } => {
                for change in changes {
                    let behind = self.told.last().map_or(Mark::BEGINNING, |last| last.mark).max(self.behind);
                    assert!(
                        change.mark > behind && change.mark <= upto,
                        "watch: {node} tells {} of {} behind {behind}, up to {upto}",
                        change.mark,
                        self.shard
                    );
                    self.told.push(change);
                }
                assert!(upto >= self.behind, "watch: {node} goes back from {} to {upto}", self.behind);
                (self.behind, self.leader, self.hops) = (upto, Some(node), 0);
                // At times it comes back only when much has happened.
                if hands.rng.random_bool(0.1) {
                    self.pause(hands, LAG_US);
                } else {
                    self.attempt(hands);
                }
            }
            Reply::Refused(reason) => self.refused(hands, node, &reason),
            other => panic!("watch: {other:?} is no answer"),
        }
    }

    fn refused(&mut self, hands: &mut Hands<'_>, node: NodeId, reason: &RefusalReason) {
        self.leader = None;
        match reason {
            RefusalReason::NotLeader { leader, .. } => {
                self.leader = leader.as_ref().map(|(leader, _)| *leader).filter(|&leader| leader != node);
            }
            RefusalReason::Moved { epoch, .. } => self.epoch = self.epoch.max(*epoch),
            RefusalReason::Frozen { .. } | RefusalReason::WrongGroup { .. } | RefusalReason::Busy => {}
            other => panic!("watch: nothing that happens here deserves `{other}`"),
        }
        if self.leader.is_some() && self.hops < HOPS_MAX {
            self.hops += 1;
            self.attempt(hands);
        } else {
            self.pause(hands, PAUSE_US);
        }
    }

    fn attempt(&mut self, hands: &mut Hands<'_>) {
        let node = self.leader.unwrap_or_else(|| {
            self.turn += 1;
            NodeId(1 + self.turn % u32::try_from(hands.plan.nodes).expect("a world is small"))
        });
        *hands.connections += 1;
        let connection = ClientKey(*hands.connections);
        self.number += 1;
        self.asked = Some((node, connection));
        let (of, behind) = (Interest::Prefix(Vec::new()), Some(self.behind));
        let body = RequestBody::Changes { shard: self.shard, of, behind };
        let request = Request { id: self.number, epoch: self.epoch, body };
        hands.actions.push(Action::Send { node, connection, request });
        hands.actions.push(Action::Wake { at_us: hands.now_us + ATTEMPT_US, number: self.number });
    }

    fn pause(&mut self, hands: &mut Hands<'_>, pause_us: u64) {
        (self.hops, self.number) = (0, self.number + 1);
        hands.actions.push(Action::Wake { at_us: hands.now_us + pause_us, number: self.number });
    }
}

/// A write that a client asked for.
struct Write<'a> {
    op: OpId,
    call: &'a Call,
    /// What it made and what it replaced, where that was answered.
    made: Option<(Version, Option<Version>)>,
}

impl Write<'_> {
    /// What it makes of a value.
    fn of(&self, before: Option<&[u8]>) -> Option<Vec<u8>> {
        let bytes = |value: &ordeal_history::Value| value.as_str().as_bytes().to_vec();
        match self.call {
            Call::Write(value) | Call::Cas { new: value, .. } => Some(bytes(value)),
            Call::Append(tail) => Some([before.unwrap_or_default(), &bytes(tail)].concat()),
            Call::Delete => None,
            other => panic!("watch: {other:?} is no write"),
        }
    }
}

/// The writes of each key, in the order in which they were asked for, but those that surely had no effect.
fn writes(history: &[Event]) -> BTreeMap<&str, Vec<Write<'_>>> {
    let mut calls: BTreeMap<OpId, (&str, Write<'_>)> = BTreeMap::new();
    for event in history {
        match event {
            Event::Invoke { call: Call::Read, .. } => {}
            Event::Invoke { op, key, call, .. } => {
                calls.insert(*op, (key, Write { op: *op, call, made: None }));
            }
            Event::Return { op, outcome: Outcome::Ok(_, claim), .. } => match claim.made {
                Some(made) => {
                    let version = |of: ordeal_history::Version| Version { epoch: of.epoch, index: of.index };
                    if let Some((_, write)) = calls.get_mut(op) {
                        write.made = Some((version(made), claim.replaced.map(version)));
                    }
                }
                None => _ = calls.remove(op),
            },
            Event::Return { op, outcome: Outcome::Failed(_), .. } => _ = calls.remove(op),
            Event::Return { outcome: Outcome::Unknown(_), .. } => {}
        }
    }
    let mut writes: BTreeMap<&str, Vec<Write<'_>>> = BTreeMap::new();
    for (key, write) in calls.into_values() {
        writes.entry(key).or_default().push(write);
    }
    writes
}

/// Where the newest write of each shard is that was answered, once there are no more.
pub fn newest(watchers: &[Watcher], history: &[Event]) -> Vec<Mark> {
    let shards = u32::try_from(watchers.len()).expect("a world is small");
    let mut newest = vec![Mark::BEGINNING; watchers.len()];
    for (key, writes) in writes(history) {
        let of = &mut newest[shard_of(key.as_bytes(), shards).0 as usize];
        *of = writes
            .iter()
            .filter_map(|write| write.made)
            .map(|(made, _)| Mark::behind(made))
            .fold(*of, Mark::max);
    }
    newest
}

/// Whether everybody was told up to there.
pub fn are_level(watchers: &[Watcher], newest: &[Mark]) -> bool {
    watchers.iter().zip(newest).all(|(watcher, newest)| watcher.behind >= *newest)
}

/// What was told is what was written: each write that was answered is there once, with its version, on top of the change whose version
/// it says to have replaced; and each change is some client's write.
pub fn agree(watchers: &[Watcher], history: &[Event]) {
    let shards = u32::try_from(watchers.len()).expect("a world is small");
    let writes = writes(history);
    let mut told: BTreeMap<&[u8], Vec<&Change>> = BTreeMap::new();
    for watcher in watchers {
        for change in &watcher.told {
            assert!(shard_of(&change.key, shards) == watcher.shard, "watch: {change:?} of {}", watcher.shard);
            told.entry(&change.key).or_default().push(change);
        }
    }
    for (key, writes) in &writes {
        of_key(key, writes, told.remove(key.as_bytes()).unwrap_or_default());
    }
    assert!(told.is_empty(), "watch: nobody has written {:?}", told.keys());
}

fn of_key(key: &str, writes: &[Write<'_>], told: Vec<&Change>) {
    let mut missing: BTreeMap<Version, &Write<'_>> = BTreeMap::new();
    for write in writes {
        // A key that was absent is not changed by a removal.
        let nothing = matches!((write.call, write.made), (Call::Delete, Some((_, None))));
        if let (false, Some((made, _))) = (nothing, write.made) {
            missing.insert(made, write);
        }
    }
    let mut used: BTreeSet<OpId> = BTreeSet::new();
    let (mut value, mut version): (Option<&[u8]>, Option<Version>) = (None, None);
    for change in told {
        let made = change.mark.version;
        let write = match missing.remove(&made) {
            Some(write) => {
                let replaced = write.made.and_then(|(_, replaced)| replaced);
                assert!(
                    replaced == version,
                    "watch: {made} of {key} replaced {replaced:?}, what was told before it is {version:?}"
                );
                assert!(
                    write.of(value) == change.value,
                    "watch: {made} of {key} is told as {:?}",
                    change.value
                );
                write
            }
            None => {
                let open = writes.iter().filter(|write| write.made.is_none() && !used.contains(&write.op));
                let mut open = open.filter(|write| write.of(value) == change.value);
                open.next()
                    .unwrap_or_else(|| panic!("watch: nobody made {:?} of {key} at {made}", change.value))
            }
        };
        assert!(used.insert(write.op), "watch: {made} of {key} is told twice");
        value = change.value.as_deref();
        version = value.map(|_| made);
    }
    assert!(missing.is_empty(), "watch: of {key} was never told {:?}", missing.keys());
}
