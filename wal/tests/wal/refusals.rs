//! What the operating system refuses: a lock, a directory, space. Never a signal, never a second try.

use std::fs;
use std::path::Path;
use std::process::Command;

use ordeal_wal::{Batch, Wal, WalError};

use crate::basic::entries;
use crate::common::options;

/// Names the directory of the small file system to the second run of this test.
const SMALL_DISK: &str = "ORDEAL_WAL_TEST_SMALL_DISK";

fn open(dir: &Path) -> Wal {
    Wal::open(dir, options()).expect("healthy").0
}

#[test]
fn a_child_that_is_just_being_started_does_not_keep_the_log_locked() {
    let dir = tempfile::tempdir().unwrap();
    let mut wal = open(dir.path());
    // Between fork and exec a child holds every file of this process, the lock's among them.
    let children = std::thread::spawn(|| {
        for _ in 0..300 {
            let _ = Command::new("true").status();
        }
    });
    while !children.is_finished() {
        drop(wal);
        wal = open(dir.path());
    }
    children.join().unwrap();
}

#[test]
fn a_file_where_the_directory_should_be_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    assert!(matches!(Wal::open(&file, options()), Err(WalError::Io { .. })));
    assert!(matches!(Wal::open(&file.join("below"), options()), Err(WalError::Io { .. })));
}

#[test]
fn a_segment_that_cannot_be_made_poisons_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut wal = open(&path);
    fs::remove_dir_all(&path).unwrap();
    let (_, error) = fill(&mut wal, 1);
    assert!(matches!(error, WalError::Io { .. }), "{error}");
    let error = wal.mark().unwrap_err();
    assert!(error.to_string().starts_with("log is out of use after an earlier failure: "), "{error}");
}

/// Commits entries until one is refused; says which one, and why.
fn fill(wal: &mut Wal, mut index: u64) -> (u64, WalError) {
    loop {
        let mut batch = Batch::new();
        batch.entry(1, index, 1, &[&[6; 5000]]);
        match wal.commit(&mut batch) {
            Ok(()) => index += 1,
            Err(error) => return (index, error),
        }
    }
}

#[test]
fn a_full_disk_is_an_error_and_never_a_signal() {
    if let Some(disk) = std::env::var_os(SMALL_DISK) {
        return on_a_small_disk(&Path::new(&disk).join("log"));
    }
    // A namespace of its own, so that an ordinary user may mount, and the mount is gone when it ends.
    let dir = tempfile::tempdir().unwrap();
    let this = std::env::current_exe().unwrap();
    let script = "mount -t tmpfs -o size=400k none \"$1\" || exit 77; shift; exec \"$@\"";
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .arg(dir.path())
        .arg(this);
    command.args(["--exact", "refusals::a_full_disk_is_an_error_and_never_a_signal", "--nocapture"]);
    let Ok(output) = command.env(SMALL_DISK, dir.path()).output() else {
        eprintln!("skipped: there is no `unshare` command to mount a small file system with");
        return;
    };
    let words = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(77) || words.starts_with("unshare:") {
        eprintln!("skipped: no small file system can be mounted here: {words}");
        return;
    }
    assert!(output.status.success(), "{:?}: {words}", output.status);
}

fn on_a_small_disk(dir: &Path) {
    let mut wal = open(dir);
    let (refused, error) = fill(&mut wal, 1);
    assert!(matches!(error, WalError::NoSpace { limit: None, .. }), "{error}");
    assert!(error.to_string().contains("\nhint: df -h /"), "{error}");
    assert!(refused > 10);
    // Refused again, and everything is there.
    assert_eq!(fill(&mut wal, refused).0, refused);
    assert_eq!(entries(&wal, 1).len() as u64, refused - 1);
    // What frees space finds room, and then there is room for more; in this life and in the next.
    let mut compact = Batch::new();
    compact.compact(1, refused);
    wal.commit(&mut compact).unwrap();
    let (next, _) = fill(&mut wal, refused);
    assert!(next > refused + 5, "{refused} to {next}");
    compact.clear();
    compact.compact(1, next);
    wal.commit(&mut compact).unwrap();
    wal.mark().unwrap();
    drop(wal);
    let mut wal = open(dir);
    assert!(fill(&mut wal, next).0 > next + 5);
}
