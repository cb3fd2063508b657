//! Groups that are made while the cluster runs: on the nodes that were named, by each once, and by no directory that was begun anew.

use std::collections::{BTreeMap, BTreeSet};

use ordeal_client::wire::{
    AdminChange, Decision, DirectoryId, GroupId, NodeId, Objection, RefusalReason, Reply, RequestBody,
};

use super::moves::{admin, leader, newest, owner, until, write};
use super::rig::{Rig, config, shard, started};
use crate::engine::{CONTROLLER, EngineConfig, Input, Output};
use crate::raft::{Entry, LogId, Message, Payload};

const G1: GroupId = GroupId(1);
const G3: GroupId = GroupId(3);
const N4: NodeId = NodeId(4);
/// Learns in the controller, and never leads it.
const N6: NodeId = NodeId(6);

/// Settings of a node among six, with one group on the first three.
fn settings(node: u32) -> EngineConfig {
    let mut settings = config(node, 6, 1);
    settings.replicas = Some(3);
    settings
}

/// Six nodes, one group on the first three.
fn cluster() -> Rig {
    let mut rig = Rig::new(6, 1);
    for node in 1..=6 {
        rig.engines.insert(NodeId(node), started(settings(node), BTreeMap::new()));
    }
    until(&mut rig, |rig| {
        [CONTROLLER, G1].into_iter().all(|group| leader(rig, group).is_some())
            && rig.engines.values().all(|engine| engine.configuration().number >= 2)
    });
    rig
}

fn creation(group: u32, nodes: [u32; 3]) -> AdminChange {
    let members = nodes.map(|node| (NodeId(node), format!("n{node}.test:4000"))).into();
    let directories = nodes.map(|node| (NodeId(node), DirectoryId(u64::from(node)))).into();
    AdminChange::Create { groups: [(GroupId(group), members)].into(), directories }
}

fn create(rig: &mut Rig) {
    let base = newest(rig).number;
    let decision = admin(rig, 77, base, creation(3, [4, 5, 6]));
    assert_eq!(decision, Decision::Done { number: base + 1 });
}

fn is_served(rig: &Rig) -> bool {
    leader(rig, G3).is_some() && newest(rig).moves.is_empty()
}

/// The entries with which a node ever began the group.
fn beginnings(rig: &Rig, node: NodeId) -> Vec<Entry> {
    let of_node = rig.batches.iter().filter(|(id, _)| *id == node).flat_map(|(_, batch)| &batch.groups);
    let entries = of_node.filter(|(group, _)| *group == G3).flat_map(|(_, persist)| &persist.entries);
    entries.filter(|entry| entry.id.index == 1).cloned().collect()
}

#[test]
fn heartbeats_of_all_groups_go_out_in_the_same_tick() {
    let mut rig = cluster();
    rig.tick(); // g3 begins between two beats
    create(&mut rig);
    until(&mut rig, is_served);
    let beats = |(_, output): &(NodeId, Output)| {
        matches!(output, Output::Send { message: Message::Heartbeat { .. }, .. })
    };
    let beaten: Vec<bool> = (0..20).map(|_| rig.tick_and_listen().iter().any(beats)).collect();
    let period = rig.engines[&N4].config.heartbeat_ticks as usize;
    assert_eq!(beaten.iter().filter(|&&beat| beat).count(), 20 / period, "{beaten:?}");
}

#[test]
fn every_node_knows_a_configuration_as_soon_as_it_is_committed() {
    let mut rig = cluster();
    create(&mut rig); // with no tick in between
    let number = newest(&rig).number;
    assert!(rig.engines.values().all(|engine| engine.configuration().number == number));
}

