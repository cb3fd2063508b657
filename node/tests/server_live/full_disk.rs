//! Full disks, for real: nodes on a file system of a few megabytes, which is then filled. Writes are refused with a clear
//! reason, reads go on, terms stay, and when there is space again, so do writes.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use ordeal_client::wire::{ReadLevel, RefusalReason, Reply, RequestBody, SessionId};
use ordeal_node::config::NodeConfig;
use ordeal_wal::SyncMode;

use crate::support::{PATIENCE, Running, Wire, cluster, leader_for};

/// Three nodes share it, and each starts only with 32 MiB free.
const DISK: &str = "size=64m";

/// A file system in memory, gone with this.
struct Small(PathBuf);

impl Small {
    /// None where this is not allowed.
    fn new(at: &Path) -> Option<Small> {
        std::fs::create_dir(at).expect("a directory of the test");
        let mounted = mount(Some("ordeal"), at, Some("tmpfs"), MsFlags::empty(), Some(DISK));
        mounted.ok().map(|()| Small(at.to_owned()))
    }

    /// Takes all space that is left.
    fn fill(&self) {
        let mut file = File::create(self.0.join("filler")).expect("a file");
        while file.write_all(&[1; 4096]).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(self.0.join("filler")).expect("the filler is there");
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Also where a node still works there, which a panic may leave behind.
        let _gone = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// Whoever leads, with its session.
struct Writer {
    wire: Wire,
    session: SessionId,
    sequence: u64,
}

impl Writer {
    fn put(&mut self, value: &[u8]) -> Reply {
        self.sequence += 1;
        self.wire.put(self.session, self.sequence, "k", value)
    }

    fn term(&mut self) -> u64 {
        match self.wire.request(RequestBody::Status) {
            Reply::Status(status) => status.groups.iter().map(|group| group.term).max().unwrap_or(0),
            other => panic!("a status: {other:?}"),
        }
    }
}

fn start(dir: &Path) -> Vec<Running> {
    let nodes = cluster(dir, 3).into_iter();
    nodes
        .map(|(config, listener)| {
            let config = NodeConfig { sync: SyncMode::Always, ..config };
            Running::start(&config, listener)
        })
        .collect()
}

#[test]
fn a_full_disk_refuses_writes_and_nothing_else_and_goes_on_when_there_is_space() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = Small::new(&dir.path().join("small")) else {
        eprintln!("skipped: mounting a small file system needs root");
        return;
    };
    let nodes = start(&dir.path().join("small"));
    let addresses: Vec<_> = nodes.iter().map(|node| node.address).collect();
    let (wire, session) = leader_for(&addresses, "k");
    let mut writer = Writer { wire, session, sequence: 0 };
    assert!(matches!(writer.put(b"before"), Reply::Written { .. }), "there is space");

    disk.fill();
    let filled = Instant::now();
    // What is left of the open segment may still be written to.
    let mut refusals = 0;
    while refusals < 3 {
        match writer.put(&[7; 30_000]) {
            Reply::Written { .. } | Reply::Unknown => {}
            Reply::Refused(RefusalReason::DiskFull) => refusals += 1,
            // It was handed over, to somebody with as little space.
            Reply::Refused(RefusalReason::NotLeader { .. } | RefusalReason::Busy) => {
                writer.wire = leader(&addresses);
            }
            other => panic!("a put on a full disk: {other:?}"),
        }
        assert!(filled.elapsed() < PATIENCE, "nobody says that the disk is full");
    }
    let term = writer.term();
    let refused = Instant::now();
    let mut reads = 0;
    while refused.elapsed().as_secs() < 3 {
        match read(&mut writer.wire) {
            Reply::Value(found) => {
                assert!(found.is_some(), "what was written is there");
                reads += 1;
            }
            // Handed over: each node does that once.
            Reply::Refused(_) | Reply::Unknown => writer.wire = leader(&addresses),
            other => panic!("a read on a full disk: {other:?}"),
        }
    }
    assert!(reads > 10, "{reads} reads in 3 s");
    assert!(writer.term() <= term + 3, "terms run away, from {term} to {}", writer.term());

    disk.free();
    let freed = Instant::now();
    while !matches!(writer.put(b"after"), Reply::Written { .. }) {
        writer.wire = leader(&addresses);
        assert!(freed.elapsed() < PATIENCE, "there is space again, and nobody takes it");
    }
    let found = writer.wire.read("k").expect("it was written").0;
    assert_eq!(found, b"after");
    drop(nodes);
}

/// A connection to whoever leads the group of the key.
fn leader(addresses: &[SocketAddr]) -> Wire {
    let begun = Instant::now();
    for &address in addresses.iter().cycle() {
        let mut wire = Wire::client(address);
        if matches!(read(&mut wire), Reply::Value(_)) {
            return wire;
        }
        assert!(begun.elapsed() < PATIENCE, "no leader in {PATIENCE:?}");
    }
    panic!("no addresses")
}

fn read(wire: &mut Wire) -> Reply {
    wire.request(RequestBody::Read { key: b"k".to_vec(), level: ReadLevel::Linearizable })
}
