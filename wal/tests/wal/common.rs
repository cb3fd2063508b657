//! What the tests of the log share: small segments, opening, and copies of directories as a crash would leave them.

use std::fs;
use std::path::{Path, PathBuf};

use ordeal_wal::{Options, Recovered, Wal};

/// Segments of 32 to 64 KiB, so that a few hundred records rotate.
pub fn options() -> Options {
    Options { segment_bytes_first: 32 << 10, segment_bytes_max: 64 << 10, ..Options::default() }
}

/// Opens a log that is expected to be healthy.
pub fn open(dir: &Path) -> Wal {
    Wal::open(dir, options()).expect("healthy").0
}

/// Ends this life without any last words, and begins the next.
pub fn reopen(wal: Wal, dir: &Path) -> (Wal, Recovered) {
    drop(wal);
    Wal::open(dir, options()).expect("healthy")
}

/// What the records hold.
pub fn bytes_of(recovered: &Recovered) -> Vec<Vec<u8>> {
    recovered.records.iter().map(|record| record.bytes.clone()).collect()
}

/// The file of a segment.
pub fn segment(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}.wal"))
}

/// Copies a log as it stands, also under the feet of its owner; whatever was at the target is gone.
pub fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
