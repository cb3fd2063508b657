//! Every state that came up, once, so that a configuration holds a number; and what follows from each.

use super::classes::Class;
use super::fast_hash::FastMap;
use super::{Model, Sights, Trace};

/// With so many different operations or fewer, what follows from a state is kept in a row of numbers: 1 KiB a state at
/// most. With more, states seldom repeat, and nothing is kept.
const ROW_CLASSES_MAX: usize = 256;

const UNTRIED: u32 = u32::MAX;
const IMPOSSIBLE: u32 = u32::MAX - 1;

/// Bytes of a state in the table beside what it has on the heap: it stands in a list and in a map that is half empty.
const TABLE_BYTES: usize = 32;

pub(super) struct States<M> {
    states: Vec<M>,
    numbers: FastMap<M, u32>,
    /// For each state, for each class, the state that follows.
    rows: Vec<Box<[u32]>>,
    sights: Option<Sights<M>>,
    /// For each state, whether it leads to one that some answer denies.
    is_denied: Vec<bool>,
    /// Stands for all states of no use: the same can follow on each of them.
    useless: Option<u32>,
    pub(super) bytes: usize,
}

impl<M: Model> States<M> {
    /// With the first state as number 0.
    pub(super) fn new(initial: &M, trace: &Trace<M>) -> Self {
        let (states, numbers, rows) = (Vec::new(), FastMap::default(), Vec::new());
        let mut states = States {
            states,
            numbers,
            rows,
            sights: M::sights(trace),
            is_denied: Vec::new(),
            useless: None,
            bytes: 0,
        };
        states.intern(initial.clone());
        states
    }

    /// The state that follows, if the answer is right.
    pub(super) fn step(&mut self, state: u32, class: usize, classes: &[Class<M>]) -> Option<u32> {
        let has_rows = classes.len() <= ROW_CLASSES_MAX;
        if has_rows {
            while self.rows.len() < self.states.len() {
                self.rows.push(vec![UNTRIED; classes.len()].into_boxed_slice());
                self.bytes += 4 * classes.len();
            }
            match self.rows[state as usize][class] {
                UNTRIED => {}
                IMPOSSIBLE => return None,
                next => return Some(next),
            }
        }
        let Class { op, ret, .. } = &classes[class];
        let next = self.states[state as usize].step(op, ret.as_ref()).map(|next| self.intern(next));
        if has_rows {
            self.rows[state as usize][class] = next.unwrap_or(IMPOSSIBLE);
        }
        next
    }

    /// Whether what leads from one state to another can be left out, as far as all is concerned that comes up to the next
    /// blind operation: the other leads to none that an answer tells from others, and the one to none that an answer denies.
    pub(super) fn is_of_no_use(&self, before: u32, state: u32) -> bool {
        self.useless == Some(state) && !self.is_denied[before as usize]
    }

    fn intern(&mut self, state: M) -> u32 {
        if let Some(&number) = self.numbers.get(&state) {
            return number;
        }
        let leads = |to: &dyn Fn(&Sights<M>) -> &Vec<M>| {
            self.sights.as_ref().is_none_or(|sights| state.leads_to_any(to(sights)))
        };
        let (is_of_use, is_denied) = (leads(&|sights| &sights.told), leads(&|sights| &sights.denied));
        if !is_of_use && let Some(useless) = self.useless {
            return useless;
        }
        let number = u32::try_from(self.states.len()).expect("4 G states are beyond any memory limit");
        assert!(number < IMPOSSIBLE, "4 G states are beyond any memory limit");
        self.bytes += TABLE_BYTES + 2 * size_of::<M>() + state.heap_bytes();
        self.useless = self.useless.or((!is_of_use).then_some(number));
        self.is_denied.push(is_denied);
        self.states.push(state.clone());
        self.numbers.insert(state, number);
        number
    }
}
