//! A line of a foreign history: one end of one operation, in the words that Jepsen and its kin share.

use super::form::Form;

/// Which end of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Invoke,
    Ok,
    Fail,
    Info,
}

impl Kind {
    fn of(form: &Form) -> Option<Kind> {
        match form.name()? {
            "invoke" => Some(Kind::Invoke),
            "ok" => Some(Kind::Ok),
            "fail" => Some(Kind::Fail),
            "info" => Some(Kind::Info),
            _ => None,
        }
    }
}

/// One line.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) process: Form,
    pub(crate) kind: Kind,
    pub(crate) f: Form,
    pub(crate) value: Form,
    /// The key, where it is not part of the value.
    pub(crate) key: Option<Form>,
    pub(crate) error: Option<Form>,
    pub(crate) time_ns: Option<u64>,
    /// Fields under other names.
    pub(crate) others: Vec<(String, Form)>,
}

impl Line {
    /// The line of a map such as `{:process 0, :type :invoke, :f :read, :value nil}`, or of its like in JSON.
    pub(crate) fn of_form(form: Form) -> Result<Line, String> {
        let Form::Map(entries) = form.untagged() else {
            return Err("an operation is a map with :process, :type and :f".to_owned());
        };
        let (mut process, mut kind, mut f, mut value) = (None, None, None, None);
        let (mut key, mut error, mut time) = (None, None, None);
        let mut others = Vec::new();
        for (name, form) in entries {
            let Some(name) = name.name() else { continue };
            let slot = match name {
                "process" => &mut process,
                "type" => &mut kind,
                "f" => &mut f,
                "value" => &mut value,
                "key" => &mut key,
                "error" => &mut error,
                "time" => &mut time,
                // The order of the lines says it.
                "index" => continue,
                _ => {
                    others.push((name.to_owned(), form));
                    continue;
                }
            };
            if slot.replace(form).is_some() {
                return Err(format!("the map has :{name} twice"));
            }
        }
        let missing = |name: &str| format!("the map has no :{name}");
        let kind = kind.ok_or_else(|| missing("type"))?;
        Ok(Line {
            process: process.ok_or_else(|| missing("process"))?,
            kind: Kind::of(&kind)
                .ok_or_else(|| format!(":type is {kind}, expected :invoke, :ok, :fail or :info"))?,
            f: f.ok_or_else(|| missing("f"))?,
            value: value.unwrap_or(Form::Nil),
            key,
            error: error.filter(|error| *error != Form::Nil),
            time_ns: time_ns(time)?,
            others,
        })
    }

    /// A line of a text, from its parts.
    pub(crate) fn of_parts(process: Form, kind: &Form, f: Form, value: Form) -> Result<Line, String> {
        let kind = Kind::of(kind).ok_or_else(|| format!("{kind} is no type of a line"))?;
        Ok(Line { process, kind, f, value, key: None, error: None, time_ns: None, others: Vec::new() })
    }

    /// The field of this name.
    pub(crate) fn other(&self, name: &str) -> Option<&Form> {
        self.others.iter().find(|(other, _)| other == name).map(|(_, form)| form)
    }
}

/// A time; a negative one means that it is not known.
fn time_ns(time: Option<Form>) -> Result<Option<u64>, String> {
    match time {
        None | Some(Form::Nil) => Ok(None),
        Some(Form::Int(time)) => Ok(u64::try_from(time).ok()),
        Some(form) => Err(format!(":time is {form}, expected nanoseconds")),
    }
}
