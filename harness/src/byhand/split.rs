//! How a person writes a partition: `n1 | n2 n3` cuts every link between the parts, `n1>n2` cuts one direction.

use std::collections::BTreeSet;

use anyhow::{Context, bail};
use ordeal_client::wire::NodeId;

use crate::lab::Link;

/// The links that `text` cuts. Nodes that are not named keep all their links.
///
/// # Errors
/// When a name is no node of the cluster, a node stands on two sides, or nothing would be cut.
pub fn links_of(text: &str, nodes: &[NodeId]) -> anyhow::Result<BTreeSet<Link>> {
    let links = if text.contains('>') { one_way(text, nodes)? } else { between(text, nodes)? };
    if links.is_empty() {
        bail!(
            "`{text}` cuts nothing\nhint: write the parts as \"n1 | n2 n3\", or one direction as \"n1>n2\""
        );
    }
    Ok(links)
}

fn one_way(text: &str, nodes: &[NodeId]) -> anyhow::Result<BTreeSet<Link>> {
    let mut links = BTreeSet::new();
    for part in text.split([',', ' ']).filter(|part| !part.is_empty()) {
        let (from, to) =
            part.split_once('>').with_context(|| format!("`{part}` is no direction like n1>n2"))?;
        let link = Link { from: node(from, nodes)?, to: node(to, nodes)? };
        if link.from == link.to {
            bail!("`{part}`: a node has no link to itself");
        }
        links.insert(link);
    }
    Ok(links)
}

fn between(text: &str, nodes: &[NodeId]) -> anyhow::Result<BTreeSet<Link>> {
    let mut sides: Vec<Vec<NodeId>> = Vec::new();
    for part in text.split('|') {
        let names = part.split([',', ' ']).filter(|name| !name.is_empty());
        let side = names.map(|name| node(name, nodes)).collect::<anyhow::Result<Vec<_>>>()?;
        if let Some(twice) = side.iter().find(|node| sides.iter().any(|other| other.contains(node))) {
            bail!("{twice} stands on two sides of `{text}`");
        }
        sides.push(side);
    }
    let mut links = BTreeSet::new();
    for (at, side) in sides.iter().enumerate() {
        for other in sides[at + 1..].iter().flatten() {
            for &node in side {
                links.insert(Link { from: node, to: *other });
                links.insert(Link { from: *other, to: node });
            }
        }
    }
    Ok(links)
}

fn node(name: &str, nodes: &[NodeId]) -> anyhow::Result<NodeId> {
    member(name.trim().parse()?, nodes)
}

/// The node, if the cluster has it.
///
/// # Errors
/// When it has not: says which it has.
pub fn member(node: NodeId, nodes: &[NodeId]) -> anyhow::Result<NodeId> {
    if !nodes.contains(&node) {
        let known = nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(" ");
        bail!("{node} is no node of this cluster\nhint: its nodes are {known}");
    }
    Ok(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, &str>) {
        let nodes = [NodeId(1), NodeId(2), NodeId(3)];
        let found = links_of(text, &nodes);
        let found = found.map(|links| links.iter().map(Link::to_string).collect::<Vec<_>>().join(" "));
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{text}"),
            (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{text}: {error}"),
            (found, _) => panic!("{text}: {found:?}"),
        }
    }

    #[test]
    fn partitions_as_people_write_them() {
        check("n1 | n2 n3", Ok("n1→n2 n1→n3 n2→n1 n3→n1"));
        check("n1|n2", Ok("n1→n2 n2→n1"));
        check("n1 | n2 | n3", Ok("n1→n2 n1→n3 n2→n1 n2→n3 n3→n1 n3→n2"));
        check("n1>n2, n3>n2", Ok("n1→n2 n3→n2"));
        check("n1", Err("cuts nothing"));
        check("", Err("cuts nothing"));
        check("n1 | n4", Err("n4 is no node"));
        check("n1 | n1 n2", Err("two sides"));
        check("n1>n1", Err("no link to itself"));
        check("1 | 2", Err("`1` is no id"));
    }
}
