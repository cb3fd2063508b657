//! Who owns which shard. The controller, group 0, decides it in numbered configurations: the number grows by one with every
//! change, and what a number means never changes.
//!
//! A shard has an owner at any time, and an epoch, which grows by one each time that the owner changes. It changes at the
//! end of a move: of each shard one at most is open.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::ids::{CommandId, DirectoryId, GroupId, MoveId, NodeId, ShardId};

/// Shards of a cluster: a configuration and each greeting list the owner of all of them, in a few bytes each.
pub const SHARDS_MAX: u32 = 4_096;
/// Data groups of a cluster, those that are leaving among them: each costs every node a heartbeat and a file.
pub const GROUPS_MAX: u32 = 64;
/// Members of a group, learners included: a majority of more than 9 is slow, and makes nothing safer.
pub const MEMBERS_MAX: usize = 15;
/// The longest address: a name of 253 bytes, a colon, a port.
pub const ADDRESS_BYTES_MAX: usize = 253 + 1 + 5;

/// Number of the first configuration.
pub const NUMBER_FIRST: u64 = 1;
/// Epoch of a shard that has never moved.
pub const EPOCH_FIRST: u64 = 1;

/// The members of a group, with their addresses as `IP:PORT`.
pub type Members = BTreeMap<NodeId, String>;

/// Who owns which shard, at one number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// From [`NUMBER_FIRST`], without a gap.
    pub number: u64,
    /// What made it.
    pub cause: Cause,
    /// The data groups.
    pub groups: BTreeMap<GroupId, GroupInfo>,
    /// The owner of each shard, by its number. All of them are among the groups.
    pub owners: Vec<Owner>,
    /// The moves that are open.
    pub moves: BTreeMap<ShardId, Move>,
}

impl Configuration {
    /// Who owns a shard; `None` where there is no such shard.
    #[must_use]
    pub fn owner(&self, shard: ShardId) -> Option<Owner> {
        self.owners.get(shard.0 as usize).copied()
    }

    /// The shards with their owners, by ascending number.
    pub fn shards(&self) -> impl Iterator<Item = (ShardId, Owner)> + '_ {
        (0..).map(ShardId).zip(self.owners.iter().copied())
    }
}

/// A data group, as the controller knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupInfo {
    /// Its members: those that it joined with, then those that its own log names.
    pub members: Members,
    /// Index in its own log of the entry that made these its members; 0: as it joined.
    pub at: u64,
    /// Whether it is to own nothing any more. It stays until it does, and no move of it is open.
    pub leaving: bool,
}

/// The owner of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The group.
    pub group: GroupId,
    /// How often the shard has changed its owner, from [`EPOCH_FIRST`].
    pub epoch: u64,
}

impl Owner {
    /// The one of the later epoch: of one epoch there is one owner.
    #[must_use]
    pub fn max_epoch(self, other: Owner) -> Owner {
        if other.epoch > self.epoch { other } else { self }
    }
}

/// A move of a shard, under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// Its name, which no other move ever has.
    pub id: MoveId,
    /// The owner until it ends.
    pub from: GroupId,
    /// The owner when it ends well.
    pub to: GroupId,
    /// Epoch of the shard until it ends; then, if it ends well, the next.
    pub epoch: u64,
    /// The shard is wanted elsewhere by now: `from` cancels the move if it still can.
    pub unwanted: bool,
}

/// How a move ended. The log of the group that was to have the shard has decided it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MoveEnd {
    /// The shard has the new owner.
    Adopted,
    /// It has the old one, and the move is dead for ever.
    Cancelled,
}

/// What made a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// The cluster was created.
    Created,
    /// An administrator asked for it.
    Asked {
        /// Under this id.
        command: CommandId,
        /// For this.
        change: AdminChange,
    },
    /// A group said who its members are.
    Members {
        /// The group.
        group: GroupId,
        /// [`GroupInfo::at`].
        at: u64,
    },
    /// A move ended.
    MoveEnded {
        /// Of this shard.
        shard: ShardId,
        /// Which.
        id: MoveId,
        /// How.
        end: MoveEnd,
    },
}

/// What an administrator may ask of the controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdminChange {
    /// These groups come, or come back while they are leaving, and get their share of the shards.
    Join(BTreeMap<GroupId, Members>),
    /// These groups go, as soon as others have their shards.
    Leave(BTreeSet<GroupId>),
    /// This shard is to be owned by that group, until the next join or leave shares the shards out anew.
    Move {
        /// The shard.
        shard: ShardId,
        /// The group.
        to: GroupId,
    },
    /// This shard, of which a move is open, is to stay where it is. Has the other group adopted it by then, it moves back.
    CancelMove {
        /// The shard.
        shard: ShardId,
    },
    /// These groups, which were never there, are made on these nodes, and get their share of the shards.
    Create {
        /// With their first members.
        groups: BTreeMap<GroupId, Members>,
        /// The data directory of each of these nodes: no other directory begins the group under that node's name.
        directories: BTreeMap<NodeId, DirectoryId>,
    },
}

/// What came of a command to the controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decision {
    /// Done, now or under the same id before: the configuration that it made.
    Done {
        /// Its number.
        number: u64,
    },
    /// Nothing was changed: an administrator's change is newer than the number that this one was based on.
    Conflict {
        /// The newest number.
        current: u64,
    },
    /// Nothing was changed: the reason.
    Refused(Objection),
}

