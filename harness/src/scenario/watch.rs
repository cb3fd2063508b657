//! What is looked at all the time: every node's own account of itself, past the lab, so that no fault of the network hides it.
//! Two leaders in one term, or two states at one applied index, are the end of a scenario.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ordeal_client::wire::NodeId;

use crate::cluster::{Cluster, NodeState};
use crate::lab::ProxyLab;
use crate::latch::Latch;
use crate::system::NodeView;

/// Between two looks; twice as long at more than seven nodes, as each look takes some time of every process.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a node may take to say how it is: its own disk and a busy machine, no network.
const VIEW_TIMEOUT: Duration = Duration::from_millis(500);
/// States of a group that are remembered, the newest of them: 7 nodes looked at 20 times a second for ten minutes.
const STATES_MAX: usize = 100_000;

/// Looks at a cluster.
pub struct Watch<'a> {
    cluster: &'a Cluster,
    lab: Arc<ProxyLab>,
    ledger: Mutex<Ledger>,
}

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    leaders: BTreeMap<(u32, u64), NodeId>,
    /// By group and index.
    states: BTreeMap<u32, BTreeMap<u64, (u64, NodeId)>>,
    /// States of two nodes at one index that were found equal.
    pub(super) compared: u64,
    /// The longest log of anybody, in bytes of commands.
    pub(super) log_bytes_max: u64,
    /// The newest snapshot of anybody.
    pub(super) snapshot_max: u64,
    /// The longest that a look was late: this machine has other things to do then.
    pub(super) stall_max: Duration,
    /// What is broken.
    pub(super) broken: Vec<String>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(cluster: &'a Cluster, lab: Arc<ProxyLab>) -> Watch<'a> {
        Watch { cluster, lab, ledger: Mutex::default() }
    }

    /// Looks now and then until told to stop.
    pub(super) fn run(&self, over: &Latch) {
        let every = if self.cluster.nodes().len() > 7 { 2 * LOOK_EVERY } else { LOOK_EVERY };
        let mut since = Instant::now();
        while !over.wait(every) {
            let late = since.elapsed().saturating_sub(every);
            self.look();
            since = Instant::now();
            let mut ledger = self.ledger();
            ledger.stall_max = ledger.stall_max.max(late);
        }
    }

    /// What the nodes that run say of themselves, now.
    pub(super) fn look(&self) -> BTreeMap<NodeId, NodeView> {
        let states = self.cluster.states();
        let up = states.into_iter().filter(|(_, state)| matches!(state, NodeState::Up { .. }));
        let places: Vec<_> = up.filter_map(|(node, _)| Some((node, self.lab.direct(node)?))).collect();
        let system = self.cluster.system();
        let views: BTreeMap<NodeId, NodeView> = std::thread::scope(|scope| {
            let ask = |(node, address)| (node, scope.spawn(move || system.view(address, VIEW_TIMEOUT)));
            let threads: Vec<_> = places.into_iter().map(ask).collect();
            threads.into_iter().filter_map(|(node, thread)| Some((node, thread.join().ok()??))).collect()
        });
        let mut ledger = self.ledger();
        views.values().for_each(|view| ledger.note(view));
        views
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    /// Adds what a node says of itself.
    pub(super) fn note(&mut self, view: &NodeView) {
        for of in &view.groups {
            if of.leads {
                let leader = *self.leaders.entry((of.group, of.term)).or_insert(view.node);
                if leader != view.node {
                    self.find(format!(
                        "{leader} and {} both lead g{} in term {}",
                        view.node, of.group, of.term
                    ));
                }
            }
            self.log_bytes_max = self.log_bytes_max.max(of.log_bytes);
            self.snapshot_max = self.snapshot_max.max(of.snapshot);
            let states = self.states.entry(of.group).or_default();
            if states.len() >= STATES_MAX {
                states.pop_first();
            }
            match states.entry(of.applied) {
                Entry::Vacant(free) => {
                    free.insert((of.digest, view.node));
                }
                Entry::Occupied(known) => {
                    let (digest, node) = *known.get();
                    if digest != of.digest {
                        self.find(format!(
                            "{node} and {} have applied g{} up to {} and differ: digests {digest:016x} and {:016x}",
                            view.node, of.group, of.applied, of.digest
                        ));
                    } else if node != view.node {
                        self.compared += 1;
                    }
                }
            }
        }
    }

    fn find(&mut self, what: String) {
        if !self.broken.contains(&what) {
            self.broken.push(what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::GroupView;

    fn view(node: u32, term: u64, leads: bool, applied: u64, digest: u64) -> NodeView {
        let group = GroupView { group: 1, term, leads, applied, digest, ..GroupView::default() };
        NodeView { node: NodeId(node), groups: vec![group] }
    }

    #[test]
    fn two_leaders_in_a_term_and_two_states_at_an_index_are_found_once_each() {
        let mut ledger = Ledger::default();
        for seen in [view(1, 4, true, 10, 7), view(2, 4, false, 10, 7), view(2, 5, true, 11, 8)] {
            ledger.note(&seen);
            ledger.note(&seen);
        }
        assert_eq!((ledger.broken.len(), ledger.compared), (0, 2), "{:?}", ledger.broken);
        for _ in 0..2 {
            ledger.note(&view(3, 5, true, 11, 9));
        }
        assert_eq!(ledger.broken.len(), 2, "{:?}", ledger.broken);
        assert!(ledger.broken[0].contains("n2 and n3 both lead g1 in term 5"), "{:?}", ledger.broken);
        assert!(ledger.broken[1].contains("differ"), "{:?}", ledger.broken);
    }
}
