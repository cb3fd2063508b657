//! What a mover does at single moments, told as stories of one group, whose log and whose other group are the test's. `tests`
//! plays three groups at random.

use ordeal_client::wire::{AdminChange, CommandId, Mark, Members, NodeId, SessionId, Version, shard_of};

use super::message::Way;
use super::*;
use crate::controller;
use crate::kv::Op;
use crate::shard::moving::{Cursor, Fate, Stage};

const SHARDS: u32 = 4;
/// It moves, by the first of all moves.
const SHARD: ShardId = ShardId(0);
const MOVE: MoveId = MoveId(1);
const DONOR: GroupId = GroupId(1);
const RECIPIENT: GroupId = GroupId(2);
/// It has no part in the move.
const OTHER: GroupId = GroupId(3);

/// One group.
struct Side {
    machine: Machine,
    mover: Mover,
    controller: controller::Machine,
}

impl Side {
    fn new(group: GroupId, owned: &[ShardId]) -> Side {
        let members = Members::from([(NodeId(1), "127.0.0.1:1".to_owned())]);
        let all = [DONOR, RECIPIENT, OTHER].map(|group| (group, members.clone()));
        let mut side = Side {
            machine: Machine::new(SHARDS, owned.iter().copied()),
            mover: Mover::new(group),
            controller: controller::Machine::new(SHARDS, &all.into()),
        };
        side.admin(AdminChange::Move { shard: SHARD, to: RECIPIENT });
        let open = side.controller.latest().moves[&SHARD];
        assert_eq!((open.id, open.from, open.to, open.epoch), (MOVE, DONOR, RECIPIENT, 1));
        side
    }

    /// The donor, with so many keys of a part each.
    fn donor(keys: u64) -> Side {
        let mut side = Side::new(DONOR, &[SHARD]);
        side.apply(&Command::OpenSession { shard: SHARD }.encode());
        (1..=keys).for_each(|number| side.put(number, PARCEL_BYTES));
        side
    }

    fn recipient() -> Side {
        Side::new(RECIPIENT, &[])
    }

    fn put(&mut self, number: u64, bytes: usize) {
        let mut keys = (0..).map(|salt| format!("{number}-{salt}"));
        let key = keys.find(|key| shard_of(key.as_bytes(), SHARDS) == SHARD).expect("one hashes there");
        let value = vec![0; bytes];
        let (session, op) = (SessionId(1), Op::Put(&value));
        let (sequence, settled, key) = (number, number - 1, key.as_bytes());
        self.apply(&Command::Write { shard: SHARD, session, sequence, settled, key, op }.encode());
    }

    fn admin(&mut self, change: AdminChange) {
        let (id, base) = (CommandId(self.controller.applied()), self.controller.latest().number);
        let command = controller::Command::Admin { id, base, change };
        self.controller.apply(self.controller.applied() + 1, &command.encode());
    }

    fn controller_ends(&mut self, end: MoveEnd) {
        let command = controller::Command::MoveEnd { shard: SHARD, id: MOVE, end };
        self.controller.apply(self.controller.applied() + 1, &command.encode());
    }

    fn apply(&mut self, command: &Arc<[u8]>) {
        self.machine.apply(self.machine.applied() + 1, command);
    }

    fn step(&mut self, step: Step<'_>) {
        self.apply(&Command::Move { shard: SHARD, id: MOVE, step }.encode());
    }

    /// Looks, and applies what it proposes, until it proposes nothing more; gives the other wishes.
    fn look(&mut self) -> Vec<Wish> {
        let mut others = Vec::new();
        loop {
            self.mover.look(&self.machine, self.controller.latest());
            let wishes: Vec<Wish> = self.mover.wishes().collect();
            let before = self.machine.applied();
            for wish in wishes {
                match wish {
                    Wish::Propose(command) => self.apply(&command),
                    Wish::Tell(..) | Wish::Ended { .. } => others.push(wish),
                }
            }
            if self.machine.applied() == before {
                return others;
            }
        }
    }

    fn hear(&mut self, from: GroupId, message: Message) -> Vec<Wish> {
        self.mover.hear(&self.machine, from, message);
        self.look()
    }

