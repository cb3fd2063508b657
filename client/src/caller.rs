//! One operation against a cluster: attempt after attempt, at whichever node seems right, with pauses between, all under
//! one deadline. It keeps count of the one thing that matters afterwards: may any attempt have been received?

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;

use crate::config::ClientConfig;
use crate::error::{ClientError, LinkError, Tries};
use crate::link::{CallError, Expect, Link};
use crate::router::{Place, Router};
use crate::wire::{ClusterId, GroupId, NodeId, RefusalReason, Reply, Request, RequestBody, ShardId, WriteOp};

/// The first pause: about one heartbeat of a quick cluster, or a few syncs.
const PAUSE_FIRST: Duration = Duration::from_millis(5);
/// The longest pause: a new leader is found within a fifth of a second.
const PAUSE_MAX: Duration = Duration::from_millis(200);
/// Hints followed in a row without a pause: a chain of true ones is shorter, a circle of stale ones is not.
const HOPS_MAX: u32 = 3;
/// A retry gets at least this share (one fourth) of an attempt's time, or is not begun: with a millisecond left it would
/// hardly be answered, and only turn a write that is surely not done into an unknown one.
const ATTEMPT_SHARE_MIN: u32 = 4;
/// Open connections, one a node: more than any sensible cluster has nodes, far fewer than a process may have files.
const LINKS_MAX: usize = 32;

/// Whom a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aim {
    /// The leader of the shard's group.
    Leader(ShardId),
    /// The preferred node, else any.
    Anyone,
}

/// Why an operation ended without an answer.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Its time is over.
    OutOfTime,
    /// The session is of no use any more.
    SessionLost { node: NodeId, reason: RefusalReason },
    /// Refused, and a retry would be refused again.
    Refused { node: NodeId, reason: RefusalReason },
    /// No endpoint is of this cluster.
    Strangers(String),
}

/// The course of one operation.
#[derive(Debug)]
pub(crate) struct Course {
    started: Instant,
    deadline: Instant,
    attempts: u32,
    pauses: u32,
    hops: u32,
    last: Option<String>,
    /// Endpoints that turned out to be of another cluster or protocol.
    strangers: BTreeSet<String>,
    /// Whether an attempt may have been received of which no definite answer came.
    pub(crate) may_be_received: bool,
}

impl Course {
    pub(crate) fn new(time: Duration) -> Course {
        let started = Instant::now();
        Course {
            started,
            deadline: started + time,
            attempts: 0,
            pauses: 0,
            hops: 0,
            last: None,
            strangers: BTreeSet::new(),
            may_be_received: false,
        }
    }

    fn left(&self) -> Option<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// The error that tells what `stop` means for this operation: once an attempt may have been received, nothing but
    /// a definite answer makes it known again.
    pub(crate) fn error(self, stop: Stop) -> ClientError {
        let refusal = match &stop {
            Stop::SessionLost { node, reason } | Stop::Refused { node, reason } => {
                Some(format!("{node}: {reason}"))
            }
            Stop::OutOfTime | Stop::Strangers(_) => None,
        };
        let tries =
            Tries { attempts: self.attempts, after: self.started.elapsed(), last: refusal.or(self.last) };
        if self.may_be_received {
            return ClientError::Unknown(tries);
        }
        match stop {
            Stop::OutOfTime => ClientError::Unavailable(tries),
            Stop::Strangers(last) => ClientError::Strangers(last),
            Stop::SessionLost { node, reason } => ClientError::Refused { node, reason },
            Stop::Refused { node, reason } => match reason {
                RefusalReason::TooLong { what, bytes, limit } => ClientError::TooLong { what, bytes, limit },
                reason => ClientError::Refused { node, reason },
            },
        }
    }
}

/// What to do after an attempt that was no answer.
enum Next {
    /// Try elsewhere at once, for somebody said where; a few times in a row at most.
    Follow,
    /// Pause first.
    Pause,
}

/// Connections, what is known of the cluster, and the patience to use both.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) router: Router,
    links: BTreeMap<NodeId, Link>,
    cluster: Option<ClusterId>,
    attempt_timeout: Duration,
    jitter: Pcg32,
    next_id: u64,
}

impl Caller {
    pub(crate) fn new(config: ClientConfig) -> Caller {
        Caller {
            links: BTreeMap::new(),
            cluster: config.cluster,
            attempt_timeout: config.attempt_timeout,
            jitter: Pcg32::seed_from_u64(config.seed),
            next_id: 1,
            router: Router::new(config),
        }
    }

    /// The shard of a key; asks around first when nobody has said yet how many there are.
    pub(crate) fn shard(&mut self, course: &mut Course, key: &[u8]) -> Result<ShardId, Stop> {
        loop {
            if let Some(shard) = self.router.shard(key) {
                return Ok(shard);
            }
            let place = self.choose(course, Aim::Anyone);
            if self.link(course, &place)?.is_none() {
                self.pause(course)?;
            }
        }
    }

