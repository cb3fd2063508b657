//! §5.1, §5.2 and §5.4.1: terms, votes, who may lead.

use std::collections::BTreeSet;

use ordeal_node::raft::{Config, Event, HardState, LogId, Message, Role, Term};

use crate::disk::Disk;
use crate::member::{Member, config, entries, id, n, voters};
use crate::messages::{
    append, conflict, heartbeat, heartbeat_reply, matched, part, part_reply, pre_vote, pre_vote_reply, vote,
    vote_reply,
};
use crate::net::Net;

/// §5.2: "When servers start up, they begin as followers."
#[test]
fn when_servers_start_up_they_begin_as_followers() {
    let status = Member::lone(1, 7, &[1, 7]).status();
    assert_eq!((status.role, status.term, status.leader), (Role::Follower, 7, None));
    assert_eq!((status.commit, status.applied, status.last), (0, 0, id(2, 7)));
}

/// §5.1: "If one server's current term is smaller than the other's, then it updates its current term to the larger value. If a
/// candidate or leader discovers that its term is out of date, it immediately reverts to follower state."
#[test]
fn a_larger_term_makes_everybody_a_follower_of_that_term() {
    let follower = || Member::lone(1, 1, &[1]);
    let candidate = || {
        let mut member = Member::lone(1, 0, &[]);
        member.campaign();
        member.step(n(2), pre_vote_reply(1, true));
        assert_eq!(member.status().role, Role::Candidate);
        member
    };
    let leader = || Member::lone_leader(1, 1, &[]);
    let makers: [(&str, &dyn Fn() -> Member); 3] =
        [("follower", &follower), ("candidate", &candidate), ("leader", &leader)];
    for (what, make) in makers {
        for (message, leads) in [
            (append(9, LogId::ZERO, vec![], 0), true),
            (heartbeat(9, 0, 1), true),
            (part(9, id(5, 3), 4, 0, "ab"), true),
            (vote_reply(9, false), false),
            (Message::RequestVoteReply { term: 9, asked: 2, pre: true, granted: false }, false),
            (heartbeat_reply(9, 0), false),
            (matched(9, 1), false),
        ] {
            let mut member = make();
            member.step(n(2), message.clone());
            let status = member.status();
            let outcome = (status.role, status.term, status.leader, member.vote());
            assert_eq!(outcome, (Role::Follower, 9, leads.then(|| n(2)), None), "{what}: {message:?}");
        }
    }
}

/// §5.1: "If a server receives a request with a stale term number, it rejects the request."
#[test]
fn a_stale_request_is_rejected_with_the_term_of_the_receiver() {
    for (message, reply) in [
        (vote(4, id(9, 4)), Message::RequestVoteReply { term: 5, asked: 4, pre: false, granted: false }),
        (append(4, LogId::ZERO, entries(&[4]), 1), conflict(5, 0, LogId::ZERO)),
        (append(4, id(7, 4), vec![], 1), conflict(5, 7, id(1, 1))),
        (heartbeat(4, 1, 3), heartbeat_reply(5, 0)),
        (part(4, id(9, 4), 2, 0, "ab"), part_reply(5, id(9, 4), 0, false)),
    ] {
        let mut member = Member::lone(1, 5, &[1]);
        member.step(n(2), message.clone());
        assert_eq!(member.flush(), [(n(2), reply)], "{message:?}");
        assert_eq!((member.terms(), member.status().leader, member.status().commit), (vec![1], None, 0));
    }
}

/// §5.2: "If a follower receives no communication over a period of time called the election timeout, then it … begins an
/// election": after more than the election timeout, and at most a quarter as long again. "Raft uses randomized election
/// timeouts."
#[test]
fn election_timeouts_are_random() {
    for (election_ticks, expected) in [(5, 6..=7), (25, 26..=31)] {
        let mut seen = BTreeSet::new();
        for (seed, own) in (0..200).flat_map(|seed| (1..=3).map(move |own| (seed, own))) {
            let mut member = Member::lone_of(Config { seed, election_ticks, ..config(own, 3) }, 0, &[]);
            let ticks = (1..).find(|_| {
                member.tick();
                member.status().role != Role::Follower
            });
            seen.extend(ticks);
        }
        assert_eq!(seen, expected.collect());
    }
}

