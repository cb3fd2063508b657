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
use crate::media::{Ahead, Media, Store};

/// The next segment, ready or being prepared by a thread.
#[derive(Debug)]
pub(crate) struct Spare {
    media: Arc<dyn Media>,
    name: String,
    length: u64,
    cancelled: Arc<AtomicBool>,
    work: Work,
}

#[derive(Debug)]
enum Work {
    UnderWay(JoinHandle<io::Result<Box<dyn Store>>>),
    Done(io::Result<Box<dyn Store>>),
}

/// How far a spare segment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    UnderWay,
    Ready,
    /// There is no space for it.
    NoSpace,
    /// Something else is wrong: who needs it is told.
    Failed,
}

/// Makes a segment now.
pub(crate) fn prepare(media: &dyn Media, name: &str, length: u64) -> Result<Box<dyn Store>, WalError> {
    let made = media.create(name, bytes::length(length), &AtomicBool::new(false));
    made.map_err(space_error(media.path(name), length))
}

impl Spare {
    /// Has the file made. None if there is no thread to be had: then it is made when needed.
    pub(crate) fn start(media: Arc<dyn Media>, name: String, length: u64) -> Option<Spare> {
        let cancelled = Arc::new(AtomicBool::new(false));
        let (theirs, place, file) = (Arc::clone(&cancelled), Arc::clone(&media), name.clone());
        let work = move || place.create(&file, bytes::length(length), &theirs);
        let work = match media.ahead() {
            Ahead::Never => return None,
            Ahead::InOrder => Work::Done(work()),
            Ahead::Thread => {
                let thread = std::thread::Builder::new().name("wal-prepare".to_owned()).spawn(work).ok()?;
                Work::UnderWay(thread)
            }
        };
        Some(Spare { media, name, length, cancelled, work })
    }

    /// How far it was when it was [`Spare::settled`]; waits for nothing.
    pub(crate) fn progress(&self) -> Progress {
        match &self.work {
            Work::UnderWay(_) => Progress::UnderWay,
            Work::Done(Ok(_)) => Progress::Ready,
            Work::Done(Err(error)) => match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Progress::NoSpace,
                _ => Progress::Failed,
            },
        }
    }

    /// As it is when its thread has ended.
    pub(crate) fn settled(self) -> Spare {
        let work = match self.work {
            Work::UnderWay(thread) if thread.is_finished() => Work::Done(join(thread)),
            work => work,
        };
        Spare { work, ..self }
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Waits for the thread: a turn does, if it comes too early.
    pub(crate) fn finish(self) -> io::Result<Box<dyn Store>> {
        match self.work {
            Work::UnderWay(thread) => join(thread),
            Work::Done(made) => made,
        }
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

fn join(thread: JoinHandle<io::Result<Box<dyn Store>>>) -> io::Result<Box<dyn Store>> {
    thread.join().expect("preparing a segment does not panic")
}
