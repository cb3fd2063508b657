//! The reports of etcd's robustness tests: a folder with `client-<id>/operations.json` for each client, or all of these files
//! put together: objects of Porcupine one after the other.
//!
//! ```text
//! {"ClientId":3,"Input":{"Type":"txn","Txn":{"Conditions":null,"OperationsOnSuccess":[{"Type":"put-operation", …}]}},
//!  "Call":1044000000,"Output":{"Txn":{…},"Error":""},"Return":1045000000}
//! ```
//!
//! * A range over one key at the present revision is a read; a put or delete alone in its transaction is a write or a
//!   delete. A failed write may have happened at any later time; a failed read is left out.
//! * A conditional write is judged as a write where its condition held, and had no effect where it did not: conditions name
//!   revisions, of which our histories know nothing. That asks less of the store than etcd promises.
//! * A transaction of several writes becomes one operation for each of its keys at the same time, each of a client of its
//!   own: a store that is linearizable is so for each key.
//! * Reads of the past and of ranges, leases that are granted, compaction and defragmentation are left out and counted.
//!   Revoking a lease deletes keys that the report does not name: it is an error.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use super::form::Form;
use super::forms::{Flavour, Forms};
use super::record::Record;
use super::source::Source;
use super::trouble::{Place, Trouble};
use crate::operation::{Answer, Call, Claim, ClientId, Event, OpId, Outcome, Value};

/// Operations of a report, which are sorted in memory. A report of a minute has some ten thousand.
const OPERATIONS_MAX: usize = 4 << 20;

const HINT: &str = "docs/formats.md says which operations of etcd can be judged";

/// One operation on one key.
struct Op {
    client: u64,
    key: Arc<str>,
    call: Call,
    call_ns: u64,
    return_ns: u64,
    outcome: Outcome,
    place: Place,
}

/// Operations in the order of their calls, with those that wait for their return.
pub(crate) struct Operations {
    events: std::vec::IntoIter<(Event, Place)>,
    place: Place,
    left_out: BTreeMap<&'static str, usize>,
}

impl Operations {
    /// The operations of one file.
    pub(crate) fn read<R: Read>(inner: R) -> Result<Self, Trouble> {
        let mut report = Report::default();
        report.add(inner)?;
        report.finish()
    }
}

/// A report while it is read: the files of its clients, one after the other.
#[derive(Default)]
pub(crate) struct Report {
    ops: Vec<Op>,
    left_out: BTreeMap<&'static str, usize>,
}

