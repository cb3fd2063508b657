//! The rules of a pipelining client, without sockets and clock. Every entry takes the time; what comes of it is taken out
//! with [`Core::effect`], [`Core::writer`] and [`Core::done`].

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand_pcg::Pcg32;

use super::links::{LinkId, Links};
use super::ops::{Done, OPERATIONS_MAX, Op, OpId, Operation, Ops, Purpose, Stage};
use super::session::Session;
use crate::config::ClientConfig;
use crate::course::{Aim, Course, Next, Stop};
use crate::error::{ClientError, LinkError};
use crate::router::{Place, Router};
use crate::wire::{
    Answer, ClusterId, FrameWriter, GroupId, NodeId, ReadLevel, Reply, RequestBody, SessionId, ShardId,
    Welcome,
};

/// What the driver is to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Connect there, and shake hands.
    Dial { link: LinkId, address: String, cluster: Option<ClusterId>, node: Option<NodeId> },
    /// Close.
    Hangup { link: LinkId },
}

/// A client without a world.
#[derive(Debug)]
pub(crate) struct Core {
    pub(super) router: Router,
    cluster: Option<ClusterId>,
    deadline: Duration,
    pub(super) attempt_timeout: Duration,
    /// Connections to one node.
    lanes: usize,
    pub(super) jitter: Pcg32,
    pub(super) ops: Ops,
    pub(super) links: Links,
    pub(super) sessions: BTreeMap<ShardId, Session>,
    /// To be sent, parked or ended before the entry that put them here returns.
    pub(super) ready: VecDeque<OpId>,
    effects: VecDeque<Effect>,
    done: VecDeque<Done>,
    /// As of the last entry.
    pub(super) now: Instant,
}

impl Core {
    pub(crate) fn new(config: ClientConfig, lanes: usize, now: Instant) -> Core {
        assert!(lanes > 0, "without a connection nobody can be asked");
        Core {
            cluster: config.cluster,
            deadline: config.deadline,
            attempt_timeout: config.attempt_timeout,
            lanes,
            jitter: Pcg32::seed_from_u64(config.seed),
            router: Router::new(config),
            ops: Ops::default(),
            links: Links::default(),
            sessions: BTreeMap::new(),
            ready: VecDeque::new(),
            effects: VecDeque::new(),
            done: VecDeque::new(),
            now,
        }
    }

    /// How many operations are under way.
    pub(crate) fn under_way(&self) -> usize {
        self.ops.len()
    }

    /// Takes an operation, unless there are too many.
    pub(crate) fn submit(&mut self, now: Instant, token: u64, operation: Operation) -> Result<(), Operation> {
        // Each may need a session opened beside it.
        if self.ops.len() >= OPERATIONS_MAX / 2 {
            return Err(operation);
        }
        self.now = now;
        let course = Course::new(now, self.deadline);
        let id = self.ops.add(Purpose::Submitted(token), operation.into(), course);
        self.ready.push_back(id);
        self.run();
        Ok(())
    }

    /// A dialled link stands, and its node said this.
    pub(crate) fn welcomed(&mut self, now: Instant, id: LinkId, welcome: &Welcome) {
        let known = self.router.shards();
        let Some(link) = self.links.get(id) else { return };
        let address = link.place.address.clone();
        if let Some(shards) = known.filter(|&shards| shards != welcome.owners.len()) {
            let words = format!("it counts {} shards, others counted {shards}", welcome.owners.len());
            return self.broken(now, id, &LinkError::Protocol(words));
        }
        self.now = now;
        link.heard = now;
        self.ready.extend(link.waiting.drain(..));
        self.cluster = Some(welcome.cluster);
        self.router.welcomed(&address, welcome);
        if let Some(other) = self.links.open(id, welcome.node) {
            self.retire(other);
        }
        self.run();
    }

