//! Connections as the core knows them. It numbers them; where there is a socket behind a number is the driver's business.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::ops::OpId;
use crate::router::Place;
use crate::wire::{FrameWriter, GroupId, Kind, NodeId, RequestBody};

/// A connection. Numbers are not used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LinkId(pub(crate) u64);

/// A connection, dialled or open.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) place: Place,
    /// Which of the connections to its node.
    pub(super) lane: usize,
    /// Who answers there, once it has said so.
    pub(super) node: Option<NodeId>,
    /// When it was dialled, or last heard of.
    pub(super) heard: Instant,
    /// Who waits for it to be open.
    pub(super) waiting: Vec<OpId>,
    /// Requests that were sent and neither answered nor given up.
    pub(super) unanswered: usize,
    /// What is to be sent; bounded, as the operations are.
    writer: FrameWriter,
    /// Operations with a higher serial number were not given to the socket yet.
    pub(super) handed_out: u64,
    /// It takes no more requests, and ends when the last is answered.
    pub(super) retired: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Links {
    all: BTreeMap<LinkId, Link>,
    /// Those that take requests.
    open: BTreeMap<(NodeId, usize), LinkId>,
    /// Those with something to send.
    pub(super) dirty: BTreeSet<LinkId>,
    count: u64,
}

impl Links {
    pub(super) fn dial(&mut self, place: Place, lane: usize, now: Instant) -> LinkId {
        self.count += 1;
        let id = LinkId(self.count);
        let link = Link {
            place,
            lane,
            node: None,
            heard: now,
            waiting: Vec::new(),
            unanswered: 0,
            writer: FrameWriter::new(),
            handed_out: 0,
            retired: false,
        };
        self.all.insert(id, link);
        id
    }

    pub(super) fn get(&mut self, id: LinkId) -> Option<&mut Link> {
        self.all.get_mut(&id)
    }

    pub(super) fn remove(&mut self, id: LinkId) -> Option<Link> {
        let link = self.all.remove(&id)?;
        self.dirty.remove(&id);
        self.close(id, &link);
        Some(link)
    }

    /// It leads to this node, and takes requests from now on. Says which other link did so until now.
    pub(super) fn open(&mut self, id: LinkId, node: NodeId) -> Option<LinkId> {
        let link = self.all.get_mut(&id).expect("a link is opened that was dialled");
        link.node = Some(node);
        self.open.insert((node, link.lane), id)
    }

    /// It takes no more requests. True when nothing is under way there any more.
    pub(super) fn retire(&mut self, id: LinkId) -> bool {
        let Some(link) = self.all.get_mut(&id) else { return false };
        link.retired = true;
        let (idle, node, lane) = (link.unanswered == 0, link.node, link.lane);
        if let Some(node) = node.filter(|&node| self.open.get(&(node, lane)) == Some(&id)) {
            self.open.remove(&(node, lane));
        }
        idle
    }

    /// The link to this node that takes requests.
    pub(super) fn to(&self, node: NodeId, lane: usize) -> Option<LinkId> {
        self.open.get(&(node, lane)).copied()
    }

    /// Any node to which a link is open.
    pub(super) fn any_open(&self, lane: usize) -> Option<NodeId> {
        self.open.keys().find(|(_, of)| *of == lane).map(|&(node, _)| node)
    }

    /// A link that is dialled: there, or anywhere.
    pub(super) fn dialled(&self, address: Option<&str>, lane: usize) -> Option<LinkId> {
        let matches = |link: &Link| {
            let there = address.is_none_or(|address| link.place.address == address);
            link.node.is_none() && link.lane == lane && there
        };
        self.all.iter().find(|(_, link)| matches(link)).map(|(&id, _)| id)
    }

    /// Links that were dialled longer ago than `limit`, and are still not open.
    pub(super) fn dialled_too_long(&self, now: Instant, limit: Duration) -> Vec<LinkId> {
        let late = self.all.iter().filter(|(_, link)| link.node.is_none() && link.heard + limit <= now);
        late.map(|(&id, _)| id).collect()
    }

    /// Puts a request into the link's frame.
    pub(super) fn push(&mut self, id: LinkId, group: GroupId, request: OpId, epoch: u64, body: &RequestBody) {
        let link = self.all.get_mut(&id).expect("requests go to links that are open");
        link.unanswered += 1;
        // As a `Request`, which would have to own the body.
        let queued = link.writer.push(Kind::Request, group, &(request.0, epoch, body), usize::MAX);
        assert!(queued, "there is no limit but that of the operations");
        self.dirty.insert(id);
    }

    /// What the link has to send. From now on it counts as received.
    pub(super) fn writer(&mut self, id: LinkId, serial: u64) -> Option<&mut FrameWriter> {
        self.dirty.remove(&id);
        let link = self.all.get_mut(&id)?;
        link.handed_out = serial;
        Some(&mut link.writer)
    }

    fn close(&mut self, id: LinkId, link: &Link) {
        if let Some(node) = link.node.filter(|&node| self.open.get(&(node, link.lane)) == Some(&id)) {
            self.open.remove(&(node, link.lane));
        }
    }
}
