//! Which key a client works on.
//!
//! ```text
//!   place 0: k7    lanes 0 1 2 3        a place holds one live key; when that is used up, the next number moves in
//!   place 1: k3    lanes 4 5 6 7        each place belongs to at most four lanes
//!   place 2: k9    lanes 8 9 0 1        with more places than lanes / 4, lanes work on several keys
//! ```

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use ordeal_history::Value;
use rand::RngExt;
use rand_pcg::Pcg64Mcg;

use super::bank::Accounts;
use crate::plan::{CLIENTS_PER_KEY_MAX, WorkloadKind};

/// A key is retired after this many operations, its last read at the end included: the search for an order decides such
/// a history in milliseconds, whatever it holds.
pub const OPS_PER_KEY_MAX: u32 = 128;
/// Or after this many unknown outcomes: each stays open to the end, and doubles what a search may have to remember.
pub const UNKNOWN_PER_KEY_MAX: u32 = 8;
/// Values of a key that are remembered for compare-and-sets.
const SEEN_MAX: usize = 4;

/// The keys of a run.
#[derive(Debug)]
pub struct KeyPool {
    lanes: u32,
    places: Mutex<Places>,
}

#[derive(Debug)]
struct Places {
    live: Vec<Live>,
    /// Number of the next key, and how many there were.
    next: u64,
    workload: WorkloadKind,
}

#[derive(Debug)]
struct Live {
    name: Arc<str>,
    operations: u32,
    unknown: u32,
    known: Known,
}

/// What is known of a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Values seen there lately, newest last.
    pub seen: VecDeque<Value>,
    /// Of a bank: what is on its accounts.
    pub accounts: Option<Accounts>,
}

/// A key to work on.
#[derive(Debug, Clone)]
pub struct Drawn {
    /// The key.
    pub key: Arc<str>,
    /// What is known of it.
    pub known: Known,
    place: usize,
}

impl KeyPool {
    /// Keys for so many lanes, so many of them live at once: at least a fourth of the lanes, rounded up.
    #[must_use]
    pub fn new(lanes: u32, keys: u32, workload: WorkloadKind) -> Self {
        assert!(keys >= lanes.div_ceil(CLIENTS_PER_KEY_MAX), "{keys} keys are too few for {lanes} lanes");
        let mut places = Places { live: Vec::new(), next: 0, workload };
        for _ in 0..keys {
            let live = places.new_key();
            places.live.push(live);
        }
        KeyPool { lanes, places: Mutex::new(places) }
    }

    /// Draws one of the lane's keys and counts the operation.
    pub fn draw(&self, lane: u32, rng: &mut Pcg64Mcg) -> Drawn {
        let mut places = self.lock();
        let count = u32::try_from(places.live.len()).expect("bounded by the settings");
        // Begin anywhere and take the first that is ours: at most a round, mostly a step or two.
        let start = rng.random_range(0..count);
        let place = (start..start + count)
            .map(|place| place % count)
            .find(|&place| self.owns(lane, place))
            .expect("every lane owns a place") as usize;
        let live = &mut places.live[place];
        live.operations += 1;
        let drawn = Drawn { key: Arc::clone(&live.name), known: live.known.clone(), place };
        places.retire_if_used_up(place);
        drawn
    }

    /// A value is known to have been there.
    pub fn saw(&self, drawn: &Drawn, value: Value) {
        let mut places = self.lock();
        if let Some(live) = places.of(drawn) {
            live.known.seen.push_back(value);
            if live.known.seen.len() > SEEN_MAX {
                live.known.seen.pop_front();
            }
        }
    }

    /// This is known to have been on the accounts of a bank.
    pub fn saw_accounts(&self, drawn: &Drawn, accounts: Accounts) {
        let mut places = self.lock();
        if let Some(live) = places.of(drawn) {
            live.known.accounts = Some(accounts);
        }
    }

    /// An operation on it ended without a known outcome.
    pub fn unknown(&self, drawn: &Drawn) {
        let mut places = self.lock();
        if let Some(live) = places.of(drawn) {
            live.unknown += 1;
            places.retire_if_used_up(drawn.place);
        }
    }

