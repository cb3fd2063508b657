//! §6 and thesis chapter 4: how the members of a group change.

use ordeal_node::raft::{Change, ChangeError, Changing, Entry, Membership, Message, Payload, Role, Unfit};

use crate::disk::Disk;
use crate::member::{Member, config, entry, id, n, voters};
use crate::messages::{append, heartbeat, matched, part, pre_vote, pre_vote_reply, vote, vote_reply};
use crate::net::Net;

pub fn add(number: u32) -> Change {
    Change::Add { node: n(number), address: format!("n{number}:1") }
}

pub fn remove(number: u32) -> Change {
    Change::Remove { node: n(number) }
}

/// A leader of `count` voters in term 2 whose no-op at index 1 is committed, alone in the test.
fn leader(count: u32) -> Member {
    let mut member = Member::lone_of(config(1, count), 1, &[]);
    member.campaign();
    member.grant_votes();
    (2..=count).for_each(|other| member.step(n(other), matched(2, 1)));
    member.flush();
    assert_eq!((member.status().role, member.status().commit), (Role::Leader, 1));
    member
}

fn change(member: &mut Member, change: &Change) -> Result<Changing, ChangeError> {
    let outcome = member.raft.change_members(change);
    member.turn();
    outcome
}

fn members(member: &Member) -> String {
    member.raft.membership().to_string()
}

/// §6: "a server always uses the latest configuration in its log, regardless of whether the entry is committed".
#[test]
fn the_latest_configuration_in_the_log_is_in_effect() {
    let mut member = leader(3);
    assert_eq!(change(&mut member, &remove(3)), Ok(Changing::UnderWay));
    assert_eq!((members(&member).as_str(), member.status().commit), ("n1 n2 (from n1 n2 n3)", 1));
    let mut follower = Member::lone(2, 2, &[]);
    follower.step(n(1), append(2, id(0, 0), member.view.entries.clone(), 0));
    assert_eq!((members(&follower), follower.status().commit), (members(&member), 0));
    follower.persist_all();
    follower.crash(0, None);
    assert_eq!(members(&follower), members(&member), "also after a restart");
}

/// §6: "Agreement (for elections and entry commitment) requires separate majorities from both the old and new
/// configurations": here both of n1 and n2, and two of three.
#[test]
fn entries_need_a_majority_of_both_halves() {
    let mut member = leader(2);
    change(&mut member, &add(3)).expect("a change");
    member.flush();
    member.step(n(2), matched(2, 2));
    member.step(n(3), matched(2, 2));
    member.flush();
    assert_eq!(members(&member), "n1 n2 n3 (from n1 n2)");
    member.step(n(3), matched(2, 3));
    assert_eq!(member.status().commit, 2, "a majority of the new half alone");
    member.step(n(2), matched(2, 3));
    assert_eq!(member.status().commit, 3);
}

/// The same for elections.
#[test]
fn leaders_need_a_majority_of_both_halves() {
    let mut leader = leader(2);
    change(&mut leader, &add(3)).expect("a change");
    leader.flush();
    leader.step(n(2), matched(2, 2));
    leader.step(n(3), matched(2, 2));
    let disk = || Disk { entries: leader.view.entries.clone(), ..leader.disk.clone() };
    for (votes, role) in [(&[3][..], Role::Candidate), (&[2], Role::Leader), (&[3, 4, 5], Role::Candidate)] {
        let mut member = Member::new(config(1, 2), disk());
        assert_eq!(members(&member), "n1 n2 n3 (from n1 n2)");
        member.campaign();
        let asked: Vec<u32> = member.fetch().iter().map(|(to, _)| to.0).collect();
        assert_eq!(asked, [2, 3], "everybody who votes is asked");
        [2, 3].into_iter().for_each(|other| member.step(n(other), pre_vote_reply(3, true)));
        member.persist_all();
        votes.iter().for_each(|&voter| member.step(n(voter), vote_reply(3, true)));
        assert_eq!(member.status().role, role, "votes of {votes:?}");
    }
}

