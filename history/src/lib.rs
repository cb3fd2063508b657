//! What clients of a key-value store saw, and whether any one store could have shown it to them.
//!
//! * [`operation`] and [`history`]: operations, events, histories.
//! * [`recorder`] and [`mod@file`]: histories on disk, written so that a killed recorder leaves a readable prefix. [`Tap`]: the
//!   same events for [`online`], which judges while they come.
//! * [`linear`]: the search, for any model; [`models`]: registers, lists, sets, counters, queues, locks, banks.
//! * [`objects`]: histories of sets, counters, queues, locks and banks, in Jepsen's maps.
//! * [`mod@check`]: the judge of key-value histories; [`report`]: what it says; [`model`]: the store it believes in;
//!   [`txn_model`]: where transactions tie its keys.
//!
//! Nothing here knows of Raft, of Ordeal's wire protocol or of its cluster: a history of any store with string keys and
//! text values can be judged.

mod certificate;
pub mod check;
mod claims;
mod decide;
mod explain;
mod fast;
pub mod file;
pub mod formats;
pub mod history;
mod impasse;
pub mod linear;
pub mod model;
pub mod models;
mod name_appends;
mod name_txns;
mod name_values;
pub mod objects;
pub mod online;
pub mod operation;
pub mod parts;
mod problem;
mod promise_lines;
mod promises;
pub mod recorder;
mod reduce;
mod replay;
pub mod report;
mod tap;
mod txn_core;
pub mod txn_model;
pub mod txn_words;
mod txns;
mod words;

pub use certificate::{Certificate, KeyEntry};
pub use check::{Budget, Progress, check, check_until, verdict};
pub use file::{Header, Loaded, ReadError, read_file};
pub use history::{History, HistoryError};
pub use impasse::{Blocked, Impasse, impasse};
pub use operation::{
    Answer, Call, Claim, ClientId, Event, KeyTxn, KeyTxnRet, OpId, Operation, Outcome, Value, Version,
    Versions,
};
pub use promises::{Kept, Promise, PromiseReport, Promises, Staleness, Tally, promises};
pub use recorder::{RecordError, Recorder};
pub use report::{Anomaly, AnomalyKind, Counts, KeyReport, Report, Verdict};
pub use tap::{Tap, TapOverflow};
