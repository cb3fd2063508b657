//! Whole runs: real processes, real kills, pauses and cuts in a proxy lab, a real judge, and a toy for a store. This file
//! has a main of its own, because it is several programs: the runner, `lab-exec` as the real binary has it, and the nodes.

mod run_toy;
mod runner;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ordeal_harness::cli::HarnessCommand;
use ordeal_harness::lab::{self, Choice, LabKind, NetChoice};
use ordeal_harness::latch::Latch;
use ordeal_harness::plan::{FaultKind, ReadLevel, Settings, WorkloadKind};
use ordeal_harness::report::text;
use ordeal_harness::run::interrupt::Interrupt;
use ordeal_harness::run::screen::Screen;
use ordeal_harness::run::{Order, execute_in};
use ordeal_harness::scenario::{Commission, find, perform};
use ordeal_harness::store::{Event, RunState, Stop, Store, Summary, Wait, Word, spans};
use ordeal_harness::verdict::{Known, conclude};
use ordeal_history::Budget;
use run_toy::{Fault, Toy};

/// Words of the binary.
#[derive(Parser)]
struct Top {
    #[command(subcommand)]
    command: HarnessCommand,
}

const CASES: [(&str, fn()); 24] = [
    ("a_healthy_register_is_valid", || healthy(WorkloadKind::Register)),
    ("a_healthy_append_is_valid", || healthy(WorkloadKind::Append)),
    ("a_healthy_cas_is_valid", || healthy(WorkloadKind::Cas)),
    ("a_healthy_bank_is_valid", || healthy(WorkloadKind::Bank)),
    ("a_bank_finds_transactions_that_are_done_in_half", || {
        bank(Fault::HalfTransactions, &["wrong total", "torn transaction"]);
    }),
    ("a_bank_finds_compares_that_are_ignored", || {
        bank(Fault::IgnoresCompares, &["wrong transaction", "wrong total"]);
    }),
    ("a_bank_finds_answers_to_other_transactions", || {
        bank(Fault::AnswersOfBefore, &["stale read", "wrong transaction", "broken claim"]);
    }),
    ("a_system_without_members_is_not_asked_to_change_them", refuses_changes),
    ("stale_reads_are_found_and_explained", stale_reads),
    ("a_node_that_ends_uninvited_is_found", crash),
    ("a_node_that_panics_when_it_is_to_end_is_found", crash_at_the_end),
    ("a_node_that_does_not_start_is_set_up", never_starts),
    ("a_missed_requirement_is_said", requirement),
    ("a_system_that_stays_away_breaks_what_is_required_of_its_recovery", stays_away),
    ("a_system_that_is_there_keeps_what_is_required", stays),
    ("a_run_is_stopped_at_its_first_violation", stopped),
    ("a_healthy_run_is_judged_meanwhile_and_not_stopped", not_stopped),
    ("a_stop_that_the_judge_of_the_whole_does_not_confirm_is_a_bug_of_ours", unconfirmed),
    ("an_interrupted_run_heals_and_judges", interrupted),
    ("a_scenario_of_a_healthy_toy_is_valid", scenario_healthy),
    ("a_scenario_finds_two_leaders_in_one_term", scenario_two_leaders),
    ("a_scenario_finds_replicas_that_differ", scenario_diverges),
    ("a_scenario_finds_an_acknowledged_write_that_is_lost", scenario_loses),
    ("a_scenario_whose_network_does_nothing_is_an_error", scenario_in_vain),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["lab-exec", ..] => ExitCode::from(lab::exec::execute(std::env::args_os().skip(2))),
        ["node", ..] => run_toy::main(&words[1..]),
        ["case", name] => {
            runner::die_with_parent();
            let (_, case) = CASES.into_iter().find(|(known, _)| *known == name).expect("a case of ours");
            case();
            ExitCode::SUCCESS
        }
        _ => runner::run(&CASES.map(|(name, _)| name), &words),
    }
}

