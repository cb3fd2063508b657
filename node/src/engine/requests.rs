//! What clients ask for: checked, and given to the group that it concerns. `Err` holds an answer that can be given at once.

use std::sync::Arc;

use ordeal_client::wire::txn::Txn;
use ordeal_client::wire::{
    AdminChange, CommandId, GroupId, KEY_BYTES_MAX, Owner, ReadLevel, RefusalReason, Reply, Request,
    RequestBody, ShardId, VALUE_BYTES_MAX, shard_of,
};

use super::config::CONTROLLER;
use super::io::ClientKey;
use super::node::Engine;
use super::waiters::{Awaited, Waiter};
use crate::controller;
use crate::kv::{Claim, Op};
use crate::raft::{ProposeError, Raft};
use crate::shard::Command;

impl Engine {
    pub(super) fn request(&mut self, from: ClientKey, request: Request) {
        let Request { id, epoch, body } = request;
        let shard = self.shard_of(&body);
        let reply = match body {
            RequestBody::Status => panic!("a status is answered by the server, which knows the clock"),
            RequestBody::OpenSession { shard } => self.open_session(from, id, shard),
            RequestBody::Read { key, level } => self.read(from, id, key, level),
            RequestBody::Write { session, sequence, settled, key, op } => {
                let claim = Claim { session, sequence, settled };
                self.write(from, id, claim, &key, Op::from(&op))
            }
            RequestBody::ChangeMembers { group, change } => Err(self.change_members(group, change)),
            RequestBody::Transfer { group, to } => Err(self.transfer(group, to)),
            RequestBody::Configuration { number } => self.query(from, id, number),
            RequestBody::Watch { after } => self.watch(from, id, after),
            RequestBody::Changes { shard, of, behind } => self.watch_changes(from, id, shard, of, behind),
            RequestBody::Admin { id: command, base, change } => self.admin(from, id, command, base, change),
        };
        match (reply, shard) {
            (Ok(()), _) => {}
            // Who knows of an older owner only is told which one is newer, wherever that leads.
            (Err(Reply::Refused(RefusalReason::NotLeader { .. })), Some(shard))
                if self.owner(shard).epoch > epoch && epoch > 0 =>
            {
                let Owner { group, epoch } = self.owner(shard);
                self.reply(from, id, Reply::Refused(RefusalReason::Moved { shard, epoch, group }));
            }
            (Err(reply), _) => self.reply(from, id, reply),
        }
    }

    /// The shard that a request concerns, if it is one that there is.
    fn shard_of(&self, body: &RequestBody) -> Option<ShardId> {
        match body {
            RequestBody::OpenSession { shard } | RequestBody::Changes { shard, .. } => {
                Some(*shard).filter(|shard| shard.0 < self.config.shards)
            }
            RequestBody::Read { key, .. } | RequestBody::Write { key, .. } => {
                Some(shard_of(key, self.config.shards))
            }
            RequestBody::Status
            | RequestBody::ChangeMembers { .. }
            | RequestBody::Transfer { .. }
            | RequestBody::Configuration { .. }
            | RequestBody::Watch { .. }
            | RequestBody::Admin { .. } => None,
        }
    }

    fn open_session(&mut self, from: ClientKey, request: u64, shard: ShardId) -> Result<(), Reply> {
        if shard.0 >= self.config.shards {
            return Err(Reply::Refused(RefusalReason::WrongGroup { shard }));
        }
        self.propose(from, request, &Command::OpenSession { shard })
    }

    fn write(
        &mut self,
        from: ClientKey,
        request: u64,
        claim: Claim,
        key: &[u8],
        op: Op<'_>,
    ) -> Result<(), Reply> {
        check_length("key", key, KEY_BYTES_MAX)?;
        match op {
            Op::Put(value) | Op::Append(value) => check_length("value", value, VALUE_BYTES_MAX)?,
            Op::Delete => {}
            Op::Cas { expected, new } => {
                check_length("value", expected.unwrap_or_default(), VALUE_BYTES_MAX)?;
                check_length("value", new, VALUE_BYTES_MAX)?;
            }
            Op::Txn(bytes) => check_txn(bytes, key, self.config.shards)?,
        }
        let shard = shard_of(key, self.config.shards);
        let Claim { session, sequence, settled } = claim;
        self.propose(from, request, &Command::Write { shard, session, sequence, settled, key, op })
    }

