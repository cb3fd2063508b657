//! §5.3, the leader's side: what is sent to whom, and what the answers mean.

use ordeal_node::raft::{Config, Index, LogId, Message, Payload, ProposeError, Role, Term};

use crate::member::{Member, config, id, n};
use crate::messages::{append, appends, conflict, heartbeat, heartbeat_reply, matched, rounds};
use crate::net::Net;

/// A leader of three in term 2 whose log was `terms`, with limits as given, and whose no-op both others have.
pub fn leader_of(terms: &[Term], tune: impl Fn(&mut Config)) -> Member {
    let mut config = config(1, 3);
    tune(&mut config);
    let mut member = Member::lone_of(config, 1, terms);
    member.campaign();
    member.grant_votes();
    let last = member.status().last.index;
    member.step(n(2), matched(2, last));
    member.step(n(3), matched(2, last));
    member.fetch();
    member
}

/// §8: "each leader commits a blank no-op entry into the log at the start of its term"; Figure 2: "nextIndex[] initialized to
/// leader last log index + 1", so the first request asks about the entry before the no-op.
#[test]
fn a_leader_starts_its_term_with_a_no_op() {
    let mut member = Member::lone(1, 4, &[1, 4]);
    member.campaign();
    member.grant_votes();
    let noop = ordeal_node::raft::Entry { id: id(3, 5), payload: Payload::Noop };
    let request = append(5, id(2, 4), vec![noop], 0);
    let sent = member.fetch();
    assert!(sent.contains(&(n(2), request.clone())) && sent.contains(&(n(3), request)), "{sent:?}");
}

/// Figure 2, "Volatile state on leaders (Reinitialized after election)": what followers held in an earlier term of the same leader
/// counts for nothing, for another leader may have taken it away in between.
#[test]
fn what_a_leader_knew_of_its_followers_ends_with_its_term() {
    let mut leader = leader_of(&[], |_| {});
    leader.propose("a");
    leader.persist_all();
    leader.step(n(2), matched(2, 2));
    assert_eq!(leader.status().commit, 2);
    leader.step(n(3), heartbeat(3, 0, 1));
    leader.fetch();
    leader.campaign();
    leader.grant_votes();
    assert_eq!((leader.status().role, leader.status().last), (Role::Leader, id(3, 4)));
    assert_eq!(appends(&leader.fetch()), [(2, id(2, 2), vec![3]), (3, id(2, 2), vec![3])]);
    leader.tick();
    let beats = leader.fetch();
    assert!(beats.iter().all(|(_, beat)| matches!(beat, Message::Heartbeat { commit: 0, .. })), "{beats:?}");
    leader.step(n(2), matched(2, 3)); // of the earlier term
    assert_eq!(leader.status().commit, 2);
    leader.step(n(2), matched(4, 3));
    assert_eq!(leader.status().commit, 3);
}

/// §5.3: "The leader appends the command to its log as a new entry, then issues AppendEntries RPCs in parallel to each of the other
/// servers": before its own disk has it (thesis §10.2.1).
#[test]
fn entries_leave_before_the_leaders_own_write() {
    let mut leader = leader_of(&[], |_| {});
    leader.propose("a");
    assert_eq!(appends(&leader.fetch()), [(2, id(1, 2), vec![2]), (3, id(1, 2), vec![2])]);
    assert_eq!(leader.held.len(), 1);
}

/// Batch what is waiting, never wait: the proposals of one turn travel together.
#[test]
fn proposals_of_one_turn_travel_together() {
    let mut leader = leader_of(&[], |_| {});
    for text in ["a", "b", "c"] {
        leader.raft.propose(crate::member::command(text)).expect("a leader with room");
    }
    leader.turn();
    assert_eq!(appends(&leader.fetch()), [(2, id(1, 2), vec![2, 3, 4]), (3, id(1, 2), vec![2, 3, 4])]);
}

