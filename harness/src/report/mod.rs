//! What came of a run, for people: a short table on the terminal, and `report.html`, one file that needs no network.
//!
//! * [`text`]: the table and the sentence.
//! * `page`: the frame of the HTML file, its tables and its style.
//! * `picture`: all operations for the script that draws them (`picture/*.js`, `frame.html`), bounded.
//! * `lanes`: the few that fail as a drawing without a script, and as a table. `words`: an operation in words.
//! * `overview`: the whole run in bars. `availability`: how long clients waited around each fault.
//! * `stopped`: what nodes left to be seen where the run was stopped at its first violation.
//! * `svg`: what drawings share. `escape`: nothing from outside becomes markup.

mod availability;
mod escape;
mod lanes;
mod overview;
mod page;
mod picture;
mod stopped;
mod svg;
pub mod text;
mod words;

pub use page::{Paper, html, html_of_file};
pub use words::{asked, came};

#[cfg(test)]
mod tests;
