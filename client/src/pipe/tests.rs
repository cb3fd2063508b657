//! The core against nodes that are scripts, in virtual time: nothing here waits, and nothing depends on a machine.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;

use super::core::{Core, Effect};
use super::links::LinkId;
use super::ops::{Done, Operation};
use crate::config::ClientConfig;
use crate::error::{ClientError, LinkError};
use crate::wire::{
    Answer, ClusterId, FrameReader, GroupId, Layout, NodeId, Owner, RefusalReason, Reply, Request,
    RequestBody, SESSION_WINDOW_MAX, SessionId, Version, Welcome, WriteOp, decode,
};

const SHARDS: u32 = 4;

/// A core, its clock, and what it has sent.
struct World {
    core: Core,
    now: Instant,
    links: BTreeMap<LinkId, (NodeId, FrameReader)>,
    /// Requests that are not answered yet, in the order in which they were sent.
    asked: Vec<(LinkId, Request)>,
    done: Vec<Done>,
}

fn address(node: u32) -> String {
    format!("n{node}.test:1")
}

fn welcome(node: NodeId) -> Welcome {
    Welcome {
        cluster: ClusterId(7),
        node,
        members: (1..=3).map(|node| (NodeId(node), address(node))).collect(),
        layout: Layout { groups: 1, replicas: None, shards: SHARDS },
        owners: vec![Owner { group: GroupId(1), epoch: 1 }; SHARDS as usize],
        groups: vec![(GroupId(1), (1..=3).map(NodeId).collect())],
    }
}

impl World {
    fn new(lanes: usize) -> World {
        let now = Instant::now();
        let config = ClientConfig::new((1..=3).map(address));
        World {
            core: Core::new(config, lanes, now),
            now,
            links: BTreeMap::new(),
            asked: Vec::new(),
            done: Vec::new(),
        }
    }

    fn put(&mut self, token: u64, key: &str) {
        let op = WriteOp::Put(token.to_string().into_bytes());
        self.core.submit(self.now, token, Operation::Write { key: key.into(), op }).expect("few");
    }

    /// Does what the core wants: whoever is dialled answers with a welcome; what it sends is noted.
    fn settle(&mut self) {
        loop {
            while let Some(effect) = self.core.effect() {
                match effect {
                    Effect::Dial { link, address, .. } => {
                        let node = NodeId(address[1..2].parse().expect("a digit"));
                        self.links.insert(link, (node, FrameReader::new()));
                        self.core.welcomed(self.now, link, &welcome(node));
                    }
                    Effect::Hangup { link } => {
                        self.links.remove(&link);
                        self.asked.retain(|(of, _)| *of != link);
                    }
                }
            }
            let Some(link) = self.core.dirty() else { break };
            let writer = self.core.writer(link).expect("a link that is dirty");
            let bytes = writer.sealed().to_vec();
            writer.sent(bytes.len());
            let (_, reader) = self.links.get_mut(&link).expect("an open link");
            reader.feed(&bytes);
            while let Some(messages) = reader.next_frame().expect("frames") {
                let requests = messages.iter().map(|message| decode(&message.body).expect("a request"));
                self.asked.extend(requests.map(|request: Request| (link, request)));
            }
        }
        self.done.extend(std::iter::from_fn(|| self.core.done()));
    }

    /// Answers the request at this place of `asked`.
    fn answer(&mut self, at: usize, reply: Reply) {
        let (link, request) = self.asked.remove(at);
        self.say(link, request.id, reply);
    }

    fn say(&mut self, link: LinkId, id: u64, reply: Reply) {
        let (node, _) = self.links[&link];
        self.core.answered(self.now, link, Answer { id, node, reply });
        self.settle();
    }

    fn pass(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        self.core.tick(self.now);
        self.settle();
    }

