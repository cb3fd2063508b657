//! Nodes come and go, in all groups of a node; leadership is handed over.

use std::collections::BTreeMap;

use ordeal_client::wire::{GroupId, MemberChange, NodeId, RefusalReason, Reply, RequestBody};

use super::rig::{CLIENT, Rig, append, config, started};
use crate::engine::{Engine, Input};

const GROUPS: [GroupId; 3] = [GroupId(0), GroupId(1), GroupId(2)];

fn add(node: u32) -> MemberChange {
    MemberChange::Add { node: NodeId(node), address: format!("n{node}.test:4000") }
}

/// A cluster of `nodes` with two groups, and one more node that is to join.
fn with_a_newcomer(nodes: u32) -> Rig {
    let mut rig = Rig::new(nodes, 2);
    let mut newcomer = config(nodes + 1, nodes, 2);
    newcomer.members = BTreeMap::new();
    rig.engines.insert(NodeId(nodes + 1), started(newcomer, BTreeMap::new()));
    rig.tick();
    rig
}

/// Who leads a group, if anybody.
fn leader(rig: &Rig, group: GroupId) -> Option<NodeId> {
    let leads = |engine: &Engine| engine.member(group).is_some_and(|m| m.role == crate::raft::Role::Leader);
    rig.engines.iter().find(|(_, engine)| leads(engine)).map(|(&id, _)| id)
}

/// Asks whoever leads until it is done.
fn change(rig: &mut Rig, group: GroupId, change: &MemberChange) {
    for _ in 0..1_000 {
        rig.tick();
        let Some(leader) = leader(rig, group) else { continue };
        let reply = rig.call(leader, RequestBody::ChangeMembers { group, change: change.clone() });
        match reply[..] {
            [Reply::Members { done: true }] => return,
            [Reply::Members { done: false } | Reply::Refused(RefusalReason::MembersBusy)] => {}
            ref other => panic!("{other:?}"),
        }
    }
    panic!("never done");
}

#[test]
fn a_node_joins_and_another_leaves() {
    let mut rig = with_a_newcomer(3);
    assert!(rig.engines[&NodeId(4)].members().is_empty());
    for group in GROUPS {
        change(&mut rig, group, &add(4));
    }
    (0..20).for_each(|_| rig.tick());
    for engine in rig.engines.values() {
        assert_eq!(engine.members().len(), 4);
        assert!(engine.status(0, 0).groups.iter().all(|group| group.voters.len() == 4));
    }
    assert_eq!(rig.engines[&NodeId(4)].welcome().members[3], (NodeId(4), "n4.test:4000".to_owned()));
    for group in GROUPS {
        let gone = leader(&rig, group).expect("a leader");
        change(&mut rig, group, &MemberChange::Remove { node: gone });
        assert_ne!(leader(&rig, group), Some(gone), "{group}");
    }
}

#[test]
fn a_node_that_stops_hands_over_what_it_leads() {
    let mut rig = Rig::new(3, 2);
    let group = GroupId(1);
    while leader(&rig, group).is_none() {
        rig.tick();
    }
    let old = leader(&rig, group).expect("a leader");
    (0..10).for_each(|_| rig.tick());
    rig.engines.get_mut(&old).expect("a node").handle(Input::HandOver);
    rig.settle();
    let new = leader(&rig, group).expect("no tick was needed");
    assert_ne!(new, old);
    assert!(!rig.engines[&old].hands_over());
    let reply = rig.call(new, RequestBody::Transfer { group, to: Some(old) });
    assert_eq!(reply, [Reply::Transferring { to: old }]);
    assert_eq!(leader(&rig, group), Some(old));
}

#[test]
fn what_makes_no_sense_is_refused_with_a_reason() {
    let mut rig = Rig::single(2);
    let one = NodeId(1);
    let body = |group, change| RequestBody::ChangeMembers { group, change };
    let remove = MemberChange::Remove { node: one };
    let reply = rig.call(one, body(GROUPS[0], remove.clone()));
    assert_eq!(reply, [Reply::Refused(RefusalReason::Unfit("n1 is the last voter".to_owned()))]);
    let reply = rig.call(one, body(GroupId(9), remove));
    assert_eq!(reply, [Reply::Refused(RefusalReason::Unfit("there is no group g9".to_owned()))]);
    let reply = rig.call(one, RequestBody::Transfer { group: GROUPS[0], to: None });
    assert_eq!(reply, [Reply::Refused(RefusalReason::Unfit("no voter to hand over to".to_owned()))]);
    assert_eq!(rig.call(one, body(GROUPS[0], add(1))), [Reply::Members { done: true }], "it is there");
    let session = rig.session(one, "k");
    let id = rig.ask(one, CLIENT, append(session, 1, "k", "v"));
    rig.settle();
    assert_eq!(rig.replies_to(id).len(), 1, "and it goes on");
}
