//! Operations on things that are no keys (sets, counters, queues, locks, banks), from the maps of Jepsen and its kin.
//!
//! ```text
//! {:process 0, :type :invoke, :f :enqueue, :value 3}
//! {:process 0, :type :ok, :f :enqueue, :value 3}
//! ```
//!
//! What the values mean is the model's business, see [`crate::objects`]. `:fail` surely did not happen and is left out;
//! `:info`, or no completion at all, may have. Lines of a process that is no number are faults.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use super::form::Form;
use super::forms::{Flavour, Forms};
use super::line::{Kind, Line};
use super::trouble::{FormatError, Place, Trouble, io_error};
use super::{Format, detect};

/// One operation.
#[derive(Debug, Clone)]
pub(crate) struct Deed {
    pub(crate) process: i64,
    /// Its name, e.g. `enqueue`.
    pub(crate) f: String,
    /// The value of its call.
    pub(crate) asked: Form,
    pub(crate) called_ns: u64,
    /// When it returned and with what value; `None`: nobody knows whether it happened.
    pub(crate) returned: Option<(u64, Form)>,
    /// Where its last line stands.
    pub(crate) place: Place,
}

/// Operations that are held: ten million of them take some 2 GB.
const DEEDS_MAX: usize = 10_000_000;

/// Between two lines of a file that has no times.
const STEP_NS: u64 = 1_000_000;

const HINT: &str = "`ordeal check --help` says which operations each model has";

/// Reads all of them. Those that failed are left out.
pub(crate) fn deeds(path: &Path, format: Option<Format>) -> Result<Vec<Deed>, FormatError> {
    let in_folder = if path.is_dir() { super::store::history_in(path) } else { None };
    let path = in_folder.as_deref().unwrap_or(path);
    let mut file = File::open(path).map_err(|error| io_error(path, error))?;
    let (start, format) = detect::begin(path, &mut file, format)?;
    let flavour = match format {
        Format::Jepsen => Flavour::Edn,
        Format::Elle => Flavour::Json,
        Format::Ordeal
        | Format::Binary
        | Format::JepsenText
        | Format::JepsenLog
        | Format::PorcupineKv
        | Format::Etcd => {
            let detail = format!("a history in the format {format}, which holds operations on keys only");
            let hint = "leave --model out, or give it a history.edn of Jepsen";
            let place = Place::Text { line: 1, column: 1 };
            return Err(Trouble::at(place, detail, hint).in_file(path));
        }
    };
    let whole = std::io::Read::chain(std::io::Cursor::new(start), file);
    collect(Forms::new(whole, flavour)).map_err(|trouble| trouble.in_file(path))
}

fn collect<R: std::io::Read>(mut forms: Forms<R>) -> Result<Vec<Deed>, Trouble> {
    let mut pairs = Pairs::default();
    while let Some((form, place)) = forms.next_form()? {
        let pushed = Line::of_form(form).and_then(|line| pairs.push(line, place));
        pushed.map_err(|detail| Trouble::at(place, detail, HINT))?;
    }
    Ok(pairs.deeds.into_iter().flatten().collect())
}

/// Finds the call that a line returns from.
#[derive(Default)]
struct Pairs {
    /// By their calls; `None`: it failed.
    deeds: Vec<Option<Deed>>,
    open: HashMap<i64, usize>,
    last_ns: Option<u64>,
}

impl Pairs {
    fn push(&mut self, line: Line, place: Place) -> Result<(), String> {
        let time_ns = match (line.time_ns, self.last_ns) {
            (Some(time), Some(last)) => time.max(last.saturating_add(1)),
            (Some(time), None) => time,
            (None, Some(last)) => last.saturating_add(STEP_NS),
            (None, None) => 0,
        };
        self.last_ns = Some(time_ns);
        let Form::Int(process) = line.process else { return Ok(()) };
        if line.kind == Kind::Invoke {
            return self.invoke(process, line, time_ns, place);
        }
        let Some(at) = self.open.remove(&process) else {
            return Err(format!("process {process} returns from {}, but has no call open", line.f));
        };
        let slot = &mut self.deeds[at];
        let Some(deed) = slot else { return Err("a call that is open cannot have failed".to_owned()) };
        if line.f.name() != Some(&deed.f) {
            return Err(format!(
                "process {process} returns from {}, but its open call is :{}",
                line.f, deed.f
            ));
        }
        deed.place = place;
        match line.kind {
            Kind::Ok => deed.returned = Some((time_ns, line.value)),
            Kind::Fail => *slot = None,
            Kind::Info | Kind::Invoke => {}
        }
        Ok(())
    }

    fn invoke(&mut self, process: i64, line: Line, time_ns: u64, place: Place) -> Result<(), String> {
        let Some(f) = line.f.name() else { return Err(format!("{} is no name of an operation", line.f)) };
        if self.deeds.len() >= DEEDS_MAX {
            return Err(format!("more than {DEEDS_MAX} operations"));
        }
        let (f, asked) = (f.to_owned(), line.value);
        let deed = Deed { process, f, asked, called_ns: time_ns, returned: None, place };
        if self.open.insert(process, self.deeds.len()).is_some() {
            return Err(format!("process {process} calls :{} while its last call has not returned", deed.f));
        }
        self.deeds.push(Some(deed));
        Ok(())
    }
}