    /// What it wishes while so much time passes.
    fn pass(&mut self, ticks: u64) -> Vec<Wish> {
        let tick = |_| {
            self.mover.tick();
            self.look()
        };
        (0..ticks).flat_map(tick).collect()
    }

    fn stage(&self) -> Stage {
        self.machine.stage(SHARD)
    }
}

fn offer() -> Message {
    Message::Offer { shard: SHARD, id: MOVE, epoch: 2 }
}

fn ask() -> Message {
    Message::Ask { shard: SHARD, id: MOVE, epoch: 2 }
}

fn progress(fate: Fate, cursor: Option<Cursor>) -> Message {
    Message::Progress { shard: SHARD, id: MOVE, fate, cursor }
}

/// The donor tells this to the recipient.
fn tells(message: Message) -> Wish {
    Wish::Tell(RECIPIENT, message)
}

/// The recipient answers this.
fn answers(fate: Fate, cursor: Option<Cursor>) -> Wish {
    Wish::Tell(DONOR, progress(fate, cursor))
}

/// The controller is told so.
fn ended(end: MoveEnd) -> Wish {
    Wish::Ended { shard: SHARD, id: MOVE, end }
}

/// The ways of the parts among what is wished.
fn ways(wishes: &[Wish]) -> Vec<Way> {
    let way = |wish: &Wish| match wish {
        Wish::Tell(_, Message::Part { way, .. } | Message::Last { way, .. }) => Some(way.clone()),
        Wish::Tell(_, Message::Offer { .. } | Message::Ask { .. } | Message::Progress { .. })
        | Wish::Propose(_)
        | Wish::Ended { .. } => None,
    };
    wishes.iter().filter_map(way).collect()
}

/// Leaving, and the recipient is where it begins.
fn sending(keys: u64) -> (Side, Vec<Way>) {
    let mut donor = Side::donor(keys);
    assert_eq!(donor.look(), [tells(offer())]);
    let sent = donor.hear(RECIPIENT, progress(Fate::Open, Some(Cursor::START)));
    (donor, ways(&sent))
}

#[test]
fn only_the_recipient_is_believed() {
    for frozen in [false, true] {
        let mut donor = Side::donor(2);
        donor.look();
        if frozen {
            donor.step(Step::Freeze);
        }
        let stage = donor.stage();
        for fate in [Fate::Adopted, Fate::Refused, Fate::Open] {
            for stranger in [OTHER, DONOR] {
                assert_eq!(donor.hear(stranger, progress(fate, Some(Cursor::START))), [], "{fate:?}");
                assert_eq!(donor.stage(), stage, "{stranger} says {fate:?}");
            }
        }
        let of_another = Message::Progress { shard: SHARD, id: MoveId(2), fate: Fate::Refused, cursor: None };
        let before = donor.machine.applied();
        donor.hear(RECIPIENT, of_another);
        assert_eq!(donor.machine.applied(), before, "nothing is proposed on the word of another move");
        assert_ne!(donor.hear(RECIPIENT, progress(Fate::Open, Some(Cursor::START))), []);
        donor.hear(RECIPIENT, progress(Fate::Refused, None));
        assert_eq!(donor.stage(), Stage::Owned { epoch: 1 });
    }
}

#[test]
fn only_the_donor_is_believed() {
    let mut recipient = Side::recipient();
    assert_eq!(recipient.hear(DONOR, offer()), [answers(Fate::Open, Some(Cursor::START))]);
    let stage = recipient.stage();
    let (_, sent) = sending(1);
    let nonsense = || Message::Part { shard: SHARD, id: MOVE, way: sent[0].clone(), bytes: vec![7] };
    for message in [offer(), ask(), nonsense()] {
        assert_eq!(recipient.hear(OTHER, message), []);
        assert_eq!(recipient.stage(), stage);
    }
    assert_eq!(recipient.hear(DONOR, offer()), [answers(Fate::Open, Some(Cursor::START))]);
    recipient.hear(DONOR, nonsense());
    assert_eq!(recipient.machine.fate(SHARD, MOVE, 2), Fate::Refused);
}

/// Lost on the way, or heard and never committed: both look the same from here.
#[test]
fn parts_that_are_lost_are_sent_again_from_where_the_recipient_is() {
    let (mut donor, sent) = sending(2);
    assert_eq!(sent.len(), 1);
    assert_eq!(ways(&again(&mut donor)), sent);
}

