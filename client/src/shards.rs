//! Who owns which shard, for administrators: asking, waiting for news, and changing it.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Client, status};
use crate::course::{Aim, Course, Stop};
use crate::error::ClientError;
use crate::wire::{
    AdminChange, CommandId, Configuration, Decision, GroupId, GroupStatus, Members, NodeId, NodeStatus,
    Reply, RequestBody, RoleName,
};

/// The group of the controller.
pub const CONTROLLER: GroupId = GroupId(0);

/// Time for one node to say how it is.
const STATUS_TIMEOUT: Duration = Duration::from_secs(1);

/// The members of a group, as whoever of these nodes knows most of it says. All members must answer: whoever gives them a share
/// of the shards relies on them.
///
/// # Errors
/// In words: who does not answer, or that nobody knows the group.
pub fn members_of(nodes: &[String], group: GroupId) -> Result<Members, String> {
    let answered = answers_of(nodes);
    let members = known_members(&answered, group);
    if members.is_empty() {
        return Err(format!("no node that answers has a member of {group}"));
    }
    match members.iter().find(|(node, _)| answered.iter().all(|status| status.node != **node)) {
        Some((node, address)) => Err(format!("{node} at {address}, a member of {group}, does not answer")),
        None => Ok(members),
    }
}

/// What makes these groups, which were never there, on these of the cluster's nodes. Each of them must answer: it says which data
/// directory it has, and no other directory begins the group under its name.
///
/// # Errors
/// In words: who is no member of the cluster, or does not answer.
pub fn creation(
    nodes: &[String],
    groups: &BTreeMap<GroupId, BTreeSet<NodeId>>,
) -> Result<AdminChange, String> {
    let answered = answers_of(nodes);
    let cluster = known_members(&answered, CONTROLLER);
    let mut made = BTreeMap::new();
    let mut directories = BTreeMap::new();
    for (&group, named) in groups {
        let members: &mut Members = made.entry(group).or_default();
        for &node in named {
            let address = cluster.get(&node).ok_or_else(|| format!("{node} is no member of the cluster"))?;
            let status = answered.iter().find(|status| status.node == node).ok_or_else(|| {
                format!("{node} at {address}, which is to be a member of {group}, does not answer")
            })?;
            directories.insert(node, status.directory);
            members.insert(node, address.clone());
        }
    }
    Ok(AdminChange::Create { groups: made, directories })
}

fn answers_of(nodes: &[String]) -> Vec<NodeStatus> {
    thread::scope(|scope| {
        let ask = |node: &String| {
            let node = node.clone();
            scope.spawn(move || status(&node, STATUS_TIMEOUT))
        };
        let threads: Vec<_> = nodes.iter().map(ask).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()?.ok()).collect()
    })
}

/// The members of a group, as whoever answered and knows most of it says; nobody where nobody has a member of it.
fn known_members(answered: &[NodeStatus], group: GroupId) -> Members {
    let of_group = answered.iter().flat_map(|node| &node.groups).filter(|of| of.group == group);
    let knows = |of: &&GroupStatus| (of.role == RoleName::Leader, of.term, of.commit);
    of_group.max_by_key(knows).map(|of| of.members.iter().cloned().collect()).unwrap_or_default()
}

impl Client {
    /// The configuration of this number, or the newest one. Linearizable.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when there is none of this number yet.
    pub fn configuration(&mut self, number: Option<u64>) -> Result<Configuration, ClientError> {
        self.ask_for_configuration(RequestBody::Configuration { number })
    }

    /// Waits for a configuration after this one: a second at most, then it is the newest one that is known, whatever its number.
    ///
    /// # Errors
    /// [`ClientError`] when nobody answers.
    pub fn watch(&mut self, after: u64) -> Result<Configuration, ClientError> {
        self.ask_for_configuration(RequestBody::Watch { after })
    }

    /// Changes who is to own which shard, if no administrator has changed it since `base`. Exactly once for one id. The moves that
    /// come of it are not waited for.
    ///
    /// # Errors
    /// [`ClientError::Unknown`] when it may have been done: asked again with the same id, it is told.
    pub fn reshape(
        &mut self,
        id: CommandId,
        base: u64,
        change: &AdminChange,
    ) -> Result<Decision, ClientError> {
        let body = RequestBody::Admin { id, base, change: change.clone() };
        match self.ask_whom(Aim::Group(CONTROLLER), body)? {
            (_, Reply::Decided(decision)) => Ok(decision),
            (node, reply) => panic!("{node} answered {reply:?}, which the caller lets nobody do"),
        }
    }

    fn ask_for_configuration(&mut self, body: RequestBody) -> Result<Configuration, ClientError> {
        match self.ask_whom(Aim::Anyone, body)? {
            (_, Reply::Configuration(configuration)) => Ok(*configuration),
            (node, reply) => panic!("{node} answered {reply:?}, which the caller lets nobody do"),
        }
    }

    fn ask_whom(&mut self, aim: Aim, body: RequestBody) -> Result<(NodeId, Reply), ClientError> {
        let mut course = Course::new(Instant::now(), self.deadline);
        let changes = matches!(body, RequestBody::Admin { .. });
        self.caller.ask(&mut course, aim, body).map_err(|stop| {
            // Who only asked has changed nothing; and a definite no counts, whatever was received before.
            course.may_be_received &= changes && !matches!(stop, Stop::Refused { .. });
            course.error(stop, Instant::now())
        })
    }
}
