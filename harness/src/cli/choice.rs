//! What of a history is meant: some of its keys, and the model that its operations must fit.

use std::collections::BTreeSet;
use std::str::FromStr;

use ordeal_history::objects::Object;
use ordeal_history::{Call, History, OpId, Operation};

use super::Failure;
use crate::exit::Cause;

/// A model by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Model {
    /// Keys, each judged for itself; which calls there may be.
    Keys(Keys),
    /// Something else, see [`ordeal_history::objects`].
    Object(Object),
}

/// Models of keys. All are judged by the same judge: they say what must not occur.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keys {
    /// All calls.
    KeyValue,
    /// Reads and writes.
    Register,
    /// Reads, writes, compare-and-sets.
    CasRegister,
    /// Reads and appends.
    Append,
}

/// The names, as errors list them.
const NAMES: &str = "key-value, register, cas-register, append, set, counter, queue, lock, txn, bank=10,10,10 (balances at first)";

impl FromStr for Model {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Ok(match name {
            "key-value" | "kv" => Model::Keys(Keys::KeyValue),
            "register" => Model::Keys(Keys::Register),
            "cas-register" => Model::Keys(Keys::CasRegister),
            "append" => Model::Keys(Keys::Append),
            name => Model::Object(name.parse().map_err(|_| format!("expected one of {NAMES}"))?),
        })
    }
}

impl Keys {
    fn name(self) -> &'static str {
        match self {
            Keys::KeyValue => "key-value",
            Keys::Register => "register",
            Keys::CasRegister => "cas-register",
            Keys::Append => "append",
        }
    }

    /// Whether there may be such calls.
    pub(super) fn has(self, call: &Call) -> bool {
        match call {
            Call::Read => true,
            Call::Write(_) => matches!(self, Keys::KeyValue | Keys::Register | Keys::CasRegister),
            Call::Cas { .. } => matches!(self, Keys::KeyValue | Keys::CasRegister),
            Call::Append(_) => matches!(self, Keys::KeyValue | Keys::Append),
            Call::Delete | Call::Txn(_) => self == Keys::KeyValue,
        }
    }

    /// That all operations are of this model.
    pub(super) fn fits(self, file: &str, history: &History) -> Result<(), Failure> {
        let stranger: Option<&Operation> =
            history.operations.iter().find(|operation| !self.has(&operation.call));
        stranger.map_or(Ok(()), |stranger| Err(self.refuse(file, stranger.id, &stranger.call)))
    }

    /// That an operation is not of this model.
    pub(super) fn refuse(self, file: &str, id: OpId, call: &Call) -> Failure {
        let name = self.name();
        let call = match call {
            Call::Read => "read",
            Call::Write(_) => "write",
            Call::Append(_) => "append",
            Call::Cas { .. } => "compare-and-set",
            Call::Delete => "delete",
            Call::Txn(_) => "transaction",
        };
        let error = anyhow::anyhow!(
            "{file}: operation {id} is of the kind {call}, which the model {name} has not\n\
             hint: --model key-value has all of them"
        );
        Failure { cause: Cause::BadInput, error }
    }
}

/// The operations on these keys; all, where none is named.
pub(super) fn only(history: History, keys: &[String], file: &str) -> Result<History, Failure> {
    if keys.is_empty() {
        return Ok(history);
    }
    let known: BTreeSet<&str> = history.operations.iter().map(|operation| &*operation.key).collect();
    are_known(keys, &known, file)?;
    let is_meant = |operation: &Operation| keys.iter().any(|key| **key == *operation.key);
    Ok(History { operations: history.operations.into_iter().filter(is_meant).collect() })
}

/// That all of these keys are among those that are known.
pub(super) fn are_known(keys: &[String], known: &BTreeSet<&str>, file: &str) -> Result<(), Failure> {
    if let Some(missing) = keys.iter().find(|key| !known.contains(key.as_str())) {
        let error =
            anyhow::anyhow!("{file}: no operation on the key `{missing}`\nhint: {}", near(missing, known));
        return Err(Failure { cause: Cause::Usage, error });
    }
    Ok(())
}

/// Names that are shown of those that are there.
const NEAR_MAX: usize = 5;

/// Characters of names that are compared: longer ones differ early or not by a slip.
const COMPARED_CHARS_MAX: usize = 64;

fn near(missing: &str, known: &BTreeSet<&str>) -> String {
    let mut names: Vec<(usize, &str)> = known.iter().map(|name| (distance(missing, name), *name)).collect();
    names.sort_unstable();
    let shown: Vec<&str> = names.iter().take(NEAR_MAX).map(|(_, name)| *name).collect();
    match names.len() {
        0 => "it has no operations at all".to_owned(),
        all if all <= NEAR_MAX => format!("it has {}", shown.join(", ")),
        all => format!("nearest to it are {}, of {all} keys", shown.join(", ")),
    }
}

/// How many letters must be put in, taken out or changed (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().take(COMPARED_CHARS_MAX).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.chars().take(COMPARED_CHARS_MAX).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (column, found) in other.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *found);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_have_names() {
        assert_eq!("kv".parse(), Ok(Model::Keys(Keys::KeyValue)));
        assert_eq!("bank=5,0".parse(), Ok(Model::Object(Object::Bank(vec![5, 0]))));
        for wrong in ["", "bank", "bank=", "bank=1,x", "queue=3", "stack"] {
            assert!(wrong.parse::<Model>().unwrap_err().contains("cas-register"), "{wrong}");
        }
    }

    #[test]
    fn the_nearest_names_stand_first() {
        assert_eq!((distance("k1", "k1"), distance("k1", "k12"), distance("", "abc")), (0, 1, 3));
        assert_eq!(distance("kitten", "sitting"), 3);
        let known = BTreeSet::from(["k1", "k2", "k3", "k4", "k5", "k12", "other"]);
        assert!(near("k11", &known).starts_with("nearest to it are k1, k12, "), "{}", near("k11", &known));
        assert_eq!(near("x", &BTreeSet::from(["a", "b"])), "it has a, b");
    }
}
