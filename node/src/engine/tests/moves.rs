//! The controller and the movers inside of engines: who is told what, and shards that move while clients write.

use std::collections::{BTreeMap, BTreeSet};

use ordeal_client::wire::{
    AdminChange, CommandId, Configuration, Decision, GroupId, NodeId, Objection, ReadLevel, RefusalReason,
    Reply, RequestBody, SessionId, ShardId, WriteOp,
};

use super::rig::{CLIENT, Rig, SHARDS, config, read, shard, started};
use crate::engine::{CONTROLLER, Engine};
use crate::raft::Role;

pub(super) const G1: GroupId = GroupId(1);
pub(super) const G2: GroupId = GroupId(2);

pub(super) fn leader(rig: &Rig, group: GroupId) -> Option<NodeId> {
    let leads = |engine: &Engine| engine.member(group).is_some_and(|member| member.role == Role::Leader);
    rig.engines.iter().find(|(_, engine)| leads(engine)).map(|(&id, _)| id)
}

/// Three nodes with two groups, which all have leaders that the controller knows of.
fn cluster() -> Rig {
    let mut rig = Rig::new(3, 2);
    until(&mut rig, |rig| {
        let all = [CONTROLLER, G1, G2].into_iter().all(|group| leader(rig, group).is_some());
        all && rig.engines.values().all(|engine| engine.configuration().number >= 3)
    });
    rig
}

/// Six nodes with two groups that share none.
pub(super) fn apart() -> Rig {
    let mut rig = Rig::new(6, 2);
    for node in 1..=6 {
        let mut settings = config(node, 6, 2);
        settings.replicas = Some(3);
        rig.engines.insert(NodeId(node), started(settings, BTreeMap::new()));
    }
    until(&mut rig, |rig| {
        [CONTROLLER, G1, G2].into_iter().all(|group| leader(rig, group).is_some())
            && rig.engines.values().all(|engine| engine.configuration().number >= 3)
    });
    rig
}

pub(super) fn until(rig: &mut Rig, so: impl Fn(&Rig) -> bool) {
    for _ in 0..2_000 {
        if so(rig) {
            return;
        }
        rig.tick();
    }
    panic!("it never is so");
}

pub(super) fn newest(rig: &Rig) -> Configuration {
    let all = rig.engines.values().map(|engine| engine.configuration().clone());
    all.max_by_key(|configuration| configuration.number).expect("there are nodes")
}

/// An administrator's command, at the controller's leader.
pub(super) fn admin(rig: &mut Rig, id: u64, base: u64, change: AdminChange) -> Decision {
    let at = leader(rig, CONTROLLER).expect("somebody leads");
    match &rig.call(at, RequestBody::Admin { id: CommandId(id), base, change })[..] {
        [Reply::Decided(decision)] => decision.clone(),
        other => panic!("no decision: {other:?}"),
    }
}

pub(super) fn owner(rig: &Rig, shard: ShardId) -> (GroupId, u64) {
    let owner = newest(rig).owner(shard).expect("there is such a shard");
    (owner.group, owner.epoch)
}

/// A write, at whoever serves its shard by now; what was refused is asked for again.
pub(super) fn write(rig: &mut Rig, session: SessionId, sequence: u64, key: &str) -> Reply {
    for _ in 0..200 {
        let group = owner(rig, shard(key)).0;
        let Some(at) = leader(rig, group) else {
            rig.tick();
            continue;
        };
        // All may be asked for again.
        let op = WriteOp::Append("x".into());
        let body = RequestBody::Write { session, sequence, settled: 0, key: key.into(), op };
        match &rig.call(at, body)[..] {
            [
                Reply::Refused(
                    RefusalReason::NotLeader { .. }
                    | RefusalReason::Moved { .. }
                    | RefusalReason::Frozen { .. },
                ),
            ]
            | [] => rig.tick(),
            [reply] => return reply.clone(),
            other => panic!("one answer: {other:?}"),
        }
    }
    panic!("never served");
}

#[test]
fn every_node_learns_who_the_members_of_all_groups_are() {
    let rig = cluster();
    for engine in rig.engines.values() {
        for (group, info) in &engine.configuration().groups {
            assert_eq!(info.members.len(), 3, "{group}");
            assert!(info.at > 0);
        }
        assert_eq!(engine.welcome().owners, engine.owners());
    }
}

#[test]
fn a_shard_moves_with_its_sessions_while_it_is_written_to() {
    let mut rig = cluster();
    let key = "a";
    let moved = shard(key);
    let (from, epoch) = owner(&rig, moved);
    let to = if from == G1 { G2 } else { G1 };
    let at = leader(&rig, from).expect("a leader");
    let session = rig.session(at, key);
    let before: Vec<Reply> = (1..=5).map(|sequence| write(&mut rig, session, sequence, key)).collect();
    let base = newest(&rig).number;
    let decided = admin(&mut rig, 7, base, AdminChange::Move { shard: moved, to });
    assert_eq!(decided, Decision::Done { number: base + 1 });
    for sequence in 6..=20 {
        let reply = write(&mut rig, session, sequence, key);
        assert!(matches!(reply, Reply::Written { .. }), "{reply:?}");
    }
    until(&mut rig, |rig| owner(rig, moved) == (to, epoch + 1));
    assert!(newest(&rig).moves.is_empty());
    // A retry of long ago, at the new owner.
    assert_eq!(write(&mut rig, session, 5, key), before[4]);
    let at = leader(&rig, to).expect("a leader");
    let value = rig.call(at, read(key, ReadLevel::Linearizable));
    assert!(matches!(&value[..], [Reply::Value(Some((value, _)))] if value.len() == 20), "{value:?}");
    // Asked for again, the command is told what it was told.
    assert_eq!(admin(&mut rig, 7, base, AdminChange::Move { shard: moved, to }), decided);
}