/// §5.2: "A server remains in follower state as long as it receives valid RPCs from a leader": whichever they are, a part of a
/// snapshot that takes long among them.
#[test]
fn every_message_of_the_leader_holds_off_an_election() {
    for message in [append(1, id(1, 1), vec![], 0), heartbeat(1, 0, 1), part(1, id(9, 1), 40, 0, "ab")] {
        let mut member = Member::lone(1, 1, &[1]);
        for _ in 0..20 {
            member.step(n(2), message.clone());
            // The shortest timeout is 6.
            for _ in 0..5 {
                member.tick();
                assert_eq!(member.status().role, Role::Follower, "{message:?}");
            }
        }
    }
}

/// Members share the seed of their group, and still do not all time out at once.
#[test]
fn members_with_one_seed_draw_different_timeouts() {
    let timeouts: BTreeSet<Vec<Role>> = (1..=5)
        .map(|own| {
            let mut member = Member::lone_of(config(own, 5), 0, &[]);
            let roles = (0..100).map(|_| {
                member.tick();
                member.status().role
            });
            roles.collect()
        })
        .collect();
    assert!(timeouts.len() > 1);
}

/// §5.2: "To begin an election, a follower increments its current term and transitions to candidate state. It then votes for
/// itself and issues RequestVote RPCs in parallel to each of the other servers": when its own vote is durable.
#[test]
fn a_candidate_votes_for_itself_durably_and_asks_all_others() {
    let mut member = Member::lone(2, 3, &[1, 3]);
    member.campaign();
    member.fetch();
    member.step(n(3), pre_vote_reply(4, true));
    assert_eq!((member.status().role, member.status().term), (Role::Candidate, 4));
    assert_eq!(member.fetch(), [], "nothing leaves before the vote is durable");
    member.persist_all();
    assert_eq!(member.disk.hard_state, HardState { term: 4, vote: Some(n(2)) });
    assert_eq!(member.fetch(), [(n(1), vote(4, id(2, 3))), (n(3), vote(4, id(2, 3)))]);
}

/// §5.2: "A candidate wins an election if it receives votes from a majority of the servers in the full cluster for the same
/// term", its own included.
#[test]
fn a_majority_of_the_full_cluster_elects() {
    for (voters, grants, denials, role) in [
        (1, 0, 0, Role::Leader),
        (2, 0, 0, Role::Candidate),
        (2, 1, 0, Role::Leader),
        (3, 1, 0, Role::Leader),
        (3, 1, 1, Role::Leader),
        (3, 0, 1, Role::Candidate),
        (3, 0, 2, Role::Follower),
        (5, 1, 0, Role::Candidate),
        (5, 2, 0, Role::Leader),
        (5, 2, 2, Role::Leader),
        (5, 1, 2, Role::Candidate),
        (5, 1, 3, Role::Follower),
    ] {
        let mut member = Member::lone_of(config(1, voters), 0, &[]);
        member.campaign();
        (2..=voters).for_each(|other| member.step(n(other), pre_vote_reply(1, true)));
        member.persist_all();
        (2..2 + grants).for_each(|other| member.step(n(other), vote_reply(1, true)));
        (2 + grants..2 + grants + denials).for_each(|other| member.step(n(other), vote_reply(1, false)));
        member.persist_all();
        assert_eq!(member.status().role, role, "{grants} yes and {denials} no of {voters}");
    }
}

