//! The numbers of one shard's writes.
//!
//! ```text
//!   1 ……… settled │ settled + 1 ……… next - 1 │ next …
//!   over          │ given out; some are over │ not given out yet
//! ```

use std::collections::VecDeque;

use super::ops::OpId;
use crate::wire::{SESSION_WINDOW_MAX, SessionId};

/// A session of a shard, or one that is being opened.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// `None` while it is being opened.
    pub(super) id: Option<SessionId>,
    settled: u64,
    /// Whether the numbers from `settled + 1` on that were given out are over. The first is not.
    over: VecDeque<bool>,
    /// Writes that wait for the session to be opened, or for room in its window.
    pub(super) waiting: VecDeque<OpId>,
}

impl Session {
    /// The next number, if the session is open and its window has room.
    pub(super) fn number(&mut self) -> Option<(SessionId, u64)> {
        let id = self.id.filter(|_| self.room() > 0)?;
        self.over.push_back(false);
        let given = u64::try_from(self.over.len()).expect("a window of them");
        Some((id, self.settled + given))
    }

    /// How many more numbers the window has room for.
    pub(super) fn room(&self) -> usize {
        usize::try_from(SESSION_WINDOW_MAX).expect("a window is small") - self.over.len()
    }

    /// All numbers up to this one are over.
    pub(super) fn settled(&self) -> u64 {
        self.settled
    }

    /// This number will not be used again: it was answered, or given up.
    pub(super) fn settle(&mut self, sequence: u64) {
        let place = usize::try_from(sequence - self.settled - 1).expect("a number that was given out");
        self.over[place] = true;
        while self.over.front() == Some(&true) {
            self.over.pop_front();
            self.settled += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_given_out_once_and_settled_in_any_order() {
        let mut session = Session::default();
        assert_eq!(session.number(), None, "not open yet");
        session.id = Some(SessionId(7));
        for sequence in 1..=SESSION_WINDOW_MAX {
            assert_eq!(session.number(), Some((SessionId(7), sequence)));
        }
        assert_eq!((session.number(), session.room()), (None, 0), "the window is full");
        session.settle(2);
        assert_eq!((session.settled(), session.room()), (0, 0), "1 may be asked for again");
        session.settle(1);
        assert_eq!((session.settled(), session.room()), (2, 2));
        assert_eq!(session.number(), Some((SessionId(7), SESSION_WINDOW_MAX + 1)));
    }
}
