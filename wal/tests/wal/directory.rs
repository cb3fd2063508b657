//! The log on a real file system: names, locks, leftovers, several threads.

use std::fs;
use std::path::Path;

use ordeal_wal::{Batch, Options, Recovered, SyncMode, Wal, WalError};

use crate::basic::{commit, entries};
use crate::common::{Chance, content, options, segment};
use crate::script::{Script, batch, observe};

fn open(dir: &Path) -> (Wal, Recovered) {
    Wal::open(dir, options()).expect("a healthy directory")
}

#[test]
fn a_log_in_a_directory_is_one_in_memory() {
    let script = Script::draw(&mut Chance::new(3), 40, 2_000);
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("made/when/missing");
    let (mut wal, _) = open(&dir);
    for (number, steps) in script.commits.iter().enumerate() {
        wal.commit(&mut batch(steps)).unwrap();
        wal.reclaim().unwrap();
        if number % 7 == 0 {
            drop(wal);
            let (next, recovered) = open(&dir);
            assert!(recovered.report.is_clean(), "{:?}", recovered.report);
            assert_eq!(observe(&next, &recovered), script.models[number + 1], "after {number}");
            wal = next;
        }
    }
}

#[test]
fn one_thread_fills_the_next_batch_while_another_waits_for_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (mut wal, _) = open(dir.path());
    let (full, to_write) = std::sync::mpsc::sync_channel::<Batch>(1);
    let writer = std::thread::spawn(move || {
        for mut batch in to_write {
            wal.commit(&mut batch).unwrap();
        }
        wal
    });
    for index in 1..=100 {
        let mut batch = Batch::new();
        batch.entry(1, index, 1, &[&content(1, index, 1, 500)]);
        full.send(batch).unwrap();
    }
    drop(full);
    assert_eq!(entries(&writer.join().unwrap(), 1).len(), 100);
}

#[test]
fn what_is_not_ours_stays_and_what_was_never_finished_goes() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let unfinished = dir.path().join("0000000000000009.tmp");
    let strange = ["notes.tmp", "9.wal", "000000000000000G.wal"].map(|name| dir.path().join(name));
    fs::write(&unfinished, [0; 5_000]).unwrap();
    strange.iter().for_each(|path| fs::write(path, b"not ours").unwrap());
    drop(open(dir.path()));
    assert!(!unfinished.exists());
    assert!(strange.iter().all(|path| path.exists()));
}

#[test]
fn a_directory_in_use_or_of_another_store_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let held = open(dir.path());
    let error = Wal::open(dir.path(), options()).unwrap_err();
    assert!(matches!(error, WalError::Locked { .. }), "{error}");
    assert!(error.to_string().contains("hint: fuser -v "), "{error}");
    drop(held);
    let error = Wal::open(dir.path(), Options { store_id: 5, ..options() }).unwrap_err();
    assert!(matches!(error, WalError::Foreign { found: 0, expected: 5, .. }), "{error}");
    open(dir.path());
}

#[test]
fn a_log_of_the_version_before_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    // Version 1 had its number and its checksum where this one has them.
    let mut header = [0; 128];
    header[..8].copy_from_slice(b"ORDWAL\r\n");
    header[8] = 1;
    let checksum = crc32fast::hash(&header[..124]);
    header[124..].copy_from_slice(&checksum.to_le_bytes());
    let path = dir.path().join(segment(1));
    fs::write(&path, header).unwrap();
    let error = Wal::open(dir.path(), options()).unwrap_err();
    assert!(
        error.to_string().ends_with("0000000000000001.wal has format version 1, this build reads 2"),
        "{error}"
    );
    assert_eq!(fs::read(&path).unwrap(), header);
}

#[test]
fn many_short_lives_leave_no_more_than_one_long_one() {
    let dir = tempfile::tempdir().unwrap();
    for index in 1..=20 {
        let (mut wal, recovered) = open(dir.path());
        commit(&mut wal, |batch| batch.entry(1, index, 1, &[&content(1, index, 1, 100)]));
        wal.reclaim().unwrap();
        assert!(recovered.report.is_clean());
    }
    let (mut wal, recovered) = open(dir.path());
    assert_eq!(recovered.groups[&1].next, 21);
    assert!(wal.disk_bytes() < 512 << 10, "{}", wal.disk_bytes());
    for _ in 0..20 {
        wal.reclaim().unwrap();
    }
    assert!(wal.disk_bytes() <= options().slack_bytes + (64 << 10), "{}", wal.disk_bytes());
    let files = fs::read_dir(dir.path()).unwrap().count();
    assert!(files <= 6, "{files}");
}

#[test]
fn without_syncs_the_log_survives_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let never = Options { sync: SyncMode::Never, ..options() };
    let (mut wal, _) = Wal::open(dir.path(), never).unwrap();
    commit(&mut wal, |batch| batch.entry(1, 1, 1, &[b"kept"]));
    drop(wal);
    let (wal, recovered) = open(dir.path());
    assert!(recovered.report.is_clean());
    assert_eq!(entries(&wal, 1).len(), 1);
}
