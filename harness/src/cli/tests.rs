//! The commands with good and bad flags and files, each with its exit code.

use std::fs;
use std::path::Path;

use clap::{CommandFactory, Parser};

use super::*;
use crate::plan::{FaultKind, Plan, draw};
use crate::store::{EventLog, RunDir, Store};

#[derive(Parser)]
#[command(name = "ordeal")]
struct Top {
    #[command(subcommand)]
    command: HarnessCommand,
}

fn execute(words: &[&str]) -> ExitCode {
    Top::try_parse_from([&["ordeal"], words].concat()).expect("good flags").command.execute()
}

fn exits(words: &[&str], code: u8) {
    assert_eq!(execute(words), ExitCode::from(code), "{words:?}");
}

const HEADER: &str = "{\"ordeal-history\":1,\"model\":\"key-value\"}\n";
const WRITE_A: &str = "{\"invoke\":{\"op\":0,\"client\":1,\"key\":\"k\",\"time_ns\":1000,\"call\":{\"write\":\"a\"}}}\n\
    {\"return\":{\"op\":0,\"time_ns\":2000,\"ok\":\"done\"}}\n";

fn read_at_3000(answer: &str) -> String {
    format!(
        "{{\"invoke\":{{\"op\":1,\"client\":2,\"key\":\"k\",\"time_ns\":3000,\"call\":\"read\"}}}}\n\
         {{\"return\":{{\"op\":1,\"time_ns\":4000,\"ok\":{{\"value\":{answer}}}}}}}\n"
    )
}

fn checks(content: &str, code: u8) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("history.jsonl");
    fs::write(&file, content).unwrap();
    exits(&["check", file.to_str().unwrap()], code);
    exits(&["check", file.to_str().unwrap(), "--json"], code);
}

#[test]
fn check_judges_files_written_by_hand() {
    checks(&format!("{HEADER}{WRITE_A}{}", read_at_3000("\"a\"")), 0);
    checks(&format!("{HEADER}{WRITE_A}{}", read_at_3000("null")), 10);
    checks(&format!("{HEADER}{WRITE_A}{}", read_at_3000("\"b\"")), 10);
    // Where nothing was asked nothing was shown.
    checks(HEADER, 11);
}

#[test]
fn check_takes_a_torn_end_and_refuses_other_damage() {
    let good = format!("{HEADER}{WRITE_A}{}", read_at_3000("\"a\""));
    checks(&good[..good.len() - 20], 0);
    checks(&good.replacen("\"op\":0", "\"op\"0", 1), 3);
    checks(&good.replacen("{\"invoke\"", "{\"invented\"", 1), 3);
    checks("", 3);
    checks("no history\n", 3);
    let without_call = format!("{HEADER}{{\"return\":{{\"op\":7,\"time_ns\":2000,\"ok\":\"done\"}}}}\n");
    checks(&without_call, 3);
    exits(&["check", "/nowhere/history.jsonl", "--store", "/nowhere"], 3);
}

const EDN: &str = "{:process 0, :type :invoke, :f :write, :value 3}\n\
    {:process 0, :type :ok, :f :write, :value 3}\n{:process 1, :type :invoke, :f :read, :value nil}\n";

#[test]
fn check_judges_what_other_tools_recorded() {
    checks(&format!("{EDN}{{:process 1, :type :ok, :f :read, :value 3}}\n"), 0);
    checks(&format!("{EDN}{{:process 1, :type :ok, :f :read, :value 4}}\n"), 10);
    checks(&format!("{EDN}{{:process 1, :type :ok, :f :read, :value"), 3);
    checks("[]", 11);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("history");
    fs::write(&file, EDN).unwrap();
    exits(&["check", file.to_str().unwrap(), "--format", "maelstrom"], 0);
    exits(&["check", file.to_str().unwrap(), "--format", "elle"], 3);
}

#[test]
fn convert_writes_whole_files_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("a.edn"), EDN).unwrap();
    for (from, to) in [("a.edn", "b.ohb"), ("b.ohb", "c.jsonl"), ("c.jsonl", "d.edn"), ("d.edn", "e.json")] {
        exits(&["convert", &path(from), &path(to)], 0);
        exits(&["convert", &path(from), &path(to)], 2);
        exits(&["convert", &path(from), &path(to), "--force", "--json"], 0);
        exits(&["check", &path(to)], 0);
    }
    exits(&["convert", &path("a.edn"), &path("f")], 2);
    exits(&["convert", &path("a.edn"), &path("f"), "--to", "etcd"], 2);
    exits(&["convert", &path("a.edn"), &path("f"), "--to", "jepsen-text"], 0);
    exits(&["convert", &path("a.edn"), "/nowhere/f.edn"], 13);
    exits(&["convert", &path("nothing"), &path("g.edn"), "--store", "/nowhere"], 3);
    fs::write(path("damaged.edn"), format!("{EDN}{{")).unwrap();
    exits(&["convert", &path("damaged.edn"), &path("g.edn")], 3);
    let mut names: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["a.edn", "b.ohb", "c.jsonl", "d.edn", "damaged.edn", "e.json", "f"]);
}

