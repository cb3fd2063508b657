//! New segments: written with zeros first, in a file that does not count yet. While one segment fills, a thread prepares
//! the next. Everything that can fail for lack of space fails here, as a plain error of a plain write; never later, in a
//! store through the mapping, where it would be a signal.
//!
//! A prepared file is not kept over a restart: its pages would come back from the disk in large folios, and then each
//! commit writes a megabyte; or one by one, at 40 µs a commit. The first segment of a life is small instead.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::bytes;
use crate::error::{WalError, space_error};
use crate::media::{Media, Store};

/// The next segment, being prepared by a thread.
#[derive(Debug)]
pub(crate) struct Spare {
    media: Arc<dyn Media>,
    name: String,
    length: u64,
    cancelled: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Box<dyn Store>>>,
}

/// Makes a segment now.
pub(crate) fn prepare(media: &dyn Media, name: &str, length: u64) -> Result<Box<dyn Store>, WalError> {
    let made = media.create(name, bytes::length(length), &AtomicBool::new(false));
    made.map_err(space_error(media.path(name), length))
}

impl Spare {
    /// Starts a thread that makes the file. None if there is no thread to be had: then it is made when needed.
    pub(crate) fn start(media: Arc<dyn Media>, name: String, length: u64) -> Option<Spare> {
        let cancelled = Arc::new(AtomicBool::new(false));
        let (theirs, place, file) = (Arc::clone(&cancelled), Arc::clone(&media), name.clone());
        let work = move || place.create(&file, bytes::length(length), &theirs);
        let thread = std::thread::Builder::new().name("wal-prepare".to_owned()).spawn(work).ok()?;
        Some(Spare { media, name, length, cancelled, thread })
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Waits for the thread: a turn does, if it comes too early.
    pub(crate) fn finish(self) -> io::Result<Box<dyn Store>> {
        self.thread.join().expect("preparing a segment does not panic")
    }

    /// Ends the thread, and its file with it.
    pub(crate) fn discard(self) {
        self.cancelled.store(true, Ordering::Relaxed);
        let (media, name) = (Arc::clone(&self.media), self.name.clone());
        // Whether it was finished, failed or interrupted: it is not wanted any more. What stays is removed at the next open.
        drop(self.finish());
        let _ = media.remove(&name);
    }
}
