//! Replays an order that the search found: no history is called valid on the word of a search alone.

use std::collections::HashMap;

use stateright::semantics::SequentialSpec;

use crate::model::KeyModel;
use crate::operation::{OpId, Operation};

/// Checks, against the operations as they were recorded, that an order contains every answered one once, contradicts no
/// time, and gives every answer. The error says what is wrong with the order.
pub(crate) fn replay(operations: &[&Operation], order: &[OpId]) -> Result<(), String> {
    let mut left: HashMap<OpId, &Operation> =
        operations.iter().map(|&operation| (operation.id, operation)).collect();
    if left.len() != operations.len() {
        return Err("two operations have the same id".to_owned());
    }
    let mut model = KeyModel::default();
    // The latest call so far: what comes behind it must not have returned before it.
    let mut invoked_ns_max = 0;
    for id in order {
        let Some(operation) = left.remove(id) else { return Err(format!("{id} stands in the order twice")) };
        if operation.is_failed() {
            return Err(format!("{id} failed, but stands in the order"));
        }
        if operation.answered_ns().is_some_and(|ns| ns < invoked_ns_max) {
            return Err(format!("{id} returned before one that the order puts before it was called"));
        }
        invoked_ns_max = invoked_ns_max.max(operation.invoked_ns);
        match operation.answer() {
            Some(answer) if !model.is_valid_step(&operation.call, answer) => {
                return Err(format!("{id} is answered otherwise in this order"));
            }
            Some(_) => {}
            None => drop(model.invoke(&operation.call)),
        }
    }
    match left.values().find(|operation| operation.answer().is_some()) {
        Some(operation) => Err(format!("{} is missing in the order", operation.id)),
        None => Ok(()),
    }
}
