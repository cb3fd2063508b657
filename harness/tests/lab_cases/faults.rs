//! Faults on processes.

use std::sync::Arc;

use ordeal_client::wire::NodeId;
use ordeal_harness::cluster::{Action, Cluster, Evidence, NodeState};
use ordeal_harness::lab::{LabKind, ProxyLab};

use super::{cluster, cluster_in, soon};
use crate::lab_node::ask;

fn does(cluster: &Cluster, action: &Action) -> Evidence {
    let evidence = cluster.act(action).unwrap_or_else(|error| panic!("{error}"));
    assert!(evidence.asked_ns <= evidence.applied_ns, "{action}: {evidence:?}");
    assert!(evidence.applied_ns <= evidence.verified_ns, "{action}: {evidence:?}");
    evidence
}

fn refuses(cluster: &Cluster, action: &Action, reason: &str) {
    let error = cluster.act(action).expect_err("this cannot be done");
    assert!(error.reason.contains(reason), "{error}");
}

/// Kill, start, pause, resume; each refused where it makes no sense.
pub fn processes(kind: LabKind) {
    let (cluster, dir) = cluster(kind, 3);
    let node = NodeId(2);
    let address = cluster.address(node).unwrap().to_string();
    assert_eq!(ask(&address, "who").as_deref(), Some("n2"));
    assert_eq!(cluster.views().len(), 3);
    assert_eq!(cluster.leader(0), Some(NodeId(3)));

    let NodeState::Up { pid } = cluster.state(node) else { panic!("{:?}", cluster.state(node)) };
    let evidence = does(&cluster, &Action::Pause { node });
    assert!(evidence.proof.contains("threads are in state T"), "{}", evidence.proof);
    assert_eq!(cluster.state(node), NodeState::Paused { pid });
    assert_eq!(ask(&address, "who"), None, "a paused node does not answer");
    refuses(&cluster, &Action::Pause { node }, "is paused");
    does(&cluster, &Action::Resume { node });
    assert_eq!(ask(&address, "who").as_deref(), Some("n2"));
    refuses(&cluster, &Action::Resume { node }, "it is not paused");
    refuses(&cluster, &Action::Start { node }, "it runs already");

    // Also a paused one can be killed.
    does(&cluster, &Action::Pause { node });
    let evidence = does(&cluster, &Action::Kill { node });
    assert_eq!(evidence.proof, format!("pid {pid} is gone (signal 9)"));
    assert_eq!(cluster.state(node), NodeState::Down);
    assert_eq!(ask(&address, "who"), None);
    refuses(&cluster, &Action::Kill { node }, "it is down");
    refuses(&cluster, &Action::Kill { node: NodeId(9) }, "n9 is no node of this cluster");
    does(&cluster, &Action::Start { node });
    assert_eq!(ask(&address, "who").as_deref(), Some("n2"), "the address stays the same");
    assert_eq!(cluster.crashed(), [], "what was asked for is no crash");

    let log = std::fs::read_to_string(dir.path().join("n2/log")).unwrap();
    assert_eq!(log.matches("n2 starts as pid").count(), 2, "{log}");
    assert_eq!(log.matches("n2: my directory is").count(), 2, "{log}");
    assert!(log.contains("n2 has ended: signal 9 (SIGKILL)"), "{log}");
    does(&cluster, &Action::Pause { node });
    cluster.stop();
    assert!(cluster.states().into_values().all(|state| state == NodeState::Down), "{:?}", cluster.states());
    refuses(&cluster, &Action::Start { node }, "shut down");
}

/// An end without our doing.
pub fn crash(kind: LabKind) {
    let (cluster, _dir) = cluster(kind, 2);
    let node = NodeId(1);
    let address = cluster.address(node).unwrap().to_string();
    assert_eq!(ask(&address, "crash 7"), None);
    soon("the crash is noticed", || matches!(cluster.state(node), NodeState::Crashed { .. }));
    let NodeState::Crashed { how, last_words } = cluster.state(node) else { unreachable!() };
    assert_eq!(how, "exit code 7");
    assert_eq!(last_words.last().map(String::as_str), Some("n1: these are my last words"));
    assert_eq!(cluster.crashed(), [(node, "exit code 7".to_owned())]);
    refuses(&cluster, &Action::Kill { node }, "it has crashed before: exit code 7");
    refuses(&cluster, &Action::Pause { node }, "it has crashed: exit code 7");
    does(&cluster, &Action::Start { node });
    assert_eq!(cluster.crashed().len(), 1, "a crash is not forgotten when the node starts again");
    cluster.shutdown();
}

/// n13 does not start.
pub fn no_start() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = vec![NodeId(1), NodeId(13)];
    let lab = Arc::new(ProxyLab::new(&nodes).unwrap());
    let Err(error) = cluster_in(lab, nodes, dir.path()) else { panic!("n13 cannot start") };
    let text = format!("{error:#}");
    assert!(text.contains("start n13: it ended before it listened: exit code 3"), "{text}");
    assert!(text.contains("n13: I will not start"), "{text}");
}
