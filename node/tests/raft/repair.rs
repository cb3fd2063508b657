//! Entries that a disk lost (CTRL, FAST'18; the rules stand on top of `raft/repair.rs`): what they still count for, how they
//! come back, and who may give one up.

use std::collections::BTreeSet;

use ordeal_node::raft::{
    Config, Entry, Event, HardState, Index, LogId, Message, Payload, ProposeError, Role, Term,
};

use crate::disk::Disk;
use crate::member::{Machine, Member, Sent, config, entries, entry, id, n, voters};
use crate::messages::{
    append, appends, conflict, heartbeat, heartbeat_reply, matched, part, part_reply, pre_vote, vote,
    vote_reply,
};
use crate::net::Net;

/// Member `own` of `count`, with a log of these terms of which some contents are lost.
fn damaged_of(config: Config, term: Term, terms: &[Term], lost: &[Index]) -> Member {
    let hard_state = HardState { term, vote: None };
    let lost = lost.iter().copied().collect();
    Member::new(config, Disk { hard_state, entries: entries(terms), lost, ..Disk::default() })
}

fn damaged(term: Term, terms: &[Term], lost: &[Index]) -> Member {
    damaged_of(config(1, 3), term, terms, lost)
}

/// One that was elected although entries are lost.
fn damaged_leader(term: Term, terms: &[Term], lost: &[Index]) -> Member {
    let mut member = damaged(term - 1, terms, lost);
    let patience = 4 * member.config.election_ticks;
    (0..patience).for_each(|_| {
        if member.status().role == Role::Follower {
            member.tick();
        }
    });
    member.grant_votes();
    assert_eq!((member.status().role, member.status().term), (Role::Leader, term));
    member.fetch();
    member
}

fn fetch(term: Term, ids: &[LogId]) -> Message {
    Message::Fetch { term, ids: ids.to_vec() }
}

fn fetched(term: Term, entries: &[Entry], absent: &[LogId]) -> Message {
    Message::Fetched { term, entries: entries.to_vec(), absent: absent.to_vec(), covered: None }
}

/// What was asked for, of whom.
fn asked(sent: &[Sent]) -> Vec<(u32, Vec<Index>)> {
    let asked = sent.iter().filter_map(|(to, message)| match message {
        Message::Fetch { ids, .. } => Some((to.0, ids.iter().map(|id| id.index).collect())),
        Message::Fetched { .. }
        | Message::RequestVote { .. }
        | Message::RequestVoteReply { .. }
        | Message::AppendEntries { .. }
        | Message::AppendEntriesReply { .. }
        | Message::Heartbeat { .. }
        | Message::HeartbeatReply { .. }
        | Message::InstallSnapshot { .. }
        | Message::InstallSnapshotReply { .. }
        | Message::TimeoutNow { .. }
        | Message::ReadIndex { .. }
        | Message::ReadIndexReply { .. } => None,
    });
    asked.collect()
}

/// Rule 2: acknowledged is what the disk holds, without a gap.
#[test]
fn nothing_from_a_lost_entry_on_is_acknowledged() {
    let mut member = damaged(1, &[1, 1, 1, 1], &[3]);
    member.step(n(2), append(2, id(4, 1), vec![entry(5, 2)], 0));
    assert_eq!(member.flush(), [(n(2), matched(2, 2))]);
    assert_eq!(member.status().last, id(5, 2), "what comes is appended all the same");
    member.step(n(2), append(2, id(1, 1), vec![entry(2, 1)], 0));
    assert_eq!(member.flush(), [(n(2), matched(2, 2))]);
}

/// Rule 1: "prevLogIndex whose term matches prevLogTerm" (§5.3) asks for the place, and the place is there.
#[test]
fn a_check_at_a_lost_entry_succeeds() {
    let mut member = damaged(1, &[1, 1, 1], &[3]);
    member.step(n(2), append(2, id(3, 1), vec![], 0));
    assert_eq!(member.flush(), [(n(2), matched(2, 2))]);
    member.step(n(2), append(2, id(3, 2), vec![], 0));
    assert_eq!(member.flush(), [(n(2), conflict(2, 3, id(3, 1)))]);
}

