//! `ordeal kv`: exit codes, what goes to stdout and what to stderr, and examples that work.

use std::io::{self, Write};

use clap::{CommandFactory, Parser};
use ordeal_client::cli::{Exit, KvArgs, execute};
use ordeal_client::wire::txn::TxnResult;
use ordeal_client::wire::{RefusalReason, Reply};

use crate::fake::{Act, Fake, alone, on_write, refuse, seats, version, written};

/// The binary's own frame around the commands.
#[derive(Parser)]
#[command(name = "ordeal")]
enum Ordeal {
    Kv(KvArgs),
}

struct Ran {
    exit: Exit,
    out: String,
    err: String,
}

fn ran(words: &[&str], input: &str) -> Ran {
    let Ordeal::Kv(args) = Ordeal::try_parse_from(["ordeal", "kv"].iter().chain(words))
        .unwrap_or_else(|e| panic!("{words:?}: {e}"));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = execute(args, &mut input.as_bytes(), &mut out, &mut err);
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Ran { exit, out: text(out), err: text(err) }
}

fn run(node: &Fake, words: &[&str]) -> Ran {
    ran(&[words, &["--endpoints", node.address()]].concat(), "")
}

fn check(script: impl Fn() -> Act + Send + 'static, words: &[&str], exit: Exit, out: &str, err: &str) {
    let node = alone(move |request| match request.body {
        ordeal_client::wire::RequestBody::OpenSession { .. } => Act::Behave,
        _ => script(),
    });
    let ran = run(&node, words);
    assert_eq!((ran.exit, ran.out.as_str()), (exit, out), "{words:?}: {}", ran.err);
    assert!(ran.err.contains(err), "{words:?}: `{}` does not say `{err}`", ran.err);
    assert_eq!(ran.err.is_empty(), err.is_empty(), "{words:?}: {}", ran.err);
}

#[test]
fn results_go_to_stdout_and_outcomes_to_the_exit_code() {
    let value = |bytes: &'static [u8]| move || Act::Say(Reply::Value(Some((bytes.to_vec(), version(7)))));
    check(value(b"hello"), &["get", "k"], Exit::Done, "hello\n", "");
    check(value(b""), &["get", "k"], Exit::Done, "\n", "");
    check(value(b"old"), &["get", "k", "--read-level", "stale"], Exit::Done, "old\n", "");
    check(|| Act::Say(Reply::Value(None)), &["get", "k"], Exit::Not, "", "key \"k\" is absent");

    let done = |replaced| move || Act::Say(Reply::Written { made: version(9), replaced });
    check(done(None), &["put", "k", "v"], Exit::Done, "version 1.9, the key was absent\n", "");
    check(done(Some(version(8))), &["append", "k", "v"], Exit::Done, "version 1.9, replaced 1.8\n", "");
    check(done(Some(version(8))), &["delete", "k"], Exit::Done, "version 1.9, replaced 1.8\n", "");
    check(
        done(Some(version(8))),
        &["cas", "k", "v", "--expect", "w"],
        Exit::Done,
        "version 1.9, replaced 1.8\n",
        "",
    );
    let cas_failed = || Act::Say(Reply::CasFailed { found: Some((b"x\n".to_vec(), version(3))) });
    check(cas_failed, &["cas", "k", "v", "--absent"], Exit::Not, "", "key \"k\" is \"x\\n\" at version 1.3");
    check(
        || Act::Say(Reply::CasFailed { found: None }),
        &["cas", "k", "v", "--expect", "w"],
        Exit::Not,
        "",
        "absent",
    );

    let txn = |succeeded| {
        move || {
            let found = TxnResult::Value(Some((b"x".to_vec(), version(7))));
            let results = vec![found, TxnResult::Written { replaced: None }];
            Act::Say(Reply::Txn { succeeded, made: version(9), results })
        }
    };
    let lists = [
        "txn", "--if", "k = x", "--then", "get k", "--then", "put l v", "--else", "get m", "--else",
        "delete n",
    ];
    let told = "then, version 1.9\nget \"k\": \"x\" at version 1.7\nput \"l\": the key was absent\n";
    check(txn(true), &lists, Exit::Done, told, "");
    let told = "else, version 1.9\nget \"m\": \"x\" at version 1.7\ndelete \"n\": the key was absent\n";
    check(txn(false), &lists, Exit::Not, told, "");
    check(|| Act::Behave, &["txn", "--then", "put k 1", "--then", "delete k"], Exit::Usage, "", "k twice");
    check(|| Act::Behave, &["txn"], Exit::Usage, "", "without a key");

    let brief = ["put", "k", "v", "--timeout", "1s"];
    check(|| Act::HangUp, &brief, Exit::Unknown, "", "it may have happened");
    check(|| refuse(RefusalReason::Busy), &brief, Exit::NotDone, "", "busy");
    check(|| Act::HangUp, &["get", "k", "--timeout", "1s"], Exit::NotDone, "", "connection closed");
}

