//! What must hold after every turn of every node, whatever befell it: the properties of Figure 3 of the paper, seen from
//! outside the engines. Only what changed is looked at; together with what was seen before it says all.
//!
//! * Election Safety: a term has one leader.
//! * Leader Append-Only: a leader removes nothing from its log.
//! * Log Matching: an entry's id names its payload and the entry before it, on every disk, and so, entry by entry, the
//!   whole log up to it.
//! * Leader Completeness: a leader's log holds what was committed in earlier terms.
//! * State Machine Safety: all who commit an index commit the same entry there, and equal indexes are equal states.
//!
//! And of our own: what is committed is durable on a majority; term, commit index and applied index never go back.

use std::collections::BTreeMap;

use ordeal_client::wire::{GroupId, NodeId};
use ordeal_node::engine::{Batch, Engine};
use ordeal_node::kv::digest;
use ordeal_node::raft::{Entry, Index, LogId, Membership, Payload, Role, Status, Term};

use crate::disk::Disk;
use crate::node::Node;
use crate::plan::Plan;
use crate::shards::Owners;

/// What was seen so far.
#[derive(Debug)]
pub struct Checks {
    groups: Vec<(GroupId, Seen)>,
    pub owners: Owners,
    /// Shards of the world, where they move.
    moving: u64,
    /// Number of comparisons of digests between different nodes, so that a check which never checks is seen.
    pub compared: u64,
    /// Terms that had a leader.
    pub elections: u64,
}

/// What was seen of a group.
#[derive(Debug, Default)]
struct Seen {
    leaders: BTreeMap<Term, NodeId>,
    /// By index: each entry that any disk ever held there, with what its id stands for.
    written: Vec<Vec<Written>>,
    /// By index: the entry that somebody called committed.
    committed: Vec<Option<LogId>>,
    /// The last of them.
    newest: LogId,
    /// By index: the digest of the state after it, and who had it first.
    digests: Vec<Option<(u64, NodeId)>>,
    /// How each member was at the end of its last turn, since it started.
    members: BTreeMap<NodeId, Status>,
    /// Who belonged to the group then, as that member knew it.
    memberships: BTreeMap<NodeId, Membership>,
}

/// What the id of an entry stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Written {
    term: Term,
    /// Term of the entry before it.
    previous: Term,
    payload: u32,
}

impl Checks {
    pub fn new(plan: &Plan) -> Self {
        Checks {
            groups: plan.group_ids().map(|group| (group, Seen::default())).collect(),
            owners: Owners::default(),
            moving: if plan.reshape_ms > 0 { plan.shards } else { 0 },
            compared: 0,
            elections: 0,
        }
    }

    /// A node starts: its commit index begins anew, and so does a term that it had not made durable, for then it had
    /// promised nothing in it.
    pub fn started(&mut self, id: NodeId) {
        for (_, seen) in &mut self.groups {
            seen.members.remove(&id);
        }
    }

    /// A node is about to write.
    pub fn before_write(&mut self, id: NodeId, engine: &Engine, disk: &Disk, batch: &Batch) {
        for (group, persist) in &batch.groups {
            let (_, seen) = self.groups.iter_mut().find(|(of, _)| of == group).expect("a group of the plan");
            if let (Some(from), Some(before)) = (persist.truncate_from, seen.members.get(&id)) {
                let now = engine.member(*group).expect("a group of the plan");
                let leads = |status: &Status| status.role == Role::Leader && status.term == now.term;
                assert!(!leads(before) || !leads(&now), "leader append-only: {id} cuts {group} at {from}");
            }
            for entry in &persist.repairs {
                let index = entry.id.index - 1;
                let previous = if index == 0 { Some(0) } else { disk.term_at(*group, index) };
                if let Some(previous) = previous {
                    seen.written(id, *group, entry, previous);
                }
            }
            let Some(first) = persist.entries.first() else { continue };
            let replaced = persist.snapshot.as_ref().map(|snapshot| snapshot.last);
            let index = first.id.index - 1;
            let mut previous = match replaced.filter(|last| last.index == index) {
                Some(last) => Some(last.term),
                None if index == 0 => Some(0),
                None => disk.term_at(*group, index),
            };
            for entry in &persist.entries {
                seen.written(id, *group, entry, previous.unwrap_or(entry.id.term));
                previous = Some(entry.id.term);
            }
        }
    }

