//! Who watches keys: over leaders, restarts and moves, and when nothing happens.

use std::collections::BTreeMap;

use ordeal_client::wire::{
    AdminChange, Change, Interest, Mark, NodeId, RefusalReason, Reply, RequestBody, SessionId, ShardId,
};

use super::moves::{G1, G2, admin, apart, leader, newest, owner, until, write};
use super::rig::{CLIENT, Rig, append, config, shard, started};
use crate::engine::{ClientKey, Input, WATCHES_MAX};
use crate::shard::moving::Stage;

const N1: NodeId = NodeId(1);

fn watch(key: &str, behind: Option<Mark>) -> RequestBody {
    RequestBody::Changes { shard: shard(key), of: Interest::Key(key.into()), behind }
}

/// A change, as its version and value.
type Made = (Mark, Option<Vec<u8>>);

/// The versions and values that were told, and the mark to go on from.
fn told(replies: &[Reply]) -> (Vec<Made>, Mark) {
    let [Reply::Changes { changes, upto }] = replies else { panic!("no changes: {replies:?}") };
    let told = |change: &Change| (change.mark, change.value.clone());
    (changes.iter().map(told).collect(), *upto)
}

fn now(rig: &mut Rig, at: NodeId, key: &str) -> Mark {
    let (changes, upto) = told(&rig.call(at, watch(key, None)));
    assert!(changes.is_empty(), "nothing before now is told");
    upto
}

fn made(reply: &Reply) -> Mark {
    let Reply::Written { made, .. } = *reply else { panic!("not written: {reply:?}") };
    Mark::behind(made)
}

#[test]
fn who_watches_is_told_as_soon_as_a_change_is_committed_and_not_before() {
    let mut rig = Rig::single(1);
    let session = rig.session(N1, "a");
    let behind = now(&mut rig, N1, "a");
    let watching = rig.ask(N1, CLIENT, watch("a", Some(behind)));
    rig.settle();
    rig.slow_disks = true;
    let writing = rig.ask(N1, ClientKey(2), append(session, 1, "a", "x"));
    rig.settle();
    assert!(rig.replies_to(watching).is_empty(), "it is not durable yet");
    let (_, batch) = rig.batches.last().expect("a batch");
    let durable = Input::Persisted(batch.ticket);
    rig.engines.get_mut(&N1).expect("a node").handle(durable);
    rig.settle();
    let mark = made(&rig.replies_to(writing)[0]);
    assert_eq!(told(&rig.replies_to(watching)), (vec![(mark, Some(b"x".to_vec()))], mark));
}

#[test]
fn when_nothing_happens_who_watches_is_told_so_after_a_second() {
    let mut rig = Rig::single(1);
    let (session, behind) = (rig.session(N1, "a"), now(&mut rig, N1, "a"));
    let watching = rig.ask(N1, CLIENT, watch("a", Some(behind)));
    let mut keys = (0..).map(|number| format!("other {number}"));
    let other = keys.find(|key| shard(key) == shard("a")).expect("one hashes there");
    let mark = made(&rig.call(N1, append(session, 1, &other, "x"))[0]);
    (0..98).for_each(|_| rig.tick());
    assert!(rig.replies_to(watching).is_empty(), "nothing that concerns it happened");
    (0..3).for_each(|_| rig.tick());
    let (changes, upto) = told(&rig.replies_to(watching));
    assert!(changes.is_empty() && upto >= mark && mark > behind, "{upto} is behind {mark}");
}

#[test]
fn a_node_that_does_not_lead_tells_nothing_and_says_who_does() {
    let mut rig = Rig::new(3, 1);
    let at = rig.elect();
    rig.tick();
    let other = (1..=3).map(NodeId).find(|&node| node != at).expect("two follow");
    let refused = rig.call(other, watch("a", None));
    let named = |leader: &Option<(NodeId, String)>| leader.as_ref().map(|(node, _)| *node);
    assert!(
        matches!(&refused[..], [Reply::Refused(RefusalReason::NotLeader { leader, .. })] if named(leader) == Some(at)),
        "{refused:?}"
    );
}