    /// A link could not be made, or ended. What was handed out and not answered may have been received.
    pub(crate) fn broken(&mut self, now: Instant, id: LinkId, error: &LinkError) {
        self.now = now;
        let Some(link) = self.links.remove(id) else { return };
        self.effects.push_back(Effect::Hangup { link: id });
        let place = Place { address: link.place.address.clone(), node: link.node.or(link.place.node) };
        self.router.failed(&place, now);
        if let LinkError::WrongNode { .. } = error {
            self.router.mistaken(&place.address);
        }
        for slot in 0..self.ops.slots() {
            let Some(op) = self.ops.at(slot) else { continue };
            let op_id = op.id;
            if !matches!(op.stage, Stage::Sent { link, .. } if link == id) {
                continue;
            }
            let handed_out = op_id.serial() <= link.handed_out;
            self.ops.expect(op_id).course.may_be_received |= handed_out;
            self.failed_at(op_id, &place.address, error);
        }
        for op_id in link.waiting {
            if self.ops.find(op_id).is_some() {
                self.failed_at(op_id, &place.address, error);
            }
        }
        self.run();
    }

    /// An answer came.
    pub(crate) fn answered(&mut self, now: Instant, id: LinkId, answer: Answer) {
        self.now = now;
        let Some(link) = self.links.get(id) else { return };
        link.heard = now;
        let expected = link.node.expect("answers come after the welcome");
        if answer.node != expected {
            return self.broken(now, id, &LinkError::WrongNode { found: answer.node, expected });
        }
        let op_id = OpId(answer.id);
        let Some(op) = self.ops.find(op_id) else { return };
        if !matches!(op.stage, Stage::Sent { link, .. } if link == id) {
            return;
        }
        self.request_is_over(id);
        self.judge(op_id, id, answer.node, answer.reply);
        self.run();
    }

    /// Time passes: attempts, pauses and operations end.
    pub(crate) fn tick(&mut self, now: Instant) {
        self.now = now;
        for link in self.links.dialled_too_long(now, self.attempt_timeout) {
            self.broken(now, link, &LinkError::Timeout(self.attempt_timeout));
        }
        for slot in 0..self.ops.slots() {
            let Some(op) = self.ops.at(slot) else { continue };
            let (id, deadline) = (op.id, op.course.deadline);
            match op.stage {
                Stage::Sent { link, at, patience } if now >= at + patience => {
                    self.silent(id, link, at, patience);
                }
                Stage::Paused { until } if now >= until => {
                    let id = self.ops.renew(id, Stage::Queued);
                    self.ready.push_back(id);
                }
                Stage::Queued if now >= deadline => self.stop(id, Stop::OutOfTime),
                Stage::Queued | Stage::Sent { .. } | Stage::Paused { .. } => {}
            }
        }
        self.run();
    }

    /// The next thing to do.
    pub(crate) fn effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// A link that has something new to send.
    pub(crate) fn dirty(&mut self) -> Option<LinkId> {
        self.links.dirty.first().copied()
    }

    /// What a link has to send, which counts as received from now on.
    pub(crate) fn writer(&mut self, link: LinkId) -> Option<&mut FrameWriter> {
        self.links.writer(link, self.ops.serial())
    }

    /// The next outcome.
    pub(crate) fn done(&mut self) -> Option<Done> {
        self.done.pop_front()
    }

    /// Goes on with everything that can go on.
    fn run(&mut self) {
        while let Some(id) = self.ready.pop_front() {
            if self.ops.find(id).is_some()
                && let Err(stop) = self.advance(id)
            {
                self.stop(id, stop);
            }
        }
    }

