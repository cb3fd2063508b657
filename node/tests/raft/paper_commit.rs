//! §5.3, §5.4.2 and §5.4.3: what is committed.

use ordeal_node::raft::{Message, Role, Term};

use crate::member::{Member, config, id, n};
use crate::messages::{append, matched};
use crate::net::{Net, Packet};

/// §5.3: "A log entry is committed once the leader that created the entry has replicated it on a majority of the servers."
#[test]
fn an_entry_is_committed_once_a_majority_holds_it() {
    for (voters, acks, own, committed) in [
        (1, 0, true, true),
        (1, 0, false, false),
        (2, 1, false, false),
        (2, 1, true, true),
        (3, 0, true, false),
        (3, 1, true, true),
        (3, 1, false, false),
        (3, 2, false, true),
        (5, 1, true, false),
        (5, 2, true, true),
        (5, 2, false, false),
        (5, 3, false, true),
    ] {
        let mut leader = Member::lone_of(config(1, voters), 0, &[]);
        leader.campaign();
        leader.grant_votes();
        (2..=voters).for_each(|other| leader.step(n(other), matched(1, 1)));
        leader.propose("a");
        if own {
            leader.persist_all();
        }
        (2..2 + acks).for_each(|other| leader.step(n(other), matched(1, 2)));
        let commit = leader.status().commit;
        assert_eq!(commit == 2, committed, "{acks} others of {voters}, own write done: {own}");
    }
}

/// E14: a member alone answers to its own disk, too: for its vote, and for each entry.
#[test]
fn a_group_of_one_waits_for_its_disk() {
    let mut member = Member::lone_of(config(1, 1), 0, &[]);
    member.campaign();
    assert_eq!(member.status().role, Role::Candidate, "its vote is not durable");
    member.persist();
    assert_eq!((member.status().role, member.status().commit), (Role::Leader, 0));
    member.persist();
    assert_eq!(member.status().applied, 1);
    member.propose("a");
    assert_eq!(member.status().applied, 1);
    member.persist();
    assert_eq!(member.status().applied, 2);
}

/// §5.4.2: "Only log entries from the leader's current term are committed by counting replicas; once an entry from the current term
/// has been committed in this way, then all prior entries are committed indirectly because of the Log Matching Property."
#[test]
fn only_entries_of_the_current_term_are_committed_by_counting() {
    let mut leader = Member::lone_leader(1, 3, &[1, 2]);
    for (upto, commit) in [(1, 0), (2, 0), (3, 3)] {
        leader.step(n(2), matched(3, upto));
        leader.step(n(3), matched(3, upto));
        assert_eq!(leader.status().commit, commit, "others hold {upto}");
    }
    assert_eq!(leader.applied().into_keys().collect::<Vec<_>>(), [1, 2, 3]);
}

/// §5.3: the commit "also commits all preceding entries in the leader's log, including entries created by previous leaders".
#[test]
fn a_commit_takes_everything_before_with_it() {
    let logs: [&[Term]; 4] = [&[], &[2], &[1, 2], &[1]];
    for log in logs {
        let mut leader = Member::lone_leader(1, 3, log);
        let noop = leader.status().last.index;
        leader.step(n(2), matched(3, noop));
        assert_eq!(leader.applied().len() as u64, noop, "{log:?}");
    }
}

/// Figure 8 (a)–(d): an old entry on a majority is no committed entry, and may be overwritten.
#[test]
fn figure_8_an_old_entry_on_a_majority_may_be_overwritten() {
    let mut net = Net::remembering(&[(3, &[1, 2]), (2, &[1, 2]), (1, &[1]), (1, &[1]), (3, &[1, 3])]);
    // (c): S1 leads term 4 and gets 2@2 to S3, and nothing further: its no-op reaches nobody.
    for member in net.members.values_mut() {
        member.config.append_bytes_max = 0;
        member.crash(0, None);
    }
    net.isolate(4);
    net.isolate(5);
    net.member(1).campaign();
    carry(&mut net, |net, packet| match &packet.message {
        Message::AppendEntries { previous, entries, .. } => {
            let has_noop = entries.iter().any(|entry| entry.id.term == 4);
            !has_noop || !net.members[&packet.to].view.holds(*previous)
        }
        _ => true,
    });
    assert!(net.leads(1));
    let holders = net.members.values().filter(|member| member.disk.holds(id(2, 2))).count();
    assert_eq!(holders, 3, "2@2 is on a majority");
    assert!(net.members.values().all(|member| member.status().commit < 2), "and not committed");
    // (d): S5 is elected by S3 and S4, whose last entries are older than 3, and overwrites it everywhere.
    net.heal();
    net.isolate(1);
    net.isolate(2);
    net.elect(5);
    net.heal();
    net.ticks(20);
    for member in net.members.values() {
        assert_eq!(member.disk.id_at(2), Some(id(2, 3)), "{}", member.config.id);
        assert_eq!(member.machine, net.members[&n(5)].machine);
    }
}

