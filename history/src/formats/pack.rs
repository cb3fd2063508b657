//! The records of a frame as bytes, and back. See [`super::binary`].

mod txn;

use std::collections::HashMap;
use std::hash::Hasher;
use std::sync::Arc;

use super::binary::Named;
use super::record::{FaultNote, Record};
use crate::linear::fast_hash::FastHasher;
use crate::operation::{Answer, Call, Claim, ClientId, Event, OpId, Outcome, Value, Version, Versions};

const INVOKE: u8 = 0;
const OK: u8 = 1;
const FAILED: u8 = 2;
const UNKNOWN: u8 = 3;
const FAULT: u8 = 4;

/// Texts that one frame names: more than a full frame can hold.
const NAMES_MAX: usize = 1 << 16;

/// Writes the records of one frame.
#[derive(Debug, Default)]
pub(crate) struct Packer {
    pub(crate) bytes: Vec<u8>,
    names: HashMap<Named, u64>,
    op: u64,
    time_ns: u64,
}

impl Packer {
    pub(crate) fn record(&mut self, record: &Record) {
        match record {
            Record::Event(Event::Invoke { op, client, key, call, time_ns }) => {
                self.begin(INVOKE, *op, *time_ns);
                self.number(u64::from(client.0));
                self.name(key);
                self.call(call);
            }
            Record::Event(Event::Return { op, time_ns, outcome, node }) => {
                let tag = match outcome {
                    Outcome::Ok(..) => OK,
                    Outcome::Failed(_) => FAILED,
                    Outcome::Unknown(_) => UNKNOWN,
                };
                self.begin(tag, *op, *time_ns);
                self.node(node.as_deref());
                match outcome {
                    Outcome::Ok(answer, claim) => {
                        self.answer(answer);
                        self.claim(claim);
                    }
                    Outcome::Failed(reason) | Outcome::Unknown(reason) => self.text(reason),
                }
            }
            Record::Fault(FaultNote { time_ns, process, what, value }) => {
                self.bytes.push(FAULT);
                self.time(*time_ns);
                self.text(process);
                self.text(what);
                self.text(value);
            }
        }
    }

    fn begin(&mut self, tag: u8, op: OpId, time_ns: u64) {
        self.bytes.push(tag);
        self.number(zigzag(op.0.wrapping_sub(self.op)));
        self.op = op.0;
        self.time(time_ns);
    }

    fn time(&mut self, time_ns: u64) {
        self.number(zigzag(time_ns.wrapping_sub(self.time_ns)));
        self.time_ns = time_ns;
    }

    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push((number & 0x7f) as u8);
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.bytes.extend_from_slice(text.as_bytes());
    }

    fn name(&mut self, name: &str) {
        if let Some(&number) = self.names.get(name) {
            return self.number(number + 1);
        }
        if self.names.len() < NAMES_MAX {
            let number = self.names.len() as u64;
            self.names.insert(Arc::from(name), number);
        }
        self.number(0);
        self.text(name);
    }

    fn node(&mut self, node: Option<&str>) {
        match node {
            None => self.bytes.push(0),
            Some(node) => {
                self.bytes.push(1);
                self.name(node);
            }
        }
    }

    fn optional(&mut self, value: Option<&Value>) {
        match value {
            None => self.bytes.push(0),
            Some(value) => {
                self.bytes.push(1);
                self.text(value);
            }
        }
    }

    fn call(&mut self, call: &Call) {
        match call {
            Call::Read => self.bytes.push(0),
            Call::Write(value) => {
                self.bytes.push(1);
                self.text(value);
            }
            Call::Append(value) => {
                self.bytes.push(2);
                self.text(value);
            }
            Call::Cas { expected, new } => {
                self.bytes.push(3);
                self.optional(expected.as_ref());
                self.text(new);
            }
            Call::Delete => self.bytes.push(4),
            Call::Txn(txn) => {
                self.bytes.push(5);
                self.txn(txn);
            }
        }
    }

    fn answer(&mut self, answer: &Answer) {
        match answer {
            Answer::Value(value) => {
                self.bytes.push(0);
                self.optional(value.as_ref());
            }
            Answer::Done => self.bytes.push(1),
            Answer::CasDone => self.bytes.push(2),
            Answer::CasFailed(found) => {
                self.bytes.push(3);
                self.optional(found.as_ref());
            }
            Answer::CasFailedAbsent => self.bytes.push(4),
            Answer::Txn(ret) => {
                self.bytes.push(5);
                self.txn_ret(ret);
            }
        }
    }

    fn claim(&mut self, claim: &Claim) {
        let versions = [claim.made, claim.replaced, claim.seen];
        let bits = versions.iter().enumerate().map(|(at, version)| u8::from(version.is_some()) << at);
        self.bytes.push(bits.sum());
        for version in versions.into_iter().flatten() {
            self.number(version.epoch);
            self.number(version.index);
        }
    }
}