/// Its parts were lost: it asks how far the recipient is, and goes on from there.
fn again(donor: &mut Side) -> Vec<Wish> {
    assert!(donor.pass(AGAIN_TICKS).contains(&tells(offer())), "how far is it?");
    donor.hear(RECIPIENT, progress(Fate::Open, Some(Cursor::START)))
}

#[test]
fn a_part_that_came_to_nothing_or_too_early_is_asked_for_again() {
    let (mut donor, mut recipient) = (Side::donor(2), Side::recipient());
    donor.look();
    recipient.hear(DONOR, offer());
    let here = || Some(Cursor::START);
    let mut sent = donor.hear(RECIPIENT, progress(Fate::Open, here()));
    let Some(Wish::Tell(_, part)) = sent.pop() else { panic!("a part is sent") };
    recipient.mover.hear(&recipient.machine, DONOR, part.clone());
    assert!(matches!(recipient.mover.wishes().next(), Some(Wish::Propose(_))), "a leader that is deposed");
    assert_eq!(recipient.pass(AGAIN_TICKS), [answers(Fate::Open, here())]);
    let second =
        donor.pass(1).pop().map(|wish| ways(&[wish]).remove(0)).expect("it is sent behind the first");
    let early = Message::Part { shard: SHARD, id: MOVE, way: second, bytes: Vec::new() };
    assert_eq!(recipient.hear(DONOR, early), [answers(Fate::Open, here())], "it is not the next one");
    recipient.hear(DONOR, part);
    assert!(matches!(recipient.stage(), Stage::Arriving { cursor, .. } if cursor != Cursor::START));
}

#[test]
fn few_parts_are_under_way_at_a_time_and_few_bytes_a_tick() {
    let (mut donor, mut sent) = sending(9);
    assert_eq!(sent.len(), TICK_BYTES / PARCEL_BYTES);
    sent.extend(ways(&donor.pass(RESEND_TICKS - 1)));
    assert_eq!(sent.len(), PARCELS_MAX);
    let first = progress(Fate::Open, Some(sent[0].to.clone()));
    sent.extend(ways(&donor.hear(RECIPIENT, first)));
    assert_eq!(sent.len(), PARCELS_MAX + 1, "one has arrived");
    assert!(sent.windows(2).all(|two| two[0].to == two[1].from), "one behind the other");
    // Frozen, it is not to wait for its turn.
    let mut frozen = Side::donor(9);
    frozen.step(Step::ExportBegin { epoch: 1, to: RECIPIENT });
    frozen.step(Step::Freeze);
    let sent = frozen.hear(RECIPIENT, progress(Fate::Open, Some(Cursor::START)));
    assert_eq!(ways(&sent), [], "its leader has offered nothing yet");
    let sent = frozen.hear(RECIPIENT, progress(Fate::Open, Some(Cursor::START)));
    assert_eq!(ways(&sent).len(), PARCELS_MAX);
}

/// All changes up to this entry are there.
fn upto(index: u64) -> Message {
    let told = Mark::behind(Version { epoch: 1, index });
    progress(Fate::Open, Some(Cursor::Changes { upto: index, part: None, told }))
}

#[test]
fn a_shard_is_frozen_when_little_is_left_to_be_sent() {
    let (mut donor, sent) = sending(1);
    let frozen = |donor: &Side| matches!(donor.stage(), Stage::Frozen { .. });
    donor.hear(RECIPIENT, progress(Fate::Open, Some(sent[0].to.clone())));
    assert!(!frozen(&donor), "keys and sessions are not there yet");
    // Each counts twice: as the key that it changed, and as a change of the history.
    let writes = LEFT_MAX as u64 / 2;
    (2..2 + writes).for_each(|number| donor.put(number, 1));
    let begun = donor.machine.applied() - writes;
    donor.hear(RECIPIENT, upto(begun));
    assert!(!frozen(&donor), "one change too many, and their session");
    let mut slow = donor.machine.clone();
    donor.hear(RECIPIENT, upto(begun + 1));
    assert!(frozen(&donor));
    std::mem::swap(&mut donor.machine, &mut slow);
    donor.mover = Mover::new(DONOR);
    donor.look();
    for _ in 0..CATCH_UP_TICKS {
        assert!(!frozen(&donor));
        donor.hear(RECIPIENT, upto(begun));
        donor.pass(1);
    }
    donor.hear(RECIPIENT, upto(begun));
    assert!(frozen(&donor), "it is to end, however much is written");
}

