//! Judging while a run is going: event by event, in memory for what is open and what can still be read, however long it
//! lasts.
//!
//! For keys on which each value is written once, by writes alone (compare-and-sets that failed count as reads): there the zones of the values
//! decide (see `fast::zones`), and a fault shows with the return that makes two of them quarrel. A key on which something else is asked
//! is left to the judge at the end ([`Online::left_out`]).
//!
//! A value is forgotten when whoever still reads it reads it too late: when a value that must follow it was there before the
//! oldest call that is open. (The values before it are forgotten first, so that none of them loses a witness against it.) Who
//! shows a value that is not known, shows one that nobody wrote, or one that was long overwritten: a fault both times.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::fast::zones::{Zone, order};
use crate::linear::fast_hash::FastMap;
use crate::operation::{Answer, Call, Event, OpId, Outcome, Value};

/// A fault that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The key.
    pub key: Arc<str>,
    /// The operation with whose return it showed.
    pub op: OpId,
    /// One that it contradicts, if one is known.
    pub other: Option<OpId>,
    /// When it showed, in nanoseconds since the start of the recording.
    pub time_ns: u64,
    /// What is wrong, in a few words.
    pub what: &'static str,
}

/// Values that a key has at least before it is looked for some to forget.
const FORGET_MIN: usize = 64;

/// The judge of a run that is going.
#[derive(Debug, Default)]
pub struct Online {
    keys: FastMap<Arc<str>, Key>,
    /// What is open, by operation.
    open: FastMap<OpId, Open>,
}

#[derive(Debug)]
struct Open {
    key: Arc<str>,
    called: u64,
    call: Call,
}

/// Where a value is in its life.
#[derive(Debug, Clone)]
struct Life {
    /// The write of it, and its call.
    op: OpId,
    called: u64,
    /// Its place among those that were there, from the first return on that tells so.
    place: Option<usize>,
    is_failed: bool,
}

/// A value that was there for sure.
#[derive(Debug)]
struct There {
    value: Value,
    /// The write of it.
    op: OpId,
    zone: Zone,
}

#[derive(Debug)]
struct Key {
    is_left_out: bool,
    values: FastMap<Value, Life>,
    /// Those that were there for sure.
    there: Vec<There>,
    /// When the first of them was.
    first_there: Option<(u64, OpId)>,
    /// Calls that are open and will return.
    open: BTreeSet<(u64, OpId)>,
    forget_at: usize,
}

impl Key {
    fn new() -> Self {
        Key {
            is_left_out: false,
            values: FastMap::default(),
            there: Vec::new(),
            first_there: None,
            open: BTreeSet::new(),
            forget_at: FORGET_MIN,
        }
    }
}

impl Online {
    /// Takes the next event; events come in the order of time, calls before returns of the same time. Returns the fault that
    /// shows with it.
    pub fn push(&mut self, event: &Event) -> Option<Finding> {
        match event {
            Event::Invoke { op, key, call, time_ns, .. } => {
                let state = self.keys.entry(Arc::clone(key)).or_insert_with(Key::new);
                state.invoke(*op, call, *time_ns);
                if !state.is_left_out {
                    let open = Open { key: Arc::clone(key), called: *time_ns, call: call.clone() };
                    self.open.insert(*op, open);
                }
                None
            }
            Event::Return { op, time_ns, outcome, .. } => {
                let Open { key, called, call } = self.open.remove(op)?;
                let state = self.keys.get_mut(&key)?;
                state.open.remove(&(called, *op));
                if state.is_left_out {
                    return None;
                }
                let fault = state.returned(*op, &call, called, *time_ns, outcome);
                state.forget_some();
                fault.map(|(what, other)| Finding { key, op: *op, other, time_ns: *time_ns, what })
            }
        }
    }

    /// Keys that are not judged here, ascending.
    #[must_use]
    pub fn left_out(&self) -> Vec<Arc<str>> {
        let left_out = self.keys.iter().filter(|(_, key)| key.is_left_out);
        let mut keys: Vec<Arc<str>> = left_out.map(|(key, _)| Arc::clone(key)).collect();
        keys.sort_unstable();
        keys
    }

    /// How many values and open operations are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.open.len() + self.keys.values().map(|key| key.values.len()).sum::<usize>()
    }
}