/// Why the controller does not do what it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Objection {
    /// A join or leave of nobody.
    #[error("no group is named")]
    NoGroup,
    /// Group 0 owns no shards.
    #[error("g0 is the controller's own group, data groups are numbered from g1 on")]
    Controller,
    /// Joins, and is there.
    #[error("{group} has joined already")]
    GroupThere {
        /// Who.
        group: GroupId,
    },
    /// Is to be made, and was there before: its members still have its log.
    #[error("{group} was there before, and comes back as it was: join {group}")]
    GroupWasThere {
        /// Who.
        group: GroupId,
    },
    /// Is not there.
    #[error("there is no {group}")]
    GroupUnknown {
        /// Who.
        group: GroupId,
    },
    /// Is about to go.
    #[error("{group} is leaving")]
    GroupLeaving {
        /// Who.
        group: GroupId,
    },
    /// Nobody would be left to own the shards.
    #[error("no group would be left to own the shards")]
    LastGroup,
    /// More than [`GROUPS_MAX`]. Who makes one counts those that are gone, too: their members keep their logs.
    #[error("more than {limit} groups")]
    TooManyGroups {
        /// [`GROUPS_MAX`].
        limit: u32,
    },
    /// A group without members, with too many, or with one that is numbered 0.
    #[error("{group} has {members} members, expected 1 to {limit}, numbered from n1 on")]
    Members {
        /// The group.
        group: GroupId,
        /// How many.
        members: u64,
        /// [`MEMBERS_MAX`].
        limit: u64,
    },
    /// An address that is empty or too long.
    #[error("the address of {node} in {group} has {bytes} bytes, expected 1 to {limit}")]
    Address {
        /// The group.
        group: GroupId,
        /// Its member.
        node: NodeId,
        /// Its length.
        bytes: u64,
        /// [`ADDRESS_BYTES_MAX`].
        limit: u64,
    },
    /// A member of a group that is to be made without a data directory, or a directory of somebody else.
    #[error("data directories are named for other nodes than the members of the groups")]
    Directories,
    /// A node would be in two places.
    #[error("{node} is at {address} for {group}, and at {elsewhere} for {other}")]
    TwoAddresses {
        /// The node.
        node: NodeId,
        /// A group that joins.
        group: GroupId,
        /// What it says.
        address: String,
        /// Another group.
        other: GroupId,
        /// What that one says.
        elsewhere: String,
    },
    /// There are fewer shards.
    #[error("there is no {shard}, the last one is s{}", shards - 1)]
    ShardUnknown {
        /// The shard.
        shard: ShardId,
        /// How many there are.
        shards: u32,
    },
    /// No move of the shard is open: it has ended, or never began.
    #[error("no move of {shard} is under way")]
    NotMoving {
        /// The shard.
        shard: ShardId,
    },
    /// The id of another command, which was done.
    #[error("configuration {number} was made by another command with the same id")]
    IdTaken {
        /// What the other one made.
        number: u64,
    },
    /// The configurations that are kept for ever fill the space that there is for them.
    #[error("the configurations fill their {limit} bytes: no more changes")]
    HistoryFull {
        /// The limit.
        limit: u64,
    },
    /// The shard never had such a move.
    #[error("{shard} never had a move {id}")]
    MoveUnknown {
        /// The shard.
        shard: ShardId,
        /// The move.
        id: MoveId,
    },
    /// A move that ended otherwise than is said now.
    #[error("move {id} has ended otherwise, in configuration {number}")]
    MoveEndedOtherwise {
        /// The move.
        id: MoveId,
        /// When.
        number: u64,
    },
    /// Newer members of the group are known.
    #[error("members of {group} at {at} are known")]
    MembersOutdated {
        /// The group.
        group: GroupId,
        /// [`GroupInfo::at`].
        at: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::super::{decode, encode};
    use super::*;

    #[test]
    fn a_configuration_comes_back_equal_and_knows_its_owners() {
        let group = GroupInfo { members: [(NodeId(1), "a:1".to_owned())].into(), at: 3, leaving: true };
        let owner = |group, epoch| Owner { group: GroupId(group), epoch };
        let open = Move { id: MoveId(7), from: GroupId(2), to: GroupId(1), epoch: 4, unwanted: false };
        let configuration = Configuration {
            number: 9,
            cause: Cause::MoveEnded { shard: ShardId(0), id: MoveId(6), end: MoveEnd::Adopted },
            groups: [(GroupId(1), group)].into(),
            owners: vec![owner(1, 2), owner(2, 4)],
            moves: [(ShardId(1), open)].into(),
        };
        assert_eq!(decode(&encode(&configuration)).as_ref(), Ok(&configuration));
        assert_eq!(configuration.owner(ShardId(1)), Some(owner(2, 4)));
        assert_eq!(configuration.owner(ShardId(2)), None);
        assert!(configuration.shards().eq([(ShardId(0), owner(1, 2)), (ShardId(1), owner(2, 4))]));
    }

    #[test]
    fn objections_name_what_they_are_about() {
        let far = Objection::ShardUnknown { shard: ShardId(64), shards: 64 };
        assert_eq!(far.to_string(), "there is no s64, the last one is s63");
        let (node, group, other) = (NodeId(1), GroupId(2), GroupId(3));
        let (address, elsewhere) = ("a:1".to_owned(), "b:1".to_owned());
        let two = Objection::TwoAddresses { node, group, address, other, elsewhere };
        assert_eq!(two.to_string(), "n1 is at a:1 for g2, and at b:1 for g3");
    }
}
