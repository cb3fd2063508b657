//! Who is answered what, and when.

use ordeal_client::wire::txn::{Txn, TxnOp};
use ordeal_client::wire::{
    GroupId, KEY_BYTES_MAX, NodeId, Owner, ReadLevel, RefusalReason, Reply, RequestBody, SessionId, ShardId,
    VALUE_BYTES_MAX, Version, WriteOp,
};

use super::rig::{CLIENT, Rig, SHARDS, append, read, shard};
use crate::engine::waiters::{Awaited, Waiter, Waiters};
use crate::engine::{CLIENT_WAITING_MAX, ClientKey, Input, WAITING_MAX};
use crate::raft::LogId;

const BUSY: Reply = Reply::Refused(RefusalReason::Busy);

fn value(text: &str, index: u64) -> Reply {
    Reply::Value(Some((text.into(), Version { epoch: 1, index })))
}

#[test]
fn a_write_is_answered_with_its_effect_and_a_retry_with_the_same() {
    let mut rig = Rig::new(3, 1);
    let leader = rig.elect();
    let session = rig.session(leader, "a");
    let first = rig.call(leader, append(session, 1, "a", "x"));
    let made = Version { epoch: 1, index: session.0 + 1 };
    assert_eq!(first, [Reply::Written { made, replaced: None }]);
    assert_eq!(rig.call(leader, append(session, 1, "a", "x")), first);
    assert_eq!(rig.call(leader, read("a", ReadLevel::Linearizable)), [value("x", made.index)]);
}

/// Lesson 31: a retry comes while the first copy is in the log and not applied yet; whoever looks only at what was
/// applied when it came would let both happen.
#[test]
fn copies_that_are_in_the_log_together_happen_once() {
    let mut rig = Rig::new(3, 1);
    let leader = rig.elect();
    let session = rig.session(leader, "a");
    let copies = [1, 2, 1, 2, 1].map(|sequence| {
        let op = WriteOp::Append(vec![b'0' + u8::try_from(sequence).expect("small")]);
        let body = RequestBody::Write { session, sequence, settled: 0, key: b"a".to_vec(), op };
        rig.ask(leader, CLIENT, body)
    });
    rig.settle();
    let replies = copies.map(|id| rig.replies_to(id));
    let written = |index| Version { epoch: 1, index: session.0 + index };
    let first = [Reply::Written { made: written(1), replaced: None }];
    let second = [Reply::Written { made: written(2), replaced: Some(written(1)) }];
    assert_eq!(replies.each_ref().map(Vec::as_slice), [&first, &second, &first, &second, &first]);
    assert_eq!(rig.call(leader, read("a", ReadLevel::Linearizable)), [value("12", session.0 + 2)]);
}

#[test]
fn whoever_does_not_lead_says_who_does_and_where() {
    let mut rig = Rig::new(3, 1);
    let nobody = Reply::Refused(RefusalReason::NotLeader { group: GroupId(1), leader: None });
    assert_eq!(
        rig.call(NodeId(1), RequestBody::OpenSession { shard: ShardId(0) }),
        std::slice::from_ref(&nobody)
    );
    assert_eq!(rig.call(NodeId(2), read("a", ReadLevel::Linearizable)), [nobody]);
    let leader = rig.elect();
    rig.tick();
    let hint = Some((leader, format!("{leader}.test:4000")));
    let refusal = Reply::Refused(RefusalReason::NotLeader { group: GroupId(1), leader: hint });
    let other = NodeId(leader.0 % 3 + 1);
    assert_eq!(rig.call(other, append(SessionId(2), 1, "a", "x")), std::slice::from_ref(&refusal));
    assert_eq!(rig.call(other, read("a", ReadLevel::Linearizable)), [refusal]);
}

#[test]
fn a_leader_that_was_not_heard_for_two_beats_is_named_no_more() {
    let mut rig = Rig::new(3, 1);
    let leader = rig.elect();
    rig.tick();
    rig.isolated.insert(leader);
    let other = NodeId(leader.0 % 3 + 1);
    let named = |rig: &mut Rig| match &rig.call(other, read("a", ReadLevel::Linearizable))[..] {
        [Reply::Refused(RefusalReason::NotLeader { leader, .. })] => leader.is_some(),
        replies => panic!("{replies:?}"),
    };
    assert!(named(&mut rig), "it was heard just now");
    // Two beats and a tick, far from an election.
    (0..11).for_each(|_| rig.tick());
    assert!(!named(&mut rig), "a client would be sent to where nobody answers");
}