/// §6: reads and CheckQuorum count as elections do.
#[test]
fn a_leader_that_hears_only_one_half_steps_down_and_confirms_no_read() {
    let mut member = leader(2);
    change(&mut member, &add(3)).expect("a change");
    member.flush();
    member.step(n(2), matched(2, 2));
    member.step(n(3), matched(2, 2));
    assert_eq!(members(&member), "n1 n2 n3 (from n1 n2)");
    member.raft.read(7).expect("a leader");
    for tick in 0..5 {
        assert_eq!(member.status().role, Role::Leader, "{tick}");
        let rounds = crate::messages::rounds(&member.flush(), 3);
        rounds.iter().for_each(|&round| member.step(n(3), crate::messages::heartbeat_reply(2, round)));
        member.tick();
    }
    assert_eq!((member.status().role, member.answered.len()), (Role::Follower, 0));
}

/// §6: "Once C_old,new has been committed … it is now safe for the leader to create a log entry describing C_new and replicate
/// it to the cluster": by itself.
#[test]
fn the_leader_leaves_the_joint_configuration_when_it_is_committed() {
    let mut net = Net::new(3);
    net.elect(1);
    assert_eq!(change(net.member(1), &remove(3)), Ok(Changing::UnderWay));
    net.settle();
    assert_eq!((members(net.member(1)), members(net.member(2))), ("n1 n2".to_owned(), "n1 n2".to_owned()));
    assert_eq!(change(net.member(1), &remove(3)), Ok(Changing::Done));
    let commit = net.member(1).status().commit;
    net.member(1).propose("x");
    net.settle();
    assert_eq!(net.member(1).status().commit, commit + 1);
}

/// "Either … leader can complete": one that finds a joint configuration in its log ends it.
#[test]
fn a_new_leader_ends_what_an_old_one_began() {
    let mut net = Net::new(3);
    net.elect(1);
    change(net.member(1), &remove(3)).expect("a change");
    net.member(1).persist_all();
    net.collect();
    while let Some(packet) = net.wires.pop_front() {
        net.deliver(packet); // to the others, whose answers are lost
    }
    net.member(1).crash(0, None);
    assert_eq!(members(net.member(2)), "n1 n2 (from n1 n2 n3)");
    net.elect(2);
    net.ticks(2);
    assert_eq!((members(net.member(1)), members(net.member(2))), ("n1 n2".to_owned(), "n1 n2".to_owned()));
}

/// Thesis §4.2.1: new servers join "as non-voting members": entries are replicated to them, "but they are not yet counted
/// towards majorities for voting or commitment purposes", until they have "caught up with the rest of the cluster".
#[test]
fn a_new_server_votes_when_it_has_caught_up() {
    let mut net = Net::with(3, |config| config.promotion_lag_entries = 2);
    net.elect(1);
    (0..20).for_each(|_| {
        net.member(1).propose("x");
    });
    net.settle();
    net.join(4);
    net.isolate(4);
    change(net.member(1), &add(4)).expect("a change");
    net.ticks(50);
    assert_eq!(members(net.member(1)), "n1 n2 n3, learners n4", "it answers nothing");
    assert_eq!(change(net.member(1), &add(4)), Ok(Changing::UnderWay));
    net.isolate(3);
    net.member(1).propose("y");
    net.settle();
    let status = net.member(1).status();
    assert_eq!(status.commit, status.last.index, "two of three are a majority");
    net.heal();
    net.ticks(20);
    for number in 1..=4 {
        assert_eq!(members(net.member(number)), "n1 n2 n3 n4");
    }
    assert_eq!(change(net.member(1), &add(4)), Ok(Changing::Done));
    let machine = net.member(4).machine;
    assert_eq!(machine, net.member(1).machine);
}

