//! Thesis §6.4, the end: followers answer reads, at an index that the leader confirms.

use ordeal_node::raft::{Config, Event, Index, Message, ProposeError, Role, Term};

use crate::member::{Member, Sent, config, entries, id, n};
use crate::messages::{append, heartbeat, heartbeat_reply, matched, rounds};
use crate::net::Net;

fn ask(term: Term, number: u64) -> Message {
    Message::ReadIndex { term, number }
}

fn answer(term: Term, number: u64, index: Index, commit: Index) -> Message {
    Message::ReadIndexReply { term, number, index, commit }
}

/// Numbers of the requests among what was sent.
fn asked(sent: &[Sent]) -> Vec<u64> {
    let numbers = sent.iter().filter_map(|(_, message)| match message {
        Message::ReadIndex { number, .. } => Some(*number),
        Message::ReadIndexReply { .. }
        | Message::RequestVote { .. }
        | Message::RequestVoteReply { .. }
        | Message::AppendEntries { .. }
        | Message::AppendEntriesReply { .. }
        | Message::Heartbeat { .. }
        | Message::HeartbeatReply { .. }
        | Message::InstallSnapshot { .. }
        | Message::TimeoutNow { .. }
        | Message::InstallSnapshotReply { .. }
        | Message::Fetch { .. }
        | Message::Fetched { .. } => None,
    });
    numbers.collect()
}

/// A follower of n3 in term 1, with three entries of which one is known to be committed.
fn follower() -> Member {
    let mut member = Member::lone(1, 1, &[]);
    member.step(n(3), append(1, id(0, 0), entries(&[1, 1, 1]), 1));
    member.flush();
    member
}

fn read(member: &mut Member, token: u64) {
    member.raft.read_here(token).expect("there is a leader");
    member.turn();
}

/// "the follower … issues a request to the leader that just asks for a current readIndex …; the follower can then execute steps 3 and
/// 4 on its own state machine for any number of accumulated read-only queries".
#[test]
fn a_follower_asks_once_for_many_reads_and_answers_them_itself() {
    let mut member = follower();
    (0..5).for_each(|token| member.raft.read_here(token).expect("there is a leader"));
    member.turn();
    let sent = member.fetch();
    assert_eq!(sent, [(n(3), ask(1, 1))]);
    member.step(n(3), answer(1, 1, 1, 1));
    assert_eq!(member.answered, [0, 1, 2, 3, 4].map(|token| (token, 1)));
}

#[test]
fn a_read_waits_until_the_index_is_applied() {
    let mut member = follower();
    read(&mut member, 7);
    member.step(n(3), answer(1, 1, 3, 2));
    assert_eq!(
        (member.answered.len(), member.status().commit),
        (0, 2),
        "the answer says what is committed here"
    );
    member.step(n(3), heartbeat(1, 3, 9));
    assert_eq!(member.answered, [(7, 3)]);
}

/// The second trap of rounds (etcd-io/raft PR 397), a hop further out: an answer counts for its request, and not for reads that
/// came after it had left.
#[test]
fn reads_that_come_meanwhile_go_with_the_next_request() {
    let mut member = follower();
    read(&mut member, 7);
    read(&mut member, 8);
    assert_eq!(asked(&member.fetch()), [1]);
    member.step(n(3), answer(1, 1, 1, 1));
    assert_eq!(member.answered, [(7, 1)]);
    assert_eq!(asked(&member.fetch()), [2]);
    for (from, message) in
        [(3, answer(1, 1, 1, 1)), (2, answer(1, 2, 1, 1)), (3, answer(0, 2, 1, 1)), (3, answer(2, 2, 1, 1))]
    {
        member.step(n(from), message);
        assert_eq!(member.answered.len(), 1);
    }
    member.step(n(3), answer(1, 2, 1, 1));
    assert_eq!(member.answered, [(7, 1), (8, 1)]);
    member.step(n(3), answer(1, 2, 1, 1));
    assert_eq!(member.answered.len(), 2, "once");
}