    fn admin(
        &mut self,
        client: ClientKey,
        request: u64,
        id: CommandId,
        base: u64,
        change: AdminChange,
    ) -> Result<(), Reply> {
        self.check_places(&change)?;
        let command = controller::Command::Admin { id, base, change }.encode();
        // What is in the log must be applied everywhere: what nobody could read never gets there.
        controller::Command::decode(&command)
            .map_err(|error| Reply::Refused(RefusalReason::Unfit(error.to_string())))?;
        self.propose_to(CONTROLLER, client, request, command)
    }

    fn propose(&mut self, client: ClientKey, request: u64, command: &Command<'_>) -> Result<(), Reply> {
        let group = self.serving(command.shard());
        self.propose_to(group, client, request, command.encode())
    }

    fn propose_to(
        &mut self,
        group: GroupId,
        client: ClientKey,
        request: u64,
        command: Arc<[u8]>,
    ) -> Result<(), Reply> {
        if !self.waiters.has_room(client) {
            return Err(Reply::Refused(RefusalReason::Busy));
        }
        if let Some(refusal) = self.groups.get(&group).and_then(|group| self.refusal_when_full(&group.raft)) {
            return Err(refusal);
        }
        let member = self.groups.get_mut(&group).ok_or_else(|| self.moves.elsewhere(group))?;
        match member.raft.propose(command) {
            Ok(id) => {
                self.waiters.add(Waiter { client, request, awaited: Awaited::Entry { group, id } });
                Ok(())
            }
            Err(error) => Err(self.not_proposed(group, error)),
        }
    }

    fn read(&mut self, client: ClientKey, request: u64, key: Vec<u8>, level: ReadLevel) -> Result<(), Reply> {
        check_length("key", &key, KEY_BYTES_MAX)?;
        let group = self.serving(shard_of(&key, self.config.shards));
        let ask: fn(&mut Raft, u64) -> Result<(), ProposeError> = match level {
            ReadLevel::Stale => return Err(self.read_stale(group, &key)),
            ReadLevel::Linearizable => Raft::read,
            ReadLevel::Follower => Raft::read_here,
        };
        self.ask(group, ask, Waiter { client, request, awaited: Awaited::Read { key } })
    }

    fn read_stale(&self, group: GroupId, key: &[u8]) -> Reply {
        let here = self.groups.get(&group).filter(|group| !group.raft.membership().is_empty());
        match here.and_then(|group| group.state.data()) {
            Some(machine) => machine.read(key),
            None => self.moves.elsewhere(group),
        }
    }

    fn query(&mut self, client: ClientKey, request: u64, number: Option<u64>) -> Result<(), Reply> {
        let awaited = Awaited::Configuration { number };
        self.ask(CONTROLLER, Raft::read_here, Waiter { client, request, awaited })
    }

    fn ask(
        &mut self,
        group: GroupId,
        ask: fn(&mut Raft, u64) -> Result<(), ProposeError>,
        waiter: Waiter,
    ) -> Result<(), Reply> {
        if !self.waiters.has_room(waiter.client) {
            return Err(Reply::Refused(RefusalReason::Busy));
        }
        let member = self.groups.get_mut(&group).ok_or_else(|| self.moves.elsewhere(group))?;
        let token = self.waiters.add(waiter);
        ask(&mut member.raft, token).map_err(|error| {
            self.waiters.take(token);
            self.not_proposed(group, error)
        })
    }

    /// Why a group takes nothing here.
    fn not_proposed(&self, group: GroupId, error: ProposeError) -> Reply {
        match error {
            ProposeError::Busy => Reply::Refused(RefusalReason::Busy),
            ProposeError::NotLeader { leader } => {
                let member = &self.groups[&group];
                if member.raft.membership().is_empty() {
                    self.moves.elsewhere(group)
                } else {
                    member.not_leader(&self.config, leader)
                }
            }
        }
    }
}

/// Whether these are a transaction of one shard, whose first key this is: what is applied must be right.
fn check_txn(bytes: &[u8], key: &[u8], shards: u32) -> Result<(), Reply> {
    let unfit = |words: String| Reply::Refused(RefusalReason::Unfit(words));
    let txn = Txn::from_bytes(bytes).map_err(|error| unfit(error.to_string()))?;
    txn.shard(shards).map_err(|error| unfit(error.to_string()))?;
    let is_first = txn.keys().next() == Some(key);
    if is_first { Ok(()) } else { Err(unfit("the key of a transaction is its first".to_owned())) }
}

pub(super) fn check_length(what: &str, bytes: &[u8], limit: usize) -> Result<(), Reply> {
    if bytes.len() <= limit {
        return Ok(());
    }
    let (what, bytes, limit) = (what.to_owned(), bytes.len() as u64, limit as u64);
    Err(Reply::Refused(RefusalReason::TooLong { what, bytes, limit }))
}
