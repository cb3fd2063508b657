//! What `storage` was told to keep is what it says after a restart: random writes of several groups against a model,
//! with a restart after any batch, and a disk that stays bounded however long that goes on.

#![expect(clippy::disallowed_methods, reason = "the test lays hands on the files")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use ordeal_client::wire::{ClusterId, GroupId, Layout, NodeId};
use ordeal_node::engine::{Batch, BatchTicket};
use ordeal_node::raft::{
    Entry, HardState, LogId, Lost, Membership, Payload, Persist, Recovered, Snapshot, Ticket,
};
use ordeal_node::storage::{Identity, Options, Storage, StorageError};
use ordeal_wal::SyncMode;
use rand::{Rng, RngExt, SeedableRng};
use rand_pcg::Pcg64;

const LAYOUT: Layout = Layout { groups: 2, replicas: None, shards: 64 };
const OURS: Identity = Identity { cluster: ClusterId(0xc0ffee), node: NodeId(1), layout: LAYOUT };

const SEGMENT_BYTES: u64 = 32 << 10;

/// Small segments, so that a short test turns and frees many; no flushes, as nothing here cuts the power.
fn options() -> Options {
    Options {
        sync: SyncMode::Never,
        segment_bytes_first: SEGMENT_BYTES,
        segment_bytes_max: SEGMENT_BYTES,
        slack_bytes: 4 * SEGMENT_BYTES,
        free_bytes_min: 0,
    }
}

fn open(dir: &Path) -> (Storage, BTreeMap<GroupId, Recovered>) {
    Storage::open(dir, &OURS, options()).expect("the directory opens")
}

/// What one group should remember, by the words of the documentation of `Persist`.
#[derive(Debug, Clone)]
struct Model {
    recovered: Recovered,
    first: u64,
    tickets: u64,
}

impl Default for Model {
    fn default() -> Self {
        Model { recovered: Recovered::default(), first: 1, tickets: 0 }
    }
}

impl Model {
    fn snapshot(&self) -> LogId {
        self.recovered.snapshot.as_ref().map_or(LogId::ZERO, |snapshot| snapshot.last)
    }

    fn last(&self) -> LogId {
        self.recovered.entries.last().map_or(self.snapshot(), |entry| entry.id)
    }

    fn apply(&mut self, persist: &Persist) {
        let kept = &mut self.recovered;
        kept.hard_state = persist.hard_state.unwrap_or(kept.hard_state);
        if let Some(snapshot) = &persist.snapshot {
            if !kept.entries.iter().any(|entry| entry.id == snapshot.last) {
                kept.entries.clear();
            }
            kept.snapshot = Some(snapshot.clone());
        }
        if let Some(from) = persist.truncate_from {
            kept.entries.retain(|entry| entry.id.index < from);
        }
        kept.entries.extend(persist.entries.iter().cloned());
        kept.entries.retain(|entry| entry.id.index >= persist.first);
        self.first = persist.first;
    }

    fn append(&mut self, chance: &mut Pcg64, term: u64, after: u64) -> Vec<Entry> {
        let count = chance.random_range(1..8);
        (1..=count).map(|step| entry(after + step, term, chance)).collect()
    }