#[test]
fn who_asks_the_old_owner_is_told_the_new_one() {
    let mut rig = cluster();
    let moved = shard("a");
    let (from, _) = owner(&rig, moved);
    let to = if from == G1 { G2 } else { G1 };
    let base = newest(&rig).number;
    admin(&mut rig, 1, base, AdminChange::Move { shard: moved, to });
    until(&mut rig, |rig| owner(rig, moved).0 == to);
    // On every node the group of the latest epoch is asked, whichever replicas are there.
    for id in (1..=3).map(NodeId) {
        let reply = rig.call(id, RequestBody::OpenSession { shard: moved });
        let told = match &reply[..] {
            [Reply::SessionOpened(_)] => to,
            [Reply::Refused(RefusalReason::NotLeader { group, .. })] => *group,
            other => panic!("{other:?}"),
        };
        assert_eq!(told, to, "{id}");
    }
}

#[test]
fn who_knows_an_older_owner_only_is_told_which_one_is_newer() {
    let mut rig = cluster();
    let moved = shard("a");
    let (from, epoch) = owner(&rig, moved);
    let to = if from == G1 { G2 } else { G1 };
    let base = newest(&rig).number;
    admin(&mut rig, 1, base, AdminChange::Move { shard: moved, to });
    until(&mut rig, |rig| rig.engines.values().all(|engine| engine.configuration().moves.is_empty()));
    until(&mut rig, |rig| owner(rig, moved).0 == to);
    let leads = leader(&rig, to).expect("a leader");
    let news = [Reply::Refused(RefusalReason::Moved { shard: moved, epoch: epoch + 1, group: to })];
    for id in (1..=3).map(NodeId).filter(|id| *id != leads) {
        rig.epoch = epoch;
        assert_eq!(rig.call(id, read("a", ReadLevel::Linearizable)), news, "{id}");
        assert_eq!(rig.call(id, RequestBody::OpenSession { shard: moved }), news, "{id}");
        rig.epoch = epoch + 1;
        let known = rig.call(id, RequestBody::OpenSession { shard: moved });
        let [Reply::Refused(RefusalReason::NotLeader { group, leader: Some((hint, _)) })] = &known[..] else {
            panic!("{known:?}")
        };
        assert_eq!((*group, *hint), (to, leads), "{id}");
    }
    // Whoever leads answers, whatever it is that the client knew.
    rig.epoch = epoch;
    let opened = rig.call(leads, RequestBody::OpenSession { shard: moved });
    assert!(matches!(opened[..], [Reply::SessionOpened(_)]), "{opened:?}");
}

#[test]
fn a_group_that_leaves_owns_nothing_and_joins_again() {
    let mut rig = cluster();
    let base = newest(&rig).number;
    let leaves = AdminChange::Leave(BTreeSet::from([G1]));
    assert!(matches!(admin(&mut rig, 1, base, leaves), Decision::Done { .. }));
    until(&mut rig, |rig| newest(rig).owners.iter().all(|owner| owner.group == G2));
    assert!(!newest(&rig).groups.contains_key(&G1));
    // Nothing is changed by what makes no sense.
    let base = newest(&rig).number;
    let last = AdminChange::Leave(BTreeSet::from([G2]));
    assert_eq!(admin(&mut rig, 2, base, last), Decision::Refused(Objection::LastGroup));
    let nowhere = AdminChange::Move { shard: ShardId(0), to: GroupId(9) };
    assert_eq!(
        admin(&mut rig, 3, base, nowhere),
        Decision::Refused(Objection::GroupUnknown { group: GroupId(9) })
    );
    let outdated = AdminChange::Move { shard: ShardId(0), to: G2 };
    assert!(matches!(admin(&mut rig, 4, 1, outdated), Decision::Conflict { .. }));
    assert_eq!(newest(&rig).number, base);
    let members: BTreeMap<NodeId, String> = config(1, 3, 2).members;
    assert!(matches!(
        admin(&mut rig, 5, base, AdminChange::Join(BTreeMap::from([(G1, members)]))),
        Decision::Done { .. }
    ));
    let share = |rig: &Rig| newest(rig).owners.iter().filter(|owner| owner.group == G1).count();
    until(&mut rig, |rig| share(rig) == SHARDS as usize / 2);
}