    /// All that can be said about a node that just took a turn.
    pub fn after_turn(&mut self, id: NodeId, nodes: &[Node]) {
        let engine = nodes[id.0 as usize].engine.as_ref().expect("it took a turn");
        for (group, seen) in &mut self.groups {
            let group = *group;
            // One that is made under way may not be there yet.
            let Some(now) = engine.member(group) else {
                assert!(!seen.members.contains_key(&id), "groups: {id} has no member of {group} any more");
                continue;
            };
            let before = seen.members.insert(id, now);
            let commit_before = before.map_or(0, |before| before.commit);
            if let Some(before) = before {
                let unchanged = (before.term, before.role, before.commit, before.applied)
                    == (now.term, now.role, now.commit, now.applied);
                if unchanged {
                    continue;
                }
                assert!(now.term >= before.term, "term: {id} in {group} went back to {}", now.term);
                assert!(now.commit >= before.commit, "commit: {id} in {group} went back to {}", now.commit);
                assert!(now.applied >= before.applied, "applied: {id} in {group} went back");
            }
            assert!(now.applied <= now.commit, "applied: {id} in {group} applied what is not committed");
            if now.role == Role::Leader {
                self.elections += u64::from(seen.leads(id, group, now.term, nodes));
            }
            for index in now.first.max(commit_before + 1)..=now.commit {
                seen.committed(id, (group, now.term, index), nodes);
            }
            let membership = engine.membership(group).expect("a group of the plan");
            if seen.memberships.get(&id) != Some(membership) {
                seen.memberships.insert(id, membership.clone());
            }
            self.owners.look(id, group, engine, self.moving);
            let digest = engine.digest(group).expect("a group of the plan");
            let (known, first) = *place(&mut seen.digests, now.applied).get_or_insert((digest, id));
            self.compared += u64::from(first != id);
            assert!(
                digest == known,
                "state machine safety: {first} and {id} differ in {group} at {}",
                now.applied
            );
        }
    }

    /// Whether all members are up and have applied the same entries of every group.
    pub fn is_level(&self, nodes: &[Node]) -> bool {
        self.groups.iter().filter(|(group, _)| is_there(*group, nodes)).all(|(group, _)| {
            let mut all = members(*group, nodes).into_iter().filter(|node| !node.dead).map(|node| {
                let status = node.engine.as_ref()?.member(*group)?;
                Some((status.applied, status.commit == status.last.index))
            });
            let Some(Some((applied, true))) = all.next() else { return false };
            all.all(|other| other == Some((applied, true)))
        })
    }

    /// At the end all members are level: their states must be equal in full.
    pub fn agree_at_the_end(&self, nodes: &[Node]) {
        for &(group, _) in self.groups.iter().filter(|(group, _)| is_there(*group, nodes)) {
            let state = |node: &Node| {
                let groups = node.engine.as_ref().expect("all are up").status(0, 0).groups;
                let found = groups.into_iter().find(|status| status.group == group);
                found.map(|status| (status.digest, status.keys, status.sessions, status.members))
            };
            let states: Vec<_> =
                members(group, nodes).into_iter().filter(|node| !node.dead).map(state).collect();
            let level = states.windows(2).all(|pair| pair[0] == pair[1]);
            assert!(level && !states.is_empty(), "state machine safety: level members of {group} differ");
        }
    }
}

/// Whether anybody has a member of a group: of one that is made under way, perhaps nobody.
fn is_there(group: GroupId, nodes: &[Node]) -> bool {
    nodes[1..].iter().filter_map(|node| node.engine.as_ref()).any(|engine| engine.member(group).is_some())
}

