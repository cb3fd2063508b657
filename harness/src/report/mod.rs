//! What came of a run, for people: a short table on the terminal, and `report.html`, one file that needs no network.
//!
//! * [`text`]: the table and the sentence.
//! * `page`: the frame of the HTML file, its tables and its style.
//! * `lanes`: the operations of a key on a true time axis, one lane a client.
//! * `overview`: the whole run in bars.
//! * `svg`: what drawings share. `escape`: nothing from outside becomes markup.

mod escape;
mod lanes;
mod overview;
mod page;
mod svg;
pub mod text;
mod words;

pub use page::html;
pub use words::{asked, came};

#[cfg(test)]
mod tests;
