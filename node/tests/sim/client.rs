//! A client as the library is one, without its threads: the same choice of a node, the same sequence number on every
//! retry, pauses, one deadline, and three outcomes kept apart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ordeal_client::wire::{
    GroupId, NodeId, Owner, ReadLevel, RefusalReason, Reply, Request, RequestBody, SessionId, ShardId,
    Version, WriteOp, shard_of,
};
use ordeal_history::{Answer, Call, Claim, ClientId, Event, OpId, Outcome, Value};
use ordeal_node::engine::ClientKey;
use rand::RngExt;
use rand_pcg::Pcg32;

use crate::plan::{Plan, SECOND_US};
use crate::script::CallKind;

/// Time for one attempt at one node, pauses, and hints followed in a row, as in the library.
const ATTEMPT_US: u64 = SECOND_US / 2;
const PAUSE_FIRST_US: u64 = 5_000;
const PAUSE_MAX_US: u64 = 200_000;
const HOPS_MAX: u32 = 3;

/// What a client wants done.
#[derive(Debug)]
pub enum Action {
    /// Send this to that node.
    Send { node: NodeId, connection: ClientKey, request: Request },
    /// End this connection.
    Hangup { node: NodeId, connection: ClientKey },
    /// Wake me then, with this number.
    Wake { at_us: u64, number: u64 },
    /// The operation is over, answered or not; its slot, and which key of the slot it was on.
    Finished { slot: Option<(usize, u64)>, answered: bool, unknown: bool },
}

/// What a client may use while it acts.
#[derive(Debug)]
pub struct Hands<'a> {
    pub now_us: u64,
    pub plan: &'a Plan,
    pub rng: &'a mut Pcg32,
    pub actions: Vec<Action>,
    pub history: &'a mut Vec<Event>,
    pub sessions: &'a mut Sessions,
    pub operations: &'a mut u64,
    pub connections: &'a mut u64,
}

/// The sessions of clients that share them, a shard one.
#[derive(Debug, Clone, Default)]
pub struct Sessions(BTreeMap<ShardId, Shared>);

#[derive(Debug, Clone)]
struct Shared {
    session: SessionId,
    next: u64,
    /// Sequence numbers that somebody still asks for.
    open: BTreeSet<u64>,
}

/// A client.
#[derive(Debug)]
pub struct Client {
    id: ClientId,
    leaders: BTreeMap<GroupId, NodeId>,
    /// Who owns what, where that was heard.
    owners: BTreeMap<ShardId, Owner>,
    connections: BTreeMap<NodeId, ClientKey>,
    /// The next node to ask when nobody knows better.
    turn: u32,
    open: Option<Open>,
    /// Number of the attempt or pause under way: what belongs to another is out of date.
    number: u64,
    /// Values seen last, for compare-and-sets that have a chance.
    seen: BTreeMap<Arc<str>, Option<Value>>,
}

#[derive(Debug)]
struct Open {
    op: OpId,
    key: Arc<str>,
    slot: Option<(usize, u64)>,
    shard: ShardId,
    call: Call,
    deadline_us: u64,
    /// Session and sequence of a write, once they are there: the same on every retry.
    turn: Option<(SessionId, u64)>,
    asked: Option<NodeId>,
    may_be_received: bool,
    hops: u32,
    pauses: u32,
}

impl Client {
    pub fn new(id: u32) -> Self {
        Client {
            id: ClientId(id),
            leaders: BTreeMap::new(),
            owners: BTreeMap::new(),
            connections: BTreeMap::new(),
            turn: id,
            open: None,
            number: 0,
            seen: BTreeMap::new(),
        }
    }

    pub fn is_idle(&self) -> bool {
        self.open.is_none()
    }

    /// Whether a wake-up of this number is of now.
    pub fn expects(&self, number: u64) -> bool {
        self.number == number
    }

