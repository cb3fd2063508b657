//! Keys that can be decided without a search, in time that grows with the history almost as if it were merely read.
//!
//! * [`registers`]: each value is written once. Then every answer says which write it comes from.
//! * [`appends`]: nothing but reads and appends, each text appended once. Then every read says in which order.
//!
//! That a history is of such a kind is seen in it, never assumed. Operations without an answer cost nothing here.

mod appends;
mod registers;
mod values;
pub(crate) mod zones;

use crate::problem::View;

/// What was decided, in places of the views.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fast {
    /// An order that explains all answers. Whoever takes it replays it.
    Order(Vec<u32>),
    /// There is none, and these few operations show it, those that make values among them. The first is the one to blame.
    NoOrder(Vec<u32>),
}

/// Bytes that a fast path needs for an operation: some numbers, and a place in a table.
const BYTES: usize = 96;

/// Decides a key, if it is of a kind that needs no search.
pub(crate) fn decide(views: &[View<'_>], memory_bytes: usize) -> Option<Fast> {
    if views.is_empty() || u32::try_from(views.len()).is_err() || views.len() * BYTES > memory_bytes {
        return None;
    }
    registers::decide(views).or_else(|| appends::decide(views))
}