    fn break_all(&mut self) {
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            self.core.broken(self.now, link, &LinkError::Closed);
        }
        self.settle();
    }

    /// Session and sequence of the writes under way.
    fn writes(&self) -> Vec<(u64, u64, u64)> {
        let number = |body: &RequestBody| match body {
            RequestBody::Write { session, sequence, settled, .. } => Some((session.0, *sequence, *settled)),
            _ => None,
        };
        self.asked.iter().filter_map(|(_, request)| number(&request.body)).collect()
    }

    /// The outcome with this token, taken out.
    fn outcome(&mut self, token: u64) -> Result<(NodeId, Reply), ClientError> {
        let at = self.done.iter().position(|done| done.token == token);
        self.done.remove(at.unwrap_or_else(|| panic!("{token} is not done: {:?}", self.done))).outcome
    }
}

fn written(index: u64) -> Reply {
    Reply::Written { made: Version { epoch: 1, index }, replaced: None }
}

fn opened(id: u64) -> Reply {
    Reply::SessionOpened(SessionId(id))
}

/// Puts 1 to `count` to one key are under way, in session 100.
fn under_way(count: u64) -> World {
    let mut world = World::new(1);
    (1..=count).for_each(|token| world.put(token, "k"));
    world.settle();
    assert_eq!(world.asked.len(), 1, "one session for all: {:?}", world.asked);
    world.answer(0, opened(100));
    world
}

#[test]
fn many_writes_are_under_way_in_one_session_and_answered_in_any_order() {
    let mut world = under_way(3);
    assert_eq!(world.writes(), [(100, 1, 0), (100, 2, 0), (100, 3, 0)]);
    world.answer(1, written(12));
    world.put(4, "k");
    world.settle();
    assert_eq!(world.writes()[2], (100, 4, 0), "1 may be asked for again, so nothing is settled");
    world.answer(0, written(11));
    world.put(5, "k");
    world.settle();
    assert_eq!(world.writes()[2], (100, 5, 2));
    for token in [1, 2] {
        assert_eq!(world.outcome(token).expect("answered").1, written(10 + token));
    }
    assert_eq!((world.core.under_way(), world.done.len()), (3, 0));
}

#[test]
fn every_retry_carries_the_same_session_and_sequence() {
    let mut world = under_way(2);
    for trouble in 0..5 {
        let mut writes = world.writes();
        writes.sort_unstable(); // pauses differ
        assert_eq!(writes, [(100, 1, 0), (100, 2, 0)], "before trouble {trouble}");
        match trouble {
            0 => (0..2).for_each(|_| world.answer(0, Reply::Refused(RefusalReason::Busy))),
            1 => world.break_all(),
            2 => (0..2).for_each(|_| world.answer(0, Reply::Unknown)),
            3 => (0..2).for_each(|_| world.answer(0, Reply::Value(None))),
            _ => world.pass(510),
        }
        assert_eq!(world.writes(), [], "a pause comes first");
        world.pass(200);
        world.pass(0);
    }
    (0..2).for_each(|_| world.answer(0, written(9)));
    assert!(world.outcome(1).is_ok() && world.outcome(2).is_ok());
}

#[test]
fn what_is_beyond_the_window_waits_its_turn() {
    let mut world = under_way(SESSION_WINDOW_MAX + 2);
    let window = usize::try_from(SESSION_WINDOW_MAX).expect("small");
    assert_eq!(world.writes().len(), window);
    world.answer(1, written(2));
    assert_eq!(world.writes().len(), window - 1, "1 holds the window");
    world.answer(0, written(1));
    assert_eq!(world.writes().len(), window, "1 and 2 are settled: two more");
    assert_eq!(world.writes()[window - 1], (100, SESSION_WINDOW_MAX + 2, 2));
}

#[test]
fn a_late_answer_is_nobodys() {
    let mut world = under_way(1);
    let (link, first) = world.asked[0].clone();
    world.answer(0, Reply::Refused(RefusalReason::Busy));
    world.say(link, first.id, written(66));
    world.pass(200);
    world.say(link, first.id, written(66));
    assert!(world.done.is_empty(), "{:?}", world.done);
    world.answer(0, written(7));
    assert_eq!(world.outcome(1).expect("answered").1, written(7));
    // Its slot belongs to the next one now.
    world.put(2, "k");
    world.settle();
    world.say(link, first.id, written(66));
    assert!(world.done.is_empty(), "{:?}", world.done);
}

