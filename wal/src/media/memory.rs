//! A log in memory, on a disk that forgets: for the tests of this crate, and for simulators.
//!
//! ```text
//!                 write            sync                    loss of power
//!   bytes         seen at once     durable                 of the rest any sectors or blocks stay, and others do not
//!   names         seen at once     durable (sync_names)    of the rest any changes stay, and others do not
//! ```
//!
//! As on a real disk, a process that dies takes nothing with it: what it wrote is seen by the next. And as measured on
//! ext4, XFS and btrfs, a sync that failed leaves pages which are seen, count as clean, and never reach the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::sectors::{SECTOR, SECTORS_OF_BLOCK, Sectors};
use super::{Ahead, Guard, Media, Source, Store};

const EIO: i32 = 5;

/// A disk. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    disk: Arc<Mutex<Disk>>,
    locked: Arc<AtomicBool>,
}

/// How much of a write is there or not there after a loss of power, but never a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tear {
    /// 512 bytes.
    Sector,
    /// 4096 bytes.
    Block,
}

/// What a loss of power asks about each thing that was not durable yet: does it stay?
pub type Keep<'a> = dyn FnMut(&Crash<'_>) -> bool + 'a;

/// Something that was not durable yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash<'a> {
    /// This much of a file, by the name it has now.
    Bytes {
        /// The file.
        name: &'a str,
        /// Where the sector or block starts.
        offset: usize,
    },
    /// What a name means now.
    Name(&'a str),
}

/// What is to go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This operation (counted from 0, see [`Memory::operations`]) fails with EIO, and none of it happens.
    Fail(u64),
    /// Nothing happens from this operation on: every one fails.
    Stop(u64),
}

#[derive(Debug, Default)]
struct Disk {
    files: BTreeMap<u64, Bytes>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    next_file: u64,
    operations: u64,
    faults: Vec<Fault>,
    salts: u64,
    bytes_max: Option<usize>,
    in_order: bool,
}

#[derive(Debug, Clone, Default)]
struct Bytes {
    /// Both are of one length.
    seen: Sectors,
    durable: Sectors,
    /// Sectors that count as clean since a sync of them failed.
    lost: BTreeSet<usize>,
    /// So many have it open.
    handles: usize,
}

impl Memory {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Memory {
        Memory::default()
    }

    /// An empty disk whose files get other salts.
    #[must_use]
    pub fn with_salts(seed: u64) -> Memory {
        Disk { salts: seed << 32, ..Disk::default() }.into()
    }

    /// Segments are created ahead of their use, as in a directory, but on the thread of the log.
    #[must_use]
    pub fn preparing_ahead(self) -> Memory {
        self.disk().in_order = true;
        self
    }

    /// The power fails: of what was not durable, `keep` says what stays. The result is the disk as it is found then; this
    /// one is left as it is.
    #[must_use]
    pub fn lose_power(&self, tear: Tear, keep: &mut Keep<'_>) -> Memory {
        let disk = self.disk();
        let mut left = Disk {
            next_file: disk.next_file,
            salts: disk.salts,
            bytes_max: disk.bytes_max,
            in_order: disk.in_order,
            ..Disk::default()
        };
        let all: BTreeSet<&String> = disk.names.keys().chain(disk.durable_names.keys()).collect();
        for name in all {
            let (seen, durable) = (disk.names.get(name), disk.durable_names.get(name));
            let stays = if seen != durable && keep(&Crash::Name(name)) { seen } else { durable };
            left.durable_names.extend(stays.map(|&file| (name.clone(), file)));
        }
        for (name, file) in &left.durable_names {
            let Some(bytes) = disk.files.get(file) else { continue };
            left.files.entry(*file).or_insert_with(|| bytes.after_power_loss(tear, name, keep));
        }
        left.names = left.durable_names.clone();
        left.into()
    }

    /// A disk with the same content, seen and durable, that goes its own way.
    #[must_use]
    pub fn copy(&self) -> Memory {
        let disk = self.disk();
        Disk {
            files: disk
                .files
                .iter()
                .map(|(&file, bytes)| (file, Bytes { handles: 0, ..bytes.clone() }))
                .collect(),
            names: disk.names.clone(),
            durable_names: disk.durable_names.clone(),
            faults: Vec::new(),
            ..*disk
        }
        .into()
    }

