//! Groups that are made while the cluster runs.
//!
//! ```text
//!   kv groups join g3=n4,n5,n6 ──▶ controller: Create, in its log for ever ──▶ every node applies it
//!                                                                                 │
//!      a first member, in the directory that was named: a member of g3 that begins with entry 1@1
//!      a first member in another directory:             no member of g3, for ever
//!      any other node:                                  a member of g3 that waits, empty, until a leader tells it something
//! ```
//!
//! Who the first members are stands in the controller's state, and stays there when the group leaves: so whoever applies its log or
//! takes over its snapshot, however late, makes the same group. A number is given to one group, once. What the member does with that
//! is safe by `raft/beginning.rs`, if each is begun once. That is known by two things:
//!
//! * A member that began has an entry in its log, which this node made durable before it said anything in the group. It begins only
//!   where there is none.
//! * A log that is empty although the member began is that of a directory which was lost. The administrator's command names the
//!   data directory of each first member, as the node itself said when it was asked: one that was begun later has another id. It
//!   drops what is said in the group, as it may have voted there; who lost its data comes back under a new id (`kv member add`).
//!
//! What the other nodes say in a group that this one has not yet is dropped, and said again.

use ordeal_client::wire::{AdminChange, GroupId, NodeId, RefusalReason, Reply};

use super::config::CONTROLLER;
use super::group::Group;
use super::node::Engine;
use crate::raft::{Membership, Recovered, Role};

impl Engine {
    /// Makes the groups that the controller's state names and this node has not, and begins those that it is a first member of.
    pub(super) fn make_groups(&mut self) {
        let controller = self.groups[&CONTROLLER].state.controller().expect("the controller's");
        let mut to_begin: Vec<(GroupId, Option<Membership>)> = Vec::new();
        for (&group, created) in controller.created() {
            let first = match created.directories.get(&self.config.node) {
                Some(&directory) if directory == self.config.directory => {
                    Some(Membership::of_voters(created.members.clone()))
                }
                Some(_) => continue,
                None => None,
            };
            to_begin.push((group, first));
        }
        for (group, first) in to_begin {
            let member = self.groups.entry(group).or_insert_with(|| {
                let member = Group::new(&self.config, group, Recovered::default(), self.ticks);
                member.expect("an empty log is one of this build")
            });
            if let Some(first) = first.filter(|_| !member.raft.has_begun()) {
                member.raft.begin(first);
            }
        }
        self.share_space();
    }

    /// Whether an administrator's wish is for nodes and groups that there are, as the controller's leader knows. Its log decides all
    /// else. Who follows refuses in any case, and says who leads.
    pub(super) fn check_places(&self, change: &AdminChange) -> Result<(), Reply> {
        let unfit = |words: String| Err(Reply::Refused(RefusalReason::Unfit(words)));
        let controller = &self.groups[&CONTROLLER];
        if controller.raft.status().role != Role::Leader {
            return Ok(());
        }
        if !controller.leads() {
            return Err(Reply::Refused(RefusalReason::Busy)); // it has not applied yet what others were promised
        }
        match change {
            AdminChange::Join(groups) => match groups.keys().find(|group| !self.groups.contains_key(group)) {
                Some(group) => unfit(format!("there never was a {group}")),
                None => Ok(()),
            },
            AdminChange::Create { groups, .. } => {
                let known = controller.raft.membership();
                let is_known = |node: &&NodeId| known.addresses().contains_key(node);
                let mut named = groups.values().flat_map(|members| members.keys());
                match named.find(|node| !is_known(node)) {
                    Some(node) => unfit(format!("{node} is no member of the cluster")),
                    None => Ok(()),
                }
            }
            AdminChange::Leave(_) | AdminChange::Move { .. } | AdminChange::CancelMove { .. } => Ok(()),
        }
    }
}
