//! Records as lines of Jepsen's formats: `history.edn`, `history.txt`, and the JSON of elle-cli.
//!
//! Every value is `[key value]`, but for the key [`SOLE_KEY`] of histories that name none. After an operation whose outcome
//! nobody knows a client goes on as a new process, as Jepsen demands; `:ordeal/client` then says who it is. What a failed
//! compare-and-set found and the versions that a server claimed are fields of ours, which others pass over. So a file that
//! is read back is the history that was written.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::form::{Form, Json};
use super::pairing::{CLIENT_FIELD, FOUND_FIELD, MADE_FIELD, REPLACED_FIELD, SEEN_FIELD, SOLE_KEY};
use super::record::{FaultNote, Record};
use super::{Format, export_txn};
use crate::operation::{Answer, Call, Claim, ClientId, Event, OpId, Outcome, Value, Version};

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Edn,
    Text,
    Json,
}

impl Shape {
    /// The shape of a format that is written as lines.
    pub(crate) fn of(format: Format) -> Option<Shape> {
        match format {
            Format::Jepsen => Some(Shape::Edn),
            Format::JepsenText => Some(Shape::Text),
            Format::Elle => Some(Shape::Json),
            Format::Ordeal | Format::Binary | Format::JepsenLog | Format::PorcupineKv | Format::Etcd => None,
        }
    }
}

/// The first process of clients that went on under another: more clients than a harness has.
const FRESH_PROCESS: i64 = 1 << 20;

/// Writes lines. It holds the open operations, and which process each client is.
pub(crate) struct Export {
    shape: Shape,
    index: i64,
    open: HashMap<OpId, Open>,
    processes: BTreeMap<ClientId, i64>,
    next_fresh: i64,
}

struct Open {
    client: ClientId,
    process: i64,
    key: Arc<str>,
    call: Call,
    is_keyed: bool,
}