/// Who does not lead takes nothing, and says who does.
#[test]
fn only_the_leader_takes_commands() {
    let mut member = Member::lone(1, 1, &[]);
    let refused = |leader| Err(ProposeError::NotLeader { leader });
    assert_eq!(member.raft.propose(crate::member::command("a")), refused(None));
    member.step(n(3), crate::messages::heartbeat(1, 0, 1));
    assert_eq!(member.raft.propose(crate::member::command("a")), refused(Some(n(3))));
    assert_eq!(member.raft.read(1), Err(ProposeError::NotLeader { leader: Some(n(3)) }));
}

/// A follower whose place is unknown gets one request at a time; one who follows gets a full window.
#[test]
fn probe_one_at_a_time_then_pipeline() {
    let mut leader = leader_of(&[], |config| {
        config.inflight_max = 3;
        config.append_bytes_max = 0; // one entry a request
    });
    for _ in 0..5 {
        leader.propose("x");
    }
    let to_two = |leader: &mut Member| -> Vec<Vec<Index>> {
        let sent = appends(&leader.fetch());
        sent.into_iter().filter(|(to, _, _)| *to == 2).map(|(_, _, entries)| entries).collect()
    };
    assert_eq!(to_two(&mut leader), [[2], [3], [4]]);
    leader.step(n(2), matched(2, 3));
    assert_eq!(to_two(&mut leader), [[5], [6]]);
    leader.step(n(2), conflict(2, 4, id(3, 2)));
    assert_eq!(to_two(&mut leader), [[4]]);
    leader.propose("y");
    assert_eq!(to_two(&mut leader), [[0; 0]; 0]);
    leader.step(n(2), matched(2, 4));
    assert_eq!(to_two(&mut leader), [[5], [6], [7]]);
}

/// E12: a request is cut at its tail by its bytes, and never skips.
#[test]
fn requests_are_bounded_in_bytes_and_contiguous() {
    let mut leader = leader_of(&[], |config| config.append_bytes_max = 100);
    for _ in 0..5 {
        leader.raft.propose(crate::member::command("0123456789")).expect("a leader with room");
    }
    leader.turn();
    let sent: Vec<_> = appends(&leader.fetch()).into_iter().filter(|(to, _, _)| *to == 2).collect();
    assert_eq!(
        sent,
        [(2, id(1, 2), vec![2, 3]), (2, id(3, 2), vec![4, 5]), (2, id(5, 2), vec![6])],
        "42 bytes each"
    );
}

/// Figure 2, Leaders: "If AppendEntries fails because of log inconsistency: decrement nextIndex and retry", by terms.
#[test]
fn a_conflict_skips_all_entries_of_impossible_terms() {
    // The leader's log, the conflict that comes, and where the next request begins.
    let log: &[Term] = &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6];
    for (hint, previous) in [
        (id(9, 6), id(9, 6)),
        (id(6, 4), id(5, 4)),
        (id(10, 3), id(3, 1)), // ten entries, the last of term 3
        (id(2, 1), id(2, 1)),
        (LogId::ZERO, LogId::ZERO),
        (id(5, 5), id(5, 4)),
    ] {
        let mut member = Member::lone(1, 6, log);
        member.campaign();
        member.grant_votes();
        member.fetch();
        member.step(n(2), conflict(7, 10, hint));
        let sent = appends(&member.fetch());
        assert_eq!(sent.len(), 1);
        assert_eq!((sent[0].0, sent[0].1), (2, previous), "hint {hint}");
    }
}

/// Figure 7: "When the leader at the top comes to power, it is possible that any of scenarios (a–f) could occur in follower logs."
#[test]
fn figure_7_every_follower_comes_to_hold_the_leaders_log() {
    let leader: &[Term] = &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6];
    let followers: [(&str, &[Term]); 6] = [
        ("a", &[1, 1, 1, 4, 4, 5, 5, 6, 6]),
        ("b", &[1, 1, 1, 4]),
        ("c", &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6]),
        ("d", &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7]),
        ("e", &[1, 1, 1, 4, 4, 4, 4]),
        ("f", &[1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3]),
    ];
    for (name, log) in followers {
        // The third gives the vote that (c), (d) would not.
        let mut net = Net::remembering(&[(7, leader), (7, log), (7, &[])]);
        net.elect(1);
        net.ticks(3);
        let expected = net.member(1).view.entries.clone();
        assert_eq!(expected.len(), 11);
        for follower in [2, 3] {
            assert_eq!(net.member(follower).disk.entries, expected, "follower ({name})");
        }
        let asked = net
            .delivered
            .iter()
            .filter(|packet| packet.to == n(2) && matches!(packet.message, Message::AppendEntries { .. }));
        assert!(asked.count() <= 4, "({name}) took too many requests");
    }
}