/// Found by the scenario `no-lease`: the donor went on writing to who had led the recipient's group last.
#[test]
fn a_move_ends_although_who_led_the_other_group_is_gone() {
    let mut rig = apart();
    let of_g1: Vec<ShardId> =
        (0..SHARDS).map(ShardId).filter(|&shard| owner(&rig, shard).0 == G1).take(2).collect();
    let base = newest(&rig).number;
    admin(&mut rig, 1, base, AdminChange::Move { shard: of_g1[0], to: G2 });
    until(&mut rig, |rig| owner(rig, of_g1[0]) == (G2, 2) && newest(rig).moves.is_empty());
    // G1 has heard who leads G2. That node is gone, and another one leads.
    let gone = leader(&rig, G2).expect("it has adopted a shard");
    rig.isolated.insert(gone);
    until(&mut rig, |rig| {
        [CONTROLLER, G2].into_iter().all(|group| leader(rig, group).is_some_and(|node| node != gone))
    });
    let base = newest(&rig).number;
    admin(&mut rig, 2, base, AdminChange::Move { shard: of_g1[1], to: G2 });
    until(&mut rig, |rig| owner(rig, of_g1[1]) == (G2, 2) && newest(rig).moves.is_empty());
}

#[test]
fn configurations_are_asked_for_by_number_and_watched() {
    let mut rig = cluster();
    let at = NodeId(2);
    let base = newest(&rig).number;
    let watching = rig.ask(at, CLIENT, RequestBody::Watch { after: base });
    rig.settle();
    assert!(rig.replies_to(watching).is_empty(), "nothing is newer yet");
    let (from, _) = owner(&rig, ShardId(0));
    let to = if from == G1 { G2 } else { G1 };
    admin(&mut rig, 1, base, AdminChange::Move { shard: ShardId(0), to });
    until(&mut rig, |rig| rig.engines[&at].configuration().number > base);
    let told = rig.replies_to(watching);
    assert!(matches!(&told[..], [Reply::Configuration(next)] if next.number > base), "{told:?}");

    until(&mut rig, |rig| newest(rig).moves.is_empty());
    let number = newest(&rig).number;
    let mut ask = |number| {
        let id = rig.ask(at, CLIENT, RequestBody::Configuration { number });
        for _ in 0..20 {
            rig.tick();
        }
        rig.replies_to(id)
    };
    let old = ask(Some(base));
    assert!(matches!(&old[..], [Reply::Configuration(of)] if of.number == base && of.moves.is_empty()));
    let now = ask(None);
    assert!(matches!(&now[..], [Reply::Configuration(of)] if of.number == number), "{now:?}");
    let none = ask(Some(number + 1));
    assert!(matches!(&none[..], [Reply::Refused(RefusalReason::Unfit(_))]), "{none:?}");
}

#[test]
fn who_waits_for_news_is_told_after_a_second_that_there_is_none() {
    let mut rig = cluster();
    let base = newest(&rig).number;
    let watching = rig.ask(NodeId(1), CLIENT, RequestBody::Watch { after: base });
    (0..100).for_each(|_| rig.tick());
    let told = rig.replies_to(watching);
    assert!(matches!(&told[..], [Reply::Configuration(same)] if same.number == base), "{told:?}");
}

#[test]
fn groups_follow_one_another_around_the_nodes() {
    let voters = |of: &crate::engine::EngineConfig, group| of.first_members(GroupId(group)).voters().clone();
    let ids = |ids: &[u32]| ids.iter().copied().map(NodeId).collect::<BTreeSet<_>>();
    let mut of = config(1, 6, 3);
    of.replicas = Some(3);
    assert_eq!(voters(&of, 1), ids(&[1, 2, 3]));
    assert_eq!(voters(&of, 2), ids(&[]), "it is on other nodes");
    assert_eq!(voters(&of, 3), ids(&[1, 2, 3]));
    of.node = NodeId(4);
    assert_eq!(voters(&of, 2), ids(&[4, 5, 6]));
    // Five vote in the controller, and all are told.
    let controller = of.first_members(CONTROLLER);
    assert_eq!(*controller.voters(), ids(&[1, 2, 3, 4, 5]));
    assert!(controller.learners().eq([NodeId(6)]));
    of.replicas = None;
    assert_eq!(voters(&of, 2).len(), 6);
}

#[test]
fn a_node_without_a_member_of_a_group_says_where_it_is() {
    let mut rig = apart();
    let of_g2 = (0..SHARDS).map(ShardId).find(|&shard| owner(&rig, shard).0 == G2).expect("it owns some");
    let reply = rig.call(NodeId(1), RequestBody::OpenSession { shard: of_g2 });
    let [Reply::Refused(RefusalReason::NotLeader { group: G2, leader: Some((hint, _)) })] = &reply[..] else {
        panic!("{reply:?}")
    };
    assert!(hint.0 > 3, "one of its members: {hint}");
    // And shards move between groups that share no node.
    let base = newest(&rig).number;
    admin(&mut rig, 1, base, AdminChange::Move { shard: of_g2, to: G1 });
    until(&mut rig, |rig| owner(rig, of_g2) == (G1, 2) && newest(rig).moves.is_empty());
}
