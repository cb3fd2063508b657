//! §7: snapshots, taken and sent.

use ordeal_node::raft::{Config, Event, HardState, LogId, Message, Persist, Snapshot};

use crate::disk::Disk;
use crate::member::{Machine, Member, command, config, entries, entry, id, n};
use crate::messages::{append, appends, heartbeat, heartbeat_reply, matched, part, part_reply, rounds, vote};
use crate::net::Net;

fn snapshot(last: LogId) -> Snapshot {
    Machine { last, digest: 5 }.snapshot()
}

/// The state of `snapshot()`, as text.
const DATA: &str = "0000000000000000000000000000000000000005";

/// A follower of three in term 3 that has applied `1..=applied` of a log.
fn follower(terms: &[u64], applied: u64, tune: impl Fn(&mut Config)) -> Member {
    let mut config = config(1, 3);
    tune(&mut config);
    let mut member = Member::lone_of(config, 3, terms);
    member.step(n(2), heartbeat(3, applied, 1));
    member.flush();
    member
}

fn next_write(member: &Member) -> &Persist {
    &member.held.front().expect("a write").persist
}

/// Lesson 38: "snapshot durable before the log is cut".
#[test]
fn the_log_is_cut_when_the_snapshot_is_durable() {
    let mut member = follower(&[1, 1, 2, 3, 3], 4, |config| config.trailing_entries = 1);
    member.compact();
    assert_eq!((member.status().first, member.status().snapshot), (1, LogId::ZERO));
    let write = next_write(&member);
    assert_eq!((write.first, write.snapshot.as_ref().map(|s| s.last)), (4, Some(id(4, 3))));
    member.persist();
    let status = member.status();
    assert_eq!((status.first, status.snapshot, status.last), (4, id(4, 3), id(5, 3)));
    assert_eq!(member.disk.entries, [entry(4, 3), entry(5, 3)]);
}

/// "the log kept behind a snapshot": as many entries as the configuration says, and all of them when there are fewer.
#[test]
fn trailing_entries_are_kept() {
    for (trailing, first) in [(0, 5), (2, 3), (4, 1), (9, 1)] {
        let mut member = follower(&[1, 1, 2, 3, 3], 4, |config| config.trailing_entries = trailing);
        member.compact();
        member.flush();
        assert_eq!(member.status().first, first, "{trailing} trailing");
    }
}

/// An older snapshot than there is, is ignored.
#[test]
fn a_snapshot_never_goes_back() {
    let mut member = follower(&[1, 1, 1], 2, |_| {});
    let old = member.machine.snapshot();
    member.step(n(2), heartbeat(3, 3, 1));
    member.compact();
    member.raft.compact(old.last, old.data.clone());
    member.flush();
    member.raft.compact(old.last, old.data);
    assert_eq!((member.flush().len(), member.status().snapshot), (0, id(3, 1)));
}

/// After a restart the machine is restored first, then goes on where the snapshot ends.
#[test]
fn a_restart_installs_the_snapshot_first() {
    for (log, first) in [(&[2, 3][..], 4), (&[], 5)] {
        let start = if log.is_empty() { 5 } else { 3 };
        let log: Vec<_> = log.iter().zip(start..).map(|(&term, index)| entry(index, term)).collect();
        let log = if log.is_empty() { log } else { [log, vec![entry(5, 3)]].concat() };
        let hard_state = HardState { term: 3, vote: None };
        let disk = Disk { hard_state, snapshot: Some(snapshot(id(4, 3))), entries: log, ..Disk::default() };
        let mut member = Member::new(config(1, 3), disk);
        assert_eq!((member.status().commit, member.status().first), (4, first));
        member.step(n(2), append(3, member.status().last, vec![entry(member.status().last.index + 1, 3)], 9));
        member.flush();
        assert!(matches!(member.events[0], Event::Install(_)), "{:?}", member.events);
        assert_eq!(member.machine.last.index, member.status().commit);
    }
}

/// A crash between the snapshot and the rest of its write leaves a log of which nothing is good: the write is done again.
#[test]
fn a_snapshot_that_the_log_does_not_know_is_written_again() {
    for old in [entries(&[1, 1]), entries(&[1, 1, 1, 1, 1])] {
        let hard_state = HardState { term: 3, vote: None };
        let disk = Disk { hard_state, snapshot: Some(snapshot(id(4, 3))), entries: old, ..Disk::default() };
        let mut member = Member::new(config(1, 3), disk);
        member.step(n(2), append(3, id(4, 3), vec![entry(5, 3)], 5));
        member.flush();
        assert_eq!((member.machine.last, member.disk.entries.clone()), (id(5, 3), vec![entry(5, 3)]));
    }
}