#[test]
fn hints_are_followed_at_once() {
    let mut world = under_way(2);
    let asked = world.links[&world.asked[0].0].0;
    let leader = NodeId(asked.0 % 3 + 1);
    let hint = RefusalReason::NotLeader { group: GroupId(1), leader: Some((leader, address(leader.0))) };
    (0..2).for_each(|_| world.answer(0, Reply::Refused(hint.clone())));
    assert_eq!(world.writes(), [(100, 1, 0), (100, 2, 0)]);
    assert!(world.asked.iter().all(|(link, _)| world.links[link].0 == leader));
}

#[test]
fn a_lost_attempt_makes_it_unknown_and_a_refused_one_surely_not_done() {
    let mut world = under_way(2);
    let (link, second) = world.asked[1].clone();
    world.say(link, second.id, Reply::Refused(RefusalReason::Busy));
    world.break_all();
    for _ in 0..1_000 {
        world.pass(10);
        (0..world.asked.len()).for_each(|_| world.answer(0, Reply::Refused(RefusalReason::Busy)));
    }
    assert!(world.outcome(1).expect_err("never answered").may_have_happened());
    let error = world.outcome(2).expect_err("always refused");
    assert!(!error.may_have_happened() && error.to_string().contains("busy"), "{error}");
}

/// What the socket never got cannot have been received.
#[test]
fn what_was_not_handed_out_is_not_tainted_by_a_broken_link() {
    let mut world = under_way(1);
    world.put(2, "k"); // and the link breaks before anybody takes it out
    let link = world.asked[0].0;
    world.core.broken(world.now, link, &LinkError::Closed);
    world.settle();
    for _ in 0..1_000 {
        world.pass(10);
        (0..world.asked.len()).for_each(|_| world.answer(0, Reply::Refused(RefusalReason::Busy)));
    }
    assert!(world.outcome(1).expect_err("lost once").may_have_happened());
    assert!(!world.outcome(2).expect_err("refused").may_have_happened());
}

#[test]
fn under_a_lost_session_only_what_nobody_can_have_is_done_again_in_another() {
    let mut world = under_way(3);
    let lost = world.asked[0].clone();
    world.say(lost.0, lost.1.id, Reply::Unknown);
    world.pass(20);
    let gone = || Reply::Refused(RefusalReason::SessionUnknown);
    while let Some(at) = world
        .asked
        .iter()
        .position(|(_, request)| matches!(request.body, RequestBody::Write { session: SessionId(100), .. }))
    {
        world.answer(at, gone());
    }
    assert!(world.outcome(1).expect_err("nobody knows").may_have_happened());
    world.pass(20);
    world.answer(0, opened(200));
    assert_eq!(world.writes(), [(200, 1, 0), (200, 2, 0)]);
    world.put(4, "k");
    world.settle();
    assert_eq!(world.writes()[2], (200, 3, 0));
}

#[test]
fn a_session_that_nobody_opens_leaves_its_writes_surely_not_done() {
    let mut world = World::new(2);
    (1..=3).for_each(|token| world.put(token, "k"));
    world.settle();
    for _ in 0..1_000 {
        (0..world.asked.len()).for_each(|_| world.answer(0, Reply::Refused(RefusalReason::DiskFull)));
        world.pass(10);
    }
    for token in 1..=3 {
        let error = world.outcome(token).expect_err("no session");
        assert!(!error.may_have_happened() && error.to_string().contains("disk full"), "{error}");
    }
    assert_eq!(world.core.under_way(), 0);
}

#[test]
fn silence_of_a_link_costs_one_attempt_and_a_busy_link_is_kept() {
    let mut world = under_way(2);
    world.pass(100);
    world.answer(1, written(2));
    let before: BTreeSet<LinkId> = world.links.keys().copied().collect();
    world.pass(60);
    assert_eq!(world.links.keys().copied().collect::<BTreeSet<_>>(), before, "it answered in between");
    world.pass(10);
    world.pass(310);
    assert!(world.links.keys().all(|link| !before.contains(link)), "the second attempt, and nothing at all");
}

/// A cluster of one shard group that remembers all it ever did: each write once, whatever comes how often.
#[derive(Default)]
struct Cluster {
    sessions: BTreeMap<u64, (u64, BTreeMap<u64, Reply>)>,
    applied: BTreeMap<Vec<u8>, u64>,
    index: u64,
}