/// Rule 1: "more up-to-date" (§5.4.1) is decided by what was promised, not by what can be read.
#[test]
fn a_lost_entry_counts_in_the_comparison_of_logs() {
    for (last, granted) in [(id(2, 1), false), (id(3, 1), true), (id(4, 1), true)] {
        let mut member = damaged(1, &[1, 1, 1], &[3]);
        member.step(n(2), vote(2, last));
        assert_eq!(member.flush(), [(n(2), vote_reply(2, granted))], "{last}");
    }
}

/// Rule 2: what nobody can read here is not applied, nor what follows it, whatever is known to be committed.
#[test]
fn nothing_from_a_lost_entry_on_is_applied() {
    let mut member = damaged(1, &[1, 1, 1, 1], &[3]);
    member.step(n(2), heartbeat(1, 4, 1));
    member.flush();
    assert_eq!((member.status().commit, member.status().applied), (4, 2));
}

/// Rule 3.
#[test]
fn a_request_of_the_leader_refills_what_is_lost() {
    let mut member = damaged(1, &[1, 1, 1, 1], &[2, 4]);
    member.step(n(2), append(1, id(1, 1), entries(&[1, 1, 1])[1..].to_vec(), 3));
    let write = &member.held.front().expect("a write").persist;
    assert_eq!((write.entries.len(), write.repairs.clone()), (0, vec![entry(2, 1)]));
    assert_eq!(member.status().applied, 1, "not before it is durable");
    assert_eq!(member.fetch(), [], "nothing is acknowledged before it is durable");
    assert_eq!(member.flush(), [(n(2), matched(1, 3))]);
    assert_eq!((member.status().applied, member.status().lost), (3, 1));
    assert_eq!(member.disk.lost, BTreeSet::from([4]));
}

/// Rule 3.
#[test]
fn a_request_that_conflicts_truncates_what_is_lost() {
    let mut member = damaged(1, &[1, 1, 1, 1], &[3, 4]);
    member.step(n(2), append(2, id(2, 1), vec![entry(3, 2)], 0));
    assert_eq!(member.flush(), [(n(2), matched(2, 3))]);
    assert_eq!((member.terms(), member.status().lost), (vec![1, 1, 2], 0));
    assert_eq!(member.disk.lost, BTreeSet::new());
}

/// As often as a leader beats, whoever it is; the first ones first, and no more than a request holds.
#[test]
fn everybody_is_asked_for_the_first_that_are_lost() {
    let lost: Vec<Index> = (2..=400).collect();
    let mut member =
        damaged_of(Config { heartbeat_ticks: 2, election_ticks: 6, ..config(1, 3) }, 1, &[1; 500], &lost);
    member.tick();
    assert_eq!(asked(&member.fetch()), []);
    member.tick();
    let first: Vec<Index> = (2..=257).collect();
    assert_eq!(asked(&member.fetch()), [(2, first.clone()), (3, first)]);
}

/// Whoever has it: a follower, and one in another term. Of what it lost as well, or has cut, it says nothing.
#[test]
fn a_member_says_what_it_has_and_what_it_never_had() {
    let mut member = damaged(7, &[1, 1, 2, 2], &[4]);
    let ids = [id(2, 1), id(3, 1), id(3, 2), id(4, 2), id(5, 2)];
    member.step(n(2), fetch(3, &ids));
    let answer = fetched(7, &[entry(2, 1), entry(3, 2)], &[id(3, 1), id(5, 2)]);
    assert_eq!(member.flush(), [(n(2), answer)]);

    let mut member = Member::lone_of(Config { trailing_entries: 0, ..config(1, 3) }, 1, &[1, 1, 1]);
    member.step(n(3), heartbeat(1, 2, 1));
    member.flush();
    member.compact();
    member.flush();
    member.step(n(2), fetch(1, &[id(1, 1), id(2, 1), id(3, 1)]));
    let (entries, absent) = (vec![entry(3, 1)], vec![]);
    let covered = Some((id(2, 1), voters(3).into()));
    assert_eq!(member.flush(), [(n(2), Message::Fetched { term: 1, entries, absent, covered })]);
}

