//! Many objects in one history: each is judged for itself. A history of several objects is linearizable exactly when that of
//! each is (Herlihy and Wing's locality; Horn and Kroening, "Faster linearizability checking via P-compositionality").

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::Hash;

use rayon::prelude::*;

use super::{Decision, Entry, Limits, Model, Trace, decide};

/// Objects of one kind, each under its key, as one object. An operation is a key and what is asked of that object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Keyed<K: Ord, M> {
    /// What every object is at first.
    initial: M,
    /// Those that are something else.
    objects: BTreeMap<K, M>,
}

impl<K: Ord, M> Keyed<K, M> {
    /// Where every object is like this at first.
    pub fn new(initial: M) -> Self {
        Keyed { initial, objects: BTreeMap::new() }
    }
}

impl<K, M> Model for Keyed<K, M>
where
    K: Ord + Clone + Hash + Debug,
    M: Model,
{
    type Op = (K, M::Op);
    type Ret = M::Ret;

    fn step(&self, (key, op): &(K, M::Op), ret: Option<&M::Ret>) -> Option<Self> {
        let next = self.objects.get(key).unwrap_or(&self.initial).step(op, ret)?;
        let mut all = self.clone();
        // One that is as it was at first is not kept, so that equal states are equal.
        if next == self.initial {
            all.objects.remove(key);
        } else {
            all.objects.insert(key.clone(), next);
        }
        Some(all)
    }

    fn is_pure((_, op): &(K, M::Op), ret: Option<&M::Ret>) -> bool {
        M::is_pure(op, ret)
    }

    fn heap_bytes(&self) -> usize {
        self.objects.values().map(|object| size_of::<(K, M)>() + object.heap_bytes()).sum()
    }
}

/// Judges each object of a trace for itself, on all cores; keys ascend. Orders are of places in the whole trace.
pub fn decide_in_parts<K, M>(
    initial: &M,
    trace: &Trace<Keyed<K, M>>,
    limits: &Limits<'_>,
) -> Vec<(K, Decision)>
where
    K: Ord + Clone + Hash + Debug + Send + Sync,
    M: Model + Sync,
    M::Op: Send + Sync,
    M::Ret: Send + Sync,
{
    let mut parts: BTreeMap<&K, Vec<usize>> = BTreeMap::new();
    for (at, entry) in trace.iter().enumerate() {
        parts.entry(&entry.op.0).or_default().push(at);
    }
    let parts: Vec<(&K, Vec<usize>)> = parts.into_iter().collect();
    let decided = parts.par_iter().map(|(key, places)| {
        let entries: Vec<Entry<M::Op, M::Ret>> = places
            .iter()
            .map(|&at| Entry {
                op: trace[at].op.1.clone(),
                called: trace[at].called,
                returned: trace[at].returned.clone(),
            })
            .collect();
        let in_whole = |order: Vec<usize>| order.into_iter().map(|at| places[at]).collect();
        let stuck = |stuck: super::Stuck| super::Stuck {
            returns: stuck.returns,
            culprit: stuck.culprit.map(|at| places[at]),
            order: in_whole(stuck.order),
        };
        let decision = match decide(initial, &entries, limits).0 {
            Decision::Order(order) => Decision::Order(in_whole(order)),
            Decision::NoOrder(at) => Decision::NoOrder(stuck(at)),
            Decision::GaveUp(limit, at) => Decision::GaveUp(limit, stuck(at)),
        };
        ((*key).clone(), decision)
    });
    decided.collect()
}