/// Figure 13: parts in order, installed when complete *and durable*; "reset state machine using snapshot contents".
#[test]
fn a_snapshot_is_collected_written_and_then_installed() {
    let mut member = follower(&[1], 1, |_| {});
    member.step(n(2), part(3, id(9, 3), 40, 0, &DATA[..30]));
    assert_eq!(member.fetch(), [(n(2), part_reply(3, id(9, 3), 30, false))]);
    member.step(n(2), part(3, id(9, 3), 40, 30, &DATA[30..]));
    assert_eq!((member.fetch().len(), member.status().applied), (0, 1), "not before it is durable");
    assert_eq!((member.status().last, member.status().commit), (id(9, 3), 9));
    member.persist_all();
    assert_eq!(member.fetch(), [(n(2), part_reply(3, id(9, 3), 40, true))]);
    assert_eq!(member.events.last(), Some(&Event::Install(snapshot(id(9, 3)))));
    assert_eq!((member.status().applied, member.status().first), (9, 10));
    member.step(n(2), append(3, id(9, 3), vec![entry(10, 3)], 10));
    member.flush();
    assert_eq!(member.machine.last, id(10, 3));
}

/// Parts out of order, twice, of another snapshot, of another leader, beyond the end.
#[test]
fn parts_that_do_not_fit_change_nothing() {
    let last = id(9, 3);
    let mut member = follower(&[1], 1, |_| {});
    for (message, received) in [
        (part(3, last, 40, 10, "xxxxx"), Some(0)),
        (part(3, last, 40, 0, &DATA[..16]), Some(16)),
        (part(3, last, 40, 0, &DATA[..16]), Some(16)),
        (part(3, last, 40, 24, &DATA[24..]), Some(16)),
        (part(3, last, 40, 39, "xx"), None),
        (part(3, last, 4, 39, "xx"), None),
        (part(3, id(0, 0), 40, 0, "xx"), None),
        (part(3, id(u64::MAX, 3), 40, 0, "xx"), None),
        (part(3, id(9, 4), 40, 0, "xx"), None),
        (part(3, id(8, 3), 40, 0, "xx"), None),
        (part(3, last, 40, 16, &DATA[16..39]), Some(39)),
    ] {
        member.step(n(2), message.clone());
        let answers: Vec<_> = member.fetch().into_iter().map(|(_, reply)| reply).collect();
        let expected: Vec<_> = received.into_iter().map(|bytes| part_reply(3, last, bytes, false)).collect();
        assert_eq!(answers, expected, "{message:?}");
    }
    // A newer one from the same leader, then another leader: the old parts are gone.
    member.step(n(2), part(3, id(10, 3), 40, 0, "y"));
    member.step(n(2), part(3, last, 40, 39, "5"));
    assert_eq!(member.fetch(), [(n(2), part_reply(3, id(10, 3), 1, false))]);
    member.step(n(3), part(4, id(10, 3), 40, 1, "z"));
    assert_eq!(member.fetch(), [(n(3), part_reply(4, id(10, 3), 0, false))]);
    assert_eq!(member.status().commit, 1);
}

/// E13: who restarts in the middle begins anew.
#[test]
fn a_restart_throws_a_partial_snapshot_away() {
    let mut member = follower(&[1], 1, |_| {});
    member.step(n(2), part(3, id(9, 3), 40, 0, &DATA[..30]));
    member.crash(0, None);
    member.step(n(2), part(3, id(9, 3), 40, 30, &DATA[30..]));
    assert_eq!(member.flush(), [(n(2), part_reply(3, id(9, 3), 0, false))]);
}

/// Figure 13, step 6: "If existing log entry has same index and term as snapshot's last included entry, retain log entries following
/// it and reply"; nothing ever goes back behind what is committed (E11).
#[test]
fn a_snapshot_of_what_is_here_installs_nothing() {
    let mut member = follower(&[1, 1, 2, 3], 2, |_| {});
    for (last, commit) in [(id(1, 1), 2), (id(2, 1), 2), (id(3, 2), 3)] {
        member.step(n(2), part(3, last, 40, 0, &DATA[..10]));
        assert_eq!(member.flush(), [(n(2), part_reply(3, last, 40, true))], "{last}");
        assert_eq!((member.status().commit, member.terms()), (commit, vec![1, 1, 2, 3]));
    }
    assert!(!member.events.iter().any(|event| matches!(event, Event::Install(_))));
}

/// "Discard the entire log": also what stands behind the snapshot's last, when that is another entry here. The disk is told so.
#[test]
fn a_snapshot_of_another_log_replaces_all_of_it() {
    let mut member = follower(&[1, 2, 2, 2, 2], 1, |_| {});
    member.step(n(2), part(3, id(3, 3), 40, 0, DATA));
    let write = next_write(&member);
    assert_eq!((write.truncate_from, write.first, write.entries.len()), (Some(4), 4, 0));
    member.step(n(2), append(3, id(3, 3), vec![entry(4, 3)], 4));
    member.flush();
    assert_eq!((member.disk.entries.clone(), member.machine.last), (vec![entry(4, 3)], id(4, 3)));
}

/// A crash before the snapshot is durable leaves the old state, whole.
#[test]
fn a_crash_before_the_snapshot_is_durable_keeps_the_old_state() {
    let mut member = follower(&[1, 2, 2], 2, |_| {});
    member.step(n(2), part(3, id(9, 3), 40, 0, DATA));
    member.step(n(2), append(3, id(9, 3), vec![entry(10, 3)], 10));
    member.crash(0, None);
    assert_eq!((member.status().last, member.status().commit), (id(3, 2), 0));
}