#[test]
fn a_lost_request_is_made_anew_under_another_number() {
    let mut member = follower();
    read(&mut member, 7);
    member.fetch();
    read(&mut member, 8);
    member.tick();
    assert_eq!(asked(&member.fetch()), [2], "after a beat, with all that wait");
    member.step(n(3), answer(1, 1, 1, 1));
    assert_eq!(member.answered, [], "too old for the read that joined");
    member.step(n(3), answer(1, 2, 1, 1));
    assert_eq!(member.answered, [(7, 1), (8, 1)]);
    (0..3).for_each(|_| member.tick());
    assert_eq!(asked(&member.fetch()), [0; 0], "nothing waits any more");
}

/// Lesson 32: another leader, or none: whoever waits is told.
#[test]
fn reads_fail_when_the_leader_changes() {
    let failed = |member: &Member| {
        let failed = |token| member.events.contains(&Event::ReadFailed { token });
        (failed(7), failed(8))
    };
    let mut member = follower();
    read(&mut member, 7);
    read(&mut member, 8);
    member.step(n(2), heartbeat(2, 0, 1));
    assert_eq!(failed(&member), (true, true));
    let mut member = follower();
    read(&mut member, 7);
    read(&mut member, 8);
    member.campaign();
    assert_eq!(failed(&member), (true, true));
    assert_eq!(member.raft.read_here(9), Err(ProposeError::NotLeader { leader: None }));
}

/// Found by the random schedules (seed 75): a leader does not answer whom it has removed, and the reads waited for ever.
#[test]
fn reads_fail_when_the_leader_does_not_answer() {
    let mut member = follower();
    read(&mut member, 7);
    for round in 0..5 {
        assert!(!member.events.contains(&Event::ReadFailed { token: 7 }));
        member.step(n(3), heartbeat(1, 0, round));
        member.tick();
    }
    assert!(member.events.contains(&Event::ReadFailed { token: 7 }));
    member.fetch();
    read(&mut member, 8);
    let number = asked(&member.fetch())[0];
    member.step(n(3), answer(1, number, 1, 1));
    assert_eq!(member.answered, [(8, 1)], "and others are asked for anew");
}

/// The same leader in a later term: the request is made anew in that term.
#[test]
fn a_leader_that_was_elected_again_is_asked_again() {
    let mut member = follower();
    read(&mut member, 7);
    member.step(n(3), heartbeat(2, 1, 1));
    member.flush();
    member.step(n(3), answer(1, 1, 1, 1));
    member.tick();
    assert_eq!((member.answered.len(), member.flush()), (0, vec![(n(3), ask(2, 2))]));
}

/// An answer to an earlier life of the follower knows nothing of what was written since.
#[test]
fn an_answer_to_an_earlier_life_is_not_taken() {
    let mut member = follower();
    read(&mut member, 7);
    assert_eq!(asked(&member.fetch()), [1]);
    member.crash(0, None);
    member.step(n(3), heartbeat(1, 3, 1));
    read(&mut member, 8);
    member.step(n(3), answer(1, 1, 1, 1));
    assert_eq!(member.answered, []);
}

/// The leader's side: as for its own reads, a round that begins after the request came, and first an entry of its term (E16).
#[test]
fn the_leader_answers_when_a_later_round_is_confirmed() {
    let mut leader = Member::lone_leader(1, 3, &[1, 2]);
    leader.step(n(2), ask(3, 40));
    leader.tick();
    let beat = rounds(&leader.fetch(), 2)[0];
    leader.step(n(3), heartbeat_reply(3, beat));
    assert!(leader.fetch().is_empty(), "nobody knows what is committed");
    leader.step(n(3), matched(3, 3));
    let round = rounds(&leader.fetch(), 2)[0];
    leader.step(n(3), heartbeat_reply(3, beat));
    assert!(leader.fetch().is_empty(), "an older round");
    leader.step(n(3), heartbeat_reply(3, round));
    let sent = leader.fetch();
    assert!(sent.contains(&(n(2), answer(3, 40, 3, 0))), "nothing is known to be at n2: {sent:?}");
}

