//! What administrators wish for shards, and what must hold of their moves whatever befalls them.
//!
//! ```text
//! 12.340 move s2 g1        the shard is to be that group's
//! 12.500 call-off s2       it is to stay where it is
//! 13.000 leave g2          the group is to own nothing
//! 14.000 join g2           and its share again
//! 15.000 create g3 n1 n4   a group that was not there at first is made on these nodes
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ordeal_client::wire::{AdminChange, CommandId, GroupId, NodeId, Request, RequestBody, ShardId};
use ordeal_node::engine::{CONTROLLER, ClientKey, Engine, Input};
use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_pcg::Pcg32;

use crate::node::Node;
use crate::plan::{Plan, SECOND_US};
use crate::script::{Act, Line};
use crate::world::World;

/// A connection that no client has: answers to it are lost.
const ADMINISTRATOR: ClientKey = ClientKey(u64::MAX - 1);

/// A wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reshape {
    Move { shard: ShardId, to: GroupId },
    CallOff(ShardId),
    Leave(GroupId),
    Join(GroupId),
    Create { group: GroupId, nodes: Vec<NodeId> },
}

impl Reshape {
    /// As it stands in a script.
    pub fn parse(words: &[&str]) -> Option<Reshape> {
        Some(match words {
            ["move", shard, to] => Reshape::Move { shard: shard.parse().ok()?, to: to.parse().ok()? },
            ["call-off", shard] => Reshape::CallOff(shard.parse().ok()?),
            ["leave", group] => Reshape::Leave(group.parse().ok()?),
            ["join", group] => Reshape::Join(group.parse().ok()?),
            ["create", group, nodes @ ..] => {
                let nodes = nodes.iter().map(|node| node.parse().ok()).collect::<Option<_>>()?;
                Reshape::Create { group: group.parse().ok()?, nodes }
            }
            _ => return None,
        })
    }

    /// Whether a world has what it names.
    pub fn fits(&self, plan: &Plan) -> bool {
        let (shard, group) = match self {
            Reshape::Move { shard, to } => (Some(shard), Some(to)),
            Reshape::CallOff(shard) => (Some(shard), None),
            Reshape::Leave(group) | Reshape::Join(group) => (None, Some(group)),
            Reshape::Create { group, nodes } => {
                if nodes.iter().any(|node| !(1..=plan.nodes).contains(&u64::from(node.0))) {
                    return false;
                }
                (None, Some(group))
            }
        };
        shard.is_none_or(|shard| u64::from(shard.0) < plan.shards)
            && group.is_none_or(|group| (1..=plan.groups).contains(&u64::from(group.0)))
    }
}

impl fmt::Display for Reshape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reshape::Move { shard, to } => write!(f, "move {shard} {to}"),
            Reshape::CallOff(shard) => write!(f, "call-off {shard}"),
            Reshape::Leave(group) => write!(f, "leave {group}"),
            Reshape::Join(group) => write!(f, "join {group}"),
            Reshape::Create { group, nodes } => {
                let nodes: String = nodes.iter().map(|node| format!(" {node}")).collect();
                write!(f, "create {group}{nodes}")
            }
        }
    }
}

/// The wishes of a seed.
pub fn reshapes(plan: &Plan) -> Vec<Line> {
    let mut rng = Pcg32::new(plan.seed, 18);
    let every_us = plan.reshape_ms * 1_000;
    if every_us == 0 {
        return Vec::new();
    }
    let groups: Vec<GroupId> = plan.group_ids().filter(|&group| group != CONTROLLER).collect();
    let shards = u32::try_from(plan.shards).expect("a world is small");
    let mut lines = creations(plan);
    let mut at_us = SECOND_US;
    loop {
        at_us += rng.random_range(every_us / 10..=every_us * 19 / 10);
        if at_us >= plan.end_us() {
            return lines;
        }
        let group = *groups.choose(&mut rng).expect("a world has groups");
        let shard = ShardId(rng.random_range(0..shards));
        let wish = match rng.random_range(0..10) {
            0..6 => Reshape::Move { shard, to: group },
            6 => Reshape::CallOff(shard),
            7 => Reshape::Leave(group),
            _ => Reshape::Join(group),
        };
        lines.push(Line { at_us, act: Act::Reshape(wish) });
    }
}

