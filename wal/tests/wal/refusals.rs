//! What a log refuses, in which words, and that it leaves alone what it refuses.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::common::{open, options, reopen, segment};
use ordeal_wal::{Options, Wal, WalError};

/// Names the directory of the small file system to the second run of this test.
const SMALL_DISK: &str = "ORDEAL_WAL_TEST_SMALL_DISK";

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries.map(|entry| (entry.path().display().to_string(), fs::read(entry.path()).unwrap())).collect()
}

#[test]
fn a_log_has_one_owner_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let error = Wal::open(dir.path(), options()).unwrap_err();
    assert!(matches!(error, WalError::Locked { .. }));
    assert!(error.to_string().contains("LOCK is held by another process\nhint: fuser"), "{error}");
    drop(first);
    open(dir.path());
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
        wal = reopen(wal, dir.path()).0;
    }
    children.join().unwrap();
}

#[test]
fn the_log_of_another_store_is_refused_and_untouched() {
    let dir = tempfile::tempdir().unwrap();
    drop(Wal::open(dir.path(), Options { store_id: 7, ..options() }).unwrap());
    fs::write(dir.path().join("0000000000000002.tmp"), b"theirs").unwrap();
    let before = files(dir.path());
    let error = Wal::open(dir.path(), Options { store_id: 8, ..options() }).unwrap_err();
    assert!(matches!(error, WalError::Foreign { found: 7, expected: 8, .. }), "{error}");
    assert_eq!(files(dir.path()), before);
}

#[test]
fn the_log_of_a_newer_build_is_refused_and_untouched() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let mut bytes = fs::read(segment(dir.path(), 1)).unwrap();
    for copy in [0, 4096] {
        let header = &mut bytes[copy..copy + 128];
        header[8] = 9;
        let checksum = crc32fast::hash(&header[..124]);
        header[124..].copy_from_slice(&checksum.to_le_bytes());
    }
    fs::write(segment(dir.path(), 1), bytes).unwrap();
    let before = files(dir.path());
    let error = Wal::open(dir.path(), options()).unwrap_err();
    assert!(
        error.to_string().ends_with("0000000000000001.wal has format version 9, this build reads up to 1")
    );
    assert_eq!(files(dir.path()), before);
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
fn a_full_log_refuses_appends_keeps_what_it_has_and_goes_on_after_a_release() {
    let dir = tempfile::tempdir().unwrap();
    let small = Options { total_bytes_max: 256 << 10, ..options() };
    let (wal, _) = Wal::open(dir.path(), small).unwrap();
    let error = fill_and_go_on(wal, |wal| {
        assert!(wal.disk_bytes() <= small.total_bytes_max);
        drop(wal);
        Wal::open(dir.path(), small).unwrap().0
    });
    assert!(matches!(error, WalError::NoSpace { limit: Some(_), .. }), "{error}");
    assert!(error.to_string().contains("the log may hold 262144\nhint: release"), "{error}");
}

/// Fills a log, opens it anew with `next_life`, releases, fills again. Returns the first refusal.
fn fill_and_go_on(mut wal: Wal, next_life: impl FnOnce(Wal) -> Wal) -> WalError {
    let fill = |wal: &mut Wal| {
        let mut positions = Vec::new();
        loop {
            match wal.append(1, &[6; 5000]) {
                Ok(position) => positions.push(position),
                Err(error) => return (positions, error),
            }
        }
    };
    let (positions, refusal) = fill(&mut wal);
    assert!(positions.len() > 10);
    // Refused again and again, and the log is as it was.
    assert!(matches!(wal.append(1, &[6; 5000]), Err(WalError::NoSpace { .. })));
    wal.sync().unwrap();
    assert!(positions.iter().all(|&position| wal.read(position).is_ok()));
    wal.release(*positions.last().unwrap()).unwrap();
    let (more, _) = fill(&mut wal);
    assert!(more.len() > 5, "released space is space again: {}", more.len());
    wal.sync().unwrap();
    wal.release(*more.last().unwrap()).unwrap();
    let mut wal = next_life(wal);
    assert!(wal.read(*more.last().unwrap()).is_ok());
    wal.append(1, b"goes on").unwrap();
    wal.sync().unwrap();
    refusal
}

#[test]
fn a_full_disk_is_an_error_and_never_a_signal() {
    if let Some(disk) = std::env::var_os(SMALL_DISK) {
        let dir = Path::new(&disk).join("log");
        let (wal, _) = Wal::open(&dir, options()).unwrap();
        let error = fill_and_go_on(wal, |wal| reopen(wal, &dir).0);
        assert!(matches!(error, WalError::NoSpace { limit: None, .. }), "{error}");
        assert!(error.to_string().contains("\nhint: df -h /"), "{error}");
        return;
    }
    // A namespace of its own, so that an ordinary user may mount, and the mount is gone when it ends.
    let dir = tempfile::tempdir().unwrap();
    let this = std::env::current_exe().unwrap();
    let script = "mount -t tmpfs -o size=300k none \"$1\" || exit 77; shift; exec \"$@\"";
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

#[test]
fn a_segment_that_cannot_be_made_poisons_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut wal = open(&path);
    fs::remove_dir_all(&path).unwrap();
    let error =
        (0..1000).find_map(|_| wal.append(1, &[1; 3000]).err()).expect("there is no directory any more");
    assert!(matches!(error, WalError::Io { .. }), "{error}");
    let error = wal.sync().unwrap_err();
    assert!(error.to_string().starts_with("log is out of use after an earlier failure: "), "{error}");
}
