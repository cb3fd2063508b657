//! `ordeal kv`: reads and writes from a shell. Values go to stdout, everything else to stderr, and the exit code keeps
//! the outcomes apart, so that a script can tell *not done* from *unknown*.

mod bar;
mod bench;
mod joining;
mod member;
mod outcome;
mod shards;
mod status;
mod txn;
mod watch;

use std::ffi::OsString;
use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};

use crate::client::Client;
use crate::config::{ClientConfig, DEADLINE_DEFAULT, Prefer};
use crate::wire::{ReadLevel, VALUE_BYTES_MAX};
use outcome::Printer;

/// Time for one node to tell its status, unless asked otherwise: a healthy one takes a millisecond.
const STATUS_TIMEOUT_DEFAULT: Duration = Duration::from_secs(1);

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the key is absent (get), or its value is another than expected (cas), or a comparison does not hold (txn)
  2  usage
  4  outcome unknown: it may have happened, or may yet happen
  5  surely not done: no node could be reached, or the cluster refused";

/// Read and write keys of a cluster.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct KvArgs {
    #[command(subcommand)]
    command: KvCommand,
    /// Where nodes answer, separated by commas; one is enough, the others are learnt from it
    #[arg(long, global = true, env = "ORDEAL_ENDPOINTS", value_delimiter = ',', value_name = "HOST:PORT,…")]
    endpoints: Vec<String>,
    /// Time for the whole operation, like 500ms or 5s [default: 5s; status: 1s a node; member and transfer: 60s a group; shards and groups: 60s]
    #[arg(long, global = true, value_parser = parse_timeout)]
    timeout: Option<Duration>,
    /// One line of JSON on stdout for each result
    #[arg(long, global = true)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  ordeal kv put greeting hello --endpoints 127.0.0.1:7101
  ordeal kv get greeting --endpoints 127.0.0.1:7101,127.0.0.1:7102

Exit codes: 0 done, 1 absent or not as expected, 2 usage, 4 outcome unknown, 5 surely not done.";

#[derive(Debug, Clone, Subcommand)]
enum KvCommand {
    /// Print the value of a key; exit code 1 if it is absent
    #[command(after_help = with_codes("\
Examples:
  ordeal kv get greeting --endpoints 127.0.0.1:7101
  ordeal kv get greeting --read-level stale --endpoints 127.0.0.1:7102"))]
    Get {
        /// The key
        key: OsString,
        /// How fresh, and by whom: `follower` is linearizable, too, but answered by the first endpoint, leader or not; `stale`
        /// by the first endpoint from what it has, however old
        #[arg(long, value_enum, default_value = "linearizable")]
        read_level: Level,
    },
    /// Set a key
    #[command(after_help = with_codes("\
Examples:
  ordeal kv put greeting hello --endpoints 127.0.0.1:7101
  ordeal kv put greeting --json hello --endpoints 127.0.0.1:7101"))]
    Put {
        /// The key
        key: OsString,
        /// The value; `-` reads it from standard input
        value: OsString,
    },
    /// Add to the end of a key's value; an absent one counts as empty
    #[command(after_help = with_codes("\
Examples:
  ordeal kv append greeting ', world' --endpoints 127.0.0.1:7101
  ordeal kv append log entry --timeout 10s --endpoints 127.0.0.1:7101"))]
    Append {
        /// The key
        key: OsString,
        /// What to add; `-` reads it from standard input
        value: OsString,
    },
    /// Remove a key; it need not be there
    #[command(after_help = with_codes("\
Examples:
  ordeal kv delete greeting --endpoints 127.0.0.1:7101
  ordeal kv delete greeting --json --endpoints 127.0.0.1:7101"))]
    Delete {
        /// The key
        key: OsString,
    },
    /// Set a key if its value is as expected; exit code 1, and what was found, if not
    #[command(group = ArgGroup::new("expectation").required(true))]
    #[command(after_help = with_codes("\
Examples:
  ordeal kv cas greeting hi --expect hello --endpoints 127.0.0.1:7101
  ordeal kv cas lock mine --absent --endpoints 127.0.0.1:7101"))]
    Cas {
        /// The key
        key: OsString,
        /// The value to set; `-` reads it from standard input
        new: OsString,
        /// The value that must be there
        #[arg(long, group = "expectation", value_name = "VALUE")]
        expect: Option<OsString>,
        /// The key must be absent
        #[arg(long, group = "expectation")]
        absent: bool,
    },
    /// Compare keys of one shard, and do one list of operations or another, as one write; exit code 1 if a comparison did not hold
    #[command(after_help = txn::examples())]
    Txn(txn::TxnArgs),
    /// Print each change of a key, or of all keys with a prefix, as it comes, until interrupted
    #[command(after_help = watch::examples())]
    Watch(watch::WatchArgs),
    /// Show how the nodes at the endpoints are: a line for each of their groups, and what leaders know of the others
    #[command(after_help = with_codes("\
Examples:
  ordeal kv status --endpoints 127.0.0.1:7101,127.0.0.1:7102,127.0.0.1:7103
  ordeal kv status --json --endpoints 127.0.0.1:7101"))]
    Status(status::StatusArgs),
    /// Measure how fast the cluster answers: clients that read and write the keys `bench-<n>`
    #[command(after_help = bench::EXAMPLES)]
    Bench(bench::BenchArgs),
    /// Show and change who belongs to the groups
    Member(member::MemberArgs),
    /// Hand the leadership of groups over
    Transfer(member::TransferArgs),
    /// Show which group owns which shards, and move them
    Shards(shards::ShardsArgs),
    /// Show the groups that own shards, and let some leave or join again
    Groups(shards::GroupsArgs),
}