#[test]
fn a_stale_read_is_answered_by_anybody_from_what_it_has() {
    let mut rig = Rig::new(3, 1);
    let leader = rig.elect();
    let session = rig.session(leader, "a");
    let behind = NodeId(leader.0 % 3 + 1);
    rig.isolated.insert(behind);
    rig.call(leader, append(session, 1, "a", "x"));
    assert_eq!(rig.call(leader, read("a", ReadLevel::Stale)), [value("x", session.0 + 1)]);
    assert_eq!(rig.call(behind, read("a", ReadLevel::Stale)), [Reply::Value(None)]);
}

/// A follower asks the leader how far it must have come, and answers from its own state.
#[test]
fn a_follower_read_is_answered_by_whoever_is_asked_and_sees_every_write() {
    let mut rig = Rig::new(3, 1);
    let leader = rig.elect();
    rig.tick();
    let session = rig.session(leader, "a");
    for (sequence, text) in [(1, "x"), (2, "xx"), (3, "xxx")] {
        rig.call(leader, append(session, sequence, "a", "x"));
        for node in 1..=3 {
            let got = rig.call(NodeId(node), read("a", ReadLevel::Follower));
            assert_eq!(got, [value(text, session.0 + sequence)], "n{node}");
        }
    }
}

#[test]
fn a_follower_without_a_leader_refuses_and_tells_those_who_wait() {
    let mut rig = Rig::new(3, 1);
    let leader = rig.elect();
    rig.tick();
    let other = NodeId(leader.0 % 3 + 1);
    rig.isolated.insert(other);
    let waiting = rig.ask(other, CLIENT, read("a", ReadLevel::Follower));
    rig.settle();
    assert_eq!(rig.replies_to(waiting), []);
    (0..50).for_each(|_| rig.tick());
    let told = rig.replies_to(waiting);
    assert!(matches!(told[..], [Reply::Refused(RefusalReason::NotLeader { .. })]), "{told:?}");
    let refused = Reply::Refused(RefusalReason::NotLeader { group: GroupId(1), leader: None });
    assert_eq!(rig.call(other, read("a", ReadLevel::Follower)), [refused]);
}

/// Found by the simulator (seed 60): a heartbeat between the read and the end of its turn began the read's round, and
/// with nobody to answer it, neither this read nor any later one was ever confirmed.
#[test]
fn a_read_is_answered_when_a_heartbeat_comes_between() {
    let mut rig = Rig::single(1);
    for ticks in 0..10 {
        let id = rig.ask(NodeId(1), CLIENT, read("a", ReadLevel::Linearizable));
        (0..ticks).for_each(|_| rig.engines.get_mut(&NodeId(1)).expect("a node").handle(Input::Tick));
        rig.settle();
        assert_eq!(rig.replies_to(id), [Reply::Value(None)], "after {ticks} ticks");
    }
}

/// Lesson 32: whoever asked a leader that is cut off is told, before and without any healing.
#[test]
fn a_leader_cut_off_tells_its_clients_that_it_cannot_know() {
    let mut rig = Rig::new(3, 1);
    let leader = rig.elect();
    let session = rig.session(leader, "a");
    rig.isolated.insert(leader);
    let write = rig.ask(leader, CLIENT, append(session, 1, "a", "x"));
    let read = rig.ask(leader, CLIENT, read("a", ReadLevel::Linearizable));
    rig.settle();
    assert_eq!(rig.replies_to(write), []);
    for _ in 0..100 {
        rig.engines.get_mut(&leader).expect("a node").handle(Input::Tick);
        rig.settle();
    }
    assert_eq!(rig.replies_to(write), [Reply::Unknown]);
    // A read has no effect, so that nothing came of it is certain.
    let refused = rig.replies_to(read);
    assert!(matches!(refused[..], [Reply::Refused(RefusalReason::NotLeader { .. })]), "{refused:?}");
}

/// Lesson 33: another entry takes the index of one that was proposed by a leader cut off.
#[test]
fn the_result_of_another_entry_is_nobodys_answer() {
    let mut rig = Rig::new(3, 1);
    let old = rig.elect();
    let session = rig.session(old, "a");
    rig.isolated.insert(old);
    let lost = rig.ask(old, CLIENT, append(session, 1, "a", "lost"));
    let engine = rig.engines.remove(&old).expect("a node");
    rig.isolated.insert(old);
    let new = rig.elect();
    let other = rig.session(new, "a");
    assert!(matches!(rig.call(new, append(other, 1, "a", "kept"))[..], [Reply::Written { .. }]));
    rig.engines.insert(old, engine);
    rig.isolated.clear();
    for _ in 0..100 {
        rig.tick();
    }
    assert_eq!(rig.replies_to(lost), [Reply::Unknown], "once, and not the result of what stands there now");
    let stale = rig.call(old, read("a", ReadLevel::Stale));
    assert!(matches!(&stale[..], [Reply::Value(Some((value, _)))] if value == b"kept"), "{stale:?}");
}

