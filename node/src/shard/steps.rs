//! What each step of a move does to the state, and how a shard stands: the tables of [`moving`](super::moving) as code.

use std::collections::BTreeSet;
use std::sync::Arc;

use ordeal_client::wire::{GroupId, MoveId, MoveStage, MoveStatus, ShardId};

use super::export::Export;
use super::import::{Contents, Import};
use super::machine::{Away, Held, Leftover, LeftoverOf, Machine};
use super::moving::{Cursor, Fate, Parcel, Seal, Stage, Step};

impl Machine {
    /// Applies a step. Where it does not fit, it has no effect.
    pub(super) fn step(
        &mut self,
        index: u64,
        shard: ShardId,
        id: MoveId,
        step: Step<'_>,
    ) -> Option<Leftover> {
        match step {
            Step::ExportBegin { epoch, to } => self.export_begin(index, shard, id, epoch, to),
            Step::Freeze => {
                if let Some(export) = self.leaving_by(shard, id).filter(|export| export.frozen.is_none()) {
                    export.frozen = Some(index);
                }
            }
            Step::ExportDone => return self.export_done(shard, id),
            Step::ExportCancel => {
                if self.leaving_by(shard, id).is_some_and(|export| export.frozen.is_none()) {
                    self.stay(shard, id);
                } else if matches!(self.stage(shard), Stage::Owned { .. }) {
                    self.spend(shard, id);
                }
            }
            Step::Unfreeze => {
                if self.leaving_by(shard, id).is_some_and(|export| export.frozen.is_some()) {
                    self.stay(shard, id);
                }
            }
            Step::ImportBegin { epoch, from } => return self.import_begin(shard, id, epoch, from),
            Step::Parcel { bytes } => self.take_parcel(index, shard, id, bytes),
            Step::Adopt { seal, bytes } => return self.adopt(index, shard, id, seal, bytes),
            Step::Refuse { epoch } => return self.refuse(shard, id, epoch),
        }
        None
    }

    /// How a shard stands here.
    #[must_use]
    pub fn stage(&self, shard: ShardId) -> Stage {
        if let Some(held) = self.held.get(&shard) {
            let epoch = held.epoch;
            return match &held.leaving {
                None => Stage::Owned { epoch },
                Some(Export { id, to, frozen: None, .. }) => Stage::Leaving { epoch, id: *id, to: *to },
                Some(Export { id, to, .. }) => Stage::Frozen { epoch, id: *id, to: *to },
            };
        }
        if let Some(import) = self.arriving.get(&shard) {
            let Import { id, epoch, from, cursor, .. } = &**import;
            return Stage::Arriving { epoch: *epoch, id: *id, from: *from, cursor: cursor.clone() };
        }
        match self.away.get(&shard) {
            Some(&Away { epoch, to }) => Stage::Away { epoch, to },
            None => Stage::Absent,
        }
    }

    /// Shards that are on their way from or to here.
    pub fn on_their_way(&self) -> impl Iterator<Item = ShardId> {
        let leaving = self.held.iter().filter(|(_, held)| held.leaving.is_some()).map(|(&shard, _)| shard);
        leaving.chain(self.arriving.keys().copied())
    }

    /// The shards on their way, by ascending shard.
    #[must_use]
    pub fn moves(&self) -> Vec<MoveStatus> {
        let of = |shard: ShardId| {
            let held = |held: &Arc<Held>| held.kv.keys() as u64;
            let leaving = self.held.get(&shard).map_or(0, held);
            let (id, stage, other, keys) = match self.stage(shard) {
                Stage::Leaving { id, to, .. } => (id, MoveStage::Leaving, to, leaving),
                Stage::Frozen { id, to, .. } => (id, MoveStage::Frozen, to, leaving),
                Stage::Arriving { id, from, .. } => {
                    (id, MoveStage::Arriving, from, self.arriving[&shard].kv.keys() as u64)
                }
                Stage::Owned { .. } | Stage::Away { .. } | Stage::Absent => return None,
            };
            Some(MoveStatus { shard, id, stage, other, keys })
        };
        let shards: BTreeSet<ShardId> = self.on_their_way().collect();
        shards.into_iter().filter_map(of).collect()
    }

    /// Whether there are shards on their way to here.
    #[must_use]
    pub fn has_arrivals(&self) -> bool {
        !self.arriving.is_empty()
    }

    /// What became of a move to here, by which the shard would be owned in this epoch.
    #[must_use]
    pub fn fate(&self, shard: ShardId, id: MoveId, epoch: u64) -> Fate {
        if self.known_epoch(shard) >= epoch {
            Fate::Adopted
        } else if self.is_spent(shard, id) {
            Fate::Refused
        } else {
            Fate::Open
        }
    }

    /// Whether a move is over, as far as this group goes: it begins nothing here any more.
    #[must_use]
    pub fn is_spent(&self, shard: ShardId, id: MoveId) -> bool {
        self.spent.get(&shard).is_some_and(|&spent| id <= spent)
    }

    /// Whether these bytes are a part of the shard that leads from there to there: what is not, must never be proposed.
    #[must_use]
    pub fn is_parcel(&self, shard: ShardId, from: &Cursor, to: &Cursor, bytes: &[u8]) -> bool {
        Contents::read(bytes, shard, self.shards).is_ok_and(|contents| contents.leads(from, to))
    }