/// The old leader dies with writes that nobody was told of, and one that it could not commit.
#[test]
fn a_watcher_goes_on_at_the_next_leader() {
    let mut rig = Rig::new(3, 1);
    let at = rig.elect();
    let (session, start) = (rig.session(at, "a"), now(&mut rig, at, "a"));
    let writes = (1..=5).map(|sequence| made(&rig.call(at, append(session, sequence, "a", "x"))[0]));
    let marks: Vec<Mark> = writes.collect();
    let (changes, upto) = told(&rig.call(at, watch("a", Some(start))));
    assert_eq!((changes.len(), upto), (5, marks[4]));
    let waiting = rig.ask(at, CLIENT, watch("a", Some(upto)));
    rig.isolated.insert(at);
    rig.ask(at, ClientKey(2), append(session, 6, "a", "lost"));
    let next = rig.elect();
    (0..100).for_each(|_| rig.tick());
    let refused = rig.replies_to(waiting);
    assert!(matches!(refused[..], [Reply::Refused(RefusalReason::NotLeader { .. })]), "{refused:?}");
    let mark = made(&rig.call(next, append(session, 6, "a", "y"))[0]);
    let (changes, _) = told(&rig.call(next, watch("a", Some(marks[2]))));
    let xs = |count: usize, tail: &str| Some(format!("{}{tail}", "x".repeat(count)).into_bytes());
    assert_eq!(changes, [(marks[3], xs(4, "")), (marks[4], xs(5, "")), (mark, xs(5, "y"))]);
}

#[test]
fn a_restart_from_a_snapshot_and_a_log_forgets_no_change() {
    let mut settings = config(1, 1, 1);
    (settings.snapshot_entries, settings.trailing_entries) = (10, 2);
    let mut rig = Rig::new(1, 1);
    rig.engines.insert(N1, started(settings.clone(), BTreeMap::new()));
    rig.elect();
    let (session, start) = (rig.session(N1, "a"), now(&mut rig, N1, "a"));
    let writes = (1..=35).map(|sequence| made(&rig.call(N1, append(session, sequence, "a", "x"))[0]));
    let marks: Vec<Mark> = writes.collect();
    rig.engines.insert(N1, started(settings, rig.recovered(N1)));
    rig.elect();
    assert!(rig.engines[&N1].status(0, 0).groups[1].first > 20, "most of the log is gone");
    let (changes, _) = told(&rig.call(N1, watch("a", Some(start))));
    assert_eq!(changes.iter().map(|(mark, _)| *mark).collect::<Vec<_>>(), marks);
}

/// A key of the first group, with a session.
fn of_first_group(rig: &mut Rig) -> (String, SessionId, NodeId) {
    let mut keys = (0..).map(|number| format!("key-{number}"));
    let key = keys.find(|key| owner(rig, shard(key)).0 == G1).expect("one hashes there");
    let at = leader(rig, G1).expect("a leader");
    let session = rig.session(at, &key);
    (key, session, at)
}

#[test]
fn a_watcher_is_told_where_its_shard_went_and_goes_on_there() {
    let mut rig = apart();
    let (key, session, at) = of_first_group(&mut rig);
    let start = now(&mut rig, at, &key);
    let first: Vec<Mark> = (1..=3).map(|sequence| made(&write(&mut rig, session, sequence, &key))).collect();
    let (changes, upto) = told(&rig.call(at, watch(&key, Some(start))));
    assert_eq!((changes.len(), upto >= first[2]), (3, true));
    let waiting = rig.ask(at, CLIENT, watch(&key, Some(upto)));
    rig.settle();
    let base = newest(&rig).number;
    admin(&mut rig, 1, base, AdminChange::Move { shard: shard(&key), to: G2 });
    until(&mut rig, |rig| owner(rig, shard(&key)).0 == G2);
    let moved = Reply::Refused(RefusalReason::Moved { shard: shard(&key), epoch: 2, group: G2 });
    assert_eq!(rig.replies_to(waiting), [moved]);
    let last = made(&write(&mut rig, session, 4, &key));
    let to = leader(&rig, G2).expect("a leader");
    // From the very beginning, and from within what was told by the one before.
    for (behind, skipped) in [(start, 0), (first[0], 1), (upto, 3), (last, 4)] {
        let expected: Vec<Mark> = first.iter().copied().chain([last]).skip(skipped).collect();
        let id = rig.ask(to, CLIENT, watch(&key, Some(behind)));
        (0..101).for_each(|_| rig.tick());
        let (changes, _) = told(&rig.replies_to(id));
        assert_eq!(changes.iter().map(|(mark, _)| *mark).collect::<Vec<_>>(), expected, "behind {behind}");
    }
}

