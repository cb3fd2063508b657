//! §8 and thesis §6.4: reads without a log entry.

use ordeal_node::raft::{Event, ProposeError};

use crate::member::{Member, config, n};
use crate::messages::{heartbeat, heartbeat_reply, matched, rounds};
use crate::net::Net;

/// A leader of three whose no-op is committed.
fn leader() -> Member {
    let mut member = Member::lone_leader(1, 1, &[]);
    member.step(n(2), matched(1, 1));
    member.fetch();
    member
}

fn read(member: &mut Member, token: u64) {
    member.raft.read(token).expect("a leader with room");
    member.turn();
}

fn answered(member: &Member) -> Vec<u64> {
    member.answered.iter().map(|(token, _)| *token).collect()
}

/// "The leader … needs to make sure it has not been superseded …: it issues a new round of heartbeats and waits for their
/// acknowledgments from a majority of the cluster": at once, without waiting for the next beat.
#[test]
fn a_read_waits_for_a_round_of_heartbeats() {
    let mut member = leader();
    read(&mut member, 7);
    let round = rounds(&member.fetch(), 2);
    assert_eq!((round.len(), answered(&member)), (1, vec![]));
    member.step(n(3), heartbeat_reply(1, round[0]));
    assert_eq!(answered(&member), [7]);
}

/// etcd-io/raft PR 397: an answer to a round that began before the read confirms nothing.
#[test]
fn an_answer_to_an_older_round_confirms_nothing() {
    let mut member = leader();
    member.tick();
    let old = rounds(&member.fetch(), 2)[0];
    read(&mut member, 7);
    let new = rounds(&member.fetch(), 2)[0];
    assert!(new > old);
    for round in [0, old, new + 1, u64::MAX] {
        member.step(n(2), heartbeat_reply(1, round));
        assert_eq!(answered(&member), [0; 0], "round {round}");
    }
    member.step(n(2), heartbeat_reply(0, new));
    assert_eq!(answered(&member), [0; 0], "another term");
    member.step(n(2), heartbeat_reply(1, new));
    assert_eq!(answered(&member), [7]);
}

/// E8: a majority, the leader included, not one less.
#[test]
fn a_majority_confirms() {
    for (voters, acks, confirmed) in [(1, 0, true), (2, 0, false), (2, 1, true), (5, 1, false), (5, 2, true)]
    {
        let mut member = Member::lone_of(config(1, voters), 0, &[]);
        member.campaign();
        member.grant_votes();
        (2..=voters).for_each(|other| member.step(n(other), matched(1, 1)));
        read(&mut member, 7);
        let round = rounds(&member.fetch(), 2).last().copied().unwrap_or(0);
        for other in 2..2 + acks {
            member.step(n(other), heartbeat_reply(1, round));
            member.step(n(other), heartbeat_reply(1, round)); // and a second time, which is no second member
        }
        assert_eq!(answered(&member) == [7], confirmed, "{acks} of {voters}");
    }
}

/// Reads share rounds: one is under way, those that come meanwhile go with the next, which begins when it is answered.
#[test]
fn reads_share_rounds() {
    let mut member = leader();
    (0..3).for_each(|token| member.raft.read(token).expect("a leader with room"));
    member.turn();
    let first = rounds(&member.fetch(), 2);
    assert_eq!(first.len(), 1, "one turn, one round");
    (3..6).for_each(|token| read(&mut member, token));
    assert_eq!(rounds(&member.fetch(), 2), [0; 0], "one round at a time");
    member.step(n(2), heartbeat_reply(1, first[0]));
    assert_eq!(answered(&member), [0, 1, 2]);
    let second = rounds(&member.fetch(), 2);
    assert_eq!(second, [first[0] + 1]);
    member.step(n(3), heartbeat_reply(1, second[0]));
    assert_eq!(answered(&member), [0, 1, 2, 3, 4, 5]);
}