/// Lesson 33, the pure rule: index and term name an entry; "still the leader" answers nothing.
#[test]
fn waiters_are_told_apart_by_index_and_term() {
    let (g1, g2) = (GroupId(1), GroupId(2));
    let entry = |group, index, term| Awaited::Entry { group, id: LogId::new(index, term) };
    let all = [entry(g1, 5, 3), entry(g1, 5, 4), entry(g1, 6, 4), entry(g2, 5, 3)];
    let filled = || {
        let mut waiters = Waiters::default();
        for (request, awaited) in (0..).zip(all.clone()) {
            waiters.add(Waiter { client: CLIENT, request, awaited });
        }
        waiters
    };
    let requests = |taken: Vec<Waiter>| taken.into_iter().map(|waiter| waiter.request).collect::<Vec<_>>();
    assert_eq!(requests(filled().take_upto(g1, 5)), [0, 1]);
    assert_eq!(requests(filled().take_upto(g1, 4)), [0; 0]);
    assert_eq!(
        requests(filled().take_outdated(g1, 4, true)),
        [0],
        "leads again, but its old entries may be gone"
    );
    assert_eq!(requests(filled().take_outdated(g1, 4, false)), [0, 1, 2]);
    assert_eq!(
        requests(filled().take_outdated(g1, 3, false)),
        [0],
        "an older event says nothing of later entries"
    );
    let mut waiters = filled();
    waiters.client_gone(CLIENT);
    assert_eq!(requests(waiters.take_upto(g1, u64::MAX)), [0; 0]);
}

#[test]
fn waiting_requests_are_bounded_by_client_and_in_all() {
    let mut rig = Rig::new(3, 1);
    let leader = rig.elect();
    rig.isolated.insert(leader);
    let open = || RequestBody::OpenSession { shard: ShardId(0) };
    let clients = WAITING_MAX / CLIENT_WAITING_MAX;
    for client in 0..clients as u64 {
        for _ in 0..CLIENT_WAITING_MAX {
            rig.ask(leader, ClientKey(client), open());
        }
        let one_more = rig.ask(leader, ClientKey(client), read("a", ReadLevel::Linearizable));
        rig.settle();
        assert_eq!(rig.replies_to(one_more), [BUSY], "client {client}");
    }
    let stranger = ClientKey(clients as u64);
    let refused = rig.ask(leader, stranger, open());
    rig.engines.get_mut(&leader).expect("a node").handle(Input::ClientGone(ClientKey(0)));
    let taken = rig.ask(leader, stranger, open());
    rig.settle();
    assert_eq!(rig.replies_to(refused), [BUSY]);
    assert_eq!(rig.replies_to(taken), [], "who is gone waits no more, so there is room");
}

#[test]
fn values_read_in_one_turn_are_bounded_in_bytes() {
    let mut rig = Rig::single(1);
    let node = NodeId(1);
    let session = rig.session(node, "k");
    let put = WriteOp::Put(vec![b'v'; VALUE_BYTES_MAX]);
    rig.call(node, RequestBody::Write { session, sequence: 1, settled: 0, key: b"k".to_vec(), op: put });
    let asked: Vec<_> = (0..40).map(|_| rig.ask(node, CLIENT, read("k", ReadLevel::Linearizable))).collect();
    rig.settle();
    let replies: Vec<Reply> = asked.into_iter().flat_map(|request| rig.replies_to(request)).collect();
    let busy = replies.iter().filter(|reply| **reply == BUSY).count();
    assert_eq!((replies.len(), busy), (40, 40 - 17), "16 MiB and the one that reaches it are answered");
}

#[test]
fn nobody_answers_a_client_that_is_gone() {
    let mut rig = Rig::new(3, 1);
    let leader = rig.elect();
    let session = rig.session(leader, "a");
    let write = rig.ask(leader, CLIENT, append(session, 1, "a", "x"));
    let read = rig.ask(leader, CLIENT, read("a", ReadLevel::Linearizable));
    rig.engines.get_mut(&leader).expect("a node").handle(Input::ClientGone(CLIENT));
    rig.settle();
    assert_eq!((rig.replies_to(write), rig.replies_to(read)), (vec![], vec![]));
    assert_eq!(rig.engines[&leader].status(0, 0).groups[1].keys, 1, "its write happened all the same");
}

