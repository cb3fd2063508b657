//! Snapshot files: one a group, written aside and renamed, so that under its name a file is whole or not there.
//!
//! ```text
//!  g1-42-5.snap:   group 1, up to entry 42@5
//!
//!  | "ORDSNAP2" | group u32 | index u64 | term u64 | members u32 | bytes u64 | crc32 u32 | membership | state … |
//!  |<---------------------- 44 bytes ------------------------------------------------->|
//!                                  membership: `members` bytes in the encoding of the wire; state: `bytes` long
//!                                  the checksum covers everything but itself
//! ```

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ordeal_client::wire::{GroupId, decode, encode};

use super::StorageError;
use super::durable::{Pace, create_dir_durably, sync_dir, write_durably};
use super::error::io_error;
use crate::raft::{LogId, Snapshot};

const MAGIC: &[u8; 8] = b"ORDSNAP2";
const MEMBERS_AT: usize = 8 + 4 + 8 + 8;
const SUM_AT: usize = MEMBERS_AT + 4 + 8;
const HEADER_BYTES: usize = SUM_AT + 4;

/// Where the snapshots of a node are. Clones are the same place.
pub trait SnapshotFiles: Clone {
    /// Makes a snapshot durable, unless it is already. Only then may the log name it. Until it does, the file counts for
    /// nothing, and so this may be done long before, by another thread.
    ///
    /// # Errors
    /// Any is the end of the process, see [`super::Journal::persist_all`].
    fn write(&self, group: GroupId, snapshot: &Snapshot, pace: Pace) -> Result<(), StorageError>;

    /// Reads the snapshot that the log names.
    ///
    /// # Errors
    /// [`StorageError::Damaged`] when it is not there as it was written.
    fn read(&self, group: GroupId, last: LogId) -> Result<Snapshot, StorageError>;

    /// Removes every file but the given snapshots: older ones, and those that were never finished or never named.
    ///
    /// # Errors
    /// Those of the system.
    fn keep_only(&self, kept: &[(GroupId, LogId)]) -> Result<(), StorageError>;

    /// Removes the files of a group's older snapshots: the one that this one replaces, and any that were overtaken before
    /// the log named them. What is still being written is left alone.
    ///
    /// # Errors
    /// Those of the system.
    fn remove_before(&self, group: GroupId, last: LogId) -> Result<(), StorageError>;
}

/// The directory of all snapshots of a node.
#[derive(Debug, Clone)]
pub struct Snapshots {
    dir: PathBuf,
}

impl Snapshots {
    /// Makes the directory if need be.
    pub(super) fn open(dir: PathBuf) -> Result<Self, StorageError> {
        create_dir_durably(&dir)?;
        Ok(Snapshots { dir })
    }
}

impl SnapshotFiles for Snapshots {
    fn write(&self, group: GroupId, snapshot: &Snapshot, pace: Pace) -> Result<(), StorageError> {
        // Under its name a file is whole, and of this very state: no two states have the same last entry.
        if self.dir.join(name(group, snapshot.last)).exists() {
            return Ok(());
        }
        let membership = encode(&snapshot.membership);
        let header = header(group, snapshot, &membership);
        let pieces: [&[u8]; 3] = [&header, &membership, &snapshot.data];
        write_durably(&self.dir, &name(group, snapshot.last), &pieces, pace)
    }

    fn read(&self, group: GroupId, last: LogId) -> Result<Snapshot, StorageError> {
        let path = self.dir.join(name(group, last));
        let damaged = |what: &str| StorageError::Damaged { path: path.clone(), what: what.to_owned() };
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(damaged("is gone, though the log names it"));
            }
            Err(error) => return Err(io_error("open", &path)(error)),
        };
        let length = file.metadata().map_err(io_error("look at", &path))?.len();
        let mut read = |bytes: &mut [u8]| match file.read_exact(bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(damaged("is cut short")),
            read => read.map_err(io_error("read", &path)),
        };
        let mut head = [0; HEADER_BYTES];
        read(&mut head)?;
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let members = u64::from(number(MEMBERS_AT));
        let state = length.checked_sub(HEADER_BYTES as u64 + members);
        let Some(state) = state.and_then(|state| usize::try_from(state).ok()) else {
            return Err(damaged("is cut short"));
        };
        let mut membership = vec![0; usize::try_from(members).unwrap_or(usize::MAX)];
        read(&mut membership)?;
        let members = membership;
        // Where it stays: a state may be long, and is not copied once more.
        let mut data: Arc<[u8]> = std::iter::repeat_n(0, state).collect();
        read(Arc::get_mut(&mut data).expect("nobody else has it yet"))?;
        let Ok(membership) = decode(&members) else {
            return Err(damaged("does not say who belongs to the group"));
        };
        let snapshot = Snapshot { last, membership: Arc::new(membership), data };
        if header(group, &snapshot, &members) != head {
            return Err(damaged("does not match its header and checksum"));
        }
        Ok(snapshot)
    }

    fn keep_only(&self, kept: &[(GroupId, LogId)]) -> Result<(), StorageError> {
        let kept: Vec<String> = kept.iter().map(|&(group, last)| name(group, last)).collect();
        let mut removed = false;
        for item in fs::read_dir(&self.dir).map_err(io_error("list", &self.dir))? {
            let item = item.map_err(io_error("list", &self.dir))?;
            if !kept.contains(&item.file_name().to_string_lossy().into_owned()) {
                fs::remove_file(item.path()).map_err(io_error("remove", &item.path()))?;
                removed = true;
            }
        }
        if removed { sync_dir(&self.dir) } else { Ok(()) }
    }

    fn remove_before(&self, group: GroupId, last: LogId) -> Result<(), StorageError> {
        for item in fs::read_dir(&self.dir).map_err(io_error("list", &self.dir))? {
            let path = item.map_err(io_error("list", &self.dir))?.path();
            let index = path.file_name().and_then(|name| index_of(group, name.to_str()?));
            if index.is_some_and(|index| index < last.index) {
                remove(&path)?;
            }
        }
        Ok(())
    }
}