#[test]
fn who_does_not_lead_answers_nothing() {
    let mut member = follower();
    member.step(n(2), ask(1, 1));
    assert_eq!(member.fetch(), []);
    let mut leader = Member::lone_leader(1, 3, &[]);
    leader.step(n(2), ask(2, 1));
    assert!(leader.fetch().is_empty(), "an old term");
    leader.step(n(2), ask(4, 1));
    assert_eq!((leader.status().role, leader.status().term), (Role::Follower, 4));
}

/// Every queue has a limit, on both sides.
#[test]
fn reads_are_bounded_on_both_sides() {
    let config = Config { reads_max: 3, ..config(1, 3) };
    let mut member = Member::lone_of(config.clone(), 1, &[]);
    member.step(n(3), heartbeat(1, 0, 1));
    (0..3).for_each(|token| read(&mut member, token));
    assert_eq!(member.raft.read_here(3), Err(ProposeError::Busy));
    member.step(n(3), answer(1, 1, 5, 0)); // the first is confirmed, and waits for its index
    assert_eq!(member.raft.read_here(3), Err(ProposeError::Busy));

    let mut leader = Member::lone_of(config, 0, &[]);
    leader.campaign();
    leader.grant_votes();
    (0..10).for_each(|number| leader.step(n(2), ask(1, number)));
    leader.step(n(2), matched(1, 1));
    let round = rounds(&leader.fetch(), 3)[0];
    leader.step(n(3), heartbeat_reply(1, round));
    let answers = leader
        .fetch()
        .iter()
        .filter(|(_, message)| matches!(message, Message::ReadIndexReply { .. }))
        .count();
    assert_eq!(answers, 3);
}

/// A damaged answer takes no reader far into the future, and no commit index behind the log.
#[test]
fn an_impossible_answer_is_ignored() {
    let mut member = follower();
    read(&mut member, 7);
    member.step(n(3), answer(1, 1, u64::MAX, u64::MAX));
    assert_eq!((member.status().commit, member.answered.len()), (1, 0));
    member.step(n(3), answer(1, 1, 1, 1));
    assert_eq!(member.answered, [(7, 1)]);
}

/// The story: a write is acknowledged, a read on any other member sees it, without waiting for a beat.
#[test]
fn a_follower_sees_what_was_acknowledged_before() {
    let mut net = Net::new(5);
    net.elect(1);
    for token in 0..10 {
        let written = net.member(1).propose("x").index;
        net.settle();
        for member in 2..=5 {
            read(net.member(member), token);
        }
        net.settle();
        for member in 2..=5 {
            assert_eq!(net.member(member).answered.last(), Some(&(token, written)), "n{member}");
        }
    }
}

/// The stale-read trap: the leader that is asked was deposed, and does not know it.
#[test]
fn a_leader_that_was_cut_off_confirms_nothing_for_its_follower() {
    let mut net = Net::new(5);
    net.elect(1);
    net.ticks(2);
    for (minority, majority) in [(1, 3), (1, 4), (1, 5), (2, 3), (2, 4), (2, 5)] {
        net.cut_one_way(minority, majority);
        net.cut_one_way(majority, minority);
    }
    net.elect(3);
    net.member(3).propose("new");
    net.settle();
    assert!(net.leads(1), "it has not noticed");
    assert_eq!(net.member(2).raft.read_here(7).is_ok(), net.member(2).status().leader == Some(n(1)));
    net.settle();
    net.ticks(3);
    assert_eq!(net.member(2).answered, []);
    net.heal();
    net.ticks(20);
    assert_eq!(net.member(2).answered, []);
}
