//! Shapes of partitions: which directed links are cut. Pure: the order of the nodes says *who* (the plan draws it, or
//! puts the leader first), the shape says *how*.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use ordeal_client::wire::NodeId;
use serde::{Deserialize, Serialize};

use super::{Link, all_links};

/// How a cluster is cut apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// The first half against the others; of an odd number the first half is the smaller one.
    Halves,
    /// The largest minority whose absence lets the others lose one node more; at least the first node.
    Minority,
    /// The first node against all others.
    Isolate,
    /// The first node speaks and nobody hears it; it hears everybody.
    Mute,
    /// The first node hears nobody; everybody hears it.
    Deaf,
    /// The others in two halves that reach each other only through the first node.
    Bridge,
    /// Every node sees a majority, no two nodes the same one: each sees only its nearest on a ring.
    Ring,
}

impl Shape {
    /// All shapes.
    pub const ALL: [Shape; 7] = [
        Shape::Halves,
        Shape::Minority,
        Shape::Isolate,
        Shape::Mute,
        Shape::Deaf,
        Shape::Bridge,
        Shape::Ring,
    ];

    /// Whether the shape cuts anything in a cluster of this many nodes.
    #[must_use]
    pub fn fits(self, nodes: usize) -> bool {
        match self {
            Shape::Halves | Shape::Minority | Shape::Isolate | Shape::Mute | Shape::Deaf => nodes >= 2,
            Shape::Bridge => nodes >= 3,
            Shape::Ring => nodes >= 4,
        }
    }

    /// The links that it cuts. Empty where it does not [fit](Shape::fits).
    #[must_use]
    pub fn links(self, order: &[NodeId]) -> BTreeSet<Link> {
        let count = order.len();
        if !self.fits(count) {
            return BTreeSet::new();
        }
        match self {
            Shape::Halves => between(&order[..count / 2], &order[count / 2..]),
            // 5 → 1, 6 → 1, 7 → 2: of the count - few others, less one, count / 2 + 1 must remain.
            Shape::Minority => {
                let few = count.saturating_sub(count / 2 + 2).max(1);
                between(&order[..few], &order[few..])
            }
            Shape::Isolate => between(&order[..1], &order[1..]),
            Shape::Mute => one_way(&order[..1], &order[1..]),
            Shape::Deaf => one_way(&order[1..], &order[..1]),
            Shape::Bridge => {
                let (left, right) = order[1..].split_at((count - 1) / 2);
                between(left, right)
            }
            Shape::Ring => ring(order),
        }
    }
}

fn one_way(from: &[NodeId], to: &[NodeId]) -> BTreeSet<Link> {
    from.iter().flat_map(|&from| to.iter().map(move |&to| Link { from, to })).collect()
}

fn between(left: &[NodeId], right: &[NodeId]) -> BTreeSet<Link> {
    one_way(left, right).into_iter().chain(one_way(right, left)).collect()
}

/// With itself and `reach` neighbours on either side a node sees a majority.
fn ring(order: &[NodeId]) -> BTreeSet<Link> {
    let count = order.len();
    let majority = count / 2 + 1;
    let reach = (majority - 1).div_ceil(2);
    let place = |node: NodeId| order.iter().position(|&other| other == node).unwrap_or(0);
    let far = |link: &Link| {
        let apart = place(link.from).abs_diff(place(link.to));
        apart.min(count - apart) > reach
    };
    all_links(order).into_iter().filter(far).collect()
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Shape::Halves => "halves",
            Shape::Minority => "minority",
            Shape::Isolate => "isolate",
            Shape::Mute => "mute",
            Shape::Deaf => "deaf",
            Shape::Bridge => "bridge",
            Shape::Ring => "ring",
        })
    }
}

/// A text that names no shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no shape of a partition, expected halves, minority, isolate, mute, deaf, bridge or ring")]
pub struct NoShape(String);

impl FromStr for Shape {
    type Err = NoShape;

