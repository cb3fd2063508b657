//! Partitions with their nodes in place: the links that are cut, and a name that says who stands where.

use std::collections::BTreeSet;

use ordeal_client::wire::NodeId;

use super::Fault;
use crate::lab::{Link, Shape};

/// A partition with its nodes in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// In words: `isolate leader n2 (n2 | n1 n3 n4 n5)`.
    pub name: String,
    /// What is cut.
    pub links: BTreeSet<Link>,
}

impl Fault {
    /// The partition, when this node leads; `None` where the fault is none.
    #[must_use]
    pub fn cut(&self, leader: Option<NodeId>) -> Option<Cut> {
        let Fault::Partition { shape, leader_first, order } = self else { return None };
        let mut order = order.clone();
        let leader = leader.filter(|leader| *leader_first && order.contains(leader));
        if let Some(leader) = leader {
            order.retain(|&node| node != leader);
            order.insert(0, leader);
        }
        let links = shape.links(&order);
        Some(Cut { name: name(*shape, &order, leader.is_some()), links })
    }
}

fn name(shape: Shape, order: &[NodeId], leader_first: bool) -> String {
    let Some(&first) = order.first() else { return shape.to_string() };
    let who = if leader_first { format!("leader {first}") } else { first.to_string() };
    match shape {
        Shape::Halves | Shape::Minority | Shape::Isolate => {
            let links = shape.links(order);
            let sees_first = |node: NodeId| !links.contains(&Link { from: first, to: node });
            let (left, right): (Vec<NodeId>, Vec<NodeId>) = order.iter().partition(|&&node| sees_first(node));
            let with = match (left.len(), leader_first) {
                (1, _) => format!("isolate {who}"),
                (_, true) => format!("{shape} around {who}"),
                (_, false) => shape.to_string(),
            };
            format!("{with} ({} | {})", words(&left), words(&right))
        }
        Shape::Mute => format!("mute {who} (nobody hears {first})"),
        Shape::Deaf => format!("deaf {who} ({first} hears nobody)"),
        Shape::Bridge => {
            let (left, right) = order[1..].split_at((order.len() - 1) / 2);
            format!("bridge {who} ({} | {}, {first} sees both)", words(left), words(right))
        }
        Shape::Ring => {
            let ring: Vec<String> = order.iter().map(NodeId::to_string).collect();
            format!("majorities ring ({}: each sees its neighbours)", ring.join(" "))
        }
    }
}

fn words(nodes: &[NodeId]) -> String {
    let mut sorted = nodes.to_vec();
    sorted.sort_unstable();
    sorted.iter().map(NodeId::to_string).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(shape: Shape, leader: Option<u32>, expected: &str, links: usize) {
        let order = (1..=5).map(NodeId).collect();
        let fault = Fault::Partition { shape, leader_first: true, order };
        let cut = fault.cut(leader.map(NodeId)).expect("is a partition");
        assert_eq!((cut.name.as_str(), cut.links.len()), (expected, links));
    }

    #[test]
    fn names_say_who_stands_where() {
        check(Shape::Isolate, Some(2), "isolate leader n2 (n2 | n1 n3 n4 n5)", 8);
        check(Shape::Isolate, None, "isolate n1 (n1 | n2 n3 n4 n5)", 8);
        check(Shape::Halves, Some(4), "halves around leader n4 (n1 n4 | n2 n3 n5)", 12);
        check(Shape::Halves, None, "halves (n1 n2 | n3 n4 n5)", 12);
        check(Shape::Mute, None, "mute n1 (nobody hears n1)", 4);
        check(Shape::Deaf, Some(3), "deaf leader n3 (n3 hears nobody)", 4);
        check(Shape::Bridge, None, "bridge n1 (n2 n3 | n4 n5, n1 sees both)", 8);
        check(Shape::Ring, None, "majorities ring (n1 n2 n3 n4 n5: each sees its neighbours)", 10);
    }

    #[test]
    fn a_leader_that_is_not_meant_changes_nothing() {
        let order: Vec<NodeId> = (1..=5).map(NodeId).collect();
        let fault = Fault::Partition { shape: Shape::Isolate, leader_first: false, order };
        assert_eq!(fault.cut(Some(NodeId(4))), fault.cut(None));
        assert_eq!(Fault::Kill { victims: super::super::Victims::Nodes(vec![]) }.cut(None), None);
    }
}
