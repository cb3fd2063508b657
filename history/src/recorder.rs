//! Records a history while it happens, from many threads, one write(2) an event, so that whoever kills the process
//! leaves a readable prefix behind.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use crate::file::{Header, line_of};
use crate::operation::{Call, ClientId, Event, OpId, Outcome};
use crate::tap::Tap;

/// Appends events to a file. All methods take `&self`; share it by reference or in an `Arc`.
///
/// * Ids ascend in the order of the file.
/// * After the first error nothing more is written: every later call gives the error again, so that a torn line can
///   only be the last.
#[derive(Debug)]
pub struct Recorder {
    path: PathBuf,
    origin: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    next_op: u64,
    failed: Option<String>,
    tap: Option<Arc<Tap>>,
}

/// An event could not be written. What was recorded before it is on its way to the disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: cannot record the history: {detail}\nhint: check the free space and the health of the disk")]
pub struct RecordError {
    path: PathBuf,
    detail: String,
}

impl Recorder {
    /// Creates the file, which must not exist yet, and writes its first line. Times count from now.
    ///
    /// # Errors
    /// [`RecordError`] when the file exists, or cannot be created or written.
    pub fn create(path: &Path, header: &Header) -> Result<Self, RecordError> {
        Self::create_at(path, header, Instant::now())
    }

    /// As [`Recorder::create`], with times that count from `origin`: the one of the whole run.
    ///
    /// # Errors
    /// [`RecordError`] when the file exists, or cannot be created or written.
    pub fn create_at(path: &Path, header: &Header, origin: Instant) -> Result<Self, RecordError> {
        let error = |detail: String| RecordError { path: path.to_owned(), detail };
        let mut file =
            OpenOptions::new().append(true).create_new(true).open(path).map_err(|e| error(e.to_string()))?;
        let mut line = serde_json::to_vec(header).map_err(|e| error(e.to_string()))?;
        line.push(b'\n');
        file.write_all(&line).map_err(|e| error(e.to_string()))?;
        let state = State { file, next_op: 0, failed: None, tap: None };
        Ok(Recorder { path: path.to_owned(), origin, state: Mutex::new(state) })
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).expect("584 years fit")
    }

    /// Notes that a client calls now. Call it before the first byte is sent.
    ///
    /// # Errors
    /// [`RecordError`]; then the call must not be made.
    pub fn invoke(&self, client: ClientId, key: &str, call: Call) -> Result<OpId, RecordError> {
        let state = self.lock();
        // Under the lock, so that ids ascend with time.
        let time_ns = self.now_ns();
        self.write_invoke(state, client, key, call, time_ns)
    }

    /// As [`Recorder::invoke`] at a time of the caller's clock, e.g. a simulated one.
    ///
    /// # Errors
    /// [`RecordError`]; then the call must not be made.
    pub fn invoke_at(
        &self,
        client: ClientId,
        key: &str,
        call: Call,
        time_ns: u64,
    ) -> Result<OpId, RecordError> {
        self.write_invoke(self.lock(), client, key, call, time_ns)
    }

    /// Notes that an operation returned now. Call it after the last byte has arrived.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn returned(&self, op: OpId, outcome: Outcome, node: Option<&str>) -> Result<(), RecordError> {
        // Before the lock: waiting for other threads would only blur the time, and a blurred time excuses more orders.
        let time_ns = self.now_ns();
        self.returned_at(op, outcome, node, time_ns)
    }

    /// As [`Recorder::returned`] at a time of the caller's clock.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn returned_at(
        &self,
        op: OpId,
        outcome: Outcome,
        node: Option<&str>,
        time_ns: u64,
    ) -> Result<(), RecordError> {
        let event = Event::Return { op, time_ns, outcome, node: node.map(Arc::from) };
        self.write(&mut self.lock(), &event)
    }

    /// Hands on what is recorded from now on, in the order of the file, to whoever takes it; at most so many events wait. One at a
    /// time: an earlier tap gets nothing more.
    #[must_use]
    pub fn tap(&self, events_max: usize) -> Arc<Tap> {
        let tap = Arc::new(Tap::new(events_max));
        self.lock().tap = Some(Arc::clone(&tap));
        tap
    }

    /// Brings everything recorded so far to the disk.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn sync(&self) -> Result<(), RecordError> {
        let mut state = self.lock();
        self.healthy(&state)?;
        let result = state.file.sync_all();
        self.note(&mut state, result)
    }

    fn write_invoke(
        &self,
        mut state: MutexGuard<'_, State>,
        client: ClientId,
        key: &str,
        call: Call,
        time_ns: u64,
    ) -> Result<OpId, RecordError> {
        let op = OpId(state.next_op);
        let event = Event::Invoke { op, client, key: Arc::from(key), call, time_ns };
        self.write(&mut state, &event)?;
        state.next_op += 1;
        Ok(op)
    }

    fn write(&self, state: &mut State, event: &Event) -> Result<(), RecordError> {
        self.healthy(state)?;
        let result = state.file.write_all(&line_of(event));
        self.note(state, result)?;
        if let Some(tap) = &state.tap {
            tap.offer(event);
        }
        Ok(())
    }

    fn healthy(&self, state: &State) -> Result<(), RecordError> {
        match &state.failed {
            None => Ok(()),
            Some(detail) => Err(RecordError { path: self.path.clone(), detail: detail.clone() }),
        }
    }

    fn note(&self, state: &mut State, result: io::Result<()>) -> Result<(), RecordError> {
        if let Err(error) = result {
            state.failed = Some(error.to_string());
        }
        self.healthy(state)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that panicked inside has at worst left a torn line, and then `failed` was not set: stop there.
        self.state.lock().unwrap_or_else(|poisoned| {
            let mut state = poisoned.into_inner();
            state.failed.get_or_insert_with(|| "a thread panicked while recording".to_owned());
            state
        })
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_an_error_of_that_event_and_of_all_after_it() {
        let path = PathBuf::from("/dev/full");
        let file = OpenOptions::new().write(true).open(&path).expect("Linux has it");
        let state = Mutex::new(State { file, next_op: 0, failed: None, tap: None });
        let recorder = Recorder { path, origin: Instant::now(), state };
        let error = recorder.invoke(ClientId(1), "k", Call::Read).expect_err("no space").to_string();
        assert!(
            error.starts_with("/dev/full: cannot record the history: No space left on device"),
            "{error}"
        );
        recorder.lock().file = tempfile::tempfile().expect("a temporary file");
        assert!(
            recorder.invoke(ClientId(1), "k", Call::Read).is_err(),
            "space came back, but a line may be torn"
        );
        assert!(recorder.returned(OpId(0), Outcome::Failed(String::new()), None).is_err());
        assert!(recorder.sync().is_err());
    }
}
