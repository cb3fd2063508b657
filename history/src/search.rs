//! The search for an order: Wing and Gong's tree search on a linked list of calls and returns, with Lowe's memory of
//! configurations that led nowhere ("Testing for linearizability", 2017), as in Porcupine.
//!
//! ```text
//! list:   call a ─ call b ─ return a ─ call c ─ return b ─ return c
//! ```
//! Whatever is called before the first return in the list may take effect next. Taking effect lifts call and return out
//! of the list; when nothing fits before the first return, the last one is put back and another is tried. A
//! configuration is the set of those that took effect, and the value; each is tried once.
//!
//! The search never recurses, asks for the time every few steps, and stops where its memory would end.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use stateright::semantics::SequentialSpec;

use crate::operation::OpId;
use crate::problem::Problem;
use crate::search_parts::{DoneSet, HEAD, List, States};

/// Bounds of one search.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits<'a> {
    pub(crate) steps: u64,
    pub(crate) deadline: Instant,
    pub(crate) memory_bytes: usize,
    pub(crate) stop: &'a AtomicBool,
}

/// What came of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// An order that explains all answers.
    Order(Vec<OpId>),
    /// There is none.
    NoOrder,
    /// A limit was reached; so many operations that must take effect had done so at best.
    GaveUp(Limit, usize),
}

/// Which limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    Steps,
    Time,
    Memory,
    Stopped,
}

/// How often the clock is read: a step takes about 100 ns, so about every 0.1 ms.
const STEPS_PER_LOOK: u64 = 1024;

/// Bytes of a remembered configuration beside its words: the allocation, and its place in a hash table that is half
/// empty and has its predecessor beside it while it grows.
const ENTRY_BYTES: usize = 64;

/// Decides a problem; also gives the number of steps.
pub(crate) fn decide(problem: &Problem, limits: &Limits<'_>) -> (Decision, u64) {
    let mut search = Search::new(problem, limits);
    let decision = search.run();
    (decision, search.steps)
}

struct Search<'a> {
    problem: &'a Problem,
    limits: &'a Limits<'a>,
    list: List,
    done: DoneSet,
    states: States,
    state: u32,
    /// Those that took effect, in order, each with the state before it.
    stack: Vec<Frame>,
    /// Tasks that are due and not done.
    due_left: usize,
    due_left_min: usize,
    remembered: HashSet<Box<[u64]>>,
    memory_bytes: usize,
    steps: u64,
    next_look: u64,
}

struct Frame {
    task: usize,
    state_before: u32,
    /// It was pure, so nothing else need be tried in its place.
    is_forced: bool,
}

impl<'a> Search<'a> {
    fn new(problem: &'a Problem, limits: &'a Limits<'a>) -> Self {
        Search {
            problem,
            limits,
            list: List::new(problem),
            done: DoneSet::new(problem),
            states: States::new(),
            state: 0,
            stack: Vec::new(),
            due_left: problem.due_count,
            due_left_min: problem.due_count,
            remembered: HashSet::new(),
            memory_bytes: 0,
            steps: 0,
            next_look: STEPS_PER_LOOK,
        }
    }

    fn run(&mut self) -> Decision {
        let mut cursor = self.settle();
        loop {
            if self.due_left == 0 {
                return Decision::Order(
                    self.stack.iter().map(|frame| self.problem.tasks[frame.task].id).collect(),
                );
            }
            if let Some(limit) = self.reached_limit() {
                return Decision::GaveUp(limit, self.problem.due_count - self.due_left_min);
            }
            match self.list.call_at(cursor) {
                Some(task) => {
                    self.steps += 1;
                    cursor = match self.next_state(task) {
                        Some(state) if self.is_new(task, state) => {
                            self.push(task, state, false);
                            self.settle()
                        }
                        Some(_) | None => self.list.next[cursor],
                    };
                }
                None => match self.pop() {
                    Some(next) => cursor = next,
                    None => return Decision::NoOrder,
                },
            }
        }
    }

