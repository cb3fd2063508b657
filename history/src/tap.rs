//! A second way out of a recorder: events as they are written, in the order of the file, for whoever judges while the recording goes
//! on. The recorder never waits for it: whoever does not keep up loses the rest, and is told so.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::operation::Event;

/// Events between a recorder and a reader of them.
#[derive(Debug)]
pub struct Tap {
    queue: Mutex<Queue>,
    events_max: usize,
}

#[derive(Debug, Default)]
struct Queue {
    events: Vec<Event>,
    state: State,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    Overflowed,
    Closed,
}

/// More events came than wait at most: those that waited are gone, and those after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {events_max} events waited")]
pub struct TapOverflow {
    events_max: usize,
}

impl Tap {
    pub(crate) fn new(events_max: usize) -> Tap {
        Tap { queue: Mutex::default(), events_max }
    }

    /// Adds an event, if it is open and has room.
    pub(crate) fn offer(&self, event: &Event) {
        let mut queue = self.lock();
        if queue.state != State::Open {
            return;
        }
        if queue.events.len() >= self.events_max {
            *queue = Queue { events: Vec::new(), state: State::Overflowed };
            return;
        }
        queue.events.push(event.clone());
    }

    /// Takes what came since the last time.
    ///
    /// # Errors
    /// When it overflowed, now and for ever.
    pub fn take(&self) -> Result<Vec<Event>, TapOverflow> {
        let mut queue = self.lock();
        match queue.state {
            State::Overflowed => Err(TapOverflow { events_max: self.events_max }),
            State::Open | State::Closed => Ok(std::mem::take(&mut queue.events)),
        }
    }

    /// Takes no more events.
    pub fn close(&self) {
        *self.lock() = Queue { events: Vec::new(), state: State::Closed };
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::operation::{Answer, Call, Claim, ClientId, OpId, Outcome};
    use crate::recorder::Recorder;
    use crate::{Event, Header};

    #[test]
    fn events_come_as_they_are_written_until_too_many_wait() {
        let dir = tempfile::tempdir().unwrap();
        let recorder = Recorder::create(&dir.path().join("history.jsonl"), &Header::default()).unwrap();
        recorder.invoke_at(ClientId(1), "before", Call::Read, 1).unwrap();
        let tap = recorder.tap(2);
        let op = recorder.invoke_at(ClientId(1), "k", Call::Read, 2).unwrap();
        let outcome = Outcome::Ok(Answer::Value(None), Claim::default());
        recorder.returned_at(op, outcome.clone(), None, 3).unwrap();
        let expected = [
            Event::Invoke {
                op: OpId(1),
                client: ClientId(1),
                key: Arc::from("k"),
                call: Call::Read,
                time_ns: 2,
            },
            Event::Return { op: OpId(1), time_ns: 3, outcome, node: None },
        ];
        assert_eq!(tap.take().as_deref(), Ok(&expected[..]), "what came before the tap is not told");
        assert_eq!(tap.take(), Ok(vec![]));
        for time_ns in 4..7 {
            recorder.invoke_at(ClientId(1), "k", Call::Read, time_ns).expect("recording goes on");
        }
        assert_eq!(tap.take().expect_err("three are too many").to_string(), "more than 2 events waited");
        recorder.invoke_at(ClientId(1), "k", Call::Read, 8).unwrap();
        assert!(tap.take().is_err(), "what is lost stays lost");
        let tap = recorder.tap(2);
        tap.close();
        recorder.invoke_at(ClientId(1), "k", Call::Read, 9).unwrap();
        assert_eq!(tap.take(), Ok(vec![]));
    }
}