#[test]
fn wrong_flags_are_usage_errors() {
    for words in [
        ["run", "--seed", "soon"],
        ["run", "--time", "30"],
        ["run", "--faults", "fire"],
        ["run", "--workload", "queue"],
        ["run", "--net", "ether"],
        ["check", "x", "--fast"],
        ["check", "x", "--format=rot13"],
        ["convert", "x", "--to=jepsen"],
        ["run", "--scenario=all", "--nodes=5"],
    ] {
        let error = Top::try_parse_from([&["ordeal"], &words[..]].concat()).err().expect("a wrong flag");
        assert_eq!(error.exit_code(), 2, "{words:?}");
    }
    exits(&["run", "--nodes", "0", "--dry-run"], 2);
    exits(&["run", "--nodes", "1", "--faults", "partition", "--dry-run"], 2);
    exits(&["run", "--keys", "1", "--clients", "10", "--dry-run"], 2);
    exits(&["run", "--node-bin", "/nowhere/ordeal", "--dry-run"], 13);
    exits(&["run", "--seed", "42", "--dry-run"], 0);
    exits(&["run", "--seed", "42", "--dry-run", "--json"], 0);
    exits(&["run", "--scenario", "figure9", "--dry-run"], 2);
    exits(&["run", "--scenario", "figure8", "--scenario", "all", "--dry-run"], 0);
    exits(&["catalog"], 0);
    exits(&["catalog", "--json"], 0);
}

#[test]
fn every_help_has_two_examples_that_parse() {
    for command in Top::command().get_subcommands() {
        let name = command.get_name();
        let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples: Vec<&str> =
            after.lines().map(str::trim).filter(|line| line.starts_with("ordeal ")).collect();
        assert!(examples.len() >= 2, "{name} has {} examples", examples.len());
        for example in examples {
            // Every second part stands in quotes, as a shell sees it.
            let parts = example.split('"').enumerate();
            let words = parts.flat_map(|(number, part)| match number % 2 {
                0 => part.split_whitespace().collect::<Vec<_>>(),
                _ => vec![part],
            });
            let parsed = Top::try_parse_from(words);
            assert!(parsed.is_ok(), "`{example}`: {:?}", parsed.err().map(|error| error.to_string()));
        }
    }
}

#[test]
fn what_is_required_is_understood_before_anything_starts() {
    let refused = |words: &[&str], part: &str| {
        let error = match Top::try_parse_from([&["ordeal", "run"], words].concat()) {
            Err(error) => error.to_string(),
            Ok(Top { command: HarnessCommand::Run(args) }) => {
                let failure = args.order().expect_err("it makes no sense");
                assert_eq!(failure.cause, Cause::Usage, "{words:?}");
                failure.error.to_string()
            }
            Ok(_) => panic!("a run was asked for"),
        };
        assert!(error.contains(part) && error.contains("hint:"), "{words:?}: {error}");
    };
    refused(&["--require", "recover>5s"], "`recover>5s` has no limit");
    refused(&["--require", "gap<1s,speed<5s"], "no figure is named `speed`");
    refused(&["--require", "lost<5s"], "`5s` is no limit of lost");
    refused(&["--faults", "kill", "--require", "partition.gap<1s"], "the run has no such fault");
    refused(&["--faults", "none", "--require", "gap<1s"], "the run has no such fault");
    let words = ["ordeal", "run", "--require", "gap<1s,kill.lost<5%", "--require", "first<2s"];
    let Ok(Top { command: HarnessCommand::Run(args) }) = Top::try_parse_from(words) else {
        panic!("it parses")
    };
    let order = args.order().expect("it makes sense");
    let told: Vec<String> = order.require.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["gap<1s", "kill.lost<5%", "first<2s"]);
}

fn plan() -> Plan {
    let Ok(Top { command: HarnessCommand::Run(args) }) =
        Top::try_parse_from(["ordeal", "run", "--seed", "42"])
    else {
        panic!("the default run parses")
    };
    draw(&args.order().expect("the defaults make sense").settings)
}

/// A run whose harness was killed: a prefix of its files.
fn interrupted(store: &Path, history: &str) -> RunDir {
    let when = jiff::civil::date(2026, 11, 22).at(7, 0, 12, 0);
    let run = Store::prepare(store).unwrap().create_run(when, 42).unwrap();
    run.write_plan(&plan()).unwrap();
    EventLog::create(&run.events()).unwrap();
    fs::write(run.history(), history).unwrap();
    run
}

#[test]
fn the_prefix_of_a_killed_harness_is_listed_shown_judged_and_reported() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().to_str().unwrap();
    exits(&["list", "--store", store], 0);
    exits(&["show", "--store", store], 3);
    let good = format!("{HEADER}{WRITE_A}{}", read_at_3000("\"a\""));
    let run = interrupted(dir.path(), &good[..good.len() - 20]);
    for words in [
        ["list", "--json"],
        ["show", "--json"],
        ["show", "latest"],
        ["check", "latest"],
        ["report", "latest"],
    ] {
        exits(&[&words[..], &["--store", store]].concat(), 0);
    }
    let html = fs::read_to_string(run.report()).unwrap();
    assert!(html.contains("ended before it could judge"), "{html}");
    assert!(!run.path().join("verdict.json").exists(), "a report is no verdict");
    // Killed before anything was recorded.
    fs::remove_file(run.history()).unwrap();
    fs::remove_file(run.events()).unwrap();
    exits(&["show", "--store", store], 0);
    exits(&["check", "latest", "--store", store], 3);
}

#[test]
fn the_defaults_are_those_of_the_main_job() {
    let plan = plan();
    assert_eq!((plan.settings.nodes, plan.settings.clients, plan.settings.time_ms), (5, 10, 30_000));
    let of_one_group = FaultKind::ALL.into_iter().filter(|kind| !kind.is_of_groups());
    assert!(plan.settings.faults.iter().copied().eq(of_one_group) && plan.faults.len() >= 25);
}
