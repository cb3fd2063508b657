//! Groups as a person names them who lets them join: `g3` comes back, `g3=n4,n5,n6` is made.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use crate::wire::ids::IdError;
use crate::wire::{GroupId, MEMBERS_MAX, NodeId};

/// A group that joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Joining {
    group: GroupId,
    /// The nodes to make it on; none, where it was there before.
    nodes: Option<BTreeSet<NodeId>>,
}

impl FromStr for Joining {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let id = |error: IdError| error.to_string();
        let Some((group, list)) = text.split_once('=') else {
            return Ok(Joining { group: text.parse().map_err(id)?, nodes: None });
        };
        let group: GroupId = group.parse().map_err(id)?;
        if list.is_empty() {
            return Err(format!("no nodes are named for {group}: `{group}=n4,n5,n6`"));
        }
        let mut nodes = BTreeSet::new();
        for node in list.split(',') {
            let node: NodeId = node.parse().map_err(id)?;
            if !nodes.insert(node) {
                return Err(format!("{node} is named twice for {group}"));
            }
        }
        if nodes.len() > MEMBERS_MAX {
            return Err(format!("{} nodes are named for {group}, {MEMBERS_MAX} are the most", nodes.len()));
        }
        Ok(Joining { group, nodes: Some(nodes) })
    }
}

/// Those that are to be made, on these nodes.
type Made = BTreeMap<GroupId, BTreeSet<NodeId>>;

/// Those that are to be made, and those that come back; of only one kind are there any.
///
/// # Errors
/// What is wrong, and what to do about it.
pub(super) fn sort(groups: &[Joining]) -> Result<(Made, BTreeSet<GroupId>), (String, &'static str)> {
    let (mut made, mut back) = (Made::new(), BTreeSet::new());
    for Joining { group, nodes } in groups {
        if made.contains_key(group) || back.contains(group) {
            return Err((format!("{group} is named twice"), "name each group once"));
        }
        match nodes {
            Some(nodes) => drop(made.insert(*group, nodes.clone())),
            None => drop(back.insert(*group)),
        }
    }
    match (made.first_key_value(), back.first()) {
        (Some((new, _)), Some(old)) => {
            Err((format!("{new} is to be made, and {old} is to come back"), "give two commands"))
        }
        _ => Ok((made, back)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_joins_is_named_with_its_nodes_or_without() {
        let of = |text: &str| text.parse::<Joining>();
        let nodes = Some(BTreeSet::from([4, 5, 6].map(NodeId)));
        assert_eq!(of("g3=n6,n4,n5"), Ok(Joining { group: GroupId(3), nodes }));
        assert_eq!(of("g3"), Ok(Joining { group: GroupId(3), nodes: None }));
        assert_eq!(of("g3="), Err("no nodes are named for g3: `g3=n4,n5,n6`".to_owned()));
        assert_eq!(of("g3=n4,n5,n4"), Err("n4 is named twice for g3".to_owned()));
        let many: Vec<String> = (1..=16).map(|node| format!("n{node}")).collect();
        let words = "16 nodes are named for g3, 15 are the most".to_owned();
        assert_eq!(of(&format!("g3={}", many.join(","))), Err(words));
        for wrong in ["", "g", "3=n4", "g3=4", "g3=n4,", "g3=n4;n5"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
