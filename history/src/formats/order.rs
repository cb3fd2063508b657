//! Records in the order of their times. Our recorder writes a return a little after its time was taken; in a foreign format
//! the order of the lines is all that counts.
//!
//! Records at one time are concurrent: calls come before returns there, but a client's own events stay in their order.

use std::collections::{BTreeMap, HashMap};

use super::record::Record;
use crate::operation::{ClientId, Event, OpId};

/// Records that are held back. A recorder's threads are late by some microseconds, which is some tens of records.
const HELD_MAX: usize = 1 << 14;

/// Puts records in order, holding back [`HELD_MAX`] of them.
#[derive(Debug, Default)]
pub(crate) struct InOrder {
    held: BTreeMap<u64, Vec<Record>>,
    count: usize,
    last_ns: u64,
    /// Who called what has not returned yet.
    open: HashMap<OpId, ClientId>,
}

impl InOrder {
    /// Takes a record, gives those that are now known to be next.
    pub(crate) fn push(&mut self, record: Record) -> Result<Vec<Record>, String> {
        let time_ns = record.time_ns();
        if time_ns < self.last_ns {
            return Err(format!(
                "an event at {time_ns} ns comes more than {HELD_MAX} records after one at {} ns",
                self.last_ns
            ));
        }
        self.held.entry(time_ns).or_default().push(record);
        self.count += 1;
        if self.count <= HELD_MAX {
            return Ok(Vec::new());
        }
        Ok(self.first())
    }

    /// All that are held back.
    pub(crate) fn rest(&mut self) -> Vec<Record> {
        let mut records = Vec::with_capacity(self.count);
        while self.count > 0 {
            records.extend(self.first());
        }
        records
    }

    /// The records of the first time.
    fn first(&mut self) -> Vec<Record> {
        let Some((time_ns, records)) = self.held.pop_first() else { return Vec::new() };
        // Later records of this very time may come: they go behind, which is in order too.
        self.last_ns = time_ns;
        self.count -= records.len();
        calls_first(records, &mut self.open)
    }
}

/// Calls before returns, but for a call of a client that returned from another at the same time.
fn calls_first(records: Vec<Record>, open: &mut HashMap<OpId, ClientId>) -> Vec<Record> {
    let (mut calls, mut others) = (Vec::new(), Vec::new());
    let mut returned = Vec::new();
    for record in records {
        match &record {
            Record::Event(Event::Invoke { op, client, .. }) => {
                open.insert(*op, *client);
                if returned.contains(client) { others.push(record) } else { calls.push(record) }
            }
            Record::Event(Event::Return { op, .. }) => {
                returned.extend(open.remove(op));
                others.push(record);
            }
            Record::Fault(_) => others.push(record),
        }
    }
    calls.append(&mut others);
    calls
}