/// A difference as a number that is small where the difference is, of either sign.
fn zigzag(difference: u64) -> u64 {
    (difference << 1) ^ 0u64.wrapping_sub(difference >> 63)
}

fn unzigzag(number: u64) -> u64 {
    (number >> 1) ^ 0u64.wrapping_sub(number & 1)
}

/// Reads the records of frames. Any bytes give a record or an error.
#[derive(Debug, Default)]
pub(crate) struct Unpacker {
    names: Vec<Named>,
    recent: Recent,
    op: u64,
    time_ns: u64,
}

type Unpacked<T> = Result<T, String>;

impl Unpacker {
    /// What the frame before has named is not named in this one.
    pub(crate) fn begin_frame(&mut self) {
        self.names.clear();
        (self.op, self.time_ns) = (0, 0);
    }

    /// Takes a record from the front of the bytes.
    pub(crate) fn record(&mut self, bytes: &mut &[u8]) -> Unpacked<Record> {
        match byte(bytes)? {
            INVOKE => {
                let (op, time_ns) = self.begin(bytes)?;
                let client = number(bytes)?;
                let client =
                    ClientId(u32::try_from(client).map_err(|_| format!("client {client} is too large"))?);
                let key = self.name(bytes)?;
                Ok(Record::Event(Event::Invoke { op, client, key, call: self.call(bytes)?, time_ns }))
            }
            tag @ (OK | FAILED | UNKNOWN) => {
                let (op, time_ns) = self.begin(bytes)?;
                let node = match byte(bytes)? {
                    0 => None,
                    1 => Some(self.name(bytes)?),
                    other => return Err(unknown("node", other)),
                };
                let outcome = match tag {
                    OK => Outcome::Ok(self.answer(bytes)?, claim(bytes)?),
                    FAILED => Outcome::Failed(text(bytes)?.to_owned()),
                    _ => Outcome::Unknown(text(bytes)?.to_owned()),
                };
                Ok(Record::Event(Event::Return { op, time_ns, outcome, node }))
            }
            FAULT => Ok(Record::Fault(FaultNote {
                time_ns: self.time(bytes)?,
                process: text(bytes)?.to_owned(),
                what: text(bytes)?.to_owned(),
                value: text(bytes)?.to_owned(),
            })),
            other => Err(unknown("record", other)),
        }
    }

    fn begin(&mut self, bytes: &mut &[u8]) -> Unpacked<(OpId, u64)> {
        self.op = self.op.wrapping_add(unzigzag(number(bytes)?));
        Ok((OpId(self.op), self.time(bytes)?))
    }

    fn time(&mut self, bytes: &mut &[u8]) -> Unpacked<u64> {
        self.time_ns = self.time_ns.wrapping_add(unzigzag(number(bytes)?));
        Ok(self.time_ns)
    }

    fn name(&mut self, bytes: &mut &[u8]) -> Unpacked<Named> {
        let number = number(bytes)?;
        if number == 0 {
            let name: Named = self.recent.share(text(bytes)?);
            if self.names.len() < NAMES_MAX {
                self.names.push(Arc::clone(&name));
            }
            return Ok(name);
        }
        let known = usize::try_from(number - 1).ok().and_then(|at| self.names.get(at));
        known.cloned().ok_or_else(|| format!("name {number} was not named before"))
    }

