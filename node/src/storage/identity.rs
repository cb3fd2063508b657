//! Whose data directory is it, and how is its data laid out? A small text file says so, written once; a lock file keeps a
//! second process out.
//!
//! ```text
//! ordeal data directory
//! format 9
//! cluster 00c0ffee00c0ffee
//! node n2
//! groups 1
//! replicas all
//! shards 64
//! directory 17a3f29c11d0b4e6
//! checksum 5d0f4c1a
//! ```

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::Path;

use ordeal_client::wire::{ClusterId, DirectoryId, Layout, NodeId};

use super::StorageError;
use super::durable::{Pace, create_dir_durably, write_durably};
use super::error::io_error;

/// Version of the layout of a data directory, and of the entries in its log.
pub const FORMAT: u32 = 9;

const FILE: &str = "identity";
/// Replicas of a group that all nodes belong to.
const ALL: &str = "all";
const LOCK: &str = "lock";
const TITLE: &str = "ordeal data directory";

/// Whose a data directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// How the cluster was created. What is there is what came of it: with another one it would not be found.
    pub layout: Layout,
}

impl Identity {
    /// Names the log of this identity, so that segments copied from another directory are noticed.
    pub(super) fn store_id(&self) -> u64 {
        // The cluster's id is a random number; the odd factor spreads the few bits of the node's over all 64.
        self.cluster.0 ^ u64::from(self.node.0).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cluster {} node {}", self.cluster, self.node)
    }
}

/// Makes the directory if need be and takes its lock, which ends with the process.
pub(super) fn lock(dir: &Path) -> Result<File, StorageError> {
    create_dir_durably(dir)?;
    refuse_strange(dir)?;
    let path = dir.join(LOCK);
    let mut options = OpenOptions::new();
    let mut file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(io_error("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let holder = fs::read_to_string(&path).unwrap_or_default();
            return Err(StorageError::Locked { dir: dir.to_owned(), holder: holder.trim().to_owned() });
        }
        Err(TryLockError::Error(source)) => return Err(io_error("lock", &path)(source)),
    }
    // Only for the message of whoever comes second; nothing depends on it.
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(io_error("write", &path))?;
    Ok(file)
}

/// Compares the directory's identity with ours, and writes ours where there is none yet. Gives the directory's own id, drawn when it
/// was begun.
pub(super) fn claim(dir: &Path, ours: &Identity) -> Result<DirectoryId, StorageError> {
    let path = dir.join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) => {
            let (found, directory) = parse(&text).map_err(|what| match what {
                ParseError::Format(found) => {
                    StorageError::Format { dir: dir.to_owned(), found, expected: FORMAT }
                }
                ParseError::Damaged => {
                    StorageError::Damaged { path: path.clone(), what: "is no identity file".to_owned() }
                }
            })?;
            let dir = || dir.to_owned();
            if (found.cluster, found.node) != (ours.cluster, ours.node) {
                return Err(StorageError::Foreign { dir: dir(), found, expected: *ours });
            }
            if found != *ours {
                return Err(StorageError::Layout { dir: dir(), found, expected: *ours });
            }
            Ok(directory)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let directory = DirectoryId::new();
            write_durably(dir, FILE, &[render(ours, directory).as_bytes()], Pace::AtOnce)?;
            Ok(directory)
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(StorageError::Damaged { path, what: "is no identity file".to_owned() })
        }
        Err(error) => Err(io_error("read", &path)(error)),
    }
}

/// A directory that holds something but no identity is somebody's home or worse: nothing is written there.
fn refuse_strange(dir: &Path) -> Result<(), StorageError> {
    if dir.join(FILE).exists() {
        return Ok(());
    }
    for item in fs::read_dir(dir).map_err(io_error("list", dir))? {
        let name = item.map_err(io_error("list", dir))?.file_name().to_string_lossy().into_owned();
        // What a first start that died early leaves behind, and what a fresh ext4 holds.
        if ![LOCK, "identity.tmp", "lost+found"].contains(&name.as_str()) {
            return Err(StorageError::NotOurs { dir: dir.to_owned(), found: name });
        }
    }
    Ok(())
}

enum ParseError {
    Format(u32),
    Damaged,
}

