//! Leaders that are not disturbed, and leaders that know when they are none: pre-vote (thesis §9.6), stickiness (§4.2.3),
//! CheckQuorum (§6.2), and the ways in which these hinder each other (E3, E4, E5, E19).

use ordeal_node::raft::{LogId, Message, Role};

use crate::member::{Member, id, n};
use crate::messages::{append, heartbeat, heartbeat_reply, pre_vote, pre_vote_reply, vote, vote_reply};
use crate::net::Net;

/// Thesis §9.6: "a candidate only increments its term if it first learns from a majority of the cluster that they would be
/// willing to grant the candidate their votes".
#[test]
fn a_member_alone_never_raises_its_term() {
    let mut member = Member::lone(1, 3, &[3]);
    (0..1_000).for_each(|_| member.tick());
    assert_eq!((member.status().role, member.status().term), (Role::PreCandidate, 3));
    assert_eq!(member.held.len(), 0, "nothing was worth a write");
}

/// A pre-vote changes nothing at the voter, and is given to as many as ask.
#[test]
fn a_pre_vote_promises_nothing() {
    let mut member = Member::lone(1, 3, &[3]);
    for candidate in [2, 3] {
        member.step(n(candidate), pre_vote(4, id(1, 3)));
        assert_eq!(member.fetch(), [(n(candidate), pre_vote_reply(4, true))]);
    }
    assert_eq!((member.status().term, member.vote(), member.held.len()), (3, None, 0));
}

/// A pre-candidate behind in its term learns so from the answer.
#[test]
fn a_pre_vote_in_an_old_term_is_answered_with_the_new_one() {
    let mut member = Member::lone(1, 7, &[]);
    member.step(n(2), pre_vote(4, id(9, 3)));
    let reply = Message::RequestVoteReply { term: 7, asked: 4, pre: true, granted: false };
    assert_eq!(member.fetch(), [(n(2), reply.clone())]);
    let mut candidate = Member::lone(2, 3, &[]);
    candidate.campaign();
    candidate.step(n(1), reply);
    assert_eq!((candidate.status().role, candidate.status().term), (Role::Follower, 7));
}

/// Thesis §4.2.3: "if a server receives a RequestVote request within the minimum election timeout of hearing from a current
/// leader, it does not update its term or grant its vote".
#[test]
fn who_hears_a_leader_ignores_votes() {
    for ticks in 0..=5 {
        let mut member = Member::lone(1, 1, &[]);
        member.step(n(3), heartbeat(1, 0, 1));
        (0..ticks).for_each(|_| member.tick());
        member.flush();
        member.step(n(2), pre_vote(2, LogId::ZERO));
        member.step(n(2), vote(2, LogId::ZERO));
        let answered = member.flush().iter().any(|(to, _)| *to == n(2));
        assert_eq!((answered, member.status().term), (ticks == 5, if ticks == 5 { 2 } else { 1 }), "{ticks}");
    }
    let mut leader = Member::lone_leader(1, 2, &[]);
    leader.step(n(2), vote(3, id(9, 2)));
    assert_eq!((leader.status().role, leader.status().term, leader.fetch().len()), (Role::Leader, 2, 0));
}

/// Lesson 17: "timer resets only on AppendEntries of the *current* leader or on granting a vote".
#[test]
fn an_old_leader_does_not_hold_off_an_election() {
    let mut member = Member::lone(1, 5, &[5]);
    let started = (1..=10).any(|_| {
        member.step(n(2), heartbeat(4, 0, 1));
        member.step(n(2), append(4, LogId::ZERO, vec![], 0));
        member.step(n(3), vote(5, LogId::ZERO)); // refused: its log is older
        member.tick();
        member.status().role != Role::Follower
    });
    assert!(started, "no election in twice the election timeout");
}

/// Thesis §6.2: "a leader in Raft steps down if an election timeout elapses without a successful round of heartbeats to a
/// majority of its cluster".
#[test]
fn a_leader_that_hears_no_majority_steps_down() {
    let mut net = Net::new(5);
    net.elect(1);
    net.isolate(4);
    net.isolate(5);
    net.ticks(50);
    assert!(net.leads(1), "three of five are a majority");
    net.isolate(3);
    net.ticks(5);
    assert!(!net.leads(1), "two of five are none");
    assert_eq!(net.member(1).status().term, 1, "and it gave up without a new term");
}