/// A vote given while a snapshot is on its way counts the snapshot's log.
#[test]
fn the_log_is_as_new_as_its_snapshot() {
    let mut member = follower(&[1], 1, |_| {});
    member.step(n(2), part(3, id(9, 3), 40, 0, DATA));
    (0..5).for_each(|_| member.tick());
    member.flush();
    member.step(n(3), vote(4, id(8, 3)));
    member.flush();
    assert_eq!(member.vote(), None);
    member.step(n(3), vote(4, id(9, 3)));
    member.flush();
    assert_eq!(member.vote(), Some(n(3)));
}

/// A leader of term 4 whose log begins at 5, and whose follower n2 knows nothing.
fn leader_with_a_short_log() -> Member {
    let mut config = config(1, 3);
    (config.trailing_entries, config.chunk_bytes) = (0, 16);
    let hard_state = HardState { term: 3, vote: None };
    let disk = Disk { hard_state, snapshot: Some(snapshot(id(4, 3))), entries: vec![], ..Disk::default() };
    let mut leader = Member::new(config, disk);
    leader.campaign();
    leader.grant_votes();
    leader.fetch();
    leader.step(n(2), crate::messages::conflict(4, 4, LogId::ZERO));
    leader
}

fn offsets(member: &mut Member) -> Vec<u64> {
    let sent = member.fetch();
    let offsets = sent.iter().filter_map(|(to, message)| match message {
        Message::InstallSnapshot { offset, .. } if *to == n(2) => Some(*offset),
        _ => None,
    });
    offsets.collect()
}

/// §7: "the leader must occasionally send snapshots to followers that lag behind", a part at a time, then goes on with the log.
#[test]
fn a_follower_that_lags_behind_gets_a_snapshot_in_parts() {
    let mut leader = leader_with_a_short_log();
    let last = id(4, 3);
    assert_eq!(offsets(&mut leader), [0]);
    leader.propose("meanwhile");
    for (received, next) in [(16, vec![16]), (16, vec![]), (32, vec![32]), (0, vec![0]), (32, vec![32])] {
        leader.step(n(2), part_reply(4, last, received, false));
        assert_eq!(offsets(&mut leader), next, "{received} received");
    }
    leader.step(n(2), part_reply(4, id(3, 3), 40, true)); // another one
    leader.step(n(2), part_reply(4, last, 41, false)); // more than there is
    assert_eq!(leader.fetch(), []);
    leader.step(n(2), part_reply(4, last, 40, true));
    assert_eq!(appends(&leader.fetch()), [(2, last, vec![5, 6])]);
}

/// A part that was lost is sent again, once the follower is known to be there; also the question whether it is done.
#[test]
fn a_lost_part_is_sent_again() {
    let mut leader = leader_with_a_short_log();
    leader.step(n(2), part_reply(4, id(4, 3), 16, false));
    assert_eq!(offsets(&mut leader), [0, 16]);
    for beat in 1..=5 {
        leader.tick();
        let sent = leader.fetch();
        leader.step(n(2), heartbeat_reply(4, rounds(&sent, 2)[0]));
        assert_eq!(offsets(&mut leader).len(), usize::from(beat == 5));
    }
}

/// A follower that got there by other ways needs no snapshot any more.
#[test]
fn a_match_ends_the_transfer() {
    let mut leader = leader_with_a_short_log();
    leader.fetch();
    leader.step(n(2), matched(4, 3));
    assert_eq!(leader.fetch(), [], "still before the log");
    leader.step(n(2), matched(4, 4));
    assert_eq!(appends(&leader.fetch()), [(2, id(4, 3), vec![5])]);
}

/// The story as a whole: one is away for long, the others compact, and it comes back; twice, once with a crash between.
#[test]
fn a_member_that_was_away_for_long_comes_back() {
    let mut net = Net::with(3, |config| (config.trailing_entries, config.chunk_bytes) = (3, 16));
    net.elect(1);
    for crash in [false, true] {
        net.isolate(3);
        for number in 0..50 {
            net.member(1).propose(&format!("command {number}"));
            net.settle();
        }
        net.member(1).compact();
        net.ticks(2);
        net.member(2).compact();
        net.settle();
        if crash {
            net.member(3).crash(0, None);
        }
        net.heal();
        net.ticks(20);
        let machines: Vec<_> = net.members.values().map(|member| member.machine).collect();
        assert_eq!(machines, vec![machines[0]; 3]);
        assert!(net.member(3).events.iter().any(|event| matches!(event, Event::Install(_))));
        assert!(net.member(1).status().log_bytes < 100, "the log is bounded");
    }
}

/// A snapshot of something that was not applied would be ours to answer for.
#[test]
#[should_panic(expected = "ahead of applied")]
fn a_snapshot_ahead_of_applied_stops_the_member() {
    let mut member = follower(&[1, 1], 1, |_| {});
    member.raft.compact(id(2, 1), command(""));
}
