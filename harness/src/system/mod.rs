//! What is tested, behind one small trait: how to start a node, how to tell that it is ready, how to ask it something.
//! Our own cluster is [`ordeal::OrdealSystem`]; other systems can follow.

mod flood;
pub mod ordeal;
mod shards;
mod txns;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ordeal_client::wire::{AdminChange, CommandId, Configuration, Decision, MoveStage, NodeId, ReadLevel};
use ordeal_history::{Call, Outcome};

pub use ordeal::{OrdealOptions, OrdealSystem};

/// A system under test.
pub trait System: Send + Sync {
    /// Its name and version, for reports.
    fn name(&self) -> String;

    /// The command that starts a node in the foreground. The lab adds where it runs; stdout and stderr are the cluster's.
    fn command(&self, place: &Place) -> Command;

    /// The address that a node listens on, if this line of its stdout says that it does.
    fn ready(&self, line: &str) -> Option<SocketAddr>;

    /// A client for one thread.
    fn client(&self, setup: ClientSetup) -> anyhow::Result<Box<dyn SystemClient>>;

    /// What a node says of itself, for choosing victims by role and for reports. `None` when it does not answer in time.
    fn view(&self, address: SocketAddr, timeout: Duration) -> Option<NodeView>;

    /// The command that tells the end of a node's log, also of one that runs; `None` where there is none of the kind.
    fn inspect(&self, _data: &Path) -> Option<Command> {
        None
    }

    /// So many clients that together can have many writes under way; `None` where there are none of the kind.
    ///
    /// # Errors
    /// When they cannot be made.
    fn flood(&self, _setup: &ClientSetup, _clients: usize) -> anyhow::Result<Option<Box<dyn Flood>>> {
        Ok(None)
    }

    /// Somebody who may ask who owns which shard, and change it.
    ///
    /// # Errors
    /// When there is nobody of the kind.
    fn administrator(&self, _setup: &ClientSetup) -> anyhow::Result<Box<dyn Administrator>> {
        anyhow::bail!("{} has no administrators", self.name())
    }

    /// How who belongs to it and who leads is changed, where that can be done at all.
    fn steward(&self) -> Option<&dyn Steward> {
        None
    }
}

/// Many writes under way at once.
pub trait Flood: Send {
    /// Each client asks for so many writes of its own key at once, in one session; nobody waits longer than this. How many
    /// were acknowledged. The others go on being asked for while this lives.
    ///
    /// # Errors
    /// When that is more than a client takes, or the harness has no sockets left.
    fn pour(&mut self, writes: usize, time: Duration) -> anyhow::Result<usize>;
}

/// Asks the controller. Whoever gets no answer may ask again: for one id everything is done once.
pub trait Administrator: Send {
    /// The configuration of this number, or the newest one.
    ///
    /// # Errors
    /// In words: there is none of this number, or no answer.
    fn configuration(&mut self, number: Option<u64>) -> Result<Configuration, String>;

    /// A configuration after this one, as soon as there is one; the newest after a second.
    ///
    /// # Errors
    /// No answer, in words.
    fn watch(&mut self, after: u64) -> Result<Configuration, String>;

    /// Changes who is to own which shard, if nobody has since `base`.
    ///
    /// # Errors
    /// No answer, in words: it may have been done.
    fn reshape(&mut self, id: CommandId, base: u64, change: &AdminChange) -> Result<Decision, String>;
}

/// Changes that the system itself carries out, by a majority's agreement. Each may be asked for again: what is asked for is
/// a state, not an event.
pub trait Steward: Send + Sync {
    /// Makes a node a voter of a group, and waits until it is one.
    ///
    /// # Errors
    /// Why it is not; it may become one later.
    fn add(&self, contact: &Contact, group: u32, node: NodeId, address: &str) -> Result<(), String>;

    /// Removes a node from a group, and waits until it is no member.
    ///
    /// # Errors
    /// Why it still is one; it may be removed later.
    fn remove(&self, contact: &Contact, group: u32, node: NodeId) -> Result<(), String>;

    /// Hands the leadership of a group over, and waits until the heir says that it leads.
    ///
    /// # Errors
    /// Why it does not; it may later.
    fn transfer(&self, contact: &Contact, group: u32, to: NodeId) -> Result<(), String>;

    /// Has a shard owned by a group so many groups on from where it is, and waits until it is there. Gives the proof.
    ///
    /// # Errors
    /// Why it is not; it may be later.
    fn move_shard(&self, contact: &Contact, shard: u32, steps: u32) -> Result<String, String>;

    /// Has a shard go to a group so many groups on from where it is, and does not wait. One that is on its way already is no mistake.
    ///
    /// # Errors
    /// Why it does not go; it may be asked for again.
    fn open_move(&self, contact: &Contact, shard: u32, steps: u32) -> Result<Moving, String>;

