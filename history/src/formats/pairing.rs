//! From lines to records: finds the call that a line returns from, and reads the value as its format means it.
//!
//! The order of the lines is the truth, as it is for Jepsen's own checkers. Where times are missing or do not ascend, a
//! line is put a nanosecond after the one before it, so that no two calls become concurrent that were not.

use std::collections::HashMap;
use std::sync::Arc;

use super::form::Form;
use super::line::{Kind, Line};
use super::record::{FaultNote, Record};
use crate::operation::{Answer, Call, Claim, ClientId, Event, OpId, Outcome, Value, Version, Versions};

/// The key of operations that name none: histories of one register.
pub const SOLE_KEY: &str = "register";

/// Between two lines of a file that has no times: a picture of it is then readable.
const STEP_NS: u64 = 1_000_000;

/// What the same words mean in different tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `:fail` surely did not happen; the value of an operation with a key is `[key value]`.
    Jepsen,
    /// The logs of Porcupine's etcd tests: a compare-and-set that failed found another value than it expected.
    OldLog,
    /// Porcupine's key-value logs: an absent key and an empty value are the same.
    PorcupineKv,
}

/// What an open operation is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Read,
    /// A read of a list, as the one micro-operation of a transaction.
    TxnRead,
    Change,
    Cas,
    /// Adds nothing and says nothing: it is left out.
    Nothing,
}

#[derive(Debug)]
struct Open {
    op: OpId,
    deed: Deed,
    f: Form,
    key: Arc<str>,
    is_keyed: bool,
}

/// Pairs lines. It holds the open operations, and nothing of those that have returned.
#[derive(Debug)]
pub(crate) struct Pairing {
    dialect: Dialect,
    open: HashMap<i64, Open>,
    next_op: u64,
    last_ns: Option<u64>,
    keys: HashMap<String, Arc<str>>,
}

/// Names of keys that are kept, so that the events of one key share one text: a few MB.
const KEYS_MAX: usize = 1 << 16;

impl Pairing {
    pub(crate) fn new(dialect: Dialect) -> Self {
        Pairing { dialect, open: HashMap::new(), next_op: 0, last_ns: None, keys: HashMap::new() }
    }

    /// The record of the next line; `None` where it says nothing.
    ///
    /// # Errors
    /// In words, what is wrong with it.
    pub(crate) fn push(&mut self, line: Line) -> Result<Option<Record>, String> {
        let time_ns = self.time_of(&line);
        self.last_ns = Some(time_ns);
        let Form::Int(process) = line.process else {
            let note = FaultNote {
                time_ns,
                process: line.process.to_string(),
                what: line.f.to_string(),
                value: line.value.to_string(),
            };
            return Ok(Some(Record::Fault(note)));
        };
        let event = match line.kind {
            Kind::Invoke => self.invoke(process, line, time_ns)?,
            Kind::Ok | Kind::Fail | Kind::Info => self.returned(process, &line, time_ns)?,
        };
        Ok(event.map(Record::Event))
    }

    fn time_of(&self, line: &Line) -> u64 {
        match (line.time_ns, self.last_ns) {
            (Some(time), Some(last)) => time.max(last.saturating_add(1)),
            (Some(time), None) => time,
            (None, Some(last)) => last.saturating_add(STEP_NS),
            (None, None) => 0,
        }
    }

    fn invoke(&mut self, process: i64, line: Line, time_ns: u64) -> Result<Option<Event>, String> {
        if let Some(open) = self.open.get(&process) {
            return Err(format!("process {process} calls {} while its {} has not returned", line.f, open.f));
        }
        let client = client_of(process, &line)?;
        let asked = Asked::of(self.dialect, &line)?;
        let key = self.key(asked.key.as_ref());
        let op = OpId(self.next_op);
        let open = Open { op, deed: asked.deed, f: line.f, key: Arc::clone(&key), is_keyed: asked.is_keyed };
        self.open.insert(process, open);
        if asked.deed == Deed::Nothing {
            return Ok(None);
        }
        self.next_op += 1;
        Ok(Some(Event::Invoke { op, client, key, call: asked.call, time_ns }))
    }

    fn key(&mut self, key: Option<&Form>) -> Arc<str> {
        let name = key.map_or_else(|| SOLE_KEY.to_owned(), Form::to_value);
        if let Some(known) = self.keys.get(&name) {
            return Arc::clone(known);
        }
        let key: Arc<str> = Arc::from(name.as_str());
        if self.keys.len() < KEYS_MAX {
            self.keys.insert(name, Arc::clone(&key));
        }
        key
    }