    /// Sends an operation, or parks it with what it needs first.
    fn advance(&mut self, id: OpId) -> Result<(), Stop> {
        let now = self.now;
        let op = self.ops.expect(id);
        op.course.left(now).ok_or(Stop::OutOfTime)?;
        if op.shard.is_none() {
            op.shard = match &op.body {
                RequestBody::Read { key, .. } | RequestBody::Write { key, .. } => self.router.shard(key),
                RequestBody::OpenSession { shard } | RequestBody::Changes { shard, .. } => Some(*shard),
                _ => None,
            };
        }
        let Some(shard) = op.shard else {
            // Whoever says welcome says how many shards there are.
            self.link_for(id, Aim::Anyone)?;
            return Ok(());
        };
        let aim = match op.body {
            RequestBody::Read { level: ReadLevel::Stale, .. } => Aim::Anyone,
            _ => Aim::Leader(shard),
        };
        if matches!(op.body, RequestBody::Write { .. }) && op.number.is_none() && !self.number(id, shard) {
            return Ok(());
        }
        match self.link_for(id, aim)? {
            Some((node, _)) if aim == Aim::Anyone && self.router.would_rather_than(node, now) => {
                self.next(id, Next::Follow);
                Ok(())
            }
            Some((_, link)) => self.send(id, aim, link),
            None => Ok(()),
        }
    }

    /// Gives a write its number in the session of its shard, or parks it with the session.
    fn number(&mut self, id: OpId, shard: ShardId) -> bool {
        let session = self.sessions.entry(shard).or_insert_with(|| {
            let course = Course::new(self.now, self.deadline);
            let body = RequestBody::OpenSession { shard };
            self.ready.push_back(self.ops.add(Purpose::Session(shard), body, course));
            Session::default()
        });
        let Some(number) = session.number() else {
            session.waiting.push_back(id);
            return false;
        };
        let op = self.ops.expect(id);
        op.number = Some(number);
        if let RequestBody::Write { session, sequence, .. } = &mut op.body {
            (*session, *sequence) = number;
        }
        true
    }

    /// An open link for an attempt, with its node; none when the operation is parked until there is one.
    fn link_for(&mut self, id: OpId, aim: Aim) -> Result<Option<(NodeId, LinkId)>, Stop> {
        let lane = id.slot() % self.lanes;
        let op = self.ops.expect(id);
        op.course.attempt();
        if let Aim::Leader(shard) = aim
            && let Some(node) = self.router.leading(self.router.group(shard).unwrap_or(GroupId(0)))
            && let Some(link) = self.links.to(node, lane)
        {
            return Ok(Some((node, link)));
        }
        let untroubled = op.course.is_untroubled();
        let place = self.choose(untroubled, aim, lane);
        if let Some(node) = place.node
            && let Some(link) = self.links.to(node, lane)
        {
            return Ok(Some((node, link)));
        }
        let link = self.links.dialled(Some(&place.address), lane).unwrap_or_else(|| {
            let link = self.links.dial(place.clone(), lane, self.now);
            let (address, node) = (place.address, place.node);
            self.effects.push_back(Effect::Dial { link, address, cluster: self.cluster, node });
            link
        });
        self.links.get(link).expect("dialled").waiting.push(id);
        Ok(None)
    }

    /// The leader, for who wants one; else, as long as nothing went wrong, the preferred node or one that is connected or
    /// dialled already; else the next in turn.
    fn choose(&mut self, untroubled: bool, aim: Aim, lane: usize) -> Place {
        let now = self.now;
        let hidden = aim == Aim::Anyone && self.router.is_preferred_hidden(now);
        let known = match aim {
            Aim::Leader(_) | Aim::Group(_) => {
                let group = self.group(aim);
                let leader = self.router.leader(group, now).or_else(|| self.router.member(group, now));
                leader.or_else(|| self.router.preferred(now).filter(|_| untroubled))
            }
            Aim::Anyone => self.router.preferred(now),
        };
        if let Some(place) = known {
            return place;
        }
        if untroubled && !hidden {
            let connected = self.links.any_open(lane).and_then(|node| self.router.place_of(node));
            let dialled = self.links.dialled(None, lane);
            let dialled = dialled.and_then(|link| self.links.get(link)).map(|link| link.place.clone());
            if let Some(place) = connected.or(dialled) {
                return place;
            }
        }
        self.router.next_in_turn(now)
    }