/// A learner that is to stay one, and a second thought.
#[test]
fn a_learner_stays_one_until_it_is_added_as_a_voter() {
    let mut net = Net::new(1);
    net.elect(1);
    net.join(2);
    let learner = Change::AddLearner { node: n(2), address: "n2:1".to_owned() };
    change(net.member(1), &learner).expect("a change");
    net.ticks(20);
    assert_eq!(members(net.member(2)), "n1, learners n2");
    assert_eq!(change(net.member(1), &learner), Ok(Changing::Done));
    let machine = net.member(2).machine;
    assert_eq!(machine, net.member(1).machine, "it receives everything");
    change(net.member(1), &add(2)).expect("a change");
    net.ticks(5);
    assert_eq!(members(net.member(2)), "n1 n2");
    assert_eq!(change(net.member(1), &learner), Err(ChangeError::Unfit(Unfit::IsVoter(n(2)))));
}

/// An acknowledgement counts if it is a voter's.
#[test]
fn answers_of_learners_and_strangers_count_for_nothing() {
    let mut member = leader(3);
    change(&mut member, &add(4)).expect("a change");
    member.flush();
    [4, 5, 0].into_iter().for_each(|other| member.step(n(other), matched(2, 2)));
    member.step(n(5), matched(9, 2));
    assert_eq!((member.status().commit, member.status().term), (1, 2));
    let mut candidate = Member::lone(1, 1, &[]);
    candidate.campaign();
    [4, 5].into_iter().for_each(|other| candidate.step(n(other), pre_vote_reply(2, true)));
    assert_eq!(candidate.status().role, Role::PreCandidate);
    candidate.step(n(2), pre_vote_reply(2, true));
    candidate.persist_all();
    [4, 5].into_iter().for_each(|other| candidate.step(n(other), vote_reply(2, true)));
    assert_eq!(candidate.status().role, Role::Candidate);
}

/// §6: "the leader steps down (returns to follower state) once it has committed the C_new log entry. This means that there will be
/// a period of time … when it is managing a cluster that does not include itself; it replicates log entries but does not count
/// itself in majorities."
#[test]
fn a_leader_that_is_not_in_c_new_steps_down_when_it_is_committed() {
    let mut member = leader(3);
    change(&mut member, &remove(1)).expect("a change");
    member.flush();
    member.step(n(2), matched(2, 2));
    assert_eq!(member.status().commit, 1, "one of two is no majority of the new half");
    member.step(n(3), matched(2, 2));
    member.flush();
    assert_eq!((members(&member).as_str(), member.status().commit), ("n2 n3", 2));
    member.step(n(2), matched(2, 3));
    assert_eq!((member.status().commit, member.status().role), (2, Role::Leader), "itself does not count");
    member.fetch();
    member.step(n(3), matched(2, 3));
    assert_eq!((member.status().commit, member.status().role), (3, Role::Follower));
    let asked =
        member.fetch().into_iter().filter(|(_, message)| matches!(message, Message::TimeoutNow { .. }));
    assert_eq!(asked.count(), 1, "and asks somebody to campaign at once");
    (0..100).for_each(|_| member.tick());
    assert_eq!(member.status().role, Role::Follower, "it is no voter any more");
}

/// The others do not wait for an election timeout.
#[test]
fn after_the_leader_is_removed_another_leads_at_once() {
    let mut net = Net::new(3);
    net.elect(1);
    change(net.member(1), &remove(1)).expect("a change");
    net.settle();
    let leaders = net.leaders();
    assert!(leaders.len() == 1 && leaders[0].0 != n(1), "{leaders:?}");
    net.ticks(100);
    assert_eq!(net.leaders(), leaders, "and nobody disturbs it");
}

/// §6: "removed servers (those not in C_new) can disrupt the cluster": not with pre-vote and stickiness (E3).
#[test]
fn a_removed_server_disrupts_nobody() {
    let mut net = Net::new(3);
    net.elect(1);
    net.isolate(3);
    change(net.member(1), &remove(3)).expect("a change");
    net.settle();
    assert_eq!(members(net.member(1)), "n1 n2");
    net.heal();
    net.ticks(200);
    assert_eq!(net.leaders(), [(n(1), 1)]);
    net.member(3).crash(0, None);
    net.ticks(200);
    assert_eq!(net.leaders(), [(n(1), 1)]);
    assert_eq!(net.member(3).status().term, 1, "it asked in vain");
}

