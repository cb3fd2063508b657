//! What a commit costs the disk, counted and not timed: one flush, and the blocks of its frame, on a real file system of
//! our own (ext4 and XFS on a loop device) whose counters nobody else moves; and no block of it is ever written twice.
//!
//! The file system lies in a mount namespace of this test's thread, its image in a tmpfs in there, and the loop device
//! frees itself when it is unmounted: when the process dies, however it dies, all of it goes with it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use ordeal_wal::media::{Ahead, Directory, Guard, Media, Source, Store};
use ordeal_wal::{Batch, Options, Seen, SyncMode, Wal, WalError};

use crate::common::{Chance, content};

const BLOCK: u64 = 4096;
const GROUPS: u64 = 64;
const SEGMENT_BYTES: u64 = 4 << 20;

#[test]
fn a_commit_on_ext4_costs_one_flush_and_the_blocks_of_its_frame() {
    // Nothing but what we ask for: no tables filled in later, and no journal written because five seconds went by.
    let make = ["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"];
    on_a_disk_of_its_own("ext4", 128, &make, "lazytime,commit=300");
}

#[test]
fn a_commit_on_xfs_costs_one_flush_and_the_blocks_of_its_frame() {
    on_a_disk_of_its_own("xfs", 512, &["mkfs.xfs", "-q", "-f"], "lazytime");
}

