//! A full disk: writes are refused, votes and reads go on, and leadership goes where there is space.

use ordeal_client::wire::{GroupId, NodeId, RefusalReason, Reply};

use super::rig::{Rig, append};
use crate::engine::Input;
use crate::raft::Role;

const GROUP: GroupId = GroupId(1);

fn ticks(rig: &mut Rig, count: u32) {
    (0..count).for_each(|_| rig.tick());
}

fn last(rig: &Rig, node: NodeId) -> u64 {
    rig.engines[&node].member(GROUP).expect("a member").last.index
}

fn leads(rig: &Rig, node: NodeId) -> bool {
    rig.engines[&node].member(GROUP).expect("a member").role == Role::Leader
}

#[test]
fn alone_it_refuses_writes_answers_reads_and_goes_on_when_there_is_space() {
    let mut rig = Rig::single(1);
    let leader = rig.elect();
    let session = rig.session(leader, "k");
    rig.turn(leader);
    rig.engines.get_mut(&leader).unwrap().handle(Input::DiskFull);
    let refused = rig.call(leader, append(session, 1, "k", "x"));
    assert_eq!(refused, [Reply::Refused(RefusalReason::DiskFull)]);
    ticks(&mut rig, 10_000);
    assert!(leads(&rig, leader), "there is nobody else");
    rig.engines.get_mut(&leader).unwrap().handle(Input::DiskHasRoom);
    assert!(matches!(rig.call(leader, append(session, 1, "k", "x"))[..], [Reply::Written { .. }]));
}

#[test]
fn a_leader_with_a_full_disk_hands_over_and_takes_no_entry_until_it_has_space() {
    let mut rig = Rig::new(3, 1);
    let old = rig.elect();
    let session = rig.session(old, "k");
    rig.engines.get_mut(&old).unwrap().handle(Input::DiskFull);
    ticks(&mut rig, 5);
    assert!(!leads(&rig, old), "it hands over");
    let new = rig.elect();
    assert_ne!(new, old);
    let before = last(&rig, old);
    assert!(matches!(rig.call(new, append(session, 1, "k", "x"))[..], [Reply::Written { .. }]));
    ticks(&mut rig, 300);
    assert_eq!(last(&rig, old), before, "nothing is taken");
    assert!(leads(&rig, new), "and nothing is disturbed");
    rig.engines.get_mut(&old).unwrap().handle(Input::DiskHasRoom);
    ticks(&mut rig, 300);
    assert_eq!(last(&rig, old), last(&rig, new), "the leader sends it again");
}

#[test]
fn where_all_disks_are_full_terms_do_not_run_away() {
    let mut rig = Rig::new(3, 1);
    rig.elect();
    for engine in rig.engines.values_mut() {
        engine.handle(Input::DiskFull);
    }
    let term = |rig: &Rig| rig.engines.values().filter_map(|e| Some(e.member(GROUP)?.term)).max();
    let before = term(&rig).expect("there is a term");
    ticks(&mut rig, 6_000); // a minute
    let after = term(&rig).expect("there is a term");
    assert!(after <= before + 3 * 3, "from term {before} to {after} in a minute");
}