impl Report {
    /// Reads the file of a client.
    pub(crate) fn add<R: Read>(&mut self, inner: R) -> Result<(), Trouble> {
        let mut forms = Forms::new(inner, Flavour::Json);
        while let Some((form, place)) = forms.next_form()? {
            match ops_of(&form, place).map_err(|detail| Trouble::at(place, detail, HINT))? {
                Found::Ops(found) => self.ops.extend(found),
                Found::LeftOut(what) => *self.left_out.entry(what).or_default() += 1,
            }
            if self.ops.len() > OPERATIONS_MAX {
                let detail = format!("more than {OPERATIONS_MAX} operations");
                return Err(Trouble::at(place, detail, "judge the report of a shorter test"));
            }
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<Operations, Trouble> {
        let events = events_of(self.ops)?.into_iter();
        let place = Place::Text { line: 1, column: 1 };
        Ok(Operations { events, place, left_out: self.left_out })
    }
}

impl Source for Operations {
    fn next(&mut self) -> Result<Option<Record>, Trouble> {
        let Some((event, place)) = self.events.next() else { return Ok(None) };
        self.place = place;
        Ok(Some(Record::Event(event)))
    }

    fn place(&self) -> Place {
        self.place
    }

    fn warnings(&self) -> Vec<String> {
        let text = |(what, count): (&&str, &usize)| format!("{count} operations are left out: {what}");
        self.left_out.iter().map(text).collect()
    }
}

/// The events in the order of time; calls before returns where they are at the same time, since such are concurrent.
fn events_of(mut ops: Vec<Op>) -> Result<Vec<(Event, Place)>, Trouble> {
    ops.sort_by_key(|op| (op.call_ns, op.return_ns));
    let clients = renumbered(&ops)?;
    let mut events = Vec::with_capacity(ops.len() * 2);
    for ((number, op), client) in (0..).zip(ops).zip(clients) {
        let id = OpId(number);
        let invoke = Event::Invoke { op: id, client, key: op.key, call: op.call, time_ns: op.call_ns };
        events.push(((op.call_ns, 0), invoke, op.place));
        let returned = Event::Return { op: id, time_ns: op.return_ns, outcome: op.outcome, node: None };
        events.push(((op.return_ns, 1), returned, op.place));
    }
    events.sort_by_key(|(order, _, _)| *order);
    Ok(events.into_iter().map(|(_, event, place)| (event, place)).collect())
}

/// Clients that have one operation open at a time: the further operations of a transaction get clients of their own.
fn renumbered(ops: &[Op]) -> Result<Vec<ClientId>, Trouble> {
    // By client of the report: ours, and until when each is busy.
    let mut lanes: BTreeMap<u64, Vec<(ClientId, u64)>> = BTreeMap::new();
    let mut next = 0;
    let mut clients = Vec::with_capacity(ops.len());
    for op in ops {
        let lanes = lanes.entry(op.client).or_default();
        let client = match lanes.iter_mut().find(|(_, busy_ns)| *busy_ns < op.call_ns) {
            Some((client, busy_ns)) => {
                *busy_ns = op.return_ns;
                *client
            }
            None => {
                let client = ClientId(next);
                next = next
                    .checked_add(1)
                    .ok_or_else(|| Trouble::at(op.place, "more clients than can be numbered", HINT))?;
                lanes.push((client, op.return_ns));
                client
            }
        };
        clients.push(client);
    }
    Ok(clients)
}

enum Found {
    Ops(Vec<Op>),
    LeftOut(&'static str),
}

fn field<'a>(form: &'a Form, name: &str) -> &'a Form {
    match form {
        Form::Map(entries) => {
            entries.iter().find(|(key, _)| key.name() == Some(name)).map_or(&Form::Nil, |(_, value)| value)
        }
        _ => &Form::Nil,
    }
}

fn number(form: &Form, name: &str) -> Result<u64, String> {
    match field(form, name) {
        Form::Int(number) => u64::try_from(*number).map_err(|_| format!("{name} is {number}")),
        other => Err(format!("{name} is {other}, expected a number")),
    }
}

fn text<'a>(form: &'a Form, name: &str) -> &'a str {
    field(form, name).name().unwrap_or_default()
}

fn many<'a>(form: &'a Form, name: &str) -> &'a [Form] {
    field(form, name).parts().unwrap_or_default()
}

/// A value as the report has it: its text, or its hash where it is long.
fn value_of(value: &Form) -> Result<Value, String> {
    match (field(value, "Value"), field(value, "Hash")) {
        (_, Form::Int(hash)) if *hash != 0 => Ok(Value::from(format!("hash:{hash}"))),
        (Form::Text(text), _) => Ok(Value::from(text.as_str())),
        _ => Err("a value without `Value` and `Hash`".to_owned()),
    }
}

fn ops_of(form: &Form, place: Place) -> Result<Found, String> {
    let (input, output) = (field(form, "Input"), field(form, "Output"));
    let base = Base {
        client: number(form, "ClientId")?,
        call_ns: number(form, "Call")?,
        return_ns: number(form, "Return")?,
        output,
        place,
    };
    if base.return_ns < base.call_ns {
        return Err(format!("it returns at {} ns, before its call at {} ns", base.return_ns, base.call_ns));
    }
    match text(input, "Type") {
        "range" => base.range(field(input, "Range")),
        "txn" => base.txn(field(input, "Txn")),
        "leaseGrant" | "compact" | "defragment" => Ok(Found::LeftOut("they change no value")),
        "leaseRevoke" => Err("a lease is revoked, which deletes keys that are not named".to_owned()),
        other => Err(format!("`{other}` is no type of an operation of etcd")),
    }
}

