//! Transactions: what is compared, and what one list of operations does, as one entry.

use std::collections::BTreeMap;

use ordeal_client::wire::txn::{Compare, Operand, TXN_ANSWER_BYTES_MAX, Txn, TxnOp, TxnResult};
use ordeal_client::wire::{RefusalReason, Reply, VALUE_BYTES_MAX, Version};

use super::item::Item;
use super::store::Kv;

impl Kv {
    /// Does a transaction: all of one of its lists, or nothing where an answer or a value would be too long.
    pub(super) fn transact(&mut self, version: Version, txn: &Txn) -> Reply {
        let succeeded = txn.compares.iter().all(|compare| self.holds(compare));
        let list = txn.branch(succeeded);
        if let Err(refusal) = self.lengths(list) {
            return Reply::Refused(refusal);
        }
        let results = list.iter().map(|op| self.do_one(version, op)).collect();
        Reply::Txn { succeeded, made: version, results }
    }

    fn holds(&self, compare: &Compare) -> bool {
        let there = self.item(&compare.key);
        match &compare.with {
            Operand::Value(given) => compare.relation.holds(&there.map(Item::value), &given.as_deref()),
            Operand::Version(given) => compare.relation.holds(&there.map(Item::version), given),
        }
    }

    /// Whether all values that the list makes, and all that it reads together, have lengths that may be.
    fn lengths(&self, list: &[TxnOp]) -> Result<(), RefusalReason> {
        let mut written: BTreeMap<&[u8], usize> = BTreeMap::new();
        let mut answered = 0;
        for op in list {
            let key = op.key();
            let before = written
                .get(key)
                .copied()
                .or_else(|| self.item(key).map(|item| item.value().len()))
                .unwrap_or(0);
            match op {
                TxnOp::Get { .. } => answered += before,
                TxnOp::Put { value, .. } => _ = written.insert(key, value.len()),
                TxnOp::Append { tail, .. } => _ = written.insert(key, before + tail.len()),
                TxnOp::Delete { .. } => _ = written.insert(key, 0),
            }
        }
        within("value", written.values().copied().max().unwrap_or(0), VALUE_BYTES_MAX)?;
        within("answer", answered, TXN_ANSWER_BYTES_MAX)
    }

    fn do_one(&mut self, version: Version, op: &TxnOp) -> TxnResult {
        let replaced = match op {
            TxnOp::Get { key } => return TxnResult::Value(self.read(key)),
            TxnOp::Put { key, value } => self.set(Item::new(key, value, version)),
            TxnOp::Append { key, tail } => {
                let after = self.item(key).map(|item| item.with_tail(tail, version));
                self.set(after.unwrap_or_else(|| Item::new(key, tail, version)))
            }
            TxnOp::Delete { key } => self.unset(version, key),
        };
        TxnResult::Written { replaced }
    }
}

fn within(what: &str, bytes: usize, limit: usize) -> Result<(), RefusalReason> {
    if bytes <= limit {
        return Ok(());
    }
    Err(RefusalReason::TooLong { what: what.to_owned(), bytes: bytes as u64, limit: limit as u64 })
}