fn order(store: &Path, workload: WorkloadKind) -> Order {
    Order {
        settings: Settings {
            seed: 7,
            nodes: 3,
            clients: 4,
            time_ms: 3_000,
            workload,
            faults: FaultKind::ALL.into_iter().filter(|kind| !kind.is_change()).collect(),
            rate: 200,
            keys: 2,
            read_level: ReadLevel::Linearizable,
            groups: 1,
            replicas: None,
            shards: 1,
            op_timeout_ms: 500,
        },
        left_out: vec![],
        store: store.to_owned(),
        net: NetChoice::Proxy,
        node_bin: "/proc/self/exe".into(),
        node_args: vec![],
        budget: Budget::default(),
        require_ops: None,
        require: vec![],
        stop_at_violation: false,
    }
}

fn play(order: &Order, fault: Fault) -> Summary {
    let choice = Choice { kind: LabKind::Proxy, why: "of the test".to_owned(), pids: false };
    execute_in(order, choice, Arc::new(Toy::new(fault))).expect("the run can begin")
}

/// What every run leaves behind.
fn check_stored(order: &Order, summary: &Summary) -> String {
    let run = Store::at(&order.store).find("latest").expect("latest leads to the run");
    assert_eq!(run.state().unwrap(), RunState::Judged(Box::new(summary.clone())));
    assert_eq!(run.read_plan().unwrap().settings, order.settings);
    assert!(run.nodes().join("n1/log").exists());
    let kept = run.nodes().join("n1/data").exists();
    assert_eq!(kept, summary.exit != 0, "data directories stay exactly when the run failed");
    std::fs::read_to_string(run.report()).expect("every run has a report")
}

/// A system that knows of no members is not asked to change them.
fn refuses_changes() {
    let dir = tempfile::tempdir().unwrap();
    let mut order = order(dir.path(), WorkloadKind::Register);
    order.settings.faults.push(FaultKind::Members);
    let choice = Choice { kind: LabKind::Proxy, why: "of the test".to_owned(), pids: false };
    let toy = Arc::new(Toy::new(Fault::None));
    let error = execute_in(&order, choice, toy).expect_err("it is refused").to_string();
    assert!(error.contains("fault `members` cannot be had: toy") && error.contains("hint:"), "{error}");
}

fn healthy(workload: WorkloadKind) {
    let dir = tempfile::tempdir().unwrap();
    let order = order(dir.path(), workload);
    let summary = play(&order, Fault::None);
    assert_eq!((summary.verdict, summary.exit), (Word::Valid, 0), "{summary:#?}");
    assert!(summary.operations.completed > 100, "{summary:#?}");
    assert!(summary.recovery_ms.is_some() && summary.keys_unread == 0);
    for count in &summary.faults {
        assert!(
            count.planned > 0 && count.planned == count.verified && count.planned == count.undone,
            "{count:?}"
        );
    }
    assert_eq!(summary.faults.len(), 3);
    assert!(check_stored(&order, &summary).contains("✓ Valid"));
    let events = Store::at(dir.path()).find("latest").unwrap().read_events().unwrap();
    assert!(spans(&events).iter().all(|span| span.asked_ns() <= span.applied_ns()));
    assert!(spans(&events).iter().all(|span| span.applied_ns() <= span.verified_ns()));
}

/// A store that does transactions wrong is found, and at least one of these names stands in the report.
fn bank(fault: Fault, names: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let mut order = order(dir.path(), WorkloadKind::Bank);
    order.settings.faults = vec![];
    let summary = play(&order, fault);
    assert_eq!((summary.verdict, summary.exit), (Word::NotLinearizable, 10), "{summary:#?}");
    let kinds: Vec<&str> = summary.anomalies.iter().map(|anomaly| anomaly.kind.as_str()).collect();
    assert!(kinds.iter().any(|kind| names.contains(kind)), "{kinds:?}");
    assert!(check_stored(&order, &summary).contains("{b"));
}

fn stale_reads() {
    let dir = tempfile::tempdir().unwrap();
    let mut order = order(dir.path(), WorkloadKind::Register);
    order.settings.faults = vec![FaultKind::Partition];
    let summary = play(&order, Fault::StaleReads);
    assert_eq!((summary.verdict, summary.exit), (Word::NotLinearizable, 10), "{summary:#?}");
    let html = check_stored(&order, &summary);
    assert!(
        html.contains("✗ Not linearizable") && html.contains("guilty") && html.contains("the partition ")
    );
}