#[test]
fn what_is_too_long_or_nowhere_is_refused_at_the_edge() {
    let mut rig = Rig::single(1);
    let node = NodeId(1);
    let last = rig.engines[&node].status(0, 0).groups[1].last;
    let (long_key, long_value) = (vec![b'k'; KEY_BYTES_MAX + 1], vec![b'v'; VALUE_BYTES_MAX + 1]);
    let too_long = |what: &str, limit: usize| {
        let (what, bytes, limit) = (what.to_owned(), limit as u64 + 1, limit as u64);
        Reply::Refused(RefusalReason::TooLong { what, bytes, limit })
    };
    let write = |key: &[u8], op| RequestBody::Write {
        session: SessionId(1),
        sequence: 1,
        settled: 0,
        key: key.into(),
        op,
    };
    let cas = |expected: &[u8], new: &[u8]| WriteOp::Cas { expected: Some(expected.into()), new: new.into() };
    let cases = [
        (write(&long_key, WriteOp::Delete), too_long("key", KEY_BYTES_MAX)),
        (write(b"k", WriteOp::Put(long_value.clone())), too_long("value", VALUE_BYTES_MAX)),
        (write(b"k", WriteOp::Append(long_value.clone())), too_long("value", VALUE_BYTES_MAX)),
        (write(b"k", cas(&long_value, b"")), too_long("value", VALUE_BYTES_MAX)),
        (write(b"k", cas(b"", &long_value)), too_long("value", VALUE_BYTES_MAX)),
        (
            RequestBody::Read { key: long_key.clone(), level: ReadLevel::Stale },
            too_long("key", KEY_BYTES_MAX),
        ),
        (
            RequestBody::OpenSession { shard: ShardId(SHARDS) },
            Reply::Refused(RefusalReason::WrongGroup { shard: ShardId(SHARDS) }),
        ),
    ];
    for (request, expected) in cases {
        assert_eq!(rig.call(node, request), [expected]);
    }
    for (key, bytes, words) in [
        (b"a", in_shards_of(&["a", "b", "c", "d"]), "its keys are in"),
        (b"b", in_shards_of(&["a"]), "the key of a transaction is its first"),
        (b"a", b"no transaction".to_vec(), "does not decode"),
    ] {
        let reply = rig.call(node, write(key, WriteOp::Txn(bytes)));
        let [Reply::Refused(RefusalReason::Unfit(why))] = &reply[..] else { panic!("{reply:?}") };
        assert!(why.contains(words), "{why}");
    }
    assert_eq!(rig.engines[&node].status(0, 0).groups[1].last, last, "nothing of it reached the log");
    // The longest that is allowed passes.
    let session = rig.session(node, "k");
    let longest = RequestBody::Write {
        session,
        sequence: 1,
        settled: 0,
        key: b"k".to_vec(),
        op: WriteOp::Put(vec![b'v'; VALUE_BYTES_MAX]),
    };
    assert!(matches!(rig.call(node, longest)[..], [Reply::Written { .. }]));
}

/// A transaction that writes these keys.
fn in_shards_of(keys: &[&str]) -> Vec<u8> {
    let put = |key: &&str| TxnOp::Put { key: key.as_bytes().to_vec(), value: Vec::new() };
    Txn { then: keys.iter().map(put).collect(), ..Txn::default() }.to_bytes().expect("a good one")
}

#[test]
fn a_transaction_is_answered_and_done_once() {
    let mut rig = Rig::single(1);
    let node = NodeId(1);
    let session = rig.session(node, "a");
    let op = WriteOp::Txn(in_shards_of(&["a"]));
    let body = RequestBody::Write { session, sequence: 1, settled: 0, key: b"a".to_vec(), op };
    let first = rig.call(node, body.clone());
    assert!(matches!(first[..], [Reply::Txn { succeeded: true, .. }]), "{first:?}");
    assert_eq!(rig.call(node, body), first);
}

#[test]
fn the_welcome_names_members_and_owners() {
    let rig = Rig::new(3, 2);
    let welcome = rig.engines[&NodeId(2)].welcome();
    assert_eq!((welcome.node, welcome.members.len()), (NodeId(2), 3));
    assert_eq!(welcome.members[0], (NodeId(1), "n1.test:4000".to_owned()));
    let owner = |group| Owner { group: GroupId(group), epoch: 1 };
    assert_eq!(welcome.owners, [1, 2, 1, 2].map(owner));
    assert_eq!(welcome.owners[shard("a").0 as usize], owner(shard("a").0 % 2 + 1));
    let all: Vec<NodeId> = (1..=3).map(NodeId).collect();
    assert_eq!(welcome.groups, [0, 1, 2].map(|group| (GroupId(group), all.clone())));
}
