//! How available the system was around each fault, from what clients saw. The figures are defined in docs/testing.md ("Availability").
//!
//! A *success* is an answer at the time of its return: refusals and unknown outcomes are none. A shard is *asked* while an
//! operation on it is under way, and after one without success in a pause of at most [`PAUSE_NS_MAX`] until the next: a shard that
//! nobody asks is not away.

use std::collections::BTreeMap;

use ordeal_client::wire::{ShardId, shard_of};
use ordeal_history::{History, Outcome};

use super::figures::window_of;
use crate::store::{Absence, Event, FaultAbsence, FaultSpan, Wait, spans};

/// A longer pause between two operations on a shard says nothing of it: clients were elsewhere.
const PAUSE_NS_MAX: u64 = 1_000_000_000;
/// Throughput before a fault is that of so long before it,
const BEFORE_NS: u64 = 2_000_000_000;
/// of at least so long where clients have just begun,
const BEFORE_NS_MIN: u64 = 200_000_000;
/// and of at least so many successes: fewer come and go by chance.
const BEFORE_SUCCESSES_MIN: usize = 10;
/// What is lost is counted over at least so long: a hand-over is a moment, and what it costs is not.
const LOST_NS_MIN: u64 = 1_000_000_000;
/// Throughput is normal again in the first stretch of this length
const NORMAL_NS: u64 = 500_000_000;
/// with so many thousandths of the successes of before.
const NORMAL_PERMILLE: u64 = 900;

/// What was asked, by shard: what the figures need of a history, in 24 bytes an operation.
#[derive(Debug, Default)]
pub struct Asks {
    shards: BTreeMap<u32, Shard>,
}

/// Operations on one shard.
#[derive(Debug, Default)]
struct Shard {
    /// By ascending call, as soon as all are there.
    asks: Vec<Ask>,
    /// When successes returned, ascending.
    successes: Vec<u64>,
    /// The longest operation of those that returned.
    longest_ns: u64,
    /// When the first was called that never returned.
    endless: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Ask {
    called_ns: u64,
    /// Of one that never returned the end of time.
    ended_ns: u64,
    is_success: bool,
}

/// A stretch of time in which a shard was asked.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    from_ns: u64,
    until_ns: u64,
}

/// How shards came back after a fault.
#[derive(Debug, Clone, Copy)]
struct Recovery {
    longest: Wait,
    /// When the last of them had: a wait begins with a call, which may come a little after the end of the fault.
    over_ns: u64,
}

impl Asks {
    /// Takes operations in, those of a part of the keys or of all.
    pub fn add(&mut self, history: &History, shards: u32) {
        for operation in &history.operations {
            let ShardId(number) = shard_of(operation.key.as_bytes(), shards.max(1));
            let shard = self.shards.entry(number).or_default();
            shard.asks.push(Ask {
                called_ns: operation.invoked_ns,
                ended_ns: operation.returned.as_ref().map_or(u64::MAX, |(ns, _)| *ns),
                is_success: matches!(operation.returned, Some((_, Outcome::Ok(..)))),
            });
        }
    }

    /// Takes those of another over.
    pub fn join(&mut self, other: Asks) {
        for (number, shard) in other.shards {
            self.shards.entry(number).or_default().asks.extend(shard.asks);
        }
    }

    /// The figures of every fault that began while clients were at work.
    #[must_use]
    pub fn of_run(self, events: &[Event]) -> Vec<FaultAbsence> {
        let asks = || self.shards.values().flat_map(|shard| &shard.asks);
        let ends = |ask: &Ask| if ask.ended_ns == u64::MAX { ask.called_ns } else { ask.ended_ns };
        let first_ns = asks().map(|ask| ask.called_ns).min().unwrap_or(0);
        let window = window_of(events, first_ns, asks().map(ends).max().unwrap_or(first_ns));
        self.around(&spans(events), window)
    }

