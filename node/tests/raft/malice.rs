//! Whatever comes over the network is at worst ignored: no message makes a member panic, write nonsense or grow.

use std::sync::Arc;

use ordeal_node::raft::{AppendResult, Entry, LogId, Message, Payload, Role};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;

use crate::member::{Member, config, entries, entry, id, n, voters};
use crate::messages::{append, heartbeat, matched, vote};

/// Requests that contradict themselves are not answered, and change neither the log nor the term.
#[test]
fn requests_that_make_no_sense_are_ignored() {
    let huge = u64::MAX;
    for message in [
        append(2, id(1, 1), vec![entry(3, 1)], 0),              // a gap
        append(2, id(1, 1), vec![entry(2, 1), entry(4, 1)], 0), // a gap inside
        append(2, id(1, 1), vec![entry(2, 2), entry(3, 1)], 0), // the term falls
        append(2, id(1, 1), vec![entry(2, 3)], 0),              // an entry of a term to come
        append(2, id(1, 3), vec![], 0),                         // the same
        append(2, id(0, 1), vec![], 0),                         // an entry 0
        append(2, id(1, 0), vec![], 0),                         // a term 0
        append(2, LogId::ZERO, vec![Entry { id: id(1, 0), payload: Payload::Noop }], 0),
        append(2, id(huge, 1), vec![], 0),
        append(2, id(huge, 1), vec![entry(0, 1)], 0),
        vote(2, id(1, 3)),
    ] {
        let mut member = Member::lone(1, 1, &[1]);
        member.step(n(2), message.clone());
        assert_eq!(member.flush(), [], "{message:?}");
        assert_eq!((member.status().term, member.terms()), (1, vec![1]), "{message:?}");
    }
}

/// Whoever says something else about committed entries is not believed.
#[test]
fn nothing_committed_is_overwritten() {
    let mut member = Member::lone(1, 2, &[1, 1, 2]);
    member.step(n(2), heartbeat(2, 2, 1));
    member.flush();
    for message in [
        append(2, id(1, 1), vec![entry(2, 2)], 0),
        append(2, id(1, 2), vec![], 0),
        append(2, LogId::ZERO, entries(&[1, 2, 2]), 3),
    ] {
        member.step(n(2), message);
        assert_eq!((member.flush().len(), member.terms()), (0, vec![1, 1, 2]));
    }
}

/// Echoes are not heard.
#[test]
fn nobody_hears_itself() {
    let mut member = Member::lone(1, 1, &[]);
    member.step(n(1), heartbeat(9, 0, 1));
    member.step(n(1), vote(9, id(9, 8)));
    assert_eq!((member.flush().len(), member.status().term), (0, 1));
}

/// The largest term of all is accepted, and overflows nothing; there is none to campaign in.
#[test]
fn the_largest_term_overflows_nothing() {
    let mut member = Member::lone(1, 1, &[]);
    member.step(n(2), heartbeat(u64::MAX, u64::MAX, u64::MAX));
    (0..100).for_each(|_| member.tick());
    assert_eq!((member.status().term, member.status().role), (u64::MAX, Role::Follower));
    member.step(n(2), append(u64::MAX, LogId::ZERO, vec![entry(1, u64::MAX)], u64::MAX));
    member.flush();
    assert_eq!(member.status().applied, 1);
}

/// A number as an attacker or a damaged peer would choose it: small, near one of ours, or at the edge.
fn number(rng: &mut Pcg32) -> u64 {
    match rng.random_range(0..10) {
        0 => u64::MAX - rng.random_range(0..3),
        1 => (1 << 62) + rng.random_range(0..2),
        _ => rng.random_range(0..8),
    }
}

fn any_id(rng: &mut Pcg32) -> LogId {
    id(number(rng), number(rng))
}

fn any_entries(rng: &mut Pcg32, previous: LogId) -> Vec<Entry> {
    let honest = rng.random_range(0..4) > 0;
    (1..rng.random_range(1..5))
        .map(|offset| {
            let near = id(previous.index.saturating_add(offset), previous.term);
            let id = if honest { near } else { any_id(rng) };
            let membership = Arc::new(voters(rng.random_range(0..5)));
            let payload = if rng.random() { Payload::Noop } else { Payload::Membership(membership) };
            Entry { id, payload }
        })
        .collect()
}

fn any_message(rng: &mut Pcg32, term: u64) -> Message {
    let term = if rng.random_range(0..3) > 0 { term } else { number(rng).min(term.saturating_add(2)) };
    let (flag, pre): (bool, bool) = (rng.random(), rng.random());
    match rng.random_range(0..11) {
        9 => {
            let ids = (0..rng.random_range(0..3)).map(|_| any_id(rng)).collect();
            Message::Fetch { term, ids }
        }
        10 => {
            let previous = any_id(rng);
            let absent = (0..rng.random_range(0..3)).map(|_| any_id(rng)).collect();
            let covered = flag.then(|| (any_id(rng), Arc::new(voters(rng.random_range(0..4)))));
            Message::Fetched { term, entries: any_entries(rng, previous), absent, covered }
        }
        8 => Message::TimeoutNow { term },
        0 => Message::RequestVote { term, last: any_id(rng), pre, handed_over: flag },
        1 => Message::RequestVoteReply { term, asked: number(rng), pre, granted: flag },
        2 | 3 => {
            let previous = any_id(rng);
            append(term, previous, any_entries(rng, previous), number(rng))
        }
        4 => Message::Heartbeat { term, commit: number(rng), round: number(rng), rest: flag },
        5 => Message::HeartbeatReply { term, round: number(rng), rest: flag },
        6 if flag => matched(term, number(rng)),
        6 => {
            let result = AppendResult::Conflict { previous: number(rng), hint: any_id(rng) };
            Message::AppendEntriesReply { term, result }
        }
        _ if flag => {
            let (total_bytes, offset) = (number(rng), number(rng));
            // Digits, for the machine of these tests reads them.
            let membership = Arc::new(voters(rng.random_range(0..4)));
            let data: Arc<[u8]> = vec![b'1'; rng.random_range(1..5)].into();
            Message::InstallSnapshot { term, last: any_id(rng), membership, total_bytes, offset, data }
        }
        _ => {
            let (last, received) = (any_id(rng), number(rng));
            Message::InstallSnapshotReply { term, last, received, installed: pre }
        }
    }
}

/// Hundreds of thousands of messages at random, into members of every role: none panics, and what they write is sound.
#[test]
fn no_message_makes_a_member_panic() {
    for seed in 0..400 {
        let mut rng = Pcg32::seed_from_u64(seed);
        let mut config = config(1, 3);
        (config.trailing_entries, config.chunk_bytes) = (1, 2);
        let mut member = Member::lone_of(config, 2, &[1, 1, 2]);
        if seed % 2 == 0 {
            member.disk.lost.extend([2, 3]);
            member.crash(0, None);
        }
        for _ in 0..500 {
            let from = n(rng.random_range(0..5));
            let term = member.status().term;
            member.step(from, any_message(&mut rng, term));
            match rng.random_range(0..12) {
                0 => member.tick(),
                1 => member.persist(),
                2 => member.persist_all(),
                3 if rng.random_range(0..4) == 0 => {
                    member.campaign_if_follower();
                    member.grant_votes();
                }
                4 if member.status().role == Role::Leader && member.status().lost == 0 => {
                    member.propose("x");
                }
                5 if member.status().applied > 0 => member.compact(),
                6 => {
                    let _only_leaders_take_it = member.raft.read(seed);
                }
                _ => {}
            }
            member.fetch();
        }
    }
}
