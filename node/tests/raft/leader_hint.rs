//! How soon there is another leader: after the hint that the old one's connection closed, and after silence.

use std::collections::BTreeSet;

use ordeal_client::wire::NodeId;
use ordeal_node::raft::{Config, LogId, Message, Role};

use crate::member::{Member, n, voters};
use crate::messages::{heartbeat, pre_vote, pre_vote_reply, vote};
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

/// A leader that falls silent: within 1.5 × the minimum election timeout (250 ms), and under 400 ms with what a client needs
/// to find the new one.
#[test]
fn after_silence_there_is_a_leader_within_one_and_a_half_timeouts() {
    for voters in [3, 5] {
        let (ticks, split) = failovers(voters, false);
        assert_eq!((ticks[100] <= 29, ticks[199] <= 32, split), (true, true, 0), "{voters}: {ticks:?}");
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

/// Whoever would vote for somebody leaves it half an election timeout, but waits no longer than two for one that cannot win.
#[test]
fn who_would_vote_gives_way_for_half_an_election_timeout_and_not_for_ever() {
    for (asked_after, asked_every, waits) in [(23, 100, 35..=35), (5, 100, 26..=31), (23, 5, 50..=50)] {
        for seed in 0..20 {
            let mut member = fresh(seed);
            let waited = (1..=100).find(|tick| {
                member.tick();
                if *tick >= asked_after && (tick - asked_after) % asked_every == 0 {
                    member.step(n(2), pre_vote(2, LogId::ZERO));
                }
                member.status().role == Role::PreCandidate
            });
            assert!(waited.is_some_and(|ticks| waits.contains(&ticks)), "{waited:?}, not {waits:?}");
        }
    }
}

/// Whoever gave way, before its own time came or after, waits for a whole timeout again when there is a leader.
#[test]
fn who_gave_way_and_hears_a_leader_is_a_follower_like_any_other() {
    for (ticks, role) in [(25, Role::Follower), (31, Role::PreCandidate)] {
        for seed in 0..50 {
            let mut member = fresh(seed);
            (0..ticks).for_each(|_| member.tick());
            assert_eq!(member.status().role, role);
            member.step(n(2), pre_vote(2, LogId::ZERO));
            assert_eq!(member.status().role, Role::Follower);
            member.step(n(2), heartbeat(2, 0, 1));
            member.persist_all();
            let ticks = patience(&mut member);
            assert!((26..=31).contains(&ticks), "{ticks}");
        }
    }
}

/// A voter that heard the leader a moment later does not answer yet, but soon: it is asked again.
#[test]
fn a_voter_that_heard_the_leader_later_holds_nobody_up() {
    for seed in 0..50 {
        let mut net = Net::with(3, |config| *config = Config::new(config.id, voters(3), seed));
        net.elect(1);
        net.ticks(20);
        net.cut_one_way(1, 3);
        net.member(1).propose("only n2 hears of it, and so n3 cannot be elected");
        net.settle();
        net.isolate(1);
        // The loop of n3 stood still, and its ticks were lost.
        (0..12).for_each(|_| net.member(2).tick());
        let ticks = (1..100).find(|_| {
            net.tick();
            net.leads(2) || net.leads(3)
        });
        assert!(ticks.is_some_and(|ticks| ticks <= 31), "seed {seed}: {ticks:?}");
    }
}

/// A member that has just started, in term 1, and has heard nobody.
fn fresh(seed: u64) -> Member {
    Member::lone_of(Config { seed, ..Config::new(n(1), voters(3), 0) }, 1, &[])
}

fn up(member: &mut Member, node: u32) {
    member.raft.peer_reachable(n(node));
    member.turn();
}

#[test]
fn who_knows_no_leader_asks_soon_after_a_link_came_up() {
    let waits: BTreeSet<u32> = (0..50)
        .map(|seed| {
            let mut member = fresh(seed);
            up(&mut member, 2);
            patience(&mut member)
        })
        .collect();
    assert_eq!(waits, [1, 2, 3].into());
    let mut told_of_strangers = fresh(1);
    up(&mut told_of_strangers, 9);
    assert!(patience(&mut told_of_strangers) > 25, "who does not vote is no reason");
}

#[test]
fn who_knows_a_leader_or_a_candidate_does_not_ask_because_of_a_link() {
    let mut led = follower(1);
    let mut gives_way = fresh(1);
    gives_way.step(n(3), pre_vote(2, LogId::ZERO));
    let mut voted = fresh(1);
    voted.step(n(3), vote(2, LogId::ZERO));
    voted.persist_all();
    for member in [&mut led, &mut gives_way, &mut voted] {
        up(member, 2);
        assert!(patience(member) > 25);
    }
}

/// Links that come and go are no storm: no more requests than of one that asks with every heartbeat's time, and nobody who
/// hears a leader is disturbed.
#[test]
fn links_that_flap_are_no_storm() {
    let mut member = fresh(1);
    (0..1_000).for_each(|_| {
        up(&mut member, 2);
        member.tick();
        // It asks in vain: two of three have newer logs.
        for voter in [2, 3] {
            member.step(n(voter), pre_vote_reply(2, false));
        }
    });
    let asked = member.fetch().len();
    assert!(asked <= 2 * 1_000 / 5, "{asked} requests in 1000 ticks");
    let mut net = Net::new(3);
    net.elect(1);
    for _ in 0..100 {
        (1..=3).for_each(|to| up(net.member(2), to));
        net.tick();
    }
    assert_eq!(net.leaders(), [(n(1), 1)]);
}

/// A whole group that starts anew, with links that come up one by one: a leader within a few ticks, in the next term.
#[test]
fn a_group_that_starts_elects_as_soon_as_a_majority_can_talk() {
    for seed in 0..100 {
        let mut net = Net::with(5, |config| *config = Config::new(config.id, voters(5), seed));
        (1..=5).for_each(|member| net.isolate(member));
        for (a, b) in [(1, 2), (3, 4), (4, 5), (1, 5)] {
            net.reconnect(a, b);
            up(net.member(a), b);
            up(net.member(b), a);
            net.ticks(4);
        }
        let ticks = (1..100).find(|_| {
            net.tick();
            net.leaders().len() == 1
        });
        assert!(ticks.is_some_and(|ticks| ticks <= 12), "seed {seed}: {ticks:?}");
    }
}
