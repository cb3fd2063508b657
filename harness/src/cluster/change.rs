//! Actions that the cluster itself carries out, by a majority's agreement: who belongs to it, and who leads. Each is one
//! attempt with a limit, which may fail where other faults are in force; asking again is harmless. What proves it is what
//! nodes say of themselves, never the answer to the request.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use ordeal_client::wire::NodeId;

use super::Cluster;
use super::act::Proven;
use crate::system::{Contact, GroupView, Moving, NodeView, Steward, leaders};

/// For one change of one group: 20 × what it takes a healthy cluster, and short beside the time between faults.
const CHANGE_TIME_MAX: Duration = Duration::from_secs(1);
/// After it, until everybody says so: followers hear of it with the next entry.
const SEEN_TIME_MAX: Duration = Duration::from_millis(500);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);

impl Cluster {
    pub(super) fn add(&self, node: NodeId) -> Proven {
        let address = self.lab.members().get(&node).cloned();
        let address = address.with_context(|| format!("{node} is no node of this cluster"))?;
        self.in_all_groups(|steward, contact, group| steward.add(contact, group, node, &address))?;
        let votes = |group: &GroupView| group.voters.contains(&node) && !group.changing;
        let applied = (self.clock)();
        self.seen(|views| {
            let proof = by_leaders(views, |group| {
                ensure!(votes(group), "{node} does not vote");
                Ok(())
            })?;
            let own = views.get(&node).with_context(|| format!("{node} does not answer"))?;
            ensure!(own.groups.iter().all(votes), "{node} does not know yet that it votes");
            Ok((applied, format!("{proof}; {node} says so too")))
        })
    }

    pub(super) fn remove(&self, node: NodeId) -> Proven {
        self.in_all_groups(|steward, contact, group| steward.remove(contact, group, node))?;
        let applied = (self.clock)();
        self.seen(|views| {
            let proof = by_leaders(views, |group| {
                ensure!(!group.changing && !group.voters.contains(&node), "{node} votes");
                ensure!(!group.learners.contains(&node), "{node} is a learner");
                Ok(())
            })?;
            Ok((applied, proof))
        })
    }

    pub(super) fn transfer(&self, group: u32, to: NodeId) -> Proven {
        let leader = |views: &BTreeMap<NodeId, NodeView>| {
            leaders(views).get(&group).copied().with_context(|| format!("nobody says that it leads g{group}"))
        };
        let (term, from) = leader(&self.views())?;
        ensure!(from != to, "{to} leads g{group} already");
        self.steward()?.transfer(&self.contact(), group, to).map_err(anyhow::Error::msg)?;
        let applied = (self.clock)();
        self.seen(|views| {
            let (new_term, leads) = leader(views)?;
            ensure!(leads == to && new_term > term, "{leads} leads g{group} in term {new_term}, not {to}");
            Ok((applied, format!("{to} leads g{group} in term {new_term}, as {from} did in term {term}")))
        })
    }

    pub(super) fn move_shard(&self, shard: u32, steps: u32) -> Proven {
        self.reshape(|steward, contact| steward.move_shard(contact, shard, steps))
    }

    /// Opens a move without waiting for its end.
    ///
    /// # Errors
    /// When no majority of the controller agreed, or the shard has nowhere to go.
    pub fn open_move(&self, shard: u32, steps: u32) -> anyhow::Result<Moving> {
        self.steward()?.open_move(&self.contact(), shard, steps).map_err(anyhow::Error::msg)
    }

    pub(super) fn settle(&self, shard: u32) -> Proven {
        self.reshape(|steward, contact| steward.settle(contact, shard))
    }

    pub(super) fn leave(&self, group: u32) -> Proven {
        self.reshape(|steward, contact| steward.leave(contact, group))
    }

    pub(super) fn join(&self, group: u32) -> Proven {
        self.reshape(|steward, contact| steward.join(contact, group))
    }

    fn reshape(&self, change: impl FnOnce(&dyn Steward, &Contact) -> Result<String, String>) -> Proven {
        let proof = change(self.steward()?, &self.contact()).map_err(anyhow::Error::msg)?;
        Ok(((self.clock)(), proof))
    }

    fn steward(&self) -> anyhow::Result<&dyn Steward> {
        self.system.steward().with_context(|| format!("{} takes no orders", self.system.name()))
    }

    fn contact(&self) -> Contact {
        Contact { members: self.lab.members(), deadline: CHANGE_TIME_MAX }
    }

    fn in_all_groups(
        &self,
        change: impl Fn(&dyn Steward, &Contact, u32) -> Result<(), String>,
    ) -> anyhow::Result<()> {
        let views = self.views();
        let groups: BTreeSet<u32> =
            views.values().flat_map(|view| &view.groups).map(|group| group.group).collect();
        ensure!(!groups.is_empty(), "no node says which groups there are");
        let (steward, contact) = (self.steward()?, self.contact());
        for group in groups {
            change(steward, &contact, group)
                .map_err(anyhow::Error::msg)
                .with_context(|| format!("g{group}"))?;
        }
        Ok(())
    }

    /// Looks until it is proven, or gives why it is not.
    fn seen(&self, prove: impl Fn(&BTreeMap<NodeId, NodeView>) -> Proven) -> Proven {
        let since = Instant::now();
        loop {
            match prove(&self.views()) {
                Err(_) if since.elapsed() < SEEN_TIME_MAX => std::thread::sleep(LOOK),
                proven => return proven,
            }
        }
    }
}

/// Whether the leader of every group says so, and who they are.
fn by_leaders(
    views: &BTreeMap<NodeId, NodeView>,
    so: impl Fn(&GroupView) -> anyhow::Result<()>,
) -> anyhow::Result<String> {
    let groups: BTreeSet<u32> =
        views.values().flat_map(|view| &view.groups).map(|group| group.group).collect();
    let leaders = leaders(views);
    let mut proofs = Vec::new();
    for group in groups {
        let Some((term, leader)) = leaders.get(&group) else { bail!("nobody says that it leads g{group}") };
        let known = views.get(leader).and_then(|view| view.groups.iter().find(|known| known.group == group));
        let known = known.with_context(|| format!("{leader} does not know g{group}"))?;
        so(known).with_context(|| format!("says {leader}, who leads g{group} in term {term}"))?;
        let voters: Vec<String> = known.voters.iter().map(NodeId::to_string).collect();
        proofs.push(format!("{leader} leads g{group} in term {term} with voters {}", voters.join(" ")));
    }
    Ok(proofs.join(", "))
}