/// Rule 6 rests on it: who says that it never had an entry is in the term that it says it in, for good.
#[test]
fn an_answer_leaves_when_its_term_is_durable() {
    let mut member = Member::lone(1, 1, &[1]);
    member.step(n(2), heartbeat(5, 0, 1));
    member.fetch();
    member.step(n(2), fetch(5, &[id(2, 1)]));
    assert_eq!(member.fetch(), []);
    assert_eq!(member.flush().last(), Some(&(n(2), fetched(5, &[], &[id(2, 1)]))));
}

/// An answer is bounded as a request of a leader is, and what is left is asked for at once.
#[test]
fn an_answer_is_bounded_and_the_rest_is_asked_for_at_once() {
    let mut member = Member::lone_of(Config { append_bytes_max: 80, ..config(1, 3) }, 1, &[1, 1, 1, 1]);
    member.step(n(2), fetch(1, &[id(1, 1), id(2, 1), id(3, 1)]));
    assert_eq!(member.flush(), [(n(2), fetched(1, &[entry(1, 1), entry(2, 1)], &[]))]);

    let mut member = damaged(1, &[1, 1, 1], &[1, 2, 3]);
    member.step(n(2), fetched(9, &[entry(1, 1), entry(2, 1)], &[]));
    assert_eq!(asked(&member.fetch()), [(2, vec![3])]);
}

/// "any intact copy is right": by the id, and only by it.
#[test]
fn what_comes_is_taken_by_its_id_and_counts_when_it_is_durable() {
    let mut member = damaged(3, &[1, 2, 3], &[1, 2]);
    member.step(n(2), heartbeat(3, 3, 1));
    member.flush();
    member.step(n(3), fetched(1, &[entry(2, 1), entry(3, 3), entry(4, 3), entry(1, 1)], &[]));
    assert_eq!((member.status().lost, member.status().applied), (1, 0));
    member.flush();
    assert_eq!((member.status().lost, member.status().applied), (1, 1));
    member.step(n(2), fetched(9, &[entry(2, 2)], &[]));
    member.flush();
    assert_eq!((member.status().lost, member.status().applied, member.status().term), (0, 3, 3));
    assert_eq!(member.disk.lost, BTreeSet::new());
}

/// A repair that was overtaken by a truncation repairs nothing.
#[test]
fn a_repair_under_way_does_not_outlive_a_truncation() {
    let mut member = damaged(3, &[1, 1, 1], &[2, 3]);
    member.step(n(2), fetched(3, &[entry(3, 1)], &[]));
    member.step(n(2), append(3, id(1, 1), vec![entry(2, 3)], 0));
    member.persist();
    member.persist_all();
    assert_eq!((member.terms(), member.disk.lost.len(), member.status().lost), (vec![1, 3], 0, 0));
    assert_eq!(member.fetch().last(), Some(&(n(2), matched(3, 2))));
}

/// Rule 2, and R30 of the log: a follower may know less than it said, and says so.
#[test]
fn a_leader_takes_back_what_a_follower_lost_and_sends_it_again() {
    let mut leader = Member::lone_leader(1, 2, &[1, 1, 1]);
    leader.step(n(2), matched(2, 4));
    assert_eq!(leader.status().commit, 4);
    leader.step(n(2), matched(2, 1)); // of its next life
    leader.fetch();
    leader.step(n(2), fetch(1, &[id(2, 1)])); // in an old term
    assert_eq!(leader.flush(), []);
    leader.step(n(2), fetch(2, &[id(2, 1), id(4, 2)]));
    let sent = leader.flush();
    assert_eq!(appends(&sent), [(2, id(1, 1), vec![2, 3, 4])]);
    leader.step(n(2), fetch(2, &[id(2, 1)]));
    assert_eq!(leader.flush(), [], "it is under way");
    leader.step(n(2), matched(2, 4));
    assert_eq!((leader.raft.followers()[0].1.match_index, leader.status().commit), (4, 4));
}

