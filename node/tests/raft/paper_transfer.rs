//! Thesis §3.10: leadership transfer.

use ordeal_node::raft::{Membership, Message, ProposeError, Role, TransferError};

use crate::member::{Member, command, config, entries, id, n};
use crate::messages::{append, appends, heartbeat, matched, vote, vote_reply};
use crate::net::Net;

fn begin(member: &mut Member, to: Option<u32>) -> Result<u32, TransferError> {
    let outcome = member.raft.transfer(to.map(n));
    member.turn();
    outcome.map(|heir| heir.0)
}

fn asked(member: &mut Member) -> Vec<u32> {
    let sent = member.flush();
    let asks = sent.iter().filter(|(_, message)| matches!(message, Message::TimeoutNow { .. }));
    asks.map(|(to, _)| to.0).collect()
}

/// "1. The prior leader stops accepting new client requests. 2. The prior leader fully updates the target server's log to match
/// its own. 3. The prior leader sends a TimeoutNow request to the target server."
#[test]
fn the_heir_is_asked_when_it_has_all_of_the_log() {
    let mut leader = Member::lone_leader(1, 2, &[1]);
    leader.step(n(2), matched(2, 1));
    assert_eq!(begin(&mut leader, Some(2)), Ok(2));
    assert_eq!(leader.raft.propose(command("x")), Err(ProposeError::Busy));
    assert_eq!(asked(&mut leader), [0; 0], "its log is shorter");
    assert_eq!(begin(&mut leader, Some(2)), Ok(2), "the same wish again");
    leader.step(n(2), matched(2, 2));
    assert_eq!(asked(&mut leader), [2]);
    leader.step(n(2), matched(2, 2));
    assert_eq!(asked(&mut leader), [0; 0], "once");
}

/// An heir that is behind is sent what it lacks, as any follower.
#[test]
fn an_heir_that_is_behind_is_brought_up_to_date() {
    let mut leader = Member::lone_leader(1, 2, &[1, 1, 1]);
    begin(&mut leader, Some(2)).expect("a voter");
    leader.step(n(2), crate::messages::conflict(2, 3, id(0, 0)));
    assert_eq!(appends(&leader.fetch()), [(2, id(0, 0), vec![1, 2, 3, 4])]);
}

/// "This target server … starts a new election (incrementing its term and becoming a candidate)": at once, and without asking
/// first whether it would be elected.
#[test]
fn the_heir_campaigns_at_once() {
    let mut heir = Member::lone(2, 1, &[1]);
    heir.step(n(1), heartbeat(1, 1, 1));
    heir.flush();
    heir.step(n(1), Message::TimeoutNow { term: 1 });
    assert_eq!((heir.status().role, heir.status().term), (Role::Candidate, 2));
    let request = Message::RequestVote { term: 2, last: id(1, 1), pre: false, handed_over: true };
    assert_eq!(heir.flush(), [(n(1), request.clone()), (n(3), request)]);
}

/// §4.2.3 of the thesis: a request of the leader's own making "should be processed by other servers even when they believe a
/// current cluster leader exists", the leader among them.
#[test]
fn voters_heed_an_heir_although_they_hear_a_leader() {
    let request = |handed_over| Message::RequestVote { term: 3, last: id(1, 2), pre: false, handed_over };
    let mut member = Member::lone(3, 2, &[]);
    member.step(n(1), append(2, id(0, 0), entries(&[2]), 1));
    member.flush();
    member.step(n(2), request(false));
    assert_eq!(member.flush(), []);
    member.step(n(2), request(true));
    assert_eq!(member.flush(), [(n(2), vote_reply(3, true))]);
    let mut leader = Member::lone_leader(1, 2, &[]);
    leader.step(n(2), vote(3, id(1, 2)));
    assert_eq!(leader.status().role, Role::Leader);
    leader.step(n(2), request(true));
    assert_eq!((leader.status().role, leader.status().term), (Role::Follower, 3));
}

/// A shorter log wins no vote, whoever wanted the election.
#[test]
fn an_heir_needs_the_newest_log_all_the_same() {
    let mut member = Member::lone(3, 2, &[2, 2]);
    let request = Message::RequestVote { term: 3, last: id(1, 2), pre: false, handed_over: true };
    member.step(n(2), request);
    assert_eq!(member.flush(), [(n(2), vote_reply(3, false))]);
}

/// "If leadership transfer does not complete after about an election timeout, the prior leader aborts the transfer and resumes
/// accepting client requests."
#[test]
fn a_transfer_is_given_up_after_an_election_timeout() {
    let mut net = Net::new(3);
    net.elect(1);
    net.isolate(3);
    assert_eq!(begin(net.member(1), Some(3)), Ok(3));
    net.ticks(4);
    assert_eq!(net.member(1).raft.propose(command("x")), Err(ProposeError::Busy));
    net.ticks(1);
    assert!(net.leads(1));
    net.member(1).propose("x");
    net.settle();
    assert_eq!(net.member(2).status().last, net.member(1).status().last);
}

/// In a healthy group nobody waits: one round trip for the log, one for the election.
#[test]
fn another_leads_at_once() {
    for to in [Some(3), None] {
        let mut net = Net::new(3);
        net.elect(1);
        net.member(1).propose("x");
        let heir = begin(net.member(1), to).expect("a voter");
        net.settle();
        assert_eq!(net.leaders(), [(n(heir), 2)]);
        assert_eq!(net.member(1).status().leader, Some(n(heir)));
        assert!(to.is_none_or(|to| to == heir));
    }
}

/// Only voters lead, and only leaders hand over.
#[test]
fn there_must_be_an_heir() {
    let mut leader = Member::lone_leader(1, 2, &[]);
    assert_eq!(begin(&mut leader, Some(4)), Err(TransferError::NoHeir));
    assert_eq!(begin(&mut leader, Some(1)), Ok(1), "it leads already");
    assert!(!leader.raft.is_handing_over());
    assert_eq!(begin(&mut leader, None), Err(TransferError::NoHeir), "nobody is known to have anything");
    let mut follower = Member::lone(1, 2, &[]);
    follower.step(n(2), heartbeat(2, 0, 1));
    assert_eq!(begin(&mut follower, Some(1)), Err(TransferError::NotLeader { leader: Some(n(2)) }));
}

/// What comes late, or from another than the leader, starts no election.
#[test]
fn only_the_leader_of_the_term_may_ask() {
    for (from, term) in [(2, 3), (2, 5), (3, 4)] {
        let mut member = Member::lone(1, 4, &[]);
        member.step(n(2), heartbeat(4, 0, 1));
        member.step(n(from), Message::TimeoutNow { term });
        assert_eq!(member.status().role, Role::Follower, "n{from} of term {term}");
    }
    let mut leader = Member::lone_leader(1, 2, &[]);
    leader.step(n(2), Message::TimeoutNow { term: 2 });
    assert_eq!((leader.status().role, leader.status().term), (Role::Leader, 2));
    let mut config = config(1, 3);
    config.bootstrap = Membership::default().into();
    let mut stranger = Member::lone_of(config, 4, &[]);
    stranger.step(n(2), Message::TimeoutNow { term: 4 });
    assert_eq!(stranger.status().role, Role::Follower, "it is no voter");
}
