//! §5.3, the follower's side: what is taken from the leader, what is refused, what is answered.

use ordeal_node::raft::{Index, LogId, Term};

use crate::disk::Disk;
use crate::member::{Member, entries, entry, id, n};
use crate::messages::{append, conflict, heartbeat, heartbeat_reply, matched};

/// §5.3: "If the follower does not find an entry in its log with the same index and term, then it refuses the new entries", and says
/// from where on nothing can match.
#[test]
fn the_follower_refuses_entries_behind_one_that_it_does_not_hold() {
    let log: &[Term] = &[1, 2, 2, 4];
    for (previous, reply) in [
        (LogId::ZERO, matched(5, 0)),
        (id(1, 1), matched(5, 1)),
        (id(4, 4), matched(5, 4)),
        (id(1, 2), conflict(5, 1, id(1, 1))),
        (id(5, 4), conflict(5, 5, id(4, 4))),
        (id(9, 5), conflict(5, 9, id(4, 4))),
        (id(4, 3), conflict(5, 4, id(3, 2))),
        (id(7, 3), conflict(5, 7, id(3, 2))),
        (id(3, 1), conflict(5, 3, id(1, 1))),
        (id(4, 5), conflict(5, 4, id(4, 4))),
    ] {
        let mut member = Member::lone(1, 5, log);
        member.step(n(2), append(5, previous, vec![], 0));
        assert_eq!(member.flush(), [(n(2), reply)], "{previous}");
        assert_eq!(member.terms(), log, "nothing was removed");
    }
}

/// Figure 2, AppendEntries 3 and 4: "If an existing entry conflicts with a new one …, delete the existing entry and all that follow
/// it. Append any new entries not already in the log."
#[test]
fn entries_are_deleted_from_the_first_conflict_on() {
    for (own, previous, new, log) in [
        (&[1, 2, 2][..], id(3, 2), &[4][..], &[1, 2, 2, 4][..]),
        (&[1, 2, 2], id(1, 1), &[3, 4], &[1, 3, 4]),
        (&[1, 2, 2], LogId::ZERO, &[1], &[1, 2, 2]),
        (&[1, 2, 2], LogId::ZERO, &[3], &[3]),
        (&[1, 2, 2], id(1, 1), &[2], &[1, 2, 2]),
        (&[1, 2, 2], id(1, 1), &[2, 3], &[1, 2, 3]),
        (&[], LogId::ZERO, &[1, 1, 3], &[1, 1, 3]),
        (&[1, 1, 1, 1], id(1, 1), &[], &[1, 1, 1, 1]),
    ] {
        let mut member = Member::lone(1, 5, own);
        let new: Vec<_> =
            new.iter().zip(previous.index + 1..).map(|(&term, index)| entry(index, term)).collect();
        let upto = previous.index + new.len() as Index;
        member.step(n(2), append(5, previous, new, 0));
        assert_eq!(member.flush(), [(n(2), matched(5, upto))]);
        assert_eq!(member.terms(), log, "{own:?} after {previous}");
        let disk: Vec<Term> = member.disk.entries.iter().map(|entry| entry.id.term).collect();
        assert_eq!(disk, log, "the disk holds what memory holds");
    }
}

/// E6: requests that overtake each other shorten nothing.
#[test]
fn a_late_request_does_not_shorten_the_log() {
    let mut member = Member::lone(1, 1, &[]);
    member.step(n(2), append(1, LogId::ZERO, entries(&[1, 1, 1]), 0));
    member.step(n(2), append(1, LogId::ZERO, entries(&[1]), 0));
    assert_eq!(member.terms(), [1, 1, 1]);
    assert_eq!(member.flush(), [(n(2), matched(1, 3)), (n(2), matched(1, 1))]);
}

/// Figure 2: "Updated on stable storage before responding": also when the entries came before and are still on their way.
#[test]
fn matched_is_said_when_it_is_durable() {
    let mut member = Member::lone(1, 1, &[]);
    let request = append(1, LogId::ZERO, entries(&[1, 1]), 0);
    member.step(n(2), request.clone());
    assert_eq!(member.fetch(), []);
    member.step(n(2), request.clone());
    assert_eq!(member.fetch(), [], "a second copy is no more durable than the first");
    member.persist_all();
    assert_eq!(member.fetch(), [(n(2), matched(1, 2)), (n(2), matched(1, 2))]);
    member.step(n(2), request);
    assert_eq!(member.fetch(), [(n(2), matched(1, 2))], "and now it is");
}

/// Figure 2: "If leaderCommit > commitIndex, set commitIndex = min(leaderCommit, index of last new entry)"; E7: of this request.
#[test]
fn the_commit_index_is_that_of_the_leader_up_to_the_last_new_entry() {
    for (own, previous, new, leader_commit, commit) in [
        (&[1, 1, 1][..], id(1, 1), 0, 3, 1),
        (&[1, 1, 1], id(1, 1), 1, 3, 2),
        (&[1, 1, 1], id(3, 1), 0, 3, 3),
        (&[1, 1, 1], id(3, 1), 2, 4, 4),
        (&[1, 1, 1], id(3, 1), 1, 9, 4),
        (&[1, 1, 1], LogId::ZERO, 0, 9, 0),
        (&[1, 1, 1], id(3, 1), 1, 0, 0),
    ] {
        let mut member = Member::lone(1, 1, own);
        let new = (previous.index + 1..).take(new).map(|index| entry(index, 1)).collect();
        member.step(n(2), append(1, previous, new, leader_commit));
        assert_eq!(member.status().commit, commit, "{previous}, {leader_commit}");
    }
}

