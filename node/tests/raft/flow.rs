//! How much is under way, and how many round trips an agreement takes: slow followers, full windows, logs that differ.

use ordeal_node::raft::{AppendResult, Index, Message, ProposeError, Term};

use crate::member::{Member, command, n};
use crate::messages::{appends, conflict, heartbeat_reply, matched, rounds};
use crate::net::Net;
use crate::paper_replication::leader_of;

/// Every queue has a limit: uncommitted entries in bytes, counted with what an entry costs beside its command.
#[test]
fn proposals_beyond_the_limit_are_busy() {
    let mut leader = leader_of(&[], |config| config.uncommitted_bytes_max = 100);
    leader.propose("0123456789");
    leader.propose("0123456789");
    leader.propose("0123456789"); // 84 bytes were waiting before this one, 126 after it
    assert_eq!(leader.raft.propose(command("x")), Err(ProposeError::Busy));
    leader.persist_all();
    leader.step(n(2), matched(2, 2));
    leader.propose("x");
}

/// Lesson 12: one slow follower holds up nobody, and its window stays bounded.
#[test]
fn a_slow_follower_holds_up_nobody() {
    let mut leader = leader_of(&[], |config| config.inflight_max = 4);
    for index in 2..100 {
        leader.propose("x");
        leader.persist_all();
        leader.step(n(3), matched(2, index));
    }
    assert_eq!(leader.status().commit, 99);
    assert_eq!(to_two(&mut leader).len(), 4);
}

/// Indexes of the entries of each append to n2.
fn to_two(leader: &mut Member) -> Vec<Vec<Index>> {
    let sent = appends(&leader.fetch());
    sent.into_iter().filter(|(to, _, _)| *to == 2).map(|(_, _, entries)| entries).collect()
}

/// A leader that is elected before all its connections are there, or one whose connection was reset, does not wait for an
/// election timeout to find out.
#[test]
fn what_an_old_connection_lost_is_sent_again_when_there_is_a_new_one() {
    let mut leader = leader_of(&[], |_| {});
    leader.propose("x");
    leader.propose("x");
    assert_eq!(to_two(&mut leader), [[2], [3]], "lost");
    for attempt in 0..2 {
        leader.raft.peer_reachable(n(2));
        leader.turn();
        assert_eq!(to_two(&mut leader), [[2, 3]], "again, attempt {attempt}");
    }
    leader.step(n(2), matched(2, 3));
    leader.raft.peer_reachable(n(2));
    leader.turn();
    assert_eq!(to_two(&mut leader), [[0; 0]; 0], "nothing is under way");
}

/// The window is bounded in bytes as well: 42 bytes an entry here, two entries a request, 200 bytes under way.
#[test]
fn the_window_is_bounded_in_bytes() {
    let mut leader = leader_of(&[], |config| {
        config.append_bytes_max = 100;
        config.inflight_bytes_max = 200;
    });
    (0..20).for_each(|_| {
        leader.raft.propose(command("0123456789")).expect("a leader with room");
    });
    leader.turn();
    assert_eq!(
        to_two(&mut leader),
        [vec![2, 3], vec![4, 5], vec![6]],
        "168 bytes, and one that is longer than the rest"
    );
    leader.step(n(2), matched(2, 2));
    assert_eq!(to_two(&mut leader), [[0; 0]; 0], "half a request is none");
    leader.step(n(2), matched(2, 3));
    assert_eq!(to_two(&mut leader), [[7], [8]], "as much as there is room for, at least an entry");
    leader.step(n(2), matched(2, 8));
    assert_eq!(to_two(&mut leader), [vec![9, 10], vec![11, 12], vec![13]]);
}

/// An entry that is larger than the whole window goes alone.
#[test]
fn a_large_entry_goes_through_a_small_window() {
    let mut leader = leader_of(&[], |config| config.inflight_bytes_max = 10);
    leader.propose("longer than the window");
    leader.propose("b");
    assert_eq!(to_two(&mut leader), [[2]]);
    leader.step(n(2), matched(2, 2));
    assert_eq!(to_two(&mut leader), [[3]]);
}