/// E2 (Ongaro, raft-dev 2015-07-10): no change before an entry of the leader's own term is committed.
#[test]
fn no_change_before_an_entry_of_the_own_term_is_committed() {
    let mut member = Member::lone_leader(1, 2, &[1]);
    assert_eq!(change(&mut member, &remove(3)), Err(ChangeError::Busy));
    member.step(n(2), matched(2, 1));
    assert_eq!(change(&mut member, &remove(3)), Err(ChangeError::Busy), "an entry of term 1");
    member.step(n(2), matched(2, 2));
    assert_eq!(change(&mut member, &remove(3)), Ok(Changing::UnderWay));
}

/// Thesis §4.1, and §6 here: one at a time. The same wish again is harmless.
#[test]
fn one_change_at_a_time() {
    let mut member = leader(3);
    assert_eq!(change(&mut member, &remove(3)), Ok(Changing::UnderWay));
    assert_eq!(change(&mut member, &remove(3)), Ok(Changing::UnderWay));
    assert_eq!(change(&mut member, &remove(2)), Err(ChangeError::Busy));
    assert_eq!(change(&mut member, &add(4)), Err(ChangeError::Busy));
    member.flush();
    member.step(n(2), matched(2, 2));
    assert_eq!(change(&mut member, &remove(3)), Ok(Changing::UnderWay), "C_new is not committed yet");
    assert_eq!(change(&mut member, &add(4)), Err(ChangeError::Busy));
    member.flush();
    member.step(n(2), matched(2, 3));
    assert_eq!(change(&mut member, &remove(3)), Ok(Changing::Done));
    assert_eq!(change(&mut member, &remove(9)), Ok(Changing::Done), "nobody is there to be removed");
    assert_eq!(change(&mut member, &add(4)), Ok(Changing::UnderWay));
    assert_eq!(member.terms().len(), 4);
    let mut follower = Member::lone(1, 1, &[]);
    assert_eq!(change(&mut follower, &add(4)), Err(ChangeError::NotLeader { leader: None }));
}

/// Thesis §4.1: "a log entry … can be removed … in this case a server must be prepared to fall back to the previous
/// configuration in its log" (E10).
#[test]
fn a_truncated_configuration_is_rolled_back() {
    let mut net = Net::new(3);
    net.elect(1);
    net.isolate(1);
    change(net.member(1), &remove(3)).expect("a change");
    net.settle();
    assert_eq!(members(net.member(1)), "n1 n2 (from n1 n2 n3)");
    net.elect(2);
    net.heal();
    net.ticks(10);
    assert_eq!(members(net.member(1)), "n1 n2 n3");
    assert_eq!(net.member(1).status().leader, Some(n(2)));
}

/// Thesis §4.1: servers "process incoming RPC requests without consulting their current configurations": "a server accepts
/// AppendEntries requests from a leader that is not part of the server's latest configuration", and "grants its vote to a candidate
/// that is not part of the server's latest configuration".
#[test]
fn requests_of_those_who_are_no_members_are_answered() {
    for bootstrap in [voters(3), Membership::default()] {
        let mut config = config(1, 3);
        config.bootstrap = bootstrap.into();
        let mut member = Member::lone_of(config, 1, &[]);
        member.step(n(7), pre_vote(2, id(0, 0)));
        member.step(n(7), vote(2, id(0, 0)));
        assert_eq!(member.flush(), [(n(7), pre_vote_reply(2, true)), (n(7), vote_reply(2, true))]);
        member.step(n(8), append(3, id(0, 0), vec![entry(1, 3)], 1));
        assert_eq!(member.flush(), [(n(8), matched(3, 1))]);
        assert_eq!((member.status().leader, member.status().commit), (Some(n(8)), 1));
    }
}

/// E17 (hashicorp/raft #398, etcd db54973): who does not vote does not campaign, also when told to.
#[test]
fn learners_and_those_who_know_no_group_never_campaign() {
    let mut net = Net::new(1);
    net.elect(1);
    net.join(2);
    net.join(3);
    change(net.member(1), &Change::AddLearner { node: n(2), address: String::new() }).expect("a change");
    net.ticks(3);
    assert_eq!(members(net.member(2)), "n1, learners n2");
    for number in [2, 3] {
        let member = net.member(number);
        let term = member.status().term;
        member.step(n(1), Message::TimeoutNow { term });
        (0..1_000).for_each(|_| member.tick());
        let status = member.status();
        assert_eq!((status.role, status.term), (Role::Follower, term), "n{number}");
        assert!(member.flush().iter().all(|(_, message)| !matches!(message, Message::RequestVote { .. })));
    }
}

