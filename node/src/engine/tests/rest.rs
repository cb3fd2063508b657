//! Groups at rest: a node beats once for all of them, and does what there is no time for otherwise.

use std::collections::BTreeMap;

use ordeal_client::wire::NodeId;

use super::rig::{Rig, append, config, started};
use crate::engine::Output;

const N1: NodeId = NodeId(1);

#[test]
fn a_node_beats_once_for_all_its_groups_at_rest() {
    let mut rig = Rig::new(3, 4);
    (0..300).for_each(|_| rig.tick());
    assert!(rig.rests(), "idle groups rest");
    let mut said: BTreeMap<NodeId, usize> = BTreeMap::new();
    for _ in 0..100 {
        for (from, output) in rig.tick_and_listen() {
            assert!(matches!(output, Output::Beat { .. }), "{output:?}");
            *said.entry(from).or_default() += 1;
        }
    }
    // Each leader with both followers, each follower with its leaders: whoever leads a group has two to tell, and nobody more.
    assert!(said.values().all(|&beats| beats <= 2 * 100 / 5), "{said:?}");
    assert!(said.values().sum::<usize>() >= 4 * 100 / 5, "{said:?}");
    assert!(rig.rests());
}

/// What is behind the snapshot is applied anew by a restart.
#[test]
fn a_group_at_rest_takes_a_snapshot_sooner() {
    for (bytes, taken) in [(3 << 20, false), (5 << 20, true)] {
        let mut rig = Rig::new(1, 1);
        rig.engines.insert(N1, started(config(1, 1, 1), BTreeMap::new()));
        rig.elect();
        let session = rig.session(N1, "a");
        for sequence in 1..=8 {
            rig.call(N1, append(session, sequence, &format!("key-{sequence}"), &"x".repeat(bytes / 8)));
        }
        let snapshot = |rig: &Rig| rig.engines[&N1].status(0, 0).groups[1].snapshot;
        assert_eq!(snapshot(&rig), 0, "far from the limits of those who are busy");
        (0..200).for_each(|_| rig.tick());
        assert!(rig.rests());
        assert_eq!(snapshot(&rig) > 0, taken, "{bytes} bytes behind it");
    }
}
