//! Records: what a file of any format is read as, one after the other.

use crate::operation::Event;

/// One record of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A call or a return.
    Event(Event),
    /// Something that befell the system: a line of a nemesis.
    Fault(FaultNote),
}

/// What a nemesis did, as its file says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultNote {
    /// When, in nanoseconds since the start of the recording.
    pub time_ns: u64,
    /// Who did it: mostly `:nemesis`.
    pub process: String,
    /// What: e.g. `:start-partition`.
    pub what: String,
    /// To whom, or with what effect; `nil` where the file does not say.
    pub value: String,
}

impl Record {
    /// When, in nanoseconds since the start of the recording.
    #[must_use]
    pub fn time_ns(&self) -> u64 {
        match self {
            Record::Event(Event::Invoke { time_ns, .. } | Event::Return { time_ns, .. }) => *time_ns,
            Record::Fault(note) => note.time_ns,
        }
    }
}