#[test]
fn json_is_one_versioned_line() {
    let json = |script: fn() -> Act, words: &[&str]| -> (Exit, serde_json::Value) {
        let node = alone(on_write(move |_, _| script()));
        let ran = run(&node, &[words, &["--json"]].concat());
        assert_eq!(ran.out.lines().count(), 1, "{}", ran.out);
        (ran.exit, serde_json::from_str(&ran.out).expect("json"))
    };
    let done = serde_json::json!({
        "v": 1, "command": "put", "outcome": "done", "key": "k", "made": "1.9", "replaced": null, "node": "n1",
    });
    assert_eq!(json(|| Act::Say(written(9)), &["put", "k", "v"]), (Exit::Done, done));
    let got = serde_json::json!({
        "v": 1, "command": "get", "outcome": "done", "key": "k", "value": "value", "version": "1.7", "node": "n1",
    });
    assert_eq!(json(|| Act::Behave, &["get", "k"]), (Exit::Done, got));
    let (exit, unknown) = json(|| Act::HangUp, &["append", "k", "v", "--timeout", "1s"]);
    assert_eq!((exit, &unknown["outcome"]), (Exit::Unknown, &serde_json::json!("unknown")));
    let binary = || Act::Say(Reply::CasFailed { found: Some((vec![0xff, 0], version(3))) });
    let (exit, differs) = json(binary, &["cas", "k", "v", "--absent"]);
    assert_eq!((exit, &differs["value_hex"]), (Exit::Not, &serde_json::json!("ff00")));
    let (exit, status) = json(|| Act::Behave, &["status"]);
    assert_eq!((exit, &status["groups"][0]["digest"]), (Exit::Done, &serde_json::json!("0000000000d16e57")));
}

#[test]
fn a_value_comes_from_standard_input_too() {
    let node = alone(|_| Act::Behave);
    let ran = ran(&["put", "k", "-", "--endpoints", node.address()], "from\nstdin");
    assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
    let last = node.seen().pop().expect("a write");
    let ordeal_client::wire::RequestBody::Write { op, .. } = last else { panic!("{last:?}") };
    assert_eq!(op, ordeal_client::wire::WriteOp::Put(b"from\nstdin".to_vec()));
}

#[test]
fn status_lists_who_answers_and_who_does_not() {
    let node = alone(|_| Act::Behave);
    let [empty] = seats();
    let gone = empty.address.clone();
    drop(empty);
    let both = format!("{},{gone}", node.address());
    let Ran { exit, out, err } = ran(&["status", "--endpoints", &both], "");
    assert_eq!(exit, Exit::Done, "{err}");
    let lines: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0][..4], ["endpoint", "node", "group", "role"]);
    let row = [
        node.address(),
        "n1",
        "g1",
        "leader",
        "3",
        "n1",
        "42",
        "41",
        "10..43",
        "2048",
        "9/1234",
        "0000000000d16e57",
        "5",
        "2",
    ];
    assert_eq!(lines[1], row);
    assert_eq!(lines[3], ["leader", "group", "peer", "match", "next", "mode", "in", "flight", "heard"]);
    assert_eq!(lines[4], ["n1", "g1", "n2", "41", "44", "replicate", "2", "30", "ms", "ago"]);
    assert_eq!(lines[5][..4], [gone.as_str(), "does", "not", "answer:"]);

    let nobody = ran(&["status", "--endpoints", &gone], "");
    assert_eq!(nobody.exit, Exit::NotDone);
    assert!(nobody.out.contains("does not answer") && nobody.err.contains("hint:"), "{}", nobody.err);
}

/// Closed after so many bytes of results.
struct Reader {
    seen: Vec<u8>,
    enough: usize,
}