fn with_codes(examples: &str) -> String {
    format!("{examples}\n\n{EXIT_CODES}")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Level {
    /// Sees every write that was acknowledged before the read began
    Linearizable,
    /// The same, answered by the node that is asked, whether it leads or not
    Follower,
    /// From the local state of the node that is asked
    Stale,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// The key is absent, or its value is another than expected.
    Not = 1,
    /// What was asked for makes no sense; nothing was tried.
    Usage = 2,
    /// It may have happened.
    Unknown = 4,
    /// Surely not done.
    NotDone = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Runs a command on the process's own standard streams.
#[must_use]
pub fn run(args: KvArgs) -> ExitCode {
    let terminals = Terminals { on_out: io::stdout().is_terminal(), on_err: io::stderr().is_terminal() };
    execute_with(args, terminals, &mut io::stdin(), &mut io::stdout(), &mut io::stderr()).into()
}

/// Runs a command on the given streams. Whoever closes `out` early has seen enough: the exit code stays.
pub fn execute(args: KvArgs, input: &mut dyn Read, out: &mut dyn Write, err: &mut dyn Write) -> Exit {
    execute_with(args, Terminals::default(), input, out, err)
}

/// Which of the streams somebody watches.
#[derive(Debug, Clone, Copy, Default)]
struct Terminals {
    on_out: bool,
    on_err: bool,
}

/// Runs a command; what takes long tells its progress where somebody watches.
fn execute_with(
    args: KvArgs,
    terminals: Terminals,
    input: &mut dyn Read,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Exit {
    let mut printer = Printer::new(args.json, out, err);
    let endpoints: Vec<String> = args
        .endpoints
        .iter()
        .map(|endpoint| endpoint.trim().to_owned())
        .filter(|endpoint| !endpoint.is_empty())
        .collect();
    if endpoints.is_empty() {
        return printer.usage(
            "no endpoints: where are the nodes?",
            "start a cluster with `ordeal cluster up`, then give --endpoints or set ORDEAL_ENDPOINTS, \
             like --endpoints 127.0.0.1:7101",
        );
    }
    let deadline = args.timeout.unwrap_or(DEADLINE_DEFAULT);
    match args.command {
        KvCommand::Status(status) => {
            let timeout = args.timeout.unwrap_or(STATUS_TIMEOUT_DEFAULT);
            return status::status(&endpoints, timeout, &status, terminals.on_out, &mut printer);
        }
        KvCommand::Bench(args) => {
            return bench::bench(endpoints, deadline, &args, terminals.on_err, &mut printer);
        }
        KvCommand::Member(command) => return member::member(endpoints, args.timeout, &command, &mut printer),
        KvCommand::Transfer(command) => {
            return member::transfer(endpoints, args.timeout, &command, &mut printer);
        }
        KvCommand::Shards(command) => {
            return shards::shards(endpoints, args.timeout, &command, terminals.on_err, &mut printer);
        }
        KvCommand::Groups(command) => {
            return shards::groups(endpoints, args.timeout, &command, terminals.on_err, &mut printer);
        }
        _ => {}
    }
    let config = ClientConfig {
        deadline,
        seed: u64::from(std::process::id()),
        prefer: Some(Prefer::Endpoint(0)),
        ..ClientConfig::new(endpoints)
    };
    if let KvCommand::Watch(args) = args.command {
        return watch::watch(config, args, &mut printer);
    }
    match Client::new(config) {
        Ok(client) => operate(client, args.command, input, &mut printer),
        Err(error) => printer.usage(&error.to_string(), "an endpoint is host:port, like 127.0.0.1:7101"),
    }
}

fn operate(mut client: Client, command: KvCommand, input: &mut dyn Read, printer: &mut Printer<'_>) -> Exit {
    let mut value_of = |text: OsString| value(text, input);
    match command {
        KvCommand::Get { key, read_level } => {
            let key = key.into_encoded_bytes();
            let outcome = client.get(&key, read_level.into());
            printer.got(&key, outcome)
        }
        KvCommand::Put { key, value } => match value_of(value) {
            Ok(value) => {
                let key = key.into_encoded_bytes();
                let outcome = client.put(&key, &value);
                printer.written("put", &key, outcome)
            }
            Err(error) => printer.usage_of_input(&error),
        },
        KvCommand::Append { key, value } => match value_of(value) {
            Ok(value) => {
                let key = key.into_encoded_bytes();
                let outcome = client.append(&key, &value);
                printer.written("append", &key, outcome)
            }
            Err(error) => printer.usage_of_input(&error),
        },
        KvCommand::Delete { key } => {
            let key = key.into_encoded_bytes();
            let outcome = client.delete(&key);
            printer.written("delete", &key, outcome)
        }
        KvCommand::Cas { key, new, expect, absent: _ } => match value_of(new) {
            Ok(new) => {
                let key = key.into_encoded_bytes();
                let expect = expect.map(OsString::into_encoded_bytes);
                let outcome = client.cas(&key, expect.as_deref(), &new);
                printer.cas(&key, outcome)
            }
            Err(error) => printer.usage_of_input(&error),
        },
        KvCommand::Txn(args) => txn::txn(&mut client, args, printer),
        KvCommand::Status(_)
        | KvCommand::Bench(_)
        | KvCommand::Watch(_)
        | KvCommand::Member(_)
        | KvCommand::Transfer(_)
        | KvCommand::Shards(_)
        | KvCommand::Groups(_) => {
            unreachable!("they make clients of their own")
        }
    }
}

/// A value from the command line, or from standard input. One byte beyond the limit is read, so that it is noticed.
fn value(text: OsString, input: &mut dyn Read) -> io::Result<Vec<u8>> {
    if text != "-" {
        return Ok(text.into_encoded_bytes());
    }
    let limit = u64::try_from(VALUE_BYTES_MAX).map_err(|_| ErrorKind::FileTooLarge)?;
    let mut bytes = Vec::new();
    input.take(limit + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl From<Level> for ReadLevel {
    fn from(level: Level) -> ReadLevel {
        match level {
            Level::Linearizable => ReadLevel::Linearizable,
            Level::Follower => ReadLevel::Follower,
            Level::Stale => ReadLevel::Stale,
        }
    }
}

/// A time like `500ms`, `5s` or `2m`; longer than 0 and at most an hour, as nobody waits longer for one key.
fn parse_timeout(text: &str) -> Result<Duration, String> {
    match milliseconds(text)? {
        Some(ms) if (1..=3_600_000).contains(&ms) => Ok(Duration::from_millis(ms)),
        _ => Err("expected more than 0 and at most 60m".to_owned()),
    }
}

/// A number and its unit; `None` when it is beyond all bounds.
fn milliseconds(text: &str) -> Result<Option<u64>, String> {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
    let number_of = |&(unit, ms): &(&str, u64)| Some((text.strip_suffix(unit)?.parse::<u64>().ok()?, ms));
    let (number, ms) =
        units.iter().find_map(number_of).ok_or_else(|| "expected a time like 500ms, 5s or 2m".to_owned())?;
    Ok(number.checked_mul(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_have_units() {
        let ms = |text: &str| parse_timeout(text).map(|time| time.as_millis()).ok();
        assert_eq!(ms("500ms"), Some(500));
        assert_eq!(ms("5s"), Some(5_000));
        assert_eq!(ms("2m"), Some(120_000));
        for wrong in ["5", "s", "0s", "-1s", "1.5s", "61m", "99999999999999999999s", "18446744073709551615m"]
        {
            assert_eq!(ms(wrong), None, "{wrong}");
        }
    }
}
