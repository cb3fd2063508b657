//! One operation against a cluster: attempt after attempt, at whichever node seems right, with pauses between, all under
//! one deadline. It keeps count of the one thing that matters afterwards: may any attempt have been received?

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand_pcg::Pcg32;

use crate::config::ClientConfig;
use crate::course::{Aim, Course, Next, Stop, answers};
use crate::error::LinkError;
use crate::link::{CallError, Expect, Link};
use crate::router::{Place, Router};
use crate::wire::{ClusterId, GroupId, NodeId, Owner, RefusalReason, Reply, Request, RequestBody, ShardId};

/// Open connections, one a node: more than any sensible cluster has nodes, far fewer than a process may have files.
const LINKS_MAX: usize = 32;

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
        let mut request = Request { id: 0, epoch: 0, body };
        loop {
            let next = match self.attempt(course, aim, &mut request)? {
                Ok(answer) => return Ok(answer),
                Err(next) => next,
            };
            match next {
                Next::Follow if course.hop() => {}
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
        let timeout = course.patience(Instant::now(), self.attempt_timeout, &request.body)?;
        request.epoch = match aim {
            Aim::Leader(shard) => self.router.epoch(shard),
            Aim::Group(_) | Aim::Anyone => 0,
        };
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
                if aim != Aim::Anyone {
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
                let follow = self.router.hinted(node, group, leader.as_ref());
                Ok(if follow { Next::Follow } else { Next::Pause })
            }
            RefusalReason::Busy
            | RefusalReason::DiskFull
            | RefusalReason::WindowFull { .. }
            | RefusalReason::MembersBusy
            | RefusalReason::Frozen { .. } => Ok(Next::Pause),
            // The map is out of date, or the node is going: the next handshake tells the news.
            RefusalReason::Moved { shard, epoch, group } => {
                let news = self.router.moved(shard, Owner { group, epoch });
                Ok(if news { Next::Follow } else { Next::Pause })
            }
            RefusalReason::WrongGroup { .. } | RefusalReason::Stopping => {
                self.links.remove(&node);
                self.router.forget_leader(self.group(aim));
                Ok(Next::Pause)
            }
            reason @ (RefusalReason::SessionUnknown | RefusalReason::SequencePast) => {
                Err(Stop::SessionLost { node, reason })
            }
            reason @ (RefusalReason::TooLong { .. }
            | RefusalReason::Unfit(_)
            | RefusalReason::Compacted { .. }) => Err(Stop::Refused { node, reason }),
        }
    }

    fn group(&self, aim: Aim) -> GroupId {
        match aim {
            Aim::Leader(shard) => self.router.group(shard).unwrap_or(GroupId(0)),
            Aim::Group(group) => group,
            Aim::Anyone => GroupId(0),
        }
    }

    /// The leader, for who wants one; else, as long as nothing went wrong, the preferred node or one that is connected
    /// already; else the next in turn.
    fn choose(&mut self, course: &Course, aim: Aim) -> Place {
        let now = Instant::now();
        let untroubled = course.is_untroubled();
        let hidden = aim == Aim::Anyone && self.router.is_preferred_hidden(now);
        let known = match aim {
            Aim::Leader(_) | Aim::Group(_) => {
                let group = self.group(aim);
                let leader = self.router.leader(group, now).or_else(|| self.router.member(group, now));
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
        let attempt = course.attempt_time(self.attempt_timeout);
        let timeout = course.left(Instant::now()).ok_or(Stop::OutOfTime)?.min(attempt);
        course.attempt();
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
                if course.met_only_strangers(self.router.endpoints()) {
                    return Err(Stop::Strangers(format!("{}: {error}", place.address)));
                }
                Ok(None)
            }
        }
    }

    fn give_up_on(&mut self, course: &mut Course, place: &Place, error: &LinkError) {
        course.failed(&place.address, error, self.attempt_timeout);
        self.router.failed(place, Instant::now());
        if let LinkError::WrongNode { .. } = error {
            self.router.mistaken(&place.address);
        }
    }

    /// Waits a little, longer each time, never in step with other clients, and never beyond the deadline.
    pub(crate) fn pause(&mut self, course: &mut Course) -> Result<(), Stop> {
        let pause = course.pause(Instant::now(), &mut self.jitter)?;
        thread::sleep(pause);
        Ok(())
    }
}