/// What a frozen shard may hold that nobody was told, its next owner tells.
#[test]
fn a_frozen_shard_tells_nothing_until_it_has_its_next_owner() {
    let mut rig = apart();
    let (key, session, at) = of_first_group(&mut rig);
    let start = now(&mut rig, at, &key);
    made(&write(&mut rig, session, 1, &key));
    rig.loses_seals = true;
    let base = newest(&rig).number;
    admin(&mut rig, 1, base, AdminChange::Move { shard: shard(&key), to: G2 });
    until(&mut rig, |rig| {
        let machine = rig.engines[&at].groups[&G1].state.data().expect("of a data group");
        matches!(machine.stage(shard(&key)), Stage::Frozen { .. })
    });
    let asked = rig.ask(at, CLIENT, watch(&key, Some(start)));
    rig.settle();
    assert!(rig.replies_to(asked).is_empty(), "it waits for the next owner");
    rig.loses_seals = false;
    until(&mut rig, |rig| owner(rig, shard(&key)).0 == G2);
    let replies = rig.replies_to(asked);
    let refusal = |reply: &Reply| {
        matches!(reply, Reply::Refused(RefusalReason::Moved { .. } | RefusalReason::Frozen { .. }))
    };
    assert!(replies.len() == 1 && refusal(&replies[0]), "{replies:?}");
    let to = leader(&rig, G2).expect("a leader");
    assert_eq!(told(&rig.call(to, watch(&key, Some(start)))).0.len(), 1);
}

#[test]
fn who_comes_too_late_is_told_from_where_on_changes_are_kept() {
    let mut rig = Rig::single(1);
    let (session, start) = (rig.session(N1, "a"), now(&mut rig, N1, "a"));
    let long = "x".repeat(200_000);
    for sequence in 1..=30 {
        let op = ordeal_client::wire::WriteOp::Put(long.clone().into());
        let body = RequestBody::Write { session, sequence, settled: sequence - 1, key: "a".into(), op };
        made(&rig.call(N1, body)[0]);
    }
    let replies = rig.call(N1, watch("a", Some(start)));
    let [Reply::Refused(RefusalReason::Compacted { oldest, .. })] = replies[..] else {
        panic!("{replies:?}")
    };
    // An answer holds about 256 KiB: the rest comes with the next one.
    let (mut behind, mut count) = (oldest, 0);
    loop {
        let id = rig.ask(N1, CLIENT, watch("a", Some(behind)));
        (0..101).for_each(|_| rig.tick());
        let (changes, upto) = told(&rig.replies_to(id));
        if changes.is_empty() {
            break;
        }
        assert!(changes.len() <= 2);
        (behind, count) = (upto, count + changes.len());
    }
    assert_eq!(count, 20, "4 MiB of 200 kB each");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let mut rig = Rig::single(1);
    let other = ShardId(1 - shard("a").0.min(1));
    let foreign = RequestBody::Changes { shard: other, of: Interest::Key(b"a".to_vec()), behind: None };
    assert!(matches!(rig.call(N1, foreign)[..], [Reply::Refused(RefusalReason::Unfit(_))]));
    for of in [Interest::Key(vec![b'k'; 5_000]), Interest::Prefix(vec![b'k'; 5_000])] {
        let long = RequestBody::Changes { shard: ShardId(0), of, behind: None };
        assert!(matches!(rig.call(N1, long)[..], [Reply::Refused(RefusalReason::TooLong { .. })]));
    }
    let of = Interest::Prefix(Vec::new());
    let none = RequestBody::Changes { shard: ShardId(99), of, behind: None };
    assert!(matches!(rig.call(N1, none)[..], [Reply::Refused(RefusalReason::WrongGroup { .. })]));
}

#[test]
fn so_many_may_watch_and_who_goes_away_makes_room() {
    let mut rig = Rig::single(1);
    let behind = Some(now(&mut rig, N1, "b"));
    let clients = || (2..).map(ClientKey);
    for client in clients().take(5) {
        (0..WATCHES_MAX / 5 + 1).for_each(|_| _ = rig.ask(N1, client, watch("b", behind)));
    }
    let before = rig.call(N1, watch("b", behind));
    assert_eq!(before, [Reply::Refused(RefusalReason::Busy)]);
    let session = rig.session(N1, "a");
    let written = rig.call(N1, append(session, 1, "a", ""));
    assert!(matches!(written[..], [Reply::Written { .. }]), "others are served: {written:?}");
    let engine = rig.engines.get_mut(&N1).expect("a node");
    clients().take(5).for_each(|client| engine.handle(Input::ClientGone(client)));
    rig.tick();
    let waiting = rig.ask(N1, CLIENT, watch("b", behind));
    rig.settle();
    assert!(rig.replies_to(waiting).is_empty(), "there is room");
}
