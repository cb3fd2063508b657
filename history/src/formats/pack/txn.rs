//! Transactions and what they are answered, within a record.
//!
//! ```text
//! txn      compares, then operations of both branches, each a list: how many, and one after the other
//! compare  key test   0 is / 1 is not  value or none      2 has version
//! operation           0 get / 3 delete  key               1 put / 2 append  key value
//! ret      0 or 1 (succeeded), then a list of what was told: 0 value  value or none, version or none   1 made  version or none
//! ```

use super::{Packer, Unpacked, Unpacker, byte, number, unknown};
use crate::models::{Compare, Test, Told, Txn, TxnOp};
use crate::operation::{KeyTxn, KeyTxnRet, Value, Version};

impl Packer {
    pub(super) fn txn(&mut self, txn: &KeyTxn) {
        self.number(txn.compares.len() as u64);
        for Compare { key, test } in &txn.compares {
            self.text(key);
            match test {
                Test::Is(value) => {
                    self.bytes.push(0);
                    self.optional(value.as_ref());
                }
                Test::IsNot(value) => {
                    self.bytes.push(1);
                    self.optional(value.as_ref());
                }
                Test::HasVersion(version) => {
                    self.bytes.push(2);
                    self.version(*version);
                }
            }
        }
        for ops in [&txn.then, &txn.or_else] {
            self.number(ops.len() as u64);
            ops.iter().for_each(|op| self.txn_op(op));
        }
    }

    fn txn_op(&mut self, op: &TxnOp<Value, Value>) {
        let (tag, value) = match op {
            TxnOp::Get(_) => (0, None),
            TxnOp::Put(_, value) => (1, Some(value)),
            TxnOp::Append(_, tail) => (2, Some(tail)),
            TxnOp::Delete(_) => (3, None),
        };
        self.bytes.push(tag);
        self.text(op.key());
        if let Some(value) = value {
            self.text(value);
        }
    }

    pub(super) fn txn_ret(&mut self, ret: &KeyTxnRet) {
        self.bytes.push(u8::from(ret.succeeded));
        self.number(ret.told.len() as u64);
        for told in &ret.told {
            match told {
                Told::Value(seen) => {
                    self.bytes.push(0);
                    self.optional(seen.as_ref().map(|(value, _)| value));
                    if let Some((_, version)) = seen {
                        self.optional_version(*version);
                    }
                }
                Told::Made(version) => {
                    self.bytes.push(1);
                    self.optional_version(*version);
                }
            }
        }
    }

    fn version(&mut self, version: Version) {
        self.number(version.epoch);
        self.number(version.index);
    }

    fn optional_version(&mut self, version: Option<Version>) {
        self.bytes.push(u8::from(version.is_some()));
        if let Some(version) = version {
            self.version(version);
        }
    }
}

impl Unpacker {
    pub(super) fn txn(&mut self, bytes: &mut &[u8]) -> Unpacked<KeyTxn> {
        let compares = many(bytes, |bytes| {
            let key = self.value(bytes)?;
            let test = match byte(bytes)? {
                0 => Test::Is(self.optional(bytes)?),
                1 => Test::IsNot(self.optional(bytes)?),
                2 => Test::HasVersion(version(bytes)?),
                other => return Err(unknown("compare", other)),
            };
            Ok(Compare { key, test })
        })?;
        let then = many(bytes, |bytes| self.txn_op(bytes))?;
        let or_else = many(bytes, |bytes| self.txn_op(bytes))?;
        Ok(Txn { compares, then, or_else })
    }

    fn txn_op(&mut self, bytes: &mut &[u8]) -> Unpacked<TxnOp<Value, Value>> {
        let tag = byte(bytes)?;
        let key = self.value(bytes)?;
        Ok(match tag {
            0 => TxnOp::Get(key),
            1 => TxnOp::Put(key, self.value(bytes)?),
            2 => TxnOp::Append(key, self.value(bytes)?),
            3 => TxnOp::Delete(key),
            other => return Err(unknown("operation", other)),
        })
    }

    pub(super) fn txn_ret(&mut self, bytes: &mut &[u8]) -> Unpacked<KeyTxnRet> {
        let succeeded = flag(bytes)?;
        let told = many(bytes, |bytes| match byte(bytes)? {
            0 => Ok(Told::Value(match self.optional(bytes)? {
                Some(value) => Some((value, optional_version(bytes)?)),
                None => None,
            })),
            1 => Ok(Told::Made(optional_version(bytes)?)),
            other => Err(unknown("answer of an operation", other)),
        })?;
        Ok(KeyTxnRet { succeeded, told })
    }
}

fn version(bytes: &mut &[u8]) -> Unpacked<Version> {
    Ok(Version { epoch: number(bytes)?, index: number(bytes)? })
}

fn optional_version(bytes: &mut &[u8]) -> Unpacked<Option<Version>> {
    Ok(if flag(bytes)? { Some(version(bytes)?) } else { None })
}

fn flag(bytes: &mut &[u8]) -> Unpacked<bool> {
    match byte(bytes)? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(unknown("flag", other)),
    }
}

/// A list; each of its items has a byte at least, so that a number that lies ends at the end of the frame.
fn many<T>(bytes: &mut &[u8], mut each: impl FnMut(&mut &[u8]) -> Unpacked<T>) -> Unpacked<Vec<T>> {
    let count = number(bytes)?;
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(each(bytes)?);
    }
    Ok(all)
}
