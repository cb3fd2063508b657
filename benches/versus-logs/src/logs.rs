//! The logs, each behind the same call: one more commit of so many entries of so many bytes, durable when it returns.
//! Each is set up for commits, as its own documentation says: nothing is checkpointed or compacted while it is measured.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ordeal_wal::{Batch, Options, Wal};
use protobuf::well_known_types::BytesValue;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};

use crate::mmap::Mapping;

const BLOCK: usize = 4096;

/// Something that makes entries durable.
pub trait Log {
    /// One more commit.
    fn commit(&mut self);
}

/// What is committed, again and again.
#[derive(Clone)]
struct Load {
    content: Vec<u8>,
    count: usize,
    commits: usize,
}

impl Load {
    /// Bytes of the contents of one commit.
    fn bytes(&self) -> usize {
        self.content.len() * self.count
    }
}

/// All of them, ours first, each in a directory of its own.
pub fn all(dir: &Path, bytes: usize, count: usize, commits: usize) -> Vec<(&'static str, Box<dyn Log>)> {
    // Bytes that cannot be compressed: one of them would, and a log of a real system is of anything.
    let mut word = 7_u64;
    let noise = std::iter::repeat_with(|| {
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        word.to_be_bytes()[0]
    });
    let load = Load { content: noise.take(bytes).collect(), count, commits };
    vec![
        ("ours", Box::new(Ours::new(dir, load.clone()))),
        ("raft-engine", Box::new(RaftEngine::new(dir, load.clone()))),
        ("okaywal", Box::new(Okay::new(dir, load.clone()))),
        ("fjall", Box::new(Fjall::new(dir, load.clone()))),
        ("pwrite + fdatasync", Box::new(Written::new(dir, load.clone()))),
        ("mmap + msync", Box::new(Mapped::new(dir, load))),
    ]
}

struct Ours {
    wal: Wal,
    batch: Batch,
    index: u64,
    load: Load,
}

impl Ours {
    fn new(dir: &Path, load: Load) -> Ours {
        // One segment for all commits, as the others have one file; frames repeat 8 bytes an entry, and are padded.
        let frame = (load.bytes() + 16 * load.count + 256).next_multiple_of(BLOCK) as u64;
        let length = (frame * (load.commits as u64 + 8) * 9 / 8).max(1 << 20).next_multiple_of(BLOCK as u64);
        let total_bytes_max = length + 1;
        let options = Options {
            segment_bytes_first: length,
            segment_bytes_max: length,
            total_bytes_max,
            ..Options::default()
        };
        let (wal, _) = Wal::open(&dir.join("ours"), options).expect("a log");
        Ours { wal, batch: Batch::new(), index: 0, load }
    }
}

impl Log for Ours {
    fn commit(&mut self) {
        self.batch.clear();
        for _ in 0..self.load.count {
            self.index += 1;
            self.batch.entry(1, self.index, 1, &[&self.load.content]);
        }
        self.wal.commit(&mut self.batch).expect("a disk");
    }
}

struct RaftEngine {
    engine: Engine,
    index: u64,
    load: Load,
}

/// An entry is a run of bytes that begins with its index.
#[derive(Clone)]
struct Indexed;

impl MessageExt for Indexed {
    type Entry = BytesValue;

    fn index(entry: &BytesValue) -> u64 {
        u64::from_le_bytes(*entry.value.first_chunk().expect("eight bytes"))
    }
}

impl RaftEngine {
    fn new(dir: &Path, load: Load) -> RaftEngine {
        let config = Config {
            dir: dir.join("raft-engine").display().to_string(),
            target_file_size: ReadableSize::gb(1),
            purge_threshold: ReadableSize::gb(10),
            // 0: entries are not compressed, as nobody else's are.
            batch_compression_threshold: ReadableSize::kb(0),
            ..Config::default()
        };
        RaftEngine { engine: Engine::open(config).expect("a log"), index: 0, load }
    }
}

impl Log for RaftEngine {
    fn commit(&mut self) {
        let mut entries = Vec::with_capacity(self.load.count);
        for _ in 0..self.load.count {
            self.index += 1;
            let mut entry = BytesValue::new();
            entry.value = self.load.content.clone();
            entry.value[..8].copy_from_slice(&self.index.to_le_bytes());
            entries.push(entry);
        }
        let mut batch = LogBatch::with_capacity(self.load.count);
        batch.add_entries::<Indexed>(1, &entries).expect("entries");
        self.engine.write(&mut batch, true).expect("a disk");
    }
}