    /// Sends a request until it has an answer: `Value`, `Written`, `CasFailed` or `SessionOpened`, as fits the request.
    pub(crate) fn ask(
        &mut self,
        course: &mut Course,
        aim: Aim,
        body: RequestBody,
    ) -> Result<(NodeId, Reply), Stop> {
        let mut request = Request { id: 0, body };
        loop {
            let next = match self.attempt(course, aim, &mut request)? {
                Ok(answer) => return Ok(answer),
                Err(next) => next,
            };
            match next {
                Next::Follow if course.hops < HOPS_MAX => course.hops += 1,
                Next::Follow | Next::Pause => self.pause(course)?,
            }
        }
    }

    /// One attempt at one node.
    fn attempt(
        &mut self,
        course: &mut Course,
        aim: Aim,
        request: &mut Request,
    ) -> Result<Result<(NodeId, Reply), Next>, Stop> {
        let place = self.choose(course, aim);
        let Some(node) = self.link(course, &place)? else { return Ok(Err(Next::Pause)) };
        if aim == Aim::Anyone && self.router.would_rather_than(node, Instant::now()) {
            return Ok(Err(Next::Follow));
        }
        let group = self.group(aim);
        let patience = self.attempt_timeout + transfer_time(&request.body);
        let timeout = course.left().ok_or(Stop::OutOfTime)?.min(patience);
        if course.last.is_some()
            && !course.may_be_received
            && timeout < self.attempt_timeout / ATTEMPT_SHARE_MIN
        {
            return Err(Stop::OutOfTime);
        }
        request.id = self.next_id;
        self.next_id += 1;
        let link = self.links.get_mut(&node).expect("linked just now");
        let place = Place { address: link.address.clone(), node: Some(node) };
        let error = match link.call(request, group, timeout) {
            Ok(answer) => return self.judge(course, aim, &request.body, node, answer.reply),
            Err(CallError::NotSent(error)) => error,
            Err(CallError::Lost(error)) => {
                course.may_be_received = true;
                error
            }
        };
        self.links.remove(&node);
        self.give_up_on(course, &place, &error);
        Ok(Err(Next::Pause))
    }

    /// What an answer means.
    fn judge(
        &mut self,
        course: &mut Course,
        aim: Aim,
        asked: &RequestBody,
        node: NodeId,
        reply: Reply,
    ) -> Result<Result<(NodeId, Reply), Next>, Stop> {
        match reply {
            Reply::Refused(reason) => {
                course.note(node, &reason.to_string());
                self.refused(aim, node, reason).map(Err)
            }
            Reply::Unknown => {
                course.note(node, "took it, and cannot tell what came of it");
                course.may_be_received = true;
                Ok(Err(Next::Pause))
            }
            reply if answers(&reply, asked) => {
                if let Aim::Leader(_) = aim {
                    self.router.leads(self.group(aim), node);
                }
                Ok(Ok((node, reply)))
            }
            _ => {
                course.note(node, "breaks the protocol: the answer does not fit the request");
                course.may_be_received = true;
                self.links.remove(&node);
                Ok(Err(Next::Pause))
            }
        }
    }

    fn refused(&mut self, aim: Aim, node: NodeId, reason: RefusalReason) -> Result<Next, Stop> {
        match reason {
            RefusalReason::NotLeader { group, leader } => {
                if group != self.group(aim) && aim != Aim::Anyone {
                    // It knows of another owner of the shard: hear the whole map at the next handshake.
                    self.links.remove(&node);
                }
                let follow = self.router.hinted(node, group, leader.as_ref(), Instant::now());
                Ok(if follow { Next::Follow } else { Next::Pause })
            }
            RefusalReason::Busy | RefusalReason::DiskFull | RefusalReason::WindowFull { .. } => {
                Ok(Next::Pause)
            }
            // The map is out of date, or the node is going: the next handshake tells the news.
            RefusalReason::WrongGroup { .. } | RefusalReason::Stopping => {
                self.links.remove(&node);
                self.router.forget_leader(self.group(aim));
                Ok(Next::Pause)
            }
            reason @ (RefusalReason::SessionUnknown | RefusalReason::SequencePast) => {
                Err(Stop::SessionLost { node, reason })
            }
            reason @ RefusalReason::TooLong { .. } => Err(Stop::Refused { node, reason }),
        }
    }

    fn group(&self, aim: Aim) -> GroupId {
        match aim {
            Aim::Leader(shard) => self.router.group(shard).unwrap_or(GroupId(0)),
            Aim::Anyone => GroupId(0),
        }
    }