type Fields = Vec<(&'static str, Form)>;

impl Export {
    pub(crate) fn new(shape: Shape) -> Self {
        let (open, processes) = (HashMap::new(), BTreeMap::new());
        Export { shape, index: 0, open, processes, next_fresh: FRESH_PROCESS }
    }

    /// The line of the next record, with its line end.
    pub(crate) fn line(&mut self, record: &Record) -> Result<String, String> {
        let (time_ns, fields) = match record {
            Record::Event(Event::Invoke { op, client, key, call, time_ns }) => {
                (*time_ns, self.invoke(*op, *client, key, call))
            }
            Record::Event(Event::Return { op, time_ns, outcome, node }) => {
                (*time_ns, self.returned(*op, outcome, node.as_deref())?)
            }
            Record::Fault(note) => (note.time_ns, fault(note)),
        };
        let time_ns = i64::try_from(time_ns).map_err(|_| format!("a time of {time_ns} ns"))?;
        let line = match self.shape {
            Shape::Edn | Shape::Json => {
                let mut all: Fields = vec![("index", Form::Int(self.index)), ("time", Form::Int(time_ns))];
                all.extend(fields);
                let entries = all.into_iter().map(|(name, form)| (Form::Keyword(name.to_owned()), form));
                let map = Form::Map(entries.collect());
                if self.shape == Shape::Edn { format!("{map}\n") } else { format!("{}\n", Json(&map)) }
            }
            Shape::Text => text_line(&fields),
        };
        self.index += 1;
        Ok(line)
    }

    fn invoke(&mut self, op: OpId, client: ClientId, key: &Arc<str>, call: &Call) -> Fields {
        let process = self.process_of(client);
        let (f, inner) = asked(key, call);
        // Those of a transaction have the key in them.
        let is_txn = matches!(call, Call::Txn(_));
        let is_keyed = !is_txn && (**key != *SOLE_KEY || is_ambiguous(call, &inner));
        let open = Open { client, process, key: Arc::clone(key), call: call.clone(), is_keyed };
        let fields = open.fields("invoke", f, inner);
        self.open.insert(op, open);
        fields
    }

    fn process_of(&mut self, client: ClientId) -> i64 {
        let fresh = &mut self.next_fresh;
        *self.processes.entry(client).or_insert_with(|| {
            let process = i64::from(client.0);
            if process < FRESH_PROCESS { process } else { next(fresh) }
        })
    }

    fn returned(&mut self, op: OpId, outcome: &Outcome, node: Option<&str>) -> Result<Fields, String> {
        let open = self.open.remove(&op).ok_or_else(|| format!("a return of {op}, which is not open"))?;
        let (f, inner) = asked(&open.key, &open.call);
        let mut fields = match outcome {
            Outcome::Ok(Answer::Value(seen), _) => {
                open.fields("ok", f, seen.as_ref().map_or(Form::Nil, form_of))
            }
            Outcome::Ok(Answer::Done | Answer::CasDone, _) => open.fields("ok", f, inner),
            Outcome::Ok(Answer::Txn(ret), _) => {
                let told = match &open.call {
                    Call::Txn(txn) => export_txn::answered(&open.key, txn, ret),
                    call => return Err(format!("the answer of a transaction to {call:?}")),
                };
                open.fields("ok", f, told)
            }
            Outcome::Ok(Answer::CasFailed(found), _) => {
                let found = found.as_ref().map(form_of);
                open.failed_cas(f, inner, found.into_iter().collect())
            }
            Outcome::Ok(Answer::CasFailedAbsent, _) => open.failed_cas(f, inner, vec![Form::Nil]),
            Outcome::Failed(reason) => open.ended("fail", f, inner, reason),
            Outcome::Unknown(reason) => {
                self.processes.insert(open.client, next(&mut self.next_fresh));
                open.ended("info", f, inner, reason)
            }
        };
        if let Outcome::Ok(_, claim) = outcome {
            fields.extend(claim_fields(claim));
        }
        fields.extend(node.map(|node| ("node", Form::Text(node.to_owned()))));
        Ok(fields)
    }
}

fn next(fresh: &mut i64) -> i64 {
    *fresh += 1;
    *fresh - 1
}

impl Open {
    fn fields(&self, kind: &str, f: &str, inner: Form) -> Fields {
        let value = match self.is_keyed {
            true => Form::Vector(vec![Form::of_value(&self.key), inner]),
            false => inner,
        };
        let keyword = |name: &str| Form::Keyword(name.to_owned());
        let mut fields = vec![
            ("type", keyword(kind)),
            ("process", Form::Int(self.process)),
            ("f", keyword(f)),
            ("value", value),
        ];
        if self.process != i64::from(self.client.0) {
            fields.push((CLIENT_FIELD, Form::Int(i64::from(self.client.0))));
        }
        fields
    }

    fn ended(&self, kind: &str, f: &str, inner: Form, reason: &str) -> Fields {
        let mut fields = self.fields(kind, f, inner);
        fields.push(("error", Form::of_value(reason)));
        fields
    }

    fn failed_cas(&self, f: &str, inner: Form, found: Vec<Form>) -> Fields {
        let mut fields = self.fields("fail", f, inner);
        fields.push(("error", Form::Keyword("precondition-failed".to_owned())));
        fields.push((FOUND_FIELD, Form::Vector(found)));
        fields
    }
}

fn form_of(value: &Value) -> Form {
    Form::of_value(value)
}

/// The name of a call, and its value without the key.
fn asked(key: &str, call: &Call) -> (&'static str, Form) {
    match call {
        Call::Read => ("read", Form::Nil),
        Call::Write(value) => ("write", form_of(value)),
        Call::Append(value) => ("append", form_of(value)),
        Call::Cas { expected, new } => {
            let expected = expected.as_ref().map_or(Form::Nil, form_of);
            ("cas", Form::Vector(vec![expected, form_of(new)]))
        }
        Call::Delete => ("delete", Form::Nil),
        Call::Txn(txn) => ("txn", export_txn::asked(key, txn)),
    }
}

/// Whether the value would be taken for a key and a value.
fn is_ambiguous(call: &Call, inner: &Form) -> bool {
    match call {
        Call::Cas { .. } => inner.pair().is_some_and(|(_, new)| new.pair().is_some()),
        Call::Read | Call::Write(_) | Call::Append(_) | Call::Delete => inner.pair().is_some(),
        Call::Txn(_) => false,
    }
}

fn claim_fields(claim: &Claim) -> impl Iterator<Item = (&'static str, Form)> {
    let field = |name: &'static str, version: Option<Version>| {
        version.map(|version| (name, Form::Text(version.to_string())))
    };
    [field(MADE_FIELD, claim.made), field(REPLACED_FIELD, claim.replaced), field(SEEN_FIELD, claim.seen)]
        .into_iter()
        .flatten()
}

fn fault(note: &FaultNote) -> Fields {
    vec![
        ("type", Form::Keyword("info".to_owned())),
        ("process", Form::of_text(&note.process)),
        ("f", Form::of_text(&note.what)),
        ("value", Form::of_text(&note.value)),
    ]
}

fn text_line(fields: &Fields) -> String {
    let field = |name: &str| fields.iter().find(|(field, _)| *field == name).map(|(_, form)| form);
    let form = |name: &str| field(name).map_or_else(|| "nil".to_owned(), Form::to_string);
    let mut line = [form("process"), form("type"), form("f"), form("value")].join("\t");
    if let Some(error) = field("error") {
        line.push('\t');
        // A line is a line.
        line.extend(error.to_value().chars().map(|char| if char.is_control() { ' ' } else { char }));
    }
    line.push('\n');
    line
}