fn crash() {
    let dir = tempfile::tempdir().unwrap();
    let mut order = order(dir.path(), WorkloadKind::Register);
    order.settings.faults = vec![];
    order.settings.time_ms = 20_000;
    let summary = play(&order, Fault::CrashesSoon);
    assert_eq!((summary.verdict, summary.exit), (Word::Valid, 12), "{summary:#?}");
    assert!(summary.findings[0].what.contains("n2 ended uninvited"), "{:?}", summary.findings);
    assert!(summary.clients_ms < 15_000, "a crash ends the run early");
    check_stored(&order, &summary);
}

fn crash_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut order = order(dir.path(), WorkloadKind::Register);
    order.settings.faults = vec![];
    order.settings.time_ms = 1_000;
    let summary = play(&order, Fault::CrashesAtTheEnd);
    assert_eq!((summary.verdict, summary.exit), (Word::Valid, 12), "{summary:#?}");
    assert!(summary.findings[0].what.contains("n2 ended uninvited: exit code 101"), "{:?}", summary.findings);
    check_stored(&order, &summary);
}

fn never_starts() {
    let dir = tempfile::tempdir().unwrap();
    let order = order(dir.path(), WorkloadKind::Register);
    let summary = play(&order, Fault::NeverStarts);
    assert_eq!((summary.verdict, summary.exit), (Word::NotJudged, 13), "{summary:#?}");
    assert!(summary.sentence.contains("I will not start"), "{}", summary.sentence);
    check_stored(&order, &summary);
}

fn requirement() {
    let dir = tempfile::tempdir().unwrap();
    let mut order = order(dir.path(), WorkloadKind::Register);
    order.settings.faults = vec![];
    order.settings.time_ms = 1_000;
    order.require_ops = Some(1_000_000);
    let summary = play(&order, Fault::None);
    assert_eq!((summary.verdict, summary.exit), (Word::Valid, 14), "{summary:#?}");
    check_stored(&order, &summary);
}

/// A run with a kill, and room for what follows it.
fn kills(store: &Path, require: &[&str]) -> Order {
    let mut order = order(store, WorkloadKind::Register);
    order.settings.faults = vec![FaultKind::Kill];
    order.settings.time_ms = 6_000;
    order.require = require.iter().map(|text| text.parse().expect("a requirement")).collect();
    order
}

/// The code of `ordeal check` of the newest run.
fn check_again(store: &Path) -> ExitCode {
    let run = Store::at(store).find("latest").expect("latest leads to the run");
    let words = ["ordeal", "check", run.path().to_str().expect("a path of ours")];
    Top::try_parse_from(words).expect("good flags").command.execute()
}

fn stays_away() {
    let dir = tempfile::tempdir().unwrap();
    // The toy counts from before the start, the figure from its end.
    let order = kills(dir.path(), &["recover<300ms", "kill.first<1m"]);
    let summary = play(&order, Fault::StaysAway);
    assert_eq!((summary.verdict, summary.exit), (Word::Valid, 15), "{summary:#?}");
    let [finding] = &summary.findings[..] else { panic!("{:?}", summary.findings) };
    let says = |part: &str| assert!(finding.what.contains(part), "{part}: {}", finding.what);
    says("recover<300ms is broken: it took ");
    says(" from the end of kill n");
    let [worst] = &summary.availability.as_ref().expect("it is measured").worst[..] else {
        panic!("one kind")
    };
    let ns = |wait: Option<Wait>| wait.expect("it is measured").ns;
    assert!(ns(worst.absence.gap) >= ns(worst.absence.recover), "{worst:?}");
    assert!(worst.absence.lost_permille > Some(0), "{worst:?}");
    assert!(check_stored(&order, &summary).contains("<h2>Availability</h2>"));
    assert_eq!(check_again(dir.path()), ExitCode::from(15), "what is required is kept");
}