/// Figure 8 (e): with an entry of its own term on a majority, S5 cannot win.
#[test]
fn figure_8_an_entry_of_the_own_term_on_a_majority_stays() {
    let mut net = Net::remembering(&[(3, &[1, 2]), (2, &[1, 2]), (1, &[1]), (1, &[1]), (3, &[1, 3])]);
    net.isolate(5);
    net.elect(1);
    net.heal();
    net.isolate(1);
    let leader = net.await_leader();
    assert_ne!(leader, 5);
    net.heal();
    net.ticks(20);
    assert!(net.members.values().all(|member| member.disk.id_at(2) == Some(id(2, 2))));
}

/// Delivers everything that passes the filter until all is quiet; the rest is lost.
fn carry(net: &mut Net, pass: impl Fn(&Net, &Packet) -> bool) {
    loop {
        net.members.values_mut().for_each(Member::persist_all);
        net.collect();
        let Some(packet) = net.wires.pop_front() else { return };
        if pass(net, &packet) {
            net.deliver(packet);
        }
    }
}

/// E18: the disk acknowledges an entry that was replaced meanwhile; the new one at that index does not count for it.
#[test]
fn an_acknowledged_write_of_a_replaced_entry_counts_for_nothing() {
    // n1 leads term 1 and writes 2@1, slowly.
    let mut member = Member::lone_leader(1, 1, &[]);
    member.step(n(2), matched(1, 1));
    member.propose("old");
    assert_eq!(member.held.len(), 1);
    // n3 leads term 2 and replaces it; then n1 leads term 3, with 2@2 and 3@3.
    member.step(n(3), append(2, id(1, 1), vec![crate::member::entry(2, 2)], 1));
    let mut writes = member.held.len();
    assert_eq!(writes, 2);
    // The vote that makes it leader again needs a write behind both: so all that can be early is the first.
    member.persist();
    assert_eq!(member.status().applied, 1);
    assert!(!member.disk.holds(id(2, 2)));
    while member.status().role != Role::Leader {
        member.campaign();
        member.grant_votes();
        writes += 1;
        assert!(writes < 10);
    }
    assert!(member.disk.holds(id(2, 2)), "what it leads with is durable");
}

/// Entries that are committed but not durable here are not applied here: the leader, too, can be the slow one.
#[test]
fn a_leader_applies_what_its_own_disk_has() {
    let mut leader = Member::lone_leader(1, 1, &[]);
    leader.propose("a");
    leader.step(n(2), matched(1, 2));
    leader.step(n(3), matched(1, 2));
    assert_eq!((leader.status().commit, leader.status().applied), (2, 1));
    leader.persist_all();
    assert_eq!(leader.status().applied, 2);
}

/// Leader Append-Only (§5.3), and a leader that lost its term gives up what it could not commit.
#[test]
fn a_deposed_leaders_uncommitted_entries_are_replaced() {
    let mut net = Net::new(3);
    net.elect(1);
    net.isolate(1);
    net.member(1).propose("lost");
    net.member(1).propose("lost, too");
    net.elect(2);
    net.member(2).propose("kept");
    net.settle();
    net.heal();
    net.ticks(20);
    let machines: Vec<_> = net.members.values().map(|member| member.machine).collect();
    assert_eq!(machines, vec![machines[0]; 3]);
    let terms: Vec<Term> = net.member(1).terms();
    assert_eq!(terms, [1, 2, 2]);
}
