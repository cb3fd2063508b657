//! Keys on which each value is written once, by a write or by a compare-and-set; no deletes, no appends.
//!
//! A *cluster* is the call that makes a value with all answers that show it: they stand together in every order. A
//! compare-and-set that succeeded stands right behind the cluster of the value that it expected, so that clusters form *blocks*:
//! chains whose order is forced. Between blocks the times decide (see `zones`).
//!
//! * A call without an answer whose value nobody shows, and no compare-and-set that took effect expected, need not take effect: no
//!   answered one looks at what it leaves behind. One whose value is shown took effect, at any time after its call.
//! * A compare-and-set that failed without saying what it found is put in afterwards, where something else than it
//!   expected stands. Where that does not work out at once, the search is asked.

use super::Fast;
use super::values::Values;
use super::zones::{Zone, order};
use crate::linear::fast_hash::FastMap;
use crate::operation::{Answer, Call};
use crate::problem::View;

const NONE: u32 = u32::MAX;

/// The absent key, as it is at first.
const ABSENT: u32 = 0;

/// A value, with who made it and who saw it.
#[derive(Debug, Clone, Copy)]
struct Cluster {
    /// [`NONE`] of the absent key.
    maker: u32,
    /// The value that the maker, a compare-and-set, replaced.
    from: u32,
    /// The one that replaced this value by a compare-and-set.
    next: u32,
    /// Answers that show it: how many, where they begin in [`Key::readers`], their zone, and who makes its ends.
    readers: u32,
    begin: u32,
    zone: Zone,
    first: u32,
    last: u32,
    /// Whether it was ever there for sure.
    is_there: bool,
}

struct Key<'a> {
    views: &'a [View<'a>],
    clusters: Vec<Cluster>,
    /// The cluster that each operation shows, if it changes nothing.
    shows: Vec<u32>,
    readers: Vec<u32>,
    /// Compare-and-sets that failed without saying what they found, each with what it expected.
    vague: Vec<(u32, u32)>,
}

/// Decides a key, if each value is written once.
pub(super) fn decide(views: &[View<'_>]) -> Option<Fast> {
    let (mut key, values) = Key::with_makers(views)?;
    if let Some(broken) = key.show(&values) {
        return Some(broken);
    }
    if let Some(broken) = key.link() {
        return Some(broken);
    }
    key.collect_readers();
    key.in_order()
}

fn called(view: &View<'_>) -> u64 {
    view.operation.invoked_ns
}

fn returned(view: &View<'_>) -> u64 {
    view.answer().map_or(u64::MAX, |(ns, _)| ns.max(called(view)))
}

fn place(at: usize) -> u32 {
    u32::try_from(at).expect("there are fewer operations")
}

/// The value that a call makes, if it did or may have done so.
fn made<'a>(view: &View<'a>) -> Option<&'a str> {
    match (&view.operation.call, view.answer()) {
        (Call::Write(value), _) => Some(value),
        (Call::Cas { new, .. }, None | Some((_, Answer::CasDone))) => Some(new),
        (Call::Cas { .. }, Some(_)) | (Call::Read | Call::Delete | Call::Append(_) | Call::Txn(_), _) => None,
    }
}

/// The value that an answer shows.
fn seen<'a>(view: &View<'a>) -> Option<&'a str> {
    match view.answer() {
        Some((_, Answer::Value(value) | Answer::CasFailed(value))) => value.as_deref(),
        Some((_, Answer::Done | Answer::CasDone | Answer::CasFailedAbsent | Answer::Txn(_))) | None => None,
    }
}

/// So many values ahead a look is taken at the table: each is a wait for memory, and they wait together.
const AHEAD: usize = 32;

/// The cluster of a value; that of the absent key comes before all.
fn cluster_of(values: &Values<'_>, value: &str) -> Option<u32> {
    values.number(value).map(|number| number + 1)
}