    fn value(&mut self, bytes: &mut &[u8]) -> Unpacked<Value> {
        Ok(Value(self.recent.share(text(bytes)?)))
    }

    fn optional(&mut self, bytes: &mut &[u8]) -> Unpacked<Option<Value>> {
        match byte(bytes)? {
            0 => Ok(None),
            1 => self.value(bytes).map(Some),
            other => Err(unknown("value", other)),
        }
    }

    fn call(&mut self, bytes: &mut &[u8]) -> Unpacked<Call> {
        Ok(match byte(bytes)? {
            0 => Call::Read,
            1 => Call::Write(self.value(bytes)?),
            2 => Call::Append(self.value(bytes)?),
            3 => Call::Cas { expected: self.optional(bytes)?, new: self.value(bytes)? },
            4 => Call::Delete,
            5 => Call::Txn(Box::new(self.txn(bytes)?)),
            other => return Err(unknown("call", other)),
        })
    }

    fn answer(&mut self, bytes: &mut &[u8]) -> Unpacked<Answer> {
        Ok(match byte(bytes)? {
            0 => Answer::Value(self.optional(bytes)?),
            1 => Answer::Done,
            2 => Answer::CasDone,
            3 => Answer::CasFailed(self.optional(bytes)?),
            4 => Answer::CasFailedAbsent,
            5 => Answer::Txn(Box::new(self.txn_ret(bytes)?)),
            other => return Err(unknown("answer", other)),
        })
    }
}

/// Texts that were read a short time ago: whoever reads a value mostly sees one that was just written, and then both share it. A
/// text has one place; what is there already is forgotten.
#[derive(Debug)]
struct Recent {
    texts: Vec<Arc<str>>,
}

/// Places: 64 KiB of them, which stay in the cache beside the texts.
const RECENT: usize = 4096;

/// Longer texts are not compared.
const RECENT_BYTES_MAX: usize = 64;

impl Default for Recent {
    fn default() -> Self {
        Recent { texts: vec![Arc::from(""); RECENT] }
    }
}

impl Recent {
    fn share(&mut self, text: &str) -> Arc<str> {
        if text.len() > RECENT_BYTES_MAX {
            return Arc::from(text);
        }
        let mut hasher = FastHasher::default();
        hasher.write(text.as_bytes());
        let place = usize::try_from(hasher.finish() % RECENT as u64).expect("a place in a small table");
        let known = &mut self.texts[place];
        if **known != *text {
            *known = Arc::from(text);
        }
        Arc::clone(known)
    }
}

fn unknown(what: &str, found: u8) -> String {
    format!("{found} is no kind of {what}")
}

fn byte(bytes: &mut &[u8]) -> Unpacked<u8> {
    let (first, rest) = bytes.split_first().ok_or("the frame ends inside of a record")?;
    *bytes = rest;
    Ok(*first)
}

fn number(bytes: &mut &[u8]) -> Unpacked<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = byte(bytes)?;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            break;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err("a number of more than 64 bits".to_owned())
}

fn text<'a>(bytes: &mut &'a [u8]) -> Unpacked<&'a str> {
    let length = number(bytes)?;
    let length = usize::try_from(length).ok().filter(|&length| length <= bytes.len());
    let (text, rest) = bytes.split_at(length.ok_or("a text that is longer than its frame")?);
    *bytes = rest;
    std::str::from_utf8(text).map_err(|_| "a text that is not UTF-8".to_owned())
}

fn claim(bytes: &mut &[u8]) -> Unpacked<Claim> {
    let bits = byte(bytes)?;
    if bits > 0b111 {
        return Err(unknown("claim", bits));
    }
    let mut version = |bit: u8| -> Unpacked<Option<Version>> {
        if bits & bit == 0 {
            return Ok(None);
        }
        Ok(Some(Version { epoch: number(bytes)?, index: number(bytes)? }))
    };
    Ok(Versions { made: version(1)?, replaced: version(2)?, seen: version(4)? }.into())
}
