//! Operations in words: what was asked, and what came back.

use ordeal_history::{Answer, Call, KeyTxnRet, Operation, Outcome, Value, txn_words};

use super::escape::{head, tail};

/// Call and outcome; the outcome also as a sign, since colour never carries meaning alone.
#[must_use]
pub fn words(op: &Operation, chars_max: usize) -> String {
    format!("{} {}", asked(op, chars_max), came(op, chars_max))
}

/// What was asked; of long values the end.
#[must_use]
pub fn asked(op: &Operation, chars_max: usize) -> String {
    let shown = |value: &Value| tail(value, chars_max);
    match &op.call {
        Call::Read => "read".to_owned(),
        Call::Write(value) => format!("write {}", shown(value)),
        Call::Append(value) => format!("append {}", shown(value)),
        Call::Delete => "delete".to_owned(),
        Call::Cas { expected, new } => {
            format!("cas {} → {}", optional(expected.as_ref(), chars_max), shown(new))
        }
        Call::Txn(txn) => format!("txn {}", txn_words::asked(txn)),
    }
}

/// What came back.
#[must_use]
pub fn came(op: &Operation, chars_max: usize) -> String {
    let optional = |value: &Option<Value>| optional(value.as_ref(), chars_max);
    match &op.returned {
        None => "? (never returned)".to_owned(),
        Some((_, Outcome::Unknown(reason))) => format!("? ({})", head(reason, chars_max)),
        Some((_, Outcome::Failed(reason))) => format!("✗ ({})", head(reason, chars_max)),
        Some((_, Outcome::Ok(answer, _))) => match answer {
            Answer::Value(value) => format!("= {}", optional(value)),
            Answer::Done | Answer::CasDone => "✓".to_owned(),
            Answer::CasFailed(found) => format!("≠ {}", optional(found)),
            Answer::CasFailedAbsent => "≠ nothing".to_owned(),
            Answer::Txn(ret) => came_of_txn(&op.call, ret),
        },
    }
}

/// What came of a transaction.
pub(super) fn came_of_txn(call: &Call, ret: &KeyTxnRet) -> String {
    let sign = if ret.succeeded { "✓" } else { "≠" };
    match call {
        Call::Txn(txn) => format!("{sign} {}", txn_words::answered(txn, ret)),
        Call::Read | Call::Write(_) | Call::Append(_) | Call::Cas { .. } | Call::Delete => sign.to_owned(),
    }
}

fn optional(value: Option<&Value>, chars_max: usize) -> String {
    value.map_or("nothing".to_owned(), |value| tail(value, chars_max))
}