    /// The same from the one to the other, in nanoseconds of the run.
    fn around(mut self, spans: &[FaultSpan], (from_ns, until_ns): (u64, u64)) -> Vec<FaultAbsence> {
        self.shards.values_mut().for_each(Shard::sort);
        let mut all: Vec<Ask> = self.shards.values().flat_map(|shard| &shard.asks).copied().collect();
        all.sort_unstable_by_key(|ask| ask.called_ns);
        let mut successes: Vec<u64> =
            self.shards.values().flat_map(|shard| &shard.successes).copied().collect();
        successes.sort_unstable();
        let around = Around {
            shards: &self.shards,
            soonest: soonest(&all),
            called: all.iter().map(|ask| ask.called_ns).collect(),
            successes,
            from_ns,
            until_ns,
        };
        let began = |span: &&FaultSpan| (from_ns..until_ns).contains(&span.applied_ns());
        spans.iter().filter(began).map(|span| around.fault(span, spans)).collect()
    }
}

/// Of each operation and all that were called after it, when the first success returned.
fn soonest(asks: &[Ask]) -> Vec<u64> {
    let mut soonest = vec![u64::MAX; asks.len()];
    let mut first = u64::MAX;
    for (at, ask) in asks.iter().enumerate().rev() {
        if ask.is_success {
            first = first.min(ask.ended_ns);
        }
        soonest[at] = first;
    }
    soonest
}

/// What faults are measured by.
struct Around<'a> {
    shards: &'a BTreeMap<u32, Shard>,
    /// When operations were called, ascending, and the first success of those from there on.
    called: Vec<u64>,
    soonest: Vec<u64>,
    /// When successes returned, of all shards.
    successes: Vec<u64>,
    /// When clients were at work.
    from_ns: u64,
    until_ns: u64,
}

