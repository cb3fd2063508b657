//! Batches, tickets, restarts: what a driver may rely on.

use std::collections::BTreeMap;

use ordeal_client::wire::{GroupId, NodeId, ReadLevel, Reply};

use super::rig::{CLIENT, Rig, append, config, keys_of_two_groups, read, started};
use crate::engine::{BatchTicket, EngineError, Input, Output};
use crate::raft::{LogId, Message, Recovered, Snapshot};
use crate::shard::SnapshotError;

const N1: NodeId = NodeId(1);

fn batch_of(outputs: &[Output]) -> (BatchTicket, Vec<GroupId>) {
    let batches: Vec<_> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Persist(batch) => Some(batch),
            Output::Send { .. }
            | Output::Beat { .. }
            | Output::TakeSnapshot(_)
            | Output::StoreSnapshot(_)
            | Output::RestoreSnapshot(_)
            | Output::Reply { .. }
            | Output::Letter { .. }
            | Output::Control { .. }
            | Output::Welcome
            | Output::Discard(_)
            | Output::Members(_) => None,
        })
        .collect();
    let [batch] = batches[..] else { panic!("one batch a turn, not {}", batches.len()) };
    (batch.ticket, batch.groups.iter().map(|&(group, _)| group).collect())
}

#[test]
fn one_turn_is_one_batch_for_all_groups() {
    let mut rig = Rig::single(2);
    let keys = keys_of_two_groups();
    let sessions = [0, 1].map(|group| rig.session(N1, &keys[group]));
    let requests = [0, 1].map(|group| rig.ask(N1, CLIENT, append(sessions[group], 1, &keys[group], "x")));
    rig.slow_disks = true;
    let outputs = rig.turn(N1);
    let (ticket, groups) = batch_of(&outputs);
    assert_eq!(groups, [GroupId(1), GroupId(2)]);
    assert_eq!(outputs.len(), 1, "nobody is answered before the disk has it: {outputs:?}");
    rig.engines.get_mut(&N1).expect("a node").handle(Input::Persisted(ticket));
    rig.settle();
    for request in requests {
        assert!(matches!(rig.replies_to(request)[..], [Reply::Written { .. }]));
    }
}

#[test]
fn several_batches_may_be_under_way_and_a_later_one_covers_the_earlier() {
    let mut rig = Rig::single(1);
    let session = rig.session(N1, "a");
    rig.slow_disks = true;
    let mut requests = Vec::new();
    for sequence in 1..=3 {
        requests.push(rig.ask(N1, CLIENT, append(session, sequence, "a", "x")));
        rig.settle();
    }
    let tickets: Vec<_> = rig.batches.iter().rev().take(3).map(|(_, batch)| batch.ticket).collect();
    assert_eq!([tickets[2].0 + 1, tickets[1].0 + 1], [tickets[1].0, tickets[0].0]);
    let mut persisted = |ticket| {
        rig.engines.get_mut(&N1).expect("a node").handle(Input::Persisted(ticket));
        rig.settle();
        requests.iter().map(|&request| rig.replies_to(request).len()).collect::<Vec<_>>()
    };
    assert_eq!(persisted(tickets[1]), [1, 1, 0]);
    assert_eq!(persisted(tickets[2]), [0, 0, 0], "it is durable already");
    assert_eq!(persisted(tickets[0]), [0, 0, 1]);
}

#[test]
#[should_panic(expected = "batch 99 was never given out")]
fn only_what_was_given_out_becomes_durable() {
    Rig::single(1).engines.get_mut(&N1).expect("a node").handle(Input::Persisted(BatchTicket(99)));
}

