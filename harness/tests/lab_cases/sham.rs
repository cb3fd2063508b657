//! Labs that lie: faults that are accepted and have no effect must not pass as injected.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ordeal_client::wire::NodeId;
use ordeal_harness::cluster::Action;
use ordeal_harness::lab::{self, Lab, LabKind, Link, all_links};

use super::{cluster_in, link, nodes, set};

/// A real lab, but for its cuts.
struct Sham {
    real: Arc<dyn Lab>,
    cut: fn(&BTreeSet<Link>) -> BTreeSet<Link>,
}

impl Lab for Sham {
    fn kind(&self) -> LabKind {
        self.real.kind()
    }
    fn listen(&self, node: NodeId) -> String {
        self.real.listen(node)
    }
    fn members(&self) -> BTreeMap<NodeId, String> {
        self.real.members()
    }
    fn dial(&self, node: NodeId) -> BTreeMap<NodeId, String> {
        self.real.dial(node)
    }
    fn namespace(&self, node: NodeId) -> Option<PathBuf> {
        self.real.namespace(node)
    }
    fn listening(&self, node: NodeId, address: SocketAddr) {
        self.real.listening(node, address);
    }
    fn cut(&self, links: &BTreeSet<Link>) -> anyhow::Result<()> {
        self.real.cut(&(self.cut)(links))
    }
    fn probe(&self, link: Link, timeout: Duration) -> anyhow::Result<bool> {
        self.real.probe(link, timeout)
    }
    fn survey(&self, silent: &BTreeSet<Link>, patience: Duration) -> anyhow::Result<BTreeSet<Link>> {
        self.real.survey(silent, patience)
    }
}

fn check(kind: LabKind, cut: fn(&BTreeSet<Link>) -> BTreeSet<Link>, reason: &str) {
    let dir = tempfile::tempdir().unwrap();
    let real = lab::open(kind, &nodes(3)).unwrap();
    let cluster = cluster_in(Arc::new(Sham { real, cut }), nodes(3), dir.path()).unwrap();
    let links = set(&[link(1, 2), link(2, 1)]);
    let error = cluster.act(&Action::Cut { links }).expect_err("a fault without effect counts as none");
    assert_eq!(error.action, "cut n1→n2 n2→n1");
    assert_eq!(error.reason, reason);
}

/// Every cut is a heal.
pub fn cuts_nothing(kind: LabKind) {
    check(kind, |_| BTreeSet::new(), "cut, but probes still arrive: n1→n2 n2→n1");
}

/// Every cut cuts n3 off too.
pub fn cuts_all(kind: LabKind) {
    check(kind, |_| all_links(&nodes(3)), "not cut, but no probe arrives: n1→n3 n2→n3 n3→n1 n3→n2");
}
