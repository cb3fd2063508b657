//! Groups at rest: nothing is said where nothing happens, and whatever happens wakes who must know.

use ordeal_node::raft::{Config, Index, Message, Role, lease_ticks};

use crate::member::{Member, command, n};
use crate::messages::{heartbeat, heartbeat_reply};
use crate::net::Net;

/// Members beat each tick, have an election timeout of 5, and rest after 4 idle ticks.
const REST_AFTER: u32 = 4;

/// A group whose nodes beat for it.
#[derive(Debug)]
struct Group {
    net: Net,
    /// Nodes that are stopped: they neither tick nor beat nor hear.
    stopped: Vec<u32>,
}

impl Group {
    fn new(voters: u32, tune: impl Fn(&mut Config)) -> Group {
        let net = Net::with(voters, |config| {
            config.rest_after_ticks = Some(REST_AFTER);
            tune(config);
        });
        Group { net, stopped: Vec::new() }
    }

    /// A group led by n1, in which nothing has happened for long.
    fn resting(voters: u32) -> Group {
        let mut group = Group::new(voters, |_| {});
        group.net.elect(1);
        group.ticks(20);
        assert!(group.rests(), "an idle group rests");
        group
    }

    /// A tick of all nodes, and a beat of each to those who count on it.
    fn ticks(&mut self, count: u32) {
        for _ in 0..count {
            let awake: Vec<u32> =
                self.net.members.keys().map(|node| node.0).filter(|id| !self.stopped.contains(id)).collect();
            for &node in &awake {
                self.net.member(node).tick();
            }
            self.net.settle();
            for &node in &awake {
                self.beat(node);
            }
        }
    }

    fn beat(&mut self, node: u32) {
        for to in self.net.member(node).raft.counting_on_us() {
            if self.net.passes(n(node), to) {
                self.net.member(to.0).raft.node_alive(n(node));
            }
        }
    }

    fn rests(&self) -> bool {
        self.net.members.values().all(|member| member.status().at_rest)
    }

    /// What is said in so many ticks.
    fn talk(&mut self, ticks: u32) -> usize {
        self.net.delivered.clear();
        self.ticks(ticks);
        self.net.delivered.len()
    }

    fn leads(&mut self, node: u32) -> bool {
        self.net.leads(node)
    }

    fn commits(&mut self) -> Vec<Index> {
        self.net.members.values().map(|member| member.status().commit).collect()
    }
}

#[test]
fn a_group_in_which_nothing_happens_says_nothing() {
    for voters in [1, 2, 3, 5] {
        let mut group = Group::resting(voters);
        assert_eq!(group.talk(1_000), 0, "{voters} voters");
        assert!(group.leads(1) && group.net.leaders() == [(n(1), 1)]);
    }
    let mut restless = Group::new(3, |config| config.rest_after_ticks = None);
    restless.net.elect(1);
    restless.ticks(20);
    assert!(restless.talk(100) >= 400, "without rest: a beat and an answer for each follower and tick");
}

#[test]
fn a_proposal_wakes_everybody_and_then_they_rest_again() {
    let mut group = Group::resting(3);
    group.net.member(1).propose("x");
    group.ticks(2);
    assert!(!group.rests());
    assert_eq!(group.commits(), [2, 2, 2]);
    group.ticks(20);
    assert!(group.rests() && group.talk(100) == 0);
}

/// Also where leases are on: the lease was over long before.
#[test]
fn a_read_asks_everybody_again() {
    for leases in [false, true] {
        let mut group = Group::new(3, |config| {
            (config.heartbeat_ticks, config.election_ticks) = (5, 25);
            config.rest_after_ticks = Some(10);
            config.lease_ticks = lease_ticks(config.election_ticks).filter(|_| leases);
        });
        group.net.elect(1);
        group.ticks(100);
        assert!(group.rests());
        group.net.delivered.clear();
        group.net.member(1).raft.read(7).expect("a leader with room");
        group.net.settle();
        let beats = group.net.delivered.iter();
        let beats = beats.filter(|packet| matches!(packet.message, Message::Heartbeat { rest: false, .. }));
        assert_eq!(beats.count(), 2, "leases: {leases}");
        assert_eq!(group.net.member(1).answered.len(), 1);
        assert!(!group.rests(), "who was read from is not idle");
    }
}