/// "No message that promises something about this node's disk leaves before the disk has it."
#[test]
fn a_vote_waits_for_the_disk() {
    let mut rig = Rig::new(3, 1);
    let ask = |pre| Message::RequestVote { term: 1, last: LogId::ZERO, pre, handed_over: false };
    let input = |message| Input::Peer { from: NodeId(2), group: GroupId(1), message };
    rig.engines.get_mut(&N1).expect("a node").handle(input(ask(false)));
    let outputs = rig.turn(N1);
    let (ticket, _) = batch_of(&outputs);
    assert_eq!(outputs.len(), 1, "{outputs:?}");
    rig.engines.get_mut(&N1).expect("a node").handle(Input::Persisted(ticket));
    let outputs = rig.turn(N1);
    let granted = |output: &Output| {
        matches!(output, Output::Send { message: Message::RequestVoteReply { granted: true, .. }, .. })
    };
    assert!(outputs.iter().any(granted), "{outputs:?}");
}

#[test]
fn echoes_and_unknown_groups_are_not_heard() {
    let mut rig = Rig::new(3, 1);
    for (from, group) in [(1, 1), (2, 7), (2, 9)] {
        let message = Message::RequestVote { term: 1, last: LogId::ZERO, pre: false, handed_over: false };
        let input = Input::Peer { from: NodeId(from), group: GroupId(group), message };
        rig.engines.get_mut(&N1).expect("a node").handle(input);
        assert_eq!(rig.turn(N1), [], "n{from} in g{group}");
    }
}

#[test]
fn a_node_starts_again_from_snapshot_and_log_with_all_that_was_remembered() {
    let mut settings = config(1, 1, 1);
    (settings.snapshot_entries, settings.trailing_entries) = (10, 2);
    let mut rig = Rig::new(1, 1);
    rig.engines.insert(N1, started(settings.clone(), BTreeMap::new()));
    rig.elect();
    let session = rig.session(N1, "a");
    let mut last = Vec::new();
    for sequence in 1..=35 {
        last = rig.call(N1, append(session, sequence, "a", "x"));
    }
    let before = rig.engines[&N1].status(0, 0).groups.remove(1);
    assert!(before.snapshot > 30, "three snapshots by now: {before:?}");
    assert!(before.first > 20, "and the log behind them is gone: {before:?}");

    rig.engines.insert(N1, started(settings, rig.recovered(N1)));
    rig.elect();
    let after = rig.engines[&N1].status(0, 0).groups.remove(1);
    assert_eq!((after.digest, after.keys, after.sessions), (before.digest, 1, 1));
    assert_eq!(
        rig.call(N1, append(session, 35, "a", "x")),
        last,
        "a retry gets the answer of before the restart"
    );
    let value = rig.call(N1, read("a", ReadLevel::Linearizable));
    assert!(matches!(&value[..], [Reply::Value(Some((value, _)))] if value.len() == 35), "{value:?}");
}

#[test]
fn bytes_count_too_when_a_snapshot_is_due() {
    let mut settings = config(1, 1, 1);
    settings.snapshot_bytes = 10_000;
    let mut rig = Rig::new(1, 1);
    rig.engines.insert(N1, started(settings, BTreeMap::new()));
    rig.elect();
    let session = rig.session(N1, "a");
    for sequence in 1..=3 {
        rig.call(N1, append(session, sequence, "a", &"x".repeat(4_000)));
    }
    assert!(rig.engines[&N1].status(0, 0).groups[1].snapshot > 0);
}

#[test]
fn a_snapshot_of_another_build_is_an_error() {
    let last = LogId::new(7, 2);
    let membership = std::sync::Arc::new([NodeId(1)].into_iter().collect());
    let snapshot = Some(Snapshot { last, membership, data: 9u32.to_le_bytes().as_slice().into() });
    let newer = BTreeMap::from([(GroupId(1), Recovered { snapshot, ..Recovered::default() })]);
    let error = SnapshotError::Version { found: 9 };
    assert_eq!(started_error(newer), EngineError::Snapshot { group: GroupId(1), last, error: error.into() });
}

fn started_error(recovered: BTreeMap<GroupId, Recovered>) -> EngineError {
    crate::engine::Engine::new(config(1, 1, 1), recovered).expect_err("it does not fit")
}

