//! The parts of the search: the linked list of calls and returns, the set of operations done, and the table of values.

use std::collections::HashMap;

use crate::model::KeyModel;
use crate::problem::Problem;

/// The node before the first.
pub(crate) const HEAD: usize = 0;

const NONE: usize = usize::MAX;

/// The doubly linked list of calls and returns, in the order of time, calls before returns of the same time: those are
/// concurrent. Optional tasks have no return.
pub(crate) struct List {
    pub(crate) next: Vec<usize>,
    previous: Vec<usize>,
    /// The task that is called at a node; [`NONE`] for returns, the head and the end.
    task_at: Vec<usize>,
    pub(crate) call_of: Vec<usize>,
    /// [`NONE`] for optional tasks.
    return_of: Vec<usize>,
}

impl List {
    pub(crate) fn new(problem: &Problem) -> Self {
        let tasks = &problem.tasks;
        // Time, then calls before returns, then the task.
        let mut events: Vec<(u64, bool, usize)> = Vec::with_capacity(tasks.len() * 2);
        for (at, task) in tasks.iter().enumerate() {
            events.push((task.invoked_ns, false, at));
            events.extend(task.due.iter().map(|(time_ns, _)| (*time_ns, true, at)));
        }
        events.sort_unstable();
        let end = events.len() + 1;
        let mut list = List {
            next: (1..=end).chain([end]).collect(),
            previous: [HEAD].into_iter().chain(0..end).collect(),
            task_at: vec![NONE; end + 1],
            call_of: vec![NONE; tasks.len()],
            return_of: vec![NONE; tasks.len()],
        };
        for (node, (_, is_return, task)) in (1..).zip(events) {
            if is_return {
                list.return_of[task] = node;
            } else {
                list.call_of[task] = node;
                list.task_at[node] = task;
            }
        }
        list
    }

    /// The task called at a node; `None` at returns and at the end.
    pub(crate) fn call_at(&self, node: usize) -> Option<usize> {
        let task = self.task_at[node];
        (task != NONE).then_some(task)
    }

    pub(crate) fn lift(&mut self, task: usize) {
        self.take_out(self.call_of[task]);
        if self.return_of[task] != NONE {
            self.take_out(self.return_of[task]);
        }
    }

    /// Puts back the task that was lifted last.
    pub(crate) fn unlift(&mut self, task: usize) {
        if self.return_of[task] != NONE {
            self.put_back(self.return_of[task]);
        }
        self.put_back(self.call_of[task]);
    }

    fn take_out(&mut self, node: usize) {
        let (previous, next) = (self.previous[node], self.next[node]);
        self.next[previous] = next;
        self.previous[next] = previous;
    }

    fn put_back(&mut self, node: usize) {
        let (previous, next) = (self.previous[node], self.next[node]);
        self.next[previous] = node;
        self.previous[next] = node;
    }
}

/// Which tasks took effect. Those that are due come and go roughly in the order of their calls, so all words before
/// `low` are full and all after `high` are empty, and a configuration needs only the words between: as many as
/// operations overlap, not as many as there are.
pub(crate) struct DoneSet {
    due: Vec<u64>,
    optional: Vec<u64>,
    due_count: usize,
    low: usize,
    high: usize,
}

impl DoneSet {
    pub(crate) fn new(problem: &Problem) -> Self {
        let optional_count = problem.tasks.len() - problem.due_count;
        DoneSet {
            // One word more than needed, never full, so that `low` always is inside.
            due: vec![0; problem.due_count / 64 + 1],
            optional: vec![0; optional_count.div_ceil(64)],
            due_count: problem.due_count,
            low: 0,
            high: 0,
        }
    }

    pub(crate) fn contains(&self, task: usize) -> bool {
        match task.checked_sub(self.due_count) {
            None => self.due[task / 64] & (1 << (task % 64)) != 0,
            Some(at) => self.optional[at / 64] & (1 << (at % 64)) != 0,
        }
    }

    pub(crate) fn insert(&mut self, task: usize) {
        match task.checked_sub(self.due_count) {
            None => {
                self.due[task / 64] |= 1 << (task % 64);
                self.high = self.high.max(task / 64);
                while self.due[self.low] == u64::MAX {
                    self.low += 1;
                }
            }
            Some(at) => self.optional[at / 64] |= 1 << (at % 64),
        }
    }

