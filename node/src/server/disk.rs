//! The thread that writes: it takes all batches that wait, appends them, syncs once, and says up to where the disk has
//! come. So a sync is shared by whatever came during the one before, and nothing is held back for company: the first batch
//! of an idle node is on its way at once.
//!
//! ```text
//!   loop ── Batch ──▶ queue ──▶ thread: append all, one sync ──▶ ticket, wake-up ──▶ loop: Input::Persisted
//! ```
//!
//! When nothing came for a moment, the log proves its last frame durable by another behind it: until then damage to that frame
//! could not be told from a torn one.
//!
//! Meanwhile the loop sends, answers and listens; what promises something about the disk comes out of the engine only with
//! `Input::Persisted`. After a failed write or sync the thread ends, and the loop, told why, ends the process.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use mio::Waker;

use super::error::{ServerError, loop_error};
use super::limits::{DISK_FULL_REST, DISK_IDLE, DISK_QUEUE_BYTES_MAX};
use crate::engine::{Batch, BatchTicket};
use crate::storage::StorageError;

/// What the thread writes to.
pub(super) trait Store: Send + 'static {
    /// Makes these batches durable, in order, with one sync.
    fn persist_all(&mut self, batches: &[Batch]) -> Result<(), StorageError>;
    /// Proves the last of them durable for whoever reads the log after damage to it.
    fn mark(&mut self) -> Result<(), StorageError>;
    /// Whether there is space for what comes.
    fn has_room(&mut self) -> Result<bool, StorageError>;
    /// Bytes of the log on the disk.
    fn log_disk_bytes(&self) -> u64;
}

/// The loop's end of the thread. Dropped, it lets the thread finish the sync under way, and nothing after it.
#[derive(Debug)]
pub(super) struct Disk {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// What the loop was told last.
    told: BatchTicket,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    /// Rung when something was put into the queue.
    bell: Condvar,
    /// Bytes of the batches that are not durable yet.
    waiting_bytes: AtomicUsize,
    /// Number of the newest durable batch.
    durable: AtomicU64,
    log_bytes: AtomicU64,
    lacks_space: AtomicBool,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Batch>,
    closing: bool,
    failure: Option<StorageError>,
    ended: bool,
}

impl Disk {
    /// Starts the thread; it wakes the loop with `waker`.
    ///
    /// # Errors
    /// [`ServerError::Loop`] when there is no thread to be had.
    pub(super) fn start(store: impl Store, waker: Arc<Waker>) -> Result<Disk, ServerError> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue::default()),
            bell: Condvar::new(),
            waiting_bytes: AtomicUsize::new(0),
            durable: AtomicU64::new(0),
            log_bytes: AtomicU64::new(store.log_disk_bytes()),
            lacks_space: AtomicBool::new(false),
        });
        let theirs = Worker { shared: Arc::clone(&shared), waker };
        let thread = std::thread::Builder::new()
            .name("disk".to_owned())
            .spawn(move || theirs.work(store))
            .map_err(loop_error("disk thread"))?;
        Ok(Disk { shared, thread: Some(thread), told: BatchTicket(0) })
    }

    /// Hands a batch over.
    pub(super) fn write(&self, batch: Batch) {
        self.shared.waiting_bytes.fetch_add(weight(&batch), Ordering::Relaxed);
        self.shared.queue().waiting.push(batch);
        self.shared.bell.notify_one();
    }

    /// Whether so much waits that the loop must not take in more.
    pub(super) fn is_full(&self) -> bool {
        self.shared.waiting_bytes.load(Ordering::Relaxed) > DISK_QUEUE_BYTES_MAX
    }

    /// The newest batch that became durable since this was asked last.
    ///
    /// # Errors
    /// Whatever ended the thread. The process must end, too.
    pub(super) fn news(&mut self) -> Result<Option<BatchTicket>, ServerError> {
        let durable = BatchTicket(self.shared.durable.load(Ordering::Acquire));
        if durable > self.told {
            self.told = durable;
            return Ok(Some(durable));
        }
        let mut queue = self.shared.queue();
        if let Some(failure) = queue.failure.take() {
            return Err(failure.into());
        }
        assert!(!queue.ended, "the disk thread found a broken promise");
        Ok(None)
    }

    /// Whether there was no space for more entries when this was last looked at.
    pub(super) fn lacks_space(&self) -> bool {
        self.shared.lacks_space.load(Ordering::Relaxed)
    }

    /// Bytes of the log on the disk, as of the last sync.
    pub(super) fn log_disk_bytes(&self) -> u64 {
        self.shared.log_bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.shared.queue().closing = true;
        self.shared.bell.notify_one();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so already.
            let _panicked = thread.join();
        }
    }
}