fn remove(path: &Path) -> Result<(), StorageError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The last index of a finished snapshot of this group, by the name of its file.
fn index_of(group: GroupId, name: &str) -> Option<u64> {
    let (index, term) = name.strip_prefix(&format!("{group}-"))?.strip_suffix(".snap")?.split_once('-')?;
    term.parse::<u64>().ok()?;
    index.parse().ok()
}

fn name(group: GroupId, last: LogId) -> String {
    format!("{group}-{}-{}.snap", last.index, last.term)
}

fn header(group: GroupId, snapshot: &Snapshot, membership: &[u8]) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&group.0.to_le_bytes());
    header[12..20].copy_from_slice(&snapshot.last.index.to_le_bytes());
    header[20..28].copy_from_slice(&snapshot.last.term.to_le_bytes());
    let members = u32::try_from(membership.len()).expect("a membership of a few members is small");
    header[MEMBERS_AT..MEMBERS_AT + 4].copy_from_slice(&members.to_le_bytes());
    header[MEMBERS_AT + 4..SUM_AT].copy_from_slice(&(snapshot.data.len() as u64).to_le_bytes());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[..SUM_AT]);
    hasher.update(membership);
    hasher.update(&snapshot.data);
    header[SUM_AT..].copy_from_slice(&hasher.finalize().to_le_bytes());
    header
}

#[cfg(test)]
mod tests {
    use ordeal_client::wire::NodeId;

    use super::*;

    fn example() -> Snapshot {
        let membership = Arc::new([1, 2].map(NodeId).into_iter().collect());
        Snapshot { last: LogId::new(42, 5), membership, data: Arc::from(&b"x=1 y=2"[..]) }
    }

    #[test]
    fn a_snapshot_comes_back_and_any_damage_to_it_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::open(dir.path().join("snapshots")).unwrap();
        snapshots.write(GroupId(1), &example(), Pace::Resting).unwrap();
        assert_eq!(snapshots.read(GroupId(1), example().last).unwrap(), example());

        let path = dir.path().join("snapshots/g1-42-5.snap");
        let healthy = fs::read(&path).unwrap();
        for at in 0..healthy.len() {
            let mut bytes = healthy.clone();
            bytes[at] ^= 0x10;
            fs::write(&path, bytes).unwrap();
            assert!(snapshots.read(GroupId(1), example().last).is_err(), "byte {at}");
            fs::write(&path, &healthy[..at]).unwrap();
            assert!(snapshots.read(GroupId(1), example().last).is_err(), "cut at {at}");
        }
        fs::remove_file(&path).unwrap();
        let error = snapshots.read(GroupId(1), example().last).unwrap_err();
        assert!(error.to_string().ends_with("g1-42-5.snap: is gone, though the log names it"), "{error}");
    }

    #[test]
    fn what_is_not_kept_goes() {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::open(dir.path().to_owned()).unwrap();
        snapshots.write(GroupId(1), &example(), Pace::AtOnce).unwrap();
        snapshots.write(GroupId(2), &example(), Pace::AtOnce).unwrap();
        fs::write(dir.path().join("g1-43-5.snap.tmp"), b"half").unwrap();
        snapshots.keep_only(&[(GroupId(2), example().last)]).unwrap();
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|item| item.unwrap().file_name()).collect();
        assert_eq!(left, ["g2-42-5.snap"]);
    }

    #[test]
    fn older_ones_of_the_same_group_go_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::open(dir.path().to_owned()).unwrap();
        for name in ["g1-9-5.snap", "g1-41-5.snap", "g11-41-5.snap", "g1-41-5.snap.tmp", "g1-43-5.snap"] {
            fs::write(dir.path().join(name), b"").unwrap();
        }
        snapshots.write(GroupId(1), &example(), Pace::AtOnce).unwrap();
        snapshots.remove_before(GroupId(1), example().last).unwrap();
        let left = fs::read_dir(dir.path()).unwrap();
        let mut left: Vec<_> = left.map(|item| item.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, ["g1-41-5.snap.tmp", "g1-42-5.snap", "g1-43-5.snap", "g11-41-5.snap"]);
    }
}
