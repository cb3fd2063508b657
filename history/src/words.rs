//! Times, values and operations in words, for the sentences about anomalies.

use crate::operation::{Answer, Call, Operation, Value};
use crate::txn_words;

/// `12.550 s`.
pub(crate) fn moment(time_ns: u64) -> String {
    let ms = time_ns / 1_000_000;
    format!("{}.{:03} s", ms / 1000, ms % 1000)
}

/// `212 ms`, `1.204 s`, `80 µs`, `7 ns`.
pub(crate) fn span(time_ns: u64) -> String {
    match time_ns {
        0..1_000 => format!("{time_ns} ns"),
        1_000..1_000_000 => format!("{} µs", time_ns / 1_000),
        1_000_000..1_000_000_000 => format!("{} ms", time_ns / 1_000_000),
        1_000_000_000.. => moment(time_ns),
    }
}

/// Characters of a value that a sentence shows: as many as fit a line beside the rest.
const SHOWN_CHARS_MAX: usize = 48;

/// `"c2-9"`; of a long value only its end, where appends differ.
pub(crate) fn quoted(text: &str) -> String {
    let surplus = text.chars().count().saturating_sub(SHOWN_CHARS_MAX);
    if surplus == 0 {
        return format!("{text:?}");
    }
    let end: String = text.chars().skip(surplus).collect();
    format!("\"…{}", &format!("{end:?}")[1..])
}

/// `"c2-9"`, or `nothing` for an absent key.
pub(crate) fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| quoted(value))
}

/// ` from n2`, or nothing where the node is not known.
pub(crate) fn from_node(operation: &Operation) -> String {
    operation.node.as_ref().map_or_else(String::new, |node| format!(" from {node}"))
}

/// What a call did, as a noun: `the write of "a" by c3`.
pub(crate) fn deed(operation: &Operation) -> String {
    let client = operation.client;
    match &operation.call {
        Call::Read => format!("the read by {client}"),
        Call::Write(value) => format!("the write of {} by {client}", quoted(value)),
        Call::Append(value) => format!("the append of {} by {client}", quoted(value)),
        Call::Cas { expected, new } => {
            format!("the compare-and-set from {} to {} by {client}", shown(expected.as_ref()), quoted(new))
        }
        Call::Delete => format!("the delete by {client}"),
        Call::Txn(_) => format!("the transaction {} by {client}", operation.id),
    }
}

/// What an answered operation shows of the value that was there before it: `Some(None)` is an absent key, `None` means
/// that it shows nothing.
pub(crate) fn observed(operation: &Operation) -> Option<Option<&Value>> {
    match (operation.answer()?, &operation.call) {
        (Answer::Value(value), _) => Some(value.as_ref()),
        (Answer::CasDone, Call::Cas { expected, .. }) => Some(expected.as_ref()),
        (Answer::CasFailed(Some(found)), _) => Some(Some(found)),
        (Answer::CasFailedAbsent, _) => Some(None),
        (Answer::CasFailed(None) | Answer::Done | Answer::CasDone | Answer::Txn(_), _) => None,
    }
}

/// What an operation leaves behind if it takes effect: `Some(None)` is an absent key, `None` means that it depends on
/// what was there, or changes nothing.
pub(crate) fn left_behind(operation: &Operation) -> Option<Option<&Value>> {
    match (&operation.call, operation.answer()) {
        (Call::Write(value), _) | (Call::Cas { new: value, .. }, None | Some(Answer::CasDone)) => {
            Some(Some(value))
        }
        (Call::Delete, _) => Some(None),
        (Call::Read | Call::Append(_) | Call::Cas { .. } | Call::Txn(_), _) => None,
    }
}

/// How a client saw something: `c4 read "a" at 12.550 s from n2`.
pub(crate) fn sight(operation: &Operation) -> String {
    let seen = observed(operation).map_or_else(|| "something".to_owned(), shown);
    let (client, at, node) = (operation.client, moment(operation.invoked_ns), from_node(operation));
    match (&operation.call, operation.answer()) {
        (Call::Cas { new, .. }, Some(Answer::CasDone)) => {
            format!("{client} replaced {seen} by {} at {at}{node}", quoted(new))
        }
        (Call::Cas { .. }, _) => format!("a compare-and-set by {client} found {seen} at {at}{node}"),
        (Call::Txn(_), _) => txn_words::sight(operation),
        (Call::Read | Call::Write(_) | Call::Append(_) | Call::Delete, _) => {
            format!("{client} read {seen} at {at}{node}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_values_read_well() {
        assert_eq!(moment(12_550_400_000), "12.550 s");
        assert_eq!(span(212_900_000), "212 ms");
        assert_eq!(span(1_204_000_000), "1.204 s");
        assert_eq!(span(80_000), "80 µs");
        assert_eq!(quoted("a\"b"), r#""a\"b""#);
        let long = "c1-1,".repeat(20);
        assert!(quoted(&long).starts_with("\"…"), "{}", quoted(&long));
        assert!(quoted(&long).ends_with("c1-1,\""), "{}", quoted(&long));
        assert_eq!(shown(None), "nothing");
    }
}