/// A voter counts once, however often its answer comes; an answer counts only in the term that was asked for.
#[test]
fn an_answer_counts_once_and_in_its_own_term() {
    let mut member = Member::lone_of(config(1, 5), 1, &[]);
    member.campaign();
    for other in [2, 2, 2] {
        member.step(n(other), pre_vote_reply(2, true));
    }
    assert_eq!(member.status().role, Role::PreCandidate);
    member.step(n(3), pre_vote_reply(3, true));
    assert_eq!(member.status().role, Role::PreCandidate, "nobody was asked about term 3");
    member.step(n(3), pre_vote_reply(2, true));
    member.persist_all();
    assert_eq!(member.status().role, Role::Candidate);
    for other in [2, 2, 2] {
        member.step(n(other), vote_reply(2, true));
    }
    member.step(n(3), vote_reply(1, true));
    member.step(n(4), pre_vote_reply(2, true));
    member.step(n(5), Message::RequestVoteReply { term: 2, asked: 1, pre: false, granted: true });
    assert_eq!(member.status().role, Role::Candidate);
    member.step(n(3), vote_reply(2, true));
    assert_eq!(member.status().role, Role::Leader);
}

/// Lesson 13: enough votes arrive when the candidate is a follower again.
#[test]
fn a_follower_does_not_count_votes() {
    let mut member = Member::lone(1, 1, &[]);
    member.campaign();
    member.step(n(2), pre_vote_reply(2, true));
    member.persist_all();
    member.step(n(3), heartbeat(2, 0, 1));
    member.step(n(2), vote_reply(2, true));
    assert_eq!((member.status().role, member.status().leader), (Role::Follower, Some(n(3))));
}

/// §5.2: "Each server will vote for at most one candidate in a given term, on a first-come-first-served basis."
#[test]
fn each_server_votes_for_at_most_one_candidate_in_a_term() {
    for (voted, candidate, granted) in [
        (None, 2, true),
        (None, 3, true),
        (Some(n(2)), 2, true),
        (Some(n(3)), 2, false),
        (Some(n(1)), 2, false),
    ] {
        let hard_state = HardState { term: 1, vote: voted };
        let mut member = Member::new(config(1, 3), Disk { hard_state, ..Disk::default() });
        member.step(n(candidate), vote(1, LogId::ZERO));
        assert_eq!(member.flush(), [(n(candidate), vote_reply(1, granted))], "{voted:?}, {candidate}");
    }
}

