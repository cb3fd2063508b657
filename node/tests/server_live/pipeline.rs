//! A client that pipelines against real nodes, while the one that leads goes away: what it is told is what happened.

use std::time::{Duration, Instant};

use crate::support::{PATIENCE, Running, cluster};
use ordeal_client::wire::{NodeId, ReadLevel, WriteOp};
use ordeal_client::{Client, ClientConfig, Operation, Pipeline};

/// More than a session's window.
const WRITES: u64 = 600;

#[test]
fn each_pipelined_append_happens_once_though_the_leader_goes_away() {
    let dir = tempfile::tempdir().unwrap();
    let mut nodes: Vec<Running> = cluster(dir.path(), 3)
        .into_iter()
        .map(|(config, listener)| Running::start(&config, listener))
        .collect();
    let endpoints: Vec<String> = nodes.iter().map(|node| node.address.to_string()).collect();
    let config = ClientConfig { deadline: PATIENCE, ..ClientConfig::new(endpoints) };
    let mut pipeline = Pipeline::new(config.clone(), 2).expect("a good configuration");
    for token in 0..WRITES {
        let op = WriteOp::Append(format!("{token};").into_bytes());
        pipeline.submit(token, Operation::Write { key: b"log".to_vec(), op }).expect("few");
    }
    let started = Instant::now();
    let (mut done, mut unknown): (Vec<u64>, Vec<u64>) = (Vec::new(), Vec::new());
    while pipeline.under_way() > 0 {
        pipeline.turn(Duration::from_millis(50)).expect("an event queue");
        while let Some(over) = pipeline.done() {
            match over.outcome {
                Ok((NodeId(leader), _)) => {
                    done.push(over.token);
                    if done.len() == 100 {
                        nodes[leader as usize - 1].stop();
                    }
                }
                Err(error) if error.may_have_happened() => unknown.push(over.token),
                Err(error) => panic!("write {} was given up before anybody had it: {error}", over.token),
            }
        }
        assert!(started.elapsed() < 2 * PATIENCE, "{} of {WRITES} are done", done.len());
    }
    let got =
        Client::new(config).expect("as before").get(b"log", ReadLevel::Linearizable).expect("two serve");
    let log = String::from_utf8(got.value.expect("written")).expect("text");
    let times = |token: &u64| log.split_terminator(';').filter(|part| *part == token.to_string()).count();
    assert!(done.iter().all(|token| times(token) == 1), "done is once: {log}");
    assert!(unknown.iter().all(|token| times(token) <= 1), "unknown is once at most: {log}");
    assert!(done.len() >= 100, "{} are done", done.len());
}