/// A follower that is alive and whose disk is not: what is under way to it stays within the window for as long as that
/// lasts, and then it gets all that it missed.
#[test]
fn a_follower_with_a_stalled_disk_is_not_flooded() {
    let mut leader = leader_of(&[], |config| config.inflight_bytes_max = 200);
    let mut sent = 0;
    for index in 2..200 {
        leader.propose("0123456789");
        leader.persist_all();
        leader.step(n(3), matched(2, index));
        leader.tick();
        let messages = leader.fetch();
        sent += appends(&messages).iter().filter(|(to, _, _)| *to == 2).count();
        rounds(&messages, 2).iter().for_each(|round| leader.step(n(2), heartbeat_reply(2, *round)));
        sent += to_two(&mut leader).len();
    }
    assert!(sent <= 5 + 200 / 5, "a window, and one try each election timeout: {sent}");
    leader.step(n(2), matched(2, 2));
    let missing: Vec<Index> = to_two(&mut leader).concat();
    assert_eq!(missing.first(), Some(&3));
}

/// After a conflict the window is empty: what was under way comes to nothing.
#[test]
fn a_conflict_empties_the_window() {
    let mut leader = leader_of(&[], |config| config.inflight_bytes_max = 50);
    leader.propose("0123456789");
    leader.propose("0123456789");
    assert_eq!(to_two(&mut leader), [vec![2], vec![3]], "42 bytes, and one entry more");
    leader.step(n(2), conflict(2, 2, crate::member::id(1, 2)));
    assert_eq!(to_two(&mut leader), [[2, 3]]);
    leader.step(n(2), matched(2, 3));
    leader.propose("0123456789");
    assert_eq!(to_two(&mut leader), [[4]]);
}

/// Logs of ten common entries and ten thousand that differ, over so many terms on each side.
fn divergent(terms: u64) -> Net {
    let log = |first: Term| -> Vec<Term> {
        let differing = (0..10_000).map(|number| first + 2 * (number * terms / 10_000));
        [1; 10].into_iter().chain(differing).collect()
    };
    Net::remembering(&[(2 * terms + 2, &log(3)), (2 * terms + 2, &log(2)), (2 * terms + 2, &[])])
}

/// End of §5.3: "one AppendEntries RPC will be required for each term with conflicting entries, rather than one RPC per entry".
/// Lesson 20: ten thousand entries that differ match again in at most (terms + 2) round trips.
#[test]
fn ten_thousand_divergent_entries_take_a_round_trip_a_term() {
    for terms in [1, 4, 50, 500] {
        let mut net = divergent(terms);
        net.elect(1);
        net.ticks(3);
        let expected = net.member(1).disk.entries.clone();
        assert_eq!(net.member(2).disk.entries, expected);
        let answers = net.delivered.iter().filter(|packet| packet.from == n(2)).filter_map(|packet| {
            match &packet.message {
                Message::AppendEntriesReply { result, .. } => Some(*result),
                Message::AppendEntries { .. }
                | Message::RequestVote { .. }
                | Message::RequestVoteReply { .. }
                | Message::Heartbeat { .. }
                | Message::HeartbeatReply { .. }
                | Message::InstallSnapshot { .. }
                | Message::TimeoutNow { .. }
                | Message::InstallSnapshotReply { .. }
                | Message::ReadIndex { .. }
                | Message::ReadIndexReply { .. }
                | Message::Fetch { .. }
                | Message::Fetched { .. } => None,
            }
        });
        let refusals =
            answers.take_while(|result| matches!(result, AppendResult::Conflict { .. })).count() as u64;
        let round_trips = refusals + 1;
        assert!(round_trips <= terms + 2, "{round_trips} round trips for {terms} terms");
    }
}
