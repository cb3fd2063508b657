//! What is kept of nodes that stand still, in the directory `stopped` of the run: the end of what each said, the end of its log where
//! the system can tell it, and how each was.
//!
//! What cannot be had is said in its place: the run has a violation to report, and no look at a node is worth losing that.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ordeal_client::wire::NodeId;

use crate::cluster::Cluster;
use crate::store::{RunDir, tail};
use crate::system::NodeView;

/// Of what a node said: some 500 lines.
const SAID_BYTES_MAX: u64 = 64 << 10;
/// Of what is told of its log.
const TOLD_BYTES_MAX: u64 = 1 << 20;
/// How long the telling may take: a log of some gigabytes.
const TELL_TIME_MAX: Duration = Duration::from_secs(5);
/// Between two looks whether it has ended.
const LOOK: Duration = Duration::from_millis(5);

/// Keeps the end of what each node said, and of its log.
pub(super) fn logs(dir: &RunDir, cluster: &Cluster) {
    for node in cluster.all_nodes() {
        let said = tail(&cluster.log_file(node), SAID_BYTES_MAX).unwrap_or_else(|error| not_had(&error));
        keep(dir, &format!("{node}.said"), &said);
        if let Some(command) = cluster.system().inspect(&cluster.data_dir(node)) {
            keep(dir, &format!("{node}.log"), &tell(command).unwrap_or_else(|error| not_had(&error)));
        }
    }
}

/// Keeps how the nodes' processes were, and what those that answer say of themselves.
pub(super) fn status(dir: &RunDir, states: &[(NodeId, String)], views: &BTreeMap<NodeId, NodeView>) {
    let mut text = String::from("when they stood still:\n");
    for (node, state) in states {
        let _ = writeln!(text, "  {node}: {state}");
    }
    text += "as soon as they went on:\n";
    for view in views.values() {
        for group in &view.groups {
            let role = if group.leads { ", leads" } else { "" };
            let _ = writeln!(
                text,
                "  {} g{}: term {}{role}, last {}, applied {}, digest {:016x}",
                view.node, group.group, group.term, group.last, group.applied, group.digest
            );
        }
    }
    keep(dir, "status", text.as_bytes());
}

fn keep(dir: &RunDir, name: &str, bytes: &[u8]) {
    let stopped = dir.stopped();
    // A full disk shows where the history is written.
    let _ = fs::create_dir_all(&stopped).and_then(|()| fs::write(stopped.join(name), bytes));
}

fn not_had(error: &io::Error) -> Vec<u8> {
    format!("cannot be had: {error}\n").into_bytes()
}

/// What a command prints, in its time and at most so much.
fn tell(mut command: Command) -> io::Result<Vec<u8>> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let out = child.stdout.take().expect("it is piped");
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        out.take(TOLD_BYTES_MAX).read_to_end(&mut bytes).map(|_| bytes)
    });
    let deadline = Instant::now() + TELL_TIME_MAX;
    while child.try_wait()?.is_none() && Instant::now() < deadline && !reader.is_finished() {
        std::thread::sleep(LOOK);
    }
    // One that has ended says no, as it should.
    let _ = child.kill();
    child.wait()?;
    let told =
        reader.join().unwrap_or_else(|_| Err(io::Error::other("the thread that reads it panicked")))?;
    if told.is_empty() { Err(io::Error::other("it says nothing")) } else { Ok(told) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_prints_without_end_is_ended() {
        let mut command = Command::new("cat");
        command.arg("/dev/zero");
        assert_eq!(tell(command).unwrap().len() as u64, TOLD_BYTES_MAX);
        let mut command = Command::new("echo");
        command.arg("last frame");
        assert_eq!(tell(command).unwrap(), b"last frame\n");
        let silent = not_had(&tell(Command::new("true")).unwrap_err());
        assert_eq!(silent, b"cannot be had: it says nothing\n");
    }
}
