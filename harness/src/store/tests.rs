//! Run directories and event logs: never overwritten, readable as far as they were written.

use std::collections::BTreeSet;

use ordeal_client::wire::NodeId;

use super::*;
use crate::cluster::Evidence;
use crate::plan::FaultKind;

fn when() -> jiff::civil::DateTime {
    jiff::civil::date(2026, 11, 22).at(7, 0, 12, 0)
}

fn plan() -> crate::plan::Plan {
    crate::plan::draw(&crate::plan::Settings {
        seed: 42,
        nodes: 3,
        clients: 2,
        time_ms: 1_000,
        workload: crate::plan::WorkloadKind::Register,
        faults: vec![FaultKind::Kill],
        rate: 10,
        keys: 1,
        read_level: crate::plan::ReadLevel::Linearizable,
        groups: 1,
        replicas: None,
        shards: 1,
        op_timeout_ms: 100,
    })
}

#[test]
fn runs_of_the_same_second_and_seed_do_not_meet() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::prepare(&dir.path().join("runs")).unwrap();
    let names: Vec<String> = (0..3)
        .map(|_| {
            let run = store.create_run(when(), 42).unwrap();
            run.write_plan(&plan()).unwrap();
            assert_eq!(store.find(LATEST).unwrap(), run, "latest leads to the newest");
            run.name()
        })
        .collect();
    let base = "2026-11-22T07-00-12-seed42";
    assert_eq!(names, [base.to_owned(), format!("{base}-2"), format!("{base}-3")]);
    let listed: Vec<String> = store.runs().unwrap().iter().map(RunDir::name).collect();
    assert_eq!(listed, names, "links and strangers are not listed");
    assert_eq!(store.find(base).unwrap().read_plan().unwrap(), plan());
    let by_path = Store::at(Path::new("/nowhere")).find(store.runs().unwrap()[1].path().to_str().unwrap());
    assert_eq!(by_path.unwrap().name(), names[1]);
}

#[test]
fn what_is_not_there_is_said_with_a_hint() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(&dir.path().join("none"));
    assert!(store.runs().unwrap().is_empty());
    let error = store.find(LATEST).unwrap_err().to_string();
    assert!(error.contains("no run `latest`") && error.contains("hint:"), "{error}");
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Store::prepare(&file.join("runs")).unwrap_err().to_string();
    assert!(error.contains("hint: use --store"), "{error}");
}

#[test]
fn a_full_disk_is_said_before_the_run() {
    assert!(enough_room(Path::new("/runs"), FREE_BYTES_MIN).is_ok());
    let error = enough_room(Path::new("/runs"), FREE_BYTES_MIN - 1).unwrap_err().to_string();
    assert!(
        error.contains("/runs") && error.contains("67108863 bytes") && error.contains("hint:"),
        "{error}"
    );
}

#[test]
fn a_run_is_running_then_interrupted_unless_it_was_judged() {
    let dir = tempfile::tempdir().unwrap();
    let run = Store::prepare(dir.path()).unwrap().create_run(when(), 1).unwrap();
    let log = EventLog::create(&run.events()).unwrap();
    assert_eq!(run.state().unwrap(), RunState::Running);
    drop(log);
    assert_eq!(run.state().unwrap(), RunState::Interrupted);
    fs::write(run.path().join("verdict.json"), "{}").unwrap();
    assert!(matches!(run.state(), Err(StoreError::Damaged { .. })));
}

#[test]
fn events_come_back_and_a_torn_line_is_left_out_at_every_byte() {
    let evidence = |at_ns| {
        vec![Evidence {
            asked_ns: at_ns,
            applied_ns: at_ns + 1,
            verified_ns: at_ns + 2,
            proof: "seen".into(),
        }]
    };
    let events = vec![
        Event::Phase { at_ns: 1, phase: "clients".into() },
        Event::FaultBegan {
            fault: 0,
            kind: FaultKind::Kill,
            name: "kill n1".into(),
            links: BTreeSet::new(),
            evidence: evidence(10),
        },
        Event::FaultUndone { fault: 0, evidence: evidence(20) },
    ];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.jsonl");
    let log = EventLog::create(&path).unwrap();
    assert!(EventLog::create(&path).is_err(), "nothing is ever overwritten");
    events.iter().for_each(|event| log.write(event).unwrap());
    assert_eq!(read_events(&path).unwrap(), events);
    let bytes = fs::read(&path).unwrap();
    for cut in 0..bytes.len() {
        fs::write(&path, &bytes[..cut]).unwrap();
        let prefix = read_events(&path).unwrap();
        assert_eq!(prefix, events[..prefix.len()], "cut at {cut}");
    }
    fs::write(&path, "{\"event\":\"fire\"}\n").unwrap();
    assert!(matches!(read_events(&path), Err(StoreError::Damaged { .. })));
}

#[test]
fn spans_know_when_a_fault_was_in_force() {
    let evidence = |applied_ns| {
        vec![Evidence { asked_ns: 5, applied_ns, verified_ns: applied_ns + 2, proof: "seen".into() }]
    };
    let began = |fault| Event::FaultBegan {
        fault,
        kind: FaultKind::Partition,
        name: format!("cut {fault}"),
        links: crate::lab::Shape::Halves.links(&[1, 2, 3, 4, 5].map(NodeId)),
        evidence: evidence(10),
    };
    let events = [began(0), Event::FaultUndone { fault: 0, evidence: evidence(20) }, began(1)];
    let spans = spans(&events);
    assert_eq!((spans[0].applied_ns(), spans[0].verified_ns(), spans[0].undone_ns()), (10, 12, Some(20)));
    assert!(spans[0].in_force(0, 10) && spans[0].in_force(20, 30) && spans[0].in_force(12, 13));
    assert!(!spans[0].in_force(0, 9) && !spans[0].in_force(21, 30));
    assert!(spans[1].in_force(1_000, 1_001), "never undone, still in force");
    let cut_off: Vec<u32> = (1..=5).filter(|&node| spans[0].cuts_off(NodeId(node))).collect();
    assert_eq!(cut_off, [1, 2], "the smaller half is cut off from the majority");
}

#[test]
fn the_end_of_a_file_is_read_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    std::fs::write(&path, "x".repeat(2_000) + "the end").unwrap();
    assert_eq!(tail(&path, 9).unwrap(), b"xxthe end");
    assert_eq!(tail(&path, 1 << 20).unwrap().len(), 2_007);
    assert!(tail(&dir.path().join("none"), 9).is_err());
}