impl Around<'_> {
    fn fault(&self, span: &FaultSpan, all: &[FaultSpan]) -> FaultAbsence {
        let began_ns = span.applied_ns();
        let ended_ns = span.undone_ns().filter(|&ns| ns < self.until_ns).map(|ns| ns.max(began_ns));
        let before = self.before(began_ns);
        let recovery = ended_ns.and_then(|ended_ns| self.recover(ended_ns));
        let normal = ended_ns.and_then(|ended_ns| self.normal(ended_ns, before?));
        let effect_ns = match ended_ns {
            None => self.until_ns,
            Some(ended_ns) => {
                let recovered_ns = recovery.map_or(ended_ns, |recovery| recovery.over_ns);
                let normal_ns = ended_ns + normal.map_or(0, |normal| normal.ns);
                recovered_ns.max(normal_ns).max(began_ns + LOST_NS_MIN).min(self.until_ns)
            }
        };
        let others =
            all.iter().filter(|other| other.fault != span.fault && other.in_force(began_ns, effect_ns));
        FaultAbsence {
            fault: span.fault,
            kind: span.kind,
            name: span.name.clone(),
            began_ns,
            ended_ns,
            absence: Absence {
                first: Some(self.first(began_ns)),
                gap: self.gap(began_ns, effect_ns),
                lost_permille: before.map(|before| self.lost(began_ns, ended_ns, before)),
                recover: recovery.map(|recovery| recovery.longest),
                normal,
            },
            beside: others.map(|other| other.fault).take(FaultAbsence::BESIDE_MAX).collect(),
        }
    }

    /// Until the first success of an operation that was called after the fault began: an answer on its way then says nothing.
    fn first(&self, began_ns: u64) -> Wait {
        let at = self.called.partition_point(|&called_ns| called_ns < began_ns);
        match self.soonest.get(at) {
            Some(&ns) if ns <= self.until_ns => Wait { ns: ns - began_ns, at_least: false, shard: None },
            _ => Wait { ns: self.until_ns - began_ns, at_least: true, shard: None },
        }
    }

    fn gap(&self, began_ns: u64, effect_ns: u64) -> Option<Wait> {
        let of_shards = self.shards.iter().filter_map(|(&number, shard)| {
            Some(Wait { shard: Some(number), ..shard.gap(began_ns, effect_ns)? })
        });
        of_shards.max_by_key(|wait| (wait.ns, wait.at_least))
    }

    fn recover(&self, ended_ns: u64) -> Option<Recovery> {
        let of_shards = self.shards.iter().filter_map(|(&number, shard)| {
            let Recovery { longest, over_ns } = shard.recover(ended_ns, self.until_ns)?;
            Some(Recovery { longest: Wait { shard: Some(number), ..longest }, over_ns })
        });
        of_shards.reduce(|a, b| {
            let longest = [a.longest, b.longest].into_iter().max_by_key(|wait| (wait.ns, wait.at_least));
            Recovery { longest: longest.unwrap_or(a.longest), over_ns: a.over_ns.max(b.over_ns) }
        })
    }

    /// Successes just before a fault, and in how long; `None` where they are too few to be a measure.
    fn before(&self, began_ns: u64) -> Option<(u64, u64)> {
        let from_ns = began_ns.saturating_sub(BEFORE_NS).max(self.from_ns);
        let count = self.count(from_ns, began_ns);
        let length_ns = began_ns.saturating_sub(from_ns);
        let is_measure = length_ns >= BEFORE_NS_MIN && count >= BEFORE_SUCCESSES_MIN;
        is_measure.then_some((count as u64, length_ns))
    }

    /// Thousandths of what would have been expected by what was before.
    fn lost(&self, began_ns: u64, ended_ns: Option<u64>, (count, length_ns): (u64, u64)) -> u64 {
        let until_ns = ended_ns.unwrap_or(self.until_ns).max(began_ns + LOST_NS_MIN).min(self.until_ns);
        let expected = u128::from(count) * u128::from(until_ns - began_ns);
        let came = self.count(began_ns, until_ns) as u128 * u128::from(length_ns);
        let lost = (expected.saturating_sub(came) * 1_000).checked_div(expected).unwrap_or(0);
        u64::try_from(lost).expect("a part of a thousand")
    }

    /// Until the first stretch of [`NORMAL_NS`] with nearly as many successes as before. Such a stretch ends with one of them.
    fn normal(&self, ended_ns: u64, (count, length_ns): (u64, u64)) -> Option<Wait> {
        let needed = u128::from(count) * u128::from(NORMAL_NS) * u128::from(NORMAL_PERMILLE);
        let needed = needed.div_ceil(u128::from(length_ns) * 1_000);
        let needed = usize::try_from(needed).ok()?.max(1);
        let after = &self.successes[self.successes.partition_point(|&ns| ns < ended_ns)..];
        let after = &after[..after.partition_point(|&ns| ns < self.until_ns)];
        // Of so many successes in a row the first and the last lie in one stretch, which may begin when the fault ended.
        let normal = after.windows(needed).find_map(|row| {
            let last = row[needed - 1];
            let begins = last.saturating_sub(NORMAL_NS).max(ended_ns);
            (row[0] >= begins).then_some(begins)
        });
        Some(match normal {
            Some(begins) => Wait { ns: begins - ended_ns, at_least: false, shard: None },
            None => {
                let seen_ns = self.until_ns.saturating_sub(ended_ns).saturating_sub(NORMAL_NS);
                Wait { ns: seen_ns, at_least: true, shard: None }
            }
        })
    }

    fn count(&self, from_ns: u64, until_ns: u64) -> usize {
        let before = |moment: u64| self.successes.partition_point(|&ns| ns < moment);
        before(until_ns).saturating_sub(before(from_ns))
    }
}