    fn send(&mut self, id: OpId, aim: Aim, link: LinkId) -> Result<(), Stop> {
        let group = self.group(aim);
        let (now, attempt_timeout) = (self.now, self.attempt_timeout);
        let op = self.ops.expect(id);
        let patience = op.course.patience(now, attempt_timeout, &op.body)?;
        if let (RequestBody::Write { settled, .. }, Some(shard)) = (&mut op.body, op.shard)
            && let Some(session) = self.sessions.get(&shard).filter(|s| s.id == op.number.map(|(id, _)| id))
        {
            *settled = session.settled();
        }
        let epoch = op.shard.map_or(0, |shard| self.router.epoch(shard));
        let id = self.ops.renew(id, Stage::Sent { link, at: now, patience });
        self.links.push(link, group, id, epoch, &self.ops.expect(id).body);
        Ok(())
    }

    /// One request less is under way there; a retired link ends with the last.
    pub(super) fn request_is_over(&mut self, id: LinkId) {
        let Some(link) = self.links.get(id) else { return };
        link.unanswered -= 1;
        if link.retired && link.unanswered == 0 {
            self.links.remove(id);
            self.effects.push_back(Effect::Hangup { link: id });
        }
    }

    pub(super) fn retire(&mut self, id: LinkId) {
        if self.links.retire(id) {
            self.links.remove(id);
            self.effects.push_back(Effect::Hangup { link: id });
        }
    }

    /// Ends an operation without an answer.
    pub(super) fn stop(&mut self, id: OpId, stop: Stop) {
        let now = self.now;
        let op = self.ops.expect(id);
        // A read has no effect, and an opening that was lost none on any key: a session too many expires by itself.
        if !matches!(op.body, RequestBody::Write { .. }) {
            op.course.may_be_received = false;
        }
        let course = std::mem::replace(&mut op.course, Course::new(now, Duration::ZERO));
        if let Purpose::Session(shard) = op.purpose {
            self.ops.remove(id);
            return self.unopened(shard, &course, &stop);
        }
        self.finish(id, Err(course.error(stop, now)));
    }

    /// A session could not be opened. Who has more time than was given to that tries again, unless it makes no sense.
    fn unopened(&mut self, shard: ShardId, course: &Course, stop: &Stop) {
        let Some(session) = self.sessions.remove(&shard) else { return };
        for id in session.waiting {
            let Some(op) = self.ops.find(id) else { continue };
            if matches!(stop, Stop::OutOfTime) && op.course.deadline > course.deadline {
                self.ready.push_back(id);
                continue;
            }
            op.course.inherit(course);
            self.stop(id, stop.clone());
        }
    }

    pub(super) fn finish(&mut self, id: OpId, outcome: Result<(NodeId, Reply), ClientError>) {
        let Op { purpose, body, shard, number, .. } = self.ops.remove(id);
        match purpose {
            Purpose::Submitted(token) => {
                if let (Some(shard), Some((session, sequence))) = (shard, number) {
                    self.settled(shard, session, sequence);
                }
                self.done.push_back(Done { token, operation: Operation::of(body), outcome });
            }
            Purpose::Session(shard) => {
                let Ok((_, Reply::SessionOpened(id))) = outcome else {
                    unreachable!("an opening ends here with its answer")
                };
                let Some(session) = self.sessions.get_mut(&shard) else { return };
                session.id = Some(id);
                self.ready.extend(session.waiting.drain(..));
            }
        }
    }

    /// A number is over. One who waited for room in the window goes on.
    fn settled(&mut self, shard: ShardId, id: SessionId, sequence: u64) {
        let Some(session) = self.sessions.get_mut(&shard).filter(|session| session.id == Some(id)) else {
            return;
        };
        session.settle(sequence);
        let room = session.room().min(session.waiting.len());
        self.ready.extend(session.waiting.drain(..room));
    }

    pub(super) fn group(&self, aim: Aim) -> GroupId {
        match aim {
            Aim::Leader(shard) => self.router.group(shard).unwrap_or(GroupId(0)),
            Aim::Group(group) => group,
            Aim::Anyone => GroupId(0),
        }
    }
}
