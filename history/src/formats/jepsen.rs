//! Histories as maps: Jepsen's and Knossos's `history.edn`, Maelstrom's, Porcupine's key-value logs, and the JSON of
//! elle-cli. One map a line, or one vector around all of them.
//!
//! ```text
//! {:index 0, :time 30217865, :type :invoke, :process 0, :f :write, :value [0 3]}
//! {:index 1, :time 31870112, :type :info, :process :nemesis, :f :start-partition, :value :majority}
//! {:process 9, :type :invoke, :f :append, :key "0", :value "x 9 0 y"}
//! {"type":"ok","f":"txn","value":[["append","x",2]],"process":0,"time":53137939465,"index":1}
//! ```
//!
//! * Registers start out absent, and `nil` is absent. `:fail` surely did not happen; `:info`, or no completion at all, may
//!   have. Lines of a process that is no number are faults.
//! * A value that is a vector of two is `[key value]`, as `jepsen.independent` makes it; a compare-and-set has
//!   `[key [old new]]`, or `[old new]` without a key. What has no key is on [`super::SOLE_KEY`].

use std::io::Read;

use super::forms::{Flavour, Forms};
use super::line::Line;
use super::pairing::{Dialect, Pairing};
use super::record::Record;
use super::source::Source;
use super::trouble::{Place, Trouble};

pub(crate) const LINE_HINT: &str = "docs/formats.md says what each format may hold";

/// Reads maps.
pub(crate) struct Maps<R> {
    forms: Forms<R>,
    pairing: Pairing,
    place: Place,
}

impl<R: Read> Maps<R> {
    pub(crate) fn new(inner: R, flavour: Flavour, dialect: Dialect) -> Self {
        let place = Place::Text { line: 1, column: 1 };
        Maps { forms: Forms::new(inner, flavour), pairing: Pairing::new(dialect), place }
    }
}

impl<R: Read> Source for Maps<R> {
    fn next(&mut self) -> Result<Option<Record>, Trouble> {
        loop {
            let Some((form, place)) = self.forms.next_form()? else { return Ok(None) };
            self.place = place;
            let record = Line::of_form(form).and_then(|line| self.pairing.push(line));
            if let Some(record) = record.map_err(|detail| Trouble::at(place, detail, LINE_HINT))? {
                return Ok(Some(record));
            }
        }
    }

    fn place(&self) -> Place {
        self.place
    }
}
