//! What happened so far, as far as a property or a bound asks for it. A part of the state: two states are the same only
//! when the same was decided in them.

use std::collections::BTreeMap;

use ordeal_client::wire::NodeId;
use ordeal_node::raft::{Entry, Index, Role, Term};

use crate::member::Member;
use crate::register::Register;

/// What the search remembers.
#[derive(Debug, Clone, Default)]
pub struct Past {
    /// Who led each term.
    pub leaders: BTreeMap<Term, NodeId>,
    /// What anybody ever knew to be committed, and the term of the one who knew it first.
    pub committed: BTreeMap<Index, (Entry, Term)>,
    pub campaigns: u8,
    pub commands: u8,
    pub crashes: u8,
    pub beats: u8,
    pub repeats: u8,
    pub waits: u8,
    /// Disks that lost an entry, and requests for it.
    pub rots: u8,
    pub asks: u8,
    /// Whether a crash took a write that was under way.
    pub lost_writes: bool,
    /// What clients saw, in worlds that have any.
    pub register: Option<Register>,
    pub broken: Option<Broken>,
}

/// What can be seen only in the moment in which it happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// A second leader in one term.
    ElectionSafety,
    /// Another entry where one is committed or applied already.
    StateMachineSafety,
    /// A read that no register would have answered so.
    Linearizability,
    /// A member, or its disk, found itself wrong.
    Assertion(String),
    /// An acknowledgement of what the disk has lost.
    Promise,
}

impl Past {
    /// A member did something; `before` was its commit index.
    pub fn note(&mut self, member: &Member, before: Index) {
        let status = member.status();
        if status.role == Role::Leader && *self.leaders.entry(status.term).or_insert(member.id) != member.id {
            self.broken = Some(Broken::ElectionSafety);
        }
        let news = (before + 1..=status.commit).filter_map(|index| member.view.entry(index));
        for entry in news {
            let known = self.committed.entry(entry.id.index).or_insert((entry.clone(), status.term));
            if known.0 != *entry {
                self.broken = Some(Broken::StateMachineSafety);
            }
        }
        let other = |entry: &Entry| self.committed.get(&entry.id.index).is_none_or(|known| known.0 != *entry);
        if member.applied.iter().any(other) {
            self.broken = Some(Broken::StateMachineSafety);
        }
        if self.register.as_mut().is_some_and(|register| !register.note(member)) {
            self.broken = Some(Broken::Linearizability);
        }
    }
}