    /// Begins an operation that has so much time.
    pub fn begin(
        &mut self,
        hands: &mut Hands<'_>,
        key: &str,
        slot: Option<(usize, u64)>,
        call: Call,
        time_us: u64,
    ) {
        assert!(self.open.is_none(), "one operation at a time");
        *hands.operations += 1;
        let op = OpId(*hands.operations);
        let key: Arc<str> = key.into();
        let shard = shard_of(key.as_bytes(), u32::try_from(hands.plan.shards).expect("a world is small"));
        let (client, time_ns) = (self.id, hands.now_us * 1_000);
        hands.history.push(Event::Invoke { op, client, key: key.clone(), call: call.clone(), time_ns });
        self.open = Some(Open {
            op,
            key,
            slot,
            shard,
            call,
            deadline_us: hands.now_us + time_us,
            turn: None,
            asked: None,
            may_be_received: false,
            hops: 0,
            pauses: 0,
        });
        self.attempt(hands);
    }

    /// The call of a kind that this client makes next on a key.
    pub fn call(&self, kind: CallKind, key: &str, number: u64) -> Call {
        let value = Value::from(format!("{}.{number};", self.id.0));
        match kind {
            CallKind::Read => Call::Read,
            CallKind::Write => Call::Write(value),
            CallKind::Append => Call::Append(value),
            CallKind::Cas => Call::Cas { expected: self.seen.get(key).cloned().flatten(), new: value },
            CallKind::Delete => Call::Delete,
        }
    }

    /// The time that was set is over: of an attempt, or of a pause.
    pub fn wake(&mut self, hands: &mut Hands<'_>) {
        let Some(open) = &mut self.open else { return };
        match open.asked.take() {
            Some(node) => {
                self.lost(hands, node);
                self.pause(hands);
            }
            None => self.attempt(hands),
        }
    }