    /// Every key that was ever live, in the order of their numbers.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<str>> {
        let places = self.lock();
        (0..places.next).map(|number| places.key_name(number)).collect()
    }

    /// Place `p` belongs to lanes `4p … 4p+3`, modulo the number of lanes.
    fn owns(&self, lane: u32, place: u32) -> bool {
        let first = place.wrapping_mul(CLIENTS_PER_KEY_MAX) % self.lanes;
        (lane + self.lanes - first) % self.lanes < CLIENTS_PER_KEY_MAX
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().expect("nobody panics while holding the keys")
    }
}

impl Places {
    fn new_key(&mut self) -> Live {
        let name = self.key_name(self.next);
        self.next += 1;
        Live { name, operations: 0, unknown: 0, known: Known::default() }
    }

    /// Of a bank the tag of its accounts.
    fn key_name(&self, number: u64) -> Arc<str> {
        match self.workload {
            WorkloadKind::Register | WorkloadKind::Append | WorkloadKind::Cas => {
                Arc::from(format!("k{number}"))
            }
            WorkloadKind::Bank => Arc::from(format!("{{b{number}}}")),
        }
    }

    /// The live key, unless it was retired meanwhile.
    fn of(&mut self, drawn: &Drawn) -> Option<&mut Live> {
        self.live.get_mut(drawn.place).filter(|live| live.name == drawn.key)
    }

    fn retire_if_used_up(&mut self, place: usize) {
        let live = &self.live[place];
        // One operation is kept for the read at the end.
        if live.operations + 1 >= OPS_PER_KEY_MAX || live.unknown >= UNKNOWN_PER_KEY_MAX {
            self.live[place] = self.new_key();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::chance::{Stream, generator};

    #[test]
    fn a_key_has_few_clients_and_few_operations_and_every_client_has_a_key() {
        for lanes in 1..=25u32 {
            for keys in lanes.div_ceil(4)..lanes + 3 {
                let pool = KeyPool::new(lanes, keys, WorkloadKind::Register);
                let mut rng = generator(u64::from(lanes), Stream::Lane(0));
                let mut used: BTreeMap<Arc<str>, (u32, BTreeSet<u32>)> = BTreeMap::new();
                for turn in 0..1_000 {
                    let lane = turn % lanes;
                    let drawn = pool.draw(lane, &mut rng);
                    let (operations, users) = used.entry(drawn.key).or_default();
                    *operations += 1;
                    users.insert(lane);
                }
                for (key, (operations, users)) in &used {
                    assert!(*operations < OPS_PER_KEY_MAX, "{key}: {operations} operations");
                    assert!(users.len() <= 4, "{key} is shared by {users:?}");
                }
                let all = pool.all();
                assert!(used.keys().all(|key| all.contains(key)), "a key is missing in the list of all");
            }
        }
    }

    #[test]
    fn many_unknown_outcomes_retire_a_key() {
        let pool = KeyPool::new(1, 1, WorkloadKind::Register);
        let mut rng = generator(1, Stream::Lane(0));
        let first = pool.draw(0, &mut rng);
        for _ in 0..UNKNOWN_PER_KEY_MAX {
            pool.unknown(&first);
        }
        let second = pool.draw(0, &mut rng);
        assert_ne!(first.key, second.key);
        // What is learnt late about a retired key harms nobody.
        pool.unknown(&first);
        pool.saw(&first, Value::from("late"));
        assert_eq!(pool.draw(0, &mut rng).known, Known::default());
    }

    #[test]
    fn the_newest_values_are_remembered() {
        let pool = KeyPool::new(1, 1, WorkloadKind::Cas);
        let mut rng = generator(1, Stream::Lane(0));
        let drawn = pool.draw(0, &mut rng);
        for number in 0..10 {
            pool.saw(&drawn, Value::from(number.to_string()));
        }
        let seen = pool.draw(0, &mut rng).known.seen;
        assert_eq!(seen.iter().map(Value::as_str).collect::<Vec<_>>(), ["6", "7", "8", "9"]);
    }
}
