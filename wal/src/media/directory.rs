//! A log in a directory of the real file system.
//!
//! A file's own sync does not make its name durable; only a sync of the directory does. Logs that forgot this lost
//! everything on file systems that take it at its word.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use memmap2::Advice;

use super::{Ahead, Guard, Media, Source, Store};
use crate::SyncMode;
use crate::layout::BLOCK;
use crate::mmap::Mapping;

/// Zeros go to the disk in portions: a commit that comes meanwhile waits behind one of these, and not behind a whole
/// segment (seen: 150 ms at the disk of a busy machine, of three nodes at once).
const SYNC_EVERY: usize = 64 * BLOCK;
/// A short one is not made in portions: somebody waits for it.
const AT_ONCE: usize = 256 * BLOCK;

/// Stores of so many bytes and more go by a write to the file, not through the mapping: a block that is stored to for the
/// first time is a fault of 2 to 3 µs there, and in a write half of it (3.5 and 1.6 µs a block with the copy, ext4). For one
/// block the call would take what the fault does. Without syncs there are no faults.
const WRITE_FROM: usize = 2 * BLOCK;

/// A directory, with the lock file `LOCK` and one file a segment.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    sync: SyncMode,
}

impl Directory {
    /// The directory of a log; it is made when the log is opened.
    #[must_use]
    pub fn new(path: &Path, sync: SyncMode) -> Directory {
        Directory { path: path.to_owned(), sync }
    }

    fn zeros(&self, path: &Path, bytes: usize, cancelled: &AtomicBool) -> io::Result<File> {
        // Readable as well, as a file that is only writable cannot be mapped.
        let mut options = File::options();
        let file = options.create(true).truncate(true).read(true).write(true).open(path)?;
        // One block a write, although fewer and longer ones were faster: longer ones make large folios of the page cache,
        // and then each later store through the mapping writes a whole megabyte to the disk (measured, kernel 6.18).
        for offset in (0..bytes).step_by(BLOCK) {
            if cancelled.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            file.write_all_at(&[0; BLOCK], offset as u64)?;
            let portion = bytes > AT_ONCE && (offset + BLOCK).is_multiple_of(SYNC_EVERY);
            if self.sync == SyncMode::Always && portion {
                file.sync_data()?;
            }
        }
        if self.sync == SyncMode::Always {
            file.sync_all()?;
        }
        Ok(file)
    }
}

impl Media for Directory {
    fn lock(&self) -> io::Result<Guard> {
        make(&self.path)?;
        let mut options = OpenOptions::new();
        let file = options.create(true).write(true).truncate(false).open(self.path.join("LOCK"))?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(Lock { file })),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // A name that is no text is none of ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn create(&self, name: &str, bytes: usize, cancelled: &AtomicBool) -> io::Result<Box<dyn Store>> {
        let path = self.path.join(name);
        // Without syncs the zeros are dirty pages anyway. With them each sync makes its pages clean again, and to have
        // dirtied them before their time would only write them twice.
        let ahead = match self.sync {
            SyncMode::Always => Advice::PopulateRead,
            SyncMode::Never => Advice::PopulateWrite,
        };
        let made = self.zeros(&path, bytes, cancelled).and_then(|file| {
            Ok(Mapped { mapping: Mapping::new(&file, bytes, ahead)?, file, sync: self.sync })
        });
        match made {
            Ok(mapped) => Ok(Box::new(mapped)),
            Err(error) => {
                // Half a file of zeros takes the very space that is missing. Should even this fail, the next open removes it.
                let _ = fs::remove_file(&path);
                Err(error)
            }
        }
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Source>> {
        Ok(Box::new(Read { file: File::open(self.path.join(name))?, sync: self.sync }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn sync_names(&self) -> io::Result<()> {
        if self.sync == SyncMode::Always { sync_directory(&self.path) } else { Ok(()) }
    }

    /// Random enough that no two files share it: the standard library seeds its hashers from the system.
    fn salt(&self) -> u64 {
        std::collections::hash_map::RandomState::new().build_hasher().finish()
    }

    fn ahead(&self) -> Ahead {
        Ahead::Thread
    }

    fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// Held as long as it lives, and let go by the kernel when the process dies, however it dies.
#[derive(Debug)]
struct Lock {
    file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough: a child that another thread is just starting holds it too until its exec. If
        // this fails, closing still does what it can.
        let _ = self.file.unlock();
    }
}

#[derive(Debug)]
struct Mapped {
    mapping: Mapping,
    file: File,
    sync: SyncMode,
}

impl Store for Mapped {
    fn write(&mut self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() < WRITE_FROM || self.sync == SyncMode::Never {
            self.mapping.write(offset, bytes);
            return Ok(());
        }
        self.file.write_all_at(bytes, offset as u64)
    }

    fn sync(&self, offset: usize, bytes: usize) -> io::Result<()> {
        if self.sync == SyncMode::Always { self.mapping.sync(offset, bytes) } else { Ok(()) }
    }
}

#[derive(Debug)]
struct Read {
    file: File,
    sync: SyncMode,
}

impl Source for Read {
    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: usize, bytes: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < bytes.len() {
            match self.file.read_at(&mut bytes[done..], (offset + done) as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn settle(&self) -> io::Result<()> {
        if self.sync == SyncMode::Always {
            self.file.sync_data()?;
            // Advice: it may be ignored. What nothing proves durable is therefore written anew besides.
            let advice = nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED;
            let _ = nix::fcntl::posix_fadvise(&self.file, 0, 0, advice);
        }
        Ok(())
    }
}

/// Makes a directory, and those above it, as far as they are missing; durably.
fn make(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    };
    make(parent)?;
    match fs::create_dir(path) {
        Ok(()) => sync_directory(parent),
        // Somebody else was faster, and syncs its parent as well.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => sync_directory(parent),
        Err(error) => Err(error),
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