#[test]
fn a_group_is_made_on_its_nodes_and_gets_its_share() {
    let mut rig = cluster();
    let at = leader(&rig, G1).expect("a leader");
    let session = rig.session(at, "a");
    let before: Vec<Reply> = (1..=5).map(|sequence| write(&mut rig, session, sequence, "a")).collect();
    create(&mut rig);
    until(&mut rig, is_served);
    for (&id, engine) in &rig.engines {
        let membership = engine.membership(G3).expect("every node has a member of it");
        assert_eq!(
            membership.voters().iter().copied().collect::<Vec<_>>(),
            [4, 5, 6].map(NodeId)[..if id.0 > 3 { 3 } else { 0 }]
        );
        let told = engine.welcome().groups;
        assert!(told.contains(&(G3, [4, 5, 6].map(NodeId).to_vec())), "{id}: {told:?}");
    }
    let share = newest(&rig).owners.iter().filter(|owner| owner.group == G3).count();
    assert_eq!(share, 2, "of four");
    // Wherever the key is by now, what was done is done, and once.
    let moved = owner(&rig, shard("a")).0;
    assert_eq!(write(&mut rig, session, 5, "a"), before[4], "in {moved}");
    // It leaves, and comes back as it was.
    let base = newest(&rig).number;
    admin(&mut rig, 1, base, AdminChange::Leave(BTreeSet::from([G3])));
    until(&mut rig, |rig| !newest(rig).groups.contains_key(&G3));
    let base = newest(&rig).number;
    assert_eq!(
        admin(&mut rig, 2, base, creation(3, [4, 5, 6])),
        Decision::Refused(Objection::GroupWasThere { group: G3 })
    );
    let members = [4, 5, 6].map(|node| (NodeId(node), format!("n{node}.test:4000"))).into();
    admin(&mut rig, 3, base, AdminChange::Join([(G3, members)].into()));
    until(&mut rig, |rig| newest(rig).owners.iter().filter(|owner| owner.group == G3).count() == 2);
    for node in [4, 5, 6] {
        assert_eq!(beginnings(&rig, NodeId(node)).len(), 1, "n{node} begins once");
    }
}

/// All with the same entry, whatever else they know: two majorities could come of anything else.
#[test]
fn all_begin_with_the_same_entry() {
    let mut rig = cluster();
    create(&mut rig);
    until(&mut rig, is_served);
    let first: Vec<Vec<Entry>> = [4, 5, 6].map(|node| beginnings(&rig, NodeId(node))).to_vec();
    assert!(matches!(
        &first[0][..],
        [Entry { id: LogId { index: 1, term: 1 }, payload: Payload::Membership(_) }]
    ));
    assert!(first.iter().all(|entries| *entries == first[0]), "{first:?}");
    assert!((1..=3).all(|node| beginnings(&rig, NodeId(node)).is_empty()), "who is no member begins nothing");
}

#[test]
fn who_was_away_makes_the_group_from_a_snapshot() {
    let mut rig = cluster();
    for node in 1..=6 {
        let mut small = settings(node);
        (small.snapshot_entries, small.trailing_entries) = (3, 0);
        rig.engines.insert(NodeId(node), started(small, rig.recovered(NodeId(node))));
    }
    until(&mut rig, |rig| {
        [CONTROLLER, G1].into_iter().all(|group| leader(rig, group).is_some_and(|id| id != N6))
    });
    rig.isolated.insert(N6);
    create(&mut rig);
    until(&mut rig, |rig| is_served(rig) && leader(rig, G3).is_some_and(|id| id != N6));
    assert!(rig.engines[&N6].membership(G3).is_none());
    // So much happens that the log no longer tells.
    for id in 0..4 {
        let base = newest(&rig).number;
        let to = if id % 2 == 0 { G1 } else { G3 };
        admin(&mut rig, 100 + id, base, AdminChange::Move { shard: ordeal_client::wire::ShardId(0), to });
        until(&mut rig, |rig| newest(rig).moves.is_empty());
    }
    let of_controller = |id| rig.engines[&id].member(CONTROLLER).expect("every node has one");
    let first = of_controller(leader(&rig, CONTROLLER).expect("a leader")).first;
    assert!(first > of_controller(N6).last.index + 1, "it can only be told by a snapshot");
    rig.isolated.clear();
    until(&mut rig, |rig| {
        let applied = |node| rig.engines[&NodeId(node)].member(G3).map(|member| member.applied);
        applied(6).is_some() && applied(4) == applied(5) && applied(4) == applied(6)
    });
    assert_eq!(beginnings(&rig, N6).len(), 1);
}

