//! Files and names that are there after any crash, whole, or not at all.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use super::StorageError;
use super::error::io_error;

/// The end of the name of a file that is being written.
pub(super) const ASIDE: &str = ".tmp";

/// A long file goes to the disk in portions, so that the log's syncs, which come meanwhile, wait for one of them only.
const SYNC_EVERY: usize = 256 << 10;

/// After a portion nothing is written for so many times as long as it took: three quarters of the disk's time are left.
const REST_SHARE: u32 = 3;
/// But no longer: so 100 MB take 8 s at worst beside what the disk takes.
const REST_MAX: Duration = Duration::from_millis(20);

/// How a long file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Somebody waits for it.
    AtOnce,
    /// With rests, in which the disk is the log's.
    Resting,
}

/// Writes a file so that after any crash there is either nothing or all of it under its name: aside, sync, rename,
/// sync of the directory.
pub(super) fn write_durably(
    dir: &Path,
    name: &str,
    pieces: &[&[u8]],
    pace: Pace,
) -> Result<(), StorageError> {
    let aside = dir.join(format!("{name}{ASIDE}"));
    let written = write_aside(&aside, pieces, pace);
    if written.as_ref().is_err_and(StorageError::is_no_space) {
        // Half a file counts for nothing, and somebody needs the space. If that fails, the next start does it.
        let _left = fs::remove_file(&aside);
    }
    written?;
    fs::rename(&aside, dir.join(name)).map_err(io_error("rename", &aside))?;
    sync_dir(dir)
}

fn write_aside(aside: &Path, pieces: &[&[u8]], pace: Pace) -> Result<(), StorageError> {
    let mut file = File::create(aside).map_err(io_error("create", aside))?;
    let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
    for portion in pieces.iter().flat_map(|piece| piece.chunks(SYNC_EVERY)) {
        file.write_all(portion).map_err(io_error("write", aside))?;
        if bytes > SYNC_EVERY {
            let begun = Instant::now();
            file.sync_data().map_err(io_error("sync", aside))?;
            if pace == Pace::Resting {
                std::thread::sleep((begun.elapsed() * REST_SHARE).min(REST_MAX));
            }
        }
    }
    file.sync_all().map_err(io_error("sync", aside))
}

/// Makes names in the directory durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), StorageError> {
    File::open(dir).and_then(|file| file.sync_all()).map_err(io_error("sync", dir))
}

/// Makes a directory and its missing parents, each name durable in its parent.
pub(super) fn create_dir_durably(dir: &Path) -> Result<(), StorageError> {
    let dir = std::path::absolute(dir).map_err(io_error("find", dir))?;
    let missing: Vec<&Path> = dir.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
    fs::create_dir_all(&dir).map_err(io_error("create", &dir))?;
    for made in missing {
        if let Some(parent) = made.parent() {
            sync_dir(parent)?;
        }
    }
    Ok(())
}
