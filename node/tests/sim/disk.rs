//! A node's disk: the real journal (`node/src/storage/journal.rs`, and the log of `ordeal-wal` under it) over a disk in
//! memory that forgets what was not synced. What it must remember is known beside it, and every start is compared with that:
//! all that was synced, and of what was on its way a beginning, batch by batch.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ordeal_client::wire::GroupId;
use ordeal_node::engine::{Batch, BatchTicket, Input};
use ordeal_node::raft::{Index, LogId, Recovered, Snapshot, Term};
use ordeal_node::storage::{Journal, Pace, SnapshotFiles, StorageError};
use ordeal_wal::media::{Fault, Media, Memory, Tear};
use rand::RngExt;
use rand_pcg::Pcg32;

use crate::deaths::{Death, Power};
use crate::shadow::Shadow;
use crate::shelf::Shelf;

/// Small, so that the log turns to a new segment often, frees old ones and moves what is live in them.
const SEGMENT_BYTES_FIRST: u64 = 32 << 10;
const SEGMENT_BYTES_MAX: u64 = 128 << 10;
const SLACK_BYTES: u64 = 256 << 10;
/// A disk sector and a block of the log.
const SECTOR: usize = 512;
const BLOCK: usize = 4096;

/// A node's disk.
#[derive(Debug)]
pub struct Disk {
    memory: Memory,
    shelf: Shelf,
    /// None while the node is down.
    journal: Option<Journal<Shelf>>,
    /// What was synced: nothing may take it away.
    synced: Shadow,
    /// What a reader would see if all was written that was handed over.
    written: Shadow,
    /// Handed over and not known to be synced, oldest first.
    pending: VecDeque<Batch>,
    /// The power fails again so far into the next start.
    again: Option<(u64, Power)>,
    marked: bool,
    /// Its node knows that there is no space for more entries.
    lacks_space: bool,
    /// One of its next operations is to fail.
    failing: bool,
    rotten: bool,
    rng: Pcg32,
}

impl Disk {
    /// An empty one.
    pub fn new(seed: u64, node: u32) -> Self {
        let mut rng = Pcg32::new(seed, 3_000 + u64::from(node));
        Disk {
            memory: Memory::with_salts(u64::from(rng.random::<u32>())).preparing_ahead(),
            shelf: Shelf::default(),
            journal: None,
            synced: Shadow::default(),
            written: Shadow::default(),
            pending: VecDeque::new(),
            again: None,
            marked: true,
            lacks_space: false,
            failing: false,
            rotten: false,
            rng,
        }
    }

    /// A node starts here: what it finds.
    pub fn start(&mut self) -> Result<BTreeMap<GroupId, Recovered>, StorageError> {
        if let Some((operations, power)) = self.again.take() {
            self.stop_after(operations);
            drop(self.open());
            self.lose_power(power);
        }
        let (journal, recovered) = self.open()?;
        let known = [&self.synced, &self.written];
        let (found, mut kept) = (Shadow::of(&recovered, known), self.synced.clone());
        let mut lost: &[Batch] = self.pending.make_contiguous();
        while let Some((first, others)) = lost.split_first()
            && !found.is(&kept, lost)
        {
            kept.take(first);
            lost = others;
        }
        assert!(
            found.is(&kept, lost),
            "disk: {} is found where {} was synced and {} handed over",
            found.words(),
            self.synced.words(),
            kept.words()
        );
        self.pending.clear();
        (self.synced, self.written) = (found.clone(), found);
        (self.journal, self.marked, self.lacks_space) = (Some(journal), true, false);
        Ok(recovered)
    }

    /// Takes a batch; nothing of it is durable yet.
    pub fn write(&mut self, batch: Batch) {
        self.written.take(&batch);
        self.pending.push_back(batch);
    }

    /// This batch, and all before it, become durable with one sync, or the disk fails.
    pub fn sync(&mut self, ticket: BatchTicket) -> Result<(), StorageError> {
        let count = self.pending.iter().take_while(|batch| batch.ticket <= ticket).count();
        if count > 0 {
            let journal = self.journal.as_mut().expect("it is up");
            journal.persist_all(&self.pending.make_contiguous()[..count])?;
            self.pending.drain(..count).for_each(|batch| self.synced.take(&batch));
            self.marked = false;
        }
        Ok(())
    }

    /// Nothing was to be written for a moment: the last frame is proved durable.
    pub fn idle(&mut self) -> Result<(), StorageError> {
        if !self.marked && self.pending.is_empty() {
            self.journal.as_mut().expect("it is up").mark()?;
            self.marked = true;
        }
        Ok(())
    }

    /// Whether it became full, or has room again: news for its node.
    pub fn space_news(&mut self) -> Result<Option<Input>, StorageError> {
        let lacks_space = !self.journal.as_mut().expect("it is up").has_room()?;
        let news = lacks_space != self.lacks_space;
        self.lacks_space = lacks_space;
        Ok(news.then_some(if lacks_space { Input::DiskFull } else { Input::DiskHasRoom }))
    }

    /// Somebody else fills it, or makes space again.
    pub fn fill(&mut self) {
        self.memory.fill();
    }