/// "Owned shards are served without the controller": its log alone says who belongs to it.
#[test]
fn a_restart_needs_nobody_to_tell_it_of_the_group() {
    let mut rig = cluster();
    create(&mut rig);
    until(&mut rig, is_served);
    for node in [1, 2, 3] {
        rig.isolated.insert(NodeId(node));
    }
    for node in [4, 5, 6] {
        let engine = started(settings(node), rig.recovered(NodeId(node)));
        assert_eq!(
            engine.membership(G3).map(|known| known.voters().len()),
            Some(3),
            "before it is told anything"
        );
        rig.engines.insert(NodeId(node), engine);
    }
    rig.batches.clear();
    until(&mut rig, |rig| leader(rig, G3).is_some());
    assert!([4, 5, 6].iter().all(|&node| beginnings(&rig, NodeId(node)).is_empty()), "nothing is begun anew");
}

/// What a member says in the group stands behind its beginning on the disk.
#[test]
fn nobody_votes_before_the_beginning_is_durable() {
    let mut rig = cluster();
    let ask = || Message::RequestVote { term: 2, last: LogId::new(1, 1), pre: false, handed_over: false };
    let input = || Input::Peer { from: NodeId(5), group: G3, message: ask() };
    let engine = |rig: &mut Rig, input| rig.engines.get_mut(&N4).expect("a node").handle(input);
    engine(&mut rig, input());
    assert_eq!(rig.turn(N4), [], "a group that is not there yet");
    create(&mut rig);
    until(&mut rig, |rig| rig.engines[&N4].member(G3).is_some());
    // As if it died before the disk had it: nothing of it is left, and it begins with the same.
    let began = rig.batches.iter().position(|(id, batch)| {
        *id == N4 && batch.groups.iter().any(|(group, persist)| *group == G3 && !persist.entries.is_empty())
    });
    rig.batches.truncate(began.expect("it began"));
    rig.batches.retain(|(id, _)| *id == N4);
    let mut again = started(settings(4), rig.recovered(N4));
    assert!(again.member(G3).is_none());
    again.handle(input());
    assert!(
        std::iter::from_fn(|| again.poll()).all(|output| !matches!(output, Output::Send { group: G3, .. }))
    );
}

/// A directory that was lost may have held a vote. Another one under the same id begins nothing, and is silent in the group.
#[test]
fn a_directory_that_was_begun_anew_has_no_member_of_the_group() {
    let mut rig = cluster();
    create(&mut rig);
    until(&mut rig, is_served);
    let wiped = EngineConfig { directory: DirectoryId(99), members: BTreeMap::new(), ..settings(4) };
    rig.engines.insert(N4, started(wiped, BTreeMap::new()));
    rig.batches.retain(|(id, _)| *id != N4);
    let number = newest(&rig).number;
    until(&mut rig, |rig| rig.engines[&N4].configuration().number >= number);
    assert!(rig.engines[&N4].member(G3).is_none());
    let ask = Message::RequestVote { term: 99, last: LogId::new(99, 98), pre: false, handed_over: false };
    rig.engines.get_mut(&N4).expect("a node").handle(Input::Peer {
        from: NodeId(5),
        group: G3,
        message: ask,
    });
    assert_eq!(rig.turn(N4), []);
    (0..100).for_each(|_| rig.tick());
    assert!(beginnings(&rig, N4).is_empty());
}

#[test]
fn what_makes_no_sense_makes_no_group() {
    let mut rig = cluster();
    let base = newest(&rig).number;
    let at = leader(&rig, CONTROLLER).expect("a leader");
    let mut ask = |id, change| {
        let body = RequestBody::Admin { id: ordeal_client::wire::CommandId(id), base, change };
        rig.call(at, body).pop().expect("an answer")
    };
    let unfit = |words: &str| Reply::Refused(RefusalReason::Unfit(words.to_owned()));
    assert_eq!(ask(1, creation(3, [4, 5, 7])), unfit("n7 is no member of the cluster"));
    let members = [(N4, "n4.test:4000".to_owned())].into();
    assert_eq!(ask(2, AdminChange::Join([(G3, members)].into())), unfit("there never was a g3"));
    let refused = |objection| Reply::Decided(Decision::Refused(objection));
    assert_eq!(ask(3, creation(1, [4, 5, 6])), refused(Objection::GroupThere { group: G1 }));
    let AdminChange::Create { groups, mut directories } = creation(3, [4, 5, 6]) else {
        panic!("made above")
    };
    directories.remove(&N4);
    assert_eq!(ask(4, AdminChange::Create { groups, directories }), refused(Objection::Directories));
    assert_eq!(newest(&rig).number, base);
    assert!(rig.engines.values().all(|engine| engine.member(G3).is_none()));
}