#[test]
fn a_leader_whose_node_is_silent_is_replaced() {
    let mut group = Group::resting(3);
    group.net.isolate(1);
    group.stopped.push(1);
    group.ticks(4);
    assert_eq!(group.talk(0), 0, "within the election timeout");
    group.ticks(16);
    assert!(group.leads(2) || group.leads(3));
}

/// CheckQuorum holds for a leader at rest: first it asks, then it steps down.
#[test]
fn a_leader_that_no_node_beats_for_wakes_and_steps_down() {
    let mut group = Group::resting(3);
    group.net.isolate(1);
    group.ticks(3);
    assert!(!group.net.member(1).status().at_rest && group.leads(1), "silent for more than two beats");
    group.ticks(3);
    assert!(!group.leads(1), "and for an election timeout");
}

#[test]
fn one_silent_follower_keeps_its_group_awake_and_costs_no_election() {
    let mut group = Group::resting(3);
    group.net.isolate(3);
    group.stopped.push(3);
    group.ticks(20);
    assert!(group.leads(1) && !group.net.member(1).status().at_rest);
    assert!(group.talk(10) > 0);
    group.net.heal();
    group.stopped.clear();
    group.ticks(30);
    assert!(group.rests() && group.net.leaders() == [(n(1), 1)]);
}

/// Its node beats as before, and it leads no more: its own timer brings it out.
#[test]
fn a_leader_that_started_again_is_not_waited_for() {
    let mut group = Group::resting(3);
    let old = group.net.members.remove(&n(1)).expect("a member");
    group.net.members.insert(n(1), Member::new(old.config, old.disk));
    for _ in 0..30 {
        group.ticks(1);
        // As if it had told everybody so: the worst that a beat can do.
        for to in [2, 3] {
            group.net.member(to).raft.node_alive(n(1));
        }
    }
    let leaders = group.net.leaders();
    assert!(matches!(leaders[..], [(_, 2..)]), "{leaders:?}");
    group.net.member(leaders[0].0.0).raft.propose(command("x")).expect("a leader with room");
    group.ticks(5);
    assert_eq!(group.commits(), [3, 3, 3]);
}

#[test]
fn a_closed_connection_wakes_and_disturbs_nobody() {
    let mut group = Group::resting(3);
    group.net.member(2).raft.leader_unreachable(n(1));
    assert!(!group.net.member(2).status().at_rest);
    group.ticks(20);
    assert!(group.rests() && group.net.leaders() == [(n(1), 1)], "asked, refused, and at rest again");
}

/// A beat that comes late wakes the follower, which would wait for another one in vain.
#[test]
fn a_leader_wakes_with_its_follower() {
    let mut group = Group::resting(3);
    group.net.member(2).step(n(1), heartbeat(1, 1, 1));
    assert!(!group.net.member(2).status().at_rest);
    group.net.settle();
    assert!(!group.net.member(1).status().at_rest, "the answer says that somebody is awake");
    group.ticks(20);
    assert!(group.rests() && group.net.leaders() == [(n(1), 1)]);
}

#[test]
fn nobody_rests_who_lacks_something() {
    let proposal = |commit| Message::Heartbeat { term: 1, commit, round: 9, rest: true };
    let mut member = Member::lone(2, 1, &[1, 1]);
    member.step(n(1), proposal(1));
    assert_eq!(member.fetch(), [(n(1), heartbeat_reply(1, 9))], "the second entry may not be decided");
    member.step(n(1), proposal(2));
    assert_eq!(member.fetch(), [(n(1), Message::HeartbeatReply { term: 1, round: 9, rest: true })]);
    assert_eq!((member.status().role, member.status().at_rest), (Role::Follower, true));
}

/// An answer to an earlier proposal says nothing of what happened since.
#[test]
fn an_old_answer_does_not_count() {
    let mut group = Group::new(2, |_| {});
    group.net.elect(1);
    let mut first = None;
    while first.is_none() {
        group.ticks(1);
        let mut answers = group.net.delivered.iter();
        first = answers
            .find(|packet| matches!(packet.message, Message::HeartbeatReply { rest: true, .. }))
            .cloned();
    }
    group.net.member(1).propose("x");
    group.ticks(1);
    group.net.cut_one_way(1, 2);
    group.stopped.push(2);
    let old = first.expect("found");
    for _ in 0..12 {
        group.net.deliver(old.clone());
        group.ticks(1);
        assert!(!group.net.member(1).status().at_rest);
    }
}