/// What all operations of an object share.
struct Base<'a> {
    client: u64,
    call_ns: u64,
    return_ns: u64,
    output: &'a Form,
    place: Place,
}

impl Base<'_> {
    /// Why it failed, if it did.
    fn error(&self) -> Option<String> {
        Some(text(self.output, "Error")).filter(|error| !error.is_empty()).map(str::to_owned)
    }

    fn op(&self, key: &str, call: Call, outcome: Outcome) -> Op {
        Op {
            client: self.client,
            key: Arc::from(key),
            call,
            call_ns: self.call_ns,
            return_ns: self.return_ns,
            outcome,
            place: self.place,
        }
    }

    fn range(&self, range: &Form) -> Result<Found, String> {
        if !text(range, "End").is_empty() {
            return Ok(Found::LeftOut("they read a range of keys"));
        }
        if !matches!(field(range, "Revision"), Form::Nil | Form::Int(0)) {
            return Ok(Found::LeftOut("they read the past"));
        }
        if self.error().is_some() || !text(self.output, "ClientError").is_empty() {
            return Ok(Found::LeftOut("they are reads that failed"));
        }
        let seen = match many(field(self.output, "Range"), "KVs") {
            [] => None,
            [pair, ..] => Some(value_of(field(pair, "Value"))?),
        };
        let outcome = Outcome::Ok(Answer::Value(seen), Claim::default());
        Ok(Found::Ops(vec![self.op(text(range, "Start"), Call::Read, outcome)]))
    }

    fn txn(&self, txn: &Form) -> Result<Found, String> {
        let output = field(self.output, "Txn");
        let error = self.error();
        let is_failure = matches!(field(output, "Failure"), Form::Bool(true));
        let is_refused = !text(self.output, "ClientError").is_empty();
        if is_refused {
            return Ok(Found::LeftOut("the server refused them"));
        }
        let branch = if is_failure { "OperationsOnFailure" } else { "OperationsOnSuccess" };
        if error.is_some() && !many(txn, "OperationsOnFailure").iter().all(is_read) {
            return Err("a failed transaction that writes either way".to_owned());
        }
        let results = many(output, "Results");
        let mut ops: Vec<Op> = Vec::new();
        for (at, part) in many(txn, branch).iter().enumerate() {
            let Some(op) = self.part(part, results.get(at), error.as_ref())? else { continue };
            match ops.iter_mut().find(|other| other.key == op.key) {
                None => ops.push(op),
                // A history can do without a read.
                Some(_) if op.call == Call::Read => {}
                Some(other) if other.call == Call::Read => *other = op,
                Some(_) => return Err(format!("a transaction with two writes of {}", op.key)),
            }
        }
        if ops.is_empty() {
            Ok(Found::LeftOut("they are transactions without effect"))
        } else {
            Ok(Found::Ops(ops))
        }
    }

    /// One operation of a transaction.
    fn part(&self, part: &Form, result: Option<&Form>, error: Option<&String>) -> Result<Option<Op>, String> {
        let (key, call) = match text(part, "Type") {
            "range-operation" => {
                let range = field(part, "Range");
                let is_sole = text(range, "End").is_empty();
                let (Some(result), None, true) = (result, error, is_sole) else { return Ok(None) };
                let seen = match many(result, "KVs") {
                    [] => None,
                    [pair, ..] => Some(value_of(field(pair, "Value"))?),
                };
                let outcome = Outcome::Ok(Answer::Value(seen), Claim::default());
                return Ok(Some(self.op(text(range, "Start"), Call::Read, outcome)));
            }
            "put-operation" => {
                let put = field(part, "Put");
                (text(put, "Key"), Call::Write(value_of(field(put, "Value"))?))
            }
            "delete-operation" => (text(field(part, "Delete"), "Key"), Call::Delete),
            other => return Err(format!("`{other}` is no operation of a transaction of etcd")),
        };
        let outcome = match error {
            Some(error) => Outcome::Unknown(error.clone()),
            None => Outcome::Ok(Answer::Done, Claim::default()),
        };
        Ok(Some(self.op(key, call, outcome)))
    }
}

fn is_read(part: &Form) -> bool {
    text(part, "Type") == "range-operation"
}