/// Thesis §4.2.2: "a server that is not part of its own latest configuration should still start new elections, as it might still
/// be needed until the C_new entry is committed … It does not count its own vote".
#[test]
fn a_removed_server_campaigns_until_it_knows_that_it_is_over() {
    let mut leader = leader(2);
    change(&mut leader, &remove(1)).expect("a change");
    leader.flush();
    leader.step(n(2), matched(2, 2));
    leader.flush();
    assert_eq!((members(&leader).as_str(), leader.status().commit), ("n2", 2));
    leader.crash(0, None);
    leader.campaign();
    assert_eq!(leader.status().role, Role::PreCandidate, "alone its vote is none");
    leader.step(n(2), pre_vote_reply(3, true));
    leader.persist_all();
    leader.step(n(2), vote_reply(3, true));
    assert_eq!(leader.status().role, Role::Leader);
    leader.step(n(2), matched(3, 4));
    leader.flush();
    assert_eq!(leader.status().role, Role::Follower, "C_new is committed");
    (0..100).for_each(|_| leader.tick());
    assert_eq!(leader.status().role, Role::Follower);
}

/// §7: a snapshot holds "the latest configuration in the log as of last included index", and so does what is sent of it.
#[test]
fn a_snapshot_carries_the_configuration() {
    let mut net = Net::with(2, |config| config.trailing_entries = 0);
    net.elect(1);
    net.join(3);
    change(net.member(1), &add(3)).expect("a change");
    net.ticks(5);
    assert_eq!(members(net.member(3)), "n1 n2 n3");
    net.join(4);
    net.isolate(4);
    change(net.member(1), &add(4)).expect("a change");
    net.settle();
    net.member(1).compact();
    net.settle();
    assert_eq!(net.member(1).status().first, net.member(1).status().last.index + 1);
    net.heal();
    net.ticks(10);
    for number in [1, 4] {
        assert_eq!(members(net.member(number)), "n1 n2 n3 n4");
        net.member(number).compact();
        net.settle();
        net.member(number).crash(0, None);
        assert_eq!(members(net.member(number)), "n1 n2 n3 n4", "n{number} after a restart");
    }
}

/// A node that joins knows its group from the log, and takes no snapshot before: it would say that nobody belongs to it.
#[test]
fn who_knows_no_group_takes_no_snapshot() {
    let mut config = config(4, 3);
    config.bootstrap = Membership::default().into();
    let mut member = Member::lone_of(config, 1, &[1, 1]);
    member.step(n(1), heartbeat(1, 2, 1));
    member.flush();
    assert_eq!(member.status().applied, 2);
    member.compact();
    assert!(member.flush().is_empty());
    let learned = Entry { id: id(3, 1), payload: Payload::Membership(voters(4).into()) };
    member.step(n(1), append(1, id(2, 1), vec![learned], 3));
    member.flush();
    member.compact();
    member.flush();
    assert_eq!(member.status().snapshot, id(3, 1));
}

/// A membership that cannot be is no reason to believe the rest.
#[test]
fn an_unsound_configuration_is_not_taken() {
    let mut member = Member::lone(1, 1, &[]);
    let nobody = Entry { id: id(1, 1), payload: Payload::Membership(Membership::default().into()) };
    member.step(n(2), append(1, id(0, 0), vec![nobody], 1));
    let Message::InstallSnapshot { term, last, total_bytes, offset, data, .. } =
        part(1, id(5, 1), 2, 0, "ab")
    else {
        panic!("a part")
    };
    let membership = voters(16).into();
    member.step(n(2), Message::InstallSnapshot { term, last, membership, total_bytes, offset, data });
    assert_eq!((member.flush().len(), member.terms().len()), (0, 0));
}