/// Of all groups at once: a member that is gone is gone in each.
#[test]
fn a_closed_connection_is_a_hint_to_every_group() {
    let mut rig = Rig::new(3, 4);
    (0..100).for_each(|_| rig.tick());
    let leaders = |rig: &Rig, at: u32| -> Vec<Option<NodeId>> {
        rig.engines[&NodeId(at)].status(0, 0).groups.iter().map(|group| group.leader).collect()
    };
    // Of three nodes and four groups one leads at least two.
    let led = |node: u32| leaders(&rig, 1).iter().filter(|leader| **leader == Some(NodeId(node))).count();
    let dead = NodeId((1..=3).max_by_key(|node| led(*node)).expect("three nodes"));
    assert!(led(dead.0) >= 2);
    rig.isolated.insert(dead);
    for (_, engine) in rig.engines.iter_mut().filter(|(id, _)| **id != dead) {
        engine.handle(Input::PeerClosed(dead));
    }
    (0..4).for_each(|_| rig.tick());
    for node in (1..=3).filter(|node| NodeId(*node) != dead) {
        assert!(leaders(&rig, node).iter().all(|leader| leader.is_some_and(|leader| leader != dead)));
    }
}

/// A new one, too: who knows no leader has somebody to elect one with.
#[test]
fn a_new_connection_is_a_hint_to_every_group() {
    let mut rig = Rig::new(3, 4);
    for engine in rig.engines.values_mut() {
        (1..=3).for_each(|peer| engine.handle(Input::PeerUp(NodeId(peer))));
    }
    (0..5).for_each(|_| rig.tick());
    for engine in rig.engines.values() {
        assert!(engine.status(0, 0).groups.iter().all(|group| group.leader.is_some()));
    }
}

#[test]
fn a_group_goes_on_while_its_snapshot_is_taken_and_takes_one_at_a_time() {
    let mut settings = config(1, 1, 1);
    (settings.snapshot_entries, settings.trailing_entries) = (10, 2);
    let mut rig = Rig::single(1);
    rig.engines.insert(N1, started(settings, BTreeMap::new()));
    rig.elect();
    rig.slow_snapshots = true;
    let session = rig.session(N1, "a");
    let write = |rig: &mut Rig, sequence| {
        let replies = rig.call(N1, append(session, sequence, "a", "x"));
        assert!(matches!(replies[..], [Reply::Written { .. }]), "{replies:?}");
    };
    (1..=50).for_each(|sequence| write(&mut rig, sequence));
    let [job] = &rig.jobs[..] else { panic!("one job at a time, not {}", rig.jobs.len()) };
    let status = |rig: &Rig| rig.engines[&N1].status(0, 0).groups[1].clone();
    assert_eq!(
        (status(&rig).snapshot, status(&rig).first),
        (0, 1),
        "the log is cut behind a durable snapshot"
    );
    let taken = job.clone().run();
    rig.jobs.clear();
    rig.engines.get_mut(&N1).expect("a node").handle(Input::SnapshotTaken(taken));
    rig.settle();
    let after = status(&rig);
    assert!((11..20).contains(&after.snapshot), "of the state as it was when it began: {after:?}");
    assert!(after.first > 1, "{after:?}");
    write(&mut rig, 51);
    assert_eq!(rig.jobs.len(), 1, "the next is due at once");
}

/// Three nodes that take snapshots often, one of them cut off; gives the leader of g1 and the one that is cut off.
fn one_is_late(groups: u32) -> (Rig, NodeId, NodeId) {
    let mut rig = Rig::new(3, groups);
    for node in 1..=3 {
        let mut settings = config(node, 3, groups);
        (settings.snapshot_entries, settings.trailing_entries) = (10, 2);
        rig.engines.insert(NodeId(node), started(settings, BTreeMap::new()));
    }
    (0..100).for_each(|_| rig.tick());
    let leaders: Vec<_> = rig.engines[&N1]
        .status(0, 0)
        .groups
        .iter()
        .skip(1)
        .map(|group| group.leader.expect("somebody leads"))
        .collect();
    let follows = |node: &NodeId| !leaders.contains(node);
    let late = (1..=3).map(NodeId).find(follows).expect("of three, two at most lead");
    rig.isolated.insert(late);
    (rig, leaders[0], late)
}