    /// A write such as a member may ask for: appends, conflicts, snapshots of its own and from a leader.
    fn draw(&mut self, chance: &mut Pcg64) -> Persist {
        self.tickets += 1;
        let term = self.recovered.hard_state.term;
        let mut persist = Persist {
            ticket: Ticket(self.tickets),
            hard_state: None,
            snapshot: None,
            truncate_from: None,
            entries: Vec::new(),
            repairs: Vec::new(),
            first: self.first,
        };
        let (last, snapshot) = (self.last(), self.snapshot());
        match chance.random_range(0..10) {
            0 => {
                let vote = Some(NodeId(chance.random_range(1..4))).filter(|_| chance.random_bool(0.5));
                persist.hard_state = Some(HardState { term: term + 1, vote });
            }
            1 if last.index > snapshot.index => {
                let from = chance.random_range(snapshot.index + 1..=last.index);
                persist.hard_state = Some(HardState { term: term + 1, vote: None });
                persist.truncate_from = Some(from);
                persist.entries = self.append(chance, term + 1, from - 1);
            }
            2 if last.index > snapshot.index => {
                let upto = self.recovered.entries[chance.random_range(0..self.recovered.entries.len())].id;
                if upto.index > snapshot.index {
                    persist.snapshot = Some(any_snapshot(upto, chance));
                    persist.first =
                        self.first.max((upto.index + 1).saturating_sub(chance.random_range(0..6)));
                }
            }
            3 if chance.random_bool(0.2) => {
                let received = LogId::new(last.index + chance.random_range(1..9), term + 1);
                persist.hard_state = Some(HardState { term: term + 1, vote: None });
                persist.snapshot = Some(any_snapshot(received, chance));
                persist.first = received.index + 1;
                if chance.random_bool(0.5) {
                    persist.entries = self.append(chance, term + 1, received.index);
                }
            }
            _ => {
                persist.hard_state = (term == 0).then_some(HardState { term: 1, vote: None });
                persist.entries = self.append(chance, term.max(1), last.index);
            }
        }
        self.apply(&persist);
        persist
    }
}

fn entry(index: u64, term: u64, chance: &mut Pcg64) -> Entry {
    let payload = match chance.random_range(0..20) {
        0 => Payload::Noop,
        1 => Payload::Membership(members(chance)),
        _ => Payload::Command(bytes(chance, 300)),
    };
    Entry { id: LogId::new(index, term), payload }
}

fn any_snapshot(last: LogId, chance: &mut Pcg64) -> Snapshot {
    Snapshot { last, membership: members(chance), data: bytes(chance, 600) }
}

fn members(chance: &mut Pcg64) -> Arc<Membership> {
    let addresses = (1..chance.random_range(2..9)).map(|id| (NodeId(id), format!("n{id}:{}", id * 7)));
    Arc::new(Membership::of_voters(addresses.collect()))
}

fn bytes(chance: &mut Pcg64, max: usize) -> Arc<[u8]> {
    let mut bytes = vec![0; chance.random_range(0..max)];
    chance.fill_bytes(&mut bytes);
    bytes.into()
}

fn batch(number: u64, groups: Vec<(GroupId, Persist)>) -> Batch {
    Batch { ticket: BatchTicket(number), groups }
}

fn expected(models: &BTreeMap<GroupId, Model>) -> BTreeMap<GroupId, Recovered> {
    models.iter().map(|(&group, model)| (group, model.recovered.clone())).collect()
}

/// Draws batches; every group but the first is quiet most of the time. Calls `between` after each batch.
fn run_script(seed: u64, batches: u64, mut restart_each: impl FnMut(u64) -> bool) {
    let dir = tempfile::tempdir().unwrap();
    let mut chance = Pcg64::seed_from_u64(seed);
    let mut models: BTreeMap<GroupId, Model> = BTreeMap::new();
    let (mut storage, recovered) = open(dir.path());
    assert_eq!(recovered, BTreeMap::new());
    for number in 1..=batches {
        let mut groups = Vec::new();
        for (group, share) in [(GroupId(0), 0.05), (GroupId(1), 1.0), (GroupId(2), 0.3)] {
            if chance.random_bool(share) {
                groups.push((group, models.entry(group).or_default().draw(&mut chance)));
            }
        }
        storage.persist(&batch(number, groups)).unwrap();
        if restart_each(number) {
            drop(storage);
            let (opened, recovered) = open(dir.path());
            assert_eq!(recovered, expected(&models), "seed {seed}, after batch {number}");
            storage = opened;
        }
    }
    drop(storage);
    assert_eq!(open(dir.path()).1, expected(&models), "seed {seed}, at the end");
}

#[test]
fn what_was_persisted_is_recovered_after_any_batch() {
    for seed in 0..4 {
        run_script(seed, 60, |_| true);
    }
}

#[test]
fn what_was_persisted_is_recovered_after_many_turns_of_the_log() {
    for seed in 100..103 {
        run_script(seed, 600, |number| number % 97 == 0);
    }
}