/// Runs the count in a thread of its own, whose mounts nobody else sees.
fn on_a_disk_of_its_own(kind: &'static str, mebibytes: u64, make: &[&'static str], options: &'static str) {
    let make = make.to_vec();
    let counted = std::thread::spawn(move || -> Result<(), String> {
        let disk = Disk::new(kind, mebibytes, &make, options)?;
        count(kind, &disk);
        Ok(())
    });
    match counted.join() {
        Ok(Ok(())) => {}
        Ok(Err(why)) => println!("skipped: no {kind} of our own: {why}"),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// A file system on a loop device. Its thread's namespace is all that holds it.
struct Disk {
    dir: PathBuf,
    /// The device's counters.
    stat: PathBuf,
    /// The directory that the tmpfs is mounted on; empty outside.
    _place: tempfile::TempDir,
}

impl Disk {
    /// The error says why there is none to be had.
    fn new(kind: &str, mebibytes: u64, make: &[&str], options: &str) -> Result<Disk, String> {
        if !nix::unistd::geteuid().is_root() {
            return Err("only root may mount one".to_owned());
        }
        let text = |error: nix::Error| error.to_string();
        unshare(CloneFlags::CLONE_NEWNS).map_err(text)?;
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map_err(text)?;
        let place = tempfile::tempdir().map_err(|error| error.to_string())?;
        mount(Some("tmpfs"), place.path(), Some("tmpfs"), MsFlags::empty(), none).map_err(text)?;
        let (image, dir) = (place.path().join("image"), place.path().join("disk"));
        fs::create_dir(&dir).expect("a directory");
        fs::File::create(&image).and_then(|file| file.set_len(mebibytes << 20)).expect("a file");
        run(Command::new(make[0]).args(&make[1..]).arg(&image))?;
        run(Command::new("mount")
            .args(["-t", kind, "-o"])
            .arg(format!("loop,{options}"))
            .arg(&image)
            .arg(&dir))?;
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").expect("our mounts");
        let line = mounts.lines().find(|line| line.split(' ').nth(4) == dir.to_str());
        let device = line.and_then(|line| line.rsplit(' ').find(|word| word.starts_with("/dev/loop")));
        let device = device.expect("it is mounted from a loop device").trim_start_matches("/dev/");
        let stat = Path::new("/sys/block").join(device).join("stat");
        Ok(Disk { dir, stat, _place: place })
    }

    /// Flushes that the device did, and blocks that it wrote.
    fn counters(&self) -> (u64, u64) {
        let stat = fs::read_to_string(&self.stat).expect("the device's counters");
        let numbers: Vec<u64> = stat.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        // In sectors of 512 bytes, see block/stat in the kernel's documentation.
        (numbers[15], numbers[6] * 512 / BLOCK)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What fails goes with the thread's namespace.
        let _ = nix::mount::umount2(&self.dir, nix::mount::MntFlags::MNT_DETACH);
        if let Some(place) = self.dir.parent() {
            let _ = nix::mount::umount2(place, nix::mount::MntFlags::MNT_DETACH);
        }
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}

/// What was counted around one commit.
#[derive(Debug, Clone, Copy)]
struct Cost {
    flushes: u64,
    blocks: u64,
    turned: bool,
}

fn count(kind: &str, disk: &Disk) {
    let made = Arc::new(AtomicU64::new(0));
    let inner = Directory::new(&disk.dir.join("log"), SyncMode::Always);
    let media = Arc::new(Recorder { inner, made: Arc::clone(&made) });
    // Room for two segments, so that a third is never prepared while the second is written to.
    let options = Options {
        segment_bytes_first: SEGMENT_BYTES,
        segment_bytes_max: SEGMENT_BYTES,
        total_bytes_max: 2 * SEGMENT_BYTES,
        ..Options::default()
    };
    let (mut wal, _) = Wal::open_on(media, options).expect("an empty disk");
    let mut costs = BTreeMap::new();
    let (mut chance, mut next) = (Chance::new(5), BTreeMap::new());
    loop {
        let mut batch = draw(&mut chance, &mut next);
        let (segment, length, before) = (wal.segment(), wal.disk_bytes(), disk.counters());
        match wal.commit(&mut batch) {
            Ok(()) => {}
            Err(WalError::NoSpace { .. }) => break,
            Err(error) => panic!("{error}"),
        }
        let after = disk.counters();
        let cost = Cost {
            flushes: after.0 - before.0,
            blocks: after.1 - before.1,
            turned: wal.segment() != segment,
        };
        if wal.disk_bytes() > length {
            // It has started the thread that prepares the next segment, whose writes are its own.
            until_made(&made, 2);
        } else {
            costs.insert(wal.sequence(), cost);
        }
    }
    let frames = frames(&disk.dir.join("log"));
    let (mut commits, mut blocks, mut turns) = (0, 0, 0);
    for (sequence, cost) in costs {
        let frame = frames[&sequence] / BLOCK;
        if cost.turned {
            turns += 1;
            println!("{kind}: a turn to the next segment: {} flushes, {} blocks", cost.flushes, cost.blocks);
            assert!(cost.flushes <= 4, "{kind}: a turn costs {} flushes", cost.flushes);
        } else {
            assert_eq!(
                (cost.flushes, cost.blocks),
                (1, frame),
                "{kind}: flushes and blocks of frame {sequence}"
            );
            (commits, blocks) = (commits + 1, blocks + frame);
        }
    }
    assert_eq!(turns, 1, "two segments, so one turn");
    assert!(blocks * BLOCK > 3 * SEGMENT_BYTES / 2, "both segments are about full: {blocks} blocks");
    println!(
        "{kind}: {commits} commits of {GROUPS} groups, {blocks} blocks: one flush each, and no block besides"
    );
}

/// A batch of up to 64 groups; some change votes, some are longer than a block.
fn draw(chance: &mut Chance, next: &mut BTreeMap<u64, u64>) -> Batch {
    let mut batch = Batch::new();
    let bytes = [0, 40, 200, 1_500][usize::try_from(chance.below(4)).expect("four")];
    for group in 1..=GROUPS {
        let index = next.entry(group).or_insert(1);
        if chance.below(3) > 0 {
            batch.entry(group, *index, 1, &[&content(group, *index, 1, bytes)]);
            *index += 1;
        }
    }
    if chance.below(8) == 0 {
        batch.hard_state(1 + chance.below(GROUPS), 1, chance.below(5));
    }
    if batch.is_empty() {
        batch.compact(1, 1);
    }
    batch
}

/// Waits until so many segments were made: the thread that prepares one is past its last write then.
fn until_made(made: &AtomicU64, count: u64) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while made.load(Ordering::Acquire) < count {
        assert!(Instant::now() < deadline, "a segment is prepared in less than a minute");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Lengths of all frames, by number.
fn frames(dir: &Path) -> BTreeMap<u64, u64> {
    let mut frames = BTreeMap::new();
    ordeal_wal::inspect(&Directory::new(dir, SyncMode::Never), |seen| {
        if let Seen::Frame(frame) = seen {
            frames.insert(frame.sequence, frame.bytes);
        }
        true
    })
    .expect("a healthy log");
    frames
}

/// A directory that watches what is stored through its mappings: a block that a sync vouched for is never written again.
#[derive(Debug)]
struct Recorder {
    inner: Directory,
    /// Segments that were made.
    made: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Recorded {
    inner: Box<dyn Store>,
    /// Blocks that were synced after they had been written.
    acknowledged: Mutex<Vec<bool>>,
    written: Mutex<Vec<bool>>,
}

fn blocks_of(offset: usize, bytes: usize) -> std::ops::Range<usize> {
    let block = usize::try_from(BLOCK).expect("small");
    offset / block..(offset + bytes).div_ceil(block)
}

impl Store for Recorded {
    fn write(&mut self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let acknowledged = self.acknowledged.lock().expect("not poisoned");
        let blocks = blocks_of(offset, bytes.len());
        assert!(!acknowledged[blocks.clone()].contains(&true), "{blocks:?} holds what was acknowledged");
        drop(acknowledged);
        self.written.lock().expect("not poisoned")[blocks].fill(true);
        self.inner.write(offset, bytes)
    }

    fn sync(&self, offset: usize, bytes: usize) -> io::Result<()> {
        self.inner.sync(offset, bytes)?;
        let blocks = blocks_of(offset, bytes);
        let written = self.written.lock().expect("not poisoned");
        self.acknowledged.lock().expect("not poisoned")[blocks.clone()].copy_from_slice(&written[blocks]);
        Ok(())
    }
}

impl Media for Recorder {
    fn lock(&self) -> io::Result<Guard> {
        self.inner.lock()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn create(&self, name: &str, bytes: usize, cancelled: &AtomicBool) -> io::Result<Box<dyn Store>> {
        let inner = self.inner.create(name, bytes, cancelled)?;
        self.made.fetch_add(1, Ordering::Release);
        let none = vec![false; blocks_of(0, bytes).len()];
        Ok(Box::new(Recorded { inner, acknowledged: Mutex::new(none.clone()), written: Mutex::new(none) }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Source>> {
        self.inner.open(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.inner.sync_names()
    }

    fn salt(&self) -> u64 {
        self.inner.salt()
    }

    fn ahead(&self) -> Ahead {
        self.inner.ahead()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.inner.path(name)
    }
}
