//! Where to send the next attempt: what is known of the cluster's nodes, addresses, shards and leaders, and who failed
//! lately. It opens no connection and reads no clock.
//!
//! Addresses. A node is dialled where the configuration says; else at the endpoint that introduced itself as that node;
//! else at its advertised address. Where an endpoint turned out to be a forward (it is not the advertised address of
//! who answers there), advertised addresses are no use as long as an endpoint is left that has not introduced itself.
//!
//! Rest. An address that failed is left alone for a while when there is any other: so a paused node costs one attempt, not
//! every second one. A hint ends the rest: who gives it heard that node a moment ago.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::config::{ClientConfig, Prefer};
use crate::wire::{GroupId, NodeId, Owner, ShardId, Welcome, shard_of};

/// Members that are remembered: far beyond any cluster, so that a node that invents some costs no memory.
const MEMBERS_MAX: usize = 1_024;

/// A place to dial, and who is expected there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) address: String,
    pub(crate) node: Option<NodeId>,
}

#[derive(Debug)]
struct Endpoint {
    address: String,
    /// Who introduced itself there last.
    node: Option<NodeId>,
}

#[derive(Debug)]
pub(crate) struct Router {
    endpoints: Vec<Endpoint>,
    dial: BTreeMap<NodeId, String>,
    prefer: Option<Prefer>,
    /// Advertised addresses.
    members: BTreeMap<NodeId, String>,
    /// Owner of each shard, of the latest epoch that anybody told; empty until somebody said welcome.
    owners: Vec<Owner>,
    /// Where each group is.
    groups: BTreeMap<GroupId, Vec<NodeId>>,
    leaders: BTreeMap<GroupId, NodeId>,
    /// Until when an address that failed is left alone. Bounded by the addresses that are known.
    resting: BTreeMap<String, Instant>,
    rest: Duration,
    /// Some endpoint is not where its node says it is.
    forwarded: bool,
    /// Next of [`Router::places`] in turn.
    cursor: usize,
}

impl Router {
    pub(crate) fn new(config: ClientConfig) -> Router {
        let endpoints = config.endpoints.into_iter().map(|address| Endpoint { address, node: None });
        let endpoints: Vec<Endpoint> = endpoints.collect();
        let count = u64::try_from(endpoints.len()).expect("a list's length fits 64 bits");
        let cursor = usize::try_from(config.seed % count).expect("less than a list's length");
        Router {
            endpoints,
            dial: config.dial,
            prefer: config.prefer,
            members: BTreeMap::new(),
            owners: Vec::new(),
            groups: BTreeMap::new(),
            leaders: BTreeMap::new(),
            resting: BTreeMap::new(),
            rest: config.attempt_timeout,
            forwarded: false,
            cursor,
        }
    }

