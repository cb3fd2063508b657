//! `ordeal kv txn`: clauses such as `stock > 0` and `put order 7` to a transaction, and what came of it in words.

use clap::Args;
use serde_json::{Map, Value, json};

use super::outcome::{Printer, bytes_into, found_into, line_without_key, quoted};
use super::{Exit, with_codes};
use crate::client::{Client, TxnAnswer};
use crate::error::ClientError;
use crate::wire::Version;
use crate::wire::txn::{Compare, Operand, Relation, Txn, TxnOp, TxnResult};

pub(super) fn examples() -> String {
    with_codes(
        "\
Examples:
  ordeal kv txn --if '{7}stock > 0' --then 'put {7}order mine' --else 'get {7}stock' --endpoints 127.0.0.1:7101
  ordeal kv txn --if 'lock version = 1.42' --then 'append lock \", me too\"' --json --endpoints 127.0.0.1:7101

All keys stand in one shard: those with the same {tag} do. Exit code 1 says that a comparison did not hold, and that the
list of --else was done.",
    )
}

#[derive(Debug, Clone, Args)]
pub(super) struct TxnArgs {
    /// What must hold: `KEY = VALUE`, also !=, <, >; `KEY absent`, `KEY present`; `KEY version = 1.42`. A word in double
    /// quotes may hold spaces
    #[arg(long = "if", value_name = "CLAUSE", value_parser = compare)]
    compares: Vec<Compare>,
    /// Done if all of it holds: `get KEY`, `put KEY VALUE`, `append KEY VALUE`, `delete KEY`
    #[arg(long, value_name = "OPERATION", value_parser = operation)]
    then: Vec<TxnOp>,
    /// Done if not
    #[arg(long = "else", value_name = "OPERATION", value_parser = operation)]
    otherwise: Vec<TxnOp>,
}

pub(super) fn txn(client: &mut Client, args: TxnArgs, printer: &mut Printer<'_>) -> Exit {
    let TxnArgs { compares, then, otherwise } = args;
    let txn = Txn { compares, then, otherwise };
    match client.txn(&txn) {
        Ok(answer) => tell(&txn, &answer, printer),
        Err(error @ ClientError::Txn(_)) => printer.usage(&error.to_string(), "see: ordeal kv txn --help"),
        Err(error) => printer.failed("txn", txn.keys().next().unwrap_or_default(), &error),
    }
}

fn tell(txn: &Txn, answer: &TxnAnswer, printer: &mut Printer<'_>) -> Exit {
    let exit = if answer.succeeded { Exit::Done } else { Exit::Not };
    let done = txn.branch(answer.succeeded).iter().zip(&answer.results);
    if printer.json {
        let mut line = line_without_key("txn", if answer.succeeded { "done" } else { "differs" });
        line.insert("made".into(), json!(answer.made.to_string()));
        line.insert("results".into(), done.map(|(op, result)| as_json(op, result)).collect());
        line.insert("node".into(), json!(answer.node.to_string()));
        return printer.line(&line, exit);
    }
    let list = if answer.succeeded { "then" } else { "else" };
    let mut text = format!("{list}, version {}\n", answer.made);
    for (op, result) in done {
        text += &in_words(op, result);
        text.push('\n');
    }
    printer.result(text.as_bytes(), exit)
}

fn name_of(op: &TxnOp) -> &'static str {
    match op {
        TxnOp::Get { .. } => "get",
        TxnOp::Put { .. } => "put",
        TxnOp::Append { .. } => "append",
        TxnOp::Delete { .. } => "delete",
    }
}

fn in_words(op: &TxnOp, result: &TxnResult) -> String {
    let what = format!("{} {}", name_of(op), quoted(op.key()));
    match result {
        TxnResult::Value(Some((value, version))) => format!("{what}: {} at version {version}", quoted(value)),
        TxnResult::Value(None) => format!("{what}: absent"),
        TxnResult::Written { replaced: Some(version) } => format!("{what}: replaced {version}"),
        TxnResult::Written { replaced: None } => format!("{what}: the key was absent"),
    }
}

fn as_json(op: &TxnOp, result: &TxnResult) -> Value {
    let mut object = Map::new();
    object.insert("op".into(), json!(name_of(op)));
    bytes_into(&mut object, "key", op.key());
    match result {
        TxnResult::Value(found) => {
            found_into(&mut object, found.as_ref().map(|(value, version)| (value.as_slice(), *version)));
        }
        TxnResult::Written { replaced } => {
            object.insert("replaced".into(), json!(replaced.map(|version| version.to_string())));
        }
    }
    Value::Object(object)
}