/// What is left when the shard is frozen is all that its clients wait for.
#[test]
fn one_long_value_is_much_to_be_sent() {
    let (mut donor, _) = sending(1);
    let before = donor.machine.applied();
    donor.put(2, PARCEL_BYTES);
    donor.hear(RECIPIENT, upto(before));
    assert!(matches!(donor.stage(), Stage::Leaving { .. }));
    donor.hear(RECIPIENT, upto(before + 1));
    assert!(matches!(donor.stage(), Stage::Frozen { .. }));
}

#[test]
fn a_silent_recipient_of_a_frozen_shard_is_asked_and_decides() {
    let mut donor = Side::donor(1);
    donor.look();
    donor.step(Step::Freeze);
    donor.look();
    assert!(!donor.pass(ASK_TICKS - 1).contains(&tells(ask())));
    assert!(donor.pass(1).contains(&tells(ask())));
    assert!(donor.pass(AGAIN_TICKS).contains(&tells(ask())), "the word may be lost");
    assert!(matches!(donor.stage(), Stage::Frozen { .. }), "no time decides");
    let mut adopted = donor.machine.clone();
    assert_eq!(donor.hear(RECIPIENT, progress(Fate::Refused, None)), [ended(MoveEnd::Cancelled)]);
    assert_eq!(donor.stage(), Stage::Owned { epoch: 1 });
    std::mem::swap(&mut donor.machine, &mut adopted);
    donor.mover = Mover::new(DONOR);
    assert!(donor.hear(RECIPIENT, progress(Fate::Adopted, None)).contains(&ended(MoveEnd::Adopted)));
    assert_eq!(donor.stage(), Stage::Away { epoch: 2, to: RECIPIENT });
}

#[test]
fn what_the_controller_knows_of_a_frozen_shard_is_enough() {
    let mut donor = Side::donor(1);
    donor.look();
    donor.step(Step::Freeze);
    donor.controller_ends(MoveEnd::Adopted);
    donor.look();
    assert_eq!(donor.stage(), Stage::Away { epoch: 2, to: RECIPIENT });
}

#[test]
fn who_is_asked_decides_against_what_has_not_come() {
    for arriving in [false, true] {
        let mut recipient = Side::recipient();
        if arriving {
            recipient.hear(DONOR, offer());
        }
        assert_eq!(recipient.hear(DONOR, ask()), [answers(Fate::Refused, None)]);
        assert_eq!(recipient.hear(DONOR, offer()), [answers(Fate::Refused, None)], "for good");
    }
}

#[test]
fn a_move_that_nobody_wants_any_more_is_called_off() {
    for begun in [false, true] {
        let mut donor = Side::donor(1);
        if begun {
            donor.look();
        }
        donor.admin(AdminChange::Move { shard: SHARD, to: DONOR });
        assert!(donor.controller.latest().moves[&SHARD].unwanted);
        assert_eq!(donor.look(), [ended(MoveEnd::Cancelled)]);
        assert_eq!(donor.stage(), Stage::Owned { epoch: 1 });
        assert!(donor.pass(AGAIN_TICKS).contains(&ended(MoveEnd::Cancelled)), "the word may be lost");
    }
}

