//! What befalls a world: the faults of its script, each done, and undone after a while.

use ordeal_client::wire::{GroupId, MemberChange, NodeId, Request, RequestBody};
use ordeal_node::engine::{CONTROLLER, ClientKey, Input};
use ordeal_node::raft::Role;

use crate::node::REDIAL_US;
use crate::parcel::at;
use crate::script::{Fault, Ways, When, Who, Wish};
use crate::world::{Event, World};

/// A connection that no client has: answers to it are lost.
const ADMINISTRATOR: ClientKey = ClientKey(u64::MAX);

impl World {
    /// A fault of the script happens.
    pub fn befall(&mut self, fault: Fault, lasts_us: u64) {
        let who = self.resolve(fault.who());
        if who.is_empty() {
            return;
        }
        self.faults += 1;
        self.trace.note(self.now_us, &[8, who.len() as u64], || format!("fault at {who:?}: {fault}"));
        for &id in &who {
            match &fault {
                Fault::Crash { when: When::Now, death, .. } => self.crash(id, *death),
                Fault::Crash { when, death, .. } => self.node_mut(id).doomed = Some((*when, *death)),
                Fault::FailDisk { after, .. } => self.node_mut(id).disk.fail_after(*after),
                Fault::Fill { .. } => self.node_mut(id).disk.fill(),
                Fault::Rot { .. } => self.rotted += u64::from(self.node_mut(id).disk.rot()),
                Fault::Pause { .. } => self.node_mut(id).paused += 1,
                Fault::Cut { ways, .. } => self.change_links(id, &who, *ways, |count| *count += 1),
                Fault::Stall { .. } => self.node_mut(id).stalled += 1,
                Fault::Reset { .. } => self.reset(id),
                Fault::Jump { ticks, .. } => self.jump(id, *ticks),
                Fault::Ask { what, .. } => self.ask_leaders(id, *what),
            }
        }
        if lasts_us > 0 {
            self.later(lasts_us, Event::Undo { fault, who });
        }
    }

    /// A fault ends. The end of all faults may have come first.
    pub fn undo(&mut self, fault: &Fault, who: &[NodeId]) {
        self.trace.note(self.now_us, &[9, who.len() as u64], || format!("undone at {who:?}: {fault}"));
        for &id in who {
            match fault {
                Fault::Crash { .. } => self.revive(id),
                Fault::Pause { .. } if self.node(id).paused > 0 => {
                    self.node_mut(id).paused -= 1;
                    if self.node(id).paused == 0 {
                        self.resume(id);
                    }
                }
                Fault::Cut { ways, .. } => {
                    self.change_links(id, who, *ways, |count| *count = count.saturating_sub(1));
                }
                Fault::Stall { .. } if self.node(id).stalled > 0 => {
                    self.node_mut(id).stalled -= 1;
                    if self.node(id).stalled == 0 {
                        self.flow(id);
                    }
                }
                Fault::Fill { .. } => self.node_mut(id).disk.free(),
                Fault::Pause { .. }
                | Fault::Stall { .. }
                | Fault::FailDisk { .. }
                | Fault::Rot { .. }
                | Fault::Reset { .. }
                | Fault::Jump { .. }
                | Fault::Ask { .. } => {}
            }
        }
    }

    /// Everything is undone, and network, disks and clocks behave from now on.
    pub fn heal_all(&mut self) {
        self.trace.note(self.now_us, &[10], || "all healed".to_owned());
        self.cut.fill(0);
        (self.plan.lost_permille, self.plan.doubled_permille, self.plan.late_permille) = (0, 0, 0);
        self.plan.slow_sync_permille = 0;
        for id in self.plan.node_ids() {
            self.node_mut(id).disk.free();
            if std::mem::take(&mut self.node_mut(id).stalled) > 0 {
                self.flow(id);
            }
            if std::mem::take(&mut self.node_mut(id).paused) > 0 {
                self.resume(id);
            }
            self.revive(id);
        }
    }

    /// A node is up again; two crashes of it may have overlapped, and one that waits for a write may not have come.
    pub fn revive(&mut self, id: NodeId) {
        self.node_mut(id).doomed = None;
        if self.node(id).engine.is_none() && !self.node(id).dead {
            self.start(id);
        }
    }

    fn resolve(&self, who: &Who) -> Vec<NodeId> {
        match who {
            Who::Nodes(nodes) => nodes.clone(),
            Who::Leader => {
                let group = self.plan.group_ids().nth(1).expect("a world has groups");
                self.leader(group).into_iter().collect()
            }
        }
    }

    /// Who leads a group, in the highest term.
    pub fn leader(&self, group: GroupId) -> Option<NodeId> {
        let leads = |id: &NodeId| {
            let status = self.node(*id).engine.as_ref()?.member(group)?;
            (status.role == Role::Leader).then_some((status.term, *id))
        };
        self.plan.node_ids().filter_map(|id| leads(&id)).max().map(|(_, id)| id)
    }

    /// An administrator asks the leaders of all groups, once, and does not wait for an answer.
    fn ask_leaders(&mut self, node: NodeId, wish: Wish) {
        for group in self.plan.group_ids() {
            // Who belongs to a group belongs to the controller's: else it would hear of no move.
            if group == CONTROLLER && wish == Wish::Remove {
                continue;
            }
            let Some(leader) = self.leader(group) else { continue };
            let address = format!("{node}.test:4000");
            let change = |change| RequestBody::ChangeMembers { group, change };
            let body = match wish {
                Wish::Transfer => RequestBody::Transfer { group, to: Some(node) },
                Wish::Add => change(MemberChange::Add { node, address }),
                Wish::Learn => change(MemberChange::AddLearner { node, address }),
                Wish::Remove => change(MemberChange::Remove { node }),
            };
            self.input(
                leader,
                Input::Request { from: ADMINISTRATOR, request: Request { id: 0, epoch: 0, body } },
            );
        }
    }

    fn change_links(&mut self, id: NodeId, side: &[NodeId], ways: Ways, change: impl Fn(&mut u32)) {
        for other in self.plan.node_ids().filter(|other| !side.contains(other)) {
            if ways != Ways::In {
                change(&mut self.cut[at(id, other)]);
            }
            if ways != Ways::Out {
                change(&mut self.cut[at(other, id)]);
            }
        }
    }

    fn reset(&mut self, id: NodeId) {
        for other in self.plan.node_ids().filter(|&other| other != id) {
            for (from, to) in [(id, other), (other, id)] {
                self.epochs[at(from, to)] += 1;
                self.close(from, to);
                self.connect(from, to, REDIAL_US);
            }
        }
    }
}