    /// Lets every pure operation take effect that may do so now and whose answer is right. If there is any order from
    /// here, there is one that begins with it: moved to the front it keeps all states as they are, and nothing must come
    /// before it. Returns where to go on looking.
    fn settle(&mut self) -> usize {
        let mut cursor = self.list.next[HEAD];
        while let Some(task) = self.list.call_at(cursor) {
            let is_pure = self.problem.tasks[task].is_pure;
            self.steps += u64::from(is_pure);
            if is_pure && self.step(task).is_some() {
                self.push(task, self.state, true);
                // It may have been the first to return, and so have hidden others.
                cursor = self.list.next[HEAD];
            } else {
                cursor = self.list.next[cursor];
            }
        }
        self.list.next[HEAD]
    }

    /// The state after a task that is not pure, if it may take effect now.
    fn next_state(&mut self, at: usize) -> Option<u32> {
        let task = &self.problem.tasks[at];
        if task.is_pure || task.twin.is_some_and(|twin| !self.done.contains(twin)) {
            return None;
        }
        let state = self.step(at)?;
        // An optional one that changes nothing is of no use.
        if task.due.is_none() && state == self.state {
            return None;
        }
        match &self.problem.longest_read {
            Some((read, longest)) if !self.done.contains(*read) => {
                let value = self.states.model(state).value.as_ref();
                value.is_none_or(|value| longest.starts_with(value.as_str())).then_some(state)
            }
            Some(_) | None => Some(state),
        }
    }

    fn step(&mut self, at: usize) -> Option<u32> {
        let task = &self.problem.tasks[at];
        let mut model = self.states.model(self.state).clone();
        match &task.due {
            Some((_, answer)) => {
                if !model.is_valid_step(&task.call, answer) {
                    return None;
                }
            }
            None => drop(model.invoke(&task.call)),
        }
        Some(self.states.intern(model, &mut self.memory_bytes))
    }

    /// Whether the configuration behind this step was never reached; remembers it.
    fn is_new(&mut self, task: usize, state: u32) -> bool {
        self.done.insert(task);
        let key = self.done.configuration(state);
        self.done.remove(task);
        let bytes = ENTRY_BYTES + 8 * key.len();
        let is_new = self.remembered.insert(key);
        if is_new {
            self.memory_bytes += bytes;
        }
        is_new
    }

    fn push(&mut self, task: usize, state: u32, is_forced: bool) {
        self.stack.push(Frame { task, state_before: self.state, is_forced });
        self.list.lift(task);
        self.done.insert(task);
        self.state = state;
        if task < self.problem.due_count {
            self.due_left -= 1;
            self.due_left_min = self.due_left_min.min(self.due_left);
        }
    }

    /// Takes back the last one that had alternatives; returns where to go on looking, or `None` when all was tried.
    fn pop(&mut self) -> Option<usize> {
        loop {
            let frame = self.stack.pop()?;
            self.list.unlift(frame.task);
            self.done.remove(frame.task);
            self.state = frame.state_before;
            if frame.task < self.problem.due_count {
                self.due_left += 1;
            }
            if !frame.is_forced {
                return Some(self.list.next[self.list.call_of[frame.task]]);
            }
        }
    }

    fn reached_limit(&mut self) -> Option<Limit> {
        if self.steps >= self.limits.steps {
            return Some(Limit::Steps);
        }
        if self.memory_bytes >= self.limits.memory_bytes {
            return Some(Limit::Memory);
        }
        if self.steps < self.next_look {
            return None;
        }
        self.next_look = self.steps + STEPS_PER_LOOK;
        if self.limits.stop.load(Ordering::Relaxed) {
            return Some(Limit::Stopped);
        }
        (Instant::now() >= self.limits.deadline).then_some(Limit::Time)
    }
}