/// A clause of `--if`.
fn compare(text: &str) -> Result<Compare, String> {
    let words = words(text)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let wrong = || "expected one like `KEY = VALUE`, `KEY absent` or `KEY version = 1.42`".to_owned();
    let (key, relation, with) = match words[..] {
        [key, "absent"] => (key, Relation::Equal, Operand::Value(None)),
        [key, "present"] => (key, Relation::NotEqual, Operand::Value(None)),
        [key, "version", relation, version] => {
            let version =
                version_of(version).ok_or_else(|| format!("`{version}` is no version like 1.42"))?;
            (key, relation_of(relation).ok_or_else(wrong)?, Operand::Version(Some(version)))
        }
        [key, relation, value] => {
            (key, relation_of(relation).ok_or_else(wrong)?, Operand::Value(Some(value.into())))
        }
        _ => return Err(wrong()),
    };
    Ok(Compare { key: key.into(), relation, with })
}

fn relation_of(text: &str) -> Option<Relation> {
    match text {
        "=" => Some(Relation::Equal),
        "!=" => Some(Relation::NotEqual),
        "<" => Some(Relation::Less),
        ">" => Some(Relation::Greater),
        _ => None,
    }
}

fn version_of(text: &str) -> Option<Version> {
    let (epoch, index) = text.split_once('.')?;
    Some(Version { epoch: epoch.parse().ok()?, index: index.parse().ok()? })
}

/// An operation of `--then` or `--else`.
fn operation(text: &str) -> Result<TxnOp, String> {
    let words = words(text)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["get", key] => Ok(TxnOp::Get { key: key.into() }),
        ["put", key, value] => Ok(TxnOp::Put { key: key.into(), value: value.into() }),
        ["append", key, tail] => Ok(TxnOp::Append { key: key.into(), tail: tail.into() }),
        ["delete", key] => Ok(TxnOp::Delete { key: key.into() }),
        _ => Err("expected `get KEY`, `put KEY VALUE`, `append KEY VALUE` or `delete KEY`".to_owned()),
    }
}

/// Words between spaces; one that begins with a double quote is a string of JSON.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, behind) = if rest.starts_with('"') {
            let mut strings = serde_json::Deserializer::from_str(rest).into_iter::<String>();
            let word = strings.next().and_then(Result::ok);
            let word = word
                .ok_or_else(|| format!("the quotes of {rest} are not closed, or it is no string of JSON"))?;
            (word, &rest[strings.byte_offset()..])
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            (rest[..end].to_owned(), &rest[end..])
        };
        words.push(word);
        rest = behind.trim_start();
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clauses_are_read_or_refused_with_an_example() {
        let of = |relation, with| Ok(Compare { key: b"a".to_vec(), relation, with });
        let value = |text: &str| Operand::Value(Some(text.into()));
        assert_eq!(compare("a = 1"), of(Relation::Equal, value("1")));
        assert_eq!(compare(" a  !=  \"two words\" "), of(Relation::NotEqual, value("two words")));
        assert_eq!(compare("a > ="), of(Relation::Greater, value("=")));
        assert_eq!(compare("a absent"), of(Relation::Equal, Operand::Value(None)));
        assert_eq!(compare("a present"), of(Relation::NotEqual, Operand::Value(None)));
        let version = Operand::Version(Some(Version { epoch: 1, index: 42 }));
        assert_eq!(compare("a version < 1.42"), of(Relation::Less, version));
        for wrong in ["", "a", "a == 1", "a = 1 2", "a = \"1", "a version = 42"] {
            assert!(compare(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn operations_are_read_or_refused_with_an_example() {
        assert_eq!(operation("get a"), Ok(TxnOp::Get { key: b"a".to_vec() }));
        let (key, value) = (b"a".to_vec(), b"x y".to_vec());
        assert_eq!(operation("put a \"x y\""), Ok(TxnOp::Put { key: key.clone(), value }));
        assert_eq!(operation("append a \"\""), Ok(TxnOp::Append { key: key.clone(), tail: Vec::new() }));
        assert_eq!(operation("delete a"), Ok(TxnOp::Delete { key }));
        for wrong in ["", "get", "get a b", "put a", "set a b"] {
            assert!(operation(wrong).is_err_and(|error| error.contains("put KEY VALUE")), "{wrong}");
        }
    }
}
