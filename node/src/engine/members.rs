//! Who belongs to this node's groups and where they are: what the server links to, and what clients are told. How that
//! changes on request, and leadership handed over.
//!
//! Groups change one by one, so that for a while their members differ: what counts here is all of them together.

use std::collections::BTreeMap;
use std::sync::Arc;

use ordeal_client::wire::{GroupId, MemberChange, NodeId, RefusalReason, Reply};

use super::config::EngineConfig;
use super::group::Group;
use super::io::Output;
use super::node::Engine;
use crate::raft::{Change, ChangeError, Changing, Membership, TransferError};

/// All members of all groups, as last told.
#[derive(Debug)]
pub(super) struct Members {
    addresses: BTreeMap<NodeId, String>,
    /// The memberships that these are of, by ascending group.
    of: Vec<Arc<Membership>>,
}

impl Members {
    pub(super) fn of(config: &EngineConfig, groups: &BTreeMap<GroupId, Group>) -> Self {
        let of: Vec<_> = groups.values().map(|group| Arc::clone(group.raft.membership())).collect();
        let all = of.iter().flat_map(|membership| membership.addresses());
        let addresses = all.map(|(&node, logged)| (node, config.address(node, logged))).collect();
        Members { addresses, of }
    }

    /// Whether nothing has changed: asked after every turn, and so by looking whether they are the same values in memory.
    fn are_current(&self, groups: &BTreeMap<GroupId, Group>) -> bool {
        let mut pairs = self.of.iter().zip(groups.values());
        self.of.len() == groups.len()
            && pairs.all(|(known, group)| Arc::ptr_eq(known, group.raft.membership()))
    }
}

impl Engine {
    /// All members of this node's groups, with their addresses; empty for a node that has joined none yet.
    #[must_use]
    pub fn members(&self) -> &BTreeMap<NodeId, String> {
        &self.members.addresses
    }

    /// Whether leadership is on its way from here to another: not for longer than an election timeout.
    #[must_use]
    pub fn hands_over(&self) -> bool {
        self.groups.values().any(|group| group.raft.is_handing_over())
    }

    /// Says who the members are, if that is news. True if it was.
    pub(super) fn tell_members(&mut self) -> bool {
        if self.members.are_current(&self.groups) {
            return false;
        }
        let now = Members::of(&self.config, &self.groups);
        let news = now.addresses != self.members.addresses;
        self.members = now;
        if news {
            self.outputs.push_back(Output::Members(self.members.addresses.clone()));
        }
        news
    }

    /// Whatever is led here is handed over, to whoever is best prepared.
    pub(super) fn hand_over(&mut self) {
        for group in self.groups.values_mut() {
            // Who follows has nothing to hand over, and who has no heir keeps it to the end.
            let _not_mine = group.raft.transfer(None);
        }
    }

    pub(super) fn change_members(&mut self, group: GroupId, change: MemberChange) -> Reply {
        if let Some(refusal) = self.groups.get(&group).and_then(|group| self.refusal_when_full(&group.raft)) {
            return refusal;
        }
        let Some(member) = self.groups.get_mut(&group) else { return no_such(group) };
        let change = match change {
            MemberChange::Add { node, address } => Change::Add { node, address },
            MemberChange::AddLearner { node, address } => Change::AddLearner { node, address },
            MemberChange::Remove { node } => Change::Remove { node },
        };
        match member.raft.change_members(&change) {
            Ok(changing) => Reply::Members { done: changing == Changing::Done },
            Err(ChangeError::NotLeader { leader }) => member.not_leader(&self.config, leader),
            Err(ChangeError::Busy) => Reply::Refused(RefusalReason::MembersBusy),
            Err(ChangeError::Unfit(unfit)) => Reply::Refused(RefusalReason::Unfit(unfit.to_string())),
        }
    }

    pub(super) fn transfer(&mut self, group: GroupId, to: Option<NodeId>) -> Reply {
        let Some(member) = self.groups.get_mut(&group) else { return no_such(group) };
        match member.raft.transfer(to) {
            Ok(to) => Reply::Transferring { to },
            Err(TransferError::NotLeader { leader }) => member.not_leader(&self.config, leader),
            Err(error @ TransferError::NoHeir) => Reply::Refused(RefusalReason::Unfit(error.to_string())),
        }
    }
}

fn no_such(group: GroupId) -> Reply {
    Reply::Refused(RefusalReason::Unfit(format!("there is no group {group}")))
}
