//! The recipient's side: makes room, puts the parts into its log in order, and tells how far it is and what it has decided.

use ordeal_client::wire::{Configuration, GroupId, MoveEnd, MoveId, ShardId};

use super::message::{Message, Way};
use super::{AGAIN_TICKS, FORSAKEN_TICKS, Mover, Saying};
use crate::shard::Machine;
use crate::shard::moving::{Cursor, Fate, Seal, Stage, Step};

/// A copy that is coming.
#[derive(Debug)]
pub(super) struct Receiving {
    id: MoveId,
    /// Where the next part is to begin: behind all that were proposed.
    next: Cursor,
    /// When the last one was proposed.
    proposed: u64,
    /// How far the log is, and since when.
    applied: Cursor,
    /// When its donor said something last.
    heard: u64,
    /// Whether the donor is to be told.
    owes: bool,
}

impl Mover {
    pub(super) fn look_at_imports(&mut self, machine: &Machine, configuration: &Configuration) {
        let arriving: Vec<ShardId> = machine.on_their_way().collect();
        self.receiving.retain(|shard, _| arriving.contains(shard));
        for shard in arriving {
            let Stage::Arriving { epoch, id, from, cursor } = machine.stage(shard) else { continue };
            self.has_come(shard, id, from, &cursor);
            let open = configuration.moves.get(&shard).is_some_and(|open| open.id == id);
            let silent = self.receiving.get(&shard).map_or(0, |known| self.now - known.heard);
            if !open && silent >= FORSAKEN_TICKS {
                self.propose_once(shard, id, Saying::Refuse, Step::Refuse { epoch });
            }
        }
        let own = self.group;
        for (&shard, open) in configuration.moves.iter().filter(|(_, open)| open.to == own) {
            let fate = machine.fate(shard, open.id, open.epoch + 1);
            if fate == Fate::Adopted {
                self.ended(shard, open.id, MoveEnd::Adopted);
            }
            if fate != Fate::Open {
                self.decided(machine, shard, open.id, open.from, open.epoch + 1);
            }
        }
    }

    /// Tells the donor how far its copy is, once for each step that the log makes.
    fn has_come(&mut self, shard: ShardId, id: MoveId, from: GroupId, cursor: &Cursor) {
        let now = self.now;
        let fresh = || Receiving {
            id,
            next: cursor.clone(),
            proposed: now,
            applied: cursor.clone(),
            heard: now,
            owes: true,
        };
        let receiving = self.receiving.entry(shard).or_insert_with(fresh);
        if receiving.id != id {
            *receiving = fresh();
        }
        if receiving.applied != *cursor {
            receiving.applied = cursor.clone();
            receiving.owes = true;
        }
        let stuck = receiving.next != *cursor && receiving.proposed + AGAIN_TICKS <= now;
        if stuck {
            // What was proposed came to nothing.
            receiving.next = cursor.clone();
            receiving.owes = true;
        }
        if std::mem::take(&mut receiving.owes) {
            let cursor = Some(cursor.clone());
            self.tell(from, Message::Progress { shard, id, fate: Fate::Open, cursor });
        }
    }

    /// Makes room, or says how far the copy is.
    pub(super) fn offered(
        &mut self,
        machine: &Machine,
        from: GroupId,
        shard: ShardId,
        id: MoveId,
        epoch: u64,
    ) {
        match (machine.fate(shard, id, epoch), machine.stage(shard)) {
            (Fate::Open, Stage::Arriving { id: of, from: donor, .. }) if of == id => {
                let known = self.receiving.get_mut(&shard).filter(|known| known.id == id && donor == from);
                if let Some(receiving) = known {
                    (receiving.heard, receiving.owes) = (self.now, true);
                }
            }
            (Fate::Open, _) => {
                self.propose_once(shard, id, Saying::ImportBegin, Step::ImportBegin { epoch, from });
            }
            (fate @ (Fate::Adopted | Fate::Refused), _) => {
                self.tell(from, Message::Progress { shard, id, fate, cursor: None });
            }
        }
    }

    /// A part of a copy, the last one with its seal. It is proposed when it is the next one.
    pub(super) fn part(
        &mut self,
        machine: &Machine,
        from: GroupId,
        (shard, id): (ShardId, MoveId),
        way: Way,
        bytes: &[u8],
        seal: Option<Seal>,
    ) {
        let Stage::Arriving { id: of, epoch, from: donor, .. } = machine.stage(shard) else {
            return self.over(machine, from, shard, id);
        };
        if (of, donor) != (id, from) {
            return;
        }
        let Some(receiving) = self.receiving.get_mut(&shard).filter(|known| known.id == id) else { return };
        receiving.heard = self.now;
        if receiving.next != way.from {
            receiving.owes = true;
            return;
        }
        if !machine.is_parcel(shard, &way.from, &way.to, bytes) {
            // Of another build, or damaged on the way: never into the log.
            return self.propose_once(shard, id, Saying::Refuse, Step::Refuse { epoch });
        }
        (receiving.next, receiving.proposed) = (way.to, self.now);
        let step = match seal {
            Some(seal) => Step::Adopt { seal, bytes },
            None => Step::Parcel { bytes },
        };
        self.propose(shard, id, step);
    }

    /// Decides, if nothing is decided yet: against.
    pub(super) fn asked(&mut self, machine: &Machine, from: GroupId, shard: ShardId, id: MoveId, epoch: u64) {
        if let Stage::Arriving { id: of, from: donor, .. } = machine.stage(shard)
            && of == id
            && donor != from
        {
            return;
        }
        if machine.fate(shard, id, epoch) == Fate::Open {
            self.propose_once(shard, id, Saying::Refuse, Step::Refuse { epoch });
        } else {
            self.decided(machine, shard, id, from, epoch);
        }
    }

    /// A part of a move that is over here: its donor may not know.
    fn over(&mut self, machine: &Machine, from: GroupId, shard: ShardId, id: MoveId) {
        if machine.is_spent(shard, id)
            && let Stage::Owned { epoch } | Stage::Leaving { epoch, .. } = machine.stage(shard)
        {
            self.decided(machine, shard, id, from, epoch);
        }
    }

    fn decided(&mut self, machine: &Machine, shard: ShardId, id: MoveId, to: GroupId, epoch: u64) {
        let fate = machine.fate(shard, id, epoch);
        if self.is_time_to(shard, id, Saying::Decided) {
            self.tell(to, Message::Progress { shard, id, fate, cursor: None });
        }
    }
}
