//! Two judges without any cleverness: one confirms an order, one tries all of them.

use super::{Entry, Model, Trace};

/// Confirms that an order, as places in the trace, has every operation that returned once, contradicts no time, and gives
/// every answer. The error says what is wrong with it.
///
/// # Errors
/// What is wrong.
pub fn replay<M: Model>(initial: &M, trace: &Trace<M>, order: &[usize]) -> Result<(), String> {
    let mut is_left = vec![true; trace.len()];
    let mut state = initial.clone();
    // The latest call so far: what comes behind it must not have returned before it.
    let mut latest_call = 0;
    for &at in order {
        let entry = trace.get(at).ok_or_else(|| format!("there is no operation {at}"))?;
        if !std::mem::replace(&mut is_left[at], false) {
            return Err(format!("operation {at} stands in the order twice"));
        }
        if entry.returned.as_ref().is_some_and(|(time, _)| *time < latest_call) {
            return Err(format!("operation {at} returned before one that stands before it was called"));
        }
        latest_call = latest_call.max(entry.called);
        let ret = entry.returned.as_ref().map(|(_, ret)| ret);
        state = state.step(&entry.op, ret).ok_or_else(|| format!("operation {at} is answered otherwise"))?;
    }
    match (0..trace.len()).find(|&at| is_left[at] && trace[at].returned.is_some()) {
        Some(at) => Err(format!("operation {at} is missing")),
        None => Ok(()),
    }
}

/// Whether any order explains the answers: tries all. For a dozen operations at most.
pub fn all_orders<M: Model>(initial: &M, trace: &Trace<M>) -> bool {
    let mut left: Vec<&Entry<M::Op, M::Ret>> = trace.iter().collect();
    extends(initial, &mut left)
}

fn extends<M: Model>(state: &M, left: &mut Vec<&Entry<M::Op, M::Ret>>) -> bool {
    let first_return = left.iter().filter_map(|entry| entry.returned.as_ref()).map(|(time, _)| *time).min();
    let Some(first_return) = first_return else { return true };
    for at in 0..left.len() {
        let entry = left[at];
        if entry.called > first_return {
            continue;
        }
        if let Some(next) = state.step(&entry.op, entry.returned.as_ref().map(|(_, ret)| ret)) {
            left.swap_remove(at);
            let is_found = extends(&next, left);
            left.push(entry);
            let end = left.len() - 1;
            left.swap(at, end);
            if is_found {
                return true;
            }
        }
    }
    false
}
