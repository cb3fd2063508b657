//! Operations that ask the same and are answered the same are of one *class*: the search knows them by its number.

use super::fast_hash::FastMap;
use super::{Model, Trace};

/// Operations that ask the same and are answered the same.
pub(super) struct Class<M: Model> {
    pub(super) op: M::Op,
    /// `None`: never answered.
    pub(super) ret: Option<M::Ret>,
    pub(super) is_pure: bool,
    pub(super) is_blind: bool,
    /// Blind, or at least answered the same whatever was there.
    pub(super) is_quiet: bool,
}

/// An operation that takes part in a search.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    pub(super) class: usize,
    pub(super) called: u64,
    pub(super) returned: Option<u64>,
}

/// The classes of a trace.
pub(super) struct Classes<'a, M: Model> {
    pub(super) all: Vec<Class<M>>,
    numbers: FastMap<(&'a M::Op, Option<&'a M::Ret>), usize>,
    initial: &'a M,
}

impl<'a, M: Model> Classes<'a, M> {
    /// With the operations of the trace, as they are.
    pub(super) fn of(initial: &'a M, trace: &'a Trace<M>) -> (Self, Vec<Member>) {
        let mut classes = Classes { all: Vec::new(), numbers: FastMap::default(), initial };
        let member = |entry: &'a super::Entry<M::Op, M::Ret>| Member {
            class: classes.number(&entry.op, entry.returned.as_ref().map(|(_, ret)| ret)),
            called: entry.called,
            returned: entry.returned.as_ref().map(|(time, _)| *time),
        };
        let members = trace.iter().map(member).collect();
        (classes, members)
    }

    /// The class of an operation with this answer.
    pub(super) fn number(&mut self, op: &'a M::Op, ret: Option<&'a M::Ret>) -> usize {
        if let Some(&number) = self.numbers.get(&(op, ret)) {
            return number;
        }
        // A quiet one with a wrong answer has it wrong in every state.
        let is_right = self.initial.step(op, ret).is_some();
        let is_blind = M::is_blind(op) && is_right;
        let is_quiet = is_blind || (M::is_quiet(op) && is_right);
        let is_pure = M::is_pure(op, ret);
        self.all.push(Class { op: op.clone(), ret: ret.cloned(), is_pure, is_blind, is_quiet });
        self.numbers.insert((op, ret), self.all.len() - 1);
        self.all.len() - 1
    }
}
