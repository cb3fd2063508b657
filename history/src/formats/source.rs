//! Where records come from: one trait for all formats.

use super::record::{FaultNote, Record};
use super::trouble::{Place, Trouble};
use crate::file::Header;
use crate::history::{HistoryBuilder, HistoryError};

/// Why a file could not be taken into a history.
pub(crate) enum Halt {
    /// It is damaged.
    Trouble(Trouble),
    /// The record that was handed out last cannot follow those before it.
    Impossible(HistoryError),
}

/// A file that is read record by record.
pub(crate) trait Source {
    /// The next record; `None` at the end.
    fn next(&mut self) -> Result<Option<Record>, Trouble>;

    /// Takes all that is left into a history, and what befell the system into a list.
    fn collect(&mut self, builder: &mut HistoryBuilder, faults: &mut Vec<FaultNote>) -> Result<(), Halt> {
        // Not in `formats`: here the loop knows whose `next` it calls.
        while let Some(record) = self.next().map_err(Halt::Trouble)? {
            match record {
                Record::Event(event) => builder.push(event).map_err(Halt::Impossible)?,
                Record::Fault(note) => faults.push(note),
            }
        }
        Ok(())
    }

    /// Where the record stood that was handed out last.
    fn place(&self) -> Place;

    /// What the file says about itself.
    fn header(&self) -> Header {
        Header::default()
    }

    /// What a reader of the history should know; complete at the end.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}
