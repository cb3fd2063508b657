//! How soon there is another leader: after the hint that the old one's connection closed, and after silence.

use std::collections::BTreeSet;

use ordeal_client::wire::NodeId;
use ordeal_node::raft::{Config, LogId, Message, Role};

use crate::member::{Member, n, voters};
use crate::messages::{heartbeat, pre_vote, pre_vote_reply};
use crate::net::Net;

/// A follower of n3 in term 1, with this seed.
fn follower(seed: u64) -> Member {
    let mut member = Member::lone_of(Config { seed, ..Config::new(n(1), voters(3), 0) }, 1, &[]);
    member.step(n(3), heartbeat(1, 0, 1));
    member.flush();
    member
}

fn hint(member: &mut Member, about: u32) {
    member.raft.leader_unreachable(n(about));
    member.turn();
}

/// Ticks until it asks for votes.
fn patience(member: &mut Member) -> u32 {
    let patience = (1..=100).find(|_| {
        member.tick();
        member.status().role == Role::PreCandidate
    });
    patience.expect("it campaigns in the end")
}

#[test]
fn a_follower_whose_leader_hung_up_asks_for_votes_within_three_ticks() {
    let waits: BTreeSet<u32> = (0..50)
        .map(|seed| {
            let mut member = follower(seed);
            hint(&mut member, 3);
            patience(&mut member)
        })
        .collect();
    assert_eq!(waits, [1, 2, 3].into());
}

#[test]
fn only_the_leaders_connection_counts() {
    let mut member = follower(1);
    hint(&mut member, 2);
    assert!(patience(&mut member) > 25);
    hint(&mut member, 3);
    assert_eq!((member.status().role, member.status().term), (Role::PreCandidate, 1));
    let mut leader = Member::lone_leader(1, 2, &[]);
    hint(&mut leader, 2);
    hint(&mut leader, 1);
    assert_eq!(leader.status().role, Role::Leader);
}

/// A reset connection proves nothing.
#[test]
fn a_leader_that_is_heard_again_is_followed_as_before() {
    let mut member = follower(1);
    hint(&mut member, 3);
    member.step(n(3), heartbeat(1, 0, 2));
    member.flush();
    member.step(n(2), pre_vote(2, LogId::ZERO));
    assert_eq!(member.fetch(), [], "sticks to its leader");
    assert!(patience(&mut member) > 25);
}

#[test]
fn who_was_told_gives_its_vote_and_who_hears_the_leader_does_not() {
    for told in [true, false] {
        let mut member = follower(1);
        if told {
            hint(&mut member, 3);
        }
        member.step(n(2), pre_vote(2, LogId::ZERO));
        let answer = (n(2), pre_vote_reply(2, true));
        assert_eq!(member.fetch(), if told { vec![answer] } else { vec![] });
    }
}

/// One link of a living leader is reset, again and again: it goes on leading, in its term.
#[test]
fn a_reset_link_deposes_nobody() {
    let mut net = Net::new(3);
    net.elect(1);
    for _ in 0..100 {
        hint(net.member(2), 1);
        net.tick();
    }
    net.ticks(5);
    assert_eq!(net.leaders(), [(n(1), 1)]);
    assert_eq!(net.member(2).status().leader, Some(n(1)));
}

/// Ticks from the end of the leader to the next one, with the default timeouts, and how many terms it took.
fn failover(seed: u64, count: u32, hinted: bool) -> (u32, u64) {
    let mut net = Net::with(count, |config| *config = Config::new(config.id, voters(count), seed));
    let old = net.await_leader();
    net.ticks(60 + u32::try_from(seed % 5).expect("below 5")); // anywhere between two beats
    let term = net.member(old).status().term;
    net.isolate(old);
    let others: Vec<NodeId> = net.members.keys().copied().filter(|&id| id != n(old)).collect();
    if hinted {
        others.iter().for_each(|id| hint(net.member(id.0), old));
    }
    let new = |net: &Net| net.leaders().into_iter().find(|(id, _)| *id != n(old));
    let ticks = (1..1_000).find(|_| {
        net.tick();
        new(&net).is_some()
    });
    (ticks.expect("a leader in the end"), new(&net).expect("just seen").1 - term)
}

/// Sorted ticks of 200 seeds, and how many of them needed more than one term.
fn failovers(voters: u32, hinted: bool) -> (Vec<u32>, usize) {
    let all: Vec<(u32, u64)> = (0..200).map(|seed| failover(seed, voters, hinted)).collect();
    let mut ticks: Vec<u32> = all.iter().map(|(ticks, _)| *ticks).collect();
    ticks.sort_unstable();
    (ticks, all.iter().filter(|(_, terms)| *terms > 1).count())
}

/// A killed leader: its followers' connections close at once. Ticks are 10 ms.
#[test]
fn after_the_hint_there_is_a_leader_in_three_ticks() {
    for voters in [3, 5] {
        let (ticks, split) = failovers(voters, true);
        assert_eq!((ticks[100] <= 2, ticks[199] <= 3, split), (true, true, 0), "{voters}: {ticks:?}");
    }
}

/// A leader that falls silent: within 1.5 × the minimum election timeout (250 ms) at the median, and under 400 ms.
#[test]
fn after_silence_there_is_a_leader_within_one_and_a_half_timeouts() {
    for voters in [3, 5] {
        let (ticks, split) = failovers(voters, false);
        assert_eq!((ticks[100] <= 37, ticks[199] < 40, split), (true, true, 0), "{voters}: {ticks:?}");
    }
}

/// Two who ask at once do not split the votes: the larger id goes on, unless the other's log is newer.
#[test]
fn of_two_who_ask_at_once_one_gives_way() {
    for (own, other, last, stays) in
        [(1, 2, LogId::ZERO, false), (2, 1, LogId::ZERO, true), (2, 1, LogId::new(1, 1), false)]
    {
        let mut member = Member::lone(own, 1, &[]);
        member.campaign();
        member.fetch();
        member.step(n(other), pre_vote(2, last));
        assert_eq!(member.fetch(), [(n(other), pre_vote_reply(2, true))]);
        assert_eq!(member.status().role == Role::PreCandidate, stays, "n{own} asked by n{other}");
        let reply = Message::RequestVoteReply { term: 2, asked: 2, pre: true, granted: true };
        member.step(n(3), reply);
        assert_eq!(member.status().role == Role::Candidate, stays);
    }
}
