//! Disks that accept writes and never finish them: whoever has one neither leads nor campaigns, for others can go on.

use ordeal_node::raft::{Config, Message, Role};

use crate::member::{Member, command, config, id, n};
use crate::messages::{heartbeat, heartbeat_reply, matched, pre_vote, pre_vote_reply, rounds, vote};
use crate::net::Net;

fn impatient(config: &mut Config) {
    config.stall_ticks = config.election_ticks;
}

/// A leader of three in term 1 that both others follow.
fn leader() -> Member {
    let mut config = config(1, 3);
    impatient(&mut config);
    let mut member = Member::lone_of(config, 0, &[]);
    member.campaign();
    member.grant_votes();
    member.step(n(2), matched(1, 1));
    member.fetch();
    member
}

/// A tick, and everybody answers the heartbeats.
fn tick_heard(member: &mut Member) {
    member.tick();
    for to in [2, 3] {
        let beats = rounds(&member.sent, to);
        beats.iter().for_each(|round| member.step(n(to), heartbeat_reply(1, *round)));
    }
    member.fetch();
}

/// As with CheckQuorum (thesis §6.2): a leader that can commit nothing must not hold off the others by its heartbeats.
#[test]
fn a_leader_whose_disk_stalls_steps_down() {
    let mut member = leader();
    member.propose("a");
    (0..4).for_each(|_| tick_heard(&mut member));
    assert_eq!(member.status().role, Role::Leader);
    tick_heard(&mut member);
    assert_eq!(
        (member.status().role, member.status().leader, member.status().term),
        (Role::Follower, None, 1)
    );
}

/// Slow is not stalled: writes queue up, and one finishes now and then.
#[test]
fn a_leader_whose_disk_is_slow_stays() {
    let mut member = leader();
    for number in 0..100 {
        member.propose("a");
        tick_heard(&mut member);
        if number % 4 == 3 {
            member.persist();
        }
    }
    assert_eq!((member.status().role, member.held.len()), (Role::Leader, 75));
}

/// A disk with nothing to do does not stall, and an old write says nothing of a new one.
#[test]
fn an_idle_disk_does_not_stall() {
    let mut member = leader();
    for _ in 0..3 {
        (0..100).for_each(|_| tick_heard(&mut member));
        member.propose("a");
        (0..4).for_each(|_| tick_heard(&mut member));
        member.persist_all();
    }
    assert_eq!(member.status().role, Role::Leader);
}

/// It knows its own disk: it asks for no vote, and gives no promise of one, until a write is finished.
#[test]
fn who_stalls_does_not_campaign_until_the_disk_is_back() {
    let mut member = leader();
    member.propose("a");
    (0..100).for_each(|_| tick_heard(&mut member));
    assert_eq!(member.status().role, Role::Follower);
    member.step(n(2), pre_vote(2, id(2, 1)));
    assert_eq!(member.fetch(), [(n(2), pre_vote_reply(2, false))]);
    member.persist_all();
    member.step(n(2), pre_vote(2, id(2, 1)));
    assert_eq!(member.fetch(), [(n(2), pre_vote_reply(2, true))]);
    member.campaign();
}

/// What needs no disk is answered all the same; a vote is taken down, and leaves when it is durable.
#[test]
fn who_stalls_answers_as_it_can() {
    let mut member = leader();
    member.propose("a");
    (0..20).for_each(|_| tick_heard(&mut member));
    member.step(n(2), vote(2, id(2, 1)));
    assert_eq!(member.fetch(), []);
    assert_eq!(member.vote(), Some(n(2)));
    member.step(n(2), heartbeat(2, 0, 9));
    assert_eq!(member.fetch(), [], "its term is not durable");
    member.persist_all();
    let sent: Vec<Message> = member.fetch().into_iter().map(|(_, message)| message).collect();
    assert_eq!(sent, [crate::messages::vote_reply(2, true), heartbeat_reply(2, 9)]);
}

/// A snapshot takes a disk longer: a tick more a quarter of a MiB.
#[test]
fn a_large_snapshot_is_no_stall() {
    let mut member = leader();
    member.propose("a");
    member.persist_all();
    member.step(n(2), matched(1, 2));
    let data = command(&"x".repeat(10 * (256 << 10)));
    member.raft.compact(id(2, 1), data);
    member.turn();
    (0..14).for_each(|_| tick_heard(&mut member));
    assert_eq!((member.status().role, member.held.len()), (Role::Leader, 1));
    tick_heard(&mut member);
    assert_eq!(member.status().role, Role::Follower);
}

/// The story: the group goes on without the disk that hangs, and takes its owner back when it works again.
#[test]
fn a_group_goes_on_without_a_stalled_disk() {
    for voters in [3, 5] {
        let mut net = Net::with(voters, impatient);
        net.elect(1);
        net.member(1).disk_hangs = true;
        net.member(1).propose("a");
        net.settle();
        assert_eq!(net.member(1).status().commit, 2, "the others have it");
        let others_lead = (1..=20).find(|_| {
            net.tick();
            net.leaders().iter().any(|(id, _)| *id != n(1))
        });
        assert!(others_lead.is_some(), "{:?}", net.leaders());
        let new = net.leaders()[0].0;
        net.member(new.0).propose("b");
        net.ticks(50);
        assert_eq!(net.leaders(), [(new, 2)], "and the old one does not disturb");
        assert_eq!(net.member(1).status().applied, 1, "nothing is applied that is not durable");
        net.member(1).disk_hangs = false;
        net.ticks(5);
        let state = net.member(new.0).machine;
        assert_eq!(net.member(1).machine, state);
        assert_eq!(net.member(1).status().leader, Some(new));
    }
}

/// All disks stall (a shared one, say): nobody leads, no term is spent, and all goes on when they are back.
#[test]
fn a_group_whose_disks_all_stall_comes_back() {
    let mut net = Net::with(3, impatient);
    net.elect(1);
    net.member(1).propose("a");
    net.members.values_mut().for_each(|member| member.disk_hangs = true);
    net.ticks(100);
    assert_eq!(net.leaders(), []);
    assert!(net.members.values().all(|member| member.status().term == 1));
    net.members.values_mut().for_each(|member| member.disk_hangs = false);
    let leader = net.await_leader();
    net.ticks(3);
    let last = net.member(leader).status().last.index;
    assert!(net.members.values().all(|member| member.status().applied == last));
}