/// The commit index of a heartbeat holds as it is, and never goes back.
#[test]
fn a_heartbeat_moves_the_commit_index_forward_only() {
    let mut member = Member::lone(1, 1, &[1, 1, 1]);
    for (said, commit) in [(0, 0), (2, 2), (1, 2), (3, 3), (99, 3)] {
        member.step(n(2), heartbeat(1, said, 1));
        assert_eq!(member.status().commit, commit);
    }
}

/// A heartbeat is answered with its round: at once when the disk knows the term, else when it does.
#[test]
fn a_heartbeat_is_answered_in_a_durable_term() {
    let mut member = Member::lone(1, 1, &[]);
    member.step(n(2), heartbeat(1, 0, 5));
    assert_eq!(member.fetch(), [(n(2), heartbeat_reply(1, 5))]);
    member.step(n(3), heartbeat(2, 0, 6));
    assert_eq!(member.fetch(), []);
    member.persist_all();
    assert_eq!(member.fetch(), [(n(3), heartbeat_reply(2, 6))]);
}

/// §5.3, State Machine Safety: what is applied is committed, in order, once, and (our rule) durable here.
#[test]
fn entries_are_applied_when_committed_and_durable_here() {
    let mut member = Member::lone(1, 1, &[1]);
    member.step(n(2), append(1, id(1, 1), vec![entry(2, 1), entry(3, 1)], 3));
    assert_eq!((member.status().commit, member.status().applied), (3, 1));
    member.persist_all();
    assert_eq!(member.status().applied, 3);
    assert_eq!(member.applied().into_iter().collect::<Vec<_>>(), [(1, 1), (2, 1), (3, 1)]);
}

/// A `Ready` hands out so many bytes of entries, and the next one goes on.
#[test]
fn applying_goes_in_portions() {
    let mut config = crate::member::config(1, 3);
    config.apply_bytes_max = 80; // two entries of 3 + 32 bytes
    let mut member = Member::lone_of(config, 1, &[1; 5]);
    member.raft.step(n(2), heartbeat(1, 5, 1));
    let portions: Vec<usize> =
        std::iter::from_fn(|| member.raft.ready()).map(|ready| ready.events.len()).collect();
    assert_eq!(portions, [3, 2, 1], "the first with the news of the leader");
}

/// E10: a `previous` that was cut is matching; nothing committed is ever cut off.
#[test]
fn a_previous_that_was_cut_matches() {
    let mut config = crate::member::config(1, 3);
    config.trailing_entries = 1;
    let mut member = Member::lone_of(config, 1, &[1; 6]);
    member.step(n(2), heartbeat(1, 5, 1));
    member.compact();
    member.flush();
    assert_eq!((member.status().first, member.status().last), (5, id(6, 1)));
    for (previous, new, upto) in
        [(id(2, 1), 0, 2), (id(2, 1), 2, 4), (id(2, 1), 4, 6), (id(0, 0), 8, 8), (id(5, 1), 1, 6)]
    {
        let new = (previous.index + 1..).take(new).map(|index| entry(index, 1)).collect();
        member.step(n(2), append(1, previous, new, 0));
        assert_eq!(member.flush(), [(n(2), matched(1, upto))]);
    }
    assert_eq!(member.status().last, id(8, 1));
}

/// Truncated entries that were never written do not reach the disk, those on their way do not count as durable (E18).
#[test]
fn a_write_that_was_overtaken_by_a_truncation_counts_up_to_the_cut() {
    let mut member = Member::lone(1, 1, &[1]);
    member.step(n(2), append(1, id(1, 1), vec![entry(2, 1), entry(3, 1)], 0));
    member.step(n(3), append(2, id(1, 1), vec![entry(2, 2)], 2));
    assert_eq!(member.status().commit, 2);
    member.persist();
    assert_eq!(member.status().applied, 1, "the disk has 2@1, not 2@2");
    member.persist();
    assert_eq!((member.status().applied, member.machine.last), (2, id(2, 2)));
}

/// The same, when the entry comes back as it was: what is durable is decided by writes, not by names.
#[test]
fn an_entry_that_came_back_is_durable_with_its_own_write() {
    let mut member = Member::lone(1, 1, &[1]);
    member.step(n(2), append(1, id(1, 1), vec![entry(2, 1)], 0));
    member.step(n(3), append(2, id(1, 1), vec![entry(2, 2)], 0));
    member.step(n(2), append(3, id(1, 1), vec![entry(2, 1)], 2));
    member.persist();
    assert_eq!(member.status().applied, 1, "the next write takes 2@1 away again");
    member.persist();
    member.persist();
    assert_eq!(member.machine.last, id(2, 1));
}

/// A restart begins with what the disk remembers, and applies it again once it is known to be committed.
#[test]
fn a_restarted_member_applies_from_the_start() {
    let mut member = Member::lone(1, 1, &[1, 1]);
    member.step(n(2), heartbeat(1, 2, 1));
    member.step(n(2), append(1, id(2, 1), vec![entry(3, 1)], 3));
    member.crash(0, None);
    assert_eq!((member.status().last, member.status().applied), (id(2, 1), 0));
    member.step(n(2), heartbeat(1, 2, 2));
    assert_eq!(member.status().applied, 2);
    assert_eq!(
        member.disk,
        Disk { hard_state: member.disk.hard_state, entries: entries(&[1, 1]), ..Disk::default() }
    );
}
