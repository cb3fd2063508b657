//! The donor's side: begins what the controller wishes, sends the copy, freezes, and makes an end of it as the recipient decides.

use std::collections::VecDeque;

use ordeal_client::wire::{Configuration, GroupId, Move, MoveEnd, MoveId, ShardId};

use super::message::{Message, Way};
use super::{
    ASK_TICKS, CATCH_UP_TICKS, EXPORTS_MAX, LEFT_MAX, Mover, PARCEL_BYTES, PARCELS_MAX, RESEND_TICKS, Saying,
    Wish,
};
use crate::shard::Machine;
use crate::shard::moving::{Cursor, Fate, Stage, Step};

/// A copy that is being sent.
#[derive(Debug)]
pub(super) struct Sending {
    id: MoveId,
    /// Where the recipient goes on, when that is known.
    at: Option<Cursor>,
    /// Where the parts end that are on their way, in order.
    under_way: VecDeque<Cursor>,
    /// Whether the last of them is the last of all.
    sealed: bool,
    /// How far the recipient said that it was, and when it said so for the first time.
    told: Option<Cursor>,
    news: u64,
    /// When the copy was begun, or begun anew.
    tried: u64,
    /// When only changes were left for the first time, and when the shard was frozen.
    catching_up: Option<u64>,
    frozen: Option<u64>,
}

impl Sending {
    fn new(id: MoveId, now: u64) -> Self {
        Sending {
            id,
            at: None,
            under_way: VecDeque::new(),
            sealed: false,
            told: None,
            news: now,
            tried: now,
            catching_up: None,
            frozen: None,
        }
    }

    /// Goes on from there, or from where the recipient will say.
    fn go_on_from(&mut self, at: Option<Cursor>) {
        self.at = at;
        self.under_way.clear();
        self.sealed = false;
    }

    /// The recipient is there.
    fn is_at(&mut self, cursor: Cursor, now: u64) {
        if self.told.as_ref() != Some(&cursor) {
            self.told = Some(cursor.clone());
            self.news = now;
        }
        if let Some(arrived) = self.under_way.iter().position(|to| *to == cursor) {
            self.under_way.drain(..=arrived);
            self.at = Some(cursor);
        } else if self.at.as_ref() != Some(&cursor) {
            // It is nowhere on the way: parts were lost, or another leader sent some.
            self.go_on_from(Some(cursor));
        }
    }
}

impl Mover {
    pub(super) fn look_at_exports(&mut self, machine: &Machine, configuration: &Configuration) {
        let own = self.group;
        for (&shard, open) in configuration.moves.iter().filter(|(_, open)| open.from == own) {
            self.wish_of_controller(machine, shard, *open);
        }
        let leaving: Vec<ShardId> = machine.on_their_way().collect();
        self.sending.retain(|shard, _| leaving.contains(shard));
        for shard in leaving {
            let newest = configuration.moves.get(&shard).map(|open| (open.id, open.unwanted));
            match machine.stage(shard) {
                Stage::Leaving { epoch, id, to } => {
                    if newest.is_none_or(|(open, unwanted)| open > id || (open == id && unwanted)) {
                        self.propose_once(shard, id, Saying::ExportCancel, Step::ExportCancel);
                    } else {
                        self.send(machine, Leaving { shard, id, to, epoch, frozen: false });
                    }
                }
                Stage::Frozen { epoch, id, to } => {
                    if configuration.owner(shard).is_some_and(|owner| owner.epoch > epoch) {
                        self.propose_once(shard, id, Saying::ExportDone, Step::ExportDone);
                    } else {
                        self.send(machine, Leaving { shard, id, to, epoch, frozen: true });
                    }
                }
                Stage::Owned { .. } | Stage::Arriving { .. } | Stage::Away { .. } | Stage::Absent => {}
            }
        }
    }

    /// A move that the controller has opened, from here.
    fn wish_of_controller(&mut self, machine: &Machine, shard: ShardId, open: Move) {
        let Move { id, to, epoch, unwanted, .. } = open;
        match machine.stage(shard) {
            Stage::Owned { epoch: now } if now == epoch => {
                if machine.is_spent(shard, id) {
                    self.ended(shard, id, MoveEnd::Cancelled);
                } else if unwanted {
                    self.propose_once(shard, id, Saying::ExportCancel, Step::ExportCancel);
                } else if self.exports(machine) < EXPORTS_MAX {
                    self.propose_once(shard, id, Saying::ExportBegin, Step::ExportBegin { epoch, to });
                }
            }
            Stage::Away { epoch: now, .. } if now > epoch => self.ended(shard, id, MoveEnd::Adopted),
            Stage::Owned { .. }
            | Stage::Leaving { .. }
            | Stage::Frozen { .. }
            | Stage::Arriving { .. }
            | Stage::Away { .. }
            | Stage::Absent => {}
        }
    }

    /// Shards that leave, and those of which that was proposed a moment ago.
    fn exports(&self, machine: &Machine) -> usize {
        let leaving =
            |shard: &ShardId| matches!(machine.stage(*shard), Stage::Leaving { .. } | Stage::Frozen { .. });
        let proposed = self.said.iter().filter(|((shard, saying), _)| {
            *saying == Saying::ExportBegin && matches!(machine.stage(*shard), Stage::Owned { .. })
        });
        machine.on_their_way().filter(leaving).count() + proposed.count()
    }