    /// The next part of a shard that is on its way from here, of about so many bytes.
    #[must_use]
    pub fn parcel(&self, shard: ShardId, from: &Cursor, bytes_max: usize) -> Option<Parcel> {
        let held = self.held.get(&shard)?;
        let export = held.leaving.as_ref()?;
        Some(export.parcel((shard, held.epoch), &held.kv, from, bytes_max))
    }

    /// How many changes are still to be sent of a shard that is on its way from here, a long value as several, counted up to a
    /// limit; the limit, as long as its keys and sessions are being sent.
    #[must_use]
    pub fn left_to_send(&self, shard: ShardId, cursor: &Cursor, limit: usize) -> Option<usize> {
        let held = self.held.get(&shard)?;
        Some(held.leaving.as_ref()?.left(&held.kv, cursor, limit))
    }

    /// What a frozen shard is.
    #[must_use]
    pub fn seal(&self, shard: ShardId) -> Option<Seal> {
        let held = self.held.get(&shard)?;
        let frozen = held.leaving.as_ref()?.frozen?;
        Some(Seal {
            digest: held.kv.digest(),
            keys: held.kv.keys() as u64,
            moment: held.kv.moment(frozen),
            oldest_use: held.kv.sessions().oldest_use().unwrap_or(0),
        })
    }

    fn export_begin(&mut self, index: u64, shard: ShardId, id: MoveId, epoch: u64, to: GroupId) {
        if self.is_spent(shard, id) {
            return;
        }
        if let Some(held) =
            self.held.get_mut(&shard).filter(|held| held.epoch == epoch && held.leaving.is_none())
        {
            Arc::make_mut(held).leaving = Some(Export::new(id, to, index));
        }
    }

    fn export_done(&mut self, shard: ShardId, id: MoveId) -> Option<Leftover> {
        let to = self.leaving_by(shard, id).filter(|export| export.frozen.is_some())?.to;
        let held = self.held.remove(&shard).expect("looked at just now");
        self.away.insert(shard, Away { epoch: held.epoch + 1, to });
        self.spend(shard, id);
        Some(Leftover(LeftoverOf::Held(held)))
    }

    /// The shard stays here, and this move is over for good.
    fn stay(&mut self, shard: ShardId, id: MoveId) {
        let held: &mut Held = Arc::make_mut(self.held.get_mut(&shard).expect("it is leaving"));
        held.leaving = None;
        self.spend(shard, id);
    }

    fn import_begin(&mut self, shard: ShardId, id: MoveId, epoch: u64, from: GroupId) -> Option<Leftover> {
        let newer = self.arriving.get(&shard).is_none_or(|import| import.id < id);
        if self.fate(shard, id, epoch) != Fate::Open || self.held.contains_key(&shard) || !newer {
            return None;
        }
        let before = self.arriving.insert(shard, Arc::new(Import::new(id, epoch, from, self.shards)));
        before.map(|import| Leftover(LeftoverOf::Arriving(import)))
    }

    fn take_parcel(&mut self, index: u64, shard: ShardId, id: MoveId, bytes: &[u8]) {
        let contents = self.contents(index, shard, bytes);
        if let Some(import) = self.arriving.get_mut(&shard).filter(|import| import.id == id) {
            Arc::make_mut(import).take(contents);
        }
    }

    fn adopt(
        &mut self,
        index: u64,
        shard: ShardId,
        id: MoveId,
        seal: Seal,
        bytes: &[u8],
    ) -> Option<Leftover> {
        let contents = self.contents(index, shard, bytes);
        let import = self.arriving.get_mut(&shard).filter(|import| import.id == id)?;
        if !Arc::make_mut(import).take(contents) {
            return None;
        }
        let import = Arc::unwrap_or_clone(self.arriving.remove(&shard).expect("looked at just now"));
        self.spend(shard, id);
        let epoch = import.epoch;
        let whole = import.adopt(seal, index);
        if let Some(kv) = whole {
            self.away.remove(&shard);
            self.held.insert(shard, Arc::new(Held { epoch, kv, leaving: None }));
        }
        None
    }

    fn refuse(&mut self, shard: ShardId, id: MoveId, epoch: u64) -> Option<Leftover> {
        if self.fate(shard, id, epoch) == Fate::Adopted {
            return None;
        }
        self.spend(shard, id);
        let over = self.arriving.get(&shard).is_some_and(|import| import.id <= id);
        let import = over.then(|| self.arriving.remove(&shard)).flatten()?;
        Some(Leftover(LeftoverOf::Arriving(import)))
    }

    fn contents(&self, index: u64, shard: ShardId, bytes: &[u8]) -> Contents {
        Contents::read(bytes, shard, self.shards)
            .unwrap_or_else(|error| panic!("entry {index} was validated before it was proposed: {error}"))
    }

    fn leaving_by(&mut self, shard: ShardId, id: MoveId) -> Option<&mut Export> {
        let held = self.held.get_mut(&shard)?;
        held.leaving.as_ref().filter(|export| export.id == id)?;
        Arc::make_mut(held).leaving.as_mut()
    }

    /// The newest epoch in which the shard was owned, as far as it was from or by here.
    fn known_epoch(&self, shard: ShardId) -> u64 {
        let held = self.held.get(&shard).map_or(0, |held| held.epoch);
        held.max(self.away.get(&shard).map_or(0, |away| away.epoch))
    }

    fn spend(&mut self, shard: ShardId, id: MoveId) {
        let spent = self.spent.entry(shard).or_insert(id);
        *spent = id.max(*spent);
    }
}