    /// There is space again.
    pub fn free(&mut self) {
        self.memory.limit(usize::MAX);
    }

    /// Another thread wrote a snapshot aside.
    pub fn store(&mut self, group: GroupId, snapshot: &Snapshot) -> Result<(), StorageError> {
        self.shelf.write(group, snapshot, Pace::AtOnce)
    }

    /// The node dies, a while into the writes that it was about to do.
    pub fn die(&mut self, death: Death) {
        if let Some(mut journal) = self.journal.take()
            && death.after != Some(0)
            && !self.pending.is_empty()
        {
            if let Some(operations) = death.after {
                self.stop_after(operations);
            }
            // The first batch is under way already, the others share the next sync.
            let (first, others) = self.pending.make_contiguous().split_at(1);
            let _stopped = journal.persist_all(first).and_then(|()| journal.persist_all(others));
        }
        self.go_on();
        if let Some(power) = death.power {
            self.lose_power(power);
            self.again = Some((power.again, power)).filter(|&(operations, _)| operations > 0);
        }
    }

    /// One of its operations to come fails.
    pub fn fail_after(&mut self, operations: u64) {
        self.memory.plan(Fault::Fail(self.memory.operations() + operations));
        self.failing = true;
    }

    /// Bits of what was acknowledged change, unnoticed. Says whether there was anything to change.
    pub fn rot(&mut self) -> bool {
        // As an idle node's log: damage to a last frame that nothing proves durable is a torn one, for all that can be known.
        if self.journal.is_none() || !self.pending.is_empty() || self.idle().is_err() {
            return false;
        }
        let mut names = self.memory.list().unwrap_or_default();
        names.retain(|name| name.ends_with(".wal"));
        let Some(newest) = names.last().cloned() else { return false };
        let name = names.swap_remove(self.rng.random_range(0..names.len()));
        let bytes = self.memory.read_all(&name).unwrap_or_default();
        let blocks = bytes.chunks(BLOCK).enumerate().filter(|(_, block)| block.iter().any(|&byte| byte != 0));
        let mut blocks: Vec<usize> = blocks.map(|(block, _)| block * BLOCK).collect();
        if name == newest {
            blocks.pop();
        }
        if blocks.is_empty() {
            return false;
        }
        let at = blocks[self.rng.random_range(0..blocks.len())];
        match self.rng.random_range(0..3) {
            0 => self.memory.flip(&name, 8 * at + self.rng.random_range(0..8 * BLOCK)),
            1 => {
                let sector = at + SECTOR * self.rng.random_range(0..BLOCK / SECTOR);
                self.wipe(&name, &bytes, sector, SECTOR);
            }
            _ => self.wipe(&name, &bytes, at, BLOCK),
        }
        self.rotten = true;
        true
    }

    /// Whether bits of it changed: then a start may be refused.
    pub fn is_rotten(&self) -> bool {
        self.rotten
    }

    /// Whether this entry is durable here, as itself or in a snapshot.
    pub fn has_durably(&self, group: GroupId, id: LogId) -> bool {
        self.synced.has(group, id)
    }

    /// Whether this entry is written here, durably or not, as itself or in a snapshot.
    pub fn has(&self, group: GroupId, id: LogId) -> bool {
        self.written.has(group, id)
    }

    /// Term of what stands at this index, durable or not, also at the end of the snapshot.
    pub fn term_at(&self, group: GroupId, index: Index) -> Option<Term> {
        self.written.term_at(group, index)
    }

    fn open(&self) -> Result<(Journal<Shelf>, BTreeMap<GroupId, Recovered>), StorageError> {
        let options = ordeal_wal::Options {
            store_id: 7,
            segment_bytes_first: SEGMENT_BYTES_FIRST,
            segment_bytes_max: SEGMENT_BYTES_MAX,
            slack_bytes: SLACK_BYTES,
            ..ordeal_wal::Options::default()
        };
        Journal::open(Arc::new(self.memory.clone()), options, self.shelf.clone())
    }

    fn stop_after(&mut self, operations: u64) {
        self.memory.plan(Fault::Stop(self.memory.operations() + operations));
        // Of a snapshot's few steps each is as likely the last.
        self.shelf.stop_after(Some(operations % 4));
    }

    /// Whether an operation was to fail, which does not happen again.
    pub fn take_failure(&mut self) -> bool {
        let failing = self.failing;
        self.go_on();
        failing
    }

    fn go_on(&mut self) {
        self.failing = false;
        self.memory.repair();
        self.shelf.stop_after(None);
    }

    fn lose_power(&mut self, power: Power) {
        self.go_on();
        let tear = if power.torn_bytes < 4096 { Tear::Sector } else { Tear::Block };
        let rng = &mut self.rng;
        let mut keep = || rng.random_range(0..100) < power.keep_percent;
        self.memory = self.memory.lose_power(tear, &mut |_| keep());
        self.shelf.lose_power(keep);
    }

    fn wipe(&self, name: &str, bytes: &[u8], at: usize, count: usize) {
        for (place, byte) in bytes.iter().enumerate().skip(at).take(count) {
            (0..8).filter(|bit| byte >> bit & 1 == 1).for_each(|bit| self.memory.flip(name, 8 * place + bit));
        }
    }
}