fn stays() {
    let dir = tempfile::tempdir().unwrap();
    let order = kills(dir.path(), &["recover<1m", "kill.gap<1m", "first<1m"]);
    let summary = play(&order, Fault::None);
    assert_eq!((summary.verdict, summary.exit), (Word::Valid, 0), "{summary:#?}");
    assert_eq!(summary.warnings, Vec::<String>::new(), "all of it was measured");
    assert_eq!(summary.availability.as_ref().map(|all| all.faults_count), Some(1), "{summary:#?}");
    check_stored(&order, &summary);
    assert_eq!(check_again(dir.path()), ExitCode::SUCCESS);
}

/// Ends at its first violation, if there is one.
fn until_violation(store: &Path, fault: Fault) -> (Order, Summary) {
    let mut order = order(store, WorkloadKind::Register);
    order.settings.time_ms = 10_000;
    order.settings.faults = vec![];
    order.stop_at_violation = true;
    let summary = play(&order, fault);
    (order, summary)
}

fn stopped() {
    // The machine may be busy with other tests: then the nodes stand still later, in one run out of a few.
    let late_ms = (0..3).map(|_| stopped_once()).find(|late_ms| *late_ms < 100.0);
    assert!(late_ms.is_some(), "in none of three runs all nodes stood still within 100 ms");
}

fn stopped_once() -> f64 {
    let dir = tempfile::tempdir().unwrap();
    let (order, summary) = until_violation(dir.path(), Fault::StaleReads);
    assert_eq!((summary.verdict, summary.exit), (Word::NotLinearizable, 10), "{summary:#?}");
    let stop = summary.stopped.clone().expect("it was stopped");
    assert!(summary.anomalies.iter().any(|anomaly| anomaly.key == stop.key), "{stop:?}");
    assert!(summary.clients_ms < order.settings.time_ms / 2, "stale reads come early: {summary:#?}");
    assert!(stop.returned_ns <= stop.found_ns && stop.found_ns <= stop.frozen_ns, "{stop:?}");
    let run = Store::at(&order.store).find("latest").unwrap();
    let status = std::fs::read_to_string(run.stopped().join("status")).expect("how nodes were");
    assert_eq!(status.matches(" is stopped, all ").count(), 3, "{status}");
    let said = std::fs::read_to_string(run.stopped().join("n2.said")).expect("what they said");
    assert!(said.contains("n2 starts as pid "), "{said}");
    let page = check_stored(&order, &summary);
    let figure = format!("all nodes stopped {:.1} ms after its return", stop.late_ms());
    assert!(page.contains(&figure) && page.contains("n2 starts as pid "), "{figure}");
    assert!(text::result(&summary).contains(&figure), "{figure}");
    stop.late_ms()
}

fn not_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let mut order = order(dir.path(), WorkloadKind::Register);
    order.stop_at_violation = true;
    let summary = play(&order, Fault::None);
    assert_eq!((summary.verdict, summary.exit), (Word::Valid, 0), "{summary:#?}");
    assert_eq!((&summary.stopped, &summary.warnings[..]), (&None, &[][..]));
    let run = Store::at(&order.store).find("latest").unwrap();
    let judged = run.read_events().unwrap().into_iter().find_map(|event| match event {
        Event::JudgedMeanwhile { events, keys_left_out, lost, .. } => Some((events, keys_left_out, lost)),
        _ => None,
    });
    let (events, keys_left_out, lost) = judged.expect("it was judged meanwhile");
    // A call and a return each; the last reads come after it.
    assert!(events >= 200 && keys_left_out == 0 && lost.is_none(), "{events} {keys_left_out} {lost:?}");
    assert!(!run.stopped().exists());
}

fn unconfirmed() {
    let dir = tempfile::tempdir().unwrap();
    let order = order(dir.path(), WorkloadKind::Register);
    let summary = play(&order, Fault::None);
    assert_eq!(summary.exit, 0);
    let run = Store::at(&order.store).find("latest").unwrap();
    let key = ordeal_history::read_file(&run.history()).unwrap().history.operations[0].key.to_string();
    let (what, ns) = ("a value was there before and after another one".to_owned(), 1_000_000_000);
    let stop = Stop { op: 0, other: None, key, what, returned_ns: ns, found_ns: ns, frozen_ns: ns };
    let line = serde_json::to_string(&Event::Stopped { stop }).unwrap() + "\n";
    OpenOptions::new().append(true).open(run.events()).unwrap().write_all(line.as_bytes()).unwrap();
    let summary = conclude(&run, Known::default(), &Budget::default(), &|_| {}).unwrap().summary;
    assert_eq!((summary.verdict, summary.exit), (Word::Valid, 16), "{summary:#?}");
    assert!(summary.findings[0].what.starts_with("a bug of Ordeal itself: "), "{:?}", summary.findings);
    assert!(text::result(&summary).contains("a bug of Ordeal itself: the run was stopped for #0 on "));
}

