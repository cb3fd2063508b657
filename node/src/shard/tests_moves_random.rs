//! Moves of shards between three groups at random, whose messages are lost, late and doubled, whose leaders are deposed and go on
//! sending, while clients write, and write again what was not answered.

use ordeal_client::wire::{GroupId, MoveId};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;

use super::moving::{Fate, Stage, Step};
use super::tests_clients::Clients;
use super::tests_moves::{Encoded, PARCEL_BYTES, SHARD, SHARDS, apply, keys, step};
use super::*;

/// The donor freezes when no more changes than this are left to be sent.
const LEFT_MAX: usize = 3;

/// Three groups, and all that was ever said, which may be heard at any time.
struct World {
    chance: Pcg32,
    groups: Vec<Machine>,
    /// As some of them once were: leaders that do not know that they are deposed.
    former: Vec<(usize, Machine)>,
    said: Vec<(usize, Encoded)>,
    clients: Clients,
    /// The donor's parcels: small ones cut sessions.
    parcel_bytes: usize,
    /// The move that is not over: its number, donor, recipient, and the epoch there.
    open: Option<(u64, usize, usize, u64)>,
    moves: u64,
    adopted: u64,
    refused: u64,
    epoch: u64,
}

fn group(place: usize) -> GroupId {
    GroupId(u32::try_from(place).expect("three of them") + 1)
}

impl World {
    fn new(seed: u64) -> World {
        let mut groups =
            vec![Machine::new(SHARDS, [SHARD]), Machine::new(SHARDS, []), Machine::new(SHARDS, [])];
        let mut chance = Pcg32::seed_from_u64(seed);
        for machine in &mut groups {
            let ahead = chance.random_range(0..1_000);
            (1..=ahead).for_each(|index| machine.skip(index));
        }
        let parcel_bytes = [PARCEL_BYTES, 5 * PARCEL_BYTES, 50 * PARCEL_BYTES][chance.random_range(0..3)];
        World {
            chance,
            groups,
            former: Vec::new(),
            said: Vec::new(),
            clients: Clients::new(4, 6, keys(), SHARDS),
            parcel_bytes,
            open: None,
            moves: 0,
            adopted: 0,
            refused: 0,
            epoch: 1,
        }
    }

    fn one_in(&mut self, many: u32) -> bool {
        self.chance.random_range(0..many) == 0
    }

    /// Says something to a group: it is heard at once, later, both, or never.
    fn say(&mut self, to: usize, command: Encoded) {
        if !self.one_in(4) {
            self.hear(to, &command);
        }
        self.said.push((to, command));
    }

    /// A step enters the log of a group.
    fn hear(&mut self, to: usize, command: &Encoded) {
        let before = self.groups[to].stage(SHARD);
        let applied = apply(&mut self.groups[to], command);
        assert!(matches!(applied, Applied::Step(_)), "only steps are said");
        if let (Stage::Arriving { .. }, Ok(Command::Move { step: Step::Adopt { .. }, .. })) =
            (before, Command::decode(command))
        {
            let after = self.groups[to].stage(SHARD);
            let taken = matches!(after, Stage::Arriving { .. } | Stage::Owned { .. });
            assert!(taken, "what came is not what was frozen: the seal is for what nobody has thought of");
        }
        self.check();
    }

    /// At most one group serves the shard, and epochs never fall.
    fn check(&mut self) {
        for Machine { held, arriving, away, .. } in &self.groups {
            let elsewhere = |shard| arriving.contains_key(shard) || away.contains_key(shard);
            assert!(!held.keys().any(elsewhere), "a shard that is held is neither arriving nor away");
        }
        let owned = |stage: &Stage| match *stage {
            Stage::Owned { epoch } | Stage::Leaving { epoch, .. } => Some(epoch),
            Stage::Frozen { .. } | Stage::Arriving { .. } | Stage::Away { .. } | Stage::Absent => None,
        };
        let serving: Vec<u64> = self
            .groups
            .iter()
            .map(|machine| machine.stage(SHARD))
            .filter_map(|stage| owned(&stage))
            .collect();
        assert!(serving.len() <= 1, "two groups serve the shard, in epochs {serving:?}");
        if let [epoch] = serving[..] {
            assert!(epoch == self.epoch || epoch == self.epoch + 1, "epoch {epoch} after {}", self.epoch);
            self.epoch = epoch;
        }
    }

