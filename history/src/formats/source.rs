//! Where records come from: one trait for all formats.

use super::record::Record;
use super::trouble::{Place, Trouble};
use crate::file::Header;

/// A file that is read record by record.
pub(crate) trait Source {
    /// The next record; `None` at the end.
    fn next(&mut self) -> Result<Option<Record>, Trouble>;

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
