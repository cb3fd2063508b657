//! Changes of a cluster itself, for administrators: who belongs to its groups, and who leads them. Each request is harmless
//! to repeat, and so it is repeated until it is done, at whoever leads by then.

use std::time::Instant;

use crate::client::Client;
use crate::course::{Aim, Course, Stop};
use crate::error::ClientError;
use crate::wire::{GroupId, MemberChange, NodeId, Reply, RequestBody};

impl Client {
    /// The cluster's groups, by ascending id.
    ///
    /// # Errors
    /// [`ClientError`] when nobody answers; nothing was changed.
    pub fn groups(&mut self) -> Result<Vec<GroupId>, ClientError> {
        let mut course = Course::new(Instant::now(), self.deadline);
        match self.caller.shard(&mut course, b"") {
            Ok(_) => Ok(self.caller.router.groups()),
            Err(stop) => Err(course.error(stop, Instant::now())),
        }
    }

    /// Changes who belongs to a group, and waits until that is done. Gives the leader that said so.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when it cannot be made; `Unknown` when it is under way, and the time is over.
    pub fn change_members(&mut self, group: GroupId, change: &MemberChange) -> Result<NodeId, ClientError> {
        let body = RequestBody::ChangeMembers { group, change: change.clone() };
        self.administrate(group, body, |_, node, reply| {
            (*reply == Reply::Members { done: true }).then_some(node)
        })
    }

    /// Hands the leadership of a group over, to `to` or whoever is best prepared, and waits until that one leads.
    ///
    /// # Errors
    /// As [`Client::change_members`].
    pub fn transfer(&mut self, group: GroupId, to: Option<NodeId>) -> Result<NodeId, ClientError> {
        self.administrate(group, RequestBody::Transfer { group, to }, |body, node, reply| {
            let Reply::Transferring { to } = *reply else { return None };
            *body = RequestBody::Transfer { group, to: Some(to) };
            (node == to).then_some(node)
        })
    }

    /// Asks the leader of a group until `done` says who it is done by; it may change what is asked.
    fn administrate(
        &mut self,
        group: GroupId,
        mut body: RequestBody,
        done: impl Fn(&mut RequestBody, NodeId, &Reply) -> Option<NodeId>,
    ) -> Result<NodeId, ClientError> {
        let mut course = Course::new(Instant::now(), self.deadline);
        let outcome = loop {
            let (node, reply) = match self.ask_leader(&mut course, group, &body) {
                Ok(answer) => answer,
                Err(stop) => break Err(stop),
            };
            if let Some(node) = done(&mut body, node, &reply) {
                break Ok(node);
            }
            course.note(node, "under way");
            course.may_be_received = true;
            if let Err(stop) = self.caller.pause(&mut course) {
                break Err(stop);
            }
        };
        outcome.map_err(|stop| {
            // A definite no, whatever was received before: what is asked for is a state, not an event.
            course.may_be_received &= !matches!(stop, Stop::Refused { .. });
            course.error(stop, Instant::now())
        })
    }

    fn ask_leader(
        &mut self,
        course: &mut Course,
        group: GroupId,
        body: &RequestBody,
    ) -> Result<(NodeId, Reply), Stop> {
        self.caller.shard(course, b"")?;
        self.caller.ask(course, Aim::Group(group), body.clone())
    }
}
