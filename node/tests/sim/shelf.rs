//! A node's snapshots in memory, on the disk that forgets: the file is durable before it has its name, the name is durable
//! only after a sync of the directory, and what was removed may be back after a loss of power.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ordeal_client::wire::GroupId;
use ordeal_node::raft::{LogId, Snapshot};
use ordeal_node::storage::{Pace, SnapshotFiles, StorageError};

/// The snapshots by their names.
type Names = BTreeMap<(GroupId, LogId), Snapshot>;

/// All snapshots of a node. Clones are the same place.
#[derive(Debug, Clone, Default)]
pub struct Shelf(Arc<Mutex<Content>>);

#[derive(Debug, Default)]
struct Content {
    seen: Names,
    durable: Names,
    /// So many operations succeed from now on, and none after them.
    left: Option<u64>,
}

impl Shelf {
    /// From now on so many operations succeed; `None`: all.
    pub fn stop_after(&self, operations: Option<u64>) {
        self.content().left = operations;
    }

    /// The power fails: of the names that were not durable, `keep` says which stay as they were seen.
    pub fn lose_power(&self, mut keep: impl FnMut() -> bool) {
        let mut content = self.content();
        let Content { seen, durable, .. } = &mut *content;
        let names: Vec<_> = seen.keys().chain(durable.keys()).copied().collect();
        for name in names {
            if seen.contains_key(&name) != durable.contains_key(&name) && keep() {
                match seen.get(&name) {
                    Some(snapshot) => durable.insert(name, snapshot.clone()),
                    None => durable.remove(&name),
                };
            }
        }
        *seen = durable.clone();
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    fn operate(&mut self, what: &'static str) -> Result<(), StorageError> {
        match &mut self.left {
            Some(0) => {
                let source = io::Error::other("the process is dead");
                Err(StorageError::Io { what, path: PathBuf::from("memory"), source })
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn sync_names(&mut self) -> Result<(), StorageError> {
        self.operate("sync")?;
        self.durable.clone_from(&self.seen);
        Ok(())
    }
}

impl SnapshotFiles for Shelf {
    fn write(&self, group: GroupId, snapshot: &Snapshot, _pace: Pace) -> Result<(), StorageError> {
        let mut content = self.content();
        if content.seen.contains_key(&(group, snapshot.last)) {
            return Ok(());
        }
        content.operate("write")?;
        content.operate("rename")?;
        content.seen.insert((group, snapshot.last), snapshot.clone());
        content.sync_names()
    }

    fn read(&self, group: GroupId, last: LogId) -> Result<Snapshot, StorageError> {
        let gone = || StorageError::Damaged {
            path: PathBuf::from(format!("memory/{group}-{last}")),
            what: "is gone, though the log names it".to_owned(),
        };
        self.content().seen.get(&(group, last)).cloned().ok_or_else(gone)
    }

    fn keep_only(&self, kept: &[(GroupId, LogId)]) -> Result<(), StorageError> {
        let mut content = self.content();
        content.operate("remove")?;
        let before = content.seen.len();
        content.seen.retain(|name, _| kept.contains(name));
        if content.seen.len() < before { content.sync_names() } else { Ok(()) }
    }

    fn remove_before(&self, group: GroupId, last: LogId) -> Result<(), StorageError> {
        let mut content = self.content();
        content.operate("remove")?;
        content.seen.retain(|(of, id), _| *of != group || id.index >= last.index);
        Ok(())
    }
}