impl<'a> Key<'a> {
    /// With a cluster for every value that a call makes; `None` where one is made twice, or where there are other calls.
    fn with_makers(views: &'a [View<'a>]) -> Option<(Self, Values<'a>)> {
        let cluster = Cluster {
            maker: NONE,
            from: NONE,
            next: NONE,
            readers: 0,
            begin: 0,
            zone: Zone::EMPTY,
            first: NONE,
            last: NONE,
            is_there: false,
        };
        let count = views.iter().filter(|view| !matches!(view.operation.call, Call::Read)).count();
        let mut clusters = Vec::with_capacity(count + 1);
        clusters.push(Cluster { is_there: true, ..cluster });
        let mut values = Values::with_room_for(count);
        for (at, view) in views.iter().enumerate() {
            if at % AHEAD == 0 {
                views[at..].iter().take(AHEAD).filter_map(made).for_each(|value| values.warm(value));
            }
            if matches!(view.operation.call, Call::Delete | Call::Append(_) | Call::Txn(_)) {
                return None;
            }
            let Some(value) = made(view) else { continue };
            if !values.insert(value) {
                return None;
            }
            clusters.push(Cluster { maker: place(at), is_there: view.answer().is_some(), ..cluster });
        }
        let key =
            Key { views, clusters, shows: vec![NONE; views.len()], readers: Vec::new(), vague: Vec::new() };
        Some((key, values))
    }

    /// Notes which value each answer shows.
    fn show(&mut self, values: &Values<'_>) -> Option<Fast> {
        let mut hopes: Vec<(u32, u32)> = Vec::new();
        for (at, view) in self.views.iter().enumerate() {
            if at % AHEAD == 0 {
                self.views[at..].iter().take(AHEAD).filter_map(seen).for_each(|value| values.warm(value));
            }
            let at = place(at);
            let find = |value: Option<&str>| value.map_or(Some(ABSENT), |value| cluster_of(values, value));
            let call = &view.operation.call;
            let expected = match call {
                Call::Cas { expected, .. } => find(expected.as_deref()),
                Call::Read | Call::Write(_) | Call::Append(_) | Call::Delete | Call::Txn(_) => None,
            };
            let seen = match view.answer().map(|(_, answer)| answer) {
                Some(Answer::Value(value)) => value.as_deref(),
                Some(Answer::CasFailed(Some(value))) => Some(value.as_str()),
                Some(Answer::CasFailedAbsent) => None,
                Some(Answer::CasFailed(None)) => {
                    self.vague.extend(expected.map(|expected| (at, expected)));
                    // What nobody ever made was not there: any place will do.
                    self.vague.extend(expected.is_none().then_some((at, NONE)));
                    continue;
                }
                Some(Answer::CasDone) => {
                    let Some(expected) = expected else { return Some(Fast::NoOrder(vec![at])) };
                    hopes.push((at, expected));
                    self.clusters[expected as usize].is_there = true;
                    continue;
                }
                None => {
                    hopes.extend(expected.map(|expected| (at, expected)));
                    continue;
                }
                Some(Answer::Done | Answer::Txn(_)) => continue,
            };
            let Some(cluster) = find(seen) else { return Some(Fast::NoOrder(vec![at])) };
            let is_wrong = matches!(call, Call::Cas { .. }) && expected == Some(cluster);
            if is_wrong {
                return Some(Fast::NoOrder(vec![at]));
            }
            self.see(at, cluster);
        }
        self.hope(hopes, values)
    }

    /// An answer shows a value.
    fn see(&mut self, at: u32, cluster: u32) {
        let (from, to) = (called(&self.views[at as usize]), returned(&self.views[at as usize]));
        self.shows[at as usize] = cluster;
        let cluster = &mut self.clusters[cluster as usize];
        cluster.is_there = true;
        cluster.readers += 1;
        if to < cluster.zone.first_return {
            cluster.first = at;
        }
        if from > cluster.zone.last_call || cluster.last == NONE {
            cluster.last = at;
        }
        cluster.zone.add(from, to);
    }

    /// Compare-and-sets with the clusters of what they expect. Those without an answer took effect if their value was there.
    fn hope(&mut self, hopes: Vec<(u32, u32)>, values: &Values<'_>) -> Option<Fast> {
        let own = |at: u32| match &self.views[at as usize].operation.call {
            Call::Cas { new, .. } => cluster_of(values, new),
            Call::Read | Call::Write(_) | Call::Append(_) | Call::Delete | Call::Txn(_) => None,
        };
        let hopes: Vec<(u32, u32, u32)> =
            hopes.into_iter().filter_map(|(at, expected)| Some((at, own(at)?, expected))).collect();
        for &(_, own, expected) in &hopes {
            self.clusters[own as usize].from = expected;
        }
        // From every value that was there back to those that must have been there before it.
        let is_there = |own: &u32| self.clusters[*own as usize].is_there;
        let mut there: Vec<u32> = hopes.iter().map(|&(_, own, _)| own).filter(is_there).collect();
        while let Some(own) = there.pop() {
            let from = self.clusters[own as usize].from;
            if from != NONE && !std::mem::replace(&mut self.clusters[from as usize].is_there, true) {
                there.push(from);
            }
        }
        // An open one that took effect expected a value; one that expected what nobody made did not, and its value is a phantom.
        let phantom = (1..self.clusters.len()).find(|&cluster| {
            let cluster = &self.clusters[cluster];
            let maker = &self.views[cluster.maker as usize];
            cluster.is_there && cluster.from == NONE && matches!(maker.operation.call, Call::Cas { .. })
        });
        phantom.map(|cluster| {
            let Cluster { maker, first, .. } = self.clusters[cluster];
            Fast::NoOrder(if first == NONE { vec![maker] } else { vec![first, maker] })
        })
    }

    /// Links the clusters to chains; two compare-and-sets from one value, or a circle, have no order.
    fn link(&mut self) -> Option<Fast> {
        for own in 1..self.clusters.len() {
            let Cluster { from, maker, is_there, .. } = self.clusters[own];
            if !is_there || from == NONE {
                continue;
            }
            let before = self.clusters[from as usize];
            if before.next != NONE {
                let (other, source) = (self.clusters[before.next as usize], before.maker);
                // Whoever showed their values tells that they took effect.
                let evidence = [maker, other.maker, source, self.clusters[own].first, other.first];
                return Some(Fast::NoOrder(evidence.into_iter().filter(|&at| at != NONE).collect()));
            }
            self.clusters[from as usize].next = place(own);
        }
        None
    }

    /// Lists the answers by the value that they show, by ascending call.
    fn collect_readers(&mut self) {
        let mut begin = 0;
        for cluster in &mut self.clusters {
            cluster.begin = begin;
            begin += cluster.readers;
        }
        self.readers = vec![NONE; begin as usize];
        let mut filled: Vec<u32> = self.clusters.iter().map(|cluster| cluster.begin).collect();
        for (at, &cluster) in self.shows.iter().enumerate().filter(|(_, cluster)| **cluster != NONE) {
            let place_of = &mut filled[cluster as usize];
            self.readers[*place_of as usize] = place(at);
            *place_of += 1;
        }
        let views = self.views;
        for cluster in &self.clusters {
            let readers =
                &mut self.readers[cluster.begin as usize..(cluster.begin + cluster.readers) as usize];
            if !readers.is_sorted_by_key(|&at| called(&views[at as usize])) {
                readers.sort_by_key(|&at| called(&views[at as usize]));
            }
        }
    }

    fn in_order(&self) -> Option<Fast> {
        let (mut roots, mut zones, mut walked) = (Vec::new(), Vec::new(), 0);
        for (at, cluster) in self.clusters.iter().enumerate() {
            if !cluster.is_there || cluster.from != NONE {
                continue;
            }
            match self.walk(place(at)) {
                Ok((zone, length)) => {
                    roots.push(place(at));
                    zones.push(zone);
                    walked += length;
                }
                Err(evidence) => return Some(Fast::NoOrder(evidence)),
            }
        }
        if walked < self.clusters.iter().filter(|cluster| cluster.is_there).count() {
            return Some(Fast::NoOrder(self.circle(&roots)));
        }
        // The absent key comes first: as if it had been made before everything.
        zones[0].first_return = 0;
        zones.iter_mut().skip(1).for_each(|zone| zone.first_return = zone.first_return.saturating_add(1));
        zones.iter_mut().for_each(|zone| zone.last_call = zone.last_call.saturating_add(1));
        match order(&zones) {
            Ok(order) => {
                let mut whole = Vec::with_capacity(self.views.len());
                for block in order {
                    for cluster in self.chain(roots[block as usize]) {
                        whole.extend(Some(cluster.maker).filter(|&maker| maker != NONE));
                        whole.extend_from_slice(self.readers_of(cluster));
                    }
                }
                self.with_vague(whole).map(Fast::Order)
            }
            Err((one, other)) => {
                Some(Fast::NoOrder(self.evidence(roots[one as usize], roots[other as usize])))
            }
        }
    }

    fn readers_of(&self, cluster: &Cluster) -> &[u32] {
        &self.readers[cluster.begin as usize..(cluster.begin + cluster.readers) as usize]
    }

    /// The clusters of a block.
    fn chain(&self, root: u32) -> impl Iterator<Item = &Cluster> {
        let get = |at: u32| self.clusters.get(at as usize).filter(|_| at != NONE);
        std::iter::successors(get(root), move |cluster| get(cluster.next))
    }

    /// The zone of a block, and how many clusters it has; or operations of it that contradict its order.
    fn walk(&self, root: u32) -> Result<(Zone, usize), Vec<u32>> {
        let mut zone = Zone::EMPTY;
        let mut length = 0;
        // The latest call so far: what comes behind it must not have returned before it.
        let (mut latest, mut latest_at) = (0, NONE);
        for cluster in self.chain(root) {
            length += 1;
            if cluster.maker != NONE {
                let maker = &self.views[cluster.maker as usize];
                if returned(maker) < latest {
                    return Err(vec![cluster.maker, latest_at]);
                }
                if called(maker) > latest || latest_at == NONE {
                    (latest, latest_at) = (called(maker), cluster.maker);
                }
                zone.add(called(maker), returned(maker));
            }
            if cluster.readers > 0 {
                if cluster.zone.first_return < latest {
                    return Err([cluster.first, latest_at, cluster.maker]
                        .into_iter()
                        .filter(|&at| at != NONE)
                        .collect());
                }
                if cluster.zone.last_call > latest || latest_at == NONE {
                    (latest, latest_at) = (cluster.zone.last_call, cluster.last);
                }
                zone.join(cluster.zone);
            }
        }
        Ok((zone, length))
    }

    /// The makers of a circle of compare-and-sets, each of which expects what another one of them makes.
    fn circle(&self, roots: &[u32]) -> Vec<u32> {
        let mut is_walked = vec![false; self.clusters.len()];
        for &root in roots {
            let mut at = root;
            while at != NONE {
                is_walked[at as usize] = true;
                at = self.clusters[at as usize].next;
            }
        }
        let start = (0..self.clusters.len())
            .find(|&at| self.clusters[at].is_there && !is_walked[at])
            .expect("something was not walked");
        let mut makers = Vec::new();
        let mut at = start;
        while !std::mem::replace(&mut is_walked[at], true) {
            makers.push(self.clusters[at].maker);
            makers.extend(Some(self.clusters[at].first).filter(|&first| first != NONE));
            at = self.clusters[at].from as usize;
        }
        makers
    }

    /// What shows that two blocks must stand before each other: the ends of their zones, and who makes their values.
    fn evidence(&self, one: u32, other: u32) -> Vec<u32> {
        let mut evidence = Vec::new();
        for root in [one, other] {
            let members = self.chain(root).flat_map(|cluster| {
                let own = [cluster.maker, cluster.first, cluster.last];
                own.into_iter().filter(|&at| at != NONE)
            });
            let members: Vec<u32> = members.collect();
            let view = |at: &u32| &self.views[*at as usize];
            evidence.extend(members.iter().min_by_key(|at| returned(view(at))));
            evidence.extend(members.iter().max_by_key(|at| called(view(at))));
            evidence.extend(self.chain(root).map(|cluster| cluster.maker).filter(|&maker| maker != NONE));
        }
        // The answer that came last is the one to blame.
        let blame = |at: &u32| self.views[*at as usize].answer().map(|(ns, _)| ns);
        evidence.sort_by_key(|at| (std::cmp::Reverse(blame(at)), *at));
        evidence.dedup();
        evidence
    }

    /// The order with the vague failures in it; `None` when they find no place at once.
    fn with_vague(&self, order: Vec<u32>) -> Option<Vec<u32>> {
        if self.vague.is_empty() {
            return Some(order);
        }
        // For every gap: the latest call before it, the first return behind it, and what stands there.
        let count = order.len();
        let view = |at: u32| &self.views[at as usize];
        let mut call_before = vec![0; count + 1];
        let mut return_behind = vec![u64::MAX; count + 1];
        let mut value = vec![ABSENT; count + 1];
        let made: FastMap<u32, u32> =
            self.clusters.iter().enumerate().map(|(at, cluster)| (cluster.maker, place(at))).collect();
        for (at, &operation) in order.iter().enumerate() {
            call_before[at + 1] = call_before[at].max(called(view(operation)));
            value[at + 1] = made.get(&operation).copied().unwrap_or(value[at]);
        }
        for (at, &operation) in order.iter().enumerate().rev() {
            return_behind[at] = return_behind[at + 1].min(returned(view(operation)));
        }
        let mut vague = self.vague.clone();
        vague.sort_by_key(|&(at, _)| (called(view(at)), at));
        let mut placed: Vec<(usize, u32)> = Vec::new();
        for (at, expected) in vague {
            let (from, to) = (called(view(at)), returned(view(at)));
            let first = return_behind.partition_point(|&ns| ns < from);
            let end = call_before.partition_point(|&ns| ns <= to);
            // Behind all that had returned before its call.
            let behind = placed.iter().rev().take(64).filter(|(_, other)| returned(view(*other)) < from);
            let first = behind.map(|(gap, _)| *gap).max().unwrap_or(0).max(first);
            let gap = (first..end).find(|&gap| value[gap] != expected)?;
            placed.push((gap, at));
        }
        placed.sort_by_key(|&(gap, at)| (gap, called(view(at))));
        let mut whole = Vec::with_capacity(count + placed.len());
        let mut placed = placed.into_iter().peekable();
        for gap in 0..=count {
            while let Some((_, at)) = placed.next_if(|(of, _)| *of == gap) {
                whole.push(at);
            }
            whole.extend(order.get(gap));
        }
        Some(whole)
    }
}