impl Shard {
    fn sort(&mut self) {
        self.asks.sort_unstable_by_key(|ask| ask.called_ns);
        self.successes = self.asks.iter().filter(|ask| ask.is_success).map(|ask| ask.ended_ns).collect();
        self.successes.sort_unstable();
        let is_endless = |ask: &&Ask| ask.ended_ns == u64::MAX;
        self.endless = self.asks.iter().find(is_endless).map(|ask| ask.called_ns);
        let returned = self.asks.iter().filter(|ask| !is_endless(ask));
        self.longest_ns = returned.map(|ask| ask.ended_ns.saturating_sub(ask.called_ns)).max().unwrap_or(0);
    }

    /// The longest stretch within these moments in which it was asked and gave no success; `None`: it was not asked.
    fn gap(&self, from_ns: u64, until_ns: u64) -> Option<Wait> {
        let first = self.successes.partition_point(|&ns| ns <= from_ns);
        let within = &self.successes[first..];
        let within = &within[..within.partition_point(|&ns| ns < until_ns)];
        let (mut longest, mut last) = (None::<Wait>, from_ns);
        for (&next, is_success) in within.iter().map(|ns| (ns, true)).chain([(&until_ns, false)]) {
            // A success that returned at the end of this is one, too.
            let is_success = is_success || self.successes.binary_search(&next).is_ok();
            if longest.is_none_or(|wait| wait.ns < next - last) {
                for stretch in self.asked(last, next) {
                    let wait = Wait {
                        ns: stretch.until_ns - stretch.from_ns,
                        at_least: !(is_success && stretch.until_ns == next),
                        shard: None,
                    };
                    longest = longest.filter(|longest| longest.ns >= wait.ns).or(Some(wait));
                }
            }
            last = next;
        }
        longest
    }

    /// From a moment until it gives a success, or from its first call where that comes a little later; `None`: it is not asked then.
    fn recover(&self, from_ns: u64, until_ns: u64) -> Option<Recovery> {
        let at = self.successes.partition_point(|&ns| ns < from_ns);
        let success = self.successes.get(at).copied().filter(|&ns| ns <= until_ns);
        let end_ns = success.unwrap_or(until_ns);
        // Whoever asked in vain just before still waits.
        let before = at.checked_sub(1).map_or(0, |last| self.successes[last]);
        let since_ns = before.max(from_ns.saturating_sub(PAUSE_NS_MAX));
        let stretches = self.asked(since_ns, end_ns);
        let waits = stretches.into_iter().find(|stretch| stretch.until_ns >= from_ns)?;
        let begins = waits.from_ns.max(from_ns);
        let is_asked = begins <= from_ns.saturating_add(PAUSE_NS_MAX);
        let at_least = success != Some(waits.until_ns);
        let longest = Wait { ns: waits.until_ns - begins, at_least, shard: None };
        is_asked.then_some(Recovery { longest, over_ns: waits.until_ns })
    }

    /// The stretches within these moments in which it was asked, ascending. Who had returned when they begin asks no more.
    fn asked(&self, from_ns: u64, until_ns: u64) -> Vec<Stretch> {
        let mut stretches: Vec<Stretch> = Vec::new();
        if self.endless.is_some_and(|called_ns| called_ns <= from_ns) {
            return vec![Stretch { from_ns, until_ns }];
        }
        let first = self.asks.partition_point(|ask| ask.called_ns < from_ns.saturating_sub(self.longest_ns));
        let last = self.asks.partition_point(|ask| ask.called_ns <= until_ns);
        for ask in self.asks[first..last.max(first)]
            .iter()
            .filter(|ask| ask.ended_ns > from_ns || ask.called_ns >= from_ns)
        {
            let (begins, ends) = (ask.called_ns.max(from_ns), ask.ended_ns.min(until_ns));
            match stretches.last_mut() {
                Some(open) if begins <= open.until_ns.saturating_add(PAUSE_NS_MAX) => {
                    open.until_ns = open.until_ns.max(ends);
                }
                Some(_) | None => stretches.push(Stretch { from_ns: begins, until_ns: ends }),
            }
        }
        stretches
    }
}

#[cfg(test)]
#[path = "availability_tests.rs"]
mod tests;
