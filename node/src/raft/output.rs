//! What was decided and waits for the next [`Ready`].

use ordeal_client::wire::NodeId;

use super::{Event, Message, Persist, Ready, Role, Term};

/// Messages and events not yet handed out. Bounded by what one turn of the driver puts in.
#[derive(Debug, Clone)]
pub(super) struct Output {
    send_now: Vec<(NodeId, Message)>,
    send_after_persist: Vec<(NodeId, Message)>,
    events: Vec<Event>,
    told: (Role, Term, Option<NodeId>),
}

impl Output {
    /// Nothing to say; the driver knows that this is a follower in `term`.
    pub(super) fn new(term: Term) -> Self {
        Output {
            send_now: Vec::new(),
            send_after_persist: Vec::new(),
            events: Vec::new(),
            told: (Role::Follower, term, None),
        }
    }

    /// Sends what promises nothing about this disk.
    pub(super) fn send_now(&mut self, to: NodeId, message: Message) {
        self.send_now.push((to, message));
    }

    /// Sends what promises something about this disk.
    pub(super) fn send_after_persist(&mut self, to: NodeId, message: Message) {
        self.send_after_persist.push((to, message));
    }

    /// Tells the machine above and those who wait for it.
    pub(super) fn tell(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Tells the role, if it is news.
    pub(super) fn tell_role(&mut self, role: Role, term: Term, leader: Option<NodeId>) {
        if self.told != (role, term, leader) {
            self.told = (role, term, leader);
            self.events.push(Event::Role { role, term, leader });
        }
    }

    /// Everything at once, if there is anything. `applied` stands before the other events: whoever learns that a term
    /// is over knows everything of it that was applied.
    pub(super) fn take(&mut self, persist: Option<Persist>, mut applied: Vec<Event>) -> Option<Ready> {
        applied.append(&mut self.events);
        let sends = !self.send_now.is_empty() || !self.send_after_persist.is_empty();
        if persist.is_none() && applied.is_empty() && !sends {
            return None;
        }
        Some(Ready {
            send_now: std::mem::take(&mut self.send_now),
            persist,
            send_after_persist: std::mem::take(&mut self.send_after_persist),
            events: applied,
        })
    }
}