    /// The leader, for who wants one; else, as long as nothing went wrong, the preferred node or one that is connected
    /// already; else the next in turn.
    fn choose(&mut self, course: &Course, aim: Aim) -> Place {
        let now = Instant::now();
        let untroubled = course.last.is_none();
        let hidden = aim == Aim::Anyone && self.router.is_preferred_hidden(now);
        let known = match aim {
            Aim::Leader(_) => {
                let leader = self.router.leader(self.group(aim), now);
                leader.or_else(|| self.router.preferred(now).filter(|_| untroubled))
            }
            Aim::Anyone => self.router.preferred(now),
        };
        let connected = || {
            self.links.keys().find_map(|&node| self.router.place_of(node)).filter(|_| untroubled && !hidden)
        };
        known.or_else(connected).unwrap_or_else(|| self.router.next_in_turn(now))
    }

    /// Makes sure that a connection to this place is open; says to which node, or `None` when the attempt failed.
    fn link(&mut self, course: &mut Course, place: &Place) -> Result<Option<NodeId>, Stop> {
        let timeout = course.left().ok_or(Stop::OutOfTime)?.min(self.attempt_timeout);
        course.attempts += 1;
        if let Some(node) = place.node.filter(|node| self.links.contains_key(node)) {
            if self.links[&node].is_open() {
                return Ok(Some(node));
            }
            self.links.remove(&node);
        }
        let expect = Expect { cluster: self.cluster, node: place.node };
        let dialled = Link::dial(&place.address, expect, timeout).and_then(|(link, welcome)| {
            match self.router.shards().filter(|&shards| shards != welcome.owners.len()) {
                None => Ok((link, welcome)),
                Some(shards) => Err(LinkError::Protocol(format!(
                    "it counts {} shards, others counted {shards}",
                    welcome.owners.len()
                ))),
            }
        });
        match dialled {
            Ok((link, welcome)) => {
                let node = link.node;
                self.cluster = Some(welcome.cluster);
                self.router.welcomed(&place.address, &welcome);
                if self.links.len() >= LINKS_MAX {
                    self.links.pop_first();
                }
                self.links.insert(node, link);
                Ok(Some(node))
            }
            Err(error) => {
                self.give_up_on(course, place, &error);
                if self.router.endpoints().all(|address| course.strangers.contains(address)) {
                    return Err(Stop::Strangers(format!("{}: {error}", place.address)));
                }
                Ok(None)
            }
        }
    }

    fn give_up_on(&mut self, course: &mut Course, place: &Place, error: &LinkError) {
        let text = format!("{}: {error}", place.address);
        if error.is_of_a_stranger() {
            course.strangers.insert(place.address.clone());
        }
        tracing::debug!(place = %place.address, %error, attempt = course.attempts, "attempt failed");
        // An attempt that the deadline cut short says less than the one before it.
        let short = self.attempt_timeout / ATTEMPT_SHARE_MIN;
        if course.last.is_none() || !matches!(error, LinkError::Timeout(time) if *time < short) {
            course.last = Some(text);
        }
        self.router.failed(place, Instant::now());
        if let LinkError::WrongNode { .. } = error {
            self.router.mistaken(&place.address);
        }
    }

    /// Waits a little, longer each time, never in step with other clients, and never beyond the deadline.
    pub(crate) fn pause(&mut self, course: &mut Course) -> Result<(), Stop> {
        let full = PAUSE_FIRST.saturating_mul(1 << course.pauses.min(10)).min(PAUSE_MAX);
        let pause = full.mul_f64(self.jitter.random_range(0.5..=1.0));
        course.pauses += 1;
        course.hops = 0;
        if course.left().is_none_or(|left| left <= pause) {
            return Err(Stop::OutOfTime);
        }
        thread::sleep(pause);
        Ok(())
    }
}

impl Course {
    fn note(&mut self, node: NodeId, what: &str) {
        tracing::debug!(%node, what, attempt = self.attempts, "no answer yet");
        self.last = Some(format!("{node}: {what}"));
    }
}

/// What is granted to long values on top of an attempt's time: 1 µs a byte, as of a network of 1 MB/s.
fn transfer_time(body: &RequestBody) -> Duration {
    let bytes = match body {
        RequestBody::Status | RequestBody::OpenSession { .. } | RequestBody::Read { .. } => 0,
        RequestBody::Write { op, .. } => match op {
            WriteOp::Put(value) | WriteOp::Append(value) => value.len(),
            WriteOp::Delete => 0,
            WriteOp::Cas { expected, new } => expected.as_ref().map_or(0, Vec::len) + new.len(),
        },
    };
    Duration::from_micros(u64::try_from(bytes).unwrap_or(u64::MAX))
}

fn answers(reply: &Reply, asked: &RequestBody) -> bool {
    match reply {
        Reply::Status(_) => matches!(asked, RequestBody::Status),
        Reply::SessionOpened(_) => matches!(asked, RequestBody::OpenSession { .. }),
        Reply::Value(_) => matches!(asked, RequestBody::Read { .. }),
        Reply::Written { .. } => matches!(asked, RequestBody::Write { .. }),
        Reply::CasFailed { .. } => matches!(asked, RequestBody::Write { op: WriteOp::Cas { .. }, .. }),
        Reply::Refused(_) | Reply::Unknown => false,
    }
}
