//! Thesis §6.4.1: "using clocks to reduce messaging for read-only queries", and what must hold for it.

use ordeal_node::raft::{Config, LogId, Message, Raft, Recovered, Role, lease_ticks};

use crate::member::{Member, id, n};
use crate::messages::{append, heartbeat, heartbeat_reply, matched, pre_vote, rounds, vote};

/// Default timeouts: a beat each 5 ticks, an election timeout of 25, and so a lease of 16.
fn leased(own: u32, voters: u32) -> Config {
    let config = Config::new(n(own), (1..=voters).map(n).collect(), 7);
    Config { lease_ticks: lease_ticks(config.election_ticks), ..config }
}

/// A leader in term 1 whose no-op is committed, 30 ticks after any message.
fn leader(voters: u32) -> Member {
    let mut member = Member::lone_of(leased(1, voters), 0, &[]);
    (0..25).for_each(|_| member.tick());
    member.campaign();
    member.grant_votes();
    (2..=voters).for_each(|other| member.step(n(other), matched(1, 1)));
    member.fetch();
    member
}

/// Ticks until a beat leaves; gives its round.
fn beat(member: &mut Member) -> u64 {
    member.fetch();
    loop {
        member.tick();
        if let [round, ..] = rounds(&member.fetch(), 2)[..] {
            return round;
        }
    }
}

/// Whether a read is answered without another word.
fn reads_alone(member: &mut Member) -> bool {
    let answered = member.answered.len();
    member.fetch();
    member.raft.read(answered as u64).expect("a leader with room");
    member.turn();
    let asked = !rounds(&member.fetch(), 2).is_empty();
    assert!(asked != (member.answered.len() > answered), "either it asks, or it answers");
    !asked
}

/// The margin: what is late, a tick on each side, a tenth for drift.
#[test]
fn a_lease_is_shorter_than_the_promise() {
    let leases = [1, 8, 9, 15, 25, 100].map(|election| lease_ticks(election).unwrap_or(0));
    assert_eq!(leases, [0, 0, 1, 7, 16, 83]);
    let too_long = Config { lease_ticks: Some(17), ..leased(1, 3) };
    let refused = std::panic::catch_unwind(|| Raft::new(too_long, Recovered::default()));
    assert!(refused.is_err());
}

/// "Once the leader's heartbeats were acknowledged by a majority of the cluster, the leader would extend its lease …, and it could
/// respond to read-only requests without additional communication": from the sending of the beat, not from the answer.
#[test]
fn a_lease_counts_from_the_sending_of_the_beat() {
    for answered_after in [0, 7, 15] {
        let mut member = leader(3);
        let round = beat(&mut member);
        (0..answered_after).for_each(|_| member.tick());
        member.step(n(2), heartbeat_reply(1, round));
        for ticks in answered_after..16 {
            assert!(
                reads_alone(&mut member),
                "{ticks} ticks after the beat, answered after {answered_after}"
            );
            member.tick();
        }
        assert!(!reads_alone(&mut member), "answered after {answered_after}");
    }
}

#[test]
fn a_lease_needs_a_majority() {
    for (voters, answers, holds) in [(3, 0, false), (3, 1, true), (5, 1, false), (5, 2, true)] {
        let mut member = leader(voters);
        let round = beat(&mut member);
        for other in 2..2 + answers {
            member.step(n(other), heartbeat_reply(1, round));
            member.step(n(other), heartbeat_reply(1, round));
        }
        assert_eq!(reads_alone(&mut member), holds, "{answers} of {voters}");
    }
}

/// E16: a lease says that nobody else leads, not what is committed.
#[test]
fn a_lease_answers_nothing_before_an_entry_of_the_term_is_committed() {
    let mut member = Member::lone_of(leased(1, 3), 2, &[1, 2]);
    (0..25).for_each(|_| member.tick());
    member.campaign();
    member.grant_votes();
    let round = beat(&mut member);
    member.step(n(2), heartbeat_reply(3, round));
    member.raft.read(7).expect("a leader with room");
    member.turn();
    assert_eq!(member.answered, []);
    member.step(n(2), matched(3, 3));
    assert_eq!(member.answered, [(7, 3)]);
}

/// Without the option, every read asks.
#[test]
fn leases_are_off_by_default() {
    let mut member = Member::lone_of(Config { lease_ticks: None, ..leased(1, 3) }, 0, &[]);
    member.campaign();
    member.grant_votes();
    member.step(n(2), matched(1, 1));
    let round = beat(&mut member);
    member.step(n(2), heartbeat_reply(1, round));
    assert!(!reads_alone(&mut member));
}

