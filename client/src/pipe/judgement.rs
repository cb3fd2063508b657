//! What an answer, or the lack of one, means for an operation.

use std::time::{Duration, Instant};

use super::core::Core;
use super::links::LinkId;
use super::ops::{OpId, Stage};
use crate::course::{Aim, Next, Stop, answers};
use crate::error::LinkError;
use crate::wire::{GroupId, NodeId, Owner, ReadLevel, RefusalReason, Reply, RequestBody, SessionId, ShardId};

impl Core {
    /// What an answer means.
    pub(super) fn judge(&mut self, id: OpId, link: LinkId, node: NodeId, reply: Reply) {
        let op = self.ops.expect(id);
        match reply {
            Reply::Refused(reason) => {
                op.course.note(node, &reason.to_string());
                self.refused(id, link, node, reason);
            }
            Reply::Unknown => {
                op.course.note(node, "took it, and cannot tell what came of it");
                op.course.may_be_received = true;
                self.next(id, Next::Pause);
            }
            reply if answers(&reply, &op.body) => {
                if let (Some(shard), false) = (op.shard, is_stale(&op.body)) {
                    self.router.leads(self.group(Aim::Leader(shard)), node);
                }
                self.finish(id, Ok((node, reply)));
            }
            _ => {
                op.course.note(node, "breaks the protocol: the answer does not fit the request");
                op.course.may_be_received = true;
                self.retire(link);
                self.next(id, Next::Pause);
            }
        }
    }

    fn refused(&mut self, id: OpId, link: LinkId, node: NodeId, reason: RefusalReason) {
        let group = self.ops.expect(id).shard.map_or(GroupId(0), |shard| self.group(Aim::Leader(shard)));
        match reason {
            RefusalReason::NotLeader { group: other, leader } => {
                if other != group {
                    // It knows of another owner of the shard: hear the whole map at the next handshake.
                    self.retire(link);
                }
                let follow = self.router.hinted(node, other, leader.as_ref());
                self.next(id, if follow { Next::Follow } else { Next::Pause });
            }
            RefusalReason::Busy
            | RefusalReason::DiskFull
            | RefusalReason::WindowFull { .. }
            | RefusalReason::MembersBusy
            | RefusalReason::Frozen { .. } => {
                self.next(id, Next::Pause);
            }
            // The map is out of date, or the node is going: the next handshake tells the news.
            RefusalReason::Moved { shard, epoch, group } => {
                let news = self.router.moved(shard, Owner { group, epoch });
                self.next(id, if news { Next::Follow } else { Next::Pause });
            }
            RefusalReason::WrongGroup { .. } | RefusalReason::Stopping => {
                self.retire(link);
                self.router.forget_leader(group);
                self.next(id, Next::Pause);
            }
            RefusalReason::SessionUnknown | RefusalReason::SequencePast => {
                self.session_lost(id, node, reason);
            }
            reason @ (RefusalReason::TooLong { .. }
            | RefusalReason::Unfit(_)
            | RefusalReason::Compacted { .. }) => {
                self.stop(id, Stop::Refused { node, reason });
            }
        }
    }

    /// Refused before anybody may have received it, a write makes a fresh start in another session; else nobody knows.
    fn session_lost(&mut self, id: OpId, node: NodeId, reason: RefusalReason) {
        let op = self.ops.expect(id);
        let (shard, number) = (op.shard, op.number.take());
        if let (Some(shard), Some((session, _))) = (shard, number) {
            self.forget_session(shard, Some(session));
        }
        if self.ops.expect(id).course.may_be_received {
            return self.stop(id, Stop::SessionLost { node, reason });
        }
        self.next(id, Next::Pause);
    }

    /// Forgets a session; who waited for it looks for another.
    fn forget_session(&mut self, shard: ShardId, id: Option<SessionId>) {
        if self.sessions.get(&shard).is_some_and(|session| session.id == id) {
            let session = self.sessions.remove(&shard).expect("looked at just now");
            self.ready.extend(session.waiting);
        }
    }

    /// An attempt was not answered in time.
    pub(super) fn silent(&mut self, id: OpId, link: LinkId, at: Instant, patience: Duration) {
        let error = LinkError::Timeout(patience);
        let Some(known) = self.links.get(link) else { return };
        if known.heard <= at {
            // Nothing at all came since then: whoever else waits there waits in vain.
            return self.broken(self.now, link, &error);
        }
        let address = known.place.address.clone();
        self.request_is_over(link);
        self.ops.expect(id).course.may_be_received = true;
        self.failed_at(id, &address, &error);
    }

    pub(super) fn failed_at(&mut self, id: OpId, address: &str, error: &LinkError) {
        let course = &mut self.ops.expect(id).course;
        course.failed(address, error, self.attempt_timeout);
        if course.met_only_strangers(self.router.endpoints()) {
            return self.stop(id, Stop::Strangers(format!("{address}: {error}")));
        }
        self.next(id, Next::Pause);
    }

    pub(super) fn next(&mut self, id: OpId, next: Next) {
        let course = &mut self.ops.expect(id).course;
        if next == Next::Follow && course.hop() {
            let id = self.ops.renew(id, Stage::Queued);
            return self.ready.push_back(id);
        }
        match course.pause(self.now, &mut self.jitter) {
            Ok(pause) => {
                self.ops.renew(id, Stage::Paused { until: self.now + pause });
            }
            Err(stop) => self.stop(id, stop),
        }
    }
}

fn is_stale(body: &RequestBody) -> bool {
    matches!(body, RequestBody::Read { level: ReadLevel::Stale, .. })
}