/// Rule 3: who has cut what a follower lost sends its snapshot.
#[test]
fn a_leader_that_cut_the_entry_sends_its_snapshot() {
    let mut leader = Member::lone_of(Config { trailing_entries: 0, ..config(1, 3) }, 1, &[1, 1, 1]);
    leader.campaign();
    leader.grant_votes();
    leader.step(n(2), matched(2, 4));
    leader.compact();
    leader.flush();
    leader.step(n(2), fetch(2, &[id(2, 1)]));
    let sent = leader.flush();
    assert!(
        matches!(&sent[..], [(_, Message::InstallSnapshot { last, .. })] if *last == id(4, 2)),
        "{sent:?}"
    );
}

/// Rule 3: "retain log entries following it" (Figure 13), for they may be acknowledged.
#[test]
fn a_snapshot_covers_what_is_lost_and_keeps_what_stands_behind() {
    let mut member = damaged(2, &[1, 1, 1, 2, 2], &[2, 5]);
    let snapshot = Machine { last: id(3, 1), digest: 5 }.snapshot();
    let text = std::str::from_utf8(&snapshot.data).expect("text");
    member.step(n(2), heartbeat(2, 4, 1));
    member.flush();
    member.step(n(2), part(2, id(3, 1), 40, 0, text));
    assert_eq!(member.status().applied, 1, "not before it is durable");
    assert_eq!(member.flush(), [(n(2), part_reply(2, id(3, 1), 40, true))]);
    let status = member.status();
    assert_eq!((status.applied, status.commit, status.last, status.lost), (4, 4, id(5, 2), 1));
    assert_eq!((member.terms(), member.disk.lost.clone()), (vec![2, 2], BTreeSet::from([5])));
    assert!(member.events.contains(&Event::Install(snapshot.clone())));
    // One that covers nothing that is lost says nothing new.
    member.step(n(2), part(2, id(3, 1), 40, 0, text));
    assert_eq!(member.flush(), [(n(2), part_reply(2, id(3, 1), 40, true))]);
    // And the next life begins the same way.
    member.crash(0, None);
    member.turn();
    assert_eq!((member.status().first, member.status().last, member.status().lost), (4, id(5, 2), 1));
}

/// Rule 4: two election timeouts later than others, and not when it is told to.
#[test]
fn who_lacks_entries_campaigns_last() {
    let mut member = damaged(1, &[1, 1], &[2]);
    let wait = member.config.election_ticks;
    (0..3 * wait).for_each(|_| member.tick());
    assert_eq!(member.status().role, Role::Follower);
    (0..wait / 2 + 2).for_each(|_| member.tick());
    assert_eq!(member.status().role, Role::PreCandidate);
    member.step(n(3), pre_vote(2, id(2, 1)));
    assert_eq!(member.status().role, Role::Follower, "it gives way, whoever has the larger number");

    let mut member = damaged(1, &[1, 1], &[2]);
    member.step(n(2), heartbeat(1, 0, 1));
    member.step(n(2), Message::TimeoutNow { term: 1 });
    assert_eq!(member.status().role, Role::Follower);
}

/// Rule 5: it may be a configuration, and then nobody knows whose votes decide.
#[test]
fn who_may_lack_a_configuration_does_not_campaign() {
    let mut member = damaged(1, &[1, 1, 1], &[2]);
    member.disk.doubtful = true;
    member.crash(0, None);
    (0..20 * member.config.election_ticks).for_each(|_| member.tick());
    assert_eq!((member.status().role, member.status().term), (Role::Follower, 1));
    member.step(n(2), fetched(1, &[entry(2, 1)], &[]));
    member.campaign();
}