    /// Writes, syncs, creations, renames, removals and syncs of names so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.disk().operations
    }

    /// Plans a fault.
    pub fn plan(&self, fault: Fault) {
        self.disk().faults.push(fault);
    }

    /// Forgets all planned faults.
    pub fn repair(&self) {
        self.disk().faults.clear();
    }

    /// From now on the disk has room for this much: creations that go beyond it fail.
    pub fn limit(&self, bytes: usize) {
        self.disk().bytes_max = Some(bytes);
    }

    /// From now on the disk has no room but for what it holds.
    pub fn fill(&self) {
        let mut disk = self.disk();
        disk.bytes_max = Some(disk.taken());
    }

    /// What a file holds, seen and durable being the same from now on.
    #[must_use]
    pub fn read_all(&self, name: &str) -> Option<Vec<u8>> {
        let disk = self.disk();
        disk.names.get(name).and_then(|file| disk.files.get(file)).map(|bytes| bytes.seen.bytes())
    }

    /// Puts a file there, durably.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let mut disk = self.disk();
        let file = disk.next_file;
        disk.next_file += 1;
        disk.files.insert(file, Bytes::of(Sectors::of(bytes)));
        disk.names.insert(name.to_owned(), file);
        disk.durable_names.insert(name.to_owned(), file);
    }

    /// Flips a bit of a file, on the disk and in memory.
    pub fn flip(&self, name: &str, bit: usize) {
        let mut disk = self.disk();
        let Some(file) = disk.names.get(name).copied() else { return };
        let Some(bytes) = disk.files.get_mut(&file) else { return };
        bytes.seen.flip(bit);
        bytes.durable.flip(bit);
    }

    /// Takes a file away, durably.
    pub fn lose(&self, name: &str) {
        let mut disk = self.disk();
        disk.names.remove(name);
        disk.durable_names.remove(name);
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<Disk> for Memory {
    fn from(disk: Disk) -> Memory {
        Memory { disk: Arc::new(Mutex::new(disk)), locked: Arc::default() }
    }
}

impl Disk {
    /// Counts an operation, which may be one that is to fail.
    fn operate(&mut self) -> io::Result<()> {
        let number = self.operations;
        self.operations += 1;
        for fault in &self.faults {
            match *fault {
                Fault::Stop(at) if number >= at => return Err(io::Error::other("the process is dead")),
                Fault::Fail(at) if number == at => return Err(io::Error::from_raw_os_error(EIO)),
                Fault::Stop(_) | Fault::Fail(_) => {}
            }
        }
        Ok(())
    }

    fn taken(&self) -> usize {
        self.names.values().filter_map(|file| self.files.get(file)).map(|file| file.seen.len()).sum()
    }

    fn file(&mut self, file: u64) -> io::Result<&mut Bytes> {
        self.files.get_mut(&file).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn open(&mut self, memory: &Memory, file: u64) -> io::Result<Handle> {
        self.file(file)?.handles += 1;
        Ok(Handle { memory: memory.clone(), file })
    }

    /// Files that nobody can ever see again are gone.
    fn forget(&mut self) {
        let Disk { files, names, durable_names, .. } = self;
        let named = |file: &u64| names.values().chain(durable_names.values()).any(|of| of == file);
        files.retain(|file, bytes| bytes.handles > 0 || named(file));
    }
}

impl Bytes {
    /// All of it seen and durable.
    fn of(content: Sectors) -> Bytes {
        Bytes { seen: content.clone(), durable: content, ..Bytes::default() }
    }

    fn after_power_loss(&self, tear: Tear, name: &str, keep: &mut Keep<'_>) -> Bytes {
        let step = match tear {
            Tear::Sector => 1,
            Tear::Block => SECTORS_OF_BLOCK,
        };
        let (mut left, count) = (self.durable.clone(), self.seen.count());
        for first in (0..count).step_by(step) {
            let mut sectors = first..(first + step).min(count);
            let unsynced = !sectors.clone().all(|sector| self.seen.same(&self.durable, sector));
            if unsynced && keep(&Crash::Bytes { name, offset: first * SECTOR }) {
                sectors
                    .by_ref()
                    .filter(|sector| !self.lost.contains(sector))
                    .for_each(|sector| left.take(&self.seen, sector));
            }
        }
        Bytes::of(left)
    }

    /// The sectors of all blocks that a range of bytes touches: a sync is of whole blocks.
    fn sectors(&self, from: usize, to: usize) -> std::ops::Range<usize> {
        let block = SECTOR * SECTORS_OF_BLOCK;
        from / block * SECTORS_OF_BLOCK..(to.div_ceil(block) * SECTORS_OF_BLOCK).min(self.seen.count())
    }

    fn sync(&mut self, from: usize, to: usize) {
        for sector in self.sectors(from, to) {
            if self.lost.is_empty() || !self.lost.contains(&sector) {
                self.durable.take(&self.seen, sector);
            }
        }
    }

    fn fail_sync(&mut self, from: usize, to: usize) {
        for sector in self.sectors(from, to) {
            if !self.seen.same(&self.durable, sector) {
                self.lost.insert(sector);
            }
        }
    }
}

impl Media for Memory {
    fn lock(&self) -> io::Result<Guard> {
        if self.locked.swap(true, Ordering::SeqCst) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Unlock(Arc::clone(&self.locked))))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.disk().names.keys().cloned().collect())
    }

    fn create(&self, name: &str, bytes: usize, _cancelled: &AtomicBool) -> io::Result<Box<dyn Store>> {
        let mut disk = self.disk();
        disk.operate()?;
        let taken = disk.taken();
        if disk.bytes_max.is_some_and(|most| taken + bytes > most) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = disk.next_file;
        disk.next_file += 1;
        disk.files.insert(file, Bytes::of(Sectors::zeros(bytes)));
        disk.names.insert(name.to_owned(), file);
        Ok(Box::new(disk.open(self, file)?))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Source>> {
        let mut disk = self.disk();
        let file = disk.names.get(name).copied();
        let file = file.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(Box::new(disk.open(self, file)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.operate()?;
        let file = disk.names.remove(from).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        disk.names.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.operate()?;
        disk.names.remove(name);
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut disk = self.disk();
        disk.operate()?;
        disk.durable_names = disk.names.clone();
        disk.forget();
        Ok(())
    }

    /// The same numbers on each disk of a seed: a simulation that is played again is the same, byte for byte.
    fn salt(&self) -> u64 {
        let mut disk = self.disk();
        disk.salts += 1;
        disk.salts.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn ahead(&self) -> Ahead {
        if self.disk().in_order { Ahead::InOrder } else { Ahead::Never }
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("memory").join(name)
    }
}

#[derive(Debug)]
struct Unlock(Arc<AtomicBool>);

impl Drop for Unlock {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

#[derive(Debug)]
struct Handle {
    memory: Memory,
    file: u64,
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut disk = self.memory.disk();
        if let Ok(file) = disk.file(self.file) {
            file.handles -= 1;
        }
    }
}

impl Store for Handle {
    fn write(&mut self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.memory.disk();
        disk.operate()?;
        let file = disk.file(self.file)?;
        if !file.seen.write(offset, bytes) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // Dirty again, and so written at the next sync.
        if !file.lost.is_empty() {
            for sector in offset / SECTOR..=(offset + bytes.len()) / SECTOR {
                file.lost.remove(&sector);
            }
        }
        Ok(())
    }

    fn sync(&self, offset: usize, bytes: usize) -> io::Result<()> {
        let mut disk = self.memory.disk();
        let result = disk.operate();
        let file = disk.file(self.file)?;
        match &result {
            Ok(()) => file.sync(offset, offset + bytes),
            Err(error) if error.raw_os_error() == Some(EIO) => file.fail_sync(offset, offset + bytes),
            Err(_) => {}
        }
        result
    }
}

impl Source for Handle {
    fn length(&self) -> io::Result<u64> {
        Ok(self.memory.disk().file(self.file)?.seen.len() as u64)
    }

    fn read(&self, offset: usize, bytes: &mut [u8]) -> io::Result<usize> {
        let mut disk = self.memory.disk();
        Ok(disk.file(self.file)?.seen.read(offset, bytes))
    }

    fn settle(&self) -> io::Result<()> {
        let mut disk = self.memory.disk();
        disk.operate()?;
        let file = disk.file(self.file)?;
        file.sync(0, file.seen.len());
        for sector in std::mem::take(&mut file.lost) {
            if sector < file.seen.count() {
                file.seen.take(&file.durable, sector);
            }
        }
        Ok(())
    }
}