#[test]
fn the_disk_stays_bounded_while_one_group_is_quiet_and_the_other_compacts_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let (mut storage, _) = open(dir.path());
    let mut chance = Pcg64::seed_from_u64(7);
    let mut models: BTreeMap<GroupId, Model> = BTreeMap::new();
    let quiet = models.entry(GroupId(0)).or_default().draw_appends(&mut chance, 20, None);
    storage.persist(&batch(1, vec![(GroupId(0), quiet)])).unwrap();

    let mut longest = 0;
    for number in 2..1_000 {
        let model = models.entry(GroupId(1)).or_default();
        let compact = (number % 10 == 0).then_some(5);
        let persist = model.draw_appends(&mut chance, 10, compact);
        storage.persist(&batch(number, vec![(GroupId(1), persist)])).unwrap();
        longest = longest.max(storage.log_disk_bytes());
    }
    // Live are at most 20 quiet entries and 15 of the other of up to 310 bytes: below 12 KiB. Twice that, the slack of four
    // segments, and four more: the open one, the next, one that is begun by what moves, and one that is freed as a whole.
    let bound = 2 * (12 << 10) + 8 * SEGMENT_BYTES;
    assert!(longest <= bound, "the log took {longest} bytes, the bound is {bound}");
    let snapshots = fs::read_dir(dir.path().join("snapshots")).unwrap().count();
    assert_eq!(snapshots, 1, "older snapshots are removed");
    drop(storage);
    assert_eq!(open(dir.path()).1, expected(&models));
}

impl Model {
    /// `count` entries, and with `compact` a snapshot up to the last before, with so many entries kept behind it.
    fn draw_appends(&mut self, chance: &mut Pcg64, count: u64, compact: Option<u64>) -> Persist {
        self.tickets += 1;
        let last = self.last();
        let persist = Persist {
            ticket: Ticket(self.tickets),
            hard_state: (last == LogId::ZERO).then_some(HardState { term: 1, vote: None }),
            snapshot: compact.map(|_| any_snapshot(last, chance)),
            truncate_from: None,
            entries: (1..=count).map(|step| entry(last.index + step, 1, chance)).collect(),
            repairs: Vec::new(),
            first: compact.map_or(self.first, |kept| last.index + 1 - kept),
        };
        self.apply(&persist);
        persist
    }
}

#[test]
fn leftovers_of_a_snapshot_that_was_never_finished_or_never_named_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let snapshots = dir.path().join("snapshots");
    fs::write(snapshots.join("g1-42-5.snap.tmp"), b"half").unwrap();
    fs::write(snapshots.join("g1-41-5.snap"), b"whole, but the log never heard of it").unwrap();
    assert_eq!(open(dir.path()).1, BTreeMap::new());
    assert_eq!(fs::read_dir(&snapshots).unwrap().count(), 0);
}

#[test]
fn a_snapshot_that_the_log_names_and_that_is_gone_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let (mut storage, _) = open(dir.path());
    let mut chance = Pcg64::seed_from_u64(1);
    let mut model = Model::default();
    for number in 1..3 {
        let persist = model.draw_appends(&mut chance, 10, (number == 2).then_some(0));
        storage.persist(&batch(number, vec![(GroupId(1), persist)])).unwrap();
    }
    drop(storage);
    fs::remove_file(dir.path().join("snapshots/g1-10-1.snap")).unwrap();
    let error = Storage::open(dir.path(), &OURS, options()).unwrap_err();
    assert!(matches!(error, StorageError::Damaged { .. }), "{error}");
    assert!(error.to_string().ends_with("g1-10-1.snap: is gone, though the log names it"), "{error}");
}

/// Three entries, the second of them damaged on the disk since.
fn with_a_damaged_entry(dir: &Path, payload: &Payload, found_by: &[u8]) -> Vec<Entry> {
    let (mut storage, _) = open(dir);
    let mut chance = Pcg64::seed_from_u64(1);
    let mut model = Model::default();
    let mut persist = model.draw_appends(&mut chance, 3, None);
    persist.entries[1].payload = payload.clone();
    let entries = persist.entries.clone();
    storage.persist(&batch(1, vec![(GroupId(1), persist)])).unwrap();
    storage.mark().unwrap();
    drop(storage);
    let path = dir.join("wal/0000000000000001.wal");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(found_by.len()).position(|window| window == found_by).expect("it is in the log");
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    entries
}