    /// Waits until a shard is on its way no more, wherever it ended. Gives the proof.
    ///
    /// # Errors
    /// As [`Steward::move_shard`].
    fn settle(&self, contact: &Contact, shard: u32) -> Result<String, String>;

    /// Has a group own nothing, and waits until it does not. Gives the proof.
    ///
    /// # Errors
    /// As [`Steward::move_shard`].
    fn leave(&self, contact: &Contact, group: u32) -> Result<String, String>;

    /// Has a group own its share, and waits until it does. Gives the proof.
    ///
    /// # Errors
    /// As [`Steward::move_shard`].
    fn join(&self, contact: &Contact, group: u32) -> Result<String, String>;
}

/// A shard on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moving {
    /// The shard.
    pub shard: u32,
    /// The group that gives it away.
    pub from: u32,
    /// The group that is to have it.
    pub to: u32,
}

/// How a system is reached for a change.
#[derive(Debug, Clone)]
pub struct Contact {
    /// Addresses of its nodes, all that there may be.
    pub members: BTreeMap<NodeId, String>,
    /// How long a change may take.
    pub deadline: Duration,
}

/// Where a node runs.
#[derive(Debug, Clone)]
pub struct Place {
    /// The node.
    pub node: NodeId,
    /// Its data directory; exists.
    pub dir: PathBuf,
    /// What it must listen on, as `ip:port`; port 0 where it may choose.
    pub listen: String,
    /// Addresses under which clients and other nodes know the nodes, this one among them.
    pub members: BTreeMap<NodeId, String>,
    /// Whether it joins a cluster that there is already: it begins empty, and as a member of nothing.
    pub joins: bool,
    /// Addresses that this node must dial instead, to reach other nodes.
    pub dial: BTreeMap<NodeId, String>,
}

/// What a client is told.
#[derive(Debug, Clone)]
pub struct ClientSetup {
    /// Where it begins: addresses of some nodes, or of all.
    pub members: BTreeMap<NodeId, String>,
    /// Where it dials each node, in the place of any other address that it learns.
    pub dial: BTreeMap<NodeId, String>,
    /// How fresh its reads must be.
    pub read_level: ReadLevel,
    /// Whom it asks first, and for stale reads always.
    pub prefer: NodeId,
    /// Seed of its jitter.
    pub seed: u64,
    /// How long one operation may take before its outcome counts as unknown.
    pub deadline: Duration,
}

/// A client of one thread.
pub trait SystemClient: Send {
    /// Performs one operation: its outcome, and the node that answered.
    fn call(&mut self, key: &str, call: &Call) -> (Outcome, Option<NodeId>);
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// The node.
    pub node: NodeId,
    /// Its groups. Number 0 is one that holds no data: a controller.
    pub groups: Vec<GroupView>,
}

impl GroupView {
    /// Whether this node belongs to the group, as far as it knows: else its member waits, empty.
    #[must_use]
    pub fn is_of(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.learners.contains(&node)
    }
}

impl NodeView {
    /// Its groups that hold data.
    pub fn data(&self) -> impl Iterator<Item = &GroupView> {
        self.groups.iter().filter(|group| group.group > 0)
    }
}

/// What a node says of one of its groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupView {
    /// Number of the group.
    pub group: u32,
    /// Current term.
    pub term: u64,
    /// Whether this node leads.
    pub leads: bool,
    /// Who votes, as this node knows it; those whose votes count no more as soon as a change is over are among them.
    pub voters: BTreeSet<NodeId>,
    /// Whether who votes is being changed just now.
    pub changing: bool,
    /// Who belongs to it without a vote.
    pub learners: BTreeSet<NodeId>,
    /// Last index of its log.
    pub last: u64,
    /// Highest index applied.
    pub applied: u64,
    /// Checksum of the state at `applied`.
    pub digest: u64,
    /// Bytes of the commands in its log.
    pub log_bytes: u64,
    /// Index of its newest snapshot; 0: none.
    pub snapshot: u64,
    /// Length of that snapshot.
    pub snapshot_bytes: u64,
    /// Shards that it owns.
    pub shards: u64,
    /// Keys in its state.
    pub keys: u64,
    /// Shards on their way, as its log says.
    pub moves: BTreeMap<u32, MoveStage>,
}

/// Who leads each group, and in which term, as the nodes see it: of several the one with the highest term.
#[must_use]
pub fn leaders(views: &BTreeMap<NodeId, NodeView>) -> BTreeMap<u32, (u64, NodeId)> {
    let mut leaders: BTreeMap<u32, (u64, NodeId)> = BTreeMap::new();
    for view in views.values() {
        for group in view.groups.iter().filter(|group| group.leads) {
            let newest = leaders.entry(group.group).or_insert((group.term, view.node));
            *newest = (*newest).max((group.term, view.node));
        }
    }
    leaders
}