/// Rule 5: who has cut the entry knows what was in effect behind it.
#[test]
fn who_learns_the_configuration_campaigns() {
    let mut member = damaged(1, &[1, 1, 1], &[2]);
    member.disk.doubtful = true;
    member.crash(0, None);
    let covered = |last| {
        let covered = Some((last, voters(3).into()));
        Message::Fetched { term: 1, entries: vec![], absent: vec![], covered }
    };
    let campaigns = |member: &mut Member| {
        (0..20 * member.config.election_ticks).for_each(|_| member.campaign_if_follower());
        member.status().role != Role::Follower
    };
    for elsewhere in [id(1, 1), id(2, 2), id(4, 1)] {
        member.step(n(2), covered(elsewhere));
        assert!(!campaigns(&mut member), "{elsewhere} says nothing about an entry 2@1 of this log");
    }
    member.step(n(2), covered(id(3, 1)));
    assert!(campaigns(&mut member));
    assert_eq!((member.status().commit, member.status().applied), (3, 1));
}

/// It leads only to find out.
#[test]
fn a_leader_that_lacks_entries_writes_and_serves_nothing() {
    let mut leader = damaged_leader(2, &[1, 1, 1], &[2]);
    assert_eq!((leader.status().last, leader.held.len()), (id(3, 1), 0), "no no-op");
    assert_eq!(leader.raft.propose(crate::member::command("x")), Err(ProposeError::Busy));
    assert_eq!(leader.raft.read(7), Err(ProposeError::Busy));
    leader.step(n(2), matched(2, 3));
    leader.step(n(3), matched(2, 3));
    assert_eq!(leader.status().commit, 0);
}

/// As soon as all is back it begins its term as every leader does.
#[test]
fn a_leader_that_got_all_back_leads() {
    let mut leader = damaged_leader(2, &[1, 1, 1], &[2]);
    leader.step(n(2), fetched(1, &[entry(2, 1)], &[]));
    assert_eq!(leader.status().last, id(4, 2));
    leader.step(n(2), matched(2, 4));
    assert_eq!(leader.status().commit, 0, "its own disk has not got it yet, and one is no majority");
    leader.flush();
    assert_eq!((leader.status().commit, leader.status().applied), (4, 4));
}

/// Rule 6: a majority, itself not among them, in its term.
#[test]
fn an_entry_is_given_up_when_a_majority_never_had_it() {
    let absent = |term| fetched(term, &[], &[id(2, 1)]);
    let mut leader = damaged_leader(3, &[1, 1, 2], &[2]);
    leader.step(n(2), absent(3));
    leader.step(n(2), absent(3));
    leader.step(n(3), absent(2)); // before it voted: it could still acknowledge the entry to the leader of term 2
    leader.step(n(3), fetched(3, &[], &[id(2, 2), id(3, 2)])); // others
    leader.step(n(1), absent(3));
    leader.step(n(4), absent(3));
    assert_eq!((leader.status().role, leader.status().last), (Role::Leader, id(3, 2)));
    leader.step(n(3), absent(3));
    let status = leader.status();
    assert_eq!((status.role, status.last, status.lost, status.term), (Role::Follower, id(1, 1), 0, 3));
    leader.persist_all();
    assert_eq!((leader.terms(), leader.disk.lost.clone()), (vec![1], BTreeSet::new()));
}

/// What is known to be committed is never given up, whoever says what.
#[test]
fn what_is_committed_is_not_given_up() {
    let mut leader = damaged(2, &[1, 1, 1], &[2]);
    leader.step(n(2), heartbeat(2, 3, 1));
    leader.flush();
    (0..4 * leader.config.election_ticks).for_each(|_| leader.campaign_if_follower());
    leader.grant_votes();
    assert_eq!(leader.status().role, Role::Leader);
    for other in [2, 3] {
        leader.step(n(other), fetched(3, &[], &[id(2, 1)]));
    }
    assert_eq!((leader.status().role, leader.status().last), (Role::Leader, id(3, 1)));
}