    /// Who is in charge of the open move does the next thing, as it sees it: the leader of now, or one of former times, who
    /// only ever speaks to the recipient.
    fn drive(&mut self) {
        let Some((id, from, to, epoch)) = self.open else { return self.begin() };
        let arrived = self.groups[to].stage(SHARD);
        let stale =
            self.one_in(3).then(|| self.former.iter().rposition(|(whose, _)| *whose == from)).flatten();
        let seen = stale.map_or(&self.groups[from], |at| &self.former[at].1).clone();
        match seen.stage(SHARD) {
            Stage::Owned { epoch: at } if stale.is_none() && at + 1 == epoch => {
                self.go_on_from_owned(id, from, to, epoch);
            }
            Stage::Leaving { id: of, .. } if of == MoveId(id) => {
                let Stage::Arriving { id: of, cursor, .. } = arrived else {
                    return self.say(to, step(id, Step::ImportBegin { epoch, from: group(from) }));
                };
                assert_eq!(of, MoveId(id), "one move at a time");
                let parcel = seen.parcel(SHARD, &cursor, self.parcel_bytes).expect("it is leaving");
                self.say(to, step(id, Step::Parcel { bytes: &parcel.bytes }));
                let left = seen.left_to_send(SHARD, &cursor, LEFT_MAX + 1).expect("it is leaving");
                if stale.is_none() && self.one_in(20) {
                    self.say(from, step(id, Step::ExportCancel));
                } else if stale.is_none() && left <= LEFT_MAX {
                    self.say(from, step(id, Step::Freeze));
                }
            }
            Stage::Frozen { id: of, .. } if of == MoveId(id) => {
                match self.groups[to].fate(SHARD, MoveId(id), epoch) {
                    Fate::Adopted if stale.is_none() => self.say(from, step(id, Step::ExportDone)),
                    Fate::Refused if stale.is_none() => self.say(from, step(id, Step::Unfreeze)),
                    Fate::Open | Fate::Adopted | Fate::Refused => self.send_the_last(&seen, id, to, epoch),
                }
            }
            Stage::Away { epoch: at, .. } if stale.is_none() && at == epoch => {
                (self.open, self.adopted) = (None, self.adopted + 1);
            }
            Stage::Owned { .. }
            | Stage::Leaving { .. }
            | Stage::Frozen { .. }
            | Stage::Away { .. }
            | Stage::Arriving { .. }
            | Stage::Absent => {}
        }
    }

    /// The donor has not begun, or it is over.
    fn go_on_from_owned(&mut self, id: u64, from: usize, to: usize, epoch: u64) {
        self.say(from, step(id, Step::ExportBegin { epoch: epoch - 1, to: group(to) }));
        if matches!(self.groups[from].stage(SHARD), Stage::Owned { .. }) {
            // It is spent, or the words were lost: then the recipient makes sure that nothing comes of it.
            self.say(to, step(id, Step::Refuse { epoch }));
            if self.groups[to].fate(SHARD, MoveId(id), epoch) == Fate::Refused {
                // Another one can only begin when this one never does.
                self.hear(from, &step(id, Step::ExportBegin { epoch: epoch - 1, to: group(to) }));
                self.hear(from, &step(id, Step::ExportCancel));
                (self.open, self.refused) = (None, self.refused + 1);
            }
        }
    }

    fn send_the_last(&mut self, seen: &Machine, id: u64, to: usize, epoch: u64) {
        if self.one_in(6) {
            return self.say(to, step(id, Step::Refuse { epoch }));
        }
        let Stage::Arriving { cursor, .. } = self.groups[to].stage(SHARD) else { return };
        let parcel = seen.parcel(SHARD, &cursor, self.parcel_bytes).expect("it is frozen");
        let left = seen.left_to_send(SHARD, &parcel.to, 1).expect("it is frozen");
        let bytes = &parcel.bytes;
        let seal = seen.seal(SHARD).expect("it is frozen");
        self.say(to, step(id, if left == 0 { Step::Adopt { seal, bytes } } else { Step::Parcel { bytes } }));
    }

    /// The next move, from whoever owns the shard.
    fn begin(&mut self) {
        let owner =
            self.groups.iter().position(|machine| matches!(machine.stage(SHARD), Stage::Owned { .. }));
        let from = owner.expect("no move is open");
        let to = (from + self.chance.random_range(1..3)) % 3;
        self.moves += 1;
        self.open = Some((self.moves, from, to, self.epoch + 1));
    }

    fn play(&mut self) {
        match self.chance.random_range(0..12) {
            0..4 => {
                let which = self.chance.random_range(0..self.clients.count());
                let to = self.chance.random_range(0..self.groups.len());
                self.clients.ask(which, &mut self.groups[to], &mut self.chance);
            }
            4 => {
                let from = self.chance.random_range(0..self.groups.len());
                self.clients.keys().iter().for_each(|key| self.clients.read(key, &self.groups[from]));
            }
            5 => {
                let which = self.chance.random_range(0..self.groups.len());
                self.former.push((which, self.groups[which].clone()));
                let restored = Machine::restore(&self.groups[which].snapshot()).expect("our own");
                assert_eq!(restored, self.groups[which], "a snapshot is all of it");
                self.groups[which] = restored;
            }
            6 if !self.said.is_empty() => {
                let which = self.chance.random_range(0..self.said.len());
                let (to, command) = self.said[which].clone();
                self.hear(to, &command);
            }
            _ => self.drive(),
        }
    }
}

#[test]
fn whatever_is_lost_late_or_doubled_one_group_serves_and_every_write_happens_once() {
    let (mut adopted, mut refused) = (0, 0);
    for seed in 0..200 {
        let mut world = World::new(seed);
        for _ in 0..600 {
            world.play();
        }
        (adopted, refused) = (adopted + world.adopted, refused + world.refused);
    }
    assert!(adopted > 1_000 && refused > 100, "{adopted} moves ended well, {refused} did not");
}