/// What a mover knows may be lost between any two steps: the next one finds all of it in the log.
#[test]
fn a_new_leader_goes_on() {
    let (mut donor, mut recipient) = (Side::donor(1), Side::recipient());
    let depose = |side: &mut Side| side.mover = Mover::new(side.mover.group);
    donor.look();
    depose(&mut donor);
    assert_eq!(donor.look(), [tells(offer())]);
    recipient.hear(DONOR, offer());
    depose(&mut recipient);
    assert_eq!(recipient.look(), [answers(Fate::Open, Some(Cursor::START))]);
    donor.step(Step::Freeze);
    depose(&mut donor);
    assert_eq!(donor.look(), [tells(offer())]);
    assert!(donor.pass(ASK_TICKS).contains(&tells(ask())));
    depose(&mut donor);
    donor.look();
    let mut cursor = Cursor::START;
    while let Stage::Arriving { .. } = recipient.stage() {
        for wish in donor.hear(RECIPIENT, progress(Fate::Open, Some(cursor.clone()))) {
            let Wish::Tell(RECIPIENT, message) = wish else { panic!("{wish:?}") };
            recipient.hear(DONOR, message);
        }
        if let Stage::Arriving { cursor: now, .. } = recipient.stage() {
            assert_ne!(now, cursor, "it comes further");
            cursor = now;
        }
    }
    depose(&mut recipient);
    assert_eq!(recipient.look(), [ended(MoveEnd::Adopted), answers(Fate::Adopted, None)]);
    let way = Way { from: Cursor::START, to: Cursor::START };
    let late = Message::Part { shard: SHARD, id: MOVE, way, bytes: Vec::new() };
    recipient.controller_ends(MoveEnd::Adopted);
    recipient.pass(AGAIN_TICKS);
    assert_eq!(recipient.hear(DONOR, late), [answers(Fate::Adopted, None)], "its donor may not know");
    donor.hear(RECIPIENT, progress(Fate::Adopted, None));
    depose(&mut donor);
    assert_eq!(donor.look(), [ended(MoveEnd::Adopted)]);
}

/// Its donor may be gone for good, and the controller has made an end of the move.
#[test]
fn what_never_comes_whole_is_given_up_when_the_controller_knows_of_no_such_move() {
    let mut recipient = Side::recipient();
    recipient.hear(DONOR, offer());
    recipient.pass(FORSAKEN_TICKS);
    assert!(matches!(recipient.stage(), Stage::Arriving { .. }), "the move is open");
    recipient.controller_ends(MoveEnd::Cancelled);
    recipient.hear(DONOR, offer());
    recipient.pass(FORSAKEN_TICKS - 1);
    assert!(matches!(recipient.stage(), Stage::Arriving { .. }), "its donor was heard");
    recipient.pass(1);
    assert_eq!(recipient.stage(), Stage::Absent);
}

/// As many as may be are under way at a time; the others wait for their turn.
#[test]
fn a_group_gives_few_shards_away_at_a_time() {
    let members = Members::from([(NodeId(1), "127.0.0.1:1".to_owned())]);
    let two = [GroupId(1), GroupId(2)].map(|group| (group, members.clone()));
    let shards = 64;
    let mut controller = controller::Machine::new(shards, &two.into());
    let mut machine = Machine::new(shards, (0..shards).step_by(2).map(ShardId));
    let id = CommandId(1);
    let leave = controller::Command::Admin { id, base: 1, change: AdminChange::Leave([GroupId(1)].into()) };
    controller.apply(1, &leave.encode());
    assert_eq!(controller.latest().moves.len(), 32);
    let mut mover = Mover::new(GroupId(1));
    for _ in 0..50 {
        mover.tick();
        mover.look(&machine, controller.latest());
        for wish in mover.wishes().collect::<Vec<_>>() {
            if let Wish::Propose(command) = wish {
                machine.apply(machine.applied() + 1, &command);
            }
        }
        assert!(machine.on_their_way().count() <= EXPORTS_MAX);
    }
    assert_eq!(machine.on_their_way().count(), EXPORTS_MAX);
}

/// What a stranger makes up is never proposed: it would stop every replica.
#[test]
fn bytes_that_are_no_part_or_another_are_not_proposed() {
    let (mut donor, sent) = sending(2);
    let Some(Wish::Tell(_, Message::Part { bytes, .. })) = again(&mut donor).pop() else { panic!("a part") };
    let other = Way { to: Cursor::Sessions { after: None }, ..sent[0].clone() };
    for (way, bytes) in [(sent[0].clone(), b"nonsense".to_vec()), (other, bytes)] {
        let mut recipient = Side::recipient();
        recipient.hear(DONOR, offer());
        recipient.hear(DONOR, Message::Part { shard: SHARD, id: MOVE, way, bytes });
        assert_eq!(recipient.stage(), Stage::Absent);
        assert_eq!(recipient.machine.fate(SHARD, MOVE, 2), Fate::Refused);
    }
}