/// A round that was lost is replaced by the next beat.
#[test]
fn a_later_beat_confirms_as_well() {
    let mut member = leader();
    read(&mut member, 7);
    member.fetch();
    member.tick();
    let beat = rounds(&member.fetch(), 2)[0];
    member.step(n(2), heartbeat_reply(1, beat));
    assert_eq!(answered(&member), [7]);
}

/// Alone in its group a leader answers its own round, also when a beat began it before the driver asked for a `Ready`.
#[test]
fn a_leader_alone_confirms_its_own_beat() {
    let mut member = Member::lone_of(config(1, 1), 0, &[]);
    member.campaign();
    member.grant_votes();
    member.raft.read(7).expect("a leader with room");
    member.raft.tick();
    member.turn();
    assert_eq!(answered(&member), [7]);
}

/// §8: "a leader must have the latest information on which entries are committed. … each leader commit[s] a blank no-op entry": reads
/// wait for it (E16).
#[test]
fn reads_wait_for_an_entry_of_the_own_term() {
    let mut member = Member::lone_leader(1, 3, &[1, 2]);
    read(&mut member, 7);
    member.tick();
    let beat = rounds(&member.fetch(), 2)[0];
    member.step(n(2), heartbeat_reply(3, beat));
    assert_eq!(answered(&member), [0; 0], "nobody knows what is committed");
    member.step(n(2), matched(3, 3));
    let round = rounds(&member.fetch(), 2)[0];
    member.step(n(2), heartbeat_reply(3, round));
    assert_eq!(member.answered, [(7, 3)], "the reader sees everything up to the no-op");
}

/// Thesis §6.4, step 4: "The leader waits for its state machine to advance at least as far as the readIndex".
#[test]
fn a_read_waits_for_its_index_to_be_applied() {
    let mut member = leader();
    member.propose("a");
    member.step(n(2), matched(1, 2));
    member.step(n(3), matched(1, 2)); // committed by the others, our own disk is slow
    member.fetch();
    read(&mut member, 7);
    let round = rounds(&member.fetch(), 2)[0];
    member.step(n(2), heartbeat_reply(1, round));
    assert_eq!((answered(&member), member.status().applied), (vec![], 1));
    member.persist_all();
    assert_eq!(member.answered, [(7, 2)]);
}

/// Lesson 32: who loses leadership fails the reads that nobody confirmed; those that were confirmed hold.
#[test]
fn reads_fail_on_step_down() {
    let mut member = leader();
    read(&mut member, 7);
    read(&mut member, 8);
    member.step(n(2), heartbeat(2, 0, 1));
    let failed = |token| Event::ReadFailed { token };
    assert!(member.events.contains(&failed(7)) && member.events.contains(&failed(8)));
    assert_eq!(answered(&member), [0; 0]);

    let mut early = Member::lone_leader(1, 3, &[1]);
    read(&mut early, 9);
    (0..5).for_each(|_| early.tick());
    assert!(early.events.contains(&failed(9)), "CheckQuorum, before anything was committed");
}

/// Every queue has a limit.
#[test]
fn reads_are_bounded() {
    let mut config = config(1, 3);
    config.reads_max = 3;
    for committed in [true, false] {
        let mut member = Member::lone_of(config.clone(), 0, &[]);
        member.campaign();
        member.grant_votes();
        if committed {
            member.step(n(2), matched(1, 1));
        }
        (0..3).for_each(|token| read(&mut member, token));
        assert_eq!(member.raft.read(3), Err(ProposeError::Busy));
    }
}

/// A leader that was cut off never answers, however long it believes in itself.
#[test]
fn a_leader_that_was_cut_off_answers_no_read() {
    let mut net = Net::new(3);
    net.elect(1);
    net.isolate(1);
    net.elect(2);
    net.member(2).propose("new");
    net.settle();
    assert!(net.leads(1), "it has not noticed");
    read(net.member(1), 7);
    net.settle();
    net.heal();
    net.ticks(20);
    assert_eq!(net.member(1).answered, []);
    assert!(net.member(1).events.contains(&Event::ReadFailed { token: 7 }));
}
