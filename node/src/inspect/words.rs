//! An entry in words, such as `put "x" = "1" in s7, write 3 of session 12`.

use ordeal_client::wire::txn::Txn;
use ordeal_client::wire::{AdminChange, GroupId, MoveEnd};

use crate::controller;
use crate::engine::CONTROLLER;
use crate::kv::Op;
use crate::raft::{LogId, Payload};
use crate::shard::Command;
use crate::shard::moving::Step;
use crate::storage::decode_entry;

/// Bytes of a key or a value that are shown: about half a line.
const BYTES_SHOWN: usize = 48;

/// What an entry of a node's log says; the error is why nobody can tell.
pub(super) fn of(group: u64, id: LogId, content: &[u8]) -> Result<String, String> {
    match decode_entry(id, content)?.payload {
        Payload::Noop => Ok("no-op of a new leader".to_owned()),
        Payload::Membership(membership) => Ok(format!("membership {membership}")),
        Payload::Command(command) if group == u64::from(CONTROLLER.0) => {
            let command = controller::Command::decode(&command).map_err(|error| error.to_string())?;
            Ok(order_in_words(&command))
        }
        Payload::Command(command) => {
            let command = Command::decode(&command).map_err(|error| error.to_string())?;
            Ok(command_in_words(&command))
        }
    }
}

/// A command to the controller.
fn order_in_words(command: &controller::Command) -> String {
    let of = |groups: Vec<&GroupId>| groups.iter().map(|group| format!(" {group}")).collect::<String>();
    match command {
        controller::Command::Admin { id: _, base, change } => {
            let what = match change {
                AdminChange::Join(groups) => format!("join of{}", of(groups.keys().collect())),
                AdminChange::Create { groups, .. } => format!("the making of{}", of(groups.keys().collect())),
                AdminChange::Leave(groups) => format!("leave of{}", of(groups.iter().collect())),
                AdminChange::Move { shard, to } => format!("move of {shard} to {to}"),
                AdminChange::CancelMove { shard } => format!("the move of {shard} called off"),
            };
            format!("{what}, based on configuration {base}")
        }
        controller::Command::GroupMembers { group, at, members } => {
            format!("{group} has {} members as of its entry {at}", members.len())
        }
        controller::Command::MoveEnd { shard, id, end: MoveEnd::Adopted } => {
            format!("move {id} of {shard} is done")
        }
        controller::Command::MoveEnd { shard, id, end: MoveEnd::Cancelled } => {
            format!("move {id} of {shard} came to nothing")
        }
    }
}

fn command_in_words(command: &Command<'_>) -> String {
    match *command {
        Command::OpenSession { shard } => format!("open a session in {shard}"),
        Command::Write { shard, session, sequence, settled: _, key, op } => {
            let key = quoted(key);
            let what = match op {
                Op::Put(value) => format!("put {key} = {}", quoted(value)),
                Op::Append(tail) => format!("append to {key}: {}", quoted(tail)),
                Op::Delete => format!("delete {key}"),
                Op::Txn(bytes) => txn_in_words(bytes),
                Op::Cas { expected, new } => {
                    let expected = expected.map_or_else(|| "absent".to_owned(), quoted);
                    format!("compare {key} with {expected} and set {}", quoted(new))
                }
            };
            format!("{what} in {shard}, write {sequence} of session {}", session.0)
        }
        Command::Move { shard, id, step } => format!("move {id} of {shard}: {}", step_in_words(step)),
    }
}

fn txn_in_words(bytes: &[u8]) -> String {
    match Txn::from_bytes(bytes) {
        Ok(Txn { compares, then, otherwise }) => {
            let (compares, then, otherwise) = (compares.len(), then.len(), otherwise.len());
            format!(
                "transaction of {compares} comparisons, {then} operations if they hold and {otherwise} if not,"
            )
        }
        Err(error) => format!("a transaction that is none ({error})"),
    }
}

fn step_in_words(step: Step<'_>) -> String {
    match step {
        Step::ExportBegin { epoch, to } => format!("export to {to} begins in epoch {epoch}"),
        Step::Freeze => "frozen".to_owned(),
        Step::ExportDone => "the other has it".to_owned(),
        Step::ExportCancel => "called off".to_owned(),
        Step::Unfreeze => "refused by the other, served again".to_owned(),
        Step::ImportBegin { epoch, from } => format!("import from {from} begins, for epoch {epoch}"),
        Step::Parcel { bytes } => format!("a part of {} bytes", bytes.len()),
        Step::Adopt { seal, bytes } => {
            format!("the last part of {} bytes, of {} keys", bytes.len(), seal.keys)
        }
        Step::Refuse { epoch } => format!("refused for epoch {epoch}"),
    }
}

/// Bytes in quotes, whatever is no plain text escaped, and no more than half a line of them.
fn quoted(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(BYTES_SHOWN)];
    let more = if shown.len() < bytes.len() { format!("… ({} bytes)", bytes.len()) } else { String::new() };
    match std::str::from_utf8(shown) {
        Ok(text) => format!("{text:?}{more}"),
        Err(_) => format!("\"{}\"{more}", shown.escape_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use ordeal_client::wire::{CommandId, SessionId, ShardId};

    use super::*;

    #[test]
    fn commands_are_told_in_words() {
        let write = |op| Command::Write {
            shard: ShardId(7),
            session: SessionId(12),
            sequence: 3,
            settled: 2,
            key: b"x",
            op,
        };
        for (command, expected) in [
            (Command::OpenSession { shard: ShardId(7) }, "open a session in s7"),
            (write(Op::Put(b"1")), "put \"x\" = \"1\" in s7, write 3 of session 12"),
            (write(Op::Append(b"\xff")), "append to \"x\": \"\\xff\" in s7, write 3 of session 12"),
            (write(Op::Delete), "delete \"x\" in s7, write 3 of session 12"),
            (
                write(Op::Cas { expected: None, new: b"2" }),
                "compare \"x\" with absent and set \"2\" in s7, write 3 of session 12",
            ),
        ] {
            assert_eq!(command_in_words(&command), expected);
            // As it lies in the log: one byte that says "a command", and the command.
            let content = [&[1], &command.encode()[..]].concat();
            assert_eq!(of(1, LogId::new(1, 1), &content), Ok(expected.to_owned()));
        }
        assert_eq!(of(1, LogId::new(1, 1), &[0]), Ok("no-op of a new leader".to_owned()));
        let order = controller::Command::Admin {
            id: CommandId(1),
            base: 3,
            change: AdminChange::Move { shard: ShardId(7), to: GroupId(2) },
        };
        let content = [&[1], &order.encode()[..]].concat();
        let expected = "move of s7 to g2, based on configuration 3";
        assert_eq!(of(0, LogId::new(1, 1), &content), Ok(expected.to_owned()));
        assert!(quoted(&[b'x'; 1_000]).ends_with("xx\"… (1000 bytes)"));
    }

    #[test]
    fn bytes_of_somebody_else_are_told_as_such() {
        for strange in [&[][..], &[9, 9, 9], &[1, 200, 1, 2]] {
            assert!(of(1, LogId::new(1, 1), strange).is_err(), "{strange:?}");
        }
    }
}
