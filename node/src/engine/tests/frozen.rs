//! Clients of a shard while it is handed over: they wait for the new owner, and not for ever.

use ordeal_client::wire::{AdminChange, NodeId, ReadLevel, RefusalReason, Reply, RequestBody, SessionId};

use super::moves::{G1, G2, admin, apart, leader, newest, owner, until};
use super::rig::{CLIENT, Rig, append, read, shard};
use crate::engine::Input;
use crate::shard::moving::Stage;

/// A key of the first group, whose shard is on its way to the other and frozen, for its last part is lost; with a session, and who
/// leads the group.
fn frozen() -> (Rig, String, SessionId, NodeId) {
    let mut rig = apart();
    let mut keys = (0..).map(|number| format!("key-{number}"));
    let key = keys.find(|key| owner(&rig, shard(key)).0 == G1).expect("one hashes there");
    let at = leader(&rig, G1).expect("a leader");
    let session = rig.session(at, &key);
    rig.loses_seals = true;
    let base = newest(&rig).number;
    admin(&mut rig, 1, base, AdminChange::Move { shard: shard(&key), to: G2 });
    until(&mut rig, |rig| {
        let machine = rig.engines[&at].groups[&G1].state.data().expect("of a data group");
        matches!(machine.stage(shard(&key)), Stage::Frozen { .. })
    });
    // Soon the part will be sent again.
    (0..5).for_each(|_| rig.tick());
    (rig, key, session, at)
}

/// The requests of a client, one of each kind.
fn ask(rig: &mut Rig, key: &str, session: SessionId, at: NodeId) -> [u64; 3] {
    let asked = [
        append(session, 1, key, "x"),
        read(key, ReadLevel::Linearizable),
        RequestBody::OpenSession { shard: shard(key) },
    ];
    let ids = asked.map(|body| rig.ask(at, CLIENT, body));
    rig.settle();
    ids
}

#[test]
fn who_asks_for_a_shard_that_is_handed_over_is_told_its_new_owner_as_soon_as_there_is_one() {
    let (mut rig, key, session, at) = frozen();
    let ids = ask(&mut rig, &key, session, at);
    for id in ids {
        assert!(rig.replies_to(id).is_empty(), "it waits");
    }
    rig.loses_seals = false;
    // The part that was lost is sent again; the last to hear of the move is the controller.
    until(&mut rig, |rig| owner(rig, shard(&key)).0 == G2);
    let moved = Reply::Refused(RefusalReason::Moved { shard: shard(&key), epoch: 2, group: G2 });
    for id in ids {
        assert_eq!(rig.replies_to(id), std::slice::from_ref(&moved));
    }
}

#[test]
fn who_has_waited_long_enough_for_a_new_owner_is_told_to_ask_again() {
    let (mut rig, key, session, at) = frozen();
    // So that nobody decides.
    rig.isolated = [4, 5, 6].map(NodeId).into();
    let ids = ask(&mut rig, &key, session, at);
    (0..9).for_each(|_| rig.tick());
    for id in ids {
        assert!(rig.replies_to(id).is_empty(), "it waits");
    }
    (0..2).for_each(|_| rig.tick());
    let frozen = Reply::Refused(RefusalReason::Frozen { shard: shard(&key) });
    for id in ids {
        assert_eq!(rig.replies_to(id), std::slice::from_ref(&frozen));
    }
}

#[test]
fn who_waits_and_goes_away_is_answered_by_nobody() {
    let (mut rig, key, session, at) = frozen();
    let ids = ask(&mut rig, &key, session, at);
    rig.engines.get_mut(&at).expect("a node").handle(Input::ClientGone(CLIENT));
    rig.loses_seals = false;
    until(&mut rig, |rig| owner(rig, shard(&key)).0 == G2);
    for id in ids {
        assert!(rig.replies_to(id).is_empty());
    }
}