    /// Addresses of all endpoints.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = &String> {
        self.endpoints.iter().map(|endpoint| &endpoint.address)
    }

    /// The shard of a key, once anybody said how many there are.
    pub(crate) fn shard(&self, key: &[u8]) -> Option<ShardId> {
        let shards = u32::try_from(self.owners.len()).ok().filter(|&shards| shards > 0)?;
        Some(shard_of(key, shards))
    }

    /// The group that owns a shard, as far as is known.
    pub(crate) fn group(&self, shard: ShardId) -> Option<GroupId> {
        self.owners.get(usize::try_from(shard.0).ok()?).map(|owner| owner.group)
    }

    /// Epoch of the owner of a shard, as far as is known; 0: nobody said anything yet.
    pub(crate) fn epoch(&self, shard: ShardId) -> u64 {
        let known = usize::try_from(shard.0).ok().and_then(|shard| self.owners.get(shard));
        known.map_or(0, |owner| owner.epoch)
    }

    /// All groups, the controller's among them.
    pub(crate) fn groups(&self) -> Vec<GroupId> {
        self.groups.keys().copied().collect()
    }

    /// A shard has moved. True if that is news.
    pub(crate) fn moved(&mut self, shard: ShardId, to: Owner) -> bool {
        let known = usize::try_from(shard.0).ok().and_then(|shard| self.owners.get_mut(shard));
        let Some(known) = known.filter(|known| known.epoch < to.epoch) else { return false };
        *known = to;
        true
    }

    /// How many shards there are, once known.
    pub(crate) fn shards(&self) -> Option<usize> {
        (!self.owners.is_empty()).then_some(self.owners.len())
    }

    /// The place that is preferred, when it is known and has not failed lately.
    pub(crate) fn preferred(&self, now: Instant) -> Option<Place> {
        let place = match self.prefer? {
            Prefer::Node(node) => self.place_of(node),
            Prefer::Endpoint(index) => self.endpoints.get(index).map(Endpoint::place),
        }?;
        (!self.is_resting(&place.address, now)).then_some(place)
    }

    /// Whether the preferred node is another than this one, and is known or may be found by asking on. (An introduction
    /// may have told where it is only after this one was chosen.)
    pub(crate) fn would_rather_than(&self, node: NodeId, now: Instant) -> bool {
        let known = self.preferred(now).and_then(|place| place.node);
        known.map_or_else(|| self.is_preferred_hidden(now), |preferred| preferred != node)
    }

    /// Whether the preferred node is still to be found: it may be at an endpoint that has not introduced itself.
    pub(crate) fn is_preferred_hidden(&self, now: Instant) -> bool {
        let Some(Prefer::Node(node)) = self.prefer else { return false };
        let unknown =
            |endpoint: &Endpoint| endpoint.node.is_none() && !self.is_resting(&endpoint.address, now);
        self.place_of(node).is_none() && self.endpoints.iter().any(unknown)
    }

    /// Who leads, as far as is known, wherever that is.
    pub(crate) fn leading(&self, group: GroupId) -> Option<NodeId> {
        self.leaders.get(&group).copied()
    }

    /// Who leads, and is not known to be out of reach.
    pub(crate) fn leader(&self, group: GroupId, now: Instant) -> Option<Place> {
        let place = self.place_of(*self.leaders.get(&group)?)?;
        (!self.is_resting(&place.address, now)).then_some(place)
    }

    /// Whether a group has members on some nodes only.
    pub(crate) fn is_on_some(&self, group: GroupId) -> bool {
        self.groups.get(&group).is_some_and(|members| members.len() < self.members.len())
    }

    /// Some member of a group that is not on every node.
    pub(crate) fn member(&self, group: GroupId, now: Instant) -> Option<Place> {
        let members = self.groups.get(&group).filter(|_| self.is_on_some(group))?;
        let mut places = members.iter().filter_map(|&node| self.place_of(node));
        places.find(|place| !self.is_resting(&place.address, now))
    }

    /// The next one in turn: of those that do not rest; if all rest, the one whose rest is over first.
    pub(crate) fn next_in_turn(&mut self, now: Instant) -> Place {
        let places = self.places();
        let count = places.len();
        let start = self.cursor;
        let awake = (0..count)
            .map(|step| (start + step) % count)
            .find(|&at| !self.is_resting(&places[at].address, now));
        let at = awake.unwrap_or_else(|| {
            (0..count).min_by_key(|&at| self.resting.get(&places[at].address)).expect("at least one endpoint")
        });
        self.cursor = (at + 1) % count;
        places[at].clone()
    }

    /// Somebody answered there with a welcome.
    pub(crate) fn welcomed(&mut self, address: &str, welcome: &Welcome) {
        self.resting.remove(address);
        self.members = welcome.members.iter().take(MEMBERS_MAX).cloned().collect();
        if self.owners.is_empty() {
            self.owners.clone_from(&welcome.owners);
        }
        for (known, told) in self.owners.iter_mut().zip(&welcome.owners) {
            *known = known.max_epoch(*told);
        }
        self.groups = welcome.groups.iter().take(MEMBERS_MAX).cloned().collect();
        let advertised = self.members.get(&welcome.node);
        if advertised.is_some_and(|advertised| advertised != address)
            && !self.dial.contains_key(&welcome.node)
        {
            self.forwarded = true;
        }
        for endpoint in &mut self.endpoints {
            if endpoint.address == address {
                endpoint.node = Some(welcome.node);
            } else if endpoint.node == Some(welcome.node) {
                endpoint.node = None;
            }
        }
        self.recognise_endpoints();
    }

    /// An address failed: let it rest, and forget that its node leads.
    pub(crate) fn failed(&mut self, place: &Place, now: Instant) {
        self.resting.retain(|_, until| *until > now);
        self.resting.insert(place.address.clone(), now + self.rest);
        self.leaders.retain(|_, leader| Some(*leader) != place.node);
    }

    /// Somebody else than expected answered there: forget who lives there.
    pub(crate) fn mistaken(&mut self, address: &str) {
        for endpoint in self.endpoints.iter_mut().filter(|endpoint| endpoint.address == address) {
            endpoint.node = None;
        }
    }

    /// This node answered as a leader does.
    pub(crate) fn leads(&mut self, group: GroupId, node: NodeId) {
        self.leaders.insert(group, node);
    }

    /// `from` does not lead, and says who does. True when it named another.
    pub(crate) fn hinted(&mut self, from: NodeId, group: GroupId, hint: Option<&(NodeId, String)>) -> bool {
        if self.leaders.get(&group) == Some(&from) {
            self.leaders.remove(&group);
        }
        let Some((leader, address)) = hint.filter(|(leader, _)| *leader != from) else { return false };
        if self.members.len() < MEMBERS_MAX || self.members.contains_key(leader) {
            self.members.insert(*leader, address.clone());
        }
        self.leaders.insert(group, *leader);
        // A place that is unknown yet is among the endpoints that have not introduced themselves: search on at once.
        if let Some(place) = self.place_of(*leader) {
            self.resting.remove(&place.address);
        }
        true
    }

    /// Nobody there knows better: forget who leads.
    pub(crate) fn forget_leader(&mut self, group: GroupId) {
        self.leaders.remove(&group);
    }

    /// Where to dial this node, as far as is known.
    pub(crate) fn place_of(&self, node: NodeId) -> Option<Place> {
        let endpoint = || self.endpoints.iter().find(|endpoint| endpoint.node == Some(node));
        let address = if let Some(address) = self.dial.get(&node) {
            address
        } else if let Some(endpoint) = endpoint() {
            &endpoint.address
        } else if self.forwarded && self.endpoints.iter().any(|endpoint| endpoint.node.is_none()) {
            return None;
        } else {
            self.members.get(&node)?
        };
        Some(Place { address: address.clone(), node: Some(node) })
    }

    /// All endpoints in their order, then the members that are none of them.
    fn places(&self) -> Vec<Place> {
        let mut places: Vec<Place> = self.endpoints.iter().map(Endpoint::place).collect();
        for place in self.members.keys().filter_map(|&node| self.place_of(node)) {
            if places.iter().all(|known| known.address != place.address && known.node != place.node) {
                places.push(place);
            }
        }
        places
    }

    /// Endpoints that are somebody's advertised address need no introduction.
    fn recognise_endpoints(&mut self) {
        for (&node, advertised) in &self.members {
            if self.endpoints.iter().any(|endpoint| endpoint.node == Some(node)) {
                continue;
            }
            let unknown =
                |endpoint: &&mut Endpoint| endpoint.node.is_none() && endpoint.address == *advertised;
            if let Some(endpoint) = self.endpoints.iter_mut().find(unknown) {
                endpoint.node = Some(node);
            }
        }
    }

    fn is_resting(&self, address: &str, now: Instant) -> bool {
        self.resting.get(address).is_some_and(|&until| until > now)
    }
}

impl Endpoint {
    /// Nobody in particular is expected at an endpoint: whoever answers is welcome.
    fn place(&self) -> Place {
        Place { address: self.address.clone(), node: self.node }
    }
}
