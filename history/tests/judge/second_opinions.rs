//! Two other judges of small histories of one key, slow and simple.

use ordeal_history::model::KeyModel;
use ordeal_history::{History, Operation};
use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};

/// Whether stateright's tester finds an order. Every operation has a thread of its own, so that one without an answer is
/// in flight for ever.
pub fn stateright_accepts(history: &History) -> bool {
    let operations: Vec<&Operation> =
        history.operations.iter().filter(|operation| !operation.is_failed()).collect();
    // Time, then calls before returns: those of the same time are concurrent.
    let mut events: Vec<(u64, bool, usize)> = Vec::new();
    for (at, operation) in operations.iter().enumerate() {
        events.push((operation.invoked_ns, false, at));
        events.extend(operation.answered_ns().map(|ns| (ns, true, at)));
    }
    events.sort_unstable();
    let mut tester = LinearizabilityTester::new(KeyModel::default());
    for (_, is_return, at) in events {
        let operation = operations[at];
        let noted = match operation.answer().filter(|_| is_return) {
            Some(answer) => tester.on_return(at, answer.clone()),
            None => tester.on_invoke(at, operation.call.clone()),
        };
        noted.expect("one call, one return");
    }
    tester.is_consistent()
}

/// Whether any order of the answered operations and of any of the open ones explains the answers: tries all.
pub fn brute_force_accepts(history: &History) -> bool {
    let operations: Vec<&Operation> =
        history.operations.iter().filter(|operation| !operation.is_failed()).collect();
    extends(&KeyModel::default(), &operations)
}

fn extends(model: &KeyModel, left: &[&Operation]) -> bool {
    if left.iter().all(|operation| operation.is_open()) {
        return true;
    }
    let first_return_ns = left.iter().filter_map(|operation| operation.answered_ns()).min();
    left.iter().enumerate().any(|(at, operation)| {
        let mut model = model.clone();
        let is_next = Some(operation.invoked_ns) <= first_return_ns;
        let is_right = match operation.answer() {
            Some(answer) => model.is_valid_step(&operation.call, answer),
            None => {
                model.invoke(&operation.call);
                true
            }
        };
        let rest: Vec<&Operation> = [&left[..at], &left[at + 1..]].concat();
        is_next && is_right && extends(&model, &rest)
    })
}