#[test]
fn an_entry_that_was_durable_and_is_damaged_is_named_until_it_is_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let marked = b"a command that is easily found";
    let payload = Payload::Command(Arc::from(&marked[..]));
    let entries = with_a_damaged_entry(dir.path(), &payload, marked);
    for _ in 0..2 {
        let (_, recovered) = open(dir.path());
        let found = &recovered[&GroupId(1)];
        assert_eq!(found.lost, [Lost { id: LogId::new(2, 1), may_be_membership: false }]);
        assert_eq!(found.entries, [entries[0].clone(), entries[2].clone()]);
    }
    let (mut storage, _) = open(dir.path());
    let repair = Persist {
        ticket: Ticket(1),
        hard_state: None,
        snapshot: None,
        truncate_from: None,
        entries: Vec::new(),
        repairs: vec![entries[1].clone()],
        first: 1,
    };
    storage.persist(&batch(1, vec![(GroupId(1), repair)])).unwrap();
    drop(storage);
    let (_, recovered) = open(dir.path());
    assert_eq!((&recovered[&GroupId(1)].lost[..], &recovered[&GroupId(1)].entries), (&[][..], &entries));
}

/// Who votes is not known without it, and the log says so although it lost it.
#[test]
fn a_damaged_configuration_is_known_for_one() {
    let dir = tempfile::tempdir().unwrap();
    let address = "a-name-that-is-easily-found:1";
    let members = Membership::of_voters([(NodeId(1), address.to_owned())].into());
    with_a_damaged_entry(dir.path(), &Payload::Membership(members.into()), address.as_bytes());
    let (_, recovered) = open(dir.path());
    assert_eq!(recovered[&GroupId(1)].lost, [Lost { id: LogId::new(2, 1), may_be_membership: true }]);
}

/// What a snapshot covers is not needed.
#[test]
fn a_damaged_entry_before_the_end_of_the_snapshot_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let marked = b"a command that is easily found";
    let payload = Payload::Command(Arc::from(&marked[..]));
    let entries = with_a_damaged_entry(dir.path(), &payload, marked);
    let mut chance = Pcg64::seed_from_u64(1);
    let (mut storage, _) = open(dir.path());
    let snapshot = Persist {
        ticket: Ticket(1),
        hard_state: None,
        snapshot: Some(any_snapshot(LogId::new(2, 1), &mut chance)),
        truncate_from: None,
        entries: Vec::new(),
        repairs: Vec::new(),
        first: 1,
    };
    storage.persist(&batch(1, vec![(GroupId(1), snapshot)])).unwrap();
    drop(storage);
    let (_, recovered) = open(dir.path());
    let found = &recovered[&GroupId(1)];
    assert_eq!((found.lost.len(), &found.entries[..]), (0, &entries[2..]));
}

#[test]
fn the_directory_of_another_node_is_refused_and_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    for other in [Identity { node: NodeId(2), ..OURS }, Identity { cluster: ClusterId(0xdead_beef), ..OURS }]
    {
        let error = Storage::open(dir.path(), &other, options()).unwrap_err();
        let words = "belongs to cluster 0000000000c0ffee node n1, not to cluster";
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.hint().contains("--dir"));
    }
    assert_eq!(open(dir.path()).1, BTreeMap::new());
}

#[test]
fn a_directory_in_use_and_a_full_disk_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let _held = open(dir.path());
    let error = Storage::open(dir.path(), &OURS, options()).unwrap_err();
    assert!(matches!(error, StorageError::Locked { .. }), "{error}");

    let other = tempfile::tempdir().unwrap();
    let greedy = Options { free_bytes_min: u64::MAX, ..options() };
    let error = Storage::open(other.path(), &OURS, greedy).unwrap_err();
    assert!(matches!(error, StorageError::NoSpace { .. }), "{error}");
    assert!(error.hint().contains("df -h"));
}