/// Who acknowledged all of the log lacks nothing of it.
#[test]
fn a_leader_that_lacks_entries_hands_over_to_one_that_does_not() {
    let mut leader = damaged_leader(2, &[1, 1, 1], &[2]);
    leader.tick();
    let sent = leader.fetch();
    assert_eq!(asked(&sent), [(2, vec![2]), (3, vec![2])]);
    leader.step(n(3), matched(2, 3));
    leader.step(n(2), matched(2, 2));
    for _ in 0..2 * leader.config.heartbeat_ticks {
        leader.tick();
    }
    assert!(leader.fetch().contains(&(n(3), Message::TimeoutNow { term: 2 })));
}

/// It stands in nobody's way for ever.
#[test]
fn a_leader_that_nobody_can_help_steps_down() {
    let mut leader = damaged_leader(2, &[1, 1, 1], &[2]);
    for round in 1..2 * u64::from(leader.config.election_ticks) {
        leader.tick();
        leader.step(n(2), heartbeat_reply(2, round));
        assert_eq!(leader.status().role, Role::Leader);
    }
    leader.tick();
    assert_eq!((leader.status().role, leader.status().last), (Role::Follower, id(3, 1)));
}

fn lose(net: &mut Net, who: u32, index: Index) {
    let member = net.member(who);
    member.disk.lost.insert(index);
    member.crash(0, None);
}

fn same_everywhere(net: &Net) -> bool {
    let machines: Vec<Machine> = net.members.values().map(|member| member.machine).collect();
    machines.iter().all(|machine| *machine == machines[0] && machine.last.index > 0)
}

/// Uncommitted entries that only damaged members have: nobody would vote for n3, and so n1 or n2 finds out.
#[test]
fn what_only_damaged_members_have_does_not_block_the_group() {
    let mut net = Net::remembering(&[(4, &[1, 1, 3]), (4, &[1, 1, 4]), (4, &[1, 1])]);
    lose(&mut net, 1, 3);
    lose(&mut net, 2, 3);
    net.ticks(200);
    assert!(same_everywhere(&net));
    assert!(net.members.values().all(|member| member.status().lost == 0));
}

/// Each entry has a whole copy somewhere: nothing is lost, whoever lost what.
#[test]
fn each_member_lost_something_else() {
    let mut net = Net::remembering(&[(1, &[1; 4]), (1, &[1; 4]), (1, &[1; 4])]);
    for (who, index) in [(1, 2), (2, 3), (3, 4)] {
        lose(&mut net, who, index);
    }
    net.ticks(200);
    assert!(same_everywhere(&net));
    let kept = |member: &Member| member.disk.entries[..4] == entries(&[1; 4]) && member.disk.lost.is_empty();
    assert!(net.members.values().all(kept));
}

/// Lost on a majority: it may be committed, and nobody can tell. The group waits, and no log gets shorter.
#[test]
fn what_a_majority_lost_is_never_given_up() {
    let mut net = Net::remembering(&[(1, &[1, 1]), (1, &[1, 1]), (1, &[1])]);
    lose(&mut net, 1, 2);
    lose(&mut net, 2, 2);
    net.ticks(500);
    assert!(net.members.values().all(|member| member.status().commit == 0));
    assert_eq!(net.member(1).status().last, id(2, 1));
    assert_eq!(net.member(2).status().last, id(2, 1));
}

/// The last copy of a no-op counts as one of a command.
#[test]
fn a_no_op_comes_back_as_one() {
    let noop = Entry { id: id(2, 1), payload: Payload::Noop };
    let mut member = damaged(1, &[1, 1], &[2]);
    member.disk.entries[1] = noop.clone();
    member.crash(0, None);
    member.step(n(2), fetched(1, std::slice::from_ref(&noop), &[]));
    let write = &member.held.front().expect("a write").persist;
    assert_eq!(write.repairs, [noop]);
}