impl Shared {
    /// The queue. A thread that panicked while it held it left it whole: nothing in there is changed in two steps.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread's end.
struct Worker {
    shared: Arc<Shared>,
    waker: Arc<Waker>,
}

impl Worker {
    fn work(self, mut store: impl Store) {
        let mut is_marked = true;
        while let Some(batches) = self.next(is_marked) {
            let bytes: usize = batches.iter().map(weight).sum();
            let done = if batches.is_empty() { store.mark() } else { self.persist(&mut store, &batches) };
            let has_room = match done.and_then(|()| store.has_room()) {
                Ok(has_room) => has_room,
                // Of no space only when it is time to end: then nothing failed.
                Err(failure) => {
                    self.shared.queue().failure = Some(failure).filter(|failure| !failure.is_no_space());
                    return;
                }
            };
            self.note_space(has_room);
            is_marked = batches.is_empty();
            let Some(newest) = batches.last().map(|batch| batch.ticket) else { continue };
            self.shared.log_bytes.store(store.log_disk_bytes(), Ordering::Relaxed);
            self.shared.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.shared.durable.store(newest.0, Ordering::Release);
            self.wake();
        }
    }

    /// Makes batches durable, however long it takes until there is space for them.
    fn persist(&self, store: &mut impl Store, batches: &[Batch]) -> Result<(), StorageError> {
        loop {
            match store.persist_all(batches) {
                Err(error) if error.is_no_space() => {
                    self.note_space(false);
                    let queue = self.shared.queue();
                    let until_closing = |queue: &mut Queue| !queue.closing;
                    let waited = self.shared.bell.wait_timeout_while(queue, DISK_FULL_REST, until_closing);
                    if waited.unwrap_or_else(PoisonError::into_inner).0.closing {
                        return Err(error);
                    }
                }
                persisted => return persisted,
            }
        }
    }

    fn note_space(&self, has_room: bool) {
        if self.shared.lacks_space.swap(!has_room, Ordering::Relaxed) == has_room {
            self.wake();
        }
    }

    /// All that waits, once something does; nothing, if there was nothing for a moment and the last is not marked yet; None
    /// when it is time to end.
    fn next(&self, is_marked: bool) -> Option<Vec<Batch>> {
        let mut queue = self.shared.queue();
        let mut is_idle = false;
        while queue.waiting.is_empty() && !queue.closing && !is_idle {
            let lacks_space = self.shared.lacks_space.load(Ordering::Relaxed);
            if is_marked && !lacks_space {
                queue = self.shared.bell.wait(queue).unwrap_or_else(PoisonError::into_inner);
            } else {
                let waited =
                    self.shared.bell.wait_timeout(queue, if is_marked { DISK_FULL_REST } else { DISK_IDLE });
                let (back, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                (queue, is_idle) = (back, timeout.timed_out());
            }
        }
        if queue.closing { None } else { Some(std::mem::take(&mut queue.waiting)) }
    }

    fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            // The next tick, 10 ms later, looks as well.
            tracing::warn!(reason = %error, "synced without a wake-up");
        }
    }
}

impl Drop for Worker {
    /// Also on the way out of a panic: the loop must not wait for ever.
    fn drop(&mut self) {
        self.shared.queue().ended = true;
        self.wake();
    }
}