/// What is wrong, and with whom.
type Fault = (&'static str, Option<OpId>);

impl Key {
    fn invoke(&mut self, op: OpId, call: &Call, called: u64) {
        match call {
            Call::Read => {}
            Call::Write(value) => {
                let life = Life { op, called, place: None, is_failed: false };
                // One that was forgotten cannot be mistaken for this one: nobody can show it any more.
                if self.values.insert(value.clone(), life).is_some() {
                    self.leave_out();
                }
            }
            // One that succeeds is no read: what it does is seen when it returns.
            Call::Cas { .. } => {}
            Call::Append(_) | Call::Delete | Call::Txn(_) => self.leave_out(),
        }
        if !self.is_left_out {
            self.open.insert((called, op));
        }
    }

    fn leave_out(&mut self) {
        *self = Key { is_left_out: true, ..Key::new() };
    }

    fn returned(
        &mut self,
        op: OpId,
        call: &Call,
        called: u64,
        returned: u64,
        outcome: &Outcome,
    ) -> Option<Fault> {
        let shown = match (call, outcome) {
            (Call::Write(value), Outcome::Ok(..)) => Some(value),
            (Call::Write(value), Outcome::Failed(_)) => return self.failed(value),
            (Call::Cas { .. }, Outcome::Failed(_)) | (Call::Read | Call::Write(_), _)
                if !matches!(outcome, Outcome::Ok(..)) =>
            {
                return None;
            }
            (_, Outcome::Ok(Answer::Value(shown), _)) => shown.as_ref(),
            (_, Outcome::Ok(Answer::CasFailed(Some(shown)), _)) => Some(shown),
            (_, Outcome::Ok(Answer::CasFailedAbsent, _)) => None,
            // A compare-and-set that took effect, or may have, or does not say what it found.
            (_, _) => {
                self.leave_out();
                return None;
            }
        };
        match shown {
            Some(value) => self.show(value, op, called, returned),
            None => {
                let (_, first) = self.first_there.filter(|&(ns, _)| ns < called)?;
                Some(("the key was seen absent after a value had been there", Some(first)))
            }
        }
    }

    /// A write surely had no effect.
    fn failed(&mut self, value: &Value) -> Option<Fault> {
        let life = self.values.get_mut(value)?;
        life.is_failed = true;
        if life.place.is_some() {
            return Some(("a value was seen whose write failed", None));
        }
        self.values.remove(value);
        None
    }

    /// A value was there between a call and its return.
    fn show(&mut self, value: &Value, op: OpId, called: u64, returned: u64) -> Option<Fault> {
        let Some(life) = self.values.get_mut(value) else {
            return Some(("a value was seen that nobody wrote, or that was overwritten before", None));
        };
        if life.is_failed {
            return Some(("a value was seen whose write failed", Some(life.op)));
        }
        let place = *life.place.get_or_insert(self.there.len());
        if place == self.there.len() {
            let zone = Zone { first_return: returned, last_call: life.called };
            self.there.push(There { value: value.clone(), op: life.op, zone });
            self.first_there = self.first_there.or(Some((returned, op)));
        }
        let own = &mut self.there[place].zone;
        own.add(called, returned);
        let own = *own;
        let quarrels = |other: &There| other.zone.is_before(own) && own.is_before(other.zone);
        let mut others = self.there.iter().enumerate().filter(|(at, _)| *at != place);
        let quarrel = others.find(|(_, other)| quarrels(other));
        quarrel.map(|(_, other)| ("a value was there before and after another one", Some(other.op)))
    }

    /// Forgets the values that nobody can show any more.
    fn forget_some(&mut self) {
        if self.there.len() < self.forget_at {
            return;
        }
        let oldest = self.open.first().map_or(u64::MAX, |(called, _)| *called);
        let zones: Vec<Zone> = self.there.iter().map(|there| there.zone).collect();
        // After a fault there is no order; then nothing is forgotten, and the run is over anyway.
        if let Ok(order) = order(&zones) {
            // Of those that were there before the oldest open call: how late they were called, the latest two.
            let mut latest: Vec<(u64, u32)> = order
                .iter()
                .filter(|at| zones[**at as usize].first_return < oldest)
                .map(|&at| (zones[at as usize].last_call, at))
                .collect();
            latest.sort_unstable_by(|a, b| b.cmp(a));
            let is_late = |at: u32| {
                let other = latest.iter().take(2).find(|(_, other)| *other != at);
                other.is_some_and(|(called, _)| zones[at as usize].first_return < *called)
            };
            let gone: BTreeSet<u32> = order.into_iter().take_while(|&at| is_late(at)).collect();
            let there = std::mem::take(&mut self.there);
            for (at, there) in (0..).zip(there) {
                if gone.contains(&at) {
                    self.values.remove(&there.value);
                } else if let Some(life) = self.values.get_mut(&there.value) {
                    life.place = Some(self.there.len());
                    self.there.push(there);
                }
            }
        }
        self.forget_at = FORGET_MIN.max(2 * self.there.len());
    }
}