    fn returned(&mut self, process: i64, line: &Line, time_ns: u64) -> Result<Option<Event>, String> {
        let Some(open) = self.open.remove(&process) else {
            return Err(format!("process {process} returns from {}, but has no call open", line.f));
        };
        if open.f != line.f {
            return Err(format!(
                "process {process} returns from {}, but its open call is {}",
                line.f, open.f
            ));
        }
        if open.deed == Deed::Nothing {
            return Ok(None);
        }
        let outcome = match line.kind {
            Kind::Ok => Outcome::Ok(self.answer(&open, line)?, claim_of(line)?),
            Kind::Fail => match self.failed_cas(&open, line) {
                Some(answer) => Outcome::Ok(answer, claim_of(line)?),
                None => Outcome::Failed(reason(line)),
            },
            Kind::Info | Kind::Invoke => Outcome::Unknown(reason(line)),
        };
        let node = line.other("node").and_then(Form::name).map(Arc::from);
        Ok(Some(Event::Return { op: open.op, time_ns, outcome, node }))
    }

    fn answer(&self, open: &Open, line: &Line) -> Result<Answer, String> {
        match open.deed {
            Deed::Read => {
                let value = if open.is_keyed && line.key.is_none() {
                    keyed_value(&open.key, &line.value)?
                } else {
                    &line.value
                };
                Ok(Answer::Value(self.seen(value)))
            }
            Deed::TxnRead => txn_answer(open, &line.value).map(Answer::Value),
            Deed::Change | Deed::Nothing => Ok(Answer::Done),
            Deed::Cas => Ok(Answer::CasDone),
        }
    }

    fn seen(&self, value: &Form) -> Option<Value> {
        match (self.dialect, value) {
            (_, Form::Nil) => None,
            (Dialect::PorcupineKv, Form::Text(text)) if text.is_empty() => None,
            (_, value) => Some(Value::from(value.to_value())),
        }
    }

    /// The answer of a compare-and-set that failed because of what it found, where the file says so.
    fn failed_cas(&self, open: &Open, line: &Line) -> Option<Answer> {
        if open.deed != Deed::Cas {
            return None;
        }
        if self.dialect == Dialect::OldLog {
            return Some(Answer::CasFailed(None));
        }
        match line.other(FOUND_FIELD)?.parts()? {
            [] => Some(Answer::CasFailed(None)),
            [Form::Nil] => Some(Answer::CasFailedAbsent),
            [found] => Some(Answer::CasFailed(Some(Value::from(found.to_value())))),
            _ => None,
        }
    }
}

/// Fields of our own in exported histories, which others pass over: what a failed compare-and-set found (`[]`: not
/// known; `[nil]`: nothing), the client where a process had to be renamed, and the versions that a server claimed.
pub(crate) const FOUND_FIELD: &str = "ordeal/found";
pub(crate) const CLIENT_FIELD: &str = "ordeal/client";
pub(crate) const MADE_FIELD: &str = "ordeal/made";
pub(crate) const REPLACED_FIELD: &str = "ordeal/replaced";
pub(crate) const SEEN_FIELD: &str = "ordeal/seen";

fn client_of(process: i64, line: &Line) -> Result<ClientId, String> {
    let id = match line.other(CLIENT_FIELD) {
        Some(Form::Int(client)) => *client,
        Some(_) | None => process,
    };
    u32::try_from(id).map(ClientId).map_err(|_| format!("process {id}: expected 0 to {}", u32::MAX))
}

fn claim_of(line: &Line) -> Result<Claim, String> {
    let version = |name: &str| -> Result<Option<Version>, String> {
        match line.other(name) {
            None | Some(Form::Nil) => Ok(None),
            Some(Form::Text(text)) => text.parse().map(Some).map_err(|error| format!(":{name}: {error}")),
            Some(form) => Err(format!(":{name} is {form}, expected a version like \"1.42\"")),
        }
    };
    let (made, replaced) = (version(MADE_FIELD)?, version(REPLACED_FIELD)?);
    Ok(Versions { made, replaced, seen: version(SEEN_FIELD)? }.into())
}

fn reason(line: &Line) -> String {
    line.error.as_ref().map_or_else(|| "no reason given".to_owned(), Form::to_value)
}

fn keyed_value<'a>(key: &str, value: &'a Form) -> Result<&'a Form, String> {
    match value.pair() {
        Some((found, value)) if found.to_value() == key => Ok(value),
        _ => Err(format!("the value is {value}, expected [{key} …], since the call named that key")),
    }
}