fn act(name: &str, fault: Fault) -> Summary {
    let dir = tempfile::tempdir().unwrap();
    let stop = Arc::new(Latch::new());
    let commission = Commission {
        seed: 7,
        store: dir.path(),
        system: Arc::new(Toy::new(fault)),
        budget: Budget::default(),
        interrupt: &Interrupt::watch(Arc::clone(&stop)).unwrap(),
        stop: &stop,
        screen: &Screen::new(),
    };
    let summary = perform(find(name).expect("a scenario of ours"), &commission).expect("it can begin");
    let run = Store::at(dir.path()).find("latest").expect("latest leads to the run");
    assert_eq!(run.state().unwrap(), RunState::Judged(Box::new(summary.clone())));
    assert_eq!(run.read_plan().unwrap().scenario.as_deref(), Some(name));
    assert!(std::fs::read_to_string(run.report()).unwrap().contains(name));
    summary
}

fn scenario_healthy() {
    let summary = act("basic-agree", Fault::None);
    assert_eq!((summary.verdict, summary.exit), (Word::Valid, 0), "{summary:#?}");
    assert!(summary.operations.completed >= 5, "{summary:#?}");
    let elected = summary.measures.iter().find(|measure| measure.name == "leader elected");
    assert!(elected.is_some_and(|measure| measure.at_most == Some(5_000.0)), "{:?}", summary.measures);
}

fn scenario_two_leaders() {
    let summary = act("basic-agree", Fault::TwoLeaders);
    assert_eq!((summary.verdict, summary.exit), (Word::Unsafe, 10), "{summary:#?}");
    assert!(summary.sentence.contains("both lead g1 in term 1"), "{}", summary.sentence);
}

fn scenario_diverges() {
    let summary = act("basic-agree", Fault::Diverges);
    assert_eq!((summary.verdict, summary.exit), (Word::Unsafe, 10), "{summary:#?}");
    assert!(summary.sentence.contains("differ"), "{}", summary.sentence);
}

fn scenario_loses() {
    let summary = act("single-put", Fault::LosesWrites);
    assert_eq!((summary.verdict, summary.exit), (Word::NotLinearizable, 10), "{summary:#?}");
}

fn scenario_in_vain() {
    let summary = act("single-unreliable-puts", Fault::None);
    assert_eq!((summary.verdict, summary.exit), (Word::Valid, 13), "{summary:#?}");
    assert!(summary.findings[0].what.contains("lost no frame"), "{:?}", summary.findings);
}

fn interrupted() {
    let dir = tempfile::tempdir().unwrap();
    let mut order = order(dir.path(), WorkloadKind::Register);
    order.settings.time_ms = 60_000;
    let store = Store::at(dir.path());
    std::thread::spawn(move || {
        // Ctrl-C as soon as a fault is in force.
        let in_force = || {
            let events = store.find("latest").ok().and_then(|run| run.read_events().ok()).unwrap_or_default();
            events.iter().any(|event| matches!(event, Event::FaultBegan { .. }))
        };
        while !in_force() {
            Latch::new().wait(Duration::from_millis(20));
        }
        kill(Pid::this(), Signal::SIGINT).expect("a process may signal itself");
    });
    let summary = play(&order, Fault::None);
    assert_eq!((summary.verdict, summary.exit), (Word::Valid, 130), "{summary:#?}");
    assert!(summary.clients_ms < 30_000 && summary.recovery_ms.is_some(), "{summary:#?}");
    assert!(summary.faults.iter().all(|count| count.verified == count.undone), "{:?}", summary.faults);
    check_stored(&order, &summary);
}