    pub(crate) fn remove(&mut self, task: usize) {
        match task.checked_sub(self.due_count) {
            None => {
                self.due[task / 64] &= !(1 << (task % 64));
                self.low = self.low.min(task / 64);
                while self.high > 0 && self.due[self.high] == 0 {
                    self.high -= 1;
                }
            }
            Some(at) => self.optional[at / 64] &= !(1 << (at % 64)),
        }
    }

    /// These tasks and this state, and nothing else, have this configuration.
    pub(crate) fn configuration(&self, state: u32) -> Box<[u64]> {
        let low = u64::try_from(self.low).expect("an index is a u64");
        let words = self.due.get(self.low..=self.high).unwrap_or_default();
        let mut key = Vec::with_capacity(1 + self.optional.len() + words.len());
        key.push(low << 32 | u64::from(state));
        key.extend_from_slice(&self.optional);
        key.extend_from_slice(words);
        key.into_boxed_slice()
    }
}

/// Bytes of a value in the table beside its text: it stands in a list and in a map.
const STATE_BYTES: usize = 128;

/// Every value that came up, once, so that a configuration holds a number.
pub(crate) struct States {
    models: Vec<KeyModel>,
    numbers: HashMap<KeyModel, u32>,
}

impl States {
    /// With the state of an absent key as number 0.
    pub(crate) fn new() -> Self {
        let absent = KeyModel::default();
        States { models: vec![absent.clone()], numbers: HashMap::from([(absent, 0)]) }
    }

    pub(crate) fn model(&self, state: u32) -> &KeyModel {
        &self.models[state as usize]
    }

    /// The number of a state; a new one adds to the memory used.
    pub(crate) fn intern(&mut self, model: KeyModel, memory_bytes: &mut usize) -> u32 {
        if let Some(&number) = self.numbers.get(&model) {
            return number;
        }
        let number =
            u32::try_from(self.models.len()).expect("4 G states of 128 bytes are beyond any memory limit");
        *memory_bytes += STATE_BYTES + model.value.as_ref().map_or(0, |value| value.len());
        self.models.push(model.clone());
        self.numbers.insert(model, number);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::{Answer, Call, OpId};
    use crate::problem::Task;

    fn problem(due: usize, optional: usize) -> Problem {
        let task = |at: usize| Task {
            id: OpId(at as u64),
            call: Call::Delete,
            invoked_ns: at as u64,
            due: (at < due).then(|| (at as u64 + 5, Answer::Done)),
            is_pure: false,
            twin: None,
        };
        Problem { tasks: (0..due + optional).map(task).collect(), due_count: due, longest_read: None }
    }

    #[test]
    fn lifting_and_unlifting_in_reverse_restores_the_list() {
        let problem = problem(6, 2);
        let mut list = List::new(&problem);
        let before = (list.next.clone(), list.previous.clone());
        let order = [3, 0, 7, 1, 2, 6, 5, 4];
        order.iter().for_each(|&task| list.lift(task));
        assert_eq!(list.next[HEAD], before.0.len() - 1, "only the end is left");
        order.iter().rev().for_each(|&task| list.unlift(task));
        assert_eq!((list.next, list.previous), before);
    }

    #[test]
    fn configurations_differ_exactly_when_sets_do() {
        let problem = problem(130, 3);
        let mut done = DoneSet::new(&problem);
        let mut seen = std::collections::HashSet::from([done.configuration(0)]);
        for task in 0..133 {
            done.insert(task);
            assert!(seen.insert(done.configuration(0)), "after {task}");
            assert!(seen.insert(done.configuration(1)), "after {task}, other state");
        }
        let full = done.configuration(0);
        assert!(full.len() < 5, "full words take no room");
        for task in (0..133).rev() {
            assert!(done.contains(task));
            done.remove(task);
            assert!(!seen.insert(done.configuration(0)), "back before {task}");
        }
        for task in [129, 64, 0, 131] {
            done.insert(task);
            assert!(seen.insert(done.configuration(0)), "{task} out of order");
        }
    }
}