/// What a call asks for, and how its return is to be read.
struct Asked {
    call: Call,
    deed: Deed,
    key: Option<Form>,
    is_keyed: bool,
}

impl Asked {
    fn of(dialect: Dialect, line: &Line) -> Result<Asked, String> {
        let name = line.f.name().unwrap_or_default();
        if name == "txn" {
            return Asked::of_txn(&line.value);
        }
        let (key, value) = match (&line.key, dialect) {
            (Some(key), _) => (Some(key), &line.value),
            (None, Dialect::PorcupineKv) => return Err("the map has no :key".to_owned()),
            (None, Dialect::OldLog) => (None, &line.value),
            (None, Dialect::Jepsen) => split(name, &line.value),
        };
        let is_keyed = key.is_some();
        let key = key.cloned();
        let set = |value: &Form| Value::from(value.to_value());
        let is_empty = dialect == Dialect::PorcupineKv && *value == Form::Text(String::new());
        let (call, deed) = match name {
            "read" | "get" => (Call::Read, Deed::Read),
            "delete" => (Call::Delete, Deed::Change),
            "write" | "put" if *value == Form::Nil || is_empty => (Call::Delete, Deed::Change),
            "write" | "put" => (Call::Write(set(value)), Deed::Change),
            "append" if is_empty => (Call::Append(set(value)), Deed::Nothing),
            "append" if *value != Form::Nil => (Call::Append(set(value)), Deed::Change),
            "append" => return Err("an append of nil".to_owned()),
            "cas" => match value.pair() {
                Some((_, Form::Nil)) => {
                    return Err("a compare-and-set to nil, which has no form in our histories".to_owned());
                }
                Some((Form::Nil, new)) => (Call::Cas { expected: None, new: set(new) }, Deed::Cas),
                Some((old, new)) => (Call::Cas { expected: Some(set(old)), new: set(new) }, Deed::Cas),
                None => return Err(format!("a compare-and-set of {value}, expected [old new]")),
            },
            _ => {
                return Err(format!(
                    "{} is no operation on a key: read, write, cas, append, delete, get, put, or txn of one of them",
                    line.f
                ));
            }
        };
        Ok(Asked { call, deed, key, is_keyed })
    }

    /// A transaction of one micro-operation on one key is an operation on that key.
    fn of_txn(value: &Form) -> Result<Asked, String> {
        let Some([micro]) = value.parts() else {
            return Err(format!(
                "a transaction of {} operations; histories of keys have those of one",
                value.parts().map_or(0, <[Form]>::len)
            ));
        };
        let Some([f, key, value]) = micro.parts() else {
            return Err(format!("{micro} is no operation of a transaction, expected [f key value]"));
        };
        let (call, deed) = match f.name().unwrap_or_default() {
            "r" => (Call::Read, Deed::TxnRead),
            "w" if *value != Form::Nil => (Call::Write(Value::from(value.to_value())), Deed::Change),
            "append" if *value != Form::Nil => (Call::Append(element(value)), Deed::Change),
            _ => {
                return Err(format!("{micro} is no operation of a transaction: r, w or append, and a value"));
            }
        };
        Ok(Asked { call, deed, key: Some(key.clone()), is_keyed: true })
    }
}

/// Key and value, where the value has the shape `[key value]` for an operation of this name.
fn split<'a>(name: &str, value: &'a Form) -> (Option<&'a Form>, &'a Form) {
    match value.pair() {
        Some((key, inner)) if name != "cas" || inner.pair().is_some() => (Some(key), inner),
        _ => (None, value),
    }
}

/// An element of a list that grows by appends: the text of the list is that of its elements, each with a blank after it.
fn element(value: &Form) -> Value {
    Value::from(format!("{value} "))
}

fn txn_answer(open: &Open, value: &Form) -> Result<Option<Value>, String> {
    let read = value.parts().and_then(|micros| match micros {
        [micro] => micro.parts(),
        _ => None,
    });
    match read {
        Some([_, key, seen]) if key.to_value() == *open.key => Ok(match seen {
            Form::Nil => None,
            Form::Vector(elements) | Form::List(elements) if elements.is_empty() => None,
            Form::Vector(elements) | Form::List(elements) => {
                Some(Value::from(elements.iter().map(|form| format!("{form} ")).collect::<String>()))
            }
            value => Some(Value::from(value.to_value())),
        }),
        _ => Err(format!("the value is {value}, expected one read of {}", open.key)),
    }
}