/// Groups that are not there at first are asked for again and again, each time on other nodes: of each there comes to be one.
fn creations(plan: &Plan) -> Vec<Line> {
    let mut rng = Pcg32::new(plan.seed, 19);
    let mut lines = Vec::new();
    for group in plan.group_ids().skip(1 + usize::try_from(plan.groups_first()).expect("a world is small")) {
        let mut at_us = SECOND_US + rng.random_range(0..=plan.end_us() / 2);
        while at_us < plan.end_us() {
            let all: Vec<NodeId> = plan.node_ids().collect();
            let mut nodes: Vec<NodeId> = all.sample(&mut rng, plan.late_members()).copied().collect();
            nodes.sort();
            lines.push(Line { at_us, act: Act::Reshape(Reshape::Create { group, nodes }) });
            at_us += rng.random_range(SECOND_US / 10..=4 * SECOND_US);
        }
    }
    lines
}

impl World {
    /// An administrator asks the leader of the controller, once, and does not wait for an answer.
    pub fn reshape(&mut self, wish: &Reshape) {
        let Some(leader) = self.leader(CONTROLLER) else { return };
        let change = match *wish {
            Reshape::Move { shard, to } => AdminChange::Move { shard, to },
            Reshape::CallOff(shard) => AdminChange::CancelMove { shard },
            Reshape::Leave(group) => AdminChange::Leave(BTreeSet::from([group])),
            Reshape::Join(group) => {
                let members = self.plan.engine(leader, 0).first_members(CONTROLLER).addresses().clone();
                AdminChange::Join(BTreeMap::from([(group, members)]))
            }
            Reshape::Create { group, ref nodes } => {
                let mut members = self.plan.engine(leader, 0).members;
                members.retain(|node, _| nodes.contains(node));
                let directories = nodes.iter().map(|&node| (node, self.plan.engine(node, 0).directory));
                let directories = directories.collect();
                AdminChange::Create { groups: BTreeMap::from([(group, members)]), directories }
            }
        };
        self.reshapes += 1;
        let id = CommandId(self.reshapes);
        self.trace.note(self.now_us, &[17, self.reshapes], || format!("{leader} is asked: {wish}"));
        let base = self.node(leader).engine.as_ref().expect("it leads").configuration().number;
        let body = RequestBody::Admin { id, base, change };
        self.input(
            leader,
            Input::Request { from: ADMINISTRATOR, request: Request { id: 0, epoch: 0, body } },
        );
    }

    /// Groups that were made, as the controller's leader knows.
    pub fn created(&self) -> u64 {
        let first = usize::try_from(self.plan.groups_first()).expect("a world is small");
        let late = self.plan.group_ids().skip(1 + first);
        late.filter(|&group| self.leader(group).is_some()).count() as u64
    }

    /// Whether no shard is on its way.
    pub fn moves_are_over(&self) -> bool {
        let leader = self.leader(CONTROLLER).and_then(|leader| self.node(leader).engine.as_ref());
        leader.is_some_and(|engine| engine.configuration().moves.is_empty())
    }
}

/// Who owned what.
#[derive(Debug, Default)]
pub struct Owners {
    /// By shard and epoch: the group that owned it then, and the node that was the first to say so.
    seen: BTreeMap<(ShardId, u64), (GroupId, NodeId)>,
}

impl Owners {
    /// Times that a shard got another owner.
    pub fn moves(&self) -> u64 {
        self.seen.keys().filter(|(_, epoch)| *epoch > 1).count() as u64
    }

    /// Of each epoch of a shard there is one owner (M1).
    pub fn look(&mut self, id: NodeId, group: GroupId, engine: &Engine, shards: u64) {
        for shard in (0..u32::try_from(shards).expect("a world is small")).map(ShardId) {
            let Some(epoch) = engine.epoch(group, shard) else { continue };
            let (owner, first) = *self.seen.entry((shard, epoch)).or_insert((group, id));
            assert!(
                owner == group,
                "single owner: {shard} is of {owner} by {first} and of {group} by {id} in epoch {epoch}"
            );
        }
    }

    /// At the end each shard is owned by the group that the controller names, in its epoch, and by no other.
    pub fn agree_at_the_end(plan: &Plan, nodes: &[Node]) {
        let engines = || nodes[1..].iter().filter(|node| !node.dead).filter_map(|node| node.engine.as_ref());
        let newest = engines().map(|engine| engine.configuration()).max_by_key(|known| known.number);
        let newest = newest.expect("some node is alive");
        for (shard, owner) in newest.shards() {
            let held = |engine: &Engine| {
                let groups = plan.group_ids().filter(|&group| group != CONTROLLER);
                groups.filter_map(|group| Some((engine.epoch(group, shard)?, group))).max()
            };
            let newest_held = engines().filter_map(|engine| held(engine)).max();
            assert!(
                newest_held == Some((owner.epoch, owner.group)),
                "owners: {shard} should be of {} in {}, is {newest_held:?}",
                owner.group,
                owner.epoch
            );
        }
    }
}
