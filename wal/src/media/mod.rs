//! Where a log lives: the few things it needs of a file system, so that it runs the same on a directory ([`Directory`])
//! and in memory ([`Memory`]), where a test or a simulator can cut the power at any moment.

mod directory;
mod memory;
mod sectors;

use std::any::Any;
use std::fmt::Debug;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

pub use directory::Directory;
pub use memory::{Crash, Fault, Keep, Memory, Tear};

/// A place for the files of one log.
pub trait Media: Send + Sync + Debug {
    /// Keeps everybody else away for as long as the guard lives. The place is made if it is missing.
    ///
    /// # Errors
    /// Of kind `WouldBlock` when somebody else is there.
    fn lock(&self) -> io::Result<Guard>;

    /// Names of all files.
    ///
    /// # Errors
    /// Those of the system.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes a file of zeros, all of them written and durable, so that no later store can lack space; and maps it. A file
    /// of that name is replaced. On an error nothing is left behind, as far as that can be.
    ///
    /// # Errors
    /// Of kind `StorageFull` or `QuotaExceeded` when there is no space, `Interrupted` when it was cancelled.
    fn create(&self, name: &str, bytes: usize, cancelled: &AtomicBool) -> io::Result<Box<dyn Store>>;

    /// Opens a file to read it.
    ///
    /// # Errors
    /// Those of the system.
    fn open(&self, name: &str) -> io::Result<Box<dyn Source>>;

    /// Gives a file another name; under which there was none, or which then is gone.
    ///
    /// # Errors
    /// Those of the system. Nobody knows then which of the two names will be there after a loss of power.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Takes a name away; one that is gone already is as good.
    ///
    /// # Errors
    /// Those of the system.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes the names durable.
    ///
    /// # Errors
    /// Those of the system.
    fn sync_names(&self) -> io::Result<()>;

    /// A number that no other file of the log has had; it need not be secret.
    fn salt(&self) -> u64;

    /// How files are created ahead of their use.
    fn ahead(&self) -> Ahead;

    /// A file as people know it, for messages.
    fn path(&self, name: &str) -> PathBuf;
}

/// How the next file is created while the one before fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ahead {
    /// By another thread.
    Thread,
    /// At once: in a simulation everything happens in order.
    InOrder,
    /// Not at all: when it is needed.
    Never,
}

/// What keeps others away until it is dropped.
pub type Guard = Box<dyn Any + Send + Sync>;

/// A file that is written.
pub trait Store: Send + Debug {
    /// Stores bytes inside of the file. Nothing is durable before [`Store::sync`].
    ///
    /// # Errors
    /// Those of the system; through a mapping there are none. Nobody knows then how much of it was stored.
    fn write(&mut self, offset: usize, bytes: &[u8]) -> io::Result<()>;

    /// Waits until a range is durable.
    ///
    /// # Errors
    /// Those of the system. Nobody knows then what reached the disk, and a second try may say "fine" of bytes that are lost.
    fn sync(&self, offset: usize, bytes: usize) -> io::Result<()>;
}

/// A file that is read.
pub trait Source: Send + Debug {
    /// Its length.
    ///
    /// # Errors
    /// Those of the system.
    fn length(&self) -> io::Result<u64>;

    /// Reads what there is, which is less than asked for only at the end of the file.
    ///
    /// # Errors
    /// Those of the system.
    fn read(&self, offset: usize, bytes: &mut [u8]) -> io::Result<usize>;

    /// Makes sure that what is read from now on is what the disk has: syncs, and drops what memory holds of the file.
    ///
    /// # Errors
    /// Those of the system.
    fn settle(&self) -> io::Result<()>;
}
