//! A Raft member that knows whether anything was done to it since it last had nothing to say. Of the groups of a node most
//! are quiet in most turns: those are not asked.

use std::ops::{Deref, DerefMut};

use crate::raft::{Raft, Ready};

/// A member.
///
/// Invariant: while `touched` is false, [`Raft::ready`] would say nothing. It did when it was last asked, and nobody has had a
/// way to change it since: who takes it as `&mut` touches it.
#[derive(Debug)]
pub(super) struct Watched {
    raft: Raft,
    touched: bool,
}

impl Watched {
    /// One that was not asked yet.
    pub(super) fn new(raft: Raft) -> Watched {
        Watched { raft, touched: true }
    }

    /// [`Raft::ready`], asked only when there may be something.
    pub(super) fn ready(&mut self) -> Option<Ready> {
        if !self.touched {
            return None;
        }
        let ready = self.raft.ready();
        self.touched = ready.is_some();
        ready
    }
}

impl Deref for Watched {
    type Target = Raft;

    fn deref(&self) -> &Raft {
        &self.raft
    }
}

impl DerefMut for Watched {
    fn deref_mut(&mut self) -> &mut Raft {
        self.touched = true;
        &mut self.raft
    }
}