/// §5.4.1: "the voter denies its vote if its own log is more up-to-date than that of the candidate. … If the logs have last
/// entries with different terms, then the log with the later term is more up-to-date. If the logs end with the same term, then
/// whichever log is longer is more up-to-date." E9: as (term, index).
#[test]
fn the_voter_denies_its_vote_to_an_older_log() {
    for (own, last, granted) in [
        (&[1][..], id(1, 1), true),
        (&[1], id(2, 1), true),
        (&[1, 1], id(1, 1), false),
        (&[1], id(1, 2), true),
        (&[1], id(2, 2), true),
        (&[1, 1], id(1, 2), true),
        (&[2], id(1, 1), false),
        (&[2], id(2, 1), false),
        (&[1, 2], id(9, 1), false),
        (&[], LogId::ZERO, true),
    ] {
        for pre in [true, false] {
            let mut member = Member::lone(1, 2, own);
            member.step(n(2), Message::RequestVote { term: 3, last, pre, handed_over: false });
            let answers: Vec<bool> = member
                .flush()
                .iter()
                .map(|(_, message)| match message {
                    Message::RequestVoteReply { granted, .. } => *granted,
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(answers, [granted], "{own:?} against {last}, pre-vote: {pre}");
        }
    }
}

/// Figure 2: "Updated on stable storage before responding to RPCs".
#[test]
fn a_vote_leaves_when_it_is_durable() {
    let mut member = Member::lone(1, 0, &[]);
    member.step(n(2), vote(1, LogId::ZERO));
    assert_eq!(member.fetch(), []);
    member.step(n(2), vote(1, LogId::ZERO));
    assert_eq!(member.fetch(), [], "asked again, and still not durable");
    member.persist_all();
    assert_eq!(member.fetch(), [(n(2), vote_reply(1, true)), (n(2), vote_reply(1, true))]);
}

/// E14: nobody leads before its own vote is durable, however many others voted: it could lead the term twice.
#[test]
fn a_candidate_leads_when_its_own_vote_is_durable() {
    let mut member = Member::lone(1, 1, &[]);
    member.step(n(2), append(1, LogId::ZERO, entries(&[1]), 0));
    member.campaign();
    member.step(n(2), pre_vote_reply(2, true));
    member.step(n(2), vote_reply(2, true));
    member.step(n(3), vote_reply(2, true));
    assert_eq!((member.status().role, member.held.len()), (Role::Candidate, 2));
    member.persist();
    assert_eq!(member.status().role, Role::Candidate, "that was the entry");
    member.persist();
    assert_eq!(member.status().role, Role::Leader);
}

/// E20: a vote survives a crash. Lesson 20: whatever was not durable was not promised either.
#[test]
fn a_restarted_voter_remembers_its_vote() {
    let mut member = Member::lone(1, 0, &[]);
    member.step(n(2), vote(1, LogId::ZERO));
    member.persist_all();
    member.crash(0, None);
    member.step(n(3), vote(1, LogId::ZERO));
    assert_eq!(member.flush(), [(n(3), vote_reply(1, false))]);
}

/// Lesson 11: the vote is given up with its term, and never before.
#[test]
fn a_heartbeat_does_not_free_the_vote() {
    let mut member = Member::lone(1, 0, &[]);
    member.step(n(2), vote(1, LogId::ZERO));
    member.step(n(2), heartbeat(1, 0, 1));
    (0..5).for_each(|_| member.tick());
    member.fetch();
    member.step(n(3), vote(1, LogId::ZERO));
    let sent = member.flush();
    assert!(sent.contains(&(n(3), vote_reply(1, false))), "{sent:?}");
    assert_eq!(member.vote(), Some(n(2)));
}

/// §5.2: "If the leader's term … is at least as large as the candidate's current term, then the candidate recognizes the leader as
/// legitimate and returns to follower state. If the term in the RPC is smaller …, then the candidate rejects the RPC and continues
/// in candidate state."
#[test]
fn a_candidate_recognizes_a_leader_of_its_own_term() {
    for (term, role) in [(1, Role::Candidate), (2, Role::Follower), (3, Role::Follower)] {
        for message in [append(term, LogId::ZERO, vec![], 0), heartbeat(term, 0, 1)] {
            let mut member = Member::lone(1, 1, &[]);
            member.campaign();
            member.step(n(2), pre_vote_reply(2, true));
            member.step(n(3), message);
            assert_eq!(member.status().role, role, "term {term}");
            assert_eq!(member.status().term, term.max(2));
        }
    }
}

/// §5.2: "a candidate neither wins nor loses": it "will time out and start a new election".
#[test]
fn a_candidate_times_out_and_starts_a_new_election() {
    let mut member = Member::lone(1, 0, &[]);
    for term in 1..4 {
        (0..30).find(|_| {
            member.tick();
            member.status().role == Role::PreCandidate
        });
        member.step(n(2), pre_vote_reply(term, true));
        member.persist_all();
        assert_eq!((member.status().role, member.status().term), (Role::Candidate, term));
    }
}

/// A candidate's time begins when its own vote is durable, and so its requests leave: a slow disk takes nothing of it.
#[test]
fn a_candidate_waits_for_votes_from_when_it_asked() {
    for slow_ticks in [0, 4, 20] {
        let mut member = Member::lone(1, 0, &[]);
        member.campaign();
        member.step(n(2), pre_vote_reply(1, true));
        (0..slow_ticks).for_each(|_| member.tick());
        member.persist_all();
        (0..5).for_each(|_| member.tick());
        assert_eq!(member.status().role, Role::Candidate, "{slow_ticks}");
        (0..2).for_each(|_| member.tick());
        assert_eq!(member.status().role, Role::PreCandidate, "{slow_ticks}");
    }
}

/// "Raft … retr[ies] indefinitely" (§5.5): whoever asks, before the term or in it, asks again with each heartbeat's time.
#[test]
fn who_wants_votes_asks_again() {
    let requests = |member: &mut Member, expected: &Message| {
        let sent = member.flush();
        sent.iter().filter(|(_, message)| message == expected).count()
    };
    let mut member = Member::lone_of(Config::new(n(1), voters(3), 1), 0, &[]);
    member.campaign();
    assert_eq!(requests(&mut member, &pre_vote(1, LogId::ZERO)), 2);
    (0..20).for_each(|_| member.tick());
    assert_eq!(requests(&mut member, &pre_vote(1, LogId::ZERO)), 8, "twice two in ten ticks");
    member.step(n(2), pre_vote_reply(1, true));
    assert_eq!(requests(&mut member, &vote(1, LogId::ZERO)), 2);
    (0..20).for_each(|_| member.tick());
    assert_eq!(requests(&mut member, &vote(1, LogId::ZERO)), 8);
    member.step(n(2), vote_reply(1, true));
    assert_eq!(member.status().role, Role::Leader, "the answer to any of them");
    (0..20).for_each(|_| member.tick());
    assert_eq!(requests(&mut member, &vote(1, LogId::ZERO)), 0);
}

/// Nothing is asked that is not durable yet, and so nothing piles up behind a slow disk.
#[test]
fn a_candidate_asks_again_only_when_its_own_vote_is_durable() {
    let mut member = Member::lone_of(Config::new(n(1), voters(3), 1), 0, &[]);
    member.campaign();
    member.step(n(2), pre_vote_reply(1, true));
    member.fetch();
    (0..20).for_each(|_| member.tick());
    assert_eq!(member.fetch(), []);
    member.persist_all();
    assert_eq!(member.fetch(), [(n(2), vote(1, LogId::ZERO)), (n(3), vote(1, LogId::ZERO))]);
}

/// Who asks again and again for the vote that it has got does not hold off the next election.
#[test]
fn a_vote_given_again_is_no_new_patience() {
    let mut member = Member::lone(1, 0, &[]);
    let started = (1..=8).find(|_| {
        member.step(n(2), vote(1, LogId::ZERO));
        member.tick();
        member.status().role == Role::PreCandidate
    });
    assert!(started.is_some(), "no election in spite of silence");
}

/// §5.2: "split votes are rare and … resolved quickly": a few timeouts, for any seed, when all start at once.
#[test]
fn split_votes_are_resolved() {
    for seed in 0..50 {
        let mut net = Net::with(5, |config| config.seed = seed);
        net.await_leader();
        let terms = net.members.values().map(|member| member.status().term).max();
        assert!(terms <= Some(4), "seed {seed}: {terms:?} terms for one leader");
    }
}

/// Lesson 24: "a leader never campaigns", and nobody does while it is heard: no term without a fault.
#[test]
fn a_quiet_group_keeps_its_leader() {
    let mut net = Net::new(5);
    let leader = net.await_leader();
    let term: Term = net.member(leader).status().term;
    net.ticks(2_000);
    assert_eq!(net.leaders(), [(n(leader), term)]);
}

/// Changes of role, term and leader come as events, each once.
#[test]
fn role_changes_are_events() {
    let mut member = Member::lone(1, 0, &[]);
    member.campaign();
    member.grant_votes();
    member.step(n(2), heartbeat(5, 0, 1));
    let roles: Vec<(Role, Term, Option<u32>)> = member
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Role { role, term, leader } => Some((*role, *term, leader.map(|leader| leader.0))),
            Event::Apply(_) | Event::Install(_) | Event::ReadReady { .. } | Event::ReadFailed { .. } => None,
        })
        .collect();
    let expected = [
        (Role::PreCandidate, 0, None),
        (Role::Candidate, 1, None),
        (Role::Leader, 1, Some(1)),
        (Role::Follower, 5, Some(2)),
    ];
    assert_eq!(roles, expected);
}