struct Okay {
    log: okaywal::WriteAheadLog,
    load: Load,
}

impl Okay {
    fn new(dir: &Path, load: Load) -> Okay {
        let bytes = (load.bytes() + 32 * load.count + 64) * (load.commits + 8);
        let bytes = u32::try_from(bytes.max(1 << 20)).expect("less than 4 GiB");
        let configuration = okaywal::Configuration::default_for(dir.join("okaywal"))
            .preallocate_bytes(bytes)
            .checkpoint_after_bytes(u64::from(bytes) * 2);
        Okay { log: configuration.open(Idle).expect("a log"), load }
    }
}

/// Has nothing to recover, and never has to checkpoint.
#[derive(Debug)]
struct Idle;

impl okaywal::LogManager for Idle {
    fn recover(&mut self, _: &mut okaywal::Entry<'_>) -> io::Result<()> {
        Ok(())
    }

    fn checkpoint_to(
        &mut self,
        _: okaywal::EntryId,
        _: &mut okaywal::SegmentReader,
        _: &okaywal::WriteAheadLog,
    ) -> io::Result<()> {
        Ok(())
    }
}

impl Log for Okay {
    fn commit(&mut self) {
        let mut entry = self.log.begin_entry().expect("a log");
        for _ in 0..self.load.count {
            entry.write_chunk(&self.load.content).expect("a disk");
        }
        entry.commit().expect("a disk");
    }
}

struct Fjall {
    database: fjall::Database,
    entries: fjall::Keyspace,
    index: u64,
    load: Load,
}

impl Fjall {
    fn new(dir: &Path, load: Load) -> Fjall {
        let database = fjall::Database::builder(dir.join("fjall")).open().expect("a database");
        let entries =
            database.keyspace("entries", fjall::KeyspaceCreateOptions::default).expect("a keyspace");
        Fjall { database, entries, index: 0, load }
    }
}

impl Log for Fjall {
    fn commit(&mut self) {
        let mut batch = self.database.batch().durability(Some(fjall::PersistMode::SyncData));
        for _ in 0..self.load.count {
            self.index += 1;
            batch.insert(&self.entries, self.index.to_be_bytes(), self.load.content.as_slice());
        }
        batch.commit().expect("a disk");
    }
}

/// A file that was written with zeros before, as our segments are.
struct Written {
    file: File,
    all: Vec<u8>,
    at: usize,
}

impl Written {
    fn new(dir: &Path, load: Load) -> Written {
        let (file, _) = prepared(&dir.join("written"), &load).expect("a file");
        Written { file, all: load.content.repeat(load.count), at: 0 }
    }
}

impl Log for Written {
    fn commit(&mut self) {
        self.file.write_all_at(&self.all, self.at as u64).expect("a disk");
        self.file.sync_data().expect("a disk");
        self.at += self.all.len().next_multiple_of(BLOCK);
    }
}

struct Mapped {
    mapping: Mapping,
    all: Vec<u8>,
    at: usize,
}

impl Mapped {
    fn new(dir: &Path, load: Load) -> Mapped {
        let (file, length) = prepared(&dir.join("mapped"), &load).expect("a file");
        let mapping = Mapping::new(&file, length, memmap2::Advice::PopulateRead).expect("a mapping");
        Mapped { mapping, all: load.content.repeat(load.count), at: 0 }
    }
}

impl Log for Mapped {
    fn commit(&mut self) {
        self.mapping.write(self.at, &self.all);
        self.mapping.sync(self.at, self.all.len()).expect("a disk");
        self.at += self.all.len().next_multiple_of(BLOCK);
    }
}

/// One block a write, so that the page cache holds it in small pieces.
fn prepared(path: &Path, load: &Load) -> io::Result<(File, usize)> {
    let length = load.bytes().next_multiple_of(BLOCK) * load.commits;
    let file = File::options().create(true).truncate(true).read(true).write(true).open(path)?;
    for offset in (0..length).step_by(BLOCK) {
        file.write_all_at(&[0; BLOCK], offset as u64)?;
    }
    file.sync_all()?;
    Ok((file, length))
}