    pub(super) fn ended(&mut self, shard: ShardId, id: MoveId, end: MoveEnd) {
        if self.is_time_to(shard, id, Saying::Ended) {
            self.wishes.push(Wish::Ended { shard, id, end });
        }
    }

    /// What the recipient says of a copy. Nobody else's word counts: the shard is given away on it.
    pub(super) fn progress(
        &mut self,
        machine: &Machine,
        from: GroupId,
        (shard, id): (ShardId, MoveId),
        fate: Fate,
        cursor: Option<Cursor>,
    ) {
        let (frozen, of, to) = match machine.stage(shard) {
            Stage::Leaving { id, to, .. } => (false, id, to),
            Stage::Frozen { id, to, .. } => (true, id, to),
            Stage::Owned { .. } | Stage::Arriving { .. } | Stage::Away { .. } | Stage::Absent => return,
        };
        if (of, to) != (id, from) {
            return;
        }
        match (fate, frozen) {
            (Fate::Adopted, true) => self.propose_once(shard, id, Saying::ExportDone, Step::ExportDone),
            (Fate::Refused, true) => self.propose_once(shard, id, Saying::Unfreeze, Step::Unfreeze),
            (Fate::Refused, false) => self.propose_once(shard, id, Saying::ExportCancel, Step::ExportCancel),
            (Fate::Adopted, false) => {}
            (Fate::Open, _) => {
                let now = self.now;
                let sending = self.sending.get_mut(&shard).filter(|sending| sending.id == id);
                if let (Some(sending), Some(cursor)) = (sending, cursor) {
                    sending.is_at(cursor, now);
                }
            }
        }
    }

    /// Sends what may be sent; freezes the shard when little is left.
    fn send(&mut self, machine: &Machine, leaving: Leaving) {
        let Leaving { shard, id, to, epoch, frozen } = leaving;
        let now = self.now;
        let sending = self.sending.entry(shard).or_insert_with(|| Sending::new(id, now));
        if sending.id != id {
            *sending = Sending::new(id, now);
        }
        if frozen && sending.frozen.is_none() {
            sending.frozen = Some(now);
        }
        let silent = sending.frozen.map_or(0, |since| now - since.max(sending.news));
        if silent >= ASK_TICKS {
            if self.is_time_to(shard, id, Saying::Ask) {
                self.tell(to, Message::Ask { shard, id, epoch: epoch + 1 });
            }
            return;
        }
        if now - sending.news.max(sending.tried) >= RESEND_TICKS {
            sending.tried = now;
            sending.go_on_from(None);
        }
        let Some(at) = sending.at.clone() else {
            if self.is_time_to(shard, id, Saying::Offer) {
                self.tell(to, Message::Offer { shard, id, epoch: epoch + 1 });
            }
            return;
        };
        if !frozen && matches!(at, Cursor::Changes { .. }) {
            let since = *sending.catching_up.get_or_insert(now);
            let doubled = u32::try_from((now - since) / CATCH_UP_TICKS).unwrap_or(u32::MAX).min(16);
            let limit = LEFT_MAX << doubled;
            if machine.left_to_send(shard, &at, limit + 1).is_some_and(|left| left <= limit) {
                self.propose_once(shard, id, Saying::Freeze, Step::Freeze);
            }
        }
        while self.send_part(machine, leaving, &at) {}
    }

    /// Sends the next part; false when there is none, or none may be sent now.
    fn send_part(&mut self, machine: &Machine, leaving: Leaving, at: &Cursor) -> bool {
        let Leaving { shard, id, to, epoch: _, frozen } = leaving;
        let sending = self.sending.get_mut(&shard).expect("made before anything is sent");
        let waits = sending.sealed || sending.under_way.len() >= PARCELS_MAX;
        if waits || (!frozen && self.budget == 0) {
            return false;
        }
        let from = sending.under_way.back().unwrap_or(at);
        let parcel = machine.parcel(shard, from, PARCEL_BYTES).expect("it is leaving");
        let is_last = machine.left_to_send(shard, &parcel.to, 1) == Some(0);
        let seal = machine.seal(shard).filter(|_| is_last);
        if seal.is_none() && parcel.to == parcel.from {
            return false;
        }
        sending.sealed = seal.is_some();
        sending.under_way.push_back(parcel.to.clone());
        self.budget = self.budget.saturating_sub(parcel.bytes.len());
        let (way, bytes) = (Way { from: parcel.from, to: parcel.to }, parcel.bytes);
        self.tell(
            to,
            match seal {
                Some(seal) => Message::Last { shard, id, way, bytes, seal },
                None => Message::Part { shard, id, way, bytes },
            },
        );
        true
    }
}

/// A shard on its way from here.
#[derive(Debug, Clone, Copy)]
struct Leaving {
    shard: ShardId,
    id: MoveId,
    to: GroupId,
    /// In which it is owned here.
    epoch: u64,
    frozen: bool,
}