/// A process that was stopped: what it sent before counts for nothing, also when the answers come now.
#[test]
fn lost_ticks_end_the_lease() {
    let mut member = leader(3);
    let old = beat(&mut member);
    member.step(n(2), heartbeat_reply(1, old));
    member.raft.ticks_lost();
    assert!(!reads_alone(&mut member));
    let mut member = leader(3);
    let old = beat(&mut member);
    member.raft.ticks_lost();
    member.step(n(2), heartbeat_reply(1, old));
    assert!(!reads_alone(&mut member));
    let new = beat(&mut member);
    member.step(n(2), heartbeat_reply(1, new));
    assert!(reads_alone(&mut member));
}

/// A voter in term 1 that hears n3; and, where it matters, had its term raised afterwards by somebody's message.
fn promised(raised: bool) -> Member {
    let mut member = Member::lone_of(leased(1, 3), 1, &[]);
    (0..25).for_each(|_| member.tick());
    member.step(n(3), heartbeat(1, 0, 1));
    if raised {
        member.step(n(2), matched(5, 1));
    }
    member.flush();
    member
}

/// "servers … would not vote within the minimum election timeout of hearing from a leader": whatever becomes of the term, and of
/// the connection.
#[test]
fn a_voter_keeps_its_promise_whatever_it_hears() {
    for (raised, hint) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut member = promised(raised);
        if hint {
            member.raft.leader_unreachable(n(3));
        }
        for tick in 0..25 {
            for message in [pre_vote(9, id(9, 8)), vote(9, id(9, 8))] {
                member.step(n(2), message);
            }
            let status = member.status();
            assert_eq!((status.role, member.vote()), (Role::Follower, None), "tick {tick}, {raised} {hint}");
            assert!(member.flush().is_empty());
            member.tick();
        }
        member.step(n(2), vote(9, id(9, 8)));
        assert_eq!(member.vote(), Some(n(2)));
    }
}

/// The hint is of use all the same: the promise over, it asks at once.
#[test]
fn after_a_hint_a_voter_campaigns_when_its_promise_is_over() {
    let mut member = promised(false);
    member.raft.leader_unreachable(n(3));
    let ticks = (1..100).find(|_| {
        member.tick();
        member.status().role == Role::PreCandidate
    });
    assert_eq!(ticks, Some(25));
}

/// Every word of a leader is a promise, not only beats.
#[test]
fn entries_renew_the_promise() {
    let mut member = promised(false);
    (0..20).for_each(|_| member.tick());
    member.step(n(3), append(1, LogId::ZERO, crate::member::entries(&[1]), 0));
    (0..20).for_each(|_| member.tick());
    member.flush();
    member.step(n(2), vote(9, id(9, 8)));
    assert_eq!(member.vote(), None);
}

/// A voter that starts again does not remember whom it promised what.
#[test]
fn a_restarted_voter_gives_no_vote_for_an_election_timeout() {
    let mut member = promised(false);
    member.crash(0, None);
    for _ in 0..25 {
        member.step(n(2), vote(9, id(9, 8)));
        assert_eq!((member.vote(), member.status().role), (None, Role::Follower));
        member.tick();
    }
    member.step(n(2), vote(9, id(9, 8)));
    assert_eq!(member.vote(), Some(n(2)));
}

/// Thesis §6.4.1: "a leader would expire its lease before transferring leadership", and here for good: the word to campaign may
/// arrive long after the transfer was given up.
#[test]
fn a_leader_that_asked_an_heir_to_campaign_holds_no_lease_any_more() {
    let mut member = leader(3);
    let round = beat(&mut member);
    member.step(n(2), heartbeat_reply(1, round));
    assert!(reads_alone(&mut member));
    member.raft.transfer(Some(n(2))).expect("a voter");
    member.turn();
    for _ in 0..60 {
        let round = beat(&mut member);
        [2, 3].iter().for_each(|other| member.step(n(*other), heartbeat_reply(1, round)));
        assert!(!reads_alone(&mut member));
        member.persist_all();
    }
    assert_eq!(member.status().role, Role::Leader, "it leads on, and asks a majority for each read");
}

/// And so voters may break their promise for the heir, and for nobody else.
#[test]
fn a_promise_does_not_hold_against_the_leaders_own_wish() {
    let ask = |handed_over| Message::RequestVote { term: 2, last: LogId::ZERO, pre: false, handed_over };
    for handed_over in [true, false] {
        let mut member = promised(false);
        member.step(n(2), ask(handed_over));
        assert_eq!(member.vote(), handed_over.then(|| n(2)));
    }
}
