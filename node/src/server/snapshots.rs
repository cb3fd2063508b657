//! The thread that turns states into snapshots and writes them aside, and likewise those of a leader, and turns them into
//! states, one at a time, while the loop and the log go on: the state it is given is a copy that shares what was not changed since.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::thread::JoinHandle;

use mio::Waker;

use super::error::{ServerError, loop_error};
use super::limits::DISK_FULL_REST;
use crate::config::GROUPS_MAX;
use crate::engine::{Input, RestoreJob, SnapshotJob, StoreJob};
use crate::shard::Leftover;
use crate::storage::{Pace, SnapshotFiles, Snapshots, StorageError};

/// A group takes one snapshot at a time, stores one, and restores one; beside them is room for what is to be dropped.
const JOBS_MAX: usize = 4 * GROUPS_MAX as usize + 4;

/// What the thread does.
#[derive(Debug)]
enum Job {
    Take(Box<SnapshotJob>),
    Store(StoreJob),
    Restore(RestoreJob),
    Discard(Leftover),
}

/// The loop's end of the thread. Dropped, it lets the thread finish what it has.
#[derive(Debug)]
pub(super) struct SnapshotThread {
    jobs: Option<SyncSender<Job>>,
    done: Receiver<Result<Input, StorageError>>,
    thread: Option<JoinHandle<()>>,
}

impl SnapshotThread {
    /// Starts the thread; it wakes the loop with `waker`.
    ///
    /// # Errors
    /// [`ServerError::Loop`] when there is no thread to be had.
    pub(super) fn start(files: Snapshots, waker: Arc<Waker>) -> Result<SnapshotThread, ServerError> {
        let (jobs, theirs) = sync_channel(JOBS_MAX);
        let (theirs_done, done) = channel();
        let thread = std::thread::Builder::new()
            .name("snapshots".to_owned())
            .spawn(move || work(&files, &theirs, &theirs_done, &waker))
            .map_err(loop_error("snapshot thread"))?;
        Ok(SnapshotThread { jobs: Some(jobs), done, thread: Some(thread) })
    }

    /// Hands a state over, to be made a snapshot.
    pub(super) fn take(&self, job: SnapshotJob) {
        self.give(Job::Take(Box::new(job)));
    }

    /// Hands a snapshot of a leader over, to be made durable.
    pub(super) fn store(&self, job: StoreJob) {
        self.give(Job::Store(job));
    }

    /// Hands a snapshot over, to be made a state.
    pub(super) fn restore(&self, job: RestoreJob) {
        self.give(Job::Restore(job));
    }

    /// Hands over what is to be dropped.
    pub(super) fn discard(&self, leftover: Leftover) {
        // With no room for it, it is dropped here: that holds the loop up, and nothing else.
        if let Some(jobs) = &self.jobs {
            drop(jobs.try_send(Job::Discard(leftover)));
        }
    }

    fn give(&self, job: Job) {
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.try_send(job).is_ok());
        assert!(sent, "a group has one such job at a time, for a thread that lives as long as the server");
    }

    /// A snapshot that is done, and durable; or a state.
    ///
    /// # Errors
    /// When it could not be written. The process must end.
    pub(super) fn news(&self) -> Result<Option<Input>, ServerError> {
        match self.done.try_recv() {
            Ok(done) => Ok(Some(done?)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => panic!("the snapshot thread found a broken promise"),
        }
    }
}

fn work(files: &Snapshots, jobs: &Receiver<Job>, done: &Sender<Result<Input, StorageError>>, waker: &Waker) {
    // One a group, at most.
    let mut stuck: VecDeque<StoreJob> = VecDeque::new();
    while let Some(job) = next(jobs, &mut stuck) {
        let result = match job {
            Job::Take(job) => {
                let taken = job.run();
                match files.write(taken.group, &taken.snapshot, Pace::Resting) {
                    Err(error) if error.is_no_space() => {
                        tracing::warn!(reason = %error, "snapshot given up");
                        Ok(Input::SnapshotGivenUp(taken.group))
                    }
                    written => written.map(|()| Input::SnapshotTaken(taken)),
                }
            }
            Job::Store(job) => match files.write(job.group, &job.snapshot, Pace::AtOnce) {
                // The member has none of what it replaces any more: it waits for space.
                Err(error) if error.is_no_space() => {
                    stuck.push_back(job);
                    continue;
                }
                written => written.map(|()| Input::SnapshotStored(job.done())),
            },
            Job::Discard(leftover) => {
                drop(leftover);
                continue;
            }
            Job::Restore(job) => Ok(Input::SnapshotRestored(job.run())),
        };
        if done.send(result).is_err() {
            return;
        }
        if let Err(error) = waker.wake() {
            // The next tick, 10 ms later, looks as well.
            tracing::warn!(reason = %error, "snapshot done without a wake-up");
        }
    }
}

/// The next job; while one waits for space, that one after a while. None when it is time to end.
fn next(jobs: &Receiver<Job>, stuck: &mut VecDeque<StoreJob>) -> Option<Job> {
    if stuck.is_empty() {
        return jobs.recv().ok();
    }
    match jobs.recv_timeout(DISK_FULL_REST) {
        Ok(job) => Some(job),
        Err(RecvTimeoutError::Timeout) => stuck.pop_front().map(Job::Store),
        Err(RecvTimeoutError::Disconnected) => None,
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