impl std::io::Write for Reader {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.seen.len() >= self.enough {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        self.seen.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn watch_tells_again_and_again_until_nobody_reads() {
    let node = alone(|_| Act::Behave);
    let words = ["status", "--watch", "--interval", "100ms", "--json", "--endpoints", node.address()];
    let Ordeal::Kv(args) = Ordeal::try_parse_from(["ordeal", "kv"].iter().chain(&words)).expect("flags");
    let mut out = Reader { seen: Vec::new(), enough: 1_200 };
    let exit = execute(args, &mut std::io::empty(), &mut out, &mut Vec::new());
    assert_eq!(exit, Exit::Done);
    let text = String::from_utf8(out.seen).expect("text");
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("json")).collect();
    assert!(lines.len() > 1, "{text}");
    for line in lines {
        assert_eq!((&line["v"], &line["groups"][0]["peers"][0]["mode"]), (&1.into(), &"replicate".into()));
    }
    let refused = Ordeal::try_parse_from(["ordeal", "kv", "status", "--interval", "1s"]);
    assert!(refused.is_err(), "an interval is one of --watch");
}

#[test]
fn missing_or_wrong_endpoints_are_usage_with_a_hint() {
    for words in [&["get", "k", "--endpoints", ""], &["get", "k", "--endpoints", "nowhere"]] {
        for command in [words.to_vec(), vec!["status", words[2], words[3]]] {
            let ran = ran(&command, "");
            assert_eq!((ran.exit, ran.out.as_str()), (Exit::Usage, ""), "{command:?}");
            assert!(ran.err.contains("hint: "), "{command:?}: {}", ran.err);
        }
    }
    let ran = ran(&["get", "k", "--endpoints", ""], "");
    assert!(ran.err.contains("ordeal cluster up") && ran.err.contains("ORDEAL_ENDPOINTS"), "{}", ran.err);
}

#[test]
fn flags_that_contradict_or_miss_are_refused() {
    let wrong: [&[&str]; 6] = [
        &["cas", "k", "v"],
        &["cas", "k", "v", "--absent", "--expect", "w"],
        &["put", "k"],
        &["get", "k", "--timeout", "5"],
        &["get", "k", "--read-level", "eventual"],
        &["fetch", "k"],
    ];
    for words in wrong {
        let parsed = Ordeal::try_parse_from(["ordeal", "kv"].iter().chain(words));
        let error = parsed.err().unwrap_or_else(|| panic!("{words:?} was taken"));
        assert_eq!(error.exit_code(), 2, "{words:?}");
    }
}

/// Whoever reads has seen enough.
struct ClosedPipe;

impl Write for ClosedPipe {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_closed_pipe_is_success() {
    let node = alone(|_| Act::Behave);
    for command in [&["get", "k"][..], &["status"], &["get", "k", "--json"]] {
        let words = [&["ordeal", "kv"], command, &["--endpoints", node.address()]].concat();
        let Ordeal::Kv(args) = Ordeal::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
        let mut err = Vec::new();
        assert_eq!(execute(args, &mut io::empty(), &mut ClosedPipe, &mut err), Exit::Done);
        assert!(err.is_empty(), "{err:?}");
    }
}

#[test]
fn every_command_has_two_examples_and_they_work() {
    let mut ordeal = Ordeal::command();
    ordeal.build();
    let kv = ordeal.find_subcommand_mut("kv").expect("there").clone();
    let commands = kv.get_subcommands().filter(|command| command.get_name() != "help");
    let mut names = Vec::new();
    for command in std::iter::once(&kv).chain(commands) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples: Vec<&str> = help.lines().filter_map(|line| line.strip_prefix("  ordeal kv ")).collect();
        assert_eq!(examples.len(), 2, "{}: {help}", command.get_name());
        examples.into_iter().for_each(example_works);
        names.push(command.get_name());
    }
    assert_eq!(
        names,
        [
            "kv", "get", "put", "append", "delete", "cas", "txn", "watch", "status", "bench", "member",
            "transfer", "shards", "groups"
        ]
    );
}

/// Runs an example as it stands, but for the address.
fn example_works(example: &str) {
    let node = alone(|_| Act::Behave);
    let (command, endpoints) = example.split_once(" --endpoints ").expect("endpoints come last");
    assert!(endpoints.split(',').all(|endpoint| endpoint.starts_with("127.0.0.1:710")), "{example}");
    let mut words: Vec<String> = Vec::new();
    for (at, part) in command.split('\'').enumerate() {
        if at % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if words[0] == "watch" {
        // It goes on until it is interrupted: that it is understood is enough.
        assert!(Ordeal::try_parse_from(["ordeal", "kv"].iter().chain(&words)).is_ok(), "{example}");
        return;
    }
    let ran = run(&node, &words);
    assert_eq!(ran.exit, Exit::Done, "{example}: {}", ran.err);
    assert!(!ran.out.is_empty(), "{example}");
}