/// E5 (the Cloudflare outage): a leader whom nobody can answer steps down, and another one is elected.
#[test]
fn a_leader_that_is_heard_but_does_not_hear_steps_down() {
    let mut net = Net::new(3);
    net.elect(1);
    net.cut_one_way(2, 1);
    net.cut_one_way(3, 1);
    net.ticks(40);
    assert!(!net.leads(1));
    assert_eq!(net.leaders().len(), 1, "{:?}", net.leaders());
}

/// E3, E5: a member that was cut off comes back without disturbing the leader, also when only one link is cut.
#[test]
fn a_member_that_was_cut_off_comes_back_quietly() {
    let mut net = Net::new(3);
    net.elect(1);
    net.isolate(3);
    net.ticks(100);
    net.heal();
    net.ticks(10);
    assert_eq!(net.leaders(), [(n(1), 1)]);
    assert_eq!(net.member(3).status().leader, Some(n(1)));
    net.cut_one_way(1, 3);
    net.ticks(100);
    assert_eq!(net.leaders(), [(n(1), 1)], "the others hear the leader, and would not vote");
}

/// E4 (etcd 2017–18): one at a higher term, whom stickiness keeps from being elected, is not lost: its answers to the leader
/// carry its term.
#[test]
fn a_member_at_a_higher_term_finds_its_way_back() {
    let log: &[u64] = &[1];
    let mut net = Net::remembering(&[(1, log), (1, log), (9, log)]);
    net.isolate(3);
    net.elect(1);
    net.heal();
    let leader = net.await_leader();
    net.ticks(20);
    let term = net.member(leader).status().term;
    assert!(term >= 9);
    let all: Vec<_> =
        net.members.values().map(|member| (member.status().term, member.status().leader)).collect();
    assert_eq!(all, vec![(term, Some(n(leader))); 3]);
}

/// Both answers that E4 needs say the term, and confirm nothing.
#[test]
fn the_answer_to_an_old_leader_confirms_nothing() {
    let mut member = Member::lone(1, 9, &[1]);
    member.step(n(2), heartbeat(5, 0, 77));
    assert_eq!(member.fetch(), [(n(2), heartbeat_reply(9, 0))]);
}

/// E19: who starts again campaigns in time, also as the only one left with the newest log.
#[test]
fn a_restarted_group_elects_in_time() {
    let mut net = Net::new(3);
    net.elect(1);
    net.member(1).propose("a");
    net.settle();
    for number in 1..=3 {
        net.member(number).crash(0, None);
    }
    net.ticks(40);
    assert_eq!(net.leaders().len(), 1);
}

/// Lesson 10: whoever does not answer is not waited for.
#[test]
fn an_election_does_not_wait_for_the_silent() {
    let mut net = Net::new(3);
    net.isolate(3);
    net.ticks(40);
    assert_eq!(net.leaders().len(), 1);
}

/// A term has one leader: another who claims it is not believed.
#[test]
fn a_second_leader_of_a_term_is_ignored() {
    let mut member = Member::lone(1, 1, &[]);
    member.step(n(2), heartbeat(1, 0, 1));
    member.flush();
    member.step(n(3), append(1, LogId::ZERO, crate::member::entries(&[1]), 1));
    assert_eq!((member.flush().len(), member.terms().len(), member.status().leader), (0, 0, Some(n(2))));
    let mut leader = Member::lone_leader(1, 2, &[]);
    leader.step(n(3), heartbeat(2, 0, 1));
    assert_eq!(leader.status().role, Role::Leader);
}

/// A vote that was given holds the timer back, one that was refused does not.
#[test]
fn granting_a_vote_resets_the_timer() {
    let mut member = Member::lone(1, 1, &[1]);
    (0..4).for_each(|_| member.tick());
    member.step(n(2), vote(2, id(1, 1)));
    assert!(member.flush().contains(&(n(2), vote_reply(2, true))));
    (0..4).for_each(|_| member.tick());
    assert_eq!(member.status().role, Role::Follower);
}