/// Who belongs to a group, as its leader knows it; nobody when nobody leads.
fn members(group: GroupId, nodes: &[Node]) -> Vec<&Node> {
    let up = nodes[1..].iter().filter_map(|node| node.engine.as_ref());
    let leading = up.filter_map(|engine| {
        let status = engine.member(group).filter(|status| status.role == Role::Leader)?;
        Some((status.term, engine.membership(group)?))
    });
    let leader = leading.max_by_key(|&(term, _)| term);
    let members = leader.map(|(_, membership)| membership.members().map(|id| &nodes[id.0 as usize]));
    members.into_iter().flatten().collect()
}

impl Seen {
    fn written(&mut self, id: NodeId, group: GroupId, entry: &Entry, previous: Term) {
        let payload = match &entry.payload {
            Payload::Noop => 0,
            Payload::Command(command) => digest::checksum(1, command),
            Payload::Membership(membership) => digest::checksum(2, membership.to_string().as_bytes()),
        };
        let written = Written { term: entry.id.term, previous, payload };
        let known = place(&mut self.written, entry.id.index);
        match known.iter().find(|known| known.term == entry.id.term) {
            Some(known) => {
                assert!(*known == written, "log matching: {id} writes another {} of {group}", entry.id);
            }
            None => known.push(written),
        }
    }

    /// A node leads: says whether that is new.
    fn leads(&mut self, id: NodeId, group: GroupId, term: Term, nodes: &[Node]) -> bool {
        let new = !self.leaders.contains_key(&term);
        let leader = *self.leaders.entry(term).or_insert(id);
        assert!(leader == id, "election safety: {leader} and {id} both lead {group} in term {term}");
        if new && self.newest.term < term && self.newest.index > 0 {
            let holds = nodes[id.0 as usize].disk.has(group, self.newest);
            assert!(holds, "leader completeness: {id} leads {group} in {term} without {}", self.newest);
        }
        new
    }

    /// A node calls this entry committed: whoever did so before meant the same one, a majority has it durably, and so
    /// have the leaders of later terms.
    fn committed(&mut self, id: NodeId, (group, term, index): (GroupId, Term, Index), nodes: &[Node]) {
        let engine = nodes[id.0 as usize].engine.as_ref().expect("it took a turn");
        // What is covered by a snapshot already cannot be looked at; the digests speak for it. The disk is not asked: while a
        // snapshot of the leader is being stored, it holds what that is to replace.
        let Some(term_found) = engine.term_at(group, index) else { return };
        let found = LogId::new(index, term_found);
        let known = place(&mut self.committed, index);
        if let Some(before) = *known {
            assert!(before == found, "state machine safety: {id} committed {found} of {group}, not {before}");
            return;
        }
        *known = Some(found);
        if found.index > self.newest.index {
            self.newest = found;
        }
        let now = engine.membership(group).expect("a group of the plan");
        // Followers may know less of who belongs to the group; and their leader knew before them. A leader may have begun
        // a change later in the same turn: what it committed before, it counted as it knew the group before.
        if engine.member(group).is_some_and(|status| status.role == Role::Leader) {
            let holds = |voter: &&NodeId| nodes[voter.0 as usize].disk.has_durably(group, found);
            let enough = |membership: &Membership| {
                let halves = [membership.voters(), membership.outgoing()];
                halves
                    .iter()
                    .all(|half| half.is_empty() || half.iter().filter(holds).count() > half.len() / 2)
            };
            let known = enough(now) || self.memberships.get(&id).is_some_and(enough);
            assert!(known, "durability: {id}: {found} of {group} is durable on no majority of {now}");
        }
        for (later, leader) in self.leaders.range(term + 1..) {
            let leads = |status: &Status| status.role == Role::Leader && status.term == *later;
            if self.members.get(leader).is_some_and(leads) {
                let holds = nodes[leader.0 as usize].disk.has(group, found);
                assert!(holds, "leader completeness: {leader} leads {group} in {later} without {found}");
            }
        }
    }
}

/// The place of an index in a table that grows.
fn place<T: Default>(table: &mut Vec<T>, index: Index) -> &mut T {
    let index = usize::try_from(index).expect("a log of a world is short");
    if table.len() <= index {
        table.resize_with(index + 1, T::default);
    }
    &mut table[index]
}
