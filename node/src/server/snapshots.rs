//! The thread that turns states into snapshots, one at a time, and writes them aside, while the loop and the log go on: the
//! state it is given is a copy that shares what was not changed since.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::thread::JoinHandle;

use mio::Waker;

use super::error::{ServerError, loop_error};
use crate::config::GROUPS_MAX;
use crate::engine::{SnapshotJob, TakenSnapshot};
use crate::storage::{Snapshots, StorageError};

/// A group takes one snapshot at a time.
const JOBS_MAX: usize = GROUPS_MAX as usize;

/// The loop's end of the thread. Dropped, it lets the thread finish what it has.
#[derive(Debug)]
pub(super) struct SnapshotThread {
    jobs: Option<SyncSender<SnapshotJob>>,
    taken: Receiver<Result<TakenSnapshot, StorageError>>,
    thread: Option<JoinHandle<()>>,
}

impl SnapshotThread {
    /// Starts the thread; it wakes the loop with `waker`.
    ///
    /// # Errors
    /// [`ServerError::Loop`] when there is no thread to be had.
    pub(super) fn start(files: Snapshots, waker: Arc<Waker>) -> Result<SnapshotThread, ServerError> {
        let (jobs, theirs) = sync_channel(JOBS_MAX);
        let (done, taken) = channel();
        let thread = std::thread::Builder::new()
            .name("snapshots".to_owned())
            .spawn(move || work(&files, &theirs, &done, &waker))
            .map_err(loop_error("snapshot thread"))?;
        Ok(SnapshotThread { jobs: Some(jobs), taken, thread: Some(thread) })
    }

    /// Hands a state over.
    pub(super) fn take(&self, job: SnapshotJob) {
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.try_send(job).is_ok());
        assert!(sent, "a group takes one snapshot at a time, by a thread that lives as long as the server");
    }

    /// A snapshot that is done, and durable.
    ///
    /// # Errors
    /// When it could not be written. The process must end.
    pub(super) fn news(&self) -> Result<Option<TakenSnapshot>, ServerError> {
        match self.taken.try_recv() {
            Ok(taken) => Ok(Some(taken?)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => panic!("the snapshot thread found a broken promise"),
        }
    }
}

fn work(
    files: &Snapshots,
    jobs: &Receiver<SnapshotJob>,
    done: &Sender<Result<TakenSnapshot, StorageError>>,
    waker: &Waker,
) {
    while let Ok(job) = jobs.recv() {
        let taken = job.run();
        let written = files.write(taken.group, &taken.snapshot);
        if done.send(written.map(|()| taken)).is_err() {
            return;
        }
        if let Err(error) = waker.wake() {
            // The next tick, 10 ms later, looks as well.
            tracing::warn!(reason = %error, "snapshot taken without a wake-up");
        }
    }
}

impl Drop for SnapshotThread {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so already.
            let _panicked = thread.join();
        }
    }
}