    fn from_str(text: &str) -> Result<Self, NoShape> {
        let found = Shape::ALL.into_iter().find(|shape| shape.to_string() == text);
        found.ok_or_else(|| NoShape(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Whom each node hears, itself included.
    fn hears(order: &[NodeId], cut: &BTreeSet<Link>) -> BTreeMap<NodeId, BTreeSet<NodeId>> {
        let heard = |to: NodeId| {
            order.iter().copied().filter(|&from| from == to || !cut.contains(&Link { from, to })).collect()
        };
        order.iter().map(|&to| (to, heard(to))).collect()
    }

    fn order() -> impl Strategy<Value = Vec<NodeId>> {
        (2u32..10).prop_flat_map(|count| Just((1..=count).map(NodeId).collect::<Vec<_>>()).prop_shuffle())
    }

    fn check(shape: Shape, nodes: u32, expected: &str) {
        let order: Vec<NodeId> = (1..=nodes).map(NodeId).collect();
        let links: Vec<String> = shape.links(&order).iter().map(ToString::to_string).collect();
        assert_eq!(links.join(" "), expected, "{shape} of {nodes}");
    }

    #[test]
    fn small_clusters() {
        check(Shape::Halves, 1, "");
        check(Shape::Halves, 3, "n1→n2 n1→n3 n2→n1 n3→n1");
        check(Shape::Minority, 3, "n1→n2 n1→n3 n2→n1 n3→n1");
        check(Shape::Mute, 3, "n1→n2 n1→n3");
        check(Shape::Deaf, 3, "n2→n1 n3→n1");
        check(Shape::Bridge, 3, "n2→n3 n3→n2");
        check(Shape::Ring, 3, "");
        check(Shape::Ring, 4, "n1→n3 n2→n4 n3→n1 n4→n2");
    }

    #[test]
    fn names_are_read_back() {
        for shape in Shape::ALL {
            assert_eq!(shape.to_string().parse(), Ok(shape));
        }
        assert!("half".parse::<Shape>().is_err());
    }

    proptest! {
        #[test]
        fn a_shape_cuts_something_exactly_where_it_fits(order in order()) {
            for shape in Shape::ALL {
                prop_assert_eq!(shape.fits(order.len()), !shape.links(&order).is_empty(), "{}", shape);
            }
        }

        #[test]
        fn only_the_one_way_shapes_cut_one_way(order in order()) {
            for shape in Shape::ALL {
                let links = shape.links(&order);
                let turned: BTreeSet<Link> =
                    links.iter().map(|link| Link { from: link.to, to: link.from }).collect();
                let one_way = matches!(shape, Shape::Mute | Shape::Deaf);
                prop_assert_eq!(!one_way, links == turned, "{}", shape);
            }
        }

        #[test]
        fn of_two_sides_at_most_one_holds_a_majority(order in order()) {
            let majority = order.len() / 2 + 1;
            for shape in [Shape::Halves, Shape::Minority, Shape::Isolate] {
                let sides: BTreeSet<_> = hears(&order, &shape.links(&order)).into_values().collect();
                prop_assert_eq!(sides.len(), 2, "{}", shape);
                prop_assert!(sides.iter().filter(|side| side.len() >= majority).count() <= 1, "{}", shape);
            }
        }

        #[test]
        fn only_the_bridge_sees_both_sides(order in order()) {
            prop_assume!(order.len() >= 3);
            let heard = hears(&order, &Shape::Bridge.links(&order));
            for (node, of) in heard {
                prop_assert_eq!(of.len() == order.len(), node == order[0]);
                prop_assert!(of.contains(&order[0]));
            }
        }

        #[test]
        fn on_the_ring_each_sees_a_majority_and_no_two_the_same(order in order()) {
            let heard = hears(&order, &Shape::Ring.links(&order));
            let majority = order.len() / 2 + 1;
            prop_assert!(heard.values().all(|of| of.len() >= majority));
            if Shape::Ring.fits(order.len()) {
                prop_assert!(heard.values().all(|of| of.len() < order.len()));
                prop_assert_eq!(heard.values().collect::<BTreeSet<_>>().len(), order.len());
            }
        }
    }
}