impl Cluster {
    fn apply(&mut self, body: &RequestBody) -> Reply {
        self.index += 1;
        match body {
            RequestBody::OpenSession { .. } => {
                self.sessions.insert(self.index, (0, BTreeMap::new()));
                opened(self.index)
            }
            RequestBody::Write { session, sequence, settled, op: WriteOp::Put(value), .. } => {
                let Some((past, replies)) = self.sessions.get_mut(&session.0) else {
                    return Reply::Refused(RefusalReason::SessionUnknown);
                };
                *past = (*past).max(*settled);
                assert!(*sequence - *settled <= SESSION_WINDOW_MAX, "a client keeps its window");
                if sequence <= past {
                    return Reply::Refused(RefusalReason::SequencePast);
                }
                replies.retain(|sequence, _| sequence > past);
                let (applied, index) = (&mut self.applied, self.index);
                let effect = || {
                    *applied.entry(value.clone()).or_default() += 1;
                    written(index)
                };
                replies.entry(*sequence).or_insert_with(effect).clone()
            }
            RequestBody::Read { .. } => Reply::Value(None),
            other => panic!("nobody asks for {other:?}"),
        }
    }
}

/// Everything at once: requests lost, answered twice, delayed; links that break; sessions that expire. What is told must
/// be true: done is once, not done is never, unknown is at most once.
#[test]
fn whatever_happens_every_outcome_is_true() {
    let (mut done, mut failed, mut unknown) = (0, 0, 0);
    for seed in 0..150 {
        let mut chance = Pcg32::seed_from_u64(seed);
        let (mut world, mut cluster) = (World::new(2), Cluster::default());
        // Copies of requests that the network keeps for later.
        let mut kept: Vec<RequestBody> = Vec::new();
        for step in 0..400 {
            if step < 200 {
                world.put(step, &format!("k{}", chance.random_range(0..6)));
                world.settle();
            }
            while !world.asked.is_empty() && chance.random_bool(0.7) {
                let at = chance.random_range(0..world.asked.len());
                let (link, request) = world.asked.remove(at);
                // The disk of some clusters is full in the end.
                let refused = seed % 3 == 0 && step > 150;
                match chance.random_range(0..100) {
                    _ if refused => world.say(link, request.id, Reply::Refused(RefusalReason::DiskFull)),
                    0..4 => world.say(link, request.id, Reply::Refused(RefusalReason::Busy)),
                    4..6 => kept.push(request.body), // lost, or so it seems
                    6..10 => {
                        cluster.apply(&request.body); // the answer is lost
                    }
                    10..12 => {
                        let reply = cluster.apply(&request.body);
                        world.say(link, request.id, Reply::Unknown);
                        if world.links.contains_key(&link) {
                            world.say(link, request.id, reply); // too late
                        }
                    }
                    _ => {
                        let reply = cluster.apply(&request.body);
                        world.say(link, request.id, reply);
                    }
                }
            }
            match chance.random_range(0..100) {
                0..3 => world.break_all(),
                3 => {
                    cluster.sessions.pop_first();
                }
                4..8 if !kept.is_empty() => {
                    let copy = kept.swap_remove(chance.random_range(0..kept.len()));
                    cluster.apply(&copy);
                }
                _ => {}
            }
            world.pass(chance.random_range(0..60));
        }
        while world.core.under_way() > 0 {
            world.pass(20);
        }
        kept.iter().for_each(|body| drop(cluster.apply(body)));
        for Done { token, outcome, .. } in world.done {
            let times = cluster.applied.get(token.to_string().as_bytes()).copied().unwrap_or(0);
            let (count, truth) = match &outcome {
                Ok(_) => (&mut done, times == 1),
                Err(error) if error.may_have_happened() => (&mut unknown, times <= 1),
                Err(_) => (&mut failed, times == 0),
            };
            assert!(truth, "seed {seed}: write {token} happened {times} times: {outcome:?}");
            *count += 1;
        }
    }
    assert_eq!(done + failed + unknown, 150 * 200, "each has one outcome");
    assert!(done > 20_000 && failed > 10 && unknown > 100, "{done} {failed} {unknown}");
}
