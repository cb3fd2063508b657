//! What was counted on the wire: messages and bytes by kind, and what befell whole frames, for every directed way.

use std::collections::BTreeMap;
use std::fmt;

use ordeal_client::wire::{Kind, NodeId};

use crate::lab::Link;

/// A directed way between two ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// From node to node.
    Peers(Link),
    /// From the clients to a node.
    ToNode(NodeId),
    /// From a node to its clients.
    FromNode(NodeId),
}

/// Messages and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Messages.
    pub messages: u64,
    /// Their bytes, headers included.
    pub bytes: u64,
}

/// What befell whole frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Frames {
    /// Sent by the one end.
    pub sent: u64,
    /// Lost by an unreliable network.
    pub lost: u64,
    /// Made to wait.
    pub delayed: u64,
    /// Overtaken by a later one.
    pub overtaken: u64,
    /// Lost at a cut link.
    pub swallowed: u64,
}

/// What was counted on one way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// What was sent, by kind.
    pub kinds: BTreeMap<Kind, Count>,
    /// What befell it.
    pub frames: Frames,
}

/// What was counted on all ways.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traffic {
    /// By way.
    pub ways: BTreeMap<Way, Tally>,
    /// Connections that were reset, or refused, at cut links.
    pub resets: u64,
}

impl Traffic {
    /// What befell frames, all ways together.
    #[must_use]
    pub fn frames(&self) -> Frames {
        self.ways.values().fold(Frames::default(), |sum, tally| {
            let of = tally.frames;
            Frames {
                sent: sum.sent + of.sent,
                lost: sum.lost + of.lost,
                delayed: sum.delayed + of.delayed,
                overtaken: sum.overtaken + of.overtaken,
                swallowed: sum.swallowed + of.swallowed,
            }
        })
    }

    /// Messages between nodes of the kinds that are asked for.
    #[must_use]
    pub fn between_nodes(&self, wanted: impl Fn(Kind) -> bool) -> Count {
        let peers = self.ways.iter().filter(|(way, _)| matches!(way, Way::Peers(_)));
        let counts = peers.flat_map(|(_, tally)| &tally.kinds).filter(|(kind, _)| wanted(**kind));
        counts.fold(Count::default(), |sum, (_, count)| Count {
            messages: sum.messages + count.messages,
            bytes: sum.bytes + count.bytes,
        })
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Way::Peers(link) => write!(f, "{link}"),
            Way::ToNode(node) => write!(f, "clients→{node}"),
            Way::FromNode(node) => write!(f, "{node}→clients"),
        }
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