    /// The connection to a node broke.
    pub fn broken(&mut self, hands: &mut Hands<'_>, node: NodeId, connection: ClientKey) {
        if self.connections.get(&node) != Some(&connection) {
            return;
        }
        self.connections.remove(&node);
        if let Some(open) = &mut self.open
            && open.asked == Some(node)
        {
            open.asked = None;
            self.lost(hands, node);
            self.pause(hands);
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
        let current = id == self.number && self.connections.get(&node) == Some(&connection);
        let Some(open) = self.open.as_mut().filter(|open| current && open.asked == Some(node)) else {
            return;
        };
        open.asked = None;
        let opening = open.turn.is_none() && open.call != Call::Read;
        match reply {
            Reply::SessionOpened(session) => {
                assert!(opening, "a session is opened by who asked for one");
                hands.sessions.opened(open.shard, session);
                self.attempt(hands);
            }
            Reply::Refused(reason) => self.refused(hands, node, reason),
            Reply::Unknown => {
                open.may_be_received |= !opening;
                self.pause(hands);
            }
            Reply::Value(found) => {
                let seen = found.as_ref().map(|&(_, version)| history_version(version));
                let value = found.map(|(value, _)| text(value));
                self.seen.insert(open.key.clone(), value.clone());
                self.finish(hands, Some(node), Outcome::Ok(Answer::Value(value), Claim::seen(seen)));
            }
            Reply::Written { made, replaced } => {
                let done = if matches!(open.call, Call::Cas { .. }) { Answer::CasDone } else { Answer::Done };
                let (made, replaced) = (Some(history_version(made)), replaced.map(history_version));
                self.finish(hands, Some(node), Outcome::Ok(done, Claim::made(made, replaced)));
            }
            Reply::CasFailed { found } => {
                let seen = found.as_ref().map(|&(_, version)| history_version(version));
                let value = found.map(|(value, _)| text(value));
                self.seen.insert(open.key.clone(), value.clone());
                let answer = value.map_or(Answer::CasFailedAbsent, |value| Answer::CasFailed(Some(value)));
                self.finish(hands, Some(node), Outcome::Ok(answer, Claim::seen(seen)));
            }
            Reply::Status(_)
            | Reply::Members { .. }
            | Reply::Transferring { .. }
            | Reply::Configuration(_)
            | Reply::Decided(_)
            | Reply::Changes { .. }
            | Reply::Txn { .. } => panic!("nobody asked for that"),
        }
    }

    fn refused(&mut self, hands: &mut Hands<'_>, node: NodeId, reason: RefusalReason) {
        let open = self.open.as_mut().expect("an operation is open");
        match reason {
            RefusalReason::NotLeader { group, leader } => {
                // A node that knows better, or worse: whoever is asked next says so.
                let known = self.owners.get(&open.shard).map_or(1, |owner| owner.epoch);
                self.owners.insert(open.shard, Owner { group, epoch: known });
                let hint = leader.map(|(leader, _)| leader).filter(|&leader| leader != node);
                match hint {
                    Some(leader) => self.leaders.insert(group, leader),
                    None => self.leaders.remove(&group),
                };
                if hint.is_some() && open.hops < HOPS_MAX {
                    open.hops += 1;
                    self.attempt(hands);
                } else {
                    self.pause(hands);
                }
            }
            RefusalReason::Moved { shard, epoch, group } => {
                let known = self.owners.entry(shard).or_insert(Owner { group, epoch: 0 });
                if known.epoch < epoch && open.hops < HOPS_MAX {
                    *known = Owner { group, epoch };
                    open.hops += 1;
                    self.attempt(hands);
                } else {
                    self.pause(hands);
                }
            }
            // Another node may know where the shard is.
            RefusalReason::WrongGroup { .. } => {
                self.leaders.retain(|_, leader| *leader != node);
                self.pause(hands);
            }
            RefusalReason::Busy
            | RefusalReason::DiskFull
            | RefusalReason::Frozen { .. }
            | RefusalReason::WindowFull { .. } => {
                self.pause(hands);
            }
            RefusalReason::SessionUnknown | RefusalReason::SequencePast => {
                if let Some((session, _)) = open.turn {
                    hands.sessions.lost(open.shard, session);
                }
                if open.may_be_received {
                    self.finish(hands, None, Outcome::Unknown(reason.to_string()));
                } else {
                    open.turn = None;
                    self.pause(hands);
                }
            }
            RefusalReason::TooLong { .. }
            | RefusalReason::Stopping
            | RefusalReason::MembersBusy
            | RefusalReason::Compacted { .. }
            | RefusalReason::Unfit(_) => panic!("nothing in this workload deserves `{reason}`"),
        }
    }

    fn attempt(&mut self, hands: &mut Hands<'_>) {
        let open = self.open.as_mut().expect("an operation is open");
        if open.turn.is_none() && open.call != Call::Read {
            open.turn = hands.sessions.take(open.shard);
        }
        let key = open.key.as_bytes().to_vec();
        let body = match (&open.call, open.turn) {
            (Call::Read, _) => RequestBody::Read { key, level: hands.plan.read_level(self.id.0) },
            (_, None) => RequestBody::OpenSession { shard: open.shard },
            (call, Some((session, sequence))) => {
                let settled = hands.sessions.settled(open.shard, session, sequence);
                RequestBody::Write { session, sequence, settled, key, op: op_of(call) }
            }
        };
        let group = owner(&self.owners, hands.plan, open.shard);
        let anyone = matches!(body, RequestBody::Read { level: ReadLevel::Stale | ReadLevel::Follower, .. });
        let node = self.leaders.get(&group).copied().filter(|_| !anyone).unwrap_or_else(|| {
            self.turn += 1;
            NodeId(1 + self.turn % u32::try_from(hands.plan.nodes).expect("a world is small"))
        });
        open.asked = Some(node);
        let connection = *self.connections.entry(node).or_insert_with(|| {
            *hands.connections += 1;
            ClientKey(*hands.connections)
        });
        let at_us = (hands.now_us + ATTEMPT_US).min(open.deadline_us.max(hands.now_us + 1));
        self.number += 1;
        let epoch = self.owners.get(&open.shard).map_or(1, |owner| owner.epoch);
        let request = Request { id: self.number, epoch, body };
        hands.actions.push(Action::Send { node, connection, request });
        hands.actions.push(Action::Wake { at_us, number: self.number });
    }

    /// No answer came to an attempt, and none will: the connection is given up.
    fn lost(&mut self, hands: &mut Hands<'_>, node: NodeId) {
        let open = self.open.as_mut().expect("an operation is open");
        open.may_be_received |= open.turn.is_some();
        self.leaders.retain(|_, leader| *leader != node);
        if let Some(connection) = self.connections.remove(&node) {
            hands.actions.push(Action::Hangup { node, connection });
        }
    }

    fn pause(&mut self, hands: &mut Hands<'_>) {
        let open = self.open.as_mut().expect("an operation is open");
        let full = (PAUSE_FIRST_US << open.pauses.min(10)).min(PAUSE_MAX_US);
        let at_us = hands.now_us + hands.rng.random_range(full / 2..=full);
        open.pauses += 1;
        open.hops = 0;
        if at_us < open.deadline_us {
            self.number += 1;
            hands.actions.push(Action::Wake { at_us, number: self.number });
        } else if open.may_be_received {
            self.finish(hands, None, Outcome::Unknown("no answer in time".to_owned()));
        } else {
            self.finish(hands, None, Outcome::Failed("no node took it in time".to_owned()));
        }
    }

    fn finish(&mut self, hands: &mut Hands<'_>, node: Option<NodeId>, outcome: Outcome) {
        let open = self.open.take().expect("an operation is open");
        if let Some((session, sequence)) = open.turn {
            hands.sessions.over(open.shard, session, sequence);
        }
        let (answered, unknown) =
            (matches!(outcome, Outcome::Ok(..)), matches!(outcome, Outcome::Unknown(_)));
        if let (true, Some(node)) = (answered, node) {
            self.leaders.insert(owner(&self.owners, hands.plan, open.shard), node);
        }
        let (time_ns, node) = (hands.now_us * 1_000, node.map(|node| node.to_string().into()));
        hands.history.push(Event::Return { op: open.op, time_ns, outcome, node });
        self.number += 1;
        hands.actions.push(Action::Finished { slot: open.slot, answered, unknown });
    }
}

impl Sessions {
    /// The next turn in the session of a shard, if there is one.
    fn take(&mut self, shard: ShardId) -> Option<(SessionId, u64)> {
        let shared = self.0.get_mut(&shard)?;
        let sequence = shared.next;
        shared.next += 1;
        shared.open.insert(sequence);
        Some((shared.session, sequence))
    }