/// §5.3: "The leader retries AppendEntries RPCs indefinitely": a request that was lost without an answer is sent again once the
/// follower is known to be there.
#[test]
fn a_lost_request_is_sent_again() {
    for pipelined in [true, false] {
        let mut leader = leader_of(&[], |_| {});
        leader.propose("a");
        if !pipelined {
            leader.step(n(2), conflict(2, 1, LogId::ZERO)); // to one at a time
            leader.step(n(2), matched(2, 1));
            leader.step(n(2), conflict(2, 1, LogId::ZERO));
        }
        leader.fetch();
        let ticks = (1..=6).find(|_| {
            leader.tick();
            let round = rounds(&leader.fetch(), 2)[0];
            leader.step(n(2), heartbeat_reply(2, round));
            appends(&leader.fetch()).iter().any(|(to, previous, _)| (*to, *previous) == (2, id(1, 2)))
        });
        assert_eq!(ticks, Some(5), "after an election timeout without an answer");
    }
}

/// A follower that does not answer at all is not sent the same again and again.
#[test]
fn nothing_is_sent_again_to_the_silent() {
    let mut leader = leader_of(&[], |_| {});
    leader.propose("a");
    leader.persist_all();
    leader.fetch();
    for _ in 0..50 {
        leader.tick();
        let sent = leader.fetch();
        assert_eq!(appends(&sent), []);
        leader.step(n(3), heartbeat_reply(2, rounds(&sent, 3)[0]));
        leader.step(n(3), matched(2, 2));
    }
}

/// Lessons 21 and 25: match is what *that* request held, and only grows; nothing is learnt from another term's answers, nor
/// from one about entries that we never had.
#[test]
fn answers_count_for_what_they_answer() {
    let mut leader = leader_of(&[], |_| {});
    for _ in 0..3 {
        leader.propose("x");
    }
    leader.persist_all();
    for (message, commit) in [
        (matched(1, 4), 1),
        (matched(2, 99), 1),
        (matched(2, 2), 2),
        (matched(2, 1), 2),
        (matched(2, 3), 3),
        (matched(2, 2), 3),
    ] {
        leader.step(n(2), message.clone());
        assert_eq!(leader.status().commit, commit, "{message:?}");
    }
}

/// E7 on the leader's side: a late conflict moves nothing back behind what matches.
#[test]
fn a_conflict_that_was_overtaken_is_ignored() {
    let mut leader = leader_of(&[], |_| {});
    leader.propose("a");
    leader.step(n(2), matched(2, 2));
    leader.fetch();
    leader.step(n(2), conflict(2, 0, LogId::ZERO));
    leader.step(n(2), conflict(2, 2, id(1, 1)));
    assert_eq!(appends(&leader.fetch()), []);
    leader.propose("b");
    let sent = appends(&leader.fetch());
    assert!(sent.contains(&(2, id(2, 2), vec![3])), "{sent:?}");
}

/// Figure 2, heartbeats: "repeat during idle periods to prevent election timeouts", never with a commit index beyond what the
/// follower holds.
#[test]
fn heartbeats_carry_no_more_than_the_follower_holds() {
    let mut leader = leader_of(&[], |_| {});
    leader.propose("a");
    leader.persist_all();
    leader.step(n(2), matched(2, 2));
    assert_eq!(leader.status().commit, 2);
    leader.fetch();
    leader.tick();
    let commits: Vec<(u32, Index)> = leader
        .fetch()
        .iter()
        .map(|(to, message)| match message {
            Message::Heartbeat { commit, .. } => (to.0, *commit),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(commits, [(2, 2), (3, 1)]);
}