fn render(identity: &Identity, directory: DirectoryId) -> String {
    let Identity { cluster, node, layout: Layout { groups, replicas, shards } } = identity;
    let replicas = replicas.map_or_else(|| ALL.to_owned(), |replicas| replicas.to_string());
    let body = format!(
        "{TITLE}\nformat {FORMAT}\ncluster {cluster}\nnode {node}\ngroups {groups}\nreplicas {replicas}\nshards {shards}\ndirectory {directory}\n"
    );
    let checksum = crc32fast::hash(body.as_bytes());
    format!("{body}checksum {checksum:08x}\n")
}

fn parse(text: &str) -> Result<(Identity, DirectoryId), ParseError> {
    let fields = text
        .strip_prefix(TITLE)
        .and_then(|rest| rest.strip_prefix("\nformat "))
        .ok_or(ParseError::Damaged)?;
    let mut lines = fields.lines();
    let format = lines.next().and_then(|word| word.parse().ok()).ok_or(ParseError::Damaged)?;
    if format != FORMAT {
        return Err(ParseError::Format(format));
    }
    let mut field =
        |name: &str| lines.next().and_then(|line| line.strip_prefix(name)).ok_or(ParseError::Damaged);
    let cluster = field("cluster ")?.parse().map_err(|_| ParseError::Damaged)?;
    let node = field("node ")?.parse().map_err(|_| ParseError::Damaged)?;
    let groups = field("groups ")?.parse().map_err(|_| ParseError::Damaged)?;
    let replicas = match field("replicas ")? {
        ALL => None,
        number => Some(number.parse().map_err(|_| ParseError::Damaged)?),
    };
    let shards = field("shards ")?.parse().map_err(|_| ParseError::Damaged)?;
    let directory = field("directory ")?.parse().map_err(|_| ParseError::Damaged)?;
    let identity = Identity { cluster, node, layout: Layout { groups, replicas, shards } };
    if render(&identity, directory) == text { Ok((identity, directory)) } else { Err(ParseError::Damaged) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout = Layout { groups: 1, replicas: None, shards: 64 };
    const OURS: Identity = Identity { cluster: ClusterId(0xc0ffee), node: NodeId(2), layout: LAYOUT };

    #[test]
    fn an_identity_is_written_once_and_recognised() {
        let dir = tempfile::tempdir().unwrap();
        let directory = claim(dir.path(), &OURS).unwrap();
        assert_eq!(claim(dir.path(), &OURS).unwrap(), directory);
        let elsewhere = tempfile::tempdir().unwrap();
        assert_ne!(claim(elsewhere.path(), &OURS).unwrap(), directory, "begun anew it is another");
        let other = Identity { node: NodeId(3), ..OURS };
        let error = claim(dir.path(), &other).unwrap_err();
        assert!(error.to_string().contains("belongs to cluster 0000000000c0ffee node n2, not to"), "{error}");
    }

    #[test]
    fn another_layout_than_the_first_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        claim(dir.path(), &OURS).unwrap();
        let others = [
            Layout { groups: 2, ..LAYOUT },
            Layout { shards: 128, ..LAYOUT },
            Layout { replicas: Some(3), ..LAYOUT },
        ];
        for layout in others {
            let error = claim(dir.path(), &Identity { layout, ..OURS }).unwrap_err();
            let words = format!("was begun with --groups 1 --shards 64, not with {layout}");
            assert!(error.to_string().ends_with(&words), "{error}");
            assert!(error.hint().contains("--groups 1 --shards 64"), "{}", error.hint());
        }
        claim(dir.path(), &OURS).unwrap();
    }

    #[test]
    fn an_identity_file_with_any_changed_byte_is_refused() {
        let text = render(&OURS, DirectoryId(0xd1));
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            assert!(String::from_utf8(bytes).is_ok_and(|text| parse(&text).is_err()), "byte {at}");
            assert!(parse(&text[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_newer_format_is_told_apart_from_damage() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), render(&OURS, DirectoryId(0xd1)).replace("format 9", "format 10"))
            .unwrap();
        assert!(matches!(claim(dir.path(), &OURS), Err(StorageError::Format { found: 10, .. })));
    }

    #[test]
    fn a_directory_full_of_something_else_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.tex"), "all of it").unwrap();
        assert!(matches!(lock(dir.path()), Err(StorageError::NotOurs { .. })));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_second_to_come_is_told_who_was_first() {
        let dir = tempfile::tempdir().unwrap();
        let _held = lock(&dir.path().join("a/b")).unwrap();
        let error = lock(&dir.path().join("a/b")).unwrap_err();
        assert!(error.to_string().ends_with(&format!("process {}", std::process::id())), "{error}");
    }
}