    /// Somebody opened one; another may have been faster.
    fn opened(&mut self, shard: ShardId, session: SessionId) {
        self.0.entry(shard).or_insert(Shared { session, next: 1, open: BTreeSet::new() });
    }

    /// The cluster does not know it any more.
    fn lost(&mut self, shard: ShardId, session: SessionId) {
        if self.0.get(&shard).is_some_and(|shared| shared.session == session) {
            self.0.remove(&shard);
        }
    }

    /// Nobody will ask for this one again.
    fn over(&mut self, shard: ShardId, session: SessionId, sequence: u64) {
        if let Some(shared) = self.0.get_mut(&shard).filter(|shared| shared.session == session) {
            shared.open.remove(&sequence);
        }
    }

    /// Up to here all are over, as far as who asks for this one knows.
    fn settled(&self, shard: ShardId, session: SessionId, sequence: u64) -> u64 {
        let shared = self.0.get(&shard).filter(|shared| shared.session == session);
        shared.and_then(|shared| shared.open.first()).map_or(sequence - 1, |first| first - 1)
    }
}

fn owner(known: &BTreeMap<ShardId, Owner>, plan: &Plan, shard: ShardId) -> GroupId {
    if let Some(owner) = known.get(&shard) {
        return owner.group;
    }
    let groups = u32::try_from(plan.groups_first()).expect("a world is small");
    GroupId(1 + shard.0 % groups)
}

fn op_of(call: &Call) -> WriteOp {
    let bytes = |value: &Value| value.as_str().as_bytes().to_vec();
    match call {
        Call::Read => panic!("a read is no write"),
        Call::Txn(_) => panic!("these clients ask for no transactions"),
        Call::Write(value) => WriteOp::Put(bytes(value)),
        Call::Append(value) => WriteOp::Append(bytes(value)),
        Call::Delete => WriteOp::Delete,
        Call::Cas { expected, new } => {
            WriteOp::Cas { expected: expected.as_ref().map(bytes), new: bytes(new) }
        }
    }
}

fn text(value: Vec<u8>) -> Value {
    Value::from(String::from_utf8(value).expect("this workload writes text"))
}

fn history_version(version: Version) -> ordeal_history::Version {
    ordeal_history::Version { epoch: version.epoch, index: version.index }
}