/// A file that takes long to write is waited for by who needs it, and by no other group.
#[test]
fn other_groups_write_while_a_snapshot_of_a_leader_is_stored() {
    let (mut rig, leader, late) = one_is_late(2);
    let [key, other] = keys_of_two_groups();
    let session = rig.session(leader, &key);
    for sequence in 1..=40 {
        rig.call(leader, append(session, sequence, &key, "x"));
    }
    rig.isolated.clear();
    rig.slow_snapshots = true;
    (0..100).for_each(|_| rig.tick());
    let [(at, job)] = &rig.stores[..] else { panic!("one job at a time, not {}", rig.stores.len()) };
    assert_eq!((*at, job.group), (late, GroupId(1)));
    let job = job.clone();

    let status = |rig: &Rig, node, group: usize| rig.engines[&node].status(0, 0).groups[group].clone();
    let second = status(&rig, late, 2).leader.expect("somebody leads");
    let session = rig.session(second, &other);
    rig.call(second, append(session, 1, &other, "y"));
    (0..10).for_each(|_| rig.tick());
    assert_eq!(status(&rig, late, 2).applied, status(&rig, second, 2).last, "the other group goes on");
    let durable = rig.recovered(late);
    assert!(durable[&GroupId(1)].snapshot.is_none(), "no batch names what is not stored");
    assert!(status(&rig, late, 1).applied < job.snapshot.last.index);

    rig.slow_snapshots = false;
    rig.engines.get_mut(&late).expect("a node").handle(Input::SnapshotStored(job.done()));
    (0..10).for_each(|_| rig.tick());
    assert_eq!(rig.recovered(late)[&GroupId(1)].snapshot, Some(job.snapshot));
    assert_eq!(status(&rig, late, 1).applied, status(&rig, leader, 1).last);
}

/// A state that takes long to decode takes nobody's time but its reader's: the member goes on as a follower meanwhile.
#[test]
fn a_group_goes_on_while_a_snapshot_of_its_leader_is_restored() {
    let (mut rig, leader, late) = one_is_late(1);
    let status = |rig: &Rig, node| rig.engines[&node].status(0, 0).groups[1].clone();
    let session = rig.session(leader, "a");
    let write = |rig: &mut Rig, sequence| {
        let replies = rig.call(leader, append(session, sequence, "a", "x"));
        assert!(matches!(replies[..], [Reply::Written { .. }]), "{replies:?}");
    };
    (1..=40).for_each(|sequence| write(&mut rig, sequence));
    rig.isolated.clear();
    rig.slow_snapshots = true;
    let mut ticks = 0;
    while rig.restores.is_empty() && ticks < 1_000 {
        rig.tick();
        for (node, job) in std::mem::take(&mut rig.stores) {
            rig.engines.get_mut(&node).expect("a node").handle(Input::SnapshotStored(job.done()));
        }
        ticks += 1;
    }
    let before = status(&rig, late);

    (0..100).for_each(|_| rig.tick());
    write(&mut rig, 41);
    let (led, restoring) = (status(&rig, leader), status(&rig, late));
    assert_eq!(led.role, ordeal_client::wire::RoleName::Leader);
    assert_eq!((restoring.leader, restoring.term), (Some(leader), led.term), "it answers its leader");
    assert_eq!(
        (restoring.applied, restoring.digest),
        (before.applied, before.digest),
        "its state is the old one"
    );
    let peer = led.peers.iter().find(|peer| peer.node == late).expect("a follower");
    assert_eq!((peer.matched, restoring.last), (led.last, led.last), "its log goes on");

    let [job] = &rig.restores[..] else { panic!("one job at a time, not {}", rig.restores.len()) };
    let restored = job.clone().run();
    rig.engines.get_mut(&late).expect("a node").handle(Input::SnapshotRestored(restored));
    (0..10).for_each(|_| rig.tick()); // a heartbeat says what is committed
    let after = status(&rig, late);
    assert_eq!((after.applied, after.digest), (led.last, led.digest), "and then it is level");
}