/// What a batch holds of memory, about.
fn weight(batch: &Batch) -> usize {
    /// Beside its command: record, tickets, vectors.
    const ENTRY_BYTES: usize = 64;
    let of = |persist: &crate::raft::Persist| {
        // Not a snapshot: its bytes are shared with the member that holds it in any case.
        let entries =
            persist.entries.iter().chain(&persist.repairs).map(|entry| entry.payload.len() + ENTRY_BYTES);
        ENTRY_BYTES + entries.sum::<usize>()
    };
    batch.groups.iter().map(|(_, persist)| of(persist)).sum()
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    use mio::{Events, Poll, Token};
    use ordeal_client::wire::GroupId;

    use super::*;
    use crate::raft::{Entry, LogId, Payload, Persist, Ticket};

    /// A store that says what it was given, and waits to be told what came of it.
    struct Gate {
        given: Sender<Vec<u64>>,
        answers: Receiver<bool>,
        marks: Arc<AtomicUsize>,
        room: Arc<AtomicBool>,
    }

    impl Store for Gate {
        fn persist_all(&mut self, batches: &[Batch]) -> Result<(), StorageError> {
            self.given.send(batches.iter().map(|batch| batch.ticket.0).collect()).expect("the test listens");
            match self.answers.recv() {
                Ok(true) => Ok(()),
                Ok(false) | Err(_) => Err(StorageError::Io {
                    what: "sync",
                    path: PathBuf::from("data/1"),
                    source: io::Error::from_raw_os_error(5),
                }),
            }
        }

        fn mark(&mut self) -> Result<(), StorageError> {
            self.marks.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }

        fn has_room(&mut self) -> Result<bool, StorageError> {
            Ok(self.room.load(Ordering::Relaxed))
        }

        fn log_disk_bytes(&self) -> u64 {
            42
        }
    }

    struct Rig {
        disk: Disk,
        given: Receiver<Vec<u64>>,
        answers: Sender<bool>,
        marks: Arc<AtomicUsize>,
        room: Arc<AtomicBool>,
        poll: Poll,
        /// As the server does: a wake-up is lost with the last one who holds the waker.
        _waker: Arc<Waker>,
    }

    impl Rig {
        fn new() -> Rig {
            let poll = Poll::new().unwrap();
            let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
            let (given_to, given) = channel();
            let (answers, answers_from) = channel();
            let marks = Arc::default();
            let room = Arc::new(AtomicBool::new(true));
            let gate = Gate {
                given: given_to,
                answers: answers_from,
                marks: Arc::clone(&marks),
                room: Arc::clone(&room),
            };
            let disk = Disk::start(gate, Arc::clone(&waker)).unwrap();
            Rig { disk, given, answers, marks, room, poll, _waker: waker }
        }

        fn write(&self, ticket: u64, bytes: usize) {
            let entry = Entry { id: LogId::new(ticket, 1), payload: Payload::Command(vec![0; bytes].into()) };
            let persist = Persist {
                ticket: Ticket(ticket),
                hard_state: None,
                snapshot: None,
                truncate_from: None,
                entries: vec![entry],
                repairs: Vec::new(),
                first: 1,
            };
            self.disk.write(Batch { ticket: BatchTicket(ticket), groups: vec![(GroupId(1), persist)] });
        }

        fn taken(&self) -> Vec<u64> {
            self.given.recv_timeout(Duration::from_secs(60)).expect("the thread takes what waits")
        }

        /// Waits as the loop does.
        fn news(&mut self) -> Result<BatchTicket, ServerError> {
            let mut events = Events::with_capacity(8);
            loop {
                if let Some(ticket) = self.disk.news()? {
                    return Ok(ticket);
                }
                self.poll.poll(&mut events, Some(Duration::from_secs(60))).unwrap();
                assert!(!events.is_empty(), "whoever syncs wakes the loop");
            }
        }
    }

    #[test]
    fn what_came_during_a_sync_shares_the_next() {
        let mut rig = Rig::new();
        rig.write(1, 10);
        assert_eq!(rig.taken(), [1]);
        rig.write(2, 10);
        rig.write(3, 10);
        assert!(rig.disk.news().unwrap().is_none(), "nothing is durable before its sync returned");
        rig.answers.send(true).unwrap();
        assert_eq!(rig.news().unwrap(), BatchTicket(1));
        assert_eq!(rig.taken(), [2, 3]);
        rig.answers.send(true).unwrap();
        assert_eq!(rig.news().unwrap(), BatchTicket(3));
        assert_eq!(rig.disk.log_disk_bytes(), 42);
    }

    #[test]
    fn an_idle_disk_marks_its_last_frame_once() {
        let mut rig = Rig::new();
        for ticket in 1..=2 {
            rig.write(ticket, 10);
            assert_eq!(rig.taken(), [ticket]);
            rig.answers.send(true).unwrap();
            assert_eq!(rig.news().unwrap(), BatchTicket(ticket));
            let marks = || rig.marks.load(Ordering::Relaxed) as u64;
            while marks() < ticket {
                std::thread::yield_now();
            }
            assert_eq!(marks(), ticket);
        }
    }

    #[test]
    fn a_failed_sync_ends_the_thread_and_nothing_is_tried_again() {
        let mut rig = Rig::new();
        rig.write(1, 10);
        assert_eq!(rig.taken(), [1]);
        rig.write(2, 10);
        rig.answers.send(false).unwrap();
        let error = rig.news().unwrap_err();
        assert!(error.to_string().starts_with("sync data/1: "), "{error}");
        assert!(rig.given.recv().is_err(), "the store is gone, and was not asked again");
    }

    #[test]
    fn a_full_disk_is_told_and_so_is_room() {
        let mut rig = Rig::new();
        let mut ticket = 0;
        for full in [true, false] {
            rig.room.store(!full, Ordering::Relaxed);
            if full {
                ticket += 1;
                rig.write(ticket, 10);
                assert_eq!(rig.taken(), [ticket]);
                rig.answers.send(true).unwrap();
                assert_eq!(rig.news().unwrap(), BatchTicket(ticket));
            }
            // That there is room again is found without a write.
            let mut events = Events::with_capacity(8);
            while rig.disk.lacks_space() != full {
                rig.poll.poll(&mut events, Some(Duration::from_secs(60))).unwrap();
                assert!(!events.is_empty(), "whoever finds it wakes the loop");
            }
        }
    }

    #[test]
    fn a_stalled_disk_fills_its_queue_and_not_the_memory() {
        let mut rig = Rig::new();
        rig.write(1, 10);
        assert_eq!(rig.taken(), [1]);
        let mut count = 1;
        while !rig.disk.is_full() {
            count += 1;
            rig.write(count, DISK_QUEUE_BYTES_MAX / 16);
            assert!(count < 32, "the limit is never reached");
        }
        rig.answers.send(true).unwrap();
        rig.answers.send(true).unwrap();
        while rig.news().unwrap() < BatchTicket(count) {}
        assert!(!rig.disk.is_full(), "what is durable waits no more");
    }
}
