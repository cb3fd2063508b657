//! Clients that wait for an answer: to an entry, by index **and term**, or to a read, by token.
//!
//! An entry alone is named by index and term: at the same index another entry may be committed in the end, and its
//! result is no answer to whoever proposed this one.

use std::collections::BTreeMap;

use ordeal_client::wire::GroupId;

use super::io::ClientKey;
use crate::raft::{Index, LogId, Term};

/// Requests that may wait on one node: beyond it answers are `Busy`. At a commit in 10 ms, 10,000 waiting are a million
/// requests a second, far more than one loop serves.
pub const WAITING_MAX: usize = 10_000;

/// Requests of one connection that may wait: a tenth of all, so that no client shuts out the others by itself.
pub const CLIENT_WAITING_MAX: usize = 1_000;

/// Whom to answer, and what about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waiter {
    pub(super) client: ClientKey,
    /// The client's id of the request.
    pub(super) request: u64,
    pub(super) awaited: Awaited,
}

/// What a client waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Awaited {
    /// That this entry is applied.
    Entry { group: GroupId, id: LogId },
    /// That this key may be read.
    Read { key: Vec<u8> },
    /// That the configuration of this number, or the newest, may be read.
    Configuration { number: Option<u64> },
    /// A newer configuration.
    News,
    /// Changes of keys.
    Changes,
    /// The new owner of a shard that is handed over.
    Owner,
}

/// All that wait on this node.
///
/// Invariants
/// * `by_client` counts the tokens of each client in `all`; no client is listed without one
/// * `by_entry` holds exactly the tokens of `all` that await an entry
#[derive(Debug, Default)]
pub(super) struct Waiters {
    all: BTreeMap<u64, Waiter>,
    by_client: BTreeMap<ClientKey, usize>,
    by_entry: BTreeMap<(GroupId, Index, Term), u64>,
    tokens: u64,
}

impl Waiters {
    /// Whether one more of this client may wait.
    pub(super) fn has_room(&self, client: ClientKey) -> bool {
        let of_client = self.by_client.get(&client).copied().unwrap_or(0);
        self.all.len() < WAITING_MAX && of_client < CLIENT_WAITING_MAX
    }

    /// Adds one, for which there must be room; the token names it.
    pub(super) fn add(&mut self, waiter: Waiter) -> u64 {
        assert!(self.has_room(waiter.client), "room is asked for before a request is taken");
        self.tokens += 1;
        let token = self.tokens;
        if let Awaited::Entry { group, id } = waiter.awaited {
            let other = self.by_entry.insert((group, id.index, id.term), token);
            assert!(other.is_none(), "entry {id} of {group} was proposed once");
        }
        *self.by_client.entry(waiter.client).or_default() += 1;
        self.all.insert(token, waiter);
        token
    }

    /// Removes one; it may be gone already, with its client.
    pub(super) fn take(&mut self, token: u64) -> Option<Waiter> {
        let waiter = self.all.remove(&token)?;
        let of_client = self.by_client.get_mut(&waiter.client).expect("a waiter is listed under its client");
        *of_client -= 1;
        if *of_client == 0 {
            self.by_client.remove(&waiter.client);
        }
        if let Awaited::Entry { group, id } = waiter.awaited {
            self.by_entry.remove(&(group, id.index, id.term));
        }
        Some(waiter)
    }

    /// Whether this one is there.
    pub(super) fn is_waiting(&self, token: u64) -> bool {
        self.all.contains_key(&token)
    }

    /// Removes those of a client that is gone.
    pub(super) fn client_gone(&mut self, client: ClientKey) {
        if !self.by_client.contains_key(&client) {
            return;
        }
        // A walk through all that wait, when one goes; so nothing is to be kept in order for it at every request.
        let of_client = self.all.iter().filter(|(_, waiter)| waiter.client == client);
        for token in of_client.map(|(&token, _)| token).collect::<Vec<_>>() {
            self.take(token);
        }
    }

    /// Removes those that await an entry of the group at or below `index`: all that can be told about them is known once
    /// that index is applied.
    pub(super) fn take_upto(&mut self, group: GroupId, index: Index) -> Vec<Waiter> {
        self.take_entries(group, index, |_, _| true)
    }

    /// Removes those that await an entry that was proposed before `term`, or in it when the node does not lead it (any
    /// more): whether those entries will be committed is out of this node's hands.
    pub(super) fn take_outdated(&mut self, group: GroupId, term: Term, leads: bool) -> Vec<Waiter> {
        self.take_entries(group, Index::MAX, |_, of| of < term || (of == term && !leads))
    }

    fn take_entries(
        &mut self,
        group: GroupId,
        upto: Index,
        which: impl Fn(Index, Term) -> bool,
    ) -> Vec<Waiter> {
        let of_group = self.by_entry.range((group, 0, 0)..=(group, upto, Term::MAX));
        let chosen: Vec<u64> =
            of_group.filter(|((_, at, of), _)| which(*at, *of)).map(|(_, &token)| token).collect();
        chosen.into_iter().filter_map(|token| self.take(token)).collect()
    }
}
