//! Drives the moves of a group's shards, on the node that leads it: what to propose to the group's own log, and what to tell the
//! leader of the other group. All that decides stands in the logs (`shard::moving`); what is here may be lost at any time, and
//! the next leader goes on from how the shards stand.
//!
//! ```text
//!   the controller's configuration ─┐                        ┌─▶ Propose: a step for the own log
//!   how the shards stand ───────────┼─▶ look, hear, tick ────┼─▶ Tell: a message to the other group's leader
//!   messages of the other group ────┘                        └─▶ Ended: for the controller
//! ```
//!
//! Level-triggered: every look compares what is wished with what is, so a lost message, step or answer costs time and nothing
//! else. Nothing here decides by a clock who owns a shard: time only says when to say something again, and when to ask the
//! recipient for its decision.
//!
//! * [`message`]: what the leaders of two groups tell each other.
//! * `donor`, `recipient`: the two sides.

mod donor;
pub mod message;
mod recipient;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_invariants;
#[cfg(test)]
mod tests_stories;

use std::collections::BTreeMap;
use std::sync::Arc;

use ordeal_client::wire::{Configuration, GroupId, MoveEnd, MoveId, ShardId};

use crate::shard::moving::Step;
use crate::shard::{Command, Machine};
use donor::Sending;
pub use message::{Letter, Message};
use recipient::Receiving;

/// Shards that one group gives away at the same time: so that each is quick, and others are not felt.
pub const EXPORTS_MAX: usize = 4;

/// Bytes of a part: a millisecond of a disk, for which the writes behind it wait.
pub const PARCEL_BYTES: usize = TICK_BYTES;

/// Parts of one shard on their way at a time: a commit of the recipient and the way there and back hide behind one another.
pub const PARCELS_MAX: usize = 4;

/// Bytes that one group sends in a tick of 10 ms, of shards that are still served: 16 MB a second, and 100 MB are there in 6
/// seconds. Three members write each byte to their logs and another time to a snapshot, which is 100 MB a second where all of them
/// share a disk, and leaves it a third of its time for others.
pub const TICK_BYTES: usize = 160 << 10;

/// A shard is frozen when no more changes than this are left: they fit a part, and take less than the commit that follows.
pub const LEFT_MAX: usize = 64;

/// After so many ticks of catching up with what is written meanwhile, twice as many changes may be left, and again: so that it ends.
pub const CATCH_UP_TICKS: u64 = 100;

/// What was proposed or told and had no effect is said again after so many ticks: a second try of what takes some
/// milliseconds.
pub const AGAIN_TICKS: u64 = 10;

/// A copy of which nothing new is heard for so many ticks is sent again from where the recipient is.
pub const RESEND_TICKS: u64 = 5;

/// A frozen shard whose recipient says nothing new for so many ticks is asked for: then it decides, for or against.
pub const ASK_TICKS: u64 = 15;

/// A shard on its way here of which its donor says nothing for so many ticks, and the controller nothing any more, is given up.
pub const FORSAKEN_TICKS: u64 = 500;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Propose this to the own group's log.
    Propose(Arc<[u8]>),
    /// Tell the leader of this group.
    Tell(GroupId, Message),
    /// Tell the controller that a move has ended.
    Ended {
        /// Of this shard.
        shard: ShardId,
        /// Which.
        id: MoveId,
        /// How.
        end: MoveEnd,
    },
}

/// Drives the moves of a group, while this node leads it.
#[derive(Debug)]
pub struct Mover {
    group: GroupId,
    /// Ticks since it leads.
    now: u64,
    /// What may still be sent in this tick.
    budget: usize,
    sending: BTreeMap<ShardId, Sending>,
    receiving: BTreeMap<ShardId, Receiving>,
    /// What was said last about a shard, and when, lest it is said again at every look.
    said: BTreeMap<(ShardId, Saying), (MoveId, u64)>,
    wishes: Vec<Wish>,
}

/// What is said again only after a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Saying {
    ExportBegin,
    ExportCancel,
    Freeze,
    ExportDone,
    Unfreeze,
    ImportBegin,
    Refuse,
    Offer,
    Ask,
    Decided,
    Ended,
}

impl Mover {
    /// Of a node that has just begun to lead this group, and has applied all that was committed before.
    #[must_use]
    pub fn new(group: GroupId) -> Self {
        Mover {
            group,
            now: 0,
            budget: TICK_BYTES,
            sending: BTreeMap::new(),
            receiving: BTreeMap::new(),
            said: BTreeMap::new(),
            wishes: Vec::new(),
        }
    }

    /// Time passes.
    pub fn tick(&mut self) {
        self.now += 1;
        self.budget = TICK_BYTES;
    }

    /// Compares what is wished with what is: after a tick, after entries were applied, with a new configuration.
    pub fn look(&mut self, machine: &Machine, configuration: &Configuration) {
        self.look_at_exports(machine, configuration);
        self.look_at_imports(machine, configuration);
        self.said.retain(|_, (_, at)| *at + AGAIN_TICKS > self.now);
    }

    /// Takes a message of another group's leader. Of a move that is under way only the other of its two groups is heard.
    pub fn hear(&mut self, machine: &Machine, from: GroupId, message: Message) {
        match message {
            Message::Offer { shard, id, epoch } => self.offered(machine, from, shard, id, epoch),
            Message::Part { shard, id, way, bytes } => {
                self.part(machine, from, (shard, id), way, &bytes, None);
            }
            Message::Last { shard, id, way, bytes, seal } => {
                self.part(machine, from, (shard, id), way, &bytes, Some(seal));
            }
            Message::Ask { shard, id, epoch } => self.asked(machine, from, shard, id, epoch),
            Message::Progress { shard, id, fate, cursor } => {
                self.progress(machine, from, (shard, id), fate, cursor);
            }
        }
    }

    /// Whether the recipient of a frozen shard has said a moment ago that it owns it.
    #[must_use]
    pub fn is_taken(&self, shard: ShardId, id: MoveId) -> bool {
        self.said.get(&(shard, Saying::ExportDone)).is_some_and(|&(of, _)| of == id)
    }

    /// What is to be done now, in order.
    pub fn wishes(&mut self) -> impl Iterator<Item = Wish> {
        self.wishes.drain(..)
    }

    fn tell(&mut self, to: GroupId, message: Message) {
        self.wishes.push(Wish::Tell(to, message));
    }

    fn propose(&mut self, shard: ShardId, id: MoveId, step: Step<'_>) {
        self.wishes.push(Wish::Propose(Command::Move { shard, id, step }.encode()));
    }

    /// Proposes a step, unless that was done a moment ago.
    fn propose_once(&mut self, shard: ShardId, id: MoveId, saying: Saying, step: Step<'_>) {
        if self.is_time_to(shard, id, saying) {
            self.propose(shard, id, step);
        }
    }

    /// Whether this was not said a moment ago; it counts as said now.
    fn is_time_to(&mut self, shard: ShardId, id: MoveId, saying: Saying) -> bool {
        let last = self.said.get(&(shard, saying));
        if last.is_some_and(|&(of, at)| of == id && at + AGAIN_TICKS > self.now) {
            return false;
        }
        self.said.insert((shard, saying), (id, self.now));
        true
    }
}
